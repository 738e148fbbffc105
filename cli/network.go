package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/network"
)

func networkVerbs() []verb {
	return []verb{
		checkVerb(), connectVerb(),
		{name: "create", args: "NETWORK", usage: "Create a network", min: 1, max: 1, do: networkCreate, flags: []*opt{
			{name: "attachable", kind: boolKind, usage: "Enable manual container attachment"},
			{name: "aux-address", kind: mapKind, def: "map[]", usage: "Auxiliary IPv4 or IPv6 addresses used by Network driver"},
			{name: "config-from", kind: stringKind, usage: "The network from which to copy the configuration"},
			{name: "config-only", kind: boolKind, usage: "Create a configuration only network"},
			{name: "driver", short: "d", kind: stringKind, def: `"bridge"`, usage: "Driver to manage the Network"},
			{name: "gateway", kind: stringsKind, usage: "IPv4 or IPv6 Gateway for the master subnet"},
			{name: "ingress", kind: boolKind, usage: "Create swarm routing-mesh network"},
			{name: "internal", kind: boolKind, usage: "Restrict external access to the network"},
			{name: "ip-range", kind: stringsKind, usage: "Allocate container ip from a sub-range"},
			{name: "ipam-driver", kind: stringKind, def: `"default"`, usage: "IP Address Management Driver"},
			{name: "ipam-opt", kind: mapKind, def: "map[]", usage: "Set IPAM driver specific options"},
			{name: "ipv4", kind: boolKind, def: "true", usage: "Enable or disable IPv4 address assignment"},
			{name: "ipv6", kind: boolKind, usage: "Enable or disable IPv6 address assignment"},
			{name: "label", kind: labelKind, usage: "Set metadata on a network"},
			{name: "opt", short: "o", kind: mapKind, def: "map[]", usage: "Set driver specific options"},
			{name: "scope", kind: stringKind, usage: "Control the network's scope"},
			{name: "subnet", kind: stringsKind, usage: "Subnet in CIDR format that represents a network segment"},
		}},
		disconnectVerb(),
		{name: "inspect", args: "NETWORK [NETWORK...]", usage: "Display detailed information on one or more networks", min: 1, max: -1, do: networkInspect, flags: []*opt{
			inspectFormatFlag(), {name: "verbose", short: "v", kind: boolKind, usage: "Verbose output for diagnostics"},
		}},
		{name: "ls", aliases: []string{"list"}, usage: "List networks", do: networkList, flags: []*opt{
			{name: "filter", short: "f", kind: filterKind, usage: `Provide filter values (e.g. "driver=bridge")`}, formatFlag(""), {name: "no-trunc", kind: boolKind, usage: "Do not truncate the output"}, quietFlag("Only display network IDs"),
		}},
		{name: "prune", usage: "Remove all unused networks", do: networkPrune, flags: []*opt{
			{name: "filter", kind: filterKind, usage: `Provide filter values (e.g. "until=<timestamp>")`},
			{name: "force", short: "f", kind: boolKind, usage: "Do not prompt for confirmation"},
		}},
		{name: "rm", aliases: []string{"remove"}, args: "NETWORK [NETWORK...]", usage: "Remove one or more networks", min: 1, max: -1, do: networkRemove, flags: []*opt{
			{name: "force", short: "f", kind: boolKind, usage: "Do not error if the network does not exist"},
		}},
		traceVerb(),
	}
}

func networkCreate(ctx context.Context, c *call) error {
	g := c.flags
	opts := network.CreateOptions{
		Driver: one(g, "driver", "bridge"), Scope: g.str("scope"), EnableIPv4: ptr[bool](g, "ipv4"), EnableIPv6: ptr[bool](g, "ipv6"),
		Internal: g.yes("internal"), Attachable: g.yes("attachable"), Ingress: g.yes("ingress"), ConfigOnly: g.yes("config-only"),
		Options: pairs(g.strs("opt")), Labels: pairs(g.strs("label")),
	}
	if from := g.str("config-from"); from != "" {
		opts.ConfigFrom = &network.ConfigReference{Network: from}
	}
	configs, err := ipamConfigs(g)
	if err != nil {
		return err
	}
	opts.IPAM = &network.IPAM{Driver: one(g, "ipam-driver", "default"), Options: pairs(g.strs("ipam-opt")), Config: configs}
	made, err := c.api().NetworkCreate(ctx, c.args[0], opts)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, made.ID)
	return nil
}

// ipamConfigs puts every range, gateway and auxiliary address to the subnet
// that it lies in. Messages are those of Docker's CLI.
func ipamConfigs(g given) ([]network.IPAMConfig, error) {
	subnets, ranges, gateways := commaSeparated(g.strs("subnet")), commaSeparated(g.strs("ip-range")), commaSeparated(g.strs("gateway"))
	if len(subnets) < len(ranges) || len(subnets) < len(gateways) {
		return nil, errors.New("every ip-range or gateway must have a corresponding subnet")
	}
	configs, err := subnetConfigs(subnets)
	for _, r := range ranges {
		err = cmp.Or(err, configs.put("range", r, func(c *network.IPAMConfig) error {
			if c.IPRange != "" {
				return fmt.Errorf("cannot configure multiple ranges (%s, %s) on the same subnet (%s)", r, c.IPRange, c.Subnet)
			}
			c.IPRange = r
			return nil
		}))
	}
	for _, gw := range gateways {
		err = cmp.Or(err, configs.put("gateway", gw, func(c *network.IPAMConfig) error {
			if c.Gateway != "" {
				return fmt.Errorf("cannot configure multiple gateways (%s, %s) for the same subnet (%s)", gw, c.Gateway, c.Subnet)
			}
			c.Gateway = gw
			return nil
		}))
	}
	for name, aux := range pairs(g.strs("aux-address")) {
		err = cmp.Or(err, configs.put("aux-address", aux, func(c *network.IPAMConfig) error {
			putPair(&c.AuxAddress, name+"="+aux)
			return nil
		}))
	}
	return configs, err
}

// ipamList is a network's subnets, in the order in which they were given.
type ipamList []network.IPAMConfig

func subnetConfigs(subnets []string) (ipamList, error) {
	list := make(ipamList, len(subnets))
	for i, s := range subnets {
		list[i].Subnet = s
		for _, other := range subnets[:i] {
			if lies(s, other) || lies(other, s) {
				return nil, errors.New("multiple overlapping subnet configuration is not supported")
			}
		}
	}
	return list, nil
}

// put changes the subnet that an address or a range lies in.
func (l ipamList) put(what, value string, change func(*network.IPAMConfig) error) error {
	for i := range l {
		if lies(value, l[i].Subnet) {
			return change(&l[i])
		}
	}
	return fmt.Errorf("no matching subnet for %s %s", what, value)
}

// lies reports whether an address, or the first one of a range, is in a
// subnet. What is neither is not; the daemon says what is wrong with it.
func lies(value, subnet string) bool {
	_, n, err := net.ParseCIDR(subnet)
	first, _, _ := strings.Cut(value, "/")
	ip := net.ParseIP(first)
	return err == nil && ip != nil && n.Contains(ip)
}

// commaSeparated takes the values of a flag apart that may hold several each.
func commaSeparated(values []string) []string {
	var out []string
	for _, v := range values {
		out = append(out, strings.Split(v, ",")...)
	}
	return out
}

func networkInspect(ctx context.Context, c *call) error {
	return c.inspect(c.args, func(ref string) (object, error) {
		n, raw, err := c.api().NetworkInspectWithRaw(ctx, ref, network.InspectOptions{Verbose: c.flags.yes("verbose")})
		return object{raw, n}, err
	}, nil) // it has no --pretty
}

// networkRow is a line of network ls.
type networkRow struct {
	CreatedAt, Driver, ID, IPv4, IPv6, Internal, Labels, Name, Scope string
	labelled
}

func networkList(ctx context.Context, c *call) error {
	networks, err := c.api().NetworkList(ctx, network.ListOptions{Filters: c.filters()})
	if err != nil {
		return err
	}
	slices.SortFunc(networks, func(a, b network.Summary) int { return naturalCompare(a.Name, b.Name) })
	l := listing{
		headers: map[string]string{"ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv4": "IPV4", "IPv6": "IPV6", "Internal": "INTERNAL", "Labels": "LABELS", "CreatedAt": "CREATED AT"},
		table:   "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
		raw:     `network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n`,
		quietly: "{{.ID}}",
	}
	for _, n := range networks {
		id := n.ID
		if !c.flags.yes("no-trunc") {
			id = shortID(id)
		}
		l.rows = append(l.rows, networkRow{
			ID: id, Name: n.Name, Driver: n.Driver, Scope: n.Scope, CreatedAt: n.Created.String(), Labels: joinLabels(n.Labels), labelled: n.Labels,
			IPv4: strconv.FormatBool(n.EnableIPv4), IPv6: strconv.FormatBool(n.EnableIPv6), Internal: strconv.FormatBool(n.Internal),
		})
	}
	return c.print(l)
}

const (
	pruneWarning = "WARNING! This will remove all custom networks not used by at least one container."
	ingressToGo  = "WARNING! Before removing the routing-mesh network, make sure all the nodes in your swarm run the same docker engine version. Otherwise, removal may not be effective and functionality of newly create ingress networks will be impaired."
)

func networkPrune(ctx context.Context, c *call) error {
	if !c.flags.yes("force") && !c.confirm(pruneWarning) {
		return nil
	}
	report, err := c.api().NetworksPrune(ctx, c.filters())
	if err != nil {
		return err
	}
	if len(report.NetworksDeleted) > 0 {
		fmt.Fprintf(c.out, "Deleted Networks:\n%s\n\n", strings.Join(report.NetworksDeleted, "\n"))
	}
	return nil
}

// confirm asks; anything but y is no.
func (c *call) confirm(warning string) bool {
	fmt.Fprintf(c.out, "%s\nAre you sure you want to continue? [y/N] ", warning)
	line, _ := bufio.NewReader(c.in).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(line), "y")
}

func networkRemove(ctx context.Context, c *call) error {
	var errs []error
	for _, ref := range c.args {
		n, err := c.api().NetworkInspect(ctx, ref, network.InspectOptions{})
		if err == nil && n.Ingress && !c.confirm(ingressToGo) {
			continue
		}
		switch err := c.api().NetworkRemove(ctx, ref); {
		case err == nil:
			fmt.Fprintln(c.out, ref)
		case !cerrdefs.IsNotFound(err) || !c.flags.yes("force"):
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
