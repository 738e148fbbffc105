package dockerapi_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// withCanary creates service web with some replicas and updates it: its canary
// is being placed then.
func (c *cluster) withCanary(share string, replicas uint64) *api.Service {
	c.Helper()
	spec := serviceSpec("web")
	spec.Labels = map[string]string{setting.LabelCanary: share, setting.LabelPromoteAfter: "10m"}
	spec.Mode.Replicated = &swarm.ReplicatedService{Replicas: &replicas}
	s := c.create(spec)
	for i := range replicas {
		c.addTask(api.TaskID("old"+string(rune('1'+i))), s, int(i)+1, "", running(""))
	}
	c.must(c.update("web", func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = "demo:2" }))
	return c.store.View().Service(s.ID)
}

// hold is what the rollout says when the canary is in place.
func (c *cluster) hold(phase api.CanaryPhase, hidden ...uint64) {
	c.Helper()
	s := c.store.View().ServiceByName("web")
	began := time.Now().Add(-time.Minute)
	c.apply(state.Op{SetUpdateStatus: &state.SetUpdateStatus{
		ID: s.ID, Status: &swarm.UpdateStatus{State: swarm.UpdateStatePaused, StartedAt: &began, Message: "canary"},
		Canary: &state.CanaryChange{SpecVersion: s.SpecVersion, Phase: phase, Hidden: hidden},
	}})
}

func (c *cluster) rollout() (r api.Rollout) {
	c.Helper()
	c.must(json.Unmarshal([]byte(c.get("/swarmctl/services/web/rollout")), &r))
	return r
}

func (c *cluster) promote() (status int, message string) {
	c.Helper()
	return c.send("POST", "/swarmctl/services/web/promote", "", "")
}

// errOf is the column of `service ps` that says why.
func (c *cluster) errOf(task string) string {
	c.Helper()
	got, _, err := c.docker.TaskInspectWithRaw(c.Context(), task)
	c.must(err)
	list, err := c.docker.TaskList(c.Context(), swarm.TaskListOptions{})
	c.must(err)
	for _, t := range list {
		if t.ID == task && t.Status.Err != got.Status.Err {
			c.Errorf("task %s: listed with %q, inspected with %q", task, t.Status.Err, got.Status.Err)
		}
	}
	return got.Status.Err
}

func TestLifeOfACanary(t *testing.T) {
	c := start(t, nil)
	s := c.withCanary("25%", 4)
	if got := c.rollout(); got != (api.Rollout{Phase: api.CanaryPlacing, Old: 4, Wanted: 1, Replicas: 4}) {
		t.Errorf("while it is placed: %+v", got)
	}
	if code, got := c.promote(); code != 409 || got != "service web: 0 of the 1 tasks of its canary run: promote it when all of them do, or go back with `swarmctl service rollback web`" {
		t.Errorf("promoted while it is placed: %d %s", code, got)
	}
	status := func(to swarm.UpdateState) {
		c.apply(state.Op{SetUpdateStatus: &state.SetUpdateStatus{ID: s.ID, Status: &swarm.UpdateStatus{State: to}}})
	}
	status(swarm.UpdateStatePaused)
	if code, got := c.promote(); code != 409 || got != "service web: its update was paused before its canary was in place: let it go on with `swarmctl service update web`, or go back with `swarmctl service rollback web`" {
		t.Errorf("promoted while it is paused: %d %s", code, got)
	}
	status(swarm.UpdateStateUpdating)
	c.apply(state.Op{DesireTasks: []state.Desire{{Task: "old1", State: api.TaskShutdown}}})
	c.addTask("new1", s, 1, "", running(""))
	c.hold(api.CanaryHeld)
	c.later.Store(int64(4 * time.Minute))
	got := c.rollout()
	if in := got.PromoteIn; in == nil || *in > 6*time.Minute || *in < 5*time.Minute || got.HeldFor+*in != 10*time.Minute {
		t.Errorf("held for %s, promoted in %v", got.HeldFor, in)
	}
	if got.PromoteIn, got.HeldFor = nil, 0; got != (api.Rollout{Phase: api.CanaryHeld, New: 1, Old: 3, Wanted: 1, Replicas: 4}) {
		t.Errorf("held: %+v", got)
	}
	if a, b := c.errOf("new1"), c.errOf("old2"); a != "canary" || b != "" {
		t.Errorf("the tasks say %q and %q", a, b)
	}
	// One that failed is told, and the clock does not promote it any more.
	c.addTask("new0", s, 1, "", api.TaskStatus{State: api.TaskFailed, Err: "task: non-zero exit (3)"})
	if got := c.rollout(); got.Failed != "web.1.new0: task: non-zero exit (3)" || got.PromoteIn != nil {
		t.Errorf("after a failure: %+v", got)
	}
	if code, got := c.promote(); code != 200 {
		t.Fatalf("promoted: %d %s", code, got)
	}
	if now := c.store.View().Service(s.ID); now.Canary.Phase != api.CanaryPromoted || now.UpdateStatus.State != swarm.UpdateStateUpdating || now.SpecVersion != s.SpecVersion {
		t.Errorf("promoted it is %+v, %+v", now.Canary, now.UpdateStatus)
	}
	if got := c.rollout(); got.Wanted != 4 {
		t.Errorf("promoted: %+v", got)
	}
	if code, got := c.promote(); code != 409 || got != "service web has no canary that waits to be promoted: update it with the label swarmctl.canary=1, or a percentage, to get one" {
		t.Errorf("promoted twice: %d %s", code, got)
	}
}

// Blue-green: one promotion switches the connections, the next one confirms.
func TestLifeOfABlueGreenUpdate(t *testing.T) {
	c := start(t, nil)
	s := c.withCanary("100%", 2)
	c.addTask("new1", s, 1, "", running(""))
	c.addTask("new2", s, 2, "", running(""))
	c.hold(api.CanaryHeld, s.SpecVersion)
	got := c.rollout()
	if got.HeldFor, got.PromoteIn = 0, nil; got != (api.Rollout{Phase: api.CanaryHeld, BlueGreen: true, New: 2, Old: 2, Wanted: 2, Replicas: 2}) {
		t.Errorf("held: %+v", got)
	}
	if a, b := c.errOf("new1"), c.errOf("old1"); a != "canary: gets no connections before it is promoted" || b != "" {
		t.Errorf("the tasks say %q and %q", a, b)
	}
	if code, got := c.promote(); code != 200 {
		t.Fatalf("promoted: %d %s", code, got)
	}
	now := c.store.View().Service(s.ID)
	if now.Canary.Phase != api.CanarySwitched || !slices.Equal(now.Hidden, []uint64{s.PreviousSpecVersion}) {
		t.Errorf("switched: %+v, hidden %v", now.Canary, now.Hidden)
	}
	if a, b := c.errOf("new1"), c.errOf("old1"); a != "canary" || b != "kept without connections until the canary is confirmed" {
		t.Errorf("the tasks say %q and %q", a, b)
	}
	// It has gone on by itself while somebody wanted it to: that is no word to end the old version.
	if got := c.post("/swarmctl/services/web/promote?phase=held", ""); !strings.HasPrefix(got, "409 ") || !strings.Contains(got, "service web: its canary is not held any more but switched: see `swarmctl service inspect --pretty web`, and promote it again") {
		t.Errorf("promoted as if it were held: %s", got)
	}
	if now := c.store.View().Service(s.ID); now.Canary.Phase != api.CanarySwitched {
		t.Errorf("and is %+v", now.Canary)
	}
	spec := c.inspect("web")
	_, err := c.docker.ServiceUpdate(t.Context(), "web", spec.Version, spec.Spec, swarm.ServiceUpdateOptions{Rollback: "previous"})
	c.must(err)
	if a, b := c.errOf("new1"), c.errOf("old1"); a != "gets no connections: it is rolled back" || b != "" {
		t.Errorf("rolled back the tasks say %q and %q", a, b)
	}
}

func TestAnUpdateSaysWhatItTakesThePlaceOf(t *testing.T) {
	c := start(t, nil)
	s := c.withCanary("1", 2)
	update := func(change func(*swarm.ServiceSpec)) []string {
		t.Helper()
		now := c.inspect("web")
		change(&now.Spec)
		res, err := c.docker.ServiceUpdate(t.Context(), "web", now.Version, now.Spec, swarm.ServiceUpdateOptions{})
		c.must(err)
		return res.Warnings
	}
	force := func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ }
	if got := update(func(s *swarm.ServiceSpec) { *s.Mode.Replicated.Replicas = 3 }); len(got) != 0 {
		t.Errorf("a scaling warns: %q", got)
	}
	if got := update(func(s *swarm.ServiceSpec) {
		force(s)
		delete(s.Labels, setting.LabelCanary)
		delete(s.Labels, setting.LabelPromoteAfter)
	}); !slices.Equal(got, []string{"this update of service web takes the place of a canary that was neither confirmed nor rolled back"}) {
		t.Errorf("over a canary: %q", got)
	}
	for status, want := range map[swarm.UpdateState]string{
		swarm.UpdateStateUpdating: "an update that was under way", swarm.UpdateStatePaused: "an update that was paused",
		swarm.UpdateStateRollbackStarted: "a rollback that was under way", swarm.UpdateStateRollbackPaused: "a rollback that was paused",
		swarm.UpdateStateCompleted: "", swarm.UpdateStateRollbackCompleted: "",
	} {
		c.apply(state.Op{SetUpdateStatus: &state.SetUpdateStatus{ID: s.ID, Status: &swarm.UpdateStatus{State: status}}})
		if want != "" {
			want = "this update of service web takes the place of " + want
		}
		if got := strings.Join(update(force), "; "); got != want {
			t.Errorf("%s: %q, want %q", status, got, want)
		}
	}
}

func TestHostPortsAreStoppedFirstWithAWarning(t *testing.T) {
	c := start(t, nil)
	spec := serviceSpec("web")
	spec.UpdateConfig = &swarm.UpdateConfig{Order: swarm.UpdateOrderStartFirst}
	spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, PublishedPort: 8080, PublishMode: swarm.PortConfigPublishModeHost}}}
	made, err := c.docker.ServiceCreate(t.Context(), spec, swarm.ServiceCreateOptions{})
	c.must(err)
	update := func(change func(*swarm.ServiceSpec)) []string {
		now := c.inspect("web")
		change(&now.Spec)
		res, err := c.docker.ServiceUpdate(t.Context(), "web", now.Version, now.Spec, swarm.ServiceUpdateOptions{})
		c.must(err)
		return res.Warnings
	}
	scaled := update(func(s *swarm.ServiceSpec) { *s.Mode.Replicated.Replicas = 2 })
	updated := update(func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ })
	want := []string{"update order start-first does not hold for service web: it publishes host port 8080/tcp, which two tasks of a node cannot hold: tasks are stopped first"}
	if !slices.Equal(made.Warnings, want) || !slices.Equal(updated, want) || len(scaled) > 0 || c.inspect("web").Spec.UpdateConfig.Order != swarm.UpdateOrderStartFirst {
		t.Errorf("created: %q, updated: %q, scaled: %q", made.Warnings, updated, scaled)
	}
}

func TestConstraintsOnServicesThatAreNotThereYetAreWarnedOf(t *testing.T) {
	c := start(t, nil)
	spec := serviceSpec("cache")
	spec.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"service.name==db", "service.name!=web", "service.name==cache"}}
	made, err := c.docker.ServiceCreate(t.Context(), spec, swarm.ServiceCreateOptions{})
	c.must(err)
	if want := []string{"constraint service.name==db: there is no service db: service cache runs nowhere until there is"}; !slices.Equal(made.Warnings, want) {
		t.Errorf("warned: %q, want %q", made.Warnings, want)
	}
	c.create(serviceSpec("db"))
	now := c.inspect("cache")
	now.Spec.TaskTemplate.ForceUpdate++
	updated, err := c.docker.ServiceUpdate(t.Context(), "cache", now.Version, now.Spec, swarm.ServiceUpdateOptions{})
	c.must(err)
	if len(updated.Warnings) > 0 {
		t.Errorf("warned though db is there: %q", updated.Warnings)
	}
}

func TestRefusedCanaries(t *testing.T) {
	c := start(t, nil)
	c.withCanary("2", 3)
	err := c.update("web", func(s *swarm.ServiceSpec) { *s.Mode.Replicated.Replicas = 1 })
	wantError(t, err, errdefs.IsInvalidArgument, "label swarmctl.canary: 2 replicas of 1 in all: give at most 1, or a percentage as in 10%")
	for _, path := range []string{"POST /swarmctl/services/none/promote", "GET /swarmctl/services/none/rollout"} {
		method, path, _ := strings.Cut(path, " ")
		if code, got := c.send(method, path, "", ""); code != 404 || got != "service none not found" {
			t.Errorf("%s: %d %s", path, code, got)
		}
	}
	c.create(serviceSpec("db"))
	if code, got := c.send("POST", "/swarmctl/services/db/promote", "", ""); code != 409 || !strings.HasPrefix(got, "service db has no canary that waits to be promoted: ") {
		t.Errorf("without a canary: %d %s", code, got)
	}
}

// A service that is removed meanwhile is gone, for whoever has its version too.
func TestUpdateOfAServiceThatIsRemoved(t *testing.T) {
	c := start(t, nil)
	s := c.create(serviceSpec("web"))
	c.must(c.docker.ServiceRemove(t.Context(), "web"))
	for _, ref := range []string{"web", string(s.ID)} {
		_, err := c.docker.ServiceUpdate(t.Context(), ref, s.Meta.Version, serviceSpec("web"), swarm.ServiceUpdateOptions{})
		wantError(t, err, errdefs.IsNotFound, "service "+ref+" not found")
	}
	next := *s
	if _, err := c.store.Propose(t.Context(), state.Command{Ops: []state.Op{{PutService: &next}}}); err == nil || err.Error() != "service "+string(s.ID)+" not found" {
		t.Errorf("a racing update: %v", err)
	}
}
