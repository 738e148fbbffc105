package scenarios

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

const shop = `
services:
  web:
    image: ${IMAGE}
    ports: ["8080:8080"]
    environment: {GREETING: "${GREETING:-hello}"}
    networks: [back]
    configs: [{source: settings, target: /etc/settings}]
    depends_on: [api]
    deploy: {replicas: 3, update_config: {parallelism: 3, monitor: 100ms}}
  api:
    image: ${IMAGE}
    networks: [back]
    secrets: [password]
    depends_on: [db]
    deploy: {replicas: 2}
  worker:
    image: ${IMAGE}
    networks: [back]
    deploy: {replicas: 2, placement: {constraints: ["node.hostname!=${DB_NODE}"]}}
  db:
    image: ${IMAGE}
    networks: [back]
    volumes: ["data:/data"]
    secrets: [{source: password, target: /etc/password, mode: 0400}]
    deploy: {placement: {constraints: ["node.hostname==${DB_NODE}"]}}
secrets:
  password: {file: ./password.txt}
configs:
  settings: {content: "colour = green"}
volumes:
  data:
networks:
  back:
`

// A Compose file becomes a stack; deployed again, nothing or what has changed is
// written; it goes back; a host dies; it is removed, and nothing is left.
func TestAStackComesAndGoes(t *testing.T) {
	l := newLab(t)
	at, files := l.Nodes[0], t.TempDir()
	file := filepath.Join(files, "compose.yml")
	l.must(os.WriteFile(filepath.Join(files, ".env"), []byte("IMAGE="+cluster.Image+"\nDB_NODE="+at.Name+"\n"), 0o600))
	l.must(os.WriteFile(filepath.Join(files, "password.txt"), []byte("hush"), 0o600))
	l.must(os.WriteFile(file, []byte(shop), 0o600))
	deploy := func() string { t.Helper(); return l.cli(at, "stack", "deploy", "--timeout", "60s", "-c", file, "shop") }

	deploy()
	others := []string{"shop_api", "shop_worker", "shop_db"}
	web, kept := l.count("shop_web", 3), map[string][]cluster.Container{}
	for i, replicas := range []int{2, 2, 1} {
		kept[others[i]] = l.count(others[i], replicas)
	}
	l.reached(l.Outside(), url(at.Addr), web)
	l.reached(web[0], url("api"), kept["shop_api"])
	for _, c := range []struct{ task, file, want string }{
		{"shop_web.1", "/etc/settings", "colour = green"},
		{"shop_api.1", "/run/secrets/password", "hush"},
		{"shop_db.1", "/etc/password", "hush"},
	} {
		if got := l.exec(at, c.task, "/demo", "cat", c.file); got != c.want {
			t.Errorf("%s of %s is %q, want %q", c.file, c.task, got, c.want)
		}
	}
	same := func(when string) {
		t.Helper()
		for _, name := range others {
			if now := l.count(name, len(kept[name])); !equal(ids(now), ids(kept[name])) {
				t.Errorf("%s: %s was replaced, and nothing of it has changed", when, name)
			}
		}
	}
	if out := deploy(); !strings.Contains(out, "no changes") {
		t.Errorf("deployed again, it says\n%s", out)
	}
	l.must(os.WriteFile(file, []byte(strings.Replace(shop, ":-hello", ":-welcome", 1)), 0o600))
	deploy()
	updated := l.count("shop_web", 3)
	if n := len(fresh(updated, web)); n != 3 {
		t.Errorf("%d of 3 replicas of web are new", n)
	}
	same("updated")
	greeting := func() string {
		return l.cli(at, "service", "inspect", "--format", "{{.Spec.TaskTemplate.ContainerSpec.Env}}", "shop_web")
	}
	if got := greeting(); !strings.Contains(got, "welcome") {
		t.Errorf("updated, web has %s", got)
	}
	l.cli(at, "stack", "rollback", "--timeout", "60s", "shop")
	if n := len(fresh(l.count("shop_web", 3), updated)); n != 3 || !strings.Contains(greeting(), "GREETING=hello") {
		t.Errorf("%d of 3 replicas of web went back, to %s", n, greeting())
	}
	same("rolled back")
	l.must(os.WriteFile(file, []byte(shop+"    drivr: overlay\n"), 0o600))
	l.refused(at, []string{"stack", "deploy", "-c", file, "shop"}, "compose.yml:", "drivr", "driver")

	dead := kept["shop_worker"][0].Node
	dead.PowerOff()
	for name, replicas := range map[string]int{"shop_web": 3, "shop_api": 2, "shop_worker": 2, "shop_db": 1} {
		l.elsewhere(name, replicas, dead)
	}
	l.cli(at, "stack", "rm", "--timeout", "20s", "shop") // waits for no host that is away
	for _, name := range append(others, "shop_web") {
		if running := len(l.w.Running(name)); running != 0 {
			t.Errorf("%d containers of %s run after stack rm", running, name)
		}
	}
	l.cli(at, "volume", "rm", "shop_data") // which outlives its stack, as in Docker
	for _, noun := range []string{"secret", "config", "service", "stack"} {
		if left := l.cli(at, noun, "ls", "--format", "{{.Name}}"); strings.TrimSpace(left) != "" {
			t.Errorf("%s ls after stack rm: %s", noun, left)
		}
	}
	for _, noun := range []string{"network", "volume"} { // others have some
		if left := l.cli(at, noun, "ls", "--format", "{{.Name}}"); strings.Contains(left, "shop") {
			t.Errorf("%s ls after stack rm: %s", noun, left)
		}
	}
}
