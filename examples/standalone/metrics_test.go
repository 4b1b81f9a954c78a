package main

import (
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// fetch is the text behind a URL, and its status.
func fetch(t *testing.T, target string) (int, string) {
	t.Helper()
	resp, err := http.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// What a flow did can be scraped, on an address of its own and nowhere else.
func TestMetrics(t *testing.T) {
	s := launch(t, "-metrics", "127.0.0.1:0", "-clients", "../../testdata/clients.json", "-users", "../../testdata/users.json")
	metrics := s.line("metrics on")
	if !strings.HasPrefix(metrics, "http://127.0.0.1:") || strings.HasPrefix(metrics, s.issuer) {
		t.Fatalf("metrics on %q", metrics)
	}
	token := signIn(t, s.issuer)
	if _, err := refresh(t.Context(), s.issuer, token.RefreshToken); err != nil {
		t.Fatal(err)
	}
	_, err := refresh(t.Context(), s.issuer, "oar_nonsense")
	wantInvalidGrant(t, err)

	status, text := fetch(t, metrics)
	if status != http.StatusOK {
		t.Fatalf("got status %d", status)
	}
	for _, want := range []string{
		`oauthreg_tokens_issued_total\{.*oauth_grant_type="authorization_code".*\} 1\n`,
		`oauthreg_tokens_issued_total\{.*oauth_grant_type="refresh_token".*\} 1\n`,
		`oauthreg_refusals_total\{.*oauth_error="invalid_grant".*oauthreg_endpoint="token".*\} 1\n`,
		`oauthreg_sign_ins_total\{.*oauthreg_success="true".*\} 1\n`,
		`oauthreg_signing_keys\{.*oauthreg_key_alg="ES256",oauthreg_key_state="active".*\} 1\n`,
		`http_server_request_duration_seconds_count\{.*http_response_status_code="200".*oauthreg_endpoint="token".*\} 2\n`,
		`http_server_request_duration_seconds_bucket\{.*le="0\.5".*\} \d+\n`,
		`db_client_operation_duration_seconds_count\{.*db_operation_name="commit".*db_system_name="sqlite".*\} \d+\n`,
		`oauthreg_storage_commit_size_sum\{.*\} \d+\n`,
		`go_goroutines \d+\n`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("the metrics have no %s", want)
		}
	}
	for _, secret := range []string{token.AccessToken, token.RefreshToken, "alice", "web-shop"} {
		if strings.Contains(text, secret) {
			t.Errorf("the metrics have %q", secret)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	for target, want := range map[string]int{
		s.issuer + "/metrics": http.StatusNotFound,
		strings.TrimSuffix(metrics, "/metrics") + "/oauth/token": http.StatusNotFound,
		s.issuer + "/healthz": http.StatusOK,
		s.issuer + "/readyz":  http.StatusOK,
	} {
		if status, _ := fetch(t, target); status != want {
			t.Errorf("%s: got status %d, want %d", target, status, want)
		}
	}
	if status := s.stop(); status != 0 {
		t.Errorf("got status %d, want 0", status)
	}
	if _, err := http.Get(metrics); err == nil {
		t.Error("the metrics are served after the end")
	}
	if strings.Contains(s.err.String(), "level=ERROR") {
		t.Errorf("the log has complaints: %s", s.err)
	}
}

// Without the flag there is no second address.
func TestNoMetrics(t *testing.T) {
	if s := launch(t); s.line("metrics on") != "" {
		t.Errorf("metrics on %q", s.line("metrics on"))
	}
}
