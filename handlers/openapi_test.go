package handlers_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// filled is a described path with values for its parameters.
func filled(template string) string {
	template = strings.ReplaceAll(template, "{resource}", "api") // one that there is
	return regexp.MustCompile(`\{[^}]*\}`).ReplaceAllString(template, "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e")
}

// bare sends a request without credentials to a path below the issuer.
func (e *managedEnv) bare(method, path string) *tokenAnswer {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), method, e.issuer+path, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	return e.send(req)
}

// Every described method answers, and no other does.
func TestOpenAPIMethods(t *testing.T) {
	for _, base := range []string{"", "/auth"} {
		e := newManagedEnv(t, envOptions{base: base, config: func(c *handlers.Config) {
			c.Registration.Mode = handlers.RegistrationOpen
		}}, nil)
		d := theDescription()
		for template := range d.paths() {
			described := d.methods(template)
			if strings.Contains(template, "{resource}") && e.opts.base != "" {
				continue // stands at the root of the host
			}
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
				a := e.bare(method, filled(template))
				answers := a.status != http.StatusMethodNotAllowed && a.status != http.StatusNotFound
				if _, ok := described[method]; ok != answers {
					t.Errorf("%s %s: described %v, answered %d", method, template, ok, a.status)
				}
			}
		}
	}
}

// browserSteps are paths below /oauth that a browser is sent through, or that pages
// load; they are no API.
var browserSteps = []string{"/oauth/authorize/answer", "/oauth/authorize/resume", "/oauth/pages.css"}

// mounts are the functions that give a path a handler.
var mounts = []string{"open", "openAt", "plain", "page", "mount"}

// protocolPath and wellKnownPath are what of the server is an API, and not a page.
var (
	protocolPath  = regexp.MustCompile(`^(/oauth/.+|/healthz|/readyz)$`)
	wellKnownPath = regexp.MustCompile(`^/\.well-known/.+$`)
)

// describesPath reports whether a path is described; of one that stands for what
// is below it, whether something there is.
func describesPath(path string) bool {
	d := theDescription()
	if !strings.HasSuffix(path, "/") {
		return d.match(path) != ""
	}
	for template := range d.paths() {
		if strings.HasPrefix(template, path) {
			return true
		}
	}
	return false
}

// Every route is described: those that the management API has, every one of the
// server's that one of its prefixes leads to, those of the server, and every path
// of a protocol endpoint that the code of the package mounts.
func TestOpenAPIRoutes(t *testing.T) {
	e := newManagedEnv(t, envOptions{config: func(c *handlers.Config) { c.Registration.Mode = handlers.RegistrationOpen }}, nil)
	var own []string
	for _, path := range e.server.Served() {
		if (protocolPath.MatchString(path) || wellKnownPath.MatchString(path)) && !slices.Contains(browserSteps, path) {
			own = append(own, path)
		}
	}
	want := slices.Clone(own)
	api := e.server.ManagementV2(handlers.ManagementConfig{Authenticate: e.server.AdminToken})
	for _, path := range handlers.ServedByV2(api) {
		if path == "/" {
			continue // not found
		}
		want = append(want, "/v2"+path)
		if !strings.HasSuffix(path, "/") {
			continue
		}
		below := 0
		for _, forwarded := range own {
			if strings.HasPrefix(forwarded, path) {
				want = append(want, "/v2"+forwarded)
				below++
			}
		}
		if below == 0 {
			t.Errorf("/v2%s leads to nothing", path)
		}
	}
	for _, path := range want {
		if !describesPath(path) {
			t.Errorf("%s is served and not described in openapi/openapi.json", path)
		}
	}

	mounted := 0
	for _, path := range mountedPaths(t) {
		if slices.Contains(browserSteps, path) {
			continue
		}
		mounted++
		if !describesPath(path) && !describesPath("/v2"+path) {
			t.Errorf("%s is mounted and not described in openapi/openapi.json", path)
		}
	}
	if mounted < 10 || len(own) < 10 {
		t.Errorf("only %d mounted paths were found in the code, %d in the server", mounted, len(own))
	}
}

// mountedPaths are the paths of protocol endpoints that stand in the code of the
// package as an argument of a function that mounts, and all well-known ones.
func mountedPaths(t *testing.T) []string {
	t.Helper()
	var out []string
	note := func(n ast.Node, pattern *regexp.Regexp) {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return
		}
		if s, err := strconv.Unquote(lit.Value); err == nil && pattern.MatchString(s) {
			out = append(out, s)
		}
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), entry.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			note(n, wellKnownPath)
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) == 0 {
				return true
			}
			name := ""
			switch f := call.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			if slices.Contains(mounts, name) {
				note(call.Args[0], protocolPath)
			}
			return true
		})
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// The document names the issuer it is served by.
func TestOpenAPIServed(t *testing.T) {
	e := newManagedEnv(t, envOptions{base: "/auth"}, nil)
	a := e.bare(http.MethodGet, "/v2/openapi.json")
	a.wantStatus(t, 200)
	var own map[string]any
	if err := json.Unmarshal(handlers.OpenAPIDocument(), &own); err != nil {
		t.Fatal(err)
	}
	own["servers"].([]any)[0].(map[string]any)["url"] = e.issuer
	if mustJSON(t, a.body) != mustJSON(t, own) {
		t.Error("the document served is not the one in the repository with the issuer in it")
	}
	e.send(mustRequest(t, e.issuer+"/v2/openapi.json", "If-None-Match", a.header.Get("ETag"))).wantStatus(t, 304)
}

func mustRequest(t testing.TB, target string, header ...string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

// The members of request bodies, both ways: one that is described and has the
// wrong type is refused by name, and of the names that are described anywhere,
// those that are not described here are unknown here.
func TestOpenAPIRequestMembers(t *testing.T) {
	e := newManagedEnv(t, envOptions{config: func(c *handlers.Config) {
		c.Registration.Mode = handlers.RegistrationOpen
	}}, nil)
	d := theDescription()
	client := e.create(machineBody)
	machine, err := e.reg.Get(t.Context(), oauthreg.ByClientID(client["client_id"].(string)))
	if err != nil {
		t.Fatal(err)
	}
	registered := e.postJSON("/oauth/register", `{"redirect_uris":["https://client.example/cb"]}`, "")
	registered.wantStatus(t, 201)
	project := "/api/v1/org/" + homeOrg + "/project/" + homeProject + "/oauth_client"

	all := map[string]bool{"unheard_of": true, "client_id_issued_at": true, "Name": true}
	for name, v := range d.at("#/components/schemas") {
		members := map[string]bool{}
		d.membersOf(d.resolve(v), name, members)
		for key := range members {
			all[key[strings.LastIndexByte(key, '.')+1:]] = true
		}
	}
	for _, b := range []struct {
		schema string
		send   func(body string) *tokenAnswer
		strict bool
		except []string // read only to be refused, as the description says
	}{
		{"CreateClient", func(body string) *tokenAnswer { return e.call("POST", "/oauth_clients", body) }, true, nil},
		{"UpdateClient", func(body string) *tokenAnswer { return e.call("PUT", "/oauth_clients/"+machine.ClientID, body) }, true, nil},
		{"RotateSecret", func(body string) *tokenAnswer {
			return e.call("POST", "/oauth_clients/"+machine.ClientID+"/secrets", body)
		}, true, nil},
		{"ExplainRequest", func(body string) *tokenAnswer {
			return e.call("POST", "/oauth_clients/"+machine.ClientID+"/explain", body)
		}, true, nil},
		{"RotateSigningKey", func(body string) *tokenAnswer { return e.call("POST", "/signing_keys", body) }, true, nil},
		{"AnswerConsent", func(body string) *tokenAnswer { return e.call("POST", "/oauth/grants", body) }, true, nil},
		{"CreateProjectClient", func(body string) *tokenAnswer { return e.postJSON(project, body, adminKey) }, false, nil},
		{"UpdateProjectClient", func(body string) *tokenAnswer { return e.postJSON(project+"/"+machine.ID, body, adminKey) }, false, nil},
		{"ClientMetadata", func(body string) *tokenAnswer { return e.postJSON("/oauth/register", body, "") }, false, nil},
		{"ClientMetadataUpdate", func(body string) *tokenAnswer {
			req := mustRequest(t, registered.str("registration_client_uri"), "Authorization", "Bearer "+registered.str("registration_access_token"), "Content-Type", "application/json")
			req.Method, req.Body = http.MethodPut, http.NoBody
			req.Body = asBody(body)
			return e.send(req)
		}, false, []string{"registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"}},
	} {
		without := b.send(`{}`)
		known := d.at("#/components/schemas/" + b.schema)["properties"].(map[string]any)
		for member := range all {
			_, described := known[member]
			if slices.Contains(b.except, member) {
				continue
			}
			// Neither a string nor a number, list or boolean.
			a := b.send(`{"` + member + `":{"unheard_of":[{}]}}`)
			read := a.raw != without.raw
			if b.strict {
				read = !strings.Contains(a.raw, member+": is not a member")
			}
			if read != described {
				t.Errorf("%s.%s: described %v, but got %d %s", b.schema, member, described, a.status, a.raw)
			}
		}
	}
}

// The parameters of lists, both ways: a filter that is not described is refused.
func TestOpenAPIFilters(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	d := theDescription()
	client := e.create(machineBody)["client_id"].(string)
	all := map[string]bool{"filter[unheard_of]": true, "page[offset]": true}
	described := map[string]map[string]bool{}
	for template := range d.paths() {
		for method, operation := range d.methods(template) {
			if !strings.HasPrefix(template, "/v2/") || method != "GET" && method != "DELETE" {
				continue
			}
			parameters, _ := operation["parameters"].([]any)
			names := map[string]bool{}
			for _, p := range parameters {
				if p := d.resolve(p); p["in"] == "query" && strings.Contains(p["name"].(string), "[") {
					names[p["name"].(string)], all[p["name"].(string)] = true, true
				}
			}
			if len(names) > 0 {
				described[method+" "+template] = names
			}
		}
	}
	for at, names := range described {
		method, path, _ := strings.Cut(at, " ")
		path = strings.TrimPrefix(strings.ReplaceAll(path, "{id}", client), "/v2")
		for name := range all {
			a := e.call(method, path+"?"+name+"=1", "")
			if known := !strings.Contains(a.raw, "does not have the parameter"); known != names[name] {
				t.Errorf("%s %s: described %v, got %d %s", at, name, names[name], a.status, a.raw)
			}
		}
	}
}

// Every described member of a response is there in some response. That responses
// have no other members is checked at every request of the tests.
func TestOpenAPIResponseMembers(t *testing.T) {
	e := newManagedEnv(t, envOptions{config: func(c *handlers.Config) {
		c.Registration.Mode = handlers.RegistrationOpen
	}}, func(_ *env, c *handlers.ManagementConfig) {
		admin := c.Authenticate
		c.Authenticate = func(r *http.Request) (*handlers.Principal, error) {
			if r.Header.Get("Authorization") == "Bearer reader" {
				return &handlers.Principal{UserID: "u", OrgID: homeOrg, AllProjects: true, ReadOnly: true}, nil
			}
			return admin(r)
		}
	})
	// Clients and their secrets.
	c := e.create(strings.Replace(webBody, `{`, `{"logo_uri":"https://client.example/l","tos_uri":"https://client.example/t","policy_uri":"https://client.example/p",`, 1))
	id, path := c["client_id"].(string), "/oauth_clients/"+c["client_id"].(string)
	e.call("GET", "/oauth_clients", "")
	e.call("PUT", path, `{"name":"B"}`)
	e.call("POST", path+"/suspend", "")
	e.call("GET", path+"/audit", "")
	e.call("GET", "/audit", "")
	e.call("GET", "/signing_keys", "")
	e.call("GET", "/signing_keys/audit", "")
	e.call("POST", "/signing_keys", `{"alg":"ES256"}`)
	e.call("POST", path+"/resume", "")
	second := e.call("POST", path+"/secrets", `{"label":"x","lifetime_seconds":3600,"overlap_seconds":60}`).data(t)
	e.call("GET", path+"/secrets", "")
	e.call("DELETE", path+"/secrets/"+second["id"].(string), "")
	e.call("POST", path+"/explain", `{"endpoint":"authorize","parameters":{}}`)
	e.call("POST", "/oauth_clients", `{}`)

	// A flow, its grant, its tokens.
	reg := oauthreg.Registration{Secret: c["client_secret"].(string)}
	var err error
	if reg.Client, err = e.reg.Get(t.Context(), oauthreg.ByClientID(id)); err != nil {
		t.Fatal(err)
	}
	consent, verifier, _ := e.consent(id, "scope", "openid read", "resource", e.issuer+"/api")
	e.call("GET", "/oauth/consent/"+consent, "")
	answered := e.call("POST", "/oauth/grants", `{"allowed":true,"consent_token":"`+consent+`"}`)
	code := strings.Split(strings.Split(answered.str("redirect_uri"), "code=")[1], "&")[0]
	tokens := e.redeem(reg, code, verifier)
	tokens.wantStatus(t, 200)
	e.authenticated("/oauth/introspect", reg, "token", tokens.str("access_token"))
	e.authenticated("/oauth/introspect", reg, "token", "unknown")
	e.authenticated("/oauth/introspect", reg)
	e.send(mustRequest(t, e.issuer+"/oauth/userinfo", "Authorization", "Bearer "+tokens.str("access_token")))
	grant := e.call("GET", "/oauth_grants", "").items(t)[0]["id"].(string)
	e.call("GET", "/oauth_grants/"+grant, "")
	e.call("DELETE", "/oauth_grants?filter[client_id]="+id, "")
	jwt := machineClient()
	jwt.AccessTokenFormat = oauthreg.JWT
	machine := e.register(jwt)
	e.authenticated("/oauth/introspect", machine, "token", e.tokenRequest(machine, "grant_type", "client_credentials").str("access_token"))

	// Documents.
	for _, path := range []string{
		"/oauth/jwks", "/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/healthz", "/readyz",
		"/v2/.well-known/oauth-protected-resource", "/v2/openapi.json",
	} {
		e.bare("GET", path).wantStatus(t, 200)
	}

	// The clients of a project.
	project := "/api/v1/org/" + homeOrg + "/project/" + homeProject + "/oauth_client"
	made := e.postJSON(project, `{"name":"P","description":"D","scopes":"read","grant_types":["client_credentials"]}`, adminKey)
	made.wantStatus(t, 201)
	e.postJSON(project, `{}`, adminKey).wantStatus(t, 422)
	e.postJSON(project, `{"name":"P2"}`, "reader").wantStatus(t, 403)
	e.postJSON(project+"/"+made.str("id"), `{}`, adminKey).wantStatus(t, 200)
	e.postJSON(project+"/"+made.str("id")+"/client_secret", `{}`, adminKey).wantStatus(t, 200)
	e.postJSON(project+"/nothing", `{}`, adminKey).wantStatus(t, 400)
	e.send(mustRequest(t, e.issuer+project, "Authorization", "Bearer "+adminKey)).wantStatus(t, 200)

	// Dynamic registration, with everything there is.
	e.postJSON("/oauth/register", `{"redirect_uris":["javascript:x"]}`, "").wantStatus(t, 400)
	full := e.postJSON("/oauth/register", `{"client_name":"R","client_uri":"https://client.example","logo_uri":"https://client.example/l",
		"tos_uri":"https://client.example/t","policy_uri":"https://client.example/p","contacts":["a@client.example"],"software_id":"s","software_version":"1",
		"redirect_uris":["https://client.example/cb"],"post_logout_redirect_uris":["https://client.example/out"],"scope":"openid",
		"default_max_age":60,"require_auth_time":true,"default_acr_values":["1"],"initiate_login_uri":"https://client.example/login",
		"request_object_signing_alg":"RS256","request_uris":["https://client.example/request"],"userinfo_signed_response_alg":"RS256",
		"id_token_signed_response_alg":"ES256","backchannel_logout_uri":"https://client.example/bc","backchannel_logout_session_required":true,
		"frontchannel_logout_uri":"https://client.example/fc","frontchannel_logout_session_required":true}`, "")
	full.wantStatus(t, 201)
	e.postJSON("/oauth/register", `{"redirect_uris":["https://client.example/cb"],"token_endpoint_auth_method":"private_key_jwt",
		"token_endpoint_auth_signing_alg":"ES256","jwks":{"keys":[{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","kid":"1",
		"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}}`, "").wantStatus(t, 201)
	e.postJSON("/oauth/register", `{"redirect_uris":["https://client.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://client.example/jwks"}`, "").wantStatus(t, 201)

	d := theDescription()
	want := map[string]bool{}
	for template := range d.paths() {
		for _, operation := range d.methods(template) {
			for _, response := range operation["responses"].(map[string]any) {
				content, _ := d.resolve(response)["content"].(map[string]any)
				for mt, media := range content {
					if strings.HasSuffix(mt, "json") {
						d.members(media.(map[string]any)["schema"], "", want)
					}
				}
			}
		}
	}
	// What only other tests bring about: a document that others host, and a
	// statement that others sign.
	for _, elsewhere := range []string{"ClientInformation.sector_identifier_uri", "ClientInformation.software_statement"} {
		delete(want, elsewhere)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, member := range slices.Sorted(maps.Keys(want)) {
		if !d.seen[member] {
			t.Errorf("%s is described, and no response has it", member)
		}
	}
}

// postJSON posts to a path below the issuer.
func (e *managedEnv) postJSON(path, body, bearer string) *tokenAnswer {
	e.t.Helper()
	req := mustRequest(e.t, e.issuer+path, "Content-Type", "application/json")
	req.Method, req.Body = http.MethodPost, asBody(body)
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	return e.send(req)
}
