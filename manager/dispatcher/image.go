package dispatcher

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
	"github.com/swarmctl/swarmctl/raftstore/state"
)

// Images finds images for nodes that lack them.
type Images interface {
	// FindImage returns a node that has the image. Errors: not found, with who was asked.
	FindImage(ctx context.Context, v *state.View, want *WantedImage) (*FoundImage, error)
}

// WantedImage is what a task of a node needs.
type WantedImage struct {
	Task *api.Task
	Name string
	// Image is which image the name is; nil: whichever a manager has under it.
	Image *api.Image
}

// FoundImage is an image on some engine.
type FoundImage struct {
	Image api.Image
	From  string // the hostname of the engine's node
	// Save is the image as an archive, whose reader closes it.
	Save func(ctx context.Context) (io.ReadCloser, error)
	// Close is called when the image is not needed any more.
	Close func()
}

const (
	// maxSends is how many images a manager sends at once. More would make all of
	// them late where the manager's own line is the narrow one, and each keeps
	// an engine reading its disk.
	maxSends = 4
	// waitingEvery is how often a node that waits for its turn hears so.
	waitingEvery = 5 * time.Second
	// imagePart is how much of an archive travels in one message: with what is
	// around it, as much as fits one of gRPC's buffers of 32 KiB. The next size is
	// 1 MiB, of which a few streams hold dozens.
	imagePart = 31 << 10
	// sendStall is for how long nothing of an image may get on its way before its
	// place goes to another: a node that hangs does not give up by itself. An engine
	// may need minutes to write a large archive to its disk.
	sendStall = 10 * time.Minute
)

// ownTask is a task that the calling node has to run: it may ask for what that
// needs, and for nothing else.
func (d *Dispatcher) ownTask(ctx context.Context, id string) (*state.View, *WantedImage, error) {
	node, _, err := d.caller(ctx)
	if err != nil {
		return nil, nil, err
	}
	view, _ := d.current()
	t := view.Task(api.TaskID(id))
	if t == nil || t.NodeID != node || t.Status.State < api.TaskAssigned || t.Status.State.Terminal() || !t.Wanted() {
		return nil, nil, api.Errorf(api.CodeForbidden, "task %s is none that node %s has to run", id, node)
	}
	spec := view.SpecOf(t)
	c := spec.Spec.TaskTemplate.ContainerSpec
	if c == nil {
		return nil, nil, api.Errorf(api.CodeInvalid, "task %s has no image", id)
	}
	return view, &WantedImage{Task: t, Name: c.Image, Image: spec.Image}, nil
}

// Credentials implements wire.DispatcherServer.
func (d *Dispatcher) Credentials(ctx context.Context, req *wire.CredentialsRequest) (*wire.CredentialsReply, error) {
	view, want, err := d.ownTask(ctx, req.GetTaskId())
	if err != nil {
		return nil, wire.ToStatus(err)
	}
	reply := &wire.CredentialsReply{}
	if r := view.Registry(api.RegistryOf(want.Name)); r != nil {
		reply.RegistryAuth = string(r.Auth)
	}
	return reply, nil
}

// Image implements wire.DispatcherServer.
func (d *Dispatcher) Image(req *wire.ImageRequest, stream wire.Dispatcher_ImageServer) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	go func() { // ends with this method's context
		select {
		case <-d.stopped:
			cancel(errStopping)
		case <-ctx.Done():
		}
	}()
	err := d.sendImage(ctx, req.GetTaskId(), stream, cancel)
	if cause := context.Cause(ctx); err != nil && cause != nil && stream.Context().Err() == nil {
		err = cause // of those of our own
	}
	return wire.ToStatus(err)
}

var errTakesNothing = api.Errorf(api.CodeUnavailable, "nothing of the image got on its way for %s", sendStall)

func (d *Dispatcher) sendImage(ctx context.Context, task string, stream wire.Dispatcher_ImageServer, cancel context.CancelCauseFunc) error {
	_, want, err := d.ownTask(ctx, task)
	if err != nil {
		return err
	}
	if d.cfg.Images == nil {
		return api.Errorf(api.CodeNotFound, "this manager sends no images")
	}
	if err := d.awaitTurn(ctx, stream); err != nil {
		return err
	}
	defer func() { <-d.sends }()
	view, _ := d.current() // who has it may have changed meanwhile
	found, err := d.cfg.Images.FindImage(ctx, view, want)
	if err != nil {
		return err
	}
	defer found.Close()
	head := &wire.ImageHead{Image: wire.EncodeImage(&found.Image), From: found.From}
	if err := stream.Send(&wire.ImagePart{Part: &wire.ImagePart_Head{Head: head}}); err != nil {
		return err
	}
	return d.pour(ctx, found, stream, cancel)
}

// pour sends the archive. A Send to a node that takes nothing ends with the
// method alone, so it is not the method that sends.
func (d *Dispatcher) pour(ctx context.Context, found *FoundImage, stream wire.Dispatcher_ImageServer, cancel context.CancelCauseFunc) error {
	stall := time.AfterFunc(sendStall, func() { cancel(errTakesNothing) })
	defer stall.Stop()
	out := &imageStream{Dispatcher_ImageServer: stream, taken: func() { stall.Reset(sendStall) }}
	go out.keepAlive(ctx)
	poured := make(chan error, 1)
	go func() {
		archive, err := found.Save(ctx)
		if err == nil {
			err = out.pour(archive)
			_ = archive.Close()
		}
		poured <- err
	}()
	select {
	case err := <-poured:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaitTurn holds one of the places for those who are being sent an image.
func (d *Dispatcher) awaitTurn(ctx context.Context, stream wire.Dispatcher_ImageServer) error {
	for {
		select {
		case d.sends <- struct{}{}:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(waitingEvery):
			if err := stream.Send(waiting); err != nil {
				return err
			}
		}
	}
}

// imageStream is a stream on its way to a node.
type imageStream struct {
	wire.Dispatcher_ImageServer
	taken func() // called for each part

	mu    sync.Mutex // for one Send at a time
	begun bool
}

// keepAlive tells the node that its image is being prepared: an engine may write
// all of an archive to its disk before it gives the first byte away.
func (s *imageStream) keepAlive(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(waitingEvery):
		}
		if !s.mu.TryLock() { // the first byte is on its way
			return
		}
		over := s.begun || s.Send(waiting) != nil
		s.mu.Unlock()
		if over {
			return
		}
	}
}

var waiting = &wire.ImagePart{Part: &wire.ImagePart_Waiting{Waiting: &wire.ImageWaiting{}}}

func (s *imageStream) send(data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = true
	return s.Send(&wire.ImagePart{Part: &wire.ImagePart_Data{Data: data}})
}

// pour sends an archive, at the pace of whoever reads.
func (s *imageStream) pour(archive io.Reader) error {
	buf := make([]byte, imagePart)
	for {
		n, err := io.ReadFull(archive, buf)
		if n > 0 { // what was sent is encoded: buf is free again
			if err := s.send(buf[:n]); err != nil {
				return err
			}
			s.taken()
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return api.Errorf(api.CodeUnavailable, "the engine that has it broke off: %v", err)
		}
	}
}
