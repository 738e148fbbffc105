package constraint

import (
	"strings"

	"github.com/swarmctl/swarmctl/api/edit"
)

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
			if d := edit.Distance(given, base, furthest); d < best {
				best, found = d, name+orKey(rest)
			}
			continue
		}
		if d := edit.Distance(given, name, furthest); d < best {
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
