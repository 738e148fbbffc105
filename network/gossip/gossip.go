package gossip

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/swarmctl/swarmctl/api"
)

// DefaultPort is Docker Swarm's port for gossip, TCP and UDP.
const DefaultPort = 7946

// Config is what a node needs to gossip.
type Config struct {
	NodeID    api.NodeID
	ClusterID string // packets of other clusters are dropped
	Meta      Meta
	// BindAddr is the address to listen on, all of IPv4 where it is empty; Port
	// is DefaultPort where it is 0.
	BindAddr string
	Port     int
	// AdvertiseAddr is the IP address at which the others reach this node.
	AdvertiseAddr string
	// Keys are of 16, 24 or 32 bytes; the first one encrypts, all decrypt.
	Keys   [][]byte
	Timing Timing // DefaultTiming where it is zero
	Log    *slog.Logger
}

// Gossip is this node's part of the gossip.
type Gossip struct {
	cfg   Config
	list  *memberlist.Memberlist
	mlc   *memberlist.Config
	peek  atomic.Pointer[peek] // nil until memberlist is up
	calls chan call
	wake  chan struct{} // something has changed: scan now
	seek  chan struct{} // there are new seeds
	// knocking holds a token for every knock under way.
	knocking chan struct{}

	glancing sync.Mutex // guards the next two
	glanced  time.Time
	sum      uint64

	mu      sync.Mutex
	meta    Meta
	seeds   []string
	members map[api.NodeID]*entry
	changed chan struct{}
}

// entry is a member with what is remembered of calling it.
type entry struct {
	Member
	incarnation uint32 // what memberlist numbers a member's words about itself with
	recalled    time.Time
	// greet is how many more times a member that was dead is greeted. It may have
	// started anew and know nobody, and refuted its death by answering a
	// probe: then everybody sees it and it sees nobody.
	greet int
	door  door
}

// doubted reports whether the member's host is of interest.
func (e *entry) doubted() bool { return e.State == Suspect || e.State == Dead }

// New listens for gossip and knows nobody yet; call Run next, which ends it.
// An error names the port if it is taken.
func New(c Config) (*Gossip, error) {
	if c.Timing == (Timing{}) {
		c.Timing = DefaultTiming()
	}
	if err := c.Timing.Validate(); err != nil {
		return nil, err
	}
	if c.NodeID == "" || c.ClusterID == "" || c.Log == nil {
		return nil, errors.New("gossip: NodeID, ClusterID and Log must be set")
	}
	c.BindAddr, c.Port = cmp.Or(c.BindAddr, "0.0.0.0"), cmp.Or(c.Port, DefaultPort)
	ring, err := keyring(c.Keys)
	if err != nil {
		return nil, err
	}
	g := &Gossip{
		cfg: c, meta: c.Meta, members: map[api.NodeID]*entry{}, changed: make(chan struct{}),
		calls: make(chan call, 64), wake: make(chan struct{}, 1), seek: make(chan struct{}, 1),
		knocking: make(chan struct{}, maxKnocks),
	}
	g.mlc = g.config(ring)
	if g.list, err = memberlist.Create(g.mlc); err != nil {
		return nil, explain(c, err)
	}
	p, err := newPeek(g.list)
	if err != nil {
		return nil, errors.Join(err, g.list.Shutdown())
	}
	g.peek.Store(p)
	g.scan(time.Now())
	return g, nil
}

func (g *Gossip) config(ring *memberlist.Keyring) *memberlist.Config {
	c, m := g.cfg, memberlist.DefaultLANConfig()
	c.Timing.set(m)
	m.Name, m.Label = string(c.NodeID), c.ClusterID
	m.BindAddr, m.BindPort = c.BindAddr, c.Port
	m.AdvertiseAddr, m.AdvertisePort = c.AdvertiseAddr, c.Port
	m.Keyring = ring
	m.RequireNodeNames = false
	m.Delegate, m.Events = (*delegate)(g), (*events)(g)
	m.LogOutput = io.Discard // log.Logger formats nothing for this very writer
	if c.Log.Enabled(context.Background(), slog.LevelDebug) {
		m.LogOutput = nil
		m.Logger = log.New(debugLog{c.Log}, "", 0)
	}
	return m
}

// explain turns the errors of listening into ones that say what to do.
func explain(c Config, err error) error {
	switch text := err.Error(); {
	case strings.Contains(text, "address already in use"):
		return api.Errorf(api.CodeUnavailable, "gossip: port %d (tcp and udp) on %s is taken by another program: find it with `ss -lntup 'sport = :%d'` and stop it; if it is dockerd, this engine is in Docker's own swarm mode: `docker swarm leave`", c.Port, c.BindAddr, c.Port)
	case strings.Contains(text, "cannot assign requested address"):
		return api.Errorf(api.CodeInvalid, "gossip: this machine has no address %s to listen on", c.BindAddr)
	}
	return fmt.Errorf("gossip: %w", err)
}

func keyring(keys [][]byte) (*memberlist.Keyring, error) {
	if len(keys) == 0 {
		return nil, errors.New("gossip: no keys: it is never sent in the clear")
	}
	ring, err := memberlist.NewKeyring(keys, keys[0])
	if err != nil {
		return nil, fmt.Errorf("gossip: keys: %w", err)
	}
	return ring, nil
}

// SetKeys replaces the keys while gossip goes on. To change a key, first give
// every node the new one in second place, then in first, then drop the old.
func (g *Gossip) SetKeys(keys [][]byte) error {
	if _, err := keyring(keys); err != nil {
		return err
	}
	ring := g.mlc.Keyring
	for _, k := range keys {
		if err := ring.AddKey(k); err != nil {
			return fmt.Errorf("gossip: keys: %w", err)
		}
	}
	if err := ring.UseKey(keys[0]); err != nil {
		return fmt.Errorf("gossip: keys: %w", err)
	}
	for _, old := range ring.GetKeys() {
		if !slices.ContainsFunc(keys, func(k []byte) bool { return string(k) == string(old) }) {
			if err := ring.RemoveKey(old); err != nil {
				return fmt.Errorf("gossip: keys: %w", err)
			}
		}
	}
	return nil
}

// SetMeta tells all others something new of this node.
func (g *Gossip) SetMeta(m Meta) {
	g.mu.Lock()
	same := g.meta == m
	g.meta = m
	g.mu.Unlock()
	if !same {
		g.refute()
	}
}

// Join names addresses (host or host:port) of members to join through. They
// are tried at once, and again for as long as this node sees no other alive.
func (g *Gossip) Join(addrs ...string) {
	g.mu.Lock()
	g.seeds = addrs
	g.mu.Unlock()
	poke(g.seek)
}

// Members returns all members that are known, this node, the dead and those
// that left included, in the order of their IDs.
func (g *Gossip) Members() []Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	list := make([]Member, 0, len(g.members))
	for _, e := range g.members {
		list = append(list, e.Member)
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.NodeID, b.NodeID) })
	return list
}

// Changed returns a channel that is closed when Members will answer something
// new. Take the channel first and the members second, and nothing is missed.
func (g *Gossip) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Forget drops a member that the cluster has removed, so that it is called no more.
// It comes back if it is still alive.
func (g *Gossip) Forget(id api.NodeID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e := g.members[id]; e != nil && (e.State == Dead || e.State == Left) {
		e.State, e.recalled, e.Host = Left, time.Now(), HostUnasked
		g.announce()
	}
}

// Leave tells the others that this node leaves the cluster for good; they see
// it as Left, and not as Dead later on. A daemon that merely stops must not
// call it: its containers go on.
func (g *Gossip) Leave() error {
	if err := g.list.Leave(2 * time.Second); err != nil {
		return fmt.Errorf("gossip: %w", err)
	}
	return nil
}

// Run keeps the members up to date until ctx ends, and closes the port then.
func (g *Gossip) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { g.answer(ctx) })
	wg.Go(func() { g.seekSeeds(ctx) })
	g.watch(ctx)
	g.endKnocks()
	wg.Wait()
	// Last: answer and seekSeeds use the list.
	return g.list.Shutdown()
}

// announce wakes whoever waits on Changed; the caller holds the lock.
func (g *Gossip) announce() {
	close(g.changed)
	g.changed = make(chan struct{})
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // one is under way
	}
}

// metaBytes is what the others get to see of Meta.
func (g *Gossip) metaBytes() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := json.Marshal(g.meta)
	if err != nil {
		panic(err) // two strings can always be marshalled
	}
	return b
}
