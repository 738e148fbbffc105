package parity

import (
	"fmt"
	"strings"
	"testing"
)

// edit is a line of a diff: both sides have it (' '), only the first ('-') or
// only the second ('+').
type edit struct {
	kind byte
	text string
}

// diff is the shortest way from a to b.
func diff(a, b []string) []edit {
	common := make([][]int, len(a)+1) // length of the longest common sequence of a[i:] and b[j:]
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if common[i][j] = max(common[i+1][j], common[i][j+1]); a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	var edits []edit
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			edits = append(edits, edit{' ', a[i]})
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || common[i+1][j] >= common[i][j+1]):
			edits = append(edits, edit{'-', a[i]})
			i++
		default:
			edits = append(edits, edit{'+', b[j]})
			j++
		}
	}
	return edits
}

// hunk is one place where two sides differ.
type hunk struct{ minus, plus []string }

func (h hunk) empty() bool { return len(h.minus)+len(h.plus) == 0 }

func hunks(edits []edit) []hunk {
	var out []hunk
	open := hunk{}
	for _, e := range append(edits, edit{kind: ' '}) {
		switch e.kind {
		case '-':
			open.minus = append(open.minus, e.text)
		case '+':
			open.plus = append(open.plus, e.text)
		default:
			if !open.empty() {
				out = append(out, open)
			}
			open = hunk{}
		}
	}
	return out
}

// around is how many common lines are shown around a difference.
const around = 3

// unified shows a diff, with the common lines near a difference.
func unified(edits []edit) string {
	near := make([]bool, len(edits))
	for i, e := range edits {
		if e.kind == ' ' {
			continue
		}
		for k := max(0, i-around); k <= min(len(edits)-1, i+around); k++ {
			near[k] = true
		}
	}
	var out strings.Builder
	for i, e := range edits {
		if near[i] {
			fmt.Fprintf(&out, "  %c%s\n", e.kind, e.text)
		} else if i > 0 && near[i-1] {
			out.WriteString("  ...\n")
		}
	}
	return out.String()
}

// whole shows a diff with all that is common.
func whole(edits []edit) string {
	var out strings.Builder
	for _, e := range edits {
		fmt.Fprintf(&out, "  %c%s\n", e.kind, e.text)
	}
	return out.String()
}

func TestDiff(t *testing.T) {
	a, b := strings.Split("abcdefgh", ""), strings.Split("xbcdeYfhz", "")
	want := "  -a\n  +x\n   b\n   c\n   d\n   e\n  +Y\n   f\n  -g\n   h\n  +z\n"
	if got := unified(diff(a, b)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if got := fmt.Sprint(hunks(diff(a, b))); got != "[{[a] [x]} {[] [Y]} {[g] []} {[] [z]}]" {
		t.Errorf("hunks: %s", got)
	}
	if len(hunks(diff(a, a))) != 0 {
		t.Error("a list differs from itself")
	}
}
