package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// badRegistrations are lines 114 to 137: dynamic registration (RFC 7591) and its
// management (RFC 7592).
func badRegistrations(w *world) []badRequest {
	t := w.e.t
	const metadata, redirect = "invalid_client_metadata", "invalid_redirect_uri"
	with := func(members string) string { return `{` + redirects + `,` + members + `}` }
	redirectTo := func(uri string) string {
		b, _ := json.Marshal(uri)
		return `{"redirect_uris":["https://client.example/cb",` + string(b) + `]}`
	}
	key := w.keys["jwt"]
	private, _ := json.Marshal(map[string]any{"keys": []any{key.jwk}})
	manyKeys := `{"keys":[` + strings.TrimSuffix(strings.Repeat(string(mustMarshal(t, key.jwk.Public()))+",", 100), ",") + `]}`
	manyURIs := make([]string, 100)
	for i := range manyURIs {
		manyURIs[i] = fmt.Sprintf("https://client.example/%d", i)
	}

	refused := func(nr int, name, body, code, fields string) badRequest {
		if fields == "" {
			fields = "-"
		}
		return badRequest{nr: nr, name: "register: " + name, path: "/oauth/register", contentType: "application/json", rawBody: body, status: http.StatusBadRequest, code: code, fields: fields}
	}
	const nobody = "3f2b8a36-4f2b-4b47-9d0e-0d2b7b1f0a11"
	out := []badRequest{
		refused(114, "not JSON", `redirect_uris=x`, metadata, ""),
		refused(114, "a JSON array", `[{`+redirects+`}]`, metadata, ""),
		refused(114, "JSON that ends early", `{"redirect_uris":["https://client.example/cb"]`, metadata, ""),
		refused(114, "something behind the object", `{`+redirects+`} {}`, metadata, ""),
		refused(114, "a repeated member", `{`+redirects+`,`+redirects+`}`, metadata, ""),
		refused(114, "a repeated member further down", with(`"jwks":{"keys":[],"keys":[]}`), metadata, ""),
		refused(114, "a repeated member in another spelling", `{"redirect_uris":["https://client.example/cb"],"redirect\u005furis":["https://evil.example/cb"]}`, metadata, ""),
		refused(114, "JSON 1000 levels deep", `{"x":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)+`}`, metadata, ""),
		refused(114, "bytes that are not UTF-8", with("\"client_name\":\"\xff\""), metadata, ""),

		refused(115, "no body", ``, redirect, "redirect_uris"),
		refused(115, "no redirect URIs", `{}`, redirect, "redirect_uris"),
		refused(115, "an empty list of redirect URIs", `{"redirect_uris":[]}`, redirect, "redirect_uris"),
		refused(115, "redirect URIs that are not strings", `{"redirect_uris":[1]}`, redirect, "redirect_uris"),
		refused(115, "redirect URIs that are not a list", `{"redirect_uris":"https://client.example/cb"}`, redirect, "redirect_uris"),
		refused(115, "100 redirect URIs", `{"redirect_uris":`+string(mustMarshal(t, manyURIs))+`}`, redirect, "redirect_uris"),
		refused(115, "a redirect URI twice", redirectTo("https://client.example/cb"), redirect, "redirect_uris"),
		refused(116, "http", redirectTo("http://app.example/cb"), redirect, "redirect_uris"),
		refused(119, "a scheme without a dot", redirectTo("myapp:/cb"), redirect, "redirect_uris"),
		refused(120, "the server itself", redirectTo(w.e.issuer+"/oauth/authorize"), redirect, "redirect_uris"),

		refused(121, "the password grant", with(`"grant_types":["password"]`), metadata, "grant_types"),
		refused(121, "the implicit grant", with(`"grant_types":["implicit"],"response_types":["token"]`), metadata, "grant_types response_types"),
		refused(121, "an unknown grant", with(`"grant_types":["authorization_code","x"]`), metadata, "grant_types"),
		refused(123, "client_credentials", with(`"grant_types":["authorization_code","client_credentials"]`), metadata, "grant_types"),
		refused(123, "client_credentials of a public client", with(`"grant_types":["client_credentials"],"token_endpoint_auth_method":"none"`), metadata, "grant_types"),
		refused(121, "refresh_token alone", with(`"grant_types":["refresh_token"]`), metadata, "grant_types"),
		refused(122, "response_type token", with(`"response_types":["token"]`), metadata, "response_types"),
		refused(122, "response types without their grant", `{"grant_types":["refresh_token"],"response_types":["code"],`+redirects+`}`, metadata, "grant_types response_types"),
		refused(124, "an unknown authentication method", with(`"token_endpoint_auth_method":"client_secret_jwt"`), metadata, "token_endpoint_auth_method"),

		refused(124, "private_key_jwt without keys", with(`"token_endpoint_auth_method":"private_key_jwt"`), metadata, "jwks"),
		refused(124, "jwks and jwks_uri", with(`"jwks_uri":"https://client.example/jwks","jwks":`+string(jwkSet(t, key))), metadata, "jwks_uri"),
		refused(124, "a private key", with(`"jwks":`+string(private)), metadata, "jwks"),
		refused(124, "a symmetric key", with(`"jwks":{"keys":[{"kty":"oct","k":"AAAA"}]}`), metadata, "jwks"),
		refused(124, "100 keys", with(`"jwks":`+manyKeys), metadata, "jwks"),
		refused(124, "a small RSA key", with(`"jwks":`+smallRSA), metadata, "jwks"),

		refused(126, "client_uri with a script", with(`"client_uri":"javascript:alert(1)"`), metadata, "client_uri"),
		refused(126, "logo_uri with a script", with(`"logo_uri":"javascript:alert(1)"`), metadata, "logo_uri"),
		refused(126, "tos_uri with a script", with(`"tos_uri":"JavaScript:alert(1)"`), metadata, "tos_uri"),
		refused(126, "policy_uri with data", with(`"policy_uri":"data:text/html,x"`), metadata, "policy_uri"),

		refused(127, "a line break in the name", with(`"client_name":"a\nb"`), metadata, "client_name"),
		refused(127, "a bidi override in the name", with(`"client_name":"a\u202eb"`), metadata, "client_name"),
		refused(127, "a name of 10 kB", with(`"client_name":"`+strings.Repeat("x", 10_000)+`"`), metadata, "client_name"),
		refused(127, "a name that is not a string", with(`"client_name":1`), metadata, "client_name"),

		refused(128, "the scope admin", with(`"scope":"openid admin"`), metadata, "scope"),
		refused(128, "an unknown scope", with(`"scope":"openid nonsense"`), metadata, "scope"),
		refused(128, "a scope with a quotation mark", with(`"scope":"a\"b"`), metadata, "scope"),
		refused(128, "scope as a list", with(`"scope":["openid"]`), metadata, "scope"),

		refused(130, "an unknown subject type", with(`"subject_type":"secret"`), metadata, "subject_type"),
		refused(130, "pairwise subjects of several hosts", `{"subject_type":"pairwise","redirect_uris":["https://a.example/cb","https://b.example/cb"]}`, metadata, "sector_identifier_uri"),
		refused(130, "default_max_age as a string", with(`"default_max_age":"1"`), metadata, "default_max_age"),
		refused(130, "require_auth_time as a string", with(`"require_auth_time":"true"`), metadata, "require_auth_time"),
		refused(130, "unsigned request objects", with(`"request_object_signing_alg":"none"`), metadata, "request_object_signing_alg"),
		refused(130, "a signed userinfo without a key", with(`"userinfo_signed_response_alg":"PS512"`), metadata, "userinfo_signed_response_alg"),
		refused(130, "DPoP-bound tokens", with(`"dpop_bound_access_tokens":true`), metadata, "dpop_bound_access_tokens"),
		refused(130, "encrypted ID tokens", with(`"id_token_encrypted_response_alg":"RSA-OAEP"`), metadata, "id_token_encrypted_response_alg"),
		refused(130, "unsigned ID tokens", with(`"id_token_signed_response_alg":"none"`), metadata, "id_token_signed_response_alg"),
		refused(130, "ID tokens by HMAC", with(`"id_token_signed_response_alg":"HS256"`), metadata, "id_token_signed_response_alg"),
		refused(130, "ID tokens by an algorithm without a key", with(`"id_token_signed_response_alg":"PS512"`), metadata, "id_token_signed_response_alg"),
		refused(130, "application_type", with(`"application_type":"mainframe"`), metadata, "application_type"),

		refused(130, "everything at once", `{"redirect_uris":["http://app.example/cb","/cb"],"client_name":"a\nb","scope":"admin","grant_types":["password"],"logo_uri":"x"}`, metadata, "client_name grant_types logo_uri redirect_uris scope"),

		{nr: 114, name: "register: content types and sizes", scenario: alone(registerBodyLimits)},
		{nr: 125, name: "keys at a name that leads inside are never fetched", scenario: alone(keysInside)},
		{nr: 127, name: "register: markup in the name is text on the page", scenario: nameIsText},
		{nr: 129, name: "register: a client chooses none of what is the server's", scenario: clientsChooseNothing},
		{nr: 130, name: "register: unknown members are ignored", path: "/oauth/register", contentType: "application/json", rawBody: with(`"x_vendor":{"a":[1]},"trusted":true`), status: http.StatusCreated, accept: true, stores: true},
		{nr: 131, name: "register: software statements", scenario: alone(softwareStatements)},
		{nr: 132, name: "register: closed, or without a token", scenario: alone(registrationModes)},
		{nr: 132, name: "register: initial access tokens are used up", scenario: alone(initialAccessTokens)},
		{nr: 133, name: "register: a flood", scenario: alone(registrationLimits)},
		{nr: 134, name: "register: read without token", method: "GET", path: "/oauth/register/" + nobody, status: 401, code: "invalid_token", want: "WWW-Authenticate: Bearer"},
		{nr: 134, name: "register: delete with a made-up token", method: "DELETE", path: "/oauth/register/" + nobody, header: []string{"Authorization", "Bearer made-up"}, status: 401, code: "invalid_token", want: "WWW-Authenticate: Bearer"},
		{nr: 134, name: "register: wrong tokens, wrong updates, updates that leave out, deletion twice", also: []int{135, 136, 137}, scenario: alone(registrationManagement)},
	}
	for _, uri := range []string{
		"javascript:alert(1)", "JaVaScRiPt:alert(1)", " javascript:alert(1)", "\tjavascript:alert(1)", "java\nscript:alert(1)",
		"data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:https://a.example/x", "about:blank", "ftp://a.example/cb",
		"https://a.example/cb#f", "https://u:p@a.example/cb", "https://*.a.example/cb", `https://a.example\cb`, "https://a.example/\r\ncb",
		"https://a.example/\x00", "https://ä.example/cb", "https://a.example/../cb", "https://a.example/%2e%2e/cb", "//a.example/cb", "/cb",
		"https:a.example/cb", "com.example.app:cb",
	} {
		nr := 117
		if strings.HasPrefix(uri, "http") || strings.HasPrefix(uri, "/") {
			nr = 118
		}
		out = append(out, refused(nr, fmt.Sprintf("redirect to %q", uri), redirectTo(uri), redirect, "redirect_uris"))
	}
	for _, uri := range []string{
		"http://keys.example/jwks", "https://127.0.0.1/jwks", "https://localhost/jwks", "https://169.254.169.254/latest",
		"https://[::ffff:10.0.0.1]/x", "https://2130706433/x", "https://intranet/x", "https://db.internal/x",
	} {
		for _, name := range []string{"jwks_uri", "logo_uri", "sector_identifier_uri", "backchannel_logout_uri"} {
			out = append(out, refused(125, name+" "+uri, with(fmt.Sprintf("%q:%q", name, uri)), metadata, name))
		}
	}
	return out
}

// clientsChooseNothing: what only the server or the operator may say about a
// client is ignored, and the answer has the server's own.
func clientsChooseNothing(t *testing.T, e *env) {
	a := e.registerByHTTP(`{"client_id":"mine","client_secret":"mine","client_secret_expires_at":1,"client_id_issued_at":1,"registration_access_token":"mine",
		"id":"mine","org_id":"mine","tenant_id":"mine","user_id":"mine","trusted":true,"first_party":true,"verified":true,"require_pkce":false,
		"suspended":false,"self_registered":false,"resource_server":["` + e.issuer + `/api"],"access_token_lifetime":999999,` + redirects + `}`)
	reg := e.registration(a)
	c := reg.Client
	if c.ClientID == "mine" || reg.Secret == "mine" || len(reg.Secret) < 40 || reg.RegistrationToken == "mine" || a.body["client_secret_expires_at"] != float64(0) || a.body["client_id_issued_at"] == float64(1) {
		t.Errorf("the client chose its own: %s", a.raw)
	}
	if c.FirstParty || c.Verified || !c.RequirePKCE || !c.SelfRegistered || c.OrgID != "" || c.UserID != "" || len(c.ResourceServer) != 0 || c.Lifetimes.AccessToken != 0 {
		t.Errorf("stored: %+v", c)
	}
	for _, name := range []string{"trusted", "first_party", "verified", "tenant_id", "org_id", "resource_server"} {
		if v, ok := a.body[name]; ok && v != false {
			t.Errorf("the answer has %s: %v", name, v)
		}
	}
	wantRedirectError(t, e, reg, "invalid_request", "code_challenge", "-", "code_challenge_method", "-")
}

// nameIsText: a name may have any printable character, and none of them is markup
// on a page.
func nameIsText(t *testing.T, e *env) {
	reg := e.registration(e.registerByHTTP(`{"client_name":"<svg onload=alert(1)>\"'&",` + redirects + `}`))
	b := e.browser()
	target, _ := e.authorizeURL(reg.Client.ClientID, "state", `"><script>alert(2)</script>`)
	action, form := b.formAt(target, "consent-allow")
	page := b.do(http.MethodGet, action.String()+"?consent_token="+form.Get("consent_token"), nil)
	if page.status != http.StatusOK || !strings.Contains(page.body, "&lt;svg onload=alert(1)&gt;") || strings.Contains(page.body, "<svg onload") || strings.Contains(page.body, "<script") {
		t.Errorf("got %d\n%s", page.status, page.body)
	}
	if !strings.Contains(page.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("Content-Security-Policy is %q", page.header.Get("Content-Security-Policy"))
	}
}

// keysInside: whether a name leads inside is decided when it is looked up, at every
// fetch (a lookup at registration would prove nothing). Authentication fails like
// any other, and nothing was connected to.
func keysInside(t *testing.T) {
	key := newAssertionKey(t)
	var connected atomic.Int32
	web := httptest.NewUnstartedServer(http.NotFoundHandler())
	web.Config.ConnState = func(net.Conn, http.ConnState) { connected.Add(1) }
	web.StartTLS()
	defer web.Close()

	e := newEnv(t, uncached) // with the outbound client of production
	c := key.client(t)
	c.JWKS, c.JWKSURI = nil, "https://keys.example/jwks"
	reg := e.register(c)
	at := c.JWKSURI
	port := web.URL[strings.LastIndex(web.URL, ":"):]
	for _, inside := range []string{"https://127.0.0.1" + port + "/jwks", "https://localhost" + port + "/jwks", "https://[::ffff:127.0.0.1]" + port + "/jwks", "https://169.254.169.254/latest", "http://127.0.0.1" + port + "/jwks"} {
		e.exec("UPDATE oauthreg_clients SET data = replace(data, '" + at + "', '" + inside + "'), revision = revision + 1 WHERE id = '" + reg.Client.ID + "'")
		at = inside
		stored, err := e.reg.Get(context.Background(), oauthreg.ByID(reg.Client.ID))
		if err != nil || stored.JWKSURI != inside {
			t.Fatalf("it was not planted: %q, %v", stored.JWKSURI, err)
		}
		before := e.rows(t)
		e.assert(reg, key.sign(t, "ES256", key.claims(e, reg))).wantError(t, 401, "invalid_client")
		if after := e.rows(t); after != before {
			t.Errorf("%s: stored something:\nbefore %s\nafter  %s", inside, before, after)
		}
	}
	if n := connected.Load(); n > 0 {
		t.Errorf("%d connections to inside", n)
	}
}
