package docker

import (
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew")

func ptr[T any](v T) *T { return &v }

type planCase struct {
	spec  swarm.ContainerSpec
	task  swarm.TaskSpec
	ports []swarm.PortConfig
	node  bool                  // a task of a global service
	own   map[string]string     // labels of the service, without their prefix
	has   []api.GenericResource // that were set aside for the task
	nets  Networking
	pod   string // the container that it is a sidecar of; "-": it is not known
	bare  bool   // its secrets and configs are not on the node
}

// contents are the secrets and configs that cases use.
var contents = map[string]*api.Content{
	"s1": {ID: "s1", Data: []byte("s3cret")},
	"s2": {ID: "s2", Data: []byte(`{{secret "key"}} of {{.Service.Name}} on {{.Node.Hostname}}`), Template: true},
	"c1": {ID: "c1", Data: []byte(`{{secret "/etc/own"}}{{config "b"}}{{config "plain"}}{{env "A"}}{{env "NONE"}}{{.Task.Slot}}|{{secret "other"}}`), Template: true},
	"c2": {ID: "c2", Data: []byte("{{plain}}")},
}

func (c planCase) request() *Request {
	t := c.task
	if c.spec.Image == "" {
		c.spec.Image = "app"
	}
	t.ContainerSpec = &c.spec
	r := &Request{
		Cluster: "cluster1", Node: Node{ID: "node1", Hostname: "host1", OS: "linux", Architecture: "x86_64"},
		Task: &api.Task{ID: "task1", ServiceID: "service1", NodeID: "node1", Slot: 3},
		Spec: &api.ServiceSpec{Annotations: swarm.Annotations{Name: "web", Labels: map[string]string{"tier": "front"}}, TaskTemplate: t},
	}
	if c.node {
		r.Task.Slot = 0
	}
	r.Task.GenericResources = c.has
	r.Networking = c.nets
	if c.pod != "" {
		r.Task.PodOf, r.Pod = "task0", strings.TrimPrefix(c.pod, "-")
	}
	for i, f := range api.ContentRefs(t.ContainerSpec) {
		if !c.bare {
			r.Files = append(r.Files, File{Path: f.Path, Source: fmt.Sprintf("/run/files/task1/%d", i)})
		}
	}
	for k, v := range c.own {
		r.Spec.Labels[setting.Prefix+k] = v
	}
	if c.ports != nil {
		r.Spec.EndpointSpec = &swarm.EndpointSpec{Ports: c.ports}
	}
	return r
}

var planCases = map[string]planCase{
	"minimal": {},
	"sidecar": {pod: "c0ffee", spec: swarm.ContainerSpec{Hostname: "own", Hosts: []string{"10.0.0.1 db"}, DNSConfig: &swarm.DNSConfig{Nameservers: []string{"10.0.0.2"}}}},
	"global":  {node: true, spec: swarm.ContainerSpec{Hostname: "{{.Service.Name}}-{{.Task.Slot}}"}},
	"process": {spec: swarm.ContainerSpec{
		Image: "docker.io/library/nginx:1.27", Command: []string{"/bin/server"}, Args: []string{"-v", "--port=80"},
		Env: []string{"A=1", "EMPTY=", "BARE"}, Dir: "/srv", User: "1000:1000", Groups: []string{"audio"}, TTY: true, OpenStdin: true,
		ReadOnly: true, StopSignal: "SIGINT", StopGracePeriod: ptr(90500 * time.Millisecond), Init: ptr(true),
		Labels: map[string]string{"own": "label", api.LabelTaskID: "forged"}, Hostname: "web", Isolation: container.IsolationDefault,
	}},
	"files": {spec: swarm.ContainerSpec{
		Env:    []string{"A=a{{.Task.Slot}}"},
		Mounts: []mount.Mount{{Type: mount.TypeTmpfs, Target: "/run"}},
		Secrets: []*swarm.SecretReference{
			{SecretID: "s1", SecretName: "key", File: &swarm.SecretReferenceFileTarget{Name: "key", UID: "0", GID: "0", Mode: 0o444}},
			{SecretID: "s2", SecretName: "other", File: &swarm.SecretReferenceFileTarget{Name: "/etc/own", UID: "5", GID: "6", Mode: 0o400}},
		},
		Configs: []*swarm.ConfigReference{
			{ConfigID: "c1", ConfigName: "templated", File: &swarm.ConfigReferenceFileTarget{Name: "a", UID: "7", GID: "8", Mode: 0o440}},
			{ConfigID: "c2", ConfigName: "plain", File: &swarm.ConfigReferenceFileTarget{Name: "b", UID: "0", GID: "0", Mode: 0o444}},
		},
	}},
	"arguments": {spec: swarm.ContainerSpec{Args: []string{"serve"}}},
	"digest":    {spec: swarm.ContainerSpec{Image: "registry.test:5000/team/app:2@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}},
	"no-grace":  {spec: swarm.ContainerSpec{StopGracePeriod: ptr(time.Duration(0))}},
	"templates": {spec: swarm.ContainerSpec{
		Hostname: "{{.Node.Hostname}}-{{.Task.Slot}}",
		Env:      []string{"S={{.Service.Name}}/{{.Service.ID}}/{{.Service.Labels.tier}}", "N={{.Node.ID}}/{{.Node.Platform.OS}}/{{.Node.Platform.Architecture}}", "T={{.Task.ID}} {{.Task.Name}}", `J={{join "-" "a" "b"}}`},
		Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: "data-{{.Task.Slot}}", Target: "/data/{{.Service.Name}}", VolumeOptions: &mount.VolumeOptions{
			Labels: map[string]string{"slot": "{{.Task.Slot}}"}, DriverConfig: &mount.Driver{Name: "local", Options: map[string]string{"o": "{{.Node.Hostname}}"}},
		}}},
	}},
	"mounts": {spec: swarm.ContainerSpec{Mounts: []mount.Mount{
		{Type: mount.TypeBind, Source: "/etc/app", Target: "/etc/app", ReadOnly: true, BindOptions: &mount.BindOptions{Propagation: mount.PropagationRSlave, NonRecursive: true}},
		{Type: mount.TypeBind, Source: "/srv", Target: "/srv", ReadOnly: true, Consistency: mount.ConsistencyCached, BindOptions: &mount.BindOptions{CreateMountpoint: true, ReadOnlyNonRecursive: true}},
		{Type: mount.TypeBind, Source: "/opt", Target: "/opt", ReadOnly: true, BindOptions: &mount.BindOptions{Propagation: mount.PropagationRPrivate, ReadOnlyForceRecursive: true}},
		{Type: mount.TypeVolume, Source: "data", Target: "/data", VolumeOptions: &mount.VolumeOptions{NoCopy: true, Subpath: "part"}},
		{Type: mount.TypeVolume, Target: "/anonymous"},
		{Type: mount.TypeTmpfs, Target: "/tmp", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 1 << 20, Mode: 0o1777, Options: [][]string{{"noexec"}}}},
	}}},
	"nfs": {spec: swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: "share", Target: "/share", VolumeOptions: &mount.VolumeOptions{
		NoCopy: true, Labels: map[string]string{"a": "b"}, DriverConfig: &mount.Driver{Name: "local", Options: map[string]string{"type": "nfs", "o": "addr=10.0.0.1,rw,nfsvers=4", "device": ":/exports/share"}},
	}}}}},
	"own-settings": {own: map[string]string{
		"privileged": "true", "devices": "/dev/fuse,/dev/a:/dev/b:r", "gpus": `driver=nvidia,count=2,capabilities=compute,"options=a=b"`, "pid": "host", "ipc": "shareable", "shm-size": "64m", "self-stop": "10s",
	}},
	"host-ip": {own: map[string]string{"host-ip": "8080=127.0.0.1,53/udp=::1"}, ports: []swarm.PortConfig{
		{TargetPort: 80, PublishedPort: 8080, PublishMode: swarm.PortConfigPublishModeHost, Protocol: swarm.PortConfigProtocolTCP},
		{TargetPort: 53, PublishedPort: 53, PublishMode: swarm.PortConfigPublishModeHost, Protocol: swarm.PortConfigProtocolUDP},
		{TargetPort: 53, PublishedPort: 53, PublishMode: swarm.PortConfigPublishModeHost},
	}},
	"gpus-by-name": {own: map[string]string{"gpus": `"device=0,GPU-7"`}},
	"generic-resources": {spec: swarm.ContainerSpec{Env: []string{"A=1"}}, has: []api.GenericResource{
		{NamedResourceSpec: &swarm.NamedGenericResource{Kind: "gpu", Value: "GPU-1"}},
		{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: "SSD", Value: 3}},
		{NamedResourceSpec: &swarm.NamedGenericResource{Kind: "gpu", Value: "GPU-2"}},
	}},
	"no-network":     {task: swarm.TaskSpec{Networks: []swarm.NetworkAttachmentConfig{{Target: "none"}}}},
	"no-healthcheck": {spec: swarm.ContainerSpec{Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}}},
	"network": {
		spec: swarm.ContainerSpec{Hosts: []string{"10.0.0.1 db database", "fe80::1 six", "nonsense"}, DNSConfig: &swarm.DNSConfig{Nameservers: []string{"1.1.1.1"}, Search: []string{"test"}, Options: []string{"ndots:1"}}, Sysctls: map[string]string{"net.core.somaxconn": "1024"}},
		task: swarm.TaskSpec{Networks: []swarm.NetworkAttachmentConfig{{Target: "host"}}},
	},
	"one-network": {task: swarm.TaskSpec{Networks: []swarm.NetworkAttachmentConfig{{Target: "back"}}}, nets: onNetworks("back")},
	"networks": {
		nets:  onNetworks("back", "front", "ingress"),
		spec:  swarm.ContainerSpec{DNSConfig: &swarm.DNSConfig{Nameservers: []string{"1.1.1.1"}}},
		task:  swarm.TaskSpec{Networks: []swarm.NetworkAttachmentConfig{{Target: "front"}, {Target: "back"}}},
		ports: []swarm.PortConfig{{TargetPort: 80, PublishedPort: 8080, PublishMode: swarm.PortConfigPublishModeHost}},
	},
	"bridge-and-ingress": {nets: onNetworks("ingress"), task: swarm.TaskSpec{Networks: []swarm.NetworkAttachmentConfig{{Target: "bridge"}}}},
	"ports": {ports: []swarm.PortConfig{
		{TargetPort: 80, PublishedPort: 8080, PublishMode: swarm.PortConfigPublishModeHost, Protocol: swarm.PortConfigProtocolTCP},
		{TargetPort: 80, PublishedPort: 8081, PublishMode: swarm.PortConfigPublishModeHost},
		{TargetPort: 53, PublishMode: swarm.PortConfigPublishModeHost, Protocol: swarm.PortConfigProtocolUDP},
		{TargetPort: 443, PublishedPort: 443, PublishMode: swarm.PortConfigPublishModeIngress},
	}},
	"resources": {
		spec: swarm.ContainerSpec{Ulimits: []*container.Ulimit{{Name: "nofile", Soft: 10, Hard: 20}}, OomScoreAdj: 300},
		task: swarm.TaskSpec{Resources: &swarm.ResourceRequirements{
			Limits:       &swarm.Limit{NanoCPUs: 5e8, MemoryBytes: 64 << 20, Pids: 100},
			Reservations: &swarm.Resources{NanoCPUs: 1e8, MemoryBytes: 32 << 20},
		}},
	},
	"small-reservation": {task: swarm.TaskSpec{Resources: &swarm.ResourceRequirements{Reservations: &swarm.Resources{MemoryBytes: 1 << 20}}}},
	"security": {spec: swarm.ContainerSpec{CapabilityAdd: []string{"NET_ADMIN"}, CapabilityDrop: []string{"ALL"}, Privileges: &swarm.Privileges{
		CredentialSpec: &swarm.CredentialSpec{File: "spec.json"}, SELinuxContext: &swarm.SELinuxContext{User: "u", Role: "r", Type: "t", Level: "l"},
		Seccomp: &swarm.SeccompOpts{Mode: swarm.SeccompModeCustom, Profile: []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`)}, AppArmor: &swarm.AppArmorOpts{Mode: swarm.AppArmorModeDisabled}, NoNewPrivileges: true,
	}}},
	"unconfined": {spec: swarm.ContainerSpec{Privileges: &swarm.Privileges{SELinuxContext: &swarm.SELinuxContext{Disable: true}, Seccomp: &swarm.SeccompOpts{Mode: swarm.SeccompModeUnconfined}, AppArmor: &swarm.AppArmorOpts{Mode: swarm.AppArmorModeDefault}}}},
	"health-and-log": {
		spec: swarm.ContainerSpec{Healthcheck: &container.HealthConfig{Test: []string{"CMD", "/probe"}, Interval: time.Second, Timeout: 2 * time.Second, Retries: 3, StartPeriod: 4 * time.Second, StartInterval: 500 * time.Millisecond}},
		task: swarm.TaskSpec{LogDriver: &swarm.Driver{Name: "json-file", Options: map[string]string{"max-size": "1m"}}},
	},
}

// onNetworks gives a task the fifth address of each network: of IPv4, and in all
// but the first of IPv6 too.
func onNetworks(names ...string) Networking {
	n := Networking{DNS: []string{"10.0.0.254"}}
	for i, name := range names {
		e := EndpointPlan{Name: name, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i), 5})}, MAC: net.HardwareAddr{2, 0x42, 10, 0, byte(i), 5}}
		if i > 0 {
			e.Addrs = append(e.Addrs, netip.MustParseAddr("fd00::5"))
		}
		n.Networks = append(n.Networks, e)
	}
	return n
}

// An engine of old takes one network when a container is made, and no hardware
// address but the container's.
func TestAnOldEngineIsToldOfOneNetworkAtATime(t *testing.T) {
	p, err := MakePlan(planCases["networks"].request())
	if err != nil {
		t.Fatal(err)
	}
	if first, rest := p.forVersion("1.44"); len(first.EndpointsConfig) != 3 || first.EndpointsConfig["front"].MacAddress == "" || len(rest) > 0 {
		t.Errorf("a new engine is told %+v, then %+v", first, rest)
	}
	first, rest := p.forVersion("1.43")
	if e := first.EndpointsConfig["back"]; len(first.EndpointsConfig) != 1 || e == nil || e.MacAddress != "" || e.IPAMConfig.IPv4Address != "10.0.0.5" {
		t.Errorf("an old engine is told %+v first", first)
	}
	if len(rest) != 2 || rest[0].network != "front" || rest[1].network != "ingress" || rest[1].settings.MacAddress != "" || rest[1].settings.IPAMConfig.IPv6Address != "fd00::5" {
		t.Errorf("and then %+v", rest)
	}
	if p.Networking.EndpointsConfig["back"].MacAddress == "" {
		t.Error("the plan itself has changed")
	}
}

// TestMakePlan compares every field of a spec with what the engine gets: see
// testdata/plan. Run with -rewrite to write those files anew.
func TestMakePlan(t *testing.T) {
	for name, c := range planCases {
		t.Run(name, func(t *testing.T) {
			before, _ := json.Marshal(c.request())
			r := c.request()
			p, err := MakePlan(r)
			if err != nil {
				t.Fatal(err)
			}
			if after, _ := json.Marshal(r); string(after) != string(before) {
				t.Errorf("the request was changed:\n%s\n%s", before, after)
			}
			got := golden(t, p)
			file := filepath.Join("testdata", "plan", name+".json")
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs:\n%s", file, got)
			}
		})
	}
}

// golden is a plan without what is not set.
func golden(t *testing.T, p *Plan) string {
	data, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	v = withoutEmpty(v)
	data, err = json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data) + "\n"
}

func withoutEmpty(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	for k, x := range m {
		switch x := withoutEmpty(x).(type) {
		case nil, bool:
			if x == nil || x == false {
				delete(m, k)
			}
		case string:
			if x == "" && !strings.HasPrefix(k, "com.") {
				delete(m, k)
			}
		case float64:
			if x == 0 && k != "StopTimeout" {
				delete(m, k)
			}
		case []any:
			if len(x) == 0 {
				delete(m, k)
			}
		case map[string]any:
			if len(x) == 0 && k != "80/tcp" && k != "53/udp" && k != "bridge" {
				delete(m, k)
			}
		}
	}
	return m
}

func TestMakePlanRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		planCase
		want string
		code api.Code
	}{
		"files":                {planCase{bare: true, spec: swarm.ContainerSpec{Secrets: []*swarm.SecretReference{{SecretName: "key"}}}}, `0 of 1 secrets and configs are on this node`, api.CodeInvalid},
		"npipe":                {planCase{spec: swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeNamedPipe, Source: "x", Target: "y"}}}}, `mount "y": type npipe exists on Windows only`, api.CodeUnsupported},
		"cluster":              {planCase{spec: swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeCluster, Source: "x", Target: "/y"}}}}, `mount "/y": cluster volumes are not supported yet`, api.CodeUnsupported},
		"relative":             {planCase{spec: swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeVolume, Target: "data"}}}}, `mount target "data": must be an absolute path`, api.CodeInvalid},
		"bind name":            {planCase{spec: swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeBind, Source: "data", Target: "/d"}}}}, `mount "/d": source "data" of a bind must be an absolute path`, api.CodeInvalid},
		"volume path":          {planCase{spec: swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: "/data", Target: "/d"}}}}, `mount "/d": source "/data" of a volume must be a name: use type bind for a path`, api.CodeInvalid},
		"tmpfs source":         {planCase{spec: swarm.ContainerSpec{Mounts: []mount.Mount{{Type: mount.TypeTmpfs, Source: "x", Target: "/d"}}}}, `mount "/d": a tmpfs has no source, but "x" is given`, api.CodeInvalid},
		"mount type":           {planCase{spec: swarm.ContainerSpec{Mounts: []mount.Mount{{Type: "floppy", Target: "/d"}}}}, `mount "/d": unknown type "floppy": use bind, volume or tmpfs`, api.CodeInvalid},
		"network":              {planCase{task: swarm.TaskSpec{Networks: []swarm.NetworkAttachmentConfig{{Target: "backend"}}}}, `network "backend": the task has no address in a network of the cluster of that name, and of the engine's own it can use only one of host, none and bridge`, api.CodeUnsupported},
		"host and more":        {planCase{nets: onNetworks("back"), task: swarm.TaskSpec{Networks: []swarm.NetworkAttachmentConfig{{Target: "back"}, {Target: "host"}}}}, `network "host": a task in it cannot be in network "back" of the cluster too: leave one of them out`, api.CodeInvalid},
		"lone sidecar":         {planCase{pod: "-"}, `a sidecar is in the network namespace of the task that it lives with, task task0, and in no network of its own`, api.CodeInvalid},
		"sidecar on a network": {planCase{pod: "c0ffee", nets: onNetworks("back")}, `a sidecar is in the network namespace of the task that it lives with, task task0, and in no network of its own`, api.CodeInvalid},
		"own label":            {planCase{own: map[string]string{"priviledged": "true"}}, `label "swarmctl.priviledged": this version of swarmctl knows no such label: it knows swarmctl.canary, swarmctl.canary.promote-after, swarmctl.depends-on, swarmctl.devices, swarmctl.gpus, swarmctl.host-ip, swarmctl.ipc, swarmctl.pid, swarmctl.pod, swarmctl.privileged, swarmctl.rebalance, swarmctl.reschedule.after, swarmctl.self-stop, swarmctl.shm-size, swarmctl.stopped, swarmctl.strategy, swarmctl.update.progress-deadline, swarmctl.volume.pin; other labels must not begin with "swarmctl."`, api.CodeInvalid},
		"template":             {planCase{spec: swarm.ContainerSpec{Env: []string{"A={{.Nope}}"}}}, `env A: template "{{.Nope}}": template: expansion:1:2: executing "expansion" at <.Nope>: can't evaluate field Nope in type *expand.Facts`, api.CodeInvalid},
	} {
		_, err := MakePlan(c.request())
		if err == nil || err.Error() != c.want || api.CodeOf(err) != c.code {
			t.Errorf("%s: %v (%s), want %s (%s)", name, err, api.CodeOf(err), c.want, c.code)
		}
	}
	r := planCase{}.request()
	r.Spec.TaskTemplate.ContainerSpec.Image = ""
	if _, err := MakePlan(r); err == nil || err.Error() != "the spec names no image" {
		t.Errorf("no image: %v", err)
	}
	r.Spec.TaskTemplate.ContainerSpec, r.Spec.TaskTemplate.Runtime = nil, swarm.RuntimePlugin
	if _, err := MakePlan(r); err == nil || err.Error() != `runtime "plugin": only services of containers are supported` {
		t.Errorf("plugin: %v", err)
	}
}
