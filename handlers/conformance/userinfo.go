package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

func (r *run) userinfo(ctx context.Context, token string) (*answer, error) {
	endpoint, err := r.endpoint("userinfo_endpoint")
	if err != nil {
		return nil, err
	}
	if token == "" {
		return r.get(ctx, endpoint)
	}
	return r.get(ctx, endpoint, "Authorization", "Bearer "+token)
}

func userinfoChallenge(ctx context.Context, r *run) error {
	a, err := r.userinfo(ctx, "")
	if err != nil {
		return err
	}
	_, cerr := a.challenged("Bearer")
	switch {
	case a.status != http.StatusUnauthorized:
		return fmt.Errorf("got %v without a token, want status 401", a)
	case cerr != nil:
		return cerr
	}
	return nil
}

func userinfoInvalidToken(ctx context.Context, r *run) error {
	a, err := r.userinfo(ctx, unknown())
	if err != nil {
		return err
	}
	if a.status != http.StatusUnauthorized {
		return fmt.Errorf("got %v with an unknown token, want status 401", a)
	}
	params, err := a.challenged("Bearer")
	if err != nil {
		return err
	}
	if !strings.Contains(params, `error="invalid_token"`) {
		return fmt.Errorf("got the challenge %q, want error=\"invalid_token\" in it", params)
	}
	return nil
}

func userinfoSubject(ctx context.Context, r *run) error {
	if _, err := r.endpoint("userinfo_endpoint"); err != nil {
		return err
	}
	_, t, claims, err := r.idToken(ctx)
	if err != nil {
		return err
	}
	a, err := r.userinfo(ctx, t.text("access_token"))
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return fmt.Errorf("got %v, want status 200", a)
	}
	said := a.json
	if contentType(a.header) == "application/jwt" { // §5.3.2
		if said, _, err = r.verify(ctx, string(a.body)); err != nil {
			return err
		}
	}
	if sub := said.text("sub"); sub == "" || sub != claims.text("sub") {
		return fmt.Errorf("got sub %q, and %q in the id_token", sub, claims.text("sub"))
	}
	return nil
}

func userinfoQueryToken(ctx context.Context, r *run) error {
	endpoint, err := r.endpoint("userinfo_endpoint")
	if err != nil {
		return err
	}
	_, t, _, err := r.idToken(ctx)
	if err != nil {
		return err
	}
	a, err := r.get(ctx, authorizeURL(endpoint, values("access_token", t.text("access_token"))))
	if err != nil {
		return err
	}
	if a.status < 400 {
		return errors.New("an access token in the query is accepted, where logs and histories keep it")
	}
	return nil
}
