package services

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/slot"
)

var update = flag.Bool("update", false, "rewrite the expected outputs of the scenarios")

// TestScenarios runs testdata/*.txt: blocks of commands, each with the exact
// output it must give after ----. Lines that begin with # tell the story.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := play(string(data))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(data) {
				t.Errorf("%s differs; with -update it would be:\n%s", file, got)
			}
		})
	}
}

// play runs a scenario and returns it with the outputs it really gives.
func play(script string) string {
	w := newWorld()
	var out strings.Builder
	for _, block := range strings.Split(strings.TrimSpace(script), "\n\n") {
		input, _, _ := strings.Cut(block+"\n", "----\n")
		out.WriteString(input)
		var lines []string
		commands := 0
		for _, line := range strings.Split(strings.TrimSpace(input), "\n") {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				lines = append(lines, w.do(strings.Fields(line))...)
				commands++
			}
		}
		if commands > 0 {
			out.WriteString("----\n")
		}
		for _, line := range lines {
			out.WriteString(line + "\n")
		}
		out.WriteString("\n")
	}
	return strings.TrimSuffix(out.String(), "\n")
}

func (w *world) do(words []string) []string {
	args := words[1:]
	switch words[0] {
	case "nodes":
		for _, id := range args {
			w.addNode(id)
		}
	case "node":
		w.editNode(args[0], args[1], args[2:]...)
	case "service":
		w.putService(args[0], args[1:])
	case "rm":
		w.apply(state.Op{DeleteService: &state.DeleteService{ID: api.ServiceID(args[0])}})
	case "step":
		return w.step()
	case "place":
		w.place()
	case "work":
		w.work()
	case "settle":
		return w.settle()
	case "task":
		s, err := api.ParseTaskState(args[1])
		if err != nil {
			return []string{err.Error()}
		}
		w.report(api.TaskID(args[0]), s)
	case "wait":
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return []string{err.Error()}
		}
		w.now = w.now.Add(d)
	case "leader": // a new one, whose clock is off
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return []string{err.Error()}
		}
		w.now = w.now.Add(d)
		w.seen = slot.NewSeen()
		w.look()
	case "rollback":
		return w.change(state.RolledBack(w.View(), w.View().Service(api.ServiceID(args[0])), w.now))
	case "promote":
		return w.change(state.Promoted(w.View().Service(api.ServiceID(args[0]))))
	case "rebalance":
		s := *w.View().Service(api.ServiceID(args[0]))
		s.Rebalance = &api.Rebalance{}
		return w.change(&s, nil)
	case "refuse": // the scheduler finds no node for a task
		t := *w.View().Task(api.TaskID(args[0]))
		t.Status.Err = strings.Join(args[1:], " ")
		w.apply(state.Op{ReportTasks: []state.Report{{Task: t.ID, Status: t.Status}}})
	case "history": // how many tasks a slot keeps
		limit, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return []string{err.Error()}
		}
		c := *w.View().Cluster()
		c.Spec.Orchestration.TaskHistoryRetentionLimit = &limit
		w.apply(state.Op{PutCluster: &c})
	case "inspect":
		return w.inspect(args[0])
	case "ps":
		return w.ps(args[0])
	case "why": // what tasks say of why they do not run
		var lines []string
		for t := range w.View().ServiceTasks(api.ServiceID(args[0])) {
			lines = append(lines, fmt.Sprintf("%s: %s: %s", t.ID, t.Status.State, t.Status.Err))
		}
		return lines
	default:
		return []string{"unknown command " + words[0]}
	}
	return nil
}

func job(s *api.ServiceSpec) *swarm.ReplicatedJob {
	j := swarm.ReplicatedJob{}
	if old := s.Mode.ReplicatedJob; old != nil {
		j = *old
	}
	s.Mode = swarm.ServiceMode{ReplicatedJob: &j}
	return &j
}

func setServiceField(s *api.ServiceSpec, k, v string) {
	number := func() uint64 {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			panic(err)
		}
		return n
	}
	duration := func() time.Duration {
		d, err := time.ParseDuration(v)
		if err != nil {
			panic(err)
		}
		return d
	}
	policy := func() *swarm.RestartPolicy {
		p := swarm.RestartPolicy{}
		if old := s.TaskTemplate.RestartPolicy; old != nil {
			p = *old
		}
		s.TaskTemplate.RestartPolicy = &p
		return &p
	}
	containerSpec := func() *swarm.ContainerSpec {
		c := swarm.ContainerSpec{}
		if old := s.TaskTemplate.ContainerSpec; old != nil {
			c = *old
		}
		s.TaskTemplate.ContainerSpec = &c
		return &c
	}
	config := func() *swarm.UpdateConfig {
		c := swarm.UpdateConfig{Parallelism: 1}
		if old := s.UpdateConfig; old != nil {
			c = *old
		}
		s.UpdateConfig = &c
		return &c
	}
	if name, ok := strings.CutPrefix(k, "label."); ok {
		s.Labels = maps.Clone(s.Labels)
		if s.Labels == nil {
			s.Labels = map[string]string{}
		}
		s.Labels[name] = v
		return
	}
	switch k {
	case "spread":
		s.TaskTemplate.Placement = &swarm.Placement{Preferences: []swarm.PlacementPreference{{Spread: &swarm.SpreadOver{SpreadDescriptor: v}}}}
	case "replicas":
		n := number()
		s.Mode.Replicated = &swarm.ReplicatedService{Replicas: &n}
	case "global":
		s.Mode = swarm.ServiceMode{Global: &swarm.GlobalService{}}
	case "completions":
		n := number()
		job(s).TotalCompletions = &n
	case "at-once":
		n := number()
		job(s).MaxConcurrent = &n
	case "global-job":
		s.Mode = swarm.ServiceMode{GlobalJob: &swarm.GlobalJob{}}
	case "constraint":
		if k, v2, ok := strings.Cut(v, ":"); ok {
			v = k + "==" + v2
		}
		s.TaskTemplate.Placement = &swarm.Placement{Constraints: []string{v}}
	case "label":
		s.Labels = map[string]string{"label": v}
	case "version":
		s.TaskTemplate.ForceUpdate = number()
	case "condition":
		policy().Condition = swarm.RestartPolicyCondition(v)
	case "delay":
		d := duration()
		policy().Delay = &d
	case "attempts":
		n := number()
		policy().MaxAttempts = &n
	case "window":
		d := duration()
		policy().Window = &d
	case "host-port":
		s.EndpointSpec = &swarm.EndpointSpec{Ports: []swarm.PortConfig{
			{TargetPort: 80, PublishedPort: uint32(number()), PublishMode: swarm.PortConfigPublishModeHost},
		}}
	case "grace":
		d := duration()
		containerSpec().StopGracePeriod = &d
	case "health-check":
		containerSpec().Healthcheck = &container.HealthConfig{Test: []string{"CMD", v}}
	case "parallelism":
		config().Parallelism = number()
	case "update-delay":
		config().Delay = duration()
	case "monitor":
		config().Monitor = duration()
	case "order":
		config().Order = v
	case "on-failure":
		config().FailureAction = v
	case "failure-ratio":
		f, err := strconv.ParseFloat(v, 32)
		if err != nil {
			panic(err)
		}
		config().MaxFailureRatio = float32(f)
	default:
		panic(fmt.Sprintf("unknown field %q", k))
	}
}
