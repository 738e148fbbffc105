package dockerapi

import (
	"slices"
	"strconv"
	"strings"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// execTask returns the task that a command is for, whose container runs as far
// as the state knows. ref is a service that runs one task alone, or what
// findTask takes.
func execTask(view *state.View, ref string) (t *api.Task, err error) {
	if s := serviceNamed(view, ref); s != nil {
		t, err = onlyTask(view, s)
	} else {
		t, err = findTask(view, ref, speaksForCommands)
	}
	if err == nil {
		err = mayExec(view, t)
	}
	return t, err
}

func serviceNamed(view *state.View, ref string) *api.Service {
	if s := view.ServiceByName(ref); s != nil {
		return s
	}
	return view.Service(api.ServiceID(ref))
}

// onlyTask returns the one task of a service that runs, or else, where none
// does, the one that says best why.
func onlyTask(view *state.View, s *api.Service) (*api.Task, error) {
	var run []*api.Task
	var best *api.Task
	for t := range view.ServiceTasks(s.ID) {
		if runsContainer(t) && t.Live() {
			run = append(run, t)
		}
		if best == nil || speaksForCommands(t, best) {
			best = t
		}
	}
	switch {
	case len(run) > 1:
		return nil, api.Errorf(api.CodeInvalid, "service %s has %d running tasks: name one of %s", s.Name(), len(run), strings.Join(places(view, run), ", "))
	case len(run) == 1:
		return run[0], nil
	case best == nil:
		return nil, api.Errorf(api.CodeConflict, "service %s has no task", s.Name())
	}
	return best, nil
}

// maxPlaces is how many places an error names.
const maxPlaces = 20

func places(view *state.View, tasks []*api.Task) []string {
	slices.SortFunc(tasks, func(a, b *api.Task) int { return a.Slot - b.Slot })
	var names []string
	for _, t := range tasks {
		names = append(names, placeOf(view, t))
	}
	if tasks[0].Slot == 0 {
		slices.Sort(names)
	}
	if len(names) > maxPlaces {
		names = append(names[:maxPlaces], "...")
	}
	return names
}

// placeOf is web.1, or agent.h3 of a global service.
func placeOf(view *state.View, t *api.Task) string {
	name := strings.TrimSuffix(view.TaskName(t), "."+string(t.ID))
	if t.Slot > 0 {
		return name
	}
	return strings.TrimSuffix(name, "."+string(t.NodeID)) + "." + nodeName(view, t.NodeID)
}

// runsContainer reports whether a task has a container that runs, one that is
// not healthy yet included: that is when people want to look into it most.
func runsContainer(t *api.Task) bool {
	return t.Status.Container != nil && t.Status.Container.ID != "" && t.NodeID != "" &&
		(t.Status.State == api.TaskStarting || t.Status.State == api.TaskRunning)
}

// speaksForCommands is newer, except that a task whose container runs goes
// first: while an update starts a slot's next task, its last one still serves.
func speaksForCommands(a, b *api.Task) bool {
	if runsContainer(a) != runsContainer(b) {
		return runsContainer(a)
	}
	return newer(a, b)
}

// mayExec says why no command can run in a task's container.
func mayExec(view *state.View, t *api.Task) error {
	name := view.TaskName(t)
	if !runsContainer(t) {
		return api.Errorf(api.CodeConflict, "task %s does not run: %s", name, stands(t))
	}
	if n := view.Node(t.NodeID); n == nil || n.Status.State == api.NodeDown {
		return api.Errorf(api.CodeUnavailable, "task %s is out of reach: its node, %s, is down", name, nodeName(view, t.NodeID))
	}
	return nil
}

// stands is a task's state with what is known of why.
func stands(t *api.Task) string {
	text := "it is " + t.Status.State.String()
	if t.Status.State.Terminal() && t.Status.Container != nil && t.Status.Err == "" {
		text += ", exit code " + strconv.FormatInt(int64(t.Status.Container.ExitCode), 10)
	}
	for _, why := range []string{t.Status.Err, t.RestartNote()} {
		if why != "" {
			return text + ": " + why
		}
	}
	return text
}
