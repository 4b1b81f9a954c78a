package handlers_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// registrationEnv is a server with registration as configured; open unless said
// otherwise. It knows the scope admin.
func registrationEnv(t testing.TB, opts envOptions, change func(*handlers.RegistrationConfig)) *env {
	t.Helper()
	more := opts.config
	opts.config = func(c *handlers.Config) {
		c.Scopes = append(c.Scopes, handlers.Scope{Name: "admin"})
		c.Registration = handlers.RegistrationConfig{Mode: handlers.RegistrationOpen}
		if change != nil {
			change(&c.Registration)
		}
		if more != nil {
			more(c)
		}
	}
	return newEnv(t, opts)
}

// sendJSON sends a JSON body to a path below the issuer, or to a whole URL.
func (e *env) sendJSON(method, path, bearer, body string, header ...string) *tokenAnswer {
	e.t.Helper()
	target := path
	if strings.HasPrefix(path, "/") {
		target = e.issuer + path
	}
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, target, reader)
	if err != nil {
		e.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return e.send(req)
}

// clientCount is how many clients there are.
func (e *env) clientCount() int {
	e.t.Helper()
	page, err := e.reg.List(context.Background(), oauthreg.ListQuery{Limit: 1, Count: true})
	if err != nil {
		e.t.Fatal(err)
	}
	return page.Total
}

// registerByHTTP registers and reads the answer, which must be 201.
func (e *env) registerByHTTP(body string, bearer ...string) *tokenAnswer {
	e.t.Helper()
	a := e.sendJSON(http.MethodPost, "/oauth/register", strings.Join(bearer, ""), body)
	if a.status != http.StatusCreated {
		e.t.Fatalf("register %s: %d %s", body, a.status, a.raw)
	}
	return a
}

// registration is what the registry has of the answer's client, with the
// credentials of the answer.
func (e *env) registration(a *tokenAnswer) oauthreg.Registration {
	e.t.Helper()
	c, err := e.reg.Get(context.Background(), oauthreg.ByClientID(a.str("client_id")))
	if err != nil {
		e.t.Fatal(err)
	}
	return oauthreg.Registration{Client: c, Secret: a.str("client_secret"), RegistrationToken: a.str("registration_access_token")}
}

func (a *tokenAnswer) list(name string) []string {
	items, ok := a.body[name].([]any)
	if !ok {
		return nil
	}
	out := make([]string, len(items))
	for i := range items {
		out[i], _ = items[i].(string)
	}
	return out
}

// invalidFields are the names in invalid_fields, sorted.
func (a *tokenAnswer) invalidFields() []string {
	m, _ := a.body["invalid_fields"].(map[string]any)
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

const redirects = `"redirect_uris":["https://client.example/cb"]`

// smallRSA is a key of 1024 bits.
const smallRSA = `{"keys":[{"kty":"RSA","e":"AQAB","n":"` +
	`sKyLxAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"}]}`

func mustMarshal(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func registerBodyLimits(t *testing.T) {
	e := registrationEnv(t, envOptions{}, nil)
	big := `{` + redirects + `,"x":"` + strings.Repeat("x", 1<<20) + `"}`
	e.sendJSON(http.MethodPost, "/oauth/register", "", big).wantError(t, http.StatusRequestEntityTooLarge, "invalid_request")
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
		a := e.sendJSON(http.MethodPost, "/oauth/register", "", `{`+redirects+`}`, "Content-Type", contentType)
		a.wantError(t, http.StatusBadRequest, "invalid_client_metadata")
	}
	a := e.sendJSON(http.MethodGet, "/oauth/register", "", "")
	if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "POST" {
		t.Errorf("GET: got %d, Allow %q", a.status, a.header.Get("Allow"))
	}
	if n := e.clientCount(); n != 0 {
		t.Errorf("got %d clients, want none", n)
	}
	if a := e.sendJSON(http.MethodPost, "/oauth/register", "", `{`+redirects+`}`, "Content-Type", "application/json; charset=utf-8"); a.status != http.StatusCreated {
		t.Errorf("with charset: %d %s", a.status, a.raw)
	}
}

func TestRegisterAccepts(t *testing.T) {
	e := registrationEnv(t, envOptions{reg: func(c *oauthreg.Config) { c.PrivateUseSchemes = []string{"cursor"} }}, nil)
	tests := []struct {
		name string
		body string
		want map[string]any // members of the answer
	}{
		{"defaults", `{` + redirects + `}`, map[string]any{
			"grant_types": []any{"authorization_code"}, "response_types": []any{"code"},
			"token_endpoint_auth_method": "client_secret_basic", "application_type": "web",
			"scope": "openid profile read write", "client_secret_expires_at": float64(0),
			"subject_type": "public", "id_token_signed_response_alg": "RS256",
		}},
		{"refresh tokens bring offline_access", `{"grant_types":["authorization_code","refresh_token"],` + redirects + `}`, map[string]any{
			"grant_types": []any{"authorization_code", "refresh_token"}, "scope": "openid profile read write offline_access",
		}},
		{"a public client", `{"token_endpoint_auth_method":"none",` + redirects + `}`, map[string]any{
			"token_endpoint_auth_method": "none", "client_secret": nil, "client_secret_expires_at": nil,
		}},
		{"null is left out", `{"scope":null,"grant_types":null,"client_name":null,"token_endpoint_auth_method":null,` + redirects + `}`, map[string]any{
			"grant_types": []any{"authorization_code"}, "token_endpoint_auth_method": "client_secret_basic",
		}},
		{"unknown members", `{"x":1,"client_name#de":"x","trusted":true,"tenant_id":"t","x_wish":["y"],` + redirects + `}`, map[string]any{
			"x": nil, "trusted": nil, "tenant_id": nil,
		}},
		{"identifiers and credentials of the client's choice", `{"client_id":"mine","client_secret":"mine","client_secret_expires_at":1,"client_id_issued_at":1,
			"registration_access_token":"mine","registration_client_uri":"https://evil.example","id":"mine","org_id":"mine","user_id":"mine","first_party":true,
			"verified":true,"require_pkce":false,"access_token_lifetime":9999999,` + redirects + `}`, map[string]any{"client_secret_expires_at": float64(0)}},
		{"a loopback redirect is native", `{"redirect_uris":["http://127.0.0.1/cb","http://localhost:3000/cb"]}`, map[string]any{"application_type": "native"}},
		{"a private-use scheme with a dot", `{"redirect_uris":["com.example.app:/cb"]}`, map[string]any{"application_type": "native"}},
		{"a private-use scheme that the operator knows", `{"redirect_uris":["cursor://anysphere.cursor/cb"]}`, map[string]any{"application_type": "native"}},
		{"HTML in the name is kept, and escaped where it is shown", `{"client_name":"<b>A</b> & Ä",` + redirects + `}`, map[string]any{"client_name": "<b>A</b> & Ä"}},
		{"all that is descriptive", `{"client_name":"A","client_uri":"https://a.example/","logo_uri":"https://a.example/l.png","tos_uri":"https://a.example/t",
			"policy_uri":"https://a.example/p","contacts":["a@a.example"],"software_id":"s","software_version":"1","application_type":"web",
			"post_logout_redirect_uris":["https://client.example/bye"],"id_token_signed_response_alg":"ES256","scope":"read openid read",` + redirects + `}`, map[string]any{
			"client_name": "A", "client_uri": "https://a.example/", "logo_uri": "https://a.example/l.png", "tos_uri": "https://a.example/t",
			"policy_uri": "https://a.example/p", "contacts": []any{"a@a.example"}, "software_id": "s", "software_version": "1", "application_type": "web",
			"post_logout_redirect_uris": []any{"https://client.example/bye"}, "id_token_signed_response_alg": "ES256", "scope": "read openid",
		}},
		{"OpenID Connect members", `{"initiate_login_uri":"https://client.example/login","request_uris":["https://client.example/ro#x"],"default_acr_values":["a","b"],
			"subject_type":"pairwise","userinfo_signed_response_alg":"ES256","request_object_signing_alg":"ES256","default_max_age":60,"require_auth_time":true,
			"backchannel_logout_uri":"https://client.example/bl","backchannel_logout_session_required":true,"frontchannel_logout_uri":"https://client.example/fl",` + redirects + `}`, map[string]any{
			"subject_type": "pairwise", "userinfo_signed_response_alg": "ES256", "request_object_signing_alg": "ES256", "default_max_age": float64(60), "require_auth_time": true,
			"initiate_login_uri": "https://client.example/login", "request_uris": []any{"https://client.example/ro#x"}, "default_acr_values": []any{"a", "b"},
			"backchannel_logout_uri": "https://client.example/bl", "backchannel_logout_session_required": true, "frontchannel_logout_uri": "https://client.example/fl",
		}},
		{"keys", `{"token_endpoint_auth_method":"private_key_jwt","token_endpoint_auth_signing_alg":"ES256","jwks_uri":"https://client.example/jwks",` + redirects + `}`, map[string]any{
			"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://client.example/jwks", "client_secret": nil, "token_endpoint_auth_signing_alg": "ES256",
		}},
		{"wishes for what is so anyway", `{"subject_type":"public","require_pushed_authorization_requests":false,"userinfo_signed_response_alg":"none",` + redirects + `}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := e.registerByHTTP(tt.body)
			for name, want := range tt.want {
				if got := a.body[name]; !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %v, want %v", name, got, want)
				}
			}
			if a.header.Get("Cache-Control") != "no-store" || a.header.Get("Pragma") != "no-cache" {
				t.Errorf("the answer may be cached: %v", a.header)
			}
			if a.header.Get("Access-Control-Allow-Origin") != "*" {
				t.Error("no web origin may read the answer")
			}
			issued := time.Unix(int64(a.body["client_id_issued_at"].(float64)), 0)
			if d := e.clock.Now().Sub(issued); d < 0 || d > time.Minute {
				t.Errorf("issued %v ago", d)
			}
			if got, want := a.str("registration_client_uri"), e.issuer+"/oauth/register/"+a.str("client_id"); got != want {
				t.Errorf("registration_client_uri: got %s, want %s", got, want)
			}

			c := e.registration(a).Client
			switch {
			case !c.RequirePKCE, !c.SelfRegistered, c.FirstParty, c.Verified, c.OrgID != "", c.UserID != "", c.Lifetimes != (oauthreg.Lifetimes{}):
				t.Errorf("stored: %+v", c)
			case c.ClientID == "mine" || a.str("client_secret") == "mine" || a.str("registration_access_token") == "mine":
				t.Errorf("the client chose its own: %s", a.raw)
			}
		})
	}
}

// What is registered over HTTP is what the registry has, and it works.
func TestRegisteredClientWorks(t *testing.T) {
	key := newAssertionKey(t)
	for _, base := range []string{"", "/auth"} {
		for _, tt := range []struct{ name, members string }{
			{"client_secret_basic", `"grant_types":["authorization_code","refresh_token"]`},
			{"client_secret_post", `"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"client_secret_post"`},
			{"none", `"grant_types":["authorization_code","refresh_token"],"token_endpoint_auth_method":"none"`},
		} {
			t.Run(base+tt.name, func(t *testing.T) {
				e := registrationEnv(t, envOptions{base: base}, nil)
				a := e.registerByHTTP(`{"client_name":"Self-made","scope":"openid read offline_access",` + tt.members + `,` + redirects + `}`)
				reg := e.registration(a)
				tokens := e.tokens(reg, "scope", "openid read offline_access")
				if tokens.str("access_token") == "" || tokens.str("id_token") == "" {
					t.Fatalf("tokens: %s", tokens.raw)
				}
				refreshed := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"))
				if refreshed.status != http.StatusOK {
					t.Errorf("refresh: %d %s", refreshed.status, refreshed.raw)
				}
				wrong := reg
				wrong.Secret += "x"
				if tt.name != "none" {
					e.tokenRequest(wrong, "grant_type", "refresh_token", "refresh_token", refreshed.str("refresh_token")).wantError(t, 401, "invalid_client")
				}

				// PKCE is required whatever the client is.
				target, _ := e.authorizeURL(reg.Client.ClientID, "code_challenge", "-", "code_challenge_method", "-")
				if got := e.browser().walk(target).param("error"); got != "invalid_request" {
					t.Errorf("without PKCE: got error %q", got)
				}

				// The registration leads to the client's own address and token.
				read := e.sendJSON(http.MethodGet, a.str("registration_client_uri"), a.str("registration_access_token"), "")
				if read.status != http.StatusOK || read.str("client_name") != "Self-made" || read.str("client_secret") != "" {
					t.Errorf("read: %d %s", read.status, read.raw)
				}
			})
		}
		t.Run(base+"private_key_jwt", func(t *testing.T) {
			e := registrationEnv(t, envOptions{base: base}, nil)
			a := e.registerByHTTP(`{"token_endpoint_auth_method":"private_key_jwt","jwks":` + string(jwkSet(t, key)) + `,` + redirects + `}`)
			reg := e.registration(a)
			code, verifier := e.code(reg.Client.ClientID, "scope", "read")
			got := e.post("/oauth/token", "", "", "grant_type", "authorization_code", "code", code, "redirect_uri", callback, "code_verifier", verifier,
				"client_id", reg.Client.ClientID, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
				"client_assertion", key.sign(t, "ES256", key.claims(e, reg)))
			if got.status != http.StatusOK {
				t.Errorf("token: %d %s", got.status, got.raw)
			}
		})
	}
}

func registrationModes(t *testing.T) {
	book := newTokenBook(t, nil)
	token := issueToken(t, book, handlers.InitialAccessTokenOptions{Uses: -1})
	tests := []struct {
		name     string
		mode     handlers.RegistrationMode
		bearer   string
		status   int
		code     string
		endpoint bool
	}{
		{"closed", handlers.RegistrationClosed, "", 403, "access_denied", false},
		{"closed, whatever the token", handlers.RegistrationClosed, token, 403, "access_denied", false},
		{"by token, without one", handlers.RegistrationByToken, "", 401, "invalid_token", true},
		{"by token, with a wrong one", handlers.RegistrationByToken, "oai_wrong", 401, "invalid_token", true},
		{"by token, with something else", handlers.RegistrationByToken, "My API Key", 401, "invalid_token", true},
		{"by token", handlers.RegistrationByToken, token, 201, "", true},
		{"open", handlers.RegistrationOpen, "", 201, "", true},
		{"open, with a token", handlers.RegistrationOpen, token, 201, "", true},
		{"open, with a token that is worth nothing", handlers.RegistrationOpen, "oai_wrong", 401, "invalid_token", true},
		{"open, with the key of something else", handlers.RegistrationOpen, "My API Key", 201, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := registrationEnv(t, envOptions{}, func(c *handlers.RegistrationConfig) { c.Mode, c.InitialTokens = tt.mode, book })
			a := e.sendJSON(http.MethodPost, "/oauth/register", tt.bearer, `{`+redirects+`}`)
			if a.status != tt.status || a.str("error") != tt.code {
				t.Errorf("got %d %s, want %d %s", a.status, a.raw, tt.status, tt.code)
			}
			if tt.status == 401 && !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("got WWW-Authenticate %q", a.header.Get("WWW-Authenticate"))
			}
			stored := 0
			if tt.status == 201 {
				stored = 1
			}
			if n := e.clientCount(); n != stored {
				t.Errorf("got %d clients, want %d", n, stored)
			}
			metadata := e.sendJSON(http.MethodGet, "/.well-known/oauth-authorization-server", "", "")
			want := ""
			if tt.endpoint {
				want = e.issuer + "/oauth/register"
			}
			if got := metadata.str("registration_endpoint"); got != want {
				t.Errorf("registration_endpoint: got %q, want %q", got, want)
			}
		})
	}
}

func TestRegistrationPolicy(t *testing.T) {
	var asked []handlers.RegistrationRequest
	e := registrationEnv(t, envOptions{}, func(c *handlers.RegistrationConfig) {
		c.Policy = func(_ context.Context, c *oauthreg.Client, req handlers.RegistrationRequest) error {
			asked = append(asked, req)
			switch c.Name {
			case "metadata":
				return &oauthreg.InvalidError{Problems: []oauthreg.Problem{{Field: "client_name", Code: oauthreg.CodeInvalidClientMetadata, Message: "must be another"}}}
			case "own":
				return &handlers.Error{Code: "unapproved_software_statement", Description: "No.", Status: http.StatusBadRequest}
			case "broken":
				return io.ErrUnexpectedEOF
			case "verified":
				c.Verified = true
			default:
				c.Lifetimes.AccessToken = 5 * time.Minute
			}
			return nil
		}
	})
	for name, want := range map[string]struct {
		status int
		code   string
	}{
		"metadata": {400, "invalid_client_metadata"}, "own": {400, "unapproved_software_statement"},
		"broken": {500, "server_error"}, "verified": {400, "invalid_client_metadata"},
	} {
		a := e.sendJSON(http.MethodPost, "/oauth/register", "", `{"client_name":"`+name+`",`+redirects+`}`)
		a.wantError(t, want.status, want.code)
		if strings.Contains(a.raw, "EOF") {
			t.Errorf("the cause is shown: %s", a.raw)
		}
	}
	if n := e.clientCount(); n != 0 {
		t.Errorf("got %d clients, want none", n)
	}
	a := e.registerByHTTP(`{"client_name":"fine","x_custom":7,` + redirects + `}`)
	if c := e.registration(a).Client; c.Lifetimes.AccessToken != 5*time.Minute {
		t.Errorf("the policy's change is not stored: %+v", c)
	}
	last := asked[len(asked)-1]
	if string(last.Metadata["x_custom"]) != "7" || last.Previous != nil || last.Ceiling != nil || last.Address != "127.0.0.1" {
		t.Errorf("the policy was told %+v", last)
	}
	put := e.sendJSON(http.MethodPut, "/oauth/register/"+a.str("client_id"), a.str("registration_access_token"), `{"client_id":"`+a.str("client_id")+`","client_name":"metadata",`+redirects+`}`)
	put.wantError(t, 400, "invalid_client_metadata")
	if last = asked[len(asked)-1]; last.Previous == nil || last.Previous.Name != "fine" {
		t.Errorf("the policy was told %+v", last)
	}
	if c := e.registration(a).Client; c.Name != "fine" {
		t.Errorf("a refused update was stored: %+v", c)
	}
}

func TestRegistrationConfigIsChecked(t *testing.T) {
	var problems string
	func() {
		defer func() { _ = recover() }()
		_, err := handlers.New(handlers.Config{Issuer: "https://a.example", Registration: handlers.RegistrationConfig{
			Mode: "ajar", Scopes: []string{"a b"}, RequireSoftwareStatement: true, ReapUnused: time.Second,
		}})
		problems = err.Error()
	}()
	for _, want := range []string{"Registration.Mode", "Registration.Scopes", "Registration.SoftwareStatements", "Registration.ReapUnused"} {
		if !strings.Contains(problems, want) {
			t.Errorf("%s is not named in:\n%s", want, problems)
		}
	}
	_, err := handlers.New(handlers.Config{Registration: handlers.RegistrationConfig{
		Mode:               handlers.RegistrationByToken,
		SoftwareStatements: []handlers.SoftwareStatementIssuer{{JWKS: []byte(`{"keys":[]}`), Algs: []string{"HS256"}}, {Issuer: "x", JWKSURI: "http://keys.example/"}},
	}})
	for _, want := range []string{"InitialTokens is nil", "[0].Issuer is empty", "[0].JWKS has no", "[0].Algs", "[1].JWKSURI"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named in:\n%v", want, err)
		}
	}
}

// A browser application may register, and manage its registration.
func TestRegistrationPreflight(t *testing.T) {
	e := registrationEnv(t, envOptions{}, nil)
	for path, methods := range map[string]string{"/oauth/register": "POST", "/oauth/register/x": "GET, PUT, DELETE"} {
		a := e.sendJSON(http.MethodOptions, path, "", "", "Origin", "https://app.example", "Access-Control-Request-Method", "POST")
		if a.status != 204 || !strings.HasPrefix(a.header.Get("Access-Control-Allow-Methods"), methods) || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: got %d %v", path, a.status, a.header)
		}
	}
}

// The document behind sector_identifier_uri has to list every redirect URI, now
// and after an update.
func TestRegisterSectorIdentifier(t *testing.T) {
	documents := map[string]string{
		"/good": `["https://a.example/cb","https://b.example/cb"]`, "/short": `["https://a.example/cb"]`, "/object": `{}`, "/strings": `[1]`,
	}
	var fetched atomic.Int32
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched.Add(1)
		doc, ok := documents[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, doc)
	}))
	t.Cleanup(srv.Close)
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	e := registrationEnv(t, envOptions{config: func(c *handlers.Config) {
		c.Outbound = &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
			},
		}}
	}}, nil)
	const uris = `"redirect_uris":["https://a.example/cb","https://b.example/cb"]`
	body := func(path, more string) string {
		return `{"subject_type":"pairwise","sector_identifier_uri":"https://example.com` + path + `",` + uris + more + `}`
	}
	for _, path := range []string{"/short", "/object", "/strings", "/missing"} {
		a := e.sendJSON(http.MethodPost, "/oauth/register", "", body(path, ""))
		a.wantError(t, 400, "invalid_client_metadata")
		if got := strings.Join(a.invalidFields(), " "); got != "sector_identifier_uri" {
			t.Errorf("%s: got %s", path, a.raw)
		}
	}
	before := fetched.Load()
	e.sendJSON(http.MethodPost, "/oauth/register", "", body("/good", `,"scope":"nonsense"`)).wantError(t, 400, "invalid_client_metadata")
	if fetched.Load() != before {
		t.Error("the document was fetched for a registration that is wrong anyway")
	}
	if n := e.clientCount(); n != 0 {
		t.Errorf("got %d clients, want none", n)
	}
	a := e.registerByHTTP(body("/good", ""))
	path := "/oauth/register/" + a.str("client_id")
	put := `{"client_id":"` + a.str("client_id") + `","subject_type":"pairwise","sector_identifier_uri":"https://example.com/short",` + uris + `}`
	e.sendJSON(http.MethodPut, path, a.str("registration_access_token"), put).wantError(t, 400, "invalid_client_metadata")
	if got := e.sendJSON(http.MethodPut, path, a.str("registration_access_token"), strings.Replace(put, "/short", "/good", 1)); got.status != 200 {
		t.Errorf("update: %d %s", got.status, got.raw)
	}
}

// The implicit grant is for those who ask for it, where it is switched on.
func TestRegisterImplicit(t *testing.T) {
	const body = `{"grant_types":["implicit"],"response_types":["id_token","token id_token"],` + redirects + `}`
	e := registrationEnv(t, envOptions{
		config: func(c *handlers.Config) { c.Implicit = true }, reg: func(c *oauthreg.Config) { c.Implicit = true },
	}, nil)
	if a := e.registerByHTTP(body); !reflect.DeepEqual(a.list("response_types"), []string{"id_token", "id_token token"}) {
		t.Errorf("got %s", a.raw)
	}
	if a := e.registerByHTTP(`{` + redirects + `}`); !reflect.DeepEqual(a.list("grant_types"), []string{"authorization_code"}) {
		t.Errorf("by default: got %s", a.raw)
	}
	off := registrationEnv(t, envOptions{reg: func(c *oauthreg.Config) { c.Implicit = true }}, nil)
	off.sendJSON(http.MethodPost, "/oauth/register", "", body).wantError(t, 400, "invalid_client_metadata")
}
