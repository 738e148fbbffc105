package raftstore

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

// A majority commits an entry, and the follower that is not part of it is told so
// before the entry has come. It must be told again: raft would do so after Idle.
func TestAFollowerThatLagsHearsOfTheCommit(t *testing.T) {
	timers := testTimers
	timers.Idle = 20 * time.Second
	c := newClusterOf(t, timers, "a", "b", "c")
	leader, lags := c.leader(), c.follower()
	c.delay(lags.id)
	for i := range 3 {
		cmd := createService(fmt.Sprint("s", i), fmt.Sprint("web", i))
		cmd.Ops[0].PutService.Spec.Labels = map[string]string{"long": strings.Repeat("x", 16<<10)}
		r, err := leader.Propose(c.ctx(), cmd)
		c.ok(err)
		ctx, cancel := context.WithTimeout(t.Context(), timers.Idle/4)
		c.ok(lags.WaitApplied(ctx, r.Index))
		cancel()
	}
}
