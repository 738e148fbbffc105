package overlay

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/netns"
	"github.com/swarmctl/swarmctl/network/shortcut"
)

// Config is what a host's part of the overlay needs.
type Config struct {
	Self    api.NodeID
	Cluster string
	Engine  Engine
	// Netns is the path of the host's network namespace; empty: the program's own.
	Netns string
	Log   *slog.Logger
}

// Overlay is this host's part of all networks that it needs. Apply and Restore
// must be called one at a time, and Build must; Close comes last and alone.
// Everything else may be called at any time.
type Overlay struct {
	cfg  Config
	host *netlink.Handle

	mu         sync.Mutex // guards these; never held while the kernel or the engine is asked
	engine     bridges
	replaced   map[api.NetworkID]bool  // bridges that Build has made or removed since the last Apply
	ready      map[api.NetworkID]error // nil: containers may join
	expected   map[string]expectation  // interfaces, by name
	underlay   underlay
	containers map[string]joined
	frames     map[api.NetworkID]frame // as containers were told last
	shortcuts  map[api.NetworkID]*shortcut.Shortcut
	closed     bool

	// These belong to Apply and Restore.
	untracked *untracked
	segments  map[string]*installed // by the name of the VXLAN device
	known     bool                  // segments is what the kernel has
	set       *fabric.Set
	need      map[api.NetworkID]bool
	// unshortened says that the kernel has no shortcuts to give.
	unshortened bool
}

// New opens netlink in the host's namespace. Close ends it.
func New(c Config) (*Overlay, error) {
	if c.Self == "" || c.Cluster == "" || c.Engine == nil || c.Log == nil {
		return nil, errors.New("overlay: Self, Cluster, Engine and Log must be set")
	}
	h, err := netns.Handle(c.Netns)
	if err != nil {
		return nil, fmt.Errorf("overlay: netlink: %w", err)
	}
	u, err := newUntracked(c.Netns)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("overlay: %w", err)
	}
	return &Overlay{
		cfg: c, host: h, untracked: u,
		engine:   bridges{known: map[api.NetworkID]fabric.Bridge{}, why: map[api.NetworkID]error{}, going: map[api.NetworkID]bool{}},
		replaced: map[api.NetworkID]bool{}, ready: map[api.NetworkID]error{},
		containers: map[string]joined{}, frames: map[api.NetworkID]frame{},
		expected: map[string]expectation{}, segments: map[string]*installed{},
		shortcuts: map[api.NetworkID]*shortcut.Shortcut{},
	}, nil
}

// Apply makes the kernel agree with the fabric for the networks that are
// needed and whose bridge is there, and changes only what differs from what it
// has set before. A bridge that is no longer needed stays connected until the
// engine has removed it.
func (o *Overlay) Apply(set *fabric.Set, need map[api.NetworkID]bool) error {
	o.set, o.need = set, need
	if !o.known {
		if err := o.read(); err != nil {
			return fmt.Errorf("read what the kernel has: %w", err)
		}
	}
	wanted := plan(set, o.present(need), o.cfg.Self, o.room(set))
	if len(wanted) > 0 {
		if err := o.untracked.agree(); err != nil { // it costs speed and nothing else
			o.cfg.Log.Warn("frames of overlay networks are tracked", "err", err)
		}
	}
	o.lengthen(wanted)
	errs := []error{o.drop(wanted)}
	ready := map[api.NetworkID]error{}
	for id, s := range wanted {
		err := o.connect(s)
		if err != nil {
			err = fmt.Errorf("network %q: %w", s.name, err)
		}
		if ready[id] = err; !errors.Is(err, errNoBridge) {
			errs = append(errs, err)
		}
	}
	o.mu.Lock()
	o.ready = ready
	o.mu.Unlock()
	err := errors.Join(errs...)
	o.known = o.known && err == nil // the next attempt looks at what there is
	return err
}

// Restore puts back what others have changed in the kernel.
func (o *Overlay) Restore() error {
	o.known, o.untracked.known = false, false
	o.mu.Lock()
	o.underlay = underlay{}
	o.mu.Unlock()
	if o.set == nil {
		return nil
	}
	return o.Apply(o.set, o.need)
}

// errNoBridge is a network whose bridge the engine has yet to make.
var errNoBridge = errors.New("its bridge on this host is not there yet")

// Ready reports whether containers may join a network, and if not, why.
func (o *Overlay) Ready(id api.NetworkID) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if why := o.engine.why[id]; why != nil {
		return why
	}
	err, planned := o.ready[id]
	if !planned || o.engine.going[id] {
		return fmt.Errorf("network %s: %w", id, errNoBridge)
	}
	return err
}

// present are the networks that are needed, and those whose bridge the engine
// has still. It takes over which of them are not what they were.
func (o *Overlay) present(need map[api.NetworkID]bool) map[api.NetworkID]bool {
	out := maps.Clone(need)
	o.mu.Lock()
	defer o.mu.Unlock()
	for id := range o.engine.known {
		out[id] = true
	}
	for id := range o.replaced {
		if s := o.segments[fabric.VXLANName(id)]; s != nil {
			s.bridge, s.checked = 0, nil
		}
	}
	clear(o.replaced)
	return out
}

// has reports whether the engine is known to have a network's bridge, and to
// keep it, and whether it was asked at all.
func (o *Overlay) has(id api.NetworkID) (known, asked bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.engine.known[id]
	return ok && !o.engine.going[id], o.engine.listed
}

// underlay is the hosts' own network as seen from here.
type underlay struct {
	hosts []netip.Addr // that room was found for
	room  int          // the largest packet that reaches all of them
	links map[int]int  // the MTU of the interfaces towards them, by index
}
