package liveness

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/network/gossip"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Store is the leader's replicated state. Propose returns once the command is
// committed and applied, or has failed.
type Store interface {
	Follow() (*state.View, *state.Cursor)
	Propose(ctx context.Context, cmd state.Command) (state.Result, error)
}

// Gossip is what the loop hears of the nodes; *gossip.Gossip is one.
type Gossip interface {
	Members() []gossip.Member
	Changed() <-chan struct{}
}

// Config is what the loop needs.
type Config struct {
	Store  Store
	Gossip Gossip
	Log    *slog.Logger
}

// Loop writes the states of the nodes.
type Loop struct{ Config }

// New returns a loop; the leader runs it for its term.
func New(c Config) (*Loop, error) {
	if c.Store == nil || c.Gossip == nil || c.Log == nil {
		return nil, errors.New("liveness: Store, Gossip and Log must be set")
	}
	return &Loop{c}, nil
}

// Run watches the nodes until ctx, the leader's term, ends, and returns nil
// then. It returns the error of a proposal that failed: the term is over.
func (l *Loop) Run(ctx context.Context) error {
	var judge Judge
	view, cursor := l.Store.Follow()
	for {
		// The channel first and the members second, or a change between is missed.
		heard := l.Gossip.Changed()
		changes := judge.Step(time.Now(), slices.Collect(view.Nodes()), l.Gossip.Members())
		if judge.starved > 0 {
			l.Log.Warn("this manager was starved of CPU: no node is called down for a moment", "moment", judge.starved)
		}
		if len(changes) > 0 {
			if err := l.write(ctx, changes); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
			judge.promised = time.Now().Add(Tick) // waiting for a commit is not starving
		}
		if view = wait(ctx, view, cursor, heard); ctx.Err() != nil {
			return nil
		}
	}
}

// wait returns when a node or a member has changed, or after a Tick, with the
// newest state.
func wait(ctx context.Context, view *state.View, cursor *state.Cursor, heard <-chan struct{}) *state.View {
	due := time.NewTimer(Tick)
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return view
		case <-heard:
			return view
		case <-due.C:
			return view
		case <-cursor.Ready():
		}
		// Most events are about tasks, thousands in a second: they wake nobody.
		news := false
		for e, ok := cursor.TryNext(); ok; e, ok = cursor.TryNext() {
			view, news = e.View, news || e.Reset || len(e.Nodes) > 0
		}
		if news {
			return view
		}
	}
}

// write proposes the changes in one command. One for a node that has got
// another session meanwhile is dropped by the state machine.
func (l *Loop) write(ctx context.Context, changes []Change) error {
	cmd := state.Command{At: time.Now()}
	for _, c := range changes {
		cmd.Ops = append(cmd.Ops, state.Op{ObserveNode: &state.ObserveNode{ID: c.NodeID, Verdict: &c.Verdict, IfSession: c.Seen.Session}})
	}
	res, err := l.Store.Propose(ctx, cmd)
	if err := errors.Join(err, res.Err()); err != nil {
		return err
	}
	for _, c := range changes {
		if slices.Contains(res.Stale, string(c.NodeID)) {
			continue
		}
		log := l.Log.Info
		if c.State == api.NodeDown {
			log = l.Log.Warn
		}
		log("node is "+string(c.State), "node", c.NodeID, "was", c.Seen.State, "because", c.Message)
	}
	return nil
}
