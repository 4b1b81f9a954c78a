package storagetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func signIn(handle string) oauthreg.LoginSession {
	now := time.Now()
	return oauthreg.LoginSession{
		Login: oauthreg.Login{Subject: "alice", SessionID: "sid-" + handle, AuthTime: now}, Handle: handle,
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour), IdleExpiresAt: now.Add(time.Hour),
	}
}

func signInSessionEnds(t testing.TB, s Store) {
	must(t, s.CreateLoginSession(t.Context(), signIn("h")))
	got, err := s.LoginSession(t.Context(), "h")
	must(t, err)
	if got.Subject != "alice" || got.SessionID != "sid-h" {
		t.Errorf("got %+v", got)
	}
	must(t, s.EndLoginSession(t.Context(), "sid-h"))
	must(t, s.EndLoginSession(t.Context(), "sid-h"))
	_, err = s.LoginSession(t.Context(), "h")
	want(t, "after its end", err, oauthreg.ErrNotFound)
}

func signInSessionExpires(t testing.TB, s Store) {
	idle, old := signIn("idle"), signIn("old")
	idle.IdleExpiresAt = time.Now().Add(-time.Second)
	old.ExpiresAt = time.Now().Add(-time.Second)
	must(t, s.CreateLoginSession(t.Context(), idle))
	must(t, s.CreateLoginSession(t.Context(), old))
	for _, handle := range []string{"idle", "old"} {
		_, err := s.LoginSession(t.Context(), handle)
		want(t, handle, err, oauthreg.ErrNotFound)
	}
	list, err := s.ListLoginSessions(t.Context(), "alice")
	must(t, err)
	if len(list) != 0 {
		t.Errorf("%d sessions that have ended are listed", len(list))
	}
}

func pending(t testing.TB, s Store) {
	t.Helper()
	now := time.Now()
	must(t, s.CreateInteraction(t.Context(), oauthreg.Interaction{Handle: "h", Browser: "b", ClientID: "k", Request: []byte("{}"), CreatedAt: now, ExpiresAt: now.Add(time.Hour)}))
}

func interactionIsFinishedOnce(t testing.TB, s Store) {
	pending(t, s)
	race(t, callers, oauthreg.ErrConsumed, func(i int) error {
		if i%2 == 0 {
			return s.FinishInteraction(t.Context(), "h")
		}
		return inTransaction(t.Context(), s, func(ctx context.Context) error { return s.FinishInteraction(ctx, "h") })
	})
	_, err := s.Interaction(t.Context(), "h", "b")
	want(t, "a finished one", err, oauthreg.ErrConsumed)
	want(t, "changing a finished one", s.UpdateInteraction(t.Context(), oauthreg.Interaction{Handle: "h"}), oauthreg.ErrConsumed)
}

func interactionIsBoundToBrowser(t testing.TB, s Store) {
	pending(t, s)
	_, err := s.Interaction(t.Context(), "h", "b")
	must(t, err)
	_, err = s.Interaction(t.Context(), "h", "another")
	want(t, "another browser", err, oauthreg.ErrNotFound)
}

func interactionExpires(t testing.TB, s Store) {
	must(t, s.CreateInteraction(t.Context(), oauthreg.Interaction{Handle: "h", ExpiresAt: time.Now().Add(-time.Second)}))
	_, err := s.Interaction(t.Context(), "h", "")
	want(t, "read", err, oauthreg.ErrNotFound)
	want(t, "finish", s.FinishInteraction(t.Context(), "h"), oauthreg.ErrNotFound)
}

func member(t testing.TB, s Store) {
	t.Helper()
	must(t, s.JoinSession(t.Context(), oauthreg.SessionMember{SessionID: "sid", ClientID: "k", Subject: "alice", ExpiresAt: time.Now().Add(time.Hour)}))
}

func logoutIsNotifiedOnce(t testing.TB, s Store) {
	member(t, s)
	member(t, s)
	now := time.Now()
	all(t, callers, func(int) error { return s.EndSession(t.Context(), "sid", now) })
	got, err := s.ClaimLogouts(t.Context(), now.Add(time.Second), now.Add(time.Minute), 100)
	must(t, err)
	if len(got) != 1 || got[0].ClientID != "k" || got[0].Subject != "alice" {
		t.Errorf("got notices %+v, want one", got)
	}
	members, err := s.SessionMembers(t.Context(), "sid")
	must(t, err)
	if len(members) != 0 {
		t.Errorf("got members %+v of a session that has ended", members)
	}
}

func logoutNoticeIsClaimedOnce(t testing.TB, s Store) {
	member(t, s)
	now := time.Now()
	must(t, s.EndSession(t.Context(), "sid", now))
	var mu sync.Mutex
	var got []oauthreg.LogoutNotice
	all(t, callers, func(int) error {
		some, err := s.ClaimLogouts(t.Context(), now.Add(time.Second), now.Add(time.Minute), 100)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, some...)
		return err
	})
	if len(got) != 1 {
		t.Fatalf("a notice was claimed %d times, want once", len(got))
	}
	// Not delivered: due again when the lease ends.
	again, err := s.ClaimLogouts(t.Context(), now.Add(2*time.Minute), now.Add(3*time.Minute), 100)
	must(t, err)
	if len(again) != 1 {
		t.Fatalf("got %d notices after the lease, want 1", len(again))
	}
	must(t, s.LogoutDelivered(t.Context(), got[0])) // by someone too late
	must(t, s.LogoutDelivered(t.Context(), again[0]))
	left, err := s.ClaimLogouts(t.Context(), now.Add(time.Hour), now.Add(2*time.Hour), 100)
	must(t, err)
	if len(left) != 0 {
		t.Errorf("a delivered notice is due again")
	}
}
