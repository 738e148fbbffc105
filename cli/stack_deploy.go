package cli

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/swarm"
	"golang.org/x/sync/errgroup"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
	"github.com/swarmctl/swarmctl/services/stack"
)

// stackFilter lets through what is of a stack.
func stackFilter(name string) filters.Args {
	return filters.NewArgs(filters.Arg("label", stack.LabelNamespace+"="+name))
}

func stackDeploy(ctx context.Context, c *call) error {
	if c.flags.yes("atomic") && c.flags.yes("detach") {
		return errors.New("--atomic waits for the services, which --detach does not: leave one of the two out")
	}
	d, plan, err := c.planned(ctx)
	if err != nil {
		return err
	}
	if c.flags.yes("dry-run") {
		return d.dryRun(ctx, plan)
	}
	_, answer, err := d.commit(ctx, plan)
	if err != nil {
		return err
	}
	d.report(answer)
	if err := d.wait(ctx); err != nil {
		return d.failed(ctx, answer, err)
	}
	return nil
}

// planned loads the files and compares them with what there is, which it asks for
// meanwhile: a large file takes its time. What is wrong with the files is told first,
// whatever the daemon says. A large file makes so much garbage, too, that to collect it
// as usual takes a fifth of the command's time.
func (c *call) planned(ctx context.Context) (*deploy, *stack.Plan, error) {
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	name := c.args[0]
	if err := stack.CheckName(name); err != nil {
		return nil, nil, err
	}
	asking, enough := context.WithCancel(ctx)
	have := meanwhile(func() (stack.Cluster, error) { return c.cluster(asking, name) })
	defer have()
	defer enough()
	m, err := c.loadStack(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	file := meanwhile(m.YAML)
	defer file()
	s, err := m.Convert()
	if err != nil {
		return nil, nil, err
	}
	if err := checkSpecs(s); err != nil {
		return nil, nil, err
	}
	if err := c.checkVolumes(ctx, s); err != nil {
		return nil, nil, err
	}
	d := &deploy{call: c, stack: s, auth: map[string]string{}}
	there, err := have()
	if err != nil {
		return nil, nil, err
	}
	plan, err := d.planFor(ctx, there)
	if err != nil {
		return nil, nil, err
	}
	if d.file, err = file(); err != nil {
		return nil, nil, err
	}
	warn(c.err, plan.Warnings)
	return d, plan, nil
}

// meanwhile has something done beside what comes next; what it returns waits for it.
func meanwhile[T any](do func() (T, error)) (done func() (T, error)) {
	var result T
	var group errgroup.Group
	group.Go(func() (err error) {
		result, err = do()
		return err
	})
	return func() (T, error) {
		err := group.Wait()
		return result, err
	}
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
	file    []byte               // the files as one
	auth    map[string]string    // credentials by the service's name
	pinned  map[string]stack.Pin // images, once the registries have been asked
	started []started
}

// plan compares the stack with what there is by now.
func (d *deploy) plan(ctx context.Context) (*stack.Plan, error) {
	have, err := d.cluster(ctx, d.stack.Name)
	if err != nil {
		return nil, err
	}
	return d.planFor(ctx, have)
}

func (d *deploy) planFor(ctx context.Context, have stack.Cluster) (*stack.Plan, error) {
	o := stack.Options{Prune: d.flags.yes("prune"), Pinned: d.pinned}
	var err error
	if o.Rewritten, err = d.rewritten(ctx, have.Secrets); err != nil {
		return nil, err
	}
	plan, err := d.stack.Against(have, o)
	if err != nil {
		return nil, err // before a registry is asked, which may take its time
	}
	if d.pinned == nil {
		d.pinned = map[string]stack.Pin{}
		if err := d.resolveImages(ctx, have.Services, d.pinned); err != nil {
			return nil, err
		}
		if o.Pinned = d.pinned; len(d.pinned) > 0 {
			if plan, err = d.stack.Against(have, o); err != nil {
				return nil, err
			}
		}
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

// cluster asks for what there is, with the services of one stack.
func (c *call) cluster(ctx context.Context, name string) (have stack.Cluster, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		have.Services, err = c.api().ServiceList(ctx, swarm.ServiceListOptions{Filters: stackFilter(name)})
		return err
	})
	group.Go(func() (err error) {
		have.Networks, err = c.api().NetworkList(ctx, network.ListOptions{})
		return err
	})
	group.Go(func() (err error) {
		have.Secrets, err = c.api().SecretList(ctx, swarm.SecretListOptions{})
		return err
	})
	group.Go(func() (err error) {
		have.Configs, err = c.api().ConfigList(ctx, swarm.ConfigListOptions{})
		return err
	})
	err = group.Wait()
	return have, err
}

// rewritten asks the daemon which secrets of the stack hold something else than
// the files say: nobody else may know. Nothing is written.
func (d *deploy) rewritten(ctx context.Context, have []swarm.Secret) (map[string]bool, error) {
	out := map[string]bool{}
	var lock sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, spec := range d.stack.Secrets {
		i := slices.IndexFunc(have, func(s swarm.Secret) bool { return s.Spec.Name == spec.Name })
		if i < 0 || have[i].Spec.Labels[stack.LabelNamespace] != d.stack.Name {
			continue
		}
		group.Go(func() error {
			var would api.ContentUpdate
			err := d.send(ctx, "/swarmctl/secrets/"+url.PathEscape(spec.Name)+"/update?dryrun=1", spec, &would)
			lock.Lock()
			defer lock.Unlock()
			out[spec.Name] = would.Rewritten
			return err
		})
	}
	return out, group.Wait()
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

// wait follows the services that were created or changed.
func (d *deploy) wait(ctx context.Context) error {
	return d.waitAll(ctx, d.started, "stack ps "+d.stack.Name)
}
