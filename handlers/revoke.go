package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// revoke serves POST /oauth/revoke (RFC 7009).
//
// Revoking a refresh token, a rotated one too, ends its grant with all its
// tokens; revoking an access token ends that token. A token that is unknown or
// malformed is answered with 200, since it does not work already (§2.2); another
// client's is refused and stays as it is. token_type_hint is not needed: tokens
// tell their kind.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request, form url.Values, caller *oauthreg.Client) error {
	token := form.Get("token")
	if token == "" {
		return invalidRequest("The token parameter is missing.")
	}
	if err := s.revokeToken(r.Context(), caller, token); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// revokeToken revokes a token of caller; of anybody when that is nil.
func (s *Server) revokeToken(ctx context.Context, caller *oauthreg.Client, token string) error {
	refresh := strings.HasPrefix(token, prefixRefresh)
	var stored fosite.Requester
	var err error
	var signature string
	if refresh {
		if signature = s.engine.tokens.refreshSignature(token); signature == "" {
			return nil
		}
		stored, err = s.store.GetRefreshTokenSession(ctx, signature, NewSession())
		if errors.Is(err, fosite.ErrInactiveToken) && stored != nil {
			err = nil // rotated already; its grant may live
		}
	} else {
		if signature = s.engine.tokens.accessSignature(token); signature == "" {
			return nil
		}
		stored, err = s.store.GetAccessTokenSession(ctx, signature, NewSession())
	}
	switch {
	case isNotFound(err):
		return nil
	case err != nil:
		return err
	case caller != nil && !sameClient(stored, caller):
		return invalidGrant("The token belongs to another client.")
	}
	e := oauthreg.Event{
		Type: oauthreg.EventTokenRevoked, Subject: subjectOf(stored), Count: 1,
		Scopes: stored.GetGrantedScopes(), Resources: stored.GetGrantedAudience(),
	}
	if e.Subject != "" {
		e.GrantID = stored.GetID()
	}
	if caller == nil {
		e.ClientID = stored.GetClient().GetID()
		if c, ok := stored.GetClient().(interface{ Registration() oauthreg.Client }); ok {
			client := c.Registration()
			about(&e, &client)
		}
	}
	if refresh {
		_, err = s.revokeGrants(ctx, oauthreg.GrantFilter{ID: stored.GetID()}, e)
		return err
	}
	if err = s.store.DeleteAccessTokenSession(ctx, signature); err == nil {
		s.emit(ctx, e)
	}
	return err
}
