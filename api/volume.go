package api

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Volume is a node's copy of a named volume, as the node's container engine
// tells of it. Two nodes with a volume of one name have two volumes: nothing
// is copied from one to the other unless somebody moves it.
type Volume struct {
	Name   string
	Driver string
	// Options are the driver's, without what is secret in them: see MaskOptions.
	Options map[string]string `cbor:",omitempty"`
	Labels  map[string]string `cbor:",omitempty"`
	// CreatedAt is by the engine's clock, in its words; empty where it has not said yet.
	// Of a local volume it is when a file last came into its folder, or went.
	CreatedAt string `cbor:",omitempty"`
	// GivenUp says that the copy holds nobody any more and that no task is
	// started on it: its data is not the service's. The state machine keeps it for
	// as long as the node has a volume of the name.
	GivenUp bool `cbor:",omitempty"`
	// Move is the move that the copy is part of, or the last one, if that failed.
	// Nil: none. As GivenUp it is kept by the state machine.
	Move *VolumeMove `cbor:",omitempty" json:",omitempty"`
}

// VolumeMove is a move of a volume from one node to another. While it is under
// way both copies say so, and no task starts with either.
type VolumeMove struct {
	ID       string
	From, To NodeID
	// Left says that the move is over and that the copy is what it has left behind:
	// the old one after a success, half of one after a failure. The leader has it removed.
	Left bool `cbor:",omitempty" json:",omitempty"`
	// Err is why the move failed; the copy is as it was before.
	Err string `cbor:",omitempty" json:",omitempty"`
}

// UnderWay reports whether the move is yet to end. A nil one is not.
func (m *VolumeMove) UnderWay() bool { return m != nil && !m.Left && m.Err == "" }

// MoveProgress is how far a move has come.
type MoveProgress struct {
	Step       string // what is being done, for people
	Done, Size int64  // bytes; Size is 0 where it is not known yet
}

// VolumeCopy is a node's copy of a volume and who uses it, as the API tells it.
type VolumeCopy struct {
	Volume
	NodeID   NodeID
	Hostname string
	// Reported is false where a task of the node must have made the volume and the
	// node has not told of it yet.
	Reported bool
	// Pins says that tasks which use the volume stay with this copy.
	Pins bool
	// Away says why the node cannot be asked at the moment; empty where it can.
	Away string `json:",omitempty"`
	// Tasks are those on the node that use it and have not ended, by full name.
	Tasks []string `json:",omitempty"`
	// Size is the number of bytes on the disk; -1 where the engine was not asked
	// or cannot say.
	Size int64
	// Progress is how far the move under way has come; nil: none is, or the
	// leader does not know yet.
	Progress *MoveProgress `json:",omitempty"`
}

// masked stands where something secret was.
const masked = "***"

// MaskOptions returns a volume driver's options without their secrets: values
// of options, and of parts of options as in o=username=a,password=b, whose name
// speaks of one, and passwords in addresses. What is left can be shown,
// replicated and compared.
func MaskOptions(options map[string]string) map[string]string {
	if options == nil {
		return nil
	}
	out := make(map[string]string, len(options))
	for name, value := range options {
		if value != "" && secretive(name) {
			out[name] = masked
			continue
		}
		parts := strings.Split(value, ",")
		for i, part := range parts {
			if key, v, ok := strings.Cut(part, "="); ok && v != "" && secretive(key) {
				parts[i] = key + "=" + masked
				continue
			}
			parts[i] = maskAddress(part)
		}
		out[name] = strings.Join(parts, ",")
	}
	return out
}

// secretive reports whether what has this name is likely to be a secret.
func secretive(name string) bool {
	name = strings.ToLower(strings.TrimSpace(name))
	return slices.ContainsFunc([]string{"pass", "secret", "token", "credential", "key"}, func(word string) bool { return strings.Contains(name, word) })
}

// maskAddress takes the password out of an address, if it is one.
func maskAddress(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		return masked // nobody can tell what is in it
	}
	if _, has := u.User.Password(); has {
		return strings.Replace(s, u.User.String(), url.User(u.User.Username()).String()+":"+masked, 1)
	}
	return s
}

// ShowOptions writes options for people, in the order of their names, without secrets.
func ShowOptions(driver string, options map[string]string) string {
	if driver == "" {
		driver = "local"
	}
	if len(options) == 0 {
		return "driver " + driver + " without options"
	}
	options = MaskOptions(options)
	texts := make([]string, 0, len(options))
	for _, name := range slices.Sorted(maps.Keys(options)) {
		texts = append(texts, name+"="+options[name])
	}
	return "driver " + driver + " with " + strings.Join(texts, " ")
}
