package storage

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func sweep(t *testing.T, s *Store) map[string]int64 {
	t.Helper()
	gone, err := s.Sweep(t.Context(), 0)
	must(t, err)
	for table, n := range gone {
		if n == 0 {
			delete(gone, table)
		}
	}
	return gone
}

func TestSweep(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		k := addClient(t, s)
		used, unused, revoked := newRequest(s, k), newRequest(s, k), newRequest(s, k)
		for _, r := range []*fosite.Request{used, unused, revoked} {
			issue(t, s, r)
		}
		must(t, s.InvalidateAuthorizeCodeSession(ctx, used.ID+"code"))
		must(t, s.RotateRefreshToken(ctx, used.ID, used.ID+"refresh"))
		must(t, s.UseGrant(ctx, used.ID, c.now(), c.now().Add(365*24*time.Hour)))
		must(t, s.CreateAccessTokenSession(ctx, "machine", machineRequest(s, k)))
		must(t, s.SetClientAssertionJWT(ctx, "jti", c.now().Add(time.Minute)))
		must(t, s.CreateInteraction(ctx, oauthreg.Interaction{Handle: "h", ExpiresAt: c.now().Add(time.Minute)}))
		must(t, s.CreateLoginSession(ctx, oauthreg.LoginSession{Login: oauthreg.Login{Subject: "alice", SessionID: "sid"}, Handle: "h", IdleExpiresAt: c.now().Add(time.Minute)}))
		for id, end := range map[string]time.Duration{"short": time.Hour, "used up": time.Hour, "long": 90 * 24 * time.Hour} {
			must(t, s.CreateInitialAccessToken(ctx, oauthreg.InitialAccessToken{ID: id, Digest: []byte(id), MaxUses: 1, CreatedAt: c.now(), ExpiresAt: c.now().Add(end)}))
		}
		must(t, s.CreateInitialAccessToken(ctx, oauthreg.InitialAccessToken{ID: "endless", Digest: []byte("endless"), CreatedAt: c.now()}))
		must(t, s.UseInitialAccessToken(ctx, []byte("used up"), c.now()))
		must(t, s.UpdateSigningKeys(ctx, func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
			return []oauthreg.SigningKey{{KeyID: "k", Alg: "RS256", Private: []byte("p"), ExpiresAt: c.now()}}, nil, nil
		}))
		_, err := s.SaveConsent(ctx, oauthreg.Consent{ClientID: k.RegistryID(), Subject: "alice"})
		must(t, err)

		if got := sweep(t, s); len(got) != 0 {
			t.Errorf("at once: got %v, want nothing", got)
		}
		// The minute's ends, when they have come for everybody: codes stay with their grants.
		c.add(time.Minute)
		if got := sweep(t, s); len(got) != 0 {
			t.Errorf("at the end: got %v, want nothing", got)
		}
		c.add(endedFor)
		want := map[string]int64{"assertions": 1, "interactions": 1, "login_sessions": 1}
		if got := sweep(t, s); !reflect.DeepEqual(got, want) {
			t.Errorf("after a minute: got %v, want %v", got, want)
		}
		must(t, s.RevokeRefreshToken(ctx, revoked.ID))
		c.add(time.Hour)
		want = map[string]int64{"access_tokens": 4}
		if got := sweep(t, s); !reflect.DeepEqual(got, want) {
			t.Errorf("after an hour: got %v, want %v", got, want)
		}
		// A day after its revocation a grant goes, with what is beneath it.
		c.add(24 * time.Hour)
		want = map[string]int64{"grants": 1, "refresh_tokens": 1, "authorize_codes": 1}
		if got := sweep(t, s); !reflect.DeepEqual(got, want) {
			t.Errorf("after a day: got %v, want %v", got, want)
		}
		c.add(31 * 24 * time.Hour)
		list, err := s.ListInitialAccessTokens(ctx, 0, 0)
		must(t, err)
		if len(list) != 4 {
			t.Errorf("%d initial access tokens are listed a month after their end, want 4", len(list))
		}
		want = map[string]int64{"grants": 1, "refresh_tokens": 1, "authorize_codes": 1, "initial_access_tokens": 2}
		if got := sweep(t, s); !reflect.DeepEqual(got, want) {
			t.Errorf("after a month: got %v, want %v", got, want)
		}
		// Replays are told as long as there is something to revoke.
		_, err = s.GetAuthorizeCodeSession(ctx, used.ID+"code", nil)
		wantErr(t, err, fosite.ErrInvalidatedAuthorizeCode)
		_, err = s.GetRefreshTokenSession(ctx, used.ID+"refresh", nil)
		wantErr(t, err, fosite.ErrInactiveToken)

		c.add(366 * 24 * time.Hour)
		want = map[string]int64{"grants": 1, "refresh_tokens": 1, "authorize_codes": 1, "initial_access_tokens": 1}
		if got := sweep(t, s); !reflect.DeepEqual(got, want) {
			t.Errorf("after a year: got %v, want %v", got, want)
		}
		for table, want := range map[string]int{"clients": 1, "consents": 1, "signing_keys": 1, "audit_log": 2, "grants": 0, "authorize_codes": 0, "access_tokens": 0, "refresh_tokens": 0, "initial_access_tokens": 1} {
			if got := count(t, s, table); got != want {
				t.Errorf("%s: %d rows are left, want %d", table, got, want)
			}
		}
	})
}

// A deleted client's rows go too.
func TestSweepAfterDeletion(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		k := addClient(t, s)
		r := newRequest(s, k)
		r.Session.SetExpiresAt(fosite.RefreshToken, time.Time{}) // never
		issue(t, s, r)
		r.Session.SetExpiresAt(fosite.AccessToken, time.Time{})
		must(t, s.CreateAccessTokenSession(t.Context(), "endless", r))
		must(t, s.InvalidateAuthorizeCodeSession(t.Context(), r.ID+"code"))
		must(t, s.RotateRefreshToken(t.Context(), r.ID, r.ID+"refresh"))
		must(t, deleteClient(t.Context(), s, k))
		c.add(25 * time.Hour)
		sweep(t, s)
		for _, table := range []string{"grants", "authorize_codes", "access_tokens", "refresh_tokens"} {
			if n := count(t, s, table); n != 0 {
				t.Errorf("%s: %d rows are left", table, n)
			}
		}
	})
}

func TestSweepInBatches(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		for i := range 25 {
			must(t, s.SetClientAssertionJWT(t.Context(), fmt.Sprint(i), c.now().Add(-endedFor)))
		}
		for _, want := range []int64{10, 10, 5, 0} {
			gone, err := s.Sweep(t.Context(), 10)
			must(t, err)
			if gone["assertions"] != want {
				t.Errorf("got %d, want %d", gone["assertions"], want)
			}
		}
		for _, batch := range []int{-1, 10001} {
			if _, err := s.Sweep(t.Context(), batch); err == nil {
				t.Errorf("a batch of %d was accepted", batch)
			}
		}
		// More tokens beneath grants than fit into a batch, and some that go by
		// themselves: no call deletes more than a batch of a table, and no grant goes
		// before what is beneath it.
		k := addClient(t, s)
		for g, tokens := range []int{25, 1, 0, 10} {
			r := newRequest(s, k)
			must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID, r))
			must(t, s.InvalidateAuthorizeCodeSession(t.Context(), r.ID))
			for i := range tokens {
				must(t, s.CreateRefreshTokenSession(t.Context(), fmt.Sprint(g, "-", i), "", r))
				must(t, s.RotateRefreshToken(t.Context(), r.ID, fmt.Sprint(g, "-", i)))
			}
			for i := range 4 {
				must(t, s.CreateRefreshTokenSession(t.Context(), fmt.Sprint(g, "=", i), "", r))
			}
			must(t, s.UseGrant(t.Context(), r.ID, c.now(), c.now().Add(30*24*time.Hour)))
			if g > 1 {
				must(t, s.RevokeRefreshToken(t.Context(), r.ID))
			}
		}
		c.add(32 * 24 * time.Hour)
		total := map[string]int64{}
		for more := true; more; {
			gone, err := s.Sweep(t.Context(), 10)
			must(t, err)
			more = false
			for table, n := range gone {
				if n > 10 {
					t.Errorf("one call deleted %d of %s, more than a batch", n, table)
				}
				total[table] += n
				more = more || n == 10
			}
			for _, table := range []string{"refresh_tokens", "authorize_codes"} {
				if n := orphans(t, s, table); n != 0 {
					t.Errorf("%d %s have no grant any more", n, table)
				}
			}
		}
		if total["refresh_tokens"] != 52 || total["authorize_codes"] != 4 || total["grants"] != 4 {
			t.Errorf("got %v, want all", total)
		}
	})
}

// orphans is how many rows of a table have no grant.
func orphans(t *testing.T, s *Store, table string) (n int) {
	t.Helper()
	must(t, s.db.read(t.Context(), func(ctx context.Context, c conn) error {
		_, err := c.one(ctx, "SELECT COUNT(*) FROM oauthreg_"+table+" WHERE grant_id NOT IN (SELECT id FROM oauthreg_grants)", nil, &n)
		return err
	}))
	return n
}

// What was used up is used up for every node until it has ended there, whoever
// sweeps.
func TestSweepWhileClocksDiffer(t *testing.T) {
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			dsn := place(t, kind)
			early, late := newClock(), newClock()
			early.add(time.Minute)
			ahead, behind := openPath(t, dsn, testConfig(early)), openPath(t, dsn, testConfig(late))
			end := late.now().Add(time.Minute)
			must(t, behind.SetClientAssertionJWT(t.Context(), "jti", end))
			must(t, behind.CreateInteraction(t.Context(), oauthreg.Interaction{Handle: "h", ExpiresAt: end}))
			must(t, behind.FinishInteraction(t.Context(), "h"))
			for range 2 { // a minute, and a moment, before the end there
				sweep(t, ahead)
				wantErr(t, behind.SetClientAssertionJWT(t.Context(), "jti", end), fosite.ErrJTIKnown)
				wantErr(t, behind.FinishInteraction(t.Context(), "h"), oauthreg.ErrConsumed)
				early.add(59 * time.Second)
				late.add(59 * time.Second)
			}
		})
	}
}

// Any number of processes may sweep at once.
func TestSweepConcurrently(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		for range 20 {
			issue(t, s, newRequest(s, addClient(t, s)))
		}
		c.add(100 * 24 * time.Hour)
		var total int64
		var mu sync.Mutex
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				gone, err := s.Sweep(t.Context(), 7)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				total += gone["grants"]
			})
		}
		wg.Wait()
		if left := count(t, s, "grants"); total+int64(left) != 20 {
			t.Errorf("%d grants were reported deleted and %d are left, of 20", total, left)
		}
	})
}

// Of several processes one sweeps at a time. One that died does not keep the
// others from it for long.
func TestJanitorLease(t *testing.T) {
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			dsn := place(t, kind)
			nodes := []*Store{openPath(t, dsn, testConfig(c)), openPath(t, dsn, testConfig(c))}
			leases := make([]int64, 16)
			var wg sync.WaitGroup
			for i := range leases {
				wg.Go(func() {
					var err error
					if leases[i], err = nodes[i%2].claimJanitor(t.Context(), 0); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			leases = slices.DeleteFunc(leases, func(l int64) bool { return l == 0 })
			if len(leases) != 1 {
				t.Fatalf("%d have the lease", len(leases))
			}
			must(t, nodes[0].SetClientAssertionJWT(t.Context(), "jti", c.now().Add(-endedFor)))
			nodes[1].sweepAll(t.Context(), slog.New(slog.DiscardHandler))
			if n := count(t, nodes[0], "assertions"); n != 1 {
				t.Error("somebody swept without the lease")
			}
			prolonged, err := nodes[0].claimJanitor(t.Context(), leases[0])
			must(t, err)
			if prolonged == 0 || prolonged == leases[0] {
				t.Errorf("got lease %d, want another than %d", prolonged, leases[0])
			}
			if lost, err := nodes[0].claimJanitor(t.Context(), leases[0]); err != nil || lost != 0 {
				t.Errorf("an old lease was prolonged: %d, %v", lost, err)
			}
			must(t, nodes[0].releaseJanitor(t.Context(), leases[0])) // not the current one
			if lease, err := nodes[1].claimJanitor(t.Context(), 0); err != nil || lease != 0 {
				t.Errorf("got lease %d, %v, want none", lease, err)
			}
			c.add(janitorLease + time.Second)
			nodes[1].sweepAll(t.Context(), slog.New(slog.DiscardHandler))
			if n := count(t, nodes[0], "assertions"); n != 0 {
				t.Error("nobody took over")
			}
			if lease, err := nodes[0].claimJanitor(t.Context(), 0); err != nil || lease == 0 {
				t.Errorf("got lease %d, %v, want one: it was given back", lease, err)
			}
		})
	}
}

func TestRunJanitor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openTest(t, "memory", testConfig(newClock()))
		if err := s.RunJanitor(t.Context(), 0, nil); err == nil {
			t.Error("an interval of zero was accepted")
		}
		for i := range janitorBatch + 1 {
			must(t, s.SetClientAssertionJWT(t.Context(), fmt.Sprint(i), s.now().Add(-endedFor)))
		}
		var out bytes.Buffer
		log := slog.New(slog.NewTextHandler(&out, nil))
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		must(t, s.RunJanitor(ctx, time.Minute, log))
		if n := count(t, s, "assertions"); n != 0 {
			t.Errorf("%d rows are left", n)
		}
		if want := fmt.Sprint("assertions=", janitorBatch+1); strings.Count(out.String(), "\n") != 1 || !strings.Contains(out.String(), want) {
			t.Errorf("got log %q, want one line with %s", &out, want)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		must(t, s.RunJanitor(ctx, time.Hour, nil))

		// What fails is logged and tried again.
		must(t, s.Close())
		out.Reset()
		ctx, cancel = context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		must(t, s.RunJanitor(ctx, time.Minute, log))
		if strings.Count(out.String(), "sweep failed") != 2 {
			t.Errorf("got log %q, want two failures", &out)
		}
	})
}
