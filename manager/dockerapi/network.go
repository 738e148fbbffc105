package dockerapi

import (
	"errors"
	"maps"
	"net/http"
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
	f, err := parseFilters(r, "dangling", "driver", "id", "label", "name", "scope", "type")
	if err != nil {
		return nil, err
	}
	list := []networkAnswer{}
	for n := range view.Networks() {
		if matchNetwork(view, f, n) {
			list = append(list, projectNetwork(n, apiVersion(r)))
		}
	}
	return list, nil
}

func matchNetwork(view *state.View, f filters.Args, n *api.Network) bool {
	if !f.ExactMatch("driver", api.DriverOverlay) || !f.ExactMatch("scope", scopeSwarm) || !f.ExactMatch("type", "custom") ||
		!f.Match("name", n.Spec.Name) || !f.Match("id", string(n.ID)) || !f.MatchKVList("label", n.Spec.Labels) {
		return false
	}
	dangling, err := f.GetBoolOrDefault("dangling", false)
	return err != nil || !f.Contains("dangling") || dangling == (len(view.NetworkUsers(n.ID)) == 0)
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
		Internal: n.Spec.Internal, Attachable: n.Spec.Attachable, Options: networkOptions(n), Labels: n.Spec.Labels,
	}}
	for _, c := range n.IPAM.Configs {
		out.IPAM.Config = append(out.IPAM.Config, network.IPAMConfig{Subnet: c.Subnet, IPRange: c.Range, Gateway: c.Gateway})
	}
	if version == "" || versions.GreaterThanOrEqualTo(version, ipv4Since) {
		yes := true
		out.EnableIPv4 = &yes
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
		if err := a.allot(r, n); err != nil {
			return err
		}
		err := a.propose(r, state.Op{CreateNetwork: n})
		if errors.Is(err, api.ErrOutdated) {
			continue
		}
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusCreated, network.CreateResponse{ID: string(n.ID)})
	}
}

func (a *API) allot(r *http.Request, n *api.Network) error {
	view, err := a.read(r)
	if err != nil {
		return err
	}
	c := view.Cluster()
	if c == nil {
		c = &api.Cluster{}
	}
	pool, err := ipam.NewPool(c.Pool())
	if err != nil {
		return err
	}
	return pool.Allot(n, ipam.TakenBy(view.Networks()))
}

// networkSpec is what a request asks for, or why it cannot be had.
func networkSpec(req *network.CreateRequest) (api.NetworkSpec, error) {
	spec := api.NetworkSpec{
		Annotations:         swarm.Annotations{Name: req.Name, Labels: notEmpty(req.Labels)},
		DriverConfiguration: &swarm.Driver{Name: api.DriverOverlay, Options: req.Options},
		Internal:            req.Internal, Attachable: req.Attachable, Scope: scopeSwarm,
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
	case slices.Contains([]string{"bridge", "host", "none", "default", "ingress"}, req.Name):
		return api.Errorf(api.CodeForbidden, "operation is not permitted on predefined %s network", req.Name)
	case req.Scope == "local":
		return api.Errorf(api.CodeInvalid, "cannot downgrade network scope for overlay networks")
	case req.Driver != api.DriverOverlay && req.Driver != "":
		return unsupported("driver %s cannot span hosts: use --driver overlay, or leave out --scope swarm", req.Driver)
	case req.Ingress:
		return unsupported("not supported yet: ingress networks come with a later version of swarmctl")
	case req.ConfigFrom != nil && req.ConfigFrom.Network != "":
		return unsupported("configuration networks are for networks of one host")
	case req.EnableIPv6 != nil && *req.EnableIPv6:
		return unsupported("not supported yet: IPv6 in networks that span hosts")
	case req.IPAM != nil && req.IPAM.Driver != "" && req.IPAM.Driver != "default":
		return api.Errorf(api.CodeInvalid, "error during lookup of plugin %s: the cluster hands out the addresses of network %q itself: use the default", req.IPAM.Driver, req.Name)
	}
	return nil
}

func (a *API) networkDelete(w http.ResponseWriter, r *http.Request) error {
	view, err := a.read(r)
	if err != nil {
		return err
	}
	n, err := view.FindNetwork(r.PathValue("id"))
	if err != nil {
		return err
	}
	return a.deleted(w, r, state.Op{DeleteNetwork: &state.DeleteNetwork{ID: n.ID}})
}

// networkPrune removes the networks that no service uses.
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
		if !until.IsZero() && n.Meta.CreatedAt.After(until) || !f.MatchKVList("label", n.Spec.Labels) ||
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
