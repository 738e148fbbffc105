package dockerapi_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// post sends JSON and returns the status and the body of the answer.
func (c *cluster) post(path, body string) string {
	c.Helper()
	res, err := http.Post(c.url+path, "application/json", strings.NewReader(body))
	c.must(err)
	defer res.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(res.Body)
	c.must(err)
	return fmt.Sprint(res.StatusCode, " ", strings.TrimSpace(b.String()))
}

func (c *cluster) secret(name, data string) string {
	c.Helper()
	res, err := c.docker.SecretCreate(c.Context(), swarm.SecretSpec{Annotations: swarm.Annotations{Name: name, Labels: map[string]string{"a": "b"}}, Data: []byte(data)})
	c.must(err)
	return res.ID
}

func TestASecretIsKeptAndNeverTold(t *testing.T) {
	c := start(t, engine(t))
	id := c.secret("key", "TOPSECRET")
	if got := c.store.View().Secret(api.SecretID(id)); string(got.Spec.Data) != "TOPSECRET" {
		t.Fatalf("stored: %+v", got)
	}
	said := c.get("/secrets") + c.get("/secrets/key") + c.get("/info")
	c.must(c.docker.SecretUpdate(t.Context(), id, swarm.Version{Index: 1}, swarm.SecretSpec{Annotations: swarm.Annotations{Name: "key", Labels: map[string]string{"x": "y"}}}))
	said += c.get("/secrets/key")
	if strings.Contains(said, "TOPSECRET") || strings.Contains(said, "VE9QU0VDUkVU") || strings.Contains(said, "Data") {
		t.Errorf("the secret is told: %s", said)
	}
	s, _, err := c.docker.SecretInspectWithRaw(t.Context(), id[:2])
	c.must(err)
	if s.ID != id || s.Spec.Labels["x"] != "y" || s.Version.Index != 2 || len(s.Spec.Labels) != 1 {
		t.Errorf("after the update: %+v", s)
	}
	if got := c.store.View().Secret(api.SecretID(id)); string(got.Spec.Data) != "TOPSECRET" {
		t.Errorf("the update lost the data")
	}
}

func TestAConfigIsShownWithItsData(t *testing.T) {
	c := start(t, nil)
	res, err := c.docker.ConfigCreate(t.Context(), swarm.ConfigSpec{Annotations: swarm.Annotations{Name: "file"}, Data: []byte("hello"), Templating: &swarm.Driver{Name: "golang"}})
	c.must(err)
	got, _, err := c.docker.ConfigInspectWithRaw(t.Context(), "file")
	c.must(err)
	want := swarm.ConfigSpec{Annotations: swarm.Annotations{Name: "file", Labels: map[string]string{}}, Data: []byte("hello"), Templating: &swarm.Driver{Name: "golang"}}
	if diff := cmp.Diff(want, got.Spec); diff != "" || got.ID != res.ID {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// With an update a deploy asks whether a secret still holds the same.
func TestAnUpdateThatChangesNothingWritesNothing(t *testing.T) {
	c := start(t, nil)
	c.secret("key", "x")
	c.post("/configs/create", `{"Name":"file","Labels":{"a":"b"},"Data":"eA=="}`)
	before := c.store.View().Index()
	for _, tt := range []struct{ path, body, want string }{
		{"/secrets/key/update?version=1", `{"Name":"key","Labels":{"a":"b"},"Data":"eA=="}`, "200"},
		{"/configs/file/update?version=2", `{"Name":"file","Labels":{"a":"b"},"Data":"eA=="}`, "200"},
		{"/secrets/key/update?version=1", `{"Name":"key","Labels":{"a":"b"},"Data":"eQ=="}`, "400"},
	} {
		if got := c.post(tt.path, tt.body); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s %s: %s", tt.path, tt.body, got)
		}
	}
	if after := c.store.View().Index(); after != before {
		t.Errorf("%d entries were written", after-before)
	}
}

func TestRefusedSecretsAndConfigs(t *testing.T) {
	c := start(t, nil)
	c.secret("key", "x")
	c.post("/configs/create", `{"Name":"key","Data":"eA=="}`)
	spec := func(name string, size int) string {
		data, err := json.Marshal(swarm.SecretSpec{Annotations: swarm.Annotations{Name: name}, Data: make([]byte, size)})
		c.must(err)
		return string(data)
	}
	labelsOnly := func(kind string) string {
		return `400 {"message":"only updates to Labels are allowed: ` + "`swarmctl " + kind + " update key FILE`" + ` makes a new version, and the services that use it roll"}`
	}
	const badName = `400 {"message":"invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]"}`
	for _, tt := range []struct{ path, body, want string }{
		{"/secrets/create", spec("key", 1), `409 {"message":"secret key already exists"}`},
		{"/configs/create", spec("key", 1), `409 {"message":"config key already exists"}`},
		{"/secrets/create", spec("", 1), `400 {"message":"name must be provided"}`},
		{"/secrets/create", spec("a b", 1), badName},
		{"/secrets/create", spec(".a", 1), badName},
		{"/secrets/create", spec(strings.Repeat("a", 65), 1), badName},
		{"/secrets/create", spec("empty", 0), `400 {"message":"secret data must be larger than 0 and less than 512000 bytes"}`},
		{"/secrets/create", spec("large", 512000), `400 {"message":"secret data must be larger than 0 and less than 512000 bytes"}`},
		{"/configs/create", spec("large", 1024000), `400 {"message":"config data must be larger than 0 and less than 1024000 bytes"}`},
		{"/secrets/create", `{"Name":"d","Driver":{"Name":"vault"}}`, `501 {"message":"secret drivers (\"vault\") are not supported: create the secret with its data"}`},
		{"/secrets/create", `{"Name":"t","Data":"eA==","Templating":{"Name":"mustache"}}`, `400 {"message":"unknown template driver \"mustache\": use golang"}`},
		{"/secrets/key/update?version=1", `{"Name":"other"}`, labelsOnly("secret")},
		{"/secrets/key/update?version=1", `{"Name":"key","Data":"eQ=="}`, labelsOnly("secret")},
		{"/secrets/key/update?version=9", `{"Name":"key"}`, `409 {"message":"secret id1: update out of sequence: it has changed since it was read; read it again and retry"}`},
		{"/secrets/key/update", `{"Name":"key"}`, `400 {"message":"invalid secret version '': strconv.ParseUint: parsing \"\": invalid syntax: give the version that the secret had when it was read"}`},
		{"/secrets/none/update?version=1", `{"Name":"none"}`, `404 {"message":"secret none not found"}`},
		{"/configs/key/update?version=2", `{"Name":"key","Data":"eQ=="}`, labelsOnly("config")},
	} {
		if got := c.post(tt.path, tt.body); got != tt.want {
			t.Errorf("%s %.60s:\n got %s\nwant %s", tt.path, tt.body, got, tt.want)
		}
	}
	if got := c.post("/configs/create", spec("whole", 1023999)); !strings.HasPrefix(got, "201 ") {
		t.Errorf("a config as large as one may be: %s", got)
	}
}

func TestServicesReferToSecretsAndConfigs(t *testing.T) {
	c := start(t, nil)
	key, other := c.secret("key", "x"), c.secret("other", "y")
	secret := func(id, name, target string) *swarm.SecretReference {
		return &swarm.SecretReference{SecretID: id, SecretName: name, File: &swarm.SecretReferenceFileTarget{Name: target, UID: "0", GID: "0", Mode: 0o444}}
	}
	spec := serviceSpec("web")
	try := func(secrets ...*swarm.SecretReference) error {
		spec.TaskTemplate.ContainerSpec.Secrets = secrets
		_, err := c.docker.ServiceCreate(t.Context(), spec, swarm.ServiceCreateOptions{})
		return err
	}
	wantError(t, try(secret("nosuch", "key", "a")), errdefs.IsInvalidArgument, "secret not found: key")
	wantError(t, try(secret(other, "key", "a"), secret("nosuch", "more", "b")), errdefs.IsInvalidArgument, "secrets not found: key, more")
	wantError(t, try(secret(key, "key", "a"), secret(other, "other", "a")), errdefs.IsInvalidArgument, "secret references 'key' and 'other' have a conflicting target: 'a'")
	spec.TaskTemplate.ContainerSpec.Configs = []*swarm.ConfigReference{{ConfigID: key, ConfigName: "key", File: &swarm.ConfigReferenceFileTarget{Name: "a"}}}
	wantError(t, try(), errdefs.IsInvalidArgument, "config not found: key")
	spec.TaskTemplate.ContainerSpec.Configs = nil
	c.must(try(secret(key, "key", "a"), secret(key, "key", "/b")))
	if got := c.inspect("web").Spec.TaskTemplate.ContainerSpec.Secrets; len(got) != 2 || *got[1].File != *secret(key, "key", "/b").File || got[1].SecretID != key {
		t.Errorf("it is shown with %+v", got)
	}
	wantError(t, c.docker.SecretRemove(t.Context(), "key"), errdefs.IsInvalidArgument, "secret 'key' is in use by the following service: web")
	c.must(c.update("web", func(s *swarm.ServiceSpec) {
		s.TaskTemplate.ContainerSpec.Secrets = []*swarm.SecretReference{secret(other, "other", "a")}
	}))
	c.must(c.docker.SecretRemove(t.Context(), "key"))

	s := c.inspect("web")
	_, err := c.docker.ServiceUpdate(t.Context(), s.ID, s.Version, s.Spec, swarm.ServiceUpdateOptions{Rollback: "previous"})
	wantError(t, err, errdefs.IsInvalidArgument, "service web: its previous spec: secret not found: key")
}

// A secret may be removed while somebody is about to use it: the store has the
// last word.
func TestTheStoreRefusesASecretThatHasJustGone(t *testing.T) {
	c := start(t, nil)
	s := &api.Service{ID: "web", Spec: serviceSpec("web")}
	s.Spec.TaskTemplate.ContainerSpec.Secrets = []*swarm.SecretReference{{SecretID: "gone", SecretName: "key"}}
	_, err := c.store.Propose(t.Context(), state.Command{Ops: []state.Op{{PutService: s}}})
	if err == nil || err.Error() != "secret not found: key" || !errors.Is(err, api.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestABrokenTemplateIsRefusedAndNotQuoted(t *testing.T) {
	c := start(t, nil)
	for _, kind := range []string{"secret", "config"} {
		body := `{"Name":"x","Data":"` + base64.StdEncoding.EncodeToString([]byte("a\n{{hunter2}}")) + `","Templating":{"Name":"golang"}}`
		want := `400 {"message":"` + kind + ` \"x\": its template fails in line 2"}`
		if got := c.post("/"+kind+"s/create", body); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestWhatServicesUseStays(t *testing.T) {
	c := start(t, nil)
	id := c.secret("key", "x")
	use := func(name string) {
		s := &api.Service{ID: api.ServiceID(name), Spec: serviceSpec(name)}
		s.Spec.TaskTemplate.ContainerSpec.Secrets = []*swarm.SecretReference{{SecretID: id, SecretName: "key"}}
		c.apply(state.Op{PutService: s})
	}
	use("web")
	wantError(t, c.docker.SecretRemove(t.Context(), "key"), errdefs.IsInvalidArgument, "secret 'key' is in use by the following service: web")
	use("api")
	wantError(t, c.docker.SecretRemove(t.Context(), "key"), errdefs.IsInvalidArgument, "secret 'key' is in use by the following services: api, web")
	c.must(c.docker.ServiceRemove(t.Context(), "web"))
	c.must(c.docker.ServiceRemove(t.Context(), "api"))
	c.must(c.docker.SecretRemove(t.Context(), "key"))
	wantError(t, c.docker.SecretRemove(t.Context(), "key"), errdefs.IsNotFound, "secret key not found")
}
