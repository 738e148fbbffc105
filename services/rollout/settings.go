package rollout

import (
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// defaultMonitor is Docker's: for how long a new task is watched for failure.
const defaultMonitor = 5 * time.Second

// settings are those of the update, or of the rollback that is under way.
func settings(s *api.Service) swarm.UpdateConfig {
	cfg, given := swarm.UpdateConfig{Parallelism: 1}, s.Spec.UpdateConfig
	if rollingBack(s) {
		given = s.Spec.RollbackConfig
	}
	if given != nil {
		cfg = *given
	}
	if cfg.Monitor <= 0 {
		cfg.Monitor = defaultMonitor
	}
	if oneAtATime(&s.Spec) {
		cfg.Order = swarm.UpdateOrderStopFirst
	}
	return cfg
}

// oneAtATime reports whether two tasks of a slot cannot, or must not, run at
// the same time: they would want the same port of a host, or of a pod, or the
// service is one whose task stops itself where it may not be the only one.
func oneAtATime(s *api.ServiceSpec) bool {
	if task, err := setting.Parse(s.Labels); err == nil && (task.SelfStop > 0 || task.Pod != "") {
		return true
	}
	if s.EndpointSpec == nil {
		return false
	}
	for _, p := range s.EndpointSpec.Ports {
		if onHostNetwork(s) || p.PublishMode == swarm.PortConfigPublishModeHost && p.PublishedPort != 0 {
			return true
		}
	}
	return false
}

func onHostNetwork(s *api.ServiceSpec) bool {
	for _, n := range s.TaskTemplate.Networks {
		if n.Target == network.NetworkHost {
			return true
		}
	}
	return false
}

func rollingBack(s *api.Service) bool {
	return s.UpdateStatus != nil && s.UpdateStatus.State == swarm.UpdateStateRollbackStarted
}

// UnderWay reports whether the service says that it is being updated, or rolled
// back, or has a canary that waits: how its tasks fare matters to the rollout.
func UnderWay(s *api.Service) bool { return moves(s) || waits(s) }

// moves reports whether tasks are being replaced until it is done.
func moves(s *api.Service) bool {
	return s.UpdateStatus != nil && (s.UpdateStatus.State == swarm.UpdateStateUpdating || rollingBack(s))
}

// waits reports whether the service has a canary that is in its place.
func waits(s *api.Service) bool {
	return s.Canary.Stands() && s.Canary.Phase != api.CanaryPlacing
}

// Stopped reports whether the update waits for the user: the API clears the
// status with the next change of the spec. A canary that waits says the same
// of itself, and is kept as it is.
func Stopped(s *api.Service) bool {
	return s.UpdateStatus != nil && !waits(s) &&
		(s.UpdateStatus.State == swarm.UpdateStatePaused || s.UpdateStatus.State == swarm.UpdateStateRollbackPaused)
}
