package clienttest

import (
	"errors"
	"net/http"
	"testing"

	"github.com/oauthreg/oauthreg/handlers/authtest"
	"golang.org/x/oauth2"
)

func TestSignIn(t *testing.T) {
	srv := authtest.NewServer(t) // a whole authorization server, for this test alone

	// Your client, which here is x/oauth2. One that reads metadata gets srv.Issuer.
	conf := srv.OAuth2Config(authtest.App)
	verifier := oauth2.GenerateVerifier()
	target := conf.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier))

	answer := srv.Browser().Authorize(target) // alice signs in and consents
	token, err := conf.Exchange(t.Context(), answer.Code, oauth2.VerifierOption(verifier))
	if err != nil || !token.Valid() {
		t.Fatal(token, err)
	}
}

func TestTokenEndpointDown(t *testing.T) {
	srv := authtest.NewServer(t)
	srv.Fail(authtest.TokenEndpoint, authtest.Status(http.StatusBadGateway).Times(1))

	conf := srv.ClientCredentialsConfig(authtest.Service)
	_, err := conf.Token(t.Context())
	var answer *oauth2.RetrieveError
	if !errors.As(err, &answer) || answer.Response.StatusCode != http.StatusBadGateway {
		t.Errorf("got %v", err)
	}
	if _, err := conf.Token(t.Context()); err != nil { // it is up again
		t.Error(err)
	}
}
