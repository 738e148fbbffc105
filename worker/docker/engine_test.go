package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
	"github.com/swarmctl/swarmctl/api/setting"
)

// These tests want the machine's Docker Engine, and fail without one.

var testImage = "swarmctl-worker-test:" + api.NewID()

var imported *Engine // has the test image

var testEngine = sync.OnceValues(func() (*Engine, error) {
	e, err := New(Config{})
	if err != nil {
		return nil, err
	}
	app, err := buildApp()
	if err != nil {
		return nil, err
	}
	body, err := e.cli.ImageImport(context.Background(), image.ImportSource{Source: app, SourceName: "-"}, testImage,
		image.ImportOptions{Changes: []string{`ENTRYPOINT ["/app"]`}})
	if err != nil {
		return nil, err
	}
	defer body.Close()
	imported = e
	_, err = io.Copy(io.Discard, body)
	return e, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	if imported != nil {
		_, _ = imported.cli.ImageRemove(context.Background(), testImage, image.RemoveOptions{})
	}
	os.Exit(code)
}

func buildBinary() ([]byte, error) {
	dir, err := os.MkdirTemp("", "app")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "app")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, "./testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.New(string(out))
	}
	return os.ReadFile(path)
}

func buildApp() (io.Reader, error) {
	bin, err := buildBinary()
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Size: int64(len(bin))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(bin); err != nil {
		return nil, err
	}
	return &buf, w.Close()
}

// bed is an engine with a cluster of its own, which is gone after the test.
type bed struct {
	*testing.T
	*Engine
	cluster string
	events  chan Event
}

func newBed(t *testing.T) *bed {
	t.Helper()
	e, err := testEngine()
	if err != nil {
		t.Fatalf("these tests need a Docker Engine, as root or in group docker: %v", err)
	}
	b := &bed{T: t, Engine: e, cluster: "test-" + api.NewID(), events: make(chan Event, 1000)}
	t.Cleanup(func() {
		list, err := e.List(context.Background(), b.cluster)
		if err != nil {
			t.Error(err)
		}
		for _, c := range list {
			if err := e.Remove(context.Background(), c.ID); err != nil {
				t.Error(err)
			}
		}
	})
	ready := make(chan struct{})
	go func() {
		_ = e.Watch(t.Context(), b.cluster, func() { close(ready) }, func(ev Event) { b.events <- ev })
	}()
	<-ready
	return b
}

func (b *bed) request(args ...string) *Request {
	return &Request{
		Cluster: b.cluster, Node: Node{ID: "node1", Hostname: "host1"},
		Task: &api.Task{ID: api.TaskID(api.NewID()), ServiceID: "service1", Slot: 1},
		Spec: &api.ServiceSpec{
			Annotations:  swarm.Annotations{Name: "web"},
			TaskTemplate: swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: testImage, Args: args}},
		},
	}
}

func (b *bed) run(r *Request) string {
	b.Helper()
	id, err := b.Create(b.Context(), r)
	if err == nil {
		err = b.Start(b.Context(), id)
	}
	if err != nil {
		b.Fatal(err)
	}
	return id
}

// awaitWord waits until a container has printed something.
func (b *bed) awaitWord(id string) {
	b.Helper()
	logs, err := b.cli.ContainerLogs(b.Context(), id, container.LogsOptions{ShowStderr: true, Follow: true})
	if err != nil {
		b.Fatal(err)
	}
	defer logs.Close()
	if _, err := io.ReadFull(logs, make([]byte, 9)); err != nil { // its header has 8
		b.Fatalf("container %s printed nothing: %v", id, err)
	}
}

func (b *bed) inspect(id string) Container {
	b.Helper()
	c, err := b.Inspect(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	return c
}

func (b *bed) await(what EventType, id string) Event {
	b.Helper()
	limit := time.After(30 * time.Second)
	for {
		select {
		case ev := <-b.events:
			if ev.Type == what && ev.Container == id {
				return ev
			}
		case <-limit:
			b.Fatalf("no event %d of container %s", what, id)
		}
	}
}

func TestLifeOfAContainer(t *testing.T) {
	b := newBed(t)
	r := b.request("wait")
	r.Spec.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{{TargetPort: 80, PublishMode: swarm.PortConfigPublishModeHost}}}
	id, err := b.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if ev := b.await(EventCreated, id); ev.Task != r.Task.ID {
		t.Errorf("the event names task %q, want %q", ev.Task, r.Task.ID)
	}
	if c := b.inspect(id); c.State != Created {
		t.Errorf("state %v, want created", c.State)
	}
	if again, err := b.Create(t.Context(), r); err != nil || again != id {
		t.Errorf("a second create gave %q, %v, want the first one's container", again, err)
	}
	for range 2 { // the second start finds it running
		if err := b.Start(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	b.awaitWord(id)
	c := b.inspect(id)
	if c.State != Running || c.PID == 0 || c.Task != r.Task.ID || c.Health != NoCheck {
		t.Errorf("%+v does not run", c)
	}
	strange := func(p api.PortStatus) bool { return p.Target != 80 || p.Protocol != "tcp" || p.Published == 0 }
	if len(c.Ports) == 0 || slices.ContainsFunc(c.Ports, strange) { // two where the engine chose another port for IPv6
		t.Errorf("ports %+v, want only such of 80/tcp", c.Ports)
	}
	for range 2 {
		if err := b.Stop(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	b.await(EventKilled, id)
	if ev := b.await(EventDied, id); ev.ExitCode != 0 {
		t.Errorf("exit code %d, want 0", ev.ExitCode)
	}
	if itself, err := b.EndedItself(t.Context(), b.inspect(id)); itself || err != nil {
		t.Errorf("it was stopped, and yet ended by itself: %v, %v", itself, err)
	}
	list, err := b.List(t.Context(), b.cluster)
	if err != nil || len(list) != 1 || list[0].State != Exited {
		t.Errorf("list %+v, %v, want one container that has exited", list, err)
	}
	for range 2 {
		if err := b.Remove(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	b.await(EventGone, id)
	if err := b.Start(t.Context(), id); !errors.Is(err, ErrNoContainer) {
		t.Errorf("start of nothing: %v", err)
	}
}

func TestExitCodeAndMemory(t *testing.T) {
	b := newBed(t)
	id := b.run(b.request("exit", "3"))
	if ev := b.await(EventDied, id); ev.ExitCode != 3 {
		t.Errorf("exit code %d, want 3", ev.ExitCode)
	}
	if itself, err := b.EndedItself(t.Context(), b.inspect(id)); !itself || err != nil {
		t.Errorf("it ended by itself: %v, %v", itself, err)
	}
	r := b.request("eat")
	r.Spec.TaskTemplate.Resources = &swarm.ResourceRequirements{Limits: &swarm.Limit{MemoryBytes: 16 << 20}}
	var last Container
	for i := range 3 { // an engine that hears of the end first forgets why it came
		r.Task = &api.Task{ID: api.TaskID(fmt.Sprint("greedy", i)), ServiceID: "service1", Slot: 1}
		id = b.run(r)
		b.await(EventDied, id)
		if last = b.inspect(id); last.OOM {
			break
		}
	}
	if !last.OOM || last.ExitCode != 137 {
		t.Errorf("%+v, want it killed for want of memory", last)
	}
	r.Task = &api.Task{ID: "other", Slot: 2}
	r.Spec.TaskTemplate.Resources.Limits.MemoryBytes = 1 << 20
	if _, err := b.Create(t.Context(), r); err == nil || !strings.Contains(err.Error(), "inimum memory limit") {
		t.Errorf("a limit of 1 MiB: %v", err)
	}
}

func TestStopKillsTheStubborn(t *testing.T) {
	b := newBed(t)
	r := b.request("wait")
	grace := 300 * time.Millisecond // a whole second to the engine
	r.Spec.TaskTemplate.ContainerSpec.StopGracePeriod = &grace
	r.Spec.TaskTemplate.ContainerSpec.StopSignal = "SIGWINCH" // no program ends at it, from its first instant on
	id := b.run(r)
	if err := b.Stop(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if c := b.inspect(id); c.State != Exited || c.ExitCode != 137 {
		t.Errorf("%+v, want it killed", c)
	}
}

func TestHealth(t *testing.T) {
	b := newBed(t)
	r := b.request("rot")
	r.Spec.TaskTemplate.ContainerSpec.Healthcheck = &container.HealthConfig{
		Test: []string{"CMD", "/app", "probe"}, Interval: 500 * time.Millisecond, Timeout: 10 * time.Second, Retries: 1,
	}
	id := b.run(r)
	if ev := b.await(EventHealth, id); ev.Health != Healthy {
		t.Errorf("first %v, want healthy", ev.Health)
	}
	if ev := b.await(EventHealth, id); ev.Health != Unhealthy {
		t.Errorf("then %v, want unhealthy", ev.Health)
	}
	if c := b.inspect(id); c.Health != Unhealthy {
		t.Errorf("%+v, want unhealthy", c)
	}
}

func TestImageThatIsNowhere(t *testing.T) {
	b := newBed(t)
	r := b.request()
	r.Spec.TaskTemplate.ContainerSpec.Image = "127.0.0.1:1/nothing:1"
	if _, err := b.Create(t.Context(), r); !errors.Is(err, ErrNoImage) {
		t.Errorf("create: %v, want ErrNoImage", err)
	}
	err := b.PullImage(t.Context(), "127.0.0.1:1/nothing:1", "")
	if err == nil || errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "the registry did not answer: ") {
		t.Errorf("pull: %v", err)
	}
	if ref, err := b.FindImage(t.Context(), testImage, nil); err != nil || ref != testImage {
		t.Errorf("an image that is here: %s, %v", ref, err)
	}
}

func TestDescribeAndDial(t *testing.T) {
	b := newBed(t)
	d, err := b.Describe(t.Context())
	if err != nil || d.Hostname == "" || d.Engine.EngineVersion == "" || d.Resources.NanoCPUs == 0 || len(d.Engine.Plugins) == 0 {
		t.Errorf("%+v, %v", d, err)
	}
	conn, err := b.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /_ping HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.Contains(answer, []byte(http.StatusText(http.StatusOK))) {
		t.Errorf("%s, %v", answer, err)
	}
}

func TestEngineThatIsDown(t *testing.T) {
	e, err := New(Config{Host: "unix://" + filepath.Join(t.TempDir(), "no.sock")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Describe(t.Context()); !errors.Is(err, api.ErrUnavailable) {
		t.Errorf("describe: %v", err)
	}
	if err := e.Watch(t.Context(), "x", func() {}, nil); !errors.Is(err, api.ErrUnavailable) {
		t.Errorf("watch: %v", err)
	}
	if err := e.PullImage(t.Context(), "x", ""); !errors.Is(err, api.ErrUnavailable) {
		t.Errorf("pull: %v", err)
	}
}

// Not every machine that tests run on may start such a container; every engine
// makes one.
func TestSettingsReachTheEngine(t *testing.T) {
	b := newBed(t)
	r := b.request("wait")
	r.Spec.Labels = map[string]string{
		setting.LabelPrivileged: "true", setting.LabelDevices: "/dev/null:/dev/zilch:r", setting.LabelGPUs: "2",
		setting.LabelPID: "host", setting.LabelIPC: "private", setting.LabelShmSize: "1m",
	}
	id, err := b.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.cli.ContainerInspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	h := got.HostConfig
	if !h.Privileged || h.PidMode != "host" || h.IpcMode != "private" || h.ShmSize != 1<<20 || len(h.Devices) != 1 || h.Devices[0].PathInContainer != "/dev/zilch" ||
		len(h.DeviceRequests) != 1 || h.DeviceRequests[0].Count != 2 || h.DeviceRequests[0].Capabilities[0][0] != "gpu" {
		t.Errorf("the engine has %+v", h)
	}
}

// This machine's engine may be of any age: it makes the container as it was
// asked to, or refuses it, and never drops the interval.
func TestNoEngineDropsTheStartInterval(t *testing.T) {
	b := newBed(t)
	r := b.request("wait")
	r.Spec.TaskTemplate.ContainerSpec.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/app", "probe"}, StartPeriod: time.Second, StartInterval: 500 * time.Millisecond}
	id, err := b.Create(t.Context(), r)
	if err != nil {
		if !errors.Is(err, api.ErrUnsupported) || !strings.Contains(err.Error(), "needs Docker Engine 25.0") {
			t.Errorf("refused: %v", err)
		}
		return
	}
	got, err := b.cli.ContainerInspect(t.Context(), id)
	if err != nil || got.Config.Healthcheck.StartInterval != 500*time.Millisecond {
		t.Errorf("the engine has %+v, %v", got.Config.Healthcheck, err)
	}
}

// The engine of this machine, whatever its age, puts a container where the
// cluster wants it: on two networks, with addresses and hardware addresses
// that were not of its choice, and a resolver that asks the cluster first.
func TestContainerIsWhereTheClusterWantsIt(t *testing.T) {
	b := newBed(t)
	r := b.request("wait")
	name := func(i int) string { return fmt.Sprintf("test-%.8s-%d", r.Task.ID, i) }
	for i := range 2 {
		br := &fabric.Bridge{
			Cluster: b.cluster, Network: api.NetworkID(name(i)), Name: name(i), Interface: fmt.Sprintf("swt-%.7s%d", r.Task.ID, i), MTU: 1400,
			Subnets: []fabric.BridgeSubnet{{Prefix: netip.MustParsePrefix(fmt.Sprintf("10.213.%d.0/24", i)), Gateway: netip.MustParseAddr(fmt.Sprintf("10.213.%d.254", i))}},
		}
		for range 2 { // the second time it is there
			if err := b.CreateBridge(t.Context(), br); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() {
			if err := b.RemoveBridge(context.Background(), br.ID); err != nil {
				t.Error(err)
			}
		})
		r.Networking.Networks = append(r.Networking.Networks, EndpointPlan{
			Name: name(i), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 213, byte(i), 77})}, MAC: net.HardwareAddr{2, 0x42, 10, 213, byte(i), 77},
		})
	}
	r.Networking.DNS = []string{"10.213.0.254"}
	id := b.run(r)
	t.Cleanup(func() { _ = b.Remove(context.Background(), id) }) // before its networks go
	got, err := b.cli.ContainerInspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		n := got.NetworkSettings.Networks[name(i)]
		if n == nil || n.IPAddress != fmt.Sprintf("10.213.%d.77", i) || n.MacAddress != fmt.Sprintf("02:42:0a:d5:%02x:4d", i) {
			t.Errorf("on network %d it has %+v", i, n)
		}
	}
	if len(got.NetworkSettings.Networks) != 2 || !slices.Equal(got.HostConfig.DNS, r.Networking.DNS) {
		t.Errorf("it is on %d networks and asks %v", len(got.NetworkSettings.Networks), got.HostConfig.DNS)
	}
	list, err := b.Bridges(t.Context(), b.cluster)
	if err != nil || len(list) != 2 || list[0].MTU != 1400 || list[0].Subnets[0].Gateway.String() != "10.213.0.254" {
		t.Errorf("bridges %+v, %v", list, err)
	}
	if err := b.RemoveBridge(t.Context(), list[0].ID); !errors.Is(err, api.ErrConflict) {
		t.Errorf("a bridge in use was removed: %v", err)
	}
}
