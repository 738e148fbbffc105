package api

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"
)

// Image is an image as an engine has it. Beside a spec it says which one the
// spec's reference stood for when the spec was made: a tag may be built anew.
type Image struct {
	// ID is the engine's: the digest of the image's configuration or, where the
	// engine keeps its images in containerd, of its manifest.
	ID string
	// Content is a digest of what containers get of the image. It is the same on
	// engines whose IDs of the image differ.
	Content string
	// Platform is what it runs on: linux/amd64.
	Platform string
	// Size is about how many bytes it is on the wire, for people.
	Size int64
	// Created is when it was built, as its engine says (RFC 3339); empty where that is not known.
	Created string `cbor:",omitempty" json:",omitempty"`
}

// NewerThan reports whether an image was built after another one, as far as both say when.
func (i *Image) NewerThan(other *Image) bool {
	built, err := time.Parse(time.RFC3339Nano, i.Created)
	before, otherErr := time.Parse(time.RFC3339Nano, other.Created)
	return err == nil && otherErr == nil && built.After(before)
}

// Is reports whether two engines speak of the same image.
func (i *Image) Is(other *Image) bool {
	return i.ID == other.ID || i.Content != "" && i.Content == other.Content
}

// Same reports whether two specs want the same image, or both have none beside them.
func (i *Image) Same(other *Image) bool {
	if i == nil || other == nil {
		return i == other
	}
	return i.Is(other)
}

// ShortID is the ID as docker shows it.
func (i *Image) ShortID() string {
	id := strings.TrimPrefix(i.ID, "sha256:")
	return id[:min(12, len(id))]
}

// ImageOf is what an engine says of an image.
//
// Only what every engine says in the same way goes into Content: a field that
// one leaves out and another sends empty would tell equal images apart.
func ImageOf(r *image.InspectResponse) Image {
	i := Image{ID: r.ID, Platform: PlatformOf(r.Os, r.Architecture), Size: r.Size, Created: r.Created}
	if len(r.RootFS.Layers) == 0 || r.Config == nil {
		return i
	}
	c := r.Config
	part := []any{
		r.Os, r.Architecture, r.Created, strings.Join(r.RootFS.Layers, " "),
		strings.Join(c.Entrypoint, "\x00"), strings.Join(c.Cmd, "\x00"), strings.Join(c.Env, "\x00"), c.WorkingDir, c.User, c.StopSignal,
		sortedPairs(c.Labels), slices.Sorted(maps.Keys(c.Volumes)), slices.Sorted(maps.Keys(c.ExposedPorts)),
	}
	data, err := json.Marshal(part)
	if err != nil {
		panic(err) // plain data: it cannot fail
	}
	i.Content = fmt.Sprintf("sha256:%x", sha256.Sum256(data))
	return i
}

func sortedPairs(m map[string]string) (list []string) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list = append(list, k+"="+m[k])
	}
	return list
}

// PlatformOf is a platform in the words of image registries, whether an image
// or a host's kernel names it.
func PlatformOf(os, arch string) string {
	switch arch {
	case "x86_64":
		arch = "amd64"
	case "aarch64":
		arch = "arm64"
	case "armv6l", "armv7l", "armhf":
		arch = "arm"
	case "i386", "i686":
		arch = "386"
	}
	return os + "/" + arch
}

// IsDigested reports whether a reference names an image by its digest, and so
// for good.
func IsDigested(name string) bool {
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return false
	}
	_, digested := ref.(reference.Digested)
	return digested
}
