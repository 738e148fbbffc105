package state

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// createNetwork adds a network whose subnets and identifiers its proposer has
// found free. Whether they still are is judged here, where all proposals pass
// one after the other.
func (x *tx) createNetwork(n *api.Network) error {
	v := x.view()
	if v.Network(n.ID) != nil {
		return api.Errorf(api.CodeConflict, "network %s exists", n.ID)
	}
	if v.NetworkByName(n.Spec.Name) != nil {
		return api.Errorf(api.CodeConflict, "network with name %s already exists", n.Spec.Name)
	}
	if err := checkSpace(v, n); err != nil {
		return err
	}
	next := *n
	next.Meta = x.meta(false, api.Meta{})
	x.put(tableNetworks, &next)
	x.networks = append(x.networks, Pair[api.Network]{After: &next})
	return nil
}

func (x *tx) deleteNetwork(id api.NetworkID) error {
	old := x.view().Network(id)
	if old == nil {
		return api.Errorf(api.CodeNotFound, "network %s not found", id)
	}
	if users := x.view().NetworkUsers(id); len(users) > 0 {
		return api.Errorf(api.CodeInvalid, "network %s is in use by service %s", old.Spec.Name, strings.Join(users, ", "))
	}
	x.deleteRow(tableNetworks, old)
	x.networks = append(x.networks, Pair[api.Network]{Before: old})
	return nil
}

// NetworkUsers are the names of the services on a network.
func (v *View) NetworkUsers(id api.NetworkID) []string {
	on := func(n swarm.NetworkAttachmentConfig) bool { return n.Target == string(id) }
	return v.users(func(s *api.ServiceSpec) bool {
		return slices.ContainsFunc(s.TaskTemplate.Networks, on) || slices.ContainsFunc(s.Networks, on) //nolint:staticcheck // Networks is deprecated and still sent
	})
}

// checkSpace refuses a network that would share addresses or an identifier
// with another one: for good where the user asked for them, and as outdated
// where the proposer chose, who may choose again then.
func checkSpace(v *View, n *api.Network) error {
	own, err := subnets(n)
	if err != nil {
		return err
	}
	for i, a := range own {
		if j := slices.IndexFunc(own[:i], a.Overlaps); j >= 0 {
			return api.Errorf(api.CodeInvalid, "network %s: its subnets %s and %s overlap", n.Spec.Name, own[j], a)
		}
	}
	for other := range v.Networks() {
		theirs, err := subnets(other)
		if err != nil {
			continue // none such gets in
		}
		for i, a := range own {
			if j := slices.IndexFunc(theirs, a.Overlaps); j >= 0 {
				return api.Errorf(refusal(askedSubnet(n, i)), "Pool overlaps with other one on this address space: subnet %s of network %s overlaps with %s of network %s",
					a, n.Spec.Name, theirs[j], other.Spec.Name)
			}
		}
		for _, id := range n.VXLAN {
			if slices.Contains(other.VXLAN, id) {
				return api.Errorf(refusal(askedVXLAN(n)), "network %s: VXLAN id %d is that of network %s", n.Spec.Name, id, other.Spec.Name)
			}
		}
	}
	return nil
}

// refusal is the engine's code for an address that is taken, or outdated.
func refusal(asked bool) api.Code {
	if asked {
		return api.CodeForbidden
	}
	return api.CodeOutdated
}

func askedSubnet(n *api.Network, i int) bool {
	o := n.Spec.IPAMOptions
	return o != nil && i < len(o.Configs) && o.Configs[i].Subnet != ""
}

func askedVXLAN(n *api.Network) bool {
	d := n.Spec.DriverConfiguration
	return d != nil && d.Options[api.OptionVXLAN] != ""
}

// subnets are the subnets that a network has.
func subnets(n *api.Network) ([]netip.Prefix, error) {
	list := make([]netip.Prefix, len(n.IPAM.Configs))
	for i, c := range n.IPAM.Configs {
		var err error
		if list[i], err = netip.ParsePrefix(c.Subnet); err != nil {
			return nil, api.Errorf(api.CodeInvalid, "network %s: %s", n.Spec.Name, err)
		}
	}
	return list, nil
}
