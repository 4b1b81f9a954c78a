package bearer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/oauthreg/oauthreg/handlers/authtest"
	"github.com/oauthreg/oauthreg/handlers/bearer"
)

// JWT access tokens are verified with the keys that the issuer publishes, which
// are fetched at the first token and remembered.
func ExampleNewJWT() {
	const api = "https://api.example"
	srv := authtest.Start(authtest.WithResource(api), authtest.WithJWTAccessTokens()) // any authorization server
	defer srv.Close()

	verifier, err := bearer.NewJWT(bearer.JWTConfig{Issuer: srv.Issuer, Audience: []string{api}})
	if err != nil {
		panic(err)
	}
	tokens := srv.Mint(authtest.Grant{Client: authtest.Service, Scopes: []string{"read"}, Resources: []string{api}})
	token, err := verifier.Verify(context.Background(), tokens.AccessToken)
	if err != nil {
		panic(err)
	}
	fmt.Println(token.ClientID, token.Scopes, token.Audience)
	// Output:
	// service [read] [https://api.example]
}

// An API that gets tokens of both formats tells them apart: JWTs are verified
// offline, the others are asked about (RFC 7662).
func ExampleByFormat() {
	const api = "https://api.example"
	srv := authtest.Start(authtest.WithResource(api))
	defer srv.Close()

	offline, err := bearer.NewJWT(srv.JWTConfig(api))
	if err != nil {
		panic(err)
	}
	online, err := bearer.NewIntrospection(srv.IntrospectionConfig(api)) // endpoint, client_id and secret
	if err != nil {
		panic(err)
	}
	verifier := bearer.ByFormat(offline, online)
	tokens := srv.Mint(authtest.Grant{Client: authtest.App, Scopes: []string{"read"}, Resources: []string{api}})
	token, err := verifier.Verify(context.Background(), tokens.AccessToken)
	if err != nil {
		panic(err)
	}
	fmt.Println(token.ClientID, token.Scopes)
	srv.Revoke(tokens.AccessToken)
	_, err = verifier.Verify(context.Background(), tokens.AccessToken)
	fmt.Println(err)
	// Output:
	// app [read]
	// bearer: invalid token: not active
}

// Clients that know nothing but the API's URL learn here where to get a token.
func ExampleNewMetadataHandler() {
	const api = "https://api.example/v1"
	metadata, err := bearer.NewMetadataHandler(bearer.ProtectedResource{
		Resource:             api,
		AuthorizationServers: []string{"https://login.example.com"},
		ScopesSupported:      []string{"read"},
	})
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(metadata) // mux.Handle("/.well-known/oauth-protected-resource/", metadata)
	defer server.Close()

	fmt.Println(bearer.MetadataURL(api)) // for Config.ResourceMetadata
	resp, err := http.Get(server.URL + "/.well-known/oauth-protected-resource/v1")
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	var doc bearer.ProtectedResource
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		panic(err)
	}
	fmt.Println(doc.Resource, doc.AuthorizationServers, doc.BearerMethodsSupported)
	// Output:
	// https://api.example/.well-known/oauth-protected-resource/v1
	// https://api.example/v1 [https://login.example.com] [header]
}
