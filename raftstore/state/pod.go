package state

import (
	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

// PodService returns the service whose tasks those of the spec live with. It is
// an error of code not_found where there is none of that name (yet), and of code
// invalid where it is one that has no sidecars. A spec of no sidecar has none, and
// no error.
func (v *View) PodService(spec *api.ServiceSpec) (*api.Service, error) {
	name := setting.PodOf(spec.Labels)
	if name == "" {
		return nil, nil
	}
	s := v.ServiceByName(name)
	switch {
	case name == spec.Name:
		return nil, api.Errorf(api.CodeInvalid, "label %s: service %s cannot be a sidecar of itself: name another service", setting.LabelPod, name)
	case s == nil:
		return nil, api.Errorf(api.CodeNotFound, "there is no service %s to be a sidecar of: create it", name)
	case s.Spec.Labels[setting.LabelPod] != "":
		return nil, api.Errorf(api.CodeInvalid, "label %s: service %s is a sidecar itself, of service %s: name that one", setting.LabelPod, name, s.Spec.Labels[setting.LabelPod])
	case s.IsJob():
		return nil, api.Errorf(api.CodeInvalid, "label %s: service %s is a job, and jobs have no sidecars: run both in one container, or make it a service", setting.LabelPod, name)
	}
	return s, nil
}

// Sidecars reports whether a service has any: it names one of them.
func (v *View) Sidecars(name string) (sidecar string, ok bool) {
	for s := range v.Services() {
		if setting.PodOf(s.Spec.Labels) == name {
			return s.Name(), true
		}
	}
	return "", false
}

// homeless reports whether a new task is a sidecar of one that is not, or no
// longer, to run on its node. So none is made that outlives what it belongs to,
// whatever its maker knew.
func (v *View) homeless(t *api.Task) bool {
	if t.PodOf == "" {
		return false
	}
	with := v.Task(t.PodOf)
	return with == nil || with.NodeID != t.NodeID || !with.Live() || with.Status.State < api.TaskAssigned
}
