package dns

import (
	"net/netip"
	"os"
	"slices"
)

// Given are the servers that Docker's engine asks in the network of a container for
// which nobody has named any: the host's own, but for those at the host's loopback
// addresses, which it asks in the host's network
// (https://docs.docker.com/engine/network/#dns-services). What the engine's own
// configuration may have instead (`--dns`) is not known here.
func Given() []netip.Addr { return given("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf") }

// resolved is where systemd-resolved answers the host; its own servers are in
// another file then, which the engine reads.
var resolved = netip.MustParseAddr("127.0.0.53")

func given(file, ofResolved string) []netip.Addr {
	list := serversIn(file)
	if slices.Equal(list, []netip.Addr{resolved}) {
		list = serversIn(ofResolved)
	}
	return slices.DeleteFunc(list, netip.Addr.IsLoopback)
}

// serversIn are those of a file, none where it cannot be read.
func serversIn(path string) []netip.Addr {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	return nameservers(f)
}
