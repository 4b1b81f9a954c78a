package storagetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func signIn(handle string) oauthreg.LoginSession {
	now := now()
	return oauthreg.LoginSession{
		Login: oauthreg.Login{Subject: "alice", SessionID: "sid-" + handle, AuthTime: now}, Handle: handle,
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour), IdleExpiresAt: now.Add(time.Hour),
	}
}

func signInSessionIsKeptWhole(t testing.TB, s Store) {
	l := filled[oauthreg.LoginSession]()
	l.ExpiresAt, l.IdleExpiresAt = now().Add(2*time.Hour), now().Add(time.Hour)
	must(t, s.CreateLoginSession(t.Context(), l))
	got, err := s.LoginSession(t.Context(), l.Handle)
	must(t, err)
	same(t, "session", got, l)
	list, err := s.ListLoginSessions(t.Context(), l.Subject)
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("got %d sessions in the list, want 1", len(list))
	}
	l.Handle = "" // it is a credential
	same(t, "session, in the list", list[0], l)
}

func signInSessionIsProlonged(t testing.TB, s Store) {
	l := signIn("h")
	must(t, s.CreateLoginSession(t.Context(), l))
	seen, idle := now().Add(time.Minute), now().Add(30*time.Minute)
	must(t, s.TouchLoginSession(t.Context(), "h", seen, idle))
	got, err := s.LoginSession(t.Context(), "h")
	must(t, err)
	if !got.LastSeenAt.Equal(seen) || !got.IdleExpiresAt.Equal(idle) || !got.ExpiresAt.Equal(l.ExpiresAt) {
		t.Errorf("got seen %v, idle until %v and ending at %v, want %v, %v and %v", got.LastSeenAt, got.IdleExpiresAt, got.ExpiresAt, seen, idle, l.ExpiresAt)
	}
	must(t, s.TouchLoginSession(t.Context(), "h", seen, now().Add(-time.Second)))
	_, err = s.LoginSession(t.Context(), "h")
	want(t, "idle for too long", err, oauthreg.ErrNotFound)
	// What has ended is not brought back, whatever the answer.
	_ = s.TouchLoginSession(t.Context(), "h", seen, idle)
	_, err = s.LoginSession(t.Context(), "h")
	want(t, "touched after its end", err, oauthreg.ErrNotFound)
}

func signInSessionsAreListed(t testing.TB, s Store) {
	for i, handle := range []string{"a", "b", "c", "of bob"} {
		l := signIn(handle)
		l.CreatedAt = now().Add(time.Duration(i-10) * time.Minute)
		if handle == "of bob" {
			l.Subject = "bob"
		}
		must(t, s.CreateLoginSession(t.Context(), l))
	}
	list, err := s.ListLoginSessions(t.Context(), "alice")
	must(t, err)
	var got []string
	for _, l := range list {
		got = append(got, l.SessionID)
	}
	if !slices.Equal(got, []string{"sid-c", "sid-b", "sid-a"}) {
		t.Errorf("got %v, want the subject's, newest first", got)
	}
}

func signInSessionEnds(t testing.TB, s Store) {
	must(t, s.CreateLoginSession(t.Context(), signIn("h")))
	must(t, s.CreateLoginSession(t.Context(), signIn("another")))
	got, err := s.LoginSession(t.Context(), "h")
	must(t, err)
	if got.Subject != "alice" || got.SessionID != "sid-h" {
		t.Errorf("got %+v", got)
	}
	must(t, s.EndLoginSession(t.Context(), "sid-h"))
	must(t, s.EndLoginSession(t.Context(), "sid-h"))
	_, err = s.LoginSession(t.Context(), "h")
	want(t, "after its end", err, oauthreg.ErrNotFound)
	_, err = s.LoginSession(t.Context(), "another")
	must(t, err)
	list, err := s.ListLoginSessions(t.Context(), "alice")
	must(t, err)
	if len(list) != 1 || list[0].SessionID != "sid-another" {
		t.Errorf("got %+v in the list, want the other one", list)
	}
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

func interactionIsKeptWhole(t testing.TB, s Store) {
	i := filled[oauthreg.Interaction]()
	i.ExpiresAt = now().Add(time.Hour)
	must(t, s.CreateInteraction(t.Context(), i))
	got, err := s.Interaction(t.Context(), i.Handle, i.Browser)
	must(t, err)
	i.Browser = "" // it is a credential
	same(t, "interaction", got, i)
}

func interactionIsUpdated(t testing.TB, s Store) {
	pending(t, s)
	before, err := s.Interaction(t.Context(), "h", "")
	must(t, err)
	after := filled[oauthreg.Interaction]()
	after.Handle = "h"
	must(t, s.UpdateInteraction(t.Context(), after))
	got, err := s.Interaction(t.Context(), "h", "b")
	must(t, err)
	// The rest is not replaced.
	after.Browser, after.ClientID, after.CreatedAt, after.ExpiresAt = "", before.ClientID, before.CreatedAt, before.ExpiresAt
	same(t, "interaction", got, after)
}

func interactionIsCreatedOnce(t testing.TB, s Store) {
	i := oauthreg.Interaction{Handle: "h", Request: []byte("{}"), ExpiresAt: time.Now().Add(time.Hour)}
	race(t, callers, oauthreg.ErrConflict, func(n int) error {
		if n%2 == 0 {
			return s.CreateInteraction(t.Context(), i)
		}
		return inTransaction(t.Context(), s, func(ctx context.Context) error { return s.CreateInteraction(ctx, i) })
	})
	must(t, s.FinishInteraction(t.Context(), "h"))
	want(t, "one of a finished one's handle", s.CreateInteraction(t.Context(), i), oauthreg.ErrConflict)
	_, err := s.Interaction(t.Context(), "h", "")
	want(t, "the finished one", err, oauthreg.ErrConsumed)
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
	want(t, "update", s.UpdateInteraction(t.Context(), oauthreg.Interaction{Handle: "h"}), oauthreg.ErrNotFound)
}

func member(t testing.TB, s Store) {
	t.Helper()
	must(t, s.JoinSession(t.Context(), oauthreg.SessionMember{SessionID: "sid", ClientID: "k", Subject: "alice", ExpiresAt: time.Now().Add(time.Hour)}))
}

func sessionMembersAreKept(t testing.TB, s Store) {
	end := now().Add(time.Hour)
	join := func(session, client, subject string, end time.Time) oauthreg.SessionMember {
		t.Helper()
		m := oauthreg.SessionMember{SessionID: session, ClientID: client, Subject: subject, ClientSubject: subject + " to " + client, ExpiresAt: end}
		must(t, s.JoinSession(t.Context(), m))
		return m
	}
	members := func(want ...oauthreg.SessionMember) {
		t.Helper()
		got, err := s.SessionMembers(t.Context(), "sid")
		must(t, err)
		if len(got) != len(want) {
			t.Fatalf("got members %+v, want %d", got, len(want))
		}
		for i := range want {
			same(t, "member", got[i], want[i])
		}
	}
	members()
	join("another", "k", "alice", end)
	join("sid", "over", "alice", now().Add(-time.Second))
	b := join("sid", "b", "alice", end)
	a := join("sid", "a", "alice", end)
	members(a, b)
	b = join("sid", "b", "bob", end.Add(time.Minute))
	members(a, b)
	must(t, s.EndSession(t.Context(), "sid", now()))
	members()
}

func claim(t testing.TB, s Store, at time.Time, limit int) []oauthreg.LogoutNotice {
	t.Helper()
	got, err := s.ClaimLogouts(t.Context(), at, at.Add(time.Minute), limit)
	must(t, err)
	return got
}

func logoutNoticeIsWhole(t testing.TB, s Store) {
	m := filled[oauthreg.SessionMember]()
	m.ExpiresAt = now().Add(time.Hour)
	must(t, s.JoinSession(t.Context(), m))
	over := m
	over.ClientID, over.ExpiresAt = "over", now().Add(-time.Second) // need not be told
	must(t, s.JoinSession(t.Context(), over))
	at := now()
	must(t, s.EndSession(t.Context(), m.SessionID, at))
	got := claim(t, s, at, 10)
	if len(got) != 1 {
		t.Fatalf("got notices %+v, want one", got)
	}
	if got[0].ID == "" || got[0].Lease == "" {
		t.Errorf("got %+v, want an id and a lease", got[0])
	}
	m.ExpiresAt = got[0].ExpiresAt // the session is over
	same(t, "notice", got[0], oauthreg.LogoutNotice{SessionMember: m, EndedAt: at, ID: got[0].ID, Lease: got[0].Lease})
}

func logoutsAreClaimedInOrder(t testing.TB, s Store) {
	at := now()
	for _, i := range []int{2, 0, 3, 1} {
		session := fmt.Sprint("sid", i)
		must(t, s.JoinSession(t.Context(), oauthreg.SessionMember{SessionID: session, ClientID: "k", Subject: "alice", ExpiresAt: at.Add(time.Hour)}))
		must(t, s.EndSession(t.Context(), session, at.Add(time.Duration(i)*time.Second)))
	}
	claimed := func(at time.Time, limit int, want ...string) {
		t.Helper()
		var got []string
		for _, n := range claim(t, s, at, limit) {
			got = append(got, n.SessionID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	claimed(at.Add(-time.Second), 10)
	claimed(at.Add(2*time.Second), 2, "sid0", "sid1")
	claimed(at.Add(2*time.Second), 10, "sid2")
	claimed(at.Add(4*time.Second), 10, "sid3")
	claimed(at.Add(5*time.Second), 10)
}

func failedLogoutIsTriedAgain(t testing.TB, s Store) {
	member(t, s)
	at := now()
	must(t, s.EndSession(t.Context(), "sid", at))
	one := func(at time.Time) oauthreg.LogoutNotice {
		t.Helper()
		got := claim(t, s, at, 10)
		if len(got) != 1 {
			t.Fatalf("got notices %+v, want one", got)
		}
		return got[0]
	}
	none := func(what string, at time.Time) {
		t.Helper()
		if got := claim(t, s, at, 10); len(got) != 0 {
			t.Errorf("%s: got notices %+v, want none", what, got)
		}
	}
	first := one(at)
	must(t, s.LogoutFailed(t.Context(), first, at.Add(10*time.Second)))
	none("before it is tried again", at.Add(9*time.Second))
	second := one(at.Add(10 * time.Second))
	if second.ID != first.ID || second.Attempts != 1 {
		t.Errorf("got id %q after %d attempts, want %q after 1", second.ID, second.Attempts, first.ID)
	}
	// Whoever is too late has no say.
	must(t, s.LogoutFailed(t.Context(), first, at))
	none("failed by someone too late", at.Add(11*time.Second))
	must(t, s.LogoutFailed(t.Context(), second, at.Add(20*time.Second)))
	third := one(at.Add(20 * time.Second))
	if third.Attempts != 2 {
		t.Errorf("got %d attempts, want 2", third.Attempts)
	}
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
	again, err = s.ClaimLogouts(t.Context(), now.Add(4*time.Minute), now.Add(5*time.Minute), 100)
	must(t, err)
	if len(again) != 1 {
		t.Fatalf("got %d notices after someone too late, want 1", len(again))
	}
	must(t, s.LogoutDelivered(t.Context(), again[0]))
	left, err := s.ClaimLogouts(t.Context(), now.Add(time.Hour), now.Add(2*time.Hour), 100)
	must(t, err)
	if len(left) != 0 {
		t.Errorf("a delivered notice is due again")
	}
}
