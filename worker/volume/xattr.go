package volume

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// hostOwned are attributes that the host gives its files by its own rules.
const hostOwned = "security.selinux"

// readXattrs adds the extended attributes of a file, ACLs among them.
func readXattrs(path string, records map[string]string) error {
	names, err := grown(func(b []byte) (int, error) { return unix.Llistxattr(path, b) })
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list of extended attributes: %w", err)
	}
	for name := range bytes.SplitSeq(names, []byte{0}) {
		if len(name) == 0 || string(name) == hostOwned {
			continue
		}
		value, err := grown(func(b []byte) (int, error) { return unix.Lgetxattr(path, string(name), b) })
		if err != nil {
			return fmt.Errorf("extended attribute %s: %w", name, err)
		}
		records[xattrRecord+string(name)] = string(value)
	}
	return nil
}

// grown calls f with room that grows until it is enough.
func grown(f func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 4 {
		b := make([]byte, size)
		n, err := f(b)
		if !errors.Is(err, unix.ERANGE) || size > 1<<20 {
			return b[:max(n, 0)], err
		}
	}
}

// writeXattrs gives a file the attributes of its record. path leads to it
// without a symbolic link in its last part.
func writeXattrs(path string, records map[string]string) error {
	for key, value := range records {
		name, ok := strings.CutPrefix(key, xattrRecord)
		if !ok {
			continue
		}
		if err := unix.Lsetxattr(path, name, []byte(value), 0); err != nil {
			return fmt.Errorf("extended attribute %s: %w", name, err)
		}
	}
	return nil
}
