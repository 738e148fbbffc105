package law

import (
	"strings"
	"testing"
)

// direction says which packages of the project the packages below some
// folders may import. Their own folder is always allowed.
type direction struct {
	from   []string
	may    []string // these alone, where it is set
	never  []string
	except []string // of never
	reason string
}

var directions = []direction{
	{
		from: []string{"api"}, may: []string{},
		reason: "api is the leaf that every package may know: were it to know one, nothing could be understood or tested by itself",
	},
	{
		from: []string{"raftstore/state"}, may: []string{"api"},
		reason: "the replicated state machine is pure: the same commands give the same tables on every manager",
	},
	{
		from: []string{"services"}, may: []string{"api", "raftstore/state"},
		reason: "reconcilers are functions of a view and the time; that is how they are tested without a cluster",
	},
	{
		from: []string{"scheduler"}, may: []string{"api", "raftstore/state"},
		reason: "the planner is a function of a view; that is how it plans 100,000 tasks in a test",
	},
	{
		from: []string{"manager/dispatcher"}, may: []string{"api", "raftstore/state"},
		reason: "every manager serves sessions from its replicated state, whoever leads: the dispatcher must not know of Raft",
	},
	{
		from: []string{"manager/mover"}, may: []string{"api", "raftstore/state", "worker/volume"},
		reason: "what is moved is what the state says, by way of a tunnel that somebody else opens; so both of its ends are tested without a cluster",
	},
	{
		from: []string{"worker", "network"}, never: []string{"manager", "raftstore", "services", "scheduler"},
		reason: "a node does what its assignments say; it must run, and be tested, without a manager in the program",
	},
	{
		from: []string{"raftstore"}, never: []string{"manager", "services", "scheduler", "worker", "network", "cli"},
		reason: "the store keeps what others decide",
	},
	{
		from: []string{"cli"}, never: []string{"manager", "raftstore", "services", "scheduler", "worker", "network"},
		except: []string{"services/stack", "manager/dockerapi/servicespec"},
		reason: "the commands speak Docker's API to a socket, as any other tool does; what makes specs of Compose files, and what a spec has to keep to, are functions of values",
	},
}

// fence says who alone may import something.
type fence struct {
	what   []string
	only   []string
	reason string
}

var fences = []fence{
	{[]string{"./manager/daemon"}, []string{".", "integration"}, "it knows everything, so nothing but the program may know it"},
	{[]string{"./integration"}, []string{"integration"}, "the product does not depend on its tests"},
	{[]string{"github.com/hashicorp/raft", "github.com/hashicorp/raft-boltdb", "go.etcd.io/bbolt"}, []string{"raftstore"}, "whether Raft keeps the state is the store's business"},
	{[]string{"github.com/hashicorp/memberlist"}, []string{"network/gossip"}, "the others ask who is alive, not how that is found out"},
	{[]string{"github.com/miekg/dns"}, []string{"network/dns"}, "whoever needs an answer asks the server that is there, as any program does"},
	{
		[]string{"github.com/docker/docker/client"},
		[]string{"worker/docker", "cli", "manager/dockerapi", "integration"},
		"Docker's client moves to another module one day, and that must be a day's work",
	},
	{
		[]string{"github.com/vishvananda", "github.com/google/nftables", "github.com/mdlayher/netlink", "github.com/cilium/ebpf"},
		[]string{"network", "integration/hosts"},
		"only the network touches the kernel's network",
	},
	{[]string{"github.com/compose-spec"}, []string{"services/stack"}, "the rest of the program knows services, not the files that they came from"},
	{[]string{"github.com/urfave/cli"}, []string{".", "cli"}, "how a command line is parsed concerns the command line alone"},
	{[]string{"testing"}, []string{"integration"}, "the product carries no test code; fakes that others test with take a small interface"},
}

func TestImportLaw(t *testing.T) {
	for _, s := range sources(t) {
		if s.isTest() {
			continue // a test may look behind its package's fences
		}
		for _, imported := range s.imports(t) {
			for _, d := range directions {
				if !d.allows(s.pkg, imported) {
					t.Errorf("%s imports %s, which it may not: %s", s.file, imported, d.reason)
				}
			}
			for _, f := range fences {
				if under(imported, f.what...) && !inside(s.pkg, f.only) {
					t.Errorf("%s imports %s, which is for %s alone: %s", s.file, imported, strings.Join(f.only, ", "), f.reason)
				}
			}
		}
	}
}

func (d direction) allows(pkg, imported string) bool {
	inProject, ok := strings.CutPrefix(imported, "./")
	if !ok || !under(pkg, d.from...) {
		return true
	}
	for _, own := range d.from {
		if under(pkg, own) && under(inProject, own) {
			return true
		}
	}
	if d.may != nil {
		return under(inProject, d.may...)
	}
	return !under(inProject, d.never...) || under(inProject, d.except...)
}

// inside is under, with "." for the root package alone.
func inside(pkg string, folders []string) bool {
	for _, f := range folders {
		if pkg == f || f != "." && under(pkg, f) {
			return true
		}
	}
	return false
}

func TestTheLawIsNotToothless(t *testing.T) {
	for _, c := range []struct {
		pkg, imported string
		allowed       bool
	}{
		{"api", "./raftstore", false},
		{"api", "./api/constraint", true},
		{"services/replicated", "./services/slot", true},
		{"services/replicated", "./scheduler", false},
		{"scheduler", "./raftstore", false},
		{"scheduler", "./raftstore/state", true},
		{"worker/docker", "./manager/ca", false},
		{"worker", "./worker/docker", true},
		{"network/gossip", "./worker", true},
		{"manager/daemon", "./worker", true},
		{"raftstore/state", "./raftstore", false},
		{"cli", "./services/stack", true},
		{"cli", "./services/replicated", false},
		{"cli", "./manager/dockerapi", false},
	} {
		allowed := true
		for _, d := range directions {
			allowed = allowed && d.allows(c.pkg, c.imported)
		}
		if allowed != c.allowed {
			t.Errorf("%s imports %s: allowed is %v", c.pkg, c.imported, allowed)
		}
	}
	if inside("cli", []string{"."}) || !inside(".", []string{"."}) || !inside("integration/bench", []string{"integration"}) || inside("integrations", []string{"integration"}) {
		t.Error("the fences do not hold")
	}
}
