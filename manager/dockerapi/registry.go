package dockerapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/docker/docker/api/types/registry"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// loginPatience is how long a registry may take to say whether it takes credentials.
const loginPatience = 15 * time.Second

// registryList shows where the cluster is logged in, and as whom.
func (a *API) registryList(w http.ResponseWriter, r *http.Request) error {
	view, err := a.read(r)
	if err != nil {
		return err
	}
	list := []api.RegistryLogin{}
	for reg := range view.Registries() {
		list = append(list, api.RegistryLogin{Host: reg.Host, Username: reg.Username, CreatedAt: reg.Meta.CreatedAt, UpdatedAt: reg.Meta.UpdatedAt})
	}
	return writeJSON(w, http.StatusOK, list)
}

// registryLogin keeps the credentials of a registry, unless that refuses them.
func (a *API) registryLogin(w http.ResponseWriter, r *http.Request) error {
	var auth registry.AuthConfig
	if err := readJSON(w, r, &auth); err != nil {
		return err
	}
	host, err := api.RegistryHost(auth.ServerAddress)
	if err != nil {
		return err
	}
	if auth.IdentityToken == "" && (auth.Username == "" || auth.Password == "") {
		return api.Errorf(api.CodeInvalid, "registry %s: give a user name and a password or a token", host)
	}
	if auth.ServerAddress = host; host == api.RegistryOf("image") {
		auth.ServerAddress = api.HubServer
	}
	status, warning, err := a.tryLogin(r.Context(), host, &auth)
	if err != nil {
		return err
	}
	encoded, err := registry.EncodeAuthConfig(auth)
	if err != nil {
		return err
	}
	if err := a.propose(r, state.Op{PutRegistry: &api.Registry{Host: host, Username: auth.Username, Auth: api.RegistryAuth(encoded)}}); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, api.RegistryLogin{Host: host, Username: auth.Username, Status: status, Warning: warning})
}

// tryLogin has this host's engine ask the registry whether it takes the
// credentials. Nodes may reach one that this host does not: that is no refusal.
func (a *API) tryLogin(ctx context.Context, host string, auth *registry.AuthConfig) (status, warning string, err error) {
	ctx, cancel := context.WithTimeout(ctx, loginPatience)
	defer cancel()
	body, err := json.Marshal(auth)
	if err != nil {
		return "", "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://docker/auth", bytes.NewReader(body))
	if err != nil {
		return "", "", err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := a.client.Do(req)
	if err != nil {
		return "", unchecked(host, err.Error()), nil
	}
	defer res.Body.Close() //nolint:errcheck // read to its end
	var answer struct{ Status, IdentityToken, Message string }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return "", unchecked(host, err.Error()), nil
	}
	switch {
	case res.StatusCode != http.StatusOK && api.RegistryRefuses(res.Status+" "+answer.Message):
		return "", "", api.Errorf(api.CodeForbidden, "registry %s refuses %s: %s", host, auth.Username, answer.Message)
	case res.StatusCode != http.StatusOK:
		return "", unchecked(host, answer.Message), nil
	case answer.IdentityToken != "": // instead of the password
		auth.Password, auth.IdentityToken = "", answer.IdentityToken
	}
	return answer.Status, "", nil
}

func unchecked(host, why string) string {
	return fmt.Sprintf("the leader could not ask registry %s whether it takes these credentials, and keeps them as they are: %s", host, why)
}

func (a *API) registryLogout(w http.ResponseWriter, r *http.Request) error {
	host, err := api.RegistryHost(r.PathValue("host"))
	if err != nil {
		return err
	}
	return a.deleted(w, r, state.Op{DeleteRegistry: &state.DeleteRegistry{Host: host}})
}

// lookUpAuth has the look-up of an image's digest use the cluster's credentials
// where the client has sent none: it may not be logged in where the nodes are.
func (a *API) lookUpAuth(r *http.Request, image string) {
	view := a.cfg.Store.View()
	if view == nil {
		return
	}
	given, err := registry.DecodeAuthConfig(r.Header.Get(registry.AuthHeader))
	if err == nil && given != nil && (given.Username != "" || given.Auth != "" || given.IdentityToken != "" || given.RegistryToken != "") {
		return
	}
	if reg := view.Registry(api.RegistryOf(image)); reg != nil {
		r.Header.Set(registry.AuthHeader, string(reg.Auth))
	}
}
