package ca_test

import (
	"context"
	"net/netip"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity/join"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// A host whose own network has addresses of a network of the cluster would lose
// one of the two: it is told so, and is no node.
func TestAHostThatUsesTheClustersAddressesIsRefused(t *testing.T) {
	c := newCluster(t)
	n := &api.Network{ID: "in"}
	n.Spec.Name = "ingress"
	n.IPAM.Configs = []swarm.IPAMConfig{{Subnet: "10.0.0.0/24"}}
	must(t, c.apply(state.Op{CreateNetwork: n}))
	before := c.nodes()
	r := join.Request{Dir: t.TempDir(), Addr: c.addr, Token: c.View().Cluster().WorkerToken}
	for _, taken := range []string{"10.0.0.0/24", "10.0.0.0/16", "10.0.0.128/25"} {
		r.Routes = []netip.Prefix{netip.MustParsePrefix("192.168.0.0/24"), netip.MustParsePrefix(taken)}
		_, err := join.Join(context.Background(), r)
		wantError(t, err, api.ErrInvalid, "this host has a route to "+taken+", and network ingress of the cluster is 10.0.0.0/24")
	}
	if got := c.nodes(); got != before {
		t.Errorf("%d nodes, there were %d", got, before)
	}
	r.Routes = []netip.Prefix{netip.MustParsePrefix("10.0.1.0/24")}
	j, err := join.Join(context.Background(), r)
	must(t, err)
	if got := c.View().Node(j.Identity.NodeID).Routes; len(got) != 1 || got[0] != r.Routes[0] {
		t.Errorf("the node routes %v", got)
	}
}
