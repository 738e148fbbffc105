package scenarios

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

const builtHere = "shop:1"

// build makes the demo's image with a file of its own and gives it a name, on one
// host alone.
func (l *lab) build(n *cluster.Node, version string) {
	l.t.Helper()
	l.buildOf(n, int64(len(version)), strings.NewReader(version))
}

func (l *lab) buildOf(n *cluster.Node, size int64, content io.Reader) {
	l.t.Helper()
	made, err := n.Docker.ContainerCreate(l.ctx, &container.Config{Image: cluster.Image}, nil, nil, nil, "")
	l.must(err)
	archive, file := io.Pipe()
	go func() {
		w := tar.NewWriter(file)
		err := w.WriteHeader(&tar.Header{Name: "version", Mode: 0o644, Size: size})
		if err == nil {
			_, err = io.CopyN(w, content, size)
		}
		file.CloseWithError(errors.Join(err, w.Close()))
	}()
	l.must(n.Docker.CopyToContainer(l.ctx, made.ID, "/", archive, container.CopyToContainerOptions{}))
	_, err = n.Docker.ContainerCommit(l.ctx, made.ID, container.CommitOptions{Reference: builtHere})
	l.must(err)
	l.must(n.Docker.ContainerRemove(l.ctx, made.ID, container.RemoveOptions{}))
}

// forgetBuilt removes what has been built, on all hosts, when the scenario ends.
func (l *lab) forgetBuilt() {
	l.t.Cleanup(func() {
		for _, n := range l.Nodes {
			_, _ = n.Docker.ImageRemove(context.Background(), builtHere, image.RemoveOptions{Force: true})
		}
	})
}

// awaitVersion waits until every node runs the image with that file.
func (l *lab) awaitVersion(service, version string) {
	l.t.Helper()
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		running := l.w.Running(service)
		if len(running) != len(l.Nodes) {
			return fmt.Errorf("%d of %d replicas of version %s run:\n%s", len(running), len(l.Nodes), version, l.cli(l.Nodes[0], "service", "ps", "--no-trunc", service))
		}
		for _, c := range running {
			if got, err := c.Exec(ctx, nil, "/demo", "cat", "/version"); err != nil || got != version {
				return fmt.Errorf("%s has version %q, want %q (%v)", c.Node.Name, got, version, err)
			}
		}
		return nil
	}))
}

// An image that one manager has built, and no registry knows, runs on every node;
// so does what its tag is built into next, and a rollback has the bytes of before.
func TestAnImageThatOneManagerBuiltRunsEverywhere(t *testing.T) {
	l := newLab(t)
	at, err := l.Follower(l.ctx)
	l.must(err)
	l.forgetBuilt()
	l.build(at, "one")
	l.cli(at, "service", "create", "--quiet", "--detach", "--name", "shop", "--mode", "global", "--update-parallelism", "0", "--update-monitor", "1s", "--rollback-parallelism", "0", "--rollback-monitor", "1s", builtHere)
	l.awaitVersion("shop", "one")
	l.build(at, "two")
	l.cli(at, "service", "update", "--quiet", "--detach", "--label-add", "a=b", "shop")
	l.awaitVersion("shop", "one") // nobody has asked for it
	l.cli(at, "service", "update", "--quiet", "--force", "--image", builtHere, "shop")
	l.awaitVersion("shop", "two")
	l.cli(at, "service", "rollback", "--quiet", "shop")
	l.awaitVersion("shop", "one")
}

// A stack that is deployed again after a build runs the new bytes, with a rollback
// those of before; a manager that still has the old ones under the name does not
// bring them back.
func TestAStackFollowsWhatIsBuilt(t *testing.T) {
	l := newLab(t)
	at, err := l.Follower(l.ctx)
	l.must(err)
	l.forgetBuilt()
	file := filepath.Join(t.TempDir(), "compose.yml")
	l.must(os.WriteFile(file, []byte("services:\n  web:\n    image: "+builtHere+"\n    deploy: {mode: global, update_config: {parallelism: 0, monitor: 100ms}}\n"), 0o600))
	deploy := []string{"stack", "deploy", "--timeout", "60s", "-c", file, "built"}
	l.build(at, "one")
	l.cli(at, deploy...)
	l.awaitVersion("built_web", "one")
	l.build(at, "two")
	if out := l.cli(at, append(deploy, "--dry-run")...); !strings.Contains(out, "ContainerSpec.Image, built anew: ") {
		t.Errorf("a dry run says\n%s", out)
	}
	if out := l.cli(at, deploy...); !strings.Contains(out, "Its image has been built anew") {
		t.Errorf("a deploy says\n%s", out)
	}
	l.awaitVersion("built_web", "two")
	if out := l.cli(at, deploy...); !strings.Contains(out, "no changes") {
		t.Errorf("deployed once more, it says\n%s", out)
	}
	for _, n := range l.Nodes[:managers] {
		if n != at { // version one came to it first, and has the name
			if out := l.cli(n, deploy...); !strings.Contains(out, "no changes") {
				t.Errorf("deployed at %s, it says\n%s", n.Name, out)
			}
		}
	}
	l.awaitVersion("built_web", "two")
	l.cli(at, "stack", "rollback", "--timeout", "60s", "built")
	l.awaitVersion("built_web", "one")
	l.cli(at, "stack", "rollback", "--timeout", "60s", "built")
	l.awaitVersion("built_web", "two")
	l.cli(at, "stack", "rm", "built")
}

var sessionOpened = regexp.MustCompile(`msg="session opened".* manager=(\S+)`)

// managerOf is the manager that a node has its session with.
func (l *lab) managerOf(n *cluster.Node) *cluster.Node {
	l.t.Helper()
	log, err := os.ReadFile(n.Log("swarmctl"))
	l.must(err)
	all := sessionOpened.FindAllStringSubmatch(string(log), -1)
	if len(all) == 0 {
		l.t.Fatalf("the log of %s tells of no session", n.Name)
	}
	return l.ByID(all[len(all)-1][1])
}

// says waits until a task says these words, as a message or an error.
func (l *lab) says(at *cluster.Node, words string) {
	l.t.Helper()
	l.must(cluster.Eventually(l.ctx, 2*soon, func(ctx context.Context) error { // a host without power is noticed after 15 s
		tasks, err := at.API.TaskList(ctx, swarm.TaskListOptions{})
		var said []string
		for _, t := range tasks {
			said = append(said, fmt.Sprintf("%s: %s %s", t.Status.State, t.Status.Message, t.Status.Err))
		}
		if err == nil && !strings.Contains(strings.Join(said, "\n"), words) {
			err = fmt.Errorf("no task says %q: %q", words, said)
		}
		return err
	}))
}

// A manager that dies while it passes an image on is not missed: another one does.
// Where it is the one that has the image, a task says who cannot be asked, and a
// later one gets it when the manager is back. Of what had come nothing is left.
func TestAManagerDiesWhileItSendsAnImage(t *testing.T) {
	l := newLab(t)
	l.forgetBuilt()
	to := l.Workers()[0]
	sender := l.managerOf(to)
	holder := l.Nodes[slices.IndexFunc(l.Nodes[:managers], func(n *cluster.Node) bool { return n != sender })]
	l.buildOf(holder, 200<<20, rand.NewChaCha8([32]byte{}))
	create := func(at *cluster.Node) {
		l.t.Helper()
		l.cli(at, "service", "create", "--quiet", "--detach", "--name", "big", "--restart-delay", "1s", "--constraint", "node.hostname=="+to.Name, builtHere)
		l.says(at, "receiving "+builtHere+" from "+holder.Name)
	}
	nameless := func() (list []string) {
		t.Helper()
		images, err := to.Docker.ImageList(l.ctx, image.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("dangling", "true"))})
		l.must(err)
		for _, i := range images {
			list = append(list, i.ID)
		}
		slices.Sort(list)
		return list
	}
	before := nameless() // what other scenarios have built anew
	clean := func() {
		t.Helper()
		tmp, err := os.ReadDir(to.Path("/var/lib/docker/tmp"))
		l.must(err)
		if now := nameless(); len(tmp) > 0 || !equal(now, before) {
			t.Errorf("of half an image is left: %v, %v beside %v", tmp, now, before)
		}
	}

	create(holder)
	sender.KillDaemon()
	l.count("big", 1)
	clean()
	l.must(sender.StartDaemon(l.ctx))
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	l.must(l.AwaitManagers(l.ctx))

	l.cli(holder, "service", "rm", "big")
	l.count("big", 0)
	other := l.Nodes[slices.IndexFunc(l.Nodes[:managers], func(n *cluster.Node) bool { return n != holder })]
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error { // the container may not be gone yet
		_, err := to.Docker.ImageRemove(ctx, builtHere, image.RemoveOptions{Force: true, PruneChildren: true})
		return err
	}))
	create(holder)
	holder.PowerOff()
	l.says(other, "which the service was made with, and "+holder.Name+" cannot be asked")
	clean()
	l.must(holder.PowerOn(l.ctx))
	l.count("big", 1)
	clean()
}
