package api

import (
	"fmt"
	"io/fs"
	"log/slog"
	"path"

	"github.com/docker/docker/api/types/swarm"
)

// Content is a secret or a config as a node has it for its tasks.
type Content struct {
	ID string // a SecretID or a ConfigID; no two objects share one
	// Data is what was stored, and Template that it is a template: see package expand.
	Data     []byte
	Template bool
	// Gone says that a task needs it and the cluster does not have it any more.
	Gone bool
}

// String leaves the data out: it stands in no log and in no error.
func (c Content) String() string { return fmt.Sprintf("content %s (%d bytes)", c.ID, len(c.Data)) }

// GoString is String, for %#v.
func (c Content) GoString() string { return c.String() }

// LogValue implements slog.LogValuer.
func (c Content) LogValue() slog.Value { return slog.StringValue(c.String()) }

// ContentRef is a reference of a service to a secret or a config.
type ContentRef struct {
	Kind     string // secret or config, for people
	ID, Name string
	// Target is as the reference has it and Path where that is in the container;
	// both are empty for a reference to no file.
	Target, Path string
	UID, GID     string // numbers; empty: 0
	Mode         fs.FileMode
}

// String is how errors name it.
func (r *ContentRef) String() string { return fmt.Sprintf("%s %q", r.Kind, r.Name) }

// ContentRefs are the references of a container's spec, secrets first, with
// targets as in Docker Swarm: under /run/secrets, and under / for configs.
func ContentRefs(c *swarm.ContainerSpec) []ContentRef {
	if c == nil || len(c.Secrets)+len(c.Configs) == 0 {
		return nil
	}
	list := make([]ContentRef, 0, len(c.Secrets)+len(c.Configs))
	for _, r := range c.Secrets {
		if r == nil {
			continue
		}
		ref := ContentRef{Kind: "secret", ID: r.SecretID, Name: r.SecretName}
		if f := r.File; f != nil {
			ref.Target, ref.Path, ref.UID, ref.GID, ref.Mode = f.Name, targetPath("/run/secrets", f.Name), f.UID, f.GID, f.Mode
		}
		list = append(list, ref)
	}
	for _, r := range c.Configs {
		if r == nil {
			continue
		}
		ref := ContentRef{Kind: "config", ID: r.ConfigID, Name: r.ConfigName}
		if f := r.File; f != nil {
			ref.Target, ref.Path, ref.UID, ref.GID, ref.Mode = f.Name, targetPath("/", f.Name), f.UID, f.GID, f.Mode
		}
		list = append(list, ref)
	}
	return list
}

func targetPath(folder, target string) string {
	if path.IsAbs(target) {
		return path.Clean(target)
	}
	return path.Join(folder, target)
}
