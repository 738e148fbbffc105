package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api/setting"
)

// serviceRow is a line of service ls.
type serviceRow struct{ ID, Image, Mode, Name, Ports, Replicas string }

// MarshalJSON escapes <, > and & in a row, as Docker's CLI does, which the
// template's json leaves alone.
func (r serviceRow) MarshalJSON() ([]byte, error) {
	type row serviceRow
	return json.Marshal(row(r))
}

func serviceList(ctx context.Context, c *call) error {
	services, err := c.api().ServiceList(ctx, swarm.ServiceListOptions{Filters: c.filters(), Status: true})
	if err != nil {
		return err
	}
	return c.printServices(ctx, services)
}

// printServices is the list of service ls and stack services.
func (c *call) printServices(ctx context.Context, services []swarm.Service) error {
	if err := c.countTasks(ctx, services); err != nil {
		return err
	}
	slices.SortFunc(services, func(a, b swarm.Service) int { return naturalCompare(a.Spec.Name, b.Spec.Name) })
	l := listing{
		headers: map[string]string{"ID": "ID", "Name": "NAME", "Mode": "MODE", "Replicas": "REPLICAS", "Image": "IMAGE", "Ports": "PORTS"},
		table:   "{{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t{{.Image}}\t{{.Ports}}",
		raw:     `id: {{.ID}}\nname: {{.Name}}\nmode: {{.Mode}}\nreplicas: {{.Replicas}}\nimage: {{.Image}}\nports: {{.Ports}}\n`,
		quietly: "{{.ID}}",
	}
	for _, s := range services {
		l.rows = append(l.rows, serviceRow{
			ID: shortID(s.ID), Name: s.Spec.Name, Mode: modeName(s.Spec.Mode), Replicas: replicas(s),
			Image: familiarImage(image(s.Spec.TaskTemplate)), Ports: ingressPorts(s.Endpoint.Ports),
		})
	}
	return c.print(l)
}

// countTasks fills in the counts of services where the API is too old to.
func (c *call) countTasks(ctx context.Context, services []swarm.Service) error {
	missing := filters.NewArgs()
	for _, s := range services {
		if s.ServiceStatus == nil {
			missing.Add("service", s.ID)
		}
	}
	if missing.Len() == 0 {
		return nil
	}
	tasks, err := c.api().TaskList(ctx, swarm.TaskListOptions{Filters: missing})
	if err != nil {
		return err
	}
	up, err := c.upNodes(ctx)
	if err != nil {
		return err
	}
	for i := range services {
		if s := &services[i]; s.ServiceStatus == nil {
			s.ServiceStatus = statusOf(s, tasks, up)
		}
	}
	return nil
}

func statusOf(s *swarm.Service, tasks []swarm.Task, up map[string]bool) *swarm.ServiceStatus {
	var st swarm.ServiceStatus
	if r := s.Spec.Mode.Replicated; r != nil && r.Replicas != nil {
		st.DesiredTasks = *r.Replicas
	}
	for _, t := range tasks {
		if t.ServiceID != s.ID {
			continue
		}
		if s.Spec.Mode.Replicated == nil && t.DesiredState != swarm.TaskStateShutdown {
			st.DesiredTasks++
		}
		if t.Status.State == swarm.TaskStateRunning && up[t.NodeID] {
			st.RunningTasks++
		}
		if t.Status.State == swarm.TaskStateComplete {
			st.CompletedTasks++
		}
	}
	return &st
}

// upNodes are the nodes that are not down.
func (c *call) upNodes(ctx context.Context) (map[string]bool, error) {
	nodes, err := c.api().NodeList(ctx, swarm.NodeListOptions{})
	if err != nil {
		return nil, err
	}
	up := map[string]bool{}
	for _, n := range nodes {
		if n.Status.State != swarm.NodeStateDown {
			up[n.ID] = true
		}
	}
	return up, nil
}

func modeName(m swarm.ServiceMode) string {
	switch {
	case m.Global != nil:
		return "global"
	case m.Replicated != nil:
		return "replicated"
	case m.ReplicatedJob != nil:
		return "replicated job"
	case m.GlobalJob != nil:
		return "global job"
	}
	return ""
}

// replicas is the REPLICAS column: "2/3", with what bounds it or is done.
func replicas(s swarm.Service) string {
	var st swarm.ServiceStatus
	if s.ServiceStatus != nil {
		st = *s.ServiceStatus
	}
	text := fmt.Sprintf("%d/%d", st.RunningTasks, st.DesiredTasks)
	switch m := s.Spec.Mode; {
	case setting.PodOf(s.Spec.Labels) != "":
		return fmt.Sprintf("%s (pod of %s)", text, setting.PodOf(s.Spec.Labels))
	case m.ReplicatedJob != nil && m.ReplicatedJob.TotalCompletions != nil:
		return fmt.Sprintf("%s (%d/%d completed)", text, st.CompletedTasks, *m.ReplicatedJob.TotalCompletions)
	case m.GlobalJob != nil:
		return fmt.Sprintf("%s (%d/%d completed)", text, st.CompletedTasks, st.DesiredTasks+st.CompletedTasks)
	case m.Replicated != nil && s.Spec.TaskTemplate.Placement != nil && s.Spec.TaskTemplate.Placement.MaxReplicas > 0:
		return fmt.Sprintf("%s (max %d per node)", text, s.Spec.TaskTemplate.Placement.MaxReplicas)
	}
	return text
}

func image(t swarm.TaskSpec) string {
	if t.ContainerSpec == nil {
		return ""
	}
	return t.ContainerSpec.Image
}

// familiarImage leaves a tagged image's digest out.
func familiarImage(name string) string {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	tagged, ok := ref.(reference.NamedTagged)
	if !ok {
		return name
	}
	plain, err := reference.WithTag(reference.TrimNamed(tagged), tagged.Tag())
	if err != nil {
		return name
	}
	return reference.FamiliarString(plain)
}

// ingressPorts shows the ports published on every node, neighbours as one range.
func ingressPorts(ports []swarm.PortConfig) string {
	ports = slices.Clone(ports)
	slices.SortFunc(ports, func(a, b swarm.PortConfig) int {
		return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.PublishedPort, b.PublishedPort))
	})
	var out []string
	var first, last swarm.PortConfig
	flush := func() {
		if first.PublishedPort > 0 {
			out = append(out, fmt.Sprintf("*:%s->%s/%s", span(first.PublishedPort, last.PublishedPort), span(first.TargetPort, last.TargetPort), first.Protocol))
		}
	}
	for _, p := range ports {
		if p.PublishMode != swarm.PortConfigPublishModeIngress {
			continue
		}
		ranged := last.TargetPort != first.TargetPort
		follows := p.Protocol == last.Protocol && p.PublishedPort == last.PublishedPort+1 &&
			(p.TargetPort == last.TargetPort+1 && (ranged || first == last) || p.TargetPort == last.TargetPort && !ranged)
		if !follows {
			flush()
			first = p
		}
		last = p
	}
	flush()
	return strings.Join(out, ", ")
}

func span(from, to uint32) string {
	if from == to {
		return strconv.FormatUint(uint64(from), 10)
	}
	return fmt.Sprintf("%d-%d", from, to)
}

// naturalCompare orders web.2 before web.10.
func naturalCompare(a, b string) int {
	for a != "" && b != "" {
		an, bn := digits(a), digits(b)
		if an > 0 && bn > 0 {
			x, y := strings.TrimLeft(a[:an], "0"), strings.TrimLeft(b[:bn], "0")
			if d := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y), cmp.Compare(an, bn)); d != 0 {
				return d
			}
			a, b = a[an:], b[bn:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits is the length of the number that s starts with.
func digits(s string) int {
	n := strings.IndexFunc(s, func(r rune) bool { return r > unicode.MaxASCII || !unicode.IsDigit(r) })
	if n < 0 {
		return len(s)
	}
	return n
}
