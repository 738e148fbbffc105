package daemon

import (
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// timerSlack is how late the kernel may wake a sleeping thread of the daemon,
// so that wake-ups fall together. Go's own monitor thread sleeps for 20 µs at a
// time and would otherwise be half of what an idle daemon costs. The shortest
// time that anything here waits for is 80 ms.
const timerSlack = 2 * time.Millisecond

// settle makes the process a light and steady one: what an idle daemon costs
// is waking up, and what a busy host must not take from it is its turn. All of
// it is best effort: a daemon that may not do it runs as it is.
func settle(nice int, log *slog.Logger) {
	// Half of the cores: what the daemon does is small and comes in drops, and
	// with fewer threads to hand each drop to, waking up costs half as much.
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/2))
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		log.Debug("priority and timers stay as they are", "err", err)
		return
	}
	// Priority and slack belong to threads, and threads to come inherit them
	// from the one that makes them: each that is there must have them.
	for _, t := range threads {
		tid, err := strconv.Atoi(t.Name())
		if err != nil {
			continue
		}
		if err := syscall.Setpriority(syscall.PRIO_PROCESS, tid, nice); err != nil {
			log.Debug("priority stays as it is", "thread", tid, "nice", nice, "err", err)
		}
		slack := strconv.FormatInt(timerSlack.Nanoseconds(), 10)
		if err := os.WriteFile(filepath.Join("/proc", t.Name(), "timerslack_ns"), []byte(slack), 0); err != nil {
			log.Debug("timers stay as they are", "thread", tid, "err", err)
		}
	}
}
