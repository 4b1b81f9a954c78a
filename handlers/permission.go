package handlers

import (
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// This file is the one place that compares a request with what the client
// registered. It reads a client and a request and changes nothing, so that the
// endpoints enforce by it and an explanation can be given by it.

// authorizeParams is an authorization request (RFC 6749 §4.1.1 and its
// extensions), parsed and free of syntax errors. It is stored as JSON while a
// person signs in and decides.
type authorizeParams struct {
	ClientID string `json:"client_id"`
	// RedirectURI is the parameter as sent; RedirectTo is where answers go: the
	// same, or the one registered URI when the parameter was left out.
	RedirectURI   string   `json:"redirect_uri,omitempty"`
	RedirectTo    string   `json:"redirect_to"`
	ResponseType  string   `json:"response_type"`
	ResponseMode  string   `json:"response_mode,omitempty"`
	State         string   `json:"state,omitempty"`
	Scopes        []string `json:"scope,omitempty"`
	Resources     []string `json:"resource,omitempty"`
	Nonce         string   `json:"nonce,omitempty"`
	CodeChallenge string   `json:"code_challenge,omitempty"`
	Prompt        []string `json:"prompt,omitempty"`
	MaxAge        *int64   `json:"max_age,omitempty"`
	ACRValues     []string `json:"acr_values,omitempty"`
	LoginHint     string   `json:"login_hint,omitempty"`
	UILocales     []string `json:"ui_locales,omitempty"`
	Display       string   `json:"display,omitempty"`
}

func (p *authorizeParams) prompts(v string) bool { return slices.Contains(p.Prompt, v) }

// redirectTarget decides where the answer to an authorization request may go, or
// that it may go nowhere: then a page is shown and nothing is redirected
// (RFC 6749 §3.1.2.4).
func redirectTarget(c *oauthreg.Client, requested string) (string, *Error) {
	if requested == "" {
		if len(c.RedirectURIs) == 1 && c.MatchRedirectURI(c.RedirectURIs[0]) {
			return c.RedirectURIs[0], nil
		}
		return "", invalidRequest("The redirect_uri parameter is missing.").decidedBy("redirect_uris")
	}
	if !c.MatchRedirectURI(requested) {
		return "", invalidRequest("The redirect_uri is not registered for this client.").decidedBy("redirect_uris")
	}
	return requested, nil
}

// parseAuthorize reads the parameters behind a valid redirect target and checks
// their syntax. The result is compared with the registration by permitAuthorize.
func parseAuthorize(form url.Values, p *authorizeParams) *Error {
	for _, unsupported := range []struct{ name, code string }{
		{"request", "request_not_supported"},           // OpenID Connect Core §6.1
		{"request_uri", "request_uri_not_supported"},   // §6.2
		{"registration", "registration_not_supported"}, // §7.2.1
	} {
		if form.Has(unsupported.name) {
			return oauthError(400, unsupported.code, "The "+unsupported.name+" parameter is not supported.")
		}
	}
	if p.ResponseType = form.Get("response_type"); p.ResponseType == "" {
		return invalidRequest("The response_type parameter is missing.")
	}
	p.ResponseMode = form.Get("response_mode")
	p.Nonce = form.Get("nonce")
	p.LoginHint = form.Get("login_hint")
	p.Display = form.Get("display")
	p.ACRValues = strings.Fields(form.Get("acr_values"))
	p.UILocales = strings.Fields(form.Get("ui_locales"))

	scopes, err := parseScope(form.Get("scope"))
	if err != nil {
		return err
	}
	p.Scopes = scopes
	p.Resources = form["resource"]

	// RFC 7636 §4.2, §4.3: an absent method means plain, which is not offered.
	challenge, method := form.Get("code_challenge"), form.Get("code_challenge_method")
	switch {
	case challenge == "" && method != "":
		return invalidRequest("code_challenge_method stands without code_challenge.")
	case challenge != "" && method != "S256":
		return invalidRequest("code_challenge_method must be S256.")
	case challenge != "" && !isS256(challenge):
		return invalidRequest("code_challenge must be 43 characters of base64url.")
	}
	p.CodeChallenge = challenge

	// OpenID Connect Core §3.1.2.1, for plain OAuth requests too.
	p.Prompt = strings.Fields(form.Get("prompt"))
	for _, v := range p.Prompt {
		switch v {
		case "none", "login", "consent", "select_account":
		default:
			return invalidRequest("The prompt parameter has an unknown value.")
		}
	}
	if p.prompts("none") && len(p.Prompt) > 1 {
		return invalidRequest("prompt=none stands alone.")
	}
	if v := form.Get("max_age"); v != "" {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 0 {
			return invalidRequest("max_age must be a number of seconds.")
		}
		p.MaxAge = &n
	}
	return nil
}

// isS256 reports whether v can be a challenge of method S256: the base64url of a
// SHA-256 (RFC 7636 §4.2).
func isS256(v string) bool {
	b, err := strictBase64.DecodeString(v)
	return err == nil && len(b) == 32
}

// permitAuthorize answers whether the client may make the request, and fills in
// what the registration decides: the scopes when none were asked, and the
// resources in the server's spelling. p.RedirectTo is checked already.
func (s *Server) permitAuthorize(c *oauthreg.Client, p *authorizeParams) *Error {
	if p.ResponseType != "code" {
		return oauthError(400, "unsupported_response_type", "The server does not offer this response_type.")
	}
	if !c.AllowsGrantType(oauthreg.GrantAuthorizationCode) {
		return unauthorizedClient("The client may not use the authorization_code grant.").decidedBy("grant_types")
	}
	if !c.AllowsResponseType(p.ResponseType) {
		return unauthorizedClient("The client may not use this response_type.").decidedBy("response_types")
	}
	if p.ResponseMode != "" && p.ResponseMode != "query" {
		return invalidRequest("The server does not offer this response_mode for response_type=code.")
	}
	if p.CodeChallenge == "" && c.PKCERequired() {
		return invalidRequest("The client must use PKCE: code_challenge is missing.").decidedBy("require_pkce")
	}
	scopes, err := permitScopes(c, p.Scopes)
	if err != nil {
		return err
	}
	resources, err := s.permitResources(c, p.Resources)
	if err != nil {
		return err
	}
	p.Scopes, p.Resources = scopes, resources
	return nil
}

// permitGrantType answers whether the client may use the grant type at the token
// endpoint.
func (s *Server) permitGrantType(c *oauthreg.Client, grantType string) *Error {
	switch grantType {
	case "":
		return invalidRequest("The grant_type parameter is missing.")
	case oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken, oauthreg.GrantClientCredentials:
	default:
		return unsupportedGrantType()
	}
	if !c.AllowsGrantType(grantType) {
		return unauthorizedClient("The client may not use this grant type.").decidedBy("grant_types")
	}
	if grantType == oauthreg.GrantClientCredentials && c.IsPublic() {
		return unauthorizedClient("A public client may not use the client_credentials grant.").decidedBy("token_endpoint_auth_method")
	}
	return nil
}

// permitScopes answers with the scopes to grant: those asked for, or the
// client's when none were (RFC 6749 §3.3).
func permitScopes(c *oauthreg.Client, asked []string) ([]string, *Error) {
	if len(asked) == 0 {
		return c.ScopesWhenNoneAsked(), nil
	}
	for _, scope := range asked {
		if !c.AllowsScope(scope) {
			return nil, invalidScope("The client may not ask for the scope " + scope + ".").decidedBy("scope")
		}
	}
	return asked, nil
}

// permitResources answers with the resources in the spelling the server or the
// registration has (RFC 8707 §2).
func (s *Server) permitResources(c *oauthreg.Client, asked []string) ([]string, *Error) {
	if len(asked) == 0 {
		return nil, nil
	}
	allowed, field := s.resources, ""
	if len(c.Audience) > 0 {
		allowed, field = c.Audience, "audience"
	}
	out := make([]string, 0, len(asked))
	for _, r := range asked {
		if !validResource(r) {
			return nil, invalidTarget("A resource must be an absolute URI without fragment.")
		}
		i := slices.IndexFunc(allowed, func(a string) bool { return sameResource(a, r) })
		if i < 0 {
			return nil, invalidTarget("The client may not ask for this resource.").decidedBy(field)
		}
		if !slices.Contains(out, allowed[i]) {
			out = append(out, allowed[i])
		}
	}
	return out, nil
}

// sameResource compares two resource identifiers: exactly, but for one trailing
// slash on a bare origin.
func sameResource(a, b string) bool {
	return a == b || bareOrigin(a) == bareOrigin(b)
}

func bareOrigin(r string) string {
	if t, ok := strings.CutSuffix(r, "/"); ok {
		if _, host, found := strings.Cut(t, "://"); found && host != "" && !strings.Contains(host, "/") {
			return t
		}
	}
	return r
}

// parseScope splits a scope parameter, checks its grammar (RFC 6749 §3.3) and
// drops repetitions. An empty one has no scopes.
func parseScope(v string) ([]string, *Error) {
	if v == "" {
		return nil, nil
	}
	var out []string
	for scope := range strings.SplitSeq(v, " ") {
		if scope == "" {
			continue
		}
		for i := range len(scope) {
			if c := scope[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
				return nil, invalidScope("A scope has a character that RFC 6749 does not allow.")
			}
		}
		if !slices.Contains(out, scope) {
			out = append(out, scope)
		}
		if len(out) > maxParameters {
			return nil, invalidScope("There are too many scopes.")
		}
	}
	return out, nil
}

// lifetimes are the client's, with the server's where it has none.
func (s *Server) lifetimes(c *oauthreg.Client) oauthreg.Lifetimes {
	l := c.Lifetimes
	d := s.cfg.Lifetimes
	if l.AuthorizationCode == 0 {
		l.AuthorizationCode = d.AuthorizationCode
	}
	if l.AccessToken == 0 {
		l.AccessToken = d.AccessToken
	}
	if l.RefreshTokenIdle == 0 {
		l.RefreshTokenIdle = d.RefreshTokenIdle
	}
	if l.RefreshToken == 0 {
		l.RefreshToken = d.RefreshToken
	}
	if l.IDToken == 0 {
		l.IDToken = d.IDToken
	}
	return l
}

func (p *authorizeParams) marshal() []byte {
	b, err := json.Marshal(p)
	if err != nil {
		panic("handlers: authorization parameters are plain data: " + err.Error())
	}
	return b
}
