package scheduler

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/swarmctl/swarmctl/api"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// TestScenarios runs the scenarios of testdata. A section is "do", lines that
// change the world (see world); "plan", what the next plan decides, which is
// then carried out; "explain TASK", what keeps a task from each node.
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
	w := newWorld(t)
	for i := range archive.Files {
		section := &archive.Files[i]
		verb, arg, _ := strings.Cut(section.Name, " ")
		var got string
		switch verb {
		case "do":
			w.do(strings.Split(string(section.Data), "\n")...)
			continue
		case "plan":
			d := w.cluster.Plan(w.now, math.MaxInt)
			w.carryOut(d)
			got = describe(d)
		case "explain":
			for _, n := range Explain(w.state.View(), w.state.View().Task(api.TaskID(arg))) {
				got += n.String() + "\n"
			}
		default:
			t.Fatalf("what is section %q?", section.Name)
		}
		if *update {
			section.Data = []byte(got)
		} else if want := string(section.Data); got != want {
			t.Errorf("section %d, %s: got\n%swant\n%s", i+1, section.Name, got, want)
		}
		audit(t, w.cluster, w.state.View())
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func describe(d Decision) string {
	var b strings.Builder
	for _, a := range d.Assign {
		fmt.Fprintf(&b, "%s -> %s", a.Task, a.Node)
		for _, r := range a.Generic {
			if n := r.NamedResourceSpec; n != nil {
				fmt.Fprintf(&b, " %s=%s", n.Kind, n.Value)
			} else {
				fmt.Fprintf(&b, " %s=%d", r.DiscreteResourceSpec.Kind, r.DiscreteResourceSpec.Value)
			}
		}
		b.WriteByte('\n')
	}
	for _, r := range d.Refuse {
		fmt.Fprintf(&b, "%s: %s\n", r.Task.ID, r.Err)
	}
	return b.String()
}
