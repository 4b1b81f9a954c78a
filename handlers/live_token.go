package handlers

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/handlers/bearer"
)

// liveToken is a token that works now.
type liveToken struct {
	kind    fosite.TokenType // access_token or refresh_token
	request fosite.Requester
	session *Session
	expires time.Time
}

// liveToken finds an access or refresh token. nil means that it does not work:
// made up, unknown, expired, revoked, used up, or its grant, client or user may
// no longer. An error means that it cannot be told now.
func (s *Server) liveToken(r *http.Request, token string) (*liveToken, error) {
	return s.findToken(r.Context(), token, fosite.AccessToken, fosite.RefreshToken)
}

func (s *Server) findToken(ctx context.Context, token string, kinds ...fosite.TokenType) (*liveToken, error) {
	t := &liveToken{kind: fosite.AccessToken}
	var err error
	if strings.HasPrefix(token, prefixRefresh) {
		t.kind = fosite.RefreshToken
	}
	if !slices.Contains(kinds, t.kind) {
		return nil, nil
	}
	switch t.kind {
	case fosite.RefreshToken:
		signature := s.engine.tokens.refreshSignature(token)
		if signature == "" {
			return nil, nil
		}
		t.request, err = s.store.GetRefreshTokenSession(ctx, signature, NewSession())
	default:
		signature := s.engine.tokens.accessSignature(token)
		if signature == "" {
			return nil, nil
		}
		t.request, err = s.store.GetAccessTokenSession(ctx, signature, NewSession())
	}
	switch {
	case isNotFound(err), errors.Is(err, fosite.ErrInactiveToken):
		return nil, nil
	case err != nil:
		return nil, err
	}
	session, ok := t.request.GetSession().(*Session)
	if !ok {
		return nil, serverError(errors.New("the store returned a session of another type"))
	}
	t.session, t.expires = session, session.GetExpiresAt(t.kind)
	if !s.now().Before(t.expires) {
		return nil, nil
	}
	if !session.ForClient {
		if err := s.checkUser(ctx, session.Subject); err != nil {
			if isUserGone(err) {
				return nil, nil
			}
			return nil, err
		}
	}
	return t, nil
}

// Verifier checks access tokens of this server in the same process, for
// [bearer.Middleware]: opaque ones and JWTs, both against the store, so that
// revocation, suspension and deletion count at once.
func (s *Server) Verifier() bearer.Verifier { return verifier{s} }

type verifier struct{ s *Server }

// Verify is part of [bearer.Verifier].
func (v verifier) Verify(ctx context.Context, token string) (*bearer.Token, error) {
	t, err := v.s.findToken(ctx, token, fosite.AccessToken)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, bearer.ErrInvalidToken
	}
	aud := []string(t.request.GetGrantedAudience())
	if len(aud) == 0 {
		aud = []string{v.s.cfg.Issuer}
	}
	return &bearer.Token{
		Subject: t.session.Subject, ClientID: t.request.GetClient().GetID(), Issuer: v.s.cfg.Issuer,
		Scopes: slices.Clone([]string(t.request.GetGrantedScopes())), Audience: slices.Clone(aud),
		ExpiresAt: t.expires, IssuedAt: t.request.GetRequestedAt(), ID: t.session.TokenID,
	}, nil
}
