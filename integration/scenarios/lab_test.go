package scenarios

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/hosts"
)

const (
	managers = 3
	workers  = 2
	// soon is for what takes a second or two on a quiet machine. The figures
	// that the product must reach are the bench's business; here two cores may
	// be busy with a compiler.
	soon = 30 * time.Second
)

var (
	tools  cluster.Tools
	shared *lab // nil before the first scenario, and after one that failed
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	if err := hosts.Check(); err != nil {
		fmt.Fprintln(os.Stderr, "scenarios:", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "scenarios-")
	if err == nil {
		defer os.RemoveAll(dir)
		tools, err = cluster.Build(context.Background(), dir, true)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scenarios:", err)
		return 1
	}
	defer func() {
		if shared != nil {
			shared.stop()
			_ = shared.Down()
		}
	}()
	return m.Run()
}

// lab is a cluster in the hands of one scenario.
type lab struct {
	*cluster.Cluster
	t   *testing.T
	ctx context.Context
	w   *cluster.Watch
	// stop ends the watch of the shared cluster.
	stop context.CancelFunc
}

// newLab hands out the shared cluster, whole and without services. A scenario
// that fails takes its cluster down, so that the next one starts afresh.
func newLab(t *testing.T) *lab {
	t.Helper()
	if shared == nil {
		shared = form(t, "10.91.1", managers, workers)
		watching, stop := context.WithCancel(context.Background())
		shared.w, shared.stop = shared.Watch(watching), stop
	}
	l := &lab{Cluster: shared.Cluster, t: t, ctx: t.Context(), w: shared.w}
	t.Cleanup(func() {
		err := errors.New("the scenario failed")
		if !t.Failed() {
			err = l.restore()
		}
		if err != nil {
			t.Errorf("%v; the cluster is taken down", err)
			l.explain()
			shared.stop()
			_ = l.Down()
			shared = nil
		}
	})
	return l
}

// ownLab forms a cluster that only this scenario uses; init has more flags of
// swarmctl init.
func ownLab(t *testing.T, subnet string, managers, workers int, init ...string) *lab {
	t.Helper()
	l := form(t, subnet, managers, workers, init...).own(t)
	l.w = l.Watch(t.Context())
	return l
}

// ownRack returns hosts for this scenario alone, with daemons that are no
// members of a cluster yet.
func ownRack(t *testing.T, subnet string, hostCount int) *lab {
	t.Helper()
	c, err := cluster.Powered(t.Context(), cluster.Config{Managers: hostCount, Tools: tools, Hosts: hosts.Config{Prefix: "it", Subnet: subnet}})
	if err != nil {
		t.Fatal(err)
	}
	return (&lab{Cluster: c}).own(t)
}

// own has the cluster end with the scenario.
func (l *lab) own(t *testing.T) *lab {
	l.t, l.ctx = t, t.Context()
	t.Cleanup(func() {
		if t.Failed() {
			l.explain()
		}
		_ = l.Down()
	})
	return l
}

// explain says what may be behind a failure. With `go test -artifacts` the
// whole logs are kept, and what each host's network is made of.
func (l *lab) explain() {
	l.t.Log(l.Complaints(10))
	if err := errors.Join(l.SaveLogs(l.t.ArtifactDir()), l.SaveNetworks(l.t.ArtifactDir())); err != nil {
		l.t.Log(err)
	}
}

func form(t *testing.T, subnet string, managers, workers int, init ...string) *lab {
	t.Helper()
	start := time.Now()
	c, err := cluster.New(t.Context(), cluster.Config{
		Managers: managers, Workers: workers, Init: init, Tools: tools,
		Hosts: hosts.Config{Prefix: "it", Subnet: subnet},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("formed a cluster of %d managers and %d workers in %.1f s", managers, workers, time.Since(start).Seconds())
	return &lab{Cluster: c}
}

// restore makes the cluster whole: power, cables, roles, no service and no
// network left.
func (l *lab) restore() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, n := range l.Nodes {
		if !n.On() {
			if err := n.PowerOn(ctx); err != nil {
				return err
			}
		}
		if err := n.Heal(); err != nil {
			return err
		}
	}
	if err := l.AwaitReady(ctx, len(l.Nodes)); err != nil {
		return err
	}
	if err := l.removeServices(ctx); err != nil {
		return err
	}
	if err := l.removeNetworks(ctx); err != nil {
		return err
	}
	return l.AwaitManagers(ctx)
}

func (l *lab) removeServices(ctx context.Context) error {
	return l.Any(ctx, func(ctx context.Context, n *cluster.Node) error {
		list, err := n.API.ServiceList(ctx, swarm.ServiceListOptions{})
		for _, s := range list {
			err = errors.Join(err, n.API.ServiceRemove(ctx, s.ID))
		}
		for _, s := range list {
			patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), soon)
			_, gone := l.w.Count(patience, s.Spec.Name, 0)
			cancel()
			err = errors.Join(err, gone)
		}
		return err
	})
}

func (l *lab) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// cli runs swarmctl at a node and returns what it printed; it must succeed.
func (l *lab) cli(n *cluster.Node, args ...string) string {
	l.t.Helper()
	out, err := n.CLI(l.ctx, args...)
	l.must(err)
	return out
}

// refused runs swarmctl at a node; it must fail, and name what is wrong.
func (l *lab) refused(n *cluster.Node, args []string, names ...string) {
	l.t.Helper()
	out, err := n.CLI(l.ctx, args...)
	var failed *hosts.RunError
	if !errors.As(err, &failed) || failed.ExitCode() <= 0 {
		l.t.Errorf("swarmctl %s: exit code 0 or none (%v), printed %q", strings.Join(args, " "), err, out)
		return
	}
	for _, name := range names {
		if !strings.Contains(failed.Stderr, name) {
			l.t.Errorf("swarmctl %s: the error does not name %q: %s", strings.Join(args, " "), name, failed.Stderr)
		}
	}
	if testing.Verbose() {
		l.t.Logf("swarmctl %s: %d: %s", strings.Join(args, " "), failed.ExitCode(), strings.TrimSpace(failed.Stderr))
	}
}

// run creates a service of n replicas, which answer over HTTP, through a
// follower if there is one, and waits until they run.
func (l *lab) run(service string, n int, flags ...string) []cluster.Container {
	l.t.Helper()
	at, err := l.Follower(l.ctx)
	if err != nil {
		at = l.leader() // it has no follower
	}
	l.create(at, service, append([]string{"--replicas", strconv.Itoa(n)}, flags...)...)
	return l.count(service, n)
}

// create creates a service of the demo at a node.
func (l *lab) create(at *cluster.Node, service string, flags ...string) {
	l.t.Helper()
	args := append([]string{"service", "create", "--quiet", "--detach", "--name", service}, flags...)
	l.cli(at, append(args, cluster.Image)...)
}

// exec runs a command in a task, and returns what it says. The task's engine knows
// a moment before the cluster that it runs; nobody can call it before that.
func (l *lab) exec(at *cluster.Node, task string, command ...string) (out string) {
	l.t.Helper()
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) (err error) {
		out, err = at.CLI(ctx, append([]string{"service", "exec", task, "--"}, command...)...)
		return err
	}))
	return out
}

// count waits until exactly n replicas run.
func (l *lab) count(service string, n int) []cluster.Container {
	l.t.Helper()
	return l.until(service, soon, strconv.Itoa(n)+" run", func(cs []cluster.Container) bool { return len(cs) == n })
}

// until waits until what the engines run of a service is as the words say.
func (l *lab) until(service string, patience time.Duration, words string, ok func([]cluster.Container) bool) []cluster.Container {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	start := time.Now()
	running, err := l.w.Until(ctx, service, words, ok)
	if err != nil {
		ps, _ := l.Nodes[0].CLI(l.ctx, "service", "ps", "--no-trunc", service)
		l.t.Fatalf("%v\n%s", err, ps)
	}
	l.t.Logf("%s: %s after %.2f s", service, words, time.Since(start).Seconds())
	return running
}

// still fails if what runs of a service changes while the time passes.
func (l *lab) still(service string, watched time.Duration, before []cluster.Container) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, watched)
	defer cancel()
	now, err := l.w.Until(ctx, service, "other containers than before", func(cs []cluster.Container) bool {
		return !equal(ids(cs), ids(before))
	})
	if err == nil {
		l.t.Fatalf("service %s changed: %d ran before, now %d do\nbefore %v\nnow    %v", service, len(before), len(now), ids(before), ids(now))
	}
}

func (l *lab) leader() *cluster.Node {
	l.t.Helper()
	var leader *cluster.Node
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) (err error) {
		leader, err = l.Leader(ctx)
		return err
	}))
	return leader
}

func ids(cs []cluster.Container) []string {
	out := make([]string, len(cs))
	for i, c := range cs {
		out[i] = c.ID
	}
	return out
}

// equal compares two sorted lists; Watch sorts.
func equal(a, b []string) bool { return strings.Join(a, " ") == strings.Join(b, " ") }
