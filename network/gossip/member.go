package gossip

import (
	"encoding/json"
	"net"
	"strconv"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
)

// State is what gossip knows of a member's life.
type State uint8

// The states of a member.
const (
	Alive   State = iota
	Suspect       // did not answer somebody; has a moment to refute
	Dead          // did not refute
	Left          // said that it leaves the cluster
)

// String returns the state's name.
func (s State) String() string { return [...]string{"alive", "suspect", "dead", "left"}[s] }

// stateOf translates memberlist's states.
func stateOf(s memberlist.NodeStateType) State {
	switch s {
	case memberlist.StateAlive:
		return Alive
	case memberlist.StateSuspect:
		return Suspect
	case memberlist.StateLeft:
		return Left
	default:
		return Dead
	}
}

// Meta is what a member tells all others of itself; it must stay below 512 bytes.
type Meta struct {
	Role identity.Role `json:"r"`
	Addr string        `json:"a,omitempty"` // where its daemon is reached, host:port; empty for a worker
}

// Member is a node as gossip sees it.
type Member struct {
	NodeID api.NodeID
	Meta   Meta
	Addr   string // host:port of its gossip
	State  State
	Since  time.Time // when this node learned of State
	// Host is what the host of a suspect or dead member says. All nodes ask in
	// a cluster of up to Timing.NudgeFanout, in a larger one only those whose
	// Meta.Role is manager: to the others it stays HostUnasked.
	Host Host
}

// member reads what memberlist has of a node.
func member(p *peeked) Member {
	m := Member{
		NodeID: api.NodeID(p.Node.Name),
		Addr:   net.JoinHostPort(p.Node.Addr.String(), strconv.Itoa(int(p.Node.Port))),
		State:  stateOf(p.State),
		Since:  p.StateChange,
	}
	_ = json.Unmarshal(p.Node.Meta, &m.Meta) // a member without readable meta is still a member
	return m
}
