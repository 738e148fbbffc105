package api

// Secret is something that tasks may read and nobody else. Its data is stored
// as part of the spec and never told by the API; the log and the snapshots on
// disk are encrypted as a whole.
type Secret struct {
	ID      SecretID
	Spec    SecretSpec
	Meta    Meta
	Version ContentVersion `cbor:",omitempty"`
}

// Config is a file that tasks find in their containers.
type Config struct {
	ID      ConfigID
	Spec    ConfigSpec
	Meta    Meta
	Version ContentVersion `cbor:",omitempty"`
}

// ContentVersion says which version of its name a secret or a config is. What
// an ID stands for never changes: another content is another object, with an ID
// of its own, that takes the name over.
type ContentVersion struct {
	// Before is how many versions the name has had before this one came into
	// force: none for what was created under it.
	Before uint64 `cbor:",omitempty"`
	// Superseded says that another version has the name now. This one stays, under
	// its ID, for as long as something refers to it, and may take the name up again.
	Superseded bool `cbor:",omitempty"`
}

// Number is what people call the version, from 1.
func (v ContentVersion) Number() uint64 { return v.Before + 1 }

// ShownVersion is what the API adds to a secret or a config of Docker's: which
// version of its name it is. One that is the first adds nothing, and looks as
// Docker's does. It is no label, since tools send labels back, and compare them.
type ShownVersion struct {
	ContentVersion uint64 `json:",omitempty"`
	Superseded     bool   `json:",omitempty"`
}

// Shown is the version as the API tells it.
func (v ContentVersion) Shown() ShownVersion {
	if v == (ContentVersion{}) {
		return ShownVersion{}
	}
	return ShownVersion{v.Number(), v.Superseded}
}

// Number is what people call the version, from 1.
func (s ShownVersion) Number() uint64 { return max(1, s.ContentVersion) }

// ContentUpdate is what becomes, or would become, of a secret or a config that
// is given a content.
type ContentUpdate struct {
	ID      string // of the version that is in force afterwards; empty where it would have a new one
	Version uint64 // its number
	// Rewritten says that this is another version than before. Where it is false
	// and Labels is too, nothing was written.
	Rewritten bool
	Labels    bool     // the labels differ from what they were
	Services  []string `json:",omitempty"` // the names of those that get another version, and roll
	Warnings  []string `json:",omitempty"`
}
