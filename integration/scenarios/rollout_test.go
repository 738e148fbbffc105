package scenarios

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/load"
)

// checked is a service of n replicas that are ready when they say so, at port
// 8080 of every node, and on networks.
func (l *lab) checked(name string, n uint64, networks ...string) []cluster.Container {
	l.t.Helper()
	healthy := &container.HealthConfig{Test: []string{"CMD", "/demo", "health"}, Interval: time.Second, Timeout: time.Minute, StartPeriod: time.Minute}
	on := make([]swarm.NetworkAttachmentConfig, len(networks))
	for i, network := range networks {
		on[i].Target = network
	}
	_, err := l.leader().API.ServiceCreate(l.ctx, swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: name},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: cluster.Image, Healthcheck: healthy}, Networks: on},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &n}},
		EndpointSpec: &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: demoPort, PublishedPort: demoPort}}},
	}, swarm.ServiceCreateOptions{})
	l.must(err)
	return l.count(name, int(n))
}

// fresh are those of the containers that were not there before.
func fresh(now, before []cluster.Container) []cluster.Container {
	return slices.DeleteFunc(slices.Clone(now), func(c cluster.Container) bool { return slices.Contains(ids(before), c.ID) })
}

// A version that crashes takes itself back, and never costs more than the one
// replica that an update replaces at a time.
func TestABadVersionTakesItselfBack(t *testing.T) {
	l := newLab(t)
	before := l.checked("web", 10)
	l.reached(l.Outside(), url(l.Nodes[0].Addr), before)
	ends := l.extremes("web", func(cs []cluster.Container) int { return len(cs) - len(fresh(cs, before)) })
	l.refused(l.Nodes[1], []string{"service", "update", "--quiet", "--args", "serve --exit-after 1ms --exit-code 7", "--update-failure-action", "rollback", "web"}, "web", "rolled back")
	after := l.count("web", 10)
	if n := len(fresh(after, before)); n != 1 {
		t.Errorf("%d of 10 were replaced, and not the first alone", n)
	}
	if fewest, _ := ends(); fewest < 9 {
		t.Errorf("%d of the old replicas ran at the same time, and not 9", fewest)
	}
	if got := l.cli(l.Nodes[0], "service", "inspect", "--format", "{{.UpdateStatus.State}}", "web"); strings.TrimSpace(got) != "rollback_completed" {
		t.Errorf("the update is %s", got)
	}
	l.reached(l.Outside(), url(l.Nodes[0].Addr), after)
}

// A canary gets its share of the requests, and goes on or goes back when told.
func TestACanaryGetsItsShareUntilItIsPromoted(t *testing.T) {
	l := newLab(t)
	before := l.run("web", 10, "-p", "8080:8080")
	l.reached(l.Outside(), url(l.Nodes[0].Addr), before)
	update := []string{"service", "update", "--quiet", "--update-monitor", "100ms", "--update-canary", "10%", "--env-add"}
	l.cli(l.Nodes[0], append(update, "V=2", "web")...)
	now := l.count("web", 10)
	canary := fresh(now, before)
	if len(canary) != 1 {
		t.Fatalf("%d of 10 replicas are new, and not one", len(canary))
	}
	l.reached(l.Outside(), url(l.Nodes[0].Addr), now)
	asked := l.answers(l.Outside(), load.Config{URL: url(l.Nodes[0].Addr), Requests: 5000, Clients: 8})
	share := 100 * float64(asked.By[canary[0].ID[:12]]) / 5000
	t.Logf("the canary answered %.1f %% of 5,000 requests", share)
	if share < 7 || share > 13 {
		t.Errorf("the canary answered %.1f %% of the requests, and not 10", share)
	}
	if got := l.cli(l.Nodes[1], "service", "ps", "--filter", "desired-state=running", "web"); strings.Count(got, "canary") != 1 {
		t.Errorf("service ps does not show the canary:\n%s", got)
	}
	l.cli(l.Nodes[1], "service", "rollback", "--quiet", "web")
	back := l.count("web", 10)
	if n := len(fresh(back, before)); n != 1 {
		t.Errorf("going back replaced %d replicas, and not the canary alone", n)
	}
	l.refused(l.Nodes[0], []string{"service", "promote", "web"}, "web", "canary")
	l.cli(l.Nodes[0], append(update, "V=3", "web")...)
	l.cli(l.Nodes[1], "service", "promote", "--quiet", "web")
	l.until("web", soon, "all replaced", func(cs []cluster.Container) bool { return len(cs) == 10 && len(fresh(cs, back)) == 10 })
}

// A canary of all replicas runs beside the old version without a request, and
// has all of them in one step.
func TestBlueGreenSwitchesInOneStep(t *testing.T) {
	l := newLab(t)
	at := l.Nodes[len(l.Nodes)-1]
	blue := l.checked("web", 3)
	l.reached(l.Outside(), url(at.Addr), blue)
	asking := l.keep(l.Outside(), load.Config{URL: url(at.Addr), Rate: 50, Clients: 5})
	l.cli(l.Nodes[0], "service", "update", "--quiet", "--update-monitor", "100ms", "--update-canary", "100%", "--env-add", "V=2", "web")
	green := fresh(l.count("web", 6), blue)
	l.reached(l.Outside(), url(at.Addr), blue)
	l.cli(l.Nodes[1], "service", "promote", "--quiet", "web")
	l.reached(l.Outside(), url(at.Addr), green)
	if n := len(l.count("web", 6)); n != 6 {
		t.Errorf("%d run, and not both versions", n)
	}
	l.cli(l.Nodes[1], "service", "promote", "--quiet", "web")
	if left := l.count("web", 3); !equal(ids(left), ids(green)) {
		t.Errorf("%v run, and not the new version %v", ids(left), ids(green))
	}
	asking.unhurt()
}

// The only replica of a service serves on until its successor does.
func TestADrainedNodeCostsNoRequest(t *testing.T) {
	l := newLab(t)
	first := l.checked("web", 1)[0]
	from := l.Nodes[0]
	if first.Node == from {
		from = l.Nodes[1]
	}
	l.answered(l.Outside(), url(from.Addr))
	asking := l.keep(l.Outside(), load.Config{URL: url(from.Addr), Rate: 50, Clients: 5})
	l.cli(l.leader(), "node", "update", "--availability", "drain", "--wait", "--timeout", "90s", first.Node.Name)
	if now := l.count("web", 1); now[0].Node == first.Node {
		t.Errorf("%s is drained, and runs web still", first.Node.Name)
	}
	asking.unhurt()
	l.cli(l.leader(), "node", "update", "--availability", "active", first.Node.Name)
}

// What a node is short of is brought back to it, and no more than that.
func TestRebalanceMovesTheSurplusAlone(t *testing.T) {
	l := newLab(t)
	last := l.Nodes[len(l.Nodes)-1]
	l.cli(l.leader(), "node", "update", "--availability", "drain", last.Name)
	before := l.run("web", 2*len(l.Nodes))
	l.cli(l.leader(), "node", "update", "--availability", "active", last.Name)
	l.still("web", 2*time.Second, before)
	l.cli(l.Nodes[0], "service", "rebalance", "--timeout", "60s", "web")
	after := l.count("web", len(before))
	if n := len(fresh(after, before)); n != 2 {
		t.Errorf("%d replicas moved, and not 2", n)
	}
	for n, count := range cluster.Spread(after) {
		if count != 2 {
			t.Errorf("%s runs %d, and not 2", n.Name, count)
		}
	}
}

// Constraints on what else a node runs.
func TestServicesThatBelongTogetherRunTogether(t *testing.T) {
	l := newLab(t)
	db := l.run("db", 1)[0]
	beside := l.run("beside", 2, "--constraint", "service.name==db")
	away := l.run("away", len(l.Nodes)-1, "--constraint", "service.name!=db")
	for _, c := range beside {
		if c.Node != db.Node {
			t.Errorf("beside runs on %s, and db on %s", c.Node.Name, db.Node.Name)
		}
	}
	for _, c := range away {
		if c.Node == db.Node {
			t.Errorf("away runs on %s, as db does", c.Node.Name)
		}
	}
	l.refused(l.Nodes[0], []string{"service", "create", "--name", "alone", "--constraint", "service.name>db", cluster.Image}, "service.name")
}

// An update goes on where it was when its leader dies.
func TestAnUpdateSurvivesItsLeader(t *testing.T) {
	l := newLab(t)
	before := l.run("web", 8, "--update-parallelism", "1", "--update-monitor", "100ms", "--update-delay", "1s")
	leader := l.leader()
	other := l.Nodes[slices.IndexFunc(l.Nodes, func(n *cluster.Node) bool { return n != leader })]
	l.cli(other, "service", "update", "--quiet", "--detach", "--env-add", "V=2", "web")
	l.until("web", soon, "two replaced", func(cs []cluster.Container) bool { return len(fresh(cs, before)) >= 2 })
	leader.PowerOff()
	l.until("web", 2*soon, "all replaced, none on the dead leader", func(cs []cluster.Container) bool {
		return len(cs) == 8 && len(fresh(cs, before)) == 8 && cluster.Spread(cs)[leader] == 0
	})
	l.must(cluster.Eventually(l.ctx, soon, func(context.Context) error {
		got, err := other.CLI(l.ctx, "service", "inspect", "--format", "{{.UpdateStatus.State}} {{len .Spec.TaskTemplate.ContainerSpec.Env}}", "web")
		if err == nil && strings.TrimSpace(got) != "completed "+strconv.Itoa(1) {
			err = fmt.Errorf("the update is %s", got)
		}
		return err
	}))
	l.must(leader.PowerOn(l.ctx))
}
