package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
	"github.com/swarmctl/swarmctl/services/stack"
)

// stackFilter lets through what is of a stack.
func stackFilter(name string) filters.Args {
	return filters.NewArgs(filters.Arg("label", stack.LabelNamespace+"="+name))
}

func stackDeploy(ctx context.Context, c *call) error {
	name := c.args[0]
	if err := stack.CheckName(name); err != nil {
		return err
	}
	m, err := c.loadStack(ctx, name)
	if err != nil {
		return err
	}
	s, err := m.Convert()
	if err != nil {
		return err
	}
	if err := checkSpecs(s); err != nil {
		return err
	}
	d := &deploy{call: c, stack: s, auth: map[string]string{}}
	plan, err := d.plan(ctx)
	if err != nil {
		return err
	}
	warn(c.err, plan.Warnings)
	if c.flags.yes("dry-run") {
		return d.show(plan)
	}
	if err := d.apply(ctx, plan); err != nil {
		return err
	}
	return d.wait(ctx)
}

// checkSpecs brings the specs into the shape in which they are kept, and holds
// them against the rules of the API before anything is written.
func checkSpecs(s *stack.Stack) error {
	var errs []error
	for i := range s.Services {
		spec := &s.Services[i]
		servicespec.Normalise(spec)
		if err := servicespec.Validate(identified(*spec)); err != nil {
			errs = append(errs, fmt.Errorf("service %s: %w", spec.Name, err))
		}
	}
	for _, n := range s.Networks {
		if err := servicespec.CheckName(n.Name); err != nil {
			errs = append(errs, fmt.Errorf("network %s: %w", n.Name, err))
		}
	}
	return errors.Join(errs...)
}

// identified is a spec whose secrets and configs have their names for IDs, as
// some of them are still to be created.
func identified(spec swarm.ServiceSpec) *swarm.ServiceSpec {
	c := *spec.TaskTemplate.ContainerSpec
	c.Secrets, c.Configs = slices.Clone(c.Secrets), slices.Clone(c.Configs)
	for i, r := range c.Secrets {
		ref := *r
		ref.SecretID, c.Secrets[i] = ref.SecretName, &ref
	}
	for i, r := range c.Configs {
		ref := *r
		ref.ConfigID, c.Configs[i] = ref.ConfigName, &ref
	}
	spec.TaskTemplate.ContainerSpec = &c
	return &spec
}

// deploy is one `stack deploy` on its way.
type deploy struct {
	*call
	stack   *stack.Stack
	auth    map[string]string // credentials by the service's name
	started []started
}

// started is a service that a deploy has created or changed.
type started struct{ name, id string }

func (d *deploy) plan(ctx context.Context) (*stack.Plan, error) {
	have, err := d.cluster(ctx)
	if err != nil {
		return nil, err
	}
	o := stack.Options{Prune: d.flags.yes("prune"), Pinned: map[string]stack.Pin{}}
	if plan, err := d.stack.Against(have, o); err != nil {
		return plan, err // before a registry is asked, which may take its time
	}
	if err := d.resolveImages(ctx, have.Services, o.Pinned); err != nil {
		return nil, err
	}
	plan, err := d.stack.Against(have, o)
	if err != nil {
		return nil, err
	}
	for _, change := range plan.Services {
		if change.Old == nil {
			continue
		}
		if err := servicespec.CheckUpdate(&change.Old.Spec, &change.Spec); err != nil {
			return nil, fmt.Errorf("service %s: %w", change.Spec.Name, err)
		}
	}
	return plan, nil
}

// cluster asks for what there is.
func (d *deploy) cluster(ctx context.Context) (have stack.Cluster, err error) {
	if have.Services, err = d.api().ServiceList(ctx, swarm.ServiceListOptions{Filters: stackFilter(d.stack.Name)}); err != nil {
		return have, err
	}
	if have.Networks, err = d.api().NetworkList(ctx, network.ListOptions{}); err != nil {
		return have, err
	}
	if have.Secrets, err = d.api().SecretList(ctx, swarm.SecretListOptions{}); err != nil {
		return have, err
	}
	have.Configs, err = d.api().ConfigList(ctx, swarm.ConfigListOptions{})
	return have, err
}

// resolveImages asks the registries for the digests of the images, where
// --resolve-image wants it: once an image, several at a time, as a registry that
// does not answer takes its time. Without an answer an image that has not
// changed stays as it was pinned.
func (d *deploy) resolveImages(ctx context.Context, have []swarm.Service, pinned map[string]stack.Pin) error {
	users := map[string][]string{} // services by image
	isNew := map[string]bool{}     // of an image: some service had another one, or none
	mode := one(d.flags, "resolve-image", resolveAlways)
	for _, spec := range d.stack.Services {
		image := spec.TaskTemplate.ContainerSpec.Image
		auth, err := d.registryAuth(image)
		if err != nil {
			return fmt.Errorf("service %s: %w", spec.Name, err)
		}
		d.auth[spec.Name] = auth
		changed := !slices.ContainsFunc(have, func(s swarm.Service) bool {
			return s.Spec.Name == spec.Name && s.Spec.Labels[stack.LabelImage] == image
		})
		if mode == resolveAlways || mode == resolveChanged && changed {
			users[image] = append(users[image], spec.Name)
			isNew[image] = isNew[image] || changed
		}
	}
	var group errgroup.Group
	var lock sync.Mutex
	group.SetLimit(atOnce)
	for image, services := range users {
		group.Go(func() error {
			pin, warnings := d.resolveImage(ctx, image, d.auth[services[0]])
			lock.Lock()
			defer lock.Unlock()
			if pin == nil && isNew[image] {
				warn(d.err, warnings)
			}
			for _, name := range services {
				if pin != nil {
					pinned[name] = *pin
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// resolveImage returns nil where no registry has told.
func (d *deploy) resolveImage(ctx context.Context, image, auth string) (*stack.Pin, []string) {
	task := swarm.TaskSpec{ContainerSpec: &swarm.ContainerSpec{Image: image}}
	warnings := d.pinImage(ctx, &task, auth)
	ref, err := reference.ParseNormalizedNamed(task.ContainerSpec.Image)
	if err != nil {
		return nil, warnings
	}
	if _, ok := ref.(reference.Canonical); !ok {
		return nil, warnings
	}
	pin := &stack.Pin{Image: task.ContainerSpec.Image}
	if task.Placement != nil {
		pin.Platforms = task.Placement.Platforms
	}
	return pin, nil
}

// show is --dry-run.
func (d *deploy) show(p *stack.Plan) error {
	if p.Empty() {
		fmt.Fprintln(d.out, "no changes")
		return nil
	}
	for _, s := range p.Remove {
		fmt.Fprintf(d.out, "- service %s\n", s.Spec.Name)
	}
	for _, n := range p.Networks {
		fmt.Fprintf(d.out, "+ network %s\n", n.Name)
		d.lines(stack.Diff(network.CreateOptions{}, n.Options))
	}
	for _, s := range p.Secrets {
		shown := s.Spec
		shown.Data = nil
		d.object("secret", s.Spec.Name, s.Old == nil, s.Changes, stack.Diff(swarm.SecretSpec{}, shown))
	}
	for _, o := range p.Configs {
		shown := o.Spec
		shown.Data = nil
		d.object("config", o.Spec.Name, o.Old == nil, o.Changes, stack.Diff(swarm.ConfigSpec{}, shown))
	}
	for _, s := range p.Services {
		d.object("service", s.Spec.Name, s.Old == nil, s.Changes, stack.Diff(swarm.ServiceSpec{}, s.Spec))
	}
	return nil
}

func (d *deploy) object(kind, name string, isNew bool, changes, whole []stack.Change) {
	switch {
	case isNew:
		fmt.Fprintf(d.out, "+ %s %s\n", kind, name)
		d.lines(whole)
	case len(changes) > 0:
		fmt.Fprintf(d.out, "~ %s %s\n", kind, name)
		d.lines(changes)
	}
}

func (d *deploy) lines(changes []stack.Change) {
	for _, c := range changes {
		if c.Path != "Name" {
			fmt.Fprintf(d.out, "    %s\n", strings.Replace(c.String(), "TaskTemplate.", "", 1))
		}
	}
}

// apply carries a plan out, in Docker's order and words. What fails leaves
// what was done before as it is: deploying again goes on from there.
func (d *deploy) apply(ctx context.Context, p *stack.Plan) error {
	wrote := false
	did := func(format string, args ...any) {
		wrote = true
		fmt.Fprintf(d.out, format+"\n", args...)
	}
	if err := d.contents(ctx, p, did); err != nil {
		return err
	}
	for _, s := range p.Remove {
		did("Removing service %s", s.Spec.Name)
		if err := d.api().ServiceRemove(ctx, s.ID); err != nil {
			return fmt.Errorf("failed to remove service %s: %w", s.Spec.Name, err)
		}
	}
	for _, n := range p.Networks {
		did("Creating network %s", n.Name)
		if _, err := d.api().NetworkCreate(ctx, n.Name, n.Options); err != nil {
			return fmt.Errorf("failed to create network %s: %w", n.Name, err)
		}
	}
	if err := d.create(ctx, p, did); err != nil {
		return err
	}
	for i := range p.Services {
		if err := d.service(ctx, &p.Services[i], did); err != nil {
			return err
		}
	}
	if !wrote {
		fmt.Fprintln(d.out, "no changes")
	}
	return nil
}

// contents has the API compare the secrets that are there with the files,
// which nobody else can: an update of nothing else, which writes nothing where
// they are the same. Only then labels are written.
func (d *deploy) contents(ctx context.Context, p *stack.Plan, did func(string, ...any)) error {
	var errs []error
	for _, s := range p.Secrets {
		if s.Old == nil {
			continue
		}
		asked := s.Spec
		asked.Labels = s.Old.Spec.Labels
		err := d.api().SecretUpdate(ctx, s.Old.ID, s.Old.Version, asked)
		if err != nil && strings.Contains(err.Error(), "only updates to Labels are allowed") {
			err = stack.ErrContent("secret", s.Spec.Name)
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, s := range p.Secrets {
		if s.Old == nil || len(s.Changes) == 0 {
			continue
		}
		did("Updating secret %s (id: %s)", s.Spec.Name, s.Old.ID)
		if err := d.api().SecretUpdate(ctx, s.Old.ID, s.Old.Version, s.Spec); err != nil {
			return fmt.Errorf("failed to update secret %s: %w", s.Spec.Name, err)
		}
	}
	return nil
}

// create makes the secrets and configs that are not there, and changes the
// labels of configs that are.
func (d *deploy) create(ctx context.Context, p *stack.Plan, did func(string, ...any)) error {
	for _, s := range p.Secrets {
		if s.Old != nil {
			continue
		}
		did("Creating secret %s", s.Spec.Name)
		if _, err := d.api().SecretCreate(ctx, s.Spec); err != nil {
			return fmt.Errorf("failed to create secret %s: %w", s.Spec.Name, err)
		}
	}
	for _, o := range p.Configs {
		switch {
		case o.Old == nil:
			did("Creating config %s", o.Spec.Name)
			if _, err := d.api().ConfigCreate(ctx, o.Spec); err != nil {
				return fmt.Errorf("failed to create config %s: %w", o.Spec.Name, err)
			}
		case len(o.Changes) > 0:
			did("Updating config %s (id: %s)", o.Spec.Name, o.Old.ID)
			if err := d.api().ConfigUpdate(ctx, o.Old.ID, o.Old.Version, o.Spec); err != nil {
				return fmt.Errorf("failed to update config %s: %w", o.Spec.Name, err)
			}
		}
	}
	return nil
}

// service creates one, or updates one that differs. Credentials cannot be
// compared, so whoever sends some has them written.
func (d *deploy) service(ctx context.Context, change *stack.ServiceChange, did func(string, ...any)) error {
	name, auth := change.Spec.Name, d.auth[change.Spec.Name]
	if change.Old != nil && len(change.Changes) == 0 && auth == "" {
		return nil
	}
	if err := d.resolveSecrets(ctx, change.Spec.TaskTemplate.ContainerSpec); err != nil {
		return fmt.Errorf("service %s: %w", name, err)
	}
	if err := d.resolveConfigs(ctx, change.Spec.TaskTemplate.ContainerSpec); err != nil {
		return fmt.Errorf("service %s: %w", name, err)
	}
	if change.Old == nil {
		did("Creating service %s", name)
		made, err := d.api().ServiceCreate(ctx, change.Spec, swarm.ServiceCreateOptions{EncodedRegistryAuth: auth})
		if err != nil {
			return fmt.Errorf("failed to create service %s: %w", name, err)
		}
		warn(d.err, made.Warnings)
		d.started = append(d.started, started{name, made.ID})
		return nil
	}
	did("Updating service %s (id: %s)", name, change.Old.ID)
	o := swarm.ServiceUpdateOptions{EncodedRegistryAuth: auth}
	if auth == "" {
		o.RegistryAuthFrom = swarm.RegistryAuthFromSpec
	}
	answer, err := d.api().ServiceUpdate(ctx, change.Old.ID, change.Old.Version, change.Spec, o)
	if isOutdated(err) {
		return fmt.Errorf("service %s was changed by somebody else at the same time: deploy again", name)
	} else if err != nil {
		return fmt.Errorf("failed to update service %s: %w", name, err)
	}
	warn(d.err, answer.Warnings)
	d.started = append(d.started, started{name, change.Old.ID})
	return nil
}

// atOnce is how many images are looked up and services followed at a time: each
// service is watched for the same few seconds after it has come up.
const atOnce = 32

// wait follows the services that were created or changed within one --timeout:
// one alone task by task, of several it says when each has converged.
func (d *deploy) wait(ctx context.Context) error {
	if d.flags.yes("detach") || len(d.started) == 0 {
		return nil
	}
	if len(d.started) == 1 {
		return d.waitFor(ctx, &follower{name: d.started[0].name}, d.flags.yes("quiet"))
	}
	ctx, cancel, patience := d.patient(ctx)
	defer cancel()
	quiet := d.flags.yes("quiet")
	if !quiet {
		fmt.Fprintf(d.out, "Waiting for %d services to converge\n", len(d.started))
	}
	errs := make([]error, len(d.started))
	var group errgroup.Group
	var line sync.Mutex
	group.SetLimit(atOnce)
	for i, s := range d.started {
		group.Go(func() error {
			f := &follower{name: s.name}
			err := d.standBy(ctx, f, &screen{w: io.Discard, shown: map[string]bar{}}, patience)
			if err != nil {
				errs[i] = named(s.name, err)
			} else if f.converged && ctx.Err() == nil && !quiet {
				line.Lock()
				defer line.Unlock()
				fmt.Fprintf(d.out, "Service %s converged\n", s.name)
			}
			return nil
		})
	}
	_ = group.Wait()
	if ctx.Err() != nil && patience == 0 {
		fmt.Fprintf(d.out, "Operation continuing in background.\nUse `%s stack ps %s` to check progress.\n", progName, d.stack.Name)
	}
	return errors.Join(errs...)
}
