package stack

import (
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api/setting"
)

func specOf(t *testing.T, s *Stack, name string) swarm.ServiceSpec {
	t.Helper()
	i := slices.IndexFunc(s.Services, func(spec swarm.ServiceSpec) bool { return spec.Name == name })
	if i < 0 {
		t.Fatalf("no service %s", name)
	}
	return s.Services[i]
}

func TestDependsOn(t *testing.T) {
	m, s := folder{}.stack(t, `
services:
  app:
    image: app
    depends_on:
      db: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
      seed: {condition: service_completed_successfully}
      once: {condition: service_completed_successfully}
      job: {condition: service_completed_successfully}
      cache: {condition: service_started, required: false}
      debug: {condition: service_started, required: false}
  batch: {image: batch, depends_on: [db]}
  cache: {image: cache}
  db: {image: db}
  migrate: {image: migrate, depends_on: {db: {condition: service_healthy}}}
  seed: {image: seed, restart: "no"}
  once: {image: once, restart: "on-failure:3"}
  job: {image: job, deploy: {mode: replicated-job}}
  debug: {image: debug, profiles: [debug]}
`)
	for name, want := range map[string]string{
		"shop_app":     "shop_cache:started:optional,shop_db:healthy,shop_job:completed,shop_migrate:completed,shop_once:completed,shop_seed:completed",
		"shop_batch":   "shop_db:started",
		"shop_migrate": "shop_db:healthy",
		"shop_db":      "",
	} {
		if got := specOf(t, s, name).Labels[setting.LabelDependsOn]; got != want {
			t.Errorf("%s depends on %q, want %q", name, got, want)
		}
	}
	// Compose runs once what is to be completed; a cluster has to be told.
	for name, want := range map[string]swarm.RestartPolicyCondition{
		"shop_migrate": "on-failure", "shop_seed": "none", "shop_once": "on-failure", "shop_job": "", "shop_db": "",
	} {
		var got swarm.RestartPolicyCondition
		if p := specOf(t, s, name).TaskTemplate.RestartPolicy; p != nil {
			got = p.Condition
		}
		if got != want {
			t.Errorf("%s is restarted on %q, want %q", name, got, want)
		}
	}
	for _, i := range m.Ignored {
		if strings.Contains(i.Key, "depends_on") {
			t.Errorf("ignored: %s", i)
		}
	}
	p, err := s.Against(Cluster{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, c := range p.Services {
		order = append(order, strings.TrimPrefix(c.Spec.Name, "shop_"))
	}
	if want := []string{"cache", "db", "job", "migrate", "once", "seed", "app", "batch"}; !slices.Equal(order, want) {
		t.Errorf("made in the order %v, want %v", order, want)
	}
}

func TestDependsOnIsRefused(t *testing.T) {
	for compose, want := range map[string]string{
		"services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [c]}\n  c: {image: x, depends_on: [a]}\n":                                  "a -> b -> c -> a",
		"services:\n  a: {image: x, depends_on: [a]}\n":                                                                                                      "a -> a",
		"services:\n  a: {image: x, depends_on: {b: {condition: service_completed_successfully}}}\n  b: {image: x, restart: always}\n":                       "services.a: depends_on.b: it is never completed, as its restart policy starts it again whatever it ends with: use on-failure there, or deploy.mode: replicated-job",
		"services:\n  a: {image: x, depends_on: {b: {condition: service_completed_successfully}}}\n  b: {image: x, deploy: {restart_policy: {delay: 1s}}}\n": "services.a: depends_on.b: it is never completed",
		"services:\n  a: {image: x, depends_on: {b: {condition: service_well}}}\n  b: {image: x}\n":                                                          "services.a.depends_on.b",
		"services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, profiles: [debug]}\n":                                                                  "b",
		"services:\n  a: {image: x, depends_on: [b], deploy: {labels: {swarmctl.depends-on: other}}}\n  b: {image: x}\n":                                     "leave one out",
	} {
		m, err := Load(t.Context(), folder{}.input(compose))
		if err == nil {
			_, err = m.Convert()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\nthe error is %v; it should say %s", compose, err, want)
		} else {
			t.Log(err)
		}
	}
}
