package docker

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

func fromInspect(r *container.InspectResponse) Container {
	c := Container{ID: r.ID, Name: strings.TrimPrefix(r.Name, "/"), State: Exited}
	if r.Config != nil {
		c.Task, c.SelfStop = api.TaskID(r.Config.Labels[api.LabelOurTask]), setting.SelfStopOf(r.Config.Labels)
	}
	if s := r.State; s != nil {
		c.PID, c.ExitCode, c.OOM, c.Error = s.Pid, s.ExitCode, s.OOMKilled, s.Error
		c.EndedAt, _ = time.Parse(time.RFC3339Nano, s.FinishedAt)
		switch {
		case s.Running || s.Paused || s.Restarting:
			c.State = Running
		case s.Status == container.StateCreated:
			c.State = Created
		}
		if s.Health != nil {
			c.Health = healthOf(s.Health.Status)
		}
	}
	if r.NetworkSettings != nil {
		c.Ports = portsOf(r.NetworkSettings.Ports)
	}
	return c
}

func healthOf(status string) Health {
	switch status {
	case container.Starting:
		return Checking
	case container.Healthy:
		return Healthy
	case container.Unhealthy:
		return Unhealthy
	}
	return NoCheck
}

// portsOf lists each published port once. The engine binds IPv4 and IPv6 apart:
// mostly to the same port, but where it chose one for each they may differ.
func portsOf(m nat.PortMap) []api.PortStatus {
	var out []api.PortStatus
	for port, bindings := range m {
		for _, b := range bindings {
			published, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err != nil {
				continue
			}
			out = append(out, api.PortStatus{Protocol: port.Proto(), Target: uint32(port.Int()), Published: uint32(published)})
		}
	}
	slices.SortFunc(out, func(a, b api.PortStatus) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Published, b.Published))
	})
	return slices.Compact(out)
}
