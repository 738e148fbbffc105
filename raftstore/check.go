package raftstore

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/hashicorp/raft"
)

// CorruptError says that a part of the log on disk that is needed cannot be
// read. Nothing has been changed.
type CorruptError struct {
	Dir   string
	Index uint64 // of the first entry that cannot be read; 0: the file as a whole
	Last  uint64 // of the last entry
	Peers int    // other managers, as far as the log can say
	Cause error
}

// Error names the entry and the way out.
func (e *CorruptError) Error() string {
	what := fmt.Sprintf("raft log in %s: entry %d of %d cannot be read: %v", e.Dir, e.Index, e.Last, e.Cause)
	if e.Index == 0 {
		what = fmt.Sprintf("raft log in %s cannot be read: %v", e.Dir, e.Cause)
	}
	switch {
	case e.Peers > 0:
		return what + ": the other managers have it all: run `swarmctl leave --force` here, `swarmctl node rm --force` for this node there, and join again"
	case e.Index > 0:
		return what + fmt.Sprintf(": restore the directory from a backup, or give up what came after entry %d: `swarmctl init --force-new-cluster`", e.Index-1)
	default:
		return what + ": restore the directory from a backup; if there are other managers, run `swarmctl leave --force` here and join again"
	}
}

func (e *CorruptError) Unwrap() error { return e.Cause }

// check reads the whole log before raft does, which would panic.
//
// An entry that cannot be read is never cut off by itself: this node may have
// told a leader that it has it, so that a write counts as safe which the next
// leader, elected with this node's vote, would not have. bbolt writes an entry
// whole or not at all, so that a crash or a power cut leaves no such entry; a
// bad disk does. Only what a snapshot holds too is dropped, for that loses nothing.
func check(dir string, logs *logStore, snaps raft.SnapshotStore, log *slog.Logger) error {
	first, last, err := bounds(logs)
	if err != nil {
		return &CorruptError{Dir: dir, Cause: err}
	}
	saved, peers, err := newestSnapshot(snaps)
	if err != nil {
		return fmt.Errorf("raft snapshots in %s: %w", dir, err)
	}
	if last > saved && first > saved+1 {
		return &CorruptError{Dir: dir, Index: saved + 1, Last: last, Peers: peers, Cause: errors.New("it is missing")}
	}
	var lost *CorruptError
	drop := uint64(0)
	for index := first; index <= last && last > 0; index++ {
		var entry raft.Log
		err := readSafely(logs, index, &entry)
		switch {
		case err == nil && entry.Type == raft.LogConfiguration:
			peers = len(raft.DecodeConfiguration(entry.Data).Servers) - 1
		case err == nil:
		case index <= saved:
			drop = index
			log.Warn("an entry of the raft log cannot be read; a snapshot holds it too, so it is dropped", "dir", dir, "index", index, "error", err)
		case lost == nil:
			lost = &CorruptError{Dir: dir, Index: index, Last: last, Cause: errors.Unwrap(err)}
		}
	}
	if lost != nil {
		lost.Peers = peers
		return lost
	}
	if drop > 0 {
		return logs.DeleteRange(first, drop)
	}
	return nil
}

func bounds(logs raft.LogStore) (first, last uint64, err error) {
	first, err = logs.FirstIndex()
	if err != nil {
		return 0, 0, err
	}
	last, err = logs.LastIndex()
	return first, last, err
}

// newestSnapshot returns the index of the newest snapshot that opens, and how
// many peers it knows.
func newestSnapshot(snaps raft.SnapshotStore) (index uint64, peers int, err error) {
	list, err := snaps.List()
	if err != nil {
		return 0, 0, err
	}
	var bad error
	for _, m := range list {
		_, r, err := snaps.Open(m.ID)
		if err != nil {
			bad = errors.Join(bad, fmt.Errorf("snapshot %s: %w", m.ID, err))
			continue
		}
		return m.Index, len(m.Configuration.Servers) - 1, r.Close()
	}
	if bad != nil {
		return 0, 0, fmt.Errorf("%w: restore the directory from a backup, or run `swarmctl leave --force` and join again", bad)
	}
	return 0, 0, nil
}

// readSafely reads an entry from a file that may be damaged: bbolt panics on
// pages that make no sense.
func readSafely(logs *logStore, index uint64, entry *raft.Log) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &unreadableError{index, fmt.Errorf("%v", p)}
		}
	}()
	return logs.read(index, entry)
}

// cutUnreadable drops the first entry that cannot be read and all after it: for
// ForceNewCluster, where an operator has decided.
func cutUnreadable(dir string, err error, logs *logStore, log *slog.Logger) error {
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.Index == 0 {
		return err
	}
	log.Warn("dropping the end of the raft log, as it cannot be read", "dir", dir, "from", corrupt.Index, "to", corrupt.Last, "error", corrupt.Cause)
	return logs.DeleteRange(corrupt.Index, corrupt.Last)
}
