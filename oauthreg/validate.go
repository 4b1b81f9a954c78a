package oauthreg

import (
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Limits of lists and strings of a client.
const (
	maxClientID     = 255
	maxOwnerID      = 64
	maxName         = 255
	maxDescription  = 4096
	maxScopes       = 255
	maxScopeToken   = 255
	maxGrantTypes   = 32
	maxRedirectURIs = 64
	maxResources    = 64
	maxContacts     = 16
	maxShortText    = 255
	maxMetadataKeys = 32
	maxMetadataKey  = 64
	maxMetadata     = 1024
	maxLabel        = 64
)

// Rules are where the faces of the registry differ: what one protocol or API
// accepts at registration and another refuses. The zero value is the rules of
// Go programs and of the clients file, unless its fields say otherwise.
type Rules struct {
	// AllowImplicit accepts the implicit grant although [Config.Implicit] is
	// off: it is kept, and has no effect.
	AllowImplicit bool
	// PublicClientCredentials accepts client_credentials for a public client,
	// which has nothing to prove itself with (RFC 6749 §4.4). The token
	// endpoint must refuse it.
	PublicClientCredentials bool
	// NoClientCredentials refuses client_credentials: nobody whom the operator
	// does not know gets a token without a user.
	NoClientCredentials bool
	// RequireDottedSchemes refuses private-use redirect schemes without a dot
	// (RFC 8252 §7.1) but those of [Config.PrivateUseSchemes].
	RequireDottedSchemes bool
	// KnownScopesOnly refuses scopes that [Config.Scopes] does not have, if it
	// has any. RefusedScopes are refused in any case.
	KnownScopesOnly bool
	RefusedScopes   []string
	// PublicHostsOnly refuses jwks_uri, logo_uri and every other URI that this
	// server or a browser on its pages would fetch, if it is not https, or leads
	// to an address, a local name or an internal name. A public name that
	// resolves to an internal address is for whoever fetches to refuse.
	PublicHostsOnly bool
	// NameOptional gives a client without a name its client_id for a name.
	NameOptional bool
}

// problem is a Problem with the value it is about, which tells a problem that
// was there before from a new one of the same kind.
type problem struct {
	Problem
	subject string
}

// key says what the problem is about, wherever in its list the value stands.
func (p problem) key() string {
	field, _, _ := strings.Cut(p.Field, "[")
	return field + "\x00" + p.Message + "\x00" + p.subject
}

// validator collects the problems of one client.
type validator struct {
	r        *Registry
	rules    Rules
	problems []problem
}

// validate returns everything that is wrong with c, which was completed before.
func (r *Registry) validate(c *Client, rules Rules) []problem {
	v := &validator{r: r, rules: rules}
	v.identity(c)
	v.texts(c)
	v.authentication(c)
	v.document(c)
	v.scopes(c)
	v.grants(c)
	v.redirects(c)
	v.resources(c)
	v.keys(c)
	v.links(c)
	v.openID(c)
	v.lifetimes(&c.Lifetimes)
	v.metadata(c.Metadata)
	return v.problems
}

// invalid makes an error of problems; nil if there are none.
func invalid(problems []problem) error {
	if len(problems) == 0 {
		return nil
	}
	e := &InvalidError{Problems: make([]Problem, len(problems))}
	for i, p := range problems {
		e.Problems[i] = p.Problem
	}
	return e
}

// invalidField is the error of a single problem.
func invalidField(field, message string) error {
	return &InvalidError{Problems: []Problem{{Field: field, Code: CodeInvalidClientMetadata, Message: message}}}
}

func (v *validator) add(field, subject, message string) {
	v.problems = append(v.problems, problem{Problem{field, CodeInvalidClientMetadata, message}, subject})
}

func (v *validator) addf(field, subject, format string, args ...any) {
	v.add(field, subject, fmt.Sprintf(format, args...))
}

func (v *validator) addRedirect(field, subject, message string) {
	v.problems = append(v.problems, problem{Problem{field, CodeInvalidRedirectURI, message}, subject})
}

// Completed returns c with what follows from the rest of it, as [Registry.Register]
// would keep it: for a client that is used before it is registered.
func (c Client) Completed() Client {
	c = c.Clone()
	c.complete()
	return c
}

// complete fills in what follows from the rest of c, and gives it its one form.
func (c *Client) complete() {
	for _, list := range []*[]string{
		&c.Scopes, &c.DefaultScopes, &c.GrantTypes, &c.ResponseTypes, &c.RedirectURIs,
		&c.PostLogoutRedirectURIs, &c.Audience, &c.ResourceServer, &c.Contacts,
		&c.RequestURIs, &c.DefaultACRValues,
	} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	if len(c.Metadata) == 0 {
		c.Metadata = nil
	}
	c.JWKS = canonicalJWKS(c.JWKS)
	c.ID = strings.ToLower(c.ID)

	switch {
	case c.Type == "" && c.TokenEndpointAuthMethod == AuthNone:
		c.Type = Public
	case c.Type == "":
		c.Type = Confidential
	case c.Type == Public && c.TokenEndpointAuthMethod == AuthUnnamed:
		c.TokenEndpointAuthMethod = AuthNone
	}
	if c.Type == Public {
		c.RequirePKCE = true
	}
	if c.ApplicationType == "" {
		c.ApplicationType = c.derivedApplicationType()
	}
	if c.ResponseTypes == nil {
		c.ResponseTypes = c.derivedResponseTypes()
	}
	for i, t := range c.ResponseTypes {
		c.ResponseTypes[i] = orderedResponseType(t)
	}
	if c.AccessTokenFormat == "" {
		c.AccessTokenFormat = Opaque
	}
	if c.SubjectType == PublicSubject {
		c.SubjectType = "" // its one form
	}
}

// derivedApplicationType is native when a redirect URI is one that only a
// native app registers.
func (c *Client) derivedApplicationType() ApplicationType {
	if slices.ContainsFunc(c.RedirectURIs, isNativeRedirect) {
		return Native
	}
	return Web
}

// derivedResponseTypes are those that the grant types give rise to (RFC 7591
// §2.1, OpenID Connect Registration §2); nil if none does.
func (c *Client) derivedResponseTypes() []string {
	var out []string
	if c.AllowsGrantType(GrantAuthorizationCode) {
		out = append(out, "code")
	}
	if c.AllowsGrantType(GrantImplicit) {
		out = append(out, "token", "id_token", "id_token token")
	}
	return out
}

// orderedResponseType puts the words of a response type, whose order has no
// meaning (RFC 6749 §3.1.1), in the one order that is kept.
func orderedResponseType(t string) string {
	words := strings.Split(t, " ")
	slices.Sort(words)
	return strings.Join(words, " ")
}

func (v *validator) identity(c *Client) {
	if id, err := uuid.Parse(c.ID); err != nil || id.String() != c.ID || id == uuid.Nil {
		v.add("id", c.ID, "must be a UUID")
	}
	if !validClientID(c.ClientID) {
		v.add("client_id", c.ClientID, "must be 1 to 255 characters of A-Z, a-z, 0-9, '.', '_', '~' and '-', or an https URL (http on a loopback host)")
	}
	for _, f := range []struct{ field, value string }{
		{"org_id", c.OrgID}, {"project_id", c.ProjectID}, {"user_id", c.UserID},
	} {
		if utf8.RuneCountInString(f.value) > maxOwnerID || !printable(f.value) || strings.Contains(f.value, " ") {
			v.addf(f.field, f.value, "must be at most %d characters without spaces or control characters", maxOwnerID)
		}
	}
	if c.SelfRegistered && c.Version == 0 {
		for _, f := range []struct {
			field string
			set   bool
		}{
			{"first_party", c.FirstParty}, {"verified", c.Verified}, {"resource_server", len(c.ResourceServer) > 0},
		} {
			if f.set {
				v.add(f.field, "", "cannot be set by the client itself")
			}
		}
	}
}

// lineBreaks are what a description may have of control characters.
var lineBreaks = strings.NewReplacer("\n", "", "\r", "", "\t", "")

// validClientID reports whether id may be a client_id: unreserved characters
// (RFC 3986 §2.3), or the URL of a client metadata document.
func validClientID(id string) bool {
	if id == "" || len(id) > maxClientID {
		return false
	}
	if secure := strings.HasPrefix(id, "https://"); secure || strings.HasPrefix(id, "http://") {
		u, host, err := parseWebURL(id)
		return err == nil && (secure || isLoopbackHost(host)) && u.Fragment == "" && !strings.Contains(id, "#") && checkPath(u.EscapedPath()) == nil
	}
	for i := 0; i < len(id); i++ {
		if c := id[i]; !isAlnum(c) && c != '.' && c != '_' && c != '~' && c != '-' {
			return false
		}
	}
	return true
}

func (v *validator) texts(c *Client) {
	switch {
	case strings.TrimSpace(c.Name) == "":
		v.add("client_name", "", "must not be empty")
	case utf8.RuneCountInString(c.Name) > maxName:
		v.addf("client_name", c.Name, "must be at most %d characters", maxName)
	}
	if !printable(c.Name) {
		v.add("client_name", c.Name, "must not contain control characters, line breaks or characters that change the direction of text")
	}

	if len(c.Description) > maxDescription {
		v.addf("description", c.Description, "must be at most %d bytes", maxDescription)
	}
	if !printable(lineBreaks.Replace(c.Description)) {
		v.add("description", c.Description, "must not contain control characters")
	}

	v.shortText("software_id", c.SoftwareID)
	v.shortText("software_version", c.SoftwareVersion)
	if len(c.Contacts) > maxContacts {
		v.addf("contacts", strconv.Itoa(len(c.Contacts)), "must be at most %d", maxContacts)
		return
	}
	for i, contact := range c.Contacts {
		field := indexed("contacts", i)
		if contact == "" {
			v.add(field, "", "must not be empty")
		}
		v.shortText(field, contact)
	}
}

func (v *validator) shortText(field, text string) {
	if utf8.RuneCountInString(text) > maxShortText || !printable(text) {
		v.addf(field, text, "must be at most %d characters without control characters", maxShortText)
	}
}

func indexed(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// printable reports whether s is valid UTF-8 without control characters, line
// breaks, and the marks that make text look different from what it is.
func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, c := range s {
		switch {
		case unicode.IsControl(c),
			c == 0x2028 || c == 0x2029,                // line and paragraph separator
			c == 0x061c || c == 0x200e || c == 0x200f, // directional marks
			0x202a <= c && c <= 0x202e,                // embeddings and overrides
			0x2066 <= c && c <= 0x2069,                // isolates
			0xfff9 <= c && c <= 0xfffb,                // interlinear annotation
			c == 0xfeff:                               // byte order mark
			return false
		}
	}
	return true
}

// signingAlgs are the JWS algorithms that may occur anywhere: asymmetric ones,
// never none and never a MAC (RFC 8725 §3.1).
var signingAlgs = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

func (v *validator) authentication(c *Client) {
	method := c.TokenEndpointAuthMethod
	switch method {
	case AuthUnnamed, AuthClientSecretBasic, AuthClientSecretPost, AuthPrivateKeyJWT, AuthNone:
	default:
		v.add("token_endpoint_auth_method", method, "must be client_secret_basic, client_secret_post, private_key_jwt or none")
	}
	switch {
	case c.Type != Public && c.Type != Confidential:
		v.add("client_type", string(c.Type), "must be public or confidential")
	case (c.Type == Public) != (method == AuthNone):
		v.addf("token_endpoint_auth_method", string(c.Type)+" "+method, "must be none for a public client and something else for a confidential one")
	}

	if alg := c.TokenEndpointAuthSigningAlg; alg != "" && !slices.Contains(signingAlgs, alg) {
		v.add("token_endpoint_auth_signing_alg", alg, "must be one of "+strings.Join(signingAlgs, ", "))
	}
	if alg := c.IDTokenSignedResponseAlg; alg != "" && !slices.Contains(v.r.idTokenAlgs, alg) {
		v.add("id_token_signed_response_alg", alg, "must be one of "+strings.Join(v.r.idTokenAlgs, ", "))
	}
	if f := c.AccessTokenFormat; f != Opaque && f != JWT {
		v.add("access_token_format", string(f), "must be opaque or jwt")
	}
}

// document is what a metadata document can never make of a client, and nobody may
// make of it while it follows one (draft-ietf-oauth-client-id-metadata-document
// §4.1): there is no way to agree on a secret.
func (v *validator) document(c *Client) {
	if !c.HasMetadataDocument() {
		return
	}
	if !strings.Contains(c.ClientID, "://") {
		v.add("client_id", c.ClientID, "must be a URL for a client with a metadata document")
	}
	if m := c.TokenEndpointAuthMethod; m != AuthNone && m != AuthPrivateKeyJWT {
		v.add("token_endpoint_auth_method", "document "+m, "must be none or private_key_jwt for a client with a metadata document")
	}
	if c.AllowsGrantType(GrantClientCredentials) {
		v.add("grant_types", "document", "must not have client_credentials for a client with a metadata document")
	}
	if !c.RequirePKCE {
		v.add("require_pkce", "document", "must be true for a client with a metadata document")
	}
}

// ValidScopeToken reports whether s is one scope of RFC 6749 §3.3: one or more
// of %x21 / %x23-5B / %x5D-7E.
func ValidScopeToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c == '"' || c == '\\' || c > 0x7e {
			return false
		}
	}
	return s != ""
}

// SplitScope splits the value of a scope parameter or metadata member (RFC 6749
// §3.3) at its spaces. It does not judge the tokens; an empty value has none.
func SplitScope(scope string) []string {
	var out []string
	for token := range strings.SplitSeq(scope, " ") {
		if token != "" {
			out = append(out, token)
		}
	}
	return out
}

func (v *validator) scopes(c *Client) {
	if len(c.Scopes) > maxScopes {
		v.addf("scope", strconv.Itoa(len(c.Scopes)), "must be at most %d scopes", maxScopes)
		return
	}
	seen := map[string]bool{}
	for i, s := range c.Scopes {
		field := indexed("scope", i)
		switch {
		case !ValidScopeToken(s):
			v.add(field, s, "must be one or more printable ASCII characters without space, quotation mark and backslash")
		case len(s) > maxScopeToken:
			v.addf(field, s, "must be at most %d characters", maxScopeToken)
		case seen[s]:
			v.add(field, s, "must not be listed twice")
		case slices.Contains(v.rules.RefusedScopes, s),
			v.rules.KnownScopesOnly && len(v.r.scopes) > 0 && !slices.Contains(v.r.scopes, s):
			v.add(field, s, "must be a scope that this server offers to such clients")
		}
		seen[s] = true
	}
	defaults := map[string]bool{}
	for i, s := range c.DefaultScopes {
		field := indexed("default_scope", i)
		switch {
		case !seen[s]:
			v.add(field, s, "must be among the client's scopes")
		case defaults[s]:
			v.add(field, s, "must not be listed twice")
		}
		defaults[s] = true
	}
}

func (v *validator) grants(c *Client) {
	if len(c.GrantTypes) > maxGrantTypes {
		v.addf("grant_types", strconv.Itoa(len(c.GrantTypes)), "must be at most %d", maxGrantTypes)
		return
	}
	implicit := v.r.implicit || v.rules.AllowImplicit
	refreshable := false
	for i, g := range c.GrantTypes {
		field := indexed("grant_types", i)
		switch {
		case slices.Contains(c.GrantTypes[:i], g):
			v.add(field, g, "must not be listed twice")
		case g == GrantAuthorizationCode:
			refreshable = true
		case g == GrantRefreshToken:
		case g == GrantClientCredentials && v.rules.NoClientCredentials:
			v.add(field, g, "must not be client_credentials for such clients")
		case g == GrantClientCredentials && c.Type == Public && !v.rules.PublicClientCredentials:
			v.add(field, g, "must not be client_credentials: a public client has no credentials")
		case g == GrantClientCredentials:
		case g == GrantImplicit && implicit:
		case slices.Contains(v.r.grantTypes, g):
			refreshable = true
		default:
			v.add(field, g, "must be a grant type that this server offers")
		}
	}
	if c.AllowsGrantType(GrantRefreshToken) && !refreshable {
		v.add("grant_types", "", "must have a grant that yields refresh tokens, such as authorization_code, beside refresh_token")
	}

	for i, t := range c.ResponseTypes {
		field := indexed("response_types", i)
		switch {
		case slices.Contains(c.ResponseTypes[:i], t):
			v.add(field, t, "must not be listed twice")
		case t == "code":
			if !c.AllowsGrantType(GrantAuthorizationCode) {
				v.add(field, t, "must come with the authorization_code grant")
			}
		case implicit && isImplicitResponseType(t):
			if !c.AllowsGrantType(GrantImplicit) {
				v.add(field, t, "must come with the implicit grant")
			}
			if strings.HasPrefix(t, "code ") && !c.AllowsGrantType(GrantAuthorizationCode) {
				v.add(field, t, "must come with the authorization_code grant")
			}
		default:
			v.add(field, t, "must be a response type that this server offers")
		}
	}
	if c.AllowsGrantType(GrantAuthorizationCode) && !c.AllowsResponseType("code") {
		v.add("response_types", "", "must have code with the authorization_code grant")
	}
	if implicit && c.AllowsGrantType(GrantImplicit) && !slices.ContainsFunc(c.ResponseTypes, isImplicitResponseType) {
		v.add("response_types", "", "must have token or id_token with the implicit grant")
	}
}

// isImplicitResponseType reports whether t answers tokens in the front channel:
// the implicit and the hybrid types (OpenID Connect Core §3.2, §3.3).
func isImplicitResponseType(t string) bool {
	t = strings.TrimPrefix(t, "code ")
	return t == "token" || t == "id_token" || t == "id_token token"
}

func (v *validator) redirects(c *Client) {
	if t := c.ApplicationType; t != Web && t != Native {
		v.add("application_type", string(t), "must be web or native")
	}
	if len(c.RedirectURIs) == 0 && (c.AllowsGrantType(GrantAuthorizationCode) || c.AllowsGrantType(GrantImplicit)) {
		v.addRedirect("redirect_uris", "", "must not be empty with the authorization_code or the implicit grant")
	}
	v.redirectList("redirect_uris", c, c.RedirectURIs, v.addRedirect)
	v.redirectList("post_logout_redirect_uris", c, c.PostLogoutRedirectURIs, v.add)
}

func (v *validator) redirectList(field string, c *Client, uris []string, add func(field, subject, message string)) {
	if len(uris) > maxRedirectURIs {
		add(field, strconv.Itoa(len(uris)), fmt.Sprintf("must be at most %d", maxRedirectURIs))
		return
	}
	rules := RedirectRules{
		ApplicationType:      c.ApplicationType,
		RequireDottedSchemes: v.rules.RequireDottedSchemes,
		PrivateUseSchemes:    v.r.privateUseSchemes,
	}
	for i, uri := range uris {
		if err := ValidateRedirectURI(uri, rules); err != nil {
			add(indexed(field, i), uri, err.Error())
		} else if slices.Contains(uris[:i], uri) {
			add(indexed(field, i), uri, "must not be listed twice")
		}
	}
}

func (v *validator) resources(c *Client) {
	for _, l := range []struct {
		field string
		uris  []string
	}{
		{"audience", c.Audience}, {"resource_server", c.ResourceServer},
	} {
		if len(l.uris) > maxResources {
			v.addf(l.field, strconv.Itoa(len(l.uris)), "must be at most %d", maxResources)
			continue
		}
		for i, uri := range l.uris {
			if !ValidResource(uri) {
				v.add(indexed(l.field, i), uri, "must be an absolute URI without fragment")
			} else if slices.Contains(l.uris[:i], uri) {
				v.add(indexed(l.field, i), uri, "must not be listed twice")
			}
		}
	}
}

// ValidResource reports whether uri can name a protected resource (RFC 8707
// §2): an absolute URI without fragment, at most 2048 ASCII characters.
func ValidResource(uri string) bool {
	if len(uri) > maxURI || strings.Contains(uri, "#") || checkURICharacters(uri) != nil {
		return false
	}
	_, rest, ok := cutScheme(uri)
	if !ok || rest == "" || rest == "//" {
		return false
	}
	u, err := url.Parse(uri)
	return err == nil && u.User == nil && !(u.Host == "" && (u.Scheme == "http" || u.Scheme == "https"))
}

func (v *validator) keys(c *Client) {
	if len(c.JWKS) > 0 && c.JWKSURI != "" {
		v.add("jwks_uri", "", "must not come together with jwks")
	}
	method := c.TokenEndpointAuthMethod
	if method == AuthPrivateKeyJWT && len(c.JWKS) == 0 && c.JWKSURI == "" {
		v.add("jwks", "", "must be given, or jwks_uri, with private_key_jwt")
	}
	if len(c.JWKS) > 0 {
		usable, problems := checkJWKS(c.JWKS, c.TokenEndpointAuthSigningAlg)
		for _, p := range problems {
			v.add(p.Field, string(c.JWKS), p.Message)
		}
		if len(problems) == 0 && method == AuthPrivateKeyJWT && !usable {
			v.add("jwks", string(c.JWKS)+c.TokenEndpointAuthSigningAlg, "must have a signing key that fits token_endpoint_auth_signing_alg")
		}
	}

	if c.JWKSURI != "" {
		u, host, err := parseWebURL(c.JWKSURI)
		switch {
		case err != nil:
			v.add("jwks_uri", c.JWKSURI, err.Error())
		case u.Scheme != "https" && !isLoopbackHost(host):
			v.add("jwks_uri", c.JWKSURI, "must use https, except on localhost, 127.0.0.1 and [::1]")
		case strings.Contains(c.JWKSURI, "#"):
			v.add("jwks_uri", c.JWKSURI, "must not have a fragment")
		default:
			v.publicHost("jwks_uri", c.JWKSURI, u, host)
		}
	}
}

func (v *validator) links(c *Client) {
	for _, f := range []struct{ field, value string }{
		{"client_uri", c.ClientURI}, {"logo_uri", c.LogoURI}, {"tos_uri", c.TOSURI}, {"policy_uri", c.PolicyURI},
	} {
		if f.value == "" {
			continue
		}
		u, host, err := parseWebURL(f.value)
		if err != nil {
			v.add(f.field, f.value, err.Error())
		} else if f.field == "logo_uri" {
			v.publicHost(f.field, f.value, u, host)
		}
	}
}

// publicHost enforces Rules.PublicHostsOnly.
func (v *validator) publicHost(field, value string, u *url.URL, host string) {
	if !v.rules.PublicHostsOnly {
		return
	}
	name := strings.ToLower(host)
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	internal := err == nil || !strings.Contains(name, ".")
	for _, suffix := range []string{".localhost", ".local", ".internal", ".lan", ".home.arpa", ".localdomain"} {
		internal = internal || strings.HasSuffix(name, suffix)
	}
	if u.Scheme != "https" || internal {
		v.add(field, value, "must use https and a public host name")
	}
}

// parseWebURL parses an absolute http or https URL that people or servers may
// follow. The error is a sentence about the URL.
func parseWebURL(s string) (u *url.URL, host string, err error) {
	if len(s) > maxURI {
		return nil, "", fmt.Errorf("must be at most %d characters", maxURI)
	}
	if err := checkURICharacters(s); err != nil {
		return nil, "", err
	}
	scheme, rest, ok := cutScheme(s)
	if scheme = strings.ToLower(scheme); !ok || scheme != "https" && scheme != "http" {
		return nil, "", fmt.Errorf("must be an absolute http or https URL")
	}
	rest, _, _ = strings.Cut(rest, "#")
	authority, _, ok := cutAuthority(rest)
	host, _, _ = cutPort(authority)
	if !ok || host == "" {
		return nil, "", fmt.Errorf("must have a host")
	}
	if err := checkAuthority(authority); err != nil {
		return nil, "", err
	}
	if err := checkHost(host); err != nil {
		return nil, "", err
	}
	u, err = url.Parse(s)
	if err != nil || u.User != nil || u.Host != authority {
		return nil, "", fmt.Errorf("must be a valid URL")
	}
	return u, host, nil
}

func (v *validator) lifetimes(l *Lifetimes) {
	const day = 24 * time.Hour
	for _, f := range []struct {
		field string
		value time.Duration
		limit time.Duration
	}{
		{"authorization_code_lifetime", l.AuthorizationCode, 10 * time.Minute},
		{"access_token_lifetime", l.AccessToken, day},
		{"refresh_token_idle_lifetime", l.RefreshTokenIdle, 3653 * day},
		{"refresh_token_lifetime", l.RefreshToken, 3653 * day},
		{"id_token_lifetime", l.IDToken, day},
	} {
		if f.value < 0 || f.value > f.limit || f.value%time.Second != 0 {
			v.addf(f.field, f.value.String(), "must be whole seconds from 1 to %d, or 0 for the server's", int64(f.limit/time.Second))
		}
	}
}

func (v *validator) metadata(m map[string]string) {
	if len(m) > maxMetadataKeys {
		v.addf("metadata", strconv.Itoa(len(m)), "must be at most %d keys", maxMetadataKeys)
		return
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if k == "" || utf8.RuneCountInString(k) > maxMetadataKey || !printable(k) {
			v.addf("metadata", k, "must have keys of 1 to %d characters without control characters", maxMetadataKey)
		}
		if value := m[k]; len(value) > maxMetadata || !utf8.ValidString(value) || strings.Contains(value, "\x00") {
			v.addf("metadata", k+"\x00"+value, "must have values of at most %d bytes of UTF-8", maxMetadata)
		}
	}
}
