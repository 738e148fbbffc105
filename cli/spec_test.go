package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/urfave/cli/v2"
)

// parsed runs a command line through the normaliser and urfave/cli, and
// returns what the command was given.
func parsed(t *testing.T, flags []*opt, rest bool, args ...string) (given, []string) {
	t.Helper()
	var g given
	var left []string
	s := &streams{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	v := verb{name: "try", flags: flags, max: -1, rest: rest, do: func(_ context.Context, c *call) error {
		g, left = c.flags, c.args
		return nil
	}}
	app := &cli.App{Name: progName, HideHelp: true, HideVersion: true, Commands: []*cli.Command{App{}.command(s, v)}}
	l, err := normalise(app, append([]string{"try"}, args...))
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	if err := app.Run(l.argv()); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return g, left
}

func TestFlagsStandAnywhereAndCombine(t *testing.T) {
	flags := []*opt{
		{name: "quiet", short: "q", kind: boolKind}, {name: "tty", short: "t", kind: boolKind},
		{name: "filter", short: "f", kind: listKind}, {name: "name", kind: stringKind},
	}
	tests := []struct {
		line, rest string
		takesRest  bool
		want       given
		args       []string
	}{
		{line: "a -q b", want: given{"quiet": {true}}, args: []string{"a", "b"}},
		{line: "-qf x", want: given{"quiet": {true}, "filter": {"x"}}, args: []string{}},
		{line: "-qtfx -f=y -f z", want: given{"quiet": {true}, "tty": {true}, "filter": {"x", "y", "z"}}, args: []string{}},
		{line: "--filter=a=b,c=d a --filter e", want: given{"filter": {"a=b,c=d", "e"}}, args: []string{"a"}},
		{line: "-q=false --tty=true", want: given{"quiet": {false}, "tty": {true}}, args: []string{}},
		{line: "--name a --name b", want: given{"name": {"b"}}, args: []string{}},
		{line: "--name -q a", want: given{"name": {"-q"}}, args: []string{"a"}},
		{line: "a -- -q --name", want: given{}, args: []string{"a", "-q", "--name"}},
		{line: "-q - a", want: given{"quiet": {true}}, args: []string{"-", "a"}},
		{line: "-q image cmd -q --name x -- help", takesRest: true, want: given{"quiet": {true}}, args: []string{"image", "cmd", "-q", "--name", "x", "--", "help"}},
		{line: "help", want: given{}, args: []string{"help"}},
	}
	for _, tt := range tests {
		t.Run(tt.line, func(t *testing.T) {
			g, args := parsed(t, flags, tt.takesRest, strings.Fields(tt.line)...)
			if d := cmp.Diff(tt.want, g); d != "" {
				t.Errorf("flags (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.args, args); d != "" {
				t.Errorf("arguments (-want +got):\n%s", d)
			}
		})
	}
}

// base is what service create makes of an image alone.
func base() swarm.ServiceSpec {
	no := false
	return swarm.ServiceSpec{
		Annotations: swarm.Annotations{Labels: map[string]string{}},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: "app:1", Labels: map[string]string{}, Init: &no, DNSConfig: &swarm.DNSConfig{}, Sysctls: map[string]string{}},
			Resources:     &swarm.ResourceRequirements{Limits: &swarm.Limit{}, Reservations: &swarm.Resources{}},
			Placement:     &swarm.Placement{},
		},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{}},
		EndpointSpec: &swarm.EndpointSpec{Mode: swarm.ResolutionModeVIP},
	}
}

func as[T any](v T) *T { return &v }

func TestNewSpec(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want func(*swarm.ServiceSpec, *swarm.ContainerSpec)
	}{
		{"an image alone", nil, func(*swarm.ServiceSpec, *swarm.ContainerSpec) {}},
		{"name, labels, replicas", []string{"--name", "web", "-l", "a=b", "--label=c", "--container-label", "d=e=f", "--replicas", "0x3"}, func(s *swarm.ServiceSpec, c *swarm.ContainerSpec) {
			s.Name, s.Labels, c.Labels = "web", map[string]string{"a": "b", "c": ""}, map[string]string{"d": "e=f"}
			s.Mode.Replicated.Replicas = as(uint64(3))
		}},
		{"the container", []string{"-w", "/w", "-u", "1:2", "--hostname", "h-{{.Node.Hostname}}", "-t", "--read-only", "--init", "--stop-signal", "INT", "--stop-grace-period", "1m30s", "--entrypoint", `sh -c 'a b' "c\"d"`, "--group", "g", "--isolation", "default", "--oom-score-adj", "-5"}, func(_ *swarm.ServiceSpec, c *swarm.ContainerSpec) {
			c.Dir, c.User, c.Hostname, c.TTY, c.ReadOnly, c.Init = "/w", "1:2", "h-{{.Node.Hostname}}", true, true, as(true)
			c.StopSignal, c.StopGracePeriod, c.Command, c.Groups = "INT", as(90*time.Second), []string{"sh", "-c", "a b", `c"d`}, []string{"g"}
			c.Isolation, c.OomScoreAdj = container.IsolationDefault, -5
		}},
		{"resources", []string{"--limit-cpu", ".5", "--limit-memory", "64m", "--limit-pids", "9", "--reserve-cpu", "3/2", "--reserve-memory", "1g", "--generic-resource", "gpu=2"}, func(s *swarm.ServiceSpec, _ *swarm.ContainerSpec) {
			s.TaskTemplate.Resources.Limits = &swarm.Limit{NanoCPUs: 5e8, MemoryBytes: 64 << 20, Pids: 9}
			s.TaskTemplate.Resources.Reservations = &swarm.Resources{NanoCPUs: 15e8, MemoryBytes: 1 << 30, GenericResources: []swarm.GenericResource{{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: "gpu", Value: 2}}}}
		}},
		{"one restart flag brings the defaults of the others", []string{"--restart-condition", "on-failure"}, func(s *swarm.ServiceSpec, _ *swarm.ContainerSpec) {
			s.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: "on-failure", Delay: as(5 * time.Second), MaxAttempts: as(uint64(0))}
		}},
		{"restarts", []string{"--restart-delay", "1s", "--restart-max-attempts", "3", "--restart-window", "2m"}, func(s *swarm.ServiceSpec, _ *swarm.ContainerSpec) {
			s.TaskTemplate.RestartPolicy = &swarm.RestartPolicy{Condition: "any", Delay: as(time.Second), MaxAttempts: as(uint64(3)), Window: as(2 * time.Minute)}
		}},
		{"updates and rollbacks", []string{"--update-parallelism", "0", "--update-delay", "1s", "--rollback-order", "start-first", "--rollback-max-failure-ratio", ".5"}, func(s *swarm.ServiceSpec, _ *swarm.ContainerSpec) {
			s.UpdateConfig = &swarm.UpdateConfig{Delay: time.Second, Monitor: 5 * time.Second, FailureAction: "pause", Order: "stop-first"}
			s.RollbackConfig = &swarm.UpdateConfig{Parallelism: 1, Monitor: 5 * time.Second, FailureAction: "pause", Order: "start-first", MaxFailureRatio: .5}
		}},
		{"placement", []string{"--constraint", "node.role==worker", "--constraint", "node.labels.a!=b", "--placement-pref", "spread=node.labels.zone", "--replicas-max-per-node", "2"}, func(s *swarm.ServiceSpec, _ *swarm.ContainerSpec) {
			s.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{"node.role==worker", "node.labels.a!=b"}, MaxReplicas: 2,
				Preferences: []swarm.PlacementPreference{{Spread: &swarm.SpreadOver{SpreadDescriptor: "node.labels.zone"}}}}
		}},
		{"mounts", []string{"--mount", "type=bind,src=/a,dst=/b,ro,bind-propagation=rslave", "--mount", "src=v,target=/v,volume-label=a=b,volume-driver=d,volume-opt=o=p", "--mount", "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770"}, func(_ *swarm.ServiceSpec, c *swarm.ContainerSpec) {
			c.Mounts = []mount.Mount{
				{Type: mount.TypeBind, Source: "/a", Target: "/b", ReadOnly: true, BindOptions: &mount.BindOptions{Propagation: mount.PropagationRSlave}},
				{Type: mount.TypeVolume, Source: "v", Target: "/v", VolumeOptions: &mount.VolumeOptions{Labels: map[string]string{"a": "b"}, DriverConfig: &mount.Driver{Name: "d", Options: map[string]string{"o": "p"}}}},
				{Type: mount.TypeTmpfs, Target: "/t", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 1 << 20, Mode: 0o1770}},
			}
		}},
		{"ports", []string{"-p80:8080", "-p", "53:53/udp", "-p", "90-91:90-91", "--publish", "published=1,target=2,mode=host,protocol=tcp"}, func(s *swarm.ServiceSpec, _ *swarm.ContainerSpec) {
			in := swarm.PortConfigPublishModeIngress
			s.EndpointSpec.Ports = []swarm.PortConfig{
				{Protocol: "tcp", PublishedPort: 80, TargetPort: 8080, PublishMode: in}, {Protocol: "udp", PublishedPort: 53, TargetPort: 53, PublishMode: in},
				{Protocol: "tcp", PublishedPort: 90, TargetPort: 90, PublishMode: in}, {Protocol: "tcp", PublishedPort: 91, TargetPort: 91, PublishMode: in},
				{Protocol: "tcp", PublishedPort: 1, TargetPort: 2, PublishMode: "host"},
			}
		}},
		{"names and files", []string{"--network", "front", "--network", "name=back,alias=db,driver-opt=k=v", "--secret", "pw", "--secret", "source=pw,target=p2,uid=5,mode=0400", "--config", "cfg", "--dns", "1.1.1.1", "--dns-search", "example.com", "--dns-option", "ndots:1", "--host", "a:1.2.3.4", "--host", "b=::1"}, func(s *swarm.ServiceSpec, c *swarm.ContainerSpec) {
			s.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: "front"}, {Target: "back", Aliases: []string{"db"}, DriverOpts: map[string]string{"k": "v"}}}
			c.Secrets = []*swarm.SecretReference{
				{SecretName: "pw", File: &swarm.SecretReferenceFileTarget{Name: "pw", UID: "0", GID: "0", Mode: 0o444}},
				{SecretName: "pw", File: &swarm.SecretReferenceFileTarget{Name: "p2", UID: "5", GID: "0", Mode: 0o400}},
			}
			c.Configs = []*swarm.ConfigReference{{ConfigName: "cfg", File: &swarm.ConfigReferenceFileTarget{Name: "cfg", UID: "0", GID: "0", Mode: 0o444}}}
			c.DNSConfig = &swarm.DNSConfig{Nameservers: []string{"1.1.1.1"}, Search: []string{"example.com"}, Options: []string{"ndots:1"}}
			c.Hosts = []string{"1.2.3.4 a", "::1 b"}
		}},
		{"health", []string{"--health-cmd", "true", "--health-interval", "1s", "--health-retries", "3"}, func(_ *swarm.ServiceSpec, c *swarm.ContainerSpec) {
			c.Healthcheck = &container.HealthConfig{Test: []string{"CMD-SHELL", "true"}, Interval: time.Second, Retries: 3}
		}},
		{"no health", []string{"--no-healthcheck"}, func(_ *swarm.ServiceSpec, c *swarm.ContainerSpec) {
			c.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
		}},
		{"kernel", []string{"--sysctl", "net.core.somaxconn=9", "--cap-add", "net_admin,x", "--cap-add", "NET_ADMIN", "--cap-drop", "CAP_NET_ADMIN", "--cap-drop", "all", "--ulimit", "nofile=1:2", "--ulimit", "core=3", "--ulimit", "nofile=4"}, func(_ *swarm.ServiceSpec, c *swarm.ContainerSpec) {
			c.Sysctls = map[string]string{"net.core.somaxconn": "9"}
			c.CapabilityAdd, c.CapabilityDrop = []string{"CAP_NET_ADMIN", "CAP_NET_ADMIN,X"}, []string{"ALL"}
			c.Ulimits = []*container.Ulimit{{Name: "core", Soft: 3, Hard: 3}, {Name: "nofile", Soft: 4, Hard: 4}}
		}},
		{"logs", []string{"--log-driver", "json-file", "--log-opt", "max-size=1m"}, func(s *swarm.ServiceSpec, _ *swarm.ContainerSpec) {
			s.TaskTemplate.LogDriver = &swarm.Driver{Name: "json-file", Options: map[string]string{"max-size": "1m"}}
		}},
		{"what Docker has no field for", []string{"--privileged", "--device", "/dev/fuse", "--device", "/dev/a:/dev/b:r", "--gpus", `"device=0,2"`, "--pid", "host", "--ipc", "shareable", "--shm-size", "1m", "-l", "a=b"}, func(s *swarm.ServiceSpec, _ *swarm.ContainerSpec) {
			s.Labels = map[string]string{"a": "b", "swarmctl.privileged": "true", "swarmctl.devices": "/dev/fuse:/dev/fuse:rwm,/dev/a:/dev/b:r", "swarmctl.gpus": `"device=0,2"`, "swarmctl.pid": "host", "swarmctl.ipc": "shareable", "swarmctl.shm-size": "1048576"}
		}},
		{"how tasks come and go", []string{"--update-canary", "10%", "--update-canary-promote-after", "15m", "--update-progress-deadline", "0s", "--reschedule-after", "5m", "--rebalance", "2m", "--strategy", "capacity", "--self-stop", "10s", "--depends-on", "db:healthy,cache"}, func(s *swarm.ServiceSpec, _ *swarm.ContainerSpec) {
			s.Labels = map[string]string{
				"swarmctl.canary": "10%", "swarmctl.canary.promote-after": "15m", "swarmctl.update.progress-deadline": "0s", "swarmctl.reschedule.after": "5m",
				"swarmctl.rebalance": "2m", "swarmctl.strategy": "capacity", "swarmctl.self-stop": "10s", "swarmctl.depends-on": "db:healthy,cache",
			}
		}},
		{"a sidecar", []string{"--pod", "app"}, func(s *swarm.ServiceSpec, _ *swarm.ContainerSpec) {
			s.Labels = map[string]string{"swarmctl.pod": "app"}
		}},
		{"delays of no time", []string{"--update-canary-promote-after", "0", "--reschedule-after", "0s", "--rebalance", "0m", "--self-stop", "0"}, func(*swarm.ServiceSpec, *swarm.ContainerSpec) {}},
		{"global", []string{"--mode", "global", "--endpoint-mode", "DNSRR"}, func(s *swarm.ServiceSpec, _ *swarm.ContainerSpec) {
			s.Mode, s.EndpointSpec.Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}}, "dnsrr"
		}},
		{"a job", []string{"--mode", "replicated-job", "--replicas", "4"}, func(s *swarm.ServiceSpec, _ *swarm.ContainerSpec) {
			s.Mode = swarm.ServiceMode{ReplicatedJob: &swarm.ReplicatedJob{MaxConcurrent: as(uint64(4)), TotalCompletions: as(uint64(4))}}
		}},
		{"a credential spec", []string{"--credential-spec", "config://c"}, func(_ *swarm.ServiceSpec, c *swarm.ContainerSpec) {
			c.Privileges = &swarm.Privileges{CredentialSpec: &swarm.CredentialSpec{Config: "c"}}
			c.Configs = []*swarm.ConfigReference{{ConfigName: "c", Runtime: &swarm.ConfigReferenceRuntimeTarget{}}}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, _ := parsed(t, createFlags(), true, tt.args...)
			got, err := newSpec(g, "app:1", nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := base()
			tt.want(&want, want.TaskTemplate.ContainerSpec)
			if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestChangeSpec(t *testing.T) {
	tests := []struct {
		name   string
		create string
		update string
		want   string // the flags that would have made the changed spec
		err    string
	}{
		{name: "nothing", create: "--name a -l b=c", update: "", want: "--name a -l b=c"},
		{name: "labels", create: "-l a=1 -l b=2", update: "--label-rm a --label-add c=3 --label-add b=4", want: "-l b=4 -l c=3"},
		{name: "container labels", create: "--container-label a=1", update: "--container-label-rm a", want: ""},
		{name: "constraints", create: "--constraint b --constraint a", update: "--constraint-add c --constraint-rm b", want: "--constraint a --constraint c"},
		{name: "preferences", create: "--placement-pref spread=a", update: "--placement-pref-rm spread=a --placement-pref-add spread=b", want: "--placement-pref spread=b"},
		{name: "mounts", create: "--mount src=a,dst=/a --mount src=b,dst=/b", update: "--mount-add src=z,dst=/a --mount-rm /b --mount-add src=c,dst=/c", want: "--mount src=c,dst=/c --mount src=z,dst=/a"},
		{name: "a mount twice", update: "--mount-add src=z,dst=/a --mount-add src=y,dst=/a", err: "duplicate mount target"},
		{name: "ports", create: "-p 80:80 -p 53:53/udp", update: "--publish-rm 80 --publish-add 81:80", want: "-p 53:53/udp -p 81:80"},
		{name: "a port of another protocol stays", create: "-p 53:53/udp", update: "--publish-rm 53", want: "-p 53:53/udp"},
		{name: "a port of one address", create: "-p 127.0.0.1:80:80 -p [::1]:90-91:90-91/udp", update: "--publish-rm 80 --publish-add 10.0.0.1:81:81 --publish-rm 90/udp", want: "-p published=81,target=81,host_ip=10.0.0.1 -p [::1]:91:91/udp"},
		{name: "a port of one address is opened to all", create: "-p 127.0.0.1:80:80", update: "--publish-rm 80 --publish-add 80:80", want: "-p 80:80"},
		{name: "hosts", create: "--host a:1.1.1.1 --host b:1.1.1.1 --host b:2.2.2.2", update: "--host-rm a --host-rm b:2.2.2.2 --host-add c:3.3.3.3", want: "--host b:1.1.1.1 --host c:3.3.3.3"},
		{name: "dns", create: "--dns 1.1.1.1 --dns-search b.c", update: "--dns-add 2.2.2.2 --dns-rm 1.1.1.1 --dns-search-add a.b --dns-option-add x", want: "--dns 2.2.2.2 --dns-search a.b --dns-search b.c --dns-option x"},
		{name: "groups", create: "--group b --group a", update: "--group-rm b --group-add c", want: "--group a --group c"},
		{name: "secrets", create: "--secret a --secret b", update: "--secret-rm a --secret-add c", want: "--secret b --secret c"},
		{name: "configs", create: "--config a --config b", update: "--config-rm a --config-add c", want: "--config b --config c"},
		{name: "sysctls", create: "--sysctl a=1 --sysctl b=2", update: "--sysctl-rm a --sysctl-add c=3", want: "--sysctl b=2 --sysctl c=3"},
		{name: "ulimits", create: "--ulimit core=1 --ulimit nofile=2", update: "--ulimit-rm core --ulimit-add nofile=3", want: "--ulimit nofile=3"},
		{name: "generic resources", create: "--generic-resource gpu=1 --generic-resource ssd=2", update: "--generic-resource-rm gpu --generic-resource-add ssd=3", want: "--generic-resource ssd=3"},
		{name: "a generic resource that is not there", update: "--generic-resource-rm gpu", err: "could not find generic-resource `gpu` to remove it"},
		{name: "resources", create: "--limit-memory 1g --reserve-cpu 1", update: "--limit-cpu 2 --reserve-cpu 3", want: "--limit-memory 1g --limit-cpu 2 --reserve-cpu 3"},
		{name: "restarts keep what is not named", create: "--restart-delay 1s --restart-condition none", update: "--restart-max-attempts 4", want: "--restart-delay 1s --restart-condition none --restart-max-attempts 4"},
		{name: "restarts from nothing", update: "--restart-window 1m", want: "--restart-window 1m"},
		{name: "updates", create: "--update-delay 1s", update: "--update-parallelism 3 --rollback-delay 2s", want: "--update-delay 1s --update-parallelism 3 --rollback-delay 2s"},
		{name: "replicas", create: "--replicas 1", update: "--replicas 5 --replicas-max-per-node 2", want: "--replicas 5 --replicas-max-per-node 2"},
		{name: "completions", create: "--mode replicated-job --replicas 2", update: "--replicas 5 --max-concurrent 1", want: "--mode replicated-job --replicas 5 --max-concurrent 1"},
		{name: "replicas of a global job", create: "--mode global-job", update: "--replicas 5", err: "replicas can only be used with replicated mode"},
		{name: "concurrency of a service", update: "--max-concurrent 5", err: "max-concurrent can only be used with replicated-job mode"},
		{name: "replicas of a global service", create: "--mode global", update: "--replicas 5", err: "replicas can only be used with replicated mode"},
		{name: "the container", create: "-w /a -u x", update: "-w /b --user= --hostname h -t --init --read-only --stop-signal INT --stop-grace-period 1s", want: "-w /b --hostname h -t --init --read-only --stop-signal INT --stop-grace-period 1s"},
		{name: "health off and on", create: "--no-healthcheck", update: "--health-cmd a --health-interval 1s", want: "--health-cmd a --health-interval 1s"},
		{name: "health off", create: "--health-cmd a", update: "--no-healthcheck", want: "--no-healthcheck"},
		{name: "health in two minds", update: "--health-cmd a --no-healthcheck", err: "--no-healthcheck conflicts with --health-* options"},
		{name: "a dropped capability added again is only no longer dropped", create: "--cap-drop NET_RAW", update: "--cap-add net_raw", want: ""},
		{name: "capabilities", create: "--cap-add NET_RAW", update: "--cap-add SYS_TIME --cap-drop NET_RAW --cap-drop CHOWN", want: "--cap-add SYS_TIME --cap-drop CHOWN"},
		{name: "capabilities from scratch", create: "--cap-add NET_RAW --cap-drop CHOWN", update: "--cap-add RESET --cap-add KILL", want: "--cap-add KILL --cap-drop CHOWN"},
		{name: "networks", create: "--network a", update: "--network-add b", want: "--network a --network b"},
		{name: "logs", update: "--log-driver none", want: "--log-driver none"},
		{name: "log options alone", update: "--log-opt a=b", err: "--log-opt needs --log-driver: which options there are depends on the driver"},
		{name: "settings taken away", create: "--privileged --gpus all --pid host --ipc host --shm-size 1m -l a=b", update: "--privileged=false --gpus= --pid= --ipc= --shm-size 0", want: "-l a=b"},
		{name: "settings", create: "--shm-size 1m", update: "--privileged --gpus 2 --ipc private --shm-size 2m", want: "--privileged --gpus 2 --ipc private --shm-size 2m"},
		{name: "the lifecycle's settings taken away", create: "--update-canary 2 --update-canary-promote-after 1m --update-progress-deadline 1m --reschedule-after 1m --rebalance 1m --strategy binpack --self-stop 10s --depends-on db -l a=b",
			update: "--update-canary= --update-canary-promote-after 0 --update-progress-deadline= --reschedule-after 0 --rebalance= --strategy= --self-stop 0s --depends-on=", want: "-l a=b"},
		{name: "the lifecycle's settings", create: "--update-canary 2", update: "--update-canary 100% --update-progress-deadline 0", want: "--update-canary 100% --update-progress-deadline 0"},
		{name: "devices", create: "--device /dev/a --device /dev/b:/dev/c --device /dev/d", update: "--device-rm /dev/a --device-rm /dev/c --device-add /dev/e --device-add /dev/d:r", want: "--device /dev/e --device /dev/d:r"},
		{name: "the last device", create: "--device /dev/a", update: "--device-rm /dev/a", want: ""},
		{name: "endpoint", update: "--endpoint-mode dnsrr", want: "--endpoint-mode dnsrr"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := specOf(t, tt.create)
			g, _ := parsed(t, updateFlags(), false, strings.Fields(tt.update)...)
			err := changeSpec(g, &spec)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(specOf(t, tt.want), spec, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func specOf(t *testing.T, flags string) swarm.ServiceSpec {
	t.Helper()
	g, _ := parsed(t, createFlags(), true, strings.Fields(flags)...)
	spec, err := newSpec(g, "app:1", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestChangeKeepsTheOrderOfTheEnvironment(t *testing.T) {
	spec := specOf(t, "")
	spec.TaskTemplate.ContainerSpec.Env = []string{"A=1", "B=2", "C=3", "D"}
	g, _ := parsed(t, updateFlags(), false, "--env-add", "B=4", "--env-rm", "A", "--env-add", "E=5", "--image", "app:2", "--args", "x 'y z'", "--force")
	if err := changeSpec(g, &spec); err != nil {
		t.Fatal(err)
	}
	c := spec.TaskTemplate.ContainerSpec
	if d := cmp.Diff([]string{"B=4", "C=3", "D", "E=5"}, c.Env); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"x", "y z"}, c.Args); d != "" || c.Image != "app:2" || spec.TaskTemplate.ForceUpdate != 1 {
		t.Error(d, c.Image, spec.TaskTemplate.ForceUpdate)
	}
}

func TestReadEnv(t *testing.T) {
	t.Setenv("HELD", "from outside")
	name := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(name, []byte("\xef\xbb\xbf# comment\nA=1\n  B=two words \n\nHELD\nUNSET_ANYWHERE\nC=#x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readEnv([]string{name}, []string{"A=2", "D=4"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"B=two words ", "HELD=from outside", "C=#x", "A=2", "D=4"}, got); d != "" {
		t.Error(d)
	}
	for text, want := range map[string]string{"=x": "no variable name on line '=x'", "a b=c": "variable 'a b' contains whitespaces"} {
		if _, err := parseEnvFile([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestIngressPorts(t *testing.T) {
	port := func(published, target uint32, protocol swarm.PortConfigProtocol) swarm.PortConfig {
		return swarm.PortConfig{Protocol: protocol, PublishedPort: published, TargetPort: target, PublishMode: swarm.PortConfigPublishModeIngress}
	}
	tests := []struct {
		ports []swarm.PortConfig
		want  string
	}{
		{nil, ""},
		{[]swarm.PortConfig{port(80, 80, "tcp")}, "*:80->80/tcp"},
		{[]swarm.PortConfig{port(81, 81, "tcp"), port(80, 80, "tcp")}, "*:80-81->80-81/tcp"},
		{[]swarm.PortConfig{port(80, 80, "tcp"), port(81, 80, "tcp")}, "*:80-81->80/tcp"},
		{[]swarm.PortConfig{port(80, 80, "tcp"), port(81, 81, "tcp"), port(82, 80, "tcp")}, "*:80-81->80-81/tcp, *:82->80/tcp"},
		{[]swarm.PortConfig{port(80, 80, "tcp"), port(80, 80, "udp")}, "*:80->80/tcp, *:80->80/udp"},
		{[]swarm.PortConfig{{PublishedPort: 80, TargetPort: 80, PublishMode: "host"}}, ""},
	}
	for _, tt := range tests {
		if got := ingressPorts(tt.ports); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.ports, got, tt.want)
		}
	}
}

func TestInitRequest(t *testing.T) {
	flags := slices.Concat(initFlags(), clusterFlags(""), memberFlags())
	g, _ := parsed(t, flags, false, "--listen-addr", ":1", "--advertise-addr", "eth0:2", "--default-addr-pool", "10.0.0.0/8", "--default-addr-pool", "11.0.0.0/8", "--task-history-limit", "0", "--cert-expiry", "1h", "--dispatcher-heartbeat", "2s", "--availability", "drain", "--force-new-cluster")
	req, err := initRequest(g)
	if err != nil {
		t.Fatal(err)
	}
	want := swarm.InitRequest{ListenAddr: "0.0.0.0:1", AdvertiseAddr: "eth0:2", DefaultAddrPool: []string{"10.0.0.0/8", "11.0.0.0/8"}, SubnetSize: 24, ForceNewCluster: true, Availability: "drain"}
	want.Spec.Orchestration.TaskHistoryRetentionLimit = as(int64(0))
	want.Spec.CAConfig.NodeCertExpiry, want.Spec.Dispatcher.HeartbeatPeriod = time.Hour, 2*time.Second
	if d := cmp.Diff(want, req); d != "" {
		b, _ := json.Marshal(req)
		t.Errorf("(-want +got):\n%s\n%s", d, b)
	}
}
