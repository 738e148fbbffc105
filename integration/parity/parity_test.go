package parity

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/hosts"
)

var (
	show  = flag.Bool("show", false, "print what every step printed, on both sides")
	later = flag.Bool("later", false, "play the scripts in testdata/later as well")
)

var (
	tools   cluster.Tools
	oracle  *side // Docker Swarm
	subject *side // swarmctl
	broken  atomic.Bool
)

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	flag.Parse()
	err := hosts.Check()
	if err == nil {
		_, err = exec.LookPath("docker")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "parity:", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "parity-")
	if err == nil {
		defer os.RemoveAll(dir)
		tools, err = cluster.Build(context.Background(), dir, true)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "parity:", err)
		return 1
	}
	defer func() {
		for _, s := range []*side{oracle, subject} {
			if s != nil {
				_ = s.Down()
			}
		}
	}()
	return m.Run()
}

// form forms the two clusters, which all tests share.
func form(t *testing.T) {
	t.Helper()
	if oracle != nil && subject != nil {
		return
	}
	start := time.Now()
	g, ctx := errgroup.WithContext(t.Context())
	for at, kind := range map[**side]cluster.Kind{&oracle: cluster.DockerSwarm, &subject: cluster.Ours} {
		if *at == nil {
			g.Go(func() (err error) {
				*at, err = newSide(ctx, kind, tools)
				return err
			})
		}
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("both clusters stand after %.1f s", time.Since(start).Seconds())
}

// TestParity plays every script on three legs. Docker Swarm is what our API is
// held against, and docker at our API what swarmctl's own commands are.
func TestParity(t *testing.T) {
	form(t)
	scripts, differences := readScripts(t, ""), readKept(t)
	if *later {
		scripts = append(scripts, readScripts(t, "later")...)
	}
	legs := []*leg{
		{name: "Docker Swarm", side: oracle},
		{name: "swarmctl's API", side: subject},
		{name: "swarmctl", side: subject, swarmctl: tools.Swarmctl},
	}
	played := 0
	for _, s := range scripts {
		if broken.Load() {
			t.Fatal("a cluster is not usable any more")
		}
		t.Run(s.name, func(t *testing.T) {
			played++
			runs := playAll(t, s, legs)
			checkRefusals(t, s, runs[0])
			differences.compare(t, s, legs[0], legs[1], runs[0], runs[1])
			differences.compare(t, s, legs[1], legs[2], likeSwarmctl(runs[1]), likeSwarmctl(runs[2]))
		})
	}
	if played < len(scripts) || t.Failed() || *later {
		return // what did not occur says nothing then
	}
	for _, k := range differences.unused() {
		t.Errorf("%s:%d: %q is listed as kept, but does not occur: take it off the list", keptFile, k.line, k.title)
	}
}

// playAll plays a script on every leg, the two sides at once.
func playAll(t *testing.T, s *script, legs []*leg) [][]result {
	t.Helper()
	start, g := time.Now(), errgroup.Group{}
	runs, dirs := make([][]result, len(legs)), make([]string, len(legs))
	for i := range legs {
		dirs[i] = t.TempDir()
	}
	for _, at := range []*side{oracle, subject} {
		g.Go(func() error {
			for i, l := range legs {
				if l.side != at {
					continue
				}
				if err := l.wipe(t.Context()); err != nil {
					broken.Store(true)
					return fmt.Errorf("%s: %w\n%s", l.name, err, l.Complaints(10))
				}
				var err error
				if runs[i], err = l.play(t.Context(), s, dirs[i]); err != nil {
					return fmt.Errorf("%w\n%s", err, l.Complaints(10))
				}
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d steps in %.1f s", len(s.steps), time.Since(start).Seconds())
	return runs
}

// checkRefusals holds the script against Docker Swarm: what it means to
// succeed must, or two sides that agree would show nothing.
func checkRefusals(t *testing.T, s *script, run []result) {
	t.Helper()
	for _, r := range run {
		if (r.step.verb == "" || r.step.fails) && r.step.fails == (r.code == 0) {
			t.Errorf("%s.txtar:%d: %s: Docker Swarm does otherwise:\n%s", s.name, r.step.line, r.step.text, strings.Join(r.lines, "\n"))
		}
	}
}

// compare reports what two legs printed that differs and is not kept.
func (list keptList) compare(t *testing.T, s *script, first, second *leg, a, b []result) {
	t.Helper()
	for i := range min(len(a), len(b)) {
		edits := diff(a[i].lines, b[i].lines)
		fine := true
		for _, h := range hunks(edits) {
			fine = list.explains(b[i].command, h) && fine
		}
		if *show {
			t.Logf("%s.txtar:%d: %s (%.2f s, %.2f s)\n%s", s.name, b[i].step.line, b[i].command,
				a[i].took.Seconds(), b[i].took.Seconds(), whole(edits))
		}
		if !fine {
			t.Errorf("%s.txtar:%d: %s\n  --- %s\n  +++ %s\n%s", s.name, b[i].step.line, b[i].command, first.name, second.name, unified(edits))
		}
	}
}

// likeSwarmctl puts swarmctl where docker is named, so that swarmctl's
// commands can be held against docker's.
func likeSwarmctl(run []result) []result {
	for i := range run {
		for k, row := range run[i].lines {
			run[i].lines[k] = dockersName.ReplaceAllString(row, "swarmctl$1")
		}
	}
	return run
}

var dockersName = regexp.MustCompile(`\b(?:docker swarm|swarmctl swarm|docker)([ :])`)

// TestEnoughIsCompared counts what the scripts hold against Docker Swarm.
func TestEnoughIsCompared(t *testing.T) {
	compared, of := 0, map[string]int{}
	for _, s := range readScripts(t, "") {
		for _, st := range s.steps {
			if st.compared && len(st.run.args) > 0 && st.verb != "http" {
				compared++
				of[st.run.args[0].expand(nil)]++
			}
		}
	}
	t.Logf("%d commands are compared: %v", compared, of)
	if compared < 250 {
		t.Errorf("only %d commands are compared", compared)
	}
}
