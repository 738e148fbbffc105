package volume

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// PAX records beside tar's own.
const (
	xattrRecord = "SCHILY.xattr." // as star, GNU tar and Docker write it
	holesRecord = "SWARMCTL.holes"
)

// Pack writes everything below a folder, and what the folder itself is, as a
// tar stream. Sockets are left out: they are nothing without the process that
// listens. A file that changes meanwhile is an error.
func Pack(w io.Writer, dir string) (Sum, error) {
	m := newMeter()
	p := &packer{tar: tar.NewWriter(io.MultiWriter(w, m)), root: dir, linked: map[inode]string{}}
	if err := filepath.WalkDir(dir, p.add); err != nil {
		return Sum{}, err
	}
	if err := p.tar.Close(); err != nil {
		return Sum{}, err
	}
	return m.sum(p.entries), nil
}

// Size is how many bytes the files below a folder take, holes not counted. Files
// that have several names count once.
func Size(dir string) (bytes int64, err error) {
	seen := map[inode]bool{}
	err = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if err == nil && !seen[inodeOf(&st)] {
			seen[inodeOf(&st)] = true
			bytes += st.Blocks * 512
		}
		return err
	})
	return bytes, err
}

// inode is what the names of one file have in common.
type inode struct{ dev, ino uint64 }

func inodeOf(st *unix.Stat_t) inode { return inode{st.Dev, st.Ino} } //nolint:unconvert // differs by architecture

type packer struct {
	tar     *tar.Writer
	root    string
	linked  map[inode]string
	entries int64
}

func (p *packer) add(path string, _ fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	name, err := filepath.Rel(p.root, path)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFSOCK {
		return nil
	}
	h, err := p.header(path, name, &st)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.entries++
	if err := p.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if h.Typeflag != tar.TypeReg || h.Size == 0 {
		return nil
	}
	return p.content(path, h)
}

func (p *packer) header(path, name string, st *unix.Stat_t) (*tar.Header, error) {
	h := &tar.Header{
		Name: name, Format: tar.FormatPAX, Mode: int64(st.Mode & 0o7777), Uid: int(st.Uid), Gid: int(st.Gid),
		ModTime: time.Unix(st.Mtim.Unix()), PAXRecords: map[string]string{},
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size
		if st.Blocks*512 < st.Size {
			h.PAXRecords[holesRecord] = "1"
		}
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		to, err := os.Readlink(path)
		if err != nil {
			return nil, err
		}
		h.Linkname = to
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		return nil, fmt.Errorf("a file of type %#o cannot be moved", st.Mode&unix.S_IFMT)
	}
	if st.Nlink > 1 && h.Typeflag != tar.TypeDir {
		if first, ok := p.linked[inodeOf(st)]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return h, nil
		}
		p.linked[inodeOf(st)] = name
	}
	return h, readXattrs(path, h.PAXRecords)
}

func (p *packer) content(path string, h *tar.Header) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	// One byte more than it had: whoever writes still is found out.
	n, err := io.Copy(p.tar, io.LimitReader(f, h.Size+1))
	switch {
	case errors.Is(err, tar.ErrWriteTooLong), err == nil && n != h.Size:
		return fmt.Errorf("%s: it changed while it was read: something still writes to the volume", h.Name)
	case err != nil:
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return nil
}
