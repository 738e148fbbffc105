package parity

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// sdk is a program that uses Docker's client for Go at our manager's socket.
type sdk struct {
	*client.Client
	t   *testing.T
	ctx context.Context
}

// newSDK hands out a client that negotiates the version, or with other options,
// and a cluster without services.
func newSDK(t *testing.T, opts ...client.Opt) *sdk {
	t.Helper()
	form(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	s := &sdk{t: t, ctx: ctx}
	s.must(subject.wipe(ctx))
	s.Client = s.another(opts...)
	return s
}

func (s *sdk) another(opts ...client.Opt) *client.Client {
	s.t.Helper()
	if len(opts) == 0 {
		opts = []client.Opt{client.WithAPIVersionNegotiation()}
	}
	c, err := client.NewClientWithOpts(append(opts, client.WithHost("unix://"+subject.manager().Path(subject.socket)))...)
	s.must(err)
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *sdk) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func sdkSpec(name string, replicas uint64, args ...string) swarm.ServiceSpec {
	return swarm.ServiceSpec{
		Annotations:  swarm.Annotations{Name: name, Labels: map[string]string{"made.by": "sdk"}},
		TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: cluster.Image, Args: args}},
		Mode:         swarm.ServiceMode{Replicated: &swarm.ReplicatedService{Replicas: &replicas}},
	}
}

func (s *sdk) create(spec swarm.ServiceSpec) string {
	s.t.Helper()
	res, err := s.ServiceCreate(s.ctx, spec, swarm.ServiceCreateOptions{})
	s.must(err)
	return res.ID
}

func (s *sdk) service(ref string) swarm.Service {
	s.t.Helper()
	service, _, err := s.ServiceInspectWithRaw(s.ctx, ref, swarm.ServiceInspectOptions{InsertDefaults: true})
	s.must(err)
	return service
}

// running waits until n tasks of a service run, and returns them.
func (s *sdk) running(service string, n int) []swarm.Task {
	s.t.Helper()
	var running []swarm.Task
	s.must(cluster.Eventually(s.ctx, time.Minute, func(ctx context.Context) error {
		list, err := s.TaskList(ctx, swarm.TaskListOptions{
			Filters: filters.NewArgs(filters.Arg("service", service), filters.Arg("desired-state", "running")),
		})
		running = running[:0]
		for _, t := range list {
			if t.Status.State == swarm.TaskStateRunning {
				running = append(running, t)
			}
		}
		if err == nil && len(running) != n {
			err = fmt.Errorf("%d tasks of %s run, not %d", len(running), service, n)
		}
		return err
	}))
	return running
}

func TestSDKServicesAndVersions(t *testing.T) {
	s := newSDK(t)
	id := s.create(sdkSpec("web", 0, "sleep"))
	before := s.service("web")
	if before.ID != id || before.Spec.Labels["made.by"] != "sdk" || before.Spec.UpdateConfig == nil {
		t.Errorf("created %s, and read %+v", id, before)
	}
	changed := before.Spec
	changed.Labels = map[string]string{"made.by": "update"}
	_, err := s.ServiceUpdate(s.ctx, id, before.Version, changed, swarm.ServiceUpdateOptions{})
	s.must(err)
	after := s.service(id[:12])
	if after.Spec.Labels["made.by"] != "update" || after.Version.Index <= before.Version.Index || after.PreviousSpec.Labels["made.by"] != "sdk" {
		t.Errorf("after the update: %+v", after)
	}
	_, err = s.ServiceUpdate(s.ctx, id, before.Version, changed, swarm.ServiceUpdateOptions{})
	if err == nil || !strings.Contains(err.Error(), "update out of sequence") {
		t.Errorf("an update of an outdated version: %v", err)
	}
	if _, err = s.ServiceCreate(s.ctx, sdkSpec("web", 0), swarm.ServiceCreateOptions{}); !errdefs.IsConflict(err) {
		t.Errorf("a name that is taken: %v", err)
	}
	s.must(s.ServiceRemove(s.ctx, "web"))
	if _, _, err := s.ServiceInspectWithRaw(s.ctx, id, swarm.ServiceInspectOptions{}); !errdefs.IsNotFound(err) {
		t.Errorf("a service that is gone: %v", err)
	}
	if _, err := s.ServiceCreate(s.ctx, sdkSpec("bad name", 0), swarm.ServiceCreateOptions{}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a bad name: %v", err)
	}
}

func TestSDKFilters(t *testing.T) {
	s := newSDK(t)
	for name, tier := range map[string]string{"web": "front", "webby": "front", "db": "back"} {
		spec := sdkSpec(name, 0)
		spec.Labels["tier"] = tier
		s.create(spec)
	}
	for want, args := range map[string]filters.Args{
		"db web webby": filters.NewArgs(),
		"web webby":    filters.NewArgs(filters.Arg("label", "tier=front")),
		"db":           filters.NewArgs(filters.Arg("name", "d")),
		"":             filters.NewArgs(filters.Arg("mode", "global")),
	} {
		list, err := s.ServiceList(s.ctx, swarm.ServiceListOptions{Filters: args, Status: true})
		s.must(err)
		var names []string
		for _, service := range list {
			names = append(names, service.Spec.Name)
			if service.ServiceStatus == nil {
				t.Errorf("%s comes without its status", service.Spec.Name)
			}
		}
		if got := strings.TrimSpace(sortLines(strings.Join(names, "\n") + "\n")); strings.ReplaceAll(got, "\n", " ") != want {
			t.Errorf("%v: %q", args, got)
		}
	}
	if _, err := s.ServiceList(s.ctx, swarm.ServiceListOptions{Filters: filters.NewArgs(filters.Arg("bogus", "x"))}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a filter that does not exist: %v", err)
	}
}

func TestSDKTasksAndLogs(t *testing.T) {
	s := newSDK(t)
	id := s.create(sdkSpec("web", 2))
	task := s.running("web", 2)[0]
	read, _, err := s.TaskInspectWithRaw(s.ctx, task.ID)
	s.must(err)
	if read.ServiceID != id || read.NodeID == "" || read.Slot == 0 || read.Status.ContainerStatus == nil ||
		read.Status.ContainerStatus.ContainerID == "" || read.Spec.ContainerSpec.Image != cluster.Image {
		t.Errorf("a running task: %+v", read)
	}
	if _, _, err := s.TaskInspectWithRaw(s.ctx, "nosuch"); !errdefs.IsNotFound(err) {
		t.Errorf("a task that does not exist: %v", err)
	}
	options := container.LogsOptions{ShowStdout: true, ShowStderr: true}
	for _, logs := range []struct {
		what string
		of   func() (io.ReadCloser, error)
		want int
	}{
		{"service", func() (io.ReadCloser, error) { return s.ServiceLogs(s.ctx, "web", options) }, 2},
		{"task", func() (io.ReadCloser, error) { return s.TaskLogs(s.ctx, task.ID, options) }, 1},
	} {
		s.must(cluster.Eventually(s.ctx, 30*time.Second, func(context.Context) error {
			stdout, stderr, err := demultiplex(logs.of())
			if n := strings.Count(stdout, "listening on :8080"); err == nil && (n != logs.want || stderr != "") {
				err = fmt.Errorf("logs of the %s: %q and %q", logs.what, stdout, stderr)
			}
			return err
		}))
	}
}

// demultiplex reads a stream of frames to its end.
func demultiplex(r io.ReadCloser, err error) (stdout, stderr string, _ error) {
	if err != nil {
		return "", "", err
	}
	defer r.Close()
	var out, errs bytes.Buffer
	_, err = stdcopy.StdCopy(&out, &errs, r)
	return out.String(), errs.String(), err
}

func TestSDKLogsFollow(t *testing.T) {
	s := newSDK(t)
	s.create(sdkSpec("web", 1))
	s.running("web", 1)
	r, err := s.ServiceLogs(s.ctx, "web", container.LogsOptions{ShowStdout: true, Follow: true})
	s.must(err)
	defer r.Close()
	out := &awaited{want: "listening on :8080\nlistening on :8080\n", found: make(chan struct{})}
	go func() { _, _ = stdcopy.StdCopy(out, io.Discard, r) }() // ends with the stream
	two := uint64(2)
	web := s.service("web")
	web.Spec.Mode.Replicated.Replicas = &two
	_, err = s.ServiceUpdate(s.ctx, "web", web.Version, web.Spec, swarm.ServiceUpdateOptions{})
	s.must(err)
	select {
	case <-out.found:
	case <-s.ctx.Done():
		t.Error("the logs of a replica that was added later did not follow")
	}
}

// awaited is a writer that says when all of a text has been written.
type awaited struct {
	want  string
	found chan struct{}
	got   string
}

func (a *awaited) Write(b []byte) (int, error) {
	was := strings.Contains(a.got, a.want)
	if a.got += string(b); !was && strings.Contains(a.got, a.want) {
		close(a.found)
	}
	return len(b), nil
}

func TestSDKSwarm(t *testing.T) {
	s := newSDK(t)
	before, err := s.SwarmInspect(s.ctx)
	s.must(err)
	spec := before.Spec
	limit := int64(9)
	spec.Orchestration.TaskHistoryRetentionLimit = &limit
	s.must(s.SwarmUpdate(s.ctx, before.Version, spec, swarm.UpdateFlags{RotateWorkerToken: true}))
	after, err := s.SwarmInspect(s.ctx)
	s.must(err)
	if *after.Spec.Orchestration.TaskHistoryRetentionLimit != 9 || after.ID != before.ID ||
		after.JoinTokens.Worker == before.JoinTokens.Worker || after.JoinTokens.Manager != before.JoinTokens.Manager {
		t.Errorf("after the update: %+v, before: %+v", after, before)
	}
	if err := s.SwarmUpdate(s.ctx, before.Version, spec, swarm.UpdateFlags{}); err == nil || !strings.Contains(err.Error(), "update out of sequence") {
		t.Errorf("an update of an outdated version: %v", err)
	}
	if _, err := s.SwarmInit(s.ctx, swarm.InitRequest{}); err == nil || !strings.Contains(err.Error(), "already part of a swarm") {
		t.Errorf("init of a member: %v", err)
	}
}

func TestSDKNodes(t *testing.T) {
	s := newSDK(t)
	list, err := s.NodeList(s.ctx, swarm.NodeListOptions{Filters: filters.NewArgs(filters.Arg("role", "worker"))})
	s.must(err)
	if len(list) != 1 || list[0].Description.Hostname != "h2" || list[0].Status.State != swarm.NodeStateReady {
		t.Fatalf("the workers: %+v", list)
	}
	h2 := list[0]
	spec := h2.Spec
	spec.Availability, spec.Labels = swarm.NodeAvailabilityPause, map[string]string{"zone": "a"}
	s.must(s.NodeUpdate(s.ctx, h2.ID, h2.Version, spec))
	if err := s.NodeUpdate(s.ctx, h2.ID, h2.Version, h2.Spec); err == nil || !strings.Contains(err.Error(), "update out of sequence") {
		t.Errorf("an update of an outdated version: %v", err)
	}
	read, _, err := s.NodeInspectWithRaw(s.ctx, h2.ID)
	s.must(err)
	if read.Spec.Availability != swarm.NodeAvailabilityPause || read.Spec.Labels["zone"] != "a" {
		t.Errorf("after the update: %+v", read.Spec)
	}
	if err := s.NodeRemove(s.ctx, "nosuch", swarm.NodeRemoveOptions{}); !errdefs.IsNotFound(err) {
		t.Errorf("a node that does not exist: %v", err)
	}
	if err := s.NodeRemove(s.ctx, h2.ID, swarm.NodeRemoveOptions{}); err == nil {
		t.Error("a node that is ready was removed without force")
	}
}

func TestSDKInfo(t *testing.T) {
	s := newSDK(t)
	ping, err := s.Ping(s.ctx)
	s.must(err)
	if ping.SwarmStatus == nil || !ping.SwarmStatus.ControlAvailable || ping.SwarmStatus.NodeState != swarm.LocalNodeStateActive || ping.OSType != "linux" {
		t.Errorf("ping: %+v", ping)
	}
	info, err := s.Info(s.ctx)
	s.must(err)
	if info.Name != "h1" || info.Swarm.Nodes != 2 || info.Swarm.Managers != 1 || !info.Swarm.ControlAvailable ||
		info.Swarm.NodeID != subject.manager().ID || info.Swarm.Cluster == nil || info.Swarm.NodeAddr != subject.manager().Addr {
		t.Errorf("info: %+v", info.Swarm)
	}
	version, err := s.ServerVersion(s.ctx)
	s.must(err)
	if version.APIVersion != ping.APIVersion || s.ClientVersion() != ping.APIVersion || version.Version == "" {
		t.Errorf("version %s of the API, ping says %s, the client speaks %s", version.APIVersion, ping.APIVersion, s.ClientVersion())
	}
}

func TestSDKEvents(t *testing.T) {
	s := newSDK(t)
	messages, failed := s.Events(s.ctx, events.ListOptions{
		Filters: filters.NewArgs(filters.Arg("type", "service"), filters.Arg("scope", "swarm")),
	})
	id := s.create(sdkSpec("web", 0))
	var seen []string
	for len(seen) == 0 || seen[len(seen)-1] != "remove web" {
		select {
		case m := <-messages:
			if m.Type != events.ServiceEventType || m.Scope != "swarm" || m.Actor.ID != id || m.TimeNano == 0 {
				t.Errorf("an event: %+v", m)
			}
			if len(seen) == 0 {
				s.must(s.ServiceRemove(s.ctx, id))
			}
			seen = append(seen, string(m.Action)+" "+m.Actor.Attributes["name"])
		case err := <-failed:
			t.Fatalf("the events end with %v, after %v", err, seen)
		}
	}
	if got := strings.Join(seen, ", "); got != "create web, remove web" {
		t.Errorf("events: %s", got)
	}
}

// containerOf runs a container at the engine behind the socket.
func (s *sdk) containerOf(config container.Config) string {
	s.t.Helper()
	config.Image = cluster.Image
	res, err := s.ContainerCreate(s.ctx, &config, nil, nil, nil, "")
	s.must(err)
	s.t.Cleanup(func() {
		_ = s.ContainerRemove(context.WithoutCancel(s.ctx), res.ID, container.RemoveOptions{Force: true})
	})
	return res.ID
}

func TestSDKExec(t *testing.T) {
	s := newSDK(t)
	id := s.containerOf(container.Config{Cmd: []string{"sleep"}})
	s.must(s.ContainerStart(s.ctx, id, container.StartOptions{}))
	exec, err := s.ContainerExecCreate(s.ctx, id, container.ExecOptions{
		Cmd: []string{"/demo", "echo"}, AttachStdin: true, AttachStdout: true, AttachStderr: true,
	})
	s.must(err)
	stream, err := s.ContainerExecAttach(s.ctx, exec.ID, container.ExecAttachOptions{})
	s.must(err)
	s.echo(stream)
	inspect, err := s.ContainerExecInspect(s.ctx, exec.ID)
	s.must(err)
	if inspect.Running || inspect.ExitCode != 0 {
		t.Errorf("after its input ended: %+v", inspect)
	}
}

// echo sends more than any buffer holds through a hijacked stream of demo echo,
// and closes its input: all of it must come back.
func (s *sdk) echo(stream types.HijackedResponse) {
	s.t.Helper()
	defer stream.Close()
	sent := strings.Repeat("there and back again\n", 100_000)
	g := errgroup.Group{}
	g.Go(func() error {
		_, err := io.WriteString(stream.Conn, sent)
		return errors.Join(err, stream.CloseWrite())
	})
	stdout, stderr, err := demultiplex(io.NopCloser(stream.Reader), nil)
	s.must(errors.Join(err, g.Wait()))
	_, back, _ := strings.Cut(stdout, "\n") // it says first where it is
	if back != sent || stderr != fmt.Sprintln(len(sent), "bytes read") {
		s.t.Errorf("%d bytes went in and %d came back, %q beside them", len(sent), len(back), stderr)
	}
}

func TestSDKAttach(t *testing.T) {
	s := newSDK(t)
	id := s.containerOf(container.Config{Cmd: []string{"echo"}, OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true})
	stream, err := s.ContainerAttach(s.ctx, id, container.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	s.must(err)
	ended, failed := s.ContainerWait(s.ctx, id, container.WaitConditionNextExit)
	s.must(s.ContainerStart(s.ctx, id, container.StartOptions{}))
	s.echo(stream)
	select {
	case end := <-ended:
		if end.StatusCode != 0 {
			t.Errorf("it ended with %d", end.StatusCode)
		}
	case err := <-failed:
		t.Error(err)
	}
}

func TestSDKBuild(t *testing.T) {
	s := newSDK(t)
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	for name, text := range map[string]string{"Dockerfile": "FROM scratch\nCOPY hello /hello\nLABEL made.by=sdk\n", "hello": strings.Repeat("hello\n", 100_000)} {
		s.must(w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}))
		_, err := io.WriteString(w, text)
		s.must(err)
	}
	s.must(w.Close())
	res, err := s.ImageBuild(s.ctx, &files, build.ImageBuildOptions{Tags: []string{"parity-built:1"}, Version: build.BuilderV1})
	s.must(err)
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	s.must(err)
	if !strings.Contains(string(out), "Successfully tagged parity-built:1") {
		t.Fatalf("the build says %s", out)
	}
	built, err := s.ImageInspect(s.ctx, "parity-built:1")
	s.must(err)
	if built.Config.Labels["made.by"] != "sdk" || built.Size < 500_000 {
		t.Errorf("the image: %+v", built)
	}
	_, err = s.ImageRemove(s.ctx, "parity-built:1", image.RemoveOptions{})
	s.must(err)
}

func TestSDKUpdatesAtOnceHaveOneWinner(t *testing.T) {
	s := newSDK(t)
	s.create(sdkSpec("web", 0))
	const rounds, clients = 5, 8
	for round := range rounds {
		read, results := s.service("web"), make(chan error, clients)
		for i := range clients {
			go func() {
				spec := read.Spec
				spec.Labels = map[string]string{"winner": fmt.Sprint(round, i)}
				_, err := s.ServiceUpdate(s.ctx, read.ID, read.Version, spec, swarm.ServiceUpdateOptions{})
				results <- err
			}()
		}
		won := 0
		for range clients {
			switch err := <-results; {
			case err == nil:
				won++
			case !strings.Contains(err.Error(), "update out of sequence"):
				t.Errorf("an update that lost: %v", err)
			}
		}
		if won != 1 {
			t.Errorf("%d of %d updates of one version were taken", won, clients)
		}
	}
}

func TestSDKVersionsOfTheAPI(t *testing.T) {
	s := newSDK(t)
	s.create(sdkSpec("web", 0))
	for _, version := range []string{"1.24", "1.30", "1.40", "1.41"} {
		c := s.another(client.WithVersion(version))
		list, err := c.ServiceList(s.ctx, swarm.ServiceListOptions{})
		if err != nil || len(list) != 1 || list[0].Spec.Name != "web" {
			t.Errorf("version %s: %d services, %v", version, len(list), err)
		}
		if _, err := c.Info(s.ctx); err != nil {
			t.Errorf("version %s: %v", version, err)
		}
	}
	if _, err := s.another(client.WithVersion("1.99")).ServiceList(s.ctx, swarm.ServiceListOptions{}); err == nil || !strings.Contains(err.Error(), "client version 1.99 is too new") {
		t.Errorf("a version that does not exist: %v", err)
	}
}

func TestSDKRegistryAuth(t *testing.T) {
	s := newSDK(t)
	const auth = "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InAifQ=="
	_, err := s.ServiceCreate(s.ctx, sdkSpec("web", 0), swarm.ServiceCreateOptions{EncodedRegistryAuth: auth, QueryRegistry: true})
	s.must(err)
	web := s.service("web")
	_, err = s.ServiceUpdate(s.ctx, "web", web.Version, web.Spec, swarm.ServiceUpdateOptions{
		EncodedRegistryAuth: auth, RegistryAuthFrom: swarm.RegistryAuthFromPreviousSpec,
	})
	s.must(err)
}

// A client that sends half a request and goes leaves nothing behind, and is in
// nobody's way.
func TestSDKHalfARequest(t *testing.T) {
	s := newSDK(t)
	for range 20 {
		conn, err := net.Dial("unix", subject.manager().Path(subject.socket))
		s.must(err)
		_, err = io.WriteString(conn, "POST /v1.41/services/create HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"Name\":")
		s.must(err)
		s.must(conn.Close())
	}
	if list, err := s.ServiceList(s.ctx, swarm.ServiceListOptions{}); err != nil || len(list) != 0 {
		t.Errorf("%d services, %v", len(list), err)
	}
}
