package docker

import (
	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/expand"
)

// factsOf is what the templates of a task's spec may ask for.
func factsOf(r *Request) *expand.Facts {
	f := new(expand.Facts)
	f.Service.ID = string(r.Task.ServiceID)
	f.Service.Name = r.Spec.Name
	f.Service.Labels = r.Spec.Labels
	f.Node.ID = string(r.Node.ID)
	f.Node.Hostname = r.Node.Hostname
	f.Node.Platform.Architecture = r.Node.Architecture
	f.Node.Platform.OS = r.Node.OS
	f.Task.ID = string(r.Task.ID)
	f.Task.Name = api.TaskName(r.Spec, r.Task)
	f.Task.Slot = api.Place(r.Spec, r.Task)
	return f
}
