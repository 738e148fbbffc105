package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/go-units"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

func serviceInspect(ctx context.Context, c *call) error {
	return c.inspect(c.args, func(ref string) (object, error) {
		s, raw, err := c.api().ServiceInspectWithRaw(ctx, ref, swarm.ServiceInspectOptions{InsertDefaults: true})
		if cerrdefs.IsNotFound(err) {
			err = fmt.Errorf("Error: no such service: %s", ref) //nolint:staticcheck // Docker's words
		}
		return object{raw, s}, err
	}, func(w io.Writer, v any) {
		s := v.(swarm.Service)
		canary, err := c.rollout(ctx, s)
		if err != nil {
			warn(c.err, []string{"where the update stands is not known: " + err.Error()})
		}
		printService(w, s, canary, c.networkNames(ctx, s), c.app.now())
	})
}

// networkNames resolves the networks a service is on; what is not found keeps its ID.
func (c *call) networkNames(ctx context.Context, s swarm.Service) []string {
	var names []string
	for _, n := range s.Spec.TaskTemplate.Networks {
		if found, err := c.api().NetworkInspect(ctx, n.Target, network.InspectOptions{Scope: "swarm"}); err == nil && found.Name != "" {
			names = append(names, found.Name)
		} else {
			names = append(names, n.Target)
		}
	}
	return names
}

// printService is service inspect --pretty.
func printService(w io.Writer, s swarm.Service, canary *api.Rollout, networks []string, now time.Time) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	task := s.Spec.TaskTemplate
	p("\nID:\t\t%s\nName:\t\t%s", s.ID, s.Spec.Name)
	printLabels(w, "Labels:", " ", s.Spec.Labels)
	mode := map[string]string{"global": "\tGlobal", "replicated": "\tReplicated", "replicated job": "\tReplicated Job", "global job": "\tGlobal Job"}
	p("Service Mode:%s", mode[modeName(s.Spec.Mode)])
	if r := s.Spec.Mode.Replicated; r != nil && r.Replicas != nil {
		p(" Replicas:\t%d", *r.Replicas)
	}
	if with := setting.PodOf(s.Spec.Labels); with != "" {
		p(" Pod of:\t%s", with)
	}
	if j := s.Spec.Mode.ReplicatedJob; j != nil && j.MaxConcurrent != nil && j.TotalCompletions != nil {
		p(" Max Concurrent:\t%d\n Completions:\t%d", *j.MaxConcurrent, *j.TotalCompletions)
	}
	printUpdateStatus(w, s.UpdateStatus, now)
	printCanary(w, canary)
	printPlacement(w, task.Placement)
	printRollout(w, "UpdateConfig", "Update order:      ", s.Spec.UpdateConfig)
	printRollout(w, "RollbackConfig", "Rollback order:    ", s.Spec.RollbackConfig)
	if task.ContainerSpec != nil {
		printContainer(w, task.ContainerSpec)
	}
	if task.LogDriver != nil {
		p("Log Driver:\n Name:\t\t%s", task.LogDriver.Name)
		if len(task.LogDriver.Options) > 0 {
			p(" LogOpts:")
			printMap(w, "  %s:       %s", task.LogDriver.Options)
		}
		p("")
	}
	printResources(w, task.Resources)
	if len(networks) > 0 {
		p("Networks: %s ", strings.Join(networks, " "))
	}
	printEndpoint(w, s)
	if task.ContainerSpec != nil && task.ContainerSpec.Healthcheck != nil {
		h := task.ContainerSpec.Healthcheck
		p(" Healthcheck:\n  Interval = %s\n  Retries = %d\n  StartPeriod =\t%s\n  Timeout =\t%s", h.Interval, h.Retries, h.StartPeriod, h.Timeout)
		if len(h.Test) > 0 {
			p("  Tests:\n\t Test = %s", strings.Join(h.Test, "\n\t Test = "))
		}
	}
	p("")
}

func printUpdateStatus(w io.Writer, u *swarm.UpdateStatus, now time.Time) {
	if u == nil || u.State == "" {
		return
	}
	fmt.Fprintf(w, "UpdateStatus:\n State:\t\t%s\n", u.State)
	if u.StartedAt != nil && !u.StartedAt.IsZero() {
		fmt.Fprintf(w, " Started:\t%s ago\n", units.HumanDuration(now.Sub(*u.StartedAt)))
	}
	if u.State == swarm.UpdateStateCompleted && u.CompletedAt != nil && !u.CompletedAt.IsZero() {
		fmt.Fprintf(w, " Completed:\t%s ago\n", units.HumanDuration(now.Sub(*u.CompletedAt)))
	}
	fmt.Fprintf(w, " Message:\t%s\n", u.Message)
}

func printPlacement(w io.Writer, pl *swarm.Placement) {
	fmt.Fprintln(w, "Placement:")
	if pl == nil {
		return
	}
	if len(pl.Constraints) > 0 {
		fmt.Fprintf(w, " Constraints:\t%s\n", pl.Constraints)
	}
	var prefs []string
	for _, p := range pl.Preferences {
		if p.Spread != nil {
			prefs = append(prefs, "spread="+p.Spread.SpreadDescriptor)
		}
	}
	if len(prefs) > 0 {
		fmt.Fprintf(w, " Preferences:   %s\n", prefs)
	}
	if pl.MaxReplicas > 0 {
		fmt.Fprintf(w, " Max Replicas Per Node:   %d\n", pl.MaxReplicas)
	}
}

func printRollout(w io.Writer, title, order string, u *swarm.UpdateConfig) {
	if u == nil {
		return
	}
	fmt.Fprintf(w, "%s:\n Parallelism:\t%d\n", title, u.Parallelism)
	if u.Delay > 0 {
		fmt.Fprintf(w, " Delay:\t\t%s\n", u.Delay)
	}
	fmt.Fprintf(w, " On failure:\t%s\n", u.FailureAction)
	if u.Monitor > 0 {
		fmt.Fprintf(w, " Monitoring Period: %s\n", u.Monitor)
	}
	fmt.Fprintf(w, " Max failure ratio: %v\n %s%s\n", u.MaxFailureRatio, order, u.Order)
}

func printContainer(w io.Writer, c *swarm.ContainerSpec) {
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	p("ContainerSpec:\n Image:\t\t%s", c.Image)
	if len(c.Args) > 0 {
		p(" Args:\t\t%s ", strings.Join(c.Args, " "))
	}
	if len(c.Env) > 0 {
		p(" Env:\t\t%s ", strings.Join(c.Env, " "))
	}
	if c.Dir != "" {
		p(" Dir:\t\t%s", c.Dir)
	}
	if c.Init != nil {
		p(" Init:\t\t%t", *c.Init)
	}
	if c.User != "" {
		p(" User: %s", c.User)
	}
	if len(c.CapabilityAdd)+len(c.CapabilityDrop) > 0 {
		p("Capabilities:")
	}
	if len(c.CapabilityAdd) > 0 {
		p(" Add: %s", strings.Join(c.CapabilityAdd, ", "))
	}
	if len(c.CapabilityDrop) > 0 {
		p(" Drop: %s", strings.Join(c.CapabilityDrop, ", "))
	}
	if len(c.Sysctls) > 0 {
		p("SysCtls:")
		printMap(w, " %s: %s", c.Sysctls)
	}
	if len(c.Ulimits) > 0 {
		p("Ulimits:")
		for _, u := range c.Ulimits {
			p(" %s: %d:%d", u.Name, u.Soft, u.Hard)
		}
	}
	printMounts(w, c.Mounts)
	if len(c.Configs) > 0 {
		p("Configs:")
	}
	for _, r := range c.Configs {
		if r.File != nil {
			p(" Target:\t%s\n  Source:\t%s", r.File.Name, r.ConfigName)
		}
	}
	if len(c.Secrets) > 0 {
		p("Secrets:")
	}
	for _, r := range c.Secrets {
		if r.File != nil {
			p(" Target:\t%s\n  Source:\t%s", r.File.Name, r.SecretName)
		}
	}
}

func printMounts(w io.Writer, mounts []mount.Mount) {
	if len(mounts) > 0 {
		fmt.Fprintln(w, "Mounts:")
	}
	for _, m := range mounts {
		fmt.Fprintf(w, " Target:\t%s\n  Source:\t%s\n  ReadOnly:\t%t\n  Type:\t\t%s\n", m.Target, m.Source, m.ReadOnly, m.Type)
	}
}

func printMap(w io.Writer, format string, m map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(w, format+"\n", k, m[k])
	}
}

func printResources(w io.Writer, r *swarm.ResourceRequirements) {
	if r == nil || r.Limits == nil && r.Reservations == nil {
		return
	}
	amounts := func(title string, cpu, memory int64) {
		if cpu <= 0 && memory <= 0 {
			return
		}
		fmt.Fprintf(w, " %s:\n", title)
		if cpu > 0 {
			fmt.Fprintf(w, "  CPU:\t\t%v\n", float64(cpu)/1e9)
		}
		if memory > 0 {
			fmt.Fprintf(w, "  Memory:\t%s\n", units.BytesSize(float64(memory)))
		}
	}
	fmt.Fprintln(w, "Resources:")
	if r.Reservations != nil {
		amounts("Reservations", r.Reservations.NanoCPUs, r.Reservations.MemoryBytes)
	}
	if r.Limits != nil {
		amounts("Limits", r.Limits.NanoCPUs, r.Limits.MemoryBytes)
		if r.Limits.Pids > 0 {
			fmt.Fprintf(w, "  PIDs:\t\t%d\n", r.Limits.Pids)
		}
	}
}

func printEndpoint(w io.Writer, s swarm.Service) {
	if s.Spec.EndpointSpec != nil {
		fmt.Fprintf(w, "Endpoint Mode:\t%s\n", s.Spec.EndpointSpec.Mode)
	}
	if len(s.Endpoint.Ports) > 0 {
		fmt.Fprintln(w, "Ports:")
	}
	for i, p := range s.Endpoint.Ports {
		end := ""
		if i == len(s.Endpoint.Ports)-1 {
			end = " " // Docker's template has it there
		}
		fmt.Fprintf(w, " PublishedPort = %d\n  Protocol = %s\n  TargetPort = %d\n  PublishMode = %s%s\n", p.PublishedPort, p.Protocol, p.TargetPort, p.PublishMode, end)
	}
}
