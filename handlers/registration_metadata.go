package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// metadataReader takes client metadata (RFC 7591 §2, OpenID Connect
// Registration §2) out of a JSON object and collects what is wrong with it. A
// member that is null counts as left out.
type metadataReader struct {
	members  map[string]json.RawMessage
	problems []oauthreg.Problem
}

func (m *metadataReader) add(field, message string) {
	m.problems = append(m.problems, oauthreg.Problem{Field: field, Code: oauthreg.CodeInvalidClientMetadata, Message: message})
}

func (m *metadataReader) addRedirect(field, message string) {
	m.problems = append(m.problems, oauthreg.Problem{Field: field, Code: oauthreg.CodeInvalidRedirectURI, Message: message})
}

func (m *metadataReader) has(name string) bool {
	raw, ok := m.members[name]
	return ok && !isNull(raw)
}

// text is the string of that name, empty when it is left out.
func (m *metadataReader) text(name string) string {
	if !m.has(name) {
		return ""
	}
	s, ok := jsonString(m.members[name])
	if !ok {
		m.add(name, "must be a string")
	}
	return s
}

// list is the array of strings of that name, nil when it is left out.
func (m *metadataReader) list(name string, add func(field, message string)) []string {
	if !m.has(name) {
		return nil
	}
	var items []json.RawMessage
	if json.Unmarshal(m.members[name], &items) != nil {
		add(name, "must be an array of strings")
		return nil
	}
	out := make([]string, 0, len(items))
	for _, item := range items {
		s, ok := jsonString(item)
		if !ok {
			add(name, "must be an array of strings")
			return nil
		}
		out = append(out, s)
	}
	return out
}

// boolean is the value of that name, false when it is left out.
func (m *metadataReader) boolean(name string) bool {
	if !m.has(name) {
		return false
	}
	switch string(bytes.TrimSpace(m.members[name])) {
	case "true":
		return true
	case "false":
	default:
		m.add(name, "must be true or false")
	}
	return false
}

// seconds is the whole number of seconds of that name, nil when it is left out.
func (m *metadataReader) seconds(name string) *time.Duration {
	if !m.has(name) {
		return nil
	}
	n, err := strconv.ParseInt(string(bytes.TrimSpace(m.members[name])), 10, 32)
	if err != nil || n < 0 {
		m.add(name, "must be a whole number of seconds")
		return nil
	}
	d := time.Duration(n) * time.Second
	return &d
}

// unsupportedMetadata are members that ask for something the server does not
// do. To ignore them would be to promise it; the values listed ask for nothing.
// Members that only inform or wish are ignored, as RFC 7591 §2 has it, and
// missing from the response.
var unsupportedMetadata = map[string][]string{
	"id_token_encrypted_response_alg":            nil,
	"id_token_encrypted_response_enc":            nil,
	"userinfo_encrypted_response_alg":            nil,
	"userinfo_encrypted_response_enc":            nil,
	"request_object_encryption_alg":              nil,
	"request_object_encryption_enc":              nil,
	"authorization_signed_response_alg":          nil,
	"authorization_encrypted_response_alg":       nil,
	"authorization_encrypted_response_enc":       nil,
	"introspection_signed_response_alg":          nil,
	"introspection_encrypted_response_alg":       nil,
	"introspection_encrypted_response_enc":       nil,
	"require_signed_request_object":              {"false"},
	"require_pushed_authorization_requests":      {"false"},
	"dpop_bound_access_tokens":                   {"false"},
	"tls_client_certificate_bound_access_tokens": {"false"},
}

// apply sets on c what a client may say of itself, all of it: what the request
// leaves out gets its default. Everything else of c stays.
func (m *metadataReader) apply(c *oauthreg.Client, terms *registrationTerms) {
	c.Name = m.text("client_name")
	if strings.TrimSpace(c.Name) == "" {
		c.Name = c.ClientID // the registry does so for new clients
	}
	c.ClientURI = m.text("client_uri")
	c.LogoURI = m.text("logo_uri")
	c.TOSURI = m.text("tos_uri")
	c.PolicyURI = m.text("policy_uri")
	c.Contacts = m.list("contacts", m.add)
	c.SoftwareID = m.text("software_id")
	c.SoftwareVersion = m.text("software_version")
	c.ApplicationType = oauthreg.ApplicationType(m.text("application_type"))

	c.RedirectURIs = m.list("redirect_uris", m.addRedirect)
	c.PostLogoutRedirectURIs = m.list("post_logout_redirect_uris", m.add)
	c.GrantTypes = m.list("grant_types", m.add)
	if len(c.GrantTypes) == 0 {
		c.GrantTypes = terms.defaultGrants()
	}
	c.ResponseTypes = m.list("response_types", m.add)

	c.TokenEndpointAuthMethod = m.text("token_endpoint_auth_method")
	if c.TokenEndpointAuthMethod == "" {
		c.TokenEndpointAuthMethod = oauthreg.AuthClientSecretBasic
		if c.Type == oauthreg.Public { // which cannot change
			c.TokenEndpointAuthMethod = oauthreg.AuthNone
		}
	}
	c.TokenEndpointAuthSigningAlg = m.text("token_endpoint_auth_signing_alg")
	m.applyOpenID(c)
	c.JWKSURI = m.text("jwks_uri")
	c.JWKS = nil
	if m.has("jwks") {
		c.JWKS = slices.Clone(m.members["jwks"])
	}

	c.Scopes = unique(oauthreg.SplitScope(m.text("scope")))
	if len(c.Scopes) == 0 {
		c.Scopes = sensibleScopes(terms.scopes, c.GrantTypes)
	}
	narrowDefaults(c)
}

// applyOpenID sets the members of OpenID Connect Registration §2 and of its logout
// specifications that RFC 7591 does not have.
func (m *metadataReader) applyOpenID(c *oauthreg.Client) {
	c.IDTokenSignedResponseAlg = m.text("id_token_signed_response_alg")
	c.UserinfoSignedResponseAlg = m.text("userinfo_signed_response_alg")
	if c.UserinfoSignedResponseAlg == "none" { // plain JSON
		c.UserinfoSignedResponseAlg = ""
	}
	c.SubjectType = oauthreg.SubjectType(m.text("subject_type"))
	c.SectorIdentifierURI = m.text("sector_identifier_uri")
	c.RequestObjectSigningAlg = m.text("request_object_signing_alg")
	c.RequestURIs = m.list("request_uris", m.add)
	c.DefaultMaxAge = m.seconds("default_max_age")
	c.RequireAuthTime = m.boolean("require_auth_time")
	c.DefaultACRValues = m.list("default_acr_values", m.add)
	c.InitiateLoginURI = m.text("initiate_login_uri")
	c.BackchannelLogoutURI = m.text("backchannel_logout_uri")
	c.BackchannelLogoutSessionRequired = m.boolean("backchannel_logout_session_required")
	c.FrontchannelLogoutURI = m.text("frontchannel_logout_uri")
	c.FrontchannelLogoutSessionRequired = m.boolean("frontchannel_logout_session_required")
}

// sensibleScopes is scopes without those that no grant of the client can use.
func sensibleScopes(scopes []string, grants []oauthreg.GrantType) []string {
	users := slices.ContainsFunc(grants, func(g oauthreg.GrantType) bool {
		return g != oauthreg.GrantClientCredentials && g != oauthreg.GrantRefreshToken
	})
	refresh := slices.Contains(grants, oauthreg.GrantRefreshToken)
	return slices.DeleteFunc(unique(scopes), func(scope string) bool {
		switch scope {
		case "openid":
			return !users
		case "offline_access":
			return !users || !refresh
		}
		return false
	})
}

func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// permitRegistration collects what the terms, and this server, do not let a
// client register. What is wrong with the metadata by itself the registry knows.
func (s *Server) permitRegistration(m *metadataReader, c *oauthreg.Client, terms *registrationTerms, before *oauthreg.Client) {
	for i, g := range c.GrantTypes {
		if !terms.allowsGrant(g) && !(before != nil && before.AllowsGrantType(g)) {
			m.add(indexedField("grant_types", i), "must be a grant type that such clients may register")
		}
	}
	for i, scope := range c.Scopes {
		if !slices.Contains(terms.scopes, scope) && !(before != nil && before.AllowsScope(scope)) {
			m.add(indexedField("scope", i), "must be a scope that this server offers to such clients")
		}
	}
	for i, uri := range c.RedirectURIs {
		if s.ownOrigin(uri) {
			m.addRedirect(indexedField("redirect_uris", i), "must not lead to this server")
		}
	}
	for i, uri := range c.PostLogoutRedirectURIs {
		if s.ownOrigin(uri) {
			m.add(indexedField("post_logout_redirect_uris", i), "must not lead to this server")
		}
	}
	for name, alg := range map[string]string{
		"id_token_signed_response_alg": c.IDTokenSignedResponseAlg, "userinfo_signed_response_alg": c.UserinfoSignedResponseAlg,
	} {
		if alg != "" && !slices.Contains(s.keys.Algorithms(), alg) {
			m.add(name, "must be one of "+strings.Join(s.keys.Algorithms(), ", "))
		}
	}
	for name, fine := range unsupportedMetadata {
		if m.has(name) && !slices.Contains(fine, string(bytes.TrimSpace(m.members[name]))) {
			m.add(name, "must be left out: the server does not support this")
		}
	}
}

// maxSector is the longest sector identifier document, in bytes.
const maxSector = 64 << 10

// checkSector fetches the document of sector_identifier_uri, if there is one: a
// JSON array that must have every redirect URI of the client (OpenID Connect
// Registration §5). It is done last, when nothing else is wrong: a stranger
// chose the URL.
func (s *Server) checkSector(ctx context.Context, c *oauthreg.Client) error {
	if c.SectorIdentifierURI == "" {
		return nil
	}
	refuse := func(message string) error {
		return &oauthreg.InvalidError{Problems: []oauthreg.Problem{
			{Field: "sector_identifier_uri", Code: oauthreg.CodeInvalidClientMetadata, Message: message},
		}}
	}
	body, _, err := fetchLimited(ctx, s.jwks.outbound, c.SectorIdentifierURI, "application/json", maxSector)
	if err != nil {
		s.log.InfoContext(ctx, "sector identifier not fetched", "err", err, "request_id", requestID(ctx))
		return refuse("must lead to a document that this server can fetch")
	}
	var listed []string
	if json.Unmarshal(body, &listed) != nil {
		return refuse("must lead to a JSON array of strings")
	}
	for _, uri := range c.RedirectURIs {
		if !slices.Contains(listed, uri) {
			return refuse("must lead to a document that lists every redirect URI")
		}
	}
	return nil
}

// ownOrigin reports whether a redirect to uri would come back to this server.
func (s *Server) ownOrigin(uri string) bool {
	u, err := url.Parse(uri)
	return err == nil && u.Scheme == s.issuer.Scheme && hostPort(u) == hostPort(s.issuer)
}

// hostPort is host and port of an http or https URL in one spelling.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	case u.Scheme == "http":
		port = "80"
	}
	return net.JoinHostPort(strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")), port)
}

// invalidMetadata joins what was found here to what the registry found; nil if
// there is nothing. Fields that both name are named once.
func (m *metadataReader) invalid(registry error) error {
	var also *oauthreg.InvalidError
	if registry != nil && !asInvalid(registry, &also) {
		return registry
	}
	problems := m.problems
	if also != nil {
		for _, p := range also.Problems {
			known := func(have oauthreg.Problem) bool { return have.Field == p.Field || have.Field == baseField(p.Field) }
			if !slices.ContainsFunc(m.problems, known) {
				problems = append(problems, p)
			}
		}
	}
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b oauthreg.Problem) int { return strings.Compare(baseField(a.Field), baseField(b.Field)) })
	return &oauthreg.InvalidError{Problems: problems}
}

func indexedField(name string, i int) string { return name + "[" + strconv.Itoa(i) + "]" }

// baseField is the name of the member that a problem's field is part of.
func baseField(field string) string {
	if i := strings.IndexAny(field, "[."); i >= 0 {
		return field[:i]
	}
	return field
}

// clientInformation is the answer to a registration (RFC 7591 §3.2.1) and to
// reading and changing one (RFC 7592 §3): all metadata as it is in effect.
type clientInformation struct {
	ClientID string `json:"client_id"`
	IssuedAt int64  `json:"client_id_issued_at"` // seconds since 1970
	// Secret is shown when it was just made, and SecretExpiresAt with it: 0,
	// for it does not expire.
	Secret          string `json:"client_secret,omitempty"`
	SecretExpiresAt *int64 `json:"client_secret_expires_at,omitempty"`

	RegistrationAccessToken string `json:"registration_access_token"`
	RegistrationClientURI   string `json:"registration_client_uri"`

	Name                    string              `json:"client_name"`
	ClientURI               string              `json:"client_uri,omitempty"`
	LogoURI                 string              `json:"logo_uri,omitempty"`
	TOSURI                  string              `json:"tos_uri,omitempty"`
	PolicyURI               string              `json:"policy_uri,omitempty"`
	Contacts                []string            `json:"contacts,omitempty"`
	SoftwareID              string              `json:"software_id,omitempty"`
	SoftwareVersion         string              `json:"software_version,omitempty"`
	ApplicationType         string              `json:"application_type"`
	RedirectURIs            []string            `json:"redirect_uris"`
	PostLogoutRedirectURIs  []string            `json:"post_logout_redirect_uris,omitempty"`
	GrantTypes              []string            `json:"grant_types"`
	ResponseTypes           []string            `json:"response_types"`
	Scope                   string              `json:"scope"`
	TokenEndpointAuthMethod oauthreg.AuthMethod `json:"token_endpoint_auth_method"`
	TokenEndpointAuthAlg    string              `json:"token_endpoint_auth_signing_alg,omitempty"`
	JWKS                    json.RawMessage     `json:"jwks,omitempty"`
	JWKSURI                 string              `json:"jwks_uri,omitempty"`

	SubjectType                 string   `json:"subject_type"`
	SectorIdentifierURI         string   `json:"sector_identifier_uri,omitempty"`
	IDTokenAlg                  string   `json:"id_token_signed_response_alg,omitempty"`
	UserinfoAlg                 string   `json:"userinfo_signed_response_alg,omitempty"`
	RequestObjectAlg            string   `json:"request_object_signing_alg,omitempty"`
	RequestURIs                 []string `json:"request_uris,omitempty"`
	DefaultMaxAge               *int64   `json:"default_max_age,omitempty"` // seconds
	RequireAuthTime             bool     `json:"require_auth_time,omitempty"`
	DefaultACRValues            []string `json:"default_acr_values,omitempty"`
	InitiateLoginURI            string   `json:"initiate_login_uri,omitempty"`
	BackchannelLogoutURI        string   `json:"backchannel_logout_uri,omitempty"`
	BackchannelSessionRequired  bool     `json:"backchannel_logout_session_required,omitempty"`
	FrontchannelLogoutURI       string   `json:"frontchannel_logout_uri,omitempty"`
	FrontchannelSessionRequired bool     `json:"frontchannel_logout_session_required,omitempty"`

	SoftwareStatement string `json:"software_statement,omitempty"`
}

// clientInformation says what is registered, without credentials.
func (s *Server) clientInformation(c *oauthreg.Client) *clientInformation {
	method := c.TokenEndpointAuthMethod
	if method == oauthreg.AuthUnnamed {
		method = oauthreg.AuthClientSecretBasic
	}
	info := &clientInformation{
		ClientID: c.ClientID, IssuedAt: c.CreatedAt.Unix(),
		RegistrationClientURI: s.url("/oauth/register/" + url.PathEscape(c.ClientID)),

		Name: c.Name, ClientURI: c.ClientURI, LogoURI: c.LogoURI, TOSURI: c.TOSURI, PolicyURI: c.PolicyURI,
		Contacts: c.Contacts, SoftwareID: c.SoftwareID, SoftwareVersion: c.SoftwareVersion,
		ApplicationType: string(c.ApplicationType),
		RedirectURIs:    nonNil(c.RedirectURIs), PostLogoutRedirectURIs: c.PostLogoutRedirectURIs,
		GrantTypes: nonNil(c.GrantTypes), ResponseTypes: nonNil(c.ResponseTypes),
		Scope:                   strings.Join(c.Scopes, " "),
		TokenEndpointAuthMethod: method, TokenEndpointAuthAlg: c.TokenEndpointAuthSigningAlg,
		JWKS: c.JWKS, JWKSURI: c.JWKSURI,

		SubjectType: string(c.SubjectType), SectorIdentifierURI: c.SectorIdentifierURI,
		IDTokenAlg: c.IDTokenSignedResponseAlg, UserinfoAlg: c.UserinfoSignedResponseAlg,
		RequestObjectAlg: c.RequestObjectSigningAlg, RequestURIs: c.RequestURIs,
		RequireAuthTime: c.RequireAuthTime, DefaultACRValues: c.DefaultACRValues, InitiateLoginURI: c.InitiateLoginURI,
		BackchannelLogoutURI: c.BackchannelLogoutURI, BackchannelSessionRequired: c.BackchannelLogoutSessionRequired,
		FrontchannelLogoutURI: c.FrontchannelLogoutURI, FrontchannelSessionRequired: c.FrontchannelLogoutSessionRequired,
	}
	if info.SubjectType == "" {
		info.SubjectType = string(oauthreg.PublicSubject)
	}
	if c.DefaultMaxAge != nil {
		seconds := int64(*c.DefaultMaxAge / time.Second)
		info.DefaultMaxAge = &seconds
	}
	if info.IDTokenAlg == "" && c.AllowsScope("openid") {
		info.IDTokenAlg = "RS256" // OpenID Connect Registration §2
	}
	return info
}

// withSecret shows a secret that was just made.
func (i *clientInformation) withSecret(secret string) {
	if secret != "" {
		i.Secret, i.SecretExpiresAt = secret, new(int64)
	}
}

// nonNil makes JSON say [] for no elements.
func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
