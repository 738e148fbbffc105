package cli

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"
)

// commandFlags say how a command goes about its work, and nothing of the service.
var commandFlags = map[string]string{
	"detach": "", "quiet": "", "timeout": "",
	"with-registry-auth": "TestCredentialsGoWithTheRequest", "no-resolve-image": "", "env-file": "TestReadEnv",
	"rollback": "it is a request of its own", "network-rm": "needs the network's ID: see resolveNetworks",
}

// samples has, for every other flag, a value that differs from what a service
// has without it, or that removes what specForUpdate has.
var samples = map[string]string{
	"workdir": "/w", "user": "u", "credential-spec": "file://x", "hostname": "h", "entrypoint": "/x", "cap-add": "KILL", "cap-drop": "ALL",
	"limit-cpu": "1", "limit-memory": "9m", "limit-pids": "3", "reserve-cpu": ".1", "reserve-memory": "8m", "stop-grace-period": "3s",
	"replicas": "7", "max-concurrent": "3", "replicas-max-per-node": "2",
	"restart-condition": "none", "restart-delay": "1s", "restart-max-attempts": "3", "restart-window": "1m",
	"update-parallelism": "3", "update-delay": "1s", "update-monitor": "1s", "update-failure-action": "continue", "update-max-failure-ratio": ".5", "update-order": "start-first",
	"rollback-parallelism": "3", "rollback-delay": "1s", "rollback-monitor": "1s", "rollback-failure-action": "continue", "rollback-max-failure-ratio": ".5", "rollback-order": "start-first",
	"endpoint-mode": "dnsrr", "log-driver": "none", "log-opt": "a=b",
	"health-cmd": "x", "health-interval": "1s", "health-timeout": "1s", "health-retries": "3", "health-start-period": "1s", "health-start-interval": "1s", "no-healthcheck": "true",
	"tty": "true", "read-only": "true", "stop-signal": "INT", "isolation": "default", "init": "true", "oom-score-adj": "5",
	"privileged": "true", "gpus": "all", "pid": "host", "ipc": "host", "shm-size": "1m", "device": "/dev/x",
	"update-canary": "10%", "update-canary-promote-after": "1m", "update-progress-deadline": "0", "reschedule-after": "1m", "rebalance": "1m", "strategy": "binpack", "self-stop": "10s", "pod": "app", "depends-on": "db:healthy,cache",
	"name": "n", "mode": "global", "label": "x=y", "container-label": "x=y", "env": "X=Y", "mount": "type=tmpfs,dst=/x", "constraint": "node.role==worker",
	"placement-pref": "spread=node.labels.x", "network": "host", "secret": "x", "config": "x", "publish": "1:1", "group": "x", "dns": "9.9.9.9",
	"dns-option": "x", "dns-search": "x", "host": "x:9.9.9.9", "sysctl": "x=y", "ulimit": "nproc=1", "generic-resource": "x=1",
	"image": "app:2", "args": "x", "force": "true",
	"env-rm": "A", "group-rm": "a", "label-rm": "a", "container-label-rm": "a", "mount-rm": "/a", "publish-rm": "80", "constraint-rm": "node.role==manager",
	"placement-pref-rm": "spread=node.labels.a", "dns-rm": "1.1.1.1", "dns-option-rm": "a", "dns-search-rm": "a", "host-rm": "a", "secret-rm": "a",
	"config-rm": "a", "sysctl-rm": "a", "ulimit-rm": "core", "generic-resource-rm": "a", "device-rm": "/dev/a",
}

// companions are flags without which another one means nothing.
var companions = map[string][]string{"max-concurrent": {"--mode=replicated-job"}, "log-opt": {"--log-driver=syslog"}}

func sampleOf(t *testing.T, name string) string {
	t.Helper()
	for _, n := range []string{name, strings.TrimSuffix(name, "-add")} {
		if v, ok := samples[n]; ok {
			return v
		}
	}
	t.Fatalf("--%s has no sample: give it one that changes a service, or say in commandFlags what it is for", name)
	return ""
}

func text(t *testing.T, spec swarm.ServiceSpec) string {
	t.Helper()
	data, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// No flag of create is read and forgotten.
func TestEveryFlagOfCreateReachesTheSpec(t *testing.T) {
	for _, o := range createFlags() {
		if _, ok := commandFlags[o.name]; ok {
			continue
		}
		made := func(flags ...string) string {
			g, _ := parsed(t, createFlags(), true, append(flags, companions[o.name]...)...)
			spec, err := newSpec(g, "app:1", nil, g.strs("env"))
			if err != nil {
				t.Fatalf("--%s: %v", o.name, err)
			}
			return text(t, spec)
		}
		if made("--"+o.name+"="+sampleOf(t, o.name)) == made() {
			t.Errorf("--%s does not change the spec", o.name)
		}
	}
}

// specForUpdate has one of everything that an update can remove.
func specForUpdate(t *testing.T, mode string) swarm.ServiceSpec {
	t.Helper()
	spec := specOf(t, mode+" -l a=b --container-label a=b --mount type=tmpfs,dst=/a -p 80:80 --constraint node.role==manager --placement-pref spread=node.labels.a"+
		" --group a --dns 1.1.1.1 --dns-option a --dns-search a --host a:1.1.1.1 --secret a --config a --sysctl a=b --ulimit core=1 --generic-resource a=1 --device /dev/a")
	spec.TaskTemplate.ContainerSpec.Env = []string{"A=B"}
	return spec
}

func TestEveryFlagOfUpdateReachesTheSpec(t *testing.T) {
	for _, o := range updateFlags() {
		if _, ok := commandFlags[o.name]; ok {
			continue
		}
		flags, mode := []string{"--" + o.name + "=" + sampleOf(t, o.name)}, ""
		for _, c := range companions[o.name] {
			if strings.HasPrefix(c, "--mode") {
				mode = c
			} else {
				flags = append(flags, c)
			}
		}
		spec := specForUpdate(t, mode)
		before := text(t, spec)
		g, _ := parsed(t, updateFlags(), false, flags...)
		if err := changeSpec(g, &spec); err != nil {
			t.Errorf("--%s: %v", o.name, err)
		} else if text(t, spec) == before {
			t.Errorf("--%s does not change the spec", o.name)
		}
	}
}

// testdata/docker-flags.txt has the flags that Docker's CLI lists for `service
// create` and `service update`.
func TestDockersFlagsAreOurs(t *testing.T) {
	data, err := os.ReadFile("testdata/docker-flags.txt")
	if err != nil {
		t.Fatal(err)
	}
	ours, n := map[string]bool{}, 0
	for _, o := range createFlags() {
		ours["create "+o.name] = true
	}
	for _, o := range updateFlags() {
		ours["update "+o.name] = true
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		n++
		if !ours[line] {
			t.Errorf("service %s: Docker has the flag, we do not", line)
		}
	}
	if n < 160 {
		t.Errorf("the list has %d flags", n)
	}
}
