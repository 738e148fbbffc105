package daemon

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/api"
)

// A pool that the host uses itself is not taken (unless it was asked for, and
// then what is free of it).
func TestTheFirstNetworkIsWhereTheHostHasNoRoute(t *testing.T) {
	for _, tt := range []struct{ pool, used, want string }{
		{"", "", "10.0.0.0/24 4096 []"},
		{"", "192.168.1.0/24 172.17.0.0/16", "10.0.0.0/24 4096 []"},
		{"", "10.0.0.0/24", "10.0.1.0/24 4096 []"},
		{"", "10.0.0.128/25 10.0.1.0/30", "10.0.2.0/24 4096 []"},
		{"", "10.0.0.0/12", "10.16.0.0/24 4096 []"},
		{"", "10.0.0.0/8", "172.16.0.0/24 4096 [172.16.0.0/12]"},
		{"", "10.0.0.0/8 172.16.0.0/12", "192.168.0.0/24 4096 [192.168.0.0/16]"},
		{"", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16", "the cluster's address pool 192.168.0.0/16: this host has routes to all of it: give --default-addr-pool a range that no host of the cluster uses"},
		{"10.7.0.0/16", "10.7.0.0/24", "10.7.1.0/24 4096 [10.7.0.0/16]"},
		{"10.7.0.0/16", "10.0.0.0/8", "the cluster's address pool 10.7.0.0/16: this host has routes to all of it: give --default-addr-pool a range that no host of the cluster uses"},
	} {
		c := &api.Cluster{AddrPool: strings.Fields(tt.pool)}
		var used []netip.Prefix
		for _, p := range strings.Fields(tt.used) {
			used = append(used, netip.MustParsePrefix(p))
		}
		n, err := firstNetwork(c, used)
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprint(n.IPAM.Configs[0].Subnet, " ", n.VXLAN[0], " ", c.AddrPool)
		}
		if got != tt.want {
			t.Errorf("pool %q, used %q:\n got %s\nwant %s", tt.pool, tt.used, got, tt.want)
		}
	}
}
