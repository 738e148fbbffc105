package constraint_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/constraint"
)

// node is the node that the tables below match against.
func node() *api.Node {
	return &api.Node{
		ID: "n1abc",
		Spec: api.NodeSpec{
			Annotations: swarm.Annotations{Labels: map[string]string{"zone": "Berlin", "example.com/rack": "7", "empty": ""}},
		},
		Description: api.NodeDescription{
			Hostname: "Host-1",
			Platform: swarm.Platform{OS: "linux", Architecture: "x86_64"},
			Engine:   swarm.EngineDescription{Labels: map[string]string{"storage": "ssd"}},
		},
		Status:      api.NodeStatus{Addr: "10.1.2.3"},
		ManagerAddr: "10.1.2.3:2377",
	}
}

func TestMatch(t *testing.T) {
	for text, want := range map[string]bool{
		"node.id==N1ABC":                  true, // values are compared without regard to case
		"node.id==n1ab":                   false,
		"node.hostname == host-1":         true, // spaces around the operator
		"NODE.Hostname!=host-1":           false,
		"node.role==manager":              true,
		"node.role != Manager":            false,
		"node.role==worker":               false,
		"node.ip==10.1.2.3":               true,
		"node.ip==::ffff:10.1.2.3":        true,
		"node.ip==10.1.2.0/24":            true,
		"node.ip!=10.1.2.0/24":            false,
		"node.ip==10.1.3.0/24":            false,
		"node.ip==2001:db8::/32":          false,
		"node.platform.os==Linux":         true,
		"node.platform.arch==x86_64":      true,
		"node.platform.arch==amd64":       true,
		"node.platform.arch!=AMD64":       false,
		"node.platform.arch==arm64":       false,
		"node.labels.zone==berlin":        true,
		"Node.Labels.zone==berlin":        true,
		"node.labels.Zone==berlin":        false, // names of labels keep their case
		"node.labels.Zone!=berlin":        true,
		"node.labels.example.com/rack==7": true,
		"node.labels.empty!=x":            true,
		"node.labels.empty==x":            false,
		"engine.labels.storage==ssd":      true,
		"engine.labels.zone==berlin":      false,
		"engine.labels.storage!=hdd":      true,
		"service.name==db":                true, // what else runs there is not the node's to say
		"service.name!=db":                true,
	} {
		list, err := constraint.Parse([]string{text})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := list.Match(node()); got != want {
			t.Errorf("%s: matches %v, want %v", text, got, want)
		}
		if explained := list.Explain(node()); (explained == "") != want {
			t.Errorf("%s: matches %v but is explained as %q", text, want, explained)
		}
	}
}

func TestMatchNodeThatHasSaidNothing(t *testing.T) {
	for text, want := range map[string]bool{
		"node.ip==10.0.0.1":          false,
		"node.ip!=10.0.0.1":          true,
		"node.hostname!=h":           true,
		"node.platform.arch==amd64":  false,
		"node.platform.os!=linux":    true,
		"engine.labels.storage!=ssd": true,
		"node.labels.zone==a":        false,
		"node.role==worker":          true,
	} {
		list, err := constraint.Parse([]string{text})
		if err != nil {
			t.Fatal(err)
		}
		if got := list.Match(&api.Node{ID: "n"}); got != want {
			t.Errorf("%s: matches %v, want %v", text, got, want)
		}
	}
}

func TestAllMustMatch(t *testing.T) {
	list, err := constraint.Parse([]string{"node.role==manager", "node.labels.zone==paris", "node.labels.rack==1"})
	if err != nil {
		t.Fatal(err)
	}
	if list.Match(node()) {
		t.Error("matches though the zone differs")
	}
	want := `constraint node.labels.zone==paris: its label zone is "Berlin"; constraint node.labels.rack==1: it has no label rack`
	if got := list.Explain(node()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !(constraint.List)(nil).Match(node()) {
		t.Error("the empty list must match every node")
	}
}

func TestServices(t *testing.T) {
	list, err := constraint.Parse([]string{"SERVICE.name == DB", "node.role==manager", "service.name!=web"})
	if err != nil {
		t.Fatal(err)
	}
	want := []constraint.Service{{Name: "DB"}, {Name: "web", Not: true}} // names keep their case
	if got := list.Services(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if !list.Match(node()) {
		t.Error("a manager satisfies what is asked of the node itself")
	}
}

func TestParseErrors(t *testing.T) {
	for text, want := range map[string]string{
		"node.lable==x":           `constraint "node.lable==x": unknown key "node.lable": did you mean node.labels.<key>? use node.id, node.hostname, node.ip,`,
		"node.label.zone==x":      `unknown key "node.label.zone": did you mean node.labels.zone?`,
		"engine.lables.a.b==x":    `did you mean engine.labels.a.b?`,
		"node.hostnmae==x":        `did you mean node.hostname?`,
		"node.name==x":            `did you mean node.hostname?`,
		"node.arch==arm64":        `did you mean node.platform.arch?`,
		"weather==sunny":          `unknown key "weather": use node.id,`,
		"==x":                     `no key before the operator: use node.id,`,
		"node.labels.==x":         `node.labels. lacks the name of a label: write node.labels.<key>`,
		"node.labels.a b==x":      `label name "a b" must contain neither spaces nor any of`,
		"node.labels.a==":         `no value after ==: write node.labels.a==value`,
		"node.labels.a!= ":        `no value after !=: write node.labels.a!=value`,
		"node.labels.a=x":         `= is no operator: write node.labels.a==x`,
		"node.labels.a":           `no operator: write key==value or key!=value`,
		"":                        `no operator: write key==value or key!=value`,
		"node.labels.a==x==y":     `value "x==y" must not contain '='`,
		"node.labels.a==~x":       `value "~x" must not contain '~'`,
		"node.role==boss":         `unknown role "boss": use manager or worker`,
		"node.ip==10.0.0":         `"10.0.0" is neither an address nor a subnet: write 192.0.2.7 or 192.0.2.0/24`,
		"node.ip==10.0.0.0/33":    `is neither an address nor a subnet`,
		"node.labels.a==x\x00":    `must not contain '\x00'`,
		"node.labels.a!=\xff\xfe": `must not contain`,
		"service==db":             `unknown key "service": did you mean service.name?`,
		"service.nmae==db":        `did you mean service.name?`,
		"service.name==":          `no value after ==: write service.name==value`,
		"service.name==my db":     "no service has ' ' in its name: write the whole name as `service ls` shows it",
		"service.name!=tasks.db":  `no service has '.' in its name`,
	} {
		_, err := constraint.Parse([]string{"node.role==manager", text})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
		if !errors.Is(err, api.ErrInvalid) {
			t.Errorf("%q: not an invalid argument: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"node.labels.zone==a", "0.\x8100.!=", "node.ip!=10.0.0.0/8", "node.ip==fe80::1%eth0", "NODE.ROLE == worker",
		"engine.labels.a.b!=c d", "node.lable==x", "=", "==", "!==", "node.platform.arch==x86_64",
		"service.name==db", "Service.Name != my-db_2",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := constraint.Parse([]string{text})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "constraint ") {
				t.Errorf("error does not name the constraint: %v", err)
			}
			return
		}
		canonical := list[0].String()
		again, err := constraint.Parse([]string{canonical})
		if err != nil || again[0].String() != canonical {
			t.Fatalf("%q became %q, which parses to %v, %v", text, canonical, again, err)
		}
		if got := list.Services(); !slices.Equal(got, again.Services()) || len(got) > 0 && got[0].String() != canonical {
			t.Fatalf("%q: constrains services %v, its canonical form %v", text, got, again.Services())
		}
		for _, n := range []*api.Node{node(), {ID: "other"}} {
			if list.Match(n) != again.Match(n) || list.Match(n) != (list.Explain(n) == "") {
				t.Fatalf("%q: match, match of the canonical form and explanation disagree", text)
			}
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	list, err := constraint.Parse([]string{"node.labels.zone==berlin", "node.role==manager"})
	if err != nil {
		b.Fatal(err)
	}
	n := node()
	b.ReportAllocs()
	for b.Loop() {
		if !list.Match(n) {
			b.Fatal("does not match")
		}
	}
}
