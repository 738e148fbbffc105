package dockerapi_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

var ofShop = map[string]string{api.LabelNamespace: "shop"}

// shop is a stack whose service is in a network, and uses a secret and a config,
// that come with it.
func shop(names ...string) *api.StackRequest {
	req := &api.StackRequest{
		Networks: []network.CreateRequest{{Name: "shop_back", CreateOptions: network.CreateOptions{Labels: ofShop}}},
		Secrets:  []api.StackSecret{{Spec: swarm.SecretSpec{Annotations: swarm.Annotations{Name: "shop_key", Labels: ofShop}, Data: []byte("TOPSECRET")}}},
		Configs:  []api.StackConfig{{Spec: swarm.ConfigSpec{Annotations: swarm.Annotations{Name: "shop_motd", Labels: ofShop}, Data: []byte("hello")}}},
		File:     []byte("a file"), Digest: "sha256:aa",
	}
	for _, name := range names {
		req.Services = append(req.Services, shopService(name))
	}
	return req
}

func shopService(name string) api.StackService {
	spec := serviceSpec("shop_" + name)
	spec.Labels = maps.Clone(ofShop)
	spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "shop_back", Aliases: []string{name}}}
	spec.TaskTemplate.ContainerSpec.Secrets = []*swarm.SecretReference{{SecretName: "shop_key", File: &swarm.SecretReferenceFileTarget{Name: "key"}}}
	spec.TaskTemplate.ContainerSpec.Configs = []*swarm.ConfigReference{{ConfigName: "shop_motd", File: &swarm.ConfigReferenceFileTarget{Name: "motd"}}}
	return api.StackService{Spec: spec}
}

// deploy sends a stack with the versions that there are, and returns the status
// and what was answered.
func (c *cluster) deploy(req *api.StackRequest) (string, api.StackAnswer) {
	c.Helper()
	for i := range req.Services {
		req.Services[i].Version = 0
		if old := c.store.View().ServiceByName(req.Services[i].Spec.Name); old != nil {
			req.Services[i].Version = old.Meta.Version.Index
		}
	}
	return c.order("/swarmctl/stacks/shop", req)
}

func (c *cluster) order(path string, req any) (string, api.StackAnswer) {
	c.Helper()
	body, err := json.Marshal(req)
	c.must(err)
	text := c.post(path, string(body))
	var a api.StackAnswer
	if strings.HasPrefix(text, "200 ") {
		c.must(json.Unmarshal([]byte(text[4:]), &a))
	}
	return text, a
}

// shown is what an answer says was done.
func shown(a api.StackAnswer) string {
	var list []string
	for _, change := range a.Changes {
		list = append(list, change.Action+" "+change.Kind+" "+change.Name)
	}
	return fmt.Sprintf("%d after %d: %s", a.Deploy, a.Before, strings.Join(list, ", "))
}

func (c *cluster) did(want, text string, a api.StackAnswer) {
	c.Helper()
	if got := shown(a); !strings.HasPrefix(text, "200 ") || got != want {
		c.Fatalf("got  %s\nwant %s\n%s", got, want, text)
	}
}

func TestAStackIsOneCommand(t *testing.T) {
	c := start(t, nil)
	commands := 0
	var last *state.Op
	c.store.before = func(op *state.Op) error { last = op; return nil }
	text, a := c.deploy(shop("web", "api"))
	c.did("1 after 0: created network shop_back, created secret shop_key, created config shop_motd, created service shop_web, created service shop_api", text, a)
	if c.store.index != 1 || last.RecordDeploy == nil {
		t.Fatalf("%d commands, the last operation is %+v", c.store.index, last)
	}
	view := c.store.View()
	web := view.ServiceByName("shop_web")
	box := web.Spec.TaskTemplate.ContainerSpec
	if view.Network(api.NetworkID(web.Spec.TaskTemplate.Networks[0].Target)) == nil || view.Secret(api.SecretID(box.Secrets[0].SecretID)) == nil || view.Config(api.ConfigID(box.Configs[0].ConfigID)) == nil {
		t.Errorf("what came with it is not referred to by ID: %+v", box)
	}
	if len(web.Endpoint.VIPs) != 1 {
		t.Errorf("it has no address in its network: %+v", web.Endpoint)
	}

	// The same again writes nothing.
	text, a = c.deploy(shop("web", "api"))
	c.did("1 after 0: ", text, a)
	if c.store.index != 1 {
		t.Errorf("%d commands", c.store.index-uint64(commands))
	}

	// One service changes, one goes, one comes.
	req := shop("web", "new")
	req.Services[0].Spec.TaskTemplate.ContainerSpec.Image = "demo:2"
	old := view.ServiceByName("shop_api")
	req.Remove = []api.StackRemoval{{ID: string(old.ID), Version: old.Meta.Version.Index}}
	text, a = c.deploy(req)
	c.did("2 after 1: removed service shop_api, updated service shop_web, created service shop_new", text, a)
	said := c.get("/swarmctl/stacks/shop")
	var s api.Stack
	c.must(json.Unmarshal([]byte(said), &s))
	if len(s.Deploys) != 2 || s.Deploys[1].Created != 1 || s.Deploys[1].Updated != 1 || s.Deploys[1].Removed != 1 || s.Deploys[0].Services != 2 || string(s.Current().File) != "a file" {
		t.Errorf("remembered: %+v", s)
	}
}

// A dry run answers as the deploy will.
func TestADryRunOfAStackWritesNothing(t *testing.T) {
	c := start(t, nil)
	text, a := c.order("/swarmctl/stacks/shop/dryrun", shop("web"))
	c.did("1 after 0: created network shop_back, created secret shop_key, created config shop_motd, created service shop_web", text, a)
	c.deploy(shop("web"))
	req := shop("web")
	req.Services[0].Version = c.store.View().ServiceByName("shop_web").Meta.Version.Index
	req.Services[0].Spec.TaskTemplate.ContainerSpec.Image = "demo:2"
	text, a = c.order("/swarmctl/stacks/shop/dryrun", req)
	c.did("2 after 1: updated service shop_web", text, a)
	if s := c.store.View().ServiceByName("shop_web"); c.store.index != 1 || s.Spec.TaskTemplate.ContainerSpec.Image != "demo:1" {
		t.Errorf("%d commands, the image is %s", c.store.index, s.Spec.TaskTemplate.ContainerSpec.Image)
	}
}

// What is wrong is told at once with its names, and nothing is written.
func TestAStackThatIsRefusedWritesNothing(t *testing.T) {
	c := start(t, nil)
	c.apply(state.Op{PutCluster: &api.Cluster{ID: "c1", Spec: swarm.Spec{Annotations: swarm.Annotations{Labels: map[string]string{setting.LabelDeny: "privileged"}}}}})
	c.create(serviceSpec("shop_alone"))
	elsewhere := serviceSpec("shop_theirs")
	elsewhere.Labels = map[string]string{api.LabelNamespace: "theirs"}
	c.create(elsewhere)
	for _, tt := range []struct {
		name   string
		change func(*api.StackRequest)
		want   []string
	}{
		{"two at once", func(r *api.StackRequest) {
			r.Services[0].Spec.TaskTemplate.ContainerSpec.Image = ""
			r.Secrets[0].Spec.Data = nil
		}, []string{"400 ", "secret shop_key: secret data must be larger than 0", "service shop_web: ContainerSpec: image reference must be provided"}},
		{"the cluster's policy", func(r *api.StackRequest) { r.Services[1].Spec.Labels[setting.LabelPrivileged] = "true" }, []string{"403 ", "service shop_api: ", "privileged"}},
		{"a label of ours", func(r *api.StackRequest) { r.Services[1].Spec.Labels["swarmctl.stoped"] = "true" }, []string{"400 ", "service shop_api: ", "swarmctl.stopped"}},
		{"no such network", func(r *api.StackRequest) { r.Networks = nil }, []string{"404 ", "service shop_web: network shop_back not found"}},
		{"no such secret", func(r *api.StackRequest) { r.Secrets = nil }, []string{"400 ", "service shop_web: secret not found: shop_key"}},
		{"not of the stack", func(r *api.StackRequest) { r.Configs[0].Spec.Labels = nil }, []string{"400 ", "config shop_motd: it needs the label com.docker.stack.namespace=shop"}},
		{"of nobody", func(r *api.StackRequest) { r.Services[0].Spec.Name = "shop_alone" }, []string{"409 ", "service shop_alone: it is there already and is not of a stack"}},
		{"of somebody else", func(r *api.StackRequest) { r.Services[0].Spec.Name = "shop_theirs" }, []string{"409 ", `service shop_theirs: it is there already and is of the stack \"theirs\"`}},
		{"credentials", func(r *api.StackRequest) { r.Services[0].Auth = "c2VjcmV0" }, []string{"400 ", "service shop_web: its credentials must be"}},
		{"an overlapping subnet", func(r *api.StackRequest) {
			other := network.CreateRequest{Name: "shop_more", CreateOptions: network.CreateOptions{Labels: ofShop, IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: "nonsense"}}}}}
			r.Networks = append(r.Networks, other)
		}, []string{"400 ", "network shop_more: ", "nonsense"}},
		{"no ingress network", func(r *api.StackRequest) { // which the state alone knows
			r.Services[0].Spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{PublishedPort: 80, TargetPort: 80}}}
		}, []string{"503 ", "service needs ingress network"}},
		{"a circle", func(r *api.StackRequest) {
			r.Services[0].Spec.Labels[setting.LabelDependsOn] = "shop_api"
			r.Services[1].Spec.Labels[setting.LabelDependsOn] = "shop_web"
		}, []string{"400 ", "they would wait for each other for ever"}},
	} {
		req := shop("web", "api")
		tt.change(req)
		text, _ := c.deploy(req)
		if dry, _ := c.order("/swarmctl/stacks/shop/dryrun", req); dry != text {
			t.Errorf("%s: a dry run says %s", tt.name, dry)
		}
		for _, w := range tt.want {
			if !strings.Contains(text, w) {
				t.Errorf("%s: it should say %q: %s", tt.name, w, text)
			}
		}
		if v := c.store.View(); v.NetworkByName("shop_back") != nil || v.SecretByName("shop_key") != nil || len(slices.Collect(v.Services())) != 2 {
			t.Fatalf("%s: something was written", tt.name)
		}
	}
}

// What somebody else has changed in between is named, and nothing is written.
func TestAStackThatHasMovedIsRefusedAsAWhole(t *testing.T) {
	c := start(t, nil)
	c.deploy(shop("web", "api"))
	req := shop("web", "api", "new")
	for i := range req.Services[:2] {
		req.Services[i].Spec.TaskTemplate.ContainerSpec.Image = "demo:2"
		req.Services[i].Version = c.store.View().ServiceByName(req.Services[i].Spec.Name).Meta.Version.Index
	}
	_, err := c.docker.ServiceUpdate(t.Context(), "shop_api", swarm.Version{Index: req.Services[1].Version}, c.store.View().ServiceByName("shop_api").Spec, swarm.ServiceUpdateOptions{})
	c.must(err)
	before := c.store.index
	text, _ := c.order("/swarmctl/stacks/shop", req)
	if !strings.HasPrefix(text, "409 ") || !strings.Contains(text, "update out of sequence: somebody else has changed service shop_api at the same time") || c.store.index != before {
		t.Errorf("%d: %s", c.store.index-before, text)
	}

	// So it is where the change comes in the very moment of writing.
	once := true
	c.store.before = func(op *state.Op) error {
		if op.PutService == nil || !once {
			return nil
		}
		once = false
		s := c.store.View().ServiceByName("shop_web")
		other := *s
		other.Spec.TaskTemplate.ForceUpdate++
		c.store.index++
		return c.store.Apply(c.store.index, []state.Command{{Ops: []state.Op{{PutService: &other}}}})[0].Err()
	}
	text, _ = c.deploy(req)
	if !strings.HasPrefix(text, "409 ") || !strings.Contains(text, "has changed service shop_web at the same time") || c.store.View().ServiceByName("shop_new") != nil {
		t.Errorf("%s", text)
	}
}

// A subnet that is taken in the moment of writing is no reason to refuse.
func TestAStackFindsAnotherSubnet(t *testing.T) {
	c := start(t, nil)
	once := true
	c.store.before = func(op *state.Op) error {
		if op.CreateNetwork == nil || !once {
			return nil
		}
		once = false
		other := *op.CreateNetwork
		other.ID, other.Spec.Name = "other", "other"
		c.store.index++
		return c.store.Apply(c.store.index, []state.Command{{Ops: []state.Op{{CreateNetwork: &other}}}})[0].Err()
	}
	req := shop("web")
	req.Networks = append(req.Networks, network.CreateRequest{Name: "shop_more", CreateOptions: network.CreateOptions{Labels: ofShop}})
	text, a := c.deploy(req)
	c.did("1 after 0: created network shop_back, created network shop_more, created secret shop_key, created config shop_motd, created service shop_web", text, a)
}

func TestAStackGoesBack(t *testing.T) {
	c := start(t, nil)
	c.deploy(shop("web", "api"))
	image := func(name string) string {
		return c.store.View().ServiceByName("shop_" + name).Spec.TaskTemplate.ContainerSpec.Image
	}
	if text, _ := c.order("/swarmctl/stacks/shop/rollback", api.StackRollback{}); !strings.HasPrefix(text, "400 ") || !strings.Contains(text, "one deploy, and none before it") {
		t.Errorf("nothing to go back to: %s", text)
	}
	req := shop("web", "new")
	req.Services[0].Spec.TaskTemplate.ContainerSpec.Image = "demo:2"
	old := c.store.View().ServiceByName("shop_api")
	req.Remove = []api.StackRemoval{{ID: string(old.ID), Version: old.Meta.Version.Index}}
	c.deploy(req)
	for _, tt := range []struct {
		req  api.StackRollback
		want string
	}{
		{api.StackRollback{To: 9}, "deploy 9 is not remembered: there are 1 to 2"},
		{api.StackRollback{To: 1, From: 1}, "nothing was changed: deploy 2 is in force by now, not 1"},
	} {
		if text, _ := c.order("/swarmctl/stacks/shop/rollback", tt.req); !strings.Contains(text, tt.want) {
			t.Errorf("%+v: %s", tt.req, text)
		}
	}
	before := c.store.index
	text, a := c.order("/swarmctl/stacks/shop/rollback", api.StackRollback{})
	c.did("3 after 2: updated service shop_web, created service shop_api", text, a)
	if c.store.index != before+1 || image("web") != "demo:1" || !slices.Equal(a.Kept, []string{"shop_new"}) {
		t.Errorf("%d commands, web has %s, kept %v", c.store.index-before, image("web"), a.Kept)
	}
	text, a = c.order("/swarmctl/stacks/shop/rollback", api.StackRollback{To: 1, Prune: true})
	c.did("4 after 3: removed service shop_new", text, a)
	text, a = c.order("/swarmctl/stacks/shop/rollback", api.StackRollback{To: 2, Prune: true})
	c.did("5 after 4: removed service shop_api, updated service shop_web, created service shop_new", text, a)
}

// A deploy that resolves images takes up what a tag has been built into, but
// nothing older, and going back to a deploy goes back to what its tags stood for.
func TestAStackKeepsWhichImagesItHad(t *testing.T) {
	b := &builds{id: map[string]string{"demo:1": "one"}, at: map[string]string{"one": "2026-01-01T00:00:00Z", "two": "2026-01-02T00:00:00.5+01:00"}}
	c := start(t, nil, func(cfg *dockerapi.Config, _ *cluster) { cfg.ImageNamed = b.named })
	req := func(resolve bool) *api.StackRequest {
		r := shop("web", "api")
		r.Services[0].Resolve = resolve
		return r
	}
	runs := func(want string) {
		t.Helper()
		if s := c.store.View().ServiceByName("shop_web"); s.Image == nil || s.Image.ID != want || c.store.View().SpecVersion(s.ID, s.SpecVersion).Image.ID != want {
			t.Fatalf("web has %+v, not %s", s.Image, want)
		}
	}
	rollback := func(to uint64) (string, api.StackAnswer) {
		t.Helper()
		return c.order("/swarmctl/stacks/shop/rollback", api.StackRollback{To: to})
	}
	c.deploy(req(true))
	runs("one")
	text, a := c.deploy(req(true))
	c.did("1 after 0: ", text, a)

	b.id["demo:1"] = "two"
	text, a = c.deploy(req(false))
	c.did("1 after 0: ", text, a)
	text, a = c.deploy(req(true))
	c.did("2 after 1: updated service shop_web", text, a)
	if runs("two"); a.Changes[0].ImageWas != "one" || a.Changes[0].ImageIs != "two" {
		t.Errorf("it says %+v", a.Changes[0])
	}
	text, a = c.deploy(req(true))
	c.did("2 after 1: ", text, a)

	b.id["demo:1"] = "one" // on the manager that is asked this time
	text, a = c.deploy(req(true))
	c.did("2 after 1: ", text, a)
	if len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "service shop_web: it keeps image two") {
		t.Errorf("warnings: %q", a.Warnings)
	}
	delete(b.id, "demo:1")
	text, a = c.deploy(req(true))
	c.did("2 after 1: ", text, a)

	text, a = rollback(1)
	c.did("3 after 2: updated service shop_web", text, a)
	runs("one")
	text, a = rollback(2)
	c.did("4 after 3: updated service shop_web", text, a)
	runs("two")
	text, a = rollback(3)
	c.did("5 after 4: updated service shop_web", text, a)
	runs("one")
	pinned := "demo:1@sha256:" + strings.Repeat("a", 64)
	r := req(true)
	r.Services[0].Spec.TaskTemplate.ContainerSpec.Image = pinned
	text, a = c.deploy(r)
	c.did("6 after 5: updated service shop_web", text, a)
	if s := c.store.View().ServiceByName("shop_web"); s.Image != nil {
		t.Errorf("beside a digest: %+v", s.Image)
	}
	rollback(0)
	runs("one")
	rollback(0)
	if s := c.store.View().ServiceByName("shop_web"); s.Image != nil || s.Spec.TaskTemplate.ContainerSpec.Image != pinned {
		t.Errorf("back at the digest: %+v", s)
	}
}

// What was deployed service by service has no history, and gets one with the
// first deploy: what was found is the first entry of it.
func TestWhatWasFoundIsAWayBack(t *testing.T) {
	c := start(t, nil)
	if got := c.get("/swarmctl/stacks/shop"); !strings.Contains(got, "stack shop not found") {
		t.Error(got)
	}
	spec := serviceSpec("shop_web")
	spec.Labels = maps.Clone(ofShop)
	c.create(spec)
	if got := c.get("/swarmctl/stacks/shop"); !strings.Contains(got, "deploy it once with `swarmctl stack deploy`") {
		t.Error(got)
	}
	text, a := c.deploy(shop("web"))
	c.did("2 after 1: created network shop_back, created secret shop_key, created config shop_motd, updated service shop_web", text, a)
	text, a = c.order("/swarmctl/stacks/shop/rollback", api.StackRollback{})
	c.did("3 after 2: updated service shop_web", text, a)
	if s := c.store.View().ServiceByName("shop_web"); len(s.Spec.TaskTemplate.Networks) != 0 {
		t.Errorf("it is in %v", s.Spec.TaskTemplate.Networks)
	}

	// One that is there already as the files have it is remembered all the same.
	c.must(c.docker.ServiceRemove(t.Context(), "shop_web"))
	c.create(spec)
	text, a = c.deploy(&api.StackRequest{Services: []api.StackService{{Spec: spec}}})
	c.did("1 after 0: ", text, a)
	if c.store.View().Stack("shop").Current() == nil {
		t.Error("it is not remembered")
	}
}

func TestAStackIsStoppedAndStarted(t *testing.T) {
	c := start(t, nil)
	if text, _ := c.order("/swarmctl/stacks/shop/stop", nil); !strings.Contains(text, "stack shop not found") {
		t.Error(text)
	}
	c.deploy(shop("web", "api"))
	was := c.store.View().ServiceByName("shop_web")
	text, a := c.order("/swarmctl/stacks/shop/stop", nil)
	c.did("0 after 0: updated service shop_api, updated service shop_web", text, a)
	text, a = c.order("/swarmctl/stacks/shop/stop", nil)
	c.did("0 after 0: ", text, a)
	if s := c.store.View().ServiceByName("shop_web"); !s.Stopped() || s.SpecVersion != was.SpecVersion {
		t.Errorf("stopped: %+v", s)
	}
	c.order("/swarmctl/stacks/shop/start", nil)
	if s := c.store.View().ServiceByName("shop_web"); s.Stopped() || s.PreviousSpec != nil {
		t.Errorf("started: %+v", s)
	}
	c.order("/swarmctl/stacks/shop/stop", nil)
	text, a = c.deploy(shop("web", "api"))
	c.did("2 after 1: updated service shop_web, updated service shop_api", text, a)
	if !strings.Contains(strings.Join(a.Warnings, "\n"), "service shop_web was stopped: it is started") {
		t.Errorf("it does not say that it starts them: %v", a.Warnings)
	}
}

// Credentials that a service has already are nothing new; they are told nobody.
func TestCredentialsOfAStack(t *testing.T) {
	c := start(t, nil)
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: "me", Password: "TOPSECRET"})
	c.must(err)
	req := shop("web")
	req.Services[0].Auth = auth
	c.deploy(req)
	text, a := c.deploy(req)
	c.did("1 after 0: ", text, a)
	text, a = c.deploy(shop("web"))
	c.did("1 after 0: ", text, a)
	if s := c.store.View().ServiceByName("shop_web"); string(s.RegistryAuth) != auth {
		t.Error("the credentials are gone")
	}
	if got := c.get("/swarmctl/stacks/shop"); strings.Contains(got, auth) {
		t.Errorf("they are told: %s", got)
	}
}

func TestAStackThatIsTooLargeIsRefused(t *testing.T) {
	c := start(t, nil)
	text := c.post("/swarmctl/stacks/shop", `{"File":"`+strings.Repeat("a", 8<<20)+`"}`)
	if !strings.HasPrefix(text, "400 ") || !strings.Contains(text, "the stack is larger than 8 MiB") {
		t.Error(text)
	}
}

// A follower hands the whole stack on.
func TestAFollowerHandsAStackOn(t *testing.T) {
	c := start(t, nil)
	c.node.role = dockerapi.Manager
	c.post("/v1.41/swarmctl/stacks/shop", `{}`)
	if want := []string{"POST /v1.41/swarmctl/stacks/shop"}; !slices.Equal(c.forward, want) {
		t.Errorf("forwarded: %v", c.forward)
	}
}

// Another content is a new version, in the same command as those who use it; the
// way back has the old bytes, for as long as the deploy is remembered.
func TestAStackKeepsWhatItsDeploysUsed(t *testing.T) {
	c := start(t, nil)
	req := shop("web", "api")
	req.Services[1].Spec.TaskTemplate.ContainerSpec.Secrets = nil
	c.deploy(req)
	holds := func() string {
		s := c.store.View().ServiceByName("shop_web").Spec.TaskTemplate.ContainerSpec.Secrets[0]
		return string(c.store.View().Secret(api.SecretID(s.SecretID)).Spec.Data)
	}
	named := func() *api.Secret { return c.store.View().SecretByName("shop_key") }
	// elsewhere is a service that is not of the stack and uses its secret too.
	spec := serviceSpec("elsewhere")
	spec.TaskTemplate.ContainerSpec.Secrets = []*swarm.SecretReference{{SecretName: "shop_key", SecretID: string(named().ID), File: &swarm.SecretReferenceFileTarget{Name: "key"}}}
	c.create(spec)

	first := named().ID
	req.Secrets[0].Version = named().Meta.Version.Index
	req.Secrets[0].Spec.Data = []byte("OTHER")
	before := c.store.index
	text, a := c.deploy(req)
	c.did("2 after 1: updated secret shop_key, updated service elsewhere, updated service shop_web", text, a)
	if c.store.index != before+1 || holds() != "OTHER" || named().ID == first || c.store.View().ServiceByName("shop_web").SpecVersion != c.store.index {
		t.Errorf("%d commands, web has %q", c.store.index-before, holds())
	}
	text, a = c.deploy(req)
	c.did("2 after 1: ", text, a)
	c.must(c.docker.ServiceRemove(t.Context(), "elsewhere"))

	text, a = c.order("/swarmctl/stacks/shop/rollback", api.StackRollback{})
	c.did("3 after 2: updated secret shop_key, updated service shop_web", text, a)
	if holds() != "TOPSECRET" || named().ID != first {
		t.Errorf("web has %q", holds())
	}
	text, a = c.order("/swarmctl/stacks/shop/rollback", api.StackRollback{})
	c.did("4 after 3: updated secret shop_key, updated service shop_web", text, a)

	// What only deploys refer to that are forgotten is collected.
	for n := range api.MaxDeploys - 1 {
		if c.store.View().Secret(first) == nil {
			t.Fatalf("the version that deploy 3 used is gone after %d more", n)
		}
		req.Secrets[0].Version = named().Meta.Version.Index
		req.Secrets[0].Spec.Data = fmt.Append(nil, "again ", n)
		c.deploy(req)
	}
	if c.store.View().Secret(first) != nil {
		t.Error("a version is kept that nothing remembers")
	}

	// One that was removed is missed by name.
	c.must(c.docker.ServiceRemove(t.Context(), "shop_web"))
	c.must(c.docker.SecretRemove(t.Context(), "shop_key"))
	before = c.store.index
	if text, _ = c.order("/swarmctl/stacks/shop/rollback", api.StackRollback{}); !strings.HasPrefix(text, "400 ") || !strings.Contains(text, "secret not found: shop_key") || c.store.index != before {
		t.Error(text)
	}
}

// Whom a service waits for may come with it.
func TestAStackThatDependsOnItself(t *testing.T) {
	c := start(t, nil)
	req := shop("db", "web")
	req.Services[1].Spec.Labels[setting.LabelDependsOn] = "shop_db:started"
	if _, a := c.deploy(req); len(a.Warnings) > 0 || len(a.Changes) != 5 {
		t.Errorf("%v, warnings %q", a.Changes, a.Warnings)
	}
	// The other way round, in one step.
	req = shop("web", "db")
	req.Services[1].Spec.Labels[setting.LabelDependsOn] = "shop_web:started"
	text, a := c.deploy(req)
	c.did("2 after 1: updated service shop_web, updated service shop_db", text, a)
	req.Services[0].Spec.Labels[setting.LabelDependsOn] = "shop_none:started"
	if _, a := c.deploy(req); len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "there is no service shop_none") {
		t.Errorf("warnings %q", a.Warnings)
	}
}
