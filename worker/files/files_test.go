package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// plain is a store in a folder that is no tmpfs: it takes no rights.
func plain(t *testing.T) *Store {
	s := New(filepath.Join(t.TempDir(), "swarmctl.tasks"))
	s.mount = func(string) error { return nil }
	return s
}

func file(data string) docker.File {
	return docker.File{Path: "/run/secrets/key", Data: []byte(data), UID: os.Getuid(), GID: os.Getgid(), Mode: 0o440}
}

func TestFilesAreWrittenAnewAndDropped(t *testing.T) {
	s := plain(t)
	if ids, err := s.Tasks(); err != nil || len(ids) != 0 {
		t.Fatalf("before the first: %v, %v", ids, err)
	}
	list, err := s.Put("t1", []docker.File{file("one"), file("two")})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"one", "two"} {
		f := list[i]
		data, err := os.ReadFile(f.Source)
		info, serr := os.Stat(f.Source)
		if err != nil || serr != nil || string(data) != want || info.Mode() != 0o440 || f.Data != nil || f.Path != "/run/secrets/key" {
			t.Errorf("%v: %q, %v, %v, %v", f, data, info, err, serr)
		}
	}
	if info, err := os.Stat(filepath.Dir(list[0].Source)); err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("the task's folder: %v, %v", info, err)
	}
	open, err := os.Open(list[0].Source) // as a container has it
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	again, err := s.Put("t1", []docker.File{file("one"), file("three")})
	if err != nil || again[0].Source != list[0].Source {
		t.Fatalf("again: %v, %v", again, err)
	}
	if data, _ := os.ReadFile(again[1].Source); string(data) != "three" {
		t.Errorf("written anew it is %q", data)
	}
	if ids, err := s.Tasks(); err != nil || !slices.Equal(ids, []api.TaskID{"t1"}) {
		t.Errorf("tasks with files: %v, %v", ids, err)
	}
	for range 2 {
		if err := s.Drop("t1"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Dir(list[0].Source)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the drop: %v", err)
	}
}

func TestAnIDThatIsNoFolderIsRefused(t *testing.T) {
	s := plain(t)
	for _, id := range []api.TaskID{"", ".", "..", "../x", "a/b", ".hidden"} {
		if _, err := s.Put(id, nil); !errors.Is(err, api.ErrInvalid) {
			t.Errorf("put %q: %v", id, err)
		}
		if err := s.Drop(id); !errors.Is(err, api.ErrInvalid) {
			t.Errorf("drop %q: %v", id, err)
		}
	}
}

func TestNothingIsWrittenWhereNoTmpfsIs(t *testing.T) {
	s := plain(t)
	s.mount = func(string) error { return errors.New("not permitted") }
	if _, err := s.Put("t1", []docker.File{file("x")}); err == nil || err.Error() != "not permitted" {
		t.Errorf("got %v", err)
	}
	if ids, _ := s.Tasks(); len(ids) != 0 {
		t.Errorf("there are files of %v", ids)
	}
}

// The rest is the kernel's part, in a mount namespace of its own.
func TestTmpfsIsMountedOnceAndGoesWithTheNode(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("mounting takes root")
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		t.Fatal("no mount namespaces here: ", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	s := New(filepath.Join(t.TempDir(), "swarmctl.tasks"))
	if err := s.Close(); err != nil {
		t.Errorf("nothing to close: %v", err)
	}
	own := docker.File{Data: []byte("x"), UID: 5, GID: 6, Mode: 0o400}
	list, err := s.Put("t1", []docker.File{own})
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(list[0].Source)
	if err != nil {
		t.Fatal(err)
	}
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 5 || st.Gid != 6 || info.Mode() != 0o400 {
		t.Errorf("it is %d:%d, %v", st.Uid, st.Gid, info.Mode())
	}
	later := New(s.dir) // the daemon is another one now
	if _, err := later.Put("t2", []docker.File{own}); err != nil {
		t.Fatal(err)
	}
	if ids, err := later.Tasks(); err != nil || fmt.Sprint(ids) != "[t1 t2]" {
		t.Errorf("after a restart: %v, %v", ids, err)
	}
	if lines := mounts(t, s.dir); len(lines) != 1 || !strings.Contains(lines[0], " - tmpfs swarmctl ") || !strings.Contains(lines[0], "nosuid,nodev,noexec") {
		t.Errorf("mounted is %q", lines)
	}
	for range 2 {
		if err := later.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(s.dir); !errors.Is(err, fs.ErrNotExist) || len(mounts(t, s.dir)) > 0 {
		t.Errorf("after closing: %v, %q", err, mounts(t, s.dir))
	}
}

func mounts(t *testing.T, dir string) (lines []string) {
	data, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, " "+dir+" ") {
			lines = append(lines, line)
		}
	}
	return lines
}
