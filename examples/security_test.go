package examples_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Every row of the checklist in SECURITY.md names tests that exist, or says that
// the feature is not offered.
func TestSecurityChecklist(t *testing.T) {
	declared := testNames(t)
	doc, err := os.ReadFile("../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, checklist, found := strings.Cut(string(doc), "\n## Checklist\n")
	if !found {
		t.Fatal("SECURITY.md has no checklist")
	}
	name := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	rows := 0
	for line := range strings.Lines(checklist) {
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.HasPrefix(line, "| statement") {
			continue
		}
		rows++
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 2 || strings.TrimSpace(cells[0]) == "" || strings.TrimSpace(cells[1]) == "" {
			t.Errorf("an empty cell: %s", line)
			continue
		}
		tests := name.FindAllStringSubmatch(cells[1], -1)
		if len(tests) == 0 && strings.TrimSpace(cells[1]) != "not offered" {
			t.Errorf("no test: %s", line)
		}
		for _, m := range tests {
			if !declared[m[1]] {
				t.Errorf("there is no %s: %s", m[1], line)
			}
		}
	}
	if rows < 60 {
		t.Errorf("%d rows, want the whole checklist", rows)
	}
}
