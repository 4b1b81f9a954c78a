package authtest

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// The clients of a server for which none is declared. They may ask for every
// scope. Redirect URIs are /callback on any port of 127.0.0.1 and localhost (RFC
// 8252 §7.3), and https://app.example/callback.
const (
	// App is a confidential web application: authorization_code with PKCE, and
	// refresh_token.
	App = "app"
	// CLI is App without a secret.
	CLI = "cli"
	// Service is a confidential client that acts for itself: client_credentials.
	Service = "service"
)

// Option is something about a server that is not as it is by itself.
type Option func(*options)

type options struct {
	clients   []oauthreg.Declaration
	users     []User
	scopes    []handlers.Scope
	resources []string
	path      string
	tls       bool
	jwt       bool
	clock     *clock
	logger    *slog.Logger
	configs   []func(*handlers.Config)
	wrap      func(*Server) http.Handler
}

// WithClient declares a client; the three of the package are then not there.
// What c leaves open is filled in: client_secret_basic unless Type is Public,
// authorization_code with PKCE and refresh_token if there is a redirect URI,
// client_credentials otherwise, and every scope the server knows. The secret is
// generated; see [Server.Secret].
func WithClient(c oauthreg.Client) Option {
	return WithDeclaration(oauthreg.Declaration{Client: c})
}

// WithDeclaration is [WithClient] with a secret that is chosen, or for a client
// that is suspended. A secret of fewer than 32 characters takes longer to check:
// it is kept as a slow hash.
func WithDeclaration(d oauthreg.Declaration) Option {
	return func(o *options) { o.clients = append(o.clients, d) }
}

// WithUser declares a user; the first one is whom browsers sign in as. Without
// any there is alice, whose subject is alice too, and who has a name and an
// email address.
func WithUser(u User) Option { return func(o *options) { o.users = append(o.users, u) } }

// WithScopes adds scopes to those that the server knows by itself: openid,
// profile, email, offline_access, read and write.
func WithScopes(names ...string) Option {
	return func(o *options) {
		for _, n := range names {
			o.scopes = append(o.scopes, handlers.Scope{Name: n})
		}
	}
}

// WithResource adds resources (RFC 8707) that tokens may be asked for.
func WithResource(uris ...string) Option {
	return func(o *options) { o.resources = append(o.resources, uris...) }
}

// WithJWTAccessTokens gives clients JWT access tokens (RFC 9068) unless they
// name a format.
func WithJWTAccessTokens() Option { return func(o *options) { o.jwt = true } }

// WithIssuerPath puts the issuer at a path of the server, "/tenant".
func WithIssuerPath(path string) Option { return func(o *options) { o.path = path } }

// WithTLS serves https with a certificate that [Server.Client] trusts.
func WithTLS() Option { return func(o *options) { o.tls = true } }

// WithTime makes the server's clock stand at t until [Server.Advance] moves it.
// Without it the clock runs as usual.
func WithTime(t time.Time) Option { return func(o *options) { o.clock = &clock{fixed: t} } }

// WithLogger hands in the server's log. Without it a test's output has it, which
// go test shows when the test fails.
func WithLogger(l *slog.Logger) Option { return func(o *options) { o.logger = l } }

// WithConfig changes whatever else the server is made of, last of all.
func WithConfig(change func(*handlers.Config)) Option {
	return func(o *options) { o.configs = append(o.configs, change) }
}

// WithHandler serves what wrap returns in place of [Server.Handler], which it
// contains somewhere: for a test of your own routes and middleware around the
// authorization server. Call it with [WithIssuerPath] when you mount it at a path.
func WithHandler(wrap func(*Server) http.Handler) Option {
	return func(o *options) { o.wrap = wrap }
}

func newOptions(t testing.TB, opts []Option) *options {
	o := &options{clock: new(clock)}
	for _, n := range []string{"openid", "profile", "email", "offline_access", "read", "write"} {
		o.scopes = append(o.scopes, handlers.Scope{Name: n})
	}
	for _, apply := range opts {
		apply(o)
	}
	if len(o.clients) == 0 {
		o.clients = defaultClients()
	}
	if len(o.users) == 0 {
		o.users = []User{{Username: "alice", Claims: map[string]any{
			"name": "Alice Liddell", "preferred_username": "alice", "email": "alice@example.com", "email_verified": true,
		}}}
	}
	if o.logger == nil {
		o.logger = slog.New(slog.DiscardHandler)
		if t, ok := t.(*testing.T); ok {
			o.logger = slog.New(slog.NewTextHandler(t.Output(), nil))
		}
	}
	return o
}

func (o *options) check() error {
	var errs []error
	if o.path != "" && (!strings.HasPrefix(o.path, "/") || strings.HasSuffix(o.path, "/")) {
		errs = append(errs, fmt.Errorf("authtest: WithIssuerPath: %q does not begin with a slash, or ends with one", o.path))
	}
	for i, u := range o.users {
		if u.Username == "" {
			errs = append(errs, errors.New("authtest: WithUser: a user without Username"))
		}
		if slices.ContainsFunc(o.users[:i], func(v User) bool {
			return v.Username == u.Username || cmp.Or(v.Subject, v.Username) == cmp.Or(u.Subject, u.Username)
		}) {
			errs = append(errs, fmt.Errorf("authtest: WithUser: %q is there twice", u.Username))
		}
	}
	return errors.Join(errs...)
}

func defaultClients() []oauthreg.Declaration {
	redirects := []string{"http://127.0.0.1/callback", "http://localhost/callback", "https://app.example/callback"}
	return []oauthreg.Declaration{
		{Client: oauthreg.Client{ClientID: App, RedirectURIs: redirects}},
		{Client: oauthreg.Client{ClientID: CLI, RedirectURIs: redirects[:2], Type: oauthreg.Public}},
		{Client: oauthreg.Client{ClientID: Service}},
	}
}

// complete fills in what a declared client leaves open.
func (o *options) complete(c oauthreg.Client) oauthreg.Client {
	c.Name = cmp.Or(c.Name, c.ClientID, "Test client")
	if c.Type == "" && c.TokenEndpointAuthMethod != oauthreg.AuthNone {
		c.Type = oauthreg.Confidential
	}
	if c.Type == oauthreg.Confidential && c.TokenEndpointAuthMethod == oauthreg.AuthUnnamed {
		c.TokenEndpointAuthMethod = oauthreg.AuthClientSecretBasic
	}
	if len(c.GrantTypes) == 0 {
		c.GrantTypes = []oauthreg.GrantType{oauthreg.GrantClientCredentials}
		if len(c.RedirectURIs) > 0 {
			c.GrantTypes = []oauthreg.GrantType{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken}
			c.RequirePKCE = true
		}
	}
	if len(c.Scopes) == 0 {
		for _, s := range o.scopes {
			c.Scopes = append(c.Scopes, s.Name)
		}
	}
	if c.AccessTokenFormat == "" && o.jwt {
		c.AccessTokenFormat = oauthreg.JWT
	}
	return c
}
