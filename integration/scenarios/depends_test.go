package scenarios

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

// Healthy is db two seconds after its start.
const ordered = `
services:
  web:
    image: ${IMAGE}
    depends_on:
      db: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
    deploy: {replicas: 3}
  migrate:
    image: ${IMAGE}
    command: [serve, --exit-after, 300ms]
    depends_on: {db: {condition: service_healthy}}
  db:
    image: ${IMAGE}
    command: [serve, --healthy-after, 2s]
    healthcheck: {test: [CMD, /demo, health], interval: 100ms, timeout: 5s, retries: 100}
`

// The containers' own times say that each waited for what it depends on: at the
// first deploy, and after all hosts have lost their power.
func TestServicesWaitForWhatTheyDependOn(t *testing.T) {
	l := ownLab(t, "10.91.9", 3, 0)
	at, file := l.Nodes[0], filepath.Join(t.TempDir(), "compose.yml")
	l.must(os.WriteFile(file, []byte(strings.ReplaceAll(ordered, "${IMAGE}", cluster.Image)), 0o600))
	l.cli(at, "stack", "deploy", "--timeout", "60s", "--resolve-image", "never", "-c", file, "shop")
	db, migrate, web := l.lives("shop_db"), l.lives("shop_migrate"), l.lives("shop_web")
	if len(db) != 1 || len(migrate) != 1 || len(web) != 3 {
		t.Fatalf("%d containers of db, %d of migrate, %d of web", len(db), len(migrate), len(web))
	}
	if waited := migrate[0].started.Sub(db[0].started); waited < 2*time.Second {
		t.Errorf("migrate was started %s after db, which took 2s to become healthy", waited)
	}
	for _, c := range web {
		if waited := c.started.Sub(migrate[0].ended); waited < 0 {
			t.Errorf("web was started %s before migrate had ended", -waited)
		}
	}

	l.create(at, "late", "--depends-on", "shop_web:healthy,nobody")
	l.must(cluster.Eventually(l.ctx, soon, func(context.Context) error {
		if out := l.cli(at, "service", "ps", "--no-trunc", "late"); !strings.Contains(out, "waits for service nobody to be started: there is no service nobody") {
			return errors.New(out)
		}
		return nil
	}))

	for _, n := range l.Nodes {
		n.PowerOff()
	}
	back := time.Now()
	for _, n := range l.Nodes {
		l.must(n.PowerOn(l.ctx))
	}
	l.must(l.AwaitReady(l.ctx, 3))
	l.count("shop_web", 3)
	var healthy time.Time
	for _, c := range l.lives("shop_db") {
		if c.started.After(back) {
			healthy = c.started.Add(2 * time.Second)
		}
	}
	again := 0
	for _, c := range l.lives("shop_web") {
		if c.started.Before(back) {
			continue
		}
		if again++; healthy.IsZero() || c.started.Before(healthy) {
			t.Errorf("web was started at %s, db healthy at %s", c.started, healthy)
		}
	}
	if again != 3 || len(l.lives("shop_migrate")) != 1 {
		t.Errorf("%d containers of web and %d of migrate since the power came back, want 3 and none", again, len(l.lives("shop_migrate"))-1)
	}
}

// life is a container's, by its engine.
type life struct{ started, ended time.Time }

// lives are those of all containers of a service that were ever started.
func (l *lab) lives(service string) (list []life) {
	l.t.Helper()
	for _, n := range l.Nodes {
		all, err := n.Docker.ContainerList(l.ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", cluster.ServiceLabel+"="+service))})
		l.must(err)
		for _, c := range all {
			info, err := n.Docker.ContainerInspect(l.ctx, c.ID)
			l.must(err)
			started, err := time.Parse(time.RFC3339Nano, info.State.StartedAt)
			l.must(err)
			ended, err := time.Parse(time.RFC3339Nano, info.State.FinishedAt)
			l.must(err)
			if started.Year() > 1 {
				list = append(list, life{started, ended})
			}
		}
	}
	return list
}
