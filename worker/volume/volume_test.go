package volume_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/worker/volume"
)

// told writes down all that is to be kept of what is below a folder.
func told(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	names := map[uint64]string{}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%q %o %d:%d %d.%09d dev %d", name, st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec, st.Rdev)
		if first, ok := names[st.Ino]; ok {
			fmt.Fprintf(&b, " is %q", first)
		}
		names[st.Ino] = name
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " %d bytes, holes %v: %x", len(data), st.Blocks*512 < st.Size, data[:min(len(data), 64)])
		case unix.S_IFLNK:
			to, _ := os.Readlink(path)
			fmt.Fprintf(&b, " -> %q", to)
		}
		list := make([]byte, 4096)
		n, _ := unix.Llistxattr(path, list)
		for attr := range strings.SplitSeq(string(list[:max(n, 0)]), "\x00") {
			value := make([]byte, 4096)
			if n, err := unix.Lgetxattr(path, attr, value); err == nil {
				fmt.Fprintf(&b, " %s=%x", attr, value[:n])
			}
		}
		b.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// moved packs a folder and unpacks it elsewhere.
func moved(t testing.TB, from, to string) {
	t.Helper()
	var stream bytes.Buffer
	sent, err := volume.Pack(&stream, from)
	must(t, err)
	size := int64(stream.Len())
	got, err := volume.Unpack(to, &stream)
	must(t, err)
	if sent != got || sent.Bytes != size || sent.SHA256 == "" {
		t.Errorf("sums: %+v and %+v of %d bytes", sent, got, size)
	}
	if a, b := told(t, from), told(t, to); a != b {
		t.Errorf("it was\n%s\nand came as\n%s", a, b)
	}
}

func TestWhatIsOddInAVolumeIsKept(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	at := func(name string) string { return filepath.Join(from, name) }
	write := func(name, data string, mode os.FileMode) {
		must(t, os.WriteFile(at(name), []byte(data), 0o600), os.Chmod(at(name), mode))
	}
	long := strings.Repeat("a long name ", 20)
	must(t, os.MkdirAll(at("empty"), 0o755), os.MkdirAll(at("deep/"+long+"/"+long), 0o700))
	write("zero", "", 0o000)
	write("-rf *\n", "an odd name", 0o644)
	write("\xff\xfe", "no text", 0o644)
	write("deep/"+long+"/"+long+"/"+long, "deep", 0o640)
	write("suid", "#!", 0o755)
	must(t, os.Chown(at("suid"), 70, 1_000_000), os.Chmod(at("suid"), 0o755|os.ModeSetuid|os.ModeSetgid))
	must(t, os.Link(at("suid"), at("deep/again")), os.Link(at("suid"), at("z-again")))
	must(t, os.Symlink("/etc/passwd", at("link")), os.Symlink("nowhere", at("dangling")), os.Lchown(at("link"), 5, 6))
	must(t, unix.Mkfifo(at("fifo"), 0o622), unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, unix.Setxattr(at("zero"), "user.note", []byte("a=b\nc\x00d"), 0), unix.Setxattr(at("empty"), "user.note", nil, 0))
	must(t, unix.Lsetxattr(at("link"), "trusted.note", []byte("on a link"), 0))
	capability := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	must(t, unix.Setxattr(at("-rf *\n"), "security.capability", capability, 0))
	write("holes", "", 0o600)
	f, err := os.OpenFile(at("holes"), os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("in the middle"), 1<<20+17)
	must(t, err, f.Truncate(8<<20), f.Close())
	past := time.Date(1999, 12, 31, 23, 59, 59, 123456789, time.UTC)
	must(t, os.Chtimes(at("suid"), past, past), os.Chtimes(at("empty"), past, past), os.Chtimes(from, past, past))
	must(t, os.Chown(from, 999, 998), os.Chmod(from, 0o1771))
	must(t, os.Chtimes(from, past, past))
	moved(t, from, to)
	if size, err := volume.Size(from); err != nil || size > 1<<20 {
		t.Errorf("size %d, %v", size, err)
	}
}

func TestAnyTreeIsTheSameAfterIt(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		from, to := filepath.Join(dir, fmt.Sprint("from", n)), filepath.Join(dir, fmt.Sprint("to", n))
		must(t, os.Mkdir(from, 0o755), os.Mkdir(to, 0o700))
		folders := []string{""}
		files := []string{}
		for i := range rapid.IntRange(0, 12).Draw(rt, "entries") {
			path := filepath.Join(rapid.SampledFrom(folders).Draw(rt, "folder"), fmt.Sprint(i))
			switch rapid.IntRange(0, 3).Draw(rt, "kind") {
			case 0:
				must(t, os.Mkdir(filepath.Join(from, path), 0o755))
				folders = append(folders, path)
			case 1:
				must(t, os.Symlink(path, filepath.Join(from, path)))
				continue
			case 2:
				if len(files) > 0 {
					must(t, os.Link(filepath.Join(from, rapid.SampledFrom(files).Draw(rt, "of")), filepath.Join(from, path)))
					continue
				}
				fallthrough
			default:
				data := bytes.Repeat([]byte{byte(i)}, rapid.IntRange(0, 20000).Draw(rt, "size"))
				must(t, os.WriteFile(filepath.Join(from, path), data, 0o600))
				files = append(files, path)
			}
			must(t, os.Chown(filepath.Join(from, path), rapid.IntRange(0, 1<<31).Draw(rt, "uid"), i))
			must(t, os.Chmod(filepath.Join(from, path), os.FileMode(rapid.IntRange(0, 0o777).Draw(rt, "mode"))))
		}
		moved(t, from, to)
	})
}

// What another host sends can make nothing outside of the volume.
func TestAStreamMakesNothingOutside(t *testing.T) {
	for name, list := range map[string][]tar.Header{
		"dots":            {{Name: "../escaped", Typeflag: tar.TypeReg}},
		"root":            {{Name: "/escaped", Typeflag: tar.TypeReg}},
		"by a link":       {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "l/escaped", Typeflag: tar.TypeReg}},
		"over a link":     {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../escaped"}, {Name: "l", Typeflag: tar.TypeReg}},
		"of what is out":  {{Name: "l", Typeflag: tar.TypeLink, Linkname: "../outside"}},
		"out of a link":   {{Name: "d", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "l", Typeflag: tar.TypeLink, Linkname: "d/outside"}},
		"a folder's link": {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "l/", Typeflag: tar.TypeDir, Mode: 0o777, Uid: 7}},
		"a strange kind":  {{Name: "x", Typeflag: 'Z'}},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			inner := filepath.Join(outer, "volume")
			must(t, os.Mkdir(inner, 0o755), os.WriteFile(filepath.Join(outer, "outside"), nil, 0o600))
			before, _ := os.Stat(outer)
			var stream bytes.Buffer
			w := tar.NewWriter(&stream)
			for i := range list {
				must(t, w.WriteHeader(&list[i]))
			}
			must(t, w.Close())
			if _, err := volume.Unpack(inner, &stream); err == nil {
				t.Error("it was taken")
			}
			after, _ := os.Stat(outer)
			if left, _ := os.ReadDir(outer); len(left) != 2 || before.Mode() != after.Mode() {
				t.Errorf("outside: %v, %v", left, after.Mode())
			}
		})
	}
}

func TestAStreamThatEndsEarlyIsFoundOut(t *testing.T) {
	from := t.TempDir()
	must(t, os.WriteFile(filepath.Join(from, "x"), bytes.Repeat([]byte("x"), 10_000), 0o600))
	var stream bytes.Buffer
	sent, err := volume.Pack(&stream, from)
	must(t, err)
	for _, n := range []int{600, 5000, stream.Len() - 5000} {
		if got, err := volume.Unpack(t.TempDir(), io.LimitReader(bytes.NewReader(stream.Bytes()), int64(n))); err == nil && got == sent {
			t.Errorf("%d of %d bytes were taken", n, stream.Len())
		}
	}
}
