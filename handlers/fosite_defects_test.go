package handlers_test

// The defects of fosite v0.49, by a label and a sentence each. Every row of the
// table is a check that is sent to this server, where it must find nothing, and to
// a server of fosite's own parts (plain_fosite_test.go), where it must find
// something: so it is known that the check can fail. What is no matter of one
// server's answers has a reason in its place.

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/ory/fosite"
	"golang.org/x/oauth2"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// defect is one row. check returns what it saw that must not be, nil for nothing.
type defect struct {
	label string
	name  string
	check func(ctx context.Context, x *target) error
	on    plainOptions // how fosite is put together for it
	plain string       // why it is not run against fosite's own parts
}

func defects() []defect {
	return []defect{
		// Codes, PKCE, refresh.
		{label: "B1", name: "PKCE can be downgraded by failing once", check: defectB1},
		{label: "B2", name: "code redemption is check-then-act", check: defectB2},
		{label: "B3", name: "refresh rotation is check-then-act and has no grace", check: defectB3},
		{label: "B4", name: "strangers can end grants", check: defectB4},
		{label: "B5", name: "revocation answers 200 to everything", check: defectB5},
		{label: "B17", name: "refresh ignores scope and slides for ever", check: defectB17},
		{label: "B20", name: "rows are written before the request is validated", check: defectB20},
		{label: "B27a", name: "codes live for 15 minutes by default", check: defectB27a},

		// Client authentication and error codes.
		{label: "B7", name: "wrong or unregistered error codes", check: defectB7},
		{label: "B8", name: "client assertions are half verified", check: defectB8},
		{label: "B9", name: "several credentials at once are accepted", check: defectB9},
		{label: "B5a", name: "Basic credentials that do not decode are no 401", check: defectB5a},
		{label: "B10", name: "repeated parameters are accepted", check: defectB10},
		{label: "B25", name: "the hasher cuts secrets and tells known clients", check: defectB25, on: plainOptions{cost: 10}},
		{label: "B31", name: "a database failure looks like an unknown client", check: defectB31},
		{label: "B21", name: "grants are checked late and case is ignored", check: defectB21},

		// Authorize, PAR, request objects, redirects.
		{label: "B11", name: "pushed authorization requests", check: defectB11},
		{label: "B12", name: "request objects", check: defectB12},
		{label: "B13", name: "redirect URI matching", check: defectB13},
		{label: "B14", name: "a short or absent state is refused", check: defectB14},
		{label: "B15", name: "no iss in answers, and an empty state in errors", check: defectB15},
		{label: "B16", name: "resource is ignored", check: defectB16},
		{label: "B30", name: "parameters are lost between authorize and token", check: defectB30},

		// Introspection, JWT, OpenID Connect.
		{label: "B6", name: "introspection tells anybody, and wrongly", check: defectB6},
		{label: "B18", name: "JWT access tokens", check: defectB18, on: plainOptions{jwt: true}},
		{label: "B19", name: "OpenID Connect parameters are half checked", check: defectB19},
		{label: "B23", name: "opaque tokens have several spellings and a short key", check: defectB23},

		// Store, concurrency, transactions.
		{label: "B24", name: "the empty signature reaches the store", check: defectB24},
		{label: "B26", name: "no transaction around the token step", check: defectB26},
		{label: "B32", name: "sessions are shared between requests", check: defectB32, on: plainOptions{shared: true}},
		{label: "B22", name: "requests write to the configuration", check: defectB22},
		{label: "B33", name: "expiry depends on who hydrates the session", check: defectB33},

		// Missing, or not to be used.
		{label: "B27", name: "metadata, keys, userinfo, registration and logout are absent", check: defectB27,
			plain: "fosite has no handler that could be asked"},
		{label: "B28", name: "assertion, password and implicit grants", check: defectB28, on: plainOptions{all: true}},
		{label: "B29", name: "dependencies with known vulnerabilities", check: defectB29,
			plain: "both servers are in one build"},
		{label: "B34", name: "inputs have no limits", check: defectB34},
	}
}

// TestFositeDefects runs every row.
func TestFositeDefects(t *testing.T) {
	for _, d := range defects() {
		t.Run(d.label+" "+d.name, func(t *testing.T) {
			t.Run("ours", func(t *testing.T) {
				if err := d.check(t.Context(), newOurs(t)); err != nil {
					t.Error(err)
				}
			})
			if d.plain != "" {
				return
			}
			t.Run("plain", func(t *testing.T) {
				err := d.check(t.Context(), newPlain(t, d.on))
				if err == nil {
					t.Fatal("the check finds nothing on plain fosite: it proves nothing")
				}
				t.Logf("found:\n%v", err)
			})
		})
	}
}

// Every label is there once, and few rows are not run against plain fosite.
func TestFositeDefectLabels(t *testing.T) {
	want := []string{"B5a", "B27a"}
	for n := 1; n <= 34; n++ {
		want = append(want, "B"+strconv.Itoa(n))
	}
	var got []string
	reasons := 0
	for _, d := range defects() {
		got = append(got, d.label)
		if d.plain != "" {
			reasons++
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("labels are %v, want %v", got, want)
	}
	if reasons > 2 {
		t.Errorf("%d rows are not run against plain fosite", reasons)
	}
}

// party is a registered client; without a secret it is public, or has a key.
type party struct{ id, secret string }

var loopbackURIs = []string{"http://127.0.0.1/cb", "http://localhost/cb", "https://127.0.0.1/tls"}

// target is a running authorization server, with clients and what a test may
// observe of it and do to it.
type target struct {
	t    testing.TB
	name string
	base string // the issuer
	par  string // where requests are pushed to; empty when the server does not say

	web, stranger, public party // of users
	jwt                   party // gets JWTs, where the client decides that
	machine               party // client_credentials alone, though with a redirect URI
	loopback              party // public, has loopbackURIs
	keyed, unmarked       party // private_key_jwt, with all grants; the second key has no use
	key, unmarkedKey      assertionKey

	visit    func(ctx context.Context, query string) *answer // an authorization request in alice's browser
	register func(redirectURI string) (party, error)         // a public client
	sibling  func(secret string) *target                     // a server on the same store with that secret
	wait     func(d time.Duration)
	now      func() time.Time
	rotate   func(ctx context.Context) // the signing keys
	keys     func(ctx context.Context) []jose.JSONWebKey
	probe    *storeProbe
	rows     func() string
	stores   func(secret string) bool // whether it stands in the store
	stored   func(ctx context.Context, refreshToken string) (fosite.Requester, error)
	config   func() reflect.Value // fosite.Config
	// transport trusts the server's certificate.
	transport http.RoundTripper
	log       func(url.Values) // credentials that must not be found afterwards
}

// newOurs is this server as a target.
func newOurs(t testing.TB) *target {
	t.Helper()
	return oursOn(t, "", testSecret, new(clock))
}

func oursOn(t testing.TB, file string, secret []byte, clock *clock) *target {
	t.Helper()
	probe := new(storeProbe)
	var ring *oauthreg.KeyRing
	e := newEnv(t, envOptions{
		file: file, clock: clock,
		config: func(c *handlers.Config) {
			c.Claims, c.Secrets, ring = testClaims{}, [][]byte{secret}, c.Keys
			c.Scopes = append(c.Scopes, handlers.Scope{Name: "email"})
			c.Registration.Mode = handlers.RegistrationOpen
		},
		wrap: func(s *storage.Store) (oauthreg.Store, handlers.Store) {
			w := &probedStore{s, probe}
			return w, w
		},
	})
	x := &target{
		t: t, name: "ours", base: e.issuer, transport: e.transport, probe: probe, now: e.clock.Now, wait: e.clock.add, log: e.secrets.Values,
		rows:   func() string { return e.rows(t) },
		stores: func(secret string) bool { return bytes.Contains(e.content(t), []byte(secret)) },
		stored: func(ctx context.Context, token string) (fosite.Requester, error) {
			body, mac, _ := strings.Cut(strings.TrimPrefix(token, "ort_"), ".")
			signature := ""
			if token != "" {
				signature = body[:8] + "." + mac // the time and the MAC
			}
			return e.store.GetRefreshTokenSession(ctx, signature, handlers.NewSession())
		},
		sibling: func(secret string) *target { return oursOn(t, e.file, []byte(secret), e.clock) },
		// Server.engine, fosite.Fosite and its configuration: looked at, not used.
		config: func() reflect.Value {
			engine := reflect.ValueOf(e.server).Elem().FieldByName("engine").Elem()
			return engine.FieldByName("OAuth2Provider").Elem().Elem().FieldByName("Config").Elem().Elem()
		},
		rotate: func(ctx context.Context) {
			if _, err := ring.Rotate(ctx, "RS256"); err != nil {
				t.Fatal(err)
			}
		},
	}
	browser := e.browser()
	x.visit = func(_ context.Context, query string) *answer {
		return browser.walk(e.issuer + "/oauth/authorize?" + query)
	}
	x.keys = func(ctx context.Context) []jose.JSONWebKey {
		var set jose.JSONWebKeySet
		if err := json.Unmarshal([]byte(x.get(ctx, "/oauth/jwks").raw), &set); err != nil {
			t.Fatal(err)
		}
		return set.Keys
	}
	client := func(c oauthreg.Client) party {
		reg := e.register(c)
		return party{reg.Client.ClientID, reg.Secret}
	}
	scopes := func(c *oauthreg.Client) {
		c.Scopes = []string{"openid", "profile", "email", "read", "write", "offline_access"}
	}
	// Fosite's clients decide for themselves whether they use PKCE; so do these.
	user := with(webClient(), func(c *oauthreg.Client) { scopes(c); c.RequirePKCE = false })
	x.web, x.stranger = client(user), client(user)
	x.public = client(with(publicClient(), scopes))
	x.jwt = client(with(user, func(c *oauthreg.Client) { c.AccessTokenFormat = oauthreg.JWT }))
	x.machine = client(with(machineClient(), func(c *oauthreg.Client) { c.RedirectURIs = []string{callback} }))
	x.loopback = client(with(publicClient(), func(c *oauthreg.Client) { scopes(c); c.RedirectURIs = loopbackURIs }))
	keyed := func(use string) (party, assertionKey) {
		key := newAssertionKey(t)
		key.jwk.Use = use
		return client(with(user, func(c *oauthreg.Client) {
			c.GrantTypes = append([]string{oauthreg.GrantClientCredentials}, c.GrantTypes...)
			c.TokenEndpointAuthMethod, c.JWKS = oauthreg.AuthPrivateKeyJWT, jwkSet(t, key)
		})), key
	}
	x.keyed, x.key = keyed("sig")
	x.unmarked, x.unmarkedKey = keyed("")
	x.register = func(uri string) (party, error) {
		c := with(publicClient(), func(c *oauthreg.Client) { c.Name, c.RedirectURIs = "Test client", []string{uri} })
		reg, err := e.reg.Register(t.Context(), c, oauthreg.RegisterOptions{})
		return party{id: reg.Client.ClientID}, err
	}
	return x
}

// probedStore is the store, watched.
type probedStore struct {
	*storage.Store
	probe *storeProbe
}

func (s *probedStore) Client(ctx context.Context, ref oauthreg.Ref) (oauthreg.Record, error) {
	if err := s.probe.called("Client", "-"); err != nil {
		return oauthreg.Record{}, err
	}
	return s.Store.Client(ctx, ref)
}

func (s *probedStore) CreateRefreshTokenSession(ctx context.Context, signature, access string, r fosite.Requester) error {
	if err := s.probe.called("CreateRefreshTokenSession", signature); err != nil {
		return err
	}
	return s.Store.CreateRefreshTokenSession(ctx, signature, access, r)
}

func (s *probedStore) GetAuthorizeCodeSession(ctx context.Context, signature string, session fosite.Session) (fosite.Requester, error) {
	if err := s.probe.called("GetAuthorizeCodeSession", signature); err != nil {
		return nil, err
	}
	return s.Store.GetAuthorizeCodeSession(ctx, signature, session)
}

func (s *probedStore) InvalidateAuthorizeCodeSession(ctx context.Context, signature string) error {
	if err := s.probe.called("InvalidateAuthorizeCodeSession", signature); err != nil {
		return err
	}
	return s.Store.InvalidateAuthorizeCodeSession(ctx, signature)
}

func (s *probedStore) GetAccessTokenSession(ctx context.Context, signature string, session fosite.Session) (fosite.Requester, error) {
	if err := s.probe.called("GetAccessTokenSession", signature); err != nil {
		return nil, err
	}
	return s.Store.GetAccessTokenSession(ctx, signature, session)
}

func (s *probedStore) GetRefreshTokenSession(ctx context.Context, signature string, session fosite.Session) (fosite.Requester, error) {
	if err := s.probe.called("GetRefreshTokenSession", signature); err != nil {
		return nil, err
	}
	return s.Store.GetRefreshTokenSession(ctx, signature, session)
}

func (s *probedStore) RotateRefreshToken(ctx context.Context, id, signature string) error {
	if err := s.probe.called("RotateRefreshToken", signature); err != nil {
		return err
	}
	return s.Store.RotateRefreshToken(ctx, id, signature)
}

// defectVerifier is the code_verifier of every request; nothing here depends on
// nobody knowing it.
const defectVerifier = "defect-verifier-defect-verifier-defect-verifier"

// query is an authorization request with PKCE. A value of "-" leaves a parameter
// out, a name with + adds another of that name.
func (x *target) query(as party, params ...string) string {
	q := url.Values{
		"response_type": {"code"}, "client_id": {as.id}, "redirect_uri": {callback}, "state": {"state-0123456789"}, "scope": {"read offline_access"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(defectVerifier)}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(params); i += 2 {
		switch name, added := strings.CutPrefix(params[i], "+"); {
		case params[i+1] == "-":
			q.Del(name)
		case added:
			q.Add(name, params[i+1])
		default:
			q.Set(name, params[i+1])
		}
	}
	return q.Encode()
}

// ask sends an authorization request.
func (x *target) ask(ctx context.Context, as party, params ...string) *answer {
	return x.visit(ctx, x.query(as, params...))
}

// code is ask for a request that must succeed.
func (x *target) code(ctx context.Context, as party, params ...string) string {
	x.t.Helper()
	a := x.ask(ctx, as, params...)
	if a.param("code") == "" {
		x.t.Fatalf("%s: no code: %d %v\n%s", x.name, a.status, a.location, a.body)
	}
	return a.param("code")
}

// browse gets a page without following redirects.
func (x *target) browse(ctx context.Context, address string) *answer {
	x.t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		x.t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		x.t.Fatal(err)
	}
	client := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		x.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		x.t.Fatal(err)
	}
	a := &answer{status: resp.StatusCode, header: resp.Header, body: string(b)}
	if loc := resp.Header.Get("Location"); loc != "" {
		if a.location, err = url.Parse(loc); err != nil {
			x.t.Fatal(err)
		}
	}
	return a
}

// post sends a form. A client with a secret authenticates by Basic, another one
// names itself.
func (x *target) post(ctx context.Context, path string, as party, pairs ...string) *tokenAnswer {
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	if as.secret == "" && as.id != "" {
		form.Set("client_id", as.id)
	}
	if x.log != nil {
		x.log(form)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, x.base+path, strings.NewReader(form.Encode()))
	if err != nil {
		return &tokenAnswer{raw: err.Error()}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if as.secret != "" {
		req.SetBasicAuth(url.QueryEscape(as.id), url.QueryEscape(as.secret))
	}
	return x.send(req)
}

func (x *target) get(ctx context.Context, path string) *tokenAnswer {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, x.base+path, nil)
	if err != nil {
		return &tokenAnswer{raw: err.Error()}
	}
	return x.send(req)
}

// send answers with status 0 when the server gives no answer.
func (x *target) send(req *http.Request) *tokenAnswer {
	resp, err := x.transport.RoundTrip(req)
	if err != nil {
		return &tokenAnswer{raw: err.Error()}
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return &tokenAnswer{raw: err.Error()}
	}
	a := &tokenAnswer{status: resp.StatusCode, header: resp.Header, raw: string(b)}
	_ = json.Unmarshal(b, &a.body) // not all answers are JSON
	return a
}

func (x *target) token(ctx context.Context, as party, pairs ...string) *tokenAnswer {
	return x.post(ctx, "/oauth/token", as, pairs...)
}

// redeem exchanges a code, without a verifier when that is empty.
func (x *target) redeem(ctx context.Context, as party, code, verifier string, more ...string) *tokenAnswer {
	pairs := append([]string{"grant_type", "authorization_code", "code", code, "redirect_uri", callback}, more...)
	if verifier != "" {
		pairs = append(pairs, "code_verifier", verifier)
	}
	return x.token(ctx, as, pairs...)
}

// tokens walks the code flow, which must succeed.
func (x *target) tokens(ctx context.Context, as party, params ...string) *tokenAnswer {
	x.t.Helper()
	a := x.redeem(ctx, as, x.code(ctx, as, params...), defectVerifier)
	if a.status != http.StatusOK {
		x.t.Fatalf("%s: %d %s", x.name, a.status, a.raw)
	}
	return a
}

func (x *target) refresh(ctx context.Context, as party, token string, more ...string) *tokenAnswer {
	return x.token(ctx, as, append([]string{"grant_type", "refresh_token", "refresh_token", token}, more...)...)
}

func (x *target) introspect(ctx context.Context, as party, token string) *tokenAnswer {
	return x.post(ctx, "/oauth/introspect", as, "token", token)
}

// active asks as a client with a secret whether a token works.
func (x *target) active(ctx context.Context, as party, token string) bool {
	return x.introspect(ctx, as, token).body["active"] == true
}

// assert authenticates a client_credentials request by an assertion; change edits
// the claims of a good one.
func (x *target) assert(ctx context.Context, as party, key assertionKey, change map[string]any, more ...string) *tokenAnswer {
	x.t.Helper()
	return x.token(ctx, party{}, append([]string{
		"grant_type", "client_credentials", "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
		"client_assertion", key.sign(x.t, "ES256", x.claims(as, x.base+"/oauth/token", change)),
	}, more...)...)
}

// claims are those of a JWT from a client to aud. A nil in change removes one.
func (x *target) claims(as party, aud string, change map[string]any) map[string]any {
	now := x.now()
	claims := map[string]any{
		"iss": as.id, "sub": as.id, "aud": aud, "jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}
	for name, v := range change {
		if v == nil {
			delete(claims, name)
		} else {
			claims[name] = v
		}
	}
	return claims
}

// forged is a value whose signature half is that of token, and whose other half
// is made up.
func forged(token string) string {
	random, signature, _ := strings.Cut(token, ".")
	return random[:8] + strings.Repeat("A", len(random)-8) + "." + signature
}

// atOnce sends n requests together.
func atOnce(n int, send func() *tokenAnswer) []*tokenAnswer {
	answers := make([]*tokenAnswer, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			answers[i] = send()
		})
	}
	close(start)
	wg.Wait()
	return answers
}

// findings are what a check saw.
type findings []error

func (f *findings) add(format string, args ...any) { *f = append(*f, fmt.Errorf(format, args...)) }

func (f *findings) err() error { return errors.Join(*f...) }

// want notes an answer that is another error than that.
func (f *findings) want(what string, a *tokenAnswer, status int, code string) {
	if a.status != status || a.str("error") != code {
		f.add("%s: got %d %s, want %d %s", what, a.status, excerpt(a.raw), status, code)
	}
}

// wantOK notes an answer without a token.
func (f *findings) wantOK(what string, a *tokenAnswer) {
	if a.status != http.StatusOK || a.str("access_token") == "" {
		f.add("%s: got %d %s", what, a.status, excerpt(a.raw))
	}
}

// wantRefused notes an answer that is not a client's error.
func (f *findings) wantRefused(what string, a *tokenAnswer) {
	if a.status < 400 || a.status >= 500 {
		f.add("%s: got %d %s", what, a.status, excerpt(a.raw))
	}
}

// wantNoCode notes an authorization that succeeded.
func (f *findings) wantNoCode(what string, a *answer) {
	if a.param("code") != "" {
		f.add("%s: there is a code", what)
	}
}

func excerpt(s string) string { return s[:min(len(s), 160)] }

// RFC 7636 §4.6, RFC 9700 §2.1.1: a failed attempt changes nothing, and a code
// that was bound to a verifier is never good without.
func defectB1(ctx context.Context, x *target) error {
	var f findings
	for _, as := range []party{x.web, x.public} {
		code := x.code(ctx, as)
		f.want("a wrong verifier", x.redeem(ctx, as, code, strings.Repeat("x", 43)), 400, "invalid_grant")
		f.want("no verifier after a wrong one", x.redeem(ctx, as, code, ""), 400, "invalid_grant")
		f.wantOK("the right verifier after wrong ones", x.redeem(ctx, as, code, defectVerifier))
	}
	return f.err()
}

// RFC 6749 §4.1.2: a code is used once; a request that lost a race is told
// invalid_grant and takes nothing from the one that won.
func defectB2(ctx context.Context, x *target) error {
	var f findings
	x.tokens(ctx, x.web) // fosite's first request writes to its configuration
	// Without PKCE: there fosite's handler has deleted the challenge by then, and
	// the others fail for that reason.
	code := x.code(ctx, x.web, "code_challenge", "-", "code_challenge_method", "-")
	x.probe.meet("InvalidateAuthorizeCodeSession", 2)
	var won []*tokenAnswer
	for _, a := range atOnce(8, func() *tokenAnswer { return x.redeem(ctx, x.web, code, "") }) {
		if a.status == http.StatusOK {
			won = append(won, a)
			continue
		}
		f.want("a lost race", a, 400, "invalid_grant")
	}
	if len(won) != 1 {
		f.add("%d redemptions of one code succeeded", len(won))
	}
	for _, a := range won {
		if !x.active(ctx, x.web, a.str("access_token")) || !x.active(ctx, x.web, a.str("refresh_token")) {
			f.add("a winner's tokens do not work")
		}
	}
	return f.err()
}

// RFC 9700 §4.14.2: parallel refreshes and a repeated one whose answer was lost
// get tokens that work, all of one grant.
func defectB3(ctx context.Context, x *target) error {
	var f findings
	old := x.tokens(ctx, x.web).str("refresh_token")
	x.probe.meet("RotateRefreshToken", 2)
	var won []*tokenAnswer
	for _, a := range atOnce(6, func() *tokenAnswer { return x.refresh(ctx, x.web, old) }) {
		if a.status == http.StatusOK {
			won = append(won, a)
			continue
		}
		f.want("a lost race", a, 400, "invalid_grant")
	}
	for _, a := range won {
		if !x.active(ctx, x.web, a.str("access_token")) || !x.active(ctx, x.web, a.str("refresh_token")) {
			f.add("a parallel refresh got tokens that do not work")
		}
	}
	if len(won) == 0 {
		f.add("no parallel refresh succeeded")
		return f.err()
	}
	x.post(ctx, "/oauth/revoke", x.web, "token", won[0].str("refresh_token"))
	for _, a := range won {
		if x.active(ctx, x.web, a.str("access_token")) || x.active(ctx, x.web, a.str("refresh_token")) {
			f.add("a token of a parallel refresh outlived its grant")
		}
	}

	old = x.tokens(ctx, x.web).str("refresh_token")
	lost := x.refresh(ctx, x.web, old)
	again := x.refresh(ctx, x.web, old)
	f.wantOK("a repetition at once", again)
	if !x.active(ctx, x.web, lost.str("refresh_token")) {
		f.add("a repetition at once ended the grant")
	}
	return f.err()
}

// RFC 6749 §10.5, RFC 9700 §4.14: only who proves to have had the code or the
// token ends a grant with it, not who saw half of it, and not another client.
func defectB4(ctx context.Context, x *target) error {
	var f findings
	alive := func(what, refresh string) {
		if !x.active(ctx, x.web, refresh) {
			f.add("%s: the owner's grant ended", what)
		}
	}
	code := x.code(ctx, x.web)
	tokens := x.redeem(ctx, x.web, code, defectVerifier)
	x.wait(11 * time.Second)
	for what, as := range map[string]party{"a stranger": x.stranger, "the owner": x.web} {
		f.want("a made-up code by "+what, x.redeem(ctx, as, forged(code), defectVerifier), 400, "invalid_grant")
		alive("a made-up code by "+what, tokens.str("refresh_token"))
	}
	f.want("another's code", x.redeem(ctx, x.stranger, code, defectVerifier), 400, "invalid_grant")
	alive("another's code", tokens.str("refresh_token"))

	first := x.tokens(ctx, x.web).str("refresh_token")
	second := x.refresh(ctx, x.web, first).str("refresh_token")
	x.wait(11 * time.Second)
	for what, as := range map[string]party{"a stranger": x.stranger, "the owner": x.web} {
		f.want("a made-up refresh token by "+what, x.refresh(ctx, as, forged(first)), 400, "invalid_grant")
		alive("a made-up refresh token by "+what, second)
	}
	f.want("another's refresh token", x.refresh(ctx, x.stranger, first), 400, "invalid_grant")
	alive("another's refresh token", second)
	return f.err()
}

// RFC 7009 §2.1, §2.2.1.
func defectB5(ctx context.Context, x *target) error {
	var f findings
	revoke := func(as party, pairs ...string) *tokenAnswer { return x.post(ctx, "/oauth/revoke", as, pairs...) }
	tokens := x.tokens(ctx, x.web)
	refresh := tokens.str("refresh_token")
	f.want("no token", revoke(x.web, "token_type_hint", "access_token"), 400, "invalid_request")
	f.wantRefused("another client's token", revoke(x.stranger, "token", refresh))
	revoke(x.web, "token", forged(refresh))
	if !x.active(ctx, x.web, refresh) {
		f.add("half of a token and a made-up half revoke it")
	}
	if a := revoke(party{x.web.id, "wrong"}, "token", refresh); a.status != 401 || a.header.Get("WWW-Authenticate") == "" {
		f.add("a wrong secret: got %d without a challenge", a.status)
	}
	x.probe.fail("GetRefreshTokenSession", "GetAccessTokenSession")
	if a := revoke(x.web, "token", refresh); a.status != 503 {
		f.add("the database is away: got %d", a.status)
	}
	x.probe.fail()
	if a := revoke(x.web, "token", refresh); a.status != 200 || x.active(ctx, x.web, refresh) {
		f.add("a token that is revoked still works")
	}
	return f.err()
}

// RFC 6749 §6: scope narrows and is never more than was granted; a grant ends.
// Whether there is a refresh token is the client's registration, not a scope.
func defectB17(ctx context.Context, x *target) error {
	var f findings
	if x.tokens(ctx, x.web, "scope", "read").str("refresh_token") == "" {
		f.add("a client with the refresh_token grant gets none")
	}
	granted := func() string {
		return x.tokens(ctx, x.web, "scope", "read write offline_access").str("refresh_token")
	}
	f.want("more than was granted", x.refresh(ctx, x.web, granted(), "scope", "read profile"), 400, "invalid_scope")
	a := x.refresh(ctx, x.web, granted(), "scope", "read")
	f.wantOK("less than was granted", a)
	if in := x.introspect(ctx, x.web, a.str("access_token")); a.str("scope") != "read" || in.str("scope") != "read" {
		f.add("scope=read got the scope %q, the token has %q", a.str("scope"), in.str("scope"))
	}
	token := granted()
	for range 12 { // RFC 9700 §4.14.2
		x.wait(20 * 24 * time.Hour)
		if a = x.refresh(ctx, x.web, token); a.status != 200 {
			break
		}
		token = a.str("refresh_token")
	}
	f.want("a refresh after 240 days", a, 400, "invalid_grant")
	return f.err()
}

// RFC 7636 §4.2, §4.4.1: what is refused leaves nothing behind.
func defectB20(ctx context.Context, x *target) error {
	var f findings
	x.code(ctx, x.web) // so that alice is signed in and has consented
	for name, params := range map[string][]string{
		"the method plain":         {"code_challenge_method", "plain", "code_challenge", defectVerifier},
		"an unknown method":        {"code_challenge_method", "S512"},
		"a method alone":           {"code_challenge", "-"},
		"a challenge that is none": {"code_challenge", "abc"},
	} {
		before := x.rows()
		f.wantNoCode(name, x.ask(ctx, x.web, params...))
		if after := x.rows(); after != before {
			f.add("%s: rows were %s and are %s", name, before, after)
		}
	}
	return f.err()
}

// RFC 6749 §4.1.2: at most ten minutes. §5.1: expires_in is what the token has.
func defectB27a(ctx context.Context, x *target) error {
	var f findings
	if in, _ := x.tokens(ctx, x.web).body["expires_in"].(float64); in != 3600 {
		f.add("expires_in is %v, want the 3600 that are configured", in)
	}
	code := x.code(ctx, x.web)
	x.wait(10*time.Minute + time.Second)
	f.want("a code after ten minutes", x.redeem(ctx, x.web, code, defectVerifier), 400, "invalid_grant")
	return f.err()
}

// RFC 6749 §5.2, §4.1.2.1.
func defectB7(ctx context.Context, x *target) error {
	var f findings
	f.want("an unknown grant", x.token(ctx, x.web, "grant_type", "urn:x"), 400, "unsupported_grant_type")
	f.want("no grant", x.token(ctx, x.web, "scope", "read"), 400, "invalid_request")
	f.want("no code", x.token(ctx, x.web, "grant_type", "authorization_code", "redirect_uri", callback), 400, "invalid_request")
	f.want("no refresh token", x.token(ctx, x.web, "grant_type", "refresh_token"), 400, "invalid_request")
	f.want("a made-up refresh token", x.refresh(ctx, x.web, forged(x.tokens(ctx, x.web).str("refresh_token"))), 400, "invalid_grant")
	a := x.token(ctx, party{x.web.id, "wrong"}, "grant_type", "refresh_token", "refresh_token", "x")
	f.want("a wrong secret", a, 401, "invalid_client")
	if a.header.Get("WWW-Authenticate") == "" {
		f.add("a 401 has no challenge")
	}
	for _, path := range []string{"/oauth/introspect", "/oauth/revoke"} {
		f.want(path+" without credentials", x.post(ctx, path, party{}, "token", "x"), 401, "invalid_client")
	}
	if a := x.ask(ctx, party{id: "nobody"}); a.location != nil || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
		f.add("an unknown client at authorize: %v, %s", a.location, a.header.Get("Content-Type"))
	}
	return f.err()
}

// RFC 7523 §3, OpenID Connect Core §9, RFC 7517 §4.2 (use is optional).
func defectB8(ctx context.Context, x *target) error {
	var f findings
	now := x.now()
	in := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for name, change := range map[string]map[string]any{
		"expired": {"exp": in(-10 * time.Minute)}, "not yet valid": {"nbf": in(10 * time.Minute)}, "from the future": {"iat": in(10 * time.Minute)},
		"exp is 0": {"exp": 0}, "no exp": {"exp": nil}, "exp in 3000": {"exp": 32503680000}, "no jti": {"jti": nil}, "another's sub": {"sub": x.web.id},
	} {
		f.want(name, x.assert(ctx, x.keyed, x.key, change), 401, "invalid_client")
	}
	for name, change := range map[string]map[string]any{
		"a clock that is ahead": {"iat": in(20 * time.Second), "nbf": in(20 * time.Second)}, "a clock that is behind": {"exp": in(-5 * time.Second)},
		"aud is the issuer": {"aud": x.base}, "aud is a list": {"aud": []string{"https://other.example", x.base}},
	} {
		f.wantOK(name, x.assert(ctx, x.keyed, x.key, change))
	}
	f.want("another's aud", x.assert(ctx, x.keyed, x.key, map[string]any{"jti": "one", "aud": "https://other.example"}), 401, "invalid_client")
	f.wantOK("a jti that came with a wrong aud", x.assert(ctx, x.keyed, x.key, map[string]any{"jti": "one"}))
	f.want("a jti again", x.assert(ctx, x.keyed, x.key, map[string]any{"jti": "one"}), 401, "invalid_client")
	f.wantOK("a key without use", x.assert(ctx, x.unmarked, x.unmarkedKey, nil))
	f.wantOK("another client's jti", x.assert(ctx, x.unmarked, x.unmarkedKey, map[string]any{"jti": "one"}))
	return f.err()
}

// RFC 6749 §2.3: no more than one way to authenticate.
func defectB9(ctx context.Context, x *target) error {
	var f findings
	machine := []string{"grant_type", "client_credentials", "scope", "read"}
	f.wantRefused("Basic, and another client's secret in the body",
		x.token(ctx, x.machine, append(machine, "client_id", x.web.id, "client_secret", x.web.secret)...))
	f.wantRefused("Basic, and another client_id in the body", x.token(ctx, x.machine, append(machine, "client_id", x.web.id)...))
	assertion := x.key.sign(x.t, "ES256", x.claims(x.keyed, x.base+"/oauth/token", nil))
	f.wantRefused("an assertion, and another client's Basic", x.token(ctx, x.web, append(machine,
		"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", assertion)...))
	f.wantRefused("a public client with a secret", x.redeem(ctx, x.public, x.code(ctx, x.public), defectVerifier, "client_secret", "made-up"))
	return f.err()
}

// RFC 6749 §2.3.1, §5.2: credentials in the header that cannot be read are
// answered with 401 and a challenge.
func defectB5a(ctx context.Context, x *target) error {
	var f findings
	for name, credentials := range map[string]string{
		"% in the secret": x.web.id + ":50%", "% in the id": "50%:secret", "no colon": x.web.id,
	} {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, x.base+"/oauth/token", strings.NewReader("grant_type=client_credentials"))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(credentials)))
		a := x.send(req)
		f.want(name, a, 401, "invalid_client")
		if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Basic ") {
			f.add("%s: the challenge is %q", name, a.header.Get("WWW-Authenticate"))
		}
	}
	// What we issue reads the same with and without form-encoding.
	if c := x.web.id + x.web.secret; url.QueryEscape(c) != c {
		f.add("the credentials need encoding: %q", c)
	}
	return f.err()
}

// RFC 6749 §3.1, §3.2: parameters must not stand more than once.
func defectB10(ctx context.Context, x *target) error {
	var f findings
	for _, p := range [][]string{{"+scope", "write"}, {"+state", "state-9876543210"}, {"+response_type", "code"}, {"+nonce", "nonce-12345", "+nonce", "nonce-67890"}} {
		if a := x.ask(ctx, x.web, p...); a.param("error") != "invalid_request" {
			f.add("authorize with %s twice: %d, error %q", p[0][1:], a.status, a.param("error"))
		}
	}
	for _, p := range [][]string{{"client_id", x.web.id}, {"redirect_uri", callback}} {
		if a := x.ask(ctx, x.web, "+"+p[0], p[1]); a.location != nil || a.status != 400 {
			f.add("authorize with %s twice: %d %v", p[0], a.status, a.location)
		}
	}
	f.want("token with scope twice", x.token(ctx, x.machine, "grant_type", "client_credentials", "scope", "read", "scope", "write"), 400, "invalid_request")
	code := x.code(ctx, x.web)
	f.want("token with code twice", x.redeem(ctx, x.web, code, defectVerifier, "code", "other"), 400, "invalid_request")
	return f.err()
}

// RFC 6749 §2.3.1, RFC 9700 §2.5: a secret is compared as a whole, and it takes
// as long to refuse a client that there is as one that there is not.
func defectB25(ctx context.Context, x *target) error {
	var f findings
	request := []string{"grant_type", "refresh_token", "refresh_token", "x"}
	f.want("a secret and more", x.token(ctx, party{x.web.id, x.web.secret + "-and-more"}, request...), 401, "invalid_client")
	fastest := func(as party) time.Duration {
		best := time.Hour
		for range 5 {
			start := time.Now()
			x.token(ctx, as, request...)
			best = min(best, time.Since(start))
		}
		return best
	}
	known, unknown := fastest(party{x.web.id, "wrong"}), fastest(party{"nobody", "wrong"})
	if known > unknown+20*time.Millisecond {
		f.add("a wrong secret takes %v, an unknown client %v", known, unknown)
	}
	return f.err()
}

// RFC 6749 §5.2: invalid_client makes clients throw their registration away, so
// it is for what the registry knows for certain (RFC 9110 §15.6.4).
func defectB31(ctx context.Context, x *target) error {
	var f findings
	token := x.tokens(ctx, x.web).str("access_token")
	x.probe.fail("Client")
	defer x.probe.fail()
	for what, a := range map[string]*tokenAnswer{
		"token":      x.token(ctx, x.machine, "grant_type", "client_credentials", "scope", "read"),
		"introspect": x.introspect(ctx, x.web, token),
		"revoke":     x.post(ctx, "/oauth/revoke", x.web, "token", token),
	} {
		if a.status != 503 {
			f.add("%s: %d %s", what, a.status, excerpt(a.raw))
		}
	}
	if a := x.ask(ctx, x.web); a.status != 503 {
		f.add("authorize: %d %s", a.status, excerpt(a.body))
	}
	return f.err()
}

// RFC 6749 §4.1.2.1, §5.2; names of grants and response types have a case (§1.3,
// §3.1.1).
func defectB21(ctx context.Context, x *target) error {
	var f findings
	if a := x.ask(ctx, x.machine, "scope", "read"); a.param("error") != "unauthorized_client" {
		f.add("a client without the authorization_code grant: %v", a.location)
	}
	if a := x.ask(ctx, x.web, "response_type", "CODE"); a.param("error") != "unsupported_response_type" {
		f.add("response_type=CODE: %v", a.location)
	}
	f.want("grant_type=CLIENT_CREDENTIALS", x.token(ctx, x.machine, "grant_type", "CLIENT_CREDENTIALS", "scope", "read"), 400, "unsupported_grant_type")
	before := x.rows()
	f.want("a client without the client_credentials grant", x.token(ctx, x.web, "grant_type", "client_credentials", "scope", "read"), 400, "unauthorized_client")
	f.want("a public client", x.token(ctx, x.public, "grant_type", "client_credentials", "scope", "read"), 400, "unauthorized_client")
	if after := x.rows(); after != before {
		f.add("rows were %s and are %s", before, after)
	}
	return f.err()
}

// RFC 9126 §2.1, §2.2, §4. Where requests cannot be pushed, nothing pretends that
// they can.
func defectB11(ctx context.Context, x *target) error {
	var f findings
	if x.par == "" {
		x.par, _ = x.get(ctx, "/.well-known/oauth-authorization-server").body["pushed_authorization_request_endpoint"].(string)
	}
	good, err := url.ParseQuery(x.query(x.web, "client_id", "-", "scope", "openid"))
	if err != nil {
		return err
	}
	var pairs []string
	for name, v := range good {
		pairs = append(pairs, name, v[0])
	}
	const urn = "urn:ietf:params:oauth:request_uri:"
	if x.par == "" {
		for _, a := range []*tokenAnswer{x.post(ctx, "/oauth/par", x.web, pairs...), x.post(ctx, "/par", x.web, pairs...)} {
			if a.status != 404 {
				f.add("requests cannot be pushed, but the answer is %d", a.status)
			}
		}
		f.wantNoCode("a request_uri of nothing", x.ask(ctx, x.web, "request_uri", urn+"x"))
		return f.err()
	}
	path := strings.TrimPrefix(x.par, x.base)
	push := func(more ...string) string {
		a := x.post(ctx, path, x.web, append(more, pairs...)...)
		if a.status != 201 {
			x.t.Fatalf("%s: push: %d %s", x.name, a.status, a.raw)
		}
		return a.str("request_uri")
	}
	use := func(as party, uri string, more ...string) *answer {
		q := url.Values{"client_id": {as.id}, "request_uri": {uri}}
		for i := 0; i < len(more); i += 2 {
			q.Set(more[i], more[i+1])
		}
		return x.visit(ctx, q.Encode())
	}
	q := url.Values{"client_id": {x.web.id}, "client_secret": {x.web.secret}}
	f.wantRefused("credentials in the query", x.post(ctx, path+"?"+q.Encode(), party{}, pairs...))
	f.wantRefused("for another client", x.post(ctx, path, x.web, append([]string{"client_id", x.stranger.id}, pairs...)...))
	uri := push()
	f.wantNoCode("another client's request_uri", use(x.stranger, uri))
	if use(x.web, uri).param("code") == "" {
		f.add("another client used the request_uri up")
	}
	a := use(x.web, push(), "nonce", "nonce-12345")
	if tokens := x.redeem(ctx, x.web, a.param("code"), defectVerifier); tokens.status == 200 {
		if _, claims := decodeJWT(x.t, tokens.str("id_token")); claims["nonce"] != nil {
			f.add("a parameter beside the request_uri counts")
		}
	}
	uri = push()
	x.wait(time.Hour)
	f.wantNoCode("an expired request_uri", use(x.web, uri))
	x.post(ctx, path, party{}, append([]string{"client_id", x.web.id, "client_secret", x.web.secret}, pairs...)...)
	if x.stores(x.web.secret) {
		f.add("the store has the client secret in clear")
	}
	return f.err()
}

// RFC 9101 §6.1, §6.3, §10.8; OpenID Connect Core §6.1.
func defectB12(ctx context.Context, x *target) error {
	var f findings
	x.code(ctx, x.keyed) // so that alice is signed in and has consented
	x.wait(time.Hour)
	inside, err := url.ParseQuery(x.query(x.keyed, "state", "inside-0123456789"))
	if err != nil {
		return err
	}
	object := func(change map[string]any) map[string]any {
		claims := x.claims(x.keyed, x.base, map[string]any{"sub": nil})
		for name, v := range inside {
			claims[name] = v[0]
		}
		for name, v := range change {
			claims[name] = v
		}
		return claims
	}
	// The request beside the object would be good without it. It names the scope
	// openid, without which fosite does not look at the object at all.
	send := func(object, scope string) *answer {
		return x.ask(ctx, x.keyed, "request", object, "state", "outside-0123456789", "scope", scope)
	}
	sign := func(claims map[string]any) string { return x.key.sign(x.t, "ES256", claims) }
	if a := send(sign(object(nil)), "openid read"); a.param("state") != "inside-0123456789" || a.param("code") == "" {
		f.add("a good object: %v", a.location)
	}
	if a := send(sign(object(nil)), "read"); a.param("state") != "inside-0123456789" {
		f.add("the object is ignored: %v", a.location)
	}
	f.wantNoCode("an unsigned object", send(unsigned(object(nil)), "openid"))
	f.wantNoCode("for another server", send(sign(object(map[string]any{"aud": "https://other.example"})), "openid"))
	f.wantNoCode("from another client", send(sign(object(map[string]any{"iss": x.web.id})), "openid"))
	f.wantNoCode("without an end", send(sign(object(map[string]any{"exp": nil})), "openid"))
	// Alice signed in an hour ago.
	a := send(sign(object(map[string]any{"max_age": 60, "prompt": "none"})), "openid")
	if a.param("error") != "login_required" {
		f.add("max_age as a number: %v", a.location)
	}
	return f.err()
}

// RFC 6749 §3.1.2, §4.1.3; RFC 8252 §7.3, §8.3; RFC 9700 §4.1.3.
func defectB13(ctx context.Context, x *target) error {
	var f findings
	for _, uri := range []string{
		"http://user:pw@127.0.0.1:5000/cb", "http://127.0.0.1:99999/cb", "http://127.0.0.1:5000/tls", "http://127.0.0.1:5000/%63b", "http://127.0.0.1:5000/cb#x",
	} {
		f.wantNoCode(uri, x.ask(ctx, x.loopback, "redirect_uri", uri))
	}
	for _, uri := range []string{"http://127.0.0.1:5000/cb", "http://localhost:5000/cb", "https://127.0.0.1/tls"} {
		a := x.ask(ctx, x.loopback, "redirect_uri", uri)
		if a.param("code") == "" || !strings.HasPrefix(a.location.String(), uri) {
			f.add("%s is refused: %d %v", uri, a.status, a.location)
		}
	}
	for _, uri := range []string{"javascript:alert(1)//", "data:text/html,x", "https://client.example/cb#fragment", "http://client.example/cb"} {
		as, err := x.register(uri)
		if err != nil {
			continue
		}
		if a := x.ask(ctx, as, "redirect_uri", uri); a.location != nil {
			f.add("%s is registered and followed", uri)
		}
	}
	code := x.code(ctx, x.web, "redirect_uri", "-")
	f.want("a redirect_uri that nobody registered", x.token(ctx, x.web, "grant_type", "authorization_code",
		"code", code, "code_verifier", defectVerifier, "redirect_uri", "https://evil.example/cb"), 400, "invalid_grant")
	code = x.code(ctx, x.web)
	f.want("no redirect_uri where there was one", x.token(ctx, x.web, "grant_type", "authorization_code",
		"code", code, "code_verifier", defectVerifier), 400, "invalid_grant")
	return f.err()
}

// RFC 6749 §4.1.1: state is the client's; OpenID Connect Core §3.1.2.1: so is
// nonce.
func defectB14(ctx context.Context, x *target) error {
	var f findings
	for _, state := range []string{"-", "x", "1234567"} {
		a := x.ask(ctx, x.web, "state", state)
		if a.param("code") == "" {
			f.add("state %q: %v", state, a.location)
			continue
		}
		if _, sent := a.location.Query()["state"]; sent != (state != "-") || sent && a.param("state") != state {
			f.add("state %q comes back in %v", state, a.location)
		}
	}
	f.wantOK("a short nonce", x.redeem(ctx, x.web, x.code(ctx, x.web, "scope", "openid", "nonce", "n"), defectVerifier))
	return f.err()
}

// RFC 9207 §2; RFC 6749 §4.1.2.1: state is in the answer if it was in the request.
func defectB15(ctx context.Context, x *target) error {
	var f findings
	if a := x.ask(ctx, x.web); a.param("iss") != x.base {
		f.add("an answer: %v", a.location)
	}
	if a := x.ask(ctx, x.web, "scope", "bogus"); a.param("error") != "invalid_scope" || a.param("iss") != x.base {
		f.add("an error: %v", a.location)
	}
	if a := x.ask(ctx, x.web, "scope", "bogus", "state", "-"); a.location == nil || a.location.Query().Has("state") {
		f.add("an error without state: %v", a.location)
	}
	return f.err()
}

// RFC 8707 §2.
func defectB16(ctx context.Context, x *target) error {
	var f findings
	api := x.base + "/api"
	for _, uri := range []string{"https://unknown.example", api + "/../admin", api + "?x=1", api + "/more", "not absolute", api + "#x"} {
		if a := x.ask(ctx, x.web, "resource", uri); a.param("error") != "invalid_target" {
			f.add("resource %s at authorize: %v", uri, a.location)
		}
	}
	code := x.code(ctx, x.web, "resource", api)
	f.want("another resource at the token endpoint", x.redeem(ctx, x.web, code, defectVerifier, "resource", "https://unknown.example"), 400, "invalid_target")
	tokens := x.tokens(ctx, x.web, "resource", api)
	if in := x.introspect(ctx, x.web, tokens.str("access_token")); in.body["aud"] != api {
		f.add("aud is %v, want %s", in.body["aud"], api)
	}
	// The client has no list of its own; the grant has the resource.
	next := x.refresh(ctx, x.web, tokens.str("refresh_token"), "resource", api)
	f.wantOK("refresh", next)
	if in := x.introspect(ctx, x.web, next.str("access_token")); in.body["aud"] != api {
		f.add("after refresh aud is %v", in.body["aud"])
	}
	f.want("another resource at refresh", x.refresh(ctx, x.web, next.str("refresh_token"), "resource", "https://unknown.example"), 400, "invalid_target")
	return f.err()
}

// OpenID Connect Core §5.5: what was asked for at authorize is answered by the
// token endpoint.
func defectB30(ctx context.Context, x *target) error {
	var f findings
	tokens := x.tokens(ctx, x.web, "scope", "openid offline_access", "claims", `{"id_token":{"email":null}}`)
	for _, a := range []*tokenAnswer{tokens, x.refresh(ctx, x.web, tokens.str("refresh_token"))} {
		if _, claims := decodeJWT(x.t, a.str("id_token")); claims["email"] == nil {
			f.add("the claims parameter is forgotten")
		}
	}
	return f.err()
}

// RFC 7662 §2.1, §2.2, §4.
func defectB6(ctx context.Context, x *target) error {
	var f findings
	tokens := x.tokens(ctx, x.web)
	access, refresh := tokens.str("access_token"), tokens.str("refresh_token")
	if x.active(ctx, x.stranger, access) || x.active(ctx, x.stranger, refresh) {
		f.add("any client is told about any token")
	}
	own := x.introspect(ctx, x.web, access)
	if own.body["active"] != true || own.str("iss") != x.base || !strings.EqualFold(own.str("token_type"), "Bearer") || own.str("client_id") != x.web.id {
		f.add("the owner is told %s", excerpt(own.raw))
	}
	in := x.introspect(ctx, x.web, refresh)
	if exp, _ := in.body["exp"].(float64); time.Unix(int64(exp), 0).Before(x.now().Add(24 * time.Hour)) {
		f.add("exp of a refresh token is in %v", time.Unix(int64(exp), 0).Sub(x.now()))
	}
	if in.body["token_type"] != nil {
		f.add("a refresh token has the type %v", in.body["token_type"])
	}
	f.want("no token", x.introspect(ctx, x.web, ""), 400, "invalid_request")
	f.wantRefused("a bearer token in the query", x.post(ctx, "/oauth/introspect?access_token="+url.QueryEscape(access), party{}, "token", refresh))
	f.wantRefused("a public client", x.introspect(ctx, x.public, access))
	f.want("a wrong secret", x.introspect(ctx, party{x.web.id, "wrong"}, access), 401, "invalid_client")
	x.probe.fail("GetAccessTokenSession")
	if a := x.introspect(ctx, x.web, access); a.status != 503 {
		f.add("the database is away: %d %s", a.status, excerpt(a.raw))
	}
	x.probe.fail()
	return f.err()
}

// RFC 9068 §2.1, §2.2; RFC 7515 §4.1.4.
func defectB18(ctx context.Context, x *target) error {
	var f findings
	tokens := x.tokens(ctx, x.jwt)
	// What is signed by the same keys is no access token for that: an ID token, and
	// an access token whose claims somebody else would have liked.
	access := strings.Split(tokens.str("access_token"), ".")
	others := map[string]string{
		"unsigned": enc(`{"alg":"none"}`) + "." + access[1] + ".",
		"by HMAC with the public key": signedBy(x.t, jose.SigningKey{Algorithm: jose.HS256, Key: mustMarshal(x.t, x.keys(ctx)[0].Public())}, map[string]any{
			"iss": x.base, "sub": "alice", "client_id": x.jwt.id, "exp": x.now().Add(time.Hour).Unix(),
		}),
	}
	if x.name == "ours" { // fosite's JWT strategy and its OpenID Connect need different sessions
		others["an ID token"] = x.tokens(ctx, x.jwt, "scope", "openid").str("id_token")
	}
	for what, token := range others {
		if x.active(ctx, x.jwt, token) {
			f.add("%s is an access token", what)
		}
	}
	look := func(what, token string) {
		header, claims := decodeJWT(x.t, token)
		if header["typ"] != "at+jwt" {
			f.add("%s: typ is %v", what, header["typ"])
		}
		if iat, _ := claims["iat"].(float64); time.Unix(int64(iat), 0).Before(x.now().Add(-time.Minute)) {
			f.add("%s: iat is %v ago", what, x.now().Sub(time.Unix(int64(iat), 0)).Round(time.Second))
		}
		if claims["client_id"] != x.jwt.id || claims["iss"] != x.base || claims["jti"] == nil || claims["exp"] == nil || claims["aud"] == nil {
			f.add("%s: claims are %v", what, claims)
		}
		jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.RS256})
		if err != nil {
			f.add("%s: %v", what, err)
			return
		}
		i := slices.IndexFunc(x.keys(ctx), func(k jose.JSONWebKey) bool { return k.KeyID == header["kid"] })
		if i < 0 {
			f.add("%s: kid %v is no published key", what, header["kid"])
		} else if _, err := jws.Verify(x.keys(ctx)[i].Key); err != nil {
			f.add("%s: the key that kid names does not verify it", what)
		}
		if !x.active(ctx, x.jwt, token) {
			f.add("%s: it is not active", what)
		}
	}
	look("the first", tokens.str("access_token"))
	x.wait(30 * time.Minute)
	x.rotate(ctx)
	next := x.refresh(ctx, x.jwt, tokens.str("refresh_token"))
	look("after refresh and rotation", next.str("access_token"))
	return f.err()
}

// OpenID Connect Core §3.1.2.1, §3.1.2.2, §3.1.3.3.
func defectB19(ctx context.Context, x *target) error {
	var f findings
	first := x.code(ctx, x.web, "scope", "openid", "nonce", "nonce-12345")
	if x.stores(first) {
		f.add("the store has the code in clear")
	}
	tokens := x.redeem(ctx, x.web, first, defectVerifier)
	f.wantOK("the code", tokens)
	x.wait(time.Hour)
	for _, v := range []string{"-1", "soon", "1.5", "99999999999999999999"} {
		if a := x.ask(ctx, x.web, "scope", "openid", "max_age", v); a.param("error") != "invalid_request" {
			f.add("max_age=%s: %v", v, a.location)
		}
	}
	if a := x.ask(ctx, x.web, "scope", "openid", "max_age", "0", "prompt", "none"); a.param("error") != "login_required" {
		f.add("max_age=0 an hour after the sign-in: %v", a.location)
	}
	if a := x.ask(ctx, x.web, "scope", "read", "prompt", "bogus"); a.param("error") != "invalid_request" {
		f.add("an unknown prompt without the scope openid: %v", a.location)
	}
	// A hint is good whoever signs now, and for the client it was issued to.
	hint := tokens.str("id_token")
	x.rotate(ctx)
	if a := x.ask(ctx, x.web, "scope", "openid", "id_token_hint", hint, "prompt", "none"); a.param("code") == "" {
		f.add("a hint from before the keys were rotated: %v", a.location)
	}
	theirs := x.tokens(ctx, x.stranger, "scope", "openid").str("id_token")
	if a := x.ask(ctx, x.web, "scope", "openid", "id_token_hint", theirs); a.param("error") != "invalid_request" {
		f.add("another client's ID token as a hint: %v", a.location)
	}
	return f.err()
}

// RFC 6749 §10.10: one token has one spelling, and the whole secret counts.
func defectB23(ctx context.Context, x *target) error {
	var f findings
	tokens := x.tokens(ctx, x.web)
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, kind := range []string{"access_token", "refresh_token"} {
		random, mac, _ := strings.Cut(tokens.str(kind), ".")
		for _, half := range []*string{&random, &mac} {
			// The last character of 32 bytes has two bits that mean nothing.
			whole, last := *half, strings.IndexByte(alphabet, (*half)[len(*half)-1])
			for bits := 1; bits < 4; bits++ {
				*half = whole[:len(whole)-1] + string(alphabet[last^bits])
				if x.active(ctx, x.web, random+"."+mac) {
					f.add("another spelling of the %s works", kind)
				}
			}
			*half = whole
		}
	}
	a, b := x.sibling(strings.Repeat("k", 32)+"-one"), x.sibling(strings.Repeat("k", 32)+"-two")
	token := a.tokens(ctx, x.web).str("refresh_token")
	if !a.active(ctx, x.web, token) {
		f.add("a token does not work where it was made")
	}
	f.want("a token made with another secret", b.refresh(ctx, x.web, token), 400, "invalid_grant")
	return f.err()
}

// What is not a token of this server has no signature: there is nothing to look
// up, and a store that takes an empty key for any row is not asked.
func defectB24(ctx context.Context, x *target) error {
	var f findings
	for _, junk := range []string{"nodot", "two.dots.here.", ".", "", strings.Repeat("a", 43) + "."} {
		x.redeem(ctx, x.web, junk, defectVerifier)
		x.refresh(ctx, x.web, junk)
		x.introspect(ctx, x.web, junk)
		x.post(ctx, "/oauth/revoke", x.web, "token", junk)
	}
	if asked := x.probe.askedForNothing(); len(asked) > 0 {
		slices.Sort(asked)
		f.add("the store was asked for the empty key by %v", slices.Compact(asked))
	}
	if x.name == "ours" {
		if _, err := x.stored(ctx, ""); !errors.Is(err, fosite.ErrNotFound) {
			f.add("the store answers the empty key with %v", err)
		}
	}
	return f.err()
}

// What fails leaves nothing half done, so that the client can try again.
func defectB26(ctx context.Context, x *target) error {
	var f findings
	code := x.code(ctx, x.web)
	before := x.rows()
	x.probe.fail("CreateRefreshTokenSession")
	if a := x.redeem(ctx, x.web, code, defectVerifier); a.status < 500 {
		f.add("the database fails at a code: %d %s", a.status, excerpt(a.raw))
	}
	if after := x.rows(); after != before {
		f.add("rows were %s and are %s", before, after)
	}
	x.probe.fail()
	tokens := x.redeem(ctx, x.web, code, defectVerifier)
	f.wantOK("the same code afterwards", tokens)
	if len(f) > 0 {
		return f.err()
	}
	x.probe.fail("CreateRefreshTokenSession")
	if a := x.refresh(ctx, x.web, tokens.str("refresh_token")); a.status < 500 {
		f.add("the database fails at a refresh: %d %s", a.status, excerpt(a.raw))
	}
	x.probe.fail()
	if !x.active(ctx, x.web, tokens.str("access_token")) {
		f.add("a refresh that failed ended the access token")
	}
	f.wantOK("the same refresh token afterwards", x.refresh(ctx, x.web, tokens.str("refresh_token")))
	return f.err()
}

// Requests that run together must not have one session: its map is written while
// another reads it, and the process ends. Seen where it begins, at the store.
func defectB32(ctx context.Context, x *target) error {
	var f findings
	tokens := x.tokens(ctx, x.web)
	refresh := tokens.str("refresh_token")
	one, err1 := x.stored(ctx, refresh)
	two, err2 := x.stored(ctx, refresh)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if one.GetSession() == two.GetSession() {
		f.add("two reads of a token give one session")
		return f.err() // and going on could end this process
	}
	one.GetSession().SetExpiresAt(fosite.RefreshToken, time.Time{})
	if two.GetSession().GetExpiresAt(fosite.RefreshToken).IsZero() {
		f.add("two sessions have one map")
	}
	for _, a := range atOnce(16, func() *tokenAnswer { return x.introspect(ctx, x.web, refresh) }) {
		if a.body["active"] != true {
			f.add("%d %s", a.status, excerpt(a.raw))
		}
	}
	for _, a := range atOnce(16, func() *tokenAnswer { return x.refresh(ctx, x.web, refresh) }) {
		f.wantOK("a parallel refresh", a)
	}
	return f.err()
}

// Requests run at the same time, so what they share is complete before the first.
func defectB22(ctx context.Context, x *target) error {
	var f findings
	set := func() (names []string) {
		cfg := x.config()
		for i := range cfg.NumField() {
			if !cfg.Field(i).IsZero() {
				names = append(names, cfg.Type().Field(i).Name)
			}
		}
		return names
	}
	before := set()
	x.refresh(ctx, x.web, x.tokens(ctx, x.web, "scope", "openid offline_access").str("refresh_token"))
	x.token(ctx, x.machine, "grant_type", "client_credentials", "scope", "read")
	x.assert(ctx, x.keyed, x.key, nil)
	for _, name := range set() {
		if !slices.Contains(before, name) {
			f.add("a request filled in Config.%s", name)
		}
	}
	if len(before) == 0 {
		f.add("no field of the configuration is set")
	}
	return f.err()
}

// RFC 6749 §4.1.2, §6: expiry is checked where the code or the token is, and is
// invalid_grant; what the authorization found out is in the session ever after.
func defectB33(ctx context.Context, x *target) error {
	var f findings
	code := x.code(ctx, x.web)
	x.wait(20 * time.Minute)
	f.want("an expired code", x.redeem(ctx, x.web, code, defectVerifier), 400, "invalid_grant")
	tokens := x.tokens(ctx, x.web, "scope", "openid offline_access")
	_, first := decodeJWT(x.t, tokens.str("id_token"))
	again := x.refresh(ctx, x.web, tokens.str("refresh_token"))
	f.wantOK("refresh", again)
	if again.status == 200 {
		if _, second := decodeJWT(x.t, again.str("id_token")); second["auth_time"] != first["auth_time"] || second["sub"] != first["sub"] || second["sid"] != first["sid"] {
			f.add("after a refresh the ID token says %v, before %v", second, first)
		}
	}
	x.wait(31 * 24 * time.Hour)
	f.want("an expired refresh token", x.refresh(ctx, x.web, again.str("refresh_token")), 400, "invalid_grant")
	return f.err()
}

// RFC 8414 §2, OpenID Connect Discovery §3: what the metadata names is there, and
// what is not offered is not named and refused.
func defectB27(ctx context.Context, x *target) error {
	var f findings
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		doc := x.get(ctx, path)
		if doc.str("issuer") != x.base {
			f.add("%s: %d, issuer %q", path, doc.status, doc.str("issuer"))
		}
		for _, name := range []string{
			"authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "introspection_endpoint", "revocation_endpoint", "registration_endpoint", "end_session_endpoint",
		} {
			if doc.str(name) == "" {
				f.add("%s names no %s", path, name)
			}
		}
		for name, v := range doc.body {
			address, _ := v.(string)
			if !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" {
				continue
			}
			if a := x.get(ctx, strings.TrimPrefix(address, x.base)); a.status == 404 || a.status == 0 || a.status >= 500 {
				f.add("%s: %s answers %d", name, address, a.status)
			}
		}
		if doc.body["device_authorization_endpoint"] == nil {
			f.want("the device grant", x.token(ctx, x.public, "grant_type", "urn:ietf:params:oauth:grant-type:device_code", "device_code", "x"), 400, "unsupported_grant_type")
		}
	}
	if len(x.keys(ctx)) == 0 {
		f.add("there are no keys")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, x.base+"/oauth/register", strings.NewReader(`{"redirect_uris":["https://new.example/cb"]}`))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if a := x.send(req); a.status != http.StatusCreated || a.str("client_id") == "" {
		f.add("registration: %d %s", a.status, excerpt(a.raw))
	}
	return f.err()
}

// RFC 9700 §2.1.2, §2.4: obsolete grants are refused; and an assertion is no
// grant here (RFC 7523 §2.1).
func defectB28(ctx context.Context, x *target) error {
	var f findings
	for name, pairs := range map[string][]string{
		"the password grant": {"grant_type", "password", "username", "alice", "password", "wonderland", "scope", "read"},
		// Its iat in the future lets a lifetime of years pass for a short one.
		"an assertion as a grant": {"grant_type", grantJWTBearer, "scope", "read", "assertion", x.key.sign(x.t, "ES256", map[string]any{
			"iss": "https://issuer.example", "sub": "alice", "aud": []string{x.base + "/oauth/token", "https://api.example"}, "jti": rand.Text(),
			"iat": x.now().Add(87600 * time.Hour).Unix(), "exp": x.now().Add(87601 * time.Hour).Unix(),
		})},
	} {
		f.want(name, x.token(ctx, x.web, pairs...), 400, "unsupported_grant_type")
	}
	for _, responseType := range []string{"token", "code token", "id_token", "none"} {
		a := x.ask(ctx, x.web, "response_type", responseType, "nonce", "nonce-12345")
		if a.location == nil || a.param("error") != "unsupported_response_type" || strings.Contains(a.location.Fragment, "access_token") {
			f.add("response_type %s: %d %v", responseType, a.status, a.location)
		}
	}
	return f.err()
}

// dependencyFloors are the first versions without a known vulnerability that a
// request could reach.
var dependencyFloors = map[string]string{
	"github.com/go-jose/go-jose/v3":  "v3.0.5",
	"golang.org/x/crypto":            "v0.53.0",
	"golang.org/x/net":               "v0.56.0",
	"golang.org/x/text":              "v0.39.0",
	"golang.org/x/sys":               "v0.46.0",
	"golang.org/x/oauth2":            "v0.36.0",
	"google.golang.org/grpc":         "v1.82.1",
	"go.opentelemetry.io/otel":       "v1.44.0",
	"go.opentelemetry.io/otel/trace": "v1.44.0",
	"go.opentelemetry.io/otel/sdk":   "v1.44.0",
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp": "v1.44.0",
}

// The versions that go.mod asks for. It names every module that the packages here
// need, indirect ones too, so no build selects less, a host's included.
func defectB29(context.Context, *target) error {
	var f findings
	file, err := os.Open(filepath.Join("..", "go.mod"))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	have := map[string]string{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		words := strings.Fields(strings.TrimPrefix(strings.TrimPrefix(lines.Text(), "require "), "replace "))
		if slices.Contains(words, "=>") && dependencyFloors[words[0]] != "" {
			f.add("go.mod replaces %s", words[0])
		} else if len(words) >= 2 {
			have[words[0]] = words[1]
		}
	}
	number := func(version string) (n [3]int) {
		version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "-")
		for i, part := range strings.SplitN(version, ".", 3) {
			n[i], _ = strconv.Atoi(part)
		}
		return n
	}
	for module, floor := range dependencyFloors {
		got, want := number(have[module]), number(floor)
		if have[module] == "" || slices.Compare(got[:], want[:]) < 0 {
			f.add("%s is %q, want at least %s", module, have[module], floor)
		}
	}
	return f.err()
}

// Limits stand before anything is parsed; forms are form-encoded (RFC 6749 §3.2,
// Appendix B).
func defectB34(ctx context.Context, x *target) error {
	var f findings
	machine := []string{"grant_type", "client_credentials", "scope", "read"}
	f.wantRefused("a megabyte of body", x.token(ctx, x.machine, append(machine, "x", strings.Repeat("x", 1<<20))...))
	many := slices.Clone(machine)
	for i := range 1000 {
		many = append(many, "x"+strconv.Itoa(i), "1")
	}
	f.wantRefused("a thousand parameters", x.token(ctx, x.machine, many...))
	f.wantRefused("a token of dots", x.introspect(ctx, x.web, strings.Repeat(".", 9<<20)))

	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for i := 0; i < len(machine); i += 2 {
		if err := form.WriteField(machine[i], machine[i+1]); err != nil {
			return err
		}
	}
	if err := form.Close(); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, x.base+"/oauth/token", &body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	req.SetBasicAuth(x.machine.id, x.machine.secret)
	f.wantRefused("a multipart body", x.send(req))

	if a := x.ask(ctx, x.web, "state", strings.Repeat("s", 100_000)); a.status < 400 {
		f.add("a state of 100 kB: %d", a.status)
	}
	return f.err()
}
