package daemon

import (
	"log/slog"

	"golang.org/x/sys/unix"
)

// leaveNoCore keeps what the daemon knows, secrets among it, out of core dumps,
// however the host collects them: a limit of no bytes is not heeded where they go to
// a program. Root can still look at the process.
func leaveNoCore(log *slog.Logger) {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		log.Warn("a core dump of this daemon would hold secrets", "err", err)
	}
}
