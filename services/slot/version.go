package slot

import "github.com/swarmctl/swarmctl/api"

// Version is the spec version of whatever follows a task of another version in
// its slot; of is 0 where there was none. It is the service's, but for a canary
// that is not promoted: only the rollout gives a slot its new version then, or
// every crash, drain and scaling would make more of the canary.
func Version(s *api.Service, of uint64) uint64 {
	if !s.Canary.Stands() || of == s.SpecVersion {
		return s.SpecVersion
	}
	return s.PreviousSpecVersion
}

// Current reports whether a task runs what its successor would run.
func Current(s *api.Service, t *api.Task) bool { return t.SpecVersion == Version(s, t.SpecVersion) }

// SpecOf is the spec of a task that is current.
func SpecOf(s *api.Service, t *api.Task) *api.ServiceSpec {
	if t.SpecVersion != s.SpecVersion && Current(s, t) && s.PreviousSpec != nil {
		return s.PreviousSpec
	}
	return &s.Spec
}

// Both reports whether every slot of the service runs both its spec and its
// previous one: it has a blue-green update that is not confirmed.
func Both(s *api.Service) bool { return s.Canary.Stands() && s.Canary.BlueGreen }

// Keeps reports whether a slot that has a live task of another version goes on
// having one of this.
func Keeps(s *api.Service, version uint64) bool {
	return version == s.SpecVersion || Both(s) && version == s.PreviousSpecVersion
}
