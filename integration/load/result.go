package load

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"
)

// Result is what came of asking.
type Result struct {
	Answers     int
	By          map[string]int // answers by the name of who gave them
	Seen        map[string]int // answers by the address that the server saw, without its port
	Connections int            // how many were made, or tried
	Took        time.Duration
	// Of the answers, how long half, all but one in a hundred, and all took at most.
	P50, P99, Max time.Duration
	Failed        int
	Failures      []Failure // the first of them
}

// Failure is a request without an answer.
type Failure struct {
	At    time.Time // when it was begun
	Error string
}

// keptFailures is how many failures a client tells of.
const keptFailures = 1000

// String is for people: a line in all, then one for each who answered, each
// who was seen, each way to fail.
func (r Result) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%d answers in %.2f s, %.0f a second, over %d connections; half took %.2f ms, 99 %% %.2f ms, all %.2f ms\n",
		r.Answers, r.Took.Seconds(), float64(r.Answers)/r.Took.Seconds(), r.Connections, ms(r.P50), ms(r.P99), ms(r.Max))
	why := map[string]int{}
	for _, f := range r.Failures {
		why[f.Error]++
	}
	for _, group := range []struct {
		words string
		count map[string]int
	}{{"answered by", r.By}, {"seen as", r.Seen}, {"failed:", why}} {
		for _, key := range slices.Sorted(maps.Keys(group.count)) {
			fmt.Fprintf(&out, "%7d %s %s\n", group.count[key], group.words, key)
		}
	}
	return out.String()
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// tally is what one client counts.
type tally struct {
	by, seen    map[string]*int
	took        []time.Duration
	connections int
	failed      int
	failures    []Failure
}

func newTally() *tally { return &tally{by: map[string]*int{}, seen: map[string]*int{}} }

func (t *tally) add(began time.Time, answer []byte, err error) {
	who, seen, ok := parse(answer)
	if err == nil && !ok {
		err = fmt.Errorf("answered %.40q", answer)
	}
	if err != nil {
		t.failed++
		if len(t.failures) < keptFailures {
			t.failures = append(t.failures, Failure{began, cause(err)})
		}
		return
	}
	t.took = append(t.took, time.Since(began))
	count(t.by, who)
	count(t.seen, seen)
}

func count(m map[string]*int, key []byte) {
	n := m[string(key)] // which makes no string of it
	if n == nil {
		n = new(int)
		m[string(key)] = n
	}
	*n++
}

// cause is an error without the ports of the two ends, which would make each of
// a thousand another one.
func cause(err error) string {
	if op := (*net.OpError)(nil); errors.As(err, &op) {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

func sum(tallies []*tally, took time.Duration) Result {
	r := Result{By: map[string]int{}, Seen: map[string]int{}, Took: took}
	var all []time.Duration
	for _, t := range tallies {
		for m, counted := range map[*map[string]int]map[string]*int{&r.By: t.by, &r.Seen: t.seen} {
			for key, n := range counted {
				(*m)[key] += *n
			}
		}
		all = append(all, t.took...)
		r.Connections += t.connections
		r.Failed += t.failed
		r.Failures = append(r.Failures, t.failures...)
	}
	slices.SortFunc(r.Failures, func(a, b Failure) int { return a.At.Compare(b.At) })
	r.Answers = len(all)
	if slices.Sort(all); len(all) > 0 {
		r.P50, r.P99, r.Max = all[(len(all)-1)/2], all[(len(all)-1)*99/100], all[len(all)-1]
	}
	return r
}
