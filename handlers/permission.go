package handlers

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// This file is the one place that compares a request with what the client
// registered. It reads a client and a request and changes nothing, so that the
// endpoints enforce by it and an explanation can be given by it.

// authorizeParams is an authorization request (RFC 6749 §4.1.1 and its
// extensions), parsed and free of syntax errors. It is stored, see pending_codec.go,
// while a person signs in and decides.
type authorizeParams struct {
	ClientID string
	// RedirectURI is the parameter as sent; RedirectTo is where answers go: the
	// same, or the one registered URI when the parameter was left out.
	RedirectURI   string
	RedirectTo    string
	ResponseType  string
	ResponseMode  string
	State         string
	Scopes        []string
	Resources     []string
	Nonce         string
	CodeChallenge string
	Prompt        []string
	MaxAge        *int64
	ACRValues     []string
	LoginHint     string
	UILocales     []string
	Display       string
	ClaimsLocales []string

	Claims *claimsRequest
	// IDTokenHint is the parameter as sent; HintSubject is who it turned out to
	// name, as the client knows them.
	IDTokenHint string
	HintSubject string
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

// permitPostLogoutRedirect answers whether the browser may go on to uri after a
// logout that the client asked for (RP-Initiated Logout §3).
func permitPostLogoutRedirect(c *oauthreg.Client, uri string) *Error {
	if !c.MatchPostLogoutRedirectURI(uri) {
		return invalidRequest("The post_logout_redirect_uri is not registered for this client.").decidedBy("post_logout_redirect_uris")
	}
	return nil
}

// parseAuthorize reads the parameters behind a valid redirect target and checks
// their syntax. The result is compared with the registration by permitAuthorize.
func parseAuthorize(form url.Values, p *authorizeParams) *Error {
	if form.Has("registration") { // OpenID Connect Core §7.2.1
		return oauthError(400, "registration_not_supported", "The registration parameter is not supported.")
	}
	if p.ResponseType = orderedResponseType(form.Get("response_type")); p.ResponseType == "" {
		return invalidRequest("The response_type parameter is missing.")
	}
	p.ResponseMode = form.Get("response_mode")
	p.Nonce = form.Get("nonce")
	p.LoginHint = form.Get("login_hint")
	p.Display = form.Get("display")
	p.ACRValues = strings.Fields(form.Get("acr_values"))
	p.UILocales = strings.Fields(form.Get("ui_locales"))
	p.ClaimsLocales = strings.Fields(form.Get("claims_locales"))
	p.IDTokenHint = form.Get("id_token_hint")

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
	if v := form.Get("claims"); v != "" {
		if p.Claims, err = parseClaims(v); err != nil {
			return err
		}
	}
	return nil
}

// orderedResponseType puts the words of a response type, whose order has no
// meaning (RFC 6749 §3.1.1), in the order in which they are registered.
func orderedResponseType(t string) string {
	words := strings.Fields(t)
	slices.Sort(words)
	return strings.Join(words, " ")
}

// permitRequestObject answers whether the client may send a request object: by
// value when it has registered keys, by reference from a registered place alone.
func permitRequestObject(c *oauthreg.Client, form url.Values) *Error {
	keyed := len(c.JWKS) > 0 || c.JWKSURI != ""
	switch {
	case form.Has("request") && form.Has("request_uri"):
		return invalidRequest("request and request_uri stand together.")
	case form.Has("request") && !keyed:
		return oauthError(400, "request_not_supported", "The client has no registered keys that could sign a request object.").decidedBy("jwks")
	case !form.Has("request_uri"):
		return nil
	case !keyed:
		return oauthError(400, "request_uri_not_supported", "The client has no registered keys that could sign a request object.").decidedBy("jwks")
	case len(c.RequestURIs) == 0:
		return oauthError(400, "request_uri_not_supported", "The client has not registered request_uris.").decidedBy("request_uris")
	case len(form.Get("request_uri")) > 512: // RFC 9101 §5.2.1
		return invalidRequestURI("The request_uri is too long.")
	case !matchRequestURI(c, form.Get("request_uri")):
		return invalidRequestURI("The request_uri is not registered for this client.").decidedBy("request_uris")
	}
	return nil
}

// matchRequestURI compares with the registered ones: exactly, but for a fragment
// where the registered one has none (OpenID Connect Registration §2).
func matchRequestURI(c *oauthreg.Client, uri string) bool {
	place, _, _ := strings.Cut(uri, "#")
	return slices.Contains(c.RequestURIs, uri) || slices.Contains(c.RequestURIs, place)
}

// permittedRequestAlgs are the algorithms of the client's request objects: the
// registered one, or any asymmetric one. Never none.
func permittedRequestAlgs(c *oauthreg.Client) []jose.SignatureAlgorithm {
	if alg := c.RequestObjectSigningAlg; alg != "" {
		return []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)}
	}
	return assertionAlgorithms
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
	if !slices.Contains(s.responseTypes(), p.ResponseType) {
		return oauthError(400, "unsupported_response_type", "The server does not offer this response_type.")
	}
	code, tokens := strings.Contains(p.ResponseType, "code"), answersTokens(p.ResponseType)
	if code && !c.AllowsGrantType(oauthreg.GrantAuthorizationCode) {
		return unauthorizedClient("The client may not use the authorization_code grant.").decidedBy("grant_types")
	}
	if tokens && !c.AllowsGrantType(oauthreg.GrantImplicit) {
		return unauthorizedClient("The client may not use the implicit grant.").decidedBy("grant_types")
	}
	if !c.AllowsResponseType(p.ResponseType) {
		return unauthorizedClient("The client may not use this response_type.").decidedBy("response_types")
	}
	if p.ResponseMode != "" && !slices.Contains(responseModes(p.ResponseType), p.ResponseMode) {
		return invalidRequest("The server does not offer this response_mode for this response_type.")
	}
	if code && p.CodeChallenge == "" && c.PKCERequired() {
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
	if slices.Contains(p.Scopes, "openid") && !slices.Contains(s.keys.Algorithms(), idTokenAlg(c)) {
		return unauthorizedClient("The server does not sign by the algorithm that the client registered for ID tokens.").decidedBy("id_token_signed_response_alg")
	}
	if idToken := strings.Contains(p.ResponseType, "id_token"); idToken {
		switch {
		case !slices.Contains(p.Scopes, "openid"):
			return invalidScope("An ID token needs the scope openid.")
		case p.Nonce == "": // OpenID Connect Core §3.2.2.1, §3.3.2.11
			return invalidRequest("The nonce parameter is missing.")
		}
	}
	if p.MaxAge == nil && c.DefaultMaxAge != nil {
		seconds := int64(*c.DefaultMaxAge / time.Second)
		p.MaxAge = &seconds
	}
	if len(p.ACRValues) == 0 && p.idTokenClaim("acr") == nil { // Registration §2: an explicit request wins
		p.ACRValues = c.DefaultACRValues
	}
	return nil
}

// responseTypes are those that the server offers.
func (s *Server) responseTypes() []string {
	if !s.cfg.Implicit {
		return []string{"code"}
	}
	return []string{"code", "id_token", "id_token token", "token", "code id_token", "code token", "code id_token token"}
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
