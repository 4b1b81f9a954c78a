package handlers

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// ExplainEndpoint is where a request of an [ExplainRequest] would be sent.
type ExplainEndpoint string

// The endpoints that can be explained.
const (
	ExplainAuthorize ExplainEndpoint = "authorize"
	ExplainToken     ExplainEndpoint = "token"
)

// ExplainRequest is a request that a client might send.
type ExplainRequest struct {
	Endpoint ExplainEndpoint
	// Parameters are those of the request. client_id may be left out; if it is
	// there, it must be the client's.
	Parameters url.Values
	// AuthMethod is how the client would authenticate at the token endpoint.
	// nil means the way that Parameters show, or else the registered one.
	AuthMethod *oauthreg.AuthMethod
}

// ExplainAnswer is how an error would reach its reader.
type ExplainAnswer string

// The ways in which errors are answered: shown to the person at the browser, sent
// to the client's redirect URI, or in the body of the response.
const (
	AnswerPage     ExplainAnswer = "page"
	AnswerRedirect ExplainAnswer = "redirect"
	AnswerBody     ExplainAnswer = "body"
)

// Explanation says what would become of a request.
type Explanation struct {
	// Allowed reports that nothing the client registered, and nothing about the
	// form of the request, speaks against it. A user may still have to sign in
	// and consent; codes, refresh tokens and secrets are taken for good. A
	// request object is verified, and counts as what it says; of one at a
	// request_uri, which is not fetched, only that it may come from there.
	Allowed bool
	// Error and Description are what the client or the user would be told.
	Error       string
	Description string
	// Field is the registered member of the client that decides, by its RFC 7591
	// name; empty when the request is wrong for every client.
	Field string
	// AnsweredBy is how an error would be answered; empty when allowed.
	AnsweredBy ExplainAnswer
	// RedirectURI, Scopes and Resources are what an allowed request would get;
	// empty for one whose request object stands at a request_uri, which is not
	// fetched.
	RedirectURI string
	Scopes      []string
	Resources   []string
}

// Explain tells whether a request of the client that ref names would be allowed,
// and which registered field decides, by the functions that the endpoints
// themselves decide with. Nothing is executed, nothing is used up; the keys of a
// client that keeps them at its jwks_uri are got to verify a request object.
// [oauthreg.ErrNotFound] when there is no such client.
func (s *Server) Explain(ctx context.Context, ref oauthreg.Ref, req ExplainRequest) (Explanation, error) {
	client, err := s.reg.Get(ctx, ref)
	if err != nil {
		return Explanation{}, err
	}
	if id := req.Parameters.Get("client_id"); id != "" && id != client.ClientID {
		return Explanation{}, unprocessable("The parameter client_id is not the client's.")
	}
	form, err := parseParameters(req.Parameters.Encode())
	var repeated *repeatedError
	if err != nil && !errors.As(err, &repeated) {
		return Explanation{}, err
	}
	switch req.Endpoint {
	case ExplainAuthorize:
		return s.explainAuthorize(ctx, &client, form, repeated)
	case ExplainToken:
		if repeated != nil {
			return refused(toOAuth(repeated), AnswerBody), nil
		}
		return s.explainToken(ctx, &client, form, req.AuthMethod)
	default:
		return Explanation{}, unprocessable("endpoint must be authorize or token.")
	}
}

func refused(e *Error, by ExplainAnswer) Explanation {
	return Explanation{Error: e.Code, Description: e.Description, Field: e.Field, AnsweredBy: by}
}

// explainAuthorize goes the way of [Server.authorize], up to where it would ask
// the client's host for a request object.
func (s *Server) explainAuthorize(ctx context.Context, c *oauthreg.Client, form url.Values, repeated *repeatedError) (Explanation, error) {
	if repeated != nil && repeated.has("client_id", "redirect_uri") {
		return refused(toOAuth(repeated), AnswerPage), nil
	}
	if c.Suspended() {
		return refused(unknownClient().decidedBy("suspended"), AnswerPage), nil
	}
	elsewhere := false
	p, e := s.permitRequest(ctx, c, form, repeated, func(_ context.Context, uri string) (string, error) {
		elsewhere = true
		return "", errors.New("not fetched for an explanation: " + uri)
	})
	switch {
	case elsewhere: // what it asks for stands there, and where its answer goes
		return Explanation{Allowed: true}, nil
	case e == nil:
		return Explanation{Allowed: true, RedirectURI: p.RedirectTo, Scopes: p.Scopes, Resources: p.Resources}, nil
	case e.Status >= http.StatusInternalServerError:
		return Explanation{}, e
	case p == nil:
		return refused(e, AnswerPage), nil
	default:
		return refused(e, AnswerRedirect), nil
	}
}

// explainToken goes the way of [Server.token], up to where a code or a refresh
// token would be looked at.
func (s *Server) explainToken(ctx context.Context, c *oauthreg.Client, form url.Values, method *oauthreg.AuthMethod) (Explanation, error) {
	if c.Suspended() {
		return refused(invalidClient().decidedBy("suspended"), AnswerBody), nil
	}
	if method == nil && (form.Has("client_secret") || form.Has("client_assertion")) {
		creds, e := readCredentials(&http.Request{Header: http.Header{}}, form)
		if e != nil {
			return refused(e, AnswerBody), nil
		}
		method = &creds.method
	}
	if method != nil && !c.AllowsAuthMethod(*method) {
		return refused(invalidClient().decidedBy("token_endpoint_auth_method"), AnswerBody), nil
	}
	grantType := form.Get("grant_type")
	if e := s.permitGrantType(c, grantType); e != nil {
		return refused(e, AnswerBody), nil
	}
	if grantType == oauthreg.GrantClientCredentials {
		return s.explainClientCredentials(ctx, c, form)
	}
	asked, e := explainRedemption(c, grantType, form)
	if e != nil {
		return refused(e, AnswerBody), nil
	}
	resources, e := s.permitResources(c, form["resource"])
	if e != nil {
		return refused(e, AnswerBody), nil
	}
	return Explanation{Allowed: true, Scopes: asked, Resources: resources}, nil
}

// explainClientCredentials asks the grant itself: its check changes nothing.
func (s *Server) explainClientCredentials(ctx context.Context, c *oauthreg.Client, form url.Values) (Explanation, error) {
	r := fosite.NewAccessRequest(NewSession())
	r.Client, r.Form = &engineClient{reg: c}, form
	err := (&clientCredentialsGrant{s}).check(ctx, r)
	if err == nil {
		return Explanation{Allowed: true, Scopes: r.GetGrantedScopes(), Resources: r.GetGrantedAudience()}, nil
	}
	e := toOAuth(err)
	if e.Status >= http.StatusInternalServerError {
		return Explanation{}, err
	}
	return refused(e, AnswerBody), nil
}

// explainRedemption is what the redemption of a code or refresh token asks of
// the request, whatever the code or token is, and the scopes it asks for.
func explainRedemption(c *oauthreg.Client, grantType string, form url.Values) ([]string, *Error) {
	switch grantType {
	case oauthreg.GrantAuthorizationCode:
		return nil, explainCode(c, form)
	case oauthreg.GrantRefreshToken:
		_, asked, e := sentRefresh(form)
		if e == nil && len(asked) > 0 { // no grant has more than the client may ask for
			_, e = permitScopes(c, asked)
		}
		return asked, e
	}
	return nil, nil
}

func explainCode(c *oauthreg.Client, form url.Values) *Error {
	if _, e := sentCode(form); e != nil {
		return e
	}
	if uri := form.Get("redirect_uri"); uri != "" {
		if _, e := redirectTarget(c, uri); e != nil {
			return invalidGrant("The redirect_uri is not registered for this client.").decidedBy(e.Field)
		}
	}
	verifier := form.Get("code_verifier")
	var challenge string // of the code that this verifier would belong to
	if verifier != "" {
		sum := sha256.Sum256([]byte(verifier))
		challenge = strictBase64.EncodeToString(sum[:])
	}
	return checkVerifier(c, challenge, verifier)
}

// explainV2 is an explanation in the management API.
type explainV2 struct {
	RecordType       string   `json:"record_type"`
	Allowed          bool     `json:"allowed"`
	Error            *string  `json:"error"`
	ErrorDescription *string  `json:"error_description"`
	Field            *string  `json:"field"`
	AnsweredBy       *string  `json:"answered_by"`
	RedirectURI      *string  `json:"redirect_uri"`
	Scopes           []string `json:"scopes"`
	Resources        []string `json:"resources"`
}

// explain serves POST /oauth_clients/{id}/explain: whether a request would be
// allowed, and which registered member decides, by its name in this API.
func (v *managementV2) explain(w http.ResponseWriter, r *http.Request, p *Principal) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var endpoint, method string
	var req ExplainRequest
	body.need("endpoint", "parameters")
	body.oneOf("endpoint", &endpoint, string(ExplainAuthorize), string(ExplainToken))
	req.Endpoint = ExplainEndpoint(endpoint)
	if body.has("auth_method") && !body.isNull("auth_method") &&
		body.oneOf("auth_method", &method, oauthreg.AuthNone, oauthreg.AuthClientSecretBasic, oauthreg.AuthClientSecretPost, oauthreg.AuthPrivateKeyJWT) {
		req.AuthMethod = &method
	}
	req.Parameters = explainParameters(body)
	body.refuseUnknown()
	c, err := v.client(r, p)
	if err != nil {
		return err
	}
	if err := body.err(); err != nil {
		return err
	}
	x, err := v.s.Explain(r.Context(), owned(&c), req)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, envelope{explainV2{
		RecordType: "oauth_explanation", Allowed: x.Allowed,
		Error: optional(x.Error), ErrorDescription: optional(x.Description),
		Field: optional(v2Field(x.Field)), AnsweredBy: optional(string(x.AnsweredBy)),
		RedirectURI: optional(x.RedirectURI), Scopes: nonNil(x.Scopes), Resources: nonNil(x.Resources),
	}})
	return nil
}

// explainParameters reads the member parameters: an object of strings and arrays
// of strings.
func explainParameters(body *jsonBody) url.Values {
	if !body.has("parameters") {
		return nil
	}
	members, err := readObject(body.members["parameters"])
	if err != nil {
		body.problem("parameters", problemType, "must be an object of strings")
		return nil
	}
	out := url.Values{}
	for name, raw := range members {
		values, ok := stringOrStrings(raw)
		if !ok {
			body.problem("parameters", problemType, "must be an object of strings")
			return nil
		}
		out[name] = slices.Clone(values)
	}
	return out
}
