package law

import (
	"go/ast"
	"strings"
	"testing"
)

func TestEveryPackageHasOneDocComment(t *testing.T) {
	docs := map[string][]string{} // package to the files with a doc comment
	for _, s := range sources(t) {
		if s.isTest() || ast.IsGenerated(s.tree) {
			continue
		}
		if _, ok := docs[s.pkg]; !ok {
			docs[s.pkg] = nil
		}
		if s.tree.Doc != nil {
			docs[s.pkg] = append(docs[s.pkg], s.file)
		}
		if text := s.tree.Doc.Text(); s.tree.Doc != nil && s.tree.Name.Name != "main" && !strings.HasPrefix(text, "Package "+s.tree.Name.Name+" ") {
			t.Errorf("%s: the doc comment of package %s begins with %q: let it begin with its name, as go doc shows it", s.file, s.tree.Name.Name, strings.SplitN(text, "\n", 2)[0])
		}
	}
	for pkg, files := range docs {
		switch len(files) {
		case 1:
		case 0:
			t.Errorf("package %s has no doc comment: say what it does, when it is used, what it hands on", pkg)
		default:
			t.Errorf("package %s has %d doc comments, go doc would join them: keep one of %s", pkg, len(files), strings.Join(files, ", "))
		}
	}
}
