package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// inspect returns what the engine says of a container.
func (l *lab) inspect(c cluster.Container) container.InspectResponse {
	l.t.Helper()
	got, err := c.Node.Docker.ContainerInspect(l.ctx, c.ID)
	l.must(err)
	return got
}

// Whatever a service is created with, its container has.
func TestOptionsReachTheContainer(t *testing.T) {
	l := newLab(t)
	running := l.run("opt", 1,
		"--hostname", "{{.Service.Name}}-{{.Task.Slot}}-{{.Node.Hostname}}", "-e", "A={{.Node.Hostname}}", "-w", "/", "-u", "0:0", "--group", "7",
		"--container-label", "tier=front", "--entrypoint", "/demo", "--tty", "--read-only", "--init=false",
		"--stop-signal", "SIGINT", "--stop-grace-period", "3s", "--mount", "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=1770",
		"--mount", "type=bind,src=/etc,dst=/host,readonly,bind-propagation=private", "--mount", "type=volume,src=opt-{{.Task.Slot}},dst=/v,volume-label=a=b",
		"--limit-cpu", ".5", "--limit-memory", "64m", "--limit-pids", "99", "--reserve-memory", "32m", "--ulimit", "nofile=64:128", "--oom-score-adj", "77",
		"--sysctl", "net.ipv4.ip_unprivileged_port_start=80", "--cap-add", "NET_ADMIN", "--cap-drop", "MKNOD", "--dns", "1.1.1.1", "--dns-search", "test", "--dns-option", "ndots:2", "--host", "db:10.0.0.1",
		"--health-cmd", "true", "--health-interval", "1h", "--health-retries", "4", "--log-driver", "json-file", "--log-opt", "max-size=1m",
		"-p", "mode=host,target=8080", "--device", "/dev/null:/dev/zilch:rw", "--pid", "host", "--ipc", "shareable", "--shm-size", "5m")
	got := l.inspect(running[0])
	h, c, host := got.HostConfig, got.Config, running[0].Node.Name
	for what, pair := range map[string][2]any{
		"hostname":     {c.Hostname, "opt-1-" + host},
		"env":          {slices.Contains(c.Env, "A="+host), true},
		"user":         {c.User, "0:0"},
		"group":        {h.GroupAdd, []string{"7"}},
		"label":        {c.Labels["tier"], "front"},
		"entry point":  {[]string(c.Entrypoint), []string{"/demo"}},
		"tty":          {c.Tty, true},
		"read-only":    {h.ReadonlyRootfs, true},
		"signal":       {c.StopSignal, "SIGINT"},
		"grace":        {*c.StopTimeout, 3},
		"mounts":       {mounts(h), "/host:/etc:true /t::false /v:opt-1:false"},
		"cpu":          {h.NanoCPUs, 500_000_000},
		"memory":       {h.Memory, 64 << 20},
		"pids":         {*h.PidsLimit, 99},
		"ulimit":       {fmt.Sprint(h.Ulimits[0]), "nofile=64:128"},
		"oom":          {h.OomScoreAdj, 77},
		"sysctl":       {h.Sysctls["net.ipv4.ip_unprivileged_port_start"], "80"},
		"capabilities": {[][]string{h.CapAdd, h.CapDrop}, [][]string{{"CAP_NET_ADMIN"}, {"CAP_MKNOD"}}},
		"dns":          {[][]string{h.DNS, h.DNSSearch, h.DNSOptions, h.ExtraHosts}, [][]string{{"1.1.1.1"}, {"test"}, {"ndots:2"}, {"db:10.0.0.1"}}},
		"health":       {c.Healthcheck.Test, []string{"CMD-SHELL", "true"}},
		"log":          {h.LogConfig.Type + h.LogConfig.Config["max-size"], "json-file1m"},
		"port":         {len(h.PortBindings["8080/tcp"]), 1},
		"device":       {fmt.Sprint(h.Devices), "[{/dev/null /dev/zilch rw}]"},
		"pid and ipc":  {string(h.PidMode) + " " + string(h.IpcMode), "host shareable"},
		"shm":          {h.ShmSize, 5 << 20},
	} {
		if a, b := fmt.Sprint(pair[0]), fmt.Sprint(pair[1]); a != b {
			t.Errorf("%s: the container has %s, not %s", what, a, b)
		}
	}
	l.cli(l.Nodes[0], "service", "update", "--detach", "--pid", "", "--device-rm", "/dev/null", "--shm-size", "6m", "opt")
	l.until("opt", soon, "another one, without the device", func(cs []cluster.Container) bool {
		if len(cs) != 1 || cs[0].ID == running[0].ID {
			return false
		}
		h := l.inspect(cs[0]).HostConfig
		return len(h.Devices) == 0 && h.ShmSize == 6<<20 && h.PidMode == "" && h.IpcMode == "shareable"
	})
}

// mounts are a container's as target:source:read-only.
func mounts(h *container.HostConfig) string {
	var list []string
	for _, m := range h.Mounts {
		list = append(list, fmt.Sprintf("%s:%s:%v", m.Target, m.Source, m.ReadOnly))
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func TestServicesInTheNodesOwnNetworks(t *testing.T) {
	l := newLab(t)
	for _, network := range []string{"host", "none", "bridge"} {
		running := l.run("net-"+network, 1, "--network", network)
		if mode := l.inspect(running[0]).HostConfig.NetworkMode; string(mode) != network {
			t.Errorf("network %s: the container is in %s", network, mode)
		}
	}
}

func TestThePolicyForbidsWhatReachesOutOfContainers(t *testing.T) {
	l := newLab(t)
	at := l.Nodes[1]
	before := l.run("old", 1, "--mount", "type=bind,src=/etc,dst=/etc,readonly")
	l.cli(at, "update", "--policy-deny", "privileged,bind-mount,host-network")
	defer func() {
		_, err := at.CLI(context.WithoutCancel(l.ctx), "update", "--policy-deny", "")
		l.must(err)
	}()
	create := []string{"service", "create", "--detach", "--name", "new"}
	l.refused(at, append(create, "--privileged", cluster.Image), "privileged", "policy", "swarmctl update --policy-deny")
	l.refused(at, append(create, "--mount", "type=bind,src=/,dst=/host", cluster.Image), "bind of / at /host")
	l.refused(at, append(create, "--network", "host", cluster.Image), "host-network")
	l.refused(at, []string{"service", "update", "--detach", "--privileged", "old"}, "swarmctl.privileged=true")
	l.refused(at, []string{"service", "update", "--detach", "--mount-add", "type=bind,src=/,dst=/host", "old"}, "bind of / at /host")
	l.cli(at, "service", "scale", "old=2")
	after := l.count("old", 2)
	if !slices.Contains(ids(after), before[0].ID) {
		t.Error("the policy replaced what ran before it")
	}
	l.refused(at, []string{"update", "--policy-deny", "root"}, "root")
}

// Engines that have resources with names give each to one task, which is told
// which are its own.
func TestGenericResourcesAreSharedOut(t *testing.T) {
	l := ownLab(t, "10.91.7", 1, 1)
	worker := l.Nodes[1]
	config, err := json.Marshal(map[string][]string{"node-generic-resources": {"gpu=GPU-1", "gpu=GPU-2", "gpu=GPU-3", "ssd=4"}})
	l.must(err)
	_, err = worker.Run(l.ctx, "sh", "-c", "mkdir -p /etc/docker && printf %s '"+string(config)+"' > /etc/docker/daemon.json && sync")
	l.must(err)
	worker.PowerOff()
	l.must(worker.PowerOn(l.ctx))
	l.cli(l.Nodes[0], "service", "create", "--detach", "--name", "ml", "--generic-resource", "gpu=1", "--generic-resource", "ssd=1", "--replicas", "5", cluster.Image)
	running := l.count("ml", 3)
	var gpus []string
	for _, c := range running {
		env := l.inspect(c).Config.Env
		if c.Node != worker || !slices.Contains(env, "DOCKER_RESOURCE_SSD=1") {
			t.Errorf("container %s on %s has %q", c.ID[:12], c.Node.Name, env)
		}
		for _, e := range env {
			if gpu, ok := strings.CutPrefix(e, "DOCKER_RESOURCE_GPU="); ok {
				gpus = append(gpus, gpu)
			}
		}
	}
	slices.Sort(gpus)
	if !slices.Equal(gpus, []string{"GPU-1", "GPU-2", "GPU-3"}) {
		t.Errorf("the tasks were given %q", gpus)
	}
	l.must(cluster.Eventually(l.ctx, soon, func(context.Context) error {
		ps := l.cli(l.Nodes[0], "service", "ps", "--no-trunc", "ml")
		if strings.Count(ps, "needs 1 gpu and 1 ssd, less of its 3 gpu and 4 ssd is free") != 2 {
			return fmt.Errorf("service ps does not say what the two that wait lack:\n%s", ps)
		}
		return nil
	}))
	victim := running[0]
	own := ""
	for _, e := range l.inspect(victim).Config.Env {
		if strings.HasPrefix(e, "DOCKER_RESOURCE_GPU=") {
			own = e
		}
	}
	l.must(victim.Kill(l.ctx))
	l.until("ml", soon, "another task has the GPU", func(cs []cluster.Container) bool {
		return len(cs) == 3 && !slices.Contains(ids(cs), victim.ID) && slices.ContainsFunc(cs, func(c cluster.Container) bool {
			return slices.Contains(l.inspect(c).Config.Env, own)
		})
	})
}
