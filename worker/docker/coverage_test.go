package docker

import (
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
)

// elsewhere are the parts of a spec that make no difference to a container,
// with who carries them out.
var elsewhere = map[string]string{
	"Mode":           "package services: which tasks there are",
	"UpdateConfig":   "package services/rollout",
	"RollbackConfig": "package services/rollout",

	"TaskTemplate.RestartPolicy":                           "package services/restart",
	"TaskTemplate.Placement":                               "package scheduler",
	"TaskTemplate.ForceUpdate":                             "raftstore/state: another version of the spec",
	"TaskTemplate.Resources.Reservations.NanoCPUs":         "package scheduler",
	"TaskTemplate.Resources.Reservations.GenericResources": "package scheduler: what it sets aside comes with the task, see resourceEnv",
	"TaskTemplate.Runtime":                                 "servicespec: container is all there is",
	"EndpointSpec.Mode":                                    "packages network/balance and network/dns: what a service's name stands for",
	"EndpointSpec.Ports.Name":                              "a name for people",
}

// refused are specs that servicespec does not let in, by the part that is why.
var refused = map[string]string{
	"TaskTemplate.PluginSpec":                                                `{"TaskTemplate":{"PluginSpec":{"Name":"x"}}}`,
	"TaskTemplate.NetworkAttachmentSpec":                                     `{"TaskTemplate":{"NetworkAttachmentSpec":{"ContainerID":"x"}}}`,
	"Networks":                                                               `{"Networks":[{"Target":"a"}],"TaskTemplate":{"Networks":[{"Target":"a"}]}}`,
	"TaskTemplate.Networks.Aliases":                                          `{"TaskTemplate":{"Networks":[{"Target":"host","Aliases":["x"]}]}}`,
	"TaskTemplate.Networks.DriverOpts":                                       `{"TaskTemplate":{"Networks":[{"Target":"host","DriverOpts":{"a":"b"}}]}}`,
	"TaskTemplate.ContainerSpec.Configs.Runtime":                             `{"TaskTemplate":{"ContainerSpec":{"Configs":[{"ConfigName":"x","ConfigID":"y","Runtime":{}}]}}}`,
	"TaskTemplate.ContainerSpec.Privileges.CredentialSpec":                   `{"TaskTemplate":{"ContainerSpec":{"Privileges":{"CredentialSpec":{"File":"x"}}}}}`,
	"TaskTemplate.ContainerSpec.Mounts.ImageOptions":                         `{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"volume","Target":"/x","ImageOptions":{"Subpath":"x"}}]}}}`,
	"TaskTemplate.ContainerSpec.Mounts.ClusterOptions":                       `{"TaskTemplate":{"ContainerSpec":{"Mounts":[{"Type":"volume","Target":"/x","ClusterOptions":{}}]}}}`,
	"TaskTemplate.Resources.Reservations.GenericResources.NamedResourceSpec": `{"TaskTemplate":{"Resources":{"Reservations":{"GenericResources":[{"NamedResourceSpec":{"Kind":"gpu","Value":"x"}}]}}}}`,
}

// each yields the fields of a struct with their paths; embedded ones count as
// the struct's own.
func each(t reflect.Type, path string, do func(f reflect.StructField, path string)) {
	for _, f := range reflect.VisibleFields(t) {
		switch {
		case len(f.Index) > 1 || !f.IsExported():
		case f.Anonymous:
			do(f, path)
		case path == "":
			do(f, f.Name)
		default:
			do(f, path+"."+f.Name)
		}
	}
}

// leaves adds the paths of everything in a type that can be set by itself.
func leaves(t reflect.Type, path string, add func(string)) {
	switch {
	case t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice:
		leaves(t.Elem(), path, add)
	case t.Kind() == reflect.Struct && t.NumField() > 0:
		each(t, path, func(f reflect.StructField, path string) { leaves(f.Type, path, add) })
	default:
		add(path)
	}
}

// clearEach makes every leaf that is set empty, one at a time, and calls try
// with its path meanwhile.
func clearEach(v reflect.Value, path string, try func(path string)) {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil() && v.Elem().Kind() == reflect.Struct:
		clearEach(v.Elem(), path, try)
	case v.Kind() == reflect.Struct:
		each(v.Type(), path, func(f reflect.StructField, path string) { clearEach(v.FieldByIndex(f.Index), path, try) })
	case v.Kind() == reflect.Slice && holdsStructs(v.Type().Elem()):
		for i := range v.Len() {
			clearEach(v.Index(i), path, try)
		}
	case !v.IsZero():
		was := reflect.ValueOf(v.Interface())
		v.SetZero()
		try(path)
		v.Set(was)
	}
}

func holdsStructs(t reflect.Type) bool {
	return t.Kind() == reflect.Struct || t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct
}

// planText is the container of a request, or the refusal, as text.
func planText(t *testing.T, r *Request) string {
	t.Helper()
	p, err := MakePlan(r)
	if err != nil {
		return err.Error()
	}
	files, err := MakeFiles(r, contents)
	if err != nil {
		return err.Error()
	}
	data, err := json.Marshal([]any{p, files})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// effective are the paths whose value makes a difference to the container in
// one of the golden plans.
func effective(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, c := range planCases {
		r := c.request()
		data, err := json.Marshal(r.Spec)
		if err != nil {
			t.Fatal(err)
		}
		r.Spec = new(api.ServiceSpec) // a copy: cases share what they point to
		if err := json.Unmarshal(data, r.Spec); err != nil {
			t.Fatal(err)
		}
		full := planText(t, r)
		clearEach(reflect.ValueOf(r.Spec).Elem(), "", func(path string) {
			found[path] = found[path] || planText(t, r) != full
		})
	}
	return found
}

// covers reports whether a table has the path, or a part of the spec it is in.
func covers[V any](table map[string]V, path string) bool {
	for p := range table {
		if path == p || strings.HasPrefix(path, p+".") {
			return true
		}
	}
	return false
}

// Every field of a service's spec reaches the container, is refused, or is
// somebody else's business. What a newer version of Docker's types brings
// fails here until it is one of the three.
func TestNoFieldOfAServiceSpecIsDropped(t *testing.T) {
	works := effective(t)
	leaves(reflect.TypeFor[swarm.ServiceSpec](), "", func(path string) {
		if !works[path] && !covers(elsewhere, path) && !covers(refused, path) {
			t.Errorf("%s: no golden plan shows that it reaches the container, and it is not refused", path)
		}
	})
	for path := range elsewhere {
		for p, effect := range works {
			if effect && (p == path || strings.HasPrefix(p, path+".")) {
				t.Errorf("%s is said to be somebody else's business, but %s reaches the container", path, p)
			}
		}
	}
}

func TestWhatIsSaidToBeRefusedIs(t *testing.T) {
	for _, path := range slices.Sorted(maps.Keys(refused)) {
		spec := &api.ServiceSpec{}
		for _, data := range []string{`{"Name":"web","TaskTemplate":{"ContainerSpec":{"Image":"demo:1"}}}`, refused[path]} {
			dec := json.NewDecoder(bytes.NewReader([]byte(data)))
			dec.DisallowUnknownFields()
			if err := dec.Decode(spec); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
		servicespec.Normalise(spec)
		if err := servicespec.Validate(spec); err == nil {
			t.Errorf("%s: %s is accepted", path, refused[path])
		}
	}
}

func TestAnOldEngineIsNotGivenWhatItWouldDrop(t *testing.T) {
	plan := func(m mount.Mount) *Plan {
		p, err := MakePlan(planCase{spec: swarm.ContainerSpec{Mounts: []mount.Mount{m}}}.request())
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	health, err := MakePlan(planCases["health-and-log"].request())
	if err != nil {
		t.Fatal(err)
	}
	plain, err := MakePlan(planCases["process"].request())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		plan    *Plan
		version string
		want    string // empty: it will do
	}{
		{"plain", plain, "1.24", ""},
		{"start interval", health, "1.43", "the interval of a health check in its start period (--health-start-interval) needs Docker Engine 25.0 (API 1.44), and this node's speaks API 1.43: leave it out, or keep the service to nodes with a newer engine by a constraint"},
		{"start interval", health, "1.44", ""},
		{"source", plan(mount.Mount{Type: mount.TypeBind, Source: "/a", Target: "/a", BindOptions: &mount.BindOptions{CreateMountpoint: true}}), "1.41", "a bind that makes its source (bind-create-src) needs Docker Engine 23.0 (API 1.42), and this node's speaks API 1.41: leave it out, or keep the service to nodes with a newer engine by a constraint"},
		{"recursive", plan(mount.Mount{Type: mount.TypeBind, Source: "/a", Target: "/a", BindOptions: &mount.BindOptions{ReadOnlyForceRecursive: true}}), "1.41", "a bind that is read-only all the way down (bind-recursive=readonly) needs Docker Engine 25.0 (API 1.44), and this node's speaks API 1.41: leave it out, or keep the service to nodes with a newer engine by a constraint"},
		{"subpath", plan(mount.Mount{Type: mount.TypeVolume, Source: "a", Target: "/a", VolumeOptions: &mount.VolumeOptions{Subpath: "b"}}), "1.41", "a part of a volume (volume-subpath) needs Docker Engine 26.0 (API 1.45), and this node's speaks API 1.41: leave it out, or keep the service to nodes with a newer engine by a constraint"},
		{"subpath", plan(mount.Mount{Type: mount.TypeVolume, Source: "a", Target: "/a", VolumeOptions: &mount.VolumeOptions{Subpath: "b"}}), "1.45", ""},
		{"tmpfs", plan(mount.Mount{Type: mount.TypeTmpfs, Target: "/a", TmpfsOptions: &mount.TmpfsOptions{Options: [][]string{{"noexec"}}}}), "1.45", "options of a tmpfs (TmpfsOptions.Options) needs Docker Engine 27.0 (API 1.46), and this node's speaks API 1.45: leave it out, or keep the service to nodes with a newer engine by a constraint"},
	} {
		err := checkVersion(tt.plan, tt.version)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != tt.want || api.CodeOf(err) != api.CodeUnsupported) {
			t.Errorf("%s on %s:\n got %v\nwant %s", tt.name, tt.version, err, tt.want)
		}
	}
}
