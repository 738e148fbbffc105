package servicespec_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/manager/dockerapi/servicespec"
)

func TestWhatAServiceDoesNotGetIsSaid(t *testing.T) {
	const (
		startFirst = `"UpdateConfig":{"Order":"start-first"},"RollbackConfig":{"Order":"start-first"}`
		host       = `"EndpointSpec":{"Ports":[{"TargetPort":80},{"TargetPort":53,"PublishedPort":53,"Protocol":"udp","PublishMode":"host"}]}`
		why        = `it publishes host port 53/udp, which two tasks of a node cannot hold: tasks are stopped first`
		alone      = `with swarmctl.self-stop no task runs twice: tasks are stopped first`
	)
	for _, tt := range []struct {
		spec string
		want []string
	}{
		{`{}`, nil},
		{`{` + startFirst + `}`, nil},
		{`{` + host + `}`, nil},
		{`{` + host + `,` + startFirst + `}`, []string{"update order start-first does not hold for service web: " + why, "rollback order start-first does not hold for service web: " + why}},
		{`{` + host + `,"UpdateConfig":{"Order":"stop-first"},"RollbackConfig":{"Order":"start-first"}}`, []string{"rollback order start-first does not hold for service web: " + why}},
		{`{"Labels":{"swarmctl.pod":"app"},"UpdateConfig":{"Order":"start-first"}}`, []string{"update order start-first does not hold for service web: two sidecars in one pod would want the same ports: tasks are stopped first"}},
		{`{"Labels":{"swarmctl.self-stop":"10s"},"UpdateConfig":{"Order":"start-first"}}`, []string{"update order start-first does not hold for service web: " + alone}},
		{`{"Labels":{"swarmctl.self-stop":"10s","swarmctl.reschedule.after":"5s"}}`, []string{"label swarmctl.reschedule.after of service web: 5s has no effect: with swarmctl.self-stop a task is replaced when it has stopped itself, which it does 10s after its node was cut off"}},
		{`{"Labels":{"swarmctl.self-stop":"10s","swarmctl.reschedule.after":"1m"}}`, nil},
		{`{"Labels":{"swarmctl.self-stop":"10s","swarmctl.reschedule.after":"0s"}}`, nil},
	} {
		spec := &api.ServiceSpec{}
		spec.Name = "web"
		if err := json.Unmarshal([]byte(tt.spec), spec); err != nil {
			t.Fatal(err)
		}
		servicespec.Normalise(spec)
		if got := servicespec.Warnings(spec); !slices.Equal(got, tt.want) {
			t.Errorf("%s:\n got %q\nwant %q", tt.spec, got, tt.want)
		}
	}
}
