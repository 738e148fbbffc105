package constraint

import "strings"

// confused are keys that people write for others.
var confused = map[string]string{
	"node.name":         "node.hostname",
	"node.host":         "node.hostname",
	"hostname":          "node.hostname",
	"role":              "node.role",
	"node.addr":         "node.ip",
	"node.address":      "node.ip",
	"node.os":           "node.platform.os",
	"node.arch":         "node.platform.arch",
	"node.architecture": "node.platform.arch",
	"engine.os":         "node.platform.os",
	"engine.arch":       "node.platform.arch",
	"service":           "service.name",
	"node.service":      "service.name",
}

// furthest is how many characters may differ between a key and what is offered for it.
const furthest = 2

// nearest returns the key that the unknown key was probably meant to be, or "".
func nearest(key string) string {
	lower := strings.ToLower(key)
	if k, ok := confused[lower]; ok {
		return k
	}
	best, found := furthest+1, ""
	for _, name := range keys {
		given, rest := lower, ""
		if base, isLabel := strings.CutSuffix(name, "."); isLabel {
			// Compare the part before the label's name, and keep that name.
			if i := secondDot(key); i >= 0 {
				given, rest = strings.ToLower(key[:i]), key[i+1:]
			}
			if d := distance(given, base); d < best {
				best, found = d, name+orKey(rest)
			}
			continue
		}
		if d := distance(given, name); d < best {
			best, found = d, name
		}
	}
	return found
}

func orKey(label string) string {
	if label == "" {
		return "<key>"
	}
	return label
}

func secondDot(s string) int {
	first := strings.IndexByte(s, '.')
	if first < 0 {
		return -1
	}
	second := strings.IndexByte(s[first+1:], '.')
	if second < 0 {
		return -1
	}
	return first + 1 + second
}

// distance counts the characters to insert, remove, replace or swap with
// their neighbour to make b of a. Lengths that differ too much are far apart
// at once, so that a long key costs nothing.
func distance(a, b string) int {
	if len(a) > len(b)+furthest || len(b) > len(a)+furthest {
		return furthest + 1
	}
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
