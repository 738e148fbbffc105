package dockerapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// execEngine runs three commands: "cat", which ends with its input and says how
// much it was, "deaf", which reads none, and "silent", which neither says
// anything nor ends.
type execEngine struct {
	*http.ServeMux
	mu      sync.Mutex
	execs   map[string]string // whose container by the exec's ID
	command map[string]string
	resized []string
	end     chan struct{} // closed when the test ends
}

func newExecEngine(t *testing.T) *execEngine {
	e := &execEngine{ServeMux: http.NewServeMux(), execs: map[string]string{}, command: map[string]string{}, end: make(chan struct{})}
	t.Cleanup(func() { close(e.end) })
	e.HandleFunc("POST /containers/{id}/exec", func(w http.ResponseWriter, r *http.Request) {
		var o container.ExecOptions
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			t.Error(err)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		id := fmt.Sprintf("exec%d", len(e.execs)+1)
		e.execs[id], e.command[id] = r.PathValue("id"), o.Cmd[0]
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"Id":%q}`, id)
	})
	e.HandleFunc("GET /exec/{id}/json", func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if e.execs[r.PathValue("id")] == "" {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"message":"No such exec instance: `+r.PathValue("id")+`"}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"ID":%q,"ContainerID":%q,"Running":false,"ExitCode":7}`, r.PathValue("id"), e.execs[r.PathValue("id")])
	})
	e.HandleFunc("POST /exec/{id}/resize", func(_ http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.resized = append(e.resized, r.PathValue("id")+" "+r.URL.RawQuery)
	})
	e.HandleFunc("POST /exec/{id}/start", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = fmt.Fprint(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		e.mu.Lock()
		command := e.command[r.PathValue("id")]
		e.mu.Unlock()
		switch command {
		case "cat":
			n, _ := io.Copy(io.Discard, rw)
			_, _ = fmt.Fprintf(conn, "read %d bytes", n)
		case "deaf":
			_, _ = fmt.Fprint(conn, "nothing is read")
		case "silent":
			<-e.end
		}
	})
	return e
}

// closing tells when a connection is closed on this side.
type closing struct {
	net.Conn
	closed chan<- struct{}
}

func (c closing) Close() error {
	select {
	case c.closed <- struct{}{}:
	default: // it is closed more than once
	}
	return c.Conn.Close()
}

func (c closing) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() }

// withExec is a cluster whose service web runs on two nodes, with the engine of the second.
func withExec(t *testing.T) (*cluster, *execEngine, *api.Service) {
	c, e := start(t, nil), newExecEngine(t)
	addr := serve(t, e)
	for _, n := range []string{"1", "2"} {
		c.addNode(api.NodeID("node"+n), "h"+n, swarm.NodeRoleManager, api.NodeReady)
		c.engines.addr[api.NodeID("node"+n)] = addr
	}
	web := c.create(serviceSpec("web"))
	c.addTask("t1", web, 1, "node1", running("c1"))
	c.addTask("t2", web, 2, "node2", running("c2"))
	return c, e, web
}

// engineOf is a client of the part of a task's engine that runs commands.
func (c *cluster) engineOf(task string) *client.Client {
	c.Helper()
	cli, err := client.NewClientWithOpts(client.WithHost("tcp://" + strings.TrimPrefix(c.url, "http://") + "/swarmctl/tasks/" + task + "/engine"))
	c.must(err)
	c.Cleanup(func() { _ = cli.Close() })
	return cli
}

func TestACommandRunsInATasksContainerOnAnotherNode(t *testing.T) {
	for _, role := range []dockerapi.Role{dockerapi.Leader, dockerapi.Manager} { // a follower does it by itself
		c, e, _ := withExec(t)
		c.node.role = role
		engine := c.engineOf("t2")
		made, err := engine.ContainerExecCreate(t.Context(), "c2", container.ExecOptions{Cmd: []string{"cat"}, AttachStdin: true})
		c.must(err)
		if e.execs[made.ID] != "c2" {
			t.Fatalf("the command is for container %q", e.execs[made.ID])
		}
		conn, err := engine.ContainerExecAttach(t.Context(), made.ID, container.ExecAttachOptions{})
		c.must(err)
		c.must(engine.ContainerExecResize(t.Context(), made.ID, container.ResizeOptions{Height: 24, Width: 80}))
		_, err = conn.Conn.Write(bytes.Repeat([]byte("x"), 1<<20))
		c.must(err)
		c.must(conn.CloseWrite())
		out, err := io.ReadAll(conn.Reader)
		c.must(err)
		conn.Close()
		if string(out) != "read 1048576 bytes" {
			t.Errorf("output %q", out)
		}
		state, err := engine.ContainerExecInspect(t.Context(), made.ID)
		c.must(err)
		if state.ExitCode != 7 || !slices.Equal(e.resized, []string{"exec1 h=24&w=80"}) || len(c.forward) > 0 {
			t.Errorf("exit code %d, resized %q, forwarded %q", state.ExitCode, e.resized, c.forward)
		}
	}
}

func TestCommandsReachTheTasksOwnContainerAlone(t *testing.T) {
	c, e, _ := withExec(t)
	e.execs["others"] = "cX"
	engine := c.engineOf("t2")
	_, err := engine.ContainerExecCreate(t.Context(), "cX", container.ExecOptions{Cmd: []string{"cat"}})
	wantError(t, err, errdefs.IsNotFound, "No such container: cX: task web.2.t2 has container c2, and commands run in no other")
	_, err = engine.ContainerExecInspect(t.Context(), "others")
	wantError(t, err, errdefs.IsNotFound, "No such exec instance: others: it is none of task web.2.t2")
	err = engine.ContainerExecResize(t.Context(), "others", container.ResizeOptions{})
	wantError(t, err, errdefs.IsNotFound, "No such exec instance: others: it is none of task web.2.t2")
	err = engine.ContainerExecStart(t.Context(), "others", container.ExecStartOptions{Detach: true})
	wantError(t, err, errdefs.IsNotFound, "No such exec instance: others: it is none of task web.2.t2")
	_, err = engine.ContainerExecInspect(t.Context(), "none")
	wantError(t, err, errdefs.IsNotFound, "No such exec instance: none")
	_, err = engine.ContainerExecCreate(t.Context(), "c2", container.ExecOptions{Cmd: []string{"cat"}, Privileged: true})
	wantError(t, err, errdefs.IsPermissionDenied, "exec: a command for a task cannot be privileged: it gets what the service's containers have; give those what they need")
	for _, path := range []string{"/containers/c2/json", "/containers/c2/kill", "/images/json", "/exec/x/../../info"} {
		if got := c.get("/swarmctl/tasks/t2/engine" + path); !strings.Contains(got, "not found") && !strings.Contains(got, "Not Allowed") {
			t.Errorf("%s is answered with %s", path, got)
		}
	}
	if len(e.execs) != 1 {
		t.Errorf("commands came to be: %v", e.execs)
	}
}

func TestAFollowerWaitsForATaskThatItHasNotHeardOf(t *testing.T) {
	c, _, web := withExec(t)
	c.node.role = dockerapi.Manager
	made := make(chan error)
	go func() {
		_, err := c.engineOf("t3").ContainerExecCreate(t.Context(), "c3", container.ExecOptions{Cmd: []string{"cat"}})
		made <- err
	}()
	c.addTask("t3", web, 3, "node2", running("c3"))
	c.must(<-made)
	_, err := c.engineOf("t9").ContainerExecCreate(t.Context(), "c9", container.ExecOptions{Cmd: []string{"cat"}})
	wantError(t, err, errdefs.IsNotFound, "task t9 not found")
}

func TestACommandForANodeThatDoesNotAnswer(t *testing.T) {
	c, _, _ := withExec(t)
	delete(c.engines.addr, "node2")
	_, err := c.engineOf("t2").ContainerExecCreate(t.Context(), "c2", container.ExecOptions{Cmd: []string{"cat"}})
	wantError(t, err, errdefs.IsUnavailable, "task web.2.t2: the engine of node h2 is out of reach: connection refused")
	c.node.role = dockerapi.Worker
	_, err = c.engineOf("t2").ContainerExecCreate(t.Context(), "c2", container.ExecOptions{Cmd: []string{"cat"}})
	if !errdefs.IsUnavailable(err) || !strings.Contains(err.Error(), "This node is not a swarm manager") {
		t.Errorf("on a worker: %v", err)
	}
}

// A caller that closes its half waits for output; one that closes both is
// gone, and an engine that has nothing to say would never find out.
func TestACallerThatVanishesEndsTheConnectionToTheEngine(t *testing.T) {
	c, _, _ := withExec(t)
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	c.must(err)
	srv := &http.Server{Handler: c.api} //nolint:gosec // a test
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	for _, addr := range []string{"unix " + socket, "tcp " + strings.TrimPrefix(c.url, "http://")} {
		network, where, _ := strings.Cut(addr, " ")
		made, err := c.engineOf("t1").ContainerExecCreate(t.Context(), "c1", container.ExecOptions{Cmd: []string{"silent"}})
		c.must(err)
		closed := make(chan struct{}, 1)
		c.engines.wrap = func(conn net.Conn) net.Conn { return closing{conn, closed} }
		conn, err := net.Dial(network, where)
		c.must(err)
		_, err = fmt.Fprintf(conn, "POST /swarmctl/tasks/t1/engine/v1.41/exec/%s/start HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\n{}", made.ID)
		c.must(err)
		head := make([]byte, len("HTTP/1.1 101"))
		_, err = io.ReadFull(conn, head)
		c.must(err)
		if string(head) != "HTTP/1.1 101" {
			t.Fatalf("answered %q", head)
		}
		if network == "unix" {
			c.must(conn.(*net.UnixConn).CloseWrite())
			select {
			case <-closed:
				t.Fatal("the connection to the engine has ended though the caller listens")
			case <-time.After(100 * time.Millisecond): // NB: that nothing happens takes time to see
			}
		} else {
			c.must(conn.(*net.TCPConn).SetLinger(0)) // as from a host that does not know the connection any more
		}
		c.must(conn.Close())
		<-closed
		c.engines.wrap = nil
	}
}

// A caller that is killed while the command takes no input leaves nothing either.
func TestACallerThatVanishesWhileItsInputIsStuck(t *testing.T) {
	c, _, _ := withExec(t)
	engine, closed := c.engineOf("t1"), make(chan struct{}, 1)
	made, err := engine.ContainerExecCreate(t.Context(), "c1", container.ExecOptions{Cmd: []string{"silent"}, AttachStdin: true})
	c.must(err)
	c.engines.wrap = func(conn net.Conn) net.Conn { return closing{conn, closed} }
	conn, err := engine.ContainerExecAttach(t.Context(), made.ID, container.ExecAttachOptions{})
	c.must(err)
	c.must(conn.Conn.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)))
	for err == nil {
		_, err = conn.Conn.Write(make([]byte, 1<<20))
	}
	c.must(conn.Conn.(*net.TCPConn).SetLinger(0))
	conn.Close()
	<-closed
}

// A command that ends with its input unread must not cost the caller its output.
func TestOutputArrivesThoughInputIsLeftOver(t *testing.T) {
	c, _, _ := withExec(t)
	engine := c.engineOf("t1")
	for range 20 {
		made, err := engine.ContainerExecCreate(t.Context(), "c1", container.ExecOptions{Cmd: []string{"deaf"}, AttachStdin: true})
		c.must(err)
		conn, err := engine.ContainerExecAttach(t.Context(), made.ID, container.ExecAttachOptions{})
		c.must(err)
		go func() { _, _ = conn.Conn.Write(make([]byte, 1<<16)) }()
		out, err := io.ReadAll(conn.Reader)
		conn.Close()
		if string(out) != "nothing is read" || err != nil {
			t.Fatalf("output %q, %v", out, err)
		}
	}
}

// The caller must not take half of the output for all of it.
func TestOutputThatBreaksOffSaysSo(t *testing.T) {
	c, _, _ := withExec(t)
	engine := c.engineOf("t2")
	made, err := engine.ContainerExecCreate(t.Context(), "c2", container.ExecOptions{Cmd: []string{"silent"}})
	c.must(err)
	tunnel := make(chan net.Conn, 1)
	c.engines.wrap = func(conn net.Conn) net.Conn { tunnel <- conn; return conn }
	conn, err := engine.ContainerExecAttach(t.Context(), made.ID, container.ExecAttachOptions{})
	c.must(err)
	defer conn.Close()
	c.must((<-tunnel).SetReadDeadline(time.Unix(1, 0)))
	var out, errs bytes.Buffer
	_, err = stdcopy.StdCopy(&out, &errs, conn.Reader)
	c.must(err)
	if want := "swarmctl: the output of task web.2.t2 breaks off: the tunnel to node h2 broke: "; !strings.HasPrefix(errs.String(), want) || out.Len() > 0 {
		t.Errorf("stdout %q, stderr %q", out.String(), errs.String())
	}
}

func TestWhichContainerACommandIsFor(t *testing.T) {
	c, _, web := withExec(t)
	one := c.create(serviceSpec("one"))
	none := c.create(serviceSpec("none"))
	c.create(serviceSpec("empty"))
	spec := serviceSpec("agent")
	spec.Mode.Global = &swarm.GlobalService{}
	agent := c.create(spec)
	c.addTask("o1", one, 1, "node1", running("co1"))
	c.addTask("n1", none, 1, "", api.TaskStatus{State: api.TaskPending, Err: "no suitable node (insufficient resources on 2 nodes)"})
	c.addTask("a1", agent, 0, "node1", running("ca1"))
	c.addTask("a2", agent, 0, "node2", running("ca2"))
	// web.3 is being replaced, start-first; web.4 has failed, web.5 is not healthy yet, web.6 is on a node that is down.
	c.addTask("t3", web, 3, "node1", running("c3"))
	c.addTask("t3b", web, 3, "node2", api.TaskStatus{State: api.TaskPreparing})
	c.addTask("t4", web, 4, "node1", api.TaskStatus{State: api.TaskFailed, Err: "task: non-zero exit (3)", Container: &api.ContainerStatus{ID: "c4", ExitCode: 3}})
	c.addTask("t5", web, 5, "node1", api.TaskStatus{State: api.TaskStarting, Container: &api.ContainerStatus{ID: "c5"}})
	c.addNode("node3", "h3", swarm.NodeRoleWorker, api.NodeReady)
	c.addTask("t6", web, 6, "node3", running("c6"))
	c.apply(state.Op{ObserveNode: &state.ObserveNode{ID: "node3", Status: &api.NodeStatus{State: api.NodeDown}}})
	for ref, want := range map[string]string{
		"web.2":      "web.2 c2 on h2",
		"web.2.t2":   "web.2 c2 on h2",
		"t2":         "web.2 c2 on h2",
		"one":        "one.1 co1 on h1",
		"agent.h2":   "agent.h2 ca2 on h2",
		"agent.node": "service agent has no task node: `service ps agent` lists what it has",
		"agent":      "service agent has 2 running tasks: name one of agent.h1, agent.h2",
		"web.3":      "web.3 c3 on h1",
		"web.4":      "task web.4.t4 does not run: it is failed: task: non-zero exit (3)",
		"web.5":      "web.5 c5 on h1",
		"web.6":      "task web.6.t6 is out of reach: its node, h3, is down",
		"web.9":      "service web has no task 9: `service ps web` lists what it has",
		"web":        "service web has 5 running tasks: name one of web.1, web.2, web.3, web.5, web.6",
		"none":       "task none.1.n1 does not run: it is pending: no suitable node (insufficient resources on 2 nodes)",
		"empty":      "service empty has no task",
		"nobody":     "task nobody not found",
		"nobody.1":   "task nobody.1 not found: give an ID, or SERVICE.SLOT as `service ps` lists them",
	} {
		var answer struct {
			api.ExecTarget
			Message string `json:"message"`
		}
		c.must(json.Unmarshal([]byte(c.get("/swarmctl/tasks/"+ref+"/exec")), &answer))
		got := answer.Message
		if got == "" {
			got = fmt.Sprintf("%s %s on %s", answer.Place, answer.Container, answer.Node)
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", ref, got, want)
		}
	}
}
