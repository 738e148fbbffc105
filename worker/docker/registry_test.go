package docker

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"

	"github.com/swarmctl/swarmctl/api"
)

// testRegistry serves one image to those who know the password, by the
// distribution protocol. An engine takes 127.0.0.0/8 for insecure registries.
type testRegistry struct {
	*httptest.Server
	user, password string
	blobs          map[string][]byte // by digest; the manifest is one of them
	manifest       string

	mu   sync.Mutex
	asks []string // what was asked for, and by whom
}

func newRegistry(t *testing.T, user, password string) *testRegistry {
	t.Helper()
	app, err := buildApp()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := io.ReadAll(app)
	if err != nil {
		t.Fatal(err)
	}
	r := &testRegistry{user: user, password: password, blobs: map[string][]byte{}}
	config := fmt.Sprintf(`{"architecture":"amd64","os":"linux","config":{"Entrypoint":["/app"]},"rootfs":{"type":"layers","diff_ids":[%q]}}`, digest(layer))
	part := func(kind string, data []byte) string {
		r.blobs[digest(data)] = data
		return fmt.Sprintf(`{"mediaType":"application/vnd.docker.%s","size":%d,"digest":%q}`, kind, len(data), digest(data))
	}
	manifest := []byte(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`,
		manifestType, part("container.image.v1+json", []byte(config)), part("image.rootfs.diff.tar", layer)))
	r.manifest = digest(manifest)
	r.blobs[r.manifest] = manifest
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

const manifestType = "application/vnd.docker.distribution.manifest.v2+json"

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

func (r *testRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	user, password, _ := req.BasicAuth()
	r.mu.Lock()
	r.asks = append(r.asks, user+" "+req.URL.Path)
	r.mu.Unlock()
	if user != r.user || password != r.password {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_, ref, _ := strings.Cut(req.URL.Path, "/app/")
	kind, name, _ := strings.Cut(ref, "/")
	if kind == "manifests" {
		name = r.manifest
		w.Header().Set("Content-Type", manifestType)
		w.Header().Set("Docker-Content-Digest", name)
	}
	if data := r.blobs[name]; data != nil || req.URL.Path == "/v2/" {
		w.Header().Set("Content-Length", fmt.Sprint(len(data)))
		_, _ = w.Write(data)
		return
	}
	w.WriteHeader(http.StatusNotFound)
}

// image is the name under which an engine asks for it.
func (r *testRegistry) image() string {
	return strings.TrimPrefix(r.URL, "http://") + "/team/app:1"
}

func (r *testRegistry) askedBy(user string) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.asks {
		if strings.HasPrefix(a, user+" ") {
			n++
		}
	}
	return n
}

func credentials(t *testing.T, user, password string) api.RegistryAuth {
	t.Helper()
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: user, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	return api.RegistryAuth(auth)
}

// The engine pulls with the credentials that came with the task, those of one
// task are not another one's, and what it says of them to people names them not.
func TestAnImageIsPulledWithTheTasksCredentials(t *testing.T) {
	b := newBed(t)
	r := newRegistry(t, "me", "secret-word")
	t.Cleanup(func() {
		_, _ = b.cli.ImageRemove(context.Background(), r.image(), image.RemoveOptions{})
	})
	for _, auth := range []api.RegistryAuth{"", credentials(t, "me", "wrong-word")} {
		err := b.EnsureImage(t.Context(), r.image(), auth)
		if err == nil || strings.Contains(err.Error(), "wrong-word") || auth != "" && strings.Contains(err.Error(), string(auth)) {
			t.Errorf("with %s: %v", auth, err)
		}
	}
	good := credentials(t, "me", "secret-word")
	if err := b.EnsureImage(t.Context(), r.image(), good); err != nil {
		t.Fatal(err)
	}
	if r.askedBy("me") == 0 {
		t.Errorf("nobody asked with the name: %q", r.asks)
	}
	req := b.request("exit", "0")
	req.Spec.TaskTemplate.ContainerSpec.Image = r.image()
	id := b.run(req)
	if ev := b.await(EventDied, id); ev.ExitCode != 0 {
		t.Errorf("exit code %d of the image that was pulled", ev.ExitCode)
	}
}
