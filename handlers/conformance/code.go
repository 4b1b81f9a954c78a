package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// visit is one walk through sign-in and consent.
type visit struct {
	client   *Client
	request  url.Values
	verifier string
	params   url.Values // what the client was sent
}

// walk takes an authorization request of the client through the browser.
func (r *run) walk(ctx context.Context, pairs ...string) (*visit, error) {
	c, err := r.userClient()
	if err != nil {
		return nil, err
	}
	endpoint, err := r.endpoint("authorization_endpoint")
	if err != nil {
		return nil, err
	}
	switch {
	case r.cfg.Browser == nil:
		return nil, skip("needs somebody who signs in (Config.Browser)")
	case r.meta.yes("require_pushed_authorization_requests"):
		return nil, skip("the server demands pushed authorization requests (RFC 9126)")
	}
	v := &visit{client: c, verifier: newVerifier()}
	v.request = c.request(v.verifier, pairs...)
	to, err := r.cfg.Browser(ctx, authorizeURL(endpoint, v.request), c.RedirectURI)
	if err != nil {
		return nil, fmt.Errorf("the browser: %w", err)
	}
	v.params = to.Query()
	return v, nil
}

// code is walk with a code at its end.
func (r *run) code(ctx context.Context, pairs ...string) (*visit, error) {
	v, err := r.walk(ctx, pairs...)
	if err != nil {
		return nil, err
	}
	if v.params.Get("code") == "" {
		return nil, fmt.Errorf("the client was sent error %q (%s), want a code", v.params.Get("error"), v.params.Get("error_description"))
	}
	return v, nil
}

// redemption is the token request for a code.
func (v *visit) redemption(pairs ...string) url.Values {
	return with(values("grant_type", "authorization_code", "code", v.params.Get("code"),
		"redirect_uri", v.request.Get("redirect_uri"), "code_verifier", v.verifier), pairs...)
}

func (r *run) token(ctx context.Context, c *Client, form url.Values) (*answer, error) {
	endpoint, err := r.endpoint("token_endpoint")
	if err != nil {
		return nil, err
	}
	return r.postAs(ctx, endpoint, c, form)
}

// tokens takes a whole code flow.
func (r *run) tokens(ctx context.Context, pairs ...string) (*visit, members, error) {
	v, err := r.code(ctx, pairs...)
	if err != nil {
		return nil, nil, err
	}
	a, err := r.token(ctx, v.client, v.redemption())
	if err != nil {
		return nil, nil, err
	}
	if err := a.hasToken(); err != nil {
		return nil, nil, err
	}
	return v, a.json, nil
}

// hasToken checks a token response (RFC 6749 §5.1).
func (a *answer) hasToken() error {
	if a.status != http.StatusOK {
		return fmt.Errorf("got %v, want status 200 with a token", a)
	}
	if err := a.isJSON(); err != nil {
		return err
	}
	if a.json.text("access_token") == "" || a.json.text("token_type") == "" {
		return fmt.Errorf("got %v, want access_token and token_type", a)
	}
	return nil
}

func codeFlow(ctx context.Context, r *run) error {
	_, _, err := r.tokens(ctx)
	return err
}

func codeTokenType(ctx context.Context, r *run) error {
	_, t, err := r.tokens(ctx)
	if err != nil {
		return err
	}
	if !strings.EqualFold(t.text("token_type"), "Bearer") {
		return fmt.Errorf("got token_type %q, want Bearer", t.text("token_type"))
	}
	if t.has("expires_in") && !positive(t, "expires_in") {
		return fmt.Errorf("got expires_in %s, want a positive number of seconds", t["expires_in"])
	}
	return nil
}

func codeState(ctx context.Context, r *run) error {
	v, err := r.code(ctx, "state", oddState)
	if err != nil {
		return err
	}
	return sameState(v.params, oddState)
}

func codeIss(ctx context.Context, r *run) error {
	if !r.meta.yes("authorization_response_iss_parameter_supported") {
		return skip("not offered: authorization_response_iss_parameter_supported")
	}
	v, err := r.code(ctx)
	if err != nil {
		return err
	}
	return r.sameIss(v.params)
}

func codeNoStore(ctx context.Context, r *run) error {
	v, err := r.code(ctx)
	if err != nil {
		return err
	}
	a, err := r.token(ctx, v.client, v.redemption())
	if err != nil {
		return err
	}
	if err := a.hasToken(); err != nil {
		return err
	}
	return a.noStore()
}

func codeReplay(ctx context.Context, r *run) error {
	v, _, err := r.tokens(ctx)
	if err != nil {
		return err
	}
	a, err := r.token(ctx, v.client, v.redemption())
	if err != nil {
		return err
	}
	return a.refused("invalid_grant")
}

func codeReplayRevokes(ctx context.Context, r *run) error {
	v, t, err := r.tokens(ctx)
	if err != nil {
		return err
	}
	if _, err := r.alive(ctx, t); err != nil {
		return err // a skip: nothing tells
	}
	for waited := false; ; waited = true {
		if _, err := r.token(ctx, v.client, v.redemption()); err != nil {
			return err
		}
		live, err := r.alive(ctx, t)
		switch {
		case err != nil:
			return err
		case !live:
			return nil
		case waited:
			return errors.New("the access token that came out of the code still works after the code was used again")
		}
		if err := r.wait(ctx); err != nil {
			return err
		}
	}
}

// codeRace: requests can arrive together; one of them wins.
func codeRace(ctx context.Context, r *run) error {
	v, err := r.code(ctx)
	if err != nil {
		return err
	}
	const callers = 6
	var mu sync.Mutex
	var errs []error
	won := 0
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			a, err := r.token(ctx, v.client, v.redemption())
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				errs = append(errs, err)
			case a.status == http.StatusOK:
				won++
			case a.status >= 500:
				errs = append(errs, fmt.Errorf("got %v, want invalid_grant", a))
			}
		})
	}
	wg.Wait()
	if won != 1 {
		errs = append(errs, fmt.Errorf("%d of %d requests that were sent together got tokens for one code, want 1", won, callers))
	}
	return errors.Join(errs...)
}

// redeeming is a check that sends a changed token request for a new code.
func redeeming(change func(*visit) url.Values, codes ...string) tryFunc {
	return func(ctx context.Context, r *run) error {
		v, err := r.code(ctx)
		if err != nil {
			return err
		}
		a, err := r.token(ctx, v.client, change(v))
		if err != nil {
			return err
		}
		return a.refused(codes...)
	}
}

var (
	codeWrongVerifier = redeeming(func(v *visit) url.Values {
		return v.redemption("code_verifier", newVerifier())
	}, "invalid_grant")

	codeMissingVerifier = redeeming(func(v *visit) url.Values {
		return v.redemption("code_verifier", "")
	}, "invalid_grant", "invalid_request")

	codeWrongRedirect = redeeming(func(v *visit) url.Values {
		return v.redemption("redirect_uri", "https://attacker.example/callback")
	}, "invalid_grant", "invalid_request")

	codeMissingRedirect = redeeming(func(v *visit) url.Values {
		return v.redemption("redirect_uri", "")
	}, "invalid_grant", "invalid_request")
)

// A stranger who saw the code cannot spoil it for its owner.
func codeSurvivesWrongVerifier(ctx context.Context, r *run) error {
	v, err := r.code(ctx)
	if err != nil {
		return err
	}
	if _, err := r.token(ctx, v.client, v.redemption("code_verifier", newVerifier())); err != nil {
		return err
	}
	a, err := r.token(ctx, v.client, v.redemption())
	if err != nil {
		return err
	}
	if err := a.hasToken(); err != nil {
		return fmt.Errorf("after a try with a wrong verifier the right one: %w", err)
	}
	return nil
}

// A verifier that nobody announced means that somebody took the challenge away.
func codeDowngrade(ctx context.Context, r *run) error {
	c, err := r.userClient()
	if err != nil {
		return err
	}
	if c.public() || c.RequirePKCE {
		return skip("the client must use PKCE (authorize/pkce-missing)")
	}
	v, err := r.walk(ctx, "code_challenge", "", "code_challenge_method", "")
	if err != nil {
		return err
	}
	if v.params.Get("code") == "" {
		return skip("the server demands PKCE of this client")
	}
	a, err := r.token(ctx, v.client, v.redemption())
	if err != nil {
		return err
	}
	return a.refused("invalid_grant", "invalid_request")
}

func codeOtherClient(ctx context.Context, r *run) error {
	other, err := r.otherClient()
	if err != nil {
		return err
	}
	v, err := r.code(ctx)
	if err != nil {
		return err
	}
	a, err := r.token(ctx, other, v.redemption())
	if err != nil {
		return err
	}
	return a.refused("invalid_grant", "unauthorized_client")
}

// alive reports whether an access token is good, by introspection or userinfo.
func (r *run) alive(ctx context.Context, t members) (bool, error) {
	if r.user != nil && !r.user.public() && r.offers("introspection_endpoint") && r.results["introspection/active"].Outcome != Fail {
		a, err := r.postAs(ctx, r.meta.text("introspection_endpoint"), r.user, values("token", t.text("access_token")))
		if err != nil {
			return false, err
		}
		if a.status == http.StatusOK && a.json.has("active") {
			return a.json.yes("active"), nil
		}
	}
	if r.user != nil && r.offers("userinfo_endpoint") && slices.Contains(r.user.Scopes, "openid") {
		a, err := r.get(ctx, r.meta.text("userinfo_endpoint"), "Authorization", "Bearer "+t.text("access_token"))
		if err != nil {
			return false, err
		}
		return a.status == http.StatusOK, nil
	}
	return false, skip("needs introspection or userinfo, to see whether a token works")
}
