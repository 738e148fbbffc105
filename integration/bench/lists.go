package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/filters"
	types "github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

var (
	lineFill     = line{"1,000 services created by 8 clients, their 10,000 tasks made", "s", ""}
	lineTasks    = line{"10,000 tasks listed at the leader, p99", "ms", "<= 100 ms"}
	lineTasksF   = line{"10,000 tasks listed through a follower, p99", "ms", "<= 100 ms"}
	lineServices = line{"1,000 services with their status listed at the leader, p99", "ms", "<= 100 ms"}
	lineServiceF = line{"1,000 services with their status listed through a follower, p99", "ms", "<= 100 ms"}
	lineNode     = line{"the tasks of one node of five, of 10,000, listed at the leader, p99", "ms", ""}
	lineMore     = line{"30,000 tasks listed at the leader, p99", "ms", "<= 300 ms"}
	lineMoreF    = line{"30,000 tasks listed through a follower, p99", "ms", "<= 300 ms"}
	lineLs       = line{"`docker service ls` of 1,000 services", "s", ""}
	linePs       = line{"`docker node ps` of a node of five", "s", ""}
)

const (
	crowd       = 1000 // services
	more        = 3000 // services, of ours alone
	crowdEach   = 10   // replicas
	lists       = 100  // requests of which the p99 is taken
	fillTime    = 3 * time.Minute
	listTime    = 40 * time.Second // where lists are slow, p99 of fewer
	leastLists  = 5
	commandRuns = 3
)

// list measures lists of many services and tasks, without running a container
// for each: every other service asks for what no node has, so that its tasks
// wait; the others' image does not exist, so that each of their tasks was given
// a node, was tried there, and has a status that says what came of it. The time
// is that from the request to the last byte of the answer; what a client makes
// of the answer is its own affair.
func (b *bench) list(ctx context.Context) error {
	leader, err := b.c.Leader(ctx)
	if err != nil {
		return err
	}
	follower, err := b.c.Follower(ctx)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := b.fill(ctx, leader, 0, crowd); err != nil {
		return errors.Join(err, b.empty(ctx))
	}
	b.since(lineFill, start)
	for _, m := range []struct {
		line  line
		at    *cluster.Node
		path  string
		least int
	}{
		{lineTasks, leader, "/tasks", crowd * crowdEach},
		{lineTasksF, follower, "/tasks", crowd * crowdEach},
		{lineServices, leader, "/services?status=true", crowd},
		{lineServiceF, follower, "/services?status=true", crowd},
		{lineNode, leader, "/tasks?filters=" + url.QueryEscape(`{"node":["`+leader.ID+`"],"desired-state":["running","shutdown"]}`), 1},
	} {
		if err := b.p99(ctx, m.line, m.at, m.path, m.least); err != nil {
			return errors.Join(err, b.empty(ctx))
		}
	}
	err = b.commands(ctx, leader)
	if err == nil && b.who == ours {
		err = b.fill(ctx, leader, crowd, more)
		if err == nil {
			err = b.p99(ctx, lineMore, leader, "/tasks", more*crowdEach)
		}
		if err == nil {
			err = b.p99(ctx, lineMoreF, follower, "/tasks", more*crowdEach)
		}
	}
	return errors.Join(err, b.empty(ctx))
}

// commands measures Docker's own CLI at a node, its start included: it asks for
// the names of what a task belongs to one by one.
func (b *bench) commands(ctx context.Context, at *cluster.Node) error {
	for _, m := range []struct {
		line  line
		least int // lines
		args  []string
	}{
		{lineLs, crowd, []string{"service", "ls"}},
		{linePs, crowd * crowdEach / 2 / len(b.c.Nodes), []string{"node", "ps", "--filter", "desired-state=shutdown", "--filter", "desired-state=running", at.ID}},
	} {
		for range commandRuns {
			start := time.Now()
			out, err := at.DockerCLI(ctx, m.args...)
			if err != nil {
				return err
			}
			b.since(m.line, start)
			if n := strings.Count(out, "\n"); n < m.least {
				return fmt.Errorf("docker %s printed %d lines, not %d", strings.Join(m.args, " "), n, m.least)
			}
		}
	}
	return nil
}

// fill creates services from..to and waits until all of their tasks are where
// they stay.
func (b *bench) fill(ctx context.Context, at *cluster.Node, from, to int) error {
	ctx, cancel := context.WithTimeout(ctx, fillTime)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i := from; i < to; i++ {
		g.Go(func() error {
			_, err := at.API.ServiceCreate(gctx, idleService(i), types.ServiceCreateOptions{})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return cluster.Eventually(ctx, fillTime, func(ctx context.Context) error {
		tasks, err := at.API.TaskList(ctx, types.TaskListOptions{})
		settled := 0
		for _, t := range tasks {
			if t.Status.State == types.TaskStatePending || t.Status.State == types.TaskStateRejected {
				settled++
			}
		}
		if err == nil && settled != to*crowdEach {
			time.Sleep(time.Second) // asking costs as much as what is waited for
			err = fmt.Errorf("%d of %d tasks, of %d, are where they stay", settled, len(tasks), to*crowdEach)
		}
		return err
	})
}

// idleService is one that never runs anything: see list.
func idleService(i int) types.ServiceSpec {
	replicas, once := uint64(crowdEach), types.RestartPolicyConditionNone
	spec := types.ServiceSpec{
		Annotations: types.Annotations{Name: fmt.Sprintf("crowd%d", i), Labels: map[string]string{"com.docker.stack.namespace": fmt.Sprintf("stack%d", i/10)}},
		TaskTemplate: types.TaskSpec{
			ContainerSpec: &types.ContainerSpec{
				Image: "localhost:1/team/app:1.42", Args: []string{"serve", "--listen", ":8080"},
				Env:    []string{"APP_ENV=production", "DATABASE_URL=postgres://app@db:5432/app?sslmode=disable&pool=20", "LOG_LEVEL=info"},
				Labels: map[string]string{"com.docker.stack.namespace": fmt.Sprintf("stack%d", i/10)},
			},
			Resources:     &types.ResourceRequirements{Limits: &types.Limit{NanoCPUs: 500_000_000, MemoryBytes: 256 << 20}},
			RestartPolicy: &types.RestartPolicy{Condition: once},
		},
		Mode: types.ServiceMode{Replicated: &types.ReplicatedService{Replicas: &replicas}},
	}
	if i%2 == 0 {
		spec.TaskTemplate.Placement = &types.Placement{Constraints: []string{"node.labels.nowhere==true"}}
	}
	return spec
}

// p99 lists again and again and records what all but one in a hundred take at most.
func (b *bench) p99(ctx context.Context, l line, at *cluster.Node, path string, least int) error {
	var took []float64
	var body bytes.Buffer // one for all: a client's garbage is not what is measured
	for until := time.Now().Add(listTime); len(took) < lists && (time.Now().Before(until) || len(took) < leastLists); {
		start := time.Now()
		if err := get(ctx, at, path, &body); err != nil {
			return err
		}
		took = append(took, float64(time.Since(start).Microseconds())/1000)
		if len(took) > 1 {
			continue
		}
		var rows []json.RawMessage
		if err := json.Unmarshal(body.Bytes(), &rows); err != nil || len(rows) < least {
			return fmt.Errorf("%s at %s: %d rows, not %d: %v", path, at.Name, len(rows), least, err)
		}
		progress("%s: %s at %s: %d rows, %d KB", b.who, path, at.Name, len(rows), body.Len()>>10)
	}
	slices.Sort(took)
	b.results.add(l, b.who, took[(len(took)*99-1)/100])
	return nil
}

// get reads an answer of a node's API to its end.
func get(ctx context.Context, at *cluster.Node, path string, body *bytes.Buffer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://docker/v1.41"+path, nil)
	if err != nil {
		return err
	}
	res, err := at.API.HTTPClient().Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body.Reset()
	_, err = body.ReadFrom(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s at %s: %s: %s", path, at.Name, res.Status, bytes.TrimSpace(body.Bytes()))
	}
	return err
}

// empty removes all services and waits until no task is left.
func (b *bench) empty(ctx context.Context) error {
	return cluster.Eventually(ctx, fillTime, func(ctx context.Context) error {
		leader, err := b.c.Leader(ctx)
		if err != nil {
			return err
		}
		services, err := leader.API.ServiceList(ctx, types.ServiceListOptions{})
		if err != nil {
			return err
		}
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(8)
		for _, s := range services {
			g.Go(func() error { return leader.API.ServiceRemove(gctx, s.ID) })
		}
		if err := g.Wait(); err != nil {
			return err
		}
		tasks, err := leader.API.TaskList(ctx, types.TaskListOptions{Filters: filters.NewArgs(filters.Arg("desired-state", "running"))})
		if err == nil && len(tasks) > 0 {
			err = fmt.Errorf("%d tasks are left", len(tasks))
		}
		return err
	})
}
