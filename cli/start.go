package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sys/unix"
)

const (
	startPatience = 10 * time.Second // until a daemon that was started must answer
	stopPatience  = 20 * time.Second // until one that was told to stop must be gone
	startLook     = 20 * time.Millisecond
	unitName      = "swarmctl.service"
	unitPath      = "/etc/systemd/system/" + unitName
)

// withDaemon makes sure that a daemon answers, then makes the request. A
// daemon that was started for a request that failed is stopped again, unless
// it turns out to belong to a node that was a member all along.
func (c *call) withDaemon(ctx context.Context, request func() error) error {
	if c.answers(ctx) {
		return request()
	}
	if err := c.startDaemon(ctx); err != nil {
		return err
	}
	err := request()
	if err == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx) // tidy up even after Ctrl-C
	if info, infoErr := c.api().Info(ctx); infoErr == nil && isMember(info.Swarm.LocalNodeState) {
		return err
	}
	if stopErr := c.stopDaemon(ctx); stopErr != nil {
		return errors.Join(err, stopErr)
	}
	return err
}

func isMember(s swarm.LocalNodeState) bool {
	return s == swarm.LocalNodeStateActive || s == swarm.LocalNodeStatePending || s == swarm.LocalNodeStateLocked
}

// startDaemon starts this node's daemon: as a systemd unit where systemd runs
// the machine, as a process of its own elsewhere. It returns when the socket
// answers.
func (c *call) startDaemon(ctx context.Context) error {
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	args := append([]string{exe}, c.daemonArgs()...)
	if systemdRuns() {
		if err := installUnit(ctx, args); err != nil {
			return err
		}
		err := c.awaitSocket(ctx, nil)
		if err != nil {
			err = fmt.Errorf("%w: see `journalctl -u %s`", err, unitName)
		}
		return err
	}
	stateDir := one(c.flags, "state-dir", defaultStateDir)
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	logName := filepath.Join(stateDir, "daemon.log")
	ended, err := detach(args, logName)
	if err != nil {
		return fmt.Errorf("start the daemon: %w", err)
	}
	return c.awaitSocket(ctx, ended)
}

// daemonArgs is the command line of the daemon that init or join starts: what
// was given to them, flag or environment, made explicit.
func (c *call) daemonArgs() []string {
	args := []string{"daemon", "--socket=" + c.socket}
	for _, o := range nodeFlags() {
		for _, v := range c.flags[o.name] {
			args = append(args, fmt.Sprintf("--%s=%v", o.name, v))
		}
	}
	return args
}

// detach starts a process that outlives this one, in a session of its own,
// its output in a file. The channel yields the reason if it ends.
func detach(args []string, logName string) (<-chan error, error) {
	log, err := os.OpenFile(logName, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	start, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { // ends with the daemon or with this program
		err := cmd.Wait()
		ended <- fmt.Errorf("the daemon ended at once (%v): %s", exitText(err), lastLines(logName, start))
	}()
	return ended, nil
}

func exitText(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// lastLines is what a log says from an offset on, its last three lines at most.
func lastLines(name string, from int64) string {
	data, err := os.ReadFile(name)
	if err != nil || int64(len(data)) <= from {
		return "see " + name
	}
	lines := strings.Split(string(bytes.TrimSpace(data[from:])), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "\n") + "\n(see " + name + ")"
}

// awaitSocket returns when the socket answers, or with the reason why it will not.
func (c *call) awaitSocket(ctx context.Context, ended <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	look := time.NewTicker(startLook)
	defer look.Stop()
	for !c.answers(ctx) {
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			return fmt.Errorf("the daemon was started but does not answer at %s after %s", c.socket, startPatience)
		case <-look.C:
		}
	}
	return nil
}

// systemdRuns reports whether systemd is this machine's init.
func systemdRuns() bool {
	comm, err := os.ReadFile("/proc/1/comm")
	if err != nil || strings.TrimSpace(string(comm)) != "systemd" {
		return false
	}
	_, err = os.Stat("/run/systemd/system")
	return err == nil
}

// unit is the systemd unit of a node. KillMode=process: ending the daemon
// ends nothing else.
func unit(args []string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = strconv.Quote(strings.NewReplacer("%", "%%", "$", "$$").Replace(a))
	}
	return `[Unit]
Description=swarmctl node
Wants=network-online.target docker.service
After=network-online.target docker.service

[Service]
ExecStart=` + strings.Join(quoted, " ") + `
Restart=always
RestartSec=1
KillMode=process
OOMScoreAdjust=-500
LimitNOFILE=1048576

[Install]
WantedBy=multi-user.target
`
}

func installUnit(ctx context.Context, args []string) error {
	if err := os.WriteFile(unitPath, []byte(unit(args)), 0o644); err != nil {
		return fmt.Errorf("write the daemon's unit: %w", err)
	}
	return errors.Join(systemctl(ctx, "daemon-reload"), systemctl(ctx, "enable", "--now", unitName))
}

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// stopDaemon stops the daemon that serves the socket and returns when it is
// gone; that none runs is no error.
func (c *call) stopDaemon(ctx context.Context) error {
	if _, err := os.Stat(unitPath); err == nil && systemdRuns() {
		if err := systemctl(ctx, "disable", "--now", unitName); err != nil {
			return err
		}
		return errors.Join(os.Remove(unitPath), systemctl(ctx, "daemon-reload"))
	}
	pid, err := c.daemonPID(ctx)
	if err != nil || pid == 0 {
		return err
	}
	return endProcess(ctx, pid)
}

// daemonPID asks the kernel who listens on the socket; 0 where nobody does.
func (c *call) daemonPID(ctx context.Context) (int, error) {
	path, ok := strings.CutPrefix(c.socket, "unix://")
	if !ok {
		return 0, fmt.Errorf("the daemon at %s is not on this machine: stop it there", c.socket)
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("find the daemon: %w", err)
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return 0, fmt.Errorf("find the daemon: %w", err)
	}
	line, err := os.ReadFile("/proc/" + strconv.Itoa(int(cred.Pid)) + "/cmdline")
	if err != nil || !bytes.Contains(line, []byte("\x00daemon\x00")) {
		return 0, fmt.Errorf("what serves %s is not a swarmctl daemon (process %d): it is left alone", c.socket, cred.Pid)
	}
	return int(cred.Pid), nil
}

// endProcess sends SIGTERM and waits until the process is gone.
func endProcess(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop the daemon (process %d): %w", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop the daemon (process %d): %w", pid, err)
	}
	deadline := time.Now().Add(stopPatience)
	for {
		left := time.Until(deadline)
		if left <= 0 || ctx.Err() != nil {
			return fmt.Errorf("the daemon (process %d) has not ended %s after SIGTERM", pid, stopPatience)
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait for the daemon (process %d): %w", pid, err)
		case n > 0:
			return nil
		}
	}
}
