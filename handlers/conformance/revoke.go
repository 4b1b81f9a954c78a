package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

func (r *run) revoke(ctx context.Context, c *Client, token string) (*answer, error) {
	endpoint, err := r.endpoint("revocation_endpoint")
	if err != nil {
		return nil, err
	}
	return r.postAs(ctx, endpoint, c, values("token", token))
}

func revocationUnknown(ctx context.Context, r *run) error {
	c, err := r.anyClient()
	if err != nil {
		return err
	}
	a, err := r.revoke(ctx, c, unknown())
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("got %v, want status 200: the token does not work already", a)
	}
	return nil
}

func revocationAuth(ctx context.Context, r *run) error {
	c, err := r.confidentialClient()
	if err != nil {
		return err
	}
	a, err := r.revoke(ctx, c.withWrongSecret(), unknown())
	if err != nil {
		return err
	}
	return a.unauthenticated(c.method() == authBasic)
}

func revocationAccess(ctx context.Context, r *run) error {
	if _, err := r.endpoint("revocation_endpoint"); err != nil {
		return err
	}
	c, t, err := r.owned(ctx)
	if err != nil {
		return err
	}
	if !r.offers("introspection_endpoint") {
		return skip("needs introspection, to see what becomes of the token")
	}
	a, err := r.revoke(ctx, c, t.text("access_token"))
	switch {
	case err != nil:
		return err
	case a.json.text("error") == "unsupported_token_type":
		return skip("the server does not revoke access tokens (RFC 7009 §2.2.1)")
	case a.status != http.StatusOK:
		return fmt.Errorf("got %v, want status 200", a)
	}
	if a, err = r.introspect(ctx, c, t.text("access_token")); err != nil {
		return err
	}
	return a.inactive()
}

func revocationRefresh(ctx context.Context, r *run) error {
	if _, err := r.endpoint("revocation_endpoint"); err != nil {
		return err
	}
	v, t, err := r.refreshable(ctx)
	if err != nil {
		return err
	}
	a, err := r.revoke(ctx, v.client, t.text("refresh_token"))
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("got %v, want status 200", a)
	}
	if a, err = r.refresh(ctx, v.client, t); err != nil {
		return err
	}
	return a.refused("invalid_grant")
}

func revocationCascade(ctx context.Context, r *run) error {
	if _, err := r.endpoint("revocation_endpoint"); err != nil {
		return err
	}
	v, t, err := r.refreshable(ctx)
	if err != nil {
		return err
	}
	if _, err := r.alive(ctx, t); err != nil {
		return err
	}
	if _, err = r.revoke(ctx, v.client, t.text("refresh_token")); err != nil {
		return err
	}
	live, err := r.alive(ctx, t)
	if err == nil && live {
		err = errors.New("the access token of a revoked refresh token still works")
	}
	return err
}

func revocationOtherClient(ctx context.Context, r *run) error {
	if _, err := r.endpoint("revocation_endpoint"); err != nil {
		return err
	}
	other, err := r.otherClient()
	if err != nil {
		return err
	}
	v, t, err := r.refreshable(ctx)
	if err != nil {
		return err
	}
	a, err := r.revoke(ctx, other, t.text("refresh_token"))
	if err != nil {
		return err
	}
	status := a.status
	if a, err = r.refresh(ctx, v.client, t); err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return errors.New("another client could revoke the refresh token")
	}
	if status == http.StatusOK {
		return note("the token lives, but the other client was not told that its request was refused")
	}
	return nil
}
