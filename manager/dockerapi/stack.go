package dockerapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// stackAttempts is how often a change of a stack is worked out anew because
// something that it needs was taken meanwhile, such as a subnet.
const stackAttempts = 5

// stackDeploy makes a stack what the request says, in one command: all of it,
// or nothing. What is so already is not written.
func (a *API) stackDeploy(w http.ResponseWriter, r *http.Request) error {
	return a.deployStack(w, r, a.propose)
}

// stackDryRun answers as stackDeploy would, and writes nothing.
func (a *API) stackDryRun(w http.ResponseWriter, r *http.Request) error {
	return a.deployStack(w, r, func(r *http.Request, ops ...state.Op) error {
		return a.cfg.Store.Rehearse(r.Context(), a.command(ops))
	})
}

func (a *API) deployStack(w http.ResponseWriter, r *http.Request, commit committer) error {
	var req api.StackRequest
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	return a.changeStack(w, r, commit, func(c *stackChange) error {
		c.cause = api.StackFromFile
		c.digest, c.file = req.Digest, req.File
		return c.deploy(&req)
	})
}

// stackRollback makes a stack what an earlier deploy wanted.
func (a *API) stackRollback(w http.ResponseWriter, r *http.Request) error {
	var req api.StackRollback
	if err := readJSON(w, r, &req); err != nil {
		return err
	}
	return a.changeStack(w, r, a.propose, func(c *stackChange) error { return c.rollBack(&req) })
}

func (a *API) stackStop(w http.ResponseWriter, r *http.Request) error {
	return a.changeStack(w, r, a.propose, func(c *stackChange) error { return c.pause(true) })
}

func (a *API) stackStart(w http.ResponseWriter, r *http.Request) error {
	return a.changeStack(w, r, a.propose, func(c *stackChange) error { return c.pause(false) })
}

// committer carries operations out, all or none.
type committer func(*http.Request, ...state.Op) error

// changeStack works a change out against the state as it is, and commits it. It
// does so anew where something came between the two; what the request itself
// counts on is refused then if it has changed.
func (a *API) changeStack(w http.ResponseWriter, r *http.Request, commit committer, decide func(*stackChange) error) error {
	name := r.PathValue("name")
	if err := checkStackName(name); err != nil {
		return err
	}
	images := a.images(r)
	for attempt := 1; ; attempt++ {
		view, err := a.read(r)
		if err != nil {
			return err
		}
		c := newStackChange(a, view, name, images)
		if err := decide(c); err != nil {
			return err
		}
		if len(c.ops) > 0 {
			err = commit(r, c.ops...)
		}
		again := errors.Is(err, api.ErrOutdated) || errors.Is(err, api.ErrConflict)
		switch {
		case again && attempt < stackAttempts:
			continue
		case err != nil:
			return fmt.Errorf("stack %s: %w", name, err)
		}
		return writeJSON(w, http.StatusOK, c.answer)
	}
}

// checkStackName refuses what Docker's stacks cannot be called.
func checkStackName(name string) error {
	if strings.TrimSpace(name) == "" || strings.ContainsAny(name, "/ \t\r\n\"'") {
		return api.Errorf(api.CodeInvalid, "invalid stack name: %q", name)
	}
	return nil
}

// stackInspect answers what is remembered of a stack.
func (a *API) stackInspect(w http.ResponseWriter, r *http.Request) error {
	view, err := a.read(r)
	if err != nil {
		return err
	}
	s, err := rememberedStack(view, r.PathValue("name"))
	if err != nil {
		return err
	}
	out := *s
	out.Deploys = slices.Clone(s.Deploys)
	out.Current().Outcome = stackOutcome(view, s.Name)
	return writeJSON(w, http.StatusOK, out)
}

// rememberedStack is what is remembered of a stack, or why nothing is.
func rememberedStack(view *state.View, name string) (*api.Stack, error) {
	if s := view.Stack(name); s.Current() != nil {
		return s, nil
	}
	for range view.StackServices(name) {
		return nil, api.Errorf(api.CodeNotFound, "stack %s has no history: it was deployed service by service, as docker's command line does it: deploy it once with `swarmctl stack deploy`, which remembers this and what comes", name)
	}
	return nil, api.Errorf(api.CodeNotFound, "stack %s not found", name)
}

// stackOutcome says how far the deploy in force has come.
func stackOutcome(view *state.View, name string) string {
	var failed, back, open, stopped []string
	count := 0
	for s := range view.StackServices(name) {
		count++
		status := serviceStatus(view, s)
		u := swarm.UpdateState("")
		if s.UpdateStatus != nil {
			u = s.UpdateStatus.State
		}
		switch {
		case s.Stopped():
			stopped = append(stopped, s.Name())
		case s.Canary.Stands() || u == swarm.UpdateStateUpdating || u == swarm.UpdateStateRollbackStarted:
			open = append(open, s.Name())
		case u == swarm.UpdateStatePaused || u == swarm.UpdateStateRollbackPaused:
			failed = append(failed, s.Name())
		case u == swarm.UpdateStateRollbackCompleted:
			back = append(back, s.Name())
		case !s.IsJob() && status.RunningTasks < status.DesiredTasks:
			open = append(open, s.Name())
		}
	}
	for _, o := range []struct {
		what string
		who  []string
	}{{"paused", failed}, {"rolled back", back}, {"unfinished", open}} {
		if len(o.who) > 0 {
			return o.what + ": " + strings.Join(o.who, ", ")
		}
	}
	if len(stopped) > 0 && len(stopped) == count {
		return "stopped"
	}
	return "completed"
}

// packContent is what a deploy wanted, in the form in which it is stored.
func packContent(c *api.StackContent) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(c); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// unpackContent is the inverse of packContent.
func unpackContent(data []byte) (*api.StackContent, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(z)
	if err != nil {
		return nil, err
	}
	var c api.StackContent
	return &c, json.Unmarshal(text, &c)
}

// sameSpec reports whether two specs that are normalised say the same; the order
// of networks says nothing.
func sameSpec(a, b *api.ServiceSpec) bool {
	return bytes.Equal(canonical(a), canonical(b))
}

func canonical(s *api.ServiceSpec) []byte {
	c := *s
	c.TaskTemplate.Networks = slices.Clone(c.TaskTemplate.Networks)
	slices.SortFunc(c.TaskTemplate.Networks, func(a, b swarm.NetworkAttachmentConfig) int { return strings.Compare(a.Target, b.Target) })
	servicespec.Normalise(&c)
	data, err := json.Marshal(&c)
	if err != nil {
		panic(err) // plain data: it cannot fail
	}
	return data
}
