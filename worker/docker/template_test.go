package docker

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/expand"
)

// A template runs in the worker of every node: one that never ends, or makes
// gigabytes, must not be the end of it.
func TestTemplatesThatWouldNotEndAreRefused(t *testing.T) {
	huge := strings.Repeat("x", expand.MaxExpanded)
	for text, want := range map[string]string{
		`{{range 1000000000000}}{{end}}`:                                                             "neither range nor template can be used here",
		`{{if true}}{{with 1}}{{range 9}}x{{end}}{{end}}{{end}}`:                                     "neither range nor template can be used here",
		`{{define "a"}}{{template "a"}}{{end}}{{template "a"}}`:                                      "neither range nor template can be used here",
		`{{block "a" .}}x{{end}}`:                                                                    "neither range nor template can be used here",
		`{{printf "%999999d%999999d" 1 1}}`:                                                          "may make 1024 KiB together",
		`{{printf "` + strings.Repeat("%9d", 100) + `" 1}}`:                                          "the format is longer than 256 characters",
		`{{"'"` + strings.Repeat(`|js|js|html`, 40) + `}}`:                                           "may make 1024 KiB together",
		`{{$a := "` + strings.Repeat("a", 4000) + `"}}` + strings.Repeat(`{{$a = print $a $a}}`, 40): "may make 1024 KiB together",
		huge + `{{.Task.Slot}}`:                                                                      "may make 1024 KiB together",
	} {
		begun := time.Now()
		_, err := MakePlan(planCase{spec: swarm.ContainerSpec{Env: []string{"A=" + text}}}.request())
		if !errors.Is(err, api.ErrInvalid) || !strings.Contains(err.Error(), want) || time.Since(begun) > 10*time.Second {
			t.Errorf("%.80s: after %s: %.200v", text, time.Since(begun), err)
		}
	}
}

func TestTemplatesMayStillDecide(t *testing.T) {
	spec := swarm.ContainerSpec{Env: []string{`A={{if eq .Task.Slot "3"}}{{printf "%03s" .Task.Slot}}{{else}}other{{end}}`, `B={{with index .Service.Labels "tier"}}{{.}}{{end}}{{join "," "a" "b"}}`}}
	p, err := MakePlan(planCase{spec: spec}.request())
	if err != nil || strings.Join(p.Config.Env, " ") != "A=003 B=fronta,b" {
		t.Errorf("%v, %v", p, err)
	}
}

// Whatever a template says, it ends, and small, or is refused.
func FuzzTemplate(f *testing.F) {
	for _, s := range []string{"{{.Task.Slot}}", "{{", "{{.Nope}}", `{{join "-" "a"}}`, `{{printf "%s" .}}`, `{{if .}}a{{else}}b{{end}}`, `{{define "x"}}{{end}}`, `{{range 3}}{{end}}`, "{{/* */}}", `{{call .}}`, `{{slice "abc" 1 9}}`, `{{index .Service.Labels "a"}}`, `{{html (js "'")}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		spec := swarm.ContainerSpec{Env: []string{"A=" + text}, Hostname: text}
		p, err := MakePlan(planCase{spec: spec}.request())
		if err != nil {
			if !errors.Is(err, api.ErrInvalid) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		if strings.Contains(text, "{{") && len(p.Config.Env[0])+len(p.Config.Hostname) > expand.MaxExpanded+len("A=") {
			t.Errorf("%q became %d bytes", text, len(p.Config.Env[0]))
		}
	})
}
