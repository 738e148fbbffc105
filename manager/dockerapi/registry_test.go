package dockerapi_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/registry"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// registryEngine is an engine whose registries take one password, and of which
// one does not answer. It notes whose credentials a look-up came with.
func registryEngine(asked *[]string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/distribution/") {
			auth, _ := registry.DecodeAuthConfig(r.Header.Get(registry.AuthHeader))
			*asked = append(*asked, auth.Username)
			_, _ = fmt.Fprint(w, "{}")
			return
		}
		var auth registry.AuthConfig
		_ = json.NewDecoder(r.Body).Decode(&auth)
		switch {
		case strings.Contains(auth.ServerAddress, "away"):
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprint(w, `{"message":"dial tcp: no such host"}`)
		case auth.Password != "WORD":
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = fmt.Fprint(w, `{"message":"login attempt to http://x/v2/ failed with status: 401 Unauthorized"}`)
		default:
			_, _ = fmt.Fprint(w, `{"Status":"Login Succeeded"}`)
		}
	})
}

// The cluster's credentials are kept if the registry takes them, or cannot be
// asked, and are told to nobody.
func TestTheClusterLogsIn(t *testing.T) {
	var asked []string
	c := start(t, registryEngine(&asked))
	for _, tt := range []struct{ body, want, user string }{
		{`{"serveraddress":"r.example.com:5000","username":"me","password":"WORD"}`, `200 {"Host":"r.example.com:5000","Username":"me"`, "me"},
		{`{"serveraddress":"r.example.com:5000","username":"me","password":"OTHER"}`, "403 {\"message\":\"registry r.example.com:5000 refuses me: login attempt to http://x/v2/ failed with status: 401 Unauthorized\"}", "me"},
		{`{"serveraddress":"https://r.example.com:5000/v1/","username":"you","password":"WORD"}`, `200 `, "you"},
		{`{"serveraddress":"away.io","username":"me","password":"OTHER"}`, `200 {"Host":"away.io","Username":"me"`, "you"},
		{`{"serveraddress":"index.docker.io","username":"hub","password":"WORD"}`, `200 {"Host":"docker.io"`, "you"},
		{`{"serveraddress":"host","username":"me","password":"WORD"}`, `400 {"message":"registry \"host\": give the host as the names of its images begin`, "you"},
		{`{"serveraddress":"r.io","username":"me"}`, `400 {"message":"registry r.io: give a user name and a password or a token"}`, "you"},
		{`{"serveraddress":"r.io","secret":"x"}`, `400 `, "you"},
	} {
		if got := c.post("/swarmctl/registries", tt.body); !strings.HasPrefix(got, tt.want) || strings.Contains(got, "WORD") || strings.Contains(got, "OTHER") {
			t.Errorf("%s:\n got %s\nwant %s", tt.body, got, tt.want)
		}
		if got := c.store.View().Registry("r.example.com:5000").Username; got != tt.user {
			t.Errorf("after %s: logged in as %s", tt.body, got)
		}
	}
	auth, err := registry.DecodeAuthConfig(string(c.store.View().Registry("docker.io").Auth))
	c.must(err)
	if auth.Username != "hub" || auth.Password != "WORD" || auth.ServerAddress != "https://index.docker.io/v1/" {
		t.Errorf("kept for the Hub: %+v", auth)
	}
	told := c.get("/swarmctl/registries") + c.get("/info") + c.get("/swarm") + fmt.Sprintf("%+v %#v", *c.store.View().Registry("docker.io"), *c.store.View().Registry("docker.io"))
	if strings.Contains(told, "WORD") || strings.Contains(told, string(c.store.View().Registry("docker.io").Auth)) || !strings.Contains(told, `"Host":"away.io","Username":"me"`) {
		t.Errorf("told: %s", told)
	}
	for _, want := range []int{http.StatusNoContent, http.StatusNotFound} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, c.url+"/swarmctl/registries/r.example.com:5000", nil)
		c.must(err)
		res, err := http.DefaultClient.Do(req)
		c.must(err)
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("logout: %d, want %d", res.StatusCode, want)
		}
	}
}

// A digest is looked up with the client's own credentials, and with the cluster's
// where it has none.
func TestADigestIsLookedUpWithTheClustersCredentials(t *testing.T) {
	var asked []string
	c := start(t, registryEngine(&asked))
	c.apply(state.Op{PutRegistry: &api.Registry{Host: "r.io", Auth: api.RegistryAuth(encoded(t, "cluster"))}})
	for _, auth := range []string{"", "e30=", encoded(t, "own")} {
		for _, image := range []string{"r.io/team/app:1", "other.io/app"} {
			_, err := c.docker.DistributionInspect(t.Context(), image, auth)
			c.must(err)
		}
	}
	if got := strings.Join(asked, ","); got != "cluster,,cluster,,own,own" {
		t.Errorf("asked as %s", got)
	}
}
