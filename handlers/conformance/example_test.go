package conformance_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/oauthreg/oauthreg/handlers/conformance"
)

// A server behind a proxy that says http://localhost:8080 of itself, and offers
// PKCE without hashing: found without any client.
func Example() {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/.well-known/oauth-authorization-server" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{
			"issuer": "http://localhost:8080",
			"authorization_endpoint": "http://localhost:8080/authorize",
			"token_endpoint": "http://localhost:8080/token",
			"response_types_supported": ["code"],
			"code_challenge_methods_supported": ["S256", "plain"]
		}`)
	}))
	defer server.Close()

	report, err := conformance.Run(context.Background(), conformance.Config{Issuer: server.URL, Strict: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, failed := range report.Failed() {
		fmt.Printf("%s: %s (%s, %s)\n", failed.Name, failed.Title, failed.Level, failed.Spec)
	}
	// Output:
	// metadata/issuer: the issuer in the metadata is exactly the one asked for (MUST, RFC 8414 §3.3)
	// metadata/plain: PKCE without hashing is not offered (SHOULD, RFC 9700 §2.1.1)
}

// A report as a program prints it, for a client whose user signs in with a form.
func ExampleRun() {
	report, err := conformance.Run(context.Background(), conformance.Config{
		Issuer: "https://login.example.com",
		Client: conformance.Client{
			ID: "conformance", Secret: "its-secret",
			RedirectURI: "https://conformance.example.com/callback",
			Scopes:      []string{"openid", "offline_access"},
		},
		Browser: conformance.FormBrowser{Fields: map[string]string{"email": "tester@example.com", "password": "its-password"}}.Browse,
		Skip:    []string{"authorize/framing"}, // the page is meant to be framed by our own site
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := report.WriteText(os.Stdout); err != nil {
		fmt.Println(err)
	}
	if !report.OK() {
		os.Exit(1)
	}
}
