package dockerapi_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
)

// builds are what managers have built, by the name of the image, and when, by its ID.
type builds struct {
	id    map[string]string
	at    map[string]string
	asked []string
}

func (b *builds) named(_ context.Context, at api.NodeID, name string) *api.Image {
	b.asked = append(b.asked, string(at)+" "+name)
	if id := b.id[name]; id != "" {
		return &api.Image{ID: id, Created: b.at[id]}
	}
	return nil
}

// Beside a spec is kept which image its reference is. It is looked up where the
// reference is new or an update is forced, and nowhere else: a rebuilt tag changes
// nothing by itself, and a rollback goes back to the image of before.
func TestTheImageOfASpecIsKept(t *testing.T) {
	b := &builds{id: map[string]string{"shop:1": "one"}}
	c := start(t, nil, func(cfg *dockerapi.Config, _ *cluster) { cfg.ImageNamed = b.named })
	spec := serviceSpec("web")
	spec.TaskTemplate.ContainerSpec.Image = "shop:1"
	id := c.create(spec).ID
	service := func() *api.Service { return c.store.View().Service(id) }
	update := func(change func(*swarm.ServiceSpec), opts swarm.ServiceUpdateOptions) {
		t.Helper()
		next := service().Spec
		container := *next.TaskTemplate.ContainerSpec
		next.TaskTemplate.ContainerSpec = &container
		change(&next)
		_, err := c.docker.ServiceUpdate(t.Context(), string(id), service().Meta.Version, next, opts)
		c.must(err)
	}
	expect := func(step, want string) {
		t.Helper()
		s := service()
		for what, got := range map[string]*api.Image{"service": s.Image, "version": c.store.View().SpecVersion(id, s.SpecVersion).Image} {
			if got == nil && want != "" || got != nil && got.ID != want {
				t.Errorf("%s: the %s has image %+v, want %q", step, what, got, want)
			}
		}
	}
	none, previous := swarm.ServiceUpdateOptions{}, swarm.ServiceUpdateOptions{Rollback: "previous"}
	force := func(s *swarm.ServiceSpec) { s.TaskTemplate.ForceUpdate++ }
	expect("created", "one")
	first := service().SpecVersion
	b.id["shop:1"] = "two"
	update(func(s *swarm.ServiceSpec) { s.Labels = map[string]string{"a": "b"} }, none)
	expect("another label", "one")
	update(func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Env = []string{"A=b"} }, none)
	expect("another variable", "one")
	update(force, none)
	expect("forced", "two")
	update(force, previous)
	expect("rolled back", "one")
	if len(b.asked) != 2 {
		t.Errorf("looked up: %q", b.asked)
	}
	update(func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = "elsewhere:1" }, none)
	expect("what no manager has", "")
	update(func(s *swarm.ServiceSpec) {
		s.TaskTemplate.ContainerSpec.Image = "shop:1@sha256:" + strings.Repeat("a", 64)
	}, none)
	expect("a digest", "")
	if len(b.asked) != 3 {
		t.Errorf("looked up: %q", b.asked)
	}
	if service().SpecVersion == first {
		t.Error("another image is the same version")
	}
}

// The manager at which a user has built an image is the one that is asked first.
func TestTheImageIsLookedUpWhereTheRequestCameIn(t *testing.T) {
	b := &builds{}
	c := start(t, nil, func(cfg *dockerapi.Config, _ *cluster) { cfg.ImageNamed = b.named })
	for _, from := range []string{"", "node7"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url+"/services/create", strings.NewReader(`{"Name":"web`+from+`","TaskTemplate":{"ContainerSpec":{"Image":"shop:1"}}}`))
		c.must(err)
		req.Header.Set("Content-Type", "application/json")
		if from != "" {
			req.Header.Set(dockerapi.ManagerHeader, from)
		}
		res, err := http.DefaultClient.Do(req)
		c.must(err)
		_ = res.Body.Close()
	}
	if got := strings.Join(b.asked, ", "); got != "node1 shop:1, node7 shop:1" {
		t.Errorf("looked up at %s", got)
	}
}
