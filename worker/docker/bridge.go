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
	"github.com/swarmctl/swarmctl/api/fabric"
)

const (
	optionName       = "com.docker.network.bridge.name"
	optionMasquerade = "com.docker.network.bridge.enable_ip_masquerade"
	// withoutIPv4 is the API's version since which a network can do without IPv4.
	withoutIPv4 = "1.48"
)

// CreateBridge makes a bridge network and sets its ID. One that is there
// already and is the same will do.
func (e *Engine) CreateBridge(ctx context.Context, b *fabric.Bridge) error {
	if !has(b, netip.Addr.Is4) && versions.LessThan(e.cli.ClientVersion(), withoutIPv4) {
		return api.Errorf(api.CodeUnsupported, "network %q has no IPv4 subnet, which needs Docker Engine 28.0 (API %s), and this node's speaks API %s: give it one, or keep its services to nodes with a newer engine by a constraint", b.Name, withoutIPv4, e.cli.ClientVersion())
	}
	resp, err := e.cli.NetworkCreate(ctx, b.Name, bridgeOptions(b))
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
func (e *Engine) adopt(ctx context.Context, b *fabric.Bridge) error {
	n, err := e.cli.NetworkInspect(ctx, b.Name, network.InspectOptions{})
	if err != nil {
		return e.fail(err)
	}
	old := bridgeOf(&n)
	switch {
	case old.Cluster != b.Cluster || old.Network != b.Network:
		return api.Errorf(api.CodeConflict, "network %q: this host has a network of that name of its own (%.12s): remove it with `docker network rm %s`, or give the cluster's network another name", b.Name, n.ID, b.Name)
	case !old.SameAs(b):
		return api.Errorf(api.CodeConflict, "network %q: its bridge (%.12s) was made with other addresses: it must be removed first, and can be once no container is on it", b.Name, n.ID)
	}
	b.ID = n.ID
	return nil
}

// Bridges are the bridges that the engine has of a cluster, ordered by name.
func (e *Engine) Bridges(ctx context.Context, cluster string) ([]fabric.Bridge, error) {
	list, err := e.cli.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("label", api.LabelNetworkCluster+"="+cluster))})
	if err != nil {
		return nil, e.fail(err)
	}
	out := make([]fabric.Bridge, len(list))
	for i := range list {
		out[i] = bridgeOf(&list[i])
	}
	slices.SortFunc(out, func(a, b fabric.Bridge) int { return cmp.Compare(a.Name, b.Name) })
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

// has reports whether a bridge has a subnet of a family of addresses.
func has(b *fabric.Bridge, family func(netip.Addr) bool) bool {
	return slices.ContainsFunc(b.Subnets, func(s fabric.BridgeSubnet) bool { return family(s.Prefix.Addr()) })
}

// bridgeOptions describe a bridge to the engine.
func bridgeOptions(b *fabric.Bridge) network.CreateOptions {
	four, six := has(b, netip.Addr.Is4), has(b, netip.Addr.Is6)
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
func bridgeOf(n *network.Inspect) fabric.Bridge {
	b := fabric.Bridge{
		ID: n.ID, Name: n.Name, Internal: n.Internal, Interface: n.Options[optionName],
		Cluster: n.Labels[api.LabelNetworkCluster], Network: api.NetworkID(n.Labels[api.LabelNetworkID]),
	}
	b.MTU, _ = strconv.Atoi(n.Options[api.OptionMTU])
	for _, c := range n.IPAM.Config {
		prefix, err := netip.ParsePrefix(c.Subnet)
		gateway, gerr := netip.ParseAddr(c.Gateway)
		if err == nil && gerr == nil {
			b.Subnets = append(b.Subnets, fabric.BridgeSubnet{Prefix: prefix, Gateway: gateway})
		}
	}
	return b
}
