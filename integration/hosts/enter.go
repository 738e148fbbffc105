package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// RunError is the failure of a command inside a host.
type RunError struct {
	Host   string
	Args   []string
	Stderr string
	Err    error
}

func (e *RunError) Error() string {
	return fmt.Sprintf("%s: %s: %v: %s", e.Host, strings.Join(e.Args, " "), e.Err, strings.TrimSpace(e.Stderr))
}

func (e *RunError) Unwrap() error { return e.Err }

// ExitCode is the exit code of the command, and -1 where it had none.
func (e *RunError) ExitCode() int {
	var exit *exec.ExitError
	if errors.As(e.Err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// enter starts cmd inside the host: its children belong to the host's process
// namespace, so that a power-off ends them too.
func (h *Host) enter(cmd *exec.Cmd) error {
	return h.inside(namespaces, cmd.Start)
}

// command is one that gets nothing of the machine's own settings, such as DOCKER_HOST.
func command(ctx context.Context, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "LANG=C.UTF-8"}
	cmd.WaitDelay = time.Second // what it left running in the background may hold its pipes
	return cmd
}

// run runs a command to its end and returns what it printed. The error of one
// that failed carries its standard error.
func run(ctx context.Context, who string, start func(*exec.Cmd) error, stdin io.Reader, args []string) (string, error) {
	cmd := command(ctx, args)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	err := start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		err = &RunError{Host: who, Args: args, Stderr: errs.String(), Err: err}
	}
	return out.String(), err
}

// Dial connects from inside the host's network. The address must be numeric.
func (h *Host) Dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	dialErr := h.inside(unix.CLONE_NEWNET, func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return conn, dialErr
}

// inside calls f on a thread that has joined the host's namespaces.
func (h *Host) inside(kinds int, f func() error) error {
	pid := h.pid()
	if pid == 0 {
		return fmt.Errorf("%s has no power", h.Name)
	}
	return inside(h.Name, pid, kinds, f)
}

// inside calls f on a thread that has joined namespaces of process pid. The
// thread is never given back: its goroutine ends while locked, and the runtime
// ends the thread with it. New threads are not cloned from it, as the runtime
// promises for locked threads, so no other goroutine is affected.
func inside(who string, pid, kinds int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := join(pid, kinds); err != nil {
			done <- fmt.Errorf("enter %s: %w", who, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// join moves the calling thread into namespaces of process pid: all of kinds
// in one call, which the kernel makes all or nothing.
func join(pid, kinds int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	if kinds&unix.CLONE_NEWNS != 0 { // threads share a root directory, and joining mounts would change it for all
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return os.NewSyscallError("unshare", err)
		}
	}
	return os.NewSyscallError("setns", unix.Setns(fd, kinds))
}
