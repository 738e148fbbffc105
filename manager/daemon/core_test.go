package daemon

import (
	"log/slog"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTheDaemonLeavesNoCore(t *testing.T) {
	leaveNoCore(slog.New(slog.DiscardHandler))
	got, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || got != 0 {
		t.Errorf("a core dump would be written: %d, %v", got, err)
	}
}
