package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/docker/docker/api/types/network"
)

var (
	oneIPKind  = kind{"ip", false, parser(parseOneIP)}
	ipListKind = kind{"ipSlice", true, parser(parseIPs)}
)

func connectVerb() verb {
	return verb{name: "connect", args: "NETWORK CONTAINER", usage: "Connect a container to a network", min: 2, max: 2, do: networkConnect, flags: []*opt{
		{name: "alias", kind: stringsKind, usage: "Add network-scoped alias for the container"},
		{name: "driver-opt", kind: stringsKind, usage: "driver options for the network"},
		{name: "gw-priority", kind: intKind, usage: "Highest gw-priority provides the default gateway. Accepts positive and negative values."},
		{name: "ip", kind: oneIPKind, usage: `IPv4 address (e.g., "172.30.100.104")`},
		{name: "ip6", kind: oneIPKind, usage: `IPv6 address (e.g., "2001:db8::33")`},
		{name: "link", kind: listKind, usage: "Add link to another container"},
		{name: "link-local-ip", kind: ipListKind, usage: "Add a link-local address for the container"},
	}}
}

func disconnectVerb() verb {
	return verb{name: "disconnect", args: "NETWORK CONTAINER", usage: "Disconnect a container from a network", min: 2, max: 2, do: networkDisconnect, flags: []*opt{
		{name: "force", short: "f", kind: boolKind, usage: "Force the container to disconnect from a network"},
	}}
}

func networkConnect(ctx context.Context, c *call) error {
	g := c.flags
	options := map[string]string{}
	for _, o := range commaSeparated(g.strs("driver-opt")) {
		key, value, ok := strings.Cut(o, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return errors.New("invalid key/value pair format in driver options")
		}
		options[key] = strings.TrimSpace(value)
	}
	var local []string
	for _, list := range all[[]string](g, "link-local-ip") {
		local = append(local, list...)
	}
	return c.api().NetworkConnect(ctx, c.args[0], c.args[1], &network.EndpointSettings{
		IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: one(g, "ip", ""), IPv6Address: one(g, "ip6", ""), LinkLocalIPs: local},
		Links:      g.strs("link"), Aliases: commaSeparated(g.strs("alias")), DriverOpts: options, GwPriority: one(g, "gw-priority", 0),
	})
}

func networkDisconnect(ctx context.Context, c *call) error {
	return c.api().NetworkDisconnect(ctx, c.args[0], c.args[1], c.flags.yes("force"))
}

func parseOneIP(s string) (string, error) {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return "", fmt.Errorf("failed to parse IP: %q", s)
	}
	return a.String(), nil
}

func parseIPs(s string) ([]string, error) {
	list := commaSeparated([]string{s})
	for i, text := range list {
		a, err := parseOneIP(text)
		if err != nil {
			return nil, fmt.Errorf("invalid string being converted to IP address: %s", text)
		}
		list[i] = a
	}
	return list, nil
}
