package worker

import (
	"strings"
	"testing"
	"time"

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
		"new":                         {on(true, run, assigned, nil, unknown), create, api.TaskPreparing, ""},
		"new, to wait":                {on(true, ready, assigned, nil, unknown), create, api.TaskPreparing, ""},
		"new, not wanted any more":    {on(true, shutdown, assigned, nil, unknown), rest, shutdown, ""},
		"created, to run":             {on(true, run, assigned, created, unknown), start, api.TaskStarting, ""},
		"created, to wait":            {on(true, ready, assigned, created, unknown), rest, ready, ""},
		"created, not wanted":         {on(true, shutdown, ready, created, unknown), rest, shutdown, ""},
		"created, job":                {on(true, complete, ready, created, unknown), start, api.TaskStarting, ""},
		"running":                     {on(true, run, assigned, running, unknown), rest, run, ""},
		"running, no verdict yet":     {on(true, run, assigned, checking, unknown), rest, api.TaskStarting, ""},
		"running, healthy":            {on(true, run, assigned, healthy, unknown), rest, run, ""},
		"running, unhealthy":          {on(true, run, run, unhealthy, unknown), stop, api.TaskFailed, "task: unhealthy container"},
		"running, not wanted":         {on(true, shutdown, run, running, unknown), stop, none, ""},
		"running, service gone":       {on(true, api.TaskRemove, run, running, unknown), stop, none, ""},
		"running, has failed":         {on(true, run, api.TaskFailed, running, unknown), stop, none, ""},
		"running, given up":           {on(true, run, api.TaskOrphaned, running, unknown), stop, none, ""},
		"running, left the store":     {on(false, 0, run, running, unknown), stop, none, ""},
		"ended, left the store":       {on(false, 0, run, zero, unknown), remove, none, ""},
		"created, left the store":     {on(false, 0, ready, created, unknown), remove, none, ""},
		"nothing, left the store":     {on(false, 0, run, nil, unknown), forget, none, ""},
		"gone":                        {on(true, run, run, nil, unknown), rest, api.TaskFailed, "task: container is gone: it was removed behind the cluster's back"},
		"gone before it ran":          {on(true, run, ready, nil, unknown), rest, api.TaskFailed, "task: container is gone: it was removed behind the cluster's back"},
		"gone, not wanted":            {on(true, shutdown, run, nil, unknown), rest, shutdown, ""},
		"ended with 0, watched":       {on(true, run, run, zero, byItself), rest, complete, ""},
		"ended with 0, unknown":       {on(true, run, run, zero, unknown), ask, none, ""},
		"ended with 0, with engine":   {on(true, run, run, zero, byForce), rest, api.TaskFailed, "task: stopped with its engine or by hand (exit 0)"},
		"job ended with 0":            {on(true, complete, run, zero, byItself), rest, complete, ""},
		"job ended with 1":            {on(true, complete, run, one, unknown), rest, api.TaskFailed, "task: non-zero exit (1)"},
		"ended with 1":                {on(true, run, run, one, unknown), rest, api.TaskFailed, "task: non-zero exit (1)"},
		"ended with 1, not wanted":    {on(true, shutdown, run, one, byItself), rest, shutdown, ""},
		"ended for want of memory":    {on(true, run, run, oom, byItself), rest, api.TaskFailed, "task: non-zero exit (137): killed by the kernel: out of memory"},
		"ended with the engine's no":  {on(true, run, run, broken, byItself), rest, api.TaskFailed, "task: non-zero exit (127): no such file"},
		"sidecar, new":                {view{assigned: true, desired: run, state: assigned, pod: podAwaited}, rest, api.TaskPreparing, "waiting for the container that it is a sidecar of"},
		"sidecar, too late":           {view{assigned: true, desired: run, state: assigned, pod: podOver}, rest, api.TaskPreparing, "the container that it is a sidecar of has ended"},
		"sidecar, its pod is made":    {view{assigned: true, desired: run, state: assigned, pod: podMade}, create, api.TaskPreparing, ""},
		"sidecar, created":            {view{assigned: true, desired: run, state: assigned, container: created, pod: podMade}, rest, ready, "waiting for the container that it is a sidecar of"},
		"sidecar, its pod runs":       {view{assigned: true, desired: run, state: ready, container: created, pod: podRuns}, start, api.TaskStarting, ""},
		"sidecar, not wanted":         {view{assigned: true, desired: shutdown, state: ready, container: created, pod: podMade}, rest, shutdown, ""},
		"sidecar, without its pod":    {view{assigned: true, desired: run, state: run, container: running, pod: podOver}, rest, run, ""},
		"joined":                      {joined(run, running, ""), attach, none, ""},
		"joined, attached":            {joined(run, running, "attached"), rest, run, ""},
		"joined, no verdict yet":      {joined(run, checking, ""), attach, none, ""},
		"joined, unhealthy":           {joined(run, unhealthy, ""), stop, api.TaskFailed, "task: unhealthy container"},
		"joined, serves":              {joined(shutdown, running, "attached held"), rest, none, ""},
		"joined, served":              {joined(shutdown, running, "attached"), stop, none, ""},
		"joined, serves, ended":       {joined(shutdown, one, "held"), rest, shutdown, ""},
		"joined, never served":        {view{assigned: true, desired: shutdown, state: api.TaskStarting, container: checking, networks: true, held: true}, stop, none, ""},
		"joined, left the store":      {view{desired: run, state: run, container: running, networks: true, held: true}, stop, none, ""},
		"joined, given up":            {view{assigned: true, desired: shutdown, state: api.TaskOrphaned, container: running, networks: true, held: true}, stop, none, ""},
		"joined, new":                 {view{assigned: true, desired: run, state: assigned, networks: true}, prepare, api.TaskPreparing, ""},
		"joined, prepared":            {view{assigned: true, desired: run, state: assigned, networks: true, prepared: true}, create, api.TaskPreparing, ""},
		"joined, half made":           {joined(run, created, ""), prepare, none, ""},
		"joined, half made, prepared": {joined(run, created, "prepared"), create, none, ""},
		"joined, half made, unwanted": {joined(shutdown, created, ""), rest, shutdown, ""},
		"joined, made":                {joined(run, created, "made"), start, api.TaskStarting, ""},
		"files, new":                  {on(true, run, assigned, nil, unknown).with(""), create, api.TaskPreparing, ""},
		"files, not here":             {on(true, run, assigned, nil, unknown).with("waits"), rest, api.TaskPreparing, `waiting for secret "key": no manager has sent it yet`},
		"files, not here, unwanted":   {on(true, shutdown, assigned, nil, unknown).with("waits"), rest, shutdown, ""},
		"files, gone":                 {on(true, run, assigned, nil, unknown).with("gone"), rest, api.TaskRejected, `secret "key" has been removed from the cluster: update the service to use another one`},
		"files, made before":          {on(true, run, ready, created, unknown).with(""), create, none, ""},
		"files, made before, gone":    {on(true, run, ready, created, unknown).with("gone"), rest, api.TaskRejected, `secret "key" has been removed from the cluster: update the service to use another one`},
		"files, made":                 {on(true, run, ready, created, unknown).with("made"), start, api.TaskStarting, ""},
		"files, joined, new":          {view{assigned: true, desired: run, state: assigned, networks: true}.with("waits"), rest, api.TaskPreparing, `waiting for secret "key": no manager has sent it yet`},
		"files, running, gone":        {on(true, run, run, running, unknown).with("gone"), rest, run, ""},
		"ended and reported":          {on(true, run, api.TaskFailed, one, byItself), rest, none, ""},
		"cut off":                     {cut(on(true, run, run, running, unknown)), stop, none, ""},
		"cut off, serves":             {cut(joined(shutdown, running, "attached held")), stop, none, ""},
		"cut off, unhealthy":          {cut(on(true, run, run, unhealthy, unknown)), stop, none, ""},
		"cut off, created":            {cut(on(true, run, ready, created, unknown)), rest, none, ""},
		"cut off, created, to wait":   {cut(on(true, ready, assigned, created, unknown)), rest, ready, ""},
		"cut off, left the store":     {cut(on(false, 0, run, running, unknown)), stop, none, ""},
		"cut off, ended by itself":    {cut(on(true, run, run, one, byItself)), rest, api.TaskFailed, "task: non-zero exit (1)"},
		"heard again, still stopping": {stopped(on(true, run, run, running, unknown)), stop, none, ""},
		"stopped itself":              {stopped(on(true, run, run, zero, byForce)), rest, shutdown, "stopped: cut off from the managers for 10s"},
		"stopped itself, was killed":  {stopped(on(true, run, run, oom, byForce)), rest, shutdown, "stopped: cut off from the managers for 10s"},
		"stopped itself, not wanted":  {stopped(on(true, shutdown, run, zero, byForce)), rest, shutdown, ""},
		"alone, runs":                 {view{alone: true, container: running}, rest, none, ""},
		"alone, ended":                {view{alone: true, container: zero, selfStop: 10 * time.Second, cutOff: true, selfStopped: true}, rest, none, ""},
		"alone, nothing":              {view{alone: true}, rest, none, ""},
		"alone, cut off":              {view{alone: true, container: running, selfStop: 10 * time.Second, cutOff: true}, stop, none, ""},
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

// on is a view of a task that is on no networks.
func on(assigned bool, desired, state api.TaskState, c *docker.Container, exit cause) view {
	return view{assigned: assigned, desired: desired, state: state, container: c, exit: exit}
}

// with is a view of a task that has a secret.
func (v view) with(is string) view {
	v.files, v.made = true, is == "made"
	switch is {
	case "waits":
		v.waits = `secret "key"`
	case "gone":
		v.gone = `secret "key"`
	}
	return v
}

// cut is a view of a task whose container is to stop itself; stopped, of one
// where it was told to.
func cut(v view) view {
	v.selfStop, v.cutOff = 10*time.Second, true
	return v
}

func stopped(v view) view {
	v.selfStop, v.selfStopped = 10*time.Second, true
	return v
}

// joined is a view of a task that runs on networks of the cluster.
func joined(desired api.TaskState, c *docker.Container, is string) view {
	return view{
		assigned: true, desired: desired, state: api.TaskRunning, container: c, networks: true,
		prepared: strings.Contains(is, "prepared"), made: strings.Contains(is, "made"), attached: strings.Contains(is, "attached"), held: strings.Contains(is, "held"),
	}
}
