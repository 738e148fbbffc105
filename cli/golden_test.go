package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write what the commands print into testdata")

// TestGolden runs the sessions of testdata: lines that start with "$ " are
// command lines, what follows is what they print (out|, err|) and return. A
// session has a world of its own; -rewrite records it anew.
func TestGolden(t *testing.T) {
	sessions, err := filepath.Glob("testdata/*.golden")
	if err != nil || len(sessions) == 0 {
		t.Fatalf("no sessions: %v", err)
	}
	for _, name := range sessions {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".golden"), func(t *testing.T) {
			t.Parallel()
			want, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld()
			got := play(w, w.start(t), string(want))
			if *rewrite {
				if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(want) {
				t.Errorf("%s: what is printed has changed (run with -rewrite to record it):\n%s", name, firstDifference(string(want), got))
			}
		})
	}
}

// play runs a session's commands and returns the session as it went.
func play(w *world, addr, session string) string {
	var b strings.Builder
	for line := range strings.Lines(session) {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			b.WriteString(line)
			continue
		}
		command, ok := strings.CutPrefix(line, "$ ")
		if !ok {
			continue // what was printed last time
		}
		b.WriteString(line)
		words, err := splitWords(command)
		if err != nil {
			fmt.Fprintf(&b, "bad line: %v\n", err)
			continue
		}
		if words[0] == "world" {
			w.change(words[1:])
			continue
		}
		var out, errs bytes.Buffer
		code := w.app().Run(w.context(), append([]string{"--socket", addr}, words...), strings.NewReader(w.input), &out, &errs)
		text := prefixed("out", out.String()) + prefixed("err", errs.String())
		b.WriteString(strings.ReplaceAll(text, addr, "ADDR"))
		fmt.Fprintf(&b, "exit %d\n", code)
	}
	return b.String()
}

// app is the command line with this world's clock and no terminal. Its clock
// runs from the world's time, so that waits end.
func (w *world) app() App {
	start, tty := time.Now(), false
	return App{Version: "1.2.3", tty: &tty, now: func() time.Time { return w.now.Add(time.Since(start)) }}
}

func prefixed(name, text string) string {
	if text == "" {
		return ""
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(name+"| "+l, " ")
	}
	return strings.Join(lines, "\n") + "\n"
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		if i >= len(w) || i >= len(g) || w[i] != g[i] {
			show := func(l []string) string { return strings.Join(l[min(max(0, i-2), len(l)):min(i+4, len(l))], "\n") }
			return fmt.Sprintf("line %d\n--- recorded\n%s\n--- now\n%s", i+1, show(w), show(g))
		}
	}
	return ""
}
