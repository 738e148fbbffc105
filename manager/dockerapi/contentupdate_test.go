package dockerapi_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

// rewrite asks for another content, and returns the answer.
func (c *cluster) rewrite(path, data string) (u api.ContentUpdate) {
	c.Helper()
	said := c.post(path, `{"Labels":{"a":"b"},"Data":"`+base64.StdEncoding.EncodeToString([]byte(data))+`"}`)
	body, ok := strings.CutPrefix(said, "200 ")
	if !ok || strings.Contains(said, data) {
		c.Fatalf("%s: %s", path, said)
	}
	c.must(json.Unmarshal([]byte(body), &u))
	return u
}

// using creates a service that uses a secret, and returns what it refers to.
func (c *cluster) using(name, secret string) (version func() string) {
	c.Helper()
	s, _, err := c.docker.SecretInspectWithRaw(c.Context(), secret)
	c.must(err)
	spec := serviceSpec(name)
	spec.TaskTemplate.ContainerSpec.Secrets = []*swarm.SecretReference{{SecretID: s.ID, SecretName: secret, File: &swarm.SecretReferenceFileTarget{Name: secret, UID: "0", GID: "0", Mode: 0o444}}}
	c.create(spec)
	return func() string { return c.inspect(name).Spec.TaskTemplate.ContainerSpec.Secrets[0].SecretID }
}

func TestASecretIsRewrittenAndItsServicesMove(t *testing.T) {
	c := start(t, nil)
	first := c.secret("key", "one")
	web := c.using("web", "key")
	c.create(serviceSpec("other"))
	before := c.store.View().Index()

	if u := c.rewrite("/swarmctl/secrets/key/update", "one"); u.Rewritten || u.Labels || u.ID != first || u.Version != 1 || c.store.View().Index() != before {
		t.Errorf("the same again: %+v", u)
	}
	if u := c.rewrite("/swarmctl/secrets/key/update?dryrun=1", "SECOND"); !u.Rewritten || u.Version != 2 || fmt.Sprint(u.Services) != "[web]" || c.store.View().Index() != before {
		t.Errorf("a dry run: %+v", u)
	}
	u := c.rewrite("/swarmctl/secrets/key/update", "SECOND")
	if !u.Rewritten || u.ID == first || u.Version != 2 || web() != u.ID {
		t.Errorf("rewritten: %+v, and web has %s", u, web())
	}
	if list, err := c.docker.SecretList(t.Context(), swarm.SecretListOptions{}); err != nil || len(list) != 1 || list[0].ID != u.ID {
		t.Errorf("listed: %v, %v", list, err)
	}
	said := c.get("/secrets") + c.get("/secrets/key") + c.get("/secrets/"+first)
	for _, want := range []string{`"ContentVersion":2`, `"ContentVersion":1,"Superseded":true`} {
		if !strings.Contains(said, want) || strings.Contains(said, "Data") {
			t.Errorf("it is told without %s: %s", want, said)
		}
	}
	if got := c.get("/secrets?superseded=1"); strings.Count(got, `"ID":`) != 2 || strings.Contains(got, "Data") {
		t.Errorf("all versions: %s", got)
	}
	s := c.inspect("web")
	_, err := c.docker.ServiceUpdate(t.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{Rollback: "previous"})
	c.must(err)
	if web() != first || string(c.store.View().Secret(api.SecretID(first)).Spec.Data) != "one" {
		t.Errorf("rolled back, web has %s", web())
	}

	// A tool that reads the service and writes it back may go on to use the old one.
	c.must(c.update("web", func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = "demo:3" }))
	// What was there before is taken up again, and web has it already.
	if u := c.rewrite("/swarmctl/secrets/key/update", "one"); u.ID != first || u.Version != 3 || len(u.Services) != 0 {
		t.Errorf("the first again: %+v", u)
	}
	wantError(t, c.docker.SecretRemove(t.Context(), "key"), errdefs.IsInvalidArgument, "secret 'key' is in use by the following service: web")
	c.must(c.docker.ServiceRemove(t.Context(), "web"))
	c.must(c.docker.SecretRemove(t.Context(), "key"))
	wantError(t, c.docker.SecretRemove(t.Context(), u.ID), errdefs.IsNotFound, "secret "+u.ID+" not found")
}

// Whoever deploys a service as well updates it itself.
func TestAServiceThatTheCallerUpdatesIsLeftAlone(t *testing.T) {
	c := start(t, nil)
	first := c.secret("key", "one")
	web, db := c.using("web", "key"), c.using("db", "key")
	id := c.inspect("web").ID
	u := c.rewrite("/swarmctl/secrets/key/update?except="+id, "two")
	if fmt.Sprint(u.Services) != "[db]" || web() != first || db() != u.ID {
		t.Errorf("%+v, web has %s, db %s", u, web(), db())
	}
}

func TestAConfigIsRewritten(t *testing.T) {
	c := start(t, nil)
	made, err := c.docker.ConfigCreate(t.Context(), swarm.ConfigSpec{Annotations: swarm.Annotations{Name: "file"}, Data: []byte("one")})
	c.must(err)
	spec := serviceSpec("web")
	spec.TaskTemplate.ContainerSpec.Configs = []*swarm.ConfigReference{{ConfigID: made.ID, ConfigName: "file", File: &swarm.ConfigReferenceFileTarget{Name: "/etc/file", UID: "0", GID: "0"}}}
	c.create(spec)
	u := c.rewrite("/swarmctl/configs/file/update", "two")
	if now := c.inspect("web").Spec.TaskTemplate.ContainerSpec.Configs[0]; now.ConfigID != u.ID || !u.Rewritten {
		t.Errorf("%+v: the service has %s", u, now.ConfigID)
	}
	for ref, want := range map[string]string{"file": "two", made.ID: "one"} {
		if got, _, err := c.docker.ConfigInspectWithRaw(t.Context(), ref); err != nil || string(got.Spec.Data) != want {
			t.Errorf("%s holds %q, want %q: %v", ref, got.Spec.Data, want, err)
		}
	}
	// Another template driver is another content.
	if got := c.post("/swarmctl/configs/file/update", `{"Data":"dHdv","Templating":{"Name":"golang"}}`); !strings.Contains(got, `"Rewritten":true`) {
		t.Errorf("templated: %s", got)
	}
	if got := c.post("/swarmctl/configs/file/update", `{"Labels":{"x":"y"},"Data":"dHdv","Templating":{"Name":"golang"}}`); !strings.Contains(got, `"Version":3,"Rewritten":false,"Labels":true`) {
		t.Errorf("labels alone: %s", got)
	}
}

// An update under way, or a canary, is no reason to wait: the new version may
// be what it needs. Whoever asks is told.
func TestAServiceThatIsBeingUpdatedMovesToo(t *testing.T) {
	c := start(t, nil)
	first := c.secret("key", "one")
	web := c.using("web", "key")
	c.addTask("old", c.store.View().ServiceByName("web"), 1, "node1", running("old"))
	c.rewrite("/swarmctl/secrets/key/update", "broken")
	if u := c.rewrite("/swarmctl/secrets/key/update", "repaired"); len(u.Services) != 1 || web() != u.ID {
		t.Errorf("%+v, and web has %s", u, web())
	}
	job := serviceSpec("count")
	job.Mode.ReplicatedJob = &swarm.ReplicatedJob{}
	job.TaskTemplate.ContainerSpec.Secrets = c.inspect("web").Spec.TaskTemplate.ContainerSpec.Secrets
	c.create(job)
	if u := c.rewrite("/swarmctl/secrets/key/update?dryrun=1", "other"); !slices.Contains(u.Warnings, "service count is a job: it begins anew with this version") {
		t.Errorf("warnings: %q", u.Warnings)
	}

	// A canary waits: what takes its place is a canary too, and the way back is the first.
	c.must(c.update("web", func(s *swarm.ServiceSpec) {
		s.Labels = map[string]string{"swarmctl.canary": "1"}
		s.TaskTemplate.ContainerSpec.Image = "demo:2"
	}))
	c.hold(api.CanaryHeld)
	u := c.rewrite("/swarmctl/secrets/key/update", "again")
	if want := "this update of service web takes the place of a canary that was neither confirmed nor rolled back"; !slices.Contains(u.Warnings, want) {
		t.Errorf("warnings: %q", u.Warnings)
	}
	s := c.store.View().ServiceByName("web")
	if s.Canary == nil || s.Canary.Phase != api.CanaryPlacing || s.PreviousSpec.TaskTemplate.ContainerSpec.Secrets[0].SecretID != first {
		t.Errorf("canary %+v, the way back has %s", s.Canary, s.PreviousSpec.TaskTemplate.ContainerSpec.Secrets[0].SecretID)
	}
}

func TestARewriteIsRefused(t *testing.T) {
	c := start(t, nil)
	first := c.secret("key", "one")
	c.using("web", "key")
	c.rewrite("/swarmctl/secrets/key/update", "two")
	before := c.store.View().Index()
	for _, tt := range []struct{ path, body, want string }{
		{"/swarmctl/secrets/none/update", `{"Data":"eA=="}`, `404 {"message":"secret none not found"}`},
		{"/swarmctl/secrets/key/update", `{"Name":"lock","Data":"eA=="}`, `400 {"message":"secret key: its name cannot be changed to \"lock\": create another secret"}`},
		{"/swarmctl/secrets/key/update", `{}`, `400 {"message":"secret data must be larger than 0 and less than 512000 bytes"}`},
		{"/swarmctl/secrets/key/update", `{"Data":"aHVudGVyMg==x"}`, `400 {"message":"invalid JSON: illegal base64 data at input byte 12"}`},
		{"/swarmctl/secrets/key/update", `{"Data":"e3todW50ZXIyfX0=","Templating":{"Name":"golang"}}`, `400 {"message":"secret \"key\": its template fails in line 1"}`},
		{"/swarmctl/secrets/key/update?version=1", `{"Data":"eA=="}`, `409 {"message":"secret key: update out of sequence: it has changed since it was read; read it again and retry"}`},
		{"/swarmctl/secrets/key/update?version=x", `{"Data":"eA=="}`, `400 {"message":"invalid secret version 'x': strconv.ParseUint: parsing \"x\": invalid syntax: give the version that the secret had when it was read"}`},
		{"/swarmctl/secrets/" + first + "/update", `{"Data":"eA=="}`, `409 {"message":"secret key: this is version 1, and another has taken its place: update it by its name"}`},
		{"/secrets/" + first + "/update?version=3", `{"Name":"key","Labels":{"x":"y"}}`, `409 {"message":"secret key: this is version 1, and another has taken its place: read it by its name"}`},
	} {
		if got := c.post(tt.path, tt.body); got != tt.want || strings.Contains(got, "hunter2") {
			t.Errorf("%s %s:\n got %s\nwant %s", tt.path, tt.body, got, tt.want)
		}
	}
	if after := c.store.View().Index(); after > before+1 { // the last one is the state machine's no
		t.Errorf("%d entries were written", after-before)
	}
}

// Listeners hear that the name was updated, and not that it was removed.
func TestEventsTellOfANamesVersions(t *testing.T) {
	c := start(t, nil)
	c.secret("key", "one")
	messages, errs := c.docker.Events(t.Context(), events.ListOptions{})
	c.rewrite("/swarmctl/secrets/key/update", "two")
	c.rewrite("/swarmctl/secrets/key/update", "three")
	c.must(c.docker.SecretRemove(t.Context(), "key"))
	var heard []string
	for len(heard) < 3 {
		select {
		case m := <-messages:
			heard = append(heard, fmt.Sprint(m.Action, " ", m.Actor.Attributes["name"], " ", m.Actor.Attributes["version"]))
		case err := <-errs:
			t.Fatal(err)
		}
	}
	if want := []string{"update key 2", "update key 3", "remove key 3"}; !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
}

// An edited file is another version in the one command of the deploy: the stack's
// services have it, those of others that use it move, and a rollback of the stack
// brings the old bytes back, for as long as the deploy is remembered.
func TestAStackWithAnotherContent(t *testing.T) {
	c := start(t, nil)
	c.deploy(shop("web", "api"))
	first := c.store.View().SecretByName("shop_key")
	other := c.using("other", "shop_key")
	plain := c.inspect("other").Version
	deploy := func(data string) *api.StackRequest {
		req := shop("web", "api")
		req.Services[1].Spec.TaskTemplate.ContainerSpec.Secrets = nil // it never used it: nothing happens to it
		req.Secrets[0].Spec.Data = []byte(data)
		req.Secrets[0].Version = c.store.View().SecretByName("shop_key").Meta.Version.Index
		return req
	}
	c.deploy(deploy("TOPSECRET"))
	apiVersion, index := c.inspect("shop_api").Version, c.store.index
	text, a := c.deploy(deploy("ANOTHER"))
	c.did("3 after 2: updated secret shop_key, updated service other, updated service shop_web", text, a)
	if c.store.index != index+1 || strings.Contains(text, "ANOTHER") {
		t.Errorf("%d commands: %s", c.store.index-index, text)
	}
	second := c.store.View().SecretByName("shop_key")
	web := func() string { return c.inspect("shop_web").Spec.TaskTemplate.ContainerSpec.Secrets[0].SecretID }
	if second.Version.Number() != 2 || web() != string(second.ID) || other() != string(second.ID) || c.inspect("shop_api").Version != apiVersion || c.inspect("other").Version == plain {
		t.Errorf("version %d: web has %s, other %s of %s", second.Version.Number(), web(), other(), second.ID)
	}
	text, a = c.deploy(deploy("ANOTHER"))
	c.did("3 after 2: ", text, a)

	// Who has read an older version is told so, and nothing is written.
	stale := deploy("THIRD")
	stale.Secrets[0].Version = first.Meta.Version.Index
	if text, _ := c.deploy(stale); !strings.HasPrefix(text, "409 ") || !strings.Contains(text, "secret shop_key") || c.store.index != index+1 {
		t.Errorf("it had moved: %s", text)
	}

	text, a = c.order("/swarmctl/stacks/shop/rollback", api.StackRollback{})
	c.did("4 after 3: updated secret shop_key, updated service other, updated service shop_web", text, a)
	now := c.store.View().SecretByName("shop_key")
	if now.ID != first.ID || string(now.Spec.Data) != "TOPSECRET" || now.Version.Number() != 3 || web() != string(first.ID) || other() != string(first.ID) {
		t.Errorf("rolled back: %s, version %d; web has %s, other %s", now.ID, now.Version.Number(), web(), other())
	}

	// The second is kept while there is a way back to it, and not for longer.
	for i := range api.MaxDeploys + 1 {
		if c.store.View().Secret(second.ID) == nil && i < api.MaxDeploys-2 {
			t.Fatalf("it is gone after %d more deploys", i)
		}
		req := deploy("TOPSECRET")
		for j := range req.Services {
			req.Services[j].Spec.TaskTemplate.ContainerSpec.Image = fmt.Sprint("demo:", i+10)
		}
		c.deploy(req)
	}
	c.must(c.update("other", func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Image = "demo:9" }))
	if c.store.View().Secret(second.ID) != nil || c.store.View().Secret(first.ID) == nil {
		t.Error("what no deploy refers to is still there, or what all do is not")
	}
}
