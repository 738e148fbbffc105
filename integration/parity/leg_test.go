package parity

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

const (
	// commandPatience is for one command. The longest stops a container.
	commandPatience = 60 * time.Second
	// awaitPatience is for what a script waits for.
	awaitPatience = 60 * time.Second
	look          = 100 * time.Millisecond
)

// leg plays scripts at one of the two clusters with one of the two programs.
type leg struct {
	name string
	*side
	swarmctl string // the program that stands in for docker; empty for docker itself
}

// ours are docker's nouns and verbs that swarmctl has as well.
var ours = []string{"service", "node", "swarm", "secret", "config", "network", "events"}

// result is what a compared step printed, normalised.
type result struct {
	step    *step
	command string // as the leg ran it, variables not expanded
	lines   []string
	code    int
	took    time.Duration
}

// play is one run of one script.
type play struct {
	*leg
	dir  string
	vars map[string]string
	jobs map[string]*job
}

// play runs a script and returns what its compared steps printed. It ends
// early where the script cannot go on.
func (l *leg) play(ctx context.Context, s *script, dir string) ([]result, error) {
	if err := txtar.Write(&txtar.Archive{Files: s.files}, dir); err != nil {
		return nil, err
	}
	p := &play{leg: l, dir: dir, vars: map[string]string{"IMAGE": cluster.Image}, jobs: map[string]*job{}}
	defer p.endJobs()
	var results []result
	for i := range s.steps {
		st := &s.steps[i]
		start := time.Now()
		out, err := p.step(ctx, st)
		if err != nil {
			return results, fmt.Errorf("%s.txtar:%d: %s: on %s: %w", s.name, st.line, st.text, l.name, err)
		}
		if st.compared {
			results = append(results, result{st, p.shown(st), lines(out, p.vars), out.code, time.Since(start)})
		}
	}
	return results, nil
}

// output is what a command left.
type output struct {
	stdout, stderr string
	code           int
	sorted         bool // the order of its lines says nothing
}

func (o output) ok() bool { return o.code == 0 }

// lines is an output as it is compared.
func lines(o output, vars map[string]string) []string {
	var out []string
	for _, stream := range []struct{ text, mark string }{{o.stdout, ""}, {o.stderr, "2> "}} {
		text := strings.TrimSuffix(normalise(stream.text, vars), "\n")
		if o.sorted { // by what is compared: IDs are in any order
			text = sortLines(text)
		}
		if text == "" {
			continue
		}
		for _, row := range strings.Split(text, "\n") {
			out = append(out, strings.TrimRight(stream.mark+row, " "))
		}
	}
	if o.code != 0 {
		out = append(out, fmt.Sprintf("exit code %d", o.code))
	}
	return out
}

func (p *play) step(ctx context.Context, st *step) (output, error) {
	switch st.verb {
	case "", "!":
		return p.run(ctx, st.run)
	case "http":
		return p.request(ctx, st.run)
	case "do":
		return output{}, p.must(ctx, st.run, nil)
	case "let":
		return output{}, p.must(ctx, st.run, func(out string) { p.vars[st.name] = out })
	case "await":
		return output{}, p.await(ctx, st)
	case "start":
		return output{}, p.start(st.name, st.run)
	case "ready":
		return output{}, p.ready(ctx, st)
	case "seen":
		return output{}, p.seen(ctx, st)
	}
	return p.stop(st.name)
}

// run runs a command to its end. It fails only where there is no outcome.
func (p *play) run(ctx context.Context, c command) (output, error) {
	ctx, cancel := context.WithTimeout(ctx, commandPatience)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd, err := p.prepare(ctx, c)
	if err != nil {
		return output{}, err
	}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	out := output{stdout: stdout.String(), stderr: stderr.String(), code: cmd.ProcessState.ExitCode()}
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		err = nil
	}
	out.sorted = c.sorted
	if err != nil {
		err = fmt.Errorf("%w: it had printed %s%s", err, out.stdout, out.stderr)
	}
	return out, err
}

func (p *play) prepare(ctx context.Context, c command) (*exec.Cmd, error) {
	program, args := p.program(c, p.expand(c.args))
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.WaitDelay = p.dir, time.Second
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "LANG=C.UTF-8", "DOCKER_CONFIG=" + p.dir}
	if c.stdin == "" {
		return cmd, nil
	}
	in, err := os.ReadFile(filepath.Join(p.dir, c.stdin))
	cmd.Stdin = bytes.NewReader(in)
	return cmd, err
}

// program is docker at this leg's socket, or swarmctl where it has the command.
func (l *leg) program(c command, args []string) (string, []string) {
	socket := "unix://" + l.Nodes[c.host].Path(l.socket)
	if l.replaces(args) {
		return l.swarmctl, append([]string{"-H", socket}, args...)
	}
	return "docker", append([]string{"-H", socket}, args...)
}

// replaces reports whether swarmctl stands in for docker with these words.
func (l *leg) replaces(args []string) bool {
	return l.swarmctl != "" && len(args) > 0 && slices.Contains(ours, args[0])
}

// shown is a step as this leg runs it.
func (l *leg) shown(st *step) string {
	if st.verb == "http" || len(st.run.args) == 0 || !l.replaces([]string{st.run.args[0].expand(nil)}) {
		return st.text
	}
	return strings.Replace(st.text, "docker ", "swarmctl ", 1)
}

// request sends a request to the API as it is written. The status and the
// message of an error are what it prints, or the whole answer.
func (p *play) request(ctx context.Context, c command) (output, error) {
	ctx, cancel := context.WithTimeout(ctx, commandPatience)
	defer cancel()
	words := append(p.expand(c.args), "", "")[:3]
	req, err := http.NewRequestWithContext(ctx, words[0], "http://docker"+words[1], strings.NewReader(words[2]))
	if err != nil {
		return output{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := p.Nodes[0].API.HTTPClient().Do(req)
	if err != nil {
		return output{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return output{stdout: fmt.Sprintf("%s %s\n%s", res.Status, res.Header.Get("Content-Type"), body)}, err
}

func (p *play) expand(words []word) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = w.expand(p.vars)
	}
	return out
}

func (p *play) must(ctx context.Context, c command, printed func(string)) error {
	out, err := p.run(ctx, c)
	switch {
	case err != nil:
		return err
	case !out.ok():
		return fmt.Errorf("exit code %d: %s", out.code, out.stderr)
	case printed != nil && strings.TrimSpace(out.stdout) == "":
		return errors.New("it printed nothing")
	case printed != nil:
		printed(strings.TrimSpace(out.stdout))
	}
	return nil
}

func (p *play) await(ctx context.Context, st *step) error {
	return again(ctx, func() error {
		out, err := p.run(ctx, st.run)
		if err == nil && !st.want.MatchString(out.stdout+out.stderr) {
			err = fmt.Errorf("the last time it printed\n%s%s", out.stdout, out.stderr)
		}
		return err
	})
}

// again is cluster.Eventually, less often: each look starts a program.
func again(ctx context.Context, f func() error) error {
	next := time.NewTimer(0)
	defer next.Stop()
	return cluster.Eventually(ctx, awaitPatience, func(ctx context.Context) error {
		select {
		case <-next.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer next.Reset(look)
		return f()
	})
}

func sortLines(text string) string {
	rows := strings.Split(text, "\n")
	slices.Sort(rows)
	return strings.Join(rows, "\n")
}

// job is a command in the background.
type job struct {
	cmd  *exec.Cmd
	done chan error
	drop []func(string) bool // the lines that do not count

	mu     sync.Mutex
	stdout bytes.Buffer
	stderr bytes.Buffer
}

// locked writes to a buffer of a job.
type locked struct {
	mu *sync.Mutex
	to *bytes.Buffer
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.to.Write(b)
}

func (j *job) printed() (stdout, stderr string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.stdout.String(), j.stderr.String()
}

func (p *play) start(name string, c command) error {
	cmd, err := p.prepare(context.Background(), c) // it ends with stop, or with the script
	if err != nil {
		return err
	}
	j := &job{cmd: cmd, done: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = locked{&j.mu, &j.stdout}, locked{&j.mu, &j.stderr}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.jobs[name] = j
	go func() { j.done <- cmd.Wait() }()
	return nil
}

func (p *play) job(name string) (*job, error) {
	if j := p.jobs[name]; j != nil {
		return j, nil
	}
	return nil, fmt.Errorf("nothing called %s was started", name)
}

func (p *play) ready(ctx context.Context, st *step) error {
	j, err := p.job(st.name)
	if err != nil {
		return err
	}
	j.drop = append(j.drop, st.want.MatchString)
	return again(ctx, func() error {
		out, errs := j.printed()
		if st.want.MatchString(out) {
			return nil
		}
		if err := p.must(ctx, st.run, nil); err != nil {
			return cluster.Final(err)
		}
		return fmt.Errorf("nothing of it is seen, but\n%s%s", out, errs)
	})
}

func (p *play) seen(ctx context.Context, st *step) error {
	j, err := p.job(st.name)
	if err != nil {
		return err
	}
	return cluster.Eventually(ctx, awaitPatience, func(context.Context) error {
		out, errs := j.printed()
		if !st.want.MatchString(out) {
			return fmt.Errorf("it has printed\n%s%s", out, errs)
		}
		return nil
	})
}

// stop ends a job and returns what it printed and counts. Its exit code is
// that of our own signal and says nothing.
func (p *play) stop(name string) (output, error) {
	j, err := p.job(name)
	if err != nil {
		return output{}, err
	}
	delete(p.jobs, name)
	j.end()
	out := output{}
	out.stdout, out.stderr = j.printed()
	var rows []string
	for _, row := range strings.SplitAfter(out.stdout, "\n") {
		if !slices.ContainsFunc(j.drop, func(drop func(string) bool) bool { return drop(row) }) {
			rows = append(rows, row)
		}
	}
	out.stdout = strings.Join(rows, "")
	return out, nil
}

func (j *job) end() {
	_ = j.cmd.Process.Kill() // it may have ended by itself
	<-j.done
}

func (p *play) endJobs() {
	for _, j := range p.jobs {
		j.end()
	}
}
