package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"

	"github.com/docker/docker/api/types/network"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/services/stack"
)

// stackPath is the path of what the daemon can be asked about a stack.
func stackPath(name string, what ...string) string {
	path := "/swarmctl/stacks/" + url.PathEscape(name)
	for _, w := range what {
		path += "/" + w
	}
	return path
}

// commit has the daemon make the stack what the plan says, in one change, or do
// with it what is named. Where somebody else was first the plan is made anew.
func (d *deploy) commit(ctx context.Context, plan *stack.Plan, what ...string) (*stack.Plan, *api.StackAnswer, error) {
	for range attempts {
		req, err := d.request(plan)
		if err != nil {
			return nil, nil, err
		}
		answer := &api.StackAnswer{}
		err = d.send(ctx, stackPath(d.stack.Name, what...), req, answer)
		if err == nil || !isOutdated(err) {
			return plan, answer, err
		}
		if plan, err = d.plan(ctx); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("stack %s was changed by others %d times at the same moment: nothing was changed: deploy again", d.stack.Name, attempts)
}

// dryRun shows the plan, once the daemon has said that it would carry it out.
func (d *deploy) dryRun(ctx context.Context, plan *stack.Plan) error {
	plan, answer, err := d.commit(ctx, plan, "dryrun")
	if err != nil {
		return err
	}
	plan.Built(answer.Changes)
	d.show(plan)
	warn(d.err, answer.Warnings)
	return nil
}

// request is the whole stack, also what of it does not change: what is written
// the daemon decides, which alone knows what secrets hold, and remembers all.
func (d *deploy) request(p *stack.Plan) (*api.StackRequest, error) {
	file, err := compressed(d.file)
	if err != nil {
		return nil, err
	}
	digest := sha256.Sum256(d.file)
	req := &api.StackRequest{File: file, Digest: "sha256:" + hex.EncodeToString(digest[:])}
	for _, s := range p.Remove {
		req.Remove = append(req.Remove, api.StackRemoval{ID: s.ID, Version: s.Version.Index})
	}
	for _, n := range d.stack.Networks {
		req.Networks = append(req.Networks, network.CreateRequest{Name: n.Name, CreateOptions: n.Options})
	}
	for _, s := range p.Secrets {
		one := api.StackSecret{Spec: s.Spec}
		if s.Old != nil {
			one.Version = s.Old.Version.Index
		}
		req.Secrets = append(req.Secrets, one)
	}
	for _, o := range p.Configs {
		one := api.StackConfig{Spec: o.Spec}
		if o.Old != nil {
			one.Version = o.Old.Version.Index
		}
		req.Configs = append(req.Configs, one)
	}
	resolve := one(d.flags, "resolve-image", resolveAlways) == resolveAlways
	for _, s := range p.Services {
		one := api.StackService{Spec: s.Spec, Auth: d.auth[s.Spec.Name], Resolve: resolve}
		if s.Old != nil {
			one.Version = s.Old.Version.Index
		}
		req.Services = append(req.Services, one)
	}
	return req, nil
}

func compressed(text []byte) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	err := z.Close()
	return b.Bytes(), err
}

// report says what was written, in Docker's words, and notes which services have
// come into movement.
func (d *deploy) report(a *api.StackAnswer) {
	for _, change := range a.Changes {
		switch change.Action {
		case api.StackCreated:
			fmt.Fprintf(d.out, "Creating %s %s\n", change.Kind, change.Name)
		case api.StackUpdated:
			fmt.Fprintf(d.out, "Updating %s %s (id: %s)\n", change.Kind, change.Name, change.ID)
			if change.ImageIs != "" {
				fmt.Fprintf(d.out, "  Its image has been built anew: %s is %s now\n", change.ImageWas, change.ImageIs)
			}
		case api.StackRemoved:
			fmt.Fprintf(d.out, "Removing %s %s\n", change.Kind, change.Name)
			continue
		}
		if change.Kind == "service" {
			d.started = append(d.started, started{change.Name, change.ID})
		}
	}
	if len(a.Changes) == 0 {
		fmt.Fprintln(d.out, "no changes")
	}
	warn(d.err, a.Warnings)
}

// failed is the end of a deploy whose services did not come up. With --atomic the
// stack goes back to the deploy before, or is removed where there was none.
func (d *deploy) failed(ctx context.Context, a *api.StackAnswer, cause error) error {
	name := d.stack.Name
	if !d.flags.yes("atomic") {
		return cause
	}
	if a.Before == 0 {
		fmt.Fprintf(d.err, "The first deploy of stack %s failed: removing it\n", name)
		if err := d.removeStack(ctx, name); err != nil {
			return fmt.Errorf("stack %s: its first deploy failed, and it could not be removed: %w", name, errors.Join(cause, err))
		}
		return &exitError{code: exitRolledBack, msg: fmt.Sprintf("stack deploy failed: %s was removed, as there is no deploy before it: %v", name, cause)}
	}
	fmt.Fprintf(d.err, "Deploy %d of stack %s failed: going back to deploy %d\n", a.Deploy, name, a.Before)
	back := &deploy{call: d.call, stack: d.stack}
	if err := back.rollBack(ctx, &api.StackRollback{To: a.Before, From: a.Deploy, Prune: true}); err != nil {
		return fmt.Errorf("stack %s: deploy %d failed, and so does the way back to %d: %w", name, a.Deploy, a.Before, errors.Join(cause, err))
	}
	return &exitError{code: exitRolledBack, msg: fmt.Sprintf("stack deploy failed: %s was put back to deploy %d: %v", name, a.Before, cause)}
}

// rollBack puts the stack back, and follows its services.
func (d *deploy) rollBack(ctx context.Context, req *api.StackRollback) error {
	var answer api.StackAnswer
	if err := d.send(ctx, stackPath(d.stack.Name, "rollback"), req, &answer); err != nil {
		return err
	}
	d.report(&answer)
	for _, name := range answer.Kept {
		fmt.Fprintf(d.err, "Service %s is not of that deploy and stays: --prune removes it\n", name)
	}
	return d.wait(ctx)
}
