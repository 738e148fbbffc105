package scenarios

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/hosts"
)

const trio = `
x-quick: &quick {replicas: 2, update_config: {parallelism: 2, monitor: 100ms}}
services:
  web:
    image: ${IMAGE}
    environment: {RELEASE: "1"}
    networks: [back]
    secrets: [word]
    deploy: *quick
  api:
    image: ${IMAGE}
    networks: [back]
    environment: {RELEASE: "1"}
    deploy: *quick
  agent:
    image: ${IMAGE}
    command: [sleep]
    networks: [back]
    deploy: {mode: global, placement: {constraints: [node.role==worker]}, update_config: {parallelism: 0, monitor: 100ms}}
networks:
  back:
secrets:
  word: {file: ./word}
`

// A stack is one thing: it is stopped and started, goes back as a whole to any
// deploy that is remembered, and with --atomic by itself when one of its
// services fails.
func TestAStackGoesBackAsAWhole(t *testing.T) {
	l := newLab(t)
	at, files := l.Nodes[1], t.TempDir()
	file := filepath.Join(files, "compose.yml")
	l.must(os.WriteFile(filepath.Join(files, ".env"), []byte("IMAGE="+cluster.Image+"\n"), 0o600))
	l.must(os.WriteFile(filepath.Join(files, "word"), []byte("first"), 0o600))
	word := func(want string) {
		t.Helper()
		if got := l.exec(at, "trio_web.1", "/demo", "cat", "/run/secrets/word"); got != want {
			t.Errorf("the secret is %q, not %q", got, want)
		}
	}
	deploy := func(change ...string) []string {
		t.Helper()
		l.must(os.WriteFile(file, []byte(strings.NewReplacer(change...).Replace(trio)), 0o600))
		return []string{"stack", "deploy", "--timeout", "60s", "--prune", "-c", file, "trio"}
	}
	atomic := func(name string, words []string) {
		t.Helper()
		out, err := at.CLI(l.ctx, append([]string{"stack", "deploy", "--atomic"}, words[2:]...)...)
		var failed *hosts.RunError
		if !errors.As(err, &failed) || failed.ExitCode() != 3 {
			t.Fatalf("%s: exit code 3 expected: %v\n%s", name, err, out)
		}
	}
	bad := []string{"[sleep]", "[nosuchverb]", "monitor: 100ms}}\nnetworks", "monitor: 3s}, restart_policy: {condition: none}}\nnetworks"}

	atomic("first", append(deploy(bad...), "--timeout", "3s"))
	if left := l.cli(at, "stack", "ls", "--format", "{{.Name}}") + l.cli(at, "network", "ls", "--filter", "name=trio", "-q"); strings.TrimSpace(left) != "" {
		t.Fatalf("after the first deploy failed: %s", left)
	}

	l.cli(at, deploy()...)
	web, api, agent := l.count("trio_web", 2), l.count("trio_api", 2), l.count("trio_agent", len(l.Workers()))
	l.cli(at, "stack", "stop", "trio")
	for _, s := range []string{"trio_web", "trio_api", "trio_agent"} {
		if n := len(l.w.Running(s)); n != 0 {
			t.Errorf("%d containers of %s run though the stack is stopped", n, s)
		}
	}
	if state := strings.TrimSpace(l.cli(at, "stack", "ls", "--format", "{{.State}}")); state != "stopped" {
		t.Errorf("stack ls says %q", state)
	}
	l.cli(at, "stack", "start", "--timeout", "60s", "trio")
	web, api, agent = fresh(l.count("trio_web", 2), web), fresh(l.count("trio_api", 2), api), fresh(l.count("trio_agent", len(l.Workers())), agent)
	if len(web) != 2 || len(api) != 2 || len(agent) != len(l.Workers()) {
		t.Errorf("started anew: %d of web, %d of api, %d of agent", len(web), len(api), len(agent))
	}

	// The second deploy changes web, its secret, and adds a service; back to the first one.
	l.must(os.WriteFile(filepath.Join(files, "word"), []byte("second"), 0o600))
	l.cli(at, deploy("web:\n    image: ${IMAGE}\n    environment: {RELEASE: \"1\"}", "web:\n    image: ${IMAGE}\n    environment: {RELEASE: \"2\"}",
		"  agent:", "  more:\n    image: ${IMAGE}\n    networks: [back]\n  agent:")...)
	word("second")
	l.cli(at, "stack", "rollback", "--prune", "--timeout", "60s", "trio")
	l.count("trio_more", 0)
	word("first")
	l.must(os.WriteFile(filepath.Join(files, "word"), []byte("first"), 0o600))
	if now := l.count("trio_api", 2); !equal(ids(now), ids(api)) {
		t.Error("api was replaced, and nothing of it has changed")
	}

	// One of three fails: all three are as they were.
	atomic("third", deploy(append(bad, `RELEASE: "1"`, `RELEASE: "3"`)...))
	if now := l.cli(at, "service", "inspect", "--format", "{{json .Spec}}", "trio_web", "trio_api", "trio_agent"); strings.Contains(now, "RELEASE=3") || strings.Contains(now, "nosuchverb") {
		t.Errorf("something of the failed deploy is left: %s", now)
	}
	l.count("trio_agent", len(l.Workers()))
	history := l.cli(at, "stack", "history", "--format", "{{.Number}} {{.Changes}}", "trio")
	for _, line := range []string{"1 3 created", "2 1 created, 1 updated", "3 back to 1: 1 updated, 1 removed", "4 3 updated", "5 back to 3: 3 updated"} {
		if !strings.Contains(history, line+"\n") {
			t.Errorf("the history has no line %q:\n%s", line, history)
		}
	}
	if out := l.cli(at, deploy()...); !strings.Contains(out, "no changes") {
		t.Errorf("the file of the deploy that is back in force: %s", out)
	}
	l.cli(at, "stack", "rm", "trio")
	l.refused(at, []string{"stack", "history", "trio"}, "stack trio not found")

	// Docker's own command deploys service by service, and is remembered as found.
	l.must(os.WriteFile(file, []byte("version: '3.8'\nservices:\n  web: {image: "+cluster.Image+", deploy: {replicas: 2}}\n"), 0o600))
	if out, err := at.DockerCLI(l.ctx, "stack", "deploy", "--resolve-image", "never", "-c", file, "trio"); err != nil {
		t.Fatalf("docker stack deploy: %v\n%s", err, out)
	}
	l.count("trio_web", 2)
	l.refused(at, []string{"stack", "history", "trio"}, "stack trio has no history", "`swarmctl stack deploy`")
	l.cli(at, "stack", "stop", "trio")
	l.count("trio_web", 0)
	l.must(os.WriteFile(file, []byte("services:\n  web: {image: "+cluster.Image+", deploy: {replicas: 3}}\n"), 0o600))
	l.cli(at, "stack", "deploy", "--detach", "--resolve-image", "never", "-c", file, "trio")
	l.count("trio_web", 3)
	if out := l.cli(at, "stack", "history", "--format", "{{.Number}} {{.Changes}}", "trio"); out != "1 as it was found\n2 1 updated\n" {
		t.Errorf("the history is\n%s", out)
	}
	l.cli(at, "stack", "rm", "trio")
}
