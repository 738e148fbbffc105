package scenarios

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// fleet is a stack of services that all say of which release they are, with a
// secret and a config of it.
type fleet struct {
	*lab
	at       *cluster.Node // where it is deployed
	dir      string
	services int
}

func (f *fleet) file() string { return filepath.Join(f.dir, "compose.yml") }

// write writes the files of a release.
func (f *fleet) write(release int) {
	f.t.Helper()
	var text strings.Builder
	text.WriteString("x-one: &one\n  image: " + cluster.Image + "\n  command: [sleep]\n  environment: {RELEASE: '" + fmt.Sprint(release) + "'}\n" +
		"  networks: [back]\n  secrets: [word]\n  configs: [settings]\n  deploy: {update_config: {parallelism: 0, monitor: 100ms}}\nservices:\n")
	for i := range f.services {
		fmt.Fprintf(&text, "  s%d: *one\n", i)
	}
	text.WriteString("networks:\n  back:\nsecrets:\n  word: {file: ./word}\nconfigs:\n  settings: {file: ./word}\n")
	f.must(os.WriteFile(f.file(), []byte(text.String()), 0o600))
	f.must(os.WriteFile(filepath.Join(f.dir, "word"), fmt.Appendf(nil, "release %d", release), 0o600))
}

func (f *fleet) deploy(flags ...string) (string, error) {
	return f.at.CLI(f.ctx, append(append([]string{"stack", "deploy", "--resolve-image", "never", "-c", f.file()}, flags...), "fleet")...)
}

// release is what the whole stack is at, as one manager says; anything else than
// a whole one is an error.
func (f *fleet) release(ctx context.Context, at *cluster.Node) (string, error) {
	services, err := at.API.ServiceList(ctx, swarm.ServiceListOptions{})
	if err != nil {
		return "", err
	}
	var seen []string
	for _, s := range services {
		box := s.Spec.TaskTemplate.ContainerSpec
		seen = append(seen, fmt.Sprint(box.Env, box.Secrets[0].SecretID, box.Configs[0].ConfigID))
	}
	if len(seen) != 0 && len(seen) != f.services || len(slices.Compact(seen)) > 1 {
		return "", cluster.Final(fmt.Errorf("%s has half a stack: %q", at.Name, seen))
	}
	return strings.Join(slices.Compact(seen), ""), nil
}

// runs waits until one container of each service runs the release.
func (f *fleet) runs(release int) {
	f.t.Helper()
	f.must(cluster.Eventually(f.ctx, soon, func(ctx context.Context) error {
		for i := range f.services {
			for _, c := range f.w.Running(fmt.Sprintf("fleet_s%d", i)) {
				if got, err := c.Exec(ctx, nil, "/demo", "cat", "/run/secrets/word"); err != nil || got != fmt.Sprintf("release %d", release) {
					return fmt.Errorf("s%d has the secret %q (%v), and is to be of release %d", i, got, err, release)
				}
			}
		}
		return nil
	}))
	for i := range f.services {
		f.count(fmt.Sprintf("fleet_s%d", i), 1)
	}
}

// again deploys until it succeeds, as whoever is told that the outcome is open
// does; then once more, and nothing may be left to do.
func (f *fleet) again(release int) {
	f.t.Helper()
	f.must(cluster.Eventually(f.ctx, soon, func(context.Context) error {
		_, err := f.deploy("--detach")
		return err
	}))
	if at, err := f.release(f.ctx, f.at); err != nil || !strings.Contains(at, fmt.Sprintf("RELEASE=%d]", release)) {
		f.t.Errorf("deployed again, the stack is at %q (%v), not at release %d", at, err, release)
	}
	out, err := f.deploy()
	f.must(err)
	if !strings.Contains(out, "no changes") {
		f.t.Errorf("what is there already was deployed once more:\n%s", out)
	}
}

// A leader that dies at any moment of a deploy leaves the stack as it was or as
// it was to be, with the secret and the config that belong to it; who then deploys
// again gets there.
func TestADeployIsWholeOrNotThereWhenTheLeaderDies(t *testing.T) {
	l := newLab(t)
	f := &fleet{lab: l, dir: t.TempDir(), services: 8, at: l.leader()}
	f.write(1)
	began := time.Now()
	_, err := f.deploy("--detach")
	l.must(err)
	whole := time.Since(began)
	f.runs(1)
	outcomes := map[string]int{}
	moments := []float64{0.3, 0.6, 0.75, 0.9}
	for i, part := range moments {
		release := i + 2
		leader := l.leader()
		other, err := l.Follower(l.ctx)
		l.must(err)
		if f.at = leader; i%2 != 0 {
			f.at = other
		}
		before, err := f.release(l.ctx, other)
		l.must(err)
		f.write(release)
		done := make(chan error, 1)
		go func() {
			_, err := f.deploy("--detach")
			done <- err
		}()
		time.Sleep(time.Duration(part * float64(whole))) // any moment will do
		leader.KillDaemon()
		deployed := <-done
		f.at = other
		var after string
		l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) (err error) {
			after, err = f.release(ctx, f.at)
			return err
		}))
		isNew := strings.Contains(after, fmt.Sprintf("RELEASE=%d]", release))
		switch {
		case !isNew && after != before:
			t.Errorf("the stack is neither as it was nor as it was to be: %s", after)
		case deployed == nil && !isNew:
			t.Errorf("a deploy that succeeded is not there")
		}
		outcomes[fmt.Sprintf("there: %t, the command succeeded: %t", isNew, deployed == nil)]++
		if deployed != nil {
			t.Logf("killed after %.0f %%: %v", part*100, deployed)
		}
		f.again(release)
		l.must(leader.StartDaemon(l.ctx))
		l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
		l.must(l.AwaitManagers(l.ctx))
		f.runs(release)
	}
	t.Logf("a deploy takes %.2f s; outcomes: %v", whole.Seconds(), outcomes)
	history := l.cli(f.at, "stack", "history", "--format", "{{.Number}} {{.Changes}}", "fleet")
	if want := fmt.Sprintf("%d %d updated\n", len(moments)+1, f.services); !strings.HasSuffix(history, want) {
		t.Errorf("the history does not end with %q:\n%s", want, history)
	}
	l.cli(f.at, "stack", "rm", "fleet")
}

// An engine that is killed and comes back in the middle of a deploy makes it
// late, and nothing else.
func TestADeployOutlivesAnEngineThatIsRestarted(t *testing.T) {
	l := newLab(t)
	f := &fleet{lab: l, dir: t.TempDir(), services: 10, at: l.leader()}
	f.write(1)
	_, err := f.deploy("--timeout", "60s")
	l.must(err)
	f.runs(1)
	for i, n := range []*cluster.Node{l.Workers()[0], f.at} {
		release := i + 2
		f.write(release)
		done := make(chan error, 1)
		go func() {
			_, err := f.deploy("--timeout", "100s")
			done <- err
		}()
		l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
			at, err := f.release(ctx, f.at)
			if err == nil && !strings.Contains(at, fmt.Sprintf("RELEASE=%d]", release)) {
				err = fmt.Errorf("not deployed yet: %s", at)
			}
			return err
		}))
		n.KillEngine()
		l.must(n.StartEngine(l.ctx))
		if err := <-done; err != nil {
			t.Errorf("the engine of %s was restarted in the middle of a deploy: %v", n.Name, err)
		}
		f.again(release)
		f.runs(release)
	}
	l.cli(f.at, "stack", "rm", "fleet")
}
