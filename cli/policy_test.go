package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestThePolicyIsALabelOfTheCluster(t *testing.T) {
	w := newWorld()
	w.cluster.Spec.Labels = map[string]string{"team": "a"}
	addr := w.start(t)
	for _, tt := range []struct {
		args       []string
		code       int
		says, deny string // deny is the label afterwards
	}{
		{[]string{"--policy-deny", "privileged,host-pid"}, 0, "Swarm updated.", "privileged,host-pid"},
		{[]string{"--policy-deny", "root"}, exitBadFlag, `"root" cannot be denied: use some of privileged,device,gpus`, "privileged,host-pid"},
		{nil, 0, "--policy-deny forbids services", "privileged,host-pid"},
		{[]string{"--policy-deny", ""}, 0, "Swarm updated.", ""},
	} {
		w.mu.Lock()
		w.outdated = 1 // somebody else is faster, once
		w.mu.Unlock()
		var out bytes.Buffer
		code := w.app().Run(t.Context(), append([]string{"--socket", addr, "update"}, tt.args...), strings.NewReader(""), &out, &out)
		w.mu.Lock()
		if code != tt.code || !strings.Contains(out.String(), tt.says) {
			t.Errorf("%q: exit code %d, %s", tt.args, code, out.String())
		}
		deny, ok := w.cluster.Spec.Labels["swarmctl.policy.deny"]
		if deny != tt.deny || ok != (tt.deny != "") || w.cluster.Spec.Labels["team"] != "a" {
			t.Errorf("%q: the cluster has %v", tt.args, w.cluster.Spec.Labels)
		}
		w.outdated = 0
		w.mu.Unlock()
	}
}
