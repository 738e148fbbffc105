package netns

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Path is the network namespace of a process.
func Path(pid int) string { return "/proc/" + strconv.Itoa(pid) + "/ns/net" }

// Do calls f in the network namespace at a path; the empty path is the
// caller's own. What f opens stays in that namespace; goroutines that f starts
// are not in it. f runs on a thread that nothing else uses meanwhile, and that
// goes back to where it was; if it cannot, it ends, since whatever ran on it
// next would be in the wrong network.
func Do(path string, f func() error) error {
	if path == "" {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err == nil {
			err = enter(path)
		}
		if err != nil {
			runtime.UnlockOSThread() // it never left
			done <- fmt.Errorf("network namespace %s: %w", path, err)
			return
		}
		defer home.Close()
		done <- f()
		if setns(home) == nil {
			runtime.UnlockOSThread()
		}
	}()
	return <-done
}

func enter(path string) error {
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	return setns(ns)
}

func setns(ns *os.File) error {
	return os.NewSyscallError("setns", unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET))
}

// Handle opens netlink sockets in the network namespace at a path, for the
// given families, NETLINK_ROUTE where there are none; the empty path is the
// caller's own. The sockets stay in that namespace wherever they are used.
func Handle(path string, families ...int) (h *netlink.Handle, err error) {
	if len(families) == 0 {
		families = []int{unix.NETLINK_ROUTE}
	}
	err = Do(path, func() error {
		h, err = netlink.NewHandle(families...)
		return err
	})
	return h, err
}
