package dockerapi

import (
	"io"
	"net/http"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// gatherFor is how long the pieces of a burst gather before they are read.
	// Longer: less work a piece; but the engine waits for us once its socket is
	// full, which small pieces are after some 250.
	gatherFor = 200 * time.Microsecond
	// A burst is this many reads, none of them gatherQuick after the one before.
	gatherAfter = 16
	gatherQuick = time.Millisecond
	// gatherBelow is how much is worth a read of its own.
	gatherBelow = streamBuffer / 4
)

// gatherer is the body of an answer that may come in a great many small pieces:
// a long log comes line by line, and whoever reads each line as it comes wakes
// up a million times, and costs the engine as many wake-ups.
type gatherer struct {
	io.ReadCloser
	last  time.Time
	quick int
	timer preciseTimer // 0 before it is needed
}

// gather lets the pieces of an answer gather where it has no known length.
func gather(res *http.Response) {
	if res.ContentLength < 0 && res.StatusCode != http.StatusSwitchingProtocols {
		res.Body = &gatherer{ReadCloser: res.Body}
	}
}

// Read implements io.Reader.
func (g *gatherer) Read(p []byte) (int, error) {
	if g.quick >= gatherAfter {
		g.pause()
	}
	n, err := g.ReadCloser.Read(p)
	switch now := time.Now(); {
	case now.Sub(g.last) >= gatherQuick:
		g.last, g.quick = now, 0
	case n < gatherBelow:
		g.last, g.quick = now, g.quick+1
	default: // what comes is large enough
		g.last = now
	}
	return n, err
}

func (g *gatherer) pause() {
	if g.timer == 0 {
		g.timer = newPreciseTimer()
	}
	g.timer.sleep(gatherFor)
}

// Close implements io.Closer.
func (g *gatherer) Close() error {
	if g.timer > 0 {
		g.timer.close()
	}
	return g.ReadCloser.Close()
}

// preciseTimer sleeps for less than a millisecond. Go's timers do not, and the
// daemon's are coarser still, so that it wakes up seldom while it is idle. It
// sleeps in the kernel and not beside the poller: that would be woken up by
// every piece, which is what is to be spared.
type preciseTimer int // a file descriptor, or -1

func newPreciseTimer() preciseTimer {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	if err != nil {
		return -1
	}
	return preciseTimer(fd)
}

func (t preciseTimer) sleep(d time.Duration) {
	var expired [8]byte
	if unix.TimerfdSettime(int(t), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}, nil) == nil {
		_, _ = unix.Read(int(t), expired[:])
	}
}

func (t preciseTimer) close() { _ = unix.Close(int(t)) }
