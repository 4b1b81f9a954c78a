package handlers

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/ory/fosite"
	fositestorage "github.com/ory/fosite/storage"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// engine is fosite, put together by hand: nothing of it runs that is not named
// here. It issues, redeems and rotates; whether it may was decided before.
type engine struct {
	fosite.OAuth2Provider
	tokens *tokenStrategy
}

func newEngine(s *Server) *engine {
	tokens := newTokenStrategy(s.keysFor("tokens"), s.now)
	tokens.jwt = s.accessTokenJWT

	code := &codeGrant{s: s}
	// Every field that fosite would fill in at the first request is set: it
	// fills them without a lock.
	cfg := &fosite.Config{
		GlobalSecret:                 nil, // tokenStrategy has its own keys
		AccessTokenLifespan:          s.cfg.Lifetimes.AccessToken,
		RefreshTokenLifespan:         s.cfg.Lifetimes.RefreshTokenIdle,
		AuthorizeCodeLifespan:        s.cfg.Lifetimes.AuthorizationCode,
		IDTokenLifespan:              s.cfg.Lifetimes.IDToken,
		IDTokenIssuer:                s.cfg.Issuer,
		AccessTokenIssuer:            s.cfg.Issuer,
		TokenURL:                     s.url("/oauth/token"),
		ScopeStrategy:                fosite.ExactScopeStrategy,
		AudienceMatchingStrategy:     fosite.ExactAudienceMatchingStrategy,
		ClientSecretsHasher:          refuseSecrets{},
		ClientAuthenticationStrategy: authenticatedClient,
		RefreshTokenScopes:           []string{},
		MinParameterEntropy:          -1,
		EnforcePKCE:                  true,
		SanitationWhiteList:          []string{"redirect_uri"},
		SendDebugMessagesToClients:   false,
		AuthorizeEndpointHandlers:    fosite.AuthorizeEndpointHandlers{code},
		TokenEndpointHandlers: fosite.TokenEndpointHandlers{tokenDispatcher{
			oauthreg.GrantAuthorizationCode: code,
			oauthreg.GrantRefreshToken:      &refreshGrant{s: s},
			oauthreg.GrantClientCredentials: &clientCredentialsGrant{s: s},
		}},
	}
	return &engine{OAuth2Provider: fosite.NewOAuth2Provider(noStorage{}, cfg), tokens: tokens}
}

// grant is one grant type at the token endpoint. check finds everything that
// speaks against the request and changes nothing; issue redeems and answers, in
// one transaction.
type grant interface {
	check(ctx context.Context, r fosite.AccessRequester) error
	issue(ctx context.Context, r fosite.AccessRequester, resp fosite.AccessResponder) error
}

// tokenDispatcher is the engine's one handler of token requests. It hands a
// request to the grant of its grant_type, compared exactly.
type tokenDispatcher map[oauthreg.GrantType]grant

var _ fosite.TokenEndpointHandler = tokenDispatcher(nil)

func (d tokenDispatcher) grant(r fosite.AccessRequester) (grant, error) {
	if types := r.GetGrantTypes(); len(types) == 1 && d[types[0]] != nil {
		return d[types[0]], nil
	}
	return nil, unsupportedGrantType()
}

// CanHandleTokenEndpointRequest is always true, so that a grant type nobody
// knows gets its own error.
func (d tokenDispatcher) CanHandleTokenEndpointRequest(context.Context, fosite.AccessRequester) bool {
	return true
}

// CanSkipClientAuth is false for every grant.
func (d tokenDispatcher) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool {
	return false
}

// HandleTokenEndpointRequest is part of [fosite.TokenEndpointHandler].
func (d tokenDispatcher) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	g, err := d.grant(r)
	if err != nil {
		return err
	}
	return g.check(ctx, r)
}

// PopulateTokenEndpointResponse is part of [fosite.TokenEndpointHandler].
func (d tokenDispatcher) PopulateTokenEndpointResponse(ctx context.Context, r fosite.AccessRequester, resp fosite.AccessResponder) error {
	g, err := d.grant(r)
	if err != nil {
		return err
	}
	return g.issue(ctx, r, resp)
}

func unsupportedGrantType() *Error {
	return oauthError(http.StatusBadRequest, "unsupported_grant_type", "The server does not offer this grant type.")
}

// engineClient is a registered client as the engine sees it. It answers from the
// registration that this request has read, and adds no defaults.
type engineClient struct{ reg *oauthreg.Client }

var _ fosite.Client = (*engineClient)(nil)

func (c *engineClient) GetID() string                      { return c.reg.ClientID }
func (c *engineClient) GetHashedSecret() []byte            { return nil }
func (c *engineClient) GetRedirectURIs() []string          { return c.reg.RedirectURIs }
func (c *engineClient) GetGrantTypes() fosite.Arguments    { return c.reg.GrantTypes }
func (c *engineClient) GetResponseTypes() fosite.Arguments { return c.reg.ResponseTypes }
func (c *engineClient) GetScopes() fosite.Arguments        { return c.reg.Scopes }
func (c *engineClient) IsPublic() bool                     { return c.reg.IsPublic() }
func (c *engineClient) GetAudience() fosite.Arguments      { return c.reg.Audience }

// RegistryID is the internal id, which stores keep with a token.
func (c *engineClient) RegistryID() string { return c.reg.ID }

type callerKey struct{}

// withCaller makes the client that authenticated known to the engine.
func withCaller(ctx context.Context, c *oauthreg.Client) context.Context {
	return context.WithValue(ctx, callerKey{}, &engineClient{reg: c})
}

// authenticatedClient is the engine's client authentication: it was done before,
// by [Server.authenticateClient], and nothing else counts.
func authenticatedClient(ctx context.Context, _ *http.Request, _ url.Values) (fosite.Client, error) {
	if c, ok := ctx.Value(callerKey{}).(*engineClient); ok {
		return c, nil
	}
	return nil, invalidClient()
}

// refuseSecrets stands where fosite would compare secrets by itself.
type refuseSecrets struct{}

func (refuseSecrets) Compare(context.Context, []byte, []byte) error {
	return fosite.ErrInvalidClient
}

func (refuseSecrets) Hash(context.Context, []byte) ([]byte, error) {
	return nil, fosite.ErrServerError
}

// noStorage stands where fosite would look clients up by itself.
type noStorage struct{}

func (noStorage) GetClient(context.Context, string) (fosite.Client, error) {
	return nil, fosite.ErrServerError
}

func (noStorage) ClientAssertionJWTValid(context.Context, string) error {
	return fosite.ErrServerError
}

func (noStorage) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return fosite.ErrServerError
}

// inTransaction runs fn in one transaction of the store. A lost race may show
// as an error of fn or of the commit; the caller maps both alike.
func (s *Server) inTransaction(ctx context.Context, fn func(ctx context.Context) error) (err error) {
	tx, err := fositestorage.MaybeBeginTx(ctx, s.store)
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done { // fn failed or panicked
			if rerr := fositestorage.MaybeRollbackTx(tx, s.store); rerr != nil && err != nil {
				s.log.ErrorContext(ctx, "rollback", "err", rerr)
			}
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	if err := fositestorage.MaybeCommitTx(tx, s.store); err != nil {
		return err
	}
	done = true
	return nil
}
