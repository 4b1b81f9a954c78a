package handlers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// loopbackProxies trusts the test itself to say where it comes from.
var loopbackProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func registrationLimits(t *testing.T) {
	t.Run("per address", func(t *testing.T) {
		clock := newClock()
		e := registrationEnv(t, envOptions{clock: clock, config: func(c *handlers.Config) {
			c.Limits = handlers.NewLimiter(handlers.LimiterConfig{Now: clock.Now, Rates: map[handlers.LimitKind]handlers.Rate{
				handlers.LimitRegistration: {Burst: 5, PerMinute: 5},
			}})
			c.TrustedProxies = loopbackProxies
		}}, nil)
		try := func(address, body string) *tokenAnswer {
			return e.sendJSON(http.MethodPost, "/oauth/register", "", body, "X-Forwarded-For", address)
		}
		first := try("2001:db8::1", `{`+redirects+`}`)
		for i := range 4 { // refused ones count
			try(fmt.Sprintf("2001:db8::%d", i+2), `{}`).wantError(t, 400, "invalid_redirect_uri")
		}
		for range 20 { // the whole /64 is one address
			a := try("2001:db8::ffff", `{`+redirects+`}`)
			if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" {
				t.Fatalf("got %d %s, Retry-After %q", a.status, a.raw, a.header.Get("Retry-After"))
			}
		}
		if a := try("2001:db8:0:1::1", `{`+redirects+`}`); a.status != 201 {
			t.Errorf("another address: %d %s", a.status, a.raw)
		}
		if a := e.sendJSON(http.MethodGet, "/oauth/register/"+first.str("client_id"), first.str("registration_access_token"), "", "X-Forwarded-For", "2001:db8::1"); a.status != 200 {
			t.Errorf("a client that is there: %d %s", a.status, a.raw)
		}
		clock.add(time.Minute)
		if a := try("2001:db8::1", `{`+redirects+`}`); a.status != 201 {
			t.Errorf("a minute later: %d %s", a.status, a.raw)
		}
	})
	t.Run("in total", func(t *testing.T) {
		book := newTokenBook(t, nil)
		e := registrationEnv(t, envOptions{}, func(c *handlers.RegistrationConfig) { c.MaxClients, c.InitialTokens = 3, book })
		e.register(webClient()) // the operator's own does not count
		var created atomic.Int32
		var last atomic.Pointer[tokenAnswer]
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				a := e.sendJSON(http.MethodPost, "/oauth/register", "", `{`+redirects+`}`)
				switch a.status {
				case 201:
					created.Add(1)
					last.Store(a)
				case 503:
					if a.str("error") != "temporarily_unavailable" || a.header.Get("Retry-After") == "" {
						t.Errorf("got %s, Retry-After %q", a.raw, a.header.Get("Retry-After"))
					}
				default:
					t.Errorf("got %d %s", a.status, a.raw)
				}
			})
		}
		wg.Wait()
		if created.Load() != 3 || e.clientCount() != 4 {
			t.Errorf("%d of 20 were registered, want 3; %d clients", created.Load(), e.clientCount())
		}
		if a := e.sendJSON(http.MethodPost, "/oauth/register", issueToken(t, book, handlers.InitialAccessTokenOptions{}), `{`+redirects+`}`); a.status != 201 {
			t.Errorf("with an initial access token: %d %s", a.status, a.raw)
		}
		a := last.Load()
		if got := e.sendJSON(http.MethodDelete, "/oauth/register/"+a.str("client_id"), a.str("registration_access_token"), ""); got.status != 204 {
			t.Fatalf("delete: %d %s", got.status, got.raw)
		}
		e.clock.add(2 * time.Second)
		e.registerByHTTP(`{` + redirects + `}`)
	})
}

func TestReapRegistrations(t *testing.T) {
	const day = 24 * time.Hour
	book := newTokenBook(t, nil)
	e := registrationEnv(t, envOptions{}, func(c *handlers.RegistrationConfig) { c.ReapUnused, c.InitialTokens = 30*day, book })
	ctx := context.Background()
	get := func(a *tokenAnswer) error {
		_, err := e.reg.Get(ctx, oauthreg.ByClientID(a.str("client_id")))
		return err
	}
	const refreshing = `{"grant_types":["authorization_code","refresh_token"],` + redirects + `}`
	unused := make([]*tokenAnswer, 3)
	for i := range unused {
		unused[i] = e.registerByHTTP(refreshing)
	}
	granted := e.registerByHTTP(refreshing)
	revoked := e.registerByHTTP(refreshing)
	changed := e.registerByHTTP(refreshing)
	invited := e.registerByHTTP(refreshing, issueToken(t, book, handlers.InitialAccessTokenOptions{}))
	operators := e.register(webClient())
	// Public, so no secret of theirs is ever used; one of them without consents.
	public := func(takeOver func(c *oauthreg.Client)) *tokenAnswer {
		a := e.registerByHTTP(`{"token_endpoint_auth_method":"none",` + redirects + `}`)
		_, err := e.reg.Update(ctx, oauthreg.ByClientID(a.str("client_id")), oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error { takeOver(c); return nil })
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	firstParty := public(func(c *oauthreg.Client) { c.FirstParty = true })
	verified := public(func(c *oauthreg.Client) { c.Verified = true })

	e.tokens(e.registration(granted), "scope", "openid read offline_access")
	dead := e.registration(revoked)
	e.tokens(dead, "scope", "read")
	if _, err := e.store.RevokeGrants(ctx, oauthreg.GrantFilter{ClientID: dead.Client.ID}); err != nil {
		t.Fatal(err)
	}
	reap := func(want int) {
		t.Helper()
		if err := e.reg.FlushSecretUses(ctx); err != nil {
			t.Fatal(err)
		}
		if n, err := e.server.ReapRegistrations(ctx); n != want || err != nil {
			t.Errorf("got %d, %v, want %d", n, err, want)
		}
	}
	reap(0)
	e.clock.add(29 * day)
	if _, err := e.reg.Update(ctx, oauthreg.ByClientID(changed.str("client_id")), oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error { c.Description = "kept"; return nil }); err != nil {
		t.Fatal(err)
	}
	// Used again, so that its grant lives on: idle is 30 days.
	e.tokens(e.registration(granted), "scope", "openid read offline_access")
	young := e.registerByHTTP(refreshing)
	reap(0)
	e.clock.add(2 * day)
	reap(len(unused) + 1) // and the one whose grant was revoked
	for _, a := range append(unused, revoked) {
		if err := get(a); err == nil {
			t.Errorf("%s is still there", a.str("client_id"))
		}
	}
	for _, a := range []*tokenAnswer{granted, changed, invited, young} {
		if err := get(a); err != nil {
			t.Errorf("%s: %v", a.raw, err)
		}
	}
	if _, err := e.reg.Get(ctx, oauthreg.ByID(operators.Client.ID)); err != nil {
		t.Error(err)
	}
	e.clock.add(365 * day)
	reap(3) // grants have ended
	for name, a := range map[string]*tokenAnswer{"registered by token": invited, "first-party": firstParty, "verified": verified} {
		if err := get(a); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// More than one batch, with the survivors in between.
func TestReapManyRegistrations(t *testing.T) {
	e := registrationEnv(t, envOptions{}, func(c *handlers.RegistrationConfig) { c.ReapUnused = time.Hour })
	ctx := context.Background()
	const n = 250
	for i := range n {
		c := with(webClient(), func(c *oauthreg.Client) { c.SelfRegistered = i%5 != 0 })
		e.register(c)
	}
	e.clock.add(2 * time.Hour)
	var reaped atomic.Int32
	var wg sync.WaitGroup
	for range 4 { // any number of processes
		wg.Go(func() {
			got, err := e.server.ReapRegistrations(ctx)
			if err != nil {
				t.Error(err)
			}
			reaped.Add(int32(got))
		})
	}
	wg.Wait()
	if reaped.Load() != n/5*4 || e.clientCount() != n/5 {
		t.Errorf("reaped %d, %d left, want %d and %d", reaped.Load(), e.clientCount(), n/5*4, n/5)
	}
}
