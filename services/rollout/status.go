package rollout

import (
	"fmt"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// report says that the update has begun.
func (u *update) report(s swarm.UpdateState, message string, started time.Time) {
	u.out.Update = &state.SetUpdateStatus{
		ID:     u.service.ID,
		Status: &swarm.UpdateStatus{State: s, StartedAt: &started, Message: message},
	}
}

// pause stops the update where it stands. The slots that are under way are
// finished by the reconciler: they have a task, and it is restarted as any other.
func (u *update) pause(t *api.Task) {
	s, verb := swarm.UpdateStatePaused, "update"
	if rollingBack(u.service) {
		s, verb = swarm.UpdateStateRollbackPaused, "rollback"
	}
	u.end(s, fmt.Sprintf("%s paused due to failure or early termination of task %s", verb, t.ID), nil)
}

// rollBack has the service go back to its spec before the update. It is an
// update of its own: failures until now are not held against it.
func (u *update) rollBack(t *api.Task) {
	u.report(swarm.UpdateStateRollbackStarted, fmt.Sprintf("update rolled back due to failure or early termination of task %s", t.ID), u.now)
	u.out.Update.RollBackFrom = u.service.SpecVersion
}

func (u *update) complete() {
	s, message := swarm.UpdateStateCompleted, "update completed"
	if rollingBack(u.service) {
		s, message = swarm.UpdateStateRollbackCompleted, "rollback completed"
	}
	u.end(s, message, &u.now)
}

func (u *update) end(s swarm.UpdateState, message string, completed *time.Time) {
	next := swarm.UpdateStatus{State: s, Message: message, CompletedAt: completed}
	if was := u.service.UpdateStatus; was != nil {
		next.StartedAt = was.StartedAt
	}
	u.out.Update = &state.SetUpdateStatus{ID: u.service.ID, Status: &next}
}
