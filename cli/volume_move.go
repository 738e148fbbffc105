package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/docker/go-units"

	"github.com/swarmctl/swarmctl/api"
)

func volumeMoveVerb() verb {
	return verb{
		name: "move", args: "VOLUME", usage: "Move a local volume, with what is in it, to another node", min: 1, max: 1, do: volumeMove,
		long: "The tasks that use it stop first, and start on the new node when it has everything; until then\n" +
			"they wait. Whatever goes wrong on the way, the volume stays where it was and they start there again.\n" +
			"The old copy is removed once the new one counts.",
		flags: []*opt{
			{name: "to", kind: stringKind, usage: "The node that gets it"},
			{name: "from", kind: stringKind, usage: "The node that has it, where several have one of the name"},
			{name: "force", short: "f", kind: boolKind, usage: "Move it though services that use it cannot run there: their tasks wait"},
			{name: "detach", short: "d", kind: boolKind, usage: "Exit immediately instead of waiting until it has moved"}, quietFlag("Suppress progress output"), timeoutFlag(),
		},
	}
}

func volumeMove(ctx context.Context, c *call) error {
	name, query := c.args[0], url.Values{"to": {c.flags.str("to")}}
	if query.Get("to") == "" {
		return fmt.Errorf("no node named: give --to NODE.\nSee '%s volume move --help'", progName)
	}
	if from := c.flags.str("from"); from != "" {
		query.Set("from", from)
	}
	if c.flags.yes("force") {
		query.Set("force", "1")
	}
	var m api.VolumeMove
	if err := c.askWith(ctx, http.MethodPost, "/swarmctl/volumes/"+url.PathEscape(name)+"/move?"+query.Encode(), nil, &m); err != nil {
		return err
	}
	if c.flags.yes("detach") {
		fmt.Fprintln(c.out, name)
		return nil
	}
	return c.awaitMove(ctx, name, &m)
}

// awaitMove shows how a move comes on until it has ended.
func (c *call) awaitMove(ctx context.Context, name string, m *api.VolumeMove) error {
	ctx, cancel, patience := c.patient(ctx)
	defer cancel()
	screen := c.screen()
	if c.flags.yes("quiet") {
		screen.w, screen.tty = io.Discard, false
	}
	for {
		list, err := c.volumes(ctx, "/"+url.PathEscape(name), nil)
		done := false
		if err == nil {
			var b bar
			b, done, err = moveStands(list, m)
			if b.id = "volume " + name; err == nil {
				screen.draw([]bar{b})
			}
		}
		switch {
		case ctx.Err() != nil && errors.Is(context.Cause(ctx), errTimeout):
			return &exitError{code: exitTimeout, msg: fmt.Sprintf("timed out after %s: the cluster works on, `%s volume ls` shows how far volume %s is", patience, progName, name)}
		case ctx.Err() != nil:
			screen.say("Operation continuing in background.")
			screen.say("Use `%s volume ls` to check progress.", progName)
			return nil
		case err != nil:
			return err
		case done && c.flags.yes("quiet"):
			fmt.Fprintln(c.out, name)
			return nil
		case done:
			return nil
		}
		_ = pause(ctx, nil, longestLook/2) // the next look tells that ctx has ended
	}
}

// moveStands reads off the copies of a volume how a move of it stands.
func moveStands(list []api.VolumeCopy, m *api.VolumeMove) (b bar, done bool, err error) {
	var from, to *api.VolumeCopy
	for i := range list {
		switch list[i].NodeID {
		case m.From:
			from = &list[i]
		case m.To:
			to = &list[i]
		}
	}
	switch {
	case from != nil && from.Move != nil && from.Move.ID == m.ID && from.Move.Err != "":
		return b, false, fmt.Errorf("volume %s was not moved and is on node %s as before: %s", from.Name, from.Hostname, from.Move.Err)
	case from != nil && from.Move.UnderWay():
		return progressBar(from.Progress), false, nil
	case to == nil || to.Move != nil:
		return b, false, fmt.Errorf("the volume was not moved: its copies have changed meanwhile: `%s volume ls` shows them", progName)
	case from != nil && from.Move != nil && from.Away != "":
		return bar{text: "is on node " + to.Hostname + "; what is left on node " + from.Hostname + " is removed when that is back"}, true, nil
	case from != nil && from.Move != nil:
		return bar{text: "is on node " + to.Hostname + "; removing the old copy"}, false, nil
	}
	return bar{text: "moved to node " + to.Hostname}, true, nil
}

func progressBar(p *api.MoveProgress) bar {
	switch {
	case p == nil:
		return bar{text: "waiting for the leader"}
	case p.Size == 0:
		return bar{text: p.Step}
	}
	const steps = 1000
	return bar{
		text: fmt.Sprintf("%s, %s of %s", p.Step, units.HumanSize(float64(p.Done)), units.HumanSize(float64(p.Size))),
		done: int(float64(p.Done) / float64(p.Size) * steps), total: steps, tick: true,
	}
}

// moveStatus is what volume ls says of a copy that a move concerns; hosts are the
// names of the nodes.
func moveStatus(v *api.VolumeCopy, hosts map[api.NodeID]string) string {
	name := func(id api.NodeID) string {
		if hosts[id] != "" {
			return hosts[id]
		}
		return string(id)
	}
	switch m := v.Move; {
	case m == nil:
	case m.Left:
		return "left by a move, being removed"
	case m.UnderWay() && m.To == v.NodeID:
		return "being moved from " + name(m.From)
	case m.UnderWay() && v.Progress != nil:
		return "being moved to " + name(m.To) + ": " + progressBar(v.Progress).text
	case m.UnderWay():
		return "being moved to " + name(m.To)
	}
	return ""
}
