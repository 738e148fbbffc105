package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
	fake "github.com/swarmctl/swarmctl/integration/registry"
)

// The test program is the registry of a host when it is started there with
// this variable, which names the binary that its image is made of.
const (
	registryBinary = "SCENARIO_REGISTRY_BINARY"
	registryAddr   = "127.0.0.1:5999"
)

func init() {
	name := os.Getenv(registryBinary)
	if name == "" {
		return
	}
	binary, err := os.ReadFile(name)
	if err == nil {
		var r *fake.Registry
		if r, err = fake.New("me", "secret-word", binary); err == nil {
			err = http.ListenAndServe(registryAddr, r)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Credentials go with a service: to the nodes that its tasks come to, whoever
// leads, whether or not an update brings them again, and to nobody else.
func TestCredentialsFollowTheService(t *testing.T) {
	l := newLab(t)
	program, err := os.Executable()
	l.must(err)
	demo := filepath.Join(filepath.Dir(tools.Image), "demo")
	for _, n := range l.Workers() {
		_, err := n.Start("registry", "env", registryBinary+"="+demo, program)
		l.must(err)
	}
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
	s, raw, err := l.Nodes[at].API.ServiceInspectWithRaw(l.ctx, "own", swarm.ServiceInspectOptions{})
	l.must(err)
	tasks, err := l.Nodes[at].API.TaskList(l.ctx, swarm.TaskListOptions{})
	l.must(err)
	told, err := json.Marshal([]any{s, string(raw), tasks})
	l.must(err)
	for _, n := range l.Nodes {
		log, err := os.ReadFile(n.Log("swarmctl"))
		l.must(err)
		told = append(told, log...)
	}
	if strings.Contains(string(told), auth) || strings.Contains(string(told), "secret-word") {
		t.Error("an answer or a log has the credentials")
	}
}
