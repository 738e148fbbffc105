package dockerapi

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
)

// seenContainer is a container as the engine has it, as far as the cluster's
// networks are concerned.
type seenContainer struct {
	ID         string
	Name       string
	State      *container.State
	HostConfig struct {
		DNS []string `json:"Dns"`
	}
	attachment string // the cluster's ID for it
	task       bool   // the worker looks after it
	networks   []attachmentNetwork
}

func (c *seenContainer) name() string { return containerName(c.Name) }

// servers are those for names that it was made with.
func (c *seenContainer) servers() (list []netip.Addr) {
	for _, s := range c.HostConfig.DNS {
		if a, err := netip.ParseAddr(s); err == nil {
			list = append(list, a)
		}
	}
	return list
}

func (c *seenContainer) on(id api.NetworkID) bool {
	return slices.ContainsFunc(c.networks, func(n attachmentNetwork) bool { return n.Network == string(id) })
}

// request is what the cluster is to have of it.
func (c *seenContainer) request() *attachmentRequest {
	return &attachmentRequest{Name: c.name(), Networks: c.networks}
}

// is reports whether the cluster has it so.
func (c *seenContainer) is(known *api.AttachedContainer) bool {
	if known == nil || known.Name != c.name() || len(known.Networks) != len(c.networks) {
		return false
	}
	for _, at := range known.Networks {
		i := slices.IndexFunc(c.networks, func(n attachmentNetwork) bool { return n.Network == string(at.Network) })
		if i < 0 || !slices.Equal(c.networks[i].Aliases, known.Aliases[at.Network]) {
			return false
		}
	}
	return true
}

// inspectContainer asks the engine. A container that does not exist is an
// error of code not found.
func (a *API) inspectContainer(ctx context.Context, ref string) (*seenContainer, error) {
	var seen struct {
		seenContainer
		Config struct{ Labels map[string]string }

		NetworkSettings struct {
			Networks map[string]*network.EndpointSettings
		}
	}
	if ref == "" {
		return nil, api.Errorf(api.CodeInvalid, "the request names no container: give its name or ID")
	}
	if err := a.askEngine(ctx, "/containers/"+url.PathEscape(ref)+"/json", &seen); err != nil {
		return nil, err
	}
	c := seen.seenContainer
	c.attachment, c.task = attachmentOf(c.ID, seen.Config.Labels), isTask(seen.Config.Labels)
	bridges, err := a.bridges(ctx)
	if err != nil {
		return nil, err
	}
	for name, e := range seen.NetworkSettings.Networks {
		if id, ours := bridges.of(name, e); ours {
			c.networks = append(c.networks, attachmentNetwork{Network: id, Aliases: aliasesOf(&c, e), Addrs: addrsOf(e)})
		}
	}
	slices.SortFunc(c.networks, func(a, b attachmentNetwork) int { return strings.Compare(a.Network, b.Network) })
	return &c, nil
}

// bridgeNames are the engine's networks by the engine's name and ID for them:
// the ID of the cluster's network that each is this node's part of, or nothing.
// Those of the cluster that the engine has no part of are there by their names.
type bridgeNames map[string]string

// of is the network that a container is on under a name. Before it has been
// started the engine knows no ID of it.
func (b bridgeNames) of(name string, e *network.EndpointSettings) (id string, ours bool) {
	if e != nil && e.NetworkID != "" {
		name = e.NetworkID
	}
	return b[name], b[name] != ""
}

func (a *API) bridges(ctx context.Context) (bridgeNames, error) {
	var list []knownNetwork
	if err := a.askEngine(ctx, "/networks", &list); err != nil {
		return nil, err
	}
	out := bridgeNames{}
	for _, n := range a.cfg.Networks.Known() {
		out[n.Name] = string(n.ID)
	}
	for _, n := range list {
		out[n.ID], out[n.Name] = n.Labels[api.LabelNetworkID], n.Labels[api.LabelNetworkID]
	}
	return out, nil
}

// aliasesOf are the names of a container in a network beside its own: those
// that it was given, and the beginning of its ID, as in Docker Swarm. What
// nobody can look up is passed over: it is the engine's to have let it in.
func aliasesOf(c *seenContainer, e *network.EndpointSettings) []string {
	out := []string{shortID(c.ID)}
	if e != nil {
		out = append(out, e.Aliases...)
	}
	out = slices.DeleteFunc(out, func(alias string) bool { return alias == c.name() || servicespec.CheckAlias(alias) != nil })
	slices.Sort(out)
	return slices.Compact(out)
}

// addrsOf are the addresses that the engine has given a container, or will.
func addrsOf(e *network.EndpointSettings) (out []netip.Addr) {
	if e == nil {
		return nil
	}
	texts := []string{e.IPAddress, e.GlobalIPv6Address}
	if c := e.IPAMConfig; c != nil {
		texts = []string{cmp.Or(e.IPAddress, c.IPv4Address), cmp.Or(e.GlobalIPv6Address, c.IPv6Address)}
	}
	for _, text := range texts {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// askEngine is the engine's answer to a plain question.
func (a *API) askEngine(ctx context.Context, path string, v any) error {
	res, err := a.ask(ctx, path)
	if err != nil {
		return api.Errorf(api.CodeUnavailable, "%s", engineDown(err))
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	if res.StatusCode == http.StatusOK {
		if err := json.NewDecoder(res.Body).Decode(v); err != nil {
			return fmt.Errorf("the engine's answer to %s: %w", path, err)
		}
		return nil
	}
	var said struct{ Message string }
	if err := json.NewDecoder(res.Body).Decode(&said); err != nil {
		return errors.Join(fmt.Errorf("%s: %s", path, res.Status), err)
	}
	if res.StatusCode == http.StatusNotFound {
		return api.Errorf(api.CodeNotFound, "%s", said.Message)
	}
	return api.Errorf(api.CodeUnavailable, "%s", said.Message)
}
