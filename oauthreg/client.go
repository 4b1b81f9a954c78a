package oauthreg

import (
	"encoding/json"
	"slices"
	"time"
)

// ClientType is the client type of RFC 6749 §2.1.
type ClientType string

// The two client types. A client is public exactly when its
// token_endpoint_auth_method is none.
const (
	Public       ClientType = "public"
	Confidential ClientType = "confidential"
)

// ApplicationType is application_type of OpenID Connect Registration §2. It
// decides which redirect URIs may be registered (RFC 8252).
type ApplicationType string

// The application types.
const (
	Web    ApplicationType = "web"
	Native ApplicationType = "native"
)

// GrantType is a grant_type value. The set is open: a server that adds a grant
// names it in [Config.GrantTypes].
type GrantType = string

// The grant types this package knows of.
const (
	GrantAuthorizationCode GrantType = "authorization_code" // RFC 6749 §4.1
	GrantClientCredentials GrantType = "client_credentials" // RFC 6749 §4.4
	GrantRefreshToken      GrantType = "refresh_token"      // RFC 6749 §6
	GrantImplicit          GrantType = "implicit"           // RFC 6749 §4.2; no effect unless the server switches it on
)

// AuthMethod is a token_endpoint_auth_method value (RFC 7591 §2).
type AuthMethod = string

// The authentication methods.
const (
	// AuthUnnamed is a confidential client whose registration named no method:
	// client_secret_basic and client_secret_post are both accepted, one per
	// request. Not part of RFC 7591.
	AuthUnnamed           AuthMethod = ""
	AuthClientSecretBasic AuthMethod = "client_secret_basic"
	AuthClientSecretPost  AuthMethod = "client_secret_post"
	AuthPrivateKeyJWT     AuthMethod = "private_key_jwt"
	AuthNone              AuthMethod = "none"
)

// AccessTokenFormat says how access tokens look to resource servers. Not part
// of RFC 7591.
type AccessTokenFormat string

// The access token formats. Both are stored, revocable and introspectable.
const (
	Opaque AccessTokenFormat = "opaque" // a reference, the default
	JWT    AccessTokenFormat = "jwt"    // RFC 9068, typ at+jwt
)

// SubjectType says which subject identifiers a client sees (OpenID Connect Core
// §8).
type SubjectType string

// The subject types. Pairwise subjects differ between sectors, so that clients
// cannot tell that they have a user in common.
const (
	PublicSubject   SubjectType = "public"
	PairwiseSubject SubjectType = "pairwise"
)

// Client is a registered client. The zero value is not valid; see
// [Registry.Register] for what is filled in. A Client is plain data: copying
// it shares its slices and maps, [Client.Clone] does not. The JSON form is the
// one that stores keep; the wire forms belong to their protocols.
type Client struct {
	// ID is the internal identifier, a UUID. It never appears in a protocol
	// message. Assigned at registration when empty. Not part of RFC 7591.
	ID string `json:"id"`
	// ClientID is client_id of RFC 6749 §2.2: a UUID distinct from ID unless
	// chosen by the operator, 1 to 255 characters of [A-Za-z0-9._~-] or, for a
	// client identified by a metadata document, its https URL (http on a loopback
	// host, for development). Immutable.
	ClientID string `json:"client_id"`
	// OrgID, ProjectID and UserID are the owning organization and project and
	// the user who created the client: the host's identifiers, UUIDs by
	// convention, at most 64 characters. Empty means unowned. Not part of RFC 7591.
	OrgID     string `json:"org_id,omitempty"`
	ProjectID string `json:"project_id,omitempty"`
	UserID    string `json:"user_id,omitempty"`

	// Name is client_name, shown on the consent page: 1 to 255 characters, no
	// control characters. Description is for operators, at most 4096 bytes.
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`

	// Type follows from TokenEndpointAuthMethod and must agree with it.
	Type ClientType `json:"type"`
	// ApplicationType is application_type; empty at registration means derived:
	// native when a redirect URI is loopback http or has a private-use scheme.
	ApplicationType ApplicationType `json:"application_type"`

	// RequirePKCE refuses authorization requests without code_challenge
	// (RFC 7636 §4.4.1). Always true for public clients. A challenge that is
	// sent is enforced whatever this says. Not part of RFC 7591.
	RequirePKCE bool `json:"require_pkce"`

	// Scopes is every scope the client may ask for (scope of RFC 7591).
	// DefaultScopes is what a request without scope gets; empty means all of
	// Scopes but offline_access and admin. It must be a subset of Scopes.
	Scopes        []string `json:"scopes,omitempty"`
	DefaultScopes []string `json:"default_scopes,omitempty"`

	// GrantTypes is grant_types, ResponseTypes is response_types. Response
	// types are derived from the grant types when empty at registration.
	GrantTypes    []GrantType `json:"grant_types,omitempty"`
	ResponseTypes []string    `json:"response_types,omitempty"`

	// RedirectURIs is redirect_uris, at most 64 of them; see
	// [Client.MatchRedirectURI]. PostLogoutRedirectURIs is
	// post_logout_redirect_uris of OpenID Connect RP-Initiated Logout §3.1.
	RedirectURIs           []string `json:"redirect_uris,omitempty"`
	PostLogoutRedirectURIs []string `json:"post_logout_redirect_uris,omitempty"`

	// Audience lists the resources (RFC 8707) the client may ask tokens for;
	// empty means every resource the server knows. ResourceServer lists the
	// resources this client serves: it may introspect tokens meant for them.
	// Set by the operator only. Neither is part of RFC 7591.
	Audience       []string `json:"audience,omitempty"`
	ResourceServer []string `json:"resource_server,omitempty"`

	// TokenEndpointAuthMethod is token_endpoint_auth_method: the only one that
	// works, at every endpoint that authenticates clients.
	// TokenEndpointAuthSigningAlg is token_endpoint_auth_signing_alg; empty
	// means any asymmetric algorithm the server supports.
	TokenEndpointAuthMethod     AuthMethod `json:"token_endpoint_auth_method"`
	TokenEndpointAuthSigningAlg string     `json:"token_endpoint_auth_signing_alg,omitempty"`
	// JWKS is jwks, public keys only; JWKSURI is jwks_uri. At most one is set.
	JWKS    json.RawMessage `json:"jwks,omitempty"`
	JWKSURI string          `json:"jwks_uri,omitempty"`

	// ClientURI, LogoURI, TOSURI and PolicyURI are client_uri, logo_uri,
	// tos_uri and policy_uri: http or https, shown to people. The logo is fetched
	// by the server, of clients whose logos are shown at all; the others never.
	ClientURI string   `json:"client_uri,omitempty"`
	LogoURI   string   `json:"logo_uri,omitempty"`
	TOSURI    string   `json:"tos_uri,omitempty"`
	PolicyURI string   `json:"policy_uri,omitempty"`
	Contacts  []string `json:"contacts,omitempty"`
	// SoftwareID and SoftwareVersion are software_id and software_version.
	SoftwareID      string `json:"software_id,omitempty"`
	SoftwareVersion string `json:"software_version,omitempty"`

	// AccessTokenFormat is opaque when empty. Not part of RFC 7591.
	AccessTokenFormat AccessTokenFormat `json:"access_token_format"`
	// IDTokenSignedResponseAlg is id_token_signed_response_alg of OpenID
	// Connect Registration §2; empty means RS256.
	IDTokenSignedResponseAlg string `json:"id_token_signed_response_alg,omitempty"`
	// UserinfoSignedResponseAlg is userinfo_signed_response_alg: userinfo is
	// answered as a JWT signed by it; empty means plain JSON.
	UserinfoSignedResponseAlg string `json:"userinfo_signed_response_alg,omitempty"`

	// SubjectType is subject_type of OpenID Connect Core §8; empty means public.
	SubjectType SubjectType `json:"subject_type,omitempty"`
	// SectorIdentifierURI is sector_identifier_uri: pairwise clients with the
	// same host in it see the same subjects. Without it the one host of the
	// redirect URIs counts. That its document lists the redirect URIs (OpenID
	// Connect Registration §5) is checked by dynamic registration; whoever
	// registers in another way vouches for it.
	SectorIdentifierURI string `json:"sector_identifier_uri,omitempty"`

	// RequestObjectSigningAlg is request_object_signing_alg (RFC 9101 §10.1):
	// the only algorithm of the client's request objects; empty means any
	// asymmetric one that its keys have. They are never accepted unsigned.
	RequestObjectSigningAlg string `json:"request_object_signing_alg,omitempty"`
	// RequestURIs is request_uris: where request objects may be fetched from, at
	// most 64. A fragment says nothing about the place; it may be the digest of
	// what is there (OpenID Connect Core §6.2).
	RequestURIs []string `json:"request_uris,omitempty"`

	// DefaultMaxAge is default_max_age: max_age of requests that have none, in
	// whole seconds on the wire, at most a year; nil means none.
	DefaultMaxAge *time.Duration `json:"default_max_age,omitempty"`
	// RequireAuthTime is require_auth_time: nothing is issued for a sign-in
	// whose time is not known.
	RequireAuthTime bool `json:"require_auth_time,omitempty"`
	// DefaultACRValues is default_acr_values: acr_values of requests that have
	// none, at most 16, in order of preference.
	DefaultACRValues []string `json:"default_acr_values,omitempty"`

	// InitiateLoginURI is initiate_login_uri (OpenID Connect Core §4), for
	// whoever wants to start the client's sign-in.
	InitiateLoginURI string `json:"initiate_login_uri,omitempty"`

	// BackchannelLogoutURI is backchannel_logout_uri of OpenID Connect
	// Back-Channel Logout §2.2, and FrontchannelLogoutURI is
	// frontchannel_logout_uri of Front-Channel Logout §2; empty means that the
	// client is not told of the end of sessions in that way.
	BackchannelLogoutURI  string `json:"backchannel_logout_uri,omitempty"`
	FrontchannelLogoutURI string `json:"frontchannel_logout_uri,omitempty"`
	// BackchannelLogoutSessionRequired asks for sid in logout tokens, which have
	// it in any case. FrontchannelLogoutSessionRequired asks for iss and sid in
	// the query of FrontchannelLogoutURI.
	BackchannelLogoutSessionRequired  bool `json:"backchannel_logout_session_required,omitempty"`
	FrontchannelLogoutSessionRequired bool `json:"frontchannel_logout_session_required,omitempty"`

	// Lifetimes override the server's. Not part of RFC 7591.
	Lifetimes Lifetimes `json:"lifetimes"`

	// FirstParty clients belong to the operator: their users are not asked for
	// consent. Verified is the operator's word that the client is who it says,
	// shown on the consent page. SelfRegistered marks clients made through
	// open dynamic registration. None can be set by the client itself; none is
	// part of RFC 7591.
	FirstParty     bool `json:"first_party,omitempty"`
	Verified       bool `json:"verified,omitempty"`
	SelfRegistered bool `json:"self_registered,omitempty"`

	// MetadataDocumentSince marks a client that is known by the metadata document
	// at its client_id (draft-ietf-oauth-client-id-metadata-document): it is since
	// when the document sends users nowhere else than it did before, and consent
	// that was given earlier does not count. Zero for every other client. Set by
	// the server that fetches the document.
	MetadataDocumentSince time.Time `json:"metadata_document_since,omitzero"`

	// SuspendedAt is when the client was switched off: from then on it gets
	// nothing and its tokens are inactive. Zero means enabled. Set through
	// [Registry.Suspend] and [Registry.Resume] only.
	SuspendedAt time.Time `json:"suspended_at,omitzero"`

	// CreatedAt and UpdatedAt are UTC, to the millisecond. Version starts at 1
	// and grows by one with every change. All three are set by the registry.
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int64     `json:"version"`

	// Metadata is the host's own: at most 32 keys of at most 64 characters,
	// values of at most 1024 bytes. Never shown to users or sent to clients.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Lifetimes says how long what is issued to a client lives, in whole seconds on
// the wire. Zero means the server's default. Limits: AuthorizationCode at most
// 10 minutes (RFC 6749 §4.1.2), AccessToken and IDToken at most 24 hours,
// refresh tokens at most 10 years; nothing shorter than a second.
type Lifetimes struct {
	AuthorizationCode time.Duration `json:"authorization_code,omitempty"`
	AccessToken       time.Duration `json:"access_token,omitempty"`
	// RefreshTokenIdle ends a refresh token that is not used; each rotation
	// starts it anew. RefreshToken ends the whole grant, however often used.
	RefreshTokenIdle time.Duration `json:"refresh_token_idle,omitempty"`
	RefreshToken     time.Duration `json:"refresh_token,omitempty"`
	IDToken          time.Duration `json:"id_token,omitempty"`
}

// Clone returns a copy that shares nothing with c.
func (c Client) Clone() Client {
	c.Scopes = slices.Clone(c.Scopes)
	c.DefaultScopes = slices.Clone(c.DefaultScopes)
	c.GrantTypes = slices.Clone(c.GrantTypes)
	c.ResponseTypes = slices.Clone(c.ResponseTypes)
	c.RedirectURIs = slices.Clone(c.RedirectURIs)
	c.PostLogoutRedirectURIs = slices.Clone(c.PostLogoutRedirectURIs)
	c.Audience = slices.Clone(c.Audience)
	c.ResourceServer = slices.Clone(c.ResourceServer)
	c.JWKS = slices.Clone(c.JWKS)
	c.Contacts = slices.Clone(c.Contacts)
	c.RequestURIs = slices.Clone(c.RequestURIs)
	c.DefaultACRValues = slices.Clone(c.DefaultACRValues)
	if c.DefaultMaxAge != nil {
		age := *c.DefaultMaxAge
		c.DefaultMaxAge = &age
	}
	if c.Metadata != nil {
		m := make(map[string]string, len(c.Metadata))
		for k, v := range c.Metadata {
			m[k] = v
		}
		c.Metadata = m
	}
	return c
}

// Suspended reports whether the client is switched off.
func (c *Client) Suspended() bool { return !c.SuspendedAt.IsZero() }

// HasMetadataDocument reports whether the client is known by the metadata
// document at its client_id, and so follows it.
func (c *Client) HasMetadataDocument() bool { return !c.MetadataDocumentSince.IsZero() }

// IsPublic reports whether the client has no credential of its own (RFC 6749 §2.1).
func (c *Client) IsPublic() bool { return c.Type == Public }

// PKCERequired reports whether an authorization request of the client must
// carry a code_challenge.
func (c *Client) PKCERequired() bool { return c.RequirePKCE || c.IsPublic() }

// AllowsGrantType reports whether the client registered grant type g, compared exactly.
func (c *Client) AllowsGrantType(g GrantType) bool { return slices.Contains(c.GrantTypes, g) }

// AllowsResponseType reports whether the client registered response type t,
// compared exactly. The order of a multi-valued type counts, so registration
// keeps one order.
func (c *Client) AllowsResponseType(t string) bool { return slices.Contains(c.ResponseTypes, t) }

// AllowsScope reports whether the client may ask for scope s, compared exactly.
func (c *Client) AllowsScope(s string) bool { return slices.Contains(c.Scopes, s) }

// AllowsAuthMethod reports whether a request that authenticated by method m is
// acceptable for this client.
func (c *Client) AllowsAuthMethod(m AuthMethod) bool {
	if c.TokenEndpointAuthMethod == AuthUnnamed {
		return m == AuthClientSecretBasic || m == AuthClientSecretPost
	}
	return c.TokenEndpointAuthMethod == m
}

// ScopesWhenNoneAsked is what a request without a scope parameter asks for
// (RFC 6749 §3.3): DefaultScopes, or all of Scopes but offline_access and admin.
func (c *Client) ScopesWhenNoneAsked() []string {
	if len(c.DefaultScopes) > 0 {
		return slices.Clone(c.DefaultScopes)
	}
	var out []string
	for _, s := range c.Scopes {
		if s != "offline_access" && s != "admin" {
			out = append(out, s)
		}
	}
	return out
}
