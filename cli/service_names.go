package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
)

// resolveNames replaces the names of networks, secrets and configs that flags
// put into a spec by the IDs the API wants, and takes out the networks to remove.
func (c *call) resolveNames(ctx context.Context, spec *swarm.ServiceSpec) error {
	if err := c.resolveNetworks(ctx, &spec.TaskTemplate); err != nil {
		return err
	}
	if err := c.resolveSecrets(ctx, spec.TaskTemplate.ContainerSpec); err != nil {
		return err
	}
	return c.resolveConfigs(ctx, spec.TaskTemplate.ContainerSpec)
}

func (c *call) resolveNetworks(ctx context.Context, task *swarm.TaskSpec) error {
	id := func(name string) (string, error) {
		n, err := c.api().NetworkInspect(ctx, name, network.InspectOptions{Scope: "swarm"})
		return n.ID, err
	}
	added := map[string]bool{}
	for _, n := range append(all[swarm.NetworkAttachmentConfig](c.flags, "network"), all[swarm.NetworkAttachmentConfig](c.flags, "network-add")...) {
		added[n.Target] = true
	}
	gone := map[string]bool{}
	for name := range c.flags.set("network-rm") {
		nid, err := id(name)
		if err != nil {
			return err
		}
		gone[nid] = true
	}
	task.Networks = dropNamed(task.Networks, gone, func(n swarm.NetworkAttachmentConfig) string { return n.Target })
	for i, n := range task.Networks {
		if !added[n.Target] {
			continue
		}
		nid, err := id(n.Target)
		if err != nil {
			return err
		}
		for j, o := range task.Networks {
			if j != i && o.Target == nid {
				return fmt.Errorf("service is already attached to network %s", n.Target)
			}
		}
		task.Networks[i].Target = nid
	}
	slices.SortFunc(task.Networks, func(a, b swarm.NetworkAttachmentConfig) int { return strings.Compare(a.Target, b.Target) })
	return nil
}

func (c *call) resolveSecrets(ctx context.Context, spec *swarm.ContainerSpec) error {
	names, targets := filters.NewArgs(), map[string]bool{}
	for _, r := range spec.Secrets {
		if r.File != nil && targets[r.File.Name] {
			return fmt.Errorf("duplicate secret target for %s not allowed", r.SecretName)
		} else if r.File != nil {
			targets[r.File.Name] = true
		}
		if r.SecretID == "" {
			names.Add("name", r.SecretName)
		}
	}
	if names.Len() == 0 {
		return nil
	}
	found, err := c.api().SecretList(ctx, swarm.SecretListOptions{Filters: names})
	if err != nil {
		return err
	}
	for _, r := range spec.Secrets {
		i := slices.IndexFunc(found, func(s swarm.Secret) bool { return s.Spec.Name == r.SecretName })
		switch {
		case r.SecretID != "":
		case i < 0:
			return fmt.Errorf("secret not found: %s", r.SecretName)
		default:
			r.SecretID = found[i].ID
		}
	}
	return nil
}

func (c *call) resolveConfigs(ctx context.Context, spec *swarm.ContainerSpec) error {
	names, targets := filters.NewArgs(), map[string]bool{}
	for _, r := range spec.Configs {
		if r.File != nil && targets[r.File.Name] {
			return fmt.Errorf("duplicate config target for %s not allowed", r.ConfigName)
		} else if r.File != nil {
			targets[r.File.Name] = true
		}
		if r.ConfigID == "" {
			names.Add("name", r.ConfigName)
		}
	}
	if names.Len() == 0 {
		return nil
	}
	found, err := c.api().ConfigList(ctx, swarm.ConfigListOptions{Filters: names})
	if err != nil {
		return err
	}
	for _, r := range spec.Configs {
		i := slices.IndexFunc(found, func(s swarm.Config) bool { return s.Spec.Name == r.ConfigName })
		switch {
		case r.ConfigID != "":
			continue
		case i < 0:
			return fmt.Errorf("config not found: %s", r.ConfigName)
		}
		r.ConfigID = found[i].ID
		if p := spec.Privileges; r.Runtime != nil && p != nil && p.CredentialSpec != nil {
			p.CredentialSpec.Config = r.ConfigID
		}
	}
	return nil
}

// How long a registry may take to name an image's digest: shortly where this
// host has the image anyhow.
const (
	registryPatience      = 15 * time.Second
	registryPatienceLocal = 3 * time.Second
)

// pinImage asks the image's registry for its digest, so that every node runs
// the same bytes, as Docker's CLI does. An image that this host built and no
// registry ever saw is not asked for at all, and a registry that does not
// answer holds nobody up: the warning says that the image is not pinned.
func (c *call) pinImage(ctx context.Context, task *swarm.TaskSpec, auth string) (warning []string) {
	name := task.ContainerSpec.Image
	ref, err := reference.ParseNormalizedNamed(name)
	if err != nil || c.flags.yes("no-resolve-image") {
		return nil
	}
	if _, pinned := ref.(reference.Canonical); pinned {
		return nil
	}
	ref = reference.TagNameOnly(ref)
	patience := registryPatience
	if image, err := c.api().ImageInspect(ctx, reference.FamiliarString(ref)); err == nil {
		if len(image.RepoDigests) == 0 {
			return nil
		}
		patience = registryPatienceLocal
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	found, err := c.api().DistributionInspect(ctx, reference.FamiliarString(ref), auth)
	if err == nil {
		ref, err = reference.WithDigest(ref, found.Descriptor.Digest)
	}
	if err != nil {
		return []string{fmt.Sprintf("image %[1]s could not be accessed on a registry to record\nits digest. Each node will access %[1]s independently,\npossibly leading to different nodes running different\nversions of the image.\n", reference.FamiliarString(reference.TagNameOnly(ref)))}
	}
	task.ContainerSpec.Image = reference.FamiliarString(ref)
	if len(found.Platforms) > 0 {
		need(&task.Placement).Platforms = nil
	}
	for _, p := range found.Platforms {
		arch := p.Architecture
		if strings.EqualFold(arch, "arm") {
			arch = "" // nodes report armv6l, armv7l: any of them will do
		}
		task.Placement.Platforms = append(task.Placement.Platforms, swarm.Platform{Architecture: arch, OS: p.OS})
	}
	return nil
}
