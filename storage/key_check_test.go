package storage

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// withKeys opens a database with other keys.
func withKeys(t *testing.T, dsn string, c *clock, keys ...[]byte) *Store {
	t.Helper()
	cfg := testConfig(c)
	cfg.EncryptionKeys = keys
	return openPath(t, dsn, cfg)
}

// cutOff is a database that goes away after some writes.
type cutOff struct {
	backend
	left int
}

func (b *cutOff) write(ctx context.Context, fn func(context.Context, conn) error) error {
	if b.left == 0 {
		return errors.New("cut off")
	}
	b.left--
	return b.backend.write(ctx, fn)
}

func (b *cutOff) writeOne(ctx context.Context, fn func(context.Context, conn) error) error {
	return b.write(ctx, fn)
}

// However early a Reencrypt is cut off, a server without the old key does not start;
// once it has succeeded, it does.
func TestKeyIsMissedAfterReencryptWasCutOff(t *testing.T) {
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			dsn := place(t, kind)
			seed(t, openPath(t, dsn, testConfig(c)), c)
			for writes := 0; ; writes++ {
				both := withKeys(t, dsn, c, freshKey, testKey)
				must(t, both.CheckEncryptionKeys(t.Context()))
				both.db = &cutOff{both.db, 1}
				_, err := both.Reencrypt(t.Context())
				alone := withKeys(t, dsn, c, freshKey)
				_, missed := alone.SigningKeys(t.Context())
				if err == nil || missed == nil {
					must(t, missed)
					if writes < len(sealedColumns)-2 {
						t.Errorf("the old key was not missed after %d writes", writes)
					}
					checkSeed(t, alone, c, 99)
					return
				}
				wantErr(t, missed, ErrEncryptionKeys)
				if strings.Contains(missed.Error(), "\n") {
					t.Errorf("got %q, want one line", missed)
				}
			}
		})
	}
}

// The keys of a host whose signing keys are elsewhere are checked as well, and of
// servers that start at the same time with different ones only those start that have
// the same.
func TestEncryptionKeysWithoutSigningKeys(t *testing.T) {
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			dsn := place(t, kind)
			other := bytes.Repeat([]byte{9}, sealKeySize)
			var stores []*Store
			for range 4 {
				stores = append(stores, withKeys(t, dsn, c, testKey), withKeys(t, dsn, c, other))
			}
			errs := make([]error, len(stores))
			var wg sync.WaitGroup
			for i, s := range stores {
				wg.Go(func() { _, errs[i] = s.SigningKeys(t.Context()) })
			}
			wg.Wait()
			won := 0
			if errs[0] != nil {
				won = 1
			}
			for i, err := range errs {
				if i%2 == won {
					must(t, err)
				} else {
					wantErr(t, err, ErrEncryptionKeys)
				}
			}
			wantErr(t, stores[1-won].CheckEncryptionKeys(t.Context()), ErrEncryptionKeys) // again
			must(t, withKeys(t, dsn, c, freshKey, [][]byte{testKey, other}[won]).CheckEncryptionKeys(t.Context()))
		})
	}
}

// A database from before there was something to check gets it when everything in it
// opens with the first key. Whether it does is looked for everywhere.
func TestEncryptionKeysOfOlderDatabase(t *testing.T) {
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			dsn := place(t, kind)
			s := openPath(t, dsn, testConfig(c))
			seed(t, s, c)
			check := func(want error, written int, keys ...[]byte) {
				t.Helper()
				must(t, forgetCheck(t, s))
				wantErr(t, withKeys(t, dsn, c, keys...).CheckEncryptionKeys(t.Context()), want)
				if n := count(t, s, "key_check"); n != written {
					t.Errorf("%d values to check are there, want %d", n, written)
				}
			}
			check(nil, 1, testKey)
			check(nil, 1, testKey, freshKey)
			check(nil, 0, freshKey, testKey)
			check(ErrEncryptionKeys, 0, freshKey)
			// Only the last that Reencrypt came to.
			must(t, forgetCheck(t, s))
			both := withKeys(t, dsn, c, freshKey, testKey)
			_, err := both.Reencrypt(t.Context())
			must(t, err)
			if n := count(t, s, "key_check"); n != 1 {
				t.Errorf("Reencrypt left %d values to check, want 1", n)
			}
			must(t, s.CreateLoginSession(t.Context(), oauthreg.LoginSession{
				Login: oauthreg.Login{Subject: "alice", SessionID: "old"}, Handle: "old", UserAgent: "x", IdleExpiresAt: c.now().Add(time.Hour),
			}))
			check(ErrEncryptionKeys, 0, freshKey)
			check(nil, 0, freshKey, testKey)
			// What was altered is no missing key.
			must(t, s.EndLoginSession(t.Context(), "old"))
			run(t, s, "UPDATE oauthreg_access_tokens SET request = ? WHERE grant_id = 'machine'", []byte{1, 2})
			check(nil, 1, freshKey)
		})
	}
}

// forgetCheck makes a database one from before there was something to check.
func forgetCheck(t *testing.T, s *Store) error {
	t.Helper()
	return s.db.write(t.Context(), func(ctx context.Context, c conn) error {
		_, err := c.exec(ctx, "DELETE FROM oauthreg_key_check")
		return err
	})
}
