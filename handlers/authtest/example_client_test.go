package authtest_test

import (
	"context"
	"fmt"

	"golang.org/x/oauth2"

	"github.com/oauthreg/oauthreg/handlers/authtest"
)

// An OAuth client goes through a whole flow. In a test the first line is
// srv := authtest.NewServer(t), and nothing needs to be closed.
func Example() {
	srv := authtest.Start()
	defer srv.Close()

	conf := srv.OAuth2Config(authtest.App) // or your client's own, with srv.Issuer
	verifier := oauth2.GenerateVerifier()
	target := conf.AuthCodeURL("state-1", oauth2.S256ChallengeOption(verifier))

	answer := srv.Browser().Authorize(target) // alice signs in and consents
	token, err := conf.Exchange(context.Background(), answer.Code, oauth2.VerifierOption(verifier))
	if err != nil {
		panic(err)
	}
	fmt.Println(answer.State, token.Type(), token.Valid(), token.Extra("scope"))
	// Output:
	// state-1 Bearer true openid profile email read write
}

// People refuse. The client has to live with it.
func ExampleBrowser_Authorize_denied() {
	srv := authtest.Start()
	defer srv.Close()

	conf := srv.OAuth2Config(authtest.App)
	alice := srv.Browser()
	alice.Deny = true
	answer := alice.Authorize(conf.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
	fmt.Println(answer.Err())
	// Output:
	// access_denied: The user did not consent.
}
