// Package bearer protects a resource server with OAuth 2.0 access tokens: it
// reads the token of a request (RFC 6750), has a [Verifier] check it, and
// answers with the challenges of RFC 6750 §3 and RFC 9728 §5.1 when it is not
// good enough. It can be used alone, against any authorization server:
//
//   - [NewJWT] verifies JWT access tokens (RFC 9068) offline, with the keys that
//     the issuer publishes;
//   - [NewIntrospection] asks the authorization server (RFC 7662);
//   - [ByFormat] does the one or the other, by what a token looks like;
//   - [VerifierFunc] is for a process that can look tokens up by itself.
//
// [NewMetadataHandler] serves what clients look for first, the metadata of the
// protected resource (RFC 9728). The package knows nothing of the authorization
// server beside it.
//
// # What to set
//
// [Config.Resource] is what this API is called: a token that is for another one is
// refused. A resource server that leaves it out takes tokens that were meant for
// others. [Config.Scopes] are needed by every request; what single handlers need
// beyond that, they ask the [Token] for, which they get by [FromContext].
// [Config.ResourceMetadata] is where the metadata stands; it is in every challenge, so
// that a client that knows nothing but the API's URL can find the rest.
//
// # How fresh it is
//
// NewJWT fetches the issuer's keys at the first token, keeps them for 15 minutes,
// fetches them again when a token names a key that it does not know, at most every 30
// seconds, and goes on with what it has, for up to a day, while the issuer is down. A
// revoked JWT is valid there until it expires. NewIntrospection asks for every request,
// unless [IntrospectionConfig.CacheFor] lets it remember. A verifier that cannot tell
// is 503, never 401 and never a yes.
//
// # Tokens bound to a key
//
// DPoP (RFC 9449) and mutual TLS (RFC 8705) are not checked: a token that is bound to a
// key is refused, since to take it without the proof would be to ignore the bond.
package bearer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// ErrInvalidToken: the token is unknown, expired, revoked, not meant for this
// resource server, or no access token at all. Verifiers wrap it around what they
// found; any other error means that they cannot tell now.
var ErrInvalidToken = errors.New("bearer: invalid token")

// Token is what is known of a valid access token. It may be shared between
// requests and must not be changed.
type Token struct {
	// Subject is sub: the user, or the client itself when no user took part.
	Subject string
	// ClientID is client_id: the client the token was issued to.
	ClientID string
	// Issuer is iss; empty when the authorization server did not say.
	Issuer string
	// Scopes is scope, split. Audience is aud: the resources the token is for.
	Scopes   []string
	Audience []string
	// ExpiresAt and IssuedAt are exp and iat; zero when unknown.
	ExpiresAt time.Time
	IssuedAt  time.Time
	// ID is jti.
	ID string
	// Claims is everything else the authorization server said, and the above,
	// as encoding/json decodes it. nil when it is not known.
	Claims map[string]any
}

// HasScope reports whether the token has scope, compared exactly.
func (t *Token) HasScope(scope string) bool { return slices.Contains(t.Scopes, scope) }

// HasAudience reports whether the token is meant for resource (RFC 8707 §2):
// compared exactly, but for one trailing slash on a bare origin, so
// https://api.example and https://api.example/ are the same.
func (t *Token) HasAudience(resource string) bool {
	return slices.ContainsFunc(t.Audience, func(aud string) bool { return sameResource(aud, resource) })
}

func sameResource(a, b string) bool {
	return a == b || a == b+"/" && isOrigin(b) || b == a+"/" && isOrigin(a)
}

// isOrigin reports whether s is scheme://host and nothing else.
func isOrigin(s string) bool {
	_, host, ok := strings.Cut(s, "://")
	return ok && host != "" && !strings.ContainsAny(host, "/?#")
}

// Verifier checks access tokens. Implementations must be safe for concurrent use.
type Verifier interface {
	// Verify returns what is known of a valid token. A token that is not valid
	// is [ErrInvalidToken], possibly wrapped; any other error means that it
	// cannot be told now, and is answered with 503. The token has the syntax of
	// RFC 6750 §2.1 and at most 16 KiB. It must not be logged.
	Verify(ctx context.Context, token string) (*Token, error)
}

// VerifierFunc makes a [Verifier] of a function.
type VerifierFunc func(ctx context.Context, token string) (*Token, error)

// Verify calls f.
func (f VerifierFunc) Verify(ctx context.Context, token string) (*Token, error) {
	return f(ctx, token)
}

// Config says what [Middleware] asks of a request.
type Config struct {
	// Verifier checks the tokens. Required.
	Verifier Verifier
	// Resource is what this resource server is called: one of the token's
	// audiences must be it (see [Token.HasAudience]). Empty means that the
	// Verifier alone decides who a token is for; leave it so only when the
	// Verifier does, because otherwise a token that was given to another
	// resource server is accepted here.
	Resource string
	// Scopes must all be in the token. Empty means that any token will do.
	Scopes []string
	// ResourceMetadata is the URL of the protected resource metadata
	// (RFC 9728 §5.1), which challenges carry so that clients find the
	// authorization server. Empty leaves it out.
	ResourceMetadata string
	// Realm is the realm of the challenges (RFC 9110 §11.5); empty leaves it out.
	Realm string
	// Logger gets one line when the Verifier fails; nil discards. Never a token.
	Logger *slog.Logger
}

// check names everything wrong with cfg.
func (cfg *Config) check() error {
	var errs []error
	if cfg.Verifier == nil {
		errs = append(errs, errors.New("bearer: Config.Verifier is nil"))
	}
	for _, s := range cfg.Scopes {
		if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < '!' || r > '~' || r == '"' || r == '\\' }) {
			errs = append(errs, fmt.Errorf("bearer: Config.Scopes: %q is not a scope (RFC 6749 §3.3)", s))
		}
	}
	if u, err := url.Parse(cfg.Resource); cfg.Resource != "" && (err != nil || !u.IsAbs() || strings.Contains(cfg.Resource, "#")) {
		errs = append(errs, fmt.Errorf("bearer: Config.Resource: %q is not an absolute URI without fragment (RFC 8707 §2)", cfg.Resource))
	}
	if u, err := url.Parse(cfg.ResourceMetadata); cfg.ResourceMetadata != "" && (err != nil || u.Host == "") {
		errs = append(errs, fmt.Errorf("bearer: Config.ResourceMetadata: %q is not an absolute URL", cfg.ResourceMetadata))
	}
	return errors.Join(errs...)
}

// maxToken bounds a token, in bytes.
const maxToken = 16 << 10

// Middleware lets requests through that carry a valid access token, which
// handlers get from [FromContext]. It answers the others itself:
//
//   - 401 without an error code when there is no token;
//   - 400 invalid_request when it is malformed or sent twice;
//   - 401 invalid_token when the Verifier refuses it or it is for another
//     resource;
//   - 403 insufficient_scope when a scope is missing;
//   - 503 when the Verifier cannot tell.
//
// Only the Authorization header counts. A token in the query is never accepted
// (RFC 9700 §4.3.2) and the body is never read. CORS preflights have no token:
// put CORS outside of this middleware.
//
// Middleware panics when cfg cannot be honored, because that is a mistake in
// the program. The result is safe for concurrent use.
func Middleware(cfg Config) func(http.Handler) http.Handler {
	if err := cfg.check(); err != nil {
		panic(err)
	}
	cfg.Scopes = slices.Clone(cfg.Scopes)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return func(next http.Handler) http.Handler {
		return &guard{cfg: cfg, next: next}
	}
}

type guard struct {
	cfg  Config
	next http.Handler
}

// refusal is an answer of RFC 6750 §3.1; code is empty when there was no token.
type refusal struct {
	status      int
	code        string
	description string
}

// ServeHTTP implements [http.Handler].
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, refused := bearerToken(r)
	if refused != nil {
		g.refuse(w, refused)
		return
	}
	token, err := g.cfg.Verifier.Verify(r.Context(), raw)
	switch {
	case errors.Is(err, ErrInvalidToken):
		g.refuse(w, &refusal{http.StatusUnauthorized, "invalid_token", "The access token is not valid."})
		return
	case err != nil || token == nil:
		if r.Context().Err() == nil {
			g.cfg.Logger.ErrorContext(r.Context(), "bearer: cannot verify tokens", "err", err)
		}
		w.Header().Set("Retry-After", "1")
		w.Header().Set("Cache-Control", "no-store")
		http.Error(w, "The access token cannot be verified now; try again.", http.StatusServiceUnavailable)
		return
	}
	if g.cfg.Resource != "" && !token.HasAudience(g.cfg.Resource) {
		g.refuse(w, &refusal{http.StatusUnauthorized, "invalid_token", "The access token is for another resource."})
		return
	}
	for _, s := range g.cfg.Scopes {
		if !token.HasScope(s) {
			g.refuse(w, &refusal{http.StatusForbidden, "insufficient_scope", "The access token lacks a scope."})
			return
		}
	}
	g.next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), token)))
}

// bearerToken reads the token of r (RFC 6750 §2.1).
func bearerToken(r *http.Request) (string, *refusal) {
	malformed := &refusal{http.StatusBadRequest, "invalid_request", "The Authorization header is malformed."}
	headers := r.Header["Authorization"]
	if len(headers) > 1 {
		return "", &refusal{http.StatusBadRequest, "invalid_request", "There is more than one Authorization header."}
	}
	if len(headers) == 0 {
		return "", &refusal{status: http.StatusUnauthorized}
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", &refusal{status: http.StatusUnauthorized}
	}
	token = strings.TrimLeft(token, " ")
	if len(token) > maxToken || !isToken68(token) {
		return "", malformed
	}
	if r.URL.RawQuery != "" && r.URL.Query().Has("access_token") {
		return "", &refusal{http.StatusBadRequest, "invalid_request", "The access token is sent in more than one way."}
	}
	return token, nil
}

// isToken68 reports whether s is a b64token (RFC 6750 §2.1).
func isToken68(s string) bool {
	body := strings.TrimRight(s, "=")
	if body == "" {
		return false
	}
	for i := range len(body) {
		switch c := body[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == '_', c == '~', c == '+', c == '/':
		default:
			return false
		}
	}
	return true
}

func (g *guard) refuse(w http.ResponseWriter, f *refusal) {
	w.Header().Add("WWW-Authenticate", g.challenge(f))
	w.Header().Set("Cache-Control", "no-store")
	text := f.description
	if text == "" {
		text = "An access token is needed."
	}
	http.Error(w, text, f.status)
}

// challenge is the WWW-Authenticate field (RFC 6750 §3, RFC 9728 §5.1). scope
// names what a token should have, which also tells a client without one what to
// ask for.
func (g *guard) challenge(f *refusal) string {
	var params []string
	add := func(name, value string) {
		if value != "" {
			params = append(params, name+"="+quote(value))
		}
	}
	add("realm", g.cfg.Realm)
	add("error", f.code)
	add("error_description", f.description)
	add("scope", strings.Join(g.cfg.Scopes, " "))
	add("resource_metadata", g.cfg.ResourceMetadata)
	if len(params) == 0 {
		params = []string{`realm="api"`} // RFC 6750 §3 wants at least one
	}
	return "Bearer " + strings.Join(params, ", ")
}

// quote makes a quoted-string (RFC 9110 §5.6.4). What may not stand in a header
// field becomes a question mark.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r > '~':
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

type contextKey struct{}

// FromContext returns the token that [Middleware] accepted. ok is false when the
// request did not pass through one.
func FromContext(ctx context.Context) (token *Token, ok bool) {
	token, ok = ctx.Value(contextKey{}).(*Token)
	return token, ok
}

// NewContext returns a context that carries token, as [Middleware] makes it: for
// the tests of handlers that use [FromContext].
func NewContext(ctx context.Context, token *Token) context.Context {
	return context.WithValue(ctx, contextKey{}, token)
}
