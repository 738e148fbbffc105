package docker

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/expand"
)

// File is a secret or a config of a task.
type File struct {
	Path     string // in the container
	Source   string // on the host; empty: it does not lie there yet
	Data     []byte
	UID, GID int
	Mode     fs.FileMode
}

// String leaves the data out: it stands in no log and in no error.
func (f File) String() string { return fmt.Sprintf("%s (%d bytes)", f.Path, len(f.Data)) }

// GoString is String, for %#v.
func (f File) GoString() string { return f.String() }

// MakeFiles makes the files of a task of its secrets and configs, which are
// given by their IDs; templates are filled in. It is a pure function. Errors
// have code invalid; none of them quotes what is in a secret or a config.
func MakeFiles(r *Request, have map[string]*api.Content) ([]File, error) {
	spec := r.Spec.TaskTemplate.ContainerSpec
	refs := api.ContentRefs(spec)
	var files []File
	for i := range refs {
		f, err := makeFile(r, spec, refs, &refs[i], have)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", &refs[i], err)
		}
		files = append(files, f)
	}
	return files, nil
}

func makeFile(r *Request, spec *swarm.ContainerSpec, refs []api.ContentRef, ref *api.ContentRef, have map[string]*api.Content) (f File, err error) {
	content := have[ref.ID]
	if content == nil || content.Gone || ref.Path == "" {
		return f, api.Errorf(api.CodeInvalid, "it is not there, or has no file to be")
	}
	f = File{Path: ref.Path, Data: content.Data, Mode: ref.Mode.Perm()}
	if f.UID, err = number(ref.UID); err != nil {
		return f, err
	}
	if f.GID, err = number(ref.GID); err != nil {
		return f, err
	}
	if !content.Template {
		return f, nil
	}
	filled, err := expand.Container(spec, factsOf(r))
	if err != nil {
		return f, err
	}
	f.Data, err = expand.File(content.Data, factsOf(r), &expand.Sources{
		Secret: source(refs, "secret", have), Config: source(refs, "config", have), Env: environment(filled.Env),
	})
	return f, err
}

func number(id string) (int, error) {
	if id == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(id, 10, 31)
	if err != nil {
		return 0, api.Errorf(api.CodeInvalid, "%q is not the number of a user or a group", id)
	}
	return int(n), nil
}

// source finds a secret or a config of the same task by its target, as in
// Docker Swarm, or else by its own name. It is given as it is stored: a template
// does not fill in another.
func source(refs []api.ContentRef, kind string, have map[string]*api.Content) func(string) (string, error) {
	return func(name string) (string, error) {
		find := func(is func(*api.ContentRef) bool) *api.Content {
			if i := slices.IndexFunc(refs, func(r api.ContentRef) bool { return r.Kind == kind && is(&r) }); i >= 0 {
				return have[refs[i].ID]
			}
			return nil
		}
		c := find(func(r *api.ContentRef) bool { return r.Target == name })
		if c == nil {
			c = find(func(r *api.ContentRef) bool { return r.Name == name })
		}
		if c == nil {
			return "", expand.ErrNoSource
		}
		return string(c.Data), nil
	}
}

// environment is what a container's spec sets; the last of a name counts.
func environment(env []string) func(string) string {
	return func(name string) string {
		for _, kv := range slices.Backward(env) {
			if k, v, _ := strings.Cut(kv, "="); k == name {
				return v
			}
		}
		return ""
	}
}

// mountFiles puts the task's files into its container. One that is not there
// must not be passed over: the container would run without it.
func (p *Plan) mountFiles(r *Request) error {
	refs := api.ContentRefs(r.Spec.TaskTemplate.ContainerSpec)
	if len(refs) != len(r.Files) {
		return api.Errorf(api.CodeInvalid, "%d of %d secrets and configs are on this node", len(r.Files), len(refs))
	}
	for i, f := range r.Files {
		if f.Source == "" {
			return api.Errorf(api.CodeInvalid, "%s is not on this node", &refs[i])
		}
		p.HostConfig.Mounts = append(p.HostConfig.Mounts, mount.Mount{
			Type: mount.TypeBind, Source: f.Source, Target: f.Path, ReadOnly: true,
			BindOptions: &mount.BindOptions{Propagation: mount.PropagationRPrivate},
		})
	}
	return nil
}
