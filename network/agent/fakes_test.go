package agent

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// world is an agent with parts that remember what they were told and fail as
// they are told to.
type world struct {
	t *testing.T
	*Agent
	log bytes.Buffer

	mu       sync.Mutex
	did      []string // what the parts did, in order: "balance 5"
	when     []time.Time
	fail     map[string]error // by part
	hold     map[string]chan struct{}
	bridges  map[api.NetworkID]bool // that the engine has
	joined   map[api.NetworkID]bool // that the last Apply has seen
	need     map[api.NetworkID]bool
	doubted  map[api.NodeID]bool // as the balancer was told
	at       []netip.Addr        // where names are answered
	hear     map[string]func()   // how a part hears of others
	suspects map[api.NodeID]bool
	doubting chan struct{}
}

// start runs an agent in a bubble of synctest; it ends with the test.
func start(t *testing.T) *world {
	w := &world{
		t: t, fail: map[string]error{}, hold: map[string]chan struct{}{}, bridges: map[api.NetworkID]bool{},
		hear: map[string]func(){}, doubting: make(chan struct{}),
	}
	a, err := New(Config{
		Self: "me", Log: slog.New(slog.NewTextHandler(&w.log, nil)), Suspects: w.doubts,
		Explain: func(set *fabric.Set, networks []api.NetworkID, name string) []string {
			return []string{fmt.Sprintf("%s in %v: %d services", name, networks, len(set.Services))}
		},
		Parts: Parts{Overlay: &overlayFake{w}, Balance: &balanceFake{w}, Ingress: &ingressFake{w}, DNS: &dnsFake{w}},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Agent = a
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := a.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

func (w *world) doubts() (map[api.NodeID]bool, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.suspects, w.doubting
}

func (w *world) doubt(ids ...api.NodeID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.suspects = map[api.NodeID]bool{}
	for _, id := range ids {
		w.suspects[id] = true
	}
	close(w.doubting)
	w.doubting = make(chan struct{})
}

// failing sets or clears how a part fails.
func (w *world) failing(part string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail[part] = err
}

// do is one thing that a part does: it waits where the part is held up.
func (w *world) do(part, what string) error {
	w.mu.Lock()
	w.did, w.when = append(w.did, part+" "+what), append(w.when, time.Now())
	held, err := w.hold[part], w.fail[part]
	w.mu.Unlock()
	if held != nil {
		<-held
	}
	return err
}

// holdUp makes a part take until the returned function is called.
func (w *world) holdUp(part string) (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := make(chan struct{})
	w.hold[part] = c
	return func() {
		w.mu.Lock()
		delete(w.hold, part)
		w.mu.Unlock()
		close(c)
	}
}

// times are when a part did something, from the first time on.
func (w *world) times(what string) (list []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var first time.Time
	for i, d := range w.did {
		if d != what {
			continue
		}
		if first.IsZero() {
			first = w.when[i]
		}
		list = append(list, w.when[i].Sub(first))
	}
	return list
}

func (w *world) count(prefix string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.did {
		if strings.HasPrefix(d, prefix) {
			n++
		}
	}
	return n
}

// all is everything that was done so far.
func (w *world) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.did)
}

// applied waits until the agent has nothing to do and wants an index applied.
func (w *world) wantApplied(index uint64) {
	w.t.Helper()
	synctest.Wait()
	if got, _ := w.Applied(); got != index {
		w.t.Errorf("applied %d, want %d; done: %v", got, index, w.all())
	}
}

type overlayFake struct{ w *world }

func (o *overlayFake) Build(_ context.Context, set *fabric.Set, need map[api.NetworkID]bool, look bool) (bool, error) {
	w := o.w
	if err := w.do("engine", fmt.Sprint(look)); err != nil {
		return false, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := false
	for id := range need {
		if fabric.In(set.Hosts["me"].Gateways, id) != nil && !w.bridges[id] {
			w.bridges[id], changed = true, true
		}
	}
	for id := range w.bridges {
		if !need[id] {
			delete(w.bridges, id)
			changed = true
		}
	}
	return changed, nil
}

func (o *overlayFake) Apply(set *fabric.Set, need map[api.NetworkID]bool) error {
	if err := o.w.do("overlay", fmt.Sprint(set.Index)); err != nil {
		return err
	}
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	o.w.need, o.w.joined = need, map[api.NetworkID]bool{}
	for id := range need {
		o.w.joined[id] = o.w.bridges[id]
	}
	return nil
}

func (o *overlayFake) Ready(id api.NetworkID) error {
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	if err := o.w.fail["engine"]; err != nil {
		return err
	}
	if !o.w.joined[id] {
		return fmt.Errorf("network %s has no bridge", id)
	}
	return nil
}

func (o *overlayFake) Attach(id string, pid int, _ []api.Attachment) error {
	return o.w.do("overlay attach", fmt.Sprintf("%s %d", id, pid))
}
func (o *overlayFake) Detach(id string) { _ = o.w.do("overlay", "detach "+id) }
func (o *overlayFake) Restore() error   { return o.w.do("overlay", "restore") }

func (o *overlayFake) Watch(ctx context.Context, changed func()) error {
	return o.w.watch(ctx, "overlay", changed)
}
func (o *overlayFake) Close(context.Context) error { return o.w.do("overlay", "close") }

func (w *world) watch(ctx context.Context, part string, changed func()) error {
	w.mu.Lock()
	w.hear[part] = changed
	w.mu.Unlock()
	<-ctx.Done()
	return nil
}

type balanceFake struct{ w *world }

func (b *balanceFake) Apply(set *fabric.Set, suspect func(api.NodeID) bool) error {
	err := b.w.do("balance", fmt.Sprint(set.Index))
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	b.w.doubted = map[api.NodeID]bool{}
	for id := range set.Hosts {
		if suspect(id) {
			b.w.doubted[id] = true
		}
	}
	return err
}

func (b *balanceFake) Attach(id string, pid int, _ []api.Attachment) error {
	return b.w.do("balance", fmt.Sprintf("attach %s %d", id, pid))
}
func (b *balanceFake) AskHere(id string, instead []netip.Addr, at, own netip.Addr) error {
	return b.w.do("balance", fmt.Sprintf("names %s %v at %s from %s", id, instead, at, own))
}
func (b *balanceFake) Settle(_ context.Context, id string) error {
	return b.w.do("balance", "settle "+id)
}
func (b *balanceFake) Detach(id string) { _ = b.w.do("balance", "detach "+id) }
func (b *balanceFake) Restore() error   { return b.w.do("balance", "restore") }
func (b *balanceFake) Watch(ctx context.Context, changed func()) error {
	return b.w.watch(ctx, "balance", changed)
}
func (b *balanceFake) Close() error { return b.w.do("balance", "close") }

type ingressFake struct{ w *world }

func (i *ingressFake) Apply(set *fabric.Set, _ func(api.NodeID) bool) error {
	return i.w.do("ingress", fmt.Sprint(set.Index))
}
func (i *ingressFake) Restore() error { return i.w.do("ingress", "restore") }
func (i *ingressFake) Watch(ctx context.Context, changed func()) error {
	return i.w.watch(ctx, "ingress", changed)
}
func (i *ingressFake) Problems() map[string]string { return map[string]string{"80/tcp": "taken"} }
func (i *ingressFake) Close() error                { return i.w.do("ingress", "close") }

type dnsFake struct{ w *world }

func (d *dnsFake) Apply(set *fabric.Set, _ func(api.NodeID) bool) {
	_ = d.w.do("dns", fmt.Sprint(set.Index))
}

func (d *dnsFake) Listen(at []netip.Addr) error {
	d.w.mu.Lock()
	defer d.w.mu.Unlock()
	d.w.at = slices.Clone(at)
	return d.w.fail["dns"]
}
func (d *dnsFake) Ready(a netip.Addr)   { _ = d.w.do("dns", "ready "+a.String()) }
func (d *dnsFake) Unready(a netip.Addr) { _ = d.w.do("dns", "unready "+a.String()) }
func (d *dnsFake) Close() error         { return d.w.do("dns", "close") }

// The fabric of the tests: network n1 with hosts me (10.1.0.253) and you (10.1.0.252).

func attach(network api.NetworkID, addrs ...string) []api.Attachment {
	a := api.Attachment{Network: network}
	for _, addr := range addrs {
		a.Addrs = append(a.Addrs, netip.MustParseAddr(addr))
	}
	return []api.Attachment{a}
}

func me(gateways ...api.Attachment) *fabric.Host {
	return &fabric.Host{ID: "me", Number: 1, Addr: netip.MustParseAddr("192.0.2.1"), Gateways: gateways}
}

func full(index uint64) *fabric.Update {
	return &fabric.Update{
		Index: index, Full: true,
		Networks: []*fabric.Network{{ID: "n1", Name: "web", Subnets: []fabric.Subnet{{Prefix: netip.MustParsePrefix("10.1.0.0/24"), VXLAN: 4097}}}},
		Hosts: []*fabric.Host{
			me(attach("n1", "10.1.0.253")...),
			{ID: "you", Number: 2, Addr: netip.MustParseAddr("192.0.2.2"), Gateways: attach("n1", "10.1.0.252")},
		},
	}
}

func endpoint(id string, node api.NodeID, addr string) *fabric.Endpoint {
	return &fabric.Endpoint{ID: id, Node: node, Networks: attach("n1", addr)}
}
