package scheduler

import (
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

func TestAmountsAreReadable(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 512 << 20: "512 MiB", 300<<20 + 1: "300 MiB",
		1741 << 20: "1.7 GiB", 8 << 30: "8 GiB", 3 << 50: "3 PiB", 5000 << 50: "5000 PiB",
	} {
		if got := bytes(n); got != want {
			t.Errorf("bytes(%d) = %q, want %q", n, got, want)
		}
	}
	for n, want := range map[int64]string{1e9: "1 CPU", 25e7: "0.25 CPUs", 2e9: "2 CPUs", 0: "0 CPUs"} {
		if got := cpus(n); got != want {
			t.Errorf("cpus(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestPlatformNames(t *testing.T) {
	for name, want := range map[string]string{
		"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64", "armv7l": "arm", "armhf": "arm", "i686": "386", "s390x": "s390x", "": "",
	} {
		if got := platformArch(name); got != want {
			t.Errorf("platformArch(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestEveryUnavailableNodeSaysWhy(t *testing.T) {
	ready := api.NodeStatus{State: api.NodeReady}
	for _, c := range []struct {
		status       api.NodeStatus
		availability swarm.NodeAvailability
		want         string
	}{
		{ready, "", ""},
		{ready, "active", ""},
		{ready, "drain", "is drained: its availability must be active"},
		{ready, "pause", "is paused: its availability must be active"},
		{ready, "asleep", "has availability asleep: it must be active"},
		{api.NodeStatus{State: api.NodeReady, SessionLost: true}, "active", "its session is lost: its manager does not hear it"},
		{api.NodeStatus{State: api.NodeDown}, "active", "is down"},
		{api.NodeStatus{State: api.NodeDown, Message: "heartbeat failure"}, "drain", "is down: heartbeat failure"},
		{api.NodeStatus{State: api.NodeUnknown}, "active", "has not been heard of since the leader changed"},
		{api.NodeStatus{State: api.NodeDisconnected}, "active", "has left the cluster"},
		{api.NodeStatus{}, "active", "has not been heard of since the leader changed"},
	} {
		n := &api.Node{Status: c.status, Spec: api.NodeSpec{Availability: c.availability}}
		if got := unavailability(n); got != c.want {
			t.Errorf("%+v, %q: got %q, want %q", c.status, c.availability, got, c.want)
		}
		if available(n) != (c.want == "") {
			t.Errorf("%+v, %q: available is %v, and yet explained as %q", c.status, c.availability, available(n), c.want)
		}
	}
}

// A task that has its node is explained as though it still waited.
func TestExplainTaskThatRuns(t *testing.T) {
	w := newWorld(t)
	w.do("node h1 cpu=1", "node h2 cpu=1", "service web cpu=1 max=1 port=80", "tasks web 1-2 on=h1 state=running")
	got := Explain(w.state.View(), w.state.View().Task("web.1"))
	if len(got) != 1 || got[0].Node != "h1" || len(got[0].Reasons) == 0 {
		t.Errorf("got %v, want what web.2 is in the way of", got)
	}
	w.do("delete web.2")
	got = Explain(w.state.View(), w.state.View().Task("web.1"))
	if len(got) != 1 || got[0].String() != "node h1: fits" {
		t.Errorf("got %v", got)
	}
}
