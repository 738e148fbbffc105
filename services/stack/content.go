package stack

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/swarm"
)

// aNewVersion is what a change says of a content, which it does not show.
const aNewVersion = "a new version, with another content"

// secret compares the labels of a secret. What it holds the API does not tell:
// it has been asked, see Options.Rewritten.
func (d *differ) secret(spec swarm.SecretSpec) error {
	old := findBy(d.have.Secrets, spec.Name, secretName)
	if old == nil {
		d.plan.Secrets = append(d.plan.Secrets, SecretChange{Spec: spec})
		return nil
	}
	if err := d.foreign("secret", spec.Name, old.Spec.Labels); err != nil {
		return err
	}
	c := SecretChange{Old: old, Spec: spec, Rewritten: d.options.Rewritten[spec.Name] || !sameTemplating(old.Spec.Templating, spec.Templating)}
	was, is := old.Spec, spec
	was.Data, is.Data, was.Templating, is.Templating = nil, nil, nil, nil
	c.Changes = d.contentChanges("secret", spec.Name, c.Rewritten, Diff(was, is))
	d.plan.Secrets = append(d.plan.Secrets, c)
	return immutable("secret", spec.Name, c.Changes)
}

func (d *differ) config(spec swarm.ConfigSpec) error {
	old := findBy(d.have.Configs, spec.Name, configName)
	if old == nil {
		d.plan.Configs = append(d.plan.Configs, ConfigChange{Spec: spec})
		return nil
	}
	if err := d.foreign("config", spec.Name, old.Spec.Labels); err != nil {
		return err
	}
	c := ConfigChange{Old: old, Spec: spec, Rewritten: !bytes.Equal(old.Spec.Data, spec.Data) || !sameTemplating(old.Spec.Templating, spec.Templating)}
	was, is := old.Spec, spec
	was.Data, is.Data, was.Templating, is.Templating = nil, nil, nil, nil
	c.Changes = d.contentChanges("config", spec.Name, c.Rewritten, Diff(was, is))
	d.plan.Configs = append(d.plan.Configs, c)
	return immutable("config", spec.Name, c.Changes)
}

// contentChanges notes what is rewritten, for the services that use it.
func (d *differ) contentChanges(kind, name string, rewritten bool, changes []Change) []Change {
	if !rewritten {
		return changes
	}
	d.rewritten[kind+" "+name] = true
	return append([]Change{{Path: dataPath, New: aNewVersion}}, changes...)
}

const dataPath = "Data"

func sameTemplating(a, b *swarm.Driver) bool {
	none := &swarm.Driver{}
	if a == nil {
		a = none
	}
	if b == nil {
		b = none
	}
	return reflect.DeepEqual(a, b)
}

// immutable refuses changes of more than the content and the labels.
func immutable(kind, name string, changes []Change) error {
	for _, c := range changes {
		if c.Path != dataPath && !strings.HasPrefix(c.Path, "Labels") {
			return fmt.Errorf("%s %q: only its content and its labels can be changed, not %s: give it another name in the file", kind, name, c)
		}
	}
	return nil
}

// identify fills in the IDs of secrets and configs that are there.
func (d *differ) identify(spec *swarm.ServiceSpec) {
	c := *spec.TaskTemplate.ContainerSpec
	c.Secrets, c.Configs = slices.Clone(c.Secrets), slices.Clone(c.Configs)
	for i, r := range c.Secrets {
		if s := findBy(d.have.Secrets, r.SecretName, secretName); s != nil {
			ref := *r
			ref.SecretID, c.Secrets[i] = s.ID, &ref
		}
	}
	for i, r := range c.Configs {
		o := findBy(d.have.Configs, r.ConfigName, configName)
		if o == nil {
			continue
		}
		ref := *r
		ref.ConfigID, c.Configs[i] = o.ID, &ref
		if p := c.Privileges; r.Runtime != nil && p != nil && p.CredentialSpec != nil {
			credentials := *p.CredentialSpec
			credentials.Config = o.ID
			privileges := *p
			privileges.CredentialSpec, c.Privileges = &credentials, &privileges
		}
	}
	spec.TaskTemplate.ContainerSpec = &c
}

// follow says which of what a service uses is rewritten: it gets the new version,
// whose ID is not known yet.
func (d *differ) follow(c *swarm.ContainerSpec) (changes []Change) {
	const path = "TaskTemplate.ContainerSpec."
	said := map[string]bool{}
	say := func(list, name string) {
		if !said[list+name] {
			said[list+name] = true
			changes = append(changes, Change{Path: path + list + "." + name, New: aNewVersion})
		}
	}
	for _, r := range c.Secrets {
		if d.rewritten["secret "+r.SecretName] {
			say("Secrets", r.SecretName)
		}
	}
	for _, r := range c.Configs {
		if d.rewritten["config "+r.ConfigName] {
			say("Configs", r.ConfigName)
		}
	}
	return changes
}
