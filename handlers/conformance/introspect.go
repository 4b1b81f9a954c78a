package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// owned is an access token and the confidential client it belongs to.
func (r *run) owned(ctx context.Context) (*Client, members, error) {
	if r.user != nil && !r.user.public() && r.cfg.Browser != nil && r.results["code/flow"].Outcome != Fail {
		_, t, err := r.tokens(ctx)
		return r.user, t, err
	}
	if r.machine == nil {
		return nil, nil, skip("needs a token of a confidential client (Config.Machine, or Config.Client with Config.Browser)")
	}
	a, err := r.machineToken(ctx)
	if err != nil {
		return nil, nil, err
	}
	return r.machine, a.json, a.hasToken()
}

func (r *run) introspect(ctx context.Context, c *Client, token string) (*answer, error) {
	endpoint, err := r.endpoint("introspection_endpoint")
	if err != nil {
		return nil, err
	}
	return r.postAs(ctx, endpoint, c, values("token", token))
}

func introspectionAuth(ctx context.Context, r *run) error {
	c, err := r.confidentialClient()
	if err != nil {
		return err
	}
	wrong := Client{ID: c.ID, Secret: c.Secret, AuthMethod: c.AuthMethod}
	for _, as := range []*Client{nil, wrong.withWrongSecret()} {
		a, err := r.introspect(ctx, as, unknown())
		if err != nil {
			return err
		}
		if a.status < 400 || a.status > 499 {
			return fmt.Errorf("got %v without good credentials, want 401", a)
		}
	}
	return nil
}

func introspectionActive(ctx context.Context, r *run) error {
	if _, err := r.endpoint("introspection_endpoint"); err != nil {
		return err
	}
	c, t, err := r.owned(ctx)
	if err != nil {
		return err
	}
	a, err := r.introspect(ctx, c, t.text("access_token"))
	switch {
	case err != nil:
		return err
	case a.status != http.StatusOK:
		return fmt.Errorf("got %v, want status 200", a)
	case a.isJSON() != nil:
		return a.isJSON()
	case !a.json.yes("active"):
		return errors.New("a new access token is not active to the client it was issued to")
	}
	if id := a.json.text("client_id"); id != "" && id != c.ID {
		return fmt.Errorf("got client_id %q, want %q", id, c.ID)
	}
	if iss := a.json.text("iss"); iss != "" && iss != r.cfg.Issuer {
		return fmt.Errorf("got iss %q, want %q", iss, r.cfg.Issuer)
	}
	return nil
}

func introspectionUnknown(ctx context.Context, r *run) error {
	c, err := r.confidentialClient()
	if err != nil {
		return err
	}
	a, err := r.introspect(ctx, c, unknown())
	if err != nil {
		return err
	}
	return a.inactive()
}

// inactive checks for {"active": false} and nothing more.
func (a *answer) inactive() error {
	if a.status != http.StatusOK {
		return fmt.Errorf("got %v, want status 200 with active false", a)
	}
	if err := a.isJSON(); err != nil {
		return err
	}
	var active *bool
	if json.Unmarshal(a.json["active"], &active) != nil || active == nil || *active {
		return fmt.Errorf("got active %s, want false", a.json["active"])
	}
	if len(a.json) > 1 {
		return fmt.Errorf("got %v, want active alone: the rest tells about a token that does not work", a)
	}
	return nil
}
