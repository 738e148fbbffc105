package dockerapi

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// What a request to the swarm half hears on a node that is no manager.
// Docker's words: tools look for them.
const (
	notAManager = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. " +
		"Please run this command on a manager node or promote the current node to a manager."
	notAMember = `This node is not a swarm manager. Use "swarmctl init" or "swarmctl join" to connect this node to swarm and try again.`
)

// versionPrefix is the engine's own pattern: what it takes for a version and we
// do not would reach its swarm half.
var versionPrefix = regexp.MustCompile(`(?s)^/v([0-9.]+)(/.*)$`)

// aboutContainers are the requests that a container in a network of the cluster
// needs more for than the engine does.
var aboutContainers = regexp.MustCompile(`^/containers/(create|[^/]+/(start|restart))$`)

type versionKey struct{}

// split takes the version off the path: /v1.41/nodes is "1.41" and "/nodes".
func split(path string) (version, rest string) {
	if m := versionPrefix.FindStringSubmatch(path); m != nil {
		return m[1], m[2]
	}
	return "", path
}

// unversioned is the request without the version in its path.
func unversioned(r *http.Request) *http.Request {
	version, rest := split(r.URL.Path)
	out := r.WithContext(context.WithValue(r.Context(), versionKey{}, version))
	u := *r.URL
	u.Path, u.RawPath = rest, ""
	out.URL = &u
	return out
}

// apiVersion is the version of the API that the request asked for, or "".
func apiVersion(r *http.Request) string {
	v, _ := r.Context().Value(versionKey{}).(string)
	return v
}

// owner is who answers a path.
type owner int

const (
	ownerEngine  owner = iota // the container engine of this host
	ownerNode                 // this node
	ownerCluster              // the leader
	ownerManager              // any manager
)

func ownerOf(path string) owner {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "_ping", "version", "info", "events", "distribution", "networks":
		return ownerNode
	case "swarm":
		switch rest {
		case "init", "join", "leave", "unlock":
			return ownerNode
		}
		return ownerCluster
	case "swarmctl":
		if parts := strings.Split(rest, "/"); len(parts) > 2 && parts[2] == "engine" {
			return ownerManager
		}
		return ownerCluster
	case "nodes", "services", "tasks", "secrets", "configs":
		return ownerCluster
	}
	return ownerEngine
}

// ServeHTTP serves the whole API: for the daemon's socket.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	version, path := split(r.URL.Path)
	who := ownerOf(path)
	if r.Method == http.MethodPost && aboutContainers.MatchString(path) && a.cfg.Networks != nil && a.isMember() {
		who = ownerNode // it may be in a network of the cluster
	}
	if who == ownerEngine {
		a.engine.ServeHTTP(w, r)
		return
	}
	err := a.checkVersion(r.Context(), version)
	if err == nil {
		err = checkQuery(r)
	}
	switch {
	case err != nil:
		writeError(w, err)
	case who == ownerNode:
		a.serveNode(w, r)
	case who == ownerManager:
		a.serveManager(w, r)
	default:
		a.serveCluster(w, r)
	}
}

func (a *API) serveNode(w http.ResponseWriter, r *http.Request) {
	if _, err := buffered(w, r); err != nil {
		writeError(w, err)
		return
	}
	a.node.ServeHTTP(w, unversioned(r))
}

func (a *API) serveCluster(w http.ResponseWriter, r *http.Request) {
	switch a.cfg.Node.Role() {
	case Leader:
		a.serveAsLeader(w, r)
	case Manager:
		a.cfg.Forward.ServeHTTP(w, r)
	case Worker:
		writeError(w, api.Errorf(api.CodeUnavailable, notAManager))
	case Locked:
		writeError(w, ErrLocked)
	default:
		writeError(w, api.Errorf(api.CodeUnavailable, notAMember))
	}
}

func (a *API) serveManager(w http.ResponseWriter, r *http.Request) {
	switch a.cfg.Node.Role() {
	case Leader, Manager:
		if _, err := buffered(w, r); err != nil {
			writeError(w, err)
			return
		}
		a.manager.ServeHTTP(w, unversioned(r))
	default:
		a.serveCluster(w, r) // says why not
	}
}

// serveAsLeader answers, unless the lead is lost before anything is done: the
// request, body and all, goes to the new leader then.
func (a *API) serveAsLeader(w http.ResponseWriter, r *http.Request) {
	body, err := buffered(w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	elsewhere := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		r.Body = io.NopCloser(bytes.NewReader(body))
		a.cfg.Forward.ServeHTTP(w, r)
	})
	ctx := context.WithValue(r.Context(), notLeaderKey{}, elsewhere)
	a.cluster.ServeHTTP(w, unversioned(r.WithContext(ctx)))
}

// Forwarded serves what other managers forward: the swarm half and nothing
// else, and never forwards again. For the cluster's port, to managers only.
func (a *API) Forwarded() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, path := split(r.URL.Path)
		switch {
		case ownerOf(path) != ownerCluster:
			writeError(w, api.Errorf(api.CodeForbidden, "%s is answered by each node for itself", path))
		case a.cfg.Node.Role() != Leader:
			writeError(w, api.ErrNotLeader)
		default:
			if _, err := buffered(w, r); err != nil {
				writeError(w, err)
				return
			}
			a.cluster.ServeHTTP(w, unversioned(r))
		}
	})
}

// ForNode serves what a node asks for itself, on any manager: for the cluster's
// port. It asks about its own containers and nobody else's.
func (a *API) ForNode(id api.NodeID) http.Handler {
	own := "/swarmctl/nodes/" + string(id) + "/"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path := r.URL.Path; !strings.HasPrefix(path, own) || strings.Contains(path, "/../") {
			writeError(w, api.Errorf(api.CodeForbidden, "node %s speaks for itself alone, not for %s", id, path))
			return
		}
		a.serveCluster(w, r)
	})
}

func (a *API) nodeRoutes() http.Handler {
	return a.routes(map[string]handler{
		"GET /_ping":                  a.ping,
		"HEAD /_ping":                 a.ping,
		"GET /version":                a.version,
		"GET /info":                   a.info,
		"GET /events":                 a.events,
		"GET /distribution/{name...}": a.distribution,
		"POST /swarm/init":            a.swarmInit,
		"POST /swarm/join":            a.swarmJoin,
		"POST /swarm/leave":           a.swarmLeave,
		"POST /swarm/unlock":          a.swarmUnlock,

		"GET /networks":                  a.hostNetworkList,
		"POST /networks/create":          a.hostNetworkCreate,
		"POST /networks/prune":           a.hostNetworkPrune,
		"GET /networks/{id}":             a.networkInspect,
		"DELETE /networks/{id}":          a.ofNetwork(a.hostNetworkDelete),
		"POST /networks/{id}/connect":    a.ofNetwork(a.networkConnect),
		"POST /networks/{id}/disconnect": a.ofNetwork(a.networkDisconnect),
		"/networks/":                     a.toEngine,
		"POST /containers/create":        a.containerCreate,
		"POST /containers/{id}/start":    a.containerStart,
		"POST /containers/{id}/restart":  a.containerStart,
	})
}

func (a *API) clusterRoutes() http.Handler {
	return a.routes(map[string]handler{
		"GET /swarm":                       a.swarmInspect,
		"POST /swarm/update":               a.swarmUpdate,
		"GET /swarm/unlockkey":             a.swarmUnlockKey,
		"GET /nodes":                       a.nodeList,
		"GET /nodes/{id}":                  a.nodeInspect,
		"POST /nodes/{id}/update":          a.nodeUpdate,
		"DELETE /nodes/{id}":               a.nodeDelete,
		"GET /services":                    a.serviceList,
		"POST /services/create":            a.serviceCreate,
		"GET /services/{id}":               a.serviceInspect,
		"POST /services/{id}/update":       a.serviceUpdate,
		"DELETE /services/{id}":            a.serviceDelete,
		"GET /services/{id}/logs":          a.serviceLogs,
		"GET /tasks":                       a.taskList,
		"GET /tasks/{id}":                  a.taskInspect,
		"GET /tasks/{id}/logs":             a.taskLogs,
		"GET /swarmctl/tasks/{id}/explain": a.taskExplain,
		"GET /swarmctl/tasks/{id}/exec":    a.execTarget,

		"GET /swarmctl/services/{id}/rebalance":  a.rebalanceInspect,
		"POST /swarmctl/services/{id}/rebalance": a.serviceRebalance,

		"GET /swarmctl/nodes/{node}/attachments":         a.attachmentList,
		"PUT /swarmctl/nodes/{node}/attachments/{id}":    a.attachmentPut,
		"DELETE /swarmctl/nodes/{node}/attachments/{id}": a.attachmentDelete,
		"GET /swarmctl/nodes/{node}/networks/{id}":       a.clusterNetworkInspect,

		"GET /swarmctl/registries":           a.registryList,
		"POST /swarmctl/registries":          a.registryLogin,
		"DELETE /swarmctl/registries/{host}": a.registryLogout,

		"GET /swarmctl/networks":             a.networkList,
		"GET /swarmctl/networks/{id}":        a.clusterNetworkInspect,
		"GET /swarmctl/networks/{id}/check":  a.networkCheck,
		"GET /swarmctl/services/{id}/trace":  a.serviceTrace,
		"POST /swarmctl/networks/create":     a.networkCreate,
		"POST /swarmctl/networks/prune":      a.networkPrune,
		"DELETE /swarmctl/networks/{id}":     a.networkDelete,
		"GET /secrets":                       a.secretList,
		"POST /secrets/create":               a.secretCreate,
		"GET /secrets/{id}":                  a.secretInspect,
		"POST /secrets/{id}/update":          a.secretUpdate,
		"DELETE /secrets/{id}":               a.secretDelete,
		"GET /configs":                       a.configList,
		"POST /configs/create":               a.configCreate,
		"GET /configs/{id}":                  a.configInspect,
		"POST /configs/{id}/update":          a.configUpdate,
		"DELETE /configs/{id}":               a.configDelete,
		"POST /swarmctl/secrets/{id}/update": a.secretRewrite,
		"POST /swarmctl/configs/{id}/update": a.configRewrite,

		"GET /swarmctl/stacks/{name}":           a.stackInspect,
		"POST /swarmctl/stacks/{name}":          a.stackDeploy,
		"POST /swarmctl/stacks/{name}/dryrun":   a.stackDryRun,
		"POST /swarmctl/stacks/{name}/rollback": a.stackRollback,
		"POST /swarmctl/stacks/{name}/stop":     a.stackStop,
		"POST /swarmctl/stacks/{name}/start":    a.stackStart,

		"GET /swarmctl/volumes":            a.volumeList,
		"GET /swarmctl/volumes/{id}":       a.volumeInspect,
		"DELETE /swarmctl/volumes/{id}":    a.volumeDelete,
		"POST /swarmctl/volumes/{id}/move": a.volumeMove,

		"GET /swarmctl/services/{id}/rollout":  a.serviceRollout,
		"POST /swarmctl/services/{id}/promote": a.servicePromote,
	})
}

func (a *API) managerRoutes() http.Handler {
	const engine = "/swarmctl/tasks/{id}/engine"
	table := map[string]handler{}
	for _, base := range []string{engine, engine + "/{version}"} { // Docker's clients put theirs into every path
		table["POST "+base+"/containers/{container}/exec"] = a.execCreate
		table["POST "+base+"/exec/{exec}/start"] = a.execStart
		table["POST "+base+"/exec/{exec}/resize"] = a.execResize
		table["GET "+base+"/exec/{exec}/json"] = a.execInspect
	}
	return a.routes(table)
}

func (a *API) routes(table map[string]handler) http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range table {
		mux.Handle(pattern, a.told(h))
		path, isGet := strings.CutPrefix(pattern, "GET ")
		if head := "HEAD " + path; isGet && table[head] == nil {
			mux.Handle(head, handler(noSuchPage)) // as the engine has it, and no stream begins that nobody can see
		}
	}
	mux.Handle("/", handler(noSuchPage))
	return mux
}

func noSuchPage(http.ResponseWriter, *http.Request) error {
	return api.Errorf(api.CodeNotFound, "page not found")
}

// told tells the log of a refusal, for those who debug a client. Anybody can
// cause as many as they like, so it is told at that level alone.
func (a *API) told(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		err := h(w, r)
		if err != nil {
			a.cfg.Log.Debug("request refused", "method", r.Method, "path", r.URL.Path, "err", err)
		}
		return err
	}
}

// read returns the view that a request reads: one that has seen every write
// acknowledged before it.
func (a *API) read(r *http.Request) (*state.View, error) { return a.cfg.Store.ReadView(r.Context()) }

// found reads the state and finds in it what the request is about.
func found[T any](a *API, r *http.Request, find func(view *state.View, ref string) (T, error)) (view *state.View, it T, err error) {
	if view, err = a.read(r); err == nil {
		it, err = find(view, r.PathValue("id"))
	}
	return view, it, err
}

// propose commits operations, all or none.
func (a *API) propose(r *http.Request, ops ...state.Op) error {
	res, err := a.cfg.Store.Propose(r.Context(), a.command(ops))
	if err != nil {
		return err
	}
	return res.Err()
}

func (a *API) command(ops []state.Op) state.Command {
	return state.Command{At: a.cfg.Now(), Ops: ops}
}
