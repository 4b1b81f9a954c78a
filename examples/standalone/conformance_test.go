package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/handlers/conformance"
)

// The flag against the program itself, with its limits on: as the README says
// with the demo client, and with a file that has all there is.
func TestConformanceFlag(t *testing.T) {
	s := launch(t)
	_, password, _ := strings.Cut(s.line("demo user"), " password ")
	_, secret, _ := strings.Cut(s.line("demo client"), " secret ")
	noWait := filepath.Join(t.TempDir(), "no-wait.json")
	if err := os.WriteFile(noWait, []byte(`{"replay_after": -1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, stderr := command(t, "-conformance", s.issuer, "-conformance-client", "demo:"+secret, "-conformance-redirect", demoRedirectURI,
		"-conformance-user", "demo:"+password, "-conformance-register", "-conformance-config", noWait, "-resource", s.issuer+"/api")
	if status != 0 || !strings.Contains(out, "pass  MUST    code/flow") || !strings.Contains(out, " 0 failed, 0 warnings, 0 to know, ") {
		t.Errorf("got status %d\n%s%s", status, out, stderr)
	}
	if strings.Contains(out, secret) || strings.Contains(out, password) {
		t.Error("the report has a secret")
	}
}

// The sample file against the sample clients and users, below a path.
func TestConformanceFile(t *testing.T) {
	s := launch(t, "-issuer", "http://127.0.0.1:0/auth", "-clients", "../../testdata/clients.json", "-users", "../../testdata/users.json")
	sample, err := os.ReadFile("../../testdata/conformance.json")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "conformance.json")
	if err := os.WriteFile(file, bytes.Replace(sample, []byte("{"), []byte(`{"replay_after": -1,`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	status, out, stderr := command(t, "-conformance", s.issuer, "-conformance-config", file, "-conformance-json")
	var report struct {
		OK bool `json:"ok"`
		conformance.Report
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v in %s%s", err, out, stderr)
	}
	if status != 0 || !report.OK || len(report.Results) != len(conformance.Checks()) || report.Issuer != s.issuer || !report.Strict {
		t.Errorf("got status %d, %+v", status, report.Failed())
	}
}

// A server that is not right ends it with 1 and the names of what failed, a
// mistake in the flags with 2.
func TestConformanceFails(t *testing.T) {
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"issuer":"https://other.example","response_types_supported":["code"]}`))
	}))
	defer ts.Close()
	status, out, stderr := command(t, "-conformance", ts.URL)
	if status != 1 || !strings.Contains(out, "FAIL  MUST    metadata/issuer") || !strings.Contains(stderr, "checks of "+ts.URL+" failed") {
		t.Errorf("got status %d\n%s%s", status, out, stderr)
	}
	for _, args := range [][]string{{"-conformance", "login.example"}, {"-conformance", ts.URL, "-conformance-client", "a:b"}} {
		if status, _, stderr := command(t, args...); status != 2 || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: got status %d, %q", args, status, stderr)
		}
	}
	if status, _, stderr := command(t, "-conformance", ts.URL, "-conformance-config", "nowhere.json"); status != 1 || !strings.Contains(stderr, "nowhere.json") {
		t.Errorf("got status %d, %q", status, stderr)
	}
}

// command runs the program to its end.
func command(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = run(t.Context(), args, noEnv, &out, &err)
	return status, out.String(), err.String()
}
