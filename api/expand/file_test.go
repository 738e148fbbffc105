package expand

import (
	"errors"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/api"
)

func TestFile(t *testing.T) {
	sources := &Sources{
		Secret: func(name string) (string, error) {
			if name != "key" {
				return "", ErrNoSource
			}
			return strings.Repeat("s", 1000), nil
		},
		Config: func(name string) (string, error) { return "config " + name, nil },
		Env:    func(name string) string { return "env " + name },
	}
	for _, tt := range []struct{ text, want, err string }{
		{"plain", "plain", ""},
		{`{{.Service.Name}}{{.Task.Slot}}: {{config "c"}}, {{env "E"}}`, "web1: config c, env E", ""},
		{`{{with secret "key"}}{{slice . 0 3}}{{end}}`, "sss", ""},
		{"\n\n{{secret \"other\"}}", "", "its template fails in line 3: it asks for a secret or a config that the service does not have"},
		{"{{", "", "its template fails in line 1"},
		{`{{define "x"}}{{end}}{{template "x"}}`, "", "its template fails: neither range nor template can be used here"},
		{strings.Repeat(`{{secret "key"}}`, 1100), "", "its template fails: templates of one service may make 1024 KiB together, and these make more"},
	} {
		got, err := File([]byte(tt.text), Example("web", nil), sources)
		if tt.err == "" && (err != nil || string(got) != tt.want) || tt.err != "" && (err == nil || err.Error() != tt.err || !errors.Is(err, api.ErrInvalid)) {
			t.Errorf("%.40q: %.40q, %v; want %q %s", tt.text, got, err, tt.want, tt.err)
		}
	}
	if err := CheckFile([]byte(`{{secret "a"}}{{config "b"}}{{env "c"}}{{.Node.ID}}`)); err != nil {
		t.Error(err)
	}
	if err := CheckFile([]byte("{{secrets}}")); err == nil || err.Error() != "its template fails in line 1" {
		t.Errorf("an unknown function: %v", err)
	}
}
