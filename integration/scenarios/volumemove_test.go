package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

const volumeFolder = "/var/lib/docker/volumes/dbdata/_data"

// listing is all that is to be kept of a volume's content.
const listing = `cd ` + volumeFolder + ` && find . -printf '%P|%y|%m|%U:%G|%T@|%n|%s|%l\n' | sort && find . -type f -exec sha256sum {} + | sort && getfattr -dm- -R . 2>/dev/null || true`

const oddFiles = `set -e; cd ` + volumeFolder + `
head -c 3000000 /dev/urandom > blob; : > empty; printf x > 'a name  with
lines'
mkdir -p private/deep; echo secret > private/deep/key; chmod 0400 private/deep/key; chown 70:70 private/deep/key; chmod 0711 private; chown 1234567:89 private
cp /bin/true suid; chown 5:6 suid; chmod 4755 suid; ln suid private/again; ln -s /etc/passwd link; ln -s nowhere dangling; mkfifo -m 0622 fifo
truncate -s 50M sparse; chown 99:98 .; chmod 1771 .; touch -d '2001-02-03 04:05:06.789' empty private .`

// A volume goes to another node with all that is in it and the task after it;
// where the way breaks off it is where it was, and no half of it is left.
func TestAVolumeMoves(t *testing.T) {
	l := newLab(t)
	at := l.leader()
	on := func(n *cluster.Node, script string) string {
		t.Helper()
		out, err := n.Run(l.ctx, "sh", "-c", script)
		l.must(err)
		return out
	}
	gone := func(n *cluster.Node) {
		t.Helper()
		l.must(cluster.Eventually(l.ctx, 2*soon, func(ctx context.Context) error {
			if _, err := n.Docker.VolumeInspect(ctx, "dbdata"); !errdefs.IsNotFound(err) {
				return fmt.Errorf("%s still has the volume: %v", n.Name, err)
			}
			return nil
		}))
	}
	l.create(at, "db", "--mount", "type=volume,source=dbdata,target=/data,volume-label=keep=me", "--constraint", "node.role==worker")
	home := l.count("db", 1)[0].Node
	other := l.Workers()[0]
	if other == home {
		other = l.Workers()[1]
	}
	on(home, oddFiles)
	before := on(home, listing)
	l.prints(at, "volume ls", home.Name+" dbdata", "volume", "ls", "--format", "{{.Node}} {{.Name}}")

	l.refused(at, []string{"volume", "move", "dbdata", "--to", home.Name}, "on node "+home.Name+" already")
	l.refused(at, []string{"volume", "move", "dbdata", "--to", at.Name}, "service db", "node.role==worker", "--force")
	l.refused(at, []string{"volume", "move", "nosuch", "--to", other.Name}, "nosuch not found")
	on(other, "docker -H unix:///run/docker.sock volume create dbdata")
	l.refused(at, []string{"volume", "move", "dbdata", "--from", home.Name, "--to", other.Name}, other.Name, "already")
	on(other, "docker -H unix:///run/docker.sock volume rm dbdata")
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		out, err := at.CLI(ctx, "volume", "move", "dbdata", "--to", other.Name)
		t.Log(out)
		return err // the engine's events of the other one may be on their way
	}))
	if now := l.count("db", 1)[0]; now.Node != other {
		t.Errorf("db runs on %s, and its data is on %s", now.Node.Name, other.Name)
	}
	if after := on(other, listing); after != before {
		t.Errorf("the content was\n%s\nand is\n%s", before, after)
	}
	gone(home)
	v, err := other.Docker.VolumeInspect(l.ctx, "dbdata")
	if l.must(err); v.Labels["keep"] != "me" {
		t.Errorf("labels %v", v.Labels)
	}

	// The new node loses its power in the middle.
	on(other, "head -c 700000000 /dev/zero > "+volumeFolder+"/large")
	before = on(other, listing)
	copying := func() {
		t.Helper()
		l.cli(at, "volume", "move", "--detach", "dbdata", "--to", home.Name)
		l.prints(at, "service ps", "volume dbdata is being moved from "+other.Name+" to "+home.Name, "service", "ps", "--no-trunc", "db")
		l.prints(at, "volume ls", "copying", "volume", "ls", "--format", "{{.Node}} {{.Name}} {{.Status}}")
	}
	kept := func() {
		t.Helper()
		if now := l.count("db", 1)[0]; now.Node != other {
			t.Errorf("db runs on %s, and its data is on %s", now.Node.Name, other.Name)
		}
		if after := on(other, listing); after != before {
			t.Errorf("the content was\n%s\nand is\n%s", before, after)
		}
	}
	copying()
	home.PowerOff()
	l.prints(at, "volume inspect", "went down", "volume", "inspect", "--format", "{{with .Move}}{{.Err}}{{end}}", "dbdata")
	kept()
	l.must(home.PowerOn(l.ctx))
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	gone(home)

	// So does the leader, with what it knew of the move.
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		out, err := at.CLI(ctx, "volume", "ls", "--format", "{{.Node}} {{.Name}}")
		if err == nil && strings.Contains(out, home.Name+" dbdata") {
			err = fmt.Errorf("%s is still said to have it", home.Name)
		}
		return err
	}))
	copying()
	dead := at
	dead.KillDaemon()
	at = l.leader()
	l.prints(at, "volume inspect", "leader of the cluster changed", "volume", "inspect", "--format", "{{with .Move}}{{.Err}}{{end}}", "dbdata")
	kept()
	gone(home)
	l.must(dead.StartDaemon(l.ctx))
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))

	l.cli(at, "service", "rm", "db")
	l.count("db", 0)
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		_, err := at.CLI(ctx, "volume", "rm", "dbdata")
		return err // containers of ended tasks go a moment later
	}))
}
