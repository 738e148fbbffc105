package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Store is one manager's part of the replicated state.
type Store struct {
	cfg   Config
	log   *slog.Logger
	hclog *raftLog
	guard *guard
	disk  *disk
	logs  raft.LogStore // with its cache
	trans *transport
	fsm   *fsm
	raft  *raft.Raft

	notify chan bool // from raft: it leads, it no longer leads
	leader watched[Leader]
	reign  watched[*epoch] // nil unless this node leads and has caught up

	queue      chan *proposal
	flights    chan flight
	confirms   rounds
	announcer  announcer
	membership sync.Mutex // held by a change of the group

	closed chan struct{} // closed when Run ends: nobody is to wait any longer
}

// New opens the data in Config.Dir and starts to take part in the group. Run
// must follow: nothing is led or proposed before it, and it closes everything,
// the listener included. Where New fails it has closed what it opened.
//
// Errors: *CorruptError where the log on disk cannot be read; others name the
// directory and the way out.
func New(cfg Config) (*Store, error) {
	cfg.setDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	g := newGuard(cfg.Dir, cfg.Log)
	log := newRaftLog(cfg.Log, g.closing)
	d, err := openDisk(&cfg, g, log)
	if err != nil {
		return nil, errors.Join(err, cfg.Listener.Close())
	}
	if cfg.wrapDisk != nil {
		cfg.wrapDisk(d)
	}
	s := &Store{
		cfg: cfg, log: cfg.Log, hclog: log, guard: g, disk: d,
		trans:     newTransport(&cfg, log, g),
		fsm:       &fsm{state: state.New(), guard: g},
		notify:    make(chan bool),
		queue:     make(chan *proposal, 1024),
		flights:   make(chan flight, inFlight),
		announcer: announcer{peers: map[raft.ServerID]*announcement{}},
		closed:    make(chan struct{}),
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.trans.Close(), d.bolt.Close())
	}
	return s, nil
}

func (s *Store) start() (err error) {
	cache, err := raft.NewLogCache(cached, s.disk.logs)
	if err != nil {
		return err
	}
	s.logs = cache
	rc := raftConfig(&s.cfg, s.hclog, s.notify)
	err = s.trying(func() error { return prepare(&s.cfg, rc, s.disk, s.guard, s.trans) })
	if err != nil {
		return err
	}
	s.guard.armed.Store(true) // raft's goroutines start within the next call
	err = s.trying(func() (err error) {
		s.raft, err = raft.NewRaft(rc, s.fsm, cache, s.disk.stable, s.disk.snaps, s.trans)
		return err
	})
	if err != nil {
		return fmt.Errorf("start raft on the data in %s: %w", s.cfg.Dir, err)
	}
	leads := func() bool { return s.raft.State() == raft.Leader }
	s.disk.logs.leads.Store(&leads)
	s.raft.RegisterObserver(raft.NewObserver(nil, false, s.observeRaft))
	s.noteLeader() // what was observed before
	return nil
}

// trying runs a part of the start in a goroutine of its own, which guard.die
// may end. Raft panics on what it did not expect in its files.
func (s *Store) trying(work func() error) error {
	done := make(chan error, 1)
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil {
				done <- fmt.Errorf("start raft on the data in %s: %v", s.cfg.Dir, p)
			}
		}()
		done <- work()
	}()
	err, ok := <-done
	if !ok {
		err = <-s.guard.fatal
	}
	return err
}

// Run keeps the Store going until ctx ends (nil) or it cannot go on (an error
// that names the reason: a disk that fails, an entry that this program cannot
// read). A leader hands leadership over on its way out.
func (s *Store) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { s.followReign(ctx) })
	wg.Go(s.writeBatches)
	wg.Go(s.watch)
	go s.land() // ends with flights; an answer that raft owes at its end it may never get

	var err error
	select {
	case <-ctx.Done():
		s.handOver()
	case err = <-s.guard.fatal:
	}
	close(s.closed)
	close(s.guard.closing)
	// Raft first, bolt last: raft writes until it has ended.
	ended := s.raft.Shutdown()
	err = errors.Join(err, s.trans.streams.Close()) // ends its calls to peers
	err = errors.Join(err, ended.Error(), s.trans.Close())
	wg.Wait()
	if closeErr := s.disk.bolt.Close(); closeErr != nil {
		err = errors.Join(err, fmt.Errorf("close the raft log in %s: %w", s.cfg.Dir, closeErr))
	}
	return err
}

// handOver spares the group an election timeout.
func (s *Store) handOver() {
	if s.raft.State() != raft.Leader || s.alone() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*s.cfg.Timers.Contact)
	defer cancel()
	if err := s.TransferLeadership(ctx, ""); err != nil {
		s.log.Warn("hand leadership over", "error", err)
	}
}

// Health is nil, or says what keeps this node from writing: a full disk. It
// clears by itself when there is space.
func (s *Store) Health() error { return s.guard.health() }
