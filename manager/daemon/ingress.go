package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/network/hostroutes"
	"github.com/swarmctl/swarmctl/network/ipam"
	"github.com/swarmctl/swarmctl/raftstore"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// spareRanges are what a new cluster takes its subnets from, where nobody said
// and this host has routes to all of Docker Swarm's range.
var spareRanges = []string{"172.16.0.0/12", "192.168.0.0/16"}

// routes are the prefixes that this host has routes for. Where they cannot be
// read, the networks are made without a look at them, as in Docker Swarm.
func (d *Daemon) routes() []netip.Prefix {
	list, err := hostroutes.List()
	if err != nil {
		d.cfg.Log.Warn("subnets of networks are chosen without a look at this host's routes", "err", err)
	}
	return list
}

// firstNetwork is the ingress network of a new cluster. It also chooses the
// cluster's pool, where the caller did not and the usual one is of no use here.
func firstNetwork(c *api.Cluster, used []netip.Prefix) (*api.Network, error) {
	n, err := ingressNetwork(c, ipam.Taken{Subnets: used})
	if len(c.AddrPool) > 0 {
		return n, err
	}
	for _, spare := range spareRanges {
		if err == nil {
			break
		}
		c.AddrPool = []string{spare}
		n, err = ingressNetwork(c, ipam.Taken{Subnets: used})
	}
	return n, err
}

// ingressNetwork is the network over which published ports reach other nodes.
func ingressNetwork(c *api.Cluster, taken ipam.Taken) (*api.Network, error) {
	n := &api.Network{ID: api.NetworkID(api.NewID())}
	n.Spec = api.NetworkSpec{
		Annotations:         swarm.Annotations{Name: api.IngressNetwork},
		DriverConfiguration: &swarm.Driver{Name: api.DriverOverlay}, Ingress: true, Scope: "swarm",
	}
	pool, err := ipam.NewPool(c.Pool())
	if err != nil {
		return nil, err
	}
	if err := pool.Allot(n, taken); err != nil {
		return nil, api.Errorf(api.CodeUnavailable, "the cluster's address pool %s: this host has routes to all of it: give --default-addr-pool a range that no host of the cluster uses", pool)
	}
	return n, nil
}

// ingressKeeper is the leader's loop that makes the ingress network in a
// cluster that was made before there was one. It does so once: who removes it
// does not want it.
type ingressKeeper struct {
	store  *raftstore.Store
	routes func() []netip.Prefix
	log    *slog.Logger
}

func (k *ingressKeeper) Run(ctx context.Context) error {
	for {
		err := k.pass(ctx, k.store.View())
		switch {
		case errors.Is(err, api.ErrOutdated): // the cluster, or who has which subnet, has changed
			continue
		case errors.Is(err, api.ErrUnavailable), errors.Is(err, api.ErrConflict):
			k.log.Warn("no ingress network: ports cannot be published on every node", "err", err)
		case err != nil:
			return err
		}
		<-ctx.Done()
		return ctx.Err()
	}
}

func (k *ingressKeeper) pass(ctx context.Context, view *state.View) error {
	c := view.Cluster()
	if c == nil || c.IngressMade {
		return nil
	}
	taken := ipam.TakenBy(view.Networks())
	taken.Subnets = append(taken.Subnets, k.routes()...)
	for node := range view.Nodes() {
		taken.Subnets = append(taken.Subnets, node.Routes...)
	}
	n, err := ingressNetwork(c, taken)
	if err != nil {
		return err
	}
	next := *c
	next.IngressMade = true
	_, err = k.store.Propose(ctx, state.Command{At: time.Now(), Ops: []state.Op{{PutCluster: &next}, {CreateNetwork: n}}})
	return err
}
