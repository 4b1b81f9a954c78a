package conformance_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/handlers/conformance"
)

const oidcProvider = "testdata/oidc-provider"

// A server that we did not write: the npm package "oidc-provider", certified by
// the OpenID Foundation. "npm ci" in its folder installs it; CI sets
// OAUTHREG_INTEROP=1, so that nothing is skipped there.
func TestInteropOIDCProvider(t *testing.T) {
	skip := t.Skip
	if os.Getenv("OAUTHREG_INTEROP") != "" {
		skip = t.Fatal
	}
	node, err := exec.LookPath("node")
	if err != nil {
		skip("node is not installed")
	}
	if _, err := os.Stat(oidcProvider + "/node_modules/oidc-provider"); err != nil {
		skip("the npm package oidc-provider is not installed: run npm ci in handlers/conformance/" + oidcProvider)
	}

	// The resource's metadata name no issuer: the server's is not known yet.
	resource := newResource(t, "")
	web := map[string]any{
		"client_id": "web", "client_secret": "web-secret-for-this-test-only", "redirect_uris": []string{callback},
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
		"scope": "openid offline_access read", "post_logout_redirect_uris": []string{"https://client.example/bye"},
	}
	machine := map[string]any{
		"client_id": "machine", "client_secret": "machine-secret-for-this-test-only", "redirect_uris": []string{},
		"grant_types": []string{"client_credentials"}, "response_types": []string{}, "scope": "read",
	}
	app := map[string]any{
		"client_id": "app", "token_endpoint_auth_method": "none", "redirect_uris": []string{callback},
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "scope": "openid offline_access read",
	}
	clients, err := json.Marshal([]any{web, app, machine})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, "server.mjs")
	cmd.Dir = oidcProvider
	cmd.Env = append(os.Environ(), "CONFORMANCE_CLIENTS="+string(clients), "CONFORMANCE_RESOURCE="+resource)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	var issuer string
	for lines := bufio.NewScanner(stdout); issuer == "" && lines.Scan(); {
		issuer, _ = strings.CutPrefix(lines.Text(), "listening on ")
	}
	if issuer == "" {
		t.Fatalf("the server does not start: %s", &stderr)
	}

	scopes := []string{"openid", "offline_access", "read"}
	for _, client := range []conformance.Client{
		{ID: "web", Secret: "web-secret-for-this-test-only", RedirectURI: callback, Scopes: scopes, PostLogoutRedirectURI: "https://client.example/bye"},
		{ID: "app", RedirectURI: callback, Scopes: scopes},
	} {
		t.Run(client.ID, func(t *testing.T) {
			report := check(t, conformance.Config{
				Issuer: issuer, Client: client,
				Machine:  conformance.Client{ID: "machine", Secret: "machine-secret-for-this-test-only", Scopes: []string{"read"}},
				Browser:  conformance.FormBrowser{Fields: map[string]string{"login": "alice", "password": "wonderland"}}.Browse,
				Register: new(conformance.Registration), Resource: resource, ReplayAfter: -1,
			})
			t.Log(text(t, report))
			if failed := report.Failed(); failed != nil {
				t.Errorf("failed: %+v", failed)
			}
			if passed := names(report, conformance.Pass); len(passed) < 80 || !slices.Contains(passed, "code/flow") {
				t.Errorf("only %d checks passed", len(passed))
			}
		})
	}
}
