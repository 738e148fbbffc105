package agent

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

// Networks are the cluster's networks as this node has heard of them, by name.
func (a *Agent) Networks() []*fabric.Network {
	s, _ := a.now()
	if s.set == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(s.set.Networks), func(a, b *fabric.Network) int { return cmp.Compare(a.Name, b.Name) })
}

// Look goes through what this node has for callers of a service: what it has
// heard, whether its rules agree with that and what is in the way, what the
// service's name stands for, whom it doubts and which ports it cannot answer.
func (a *Agent) Look(q *api.TraceRequest) []api.TraceStep {
	s, _ := a.now()
	if s.set == nil {
		return []api.TraceStep{{What: "fabric", Text: "no manager has told this node of the cluster's networks yet"}}
	}
	steps := []api.TraceStep{a.heardOf(s.set, q.Service), a.upToDate(s.set)}
	for _, t := range s.troubles {
		steps = append(steps, api.TraceStep{What: t.part, Text: t.err.Error()})
	}
	steps = append(steps, a.names(s.set, q)...)
	suspects, _ := a.cfg.Suspects()
	for _, id := range slices.Sorted(maps.Keys(suspects)) {
		if h := s.set.Hosts[id]; suspects[id] && h != nil {
			steps = append(steps, api.TraceStep{What: "suspect", Text: fmt.Sprintf("node %s does not answer this node's gossip: its tasks get no connections from here", h.Hostname)})
		}
	}
	problems, _ := a.Problems()
	for _, port := range q.Published {
		if why := problems[port]; why != "" {
			steps = append(steps, api.TraceStep{What: "port", Text: fmt.Sprintf("this node does not answer at %s: %s", port, why)})
		}
	}
	return steps
}

func (a *Agent) heardOf(set *fabric.Set, id api.ServiceID) api.TraceStep {
	serving := 0
	for _, e := range set.Endpoints {
		if e.Service == id && e.State == fabric.Serving {
			serving++
		}
	}
	known := set.Services[id] != nil
	if !known {
		return api.TraceStep{What: "fabric", Text: "this node has not heard of the service"}
	}
	return api.TraceStep{What: "fabric", OK: serving > 0, Text: fmt.Sprintf("this node knows the service, with %d tasks that serve", serving)}
}

func (a *Agent) upToDate(set *fabric.Set) api.TraceStep {
	if at, _ := a.Applied(); at != set.Index {
		return api.TraceStep{What: "rules", Text: fmt.Sprintf("the rules are those of change %d, and %d is known", at, set.Index)}
	}
	return api.TraceStep{What: "rules", OK: true, Text: fmt.Sprintf("the rules agree with all that is known (change %d)", set.Index)}
}

// names says what containers of the network are told when they ask for the
// service. Clients of published ports ask for no names.
func (a *Agent) names(set *fabric.Set, q *api.TraceRequest) (steps []api.TraceStep) {
	n, s := set.Networks[q.Network], set.Services[q.Service]
	if a.cfg.Explain == nil || n == nil || s == nil || n.Ingress {
		return nil
	}
	for _, line := range a.cfg.Explain(set, []api.NetworkID{n.ID}, s.Name) {
		steps = append(steps, api.TraceStep{What: "name", OK: true, Text: line})
	}
	return steps
}

// Lasting is the address of this node's resolver that stays the same for as
// long as the node is a member: that in the ingress network. The others go, and
// come back as others, with what runs in their networks.
func (a *Agent) Lasting() (netip.Addr, bool) {
	s, _ := a.now()
	if s.set == nil {
		return netip.Addr{}, false
	}
	for id, n := range s.set.Networks {
		if gateways := a.gateways(s, id); n.Ingress && len(gateways) > 0 {
			return gateways[0], true
		}
	}
	return netip.Addr{}, false
}
