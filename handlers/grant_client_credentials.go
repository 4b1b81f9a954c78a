package handlers

import (
	"context"
	"slices"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// clientCredentialsGrant issues tokens to a client for itself (RFC 6749 §4.4).
// There is no user, so there is never a refresh token or an id_token.
type clientCredentialsGrant struct{ s *Server }

// aboutUsers reports whether a scope is meaningless without a user.
func aboutUsers(scope string) bool { return scope == "openid" || scope == "offline_access" }

func (g *clientCredentialsGrant) check(_ context.Context, r fosite.AccessRequester) error {
	form, client := r.GetRequestForm(), registered(r)
	asked, err := parseScope(form.Get("scope"))
	if err != nil {
		return err
	}
	if slices.ContainsFunc(asked, aboutUsers) {
		return invalidScope("The scopes openid and offline_access need a user.")
	}
	scopes, err := permitScopes(client, asked)
	if err != nil {
		return err
	}
	resources, err := g.s.permitResources(client, form["resource"])
	if err != nil {
		return err
	}
	forClient(r, client, scopes, resources)
	return nil
}

// ownRequest is the id of a client's request for itself until its token names it;
// without one, fosite makes one up.
const ownRequest = "own"

// forClient notes on r what a client gets for itself.
func forClient(r fosite.AccessRequester, client *oauthreg.Client, scopes, resources []string) {
	scopes = slices.DeleteFunc(slices.Clone(scopes), aboutUsers)
	r.SetID(ownRequest)
	r.SetSession(&Session{Subject: client.ClientID, ForClient: true})
	setGranted(r, scopes, scopes, resources, resources)
}

func (g *clientCredentialsGrant) issue(ctx context.Context, r fosite.AccessRequester, resp fosite.AccessResponder) error {
	t, err := g.s.issueOwn(ctx, r)
	if err != nil {
		return err
	}
	t.respond(resp)
	return nil
}

// issueOwn issues the token of a client for itself.
func (s *Server) issueOwn(ctx context.Context, r fosite.AccessRequester) (*tokens, error) {
	t, err := s.newTokens(ctx, r, false)
	if err != nil {
		return nil, err
	}
	// The store tells by the grant type that no grant stands above the token; the
	// request is named as the token is.
	stored := &fosite.AccessRequest{GrantTypes: r.GetGrantTypes(), Request: *t.access}
	stored.ID = t.accessSignature
	if err := s.store.CreateAccessTokenSession(ctx, t.accessSignature, stored); err != nil {
		return nil, clientGone(err)
	}
	s.emitTokens(ctx, oauthreg.GrantClientCredentials, t.access, false)
	return t, nil
}

var (
	_ grant = (*codeGrant)(nil)
	_ grant = (*refreshGrant)(nil)
	_ grant = (*clientCredentialsGrant)(nil)
)
