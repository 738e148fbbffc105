package cli

import (
	"bytes"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
)

// pastEvents are what a world answers who asks until a time.
const pastEvents = `{"Type":"service","Action":"create","Actor":{"ID":"s1","Attributes":{"name":"web"}},"scope":"swarm","time":1772600767,"timeNano":1772600767000000000}
{"Type":"task","Action":"update","Actor":{"ID":"t1","Attributes":{"state.old":"running","state.new":"failed","name":"web.1.t1"}},"scope":"swarm","time":1772600768,"timeNano":1772600768000000000}
`

func TestEventsArePrintedAsDockerDoes(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8, time.Local)
	for want, m := range map[string]events.Message{
		at.Format("2006-01-02T15:04:05") + ".000000008" + at.Format("Z07:00") + " task update t1 (a=1, name=web.1.t1)\n": {
			Type: "task", Action: "update", TimeNano: at.UnixNano(), Time: 1, Actor: events.Actor{ID: "t1", Attributes: map[string]string{"name": "web.1.t1", "a": "1"}},
		},
		at.Format("2006-01-02T15:04:05") + ".000000000" + at.Format("Z07:00") + " daemon reload \n": {Type: "daemon", Action: "reload", Time: at.Unix()},
		"network prune  (x=)\n": {Type: "network", Action: "prune", Actor: events.Actor{Attributes: map[string]string{"x": ""}}},
	} {
		var out bytes.Buffer
		if err := printEvent(&out, nil, m); err != nil || out.String() != want {
			t.Errorf("got %q, %v\nwant %q", out.String(), err, want)
		}
	}
}
