package dockerapi

import (
	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// checkPolicy refuses what the cluster denies its services. old is the spec so
// far, or nil: a service that was there first keeps what it has.
//
// NB: an update that fails and rolls itself back is not asked: it restores
// what ran a moment ago.
func checkPolicy(view *state.View, old, next *api.ServiceSpec) error {
	c := view.Cluster()
	if c == nil {
		return nil
	}
	policy, err := setting.ParsePolicy(c.Spec.Labels)
	if err != nil {
		return err
	}
	return policy.Check(old, next)
}
