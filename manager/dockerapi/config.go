package dockerapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Role is what this node is at the moment.
type Role int

// The roles of a node, as far as the API is concerned.
const (
	Inactive Role = iota // member of no cluster
	Worker               // member that holds no replicated state
	Manager              // holds the state, and is not the leader
	Leader               // the manager that writes the state
	Locked               // a manager that waits for the cluster's unlock key
)

// Node is the daemon itself: its membership, which no command to the store
// can change, since there is no store before it.
type Node interface {
	// ID is this node's ID; empty when Inactive.
	ID() api.NodeID
	// Role is asked anew for every request.
	Role() Role
	// Init makes a cluster of this node alone and returns the node's ID once
	// it is its leader. Errors: conflict if the node is a member already.
	Init(ctx context.Context, req swarm.InitRequest) (api.NodeID, error)
	// Join makes this node a member, and returns when it is ready.
	Join(ctx context.Context, req swarm.JoinRequest) error
	// Leave ends the membership. Without force a manager refuses where its
	// going would cost the cluster its quorum.
	Leave(ctx context.Context, force bool) error
	// Unlock starts a manager that is Locked, with the unlock key in its text
	// form. Errors: invalid where it is no key, wrong key where it is another
	// one, conflict where the node is not locked.
	Unlock(ctx context.Context, key string) error
	// Info says what the node knows of itself: NodeID, NodeAddr,
	// LocalNodeState, ControlAvailable, Error, RemoteManagers. On a manager
	// the API adds Cluster, Nodes and Managers from the state.
	Info(ctx context.Context) swarm.Info
}

// Store is the replicated state. It is used only while Node says Manager or
// Leader; a call that comes too late must fail and not panic.
type Store interface {
	// ReadView returns a view that has seen every write acknowledged before
	// the call. Errors: api.ErrNotLeader; unavailable.
	ReadView(ctx context.Context) (*state.View, error)
	// View returns what this manager knows now; nil if it is none.
	View() *state.View
	// Follow returns a view and its later changes; nil, nil if this node is no manager.
	Follow() (*state.View, *state.Cursor)
	// Propose returns once the command is committed and applied. Its error is
	// the command's (state.Result.Err), or not leader, or unavailable.
	Propose(ctx context.Context, cmd state.Command) (state.Result, error)
	// Rehearse returns the error that Propose would have, and changes nothing.
	Rehearse(ctx context.Context, cmd state.Command) error
}

// Tunnel reaches the engines of other nodes.
type Tunnel interface {
	// Engine returns a raw connection to the container engine of a node, this
	// one included. It gives up when ctx ends.
	Engine(ctx context.Context, node api.NodeID) (net.Conn, error)
	// Daemon returns a connection to the daemon of a node, which serves
	// API.OfNode there.
	Daemon(ctx context.Context, node api.NodeID) (net.Conn, error)
}

// Prober tells what only this node's kernel knows.
type Prober interface {
	// Reach sends a packet of the full size that this node's part of a network
	// takes, which nobody on the way may cut, to an address in it, and waits for
	// the answer.
	Reach(ctx context.Context, network api.NetworkID, to netip.Addr) (size int, took time.Duration, err error)
	// Look goes through this node's steps on the way to a service.
	Look(ctx context.Context, q *api.TraceRequest) []api.TraceStep
}

// Networks is this node's own part of the cluster's networks.
type Networks interface {
	// Known returns the networks that the node has heard of, whatever its role.
	Known() []*fabric.Network
	// Prepare returns when the node has its part of the networks, and what a
	// container is made with to be in them. They stay until Detach.
	Prepare(ctx context.Context, id string, networks []api.Attachment) (Networking, error)
	// Attach gives a container that runs what the networks mean to it. servers
	// are those for names that it was made with, none where the engine has chosen
	// them. Once more for one that it has been called for already is fine.
	Attach(ctx context.Context, id string, pid int, networks []api.Attachment, servers []netip.Addr) error
	// Detach forgets a container that has ended, or was never made.
	Detach(id string)
}

// Networking is how a container is in networks of the cluster.
type Networking struct {
	Networks []Bridge     // as many as were asked for, in the same order
	DNS      []netip.Addr // whom it asks for names
}

// Bridge is a container's place in this node's part of a network.
type Bridge struct {
	Network api.NetworkID
	Name    string // the engine's network
	Addrs   []netip.Addr
	MAC     net.HardwareAddr
}

// Config is what the API is made of.
type Config struct {
	Node   Node
	Store  Store
	Tunnel Tunnel
	// Forward hands a request to the leader and streams the answer back. It is
	// called only while Node says Manager. It should wait a moment for a
	// leader to be elected, since the caller can do no better, and answer 503
	// where there is none. The leader's end of it serves API.Forwarded.
	Forward http.Handler
	// ToManager hands a request of this node's own, about its own containers, to
	// a manager. It is called only while Node says Worker.
	ToManager http.Handler
	// Networks, where it is nil, makes none of this node's containers part of
	// the cluster's networks.
	Networks Networks
	// Prober, where it is nil, leaves questions about this node's kernel without
	// an answer.
	Prober Prober
	// Volumes serves what managers ask of this node's volumes, below /volumes/.
	// Nil: it moves none.
	Volumes http.Handler
	// MoveProgress says how far a move of a volume has come, by its ID; nil: nobody
	// knows. It is asked on the leader.
	MoveProgress func(id string) *api.MoveProgress
	// DialEngine connects to the container engine of this host.
	DialEngine func(ctx context.Context) (net.Conn, error)
	// Explain says of the nodes that a waiting task could have why each does not take it.
	Explain func(*state.View, *api.Task) []api.NodeReason
	// ImageNamed says which image a name is on the engine of a manager, or of
	// another one where that has none of the name; nil: no manager has one. It
	// answers within a few seconds. Nil: nobody can say.
	ImageNamed func(ctx context.Context, at api.NodeID, name string) *api.Image
	// Routes are the prefixes that this host has routes for, which no network
	// gets as its subnet. Nil: it has none.
	Routes func() []netip.Prefix
	// NewToken makes a join token that pins the cluster's root certificate.
	NewToken func(rootPEM []byte) string
	// RotateRoot is the cluster with a successor of its root: the one in PEM, or
	// a new one where there is none.
	RotateRoot func(c *api.Cluster, certPEM, keyPEM []byte) (*api.Cluster, error)
	// Version of this program, told by /version and /info.
	Version string
	// LogPatience is how long the logs of a node that does not answer are
	// waited for before the others go on without it. Longer: fewer partial
	// logs from busy nodes; shorter: a dead node holds up the reader less.
	// 0 is 3 s.
	LogPatience time.Duration
	// RegistryPatience is how long the look-up of an image's digest may take.
	// Clients ask for it before they create a service and go on without it, so
	// a registry that is out of reach must not hold them up. Longer: digests
	// from slow registries too; shorter: less to wait where there is none.
	// 0 is 2 s.
	RegistryPatience time.Duration
	// NewID and Now are api.NewID and time.Now unless set.
	NewID func() string
	Now   func() time.Time
	Log   *slog.Logger
}

func (c *Config) complete() error {
	for name, missing := range map[string]bool{
		"Node": c.Node == nil, "Store": c.Store == nil, "Tunnel": c.Tunnel == nil, "Forward": c.Forward == nil,
		"DialEngine": c.DialEngine == nil, "NewToken": c.NewToken == nil, "RotateRoot": c.RotateRoot == nil, "Explain": c.Explain == nil,
	} {
		if missing {
			return errors.New("dockerapi: Config." + name + " is missing")
		}
	}
	if c.ImageNamed == nil {
		c.ImageNamed = func(context.Context, api.NodeID, string) *api.Image { return nil }
	}
	if c.Volumes == nil {
		c.Volumes = http.NotFoundHandler()
	}
	if c.MoveProgress == nil {
		c.MoveProgress = func(string) *api.MoveProgress { return nil }
	}
	if c.Routes == nil {
		c.Routes = func() []netip.Prefix { return nil }
	}
	if c.NewID == nil {
		c.NewID = api.NewID
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.LogPatience == 0 {
		c.LogPatience = 3 * time.Second
	}
	if c.RegistryPatience == 0 {
		c.RegistryPatience = 2 * time.Second
	}
	return nil
}
