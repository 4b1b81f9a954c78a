package authtest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/oauthreg/oauthreg/handlers/authtest"
	"github.com/oauthreg/oauthreg/handlers/bearer"
)

// A resource server is called with tokens of every kind.
func Example_resourceServer() {
	const api = "https://api.example"
	srv := authtest.Start(authtest.WithResource(api, "https://other.example"), authtest.WithJWTAccessTokens())
	defer srv.Close()

	// The resource server under test.
	verifier, err := bearer.NewJWT(srv.JWTConfig(api))
	if err != nil {
		panic(err)
	}
	protect := bearer.Middleware(bearer.Config{Verifier: verifier, Resource: api, Scopes: []string{"read"}})
	handler := protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := bearer.FromContext(r.Context())
		_, _ = fmt.Fprint(w, "hello ", token.Subject)
	}))
	call := func(token string) string {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return fmt.Sprint(w.Code, " ", w.Body)
	}

	good := srv.Mint(authtest.Grant{Client: authtest.App, Scopes: []string{"read"}, Resources: []string{api}})
	fmt.Println(call(good.AccessToken))

	other := srv.Mint(authtest.Grant{Client: authtest.App, Scopes: []string{"read"}, Resources: []string{"https://other.example"}})
	fmt.Print(call(other.AccessToken)) // for somebody else

	narrow := srv.Mint(authtest.Grant{Client: authtest.App, Scopes: []string{"write"}, Resources: []string{api}})
	fmt.Print(call(narrow.AccessToken)) // without the scope

	// What no server issues, but an attacker sends: an ID token's type.
	odd := srv.Sign("RS256", "JWT", map[string]any{
		"iss": srv.Issuer, "aud": api, "sub": "alice", "scope": "read", "exp": srv.Now().Add(time.Hour).Unix(),
	})
	fmt.Print(call(odd))

	srv.Advance(2 * time.Hour)
	fmt.Print(call(good.AccessToken)) // expired
	// Output:
	// 200 hello alice
	// 401 The access token is not valid.
	// 403 The access token lacks a scope.
	// 401 The access token is not valid.
	// 401 The access token is not valid.
}
