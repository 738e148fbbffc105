package cli

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/swarmctl/swarmctl/api"
)

// TestServiceRebalance: the rebalance of web is under way at the first look and
// balanced at the second, that of db ends without.
func TestServiceRebalance(t *testing.T) {
	w := newWorld()
	var mu sync.Mutex
	asked, looks := []string{}, map[string]int{}
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		_, path, _ := strings.Cut(r.URL.Path, "/swarmctl/services/")
		name, ok := strings.CutSuffix(path, "/rebalance")
		if !ok {
			w.serve(rw, r)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		var now api.Rebalance
		switch {
		case r.Method == http.MethodPost && name == "agent":
			rw.WriteHeader(http.StatusBadRequest)
			_, _ = rw.Write([]byte(`{"message":"service agent is global"}`))
			return
		case r.Method == http.MethodPost:
			asked = append(asked, name)
		case name == "db":
			now = api.Rebalance{Outcome: "stopped: db.2 stays where it is: no suitable node", Stopped: true}
		case name == "slow":
		case looks[name] > 0:
			now = api.Rebalance{Outcome: "balanced: 6 tasks on 3 nodes"}
		}
		looks[name]++
		_ = json.NewEncoder(rw).Encode(now)
	}))
	t.Cleanup(srv.Close)
	run := func(words ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := w.app().Run(t.Context(), append([]string{"--socket", strings.Replace(srv.URL, "http", "tcp", 1)}, words...), strings.NewReader(""), &out, &errs)
		return code, out.String(), errs.String()
	}
	for _, words := range []string{"--name web --replicas 6", "--name db --replicas 2", "--name agent --mode global"} {
		if code, _, errs := run(append(append([]string{"service", "create", "-d"}, strings.Fields(words)...), "busybox")...); code != 0 {
			t.Fatalf("create %s: %s", words, errs)
		}
	}
	for _, tt := range []struct {
		args, out, errs string
		code            int
	}{
		{"web", "web balanced: 6 tasks on 3 nodes\n", "", 0},
		{"db", "", "db: rebalance stopped: db.2 stays where it is: no suitable node\n", 1},
		{"agent", "", "Error response from daemon: service agent is global\n", 1},
		{"-d db web", "db\nweb\n", "", 0},
		{"--all", "web balanced: 6 tasks on 3 nodes\n", "db: rebalance stopped: db.2 stays where it is: no suitable node\n", 1},
		{"--all web", "", "--all may not be combined with names of services\n", 1},
		{"", "", "no service named: give the names of services, or --all.\nSee 'swarmctl service rebalance --help'\n", 1},
	} {
		code, out, errs := run(append([]string{"service", "rebalance"}, strings.Fields(tt.args)...)...)
		if code != tt.code || out != tt.out || errs != tt.errs {
			t.Errorf("service rebalance %s: exit %d\n%s%s", tt.args, code, out, errs)
		}
	}
	if code, _, errs := run("service", "create", "-d", "--name", "slow", "busybox"); code != 0 {
		t.Fatal(errs)
	}
	code, _, errs := run("service", "rebalance", "--timeout", "50ms", "agent", "slow", "web")
	if want := "Error response from daemon: service agent is global\ntimed out after 50ms: the cluster works on\n"; code != exitTimeout || errs != want {
		t.Errorf("one that takes long: exit %d\n%s", code, errs)
	}
	if got := strings.Join(asked, " "); strings.Count(got, "web") != 4 || strings.Contains(got, "agent") {
		t.Errorf("asked for %s", got)
	}
}
