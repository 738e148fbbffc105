// Package scenarios holds the tests of whole clusters: real daemons, real
// Docker Engines, one host each. Most of them share one cluster of three
// managers and two workers (h1 to h5), which the lab makes whole again after
// each of them, so that a scenario is what happens and what must come of it:
//
//	func TestContainerThatDiesIsReplaced(t *testing.T) {
//		l := newLab(t)
//		before := l.run("web", 4)
//		l.must(before[0].Kill(l.ctx))
//		after := l.until("web", 10*time.Second, "4 run, the dead one replaced", func(now []cluster.Container) bool {
//			return len(now) == 4 && !slices.Contains(ids(now), before[0].ID)
//		})
//		...
//	}
//
// They need root and Debian's docker.io, and fail where that is missing.
package scenarios
