package dns

import (
	"bufio"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// shunned is how long a server that was silent is asked after the others.
const shunned = 10 * time.Second

// upstream is a server that the host uses.
type upstream struct {
	addr netip.AddrPort
	// until is when a server that was silent gets its turn again, in Unix
	// nanoseconds.
	until atomic.Int64
}

func (u *upstream) silent(now time.Time) { u.until.Store(now.Add(shunned).UnixNano()) }

// resolvConf is the host's list of servers. It is read again once it has
// changed, which is looked up when there is a question, so nothing has to watch.
type resolvConf struct {
	path string
	port uint16
	log  *slog.Logger
	read atomic.Pointer[reading]
}

// reading is the list as it was read, and how the file looked then.
type reading struct {
	file    os.FileInfo // nil: it was not there
	servers []*upstream
}

func (r *resolvConf) servers() []*upstream {
	file, err := os.Stat(r.path)
	if err != nil {
		file = nil
	}
	last := r.read.Load()
	if last != nil && sameFile(last.file, file) {
		return last.servers
	}
	next := &reading{file: file, servers: r.load()}
	r.read.Store(next)
	return next.servers
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// load reads the file. One that cannot be read names no servers.
func (r *resolvConf) load() []*upstream {
	f, err := os.Open(r.path)
	if err != nil {
		r.log.Warn("containers cannot look up names outside of the cluster: the host names no servers for it", "file", r.path, "err", err)
		return nil
	}
	defer f.Close()
	var out []*upstream
	for _, a := range nameservers(f) {
		out = append(out, &upstream{addr: netip.AddrPortFrom(a, r.port)})
	}
	if len(out) == 0 {
		r.log.Warn("containers cannot look up names outside of the cluster: add a line `nameserver ADDRESS`", "file", r.path)
	}
	return out
}

// maxServers are asked at most. The C library has three.
const maxServers = 6

// nameservers are the addresses of a resolv.conf. What is no address is passed
// over, as in the C library.
func nameservers(file io.Reader) []netip.Addr {
	var out []netip.Addr
	lines := bufio.NewScanner(file)
	for lines.Scan() && len(out) < maxServers {
		word := strings.Fields(lines.Text())
		if len(word) < 2 || word[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(word[1]); err == nil && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// inTurn is the list with those last that were silent a moment ago, and without
// those that would ask us.
func inTurn(list []*upstream, now time.Time, us func(netip.Addr) bool) []*upstream {
	var good, silent []*upstream
	for _, u := range list {
		switch {
		case us(u.addr.Addr()):
		case u.until.Load() > now.UnixNano():
			silent = append(silent, u)
		default:
			good = append(good, u)
		}
	}
	return append(good, silent...)
}
