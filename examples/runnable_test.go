package examples_test

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// notRun are Examples that go test only compiles, and why.
var notRun = map[string]string{
	"handlers/conformance.Run": "it checks a server on the network, as the program that it is would",
}

// Every Example has an output, so that go test runs it; and every package that
// people import has one.
func TestExamplesRun(t *testing.T) {
	has := map[string]int{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		folder := filepath.ToSlash(filepath.Dir(strings.TrimPrefix(path, ".."+string(filepath.Separator))))
		for _, e := range doc.Examples([]*ast.File{f}...) {
			name := folder + "." + e.Name
			runs := e.Output != "" || e.EmptyOutput
			if runs == (notRun[name] != "") {
				t.Errorf("%s: has an output: %v, says that it has none: %v", name, runs, notRun[name] != "")
			}
			if e.Doc == "" {
				t.Errorf("%s does not say what it shows", name)
			}
			if runs {
				has[folder]++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"oauthreg", "storage", "handlers", "handlers/bearer", "handlers/authtest", "handlers/conformance"} {
		if has[folder] == 0 {
			t.Errorf("%s has no Example that runs", folder)
		}
	}
}
