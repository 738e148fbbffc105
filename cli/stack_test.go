package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// run is one command in a world.
func (w *world) command(t *testing.T, addr string, words ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = w.app().Run(t.Context(), append([]string{"--socket", addr}, words...), strings.NewReader(w.input), &out, &errs)
	return code, out.String(), errs.String()
}

// written is a folder with a Compose file and what it names.
func written(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "compose.yml")
}

const stackWithAll = `
services:
  web:
    image: nginx:1
    secrets: [password]
    configs: [motd]
    deploy: {labels: {tier: front}}
secrets:
  password: {file: password}
configs:
  motd: {file: motd}
`

func TestADeployThatChangesNothingWritesNothing(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	file := written(t, map[string]string{"compose.yml": stackWithAll, "password": "swordfish", "motd": "hello"})
	deploy := []string{"stack", "deploy", "-c", file, "--resolve-image", "never", "shop"}
	if code, out, errs := w.command(t, addr, deploy...); code != 0 || !strings.Contains(out, "Creating secret shop_password") {
		t.Fatalf("%d %s%s", code, out, errs)
	}
	before := w.writes
	code, out, errs := w.command(t, addr, deploy...)
	if code != 0 || out != "no changes\n" || w.writes != before {
		t.Errorf("%d, %d writes: %s%s", code, w.writes-before, out, errs)
	}
}

// What is wrong is found before anything is written.
func TestADeployThatIsRefusedWritesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		compose, want string
		code          int
	}{
		"a name that is too long": {strings.Replace(stackWithAll, "web:", strings.Repeat("w", 60)+":", 1), "63 characters or fewer", 1},
		"too little memory":       {strings.Replace(stackWithAll, "nginx:1", "nginx:1\n    mem_limit: 1k", 1), "service shop_web", 1},
		"two services, one bad":   {strings.Replace(stackWithAll, "services:", "services:\n  a: {image: x}\n  b: {image: x, network_mode: bogus}", 1), "services.b: network_mode", 1},
		"an external network":     {stackWithAll + "networks:\n  default: {external: true, name: out}\n", `network "out" is declared as external`, 1},
		"a missing file":          {strings.Replace(stackWithAll, "file: motd", "file: none", 1), "configs.motd: open", 1},
		"a constraint":            {strings.Replace(stackWithAll, "labels:", "placement: {constraints: [nodee.role==worker]}, labels:", 1), "nodee.role", 1},
	} {
		w := newWorld()
		addr := w.start(t)
		file := written(t, map[string]string{"compose.yml": c.compose, "password": "swordfish", "motd": "hello"})
		code, out, errs := w.command(t, addr, "stack", "deploy", "-c", file, "--resolve-image", "never", "shop")
		if code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%s: exit %d, it should say %s: %s%s", name, code, c.want, out, errs)
		}
		if n := w.writes + len(w.networks) + len(w.secrets) + len(w.configs) + len(w.services); n > 0 {
			t.Errorf("%s: something was written: %q", name, w.requests)
		}
	}
}

func TestAnotherContentIsRefusedAndNotShown(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	file := written(t, map[string]string{"compose.yml": stackWithAll, "password": "swordfish", "motd": "hello"})
	deploy := []string{"stack", "deploy", "-c", file, "--resolve-image", "never", "shop"}
	w.command(t, addr, deploy...)
	for name, data := range map[string]string{"password": "trout", "motd": "bye"} {
		path := filepath.Join(filepath.Dir(file), name)
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, content := range []string{data, string(was)} {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			code, out, errs := w.command(t, addr, deploy...)
			if same := content == string(was); (code == 0) != same || !same && !strings.Contains(errs, "its content has changed") || strings.Contains(out+errs, "trout") {
				t.Errorf("%s %q: exit %d: %s%s", name, content, code, out, errs)
			}
		}
	}
}

func TestADryRunAsksAndWritesNothing(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	file := written(t, map[string]string{"compose.yml": stackWithAll, "password": "swordfish", "motd": "hello"})
	code, out, errs := w.command(t, addr, "stack", "deploy", "-c", file, "--dry-run", "shop")
	if code != 0 || !strings.Contains(out, "+ service shop_web\n") || !strings.Contains(out, "+ secret shop_password\n") || strings.Contains(out+errs, "swordfish") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	for _, r := range w.requests {
		if !strings.HasPrefix(r, "GET ") && !strings.HasPrefix(r, "HEAD ") {
			t.Errorf("it sent %s", r)
		}
	}
}

func TestAStackIsGoneWhenItsTasksAre(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	file := written(t, map[string]string{"compose.yml": strings.Replace(stackWithAll, "labels:", "replicas: 5, labels:", 1), "password": "swordfish", "motd": "hello"})
	w.command(t, addr, "stack", "deploy", "-c", file, "--resolve-image", "never", "shop")
	w.mu.Lock()
	w.requests = nil
	w.mu.Unlock()
	if code, out, errs := w.command(t, addr, "stack", "rm", "shop"); code != 0 {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	if n := len(w.services) + len(w.secrets) + len(w.configs) + len(w.networks) + len(w.ending); n > 0 {
		t.Errorf("%d things are left", n)
	}
	var asked, deleted int
	for i, r := range w.requests {
		switch {
		case r == "GET /tasks":
			asked = i
		case strings.HasPrefix(r, "DELETE /networks/"):
			deleted = i
		}
	}
	if asked == 0 || deleted < asked {
		t.Errorf("the network was removed before the tasks were gone: %q", w.requests)
	}
}

// An image that a registry has named stays what it is when the registry is away.
func TestAPinnedImageStaysWhenTheRegistryIsAway(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	file := written(t, map[string]string{"compose.yml": stackWithAll, "password": "swordfish", "motd": "hello"})
	w.command(t, addr, "stack", "deploy", "-c", file, "--resolve-image", "never", "shop")
	pinned := "nginx:1@sha256:" + strings.Repeat("a", 64)
	w.services[0].Spec.TaskTemplate.ContainerSpec.Image = pinned
	for _, mode := range []string{"always", "changed", "never"} {
		code, out, errs := w.command(t, addr, "stack", "deploy", "-c", file, "--resolve-image", mode, "shop")
		if got := w.services[0].Spec.TaskTemplate.ContainerSpec.Image; code != 0 || got != pinned || out != "no changes\n" {
			t.Errorf("--resolve-image %s: exit %d, the image is %s: %s%s", mode, code, got, out, errs)
		}
	}
}

// The labels of one secret are not written when the content of another is refused.
func TestContentsAreComparedBeforeLabelsAreWritten(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	const two = "services:\n  web: {image: x}\nsecrets:\n  a: {file: a, labels: {v: 'LABEL'}}\n  b: {file: b}\n"
	file := written(t, map[string]string{"compose.yml": two, "a": "a", "b": "b"})
	deploy := []string{"stack", "deploy", "-c", file, "--resolve-image", "never", "-d", "shop"}
	w.command(t, addr, deploy...)
	before := w.writes
	again := written(t, map[string]string{"compose.yml": strings.Replace(two, "LABEL", "new", 1), "a": "a", "b": "other"})
	deploy[3] = again
	if code, out, errs := w.command(t, addr, deploy...); code != 1 || !strings.Contains(errs, `secret "shop_b": its content has changed`) || w.writes != before {
		t.Errorf("exit %d, %d writes: %s%s", code, w.writes-before, out, errs)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(again), "b"), []byte("b"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := w.command(t, addr, deploy...); code != 0 || !strings.Contains(out, "Updating secret shop_a") || w.writes != before+1 || w.secrets[0].Spec.Labels["v"] != "new" {
		t.Errorf("exit %d, %d writes: %s%s", code, w.writes-before, out, errs)
	}
}

// A deploy says of each service what became of it, and takes no longer for many.
func TestADeployWaitsForAllAtOnce(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	file := written(t, map[string]string{"compose.yml": "services:\n  a: {image: x}\n  b: {image: x}\n  c: {image: 'broken:1', deploy: {restart_policy: {condition: none}}}\n"})
	code, out, errs := w.command(t, addr, "stack", "deploy", "-c", file, "--resolve-image", "never", "--timeout", "8s", "shop")
	if code != exitTimeout || !strings.Contains(out, "Service shop_a converged\n") || !strings.Contains(out, "Service shop_b converged\n") || !strings.Contains(errs, "shop_c: timed out after 8s") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}
