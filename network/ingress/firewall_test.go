package ingress

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// engine is what iptables lists on a host with an engine, but for the rules of its chains.
const engine = `-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N DOCKER
-N DOCKER-USER`

func TestOurChainComesRightAfterTheAdministrators(t *testing.T) {
	ours := "\n-N SWARMCTL-FORWARD\n" + strings.Join(accept("sw-i", true), "\n")
	for _, c := range []struct {
		name, list string
		gate       bool
		want       string
	}{
		{"a fresh engine", engine + `
-A FORWARD -j DOCKER-USER
-A FORWARD -o docker0 -j DOCKER`, true, `*filter
:SWARMCTL-FORWARD - [0:0]
-A SWARMCTL-FORWARD -o sw-i -m conntrack --ctstate DNAT -j ACCEPT
-A SWARMCTL-FORWARD -i sw-i -m conntrack --ctstate DNAT --ctdir REPLY -j ACCEPT
-A SWARMCTL-FORWARD -i sw-+ -o sw-+ -m physdev --physdev-is-bridged -j ACCEPT
-I FORWARD 2 -j SWARMCTL-FORWARD
-I OUTPUT 1 -o swarmctl0 -j ACCEPT
COMMIT
`},
		{"all is right", engine + ours + `
-A FORWARD -j DOCKER-USER
-A FORWARD -j SWARMCTL-FORWARD
-A FORWARD -o docker0 -j DOCKER
-A OUTPUT -o swarmctl0 -j ACCEPT`, true, ""},
		{"an engine that has started anew has put its rules before ours", engine + ours + `
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -j SWARMCTL-FORWARD`, false, `*filter
:SWARMCTL-FORWARD - [0:0]
-A SWARMCTL-FORWARD -o sw-i -m conntrack --ctstate DNAT -j ACCEPT
-A SWARMCTL-FORWARD -i sw-i -m conntrack --ctstate DNAT --ctdir REPLY -j ACCEPT
-A SWARMCTL-FORWARD -i sw-+ -o sw-+ -m physdev --physdev-is-bridged -j ACCEPT
-D FORWARD -j SWARMCTL-FORWARD
-I FORWARD 2 -j SWARMCTL-FORWARD
COMMIT
`},
		{"a reload has taken the rules of our chain", engine + `
-N SWARMCTL-FORWARD
-A FORWARD -j DOCKER-USER
-A FORWARD -j SWARMCTL-FORWARD`, false, `*filter
:SWARMCTL-FORWARD - [0:0]
-A SWARMCTL-FORWARD -o sw-i -m conntrack --ctstate DNAT -j ACCEPT
-A SWARMCTL-FORWARD -i sw-i -m conntrack --ctstate DNAT --ctdir REPLY -j ACCEPT
-A SWARMCTL-FORWARD -i sw-+ -o sw-+ -m physdev --physdev-is-bridged -j ACCEPT
-D FORWARD -j SWARMCTL-FORWARD
-I FORWARD 2 -j SWARMCTL-FORWARD
COMMIT
`},
		{"without an engine the administrator's rules come first", `-P FORWARD DROP
-A FORWARD -i eth0 -j REJECT`, false, `*filter
:SWARMCTL-FORWARD - [0:0]
-A SWARMCTL-FORWARD -o sw-i -m conntrack --ctstate DNAT -j ACCEPT
-A SWARMCTL-FORWARD -i sw-i -m conntrack --ctstate DNAT --ctdir REPLY -j ACCEPT
-A SWARMCTL-FORWARD -i sw-+ -o sw-+ -m physdev --physdev-is-bridged -j ACCEPT
-I FORWARD 2 -j SWARMCTL-FORWARD
COMMIT
`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, correct(strings.Split(c.list, "\n"), accept("sw-i", true), c.gate)); d != "" {
				t.Errorf("want (-), got (+):\n%s", d)
			}
		})
	}
}

func TestWhetherTheAdministratorHasASayInWhatIsForwarded(t *testing.T) {
	for list, want := range map[string]bool{
		"": false,
		"-A FORWARD -j DOCKER-USER\n-A FORWARD -j DOCKER":                                               false,
		"-A FORWARD -j DOCKER-USER\n-A FORWARD -j SWARMCTL-FORWARD\n-A DOCKER-USER -j RETURN":           false,
		"-A FORWARD -j DOCKER-USER\n-A FORWARD -j SWARMCTL-FORWARD\n-A FORWARD -j ufw-reject-forward":   false, // what we let through does not come there
		"-A FORWARD -j SWARMCTL-FORWARD":                                                                false,
		"-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -s 192.0.2.7/32 -j DROP\n-A DOCKER-USER -j RETURN":   true,
		"-A FORWARD -j DOCKER-USER\n-A DOCKER-USER -p tcp -j f2b-web":                                   true,
		"-A FORWARD -s 192.0.2.7/32 -j DROP\n-A FORWARD -j DOCKER-USER\n-A FORWARD -j SWARMCTL-FORWARD": true,
		"-A FORWARD -s 192.0.2.7/32 -j DROP\n-A FORWARD -j SWARMCTL-FORWARD":                            true,
	} {
		if got := isStrict(strings.Split(list, "\n")); got != want {
			t.Errorf("%v, want %v, with\n%s", got, want, list)
		}
	}
}

func TestNothingOfOursStaysInTheTablesOfOthers(t *testing.T) {
	list := strings.Split(engine+`
-N SWARMCTL-FORWARD
-A FORWARD -j DOCKER-USER
-A FORWARD -j SWARMCTL-FORWARD
-A OUTPUT -o swarmctl0 -j ACCEPT`, "\n")
	want := `*filter
-D FORWARD -j SWARMCTL-FORWARD
-D OUTPUT -o swarmctl0 -j ACCEPT
-F SWARMCTL-FORWARD
-X SWARMCTL-FORWARD
COMMIT
`
	if d := cmp.Diff(want, withdraw(list)); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	if s := withdraw(strings.Split(engine, "\n")); s != "" {
		t.Errorf("there is nothing of ours, and the script is %q", s)
	}
}
