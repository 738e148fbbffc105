// Package shortcut carries the frames of an overlay between containers and the
// VXLAN device of their network past the bridge that both are in. The bridge
// would show each of them to the host's packet filter, which has nothing to say
// about them, and on the way in queue them once more for the container's end of
// the cable.
//
// What it installs lives as long as the program that has installed it: the kernel
// takes it away with the program's last descriptor, and the frames go over the
// bridge again. So nothing of it is ever out of date, and nothing is left behind.
// It needs Linux 6.6 (tcx); on others New fails with errors.ErrUnsupported.
package shortcut
