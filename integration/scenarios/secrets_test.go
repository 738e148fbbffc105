package scenarios

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/hosts"
)

// tasksFolder is where a node keeps the secrets and configs of its tasks.
const tasksFolder = "/run/swarmctl/swarmctl.tasks"

// A secret and a config are files in the containers of the service that uses
// them, byte for byte; they are on the nodes that run it while they run it, and
// nowhere but in the memory file system that is for them.
func TestSecretsReachTheTasksThatUseThem(t *testing.T) {
	l := newLab(t)
	at, first, second := l.Nodes[0], l.Workers()[0], l.Workers()[1]
	const word, more = "SECRET-unheard-of-WORD\nand a line", "CONFIG of {{.Service.Name}} at {{.Node.Hostname}} with {{secret \"key\"}}"
	files := t.TempDir()
	l.must(os.WriteFile(filepath.Join(files, "key"), []byte(word), 0o600))
	l.must(os.WriteFile(filepath.Join(files, "conf"), []byte(more), 0o600))
	l.cli(at, "secret", "create", "key", filepath.Join(files, "key"))
	l.cli(at, "config", "create", "--template-driver", "golang", "conf", filepath.Join(files, "conf"))
	on := func(n *cluster.Node) string { return "node.hostname==" + n.Name }
	running := l.run("vault", 1, "--constraint", on(first),
		"--secret", "key", "--secret", "source=key,target=/etc/own,mode=0400", "--config", "conf")

	read := func(n *cluster.Node) {
		t.Helper()
		config := strings.NewReplacer("{{.Service.Name}}", "vault", "{{.Node.Hostname}}", n.Name, `{{secret "key"}}`, word).Replace(more)
		for file, want := range map[string]string{"/run/secrets/key": word, "/etc/own": word, "/conf": config} {
			if got := l.exec(at, "vault.1", "/demo", "cat", file); got != want {
				t.Errorf("%s on %s is %q, want %q", file, n.Name, got, want)
			}
		}
	}
	read(first)
	l.refused(at, []string{"secret", "rm", "key"}, "secret 'key' is in use by the following service: vault")

	told := l.cli(at, "service", "inspect", "vault") + l.cli(at, "service", "ps", "--no-trunc", "vault") + l.cli(at, "secret", "inspect", "key")
	_, inspected, err := first.Docker.ContainerInspectWithRaw(l.ctx, running[0].ID, true)
	l.must(err)
	told += string(inspected)
	for _, n := range l.Nodes {
		log, err := os.ReadFile(n.Log("swarmctl"))
		l.must(err)
		told += string(log)
	}
	if strings.Contains(told, "SECRET-unheard-of-WORD") {
		t.Error("an answer or a log has the secret")
	}
	l.must(l.holders(l.ctx, first))

	// A daemon that is killed leaves the files to the container.
	first.KillDaemon()
	l.must(first.StartDaemon(l.ctx))
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	l.still("vault", soon/10, running)
	read(first)

	l.cli(at, "service", "update", "--detach", "--quiet", "--constraint-rm", on(first), "--constraint-add", on(second), "vault")
	l.until("vault", soon, "one on "+second.Name, func(cs []cluster.Container) bool { return len(cs) == 1 && cs[0].Node == second })
	read(second)
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error { return l.holders(ctx, second) }))

	l.cli(at, "service", "rm", "vault")
	l.count("vault", 0)
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error { return l.holders(ctx) }))
	l.cli(at, "secret", "rm", "key")
	l.cli(at, "config", "rm", "conf")
}

// holders fails unless the word is in the tasks' folder of these nodes, and in
// no other file of any node: what the cluster and the engine keep on disk, logs,
// and the environment of every process.
func (l *lab) holders(ctx context.Context, want ...*cluster.Node) error {
	for _, n := range l.Nodes {
		found, err := n.Run(ctx, "sh", "-c", "grep -rlsaF -D skip SECRET-unheard-of-WORD /var/lib/swarmctl /var/lib/docker /run /etc /var/log /proc/[0-9]*/environ; true")
		if err != nil {
			return err
		}
		has := false
		for file := range strings.Lines(found) {
			if !strings.HasPrefix(file, tasksFolder+"/") {
				return fmt.Errorf("%s has the secret in %s", n.Name, file)
			}
			has = true
		}
		holder := slices.Contains(want, n)
		if has != holder {
			return fmt.Errorf("%s: a task of it uses the secret: %v, its files are there: %v", n.Name, holder, has)
		}
	}
	return nil
}

// A secret gets another content: the service that uses it rolls, others do not;
// a rollback has the old bytes again; and what nobody refers to any more is gone.
func TestASecretChangesAndGoesBack(t *testing.T) {
	l := newLab(t)
	at := l.Nodes[0]
	l.cli(at, "update", "--task-history-limit", "0")
	t.Cleanup(func() { _, _ = at.CLI(context.Background(), "update", "--task-history-limit", "5") })
	file := filepath.Join(t.TempDir(), "key")
	store := func(verb, word string) string {
		t.Helper()
		l.must(os.WriteFile(file, []byte(word), 0o600))
		return l.cli(at, "secret", verb, "key", file)
	}
	id := func() string {
		t.Helper()
		return strings.TrimSpace(l.cli(at, "secret", "inspect", "-f", "{{.ID}}", "key"))
	}
	read := func(want string) {
		t.Helper()
		for _, task := range []string{"vault.1", "vault.2"} {
			if got := l.exec(at, task, "/demo", "cat", "/run/secrets/key"); got != want {
				t.Errorf("%s reads %q, want %q", task, got, want)
			}
		}
	}
	gone := func(id string) {
		t.Helper()
		l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
			if out, err := at.CLI(ctx, "secret", "inspect", id); err == nil {
				return fmt.Errorf("it is still there: %s", out)
			}
			return nil
		}))
	}

	store("create", "first")
	first := id()
	conf := filepath.Join(filepath.Dir(file), "conf")
	l.must(os.WriteFile(conf, []byte("colour = green"), 0o600))
	l.cli(at, "config", "create", "conf", conf)
	vault := l.run("vault", 2, "--secret", "key", "--config", "conf", "--update-failure-action", "rollback", "--update-parallelism", "2", "--update-monitor", "100ms", "--rollback-parallelism", "2", "--rollback-monitor", "100ms")
	beside := l.run("beside", 1)
	read("first")
	if out := store("update", "first"); !strings.Contains(out, "no changes") {
		t.Errorf("the same again: %s", out)
	}
	if out := store("update", "second"); !strings.Contains(out, "key is at version 2") || strings.Contains(out, "beside") {
		t.Errorf("updated: %s", out)
	}
	second := id()
	read("second")
	if now := l.count("vault", 2); len(fresh(now, vault)) != 2 {
		t.Errorf("%d of 2 replicas are new", len(fresh(now, vault)))
	}
	l.cli(at, "service", "rollback", "--quiet", "vault")
	read("first")

	// A config that no task can be given: the update fails, and has never been.
	l.must(os.WriteFile(conf, []byte(`{{secret "nosuch"}}`), 0o600))
	var failed *hosts.RunError
	if out, err := at.CLI(l.ctx, "config", "update", "--template-driver", "golang", "conf", conf); !errors.As(err, &failed) || failed.ExitCode() != 3 {
		t.Errorf("an update that fails: %v, %s", err, out)
	}
	if got := l.exec(at, "vault.1", "/demo", "cat", "/conf"); got != "colour = green" {
		t.Errorf("after that the config is %q", got)
	}
	store("update", "third") // which vault moves to from the first
	read("third")
	gone(second)
	if out := l.cli(at, "secret", "inspect", "--pretty", first); !strings.Contains(out, "1, superseded") {
		t.Errorf("the way back: %s", out)
	}
	store("update", "fourth")
	gone(first)
	if now := l.count("beside", 1); !equal(ids(now), ids(beside)) {
		t.Error("a service that does not use the secret was replaced")
	}
	l.cli(at, "service", "rm", "vault")
	l.count("vault", 0)
	l.cli(at, "secret", "rm", "key")
	l.cli(at, "config", "rm", "conf")
}

const vault = `
services:
  vault:
    image: ${IMAGE}
    secrets: [key]
    configs: [{source: settings, target: /etc/settings}]
    deploy: {replicas: 2, update_config: {parallelism: 2, monitor: 100ms}, rollback_config: {parallelism: 2, monitor: 100ms}}
  beside:
    image: ${IMAGE}
secrets:
  key: {file: ./key}
configs:
  settings: {file: ./settings}
`

// Edit a file, deploy again: what uses it rolls, and a rollback has the old bytes.
func TestAStackWithAnEditedFile(t *testing.T) {
	l := newLab(t)
	at, files := l.Nodes[0], t.TempDir()
	put := func(name, text string) { l.must(os.WriteFile(filepath.Join(files, name), []byte(text), 0o600)) }
	put("compose.yml", vault)
	put(".env", "IMAGE="+cluster.Image+"\n")
	put("key", "first")
	put("settings", "colour = green")
	deploy := func(flags ...string) string {
		t.Helper()
		return l.cli(at, append([]string{"stack", "deploy", "--timeout", "60s", "-c", filepath.Join(files, "compose.yml"), "safe"}, flags...)...)
	}
	read := func(key, settings string) {
		t.Helper()
		for file, want := range map[string]string{"/run/secrets/key": key, "/etc/settings": settings} {
			if got := l.exec(at, "safe_vault.2", "/demo", "cat", file); got != want {
				t.Errorf("%s is %q, want %q", file, got, want)
			}
		}
	}
	deploy()
	before, beside := l.count("safe_vault", 2), l.count("safe_beside", 1)
	read("first", "colour = green")

	put("key", "second")
	put("settings", "colour = blue")
	if out := deploy("--dry-run"); !strings.Contains(out, "~ secret safe_key\n    + Data: a new version") || !strings.Contains(out, "~ service safe_vault\n") || strings.Contains(out, "safe_beside") {
		t.Errorf("a dry run says\n%s", out)
	}
	l.still("safe_vault", soon/20, before)
	deploy()
	read("second", "colour = blue")
	if now := l.count("safe_vault", 2); len(fresh(now, before)) != 2 {
		t.Errorf("%d of 2 replicas are new", len(fresh(now, before)))
	}
	if out := deploy(); !strings.Contains(out, "no changes") {
		t.Errorf("deployed again, it says\n%s", out)
	}
	l.cli(at, "stack", "rollback", "safe")
	read("first", "colour = green")
	deploy() // the files still have the second
	read("second", "colour = blue")
	if now := l.count("safe_beside", 1); !equal(ids(now), ids(beside)) {
		t.Error("a service that uses neither was replaced")
	}
	l.cli(at, "stack", "rm", "safe")
	for _, noun := range []string{"secret", "config"} {
		if left := l.cli(at, noun, "ls", "-q"); strings.TrimSpace(left) != "" {
			t.Errorf("%s ls after stack rm: %s", noun, left)
		}
	}
}
