package api

import (
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
)

// Registry is what the cluster knows of a registry of images: who it is there.
type Registry struct {
	// Host is its name with its port, as images have it; docker.io is the Hub.
	Host string
	// Username is shown to people; Auth is not, and goes to a node when that
	// pulls an image of the registry for a task of its own.
	Username string
	Auth     RegistryAuth
	Meta     Meta
}

// dockerHub is the host of images whose names have none.
const dockerHub = "docker.io"

// HubServer is the name that Docker itself keeps the Hub's credentials under.
const HubServer = "https://index.docker.io/v1/"

// RegistryOf is the host of an image's registry; empty where the name is none.
func RegistryOf(image string) string {
	ref, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return ""
	}
	return reference.Domain(ref)
}

// RegistryHost is the host of a registry, however a user has named it.
// Errors: invalid.
func RegistryHost(name string) (string, error) {
	host := strings.TrimPrefix(strings.TrimPrefix(name, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	switch host {
	case "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", dockerHub:
		return dockerHub, nil
	}
	// Docker takes the first part of a name for a host if it has a dot or a port,
	// or is localhost: no image could name any other.
	if host == "" || RegistryOf(host+"/image") != host {
		return "", Errorf(CodeInvalid, "registry %q: give the host as the names of its images begin: registry.example.com, or registry.example.com:5000", name)
	}
	return host, nil
}

// RegistryRefuses recognises a registry's refusal of credentials behind the
// engine's words, which have no status of their own for it.
func RegistryRefuses(words string) bool {
	words = strings.ToLower(words)
	return slices.ContainsFunc([]string{
		"unauthorized", "authentication required", "no basic auth credentials", "incorrect username or password", "denied", "forbidden",
	}, func(word string) bool { return strings.Contains(words, word) })
}

// RegistryLogin is what people are told of a registry, or of a login there.
type RegistryLogin struct {
	Host      string
	Username  string
	CreatedAt time.Time
	UpdatedAt time.Time
	// Status is the registry's word on a login; empty where it gave none, and
	// Warning says why then.
	Status  string `json:",omitempty"`
	Warning string `json:",omitempty"`
}
