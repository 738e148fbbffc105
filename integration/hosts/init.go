package hosts

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A switch or a host is held by a first process: this program, started again
// under another name in new namespaces. It gets an initSpec on its standard
// input and lives for as long as that pipe is open at the other end.
const (
	initName   = "hosts-init"
	roleSwitch = "switch"
	roleHost   = "host"
)

type initSpec struct {
	Role string
	Name string // of the host
	Dir  string // of the rack, or of the host
}

// startInit starts a first process and returns the end of the pipe that keeps
// it alive. The process reports on its standard output when it is set up.
func startInit(spec initSpec, namespaces uintptr) (*exec.Cmd, *os.File, error) {
	far, near, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer far.Close()
	cmd := &exec.Cmd{Path: "/proc/self/exe", Args: []string{initName}, Stdin: far, Stderr: os.Stderr, Dir: "/"}
	// A session of its own, so that Ctrl-C at a terminal reaches the test first.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Setsid: true}
	ready, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		err = json.NewEncoder(near).Encode(spec)
	}
	if err == nil {
		err = awaitReady(ready)
	}
	if err != nil {
		_ = near.Close()
		return cmd, nil, fmt.Errorf("start %s %s: %w", spec.Role, spec.Name, err)
	}
	return cmd, near, nil
}

func awaitReady(r io.Reader) error {
	var reply struct{ Error string }
	if err := json.NewDecoder(r).Decode(&reply); err != nil {
		return fmt.Errorf("its first process ended early: %w", err)
	}
	if reply.Error != "" {
		return fmt.Errorf("%s", reply.Error)
	}
	return nil
}

// init turns a program that imports this package into the first process of a
// host or a switch when it is started as one, before its main or its tests run.
func init() {
	if len(os.Args) != 1 || os.Args[0] != initName {
		return
	}
	var spec initSpec
	in := json.NewDecoder(os.Stdin)
	err := in.Decode(&spec)
	if err == nil && spec.Role == roleHost {
		err = furnish(spec)
	}
	reply := struct{ Error string }{}
	if err != nil {
		reply.Error = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(reply)
	if err != nil {
		os.Exit(1)
	}
	if spec.Role == roleHost {
		go reap()
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // ends when whoever started us closes the pipe, or dies
	if spec.Role == roleSwitch {
		_ = remove(spec.Dir)
	}
	os.Exit(0) // the first process of a host takes all others with it
}

// reap collects the orphans of a host, as every first process must: the
// engine's shims are made to outlive the engine.
func reap() {
	for {
		if _, err := unix.Wait4(-1, nil, 0, nil); err == unix.ECHILD {
			time.Sleep(100 * time.Millisecond) // no child to wait for, and no way to wait for one to appear
		}
	}
}

// furnish gives the host its own view of the machine. The machine's mounts
// are not touched: the mount namespace is new and private.
func furnish(spec initSpec) error {
	disk := filepath.Join(spec.Dir, "disk")
	steps := []struct {
		what string
		do   func() error
	}{
		{"private mounts", func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") }},
		{"/proc", func() error { return unix.Mount("proc", "/proc", "proc", 0, "") }},
		{"/sys", func() error { return mountSys(filepath.Join(spec.Dir, "cgroup")) }},
		{"/run", func() error { return unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755") }},
		{"/etc", func() error { return bind(filepath.Join(disk, "etc"), "/etc") }},
		{"/var/lib", func() error { return bind(filepath.Join(disk, "lib"), "/var/lib") }},
		{"name", func() error { return unix.Sethostname([]byte(spec.Name)) }},
		{"name server", serveNames},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return nil
}

// mountSys mounts a /sys that shows this namespace's devices, with the
// machine's control groups in it: those have no namespace worth using here.
func mountSys(park string) error {
	const groups = "/sys/fs/cgroup"
	if err := unix.Mount(groups, park, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return err
	}
	if err := unix.Mount(park, groups, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return unix.Unmount(park, unix.MNT_DETACH)
}

func bind(from, to string) error { return unix.Mount(from, to, "", unix.MS_BIND, "") }
