package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// Networking is what a container is made with.
type Networking struct {
	// Networks are in the order of the attachments.
	Networks []Endpoint
	// DNS is where it asks for names.
	DNS []netip.Addr
}

// Endpoint is a container's place in one network.
type Endpoint struct {
	Name  string // of the network, and of its bridge in the engine
	Addrs []netip.Addr
	MAC   net.HardwareAddr // nil without an IPv4 address
}

// Prepare returns when a container with these attachments may be made: the
// bridges of its networks are there and reach what the fabric had when Prepare was
// called. The networks stay until Detach, or until Prepare fails: a container
// that runs and was to get another one keeps those it has then. Its error has
// code unavailable where ctx ended while something was still to come.
func (a *Agent) Prepare(ctx context.Context, id string, networks []api.Attachment) (Networking, error) {
	came, before := a.hold(id, networks)
	for {
		s, changed := a.now()
		out, err := a.plan(s, came, networks)
		if err == nil {
			return out, nil
		}
		select {
		case <-changed:
		case <-a.closed:
			a.giveUp(id, before)
			return Networking{}, fmt.Errorf("networks of %s: %w", id, errLeaves)
		case <-ctx.Done():
			a.giveUp(id, before)
			return Networking{}, api.Errorf(api.CodeUnavailable, "networks of %s: %v", id, err)
		}
		if final(err) {
			a.giveUp(id, before)
			return Networking{}, fmt.Errorf("networks of %s: %w", id, err)
		}
	}
}

var errLeaves = api.Errorf(api.CodeUnavailable, "the node leaves the cluster, and its part of the networks has ended")

// final errors stay as they are however long one waits.
func final(err error) bool {
	return errors.Is(err, api.ErrConflict) || errors.Is(err, api.ErrInvalid) || errors.Is(err, api.ErrUnsupported)
}

// hold has the networks stay for a container, and tells which it had before.
func (a *Agent) hold(id string, networks []api.Attachment) (came int, before []api.Attachment) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before = a.holds[id]
	a.holds[id] = networks
	poke(a.wake)
	return a.came, before
}

// giveUp is a Prepare that fails.
func (a *Agent) giveUp(id string, before []api.Attachment) {
	if before == nil {
		a.Detach(id)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, held := a.holds[id]; held { // it has not ended meanwhile
		a.holds[id] = before
		poke(a.wake)
	}
}

func (a *Agent) now() (state, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.state, a.changed
}

// plan is the networking, or what is still missing.
func (a *Agent) plan(s state, came int, networks []api.Attachment) (Networking, error) {
	var out Networking
	if s.set == nil || s.came < came {
		return out, errors.New("no manager has sent the cluster's networks yet")
	}
	for _, at := range networks {
		n, gateways := s.set.Networks[at.Network], a.gateways(s, at.Network)
		switch {
		case n == nil:
			return out, fmt.Errorf("network %s is not known here", at.Network)
		case gateways == nil:
			return out, fmt.Errorf("network %q: this node has no address in it yet", n.Name)
		}
		if o := a.cfg.Parts.Overlay; o != nil {
			if err := o.Ready(n.ID); err != nil {
				return out, err
			}
		}
		out.Networks = append(out.Networks, Endpoint{Name: n.Name, Addrs: at.Addrs, MAC: mac(at.Addrs)})
		if out.DNS == nil { // one is enough: it answers for all networks of who asks
			out.DNS = gateways[:1]
		}
	}
	return out, nil
}

// gateways are this node's addresses in a network, IPv4 first.
func (a *Agent) gateways(s state, id api.NetworkID) []netip.Addr {
	host := s.set.Hosts[a.cfg.Self]
	if host == nil {
		return nil
	}
	if at := fabric.In(host.Gateways, id); at != nil && len(at.Addrs) > 0 {
		return at.Addrs
	}
	return nil
}

func mac(addrs []netip.Addr) net.HardwareAddr {
	addr := v4(addrs)
	if !addr.IsValid() {
		return nil
	}
	m := fabric.MAC(addr)
	return m[:]
}

// Attach hands a container that runs to the parts: its first process shows
// its network namespace. Call it right after its start, and for those that
// run when the daemon starts. Before the first update nothing is touched, so that
// what a previous daemon has set goes on until more is known.
func (a *Agent) Attach(_ context.Context, id string, pid int, networks []api.Attachment) error {
	a.handing.RLock()
	defer a.handing.RUnlock()
	if a.isClosed() {
		return fmt.Errorf("networks of container %s: %w", id, errLeaves)
	}
	a.mu.Lock()
	a.holds[id] = networks
	early := a.state.set == nil
	if early {
		a.early[id] = pid
	}
	a.mu.Unlock()
	if early {
		return nil
	}
	poke(a.wake)
	return a.attach(id, pid, networks)
}

func (a *Agent) attach(id string, pid int, networks []api.Attachment) error {
	err := a.attachTo(id, pid, networks)
	if errors.Is(err, fs.ErrNotExist) { // the engine has yet to notice, and to say how it ended
		return api.Errorf(api.CodeUnavailable, "container %s has ended: %v", id, err)
	}
	return err
}

func (a *Agent) attachTo(id string, pid int, networks []api.Attachment) error {
	p := a.cfg.Parts
	if p.Overlay != nil {
		if err := p.Overlay.Attach(id, pid, networks); err != nil {
			return fmt.Errorf("networks of %w", err)
		}
	}
	if p.Balance != nil {
		if err := p.Balance.Attach(id, pid, networks); err != nil {
			return fmt.Errorf("virtual addresses in container %s: %w", id, err)
		}
		if err := a.askHere(id, networks); err != nil {
			return fmt.Errorf("names in container %s: %w", id, err)
		}
	}
	if p.DNS != nil {
		each(networks, p.DNS.Ready)
	}
	return nil
}

// Asks says, before a container is attached, which servers for names it was made
// with. Where this node is none of them it is asked instead.
func (a *Agent) Asks(id string, servers []netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asks[id] = servers
}

// askHere has a container that was made with other servers ask this node.
func (a *Agent) askHere(id string, networks []api.Attachment) error {
	s, _ := a.now()
	a.mu.Lock()
	servers := a.asks[id]
	a.mu.Unlock()
	if slices.ContainsFunc(servers, func(server netip.Addr) bool { return a.answersAt(s, server) }) {
		return nil
	}
	servers = slices.DeleteFunc(slices.Clone(servers), netip.Addr.Is6)
	for _, at := range networks {
		here, own := v4(a.gateways(s, at.Network)), v4(at.Addrs)
		if len(servers) > 0 && here.IsValid() && own.IsValid() {
			return a.cfg.Parts.Balance.AskHere(id, servers, here, own)
		}
	}
	return nil
}

// answersAt reports whether an address is this node's in a network.
func (a *Agent) answersAt(s state, server netip.Addr) bool {
	for id := range s.set.Networks {
		if slices.Contains(a.gateways(s, id), server) {
			return true
		}
	}
	return false
}

// v4 is the first IPv4 address of some, or none.
func v4(addrs []netip.Addr) netip.Addr {
	i := slices.IndexFunc(addrs, netip.Addr.Is4)
	if i < 0 {
		return netip.Addr{}
	}
	return addrs[i]
}

func each(networks []api.Attachment, f func(netip.Addr)) {
	for _, at := range networks {
		for _, addr := range at.Addrs {
			f(addr)
		}
	}
}

// attachEarly attaches the containers that came before the first update.
func (a *Agent) attachEarly() {
	for id, pid := range a.takeEarly() {
		networks, held := a.held(id)
		if !held {
			continue // it has ended meanwhile
		}
		err := a.attach(id, pid, networks)
		if _, held = a.held(id); !held { // it has ended just now
			a.letGo(id, networks)
		} else if err != nil {
			a.cfg.Log.Error("a container that ran before the daemon is without virtual addresses; a new task gets them", "container", id, "err", err)
		}
	}
}

func (a *Agent) held(id string) (networks []api.Attachment, held bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	networks, held = a.holds[id]
	return networks, held
}

func (a *Agent) takeEarly() map[string]int {
	a.mu.Lock()
	defer a.mu.Unlock()
	early := a.early
	a.early = map[string]int{}
	return early
}

// Settle is called when a container is out of the balancers of all nodes, before
// it is told to stop: it returns when the container has accepted the connections
// that were under way, or has had its time.
func (a *Agent) Settle(ctx context.Context, id string) error {
	if b := a.cfg.Parts.Balance; b != nil {
		return b.Settle(ctx, id)
	}
	return nil
}

// Detach says that a container has ended or was never made.
func (a *Agent) Detach(id string) {
	a.mu.Lock()
	networks, held := a.holds[id]
	delete(a.holds, id)
	delete(a.early, id)
	delete(a.asks, id)
	a.mu.Unlock()
	if !held {
		return
	}
	a.handing.RLock()
	defer a.handing.RUnlock()
	if !a.isClosed() {
		a.letGo(id, networks)
		poke(a.wake)
	}
}

// letGo has the parts forget a container.
func (a *Agent) letGo(id string, networks []api.Attachment) {
	p := a.cfg.Parts
	if p.Balance != nil {
		p.Balance.Detach(id)
	}
	if p.Overlay != nil {
		p.Overlay.Detach(id)
	}
	if p.DNS != nil {
		each(networks, p.DNS.Unready)
	}
}
