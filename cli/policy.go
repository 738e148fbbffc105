package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api/setting"
)

func swarmUpdateVerb() verb {
	return verb{
		name: "update", usage: "Change settings of the cluster", flags: policyFlags(), do: swarmUpdate,
		long: "--policy-deny forbids services what reaches out of their containers: a list, with commas, of\n  " +
			strings.Join(setting.Denials, ", ") + ".\n" +
			`The list replaces the one before; "" forbids nothing. Services that are there keep what they have.`,
	}
}

func policyFlags() []*opt {
	return []*opt{{name: "policy-deny", kind: denyKind, usage: `What services may not ask for, with commas ("" for nothing)`}}
}

var denyKind = kind{"list", false, parser(func(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	_, err := setting.ParsePolicy(map[string]string{setting.LabelDeny: s})
	return s, err
})}

// changePolicy applies the flags to the cluster's spec.
func changePolicy(g given, spec *swarm.Spec) {
	if g.has("policy-deny") {
		setLabel(&spec.Labels, setting.LabelDeny, g.str("policy-deny"))
	}
}

// setLabel sets a label, or takes it away where the value is empty.
func setLabel(labels *map[string]string, name, value string) {
	switch {
	case value == "":
		delete(*labels, name)
	case *labels == nil:
		*labels = map[string]string{name: value}
	default:
		(*labels)[name] = value
	}
}

func swarmUpdate(ctx context.Context, c *call) error {
	if !c.flags.has("policy-deny") {
		return fmt.Errorf("nothing to change: give a flag (see '%s update --help')", progName)
	}
	var err error
	for range attempts {
		var sw swarm.Swarm
		if sw, err = c.api().SwarmInspect(ctx); err != nil {
			return err
		}
		changePolicy(c.flags, &sw.Spec)
		if err = c.api().SwarmUpdate(ctx, sw.Version, sw.Spec, swarm.UpdateFlags{}); !isOutdated(err) {
			break
		}
	}
	if err == nil {
		fmt.Fprintln(c.out, "Swarm updated.")
	}
	return err
}
