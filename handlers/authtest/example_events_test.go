package authtest_test

import (
	"context"
	"fmt"
	"time"

	"github.com/oauthreg/oauthreg/handlers/authtest"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// A client that uses an old refresh token again loses the grant, and the test
// sees why.
func ExampleServer_Events() {
	srv := authtest.Start()
	defer srv.Close()
	conf := srv.OAuth2Config(authtest.App)

	old := *srv.Mint(authtest.Grant{Client: authtest.App}).Token
	old.Expiry = time.Now().Add(-time.Minute)
	for range 2 {
		_, err := conf.TokenSource(context.Background(), &old).Token()
		fmt.Println("refused:", err != nil)
		srv.Advance(time.Minute) // longer than the grace for lost answers
	}
	for _, e := range srv.Events(oauthreg.EventReplayDetected) {
		fmt.Println(e.Type, e.ClientID, e.Subject)
	}
	// Output:
	// refused: false
	// refused: true
	// replay.detected app alice
}
