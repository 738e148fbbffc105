package raftstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/unlock"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// faulty is a disk that can be full, or broken.
type faulty struct {
	raft.LogStore
	raft.StableStore
	fault atomic.Pointer[error]
	tried chan struct{} // one for each write that failed, if anyone looks
}

func (f *faulty) try(write func() error) error {
	if err := f.fault.Load(); err != nil {
		select {
		case f.tried <- struct{}{}:
		default:
		}
		return *err
	}
	return write()
}

func (f *faulty) StoreLogs(l []*raft.Log) error {
	return f.try(func() error { return f.LogStore.StoreLogs(l) })
}
func (f *faulty) StoreLog(l *raft.Log) error { return f.StoreLogs([]*raft.Log{l}) }
func (f *faulty) Set(k, v []byte) error {
	return f.try(func() error { return f.StableStore.Set(k, v) })
}
func (f *faulty) SetUint64(k []byte, v uint64) error {
	return f.try(func() error { return f.StableStore.SetUint64(k, v) })
}

// breakable puts a faulty disk under a node; it takes effect when raft starts.
func breakable(f *faulty) func(*Config) {
	f.tried = make(chan struct{}, 1)
	return func(cfg *Config) {
		cfg.wrapDisk = func(d *disk) {
			f.LogStore, f.StableStore = d.logs.under, d.stable.StableStore
			d.logs.under, d.stable.StableStore, d.logs.guard.retry = f, f, 5*time.Millisecond
		}
	}
}

// failTwice waits until the node has noticed: it retries after it has noted.
func (f *faulty) failTwice() {
	<-f.tried
	<-f.tried
}

func (f *faulty) set(err error) {
	if err == nil {
		f.fault.Store(nil)
		return
	}
	f.fault.Store(&err)
}

func diskCluster(t *testing.T) (*cluster, map[api.NodeID]*faulty) {
	c := &cluster{t: t, dir: t.TempDir(), timers: testTimers, nodes: map[api.NodeID]*node{}, cut: map[api.NodeID]bool{}}
	disks := map[api.NodeID]*faulty{"a": {}, "b": {}, "c": {}}
	t.Cleanup(func() {
		for _, d := range disks {
			d.set(nil)
		}
		c.stopAll()
	})
	for _, id := range []api.NodeID{"a", "b", "c"} {
		c.start(id, breakable(disks[id]), func(cfg *Config) { cfg.Bootstrap = id == "a" })
		if id != "a" {
			c.ok(c.leader().AddVoter(c.ctx(), id, c.nodes[id].addr))
		}
		c.leader()
	}
	return c, disks
}

func TestALeaderWithAFullDiskHandsOverAndComesBack(t *testing.T) {
	c, disks := diskCluster(t)
	old := c.leader()
	disks[old.id].set(syscall.ENOSPC)
	_, err := old.Propose(c.ctx(), createService("s1", "web"))
	if err == nil || IsUnknown(err) || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("the write that meets the full disk: %v", err)
	}
	next := c.leader(old.id)
	disks[old.id].failTwice()
	if err := old.Health(); err == nil || !strings.Contains(err.Error(), filepath.Join(c.dir, string(old.id))) {
		t.Errorf("health: %v", err)
	}
	disks[old.id].set(nil)
	r, err := next.Propose(c.ctx(), createService("s2", "db"))
	c.ok(err)
	c.ok(old.WaitApplied(c.ctx(), r.Index))
	if err := old.Health(); err != nil {
		t.Errorf("health after space returned: %v", err)
	}
	if old.View().ServiceByName("web") != nil {
		t.Error("a write happened after all")
	}
}

func TestAFollowerWithAFullDiskWaitsAndCatchesUp(t *testing.T) {
	c, disks := diskCluster(t)
	n := c.follower()
	disks[n.id].set(syscall.EDQUOT)
	r, err := c.leader().Propose(c.ctx(), createService("s1", "web"))
	c.ok(err)
	disks[n.id].failTwice()
	if n.Health() == nil {
		t.Error("it says that it is well")
	}
	disks[n.id].set(nil)
	c.ok(n.WaitApplied(c.ctx(), r.Index))
}

func TestANodeWithAFullDiskCanBeStopped(t *testing.T) {
	c, disks := diskCluster(t)
	n := c.follower()
	disks[n.id].set(syscall.ENOSPC)
	_, err := c.leader().Propose(c.ctx(), createService("s1", "web"))
	c.ok(err)
	disks[n.id].failTwice()
	c.ok(n.stop())
}

func TestALoneManagerWithAFullDiskWaits(t *testing.T) {
	var d faulty
	c := &cluster{t: t, dir: t.TempDir(), timers: testTimers, nodes: map[api.NodeID]*node{}, cut: map[api.NodeID]bool{}}
	t.Cleanup(c.stopAll)
	n := c.start("a", breakable(&d), func(cfg *Config) { cfg.Bootstrap = true })
	c.leader()
	d.set(syscall.ENOSPC)
	_, err := n.Propose(c.ctx(), createService("s1", "web"))
	if err == nil || IsUnknown(err) || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("got %v", err)
	}
	d.set(nil)
	_, err = n.Propose(c.ctx(), createService("s1", "web"))
	c.ok(err)
}

func TestABrokenDiskEndsTheStoreWithTheReason(t *testing.T) {
	c, disks := diskCluster(t)
	for _, n := range []*node{c.follower(), c.leader()} {
		disks[n.id].set(syscall.EIO)
		for done := false; !done; {
			_, err := c.leader().Propose(c.ctx(), createService(api.NewID(), api.NewID()))
			if err != nil && !IsUnknown(err) && !errors.Is(err, api.ErrUnavailable) {
				t.Fatal(err)
			}
			select {
			case err := <-n.done:
				n.done <- err
				if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), c.dir) {
					t.Errorf("Run: %v", err)
				}
				done = true
			default:
				if n.IsLeader() {
					err := <-n.done
					n.done <- err
				}
			}
		}
		disks[n.id].set(nil)
		c.start(n.id)
		c.leader()
	}
}

const secret = "XYZZY-very-secret-service-name"

func TestNothingSecretLiesOnDiskInPlain(t *testing.T) {
	c := newCluster(t, "a")
	n := c.leader()
	_, err := n.Propose(c.ctx(), createService("s1", secret))
	c.ok(err)
	kept := &api.Secret{ID: "k", Spec: api.SecretSpec{Data: []byte(secret)}}
	_, err = n.Propose(c.ctx(), state.Command{Ops: []state.Op{{PutSecret: kept}}})
	c.ok(err)
	c.ok(n.raft.Snapshot().Error())
	_, err = n.Propose(c.ctx(), createService("s2", secret+"2"))
	c.ok(err)
	c.ok(n.stop())
	files := 0
	c.ok(filepath.WalkDir(c.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(secret)) {
			t.Errorf("%s holds it in plain", path)
		}
		return err
	}))
	if files < 4 {
		t.Errorf("only %d files", files)
	}
	c.start("a")
	v := c.leader().View()
	if v.ServiceByName(secret+"2") == nil || string(v.Secret("k").Spec.Data) != secret {
		t.Error("lost")
	}
}

func TestASealedKeyOpensOnlyWithItsKey(t *testing.T) {
	c := &cluster{t: t, dir: t.TempDir(), timers: testTimers, nodes: map[api.NodeID]*node{}, cut: map[api.NodeID]bool{}}
	t.Cleanup(c.stopAll)
	key := unlock.New()
	with := func(k unlock.Key) func(*Config) {
		return func(cfg *Config) { cfg.Bootstrap, cfg.Key = true, k }
	}
	c.ok(c.start("a", with(key)).stop())
	for _, wrong := range []unlock.Key{nil, unlock.New()} {
		if _, err := c.tryStart("a", with(wrong)); err == nil || !strings.Contains(err.Error(), "dek") {
			t.Errorf("with key %q: %v", wrong, err)
		}
	}
	c.start("a", with(key))
	c.leader()
	c.stopAll()
	c.ok(os.Remove(filepath.Join(c.dir, "a", keyFile)))
	if _, err := c.tryStart("a", with(key)); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("without its key: %v", err)
	}
}

// TestTheDataKeyIsSealedAnewWhileTheStoreRuns goes through what locking,
// changing the key and unlocking do to the file, half-way points included.
func TestTheDataKeyIsSealedAnewWhileTheStoreRuns(t *testing.T) {
	c := newCluster(t, "a")
	s, old, next := c.leader(), unlock.New(), unlock.New()
	_, err := s.Propose(c.ctx(), createService("s1", "web"))
	c.ok(err)
	path := filepath.Join(c.dir, "a", keyFile)
	for _, step := range []struct {
		name string
		keys []unlock.Key
		open []unlock.Key
		shut []unlock.Key
	}{
		{"about to be locked", []unlock.Key{nil, old}, []unlock.Key{nil, old}, nil},
		{"locked", []unlock.Key{old}, []unlock.Key{old}, []unlock.Key{nil, next}},
		{"about to get another key", []unlock.Key{old, next}, []unlock.Key{old, next}, []unlock.Key{nil, unlock.New()}},
		{"with another key", []unlock.Key{next}, []unlock.Key{next}, []unlock.Key{nil, old}},
		{"about to be unlocked", []unlock.Key{next, nil}, []unlock.Key{next, nil}, nil},
		{"unlocked", []unlock.Key{nil}, []unlock.Key{nil}, nil},
	} {
		c.ok(s.Seal(step.keys...))
		text, err := os.ReadFile(path)
		c.ok(err)
		for _, k := range step.open {
			if dek, err := parseKey(path, string(text), k); err != nil || !bytes.Equal(dek, s.disk.dek) {
				t.Errorf("%s: key %q: %v", step.name, k, err)
			}
		}
		for _, k := range step.shut {
			if _, err := parseKey(path, string(text), k); err == nil {
				t.Errorf("%s: key %q opens it", step.name, k)
			}
		}
		before, err := os.Stat(path)
		c.ok(err)
		c.ok(s.Seal(step.keys...))
		if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
			t.Errorf("%s: written again though nothing was to change (%v)", step.name, err)
		}
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	c.ok(s.Seal(next))
	c.ok(s.stop())
	c.start("a", func(cfg *Config) { cfg.Key = next })
	if c.leader().View().ServiceByName("web") == nil {
		t.Error("lost what was written before the key was sealed")
	}
}

func TestSnapshotsAreTakenAndKeptAsAsked(t *testing.T) {
	c := newCluster(t, "a")
	s, made := c.leader(), 0
	kept := func(n int) {
		t.Helper()
		for range 5 {
			made++
			_, err := s.Propose(c.ctx(), createService(fmt.Sprintf("s%d", made), fmt.Sprintf("web%d", made)))
			c.ok(err)
			c.ok(s.raft.Snapshot().Error())
		}
		list, err := s.disk.snaps.List()
		c.ok(err)
		if len(list) != n {
			t.Errorf("%d snapshots are kept, not %d", len(list), n)
		}
	}
	kept(snapshotsKept)
	c.ok(s.KeepSnapshots(Snapshots{Every: 100, Trailing: 7, Old: 3}))
	if now := s.raft.ReloadableConfig(); now.SnapshotThreshold != 100 || now.TrailingLogs != 7 {
		t.Errorf("raft runs with %+v", now)
	}
	kept(4)
	c.ok(s.KeepSnapshots(Snapshots{Old: 0}))
	if now := s.raft.ReloadableConfig(); now.SnapshotThreshold != snapshotThreshold || now.TrailingLogs != trailingLogs {
		t.Errorf("raft runs with %+v", now)
	}
	kept(snapshotsKept)
}

// damage flips a bit in the data of a log entry.
func damage(t *testing.T, dir string, index uint64) {
	t.Helper()
	bolt, err := raftboltdb.NewBoltStore(filepath.Join(dir, logFile))
	if err != nil {
		t.Fatal(err)
	}
	defer bolt.Close()
	var l raft.Log
	if err := bolt.GetLog(index, &l); err != nil {
		t.Fatal(err)
	}
	l.Data[len(l.Data)/2] ^= 1
	if err := bolt.StoreLog(&l); err != nil {
		t.Fatal(err)
	}
}

func TestADamagedLastEntryIsNamedWithTheWayOut(t *testing.T) {
	c := newCluster(t, "a")
	n := c.leader()
	for _, name := range []string{"one", "two", "three"} {
		_, err := n.Propose(c.ctx(), createService(name, name))
		c.ok(err)
	}
	last := n.raft.LastIndex()
	c.ok(n.stop())
	damage(t, filepath.Join(c.dir, "a"), last)
	_, err := c.tryStart("a")
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.Index != last || corrupt.Peers != 0 || !strings.Contains(err.Error(), "--force-new-cluster") {
		t.Fatalf("got %v", err)
	}
	t.Log(err)
	c.start("a", func(cfg *Config) { cfg.ForceNewCluster = true })
	v := c.leader().View()
	if v.ServiceByName("two") == nil || v.ServiceByName("three") != nil {
		t.Error("not all up to the damaged entry, and nothing after it, is there")
	}
}

func TestADamagedEntryAmongManyManagersSendsToTheOthers(t *testing.T) {
	c := newCluster(t, "a", "b")
	n := c.leader()
	c.stopAll()
	damage(t, filepath.Join(c.dir, string(n.id)), 4)
	_, err := c.tryStart(n.id)
	var corrupt *CorruptError
	if !errors.As(err, &corrupt) || corrupt.Peers != 1 || !strings.Contains(err.Error(), "leave --force") {
		t.Fatalf("got %v", err)
	}
}

func TestADamagedEntryThatASnapshotHoldsIsNoLoss(t *testing.T) {
	c := newCluster(t, "a")
	n := c.leader()
	r, err := n.Propose(c.ctx(), createService("s1", "web"))
	c.ok(err)
	c.ok(n.raft.Snapshot().Error())
	_, err = n.Propose(c.ctx(), createService("s2", "db"))
	c.ok(err)
	c.ok(n.stop())
	damage(t, filepath.Join(c.dir, "a"), r.Index)
	c.start("a")
	v := c.leader().View()
	if v.ServiceByName("web") == nil || v.ServiceByName("db") == nil {
		t.Error("lost")
	}
}

// garbled overwrites a page.
func garbled(data []byte, page int) []byte {
	data = bytes.Clone(data)
	copy(data[page*4096:(page+1)*4096], bytes.Repeat([]byte("!?"), 2048))
	return data
}

func TestAFileThatIsNoLogIsNamed(t *testing.T) {
	c := newCluster(t, "a")
	c.stopAll()
	path := filepath.Join(c.dir, "a", logFile)
	data, err := os.ReadFile(path)
	c.ok(err)
	for _, content := range [][]byte{
		bytes.Repeat([]byte("no"), 50), bytes.Repeat([]byte("no"), 5000), data[:3*4096], data[:4096],
		garbled(data, 2), garbled(data, 3), garbled(data, 4), garbled(data, 5), garbled(data, 6), garbled(data, 7),
	} {
		c.ok(os.WriteFile(path, content, 0o600))
		_, err = c.tryStart("a")
		if err == nil { // the page was a free one
			c.ok(c.leader().stop())
			continue
		}
		if !errors.As(err, new(*CorruptError)) {
			t.Errorf("%d bytes: %v", len(content), err)
		}
		t.Log(err)
	}
}

func TestTwoDaemonsDoNotShareADirectory(t *testing.T) {
	c := newCluster(t, "a")
	_, err := c.tryStart("other", func(cfg *Config) { cfg.Dir = filepath.Join(c.dir, "a") })
	if err == nil || !strings.Contains(err.Error(), "is in use") {
		t.Errorf("got %v", err)
	}
}

func TestASnapshotThatIsInterruptedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	files, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSnapshotStore(dir, bytes.Repeat([]byte{1}, keySize), files)
	if err != nil {
		t.Fatal(err)
	}
	_, trans := raft.NewInmemTransport("")
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 17} {
		sink, err := s.Create(1, uint64(size+1), 1, raft.Configuration{}, 1, trans)
		if err != nil {
			t.Fatal(err)
		}
		want := bytes.Repeat([]byte{42}, size)
		if _, err := sink.Write(want); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(sink.Close(), sink.Close(), sink.Cancel()); err != nil {
			t.Fatal(err)
		}
		meta, r, err := s.Open(sink.ID())
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(r); err != nil || !bytes.Equal(got.Bytes(), want) || meta.Size != int64(size) {
			t.Errorf("size %d: got %d bytes, meta says %d, %v", size, got.Len(), meta.Size, err)
		}
		_ = r.Close()
	}
	sink, err := s.Create(1, 1<<20, 1, raft.Configuration{}, 1, trans)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Cancel(); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "snapshots", "*.tmp")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if list, _ := s.List(); len(list) != snapshotsKept {
		t.Errorf("%d snapshots kept", len(list))
	}

}
