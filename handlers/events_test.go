package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// eventLog hears events.
type eventLog struct {
	mu   sync.Mutex
	all  []oauthreg.Event
	seen int // how many were taken
}

func (l *eventLog) hear(_ context.Context, e oauthreg.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

// take returns what came since it was last called.
func (l *eventLog) take() []oauthreg.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh := l.all[l.seen:]
	l.seen = len(l.all)
	return fresh
}

// listen makes opts tell l of everything.
func (l *eventLog) listen(opts envOptions) envOptions {
	config, reg := opts.config, opts.reg
	opts.config = func(c *handlers.Config) {
		c.Events = l.hear
		if config != nil {
			config(c)
		}
	}
	opts.reg = func(c *oauthreg.Config) {
		c.Events = l.hear
		if reg != nil {
			reg(c)
		}
	}
	return opts
}

// story is one line for an event. What differs from run to run is only said to be
// there.
func story(e oauthreg.Event) string {
	var b strings.Builder
	b.WriteString(string(e.Type))
	say := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, " %s=%s", name, value)
		}
	}
	there := func(name, value string) {
		if value != "" {
			b.WriteString(" " + name)
		}
	}
	say("at", e.Endpoint)
	there("client", e.ClientID)
	say("subject", e.Subject)
	there("grant", e.GrantID)
	there("session", e.SessionID)
	say("by", e.GrantType)
	say("scopes", strings.Join(e.Scopes, "+"))
	if e.Refresh {
		b.WriteString(" refresh")
	}
	say("error", e.Error)
	if e.Status != 0 {
		say("status", fmt.Sprint(e.Status))
	}
	say("field", e.Field)
	say("detail", e.Detail)
	if e.Count != 0 {
		say("count", fmt.Sprint(e.Count))
	}
	say("actor", e.Actor.Kind)
	return b.String()
}

// wantEvents checks what was heard since the last call, in order.
func (l *eventLog) wantEvents(t *testing.T, what string, want ...string) []oauthreg.Event {
	t.Helper()
	heard := l.take()
	got := make([]string, len(heard))
	for i, e := range heard {
		got[i] = story(e)
		if e.Time.IsZero() {
			t.Errorf("%s: %s has no time", what, e.Type)
		}
		if e.Endpoint != "" && (e.RequestID == "" || e.Address != "127.0.0.1") {
			t.Errorf("%s: %s comes from request %q, address %q", what, e.Type, e.RequestID, e.Address)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: got\n\t%s\nwant\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
	return heard
}

// Every step of the flows is told once, in order, after it happened.
func TestEventsOfFlows(t *testing.T) {
	bothMountsWith(t, func(t *testing.T, base string) {
		var l eventLog
		e := newManagedEnv(t, l.listen(envOptions{base: base}), nil)

		reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.OrgID, c.ProjectID = homeOrg, homeProject }))
		l.wantEvents(t, "register in Go", "client.registered client actor=system")

		b := e.browser()
		b.password = "wrong"
		target, verifier := e.authorizeURL(reg.Client.ClientID, "scope", "read")
		a := b.do(http.MethodGet, target, nil)
		action, form, ok := b.fill(target, a)
		if !ok {
			t.Fatalf("no sign-in form: %d", a.status)
		}
		b.do(http.MethodPost, action.String(), form)
		l.wantEvents(t, "wrong password", "user.sign_in_failed at=login client")

		b.password = "wonderland"
		a = b.walk(target)
		heard := l.wantEvents(t, "sign-in and consent",
			"user.signed_in at=login client subject=sub-alice session",
			"consent.given at=consent client subject=sub-alice session scopes=read",
			"client.authorized at=consent client subject=sub-alice grant session scopes=read detail=code")
		grant := heard[2].GrantID
		if heard[2].ClientID != reg.Client.ClientID || heard[2].OrgID != homeOrg || heard[2].ProjectID != homeProject {
			t.Errorf("the event names the client %q of %q, %q", heard[2].ClientID, heard[2].OrgID, heard[2].ProjectID)
		}
		if heard[1].RequestID != heard[2].RequestID || heard[0].RequestID == heard[1].RequestID {
			t.Error("the request ids do not tell the requests apart")
		}

		code := a.param("code")
		e.redeem(reg, code, strings.Repeat("x", 43)).wantError(t, 400, "invalid_grant")
		l.wantEvents(t, "wrong verifier", "request.refused at=token client error=invalid_grant status=400")
		tokens := e.redeem(reg, code, verifier)
		heard = l.wantEvents(t, "code", "token.issued at=token client subject=sub-alice grant by=authorization_code scopes=read refresh")
		if heard[0].GrantID != grant {
			t.Error("the token is of another grant than was authorized")
		}

		fresh := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"))
		l.wantEvents(t, "refresh", "token.refreshed at=token client subject=sub-alice grant by=refresh_token scopes=read refresh")

		if !e.active(reg, fresh.str("access_token")) {
			t.Error("the token does not work")
		}
		l.wantEvents(t, "introspection")
		e.authenticated("/oauth/revoke", reg, "token", fresh.str("access_token"))
		l.wantEvents(t, "revoke an access token", "token.revoked at=revoke client subject=sub-alice grant scopes=read count=1")
		e.authenticated("/oauth/revoke", reg, "token", fresh.str("access_token"))
		e.authenticated("/oauth/revoke", reg, "token", "oaa_nonsense")
		l.wantEvents(t, "revoke what does not work")

		e.clock.add(time.Minute)
		e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, 400, "invalid_grant")
		l.wantEvents(t, "replayed refresh token",
			"replay.detected at=token client subject=sub-alice grant scopes=read detail=refresh token",
			"grant.revoked at=token client subject=sub-alice grant scopes=read detail=refresh token count=1",
			"request.refused at=token client grant error=invalid_grant status=400")

		tokens = b.allow(reg, "scope", "read")
		l.wantEvents(t, "consent remembered",
			"client.authorized at=authorize client subject=sub-alice grant session scopes=read detail=code",
			"token.issued at=token client subject=sub-alice grant by=authorization_code scopes=read refresh")
		e.authenticated("/oauth/revoke", reg, "token", tokens.str("refresh_token"))
		l.wantEvents(t, "revoke a refresh token", "grant.revoked at=revoke client subject=sub-alice grant scopes=read count=1")
		e.authenticated("/oauth/revoke", reg, "token", tokens.str("refresh_token"))
		l.wantEvents(t, "revoke a refresh token again")

		target, verifier = e.authorizeURL(reg.Client.ClientID, "scope", "read")
		code = b.walk(target).param("code")
		e.redeem(reg, code, verifier).wantOK(t)
		l.take()
		e.redeem(reg, code, verifier).wantError(t, 400, "invalid_grant")
		l.wantEvents(t, "a lost race", "request.refused at=token client error=invalid_grant status=400")
		e.clock.add(time.Minute)
		e.redeem(reg, code, verifier).wantError(t, 400, "invalid_grant")
		l.wantEvents(t, "replayed code",
			"replay.detected at=token client subject=sub-alice grant scopes=read detail=code",
			"grant.revoked at=token client subject=sub-alice grant scopes=read detail=code count=1",
			"request.refused at=token client grant error=invalid_grant status=400")

		e.post("/oauth/token", reg.Client.ClientID, "wrong", "grant_type", "authorization_code").wantError(t, 401, "invalid_client")
		heard = l.wantEvents(t, "wrong secret",
			"client.authentication_failed at=token client error=invalid_client status=401",
			"request.refused at=token client error=invalid_client status=401")
		if heard[0].ClientID != reg.Client.ClientID {
			t.Errorf("the failure is %q's", heard[0].ClientID)
		}
		long := strings.Repeat("é", 1000)
		e.post("/oauth/token", long, "wrong", "grant_type", "client_credentials").wantError(t, 401, "invalid_client")
		if got := l.take()[0].ClientID; len(got) > 255 || !strings.HasPrefix(long, got) {
			t.Errorf("a long client_id becomes %d bytes", len(got))
		}
		e.tokenRequest(reg, "grant_type", "client_credentials").wantError(t, 400, "unauthorized_client")
		l.wantEvents(t, "a grant type that is not registered", "request.refused at=token client error=unauthorized_client status=400 field=grant_types")

		target, _ = e.authorizeURL(reg.Client.ClientID, "scope", "admin")
		b.walk(target)
		l.wantEvents(t, "refused at the redirect URI", "request.refused at=authorize client error=invalid_scope status=400 field=scope")
		b.walk(e.issuer + "/oauth/authorize?client_id=nobody")
		l.wantEvents(t, "refused on a page", "request.refused at=authorize client error=invalid_client status=400")

		b.deny = true
		target, _ = e.authorizeURL(reg.Client.ClientID, "scope", "write")
		b.walk(target)
		l.wantEvents(t, "denial", "consent.denied at=consent client subject=sub-alice session scopes=write error=access_denied")

		a = b.do(http.MethodGet, e.issuer+"/account", nil)
		form = hiddenFields(t, a, e.opts.base+"/account/revoke", 0)
		b.do(http.MethodPost, e.issuer+"/account/revoke", form)
		l.wantEvents(t, "access taken back", "consent.revoked at=account_revoke client subject=sub-alice scopes=read count=1")
		b.do(http.MethodPost, e.issuer+"/account/revoke", form)
		l.wantEvents(t, "access taken back again")
		b.do(http.MethodPost, e.issuer+"/account/sign-out", hiddenFields(t, a, e.opts.base+"/account/sign-out", 0))
		l.wantEvents(t, "sign-out", "user.logged_out at=account_sign_out subject=sub-alice session")

		machine := e.register(machineClient())
		l.take()
		token := e.tokenRequest(machine, "grant_type", "client_credentials", "scope", "read")
		l.wantEvents(t, "client credentials", "token.issued at=token client by=client_credentials scopes=read")
		e.authenticated("/oauth/revoke", machine, "token", token.str("access_token"))
		l.wantEvents(t, "revoke a client's own token", "token.revoked at=revoke client scopes=read count=1")

		l.noSecrets(t, e.env)
	})
}

// noSecrets searches everything that was heard for what the flows used.
func (l *eventLog) noSecrets(t *testing.T, e *env) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, what := range e.secrets.Search(fmt.Appendf(nil, "%+v", l.all)) {
		t.Errorf("an event has a %s in clear", what)
	}
}

// bothMountsWith runs f for an issuer at the root and one under a path.
func bothMountsWith(t *testing.T, f func(t *testing.T, base string)) {
	for _, base := range []string{"", "/auth"} {
		t.Run("issuer path "+base, func(t *testing.T) { f(t, base) })
	}
}

// The tokens of the implicit response types are told after the grant.
func TestEventsOfFrontTokens(t *testing.T) {
	var l eventLog
	e := newEnv(t, l.listen(envOptions{
		config: func(c *handlers.Config) { c.Implicit = true },
		reg:    func(c *oauthreg.Config) { c.Implicit = true },
	}))
	reg := e.register(with(webClient(), func(c *oauthreg.Client) {
		c.GrantTypes = append(c.GrantTypes, oauthreg.GrantImplicit)
		c.ResponseTypes = []string{"code", "code token"}
		c.FirstParty = true
	}))
	target, _ := e.authorizeURL(reg.Client.ClientID, "scope", "read", "response_type", "code token")
	l.take()
	e.browser().walk(target)
	l.wantEvents(t, "hybrid flow",
		"user.signed_in at=login client subject=sub-alice session",
		"client.authorized at=login client subject=sub-alice grant session scopes=read detail=code token",
		"token.issued at=login client subject=sub-alice grant session by=implicit scopes=read")
}

// Changes of clients are told once, whichever way they come, with who made them.
func TestEventsOfClients(t *testing.T) {
	var l eventLog
	e := newManagedEnv(t, l.listen(envOptions{config: func(c *handlers.Config) {
		c.Registration = handlers.RegistrationConfig{Mode: handlers.RegistrationOpen}
	}}), nil)

	made := e.registerByHTTP(`{"redirect_uris":["https://a.example/cb"],"client_name":"A"}`)
	heard := l.wantEvents(t, "dynamic registration", "client.registered client actor=client")
	if heard[0].ClientID != made.str("client_id") || heard[0].RequestID != made.header.Get("X-Request-Id") {
		t.Errorf("heard of %q in request %q", heard[0].ClientID, heard[0].RequestID)
	}
	uri, token := made.str("registration_client_uri"), made.str("registration_access_token")
	e.sendJSON(http.MethodGet, uri, "wrong", "")
	l.wantEvents(t, "wrong registration token",
		"client.authentication_failed at=registration client error=invalid_token status=401 detail=registration_access_token",
		"request.refused at=registration client error=invalid_token status=401")
	put := e.sendJSON(http.MethodPut, uri, token, `{"client_id":"`+made.str("client_id")+`","redirect_uris":["https://a.example/other"],"client_name":"A"}`)
	l.wantEvents(t, "replacement", "client.updated client actor=client")
	e.sendJSON(http.MethodPut, uri, put.str("registration_access_token"), `{"client_id":"`+made.str("client_id")+`","redirect_uris":["javascript:x"]}`)
	l.wantEvents(t, "refused replacement", "request.refused at=registration client error=invalid_redirect_uri status=400")
	e.sendJSON(http.MethodDelete, uri, put.str("registration_access_token"), "")
	l.wantEvents(t, "deletion", "client.deleted client actor=client")

	id := e.call(http.MethodPost, "/oauth_clients", `{"name":"x","client_type":"confidential","allowed_scopes":["read"],"allowed_grant_types":["client_credentials"]}`).data(t)["client_id"].(string)
	l.wantEvents(t, "management: create", "client.registered client actor=admin")
	e.call(http.MethodPut, "/oauth_clients/"+id, `{"name":"y"}`)
	l.wantEvents(t, "management: update", "client.updated client actor=admin")
	e.call(http.MethodPut, "/oauth_clients/"+id, `{"name":""}`)
	if got := l.take(); len(got) != 1 || got[0].Type != oauthreg.EventRefused {
		t.Errorf("management: refused update: heard %v", got)
	}

	ctx, ref := t.Context(), oauthreg.ByClientID(id)
	for _, step := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"suspend", func() error { _, err := e.reg.Suspend(ctx, ref); return err }, []string{"client.suspended client actor=system"}},
		{"suspend again", func() error { _, err := e.reg.Suspend(ctx, ref); return err }, nil},
		{"resume", func() error { _, err := e.reg.Resume(ctx, ref); return err }, []string{"client.resumed client actor=system"}},
		{"rotate the secret", func() error { _, err := e.reg.RotateSecret(ctx, ref, oauthreg.RotateOptions{}); return err }, []string{"secret.created client actor=system"}},
		{"rotate the registration token", func() error { _, err := e.reg.RotateRegistrationToken(ctx, ref); return err }, []string{"registration_token.rotated client actor=system"}},
		{"change nothing", func() error {
			_, err := e.reg.Update(ctx, ref, oauthreg.UpdateOptions{}, func(*oauthreg.Client) error { return nil })
			return err
		}, nil},
		{"delete", func() error { return e.reg.Delete(ctx, ref) }, []string{"client.deleted client actor=system"}},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		l.wantEvents(t, step.name, step.want...)
	}
	if err := e.reg.Delete(ctx, ref); !errors.Is(err, oauthreg.ErrNotFound) {
		t.Fatalf("deleted twice: %v", err)
	}
	l.wantEvents(t, "delete again")
	l.noSecrets(t, e.env)
}

// What an administrator revokes is told with who did it.
func TestEventsOfManagedGrants(t *testing.T) {
	var l eventLog
	e := newManagedEnv(t, l.listen(envOptions{}), nil)
	home := func(c *oauthreg.Client) { c.OrgID, c.ProjectID = homeOrg, homeProject }
	reg := e.register(with(webClient(), home))
	e.tokens(reg, "scope", "read")
	l.take()
	grants := e.call(http.MethodGet, "/oauth_grants?filter[client_id]="+reg.Client.ClientID, "")
	id := grants.body["data"].([]any)[0].(map[string]any)["id"].(string)
	e.call(http.MethodDelete, "/oauth_grants/"+id, "").data(t)
	l.wantEvents(t, "one grant", "consent.revoked at=grant client subject=sub-alice scopes=read count=1 actor=admin")

	first := e.register(with(webClient(), func(c *oauthreg.Client) { home(c); c.FirstParty = true }))
	e.tokens(reg, "scope", "read")
	e.tokens(first, "scope", "read")
	e.tokens(first, "scope", "read")
	l.take()
	e.call(http.MethodDelete, "/oauth_grants?filter[subject]=sub-alice", "").data(t)
	l.wantEvents(t, "all of a user",
		"consent.revoked at=grants subject=sub-alice count=1 actor=admin",
		"grant.revoked at=grants subject=sub-alice count=2 actor=admin")
	e.call(http.MethodDelete, "/oauth_grants?filter[subject]=sub-alice", "").data(t)
	l.wantEvents(t, "all of a user again")

	e.tokens(reg, "scope", "read")
	l.take()
	e.call(http.MethodDelete, "/oauth_grants?filter[client_id]="+reg.Client.ClientID, "").data(t)
	if heard := l.take(); len(heard) != 1 || heard[0].ClientID != reg.Client.ClientID || heard[0].OrgID != homeOrg || heard[0].ProjectID != homeProject {
		t.Errorf("all of a client: heard %+v", heard)
	}
}

// What the limiter holds back is told, and no failure is counted twice.
func TestEventsOfLimits(t *testing.T) {
	var l eventLog
	clock := newClock()
	e := newEnv(t, l.listen(envOptions{clock: clock, config: func(c *handlers.Config) {
		c.Limits = handlers.NewLimiter(handlers.LimiterConfig{Now: clock.Now, Rates: map[handlers.LimitKind]handlers.Rate{
			handlers.LimitClientAuth: {Burst: 1, PerMinute: 1},
		}})
	}}))
	reg := e.register(machineClient())
	l.take()
	e.post("/oauth/token", reg.Client.ClientID, "wrong", "grant_type", "client_credentials").wantError(t, 401, "invalid_client")
	l.take()
	e.post("/oauth/token", reg.Client.ClientID, "wrong", "grant_type", "client_credentials").wantError(t, 429, "temporarily_unavailable")
	l.wantEvents(t, "too many tries",
		"request.limited at=token client detail=client_authentication",
		"request.refused at=token client error=temporarily_unavailable status=429")
}

// A step whose write failed, at any call to the store, is told as failed and
// nothing else; when it succeeds, it is told as done.
func TestEventsOfFailures(t *testing.T) {
	var l eventLog
	store := new(faultyStore)
	e := newEnv(t, l.listen(wholeServer(envOptions{wrap: func(s *storage.Store) (oauthreg.Store, handlers.Store) {
		store.Store = s
		return store, store
	}})))
	for _, s := range steps() {
		t.Run(s.name, func(t *testing.T) {
			e := *e
			e.t = t
			for n := 1; n <= 50; n++ {
				send := s.prepare(&e)
				l.take()
				store.arm(n, fmt.Errorf("%w: connection refused", oauthreg.ErrUnavailable))
				send()
				fired := store.disarm()
				heard := l.take()
				if fired == "" {
					for _, h := range heard {
						if h.Type == oauthreg.EventFailed {
							t.Errorf("without a fault: %s", story(h))
						}
					}
					return
				}
				if len(heard) != 1 || heard[0].Type != oauthreg.EventFailed || heard[0].Status != 503 || heard[0].Error != "temporarily_unavailable" {
					for _, h := range heard {
						t.Errorf("%s failed: heard %s", fired, story(h))
					}
				}
			}
			t.Fatal("the step does not end")
		})
	}
}

// Of fifty parallel redemptions of one code, one is told as issued.
func TestEventsOfARace(t *testing.T) {
	var l eventLog
	e := newEnv(t, l.listen(envOptions{}))
	reg := e.register(webClient())
	code, verifier := e.code(reg.Client.ClientID)
	l.take()
	const callers = 50
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() { e.redeem(reg, code, verifier) })
	}
	wg.Wait()
	count := map[oauthreg.EventType]int{}
	for _, h := range l.take() {
		count[h.Type]++
	}
	if count[oauthreg.EventTokenIssued] != 1 || count[oauthreg.EventRefused] != callers-1 || len(count) != 2 {
		t.Errorf("heard %v", count)
	}
}

// A hook that panics, or that changes what it is given, disturbs nobody.
func TestEventHookPanics(t *testing.T) {
	broken := func(_ context.Context, e oauthreg.Event) {
		for i := range e.Scopes {
			e.Scopes[i] = "admin"
		}
		panic("the hook is broken")
	}
	e := newEnv(t, envOptions{
		config: func(c *handlers.Config) { c.Events = broken },
		reg:    func(c *oauthreg.Config) { c.Events = broken },
	})
	reg := e.register(webClient())
	tokens := e.tokens(reg, "scope", "read write")
	if got := tokens.str("scope"); got != "read write" {
		t.Errorf("the hook changed the scope to %q", got)
	}
	e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantOK(t)
	e.tokenRequest(reg, "grant_type", "nonsense").wantError(t, 400, "unsupported_grant_type")
	if !strings.Contains(e.log.String(), "event function panicked") {
		t.Error("the panic is not in the log")
	}
}

// A host that ends a session itself is told of it too, outside of any request.
func TestEventOfHostLogout(t *testing.T) {
	var l eventLog
	e := newEnv(t, l.listen(envOptions{}))
	if err := e.server.EndSession(t.Context(), "session-1"); err != nil {
		t.Fatal(err)
	}
	l.wantEvents(t, "host logout", "user.logged_out session")
}

// The id of a request is that of a trusted proxy, if it is one; it goes to the
// log, the events and the answer.
func TestRequestID(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	for _, tt := range []struct {
		name    string
		trusted []netip.Prefix
		sent    []string
		kept    bool
	}{
		{"nobody is trusted", nil, []string{"proxy-1"}, false},
		{"another is trusted", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []string{"proxy-1"}, false},
		{"trusted", trusted, []string{"Root=1-67891233-abcdef012345678912345678"}, true},
		{"trusted, as long as allowed", trusted, []string{strings.Repeat("a", 128)}, true},
		{"too long", trusted, []string{strings.Repeat("a", 129)}, false},
		{"two of them", trusted, []string{"a", "b"}, false},
		{"none", trusted, nil, false},
		{"empty", trusted, []string{""}, false},
		{"not an id", trusted, []string{`a" err="x`}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l eventLog
			e := newEnv(t, l.listen(envOptions{config: func(c *handlers.Config) { c.TrustedProxies = tt.trusted }}))
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.issuer+"/oauth/token", strings.NewReader(url.Values{"grant_type": {"x"}}.Encode()))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.Header["X-Request-Id"] = tt.sent
			a := e.send(req)
			id := a.header.Get("X-Request-Id")
			if kept := len(tt.sent) == 1 && id == tt.sent[0]; kept != tt.kept || id == "" {
				t.Errorf("sent %q, got %q", tt.sent, id)
			}
			if !strings.Contains(e.log.String(), "request_id="+id) && !strings.Contains(e.log.String(), `request_id="`+id+`"`) {
				t.Errorf("the log does not have %q:\n%s", id, e.log)
			}
			for _, h := range l.take() {
				if h.RequestID != id {
					t.Errorf("%s has request id %q, want %q", h.Type, h.RequestID, id)
				}
			}
		})
	}
}
