package mover

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/docker/go-units"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Store is the replicated state.
type Store interface {
	View() *state.View
	Follow() (*state.View, *state.Cursor)
	Propose(ctx context.Context, cmd state.Command) (state.Result, error)
}

// Config is what a Keeper needs.
type Config struct {
	Store    Store
	Dial     Dial
	Progress *Progress
	Log      *slog.Logger
	// Stall is for how long nothing may pass before a move is given up. Longer bears
	// with slow disks; the tasks wait meanwhile. 0 is 2 min.
	Stall time.Duration
	// StopWithin is how long the tasks may take to stop. 0 is 15 min.
	StopWithin time.Duration
}

const (
	// lookEvery is how often it is looked whether what is waited for has come.
	lookEvery = 200 * time.Millisecond
	// discardAgain is the pause before another attempt to remove what was left.
	discardAgain = 5 * time.Second
	// tellWithin is how long a node may take to tell of a volume that it was given.
	tellWithin = 30 * time.Second
)

// Keeper is the leader's loop.
type Keeper struct {
	cfg   Config
	group *errgroup.Group

	mu   sync.Mutex
	busy map[string]bool // moves under way, and copies that are being removed
}

// NewKeeper returns the loop of one term.
func NewKeeper(cfg Config) *Keeper {
	if cfg.Stall == 0 {
		cfg.Stall = 2 * time.Minute
	}
	if cfg.StopWithin == 0 {
		cfg.StopWithin = 15 * time.Minute
	}
	return &Keeper{cfg: cfg, busy: map[string]bool{}}
}

// Run works until ctx ends, that is, for as long as this manager leads. A move
// that an earlier leader has begun is ended first: how far it came died with it.
func (k *Keeper) Run(ctx context.Context) error {
	k.group, ctx = errgroup.WithContext(ctx)
	k.group.Go(func() error {
		view, cursor := k.cfg.Store.Follow()
		for _, j := range jobsOf(view) {
			if j.move.UnderWay() {
				k.start(j.move.ID, func() error {
					return k.finish(ctx, j, errors.New("the leader of the cluster changed: begin it again"))
				})
			}
		}
		for {
			k.pass(ctx, view)
			for {
				e, err := cursor.Next(ctx)
				if err != nil {
					return err
				}
				if view = e.View; concerns(e) {
					break
				}
			}
		}
	})
	return k.group.Wait()
}

// concerns reports whether an event says anything new of volumes.
func concerns(e *state.Event) bool {
	return e.Reset || slices.ContainsFunc(e.Nodes, func(p state.Pair[api.Node]) bool {
		switch {
		case p.Before == nil || p.After == nil:
			return true
		case len(p.Before.Volumes) != len(p.After.Volumes):
			return true
		}
		return len(p.After.Volumes) > 0 && &p.Before.Volumes[0] != &p.After.Volumes[0]
	})
}

// job is one copy of a volume that a move concerns.
type job struct {
	node *api.Node
	name string
	move *api.VolumeMove
}

// jobsOf are the moves under way, once each, and the copies that were left.
func jobsOf(v *state.View) (list []job) {
	seen := map[string]bool{}
	for n := range v.Nodes() {
		for i := range n.Volumes {
			m := n.Volumes[i].Move
			if m == nil || m.Err != "" || m.UnderWay() && seen[m.ID] {
				continue
			}
			seen[m.ID] = seen[m.ID] || m.UnderWay()
			list = append(list, job{n, n.Volumes[i].Name, m})
		}
	}
	return list
}

func (k *Keeper) pass(ctx context.Context, view *state.View) {
	for _, j := range jobsOf(view) {
		if j.move.UnderWay() {
			k.start(j.move.ID, func() error { return k.finish(ctx, j, k.carry(ctx, j)) })
			continue
		}
		k.start(j.move.ID+" "+string(j.node.ID), func() error { return k.clear(ctx, j) })
	}
}

// start runs f unless it runs already, or has run: a move has one try.
func (k *Keeper) start(key string, f func() error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.busy[key] {
		k.busy[key] = true
		k.group.Go(f)
	}
}

// finish writes how a move has ended. It is over before only where somebody has
// taken one of the nodes out of the cluster.
func (k *Keeper) finish(ctx context.Context, j job, failed error) error {
	end := &state.EndMove{ID: j.move.ID, Name: j.name, From: j.move.From, To: j.move.To}
	if failed != nil {
		end.Err = failed.Error()
	}
	defer k.cfg.Progress.set(j.move.ID, nil)
	for ctx.Err() == nil {
		err := k.propose(ctx, state.Op{EndMove: end})
		switch {
		case err == nil:
			k.cfg.Log.Info("move of a volume ended", "volume", j.name, "move", j.move.ID, "from", j.move.From, "to", j.move.To, "err", failed)
			return nil
		case errors.Is(err, api.ErrNotLeader):
			return err
		case errors.Is(err, api.ErrConflict) && end.Err == "":
			end.Err = err.Error() // what was copied has gone meanwhile
		case errors.Is(err, api.ErrConflict):
			return nil
		default:
			rest(ctx, time.Second)
		}
	}
	return ctx.Err()
}

func (k *Keeper) propose(ctx context.Context, op state.Op) error {
	res, err := k.cfg.Store.Propose(ctx, state.Command{At: time.Now(), Ops: []state.Op{op}})
	if err != nil {
		return err
	}
	return res.Err()
}

func rest(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// carry does a move, but for its end. Any error leaves the old copy as it was.
func (k *Keeper) carry(term context.Context, j job) error {
	ctx, cancel := context.WithCancelCause(term)
	defer cancel(nil)
	go k.watch(ctx, j, cancel) // ends with the context
	v := k.cfg.Store.View()
	from, to := newPeer(k.cfg.Dial, j.move.From, v.NodeName(j.move.From)), newPeer(k.cfg.Dial, j.move.To, v.NodeName(j.move.To))
	defer from.close()
	defer to.close()
	err := k.steps(ctx, j, from, to, cancel)
	if cause := context.Cause(ctx); err != nil && cause != nil && term.Err() == nil {
		return cause
	}
	return err
}

func (k *Keeper) steps(ctx context.Context, j job, from, to *peer, cancel context.CancelCauseFunc) error {
	step := func(what string, done, size int64) {
		k.cfg.Progress.set(j.move.ID, &api.MoveProgress{Step: what, Done: done, Size: size})
	}
	step("stopping the tasks that use it", 0, 0)
	if err := k.awaitFree(ctx, j, from); err != nil {
		return err
	}
	l, err := from.look(ctx, j.name, true)
	if err != nil {
		return err
	}
	stall := time.AfterFunc(k.cfg.Stall, func() { cancel(fmt.Errorf("nothing got on its way for %s", k.cfg.Stall)) })
	defer stall.Stop()
	var done int64
	step("copying", 0, l.Size)
	sum, err := pipe(ctx, from, to, j.move.ID, l, func(n int) {
		stall.Reset(k.cfg.Stall)
		done += int64(n)
		step("copying", done, max(l.Size, done))
	})
	if err != nil {
		return err
	}
	stall.Stop()
	step("checking", done, done)
	k.cfg.Log.Info("volume copied", "volume", j.name, "entries", sum.Entries, "bytes", sum.Bytes, "sha256", sum.SHA256)
	return k.awaitTold(ctx, j)
}

// watch gives a move up when one of its nodes is down or has left.
func (k *Keeper) watch(ctx context.Context, j job, cancel context.CancelCauseFunc) {
	for ctx.Err() == nil {
		v := k.cfg.Store.View()
		for _, id := range []api.NodeID{j.move.From, j.move.To} {
			if n := v.Node(id); n == nil || n.Status.State != api.NodeReady {
				cancel(fmt.Errorf("node %s went down", v.NodeName(id)))
				return
			}
		}
		rest(ctx, lookEvery)
	}
}

// awaitFree waits until no task uses the volume and no container has it.
func (k *Keeper) awaitFree(ctx context.Context, j job, from *peer) error {
	end := time.Now().Add(k.cfg.StopWithin)
	who := ""
	for time.Now().Before(end) && ctx.Err() == nil {
		if n := k.cfg.Store.View().Node(j.move.From); n != nil && len(k.cfg.Store.View().TasksWithVolume(n, j.name)) == 0 {
			l, err := from.look(ctx, j.name, false)
			switch {
			case err != nil:
				return err
			case len(l.Others) > 0:
				return fmt.Errorf("container %s of node %s, which is no task of the cluster, has the volume: remove it first", strings.Join(l.Others, ", "), from.name)
			case len(l.Tasks) == 0:
				return nil
			}
			who = ": container " + strings.Join(l.Tasks, ", ") + " has it"
		}
		rest(ctx, lookEvery)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("it was not free within %s%s", units.HumanDuration(k.cfg.StopWithin), who)
}

// awaitTold waits until the new node has told of its copy: the cluster must know
// of it before the old one may go.
func (k *Keeper) awaitTold(ctx context.Context, j job) error {
	end := time.Now().Add(tellWithin)
	for time.Now().Before(end) && ctx.Err() == nil {
		if n := k.cfg.Store.View().Node(j.move.To); n != nil {
			if v := n.Volume(j.name); v != nil && v.CreatedAt != "" {
				return nil
			}
		}
		rest(ctx, lookEvery)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fmt.Errorf("the new node did not tell of its copy within %s", tellWithin)
}

// clear has removed what a move has left on a node, however long that takes.
func (k *Keeper) clear(ctx context.Context, j job) error {
	for ; ctx.Err() == nil; rest(ctx, discardAgain) {
		if k.left(j) == nil {
			return nil
		}
		n := k.cfg.Store.View().Node(j.node.ID)
		if n == nil || n.Status.State != api.NodeReady {
			continue
		}
		p := newPeer(k.cfg.Dial, n.ID, n.Hostname())
		err := p.discard(ctx, j.name, j.move.ID, n.ID == j.move.To)
		p.close()
		switch {
		case errors.Is(err, api.ErrConflict):
			k.cfg.Log.Warn("what is there under the volume's name is not the move's: it stays", "volume", j.name, "node", n.Hostname(), "err", err)
			err = k.propose(ctx, state.Op{ForgetVolume: &state.ForgetVolume{Node: n.ID, Name: j.name, GiveUp: true}})
		case err != nil:
		default:
			err = k.forget(ctx, j)
		}
		if errors.Is(err, api.ErrNotLeader) {
			return err
		}
		if err != nil {
			k.cfg.Log.Warn("what a move has left is not removed yet; trying again", "volume", j.name, "node", n.Hostname(), "err", err)
		}
	}
	return ctx.Err()
}

// left is the copy that is still to be removed.
func (k *Keeper) left(j job) *api.Volume {
	n := k.cfg.Store.View().Node(j.node.ID)
	if n == nil {
		return nil
	}
	if v := n.Volume(j.name); v != nil && v.Move != nil && v.Move.Left && v.Move.ID == j.move.ID {
		return v
	}
	return nil
}

// forget takes a copy out of the state that is not there any more. A node that
// has told of it tells of its end: it might tell of the copy once more before.
func (k *Keeper) forget(ctx context.Context, j job) error {
	for end := time.Now().Add(tellWithin); time.Now().Before(end) && ctx.Err() == nil; rest(ctx, lookEvery) {
		if v := k.left(j); v == nil || v.CreatedAt == "" {
			break
		}
	}
	if k.left(j) == nil {
		return nil
	}
	return k.propose(ctx, state.Op{ForgetVolume: &state.ForgetVolume{Node: j.node.ID, Name: j.name}})
}

// Progress is how far the moves of this leader have come. It is safe for
// concurrent use.
type Progress struct {
	mu  sync.Mutex
	now map[string]*api.MoveProgress
}

// NewProgress returns one that knows of no move.
func NewProgress() *Progress { return &Progress{now: map[string]*api.MoveProgress{}} }

// Of is how far a move has come; nil where that is not known.
func (p *Progress) Of(id string) *api.MoveProgress {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now[id]
}

func (p *Progress) set(id string, now *api.MoveProgress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now[id] = now; now == nil {
		delete(p.now, id)
	}
}
