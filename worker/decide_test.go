package worker

import (
	"testing"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/worker/docker"
)

func TestDecide(t *testing.T) {
	created := &docker.Container{State: docker.Created}
	running := &docker.Container{State: docker.Running}
	checking := &docker.Container{State: docker.Running, Health: docker.Checking}
	healthy := &docker.Container{State: docker.Running, Health: docker.Healthy}
	unhealthy := &docker.Container{State: docker.Running, Health: docker.Unhealthy}
	zero := &docker.Container{State: docker.Exited}
	one := &docker.Container{State: docker.Exited, ExitCode: 1}
	oom := &docker.Container{State: docker.Exited, ExitCode: 137, OOM: true}
	broken := &docker.Container{State: docker.Exited, ExitCode: 127, Error: "no such file"}
	const (
		none     = api.TaskNew
		assigned = api.TaskAssigned
		ready    = api.TaskReady
		run      = api.TaskRunning
		complete = api.TaskComplete
		shutdown = api.TaskShutdown
	)
	for name, c := range map[string]struct {
		v     view
		act   action
		state api.TaskState // none: no status
		err   string
	}{
		"new":                        {view{true, run, assigned, nil, unknown}, create, api.TaskPreparing, ""},
		"new, to wait":               {view{true, ready, assigned, nil, unknown}, create, api.TaskPreparing, ""},
		"new, not wanted any more":   {view{true, shutdown, assigned, nil, unknown}, rest, shutdown, ""},
		"created, to run":            {view{true, run, assigned, created, unknown}, start, api.TaskStarting, ""},
		"created, to wait":           {view{true, ready, assigned, created, unknown}, rest, ready, ""},
		"created, not wanted":        {view{true, shutdown, ready, created, unknown}, rest, shutdown, ""},
		"created, job":               {view{true, complete, ready, created, unknown}, start, api.TaskStarting, ""},
		"running":                    {view{true, run, assigned, running, unknown}, rest, run, ""},
		"running, no verdict yet":    {view{true, run, assigned, checking, unknown}, rest, api.TaskStarting, ""},
		"running, healthy":           {view{true, run, assigned, healthy, unknown}, rest, run, ""},
		"running, unhealthy":         {view{true, run, run, unhealthy, unknown}, stop, api.TaskFailed, "task: unhealthy container"},
		"running, not wanted":        {view{true, shutdown, run, running, unknown}, stop, none, ""},
		"running, service gone":      {view{true, api.TaskRemove, run, running, unknown}, stop, none, ""},
		"running, has failed":        {view{true, run, api.TaskFailed, running, unknown}, stop, none, ""},
		"running, given up":          {view{true, run, api.TaskOrphaned, running, unknown}, stop, none, ""},
		"running, left the store":    {view{false, 0, run, running, unknown}, stop, none, ""},
		"ended, left the store":      {view{false, 0, run, zero, unknown}, remove, none, ""},
		"created, left the store":    {view{false, 0, ready, created, unknown}, remove, none, ""},
		"nothing, left the store":    {view{false, 0, run, nil, unknown}, forget, none, ""},
		"gone":                       {view{true, run, run, nil, unknown}, rest, api.TaskFailed, "task: container is gone: it was removed behind the cluster's back"},
		"gone before it ran":         {view{true, run, ready, nil, unknown}, rest, api.TaskFailed, "task: container is gone: it was removed behind the cluster's back"},
		"gone, not wanted":           {view{true, shutdown, run, nil, unknown}, rest, shutdown, ""},
		"ended with 0, watched":      {view{true, run, run, zero, byItself}, rest, complete, ""},
		"ended with 0, unknown":      {view{true, run, run, zero, unknown}, ask, none, ""},
		"ended with 0, with engine":  {view{true, run, run, zero, byForce}, rest, api.TaskFailed, "task: stopped with its engine or by hand (exit 0)"},
		"job ended with 0":           {view{true, complete, run, zero, byItself}, rest, complete, ""},
		"job ended with 1":           {view{true, complete, run, one, unknown}, rest, api.TaskFailed, "task: non-zero exit (1)"},
		"ended with 1":               {view{true, run, run, one, unknown}, rest, api.TaskFailed, "task: non-zero exit (1)"},
		"ended with 1, not wanted":   {view{true, shutdown, run, one, byItself}, rest, shutdown, ""},
		"ended for want of memory":   {view{true, run, run, oom, byItself}, rest, api.TaskFailed, "task: non-zero exit (137): killed by the kernel: out of memory"},
		"ended with the engine's no": {view{true, run, run, broken, byItself}, rest, api.TaskFailed, "task: non-zero exit (127): no such file"},
		"ended and reported":         {view{true, run, api.TaskFailed, one, byItself}, rest, none, ""},
	} {
		d := decide(&c.v)
		var state api.TaskState
		var err string
		if d.status != nil {
			state, err = d.status.State, d.status.Err
		}
		if d.act != c.act || state != c.state || err != c.err {
			t.Errorf("%s: %v, %v %q; want %v, %v %q", name, d.act, state, err, c.act, c.state, c.err)
		}
	}
}
