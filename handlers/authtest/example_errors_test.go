package authtest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"github.com/oauthreg/oauthreg/handlers/authtest"
)

// What a client does when the token endpoint fails: here it tries again once
// when the server could not answer, and not when it refused.
func ExampleServer_Fail() {
	srv := authtest.Start()
	defer srv.Close()
	conf := srv.ClientCredentialsConfig(authtest.Service)

	// fetch is the code under test.
	fetch := func() error {
		for try := 1; ; try++ {
			_, err := conf.Token(context.Background())
			var answer *oauth2.RetrieveError
			if err == nil || try == 2 || errors.As(err, &answer) && answer.Response.StatusCode < 500 {
				return err
			}
		}
	}
	tries := func() int { return len(srv.Requests(authtest.TokenEndpoint)) }

	srv.Fail(authtest.TokenEndpoint, authtest.Status(http.StatusBadGateway).Times(1))
	fmt.Println("proxy:", fetch(), tries())

	srv.Fail(authtest.TokenEndpoint, authtest.Down().Times(1))
	fmt.Println("down:", fetch(), tries())

	heal := srv.Fail(authtest.TokenEndpoint, authtest.OAuthError("invalid_scope", "No such scope."))
	fmt.Println("refused:", fetch() != nil, tries())
	heal()

	srv.Suspend(authtest.Service)
	fmt.Println("suspended:", fetch() != nil, tries())
	// Output:
	// proxy: <nil> 2
	// down: <nil> 4
	// refused: true 5
	// suspended: true 6
}

// A client's timeout holds when the server is slow.
func ExampleSlow() {
	srv := authtest.Start()
	defer srv.Close()
	srv.Fail(authtest.TokenEndpoint, authtest.Slow(time.Minute))

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := srv.ClientCredentialsConfig(authtest.Service).Token(ctx)
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output:
	// true
}
