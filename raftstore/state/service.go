package state

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// putService creates or replaces a service, and decides whether its tasks
// must be replaced: only a change of what containers are made from does that.
func (x *tx) putService(s *api.Service) error {
	old := x.view().Service(s.ID)
	if err := x.checkVersion("service", string(s.ID), version(old, func(s *api.Service) api.Meta { return s.Meta }), s.Meta); err != nil {
		return err
	}
	if same := x.view().ServiceByName(s.Spec.Name); same != nil && same.ID != s.ID {
		return api.Errorf(api.CodeConflict, "name conflicts with an existing object: service %s already exists", s.Spec.Name)
	}
	if err := x.view().checkRemoved(&s.Spec, old); err != nil {
		return err
	}
	if err := x.view().checkDepends(&s.Spec); err != nil {
		return err
	}
	next := *s
	next.Meta = x.meta(old != nil, s.Meta)
	if old == nil {
		next.SpecVersion, next.PreviousSpecVersion = x.index, 0
	} else {
		next.Meta.CreatedAt = old.Meta.CreatedAt
		x.chooseSpecVersion(old, &next)
	}
	var refused []error
	if next.Endpoint, refused = x.endpoint(old, &next); len(refused) > 0 {
		return refused[0]
	}
	x.settle(old, &next)
	return nil
}

// settle stores a service whose spec and version are decided, with what follows
// from them.
func (x *tx) settle(old, next *api.Service) {
	next.JobStatus = x.jobStatus(old, next)
	x.stamp(old, next)
	x.putSpec(next)
	x.putServiceRow(old, next)
	if old != nil {
		x.collectSpec(old.ID, old.SpecVersion)
		x.collectSpec(old.ID, old.PreviousSpecVersion)
	}
}

// putSpec stores the version that the service is at, or gives the one that is
// stored the service's credentials. One of this very entry of the log nobody
// has seen yet: it may still become another.
func (x *tx) putSpec(s *api.Service) {
	spec := api.SpecVersion{ServiceID: s.ID, Version: s.SpecVersion, Spec: s.Spec, Image: s.Image}
	have := x.view().SpecVersion(s.ID, s.SpecVersion)
	switch {
	case have == nil:
	case have.Version == x.index:
		x.loosen(refsOf(&have.Spec))
	default:
		if have.RegistryAuth == s.RegistryAuth {
			return
		}
		spec = *have
	}
	spec.RegistryAuth = s.RegistryAuth
	x.put(tableSpecs, &spec)
}

// chooseSpecVersion keeps the version where nothing changes for containers,
// and takes the previous one up again where the change goes back to it, so
// that a rollback leaves alone the tasks that still run the old spec.
func (x *tx) chooseSpecVersion(old, next *api.Service) {
	next.SpecVersion, next.PreviousSpecVersion = old.SpecVersion, old.PreviousSpecVersion
	if sameTasks(old, next) || old.SpecVersion == x.index { // which no task can run yet
		return
	}
	prev := x.view().SpecVersion(old.ID, old.PreviousSpecVersion)
	next.SpecVersion, next.PreviousSpecVersion = x.index, old.SpecVersion
	switch {
	case prev == nil:
	case SameTask(&prev.Spec, &next.Spec) && prev.Image.Same(next.Image):
		next.SpecVersion = old.PreviousSpecVersion
	case next.PreviousSpec != nil && SameTask(&prev.Spec, next.PreviousSpec) && prev.Image.Same(next.PreviousImage):
		next.PreviousSpecVersion = old.PreviousSpecVersion // the way back passes over what was not finished
	}
}

// stamp notes when the canary came into its phase and a rebalance was asked
// for, and which versions are hidden.
func (x *tx) stamp(old, next *api.Service) {
	if next.Canary != nil {
		c := *next.Canary
		if c.Since = x.at; old != nil && old.Canary != nil && old.Canary.Phase == c.Phase && old.SpecVersion == next.SpecVersion {
			c.Since = old.Canary.Since
		}
		next.Canary = &c
	}
	if next.Rebalance != nil {
		r := *next.Rebalance
		if r.Since, r.Index = x.at, x.index; old != nil && old.Rebalance.UnderWay() {
			r.Since, r.Index = old.Rebalance.Since, old.Rebalance.Index
		}
		next.Rebalance = &r
	}
	if old == nil || old.SpecVersion == next.SpecVersion {
		return
	}
	hidden := slices.DeleteFunc(slices.Clone(next.Hidden), func(v uint64) bool { return v == next.SpecVersion })
	if next.Canary != nil && next.Canary.BlueGreen {
		hidden = append(hidden, next.SpecVersion)
	}
	if next.Hidden = hidden; len(hidden) == 0 {
		next.Hidden = nil
	}
}

// jobStatus says which iteration of itself a job is in. Every spec version that
// comes into force is a new one, also one that was in force before; nobody else
// has a say in it. NB: Docker counts every update, a label's or a scaling too,
// and does all the work again then.
func (x *tx) jobStatus(old, next *api.Service) *swarm.JobStatus {
	switch {
	case !next.IsJob():
		return nil
	case old == nil || old.JobStatus == nil:
		return &swarm.JobStatus{LastExecution: x.at}
	case old.SpecVersion == next.SpecVersion:
		return old.JobStatus
	}
	return &swarm.JobStatus{JobIteration: swarm.Version{Index: old.JobIteration() + 1}, LastExecution: x.at}
}

// SameTask reports whether containers made from the two specs would be the
// same: the task template, the networks, the published ports and those labels
// that say how containers are made are.
func SameTask(a, b *api.ServiceSpec) bool {
	return bytes.Equal(taskPart(a), taskPart(b))
}

// taskPart is the JSON of what a container is made from. JSON, because it
// takes nil and empty for the same, as the API that specs come through does.
func taskPart(s *api.ServiceSpec) []byte {
	part := struct {
		Template, Endpoint, Networks, Settings any
	}{s.TaskTemplate, s.EndpointSpec, s.Networks, setting.OfTask(s.Labels)} //nolint:staticcheck // Networks is deprecated and still sent
	data, err := json.Marshal(part)
	if err != nil {
		panic(err) // plain data: it cannot fail
	}
	return data
}

func (x *tx) setUpdateStatus(u *SetUpdateStatus) {
	old := x.view().Service(u.ID)
	if old == nil {
		x.stale = append(x.stale, string(u.ID))
		return
	}
	next := *old
	next.UpdateStatus = u.Status
	if c := u.Canary; c != nil {
		if c.SpecVersion != old.SpecVersion {
			x.stale = append(x.stale, string(u.ID))
			return
		}
		next.Canary, next.Hidden = nil, c.Hidden
		if c.Phase != "" {
			next.Canary = &api.Canary{Phase: c.Phase, BlueGreen: old.Canary != nil && old.Canary.BlueGreen}
		}
	}
	if u.RollBackFrom != 0 {
		if u.RollBackFrom != old.SpecVersion || old.PreviousSpec == nil {
			x.stale = append(x.stale, string(u.ID))
			return
		}
		// As in Docker Swarm there is nothing to go back to afterwards: it would
		// be what has just failed.
		goBack(&next)
		x.chooseSpecVersion(old, &next)
		x.putSpec(&next)
		var missing []error
		next.Endpoint, missing = x.endpoint(old, &next)
		next.UpdateStatus = withErrors(u.Status, missing)
	}
	x.stamp(old, &next)
	next.Meta = x.meta(true, old.Meta)
	x.putServiceRow(old, &next)
	x.collectSpec(old.ID, old.SpecVersion)
	x.collectSpec(old.ID, old.PreviousSpecVersion)
}

// withErrors is an update's status that also says what the service has to do
// without.
func withErrors(s *swarm.UpdateStatus, errs []error) *swarm.UpdateStatus {
	if s == nil || len(errs) == 0 {
		return s
	}
	next := *s
	for _, err := range errs {
		next.Message += "; " + err.Error()
	}
	return &next
}

func (x *tx) deleteService(id api.ServiceID) error {
	old := x.view().Service(id)
	if old == nil {
		return api.Errorf(api.CodeNotFound, "service %s not found", id)
	}
	x.releaseEndpoint(old)
	x.loosen(refsOf(&old.Spec))
	x.loosen(refsOf(old.PreviousSpec))
	x.deleteRow(tableServices, old)
	x.services = append(x.services, Pair[api.Service]{Before: old})
	tasks := slices.Collect(x.view().ServiceTasks(id))
	for _, t := range tasks {
		if t.NodeID == "" || t.Status.State < api.TaskAssigned {
			x.deleteTasks([]api.TaskID{t.ID}) // no node has heard of it
			continue
		}
		next := *t
		next.Desired = api.TaskRemove
		x.putTask(t, &next)
	}
	x.collectSpec(id, old.SpecVersion)
	x.collectSpec(id, old.PreviousSpecVersion)
	return nil
}

// collectSpec drops a spec version that neither a service nor a task refers to.
func (x *tx) collectSpec(id api.ServiceID, version uint64) {
	v := x.view()
	spec := v.SpecVersion(id, version)
	if spec == nil {
		return
	}
	if s := v.Service(id); s != nil && (s.SpecVersion == version || s.PreviousSpecVersion == version) {
		return
	}
	for t := range v.ServiceTasks(id) {
		if t.SpecVersion == version {
			return
		}
	}
	x.loosen(refsOf(&spec.Spec))
	x.deleteRow(tableSpecs, spec)
}
