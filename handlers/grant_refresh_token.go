package handlers

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// refreshGrant redeems refresh tokens (RFC 6749 §6). Every use rotates: the old
// token yields successors for the store's short grace window, so that parallel
// tabs and lost answers survive; used after it, the whole grant is revoked
// (RFC 9700 §4.14.2).
type refreshGrant struct{ s *Server }

func (g *refreshGrant) check(ctx context.Context, r fosite.AccessRequester) error {
	s, form, client := g.s, r.GetRequestForm(), registered(r)
	token, asked, serr := sentRefresh(form)
	if serr != nil {
		return serr
	}
	signature := s.engine.tokens.refreshSignature(token)
	if signature == "" {
		return invalidRefreshToken()
	}
	stored, err := s.store.GetRefreshTokenSession(ctx, signature, NewSession())
	switch {
	case errors.Is(err, fosite.ErrInactiveToken):
		if stored == nil || !sameClient(stored, client) {
			return invalidRefreshToken()
		}
		return s.revokeReplayed(ctx, stored, "refresh token")
	case isNotFound(err):
		return invalidRefreshToken()
	case err != nil:
		return err
	}
	session, ok := stored.GetSession().(*Session)
	switch {
	case !ok:
		return serverError(errors.New("the store returned a session of another type"))
	case !sameClient(stored, client):
		return invalidRefreshToken()
	case !s.now().Before(session.GetExpiresAt(fosite.RefreshToken)), !s.now().Before(session.RefreshUntil):
		return invalidRefreshToken()
	}
	for _, scope := range asked {
		if !slices.Contains(stored.GetGrantedScopes(), scope) {
			return invalidScope("The scope was not granted: " + scope + ".")
		}
	}
	return s.adopt(ctx, r, stored, session, asked)
}

// sentRefresh is what a token request redeems a refresh token by, whatever the
// token is: asked are the scopes that it narrows the grant to.
func sentRefresh(form url.Values) (token string, asked []string, err *Error) {
	if token = form.Get("refresh_token"); token == "" {
		return "", nil, invalidRequest("The refresh_token parameter is missing.")
	}
	asked, err = parseScope(form.Get("scope"))
	return token, asked, err
}

func (g *refreshGrant) issue(ctx context.Context, r fosite.AccessRequester, resp fosite.AccessResponder) error {
	s := g.s
	session := r.GetSession().(*Session)
	t, err := s.newTokens(ctx, r, true)
	if err != nil {
		return err
	}
	signature := s.engine.tokens.refreshSignature(r.GetRequestForm().Get("refresh_token"))
	err = s.inTransaction(ctx, func(ctx context.Context) error {
		if err := s.store.RotateRefreshToken(ctx, r.GetID(), signature); err != nil {
			return err
		}
		return t.store(ctx, s.store, session)
	})
	switch {
	case err == nil:
		s.emitTokens(ctx, oauthreg.GrantRefreshToken, t.access, true)
		t.respond(resp)
		return nil
	case errors.Is(err, fosite.ErrInactiveToken), errors.Is(err, oauthreg.ErrConsumed), isNotFound(err):
		return invalidRefreshToken().because(err) // too many repetitions, or revoked meanwhile
	default:
		return err
	}
}

func invalidRefreshToken() *Error {
	return invalidGrant("The refresh token is invalid, expired, or was used before.")
}
