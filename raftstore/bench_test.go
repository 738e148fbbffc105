package raftstore

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkPropose measures acknowledged writes a second on the leader of
// three managers that share this machine's disk.
func BenchmarkPropose(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			c := newCluster(b, "a", "b", "c")
			n := c.leader()
			var count atomic.Int64
			ctx := c.ctx()
			b.ResetTimer()
			start := time.Now()
			var wg sync.WaitGroup
			for range writers {
				wg.Go(func() {
					for {
						i := count.Add(1)
						if i > int64(b.N) {
							return
						}
						name := fmt.Sprint("s", i)
						if _, err := n.Propose(ctx, createService(name, name)); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "writes/s")
		})
	}
}
