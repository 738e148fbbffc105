package raftstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/swarmctl/swarmctl/raftstore/state"
)

const (
	logFile = "log.db"
	// cached entries serve followers that keep up; a batch is at most some
	// hundred kilobytes, most entries are one.
	cached = 128

	// A snapshot costs one encoding of the whole state, in the background. The
	// trailing entries let a manager that was away for a while catch up without one.
	snapshotThreshold = 8192
	snapshotInterval  = time.Minute
	trailingLogs      = 4096
)

// disk is what a Store keeps in its directory.
type disk struct {
	dek    []byte
	bolt   *raftboltdb.BoltStore
	logs   *logStore
	stable *stableStore
	snaps  *snapshotStore
}

// openDisk opens the files and checks that all that is needed can be read.
func openDisk(cfg *Config, g *guard, log *raftLog) (_ *disk, err error) {
	// bbolt panics on pages that make no sense, and touches what a file that was
	// cut short no longer has.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var d disk
	defer func() {
		if p := recover(); p != nil {
			err = &CorruptError{Dir: cfg.Dir, Cause: fmt.Errorf("%v", p)}
		}
		if err != nil && d.bolt != nil {
			err = errors.Join(err, d.bolt.Close())
		}
	}()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the raft log: %w", err)
	}
	bolt, err := openBolt(cfg.Dir)
	if err != nil {
		return nil, err
	}
	d.bolt = bolt
	files, err := raft.NewFileSnapshotStoreWithLogger(cfg.Dir, snapshotsKept, log)
	if err != nil {
		return nil, fmt.Errorf("open the snapshots in %s: %w", cfg.Dir, err)
	}
	used, err := raft.HasExistingState(bolt, bolt, files)
	if err != nil {
		return nil, &CorruptError{Dir: cfg.Dir, Cause: err}
	}
	if d.dek, err = loadKey(cfg.Dir, cfg.Key, !used); err != nil {
		return nil, err
	}
	if d.snaps, err = newSnapshotStore(cfg.Dir, d.dek, files); err != nil {
		return nil, fmt.Errorf("open the snapshots in %s: %w", cfg.Dir, err)
	}
	d.logs = &logStore{under: bolt, aead: aead(d.dek), guard: g}
	d.stable = &stableStore{StableStore: bolt, guard: g}
	err = check(cfg.Dir, d.logs, d.snaps, cfg.Log)
	if err != nil && cfg.ForceNewCluster {
		err = cutUnreadable(cfg.Dir, err, d.logs, cfg.Log)
	}
	return &d, err
}

func openBolt(dir string) (*raftboltdb.BoltStore, error) {
	path := filepath.Join(dir, logFile)
	if err := walkBolt(path); err != nil {
		return nil, boltError(dir, err)
	}
	bolt, err := raftboltdb.New(raftboltdb.Options{
		Path:                    path,
		MsgpackUseNewTimeFormat: true,
		BoltOptions: &bbolt.Options{
			Timeout:        time.Second,
			NoFreelistSync: true, // it is rebuilt at the start instead of written with every entry
			FreelistType:   bbolt.FreelistMapType,
		},
	})
	return bolt, boltError(dir, err)
}

func boltError(dir string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bbolterrors.ErrTimeout):
		return fmt.Errorf("raft log in %s is in use: another swarmctl daemon runs with this directory: stop it, or choose another --state-dir", dir)
	case errors.As(err, new(*fs.PathError)), errors.As(err, new(syscall.Errno)):
		return fmt.Errorf("open the raft log in %s: %w", dir, err)
	default:
		return &CorruptError{Dir: dir, Cause: err}
	}
}

// walkBolt reads the file once, in this goroutine: when bbolt opens it for
// writing it reads it in one of its own, where a panic ends the program.
func walkBolt(path string) (err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil // it is about to be made
	}
	if err != nil {
		return err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
		err = errors.Join(err, db.Close())
	}()
	return db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("the file is cut short: it has %d bytes of %d", info.Size(), tx.Size())
		}
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(_, _ []byte) error { return nil })
		})
	})
}

// raftConfig puts the timers in raft's terms.
func raftConfig(cfg *Config, log *raftLog, notify chan<- bool) *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(cfg.NodeID)
	c.HeartbeatTimeout = heartbeatTimeout(cfg.Timers.Contact)
	c.ElectionTimeout = c.HeartbeatTimeout // not less, says raft
	c.LeaderLeaseTimeout = cfg.Timers.Contact
	c.CommitTimeout = cfg.Timers.Idle
	c.SnapshotThreshold = snapshotThreshold
	c.SnapshotInterval = snapshotInterval
	c.TrailingLogs = trailingLogs
	c.ShutdownOnRemove = false
	c.NoLegacyTelemetry = true
	c.NotifyCh = notify
	c.Logger = log
	return c
}

// prepare makes the group's first configuration, or its last resort.
func prepare(cfg *Config, rc *raft.Config, d *disk, g *guard, trans raft.Transport) error {
	self := raft.Configuration{Servers: []raft.Server{{ID: rc.LocalID, Address: raft.ServerAddress(cfg.Addr)}}}
	switch {
	case cfg.ForceNewCluster:
		scratch := &fsm{state: state.New(), guard: g}
		if err := raft.RecoverCluster(rc, scratch, d.logs, d.stable, d.snaps, trans, self); err != nil {
			return fmt.Errorf("force a new cluster from the data in %s: %w", cfg.Dir, err)
		}
	case cfg.Bootstrap:
		if err := bootstrap(d, self); err != nil {
			return fmt.Errorf("start a new cluster in %s: %w", cfg.Dir, err)
		}
	}
	// Raft is about to save its term, and panics if it cannot.
	term, err := d.stable.GetUint64([]byte(termKey))
	if err == nil {
		err = d.stable.SetUint64([]byte(termKey), term)
	} else if err.Error() == "not found" {
		err = nil
	}
	return err
}

// bootstrap writes the group's first entry, where there is none. It is not
// raft.BootstrapCluster, which refuses to finish what a kill interrupted.
func bootstrap(d *disk, self raft.Configuration) error {
	last, err := d.logs.LastIndex()
	if err != nil {
		return err
	}
	snaps, err := d.snaps.List()
	if err != nil || last > 0 || len(snaps) > 0 {
		return err
	}
	if err := d.stable.SetUint64([]byte(termKey), 1); err != nil {
		return err
	}
	return d.logs.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(self)})
}
