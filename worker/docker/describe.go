package docker

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"

	"github.com/swarmctl/swarmctl/api"
)

// Describe asks the engine what its node is: name, platform, resources,
// version, labels, plugins. An engine that is a member of a Docker swarm is an
// error of code conflict.
func (e *Engine) Describe(ctx context.Context) (api.NodeDescription, error) {
	info, err := e.cli.Info(ctx)
	if err != nil {
		return api.NodeDescription{}, e.fail(err)
	}
	if err := refuseSwarm(&info); err != nil {
		return api.NodeDescription{}, err
	}
	return api.NodeDescription{
		Hostname:  info.Name,
		Platform:  swarm.Platform{Architecture: info.Architecture, OS: info.OSType},
		Resources: swarm.Resources{NanoCPUs: int64(info.NCPU) * 1e9, MemoryBytes: info.MemTotal, GenericResources: info.GenericResources},
		Engine: swarm.EngineDescription{
			EngineVersion: info.ServerVersion,
			Labels:        engineLabels(info.Labels),
			Plugins:       e.plugins(ctx, &info),
		},
	}, nil
}

// CheckSwarm refuses an engine that is a member of a Docker swarm: two
// orchestrators would fight over its networks and ports. Code conflict.
func (e *Engine) CheckSwarm(ctx context.Context) error {
	info, err := e.cli.Info(ctx)
	if err != nil {
		return e.fail(err)
	}
	return refuseSwarm(&info)
}

func refuseSwarm(info *system.Info) error {
	switch info.Swarm.LocalNodeState {
	case "", swarm.LocalNodeStateInactive:
		return nil
	}
	return api.Errorf(api.CodeConflict, "this engine is a member of a Docker swarm: `docker swarm leave` first")
}

func engineLabels(list []string) map[string]string {
	var labels map[string]string
	for _, l := range list {
		k, v, _ := strings.Cut(l, "=")
		if labels == nil {
			labels = map[string]string{}
		}
		labels[k] = v
	}
	return labels
}

// pluginTypes are the engine's names for kinds of plugins, as nodes report them.
var pluginTypes = map[string]string{"volumedriver": "Volume", "networkdriver": "Network", "logdriver": "Log", "authz": "Authorization"}

// plugins lists what is built in and what is installed. A list of installed
// ones that cannot be had is no reason to be without a description.
func (e *Engine) plugins(ctx context.Context, info *system.Info) []swarm.PluginDescription {
	var out []swarm.PluginDescription
	add := func(kind string, names ...string) {
		for _, n := range names {
			out = append(out, swarm.PluginDescription{Type: kind, Name: n})
		}
	}
	add("Volume", info.Plugins.Volume...)
	add("Network", append([]string{"overlay"}, info.Plugins.Network...)...)
	add("Authorization", info.Plugins.Authorization...)
	add("Log", info.Plugins.Log...)
	if installed, err := e.cli.PluginList(ctx, filters.Args{}); err == nil {
		for _, p := range installed {
			for _, t := range p.Config.Interface.Types {
				if p.Enabled && t.Prefix == "docker" {
					add(cmp.Or(pluginTypes[t.Capability], t.Capability), p.Name)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b swarm.PluginDescription) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(out)
}
