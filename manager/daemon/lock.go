package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/swarmctl/swarmctl/api"
)

// lockState takes the state directory for this process. The kernel gives it
// back when the process ends, however it ends.
func lockState(dir string) (release func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state directory %s: %w: give another one with --state-dir", dir, err)
	}
	path := filepath.Join(dir, "daemon.pid")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory %s: %w: give another one with --state-dir", dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid, _ := os.ReadFile(path)
		_ = f.Close()
		return nil, api.Errorf(api.CodeConflict, "state directory %s is in use by the daemon with process ID %s: stop that one, or give another --state-dir", dir, strings.TrimSpace(string(pid)))
	}
	if err := f.Truncate(0); err == nil {
		_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\n")
	}
	return func() { _ = f.Close() }, err
}
