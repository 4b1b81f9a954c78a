package handlers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// projectEnv is an env with the management API of projects beside the one at
// /v2. Bearer values name principals.
type projectEnv struct {
	*env
	api string // its base
	v2  string
}

func newProjectEnv(t testing.TB, opts envOptions, change func(*handlers.ManagementConfig)) *projectEnv {
	t.Helper()
	e := newEnv(t, opts)
	cfg := handlers.ManagementConfig{Authenticate: func(r *http.Request) (*handlers.Principal, error) {
		switch strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ") {
		case adminKey:
			return &handlers.Principal{UserID: homeUser, OrgID: homeOrg, ProjectID: homeProject, AllOrgs: true, Actor: oauthreg.Actor{Kind: "admin", ID: homeUser}}, nil
		case "project":
			return &handlers.Principal{UserID: homeUser, OrgID: homeOrg, ProjectID: homeProject}, nil
		case "organization":
			return &handlers.Principal{UserID: homeUser, OrgID: homeOrg, AllProjects: true}, nil
		case "reader":
			return &handlers.Principal{UserID: homeUser, OrgID: homeOrg, ProjectID: homeProject, ReadOnly: true}, nil
		case "broken":
			return nil, context.DeadlineExceeded
		}
		return nil, nil
	}}
	if change != nil {
		change(&cfg)
	}
	mux := http.NewServeMux()
	mux.Handle("/", e.server)
	mux.Handle(e.opts.base+"/v2/", e.server.ManagementV2(cfg))
	mux.Handle(e.opts.base+"/api/v1/", e.server.ManagementProjects(cfg))
	e.http.Config.Handler = mux
	return &projectEnv{env: e, api: e.issuer + "/api/v1", v2: e.issuer + "/v2"}
}

func collection(org, project string) string {
	return "/org/" + org + "/project/" + project + "/oauth_client"
}

var home = collection(homeOrg, homeProject)

// call sends a request to the API as the administrator.
func (e *projectEnv) call(method, path, body string, header ...string) *tokenAnswer {
	e.t.Helper()
	return e.sendJSON(method, e.api+path, adminKey, body, header...)
}

func (e *projectEnv) create(body string) *tokenAnswer {
	e.t.Helper()
	a := e.call(http.MethodPost, home, body)
	if a.status != http.StatusCreated {
		e.t.Fatalf("create %s: %d %s", body, a.status, a.raw)
	}
	return a
}

// details are "loc type" of every item of detail, sorted.
func (a *tokenAnswer) details(t testing.TB) string {
	t.Helper()
	var body struct {
		Detail []struct {
			Loc  []any
			Msg  string
			Type string
		}
	}
	if err := json.Unmarshal([]byte(a.raw), &body); err != nil {
		t.Fatalf("%v: %s", err, a.raw)
	}
	var out []string
	for _, d := range body.Detail {
		if d.Msg == "" {
			t.Errorf("an item has no msg: %s", a.raw)
		}
		out = append(out, strings.ReplaceAll(strings.Trim(fmt.Sprint(d.Loc), "[]"), " ", ".")+" "+d.Type)
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), ", ")
}

func (a *tokenAnswer) wantDetail(t testing.TB, status int, kind string) {
	t.Helper()
	detail, _ := a.body["detail"].(string)
	if a.status != status || detail == "" || a.str("type") != kind || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") {
		t.Errorf("got %d %s, want %d %s with a detail", a.status, a.raw, status, kind)
	}
}

func TestProjectClientCreate(t *testing.T) {
	e := newProjectEnv(t, envOptions{}, nil)
	tests := []struct {
		name string
		body string
		want map[string]any
	}{
		{"a machine by default", `{"name":"Robot"}`, map[string]any{
			"grant_types": []any{"client_credentials"}, "redirect_uris": []any{}, "token_endpoint_auth_method": "client_secret_basic",
			"pkce_required": false, "pkce_challenge_method": "S256", "description": nil, "deleted": nil, "scopes": "",
		}},
		{"a user's client by default", `{"name":"Web","redirect_uris":["https://client.example/cb"]}`, map[string]any{
			"grant_types": []any{"authorization_code", "refresh_token"}, "redirect_uris": []any{"https://client.example/cb"},
		}},
		{"everything", `{"name":"All","description":"d","redirect_uris":["https://client.example/cb","myapp://oauth/callback","http://localhost:3000/callback"],
			"grant_types":["authorization_code","refresh_token","client_credentials"],"scopes":"read write read","profile":"user_defined",
			"token_endpoint_auth_method":"client_secret_post","access_token_type":"jwt","pkce_required":true,"pkce_challenge_method":"S256"}`, map[string]any{
			"description": "d", "scopes": "read write", "token_endpoint_auth_method": "client_secret_post", "pkce_required": true,
			"grant_types": []any{"authorization_code", "refresh_token", "client_credentials"},
		}},
		{"a public client must use PKCE", `{"name":"App","token_endpoint_auth_method":"none","pkce_required":false,"redirect_uris":["com.example.app://oauth/callback"]}`, map[string]any{
			"token_endpoint_auth_method": "none", "pkce_required": true, "client_secret": nil,
		}},
		{"implicit is kept", `{"name":"Old","grant_types":["implicit"],"redirect_uris":["https://client.example/cb"]}`, map[string]any{"grant_types": []any{"implicit"}}},
		{"null is left out", `{"name":"Null","redirect_uris":null,"grant_types":null,"scopes":null,"description":null,"pkce_challenge_method":null,"profile":null}`, map[string]any{
			"grant_types": []any{"client_credentials"},
		}},
		{"unknown members", `{"name":"More","Description":"x","scope":"admin","trusted":true,"client_type":"user","client_id":"mine","client_secret":"mine","id":"mine","org_id":"mine"}`, map[string]any{
			"description": nil, "scopes": "",
		}},
		{"a profile names", `{"profile":"zendesk"}`, map[string]any{"name": "zendesk"}},
		{"255 characters", `{"name":"` + strings.Repeat("ä", 255) + `"}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := e.create(tt.body)
			for name, want := range tt.want {
				if got, ok := a.body[name]; !ok || !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %v, want %v", name, got, want)
				}
			}
			c, err := e.reg.Get(context.Background(), oauthreg.ByID(a.str("id")))
			if err != nil {
				t.Fatal(err)
			}
			if c.OrgID != homeOrg || c.ProjectID != homeProject || c.UserID != homeUser || c.ClientID != a.str("client_id") || c.ClientID == "mine" || c.ID == c.ClientID || c.SelfRegistered || c.FirstParty {
				t.Errorf("stored: %+v", c)
			}
			if secret := a.str("client_secret"); !c.IsPublic() && (secret == "" || secret == "mine") {
				t.Errorf("client_secret: %q", secret)
			}
			if a.str("project_id") != homeProject || a.header.Get("ETag") == "" || a.header.Get("Cache-Control") != "no-store" {
				t.Errorf("got %s %v", a.raw, a.header)
			}
			for _, name := range []string{"created", "modified"} {
				if at, err := time.Parse(time.RFC3339, a.str(name)); err != nil || !strings.HasSuffix(a.str(name), "Z") || !at.Equal(c.CreatedAt) {
					t.Errorf("%s: got %q", name, a.str(name))
				}
			}
		})
	}
}

func TestProjectClientCreateRefused(t *testing.T) {
	e := newProjectEnv(t, envOptions{}, nil)
	tests := []struct{ name, body, want string }{
		{"no body", ``, "body.name missing"},
		{"no name", `{}`, "body.name missing"},
		{"null for a name", `{"name":null}`, "body.name missing"},
		{"an empty name", `{"name":""}`, "body.name string_too_short"},
		{"a blank name", `{"name":"  "}`, "body.name value_error"},
		{"a name that is a number", `{"name":7}`, "body.name type_error"},
		{"a long name", `{"name":"` + strings.Repeat("x", 256) + `"}`, "body.name string_too_long"},
		{"a name with a line break", `{"name":"a\nb"}`, "body.name value_error"},
		{"long scopes", `{"name":"x","scopes":"` + strings.Repeat("x ", 128) + `"}`, "body.scopes string_too_long"},
		{"bad scopes", `{"name":"x","scopes":"a\"b"}`, "body.scopes value_error"},
		{"no redirect URI for the code grant", `{"name":"x","grant_types":["authorization_code"]}`, "body.redirect_uris value_error"},
		{"no redirect URI for the implicit grant", `{"name":"x","grant_types":["implicit"]}`, "body.redirect_uris value_error"},
		{"a bad redirect URI among good ones", `{"name":"x","redirect_uris":["https://a.example/cb","http://a.example/cb"]}`, "body.redirect_uris.1 value_error"},
		{"a redirect URI with a fragment", `{"name":"x","redirect_uris":["https://a.example/cb#x"]}`, "body.redirect_uris.0 value_error"},
		{"a script", `{"name":"x","redirect_uris":["javascript:alert(1)"]}`, "body.redirect_uris.0 value_error"},
		{"a redirect URI of 2049 characters", `{"name":"x","redirect_uris":["https://a.example/` + strings.Repeat("x", 2031) + `"]}`, "body.redirect_uris.0 value_error"},
		{"redirect URIs that are not strings", `{"name":"x","redirect_uris":[1]}`, "body.redirect_uris.0 type_error"},
		{"redirect URIs that are not a list", `{"name":"x","redirect_uris":"https://a.example"}`, "body.redirect_uris type_error"},
		{"an unknown grant", `{"name":"x","grant_types":["password"]}`, "body.grant_types.0 value_error"},
		{"refresh_token alone", `{"name":"x","grant_types":["refresh_token"]}`, "body.grant_types value_error"},
		{"client_credentials of a public client", `{"name":"x","token_endpoint_auth_method":"none"}`, "body.grant_types.0 value_error"},
		{"an unknown method", `{"name":"x","token_endpoint_auth_method":"private_key_jwt"}`, "body.token_endpoint_auth_method enum"},
		{"plain", `{"name":"x","pkce_challenge_method":"plain"}`, "body.pkce_challenge_method value_error"},
		{"another challenge method", `{"name":"x","pkce_challenge_method":"S512"}`, "body.pkce_challenge_method enum"},
		{"pkce_required as a string", `{"name":"x","pkce_required":"yes"}`, "body.pkce_required type_error"},
		{"an unknown profile", `{"name":"x","profile":"other"}`, "body.profile enum"},
		{"an unknown token type", `{"name":"x","access_token_type":"paseto"}`, "body.access_token_type enum"},
		{"an array", `[]`, "body value_error"},
		{"everything at once", `{"redirect_uris":["/cb"],"grant_types":["x"],"scopes":7,"pkce_challenge_method":"plain"}`,
			"body.grant_types.0 value_error, body.name missing, body.pkce_challenge_method value_error, body.redirect_uris.0 value_error, body.scopes type_error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := e.call(http.MethodPost, home, tt.body)
			if a.status != http.StatusUnprocessableEntity || a.str("type") != "validation_error" {
				t.Fatalf("got %d %s", a.status, a.raw)
			}
			if got := a.details(t); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
	for name, body := range map[string]string{
		"not JSON": `name=x`, "cut short": `{"name":"x"`, "a repeated member": `{"name":"x","name":"y"}`, "too deep": `{"name":"x","x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`,
	} {
		t.Run(name, func(t *testing.T) { e.call(http.MethodPost, home, body).wantDetail(t, 400, "validation_error") })
	}
	e.call(http.MethodPost, home, `{"name":"`+strings.Repeat("x", 1<<17)+`"}`).wantDetail(t, 413, "validation_error")
	e.call(http.MethodPost, home, `{"name":"x"}`, "Content-Type", "text/plain").wantDetail(t, 415, "validation_error")
	if n := e.clientCount(); n != 0 {
		t.Errorf("%d clients were stored by requests that were refused", n)
	}
}

func TestProjectClientNames(t *testing.T) {
	e := newProjectEnv(t, envOptions{}, nil)
	first := e.create(`{"name":"Taken"}`)
	e.call(http.MethodPost, home, `{"name":"Taken"}`).wantDetail(t, 409, "resource_error")
	for _, elsewhere := range []string{collection(homeOrg, otherProj), collection(otherOrg, homeProject)} {
		if a := e.call(http.MethodPost, elsewhere, `{"name":"Taken"}`); a.status != 201 {
			t.Errorf("%s: %d %s", elsewhere, a.status, a.raw)
		}
	}
	second := e.create(`{"name":"taken"}`) // case counts
	e.call(http.MethodPost, home+"/"+second.str("id"), `{"name":"Taken","description":"no"}`).wantDetail(t, 409, "resource_error")
	if a := e.call(http.MethodGet, home+"/"+second.str("id"), ""); a.str("name") != "taken" || a.body["description"] != nil {
		t.Errorf("a refused update was stored: %s", a.raw)
	}
	if a := e.call(http.MethodPost, home+"/"+first.str("id"), `{"name":"Taken","description":"yes"}`); a.status != 200 || a.str("description") != "yes" {
		t.Errorf("its own name: %d %s", a.status, a.raw)
	}
	e.call(http.MethodDelete, home+"/"+first.str("id"), "")
	e.create(`{"name":"Taken"}`)
	// The rule is this API's alone.
	if a := e.sendJSON(http.MethodPost, e.v2+"/oauth_clients", adminKey, `{"name":"Taken","client_type":"confidential","allowed_scopes":[],"allowed_grant_types":["client_credentials"]}`); a.status != 201 {
		t.Errorf("the other API: %d %s", a.status, a.raw)
	}
}

// Of any number of clients made at once under one name one stays. Where several
// processes share a database, never more than one does.
func projectClientNameRace(t *testing.T) {
	one := newProjectEnv(t, envOptions{}, nil)
	two := newProjectEnv(t, envOptions{file: one.file}, nil)
	for _, tt := range []struct {
		name  string
		apis  []*projectEnv
		least int32
	}{
		{"one process", []*projectEnv{one}, 1},
		{"two processes", []*projectEnv{one, two}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var created atomic.Int32
			var wg sync.WaitGroup
			raced(20)
			for i := range 20 {
				wg.Go(func() {
					switch a := tt.apis[i%len(tt.apis)].call(http.MethodPost, home, `{"name":"`+tt.name+`"}`); a.status {
					case 201:
						created.Add(1)
					case 409:
					default:
						t.Errorf("got %d %s", a.status, a.raw)
					}
				})
			}
			wg.Wait()
			page, err := one.reg.List(context.Background(), oauthreg.ListQuery{Name: tt.name})
			if err != nil {
				t.Fatal(err)
			}
			if n := created.Load(); n > 1 || n < tt.least || len(page.Clients) != int(n) {
				t.Errorf("%d were created and %d are there, want %d to 1", n, len(page.Clients), tt.least)
			}
		})
	}
}

func TestProjectClientList(t *testing.T) {
	e := newProjectEnv(t, envOptions{}, nil)
	list := func(query string) *tokenAnswer { return e.call(http.MethodGet, home+query, "") }
	names := func(a *tokenAnswer) (out []string) {
		t.Helper()
		if a.status != 200 {
			t.Fatalf("list: %d %s", a.status, a.raw)
		}
		for _, item := range a.body["results"].([]any) {
			m := item.(map[string]any)
			if m["client_secret"] != nil {
				t.Errorf("a list shows a secret: %v", m)
			}
			out = append(out, m["name"].(string))
		}
		return out
	}
	pagination := func(a *tokenAnswer) map[string]any { return a.body["pagination"].(map[string]any) }

	if a := list(""); len(names(a)) != 0 || pagination(a)["has_next"] != false || pagination(a)["page_limit"] != float64(100) || !strings.Contains(a.raw, `"results":[]`) {
		t.Errorf("empty: %s", a.raw)
	}
	const n = 7
	ids := map[string]string{}
	for i := range n {
		name := fmt.Sprintf("c%d", i)
		ids[name] = e.create(`{"name":"` + name + `"}`).str("id")
	}
	foreign := e.call(http.MethodPost, collection(homeOrg, otherProj), `{"name":"foreign"}`)
	want := []string{"c6", "c5", "c4", "c3", "c2", "c1", "c0"} // newest first

	walk := func(limit int, between func(last string)) (got []string) {
		t.Helper()
		cursor := ""
		for range 20 {
			q := fmt.Sprintf("?page_limit=%d", limit)
			if cursor != "" {
				q += "&cursor=" + cursor
			}
			a := list(q)
			page := names(a)
			got = append(got, page...)
			if pagination(a)["has_next"] != true {
				if pagination(a)["next_cursor"] != nil {
					t.Errorf("the last page has a cursor: %s", a.raw)
				}
				return got
			}
			cursor = pagination(a)["next_cursor"].(string)
			if between != nil {
				between(page[len(page)-1])
			}
		}
		t.Fatal("the list does not end")
		return nil
	}
	for _, limit := range []int{1, 2, 3, 6, 7, 8, 100} {
		if got := walk(limit, nil); !slices.Equal(got, want) {
			t.Errorf("pages of %d: got %v, want %v", limit, got, want)
		}
	}

	for query, detail := range map[string]string{
		"?page_limit=0": "query.page_limit greater_than_equal", "?page_limit=-1": "query.page_limit greater_than_equal", "?page_limit=101": "query.page_limit less_than_equal",
		"?page_limit=1000000000": "query.page_limit less_than_equal", "?page_limit=x": "query.page_limit int_parsing", "?page_limit=1e1": "query.page_limit int_parsing",
		"?page_limit=99999999999999999999": "query.page_limit int_parsing", "?cursor=x": "query.cursor uuid_parsing", "?cursor=1;DROP+TABLE": "query.cursor uuid_parsing",
		"?cursor=" + homeUser: "query.cursor value_error", "?cursor=" + foreign.str("id"): "query.cursor value_error", "?cursor=" + ids["c1"][:35] + "x": "query.cursor uuid_parsing",
		"?page_limit=0&cursor=x": "query.cursor uuid_parsing, query.page_limit greater_than_equal",
	} {
		query = strings.ReplaceAll(query, ";", "%3B")
		if a := list(query); a.status != 422 || a.details(t) != detail {
			t.Errorf("%s: got %d %s, want %s", query, a.status, a.raw, detail)
		}
	}
	list("?cursor=%zz").wantDetail(t, 400, "validation_error")

	// Whoever deletes what was listed, page by page, gets to the end.
	got := walk(2, func(last string) {
		if a := e.call(http.MethodDelete, home+"/"+ids[last], ""); a.status != 204 {
			t.Fatalf("delete: %d %s", a.status, a.raw)
		}
	})
	if !slices.Equal(got, want) {
		t.Errorf("deleting meanwhile: got %v, want %v", got, want)
	}
	// The place of a deleted client of another project is nobody's business.
	e.call(http.MethodDelete, collection(homeOrg, otherProj)+"/"+foreign.str("id"), "")
	if a := list("?cursor=" + foreign.str("id")); a.status != 422 {
		t.Errorf("a foreign cursor: got %d %s", a.status, a.raw)
	}
}

func TestProjectClientLife(t *testing.T) {
	for _, base := range []string{"", "/auth"} {
		t.Run("base"+base, func(t *testing.T) { testProjectClientLife(t, base) })
	}
}

func testProjectClientLife(t *testing.T, base string) {
	e := newProjectEnv(t, envOptions{base: base}, nil)
	created := e.create(`{"name":"Life","redirect_uris":["https://client.example/cb"],"grant_types":["authorization_code","refresh_token","client_credentials"],"scopes":"openid read write offline_access"}`)
	path := home + "/" + created.str("id")
	reg := e.registration(created)
	update := func(body string) *tokenAnswer { return e.call(http.MethodPost, path, body) }

	got := e.call(http.MethodGet, path, "")
	if got.status != 200 || got.body["client_secret"] != nil || got.str("client_id") != created.str("client_id") || strings.Contains(got.raw, created.str("client_secret")) {
		t.Fatalf("get: %d %s", got.status, got.raw)
	}
	if _, ok := got.body["client_secret"]; !ok {
		t.Errorf("client_secret is absent, want null: %s", got.raw)
	}
	if a := e.call(http.MethodGet, home+"/"+strings.ToUpper(created.str("id")), ""); a.raw != got.raw {
		t.Errorf("the id in upper case: %d %s", a.status, a.raw)
	}
	e.call(http.MethodGet, home+"/"+created.str("client_id"), "").wantDetail(t, 404, "resource_error") // it is not the client_id

	tokens := e.tokens(reg, "scope", "openid read offline_access", "resource", e.issuer+"/api")

	// An update replaces lists, leaves alone what it does not name, and applies
	// as a whole or not at all.
	for _, body := range []string{`{}`, ``, `{"redirect_uris":null,"grant_types":null,"pkce_required":null,"name":null}`, `{"client_id":"x","client_secret":"x","unknown":1}`} {
		a := update(body)
		if a.status != 200 || a.raw != got.raw {
			t.Errorf("%s: got %d %s, want %s", body, a.status, a.raw, got.raw)
		}
	}
	for _, tt := range []struct{ body, want string }{
		{`{"name":"Other","redirect_uris":["https://client.example/cb","http://a.example/"]}`, "body.redirect_uris.1 value_error"},
		{`{"description":"new","redirect_uris":[]}`, "body.redirect_uris too_short"},
		{`{"description":"new","grant_types":[]}`, "body.grant_types too_short"},
		{`{"description":"new","token_endpoint_auth_method":"none"}`, "body.token_endpoint_auth_method value_error"},
		{`{"description":"new","pkce_challenge_method":"plain","grant_types":["password"]}`, "body.grant_types.0 value_error, body.pkce_challenge_method value_error"},
		{`{"description":"new","grant_types":"x"}`, "body.grant_types type_error"},
	} {
		if a := update(tt.body); a.status != 422 || a.details(t) != tt.want {
			t.Errorf("%s: got %d %s, want %s", tt.body, a.status, a.raw, tt.want)
		}
	}
	if a := e.call(http.MethodGet, path, ""); a.raw != got.raw {
		t.Errorf("refused updates changed the client: %s", a.raw)
	}
	for i, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch} {
		a := e.call(method, path, fmt.Sprintf(`{"description":"v%d","redirect_uris":["https://client.example/cb","https://client.example/%d"],"token_endpoint_auth_method":"client_secret_basic","pkce_required":true}`, i, i))
		if a.status != 200 || a.str("description") != fmt.Sprintf("v%d", i) || !reflect.DeepEqual(a.list("redirect_uris"), []string{callback, fmt.Sprintf("https://client.example/%d", i)}) ||
			a.str("name") != "Life" || a.body["client_secret"] != nil || a.body["pkce_required"] != true {
			t.Errorf("%s: got %d %s", method, a.status, a.raw)
		}
	}
	if a := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")); a.status != 200 {
		t.Errorf("a token from before the update: %d %s", a.status, a.raw)
	} else {
		tokens = a
	}

	// A new secret ends the old one at once.
	e.call(http.MethodPost, path+"/client_secret", `[]`)
	fresh := e.call(http.MethodPost, path+"/client_secret", `{}`)
	if fresh.status != 200 || fresh.str("client_secret") == "" || len(fresh.body) != 1 {
		t.Fatalf("client_secret: %d %s", fresh.status, fresh.raw)
	}
	e.tokenRequest(reg, "grant_type", "client_credentials").wantError(t, 401, "invalid_client")
	reg.Secret = fresh.str("client_secret")
	machine := e.tokenRequest(reg, "grant_type", "client_credentials", "scope", "read")
	if machine.status != 200 {
		t.Errorf("the new secret: %d %s", machine.status, machine.raw)
	}
	public := e.create(`{"name":"Public","token_endpoint_auth_method":"none","redirect_uris":["https://client.example/cb"]}`)
	if a := e.call(http.MethodPost, home+"/"+public.str("id")+"/client_secret", `{}`); a.status != 422 || a.details(t) != "body.token_endpoint_auth_method value_error" {
		t.Errorf("a public client: %d %s", a.status, a.raw)
	}

	// Deleting ends everything.
	checker := e.register(with(machineClient(), func(c *oauthreg.Client) { c.ResourceServer = []string{e.issuer + "/api"} }))
	active := func() any {
		return e.authenticated("/oauth/introspect", checker, "token", tokens.str("access_token")).body["active"]
	}
	if active() != true {
		t.Fatal("the token is not active before")
	}
	if a := e.call(http.MethodDelete, path, ""); a.status != 204 || a.raw != "" {
		t.Errorf("delete: %d %s", a.status, a.raw)
	}
	if active() != false {
		t.Error("the token is active afterwards")
	}
	e.tokenRequest(reg, "grant_type", "client_credentials").wantError(t, 401, "invalid_client")
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		e.call(method, path, "").wantDetail(t, 404, "resource_error")
	}
	e.call(http.MethodPost, path+"/client_secret", "{}").wantDetail(t, 404, "resource_error")
}

// No id, cursor, name or path lets a caller see or change what is not theirs, or
// find out that it is there.
func projectIsolation(t *testing.T) {
	e := newProjectEnv(t, envOptions{}, nil)
	ours := e.create(`{"name":"Ours"}`)
	theirs := map[string]*tokenAnswer{}
	for _, path := range []string{collection(homeOrg, otherProj), collection(otherOrg, homeProject), collection(otherOrg, otherProj)} {
		if theirs[path] = e.call(http.MethodPost, path, `{"name":"Theirs"}`); theirs[path].status != 201 {
			t.Fatalf("%s: %d %s", path, theirs[path].status, theirs[path].raw)
		}
	}
	unowned := e.register(machineClient())
	const absent = "0198a000-0000-7000-8000-00000000dead"
	var before []oauthreg.Client
	snapshot := func() []oauthreg.Client {
		page, err := e.reg.List(context.Background(), oauthreg.ListQuery{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		return page.Clients
	}
	before = snapshot()

	notThere := e.sendJSON(http.MethodGet, e.api+home+"/"+absent, "project", "")
	notThere.wantDetail(t, 404, "resource_error")
	type request struct{ method, path, body string }
	var requests []request
	for foreign, client := range theirs {
		id := client.str("id")
		requests = append(requests, request{http.MethodGet, foreign, ""}, request{http.MethodPost, foreign, `{"name":"Mine"}`}, request{http.MethodPost, foreign, `{"name":"Theirs"}`}, request{http.MethodPost, foreign, `not JSON`})
		for _, at := range []string{foreign, home} {
			requests = append(requests,
				request{http.MethodGet, at + "/" + id, ""}, request{http.MethodPost, at + "/" + id, `{"name":"Mine"}`}, request{http.MethodPut, at + "/" + id, `{"grant_types":["x"]}`},
				request{http.MethodPatch, at + "/" + id, `not JSON`}, request{http.MethodDelete, at + "/" + id, ""}, request{http.MethodPost, at + "/" + id + "/client_secret", `{}`})
		}
		requests = append(requests, request{http.MethodGet, foreign + "/" + ours.str("id"), ""}, request{http.MethodDelete, foreign + "/" + ours.str("id"), ""})
	}
	requests = append(requests, request{http.MethodGet, home + "/" + unowned.Client.ID, ""}, request{http.MethodGet, collection(absent, absent), ""},
		request{http.MethodPost, collection(homeOrg, absent), `{"name":"Mine"}`})
	for _, r := range requests {
		a := e.sendJSON(r.method, e.api+r.path, "project", r.body)
		if a.status != 404 || a.raw != notThere.raw {
			t.Errorf("%s %s %s: got %d %s, want as for nothing", r.method, r.path, r.body, a.status, a.raw)
		}
	}
	if a := e.sendJSON(http.MethodGet, e.api+home+"?cursor="+theirs[collection(homeOrg, otherProj)].str("id"), "project", ""); a.status != 422 ||
		a.raw != e.sendJSON(http.MethodGet, e.api+home+"?cursor="+absent, "project", "").raw {
		t.Errorf("a foreign cursor: got %d %s", a.status, a.raw)
	}
	if a := e.sendJSON(http.MethodGet, e.api+home, "project", ""); a.status != 200 || strings.Contains(a.raw, "Theirs") || !strings.Contains(a.raw, "Ours") {
		t.Errorf("list: %d %s", a.status, a.raw)
	}
	if after := snapshot(); !reflect.DeepEqual(before, after) {
		t.Errorf("something changed: %v, before %v", after, before)
	}

	// Rights over the organization reach its projects, and no further. The path
	// binds even whoever may do everything.
	for path, want := range map[string]int{collection(homeOrg, otherProj): 200, collection(otherOrg, otherProj): 404} {
		if a := e.sendJSON(http.MethodGet, e.api+path+"/"+theirs[path].str("id"), "organization", ""); a.status != want {
			t.Errorf("%s: got %d, want %d", path, a.status, want)
		}
	}
	e.call(http.MethodGet, home+"/"+theirs[collection(otherOrg, otherProj)].str("id"), "").wantDetail(t, 404, "resource_error")
	e.call(http.MethodDelete, collection(otherOrg, otherProj)+"/"+ours.str("id"), "").wantDetail(t, 404, "resource_error")
}

func TestProjectErrors(t *testing.T) {
	e := newProjectEnv(t, envOptions{}, nil)
	client := e.create(`{"name":"One"}`)
	path := home + "/" + client.str("id")

	for _, bearer := range []string{"", "wrong", "My API"} {
		for _, p := range []string{home, path, collection("x", "y"), collection(otherOrg, otherProj) + "/x"} {
			a := e.sendJSON(http.MethodGet, e.api+p, bearer, "")
			a.wantDetail(t, 401, "authorization_error")
			if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("WWW-Authenticate: %q", a.header.Get("WWW-Authenticate"))
			}
		}
	}
	if a := e.sendJSON(http.MethodGet, e.api+home, "reader", ""); a.status != 200 {
		t.Errorf("a reader reads: %d %s", a.status, a.raw)
	}
	for _, r := range [][2]string{{http.MethodPost, home}, {http.MethodPost, path}, {http.MethodDelete, path}, {http.MethodPost, path + "/client_secret"}} {
		a := e.sendJSON(r[0], e.api+r[1], "reader", `{"name":"Two"}`)
		a.wantDetail(t, 403, "authorization_error")
		if a.str("reason") != "PERMISSION_CHECK_FAILED" || a.body["permissionCheckFailedError"] == nil {
			t.Errorf("got %s", a.raw)
		}
	}
	if a := e.sendJSON(http.MethodGet, e.api+home, "broken", ""); a.status != 503 || a.str("type") != "server_error" || a.header.Get("Retry-After") == "" {
		t.Errorf("authentication is down: %d %s", a.status, a.raw)
	}

	for _, bad := range []struct{ path, field string }{
		{collection("x", homeProject), "org_id"}, {collection(homeOrg, "x"), "project_id"}, {home + "/x", "oauth_client_id"}, {home + "/x/client_secret", "oauth_client_id"},
		{home + "/" + strings.ReplaceAll(client.str("id"), "-", ""), "oauth_client_id"}, {home + "/" + url.PathEscape("{"+client.str("id")+"}"), "oauth_client_id"},
		{home + "/" + client.str("id") + "%00", "oauth_client_id"}, {home + "/%2e%2e", "oauth_client_id"}, {home + "/" + client.str("id") + "%2Fclient_secret", "oauth_client_id"},
	} {
		method := http.MethodGet
		if strings.HasSuffix(bad.path, "client_secret") && !strings.Contains(bad.path, "%2F") {
			method = http.MethodPost
		}
		a := e.call(method, bad.path, "")
		a.wantDetail(t, 400, "validation_error")
		m, _ := a.body["malformedResourceIdentifierError"].(map[string]any)
		if a.str("reason") != "MALFORMED_RESOURCE_IDENTIFIER" || m["field"] != bad.field || m["expected_format"] != "uuid" {
			t.Errorf("%s: got %s", bad.path, a.raw)
		}
	}
	for _, p := range []string{"/", "/org", "/org/" + homeOrg, home + "/", path + "/", path + "/other", path + "/client_secret/", path + "/client_secret/x", "/orgs/" + homeOrg, "/ORG/" + homeOrg + "/project/" + homeProject + "/oauth_client"} {
		e.call(http.MethodGet, p, "").wantDetail(t, 404, "resource_error")
	}
	for p, allow := range map[string]string{home: "GET, HEAD, POST", path: "GET, HEAD, POST, PUT, PATCH, DELETE", path + "/client_secret": "POST"} {
		a := e.call("PROPFIND", p, "", "X-HTTP-Method-Override", "GET")
		a.wantDetail(t, 405, "resource_error")
		if a.header.Get("Allow") != allow {
			t.Errorf("%s: got Allow %q, want %q", p, a.header.Get("Allow"), allow)
		}
	}
	if a := e.call(http.MethodDelete, home, ""); a.status != 405 {
		t.Errorf("DELETE of the collection: %d", a.status)
	}
}

func TestProjectClientPreconditions(t *testing.T) {
	e := newProjectEnv(t, envOptions{}, nil)
	client := e.create(`{"name":"One"}`)
	path := home + "/" + client.str("id")
	etag := client.header.Get("ETag")
	if a := e.call(http.MethodGet, path, ""); a.header.Get("ETag") != etag {
		t.Errorf("got ETag %s, want %s", a.header.Get("ETag"), etag)
	}
	if a := e.call(http.MethodGet, path, "", "If-None-Match", etag); a.status != 304 || a.raw != "" {
		t.Errorf("If-None-Match: %d %s", a.status, a.raw)
	}
	a := e.call(http.MethodPost, path, `{"description":"x"}`, "If-Match", etag)
	if a.status != 200 || a.header.Get("ETag") == etag {
		t.Errorf("If-Match: %d %s", a.status, a.header.Get("ETag"))
	}
	for _, r := range [][3]string{{http.MethodPost, path, `{"description":"y"}`}, {http.MethodDelete, path, ""}, {http.MethodPost, path + "/client_secret", "{}"}} {
		e.call(r[0], r[1], r[2], "If-Match", etag).wantDetail(t, 412, "resource_error")
	}
	strict := newProjectEnv(t, envOptions{file: e.file}, func(c *handlers.ManagementConfig) { c.RequireIfMatch = true })
	strict.call(http.MethodPost, path, `{"description":"y"}`).wantDetail(t, 428, "resource_error")
	if a := strict.call(http.MethodDelete, path, "", "If-Match", a.header.Get("ETag")); a.status != 204 {
		t.Errorf("delete: %d %s", a.status, a.raw)
	}
}

func TestProjectClientIdempotency(t *testing.T) {
	e := newProjectEnv(t, envOptions{}, nil)
	body := `{"name":"Once"}`
	first := e.call(http.MethodPost, home, body, "Idempotency-Key", "k1")
	again := e.call(http.MethodPost, home, body, "Idempotency-Key", "k1")
	if first.status != 201 || again.status != 201 || again.raw != first.raw {
		t.Errorf("got %d %s and %d %s", first.status, first.raw, again.status, again.raw)
	}
	if a := e.call(http.MethodPost, home, `{"name":"Twice"}`, "Idempotency-Key", "k1"); a.status != 422 {
		t.Errorf("another body: %d %s", a.status, a.raw)
	}
	e.call(http.MethodPost, home, body, "Idempotency-Key", "k2").wantDetail(t, 409, "resource_error") // the name is taken
	// After a restart the secret is gone, but nothing is made twice.
	restarted := newProjectEnv(t, envOptions{file: e.file}, nil)
	restarted.call(http.MethodPost, home, body, "Idempotency-Key", "k1").wantDetail(t, 409, "resource_error")
	if n := e.clientCount(); n != 1 {
		t.Errorf("got %d clients, want 1", n)
	}
}

// One registry behind every face: what one makes the others show, and its secret
// works.
func TestFacesShareOneRegistry(t *testing.T) {
	e := newProjectEnv(t, envOptions{config: func(c *handlers.Config) {
		c.Registration = handlers.RegistrationConfig{Mode: handlers.RegistrationOpen, OrgID: homeOrg, ProjectID: homeProject, UserID: homeUser}
	}}, nil)
	machine := func(id, secret string) int {
		return e.post("/oauth/token", id, secret, "grant_type", "client_credentials").status
	}

	project := e.create(`{"name":"By project","scopes":"read"}`)
	v2 := e.sendJSON(http.MethodGet, e.v2+"/oauth_clients/"+project.str("client_id"), adminKey, "")
	data, _ := v2.body["data"].(map[string]any)
	if v2.status != 200 || data["name"] != "By project" || !reflect.DeepEqual(data["allowed_scopes"], []any{"read"}) || data["org_id"] != homeOrg {
		t.Errorf("through /v2: %d %s", v2.status, v2.raw)
	}
	if got := machine(project.str("client_id"), project.str("client_secret")); got != 200 {
		t.Errorf("token: %d", got)
	}

	made := e.sendJSON(http.MethodPost, e.v2+"/oauth_clients", "project", `{"name":"By v2","client_type":"confidential","allowed_scopes":["read"],"allowed_grant_types":["client_credentials"]}`)
	data, _ = made.body["data"].(map[string]any)
	if made.status != 201 {
		t.Fatalf("v2: %d %s", made.status, made.raw)
	}
	c, err := e.reg.Get(context.Background(), oauthreg.ByClientID(data["client_id"].(string)))
	if err != nil {
		t.Fatal(err)
	}
	a := e.call(http.MethodGet, home+"/"+c.ID, "")
	if a.status != 200 || a.str("client_id") != c.ClientID || a.str("name") != "By v2" || a.str("token_endpoint_auth_method") != "client_secret_basic" {
		t.Errorf("through the project: %d %s", a.status, a.raw)
	}
	renewed := e.call(http.MethodPost, home+"/"+c.ID+"/client_secret", "{}")
	if machine(c.ClientID, data["client_secret"].(string)) != 401 || machine(c.ClientID, renewed.str("client_secret")) != 200 {
		t.Error("the secret that another face renewed")
	}

	self := e.registerByHTTP(`{"client_name":"By itself",` + redirects + `}`)
	c = e.registration(self).Client
	if a = e.call(http.MethodGet, home+"/"+c.ID, ""); a.status != 200 || a.str("name") != "By itself" || a.body["pkce_required"] != true {
		t.Errorf("through the project: %d %s", a.status, a.raw)
	}
	if a = e.call(http.MethodPost, home+"/"+c.ID, `{"name":"Renamed","scopes":"read"}`); a.status != 200 {
		t.Fatalf("update: %d %s", a.status, a.raw)
	}
	read := e.sendJSON(http.MethodGet, self.str("registration_client_uri"), self.str("registration_access_token"), "")
	if read.status != 200 || read.str("client_name") != "Renamed" || read.str("scope") != "read" {
		t.Errorf("through its registration: %d %s", read.status, read.raw)
	}
}
