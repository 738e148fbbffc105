package dockerapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
)

// The host's half of /networks: on a member of the cluster the engine's
// networks and the cluster's are one list, and every request goes to whoever
// has the network. The bridges that are this node's part of the cluster's
// networks are the cluster's: the engine's list has them under the same names.

// leaderPatience is how long the cluster's part of a list is waited for while
// managers elect a leader; then it is told as this manager last knew it.
const leaderPatience = 2 * time.Second

func (a *API) isManager() bool {
	role := a.cfg.Node.Role()
	return role == Manager || role == Leader
}

// isMember reports whether the node knows the cluster's networks.
func (a *API) isMember() bool {
	return a.isManager() || a.cfg.Networks != nil && a.cfg.Node.Role() == Worker
}

// answer keeps an answer, to be looked at before it goes out.
type answer struct {
	status int // 0: there was none
	header http.Header
	body   bytes.Buffer
}

// Header, WriteHeader and Write implement http.ResponseWriter.
func (k *answer) Header() http.Header    { return k.header }
func (k *answer) WriteHeader(status int) { k.status = status }
func (k *answer) Write(p []byte) (int, error) {
	if k.status == 0 {
		k.status = http.StatusOK
	}
	return k.body.Write(p)
}

// kept has a request answered by someone else, for us to look at.
func kept(ask func(http.ResponseWriter)) *answer {
	k := &answer{header: http.Header{}}
	ask(k)
	return k
}

// pass hands the answer on.
func (k *answer) pass(w http.ResponseWriter) {
	if k.status == 0 {
		return // the caller has gone
	}
	for name, values := range k.header {
		w.Header()[name] = values
	}
	w.WriteHeader(k.status)
	_, _ = k.body.WriteTo(w)
}

// at is a request for another path, under the version that it came with.
func at(r *http.Request, path string) *http.Request {
	if v := apiVersion(r); v != "" {
		path = "/v" + v + path
	}
	out := r.Clone(r.Context())
	out.URL.Path, out.URL.RawPath = path, ""
	return out
}

// question is a request of our own, made on behalf of one that came in.
func question(ctx context.Context, r *http.Request, path, query string) *http.Request {
	out := at(r, path).WithContext(ctx)
	out.Method, out.Body, out.ContentLength, out.URL.RawQuery = http.MethodGet, http.NoBody, 0, query
	return out
}

// toEngine passes a request through as it came.
func (a *API) toEngine(w http.ResponseWriter, r *http.Request) error {
	a.engine.ServeHTTP(w, at(r, r.URL.Path))
	return nil
}

func (a *API) hostNetworkList(w http.ResponseWriter, r *http.Request) error {
	if !a.isMember() {
		return a.toEngine(w, r)
	}
	local := kept(func(w http.ResponseWriter) { _ = a.toEngine(w, r) })
	if local.status != http.StatusOK {
		local.pass(w)
		return nil
	}
	list, err := a.clusterNetworks(r, r.URL.RawQuery)
	if err != nil {
		return err
	}
	var theirs []json.RawMessage
	if err := json.Unmarshal(local.body.Bytes(), &theirs); err != nil {
		return fmt.Errorf("the engine's list of networks: %w", err)
	}
	for _, n := range decodeNetworks(theirs, false) {
		if !n.bridge() {
			list = append(list, n.raw)
		}
	}
	return writeJSON(w, http.StatusOK, list)
}

// clusterNetworks asks the leader for the cluster's networks. Without a leader
// they are those that this manager knew last, as in info; a worker knows those
// that it has heard of.
func (a *API) clusterNetworks(r *http.Request, query string) ([]json.RawMessage, error) {
	if !a.isManager() {
		return a.heardOf(question(r.Context(), r, "/networks", query))
	}
	ctx, cancel := context.WithTimeout(r.Context(), leaderPatience)
	defer cancel()
	q := question(ctx, r, "/swarmctl/networks", query)
	list := []json.RawMessage{}
	told := kept(func(w http.ResponseWriter) { a.serveCluster(w, q) })
	if told.status == http.StatusOK {
		return list, json.Unmarshal(told.body.Bytes(), &list)
	}
	view := a.cfg.Store.View()
	if view == nil {
		return list, nil // it is no manager any more
	}
	known, err := listNetworks(view, q)
	for _, n := range known {
		list = append(list, raw(n))
	}
	return list, err
}

// heardOf are the cluster's networks as a worker knows them.
func (a *API) heardOf(r *http.Request) ([]json.RawMessage, error) {
	f, err := parseFilters(r, networkFilters...)
	if err != nil {
		return nil, err
	}
	list := []json.RawMessage{}
	for _, known := range a.cfg.Networks.Known() {
		n := networkOf(known)
		if matchNetwork(f, n, func(*api.Network) bool { return true }) {
			list = append(list, raw(projectNetwork(n, apiVersion(r))))
		}
	}
	return list, nil
}

// networkOf is a network as far as a worker knows it.
func networkOf(f *fabric.Network) *api.Network {
	n := &api.Network{ID: f.ID}
	n.Spec.Name, n.Spec.Internal, n.Spec.Attachable, n.Spec.Ingress = f.Name, f.Internal, f.Attachable, f.Ingress
	for _, s := range f.Subnets {
		n.IPAM.Configs = append(n.IPAM.Configs, swarm.IPAMConfig{Subnet: s.Prefix.String()})
		n.VXLAN = append(n.VXLAN, s.VXLAN)
		n.Spec.IPv6Enabled = n.Spec.IPv6Enabled || s.Prefix.Addr().Is6()
	}
	return n
}

// knownNetwork is a network, and whose it is.
type knownNetwork struct {
	ID     string `json:"Id"`
	Name   string
	Labels map[string]string
	ours   bool
	raw    json.RawMessage
}

// bridge reports whether a network of the engine is this node's part of one of
// the cluster's.
func (n *knownNetwork) bridge() bool { return !n.ours && n.Labels[api.LabelNetworkID] != "" }

func decodeNetworks(list []json.RawMessage, ours bool) []knownNetwork {
	out := make([]knownNetwork, 0, len(list))
	for _, data := range list {
		n := knownNetwork{ours: ours, raw: data}
		if json.Unmarshal(data, &n) == nil {
			out = append(out, n)
		}
	}
	return out
}

// findNetwork returns the network that a reference is about, or nil where
// nobody has it. An engine that is down has none.
func (a *API) findNetwork(r *http.Request, ref string) (*knownNetwork, error) {
	var all, bridges []knownNetwork
	scope := r.URL.Query().Get("scope")
	if scope == "" || scope == scopeSwarm {
		list, err := a.clusterNetworks(r, "")
		if err != nil {
			return nil, err
		}
		all = decodeNetworks(list, true)
	}
	if scope != scopeSwarm {
		for _, n := range a.engineNetworks(r) {
			if n.bridge() {
				bridges = append(bridges, n)
			} else {
				all = append(all, n)
			}
		}
	}
	n, err := chooseNetwork(all, ref)
	if n != nil || err != nil {
		return n, err
	}
	// A bridge that outlives its network for a moment is nobody's to touch.
	if left, err := chooseNetwork(bridges, ref); left != nil || err != nil {
		return nil, api.Errorf(api.CodeNotFound, "network %s not found", ref)
	}
	if a.cfg.Node.Role() != Worker || scope == "local" {
		return nil, nil
	}
	return a.askAbout(r.Context(), ref)
}

// askAbout asks a manager about a network that this worker has not heard of
// yet: it may have been made a moment ago.
func (a *API) askAbout(ctx context.Context, ref string) (*knownNetwork, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderPatience)
	defer cancel()
	n := &knownNetwork{ours: true}
	if a.askCluster(ctx, http.MethodGet, a.nodePath()+"/networks/"+url.PathEscape(ref), nil, &n.raw) != nil {
		return nil, nil // nobody knows it, as far as can be found out
	}
	return n, json.Unmarshal(n.raw, n)
}

// engineNetworks are those of the engine, the cluster's bridges among them.
func (a *API) engineNetworks(r *http.Request) []knownNetwork {
	q := question(r.Context(), r, "/networks", "")
	var list []json.RawMessage
	_ = json.Unmarshal(kept(func(w http.ResponseWriter) { a.engine.ServeHTTP(w, q) }).body.Bytes(), &list)
	return decodeNetworks(list, false)
}

// chooseNetwork picks by ID, by name, or by the beginning of an ID.
func chooseNetwork(all []knownNetwork, ref string) (*knownNetwork, error) {
	for _, rule := range []struct {
		what string
		fits func(knownNetwork) bool
	}{
		{"ID", func(n knownNetwork) bool { return n.ID == ref }},
		{"name", func(n knownNetwork) bool { return n.Name == ref }},
		{"ID prefix", func(n knownNetwork) bool { return strings.HasPrefix(n.ID, ref) }},
	} {
		var found []knownNetwork
		for _, n := range all {
			if rule.fits(n) {
				found = append(found, n)
			}
		}
		if len(found) == 1 {
			return &found[0], nil
		}
		if len(found) > 1 {
			return nil, api.Errorf(api.CodeInvalid, "network %s is ambiguous (%d matches found based on %s)", ref, len(found), rule.what)
		}
	}
	return nil, nil
}

// ofNetwork answers a request about one network: by ours where it is the
// cluster's, and by the engine, under the network's ID, where it is the host's.
func (a *API) ofNetwork(ours func(w http.ResponseWriter, r *http.Request, n *knownNetwork) error) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !a.isMember() {
			return a.toEngine(w, r)
		}
		n, err := a.findNetwork(r, r.PathValue("id"))
		switch {
		case err != nil:
			return err
		case n == nil: // the engine says so in its own words
			return a.toEngine(w, r)
		case n.ours:
			return ours(w, r, n)
		}
		verb := strings.TrimPrefix(r.URL.Path, "/networks/"+r.PathValue("id"))
		a.engine.ServeHTTP(w, at(r, "/networks/"+n.ID+verb))
		return nil
	}
}

// networkInspect answers within the swarm's scope for the networks that each
// node has for itself. Clients ask so before they put a service into one, and
// send the ID that they are told: it must be true on every node, so it is the name.
func (a *API) networkInspect(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("id")
	if r.URL.Query().Get("scope") != scopeSwarm || !servicespec.NodeNetwork(name) {
		return a.ofNetwork(a.hostNetworkInspect)(w, r)
	}
	driver := name
	if name == network.NetworkNone {
		driver = "null"
	}
	return writeJSON(w, http.StatusOK, network.Inspect{Name: name, ID: name, Scope: scopeSwarm, Driver: driver})
}

// hostNetworkInspect is what the cluster knows of a network, with the
// containers that are on this node's part of it.
func (a *API) hostNetworkInspect(w http.ResponseWriter, r *http.Request, n *knownNetwork) error {
	if v := r.URL.Query().Get("verbose"); v != "" {
		if _, err := strconv.ParseBool(v); err != nil {
			return api.Errorf(api.CodeInvalid, "invalid value for verbose: %s: %v", v, err)
		}
	}
	data, err := a.clusterNetwork(r, n)
	if err != nil {
		return err
	}
	var out networkAnswer
	if err := json.Unmarshal(data, &out); err != nil {
		return fmt.Errorf("the leader's answer about network %s: %w", n.Name, err)
	}
	out.Containers = a.containersOn(r, n.ID)
	return writeJSON(w, http.StatusOK, out)
}

// clusterNetwork asks the leader about a network, and tells what this node
// knows of it where there is none.
func (a *API) clusterNetwork(r *http.Request, n *knownNetwork) (json.RawMessage, error) {
	if !a.isManager() {
		return n.raw, nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), leaderPatience)
	defer cancel()
	q := question(ctx, r, "/swarmctl/networks/"+n.ID, r.URL.RawQuery)
	told := kept(func(w http.ResponseWriter) { a.serveCluster(w, q) })
	if told.status == http.StatusOK {
		return told.body.Bytes(), nil
	}
	if view := a.cfg.Store.View(); view != nil {
		if known := view.Network(api.NetworkID(n.ID)); known != nil {
			return raw(inspectNetwork(view, known, q)), nil
		}
	}
	return n.raw, nil
}

// containersOn are the containers in this node's part of a network; nil where
// it has no part.
func (a *API) containersOn(r *http.Request, id string) map[string]network.EndpointResource {
	for _, n := range a.engineNetworks(r) {
		if n.Labels[api.LabelNetworkID] != id {
			continue
		}
		q := question(r.Context(), r, "/networks/"+n.ID, "")
		var bridge network.Inspect
		if json.Unmarshal(kept(func(w http.ResponseWriter) { a.engine.ServeHTTP(w, q) }).body.Bytes(), &bridge) != nil {
			return nil
		}
		return bridge.Containers
	}
	return nil
}

func (a *API) hostNetworkDelete(w http.ResponseWriter, r *http.Request, n *knownNetwork) error {
	a.serveCluster(w, at(r, "/swarmctl/networks/"+n.ID))
	return nil
}

// hostNetworkCreate sends a network that spans hosts to the leader, and any
// other one to the engine. A name is used once, whoever has it.
func (a *API) hostNetworkCreate(w http.ResponseWriter, r *http.Request) error {
	body, err := buffered(w, r)
	if err != nil {
		return err
	}
	var req network.CreateRequest
	if json.Unmarshal(body, &req) != nil || req.ConfigOnly || req.Driver != api.DriverOverlay && req.Scope != scopeSwarm {
		if a.knowsName(req.Name) {
			return errNetworkExists(req.Name)
		}
		return a.toEngine(w, r)
	}
	if !a.isManager() {
		return a.notHere()
	}
	if slices.ContainsFunc(a.engineNetworks(r), func(n knownNetwork) bool { return n.Name == req.Name && !n.bridge() }) {
		return errNetworkExists(req.Name)
	}
	a.serveCluster(w, at(r, "/swarmctl/networks/create"))
	return nil
}

// knowsName reports whether one of the cluster's networks has a name, as far as
// this node knows.
func (a *API) knowsName(name string) bool {
	if a.isManager() {
		view := a.cfg.Store.View()
		return view != nil && view.NetworkByName(name) != nil
	}
	return a.isMember() && slices.ContainsFunc(a.cfg.Networks.Known(), func(n *fabric.Network) bool { return n.Name == name })
}

func errNetworkExists(name string) error {
	return api.Errorf(api.CodeConflict, "network with name %s already exists", name)
}

// notHere says why this node makes no networks that span hosts.
func (a *API) notHere() error {
	switch a.cfg.Node.Role() {
	case Worker:
		return api.Errorf(api.CodeForbidden, "Cannot create a multi-host network from a worker node. Please create the network from a manager node.")
	case Locked:
		return ErrLocked
	}
	return api.Errorf(api.CodeUnavailable, notAMember)
}

// hostNetworkPrune removes what nobody uses: first the cluster's, where a
// refusal leaves everything as it is, then the engine's.
func (a *API) hostNetworkPrune(w http.ResponseWriter, r *http.Request) error {
	if !a.isMember() {
		return a.toEngine(w, r)
	}
	var all, theirs network.PruneReport
	if a.isManager() {
		cluster := kept(func(w http.ResponseWriter) { a.serveCluster(w, at(r, "/swarmctl/networks/prune")) })
		if cluster.status != http.StatusOK {
			cluster.pass(w)
			return nil
		}
		if err := json.Unmarshal(cluster.body.Bytes(), &all); err != nil {
			return err
		}
	}
	q, err := sparingBridges(r)
	if err != nil {
		return err
	}
	local := kept(func(w http.ResponseWriter) { _ = a.toEngine(w, q) })
	if local.status != http.StatusOK {
		local.pass(w)
		return nil
	}
	if err := json.Unmarshal(local.body.Bytes(), &theirs); err != nil {
		return err
	}
	all.NetworksDeleted = append(all.NetworksDeleted, theirs.NetworksDeleted...)
	return writeJSON(w, http.StatusOK, all)
}

// sparingBridges is the request with a filter more: the engine takes a bridge
// that no container is on for one that nobody needs.
func sparingBridges(r *http.Request) (*http.Request, error) {
	f, err := filters.FromJSON(r.URL.Query().Get("filters"))
	if err != nil {
		return nil, api.Errorf(api.CodeInvalid, "invalid filters: %v", err)
	}
	f.Add("label!", api.LabelNetworkID)
	text, err := filters.ToJSON(f)
	if err != nil {
		return nil, err
	}
	out := r.Clone(r.Context())
	query := out.URL.Query()
	query.Set("filters", text)
	out.URL.RawQuery = query.Encode()
	return out, nil
}
