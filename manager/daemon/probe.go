package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// prober implements dockerapi.Prober with what the kernel tells anybody: its
// interfaces, and the answers to packets.
type prober struct{ d *Daemon }

// smallPacket is so small that it passes wherever anything does.
const smallPacket = 100

// Reach implements dockerapi.Prober. Where the full size is lost it tries a
// small one: whether that passes says what is wrong.
func (prober) Reach(ctx context.Context, network api.NetworkID, to netip.Addr) (size int, took time.Duration, err error) {
	bridge, err := net.InterfaceByName(fabric.BridgeName(network))
	if err != nil {
		return 0, 0, errors.New("this node has no part of the network")
	}
	full, cancel := halfOf(ctx)
	defer cancel()
	if took, err = echo(full, bridge.Name, bridge.MTU, to); err == nil || ctx.Err() != nil {
		return bridge.MTU, took, err
	}
	if _, small := echo(ctx, bridge.Name, smallPacket, to); small != nil {
		return bridge.MTU, 0, fmt.Errorf("no answer (%w): do firewalls between the hosts let 4789/udp through?", err)
	}
	return bridge.MTU, 0, fmt.Errorf("packets of %d bytes are lost and small ones pass: the hosts' network takes less: make the network anew with --opt com.docker.network.driver.mtu=N", bridge.MTU)
}

// halfOf leaves half of the time that is left.
func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok {
		return context.WithTimeout(ctx, time.Until(end)/2)
	}
	return context.WithTimeout(ctx, time.Second)
}

// Look implements dockerapi.Prober.
func (p prober) Look(ctx context.Context, q *api.TraceRequest) []api.TraceStep {
	var steps []api.TraceStep
	if n := (networksFacade{p.d}).networks(); n != nil {
		steps = n.Look(q)
	}
	steps = append(steps,
		interfaceStep("bridge", fabric.BridgeName(q.Network)), interfaceStep("vxlan", fabric.VXLANName(q.Network)))
	for _, to := range q.Gateways {
		steps = append(steps, p.reachStep(ctx, q.Network, to))
	}
	for _, port := range q.Published {
		if number, isTCP := strings.CutSuffix(port, "/tcp"); isTCP {
			steps = append(steps, portStep(ctx, number))
		}
	}
	return steps
}

func interfaceStep(what, name string) api.TraceStep {
	i, err := net.InterfaceByName(name)
	switch {
	case err != nil:
		return api.TraceStep{What: what, Text: "there is no interface " + name + ": the daemon's log says why"}
	case i.Flags&net.FlagUp == 0:
		return api.TraceStep{What: what, Text: "interface " + name + " is down"}
	}
	return api.TraceStep{What: what, OK: true, Text: fmt.Sprintf("interface %s is up, with an MTU of %d", name, i.MTU)}
}

// lookPatience bounds one look.
const lookPatience = 3 * time.Second

func (p prober) reachStep(ctx context.Context, network api.NetworkID, to api.ProbeTarget) api.TraceStep {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	size, took, err := p.Reach(ctx, network, to.Addr)
	if err != nil {
		return api.TraceStep{What: "reach", Text: fmt.Sprintf("node %s at %s: %v", to.Node, to.Addr, err)}
	}
	return api.TraceStep{What: "reach", OK: true, Text: fmt.Sprintf("node %s at %s answers packets of %d bytes in %s", to.Node, to.Addr, size, took.Round(10*time.Microsecond))}
}

func portStep(ctx context.Context, port string) api.TraceStep {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return api.TraceStep{What: "port", Text: fmt.Sprintf("nothing answers at 127.0.0.1:%s: %v", port, err)}
	}
	_ = conn.Close()
	return api.TraceStep{What: "port", OK: true, Text: "127.0.0.1:" + port + " answers"}
}

// ping is what differs between the two families of addresses.
type ping struct {
	network, any    string
	header          int // bytes of the IP header
	request, answer byte
	level, option   int // that sends packets whole or not at all, whatever was heard of the way
	value           int
	checksum        bool // it is ours to make
}

var (
	ping4 = ping{"ip4:icmp", "0.0.0.0", 20, 8, 0, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE, true}
	ping6 = ping{"ip6:ipv6-icmp", "::", 40, 128, 129, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE, false}
)

const (
	icmpHeader = 8
	// pingAgain is how long an answer is waited for before the request is said again.
	pingAgain = 500 * time.Millisecond
)

// echo sends echo requests of a size through an interface until one is answered.
func echo(ctx context.Context, device string, size int, to netip.Addr) (time.Duration, error) {
	p := &ping4
	if !to.Is4() {
		p = &ping6
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if cerr := c.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptInt(int(fd), p.level, p.option, p.value), unix.BindToDevice(int(fd), device))
		}); cerr != nil {
			return cerr
		}
		return err
	}}
	conn, err := lc.ListenPacket(ctx, p.network, p.any)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	id := uint16(os.Getpid()) ^ uint16(time.Now().UnixNano())
	for seq := uint16(1); ; seq++ {
		start := time.Now()
		if _, err := conn.WriteTo(p.packet(size, id, seq), &net.IPAddr{IP: to.AsSlice()}); err != nil {
			return 0, err
		}
		end := start.Add(pingAgain)
		if last, ok := ctx.Deadline(); ok && last.Before(end) {
			end = last
		}
		if p.awaitAnswer(conn, end, to, id, seq) {
			return time.Since(start), nil
		}
		if ctx.Err() != nil || !time.Now().Before(deadlineOf(ctx)) {
			return 0, fmt.Errorf("%d requests of %d bytes", seq, size)
		}
	}
}

func deadlineOf(ctx context.Context) time.Time {
	if end, ok := ctx.Deadline(); ok {
		return end
	}
	return time.Now().Add(time.Hour)
}

// packet is an echo request that makes an IP packet of the size.
func (p *ping) packet(size int, id, seq uint16) []byte {
	b := make([]byte, max(icmpHeader, size-p.header))
	b[0] = p.request
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[6:], seq)
	if p.checksum {
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	return b
}

func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// awaitAnswer reads until the answer to a request is there, or it is time.
func (p *ping) awaitAnswer(conn net.PacketConn, end time.Time, from netip.Addr, id, seq uint16) bool {
	_ = conn.SetReadDeadline(end)
	for b := make([]byte, 1<<16); ; {
		n, addr, err := conn.ReadFrom(b)
		if err != nil {
			return false
		}
		ip, ok := addr.(*net.IPAddr)
		if !ok || n < icmpHeader || b[0] != p.answer || binary.BigEndian.Uint16(b[4:]) != id || binary.BigEndian.Uint16(b[6:]) != seq {
			continue
		}
		if a, ok := netip.AddrFromSlice(ip.IP); ok && a.Unmap() == from {
			return true
		}
	}
}
