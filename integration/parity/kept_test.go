package parity

import (
	"fmt"
	"iter"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// keptFile lists the differences that are kept. It is written for people, and
// read here:
//
//	### What differs
//	The reason, in a paragraph or two.
//	```diff
//	@@ docker swarm *
//	-what the reference prints
//	+what the other side prints
//	```
//
// A line with @@ names the commands that the lines after it are about, as the
// script has them, with * for anything; the reference is Docker Swarm for
// docker, and docker at our socket for swarmctl. Words in braces stand for any
// text, and for the same text on both sides: {reason} may become {reason}: {way out}.
const keptFile = "../../docs/parity.md"

// kept is a difference that is kept.
type kept struct {
	title string
	line  int
	about *regexp.Regexp // the commands
	what  hunk
	used  bool
}

type keptList []*kept

// parseKept reads the differences of a document. Each must have a reason.
func parseKept(text string) (keptList, error) {
	var list keptList
	var open *kept
	title, reason, inDiff := "", false, false
	for i, row := range strings.Split(text, "\n") {
		switch {
		case !inDiff && strings.HasPrefix(row, "#"):
			title, reason = strings.TrimLeft(row, "# "), false
			if !strings.HasPrefix(row, "### ") {
				title = ""
			}
		case !inDiff && row == "```diff":
			if inDiff = true; title == "" || !reason {
				return nil, fmt.Errorf("line %d: a difference without a title (###) or without a reason above it", i+1)
			}
		case inDiff && row == "```":
			inDiff, open = false, nil
		case inDiff && strings.HasPrefix(row, "@@ "):
			open = &kept{title: title, line: i + 1, about: glob(row[3:])}
			list = append(list, open)
		case inDiff && open != nil && strings.HasPrefix(row, "-"):
			open.what.minus = append(open.what.minus, row[1:])
		case inDiff && open != nil && strings.HasPrefix(row, "+"):
			open.what.plus = append(open.what.plus, row[1:])
		case inDiff:
			return nil, fmt.Errorf("line %d: %q is neither @@ COMMAND nor, below one, -LINE or +LINE", i+1, row)
		case strings.TrimSpace(row) != "":
			reason = true
		}
	}
	if inDiff {
		return nil, fmt.Errorf("the last difference is not closed")
	}
	for _, k := range list {
		if k.what.empty() {
			return nil, fmt.Errorf("line %d: %q does not say what differs", k.line, k.title)
		}
	}
	return list, nil
}

// glob is a pattern in which * stands for anything.
func glob(s string) *regexp.Regexp {
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(s), `\*`, ".*") + "$")
}

// explains reports whether a place where a command's outputs differ consists
// of kept differences and nothing else.
func (list keptList) explains(command string, h hunk) bool {
	used, fine := list.cover(command, h)
	for _, k := range used {
		k.used = true
	}
	return fine
}

// cover finds kept differences that a hunk consists of. It tries one after the
// other: what one of them covers may be a part of what a later one does.
func (list keptList) cover(command string, h hunk) ([]*kept, bool) {
	if h.empty() {
		return nil, true
	}
	for _, k := range list {
		for rest := range k.within(command, h) {
			if used, fine := list.cover(command, rest); fine {
				return append(used, k), true
			}
		}
	}
	return nil, false
}

// within yields what is left of a hunk without the difference, for each place
// where it is found.
func (k *kept) within(command string, h hunk) iter.Seq[hunk] {
	return func(yield func(hunk) bool) {
		if !k.about.MatchString(command) {
			return
		}
		for minus, left := range windows(h.minus, len(k.what.minus)) {
			bound := map[string]string{}
			if !match(k.what.minus, minus, bound) {
				continue
			}
			for plus, added := range windows(h.plus, len(k.what.plus)) {
				if match(k.what.plus, plus, maps.Clone(bound)) && !yield(hunk{left, added}) {
					return
				}
			}
		}
	}
}

// windows yields every n lines in a row, and the lines around them.
func windows(list []string, n int) iter.Seq2[[]string, []string] {
	return func(yield func([]string, []string) bool) {
		for i := 0; i+n <= len(list); i++ {
			if !yield(list[i:i+n], slices.Concat(list[:i], list[i+n:])) {
				return
			}
		}
	}
}

var placeholder = regexp.MustCompile(`\\{([a-z ]+)\\}`)

// match holds lines against a pattern. What the placeholders stand for is
// taken from bound where it is known, and added where it is not.
func match(pattern, lines []string, bound map[string]string) bool {
	var names []string
	source := placeholder.ReplaceAllStringFunc(regexp.QuoteMeta(strings.Join(pattern, "\n")), func(p string) string {
		name := p[2 : len(p)-2]
		if text, ok := bound[name]; ok {
			return regexp.QuoteMeta(text)
		}
		names = append(names, name)
		return "(.+)"
	})
	found := regexp.MustCompile("^" + source + "$").FindStringSubmatch(strings.Join(lines, "\n"))
	for i, name := range names {
		if found != nil {
			bound[name] = found[i+1]
		}
	}
	return found != nil
}

// unused are the differences that are listed and did not occur.
func (list keptList) unused() keptList {
	return slices.DeleteFunc(slices.Clone(list), func(k *kept) bool { return k.used })
}

func readKept(t *testing.T) keptList {
	t.Helper()
	text, err := os.ReadFile(keptFile)
	if err != nil {
		t.Fatal(err)
	}
	list, err := parseKept(string(text))
	if err != nil {
		t.Fatalf("%s: %v", keptFile, err)
	}
	return list
}

func TestKeptDifferences(t *testing.T) {
	list, err := parseKept("# Parity\n### Hints\nA reason.\n```diff\n@@ docker swarm *\n-a\n+b\n@@ *\n+c\n@@ *\n-rpc {code}: {text}\n+{text}: {way out}\n@@ *\n-500\n-rpc {code}: {text}\n+400\n+{text}: {way out}\n```\n")
	if err != nil || len(list) != 4 {
		t.Fatal(len(list), err)
	}
	for _, c := range []struct {
		command string
		h       hunk
		fine    bool
	}{
		{"docker swarm init", hunk{[]string{"a"}, []string{"b"}}, true},
		{"docker swarm init", hunk{[]string{"a"}, []string{"b", "c"}}, true},
		{"docker swarm init", hunk{[]string{"a"}, []string{"b", "d"}}, false},
		{"docker node ls", hunk{[]string{"a"}, []string{"b"}}, false},
		{"docker node ls", hunk{nil, []string{"c"}}, true},
		{"docker node ls", hunk{[]string{"rpc 5: no x"}, []string{"no x: add one"}}, true},
		{"docker node ls", hunk{[]string{"rpc 5: no x"}, []string{"no y: add one"}}, false},
		{"docker node ls", hunk{[]string{"500", "rpc 5: no x"}, []string{"400", "no x: add one"}}, true},
		{"docker node ls", hunk{[]string{"rpc 5: no x"}, []string{"no x"}}, false},
	} {
		for _, k := range list {
			k.used = false
		}
		if got := list.explains(c.command, c.h); got != c.fine {
			t.Errorf("%s: %v is explained: %v", c.command, c.h, got)
		} else if used := len(list.unused()) < len(list); used != c.fine {
			t.Errorf("%s: %v: an entry counts as used: %v", c.command, c.h, used)
		}
	}
	for _, bad := range []string{
		"### No reason\n```diff\n@@ *\n+c\n```\n",
		"A reason without a title\n```diff\n@@ *\n+c\n```\n",
		"### Nothing\ndiffers\n```diff\n@@ *\n```\n",
		"### About\nwhat?\n```diff\n+c\n```\n",
		"### Open\nend\n```diff\n@@ *\n+c\n",
	} {
		if _, err := parseKept(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
