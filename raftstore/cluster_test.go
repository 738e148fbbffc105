package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// cluster is a group of Stores in one process that talk over real TCP on
// 127.0.0.1, with cables that can be pulled: what is sent then vanishes, and
// nobody is told.
type cluster struct {
	t      testing.TB
	dir    string
	timers Timers

	mu    sync.Mutex
	nodes map[api.NodeID]*node
	cut   map[api.NodeID]bool
	late  api.NodeID // whose entries take lateness to come
}

// lateness is how much later than others a late node gets what is not small.
const lateness = 50 * time.Millisecond

type node struct {
	*Store
	id     api.NodeID
	addr   string
	cancel context.CancelFunc
	done   chan error
}

// kind timers for a starved machine under the race detector.
var testTimers = Timers{Contact: time.Second, Dial: time.Second, RPC: 5 * time.Second, Idle: 200 * time.Millisecond}

func newCluster(t testing.TB, ids ...api.NodeID) *cluster {
	return newClusterOf(t, testTimers, ids...)
}

func newClusterOf(t testing.TB, timers Timers, ids ...api.NodeID) *cluster {
	c := &cluster{t: t, dir: t.TempDir(), timers: timers, nodes: map[api.NodeID]*node{}, cut: map[api.NodeID]bool{}}
	t.Cleanup(c.stopAll)
	for i, id := range ids {
		c.start(id, func(cfg *Config) { cfg.Bootstrap = i == 0 })
		if i > 0 {
			c.ok(c.leader().AddVoter(c.ctx(), id, c.nodes[id].addr))
		} else {
			c.leader()
		}
	}
	return c
}

func (c *cluster) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *cluster) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// start runs a node, again at its old address where it has run before.
func (c *cluster) start(id api.NodeID, opts ...func(*Config)) *node {
	c.t.Helper()
	n, err := c.tryStart(id, opts...)
	c.ok(err)
	return n
}

func (c *cluster) tryStart(id api.NodeID, opts ...func(*Config)) (*node, error) {
	addr := "127.0.0.1:0"
	c.mu.Lock()
	if old := c.nodes[id]; old != nil {
		addr = old.addr
	}
	c.mu.Unlock()
	lis, err := net.Listen("tcp", addr)
	c.ok(err)
	addr = lis.Addr().String()
	cfg := Config{
		Dir: filepath.Join(c.dir, string(id)), NodeID: id, Addr: addr,
		Listener: lis, Dial: c.dialFrom(id), Forward: c.forwardFrom(id),
		Timers: c.timers, Log: slog.New(slog.NewTextHandler(c.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", id),
	}
	for _, opt := range opts {
		opt(&cfg)
	}
	store, err := New(cfg)
	if err != nil {
		return nil, err
	}
	n := &node{Store: store, id: id, addr: addr, done: make(chan error, 1)}
	var ctx context.Context
	ctx, n.cancel = context.WithCancel(context.Background())
	go func() { n.done <- store.Run(ctx) }()
	c.mu.Lock()
	c.nodes[id] = n
	c.cut[id] = false
	c.mu.Unlock()
	return n, nil
}

func (n *node) stop() error {
	n.cancel()
	err := <-n.done
	n.done <- err
	return err
}

func (c *cluster) stopAll() {
	var wg sync.WaitGroup
	for _, n := range c.nodes {
		wg.Go(func() { _ = n.stop() })
	}
	wg.Wait()
}

// pull cuts a node off, or plugs it in again. Connections of before stay dead.
func (c *cluster) pull(id api.NodeID, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut[id] = cut
}

func (c *cluster) isCut(ids ...api.NodeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, id := range ids {
		if c.cut[id] {
			return true
		}
	}
	return false
}

// delay has the entries of a node come later than those of others. Small messages
// go over connections of their own, and overtake them.
func (c *cluster) delay(id api.NodeID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = id
}

func (c *cluster) isLate(to api.NodeID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.late == to
}

// leader waits for a node that leads and has caught up.
func (c *cluster) leader(except ...api.NodeID) *node {
	c.t.Helper()
	return c.waitNode("a leader", func(n *node) bool {
		for _, id := range except {
			if n.id == id {
				return false
			}
		}
		return n.IsLeader()
	})
}

// waitNode waits until a node is as wanted, woken by changes of leadership.
func (c *cluster) waitNode(what string, want func(*node) bool) *node {
	c.t.Helper()
	ctx := c.ctx()
	for {
		wake := make(chan struct{}, 1)
		stop := make(chan struct{})
		var found *node
		c.mu.Lock()
		for _, n := range c.nodes {
			_, a := n.reign.get()
			_, b := n.leader.get()
			if want(n) {
				found = n
			}
			go func() {
				select {
				case <-a:
				case <-b:
				case <-stop:
					return
				}
				select {
				case wake <- struct{}{}:
				default:
				}
			}()
		}
		c.mu.Unlock()
		if found == nil {
			select {
			case <-wake:
			case <-ctx.Done():
				c.t.Fatalf("no %s", what)
			}
		}
		close(stop)
		if found != nil {
			return found
		}
	}
}

func (c *cluster) follower() *node {
	c.t.Helper()
	leader := c.leader()
	return c.waitNode("follower that knows the leader", func(n *node) bool {
		return n.id != leader.id && n.Leader().ID == leader.id
	})
}

func (c *cluster) forwardFrom(from api.NodeID) func(context.Context, api.NodeID, string, []byte) ([]byte, error) {
	return func(ctx context.Context, to api.NodeID, _ string, cmd []byte) ([]byte, error) {
		c.mu.Lock()
		n := c.nodes[to]
		c.mu.Unlock()
		if c.isCut(from, to) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return n.ApplyForwarded(ctx, cmd)
	}
}

func (c *cluster) dialFrom(from api.NodeID) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		c.mu.Lock()
		to := from
		for id, n := range c.nodes {
			if n.addr == addr {
				to = id
			}
		}
		c.mu.Unlock()
		if c.isCut(from, to) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return &cable{Conn: conn, c: c, ends: []api.NodeID{from, to}}, nil
	}
}

// cable is a connection, seen from its dialer, that goes dead while an end is cut.
type cable struct {
	net.Conn
	c    *cluster
	ends []api.NodeID

	mu   sync.Mutex
	dead bool
}

func (k *cable) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.dead || k.c.isCut(k.ends...) {
		k.dead = true
		// As the kernel does it after TCP_USER_TIMEOUT.
		_ = k.Conn.SetReadDeadline(time.Now().Add(k.c.timers.Dial))
		return len(p), nil
	}
	if len(p) >= 1024 && k.c.isLate(k.ends[1]) {
		time.Sleep(lateness)
	}
	return k.Conn.Write(p)
}

// a service and the command that makes it.
func createService(id, name string) state.Command {
	return state.Command{At: time.Unix(1700000000, 0), Ops: []state.Op{{PutService: &api.Service{
		ID:   api.ServiceID(id),
		Spec: swarm.ServiceSpec{Annotations: swarm.Annotations{Name: name}},
	}}}}
}

// setRegister writes the one node object that tests use as a register.
func setRegister(v int) state.Command {
	addr := fmt.Sprint(v)
	return state.Command{At: time.Unix(1700000000, 0), Ops: []state.Op{{ObserveNode: &state.ObserveNode{ID: "register", ManagerAddr: &addr}}}}
}

func makeRegister() state.Command {
	return state.Command{At: time.Unix(1700000000, 0), Ops: []state.Op{{PutNode: &api.Node{ID: "register"}}}}
}

var errTest = errors.New("on purpose")
