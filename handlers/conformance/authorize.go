package conformance

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
)

// oddState has what servers get wrong when they build the answer by hand; all of
// it is allowed (RFC 6749 §A.5).
const oddState = `a b+c%2F&d=e"<'>;#\~`

func newVerifier() string { return rand.Text() + rand.Text() }

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// request is a complete authorization request of c with PKCE.
func (c *Client) request(verifier string, pairs ...string) url.Values {
	form := values("response_type", "code", "client_id", c.ID, "redirect_uri", c.RedirectURI, "state", rand.Text(),
		"scope", strings.Join(c.Scopes, " "), "code_challenge", challenge(verifier), "code_challenge_method", "S256")
	if slices.Contains(c.Scopes, "openid") {
		form.Set("nonce", rand.Text())
	}
	if slices.Contains(c.Scopes, offlineAccess) {
		form.Set("prompt", "consent") // OpenID Connect Core §11
	}
	return with(form, pairs...)
}

// authorizeURL puts a request behind an endpoint that may have a query.
func authorizeURL(endpoint string, form url.Values) string {
	if strings.Contains(endpoint, "?") {
		return endpoint + "&" + form.Encode()
	}
	return endpoint + "?" + form.Encode()
}

// reply is where an authorization request ended that nobody signs in for.
type reply struct {
	// to is the redirect to a redirect URI; nil if there was none.
	to *url.URL
	// params are those of the redirect, from query or fragment.
	params url.Values
	// last is the page that the browser was left with otherwise.
	last *answer
}

func (p *reply) String() string {
	if p.to != nil {
		return fmt.Sprintf("a redirect to %s with error %q", place(p.to), p.params.Get("error"))
	}
	return fmt.Sprintf("the page %s with %v", place(p.last.request.URL), p.last)
}

// ask sends an authorization request like a browser without cookies, and follows
// redirects, but not to a redirect URI: the registered one, or that of the
// request.
func (r *run) ask(ctx context.Context, c *Client, form url.Values) (*reply, error) {
	endpoint, err := r.endpoint("authorization_endpoint")
	if err != nil {
		return nil, err
	}
	if r.meta.yes("require_pushed_authorization_requests") {
		return nil, skip("the server demands pushed authorization requests (RFC 9126)")
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	browser := *r.http
	browser.Jar = jar
	targets := append([]string{c.RedirectURI}, form["redirect_uri"]...)
	at := authorizeURL(endpoint, form)
	for range 6 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
		if err != nil {
			return nil, err
		}
		a, err := send(&browser, req)
		if err != nil {
			return nil, err
		}
		to := a.location()
		if to == nil {
			return &reply{last: a}, nil
		}
		for _, target := range targets {
			if u, err := url.Parse(target); err == nil && to.Scheme == u.Scheme && strings.EqualFold(to.Host, u.Host) && leadsThere(to, u, req.URL) {
				params := to.Query()
				if extra, err := url.ParseQuery(to.EscapedFragment()); err == nil {
					for k, v := range extra {
						params[k] = append(params[k], v...)
					}
				}
				return &reply{to: to, params: params}, nil
			}
		}
		at = to.String()
	}
	return nil, errors.New("the redirects do not end")
}

// leadsThere reports whether a redirect to the host of a redirect URI is one to
// the redirect URI. On the server's own host its pages live as well.
func leadsThere(to, target, server *url.URL) bool {
	if !strings.EqualFold(to.Host, server.Host) {
		return true
	}
	return strings.HasPrefix(to.EscapedPath(), target.EscapedPath())
}

// kept checks that nothing was sent to a redirect URI, and that the request did
// not simply go on.
func (p *reply) kept() error {
	if p.to != nil {
		return fmt.Errorf("got %v, want an error page without a redirect", p)
	}
	if p.last.status < 400 && !p.last.request.URL.Query().Has("error") {
		return fmt.Errorf("got %v, want an error page", p)
	}
	return nil
}

// refused checks that the client, or the user, was told one of the errors.
func (p *reply) refused(codes ...string) error {
	if p.to == nil {
		if p.last.status < 400 && !p.last.request.URL.Query().Has("error") {
			return fmt.Errorf("got %v, want error %s", p, strings.Join(codes, " or "))
		}
		return notef("told on a page instead of to the client: %v", p)
	}
	if p.params.Has("code") || !slices.Contains(codes, p.params.Get("error")) {
		return fmt.Errorf("got %v, want error %s", p, strings.Join(codes, " or "))
	}
	return nil
}

// asking is a check that sends one authorization request and judges the reply.
func asking(form func(c *Client) url.Values, judge func(*reply) error) tryFunc {
	return func(ctx context.Context, r *run) error {
		c, err := r.userClient()
		if err != nil {
			return err
		}
		p, err := r.ask(ctx, c, form(c))
		if err != nil {
			return err
		}
		return judge(p)
	}
}

func refusedWith(codes ...string) func(*reply) error {
	return func(p *reply) error { return p.refused(codes...) }
}

var (
	authorizeUnknownClient = asking(func(c *Client) url.Values {
		return c.request(newVerifier(), "client_id", unknown())
	}, (*reply).kept)

	authorizeUnregisteredRedirect = asking(func(c *Client) url.Values {
		return c.request(newVerifier(), "redirect_uri", "https://attacker.example/callback")
	}, (*reply).kept)

	authorizeFragmentRedirect = asking(func(c *Client) url.Values {
		return c.request(newVerifier(), "redirect_uri", c.RedirectURI+"#fragment")
	}, (*reply).kept)

	authorizeMissingResponseType = asking(func(c *Client) url.Values {
		return c.request(newVerifier(), "response_type", "")
	}, refusedWith("invalid_request", "unsupported_response_type"))

	authorizeUnsupportedResponseType = asking(func(c *Client) url.Values {
		return c.request(newVerifier(), "response_type", "conformance")
	}, refusedWith("unsupported_response_type", "invalid_request", "unauthorized_client"))

	authorizeRepeatedParameter = asking(func(c *Client) url.Values {
		form := c.request(newVerifier())
		form["code_challenge_method"] = []string{"S256", "S256"}
		return form
	}, refusedWith("invalid_request"))
)

// Exact string comparison: everything that is merely close is another URI.
func authorizeExactRedirect(ctx context.Context, r *run) error {
	c, err := r.userClient()
	if err != nil {
		return err
	}
	var errs []error
	for _, near := range nearURIs(c.RedirectURI) {
		p, err := r.ask(ctx, c, c.request(newVerifier(), "redirect_uri", near))
		if err == nil {
			err = p.kept()
		}
		var skipped skip
		if errors.As(err, &skipped) {
			return err
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", near, err))
		}
	}
	return errors.Join(errs...)
}

// nearURIs are URIs that a prefix, a substring or a forgiving comparison takes
// for uri. Ports are left alone: on loopback they may vary (RFC 8252 §7.3).
func nearURIs(uri string) []string {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" {
		return []string{uri + "/conformance"}
	}
	edit := func(f func(*url.URL)) string {
		v := *u
		f(&v)
		return v.String()
	}
	near := []string{
		edit(func(v *url.URL) { v.Path, v.RawPath = v.Path+"/conformance", "" }),
		edit(func(v *url.URL) { v.Path, v.RawPath = strings.TrimSuffix(v.Path, "/")+"/../conformance", "" }),
		edit(func(v *url.URL) { v.RawQuery = strings.TrimPrefix(v.RawQuery+"&conformance=1", "&") }),
		edit(func(v *url.URL) { v.User = url.User("conformance") }),
		edit(func(v *url.URL) { v.Host = "conformance." + v.Host }),
		edit(func(v *url.URL) { v.Host = v.Hostname() + ".attacker.example" }),
	}
	if strings.HasSuffix(u.Path, "/") {
		return append(near, strings.TrimSuffix(uri, "/"))
	}
	return append(near, edit(func(v *url.URL) { v.Path, v.RawPath = v.Path+"/", "" }))
}

func authorizeRepeatedRedirect(ctx context.Context, r *run) error {
	c, err := r.userClient()
	if err != nil {
		return err
	}
	for _, uris := range [][]string{{c.RedirectURI, "https://attacker.example/callback"}, {"https://attacker.example/callback", c.RedirectURI}} {
		form := c.request(newVerifier())
		form["redirect_uri"] = uris
		p, err := r.ask(ctx, c, form)
		if err != nil {
			return err
		}
		if p.to != nil && p.to.Host == "attacker.example" {
			return fmt.Errorf("got %v, want an error", p)
		}
		if p.to == nil {
			if err := p.kept(); err != nil {
				return err
			}
		} else if p.params.Get("error") == "" {
			return fmt.Errorf("got %v, want an error", p)
		}
	}
	return nil
}

func authorizePlain(ctx context.Context, r *run) error {
	if slices.Contains(r.meta.list("code_challenge_methods_supported"), "plain") {
		return skip("the server offers plain (metadata/plain)")
	}
	return asking(func(c *Client) url.Values {
		v := newVerifier()
		return c.request(v, "code_challenge", v, "code_challenge_method", "plain")
	}, refusedWith("invalid_request"))(ctx, r)
}

func authorizeMissingPKCE(ctx context.Context, r *run) error {
	c, err := r.userClient()
	if err != nil {
		return err
	}
	if !c.public() && !c.RequirePKCE {
		return skip("nobody said that the client must use PKCE (Client.RequirePKCE)")
	}
	return asking(func(c *Client) url.Values {
		return c.request("", "code_challenge", "", "code_challenge_method", "")
	}, refusedWith("invalid_request"))(ctx, r)
}

// errorReply provokes an error that is sent to the client.
func (r *run) errorReply(ctx context.Context, pairs ...string) (*reply, error) {
	c, err := r.userClient()
	if err != nil {
		return nil, err
	}
	for _, provoke := range [][]string{{"response_type", "conformance"}, {"code_challenge_method", "conformance"}, {"prompt", "none"}} {
		p, err := r.ask(ctx, c, with(c.request(newVerifier(), provoke...), pairs...))
		if err != nil {
			return nil, err
		}
		if p.to != nil && p.params.Get("error") != "" {
			return p, nil
		}
	}
	return nil, skip("the server sent no error to the client that this could be seen in")
}

func authorizeState(ctx context.Context, r *run) error {
	p, err := r.errorReply(ctx, "state", oddState)
	if err != nil {
		return err
	}
	return sameState(p.params, oddState)
}

func sameState(got url.Values, want string) error {
	if s := got["state"]; len(s) != 1 || s[0] != want {
		return fmt.Errorf("got state %q, want %q", s, want)
	}
	return nil
}

func authorizeIss(ctx context.Context, r *run) error {
	if !r.meta.yes("authorization_response_iss_parameter_supported") {
		return skip("not offered: authorization_response_iss_parameter_supported")
	}
	p, err := r.errorReply(ctx)
	if err != nil {
		return err
	}
	return r.sameIss(p.params)
}

func (r *run) sameIss(got url.Values) error {
	if iss := got["iss"]; len(iss) != 1 || iss[0] != r.cfg.Issuer {
		return fmt.Errorf("got iss %q, want %q", iss, r.cfg.Issuer)
	}
	return nil
}

func authorizePromptNone(ctx context.Context, r *run) error {
	c, err := r.userClient()
	if err != nil {
		return err
	}
	if !slices.Contains(c.Scopes, "openid") {
		return skip("the client does not ask for openid")
	}
	p, err := r.ask(ctx, c, c.request(newVerifier(), "prompt", "none"))
	if err != nil {
		return err
	}
	if p.to == nil {
		return fmt.Errorf("got %v, want a redirect to the client with login_required", p)
	}
	return p.refused("login_required", "interaction_required", "account_selection_required", "consent_required")
}

// The page that a person is led to cannot be put into somebody else's frame.
func authorizeFraming(ctx context.Context, r *run) error {
	c, err := r.userClient()
	if err != nil {
		return err
	}
	p, err := r.ask(ctx, c, c.request(newVerifier()))
	if err != nil {
		return err
	}
	if p.to != nil || p.last.status != http.StatusOK {
		return fmt.Errorf("got %v, want a page to sign in", p)
	}
	xfo := strings.ToUpper(p.last.header.Get("X-Frame-Options"))
	if xfo == "DENY" || xfo == "SAMEORIGIN" || strings.Contains(strings.Join(p.last.header.Values("Content-Security-Policy"), ";"), "frame-ancestors") {
		return nil
	}
	return fmt.Errorf("%s has neither frame-ancestors in Content-Security-Policy nor X-Frame-Options", place(p.last.request.URL))
}

func authorizeCORS(ctx context.Context, r *run) error {
	c, err := r.userClient()
	if err != nil {
		return err
	}
	endpoint, err := r.endpoint("authorization_endpoint")
	if err != nil {
		return err
	}
	a, err := r.get(ctx, authorizeURL(endpoint, c.request(newVerifier())), "Origin", "https://attacker.example")
	if err != nil {
		return err
	}
	if got := a.header.Get("Access-Control-Allow-Origin"); got != "" {
		return fmt.Errorf("got Access-Control-Allow-Origin %q, want none", got)
	}
	return nil
}
