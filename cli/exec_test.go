package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/swarmctl/swarmctl/api"
)

// commands are those given to tasks, by the exec's ID.
type commands struct {
	options []container.ExecOptions
	code    map[string]int
	resized []string
}

// execTarget answers for web.1 alone.
func (w *world) execTarget(rw http.ResponseWriter, ref string) {
	if ref != "web.1" {
		fail(rw, 409, "task %s.t does not run: it is failed: task: non-zero exit (3)", ref)
		return
	}
	answer(rw, api.ExecTarget{Task: "t1", Name: "web.1.t1", Place: "web.1", Node: "h2", Container: "c1"})
}

// execCall plays the engine of task t1, below /swarmctl/tasks/t1/engine.
func (w *world) execCall(rw http.ResponseWriter, r *http.Request, path string) {
	parts := strings.Split(path, "/") // v1.51, exec, ID, start
	if len(parts) != 4 {
		fail(rw, 404, "page not found: %s", path)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch parts[3] {
	case "exec":
		var o container.ExecOptions
		_ = json.NewDecoder(r.Body).Decode(&o)
		w.execs.options = append(w.execs.options, o)
		rw.WriteHeader(201)
		answer(rw, map[string]string{"Id": fmt.Sprint(len(w.execs.options) - 1)})
	case "resize":
		w.execs.resized = append(w.execs.resized, r.URL.RawQuery)
	case "json":
		code, ended := w.execs.code[parts[2]]
		answer(rw, container.ExecInspect{ExitCode: code, Running: !ended})
	case "start":
		var at int
		_, _ = fmt.Sscan(parts[2], &at)
		o := w.execs.options[at]
		w.mu.Unlock()
		code := runCommand(rw, r, o)
		w.mu.Lock()
		w.execs.code[parts[2]] = code
	}
}

// runCommand plays a command: "cat" copies its input, "fail" complains, "sleep"
// ends with its caller.
func runCommand(rw http.ResponseWriter, r *http.Request, o container.ExecOptions) (code int) {
	var how container.ExecStartOptions
	if json.NewDecoder(r.Body).Decode(&how) != nil || how.Detach {
		return 0
	}
	conn, buf, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		return 1
	}
	defer conn.Close()
	_, _ = fmt.Fprint(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	out, errs := io.Writer(conn), io.Writer(conn)
	if !o.Tty {
		out, errs = stdcopy.NewStdWriter(conn, stdcopy.Stdout), stdcopy.NewStdWriter(conn, stdcopy.Stderr)
	}
	switch o.Cmd[0] {
	case "cat":
		_, _ = io.Copy(out, buf)
	case "fail":
		fmt.Fprintln(out, "as far as it goes")
		fmt.Fprintln(errs, "it fails")
		return 42
	case "sleep":
		_, _ = io.Copy(io.Discard, buf)
		for err == nil && !o.Tty { // no more input is no reason to end
			time.Sleep(10 * time.Millisecond)
			_, err = out.Write(nil)
		}
	default:
		fmt.Fprintf(out, "OCI runtime exec failed: exec: %q: executable file not found in $PATH: unknown\r\n", o.Cmd[0])
		return 127
	}
	return 0
}

// exec runs `service exec` and returns what it printed.
func (w *world) exec(t *testing.T, ctx context.Context, stdin io.Reader, args ...string) (code int, stdout, stderr string) { //nolint:revive // t first
	t.Helper()
	var out, errs bytes.Buffer
	code = w.app().Run(ctx, append([]string{"--socket", w.start(t), "service", "exec"}, args...), stdin, &out, &errs)
	return code, out.String(), errs.String()
}

func TestExecHandsInputOutputAndExitCodeThrough(t *testing.T) {
	w := newWorld()
	big := strings.Repeat("a line of input\n", 1<<16)
	code, stdout, stderr := w.exec(t, t.Context(), strings.NewReader(big), "-i", "-e", "A=b", "-u", "nobody", "-w", "/tmp", "web.1", "--", "cat", "-n", "--", "x")
	if code != 0 || stdout != big || stderr != "" {
		t.Errorf("exit %d, %d of %d bytes, stderr %q", code, len(stdout), len(big), stderr)
	}
	got, err := json.Marshal(w.execs.options[0])
	if err != nil {
		t.Fatal(err)
	}
	want := `{"User":"nobody","Privileged":false,"Tty":false,"AttachStdin":true,"AttachStderr":true,"AttachStdout":true,"DetachKeys":"","Env":["A=b"],"WorkingDir":"/tmp","Cmd":["cat","-n","--","x"],"Detach":false}`
	if string(got) != want {
		t.Errorf("asked for %s", got)
	}
	if code, stdout, stderr = w.exec(t, t.Context(), nil, "web.1", "fail"); code != 42 || stdout != "as far as it goes\n" || stderr != "it fails\n" {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if code, stdout, _ = w.exec(t, t.Context(), nil, "web.1", "nosuch"); code != 127 || !strings.Contains(stdout, "not found in $PATH") {
		t.Errorf("exit %d, stdout %q", code, stdout)
	}
	if code, stdout, _ = w.exec(t, t.Context(), nil, "-t", "web.1", "fail"); code != 42 || stdout != "as far as it goes\nit fails\n" {
		t.Errorf("with a terminal: exit %d, stdout %q", code, stdout)
	}
}

func TestExecRefusals(t *testing.T) {
	w := newWorld()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"web.2", "ls"}, 1, "Error response from daemon: task web.2.t does not run: it is failed: task: non-zero exit (3)\n"},
		{[]string{"web.1"}, 1, "'swarmctl service exec' requires at least 2 arguments"},
		{[]string{"web.1", "--"}, 1, "there is no command after --"},
		{[]string{"-it", "web.1", "sh"}, 1, "the input device is not a TTY"},
		{[]string{"-t", "--detach-keys", "ctrl-", "web.1", "sh"}, 1, "invalid detach keys (ctrl-)"},
		{[]string{"--privileged", "web.1", "sh"}, 125, "unknown flag: --privileged"},
	} {
		if code, _, stderr := w.exec(t, t.Context(), strings.NewReader(""), c.args...); code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%q: exit %d: %s", c.args, code, stderr)
		}
	}
	if len(w.execs.options) != 0 {
		t.Errorf("commands were made: %v", w.execs.options)
	}
	if code, stdout, stderr := w.exec(t, t.Context(), nil, "-d", "web.1", "sleep"); code != 0 || stdout+stderr != "" {
		t.Errorf("detached: exit %d, %q, %q", code, stdout, stderr)
	}
}

func TestExecLeavesACommandAlone(t *testing.T) {
	w := newWorld()
	in, keys, err := os.Pipe() // open, as a terminal is
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer keys.Close()
	go func() { _, _ = keys.WriteString("x\x10\x11") }()
	x := &execution{options: container.ExecOptions{AttachStdin: true, AttachStdout: true, Tty: true, Cmd: []string{"sleep"}}, keys: []byte{16, 17}}
	code, stderr := w.detach(t, t.Context(), in, x)
	if code != 0 || stderr != "left the command running in task web.1.t1 on node h2\n" {
		t.Errorf("detach keys: exit %d, stderr %q", code, stderr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	code, _, stderr = w.exec(t, ctx, nil, "web.1", "sleep")
	if code != 130 || stderr != "interrupted; the command may go on in task web.1.t1 on node h2\n" {
		t.Errorf("interrupted: exit %d, stderr %q", code, stderr)
	}
}

// detach runs a prepared execution: what a terminal would be is a pipe here.
func (w *world) detach(t *testing.T, ctx context.Context, in io.Reader, x *execution) (code int, stderr string) { //nolint:revive // t first
	var out, errs bytes.Buffer
	x.call = &call{app: w.app(), flags: given{"socket": {w.start(t)}}, streams: &streams{in: in, out: &out, err: &errs}}
	if err := x.connect(); err != nil {
		t.Fatal(err)
	}
	x.at = api.ExecTarget{Task: "t1", Name: "web.1.t1", Node: "h2", Container: "c1"}
	var err error
	if x.engine, err = x.engineOf(x.at.Task); err != nil {
		t.Fatal(err)
	}
	code = report(&errs, x.run(ctx))
	return code, errs.String()
}
