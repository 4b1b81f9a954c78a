package handlers_test

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// takenBack is a store whose user takes a consent back just after it was read.
type takenBack struct {
	*storage.Store
	armed atomic.Bool
}

func (s *takenBack) Consent(ctx context.Context, clientID, subject string) (oauthreg.Consent, error) {
	c, err := s.Store.Consent(ctx, clientID, subject)
	if s.armed.CompareAndSwap(true, false) {
		if _, err := s.Store.RevokeConsents(ctx, oauthreg.GrantFilter{ClientID: clientID, Subject: subject}); err != nil {
			return c, err
		}
	}
	return c, err
}

// What a user takes back while an authorization is under way on it does not come
// back with that: the user is asked.
func TestConsentTakenBackMeanwhile(t *testing.T) {
	store := new(takenBack)
	e := newEnv(t, envOptions{wrap: func(s *storage.Store) (oauthreg.Store, handlers.Store) {
		store.Store = s
		return s, store
	}})
	reg := e.register(webClient())
	b := e.browser()
	authorize := func(params ...string) *answer {
		target, _ := e.authorizeURL(reg.Client.ClientID, params...)
		return b.do(http.MethodGet, target, nil)
	}
	target, _ := e.authorizeURL(reg.Client.ClientID)
	if a := b.walk(target); a.param("code") == "" {
		t.Fatalf("no code: %d %v", a.status, a.location)
	}
	if a := authorize(); a.param("code") == "" {
		t.Fatalf("the consent is not remembered: %d %v", a.status, a.location)
	}
	store.armed.Store(true)
	if a := authorize(); a.location == nil || a.location.Path != e.opts.base+"/consent" {
		t.Errorf("got %d to %v, want the consent page", a.status, a.location)
	}
	if _, err := store.Store.Consent(t.Context(), reg.Client.ID, "sub-alice"); !errors.Is(err, oauthreg.ErrNotFound) {
		t.Errorf("the consent: %v, want none", err)
	}
	if a := b.walk(target); a.param("code") == "" {
		t.Fatalf("asked again, no code: %d %v", a.status, a.location)
	}
	store.armed.Store(true)
	if a := authorize("prompt", "none"); a.param("error") != "consent_required" {
		t.Errorf("got %v, want consent_required", a.location)
	}
}
