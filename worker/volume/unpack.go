package volume

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Unpack makes what Pack has read in a folder that is empty, and returns when it
// is on the disk. Nothing is ever made outside of the folder, whatever the
// stream says.
func Unpack(dir string, r io.Reader) (Sum, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Sum{}, err
	}
	defer root.Close()
	m := newMeter()
	u := &unpacker{root: root}
	defer u.leave()
	stream := io.TeeReader(r, m)
	if err := u.all(tar.NewReader(stream)); err != nil {
		return Sum{}, err
	}
	if err := drain(stream); err != nil {
		return Sum{}, err
	}
	if err := u.finish(); err != nil {
		return Sum{}, err
	}
	return m.sum(u.entries), nil
}

type unpacker struct {
	root    *os.Root
	folders []*tar.Header // their times change with what is made in them
	at      string        // the folder that is open
	folder  *os.File
	entries int64
}

func (u *unpacker) all(in *tar.Reader) error {
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("the stream: %w", err)
		}
		if err := u.entry(h, in); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
		u.entries++
	}
}

// place is a name in a folder that is open.
type place struct {
	folder *os.File
	name   string
}

func (p place) fd() int { return int(p.folder.Fd()) }

// path leads to the place, however it was reached.
func (p place) path() string { return "/proc/self/fd/" + strconv.Itoa(p.fd()) + "/" + p.name }

// find opens the folder that an entry is in. The root follows no link that leads out of it.
func (u *unpacker) find(name string) (place, error) {
	clean := path.Clean(name)
	if !filepath.IsLocal(clean) {
		return place{}, errors.New("it is outside of the volume")
	}
	parent, base := path.Dir(clean), path.Base(clean)
	if u.folder == nil || u.at != parent {
		u.leave()
		f, err := u.root.OpenFile(parent, unix.O_DIRECTORY|os.O_RDONLY, 0)
		if err != nil {
			return place{}, err
		}
		u.at, u.folder = parent, f
	}
	return place{u.folder, base}, nil
}

func (u *unpacker) leave() {
	if u.folder != nil {
		_ = u.folder.Close()
		u.folder = nil
	}
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	p, err := u.find(h.Name)
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		u.folders = append(u.folders, h)
		if p.name != "." {
			err = unix.Mkdirat(p.fd(), p.name, 0o700)
		}
	case tar.TypeReg:
		err = writeFile(p, h, content)
	case tar.TypeLink:
		return u.link(h)
	case tar.TypeSymlink:
		err = unix.Symlinkat(h.Linkname, p.fd(), p.name)
	case tar.TypeFifo:
		err = unix.Mknodat(p.fd(), p.name, unix.S_IFIFO|0o600, 0)
	case tar.TypeChar:
		err = unix.Mknodat(p.fd(), p.name, unix.S_IFCHR|0o600, device(h))
	case tar.TypeBlock:
		err = unix.Mknodat(p.fd(), p.name, unix.S_IFBLK|0o600, device(h))
	default:
		err = fmt.Errorf("entries of type %q are not known", h.Typeflag)
	}
	if err != nil {
		return err
	}
	return dress(p, h)
}

func device(h *tar.Header) int { return int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))) }

// link makes another name of a file that was made before.
func (u *unpacker) link(h *tar.Header) error {
	old, err := u.find(h.Linkname)
	if err != nil {
		return err
	}
	u.folder = nil // keep it open beside the other one
	defer old.folder.Close()
	p, err := u.find(h.Name)
	if err != nil {
		return err
	}
	return unix.Linkat(old.fd(), old.name, p.fd(), p.name, 0)
}

// dress gives what was made its owner, mode, attributes and time, in this order:
// a new owner takes bits of the mode and capabilities away.
func dress(p place, h *tar.Header) error {
	if err := unix.Fchownat(p.fd(), p.name, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Fchmodat(p.fd(), p.name, uint32(h.Mode&0o7777), 0); err != nil {
			return fmt.Errorf("mode: %w", err)
		}
	}
	if err := writeXattrs(p.path(), h.PAXRecords); err != nil {
		return err
	}
	return setTime(p, h.ModTime)
}

func setTime(p place, at time.Time) error {
	t, err := unix.TimeToTimespec(at)
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, p.path(), []unix.Timespec{{Nsec: unix.UTIME_OMIT}, t}, unix.AT_SYMLINK_NOFOLLOW)
}

func writeFile(p place, h *tar.Header, content io.Reader) error {
	fd, err := unix.Openat(p.fd(), p.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), h.Name)
	var to io.Writer = f
	if h.PAXRecords[holesRecord] != "" {
		to = &holed{f: f}
	}
	_, err = io.Copy(to, content)
	if err == nil {
		err = f.Truncate(h.Size) // it may end with a hole
	}
	return errors.Join(err, f.Close())
}

// holed writes what is not zero: the rest stays a hole.
type holed struct{ f *os.File }

var zeros [4096]byte

// Write implements io.Writer.
func (w *holed) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(n+len(zeros), len(p))]
		if bytes.Equal(part, zeros[:len(part)]) {
			_, err = w.f.Seek(int64(len(part)), io.SeekCurrent)
		} else {
			_, err = w.f.Write(part)
		}
		if err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// finish sets the times of folders, and waits for the disk.
func (u *unpacker) finish() error {
	for _, h := range u.folders {
		p, err := u.find(h.Name)
		if err == nil {
			err = setTime(p, h.ModTime)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
	all, err := u.root.Open(".")
	if err != nil {
		return err
	}
	defer all.Close()
	return unix.Syncfs(int(all.Fd()))
}
