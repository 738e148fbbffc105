package dockerapi

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	timetypes "github.com/docker/docker/api/types/time"
	"github.com/docker/docker/api/types/versions"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
	"github.com/swarmctl/swarmctl/network/ipam"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// The cluster's half of /networks: what the leader answers to the nodes, which
// put it together with what their engine has. See hostnetwork.go.

const scopeSwarm = "swarm"

// networkFilters are those of a list of networks.
var networkFilters = []string{"dangling", "driver", "id", "label", "name", "scope", "type"}

func (a *API) networkList(w http.ResponseWriter, r *http.Request) error {
	view, err := a.read(r)
	if err != nil {
		return err
	}
	list, err := listNetworks(view, r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, list)
}

// listNetworks are the cluster's networks that the filters of a request let through.
func listNetworks(view *state.View, r *http.Request) ([]networkAnswer, error) {
	f, err := parseFilters(r, networkFilters...)
	if err != nil {
		return nil, err
	}
	list := []networkAnswer{}
	used := func(n *api.Network) bool { return inUse(view, n) }
	for n := range view.Networks() {
		if matchNetwork(f, n, used) {
			list = append(list, projectNetwork(n, apiVersion(r)))
		}
	}
	return list, nil
}

// inUse reports whether pruning leaves a network alone.
func inUse(view *state.View, n *api.Network) bool {
	if n.Spec.Ingress || len(view.NetworkUsers(n.ID)) > 0 {
		return true
	}
	for range view.NetworkTasks(n.ID) {
		return true
	}
	for range view.NetworkAttached(n.ID) {
		return true
	}
	return false
}

func matchNetwork(f filters.Args, n *api.Network, used func(*api.Network) bool) bool {
	if !f.ExactMatch("driver", api.DriverOverlay) || !f.ExactMatch("scope", scopeSwarm) || !f.ExactMatch("type", "custom") ||
		!f.Match("name", n.Spec.Name) || !f.Match("id", string(n.ID)) || !f.MatchKVList("label", n.Spec.Labels) {
		return false
	}
	dangling, err := f.GetBoolOrDefault("dangling", false)
	return err != nil || !f.Contains("dangling") || dangling != used(n)
}

// ipv4Since is the version of the API that tells whether a network has IPv4.
const ipv4Since = "1.48"

// networkAnswer is a network as Docker's API shows it.
type networkAnswer struct {
	network.Inspect
	EnableIPv4 *bool `json:",omitempty"`
}

func projectNetwork(n *api.Network, version string) networkAnswer {
	out := networkAnswer{Inspect: network.Inspect{
		Name: n.Spec.Name, ID: string(n.ID), Created: n.Meta.CreatedAt, Scope: scopeSwarm, Driver: api.DriverOverlay,
		IPAM:     network.IPAM{Driver: "default", Options: n.IPAM.Driver.Options},
		Internal: n.Spec.Internal, Attachable: n.Spec.Attachable, Ingress: n.Spec.Ingress, EnableIPv6: n.Spec.IPv6Enabled,
		Options: networkOptions(n), Labels: n.Spec.Labels,
	}}
	for _, c := range n.IPAM.Configs {
		out.IPAM.Config = append(out.IPAM.Config, network.IPAMConfig{Subnet: c.Subnet, IPRange: c.Range, Gateway: c.Gateway})
	}
	if version == "" || versions.GreaterThanOrEqualTo(version, ipv4Since) {
		four := slices.ContainsFunc(n.IPAM.Configs, func(c swarm.IPAMConfig) bool { return !strings.Contains(c.Subnet, ":") })
		out.EnableIPv4 = &four
	}
	return out
}

// networkOptions are the driver's options as the network has them.
func networkOptions(n *api.Network) map[string]string {
	options := map[string]string{}
	if d := n.Spec.DriverConfiguration; d != nil {
		maps.Copy(options, d.Options)
	}
	ids := make([]string, len(n.VXLAN))
	for i, id := range n.VXLAN {
		ids[i] = strconv.FormatUint(uint64(id), 10)
	}
	options[api.OptionVXLAN] = strings.Join(ids, ",")
	return options
}

// networkCreate makes a network. Where others make one at the same time, two
// may choose the same subnet; the state lets one have it, and the other
// chooses anew. It need not be counted how often: whoever loses does so to a
// network that exists then, and they end with the pool.
func (a *API) networkCreate(w http.ResponseWriter, r *http.Request) error {
	var req network.CreateRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	spec, err := networkSpec(&req)
	if err != nil {
		return err
	}
	n := &api.Network{ID: api.NetworkID(a.cfg.NewID()), Spec: spec}
	for {
		view, err := a.read(r)
		if err != nil {
			return err
		}
		if err := a.allot(view, n, nil); err != nil {
			return err
		}
		err = a.propose(r, state.Op{CreateNetwork: n})
		if errors.Is(err, api.ErrOutdated) {
			continue
		}
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusCreated, network.CreateResponse{ID: string(n.ID)})
	}
}

// allot gives a network what is free in the view, and is not of others that are
// to be created with it.
func (a *API) allot(view *state.View, n *api.Network, others []*api.Network) error {
	c := view.Cluster()
	if c == nil {
		c = &api.Cluster{}
	}
	pool, err := ipam.NewPool(c.Pool())
	if err != nil {
		return err
	}
	taken := ipam.TakenBy(view.Networks())
	more := ipam.TakenBy(slices.Values(others))
	taken.Subnets, taken.VXLAN = append(taken.Subnets, more.Subnets...), append(taken.VXLAN, more.VXLAN...)
	taken.Subnets = append(taken.Subnets, a.cfg.Routes()...)
	for node := range view.Nodes() {
		taken.Subnets = append(taken.Subnets, node.Routes...)
	}
	if err := pool.Allot(n, taken); err != nil {
		return err
	}
	return routedBy(view, n)
}

// routedBy refuses a subnet that a host has a route of its own to, which can
// only be one that was asked for: the host would lose one of the two.
func routedBy(view *state.View, n *api.Network) error {
	for node := range view.Nodes() {
		for _, c := range n.IPAM.Configs {
			subnet, err := netip.ParsePrefix(c.Subnet)
			if err != nil {
				return err
			}
			if i := slices.IndexFunc(node.Routes, subnet.Overlaps); i >= 0 {
				return api.Errorf(api.CodeForbidden, "network %s: its subnet %s overlaps with %s, which node %s routes elsewhere: give another subnet, or leave it out", n.Spec.Name, subnet, node.Routes[i], node.Hostname())
			}
		}
	}
	return nil
}

// networkSpec is what a request asks for, or why it cannot be had.
func networkSpec(req *network.CreateRequest) (api.NetworkSpec, error) {
	spec := api.NetworkSpec{
		Annotations:         swarm.Annotations{Name: req.Name, Labels: notEmpty(req.Labels)},
		DriverConfiguration: &swarm.Driver{Name: api.DriverOverlay, Options: req.Options},
		Internal:            req.Internal, Attachable: req.Attachable, Ingress: req.Ingress, Scope: scopeSwarm,
		IPv6Enabled: req.EnableIPv6 != nil && *req.EnableIPv6,
	}
	if err := checkNetwork(req); err != nil {
		return spec, err
	}
	if req.IPAM == nil {
		return spec, nil
	}
	spec.IPAMOptions = &swarm.IPAMOptions{Driver: swarm.Driver{Name: req.IPAM.Driver, Options: notEmpty(req.IPAM.Options)}}
	for _, c := range req.IPAM.Config {
		if len(c.AuxAddress) > 0 {
			return spec, api.Errorf(api.CodeUnsupported, "network %q: auxiliary addresses are for networks of one host: the cluster hands out the addresses of %s itself", req.Name, c.Subnet)
		}
		spec.IPAMOptions.Configs = append(spec.IPAMOptions.Configs, swarm.IPAMConfig{Subnet: c.Subnet, Range: c.IPRange, Gateway: c.Gateway})
	}
	return spec, nil
}

// notEmpty is the map, or nil where it has nothing: what Docker shows then.
func notEmpty(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

func checkNetwork(req *network.CreateRequest) error {
	unsupported := func(format string, args ...any) error {
		return api.Errorf(api.CodeUnsupported, "network %q: "+format, append([]any{req.Name}, args...)...)
	}
	if err := servicespec.CheckName(req.Name); err != nil {
		return err
	}
	switch {
	case slices.Contains([]string{"bridge", "host", "none", "default"}, req.Name) || req.Name == api.IngressNetwork && !req.Ingress:
		return api.Errorf(api.CodeForbidden, "operation is not permitted on predefined %s network", req.Name)
	case req.Scope == "local":
		return api.Errorf(api.CodeInvalid, "cannot downgrade network scope for overlay networks")
	case req.Driver != api.DriverOverlay && req.Driver != "":
		return unsupported("driver %s cannot span hosts: use --driver overlay, or leave out --scope swarm", req.Driver)
	case req.Ingress && req.Attachable:
		return api.Errorf(api.CodeInvalid, "ingress network cannot be attachable: published ports alone use it")
	case req.Ingress && req.Internal:
		return api.Errorf(api.CodeInvalid, "ingress network cannot be internal: clients from outside come through it")
	case req.EnableIPv4 != nil && !*req.EnableIPv4:
		return api.Errorf(api.CodeInvalid, "IPv4 cannot be disabled in a Swarm scoped network: leave out --ipv4=false")
	case req.ConfigFrom != nil && req.ConfigFrom.Network != "":
		return unsupported("configuration networks are for networks of one host")
	case req.IPAM != nil && req.IPAM.Driver != "" && req.IPAM.Driver != "default":
		return api.Errorf(api.CodeInvalid, "error during lookup of plugin %s: the cluster hands out the addresses of network %q itself: use the default", req.IPAM.Driver, req.Name)
	}
	return checkOptions(req)
}

const (
	optionEncrypted = "encrypted"
	// Every IPv6 node takes packets of 1280 bytes, every IPv4 one of 68; nothing
	// larger than 65535 has room in an IP packet's length.
	minMTU, minMTU6, maxMTU = 68, 1280, 65535
)

// checkOptions holds the driver's options to what is carried out. Those that
// other drivers know are stored and shown, as Docker Swarm does.
func checkOptions(req *network.CreateRequest) error {
	if _, ok := req.Options[optionEncrypted]; ok {
		return api.Errorf(api.CodeUnsupported, "network %q: not supported yet: option %s: what goes between hosts is not encrypted; use a network of the hosts that is, or leave the option out", req.Name, optionEncrypted)
	}
	text, ok := req.Options[api.OptionMTU]
	if !ok {
		return nil
	}
	least := minMTU
	if req.EnableIPv6 != nil && *req.EnableIPv6 {
		least = minMTU6
	}
	if mtu, err := strconv.Atoi(text); err != nil || mtu < least || mtu > maxMTU {
		return api.Errorf(api.CodeInvalid, "network %q: invalid MTU %q: give a number from %d to %d, or leave out %s for what the hosts' own network leaves room for", req.Name, text, least, maxMTU, api.OptionMTU)
	}
	return nil
}

// networkPatience is for how long a network that is removed waits for the end of
// tasks: Docker's time between the stop signal and the kill, and some more.
const networkPatience = 15 * time.Second

// networkDelete waits for tasks that have been told to end: their addresses are
// theirs until then. Docker Swarm does not wait, so whoever removes a stack
// removes its networks right after its services.
func (a *API) networkDelete(w http.ResponseWriter, r *http.Request) error {
	_, n, err := found(a, r, (*state.View).FindNetwork)
	if err != nil {
		return err
	}
	a.awaitEnds(r.Context(), n.ID)
	return a.deleted(w, r, state.Op{DeleteNetwork: &state.DeleteNetwork{ID: n.ID}})
}

// awaitEnds returns when none of a network's tasks is on its way to the end any
// more, and at once where somebody uses it who stays.
func (a *API) awaitEnds(ctx context.Context, id api.NetworkID) {
	ctx, cancel := context.WithTimeout(ctx, networkPatience)
	defer cancel()
	for view, cursor := a.cfg.Store.Follow(); view != nil && onlyEnding(view, id); {
		e, err := cursor.Next(ctx)
		if err != nil {
			return
		}
		view = e.View
	}
}

// onlyEnding reports whether a network is used, and by tasks alone that are to end.
func onlyEnding(v *state.View, id api.NetworkID) (ending bool) {
	for t := range v.NetworkTasks(id) {
		if t.Desired <= api.TaskRunning {
			return false
		}
		ending = ending || !v.OutOfReach(t)
	}
	for range v.NetworkAttached(id) {
		return false
	}
	return ending && len(v.NetworkUsers(id)) == 0
}

// networkPrune removes the networks that nobody uses. The ingress network is
// there for services to come.
func (a *API) networkPrune(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "label", "label!", "until")
	if err != nil {
		return err
	}
	until, err := untilFilter(f, a.cfg.Now())
	if err != nil {
		return err
	}
	view, err := a.read(r)
	if err != nil {
		return err
	}
	report := network.PruneReport{}
	for n := range view.Networks() {
		if n.Spec.Ingress || !until.IsZero() && n.Meta.CreatedAt.After(until) || !f.MatchKVList("label", n.Spec.Labels) ||
			f.Contains("label!") && f.MatchKVList("label!", n.Spec.Labels) {
			continue
		}
		switch err := a.propose(r, state.Op{DeleteNetwork: &state.DeleteNetwork{ID: n.ID}}); {
		case err == nil:
			report.NetworksDeleted = append(report.NetworksDeleted, n.Spec.Name)
		case !errors.Is(err, api.ErrInvalid) && !errors.Is(err, api.ErrNotFound): // used, or gone
			return err
		}
	}
	return writeJSON(w, http.StatusOK, report)
}

// untilFilter is the time before which what is to be pruned was made; zero
// where it does not matter.
func untilFilter(f filters.Args, now time.Time) (time.Time, error) {
	values := f.Get("until")
	switch len(values) {
	case 0:
		return time.Time{}, nil
	case 1:
	default:
		return time.Time{}, api.Errorf(api.CodeInvalid, "more than one until filter specified")
	}
	text, err := timetypes.GetTimestamp(values[0], now)
	if err != nil {
		return time.Time{}, api.Errorf(api.CodeInvalid, "failed to parse value as time or duration: %q", values[0])
	}
	sec, nsec, err := timetypes.ParseTimestamps(text, 0)
	if err != nil {
		return time.Time{}, api.Errorf(api.CodeInvalid, "failed to parse value as time or duration: %q", values[0])
	}
	return time.Unix(sec, nsec), nil
}
