package files

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// Store is where the files lie. Its methods may be called from many goroutines.
type Store struct {
	dir   string
	mount func(dir string) error // makes dir a tmpfs
	mu    sync.Mutex
}

// New makes a store in a folder that may not be there yet; nothing is mounted
// before the first file is written. The engine must see the same mounts.
func New(dir string) *Store { return &Store{dir: dir, mount: mountTmpfs} }

// Put writes the files of a task anew, with their owners and modes, and returns
// them with where they lie instead of what is in them. The same task finds them
// at the same place each time.
func (s *Store) Put(task api.TaskID, list []docker.File) ([]docker.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.ready(); err != nil {
		return nil, err
	}
	folder, err := s.folder(task)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("folder for secrets and configs: %w", err)
	}
	out := make([]docker.File, len(list))
	for i, f := range list {
		source := filepath.Join(folder, strconv.Itoa(i))
		if err := write(source, &f); err != nil {
			return nil, errors.Join(fmt.Errorf("write %s: %w", f.Path, err), os.RemoveAll(folder))
		}
		f.Source, f.Data = source, nil
		out[i] = f
	}
	return out, nil
}

// write replaces a file by another one: a container that has it goes on with
// what it has.
func write(name string, f *docker.File) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(f.Data)
	if err == nil {
		err = file.Chown(f.UID, f.GID)
	}
	if err == nil {
		err = file.Chmod(f.Mode)
	}
	return errors.Join(err, file.Close())
}

// Drop removes the files of a task; that it has none is fine.
func (s *Store) Drop(task api.TaskID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	folder, err := s.folder(task)
	if err != nil {
		return err
	}
	return os.RemoveAll(folder)
}

// Tasks are those that have files here.
func (s *Store) Tasks() ([]api.TaskID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list, err := os.ReadDir(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var ids []api.TaskID
	for _, e := range list {
		ids = append(ids, api.TaskID(e.Name()))
	}
	return ids, err
}

// Close removes everything, the mount included. The containers are gone by then.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch is, err := isTmpfs(s.dir); {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case is:
		// Lazily: who looks at it just now must not keep it.
		if err := unix.Unmount(s.dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount %s: %w", s.dir, err)
		}
	}
	return os.RemoveAll(s.dir)
}

// ready has the folder be a tmpfs. A plain folder would be on a disk, so
// nothing is written into one.
func (s *Store) ready() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("folder for secrets and configs: %w", err)
	}
	return s.mount(s.dir)
}

// folder is that of a task. IDs come from the managers, and name nothing else.
func (s *Store) folder(task api.TaskID) (string, error) {
	if task == "" || strings.HasPrefix(string(task), ".") || strings.ContainsAny(string(task), "/\x00") {
		return "", api.Errorf(api.CodeInvalid, "task %q: its ID is no name of a folder", task)
	}
	return filepath.Join(s.dir, string(task)), nil
}

// mountTmpfs mounts one that is never swapped out, where the kernel can do that
// (6.4 and later), unless there is one.
func mountTmpfs(dir string) error {
	if is, err := isTmpfs(dir); is || err != nil {
		return err
	}
	const flags, mode = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "mode=0700"
	err := unix.Mount("swarmctl", dir, "tmpfs", flags, mode+",noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("swarmctl", dir, "tmpfs", flags, mode)
	}
	if err != nil {
		return fmt.Errorf("mount a tmpfs for secrets and configs at %s: %w", dir, err)
	}
	return nil
}

// isTmpfs reports whether a tmpfs is mounted right there: the folder's own
// file system is another one than that of the folder around it.
func isTmpfs(dir string) (bool, error) {
	var own, around unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Lstat(dir, &own), unix.Lstat(filepath.Dir(dir), &around), unix.Statfs(dir, &fs)); err != nil {
		return false, err
	}
	return own.Dev != around.Dev && fs.Type == unix.TMPFS_MAGIC, nil
}
