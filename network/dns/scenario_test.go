package dns

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/swarmctl/swarmctl/api"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestScenarios runs the scenarios of testdata. A section is "do", lines that
// change the world (see world); "ask NETWORK ADDR", questions that come from an
// address in a network with what they are answered; "explain NETWORK... NAME".
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { runScenario(t, file) })
	}
}

func runScenario(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	for i := range archive.Files {
		section := &archive.Files[i]
		words := strings.Fields(section.Name)
		var got string
		switch words[0] {
		case "do":
			w.do(strings.Split(string(section.Data), "\n")...)
			continue
		case "ask":
			got = w.askAll(words[1], words[2], string(section.Data))
		case "explain":
			got = strings.Join(Explain(w.set, networkIDs(words[1:len(words)-1]), words[len(words)-1]), "\n") + "\n"
		default:
			t.Fatalf("what is section %q?", section.Name)
		}
		if *update {
			section.Data = []byte(got)
		} else if want := string(section.Data); got != want {
			t.Errorf("section %d, %s: got\n%swant\n%s", i+1, section.Name, got, want)
		}
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// askAll answers lines like "web A -> ...". The others are prose.
func (w *world) askAll(network, from, lines string) string {
	var out strings.Builder
	table := w.table()
	for line := range strings.Lines(lines) {
		what, _, asks := strings.Cut(strings.TrimSpace(line), " ->")
		if !asks {
			out.WriteString(line)
			continue
		}
		name, qtype, _ := strings.Cut(what, " ")
		out.WriteString(what + " -> " + w.ask(table, network, from, name, qtype) + "\n")
	}
	return out.String()
}

func networkIDs(names []string) (out []api.NetworkID) {
	for _, n := range names {
		out = append(out, api.NetworkID(n))
	}
	return out
}
