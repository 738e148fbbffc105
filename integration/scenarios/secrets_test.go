package scenarios

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/integration/cluster"
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
			if got := l.cli(at, "service", "exec", "vault.1", "--", "/demo", "cat", file); got != want {
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
// no other file of any node.
func (l *lab) holders(ctx context.Context, want ...*cluster.Node) error {
	for _, n := range l.Nodes {
		found, err := n.Run(ctx, "sh", "-c", "grep -rlsF -D skip SECRET-unheard-of-WORD /var/lib/swarmctl /run /etc; true")
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
