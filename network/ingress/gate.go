package ingress

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/fastpath"
	"github.com/swarmctl/swarmctl/network/netns"
)

// The gate is a device that takes in copies of packets which the host has let
// in, and lets each come in again by the interface it came by the first time. So
// rules that name an interface hold both for the first time (INPUT) and the second
// (FORWARD, DOCKER-USER).
const gateName = "swarmctl0"

// neighbours are whom copies are sent to on the gate. Nobody is there: the
// hardware address is that of everybody, which any interface takes.
var (
	neighbours = [2]netip.Addr{netip.MustParseAddr("169.254.83.87"), netip.MustParseAddr("fe80::5357:5357")}
	everybody  = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// openGate makes the gate, or what is missing of it, and returns its index.
func openGate(path string, v6 bool) (int, error) {
	h, err := netns.Handle(path)
	if err != nil {
		return 0, err
	}
	defer h.Close()
	link, err := gateLink(h)
	if err != nil {
		return 0, err
	}
	if err := meet(h, link, v6); err != nil {
		return 0, err
	}
	return link.Attrs().Index, program(h, link)
}

// gateLink is the device: a bridge without ports, which every kernel that runs
// containers has. Its MTU lets copies of datagrams through that came in fragments.
func gateLink(h *netlink.Handle) (netlink.Link, error) {
	link, err := h.LinkByName(gateName)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = gateName, 65535
		if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return nil, fmt.Errorf("device %s: %w", gateName, err)
		}
		link, err = h.LinkByName(gateName)
	}
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", gateName, err)
	}
	if link.Attrs().Flags&net.FlagUp != 0 {
		return link, nil
	}
	return link, h.LinkSetUp(link)
}

func meet(h *netlink.Handle, link netlink.Link, v6 bool) error {
	for i, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		if i == 1 && !v6 {
			break
		}
		n := &netlink.Neigh{
			LinkIndex: link.Attrs().Index, Family: family, State: netlink.NUD_PERMANENT,
			IP: neighbours[i].AsSlice(), HardwareAddr: everybody,
		}
		if err := h.NeighSet(n); err != nil {
			return fmt.Errorf("neighbour %s on %s: %w", neighbours[i], gateName, err)
		}
		// Copies keep the destination they have; only with a route do they go to the neighbour all the same.
		bits := neighbours[i].BitLen()
		route := &netlink.Route{
			LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK,
			Dst: &net.IPNet{IP: neighbours[i].AsSlice(), Mask: net.CIDRMask(bits, bits)},
		}
		if err := h.RouteReplace(route); err != nil {
			return fmt.Errorf("route to %s by %s: %w", neighbours[i], gateName, err)
		}
	}
	return nil
}

// program has the kernel turn round what is sent to the gate.
func program(h *netlink.Handle, link netlink.Link) error {
	filters, err := h.FilterList(link, netlink.HANDLE_MIN_EGRESS)
	if err == nil && len(filters) > 0 {
		return nil // it is there; nothing else is ever put on this device
	}
	qdisc := &netlink.GenericQdisc{QdiscType: "clsact", QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if err := h.QdiscReplace(qdisc); err != nil {
		return fmt.Errorf("clsact on %s: %w", gateName, err)
	}
	fd, err := load(turnRound)
	if err != nil {
		return fmt.Errorf("program for %s: %w", gateName, err)
	}
	defer unix.Close(fd)
	filter := &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: link.Attrs().Index, Parent: netlink.HANDLE_MIN_EGRESS,
			Handle: 1, Priority: 1, Protocol: unix.ETH_P_ALL,
		},
		Fd: fd, Name: "swarmctl", DirectAction: true,
	}
	if err := h.FilterReplace(filter); err != nil {
		return fmt.Errorf("program on %s: %w", gateName, err)
	}
	return nil
}

func closeGate(path string) error {
	h, err := netns.Handle(path)
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(gateName)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return err
	}
	if link.Attrs().Alias == lenient {
		if err := fastpath.BeLiberal(path, false); err != nil {
			return err
		}
	}
	return h.LinkDel(link)
}

// instruction is one of the kernel's virtual machine.
type instruction struct {
	code     uint8
	regs     uint8 // the source in the upper half, the destination in the lower one
	offset   int16
	constant int32
}

// turnRound sends a packet to where its mark says: redirect(mark & interface, ingress).
// Five instructions need no compiler.
var turnRound = []instruction{
	{code: unix.BPF_LDX | unix.BPF_MEM | unix.BPF_W, regs: 1<<4 | 1, offset: 8}, // r1 = r1->mark
	{code: unix.BPF_ALU64 | unix.BPF_AND | unix.BPF_K, regs: 1, constant: ^letInMask & 0xffff_ffff},
	{code: unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K, regs: 2, constant: unix.BPF_F_INGRESS},
	{code: unix.BPF_JMP | unix.BPF_CALL, constant: redirect},
	{code: unix.BPF_JMP | unix.BPF_EXIT},
}

// redirect is the number of the kernel's function bpf_redirect.
const redirect = 23

// load hands a program for packets to the kernel.
func load(program []instruction) (int, error) {
	license := []byte("GPL\x00")
	attr := struct {
		kind, count   uint32
		instructions  unsafe.Pointer
		license       unsafe.Pointer
		logLevel      uint32
		logSize       uint32
		log           uint64
		kernelVersion uint32
		flags         uint32
	}{
		kind: unix.BPF_PROG_TYPE_SCHED_CLS, count: uint32(len(program)),
		instructions: unsafe.Pointer(&program[0]), license: unsafe.Pointer(&license[0]),
	}
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	if errno != 0 {
		return 0, os.NewSyscallError("bpf", errno)
	}
	return int(fd), nil
}
