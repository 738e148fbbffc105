package state

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// Unmet says what the tasks of a service wait for with other services before
// they get a node; empty: they wait for none. It is asked for every task anew,
// so that what follows a crash or the loss of all power waits as what comes
// first does; what runs is never stopped for it.
//
//	waits for service db to be healthy: 0 of 1 running
func Unmet(v *View, s *api.Service) string {
	list := setting.DependenciesOf(s.Spec.Labels)
	var texts []string
	for _, d := range list {
		why, never := lacking(v, d)
		if why == "" || never && d.Optional {
			continue
		}
		texts = append(texts, fmt.Sprintf("for service %s to be %s: %s", d.Service, d.Condition, why))
	}
	if len(texts) == 0 {
		return ""
	}
	text := "waits " + strings.Join(texts, ", and ")
	if around := circle(v, &s.Spec); around != nil {
		text += "; they wait for each other: " + strings.Join(around, " -> ")
	}
	return text
}

// lacking is why a dependency does not hold; empty: it does. never says that it
// will not either before somebody changes something.
//
// One task is enough to be started or healthy, where Compose waits for all: the
// name of the service leads to those that are healthy, and a replica that is
// lost for good must not keep everything that comes after it down.
func lacking(v *View, d setting.Dependency) (why string, never bool) {
	on := v.ServiceByName(d.Service)
	if on == nil {
		return "there is no service " + d.Service, true
	}
	c := countOf(v, on)
	switch {
	case c.counted && c.wanted == 0:
		return "it is scaled to 0", true
	case d.Condition == setting.Completed:
		return c.incomplete()
	case c.running > 0, d.Condition == setting.Started && (c.started > 0 || c.complete > 0):
		return "", false
	case c.live == 0 && c.failed != nil:
		return c.gaveUp(), true
	case c.live == 0 && c.complete > 0 && uint64(c.complete) >= c.wanted:
		return "its tasks have ended: wait for it to be completed", true
	}
	verb := "running"
	if d.Condition == setting.Started {
		verb = "started"
	}
	return fmt.Sprintf("0 of %d %s", max(c.wanted, 1), verb), false
}

// count is how the tasks of a service stand that another one waits for.
type count struct {
	service *api.Service
	counted bool   // it has a number of tasks, and is not on every node
	wanted  uint64 // so many are to run, or to complete
	// started and running are tasks: on nodes that have said, since they were last
	// heard of, that they are still there. The others are slots, of the version, or
	// iteration, that is in force: live ones have a task that runs or is to.
	started, running     int
	live, open, complete int
	failed               *api.Task // of a slot that is given up
}

// place is what a slot is in a service.
type place struct {
	number int
	node   api.NodeID
}

// standing is a slot: its latest task of the version in force, and whether any
// is live, or complete.
type standing struct {
	latest         *api.Task
	live, complete bool
	away           bool // on a node that is down
}

func countOf(v *View, s *api.Service) count {
	c := count{service: s, counted: true}
	switch n, replicated := s.Replicas(); {
	case replicated:
		c.wanted = n
	case s.Spec.Mode.ReplicatedJob != nil:
		_, c.wanted = s.Completions()
	default:
		c.counted = false
	}
	places := map[place]*standing{}
	for t := range v.ServiceTasks(s.ID) {
		if t.Desired == api.TaskRemove || s.Spec.Mode.ReplicatedJob != nil && uint64(t.Slot) > c.wanted {
			continue
		}
		c.add(v, t, places)
	}
	for _, p := range places {
		c.addPlace(p)
	}
	if !c.counted {
		c.wanted = uint64(c.open + c.complete)
	}
	return c
}

// add counts a task in.
func (c *count) add(v *View, t *api.Task, places map[place]*standing) {
	n := v.Node(t.NodeID)
	if t.Live() && t.Status.State >= api.TaskStarting && n != nil && n.Status.State == api.NodeReady && !n.Status.Unsettled {
		c.started++
		if t.Status.State == api.TaskRunning {
			c.running++
		}
	}
	where := place{number: t.Slot}
	if t.Slot == 0 {
		where.node = t.NodeID
	}
	p := places[where]
	if p == nil {
		p = &standing{}
		places[where] = p
	}
	p.live = p.live || t.Live()
	if t.SpecVersion != c.service.SpecVersion || t.JobIteration != c.service.JobIteration() {
		return
	}
	p.complete = p.complete || t.Status.State == api.TaskComplete && c.ends()
	p.away = t.Slot == 0 && (n == nil || n.Status.State == api.NodeDown || n.Status.State == api.NodeDisconnected)
	if p.latest == nil || p.latest.Meta.Version.Index < t.Meta.Version.Index {
		p.latest = t
	}
}

func (c *count) addPlace(p *standing) {
	gone := p.latest != nil && !p.live && p.latest.Desired >= api.TaskShutdown && (p.latest.Status.State == api.TaskFailed || p.latest.Status.State == api.TaskRejected)
	switch {
	case p.complete:
		c.complete++
	case gone:
		// The tables have no order of slots: the first of them is named.
		if c.failed == nil || cmp.Or(cmp.Compare(p.latest.Slot, c.failed.Slot), strings.Compare(string(p.latest.NodeID), string(c.failed.NodeID))) < 0 {
			c.failed = p.latest
		}
	case !p.away:
		c.open++
	}
	if p.live {
		c.live++
	}
}

// ends reports whether a task of the service that ends with success is not
// followed by another.
func (c *count) ends() bool {
	p := c.service.Spec.TaskTemplate.RestartPolicy
	return c.service.IsJob() || p != nil && p.Condition != "" && p.Condition != swarm.RestartPolicyConditionAny
}

// maxCounted is up to how many tasks the progress of a job is told: each step of
// it is written into every task that waits.
const maxCounted = 10

// incomplete is why the service does not count as completed: all of its tasks
// must be, of the version that is in force.
func (c *count) incomplete() (why string, never bool) {
	switch {
	case !c.ends():
		return "its tasks are started again whatever they end with: give it restart condition on-failure, or make it a job", true
	case c.failed != nil:
		return c.gaveUp(), true
	case c.counted && uint64(c.complete) >= c.wanted, !c.counted && c.complete > 0 && c.open == 0:
		return "", false
	case c.wanted == 0:
		return "no node has a task of it", false
	case c.wanted > maxCounted:
		return fmt.Sprintf("not all of its %d tasks are complete", c.wanted), false
	}
	return fmt.Sprintf("%d of %d complete", c.complete, c.wanted), false
}

func (c *count) gaveUp() string {
	text := fmt.Sprintf("task %s.%s has failed and is not started again", c.service.Name(), api.Place(&c.service.Spec, c.failed))
	if why := c.failed.Status.Err; why != "" {
		text += ": " + why
	}
	return text
}

// circle is the way from a service over those that it waits for back to itself,
// or nil: then all of them would wait for ever.
func circle(v *View, spec *api.ServiceSpec) []string {
	seen := map[string]bool{}
	var walk func(names []string) []string
	walk = func(names []string) []string {
		for _, name := range names {
			if name == spec.Name {
				return []string{name}
			}
			next := v.ServiceByName(name)
			if next == nil || seen[name] {
				continue
			}
			seen[name] = true
			if rest := walk(awaited(&next.Spec)); rest != nil {
				return slices.Insert(rest, 0, name)
			}
		}
		return nil
	}
	rest := walk(awaited(spec))
	if rest == nil {
		return nil
	}
	return slices.Insert(rest, 0, spec.Name)
}

// awaited are the services without which a service has no tasks that run: those
// that it depends on, and the one that its tasks are sidecars of.
func awaited(spec *api.ServiceSpec) (names []string) {
	for _, d := range setting.DependenciesOf(spec.Labels) {
		names = append(names, d.Service)
	}
	if pod := setting.PodOf(spec.Labels); pod != "" && pod != spec.Name { // see PodService
		names = append(names, pod)
	}
	return names
}

// checkDepends refuses dependencies that lead back to the service.
func (v *View) checkDepends(spec *api.ServiceSpec) error {
	around := circle(v, spec)
	if around == nil {
		return nil
	}
	return api.Errorf(api.CodeInvalid, "label %s: %s: they would wait for each other for ever: leave one of these dependencies out", setting.LabelDependsOn, strings.Join(around, " -> "))
}
