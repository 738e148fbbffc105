package worker

import (
	"sync"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
)

// maxBatch bounds a batch of statuses: a message stays far below gRPC's 4 MiB.
const maxBatch = 1000

// lingerTime is how long a state in passing (preparing, starting) waits for
// company. Most containers run before it is over, and say so instead.
const lingerTime = time.Second

// outbox holds the statuses that no manager has acknowledged: the latest one
// of each task. One batch is under way at a time; what happens meanwhile
// gathers, so that a task that is prepared, started and running within one
// round trip costs a single status.
type outbox struct {
	mu      sync.Mutex
	wake    chan struct{} // has room for one
	waiting map[api.TaskID]*api.TaskStatus
	flying  map[api.TaskID]*api.TaskStatus
	seq     uint64
	// settled is to be said once, with the last of what waits.
	settled bool
	// lingering is set while a timer runs that wakes the sender.
	lingering bool
}

func newOutbox() *outbox {
	return &outbox{wake: make(chan struct{}, 1), waiting: map[api.TaskID]*api.TaskStatus{}}
}

// put replaces what is waiting for a task. What may linger goes with the next
// batch, or by itself a moment later.
func (o *outbox) put(id api.TaskID, s *api.TaskStatus, linger bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting[id] = s
	if !linger {
		o.signal()
	} else if !o.lingering {
		o.lingering = true
		time.AfterFunc(lingerTime, o.wakeUp)
	}
}

// wakeUp sends what lingers.
func (o *outbox) wakeUp() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lingering = false
	o.signal()
}

func (o *outbox) signal() { signal(o.wake) }

// forget drops what is waiting for a task that has left the store.
func (o *outbox) forget(id api.TaskID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.waiting, id)
}

// next returns the batch to send, or nil while one is under way or nothing waits.
func (o *outbox) next() *wire.StatusBatch {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.flying != nil || len(o.waiting) == 0 && !o.settled {
		return nil
	}
	o.seq++
	batch := &wire.StatusBatch{Seq: o.seq}
	o.flying = map[api.TaskID]*api.TaskStatus{}
	for id, s := range o.waiting {
		if len(o.flying) == maxBatch {
			break
		}
		o.flying[id] = s
		delete(o.waiting, id)
		batch.Statuses = append(batch.Statuses, wire.EncodeTaskStatus(id, s))
	}
	if len(o.waiting) == 0 {
		batch.Settled, o.settled = o.settled, false
	}
	return batch
}

// settle has the manager told that what waits is all that it does not know.
func (o *outbox) settle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settled = true
	o.signal()
}

// acked ends the batch that is under way, if it is that one.
func (o *outbox) acked(seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if seq != o.seq || o.flying == nil {
		return
	}
	o.flying = nil
	o.signal()
}

// reset makes everything wait again: the session is a new one.
func (o *outbox) reset() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, s := range o.flying {
		if _, newer := o.waiting[id]; !newer {
			o.waiting[id] = s
		}
	}
	o.flying, o.settled = nil, false // its full set of tasks is yet to come
	o.signal()
}
