package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/docker/docker/api/types/container"
	types "github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// What can be measured, by the name of its flag value.
const (
	rowCreate = "create"
	rowWorker = "worker"
	rowLeader = "leader"
	rowKill   = "kill"
	rowCable  = "cable"
	rowIdle   = "idle"
	rowHog    = "hog"
	rowList   = "list"
	rowPass   = "through"
	rowVIP    = "vip"
	rowMesh   = "mesh"
	rowFlow   = "overlay"
	rowAgree  = "converge"
	rowRules  = "rules"
	rowRoll   = "rollout"
	rowLeak   = "leak"
	rowUpdate = "update"
	rowSlow   = "slow"
	rowBad    = "bad"
	rowDrain  = "drain"
	rowStack  = "stack"
)

var allRows = []string{rowCreate, rowIdle, rowKill, rowWorker, rowLeader, rowCable, rowList, rowPass,
	rowVIP, rowMesh, rowFlow, rowAgree, rowRules, rowRoll, rowLeak, rowUpdate, rowSlow, rowBad, rowDrain, rowStack, rowHog}

var (
	lineCreate  = line{"50 replicas created until all run", "s", "<= 1.1 x direct"}
	lineWorker  = line{"a worker powers off: all replicas run on the others", "s", "<= 4 s"}
	lineWrite   = line{"leader powers off: first write accepted elsewhere", "s", "<= 2 s"}
	lineLeader  = line{"leader powers off: its replicas run elsewhere", "s", "<= 6 s"}
	lineKill    = line{"container killed: its replacement runs", "s", "<= 1 s"}
	lineCable   = line{"2 s cable pull of a worker: tasks moved", "", "0"}
	lineCableL  = line{"2 s cable pull of the leader: tasks moved", "", "0"}
	lineDown    = line{"every core busy: nodes declared down", "", "0"}
	lineElect   = line{"every core busy: elections", "", "0"}
	lineMgrRSS  = line{"idle manager, resident", "MB", "<= 60 MB"}
	lineMgrCPU  = line{"idle manager, of one core", "%", "<= 1 %"}
	lineWorkRSS = line{"idle worker, resident", "MB", "<= 60 MB"}
	lineWorkCPU = line{"idle worker, of one core", "%", "<= 1 %"}
)

var lines = []line{lineCreate, lineWorker, lineWrite, lineLeader, lineKill, lineCable, lineCableL,
	lineDown, lineElect, lineMgrRSS, lineMgrCPU, lineWorkRSS, lineWorkCPU,
	lineFill, lineTasks, lineTasksF, lineMore, lineMoreF, lineServices, lineServiceF, lineNode, lineLs, linePs,
	lineLogs, linePings, linePss,
	lineNearKeep, lineNearEach, lineFarKeep, lineFarEach, lineMeshKeep, lineMeshEach, lineFlow, lineFlows,
	lineAdded, lineRemoved, lineLoaded, lineChanged, lineLostPort, lineLostVIP, lineRollout, lineLeaked, lineTwice,
	lineUpdate, lineLostSlow, lineBad, lineBadLeast, lineDrain, lineLeast,
	lineDeploy, lineRedeploy, lineOne, lineStopAll}

const (
	many     = 50 // replicas of row create
	some     = 20 // replicas where hosts die: four on each
	patience = 2 * time.Minute
)

// bench measures one contender.
type bench struct {
	opt     options
	who     string
	c       *cluster.Cluster
	w       *cluster.Watch
	results table
	serial  int
	rival   *bench // Docker Swarm, where it is measured beside ours
	failed  error  // why it is out of the race
}

func (b *bench) row(ctx context.Context, name string) error {
	if b.who == direct {
		if name == rowCreate {
			return b.createDirect(ctx)
		}
		return nil
	}
	return map[string]func(context.Context) error{
		rowCreate: b.create, rowIdle: b.idle, rowKill: b.kill, rowWorker: b.workerOff,
		rowLeader: b.leaderOff, rowCable: b.cable, rowHog: b.hog, rowList: b.list, rowPass: b.through,
		rowVIP: b.viaVIP, rowMesh: b.mesh, rowFlow: b.overlay, rowAgree: b.converge, rowRules: b.rules, rowRoll: b.rollout, rowLeak: b.leak,
		rowUpdate: b.updateAll, rowSlow: b.updateSlow, rowBad: b.badVersion, rowDrain: b.drain, rowStack: b.stack,
	}[name](ctx)
}

// service creates a service that sleeps and returns its name.
func (b *bench) service(ctx context.Context, at *cluster.Node, replicas uint64) (string, error) {
	b.serial++
	name := fmt.Sprintf("bench%d", b.serial)
	_, err := at.API.ServiceCreate(ctx, types.ServiceSpec{
		Annotations:  types.Annotations{Name: name},
		TaskTemplate: types.TaskSpec{ContainerSpec: &types.ContainerSpec{Image: cluster.Image, Args: []string{"sleep"}}},
		Mode:         types.ServiceMode{Replicated: &types.ReplicatedService{Replicas: &replicas}},
	}, types.ServiceCreateOptions{})
	return name, err
}

// with runs f with a service of n replicas that run, and removes it afterwards.
func (b *bench) with(ctx context.Context, n int, f func(ctx context.Context, service string, running []cluster.Container) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*patience)
	defer cancel()
	leader, err := b.c.Leader(ctx)
	if err != nil {
		return err
	}
	service, err := b.service(ctx, leader, uint64(n))
	if err != nil {
		return err
	}
	running, err := b.count(ctx, service, n)
	if err == nil {
		err = f(ctx, service, running)
	}
	if err != nil {
		return err
	}
	return b.remove(ctx, service)
}

// remove removes the service and waits until nothing of it is left on any engine.
func (b *bench) remove(ctx context.Context, service string) error {
	err := b.c.Any(ctx, func(ctx context.Context, n *cluster.Node) error { return n.API.ServiceRemove(ctx, service) })
	if err == nil {
		_, err = b.count(ctx, service, 0)
	}
	if err != nil {
		return err
	}
	return b.sweep(ctx)
}

// sweep removes stopped containers: Docker Swarm leaves those of a node that
// was down, and they would slow the engines.
func (b *bench) sweep(ctx context.Context) error {
	for _, n := range b.c.Nodes {
		err := cluster.Eventually(ctx, patience, func(ctx context.Context) error {
			list, err := n.Docker.ContainerList(ctx, container.ListOptions{All: true})
			for _, c := range list {
				_ = n.Docker.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true}) // the orchestrator may be at it
			}
			if err == nil && len(list) > 0 {
				err = fmt.Errorf("%d containers are left on %s", len(list), n.Name)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) count(ctx context.Context, service string, n int) ([]cluster.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return b.w.Count(ctx, service, n)
}

func (b *bench) since(l line, start time.Time) { b.results.add(l, b.who, time.Since(start).Seconds()) }

func (b *bench) create(ctx context.Context) error {
	leader, err := b.c.Leader(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	service, err := b.service(ctx, leader, many)
	if err != nil {
		return err
	}
	if _, err = b.count(ctx, service, many); err != nil {
		return err
	}
	b.since(lineCreate, start)
	return b.remove(ctx, service)
}

func (b *bench) kill(ctx context.Context) error {
	return b.with(ctx, some, func(ctx context.Context, service string, running []cluster.Container) error {
		victim := running[0]
		start := time.Now()
		if err := victim.Kill(ctx); err != nil {
			return err
		}
		if err := b.replaced(ctx, service, len(running), victim); err != nil {
			return err
		}
		b.since(lineKill, start)
		return nil
	})
}

// replaced waits until n containers run and the victim is none of them.
func (b *bench) replaced(ctx context.Context, service string, n int, victim cluster.Container) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := b.w.Until(ctx, service, "the victim replaced", func(cs []cluster.Container) bool {
		return len(cs) == n && !slices.ContainsFunc(cs, func(c cluster.Container) bool { return c.ID == victim.ID })
	})
	return err
}

func (b *bench) workerOff(ctx context.Context) error {
	return b.with(ctx, some, func(ctx context.Context, service string, running []cluster.Container) error {
		worker := b.c.Workers()[0]
		start := time.Now()
		worker.PowerOff()
		if err := b.elsewhere(ctx, service, len(running), worker); err != nil {
			return err
		}
		b.since(lineWorker, start)
		return b.back(ctx, worker)
	})
}

func (b *bench) leaderOff(ctx context.Context) error {
	return b.with(ctx, some, func(ctx context.Context, service string, running []cluster.Container) error {
		leader, err := b.c.Leader(ctx)
		if err != nil {
			return err
		}
		start := time.Now()
		leader.PowerOff()
		wrote := make(chan error, 1)
		go func() { wrote <- b.firstWrite(ctx, start) }()
		if err := b.elsewhere(ctx, service, len(running), leader); err != nil {
			return err
		}
		b.since(lineLeader, start)
		if err := <-wrote; err != nil {
			return err
		}
		return b.back(ctx, leader)
	})
}

// elsewhere waits until n replicas run and none of them at node. The watch
// drops a node's containers as soon as its engine is gone.
func (b *bench) elsewhere(ctx context.Context, service string, n int, node *cluster.Node) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := b.w.Until(ctx, service, fmt.Sprintf("%d running, none on %s", n, node.Name), func(cs []cluster.Container) bool {
		return len(cs) == n && cluster.Spread(cs)[node] == 0
	})
	return err
}

// firstWrite asks every manager that is left to create a service, each again
// and again, and records when the first is accepted.
func (b *bench) firstWrite(ctx context.Context, start time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	accepted := make(chan string)
	for i, n := range b.c.Nodes {
		if n.Manager && n.On() {
			go b.writeUntilAccepted(ctx, n, fmt.Sprintf("write%d-%d", b.serial, i), accepted)
		}
	}
	select {
	case name := <-accepted:
		b.since(lineWrite, start)
		return b.c.Any(ctx, func(ctx context.Context, n *cluster.Node) error { return n.API.ServiceRemove(ctx, name) })
	case <-ctx.Done():
		return fmt.Errorf("no write was accepted: %w", ctx.Err())
	}
}

func (b *bench) writeUntilAccepted(ctx context.Context, n *cluster.Node, name string, accepted chan<- string) {
	var none uint64
	for try := 0; ctx.Err() == nil; try++ {
		spec := types.ServiceSpec{
			Annotations:  types.Annotations{Name: fmt.Sprintf("%s-%d", name, try)}, // a try that timed out may have taken the name
			TaskTemplate: types.TaskSpec{ContainerSpec: &types.ContainerSpec{Image: cluster.Image}},
			Mode:         types.ServiceMode{Replicated: &types.ReplicatedService{Replicas: &none}},
		}
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		_, err := n.API.ServiceCreate(attempt, spec, types.ServiceCreateOptions{})
		cancel()
		if err == nil {
			select {
			case accepted <- spec.Name:
			case <-ctx.Done():
			}
			return
		}
		time.Sleep(20 * time.Millisecond) // some refuse at once while there is no leader
	}
}

// back powers a node on again and waits until the cluster is whole.
func (b *bench) back(ctx context.Context, n *cluster.Node) error {
	if err := n.PowerOn(ctx); err != nil {
		return err
	}
	if err := b.c.AwaitReady(ctx, len(b.c.Nodes)); err != nil {
		return err
	}
	return b.c.AwaitManagers(ctx)
}

// cable pulls a cable for 2 s and counts the containers that were started because of it.
func (b *bench) cable(ctx context.Context) error {
	leader, err := b.c.Leader(ctx)
	if err != nil {
		return err
	}
	for l, node := range map[line]*cluster.Node{lineCable: b.c.Workers()[1], lineCableL: leader} {
		err := b.with(ctx, some, func(ctx context.Context, service string, before []cluster.Container) error {
			moved, err := b.pull(ctx, node, service, before)
			b.results.add(l, b.who, float64(moved))
			if err != nil {
				return err
			}
			return b.c.AwaitReady(ctx, len(b.c.Nodes))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) pull(ctx context.Context, node *cluster.Node, service string, before []cluster.Container) (moved int, err error) {
	const blip, watched = 2 * time.Second, 15 * time.Second
	if err := node.Cut(); err != nil {
		return 0, err
	}
	time.Sleep(blip)
	if err := node.Heal(); err != nil {
		return 0, err
	}
	seen := map[string]bool{}
	for _, c := range before {
		seen[c.ID] = true
	}
	ctx, cancel := context.WithTimeout(ctx, watched)
	defer cancel()
	_, _ = b.w.Until(ctx, service, "nothing", func(cs []cluster.Container) bool { // it sees every change until the time is up
		for _, c := range cs {
			if !seen[c.ID] {
				seen[c.ID] = true
				moved++
			}
		}
		return false
	})
	return moved, nil
}
