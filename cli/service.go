package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/swarm"
)

// exitCodes is for the help of those that wait for an update.
const exitCodes = `Waits until the new tasks run and stay up. Exit codes:
    0   the service has converged, its canary is in place, or --detach was given
    1   an error; the update or the rollback has paused
    3   the update failed and the service was rolled back
  124   --timeout has passed; the cluster works on
  125   the command line is wrong`

func serviceVerbs() []verb {
	return []verb{
		{name: "create", args: "IMAGE [COMMAND] [ARG...]", usage: "Create a service", flags: createFlags(), min: 1, max: -1, rest: true, do: serviceCreate},
		execVerb(),
		{name: "inspect", args: "SERVICE [SERVICE...]", usage: "Display detailed information on one or more services", flags: []*opt{inspectFormatFlag(), prettyFlag()}, min: 1, max: -1, do: serviceInspect},
		{name: "logs", args: "SERVICE|TASK", usage: "Show the logs of a service or a task", flags: logFlags(), min: 1, max: 1, do: serviceLogs},
		{name: "ls", aliases: []string{"list"}, usage: "List services", flags: []*opt{filterFlag(), formatFlag(""), quietFlag("Only display IDs")}, do: serviceList},
		promoteVerb(),
		{name: "ps", args: "SERVICE [SERVICE...]", usage: "List the tasks of one or more services, and why they fail or wait", flags: taskFlags(), min: 1, max: -1, do: servicePs},
		rebalanceVerb(),
		{name: "rm", aliases: []string{"remove"}, args: "SERVICE [SERVICE...]", usage: "Remove one or more services", min: 1, max: -1, do: serviceRemove},
		{name: "rollback", args: "SERVICE", usage: "Put a service back to what it was before its last update", flags: []*opt{detachFlag(), quietFlag("Suppress progress output"), timeoutFlag()}, min: 1, max: 1, do: serviceRollback},
		{name: "scale", args: "SERVICE=REPLICAS [SERVICE=REPLICAS...]", usage: "Change the number of replicas of one or more services", flags: []*opt{detachFlag(), timeoutFlag()}, min: 1, max: -1, do: serviceScale},
		{name: "update", args: "SERVICE", usage: "Change a service and roll the change out", flags: updateFlags(), min: 1, max: 1, do: serviceUpdate, long: exitCodes},
	}
}

func serviceCreate(ctx context.Context, c *call) error {
	env, err := readEnv(c.flags.strs("env-file"), c.flags.strs("env"))
	if err != nil {
		return err
	}
	spec, err := newSpec(c.flags, c.args[0], c.args[1:], env)
	if err != nil {
		return err
	}
	if err := c.resolveNames(ctx, &spec); err != nil {
		return err
	}
	auth, err := c.registryAuth(spec.TaskTemplate.ContainerSpec.Image)
	if err != nil {
		return err
	}
	warning := c.pinImage(ctx, &spec.TaskTemplate, auth)
	made, err := c.api().ServiceCreate(ctx, spec, swarm.ServiceCreateOptions{EncodedRegistryAuth: auth})
	if err != nil {
		return err
	}
	warn(c.err, append(made.Warnings, warning...))
	fmt.Fprintln(c.out, made.ID)
	return c.wait(ctx, made.ID, c.flags.yes("quiet"))
}

// attempts is how often a change is tried anew because somebody else changed
// the object in between: what was asked for still applies to what is there now.
const attempts = 5

// isOutdated recognises the API's refusal of a version that is not the current one.
func isOutdated(err error) bool {
	return err != nil && strings.Contains(err.Error(), "out of sequence")
}

// changeService reads a service, changes its spec and writes it back; change
// may still fill in the options.
func (c *call) changeService(ctx context.Context, ref string, opts *swarm.ServiceUpdateOptions, change func(*swarm.ServiceSpec) error) error {
	var err error
	for range attempts {
		var s swarm.Service
		s, _, err = c.api().ServiceInspectWithRaw(ctx, ref, swarm.ServiceInspectOptions{})
		if err != nil {
			return err
		}
		if err := change(&s.Spec); err != nil {
			return err
		}
		var answer swarm.ServiceUpdateResponse
		answer, err = c.api().ServiceUpdate(ctx, s.ID, s.Version, s.Spec, *opts)
		if err == nil {
			warn(c.err, answer.Warnings)
			return nil
		}
		if !isOutdated(err) {
			return err
		}
	}
	return err
}

func serviceUpdate(ctx context.Context, c *call) error {
	if c.flags.yes("rollback") {
		for name := range c.flags {
			if !slices.Contains([]string{"rollback", "detach", "quiet", "timeout", "socket"}, name) {
				return errors.New("other flags may not be combined with --rollback")
			}
		}
		return serviceRollback(ctx, c)
	}
	ref := c.args[0]
	opts := &swarm.ServiceUpdateOptions{RegistryAuthFrom: swarm.RegistryAuthFromSpec}
	var unpinned []string
	err := c.changeService(ctx, ref, opts, func(spec *swarm.ServiceSpec) error {
		if err := changeSpec(c.flags, spec); err != nil {
			return err
		}
		if err := c.resolveNames(ctx, spec); err != nil {
			return err
		}
		auth, err := c.registryAuth(spec.TaskTemplate.ContainerSpec.Image)
		if err != nil {
			return err
		}
		if auth != "" {
			opts.EncodedRegistryAuth, opts.RegistryAuthFrom = auth, ""
		}
		if c.flags.has("image") {
			unpinned = c.pinImage(ctx, &spec.TaskTemplate, auth)
		}
		return nil
	})
	if err != nil {
		return err
	}
	warn(c.err, unpinned)
	fmt.Fprintln(c.out, ref)
	return c.wait(ctx, ref, c.flags.yes("quiet"))
}

func serviceRollback(ctx context.Context, c *call) error {
	ref := c.args[0]
	err := c.changeService(ctx, ref, &swarm.ServiceUpdateOptions{Rollback: "previous"}, func(*swarm.ServiceSpec) error { return nil })
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, ref)
	return c.waitFor(ctx, &follower{name: ref, asked: true}, c.flags.yes("quiet"))
}

func serviceScale(ctx context.Context, c *call) error {
	for _, arg := range c.args {
		if name, n, ok := strings.Cut(arg, "="); !ok || name == "" || n == "" {
			return fmt.Errorf("invalid scale specifier '%s'.\nSee '%s service scale --help'.\n\nUsage:  %s service scale SERVICE=REPLICAS [SERVICE=REPLICAS...]\n\nScale one or multiple replicated services", arg, progName, progName)
		}
	}
	var scaled []string
	var errs []error
	for _, arg := range c.args {
		name, text, _ := strings.Cut(arg, "=")
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: invalid replicas value %s: %w", name, text, err))
			continue
		}
		if err := c.scale(ctx, name, n); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		fmt.Fprintf(c.out, "%s scaled to %d\n", name, n)
		scaled = append(scaled, name)
	}
	for _, name := range scaled {
		if err := c.wait(ctx, name, false); err != nil {
			errs = append(errs, named(name, err))
		}
	}
	return errors.Join(errs...)
}

// named puts a service's name before what went wrong with it, keeping the exit code.
func named(name string, err error) error {
	var exit *exitError
	if errors.As(err, &exit) {
		return &exitError{code: exit.code, msg: name + ": " + exit.msg}
	}
	return fmt.Errorf("%s: %w", name, err)
}

func (c *call) scale(ctx context.Context, ref string, n uint64) error {
	return c.changeService(ctx, ref, &swarm.ServiceUpdateOptions{}, func(spec *swarm.ServiceSpec) error {
		switch m := &spec.Mode; {
		case m.Replicated != nil:
			m.Replicated.Replicas = &n
		case m.ReplicatedJob != nil:
			m.ReplicatedJob.TotalCompletions = &n
		default:
			return errors.New("scale can only be used with replicated or replicated-job mode")
		}
		return nil
	})
}

func serviceRemove(ctx context.Context, c *call) error {
	return c.eachArg(func(ref string) error { return c.api().ServiceRemove(ctx, ref) })
}

// eachArg does one thing to every argument and echoes those it was done to.
func (c *call) eachArg(do func(ref string) error) error {
	var errs []error
	for _, ref := range c.args {
		if err := do(ref); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(c.out, ref)
	}
	return errors.Join(errs...)
}
