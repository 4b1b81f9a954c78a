package bearer_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/oauthreg/oauthreg/handlers/bearer"
)

// A handler behind the middleware knows who calls. NewJWT or NewIntrospection
// would stand in place of the function.
func ExampleMiddleware() {
	verifier := bearer.VerifierFunc(func(_ context.Context, token string) (*bearer.Token, error) {
		if token != "mF_9.B5f-4.1JqM" {
			return nil, bearer.ErrInvalidToken
		}
		return &bearer.Token{Subject: "alice", Audience: []string{"https://api.example"}, Scopes: []string{"read"}}, nil
	})
	protect := bearer.Middleware(bearer.Config{
		Verifier:         verifier,
		Resource:         "https://api.example",
		Scopes:           []string{"read"},
		ResourceMetadata: "https://api.example/.well-known/oauth-protected-resource",
	})
	api := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := bearer.FromContext(r.Context())
		_, _ = fmt.Fprintln(w, "hello", token.Subject)
	}))

	for _, authorization := range []string{"", "Bearer mF_9.B5f-4.1JqM"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
		if challenge := w.Header().Get("WWW-Authenticate"); challenge != "" {
			fmt.Println(challenge)
		}
	}
	// Output:
	// 401 An access token is needed.
	// Bearer scope="read", resource_metadata="https://api.example/.well-known/oauth-protected-resource"
	// 200 hello alice
}
