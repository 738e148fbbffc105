package dockerapi_test

import (
	"slices"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api/setting"
)

func dependingSpec(name, on string) swarm.ServiceSpec {
	spec := serviceSpec(name)
	spec.Labels = map[string]string{setting.LabelDependsOn: on}
	return spec
}

// What is not there yet is warned of; services that would wait for each other are
// refused, whichever of them closes the circle.
func TestDependencies(t *testing.T) {
	c := start(t, nil)
	made, err := c.docker.ServiceCreate(t.Context(), dependingSpec("app", "db:healthy,cache:started:optional"), swarm.ServiceCreateOptions{})
	c.must(err)
	if want := []string{"label swarmctl.depends-on: there is no service db: the tasks of service app wait until there is"}; !slices.Equal(made.Warnings, want) {
		t.Errorf("warned: %q, want %q", made.Warnings, want)
	}
	c.create(dependingSpec("db", "disk"))
	_, err = c.docker.ServiceCreate(t.Context(), dependingSpec("disk", "app"), swarm.ServiceCreateOptions{})
	wantError(t, err, errdefs.IsInvalidArgument, "label swarmctl.depends-on: disk -> app -> db -> disk: they would wait for each other for ever: leave one of these dependencies out")
	c.create(serviceSpec("disk"))
	now := c.inspect("disk")
	now.Spec.Labels = map[string]string{setting.LabelDependsOn: "disk"}
	_, err = c.docker.ServiceUpdate(t.Context(), "disk", now.Version, now.Spec, swarm.ServiceUpdateOptions{})
	wantError(t, err, errdefs.IsInvalidArgument, "label swarmctl.depends-on: disk -> disk: they would wait for each other for ever: leave one of these dependencies out")
	for on, why := range map[string]string{
		"":              `"" names no service: give NAME[:CONDITION][:optional], as in db:healthy, and several with commas`,
		"db,":           `"" names no service: give NAME[:CONDITION][:optional], as in db:healthy, and several with commas`,
		"db:well":       `"db:well": "well" is no condition: use started, healthy or completed`,
		"db,db:healthy": "service db is there twice: leave one of them out",
	} {
		_, err := c.docker.ServiceCreate(t.Context(), dependingSpec("web", on), swarm.ServiceCreateOptions{})
		wantError(t, err, errdefs.IsInvalidArgument, "label swarmctl.depends-on: "+why)
	}
}
