package hosts

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Host is one Docker host.
type Host struct {
	Name string // h1, h2, ...: also its host name
	Addr string // its address, without a mask
	// Addr6 is the address that it has as well, for clients that speak IPv6.
	Addr6 string

	rack  *Rack
	index int
	dir   string

	mu    sync.Mutex
	init  *exec.Cmd // nil while the power is off
	power *os.File  // closing it ends init, and with it everything in the host

	engine *Process
}

const namespaces = unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC

// newHost makes the disk of host i.
func newHost(r *Rack, i int) (*Host, error) {
	h := &Host{
		Name: "h" + strconv.Itoa(i), Addr: r.addr(i), Addr6: r.addr6(i),
		rack: r, index: i, dir: filepath.Join(r.dir, "h"+strconv.Itoa(i)),
	}
	if err := h.makeDisk(); err != nil {
		return nil, fmt.Errorf("disk of %s: %w", h.Name, err)
	}
	return h, nil
}

func (h *Host) makeDisk() error {
	disk := filepath.Join(h.dir, "disk")
	for _, dir := range []string{filepath.Join(disk, "lib"), filepath.Join(h.dir, "cgroup")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	etc := filepath.Join(disk, "etc")
	if out, err := exec.Command("cp", "-a", "/etc", etc).CombinedOutput(); err != nil {
		return fmt.Errorf("copy /etc: %w: %s", err, out)
	}
	for _, name := range []string{"docker", "swarmctl", "resolv.conf", "hostname"} {
		if err := os.RemoveAll(filepath.Join(etc, name)); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(etc, "resolv.conf"), []byte("nameserver "+nameServer+"\n"), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(etc, "hostname"), []byte(h.Name+"\n"), 0o644)
}

// PowerOn starts the host with the disk it has and returns when its engine answers.
func (h *Host) PowerOn(ctx context.Context) error {
	if err := h.boot(); err != nil {
		return fmt.Errorf("power on %s: %w", h.Name, err)
	}
	if err := h.StartEngine(ctx); err != nil {
		h.PowerOff()
		return fmt.Errorf("power on %s: %w", h.Name, err)
	}
	return nil
}

func (h *Host) boot() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init != nil {
		return fmt.Errorf("it is on already")
	}
	first, power, err := startInit(initSpec{Role: roleHost, Name: h.Name, Dir: h.dir}, namespaces)
	if err != nil {
		return err
	}
	h.init, h.power = first, power
	return h.plugIn(first.Process.Pid)
}

// PowerOff ends the host as a pulled plug does: the network first, so that
// nothing says good-bye, then every process at once, whatever started it.
// When it returns the last of them is gone. The disk keeps what was written.
func (h *Host) PowerOff() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init == nil {
		return
	}
	_ = h.Cut() // it fails only where there is no cable yet
	_ = h.init.Process.Kill()
	_ = h.init.Wait()
	_ = h.power.Close()
	h.init = nil
	_ = h.setCable(h.rack.lan.LinkDel) // the kernel would remove it with the namespace, but only in its own time
	_ = removeGroups(h.group())        // what stays goes with the rack
}

// On reports whether the host has power.
func (h *Host) On() bool { return h.pid() != 0 }

// Path is where a file of the running host is seen from outside.
func (h *Host) Path(inside string) string {
	return filepath.Join("/proc", strconv.Itoa(h.pid()), "root", inside)
}

// Enter is the command that opens a shell inside the running host.
func (h *Host) Enter() string {
	return fmt.Sprintf("nsenter -t %d -n -m -p -u -i", h.pid())
}

// Log is the file outside the host that a process started under this name writes to.
func (h *Host) Log(name string) string { return filepath.Join(h.dir, name+".log") }

func (h *Host) pid() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.init == nil {
		return 0
	}
	return h.init.Process.Pid
}

// group is the parent control group of the host's containers, so that what a
// power-off leaves of them can be found and removed.
func (h *Host) group() string { return filepath.Join("/", filepath.Base(h.rack.dir), h.Name) }

// Process is a long-lived process inside a host.
type Process struct {
	PID  int           // outside the host
	Done chan struct{} // closed when it has ended
	cmd  *exec.Cmd
}

// Kill ends the process at once and returns when it is gone.
func (p *Process) Kill() { p.Signal(syscall.SIGKILL) }

// Signal sends a signal that ends the process, and returns when it has ended.
func (p *Process) Signal(s os.Signal) {
	if err := p.cmd.Process.Signal(s); err == nil || gone(err) {
		<-p.Done
	}
}

// Start starts a process that outlives the call; what it prints is appended
// to h.Log(name).
func (h *Host) Start(name string, args ...string) (*Process, error) {
	log, err := os.OpenFile(h.Log(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := command(context.Background(), args)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := h.enter(cmd); err != nil {
		return nil, fmt.Errorf("start %s in %s: %w", name, h.Name, err)
	}
	p := &Process{PID: cmd.Process.Pid, Done: make(chan struct{}), cmd: cmd}
	go func() {
		_ = cmd.Wait()
		close(p.Done)
	}()
	return p, nil
}

// Run runs a command inside the host and returns what it printed. The error
// of a command that failed carries its standard error.
func (h *Host) Run(ctx context.Context, args ...string) (string, error) {
	return h.Feed(ctx, nil, args...)
}

// Feed is Run for a command that reads its standard input.
func (h *Host) Feed(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	return run(ctx, h.Name, h.enter, stdin, args)
}

// Follow runs a command inside the host and calls line with every line that it
// prints, as it prints it, until the command or ctx ends.
func (h *Host) Follow(ctx context.Context, line func(string), args ...string) error {
	cmd := command(ctx, args)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := h.enter(cmd); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		line(lines.Text())
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}
