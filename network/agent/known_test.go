package agent

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

func TestANodeSaysWhatItHasForTheCallersOfAService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := start(t)
		said := func(q *api.TraceRequest) string {
			var lines []string
			for _, s := range w.Look(q) {
				lines = append(lines, map[bool]string{true: "ok ", false: "BREAKS "}[s.OK]+s.What+": "+s.Text)
			}
			return strings.Join(lines, "\n")
		}
		q := &api.TraceRequest{Service: "web"}
		if got, want := said(q), "BREAKS fabric: no manager has told this node of the cluster's networks yet"; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		u := full(5)
		u.Services = append(u.Services, &fabric.Service{ID: "web", Name: "web"})
		u.Endpoints = append(u.Endpoints, &fabric.Endpoint{ID: "t1", Service: "web", State: fabric.Serving, Networks: []api.Attachment{{Network: "n", Addrs: []netip.Addr{netip.MustParseAddr("10.0.1.9")}}}})
		w.Update(u)
		w.wantApplied(5)
		if got, want := said(q), "ok fabric: this node knows the service, with 1 tasks that serve\nok rules: the rules agree with all that is known (change 5)"; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if got := said(&api.TraceRequest{Service: "other"}); !strings.HasPrefix(got, "BREAKS fabric: this node has not heard of the service") {
			t.Error(got)
		}
		q.Network = "n1"
		if got, want := said(q), "ok fabric: this node knows the service, with 1 tasks that serve\nok rules: the rules agree with all that is known (change 5)\nok name: web in [n1]: 1 services"; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		w.failing("balance", errors.New("the kernel says no"))
		w.Update(&fabric.Update{Index: 6})
		synctest.Wait()
		if got := said(q); !strings.Contains(got, "BREAKS rules: the rules are those of change 5, and 6 is known\nBREAKS balance: the kernel says no\n") {
			t.Error(got)
		}
		if len(w.Networks()) == 0 {
			t.Error("no networks are known")
		}
	})
}
