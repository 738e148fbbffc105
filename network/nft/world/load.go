package world

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// UnderLoad has four callers ask all the time while something is changed, at
// least so many times and until they have called so often, for 20 s at the most.
// It reports calls that failed, and that there were too few.
func UnderLoad(ask func() error, change func(i int), changes, calls int) error {
	var asked, failed atomic.Int64
	var first atomic.Value
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				asked.Add(1)
				if err := ask(); err != nil {
					failed.Add(1)
					first.CompareAndSwap(nil, err.Error())
				}
			}
		})
	}
	made := 0
	for start := time.Now(); made < changes || asked.Load() < int64(calls) && time.Since(start) < 20*time.Second; made++ {
		change(made)
	}
	close(stop)
	wg.Wait()
	if failed.Load() > 0 || asked.Load() < int64(calls) {
		return fmt.Errorf("%d of %d calls failed over %d changes: %v", failed.Load(), asked.Load(), made, first.Load())
	}
	return nil
}
