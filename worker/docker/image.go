package docker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"github.com/swarmctl/swarmctl/api"
)

// PullImage asks the image's registry for it, whether or not the node has one of
// that name. However many tasks want the same image with the same credentials,
// it is pulled once; the pull outlives those who gave up waiting for it.
// Errors: ErrRefused where the registry has answered.
func (e *Engine) PullImage(ctx context.Context, name string, auth api.RegistryAuth) error {
	name = ImageName(name)
	result := e.pulls.DoChan(name+"\x00"+string(auth), func() (any, error) {
		began := time.Now()
		err := e.pull(context.WithoutCancel(ctx), name, auth)
		if err != nil {
			e.cfg.Log.Warn("image not pulled", "image", name, "err", err)
			return nil, err
		}
		e.cfg.Log.Info("image pulled", "image", name, "took", time.Since(began).Round(time.Millisecond))
		return nil, nil
	})
	select {
	case r := <-result:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errStalled = errors.New("no progress")

// ErrRefused says that the registry does not have an image, or not for these
// credentials.
var ErrRefused = errors.New("the registry does not have it, or wants another login")

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
		return fmt.Errorf("the registry did not answer: no progress for %s", e.cfg.PullStall)
	case cerrdefs.IsNotFound(err), refusal(err):
		return fmt.Errorf("%w: %s", ErrRefused, plain(err))
	}
	if err := e.fail(err); errors.Is(err, api.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("the registry did not answer: %s", plain(err))
}

func refusal(err error) bool {
	return cerrdefs.IsUnauthorized(err) || cerrdefs.IsPermissionDenied(err) || api.RegistryRefuses(err.Error())
}

// InspectImage says which image a name, or an ID, is. Errors: ErrNoImage.
func (e *Engine) InspectImage(ctx context.Context, ref string) (api.Image, error) {
	found, err := e.cli.ImageInspect(ctx, ref)
	if cerrdefs.IsNotFound(err) {
		return api.Image{}, fmt.Errorf("%w: %s", ErrNoImage, ref)
	}
	if err != nil {
		return api.Image{}, e.fail(err)
	}
	return api.ImageOf(&found), nil
}

// FindImage returns what the engine has an image as: under its name, or under an
// ID where the name is another image's here. want is which image it is; nil is
// for whichever has the name. Errors: ErrNoImage.
func (e *Engine) FindImage(ctx context.Context, name string, want *api.Image) (ref string, err error) {
	name = ImageName(name)
	refs := []string{name}
	if want != nil {
		refs = append(refs, want.ID)
		if id, ok := e.loaded.Load(want.ID); ok {
			refs = append(refs, id.(string))
		}
	}
	for _, ref := range refs {
		have, err := e.InspectImage(ctx, ref)
		switch {
		case err == nil && (want == nil || want.Is(&have)):
			return ref, nil
		case err != nil && !errors.Is(err, ErrNoImage):
			return "", err
		}
	}
	return "", fmt.Errorf("%w: %s", ErrNoImage, name)
}

// SaveImage is an image as an archive, whose reader closes it.
func (e *Engine) SaveImage(ctx context.Context, id string) (io.ReadCloser, error) {
	body, err := e.cli.ImageSave(ctx, []string{id})
	return body, e.fail(err)
}

// LoadImage reads an archive of the image that another engine has announced, and
// returns what this one has it as. The image gets its name unless the host has
// another one under it: that may be somebody's own. alive is called while it
// unpacks.
func (e *Engine) LoadImage(ctx context.Context, name string, announced *api.Image, archive io.Reader, alive func()) (ref string, err error) {
	name = ImageName(name)
	answer, err := e.cli.ImageLoad(ctx, archive, client.ImageLoadWithQuiet(false))
	if err != nil {
		return "", e.fail(err)
	}
	refs, err := loadedRefs(answer.Body, alive)
	_ = answer.Body.Close()
	if err != nil {
		return "", fmt.Errorf("the container engine does not take the archive: %s", plain(err))
	}
	id, err := e.pickLoaded(ctx, announced, append([]string{announced.ID}, refs...))
	if err != nil {
		return "", err
	}
	if id != announced.ID {
		e.loaded.Store(announced.ID, id)
	}
	if _, err := e.InspectImage(ctx, name); errors.Is(err, ErrNoImage) && !api.IsDigested(name) {
		if err := e.cli.ImageTag(ctx, id, name); err != nil {
			e.cfg.Log.Warn("image not named", "image", name, "id", id, "err", err)
		}
	}
	return e.FindImage(ctx, name, announced)
}

// pickLoaded finds the image that was announced among what has been loaded. The
// IDs are the same unless the two engines keep their images in different ways.
func (e *Engine) pickLoaded(ctx context.Context, announced *api.Image, refs []string) (id string, err error) {
	var came []string
	for _, ref := range refs {
		have, err := e.InspectImage(ctx, ref)
		switch {
		case errors.Is(err, ErrNoImage):
		case err != nil:
			return "", err
		case announced.Is(&have):
			return have.ID, nil
		default:
			came = append(came, have.ShortID())
		}
	}
	return "", fmt.Errorf("image %s was announced and %s has come: the two engines do not agree what it is: push it to a registry that both can reach", announced.ShortID(), cmp.Or(strings.Join(came, ", "), "none"))
}

// loadedRefs are the names and IDs that an engine says it has loaded.
func loadedRefs(body io.Reader, alive func()) (refs []string, err error) {
	dec := json.NewDecoder(body)
	for {
		var m struct {
			Stream string `json:"stream"`
			Error  string `json:"error"`
		}
		switch err := dec.Decode(&m); {
		case err == io.EOF:
			return refs, nil
		case err != nil:
			return nil, err
		case m.Error != "":
			return nil, errors.New(m.Error)
		}
		alive()
		for _, line := range strings.Split(m.Stream, "\n") {
			if what, ref, ok := strings.Cut(line, ": "); ok && strings.HasPrefix(what, "Loaded image") {
				refs = append(refs, strings.TrimSpace(ref))
			}
		}
	}
}
