package setting_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/setting"
)

func TestParseDependencies(t *testing.T) {
	const names = "names no service: give NAME[:CONDITION][:optional], as in db:healthy, and several with commas"
	for _, tt := range []struct {
		label string
		want  []setting.Dependency
		err   string
	}{
		{label: "db", want: []setting.Dependency{{Service: "db", Condition: setting.Started}}},
		{label: "shop_db:healthy,migrate:completed,a.b-c:optional", want: []setting.Dependency{
			{Service: "shop_db", Condition: setting.Healthy}, {Service: "migrate", Condition: setting.Completed}, {Service: "a.b-c", Condition: setting.Started, Optional: true},
		}},
		{label: "db:healthy:optional", want: []setting.Dependency{{Service: "db", Condition: setting.Healthy, Optional: true}}},
		{label: "", err: `"" ` + names},
		{label: "db, cache", err: `" cache" ` + names},
		{label: ":healthy", err: `":healthy" ` + names},
		{label: "db:service_healthy", err: `"db:service_healthy": "service_healthy" is no condition: use started, healthy or completed`},
		{label: "db:optional:healthy", err: `"db:optional:healthy": "optional:healthy" is no condition: use started, healthy or completed`},
		{label: "db:", err: `"db:": "" is no condition: use started, healthy or completed`},
		{label: "db,cache,db:healthy", err: "service db is there twice: leave one of them out"},
	} {
		labels := map[string]string{setting.LabelDependsOn: tt.label}
		_, err := setting.ParseLifecycle(labels)
		if got := setting.DependenciesOf(labels); !slices.Equal(got, tt.want) {
			t.Errorf("%q: %v, want %v", tt.label, got, tt.want)
		}
		if want := "label swarmctl.depends-on: " + tt.err; tt.err != "" && (err == nil || err.Error() != want || !errors.Is(err, api.ErrInvalid)) || tt.err == "" && err != nil {
			t.Errorf("%q:\n got %v\nwant %s", tt.label, err, want)
		}
		if again, err := setting.ParseDependencies(setting.FormatDependencies(tt.want)); tt.want != nil && (err != nil || len(again) != len(tt.want)) {
			t.Errorf("%q: written and read again: %v, %v", tt.label, again, err)
		}
	}
	if list := setting.DependenciesOf(nil); list != nil {
		t.Errorf("no label: %v", list)
	}
}
