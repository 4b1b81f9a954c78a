package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// The commands that the README's first section shows are those that the server
// prints, with values shortened to "…".
func TestReadmeFlow(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Try it\n")
	section, _, _ = strings.Cut(section, "\n## ")
	demo := demoClient(masterKey(make([]byte, 32)))
	demo.Client.ResponseTypes = []string{"code"} // as registration derives it
	printed := firstFlow("http://127.0.0.1:9096", []oauthreg.Client{demo.Client}, demo.Secret, "sign in as demo")
	commands := 0
	for line := range strings.Lines(section) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		if !ok || strings.HasPrefix(command, "go run") {
			continue
		}
		commands++
		pattern := strings.ReplaceAll(regexp.QuoteMeta(command), "…", `\S+`)
		if !regexp.MustCompile(`(?m)^  ` + pattern + `$`).MatchString(printed) {
			t.Errorf("the server does not print %s\nbut\n%s", command, printed)
		}
	}
	if want := strings.Count(printed, "curl -sS"); commands != want {
		t.Errorf("the README shows %d commands, the server prints %d", commands, want)
	}
}
