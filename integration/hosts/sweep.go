package hosts

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// sweep removes what racks left whose process is gone: their lock is free.
func sweep(dir, pattern string) {
	left, _ := filepath.Glob(filepath.Join(dir, pattern+"*"))
	for _, rack := range left {
		if lock, err := lockDir(rack); err == nil {
			_ = remove(rack)
			_ = lock.Close()
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + pattern + "*")
	for _, group := range groups {
		name := filepath.Base(group)
		if _, err := os.Stat(filepath.Join(dir, name)); os.IsNotExist(err) {
			_ = removeGroups("/" + name) // those of a rack elsewhere that runs are busy, and stay
		}
	}
}

// remove removes a rack's control groups and its directory. It tries again
// for some seconds, since it may run while the hosts of a killed process are
// still dying: a process in the middle of a disk write goes a moment later.
func remove(rack string) error {
	var err error
	for range 100 {
		if err = errors.Join(removeGroups("/"+filepath.Base(rack)), os.RemoveAll(rack)); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// removeGroups removes a control group and those below it, in the one tree of
// cgroup v2 and in every tree of cgroup v1. Groups that still hold a process
// stay, which is an error.
func removeGroups(group string) error {
	var failed error
	trees, _ := filepath.Glob("/sys/fs/cgroup/*" + group)
	for _, top := range append(trees, "/sys/fs/cgroup"+group) {
		var below []string
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				below = append(below, path)
			}
			return nil
		})
		for i := len(below) - 1; i >= 0; i-- {
			failed = errors.Join(failed, os.Remove(below[i]))
		}
	}
	return failed
}

// Tail returns the last n lines of a file, for a message about why something failed.
func Tail(file string, n int) string {
	return strings.Join(TailOf(file, n, func(string) bool { return true }), "\n")
}

// TailOf returns the last n lines of a file that are of interest.
func TailOf(file string, n int, interesting func(string) bool) []string {
	data, err := os.ReadFile(file)
	if err != nil {
		return []string{err.Error()}
	}
	var lines []string
	for _, text := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		if interesting(text) {
			lines = append(lines, text)
		}
	}
	return lines[max(0, len(lines)-n):]
}
