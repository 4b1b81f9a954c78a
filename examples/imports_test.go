// Package examples_test keeps what holds for the module as a whole: who may
// import whom, and the floors of its dependencies.
package examples_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/oauthreg/oauthreg"

// A folderRule says what the packages of a top-level folder may import.
type folderRule struct {
	// only, when set, lists what may be imported from outside the standard
	// library and the folder itself.
	only []string
	// never lists what may not be imported.
	never []string
}

// folders is the architecture; change it here first, in a commit that says why.
//
//	examples/ ──► handlers/ ──► oauthreg/ ◄── storage/ ◄── examples/
//
// handlers and storage do not know each other: they meet in interfaces that
// oauthreg and fosite declare, and in the program that wires them. One package is
// such a program although a library imports it: handlers/authtest, the running
// server for tests. Nothing else in the module may import it.
var folders = map[string]folderRule{
	"oauthreg": {
		only:  []string{"golang.org/x/crypto", "github.com/go-jose/go-jose/v4", "github.com/google/uuid"},
		never: []string{"net/http", "database/sql"},
	},
	"storage":  {never: []string{module + "/handlers", module + "/examples", "net/http", "go.opentelemetry.io/otel/sdk", "github.com/prometheus"}},
	"handlers": {never: []string{module + "/storage", module + "/examples", module + "/" + testServer, "gorm.io", "database/sql", "go.opentelemetry.io/otel/sdk", "github.com/prometheus"}},
	testServer: {never: []string{module + "/examples", "gorm.io", "database/sql", "go.opentelemetry.io/otel/sdk", "github.com/prometheus"}},
	"examples": {never: []string{module + "/" + testServer}},
	"testdata": {},
}

// testServer is the folder with the rule of its own.
const testServer = "handlers/authtest"

// folderOf is the entry of folders that a file belongs to; known is false when
// there is none.
func folderOf(name string) (folder string, known bool) {
	if strings.HasPrefix(name, testServer+"/") {
		return testServer, true
	}
	folder, _, below := strings.Cut(name, "/")
	_, known = folders[folder]
	return folder, below && known
}

// forbidden says why a package of folder may not import p, or nothing if it may.
func (r folderRule) forbidden(folder, p string) string {
	for _, n := range r.never {
		if within(p, n) {
			return "never imports " + n
		}
	}
	first, _, _ := strings.Cut(p, "/")
	standard := !strings.Contains(first, ".")
	if r.only == nil || standard || within(p, module+"/"+folder) || slices.ContainsFunc(r.only, func(o string) bool { return within(p, o) }) {
		return ""
	}
	return "imports only the standard library and " + strings.Join(r.only, ", ")
}

// within reports whether p is pkg or lies below it.
func within(p, pkg string) bool { return p == pkg || strings.HasPrefix(p, pkg+"/") }

// The packages import each other in the directions of folders only. Tests are
// free: they wire the parts together.
func TestImports(t *testing.T) {
	files := map[string]int{}
	err := fs.WalkDir(os.DirFS(".."), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		folder, known := folderOf(name)
		rule := folders[folder]
		if !known {
			t.Errorf("%s: Go code lives in oauthreg, storage, handlers and examples", name)
			return nil
		}
		files[folder]++
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", filepath.FromSlash(name)), nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if why := rule.forbidden(folder, p); why != "" {
				t.Errorf("%s imports %q: %s %s", name, p, folder, why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"oauthreg", "storage", "handlers", testServer, "examples"} {
		if files[folder] == 0 {
			t.Errorf("no Go file found in %s: the walk is wrong", folder)
		}
	}
}

// A resource server that takes handlers/bearer alone gets one module with it.
func TestBearerStandsAlone(t *testing.T) {
	names, err := filepath.Glob("../handlers/bearer/*.go")
	if err != nil || len(names) == 0 {
		t.Fatalf("found %v, %v", names, err)
	}
	rule := folderRule{only: []string{"github.com/go-jose/go-jose/v4"}}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if why := rule.forbidden("handlers/bearer", p); why != "" {
				t.Errorf("%s imports %q: handlers/bearer %s", name, p, why)
			}
		}
	}
}

// The rule itself refuses what it is there for.
func TestImportRules(t *testing.T) {
	tests := []struct {
		folder, imports string
		want            bool // allowed
	}{
		{"oauthreg", "crypto/rand", true},
		{"oauthreg", "golang.org/x/crypto/bcrypt", true},
		{"oauthreg", module + "/oauthreg/internal/x", true},
		{"oauthreg", "net/http", false},
		{"oauthreg", "net/http/httptest", false},
		{"oauthreg", "database/sql", false},
		{"oauthreg", "github.com/ory/fosite", false},
		{"oauthreg", "gorm.io/gorm", false},
		{"oauthreg", "golang.org/x/cryptography", false},
		{"oauthreg", module + "/storage", false},
		{"oauthreg", module + "/handlers", false},
		{"storage", module + "/oauthreg", true},
		{"storage", "gorm.io/gorm", true},
		{"storage", module + "/handlers/bearer", false},
		{"storage", "net/http", false},
		{"handlers", "net/http", true},
		{"handlers", "github.com/ory/fosite/storage", true},
		{"handlers", module + "/storage", false},
		{"handlers", "gorm.io/gorm/clause", false},
		{"handlers", module + "/examples/standalone", false},
		{"handlers", module + "/handlers/authtest", false},
		{"handlers/authtest", module + "/handlers", true},
		{"handlers/authtest", module + "/storage", true},
		{"handlers/authtest", module + "/examples/standalone", false},
		{"handlers/authtest", "gorm.io/gorm", false},
		{"storage", module + "/handlers/authtest", false},
		{"examples", module + "/storage", true},
		{"examples", module + "/handlers/authtest", false},
	}
	for _, tt := range tests {
		if got := folders[tt.folder].forbidden(tt.folder, tt.imports) == ""; got != tt.want {
			t.Errorf("%s imports %s: got %v, want %v", tt.folder, tt.imports, got, tt.want)
		}
	}
}
