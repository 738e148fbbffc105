package cli

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
)

// changeSpec applies the flags of service update to the spec a service has,
// as Docker's own CLI does: what no flag names stays. Networks, secrets and
// configs that are added stand in it by name.
func changeSpec(g given, spec *swarm.ServiceSpec) error {
	task := &spec.TaskTemplate
	c := need(&task.ContainerSpec)
	changePairs(&spec.Labels, g, "label-add", "label-rm")
	changeContainer(g, c)
	changePorts(g, spec)
	changeFiles(g, c)
	changeNetworks(g, spec)
	if g.has(restartFlags...) {
		if task.RestartPolicy == nil {
			task.RestartPolicy = defaultRestart()
		}
		changeRestart(g, task.RestartPolicy)
	}
	for kind, config := range map[string]**swarm.UpdateConfig{"update": &spec.UpdateConfig, "rollback": &spec.RollbackConfig} {
		if !g.has(rolloutFlags(kind)...) {
			continue
		}
		if *config == nil {
			*config = defaultRollout()
		}
		changeRollout(g, kind, *config)
	}
	if g.has("endpoint-mode") {
		need(&spec.EndpointSpec).Mode = swarm.ResolutionMode(g.str("endpoint-mode"))
	}
	driver, err := logDriver(g)
	if driver != nil {
		task.LogDriver = driver
	}
	if g.yes("force") {
		task.ForceUpdate++
	}
	changePlacement(g, task)
	return errors.Join(err, changeOwn(g, &spec.Labels), changeHostIPs(g, spec), changeResources(g, task), changeMode(g, &spec.Mode), changeMounts(g, c), changeHealth(g, c))
}

// changeContainer applies the flags that touch one field of the container.
func changeContainer(g given, c *swarm.ContainerSpec) {
	changePairs(&c.Labels, g, "container-label-add", "container-label-rm")
	put(g, "image", &c.Image)
	put(g, "args", &c.Args)
	put(g, "entrypoint", &c.Command)
	put(g, "workdir", &c.Dir)
	put(g, "user", &c.User)
	put(g, "hostname", &c.Hostname)
	put(g, "stop-signal", &c.StopSignal)
	put(g, "tty", &c.TTY)
	put(g, "read-only", &c.ReadOnly)
	put(g, "oom-score-adj", &c.OomScoreAdj)
	putPtr(g, "init", &c.Init)
	putPtr(g, "stop-grace-period", &c.StopGracePeriod)
	if g.has("isolation") {
		c.Isolation = container.Isolation(g.str("isolation"))
	}
	if g.has("env-add", "env-rm") {
		c.Env = changeEnv(c.Env, g)
	}
	if g.has("group-add", "group-rm") {
		c.Groups = changeList(c.Groups, g, "group")
	}
	changeSysctls(g, c)
	c.Ulimits = ulimits(dropNamed(c.Ulimits, g.set("ulimit-rm"), func(u *container.Ulimit) string { return u.Name }), g, "ulimit-add")
	if g.has("dns-add", "dns-rm", "dns-option-add", "dns-option-rm", "dns-search-add", "dns-search-rm") {
		d := need(&c.DNSConfig)
		d.Nameservers = changeList(d.Nameservers, g, "dns")
		d.Options = changeList(d.Options, g, "dns-option")
		d.Search = changeList(d.Search, g, "dns-search")
	}
	if g.has("host-add", "host-rm") {
		c.Hosts = changeHosts(c.Hosts, g)
	}
	if g.has("cap-add", "cap-drop") {
		changeCapabilities(g, c)
	}
}

// changePairs removes keys from a map, then adds pairs.
func changePairs(m *map[string]string, g given, add, rm string) {
	for key := range g.set(rm) {
		delete(*m, envKey(key))
	}
	if g.has(add) {
		if *m == nil {
			*m = map[string]string{}
		}
		maps.Copy(*m, pairs(g.strs(add)))
	}
}

func changeSysctls(g given, c *swarm.ContainerSpec) {
	changePairs(&c.Sysctls, g, "sysctl-add", "sysctl-rm")
}

// dropNamed removes what a set names.
func dropNamed[T any](list []T, gone map[string]bool, name func(T) string) []T {
	return slices.DeleteFunc(slices.Clone(list), func(v T) bool { return gone[name(v)] })
}

// changeList adds and removes strings; the result is sorted and has no doubles.
func changeList(have []string, g given, flag string) []string {
	out := append(slices.Clone(have), g.strs(flag+"-add")...)
	out = dropNamed(out, g.set(flag+"-rm"), func(s string) string { return s })
	slices.Sort(out)
	return slices.Compact(out)
}

// changeEnv keeps the order of the variables that stay; Docker's CLI shuffles them.
func changeEnv(have []string, g given) []string {
	out := dropNamed(have, g.set("env-rm"), envKey)
	for _, v := range g.strs("env-add") {
		i := slices.IndexFunc(out, func(o string) bool { return envKey(o) == envKey(v) })
		if i < 0 {
			out = append(out, v)
		} else {
			out[i] = v
		}
	}
	return out
}

// changeHosts removes host or host:ip from lines "ip host alias...", and adds lines.
func changeHosts(have []string, g given) []string {
	out := []string{}
	for _, line := range have {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		names := words[1:]
		for _, gone := range g.strs("host-rm") {
			host, ip, _ := strings.Cut(gone, ":")
			if ip == "" || ip == words[0] {
				names = slices.DeleteFunc(names, func(n string) bool { return n == host })
			}
		}
		if len(names) > 0 {
			out = append(out, words[0]+" "+strings.Join(names, " "))
		}
	}
	for _, line := range swarmHosts(g.strs("host-add")) {
		if !slices.Contains(out, line) {
			out = append(out, line)
		}
	}
	return out
}

// changeCapabilities adds and drops. Adding what is dropped undoes the drop and
// no more, and the other way round; RESET empties a list first.
func changeCapabilities(g given, c *swarm.ContainerSpec) {
	add, drop := g.strs("cap-add"), g.strs("cap-drop")
	isReset := func(s string) bool { return normalCap(s) == "RESET" }
	haveAdd, _ := capabilities(c.CapabilityAdd, nil)
	haveDrop, _ := capabilities(c.CapabilityDrop, nil)
	if slices.ContainsFunc(add, isReset) {
		haveAdd = nil
	}
	if slices.ContainsFunc(drop, isReset) {
		haveDrop = nil
	}
	newAdd, newDrop := capabilities(add, drop)
	moveTo := func(list, opposite *[]string, name string) {
		if i := slices.Index(*opposite, name); i >= 0 {
			*opposite = slices.Delete(*opposite, i, i+1)
		} else {
			*list = append(*list, name)
		}
	}
	for _, name := range newDrop {
		moveTo(&haveDrop, &haveAdd, name)
	}
	for _, name := range newAdd {
		moveTo(&haveAdd, &haveDrop, name)
	}
	c.CapabilityAdd, _ = capabilities(haveAdd, nil)
	c.CapabilityDrop, _ = capabilities(haveDrop, nil)
}

func changePorts(g given, spec *swarm.ServiceSpec) {
	if !g.has("publish-add", "publish-rm") {
		return
	}
	e := need(&spec.EndpointSpec)
	gone := portsOf(g, "publish-rm")
	ports := slices.DeleteFunc(slices.Clone(e.Ports), func(p swarm.PortConfig) bool {
		return slices.ContainsFunc(gone, func(r swarm.PortConfig) bool {
			return p.TargetPort == r.TargetPort && cmp.Or(p.Protocol, swarm.PortConfigProtocolTCP) == cmp.Or(r.Protocol, swarm.PortConfigProtocolTCP) &&
				cmp.Or(p.PublishMode, swarm.PortConfigPublishModeIngress) == cmp.Or(r.PublishMode, swarm.PortConfigPublishModeIngress)
		})
	})
	for _, p := range portsOf(g, "publish-add") {
		same := func(q swarm.PortConfig) bool { q.Name = p.Name; return p == q }
		if !slices.ContainsFunc(ports, same) {
			ports = append(ports, p)
		}
	}
	sortPorts(ports)
	e.Ports = ports
}

func sortPorts(ports []swarm.PortConfig) {
	slices.SortFunc(ports, comparePorts)
}

func comparePorts(a, b swarm.PortConfig) int {
	return cmp.Or(cmp.Compare(a.PublishedPort, b.PublishedPort), cmp.Compare(a.TargetPort, b.TargetPort),
		cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.PublishMode, b.PublishMode))
}

// changeFiles removes secrets and configs by name, and adds.
func changeFiles(g given, c *swarm.ContainerSpec) {
	c.Secrets = append(dropNamed(c.Secrets, g.set("secret-rm"), func(r *swarm.SecretReference) string { return r.SecretName }),
		all[*swarm.SecretReference](g, "secret-add")...)
	c.Configs = append(dropNamed(c.Configs, g.set("config-rm"), func(r *swarm.ConfigReference) string { return r.ConfigName }),
		all[*swarm.ConfigReference](g, "config-add")...)
	setCredentialSpec(g, c)
}

// changeNetworks adds networks; those to remove are named by whoever knows
// their IDs (resolveNames).
func changeNetworks(g given, spec *swarm.ServiceSpec) {
	have := &spec.TaskTemplate.Networks
	if g.has("network-add", "network-rm") && len(*have) == 0 && len(spec.Networks) > 0 { //nolint:staticcheck // old specs have them here
		*have, spec.Networks = spec.Networks, nil //nolint:staticcheck // moved to where they belong
	}
	*have = append(*have, all[swarm.NetworkAttachmentConfig](g, "network-add")...)
}

func changePlacement(g given, task *swarm.TaskSpec) {
	if g.has("constraint-add", "constraint-rm") {
		p := need(&task.Placement)
		p.Constraints = changeList(p.Constraints, g, "constraint")
	}
	if g.has("placement-pref-add", "placement-pref-rm") {
		p := need(&task.Placement)
		for _, gone := range all[swarm.PlacementPreference](g, "placement-pref-rm") {
			p.Preferences = slices.DeleteFunc(slices.Clone(p.Preferences), func(h swarm.PlacementPreference) bool {
				return h.Spread != nil && h.Spread.SpreadDescriptor == gone.Spread.SpreadDescriptor
			})
		}
		p.Preferences = append(p.Preferences, all[swarm.PlacementPreference](g, "placement-pref-add")...)
	}
	if g.has("replicas-max-per-node") {
		need(&task.Placement).MaxReplicas = one(g, "replicas-max-per-node", uint64(0))
	}
}

func changeResources(g given, task *swarm.TaskSpec) error {
	if g.has("limit-cpu", "limit-memory", "limit-pids") {
		l := need(&need(&task.Resources).Limits)
		put(g, "limit-cpu", &l.NanoCPUs)
		put(g, "limit-memory", &l.MemoryBytes)
		put(g, "limit-pids", &l.Pids)
	}
	if !g.has("reserve-cpu", "reserve-memory", "generic-resource-add", "generic-resource-rm") {
		return nil
	}
	r := need(&need(&task.Resources).Reservations)
	put(g, "reserve-cpu", &r.NanoCPUs)
	put(g, "reserve-memory", &r.MemoryBytes)
	at := func(kind string) int {
		return slices.IndexFunc(r.GenericResources, func(h swarm.GenericResource) bool {
			return h.DiscreteResourceSpec != nil && h.DiscreteResourceSpec.Kind == kind
		})
	}
	for _, d := range all[swarm.DiscreteGenericResource](g, "generic-resource-add") {
		if i := at(d.Kind); i >= 0 {
			r.GenericResources = slices.Delete(r.GenericResources, i, i+1)
		}
		r.GenericResources = append(r.GenericResources, swarm.GenericResource{DiscreteResourceSpec: &d})
	}
	for _, kind := range g.strs("generic-resource-rm") {
		i := at(kind)
		if i < 0 {
			return fmt.Errorf("could not find generic-resource `%s` to remove it", kind)
		}
		r.GenericResources = slices.Delete(r.GenericResources, i, i+1)
	}
	return nil
}

func changeMode(g given, m *swarm.ServiceMode) error {
	switch {
	case g.has("replicas") && m.Replicated == nil && m.ReplicatedJob == nil:
		return errors.New("replicas can only be used with replicated mode")
	case g.has("max-concurrent") && m.ReplicatedJob == nil:
		return errors.New("max-concurrent can only be used with replicated-job mode")
	}
	if m.Replicated != nil {
		putPtr(g, "replicas", &m.Replicated.Replicas)
	}
	if m.ReplicatedJob != nil { // Docker's own CLI refuses the one and drops the other
		putPtr(g, "replicas", &m.ReplicatedJob.TotalCompletions)
		putPtr(g, "max-concurrent", &m.ReplicatedJob.MaxConcurrent)
	}
	return nil
}

// changeMounts adds mounts, replacing what is mounted at the same target.
func changeMounts(g given, c *swarm.ContainerSpec) error {
	if !g.has("mount-add", "mount-rm") {
		return nil
	}
	added := all[mount.Mount](g, "mount-add")
	targets := map[string]bool{}
	for _, m := range added {
		if targets[m.Target] {
			return errors.New("duplicate mount target")
		}
		targets[m.Target] = true
	}
	target := func(m mount.Mount) string { return m.Target }
	c.Mounts = dropNamed(append(dropNamed(c.Mounts, targets, target), added...), g.set("mount-rm"), target)
	slices.SortFunc(c.Mounts, func(a, b mount.Mount) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Target, b.Target))
	})
	return nil
}

func changeHealth(g given, c *swarm.ContainerSpec) error {
	asked := g.has("health-cmd", "health-interval", "health-retries", "health-timeout", "health-start-period", "health-start-interval")
	switch {
	case asked && g.yes("no-healthcheck"):
		return errors.New("--no-healthcheck conflicts with --health-* options")
	case g.yes("no-healthcheck"):
		c.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
		return nil
	case !asked && !g.has("no-healthcheck"):
		return nil
	}
	h := need(&c.Healthcheck)
	if len(h.Test) > 0 && h.Test[0] == "NONE" {
		h.Test = nil
	}
	put(g, "health-interval", &h.Interval)
	put(g, "health-timeout", &h.Timeout)
	put(g, "health-start-period", &h.StartPeriod)
	put(g, "health-start-interval", &h.StartInterval)
	put(g, "health-retries", &h.Retries)
	if g.has("health-cmd") {
		h.Test = nil
		if cmd := g.str("health-cmd"); cmd != "" {
			h.Test = []string{"CMD-SHELL", cmd}
		}
	}
	return nil
}
