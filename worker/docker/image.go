package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"

	"github.com/swarmctl/swarmctl/api"
)

// EnsureImage pulls an image unless the node has it. However many tasks want
// the same image with the same credentials, it is pulled once; the pull
// outlives those who gave up waiting for it.
//
// A registry is never asked about an image that the node has. An image named
// by digest is the node's if it was pulled by that digest: the engine compares.
func (e *Engine) EnsureImage(ctx context.Context, name string, auth api.RegistryAuth) error {
	name = ImageName(name)
	result := e.pulls.DoChan(name+"\x00"+string(auth), func() (any, error) {
		return nil, e.pullMissing(context.WithoutCancel(ctx), name, auth)
	})
	select {
	case r := <-result:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *Engine) pullMissing(ctx context.Context, name string, auth api.RegistryAuth) error {
	_, err := e.cli.ImageInspect(ctx, name)
	if err == nil {
		return nil
	}
	if !cerrdefs.IsNotFound(err) {
		return e.fail(err)
	}
	began := time.Now()
	if err := e.pull(ctx, name, auth); err != nil {
		e.cfg.Log.Warn("image not pulled", "image", name, "err", err)
		return err
	}
	e.cfg.Log.Info("image pulled", "image", name, "took", time.Since(began).Round(time.Millisecond))
	return nil
}

var errStalled = errors.New("no progress")

func (e *Engine) pull(ctx context.Context, name string, auth api.RegistryAuth) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(e.cfg.PullStall, func() { cancel(errStalled) })
	defer stall.Stop()
	body, err := e.cli.ImagePull(ctx, name, image.PullOptions{RegistryAuth: string(auth)})
	if err == nil {
		err = follow(body, func() { stall.Reset(e.cfg.PullStall) })
		_ = body.Close()
	}
	return e.pullError(ctx, name, err)
}

// follow reads the progress of a pull to its end; the last word may be an error.
func follow(body io.Reader, progress func()) error {
	dec := json.NewDecoder(body)
	for {
		var m struct {
			Error string `json:"error"`
		}
		switch err := dec.Decode(&m); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case m.Error != "":
			return errors.New(m.Error)
		}
		progress()
	}
}

func (e *Engine) pullError(ctx context.Context, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case context.Cause(ctx) == errStalled:
		return fmt.Errorf("image %q: not on this node and the registry did not answer: no progress for %s", name, e.cfg.PullStall)
	case cerrdefs.IsNotFound(err):
		return fmt.Errorf("image %q: not on this node and the registry does not have it, or wants a login: %s", name, plain(err))
	}
	if err := e.fail(err); errors.Is(err, api.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("image %q: not on this node and the registry did not answer: %s", name, plain(err))
}
