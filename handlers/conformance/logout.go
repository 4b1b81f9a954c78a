package conformance

import (
	"context"
	"fmt"
)

func logoutUnregistered(ctx context.Context, r *run) error {
	endpoint, err := r.endpoint("end_session_endpoint")
	if err != nil {
		return err
	}
	c, err := r.userClient()
	if err != nil {
		return err
	}
	const uri = "https://attacker.example/bye"
	for _, form := range [][]string{
		{"post_logout_redirect_uri", uri},
		{"post_logout_redirect_uri", uri, "client_id", c.ID},
	} {
		a, err := r.get(ctx, authorizeURL(endpoint, values(form...)))
		if err != nil {
			return err
		}
		if to := a.location(); to != nil && leadsTo(to, uri) {
			return fmt.Errorf("got %v, want no redirect there", a)
		}
	}
	return nil
}

func logoutRedirect(ctx context.Context, r *run) error {
	endpoint, err := r.endpoint("end_session_endpoint")
	if err != nil {
		return err
	}
	c, err := r.userClient()
	if err != nil {
		return err
	}
	if c.PostLogoutRedirectURI == "" {
		return skip("needs a registered post_logout_redirect_uri (Client.PostLogoutRedirectURI)")
	}
	_, t, _, err := r.idToken(ctx)
	if err != nil {
		return err
	}
	form := values("id_token_hint", t.text("id_token"), "client_id", c.ID, "post_logout_redirect_uri", c.PostLogoutRedirectURI, "state", oddState)
	to, err := r.cfg.Browser(ctx, authorizeURL(endpoint, form), c.PostLogoutRedirectURI)
	if err != nil {
		return fmt.Errorf("the browser: %w", err)
	}
	return sameState(to.Query(), oddState)
}
