package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// call sends a JSON request and returns status and body.
func call(t *testing.T, method, target, bearer string, body any) (int, map[string]any) {
	t.Helper()
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, target, r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil && err != io.EOF {
		t.Fatalf("%s %s: %d: %v", method, target, resp.StatusCode, err)
	}
	return resp.StatusCode, out
}

// A client registered through one face is the same through the others, and the
// secret that one face made authenticates at the token endpoint.
func TestFaces(t *testing.T) {
	const key = "My API Key"
	for _, path := range []string{"", "/auth"} {
		s := launch(t, "-issuer", "http://127.0.0.1:0"+path, "-admin-key", key)
		v2 := s.issuer + "/v2"
		project := s.issuer + "/api/v1/org/" + defaultOrg + "/project/" + defaultProject + "/oauth_client"

		status, made := call(t, http.MethodPost, project, key, map[string]any{"name": "Job", "grant_types": []string{"client_credentials"}, "scopes": "profile"})
		id, secret := made["client_id"], made["client_secret"]
		if status != http.StatusCreated || secret == nil {
			t.Fatalf("create: %d %v", status, made)
		}
		status, got := call(t, http.MethodGet, v2+"/oauth_clients/"+id.(string), key, nil)
		data, _ := got["data"].(map[string]any)
		if status != http.StatusOK || data["client_id"] != id || data["name"] != "Job" || data["org_id"] != defaultOrg || data["user_id"] != defaultUser || data["client_secret"] != nil {
			t.Errorf("get: %d %v", status, got)
		}
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, s.issuer+"/oauth/token", strings.NewReader("grant_type=client_credentials"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(url.QueryEscape(id.(string)), url.QueryEscape(secret.(string)))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("token: %d", resp.StatusCode)
		}

		status, registered := call(t, http.MethodPost, s.issuer+"/oauth/register", "", map[string]any{"redirect_uris": []string{"https://app.example/cb"}, "client_name": "App"})
		if status != http.StatusCreated || registered["registration_access_token"] == nil {
			t.Fatalf("register: %d %v", status, registered)
		}
		if status, got := call(t, http.MethodGet, v2+"/oauth_clients/"+registered["client_id"].(string), key, nil); status != http.StatusOK {
			t.Errorf("get: %d %v", status, got)
		}
		for _, wrong := range []string{"", "My", "My API Keyy"} {
			if status, _ := call(t, http.MethodGet, v2+"/oauth_clients", wrong, nil); status != http.StatusUnauthorized {
				t.Errorf("key %q: %d", wrong, status)
			}
		}
	}
}

// -registration closes the endpoint, or asks for the token that is printed.
func TestRegistrationFlag(t *testing.T) {
	body := map[string]any{"redirect_uris": []string{"https://app.example/cb"}, "client_name": "App"}
	closed := launch(t, "-registration", "closed")
	if status, _ := call(t, http.MethodPost, closed.issuer+"/oauth/register", "", body); status != http.StatusForbidden {
		t.Errorf("closed: %d", status)
	}
	if _, meta := call(t, http.MethodGet, closed.issuer+"/.well-known/oauth-authorization-server", "", nil); meta["registration_endpoint"] != nil {
		t.Error("a closed endpoint is advertised")
	}
	byToken := launch(t, "-registration", "token")
	token, _, _ := strings.Cut(byToken.line("initial access token"), " ")
	if status, _ := call(t, http.MethodPost, byToken.issuer+"/oauth/register", "", body); status != http.StatusUnauthorized {
		t.Errorf("without token: %d", status)
	}
	if status, got := call(t, http.MethodPost, byToken.issuer+"/oauth/register", token, body); status != http.StatusCreated {
		t.Errorf("with token %q: %d %v", token, status, got)
	}
}
