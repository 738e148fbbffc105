package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestTheStrategyIsALabelOfTheCluster(t *testing.T) {
	w := newWorld()
	w.cluster.Spec.Labels = map[string]string{"team": "a"}
	addr := w.start(t)
	for _, tt := range []struct {
		strategy string
		code     int
		says     string
		label    string // afterwards
	}{
		{"capacity", 0, "Swarm updated.", "capacity"},
		{"random", exitBadFlag, `"random" is not a value of it: use spread, binpack, capacity`, "capacity"},
		{"", 0, "Swarm updated.", ""},
	} {
		var out bytes.Buffer
		code := w.app().Run(t.Context(), []string{"--socket", addr, "update", "--strategy", tt.strategy}, strings.NewReader(""), &out, &out)
		if code != tt.code || !strings.Contains(out.String(), tt.says) {
			t.Errorf("%q: exit code %d, %s", tt.strategy, code, out.String())
		}
		w.mu.Lock()
		label, ok := w.cluster.Spec.Labels["swarmctl.strategy"]
		if label != tt.label || ok != (tt.label != "") || w.cluster.Spec.Labels["team"] != "a" {
			t.Errorf("%q: the cluster has %v", tt.strategy, w.cluster.Spec.Labels)
		}
		w.mu.Unlock()
	}
}
