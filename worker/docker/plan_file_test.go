package docker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api"
)

func TestFilesOfATask(t *testing.T) {
	files, err := MakeFiles(planCases["files"].request(), contents)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, f := range files {
		got += fmt.Sprintf("%s %d:%d %#o %s\n", f.Path, f.UID, f.GID, uint32(f.Mode), f.Data)
	}
	// A template gets others as they are stored, by their targets or by their names.
	const want = `/run/secrets/key 0:0 0444 s3cret
/etc/own 5:6 0400 s3cret of web on host1
/a 7:8 0440 {{secret "key"}} of {{.Service.Name}} on {{.Node.Hostname}}{{plain}}{{plain}}a33|{{secret "key"}} of {{.Service.Name}} on {{.Node.Hostname}}
/b 0:0 0444 {{plain}}
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if told := fmt.Sprintf("%v %+v %#v %s", files, files, files, files[0]); strings.Contains(told, "s3cret") {
		t.Errorf("told: %s", told)
	}
}

// Whatever is wrong with a secret, the error does not quote it.
func TestRefusedFilesAreNotTold(t *testing.T) {
	request := func(mode string) *Request {
		return planCase{spec: swarm.ContainerSpec{Secrets: []*swarm.SecretReference{
			{SecretID: "word", SecretName: "word", File: &swarm.SecretReferenceFileTarget{Name: "word"}},
			{SecretID: "s", SecretName: "key", File: &swarm.SecretReferenceFileTarget{Name: "key", UID: mode}},
		}}}.request()
	}
	const word = "hunter2"
	for _, tt := range []struct{ data, uid, want string }{
		{"x\n{{hunter2}}", "", `secret "key": its template fails in line 2`},
		{`{{secret "word" | config}}`, "", `secret "key": its template fails in line 1: it asks for a secret or a config that the service does not have`},
		{`{{index .Service (secret "word")}}`, "", `secret "key": its template fails in line 1`},
		{`{{slice (secret "word") 90}}`, "", `secret "key": its template fails in line 1`},
		{`{{range .Service.Labels}}{{secret "word"}}{{end}}`, "", `secret "key": its template fails: neither range nor template can be used here`},
		{"hunter2", "hunter", `secret "key": "hunter" is not the number of a user or a group`},
	} {
		_, err := MakeFiles(request(tt.uid), map[string]*api.Content{"word": {ID: "word", Data: []byte(word)}, "s": {ID: "s", Data: []byte(tt.data), Template: tt.uid == ""}})
		if err == nil || err.Error() != tt.want || strings.Contains(err.Error(), word) || api.CodeOf(err) != api.CodeInvalid {
			t.Errorf("%q: %v, want %s", tt.data, err, tt.want)
		}
	}
	for _, have := range []map[string]*api.Content{{}, {"word": {ID: "word", Gone: true}}} {
		if _, err := MakeFiles(request(""), have); err == nil || err.Error() != `secret "word": it is not there, or has no file to be` {
			t.Errorf("%v: %v", have, err)
		}
	}
}
