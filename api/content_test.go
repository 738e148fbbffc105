package api_test

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

func TestContentIsNotTold(t *testing.T) {
	c := &api.Content{ID: "c1", Data: []byte("hunter2")}
	var log strings.Builder
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("x", "content", c, "value", *c)
	}
	told := fmt.Sprintf("%v %+v %#v %s %v", c, *c, *c, c, []*api.Content{c}) + log.String()
	if strings.Contains(told, "hunter2") || strings.Contains(told, "aHVudGVyMg") || !strings.Contains(told, "content c1 (7 bytes)") {
		t.Errorf("told: %s", told)
	}
}

func TestContentRefs(t *testing.T) {
	got := ""
	for _, r := range api.ContentRefs(&swarm.ContainerSpec{
		Secrets: []*swarm.SecretReference{
			{SecretID: "1", SecretName: "a", File: &swarm.SecretReferenceFileTarget{Name: "x/y"}},
			nil,
			{SecretID: "2", SecretName: "b", File: &swarm.SecretReferenceFileTarget{Name: "/etc//b"}},
		},
		Configs: []*swarm.ConfigReference{
			{ConfigID: "3", ConfigName: "c", File: &swarm.ConfigReferenceFileTarget{Name: "c.conf", Mode: 0o440}},
			{ConfigID: "4", ConfigName: "d", Runtime: &swarm.ConfigReferenceRuntimeTarget{}},
		},
	}) {
		got += fmt.Sprintf("%s %s at %q\n", r.String(), r.ID, r.Path)
	}
	const want = `secret "a" 1 at "/run/secrets/x/y"
secret "b" 2 at "/etc/b"
config "c" 3 at "/c.conf"
config "d" 4 at ""
`
	if got != want || api.ContentRefs(nil) != nil {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
