package storagetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func grantEnds(t testing.TB, s Store) {
	k, _ := client(t, s)
	id := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice", Scopes: []string{"a"}})
	got, err := s.Grant(t.Context(), id)
	must(t, err)
	if got.Subject != "alice" || got.ClientID != k.ID || !slices.Equal(got.Scopes, []string{"a"}) {
		t.Errorf("got %+v", got)
	}
	now := time.Now()
	must(t, s.UseGrant(t.Context(), id, now, now.Add(-time.Second)))
	_, err = s.Grant(t.Context(), id)
	want(t, "after its end", err, oauthreg.ErrNotFound)
	want(t, "use after its end", s.UseGrant(t.Context(), id, now, now.Add(time.Hour)), oauthreg.ErrNotFound)
}

func emptyFilterRevokesNothing(t testing.TB, s Store) {
	id := grant(t, s, oauthreg.Grant{ClientID: "k", Subject: "alice"})
	if _, err := s.RevokeGrants(t.Context(), oauthreg.GrantFilter{}); err == nil {
		t.Error("RevokeGrants took an empty filter")
	}
	if _, err := s.RevokeConsents(t.Context(), oauthreg.GrantFilter{}); err == nil {
		t.Error("RevokeConsents took an empty filter")
	}
	_, err := s.Grant(t.Context(), id)
	must(t, err)
}

func filtersSelect(t testing.TB, s Store) {
	k, _ := client(t, s, func(k *oauthreg.Client) { k.OrgID = "o" })
	other, _ := client(t, s)
	grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice", SessionID: "s1"})
	grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "bob", SessionID: "s2"})
	grant(t, s, oauthreg.Grant{ClientID: other.ID, Subject: "alice", SessionID: "s1"})
	for _, f := range []struct {
		filter oauthreg.GrantFilter
		n      int
	}{
		{oauthreg.GrantFilter{Subject: "alice"}, 2},
		{oauthreg.GrantFilter{ClientID: k.ID}, 2},
		{oauthreg.GrantFilter{SessionID: "s1"}, 2},
		{oauthreg.GrantFilter{OrgID: "o"}, 2},
		{oauthreg.GrantFilter{OrgID: "o", Subject: "alice"}, 1},
		{oauthreg.GrantFilter{OrgID: "p"}, 0},
	} {
		list, total, err := s.ListGrants(t.Context(), f.filter, 0, 0)
		must(t, err)
		if len(list) != f.n || total != f.n {
			t.Errorf("%+v: got %d of %d, want %d", f.filter, len(list), total, f.n)
		}
	}
	n, err := s.RevokeGrants(t.Context(), oauthreg.GrantFilter{OrgID: "o", Subject: "alice"})
	must(t, err)
	_, left, err := s.ListGrants(t.Context(), oauthreg.GrantFilter{}, 0, 0)
	must(t, err)
	if n != 1 || left != 2 {
		t.Errorf("got %d revoked and %d left, want 1 and 2", n, left)
	}
}

func consentWidens(t testing.TB, s Store) {
	var mu sync.Mutex
	ids := map[string]bool{}
	all(t, callers, func(i int) error {
		id, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: "k", Subject: "alice", Scopes: []string{"same", fmt.Sprint(i)}})
		mu.Lock()
		defer mu.Unlock()
		ids[id] = true
		return err
	})
	got, err := s.Consent(t.Context(), "k", "alice")
	must(t, err)
	if len(got.Scopes) != callers+1 || len(ids) != 1 || !ids[got.ID] {
		t.Errorf("got %d scopes in %d consents, want %d in one", len(got.Scopes), len(ids), callers+1)
	}
}

func revokedConsentEndsGrants(t testing.TB, s Store) {
	consent, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: "k", Subject: "alice", Scopes: []string{"a"}})
	must(t, err)
	id := grant(t, s, oauthreg.Grant{ClientID: "k", Subject: "alice", ConsentID: consent})
	without := grant(t, s, oauthreg.Grant{ClientID: "k", Subject: "alice"})
	n, err := s.RevokeConsents(t.Context(), oauthreg.GrantFilter{ClientID: "k", Subject: "alice"})
	must(t, err)
	if n != 1 {
		t.Errorf("got %d consents revoked, want 1", n)
	}
	_, err = s.Consent(t.Context(), "k", "alice")
	want(t, "the consent", err, oauthreg.ErrNotFound)
	_, err = s.Grant(t.Context(), id)
	want(t, "the grant on it", err, oauthreg.ErrNotFound)
	_, err = s.Grant(t.Context(), without)
	must(t, err)
}
