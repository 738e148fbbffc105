package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/go-units"
)

// newSpec turns the flags of service create into the spec that Docker's own
// CLI would send. Networks, secrets and configs stand in it by name; env holds
// the variables of --env-file and --env.
func newSpec(g given, image string, args, env []string) (swarm.ServiceSpec, error) {
	var spec swarm.ServiceSpec
	mode, err := newMode(g)
	if err != nil {
		return spec, err
	}
	health, err := newHealth(g)
	if err != nil {
		return spec, err
	}
	driver, err := logDriver(g)
	if err != nil {
		return spec, err
	}
	if err := checkGenerics(g); err != nil {
		return spec, err
	}
	update, rollback := newRollout(g, "update"), newRollout(g, "rollback")
	if (mode.ReplicatedJob != nil || mode.GlobalJob != nil) && (update != nil || rollback != nil) {
		return spec, errors.New("update and rollback configuration is not supported for jobs")
	}
	capAdd, capDrop := capabilities(g.strs("cap-add"), g.strs("cap-drop"))
	init := g.yes("init")
	spec = swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: g.str("name"), Labels: pairs(g.strs("label"))},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{
				Image: image, Args: args, Command: one[[]string](g, "entrypoint", nil),
				Env: env, Hostname: g.str("hostname"), Labels: pairs(g.strs("container-label")),
				Dir: g.str("workdir"), User: g.str("user"), Groups: g.strs("group"),
				StopSignal: g.str("stop-signal"), StopGracePeriod: ptr[time.Duration](g, "stop-grace-period"),
				TTY: g.yes("tty"), ReadOnly: g.yes("read-only"), Init: &init,
				Mounts: all[mount.Mount](g, "mount"),
				DNSConfig: &swarm.DNSConfig{
					Nameservers: g.strs("dns"), Search: g.strs("dns-search"), Options: g.strs("dns-option"),
				},
				Hosts: swarmHosts(g.strs("host")), Healthcheck: health,
				Secrets: all[*swarm.SecretReference](g, "secret"), Configs: all[*swarm.ConfigReference](g, "config"),
				Isolation: container.Isolation(g.str("isolation")), Sysctls: pairs(g.strs("sysctl")),
				CapabilityAdd: capAdd, CapabilityDrop: capDrop, Ulimits: ulimits(nil, g, "ulimit"),
				OomScoreAdj: one(g, "oom-score-adj", int64(0)),
			},
			Networks:      all[swarm.NetworkAttachmentConfig](g, "network"),
			Resources:     newResources(g),
			RestartPolicy: newRestart(g),
			Placement: &swarm.Placement{
				Constraints: g.strs("constraint"), Preferences: all[swarm.PlacementPreference](g, "placement-pref"),
				MaxReplicas: one(g, "replicas-max-per-node", uint64(0)),
			},
			LogDriver: driver,
		},
		Mode: mode, UpdateConfig: update, RollbackConfig: rollback,
		EndpointSpec: &swarm.EndpointSpec{
			Mode:  swarm.ResolutionMode(strings.ToLower(one(g, "endpoint-mode", "vip"))),
			Ports: portsOf(g, "publish"),
		},
	}
	setCredentialSpec(g, spec.TaskTemplate.ContainerSpec)
	return spec, errors.Join(changeOwn(g, &spec.Labels), changeHostIPs(g, &spec))
}

// setCredentialSpec sets a credential spec, naming its config as a config the
// service needs at run time.
func setCredentialSpec(g given, c *swarm.ContainerSpec) {
	cred := one(g, "credential-spec", swarm.CredentialSpec{})
	if !g.has("credential-spec") || cred == (swarm.CredentialSpec{}) && c.Privileges == nil {
		return
	}
	c.Privileges = &swarm.Privileges{CredentialSpec: &cred}
	c.Configs = slices.DeleteFunc(c.Configs, func(r *swarm.ConfigReference) bool { return r.Runtime != nil })
	if cred.Config != "" {
		c.Configs = append(c.Configs, &swarm.ConfigReference{ConfigName: cred.Config, Runtime: &swarm.ConfigReferenceRuntimeTarget{}})
	}
}

func newMode(g given) (m swarm.ServiceMode, err error) {
	mode := one(g, "mode", "replicated")
	switch {
	case mode != "replicated-job" && g.has("max-concurrent"):
		return m, errors.New("max-concurrent can only be used with replicated-job mode")
	case strings.HasPrefix(mode, "global") && g.has("replicas"):
		return m, errors.New("replicas can only be used with replicated or replicated-job mode")
	case strings.HasPrefix(mode, "global") && one(g, "replicas-max-per-node", uint64(0)) > 0:
		return m, errors.New("replicas-max-per-node can only be used with replicated or replicated-job mode")
	}
	replicas := ptr[uint64](g, "replicas")
	switch mode {
	case "replicated":
		m.Replicated = &swarm.ReplicatedService{Replicas: replicas}
	case "global":
		m.Global = &swarm.GlobalService{}
	case "global-job":
		m.GlobalJob = &swarm.GlobalJob{}
	case "replicated-job":
		m.ReplicatedJob = &swarm.ReplicatedJob{MaxConcurrent: ptr[uint64](g, "max-concurrent"), TotalCompletions: replicas}
		if m.ReplicatedJob.MaxConcurrent == nil {
			m.ReplicatedJob.MaxConcurrent = replicas
		}
	default:
		return m, fmt.Errorf("Unknown mode: %s, only replicated and global supported", mode) //nolint:staticcheck // Docker's words
	}
	return m, nil
}

func newResources(g given) *swarm.ResourceRequirements {
	r := &swarm.ResourceRequirements{
		Limits: &swarm.Limit{
			NanoCPUs: one(g, "limit-cpu", int64(0)), MemoryBytes: one(g, "limit-memory", int64(0)), Pids: one(g, "limit-pids", int64(0)),
		},
		Reservations: &swarm.Resources{NanoCPUs: one(g, "reserve-cpu", int64(0)), MemoryBytes: one(g, "reserve-memory", int64(0))},
	}
	for _, d := range all[swarm.DiscreteGenericResource](g, "generic-resource") {
		r.Reservations.GenericResources = append(r.Reservations.GenericResources, swarm.GenericResource{DiscreteResourceSpec: &d})
	}
	return r
}

// checkGenerics refuses a resource that is asked for twice: is it the sum?
func checkGenerics(g given) error {
	seen := map[string]bool{}
	for _, d := range all[swarm.DiscreteGenericResource](g, "generic-resource") {
		if seen[d.Kind] {
			return fmt.Errorf("invalid generic resource specification: %s is asked for more than once", d.Kind)
		}
		seen[d.Kind] = true
	}
	return nil
}

// defaultRestart and defaultRollout are what Docker fills the fields with
// that were not given beside one that was.
func defaultRestart() *swarm.RestartPolicy {
	delay, attempts := 5*time.Second, uint64(0)
	return &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny, Delay: &delay, MaxAttempts: &attempts}
}

func defaultRollout() *swarm.UpdateConfig {
	return &swarm.UpdateConfig{Parallelism: 1, Monitor: 5 * time.Second, FailureAction: swarm.UpdateFailureActionPause, Order: swarm.UpdateOrderStopFirst}
}

var restartFlags = []string{"restart-condition", "restart-delay", "restart-max-attempts", "restart-window"}

func newRestart(g given) *swarm.RestartPolicy {
	if !g.has(restartFlags...) {
		return nil
	}
	p := defaultRestart()
	changeRestart(g, p)
	return p
}

func changeRestart(g given, p *swarm.RestartPolicy) {
	if g.has("restart-condition") {
		p.Condition = swarm.RestartPolicyCondition(g.str("restart-condition"))
	}
	putPtr(g, "restart-delay", &p.Delay)
	putPtr(g, "restart-max-attempts", &p.MaxAttempts)
	putPtr(g, "restart-window", &p.Window)
}

// rolloutFlags are the flags of an update's or a rollback's pace.
func rolloutFlags(kind string) []string {
	var names []string
	for _, f := range []string{"parallelism", "delay", "monitor", "failure-action", "max-failure-ratio", "order"} {
		names = append(names, kind+"-"+f)
	}
	return names
}

func newRollout(g given, kind string) *swarm.UpdateConfig {
	if !g.has(rolloutFlags(kind)...) {
		return nil
	}
	c := defaultRollout()
	changeRollout(g, kind, c)
	return c
}

func changeRollout(g given, kind string, c *swarm.UpdateConfig) {
	put(g, kind+"-parallelism", &c.Parallelism)
	put(g, kind+"-delay", &c.Delay)
	put(g, kind+"-monitor", &c.Monitor)
	put(g, kind+"-failure-action", &c.FailureAction)
	put(g, kind+"-max-failure-ratio", &c.MaxFailureRatio)
	put(g, kind+"-order", &c.Order)
}

func newHealth(g given) (*container.HealthConfig, error) {
	h := &container.HealthConfig{
		Interval: one(g, "health-interval", time.Duration(0)), Timeout: one(g, "health-timeout", time.Duration(0)),
		StartPeriod: one(g, "health-start-period", time.Duration(0)), StartInterval: one(g, "health-start-interval", time.Duration(0)),
		Retries: one(g, "health-retries", 0),
	}
	if cmd := g.str("health-cmd"); cmd != "" {
		h.Test = []string{"CMD-SHELL", cmd}
	}
	asked := g.has("health-interval", "health-timeout", "health-start-period", "health-start-interval") || h.Retries != 0 || h.Test != nil
	switch {
	case g.yes("no-healthcheck") && asked:
		return nil, errors.New("--no-healthcheck conflicts with --health-* options")
	case g.yes("no-healthcheck"):
		return &container.HealthConfig{Test: []string{"NONE"}}, nil
	case asked:
		return h, nil
	}
	return nil, nil
}

func logDriver(g given) (*swarm.Driver, error) {
	switch {
	case g.str("log-driver") != "":
		return &swarm.Driver{Name: g.str("log-driver"), Options: pairs(g.strs("log-opt"))}, nil
	case g.has("log-opt"):
		return nil, errors.New("--log-opt needs --log-driver: which options there are depends on the driver")
	}
	return nil, nil
}

// swarmHosts turns host:ip into the line of a hosts file that a spec holds.
func swarmHosts(list []string) []string {
	var out []string
	for _, s := range list {
		host, ip, _ := strings.Cut(s, ":")
		out = append(out, ip+" "+host)
	}
	return out
}

// ulimits merges those given into those that are, one a name, sorted.
func ulimits(have []*container.Ulimit, g given, flag string) []*container.Ulimit {
	for _, u := range all[*units.Ulimit](g, flag) {
		have = slices.DeleteFunc(have, func(h *container.Ulimit) bool { return h.Name == u.Name })
		have = append(have, u)
	}
	slices.SortFunc(have, func(a, b *container.Ulimit) int { return strings.Compare(a.Name, b.Name) })
	return have
}

// normalCap spells a capability as the kernel does: CAP_NET_ADMIN.
func normalCap(s string) string {
	s = strings.ToUpper(strings.TrimSpace(s))
	if s == "ALL" || s == "RESET" || strings.HasPrefix(s, "CAP_") {
		return s
	}
	return "CAP_" + s
}

// capabilities makes two sorted lists that do not overlap; adding wins.
func capabilities(add, drop []string) (capAdd, capDrop []string) {
	normal := func(list []string) (out []string) {
		for _, s := range list {
			if s = normalCap(s); s == "ALL" {
				return []string{s}
			} else if s != "RESET" {
				out = append(out, s)
			}
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	capAdd = normal(add)
	for _, s := range normal(drop) {
		if !slices.Contains(capAdd, s) {
			capDrop = append(capDrop, s)
		}
	}
	return capAdd, capDrop
}

// readEnv joins the variables of files and flags; the last one of a name wins.
func readEnv(files, flags []string) ([]string, error) {
	var list []string
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", name, errors.Unwrap(err))
		}
		vars, err := parseEnvFile(data)
		if err != nil {
			return nil, fmt.Errorf("invalid env file (%s): %w", name, err)
		}
		list = append(list, vars...)
	}
	out := []string{}
	for _, v := range append(list, flags...) {
		if !slices.Contains(out, v) {
			out = slices.DeleteFunc(out, func(o string) bool { return strings.HasPrefix(o, envKey(v)+"=") })
			out = append(out, v)
		}
	}
	return out, nil
}

// parseEnvFile reads KEY=value lines. A KEY alone takes its value from the
// command's environment, and is left out where that has none.
func parseEnvFile(data []byte) ([]string, error) {
	var out []string
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))))
	for n := 1; lines.Scan(); n++ {
		if !utf8.Valid(lines.Bytes()) {
			return nil, fmt.Errorf("invalid utf8 bytes at line %d: %v", n, lines.Bytes())
		}
		line := strings.TrimLeftFunc(lines.Text(), unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		key, _, hasValue := strings.Cut(line, "=")
		switch {
		case key == "":
			return nil, fmt.Errorf("no variable name on line '%s'", line)
		case strings.ContainsAny(key, " \t"):
			return nil, fmt.Errorf("variable '%s' contains whitespaces", key)
		case hasValue:
			out = append(out, line)
		default:
			if v, ok := os.LookupEnv(key); ok {
				out = append(out, key+"="+v)
			}
		}
	}
	return out, lines.Err()
}

func envKey(s string) string {
	k, _, _ := strings.Cut(s, "=")
	return k
}
