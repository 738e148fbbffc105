package dns

import (
	"net/netip"
	"sync"
	"time"
)

// patience is how long an answer is withheld from a container that has no
// balancers yet. They come within milliseconds of its start: whoever is made
// to wait for longer is better off with an address that may not answer at once.
const patience = 2 * time.Second

// gate keeps containers from learning virtual addresses before those lead
// anywhere: the first thing that a program does may come before its container
// has been attached.
type gate struct {
	doors sync.Map // netip.Addr to *door
}

// door is open from when its container is attached, or has waited long enough.
type door struct {
	open chan struct{}
	once sync.Once
}

func (d *door) unlock() { d.once.Do(func() { close(d.open) }) }

func (g *gate) door(a netip.Addr) (d *door, isNew bool) {
	if d, ok := g.doors.Load(a); ok {
		return d.(*door), false
	}
	v, loaded := g.doors.LoadOrStore(a, &door{open: make(chan struct{})})
	return v.(*door), !loaded
}

// ready opens the door of an address, for good.
func (g *gate) ready(a netip.Addr) {
	d, _ := g.door(a)
	d.unlock()
}

// unready closes it for the next one to have the address. Who waits is let go.
func (g *gate) unready(a netip.Addr) {
	if d, ok := g.doors.LoadAndDelete(a); ok {
		d.(*door).unlock()
	}
}

// opens is closed as soon as questions from an address may be answered. The
// first one that may not begins the time after which all may.
func (g *gate) opens(a netip.Addr) <-chan struct{} {
	d, isNew := g.door(a)
	if isNew {
		time.AfterFunc(patience, d.unlock)
	}
	return d.open
}
