package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func signingKeysAreKeptWhole(t testing.TB, s Store) {
	var keys []oauthreg.SigningKey
	at := now()
	for i, kid := range []string{"oldest", "a", "b"} { // a and b at one time
		k := filled[oauthreg.SigningKey]()
		k.KeyID, k.CreatedAt = kid, at.Add(time.Duration(min(i, 1))*time.Second)
		keys = append(keys, k)
	}
	keys[2].ActiveAt, keys[2].RetiredAt, keys[2].ExpiresAt = at, time.Time{}, time.Time{}
	kept := func(what string) {
		t.Helper()
		check := func(what string, got []oauthreg.SigningKey) {
			t.Helper()
			if len(got) != len(keys) {
				t.Fatalf("%s: got %d keys, want %d", what, len(got), len(keys))
			}
			for i := range keys {
				same(t, what, got[i], keys[i])
			}
		}
		got, err := s.SigningKeys(t.Context())
		must(t, err)
		check(what, got)
		must(t, s.UpdateSigningKeys(t.Context(), func(have []oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
			check(what+", given to change", have)
			return nil, nil, nil
		}))
	}
	change := func(add, replace []oauthreg.SigningKey) error {
		return s.UpdateSigningKeys(t.Context(), func([]oauthreg.SigningKey) ([]oauthreg.SigningKey, []oauthreg.SigningKey, error) {
			return add, replace, nil
		})
	}
	must(t, change([]oauthreg.SigningKey{keys[2], keys[0], keys[1]}, nil))
	kept("added")
	replaced := keys[2]
	replaced.Private, replaced.RetiredAt, replaced.ExpiresAt = []byte("ignored"), at.Add(time.Hour), at.Add(2*time.Hour)
	keys[2].RetiredAt, keys[2].ExpiresAt = replaced.RetiredAt, replaced.ExpiresAt
	must(t, change(nil, []oauthreg.SigningKey{replaced}))
	kept("replaced")
}

func signingKeysAreMadeOnce(t testing.TB, s Store) {
	all(t, callers/2, func(i int) error {
		return s.UpdateSigningKeys(t.Context(), func(have []oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
			if len(have) == 0 {
				add = []oauthreg.SigningKey{{KeyID: fmt.Sprint(i), Alg: "RS256", Private: []byte("private"), CreatedAt: time.Now()}}
			}
			return add, nil, nil
		})
	})
	keys, err := s.SigningKeys(t.Context())
	must(t, err)
	if len(keys) != 1 || string(keys[0].Private) != "private" {
		t.Errorf("got %d keys, want the first", len(keys))
	}
}

func signingKeyChangesAreAudited(t testing.TB, s Store) {
	now := time.Now()
	key := oauthreg.SigningKey{KeyID: "audited", Alg: "RS256", Private: []byte("private"), CreatedAt: now, ActiveAt: now}
	change := func(add, replace []oauthreg.SigningKey, err error) error {
		return s.UpdateSigningKeys(t.Context(), func([]oauthreg.SigningKey) ([]oauthreg.SigningKey, []oauthreg.SigningKey, error) {
			return add, replace, err
		})
	}
	refused := errors.New("refused")
	want(t, "change's error", change([]oauthreg.SigningKey{key}, nil, refused), refused)
	must(t, change([]oauthreg.SigningKey{key}, nil, nil))
	keys, err := s.SigningKeys(t.Context())
	must(t, err)
	keys[0].RetiredAt, keys[0].ExpiresAt = now, now
	must(t, change(nil, keys, nil))
	records, err := s.AuditRecords(t.Context(), oauthreg.AuditQuery{NoClient: true})
	must(t, err)
	var actions []string
	for _, a := range records {
		actions = append(actions, a.Action)
	}
	slices.Sort(actions)
	if !slices.Equal(actions, []string{"signing_key.created", "signing_key.withdrawn"}) {
		t.Errorf("got records %v, want one per change that was made", actions)
	}
}

func registrationPermissionIsKeptWhole(t testing.TB, s Store) {
	whole := filled[oauthreg.InitialAccessToken]()
	whole.Uses = 1
	none := oauthreg.InitialAccessToken{ID: "none", Digest: []byte("none"), Scopes: []string{}, GrantTypes: []string{}, CreatedAt: now()}
	any := oauthreg.InitialAccessToken{ID: "any", Digest: []byte("any"), CreatedAt: now()}
	for _, token := range []oauthreg.InitialAccessToken{whole, none, any} {
		must(t, s.CreateInitialAccessToken(t.Context(), token))
		got, err := s.InitialAccessToken(t.Context(), token.Digest)
		must(t, err)
		same(t, "permission", got, token)
		if (got.Scopes == nil) != (token.Scopes == nil) || (got.GrantTypes == nil) != (token.GrantTypes == nil) {
			t.Errorf("got scopes %#v and grant types %#v, want %#v and %#v: nothing is not anything", got.Scopes, got.GrantTypes, token.Scopes, token.GrantTypes)
		}
	}
	must(t, s.UseInitialAccessToken(t.Context(), any.Digest, now())) // no limit, no end
	must(t, s.UseInitialAccessToken(t.Context(), any.Digest, now()))
	got, err := s.InitialAccessToken(t.Context(), any.Digest)
	must(t, err)
	if got.Uses != 2 {
		t.Errorf("got %d uses, want 2", got.Uses)
	}
}

func registrationPermissionsAreListed(t testing.TB, s Store) {
	at := now()
	var all []oauthreg.InitialAccessToken // newest first
	for i := range 4 {
		token := filled[oauthreg.InitialAccessToken]()
		token.ID, token.Digest, token.Uses, token.CreatedAt = fmt.Sprint(i), fmt.Append(nil, i), 0, at.Add(time.Duration(i)*time.Second)
		must(t, s.CreateInitialAccessToken(t.Context(), token))
		all = append([]oauthreg.InitialAccessToken{token}, all...)
	}
	must(t, s.UseInitialAccessToken(t.Context(), all[0].Digest, all[0].ExpiresAt.Add(-time.Second)))
	all[0].Uses = 1
	for _, p := range []struct{ offset, limit, from, to int }{{0, 100, 0, 4}, {0, 3, 0, 3}, {2, 1, 2, 3}, {4, 1, 4, 4}} {
		got, err := s.ListInitialAccessTokens(t.Context(), p.offset, p.limit)
		must(t, err)
		if len(got) != p.to-p.from {
			t.Errorf("%d after %d: got %d, want %d", p.limit, p.offset, len(got), p.to-p.from)
			continue
		}
		for i := range got {
			same(t, fmt.Sprintf("%d after %d", p.limit, p.offset), got[i], all[p.from+i])
		}
	}
}

func registrationPermissionIsLimited(t testing.TB, s Store) {
	now := time.Now()
	token := oauthreg.InitialAccessToken{ID: "1", Digest: []byte("digest"), MaxUses: 1, CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
	must(t, s.CreateInitialAccessToken(t.Context(), token))
	want(t, "the same again", s.CreateInitialAccessToken(t.Context(), token), oauthreg.ErrConflict)
	want(t, "after its end", s.UseInitialAccessToken(t.Context(), token.Digest, now.Add(2*time.Hour)), oauthreg.ErrNotFound)
	race(t, callers, oauthreg.ErrConsumed, func(int) error { return s.UseInitialAccessToken(t.Context(), token.Digest, now) })
	got, err := s.InitialAccessToken(t.Context(), token.Digest) // also one that is used up
	must(t, err)
	if got.Uses != 1 {
		t.Errorf("got %d uses, want 1", got.Uses)
	}
	three := oauthreg.InitialAccessToken{ID: "3", Digest: []byte("three"), MaxUses: 3, CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
	must(t, s.CreateInitialAccessToken(t.Context(), three))
	var used atomic.Int32
	all(t, callers, func(int) error {
		err := s.UseInitialAccessToken(t.Context(), three.Digest, now)
		if err == nil {
			used.Add(1)
		} else if errors.Is(err, oauthreg.ErrConsumed) {
			return nil
		}
		return err
	})
	if n := used.Load(); n != 3 {
		t.Errorf("a permission for 3 was used %d times", n)
	}
	want(t, "the same digest", s.CreateInitialAccessToken(t.Context(), oauthreg.InitialAccessToken{ID: "2", Digest: token.Digest}), oauthreg.ErrConflict)
	must(t, s.DeleteInitialAccessToken(t.Context(), "1"))
	want(t, "after its deletion", s.UseInitialAccessToken(t.Context(), token.Digest, now), oauthreg.ErrNotFound)
}
