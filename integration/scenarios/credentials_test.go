package scenarios

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
	"github.com/swarmctl/swarmctl/integration/hosts"
	fake "github.com/swarmctl/swarmctl/integration/registry"
)

// The test program is the registry of a host when it is started there with
// the first variable, which names the binary that its image is made of; the
// other one is the password.
const (
	registryBinary   = "SCENARIO_REGISTRY_BINARY"
	registryPassword = "SCENARIO_REGISTRY_PASSWORD"
	registryAddr     = "127.0.0.1:5999"
)

func init() {
	name := os.Getenv(registryBinary)
	if name == "" {
		return
	}
	binary, err := os.ReadFile(name)
	if err == nil {
		var r *fake.Registry
		if r, err = fake.New("me", os.Getenv(registryPassword), binary); err == nil {
			err = http.ListenAndServe(registryAddr, r)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// startRegistries starts a registry on each of the hosts; stop ends them.
func (l *lab) startRegistries(on []*cluster.Node, password string) (stop func()) {
	l.t.Helper()
	program, err := os.Executable()
	l.must(err)
	var running []*hosts.Process
	for _, n := range on {
		p, err := n.Start("registry", "env", registryBinary+"="+tools.Demo, registryPassword+"="+password, program)
		l.must(err)
		running = append(running, p)
	}
	stop = sync.OnceFunc(func() {
		for _, p := range running {
			p.Kill()
		}
	})
	l.t.Cleanup(stop)
	return stop
}

// forgetImages removes the services and then, from every host, all that has been
// pulled from its registry: whoever comes next is to find nothing.
func (l *lab) forgetImages() {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	defer cancel()
	if err := l.removeServices(ctx); err != nil {
		l.t.Error(err)
	}
	for _, n := range l.Nodes {
		if !n.On() {
			continue
		}
		list, err := n.Docker.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", registryAddr+"/*/*"))})
		for _, i := range list {
			_, removed := n.Docker.ImageRemove(ctx, i.ID, image.RemoveOptions{Force: true})
			err = errors.Join(err, removed)
		}
		if err != nil {
			l.t.Errorf("images of %s: %v", n.Name, err)
		}
	}
}

// told is everything that answers and logs say that should have no credentials.
func (l *lab) told(at *cluster.Node, service string) string {
	l.t.Helper()
	s, raw, err := at.API.ServiceInspectWithRaw(l.ctx, service, swarm.ServiceInspectOptions{})
	l.must(err)
	tasks, err := at.API.TaskList(l.ctx, swarm.TaskListOptions{})
	l.must(err)
	told, err := json.Marshal([]any{s, string(raw), tasks})
	l.must(err)
	for _, n := range l.Nodes {
		log, err := os.ReadFile(n.Log("swarmctl"))
		l.must(err)
		told = append(told, log...)
	}
	return string(told)
}

// Credentials go with a service: to the nodes that its tasks come to, whoever
// leads, whether or not an update brings them again, and to nobody else.
func TestCredentialsFollowTheService(t *testing.T) {
	l := newLab(t)
	t.Cleanup(l.forgetImages)
	l.startRegistries(l.Workers(), "secret-word")
	auth, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: "me", Password: "secret-word"})
	l.must(err)
	first, second := l.Workers()[0], l.Workers()[1]
	spec := func(name string, on *cluster.Node) swarm.ServiceSpec {
		return swarm.ServiceSpec{Annotations: swarm.Annotations{Name: name}, TaskTemplate: swarm.TaskSpec{
			ContainerSpec: &swarm.ContainerSpec{Image: registryAddr + "/team/" + name + ":1", Args: []string{"sleep"}},
			Placement:     &swarm.Placement{Constraints: []string{"node.hostname==" + on.Name}},
		}}
	}
	_, err = l.leader().API.ServiceCreate(l.ctx, spec("own", first), swarm.ServiceCreateOptions{EncodedRegistryAuth: auth})
	l.must(err)
	l.count("own", 1)
	_, err = l.leader().API.ServiceCreate(l.ctx, spec("bare", first), swarm.ServiceCreateOptions{})
	l.must(err)
	l.must(cluster.Eventually(l.ctx, soon, func(context.Context) error {
		ps := l.cli(l.Nodes[0], "service", "ps", "--no-trunc", "bare")
		if !strings.Contains(ps, "Rejected") || !strings.Contains(ps, registryAddr+"/team/bare:1") {
			return fmt.Errorf("a service without credentials is not refused its image:\n%s", ps)
		}
		return nil
	}))

	leader := l.leader()
	leader.PowerOff()
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		return l.Any(ctx, func(ctx context.Context, n *cluster.Node) error {
			s, _, err := n.API.ServiceInspectWithRaw(ctx, "own", swarm.ServiceInspectOptions{})
			if err == nil {
				_, err = n.API.ServiceUpdate(ctx, s.ID, s.Version, spec("own", second), swarm.ServiceUpdateOptions{RegistryAuthFrom: swarm.RegistryAuthFromSpec})
			}
			return err
		})
	}))
	l.until("own", soon, "one on "+second.Name, func(cs []cluster.Container) bool {
		return len(cs) == 1 && cs[0].Node == second
	})

	at := slices.IndexFunc(l.Nodes, func(n *cluster.Node) bool { return n != leader })
	if told := l.told(l.Nodes[at], "own"); strings.Contains(told, auth) || strings.Contains(told, "secret-word") {
		t.Error("an answer or a log has the credentials")
	}
}

// The cluster logs in to a registry, once: services need to bring no credentials,
// and a password that is changed is used by the next pull. What a node of the
// cluster has the others get without the registry.
func TestTheClusterLogsInToARegistry(t *testing.T) {
	l := newLab(t)
	at, err := l.Follower(l.ctx)
	l.must(err)
	t.Cleanup(l.forgetImages)
	stop := l.startRegistries(l.Nodes, "first-word")
	login := func(password string) (string, error) {
		return at.Feed(l.ctx, strings.NewReader(password), tools.Swarmctl, "registry", "login", "-u", "me", "--password-stdin", registryAddr)
	}
	l.must(cluster.Eventually(l.ctx, soon, func(context.Context) error {
		out, err := login("first-word")
		if err == nil && out != "Login Succeeded\n" { // the registries are only just up
			err = fmt.Errorf("login: %q", out)
		}
		return err
	}))
	t.Cleanup(func() { _, _ = at.CLI(context.Background(), "registry", "logout", registryAddr) })
	if _, err := login("wrong-word"); err == nil || !strings.Contains(err.Error(), "registry "+registryAddr+" refuses me") {
		t.Errorf("login with a wrong password: %v", err)
	}
	if got := l.cli(at, "registry", "ls", "--format", "{{.Host}} {{.Username}}"); got != registryAddr+" me\n" {
		t.Errorf("registry ls: %q", got)
	}

	create := func(name string, replicas int) {
		l.cli(at, "service", "create", "--quiet", "--detach", "--name", name, "--replicas", strconv.Itoa(replicas), "--replicas-max-per-node", "1",
			"--restart-delay", "1s", "--constraint", "node.role==worker", registryAddr+"/team/"+name+":1", "sleep")
	}
	create("own", 1)
	l.count("own", 1)
	if s := l.cli(at, "service", "inspect", "own"); !strings.Contains(s, "/team/own:1@sha256:") {
		t.Errorf("the digest was not looked up with the cluster's credentials:\n%s", s)
	}

	stop()
	l.startRegistries(l.Nodes, "second-word")
	l.cli(at, "service", "scale", "--detach", "own=2")
	l.count("own", 2) // the second node has it from the first
	create("late", 1)
	l.must(cluster.Eventually(l.ctx, soon, func(context.Context) error {
		if ps := l.cli(at, "service", "ps", "--no-trunc", "late"); !strings.Contains(ps, "Rejected") || !strings.Contains(ps, "wants another login") {
			return fmt.Errorf("a service whose password has changed is not refused its image:\n%s", ps)
		}
		return nil
	}))
	_, err = login("second-word")
	l.must(err)
	l.count("late", 1)
	if told := l.told(at, "late"); strings.Contains(told, "first-word") || strings.Contains(told, "second-word") || strings.Contains(told, "wrong-word") {
		t.Error("an answer or a log has a password")
	}
}
