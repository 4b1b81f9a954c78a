package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

func positive(m members, name string) bool {
	var n float64
	return json.Unmarshal(m[name], &n) == nil && n > 0
}

// probe is a token request that only authentication can keep from its natural
// end: tokens for a client that may have some, invalid_grant otherwise.
func (r *run) probe(c *Client) url.Values {
	if c == r.machine {
		return values("grant_type", "client_credentials", "scope", strings.Join(c.Scopes, " "))
	}
	return values("grant_type", "authorization_code", "code", unknown(), "redirect_uri", c.RedirectURI, "code_verifier", newVerifier())
}

// unauthenticated checks for the answer to failed client authentication
// (RFC 6749 §5.2). basic: it was tried in the Authorization header.
func (a *answer) unauthenticated(basic bool, codes ...string) error {
	if err := a.refused(append(codes, "invalid_client")...); err != nil {
		return err
	}
	if a.json.text("error") != "invalid_client" {
		return nil
	}
	if a.status != http.StatusUnauthorized && (basic || a.status != http.StatusBadRequest) {
		return fmt.Errorf("got %v, want status 401", a)
	}
	if basic {
		_, err := a.challenged("Basic")
		return err
	}
	return nil
}

func tokenWrongSecret(ctx context.Context, r *run) error {
	c, err := r.confidentialClient()
	if err != nil {
		return err
	}
	a, err := r.token(ctx, c.withWrongSecret(), r.probe(c))
	if err != nil {
		return err
	}
	return a.unauthenticated(c.method() == authBasic)
}

func tokenUnknownClient(ctx context.Context, r *run) error {
	c, err := r.anyClient()
	if err != nil {
		return err
	}
	stranger := Client{ID: unknown(), Secret: unknown()}
	if slices.Contains(r.meta.list("token_endpoint_auth_methods_supported"), authPost) && c.method() == authPost {
		stranger.AuthMethod = authPost
	}
	a, err := r.token(ctx, &stranger, r.probe(c))
	if err != nil {
		return err
	}
	return a.unauthenticated(stranger.method() == authBasic)
}

func tokenNoCredentials(ctx context.Context, r *run) error {
	c, err := r.confidentialClient()
	if err != nil {
		return err
	}
	a, err := r.token(ctx, nil, with(r.probe(c), "client_id", c.ID))
	if err != nil {
		return err
	}
	return a.unauthenticated(false, "invalid_request")
}

func tokenTwoMethods(ctx context.Context, r *run) error {
	c, err := r.confidentialClient()
	if err != nil {
		return err
	}
	basic := *c
	basic.AuthMethod = authBasic
	a, err := r.token(ctx, &basic, with(r.probe(c), "client_id", c.ID, "client_secret", c.Secret))
	if err != nil {
		return err
	}
	return a.unauthenticated(false, "invalid_request")
}

func tokenQueryCredentials(ctx context.Context, r *run) error {
	c, err := r.confidentialClient()
	if err != nil {
		return err
	}
	endpoint, err := r.endpoint("token_endpoint")
	if err != nil {
		return err
	}
	a, err := r.postAs(ctx, authorizeURL(endpoint, values("client_id", c.ID, "client_secret", c.Secret)), nil, r.probe(c))
	if err != nil {
		return err
	}
	return a.unauthenticated(false, "invalid_request")
}

func tokenGet(ctx context.Context, r *run) error {
	c, err := r.anyClient()
	if err != nil {
		return err
	}
	endpoint, err := r.endpoint("token_endpoint")
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, authorizeURL(endpoint, r.probe(c)), nil)
	if err != nil {
		return err
	}
	if !c.public() {
		setBasic(req, c.ID, c.Secret)
	}
	a, err := r.send(req)
	switch {
	case err != nil:
		return err
	case a.status < 400 || a.status > 499 || a.json.text("error") == "invalid_grant":
		return fmt.Errorf("got %v, want a refusal of the method", a)
	}
	return nil
}

// refusing is a check that sends one token request with good credentials.
func refusing(form func(r *run, c *Client) url.Values, codes ...string) tryFunc {
	return func(ctx context.Context, r *run) error {
		c, err := r.anyClient()
		if err != nil {
			return err
		}
		a, err := r.token(ctx, c, form(r, c))
		if err != nil {
			return err
		}
		return a.refused(codes...)
	}
}

var (
	tokenUnsupportedGrant = refusing(func(*run, *Client) url.Values {
		return values("grant_type", "urn:conformance.example:unknown")
	}, "unsupported_grant_type")

	tokenMissingGrant = refusing(func(r *run, c *Client) url.Values {
		return with(r.probe(c), "grant_type", "")
	}, "invalid_request", "unsupported_grant_type")

	tokenRepeatedParameter = refusing(func(r *run, c *Client) url.Values {
		form := r.probe(c)
		form["grant_type"] = append(form["grant_type"], form["grant_type"]...)
		return form
	}, "invalid_request")
)

func tokenUnknownCode(ctx context.Context, r *run) error {
	c, err := r.userClient()
	if err != nil {
		return err
	}
	a, err := r.token(ctx, c, values("grant_type", "authorization_code", "code", unknown(), "redirect_uri", c.RedirectURI, "code_verifier", newVerifier()))
	if err != nil {
		return err
	}
	return a.refused("invalid_grant")
}

func tokenUnknownRefreshToken(ctx context.Context, r *run) error {
	c, err := r.userClient()
	if err != nil {
		return err
	}
	if !r.grants("refresh_token") {
		return skip("not offered: the refresh_token grant")
	}
	a, err := r.token(ctx, c, values("grant_type", "refresh_token", "refresh_token", unknown()))
	if err != nil {
		return err
	}
	return a.refused("invalid_grant", "unauthorized_client")
}

// machineToken is a token of the client_credentials grant.
func (r *run) machineToken(ctx context.Context, pairs ...string) (*answer, error) {
	if r.machine == nil {
		return nil, skip("needs a client for client_credentials (Config.Machine)")
	}
	return r.token(ctx, r.machine, with(r.probe(r.machine), pairs...))
}

func clientCredentialsToken(ctx context.Context, r *run) error {
	a, err := r.machineToken(ctx)
	if err != nil {
		return err
	}
	if err := a.hasToken(); err != nil {
		return err
	}
	return a.noStore()
}

func clientCredentialsNoRefresh(ctx context.Context, r *run) error {
	a, err := r.machineToken(ctx)
	if err != nil {
		return err
	}
	if err := a.hasToken(); err != nil {
		return err
	}
	if a.json.has("refresh_token") {
		return errors.New("the answer has a refresh token; the client can always ask again")
	}
	return nil
}

func clientCredentialsScope(ctx context.Context, r *run) error {
	scope := unknown()
	a, err := r.machineToken(ctx, "scope", scope)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return a.refused("invalid_scope")
	}
	if err := a.hasToken(); err != nil {
		return err
	}
	granted := a.json.text("scope")
	if !a.json.has("scope") { // what was asked for (RFC 6749 §5.1), or none at all
		if a, err = r.introspect(ctx, r.machine, a.json.text("access_token")); err != nil || !a.json.yes("active") {
			return errors.New("a token was issued for a scope that nobody registered, without the member scope that says what was granted instead")
		}
		granted = a.json.text("scope")
	}
	if slices.Contains(strings.Fields(granted), scope) {
		return errors.New("the client was granted a scope that nobody registered")
	}
	return nil
}

func clientCredentialsPublic(ctx context.Context, r *run) error {
	c, err := r.userClient()
	if err != nil {
		return err
	}
	if !c.public() {
		return skip("needs a public client")
	}
	a, err := r.token(ctx, c, values("grant_type", "client_credentials"))
	if err != nil {
		return err
	}
	return a.refused("unauthorized_client", "invalid_client", "unsupported_grant_type", "invalid_request")
}
