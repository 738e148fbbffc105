package raftstore

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The connections in the pool may be stale in two ways: the other end resets
// them at once, or they were cut off meanwhile and nothing ever comes back.
func TestQuestionGetsPastStaleConnections(t *testing.T) {
	const answered, reset, silent = 0, 1, 2
	errReset, errTimeout := errors.New("reset"), errors.New("timed out")
	for _, c := range []struct {
		story string
		pool  []int // what becomes of the first, the second, ... question
		err   error
		after time.Duration
	}{
		{"all is well", []int{answered}, nil, 0},
		{"the peer has restarted", []int{reset, reset, answered}, nil, 0},
		{"the cable was out", []int{silent, silent, answered}, nil, 2 * hedge},
		{"both", []int{silent, reset, answered}, nil, hedge},
		{"the peer is gone", []int{reset, reset, reset, reset, reset, reset}, errReset, 0},
		{"the peer has no power", []int{silent, silent, silent, silent, silent, silent}, errTimeout, 5*hedge + time.Second},
	} {
		t.Run(c.story, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int32
				start, got := time.Now(), 0
				err := firstAnswer(&got, func(answer *int) error {
					n := asked.Add(1)
					switch c.pool[n-1] {
					case reset:
						return errReset
					case silent:
						time.Sleep(time.Second)
						return errTimeout
					}
					*answer = int(n)
					return nil
				})
				if err != c.err || time.Since(start) != c.after || err == nil && got != len(c.pool) {
					t.Errorf("answer %d, error %v after %v; want %v after %v", got, err, time.Since(start), c.err, c.after)
				}
				time.Sleep(time.Second) // those without an answer end too
			})
		})
	}
}
