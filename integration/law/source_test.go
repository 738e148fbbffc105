package law

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/swarmctl/swarmctl"
	root   = "../.."
)

// source is one Go file of the project.
type source struct {
	file string // from the root of the project
	pkg  string // the folder it is in, "." for the root
	tree *ast.File
}

func (s source) isTest() bool { return strings.HasSuffix(s.file, "_test.go") }

// imports are the paths that the file imports; those of the project without
// the module's path, "./" being its root.
func (s source) imports(t *testing.T) []string {
	var out []string
	for _, spec := range s.tree.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatalf("%s: %v", s.file, err)
		}
		if inside, ok := strings.CutPrefix(p, module); ok {
			p = "." + inside // "./api"
		}
		out = append(out, p)
	}
	return out
}

// sources parses every Go file of the project.
func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "bin") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		tree, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		file, err := filepath.Rel(root, p)
		out = append(out, source{file, path.Dir(filepath.ToSlash(file)), tree})
		return err
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("%d Go files found: %v", len(out), err)
	}
	return out
}

// under reports whether a path is one of the folders or below one of them.
func under(p string, folders ...string) bool {
	for _, f := range folders {
		if p == f || strings.HasPrefix(p, f+"/") {
			return true
		}
	}
	return false
}
