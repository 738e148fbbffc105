package overlay

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/network/netns"
	"github.com/swarmctl/swarmctl/network/netns/sandbox"
)

// does runs a command in the host's network.
func (h *host) does(name string, args ...string) string {
	h.t.Helper()
	cmd := exec.Command(name, args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	check(h.t, netns.Do(sandbox.Path(h.ns), cmd.Start))
	if err := cmd.Wait(); err != nil {
		h.t.Fatalf("%s %v: %v: %s", name, args, err, out.String())
	}
	return out.String()
}

// tracked is what the host tracks of frames between hosts.
func (h *host) tracked() (flows []string) {
	h.t.Helper()
	var table []byte
	check(h.t, netns.Do(sandbox.Path(h.ns), func() (err error) {
		table, err = os.ReadFile("/proc/thread-self/net/nf_conntrack")
		return err
	}))
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, " dport=4789 ") {
			flows = append(flows, line)
		}
	}
	return flows
}

func TestFramesBetweenHostsAreNotTracked(t *testing.T) {
	l := newLab(t, 1500)
	h := l.hosts[0]
	for _, part := range []string{
		"add table ip host", "add chain ip host in { type filter hook input priority 0; }", "add rule ip host in ct state new counter",
	} {
		h.does("nft", part) // a host tracks where somebody asks it to
	}
	a := l.run(h, "10.1.0.1").answers()
	b := l.run(l.hosts[1], "10.1.0.2").answers()
	both := func() {
		t.Helper()
		check(t, a.reaches("10.1.0.2", 100))
		check(t, b.reaches("10.1.0.1", 100))
	}
	both()
	if flows := h.tracked(); len(flows) > 0 {
		t.Errorf("tracked:\n%s", flows)
	}
	h.does("nft", "flush", "chain", "inet", "swarmctl", "frames-in")
	both()
	if len(h.tracked()) == 0 {
		t.Error("nothing is tracked without the rule: this tests nothing")
	}
	h.does("nft", "delete", "table", "inet", "swarmctl")
	check(t, h.Restore())
	rules := h.does("nft", "list", "ruleset")
	if strings.Count(rules, "udp dport 4789 notrack") != 2 {
		t.Errorf("they are not put back:\n%s", rules)
	}
	h.restart()
	l.apply()
	if again := h.does("nft", "list", "ruleset"); again != rules {
		t.Errorf("a daemon that starts anew has made of\n%s\nthis:\n%s", rules, again)
	}
	h = l.hosts[2] // which runs no container
	if rules := h.does("nft", "list", "ruleset"); !strings.Contains(rules, "notrack") {
		t.Errorf("without a container:\n%s", rules)
	}
	check(t, h.Close(t.Context()))
	if rules := h.does("nft", "list", "ruleset"); strings.Contains(rules, "swarmctl") {
		t.Errorf("left:\n%s", rules)
	}
}
