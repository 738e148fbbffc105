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
    secrets: [password]
    configs: [{source: settings, target: /etc/settings}]
    deploy: {replicas: 3, update_config: {parallelism: 3, monitor: 100ms}}
  worker:
    image: ${IMAGE}
    networks: [back]
    deploy: {replicas: 2}
secrets:
  password: {file: ./password.txt}
configs:
  settings: {content: "colour = green"}
networks:
  back:
`

// A Compose file becomes a stack; deployed again, nothing or what has changed is
// written; a host dies; it is removed, and nothing is left.
func TestAStackComesAndGoes(t *testing.T) {
	l := newLab(t)
	at, files := l.Nodes[0], t.TempDir()
	file := filepath.Join(files, "compose.yml")
	l.must(os.WriteFile(filepath.Join(files, ".env"), []byte("IMAGE="+cluster.Image+"\n"), 0o600))
	l.must(os.WriteFile(filepath.Join(files, "password.txt"), []byte("hush"), 0o600))
	l.must(os.WriteFile(file, []byte(shop), 0o600))
	deploy := func() string { t.Helper(); return l.cli(at, "stack", "deploy", "--timeout", "60s", "-c", file, "shop") }

	deploy()
	web, worker := l.count("shop_web", 3), l.count("shop_worker", 2)
	l.reached(l.Outside(), url(at.Addr), web)
	for file, want := range map[string]string{"/run/secrets/password": "hush", "/etc/settings": "colour = green"} {
		if got := l.cli(at, "service", "exec", "shop_web.1", "--", "/demo", "cat", file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	if out := deploy(); !strings.Contains(out, "no changes") {
		t.Errorf("deployed again, it says\n%s", out)
	}
	l.must(os.WriteFile(file, []byte(strings.Replace(shop, ":-hello", ":-welcome", 1)), 0o600))
	deploy()
	if now := l.count("shop_web", 3); len(fresh(now, web)) != 3 {
		t.Errorf("%d of 3 replicas of web are new", len(fresh(now, web)))
	}
	if now := l.count("shop_worker", 2); !equal(ids(now), ids(worker)) {
		t.Error("worker was replaced, and nothing of it has changed")
	}
	l.must(os.WriteFile(file, []byte(shop+"    drivr: overlay\n"), 0o600))
	l.refused(at, []string{"stack", "deploy", "-c", file, "shop"}, "compose.yml:", "drivr", "driver")

	dead := worker[0].Node
	if dead == at {
		dead = worker[1].Node
	}
	if dead != at {
		dead.PowerOff()
		l.elsewhere("shop_web", 3, dead)
		l.elsewhere("shop_worker", 2, dead)
		l.must(dead.PowerOn(l.ctx)) // its removal waits for what runs on hosts that are away
		l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	}
	l.cli(at, "stack", "rm", "shop")
	if running := len(l.w.Running("shop_web")) + len(l.w.Running("shop_worker")); running != 0 {
		t.Errorf("%d containers run after stack rm", running)
	}
	for _, noun := range []string{"secret", "config", "service", "stack"} {
		if left := l.cli(at, noun, "ls", "--format", "{{.Name}}"); strings.TrimSpace(left) != "" {
			t.Errorf("%s ls after stack rm: %s", noun, left)
		}
	}
	if left := l.cli(at, "network", "ls", "--filter", "name=shop", "--format", "{{.Name}}"); strings.TrimSpace(left) != "" {
		t.Errorf("networks after stack rm: %s", left)
	}
}
