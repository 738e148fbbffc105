package api

import (
	"time"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

// LabelNamespace is the label by which what belongs to a stack is found, as in
// Docker: its value is the stack's name.
const LabelNamespace = "com.docker.stack.namespace"

// Stack is what the cluster remembers of a stack that was deployed as one
// change. What the stack consists of its services, networks, secrets and
// configs say themselves, by LabelNamespace.
type Stack struct {
	Name string
	// Deploys are the last few, the oldest first; the last one is in force.
	Deploys []StackDeploy
	Meta    Meta
}

// Bounds of what is remembered of one stack.
const (
	MaxDeploys = 5
	// MaxHistory is how many bytes all deploys of a stack may have: the oldest
	// ones go first, and the one in force stays whatever it has.
	MaxHistory = 1 << 20
)

// Current is the deploy that is in force; nil where there is none.
func (s *Stack) Current() *StackDeploy {
	if s == nil || len(s.Deploys) == 0 {
		return nil
	}
	return &s.Deploys[len(s.Deploys)-1]
}

// Deploy is the deploy of a number; nil where it is not remembered.
func (s *Stack) Deploy(number uint64) *StackDeploy {
	if s == nil {
		return nil
	}
	for i := range s.Deploys {
		if s.Deploys[i].Number == number {
			return &s.Deploys[i]
		}
	}
	return nil
}

// StackDeploy is one deploy of a stack, with all it takes to go back to it.
type StackDeploy struct {
	Number uint64    // counts from 1, and never goes back
	At     time.Time // by the clock of whoever proposed it
	// Cause says where it came from: StackFromFile, StackFromRollback with the
	// number in Of, or StackFound.
	Cause string `cbor:",omitempty"`
	Of    uint64 `cbor:",omitempty" json:",omitempty"`
	// Digest is that of the merged file, and File the file itself, compressed with
	// gzip and without what secrets hold. Empty where there was none, or none that fits.
	Digest string `cbor:",omitempty" json:",omitempty"`
	File   []byte `cbor:",omitempty" json:",omitempty"`
	// Content is a StackContent as JSON, compressed with gzip.
	Content []byte `json:",omitempty"`
	// Secrets and Configs are what its services refer to, by ID: it stays for as
	// long as the deploy is remembered.
	Secrets []SecretID `cbor:",omitempty" json:",omitempty"`
	Configs []ConfigID `cbor:",omitempty" json:",omitempty"`
	// Services is how many the stack was to have, and the others how many of them
	// the deploy created, changed and removed.
	Services, Created, Updated, Removed int
	// Outcome says how far it had come when the next one took its place.
	Outcome string `cbor:",omitempty" json:",omitempty"`
}

// Where a deploy comes from.
const (
	StackFromFile     = "file"
	StackFromRollback = "rollback"
	// StackFound is what there was, by single calls, before the first deploy that
	// is remembered.
	StackFound = "found"
)

// Size is how many bytes count for MaxHistory.
func (d *StackDeploy) Size() int { return len(d.File) + len(d.Content) + len(d.Digest) }

// StackContent is what a deploy wanted: specs as the API takes them, with the
// networks by name, and the secrets and configs as references.
type StackContent struct {
	Networks []network.CreateRequest
	Secrets  []StackRef
	Configs  []StackRef
	Services []swarm.ServiceSpec
	// Images are which images references without a digest stood for, as
	// Service.Image has it, by the service's name; not where no manager had one.
	Images map[string]Image `json:",omitempty"`
}

// StackRef is a secret or a config of a stack, without what it holds.
type StackRef struct {
	ID     string
	Name   string
	Labels map[string]string `json:",omitempty"`
}

// StackRequest is a whole stack as it is to be: what differs from it in the
// cluster is changed in one step, or nothing is.
type StackRequest struct {
	Networks []network.CreateRequest `json:",omitempty"`
	Secrets  []StackSecret           `json:",omitempty"`
	Configs  []StackConfig           `json:",omitempty"`
	Services []StackService          `json:",omitempty"`
	// Remove are services of the stack that are to go.
	Remove []StackRemoval `json:",omitempty"`
	// File and Digest are as in StackDeploy.
	File   []byte `json:",omitempty"`
	Digest string `json:",omitempty"`
}

// StackSecret is a secret of a stack. Version is the one that was read and is
// replaced; 0 where there was none.
type StackSecret struct {
	Version uint64 `json:",omitempty"`
	Spec    swarm.SecretSpec
}

// StackConfig is as StackSecret.
type StackConfig struct {
	Version uint64 `json:",omitempty"`
	Spec    swarm.ConfigSpec
}

// StackService is a service of a stack, with networks, secrets and configs by
// name.
type StackService struct {
	Version uint64 `json:",omitempty"`
	Spec    swarm.ServiceSpec
	// Auth is what the header X-Registry-Auth has at the creation of one service;
	// empty: what the service has already.
	Auth string `json:",omitempty"`
	// Resolve asks whether the reference, where it has no digest, stands for a newer
	// image on a manager's engine than the service has.
	Resolve bool `json:",omitempty"`
}

// StackRemoval is a service that is to go.
type StackRemoval struct {
	ID      string
	Version uint64
}

// StackRollback asks for an earlier deploy.
type StackRollback struct {
	// To is its number; 0: the one before that in force.
	To uint64 `json:",omitempty"`
	// From, where set, must be the deploy in force: what somebody else has
	// deployed meanwhile is not undone.
	From uint64 `json:",omitempty"`
	// Prune removes the services that the stack has and that deploy had not.
	Prune bool `json:",omitempty"`
}

// StackAnswer is what became of a stack.
type StackAnswer struct {
	// Deploy is the number of the deploy in force, and Before that of the one
	// before it; 0: there was nothing.
	Deploy, Before uint64
	// Changes are what was written, in the order in which it was; none: nothing
	// differed.
	Changes  []StackChange `json:",omitempty"`
	Warnings []string      `json:",omitempty"`
	// Kept are services of the stack that are not of the deploy and stay, as nobody
	// asked to prune them.
	Kept []string `json:",omitempty"`
}

// StackChange is one object that was created, updated or removed.
type StackChange struct {
	Action, Kind, Name, ID string
	// ImageWas and ImageIs are the images' short IDs where a service's reference, which
	// has not changed, stands for another image by now.
	ImageWas string `json:",omitempty"`
	ImageIs  string `json:",omitempty"`
}

// What may become of an object of a stack.
const (
	StackCreated = "created"
	StackUpdated = "updated"
	StackRemoved = "removed"
)
