package dockerapi

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// portTroubles is what nodes say of published ports that they do not answer.
// People read it where they look for what is wrong with a service: at its tasks.
type portTroubles struct {
	view     *state.View
	nodes    map[string][]string      // what they say, by port
	services map[api.ServiceID]string // what was found of each
}

// maxTroubles is how many nodes are quoted.
const maxTroubles = 3

func newPortTroubles(view *state.View) *portTroubles {
	p := &portTroubles{view: view, nodes: map[string][]string{}, services: map[api.ServiceID]string{}}
	for n := range view.Nodes() {
		if n.Status.State != api.NodeReady {
			continue
		}
		for at, why := range n.PortProblems {
			port := at[strings.LastIndex(at, ":")+1:] // without the address of a host
			p.nodes[port] = append(p.nodes[port], why)
		}
	}
	return p
}

// of is what to say at a task that has nothing else to complain of.
func (p *portTroubles) of(t *api.Task) string {
	if len(p.nodes) == 0 || !t.Live() {
		return ""
	}
	text, known := p.services[t.ServiceID]
	if !known {
		text = p.ofService(p.view.Service(t.ServiceID))
		p.services[t.ServiceID] = text
	}
	return text
}

func (p *portTroubles) ofService(s *api.Service) string {
	if s == nil {
		return ""
	}
	var all []string
	for _, port := range s.Endpoint.Ports {
		if port.PublishMode != swarm.PortConfigPublishModeHost {
			all = append(all, p.nodes[fmt.Sprintf("%d/%s", port.PublishedPort, cmp.Or(port.Protocol, swarm.PortConfigProtocolTCP))]...)
		}
	}
	slices.Sort(all)
	if more := len(all) - maxTroubles; more > 0 {
		all = append(all[:maxTroubles], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, "; ")
}
