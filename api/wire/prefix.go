package wire

import "net/netip"

// maxPrefixes is how many prefixes of one node are kept: more than a host
// routes that is no router.
const maxPrefixes = 512

// Texts are prefixes as they travel.
func Texts(list []netip.Prefix) []string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.String()
	}
	return texts
}

// Prefixes is the inverse of Texts. What is no prefix is passed over: a node
// that is newer may know of others.
func Prefixes(texts []string) []netip.Prefix {
	list := []netip.Prefix{}
	for _, text := range texts[:min(len(texts), maxPrefixes)] {
		if p, err := netip.ParsePrefix(text); err == nil {
			list = append(list, p)
		}
	}
	return list
}
