package dockerapi

import (
	"cmp"
	"net/http"

	"github.com/swarmctl/swarmctl/api"
)

// ManagerHeader names the manager that a request was made at: its engine is
// where the user has built what the request is about.
const ManagerHeader = "Swarmctl-Manager"

// newImage reports whether a spec's reference is to be looked up: it is new, or
// the user wants the containers made anew. Otherwise the service keeps the image
// that it has, though its tag may have been built again.
func newImage(old *api.Service, spec *api.ServiceSpec) bool {
	c := spec.TaskTemplate.ContainerSpec
	switch {
	case c == nil || c.Image == "" || api.IsDigested(c.Image):
		return false
	case old == nil || old.Spec.TaskTemplate.ContainerSpec == nil:
		return true
	}
	return c.Image != old.Spec.TaskTemplate.ContainerSpec.Image || spec.TaskTemplate.ForceUpdate != old.Spec.TaskTemplate.ForceUpdate
}

// imageLookup finds which images references are, for one request: each name once.
type imageLookup struct {
	a     *API
	r     *http.Request
	found map[string]*api.Image
}

func (a *API) images(r *http.Request) *imageLookup {
	return &imageLookup{a: a, r: r, found: map[string]*api.Image{}}
}

// of is which image the reference of a spec is, to be kept beside the spec: the
// one that the manager's engine has under it. One with a digest says it itself,
// and what no manager has each node gets from its registry.
func (l *imageLookup) of(old *api.Service, spec *api.ServiceSpec) *api.Image {
	if newImage(old, spec) {
		return l.named(spec.TaskTemplate.ContainerSpec.Image)
	}
	if c := spec.TaskTemplate.ContainerSpec; old == nil || c == nil || api.IsDigested(c.Image) {
		return nil
	}
	return old.Image
}

// newer is as of, and looks too whether the reference of a service stands for an
// image that was built later than the one that it has. An older one is not taken:
// a manager may have been sent that for its own tasks, and it keeps its name there.
// other is such a one.
func (l *imageLookup) newer(old *api.Service, spec *api.ServiceSpec) (image, other *api.Image) {
	image = l.of(old, spec)
	if image == nil || newImage(old, spec) {
		return image, nil
	}
	switch now := l.named(spec.TaskTemplate.ContainerSpec.Image); {
	case now == nil || now.Is(image):
		return image, nil
	case now.NewerThan(image):
		return now, nil
	default:
		return image, now
	}
}

func (l *imageLookup) named(name string) *api.Image {
	image, known := l.found[name]
	if !known {
		at := cmp.Or(api.NodeID(l.r.Header.Get(ManagerHeader)), l.a.cfg.Node.ID())
		image = l.a.cfg.ImageNamed(l.r.Context(), at, name)
		l.found[name] = image
	}
	return image
}
