package docker

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/go-connections/nat"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// applySettings gives a container what Docker's service spec has no field for.
func applySettings(h *container.HostConfig, t *setting.Task) {
	h.Privileged = t.Privileged
	h.PidMode = container.PidMode(t.PID)
	h.IpcMode = container.IpcMode(t.IPC)
	h.ShmSize = t.ShmSize
	bindTo(h.PortBindings, t.HostIPs)
	for _, d := range t.Devices {
		h.Devices = append(h.Devices, container.DeviceMapping{PathOnHost: d.Host, PathInContainer: d.Container, CgroupPermissions: d.Permissions})
	}
	if g := t.GPUs; g != nil {
		h.DeviceRequests = []container.DeviceRequest{{
			Driver: g.Driver, Count: g.Count, DeviceIDs: g.IDs, Capabilities: [][]string{g.Capabilities}, Options: g.Options,
		}}
	}
}

// bindTo binds ports to the addresses that they are to have alone.
func bindTo(ports nat.PortMap, ips setting.HostIPs) {
	for port, bindings := range ports {
		for i := range bindings {
			published, _ := strconv.ParseUint(bindings[i].HostPort, 10, 16) // none: the engine picks one
			p := swarm.PortConfig{PublishedPort: uint32(published), Protocol: swarm.PortConfigProtocol(port.Proto())}
			if a := ips.Of(p); a.IsValid() {
				bindings[i].HostIP = a.String()
			}
		}
	}
}

// resourceEnv tells a container which generic resources are its own, as Docker
// Swarm does and runtimes of GPUs read it: DOCKER_RESOURCE_GPU=uuid1,uuid2.
func resourceEnv(list []api.GenericResource) []string {
	values := map[string][]string{}
	add := func(kind, value string) {
		name := "DOCKER_RESOURCE_" + strings.ToUpper(kind)
		values[name] = append(values[name], value)
	}
	for _, r := range list {
		switch {
		case r.NamedResourceSpec != nil:
			add(r.NamedResourceSpec.Kind, r.NamedResourceSpec.Value)
		case r.DiscreteResourceSpec != nil:
			add(r.DiscreteResourceSpec.Kind, strconv.FormatInt(r.DiscreteResourceSpec.Value, 10))
		}
	}
	var env []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		env = append(env, name+"="+strings.Join(values[name], ","))
	}
	return env
}
