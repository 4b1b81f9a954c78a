package storage_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

func logoutStore(t *testing.T, now func() time.Time) *storage.Store {
	t.Helper()
	s, err := storage.Open(":memory:", storage.Config{EncryptionKeys: [][]byte{make([]byte, 32)}, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// However many end a session at once, each client is told once; however many
// claim, each notice has one claimant.
func TestLogoutOutboxRaces(t *testing.T) {
	ctx, now := t.Context(), time.Unix(1_800_000_000, 0).UTC()
	s := logoutStore(t, func() time.Time { return now })
	const clients, callers = 50, 16
	for i := range clients {
		for range 2 { // joining again changes nothing
			if err := s.JoinSession(ctx, oauthreg.SessionMember{
				SessionID: "s", ClientID: fmt.Sprintf("c-%02d", i), Subject: "u", ClientSubject: "p", ExpiresAt: now.Add(time.Hour),
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	members, err := s.SessionMembers(ctx, "s")
	if err != nil || len(members) != clients || members[0].ClientID != "c-00" || members[0].ClientSubject != "p" {
		t.Fatalf("%d members, err %v", len(members), err)
	}
	var mu sync.Mutex
	claimed := map[string]int{}
	each(callers, func() {
		if err := s.EndSession(ctx, "s", now); err != nil {
			t.Error(err)
		}
	})
	each(callers, func() {
		for {
			got, err := s.ClaimLogouts(ctx, now, now.Add(time.Minute), 7)
			if err != nil {
				t.Error(err)
			}
			if len(got) == 0 {
				return
			}
			mu.Lock()
			for _, n := range got {
				claimed[n.ClientID]++
			}
			mu.Unlock()
		}
	})
	if len(claimed) != clients {
		t.Errorf("%d clients have notices, want %d", len(claimed), clients)
	}
	for id, n := range claimed {
		if n != 1 {
			t.Errorf("%s was claimed %d times", id, n)
		}
	}
}

func each(n int, f func()) {
	var wg sync.WaitGroup
	for range n {
		wg.Go(f)
	}
	wg.Wait()
}

// A notice is due again when its lease ends, and then belongs to who claims it
// next; it goes when it is settled, or after a week.
func TestLogoutOutboxLease(t *testing.T) {
	ctx, now := t.Context(), time.Unix(1_800_000_000, 0).UTC()
	s := logoutStore(t, func() time.Time { return now })
	join := func(session string) {
		t.Helper()
		if err := s.JoinSession(ctx, oauthreg.SessionMember{SessionID: session, ClientID: "c", Subject: "u", ExpiresAt: now.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		if err := s.EndSession(ctx, session, now); err != nil {
			t.Fatal(err)
		}
	}
	claim := func(want int) oauthreg.LogoutNotice {
		t.Helper()
		got, err := s.ClaimLogouts(ctx, now, now.Add(time.Minute), 10)
		if err != nil || len(got) != want {
			t.Fatalf("got %d notices, err %v, want %d", len(got), err, want)
		}
		if want == 0 {
			return oauthreg.LogoutNotice{}
		}
		return got[0]
	}
	join("a")
	first := claim(1)
	claim(0)
	now = now.Add(time.Minute)
	second := claim(1)
	if second.ID != first.ID || second.Lease == first.Lease || second.SessionID != "a" || second.ClientSubject != "u" {
		t.Errorf("first %+v, second %+v", first, second)
	}
	settle := func(f func(context.Context, oauthreg.LogoutNotice) error, n oauthreg.LogoutNotice) {
		t.Helper()
		if err := f(ctx, n); err != nil {
			t.Fatal(err)
		}
	}
	settle(s.LogoutDelivered, first) // too late: it is not the claimant any more
	settle(func(ctx context.Context, n oauthreg.LogoutNotice) error { return s.LogoutFailed(ctx, n, now) }, first)
	claim(0)
	settle(func(ctx context.Context, n oauthreg.LogoutNotice) error {
		return s.LogoutFailed(ctx, n, now.Add(time.Second))
	}, second)
	claim(0)
	now = now.Add(time.Second)
	third := claim(1)
	if third.Attempts != 1 {
		t.Errorf("%d attempts", third.Attempts)
	}
	settle(s.LogoutDelivered, third)
	now = now.Add(time.Hour)
	claim(0)

	// In a transaction that is rolled back nothing happens.
	if err := s.JoinSession(ctx, oauthreg.SessionMember{SessionID: "b", ClientID: "c", Subject: "u", ExpiresAt: now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	tx, err := s.BeginTX(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.EndSession(tx, "b", now); err != nil {
		t.Fatal(err)
	}
	if err := s.Rollback(tx); err != nil {
		t.Fatal(err)
	}
	claim(0)

	join("c")
	if err := s.JoinSession(ctx, oauthreg.SessionMember{SessionID: "d", ClientID: "c", Subject: "u", ExpiresAt: now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	now = now.Add(8 * 24 * time.Hour)
	gone, err := s.Sweep(ctx, 0)
	if err != nil || gone["logout_outbox"] != 1 || gone["session_members"] != 2 {
		t.Errorf("swept %v, err %v", gone, err)
	}
}
