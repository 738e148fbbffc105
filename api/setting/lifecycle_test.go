package setting_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

func labelsOf(words string) map[string]string {
	labels := map[string]string{"tier": "front"}
	for pair := range strings.FieldsSeq(words) {
		k, v, _ := strings.Cut(pair, "=")
		labels[setting.Prefix+k] = v
	}
	return labels
}

func TestParseLifecycle(t *testing.T) {
	const usual = setting.DefaultProgressDeadline
	for _, tt := range []struct {
		labels string
		want   setting.Lifecycle
		err    string
	}{
		{labels: "", want: setting.Lifecycle{ProgressDeadline: usual}},
		{labels: "privileged=true", want: setting.Lifecycle{ProgressDeadline: usual}},
		{labels: "canary=3", want: setting.Lifecycle{Canary: setting.Share{Count: 3}, ProgressDeadline: usual}},
		{labels: "canary=100% canary.promote-after=90s", want: setting.Lifecycle{Canary: setting.Share{Percent: 100}, PromoteAfter: 90 * time.Second, ProgressDeadline: usual}},
		{labels: "canary=0", err: `label swarmctl.canary: "0" is no part of the replicas: give their number, from 1, or a percentage as in 10%`},
		{labels: "canary=+1", err: `label swarmctl.canary: "+1" is no part of the replicas: give their number, from 1, or a percentage as in 10%`},
		{labels: "canary=%", err: `label swarmctl.canary: "%" is no part of the replicas: give their number, from 1, or a percentage as in 10%`},
		{labels: "canary=101%", err: `label swarmctl.canary: "101%" is more than all replicas: give a percentage from 1% to 100%`},
		{labels: "canary=1 canary.promote-after=-1s", err: `label swarmctl.canary.promote-after: -1s is too short: the least is 0s`},
		{labels: "canary.promote-after=1m", err: `label swarmctl.canary.promote-after: there is no canary to promote: give swarmctl.canary as well, as in swarmctl.canary=1 or swarmctl.canary=10%`},
		{labels: "update.progress-deadline=0s", want: setting.Lifecycle{}},
		{labels: "update.progress-deadline=soon", err: `label swarmctl.update.progress-deadline: "soon" is no duration: give a number with a unit, as in 90s or 10m`},
		{labels: "reschedule.after=5m rebalance=2m strategy=binpack", want: setting.Lifecycle{
			ProgressDeadline: usual, RescheduleAfter: 5 * time.Minute, Rebalance: 2 * time.Minute, Strategy: setting.StrategyBinpack,
		}},
		{labels: "reschedule.after=-5m", err: `label swarmctl.reschedule.after: -5m is too short: the least is 0s`},
		{labels: "rebalance=0s", err: `label swarmctl.rebalance: 0s is too short: the least is 1s`},
		{labels: "strategy=random", err: `label swarmctl.strategy: "random" is not a value of it: use spread, binpack, capacity`},
	} {
		got, err := setting.ParseLifecycle(labelsOf(tt.labels))
		switch {
		case tt.err == "" && (err != nil || got != tt.want):
			t.Errorf("%s: %+v, %v, want %+v", tt.labels, got, err, tt.want)
		case tt.err != "" && (err == nil || err.Error() != tt.err || !errors.Is(err, api.ErrInvalid)):
			t.Errorf("%s:\n got %v\nwant %s", tt.labels, err, tt.err)
		}
	}
}

// One bad label does not take the others with it.
func TestLifecycleOfNewerProgram(t *testing.T) {
	got := setting.LifecycleOf(labelsOf("canary=soonest strategy=capacity reschedule.after=1m"))
	want := setting.Lifecycle{ProgressDeadline: setting.DefaultProgressDeadline, Strategy: setting.StrategyCapacity, RescheduleAfter: time.Minute}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestShareOfReplicas(t *testing.T) {
	for _, tt := range []struct {
		share          string
		replicas, want uint64
	}{
		{"1", 10, 1}, {"3", 10, 3}, {"3", 2, 2}, {"3", 0, 0},
		{"10%", 10, 1}, {"10%", 11, 2}, {"10%", 1, 1}, {"1%", 1000, 10}, {"100%", 7, 7}, {"50%", 3, 2}, {"10%", 0, 0},
	} {
		s, err := setting.ParseShare(tt.share)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Of(tt.replicas); got != tt.want || s.String() != tt.share {
			t.Errorf("%s of %d: %d (%s), want %d", tt.share, tt.replicas, got, s, tt.want)
		}
	}
}

func TestParseNode(t *testing.T) {
	for _, tt := range []struct {
		labels string
		want   time.Duration
		err    string
	}{
		{labels: "", want: setting.DefaultDrainDeadline},
		{labels: "drain.deadline=0s"},
		{labels: "drain.deadline=1h", want: time.Hour},
		{labels: "drain.deadline=-1s", err: `node label swarmctl.drain.deadline: -1s is too short: the least is 0s`},
		{labels: "drain=1h", err: `node label "swarmctl.drain": this version of swarmctl knows no such label: it knows swarmctl.drain.deadline; other labels must not begin with "swarmctl."`},
	} {
		got, err := setting.ParseNode(labelsOf(tt.labels))
		switch {
		case tt.err == "" && (err != nil || got.DrainDeadline != tt.want || setting.DrainDeadlineOf(labelsOf(tt.labels)) != tt.want):
			t.Errorf("%s: %+v, %v, want %s", tt.labels, got, err, tt.want)
		case tt.err != "" && (err == nil || err.Error() != tt.err || !errors.Is(err, api.ErrInvalid)):
			t.Errorf("%s:\n got %v\nwant %s", tt.labels, err, tt.err)
		}
	}
}

func TestStrategyOfTheCluster(t *testing.T) {
	for labels, want := range map[string]setting.Strategy{
		"": setting.StrategySpread, "strategy=capacity": setting.StrategyCapacity, "strategy=novel": setting.StrategySpread,
	} {
		if got := setting.StrategyOf(labelsOf(labels)); got != want {
			t.Errorf("%s: %s, want %s", labels, got, want)
		}
	}
	if _, err := setting.ParsePolicy(labelsOf("strategy=novel")); err == nil || err.Error() != `cluster label swarmctl.strategy: "novel" is not a value of it: use spread, binpack, capacity` {
		t.Errorf("a strategy that there is not: %v", err)
	}
	if p, err := setting.ParsePolicy(labelsOf("strategy=binpack policy.deny=gpus")); err != nil || len(p) != 1 {
		t.Errorf("both labels: %v, %v", p, err)
	}
}
