package constraint

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"github.com/swarmctl/swarmctl/api"
)

// usable is what an error offers in place of an unknown key.
const usable = "node.id, node.hostname, node.ip, node.role, node.platform.os, node.platform.arch, node.labels.<key>, engine.labels.<key> or service.name"

// reserved may stand neither in a label's name nor in a value: operators are made of it.
const reserved = "=!<>~"

// Parse parses constraints as they stand in a service's placement. Its errors
// have the code api.CodeInvalid and name the constraint, the rule that it
// breaks, and what to write instead.
func Parse(constraints []string) (List, error) {
	if len(constraints) == 0 {
		return nil, nil
	}
	list := make(List, len(constraints))
	for i, text := range constraints {
		c, err := parse(text)
		if err != nil {
			return nil, api.Errorf(api.CodeInvalid, "constraint %q: %v", text, err)
		}
		list[i] = c
	}
	return list, nil
}

func parse(text string) (Constraint, error) {
	key, op, value, err := split(text)
	if err != nil {
		return Constraint{}, err
	}
	c := Constraint{not: op == "!=", value: value}
	if err := c.setKey(key); err != nil {
		return Constraint{}, err
	}
	if value == "" {
		return Constraint{}, fmt.Errorf("no value after %s: write %s%svalue", op, key, op)
	}
	if i := strings.IndexFunc(value, refused); i >= 0 {
		return Constraint{}, fmt.Errorf("value %q must not contain %q", value, []rune(value[i:])[0])
	}
	return c, c.checkValue()
}

// split cuts a constraint at its operator, which is the first of == and !=.
func split(text string) (key, op, value string, err error) {
	at := -1
	for _, o := range []string{"==", "!="} {
		if i := strings.Index(text, o); i >= 0 && (at < 0 || i < at) {
			at, op = i, o
		}
	}
	if at < 0 {
		if key, value, ok := strings.Cut(text, "="); ok {
			return "", "", "", fmt.Errorf("= is no operator: write %s==%s", strings.TrimSpace(key), strings.TrimSpace(value))
		}
		return "", "", "", fmt.Errorf("no operator: write key==value or key!=value")
	}
	return strings.TrimSpace(text[:at]), op, strings.TrimSpace(text[at+len(op):]), nil
}

// refused tells the characters that a value must not contain.
func refused(r rune) bool {
	return unicode.IsControl(r) || r == unicode.ReplacementChar || strings.ContainsRune(reserved, r)
}

// notOfName tells the characters that a service's name does not have.
func notOfName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// setKey finds the field that a key names.
func (c *Constraint) setKey(key string) error {
	for f, name := range keys {
		isLabel := strings.HasSuffix(name, ".")
		if !isLabel && strings.EqualFold(key, name) {
			c.field = field(f)
			return nil
		}
		if !isLabel || len(key) < len(name) || !strings.EqualFold(key[:len(name)], name) {
			continue
		}
		c.field, c.label = field(f), key[len(name):]
		if c.label == "" {
			return fmt.Errorf("%s lacks the name of a label: write %s<key>", key, name)
		}
		if strings.ContainsFunc(c.label, func(r rune) bool { return unicode.IsSpace(r) || refused(r) }) {
			return fmt.Errorf("label name %q must contain neither spaces nor any of %s", c.label, reserved)
		}
		return nil
	}
	if key == "" {
		return fmt.Errorf("no key before the operator: use %s", usable)
	}
	if near := nearest(key); near != "" {
		return fmt.Errorf("unknown key %q: did you mean %s? use %s", key, near, usable)
	}
	return fmt.Errorf("unknown key %q: use %s", key, usable)
}

// checkValue refuses values that no node, or no service, can have.
func (c *Constraint) checkValue() error {
	switch c.field {
	case serviceName:
		if i := strings.IndexFunc(c.value, notOfName); i >= 0 {
			return fmt.Errorf("no service has %q in its name: write the whole name as `service ls` shows it", []rune(c.value[i:])[0])
		}
	case nodeRole:
		if !strings.EqualFold(c.value, "manager") && !strings.EqualFold(c.value, "worker") {
			return fmt.Errorf("unknown role %q: use manager or worker", c.value)
		}
	case nodeIP:
		if addr, err := netip.ParseAddr(c.value); err == nil {
			c.net = netip.PrefixFrom(addr.Unmap().WithZone(""), addr.Unmap().BitLen())
			return nil
		}
		prefix, err := netip.ParsePrefix(c.value)
		if err != nil {
			return fmt.Errorf("%q is neither an address nor a subnet: write 192.0.2.7 or 192.0.2.0/24", c.value)
		}
		c.net = prefix.Masked()
	}
	return nil
}
