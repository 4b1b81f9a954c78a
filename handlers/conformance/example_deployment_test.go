package conformance_test

import (
	"context"
	"fmt"
	"time"

	"github.com/oauthreg/oauthreg/handlers/authtest"
	"github.com/oauthreg/oauthreg/handlers/conformance"
)

// A deployment is checked with a client of its own and somebody who can sign in.
// Here it is a server for tests, and only the code flow is checked.
func ExampleRun_codeFlow() {
	srv := authtest.Start(authtest.WithUser(authtest.User{Username: "tester", Password: "its-password"}))
	defer srv.Close()

	report, err := conformance.Run(context.Background(), conformance.Config{
		Issuer: srv.Issuer,
		Client: conformance.Client{
			ID: authtest.App, Secret: srv.Secret(authtest.App),
			RedirectURI: "http://127.0.0.1/callback", Scopes: []string{"openid"},
		},
		Browser: conformance.FormBrowser{Fields: map[string]string{"username": "tester", "password": "its-password"}}.Browse,
		Only:    []string{"code"},
		Now:     srv.Now,
		Wait: func(_ context.Context, d time.Duration) error { // a test's clock need not be waited for
			srv.Advance(d)
			return nil
		},
	})
	if err != nil {
		panic(err)
	}
	for _, r := range report.Results {
		if r.Name == "code/wrong-verifier" {
			fmt.Println(r.Outcome, r.Title)
		}
	}
	fmt.Println(report.OK(), len(report.Failed()))
	// Output:
	// pass a wrong code_verifier is refused
	// true 0
}
