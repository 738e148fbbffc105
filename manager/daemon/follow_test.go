package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/identity"
	"github.com/swarmctl/swarmctl/api/unlock"
	"github.com/swarmctl/swarmctl/manager/ca"
	"github.com/swarmctl/swarmctl/raftstore"
)

// The keys that the tests below lock a directory with: none, and two.
var lockKeys = []unlock.Key{nil, bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)}

// TestMain lets the test program play a manager whose disk is sealed anew
// without end, until it is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("RESEAL_DIR"); dir != "" {
		fmt.Fprintln(os.Stderr, resealForever(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func resealForever(dir string) error {
	d, err := openLocked(dir)
	if err != nil {
		return err
	}
	for i := 1; ; i++ {
		if err := reseal(d.ids, d.store, lockKeys[i%len(lockKeys)]); err != nil {
			return err
		}
		if i == 1 {
			fmt.Println("at work")
		}
	}
}

// lockedDir is the two files of a state directory that a key locks, in use.
type lockedDir struct {
	ids   *identity.Source
	store *raftstore.Store
}

// openLocked opens a directory with the key that its identity says is needed.
func openLocked(dir string) (*lockedDir, error) {
	for _, key := range lockKeys {
		id, err := identity.Load(dir, key)
		if errors.Is(err, identity.ErrLocked) || errors.Is(err, identity.ErrWrongKey) {
			continue
		}
		if err != nil {
			return nil, err
		}
		store, err := openRaft(dir, key)
		return &lockedDir{identity.NewSource(id, dir, key), store}, err
	}
	return nil, errors.New("no key opens the identity")
}

func openRaft(dir string, key unlock.Key) (*raftstore.Store, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return raftstore.New(raftstore.Config{
		Dir: filepath.Join(dir, raftDir), NodeID: "n1", Addr: l.Addr().String(), Listener: l, Bootstrap: true, Key: key, Log: slog.New(slog.DiscardHandler),
		Dial:    func(context.Context, string) (net.Conn, error) { return nil, errors.New("alone") },
		Forward: func(context.Context, api.NodeID, string, []byte) ([]byte, error) { return nil, raftstore.ErrNotSent },
	})
}

// close ends the store as a daemon does.
func (d *lockedDir) close(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := d.store.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// managerDir is the directory of a manager that is not locked.
func managerDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root, _, _, err := ca.NewRoot()
	if err != nil {
		t.Fatal(err)
	}
	id, err := root.SignSelf(identity.NewKey(), "c1", time.Hour)
	if err == nil {
		err = id.Save(dir, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestAKillWhileTheDiskIsSealedAnewLeavesItOpenable kills a process that does
// nothing else, at a random moment, again and again. What opens the identity must
// open the data key, and the next process goes on from there.
func TestAKillWhileTheDiskIsSealedAnewLeavesItOpenable(t *testing.T) {
	dir := managerDir(t)
	found := map[string]int{}
	for range 15 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), "RESEAL_DIR="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		var complaint bytes.Buffer
		child.Stderr = &complaint
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatalf("the child did not begin: %v: %s", err, complaint.String())
		}
		<-time.After(time.Duration(rand.IntN(20_000)) * time.Microsecond) // any moment will do
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // it was killed
		d, err := openLocked(dir)
		if err != nil {
			t.Fatalf("after a kill: %v; the child said: %s", err, complaint.String())
		}
		found[fmt.Sprintf("%.9s", d.ids.Key().String())+fmt.Sprint(len(d.ids.Key()))]++
		d.close(t)
	}
	t.Logf("found locked (32) and not (0): %v", found)
}

// halting is a store that stops sealing after some steps: what a kill between
// two of them looks like on disk.
type halting struct {
	*raftstore.Store
	left int
}

var errHalted = errors.New("halted")

func (h *halting) Seal(keys ...unlock.Key) error {
	if h.left == 0 {
		return errHalted
	}
	h.left--
	return h.Store.Seal(keys...)
}

// TestBetweenAnyTwoStepsTheOldKeyOpensOrTheNew goes from each of no key and two
// keys to each other, and stops at each step.
func TestBetweenAnyTwoStepsTheOldKeyOpensOrTheNew(t *testing.T) {
	for from, old := range lockKeys {
		for to, next := range lockKeys {
			if from == to {
				continue
			}
			for steps := range 3 {
				dir := managerDir(t)
				d, err := openLocked(dir)
				if err == nil {
					err = reseal(d.ids, d.store, old)
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := reseal(d.ids, &halting{d.store, steps}, next); (err == nil) != (steps == 2) {
					t.Fatal(err)
				}
				d.close(t)
				want := old
				if steps > 0 { // the identity comes after the first write of the data key
					want = next
				}
				d, err = openLocked(dir)
				if err != nil || !d.ids.Key().Equal(want) {
					t.Fatalf("from key %d to key %d, %d steps: %v", from, to, steps, err)
				}
				if err := reseal(d.ids, d.store, next); err != nil { // the next start finishes it
					t.Fatal(err)
				}
				d.close(t)
				if stale, err := openRaft(dir, old); err == nil {
					(&lockedDir{store: stale}).close(t)
					if next != nil {
						t.Errorf("from key %d to key %d, %d steps: the old key still opens the data", from, to, steps)
					}
				}
			}
		}
	}
}

// TestSnapshotsAreKeptAsTheSpecSays reads the cluster's wishes.
func TestSnapshotsAreKeptAsTheSpecSays(t *testing.T) {
	three := uint64(3)
	c := &api.Cluster{}
	c.Spec.Raft.SnapshotInterval, c.Spec.Raft.LogEntriesForSlowFollowers = 500, 700
	if got := snapshotsOf(c); got != (raftstore.Snapshots{Every: 500, Trailing: 700}) {
		t.Errorf("%+v", got)
	}
	c.Spec.Raft.KeepOldSnapshots = &three
	if got := snapshotsOf(c); got.Old != 3 {
		t.Errorf("%+v", got)
	}
}
