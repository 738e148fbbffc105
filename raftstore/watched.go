package raftstore

import "sync"

// watched is a value whose changes can be waited for.
type watched[T comparable] struct {
	mu      sync.Mutex
	value   T
	changed chan struct{}
}

// get returns the value and a channel that is closed when it changes.
func (w *watched[T]) get() (T, <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.value, w.changed
}

// update sets the value to what read returns. It is called under the lock, so
// that of two concurrent updates the later one read later.
func (w *watched[T]) update(read func() T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v := read()
	if v == w.value {
		return
	}
	w.value = v
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}
