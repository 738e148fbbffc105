package daemon

import (
	"net"
	"net/netip"
	"strings"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/network/gossip"
)

// defaultPort is the cluster's port, and gossipPort the gossip's: Docker Swarm's.
const (
	defaultPort = "2377"
	gossipPort  = gossip.DefaultPort
)

// splitAddr splits HOST[:PORT]; the port is the cluster's where there is none.
func splitAddr(addr string) (host, port string) {
	if h, p, err := net.SplitHostPort(addr); err == nil {
		return h, p
	}
	return strings.Trim(addr, "[]"), defaultPort
}

// withPort adds the cluster's port to an address that has none.
func withPort(addr string) string { return net.JoinHostPort(splitAddr(addr)) }

// listenAddr is where to listen: HOST[:PORT], where HOST may be an interface
// and is every address if empty.
func listenAddr(addr string) (string, error) {
	if addr == "" {
		return net.JoinHostPort("0.0.0.0", defaultPort), nil
	}
	host, port := splitAddr(addr)
	ip, err := resolveHost("listen", host)
	return net.JoinHostPort(ip, port), err
}

// advertiseAddr decides what the other nodes reach this one at. Without a
// wish it is the address listened on, if that is one, or the only address of
// the host; several to choose from are an error that lists them.
func advertiseAddr(wish, listen string) (string, error) {
	_, port := splitAddr(listen)
	if wish != "" {
		host, p, err := net.SplitHostPort(wish)
		if err != nil {
			host, p = strings.Trim(wish, "[]"), port
		}
		ip, err := resolveHost("advertise", host)
		return net.JoinHostPort(ip, p), err
	}
	if host, _ := splitAddr(listen); !isUnspecified(host) {
		return net.JoinHostPort(host, port), nil
	}
	ip, err := onlyAddress()
	return net.JoinHostPort(ip, port), err
}

func isUnspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// addrRules say what each flag wants of an address, in Docker's words.
var addrRules = map[string]string{
	"listen":    "listen address must be an IP address or network interface (with optional port number)",
	"advertise": "advertise address must be a non-zero IP address or network interface (with optional port number)",
	"data-path": "data path address must be a non-zero IP address or network interface (without a port number)",
}

// resolveHost turns an IP address or the name of an interface into an IP address.
func resolveHost(flag, host string) (string, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if flag != "listen" && ip.IsUnspecified() {
			return "", api.Errorf(api.CodeInvalid, "%s: give --%s-addr an address that other nodes can reach, which %s is not", addrRules[flag], flag, host)
		}
		return ip.String(), nil
	}
	ifc, err := net.InterfaceByName(host)
	if err != nil {
		return "", api.Errorf(api.CodeInvalid, "%s: give --%s-addr one of them, which %q is not on this host", addrRules[flag], flag, host)
	}
	ips := usable(*ifc)
	switch len(ips) {
	case 1:
		return ips[0].String(), nil
	case 0:
		return "", api.Errorf(api.CodeInvalid, "interface %s has no usable IP address: give --%s-addr another one", host, flag)
	}
	return "", api.Errorf(api.CodeInvalid, "interface %s has more than one IP address (%s): give --%s-addr one of them", host, join(ips), flag)
}

// onlyAddress is the host's one address that others may reach. Bridges of
// container engines do not count: nobody else can reach those.
func onlyAddress() (string, error) {
	ifcs, err := net.Interfaces()
	if err != nil {
		return "", api.Errorf(api.CodeInternal, "look at this host's interfaces: %v", err)
	}
	var found []netip.Addr
	for _, ifc := range ifcs {
		if ifc.Flags&net.FlagUp == 0 || ifc.Flags&net.FlagLoopback != 0 || isContainerBridge(ifc.Name) {
			continue
		}
		found = append(found, usable(ifc)...)
	}
	if four := only4(found); len(four) > 0 {
		found = four
	}
	switch len(found) {
	case 1:
		return found[0].String(), nil
	case 0:
		return "", api.Errorf(api.CodeInvalid, "could not find an IP address of this host that other nodes could reach: give one with --advertise-addr")
	}
	return "", api.Errorf(api.CodeInvalid, "could not choose an IP address to advertise since this system has multiple addresses (%s): specify one with --advertise-addr", join(found))
}

func isContainerBridge(name string) bool {
	return name == "docker_gwbridge" || strings.HasPrefix(name, "docker") || strings.HasPrefix(name, "br-") || strings.HasPrefix(name, "veth")
}

// usable are the addresses of an interface that are good beyond its own link.
func usable(ifc net.Interface) []netip.Addr {
	addrs, _ := ifc.Addrs() // an interface that just went away has none
	var found []netip.Addr
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && !p.Addr().IsLinkLocalUnicast() {
			found = append(found, p.Addr())
		}
	}
	if four := only4(found); len(four) > 0 {
		return four
	}
	return found
}

func only4(addrs []netip.Addr) (four []netip.Addr) {
	for _, a := range addrs {
		if a.Is4() {
			four = append(four, a)
		}
	}
	return four
}

func join(addrs []netip.Addr) string {
	var s []string
	for _, a := range addrs {
		s = append(s, a.String())
	}
	return strings.Join(s, ", ")
}
