package ingress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/netns"
	"github.com/swarmctl/swarmctl/network/nft"
)

// Config is what the ingress must know.
type Config struct {
	Self api.NodeID
	Log  *slog.Logger
	// Host is the network namespace of the host; nil is the program's own.
	Host *os.File
}

// Ingress keeps the rules of one host.
type Ingress struct {
	cfg   Config
	space *nft.Space
	turn  chan struct{} // one at a time works on the host; the rest is for whoever has its turn

	set       *fabric.Set
	plan      *plan // of the last Apply, nil without an ingress network
	tables    [2]*table
	firewalls [2]*firewall
	express   *express
	held      map[place]*socket
	gate      int // its index, 0 where it has to be looked for
	said      string

	mu       sync.Mutex
	problems map[place]string
}

// New is an ingress that answers nothing yet.
func New(c Config) (*Ingress, error) {
	if c.Self == "" || c.Log == nil {
		return nil, errors.New("ingress: Self and Log must be set")
	}
	space := nft.Open(c.Host)
	return &Ingress{
		cfg: c, space: space, express: &express{path: space.Path()}, turn: make(chan struct{}, 1), held: map[place]*socket{},
		tables:    [2]*table{{}, {Table: nft.Table{V6: true}}},
		firewalls: [2]*firewall{{path: space.Path()}, {path: space.Path(), v6: true}},
	}, nil
}

// Apply makes the host agree with the set, which must not change any more,
// without those hosts that are suspect. When it returns without an error no new
// connection goes to what does not serve, and what was tracked of connections
// to endpoints that have left the set is dropped.
func (g *Ingress) Apply(set *fabric.Set, suspect func(api.NodeID) bool) error {
	return g.work(func() error {
		left := nft.Strays(set)
		if g.set != nil {
			left = nft.Gone(g.set, set).In(isIngress(g.set))
		}
		p := newPlan(set, suspect, g.cfg.Self)
		if err := g.agree(p); err != nil {
			return err
		}
		g.moveUnheard(g.plan, p)
		g.plan = p
		if err := g.space.Forget(left, g.tables[1].Made); err != nil {
			return err // the next time it is who has left since the same set
		}
		g.set = set
		return nil
	})
}

// isIngress tells the network of published ports: no other is behind a port.
func isIngress(set *fabric.Set) func(api.NetworkID) bool {
	return func(id api.NetworkID) bool { n := set.Networks[id]; return n == nil || n.Ingress }
}

// moveUnheard drops what is tracked of connections to those that get no more of
// them, where no answer has come: the first packet of such a connection was lost, or
// is late, and the kernel sends it again in a second, to whoever serves then. It
// would be sent to the same task otherwise, which may have been told to stop by
// then and refuse it. Nobody waits for this. It comes before the task is told,
// since Settle waits as long, and after answers that are on their way.
func (g *Ingress) moveUnheard(old, now *plan) {
	if old == nil || now == nil {
		return
	}
	before := old.receivers()
	if nft.Unheard(before, now.receivers()) == nil {
		return
	}
	time.AfterFunc(nft.Late, func() { // ends by itself, and does nothing after Close
		err := g.work(func() error {
			if g.plan == nil {
				return nil
			}
			return g.space.Forget(nft.Unheard(before, g.plan.receivers()), g.tables[1].Made)
		})
		if err != nil {
			g.cfg.Log.Warn("connections that were not answered stay with tasks that are out of the balancers", "err", err)
		}
	})
}

// Restore looks at everything, and puts back what others have removed.
func (g *Ingress) Restore() error {
	return g.work(func() error {
		g.express.forget()
		for i, t := range g.tables {
			g.firewalls[i].forget()
			g.gate = 0
			if err := t.Look(g.space); err != nil {
				return err
			}
		}
		return g.agree(g.plan)
	})
}

// Problems are the published ports that this host does not answer, and why.
// Their keys look like 8080/tcp.
func (g *Ingress) Problems() map[string]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make(map[string]string, len(g.problems))
	for at, why := range g.problems {
		out[at.String()] = why
	}
	return out
}

// Close takes away all that was set.
func (g *Ingress) Close() error {
	return g.work(func() error {
		err := g.clear()
		g.space.Close()
		g.set, g.plan = nil, nil
		return err
	})
}

func (g *Ingress) clear() error {
	var errs []error
	for i, t := range g.tables {
		errs = append(errs, t.Remove(g.space), g.firewalls[i].remove())
	}
	g.gate = 0
	g.express.close()
	g.release(nil)
	g.report(nil)
	return errors.Join(append(errs, closeGate(g.space.Path()))...)
}

func (g *Ingress) work(f func() error) error {
	g.turn <- struct{}{}
	defer func() { <-g.turn }()
	return f()
}

// agree makes the host agree with a plan. Ports are held before they are
// answered, and until they are not answered any more.
func (g *Ingress) agree(p *plan) error {
	switch unused := g.unused(); {
	case unused && p == nil && g.plan == nil:
		return nil // a host that is on no network is left as it was
	case unused && p != nil && len(p.ports) == 0:
		g.say(g.firewalls[0].agree(p.bridge, false)) // frames within bridges pass, whatever is published
		return nil
	case p == nil:
		return g.clear()
	}
	taken := g.hold(p)
	troubles := []error{g.openGate(p), settings(g.space.Path(), p.bridge)}
	var errs []error
	for i, t := range g.tables {
		if p.gateways[i].IsValid() {
			f := frame{p.bridge, p.gateways[i], g.gate, nft.Turn(string(g.cfg.Self))}
			errs = append(errs, t.agree(g.space, p, f, taken))
			troubles = append(troubles, g.firewalls[i].agree(p.bridge, g.gate != 0))
		}
	}
	if g.gate != 0 {
		g.hasten(p, taken)
	}
	g.release(p)
	g.say(errors.Join(troubles...))
	return errors.Join(errs...)
}

// hasten has established connections take the fast path, unless others want to see
// each packet.
//
// What fails here costs speed and nothing else, so it is said and no error.
func (g *Ingress) hasten(p *plan, taken map[place]bool) {
	x, err := g.express, error(nil)
	if !x.asked {
		if x.guarded, x.open, err = g.space.Strangers(); err == nil {
			x.guarded, x.asked = x.guarded || g.firewalls[0].strict, true
			x.open = x.open && !askOld(oldTables(g.space.Path(), false))
		}
	}
	if err == nil {
		err = x.agree(p, taken)
	} else {
		x.close() // somebody may have a say by now
	}
	said := ""
	if err != nil {
		said = err.Error()
	}
	switch level := slog.LevelWarn; {
	case said == "" || said == x.said:
	case isAbsent(err): // this is done again
	default:
		if errors.Is(err, errors.ErrUnsupported) {
			level = slog.LevelInfo
		}
		g.cfg.Log.Log(context.Background(), level, "established connections to published ports take the longer way", "err", err)
	}
	x.said = said
}

// unused reports whether no ports have been answered here, neither by us nor by an
// earlier daemon whose rules are still there.
func (g *Ingress) unused() bool {
	for _, t := range g.tables {
		if t.Made {
			return false
		}
		// A kernel that cannot tell has no tables of this kind.
		if there, err := t.There(g.space); err == nil && there {
			return false
		}
	}
	return len(g.held) == 0
}

// say logs what does not work on this host though the ports are answered. That
// is no reason to say that the set is not applied: what others wait for is done.
func (g *Ingress) say(err error) {
	said := ""
	if err != nil {
		said = err.Error()
	}
	if said != "" && said != g.said {
		g.cfg.Log.Warn("published ports do not work as they should on this node", "err", err)
	}
	g.said = said
}

// openGate makes the gate. Where the kernel does not let us have one, ports are
// answered without it, and the host's rules for forwarding hold alone.
func (g *Ingress) openGate(p *plan) (err error) {
	if g.gate != 0 {
		return nil
	}
	if g.gate, err = openGate(g.space.Path(), p.gateways[1].IsValid()); err != nil {
		g.gate = 0
		return fmt.Errorf("rules of the host in INPUT do not hold for published ports, use DOCKER-USER to deny them: %w", err)
	}
	return nil
}

// hold takes the ports that are not held yet and returns those it could not get.
func (g *Ingress) hold(p *plan) (taken map[place]bool) {
	taken, problems := map[place]bool{}, map[place]string{}
	for _, o := range p.ports {
		if g.held[o.place] != nil {
			continue
		}
		s, err := hold(g.space.Path(), o.place, p)
		if err != nil {
			taken[o.place] = true
			problems[o.place] = fmt.Sprintf("port %s of node %s is %v: end that process, or publish another port", o.place, p.node, err)
			continue
		}
		g.held[o.place] = s
	}
	g.report(problems)
	return taken
}

func (g *Ingress) report(problems map[place]string) {
	g.mu.Lock()
	old := g.problems
	g.problems = problems
	g.mu.Unlock()
	for at, why := range problems {
		if old[at] != why {
			g.cfg.Log.Warn("a published port is not answered on this node", "port", at.String(), "err", why)
		}
	}
}

// release lets go of the ports that are not the plan's.
func (g *Ingress) release(p *plan) {
	rest := maps.Clone(g.held)
	if p != nil {
		for _, o := range p.ports {
			delete(rest, o.place)
		}
	}
	for at, s := range rest {
		s.close()
		delete(g.held, at)
	}
}

// settings let 127.0.0.1 be a client of tasks: on our own bridge alone. It may
// not be there yet; whoever makes it has us look again.
func settings(path, bridge string) error {
	return netns.Do(path, func() error {
		err := os.WriteFile("/proc/sys/net/ipv4/conf/"+bridge+"/route_localnet", []byte("1"), 0o644)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	})
}
