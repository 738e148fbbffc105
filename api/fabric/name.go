package fabric

import (
	"strings"
	"unicode"

	"github.com/swarmctl/swarmctl/api"
)

// maxName is longer than any name that the API lets in.
const maxName = 1 << 10

// CheckName refuses, with code invalid, what cannot be a name of anything:
// nodes do not take a fabric with such a name in it, so the state must not let
// one in. What a good name is, is decided where it comes in; a node that were
// stricter than the managers would be left without a network for one name.
func CheckName(name string) error {
	switch {
	case name == "" || len(name) > maxName:
		return api.Errorf(api.CodeInvalid, "a name of %d bytes: from 1 to %d are a name", len(name), maxName)
	case strings.ContainsFunc(name, unicode.IsControl):
		return api.Errorf(api.CodeInvalid, "name %q has characters that no name has", name)
	}
	return nil
}
