package docker

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"

	"github.com/swarmctl/swarmctl/api"
	fake "github.com/swarmctl/swarmctl/integration/registry"
)

func credentials(t *testing.T, user, password string) api.RegistryAuth {
	t.Helper()
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: user, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	return api.RegistryAuth(auth)
}

// The engine pulls with the credentials that came with the task, those of one
// task are not another one's, and what it says of a refusal names them not.
func TestAnImageIsPulledWithTheTasksCredentials(t *testing.T) {
	b := newBed(t)
	binary, err := buildBinary()
	if err != nil {
		t.Fatal(err)
	}
	r, err := fake.New("me", "secret-word", binary)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(r)
	defer srv.Close()
	name := strings.TrimPrefix(srv.URL, "http://") + "/team/app:1"
	t.Cleanup(func() {
		_, _ = b.cli.ImageRemove(context.Background(), name, image.RemoveOptions{Force: true, PruneChildren: true})
	})
	for _, auth := range []api.RegistryAuth{"", credentials(t, "me", "wrong-word")} {
		err := b.PullImage(t.Context(), name, auth)
		if err == nil || strings.Contains(err.Error(), "wrong-word") || auth != "" && strings.Contains(err.Error(), string(auth)) {
			t.Errorf("with %s: %v", auth, err)
		}
	}
	if err := b.PullImage(t.Context(), name, credentials(t, "me", "secret-word")); err != nil {
		t.Fatal(err)
	}
	if r.AskedBy("me") == 0 {
		t.Error("nobody asked with the name")
	}
	req := b.request("exit", "0")
	req.Spec.TaskTemplate.ContainerSpec.Image = name
	id := b.run(req)
	if ev := b.await(EventDied, id); ev.ExitCode != 0 {
		t.Errorf("exit code %d of the image that was pulled", ev.ExitCode)
	}
}
