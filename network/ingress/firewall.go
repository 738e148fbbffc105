package ingress

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/swarmctl/swarmctl/network/netns"
)

// chain is ours in the tables of iptables. An engine drops what is forwarded
// and not known to it, and nothing that another table accepts is safe from that: so
// the word that accepts must be in the engine's own table. The engine needs the
// programs of iptables itself, so they are there.
const chain = "SWARMCTL-FORWARD"

// dockerUser is the chain that an engine has for the rules of the host's
// administrator. They come before ours.
const dockerUser = "DOCKER-USER"

// patience is how long iptables may wait for others and work.
const patience = 10 * time.Second

// firewall keeps our chain in the tables of iptables of one family.
type firewall struct {
	path    string // of the namespace
	v6      bool
	program string // the one whose tables the engine uses, once it is known
	agreed  agreed // what the rules were last seen to be right for
	blind   bool   // the kernel cannot tell frames within a bridge
	strict  bool   // the administrator has a say in what is forwarded
}

// agreed is what the rules depend on.
type agreed struct {
	bridge string
	gate   bool
}

// agree makes the chain what it must be for the bridge, at its place. It
// looks only where that is not known; forget makes it look.
func (f *firewall) agree(bridge string, gate bool) error {
	if f.agreed == (agreed{bridge, gate}) {
		return nil
	}
	list, err := f.list()
	if err != nil || f.program == "" {
		return err
	}
	f.strict = isStrict(list)
	err = f.load(correct(list, accept(bridge, !f.blind), gate))
	if err != nil && !f.blind { // it may be for want of that
		if f.load(correct(list, accept(bridge, false), gate)) == nil {
			f.blind, err = true, nil
		}
	}
	if err == nil {
		f.agreed = agreed{bridge, gate}
	}
	return err
}

// load makes all changes of a script, or none.
func (f *firewall) load(script string) error {
	if script == "" {
		return nil
	}
	_, err := f.run(f.program+"-restore", script, "--noflush", "-w", "5")
	return err
}

func (f *firewall) forget() { f.agreed = agreed{} }

// list finds the program whose tables the engine uses, by the engine's chain,
// and what these tables have. Without an engine's chain it is the first that works.
func (f *firewall) list() (rules []string, err error) {
	var first string
	var ofFirst []string
	var errs []error
	for _, program := range f.programs() {
		out, err := f.run(program, "", "-w", "5", "-S")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rules := strings.Split(strings.TrimSpace(out), "\n")
		for i, rule := range rules {
			rules[i] = strings.Join(strings.Fields(rule), " ") // some versions have two blanks in places
		}
		if slices.Contains(rules, toUser) {
			f.program = program
			return rules, nil
		}
		if first == "" {
			first, ofFirst = program, rules
		}
	}
	f.program = first
	if first == "" {
		return nil, errors.Join(errs...) // nothing at all where there is no iptables: nobody drops either
	}
	return ofFirst, nil
}

// programs are those that can be asked. That of the old tables makes them where there
// are none, so it is asked only where there are.
func (f *firewall) programs() []string {
	name := "iptables"
	if f.v6 {
		name = "ip6tables"
	}
	list := []string{name, name + "-nft"}
	if f.legacy() {
		list = append(list, name+"-legacy")
	}
	return slices.DeleteFunc(list, func(p string) bool {
		_, err := exec.LookPath(p)
		return err != nil
	})
}

// legacy reports whether the namespace has a filter table of the old kind.
func (f *firewall) legacy() (there bool) {
	return hasFilter(oldTables(f.path, f.v6))
}

func hasFilter(list string) bool { return slices.Contains(strings.Fields(list), "filter") }

// oldTables names the tables of the old kind that a namespace has. Asking makes none.
func oldTables(path string, v6 bool) (list string) {
	file := "/proc/thread-self/net/ip_tables_names"
	if v6 {
		file = "/proc/thread-self/net/ip6_tables_names"
	}
	_ = netns.Do(path, func() error { // a kernel without them has no such file
		names, err := os.ReadFile(file)
		list = string(names)
		return err
	})
	return list
}

// askOld reports whether some of the old tables may have a say in what is let in.
func askOld(list string) bool {
	return slices.ContainsFunc(strings.Fields(list), func(name string) bool { return name != "nat" && name != "raw" })
}

// remove takes our chain out.
func (f *firewall) remove() error {
	list, err := f.list()
	if err != nil || f.program == "" {
		return err
	}
	f.forget()
	return f.load(withdraw(list))
}

func (f *firewall) run(program, input string, args ...string) (out string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	if err := netns.Do(f.path, cmd.Start); err != nil {
		return "", fmt.Errorf("%s: %w", program, err)
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// jump and pass are the rules that lead into our chain, and let copies of packets
// through to the gate on a host that accepts little of what it sends.
const (
	jump   = "-A FORWARD -j " + chain
	toUser = "-A FORWARD -j " + dockerUser
	pass   = "-A OUTPUT -o " + gateName + " -j ACCEPT"
)

// accept are the rules of our chain: connections that were sent on into the
// ingress network, and their replies; and frames within a bridge of the cluster,
// which pass here on hosts that filter them. The engine lets those through too, but
// its rules do not come back before it is restarted where somebody flushes them.
func accept(bridge string, bridged bool) []string {
	rules := []string{
		"-A " + chain + " -o " + bridge + " -m conntrack --ctstate DNAT -j ACCEPT",
		"-A " + chain + " -i " + bridge + " -m conntrack --ctstate DNAT --ctdir REPLY -j ACCEPT",
	}
	if bridged {
		rules = append(rules, "-A "+chain+" -i sw-+ -o sw-+ -m physdev --physdev-is-bridged -j ACCEPT")
	}
	return rules
}

// correct is the script that leads from the listed rules to those there must
// be, none where there is nothing to do.
func correct(list, accept []string, gate bool) string {
	forward, others := of("FORWARD", list)
	at := placeIn(others)
	own, _ := of(chain, list)
	right := slices.Equal(own, accept) && len(forward)-len(others) == 1 && forward[at] == jump
	passes := slices.Contains(list, pass)
	if right && passes == gate {
		return ""
	}
	s := "*filter\n:" + chain + " - [0:0]\n" + strings.Join(accept, "\n") + "\n" +
		strings.Repeat(deletion(jump), len(forward)-len(others)) +
		fmt.Sprintf("-I FORWARD %d -j %s\n", at+1, chain)
	switch {
	case gate && !passes:
		s += strings.Replace(pass, "-A OUTPUT", "-I OUTPUT 1", 1) + "\n"
	case !gate && passes:
		s += deletion(pass)
	}
	return s + "COMMIT\n"
}

// isStrict reports whether packets pass rules of the host's administrator before ours,
// which may drop what belongs to a connection that is there.
func isStrict(list []string) bool {
	_, forward := of("FORWARD", list)
	users, _ := of(dockerUser, list)
	return slices.ContainsFunc(slices.Concat(forward[:placeIn(forward)], users), func(rule string) bool {
		return rule != toUser && rule != "-A "+dockerUser+" -j RETURN"
	})
}

// placeIn is where the jump to our chain belongs among the rules of FORWARD.
func placeIn(others []string) int {
	if at := slices.Index(others, toUser); at >= 0 {
		return at + 1
	}
	return len(others) // nobody knows us: what is there has its say first
}

// withdraw is the script that leads to rules without ours.
func withdraw(list []string) string {
	var s string
	for _, rule := range list {
		if rule == jump || rule == pass {
			s += deletion(rule)
		}
	}
	if slices.Contains(list, "-N "+chain) {
		s += "-F " + chain + "\n-X " + chain + "\n"
	}
	if s == "" {
		return ""
	}
	return "*filter\n" + s + "COMMIT\n"
}

func deletion(rule string) string { return strings.Replace(rule, "-A ", "-D ", 1) + "\n" }

// of are the rules of a chain, and those of them that do not lead into ours.
func of(name string, list []string) (all, others []string) {
	for _, rule := range list {
		if !strings.HasPrefix(rule, "-A "+name+" ") {
			continue
		}
		all = append(all, rule)
		if rule != jump {
			others = append(others, rule)
		}
	}
	return all, others
}
