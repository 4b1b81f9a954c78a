package handlers

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Issuance says what [Server.Issue] issues.
type Issuance struct {
	// ClientID is the client_id of whom the tokens are for. Required.
	ClientID string
	// Login is the user, and how they proved who they are, as
	// [SignIn] would tell. nil means that the tokens are the client's own, as by
	// client_credentials.
	Login *oauthreg.Login
	// Scopes are what the tokens may do, each one that the client registered;
	// empty means what a request without scope gets.
	Scopes []string
	// Resources are what the tokens are for (RFC 8707); each one that the client
	// may ask for.
	Resources []string
	// Nonce goes into the ID token.
	Nonce string
}

// IssuedTokens are the tokens of one grant.
type IssuedTokens struct {
	AccessToken string
	// RefreshToken is empty unless the client registered refresh_token and there
	// is a user; IDToken unless openid is among the scopes.
	RefreshToken string
	IDToken      string
	// ExpiresAt is the end of the access token.
	ExpiresAt time.Time
	Scopes    []string
	// GrantID is the grant that revokes them all; empty without a user.
	GrantID string
}

// Issue issues tokens on the host's own word: no request was made, and nobody
// was asked. It is for a host that knows by other means that the user wants it,
// for example a page of its own that makes a personal token, and for tests. The
// user sees the client among the authorized apps, and can take it back there.
//
// The registration holds as in a flow: the client is not suspended, has the
// grant type (authorization_code with a user, client_credentials without), and
// may ask for scopes and resources. Otherwise the error is an [Error], or
// [oauthreg.ErrNotFound] when there is no such client, and nothing was issued.
// The metadata document of a client that has one may be fetched first.
func (s *Server) Issue(ctx context.Context, is Issuance) (IssuedTokens, error) {
	rec, err := s.clientRecord(ctx, is.ClientID)
	if err != nil {
		return IssuedTokens{}, err
	}
	client := rec.Client
	if client.Suspended() {
		return IssuedTokens{}, invalidClient().decidedBy("suspended")
	}
	grantType := oauthreg.GrantAuthorizationCode
	if is.Login == nil {
		grantType = oauthreg.GrantClientCredentials
	}
	if oerr := s.permitGrantType(&client, grantType); oerr != nil {
		return IssuedTokens{}, oerr
	}
	scopes, oerr := permitScopes(&client, is.Scopes)
	if oerr != nil {
		return IssuedTokens{}, oerr
	}
	resources, oerr := s.permitResources(&client, is.Resources)
	if oerr != nil {
		return IssuedTokens{}, oerr
	}
	r := fosite.NewAccessRequest(nil)
	r.Client = &engineClient{reg: &client}
	r.GrantTypes = fosite.Arguments{grantType}
	if is.Login == nil {
		return s.issueForClient(ctx, r, &client, scopes, resources)
	}
	return s.issueForUser(ctx, r, is, scopes, resources)
}

func (s *Server) issueForClient(ctx context.Context, r *fosite.AccessRequest, client *oauthreg.Client, scopes, resources []string) (IssuedTokens, error) {
	forClient(r, client, scopes, resources)
	t, err := s.issueOwn(ctx, r)
	if err != nil {
		return IssuedTokens{}, err
	}
	return t.issued(""), nil
}

func (s *Server) issueForUser(ctx context.Context, r *fosite.AccessRequest, is Issuance, scopes, resources []string) (IssuedTokens, error) {
	client, login := registered(r), is.Login
	if login.Subject == "" || len(login.Subject) > 255 {
		return IssuedTokens{}, errors.New("handlers: Issuance.Login.Subject must have 1 to 255 characters")
	}
	if err := s.checkUser(ctx, login.Subject); err != nil {
		return IssuedTokens{}, err
	}
	now := s.now().UTC().Truncate(time.Millisecond)
	session := newSession(login)
	if sub := s.reg.Subject(client, login.Subject); sub != login.Subject {
		session.PairwiseSubject = sub
	}
	session.GrantedAt, session.Nonce = now, is.Nonce
	r.SetID(newGrantID())
	r.SetSession(session)
	setGranted(r, scopes, scopes, resources, resources)
	t, err := s.newTokens(ctx, r, client.AllowsGrantType(oauthreg.GrantRefreshToken))
	if err != nil {
		return IssuedTokens{}, err
	}
	err = s.inTransaction(ctx, func(ctx context.Context) error {
		consent, err := s.store.SaveConsent(ctx, oauthreg.Consent{
			ClientID: client.ID, Subject: login.Subject, Scopes: scopes, Resources: resources, CreatedAt: now, LastUsedAt: now,
		})
		if err != nil {
			return err
		}
		if err := s.store.CreateGrant(ctx, oauthreg.Grant{
			ID: r.GetID(), ClientID: client.ID, Subject: login.Subject, SessionID: login.SessionID, ConsentID: consent,
			Scopes: scopes, Resources: resources, CreatedAt: now, LastUsedAt: now,
			ExpiresAt: t.access.Session.GetExpiresAt(fosite.AccessToken),
		}); err != nil {
			return err
		}
		return t.store(ctx, s.store, session)
	})
	if err != nil {
		return IssuedTokens{}, clientGone(err)
	}
	s.emitTokens(ctx, oauthreg.GrantAuthorizationCode, t.access, t.refresh != nil)
	return t.issued(r.GetID()), nil
}

func (t *tokens) issued(grant string) IssuedTokens {
	return IssuedTokens{
		AccessToken: t.accessToken, RefreshToken: t.refreshToken, IDToken: t.idToken,
		ExpiresAt: t.access.Session.GetExpiresAt(fosite.AccessToken), Scopes: slices.Clone([]string(t.access.GrantedScope)),
		GrantID: grant,
	}
}

// RevokeToken revokes an access or refresh token on the host's own word, for
// example because it was found where it should not be: as RFC 7009 does it for
// the client, whoever's it is. A token that is unknown is no error.
func (s *Server) RevokeToken(ctx context.Context, token string) error {
	return s.revokeToken(ctx, nil, token)
}
