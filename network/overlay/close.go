package overlay

import (
	"context"
	"errors"
	"fmt"
	"maps"
)

// Close takes away everything of every network: the engine's bridges and our
// interfaces. Nothing else may be called meanwhile; it may be called again
// where it failed.
func (o *Overlay) Close(ctx context.Context) error {
	if o.closed {
		return nil
	}
	for id := range maps.Clone(o.containers) {
		o.Detach(id)
	}
	o.lengthen(nil)
	err := o.removeBridges(ctx)
	links, lerr := o.links()
	if lerr != nil {
		return errors.Join(err, fmt.Errorf("read interfaces: %w", lerr))
	}
	errs := []error{err}
	for _, link := range links {
		if at := link.Attrs(); isVXLAN(at.Name) {
			errs = append(errs, o.delete(at.Name, at.Index))
		}
	}
	errs = append(errs, o.sweep(), o.untracked.remove())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	o.untracked.close()
	o.host.Close()
	o.closed = true
	return nil
}

func (o *Overlay) removeBridges(ctx context.Context) error {
	if err := o.list(ctx); err != nil {
		return fmt.Errorf("ask the container engine for its bridges: %w", err)
	}
	var errs []error
	for id, b := range o.built().known {
		_, err := o.take(ctx, step{id, &b, nil})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// sweep deletes bridges that neither the engine has nor any container is in:
// what is left of networks whose engine has lost its memory.
func (o *Overlay) sweep() error {
	links, err := o.links()
	if err != nil {
		return fmt.Errorf("read interfaces: %w", err)
	}
	engines, ported := map[string]bool{}, map[int]bool{}
	for _, b := range o.built().known {
		engines[b.Interface] = true
	}
	for _, link := range links {
		if at := link.Attrs(); !isVXLAN(at.Name) {
			ported[at.MasterIndex] = true
		}
	}
	var errs []error
	for _, link := range links {
		at := link.Attrs()
		if isBridge(at.Name) && link.Type() == "bridge" && !engines[at.Name] && !ported[at.Index] {
			errs = append(errs, o.delete(at.Name, at.Index))
		}
	}
	return errors.Join(errs...)
}
