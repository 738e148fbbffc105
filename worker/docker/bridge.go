package docker

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strconv"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/versions"

	"github.com/swarmctl/swarmctl/api"
)

// Bridge is a node's part of a network of the cluster: a plain bridge network
// of its engine.
type Bridge struct {
	ID        string // the engine's for it
	Cluster   string
	Network   api.NetworkID
	Name      string // the network's, on the engine as in the cluster
	Interface string // of the host
	Subnets   []BridgeSubnet
	MTU       int  // 0: the engine's own
	Internal  bool // no way out of it
}

// BridgeSubnet is one range of a bridge's addresses, with the host's own in it.
type BridgeSubnet struct {
	Prefix  netip.Prefix
	Gateway netip.Addr
}

const (
	optionName       = "com.docker.network.bridge.name"
	optionMasquerade = "com.docker.network.bridge.enable_ip_masquerade"
	// withoutIPv4 is the API's version since which a network can do without IPv4.
	withoutIPv4 = "1.48"
)

// CreateBridge makes a bridge network and sets its ID. One that is there
// already and is the same will do.
func (e *Engine) CreateBridge(ctx context.Context, b *Bridge) error {
	if !b.has4() && versions.LessThan(e.cli.ClientVersion(), withoutIPv4) {
		return api.Errorf(api.CodeUnsupported, "network %q has no IPv4 subnet, which needs Docker Engine 28.0 (API %s), and this node's speaks API %s: give it one, or keep its services to nodes with a newer engine by a constraint", b.Name, withoutIPv4, e.cli.ClientVersion())
	}
	resp, err := e.cli.NetworkCreate(ctx, b.Name, b.options())
	switch {
	case err == nil:
		b.ID = resp.ID
		return nil
	case cerrdefs.IsConflict(err):
		return e.adopt(ctx, b)
	}
	if err = e.fail(err); ctx.Err() != nil || errors.Is(err, api.ErrUnavailable) {
		return err
	}
	return api.Errorf(api.CodeConflict, "network %q: the container engine does not make its bridge: %v: free what it names (`docker network ls`, `ip address`), or give the network another subnet", b.Name, err)
}

// adopt takes the network that has the bridge's name, if it is the bridge.
func (e *Engine) adopt(ctx context.Context, b *Bridge) error {
	n, err := e.cli.NetworkInspect(ctx, b.Name, network.InspectOptions{})
	if err != nil {
		return e.fail(err)
	}
	old := bridgeOf(&n)
	switch {
	case old.Cluster != b.Cluster || old.Network != b.Network:
		return api.Errorf(api.CodeConflict, "network %q: this host has a network of that name of its own (%.12s): remove it with `docker network rm %s`, or give the cluster's network another name", b.Name, n.ID, b.Name)
	case !old.same(b):
		return api.Errorf(api.CodeConflict, "network %q: its bridge (%.12s) was made with other addresses: it must be removed first, and can be once no container is on it", b.Name, n.ID)
	}
	b.ID = n.ID
	return nil
}

// Bridges are the bridges that the engine has of a cluster, ordered by name.
func (e *Engine) Bridges(ctx context.Context, cluster string) ([]Bridge, error) {
	list, err := e.cli.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("label", api.LabelNetworkCluster+"="+cluster))})
	if err != nil {
		return nil, e.fail(err)
	}
	out := make([]Bridge, len(list))
	for i := range list {
		out[i] = bridgeOf(&list[i])
	}
	slices.SortFunc(out, func(a, b Bridge) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// RemoveBridge removes a bridge that no container is on; one that does not
// exist is fine. The error has code conflict where containers are on it.
func (e *Engine) RemoveBridge(ctx context.Context, id string) error {
	err := e.cli.NetworkRemove(ctx, id)
	switch {
	case err == nil, cerrdefs.IsNotFound(err):
		return nil
	case cerrdefs.IsPermissionDenied(err), cerrdefs.IsConflict(err):
		return api.Errorf(api.CodeConflict, "bridge %.12s is in use: %s", id, plain(err))
	}
	return e.fail(err)
}

func (b *Bridge) has4() bool {
	return slices.ContainsFunc(b.Subnets, func(s BridgeSubnet) bool { return s.Prefix.Addr().Is4() })
}

func (b *Bridge) has6() bool {
	return slices.ContainsFunc(b.Subnets, func(s BridgeSubnet) bool { return !s.Prefix.Addr().Is4() })
}

// options describe the bridge to the engine.
func (b *Bridge) options() network.CreateOptions {
	four, six := b.has4(), b.has6()
	o := network.CreateOptions{
		Driver: network.NetworkBridge, Internal: b.Internal, EnableIPv6: &six, IPAM: &network.IPAM{Driver: "default"},
		Labels:  map[string]string{api.LabelNetworkCluster: b.Cluster, api.LabelNetworkID: string(b.Network)},
		Options: map[string]string{optionName: b.Interface, optionMasquerade: strconv.FormatBool(!b.Internal)},
	}
	if !four {
		o.EnableIPv4 = &four
	}
	if b.MTU > 0 {
		o.Options[api.OptionMTU] = strconv.Itoa(b.MTU)
	}
	for _, s := range b.Subnets {
		o.IPAM.Config = append(o.IPAM.Config, network.IPAMConfig{Subnet: s.Prefix.String(), Gateway: s.Gateway.String()})
	}
	return o
}

// bridgeOf is what the engine says of a bridge. What it cannot have been made
// with is left out, so that it is not the same as any that is asked for.
func bridgeOf(n *network.Inspect) Bridge {
	b := Bridge{
		ID: n.ID, Name: n.Name, Internal: n.Internal, Interface: n.Options[optionName],
		Cluster: n.Labels[api.LabelNetworkCluster], Network: api.NetworkID(n.Labels[api.LabelNetworkID]),
	}
	b.MTU, _ = strconv.Atoi(n.Options[api.OptionMTU])
	for _, c := range n.IPAM.Config {
		prefix, err := netip.ParsePrefix(c.Subnet)
		gateway, gerr := netip.ParseAddr(c.Gateway)
		if err == nil && gerr == nil {
			b.Subnets = append(b.Subnets, BridgeSubnet{prefix, gateway})
		}
	}
	return b
}

// same reports whether a bridge will do for another one. Its MTU can be changed
// on its interfaces.
func (b *Bridge) same(o *Bridge) bool {
	in := func(list []BridgeSubnet) func(BridgeSubnet) bool {
		return func(s BridgeSubnet) bool { return !slices.Contains(list, s) }
	}
	return b.Name == o.Name && b.Interface == o.Interface && b.Internal == o.Internal &&
		len(b.Subnets) == len(o.Subnets) && !slices.ContainsFunc(b.Subnets, in(o.Subnets))
}
