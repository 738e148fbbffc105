package dockerapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/network"

	"github.com/swarmctl/swarmctl/api"
)

// The host's half of /networks: on a manager the engine's networks and the
// cluster's are one list, and every request goes to whoever has the network.
// On any other node all of it is the engine's, as far as the engine knows.

// leaderPatience is how long the cluster's part of a list is waited for while
// managers elect a leader; then it is told as this manager last knew it.
const leaderPatience = 2 * time.Second

func (a *API) isManager() bool {
	role := a.cfg.Node.Role()
	return role == Manager || role == Leader
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
	if !a.isManager() {
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
	return writeJSON(w, http.StatusOK, append(list, theirs...))
}

// clusterNetworks asks the leader for the cluster's networks. Without a leader
// they are those that this manager knew last, as in info.
func (a *API) clusterNetworks(r *http.Request, query string) ([]json.RawMessage, error) {
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

// knownNetwork is a network, and whose it is.
type knownNetwork struct {
	ID   string `json:"Id"`
	Name string
	ours bool
	raw  json.RawMessage
}

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

// findNetwork returns the network that a request is about, or nil where nobody
// has it. An engine that is down has none.
func (a *API) findNetwork(r *http.Request) (*knownNetwork, error) {
	var all []knownNetwork
	scope := r.URL.Query().Get("scope")
	if scope == "" || scope == scopeSwarm {
		list, err := a.clusterNetworks(r, "")
		if err != nil {
			return nil, err
		}
		all = decodeNetworks(list, true)
	}
	if scope != scopeSwarm {
		all = append(all, a.engineNetworks(r)...)
	}
	return chooseNetwork(all, r.PathValue("id"))
}

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
		if !a.isManager() {
			return a.toEngine(w, r)
		}
		n, err := a.findNetwork(r)
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

// nodeNetwork reports whether every engine has a network of that name: what a
// service can be put into although it spans no nodes.
func nodeNetwork(name string) bool {
	return name == network.NetworkHost || name == network.NetworkBridge || name == network.NetworkNone
}

// networkInspect answers within the swarm's scope for the networks that each
// node has for itself. Clients ask so before they put a service into one, and
// send the ID that they are told: it must be true on every node, so it is the name.
func (a *API) networkInspect(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("id")
	if r.URL.Query().Get("scope") != scopeSwarm || !nodeNetwork(name) {
		return a.ofNetwork(a.hostNetworkInspect)(w, r)
	}
	driver := name
	if name == network.NetworkNone {
		driver = "null"
	}
	return writeJSON(w, http.StatusOK, network.Inspect{Name: name, ID: name, Scope: scopeSwarm, Driver: driver})
}

// hostNetworkInspect has nothing to add for verbose: no peers or services yet.
func (a *API) hostNetworkInspect(w http.ResponseWriter, r *http.Request, n *knownNetwork) error {
	if v := r.URL.Query().Get("verbose"); v != "" {
		if _, err := strconv.ParseBool(v); err != nil {
			return api.Errorf(api.CodeInvalid, "invalid value for verbose: %s: %v", v, err)
		}
	}
	return writeJSON(w, http.StatusOK, n.raw)
}

func (a *API) hostNetworkDelete(w http.ResponseWriter, r *http.Request, n *knownNetwork) error {
	a.serveCluster(w, at(r, "/swarmctl/networks/"+n.ID))
	return nil
}

func (a *API) hostNetworkConnect(_ http.ResponseWriter, _ *http.Request, n *knownNetwork) error {
	return api.Errorf(api.CodeUnsupported, "network %q: not supported yet: single containers in networks that span hosts come with a later version of swarmctl", n.Name)
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
		if a.isManager() {
			if view := a.cfg.Store.View(); view != nil && view.NetworkByName(req.Name) != nil {
				return errNetworkExists(req.Name)
			}
		}
		return a.toEngine(w, r)
	}
	if !a.isManager() {
		return a.notHere()
	}
	if slices.ContainsFunc(a.engineNetworks(r), func(n knownNetwork) bool { return n.Name == req.Name }) {
		return errNetworkExists(req.Name)
	}
	a.serveCluster(w, at(r, "/swarmctl/networks/create"))
	return nil
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
	if !a.isManager() {
		return a.toEngine(w, r)
	}
	cluster := kept(func(w http.ResponseWriter) { a.serveCluster(w, at(r, "/swarmctl/networks/prune")) })
	if cluster.status != http.StatusOK {
		cluster.pass(w)
		return nil
	}
	local := kept(func(w http.ResponseWriter) { _ = a.toEngine(w, r) })
	if local.status != http.StatusOK {
		local.pass(w)
		return nil
	}
	var all, theirs network.PruneReport
	if err := errors.Join(json.Unmarshal(cluster.body.Bytes(), &all), json.Unmarshal(local.body.Bytes(), &theirs)); err != nil {
		return err
	}
	all.NetworksDeleted = append(all.NetworksDeleted, theirs.NetworksDeleted...)
	return writeJSON(w, http.StatusOK, all)
}
