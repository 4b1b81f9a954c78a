package handlers_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"testing"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

const someChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

// What is explained must be what happens: every row is asked, and then tried.
func TestExplainAuthorize(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	c := webClient()
	c.Audience = []string{e.issuer + "/api"}
	web := e.register(c)
	two := webClient()
	two.RedirectURIs = append(two.RedirectURIs, "https://client.example/2")
	both := e.register(two)
	machine := e.register(machineClient())
	suspended := e.register(webClient())
	if _, err := e.reg.Suspend(context.Background(), oauthreg.ByID(suspended.Client.ID)); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		client oauthreg.Registration
		params []string // replace those of a good request; "-" removes
		want   handlers.Explanation
	}{
		{"good", web, nil, handlers.Explanation{Allowed: true}},
		{"other redirect URI", web, []string{"redirect_uri", "https://evil.example/"}, handlers.Explanation{Error: "invalid_request", Field: "redirect_uris", AnsweredBy: handlers.AnswerPage}},
		{"no redirect URI of one", web, []string{"redirect_uri", "-"}, handlers.Explanation{Allowed: true}},
		{"no redirect URI of two", both, []string{"redirect_uri", "-"}, handlers.Explanation{Error: "invalid_request", Field: "redirect_uris", AnsweredBy: handlers.AnswerPage}},
		{"no PKCE", web, []string{"code_challenge", "-", "code_challenge_method", "-"}, handlers.Explanation{Error: "invalid_request", Field: "require_pkce", AnsweredBy: handlers.AnswerRedirect}},
		{"plain PKCE", web, []string{"code_challenge_method", "plain"}, handlers.Explanation{Error: "invalid_request", AnsweredBy: handlers.AnswerRedirect}},
		{"scope", web, []string{"scope", "read admin"}, handlers.Explanation{Error: "invalid_scope", Field: "scope", AnsweredBy: handlers.AnswerRedirect}},
		{"resource", web, []string{"resource", e.issuer}, handlers.Explanation{Error: "invalid_target", Field: "audience", AnsweredBy: handlers.AnswerRedirect}},
		{"resource nobody knows", both, []string{"resource", "https://api.example/"}, handlers.Explanation{Error: "invalid_target", AnsweredBy: handlers.AnswerRedirect}},
		{"response type", web, []string{"response_type", "token"}, handlers.Explanation{Error: "unsupported_response_type", AnsweredBy: handlers.AnswerRedirect}},
		{"no response type", web, []string{"response_type", "-"}, handlers.Explanation{Error: "invalid_request", AnsweredBy: handlers.AnswerRedirect}},
		{"client without redirect URIs", machine, nil, handlers.Explanation{Error: "invalid_request", Field: "redirect_uris", AnsweredBy: handlers.AnswerPage}},
		{"suspended", suspended, nil, handlers.Explanation{Error: "invalid_client", Field: "suspended", AnsweredBy: handlers.AnswerPage}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target, _ := e.authorizeURL(tt.client.Client.ClientID, tt.params...)
			u, err := url.Parse(target)
			if err != nil {
				t.Fatal(err)
			}
			got, err := e.server.Explain(t.Context(), oauthreg.ByClientID(tt.client.Client.ClientID),
				handlers.ExplainRequest{Endpoint: handlers.ExplainAuthorize, Parameters: u.Query()})
			if err != nil {
				t.Fatal(err)
			}
			if got.Allowed != tt.want.Allowed || got.Error != tt.want.Error || got.Field != tt.want.Field || got.AnsweredBy != tt.want.AnsweredBy {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			a := e.browser().walk(target)
			switch got.AnsweredBy {
			case "":
				if a.param("code") == "" {
					t.Errorf("allowed, but got %d %v", a.status, a.location)
				}
			case handlers.AnswerRedirect:
				if a.param("error") != got.Error || a.param("error_description") != got.Description {
					t.Errorf("%+v, but got %d %v", got, a.status, a.location)
				}
			case handlers.AnswerPage:
				if a.location != nil || a.status != 400 {
					t.Errorf("%+v, but got %d %v", got, a.status, a.location)
				}
			}
		})
	}
	got, err := e.server.Explain(t.Context(), oauthreg.ByClientID(web.Client.ClientID), handlers.ExplainRequest{Endpoint: handlers.ExplainAuthorize, Parameters: url.Values{
		"response_type": {"code"}, "code_challenge": {someChallenge}, "code_challenge_method": {"S256"}, "resource": {e.issuer + "/api"}, "scope": {"read"},
	}})
	if err != nil || !slices.Equal(got.Scopes, []string{"read"}) || !slices.Equal(got.Resources, []string{e.issuer + "/api"}) || got.RedirectURI != callback {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Request objects are explained as they are enforced: verified, and taken for
// what they say. What stands behind a request_uri is not fetched.
func TestExplainRequestObject(t *testing.T) {
	fetched := false
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fetched = true }))
	t.Cleanup(web.Close)
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	e := openIDEnv(t, "", func(c *handlers.Config) {
		c.Outbound = handlers.NewOutbound(handlers.OutboundConfig{Private: true, CAs: pool})
	})
	key := newAssertionKey(t)
	keyed := e.register(with(signedClient(t, key), func(c *oauthreg.Client) { c.RequestURIs = []string{web.URL + "/r"} }))
	unlisted := e.register(signedClient(t, key))
	keyless := e.register(openIDClient())
	object := func(c oauthreg.Registration, change ...any) string {
		claims, _ := requestClaims(e, c.Client.ClientID)
		for i := 0; i < len(change); i += 2 {
			claims[change[i].(string)] = change[i+1]
		}
		return key.sign(t, "ES256", claims)
	}
	redirect, page := handlers.AnswerRedirect, handlers.AnswerPage
	tests := []struct {
		name   string
		client oauthreg.Registration
		params []string
		want   handlers.Explanation
	}{
		{"good", keyed, []string{"request", object(keyed)}, handlers.Explanation{Allowed: true, RedirectURI: callback, Scopes: []string{"openid", "email"}}},
		{"what stands beside does not count", keyed, []string{"request", object(keyed), "scope", "admin", "redirect_uri", "https://evil.example/"}, handlers.Explanation{Allowed: true, RedirectURI: callback, Scopes: []string{"openid", "email"}}},
		{"what it says is refused", keyed, []string{"request", object(keyed, "scope", "admin")}, handlers.Explanation{Error: "invalid_scope", Field: "scope", AnsweredBy: redirect}},
		{"where it says is refused", keyed, []string{"request", object(keyed, "redirect_uri", "https://evil.example/")}, handlers.Explanation{Error: "invalid_request", Field: "redirect_uris", AnsweredBy: page}},
		{"no JWS", keyed, []string{"request", "a.b.c"}, handlers.Explanation{Error: "invalid_request_object", AnsweredBy: redirect}},
		{"no JWS, and nowhere to tell", keyed, []string{"request", "a.b.c", "redirect_uri", "https://evil.example/"}, handlers.Explanation{Error: "invalid_request", Field: "redirect_uris", AnsweredBy: page}},
		{"of another client", keyed, []string{"request", object(unlisted)}, handlers.Explanation{Error: "invalid_request_object", AnsweredBy: redirect}},
		{"two", keyed, []string{"request", object(keyed), "request_uri", web.URL + "/r"}, handlers.Explanation{Error: "invalid_request", AnsweredBy: redirect}},
		{"no keys", keyless, []string{"request", object(keyless)}, handlers.Explanation{Error: "request_not_supported", Field: "jwks", AnsweredBy: redirect}},
		{"no keys, by reference", keyless, []string{"request_uri", web.URL + "/r"}, handlers.Explanation{Error: "request_uri_not_supported", Field: "jwks", AnsweredBy: redirect}},
		{"no places", unlisted, []string{"request_uri", web.URL + "/r"}, handlers.Explanation{Error: "request_uri_not_supported", Field: "request_uris", AnsweredBy: redirect}},
		{"another place", keyed, []string{"request_uri", web.URL + "/s"}, handlers.Explanation{Error: "invalid_request_uri", Field: "request_uris", AnsweredBy: redirect}},
		{"registration", keyed, []string{"registration", "{}"}, handlers.Explanation{Error: "registration_not_supported", AnsweredBy: redirect}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target, _ := e.authorizeURL(tt.client.Client.ClientID, tt.params...)
			u, err := url.Parse(target)
			if err != nil {
				t.Fatal(err)
			}
			got, err := e.server.Explain(t.Context(), oauthreg.ByClientID(tt.client.Client.ClientID),
				handlers.ExplainRequest{Endpoint: handlers.ExplainAuthorize, Parameters: u.Query()})
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Description = got.Description
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			a := e.browser().walk(target)
			if ok := a.param("code") != ""; ok != got.Allowed || got.AnsweredBy == redirect && (a.param("error") != got.Error || a.param("error_description") != got.Description) {
				t.Errorf("%+v, but got %d %v", got, a.status, a.location)
			}
		})
	}
	got, err := e.server.Explain(t.Context(), oauthreg.ByClientID(keyed.Client.ClientID),
		handlers.ExplainRequest{Endpoint: handlers.ExplainAuthorize, Parameters: url.Values{"request_uri": {web.URL + "/r"}}})
	if err != nil || !reflect.DeepEqual(got, handlers.Explanation{Allowed: true}) || fetched {
		t.Errorf("got %+v, %v; fetched: %v", got, err, fetched)
	}
}

func TestExplainToken(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	machine := e.register(machineClient())
	web := e.register(webClient())
	public := publicClient()
	public.GrantTypes = append(public.GrantTypes, oauthreg.GrantClientCredentials)
	open := e.register(public)
	basic, post := oauthreg.AuthClientSecretBasic, oauthreg.AuthClientSecretPost
	const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

	tests := []struct {
		name   string
		client oauthreg.Registration
		method *string
		params []string
		error  string
		field  string
	}{
		{"good", machine, &basic, []string{"grant_type", "client_credentials", "scope", "read"}, "", ""},
		{"wrong method", machine, &post, []string{"grant_type", "client_credentials"}, "invalid_client", "token_endpoint_auth_method"},
		{"method shown by the parameters", machine, nil, []string{"grant_type", "client_credentials", "client_secret", "x"}, "invalid_client", "token_endpoint_auth_method"},
		{"grant type", web, nil, []string{"grant_type", "client_credentials"}, "unauthorized_client", "grant_types"},
		{"public client", open, nil, []string{"grant_type", "client_credentials"}, "unauthorized_client", "token_endpoint_auth_method"},
		{"grant nobody has", machine, nil, []string{"grant_type", "password"}, "unsupported_grant_type", ""},
		{"no grant type", machine, nil, nil, "invalid_request", ""},
		{"scope", machine, nil, []string{"grant_type", "client_credentials", "scope", "admin"}, "invalid_scope", "scope"},
		{"scope of users", machine, nil, []string{"grant_type", "client_credentials", "scope", "openid"}, "invalid_scope", ""},
		{"resource", machine, nil, []string{"grant_type", "client_credentials", "resource", "https://api.example/"}, "invalid_target", ""},
		{"code", web, nil, []string{"grant_type", "authorization_code", "code", "x", "redirect_uri", callback, "code_verifier", verifier}, "", ""},
		{"code with a scope, which has no meaning", web, nil, []string{"grant_type", "authorization_code", "code", "x", "redirect_uri", callback, "code_verifier", verifier, "scope", "admin \""}, "", ""},
		{"refresh for no scope", web, nil, []string{"grant_type", "refresh_token", "refresh_token", "x", "scope", "\""}, "invalid_scope", ""},
		{"no code", web, nil, []string{"grant_type", "authorization_code"}, "invalid_request", ""},
		{"code without verifier", web, nil, []string{"grant_type", "authorization_code", "code", "x"}, "invalid_grant", "require_pkce"},
		{"code with bad verifier", web, nil, []string{"grant_type", "authorization_code", "code", "x", "code_verifier", "short"}, "invalid_request", ""},
		{"code for another redirect URI", web, nil, []string{"grant_type", "authorization_code", "code", "x", "redirect_uri", "https://evil.example/", "code_verifier", verifier}, "invalid_grant", "redirect_uris"},
		{"refresh", web, nil, []string{"grant_type", "refresh_token", "refresh_token", "x"}, "", ""},
		{"refresh for more", web, nil, []string{"grant_type", "refresh_token", "refresh_token", "x", "scope", "admin"}, "invalid_scope", "scope"},
		{"refresh of a client without", machine, nil, []string{"grant_type", "refresh_token", "refresh_token", "x"}, "unauthorized_client", "grant_types"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			form := url.Values{}
			for i := 0; i < len(tt.params); i += 2 {
				form.Add(tt.params[i], tt.params[i+1])
			}
			got, err := e.server.Explain(t.Context(), oauthreg.ByClientID(tt.client.Client.ClientID),
				handlers.ExplainRequest{Endpoint: handlers.ExplainToken, Parameters: form, AuthMethod: tt.method})
			if err != nil {
				t.Fatal(err)
			}
			if got.Allowed != (tt.error == "") || got.Error != tt.error || got.Field != tt.field {
				t.Errorf("got %+v, want %q by %q", got, tt.error, tt.field)
			}
			if !form.Has("code") && !form.Has("refresh_token") && (tt.method == nil || *tt.method == basic) && !form.Has("client_secret") {
				a := e.tokenRequest(tt.client, tt.params...)
				if a.str("error") != got.Error || a.str("error_description") != got.Description {
					t.Errorf("%+v, but got %d %s", got, a.status, a.raw)
				}
			}
		})
	}
	_, err := e.server.Explain(t.Context(), oauthreg.ByClientID("none"), handlers.ExplainRequest{Endpoint: handlers.ExplainToken})
	if !errors.Is(err, oauthreg.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestExplainUsesNothingUp(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	reg := e.register(webClient())
	code, verifier := e.code(reg.Client.ClientID)
	ask := func(params url.Values) {
		got, err := e.server.Explain(t.Context(), oauthreg.ByClientID(reg.Client.ClientID), handlers.ExplainRequest{Endpoint: handlers.ExplainToken, Parameters: params})
		if err != nil || !got.Allowed {
			t.Fatalf("got %+v, %v", got, err)
		}
	}
	good := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {callback}, "code_verifier": {verifier}, "scope": {"admin"}}
	ask(good)
	a := e.tokenRequest(reg, "grant_type", "authorization_code", "code", code, "redirect_uri", callback, "code_verifier", verifier, "scope", "admin")
	a.wantStatus(t, 200)
	ask(good) // now it would be a replay, which must not revoke the grant
	ask(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.str("refresh_token")}})
	e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", a.str("refresh_token")).wantStatus(t, 200)
}

func TestV2Explain(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	c := e.create(webBody)
	path := "/oauth_clients/" + c["client_id"].(string) + "/explain"
	d := e.call(http.MethodPost, path, `{"endpoint":"authorize","parameters":{"response_type":"code","redirect_uri":"https://client.example/cb","scope":"read admin"}}`).data(t)
	if d["record_type"] != "oauth_explanation" || d["allowed"] != false || d["error"] != "invalid_scope" || d["field"] != "allowed_scopes" || d["answered_by"] != "redirect" {
		t.Errorf("got %v", d)
	}
	d = e.call(http.MethodPost, path, `{"endpoint":"token","parameters":{"grant_type":"client_credentials"},"auth_method":"client_secret_post"}`).data(t)
	if d["error"] != "unauthorized_client" || d["field"] != "allowed_grant_types" || d["answered_by"] != "body" {
		t.Errorf("got %v", d)
	}
	d = e.call(http.MethodPost, path, `{"endpoint":"authorize","parameters":{"response_type":"code","scope":["read"],"resource":["`+e.issuer+`/api","`+e.issuer+`"]}}`).data(t)
	if d["allowed"] != true || d["error"] != nil || d["field"] != nil || d["answered_by"] != nil || d["redirect_uri"] != callback ||
		mustJSON(t, d["scopes"]) != `["read"]` || len(d["resources"].([]any)) != 2 {
		t.Errorf("got %v", d)
	}
	for _, body := range []string{
		`{}`, `{"endpoint":"userinfo","parameters":{}}`, `{"endpoint":"token","parameters":[]}`, `{"endpoint":"token","parameters":{"a":1}}`,
		`{"endpoint":"token","parameters":{},"auth_method":"magic"}`, `{"endpoint":"token","parameters":{},"more":1}`,
		`{"endpoint":"token","parameters":{"client_id":"another"}}`,
	} {
		e.call(http.MethodPost, path, body).wantError(t, 422, "invalid_request")
	}
}
