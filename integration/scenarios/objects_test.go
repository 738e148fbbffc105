package scenarios

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/integration/cluster"
)

// Secrets, configs and networks are made at one manager, are seen at all of
// them, and outlive the leader and a restart of every daemon.
func TestSecretsConfigsAndNetworksOutliveTheLeader(t *testing.T) {
	l := newLab(t)
	follower, err := l.Follower(l.ctx)
	l.must(err)
	file := filepath.Join(t.TempDir(), "content")
	l.must(os.WriteFile(file, []byte("hello"), 0o600))
	l.cli(follower, "secret", "create", "--label", "of=test", "key", file)
	l.cli(follower, "config", "create", "conf", file)
	l.cli(follower, "network", "create", "--driver", "overlay", "back")
	l.cli(follower, "network", "create", "--driver", "overlay", "--subnet", "10.9.0.0/24", "front")
	l.refused(follower, []string{"network", "create", "--driver", "overlay", "--subnet", "10.9.0.0/16", "other"}, "10.9.0.0/24", "front")
	l.refused(follower, []string{"network", "create", "--driver", "overlay", "back"}, "network with name back already exists")
	l.refused(l.Workers()[0], []string{"network", "create", "--driver", "overlay", "other"}, "worker node")
	before := l.objects(l.Nodes[:managers]...)

	leader := l.leader()
	leader.PowerOff()
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		return l.Any(ctx, func(ctx context.Context, n *cluster.Node) error {
			_, err := n.CLI(ctx, "network", "create", "--driver", "overlay", "later")
			return err
		})
	}))
	l.cli(l.leader(), "network", "rm", "later")
	l.must(leader.PowerOn(l.ctx))
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	for _, n := range l.Nodes[:managers] {
		n.KillDaemon()
	}
	for _, n := range l.Nodes[:managers] {
		l.must(n.StartDaemon(l.ctx))
	}
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	l.must(l.AwaitManagers(l.ctx))
	if after := l.objects(l.Nodes[:managers]...); after != before {
		t.Errorf("after the leader's death and a restart:\n%s\nbefore:\n%s", after, before)
	}

	at := l.leader()
	l.cli(at, "secret", "rm", "key")
	l.cli(at, "config", "rm", "conf")
	l.cli(at, "network", "prune", "--force")
	if left := l.cli(follower, "network", "ls", "--format", "{{.Name}}", "--filter", "scope=swarm") + l.cli(follower, "secret", "ls", "-q") + l.cli(follower, "config", "ls", "-q"); left != api.IngressNetwork+"\n" {
		t.Errorf("left over: %s", left)
	}
}

// objects is what the nodes, which must agree, say of secrets, configs and networks.
func (l *lab) objects(nodes ...*cluster.Node) string {
	l.t.Helper()
	said := ""
	for _, n := range nodes {
		now := l.cli(n, "secret", "inspect", "key") + l.cli(n, "config", "inspect", "conf") + l.cli(n, "network", "inspect", "back", "front")
		for _, want := range []string{`"of": "test"`, `"Data": "aGVsbG8="`, `"Subnet": "10.0.1.0/24"`, `"Subnet": "10.9.0.0/24"`, `"4097"`, `"4098"`} {
			if strings.Count(now, want) != 1 {
				l.t.Errorf("%s does not say %s once:\n%s", n.Name, want, now)
			}
		}
		if list := l.cli(n, "network", "ls", "--format", "{{.Name}} {{.Scope}}"); !strings.Contains(list, "back swarm\nbridge local\n") {
			l.t.Errorf("the list of networks at %s:\n%s", n.Name, list)
		}
		if said != "" && now != said {
			l.t.Errorf("%s says\n%s\nand not as the others\n%s", n.Name, now, said)
		}
		said = now
	}
	return said
}
