package storage

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ory/fosite"
)

// durationFrom is a duration that the environment gives.
func durationFrom(t testing.TB, variable string, otherwise time.Duration) time.Duration {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		return otherwise
	}
	d, err := time.ParseDuration(v)
	must(t, err)
	return d
}

// 64 writers, in two processes as far as SQLite can tell, never hear that the
// database is locked, while others read and the janitor sweeps.
// OAUTHREG_WRITERS_FOR says how long.
func TestManyWriters(t *testing.T) {
	const writers, readers = 64, 8
	d := durationFrom(t, "OAUTHREG_WRITERS_FOR", 2*time.Second)
	path := place(t, "file")
	cfg := Config{EncryptionKeys: [][]byte{testKey}, RefreshGrace: -1}
	nodes := []*Store{openPath(t, path, cfg), openPath(t, path, cfg)}
	k := addClient(t, nodes[0])
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	var written, read atomic.Int64
	var wg sync.WaitGroup
	for i := range writers {
		s := nodes[i%len(nodes)]
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				r := newRequest(s, k)
				issue(t, s, r)
				token := r.ID + "refresh"
				for range 3 {
					next := unique("refresh")
					tx, err := s.BeginTX(t.Context())
					must(t, err)
					must(t, s.RotateRefreshToken(tx, r.ID, token))
					must(t, s.CreateAccessTokenSession(tx, next+"a", r))
					must(t, s.CreateRefreshTokenSession(tx, next, next+"a", r))
					if err := s.Commit(tx); err != nil {
						t.Error(err)
						return
					}
					token = next
				}
				if n%2 == 0 {
					must(t, s.RevokeRefreshToken(t.Context(), r.ID))
				}
				written.Add(7)
			}
		})
	}
	for i := range readers {
		s := nodes[i%len(nodes)]
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := s.GetAccessTokenSession(t.Context(), fmt.Sprint(read.Add(1)), nil); err != fosite.ErrNotFound {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Go(func() { must(t, nodes[1].RunJanitor(ctx, 200*time.Millisecond, nil)) })
	wg.Wait()
	fmt.Printf("note: %d writers for %v, %d writes, %d reads, never locked\n", writers, d, written.Load(), read.Load())
}
