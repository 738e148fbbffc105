package scenarios

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// A task stays with its data: while its host is away it waits and says for what,
// no other host gets an empty volume in its place, and when the host is back the
// data is there. Other options for the volume are refused and lose nothing.
func TestAVolumeKeepsItsTask(t *testing.T) {
	l := newLab(t)
	at := l.leader()
	copies := func() []string {
		t.Helper()
		var found []string
		for line := range strings.Lines(l.cli(at, "volume", "ls", "--format", "{{.Node}} {{.Name}} {{.UsedBy}}")) {
			if strings.Contains(line, " dbdata") {
				found = append(found, strings.TrimSpace(line))
			}
		}
		return found
	}
	keepsData := func() {
		t.Helper()
		l.prints(at, "the data", "precious", "service", "exec", "db", "--", "/demo", "cat", "/data/x")
	}

	l.create(at, "db", "--mount", "type=volume,source=dbdata,target=/data", "--constraint", "node.role==worker")
	home := l.count("db", 1)[0].Node
	l.prints(at, "the write", "", "service", "exec", "db", "--", "/demo", "write", "/data/x", "precious")
	l.prints(at, "volume ls", home.Name+" dbdata db.1", "volume", "ls", "--format", "{{.Node}} {{.Name}} {{.UsedBy}}")
	l.refused(at, []string{"volume", "rm", "dbdata"}, "in use", "db.1")

	home.PowerOff()
	l.prints(at, "service ps", "volume dbdata is on node "+home.Name, "service", "ps", "--no-trunc", "db")
	l.refused(at, []string{"volume", "rm", "dbdata"}, home.Name+" is down", "--force")
	if now := copies(); len(now) != 1 {
		t.Errorf("copies while the host is down: %q", now)
	}
	l.must(home.PowerOn(l.ctx))
	if now := l.count("db", 1)[0]; now.Node != home {
		t.Errorf("db runs on %s, and its data is on %s", now.Node.Name, home.Name)
	}
	keepsData()

	l.cli(at, "service", "update", "--quiet", "--detach", "--mount-add", "type=volume,source=dbdata,target=/data,volume-opt=type=none,volume-opt=o=bind,volume-opt=device=/tmp", "db")
	l.prints(at, "service ps", "volume dbdata is there already: it has driver local without options", "service", "ps", "--no-trunc", "db")
	l.cli(at, "service", "rollback", "--quiet", "--detach", "db")
	l.count("db", 1)
	keepsData()

	l.cli(at, "service", "rm", "db")
	l.count("db", 0)
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		_, err := at.CLI(ctx, "volume", "rm", "dbdata")
		return err // containers of ended tasks go a moment later
	}))
	if now := copies(); len(now) != 0 {
		t.Errorf("copies after the volume was removed: %q", now)
	}
}

// prints waits until a command at a node says this; what is who says it, for people.
func (l *lab) prints(at *cluster.Node, what, want string, args ...string) {
	l.t.Helper()
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		out, err := at.CLI(ctx, args...)
		if err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("%s does not say %q:\n%s", what, want, out)
		}
		return err
	}))
}
