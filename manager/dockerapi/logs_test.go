package dockerapi_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// logEngine is an engine whose containers have logs: lines that begin with
// "!" are on stderr. A followed log stays open until its container ends.
type logEngine struct {
	mu    sync.Mutex
	lines map[string][]string
	tty   map[string]bool
	ended map[string]chan struct{}
	asked []string
	// unreadable is a container whose log driver keeps nothing.
	unreadable string
}

func newLogEngine() *logEngine {
	return &logEngine{lines: map[string][]string{}, tty: map[string]bool{}, ended: map[string]chan struct{}{}}
}

func (e *logEngine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := strings.Split(r.URL.Path, "/")[2]
	e.mu.Lock()
	e.asked = append(e.asked, r.URL.RawQuery)
	lines, ok := e.lines[id]
	end := e.ended[id]
	e.mu.Unlock()
	if id == e.unreadable {
		w.WriteHeader(http.StatusNotImplemented)
		_, _ = io.WriteString(w, `{"message":"configured logging driver does not support reading"}`)
		return
	}
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"message":"No such container"}`)
		return
	}
	q := r.URL.Query()
	for i, l := range lines {
		stream, text := stdcopy.Stdout, l
		if strings.HasPrefix(l, "!") {
			stream, text = stdcopy.Stderr, l[1:]
		}
		if q.Get("details") == "1" {
			text = " " + text
		}
		if q.Get("timestamps") == "1" {
			text = fmt.Sprintf("2026-01-01T00:00:%02d.000000000Z %s", i, text)
		}
		if e.tty[id] {
			_, _ = io.WriteString(w, text)
			continue
		}
		_, _ = stdcopy.NewStdWriter(w, stream).Write([]byte(text))
	}
	_ = http.NewResponseController(w).Flush()
	if q.Get("follow") == "1" && end != nil {
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}
}

// withLogs is a cluster of three nodes with a service of three tasks.
func withLogs(t *testing.T) (*cluster, *logEngine, *api.Service) {
	c, e := start(t, nil), newLogEngine()
	addr := serve(t, e)
	for i, host := range []string{"h1", "h2", "h3"} {
		id := api.NodeID(fmt.Sprintf("node%d", i+1))
		c.addNode(id, host, swarm.NodeRoleManager, api.NodeReady)
		c.engines.addr[id] = addr
	}
	web := c.create(serviceSpec("web"))
	for i := 1; i <= 3; i++ {
		id := fmt.Sprint(i)
		c.addTask(api.TaskID("t"+id), web, i, api.NodeID("node"+id), running("c"+id))
		e.lines["c"+id] = []string{"out " + id + "\n", "!err " + id + "\n"}
	}
	return c, e, web
}

// logs reads logs to their end and returns the lines of both streams, sorted.
func (c *cluster) logs(o container.LogsOptions) (stdout, stderr []string) {
	c.Helper()
	r, err := c.docker.ServiceLogs(c.Context(), "web", o)
	c.must(err)
	defer r.Close()
	var out, errs bytes.Buffer
	_, err = stdcopy.StdCopy(&out, &errs, r)
	c.must(err)
	return sortedLines(&out), sortedLines(&errs)
}

func sortedLines(b *bytes.Buffer) []string { return slices.Sorted(strings.Lines(b.String())) }

func wantLines(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

var both = container.LogsOptions{ShowStdout: true, ShowStderr: true}

func TestLogsOfAllTasksInTheirStreams(t *testing.T) {
	c, _, _ := withLogs(t)
	stdout, stderr := c.logs(both)
	wantLines(t, "stdout", stdout, "out 1\n", "out 2\n", "out 3\n")
	wantLines(t, "stderr", stderr, "err 1\n", "err 2\n", "err 3\n")
}

func TestLogsSayWhichTaskALineIsOf(t *testing.T) {
	c, e, _ := withLogs(t)
	e.lines["c2"], e.lines["c3"] = nil, nil
	o := both
	o.Details, o.Timestamps, o.ShowStderr = true, true, false
	stdout, _ := c.logs(o)
	wantLines(t, "stdout", stdout, "2026-01-01T00:00:00.000000000Z "+
		"com.docker.swarm.node.id=node1,com.docker.swarm.service.id=id1,com.docker.swarm.task.id=t1 out 1\n")
}

func TestLogsGoOnWithoutANodeThatDoesNotAnswer(t *testing.T) {
	c, _, _ := withLogs(t)
	c.engines.hang["node2"] = true
	delete(c.engines.addr, "node3")
	stdout, stderr := c.logs(both)
	wantLines(t, "stdout", stdout, "out 1\n")
	wantLines(t, "stderr", stderr, "err 1\n",
		"warning: incomplete logs: web.2.t2 and other tasks on node h2 may be missing: it did not answer within 200ms\n",
		"warning: incomplete logs: web.3.t3 and other tasks on node h3 may be missing: connection refused\n")
}

// A hundred tasks of a dead node would hold up the reader a hundred times.
func TestLogsWaitForADeadNodeOnce(t *testing.T) {
	c, _, web := withLogs(t)
	c.engines.hang["node2"] = true
	for i := 4; i < 104; i++ {
		c.addTask(api.TaskID(fmt.Sprint("t", i)), web, i, "node2", running("c1"))
	}
	begun := time.Now()
	stdout, _ := c.logs(both)
	if took := time.Since(begun); len(stdout) != 2 || took > 3*200*time.Millisecond {
		t.Errorf("%d lines after %s", len(stdout), took)
	}
}

// One log that cannot be read says nothing about the others of its node.
func TestLogsOfADriverThatKeepsNone(t *testing.T) {
	c, e, web := withLogs(t)
	e.unreadable = "c4"
	c.addTask("t4", web, 4, "node1", running("c4"))
	stdout, stderr := c.logs(both)
	wantLines(t, "stdout", stdout, "out 1\n", "out 2\n", "out 3\n")
	wantLines(t, "stderr", stderr, "err 1\n", "err 2\n", "err 3\n",
		"warning: incomplete logs: web.4.t4 and other tasks on node h1 may be missing: its engine says: 501 Not Implemented: configured logging driver does not support reading\n")
}

func TestLogsOfANodeThatIsDownAreNotAskedFor(t *testing.T) {
	c, _, _ := withLogs(t)
	c.engines.hang["node2"] = true
	c.apply(state.Op{ObserveNode: &state.ObserveNode{ID: "node2", Status: &api.NodeStatus{State: api.NodeDown}}})
	_, stderr := c.logs(both)
	wantLines(t, "stderr", stderr, "err 1\n", "err 3\n",
		"warning: incomplete logs: web.2.t2 and other tasks on node h2 may be missing: it is down\n")
}

func TestLogsOfHistoryThatIsGoneAreNoNews(t *testing.T) {
	c, _, web := withLogs(t)
	c.addTask("t0", web, 1, "node1", api.TaskStatus{State: api.TaskFailed, Container: &api.ContainerStatus{ID: "gone"}})
	_, stderr := c.logs(both)
	wantLines(t, "stderr", stderr, "err 1\n", "err 2\n", "err 3\n")
}

func TestFollowedLogsPickUpAReplacement(t *testing.T) {
	c, e, web := withLogs(t)
	for id := range e.lines {
		e.ended[id] = make(chan struct{})
	}
	r, err := c.docker.ServiceLogs(t.Context(), "web", container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: true})
	c.must(err)
	defer r.Close()
	lines := make(chan string, 100)
	go func() {
		defer close(lines)
		pr, pw := io.Pipe()
		go func() { _, _ = stdcopy.StdCopy(pw, pw, r); pw.Close() }()
		buf := make([]byte, 1024)
		for {
			n, err := pr.Read(buf)
			if err != nil {
				return
			}
			lines <- string(buf[:n])
		}
	}()
	seen := []string{}
	for range 6 {
		seen = append(seen, <-lines)
	}
	slices.Sort(seen)
	wantLines(t, "first", seen, "err 1\n", "err 2\n", "err 3\n", "out 1\n", "out 2\n", "out 3\n")

	e.mu.Lock()
	e.lines["c4"] = []string{"out 4\n"}
	e.mu.Unlock()
	close(e.ended["c1"])
	c.apply(state.Op{ReportTasks: []state.Report{{Task: "t1", Status: api.TaskStatus{State: api.TaskFailed, At: time.Now()}}}})
	c.addTask("t4", web, 1, "node2", running("c4"))
	if got := <-lines; got != "out 4\n" {
		t.Errorf("the replacement's first line is %q", got)
	}

	c.must(c.docker.ServiceRemove(t.Context(), "web")) // nothing more can come
	close(e.ended["c2"])
	close(e.ended["c3"])
	if got, more := <-lines; more {
		t.Errorf("after the service is gone: %q", got)
	}
}

// The worker's tunnel breaks, the container runs on.
func TestAFollowedLogThatBreaksOffIsTakenUpAgain(t *testing.T) {
	c := start(t, nil)
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	asked := make(chan string, 2)
	c.engines.addr["node1"] = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		first := r.URL.Query().Get("since") == ""
		asked <- r.URL.Query().Get("since")
		if first {
			_, _ = stdcopy.NewStdWriter(w, stdcopy.Stdout).Write([]byte("2026-01-01T00:00:00.000000009Z one\n"))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = stdcopy.NewStdWriter(w, stdcopy.Stdout).Write([]byte("2026-01-01T00:00:01.000000000Z two\n"))
	}))
	web := c.create(serviceSpec("web"))
	c.addTask("t1", web, 1, "node1", running("c1"))
	r, err := c.docker.ServiceLogs(t.Context(), "web", container.LogsOptions{ShowStdout: true, Follow: true})
	c.must(err)
	defer r.Close()
	<-asked
	if since := <-asked; since != "1767225600.000000010" {
		t.Errorf("taken up again since %q", since)
	}
	c.must(c.docker.ServiceRemove(t.Context(), "web"))
	var out, errs bytes.Buffer
	_, err = stdcopy.StdCopy(&out, &errs, r)
	c.must(err)
	if out.String() != "one\ntwo\n" || !strings.HasPrefix(errs.String(), "warning: incomplete logs: web.1.t1") {
		t.Errorf("stdout %q, stderr %q", out.String(), errs.String())
	}
}

func TestLogsOfATerminalComeAsTheyAre(t *testing.T) {
	c, e := start(t, nil), newLogEngine()
	c.addNode("node1", "h1", swarm.NodeRoleManager, api.NodeReady)
	c.engines.addr["node1"] = serve(t, e)
	spec := serviceSpec("web")
	spec.TaskTemplate.ContainerSpec.TTY = true
	web := c.create(spec)
	c.addTask("t1", web, 1, "node1", running("c1"))
	e.lines["c1"], e.tty["c1"] = []string{"\x1b[1mhello\r\n", "prompt> "}, true
	r, err := c.docker.TaskLogs(t.Context(), "t1", container.LogsOptions{ShowStdout: true})
	c.must(err)
	defer r.Close()
	got, err := io.ReadAll(r)
	c.must(err)
	if string(got) != "\x1b[1mhello\r\nprompt> " {
		t.Errorf("got %q", got)
	}
}

func TestLogsNeedAStream(t *testing.T) {
	c, _, _ := withLogs(t)
	_, err := c.docker.ServiceLogs(t.Context(), "web", container.LogsOptions{})
	wantError(t, err, errdefs.IsInvalidArgument, "Bad parameters: you must choose at least one stream")
	_, err = c.docker.ServiceLogs(t.Context(), "none", both)
	wantError(t, err, errdefs.IsNotFound, "service none not found")
}
