package cli

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/go-units"

	"github.com/swarmctl/swarmctl/api"
)

func promoteVerb() verb {
	return verb{
		name: "promote", args: "SERVICE", usage: "Promote the canary of a service", min: 1, max: 1, do: servicePromote,
		flags: []*opt{detachFlag(), quietFlag("Suppress progress output"), timeoutFlag()},
		long: "The other tasks follow, as in any update. Of a blue-green update (a canary of 100%) the new version gets\n" +
			"all connections in one step, and the old one is kept: promote once more to be rid of it, or roll back.\n\n" + exitCodes,
	}
}

func servicePromote(ctx context.Context, c *call) error {
	ref := c.args[0]
	var seen api.Rollout
	if err := c.askJSON(ctx, servicePath(ref, "rollout"), &seen); err != nil {
		return err
	}
	// What changes the service meanwhile may be the canary that goes on by itself.
	path := servicePath(ref, "promote") + "?" + url.Values{"phase": {string(seen.Phase)}}.Encode()
	var err error
	for range attempts {
		if _, err = c.post(ctx, path); !isOutdated(err) {
			break
		}
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, ref)
	return c.wait(ctx, ref, c.flags.yes("quiet"))
}

// servicePath is the path of what is ours to ask about a service.
func servicePath(ref, what string) string {
	return "/swarmctl/services/" + url.PathEscape(ref) + "/" + what
}

// rollout asks where a service stands that says it is being updated; nil for
// others, whose tasks say it all.
func (c *call) rollout(ctx context.Context, s swarm.Service) (*api.Rollout, error) {
	if u := s.UpdateStatus; u == nil || u.State != swarm.UpdateStateUpdating && u.State != swarm.UpdateStatePaused {
		return nil, nil
	}
	var r api.Rollout
	if err := c.askJSON(ctx, servicePath(s.ID, "rollout"), &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// heldBar says what a canary waits for.
func heldBar(name string, r *api.Rollout) bar {
	where, forth, back := fmt.Sprintf("%d of %d replicas run the new version", r.New, r.Replicas), "updates the others", "undoes it"
	switch {
	case r.Phase == api.CanarySwitched:
		where, forth, back = "the new version gets all connections", fmt.Sprintf("stops the %d tasks of the old one", r.Old), "goes back to them"
	case r.BlueGreen:
		where, forth, back = fmt.Sprintf("%d tasks of the new version run beside the old ones", r.New), "gives them all connections", "stops them"
	}
	text := fmt.Sprintf("%s: `%s service promote %s` %s, `%s service rollback %s` %s", where, progName, name, forth, progName, name, back)
	return bar{id: "canary", text: text}
}

// inPlace reports whether all tasks run that a canary is to have beside it.
func inPlace(r *api.Rollout) bool {
	if r.BlueGreen {
		return r.New >= r.Replicas && r.Old >= r.Replicas
	}
	return r.New >= r.Wanted && r.New+r.Old >= r.Replicas
}

// printCanary is the canary's part of service inspect --pretty.
func printCanary(w io.Writer, r *api.Rollout) {
	if r == nil || r.Phase == "" {
		return
	}
	p := func(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
	kind := ""
	if r.BlueGreen {
		kind = " (blue-green)"
	}
	p("Canary:\n Phase:\t\t%s%s\n New:\t\t%d/%d\n Old:\t\t%d", r.Phase, kind, r.New, r.Wanted, r.Old)
	if r.Waits() {
		p(" Waits for:\t%s", units.HumanDuration(r.HeldFor))
	}
	if r.PromoteIn != nil {
		p(" Promotes in:\t%s", r.PromoteIn.Round(time.Second))
	}
	if r.Failed != "" {
		p(" Failed:\t%s", r.Failed)
	}
}
