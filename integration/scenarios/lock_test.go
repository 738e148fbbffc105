package scenarios

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// TestLockedManagersStartWithTheKeyAlone restarts every manager of a locked
// cluster, changes the key between, and takes the lock off at the end. The
// containers notice nothing.
func TestLockedManagersStartWithTheKeyAlone(t *testing.T) {
	l := ownLab(t, "10.91.20", 3, 1, "--autolock")
	web := l.run("web", 8)
	first := strings.TrimSpace(l.cli(l.Nodes[0], "unlock-key", "-q"))
	leader := l.leader()
	var followers []*cluster.Node
	for _, n := range l.Nodes[:3] {
		if n != leader {
			followers = append(followers, n)
		}
	}

	l.restartLocked(followers[0])
	l.refusedToUnlock(followers[0], "SWMKEY-1-"+strings.Repeat("A", 43))
	l.unlock(followers[0], first)
	l.still("web", 0, web)

	sealed := l.seals(l.Nodes[:3])
	second := strings.TrimSpace(l.cli(followers[0], "unlock-key", "--rotate", "-q"))
	l.sealedAnew(sealed)
	for _, n := range []*cluster.Node{followers[1], leader} {
		l.restartLocked(n)
		l.refusedToUnlock(n, first)
		l.unlock(n, second)
		l.still("web", 0, web)
	}

	worker := l.Workers()[0]
	l.restart(worker)
	l.local(worker, swarm.LocalNodeStateActive)
	l.cli(l.leader(), "node", "promote", worker.Name)
	l.managerStatus(worker, "Reachable")
	l.restartLocked(worker)
	l.unlock(worker, second)
	l.cli(l.leader(), "node", "demote", worker.Name)
	l.managerStatus(worker, "")
	l.knowsItIsNoManager(worker) // until then it is as locked as the other managers
	l.must(l.AwaitReady(l.ctx, 4))
	l.restart(worker)
	l.local(worker, swarm.LocalNodeStateActive)
	l.must(l.AwaitReady(l.ctx, 4))
	l.still("web", 0, web)

	sealed = l.seals(l.Nodes[:3])
	l.cli(followers[1], "update", "--autolock=false")
	l.sealedAnew(sealed)
	l.refused(leader, []string{"unlock-key", "-q"}, "no unlock key is set")
	l.restart(followers[0])
	l.local(followers[0], swarm.LocalNodeStateActive)
	l.must(l.AwaitReady(l.ctx, 4))
	l.still("web", 2*time.Second, web)
}

// TestALockedManagerLeavesByForce gives up a manager whose key is lost.
func TestALockedManagerLeavesByForce(t *testing.T) {
	l := ownLab(t, "10.91.21", 3, 0)
	l.run("web", 6)
	sealed := l.seals(l.Nodes)
	l.cli(l.Nodes[0], "update", "--autolock")
	l.sealedAnew(sealed)
	lost, err := l.Follower(l.ctx)
	l.must(err)
	l.restartLocked(lost)
	l.refused(lost, []string{"leave"}, "locked", "--force")
	l.cli(lost, "leave", "--force")
	l.local(lost, swarm.LocalNodeStateInactive)
	at := l.leader()
	l.cli(at, "node", "demote", lost.ID)
	l.must(cluster.Eventually(l.ctx, 2*time.Minute, func(ctx context.Context) error {
		_, err := at.CLI(ctx, "node", "rm", "--force", lost.ID)
		return err
	}))
	l.elsewhere("web", 6, lost)
	l.must(lost.Join(l.ctx, at, true))
	l.must(l.AwaitReady(l.ctx, 3))
}

// TestTheRootIsReplacedWhileServicesRun begins to replace the root while a
// worker is away, which keeps it open: a host joins in the middle.
func TestTheRootIsReplacedWhileServicesRun(t *testing.T) {
	l := ownLab(t, "10.91.22", 3, 1)
	web := l.run("web", 8)
	oldRoot, oldToken := l.cli(l.Nodes[0], "ca"), strings.TrimSpace(l.cli(l.Nodes[0], "join-token", "-q", "worker"))
	away := l.Workers()[0]
	away.KillDaemon()
	l.cli(l.Nodes[1], "ca", "--rotate", "--detach")
	l.tls(l.Nodes[:3], "Ready")
	l.tls([]*cluster.Node{away}, "Needs Rotation")
	l.must(l.Add(l.ctx, 1))
	joiner := l.Nodes[4]
	if token := strings.TrimSpace(l.cli(l.Nodes[0], "join-token", "-q", "worker")); token != oldToken {
		t.Errorf("the token changed before the root did: %s, %s", oldToken, token)
	}
	l.must(joiner.Join(l.ctx, l.Nodes[2], false))
	l.tls([]*cluster.Node{joiner}, "Ready")
	if root := l.cli(l.Nodes[0], "ca"); root != oldRoot {
		t.Error("the root is replaced though a node has no certificate of the new one")
	}

	l.must(away.StartDaemon(l.ctx))
	l.rotated()
	l.tls(l.Nodes, "Ready")
	if root := l.cli(l.Nodes[0], "ca"); root == oldRoot {
		t.Error("the root is the old one")
	}
	for _, n := range l.Nodes { // with certificates and roots as they lie on disk now
		l.restart(n)
		l.must(l.AwaitReady(l.ctx, 5))
	}
	l.still("web", 0, web)

	gone := joiner.ID
	l.cli(joiner, "leave")
	l.refused(joiner, []string{"join", "--token", oldToken, l.Nodes[0].Addr + ":2377"}, "digest")
	l.must(joiner.Join(l.ctx, l.Nodes[0], false))
	l.cli(l.leader(), "ca", "--rotate", "--detach") // once more; who has left holds it up until it is removed
	l.tls(l.Nodes, "Ready")
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		_, err := l.leader().CLI(ctx, "node", "rm", gone)
		return err
	}))
	l.rotated()
	l.still("web", 0, web)
}

// rotated waits until the new root has taken the old one's place.
func (l *lab) rotated() {
	l.t.Helper()
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		sw, err := l.Nodes[0].API.SwarmInspect(ctx)
		if err == nil && sw.RootRotationInProgress {
			err = errors.New("the rotation is still in progress")
		}
		return err
	}))
}

func (l *lab) restart(n *cluster.Node) {
	l.t.Helper()
	n.KillDaemon()
	l.must(n.StartDaemon(l.ctx))
}

// restartLocked restarts a manager, which must come up locked.
func (l *lab) restartLocked(n *cluster.Node) {
	l.t.Helper()
	l.restart(n)
	l.local(n, swarm.LocalNodeStateLocked)
	l.refused(n, []string{"node", "ls"}, "Swarm is encrypted and needs to be unlocked before it can be used")
}

// local waits until a node says of itself that it is in the state.
func (l *lab) local(n *cluster.Node, want swarm.LocalNodeState) {
	l.t.Helper()
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		info, err := n.API.Info(ctx)
		if err == nil && info.Swarm.LocalNodeState != want {
			err = fmt.Errorf("%s is %s, not %s: %s", n.Name, info.Swarm.LocalNodeState, want, info.Swarm.Error)
		}
		return err
	}))
}

// unlock types the key, and waits until the whole cluster is well.
func (l *lab) unlock(n *cluster.Node, key string) {
	l.t.Helper()
	_, err := n.Run(l.ctx, "sh", "-c", "echo "+key+" | "+tools.Swarmctl+" unlock")
	l.must(err)
	l.local(n, swarm.LocalNodeStateActive)
	l.must(l.AwaitReady(l.ctx, len(l.Nodes)))
	l.must(l.AwaitManagers(l.ctx))
}

func (l *lab) refusedToUnlock(n *cluster.Node, key string) {
	l.t.Helper()
	out, err := n.Run(l.ctx, "sh", "-c", "echo "+key+" | "+tools.Swarmctl+" unlock")
	if err == nil || !strings.Contains(err.Error(), "invalid key") {
		l.t.Errorf("%s was unlocked with a wrong key: %v, %s", n.Name, err, out)
	}
	l.local(n, swarm.LocalNodeStateLocked)
}

// seals is what is in the files in which managers keep their keys.
func (l *lab) seals(nodes []*cluster.Node) map[*cluster.Node][2]string {
	l.t.Helper()
	files := map[*cluster.Node][2]string{}
	for _, n := range nodes {
		var texts [2]string
		for i, name := range []string{"node/identity.pem", "raft/dek"} {
			text, err := n.Run(l.ctx, "cat", "/var/lib/swarmctl/"+name)
			l.must(err)
			texts[i] = text
		}
		files[n] = texts
	}
	return files
}

// sealedAnew waits until all of them have written both files anew.
func (l *lab) sealedAnew(before map[*cluster.Node][2]string) {
	l.t.Helper()
	for n, was := range before {
		l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
			if now := l.seals([]*cluster.Node{n})[n]; now[0] == was[0] || now[1] == was[1] {
				return fmt.Errorf("%s has not sealed its disk anew", n.Name)
			}
			return nil
		}))
	}
}

// tls waits until node ls says of the nodes' certificates that they are so.
func (l *lab) tls(nodes []*cluster.Node, want string) {
	l.t.Helper()
	for _, n := range nodes {
		l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
			got, err := l.leader().CLI(ctx, "node", "ls", "--format", "{{.Hostname}}={{.TLSStatus}}")
			if err == nil && !strings.Contains("\n"+got+"\n", "\n"+n.Name+"="+want+"\n") {
				err = fmt.Errorf("%s should be %q:\n%s", n.Name, want, got)
			}
			return err
		}))
	}
}
