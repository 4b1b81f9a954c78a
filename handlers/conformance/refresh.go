package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// refreshable is the tokens of a new grant, with a refresh token.
func (r *run) refreshable(ctx context.Context, pairs ...string) (*visit, members, error) {
	if !r.grants("refresh_token") {
		return nil, nil, skip("not offered: the refresh_token grant")
	}
	v, t, err := r.tokens(ctx, pairs...)
	if err != nil {
		return nil, nil, err
	}
	if t.text("refresh_token") == "" {
		return nil, nil, skip("the client gets no refresh token (is offline_access missing in Client.Scopes?)")
	}
	return v, t, nil
}

func (r *run) refresh(ctx context.Context, c *Client, t members, pairs ...string) (*answer, error) {
	return r.token(ctx, c, with(values("grant_type", "refresh_token", "refresh_token", t.text("refresh_token")), pairs...))
}

func refreshFlow(ctx context.Context, r *run) error {
	v, t, err := r.refreshable(ctx)
	if err != nil {
		return err
	}
	a, err := r.refresh(ctx, v.client, t)
	if err != nil {
		return err
	}
	if err := a.hasToken(); err != nil {
		return err
	}
	if a.json.text("access_token") == t.text("access_token") {
		return errors.New("the access token is the old one")
	}
	return nil
}

// rotated refreshes once and returns both generations. The second is nil if the
// server keeps the refresh token.
func (r *run) rotated(ctx context.Context) (v *visit, before, after members, err error) {
	v, before, err = r.refreshable(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	a, err := r.refresh(ctx, v.client, before)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := a.hasToken(); err != nil {
		return nil, nil, nil, err
	}
	if next := a.json.text("refresh_token"); next == "" || next == before.text("refresh_token") {
		return v, before, nil, nil
	}
	return v, before, a.json, nil
}

func refreshRotation(ctx context.Context, r *run) error {
	v, _, after, err := r.rotated(ctx)
	switch {
	case err != nil:
		return err
	case after != nil:
		return nil
	case !v.client.public():
		return note("the refresh token stays the same, which a confidential client may do with")
	}
	return errors.New("the refresh token of a public client stays the same: nobody notices when it is stolen")
}

// reuse is a grant whose first refresh token was used twice.
type reuse struct {
	client *Client
	after  members // the tokens of the first use
}

// replayed uses a refresh token twice, until the second use is refused.
func (r *run) replayed(ctx context.Context) (*reuse, error) {
	v, before, after, err := r.rotated(ctx)
	if err != nil {
		return nil, err
	}
	if after == nil {
		return nil, skip("the server does not rotate refresh tokens")
	}
	for waited := false; ; waited = true {
		a, err := r.refresh(ctx, v.client, before)
		switch {
		case err != nil:
			return nil, err
		case a.status != http.StatusOK:
			return &reuse{v.client, after}, a.refused("invalid_grant")
		case waited:
			return nil, fmt.Errorf("a refresh token that was used %v ago still gives tokens", r.cfg.ReplayAfter)
		}
		if err := r.wait(ctx); err != nil {
			return nil, err
		}
	}
}

func refreshReplay(ctx context.Context, r *run) (err error) {
	r.reused, err = r.replayed(ctx)
	return err
}

// When a refresh token comes back, one of two holders is a thief, and nobody can
// tell which: the successor ends as well.
func refreshReplayRevokes(ctx context.Context, r *run) error {
	used := r.reused // of refresh/replay: the wait is long
	if used == nil {
		var err error
		if used, err = r.replayed(ctx); err != nil {
			return err
		}
	}
	a, err := r.refresh(ctx, used.client, used.after)
	if err != nil {
		return err
	}
	if a.status == http.StatusOK {
		return errors.New("the successor of a refresh token that was used twice still gives tokens")
	}
	return a.refused("invalid_grant")
}

func refreshOtherClient(ctx context.Context, r *run) error {
	other, err := r.otherClient()
	if err != nil {
		return err
	}
	_, t, err := r.refreshable(ctx)
	if err != nil {
		return err
	}
	a, err := r.refresh(ctx, other, t)
	if err != nil {
		return err
	}
	return a.refused("invalid_grant", "unauthorized_client")
}

// optional is a scope of the client that a flow can do without.
func (c *Client) optional() (string, error) {
	for _, s := range c.Scopes {
		if s != "openid" && s != offlineAccess {
			return s, nil
		}
	}
	return "", skip("needs a client with a scope beside openid and offline_access (Client.Scopes)")
}

func without(scopes []string, scope string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(scopes), func(s string) bool { return s == scope }), " ")
}

// narrowed is the client, a scope that it can do without, and its others.
func (r *run) narrowed() (c *Client, extra, narrow string, err error) {
	if c, err = r.userClient(); err != nil {
		return nil, "", "", err
	}
	if extra, err = c.optional(); err != nil {
		return nil, "", "", err
	}
	if narrow = without(c.Scopes, extra); narrow == "" {
		return nil, "", "", skip("needs a client with two scopes (Client.Scopes)")
	}
	return c, extra, narrow, nil
}

func refreshNarrow(ctx context.Context, r *run) error {
	c, extra, narrow, err := r.narrowed()
	if err != nil {
		return err
	}
	_, t, err := r.refreshable(ctx)
	if err != nil {
		return err
	}
	a, err := r.refresh(ctx, c, t, "scope", narrow)
	if err != nil {
		return err
	}
	if err := a.hasToken(); err != nil {
		return err
	}
	if got := strings.Fields(a.json.text("scope")); slices.Contains(got, extra) {
		return fmt.Errorf("asked for scope %q, got %q", narrow, a.json.text("scope"))
	}
	return nil
}

func refreshWiden(ctx context.Context, r *run) error {
	c, extra, narrow, err := r.narrowed()
	if err != nil {
		return err
	}
	_, t, err := r.refreshable(ctx, "scope", narrow)
	if err != nil {
		return err
	}
	if slices.Contains(strings.Fields(t.text("scope")), extra) {
		return fmt.Errorf("asked authorize for scope %q, got %q", narrow, t.text("scope"))
	}
	a, err := r.refresh(ctx, c, t, "scope", narrow+" "+extra)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return a.refused("invalid_scope")
	}
	if got := strings.Fields(a.json.text("scope")); slices.Contains(got, extra) || len(got) == 0 {
		return fmt.Errorf("granted was scope %q; a refresh that asked for %q as well got %q", narrow, extra, a.json.text("scope"))
	}
	return nil
}
