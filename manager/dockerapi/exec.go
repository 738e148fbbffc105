package dockerapi

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Below /swarmctl/tasks/{id}/engine is the part of the Engine API that runs
// commands in a container, of the engine of the task's node, and for the
// task's own container alone. Any manager serves it, over its own tunnel: no
// leader has a part in it, so none that changes ends it.

const (
	// catchUp is how long a manager waits for a task that it has not heard of
	// yet: its client may have it from a manager that is a moment ahead.
	catchUp = time.Second
	// execPatience bounds the way to an engine and back, before a command's
	// own input and output begin.
	execPatience = 15 * time.Second
)

// execTarget finds the container for a command. The caller names a task, a
// place, or a service that runs one task alone.
func (a *API) execTarget(w http.ResponseWriter, r *http.Request) error {
	view, t, err := found(a, r, execTask)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, api.ExecTarget{
		Task: t.ID, Name: view.TaskName(t), Place: placeOf(view, t), Node: nodeName(view, t.NodeID), Container: t.Status.Container.ID,
	})
}

// engineCall is one call of the Engine API for the container of a task.
type engineCall struct {
	*engineConn
	view *state.View
	task *api.Task
}

// callEngine opens the way to the engine of the task that the request names.
// It is open until the request ends, or close is called.
func (a *API) callEngine(r *http.Request) (c *engineCall, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), execPatience)
	defer cancel()
	view, t, err := a.awaitTask(ctx, api.TaskID(r.PathValue("id")))
	if err != nil {
		return nil, err
	}
	if err := mayExec(view, t); err != nil {
		return nil, err
	}
	conn, err := a.cfg.Tunnel.Engine(ctx, t.NodeID)
	if err != nil {
		return nil, api.Errorf(api.CodeUnavailable, "task %s: the engine of node %s is out of reach: %v", view.TaskName(t), nodeName(view, t.NodeID), err)
	}
	_ = conn.SetDeadline(time.Now().Add(execPatience))
	return &engineCall{engineConn: newEngineConn(r.Context(), conn), view: view, task: t}, nil
}

// awaitTask returns a task, and waits a moment for one that is not known here.
func (a *API) awaitTask(ctx context.Context, id api.TaskID) (*state.View, *api.Task, error) {
	view, cursor := a.cfg.Store.Follow()
	if view == nil {
		return nil, nil, api.Errorf(api.CodeUnavailable, notAManager)
	}
	ctx, cancel := context.WithTimeout(ctx, catchUp)
	defer cancel()
	for {
		if t := view.Task(id); t != nil && runsContainer(t) {
			return view, t, nil
		}
		e, err := cursor.Next(ctx)
		if err != nil {
			break
		}
		view = e.View
	}
	if t := view.Task(id); t != nil {
		return view, t, nil
	}
	return nil, nil, api.Errorf(api.CodeNotFound, "task %s not found", id)
}

// execCreate prepares a command in the task's container.
func (a *API) execCreate(w http.ResponseWriter, r *http.Request) error {
	body, err := ReadBody(w, r)
	if err != nil {
		return err
	}
	var options container.ExecOptions
	if err := json.Unmarshal(body, &options); err != nil {
		return api.Errorf(api.CodeInvalid, "exec: %s", err)
	}
	if options.Privileged {
		return api.Errorf(api.CodeForbidden, "exec: a command for a task cannot be privileged: it gets what the service's containers have; give those what they need")
	}
	c, err := a.callEngine(r)
	if err != nil {
		return err
	}
	defer c.close()
	own := c.task.Status.Container.ID
	if asked := r.PathValue("container"); asked != own {
		return api.Errorf(api.CodeNotFound, "No such container: %s: task %s has container %s, and commands run in no other", asked, c.view.TaskName(c.task), own)
	}
	return c.pass(w, http.MethodPost, "/containers/"+own+"/exec", body)
}

// execInspect says how a command is.
func (a *API) execInspect(w http.ResponseWriter, r *http.Request) error {
	return a.ownExec(w, r, func(c *engineCall) error {
		return c.pass(w, http.MethodGet, "/exec/"+url.PathEscape(r.PathValue("exec"))+"/json", nil)
	})
}

// execResize tells a command's terminal its size.
func (a *API) execResize(w http.ResponseWriter, r *http.Request) error {
	return a.ownExec(w, r, func(c *engineCall) error {
		return c.pass(w, http.MethodPost, "/exec/"+url.PathEscape(r.PathValue("exec"))+"/resize?"+r.URL.RawQuery, nil)
	})
}

// execStart runs a command and joins its input and output to the caller's
// connection, for as long as both are there.
func (a *API) execStart(w http.ResponseWriter, r *http.Request) error {
	body, err := ReadBody(w, r)
	if err != nil {
		return err
	}
	return a.ownExec(w, r, func(c *engineCall) error {
		path := "/exec/" + url.PathEscape(r.PathValue("exec")) + "/start"
		if r.Header.Get("Upgrade") == "" { // detached: the answer is all there is
			return c.pass(w, http.MethodPost, path, body)
		}
		res, err := c.do(http.MethodPost, path, body, http.Header{"Connection": {"Upgrade"}, "Upgrade": {r.Header.Get("Upgrade")}})
		if err != nil {
			return c.unreachable(err)
		}
		if res.StatusCode != http.StatusSwitchingProtocols {
			return answerWith(w, res)
		}
		var how container.ExecStartOptions
		_ = json.Unmarshal(body, &how) // the engine has understood it
		return c.join(w, res, how.Tty)
	})
}

// ownExec calls f for a command of the task's own container, which the engine
// is asked about first: an ID alone would reach any container of its host.
func (a *API) ownExec(w http.ResponseWriter, r *http.Request, f func(*engineCall) error) error {
	c, err := a.callEngine(r)
	if err != nil {
		return err
	}
	defer c.close()
	id := r.PathValue("exec")
	res, err := c.do(http.MethodGet, "/exec/"+url.PathEscape(id)+"/json", nil, nil)
	if err != nil {
		return c.unreachable(err)
	}
	if res.StatusCode != http.StatusOK {
		return answerWith(w, res)
	}
	var exec struct{ ContainerID string }
	err = json.NewDecoder(io.LimitReader(res.Body, maxBody)).Decode(&exec)
	_, _ = io.Copy(io.Discard, res.Body) // what is left of it: the connection is used again
	if err != nil {
		return c.unreachable(err)
	}
	if exec.ContainerID != c.task.Status.Container.ID {
		return api.Errorf(api.CodeNotFound, "No such exec instance: %s: it is none of task %s", id, c.view.TaskName(c.task))
	}
	return f(c)
}

func (c *engineCall) unreachable(err error) error {
	return api.Errorf(api.CodeUnavailable, "task %s: the engine of node %s does not answer: %v", c.view.TaskName(c.task), nodeName(c.view, c.task.NodeID), err)
}

// pass hands a request on and the answer back.
func (c *engineCall) pass(w http.ResponseWriter, method, path string, body []byte) error {
	res, err := c.do(method, path, body, nil)
	if err != nil {
		return c.unreachable(err)
	}
	return answerWith(w, res)
}

func answerWith(w http.ResponseWriter, res *http.Response) error {
	defer res.Body.Close() //nolint:errcheck // only read
	if t := res.Header.Get("Content-Type"); t != "" {
		w.Header().Set("Content-Type", t)
	}
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, io.LimitReader(res.Body, maxBody)) // a reader who has gone needs no error
	return nil
}

// engineConn speaks HTTP to an engine, one call after the other, over one
// connection, which becomes a raw one in the end. The paths have no version:
// every engine takes them, and nodes may run different ones.
type engineConn struct {
	net.Conn
	in   *bufio.Reader
	stop func() bool
}

// newEngineConn takes a connection over and closes it when ctx ends.
func newEngineConn(ctx context.Context, conn net.Conn) *engineConn {
	return &engineConn{Conn: conn, in: bufio.NewReader(conn), stop: context.AfterFunc(ctx, func() { _ = conn.Close() })}
}

func (c *engineConn) close() {
	c.stop()
	_ = c.Close()
}

func (c *engineConn) do(method, path string, body []byte, header http.Header) (*http.Response, error) {
	req, err := http.NewRequest(method, "http://docker"+path, bytes.NewReader(body)) //nolint:noctx // the connection ends with the context
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := req.Write(c.Conn); err != nil {
		_, cause := c.in.Peek(1) // a tunnel that broke says why to its reader
		return nil, cmp.Or(cause, err)
	}
	return http.ReadResponse(c.in, req)
}

// join answers that the protocol is switched, and copies both ways until the
// command ends or the caller has gone. A caller that has only said all it had
// to say is still there: it hears the rest of the output.
func (c *engineCall) join(w http.ResponseWriter, res *http.Response, tty bool) error {
	conn, ahead, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("take the connection over: %w", err)
	}
	caller := hijack(conn, ahead.Reader, func() { _ = c.Close() })
	defer caller.Close() //nolint:errcheck // nothing is left to say
	_ = c.SetDeadline(time.Time{})
	_, err = fmt.Fprintf(caller, "HTTP/1.1 %s\r\nContent-Type: %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", res.Status, res.Header.Get("Content-Type"), res.Header.Get("Upgrade"))
	if err != nil {
		return nil // the caller has gone
	}
	said := make(chan struct{})
	go func() {
		defer close(said)
		c.hear(caller)
	}()
	// An engine that leaves input unread resets its connection in the end.
	if _, err := io.Copy(caller, c.in); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		_, _ = caller.Write(c.breaksOff(err, tty)) // to one who has gone, it fails
	}
	// A connection that is closed over unread input is reset, and the output
	// that is on its way lost.
	_ = caller.CloseWrite()
	_ = caller.SetReadDeadline(time.Now().Add(goodbye))
	<-said
	return nil
}

// breaksOff tells a caller that there should be more output, where it reads
// the command's complaints.
func (c *engineCall) breaksOff(err error, tty bool) []byte {
	text := fmt.Sprintf("swarmctl: the output of task %s breaks off: the tunnel to node %s broke: %v\r\n", c.view.TaskName(c.task), nodeName(c.view, c.task.NodeID), err)
	if tty {
		return []byte(text)
	}
	frame := make([]byte, frameHeader, frameHeader+len(text))
	frame[0] = streamStderr
	binary.BigEndian.PutUint32(frame[4:], uint32(len(text)))
	return append(frame, text...)
}

// goodbye is how long a caller that has heard a command's end may take to go.
const goodbye = 5 * time.Second

// hear hands the caller's input on to its end.
func (c *engineConn) hear(input io.Reader) {
	if _, err := io.Copy(c.Conn, input); err != nil {
		_, _ = io.Copy(io.Discard, input) // the engine takes no more of it
	}
	closeWrite(c.Conn)
}

func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}
