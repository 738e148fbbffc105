package dns

import (
	"net/netip"
	"sync"
)

// limiter bounds how much is under way, for all askers and for each, so that
// one that floods us leaves room for the others.
type limiter struct {
	all, each int

	mu    sync.Mutex
	total int
	by    map[netip.Addr]int
}

func newLimiter(all, each int) *limiter {
	return &limiter{all: all, each: each, by: map[netip.Addr]int{}}
}

// take reports whether there is room for one more; give makes it again.
func (l *limiter) take(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.all || l.by[a] >= l.each {
		return false
	}
	l.total++
	l.by[a]++
	return true
}

func (l *limiter) give(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.by[a]--; l.by[a] == 0 {
		delete(l.by, a)
	}
}
