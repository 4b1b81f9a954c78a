package handlers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Config is everything a [Server] is made of. The first five fields are
// required, and either SignIn or Users.
type Config struct {
	// Issuer is the issuer identifier (RFC 8414 §2): an https URL without query
	// or fragment; http only on a loopback host. It may have a path, and then
	// everything lives below it. It is used byte for byte, everywhere.
	Issuer string
	// Registry has the clients.
	Registry *oauthreg.Registry
	// Store has grants, tokens and what is in between.
	Store Store
	// Keys signs JWTs and answers the JWKS.
	Keys *oauthreg.KeyRing
	// Secrets key the codes, tokens, cookies and forms: at least one, each at
	// least 32 bytes. The first one makes new values; all of them verify, so
	// prepend one to rotate.
	Secrets [][]byte

	// SignIn is the host's authentication. nil means the built-in sign-in at
	// <issuer>/login, which needs Users.
	SignIn SignIn
	// Users checks passwords for the built-in sign-in.
	Users Users
	// Claims knows the users' claims; nil means that only sub is known.
	Claims ClaimsSource
	// UserActive reports whether a user may still use tokens; asked before a code
	// is made and redeemed, at refresh, introspection and userinfo. nil means yes.
	UserActive UserActiveFunc

	// ACRValues are the levels (acr, OpenID Connect Core §2) that SignIn can
	// reach, for the metadata: a request for one of them sends a user who is
	// signed in at another to SignIn. Empty means that there are no levels.
	ACRValues []string

	// Scopes are the scopes the server knows, in the order of metadata and
	// consent. A client may be registered for others; they are shown by name.
	Scopes []Scope
	// Resources are the resources (RFC 8707) tokens may be asked for, beside
	// the issuer itself. Absolute URIs without fragment.
	Resources []string

	// Lifetimes are the defaults of clients that register none: zero fields
	// mean 60 seconds for codes, 1 hour for access and id_tokens, 30 days idle
	// and 180 days absolute for refresh tokens.
	Lifetimes oauthreg.Lifetimes
	// InteractionLifetime is how long a person may take to sign in and decide.
	// Zero means 15 minutes.
	InteractionLifetime time.Duration
	// Sessions are the limits of the built-in sign-in's sessions; zero fields
	// mean 12 hours idle and 14 days absolute.
	Sessions SessionLifetimes

	// Implicit switches the implicit and hybrid response types on. Off, they
	// are refused whatever a client registered.
	Implicit bool
	// UnsignedRequestURIs takes request objects without a signature ("alg":
	// "none") that stand at a request_uri which the client registered, if it has
	// registered no request_object_signing_alg: who may write there speaks for
	// it. In the URL itself they never count. The Dynamic OP certification
	// profile of OpenID Connect asks for it; off by default.
	UnsignedRequestURIs bool
	// Registration says who may register clients over HTTP (RFC 7591).
	Registration RegistrationConfig
	// ClientMetadataDocuments says whether clients may bring their registration
	// along, as a document at a URL that is their client_id.
	ClientMetadataDocuments ClientMetadataDocumentConfig

	// SelfRegisteredLogos shows the logos of clients that registered themselves,
	// too. Off, only those of clients that the operator registered or verified
	// are shown. The server fetches them: no page loads anything from elsewhere.
	SelfRegisteredLogos bool
	// Renderer writes the pages; nil means [DefaultRenderer].
	Renderer Renderer
	// TrustedProxies may name the client's address in X-Forwarded-For, the request's
	// id in X-Request-Id, and its trace in traceparent. Empty means that the
	// connection's own address counts, and ids and traces are our own.
	TrustedProxies []netip.Prefix
	// Limits bound guessing and floods; nil means [NewLimiter] with its
	// defaults, [NoLimits] switches them off.
	Limits Limiter
	// Outbound fetches jwks_uri, metadata and other documents that clients name; nil
	// means a guarded client with its defaults ([NewOutbound]).
	Outbound *http.Client

	// Events hears of what was authorized, issued, refreshed, revoked, refused, and
	// of sign-ins, consents and replays; nil means nobody. Changes of clients and
	// keys are reported by the Registry and the key ring, which have an Events of
	// their own: see [oauthreg.EventFunc].
	Events oauthreg.EventFunc
	// TracerProvider gets a span for every request, with one for each fetch from a
	// URL that a client named, and MeterProvider the metrics; nil means none, at no
	// cost. They are OpenTelemetry's: the host brings the SDK. Neither has a secret,
	// and the metrics have no attribute whose values strangers choose. A meter holds on
	// to the server's Keys for as long as the provider lives.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider
	// Logger gets one line per request: at debug level when all went well, at
	// info when it was refused, at error when it failed. Never a secret. nil
	// discards.
	Logger *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// SessionLifetimes bounds sign-in sessions.
type SessionLifetimes struct {
	Idle     time.Duration
	Absolute time.Duration
}

// UserActiveFunc reports whether the user may still use tokens. An error is
// answered with 5xx, never taken for no.
type UserActiveFunc func(ctx context.Context, subject string) (bool, error)

// check names everything wrong with c at once and fills in defaults.
func (c *Config) check() (*url.URL, error) {
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("handlers: Config."+format, args...))
	}
	issuer, err := url.Parse(c.Issuer)
	switch {
	case err != nil || issuer.Host == "" || issuer.RawQuery != "" || issuer.ForceQuery || issuer.Fragment != "" || strings.Contains(c.Issuer, "#") || issuer.User != nil || issuer.Opaque != "":
		fail("Issuer must be an absolute URL without query, fragment or user (RFC 8414 §2)")
	case issuer.Scheme != "https" && (issuer.Scheme != "http" || !isLoopbackHost(issuer.Hostname())):
		fail("Issuer must be https; http is for loopback hosts only")
	case strings.HasSuffix(c.Issuer, "/"):
		fail("Issuer must not end with a slash")
	case issuer.RawPath != "" || strings.Contains(issuer.Path, "//") || strings.Contains(issuer.Path, "/."):
		fail("Issuer's path must be plain segments without escapes")
	}
	if c.Registry == nil {
		fail("Registry is nil")
	}
	if c.Store == nil {
		fail("Store is nil")
	}
	if c.Keys == nil {
		fail("Keys is nil")
	}
	if len(c.Secrets) == 0 {
		fail("Secrets is empty")
	}
	for i, s := range c.Secrets {
		if len(s) < 32 {
			fail("Secrets[%d] has %d bytes, at least 32 are needed", i, len(s))
		}
	}
	if c.SignIn == nil && c.Users == nil {
		fail("SignIn and Users are both nil: nobody could sign in")
	}
	for _, r := range c.Resources {
		if !validResource(r) {
			fail("Resources: %q is not an absolute URI without fragment (RFC 8707 §2)", r)
		}
	}
	l := &c.Lifetimes
	for _, d := range []struct {
		name string
		v    *time.Duration
		def  time.Duration
		max  time.Duration
	}{
		{"Lifetimes.AuthorizationCode", &l.AuthorizationCode, time.Minute, 10 * time.Minute},
		{"Lifetimes.AccessToken", &l.AccessToken, time.Hour, 24 * time.Hour},
		{"Lifetimes.IDToken", &l.IDToken, time.Hour, 24 * time.Hour},
		{"Lifetimes.RefreshTokenIdle", &l.RefreshTokenIdle, 30 * 24 * time.Hour, 3660 * 24 * time.Hour},
		{"Lifetimes.RefreshToken", &l.RefreshToken, 180 * 24 * time.Hour, 3660 * 24 * time.Hour},
		{"InteractionLifetime", &c.InteractionLifetime, 15 * time.Minute, 24 * time.Hour},
		{"Sessions.Idle", &c.Sessions.Idle, 12 * time.Hour, 366 * 24 * time.Hour},
		{"Sessions.Absolute", &c.Sessions.Absolute, 14 * 24 * time.Hour, 366 * 24 * time.Hour},
	} {
		switch {
		case *d.v == 0:
			*d.v = d.def
		case *d.v < time.Second || *d.v > d.max:
			fail("%s is %v, it must be between 1s and %v", d.name, *d.v, d.max)
		}
	}
	errs = append(errs, c.Registration.check()...)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return issuer, errors.Join(errs...)
}

// isLoopbackHost reports whether host is one of the three spellings of this
// machine that may be used without TLS (RFC 8252 §7.3, §8.3).
func isLoopbackHost(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// validResource reports whether r is an absolute URI without fragment (RFC 8707 §2).
func validResource(r string) bool {
	u, err := url.Parse(r)
	return err == nil && u.IsAbs() && !strings.Contains(r, "#") && len(r) <= 2048
}
