package stack

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

// callersEnv is that of testdata/oracle.
var callersEnv = map[string]string{"TAG": "1.27", "REPLICAS": "3", "FROM_CALLER": "here"}

// dockers is what Docker's CLI makes of a file: see testdata/oracle.
type dockers struct {
	Services map[string]swarm.ServiceSpec
	Networks map[string]struct {
		Driver               string
		Options, Labels      map[string]string
		Internal, Attachable bool
		IPAM                 *network.IPAM
	}
	External []string
	Secrets  []swarm.SecretSpec
	Configs  []swarm.ConfigSpec
}

// kept are the differences that we mean, by file and by the change from
// Docker's to ours, with the reason.
var kept = map[string]map[string]string{
	"names.yml": {
		"~ app: TaskTemplate.ContainerSpec.Hosts: [50.31.209.229 otherhost 162.242.195.82 somehost ::1 six] -> [50.31.209.229 otherhost ::1 six 162.242.195.82 somehost]": "compose-go keeps hosts by name; the order is that of the names",
	},
	"capabilities.yml": {
		"+ app: TaskTemplate.ContainerSpec.OomScoreAdj: 100": "Docker's loader loses it",
	},
	"ports.yml": {
		"- web: EndpointSpec.Ports: {PublishedPort=8082 TargetPort=82}":                                  "the API fills in the other two",
		"+ web: EndpointSpec.Ports: {Protocol=tcp PublishMode=ingress PublishedPort=8082 TargetPort=82}": "as the API fills it in",
	},
	"credentials.yml": {
		"+ app: TaskTemplate.ContainerSpec.Privileges.CredentialSpec.Config: shop_account": "Docker's has the ID of the config, which nobody knows before it is created",
	},
	"proxy.yml": {
		"- proxy: EndpointSpec.Ports: {PublishMode=host PublishedPort=80 TargetPort=80}":              "the API fills in the protocol",
		"+ proxy: EndpointSpec.Ports: {Protocol=tcp PublishMode=host PublishedPort=80 TargetPort=80}": "as the API fills it in",
	},
	"metrics.yml": {
		"+ exporter: TaskTemplate.ContainerSpec.Mounts: {Target=/tmp Type=tmpfs}": "Docker's leaves it out",
	},
	"cms.yml": {
		"+ site: Labels.swarmctl.depends-on: shop_db:started": "Docker's leaves it out",
		"+ site: Labels.swarmctl.shm-size: 67108864":          "Docker's leaves it out",
	},
	"ignored.yml": {
		"+ web: Labels.swarmctl.depends-on: shop_db:started": "Docker's leaves it out",
	},
	"own.yml": {
		"+ app: Labels.swarmctl.devices: /dev/fuse:/dev/fuse:rwm": "Docker's leaves it out",
		"+ app: Labels.swarmctl.ipc: host":                        "Docker's leaves it out",
		"+ app: Labels.swarmctl.pid: host":                        "Docker's leaves it out",
		"+ app: Labels.swarmctl.privileged: true":                 "Docker's leaves it out",
	},
}

func testInput(t *testing.T, files ...string) Input {
	t.Helper()
	dir, err := filepath.Abs("testdata/files")
	if err != nil {
		t.Fatal(err)
	}
	in := Input{Name: "shop", Dir: dir, Env: callersEnv, Read: readFile}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			t.Fatal(err)
		}
		in.Files = append(in.Files, File{Name: f, Content: data})
	}
	return in
}

func readFile(name string, _ int64) ([]byte, error) { return os.ReadFile(name) }

func convert(t *testing.T, in Input) (*Model, *Stack) {
	t.Helper()
	m, err := Load(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	s, err := m.Convert()
	if err != nil {
		t.Fatal(err)
	}
	return m, s
}

// Files that both know become the same specs.
func TestFilesMeanWhatTheyMeanToDocker(t *testing.T) {
	files, err := filepath.Glob("testdata/files/*.yml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, path := range files {
		name := filepath.Base(path)
		t.Run(name, func(t *testing.T) {
			var want dockers
			data, err := os.ReadFile(strings.TrimSuffix(path, ".yml") + ".docker.json")
			if err != nil {
				t.Fatal(err)
			}
			in := testInput(t, name)
			if err := json.Unmarshal([]byte(strings.ReplaceAll(string(data), `"DIR`, `"`+in.Dir)), &want); err != nil {
				t.Fatal(err)
			}
			if len(want.Services) == 0 {
				t.Fatal("Docker's CLI made nothing of it")
			}
			_, got := convert(t, in)
			var found []string
			note := func(of string, changes []Change) {
				for _, c := range changes {
					c.Path = of + ": " + c.Path
					found = append(found, c.String())
				}
			}
			if len(got.Services) != len(want.Services) {
				t.Errorf("%d services, Docker's CLI makes %d", len(got.Services), len(want.Services))
			}
			for _, spec := range got.Services {
				service := strings.TrimPrefix(spec.Name, "shop_")
				note(service, Diff(want.Services[service], spec))
			}
			for _, n := range got.Networks {
				w, ok := want.Networks[n.Name]
				if !ok {
					t.Errorf("network %s is ours alone", n.Name)
				}
				if w.Driver == "" {
					w.Driver = "overlay" // put in later
				}
				note("network "+n.Name, Diff(network.CreateOptions{Driver: w.Driver, Options: w.Options, Labels: w.Labels, Internal: w.Internal, Attachable: w.Attachable, IPAM: w.IPAM}, n.Options))
				delete(want.Networks, n.Name)
			}
			for n := range want.Networks {
				t.Errorf("network %s is Docker's alone", n)
			}
			note("external", Diff(want.External, got.ExternalNetworks))
			note("secrets", Diff(want.Secrets, got.Secrets))
			note("configs", Diff(want.Configs, got.Configs))
			for _, c := range found {
				if kept[name][c] == "" {
					t.Errorf("differs from Docker's: %s", c)
				}
			}
			for c := range kept[name] {
				if !slices.Contains(found, c) {
					t.Errorf("does not differ any more: %s", c)
				}
			}
		})
	}
}
