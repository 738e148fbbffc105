package ingress

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/swarmctl/swarmctl/network/netns"
)

// errTaken: another process has the port.
var errTaken = errors.New("held by another process")

// socket holds a port, so that no other process of the host takes it: that would
// wait for connections which never come. Nothing is answered from it.
type socket struct{ fds []int }

func (s *socket) close() {
	for _, fd := range s.fds {
		_ = unix.Close(fd)
	}
	s.fds = nil
}

// hold takes a port of the namespace. The port of names is had by our own name
// server at the gateways in the cluster's networks, so it is taken at all other addresses.
func hold(path string, at place, p *plan) (*socket, error) {
	s := &socket{}
	err := netns.Do(path, func() error {
		list := addresses(at, p.gateways[1].IsValid())
		if at.number == names53 && !at.ip.IsValid() {
			var err error
			if list, err = others(p.subnets); err != nil {
				return err
			}
		}
		for _, ip := range list {
			fd, err := bind(at, ip)
			if err != nil {
				return err
			}
			if fd >= 0 {
				s.fds = append(s.fds, fd)
			}
		}
		return nil
	})
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// names53 is the port of names.
const names53 = 53

// others are the host's own addresses beside those in these subnets.
func others(subnets [2][]netip.Prefix) (out []netip.Addr, err error) {
	list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("addresses: %w", err)
	}
	for _, a := range list {
		ip, ok := netip.AddrFromSlice(a.IP)
		ip = ip.Unmap()
		inside := slices.ContainsFunc(subnets[index(ip.Is6())], func(p netip.Prefix) bool { return p.Contains(ip) })
		if ok && !inside && ip.IsGlobalUnicast() {
			out = append(out, ip)
		}
	}
	return out, nil
}

func addresses(p place, v6 bool) []netip.Addr {
	switch {
	case p.ip.IsValid():
		return []netip.Addr{p.ip}
	case v6:
		return []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()}
	}
	return []netip.Addr{netip.IPv4Unspecified()}
}

// bind is a socket that has the port at an address, or -1 where the host has
// not got the address or the protocol.
func bind(p place, ip netip.Addr) (int, error) {
	family, address := unix.AF_INET, unix.Sockaddr(&unix.SockaddrInet4{Port: int(p.number), Addr: as4(ip)})
	if ip.Is6() {
		family, address = unix.AF_INET6, &unix.SockaddrInet6{Port: int(p.number), Addr: ip.As16()}
	}
	kind := unix.SOCK_STREAM
	if p.protocol == "udp" {
		kind = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, int(numbers[p.protocol]))
	switch {
	case errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.ESOCKTNOSUPPORT):
		return -1, nil
	case err != nil:
		return -1, os.NewSyscallError("socket", err)
	}
	err = prepare(fd, p.protocol, ip.Is6())
	if err == nil {
		err = unix.Bind(fd, address)
	}
	if err == nil && p.protocol == "tcp" {
		// Others that allow to share the port do not share it with us.
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
	}
	if err == nil {
		return fd, nil
	}
	_ = unix.Close(fd)
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return -1, nil
	case errors.Is(err, unix.EADDRINUSE):
		return -1, errTaken
	}
	return -1, fmt.Errorf("hold port: %w", err)
}

func prepare(fd int, protocol string, v6 bool) error {
	if v6 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return err
		}
	}
	switch protocol {
	case "tcp": // what is left of ended connections is not in the way
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	case "udp": // nothing is ever read, so nothing is kept
		nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]})
	}
	return nil
}

func as4(ip netip.Addr) [4]byte {
	if ip.Is4() {
		return ip.As4()
	}
	return [4]byte{}
}
