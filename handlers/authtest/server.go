package authtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/handlers/bearer"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// Server is a running authorization server, the real one, on a loopback address
// and a SQLite database in memory. It is safe for concurrent use.
//
// What goes wrong in a method fails the test, so those methods are for the
// test's own goroutine; [Browser.Open] is for others.
type Server struct {
	// URL is the origin, "http://127.0.0.1:49152". Issuer is the issuer
	// identifier: the same, with the path of [WithIssuerPath].
	URL    string
	Issuer string

	// Registry, Store, Keys and Handler are what the server is made of, for
	// whatever has no method here.
	Registry *oauthreg.Registry
	Store    *storage.Store
	Keys     *oauthreg.KeyRing
	Handler  *handlers.Server

	t     testing.TB // nil: started by Start
	http  *httptest.Server
	outer http.Handler // Handler, or what WithHandler put around it
	base  string
	opts  *options
	clock *clock
	users *users

	closing   chan struct{} // closed when the server goes
	closeOnce sync.Once
	faults    faults
	log       requestLog
	events    eventLog

	mu      sync.Mutex
	clients []oauthreg.Registration // in order of registration, with secrets
}

// NewServer starts a server that is gone when the test ends. What an option gets
// wrong fails the test.
//
//	srv := authtest.NewServer(t)
func NewServer(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s, err := start(t, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Start starts a server where there is no [testing.TB]: for examples, TestMain
// and programs. It panics when an option is wrong, and its methods panic where
// they would fail a test. Call [Server.Close] when done.
func Start(opts ...Option) *Server {
	s, err := start(nil, opts)
	if err != nil {
		panic(err)
	}
	return s
}

// Close ends the server and its database. Calling it again does nothing.
func (s *Server) Close() {
	s.closeOnce.Do(func() {
		close(s.closing)
		s.http.CloseClientConnections()
		s.http.Close()
		_ = s.Store.Close() // it was in memory
	})
}

// start does what both ways to start share.
func start(t testing.TB, opts []Option) (_ *Server, err error) {
	o := newOptions(t, opts)
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &Server{t: t, opts: o, base: o.path, clock: o.clock, users: newUsers(o.users), closing: make(chan struct{})}
	ctx := context.Background()

	// One secret per server would make tokens of one unknown to another, which
	// is what they are.
	master := newMaster()
	s.Store, err = storage.Open(":memory:", storage.Config{
		EncryptionKeys: [][]byte{oauthreg.DeriveKey(master, "storage")}, NewSession: handlers.NewSession, Now: s.clock.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("authtest: %w", err)
	}
	defer func() {
		if err != nil {
			_ = s.Store.Close() // what failed first is what to tell
			err = fmt.Errorf("authtest: %w", err)
		}
	}()
	if err := s.Store.Migrate(ctx); err != nil {
		return nil, err
	}
	s.Registry, err = oauthreg.NewRegistry(oauthreg.Config{
		Store: s.Store, SecretKey: oauthreg.DeriveKey(master, "secrets"), Implicit: true, SigningAlgs: algorithms, Now: s.clock.Now, Events: s.events.hear,
	})
	if err != nil {
		return nil, err
	}
	s.Keys, err = newKeys(s.Store, s.clock.Now, s.events.hear)
	if err != nil {
		return nil, err
	}

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if o.tls {
		scheme = "https"
	}
	s.URL = scheme + "://" + listener.Addr().String()
	s.Issuer = s.URL + o.path
	cfg := handlers.Config{
		Issuer: s.Issuer, Registry: s.Registry, Store: s.Store, Keys: s.Keys,
		Secrets: [][]byte{oauthreg.DeriveKey(master, "tokens")},
		Users:   s.users, Claims: s.users, UserActive: s.users.active,
		Scopes: o.scopes, Resources: o.resources, Registration: handlers.RegistrationConfig{Mode: handlers.RegistrationOpen},
		Limits: handlers.NoLimits, Renderer: defaultPages(),
		Outbound: handlers.NewOutbound(handlers.OutboundConfig{Private: true, HTTP: true}),
		Logger:   o.logger, Now: s.clock.Now,
	}
	for _, change := range o.configs {
		change(&cfg)
	}
	own := cfg.Events // of WithConfig: it hears as well
	cfg.Events = func(ctx context.Context, e oauthreg.Event) {
		s.events.hear(ctx, e)
		own.Emit(ctx, cfg.Logger, e)
	}
	if s.Handler, err = handlers.New(cfg); err != nil {
		_ = listener.Close() // the error above is what to tell
		return nil, err
	}
	if s.outer = s.Handler; o.wrap != nil {
		s.outer = o.wrap(s)
	}
	for _, c := range o.clients {
		if _, err := s.register(ctx, c); err != nil {
			_ = listener.Close() // as above
			return nil, fmt.Errorf("client %q: %w", c.Client.ClientID, err)
		}
	}
	s.events.seen = nil // nothing of that is news

	s.http = &httptest.Server{Listener: listener, Config: &http.Server{
		Handler:  http.HandlerFunc(s.serve),
		ErrorLog: slog.NewLogLogger(o.logger.Handler(), slog.LevelDebug),
	}}
	if o.tls {
		s.http.StartTLS()
	} else {
		s.http.Start()
	}
	return s, nil
}

// defaultPages are parsed once per process: most of the time that
// [handlers.New] takes.
var defaultPages = sync.OnceValue(handlers.DefaultRenderer)

// serve is in front of the server: it notes the request and lets it fail if it is
// to fail.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	endpoint := s.endpointOf(r.URL.Path)
	sw := &statusWriter{ResponseWriter: w}
	seen := s.log.begin(r, endpoint, s.clock.Now())
	defer func() { s.log.end(seen, sw.status) }()
	if f := s.faults.next(endpoint); f != nil && s.inject(sw, r, f) {
		return
	}
	s.outer.ServeHTTP(sw, r)
}

// fail ends the test.
func (s *Server) fail(format string, args ...any) {
	if s.t == nil {
		panic(fmt.Sprintf("authtest: "+format, args...))
	}
	s.t.Helper()
	s.t.Fatalf("authtest: "+format, args...)
}

func (s *Server) helper() {
	if s.t != nil {
		s.t.Helper()
	}
}

// Client returns an HTTP client that trusts the server's certificate
// ([WithTLS]). It follows redirects and keeps no cookies.
func (s *Server) Client() *http.Client {
	c := *s.http.Client()
	return &c
}

// Context returns ctx with [Server.Client] in it, where x/oauth2 and go-oidc
// look for it.
func (s *Server) Context(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, s.Client())
}

// Register adds a client while the server runs, for a redirect URI that is known
// no earlier. What c leaves open is filled in as by [WithClient].
func (s *Server) Register(c oauthreg.Client) oauthreg.Registration {
	s.helper()
	reg, err := s.register(context.Background(), oauthreg.Declaration{Client: c})
	if err != nil {
		s.fail("register client %q: %v", c.ClientID, err)
	}
	return reg
}

func (s *Server) register(ctx context.Context, d oauthreg.Declaration) (oauthreg.Registration, error) {
	reg, err := s.Registry.Register(ctx, s.opts.complete(d.Client), oauthreg.RegisterOptions{
		Secret: d.Secret, Suspended: d.Suspended, Rules: oauthreg.Rules{AllowImplicit: true},
	})
	if err != nil {
		return reg, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, reg)
	return reg, nil
}

// client is a client that was declared or registered here.
func (s *Server) client(clientID string) oauthreg.Registration {
	s.helper()
	s.mu.Lock()
	i := slices.IndexFunc(s.clients, func(r oauthreg.Registration) bool { return r.Client.ClientID == clientID })
	var reg oauthreg.Registration
	if i >= 0 {
		reg = s.clients[i]
	}
	s.mu.Unlock()
	if i < 0 {
		s.fail("there is no client %q; declare it by WithClient or Register", clientID)
	}
	return reg
}

// Secret is the client secret of a client; empty if it has none.
func (s *Server) Secret(clientID string) string {
	s.helper()
	return s.client(clientID).Secret
}

// Endpoint is what x/oauth2 needs to know of the server. Without a client it
// leaves AuthStyle to be found out.
func (s *Server) Endpoint() oauth2.Endpoint {
	return oauth2.Endpoint{AuthURL: s.Issuer + "/oauth/authorize", TokenURL: s.Issuer + "/oauth/token"}
}

// OAuth2Config is x/oauth2's view of a client that was declared here: with its
// secret, its first redirect URI, and every scope it gets without asking.
// Change what differs.
func (s *Server) OAuth2Config(clientID string) *oauth2.Config {
	s.helper()
	reg := s.client(clientID)
	c := &oauth2.Config{
		ClientID: clientID, ClientSecret: reg.Secret, Endpoint: s.Endpoint(), Scopes: reg.Client.ScopesWhenNoneAsked(),
	}
	c.Endpoint.AuthStyle = authStyle(reg.Client.TokenEndpointAuthMethod)
	if len(reg.Client.RedirectURIs) > 0 {
		c.RedirectURL = reg.Client.RedirectURIs[0]
	}
	return c
}

// ClientCredentialsConfig is [Server.OAuth2Config] for a client that acts for
// itself.
func (s *Server) ClientCredentialsConfig(clientID string) *clientcredentials.Config {
	s.helper()
	reg := s.client(clientID)
	return &clientcredentials.Config{
		ClientID: clientID, ClientSecret: reg.Secret, TokenURL: s.Endpoint().TokenURL,
		AuthStyle: authStyle(reg.Client.TokenEndpointAuthMethod),
	}
}

func authStyle(method oauthreg.AuthMethod) oauth2.AuthStyle {
	if method == oauthreg.AuthNone || method == oauthreg.AuthClientSecretPost {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

// JWTConfig is for [bearer.NewJWT]: a resource server that verifies JWT access
// tokens ([WithJWTAccessTokens]) by itself, with the server's clock.
func (s *Server) JWTConfig(audience ...string) bearer.JWTConfig {
	if len(audience) == 0 {
		audience = []string{s.Issuer} // what a token for no resource in particular has
	}
	return bearer.JWTConfig{Issuer: s.Issuer, Audience: audience, Client: s.Client(), Now: s.clock.Now}
}

// IntrospectionConfig is for [bearer.NewIntrospection]: a resource server that
// asks about each token, with the server's clock. It registers the client that
// asks, which serves resource; none means the issuer itself.
func (s *Server) IntrospectionConfig(resource ...string) bearer.IntrospectionConfig {
	s.helper()
	if len(resource) == 0 {
		resource = []string{s.Issuer}
	}
	reg := s.Register(oauthreg.Client{
		Name: "Resource server", ResourceServer: resource, TokenEndpointAuthMethod: oauthreg.AuthClientSecretBasic,
		Type: oauthreg.Confidential, GrantTypes: []oauthreg.GrantType{oauthreg.GrantClientCredentials},
	})
	return bearer.IntrospectionConfig{
		Endpoint: s.Issuer + string(IntrospectionEndpoint), ClientID: reg.Client.ClientID, ClientSecret: reg.Secret,
		Issuer: s.Issuer, Client: s.Client(), Now: s.clock.Now,
	}
}

// origin is the server's scheme and host.
func (s *Server) isHere(u *url.URL) bool { return u.Scheme+"://"+u.Host == s.URL }

var errNoUser = errors.New("there is no such user; declare them by WithUser")
