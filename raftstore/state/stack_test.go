package state

import (
	"slices"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"
	"github.com/google/go-cmp/cmp"

	"github.com/swarmctl/swarmctl/api"
)

// stackState is a state that a test writes to, one command an entry.
type stackState struct {
	*testing.T
	*State
}

func (s stackState) apply(want string, ops ...Op) {
	s.Helper()
	res := s.Apply(s.View().Index()+1, []Command{{At: t0, Ops: ops}})[0]
	if got := res.Message; want == "" && got != "" || !strings.Contains(got, want) {
		s.Fatalf("%q, it should say %q", got, want)
	}
}

func (s stackState) version() uint64 {
	if have := s.View().Stack("shop"); have != nil {
		return have.Meta.Version.Index
	}
	return 0
}

// record is the next deploy, of so many bytes.
func (s stackState) record(number uint64, size int) Op {
	return Op{RecordDeploy: &RecordDeploy{Stack: "shop", Version: s.version(), Outcome: "completed", Deploys: []api.StackDeploy{{Number: number, Content: make([]byte, size)}}}}
}

func (s stackState) numbers() (list []uint64) {
	if have := s.View().Stack("shop"); have != nil {
		for _, d := range have.Deploys {
			list = append(list, d.Number)
		}
	}
	return list
}

func stackService(name, stack string) *api.Service {
	s := &api.Service{ID: api.ServiceID(name)}
	s.Spec.Name, s.Spec.Labels = name, map[string]string{api.LabelNamespace: stack}
	return s
}

func TestAStackRemembersItsLastDeploys(t *testing.T) {
	s := stackState{t, New()}
	s.apply("stack shop not found", Op{RecordDeploy: &RecordDeploy{Stack: "shop", Version: 7}})
	for n := range uint64(7) {
		s.apply("", s.record(n+1, 10))
	}
	if got, want := s.numbers(), []uint64{3, 4, 5, 6, 7}; !slices.Equal(got, want) {
		t.Errorf("deploys %v are remembered, not %v", got, want)
	}
	s.apply("stack shop exists", Op{RecordDeploy: &RecordDeploy{Stack: "shop"}})
	s.apply("update out of sequence", Op{RecordDeploy: &RecordDeploy{Stack: "shop", Version: 1}})

	// The outcome is that of the deploy whose place is taken.
	have := s.View().Stack("shop")
	if have.Current().Outcome != "" || have.Deploys[3].Outcome != "completed" || have.Deploy(7) != have.Current() || have.Deploy(2) != nil {
		t.Errorf("%+v", have)
	}

	// Bytes bound it too; the one in force stays, however large.
	s.apply("", s.record(8, api.MaxHistory-25))
	if got, want := s.numbers(), []uint64{6, 7, 8}; !slices.Equal(got, want) {
		t.Errorf("deploys %v are remembered, not %v", got, want)
	}
	s.apply("", s.record(9, api.MaxHistory+1))
	if got, want := s.numbers(), []uint64{9}; !slices.Equal(got, want) {
		t.Errorf("deploys %v are remembered, not %v", got, want)
	}
	if diff := cmp.Diff(s.View().Stack("shop"), restoredCopy(t, s.State).View().Stack("shop")); diff != "" {
		t.Errorf("after a snapshot (-was +is):\n%s", diff)
	}
}

func TestAStackIsForgottenWithItsLastService(t *testing.T) {
	s := stackState{t, New()}
	s.apply("", Op{PutService: stackService("shop_web", "shop")}, Op{PutService: stackService("shop_api", "shop")}, Op{PutService: stackService("other", "")}, s.record(1, 1))
	s.apply("", Op{DeleteService: &DeleteService{ID: "other"}})
	s.apply("", Op{DeleteService: &DeleteService{ID: "shop_web"}})
	if len(s.numbers()) == 0 {
		t.Fatal("it is forgotten while it has a service")
	}
	s.apply("", Op{DeleteService: &DeleteService{ID: "shop_api"}}, Op{PutService: stackService("shop_new", "shop")}, s.record(2, 1))
	moved := stackService("shop_new", "elsewhere")
	moved.Meta.Version = swarm.Version{Index: s.View().Index()}
	s.apply("", Op{PutService: moved})
	if len(s.numbers()) > 0 {
		t.Error("it is remembered though it has no service any more")
	}
}

func TestACommandThatFailsRecordsNothing(t *testing.T) {
	s := stackState{t, New()}
	s.apply("service gone not found", Op{PutService: stackService("shop_web", "shop")}, s.record(1, 1), Op{DeleteService: &DeleteService{ID: "gone"}})
	if s.View().Service("shop_web") != nil || s.View().Stack("shop") != nil {
		t.Error("a part of the command was carried out")
	}
}

// A stop and a start leave a service as it was, with its way back.
func TestStopAndStartLeaveNoTrace(t *testing.T) {
	prev := api.ServiceSpec{Annotations: swarm.Annotations{Name: "web", Labels: map[string]string{"a": "1"}}}
	s := &api.Service{ID: "web", Spec: api.ServiceSpec{Annotations: swarm.Annotations{Name: "web", Labels: map[string]string{"a": "2"}}}, PreviousSpec: &prev}
	stopped := Paused(s, true)
	if n, _ := stopped.Replicas(); !stopped.Stopped() || stopped.PreviousSpec.Labels[api.LabelStopped] != "true" || n != 0 || s.Stopped() {
		t.Errorf("stopped: %+v", stopped.Spec)
	}
	if !SameTask(&s.Spec, &stopped.Spec) {
		t.Error("a stop makes new containers")
	}
	if diff := cmp.Diff(s, Paused(stopped, false)); diff != "" {
		t.Errorf("after a start (-was +is):\n%s", diff)
	}
}
