package main

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
)

// The console is where the output says, for whoever has the admin key, and counts
// what the server does; -console off takes it away.
func TestConsoleFlag(t *testing.T) {
	for _, path := range []string{"", "/auth"} {
		s := launch(t, "-issuer", "http://127.0.0.1:0"+path)
		at, _, _ := strings.Cut(s.line("admin console"), " ")
		if at != s.issuer+"/admin" {
			t.Fatalf("the output says %q", at)
		}
		jar, err := cookiejar.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		browser := &http.Client{Jar: jar}
		page := func(resp *http.Response, err error) string {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			b, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("%d %v", resp.StatusCode, err)
			}
			return string(b)
		}
		_, rest, _ := strings.Cut(page(browser.Get(at)), `name="csrf_token" value="`)
		token, _, _ := strings.Cut(rest, `"`)
		key := s.line("admin key")
		used.Add("admin key", key)
		overview := page(browser.PostForm(at+"/sign-in", url.Values{"csrf_token": {token}, "key": {key}}))
		if !strings.Contains(overview, "<strong>1</strong> client<") || !strings.Contains(overview, "Requests in each minute of the last hour: 0 in all") {
			t.Errorf("the first page:\n%s", overview)
		}
		page(http.Get(s.issuer + "/healthz"))
		if again := page(browser.Get(at)); !strings.Contains(again, "Requests in each minute of the last hour: 1 in all") {
			t.Error("a request was not counted")
		}
		if clients := page(browser.Get(at + "/clients")); !strings.Contains(clients, "Demo client") {
			t.Error("the demo client is not there")
		}
	}

	off := launch(t, "-console", "off")
	resp, err := http.Get(off.issuer + "/admin")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound || off.line("admin console") != "" {
		t.Errorf("off: %d, and the output says %q", resp.StatusCode, off.line("admin console"))
	}
}
