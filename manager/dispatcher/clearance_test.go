package dispatcher

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWhoIsWaitedFor(t *testing.T) {
	start := time.Now()
	at := func(halves float64) time.Time { return start.Add(time.Duration(halves * float64(drainPatience/2))) }
	var c clearance
	if got := c.least(7, slices.Values([]party{}), at(0)); got != 7 || c.last() != 0 {
		t.Errorf("nobody is at %d, the last drain is %d", got, c.last())
	}
	c.begin(10, at(0))
	c.begin(20, at(1))
	for _, s := range []struct {
		name    string
		now     float64
		parties []party
		want    uint64
	}{
		{"all are there", 1, []party{{25, at(1)}, {30, at(1)}}, 25},
		{"one owes both", 1, []party{{25, at(1)}, {5, at(-9)}}, 5},
		{"one owes the second", 2.5, []party{{25, at(1)}, {15, at(0.2)}}, 15},
		{"one owes the first, whose time is up", 2.5, []party{{25, at(1)}, {5, at(-9)}}, 25},
		{"one owes the first and speaks", 2.5, []party{{25, at(1)}, {5, at(1)}}, 5},
		{"one owes the second, whose time is up", 3.5, []party{{25, at(1)}, {15, at(0.2)}}, 25},
		{"one has just come", 3.5, []party{{25, at(1)}, {0, at(3)}}, 0},
		{"nobody is left", 9, []party{{5, at(1)}, {0, at(3)}}, 40},
	} {
		c := clearance{fresh: slices.Clone(c.fresh)}
		c.settle(at(s.now))
		if got := c.least(40, slices.Values(s.parties), at(s.now)); got != s.want {
			t.Errorf("%s: %d, want %d", s.name, got, s.want)
		}
	}
	for index, want := range map[uint64]uint64{5: 0, 10: 10, 19: 10, 20: 20, 99: 20} {
		if got := c.lastUpTo(index); got != want {
			t.Errorf("the last drain up to %d is %d, want %d", index, got, want)
		}
	}
}

// A drain is never over before all who are waited for have applied it, and
// whoever is silent holds it up for no longer than its time.
func TestADrainIsOverWhenAllHaveAnsweredOrHadTheirTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c clearance
		now, index := time.Now(), uint64(0)
		parties := []party{{0, now}, {0, now}, {0, now}}
		begun := map[uint64]time.Time{}
		t.Repeat(map[string]func(*rapid.T){
			"time": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 2500).Draw(t, "ms")) * time.Millisecond)
			},
			"drain": func(*rapid.T) { index += 10; c.begin(index, now); begun[index] = now },
			"word": func(t *rapid.T) {
				p := &parties[rapid.IntRange(0, 2).Draw(t, "party")]
				p.applied, p.spoke = rapid.Uint64Range(p.applied, index).Draw(t, "applied"), now
			},
			"": func(t *rapid.T) {
				c.settle(now)
				least := c.least(index, slices.Values(parties), now)
				for _, p := range parties {
					for d := p.applied/10*10 + 10; d <= least; d += 10 {
						if now.Sub(begun[d]) < drainPatience && now.Sub(p.spoke) < drainPatience {
							t.Fatalf("at %d, where one who is waited for is at %d", least, p.applied)
						}
					}
				}
				if silent := now.Sub(parties[0].spoke) >= drainPatience && parties[0].applied < c.past; silent && least < min(parties[1].applied, parties[2].applied) {
					t.Fatalf("at %d for the sake of one who is silent", least)
				}
			},
		})
	})
}
