package stack

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
)

const defaultNetwork = "default"

// service makes the spec that `docker stack deploy` would, and what swarmctl
// has labels for besides.
func (c *converter) service(s *types.ServiceConfig) (swarm.ServiceSpec, error) {
	d := cmp.Or(s.Deploy, &types.DeployConfig{})
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	note(checkImage(s))
	mode, err := serviceMode(s, d)
	note(err)
	pod, err := c.pod(s)
	note(err)
	resources, err := resources(s, d)
	note(err)
	restart, err := restartPolicy(s.Restart, d.RestartPolicy)
	note(err)
	if restart == nil {
		restart = c.endsOnce(s)
	}
	dependsOn, err := c.dependencies(s)
	note(err)
	ports, hostIPs, err := ports(s.Ports)
	note(err)
	networks, err := c.attachments(s)
	note(err)
	labels, err := ownLabels(s, d, hostIPs, dependsOn, pod)
	note(err)
	spec, err := c.container(s)
	note(err)
	update, err := updateConfig("update_config", d.UpdateConfig)
	note(err)
	rollback, err := updateConfig("rollback_config", d.RollbackConfig)
	note(err)
	labels[LabelNamespace], labels[LabelImage] = c.name, s.Image
	out := swarm.ServiceSpec{
		Annotations: swarm.Annotations{Name: Scoped(c.name, s.Name), Labels: labels},
		TaskTemplate: swarm.TaskSpec{
			ContainerSpec: spec, Resources: resources, RestartPolicy: restart, Networks: networks, LogDriver: logDriver(s.Logging),
			Placement: &swarm.Placement{Constraints: d.Placement.Constraints, Preferences: preferences(d.Placement.Preferences), MaxReplicas: d.Placement.MaxReplicas},
		},
		Mode: mode, UpdateConfig: update, RollbackConfig: rollback,
		EndpointSpec: &swarm.EndpointSpec{Mode: swarm.ResolutionMode(strings.ToLower(d.EndpointMode)), Ports: ports},
	}
	return out, errors.Join(errs...)
}

func serviceMode(s *types.ServiceConfig, d *types.DeployConfig) (m swarm.ServiceMode, err error) {
	if podOf(s) != "" { // that of the other service
		return swarm.ServiceMode{Replicated: &swarm.ReplicatedService{}}, nil
	}
	count := cmp.Or(d.Replicas, s.Scale)
	var replicas *uint64
	if count != nil {
		if *count < 0 {
			return m, fmt.Errorf("replicas: %d is less than none", *count)
		}
		n := uint64(*count)
		replicas = &n
	}
	switch d.Mode {
	case "", "replicated":
		m.Replicated = &swarm.ReplicatedService{Replicas: replicas}
	case "replicated-job":
		m.ReplicatedJob = &swarm.ReplicatedJob{MaxConcurrent: replicas, TotalCompletions: replicas}
	case "global":
		m.Global = &swarm.GlobalService{}
	case "global-job":
		m.GlobalJob = &swarm.GlobalJob{}
	default:
		return m, oneOf("deploy.mode", d.Mode, "replicated", "global", "replicated-job", "global-job")
	}
	if replicas != nil && (m.Global != nil || m.GlobalJob != nil) {
		return m, fmt.Errorf("deploy.replicas: a %s service has a task on every node; leave the number out", d.Mode)
	}
	return m, nil
}

func preferences(from []types.PlacementPreferences) (out []swarm.PlacementPreference) {
	for _, p := range from {
		out = append(out, swarm.PlacementPreference{Spread: &swarm.SpreadOver{SpreadDescriptor: p.Spread}})
	}
	return out
}

// resources are those of deploy, and of the older keys of a service that say the same.
func resources(s *types.ServiceConfig, d *types.DeployConfig) (*swarm.ResourceRequirements, error) {
	out := &swarm.ResourceRequirements{}
	limits := cmp.Or(d.Resources.Limits, &types.Resource{})
	cpus, err := nanoCPUs("deploy.resources.limits.cpus", cmp.Or(float32(limits.NanoCPUs), s.CPUS))
	if err != nil {
		return nil, err
	}
	limit := swarm.Limit{NanoCPUs: cpus, MemoryBytes: cmp.Or(int64(limits.MemoryBytes), int64(s.MemLimit)), Pids: cmp.Or(limits.Pids, s.PidsLimit)}
	if d.Resources.Limits != nil || limit != (swarm.Limit{}) {
		out.Limits = &limit
	}
	reserved := cmp.Or(d.Resources.Reservations, &types.Resource{})
	reservation := swarm.Resources{MemoryBytes: cmp.Or(int64(reserved.MemoryBytes), int64(s.MemReservation))}
	if reservation.NanoCPUs, err = nanoCPUs("deploy.resources.reservations.cpus", float32(reserved.NanoCPUs)); err != nil {
		return nil, err
	}
	for _, r := range reserved.GenericResources {
		if spec := r.DiscreteResourceSpec; spec != nil {
			reservation.GenericResources = append(reservation.GenericResources, swarm.GenericResource{DiscreteResourceSpec: &swarm.DiscreteGenericResource{Kind: spec.Kind, Value: spec.Value}})
		}
	}
	if d.Resources.Reservations != nil || reservation.MemoryBytes != 0 {
		out.Reservations = &reservation
	}
	return out, nil
}

// nanoCPUs is exact for what a file can say: 0.1 is 100,000,000 and not what
// a float makes of it.
func nanoCPUs(key string, cpus float32) (int64, error) {
	text := strconv.FormatFloat(float64(cpus), 'f', -1, 32)
	r, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, fmt.Errorf("%s: %s is not a number", key, text)
	}
	r.Mul(r, big.NewRat(1e9, 1))
	if !r.IsInt() || !r.Num().IsInt64() || r.Sign() < 0 {
		return 0, fmt.Errorf("%s: %s is too precise, too large or less than none", key, text)
	}
	return r.Num().Int64(), nil
}

// restartPolicy is deploy.restart_policy, or else what restart says.
func restartPolicy(restart string, from *types.RestartPolicy) (*swarm.RestartPolicy, error) {
	if from != nil {
		out := &swarm.RestartPolicy{Condition: swarm.RestartPolicyCondition(from.Condition), Delay: (*time.Duration)(from.Delay), MaxAttempts: from.MaxAttempts, Window: (*time.Duration)(from.Window)}
		return out, oneOf("deploy.restart_policy.condition", from.Condition, "none", "on-failure", "any")
	}
	name, count, counted := strings.Cut(restart, ":")
	var attempts *uint64
	if counted {
		n, err := strconv.ParseUint(count, 10, 31)
		if err != nil || name != types.RestartPolicyOnFailure {
			return nil, fmt.Errorf("restart: %q: only on-failure takes a number of attempts", restart)
		}
		if n > 0 {
			attempts = &n
		}
	}
	switch name {
	case "", types.RestartPolicyNo:
		return nil, nil
	case types.RestartPolicyAlways, types.RestartPolicyUnlessStopped:
		return &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionAny}, nil
	case types.RestartPolicyOnFailure:
		return &swarm.RestartPolicy{Condition: swarm.RestartPolicyConditionOnFailure, MaxAttempts: attempts}, nil
	}
	return nil, oneOf("restart", restart, "no", "always", "unless-stopped", "on-failure")
}

func updateConfig(key string, from *types.UpdateConfig) (*swarm.UpdateConfig, error) {
	if from == nil {
		return nil, nil
	}
	parallel := uint64(1)
	if from.Parallelism != nil {
		parallel = *from.Parallelism
	}
	return &swarm.UpdateConfig{
			Parallelism: parallel, Delay: time.Duration(from.Delay), FailureAction: from.FailureAction, Monitor: time.Duration(from.Monitor),
			MaxFailureRatio: from.MaxFailureRatio, Order: from.Order,
		}, errors.Join(
			oneOf("deploy."+key+".failure_action", from.FailureAction, "pause", "continue", "rollback"),
			oneOf("deploy."+key+".order", from.Order, "stop-first", "start-first"),
		)
}

// ports are the published ones, and the addresses that some are bound to.
func ports(from []types.ServicePortConfig) ([]swarm.PortConfig, []string, error) {
	out, hostIPs := []swarm.PortConfig{}, []string(nil)
	for _, p := range from {
		published := uint64(0)
		if p.Published != "" {
			var err error
			if published, err = strconv.ParseUint(p.Published, 10, 16); err != nil {
				return nil, nil, fmt.Errorf("ports: %q is not one port from 0 to 65535; a range needs one of the same size in the container", p.Published)
			}
		}
		port := swarm.PortConfig{
			Protocol: swarm.PortConfigProtocol(cmp.Or(p.Protocol, "tcp")), TargetPort: p.Target, PublishedPort: uint32(published),
			PublishMode: swarm.PortConfigPublishMode(cmp.Or(p.Mode, "ingress")),
		}
		out = append(out, port)
		if err := errors.Join(oneOf("ports: mode", p.Mode, "ingress", "host"), oneOf("ports: protocol", p.Protocol, "tcp", "udp", "sctp")); err != nil {
			return nil, nil, err
		}
		if p.HostIP == "" {
			continue
		}
		addr, err := netip.ParseAddr(p.HostIP)
		if err != nil {
			return nil, nil, fmt.Errorf("ports: host_ip: %w", err)
		}
		if addr.IsUnspecified() {
			continue // every address is what it is without
		}
		if published == 0 {
			return nil, nil, fmt.Errorf("ports: host_ip %s: give the published port of %d as well", p.HostIP, p.Target)
		}
		hostIPs = append(hostIPs, fmt.Sprintf("%d/%s=%s", published, port.Protocol, addr))
	}
	slices.SortFunc(out, func(a, b swarm.PortConfig) int {
		return cmp.Or(cmp.Compare(a.PublishedPort, b.PublishedPort), cmp.Compare(a.TargetPort, b.TargetPort), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.PublishMode, b.PublishMode))
	})
	slices.Sort(hostIPs)
	return out, hostIPs, nil
}

// attachments are the networks of a service; its own name is an alias on each.
func (c *converter) attachments(s *types.ServiceConfig) ([]swarm.NetworkAttachmentConfig, error) {
	switch mode := s.NetworkMode; {
	case mode == "host" || mode == "none":
		return []swarm.NetworkAttachmentConfig{{Target: mode}}, nil
	case podOf(s) != "":
		return nil, nil // those of the other service
	case mode != "" && mode != "bridge" && mode != "default":
		return nil, fmt.Errorf("network_mode: %q has no meaning in a cluster: use host, none, or networks", mode)
	}
	attached := s.Networks
	if len(attached) == 0 {
		attached = map[string]*types.ServiceNetworkConfig{defaultNetwork: nil}
	}
	out := make([]swarm.NetworkAttachmentConfig, 0, len(attached))
	for key, with := range attached {
		n := c.p.Networks[key]
		a := swarm.NetworkAttachmentConfig{Target: c.named(key, n.Name, bool(n.External))}
		if with != nil {
			a.Aliases, a.DriverOpts = slices.Clone(with.Aliases), with.DriverOpts
		}
		if container.NetworkMode(a.Target).IsUserDefined() { // the others have no names
			a.Aliases = append(a.Aliases, s.Name)
		}
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b swarm.NetworkAttachmentConfig) int { return cmp.Compare(a.Target, b.Target) })
	return out, nil
}

func logDriver(from *types.LoggingConfig) *swarm.Driver {
	if from == nil {
		return nil
	}
	return &swarm.Driver{Name: from.Driver, Options: from.Options}
}

func (c *converter) container(s *types.ServiceConfig) (*swarm.ContainerSpec, error) {
	mounts, err := c.mounts(s)
	health, healthErr := healthcheck(s.HealthCheck)
	credentials, configs, credErr := c.credentials(s)
	dns, dnsErr := dnsConfig(s)
	add, drop := capabilities(s.CapAdd), capabilities(s.CapDrop)
	drop = slices.DeleteFunc(drop, func(name string) bool { return slices.Contains(add, name) })
	return &swarm.ContainerSpec{
		Image: s.Image, Command: s.Entrypoint, Args: s.Command, Hostname: s.Hostname, Hosts: hosts(s.ExtraHosts), DNSConfig: dns,
		Healthcheck: health, Env: environment(s.Environment), Labels: c.labels(s.Labels), Dir: s.WorkingDir, User: s.User, Groups: s.GroupAdd,
		Mounts: mounts, StopGracePeriod: (*time.Duration)(s.StopGracePeriod), StopSignal: s.StopSignal, TTY: s.Tty, OpenStdin: s.StdinOpen,
		Secrets: c.secretRefs(s.Secrets), Configs: append(c.configRefs(s.Configs), configs...), ReadOnly: s.ReadOnly,
		Privileges: &swarm.Privileges{CredentialSpec: credentials}, Isolation: container.Isolation(s.Isolation), Init: s.Init, Sysctls: s.Sysctls,
		CapabilityAdd: add, CapabilityDrop: drop, Ulimits: ulimits(s.Ulimits), OomScoreAdj: s.OomScoreAdj,
	}, errors.Join(err, healthErr, credErr, dnsErr)
}

// environment is NAME=value, or NAME alone for what is to be unset, sorted.
func environment(from types.MappingWithEquals) []string {
	out := make([]string, 0, len(from))
	for name, value := range from {
		if value != nil {
			name += "=" + *value
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// hosts are "address name", in an order that does not change.
func hosts(from types.HostsList) []string {
	out := []string{}
	for _, host := range slices.Sorted(maps.Keys(from)) {
		for _, ip := range from[host] {
			out = append(out, ip+" "+host)
		}
	}
	return out
}

func dnsConfig(s *types.ServiceConfig) (*swarm.DNSConfig, error) {
	if len(s.DNS)+len(s.DNSSearch)+len(s.DNSOpts) == 0 {
		return nil, nil
	}
	for _, ip := range s.DNS {
		if _, err := netip.ParseAddr(ip); err != nil {
			return nil, fmt.Errorf("dns: %q is not an address", ip)
		}
	}
	return &swarm.DNSConfig{Nameservers: s.DNS, Search: s.DNSSearch, Options: s.DNSOpts}, nil
}

func healthcheck(from *types.HealthCheckConfig) (*container.HealthConfig, error) {
	if from == nil {
		return nil, nil
	}
	if from.Disable {
		if len(from.Test) > 0 {
			return nil, errors.New("healthcheck: test and disable cannot be set at the same time")
		}
		return &container.HealthConfig{Test: []string{"NONE"}}, nil
	}
	out := &container.HealthConfig{Test: from.Test}
	for to, value := range map[*time.Duration]*types.Duration{&out.Timeout: from.Timeout, &out.Interval: from.Interval, &out.StartPeriod: from.StartPeriod, &out.StartInterval: from.StartInterval} {
		if value != nil {
			*to = time.Duration(*value)
		}
	}
	if from.Retries != nil {
		out.Retries = int(*from.Retries)
	}
	return out, nil
}

// capabilities are sorted, in capitals and with their prefix; ALL stands for
// all others.
func capabilities(from []string) (out []string) {
	for _, name := range from {
		name = strings.ToUpper(strings.TrimSpace(name))
		if name == "ALL" {
			return []string{name}
		}
		if !strings.HasPrefix(name, "CAP_") {
			name = "CAP_" + name
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func ulimits(from map[string]*types.UlimitsConfig) []*container.Ulimit {
	out := make([]*container.Ulimit, 0, len(from))
	for _, name := range slices.Sorted(maps.Keys(from)) {
		u := from[name]
		if u == nil {
			continue
		}
		limit := &container.Ulimit{Name: name, Soft: int64(u.Soft), Hard: int64(u.Hard)}
		if u.Single != 0 {
			limit.Soft, limit.Hard = int64(u.Single), int64(u.Single)
		}
		out = append(out, limit)
	}
	return out
}

// defaultMode is that of a secret's or a config's file.
const defaultMode = 0o444

func (c *converter) secretRefs(from []types.ServiceSecretConfig) []*swarm.SecretReference {
	out := make([]*swarm.SecretReference, 0, len(from))
	for _, r := range from {
		spec := c.p.Secrets[r.Source]
		uid, gid, mode := owner(types.FileReferenceConfig(r))
		out = append(out, &swarm.SecretReference{
			SecretName: c.named(r.Source, spec.Name, bool(spec.External)),
			File:       &swarm.SecretReferenceFileTarget{Name: secretTarget(r), UID: uid, GID: gid, Mode: mode},
		})
	}
	slices.SortStableFunc(out, func(a, b *swarm.SecretReference) int { return cmp.Compare(a.SecretName, b.SecretName) })
	return out
}

// secretTarget is the file's name below /run/secrets, which compose-go puts
// before a name without a folder.
func secretTarget(r types.ServiceSecretConfig) string {
	return cmp.Or(strings.TrimPrefix(r.Target, "/run/secrets/"), r.Source)
}

func (c *converter) configRefs(from []types.ServiceConfigObjConfig) []*swarm.ConfigReference {
	out := make([]*swarm.ConfigReference, 0, len(from))
	for _, r := range from {
		spec := c.p.Configs[r.Source]
		uid, gid, mode := owner(types.FileReferenceConfig(r))
		out = append(out, &swarm.ConfigReference{
			ConfigName: c.named(r.Source, spec.Name, bool(spec.External)),
			File:       &swarm.ConfigReferenceFileTarget{Name: cmp.Or(r.Target, r.Source), UID: uid, GID: gid, Mode: mode},
		})
	}
	slices.SortStableFunc(out, func(a, b *swarm.ConfigReference) int { return cmp.Compare(a.ConfigName, b.ConfigName) })
	return out
}

func owner(r types.FileReferenceConfig) (uid, gid string, mode os.FileMode) {
	mode = defaultMode
	if r.Mode != nil {
		mode = os.FileMode(*r.Mode)
	}
	return cmp.Or(r.UID, "0"), cmp.Or(r.GID, "0"), mode
}

// credentials are the credential spec, with the config that it may need.
func (c *converter) credentials(s *types.ServiceConfig) (*swarm.CredentialSpec, []*swarm.ConfigReference, error) {
	from := s.CredentialSpec
	if from == nil {
		return nil, nil, nil
	}
	given := 0
	for _, v := range []string{from.Config, from.File, from.Registry} {
		if v != "" {
			given++
		}
	}
	if given != 1 {
		return nil, nil, errors.New("credential_spec: give one of config, file and registry")
	}
	out := &swarm.CredentialSpec{File: from.File, Registry: from.Registry}
	if from.Config == "" {
		return out, nil, nil
	}
	spec, ok := c.p.Configs[from.Config]
	if !ok {
		return nil, nil, fmt.Errorf("credential_spec: the config %q is not defined", from.Config)
	}
	out.Config = c.named(from.Config, spec.Name, bool(spec.External))
	return out, []*swarm.ConfigReference{{ConfigName: out.Config, Runtime: &swarm.ConfigReferenceRuntimeTarget{}}}, nil
}
