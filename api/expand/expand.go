// Package expand fills in the templates that a service's spec may have in its
// environment, its hostname and its mounts, and those that secrets and configs
// may be. Managers do so with an example, to
// refuse what no task could fill in, and nodes with what is so.
package expand

import (
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// Facts are what the templates in a spec may ask for. The names are those of
// Docker Swarm: {{.Service.Name}}, {{.Node.Hostname}}, {{.Task.Slot}} and so on.
type Facts struct {
	Service struct {
		ID     string
		Name   string
		Labels map[string]string
	}
	Node struct {
		ID       string
		Hostname string
		Platform struct{ Architecture, OS string }
	}
	Task struct{ ID, Name, Slot string }
}

// FactsOf is what the templates of a task's spec may ask for on a node; nil
// stands for a node that none of them asks about.
func FactsOf(spec *api.ServiceSpec, t *api.Task, n *api.Node) *Facts {
	f := new(Facts)
	f.Service.ID, f.Service.Name, f.Service.Labels = string(t.ServiceID), spec.Name, spec.Labels
	f.Task.ID, f.Task.Name, f.Task.Slot = string(t.ID), api.TaskName(spec, t), api.Place(spec, t)
	if n != nil {
		f.Node.ID, f.Node.Hostname = string(n.ID), n.Hostname()
		f.Node.Platform.Architecture, f.Node.Platform.OS = n.Description.Platform.Architecture, n.Description.Platform.OS
	}
	return f
}

// VolumeName is what a mount's source is for a task on a node. One that does not
// expand is as it is written: no task will get that far.
func VolumeName(source string, spec *api.ServiceSpec, t *api.Task, n *api.Node) string {
	if !strings.Contains(source, "{{") {
		return source
	}
	e := &expander{facts: FactsOf(spec, t, n), limits: limits{left: MaxExpanded}}
	if name := e.text("volume", source); e.err == nil {
		return name
	}
	return source
}

// Example is what a template may find on some node, for a service of that name
// and with those labels.
func Example(service string, labels map[string]string) *Facts {
	f := new(Facts)
	f.Service.ID, f.Service.Name, f.Service.Labels = exampleID, service, labels
	f.Node.ID, f.Node.Hostname = exampleID, "host"
	f.Node.Platform.Architecture, f.Node.Platform.OS = "x86_64", "linux"
	f.Task.ID, f.Task.Name, f.Task.Slot = exampleID, service+".1."+exampleID, "1"
	return f
}

// exampleID is as long as IDs are: a template may cut a piece from it.
const exampleID = "1234567890123456789012345"

// expander expands strings until the first one fails, and keeps that error.
type expander struct {
	facts  *Facts
	limits limits
	err    error
}

func (e *expander) text(what, s string) string {
	if e.err != nil || !strings.Contains(s, "{{") {
		return s
	}
	out, err := e.limits.render(s, e.facts)
	if err != nil {
		e.err = api.Errorf(api.CodeInvalid, "%s: template %q: %v", what, s, err)
		return s
	}
	return out
}

func (e *expander) values(what string, m map[string]string) map[string]string {
	if m == nil {
		return nil
	}
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k] = e.text(what+" "+k, v)
	}
	return out
}

// Container returns a copy of the spec in which the templates are filled in:
// those of the environment's values, the hostname and the mounts, as in Docker Swarm.
func Container(spec *swarm.ContainerSpec, f *Facts) (*swarm.ContainerSpec, error) {
	e := &expander{facts: f, limits: limits{left: MaxExpanded}}
	c := *spec
	c.Env = make([]string, len(spec.Env))
	for i, kv := range spec.Env {
		c.Env[i] = kv
		if k, v, ok := strings.Cut(kv, "="); ok {
			c.Env[i] = k + "=" + e.text("env "+k, v)
		}
	}
	c.Hostname = e.text("hostname", spec.Hostname)
	c.Mounts = make([]mount.Mount, len(spec.Mounts))
	for i := range spec.Mounts {
		c.Mounts[i] = e.mount(spec.Mounts[i])
	}
	return &c, e.err
}

func (e *expander) mount(m mount.Mount) mount.Mount {
	what := fmt.Sprintf("mount %s", m.Target)
	m.Source, m.Target = e.text(what, m.Source), e.text(what, m.Target)
	if m.VolumeOptions == nil {
		return m
	}
	o := *m.VolumeOptions
	o.Labels = e.values(what+": volume label", o.Labels)
	if o.DriverConfig != nil {
		d := *o.DriverConfig
		d.Options = e.values(what+": volume option", d.Options)
		o.DriverConfig = &d
	}
	m.VolumeOptions = &o
	return m
}
