package dockerapi

import (
	"net/http"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/raftstore/state"
	"github.com/swarmctl/swarmctl/services/rebalance"
)

// serviceRebalance has the tasks of a service spread evenly again. A second
// request while that is under way changes nothing.
func (a *API) serviceRebalance(w http.ResponseWriter, r *http.Request) error {
	_, s, err := found(a, r, (*state.View).FindService)
	if err != nil {
		return err
	}
	if err := rebalance.Check(s); err != nil {
		return err
	}
	if s.Canary.Stands() && s.Canary.Phase != api.CanaryPlacing { // nobody knows for how long
		return api.Errorf(api.CodeConflict, "service %s has a canary that waits, and nothing is moved meanwhile: promote it with `swarmctl service promote %[1]s`, or go back with `swarmctl service rollback %[1]s`", s.Name())
	}
	if !s.Rebalance.UnderWay() {
		next := *s
		next.Rebalance = &api.Rebalance{}
		if err := a.propose(r, state.Op{PutService: &next}); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, api.Rebalance{})
}

// rebalanceInspect answers how the last rebalance of a service goes, or went.
func (a *API) rebalanceInspect(w http.ResponseWriter, r *http.Request) error {
	_, s, err := found(a, r, (*state.View).FindService)
	if err != nil {
		return err
	}
	if s.Rebalance == nil {
		return api.Errorf(api.CodeNotFound, "service %s was never rebalanced: `swarmctl service rebalance %s` does it", s.Name(), s.Name())
	}
	return writeJSON(w, http.StatusOK, s.Rebalance)
}
