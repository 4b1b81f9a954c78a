package examples_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// testNames is every test and fuzz test of the module, exampleNames every Example.
func testNames(t *testing.T) map[string]bool    { return declaredInTests(t, `(?:Test|Fuzz)\w+`) }
func exampleNames(t *testing.T) map[string]bool { return declaredInTests(t, `Example\w*`) }

func declaredInTests(t *testing.T, pattern string) map[string]bool {
	t.Helper()
	declared := map[string]bool{}
	decl := regexp.MustCompile(`(?m)^func (` + pattern + `)\(`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range decl.FindAllSubmatch(b, -1) {
			declared[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return declared
}

// specified are the specifications of which SPECIFICATIONS.md has to have a row.
var specified = []string{
	"RFC 6749", "RFC 6750", "RFC 7009", "RFC 7517", "RFC 7518", "RFC 7519", "RFC 7523", "RFC 7591", "RFC 7592",
	"RFC 7636", "RFC 7662", "RFC 8252", "RFC 8414", "RFC 8707", "RFC 9068", "RFC 9101", "RFC 9207", "RFC 9700", "RFC 9728",
	"draft-ietf-oauth-client-id-metadata-document-02", "MCP authorization (2025-11-25)",
	"OpenID Connect Core", "OpenID Connect Discovery", "OpenID Connect Registration", "OpenID Connect RP-Initiated Logout",
	"OpenID Connect Back-Channel Logout", "OpenID Connect Front-Channel Logout", "OAuth 2.0 Form Post Response Mode",
}

// Every row of SPECIFICATIONS.md names files and tests that exist, and lines of
// TestBadRequests that are in its table.
func TestSpecifications(t *testing.T) {
	declared := testNames(t)
	doc, err := os.ReadFile("../SPECIFICATIONS.md")
	if err != nil {
		t.Fatal(err)
	}
	offered, rest, found := strings.Cut(string(doc), "\n## What is not offered, and why\n")
	if !found || !strings.Contains(rest, "\n| ") {
		t.Error("SPECIFICATIONS.md does not say what is not offered")
	}
	file := regexp.MustCompile("`([^`]+)`")
	name := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`([^`]*)")
	number := regexp.MustCompile(`\d+`)
	seen := map[string]bool{}
	for line := range strings.Lines(offered) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| specification |") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 5 {
			t.Errorf("not five cells: %s", line)
			continue
		}
		seen[strings.TrimSpace(cells[0])] = true
		files := file.FindAllStringSubmatch(cells[3], -1)
		tests := name.FindAllStringSubmatch(cells[4], -1)
		if len(files) == 0 || len(tests) == 0 {
			t.Errorf("no file or no test: %s", line)
		}
		for _, m := range files {
			_, errHandlers := os.Stat(filepath.Join("../handlers", m[1]))
			_, errRoot := os.Stat(filepath.Join("..", m[1]))
			if errHandlers != nil && errRoot != nil {
				t.Errorf("there is no file %s: %s", m[1], line)
			}
		}
		for _, m := range tests {
			if !declared[m[1]] {
				t.Errorf("there is no %s: %s", m[1], line)
			}
			if m[1] != "TestBadRequests" {
				continue
			}
			for _, n := range number.FindAllString(m[2], -1) {
				if i, err := strconv.Atoi(n); err != nil || i < 1 || i > 162 {
					t.Errorf("TestBadRequests has no line %s: %s", n, line)
				}
			}
		}
	}
	for _, s := range specified {
		if !seen[s] {
			t.Errorf("no row of %s", s)
		}
	}
}

// Every module that go.mod requires itself has a reason in CONTRIBUTING.md, once,
// and nothing has that is not required.
func TestDependenciesHaveReasons(t *testing.T) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	direct := map[string]bool{}
	for line := range strings.Lines(string(mod)) {
		f := strings.Fields(strings.TrimPrefix(line, "require "))
		if len(f) >= 2 && strings.HasPrefix(f[1], "v") && !strings.Contains(line, "// indirect") {
			direct[f[0]] = true
		}
	}
	if len(direct) < 20 {
		t.Fatalf("%d direct requirements: go.mod is read wrongly", len(direct))
	}
	doc, err := os.ReadFile("../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(doc), "\n## Dependencies\n")
	table, _, _ = strings.Cut(table, "\n\nThe indirect requirements")
	module := regexp.MustCompile("`([^`]+)`")
	rows := map[string]int{}
	for line := range strings.Lines(table) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 2 || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| module") {
			continue
		}
		if strings.TrimSpace(cells[1]) == "" {
			t.Errorf("no reason: %s", line)
		}
		for _, m := range module.FindAllStringSubmatch(cells[0], -1) {
			rows[m[1]]++
		}
	}
	for m := range direct {
		if rows[m] != 1 {
			t.Errorf("%s has %d lines in CONTRIBUTING.md, want 1", m, rows[m])
		}
	}
	for m := range rows {
		if !direct[m] {
			t.Errorf("CONTRIBUTING.md has a line on %s, which go.mod does not require itself", m)
		}
	}
}
