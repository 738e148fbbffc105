package raftstore

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// logStore encrypts the log: raft reads and writes plain entries, the store
// below sees their data encrypted and bound to its index, term and type.
type logStore struct {
	under raft.LogStore
	aead  cipher.AEAD
	guard *guard
	// leads reports whether this node leads; nil until raft runs.
	leads atomic.Pointer[func() bool]
}

// unreadableError says that an entry is there and cannot be decrypted.
type unreadableError struct {
	index uint64
	cause error
}

func (e *unreadableError) Error() string {
	return fmt.Sprintf("entry %d cannot be read: %v", e.index, e.cause)
}

func (e *unreadableError) Unwrap() error { return e.cause }

// about is what an entry's data is bound to.
func about(l *raft.Log) []byte {
	b := append(make([]byte, 0, 17), byte(l.Type))
	b = binary.BigEndian.AppendUint64(b, l.Index)
	return binary.BigEndian.AppendUint64(b, l.Term)
}

// GetLog implements raft.LogStore.
func (s *logStore) GetLog(index uint64, log *raft.Log) error {
	err := s.read(index, log)
	if s.guard.armed.Load() && errors.As(err, new(*unreadableError)) {
		s.guard.die(fmt.Errorf("raft log in %s: %w: check the disk and start again", s.guard.dir, err))
	}
	return err
}

func (s *logStore) read(index uint64, log *raft.Log) error {
	if err := s.under.GetLog(index, log); err != nil {
		if errors.Is(err, raft.ErrLogNotFound) {
			return err // raft compares
		}
		return &unreadableError{index, err}
	}
	if log.Index != index {
		return &unreadableError{index, fmt.Errorf("it says that it is entry %d", log.Index)}
	}
	plain, err := open(s.aead, log.Data, about(log))
	if err != nil {
		return &unreadableError{index, err}
	}
	log.Data = plain
	return nil
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore; see guard for what it does with errors.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	sealed := make([]*raft.Log, len(logs))
	for i, l := range logs {
		c := *l // raft goes on using its own
		c.Data = seal(s.aead, l.Data, about(l))
		sealed[i] = &c
	}
	write := func() error { return s.under.StoreLogs(sealed) }
	if leads := s.leads.Load(); leads == nil || !(*leads)() {
		return s.guard.persist(write)
	}
	err := s.guard.try(write)
	if err != nil && !isFull(err) {
		s.guard.die(err)
	}
	return err
}

// FirstIndex implements raft.LogStore.
func (s *logStore) FirstIndex() (uint64, error) { return s.under.FirstIndex() }

// LastIndex implements raft.LogStore.
func (s *logStore) LastIndex() (uint64, error) { return s.under.LastIndex() }

// DeleteRange implements raft.LogStore.
func (s *logStore) DeleteRange(first, last uint64) error {
	return s.guard.try(func() error { return s.under.DeleteRange(first, last) })
}

// stableStore keeps raft's term and vote, which are no secret.
type stableStore struct {
	raft.StableStore
	guard *guard

	mu   sync.Mutex
	term uint64 // the highest that was written
}

// termKey is raft's name for the current term.
const termKey = "CurrentTerm"

// Set implements raft.StableStore.
func (s *stableStore) Set(key, val []byte) error {
	return s.guard.persist(func() error { return s.StableStore.Set(key, val) })
}

// SetUint64 implements raft.StableStore. The term on disk only grows: of two
// goroutines that waited for space the later one may bring the lower term.
func (s *stableStore) SetUint64(key []byte, val uint64) error {
	return s.guard.persist(func() error {
		if string(key) != termKey {
			return s.StableStore.SetUint64(key, val)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if val < s.term {
			return nil
		}
		err := s.StableStore.SetUint64(key, val)
		if err == nil {
			s.term = val
		}
		return err
	})
}
