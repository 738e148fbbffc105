package rollout

import (
	"fmt"
	"slices"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/slot"
)

// begin says that the update has begun, and whether it takes the place of another.
func (u *update) begin() {
	message := "update in progress"
	left := func(sl slot.Slot) bool { return slices.ContainsFunc(sl.Live(), u.unfinished) }
	if u.service.UpdateStatus == nil && (slices.ContainsFunc(u.old, left) || slices.ContainsFunc(u.overlap, left)) {
		message += "; it takes the place of one that was not finished"
	}
	u.report(swarm.UpdateStateUpdating, message, u.now)
}

func (u *update) report(s swarm.UpdateState, message string, started time.Time) {
	u.out.Update = &state.SetUpdateStatus{
		ID:     u.service.ID,
		Status: &swarm.UpdateStatus{State: s, StartedAt: &started, Message: message},
	}
}

// tellHeld says in the update's message that it stands still, and why, or that it
// goes on: nothing else shows it, where there are no new tasks.
func (u *update) tellHeld() {
	status := u.service.UpdateStatus
	if u.out.Update != nil {
		status = u.out.Update.Status
	} else if !moves(u.service) {
		return
	}
	waits := ""
	if u.held {
		waits = u.waits
	}
	message := api.WithHeld(status.Message, waits)
	if message == status.Message {
		return
	}
	next := *status
	next.Message = message
	u.out.Update = &state.SetUpdateStatus{ID: u.service.ID, Status: &next}
}

// pause stops the update where it stands, and why is the end of a sentence. The
// slots that are under way are finished by the reconciler: they have a task, and
// it is restarted as any other.
func (u *update) pause(why string) {
	s, verb := swarm.UpdateStatePaused, "update"
	if rollingBack(u.service) {
		s, verb = swarm.UpdateStateRollbackPaused, "rollback"
	}
	u.end(s, verb+" paused"+why, nil)
}

// rollBack has the service go back to its spec before the update. It is an
// update of its own: failures until now are not held against it.
func (u *update) rollBack(why string) {
	u.report(swarm.UpdateStateRollbackStarted, "update rolled back"+why, u.now)
	u.out.Update.RollBackFrom = u.service.SpecVersion
	if u.service.Canary != nil {
		u.out.Update.Canary = u.canary("", u.hiddenAfterRollback()...)
	}
}

func (u *update) complete() {
	s, message := swarm.UpdateStateCompleted, "update completed"
	if rollingBack(u.service) {
		s, message = swarm.UpdateStateRollbackCompleted, "rollback completed"
	}
	switch {
	case u.apart == 1:
		message += "; 1 node is down or paused and gets this version when it is back"
	case u.apart > 1:
		message += fmt.Sprintf("; %d nodes are down or paused and get this version when they are back", u.apart)
	}
	u.end(s, message, &u.now)
	if u.service.Canary != nil || len(u.service.Hidden) > 0 {
		u.out.Update.Canary = u.canary("")
	}
}

func (u *update) end(s swarm.UpdateState, message string, completed *time.Time) {
	next := swarm.UpdateStatus{State: s, Message: message, CompletedAt: completed}
	if was := u.service.UpdateStatus; was != nil {
		next.StartedAt = was.StartedAt
	}
	u.out.Update = &state.SetUpdateStatus{ID: u.service.ID, Status: &next}
}
