package storagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// onConsent is a grant that ends in an hour, of which every field is set, on a
// consent of its client and subject.
func onConsent(t testing.TB, s Store, clientID string) oauthreg.Grant {
	t.Helper()
	g := filled[oauthreg.Grant]()
	consent, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: clientID, Subject: g.Subject, Scopes: g.Scopes})
	must(t, err)
	g.ClientID, g.ConsentID, g.ExpiresAt, g.RevokedAt = clientID, consent, now().Add(time.Hour), time.Time{}
	return g
}

func grantIsKeptWhole(t testing.TB, s Store) {
	k, _ := client(t, s)
	g := onConsent(t, s, k.ID)
	must(t, s.CreateGrant(t.Context(), g))
	want(t, "the same again", s.CreateGrant(t.Context(), g), oauthreg.ErrConflict)
	got, err := s.Grant(t.Context(), g.ID)
	must(t, err)
	same(t, "grant", got, g)
	list, _, err := s.ListGrants(t.Context(), oauthreg.GrantFilter{ID: g.ID}, 0, 0)
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("got %d grants in the list, want 1", len(list))
	}
	same(t, "grant, in the list", list[0], g)
	must(t, s.CreateGrant(t.Context(), oauthreg.Grant{ID: "bare", ClientID: k.ID, CreatedAt: g.CreatedAt, LastUsedAt: g.LastUsedAt, ExpiresAt: g.ExpiresAt}))
	got, err = s.Grant(t.Context(), "bare")
	must(t, err)
	same(t, "a grant with nothing in it", got, oauthreg.Grant{ID: "bare", ClientID: k.ID, CreatedAt: g.CreatedAt, LastUsedAt: g.LastUsedAt, ExpiresAt: g.ExpiresAt})
}

func grantsAreListedNewestFirst(t testing.TB, s Store) {
	k, _ := client(t, s)
	at := now().Add(-time.Hour)
	var ids, subjects []string // newest first
	for i := range 5 {
		when := at.Add(time.Duration(i) * time.Second)
		id, subject := fmt.Sprint("g", i), fmt.Sprint("s", i)
		must(t, s.CreateGrant(t.Context(), oauthreg.Grant{ID: id, ClientID: k.ID, Subject: subject, CreatedAt: when, ExpiresAt: at.Add(2 * time.Hour)}))
		_, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: k.ID, Subject: subject, CreatedAt: when})
		must(t, err)
		ids, subjects = append([]string{id}, ids...), append([]string{subject}, subjects...)
	}
	for _, p := range []struct{ offset, limit, from, to int }{{0, 0, 0, 5}, {0, 2, 0, 2}, {2, 2, 2, 4}, {4, 2, 4, 5}, {7, 2, 5, 5}} {
		grants, total, err := s.ListGrants(t.Context(), oauthreg.GrantFilter{ClientID: k.ID}, p.offset, p.limit)
		must(t, err)
		var got []string
		for _, g := range grants {
			got = append(got, g.ID)
		}
		if !slices.Equal(got, ids[p.from:p.to]) || total != 5 {
			t.Errorf("%d after %d: got grants %v of %d, want %v of 5", p.limit, p.offset, got, total, ids[p.from:p.to])
		}
		consents, total, err := s.ListConsents(t.Context(), oauthreg.GrantFilter{ClientID: k.ID}, p.offset, p.limit)
		must(t, err)
		got = nil
		for _, c := range consents {
			got = append(got, c.Subject)
		}
		if !slices.Equal(got, subjects[p.from:p.to]) || total != 5 {
			t.Errorf("%d after %d: got consents of %v of %d, want %v of 5", p.limit, p.offset, got, total, subjects[p.from:p.to])
		}
	}
	must(t, s.UseGrant(t.Context(), "g4", now(), now().Add(-time.Second)))
	_, err := s.RevokeGrants(t.Context(), oauthreg.GrantFilter{ID: "g3"})
	must(t, err)
	live, total, err := s.ListGrants(t.Context(), oauthreg.GrantFilter{}, 0, 1)
	must(t, err)
	if total != 3 || len(live) != 1 || live[0].ID != "g2" {
		t.Errorf("got grants %+v of %d, want g2 of the 3 that are live", live, total)
	}
}

func grantEnds(t testing.TB, s Store) {
	k, _ := client(t, s)
	id := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice", Scopes: []string{"a"}})
	got, err := s.Grant(t.Context(), id)
	must(t, err)
	if got.Subject != "alice" || got.ClientID != k.ID || !slices.Equal(got.Scopes, []string{"a"}) {
		t.Errorf("got %+v", got)
	}
	now := now()
	at, end := now.Add(-time.Minute), now.Add(time.Minute)
	must(t, s.UseGrant(t.Context(), id, at, end))
	got, err = s.Grant(t.Context(), id)
	must(t, err)
	if !got.LastUsedAt.Equal(at) || !got.ExpiresAt.Equal(end) {
		t.Errorf("after its use: got last use %v and end %v, want %v and %v", got.LastUsedAt, got.ExpiresAt, at, end)
	}
	must(t, s.UseGrant(t.Context(), id, now, now.Add(-time.Second)))
	_, err = s.Grant(t.Context(), id)
	want(t, "after its end", err, oauthreg.ErrNotFound)
	want(t, "use after its end", s.UseGrant(t.Context(), id, now, now.Add(time.Hour)), oauthreg.ErrNotFound)
}

func emptyFilterRevokesNothing(t testing.TB, s Store) {
	k, _ := client(t, s)
	id := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice"})
	if _, err := s.RevokeGrants(t.Context(), oauthreg.GrantFilter{}); err == nil {
		t.Error("RevokeGrants took an empty filter")
	}
	if _, err := s.RevokeConsents(t.Context(), oauthreg.GrantFilter{}); err == nil {
		t.Error("RevokeConsents took an empty filter")
	}
	_, err := s.Grant(t.Context(), id)
	must(t, err)
}

// selections are three grants, and what filters select of them.
type selections struct {
	requests [3]*fosite.Request // with a code and tokens beneath each
	filters  []selection
}

type selection struct {
	oauthreg.GrantFilter
	of []int
}

func selectable(t testing.TB, s Store) selections {
	t.Helper()
	k, f := client(t, s, func(k *oauthreg.Client) { k.OrgID, k.ProjectID = "o", "p" })
	_, g := client(t, s, func(k *oauthreg.Client) { k.OrgID, k.ProjectID = "o", "q" })
	all := [3]*fosite.Request{
		granted(t, s, f, oauthreg.Grant{Subject: "alice", SessionID: "s1"}),
		granted(t, s, f, oauthreg.Grant{Subject: "bob", SessionID: "s2"}),
		granted(t, s, g, oauthreg.Grant{Subject: "alice", SessionID: "s1"}),
	}
	return selections{all, []selection{
		{oauthreg.GrantFilter{ID: all[1].ID}, []int{1}},
		{oauthreg.GrantFilter{ClientID: k.ID}, []int{0, 1}},
		{oauthreg.GrantFilter{Subject: "alice"}, []int{0, 2}},
		{oauthreg.GrantFilter{SessionID: "s1"}, []int{0, 2}},
		{oauthreg.GrantFilter{OrgID: "o"}, []int{0, 1, 2}},
		{oauthreg.GrantFilter{ProjectID: "p"}, []int{0, 1}},
		{oauthreg.GrantFilter{OrgID: "o", ProjectID: "q"}, []int{2}},
		{oauthreg.GrantFilter{OrgID: "o", ProjectID: "p", ClientID: k.ID, Subject: "alice", SessionID: "s1", ID: all[0].ID}, []int{0}},
		{oauthreg.GrantFilter{Subject: "alice", SessionID: "s2"}, nil},
		{oauthreg.GrantFilter{OrgID: "another"}, nil},
	}}
}

func filtersSelect(t testing.TB, s Store) {
	all := selectable(t, s)
	for _, f := range append(all.filters, selection{of: []int{0, 1, 2}}) {
		list, total, err := s.ListGrants(t.Context(), f.GrantFilter, 0, 0)
		must(t, err)
		got := map[string]bool{}
		for _, g := range list {
			got[g.ID] = true
		}
		for i, r := range all.requests {
			if got[r.ID] != slices.Contains(f.of, i) {
				t.Errorf("%+v: listed is %t of grant %d", f.GrantFilter, got[r.ID], i)
			}
		}
		if len(list) != len(f.of) || total != len(f.of) {
			t.Errorf("%+v: got %d of %d, want %d", f.GrantFilter, len(list), total, len(f.of))
		}
	}
}

func filtersRevoke(t testing.TB, s Store) {
	for i := range selectable(t, s).filters {
		_, err := s.RevokeGrants(t.Context(), oauthreg.GrantFilter{OrgID: "o"}) // those of before
		must(t, err)
		all := selectable(t, s)
		f := all.filters[i]
		n, err := s.RevokeGrants(t.Context(), f.GrantFilter)
		must(t, err)
		if n != len(f.of) {
			t.Errorf("%+v: got %d revoked, want %d", f.GrantFilter, n, len(f.of))
		}
		for i, r := range all.requests {
			if !slices.Contains(f.of, i) {
				alive(t, s, r)
				continue
			}
			dead(t, s, r)
			_, err := s.Grant(t.Context(), r.ID)
			want(t, "a revoked grant", err, oauthreg.ErrNotFound)
		}
	}
}

func consentIsKeptWhole(t testing.TB, s Store) {
	k, _ := client(t, s)
	c := filled[oauthreg.Consent]()
	c.ClientID = k.ID
	c.ID, c.LastIssuedAt = "", time.Time{} // see consentTellsLastIssue
	id, err := s.SaveConsent(t.Context(), c)
	must(t, err)
	c.ID = id
	got, err := s.Consent(t.Context(), k.ID, c.Subject)
	must(t, err)
	same(t, "consent", got, c)
	list, _, err := s.ListConsents(t.Context(), oauthreg.GrantFilter{Subject: c.Subject}, 0, 0)
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("got %d consents in the list, want 1", len(list))
	}
	c.LastIssuedAt = c.LastUsedAt
	same(t, "consent, in the list", list[0], c)
	at := c.LastUsedAt.Add(time.Hour)
	_, err = s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: k.ID, Subject: c.Subject, Scopes: []string{"another"}, LastUsedAt: at})
	must(t, err)
	got, err = s.Consent(t.Context(), k.ID, c.Subject)
	must(t, err)
	if !got.LastUsedAt.Equal(at) || !got.CreatedAt.Equal(c.CreatedAt) {
		t.Errorf("widened: got created %v and last used %v, want %v and %v", got.CreatedAt, got.LastUsedAt, c.CreatedAt, at)
	}
}

func consentsAreSelected(t testing.TB, s Store) {
	k, _ := client(t, s, func(k *oauthreg.Client) { k.OrgID, k.ProjectID = "o", "p" })
	other, _ := client(t, s, func(k *oauthreg.Client) { k.OrgID, k.ProjectID = "o", "q" })
	all := []oauthreg.Consent{{ClientID: k.ID, Subject: "alice"}, {ClientID: k.ID, Subject: "bob"}, {ClientID: other.ID, Subject: "alice"}}
	give := func() {
		t.Helper()
		for i, c := range all {
			c.ID = ""
			id, err := s.SaveConsent(t.Context(), c)
			must(t, err)
			all[i].ID = id
		}
	}
	give()
	for _, f := range []selection{
		{oauthreg.GrantFilter{ID: all[1].ID}, []int{1}},
		{oauthreg.GrantFilter{ClientID: k.ID}, []int{0, 1}},
		{oauthreg.GrantFilter{Subject: "alice"}, []int{0, 2}},
		{oauthreg.GrantFilter{OrgID: "o"}, []int{0, 1, 2}},
		{oauthreg.GrantFilter{ProjectID: "p"}, []int{0, 1}},
		{oauthreg.GrantFilter{OrgID: "o", ProjectID: "p", Subject: "alice", ClientID: k.ID}, []int{0}},
		{oauthreg.GrantFilter{OrgID: "another"}, nil},
	} {
		give()
		if f.ID != "" {
			f.ID = all[1].ID // which may be another after it was given again
		}
		list, total, err := s.ListConsents(t.Context(), f.GrantFilter, 0, 0)
		must(t, err)
		n, err := s.RevokeConsents(t.Context(), f.GrantFilter)
		must(t, err)
		if len(list) != len(f.of) || total != len(f.of) || n != len(f.of) {
			t.Errorf("%+v: got %d listed of %d and %d revoked, want %d", f.GrantFilter, len(list), total, n, len(f.of))
		}
		for i, c := range all {
			listed := slices.ContainsFunc(list, func(l oauthreg.Consent) bool { return l.ClientID == c.ClientID && l.Subject == c.Subject })
			_, err := s.Consent(t.Context(), c.ClientID, c.Subject)
			if err != nil {
				want(t, "a revoked consent", err, oauthreg.ErrNotFound)
			}
			if selected := slices.Contains(f.of, i); listed != selected || (err != nil) != selected {
				t.Errorf("%+v: of consent %d listed is %t, revoked is %t, want %t", f.GrantFilter, i, listed, err != nil, selected)
			}
		}
	}
}

func grantNeedsItsConsent(t testing.TB, s Store) {
	k, _ := client(t, s)
	g := onConsent(t, s, k.ID)
	_, err := s.RevokeConsents(t.Context(), oauthreg.GrantFilter{Subject: g.Subject})
	must(t, err)
	want(t, "a revoked consent", s.CreateGrant(t.Context(), g), oauthreg.ErrConflict)
	want(t, "in a transaction", inTransaction(t.Context(), s, func(ctx context.Context) error { return s.CreateGrant(ctx, g) }), oauthreg.ErrConflict)
	for range 5 {
		g := onConsent(t, s, k.ID)
		all(t, callers, func(i int) error {
			if i == callers/2 {
				_, err := s.RevokeConsents(t.Context(), oauthreg.GrantFilter{Subject: g.Subject})
				return err
			}
			g := g
			g.ID = unique("grant")
			if err := s.CreateGrant(t.Context(), g); !errors.Is(err, oauthreg.ErrConflict) {
				return err
			}
			return nil
		})
		live, _, err := s.ListGrants(t.Context(), oauthreg.GrantFilter{Subject: g.Subject}, 0, 0)
		must(t, err)
		if len(live) != 0 {
			t.Errorf("%d grants outlive the consent they stand on", len(live))
		}
	}
}

func consentWidens(t testing.TB, s Store) {
	k, _ := client(t, s)
	var mu sync.Mutex
	ids := map[string]bool{}
	all(t, callers, func(i int) error {
		id, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: k.ID, Subject: "alice", Scopes: []string{"same", fmt.Sprint(i)}})
		mu.Lock()
		defer mu.Unlock()
		ids[id] = true
		return err
	})
	got, err := s.Consent(t.Context(), k.ID, "alice")
	must(t, err)
	if len(got.Scopes) != callers+1 || len(ids) != 1 || !ids[got.ID] {
		t.Errorf("got %d scopes in %d consents, want %d in one", len(got.Scopes), len(ids), callers+1)
	}
}

func consentIsGivenAnew(t testing.TB, s Store) {
	k, _ := client(t, s)
	old, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: k.ID, Subject: "alice"})
	must(t, err)
	_, err = s.RevokeConsents(t.Context(), oauthreg.GrantFilter{ID: old})
	must(t, err)
	// The first decisions after it, at the same time: each is a grant on the one
	// consent, whoever made it.
	var ids [callers]string
	decide := func(i int) error {
		ids[i] = unique("grant")
		ctx, err := s.BeginTX(t.Context())
		must(t, err)
		consent, err := s.SaveConsent(ctx, oauthreg.Consent{ClientID: k.ID, Subject: "alice"})
		must(t, err)
		must(t, s.CreateGrant(ctx, oauthreg.Grant{ID: ids[i], ClientID: k.ID, Subject: "alice", ConsentID: consent, ExpiresAt: time.Now().Add(time.Hour)}))
		return s.Commit(ctx)
	}
	all(t, callers, decide)
	_, consents, err := s.ListConsents(t.Context(), oauthreg.GrantFilter{ClientID: k.ID}, 0, 0)
	must(t, err)
	got, err := s.Consent(t.Context(), k.ID, "alice")
	must(t, err)
	if consents != 1 || got.ID == old {
		t.Errorf("got %d consents, %+v; want one, with another id than %s", consents, got, old)
	}
	n, err := s.RevokeConsents(t.Context(), oauthreg.GrantFilter{ID: old})
	must(t, err)
	if n != 0 {
		t.Errorf("got %d revoked by an id that was revoked before, want 0", n)
	}
	for _, id := range ids {
		g, err := s.Grant(t.Context(), id)
		must(t, err)
		if g.ConsentID != got.ID {
			t.Errorf("got a grant on %q, want on %q", g.ConsentID, got.ID)
		}
	}
}

func revokedConsentIsNotWidened(t testing.TB, s Store) {
	k, _ := client(t, s)
	save := func(id, scope string) (string, error) {
		return s.SaveConsent(t.Context(), oauthreg.Consent{ID: id, ClientID: k.ID, Subject: "alice", Scopes: []string{scope}})
	}
	old, err := save("", "a")
	must(t, err)
	same, err := save(old, "b")
	must(t, err)
	got, err := s.Consent(t.Context(), k.ID, "alice")
	must(t, err)
	if same != old || got.ID != old {
		t.Errorf("got %+v and the id %s, want %s", got, same, old)
	}
	_, err = s.RevokeConsents(t.Context(), oauthreg.GrantFilter{ID: old})
	must(t, err)
	_, err = save(old, "c")
	want(t, "a revoked one", err, oauthreg.ErrConflict)
	_, err = s.Consent(t.Context(), k.ID, "alice")
	want(t, "it", err, oauthreg.ErrNotFound)
	anew, err := save("", "d")
	must(t, err)
	if anew == old {
		return // see consentIsGivenAnew
	}
	_, err = save(old, "e")
	want(t, "a revoked one, while there is another", err, oauthreg.ErrConflict)
	got, err = s.Consent(t.Context(), k.ID, "alice")
	must(t, err)
	if slices.Contains(got.Scopes, "e") {
		t.Errorf("got %+v, want it as it was given", got)
	}
}

func consentTellsLastIssue(t testing.TB, s Store) {
	k, _ := client(t, s)
	made := time.Now().UTC().Truncate(time.Millisecond).Add(-time.Hour)
	consent, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: k.ID, Subject: "alice", CreatedAt: made, LastUsedAt: made})
	must(t, err)
	_, err = s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: k.ID, Subject: "bob", CreatedAt: made, LastUsedAt: made})
	must(t, err)
	first := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice", ConsentID: consent, CreatedAt: made})
	second := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice", ConsentID: consent, CreatedAt: made})
	without := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice"})
	check := func(what string, want time.Time) {
		t.Helper()
		for subject, want := range map[string]time.Time{"alice": want, "bob": made} {
			list, _, err := s.ListConsents(t.Context(), oauthreg.GrantFilter{ClientID: k.ID, Subject: subject}, 0, 0)
			must(t, err)
			if len(list) != 1 || !list[0].LastIssuedAt.Equal(want) {
				t.Errorf("%s, %s: got %+v, want issued at %v", what, subject, list, want)
			}
		}
		// Whether a consent still counts is judged by what the user did.
		own, err := s.Consent(t.Context(), k.ID, "alice")
		must(t, err)
		if !own.LastUsedAt.Equal(made) {
			t.Errorf("%s: got used at %v, want %v", what, own.LastUsedAt, made)
		}
	}
	use := func(id string, after time.Duration) time.Time {
		at := made.Add(after)
		must(t, s.UseGrant(t.Context(), id, at, time.Now().Add(time.Hour)))
		return at
	}
	check("no token yet", made)
	earlier := use(first, time.Minute)
	check("a token", earlier)
	later := use(second, 2*time.Minute)
	use(without, 3*time.Minute)
	check("a later one", later)
	_, err = s.RevokeGrants(t.Context(), oauthreg.GrantFilter{ID: second})
	must(t, err)
	check("its grant is revoked", earlier)
}

func revokedConsentEndsGrants(t testing.TB, s Store) {
	k, _ := client(t, s)
	consent, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: k.ID, Subject: "alice", Scopes: []string{"a"}})
	must(t, err)
	id := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice", ConsentID: consent})
	without := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice"})
	n, err := s.RevokeConsents(t.Context(), oauthreg.GrantFilter{ClientID: k.ID, Subject: "alice"})
	must(t, err)
	if n != 1 {
		t.Errorf("got %d consents revoked, want 1", n)
	}
	_, err = s.Consent(t.Context(), k.ID, "alice")
	want(t, "the consent", err, oauthreg.ErrNotFound)
	_, err = s.Grant(t.Context(), id)
	want(t, "the grant on it", err, oauthreg.ErrNotFound)
	_, err = s.Grant(t.Context(), without)
	must(t, err)
}
