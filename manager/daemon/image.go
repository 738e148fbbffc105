package daemon

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dispatcher"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/worker/docker"
)

const (
	// imagePatience is how long one engine may take to say whether it has an
	// image, and findPatience how long a request waits for all of them.
	imagePatience = 2 * time.Second
	findPatience  = 3 * time.Second
	askAgain      = 100 * time.Millisecond
	// maxRunners is how many nodes that are no managers are asked for an image.
	maxRunners = 5
)

// holders are the nodes that may have an image, in the order in which they are
// asked: managers, and then those that run a task of it. Where nobody knows which
// image the name stands for, all managers ask in the same order, so that the nodes
// get the same one.
func holders(v *state.View, self nodeID, want *dispatcher.WantedImage) (list []nodeID) {
	for n := range v.Nodes() {
		if n.IsManager() && n.Status.State == api.NodeReady {
			list = append(list, n.ID)
		}
	}
	if at := slices.Index(list, self); at > 0 && want.Image != nil {
		list = slices.Insert(slices.Delete(list, at, at+1), 0, self)
	}
	runners := 0
	for t := range v.ServiceTasks(want.Task.ServiceID) {
		n := v.Node(t.NodeID)
		if n == nil || n.Status.State != api.NodeReady || t.SpecVersion != want.Task.SpecVersion || t.Status.State != api.TaskRunning ||
			t.NodeID == want.Task.NodeID || slices.Contains(list, t.NodeID) || runners == maxRunners {
			continue
		}
		runners++
		list = append(list, t.NodeID)
	}
	return list
}

// awayManagers are the hosts of the managers that are not there.
func awayManagers(v *state.View) (hosts []string) {
	for n := range v.Nodes() {
		if n.IsManager() && n.Status.State != api.NodeReady {
			hosts = append(hosts, n.Hostname())
		}
	}
	return hosts
}

// FindImage implements dispatcher.Images.
func (g *manager) FindImage(ctx context.Context, v *state.View, want *dispatcher.WantedImage) (*dispatcher.FoundImage, error) {
	var asked []string
	for _, id := range holders(v, g.m.id(), want) {
		engine, release, err := g.engineOf(id)
		if err != nil {
			return nil, err
		}
		host := v.Node(id).Hostname()
		image, err := look(ctx, engine, want.Name, want.Image)
		if err == nil {
			return &dispatcher.FoundImage{
				Image: image, From: host, Close: release,
				Save: func(ctx context.Context) (io.ReadCloser, error) { return engine.SaveImage(ctx, image.ID) },
			}, nil
		}
		release()
		if !errors.Is(err, docker.ErrNoImage) {
			host += " (" + err.Error() + ")"
		}
		asked = append(asked, host)
	}
	which := "it"
	if want.Image != nil {
		which = want.Image.ShortID() + ", which the service was made with"
	}
	if away := awayManagers(v); len(away) > 0 { // one of them may be the one that has it
		which += ", and " + strings.Join(away, ", ") + " cannot be asked"
	}
	return nil, api.Errorf(api.CodeNotFound, "none of %s has %s: build or load it on a manager and `swarmctl service update --force --image %s`, or push it to a registry that this node can reach",
		strings.Join(asked, ", "), which, want.Name)
}

// look asks an engine for an image.
func look(ctx context.Context, e *docker.Engine, name string, want *api.Image) (api.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, imagePatience)
	defer cancel()
	ref, err := e.FindImage(ctx, name, want)
	if err != nil {
		return api.Image{}, err
	}
	return e.InspectImage(ctx, ref)
}

// engineOf is the engine of a node; release ends what was opened for it.
func (g *manager) engineOf(id nodeID) (engine *docker.Engine, release func(), err error) {
	if id == g.m.id() {
		return g.m.d.engine, func() {}, nil
	}
	engine, err = docker.New(docker.Config{
		Dial: func(ctx context.Context) (net.Conn, error) { return g.tunnelTo(ctx, id) },
		Log:  g.m.component("engine"),
	})
	return engine, func() { _ = engine.Close() }, err
}

// imageNamed says which image a name is: at the manager that was asked, at the
// leader, or at the first other manager that has it; nil where none has.
func (d *Daemon) imageNamed(ctx context.Context, at nodeID, name string) *api.Image {
	m := d.current()
	if m == nil || m.manager() == nil {
		return nil
	}
	g := m.manager()
	ctx, cancel := context.WithTimeout(ctx, findPatience)
	defer cancel()
	for _, id := range managersFrom(g.store.View(), at, m.id()) {
		engine, release, err := g.engineOf(id)
		if err != nil {
			return nil
		}
		image, err := insist(ctx, func(ctx context.Context) (api.Image, error) { return look(ctx, engine, name, nil) })
		release()
		if err == nil {
			return &image
		}
		if !errors.Is(err, docker.ErrNoImage) {
			g.log.Warn("a manager's engine does not say whether it has an image", "node", id, "image", name, "err", err)
		}
	}
	return nil
}

// insist asks an engine until it says something, for as long as an engine may take: its node
// may be between two sessions, as all are for a moment after an election. Who asks the
// next one instead would miss what a user has just built on this one.
func insist(ctx context.Context, ask func(context.Context) (api.Image, error)) (api.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, imagePatience)
	defer cancel()
	for {
		image, err := ask(ctx)
		if err == nil || errors.Is(err, docker.ErrNoImage) {
			return image, err
		}
		select {
		case <-ctx.Done():
			return image, err
		case <-time.After(askAgain):
		}
	}
}

// managersFrom are the managers that are there, beginning with those that are named.
func managersFrom(v *state.View, first ...nodeID) (list []nodeID) {
	for _, id := range first {
		if n := v.Node(id); n != nil && n.IsManager() && !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	for n := range v.Nodes() {
		if n.IsManager() && n.Status.State == api.NodeReady && !slices.Contains(list, n.ID) {
			list = append(list, n.ID)
		}
	}
	return list
}
