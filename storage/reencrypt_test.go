package storage

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/oauthreg"
)

var freshKey = bytes.Repeat([]byte{7}, 32)

// After Reencrypt the old key is not needed for anything.
func TestReencrypt(t *testing.T) {
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			dsn := place(t, kind)
			old := openPath(t, dsn, testConfig(c))
			seed(t, old, c)
			for range reencryptBatch { // more than a batch
				must(t, old.CreateAccessTokenSession(t.Context(), unique("x"), machineRequest(old, newClient(oauthreg.Client{ID: "internal", ClientID: "client"}))))
			}
			cfg := testConfig(c)
			cfg.EncryptionKeys = [][]byte{freshKey, testKey}
			both := openPath(t, dsn, cfg)
			cfg.EncryptionKeys = [][]byte{freshKey}
			alone := openPath(t, dsn, cfg)
			_, err := alone.SigningKeys(t.Context())
			wantErr(t, err, ErrEncryptionKeys)
			n, err := alone.Reencrypt(t.Context())
			wantErr(t, err, errUnsealable)
			if n != 0 {
				t.Errorf("without the old key %d values were sealed anew", n)
			}
			n, err = both.Reencrypt(t.Context())
			must(t, err)
			if n < reencryptBatch+10 {
				t.Errorf("only %d values were sealed anew", n)
			}
			n, err = both.Reencrypt(t.Context())
			must(t, err)
			if n != 0 {
				t.Errorf("again: got %d, want nothing left to do", n)
			}
			checkSeed(t, alone, c, 99)
		})
	}
}

// What does not open is told, and keeps nothing else from being done.
func TestReencryptDamaged(t *testing.T) {
	c := newClock()
	dsn := place(t, "file")
	old := openPath(t, dsn, testConfig(c))
	seed(t, old, c)
	run(t, old, "UPDATE oauthreg_access_tokens SET request = x'0102' WHERE grant_id = 'request of machine'")
	cfg := testConfig(c)
	cfg.EncryptionKeys = [][]byte{freshKey, testKey}
	_, err := openPath(t, dsn, cfg).Reencrypt(t.Context())
	wantErr(t, err, errUnsealable)
	if err == nil || !strings.Contains(err.Error(), "access_tokens.request") {
		t.Errorf("got %v, want it to name the column", err)
	}
	cfg.EncryptionKeys = [][]byte{freshKey}
	s := openPath(t, dsn, cfg)
	_, err = s.GetRefreshTokenSession(t.Context(), "freshrefresh", nil)
	must(t, err)
	_, err = s.GetAccessTokenSession(t.Context(), "freshaccess", nil)
	must(t, err)
}

// What an older release wrote in clear is sealed in batches, along both columns of
// a key that has two, and only once.
func TestReencryptInBatches(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			s := openTest(t, kind, testConfig(c))
			const sessions, clients = 3, reencryptBatch - 50 // batches end within a session
			must(t, s.db.write(t.Context(), func(ctx context.Context, cn conn) error {
				for i := range sessions * clients {
					_, err := cn.exec(ctx, "INSERT INTO oauthreg_session_members (session_id, client_id, subject, client_subject, expires_at) VALUES (?, ?, ?, ?, ?)",
						fmt.Sprint("sid", i/clients), fmt.Sprint("k", i%clients), "alice", "alias", never)
					if err != nil {
						return err
					}
				}
				return nil
			}))
			n, err := s.Reencrypt(t.Context())
			must(t, err)
			if n != 2*sessions*clients {
				t.Errorf("%d values were sealed, want %d", n, 2*sessions*clients)
			}
			n, err = s.Reencrypt(t.Context())
			must(t, err)
			if n != 0 {
				t.Errorf("again: %d values", n)
			}
			checkNoneInClear(t, s)
			for i := range sessions {
				members, err := s.SessionMembers(t.Context(), fmt.Sprint("sid", i))
				must(t, err)
				if len(members) != clients {
					t.Fatalf("got %d members, want %d", len(members), clients)
				}
				for _, m := range members {
					if m.Subject != "alice" || m.ClientSubject != "alias" {
						t.Fatalf("got %+v", m)
					}
				}
			}
		})
	}
}

// sealedColumns has all of them: every column of binary values is sealed or a
// digest, and no kind is left out.
func TestSealedColumnsAreAll(t *testing.T) {
	c := newClock()
	s := openTest(t, "file", testConfig(c))
	seed(t, s, c)
	kinds := map[string]bool{}
	for _, col := range sealedColumns {
		if kinds[col.kind] {
			t.Errorf("%s is there twice", col.kind)
		}
		kinds[col.kind] = true
		must(t, s.db.read(t.Context(), func(ctx context.Context, c conn) error {
			var plain int
			_, err := c.one(ctx, "SELECT COUNT(*) FROM oauthreg_"+col.table+" WHERE "+col.column+" IS NOT NULL", nil, &plain)
			if plain == 0 {
				t.Errorf("%s.%s: nothing was stored", col.table, col.column)
			}
			return err
		}))
	}
	digests := []string{"signature", "access_signature", "handle", "browser", "jti", "digest", "registration_token"}
	for table, rows := range dumpRows(t, s) {
		for _, row := range rows {
			for column, v := range row {
				if _, binary := v.(map[string]string); !binary || slices.Contains(digests, column) {
					continue
				}
				found := false
				for _, col := range sealedColumns {
					found = found || col.table == table && col.column == column
				}
				if !found {
					t.Errorf("%s.%s is binary, and neither a digest nor in sealedColumns", table, column)
				}
			}
		}
	}
}
