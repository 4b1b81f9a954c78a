package bearer_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/handlers/bearer"
)

func TestMetadataURL(t *testing.T) {
	for resource, want := range map[string]string{
		"https://api.example":      "https://api.example/.well-known/oauth-protected-resource",
		"https://api.example/":     "https://api.example/.well-known/oauth-protected-resource",
		"https://api.example:1/v1": "https://api.example:1/.well-known/oauth-protected-resource/v1",
		"https://api.example/v1?k": "https://api.example/.well-known/oauth-protected-resource/v1?k",
		"urn:example:api":          "",
		"api.example":              "",
	} {
		if got := bearer.MetadataURL(resource); got != want {
			t.Errorf("%s: got %q, want %q", resource, got, want)
		}
	}
}

// A client that has nothing but the challenge finds the authorization server.
func TestMetadataHandler(t *testing.T) {
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	defer srv.Close()
	resource := srv.URL + "/api"
	h, err := bearer.NewMetadataHandler(bearer.ProtectedResource{Resource: resource, AuthorizationServers: []string{"https://auth.example"}, ScopesSupported: []string{"read"}})
	if err != nil {
		t.Fatal(err)
	}
	mux.Handle("/.well-known/oauth-protected-resource/api", h)
	mux.Handle("/api", bearer.Middleware(bearer.Config{
		Verifier: bearer.VerifierFunc(func(context.Context, string) (*bearer.Token, error) { return nil, bearer.ErrInvalidToken }), Resource: resource, ResourceMetadata: bearer.MetadataURL(resource),
	})(http.NotFoundHandler()))

	send := func(method, url string) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = resp.Body.Close() })
		return resp
	}
	_, at, _ := strings.Cut(send("GET", resource).Header.Get("WWW-Authenticate"), `resource_metadata="`)
	resp := send("GET", strings.TrimSuffix(at, `"`))
	var doc bearer.ProtectedResource
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if doc.Resource != resource || !slices.Equal(doc.AuthorizationServers, []string{"https://auth.example"}) ||
		!slices.Equal(doc.BearerMethodsSupported, []string{"header"}) || resp.Header.Get("Content-Type") != "application/json" ||
		resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("got %+v, header %v", doc, resp.Header)
	}
	if resp := send("OPTIONS", bearer.MetadataURL(resource)); resp.StatusCode != 204 || !strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "MCP-Protocol-Version") {
		t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
	}
	if resp := send("POST", bearer.MetadataURL(resource)); resp.StatusCode != 405 || resp.Header.Get("Allow") == "" {
		t.Errorf("POST: %d %v", resp.StatusCode, resp.Header)
	}
}

func TestMetadataHandlerConfig(t *testing.T) {
	for _, p := range []bearer.ProtectedResource{
		{}, {Resource: "urn:x"}, {Resource: "http://api.example"}, {Resource: "https://api.example/#f"}, {Resource: "https://u@api.example/"},
		{Resource: "https://api.example", AuthorizationServers: []string{"https://ok.example", "http://auth.example"}},
	} {
		if _, err := bearer.NewMetadataHandler(p); err == nil {
			t.Errorf("%+v was taken", p)
		}
	}
}
