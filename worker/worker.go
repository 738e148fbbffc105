package worker

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sync/errgroup"
)

// Worker runs the tasks of one node.
type Worker struct {
	cfg     Config
	outbox  *outbox
	runner  *runner
	session *connector
}

// New makes a worker and contacts nobody.
func New(cfg Config) (*Worker, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	out := newOutbox()
	run := newRunner(&cfg, out)
	return &Worker{cfg: cfg, outbox: out, runner: run, session: newConnector(&cfg, out, run)}, nil
}

// Run runs tasks until the context ends, which leaves every container as it
// is. It returns an error for which errors.Is(err, api.ErrForbidden) once the
// managers agree that this node is no member of the cluster any more. Once the
// node has left (Leave) it does nothing more, and waits for the context.
func (w *Worker) Run(ctx context.Context) error {
	w.nameStrangers(ctx)
	parent := ctx
	group, ctx := errgroup.WithContext(ctx)
	stop := errors.New("the node has left")
	group.Go(func() error { return w.runner.run(ctx) })
	group.Go(func() error { return w.watchEngine(ctx) })
	group.Go(func() error { return w.session.volumes.follow(ctx, &w.cfg) })
	group.Go(func() error {
		if err := w.session.run(ctx); err != nil {
			return err
		}
		return stop
	})
	err := group.Wait()
	if err == stop { //nolint:errorlint // this very value
		<-parent.Done() // to return is to be started again, as a member
		return parent.Err()
	}
	return err
}

// Leave tells the managers that the node leaves the cluster of its own will,
// and waits until one has heard it.
func (w *Worker) Leave(ctx context.Context) error { return w.session.leave(ctx) }

// nameStrangers logs what an earlier membership has left on the engine. It is
// left alone: who runs two clusters on one engine would lose the other.
func (w *Worker) nameStrangers(ctx context.Context) {
	names, err := w.cfg.Engine.Strangers(ctx, w.cfg.ClusterID)
	if err == nil && len(names) > 0 {
		w.cfg.Log.Warn("containers of another cluster are on this engine; remove them with docker rm -f", "containers", strings.Join(names, " "))
	}
}
