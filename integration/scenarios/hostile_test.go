package scenarios

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

const socket = "/run/swarmctl/swarmctl.sock"

// dial opens a connection to a node's API, as any program on it can.
func (l *lab) dial(n *cluster.Node) *net.UnixConn {
	l.t.Helper()
	conn, err := net.Dial("unix", n.Path(socket))
	l.must(err)
	return conn.(*net.UnixConn)
}

// ask puts a request to a node's API and returns the status and the message.
func ask(ctx context.Context, n *cluster.Node, method, path, body string) (status int, message string, err error) {
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: soon, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", n.Path(socket))
	}}}
	req, err := http.NewRequestWithContext(ctx, method, "http://docker"+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", "application/json")
	if len(body) > 1<<20 {
		req.Header.Set("Expect", "100-continue") // else the refusal may meet a body on its way, and a broken pipe be all there is to see
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	var reply struct{ Message string }
	_ = json.NewDecoder(res.Body).Decode(&reply)
	return res.StatusCode, reply.Message, nil
}

// answer is ask where there must be an answer.
func (l *lab) answer(n *cluster.Node, method, path, body string) (status int, message string) {
	l.t.Helper()
	status, message, err := ask(l.ctx, n, method, path, body)
	l.must(err)
	return status, message
}

// descriptors is how many files, sockets among them, a node's daemon has open.
func (l *lab) descriptors(n *cluster.Node) int {
	l.t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.DaemonPID()))
	l.must(err)
	return len(open)
}

// catContainer makes a container of `demo cat` through a node's own socket.
func (l *lab) catContainer(n *cluster.Node) (id string) {
	l.t.Helper()
	c, err := n.API.ContainerCreate(l.ctx, &container.Config{
		Image: cluster.Image, Cmd: []string{"cat"}, OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true,
	}, nil, nil, nil, "")
	l.must(err)
	l.t.Cleanup(func() {
		_ = n.Docker.ContainerRemove(context.WithoutCancel(l.ctx), c.ID, container.RemoveOptions{Force: true})
	})
	return c.ID
}

// random writes the same bytes for the same seed, and their sum.
func random(w io.Writer, size int64, sum hash.Hash) error {
	_, err := io.CopyN(io.MultiWriter(w, sum), rand.NewChaCha8([32]byte{}), size)
	return err
}

// cat FILE | docker -H ours run -i IMAGE cat
func TestInputAndOutputOfARunPassWhole(t *testing.T) {
	l := newLab(t)
	for _, n := range []*cluster.Node{l.Nodes[0], l.Nodes[4]} {
		id := l.catContainer(n)
		stream, err := n.API.ContainerAttach(l.ctx, id, container.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
		l.must(err)
		l.must(n.API.ContainerStart(l.ctx, id, container.StartOptions{}))
		sent, came := sha256.New(), sha256.New()
		var sender sync.WaitGroup
		sender.Go(func() {
			_ = random(stream.Conn, 32<<20, sent)
			_ = stream.CloseWrite()
		})
		size, err := stdcopy.StdCopy(came, io.Discard, stream.Reader) // to the end, which comes after the input's
		l.must(err)
		sender.Wait()
		stream.Close()
		if size != 32<<20 || string(came.Sum(nil)) != string(sent.Sum(nil)) {
			t.Errorf("%s: %d bytes came back, or others than were sent", n.Name, size)
		}
		done, failed := n.API.ContainerWait(l.ctx, id, container.WaitConditionNotRunning)
		select {
		case r := <-done:
			if r.StatusCode != 0 {
				t.Errorf("%s: cat ended with %d", n.Name, r.StatusCode)
			}
		case err := <-failed:
			t.Error(err)
		}
	}
}

// docker -H ours build, with 100 MB to send
func TestALargeBuildPasses(t *testing.T) {
	l := newLab(t)
	n := l.Nodes[4]
	const size = 100 << 20
	r, w := io.Pipe()
	go func() {
		archive := tar.NewWriter(w)
		dockerfile := "FROM " + cluster.Image + "\nCOPY big /big\n"
		_ = archive.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Size: int64(len(dockerfile))})
		_, _ = io.WriteString(archive, dockerfile)
		_ = archive.WriteHeader(&tar.Header{Name: "big", Mode: 0o644, Size: size})
		_ = random(archive, size, sha256.New())
		w.CloseWithError(archive.Close())
	}()
	res, err := n.API.ImageBuild(l.ctx, r, build.ImageBuildOptions{Tags: []string{"big:1"}, Version: build.BuilderV1})
	l.must(err)
	said, err := io.ReadAll(res.Body)
	l.must(err)
	l.must(res.Body.Close())
	image, err := n.API.ImageInspect(l.ctx, "big:1")
	if err != nil || image.Size < size {
		t.Errorf("the image is of %d bytes, %v; the builder said:\n%s", image.Size, err, said)
	}
}

// Whoever comes and goes with half a request leaves nothing in the daemon.
func TestAManagerForgetsClientsThatVanish(t *testing.T) {
	l := newLab(t)
	at, err := l.Follower(l.ctx) // what it forwards is left nowhere either
	l.must(err)
	l.run("web", 1)
	quiet := l.catContainer(at)
	l.must(at.API.ContainerStart(l.ctx, quiet, container.StartOptions{}))
	get := " HTTP/1.1\r\nHost: d\r\n\r\n"
	requests := []string{
		"", "GET /v1.41/no", "GET /v1.41/services" + get, "GET /v1.41/events" + get, "GET /v1.41/services/web/logs?stdout=1&follow=1" + get,
		"POST /v1.41/services/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 100000000\r\n\r\n{",
		"POST /v1.41/services/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
		"POST /v1.41/images/load HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nabc",
		"GET /v1.41/containers/" + quiet + "/logs?stdout=1&follow=1" + get,
		"POST /v1.41/containers/" + quiet + "/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
	}
	before := map[*cluster.Node]int{}
	for _, n := range l.Nodes {
		before[n] = l.descriptors(n)
	}
	for range 20 {
		for _, request := range requests {
			conn := l.dial(at)
			_, err := io.WriteString(conn, request)
			l.must(err)
			if strings.HasSuffix(request, get) || strings.Contains(request, "Upgrade") {
				_, err = conn.Read(make([]byte, 1))
				l.must(err)
			}
			l.must(conn.Close())
		}
	}
	const kept = 16 // connections for the next request
	l.must(cluster.Eventually(l.ctx, soon, func(context.Context) error {
		for n, b := range before {
			if now := l.descriptors(n); now > b+kept {
				return fmt.Errorf("%s has %d open files, %d before", n.Name, now, b)
			}
		}
		return nil
	}))
	if status, message := l.answer(at, "GET", "/v1.41/services/web", ""); status != 200 {
		t.Errorf("after all of it: %d %s", status, message)
	}
}

func TestARefusalIsTheSameAtEveryNode(t *testing.T) {
	l := newLab(t)
	l.run("taken", 1)
	follower, err := l.Follower(l.ctx)
	l.must(err)
	spec := func(more string) string {
		return `{"Name":"taken","TaskTemplate":{"ContainerSpec":{"Image":"` + cluster.Image + `"` + more + `}}}`
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "/v1.41/services/create", spec(""), 409, "name conflicts with an existing object: service taken already exists"},
		{"POST", "/v1.41/services/create", spec(`,"Turbo":1`), 400, `"TaskTemplate.ContainerSpec.Turbo": this version of swarmctl knows no such field and would drop it: leave it out`},
		{"POST", "/v1.41/services/create", `{"Name":`, 400, "invalid JSON: unexpected EOF"},
		{"POST", "/v1.41/services/create", strings.Repeat(" ", 5<<20), 400, "the body of the request is larger than 4 MiB, which no spec needs"},
		{"GET", "/v1.41/services/nosuch", "", 404, "service nosuch not found"},
		{"GET", "/v1.41/tasks?filters=%zz", "", 400, `invalid URL escape "%zz"`},
		{"GET", "/v9.99/tasks", "", 400, "client version 9.99 is too new. Maximum supported API version is 1.41"},
		{"GET", "/v1.10/tasks", "", 400, "client version 1.10 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"},
	} {
		for _, n := range []*cluster.Node{l.leader(), follower} {
			if status, got := l.answer(n, c.method, c.path, c.body); status != c.status || got != c.want {
				t.Errorf("%s %s at %s:\n got %d %s\nwant %d %s", c.method, c.path, n.Name, status, got, c.status, c.want)
			}
		}
	}
	const worker = "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. " +
		"Please run this command on a manager node or promote the current node to a manager."
	if status, got := l.answer(l.Nodes[4], "GET", "/v1.41/services", ""); status != 503 || got != worker {
		t.Errorf("at a worker: %d %s", status, got)
	}
}

// Two of three managers are gone: each family of requests says so, and soon.
func TestWithoutALeaderEveryRequestSaysSo(t *testing.T) {
	l := newLab(t)
	leader := l.leader()
	var left *cluster.Node
	for _, n := range l.Nodes[:managers] {
		if n == leader || left != nil {
			n.PowerOff()
		} else {
			left = n
		}
	}
	const want = "The swarm does not have a leader. It's possible that too few managers are online."
	l.must(cluster.Eventually(l.ctx, time.Minute, func(ctx context.Context) error { // it has noticed
		status, got, err := ask(ctx, left, "GET", "/v1.41/nodes", "")
		if err == nil && (status != 503 || !strings.HasPrefix(got, want)) {
			err = fmt.Errorf("%d %s", status, got)
		}
		return err
	}))
	var asked sync.WaitGroup
	for _, request := range []string{
		"GET /swarm", "POST /swarm/update?version=1", "GET /swarm/unlockkey", "GET /nodes", "GET /nodes/x", "POST /nodes/x/update?version=1", "DELETE /nodes/x",
		"GET /services", "POST /services/create", "GET /services/x", "POST /services/x/update?version=1", "DELETE /services/x", "GET /services/x/logs?stdout=1&follow=1",
		"GET /tasks", "GET /tasks/x", "GET /tasks/x/logs?stdout=1", "GET /secrets", "POST /secrets/create", "GET /configs", "POST /configs/create", "GET /swarmctl/tasks/x/explain",
	} {
		asked.Go(func() {
			method, path, _ := strings.Cut(request, " ")
			begun := time.Now()
			status, got, err := ask(l.ctx, left, method, "/v1.41"+path, `{}`)
			if took := time.Since(begun); err != nil || status != 503 || !strings.HasPrefix(got, want) || took > soon {
				t.Errorf("%s: after %s: %d %s, %v", request, took, status, got, err)
			}
		})
	}
	asked.Wait()
	if _, err := left.API.ContainerList(l.ctx, container.ListOptions{}); err != nil {
		t.Errorf("what is the engine's goes on: %v", err)
	}
	if _, err := left.API.Info(l.ctx); err != nil {
		t.Errorf("what each node answers for itself goes on: %v", err)
	}
}
