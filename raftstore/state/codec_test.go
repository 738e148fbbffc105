package state

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/swarmctl/swarmctl/api"
)

var specs = rapid.Make[swarm.ServiceSpec]()

func asJSON(t *rapid.T, v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// What a client sent is what another one gets, after the log and a snapshot.
func TestEveryServiceSpecSurvivesTheLogAndASnapshot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := specs.Draw(t, "spec")
		want.Name = "web"
		ops := append(referred(&want), Op{PutService: &api.Service{ID: "s", Spec: want}})
		data, err := EncodeBatch([]Command{{At: t0, Ops: ops}})
		if err != nil {
			t.Fatal(err)
		}
		commands, err := DecodeBatch(data)
		if err != nil {
			t.Fatal(err)
		}
		s := New()
		if err := s.Apply(1, commands)[0].Err(); err != nil {
			t.Fatal(err)
		}
		restored := restoredCopy(t, s)
		for name, v := range map[string]*View{"log": s.View(), "snapshot": restored.View()} {
			if diff := cmp.Diff(asJSON(t, want), asJSON(t, v.Service("s").Spec)); diff != "" {
				t.Fatalf("after the %s (-want +got):\n%s", name, diff)
			}
		}
	})
}

// referred puts the secrets and configs that a spec refers to.
func referred(s *api.ServiceSpec) (ops []Op) {
	there := map[string]bool{}
	for _, r := range api.ContentRefs(s.TaskTemplate.ContainerSpec) {
		key := r.Kind + r.ID
		if there[key] {
			continue
		}
		there[key] = true
		name := swarm.Annotations{Name: strconv.Itoa(len(there))}
		if r.Kind == "secret" {
			ops = append(ops, Op{PutSecret: &api.Secret{ID: api.SecretID(r.ID), Spec: api.SecretSpec{Annotations: name}}})
		} else {
			ops = append(ops, Op{PutConfig: &api.Config{ID: api.ConfigID(r.ID), Spec: api.ConfigSpec{Annotations: name}}})
		}
	}
	return ops
}

type fataler interface{ Fatal(...any) }

func snapshotOf(t fataler, s *State) []byte {
	var buf bytes.Buffer
	if _, err := s.View().WriteTo(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func restoredCopy(t fataler, s *State) *State {
	fresh := New()
	if err := fresh.Restore(bytes.NewReader(snapshotOf(t, s))); err != nil {
		t.Fatal(err)
	}
	return fresh
}

func TestTextThatIsNotUTF8DoesNotStopTheManagers(t *testing.T) {
	bad := string([]byte{0xff, 'x', 0xc0})
	data, err := EncodeBatch([]Command{{Ops: []Op{{ReportTasks: []Report{{Task: "t", Status: api.TaskStatus{Err: bad}}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	commands, err := DecodeBatch(data)
	if err != nil || commands[0].Ops[0].ReportTasks[0].Status.Err != bad {
		t.Errorf("got %+v, %v", commands, err)
	}
}

// anyCommand draws from few enough IDs that commands meet one another.
func anyCommand(t *rapid.T) Command {
	id := rapid.SampledFrom([]string{"x", "y", "z"})
	version := rapid.Uint64Range(0, 6)
	meta := api.Meta{Version: swarm.Version{Index: version.Draw(t, "version")}}
	taskState := rapid.Custom(func(t *rapid.T) api.TaskState {
		return api.TaskState(rapid.IntRange(0, int(api.TaskOrphaned)).Draw(t, "state"))
	})
	task := api.TaskID(id.Draw(t, "task"))
	service := api.ServiceID(id.Draw(t, "service"))
	node := api.NodeID(id.Draw(t, "node"))
	op := rapid.OneOf(
		rapid.Just(Op{PutNode: &api.Node{ID: node, Meta: meta}}),
		rapid.Just(Op{DeleteNode: &DeleteNode{ID: node}}),
		rapid.Custom(func(t *rapid.T) Op {
			list := []api.Volume{{Name: id.Draw(t, "volume"), Driver: "local", CreatedAt: id.Draw(t, "created")}}
			return Op{ObserveNode: &ObserveNode{ID: node, Volumes: &list}}
		}),
		rapid.Custom(func(t *rapid.T) Op {
			return Op{ForgetVolume: &ForgetVolume{Node: node, Name: id.Draw(t, "forgotten"), GiveUp: rapid.Bool().Draw(t, "give up")}}
		}),
		rapid.Custom(func(t *rapid.T) Op {
			return Op{BeginMove: &BeginMove{ID: id.Draw(t, "move"), Name: id.Draw(t, "moved"), From: node, To: api.NodeID(id.Draw(t, "to"))}}
		}),
		rapid.Custom(func(t *rapid.T) Op {
			return Op{EndMove: &EndMove{ID: id.Draw(t, "move"), Name: id.Draw(t, "moved"), From: node, To: api.NodeID(id.Draw(t, "to")), Err: rapid.SampledFrom([]string{"", "why"}).Draw(t, "err")}}
		}),
		rapid.Custom(func(t *rapid.T) Op {
			s := &api.Service{ID: service, Meta: meta}
			s.Spec.Name = id.Draw(t, "name")
			s.Spec.TaskTemplate.ForceUpdate = version.Draw(t, "force")
			if built := id.Draw(t, "image"); built != "x" {
				s.Image = &api.Image{ID: built}
			}
			s.Spec.Labels = map[string]string{api.LabelNamespace: id.Draw(t, "namespace")}
			s.Spec.TaskTemplate.Networks = []swarm.NetworkAttachmentConfig{{Target: id.Draw(t, "on network")}}
			s.Spec.TaskTemplate.ContainerSpec = &swarm.ContainerSpec{Secrets: []*swarm.SecretReference{nil, {SecretID: id.Draw(t, "uses")}}}
			if rapid.Bool().Draw(t, "job") {
				s.Spec.Mode.GlobalJob = &swarm.GlobalJob{}
			}
			return Op{PutService: s}
		}),
		rapid.Just(Op{DeleteService: &DeleteService{ID: service}}),
		rapid.Custom(func(t *rapid.T) Op {
			return Op{CreateTasks: []*api.Task{{ID: task, ServiceID: service, Slot: 1, PodOf: api.TaskID(rapid.SampledFrom([]string{"", "", "x"}).Draw(t, "pod of")), SpecVersion: version.Draw(t, "spec version"), Status: api.TaskStatus{State: api.TaskPending}}}}
		}),
		rapid.Just(Op{AssignTasks: []Assign{{Task: task, Node: node}}}),
		rapid.Custom(func(t *rapid.T) Op { return Op{DesireTasks: []Desire{{task, taskState.Draw(t, "desired")}}} }),
		rapid.Custom(func(t *rapid.T) Op {
			return Op{ReportTasks: []Report{{Task: task, Status: api.TaskStatus{State: taskState.Draw(t, "reported"), At: t0}}}}
		}),
		rapid.Just(Op{DeleteTasks: []api.TaskID{task}}),
		rapid.Custom(func(t *rapid.T) Op {
			s := &api.Secret{ID: api.SecretID(id.Draw(t, "secret")), Meta: meta}
			s.Spec.Name, s.Spec.Data = id.Draw(t, "name"), []byte(id.Draw(t, "data"))
			return Op{PutSecret: s}
		}),
		rapid.Custom(func(t *rapid.T) Op {
			s := &api.Secret{ID: api.SecretID(id.Draw(t, "secret")), Meta: meta}
			s.Spec.Name, s.Spec.Data = id.Draw(t, "name"), []byte(id.Draw(t, "data"))
			return Op{PutVersion: &PutVersion{Secret: s}}
		}),
		rapid.Custom(func(t *rapid.T) Op {
			c := &api.Config{ID: api.ConfigID(id.Draw(t, "config")), Meta: meta}
			c.Spec.Name, c.Spec.Data = id.Draw(t, "name"), []byte(id.Draw(t, "data"))
			return Op{PutVersion: &PutVersion{Config: c, Except: []api.ServiceID{service}}}
		}),
		rapid.Custom(func(t *rapid.T) Op { return Op{DeleteSecret: &DeleteSecret{api.SecretID(id.Draw(t, "secret"))}} }),
		rapid.Custom(func(t *rapid.T) Op {
			c := &api.Config{ID: api.ConfigID(id.Draw(t, "config")), Meta: meta}
			c.Spec.Name, c.Spec.Data = id.Draw(t, "name"), []byte(id.Draw(t, "data"))
			return Op{PutConfig: c}
		}),
		rapid.Custom(func(t *rapid.T) Op { return Op{DeleteConfig: &DeleteConfig{api.ConfigID(id.Draw(t, "config"))}} }),
		rapid.Custom(func(t *rapid.T) Op {
			n := &api.Network{ID: api.NetworkID(id.Draw(t, "network")), VXLAN: []uint32{rapid.Uint32Range(1, 3).Draw(t, "vxlan")}}
			n.Spec.Name, n.Spec.Ingress, n.Spec.Attachable = id.Draw(t, "name"), rapid.Bool().Draw(t, "ingress"), rapid.Bool().Draw(t, "attachable")
			subnet := rapid.SampledFrom([]string{"10.0.0.0/24", "10.0.0.128/25", "10.0.1.0/24", "fd00::/64", "nonsense"})
			n.IPAM.Configs = []swarm.IPAMConfig{{Subnet: subnet.Draw(t, "subnet")}}
			return Op{CreateNetwork: n}
		}),
		rapid.Custom(func(t *rapid.T) Op { return Op{DeleteNetwork: &DeleteNetwork{api.NetworkID(id.Draw(t, "network"))}} }),
		rapid.Custom(func(t *rapid.T) Op {
			return Op{PutAttached: &api.AttachedContainer{ID: id.Draw(t, "container"), NodeID: node, Meta: meta, Networks: []api.Attachment{{Network: api.NetworkID(id.Draw(t, "network"))}}}}
		}),
		rapid.Custom(func(t *rapid.T) Op { return Op{DeleteAttached: &DeleteAttached{id.Draw(t, "container")}} }),
		rapid.Custom(func(t *rapid.T) Op {
			return Op{RecordDeploy: &RecordDeploy{Stack: id.Draw(t, "stack"), Version: version.Draw(t, "of stack"), Deploys: []api.StackDeploy{{Number: version.Draw(t, "number"), Content: []byte(id.Draw(t, "content")), Secrets: []api.SecretID{api.SecretID(id.Draw(t, "wanted"))}}}}}
		}),
		rapid.Custom(func(t *rapid.T) Op {
			return Op{PutRegistry: &api.Registry{Host: id.Draw(t, "host"), Auth: api.RegistryAuth(id.Draw(t, "auth"))}}
		}),
		rapid.Custom(func(t *rapid.T) Op { return Op{DeleteRegistry: &DeleteRegistry{id.Draw(t, "host")}} }),
	)
	return Command{At: t0.Add(time.Second), Ops: rapid.SliceOfN(op, 1, 3).Draw(t, "ops")}
}

// Equal histories give equal states, to the byte of their snapshots, however
// they are cut: all entries, or a snapshot and the rest; one command an entry's
// batch, or joined ones.
func TestEqualHistoriesGiveEqualStates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		entries := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) []Command {
			return rapid.SliceOfN(rapid.Custom(anyCommand), 1, 3).Draw(t, "entry")
		}), 1, 12).Draw(t, "history")
		cut := rapid.IntRange(0, len(entries)-1).Draw(t, "cut")
		one, two := New(), New()
		for i, entry := range entries {
			data, err := EncodeBatch(entry)
			if err != nil {
				t.Fatal(err)
			}
			joined := joinOneByOne(t, entry)
			if !bytes.Equal(data, joined) {
				t.Fatalf("joined batches differ from one batch:\n%x\n%x", joined, data)
			}
			a, err := DecodeBatch(data)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := DecodeBatch(data)
			ra, rb := one.Apply(uint64(i+1), a), two.Apply(uint64(i+1), b)
			if !reflect.DeepEqual(ra, rb) {
				t.Fatalf("results differ: %+v, %+v", ra, rb)
			}
			if i == cut {
				two = restoredCopy(t, two)
			}
		}
		if !bytes.Equal(snapshotOf(t, one), snapshotOf(t, two)) {
			t.Fatal("states differ")
		}
		checkLaws(t, one.View())
	})
}

func joinOneByOne(t *rapid.T, commands []Command) []byte {
	parts := make([][]byte, len(commands))
	for i, c := range commands {
		var err error
		if parts[i], err = EncodeBatch([]Command{c}); err != nil {
			t.Fatal(err)
		}
	}
	joined, err := JoinBatches(parts)
	if err != nil || BatchLen(joined) != len(commands) {
		t.Fatalf("join: %d commands, %v", BatchLen(joined), err)
	}
	return joined
}

// checkLaws checks what holds of every state.
func checkLaws(t *rapid.T, v *View) {
	used := map[uint64]bool{}
	for task := range v.Tasks() {
		if v.SpecOf(task) == nil {
			t.Fatalf("task %s has no spec", task.ID)
		}
		used[task.SpecVersion] = true
	}
	names := map[string]bool{}
	for s := range v.Services() {
		if names[s.Spec.Name] {
			t.Fatalf("two services are called %q", s.Spec.Name)
		}
		names[s.Spec.Name] = true
		if v.SpecVersion(s.ID, s.SpecVersion) == nil {
			t.Fatalf("service %s has no spec of its version", s.ID)
		}
		used[s.SpecVersion], used[s.PreviousSpecVersion] = true, true
	}
	for spec := range all[api.SpecVersion](v, tableSpecs, byID) {
		if !used[spec.Version] {
			t.Fatalf("spec %s/%d is nobody's", spec.ServiceID, spec.Version)
		}
	}
	checkSpaces(t, v)
	checkAddresses(t, v)
	checkVersions(t, v)
}

// checkSpaces checks that no two networks share a name, an address or an identifier.
func checkSpaces(t *rapid.T, v *View) {
	networks := slices.Collect(v.Networks())
	for i, a := range networks {
		for _, b := range networks[:i] {
			p, q := netip.MustParsePrefix(a.IPAM.Configs[0].Subnet), netip.MustParsePrefix(b.IPAM.Configs[0].Subnet)
			if a.Spec.Name == b.Spec.Name || p.Overlaps(q) || a.VXLAN[0] == b.VXLAN[0] {
				t.Fatalf("networks %+v and %+v", a, b)
			}
		}
	}
}

func TestManyBatchesJoin(t *testing.T) {
	for _, n := range []int{1, 23, 24, 255, 256, 70000} {
		one, err := EncodeBatch(make([]Command, n))
		if err != nil {
			t.Fatal(err)
		}
		joined, err := JoinBatches([][]byte{one, one})
		if err != nil {
			t.Fatal(err)
		}
		commands, err := DecodeBatch(joined)
		if err != nil || len(commands) != 2*n || BatchLen(joined) != 2*n {
			t.Errorf("%d twice: %d commands, %v", n, len(commands), err)
		}
	}
	for _, bad := range []string{"", "\x01", "\x02\x80", "\x01\x98", "\x01\x9f", "\x01\xa1"} {
		if _, err := JoinBatches([][]byte{[]byte(bad), []byte(bad)}); err == nil {
			t.Errorf("%x joins", bad)
		}
	}
}

func TestResultsRoundTrip(t *testing.T) {
	want := []Result{{Index: 7, Stale: []string{"t"}}, {Index: 8, Code: api.CodeConflict, Message: "no"}}
	data, err := EncodeResults(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeResults(data)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// A reader's view stays as it was while writers go on, iterators included.
func TestAViewStaysAsItWasWhileWritersGoOn(t *testing.T) {
	s := populated(t)
	v := s.View()
	before := snapshotOf(t, s)
	for task := range v.Tasks() {
		mustApply(t, s, 5, Op{DeleteTasks: []api.TaskID{task.ID}}, Op{DeleteService: &DeleteService{ID: "svc"}}, Op{DeleteNode: &DeleteNode{ID: "n1"}})
	}
	var after bytes.Buffer
	if _, err := v.WriteTo(&after); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after.Bytes()) {
		t.Error("the view changed under its reader")
	}
	if s.View().Task("t1") != nil || s.View().Service("svc") != nil {
		t.Error("the writer did nothing")
	}
}

func theSecret() *api.Secret {
	return &api.Secret{ID: "s", Spec: api.SecretSpec{Annotations: swarm.Annotations{Name: "key"}, Data: []byte{0, 0xff}}}
}

func theNetwork() *api.Network {
	n := &api.Network{ID: "n", VXLAN: []uint32{4097}}
	n.Spec.Name = "back"
	n.IPAM.Configs = []swarm.IPAMConfig{{Subnet: "10.0.1.0/24", Gateway: "10.0.1.1"}}
	return n
}

// What was stored is what comes back, after the log and a snapshot, to the byte of a secret.
func TestObjectsSurviveTheLogAndASnapshot(t *testing.T) {
	config := &api.Config{ID: "c", Spec: api.ConfigSpec{Annotations: swarm.Annotations{Name: "file"}, Data: []byte{7, 0}, Templating: &swarm.Driver{Name: "golang"}}}
	data, err := EncodeBatch([]Command{{At: t0, Ops: []Op{{PutSecret: theSecret()}, {PutConfig: config}, {CreateNetwork: theNetwork()}}}})
	if err != nil {
		t.Fatal(err)
	}
	commands, err := DecodeBatch(data)
	if err != nil {
		t.Fatal(err)
	}
	s := New()
	if err := s.Apply(1, commands)[0].Err(); err != nil {
		t.Fatal(err)
	}
	for _, v := range []*View{s.View(), restoredCopy(t, s).View()} {
		if diff := cmp.Diff(theSecret().Spec, v.Secret("s").Spec) + cmp.Diff(config.Spec, v.Config("c").Spec) +
			cmp.Diff(theNetwork().IPAM, v.Network("n").IPAM) + cmp.Diff(theNetwork().VXLAN, v.Network("n").VXLAN); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func FuzzDecodeBatch(f *testing.F) {
	data, err := EncodeBatch([]Command{{At: t0, Ops: []Op{{PutService: webService()}, {AssignTasks: []Assign{{Task: "t", Node: "n"}}}, {PutSecret: theSecret()}, {CreateNetwork: theNetwork()}}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{formatVersion, 0x81})
	f.Fuzz(func(t *testing.T, data []byte) {
		commands, err := DecodeBatch(data)
		if err != nil {
			return
		}
		New().Apply(1, commands) // any batch that decodes can be applied
		if _, err := EncodeBatch(commands); err != nil {
			t.Error(err)
		}
	})
}

func FuzzRestore(f *testing.F) {
	s := New()
	s.Apply(1, []Command{{At: t0, Ops: []Op{{PutService: webService()}, {PutNode: &api.Node{ID: "n"}}, {PutSecret: theSecret()}, {CreateNetwork: theNetwork()}}}})
	f.Add(snapshotOf(f, s))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := New()
		if err := s.Restore(bytes.NewReader(data)); err != nil {
			if s.View().Index() != 0 || s.View().Cluster() != nil {
				t.Error("a snapshot that is refused changed the state")
			}
			return
		}
		snapshotOf(t, s)
	})
}

// A joined batch is its parts, or what is none of them is refused.
func FuzzJoinBatches(f *testing.F) {
	one, err := EncodeBatch([]Command{{At: t0, Ops: []Op{{PutService: webService()}}}})
	if err != nil {
		f.Fatal(err)
	}
	many, err := EncodeBatch(make([]Command, 300))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(one, many)
	f.Add(many, []byte{formatVersion, 0x80})
	f.Add([]byte{formatVersion, 0x9a, 0xff, 0xff, 0xff, 0xff}, one)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		first, errA := DecodeBatch(a)
		second, errB := DecodeBatch(b)
		joined, err := JoinBatches([][]byte{a, b})
		if err != nil {
			return
		}
		all, err := DecodeBatch(joined)
		if errA == nil && errB == nil && (err != nil || len(all) != len(first)+len(second)) {
			t.Errorf("%d and %d commands became %d, %v", len(first), len(second), len(all), err)
		}
	})
}

func FuzzDecodeResults(f *testing.F) {
	data, err := EncodeResults([]Result{{Index: 1, Code: api.CodeConflict, Message: "taken", Stale: []string{"t"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		results, err := DecodeResults(data)
		if err != nil {
			return
		}
		for _, r := range results {
			_ = r.Err()
		}
		if _, err := EncodeResults(results); err != nil {
			t.Error(err)
		}
	})
}
