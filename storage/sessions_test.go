package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func TestLoginSession(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		want := oauthreg.LoginSession{
			Login:  oauthreg.Login{Subject: "alice", SessionID: "sid", AuthTime: c.now().Add(-time.Second), AMR: []string{"pwd", "otp"}, ACR: "2"},
			Handle: "handle", CreatedAt: c.now(), LastSeenAt: c.now(), ExpiresAt: c.now().Add(24 * time.Hour), IdleExpiresAt: c.now().Add(time.Hour), UserAgent: "curl",
		}
		must(t, s.CreateLoginSession(ctx, want))
		got, err := s.LoginSession(ctx, "handle")
		must(t, err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		for _, handle := range []string{"", "unknown", "sid"} {
			_, err := s.LoginSession(ctx, handle)
			wantErr(t, err, oauthreg.ErrNotFound)
			wantErr(t, s.TouchLoginSession(ctx, handle, c.now(), c.now()), oauthreg.ErrNotFound)
		}
		same := want
		same.Handle = "other"
		wantErr(t, s.CreateLoginSession(ctx, same), oauthreg.ErrConflict)

		// Use moves the idle end, but not beyond the absolute one.
		c.add(50 * time.Minute)
		must(t, s.TouchLoginSession(ctx, "handle", c.now(), c.now().Add(time.Hour)))
		c.add(50 * time.Minute)
		got, err = s.LoginSession(ctx, "handle")
		must(t, err)
		if !got.LastSeenAt.Equal(c.now().Add(-50*time.Minute)) || !got.IdleExpiresAt.Equal(c.now().Add(10*time.Minute)) {
			t.Errorf("got %+v", got)
		}
		must(t, s.TouchLoginSession(ctx, "handle", c.now(), c.now().Add(48*time.Hour)))
		c.add(22 * time.Hour)
		_, err = s.LoginSession(ctx, "handle")
		must(t, err)
		c.add(time.Hour)
		_, err = s.LoginSession(ctx, "handle")
		wantErr(t, err, oauthreg.ErrNotFound)
		wantErr(t, s.TouchLoginSession(ctx, "handle", c.now(), c.now().Add(time.Hour)), oauthreg.ErrNotFound)
	})
}

func TestLoginSessionsOfASubject(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		for i, subject := range []string{"alice", "alice", "bob", "alice"} {
			c.add(time.Second)
			must(t, s.CreateLoginSession(ctx, oauthreg.LoginSession{
				Login: oauthreg.Login{Subject: subject, SessionID: fmt.Sprint("sid", i)}, Handle: fmt.Sprint("h", i),
				ExpiresAt: c.now().Add(time.Duration(i+1) * time.Hour), IdleExpiresAt: c.now().Add(24 * time.Hour),
			}))
		}
		sids := func() (out []string) {
			list, err := s.ListLoginSessions(ctx, "alice")
			must(t, err)
			for _, l := range list {
				if l.Handle != "" {
					t.Error("a listed session has its handle")
				}
				out = append(out, l.SessionID)
			}
			return out
		}
		if got, want := sids(), []string{"sid3", "sid1", "sid0"}; !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		must(t, s.EndLoginSession(ctx, "sid3"))
		must(t, s.EndLoginSession(ctx, "sid3"))
		must(t, s.EndLoginSession(ctx, ""))
		_, err := s.LoginSession(ctx, "h3")
		wantErr(t, err, oauthreg.ErrNotFound)
		c.add(time.Hour)
		if got, want := sids(), []string{"sid1"}; !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestInteraction(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		i := oauthreg.Interaction{Handle: "h", Browser: "b", ClientID: "k", Request: []byte(`{"state":"x"}`), CreatedAt: c.now(), ExpiresAt: c.now().Add(time.Hour)}
		must(t, s.CreateInteraction(ctx, i))
		wantErr(t, s.CreateInteraction(ctx, i), oauthreg.ErrConflict)
		want := i
		want.Browser = ""
		for _, browser := range []string{"b", ""} {
			got, err := s.Interaction(ctx, "h", browser)
			must(t, err)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		}
		for _, at := range [][2]string{{"h", "other"}, {"unknown", "b"}, {"", ""}} {
			_, err := s.Interaction(ctx, at[0], at[1])
			wantErr(t, err, oauthreg.ErrNotFound)
		}

		want.Subject, want.SessionID, want.Request = "alice", "sid", []byte(`{"state":"y"}`)
		must(t, s.UpdateInteraction(ctx, want))
		got, err := s.Interaction(ctx, "h", "b")
		must(t, err)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		wantErr(t, s.UpdateInteraction(ctx, oauthreg.Interaction{Handle: "unknown"}), oauthreg.ErrNotFound)
		wantErr(t, s.UpdateInteraction(ctx, oauthreg.Interaction{}), oauthreg.ErrNotFound)
		wantErr(t, s.FinishInteraction(ctx, "unknown"), oauthreg.ErrNotFound)
		wantErr(t, s.FinishInteraction(ctx, ""), oauthreg.ErrNotFound)

		race(t, 50, oauthreg.ErrConsumed, 1, func(i int) error {
			if i%2 == 0 {
				return s.FinishInteraction(ctx, "h")
			}
			ctx, err := s.BeginTX(ctx)
			must(t, err)
			must(t, s.FinishInteraction(ctx, "h"))
			return s.Commit(ctx)
		})
		_, err = s.Interaction(ctx, "h", "b")
		wantErr(t, err, oauthreg.ErrConsumed)
		_, err = s.Interaction(ctx, "h", "other") // says nothing to others
		wantErr(t, err, oauthreg.ErrNotFound)
		wantErr(t, s.UpdateInteraction(ctx, want), oauthreg.ErrConsumed)

		c.add(time.Hour)
		_, err = s.Interaction(ctx, "h", "b")
		wantErr(t, err, oauthreg.ErrNotFound)
		wantErr(t, s.FinishInteraction(ctx, "h"), oauthreg.ErrNotFound)
	})
}

// One that is bound to no browser is not found by any.
func TestInteractionWithoutBrowser(t *testing.T) {
	s := openTest(t, "memory", testConfig(newClock()))
	must(t, s.CreateInteraction(t.Context(), oauthreg.Interaction{Handle: "h", ExpiresAt: s.now().Add(time.Hour)}))
	_, err := s.Interaction(t.Context(), "h", "b")
	wantErr(t, err, oauthreg.ErrNotFound)
	_, err = s.Interaction(t.Context(), "h", "")
	must(t, err)
}

func TestSigningKeys(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		keys, err := s.SigningKeys(ctx)
		must(t, err)
		if len(keys) != 0 {
			t.Errorf("got %v", keys)
		}
		b := oauthreg.SigningKey{KeyID: "b", Alg: "ES256", Private: []byte("private b"), CreatedAt: c.now(), ActiveAt: c.now()}
		a := oauthreg.SigningKey{KeyID: "a", Alg: "RS256", Private: []byte("private a"), CreatedAt: c.now(), ActiveAt: c.now().Add(time.Hour), RetiredAt: c.now().Add(2 * time.Hour), ExpiresAt: c.now().Add(3 * time.Hour)}
		old := oauthreg.SigningKey{KeyID: "z", Alg: "RS256", Private: []byte("private z"), CreatedAt: c.now().Add(-time.Hour)}
		must(t, s.UpdateSigningKeys(ctx, func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
			return []oauthreg.SigningKey{b, a, old}, nil, nil
		}))
		keys, err = s.SigningKeys(ctx)
		must(t, err)
		if want := []oauthreg.SigningKey{old, a, b}; !reflect.DeepEqual(keys, want) {
			t.Errorf("got  %+v\nwant %+v", keys, want)
		}

		b.RetiredAt = c.now().Add(time.Minute)
		ignored := b
		ignored.Private, ignored.Alg = []byte("ignored"), "none"
		must(t, s.UpdateSigningKeys(ctx, func(have []oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
			if len(have) != 3 {
				t.Errorf("got %d keys, want 3", len(have))
			}
			return nil, []oauthreg.SigningKey{ignored}, nil
		}))
		keys, err = s.SigningKeys(ctx)
		must(t, err)
		if !reflect.DeepEqual(keys[2], b) {
			t.Errorf("got  %+v\nwant %+v", keys[2], b)
		}

		boom := errors.New("boom")
		for _, tt := range []struct {
			name         string
			add, replace []oauthreg.SigningKey
			err, want    error
		}{
			{"change's error", []oauthreg.SigningKey{{KeyID: "n", Alg: "x", Private: []byte("p")}}, nil, boom, boom},
			{"a taken id", []oauthreg.SigningKey{b}, nil, nil, oauthreg.ErrConflict},
			{"an unknown id", []oauthreg.SigningKey{{KeyID: "n", Alg: "x", Private: []byte("p")}}, []oauthreg.SigningKey{{KeyID: "unknown"}}, nil, oauthreg.ErrNotFound},
			{"nothing", nil, nil, nil, nil},
		} {
			err := s.UpdateSigningKeys(ctx, func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
				return tt.add, tt.replace, tt.err
			})
			if !errors.Is(err, tt.want) {
				t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
			}
		}
		if n := count(t, s, "signing_keys"); n != 3 {
			t.Errorf("got %d keys, want 3: a failed change left something", n)
		}
	})
}

// Servers that start together agree on one key: changes exclude each other, in
// one process and between several.
func TestSigningKeysMadeOnce(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "auth.db")
	stores := []*Store{openPath(t, path, testConfig(c)), openPath(t, path, testConfig(c)), openPath(t, path, testConfig(c))}
	inside := make([]atomic.Int32, len(stores))
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			n := i % len(stores)
			err := stores[n].UpdateSigningKeys(t.Context(), func(have []oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
				if inside[n].Add(1) > 1 {
					t.Error("two changes run at the same time in one process")
				}
				defer inside[n].Add(-1)
				if len(have) > 0 {
					return nil, nil, nil
				}
				for range 100 { // making a key takes time
					runtime.Gosched()
				}
				return []oauthreg.SigningKey{{KeyID: fmt.Sprint(i), Alg: "RS256", Private: []byte("p")}}, nil, nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	keys, err := stores[0].SigningKeys(t.Context())
	must(t, err)
	if len(keys) != 1 {
		t.Errorf("got %d keys, want 1", len(keys))
	}
}

// Waiting for another change can be given up; and a change may use the store.
func TestUpdateSigningKeysWaits(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		must(t, s.UpdateSigningKeys(t.Context(), func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
			_, err = s.SigningKeys(t.Context())
			must(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			err = s.UpdateSigningKeys(ctx, func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
				t.Error("a change ran within another")
				return nil, nil, nil
			})
			wantErr(t, err, context.DeadlineExceeded)
			return nil, nil, nil
		}))
	})
}

func TestInitialAccessTokens(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		many := oauthreg.InitialAccessToken{ID: "1", Label: "l", Digest: []byte("d1"), Scopes: []string{}, MaxUses: 3, CreatedAt: c.now(), ExpiresAt: c.now().Add(time.Hour)}
		any := oauthreg.InitialAccessToken{ID: "2", Digest: []byte("d2"), GrantTypes: []string{"authorization_code"}, OrgID: "o", CreatedAt: c.now().Add(time.Second)}
		must(t, s.CreateInitialAccessToken(ctx, many))
		must(t, s.CreateInitialAccessToken(ctx, any))
		wantErr(t, s.CreateInitialAccessToken(ctx, oauthreg.InitialAccessToken{ID: "1", Digest: []byte("x")}), oauthreg.ErrConflict)
		wantErr(t, s.CreateInitialAccessToken(ctx, oauthreg.InitialAccessToken{ID: "x", Digest: []byte("d1")}), oauthreg.ErrConflict)
		for _, want := range []oauthreg.InitialAccessToken{many, any} {
			got, err := s.InitialAccessToken(ctx, want.Digest)
			must(t, err)
			if !reflect.DeepEqual(got, want) { // nil and empty scopes are not the same
				t.Errorf("got  %#v\nwant %#v", got, want)
			}
		}
		list, err := s.ListInitialAccessTokens(ctx, 0, 0)
		must(t, err)
		if len(list) != 2 || list[0].ID != "2" {
			t.Errorf("got %v, want newest first", list)
		}
		list, err = s.ListInitialAccessTokens(ctx, 1, 1)
		must(t, err)
		if len(list) != 1 || list[0].ID != "1" {
			t.Errorf("got %v, want the second", list)
		}

		race(t, 20, oauthreg.ErrConsumed, 3, func(int) error { return s.UseInitialAccessToken(ctx, many.Digest, c.now()) })
		race(t, 20, oauthreg.ErrConsumed, 20, func(int) error { return s.UseInitialAccessToken(ctx, any.Digest, c.now()) })
		got, err := s.InitialAccessToken(ctx, many.Digest)
		must(t, err)
		if got.Uses != 3 || !got.UsedUp() {
			t.Errorf("got %d uses, want 3", got.Uses)
		}
		wantErr(t, s.UseInitialAccessToken(ctx, []byte("unknown"), c.now()), oauthreg.ErrNotFound)
		wantErr(t, s.UseInitialAccessToken(ctx, nil, c.now()), oauthreg.ErrNotFound)
		wantErr(t, s.UseInitialAccessToken(ctx, many.Digest, c.now().Add(time.Hour)), oauthreg.ErrNotFound)
		must(t, s.DeleteInitialAccessToken(ctx, "1"))
		wantErr(t, s.DeleteInitialAccessToken(ctx, "1"), oauthreg.ErrNotFound)
		_, err = s.InitialAccessToken(ctx, many.Digest)
		wantErr(t, err, oauthreg.ErrNotFound)
		_, err = s.InitialAccessToken(ctx, nil)
		wantErr(t, err, oauthreg.ErrNotFound)
	})
}

// A value opens in its own row and nowhere else, and with any configured key.
func TestSeal(t *testing.T) {
	old, key := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	a := newSealer([][]byte{old})
	row, plain := digest("row"), []byte("secret")
	sealed, err := a.seal("kind", row, plain)
	must(t, err)
	if bytes.Contains(sealed, plain) {
		t.Error("it is not encrypted")
	}
	again, err := a.seal("kind", row, plain)
	must(t, err)
	if bytes.Equal(sealed, again) {
		t.Error("the same value twice looks the same")
	}
	rotated := newSealer([][]byte{key, old})
	for name, s := range map[string]*sealer{"same key": a, "rotated key": rotated} {
		got, err := s.open("kind", row, sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	fresh, err := rotated.seal("kind", row, plain)
	must(t, err)
	if _, err := a.open("kind", row, fresh); err == nil {
		t.Error("it was not sealed with the first key")
	}
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	nonce := bytes.Clone(sealed)
	nonce[1] ^= 1
	for name, f := range map[string]func() ([]byte, error){
		"another kind":   func() ([]byte, error) { return a.open("other", row, sealed) },
		"another row":    func() ([]byte, error) { return a.open("kind", digest("other"), sealed) },
		"another key":    func() ([]byte, error) { return newSealer([][]byte{key}).open("kind", row, sealed) },
		"altered":        func() ([]byte, error) { return a.open("kind", row, flipped) },
		"altered nonce":  func() ([]byte, error) { return a.open("kind", row, nonce) },
		"cut off":        func() ([]byte, error) { return a.open("kind", row, sealed[:20]) },
		"empty":          func() ([]byte, error) { return a.open("kind", row, nil) },
		"moved boundary": func() ([]byte, error) { return a.open("kin", append([]byte("d\x00"), row...), sealed) },
	} {
		if got, err := f(); err == nil {
			t.Errorf("%s: opened as %q", name, got)
		}
	}
}

// Rows of an older key are read after the key was changed, and not after it was
// taken away; that is a failure, not a missing token.
func TestKeyRotation(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "auth.db")
	s := openPath(t, path, testConfig(c))
	r := newRequest(s, addClient(t, s))
	issue(t, s, r)
	fresh := bytes.Repeat([]byte{7}, 32)
	cfg := testConfig(c)
	cfg.EncryptionKeys = [][]byte{fresh, testKey}
	_, err := openPath(t, path, cfg).GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	must(t, err)
	cfg.EncryptionKeys = [][]byte{fresh}
	_, err = openPath(t, path, cfg).GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	wantErr(t, err, errUnsealable)
}
