package balance

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/nft"
)

// Config is what the balancer must know.
type Config struct {
	Self api.NodeID
	Log  *slog.Logger
}

// Balancer keeps the rules in the namespaces of this node's containers.
type Balancer struct {
	cfg Config

	mu         sync.Mutex
	set        *fabric.Set // of the last Apply, nil before the first
	plan       *plan
	containers map[string]*container
}

// New is a balancer without containers.
func New(c Config) (*Balancer, error) {
	if c.Self == "" || c.Log == nil {
		return nil, errors.New("balance: Self and Log must be set")
	}
	return &Balancer{cfg: c, containers: map[string]*container{}}, nil
}

// Apply makes all containers agree with the set, which must not change any
// more, without those hosts that are suspect. When it returns without an error no new
// connection goes to what does not serve, and what was tracked of connections
// to endpoints that have left the set is dropped.
func (b *Balancer) Apply(set *fabric.Set, suspect func(api.NodeID) bool) error {
	oldSet, old := b.current()
	next := newPlan(old, set, suspect, b.cfg.Self)
	d := departure{old: oldSet}
	if oldSet != nil {
		d.left = nft.Gone(oldSet, set)
	}
	list := b.become(set, next)
	defer b.moveUnheard(old, next)
	return each(list, func(c *container) error {
		trouble, err := c.follow(b.current, d)
		if trouble != nil {
			// It is nobody's balancer, so nobody has to wait for it.
			b.cfg.Log.Warn("replies to clients outside may be lost", "container", c.id, "err", trouble)
		}
		return err
	})
}

// moveUnheard drops what is tracked of connections to those that get no more of them,
// where no answer has come: the host of such a task has lost its power, say, and in
// a second TCP sends the first packet again, to whoever serves then. Nobody waits for this.
// It comes before a task that drains is told to stop, since Settle waits as long, and
// after answers that are on their way.
func (b *Balancer) moveUnheard(old, now *plan) {
	before := old.losing(now)
	if len(before) == 0 {
		return
	}
	time.AfterFunc(nft.Late, func() { // ends by itself, and does nothing after Close
		_, p := b.current()
		left := nft.Unheard(before, p.receivers())
		if err := each(b.all(), func(c *container) error { return c.forget(left) }); err != nil {
			b.cfg.Log.Warn("connections that were not answered stay with tasks that are out of the balancers", "err", err)
		}
	})
}

func (b *Balancer) current() (*fabric.Set, *plan) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.set, b.plan
}

func (b *Balancer) become(set *fabric.Set, p *plan) []*container {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.set, b.plan = set, p
	return b.list()
}

func (b *Balancer) list() []*container {
	list := make([]*container, 0, len(b.containers))
	for _, c := range b.containers {
		list = append(list, c)
	}
	return list
}

func (b *Balancer) all() []*container {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.list()
}

// Attach takes charge of a container that has just started: pid is a process in
// it. When it returns the virtual addresses of the container's networks are
// answered. It may be called again, by a daemon that has started anew.
func (b *Balancer) Attach(id string, pid int, networks []api.Attachment) error {
	c, err := open(id, pid, networks)
	if err != nil {
		return err
	}
	b.mu.Lock()
	old := b.containers[id]
	b.containers[id] = c
	b.mu.Unlock()
	if old != nil {
		old.close()
	}
	trouble, err := c.follow(b.current, departure{})
	return errors.Join(trouble, err)
}

// Detach lets go of a container that has ended.
func (b *Balancer) Detach(id string) {
	b.mu.Lock()
	c := b.containers[id]
	delete(b.containers, id)
	b.mu.Unlock()
	if c != nil {
		c.close()
	}
}

// Restore looks whether the tables are still there, and puts them back.
func (b *Balancer) Restore() error {
	return each(b.all(), func(c *container) error { return c.restore(b.current) })
}

// Close takes everything out of the containers that still run.
func (b *Balancer) Close() error {
	b.mu.Lock()
	list := b.list()
	clear(b.containers)
	b.mu.Unlock()
	return each(list, (*container).remove)
}

// each calls f for all containers, a few at a time, and joins what failed.
func each(list []*container, f func(*container) error) error {
	var mu sync.Mutex
	var errs []error
	var g errgroup.Group
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for _, c := range list {
		g.Go(func() error {
			if err := f(c); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("container %s: %w", c.id, err))
			}
			return nil
		})
	}
	return errors.Join(g.Wait(), errors.Join(errs...))
}
