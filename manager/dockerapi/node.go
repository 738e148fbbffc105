package dockerapi

import (
	"net/http"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

func (a *API) nodeList(w http.ResponseWriter, r *http.Request) error {
	f, err := parseFilters(r, "id", "label", "membership", "name", "node.label", "role")
	if err != nil {
		return err
	}
	if err := oneOf(f, "role", "manager", "worker"); err != nil {
		return err
	}
	if err := oneOf(f, "membership", "accepted", "pending"); err != nil {
		return err
	}
	view, err := a.read(r)
	if err != nil {
		return err
	}
	list, self := []nodeJSON{}, a.cfg.Node.ID()
	for n := range view.Nodes() {
		if prefixMatch(f, "id", string(n.ID)) && prefixMatch(f, "name", n.Description.Hostname) &&
			labelMatch(f, "label", n.Description.Engine.Labels) && labelMatch(f, "node.label", n.Spec.Labels) &&
			f.ExactMatch("role", string(roleOf(n))) && f.ExactMatch("membership", "accepted") {
			list = append(list, nodeJSONOf(n, n.ID == self))
		}
	}
	return writeJSON(w, http.StatusOK, list)
}

func (a *API) nodeInspect(w http.ResponseWriter, r *http.Request) error {
	_, n, err := found(a, r, (*state.View).FindNode)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, nodeJSONOf(n, n.ID == a.cfg.Node.ID()))
}

func (a *API) nodeUpdate(w http.ResponseWriter, r *http.Request) error {
	version, err := queryVersion(r, "node")
	if err != nil {
		return err
	}
	var spec api.NodeSpec
	if err := readJSON(w, r, &spec); err != nil {
		return err
	}
	if err := checkNodeSpec(&spec); err != nil {
		return err
	}
	view, old, err := found(a, r, (*state.View).FindNode)
	if err != nil {
		return err
	}
	if old.Spec.Role == swarm.NodeRoleManager && spec.Role == swarm.NodeRoleWorker {
		if err := checkDemotion(view, old); err != nil {
			return err
		}
	}
	next := *old
	next.Spec = spec
	next.Meta.Version.Index = version
	return a.propose(r, state.Op{PutNode: &next})
}

func checkNodeSpec(spec *api.NodeSpec) error {
	if spec.Role != swarm.NodeRoleManager && spec.Role != swarm.NodeRoleWorker {
		return api.Errorf(api.CodeInvalid, "invalid Role: %q: use manager or worker", spec.Role)
	}
	if _, err := setting.ParseNode(spec.Labels); err != nil {
		return err
	}
	return checkAvailability(spec.Availability, false)
}

// checkDemotion refuses what would leave the cluster without managers, or
// without a majority of managers that are alive.
func checkDemotion(view *state.View, node *api.Node) error {
	managers, alive := 0, 0 // after the demotion
	for n := range view.Nodes() {
		if n.ID == node.ID || n.Spec.Role != swarm.NodeRoleManager {
			continue
		}
		managers++
		if n.Status.State == api.NodeReady {
			alive++
		}
	}
	if managers == 0 {
		return api.Errorf(api.CodeInvalid, "attempting to demote the last manager of the swarm: promote another node first")
	}
	if alive <= managers/2 {
		return api.Errorf(api.CodeInvalid, "can't remove member from the raft: this would result in a loss of quorum: "+
			"only %d of the other %d managers are ready", alive, managers)
	}
	return nil
}

func checkAvailability(v swarm.NodeAvailability, mayBeEmpty bool) error {
	known := []swarm.NodeAvailability{swarm.NodeAvailabilityActive, swarm.NodeAvailabilityPause, swarm.NodeAvailabilityDrain}
	if slices.Contains(known, v) || v == "" && mayBeEmpty {
		return nil
	}
	return api.Errorf(api.CodeInvalid, "invalid Availability: %q: use active, pause or drain", v)
}

func (a *API) nodeDelete(_ http.ResponseWriter, r *http.Request) error {
	_, n, err := found(a, r, (*state.View).FindNode)
	if err != nil {
		return err
	}
	force := queryBool(r, "force")
	if n.IsManager() || n.Spec.Role == swarm.NodeRoleManager {
		return api.Errorf(api.CodeInvalid, "node %s is a cluster manager and is a member of the raft cluster. "+
			"It must be demoted to worker before removal", n.ID)
	}
	if !force && n.Status.State == api.NodeReady {
		return api.Errorf(api.CodeInvalid, "node %s is not down and can't be removed: let it leave the cluster first, or use force", n.ID)
	}
	del := &state.DeleteNode{ID: n.ID}
	if !force {
		del.Version = n.Meta.Version.Index // it may just be coming back
	}
	return a.propose(r, state.Op{DeleteNode: del})
}
