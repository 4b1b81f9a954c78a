package examples_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the documents at the root link to in the repository is there, the headings
// included; and every test and Example that they name exists.
func TestLinks(t *testing.T) {
	docs, err := filepath.Glob("../*.md")
	if err != nil || len(docs) < 6 {
		t.Fatalf("documents: %v %v", docs, err)
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	named := regexp.MustCompile("`((?:Test|Fuzz|Example)[A-Z_]\\w*)`")
	declared := testNames(t)
	for name := range exampleNames(t) {
		declared[name] = true
	}
	for _, doc := range docs {
		b, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		once := map[string]bool{}
		for _, h := range heading.FindAllStringSubmatch(string(b), -1) {
			if once[h[0]] && !strings.Contains(doc, "CHANGELOG") {
				t.Errorf("%s has %q twice", doc, h[0])
			}
			once[h[0]] = true
		}
		for _, m := range named.FindAllStringSubmatch(string(b), -1) {
			if !declared[m[1]] {
				t.Errorf("%s: there is no %s", doc, m[1])
			}
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			file, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := doc
			if file != "" {
				target = filepath.Join("..", file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", doc, m[1])
				continue
			}
			if anchor == "" {
				continue
			}
			text, err := os.ReadFile(target)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, h := range heading.FindAllStringSubmatch(string(text), -1) {
				found = found || slug(h[1]) == anchor
			}
			if !found {
				t.Errorf("%s links to %s, which has no such heading", doc, m[1])
			}
		}
	}
}

// slug is the anchor of a heading.
func slug(heading string) string {
	kept := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return -1
	}, strings.ToLower(heading))
	return kept
}

// Every metric that is measured stands in the documentation of its package.
func TestMetricsAreDocumented(t *testing.T) {
	made := regexp.MustCompile(`(?:counter|histogram|Int64\w+|Float64\w+)\("([a-z][a-z0-9_.]+)"`)
	for folder, sources := range map[string]string{"handlers": "../handlers/telemetry*.go", "storage": "../storage/telemetry.go"} {
		doc, err := os.ReadFile("../" + folder + "/doc.go")
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(sources)
		if err != nil {
			t.Fatal(err)
		}
		names := 0
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range made.FindAllStringSubmatch(string(b), -1) {
				names++
				if !strings.Contains(string(doc), "//\t"+m[1]+" ") {
					t.Errorf("%s/doc.go does not tell of %s, which %s measures", folder, m[1], file)
				}
			}
		}
		if names < 4 {
			t.Errorf("%d metrics found in %s", names, sources)
		}
	}
}
