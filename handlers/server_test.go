package handlers_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/html"
	"golang.org/x/oauth2"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/handlers/authtest/secretsearch"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// env is a running authorization server over a real SQLite file.
type env struct {
	t      testing.TB
	issuer string
	server *handlers.Server
	http   *httptest.Server
	// transport is that of http's client, which notes nothing.
	transport http.RoundTripper
	reg       *oauthreg.Registry
	store     *storage.Store
	clock     *clock
	file      string
	log       *logBuffer
	opts      envOptions
	secrets   *secretsearch.Book // of what passes through e.http.Client()
}

type envOptions struct {
	base   string // path of the issuer; empty: that of the test's mount
	tls    bool   // over https; so is a mount with TLS
	file   string // database; empty: a new one
	config func(*handlers.Config)
	reg    func(*oauthreg.Config)
	keys   func(*oauthreg.KeyRingConfig)
	store  func(*storage.Config)
	wrap   func(*storage.Store) (oauthreg.Store, handlers.Store) // faults
	clock  *clock
	// handler is what serves, with the server in it; nil is the server alone.
	handler func(*env) http.Handler
}

var testSecret = bytes.Repeat([]byte("k"), 32)

func newEnv(t testing.TB, opts envOptions) *env {
	t.Helper()
	m := mountOf(t)
	opts.tls = opts.tls || m.tls
	if opts.base == "" {
		opts.base = m.base
	}
	e := &env{t: t, clock: opts.clock, log: new(logBuffer), opts: opts, file: opts.file, secrets: new(secretsearch.Book)}
	if e.clock == nil {
		e.clock = newClock()
	}
	if e.file == "" {
		e.file = newDatabase(t)
	}
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	scfg := storage.Config{EncryptionKeys: [][]byte{testSecret}, NewSession: handlers.NewSession, Now: e.clock.Now}
	if opts.store != nil {
		opts.store(&scfg)
	}
	var err error
	e.store, err = storage.Open(e.file, scfg)
	must(err)
	t.Cleanup(func() {
		_ = e.store.Close()
		e.searchForSecrets(t)
	})
	must(e.store.Migrate(ctx))
	must(e.store.UpdateSigningKeys(ctx, func(have []oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
		if len(have) == 0 {
			add = slices.Clone(testKeys())
			for i := range add {
				// The ring's clock has milliseconds: a key of this one would be still to come.
				add[i].CreatedAt = e.clock.Now().Add(-time.Millisecond)
				add[i].ActiveAt = add[i].CreatedAt
			}
		}
		return add, nil, nil
	}))

	var regStore oauthreg.Store = e.store
	var flowStore handlers.Store = e.store
	if opts.wrap != nil {
		regStore, flowStore = opts.wrap(e.store)
	}
	rcfg := oauthreg.Config{Store: regStore, SecretKey: testSecret, Now: e.clock.Now}
	if opts.reg != nil {
		opts.reg(&rcfg)
	}
	e.reg, err = oauthreg.NewRegistry(rcfg)
	must(err)
	kcfg := oauthreg.KeyRingConfig{Store: e.store, Now: e.clock.Now}
	if opts.keys != nil {
		opts.keys(&kcfg)
	}
	keys, err := oauthreg.NewKeyRing(kcfg)
	must(err)
	must(keys.Maintain(ctx))

	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	e.issuer = map[bool]string{false: "http://", true: "https://"}[opts.tls] + l.Addr().String() + opts.base
	cfg := handlers.Config{
		Issuer: e.issuer, Registry: e.reg, Store: flowStore, Keys: keys, Secrets: [][]byte{testSecret},
		Users: testUsers{}, Now: e.clock.Now, Logger: slog.New(slog.NewTextHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Scopes:    []handlers.Scope{{Name: "openid"}, {Name: "profile"}, {Name: "read"}, {Name: "write"}, {Name: "offline_access"}},
		Resources: []string{e.issuer + "/api"},
		Limits:    handlers.NoLimits,
	}
	if opts.config != nil {
		opts.config(&cfg)
	}
	e.server, err = handlers.New(cfg)
	must(err)
	var h http.Handler = e.server
	if opts.handler != nil {
		h = opts.handler(e)
	}
	e.http = httptest.NewUnstartedServer(h)
	_ = e.http.Listener.Close()
	e.http.Listener = l
	if opts.tls {
		e.http.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // refused handshakes
		e.http.StartTLS()
	} else {
		e.http.Start()
	}
	t.Cleanup(e.http.Close)
	e.transport = e.http.Client().Transport
	e.http.Client().Transport = e.secrets.Transport(e.transport)
	return e
}

// register registers c with a secret that the test knows.
func (e *env) register(c oauthreg.Client) oauthreg.Registration {
	e.t.Helper()
	if c.Name == "" {
		c.Name = "Test client"
	}
	reg, err := e.reg.Register(context.Background(), c, oauthreg.RegisterOptions{Rules: oauthreg.Rules{AllowImplicit: true, PublicClientCredentials: true}})
	if err != nil {
		e.t.Fatalf("register: %v", err)
	}
	e.secrets.Add("client secret", reg.Secret)
	return reg
}

const callback = "https://client.example/cb"

// webClient is a confidential client that may do everything a user's client does.
func webClient() oauthreg.Client {
	return oauthreg.Client{
		Type: oauthreg.Confidential, TokenEndpointAuthMethod: oauthreg.AuthClientSecretBasic, RequirePKCE: true,
		GrantTypes:   []string{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken},
		RedirectURIs: []string{callback}, Scopes: []string{"openid", "profile", "read", "write", "offline_access"},
	}
}

// publicClient is an application without a secret.
func publicClient() oauthreg.Client {
	c := webClient()
	c.Type, c.TokenEndpointAuthMethod = oauthreg.Public, oauthreg.AuthNone
	return c
}

// machineClient has no user.
func machineClient() oauthreg.Client {
	return oauthreg.Client{
		Type: oauthreg.Confidential, TokenEndpointAuthMethod: oauthreg.AuthClientSecretBasic,
		GrantTypes: []string{oauthreg.GrantClientCredentials}, Scopes: []string{"read", "write"},
	}
}

// oauth2Config is x/oauth2's view of a registered client.
func (e *env) oauth2Config(reg oauthreg.Registration, scopes ...string) *oauth2.Config {
	style := oauth2.AuthStyleInHeader
	if m := reg.Client.TokenEndpointAuthMethod; m == oauthreg.AuthNone || m == oauthreg.AuthClientSecretPost {
		style = oauth2.AuthStyleInParams
	}
	c := &oauth2.Config{
		ClientID: reg.Client.ClientID, ClientSecret: reg.Secret, Scopes: scopes,
		Endpoint: oauth2.Endpoint{AuthURL: e.issuer + "/oauth/authorize", TokenURL: e.issuer + "/oauth/token", AuthStyle: style},
	}
	if len(reg.Client.RedirectURIs) > 0 {
		c.RedirectURL = reg.Client.RedirectURIs[0]
	}
	return c
}

// answer is where a walk through the browser steps ended: a redirect that leaves
// the server, or a page.
type answer struct {
	status   int
	header   http.Header
	location *url.URL // nil for a page
	body     string
}

// param is a parameter of the redirect, empty for a page.
func (a *answer) param(name string) string {
	if a.location == nil {
		return ""
	}
	return a.location.Query().Get(name)
}

// browser is a person at a browser: it keeps cookies, follows redirects on the
// server, and fills in the forms it is shown.
type browser struct {
	e        *env
	client   *http.Client
	username string
	password string
	deny     bool
	pages    []string // the paths of the forms that were filled in
}

func (e *env) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		e.t.Fatal(err)
	}
	return &browser{e: e, username: "alice", password: "wonderland", client: &http.Client{
		Jar: jar, Transport: e.http.Client().Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// do sends one request and reads the answer.
func (b *browser) do(method, target string, form url.Values) *answer {
	b.e.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(context.Background(), method, target, body)
	if err != nil {
		b.e.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.e.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.e.t.Fatal(err)
	}
	a := &answer{status: resp.StatusCode, header: resp.Header, body: string(text)}
	if loc := resp.Header.Get("Location"); loc != "" {
		if a.location, err = resp.Request.URL.Parse(loc); err != nil {
			b.e.t.Fatalf("Location %q: %v", loc, err)
		}
	}
	return a
}

// walk starts at target and goes on until a redirect leaves the server or a page
// has nothing to fill in.
func (b *browser) walk(target string) *answer {
	b.e.t.Helper()
	return b.goOn(target, b.do(http.MethodGet, target, nil))
}

// goOn is walk from the answer that the browser got at that address.
func (b *browser) goOn(at string, a *answer) *answer {
	b.e.t.Helper()
	origin, err := url.Parse(b.e.issuer)
	if err != nil {
		b.e.t.Fatal(err)
	}
	target := at
	for range 12 {
		if a.location != nil {
			if a.location.Host != origin.Host || a.location.Scheme != origin.Scheme {
				return a
			}
			at = a.location.String()
			a = b.do(http.MethodGet, at, nil)
			continue
		}
		action, form, ok := b.fill(at, a)
		if !ok {
			return a
		}
		b.pages = append(b.pages, action.Path)
		at = action.String()
		a = b.do(http.MethodPost, at, form)
	}
	b.e.t.Fatalf("the walk from %s does not end; last page:\n%s", target, a.body)
	return nil
}

// fill fills in the form of a page: the sign-in, or the consent.
func (b *browser) fill(at string, a *answer) (*url.URL, url.Values, bool) {
	if a.status != http.StatusOK {
		return nil, nil, false
	}
	page, err := html.Parse(strings.NewReader(a.body))
	if err != nil {
		b.e.t.Fatal(err)
	}
	base, err := url.Parse(at)
	if err != nil {
		b.e.t.Fatal(err)
	}
	for n := range page.Descendants() {
		if n.Data != "form" {
			continue
		}
		form, known := url.Values{}, false
		for in := range n.Descendants() {
			name := attr(in, "name")
			switch {
			case in.Data == "input" && attr(in, "type") == "hidden":
				form.Set(name, attr(in, "value"))
			case name == "username":
				form.Set(name, b.username)
			case name == "password":
				form.Set(name, b.password)
				known = true
			case name == "decision" && attr(in, "value") == map[bool]string{false: "allow", true: "deny"}[b.deny]:
				form.Set(name, attr(in, "value"))
				known = true
			}
		}
		if known {
			action, err := base.Parse(attr(n, "action"))
			if err != nil {
				b.e.t.Fatal(err)
			}
			return action, form, true
		}
	}
	return nil, nil, false
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// authorizeURL is an authorization request with PKCE.
func (e *env) authorizeURL(clientID string, params ...string) (target, verifier string) {
	verifier = oauth2.GenerateVerifier()
	q := url.Values{
		"response_type": {"code"}, "client_id": {clientID}, "redirect_uri": {callback}, "state": {"st-" + clientID},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(params); i += 2 {
		if params[i+1] == "-" {
			q.Del(params[i])
		} else {
			q.Set(params[i], params[i+1])
		}
	}
	return e.issuer + "/oauth/authorize?" + q.Encode(), verifier
}

// code walks to an authorization code.
func (e *env) code(clientID string, params ...string) (code, verifier string) {
	e.t.Helper()
	target, verifier := e.authorizeURL(clientID, params...)
	a := e.browser().walk(target)
	if a.param("code") == "" {
		e.t.Fatalf("no code: status %d, location %v\n%s", a.status, a.location, a.body)
	}
	return a.param("code"), verifier
}

// tokenAnswer is what the token, introspection and revocation endpoints answer.
type tokenAnswer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any
}

func (a *tokenAnswer) str(name string) string {
	s, _ := a.body[name].(string)
	return s
}

// post sends a form to an endpoint below the issuer. id and secret, when id is
// not empty, go into a Basic header.
func (e *env) post(path, id, secret string, pairs ...string) *tokenAnswer {
	e.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, e.issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if id != "" {
		req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
	}
	return e.send(req)
}

func (e *env) send(req *http.Request) *tokenAnswer {
	e.t.Helper()
	resp, err := e.http.Client().Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	a := &tokenAnswer{status: resp.StatusCode, header: resp.Header, raw: string(b)}
	_ = json.Unmarshal(b, &a.body)
	return a
}

// redeem exchanges a code of a client that authenticates as registered.
func (e *env) redeem(reg oauthreg.Registration, code, verifier string, more ...string) *tokenAnswer {
	e.t.Helper()
	pairs := append([]string{"grant_type", "authorization_code", "code", code, "redirect_uri", callback}, more...)
	if verifier != "" {
		pairs = append(pairs, "code_verifier", verifier)
	}
	return e.tokenRequest(reg, pairs...)
}

// tokenRequest is a token request with the client's registered authentication.
func (e *env) tokenRequest(reg oauthreg.Registration, pairs ...string) *tokenAnswer {
	e.t.Helper()
	return e.authenticated("/oauth/token", reg, pairs...)
}

func (e *env) authenticated(path string, reg oauthreg.Registration, pairs ...string) *tokenAnswer {
	e.t.Helper()
	switch reg.Client.TokenEndpointAuthMethod {
	case oauthreg.AuthNone:
		return e.post(path, "", "", append(pairs, "client_id", reg.Client.ClientID)...)
	case oauthreg.AuthClientSecretPost:
		return e.post(path, "", "", append(pairs, "client_id", reg.Client.ClientID, "client_secret", reg.Secret)...)
	default:
		return e.post(path, reg.Client.ClientID, reg.Secret, pairs...)
	}
}

// tokens walks the whole code flow.
func (e *env) tokens(reg oauthreg.Registration, params ...string) *tokenAnswer {
	e.t.Helper()
	code, verifier := e.code(reg.Client.ClientID, params...)
	e.secrets.Add("code_verifier", verifier)
	a := e.redeem(reg, code, verifier)
	if a.status != http.StatusOK {
		e.t.Fatalf("token: %d %s", a.status, a.raw)
	}
	return a
}

// wantError checks an error answer of a token-like endpoint.
func (a *tokenAnswer) wantError(t testing.TB, status int, code string) {
	t.Helper()
	if a.status != status || a.str("error") != code {
		t.Errorf("got %d %s, want %d %s", a.status, a.raw, status, code)
	}
}

// clock is a clock that tests set. It moves by itself as well.
type clock struct {
	mu  sync.Mutex
	off time.Duration
}

func newClock() *clock { return new(clock) }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.off)
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// testUsers knows alice and bob.
type testUsers struct{}

func (testUsers) CheckPassword(_ context.Context, username, password string) (string, bool, error) {
	switch {
	case username == "alice" && password == "wonderland":
		return "sub-alice", true, nil
	case username == "bob" && password == "builder":
		return "sub-bob", true, nil
	}
	return "", false, nil
}

// testKeys are made once: a new RSA key for every test would be most of its time.
var testKeys = sync.OnceValue(func() []oauthreg.SigningKey {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	c, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	var out []oauthreg.SigningKey
	for alg, key := range map[string]any{"RS256": r, "ES256": c} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(der)
		out = append(out, oauthreg.SigningKey{KeyID: base64.RawURLEncoding.EncodeToString(sum[:12]), Alg: alg, Private: der})
	}
	return out
})
