package stack

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

const shop = `
services:
  web:
    image: nginx:1
    networks: [front]
    secrets: [s]
    configs: [c]
    deploy: {replicas: 2, update_config: {delay: 10s}}
  db:
    image: postgres:16
networks:
  front: {}
secrets:
  s: {environment: FROM_CALLER}
configs:
  c: {content: hello}
`

// deployed is a cluster in which a stack is.
func deployed(s *Stack) (have Cluster) {
	for i, spec := range s.Services {
		spec.TaskTemplate.Networks = slices.Clone(spec.TaskTemplate.Networks)
		for j := range spec.TaskTemplate.Networks {
			if n := &spec.TaskTemplate.Networks[j]; n.Target != "host" && n.Target != "none" { // nodes have their own
				n.Target = "id-" + n.Target
			}
		}
		c := *spec.TaskTemplate.ContainerSpec
		c.Secrets, c.Configs = nil, nil
		for _, r := range spec.TaskTemplate.ContainerSpec.Secrets {
			ref := *r
			ref.SecretID = "id-" + r.SecretName
			c.Secrets = append(c.Secrets, &ref)
		}
		for _, r := range spec.TaskTemplate.ContainerSpec.Configs {
			ref := *r
			ref.ConfigID = "id-" + r.ConfigName
			c.Configs = append(c.Configs, &ref)
		}
		c.Image += "@sha256:" + strings.Repeat("a", 64)
		spec.TaskTemplate.ContainerSpec = &c
		spec.TaskTemplate.ForceUpdate = 3
		have.Services = append(have.Services, swarm.Service{ID: "service" + string(rune('0'+i)), Spec: spec})
	}
	for _, n := range s.Networks {
		have.Networks = append(have.Networks, network.Summary{ID: "id-" + n.Name, Name: n.Name, Scope: "swarm", Driver: "overlay", Labels: n.Options.Labels})
	}
	for _, spec := range s.Secrets {
		have.Secrets = append(have.Secrets, swarm.Secret{ID: "id-" + spec.Name, Spec: swarm.SecretSpec{Annotations: spec.Annotations}})
	}
	for _, spec := range s.Configs {
		have.Configs = append(have.Configs, swarm.Config{ID: "id-" + spec.Name, Spec: spec})
	}
	return have
}

func TestAStackThatIsThereNeedsNothing(t *testing.T) {
	_, s := folder{}.stack(t, shop)
	p, err := s.Against(Cluster{}, Options{})
	if err != nil || len(p.Services) != 2 || len(p.Networks) != 2 || len(p.Secrets) != 1 || len(p.Configs) != 1 || p.Empty() {
		t.Fatalf("on an empty cluster: %+v, %v", p, err)
	}
	p, err = s.Against(deployed(s), Options{Prune: true})
	if err != nil || !p.Empty() || len(p.Warnings) > 0 {
		t.Fatalf("when it is there: %+v, %v", p, err)
	}
	for _, c := range p.Services {
		if c.Spec.TaskTemplate.ForceUpdate != 3 || !strings.Contains(c.Spec.TaskTemplate.ContainerSpec.Image, "@sha256:") {
			t.Errorf("%s would lose what a deploy does not touch: %+v", c.Spec.Name, c.Spec.TaskTemplate)
		}
	}
}

func TestAPlanHasWhatDiffers(t *testing.T) {
	_, before := folder{}.stack(t, shop)
	_, after := folder{}.stack(t, strings.NewReplacer("nginx:1", "nginx:2", "replicas: 2", "replicas: 5", "delay: 10s", "delay: 1m", "  db:\n    image: postgres:16\n", "").Replace(shop))
	p, err := after.Against(deployed(before), Options{Prune: true, Pinned: map[string]Pin{"shop_web": {Image: "nginx:2@sha256:" + strings.Repeat("b", 64)}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Remove) != 1 || p.Remove[0].Spec.Name != "shop_db" {
		t.Errorf("removed are %+v", p.Remove)
	}
	var lines []string
	for _, c := range p.Services[0].Changes {
		lines = append(lines, c.String())
	}
	want := []string{
		"~ Labels.com.docker.stack.image: nginx:1 -> nginx:2",
		"~ Mode.Replicated.Replicas: 2 -> 5",
		"~ TaskTemplate.ContainerSpec.Image: nginx:1@sha256:" + strings.Repeat("a", 64) + " -> nginx:2@sha256:" + strings.Repeat("b", 64),
		"~ UpdateConfig.Delay: 10s -> 1m0s",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("changes are\n%s", strings.Join(lines, "\n"))
	}
	if p, _ := after.Against(deployed(before), Options{}); len(p.Remove) > 0 {
		t.Error("without --prune a service is removed")
	}
}

func TestWhatIsNotThereOrNotOursStopsADeploy(t *testing.T) {
	const external = "services:\n  web:\n    image: nginx\n    networks: [out]\nnetworks:\n  out: {external: true}\nsecrets:\n  s: {external: true}\nconfigs:\n  c: {external: true, name: other}\n"
	_, s := folder{}.stack(t, external)
	_, err := s.Against(Cluster{}, Options{})
	for _, want := range []string{`network "out" is declared as external, but could not be found`, `secret "s" is declared`, `config "other" is declared`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v; it should say %s", err, want)
		}
	}
	_, err = s.Against(Cluster{Networks: []network.Summary{{Name: "out", Scope: "local"}}}, Options{})
	if err == nil || !strings.Contains(err.Error(), `not in the right scope: "local"`) {
		t.Errorf("a local network: %v", err)
	}

	_, s = folder{}.stack(t, shop)
	for name, c := range map[string]struct {
		change func(*Cluster)
		want   string
	}{
		"a network of nobody":  {func(c *Cluster) { c.Networks[0].Labels = nil }, "is not of a stack"},
		"a secret of another":  {func(c *Cluster) { c.Secrets[0].Spec.Labels = map[string]string{LabelNamespace: "other"} }, `is of the stack "other"`},
		"a driver":             {func(c *Cluster) { c.Secrets[0].Spec.Driver = &swarm.Driver{Name: "vault"} }, "only its content and its labels can be changed"},
		"two things at a time": {func(c *Cluster) { c.Networks[0].Labels, c.Secrets[0].Spec.Labels = nil, nil }, "secret \"shop_s\""},
	} {
		have := deployed(s)
		c.change(&have)
		if _, err := s.Against(have, Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v; it should say %s", name, err, c.want)
		}
	}
}

// What holds something else than the files say is rewritten, and its services
// follow; a service that has gone back to an older version is brought forth again.
func TestAnotherContentIsANewVersion(t *testing.T) {
	_, s := folder{}.stack(t, shop)
	for name, c := range map[string]struct {
		change func(*Cluster, *Options)
		want   []string // of what is rewritten, and of web
	}{
		"a secret":       {func(_ *Cluster, o *Options) { o.Rewritten = map[string]bool{"shop_s": true} }, []string{"secret true", "config false", "+ TaskTemplate.ContainerSpec.Secrets.shop_s: a new version, with another content"}},
		"a config":       {func(c *Cluster, _ *Options) { c.Configs[0].Spec.Data = []byte("other") }, []string{"secret false", "config true", "+ TaskTemplate.ContainerSpec.Configs.shop_c: a new version, with another content"}},
		"another driver": {func(c *Cluster, _ *Options) { c.Configs[0].Spec.Templating = &swarm.Driver{Name: "golang"} }, []string{"secret false", "config true", "+ TaskTemplate.ContainerSpec.Configs.shop_c: a new version, with another content"}},
		"gone back": {func(c *Cluster, _ *Options) { c.Secrets[0].ID = "newer" }, []string{"secret false", "config false",
			"- TaskTemplate.ContainerSpec.Secrets: {File={GID=0 Mode=0444 Name=s UID=0} SecretID=id-shop_s SecretName=shop_s}",
			"+ TaskTemplate.ContainerSpec.Secrets: {File={GID=0 Mode=0444 Name=s UID=0} SecretID=newer SecretName=shop_s}"}},
	} {
		have, o := deployed(s), Options{}
		c.change(&have, &o)
		p, err := s.Against(have, o)
		if err != nil || p.Empty() {
			t.Errorf("%s: %v, empty: %v", name, err, p.Empty())
			continue
		}
		got := []string{fmt.Sprint("secret ", p.Secrets[0].Rewritten), fmt.Sprint("config ", p.Configs[0].Rewritten)}
		for _, change := range p.Services {
			for _, line := range change.Changes {
				got = append(got, line.String())
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%s", name, strings.Join(got, "\n"))
		}
	}
}

func TestANetworkThatDiffersIsSaid(t *testing.T) {
	_, s := folder{}.stack(t, strings.Replace(shop, "front: {}", "front: {internal: true, ipam: {config: [{subnet: 10.9.0.0/24}]}}", 1))
	have := deployed(s)
	p, err := s.Against(have, Options{})
	if err != nil || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "shop_front stays as it is") || !strings.Contains(p.Warnings[0], "Internal: false -> true") || !strings.Contains(p.Warnings[0], "10.9.0.0/24") {
		t.Errorf("%+v, %v", p.Warnings, err)
	}
}

func TestDiff(t *testing.T) {
	no, yes, zero := false, true, uint64(0)
	base := swarm.ServiceSpec{TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Env: []string{"A=1", "B=2"}, Command: []string{"a", "b"}}}}
	for name, c := range map[string]struct {
		change func(*swarm.ServiceSpec)
		want   []string
	}{
		"nothing":   {func(*swarm.ServiceSpec) {}, nil},
		"empty":     {func(s *swarm.ServiceSpec) { s.Labels, s.EndpointSpec = map[string]string{}, &swarm.EndpointSpec{} }, nil},
		"words":     {func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Env = []string{"A=1", "C=3"} }, []string{"- TaskTemplate.ContainerSpec.Env: B=2", "+ TaskTemplate.ContainerSpec.Env: C=3"}},
		"order":     {func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Env = []string{"B=2", "A=1"} }, []string{"~ TaskTemplate.ContainerSpec.Env: [A=1 B=2] -> [B=2 A=1]"}},
		"a command": {func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Command = []string{"a"} }, []string{"~ TaskTemplate.ContainerSpec.Command: [a b] -> [a]"}},
		"false":     {func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Init = &no }, []string{"+ TaskTemplate.ContainerSpec.Init: false"}},
		"true":      {func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.Init = &yes }, []string{"+ TaskTemplate.ContainerSpec.Init: true"}},
		"none":      {func(s *swarm.ServiceSpec) { s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &zero} }, []string{"+ Mode.Replicated.Replicas: 0"}},
		"read only": {func(s *swarm.ServiceSpec) { s.TaskTemplate.ContainerSpec.ReadOnly = true }, []string{"+ TaskTemplate.ContainerSpec.ReadOnly: true"}},
		"a large number": {func(s *swarm.ServiceSpec) {
			s.TaskTemplate.Resources = &swarm.ResourceRequirements{Limits: &swarm.Limit{MemoryBytes: 1<<53 + 1}}
		}, []string{"+ TaskTemplate.Resources.Limits.MemoryBytes: 9007199254740993"}},
	} {
		next := base
		container := *base.TaskTemplate.ContainerSpec
		next.TaskTemplate.ContainerSpec = &container
		c.change(&next)
		var got []string
		for _, change := range Diff(base, next) {
			got = append(got, change.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// A large stack is loaded and compared in a moment.
func TestTwoHundredServices(t *testing.T) {
	var b strings.Builder
	b.WriteString("x-common: &common\n  image: app\n  environment: {A: '1', B: '2'}\n  networks: [front, back]\n  deploy: {replicas: 3, resources: {limits: {memory: 64M}}}\nnetworks: {front: {}, back: {}}\nservices:\n")
	for i := range 200 {
		fmt.Fprintf(&b, "  service-%d:\n    <<: *common\n    labels: {n: '%d'}\n", i, i)
	}
	start := time.Now()
	_, s := folder{}.stack(t, b.String())
	p, err := s.Against(deployed(s), Options{})
	if err != nil || !p.Empty() || len(s.Services) != 200 {
		t.Errorf("%d services, %v", len(s.Services), err)
	}
	if took := time.Since(start); took > 10*time.Second { // some 0.3 s; a slip that makes it quadratic takes minutes
		t.Errorf("it took %s", took)
	} else {
		t.Logf("it took %s", took)
	}
}

// Whatever a file says, loading it ends, and ends in a stack or in an error.
func FuzzLoad(f *testing.F) {
	f.Add(shop)
	files, err := filepath.Glob("testdata/files/*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Add("include: [/dev/zero]\nservices: {a: {extends: {file: /dev/zero, service: b}}}\n")
	f.Add("services:\n  a: &a\n    <<: *a\n    image: x\n")
	f.Fuzz(func(t *testing.T, compose string) {
		stuck := time.AfterFunc(10*time.Second, func() { panic(fmt.Sprintf("it does not end: %q", compose)) })
		defer stuck.Stop()
		in := folder{"plain.env": "A=1\n"}.input(compose)
		m, err := Load(t.Context(), in)
		if err != nil {
			return
		}
		s, err := m.Convert()
		if err != nil {
			return
		}
		names := map[string]bool{}
		for _, spec := range s.Services {
			names[spec.Name] = true
			if spec.Labels[LabelNamespace] != "shop" || spec.TaskTemplate.ContainerSpec.Labels[LabelNamespace] != "shop" {
				t.Errorf("service %s is of no stack", spec.Name)
			}
		}
		if len(names) != len(s.Services) {
			t.Errorf("two services of one name: %v", slices.Sorted(maps.Keys(names)))
		}
		if p, err := s.Against(deployed(s), Options{}); err == nil && !slices.Equal(changedServices(p), nil) {
			t.Errorf("deployed again it changes %q", changedServices(p))
		}
	})
}

func changedServices(p *Plan) (names []string) {
	for _, c := range p.Services {
		for _, change := range c.Changes {
			names = append(names, c.Spec.Name+" "+change.String())
		}
	}
	return names
}
