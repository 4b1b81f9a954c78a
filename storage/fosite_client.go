package storage

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v3"
	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Client is a registered client as fosite sees it: what [Store.GetClient]
// returns and what stored requests carry. It is immutable and shared; callers
// must not change what its methods return. A list that was registered empty is
// empty: nothing is made up for it.
type Client struct {
	reg  oauthreg.Client
	keys func() *jose.JSONWebKeySet
}

var (
	_ fosite.Client                         = (*Client)(nil)
	_ fosite.OpenIDConnectClient            = (*Client)(nil)
	_ fosite.ResponseModeClient             = (*Client)(nil)
	_ fosite.ClientWithCustomTokenLifespans = (*Client)(nil)
)

// newClient takes reg over.
func newClient(reg oauthreg.Client) *Client {
	// Clipped, so that an append somewhere makes a copy.
	reg.RedirectURIs = slices.Clip(reg.RedirectURIs)
	reg.GrantTypes = slices.Clip(reg.GrantTypes)
	reg.ResponseTypes = slices.Clip(reg.ResponseTypes)
	reg.Scopes = slices.Clip(reg.Scopes)
	reg.Audience = slices.Clip(reg.Audience)
	reg.RequestURIs = slices.Clip(reg.RequestURIs)
	jwks := reg.JWKS
	return &Client{reg: reg, keys: sync.OnceValue(func() *jose.JSONWebKeySet {
		if len(jwks) == 0 {
			return nil
		}
		set := new(jose.JSONWebKeySet)
		if json.Unmarshal(jwks, set) != nil {
			return nil
		}
		return set
	})}
}

// Registration returns a copy of the client as it was registered.
func (c *Client) Registration() oauthreg.Client { return c.reg.Clone() }

// RegistryID is the internal id ([oauthreg.Client.ID]). A fosite.Client of
// another type that has this method saves the store a query per stored request.
func (c *Client) RegistryID() string { return c.reg.ID }

// GetID is client_id.
func (c *Client) GetID() string { return c.reg.ClientID }

// GetHashedSecret is nil: secrets are verified by the registry, which knows
// several per client and when each expires.
func (c *Client) GetHashedSecret() []byte { return nil }

// GetRedirectURIs is redirect_uris.
func (c *Client) GetRedirectURIs() []string { return c.reg.RedirectURIs }

// GetGrantTypes is grant_types.
func (c *Client) GetGrantTypes() fosite.Arguments { return c.reg.GrantTypes }

// GetResponseTypes is response_types.
func (c *Client) GetResponseTypes() fosite.Arguments { return c.reg.ResponseTypes }

// GetScopes is every scope the client may ask for.
func (c *Client) GetScopes() fosite.Arguments { return c.reg.Scopes }

// GetAudience is every resource the client may ask tokens for.
func (c *Client) GetAudience() fosite.Arguments { return c.reg.Audience }

// IsPublic reports whether the client has no credential (RFC 6749 §2.1).
func (c *Client) IsPublic() bool { return c.reg.IsPublic() }

// GetResponseModes are the modes that a code may be delivered in.
func (c *Client) GetResponseModes() []fosite.ResponseModeType {
	return []fosite.ResponseModeType{fosite.ResponseModeDefault, fosite.ResponseModeQuery, fosite.ResponseModeFormPost}
}

// GetRequestURIs is request_uris.
func (c *Client) GetRequestURIs() []string { return c.reg.RequestURIs }

// GetRequestObjectSigningAlgorithm is request_object_signing_alg, RS256 where
// none is registered: where it is empty, fosite takes unsigned request objects.
func (c *Client) GetRequestObjectSigningAlgorithm() string {
	if c.reg.RequestObjectSigningAlg == "" {
		return "RS256"
	}
	return c.reg.RequestObjectSigningAlg
}

// GetJSONWebKeys is jwks, nil when there is none.
func (c *Client) GetJSONWebKeys() *jose.JSONWebKeySet { return c.keys() }

// GetJSONWebKeysURI is jwks_uri.
func (c *Client) GetJSONWebKeysURI() string { return c.reg.JWKSURI }

// GetTokenEndpointAuthMethod is token_endpoint_auth_method.
func (c *Client) GetTokenEndpointAuthMethod() string { return c.reg.TokenEndpointAuthMethod }

// GetTokenEndpointAuthSigningAlgorithm is token_endpoint_auth_signing_alg.
func (c *Client) GetTokenEndpointAuthSigningAlgorithm() string {
	return c.reg.TokenEndpointAuthSigningAlg
}

// GetEffectiveLifespan is the client's own lifetime for a kind of token, or
// fallback when it has none.
func (c *Client) GetEffectiveLifespan(_ fosite.GrantType, kind fosite.TokenType, fallback time.Duration) time.Duration {
	own := time.Duration(0)
	switch kind {
	case fosite.AccessToken:
		own = c.reg.Lifetimes.AccessToken
	case fosite.RefreshToken:
		own = c.reg.Lifetimes.RefreshTokenIdle
	case fosite.IDToken:
		own = c.reg.Lifetimes.IDToken
	}
	if own == 0 {
		return fallback
	}
	return own
}

// GetClient finds a client by client_id, as a [*Client]: [fosite.ErrNotFound]
// when it is unknown or suspended. An error of the database is returned as
// such, so that the caller can tell an outage from a wrong client_id.
func (s *Store) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	if id == "" {
		return nil, fosite.ErrNotFound
	}
	known, err := s.holder(ctx, "get client", oauthreg.ByClientID(id))
	if err != nil {
		return nil, err
	}
	return known.client, nil
}

// clientIDOf is the internal id of a fosite client of any type.
func (s *Store) clientIDOf(ctx context.Context, client fosite.Client) (string, error) {
	if client == nil {
		return "", fosite.ErrNotFound.WithDebug("the request has no client")
	}
	if r, ok := client.(interface{ RegistryID() string }); ok {
		if id := r.RegistryID(); id != "" {
			return id, nil
		}
	}
	id := client.GetID()
	if id == "" {
		return "", fosite.ErrNotFound.WithDebug("the request's client has no id")
	}
	known, err := s.known(ctx, "find client", oauthreg.ByClientID(id))
	switch {
	case errors.Is(err, oauthreg.ErrNotFound):
		return "", fosite.ErrNotFound.WithDebug("the request's client is not registered")
	case err != nil:
		return "", err
	}
	return known.Client.ID, nil
}

// holder finds a client that may hold codes and tokens: [fosite.ErrNotFound] when
// it is unknown or suspended.
func (s *Store) holder(ctx context.Context, doing string, ref oauthreg.Ref) (*knownClient, error) {
	known, err := s.known(ctx, doing, ref)
	switch {
	case errors.Is(err, oauthreg.ErrNotFound):
		return nil, fosite.ErrNotFound
	case err != nil:
		return nil, err
	case known.Client.Suspended():
		return nil, fosite.ErrNotFound
	}
	return known, nil
}

// asFosite is the client object for a stored request: the one that the request
// being answered has already, if it is the same client.
func (k *knownClient) asFosite(ctx context.Context) fosite.Client {
	if r, ok := ctx.Value(fosite.AccessRequestContextKey).(fosite.AccessRequester); ok && r != nil {
		switch have := r.GetClient().(type) {
		case nil:
		case interface{ RegistryID() string }:
			if have.RegistryID() == k.Client.ID {
				return have.(fosite.Client)
			}
		default:
			if have.GetID() == k.Client.ClientID {
				return have
			}
		}
	}
	return k.client
}
