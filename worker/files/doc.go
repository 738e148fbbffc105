// Package files keeps the secrets and configs of a node's tasks where the
// container engine finds them: in a tmpfs of the daemon's own, one folder a
// task. The worker writes them before it makes a container, which gets them as
// read-only binds, and removes them when the task is over. The mount outlives
// the daemon and not the host, so a container that runs keeps its files while
// the daemon is away, and nothing is ever written to a disk.
package files
