package dockerapi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	docker "github.com/docker/docker/api"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/api/types/system"
	"github.com/docker/docker/api/types/versions"

	"github.com/swarmctl/swarmctl/api"
)

const (
	// pingPatience and infoPatience bound how long an engine that hangs holds
	// up an answer that we can give without it.
	pingPatience = 2 * time.Second
	infoPatience = 10 * time.Second
	// pingFresh is for how long the engine's answer to a ping is told again.
	// It says what the engine can do, which only another engine changes.
	pingFresh = time.Second
	// fallbackAPI is the version of the API told while the engine has never answered.
	fallbackAPI = "1.41"
)

// enginePing holds the headers of the engine's answer to a ping: what the API
// can do, told also while the engine is down.
type enginePing struct {
	header http.Header
	at     time.Time
}

// ping answers what clients negotiate the version with: as the engine, and for
// it while it is down, so that the swarm half stays in reach.
func (a *API) ping(w http.ResponseWriter, r *http.Request) error {
	if last := a.lastPing.Load(); last == nil || a.cfg.Now().Sub(last.at) >= pingFresh {
		a.pingEngine(r.Context())
	}
	for k, v := range a.engineHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Cache-Control", "no-cache, no-store, must-revalidate")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Swarm", [...]string{Inactive: "inactive", Worker: "active/worker", Manager: "active/manager", Leader: "active/manager", Locked: "locked"}[a.cfg.Node.Role()])
	if r.Method == http.MethodGet {
		_, _ = io.WriteString(w, "OK")
	}
	return nil
}

// pingEngine notes what the engine answers, if it does.
func (a *API) pingEngine(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pingPatience)
	defer cancel()
	now := a.cfg.Now()
	res, err := a.ask(ctx, "/_ping")
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, res.Body) // to its end, so that the connection can be kept
	_ = res.Body.Close()
	header := http.Header{}
	for _, k := range []string{"Api-Version", "Builder-Version", "Docker-Experimental", "Ostype", "Server"} {
		if v := res.Header.Get(k); v != "" {
			header.Set(k, v)
		}
	}
	a.lastPing.Store(&enginePing{header, now})
}

// checkVersion refuses versions of the API that this one is not. The newest is
// the engine's, since one client speaks to both of us in one version; where the
// engine has never answered, it is the newest whose types are served here.
func (a *API) checkVersion(ctx context.Context, version string) error {
	switch {
	case version == "":
		return nil
	case versions.LessThan(version, docker.MinSupportedAPIVersion):
		return api.Errorf(api.CodeInvalid, "client version %s is too old. Minimum supported API version is %s, "+
			"please upgrade your client to a newer version", version, docker.MinSupportedAPIVersion)
	case versions.LessThanOrEqualTo(version, a.engineHeaders().Get("Api-Version")):
		return nil
	}
	a.pingEngine(ctx) // it may be another engine since it was last asked
	newest := docker.DefaultVersion
	if last := a.lastPing.Load(); last != nil {
		newest = cmp.Or(last.header.Get("Api-Version"), newest)
	}
	if versions.GreaterThan(version, newest) {
		return api.Errorf(api.CodeInvalid, "client version %s is too new. Maximum supported API version is %s", version, newest)
	}
	return nil
}

func (a *API) engineHeaders() http.Header {
	if last := a.lastPing.Load(); last != nil {
		return last.header
	}
	return http.Header{"Api-Version": {fallbackAPI}, "Docker-Experimental": {"false"}, "Ostype": {"linux"}}
}

// version is the engine's, with this program as one more component.
func (a *API) version(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), infoPatience)
	defer cancel()
	ours := types.ComponentVersion{Name: "swarmctl", Version: a.cfg.Version}
	v, err := a.askObject(ctx, r, "/version")
	if err != nil {
		return writeJSON(w, http.StatusOK, types.Version{
			Version: a.cfg.Version, APIVersion: a.engineHeaders().Get("Api-Version"), Os: "linux",
			Components: []types.ComponentVersion{ours, {Name: "Engine", Version: "not running", Details: map[string]string{"Error": engineDown(err)}}},
		})
	}
	var components []json.RawMessage
	_ = json.Unmarshal(v["Components"], &components)
	v["Components"] = raw(append(components, raw(ours)))
	return writeJSON(w, http.StatusOK, v)
}

// info is the engine's, with the Swarm section ours.
func (a *API) info(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), infoPatience)
	defer cancel()
	section := a.swarmSection(ctx)
	v, err := a.askObject(ctx, r, "/info")
	if err != nil {
		return writeJSON(w, http.StatusOK, system.Info{
			ServerVersion: "unknown", OSType: "linux", Warnings: []string{"WARNING: " + engineDown(err)}, Swarm: section,
		})
	}
	v["Swarm"] = raw(section)
	return writeJSON(w, http.StatusOK, v)
}

func (a *API) swarmSection(ctx context.Context) swarm.Info {
	info := a.cfg.Node.Info(ctx)
	if info.LocalNodeState == "" {
		info.LocalNodeState = swarm.LocalNodeStateInactive
	}
	if role := a.cfg.Node.Role(); role != Manager && role != Leader {
		return info
	}
	view := a.cfg.Store.View()
	if view == nil {
		return info
	}
	if c := view.Cluster(); c != nil {
		cluster := clusterInfo(c)
		info.Cluster = &cluster
	}
	info.Nodes, info.Managers = 0, 0
	for n := range view.Nodes() {
		info.Nodes++
		if n.IsManager() {
			info.Managers++
		}
	}
	return info
}

// distribution asks the engine to ask the registry, and gives up soon.
func (a *API) distribution(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), a.cfg.RegistryPatience)
	defer cancel()
	a.lookUpAuth(r, strings.TrimSuffix(r.PathValue("name"), "/json"))
	if v := apiVersion(r); v != "" {
		r.URL.Path = "/v" + v + r.URL.Path
	}
	a.registry.ServeHTTP(w, r.WithContext(ctx))
	return nil
}

// ask puts a question of our own to the engine.
func (a *API) ask(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker"+path, nil)
	if err != nil {
		return nil, err
	}
	return a.client.Do(req)
}

// askObject is the engine's answer with its fields left as they are.
func (a *API) askObject(ctx context.Context, r *http.Request, path string) (map[string]json.RawMessage, error) {
	if v := apiVersion(r); v != "" {
		path = "/v" + v + path
	}
	res, err := a.ask(ctx, path)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	var v map[string]json.RawMessage
	if err := json.NewDecoder(res.Body).Decode(&v); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s: %s", path, res.Status, v["message"])
	}
	return v, nil
}

// raw is the JSON of plain data, which cannot fail.
func raw(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
