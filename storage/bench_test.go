package storage

import (
	"fmt"
	"sync/atomic"
	"testing"
)

func eachKindB(b *testing.B, run func(b *testing.B, s *Store)) {
	for _, kind := range kinds {
		b.Run(kind, func(b *testing.B) { run(b, openTest(b, kind, Config{EncryptionKeys: [][]byte{testKey}})) })
	}
}

// As many writers as a busy server has: the flush to disk is shared.
func BenchmarkCreateAccessTokenSession(b *testing.B) {
	eachKindB(b, func(b *testing.B, s *Store) {
		r := machineRequest(s, addClient(b, s))
		ctx := b.Context()
		var n atomic.Int64
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := s.CreateAccessTokenSession(ctx, fmt.Sprint("token", n.Add(1)), r); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// One writer alone, who waits for the disk each time.
func BenchmarkCreateAccessTokenSessionAlone(b *testing.B) {
	eachKindB(b, func(b *testing.B, s *Store) {
		r := machineRequest(s, addClient(b, s))
		b.ReportAllocs()
		n := 0
		for b.Loop() {
			n++
			if err := s.CreateAccessTokenSession(b.Context(), fmt.Sprint("token", n), r); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkGetAccessTokenSession(b *testing.B) {
	eachKindB(b, func(b *testing.B, s *Store) {
		r := newRequest(s, addClient(b, s))
		issue(b, s, r)
		ctx := b.Context()
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := s.GetAccessTokenSession(ctx, r.ID+"access", nil); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// The database's part of a refresh: read, then rotate and store two tokens in
// one transaction.
func BenchmarkRefresh(b *testing.B) {
	eachKindB(b, func(b *testing.B, s *Store) {
		client := addClient(b, s)
		var n atomic.Int64
		b.ReportAllocs()
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			r := newRequest(s, client)
			issue(b, s, r)
			token := r.ID + "refresh"
			for pb.Next() {
				if _, err := s.GetRefreshTokenSession(b.Context(), token, nil); err != nil {
					b.Error(err)
				}
				ctx, err := s.BeginTX(b.Context())
				if err != nil {
					b.Error(err)
				}
				next := fmt.Sprint("refresh", n.Add(1))
				for _, err := range []error{
					s.RotateRefreshToken(ctx, r.ID, token),
					s.CreateAccessTokenSession(ctx, next+"access", r),
					s.CreateRefreshTokenSession(ctx, next, next+"access", r),
					s.Commit(ctx),
				} {
					if err != nil {
						b.Error(err)
					}
				}
				token = next
			}
		})
	})
}

func BenchmarkOpenAndMigrate(b *testing.B) {
	for _, kind := range kinds {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				dsn := place(b, kind)
				b.StartTimer()
				s, err := Open(dsn, Config{EncryptionKeys: [][]byte{testKey}})
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Migrate(b.Context()); err != nil {
					b.Fatal(err)
				}
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
