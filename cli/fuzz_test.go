package cli

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/go-units"
)

// seeded adds the values that the differential table has for a flag.
func seeded(f *testing.F, flags ...string) {
	data, err := os.ReadFile("testdata/docker28.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		var c dockersCase
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			f.Fatal(err)
		}
		for _, flag := range flags {
			if len(c.Args) == 2 && c.Args[0] == flag {
				f.Add(c.Args[1])
			}
		}
	}
}

func FuzzMount(f *testing.F) {
	seeded(f, "--mount")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := parseMount(s)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a word")
			}
			return
		}
		if m.Type == "" || m.Target == "" {
			t.Errorf("%q: type %q, target %q", s, m.Type, m.Target)
		}
		if m.BindOptions != nil && m.Type != mount.TypeBind || m.VolumeOptions != nil && m.Type != mount.TypeVolume || m.TmpfsOptions != nil && m.Type != mount.TypeTmpfs {
			t.Errorf("%q: options of another type: %+v", s, m)
		}
		if m.TmpfsOptions != nil && m.TmpfsOptions.SizeBytes < 0 {
			t.Errorf("%q: tmpfs of %d bytes", s, m.TmpfsOptions.SizeBytes)
		}
		asJSON(t, m)
	})
}

func FuzzPublish(f *testing.F) {
	seeded(f, "--publish")
	f.Fuzz(func(t *testing.T, s string) {
		ports, err := parsePort(s)
		if err != nil {
			return
		}
		if len(ports) == 0 {
			t.Errorf("%q: no ports and no error", s)
		}
		for _, p := range ports {
			if p.TargetPort > 65535 || p.PublishedPort > 65535 {
				t.Errorf("%q: %+v", s, p)
			}
			switch p.Protocol {
			case swarm.PortConfigProtocolTCP, swarm.PortConfigProtocolUDP, swarm.PortConfigProtocolSCTP:
			default:
				t.Errorf("%q: protocol %q", s, p.Protocol)
			}
		}
		again, err := parsePort(s)
		if err != nil || !reflect.DeepEqual(ports, again) {
			t.Errorf("%q: %v, then %v, %v", s, ports, again, err)
		}
	})
}

// Every kind of flag value parses or says why not, and what it parses to can
// be sent.
func FuzzFlagValues(f *testing.F) {
	seeded(f, "--env", "--label", "--limit-memory", "--limit-cpu", "--restart-delay", "--health-interval", "--replicas", "--limit-pids",
		"--generic-resource", "--ulimit", "--host", "--dns", "--dns-search", "--placement-pref", "--credential-spec", "--entrypoint", "--log-opt", "--sysctl")
	for _, s := range []string{"eth0:2377", ":1", "[::1]:2377", "10.0.0.0/8", "name=web", "source=pw,target=p2,uid=5,mode=0400", "name=back,alias=db,driver-opt=k=v", `"a""b",c=d`} {
		f.Add(s)
	}
	kinds := map[string]kind{}
	for _, o := range append(append(createFlags(), updateFlags()...), append(initFlags(), memberFlags()...)...) {
		kinds[o.name] = o.kind
	}
	kinds["filter"] = filterKind
	f.Fuzz(func(t *testing.T, s string) {
		for name, k := range kinds {
			v, err := k.parse(s)
			if err != nil {
				if err.Error() == "" {
					t.Errorf("--%s %q: an error without a word", name, s)
				}
				continue
			}
			checkValue(t, name, s, v)
		}
	})
}

// checkValue holds a value against what its flag is for.
func checkValue(t *testing.T, name, s string, v any) {
	switch name {
	case "limit-memory", "reserve-memory":
		if v.(int64) < 0 {
			t.Errorf("--%s %q is %d bytes", name, s, v)
		}
	case "limit-cpu", "reserve-cpu":
		if again, err := parseCPUs(s); err != nil || again != v {
			t.Errorf("--%s %q: %v, then %v, %v", name, s, v, again, err)
		}
	case "health-interval":
		if v.(time.Duration) < 0 {
			t.Errorf("--%s %q: %s", name, s, v)
		}
	case "ulimit":
		if u := v.(*units.Ulimit); u.Name == "" || u.Hard != -1 && u.Soft > u.Hard {
			t.Errorf("--%s %q: %+v", name, s, u)
		}
	case "generic-resource":
		if v.(swarm.DiscreteGenericResource).Value < 0 {
			t.Errorf("--%s %q: %+v", name, s, v)
		}
	case "host":
		if line := swarmHosts([]string{v.(string)})[0]; len(strings.SplitN(line, " ", 2)) != 2 || strings.HasPrefix(line, " ") {
			t.Errorf("--%s %q: %q", name, s, line)
		}
	case "env":
		if v.(string) == "" || v.(string)[0] == '=' {
			t.Errorf("--%s %q: %q has no name", name, s, v)
		}
	case "label", "container-label":
		if key, _, _ := strings.Cut(strings.TrimLeft(v.(string), " \t"), "="); key == "" {
			t.Errorf("--%s %q: %q has no name", name, s, v)
		}
	}
}

func FuzzEnvFile(f *testing.F) {
	for _, s := range []string{"A=1\n  B=two \n\n# no\nHELD\nC=#x\n", "\xef\xbb\xbfA=1", "=x", "a b=c", "A=\xff", strings.Repeat("a", 70_000) + "=1", "A=1\r\nB"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		vars, err := parseEnvFile(data)
		if err != nil {
			return
		}
		for _, v := range vars {
			if key, _, ok := strings.Cut(v, "="); key == "" || !ok || strings.ContainsAny(key, " \t\n") {
				t.Errorf("%q became the variable %q", data, v)
			}
		}
	})
}

// However odd the words, a command line is taken apart or refused.
func FuzzCommandLine(f *testing.F) {
	for _, s := range []string{
		"service create --name web -p80:80 -tq=false app:1 -- -x", "service update web --image x", "-H unix:///x service ls -qf name=a", "service ls -f",
		"help service", "service", "--", "-", "--=", "-=", "node ls --help", "service create --mount=type=bind,src=/a,dst=/b app", "serivce ls", "-zz",
	} {
		f.Add(s)
	}
	app := App{}.commands(&streams{})
	f.Fuzz(func(t *testing.T, words string) {
		args := strings.Fields(words)
		l, err := normalise(app, args)
		if err != nil {
			if err.Error() == "" {
				t.Errorf("%q: an error without a word", args)
			}
			return
		}
		if l.command == nil || len(l.command.Subcommands) > 0 {
			return
		}
		again, err := normalise(app, l.argv()[1:])
		if err != nil || !reflect.DeepEqual(l.argv(), again.argv()) {
			t.Errorf("%q became %q, which became %q, %v", args, l.argv(), again.argv(), err)
		}
	})
}

func asJSON(t *testing.T, v any) {
	if _, err := json.Marshal(v); err != nil {
		t.Errorf("%+v cannot be sent: %v", v, err)
	}
}
