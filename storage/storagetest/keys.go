package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

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

func registrationPermissionIsLimited(t testing.TB, s Store) {
	now := time.Now()
	token := oauthreg.InitialAccessToken{ID: "1", Digest: []byte("digest"), MaxUses: 1, CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
	must(t, s.CreateInitialAccessToken(t.Context(), token))
	want(t, "the same again", s.CreateInitialAccessToken(t.Context(), token), oauthreg.ErrConflict)
	want(t, "after its end", s.UseInitialAccessToken(t.Context(), token.Digest, now.Add(2*time.Hour)), oauthreg.ErrNotFound)
	race(t, callers, oauthreg.ErrConsumed, func(int) error { return s.UseInitialAccessToken(t.Context(), token.Digest, now) })
	must(t, s.DeleteInitialAccessToken(t.Context(), "1"))
	want(t, "after its deletion", s.UseInitialAccessToken(t.Context(), token.Digest, now), oauthreg.ErrNotFound)
}
