package storage

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// expire fills a store with that many access tokens that have ended.
func expire(t *testing.T, s *Store, rows int) {
	t.Helper()
	sealed, err := s.sealer.seal(sealAccess, digest("x"), make([]byte, 300))
	must(t, err)
	const part = 64
	for from := 0; from < rows; from += 64 * part {
		must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
			for at := from; at < min(from+64*part, rows); at += part {
				n := min(part, rows-at)
				query := "INSERT INTO oauthreg_access_tokens (signature, grant_id, client_id, request, created_at, expires_at) VALUES "
				var args []any
				for i := range n {
					if i > 0 {
						query += ", "
					}
					query += "(?, ?, ?, ?, ?, ?)"
					name := inOrder(at + i)
					args = append(args, rowKey(name), name, "k", sealed, 0, at+i+1)
				}
				if _, err := c.exec(ctx, query, args...); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}

// inOrder is a name that begins with a number, as signatures begin with the time.
func inOrder(n int) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(n))[2:]) + "." + rand.Text()
}

// latencies makes token requests at a steady rate until ctx ends, and returns how
// long the 50th and 99th percent took, counted from when each was due.
func latencies(ctx context.Context, t *testing.T, s *Store, k *Client) (p50, p99 time.Duration, n int) {
	t.Helper()
	const every = 20 * time.Millisecond
	var mu sync.Mutex
	var took []time.Duration
	var wg sync.WaitGroup
	for due := time.Now(); ctx.Err() == nil; due = due.Add(every) {
		time.Sleep(time.Until(due))
		wg.Go(func() {
			r := newRequest(s, k)
			r.ID = inOrder(int(due.UnixMilli()))
			issue(t, s, r)
			tx, err := s.BeginTX(t.Context())
			must(t, err)
			must(t, s.RotateRefreshToken(tx, r.ID, r.ID+"refresh"))
			must(t, s.CreateAccessTokenSession(tx, r.ID+"a", r))
			must(t, s.CreateRefreshTokenSession(tx, r.ID+"r", r.ID+"a", r))
			must(t, s.Commit(tx))
			mu.Lock()
			defer mu.Unlock()
			took = append(took, time.Since(due))
		})
	}
	wg.Wait()
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100], len(took)
}

// The time that logins take while the janitor sweeps, compared with before. By
// default few rows, for it to work; OAUTHREG_SWEEP_ROWS=1000000 gives the figures
// that the documentation has.
func TestSweepUnderLoad(t *testing.T) {
	rows, warm := 5000, 300*time.Millisecond
	if v := os.Getenv("OAUTHREG_SWEEP_ROWS"); v != "" {
		var err error
		rows, err = strconv.Atoi(v)
		must(t, err)
		warm = 20 * time.Second
	}
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			s := openTest(t, kind, Config{EncryptionKeys: [][]byte{testKey}})
			k := addClient(t, s)
			expire(t, s, rows)
			quiet, cancel := context.WithTimeout(t.Context(), warm)
			defer cancel()
			p50, p99, n := latencies(quiet, t, s, k)
			t.Logf("quiet: p50 %v, p99 %v of %d logins", p50, p99, n)

			ctx, stop := context.WithCancel(t.Context())
			began := time.Now()
			go func() {
				defer stop()
				s.sweepAll(t.Context(), slog.New(slog.DiscardHandler))
			}()
			during50, during99, n := latencies(ctx, t, s, k)
			t.Logf("while %d rows were swept in %v: p50 %v, p99 %v (%.1f times) of %d logins",
				rows, time.Since(began).Round(time.Millisecond), during50, during99, float64(during99)/float64(p99), n)
			must(t, s.db.read(t.Context(), func(ctx context.Context, c conn) error {
				left := 0
				_, err := c.one(ctx, "SELECT COUNT(*) FROM oauthreg_access_tokens WHERE expires_at <= ?", []any{rows}, &left)
				if left != 0 {
					t.Errorf("%d rows are left", left)
				}
				return err
			}))
		})
	}
}
