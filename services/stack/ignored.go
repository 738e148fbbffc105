package stack

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// used has, for each of compose-go's types, the keys that Convert reads. What
// a file has beyond them is named to whoever deploys: a key that compose-go
// learns later too.
var used = map[reflect.Type][]string{
	typ[types.Project]():       {"name", "services", "networks", "volumes", "secrets", "configs"},
	typ[types.ServiceConfig](): {"name", "profiles", "deploy", "restart", "scale"},
	typ[types.ContainerSpec](): {
		"cap_add", "cap_drop", "command", "configs", "cpus", "credential_spec", "devices", "dns", "dns_opt", "dns_search",
		"entrypoint", "environment", "env_file", "extra_hosts", "gpus", "group_add", "hostname", "image", "init", "ipc", "isolation", "labels",
		"label_file", "logging", "mem_limit", "mem_reservation", "network_mode", "networks", "oom_score_adj", "pid", "pids_limit",
		"privileged", "read_only", "secrets", "shm_size", "stop_grace_period", "stop_signal", "sysctls", "tmpfs", "ulimits", "user",
		"volumes", "working_dir",
	},
	typ[types.WorkloadSpec]():            {"depends_on", "healthcheck", "ports", "stdin_open", "tty"},
	typ[types.ServiceDependency]():       {"condition", "required"},
	typ[types.DeployConfig]():            {"mode", "replicas", "labels", "update_config", "rollback_config", "resources", "restart_policy", "placement", "endpoint_mode"},
	typ[types.UpdateConfig]():            {"parallelism", "delay", "failure_action", "monitor", "max_failure_ratio", "order"},
	typ[types.Resources]():               {"limits", "reservations"},
	typ[types.Resource]():                {"cpus", "memory", "pids", "devices", "generic_resources"},
	typ[types.GenericResource]():         {"discrete_resource_spec"},
	typ[types.RestartPolicy]():           {"condition", "delay", "max_attempts", "window"},
	typ[types.Placement]():               {"constraints", "preferences", "max_replicas_per_node"},
	typ[types.PlacementPreferences]():    {"spread"},
	typ[types.ServiceNetworkConfig]():    {"aliases", "driver_opts"},
	typ[types.ServicePortConfig]():       {"mode", "host_ip", "target", "published", "protocol"},
	typ[types.ServiceVolumeConfig]():     {"type", "source", "target", "read_only", "consistency", "bind", "volume", "tmpfs"},
	typ[types.ServiceVolumeBind]():       {"propagation", "create_host_path"},
	typ[types.ServiceVolumeVolume]():     {"nocopy", "subpath"},
	typ[types.ServiceVolumeTmpfs]():      {"size", "mode"},
	typ[types.ServiceConfigObjConfig]():  {"source", "target", "uid", "gid", "mode"},
	typ[types.ServiceSecretConfig]():     {"source", "target", "uid", "gid", "mode"},
	typ[types.NetworkConfig]():           {"name", "driver", "driver_opts", "ipam", "external", "internal", "attachable", "labels", "enable_ipv4", "enable_ipv6"},
	typ[types.IPAMConfig]():              {"driver", "config", "options"},
	typ[types.IPAMPool]():                {"subnet", "gateway", "ip_range", "aux_addresses"},
	typ[types.VolumeConfig]():            {"name", "driver", "driver_opts", "external", "labels"},
	typ[types.SecretConfig]():            {"name", "file", "environment", "content", "external", "labels", "driver", "driver_opts", "template_driver"},
	typ[types.ConfigObjConfig]():         {"name", "file", "environment", "content", "external", "labels", "template_driver"},
	typ[types.HealthCheckConfig]():       {"test", "timeout", "interval", "retries", "start_period", "start_interval", "disable"},
	typ[types.LoggingConfig]():           {"driver", "options"},
	typ[types.CredentialSpecConfig]():    {"config", "file", "registry"},
	typ[types.DeviceMapping]():           {"source", "target", "permissions"},
	typ[types.DiscreteGenericResource](): nil, // it has no tags
	typ[types.UlimitsConfig]():           {"single", "soft", "hard"},
	typ[types.DeviceRequest]():           {"capabilities", "driver", "count", "device_ids", "options"},
}

func typ[T any]() reflect.Type { return reflect.TypeFor[T]() }

// reasons say why a key has no effect, and what to do instead.
var reasons = map[string]string{
	"build":            "images are built before they are deployed: build and push it, and name it in image",
	"container_name":   "a service has many containers; use hostname, or the service's name",
	"develop":          "it is for development on one machine",
	"expose":           "services on the same network reach each other on every port",
	"external_links":   "use a network that both are on",
	"links":            "services on the same network find each other by name; use networks and aliases",
	"pull_policy":      "nodes pull what they lack; --resolve-image pins the image of a deploy",
	"platform":         "use deploy.placement.constraints with node.platform.arch and node.platform.os",
	"cgroup_parent":    "it differs from node to node",
	"mac_address":      "replicas cannot share one",
	"ipv4_address":     "replicas cannot share one",
	"ipv6_address":     "replicas cannot share one",
	"models":           "nothing in a cluster provides models",
	"restart":          "what runs is not stopped because of another service: `service update --force` starts it anew",
	"provider":         "nothing in a cluster runs providers",
	"jobs":             "use a service with deploy.mode: replicated-job",
	"volumes_from":     "name the volume in the volumes of both services",
	"userns_mode":      "the engine of the node decides it",
	"create_host_path": "the path has to be there on the node",
}

// leftOver are the keys of a project that Convert does not read.
func leftOver(p *types.Project) []Ignored {
	l := &leftovers{}
	l.walk("", reflect.ValueOf(p))
	for name, s := range p.Services {
		l.followed(name, &s)
	}
	for name, s := range p.DisabledServices {
		l.add("services."+name, fmt.Sprintf("none of its profiles (%s) is active: use --profile", strings.Join(s.Profiles, ", ")))
	}
	slices.SortFunc(l.found, func(a, b Ignored) int { return strings.Compare(a.Key, b.Key) })
	return l.found
}

type leftovers struct{ found []Ignored }

func (l *leftovers) add(key, why string) { l.found = append(l.found, Ignored{key, why}) }

// walk looks at all that is set below a value.
func (l *leftovers) walk(path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			l.walk(path, v.Elem())
		}
	case reflect.Map:
		for _, k := range slices.Sorted(maps.Keys(stringKeys(v))) {
			l.walk(join(path, k), v.MapIndex(reflect.ValueOf(k).Convert(v.Type().Key())))
		}
	case reflect.Slice:
		for i := range v.Len() {
			l.walk(path, v.Index(i))
		}
	case reflect.Struct:
		l.fields(path, v)
	}
}

func (l *leftovers) fields(path string, v reflect.Value) {
	known, ours := used[v.Type()]
	if !ours {
		return // a value, as a duration is
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag := f.Tag.Get("yaml")
		name, _, _ := strings.Cut(tag, ",")
		switch {
		case !f.IsExported() || name == "-" || strings.HasPrefix(name, "#") || f.Type == typ[types.Extensions]():
		case f.Anonymous: // the keys of a service are in three structs
			l.fields(path, v.Field(i))
		case v.Field(i).IsZero() || empty(v.Field(i)) || tag == "":
		case slices.Contains(known, name):
			l.walk(join(path, name), v.Field(i))
		default:
			why, ok := reasons[name]
			if !ok {
				why = "it has no meaning in a cluster, or none yet"
			}
			l.add(join(path, name), why)
		}
	}
}

func empty(v reflect.Value) bool {
	return (v.Kind() == reflect.Map || v.Kind() == reflect.Slice) && v.Len() == 0
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func stringKeys(v reflect.Value) map[string]bool {
	out := map[string]bool{}
	if v.Type().Key().Kind() == reflect.String {
		for _, k := range v.MapKeys() {
			out[k.String()] = true
		}
	}
	return out
}
