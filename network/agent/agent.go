package agent

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

const (
	// settle is how long others are given to finish what they change before it
	// is put right: an engine that starts changes a hundred things.
	settle = 100 * time.Millisecond
	// lookAgain is how often everything is compared with the kernel though
	// nothing was heard: not every kernel tells of every change.
	lookAgain = 30 * time.Second
)

// Agent is this node's part of the cluster's networks.
type Agent struct {
	cfg    Config
	wake   chan struct{} // an update has come, or a container goes
	built  chan struct{} // the engine's bridges are others
	upset  chan struct{} // others have changed something in the kernel
	orders chan order    // for the builder, the last one only
	closed chan struct{} // Close was called
	ended  chan struct{} // Run has returned, or will never run
	once   sync.Once
	// handing is held for reading by who hands a container to the parts or takes
	// it back, and as a whole by Close, which they want to be alone.
	handing sync.RWMutex

	mu      sync.Mutex
	queue   []*fabric.Update
	came    int                         // updates so far
	holds   map[string][]api.Attachment // containers that are prepared for or run
	early   map[string]int              // processes of containers that wait for the first update
	asks    map[string][]netip.Addr     // servers for names that containers of users were made with
	state   state
	changed chan struct{} // closed when state is another
	applied uint64
	acked   chan struct{} // closed when applied is another
	faults  map[string]string
	ill     chan struct{} // closed when faults is another
	started bool
	upsets  map[string]bool // the parts that are to look
}

// state is what the last pass of the loop came to. It never changes.
type state struct {
	came     int         // updates that are in it
	set      *fabric.Set // nil until the first update
	troubles []trouble
}

// trouble is why a part does not do what it should.
type trouble struct {
	part string
	err  error
}

// New is an agent that knows nothing yet; call Run next.
func New(c Config) (*Agent, error) {
	if c.Self == "" || c.Log == nil {
		return nil, errors.New("agent: Self and Log must be set")
	}
	if c.Suspects == nil {
		c.Suspects = func() (map[api.NodeID]bool, <-chan struct{}) { return nil, nil }
	}
	return &Agent{
		cfg: c, wake: make(chan struct{}, 1), built: make(chan struct{}, 1), upset: make(chan struct{}, 1),
		orders: make(chan order, 1), closed: make(chan struct{}), ended: make(chan struct{}),
		holds: map[string][]api.Attachment{}, early: map[string]int{}, asks: map[string][]netip.Addr{},
		changed: make(chan struct{}), acked: make(chan struct{}), ill: make(chan struct{}), upsets: map[string]bool{},
	}, nil
}

// Update takes over a change of the fabric, or all of it. It never blocks;
// changes are applied in the order of the calls, several at a time where they
// come faster than that.
func (a *Agent) Update(u *fabric.Update) {
	a.mu.Lock()
	a.queue = append(a.queue, u)
	a.came++
	a.mu.Unlock()
	poke(a.wake)
}

// Applied is the index up to which all parts that send callers somewhere agree
// with the fabric, and a channel that is closed when it is another. It goes back
// where a manager that lags has sent everything.
func (a *Agent) Applied() (index uint64, changed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.applied, a.acked
}

// disturbed says that somebody may have changed what these parts have set.
func (a *Agent) disturbed(parts ...string) {
	a.mu.Lock()
	for _, name := range parts {
		a.upsets[name] = true
	}
	a.mu.Unlock()
	poke(a.upset)
}

func (a *Agent) takeUpset() map[string]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	names := a.upsets
	a.upsets = map[string]bool{}
	return names
}

// Problems are the published ports that this host does not answer, and why, and
// a channel that is closed when they are others.
func (a *Agent) Problems() (list map[string]string, changed <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.faults, a.ill
}

// diagnose looks for problems after a pass.
func (a *Agent) diagnose() {
	if a.cfg.Parts.Ingress == nil {
		return
	}
	list := a.cfg.Parts.Ingress.Problems()
	a.mu.Lock()
	defer a.mu.Unlock()
	if maps.Equal(list, a.faults) {
		return
	}
	a.faults = list
	close(a.ill)
	a.ill = make(chan struct{})
}

// Run applies what comes until ctx ends or Close is called. Everything it has
// set stays: containers go on while a daemon is restarted.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !a.start() {
		return nil
	}
	defer close(a.ended)
	var wg sync.WaitGroup
	wg.Go(func() { a.build(ctx) })
	wg.Go(func() { a.watch(ctx) })
	newLoop(a).run(ctx)
	cancel()
	wg.Wait()
	return nil
}

func (a *Agent) start() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.started = !a.isClosed()
	return a.started
}

// Close ends Run and takes away all that the parts have set: the node leaves
// the cluster. It may be called again where it failed.
func (a *Agent) Close(ctx context.Context) error {
	a.mu.Lock()
	a.once.Do(func() { close(a.closed) })
	started := a.started
	a.mu.Unlock()
	if started {
		select {
		case <-a.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	a.handing.Lock()
	defer a.handing.Unlock()
	return a.cfg.Parts.close(ctx)
}

func (a *Agent) isClosed() bool {
	select {
	case <-a.closed:
		return true
	default:
		return false
	}
}

// take returns what has come since the last time.
func (a *Agent) take() (updates []*fabric.Update, came int, holds map[string][]api.Attachment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	updates, a.queue = a.queue, nil
	return updates, a.came, maps.Clone(a.holds)
}

// publish lets those who wait see what a pass came to.
func (a *Agent) publish(s state) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.state = s
	close(a.changed)
	a.changed = make(chan struct{})
}

// acknowledge says that all parts agree with the fabric up to an index.
func (a *Agent) acknowledge(index uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.applied != index {
		a.applied = index
		close(a.acked)
		a.acked = make(chan struct{})
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is under way
	}
}
