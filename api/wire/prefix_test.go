package wire_test

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/swarmctl/swarmctl/api/wire"
)

func TestPrefixesTravel(t *testing.T) {
	want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/64")}
	if got := wire.Prefixes(wire.Texts(want)); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := wire.Prefixes([]string{"nonsense", "10.0.0.0/8", ""}); !slices.Equal(got, want[:1]) {
		t.Errorf("of what is no prefix: %v", got)
	}
	if got := wire.Prefixes(slices.Repeat([]string{"10.0.0.0/8"}, 10000)); len(got) != 512 {
		t.Errorf("%d prefixes are kept", len(got))
	}
}
