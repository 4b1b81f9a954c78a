package authtest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/oauth2"

	"github.com/oauthreg/oauthreg/handlers/authtest"
)

// A client whose access token has expired refreshes it, and learns when its user
// took the access back.
func ExampleServer_RevokeGrants() {
	srv := authtest.Start()
	defer srv.Close()
	ctx := srv.Context(context.Background())
	conf := srv.OAuth2Config(authtest.App)

	// refresh is what the client under test does when its token has expired.
	refresh := func(token *oauth2.Token) (*oauth2.Token, error) {
		expired := *token
		expired.Expiry = time.Now().Add(-time.Minute)
		return conf.TokenSource(ctx, &expired).Token()
	}

	first := srv.Mint(authtest.Grant{Client: authtest.App}) // no flow is needed for this
	second, err := refresh(first.Token)
	if err != nil {
		panic(err)
	}
	fmt.Println("rotated:", second.RefreshToken != first.RefreshToken)

	srv.RevokeGrants(authtest.App, "alice")
	_, err = refresh(second)
	var refused *oauth2.RetrieveError
	fmt.Println(errors.As(err, &refused), refused.ErrorCode)
	// Output:
	// rotated: true
	// true invalid_grant
}

// Refresh tokens end too. No test waits for it.
func ExampleServer_Advance() {
	srv := authtest.Start()
	defer srv.Close()
	conf := srv.OAuth2Config(authtest.App)

	token := srv.Mint(authtest.Grant{Client: authtest.App})
	srv.Advance(31 * 24 * time.Hour)

	old := *token.Token
	old.Expiry = time.Now().Add(-time.Minute)
	_, err := conf.TokenSource(context.Background(), &old).Token()
	var refused *oauth2.RetrieveError
	fmt.Println(errors.As(err, &refused), refused.ErrorCode)
	// Output:
	// true invalid_grant
}
