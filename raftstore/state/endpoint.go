package state

import (
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// endpoint gives a service what its spec asks for: a virtual address in each of
// its networks, and ports. What it had and still needs it keeps, so that those
// who call it notice nothing of an update. What could not be had is left out,
// and told: a new spec is refused for it, a rollback goes on without.
func (x *tx) endpoint(old, next *api.Service) (api.Endpoint, []error) {
	var had api.Endpoint
	if old != nil {
		had = old.Endpoint
	}
	vips, errs := x.vips(had.VIPs, x.vipNetworks(&next.Spec), holder{service: next.ID})
	ports, more := x.ports(had.Ports, next)
	return api.Endpoint{VIPs: vips, Ports: ports}, append(errs, more...)
}

// vipNetworks are the networks in which a service has a virtual address.
func (x *tx) vipNetworks(spec *api.ServiceSpec) []api.NetworkID {
	if spec.EndpointSpec != nil && spec.EndpointSpec.Mode == swarm.ResolutionModeDNSRR {
		return nil
	}
	return x.view().TaskNetworks(spec)
}

func (x *tx) vips(had []api.Attachment, want []api.NetworkID, h holder) (list []api.Attachment, errs []error) {
	x.giveBack(slices.DeleteFunc(slices.Clone(had), func(a api.Attachment) bool { return slices.Contains(want, a.Network) }), h)
	for _, id := range want {
		switch at := slices.IndexFunc(had, func(a api.Attachment) bool { return a.Network == id }); {
		case at >= 0:
			list = append(list, had[at])
		case x.space(id).room() == 0:
			errs = append(errs, x.errFull(x.view().Network(id)))
		default:
			list = append(list, x.grant(id, h))
		}
	}
	return list, errs
}

// releaseEndpoint takes back what a service had.
func (x *tx) releaseEndpoint(s *api.Service) {
	x.giveBack(s.Endpoint.VIPs, holder{service: s.ID})
	x.unpublish(s.ID, s.Endpoint.Ports)
}
