package handlers_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/oauthreg/oauthreg/handlers"
)

// Every known resource of this host has a document of its own at its RFC 9728
// path, which names it and the one issuer.
func TestResourceMetadata(t *testing.T) {
	for _, base := range []string{"", "/auth"} {
		e := newEnv(t, envOptions{base: base, config: func(c *handlers.Config) {
			c.Resources = append(c.Resources, handlers.ManagementResource(c.Issuer), "https://elsewhere.example/api")
		}})
		for _, resource := range []string{e.issuer, e.issuer + "/api", e.issuer + "/v2"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, handlers.ResourceMetadataURL(resource), nil)
			if err != nil {
				t.Fatal(err)
			}
			a := e.send(req)
			servers, _ := a.body["authorization_servers"].([]any)
			if a.status != http.StatusOK || a.str("resource") != resource || len(servers) != 1 || servers[0] != e.issuer || a.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%s: %d %s", resource, a.status, a.raw)
			}
		}
		u, err := url.Parse(e.issuer)
		if err != nil {
			t.Fatal(err)
		}
		u.Path = "/.well-known/oauth-protected-resource/elsewhere"
		if a := e.browser().do(http.MethodGet, u.String(), nil); a.status != http.StatusNotFound {
			t.Errorf("an unknown resource: %d", a.status)
		}
	}
	for resource, want := range map[string]string{
		"https://api.example":      "https://api.example/.well-known/oauth-protected-resource",
		"https://api.example/":     "https://api.example/.well-known/oauth-protected-resource",
		"https://api.example:1/v1": "https://api.example:1/.well-known/oauth-protected-resource/v1",
		"urn:example:api":          "",
	} {
		if got := handlers.ResourceMetadataURL(resource); got != want {
			t.Errorf("%s: got %q, want %q", resource, got, want)
		}
	}
}
