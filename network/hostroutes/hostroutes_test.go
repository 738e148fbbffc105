package hostroutes

import (
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func route(cidr string, kind int) netlink.Route {
	_, dst, err := net.ParseCIDR(cidr)
	if err != nil {
		panic(err)
	}
	return netlink.Route{Dst: dst, Type: kind}
}

// A default route is no claim to addresses, whole or split as VPNs split it;
// nor is a route that says that there is nothing.
func TestWhatCountsAsTaken(t *testing.T) {
	got := prefixes([]netlink.Route{
		{Type: unix.RTN_UNICAST}, // the default route, as older kernels' answers are read
		route("0.0.0.0/0", unix.RTN_UNICAST),
		route("128.0.0.0/1", unix.RTN_UNICAST),
		route("192.168.7.0/24", unix.RTN_UNICAST),
		route("10.0.0.0/8", unix.RTN_UNICAST),
		route("10.0.0.0/8", unix.RTN_UNICAST), // over two interfaces
		route("172.16.0.0/12", unix.RTN_BLACKHOLE),
		route("203.0.113.7/32", unix.RTN_UNICAST),
	})
	if want := "[10.0.0.0/8 192.168.7.0/24 203.0.113.7/32]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
}

func TestTheHostsOwnRoutesCanBeRead(t *testing.T) {
	if _, err := List(); err != nil {
		t.Error(err)
	}
}
