package stack

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api/setting"
)

// folder is a file system that is a map.
type folder map[string]string

func (f folder) read(name string, _ int64) ([]byte, error) {
	data, ok := f[strings.TrimPrefix(name, "/shop/")]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(data), nil
}

// input is a stack of one file, named compose.yml, and of the files of f.
func (f folder) input(compose string) Input {
	return Input{Name: "shop", Dir: "/shop", Files: []File{{"compose.yml", []byte(compose)}}, Env: maps.Clone(callersEnv), Read: f.read}
}

func (f folder) stack(t *testing.T, compose string) (*Model, *Stack) {
	t.Helper()
	return convert(t, f.input(compose))
}

// service is the only one of a stack.
func (f folder) service(t *testing.T, compose string) swarm.ServiceSpec {
	t.Helper()
	_, s := f.stack(t, compose)
	if len(s.Services) != 1 {
		t.Fatalf("%d services", len(s.Services))
	}
	return s.Services[0]
}

func TestWhatIsWrongIsSaidWithItsPlace(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i), 10), ", "))
	}
	files := folder{
		"loop.yml":  "services:\n  a:\n    extends: {file: /shop/loop2.yml, service: b}\n",
		"self.yml":  "services:\n  a:\n    extends: {service: a}\n",
		"bad.yml":   "services:\n  web: [unclosed\n",
		"large.env": strings.Repeat("A=1\n", MaxFile/4+1),
		"empty":     "",
		"secret":    strings.Repeat("x", maxSecret+1),
	}
	for name, c := range map[string]struct{ compose, want string }{
		"not closed":          {"services:\n  a: {image: x\n", "compose.yml:3:1: did not find expected ',' or '}', while parsing a flow mapping"},
		"syntax":              {"services:\n  web:\n    image: nginx\n   ports: [80]\n", "compose.yml:4:4: did not find expected key, while parsing a block mapping"},
		"tab":                 {"services:\n\tweb:\n", "compose.yml:2:"},
		"a list":              {"- a\n", "mapping"},
		"empty":               {"", "no service to deploy"},
		"unknown key":         {"services:\n  web:\n    image: nginx\n    enviroment: {A: b}\n", `compose.yml:4:5: unknown key "enviroment" in services.web: did you mean "environment"?`},
		"unknown in deploy":   {"services:\n  web:\n    image: nginx\n    deploy:\n      replica: 2\n", `compose.yml:5:7: unknown key "replica" in services.web.deploy: did you mean "replicas"?`},
		"unknown at the top":  {"service:\n  web:\n    image: nginx\n", `compose.yml:1:1: unknown key "service": did you mean "services"?`},
		"nothing like it":     {"services:\n  web:\n    image: nginx\n    xyzzyxyzzy: 1\n", `compose.yml:4:5: unknown key "xyzzyxyzzy" in services.web`},
		"wrong type":          {"services:\n  web:\n    image: nginx\n    ports: 80\n", "compose.yml:4:5: services.web.ports"},
		"no image":            {"services:\n  web:\n    command: x\n", "neither an image nor a build"},
		"build alone":         {"services:\n  web:\n    build: .\n", "services.web: image: there is none"},
		"bad image":           {"services:\n  web:\n    image: 'a b'\n", `services.web: image "a b"`},
		"undefined network":   {"services:\n  web:\n    image: nginx\n    networks: [front]\n", "undefined network front"},
		"undefined secret":    {"services:\n  web:\n    image: nginx\n    secrets: [s]\n", "undefined secret s"},
		"undefined config":    {"services:\n  web:\n    image: nginx\n    configs: [s]\n", "undefined config s"},
		"undefined volume":    {"services:\n  web:\n    image: nginx\n    volumes: ['data:/data']\n", "undefined volume data"},
		"depends on nothing":  {"services:\n  web:\n    image: nginx\n    depends_on: [db]\n", `undefined service "db"`},
		"depends in a circle": {"services:\n  a:\n    image: x\n    depends_on: [b]\n  b:\n    image: x\n    depends_on: [a]\n", "compose.yml:4:5: services.a.depends_on: a cycle: a -> b -> a"},
		"waits for itself":    {"services:\n  a:\n    image: x\n    depends_on: {a: {condition: service_healthy}}\n", "compose.yml:4:5: services.a.depends_on: a cycle: a -> a"},
		"extends in a circle": {"services:\n  c: {extends: a}\n  a: {extends: b}\n  b:\n    extends: {service: c}\n", "compose.yml:3:7: services.a.extends: a cycle: a -> b -> c -> a"},
		"extends itself":      {files["self.yml"], "a cycle: "},
		"extends no file":     {"services:\n  a:\n    extends:\n      file: none.yml\n      service: b\n", "compose.yml:4:13: there is no file /shop/none.yml"},
		"extends what is bad": {"services:\n  a:\n    extends:\n      file: bad.yml\n      service: b\n", "/shop/bad.yml:"},
		"includes no file":    {"include:\n  - none.yml\n", "compose.yml:2:5: there is no file /shop/none.yml"},
		"no env file":         {"services:\n  a:\n    image: x\n    env_file: none.env\n", "services.a.env_file: open /shop/none.env"},
		"large env file":      {"services:\n  a:\n    image: x\n    env_file: large.env\n", "larger than"},
		"secret of no file":   {"services:\n  a:\n    image: x\nsecrets:\n  s:\n    file: none\n", "secrets.s: open /shop/none"},
		"empty secret":        {"services:\n  a:\n    image: x\nsecrets:\n  s:\n    file: empty\n", "secrets.s: it is empty"},
		"large secret":        {"services:\n  a:\n    image: x\nsecrets:\n  s:\n    file: secret\n", "secrets.s: "},
		"unset secret":        {"services:\n  a:\n    image: x\nsecrets:\n  s:\n    environment: NOT_SET_AT_ALL\n", "NOT_SET_AT_ALL is not set"},
		"required variable":   {"services:\n  a:\n    image: x:${NOT_SET_AT_ALL?needed}\n", "NOT_SET_AT_ALL"},
		"pod of nothing":      {"services:\n  b:\n    image: x\n    network_mode: service:a\n", `service "a" not found for network_mode`},
		"pod of itself":       {"services:\n  b:\n    image: x\n    network_mode: service:b\n", "service cannot be a sidecar of itself"},
		"pod of a pod":        {"services:\n  a:\n    image: x\n  b:\n    image: x\n    network_mode: service:a\n  c:\n    image: x\n    network_mode: service:b\n", `services.c: network_mode: "service:b": service b is a sidecar itself: use network_mode: "service:a"`},
		"pod in a circle":     {"services:\n  a:\n    image: x\n    depends_on: [b]\n  b:\n    image: x\n    network_mode: service:a\n", "services.b: network_mode: \"service:a\": service a depends on it"},
		"pod of a job":        {"services:\n  a:\n    image: x\n    deploy: {mode: replicated-job}\n  b:\n    image: x\n    network_mode: service:a\n", "jobs have no sidecars"},
		"port range":          {"services:\n  a:\n    image: x\n    ports: ['8000-8010:80']\n", "services.a: ports"},
		"npipe":               {"services:\n  a:\n    image: x\n    volumes: [{type: npipe, source: a, target: /b}]\n", "npipe"},
		"bad restart":         {"services:\n  a:\n    image: x\n    restart: sometimes\n", `restart: "sometimes" is none of no, always, unless-stopped, on-failure`},
		"bad ipc":             {"services:\n  a:\n    image: x\n    ipc: service:b\n  b:\n    image: x\n", "swarmctl.ipc"},
		"bad label":           {"services:\n  a:\n    image: x\n    deploy: {labels: {swarmctl.canari: '1'}}\n", "swarmctl.canari"},
		"two opinions":        {"services:\n  a:\n    image: x\n    pid: host\n    deploy: {labels: {swarmctl.pid: other}}\n", "leave one out"},
		"global replicas":     {"services:\n  a:\n    image: x\n    deploy: {mode: global, replicas: 2}\n", "deploy.replicas"},
		"bad dns":             {"services:\n  a:\n    image: x\n    dns: resolver\n", `dns: "resolver"`},
		"anchor bomb":         {bomb + "services:\n  a:\n    image: x\n", "compose.yml: it has more than 200000 values"},
		"anchor in itself":    {"a: &a [*a]\nservices:\n  a:\n    image: x\n", "compose.yml"},
		"50 MB":               {"#" + strings.Repeat("x", 50<<20), "compose.yml: it is larger than 4194304 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			m, err := Load(t.Context(), files.input(c.compose))
			if err == nil {
				_, err = m.Convert()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v; it should say %s", err, c.want)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// Files that are included and extended compose-go opens itself.
func TestFilesInACircle(t *testing.T) {
	dir := t.TempDir()
	read := func(name string, _ int64) ([]byte, error) { return os.ReadFile(name) }
	for name, data := range map[string]string{
		"in1.yml": "services:\n  x:\n    image: x\ninclude:\n  - in2.yml\n", "in2.yml": "include:\n  - path: in1.yml\n",
		"ex1.yml": "services:\n  a:\n    extends: {file: ex2.yml, service: b}\n", "ex2.yml": "services:\n  b:\n    extends: {file: ex1.yml, service: a}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"in1.yml": "in1.yml:4:1: include: a cycle: in1.yml -> " + dir + "/in2.yml -> " + dir + "/in1.yml", "ex1.yml": dir + "/ex1.yml:3:5: services.a.extends: a cycle: a -> b -> a",
	} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		_, err = Load(t.Context(), Input{Name: "shop", Dir: dir, Files: []File{{name, content}}, Read: read})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: the error is %v; it should begin with %s", name, err, want)
		}
	}
}

func TestNamesOfStacks(t *testing.T) {
	for name, ok := range map[string]bool{
		"shop": true, "Shop-2_x": true, "a": true, strings.Repeat("a", 61): true,
		"": false, " ": false, "a b": false, "-a": false, "a-": false, "a/b": false, "ä": false, strings.Repeat("a", 62): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestEveryKeyWithoutEffectIsNamed(t *testing.T) {
	m, _ := folder{}.stack(t, `
services:
  web:
    image: nginx
    build: .
    container_name: web
    deploy: {replicas: 2}
    depends_on: {db: {condition: service_healthy, restart: true}}
    security_opt: [no-new-privileges]
    networks:
      default: {ipv4_address: 10.0.0.7}
    volumes: [{type: bind, source: /a, target: /b, bind: {selinux: z}}]
    x-ours: is passed over
  db:
    image: postgres
    develop: {watch: [{path: ., action: rebuild}]}
  debug:
    image: busybox
    profiles: [debug]
`)
	var keys []string
	for _, i := range m.Ignored {
		keys = append(keys, i.Key)
		if i.Why == "" {
			t.Errorf("%s has no reason", i.Key)
		}
	}
	want := []string{
		"services.db.develop", "services.debug", "services.web.build", "services.web.container_name", "services.web.depends_on.db.restart",
		"services.web.networks.default.ipv4_address", "services.web.security_opt", "services.web.volumes.bind.selinux",
	}
	if !slices.Equal(keys, want) {
		t.Errorf("ignored are\n%q, want\n%q", keys, want)
	}
}

// A file of what is understood has nothing that is ignored, whatever defaults
// compose-go fills in.
func TestWhatHasAnEffectIsNotNamed(t *testing.T) {
	for _, name := range []string{"deploy.yml", "networks.yml", "volumes.yml", "secrets.yml", "own.yml", "ports.yml", "healthcheck.yml", "whole.yml"} {
		if m, _ := convert(t, testInput(t, name)); len(m.Ignored)+len(m.Warnings) > 0 {
			t.Errorf("%s: ignored are %v, warnings %q", name, m.Ignored, m.Warnings)
		}
	}
}

func TestOwnKeysBecomeLabels(t *testing.T) {
	s := folder{}.service(t, `
services:
  app:
    image: app
    privileged: true
    shm_size: 64m
    devices: [/dev/fuse, "/dev/snd:/dev/snd:rw"]
    gpus: [{count: 2, driver: nvidia}]
    ports: ["127.0.0.1:8080:80", "0.0.0.0:81:81"]
    deploy: {labels: {swarmctl.rebalance: 2m}}
`)
	for label, want := range map[string]string{
		setting.LabelPrivileged: "true", setting.LabelShmSize: "67108864", setting.LabelDevices: "/dev/fuse:/dev/fuse:rwm,/dev/snd:/dev/snd:rw",
		setting.LabelHostIP: "8080/tcp=127.0.0.1", "swarmctl.rebalance": "2m",
	} {
		if got := s.Labels[label]; got != want {
			t.Errorf("%s is %q, want %q", label, got, want)
		}
	}
	g, err := setting.ParseGPUs(s.Labels[setting.LabelGPUs])
	if err != nil || g.Count != 2 || g.Driver != "nvidia" {
		t.Errorf("%s is %q: %+v, %v", setting.LabelGPUs, s.Labels[setting.LabelGPUs], g, err)
	}
}

func TestComposeBeyondDockersStacks(t *testing.T) {
	files := folder{
		"base.yml":     "services:\n  base:\n    image: base:${TAG}\n    environment: {A: '1'}\n    volumes: ['./data:/data']\n",
		"sub/part.yml": "services:\n  part:\n    image: part\n    env_file: part.env\n",
		"sub/part.env": "P=\"quoted ${TAG}\"\n",
		".env":         "TAG=from-file\nONLY=in-file\n",
	}
	dir := t.TempDir()
	in := files.input(`
include: [sub/part.yml]
services:
  web:
    extends: {file: base.yml, service: base}
    environment: {B: "${ONLY}"}
    mem_limit: 64m
    cpus: 0.1
    scale: 3
    tmpfs: ["/run:size=1m,mode=755"]
    network_mode: host
    group_add: [audio]
    dns_opt: [ndots:1]
  jobs:
    image: x
    profiles: [batch]
secrets:
  s: {environment: FROM_CALLER}
configs:
  c: {content: "tag ${TAG}"}
`)
	// What is included and extended is opened by compose-go: it has to be there.
	write(t, dir, files)
	in.Dir, in.Read = dir, readFile
	_, s := convert(t, in)
	if len(s.Services) != 2 {
		t.Fatalf("%d services", len(s.Services))
	}
	part, web := s.Services[0], s.Services[1]
	if got := part.TaskTemplate.ContainerSpec.Env; !slices.Equal(got, []string{"P=quoted 1.27"}) {
		t.Errorf("part has %q", got)
	}
	c := web.TaskTemplate.ContainerSpec
	if c.Image != "base:1.27" || !slices.Equal(c.Env, []string{"A=1", "B=in-file"}) || !slices.Equal(c.Groups, []string{"audio"}) {
		t.Errorf("web is %+v", c)
	}
	if limits := web.TaskTemplate.Resources.Limits; limits.MemoryBytes != 64<<20 || limits.NanoCPUs != 100_000_000 || *web.Mode.Replicated.Replicas != 3 {
		t.Errorf("limits are %+v, mode %+v", limits, web.Mode)
	}
	if len(c.Mounts) != 2 || c.Mounts[0].Source != dir+"/data" || c.Mounts[1].TmpfsOptions.SizeBytes != 1<<20 || c.Mounts[1].TmpfsOptions.Mode != 0o755 {
		t.Errorf("mounts are %+v", c.Mounts)
	}
	if n := web.TaskTemplate.Networks; len(n) != 1 || n[0].Target != "host" || n[0].Aliases != nil {
		t.Errorf("networks are %+v", n)
	}
	if string(s.Secrets[0].Data) != "here" || string(s.Configs[0].Data) != "tag 1.27" {
		t.Errorf("secret %q, config %q", s.Secrets[0].Data, s.Configs[0].Data)
	}
}

// Numbers and yes or no may come from variables, wherever their key stands.
func TestVariablesBecomeWhatTheirKeyIs(t *testing.T) {
	files := folder{
		"base.yml": "services:\n  base:\n    image: x\n    ports: [{target: \"${TAG_PORT}\", published: '80'}]\n",
		"part.yml": "services:\n  part:\n    image: x\n    healthcheck: {test: [CMD, x], retries: \"${REPLICAS}\"}\n    volumes: [{type: volume, source: data, target: /d, read_only: \"${YES}\"}]\nvolumes: {data: {external: \"${YES}\"}}\n",
	}
	dir := t.TempDir()
	in := files.input(`
include: [part.yml]
x-key: &key replicas
x-deploy: &deploy
  *key : "${REPLICAS}"
services:
  web:
    extends: {file: base.yml, service: base}
    init: "${YES}"
    ulimits: {nofile: {soft: "${REPLICAS}", "hard": "${REPLICAS}"}}
    deploy:
      <<: *deploy
      update_config: {max_failure_ratio: "${RATIO}"}
`)
	write(t, dir, files)
	in.Dir, in.Read = dir, readFile
	maps.Copy(in.Env, map[string]string{"TAG_PORT": "8080", "YES": "yes", "RATIO": "0.5"})
	_, s := convert(t, in)
	part, web := s.Services[0].TaskTemplate.ContainerSpec, s.Services[1]
	if part.Healthcheck.Retries != 3 || !part.Mounts[0].ReadOnly || part.Mounts[0].Source != "data" {
		t.Errorf("part has the health check %+v and the mount %+v", part.Healthcheck, part.Mounts[0])
	}
	if *web.Mode.Replicated.Replicas != 3 || web.UpdateConfig.MaxFailureRatio != 0.5 || web.EndpointSpec.Ports[0].TargetPort != 8080 {
		t.Errorf("web has %d replicas, %+v, %+v", *web.Mode.Replicated.Replicas, web.UpdateConfig, web.EndpointSpec.Ports)
	}
	if c := web.TaskTemplate.ContainerSpec; !*c.Init || c.Ulimits[0].Soft != 3 || c.Ulimits[0].Hard != 3 {
		t.Errorf("web is %+v with %+v", c, c.Ulimits[0])
	}
}

func TestLaterFilesOverrideEarlierOnes(t *testing.T) {
	in := folder{}.input("services:\n  web:\n    image: a\n    environment: {A: '1', B: '1'}\n    ports: ['80:80']\n")
	in.Files = append(in.Files, File{"prod.yml", []byte("services:\n  web:\n    image: b\n    environment: {B: '2'}\n    ports: !override ['81:80']\n")})
	_, s := convert(t, in)
	spec := s.Services[0]
	if c := spec.TaskTemplate.ContainerSpec; c.Image != "b" || !slices.Equal(c.Env, []string{"A=1", "B=2"}) || len(spec.EndpointSpec.Ports) != 1 || spec.EndpointSpec.Ports[0].PublishedPort != 81 {
		t.Errorf("it is %+v, ports %+v", c, spec.EndpointSpec.Ports)
	}
}

func TestVariablesThatAreNotSetAreNamed(t *testing.T) {
	m, _ := folder{}.stack(t, "services:\n  web:\n    image: a:1${NOT_SET_AT_ALL}\n    labels: {x: '${TAG}'}\n")
	if len(m.Warnings) != 1 || !strings.Contains(m.Warnings[0], "NOT_SET_AT_ALL") {
		t.Errorf("warnings are %q", m.Warnings)
	}
}

// What config prints can be deployed, and holds no secret.
func TestTheMergedFileIsAFile(t *testing.T) {
	t.Setenv("PASSWORD", "swordfish")
	in := folder{}.input("services:\n  web:\n    image: nginx:${TAG}\n    secrets: [s]\nsecrets:\n  s: {environment: PASSWORD}\n")
	in.Env["PASSWORD"] = "swordfish"
	m, before := convert(t, in)
	text, err := m.YAML()
	if err != nil || strings.Contains(string(text), "swordfish") || !strings.Contains(string(text), "nginx:1.27") {
		t.Fatalf("%v:\n%s", err, text)
	}
	in.Files = []File{{"merged.yml", text}}
	_, after := convert(t, in)
	if changes := Diff(before.Services, after.Services); len(changes) > 0 {
		t.Errorf("deployed again it is another: %v", changes)
	}
	raw, err := Merged(t.Context(), folder{}.input("services:\n  web:\n    image: nginx:${TAG}\n"))
	if err != nil || !strings.Contains(string(raw), "nginx:${TAG}") {
		t.Errorf("%v:\n%s", err, raw)
	}
}

// A service in the network of another one is a sidecar of it: its tasks follow the
// other's, whatever it says of their number.
func TestAServiceInAnothersNetworkIsASidecar(t *testing.T) {
	m, s := folder{}.stack(t, `
services:
  app:
    image: x
    networks: [back]
    deploy: {replicas: 3}
  agent:
    image: y
    network_mode: service:app
    scale: 2
    deploy: {mode: global}
networks:
  back:
`)
	if len(s.Networks) != 1 {
		t.Errorf("networks %v, want back alone", s.Networks)
	}
	agent := s.Services[0]
	if got := agent.Labels[setting.LabelPod]; got != "shop_app" {
		t.Errorf("it is a sidecar of %q", got)
	}
	if len(agent.TaskTemplate.Networks) != 0 || agent.Mode.Replicated == nil || agent.Mode.Replicated.Replicas != nil {
		t.Errorf("it is on %v, in mode %v", agent.TaskTemplate.Networks, agent.Mode)
	}
	var keys []string
	for _, i := range m.Ignored {
		keys = append(keys, i.String())
	}
	want := []string{"services.agent.deploy.mode: it has a task beside each of service app", "services.agent.deploy.replicas: it has a task beside each of service app"}
	if !slices.Equal(keys, want) {
		t.Errorf("ignored are %q", keys)
	}

	plan, err := s.Against(Cluster{}, Options{})
	if err != nil || plan.Services[1].Spec.Name != "shop_agent" {
		t.Errorf("the sidecar is not made after its service: %v", err)
	}
	// Of what there is the API shows the mode and the number of the other service.
	three := uint64(3)
	shown := agent
	shown.Mode = swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &three}}
	old := []swarm.Service{{ID: "1", Spec: s.Services[1]}, {ID: "2", Spec: shown}}
	plan, err = s.Against(Cluster{Services: old}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range plan.Services {
		if len(c.Changes) > 0 {
			t.Errorf("deployed again, %s changes: %v", c.Spec.Name, c.Changes)
		}
	}
}
