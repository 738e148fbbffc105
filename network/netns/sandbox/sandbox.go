// Package sandbox is for tests of the kernel's network. They run in a network
// namespace of their own, in which they may do everything, and which takes away
// all they made when they end. Root is not needed where the kernel lets users
// have namespaces.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/netns"
)

// inside tells the program that it is in the sandbox.
const inside = "SWARMCTL_SANDBOX"

// Main is for TestMain: it runs the test program again in a sandbox and
// returns its exit code; in the sandbox it calls run.
func Main(run func() int) int {
	if os.Getenv(inside) != "" {
		if err := prepare(); err != nil {
			fmt.Fprintln(os.Stderr, "sandbox:", err)
			return 1
		}
		return run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = namespaces()
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(1, exit.ExitCode())
	}
	fmt.Fprintf(os.Stderr, "these tests run in a network namespace of their own, which this machine does not let them have: %v\nrun them as root, or allow users namespaces (sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces)\n", err)
	return 1
}

// namespaces also has one of mounts, so that /sys shows the sandbox's devices.
func namespaces() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

func prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	return loopbackUp()
}

// Namespace makes one more network namespace, with its loopback interface up.
// It lives for as long as its file is open, or something is in it.
func Namespace() (ns *os.File, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends here
		if err = os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_NEWNET)); err != nil {
			return
		}
		if ns, err = os.Open("/proc/thread-self/ns/net"); err == nil {
			err = loopbackUp()
		}
	}()
	<-done
	return ns, err
}

// Path is where netns.Do finds a namespace that Namespace has made.
func Path(ns *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", ns.Fd()) }

func loopbackUp() error {
	h, err := netns.Handle("")
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	return h.LinkSetUp(lo)
}
