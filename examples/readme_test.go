package examples_test

import (
	"os"
	"strings"
	"testing"
)

// What the README shows of Go is in these files, between marks or as a whole,
// where it is compiled and tested.
func TestReadmePrograms(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"clienttest/client_test.go", "embedded/auth.go"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		program := string(source)
		if _, marked, ok := strings.Cut(program, "// README begin\n\n"); ok {
			program, _, _ = strings.Cut(marked, "\n// README end")
		}
		if !strings.Contains(string(readme), "```go\n"+program+"```\n") {
			t.Errorf("README.md does not have the program of %s", file)
		}
		if lines := strings.Count(program, "\n"); file == "embedded/auth.go" && lines > 45 {
			t.Errorf("the wiring of an embedding program has grown to %d lines", lines)
		}
	}
}
