// Command oracle records what Docker's CLI makes of the Compose files beside
// it, for the tests to compare with:
//
//	cd services/stack/testdata/oracle && go run . ../files
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/cli/cli/compose/convert"
	"github.com/docker/cli/cli/compose/loader"
	"github.com/docker/cli/cli/compose/schema"
	"github.com/docker/cli/cli/compose/types"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"
)

// environment is what the files find when they are read.
var environment = map[string]string{"TAG": "1.27", "REPLICAS": "3", "FROM_CALLER": "here"}

func main() {
	files, err := filepath.Glob(filepath.Join(os.Args[1], "*.yml"))
	check(err)
	for _, name := range files {
		check(record(name))
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type recorded struct {
	Error    string                                 `json:",omitempty"`
	Services map[string]swarm.ServiceSpec           `json:",omitempty"`
	Networks map[string]client.NetworkCreateOptions `json:",omitempty"`
	External []string                               `json:",omitempty"`
	Secrets  []swarm.SecretSpec                     `json:",omitempty"`
	Configs  []swarm.ConfigSpec                     `json:",omitempty"`
}

func record(name string) error {
	var out recorded
	if err := out.convert(name); err != nil {
		out = recorded{Error: strings.ReplaceAll(err.Error(), mustAbs(filepath.Dir(name)), "DIR")}
	}
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	data = bytes.ReplaceAll(data, []byte(mustAbs(filepath.Dir(name))), []byte("DIR"))
	return os.WriteFile(strings.TrimSuffix(name, ".yml")+".docker.json", append(data, '\n'), 0o644)
}

func mustAbs(name string) string {
	abs, err := filepath.Abs(name)
	check(err)
	return abs
}

func (r *recorded) convert(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	dict, err := loader.ParseYAML(data)
	if err != nil {
		return err
	}
	config, err := loader.Load(types.ConfigDetails{
		Version: schema.Version(dict), WorkingDir: mustAbs(filepath.Dir(name)), Environment: environment,
		ConfigFiles: []types.ConfigFile{{Filename: name, Config: dict}},
	})
	if err != nil {
		return err
	}
	namespace := convert.NewNamespace("shop")
	if r.Services, err = convert.Services(context.Background(), namespace, config, named{}); err != nil {
		return err
	}
	used := map[string]struct{}{}
	for _, s := range config.Services {
		for n := range s.Networks {
			used[n] = struct{}{}
		}
		if len(s.Networks) == 0 {
			used["default"] = struct{}{}
		}
	}
	r.Networks, r.External = convert.Networks(namespace, config.Networks, used)
	slices.Sort(r.External)
	if r.Secrets, err = convert.Secrets(namespace, config.Secrets); err != nil {
		return err
	}
	slices.SortFunc(r.Secrets, func(a, b swarm.SecretSpec) int { return strings.Compare(a.Name, b.Name) })
	r.Configs, err = convert.Configs(namespace, config.Configs)
	slices.SortFunc(r.Configs, func(a, b swarm.ConfigSpec) int { return strings.Compare(a.Name, b.Name) })
	return err
}

// named is a cluster that has every secret and config, without an ID.
type named struct{ client.APIClient }

func (named) SecretList(_ context.Context, o client.SecretListOptions) (out client.SecretListResult, _ error) {
	for name := range o.Filters["name"] {
		out.Items = append(out.Items, swarm.Secret{Spec: swarm.SecretSpec{Annotations: swarm.Annotations{Name: name}}})
	}
	return out, nil
}

func (named) ConfigList(_ context.Context, o client.ConfigListOptions) (out client.ConfigListResult, _ error) {
	for name := range o.Filters["name"] {
		out.Items = append(out.Items, swarm.Config{Spec: swarm.ConfigSpec{Annotations: swarm.Annotations{Name: name}}})
	}
	return out, nil
}
