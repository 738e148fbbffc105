package raftstore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"filippo.io/age"
	"github.com/hashicorp/raft"
)

// snapshotStore encrypts snapshots: files hold age streams whose file key is
// wrapped with the data key; raft, and through it other managers, see plain ones.
type snapshotStore struct {
	dir  string
	key  ageKey
	head int64 // of an encrypted file, before its first chunk

	mu    sync.Mutex
	files raft.SnapshotStore // replaced when another number of them is to be kept
	kept  int
}

const (
	// snapshotsKept is the least: should the newest be damaged, there is another.
	snapshotsKept = 2
	chunkSize     = 64 << 10 // age encrypts in chunks of this size,
	chunkTag      = 16       // each of which grows by this much
)

func newSnapshotStore(dir string, dek []byte, files raft.SnapshotStore) (*snapshotStore, error) {
	s := &snapshotStore{files: files, kept: snapshotsKept, dir: filepath.Join(dir, "snapshots"), key: ageKey(dek)}
	var empty counter
	if err := s.encryptNothing(&empty); err != nil {
		return nil, err
	}
	s.head = int64(empty) - chunkTag
	return s, s.sweep()
}

func (s *snapshotStore) under() raft.SnapshotStore {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files
}

// keep changes how many are kept, from the next one on.
func (s *snapshotStore) keep(n int, log *raftLog) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n == s.kept {
		return nil
	}
	files, err := raft.NewFileSnapshotStoreWithLogger(filepath.Dir(s.dir), n, log)
	if err != nil {
		return fmt.Errorf("open the snapshots in %s: %w", s.dir, err)
	}
	s.files, s.kept = files, n
	return nil
}

// encryptNothing writes the smallest encrypted file.
func (s *snapshotStore) encryptNothing(w io.Writer) error {
	enc, err := age.Encrypt(w, s.key)
	if err != nil {
		return err
	}
	return enc.Close()
}

// sweep removes what an interrupted snapshot left.
func (s *snapshotStore) sweep() error {
	left, err := filepath.Glob(filepath.Join(s.dir, "*.tmp"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// plainSize is the size of the plain snapshot in an encrypted file.
func (s *snapshotStore) plainSize(encrypted int64) int64 {
	body := encrypted - s.head
	chunks := (body + chunkSize + chunkTag - 1) / (chunkSize + chunkTag)
	return body - chunks*chunkTag
}

// List implements raft.SnapshotStore.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	list, err := s.under().List()
	for _, m := range list {
		m.Size = s.plainSize(m.Size)
	}
	return list, err
}

// Open implements raft.SnapshotStore.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, file, err := s.under().Open(id)
	if err != nil {
		return nil, nil, err
	}
	plain, err := age.Decrypt(file, s.key)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("decrypt snapshot %s: %w", id, err), file.Close())
	}
	meta.Size = s.plainSize(meta.Size)
	return meta, readCloser{plain, file}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// Create implements raft.SnapshotStore.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64, trans raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.under().Create(version, index, term, conf, confIndex, trans)
	if err != nil {
		return nil, errors.Join(err, s.sweep()) // a full disk leaves half a directory
	}
	enc, err := age.Encrypt(sink, s.key)
	if err != nil {
		return nil, errors.Join(err, sink.Cancel(), s.sweep())
	}
	return &snapshotSink{SnapshotSink: sink, enc: enc, store: s}, nil
}

// snapshotSink encrypts one snapshot on its way to its file.
type snapshotSink struct {
	raft.SnapshotSink
	enc   io.WriteCloser
	store *snapshotStore
	done  bool
}

// Write implements raft.SnapshotSink.
func (k *snapshotSink) Write(p []byte) (int, error) { return k.enc.Write(p) }

// Close implements raft.SnapshotSink. Calls after the first do nothing.
func (k *snapshotSink) Close() error {
	if k.done {
		return nil
	}
	if err := k.enc.Close(); err != nil {
		return errors.Join(err, k.Cancel())
	}
	k.done = true
	if err := k.SnapshotSink.Close(); err != nil {
		return errors.Join(err, k.store.sweep())
	}
	return nil
}

// Cancel implements raft.SnapshotSink.
func (k *snapshotSink) Cancel() error {
	if k.done {
		return nil
	}
	k.done = true
	_ = k.SnapshotSink.Cancel() // fails where the disk is full, and leaves its directory
	return k.store.sweep()
}

// Snapshots says how the log is cut; fields that are 0 leave it as it is without
// anybody's wish.
type Snapshots struct {
	// Every is how many entries lie between two snapshots. More makes a restart
	// read more of the log, fewer encodes the whole state more often.
	Every uint64
	// Trailing is how many entries stay behind a snapshot, for managers that were
	// away for a while; one that needs older ones gets a whole snapshot.
	Trailing uint64
	// Old is how many snapshots are kept beside the newest, one at least.
	Old uint64
}

// KeepSnapshots changes how the log is cut, at the next snapshot. Raft
// looks whether one is due once or twice in a minute.
func (s *Store) KeepSnapshots(want Snapshots) error {
	c := s.raft.ReloadableConfig()
	next := c
	next.SnapshotThreshold = cmp.Or(want.Every, snapshotThreshold)
	next.TrailingLogs = cmp.Or(want.Trailing, trailingLogs)
	if next != c {
		if err := s.raft.ReloadConfig(next); err != nil {
			return fmt.Errorf("change when snapshots are taken: %w", err)
		}
	}
	return s.disk.snaps.keep(int(max(snapshotsKept, min(want.Old, maxSnapshots)+1)), s.hclog)
}

// maxSnapshots bounds a wish, so that it is a number of files.
const maxSnapshots = 1 << 20

// ageKey wraps and unwraps file keys with the data key.
type ageKey []byte

const ageStanza = "swarmctl-dek"

// Wrap implements age.Recipient.
func (k ageKey) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	return []*age.Stanza{{Type: ageStanza, Body: seal(aead(k), fileKey, []byte(ageStanza))}}, nil
}

// Unwrap implements age.Identity.
func (k ageKey) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, s := range stanzas {
		if s.Type == ageStanza {
			fileKey, err := open(aead(k), s.Body, []byte(ageStanza))
			if err != nil {
				return nil, fmt.Errorf("it was encrypted with another data key, or is damaged: %w", err)
			}
			return fileKey, nil
		}
	}
	return nil, fmt.Errorf("not a snapshot of this program: %w", age.ErrIncorrectIdentity)
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
