package authtest

import (
	"context"
	"errors"
	"time"

	"golang.org/x/oauth2"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// Grant says whom [Server.Mint] makes tokens for.
type Grant struct {
	// Client is the client_id; empty means the first client.
	Client string
	// User is the username; empty means the first user. A client without
	// authorization_code has tokens for itself, whatever stands here.
	User string
	// Scopes and Resources are what was granted; no scopes means those of a
	// request without any.
	Scopes    []string
	Resources []string
	// Nonce goes into the ID token.
	Nonce string
}

// Tokens are the tokens of one grant. As an [oauth2.Token] they have an expiry
// by the server's clock, and the extras scope and id_token.
type Tokens struct {
	*oauth2.Token
	// IDToken is empty unless openid was granted.
	IDToken string
	// Scopes are those of the access token.
	Scopes []string
	// GrantID is the grant; empty for a client's own tokens.
	GrantID string
}

// Mint makes tokens without a browser, as a whole flow at this moment would: the
// client may have them, and they are in the database, so they work, can be
// refreshed, introspected and revoked. The user's consent is remembered as well.
func (s *Server) Mint(g Grant) Tokens {
	s.helper()
	if g.Client == "" {
		s.mu.Lock()
		g.Client = s.clients[0].Client.ClientID
		s.mu.Unlock()
	}
	is := handlers.Issuance{ClientID: g.Client, Scopes: g.Scopes, Resources: g.Resources, Nonce: g.Nonce}
	ctx := context.Background()
	client, err := s.Registry.Get(ctx, oauthreg.ByClientID(g.Client))
	if err != nil {
		s.fail("mint tokens for client %q: %v", g.Client, err)
	}
	if client.AllowsGrantType(oauthreg.GrantAuthorizationCode) {
		is.Login = &oauthreg.Login{Subject: s.user(g.User).Subject, AuthTime: s.Now(), AMR: []string{"pwd"}}
	}
	issued, err := s.Handler.Issue(ctx, is)
	if err != nil {
		s.fail("mint tokens for client %q: %v", g.Client, describe(err))
	}
	t := &oauth2.Token{
		AccessToken: issued.AccessToken, TokenType: "Bearer", RefreshToken: issued.RefreshToken, Expiry: issued.ExpiresAt,
		ExpiresIn: int64(issued.ExpiresAt.Sub(s.Now()) / time.Second),
	}
	extra := map[string]any{"scope": join(issued.Scopes)}
	if issued.IDToken != "" {
		extra["id_token"] = issued.IDToken
	}
	return Tokens{Token: t.WithExtra(extra), IDToken: issued.IDToken, Scopes: issued.Scopes, GrantID: issued.GrantID}
}

// describe adds which member of the registration decided.
func describe(err error) error {
	var e *handlers.Error
	if errors.As(err, &e) && e.Field != "" {
		return errors.New(e.Error() + " (" + e.Field + ")")
	}
	return err
}

// Sign signs any claims with the server's key for alg, RS256 or ES256, as a JWT
// of that typ, "at+jwt" for an access token: for tokens that the server would
// never issue, which a resource server or client must refuse. The server itself
// does not know them.
func (s *Server) Sign(alg, typ string, claims map[string]any) string {
	s.helper()
	jwt, err := s.Keys.Sign(context.Background(), alg, typ, claims)
	if err != nil {
		s.fail("sign by %s: %v", alg, err)
	}
	return jwt
}
