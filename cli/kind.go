package cli

import (
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"github.com/docker/go-units"
)

// kind is a type of flag value: the word help shows for it, whether the flag
// may be repeated, and how one value is parsed. Messages are Docker's.
type kind struct {
	name  string
	many  bool
	parse func(string) (any, error)
}

func (k kind) isBool() bool { return k.name == "" }

// parser adapts a typed parse function.
func parser[T any](f func(string) (T, error)) func(string) (any, error) {
	return func(s string) (any, error) { return f(s) }
}

func asIs(s string) (string, error) { return s, nil }

var (
	mapKind      = kind{"map", true, parser(asIs)}
	stringsKind  = kind{"strings", true, parser(asIs)}
	boolKind     = kind{"", false, parser(strconv.ParseBool)}
	stringKind   = kind{"string", false, parser(asIs)}
	listKind     = kind{"list", true, parser(asIs)}
	uintKind     = kind{"uint", false, parser(func(s string) (uint64, error) { return parseUint(s, 64) })}
	intKind      = kind{"int", false, parser(parseInt)}
	int64Kind    = kind{"int", false, parser(func(s string) (int64, error) { return strconv.ParseInt(s, 0, 64) })}
	floatKind    = kind{"float", false, parser(parseFloat)}
	cpuKind      = kind{"decimal", false, parser(parseCPUs)}
	bytesKind    = kind{"bytes", false, parser(parseBytes)}
	durationKind = kind{"duration", false, parser(time.ParseDuration)}
	periodKind   = kind{"duration", false, parser(parsePeriod)}
	commandKind  = kind{"command", false, parser(splitWords)}
	envKind      = kind{"list", true, parser(parseEnv)}
	labelKind    = kind{"list", true, parser(parseLabel)}
	ipKind       = kind{"list", true, parser(parseIP)}
	domainKind   = kind{"list", true, parser(parseDomain)}
	hostKind     = kind{"list", true, parser(parseExtraHost)}
	filterKind   = kind{"filter", true, parser(parseFilter)}
	ulimitKind   = kind{"ulimit", true, parser(units.ParseUlimit)}
	prefKind     = kind{"pref", true, parser(parsePref)}
	genericKind  = kind{"list", true, parser(parseGeneric)}
	mountKind    = kind{"mount", true, parser(parseMount)}
	portKind     = kind{"port", true, parser(parsePort)}
	networkKind  = kind{"network", true, parser(parseNetwork)}
	secretKind   = kind{"secret", true, parser(parseSecret)}
	configKind   = kind{"config", true, parser(parseConfig)}
	credKind     = kind{"credential-spec", false, parser(parseCredentialSpec)}
	nodeAddrKind = kind{"node-addr", false, parser(parseNodeAddr)}
	poolKind     = kind{"ipNetSlice", true, parser(parsePool)}
	uint32Kind   = kind{"uint32", false, parser(func(s string) (uint32, error) { n, err := parseUint(s, 32); return uint32(n), err })}
)

func strquote(s string) string { return strconv.Quote(s) }

func parseInt(s string) (int, error) {
	n, err := strconv.ParseInt(s, 0, 64)
	return int(n), err
}

func parseFloat(s string) (float32, error) {
	f, err := strconv.ParseFloat(s, 32)
	return float32(f), err
}

// parseCPUs reads a number of CPUs, such as 0.5 or 3/2, as billionths of one.
func parseCPUs(s string) (int64, error) {
	cpu, ok := new(big.Rat).SetString(s)
	if !ok {
		return 0, fmt.Errorf("failed to parse %v as a rational number", s)
	}
	nano := cpu.Mul(cpu, big.NewRat(1e9, 1))
	if !nano.IsInt() {
		return 0, errors.New("value is too precise")
	}
	if !nano.Num().IsInt64() {
		return 0, errors.New("value is too large")
	}
	return nano.Num().Int64(), nil
}

// parseBytes reads 512, 64m or 1.5g.
func parseBytes(s string) (int64, error) {
	n, err := units.RAMInBytes(s)
	if err == nil && n < 0 { // it does not look whether the number fits
		err = fmt.Errorf("invalid size: '%s' is too large", s)
	}
	return n, err
}

func parsePeriod(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err == nil && d < 0 {
		err = errors.New("duration cannot be negative")
	}
	return d, err
}

// parseEnv reads KEY=value, or KEY alone, which takes the value that the
// command's own environment has.
func parseEnv(s string) (string, error) {
	key, _, hasValue := strings.Cut(s, "=")
	if key == "" {
		return "", errors.New("invalid environment variable: " + s)
	}
	if hasValue {
		return s, nil
	}
	if v, ok := os.LookupEnv(s); ok {
		return s + "=" + v, nil
	}
	return s, nil
}

func parseLabel(s string) (string, error) {
	key, _, _ := strings.Cut(strings.TrimLeft(s, " \t"), "=")
	if key == "" {
		return "", fmt.Errorf("invalid label '%s': empty name", s)
	}
	if strings.ContainsAny(key, " \t") {
		return "", fmt.Errorf("label '%s' contains whitespaces", key)
	}
	return s, nil
}

func parseIP(s string) (string, error) {
	ip := net.ParseIP(strings.TrimSpace(s))
	if ip == nil {
		return "", errors.New("IP address is not correctly formatted: " + s)
	}
	return ip.String(), nil
}

var domain = regexp.MustCompile(`^(:?(:?[a-zA-Z0-9]|(:?[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9]))(:?\.(:?[a-zA-Z0-9]|(:?[a-zA-Z0-9][a-zA-Z0-9\-]*[a-zA-Z0-9])))*)\.?$`)

func parseDomain(s string) (string, error) {
	s = strings.Trim(s, " ")
	if s == "." {
		return s, nil
	}
	if len(s) > 255 || !domain.MatchString(s) {
		return "", fmt.Errorf("%s is not a valid domain", s)
	}
	return strings.TrimSuffix(s, "."), nil
}

// parseExtraHost reads host:ip or host=ip and returns host:ip.
func parseExtraHost(s string) (string, error) {
	host, ip, ok := strings.Cut(s, "=")
	if !ok {
		host, ip, ok = strings.Cut(s, ":")
	}
	if !ok || host == "" {
		return "", fmt.Errorf("bad format for add-host: %q", s)
	}
	if len(ip) > 2 && ip[0] == '[' && ip[len(ip)-1] == ']' {
		ip = ip[1 : len(ip)-1]
	}
	if ip != "host-gateway" {
		if _, err := netip.ParseAddr(ip); err != nil {
			return "", fmt.Errorf("invalid IP address in add-host: %q", ip)
		}
	}
	return host + ":" + ip, nil
}

// parseFilter reads name=value; the name is lower-cased as Docker does.
func parseFilter(s string) ([2]string, error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return [2]string{}, errors.New("bad format of filter (expected name=value)")
	}
	return [2]string{strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(value)}, nil
}

func parsePref(s string) (swarm.PlacementPreference, error) {
	strategy, arg, ok := strings.Cut(s, "=")
	if !ok || strategy == "" {
		return swarm.PlacementPreference{}, errors.New(`placement preference must be of the format "<strategy>=<arg>"`)
	}
	if strategy != "spread" {
		return swarm.PlacementPreference{}, fmt.Errorf("unsupported placement preference %s (only spread is supported)", strategy)
	}
	return swarm.PlacementPreference{Spread: &swarm.SpreadOver{SpreadDescriptor: arg}}, nil
}

// parseGeneric reads kind=number. Named resources (kind=name) cannot be asked for.
func parseGeneric(s string) (swarm.DiscreteGenericResource, error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return swarm.DiscreteGenericResource{}, fmt.Errorf("invalid generic-resource format `%s` expected `name=value`", s)
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return swarm.DiscreteGenericResource{}, fmt.Errorf("invalid generic-resource request `%s`: ask for a number, such as `%s=1`", s, name)
	}
	return swarm.DiscreteGenericResource{Kind: name, Value: n}, nil
}

func parseCredentialSpec(s string) (swarm.CredentialSpec, error) {
	scheme, val, _ := strings.Cut(s, "://")
	switch {
	case s == "":
		return swarm.CredentialSpec{}, nil
	case scheme == "config" && scheme != s:
		return swarm.CredentialSpec{Config: val}, nil
	case scheme == "file" && scheme != s:
		return swarm.CredentialSpec{File: val}, nil
	case scheme == "registry" && scheme != s:
		return swarm.CredentialSpec{Registry: val}, nil
	}
	return swarm.CredentialSpec{}, errors.New(`invalid credential spec: value must be prefixed with "config://", "file://", or "registry://"`)
}

// parseNodeAddr completes an address to listen on: host, host:port or :port.
func parseNodeAddr(s string) (string, error) {
	if s == "" {
		return "", errors.New("invalid address: an empty one; use <ip|interface>[:port]")
	}
	u, err := url.Parse("tcp://" + s)
	if err != nil {
		return "", err
	}
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = "0.0.0.0"
	}
	if port == "" {
		port = "2377"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("invalid address %q: port %s is not between 1 and 65535", s, port)
	}
	return net.JoinHostPort(host, port), nil
}

func parsePool(s string) (string, error) {
	if _, _, err := net.ParseCIDR(s); err != nil {
		return "", errors.New("invalid string being converted to CIDR: " + s)
	}
	return s, nil
}

// splitWords splits a command the way a shell would: quotes and backslashes
// group, nothing is expanded.
func splitWords(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	quote, inWord := rune(0), false
	runes := []rune(s)
	for i := 0; i < len(runes); i++ {
		switch r := runes[i]; {
		case r == '\\' && quote != '\'':
			if i++; i == len(runes) {
				return nil, errors.New("EOF found after escape character")
			}
			word.WriteRune(runes[i])
			inWord = true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '"' || r == '\''):
			quote, inWord = r, true
		case quote == 0 && strings.ContainsRune(" \t\r\n", r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, errors.New("EOF found when expecting closing quote")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// parseUint adds the way out to what Docker's CLI says.
func parseUint(s string, bits int) (uint64, error) {
	n, err := strconv.ParseUint(s, 0, bits)
	if err != nil {
		return 0, fmt.Errorf("%w: give a whole number from 0 to %d", err, uint64(1)<<bits-1)
	}
	return n, nil
}
