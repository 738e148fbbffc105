// Package hosts runs several Docker hosts on one machine, for tests that
// cross a network and lose power.
//
// A [Host] is a set of Linux namespaces (network, mounts, processes, name) with
// a disk of its own (/etc and /var/lib), a /run of its own, and a Docker Engine
// of its own. All hosts of a [Rack] hang on one switch, each by a cable that can
// be cut. Power off is one SIGKILL to the first process of the host: the kernel
// ends every other process in it (engine, containers, daemons) at that instant
// and its network goes with it. The disk stays, and power on finds it again.
//
// Nothing is left behind. The switch is a namespace too, so the machine's own
// network sees no bridge, no cable and no firewall rule; every host and the
// switch hold the end of a pipe whose other end is in this process, so they go
// down with it even if it is killed, and the switch removes the disks last.
//
// It needs root and the programs of Debian's docker.io; Check says what is missing.
package hosts
