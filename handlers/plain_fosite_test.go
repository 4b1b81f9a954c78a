package handlers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	josev3 "github.com/go-jose/go-jose/v3"
	"github.com/go-jose/go-jose/v4"
	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	fositestorage "github.com/ory/fosite/storage"
	"github.com/ory/fosite/token/jwt"
	"golang.org/x/crypto/bcrypt"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// plainOptions is how fosite is put together for one row; the zero value is what
// its documentation shows.
type plainOptions struct {
	secret string      // GlobalSecret
	store  *plainStore // nil is a new one
	jwt    bool        // access tokens are JWTs, and there is no OpenID Connect
	all    bool        // every grant, as compose.ComposeAllEnabled has them
	shared bool        // the store hands out what it keeps, as MemoryStore does
	cost   int         // of bcrypt; 0 is the least, to save time
}

// plainServer is an authorization server of fosite's own parts: its defaults, its
// factories, its memory store, and handlers like those of its example. The user
// signed in an hour ago and allows everything.
type plainServer struct {
	opts  plainOptions
	p     fosite.OAuth2Provider
	cfg   *fosite.Config
	store *plainStore
	http  *httptest.Server

	mu   sync.Mutex
	keys []jose.JSONWebKey // the last one signs
}

// newPlain starts one and registers the clients of a target.
func newPlain(t testing.TB, opts plainOptions) *target {
	t.Helper()
	s := &plainServer{opts: opts, store: opts.store}
	if s.store == nil {
		s.store = newPlainStore(opts.shared)
	}
	s.rotate()
	mux := http.NewServeMux()
	s.http = httptest.NewUnstartedServer(mux)
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.http.Start()
	t.Cleanup(s.http.Close)
	if opts.secret == "" {
		opts.secret = strings.Repeat("k", 32)
	}
	s.cfg = &fosite.Config{
		GlobalSecret: []byte(opts.secret), TokenURL: s.http.URL + "/oauth/token",
		IDTokenIssuer: s.http.URL, AccessTokenIssuer: s.http.URL,
	}
	core := oauth2.CoreStrategy(compose.NewOAuth2HMACStrategy(s.cfg))
	if opts.jwt {
		core = compose.NewOAuth2JWTStrategy(s.signingKey, core, s.cfg)
	}
	factories := []compose.Factory{
		compose.OAuth2AuthorizeExplicitFactory, compose.OAuth2ClientCredentialsGrantFactory, compose.OAuth2RefreshTokenGrantFactory,
		compose.OpenIDConnectExplicitFactory, compose.OpenIDConnectRefreshFactory,
		compose.OAuth2PKCEFactory, compose.PushedAuthorizeHandlerFactory,
		compose.OAuth2TokenIntrospectionFactory, compose.OAuth2TokenRevocationFactory,
	}
	if opts.all {
		factories = append(factories, compose.OAuth2AuthorizeImplicitFactory,
			compose.OAuth2ResourceOwnerPasswordCredentialsFactory, //nolint:staticcheck // deprecated, and there to be refused
			compose.RFC7523AssertionGrantFactory)
	}
	s.p = compose.Compose(s.cfg, s.store, &compose.CommonStrategy{
		CoreStrategy:               core,
		OpenIDConnectTokenStrategy: compose.NewOpenIDConnectStrategy(s.signingKey, s.cfg),
		Signer:                     &jwt.DefaultSigner{GetPrivateKey: s.signingKey},
	}, factories...)
	mux.HandleFunc("/oauth/authorize", s.authorize)
	mux.HandleFunc("/oauth/token", s.token)
	mux.HandleFunc("/oauth/introspect", s.introspect)
	mux.HandleFunc("/oauth/revoke", s.revoke)
	mux.HandleFunc("/oauth/par", s.pushed)
	return s.target(t)
}

func (s *plainServer) target(t testing.TB) *target {
	x := &target{
		t: t, name: "plain", base: s.http.URL, transport: http.DefaultTransport, probe: &s.store.probe, now: time.Now, wait: s.store.age, rows: s.store.rows, stores: s.store.has,
		par:    s.http.URL + "/oauth/par",
		config: func() reflect.Value { return reflect.ValueOf(s.cfg).Elem() },
		keys:   func(context.Context) []jose.JSONWebKey { return s.published() },
		rotate: func(context.Context) { s.rotate() },
		stored: func(ctx context.Context, token string) (fosite.Requester, error) {
			_, signature, _ := strings.Cut(token, ".")
			return s.store.GetRefreshTokenSession(ctx, signature, s.session(""))
		},
	}
	x.visit = func(ctx context.Context, query string) *answer {
		return x.browse(ctx, x.base+"/oauth/authorize?"+query)
	}
	x.sibling = func(secret string) *target { return newPlain(t, plainOptions{secret: secret, store: s.store}) }

	user := []string{"authorization_code", "refresh_token"}
	scopes := []string{"openid", "profile", "email", "read", "write", "offline_access"}
	client := func(id string, change func(*fosite.DefaultClient)) party {
		c := &fosite.DefaultClient{
			ID: id, GrantTypes: user, ResponseTypes: []string{"code"}, RedirectURIs: []string{callback}, Scopes: scopes,
		}
		if change != nil {
			change(c)
		}
		p := party{id: id}
		if !c.Public {
			p.secret = (id + strings.Repeat("-secret", 11))[:72] // all that bcrypt takes
			if s.opts.all {
				c.GrantTypes = append([]string{"password", "implicit", grantJWTBearer}, c.GrantTypes...)
				c.ResponseTypes = []string{"code", "token"}
			}
			c.Secret = s.store.hash(t, p.secret, max(s.opts.cost, bcrypt.MinCost))
		}
		s.store.Clients[id] = c
		return p
	}
	public := func(c *fosite.DefaultClient) { c.Public = true }
	keyed := func(id, use string) (party, assertionKey) {
		key := newAssertionKey(t)
		key.jwk.Use = use
		set := new(josev3.JSONWebKeySet)
		if err := json.Unmarshal(jwkSet(t, key), set); err != nil {
			t.Fatal(err)
		}
		p := client(id, func(c *fosite.DefaultClient) { c.GrantTypes = append([]string{"client_credentials"}, user...) })
		s.store.Clients[id] = &fosite.DefaultOpenIDConnectClient{
			DefaultClient: s.store.Clients[id].(*fosite.DefaultClient), JSONWebKeys: set,
			TokenEndpointAuthMethod: "private_key_jwt", TokenEndpointAuthSigningAlgorithm: "ES256",
		}
		p.secret = ""
		return p, key
	}
	x.web, x.stranger = client("web", nil), client("stranger", nil)
	x.jwt = x.web
	x.public = client("public", public)
	x.machine = client("machine", func(c *fosite.DefaultClient) {
		c.GrantTypes, c.Scopes, c.RedirectURIs = []string{"client_credentials"}, []string{"read", "write"}, []string{callback}
		c.ResponseTypes = nil
	})
	x.loopback = client("loopback", func(c *fosite.DefaultClient) {
		c.Public, c.RedirectURIs = true, loopbackURIs
	})
	x.keyed, x.key = keyed("keyed", "sig")
	x.unmarked, x.unmarkedKey = keyed("unmarked", "")
	x.register = func(uri string) (party, error) {
		return client("registered", func(c *fosite.DefaultClient) { c.Public, c.RedirectURIs = true, []string{uri} }), nil
	}
	if s.opts.all {
		s.trust(x)
	}
	return x
}

const grantJWTBearer = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// trust makes the key of x an issuer for the grant of RFC 7523 §2.1, and gives
// alice a password.
func (s *plainServer) trust(x *target) {
	key := s.store.Clients["keyed"].(*fosite.DefaultOpenIDConnectClient).JSONWebKeys.Keys[0]
	s.store.IssuerPublicKeys["https://issuer.example"] = fositestorage.IssuerPublicKeys{
		Issuer: "https://issuer.example",
		KeysBySub: map[string]fositestorage.SubjectPublicKeys{"alice": {
			Subject: "alice", Keys: map[string]fositestorage.PublicKeyScopes{x.key.jwk.KeyID: {Key: &key, Scopes: []string{"read"}}},
		}},
	}
	s.store.Users["alice"] = fositestorage.MemoryUserRelation{Username: "alice", Password: "wonderland"}
}

// session is the session that an application makes for every request.
func (s *plainServer) session(subject string) fosite.Session {
	now := time.Now().UTC()
	if s.opts.jwt {
		keys := s.published()
		return &oauth2.JWTSession{
			JWTClaims: &jwt.JWTClaims{Subject: subject},
			JWTHeader: &jwt.Headers{Extra: map[string]any{"kid": keys[len(keys)-1].KeyID}},
			Subject:   subject,
		}
	}
	return &openid.DefaultSession{
		Claims:  &jwt.IDTokenClaims{Subject: subject, AuthTime: now.Add(-time.Hour), RequestedAt: now},
		Headers: &jwt.Headers{}, Subject: subject,
	}
}

func (s *plainServer) signingKey(context.Context) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[len(s.keys)-1].Key, nil
}

func (s *plainServer) rotate() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = append(s.keys, jose.JSONWebKey{Key: key, KeyID: rand.Text(), Algorithm: "ES256", Use: "sig"})
}

func (s *plainServer) published() []jose.JSONWebKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]jose.JSONWebKey, len(s.keys))
	for i, k := range s.keys {
		out[i] = k.Public()
	}
	return out
}

func (s *plainServer) authorize(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	ar, err := s.p.NewAuthorizeRequest(ctx, r)
	if err != nil {
		s.p.WriteAuthorizeError(ctx, w, ar, err)
		return
	}
	for _, scope := range ar.GetRequestedScopes() {
		ar.GrantScope(scope)
	}
	for _, audience := range ar.GetRequestedAudience() {
		ar.GrantAudience(audience)
	}
	resp, err := s.p.NewAuthorizeResponse(ctx, ar, s.session("alice"))
	if err != nil {
		s.p.WriteAuthorizeError(ctx, w, ar, err)
		return
	}
	s.p.WriteAuthorizeResponse(ctx, w, ar, resp)
}

func (s *plainServer) token(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	ar, err := s.p.NewAccessRequest(ctx, r, s.session(""))
	if err != nil {
		s.p.WriteAccessError(ctx, w, ar, err)
		return
	}
	if ar.GetGrantTypes().ExactOne("client_credentials") || ar.GetGrantTypes().ExactOne("password") {
		for _, scope := range ar.GetRequestedScopes() {
			ar.GrantScope(scope)
		}
	}
	resp, err := s.p.NewAccessResponse(ctx, ar)
	if err != nil {
		s.p.WriteAccessError(ctx, w, ar, err)
		return
	}
	s.p.WriteAccessResponse(ctx, w, ar, resp)
}

func (s *plainServer) introspect(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	resp, err := s.p.NewIntrospectionRequest(ctx, r, s.session(""))
	if err != nil {
		s.p.WriteIntrospectionError(ctx, w, err)
		return
	}
	s.p.WriteIntrospectionResponse(ctx, w, resp)
}

func (s *plainServer) revoke(w http.ResponseWriter, r *http.Request) {
	s.p.WriteRevocationResponse(r.Context(), w, s.p.NewRevocationRequest(r.Context(), r))
}

func (s *plainServer) pushed(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	ar, err := s.p.NewPushedAuthorizeRequest(ctx, r)
	if err != nil {
		s.p.WritePushedAuthorizeError(ctx, w, ar, err)
		return
	}
	resp, err := s.p.NewPushedAuthorizeResponse(ctx, ar, s.session("alice"))
	if err != nil {
		s.p.WritePushedAuthorizeError(ctx, w, ar, err)
		return
	}
	s.p.WritePushedAuthorizeResponse(ctx, w, ar, resp)
}

// plainStore is fosite's memory store, which the tests can watch and break. Unless
// it is shared, requests are copied on the way in and out: as they are, parallel
// requests end the process.
type plainStore struct {
	*fositestorage.MemoryStore
	probe  storeProbe
	shared bool
	hashes map[string][]byte
}

func newPlainStore(shared bool) *plainStore {
	return &plainStore{MemoryStore: fositestorage.NewMemoryStore(), shared: shared, hashes: map[string][]byte{}}
}

// hash is the same for servers that share the store.
func (s *plainStore) hash(t testing.TB, secret string, cost int) []byte {
	if s.hashes[secret] == nil {
		h, err := bcrypt.GenerateFromPassword([]byte(secret), cost)
		if err != nil {
			t.Fatal(err)
		}
		s.hashes[secret] = h
	}
	return s.hashes[secret]
}

func (s *plainStore) copy(r fosite.Requester) fosite.Requester {
	if s.shared {
		return r
	}
	switch r := r.(type) {
	case fositestorage.StoreAuthorizeCode:
		return s.copy(r.Requester)
	case fositestorage.StoreRefreshToken:
		return s.copy(r.Requester)
	case *fosite.Request:
		c := *r
		c.Form = maps.Clone(r.Form)
		if r.Session != nil {
			c.Session = r.Session.Clone()
		}
		return &c
	}
	return r
}

func (s *plainStore) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	if err := s.probe.called("Client", id); err != nil {
		return nil, err
	}
	return s.MemoryStore.GetClient(ctx, id)
}

func (s *plainStore) CreateAuthorizeCodeSession(ctx context.Context, signature string, r fosite.Requester) error {
	return s.MemoryStore.CreateAuthorizeCodeSession(ctx, signature, s.copy(r))
}

func (s *plainStore) CreatePKCERequestSession(ctx context.Context, signature string, r fosite.Requester) error {
	return s.MemoryStore.CreatePKCERequestSession(ctx, signature, s.copy(r))
}

func (s *plainStore) CreateOpenIDConnectSession(ctx context.Context, code string, r fosite.Requester) error {
	return s.MemoryStore.CreateOpenIDConnectSession(ctx, code, s.copy(r))
}

func (s *plainStore) CreateAccessTokenSession(ctx context.Context, signature string, r fosite.Requester) error {
	return s.MemoryStore.CreateAccessTokenSession(ctx, signature, s.copy(r))
}

func (s *plainStore) CreateRefreshTokenSession(ctx context.Context, signature, access string, r fosite.Requester) error {
	if err := s.probe.called("CreateRefreshTokenSession", signature); err != nil {
		return err
	}
	return s.MemoryStore.CreateRefreshTokenSession(ctx, signature, access, s.copy(r))
}

func (s *plainStore) GetAuthorizeCodeSession(ctx context.Context, signature string, session fosite.Session) (fosite.Requester, error) {
	if err := s.probe.called("GetAuthorizeCodeSession", signature); err != nil {
		return nil, err
	}
	r, err := s.MemoryStore.GetAuthorizeCodeSession(ctx, signature, session)
	return s.copy(r), err
}

func (s *plainStore) InvalidateAuthorizeCodeSession(ctx context.Context, signature string) error {
	if err := s.probe.called("InvalidateAuthorizeCodeSession", signature); err != nil {
		return err
	}
	return s.MemoryStore.InvalidateAuthorizeCodeSession(ctx, signature)
}

func (s *plainStore) GetPKCERequestSession(ctx context.Context, signature string, session fosite.Session) (fosite.Requester, error) {
	r, err := s.MemoryStore.GetPKCERequestSession(ctx, signature, session)
	return s.copy(r), err
}

func (s *plainStore) GetOpenIDConnectSession(ctx context.Context, code string, r fosite.Requester) (fosite.Requester, error) {
	r, err := s.MemoryStore.GetOpenIDConnectSession(ctx, code, r)
	return s.copy(r), err
}

func (s *plainStore) GetAccessTokenSession(ctx context.Context, signature string, session fosite.Session) (fosite.Requester, error) {
	if err := s.probe.called("GetAccessTokenSession", signature); err != nil {
		return nil, err
	}
	r, err := s.MemoryStore.GetAccessTokenSession(ctx, signature, session)
	return s.copy(r), err
}

func (s *plainStore) GetRefreshTokenSession(ctx context.Context, signature string, session fosite.Session) (fosite.Requester, error) {
	if err := s.probe.called("GetRefreshTokenSession", signature); err != nil {
		return nil, err
	}
	r, err := s.MemoryStore.GetRefreshTokenSession(ctx, signature, session)
	return s.copy(r), err
}

func (s *plainStore) RotateRefreshToken(ctx context.Context, id, signature string) error {
	if err := s.probe.called("RotateRefreshToken", signature); err != nil {
		return err
	}
	return s.MemoryStore.RotateRefreshToken(ctx, id, signature)
}

// each calls f for everything that the store keeps, with its kind and its key.
func (s *plainStore) each(f func(kind, key string, r fosite.Requester)) {
	for k, r := range s.AuthorizeCodes {
		f("code", k, r.Requester)
	}
	for k, r := range s.PKCES {
		f("PKCE", k, r)
	}
	for k, r := range s.IDSessions {
		f("OpenID Connect", k, r)
	}
	for k, r := range s.AccessTokens {
		f("access token", k, r)
	}
	for k, r := range s.RefreshTokens {
		f("refresh token", k, r.Requester)
	}
	for k, r := range s.PARSessions {
		f("PAR", k, r)
	}
}

// age makes everything older by d, as if the time had passed: fosite asks the
// system for the time.
func (s *plainStore) age(d time.Duration) {
	earlier := func(t *time.Time) {
		if !t.IsZero() {
			*t = t.Add(-d)
		}
	}
	s.each(func(_, _ string, r fosite.Requester) {
		if r, ok := r.(*fosite.Request); ok {
			earlier(&r.RequestedAt)
		}
		switch session := r.GetSession().(type) {
		case *openid.DefaultSession:
			for kind, at := range session.ExpiresAt {
				session.ExpiresAt[kind] = at.Add(-d)
			}
			earlier(&session.Claims.AuthTime)
			earlier(&session.Claims.RequestedAt)
			earlier(&session.Claims.IssuedAt)
			earlier(&session.Claims.ExpiresAt)
		case *oauth2.JWTSession:
			for kind, at := range session.ExpiresAt {
				session.ExpiresAt[kind] = at.Add(-d)
			}
			earlier(&session.JWTClaims.IssuedAt)
			earlier(&session.JWTClaims.ExpiresAt)
		}
	})
}

func (s *plainStore) rows() string {
	count := map[string]int{}
	s.each(func(kind, _ string, _ fosite.Requester) { count[kind]++ })
	return fmt.Sprint(count)
}

// has reports whether a key or a parameter is the secret.
func (s *plainStore) has(secret string) (found bool) {
	s.each(func(_, key string, r fosite.Requester) {
		found = found || strings.Contains(key, secret)
		for _, values := range r.GetRequestForm() {
			for _, v := range values {
				found = found || v == secret
			}
		}
	})
	return found
}

// storeProbe watches the calls to a store, fails some, and makes some meet.
type storeProbe struct {
	mu    sync.Mutex
	fails map[string]bool
	empty []string // methods that were asked for the empty key
	gates map[string]*gate
}

// gate lets nobody through until enough have arrived.
type gate struct {
	missing int
	open    chan struct{}
}

// called is the beginning of a call of method.
func (p *storeProbe) called(method, key string) error {
	p.mu.Lock()
	if key == "" {
		p.empty = append(p.empty, method)
	}
	fails, g := p.fails[method], p.gates[method]
	if g != nil {
		if g.missing--; g.missing == 0 {
			close(g.open)
		}
	}
	p.mu.Unlock()
	if g != nil {
		select {
		case <-g.open:
		case <-time.After(5 * time.Second):
		}
	}
	if fails {
		return fmt.Errorf("%s: %w: connection refused", method, oauthreg.ErrUnavailable)
	}
	return nil
}

// fail makes methods fail; none makes all work again.
func (p *storeProbe) fail(methods ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fails = map[string]bool{}
	for _, m := range methods {
		p.fails[m] = true
	}
}

// meet makes the next n calls of method begin together.
func (p *storeProbe) meet(method string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gates = map[string]*gate{method: {n, make(chan struct{})}}
}

func (p *storeProbe) askedForNothing() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.empty
}

// The plain server works for a client that behaves: what the rows of
// TestFositeDefects find on it is not a mistake of the test.
func TestPlainFosite(t *testing.T) {
	for name, opts := range map[string]plainOptions{"as documented": {}, "all": {all: true}, "JWT": {jwt: true}, "shared": {shared: true}} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			x := newPlain(t, opts)
			scope := "openid read offline_access"
			if opts.jwt {
				scope = "read offline_access"
			}
			for _, as := range []party{x.web, x.public} {
				tokens := x.tokens(ctx, as, "scope", scope)
				if !opts.jwt && tokens.str("id_token") == "" {
					t.Errorf("no ID token: %s", tokens.raw)
				}
				next := x.refresh(ctx, as, tokens.str("refresh_token"))
				next.wantOK(t)
				if !x.active(ctx, x.web, next.str("access_token")) || x.active(ctx, x.web, tokens.str("access_token")) {
					t.Error("rotation does not work")
				}
				x.post(ctx, "/oauth/revoke", as, "token", next.str("refresh_token"))
				if x.active(ctx, x.web, next.str("access_token")) {
					t.Error("revocation does not work")
				}
			}
			x.post(ctx, "/oauth/token", x.machine, "grant_type", "client_credentials", "scope", "read").wantOK(t)
			x.assert(ctx, x.keyed, x.key, nil).wantOK(t)
			if a := x.ask(ctx, x.web, "redirect_uri", "https://evil.example/cb"); a.location != nil || a.status != http.StatusBadRequest {
				t.Errorf("a wrong redirect_uri: %d %v", a.status, a.location)
			}
			code := x.code(ctx, x.web)
			x.redeem(ctx, x.web, code, strings.Repeat("x", 43)).wantError(t, http.StatusBadRequest, "invalid_grant")
			if x.token(ctx, party{x.web.id, "wrong"}, "grant_type", "refresh_token").str("error") != "invalid_client" {
				t.Error("a wrong secret works")
			}
			if opts.jwt || opts.shared {
				return // what is signed cannot be aged, and what is shared would be more than once
			}
			access := x.tokens(ctx, x.web).str("access_token")
			x.wait(59 * time.Minute)
			if !x.active(ctx, x.web, access) {
				t.Error("the token expired early")
			}
			x.wait(2 * time.Minute)
			if x.active(ctx, x.web, access) {
				t.Error("the token does not expire")
			}
		})
	}
}
