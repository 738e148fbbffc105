package dispatcher

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

const (
	// reportsInFlight is how many proposals of reports may be under way at
	// once: more keep the store busy while one is on its way, fewer coalesce more.
	reportsInFlight = 4
	// reportsPerProposal bounds the size of one proposal.
	reportsPerProposal = 2000
	// volumesWeigh is how many reports of tasks a report of volumes counts for.
	volumesWeigh = 200
	// maxText bounds what a node may write into a status, in bytes.
	maxText = 4 << 10
	// retryPause is the pause after a failed proposal.
	retryPause = 200 * time.Millisecond
)

// reportQueue is what one session has reported and the store does not have
// yet. A session is in one proposal at a time: its words stay in order.
type reportQueue struct {
	reports []state.Report
	volumes *[]api.Volume // all that the node has, where it has said so
	seq     uint64        // of the last batch that came
	taken   uint64        // of the last batch that went into a proposal
	waiting bool          // in the reporter's line, or in a proposal
	settled bool          // so is the node, with what is in here
}

// reporter gathers the reports of all sessions into few proposals: whatever
// comes in while reportsInFlight of them are under way goes into the next one.
type reporter struct {
	d     *Dispatcher
	mu    sync.Mutex
	line  []*session
	wake  chan struct{}
	slots chan struct{}
}

func newReporter(d *Dispatcher) *reporter {
	return &reporter{d: d, wake: make(chan struct{}, 1), slots: make(chan struct{}, reportsInFlight)}
}

// add queues a batch. Entries that make no sense are left out and logged: the
// node could only send them again, and would never get past them.
func (r *reporter) add(s *session, batch *wire.StatusBatch) {
	reports := make([]state.Report, 0, len(batch.GetStatuses()))
	for _, m := range batch.GetStatuses() {
		report, err := toReport(s.node, m)
		if err != nil {
			r.d.cfg.Log.Warn("report refused", "node", s.node, "error", err)
			continue
		}
		reports = append(reports, report)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	q := &s.reports
	q.reports = append(q.reports, reports...)
	q.seq = max(q.seq, batch.GetSeq())
	if batch.GetSettled() {
		s.settled.Store(true)
		q.settled = true
	}
	r.enqueue(s)
}

// confirm tells a new leader that the session's node is settled still.
func (r *reporter) confirm(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.reports.settled = true
	r.enqueue(s)
}

// volumes queues what a node says of its volumes. It goes with the node's
// reports, and before those that come after it: a task must not be seen to have
// ended before what it has left behind is seen.
func (r *reporter) volumes(s *session, m *wire.Volumes) {
	list := wire.DecodeVolumes(m)
	r.mu.Lock()
	defer r.mu.Unlock()
	s.reports.volumes = &list
	r.enqueue(s)
}

func (r *reporter) enqueue(s *session) {
	if s.reports.waiting {
		return
	}
	s.reports.waiting = true
	r.line = append(r.line, s)
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func toReport(node api.NodeID, m *wire.TaskStatus) (state.Report, error) {
	id, status, err := wire.DecodeTaskStatus(m)
	if err != nil {
		return state.Report{}, err
	}
	if status.State < api.TaskAccepted || status.State > api.TaskRejected {
		return state.Report{}, api.Errorf(api.CodeInvalid, "task %s: a node cannot report state %s", id, status.State)
	}
	status.Message, status.Err = clip(status.Message), clip(status.Err)
	return state.Report{Task: id, Status: status, From: node}, nil
}

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return s[:maxText] + "..."
}

func (r *reporter) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait() // proposals end with ctx
	for {
		select {
		case <-ctx.Done():
			return
		case r.slots <- struct{}{}:
		}
		p, ok := r.next(ctx)
		if !ok {
			return
		}
		wg.Go(func() {
			defer func() { <-r.slots }()
			r.propose(ctx, p)
		})
	}
}

// proposal is the reports of some sessions.
type proposal struct {
	observed []state.Op // of the nodes themselves; before the reports
	reports  []state.Report
	sessions []*session
	seqs     []uint64
	settled  []state.Op
}

// next waits until a session has something to report.
func (r *reporter) next(ctx context.Context) (proposal, bool) {
	for {
		if p := r.gather(); len(p.sessions) > 0 {
			return p, true
		}
		select {
		case <-r.wake:
		case <-ctx.Done():
			return proposal{}, false
		}
	}
}

func (r *reporter) gather() proposal {
	settled := true
	r.mu.Lock()
	defer r.mu.Unlock()
	var p proposal
	for len(r.line) > 0 && len(p.reports)+len(p.settled)+len(p.observed)*volumesWeigh < reportsPerProposal {
		s := r.line[0]
		r.line = r.line[1:]
		if s.reports.volumes != nil {
			p.observed = append(p.observed, state.Op{ObserveNode: &state.ObserveNode{ID: s.node, IfSession: s.id, Volumes: s.reports.volumes}})
		}
		p.reports = append(p.reports, s.reports.reports...)
		p.sessions = append(p.sessions, s)
		p.seqs = append(p.seqs, s.reports.seq)
		if s.reports.settled {
			p.settled = append(p.settled, state.Op{ObserveNode: &state.ObserveNode{ID: s.node, IfSession: s.id, Settled: &settled}})
		}
		s.reports.reports, s.reports.volumes, s.reports.taken, s.reports.settled = nil, nil, s.reports.seq, false
	}
	return p
}

// propose writes a proposal, however long there is no leader: reports that
// were overtaken meanwhile are stale, and the store passes over them.
func (r *reporter) propose(ctx context.Context, p proposal) {
	for len(p.observed)+len(p.reports)+len(p.settled) > 0 {
		err := r.try(ctx, p)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		r.d.cfg.Log.Warn("reports not written; trying again", "reports", len(p.reports), "error", err)
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return
		}
	}
	for i, s := range p.sessions {
		s.mark(func(pd *pending) { pd.acked = max(pd.acked, p.seqs[i]) })
	}
	r.release(p.sessions)
}

func (r *reporter) try(ctx context.Context, p proposal) error {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	ops := slices.Clone(p.observed)
	if len(p.reports) > 0 {
		ops = append(ops, state.Op{ReportTasks: p.reports})
	}
	ops = append(ops, p.settled...) // what the node knew goes with its word that this is all
	result, err := r.d.cfg.Store.Propose(ctx, r.d.command(ops...))
	if err != nil {
		return err
	}
	return result.Err()
}

// release lets sessions that have reported more meanwhile queue again: also a
// batch of which nothing was left is waited for.
func (r *reporter) release(sessions []*session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range sessions {
		s.reports.waiting = false
		if s.reports.seq > s.reports.taken || s.reports.volumes != nil {
			r.enqueue(s)
		}
	}
}
