package oauthreg_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/oauthreg/oauthregtest"
)

// A client is registered, authenticates, and is sent back where it said.
func ExampleRegistry_Register() {
	reg, err := oauthreg.NewRegistry(oauthreg.Config{
		Store:     new(oauthregtest.Memory),
		SecretKey: []byte("32 random bytes from a safe place"),
	})
	if err != nil {
		panic(err)
	}
	ctx := oauthreg.WithActor(context.Background(), oauthreg.Actor{Kind: "admin", ID: "alice"})
	made, err := reg.Register(ctx, oauthreg.Client{
		Name:         "Photo printer",
		Scopes:       []string{"openid", "photos.read"},
		GrantTypes:   []string{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken},
		RedirectURIs: []string{"https://printer.example/callback"},
	}, oauthreg.RegisterOptions{})
	if err != nil {
		panic(err)
	}
	fmt.Println(made.Client.Type, made.Client.ResponseTypes, len(made.Secret))

	rec, err := reg.Record(ctx, oauthreg.ByClientID(made.Client.ClientID))
	if err != nil {
		panic(err)
	}
	fmt.Println(reg.CheckSecret(&rec, made.Secret), reg.CheckSecret(&rec, "a guess"))
	fmt.Println(rec.Client.MatchRedirectURI("https://printer.example/callback"),
		rec.Client.MatchRedirectURI("https://printer.example/callback/.."))
	// Output:
	// confidential [code] 47
	// true false
	// true false
}

// A client that breaks a rule is refused with every broken field named.
func ExampleRegistry_Register_invalid() {
	reg, err := oauthreg.NewRegistry(oauthreg.Config{
		Store:     new(oauthregtest.Memory),
		SecretKey: []byte("32 random bytes from a safe place"),
	})
	if err != nil {
		panic(err)
	}
	_, err = reg.Register(context.Background(), oauthreg.Client{
		Name:         "Photo\nprinter",
		GrantTypes:   []string{oauthreg.GrantAuthorizationCode},
		RedirectURIs: []string{"https://printer.example/callback", "/callback"},
	}, oauthreg.RegisterOptions{})
	var invalid *oauthreg.InvalidError
	if errors.As(err, &invalid) {
		for _, p := range invalid.Problems {
			fmt.Printf("%s: %s\n", p.Field, p.Message)
		}
	}
	// Output:
	// client_name: must not contain control characters, line breaks or characters that change the direction of text
	// redirect_uris[1]: must be an absolute URI
}

// A secret is replaced without a moment in which the client cannot sign in.
func ExampleRegistry_RotateSecret() {
	reg, err := oauthreg.NewRegistry(oauthreg.Config{
		Store:     new(oauthregtest.Memory),
		SecretKey: []byte("32 random bytes from a safe place"),
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	made, err := reg.Register(ctx, oauthreg.Client{
		Name:       "Nightly export",
		GrantTypes: []string{oauthreg.GrantClientCredentials},
	}, oauthreg.RegisterOptions{})
	if err != nil {
		panic(err)
	}
	ref := oauthreg.ByID(made.Client.ID)
	issued, err := reg.RotateSecret(ctx, ref, oauthreg.RotateOptions{Overlap: 24 * time.Hour})
	if err != nil {
		panic(err)
	}
	rec, err := reg.Record(ctx, ref)
	if err != nil {
		panic(err)
	}
	fmt.Println(reg.CheckSecret(&rec, made.Secret), reg.CheckSecret(&rec, issued.Secret))
	// Output:
	// true true
}

// A token is signed with a key that other servers find in the JWKS.
func ExampleKeyRing() {
	ring, err := oauthreg.NewKeyRing(oauthreg.KeyRingConfig{
		Store:      new(oauthregtest.Memory),
		Algorithms: []string{"ES256"},
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	if err := ring.Maintain(ctx); err != nil {
		panic(err)
	}
	token, err := ring.Sign(ctx, "ES256", "at+jwt", map[string]string{"sub": "alice"})
	if err != nil {
		panic(err)
	}
	claims, info, err := ring.Verify(ctx, token)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(claims), info.Alg, info.Type)
	// Output:
	// {"sub":"alice"} ES256 at+jwt
}
