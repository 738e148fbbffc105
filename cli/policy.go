package cli

import (
	"strings"

	"github.com/docker/docker/api/types/swarm"

	"github.com/swarmctl/swarmctl/api/setting"
)

// policyHelp is the help of policyFlags.
func policyHelp() string {
	return "--policy-deny forbids services what reaches out of their containers: a list, with commas, of\n  " +
		strings.Join(setting.Denials, ", ") + ".\n" +
		`The list replaces the one before; "" forbids nothing. Services that are there keep what they have.`
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
