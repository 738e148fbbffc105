package cli

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/registry"
)

// Both create and update send the credentials of the image's registry when
// they are asked to, and none otherwise.
func TestCredentialsGoWithTheRequest(t *testing.T) {
	dir := t.TempDir()
	config := `{"auths":{"registry.test:5000":{"auth":"bWU6c2VjcmV0"}}}` // me:secret
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("DOCKER_CONFIG", dir)
	w := newWorld()
	var sent []string
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/services/") {
			sent = append(sent, r.Header.Get(registry.AuthHeader)+"|"+r.URL.Query().Get("registryAuthFrom"))
		}
		w.serve(rw, r)
	}))
	defer srv.Close()
	run := func(line string) {
		t.Helper()
		var out bytes.Buffer
		args := append([]string{"-H", "tcp://" + srv.Listener.Addr().String()}, strings.Fields(line)...)
		if code := Run(t.Context(), args, strings.NewReader(""), &out, &out); code != 0 {
			t.Fatalf("%s: exit code %d: %s", line, code, out.String())
		}
	}
	run("service create -d --no-resolve-image --name web --with-registry-auth registry.test:5000/app:1")
	run("service update -d --no-resolve-image --with-registry-auth --force web")
	run("service update -d --force web")
	if len(sent) != 3 {
		t.Fatalf("%d requests: %q", len(sent), sent)
	}
	for i, want := range []string{"", ""} {
		header, from, _ := strings.Cut(sent[i], "|")
		auth, err := registry.DecodeAuthConfig(header)
		if err != nil || auth.Username != "me" || auth.Password != "secret" || from != want {
			t.Errorf("request %d: %+v, %v, from %q", i, auth, err, from)
		}
	}
	if sent[2] != "|spec" {
		t.Errorf("without the flag: %q", sent[2])
	}
}
