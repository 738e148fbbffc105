package fastpath

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"

	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/network/netns"
	"github.com/swarmctl/swarmctl/network/tcx"
)

// Network is the ingress network as the host has it.
type Network struct {
	VXLAN, Bridge int        // indexes of its interfaces
	Gateway       netip.Addr // the bridge's IPv4 address, which its hardware address follows
	LetIn, By     uint32     // the mark of packets that have been let in, by the interface in these bits of it
}

// FastPath is that of one host. Its methods must be called one at a time.
type FastPath struct {
	path    string
	network Network
	lasts   timeouts
	objects kernelObjects
	inbound link.Link
	doors   map[int]link.Link // the host's interfaces

	ports  *tcx.Table[[2]byte, byte]
	tasks  *tcx.Table[[4]byte, kernelHardware]
	leaves *tcx.Table[uint32, byte]
}

// New installs the fast path of the network namespace at a path, for nobody yet;
// the empty path is the program's own. The namespace must let be what is out of a
// connection's window: see BeLiberal. On kernels without it, before 6.6 or without
// BTF, it fails with errors.ErrUnsupported.
func New(path string, n Network) (f *FastPath, err error) {
	f = &FastPath{path: path, network: n, doors: map[int]link.Link{}}
	defer func() {
		if err != nil {
			f.Close()
			f, err = nil, fmt.Errorf("fast path: %w", tcx.Supported(err))
		}
	}()
	if f.lasts, err = trackedFor(path); err != nil {
		return f, err
	}
	spec, err := loadKernel()
	if err != nil {
		return f, err
	}
	var of kernelVariableSpecs
	if err := spec.Assign(&of); err != nil {
		return f, err
	}
	err = errors.Join(
		of.Vxlan.Set(uint32(n.VXLAN)), of.Bridge.Set(uint32(n.Bridge)), //nolint:gosec // an index is positive
		of.Own.Set(fabric.MAC(n.Gateway)), of.LetIn.Set(n.LetIn), of.By.Set(n.By),
		of.Idle.Set(milliseconds(f.lasts.idle)), of.Closing.Set(milliseconds(f.lasts.closing)),
	)
	if err != nil {
		return f, err
	}
	if err := spec.LoadAndAssign(&f.objects, nil); err != nil {
		return f, err
	}
	f.ports, f.tasks, f.leaves = tcx.Of[[2]byte, byte](f.objects.Ports), tcx.Of[[4]byte, kernelHardware](f.objects.Tasks), tcx.Of[uint32, byte](f.objects.Doors)
	f.inbound, err = tcx.Attach(path, n.VXLAN, f.objects.ToClient)
	return f, err
}

// Serves reports whether it is the one for a network, with what the namespace is
// set to now.
func (f *FastPath) Serves(n Network) bool {
	lasts, err := trackedFor(f.path)
	return err == nil && f.network == n && f.lasts == lasts
}

// Ports says which TCP ports are published, and which of them are open: the host has no
// rules for who is let in, so that first packets bear the mark of those that were.
func (f *FastPath) Ports(published map[uint16]bool) error {
	wanted := make(map[[2]byte]byte, len(published))
	for n, open := range published {
		what := byte(carry)
		if open {
			what = letIn
		}
		wanted[[2]byte{byte(n >> 8), byte(n)}] = what
	}
	return f.ports.Agree(wanted)
}

// What the programs do for a published port.
const (
	carry = 1
	letIn = 2
)

// Tasks says which addresses of the network are on other hosts, all of them. Those
// of IPv6 are passed over.
func (f *FastPath) Tasks(addrs []netip.Addr) error {
	wanted := make(map[[4]byte]kernelHardware, len(addrs))
	for _, a := range addrs {
		if a.Is4() {
			wanted[a.As4()] = kernelHardware{Addr: fabric.MAC(a)}
		}
	}
	return f.tasks.Agree(wanted)
}

// Look finds the interfaces by which clients come: those with Ethernet addresses
// that are in no bridge and are none themselves.
func (f *FastPath) Look() error {
	h, err := netns.Handle(f.path)
	if err != nil {
		return err
	}
	defer h.Close()
	links, err := h.LinkList()
	if err != nil {
		return fmt.Errorf("fast path: interfaces: %w", err)
	}
	there, leaves := map[int]bool{}, map[uint32]byte{}
	var errs []error
	for _, l := range links {
		a := l.Attrs()
		if !isDoor(l) {
			continue
		}
		there[a.Index] = true
		if f.doors[a.Index] == nil {
			door, err := tcx.Attach(f.path, a.Index, f.objects.ToTask)
			if err != nil {
				errs = append(errs, fmt.Errorf("fast path: interface %s: %w", a.Name, err))
				continue
			}
			f.doors[a.Index] = door
		}
		leaves[uint32(a.Index)] = 1 //nolint:gosec // an index is positive
	}
	maps.DeleteFunc(f.doors, func(index int, door link.Link) bool {
		if there[index] {
			return false
		}
		_ = door.Close()
		return true
	})
	return errors.Join(append(errs, f.leaves.Agree(leaves))...)
}

// isDoor tells the interfaces by which clients come.
func isDoor(l netlink.Link) bool {
	a := l.Attrs()
	if a.EncapType != "ether" || a.MasterIndex != 0 || strings.HasPrefix(a.Name, fabric.VXLANPrefix) {
		return false
	}
	switch l.Type() {
	case "bridge", "dummy", "vxlan":
		return false
	}
	return true
}

// Close takes it away.
func (f *FastPath) Close() {
	for _, door := range f.doors {
		_ = door.Close()
	}
	clear(f.doors)
	if f.inbound != nil {
		_ = f.inbound.Close()
	}
	_ = f.objects.Close()
}

const (
	settings = "/proc/sys/net/netfilter/"
	liberal  = settings + "nf_conntrack_tcp_be_liberal"
)

// timeouts are for how long a namespace tracks connections of which nothing is heard.
type timeouts struct{ idle, closing time.Duration }

func trackedFor(path string) (t timeouts, err error) {
	n, err := numbers(path, settings+"nf_conntrack_tcp_timeout_established", settings+"nf_conntrack_tcp_timeout_fin_wait")
	if err != nil {
		return t, err
	}
	return timeouts{time.Duration(n[0]) * time.Second, time.Duration(n[1]) * time.Second}, nil
}

func milliseconds(d time.Duration) uint32 {
	return uint32(min(d.Milliseconds(), math.MaxUint32)) //nolint:gosec // it is limited
}

// IsLiberal reports whether the network namespace at a path lets packets be that
// are out of a connection's window, as far as its tracking knows that.
func IsLiberal(path string) (yes bool, err error) {
	n, err := numbers(path, liberal)
	return err == nil && n[0] != 0, err
}

// BeLiberal sets that.
func BeLiberal(path string, yes bool) error {
	value := []byte("0")
	if yes {
		value = []byte("1")
	}
	return netns.Do(path, func() error { return os.WriteFile(liberal, value, 0o644) })
}

// numbers are what a namespace is set to.
func numbers(path string, files ...string) (list []int, err error) {
	err = netns.Do(path, func() error {
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				return err
			}
			list = append(list, n)
		}
		return nil
	})
	return list, err
}
