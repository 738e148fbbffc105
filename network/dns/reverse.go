package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// parseReverse is the address that a name of a reverse lookup means:
// 4.3.2.1.in-addr.arpa, or 32 digits and ip6.arpa.
func parseReverse(name string) (netip.Addr, bool) {
	if digits, ok := strings.CutSuffix(name, ".in-addr.arpa"); ok {
		return reverse4(strings.Split(digits, "."))
	}
	if digits, ok := strings.CutSuffix(name, ".ip6.arpa"); ok {
		return reverse6(strings.Split(digits, "."))
	}
	return netip.Addr{}, false
}

func reverse4(parts []string) (netip.Addr, bool) {
	slices.Reverse(parts)
	a, err := netip.ParseAddr(strings.Join(parts, "."))
	return a, err == nil && a.Is4()
}

func reverse6(parts []string) (netip.Addr, bool) {
	if len(parts) != 32 {
		return netip.Addr{}, false
	}
	var b [16]byte
	for i, p := range parts {
		digit, err := strconv.ParseUint(p, 16, 4)
		if err != nil || len(p) != 1 {
			return netip.Addr{}, false
		}
		at := 31 - i
		b[at/2] |= byte(digit) << (4 * (1 - at%2))
	}
	return netip.AddrFrom16(b), true
}
