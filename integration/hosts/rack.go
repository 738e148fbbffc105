package hosts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Config says where a rack lives. Two racks with different subnets and the
// same prefix may run side by side, also from different processes.
type Config struct {
	// Prefix begins the names of the disks and the control groups of the
	// rack's hosts; New sweeps what dead processes left under it. "it" if empty.
	Prefix string
	// Subnet is the first three numbers of the hosts' addresses: host i of
	// "10.91.1" has 10.91.1.i/24, and fd00:10:91:1::i/64. It need not be free on
	// the machine, only unused by what the hosts talk to.
	Subnet string
	// Dir is where the disks are kept, os.TempDir() if empty.
	Dir string
}

// Rack is a number of hosts on one switch.
type Rack struct {
	Hosts []*Host

	subnet string
	dir    string
	lock   *os.File
	power  *exec.Cmd // the switch; its namespace holds the bridge
	plug   *os.File  // closing it turns the switch off
	lan    *netlink.Handle
	bridge netlink.Link
}

// Check reports why this machine cannot run hosts, or nil.
func Check() error {
	var missing []string
	if os.Geteuid() != 0 {
		missing = append(missing, "root (run it with sudo)")
	}
	for _, program := range []string{"dockerd", "containerd", "runc", "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program+" (apt-get install docker.io iptables)")
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("hosts need %s", strings.Join(missing, ", "))
	}
	return nil
}

// New turns a switch on, with no host yet, after sweeping up what earlier
// racks of the same prefix left when their process was killed.
func New(cfg Config) (*Rack, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "it"
	}
	if cfg.Dir == "" {
		cfg.Dir = os.TempDir()
	}
	pattern := "hosts-" + cfg.Prefix + "-"
	sweep(cfg.Dir, pattern)
	dir, err := os.MkdirTemp(cfg.Dir, pattern)
	if err != nil {
		return nil, err
	}
	r := &Rack{subnet: cfg.Subnet, dir: dir}
	if r.lock, err = lockDir(dir); err == nil {
		err = r.switchOn()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("switch of %s: %w", cfg.Subnet, err), r.Down())
	}
	return r, nil
}

// Add puts n more hosts into the rack and powers them on, all at once. It
// returns when every engine answers.
func (r *Rack) Add(ctx context.Context, n int) ([]*Host, error) {
	first := len(r.Hosts)
	g, ctx := errgroup.WithContext(ctx)
	for i := first + 1; i <= first+n; i++ {
		h, err := newHost(r, i)
		if err != nil {
			return nil, err
		}
		r.Hosts = append(r.Hosts, h)
		g.Go(func() error { return h.PowerOn(ctx) })
	}
	return r.Hosts[first:], g.Wait()
}

// Load copies an image from a file that `docker save` understands into every host.
func (r *Rack) Load(ctx context.Context, file string) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range r.Hosts {
		g.Go(func() error { return h.Load(ctx, file) })
	}
	return g.Wait()
}

// Down ends every host, the switch, and removes the disks. It may be called twice.
func (r *Rack) Down() error {
	for _, h := range r.Hosts {
		h.PowerOff()
	}
	if r.lan != nil {
		r.lan.Close()
	}
	if r.power != nil { // it sweeps the directory on its way out
		_ = r.plug.Close()
		_ = r.power.Wait()
		r.power = nil
	}
	return remove(r.dir)
}

// Dir is the rack's directory on the machine. It goes with the rack.
func (r *Rack) Dir() string { return r.dir }

func (r *Rack) switchOn() error {
	var err error
	r.power, r.plug, err = startInit(initSpec{Role: roleSwitch, Dir: r.dir}, unix.CLONE_NEWNET)
	if err != nil {
		return err
	}
	if r.lan, err = handleAt(r.power.Process.Pid); err != nil {
		return err
	}
	if r.bridge, err = addBridge(r.lan, r.addr(theSwitch)+"/24", r.addr6(theSwitch)+"/64"); err != nil {
		return err
	}
	return r.Outside().inside(forwardUnseen)
}

// forwardUnseen has the bridge of the namespace be a switch, which has no packet
// filter to show its frames to: a kernel that can do that does it by default.
func forwardUnseen() error {
	for _, filter := range []string{"iptables", "ip6tables", "arptables"} {
		err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-"+filter, []byte("0"), 0o644)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("the switch: %w", err)
		}
	}
	return nil
}

// theSwitch is the number of the switch among the addresses.
const theSwitch = 254

func (r *Rack) addr(i int) string { return r.subnet + "." + strconv.Itoa(i) }

// addr6 has the same numbers as addr, with another group of them before.
func (r *Rack) addr6(i int) string {
	return "fd00:" + strings.ReplaceAll(r.subnet, ".", ":") + "::" + strconv.Itoa(i)
}

// lockDir marks a directory as owned by a live process: the lock goes with the
// process, however it ends, which is what sweep looks at.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// gone reports whether err says that a process has ended already.
func gone(err error) bool {
	return errors.Is(err, os.ErrProcessDone) || errors.Is(err, syscall.ESRCH)
}
