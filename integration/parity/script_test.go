package parity

import (
	"cmp"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// script is a sequence of commands, from the head of a txtar file; the files
// in it are where the commands run.
//
//	docker ARG...                   what it prints must be the same on both sides
//	! docker ARG...                 the same, and Docker Swarm must refuse it
//	http METHOD PATH [BODY]         a request to the API; its answer must be the same
//	do docker ARG...                must succeed; what it prints does not count
//	let NAME docker ARG...          the same, and $NAME is what it prints
//	await REGEX docker ARG...       again and again, until what it prints matches
//	start NAME docker ARG...        in the background, until
//	stop NAME                       which compares what it printed
//	ready NAME REGEX docker ARG...  again and again, until NAME prints a line that matches; such lines do not count
//	seen NAME REGEX                 waits until NAME has printed a line that matches
//
// Before docker, h2: runs it on another host (h1 is the manager, h2 a worker,
// h3 no member), <FILE gives it a file to read, and sorted sorts the lines
// that it prints. Words are quoted as in a shell; $IMAGE is an image that every host has.
type script struct {
	name  string
	steps []step
	files []txtar.File
}

type step struct {
	line     int
	text     string
	verb     string
	name     string
	want     *regexp.Regexp
	fails    bool
	compared bool
	run      command
}

// command is a docker command.
type command struct {
	host   int    // from 0
	stdin  string // the name of a file, or empty
	sorted bool
	args   []word // without docker itself
}

// word is one word of a line. What was in single quotes is not expanded.
type word struct{ parts []part }

type part struct {
	text    string
	literal bool
}

func (w word) expand(vars map[string]string) string {
	out := ""
	for _, p := range w.parts {
		text := p.text
		if !p.literal {
			text = variable.ReplaceAllStringFunc(text, func(s string) string {
				if v, ok := vars[s[1:]]; ok {
					return v
				}
				return s
			})
		}
		out += text
	}
	return out
}

var variable = regexp.MustCompile(`\$[A-Za-z][A-Za-z0-9_]*`)

func readScripts(t *testing.T, dir string) []*script {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", dir, "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scripts found (%v)", len(files), err)
	}
	var scripts []*script
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseScript(filepath.Join(dir, strings.TrimSuffix(filepath.Base(file), ".txtar")), a)
		if err != nil {
			t.Fatal(err)
		}
		scripts = append(scripts, s)
	}
	// Jobs come last: Docker Swarm keeps their tasks when their services are gone.
	slices.SortStableFunc(scripts, func(a, b *script) int {
		return cmp.Compare(strings.Count(a.name, "jobs"), strings.Count(b.name, "jobs"))
	})
	return scripts
}

func parseScript(name string, a *txtar.Archive) (*script, error) {
	s := &script{name: name, files: a.Files}
	for i, text := range strings.Split(string(a.Comment), "\n") {
		text = strings.TrimSpace(text)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		st, err := parseStep(text)
		if err != nil {
			return nil, fmt.Errorf("%s.txtar:%d: %s: %w", name, i+1, text, err)
		}
		st.line, st.text = i+1, text
		s.steps = append(s.steps, st)
	}
	return s, nil
}

// operands says which words follow each verb: n a name, r a regular
// expression, c a command, w words for the verb itself.
var operands = map[string]string{
	"": "c", "!": "c", "http": "w", "do": "c", "let": "nc", "await": "rc", "start": "nc", "stop": "n", "ready": "nrc", "seen": "nr",
}

func parseStep(text string) (step, error) {
	words, err := split(text)
	if err != nil {
		return step{}, err
	}
	st := step{}
	if first := words[0].expand(nil); operands[first] != "" {
		st.verb, words = first, words[1:]
	}
	st.fails, st.compared = st.verb == "!", slices.Contains([]string{"", "!", "http", "stop"}, st.verb)
	for _, kind := range operands[st.verb] {
		if len(words) == 0 {
			return st, fmt.Errorf("%q needs more words", st.verb)
		}
		switch kind {
		case 'n':
			st.name, words = words[0].expand(nil), words[1:]
		case 'r':
			if st.want, err = regexp.Compile("(?m)" + words[0].expand(nil)); err != nil {
				return st, err
			}
			words = words[1:]
		case 'w':
			st.run.args = words
			return st, nil
		case 'c':
			st.run, err = parseCommand(words)
			return st, err
		}
	}
	if len(words) > 0 {
		return st, fmt.Errorf("%q is not understood here", words[0].expand(nil))
	}
	return st, nil
}

var onHost = regexp.MustCompile(`^h([1-3]):$`)

func parseCommand(words []word) (command, error) {
	c := command{}
	for i, w := range words {
		switch text := w.expand(nil); {
		case onHost.MatchString(text):
			c.host = int(text[1] - '1')
		case strings.HasPrefix(text, "<"):
			c.stdin = text[1:]
		case text == "sorted":
			c.sorted = true
		case text == "docker":
			c.args = words[i+1:]
			return c, nil
		default:
			return c, fmt.Errorf("%q is neither a verb nor docker", text)
		}
	}
	return c, fmt.Errorf("it has no command")
}

// split splits a line into words as a shell does.
func split(text string) ([]word, error) {
	var words []word
	var open *word
	add := func(s string, literal bool) {
		if open == nil {
			open = &word{}
		}
		open.parts = append(open.parts, part{s, literal})
	}
	for len(text) > 0 {
		switch c := text[0]; c {
		case ' ', '\t':
			if open != nil {
				words, open = append(words, *open), nil
			}
			text = text[1:]
		case '\'', '"':
			end := strings.IndexByte(text[1:], c)
			if end < 0 {
				return nil, fmt.Errorf("a %c is not closed", c)
			}
			add(text[1:end+1], c == '\'')
			text = text[end+2:]
		default:
			end := strings.IndexAny(text, " \t'\"")
			if end < 0 {
				end = len(text)
			}
			add(text[:end], false)
			text = text[end:]
		}
	}
	if open != nil {
		words = append(words, *open)
	}
	return words, nil
}

func TestVariablesAndQuotes(t *testing.T) {
	for text, want := range map[string]string{
		`docker service ps $web`:                          `service|ps|ID`,
		`docker ls --format '{{.ID}} $web' -f "a=b $web"`: `ls|--format|{{.ID}} $web|-f|a=b ID`,
		`docker create --label=x='a  b' $nothing ""`:      `create|--label=x=a  b|$nothing|`,
	} {
		st, err := parseStep(text)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range st.run.args {
			got = append(got, w.expand(map[string]string{"web": "ID"}))
		}
		if strings.Join(got, "|") != want {
			t.Errorf("%s: %q", text, got)
		}
	}
	for _, bad := range []string{`frobnicate x`, `docker 'x`, `let web`, `await ( docker ps`, `stop a b`, `h2: <f`} {
		if _, err := parseStep(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
