// Package storagetest tells whether a store keeps the promises that the rest of
// the module builds on: those of the interfaces of package oauthreg, and those
// of fosite's storage interfaces as this module uses them, which are stricter
// than fosite says. Each promise is a rule with a name and, where there is one,
// the specification that it comes from.
//
//	func TestStore(t *testing.T) {
//		storagetest.Run(t, func(t *testing.T) storagetest.Store { return openMine(t) })
//	}
//
// A store that passes can take the place of package storage: it is given to
// [oauthreg.NewRegistry], [oauthreg.OpenKeyRing] and handlers.New. The rules are about
// single use and races (codes, refresh tokens, assertions, interactions, initial
// access tokens, consents), about revocation and expiry, which count with the next
// read, about transactions, of which every write that may take part does, about
// what is not found and what is a conflict, about values that have to come back as
// they were, with every field, about filters, orders and pages of lists, and about
// the search for a part of a name. Every method is called by a rule, and a store of
// which it does nothing breaks one. The rules do not look into the database: that
// nothing that opens a door is there in clear, and how it migrates and cleans up,
// is the store's own to test.
package storagetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/handler/pkce"
	fositestorage "github.com/ory/fosite/storage"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Store is everything that a server needs of a database.
type Store interface {
	oauthreg.Store
	oauthreg.InitialAccessTokenStore
	oauthreg.GrantStore
	oauthreg.SessionStore
	oauthreg.InteractionStore
	oauthreg.LogoutOutbox
	oauthreg.KeyStore

	fosite.Storage
	oauth2.CoreStorage
	oauth2.TokenRevocationStorage
	pkce.PKCERequestStorage
	openid.OpenIDConnectRequestStorage
	fositestorage.Transactional

	// Ping returns nil when the database answers.
	Ping(ctx context.Context) error
}

// Run tests the store that open returns. open is called once per rule. It must
// return an empty store whose clock is the machine's, whose sessions are
// [openid.DefaultSession], and which allows no repetition of a refresh token,
// and must clean up with t.Cleanup. A failure names the rule and what it comes
// from.
//
// Some rules race: run them with -race too, and on a database that is shared by
// several connections.
func Run(t *testing.T, open func(*testing.T) Store) {
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			s := open(t)
			defer func() {
				if t.Failed() {
					t.Logf("the store breaks the rule %s: %s", r.name, r.from)
				}
			}()
			r.run(t, s)
		})
	}
}

// rule is one promise.
type rule struct {
	name string
	from string // the specification, or our interface
	run  func(t testing.TB, s Store)
}

// must ends the rule on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got %v, want no error", err)
	}
}

// want reports an error that is not the one promised.
func want(t testing.TB, what string, err, wanted error) {
	t.Helper()
	if !errors.Is(err, wanted) {
		t.Errorf("%s: got %v, want %v", what, err, wanted)
	}
}

// race makes n calls at the same time and wants exactly one to succeed, the
// others to fail with lost.
func race(t testing.TB, n int, lost error, call func(i int) error) {
	t.Helper()
	var won atomic.Int32
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			switch err := call(i); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, lost):
				t.Errorf("who was not first: got %v, want %v", err, lost)
			}
		})
	}
	close(start)
	wg.Wait()
	if got := won.Load(); got != 1 {
		t.Errorf("%d of %d concurrent calls succeeded, want 1", got, n)
	}
}

// all makes n calls at the same time, which must succeed.
func all(t testing.TB, n int, call func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := call(i); err != nil {
				t.Errorf("got %v, want no error", err)
			}
		})
	}
	wg.Wait()
}
