package edit

import (
	"strings"
	"testing"
)

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "ab", 2}, {"image", "image", 0}, {"imagee", "image", 1}, {"imge", "image", 1}, {"imaje", "image", 1},
		{"iamge", "image", 1}, {"kitten", "sitting", 3}, {strings.Repeat("x", 1<<20), "image", 6},
	} {
		if got := Distance(c.a, c.b, 5); got != c.want {
			t.Errorf("from %.20q to %q: %d, want %d", c.a, c.b, got, c.want)
		}
		if got := Distance(c.b, c.a, 5); got != c.want {
			t.Errorf("from %q to %.20q: %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
