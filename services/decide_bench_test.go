package services

import "testing"

// BenchmarkDecide is one look at a service of 5,000 replicas that is as it should be.
func BenchmarkDecide(b *testing.B) {
	w := newWorld()
	w.addNode("a")
	w.putService("web", []string{"replicas=5000"})
	for range 6 {
		c := decide(w.View(), "web", w.seen, w.now)
		if ops := c.Ops(w.newID); len(ops) > 0 {
			w.apply(ops...)
		}
	}
	for b.Loop() {
		if c := decide(w.View(), "web", w.seen, w.now); !c.Empty() {
			b.Fatal("not at rest")
		}
	}
}
