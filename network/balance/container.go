package balance

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/netns"
	"github.com/swarmctl/swarmctl/network/nft"
)

// container is a namespace that the balancer has charge of. Its file keeps the
// namespace for as long as it is open, whatever becomes of the container.
type container struct {
	id       string
	ns       *os.File
	space    *nft.Space
	networks []api.Attachment
	turn     chan struct{} // one at a time works in the namespace; the rest is for whoever has its turn

	closed bool
	tables []*table
	set    *fabric.Set // that all of the namespace agrees with, nil before there is any
	seen   []*network  // that the tables agree with
	ways   *ways       // that its routes agree with
	router *router     // once it is known to be on the ingress network
	doors  *doors      // from then on
	own    [2]primary
	names  *names // nil: it asks this host anyhow
}

// current is what the balancer wants now.
type current func() (*fabric.Set, *plan)

func open(id string, pid int, networks []api.Attachment) (*container, error) {
	ns, err := os.Open(netns.Path(pid))
	if err != nil {
		return nil, fmt.Errorf("process %d of container %s: %w", pid, id, err)
	}
	if ours(ns) {
		ns.Close()
		return nil, fmt.Errorf("container %s is in the host's network: it cannot be on networks of the cluster as well", id)
	}
	if err := heard(ns); err != nil {
		ns.Close()
		return nil, fmt.Errorf("network of container %s: %w", id, err)
	}
	c := &container{id: id, ns: ns, space: nft.Open(ns), networks: networks, turn: make(chan struct{}, 1), tables: []*table{{}}}
	for _, at := range networks {
		if nft.Of(at.Addrs, true).IsValid() {
			c.tables = append(c.tables, &table{Table: nft.Table{V6: true}})
			break
		}
	}
	return c, nil
}

// ours reports whether a namespace is the daemon's own: rules for containers
// must never get there. Where the process's first thread is says nothing: it may be
// at work in a container.
func ours(ns *os.File) bool {
	a, errA := ns.Stat()
	b, errB := os.Stat("/proc/thread-self/ns/net")
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// work calls f when it is its turn, unless the container is closed by then.
func (c *container) work(f func() error) error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	if c.closed {
		return nil
	}
	return f()
}

// follow makes the namespace agree with what is wanted when its turn comes,
// which may be more than what was wanted when it was called. A trouble is about
// the ways of replies, and no reason for others to wait.
func (c *container) follow(now current, d departure) (trouble, err error) {
	err = c.work(func() error {
		set, p := now()
		if p == nil {
			return nil // nothing is known of the cluster: what an earlier daemon has set goes on
		}
		left := c.left(d, set)
		if c.disturbed() {
			c.seen = nil // what was called while there were no rules has gone nowhere
		}
		v := p.of(c.networks)
		if v.ways != nil && v.ways != c.ways {
			trouble = c.lead(v.ways)
		}
		if err := c.agree(v); err != nil {
			return err
		}
		if err := errors.Join(c.space.Forget(left, c.has6()), c.takeUp(c.fresh(v.networks))); err != nil {
			return err
		}
		c.set, c.seen = set, v.networks
		return nil
	})
	return trouble, err
}

// departure is who has left between two sets. It is worked out once for all
// containers that agree with the old one.
type departure struct {
	old  *fabric.Set
	left *nft.Left
}

// left is who has left since the namespace last agreed with a set. One that could
// not be worked on then is behind the others. Nobody has called who was in none of
// its networks; in the ingress network, hosts alone call.
func (c *container) left(d departure, set *fabric.Set) *nft.Left {
	left := d.left
	switch c.set {
	case nil:
		return nft.Strays(set)
	case set:
		return nil
	case d.old:
	default:
		left = nft.Gone(c.set, set)
	}
	was := c.set
	return left.In(func(id api.NetworkID) bool {
		n := was.Networks[id]
		return fabric.In(c.networks, id) != nil && (n == nil || !n.Ingress)
	})
}

// forget drops what is tracked of connections of the container to those that have left.
func (c *container) forget(left *nft.Left) error {
	left = left.In(func(id api.NetworkID) bool { return fabric.In(c.networks, id) != nil })
	if left == nil {
		return nil
	}
	return c.work(func() error { return c.space.Forget(left, c.has6()) })
}

func (c *container) has6() bool { return len(c.tables) > 1 }

// disturbed reports whether a table of ours is not there as we have made it.
func (c *container) disturbed() bool {
	return slices.ContainsFunc(c.tables, func(t *table) bool { return !t.Made })
}

func (c *container) agree(v view) error {
	var errs []error
	for i, t := range c.tables {
		errs = append(errs, t.agree(c.space, v, nft.Turn(c.id), c.own[i], c.names))
	}
	return errors.Join(errs...)
}

// lead sets the ways back of replies.
func (c *container) lead(w *ways) (err error) {
	if c.router == nil {
		if c.router, err = openRouter(c.space.Path(), c.in(w.network)); err != nil {
			return err
		}
	}
	if err := settings(c.space.Path(), c.router.link); err != nil {
		return err
	}
	own := c.own
	for i, t := range c.tables {
		if own[i], err = c.router.primary(w, t.V6); err != nil {
			return err
		}
	}
	c.own = own
	if err := c.router.agree(c.ways, w); err != nil {
		return err
	}
	if c.doors == nil {
		c.doors = &doors{}
	}
	if err := c.doors.agree(c.space, w); err != nil {
		return err
	}
	c.ways = w
	return nil
}

func (c *container) in(network api.NetworkID) []netip.Addr {
	return fabric.In(c.networks, network).Addrs
}

// restore writes tables anew that others have touched.
func (c *container) restore(now current) error {
	err := c.work(func() error {
		for _, t := range c.tables {
			if err := t.Look(c.space); err != nil {
				return err
			}
		}
		if c.doors == nil {
			return nil
		}
		there, err := c.doors.look(c.space)
		if !there {
			c.ways = nil // replies are led anew
		}
		return err
	})
	if err != nil {
		return err
	}
	trouble, err := c.follow(now, departure{})
	return errors.Join(trouble, err)
}

// remove takes everything out of the namespace and lets go of it.
func (c *container) remove() error {
	err := c.work(func() error {
		var errs []error
		for _, t := range c.tables {
			errs = append(errs, t.Remove(c.space))
		}
		if c.router != nil {
			errs = append(errs, c.router.clear())
		}
		if c.doors != nil {
			errs = append(errs, c.doors.remove(c.space))
		}
		return errors.Join(errs...)
	})
	c.close()
	return err
}

func (c *container) close() {
	_ = c.work(func() error {
		c.closed = true
		c.space.Close()
		if c.router != nil {
			c.router.h.Close()
		}
		return c.ns.Close()
	})
}
