package scenarios

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/swarmctl/swarmctl/integration/cluster"
)

func TestBadInputIsRefusedByName(t *testing.T) {
	l := newLab(t)
	l.run("taken", 1)
	at := l.Nodes[1]
	create := func(args ...string) []string {
		return append(append([]string{"service", "create", "--detach"}, args...), cluster.Image)
	}
	for _, c := range []struct {
		story string
		args  []string
		names []string
	}{
		{"name taken", create("--name", "taken"), []string{"taken"}},
		{"unknown service", []string{"service", "inspect", "nosuch"}, []string{"nosuch"}},
		{"unknown service scaled", []string{"service", "scale", "nosuch=2"}, []string{"nosuch"}},
		{"unknown service removed", []string{"service", "rm", "nosuch"}, []string{"nosuch"}},
		{"unknown node", []string{"node", "inspect", "nosuch"}, []string{"nosuch"}},
		{"unknown node promoted", []string{"node", "promote", "nosuch"}, []string{"nosuch"}},
		{"negative replicas", create("--replicas", "-1"), []string{"-1", "replicas"}},
		{"no number", create("--replicas", "many"), []string{"many", "replicas"}},
		{"constraint that does not parse", create("--constraint", "node.role=>manager"), []string{"node.role=>manager"}},
		{"constraint with an unknown key", create("--constraint", "node.lable.a==b"), []string{"node.lable.a"}},
		{"memory limit below the engine's minimum", create("--limit-memory", "1m"), []string{"memory", "1"}},
		{"reservation above the limit", create("--limit-memory", "64m", "--reserve-memory", "1g"), []string{"memory"}},
		{"unknown flag", create("--replica", "1"), []string{"replica"}},
		{"bad name", create("--name", "a b"), []string{"a b"}},
		{"bad environment", create("--env-file", "/nosuch"), []string{"/nosuch"}},
		{"bad availability", []string{"node", "update", "--availability", "gone", "h4"}, []string{"gone"}},
		{"member inits again", []string{"init"}, []string{"already"}},
		{"no image", []string{"service", "create"}, []string{"service create"}},
	} {
		t.Run(strings.ReplaceAll(c.story, " ", "-"), func(t *testing.T) {
			l := *l
			l.t = t
			l.refused(at, c.args, c.names...)
		})
	}
	if got := strings.Fields(l.cli(at, "service", "ls", "-q")); len(got) != 1 {
		t.Errorf("a refused command left something behind: services %v", got)
	}
}

func TestAmbiguousPrefixIsRefused(t *testing.T) {
	l := newLab(t)
	seen := map[byte]bool{}
	for i := range 37 { // an ID starts with one of 36 characters
		id := strings.TrimSpace(l.cli(l.Nodes[0], "service", "create", "--quiet", "--detach", "--replicas", "0", "--name", "s"+strconv.Itoa(i), cluster.Image))
		if seen[id[0]] && id[0] != 's' { // no service's name
			l.refused(l.Nodes[1], []string{"service", "inspect", id[:1]}, id[:1], "ambiguous")
			return
		}
		seen[id[0]] = true
	}
}

// An image that no node has and no registry answers for is named in `service
// ps`, and the task runs once the image is there.
func TestImageThatDoesNotExistSaysSoAndIsTriedAgain(t *testing.T) {
	l := newLab(t)
	const image = "nosuch-image:1"
	l.cli(l.Nodes[0], "service", "create", "--quiet", "--detach", "--name", "web", "--replicas", "2", image)
	l.must(cluster.Eventually(l.ctx, soon, func(ctx context.Context) error {
		ps, err := l.Nodes[1].CLI(ctx, "service", "ps", "--no-trunc", "--format", "{{.CurrentState}} {{.Error}}", "web")
		if err == nil && !strings.Contains(ps, image) {
			err = fmt.Errorf("service ps does not name the image:\n%s", ps)
		}
		return err
	}))
	for _, n := range l.Nodes {
		l.must(n.Docker.ImageTag(l.ctx, cluster.Image, image))
	}
	l.until("web", time.Minute, "2 run", func(cs []cluster.Container) bool { return len(cs) == 2 })
}

func TestJoinsThatMustFail(t *testing.T) {
	l := ownLab(t, "10.91.4", 1, 0)
	l.must(l.Add(t.Context(), 2))
	member, stranger, joiner := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	token, err := member.Token(t.Context(), false)
	l.must(err)
	l.cli(stranger, "init", "--advertise-addr", stranger.Addr)
	foreign, err := stranger.Token(t.Context(), false)
	l.must(err)

	manager, nobody := member.Addr+":2377", "10.91.4.200:2377"
	for _, c := range []struct {
		story, token, remote string
		names                []string
	}{
		{"wrong secret", token[:len(token)-4] + flip(token[len(token)-4:]), manager, []string{"token"}},
		{"truncated token", token[:len(token)-10], manager, []string{"token"}},
		{"no token at all", "hello", manager, []string{"token"}},
		{"token of another cluster", foreign, manager, []string{"token"}},
		{"nobody listens", token, member.Addr + ":2399", []string{member.Addr + ":2399"}},
		{"no such host", token, nobody, []string{nobody}},
		{"not an address", token, "::::", []string{"::::"}},
	} {
		t.Run(strings.ReplaceAll(c.story, " ", "-"), func(t *testing.T) {
			l := *l
			l.t = t
			l.refused(joiner, []string{"join", "--token", c.token, c.remote}, c.names...)
		})
	}
	l.refused(stranger, []string{"join", "--token", token, manager}, "already")
	l.must(joiner.Join(t.Context(), member, false)) // none of it did harm
	l.must(l.AwaitReady(t.Context(), 2))
	l.refused(joiner, []string{"join", "--token", token, manager}, "already")
}

// flip changes every character of a token's end into another that may stand there.
func flip(s string) string {
	return strings.Map(func(r rune) rune {
		if r == 'a' {
			return 'b'
		}
		return 'a'
	}, s)
}
