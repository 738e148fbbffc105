package state

import (
	"context"
	"sync"

	"github.com/swarmctl/swarmctl/api"
)

// Pair is an object before and after a change; one of them is nil where the
// object was created or removed.
type Pair[T any] struct{ Before, After *T }

// Event is what one log entry changed.
type Event struct {
	Index uint64
	// View is the state right after the event.
	View *View
	// Reset says that the state was replaced as a whole, by a snapshot: look
	// at View, the lists below are empty.
	Reset    bool
	Cluster  bool
	Nodes    []Pair[api.Node]
	Services []Pair[api.Service]
	Tasks    []Pair[api.Task]
	Secrets  []Pair[api.Secret]
	Configs  []Pair[api.Config]
	Networks []Pair[api.Network]
	Attached []Pair[api.AttachedContainer]

	Registries []Pair[api.Registry]

	next *link
}

// link leads from one event to the next: done is closed once event is set.
type link struct {
	done  chan struct{}
	event *Event
}

// feed is a linked list of events. Readers hold their place in it, so there is
// no buffer to overflow, no lock to wait for and no list of subscribers; what
// all readers have passed is garbage.
type feed struct {
	mu   sync.Mutex
	tail *link
	view *View
}

func newFeed(v *View) *feed { return &feed{tail: newLink(), view: v} }

func newLink() *link { return &link{done: make(chan struct{})} }

func (f *feed) publish(e *Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e.next = newLink()
	filled := f.tail
	f.tail, f.view = e.next, e.View
	filled.event = e
	close(filled.done)
}

// Cursor is a reader's place in the feed. It belongs to one goroutine. A
// reader that stops reading should drop its cursor: events pile up behind it.
type Cursor struct{ at *link }

// Follow returns the state and a cursor that yields every later change.
func (s *State) Follow() (*View, *Cursor) {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	return s.feed.view, &Cursor{at: s.feed.tail}
}

// Ready is closed when Next will not wait. Ask again after every Next.
func (c *Cursor) Ready() <-chan struct{} { return c.at.done }

// Next returns the next event, waiting for it if need be.
func (c *Cursor) Next(ctx context.Context) (*Event, error) {
	select {
	case <-c.at.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	e := c.at.event
	c.at = e.next
	return e, nil
}

// TryNext returns the next event if there is one already.
func (c *Cursor) TryNext() (*Event, bool) {
	select {
	case <-c.at.done:
		e := c.at.event
		c.at = e.next
		return e, true
	default:
		return nil, false
	}
}

func (e *Event) empty() bool {
	return !e.Reset && !e.Cluster && len(e.Nodes)+len(e.Services)+len(e.Tasks)+len(e.Secrets)+len(e.Configs)+len(e.Networks)+len(e.Attached)+len(e.Registries) == 0
}

func (e *Event) add(x *tx) {
	e.Cluster = e.Cluster || x.cluster
	e.Nodes = append(e.Nodes, x.nodes...)
	e.Services = append(e.Services, x.services...)
	e.Tasks = append(e.Tasks, x.tasks...)
	e.Secrets = append(e.Secrets, x.secrets...)
	e.Configs = append(e.Configs, x.configs...)
	e.Networks = append(e.Networks, x.networks...)
	e.Attached = append(e.Attached, x.attached...)
	e.Registries = append(e.Registries, x.registries...)
}
