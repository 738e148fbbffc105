package wire

import "strings"

// daemonTunnel begins the ID of a tunnel that is to end at a node's daemon and
// not at its container engine. A node that does not know of it yet joins the
// tunnel to its engine, which answers that it has no such page.
const daemonTunnel = "daemon/"

// ToDaemon is the ID for a tunnel to a node's daemon.
func ToDaemon(id string) string { return daemonTunnel + id }

// IsToDaemon reports whether a tunnel of that ID ends at the node's daemon.
func IsToDaemon(id string) bool { return strings.HasPrefix(id, daemonTunnel) }
