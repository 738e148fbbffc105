package fabric_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/fabric"
)

func hosts(s *fabric.Set) string {
	var ids []string
	for _, id := range []api.NodeID{"a", "b", "c"} {
		if s.Hosts[id] != nil {
			ids = append(ids, string(id))
		}
	}
	return strings.Join(ids, " ")
}

func TestASetFollowsItsUpdates(t *testing.T) {
	a, b, c := &fabric.Host{ID: "a"}, &fabric.Host{ID: "b"}, &fabric.Host{ID: "c"}
	s := fabric.NewSet()
	var before *fabric.Set
	for _, u := range []struct {
		name  string
		u     *fabric.Update
		want  string
		index uint64
	}{
		{"all", &fabric.Update{Index: 5, Full: true, Hosts: []*fabric.Host{a, b}}, "a b", 5},
		{"a change", &fabric.Update{Index: 7, Hosts: []*fabric.Host{c}, Removed: []string{"a"}}, "b c", 7},
		{"one that is older", &fabric.Update{Index: 6, Removed: []string{"b"}}, "b c", 7},
		{"one of the same moment", &fabric.Update{Index: 7, Removed: []string{"b"}}, "c", 7},
		{"gone and back in one", &fabric.Update{Index: 8, Hosts: []*fabric.Host{c}, Removed: []string{"c"}}, "c", 8},
		{"all of a manager that lags", &fabric.Update{Index: 4, Full: true, Hosts: []*fabric.Host{a}}, "a", 4},
	} {
		before = s.Clone()
		was := hosts(before)
		if s.Apply(u.u); hosts(s) != u.want || s.Index != u.index {
			t.Errorf("%s: %q at %d, want %q at %d", u.name, hosts(s), s.Index, u.want, u.index)
		}
		if hosts(before) != was {
			t.Errorf("%s: changed a clone", u.name)
		}
	}
}

func TestNamesThatNodesTake(t *testing.T) {
	for name, good := range map[string]bool{
		"web": true, "web.1.abc": true, "bücher": true, strings.Repeat("x", 1024): true,
		"": false, strings.Repeat("x", 1025): false, "a\nb": false, "a\x00": false,
	} {
		if err := fabric.CheckName(name); (err == nil) != good || !good && api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%.20q: %v", name, err)
		}
	}
}

func TestHardwareAddressesComeFromAddresses(t *testing.T) {
	if got, want := fabric.MAC(netip.MustParseAddr("10.0.1.255")), [6]byte{0x02, 0x42, 10, 0, 1, 255}; got != want {
		t.Errorf("%x, want %x", got, want)
	}
}
