package cli

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
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

// A file that was edited is a new version, which a dry run says, and which the
// service that uses it follows; what a secret holds is not shown.
func TestAnotherContentIsANewVersionAndNotShown(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	file := written(t, map[string]string{"compose.yml": stackWithAll, "password": "swordfish", "motd": "hello"})
	deploy := []string{"stack", "deploy", "-c", file, "--resolve-image", "never", "shop"}
	w.command(t, addr, deploy...)
	for _, c := range []struct{ name, data, kind, list string }{{"password", "trout", "secret", "Secrets"}, {"motd", "bye", "config", "Configs"}} {
		if err := os.WriteFile(filepath.Join(filepath.Dir(file), c.name), []byte(c.data), 0o600); err != nil {
			t.Fatal(err)
		}
		before := w.writes
		want := "~ " + c.kind + " shop_" + c.name + "\n    + Data: a new version, with another content\n~ service shop_web\n    + ContainerSpec." + c.list + ".shop_" + c.name + ": a new version, with another content\n"
		if code, out, errs := w.command(t, addr, append(deploy, "--dry-run")...); code != 0 || out != want || w.writes != before {
			t.Errorf("%s: a dry run: exit %d, %d writes: %s%s", c.name, code, w.writes-before, out, errs)
		}
		code, out, errs := w.command(t, addr, append(deploy, "--detach")...)
		if code != 0 || !strings.HasPrefix(out, "Updating "+c.kind+" shop_"+c.name) || !strings.Contains(out, "Updating service shop_web") || strings.Contains(out+errs, "trout") {
			t.Errorf("%s: exit %d: %s%s", c.name, code, out, errs)
		}
		if code, out, errs := w.command(t, addr, append(deploy, "--detach")...); code != 0 || out != "no changes\n" {
			t.Errorf("%s again: exit %d: %s%s", c.name, code, out, errs)
		}
	}
	if w.secrets[0].Number() != 2 || w.services[0].Spec.TaskTemplate.ContainerSpec.Secrets[0].SecretID != w.secrets[0].ID {
		t.Errorf("the secret is %+v, and the service has %+v", w.secrets[0], w.services[0].Spec.TaskTemplate.ContainerSpec.Secrets[0])
	}
}

// A file is loaded while the cluster is asked, and what is wrong with it is told
// whatever becomes of the asking.
func TestABadFileIsToldWhateverTheDaemonSays(t *testing.T) {
	bad := written(t, map[string]string{"compose.yml": strings.Replace(stackWithAll, "image:", "imagee:", 1), "password": "swordfish", "motd": "hello"})
	w := newWorld()
	mute, _ := muteDaemon(t)
	for name, addr := range map[string]string{"no daemon": filepath.Join(t.TempDir(), "none.sock"), "a daemon that does not answer": mute} {
		if code, out, errs := w.command(t, addr, "stack", "deploy", "-c", bad, "shop"); code != 1 || out != "" || !strings.Contains(errs, `unknown key "imagee" in services.web: did you mean "image"?`) || strings.Contains(errs, "daemon") {
			t.Errorf("%s: exit %d: %s%s", name, code, out, errs)
		}
	}
}

// muteDaemon is one that is asked, which it tells, and never answers.
func muteDaemon(t *testing.T) (addr string, asked chan struct{}) {
	asked = make(chan struct{}, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-r.Context().Done()
	}))
	t.Cleanup(srv.Close)
	return "tcp://" + srv.Listener.Addr().String(), asked
}

func TestADeployWithoutADaemonSaysSo(t *testing.T) {
	file := written(t, map[string]string{"compose.yml": stackWithAll, "password": "swordfish", "motd": "hello"})
	w := newWorld()
	none := filepath.Join(t.TempDir(), "none.sock")
	for _, verb := range []string{"deploy", "diff"} {
		if code, out, errs := w.command(t, none, "stack", verb, "-c", file, "shop"); code != 1 || out != "" || !strings.HasPrefix(errs, "no swarmctl daemon answers at unix://"+none) || strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: exit %d: %s%s", verb, code, out, errs)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	mute, asked := muteDaemon(t)
	go func() {
		<-asked
		stop()
	}()
	var out, errs bytes.Buffer
	if code := w.app().Run(ctx, []string{"--socket", mute, "stack", "deploy", "-c", file, "shop"}, strings.NewReader(""), &out, &errs); code != 1 || !strings.Contains(errs.String(), "context canceled") {
		t.Errorf("interrupted while it asks: exit %d: %s%s", code, out.String(), errs.String())
	}
}

// Nothing is asked twice.
func TestADeployAsksOnceForWhatThereIs(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	file := written(t, map[string]string{"compose.yml": stackWithAll, "password": "swordfish", "motd": "hello"})
	deploy := []string{"stack", "deploy", "-c", file, "--resolve-image", "never", "shop"}
	w.command(t, addr, deploy...)
	w.requests = nil
	w.command(t, addr, deploy...)
	slices.Sort(w.requests)
	want := []string{"GET /configs", "GET /networks", "GET /secrets", "GET /services", "POST /swarmctl/secrets/shop_password/update", "POST /swarmctl/stacks/shop"}
	if got := slices.DeleteFunc(w.requests, func(r string) bool { return strings.HasSuffix(r, " /_ping") }); !slices.Equal(got, want) {
		t.Errorf("it asked %q", got)
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
		if !strings.HasPrefix(r, "GET ") && !strings.HasPrefix(r, "HEAD ") && r != "POST /swarmctl/stacks/shop/dryrun" {
			t.Errorf("it sent %s", r)
		}
	}
	w.denied = "service shop_web: the cluster's policy denies privileged"
	for _, words := range [][]string{{"stack", "deploy", "-c", file, "--dry-run", "shop"}, {"stack", "diff", "-c", file, "shop"}} {
		if code, out, errs := w.command(t, addr, words...); code != 1 || out != "" || !strings.Contains(errs, w.denied) {
			t.Errorf("what a deploy would be refused: exit %d: %s%s", code, out, errs)
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

// Where somebody else was first, the deploy looks again and goes on.
func TestADeployThatIsOvertakenIsPlannedAnew(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	file := written(t, map[string]string{"compose.yml": stackWithAll, "password": "swordfish", "motd": "hello"})
	deploy := []string{"stack", "deploy", "-c", file, "--resolve-image", "never", "-d", "shop"}
	w.outdated = attempts - 1
	if code, out, errs := w.command(t, addr, deploy...); code != 0 || !strings.Contains(out, "Creating service shop_web") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	w.outdated = attempts
	if code, out, errs := w.command(t, addr, deploy...); code != 1 || !strings.Contains(errs, "was changed by others 5 times") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

// What the daemon alone knows a dry run shows too.
func TestADryRunShowsAnImageThatWasBuiltAnew(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	file := written(t, map[string]string{"compose.yml": "services:\n  a: {image: 'x:1'}\n"})
	deploy := []string{"stack", "deploy", "-c", file, "-d", "shop"}
	w.command(t, addr, deploy...)
	w.rebuilt = []api.StackChange{{Action: api.StackUpdated, Kind: "service", Name: "shop_a", ImageWas: "1a2b", ImageIs: "3c4d"}}
	if code, out, errs := w.command(t, addr, append(deploy, "--dry-run")...); code != 0 || out != "~ service shop_a\n    ~ ContainerSpec.Image, built anew: 1a2b -> 3c4d\n" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	for _, image := range []string{"sha256:1a2b", "sha256:3c4d"} {
		content := api.StackContent{Services: []swarm.ServiceSpec{w.services[0].Spec}, Images: map[string]api.Image{"shop_a": {ID: image}}}
		w.record("shop", api.StackDeploy{}, content, &api.StackAnswer{Changes: w.rebuilt})
	}
	if code, out, errs := w.command(t, addr, "stack", "diff", "shop", "2", "3"); code != 0 || out != "~ service shop_a\n    ~ Image: 1a2b -> 3c4d\n" {
		t.Errorf("between deploys: exit %d: %s%s", code, out, errs)
	}
}

// A sidecar's replicas follow those of its service: between two deploys they are
// no change of its own.
func TestADiffDoesNotCountSidecars(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	deploy := func(replicas string) {
		t.Helper()
		file := written(t, map[string]string{"compose.yml": "services:\n  app: {image: x, deploy: {replicas: " + replicas + "}}\n  proxy: {image: y, network_mode: 'service:app'}\n"})
		if code, out, errs := w.command(t, addr, "stack", "deploy", "-c", file, "--resolve-image", "never", "-d", "shop"); code != 0 {
			t.Fatalf("exit %d: %s%s", code, out, errs)
		}
		for i := range w.services { // as the cluster shows it
			if w.services[i].Spec.Name == "shop_proxy" {
				w.services[i].Spec.Mode = w.services[0].Spec.Mode
			}
		}
	}
	deploy("2")
	deploy("3")
	if code, out, errs := w.command(t, addr, "stack", "diff", "shop", "1", "2"); code != 0 || out != "~ service shop_app\n    ~ Mode.Replicated.Replicas: 2 -> 3\n" {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
}

// What fails puts the stack back, or away where it was the first deploy.
func TestAnAtomicDeployThatFails(t *testing.T) {
	w := newWorld()
	addr := w.start(t)
	const good = "services:\n  a: {image: x}\n  b: {image: x}\n"
	atomic := func(compose string) (int, string, string) {
		file := written(t, map[string]string{"compose.yml": compose})
		return w.command(t, addr, "stack", "deploy", "--atomic", "-c", file, "--resolve-image", "never", "--timeout", "6s", "shop")
	}
	bad := strings.ReplaceAll(good, "b: {image: x}", "b: {image: 'broken:1'}")
	if code, out, errs := atomic(bad); code != exitRolledBack || len(w.services) > 0 || !strings.Contains(errs, "stack deploy failed: shop was removed") || !strings.Contains(errs, "shop_b: timed out after 6s") {
		t.Fatalf("exit %d, %d services: %s%s", code, len(w.services), out, errs)
	}
	delete(w.stacks, "shop") // as the cluster does with the last service
	if code, out, errs := atomic(good); code != 0 {
		t.Fatalf("exit %d: %s%s", code, out, errs)
	}
	code, out, errs := atomic(strings.ReplaceAll(bad, "a: {image: x}", "a: {image: y}\n  c: {image: x}"))
	if code != exitRolledBack || !strings.Contains(errs, "shop was put back to deploy 1") || !strings.Contains(errs, "Deploy 2 of stack shop failed: going back to deploy 1") {
		t.Errorf("exit %d: %s%s", code, out, errs)
	}
	for _, s := range w.services {
		if s.Spec.TaskTemplate.ContainerSpec.Image != "x" || s.Spec.Name == "shop_c" {
			t.Errorf("%s has %s", s.Spec.Name, s.Spec.TaskTemplate.ContainerSpec.Image)
		}
	}
}

func TestTheStateOfAStack(t *testing.T) {
	service := func(running, wanted uint64, update swarm.UpdateState, stopped string) swarm.Service {
		s := swarm.Service{ServiceStatus: &swarm.ServiceStatus{RunningTasks: running, DesiredTasks: wanted}}
		s.Spec.Labels = map[string]string{api.LabelStopped: stopped}
		if update != "" {
			s.UpdateStatus = &swarm.UpdateStatus{State: update}
		}
		return s
	}
	runs, stops := service(2, 2, "completed", ""), service(0, 0, "", "true")
	for want, list := range map[string][]swarm.Service{
		"running":            {runs, runs, service(3, 2, "", "false")},
		"stopped":            {stops, stops},
		"1 of 2 stopped":     {runs, stops},
		"paused":             {runs, service(2, 2, "paused", ""), service(2, 2, "updating", "")},
		"updating":           {runs, service(0, 2, "rollback_started", "")},
		"3 of 4 tasks run":   {runs, service(1, 2, "", "")},
		"2 of 102 tasks run": {runs, service(0, 100, "", "")},
	} {
		if got := stackState(list); got != want {
			t.Errorf("%q, not %q", got, want)
		}
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
