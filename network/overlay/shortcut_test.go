package overlay

import (
	"testing"

	"github.com/swarmctl/swarmctl/api/fabric"
)

// unplug takes a container out of the bridge: what reaches it takes the shortcut.
func (h *host) unplug(t *testing.T, name string) {
	t.Helper()
	check(t, h.h.LinkSetNoMaster(link(t, h.h, name)))
}

func (h *host) plug(t *testing.T, name string) {
	t.Helper()
	check(t, h.h.LinkSetMaster(link(t, h.h, name), link(t, h.h, fabric.BridgeName(nid))))
}

func TestFramesPassTheBridgeBy(t *testing.T) {
	l := newLab(t, 1500)
	one, two := l.hosts[0], l.hosts[1]
	a, b := l.run(one, "10.1.0.1", "fd00:1::1").answers().attach(one), l.run(two, "10.1.0.2", "fd00:1::2").answers().attach(two)
	for _, to := range []string{"10.1.0.2", "fd00:1::2"} {
		check(t, a.reaches(to, 1450)) // addresses are asked for over the bridge
	}
	one.unplug(t, "vh1-1")
	two.unplug(t, "vh2-1")
	for _, to := range []string{"10.1.0.2", "fd00:1::2"} {
		check(t, a.reaches(to, 1450))
	}
	check(t, b.reaches("10.1.0.1", 1450))

	// A daemon that ends takes it with it, and the bridge is as good.
	one.lengthen(nil)
	if err := a.reaches("10.1.0.2", 100); err == nil {
		t.Error("the shortcut is still there")
	}
	one.plug(t, "vh1-1")
	two.plug(t, "vh2-1")
	check(t, a.reaches("10.1.0.2", 1450))

	// The next one has it again, also where containers are known before the network.
	one.restart()
	a.attach(one)
	one.agree(l.set, all)
	one.unplug(t, "vh1-1")
	check(t, a.reaches("10.1.0.2", 1450))
	one.Detach("c")
	if err := a.reaches("10.1.0.2", 100); err == nil {
		t.Error("a container that is gone has a shortcut")
	}
}

// An address that comes to this host is nowhere else any more.
func TestAContainerThatComesHereIsNotFarAnyMore(t *testing.T) {
	l := newLab(t, 1500)
	one, two := l.hosts[0], l.hosts[1]
	a := l.run(one, "10.1.0.1").answers().attach(one)
	l.run(two, "10.1.0.2").answers().attach(two)
	check(t, a.reaches("10.1.0.2", 1450))
	l.run(one, "10.1.0.2").answers()
	l.set.Apply(&fabric.Update{Index: l.set.Index + 1, Removed: []string{"h2-1"}})
	l.apply()
	check(t, two.h.LinkDel(link(t, two.h, "vh2-1")))
	check(t, a.reaches("10.1.0.2", 1450))
}
