package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/worker/docker"
)

// wantedImage is the image of a task.
type wantedImage struct {
	name string
	// image is which image the name is; nil: whichever a source has under it.
	image    *api.Image
	auth     api.RegistryAuth // of the service
	platform string           // of this node
}

// source is where an image comes from that the node does not have.
type source uint8

const (
	fromRegistry source = iota
	fromCluster
)

// sources are who is asked, in turn. A name belongs to its registry, as Docker's
// users expect. Where the cluster knows which image it is, some manager has had
// that very one, and a registry may never have heard of it.
func (w *wantedImage) sources() []source {
	if w.image != nil {
		return []source{fromCluster, fromRegistry}
	}
	return []source{fromRegistry, fromCluster}
}

// credentials are what a registry is asked with, in turn: the cluster's first,
// since those of a service are as old as its last update. Without any it is
// asked once.
func credentials(cluster, service api.RegistryAuth) []api.RegistryAuth {
	switch {
	case cluster == "" || cluster == service:
		return []api.RegistryAuth{service}
	case service == "":
		return []api.RegistryAuth{cluster}
	}
	return []api.RegistryAuth{cluster, service}
}

// wanted is the image of a task. One of another platform than the node's cannot
// be what its name means here.
func (r *runner) wanted(t *task) *wantedImage {
	w := &wantedImage{image: t.image, auth: t.auth, platform: api.PlatformOf(r.node.OS, r.node.Architecture)}
	if c := t.spec.TaskTemplate.ContainerSpec; c != nil {
		w.name = c.Image
	}
	if w.image != nil && w.image.Platform != w.platform {
		w.image = nil
	}
	return w
}

// fetch has the engine have an image, and returns what it has it as. tell is
// told how it goes. Errors: unavailable where it is worth another try.
func (r *runner) fetch(ctx context.Context, id api.TaskID, w *wantedImage, tell func(string)) (ref string, err error) {
	ref, err = r.cfg.Engine.FindImage(ctx, w.name, w.image)
	if !errors.Is(err, docker.ErrNoImage) {
		return ref, err
	}
	var refusals []error
	for _, s := range w.sources() {
		if s == fromRegistry {
			ref, err = r.pullFrom(ctx, id, w)
		} else {
			ref, err = r.transfers.join(ctx, r, id, w, tell)
		}
		if err == nil || ctx.Err() != nil {
			return ref, err
		}
		refusals = append(refusals, err)
	}
	return "", notHad(w.name, refusals)
}

// notHad is why a node does not get an image: everything that was tried.
func notHad(name string, refusals []error) error {
	code, words := api.CodeNotFound, make([]string, len(refusals))
	for i, err := range refusals {
		words[i] = err.Error()
		if errors.Is(err, api.ErrUnavailable) {
			code = api.CodeUnavailable
		}
	}
	return api.Errorf(code, "image %q: not on this node; %s", name, strings.Join(words, "; "))
}

// pullFrom asks the image's registry.
func (r *runner) pullFrom(ctx context.Context, id api.TaskID, w *wantedImage) (ref string, err error) {
	for _, auth := range credentials(r.link.credentials(ctx, id), w.auth) {
		if err = r.cfg.Engine.PullImage(ctx, w.name, auth); !errors.Is(err, docker.ErrRefused) {
			break
		}
	}
	if err != nil {
		return "", fmt.Errorf("registry %s: %w", api.RegistryOf(w.name), err)
	}
	ref, err = r.cfg.Engine.FindImage(ctx, w.name, w.image)
	if w.image != nil && errors.Is(err, docker.ErrNoImage) {
		err = fmt.Errorf("registry %s: has another image under this name than %s, which the service was made with: `swarmctl service update --force --image %s` takes what there is now", api.RegistryOf(w.name), w.image.ShortID(), w.name)
	}
	return ref, err
}

// link is the way to the manager of the session that is open, if one is.
type link struct {
	mu     sync.Mutex
	peer   *wire.Peer
	client wire.DispatcherClient
}

func (l *link) set(peer *wire.Peer, client wire.DispatcherClient) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.peer, l.client = peer, client
}

func (l *link) get() (*wire.Peer, wire.DispatcherClient) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peer, l.client
}

// credentials are the cluster's, for the image of a task, as they are now. A
// manager that does not answer, or is too old to know of any, has none: those
// of the service may do.
func (l *link) credentials(ctx context.Context, id api.TaskID) api.RegistryAuth {
	_, client := l.get()
	if client == nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, welcomeTimeout)
	defer cancel()
	answer, err := client.Credentials(ctx, &wire.CredentialsRequest{TaskId: string(id)})
	if err != nil {
		return ""
	}
	return api.RegistryAuth(answer.GetRegistryAuth())
}
