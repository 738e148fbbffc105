package agent

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestWhatPassesIsNotLogged(t *testing.T) {
	busy, full, broken := errors.New("busy"), errors.New("full"), errors.New("broken")
	type run struct {
		at  time.Duration
		err error
	}
	for _, c := range []struct {
		name string
		runs []run
		want string
	}{
		{"it passes", []run{{0, busy}, {500 * time.Millisecond, busy}, {900 * time.Millisecond, nil}}, ""},
		{"twice", []run{{0, busy}, {900 * time.Millisecond, nil}, {time.Second, busy}, {1900 * time.Millisecond, nil}}, ""},
		{"it stays", []run{{0, busy}, {time.Second, busy}, {2 * time.Second, busy}, {3 * time.Second, nil}}, "ERROR busy, INFO"},
		{"it becomes another", []run{{0, busy}, {time.Second, full}, {2 * time.Second, broken}, {11 * time.Second, broken}}, "ERROR full, ERROR broken"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var said strings.Builder
			log := slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key == slog.LevelKey || a.Key == "err" {
					return a
				}
				return slog.Attr{}
			}}))
			p, began := &part{}, time.Unix(1e9, 0)
			for _, r := range c.runs {
				p.say(log, r.err, began.Add(r.at))
			}
			got := strings.NewReplacer("level=", "", "err=", "", "\n", ", ").Replace(said.String())
			if got = strings.TrimSuffix(got, ", "); got != c.want {
				t.Errorf("the log has %q, want %q", got, c.want)
			}
		})
	}
}
