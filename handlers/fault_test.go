package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// faultyStore fails one call, chosen by its number, and passes all others on.
type faultyStore struct {
	*storage.Store

	mu    sync.Mutex
	left  int // calls until the one that fails; 0: none will
	act   func() error
	fired string
}

// arm makes the nth call from now fail with err.
func (f *faultyStore) arm(n int, err error) { f.armWith(n, func() error { return err }) }

// armWith does something just before the nth call from now, which then goes on
// unless that was an error.
func (f *faultyStore) armWith(n int, act func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.act, f.fired = n, act, ""
}

// disarm returns the name of the call that failed, empty when there was none.
func (f *faultyStore) disarm() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = 0
	return f.fired
}

func (f *faultyStore) fault(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left == 0 {
		return nil
	}
	if f.left--; f.left > 0 {
		return nil
	}
	f.fired = name
	counts.faults.Add(1)
	if err := f.act(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// errNoDatabase is what a store says whose database does not answer.
var errNoDatabase = fmt.Errorf("%w: connection refused", oauthreg.ErrUnavailable)

// faultyEnv is a server with everything on a store that can be made to fail.
func faultyEnv(t *testing.T) (*env, *faultyStore) {
	t.Helper()
	store := new(faultyStore)
	return newEnv(t, wholeServer(envOptions{wrap: func(s *storage.Store) (oauthreg.Store, handlers.Store) {
		store.Store = s
		return store, store
	}})), store
}

var (
	_ handlers.Store = (*faultyStore)(nil)
	_ oauthreg.Store = (*faultyStore)(nil)
)

// step is one request of a flow, ready to be sent, and sent again.
type step struct {
	name string
	// prepare brings everything up to the request and returns how to send it:
	// the status, and whether it did what it should.
	prepare func(e *env) func() (status int, done bool)
	// spends is the table that may grow although the step failed.
	spends string
}

// TestStorageFailureIsNeverAnAnswer fails every call to the store in turn, in
// every step of every flow. The answer is 5xx, never a success, an unknown client
// or an inactive token; and when the fault is gone the same request works.
func TestStorageFailureIsNeverAnAnswer(t *testing.T) {
	e, store := faultyEnv(t)
	faults := map[string]struct {
		err    error
		status int
	}{
		"unreachable": {errNoDatabase, http.StatusServiceUnavailable},
		"broken":      {errors.New("disk I/O error"), 0}, // any 5xx
	}
	for _, s := range steps() {
		for kind, fault := range faults {
			t.Run(s.name+"/"+kind, func(t *testing.T) {
				e := *e
				e.t = t
				s.disturbed(&e, store, func() error { return fault.err }, func(fired string, status int, done bool) {
					if done || status < 500 || fault.status != 0 && status != fault.status {
						t.Errorf("%s failed: status %d, done %v, want 5xx (%d)", fired, status, done, fault.status)
					}
				})
			})
		}
	}
}

// disturbed sends the step once for every call that it makes to the store, and
// does something just before that call; after looks at the answer. Nothing may be
// half written: what did not succeed left every table as it was, and the same
// request works afterwards.
func (s step) disturbed(e *env, store *faultyStore, act func() error, after func(fired string, status int, done bool)) {
	e.t.Helper()
	var unwritten []string // calls disturbed without harm, and without a new row
	for n := 1; ; n++ {
		if n > 50 {
			e.t.Fatal("the step does not end")
		}
		send := s.prepare(e)
		before := s.rows(e)
		store.armWith(n, act)
		status, done := send()
		fired := store.disarm()
		if fired == "" {
			if !done {
				e.t.Fatalf("undisturbed: status %d", status)
			}
			if n == 1 {
				e.t.Fatal("the step never asks the store")
			}
			if len(unwritten) > 0 && s.rows(e) != before {
				e.t.Errorf("disturbed at %v the step says that it succeeded, and did not write what it writes", unwritten)
			}
			return
		}
		after(fired, status, done)
		if done {
			if s.rows(e) == before {
				unwritten = append(unwritten, fired)
			}
			continue
		}
		if rows := s.rows(e); rows != before {
			e.t.Errorf("%s was disturbed, and something is stored:\nbefore %s\nafter  %s", fired, before, rows)
		}
		if status, done := send(); !done {
			e.t.Errorf("after %s was disturbed, the same request gets status %d", fired, status)
		}
	}
}

func (s step) rows(e *env) string {
	kept := strings.Fields(e.rows(e.t))
	return strings.Join(slices.DeleteFunc(kept, func(table string) bool {
		return s.spends != "" && strings.HasPrefix(table, s.spends+"=")
	}), " ")
}

// interrupted: a client that goes away, and a panic, in the middle of any request
// leave nothing half written, and the same request works afterwards.
func interrupted(t *testing.T) {
	var cancel atomic.Pointer[context.CancelFunc]
	store := new(faultyStore)
	opts := wholeServer(envOptions{wrap: func(s *storage.Store) (oauthreg.Store, handlers.Store) {
		store.Store = s
		return store, store
	}})
	whole := opts.handler
	opts.handler = func(e *env) http.Handler {
		next := whole(e)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, f := context.WithCancel(r.Context())
			defer f()
			cancel.Store(&f)
			next.ServeHTTP(w, r.WithContext(ctx))
		})
	}
	e := newEnv(t, opts)
	noticed := 0
	for _, s := range steps() {
		t.Run(s.name+"/cancelled", func(t *testing.T) {
			e := *e
			e.t = t
			goAway := func() error {
				(*cancel.Load())()
				return nil
			}
			s.disturbed(&e, store, goAway, func(fired string, status int, done bool) {
				if !done && status < 500 { // nobody reads it, but the log counts it
					t.Errorf("cancelled at %s: status %d", fired, status)
				}
				if !done {
					noticed++
				}
			})
		})
		t.Run(s.name+"/panic", func(t *testing.T) {
			e := *e
			e.t = t
			s.disturbed(&e, store, func() error { panic("a bug") }, func(fired string, status int, done bool) {
				if done || status != http.StatusInternalServerError {
					t.Errorf("panic at %s: status %d, done %v, want 500", fired, status, done)
				}
			})
		})
	}
	if noticed < 2*len(steps()) {
		t.Errorf("%d requests noticed that they were cancelled; are they at all?", noticed)
	}
}

// json sends a JSON request, with a bearer value when there is one.
func (e *env) json(method, path, bearer, body string) *tokenAnswer {
	e.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, e.issuer+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	return e.send(req)
}

func steps() []step {
	answered := func(a *tokenAnswer) (int, bool) { return a.status, a.status == http.StatusOK }
	// signedIn is a browser whose user is signed in and allowed the client.
	signedIn := func(e *env, reg oauthreg.Registration) *browser {
		b := e.browser()
		target, _ := e.authorizeURL(reg.Client.ClientID)
		if a := b.walk(target); a.param("code") == "" {
			e.t.Fatalf("no code: %d %s", a.status, a.body)
		}
		return b
	}
	// formOf follows redirects on the server to the next form.
	formOf := func(e *env, b *browser, target string) (*url.URL, url.Values) {
		a := b.do(http.MethodGet, target, nil)
		for a.location != nil {
			target = a.location.String()
			a = b.do(http.MethodGet, target, nil)
		}
		action, form, ok := b.fill(target, a)
		if !ok {
			e.t.Fatalf("no form: %d %s", a.status, a.body)
		}
		return action, form
	}
	return []step{
		{"authorize", func(e *env) func() (int, bool) {
			reg := e.register(webClient())
			b := signedIn(e, reg)
			return func() (int, bool) {
				target, _ := e.authorizeURL(reg.Client.ClientID)
				a := b.do(http.MethodGet, target, nil)
				return a.status, a.param("code") != ""
			}
		}, ""},
		{"authorize, nobody signed in", func(e *env) func() (int, bool) {
			target, _ := e.authorizeURL(e.register(webClient()).Client.ClientID)
			return func() (int, bool) {
				a := e.browser().do(http.MethodGet, target, nil)
				return a.status, strings.Contains(a.body, `id="login-submit"`)
			}
		}, ""},
		{"sign-in", func(e *env) func() (int, bool) {
			b := e.browser()
			target, _ := e.authorizeURL(e.register(webClient()).Client.ClientID)
			action, form := formOf(e, b, target)
			return func() (int, bool) {
				a := b.do(http.MethodPost, action.String(), form)
				return a.status, a.location != nil
			}
		}, ""},
		{"consent page", func(e *env) func() (int, bool) {
			b := signedIn(e, e.register(webClient()))
			target, _ := e.authorizeURL(e.register(webClient()).Client.ClientID)
			a := b.do(http.MethodGet, target, nil)
			if a.location == nil {
				e.t.Fatalf("no consent page: %d", a.status)
			}
			return func() (int, bool) {
				p := b.do(http.MethodGet, a.location.String(), nil)
				return p.status, p.status == http.StatusOK
			}
		}, ""},
		{"consent", func(e *env) func() (int, bool) {
			b := signedIn(e, e.register(webClient()))
			target, _ := e.authorizeURL(e.register(webClient()).Client.ClientID)
			action, form := formOf(e, b, target)
			return func() (int, bool) {
				a := b.do(http.MethodPost, action.String(), form)
				return a.status, a.param("code") != ""
			}
		}, ""},
		{"denial", func(e *env) func() (int, bool) {
			b := signedIn(e, e.register(webClient()))
			b.deny = true
			target, _ := e.authorizeURL(e.register(webClient()).Client.ClientID)
			action, form := formOf(e, b, target)
			return func() (int, bool) {
				a := b.do(http.MethodPost, action.String(), form)
				return a.status, a.param("error") == "access_denied"
			}
		}, ""},
		{"code", func(e *env) func() (int, bool) {
			reg := e.register(webClient())
			code, verifier := e.code(reg.Client.ClientID, "scope", "openid read")
			return func() (int, bool) { return answered(e.redeem(reg, code, verifier)) }
		}, ""},
		{"refresh", func(e *env) func() (int, bool) {
			reg := e.register(webClient())
			token := e.tokens(reg).str("refresh_token")
			return func() (int, bool) {
				return answered(e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", token))
			}
		}, ""},
		{"client credentials", func(e *env) func() (int, bool) {
			reg := e.register(machineClient())
			return func() (int, bool) { return answered(e.tokenRequest(reg, "grant_type", "client_credentials")) }
		}, ""},
		{"assertion", func(e *env) func() (int, bool) {
			key := newAssertionKey(e.t)
			reg := e.register(key.client(e.t))
			return func() (int, bool) {
				return answered(e.assert(reg, key.sign(e.t, "ES256", key.claims(e, reg))))
			}
			// An assertion is used up once it authenticated, whatever comes after: a
			// client signs a new one for every request (RFC 7523 §3).
		}, "oauthreg_assertions"},
		{"introspect", func(e *env) func() (int, bool) {
			reg := e.register(webClient())
			token := e.tokens(reg).str("access_token")
			return func() (int, bool) {
				a := e.authenticated("/oauth/introspect", reg, "token", token)
				return a.status, a.body["active"] == true
			}
		}, ""},
		{"introspect a refresh token", func(e *env) func() (int, bool) {
			reg := e.register(webClient())
			token := e.tokens(reg).str("refresh_token")
			return func() (int, bool) {
				a := e.authenticated("/oauth/introspect", reg, "token", token)
				return a.status, a.body["active"] == true
			}
		}, ""},
		{"revoke", func(e *env) func() (int, bool) {
			reg := e.register(webClient())
			token := e.tokens(reg).str("access_token")
			return func() (int, bool) { return answered(e.authenticated("/oauth/revoke", reg, "token", token)) }
		}, ""},
		{"revoke a refresh token", func(e *env) func() (int, bool) {
			reg := e.register(webClient())
			token := e.tokens(reg).str("refresh_token")
			return func() (int, bool) { return answered(e.authenticated("/oauth/revoke", reg, "token", token)) }
		}, ""},
		{"replayed code", func(e *env) func() (int, bool) {
			reg := e.register(webClient())
			code, verifier := e.code(reg.Client.ClientID)
			e.redeem(reg, code, verifier).wantOK(e.t)
			e.clock.add(11 * time.Second)
			return func() (int, bool) {
				a := e.redeem(reg, code, verifier)
				return a.status, a.str("error") == "invalid_grant"
			}
		}, ""},
		{"userinfo", func(e *env) func() (int, bool) {
			token := e.tokens(e.register(webClient()), "scope", "openid").str("access_token")
			return func() (int, bool) {
				req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, e.issuer+"/oauth/userinfo", nil)
				if err != nil {
					e.t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer "+token)
				a := e.send(req)
				return a.status, a.status == http.StatusOK && a.str("sub") == "sub-alice"
			}
		}, ""},
		{"dynamic registration", func(e *env) func() (int, bool) {
			return func() (int, bool) {
				a := e.json(http.MethodPost, "/oauth/register", "", `{"redirect_uris":["https://a.example/cb"]}`)
				return a.status, a.status == http.StatusCreated
			}
		}, ""},
		{"reading a registration", func(e *env) func() (int, bool) {
			made := e.json(http.MethodPost, "/oauth/register", "", `{"redirect_uris":["https://a.example/cb"]}`)
			return func() (int, bool) {
				a := e.json(http.MethodGet, "/oauth/register/"+made.str("client_id"), made.str("registration_access_token"), "")
				return a.status, a.status == http.StatusOK
			}
		}, ""},
		{"deleting a registration", func(e *env) func() (int, bool) {
			made := e.json(http.MethodPost, "/oauth/register", "", `{"redirect_uris":["https://a.example/cb"]}`)
			return func() (int, bool) {
				a := e.json(http.MethodDelete, "/oauth/register/"+made.str("client_id"), made.str("registration_access_token"), "")
				return a.status, a.status == http.StatusNoContent
			}
		}, ""},
		{"management: create", func(e *env) func() (int, bool) {
			return func() (int, bool) {
				a := e.json(http.MethodPost, "/v2/oauth_clients", adminKey, `{"name":"x","client_type":"confidential","allowed_scopes":["read"],"allowed_grant_types":["client_credentials"]}`)
				return a.status, a.status == http.StatusCreated
			}
		}, ""},
		{"management: list and get", func(e *env) func() (int, bool) {
			reg := e.register(with(machineClient(), func(c *oauthreg.Client) { c.OrgID, c.ProjectID = homeOrg, homeProject }))
			return func() (int, bool) {
				if a := e.json(http.MethodGet, "/v2/oauth_clients", adminKey, ""); a.status != http.StatusOK {
					return a.status, false
				}
				a := e.json(http.MethodGet, "/v2/oauth_clients/"+reg.Client.ClientID, adminKey, "")
				return a.status, a.status == http.StatusOK
			}
		}, ""},
		{"management: delete", func(e *env) func() (int, bool) {
			reg := e.register(with(machineClient(), func(c *oauthreg.Client) { c.OrgID, c.ProjectID = homeOrg, homeProject }))
			return func() (int, bool) {
				a := e.json(http.MethodDelete, "/v2/oauth_clients/"+reg.Client.ClientID, adminKey, "")
				return a.status, a.status == http.StatusNoContent
			}
		}, ""},
		{"readiness", func(e *env) func() (int, bool) {
			return func() (int, bool) {
				a := e.browser().do(http.MethodGet, e.issuer+"/readyz", nil)
				return a.status, a.status == http.StatusOK
			}
		}, ""},
	}
}

func (f *faultyStore) BeginTX(ctx context.Context) (r0 context.Context, err error) {
	if err = f.fault("BeginTX"); err != nil {
		return
	}
	return f.Store.BeginTX(ctx)
}

func (f *faultyStore) Commit(ctx context.Context) (err error) {
	if err = f.fault("Commit"); err != nil {
		return
	}
	return f.Store.Commit(ctx)
}

func (f *faultyStore) Consent(ctx context.Context, a1 string, a2 string) (r0 oauthreg.Consent, err error) {
	if err = f.fault("Consent"); err != nil {
		return
	}
	return f.Store.Consent(ctx, a1, a2)
}

func (f *faultyStore) CreateAccessTokenSession(ctx context.Context, a1 string, a2 fosite.Requester) (err error) {
	if err = f.fault("CreateAccessTokenSession"); err != nil {
		return
	}
	return f.Store.CreateAccessTokenSession(ctx, a1, a2)
}

func (f *faultyStore) CreateAuthorizeCodeSession(ctx context.Context, a1 string, a2 fosite.Requester) (err error) {
	if err = f.fault("CreateAuthorizeCodeSession"); err != nil {
		return
	}
	return f.Store.CreateAuthorizeCodeSession(ctx, a1, a2)
}

func (f *faultyStore) CreateGrant(ctx context.Context, a1 oauthreg.Grant) (err error) {
	if err = f.fault("CreateGrant"); err != nil {
		return
	}
	return f.Store.CreateGrant(ctx, a1)
}

func (f *faultyStore) CreateInteraction(ctx context.Context, a1 oauthreg.Interaction) (err error) {
	if err = f.fault("CreateInteraction"); err != nil {
		return
	}
	return f.Store.CreateInteraction(ctx, a1)
}

func (f *faultyStore) CreateLoginSession(ctx context.Context, a1 oauthreg.LoginSession) (err error) {
	if err = f.fault("CreateLoginSession"); err != nil {
		return
	}
	return f.Store.CreateLoginSession(ctx, a1)
}

func (f *faultyStore) CreateRefreshTokenSession(ctx context.Context, a1 string, a2 string, a3 fosite.Requester) (err error) {
	if err = f.fault("CreateRefreshTokenSession"); err != nil {
		return
	}
	return f.Store.CreateRefreshTokenSession(ctx, a1, a2, a3)
}

func (f *faultyStore) DeleteAccessTokenSession(ctx context.Context, a1 string) (err error) {
	if err = f.fault("DeleteAccessTokenSession"); err != nil {
		return
	}
	return f.Store.DeleteAccessTokenSession(ctx, a1)
}

func (f *faultyStore) DeleteRefreshTokenSession(ctx context.Context, a1 string) (err error) {
	if err = f.fault("DeleteRefreshTokenSession"); err != nil {
		return
	}
	return f.Store.DeleteRefreshTokenSession(ctx, a1)
}

func (f *faultyStore) EndLoginSession(ctx context.Context, a1 string) (err error) {
	if err = f.fault("EndLoginSession"); err != nil {
		return
	}
	return f.Store.EndLoginSession(ctx, a1)
}

func (f *faultyStore) FinishInteraction(ctx context.Context, a1 string) (err error) {
	if err = f.fault("FinishInteraction"); err != nil {
		return
	}
	return f.Store.FinishInteraction(ctx, a1)
}

func (f *faultyStore) GetAccessTokenSession(ctx context.Context, a1 string, a2 fosite.Session) (r0 fosite.Requester, err error) {
	if err = f.fault("GetAccessTokenSession"); err != nil {
		return
	}
	return f.Store.GetAccessTokenSession(ctx, a1, a2)
}

func (f *faultyStore) GetAuthorizeCodeSession(ctx context.Context, a1 string, a2 fosite.Session) (r0 fosite.Requester, err error) {
	if err = f.fault("GetAuthorizeCodeSession"); err != nil {
		return
	}
	return f.Store.GetAuthorizeCodeSession(ctx, a1, a2)
}

func (f *faultyStore) GetRefreshTokenSession(ctx context.Context, a1 string, a2 fosite.Session) (r0 fosite.Requester, err error) {
	if err = f.fault("GetRefreshTokenSession"); err != nil {
		return
	}
	return f.Store.GetRefreshTokenSession(ctx, a1, a2)
}

func (f *faultyStore) Grant(ctx context.Context, a1 string) (r0 oauthreg.Grant, err error) {
	if err = f.fault("Grant"); err != nil {
		return
	}
	return f.Store.Grant(ctx, a1)
}

func (f *faultyStore) Interaction(ctx context.Context, a1 string, a2 string) (r0 oauthreg.Interaction, err error) {
	if err = f.fault("Interaction"); err != nil {
		return
	}
	return f.Store.Interaction(ctx, a1, a2)
}

func (f *faultyStore) InvalidateAuthorizeCodeSession(ctx context.Context, a1 string) (err error) {
	if err = f.fault("InvalidateAuthorizeCodeSession"); err != nil {
		return
	}
	return f.Store.InvalidateAuthorizeCodeSession(ctx, a1)
}

func (f *faultyStore) ListConsents(ctx context.Context, a1 oauthreg.GrantFilter, a2 int, a3 int) (r0 []oauthreg.Consent, r1 int, err error) {
	if err = f.fault("ListConsents"); err != nil {
		return
	}
	return f.Store.ListConsents(ctx, a1, a2, a3)
}

func (f *faultyStore) ListGrants(ctx context.Context, a1 oauthreg.GrantFilter, a2 int, a3 int) (r0 []oauthreg.Grant, r1 int, err error) {
	if err = f.fault("ListGrants"); err != nil {
		return
	}
	return f.Store.ListGrants(ctx, a1, a2, a3)
}

func (f *faultyStore) ListLoginSessions(ctx context.Context, a1 string) (r0 []oauthreg.LoginSession, err error) {
	if err = f.fault("ListLoginSessions"); err != nil {
		return
	}
	return f.Store.ListLoginSessions(ctx, a1)
}

func (f *faultyStore) LoginSession(ctx context.Context, a1 string) (r0 oauthreg.LoginSession, err error) {
	if err = f.fault("LoginSession"); err != nil {
		return
	}
	return f.Store.LoginSession(ctx, a1)
}

func (f *faultyStore) Ping(ctx context.Context) (err error) {
	if err = f.fault("Ping"); err != nil {
		return
	}
	return f.Store.Ping(ctx)
}

func (f *faultyStore) RevokeConsents(ctx context.Context, a1 oauthreg.GrantFilter) (r0 int, err error) {
	if err = f.fault("RevokeConsents"); err != nil {
		return
	}
	return f.Store.RevokeConsents(ctx, a1)
}

func (f *faultyStore) RevokeGrants(ctx context.Context, a1 oauthreg.GrantFilter) (r0 int, err error) {
	if err = f.fault("RevokeGrants"); err != nil {
		return
	}
	return f.Store.RevokeGrants(ctx, a1)
}

func (f *faultyStore) RotateRefreshToken(ctx context.Context, a1 string, a2 string) (err error) {
	if err = f.fault("RotateRefreshToken"); err != nil {
		return
	}
	return f.Store.RotateRefreshToken(ctx, a1, a2)
}

func (f *faultyStore) SaveConsent(ctx context.Context, a1 oauthreg.Consent) (r0 string, err error) {
	if err = f.fault("SaveConsent"); err != nil {
		return
	}
	return f.Store.SaveConsent(ctx, a1)
}

func (f *faultyStore) SetClientAssertionJWT(ctx context.Context, a1 string, a2 time.Time) (err error) {
	if err = f.fault("SetClientAssertionJWT"); err != nil {
		return
	}
	return f.Store.SetClientAssertionJWT(ctx, a1, a2)
}

func (f *faultyStore) TouchLoginSession(ctx context.Context, a1 string, a2 time.Time, a3 time.Time) (err error) {
	if err = f.fault("TouchLoginSession"); err != nil {
		return
	}
	return f.Store.TouchLoginSession(ctx, a1, a2, a3)
}

func (f *faultyStore) UpdateInteraction(ctx context.Context, a1 oauthreg.Interaction) (err error) {
	if err = f.fault("UpdateInteraction"); err != nil {
		return
	}
	return f.Store.UpdateInteraction(ctx, a1)
}

func (f *faultyStore) UseGrant(ctx context.Context, a1 string, a2 time.Time, a3 time.Time) (err error) {
	if err = f.fault("UseGrant"); err != nil {
		return
	}
	return f.Store.UseGrant(ctx, a1, a2, a3)
}

func (f *faultyStore) AuditRecords(ctx context.Context, a1 oauthreg.AuditQuery) (r0 []oauthreg.AuditRecord, err error) {
	if err = f.fault("AuditRecords"); err != nil {
		return
	}
	return f.Store.AuditRecords(ctx, a1)
}

func (f *faultyStore) Client(ctx context.Context, a1 oauthreg.Ref) (r0 oauthreg.Record, err error) {
	if err = f.fault("Client"); err != nil {
		return
	}
	return f.Store.Client(ctx, a1)
}

func (f *faultyStore) DeleteClient(ctx context.Context, a1 oauthreg.Ref, a2 func(oauthreg.Record) (oauthreg.AuditRecord, error)) (err error) {
	if err = f.fault("DeleteClient"); err != nil {
		return
	}
	return f.Store.DeleteClient(ctx, a1, a2)
}

func (f *faultyStore) InsertClient(ctx context.Context, a1 oauthreg.Record, a2 oauthreg.AuditRecord) (err error) {
	if err = f.fault("InsertClient"); err != nil {
		return
	}
	return f.Store.InsertClient(ctx, a1, a2)
}

func (f *faultyStore) ListClients(ctx context.Context, a1 oauthreg.ListQuery) (r0 []oauthreg.Client, r1 int, err error) {
	if err = f.fault("ListClients"); err != nil {
		return
	}
	return f.Store.ListClients(ctx, a1)
}

func (f *faultyStore) SecretUses(ctx context.Context, a1 string) (r0 map[string]time.Time, err error) {
	if err = f.fault("SecretUses"); err != nil {
		return
	}
	return f.Store.SecretUses(ctx, a1)
}

func (f *faultyStore) SecretsUsed(ctx context.Context, a1 map[string]time.Time) (err error) {
	if err = f.fault("SecretsUsed"); err != nil {
		return
	}
	return f.Store.SecretsUsed(ctx, a1)
}

func (f *faultyStore) UpdateClient(ctx context.Context, a1 oauthreg.Ref, a2 func(*oauthreg.Record) (*oauthreg.AuditRecord, error)) (err error) {
	if err = f.fault("UpdateClient"); err != nil {
		return
	}
	return f.Store.UpdateClient(ctx, a1, a2)
}

// A client that is deleted in the middle of a request is an unknown one, never a
// failure of the server, and nothing is left for the next client of its id.
func TestClientDeletedMeanwhile(t *testing.T) {
	e, store := faultyEnv(t)
	ctx := t.Context()
	deleteAll := func() error {
		clients, _, err := store.Store.ListClients(ctx, oauthreg.ListQuery{Limit: 1000})
		for _, k := range clients {
			err = errors.Join(err, store.Store.DeleteClient(ctx, oauthreg.ByID(k.ID), func(oauthreg.Record) (oauthreg.AuditRecord, error) {
				return oauthreg.AuditRecord{Action: "client.deleted", ClientID: k.ID}, nil
			}))
		}
		return err
	}
	for _, s := range steps() {
		if !slices.Contains([]string{"authorize", "consent", "code", "refresh", "client credentials"}, s.name) {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			e := *e
			e.t = t
			for n := 1; n < 50; n++ {
				send := s.prepare(&e)
				store.armWith(n, deleteAll)
				status, done := send()
				fired := store.disarm()
				if fired == "" {
					if n == 1 || !done {
						t.Errorf("undisturbed: status %d, done %v, of %d calls", status, done, n-1)
					}
					return
				}
				if status >= 500 {
					t.Errorf("deleted at %s: status %d", fired, status)
				}
				if _, left, err := store.Store.ListGrants(ctx, oauthreg.GrantFilter{}, 0, 0); err != nil || left != 0 {
					t.Errorf("deleted at %s: %d grants are left, %v", fired, left, err)
				}
				if _, left, err := store.Store.ListConsents(ctx, oauthreg.GrantFilter{}, 0, 0); err != nil || left != 0 {
					t.Errorf("deleted at %s: %d consents are left, %v", fired, left, err)
				}
			}
			t.Error("the step does not end")
		})
	}
}
