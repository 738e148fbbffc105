package agent

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// Config is what a node needs to take part in the cluster's networks.
type Config struct {
	Self  api.NodeID
	Parts Parts
	// Suspects are the nodes that this one doubts, and a channel that is closed
	// when they are others. What they serve is in no balancer of this node and
	// under no name. May be nil.
	Suspects func() (map[api.NodeID]bool, <-chan struct{})
	// Explain says in sentences what a container in some networks is told about
	// a name, and why. May be nil.
	Explain func(set *fabric.Set, networks []api.NetworkID, name string) []string
	Log     *slog.Logger
}

// Parts make the kernel and the resolver agree with the fabric. Each remembers
// what it has set and changes only what differs. One that is nil is left out.
// Of each, Apply and Restore are called one at a time, and Close last and alone; the rest at any time.
type Parts struct {
	Overlay Overlay
	Balance Balance
	Ingress Ingress
	DNS     DNS
}

// Overlay joins the containers of a network on all hosts.
type Overlay interface {
	// Build makes the engine have a bridge for each network that is needed and
	// no other, and reports whether it has made or removed one. It remembers what
	// the engine has, unless it is to look again. It may take as long as the engine does.
	Build(ctx context.Context, set *fabric.Set, need map[api.NetworkID]bool, look bool) (changed bool, err error)
	// Apply connects the bridges that are there with those of the other hosts.
	Apply(set *fabric.Set, need map[api.NetworkID]bool) error
	// Ready reports whether containers may join the network: the last Apply found
	// its bridge and has connected it. The error says what is in the way.
	Ready(api.NetworkID) error
	// Attach keeps a container's interfaces as its networks are, until Detach.
	Attach(id string, pid int, networks []api.Attachment) error
	Detach(id string)
	// Restore puts back what others have changed.
	Restore() error
	// Watch calls changed when others may have changed something of it.
	Watch(ctx context.Context, changed func()) error
	Close(context.Context) error
}

// Balance answers virtual addresses in the namespaces of containers.
type Balance interface {
	Apply(set *fabric.Set, suspect func(api.NodeID) bool) error
	Attach(id string, pid int, networks []api.Attachment) error
	// AskHere has a container that is attached ask for names at an address of this
	// host, with its own address in that network, instead of other servers.
	AskHere(id string, instead []netip.Addr, at, own netip.Addr) error
	Detach(id string)
	// Settle returns when a container that is out of all balancers has accepted
	// the connections that were under way, or has had its time.
	Settle(ctx context.Context, id string) error
	Restore() error
	// Watch calls changed when others may have changed something of it.
	Watch(ctx context.Context, changed func()) error
	Close() error
}

// Ingress answers published ports on the host.
type Ingress interface {
	Apply(set *fabric.Set, suspect func(api.NodeID) bool) error
	Restore() error
	// Watch calls changed when others may have changed something of it.
	Watch(ctx context.Context, changed func()) error
	// Problems are the ports that are not answered here, and why.
	Problems() map[string]string
	Close() error
}

// DNS answers names.
type DNS interface {
	Apply(set *fabric.Set, suspect func(api.NodeID) bool)
	// Listen answers at these addresses and no others.
	Listen([]netip.Addr) error
	// Ready says that the container with this address has its balancers, so
	// that it may be told addresses.
	Ready(netip.Addr)
	// Unready says that this container is gone.
	Unready(netip.Addr)
	Close() error
}
