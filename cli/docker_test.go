package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/urfave/cli/v2"
)

// dockersCase is what Docker's CLI 28 made of `docker service create ARGS app:1`
// at an API that noted it: the spec it sent, less what it sends always, or the
// first line of its complaint.
type dockersCase struct {
	Args []string
	Spec json.RawMessage
	Err  string
}

// What Docker's CLI sends for `docker service create app:1`.
const dockersBase = `{"Labels":{},"TaskTemplate":{"ContainerSpec":{"Image":"app:1","Init":false,"DNSConfig":{}},` +
	`"Resources":{"Limits":{},"Reservations":{}},"Placement":{},"ForceUpdate":0},"Mode":{"Replicated":{}},"EndpointSpec":{"Mode":"vip"}}`

// keptDifferences are the command lines, as JSON, of which we think otherwise,
// and why.
var keptDifferences = map[string]string{
	`["--credential-spec","config://a"]`:                         "the config is looked up after the spec is made",
	`["--env","A=1","--env","B=1","--env","A=1"]`:                "the same variable again says nothing more",
	`["--limit-cpu","1e400"]`:                                    "Docker's sends what an overflow leaves of it",
	`["--limit-cpu","99999999999999999999"]`:                     "Docker's sends what an overflow leaves of it",
	`["--limit-memory","9223372036854775807"]`:                   "Docker's sends what an overflow leaves of it",
	`["--limit-memory","9223372036854775808"]`:                   "Docker's sends what an overflow leaves of it",
	`["--log-opt","a=1"]`:                                        "without a driver Docker's drops it",
	`["--log-opt","a"]`:                                          "without a driver Docker's drops it",
	`["--mount","type=bind,src=,dst=/b"]`:                        "CLI 29 refuses an empty value, and so do we",
	`["--mount","type=bind,src= /a,dst=/b"]`:                     "CLI 29 refuses a space, and so do we",
	`["--mount","type=bind,src=/a,dst=/b,bind-create-src=true"]`: "CLI 29 knows it",
	`["--mount"," type=bind,src=/a,dst=/b "]`:                    "CLI 29 trims it",
	`["--publish","1.2.3.4:80:80"]`:                              "a label of ours binds the port to the address",
	`["--publish","[::1]:80:80"]`:                                "a label of ours binds the port to the address",
	`["--name"]`:                                                 "whether an argument is missing is told after the flags are read",
}

// emptyDriver is a volume's driver that is named but for nothing.
var emptyDriver = cmpopts.IgnoreMapEntries(func(k string, v any) bool {
	m, ok := v.(map[string]any)
	return k == "DriverConfig" && ok && len(m) == 0
})

// What Docker's CLI and ours both take they send as the same spec, and what one
// refuses the other refuses.
func TestFlagsMeanWhatTheyMeanToDocker(t *testing.T) {
	t.Setenv("HELD", "from outside")
	file, err := os.Open("testdata/docker28.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	count, kept := 0, map[string]bool{}
	for lines := bufio.NewScanner(file); lines.Scan(); count++ {
		var c dockersCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		got, err := specFor(c.Args)
		same := (c.Err != "") == (err != nil)
		if err == nil && c.Err == "" {
			same = cmp.Equal(c.spec(t), got, emptyDriver)
		}
		key, _ := json.Marshal(c.Args)
		if reason, ok := keptDifferences[string(key)]; ok {
			kept[string(key)] = true
			if same {
				t.Errorf("%s: listed as different (%s) and is not", key, reason)
			}
			continue
		}
		if !same {
			t.Errorf("%s: error %v, Docker's %q\n(-Docker's +ours):\n%s", key, err, c.Err, cmp.Diff(c.spec(t), got, emptyDriver))
		}
	}
	if count < 400 {
		t.Errorf("%d command lines: the table is not whole", count)
	}
	for key := range keptDifferences {
		if !kept[key] {
			t.Errorf("%s: listed as different, and Docker's answer is not in the table", key)
		}
	}
}

// spec is the whole of what Docker sent, decoded.
func (c dockersCase) spec(t *testing.T) any {
	var base, change any
	if err := json.Unmarshal([]byte(dockersBase), &base); err != nil {
		t.Fatal(err)
	}
	if c.Spec == nil {
		return nil
	}
	if err := json.Unmarshal(c.Spec, &change); err != nil {
		t.Fatal(err)
	}
	return merged(base, change)
}

// merged applies a change to decoded JSON: null removes.
func merged(base, change any) any {
	b, ok := base.(map[string]any)
	c, isObject := change.(map[string]any)
	if !ok || !isObject {
		return change
	}
	for k, v := range c {
		if v == nil {
			delete(b, k)
		} else {
			b[k] = merged(b[k], v)
		}
	}
	return b
}

// specFor is what our CLI would send for the flags, decoded, or its error.
func specFor(args []string) (spec any, err error) {
	s := &streams{in: strings.NewReader(""), out: io.Discard, err: io.Discard}
	v := verb{name: "try", flags: createFlags(), max: -1, rest: true, do: func(_ context.Context, c *call) error {
		env, err := readEnv(c.flags.strs("env-file"), c.flags.strs("env"))
		if err != nil {
			return err
		}
		made, err := newSpec(c.flags, "app:1", nil, env)
		if err != nil {
			return err
		}
		data, err := json.Marshal(made)
		if err != nil {
			return err
		}
		return json.NewDecoder(bytes.NewReader(data)).Decode(&spec)
	}}
	app := &cli.App{
		Name: progName, HideHelp: true, HideVersion: true, Commands: []*cli.Command{App{}.command(s, v)}, DisableSliceFlagSeparator: true,
		ExitErrHandler: func(*cli.Context, error) {}, OnUsageError: func(_ *cli.Context, err error, _ bool) error { return err },
		Writer: io.Discard, ErrWriter: io.Discard,
	}
	l, err := normalise(app, append(append([]string{"try"}, args...), "app:1"))
	if err != nil {
		return nil, err
	}
	err = app.Run(l.argv())
	return spec, err
}
