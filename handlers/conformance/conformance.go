package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Config says which server is checked and with what. Only Issuer is required;
// checks whose means are missing are skipped and say what they need. A Config
// may be used by any number of runs at the same time.
type Config struct {
	// Issuer is the issuer identifier (RFC 8414 §2), exactly as the server
	// spells it. https, or http on a loopback address.
	Issuer string

	// Client is a registered client with a redirect URI. Without it, the
	// authorization endpoint is checked only if Register makes clients.
	Client Client
	// Other is another client with the same grant types: the checks try to use
	// with it what belongs to Client.
	Other Client
	// Machine is a confidential client that is registered for
	// client_credentials.
	Machine Client

	// Browser signs somebody in and consents; [FormBrowser] does it where the
	// pages are plain HTML forms. nil: everything that needs a code is skipped.
	Browser Browser

	// Register lets the checks register clients of their own (RFC 7591), which
	// they delete afterwards where the server offers RFC 7592. They take the
	// place of Client and Other if those are not set. nil: nothing is registered.
	Register *Registration

	// Resource is a protected resource that Client, or Machine, may get tokens
	// for (RFC 8707). Empty: resource indicators are not checked.
	Resource string

	// ReplayAfter is how long the server may go on to accept a used refresh
	// token, for parallel requests and lost answers. A repetition that is
	// accepted at once is tried again after so long, and has to be refused
	// then. 0: 11 seconds. Negative: do not wait, and skip what would need it.
	ReplayAfter time.Duration
	// Wait replaces the wait for ReplayAfter; a test that owns the server's
	// clock moves it here. nil: a timer.
	Wait func(ctx context.Context, d time.Duration) error

	// Only and Skip choose checks by name ("token/wrong-secret") or group
	// ("token"). Only empty: all. What Skip names is reported as skipped.
	Only, Skip []string
	// Strict counts what the specifications only recommend (SHOULD) as well.
	Strict bool

	// Transport sends the requests of the checks, not those of Browser.
	// nil: [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout is for one request with its answer. 0: 10 seconds.
	Timeout time.Duration
	// Now is the time by which id_tokens are judged. nil: [time.Now].
	Now func() time.Time
}

// Client is a client that is registered at the server.
type Client struct {
	ID string
	// Secret is empty for a public client.
	Secret string
	// AuthMethod is client_secret_basic, client_secret_post or none. Empty:
	// client_secret_basic with a secret, none without.
	AuthMethod string
	// RedirectURI is a registered redirect URI. Nothing needs to listen there,
	// unless Browser is a real one.
	RedirectURI string
	// PostLogoutRedirectURI is a registered one, or empty.
	PostLogoutRedirectURI string
	// Scopes are what the checks ask for; all must be registered. Empty: openid
	// where the server offers it, otherwise nothing is asked for.
	Scopes []string
	// RequirePKCE says that the server demands PKCE of this client. Of public
	// clients it is always expected.
	RequirePKCE bool
}

// Registration is what dynamic client registration needs.
type Registration struct {
	// InitialAccessToken is sent along, if the server demands one (RFC 7591 §3).
	InitialAccessToken string
	// RedirectURI of the clients that are registered. Empty:
	// https://conformance.example/callback.
	RedirectURI string
	// Scopes of the clients that are registered. Empty: openid where the server
	// offers it.
	Scopes []string
}

// The authentication methods that the checks speak (RFC 7591 §2).
const (
	authBasic = "client_secret_basic"
	authPost  = "client_secret_post"
	authNone  = "none"
)

const (
	defaultTimeout     = 10 * time.Second
	defaultReplayAfter = 11 * time.Second
	defaultRedirectURI = "https://conformance.example/callback"
	offlineAccess      = "offline_access"
)

func (c Client) method() string {
	switch {
	case c.AuthMethod != "":
		return c.AuthMethod
	case c.Secret == "":
		return authNone
	}
	return authBasic
}

func (c Client) public() bool { return c.method() == authNone }

// check names everything that is wrong with cfg at once.
func (cfg *Config) check() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf("conformance: "+format, args...)) }
	u, err := url.Parse(cfg.Issuer)
	switch {
	case err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(cfg.Issuer, "?#") || u.Scheme != "https" && u.Scheme != "http":
		wrong("Config.Issuer must be an http or https URL without user, query or fragment (RFC 8414 §2)")
	case u.Scheme == "http" && !loopback(u.Hostname()):
		wrong("Config.Issuer must be https; http is for loopback addresses only")
	}
	for name, c := range map[string]Client{"Client": cfg.Client, "Other": cfg.Other, "Machine": cfg.Machine} {
		if c.ID == "" {
			if c.Secret != "" || c.RedirectURI != "" {
				wrong("Config.%s has no ID", name)
			}
			continue
		}
		switch m := c.method(); {
		case m != authBasic && m != authPost && m != authNone:
			wrong("Config.%s.AuthMethod %q is none of client_secret_basic, client_secret_post, none", name, m)
		case (m == authNone) != (c.Secret == ""):
			wrong("Config.%s: AuthMethod %s and Secret do not fit", name, m)
		case name == "Machine" && m == authNone:
			wrong("Config.Machine has no Secret: client_credentials is for confidential clients (RFC 6749 §4.4)")
		}
		if name == "Client" && c.RedirectURI == "" {
			wrong("Config.Client has no RedirectURI; a client without one is Config.Machine")
		}
	}
	if cfg.Client.ID != "" && cfg.Client.ID == cfg.Other.ID {
		wrong("Config.Client and Config.Other are the same client")
	}
	for _, name := range append(slices.Clone(cfg.Only), cfg.Skip...) {
		if !slices.ContainsFunc(checks, func(c check) bool { return c.is(name) }) {
			wrong("there is no check or group %q", name)
		}
	}
	return errors.Join(errs...)
}

// loopback reports whether host is one that http is tolerated for.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Run checks the server and reports what every check found, in a fixed order.
// The error is about cfg alone: a server that cannot be reached is a report with
// failures. When ctx ends, the checks that are left are reported as skipped.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	r, err := newRun(cfg)
	if err != nil {
		return nil, err
	}
	report := &Report{Issuer: cfg.Issuer, Started: r.now().UTC(), Strict: cfg.Strict}
	r.prepare(ctx)
	for _, c := range checks {
		if r.chosen(c) {
			report.Results = append(report.Results, r.run(ctx, c))
		}
	}
	r.cleanUp(ctx)
	return report, nil
}

// run is one pass over a server. It is used by one goroutine.
type run struct {
	cfg     Config
	http    *http.Client
	docs    []document
	meta    members // of the first document
	fetched error   // why there is no document

	user    *Client // has a redirect URI; nil if there is none
	machine *Client // may use client_credentials
	other   *Client // somebody else
	missing string  // why there is no user

	results    map[string]Result // so far, by name
	reused     *reuse            // what refresh/replay found
	registered []*registration   // to delete at the end
}

func newRun(cfg Config) (*run, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.ReplayAfter == 0 {
		cfg.ReplayAfter = defaultReplayAfter
	}
	if cfg.Wait == nil {
		cfg.Wait = func(ctx context.Context, d time.Duration) error {
			timer := time.NewTimer(d)
			defer timer.Stop()
			select {
			case <-timer.C:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return &run{cfg: cfg, results: map[string]Result{}, http: &http.Client{
		Transport:     cfg.Transport,
		Timeout:       cfg.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (r *run) now() time.Time {
	if r.cfg.Now != nil {
		return r.cfg.Now()
	}
	return time.Now()
}

// prepare reads the metadata and finds or makes the clients.
func (r *run) prepare(ctx context.Context) {
	r.discover(ctx)
	pick := func(c Client) *Client {
		if c.ID == "" {
			return nil
		}
		c.Scopes = r.scopes(c.Scopes)
		return &c
	}
	r.user, r.other = pick(r.cfg.Client), pick(r.cfg.Other)
	if m := r.cfg.Machine; m.ID != "" {
		r.machine = &m // openid is nothing for it
	}
	r.missing = "needs a client with a redirect URI (Config.Client)"
	if r.cfg.Register != nil && r.offers("registration_endpoint") {
		if r.user == nil {
			var err error
			if r.user, err = r.registeredClient(ctx); err != nil {
				r.missing = "registering a client failed: " + err.Error()
			}
		}
		if r.other == nil {
			r.other, _ = r.registeredClient(ctx) // what needs it says that it is missing
		}
	}
}

// scopes is what to ask for.
func (r *run) scopes(configured []string) []string {
	if len(configured) == 0 && slices.Contains(r.meta.list("scopes_supported"), "openid") {
		return []string{"openid"}
	}
	return configured
}

func (r *run) chosen(c check) bool {
	return len(r.cfg.Only) == 0 || slices.ContainsFunc(r.cfg.Only, c.is)
}

// run runs one check and remembers what came of it.
func (r *run) run(ctx context.Context, c check) Result {
	began := time.Now()
	err := r.try(ctx, c)
	result := Result{Check: c.Check, Outcome: Pass, Seconds: time.Since(began).Seconds()}
	var skipped skip
	var fine note
	switch {
	case err == nil:
	case errors.As(err, &fine):
		result.Detail = string(fine)
	case errors.As(err, &skipped):
		result.Outcome, result.Detail = Skip, string(skipped)
	case ctx.Err() != nil:
		result.Outcome, result.Detail = Skip, "the run ended: "+ctx.Err().Error()
	default:
		result.Outcome, result.Detail = Fail, err.Error()
	}
	r.results[c.Name] = result
	return result
}

func (r *run) try(ctx context.Context, c check) error {
	if err := ctx.Err(); err != nil {
		return skip("the run ended: " + err.Error())
	}
	if slices.ContainsFunc(r.cfg.Skip, c.is) {
		return skip("not wanted (Config.Skip)")
	}
	for _, need := range c.needs {
		switch before := r.results[need]; before.Outcome { // empty: it did not run
		case Skip:
			return skip(before.Detail)
		case Fail:
			return skipf("needs %s, which failed", need)
		}
	}
	return c.try(ctx, r)
}

// skip is the error of a check that has nothing to judge; it says why.
type skip string

func (s skip) Error() string { return string(s) }

func skipf(format string, args ...any) error { return skip(fmt.Sprintf(format, args...)) }

// note is the "error" of a check that passed and has something to tell.
type note string

func (n note) Error() string { return string(n) }

func notef(format string, args ...any) error { return note(fmt.Sprintf(format, args...)) }

// wait waits until used tokens are no longer tolerated.
func (r *run) wait(ctx context.Context) error {
	if r.cfg.ReplayAfter < 0 {
		return skip("needs time: the server accepts a repetition at once, and may do so for a while (Config.ReplayAfter is negative)")
	}
	return r.cfg.Wait(ctx, r.cfg.ReplayAfter)
}

// endpoint is an endpoint of the metadata that may be sent secrets; a server
// without it is not checked.
func (r *run) endpoint(name string) (string, error) {
	switch e := r.meta.text(name); {
	case r.fetched != nil:
		return "", skip("there is no metadata")
	case r.meta.text("issuer") != r.cfg.Issuer:
		return "", skip("the metadata are those of another issuer, and must not be used (RFC 8414 §3.3)")
	case e == "":
		return "", skipf("not offered: the metadata have no %s", name)
	case !secure(e):
		return "", skipf("%s is neither https nor on a loopback address, and is sent nothing", name)
	default:
		return e, nil
	}
}

// offers reports whether there is an endpoint to send something to.
func (r *run) offers(name string) bool {
	_, err := r.endpoint(name)
	return err == nil
}

// secure reports whether a URL may be sent secrets: by https, or to this machine.
func secure(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Host != "" && (u.Scheme == "https" || u.Scheme == "http" && loopback(u.Hostname()))
}

// userClient is the client with a redirect URI.
func (r *run) userClient() (*Client, error) {
	if r.user == nil {
		return nil, skip(r.missing)
	}
	return r.user, nil
}

func (r *run) otherClient() (*Client, error) {
	if r.other == nil {
		return nil, skip("needs another client (Config.Other)")
	}
	return r.other, nil
}

// anyClient is one that can send requests to the token endpoint.
func (r *run) anyClient() (*Client, error) {
	switch {
	case r.user != nil && !r.user.public():
		return r.user, nil
	case r.machine != nil:
		return r.machine, nil
	case r.user != nil:
		return r.user, nil
	}
	return nil, skip("needs a client (Config.Client or Config.Machine)")
}

// confidentialClient is one that has a secret.
func (r *run) confidentialClient() (*Client, error) {
	c, err := r.anyClient()
	if err == nil && c.public() {
		return nil, skip("needs a confidential client")
	}
	return c, err
}

// grants reports whether the server offers a grant type. Metadata without the
// member mean authorization_code and implicit (RFC 8414 §2).
func (r *run) grants(name string) bool {
	if !r.meta.has("grant_types_supported") {
		return name == "authorization_code"
	}
	return slices.Contains(r.meta.list("grant_types_supported"), name)
}
