package handlers_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

func TestV2ClientLifecycle(t *testing.T) {
	for _, base := range []string{"", "/auth"} {
		t.Run("issuer path "+base, func(t *testing.T) {
			e := newManagedEnv(t, envOptions{base: base}, nil)
			made := e.call(http.MethodPost, "/oauth_clients", `{"name":"My OAuth client","client_type":"confidential",
				"allowed_scopes":["read"],"allowed_grant_types":["client_credentials","authorization_code"],
				"require_pkce":true,"redirect_uris":["https://client.example/cb"],"logo_uri":"https://client.example/logo.png",
				"tos_uri":"https://client.example/tos","policy_uri":"https://client.example/policy"}`)
			made.wantStatus(t, http.StatusCreated)
			c := made.data(t)
			want := []string{
				"allowed_grant_types", "allowed_scopes", "client_id", "client_secret", "client_type", "created_at", "logo_uri",
				"name", "org_id", "policy_uri", "record_type", "redirect_uris", "require_pkce", "tos_uri", "updated_at", "user_id",
			}
			var have []string
			for name := range c {
				have = append(have, name)
			}
			slices.Sort(have)
			if !slices.Equal(have, want) {
				t.Errorf("members:\n got %v\nwant %v", have, want)
			}
			if c["record_type"] != "oauth_client" || c["org_id"] != homeOrg || c["user_id"] != homeUser || c["client_type"] != "confidential" {
				t.Errorf("got %v", c)
			}
			if _, err := time.Parse(time.RFC3339, c["created_at"].(string)); err != nil {
				t.Error(err)
			}
			id, secret := c["client_id"].(string), c["client_secret"].(string)
			if got := made.header.Get("Location"); got != e.v2+"/oauth_clients/"+id {
				t.Errorf("Location %q", got)
			}
			if made.header.Get("ETag") == "" || made.header.Get("Cache-Control") != "no-store" {
				t.Errorf("headers %v", made.header)
			}

			// The secret works, in either place, and is not shown again.
			e.post("/oauth/token", id, secret, "grant_type", "client_credentials").wantStatus(t, 200)
			e.post("/oauth/token", "", "", "client_id", id, "client_secret", secret, "grant_type", "client_credentials").wantStatus(t, 200)
			for _, path := range []string{"/oauth_clients/", "/oauth/clients/"} {
				got := e.call(http.MethodGet, path+id, "")
				got.wantStatus(t, 200)
				if d := got.data(t); d["client_secret"] != nil || d["name"] != "My OAuth client" {
					t.Errorf("got %v", d)
				}
			}

			// Update with nothing changes nothing; then a few members.
			if d := e.call(http.MethodPut, "/oauth_clients/"+id, "", "Content-Type", "application/json").data(t); d["updated_at"] != c["updated_at"] {
				t.Errorf("an empty update changed something: %v", d)
			}
			d := e.call(http.MethodPut, "/oauth/clients/"+id, `{"name":"Renamed","logo_uri":null,"redirect_uris":["https://client.example/a","https://client.example/b"]}`).data(t)
			if d["name"] != "Renamed" || d["logo_uri"] != nil || d["tos_uri"] != "https://client.example/tos" || len(d["redirect_uris"].([]any)) != 2 || d["client_secret"] != nil {
				t.Errorf("got %v", d)
			}

			del := e.call(http.MethodDelete, "/oauth_clients/"+id, "")
			if del.status != 204 || del.raw != "" {
				t.Errorf("delete: %d %q", del.status, del.raw)
			}
			e.call(http.MethodGet, "/oauth_clients/"+id, "").wantError(t, 404, "not_found")
			e.call(http.MethodPut, "/oauth_clients/"+id, "{}").wantError(t, 404, "not_found")
			e.call(http.MethodDelete, "/oauth_clients/"+id, "").wantError(t, 404, "not_found")
			e.post("/oauth/token", id, secret, "grant_type", "client_credentials").wantError(t, 401, "invalid_client")
		})
	}
}

func TestV2CreateDefaults(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	c := e.create(machineBody)
	for _, name := range []string{"logo_uri", "tos_uri", "policy_uri"} {
		if v, ok := c[name]; !ok || v != nil {
			t.Errorf("%s: got %v, want null", name, v)
		}
	}
	if c["require_pkce"] != false || mustJSON(t, c["redirect_uris"]) != "[]" {
		t.Errorf("got %v", c)
	}

	// The documentation's own sample: it is accepted, and refused where it matters.
	public := e.create(`{"name":"My OAuth client","client_type":"public","allowed_scopes":["admin"],"allowed_grant_types":["client_credentials"],
		"redirect_uris":["https://example.com/callback"],"logo_uri":"https://example.com","policy_uri":"https://example.com","tos_uri":"https://example.com","require_pkce":false}`)
	if public["client_secret"] != nil || public["require_pkce"] != true {
		t.Errorf("got %v", public)
	}
	e.post("/oauth/token", "", "", "client_id", public["client_id"].(string), "grant_type", "client_credentials").wantError(t, 400, "unauthorized_client")
}

func TestV2CreateRefused(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	long := strings.Repeat("x", 70<<10)
	tests := []struct {
		name    string
		body    string
		status  int
		mention string
	}{
		{"not JSON", `{"name":`, 400, ""},
		{"two values", machineBody + machineBody, 400, ""},
		{"not UTF-8", "{\"name\":\"\xff\"}", 400, ""},
		{"repeated member", `{"name":"a","name":"b"}`, 400, "more than once"},
		{"nested too deeply", `{"name":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`, 400, "deeper"},
		{"too large", `{"name":"` + long + `"}`, 413, ""},
		{"array", `[]`, 422, "object"},
		{"nothing there", `{}`, 422, "name: is required; client_type: is required; allowed_scopes: is required; allowed_grant_types: is required"},
		{"unknown member", strings.Replace(machineBody, "{", `{"scopes":["a"],`, 1), 422, "scopes: is not a member"},
		{"member of another API", strings.Replace(machineBody, "{", `{"verified":true,`, 1), 422, "verified"},
		{"name in other case", `{"Name":"x","client_type":"public","allowed_scopes":[],"allowed_grant_types":[]}`, 422, "Name"},
		{"name is a number", strings.Replace(machineBody, `"Robot"`, `7`, 1), 422, "name: must be a string"},
		{"name is null", strings.Replace(machineBody, `"Robot"`, `null`, 1), 422, "name: must be a string"},
		{"name is empty", strings.Replace(machineBody, `"Robot"`, `""`, 1), 422, "name"},
		{"client type", strings.Replace(machineBody, `"confidential"`, `"secret"`, 1), 422, "client_type: must be public or confidential"},
		{"scopes as a string", strings.Replace(machineBody, `["read","write"]`, `"read write"`, 1), 422, "allowed_scopes: must be an array"},
		{"scope with a space", strings.Replace(machineBody, `["read","write"]`, `["read write"]`, 1), 422, "allowed_scopes[0]"},
		{"scope is a number", strings.Replace(machineBody, `["read","write"]`, `["read",1]`, 1), 422, "allowed_scopes[1]"},
		{"implicit", strings.Replace(machineBody, `["client_credentials"]`, `["implicit"]`, 1), 422, "allowed_grant_types[0]"},
		{"unknown grant", strings.Replace(machineBody, `["client_credentials"]`, `["password"]`, 1), 422, "allowed_grant_types[0]"},
		{"code without redirect URI", strings.Replace(webBody, `,"redirect_uris":["https://client.example/cb"]`, ``, 1), 422, "redirect_uris"},
		{"javascript", strings.Replace(webBody, "https://client.example/cb", "javascript:alert(1)", 1), 422, "redirect_uris[0]"},
		{"http off loopback", strings.Replace(webBody, "https://", "http://", 1), 422, "redirect_uris[0]"},
		{"fragment", strings.Replace(webBody, "/cb", "/cb#x", 1), 422, "redirect_uris[0]"},
		{"logo is a script", strings.Replace(machineBody, "{", `{"logo_uri":"data:image/png,x",`, 1), 422, "logo_uri"},
		{"pkce is text", strings.Replace(machineBody, "{", `{"require_pkce":"yes",`, 1), 422, "require_pkce: must be true or false"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := e.call(http.MethodPost, "/oauth_clients", tt.body)
			a.wantError(t, tt.status, "invalid_request")
			if !strings.Contains(a.str("error_description"), tt.mention) {
				t.Errorf("description %q does not say %q", a.str("error_description"), tt.mention)
			}
			if strings.ContainsAny(a.str("error_description"), "\"\\") {
				t.Errorf("description %q has characters that RFC 6749 does not allow", a.str("error_description"))
			}
		})
	}
	e.call(http.MethodPost, "/oauth_clients", machineBody, "Content-Type", "text/plain").wantError(t, 415, "invalid_request")
	e.call(http.MethodPost, "/oauth_clients", machineBody, "Content-Type", "application/x-www-form-urlencoded").wantError(t, 415, "invalid_request")
	if got := e.call(http.MethodGet, "/oauth_clients", ""); len(got.items(t)) != 0 {
		t.Errorf("something was stored: %s", got.raw)
	}
}

// Whoever sends several mistakes is told of all of them at once, whoever finds
// them.
func TestV2AllProblemsAtOnce(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	path := "/oauth_clients/" + e.create(webBody)["client_id"].(string)
	const more = `"nonsense":1,"require_pkce":"yes","redirect_uris":["http://x.example/"],"logo_uri":"data:x","allowed_grant_types":["password"]}`
	for _, a := range []*tokenAnswer{
		e.call(http.MethodPost, "/oauth_clients", `{"name":"","client_type":"other",`+more),
		e.call(http.MethodPut, path, `{"name":"",`+more),
	} {
		a.wantError(t, 422, "invalid_request")
		for _, problem := range []string{"name: ", "nonsense: ", "require_pkce: ", "redirect_uris[0]: ", "logo_uri: ", "allowed_grant_types[0]: "} {
			if got := strings.Count("; "+a.str("error_description"), "; "+problem); got != 1 {
				t.Errorf("%s is told %d times in %s", problem, got, a.raw)
			}
		}
	}
	// One cause, one problem.
	for _, body := range []string{`{}`, `{"name":1,"client_type":1,"allowed_scopes":1,"allowed_grant_types":1}`} {
		a := e.call(http.MethodPost, "/oauth_clients", body)
		if got := strings.Count(a.str("error_description"), "; "); a.status != 422 || got != 3 {
			t.Errorf("%s: %d %s", body, a.status, a.raw)
		}
	}
	if a := e.call(http.MethodPut, path, `{"redirect_uris":1}`); a.str("error_description") != "redirect_uris: must be an array of strings" {
		t.Errorf("got %s", a.raw)
	}
}

func TestV2Update(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	c := e.create(webBody)
	path := "/oauth_clients/" + c["client_id"].(string)
	tests := []struct {
		name, body string
		status     int
	}{
		{"the type never changes", `{"client_type":"public"}`, 422},
		{"unknown member", `{"nmae":"x"}`, 422},
		{"null where there must be a list", `{"redirect_uris":null}`, 422},
		{"one bad member spoils all", `{"name":"Spoiled","redirect_uris":["ftp://x/"]}`, 422},
		{"no redirect URI left", `{"redirect_uris":[]}`, 422},
		{"code grant needs a redirect URI in the end", `{"allowed_grant_types":["client_credentials"],"redirect_uris":[]}`, 200},
		{"and back", `{"allowed_grant_types":["authorization_code"],"redirect_uris":["https://client.example/cb"]}`, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e.call(http.MethodPut, path, tt.body).wantStatus(t, tt.status)
			if d := e.call(http.MethodGet, path, "").data(t); d["name"] != "Shop" {
				t.Errorf("got %v", d)
			}
		})
	}

	// Default scopes, which this API does not know, follow the scopes.
	reg := e.register(oauthreg.Client{
		OrgID: homeOrg, GrantTypes: []string{"client_credentials"}, Type: oauthreg.Confidential,
		Scopes: []string{"read", "write"}, DefaultScopes: []string{"read", "write"},
	})
	e.call(http.MethodPut, "/oauth_clients/"+reg.Client.ClientID, `{"allowed_scopes":["write"]}`).wantStatus(t, 200)
	if a := e.post("/oauth/token", reg.Client.ClientID, reg.Secret, "grant_type", "client_credentials"); a.str("scope") != "write" {
		t.Errorf("got %s", a.raw)
	}
}

func v2Paths(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	e.create(machineBody)
	for _, path := range []string{
		"/oauth_clients/", "/oauth/clients/", "/oauth_grants/", "/oauth/consent/", "/nothing", "/", "/oauth",
		"/oauth_clients/a%2Fb%20c", "/oauth_clients/%00", "/oauth_clients/%2e%2e", "/oauth_clients/" + strings.Repeat("x", 300),
		"/oauth_clients/182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e", "/oauth_clients/%E2%80%AE", "/oauth_clients/x/y",
		"/oauth_grants/182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e", "/oauth_grants/x",
	} {
		a := e.call(http.MethodGet, path, "")
		a.wantError(t, 404, "not_found")
		if a.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: content type %q", path, a.header.Get("Content-Type"))
		}
	}
	for _, c := range [][2]string{{"PATCH", "/oauth_clients"}, {"POST", "/oauth_clients/x"}, {"DELETE", "/oauth_clients"}, {"PUT", "/oauth_grants/x"}, {"DELETE", "/oauth/token"}} {
		a := e.call(c[0], c[1], "")
		a.wantError(t, 405, "invalid_request")
		if a.header.Get("Allow") == "" {
			t.Errorf("%v: no Allow", c)
		}
	}
	if a := e.call(http.MethodHead, "/oauth_clients", ""); a.status != 200 || a.raw != "" {
		t.Errorf("HEAD: %d %q", a.status, a.raw)
	}
}

func v2List(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	empty := e.call(http.MethodGet, "/oauth_clients", "")
	if !strings.Contains(empty.raw, `"data":[]`) || mustJSON(t, empty.body["meta"]) != `{"page_number":1,"page_size":20,"total_pages":0,"total_results":0}` {
		t.Errorf("got %s", empty.raw)
	}
	var ids []string
	for i := range 5 {
		c := e.create(strings.Replace(machineBody, "Robot", "Robot "+strconv.Itoa(i), 1))
		ids = append([]string{c["client_id"].(string)}, ids...) // newest first
		e.clock.add(time.Second)
	}
	verified := e.register(oauthreg.Client{
		OrgID: homeOrg, Name: "Shop 100%_done", Verified: true, Type: oauthreg.Public,
		GrantTypes: []string{"authorization_code"}, RedirectURIs: []string{callback},
	}).Client.ClientID
	ids = append([]string{verified}, ids...)

	tests := []struct {
		query string
		want  []string
		total int
	}{
		{"", ids, 6},
		{"page%5Bsize%5D=2", ids[:2], 6},
		{"page[size]=4&page[number]=2", ids[4:], 6},
		{"page[number]=3", nil, 6},
		{"page[number]=10000000&page[size]=100", nil, 6},
		{"filter[client_id]=" + ids[2], ids[2:3], 1},
		{"filter[name]=Robot+3", ids[2:3], 1},
		{"filter[name]=robot", nil, 0},
		{"filter%5Bname%5D%5Bcontains%5D=ROBOT", ids[1:], 5},
		{"filter[name][contains]=%25_", ids[:1], 1},
		{"filter[name][contains]=t+4&filter[name]=Robot+4", ids[1:2], 1},
		{"filter[client_type]=public", ids[:1], 1},
		{"filter[allowed_grant_types][contains]=client_credentials", ids[1:], 5},
		{"filter[verified]=true", ids[:1], 1},
		{"filter[verified]=false", ids[1:], 5},
		{"filter[verified]=true&filter[client_type]=confidential", nil, 0},
		{"filter[suspended]=true", nil, 0},
		{"something=else", ids, 6},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			for _, path := range []string{"/oauth_clients", "/oauth/clients"} {
				a := e.call(http.MethodGet, path+"?"+tt.query, "")
				a.wantStatus(t, 200)
				var got []string
				for _, c := range a.items(t) {
					got = append(got, c["client_id"].(string))
					if c["client_secret"] != nil {
						t.Error("a list shows a secret")
					}
				}
				meta := a.body["meta"].(map[string]any)
				if !slices.Equal(got, tt.want) || meta["total_results"] != float64(tt.total) {
					t.Errorf("got %v of %v,\nwant %v of %d", got, meta, tt.want, tt.total)
				}
			}
		})
	}
	for _, query := range []string{
		"page[size]=0", "page[size]=101", "page[size]=x", "page[number]=0", "page[number]=-1", "page[number]=99999999999",
		"filter[client_type]=other", "filter[verified]=maybe", "filter[nmae]=x", "page[limit]=3",
		"filter[name]=a&filter[name]=b", "filter[name]=%00", "filter[name][contains]=%ff",
		"filter[allowed_grant_types][contains]=credentials", "filter[allowed_grant_types][contains]=implicit",
	} {
		a := e.call(http.MethodGet, "/oauth_clients?"+query, "")
		a.wantError(t, 400, "invalid_request")
		// What is wrong is named as it was sent, unless it stands twice.
		if name, _, _ := strings.Cut(query, "="); !strings.Contains(query, "&") && !strings.Contains(a.str("error_description"), name+" must be ") && !strings.Contains(a.str("error_description"), "does not have the parameter "+name) {
			t.Errorf("%s: got %s", query, a.raw)
		}
	}
	for query, name := range map[string]string{
		"/audit?filter[action]=%00": "filter[action]", "/audit?filter[oauth_client_id]=%00": "filter[oauth_client_id]", "/audit?page[before]=x": "page[before]",
	} {
		a := e.call(http.MethodGet, query, "")
		a.wantError(t, 400, "invalid_request")
		if !strings.HasPrefix(a.str("error_description"), name+" must be ") {
			t.Errorf("%s: got %s", query, a.raw)
		}
	}
}

// What the registry refuses is told by the name of the member that was sent.
func TestV2TooManySecrets(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	path := "/oauth_clients/" + e.create(machineBody)["client_id"].(string) + "/secrets"
	for range 15 { // beside the first one
		e.call(http.MethodPost, path, `{"overlap_seconds":60}`).wantStatus(t, 201)
	}
	a := e.call(http.MethodPost, path, `{"overlap_seconds":60}`)
	a.wantError(t, 422, "invalid_request")
	if !strings.Contains(a.str("error_description"), "overlap_seconds: ") {
		t.Errorf("got %s", a.raw)
	}
}

// A filter without a value is not no filter.
func TestV2EmptyFilters(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	path := "/oauth_clients/" + e.create(machineBody)["client_id"].(string)
	for list, filters := range map[string][]string{
		"GET /oauth_clients":      {"client_id]", "name]", "name][contains]", "client_type]", "allowed_grant_types][contains]", "verified]", "suspended]"},
		"GET /oauth_grants":       {"client_id]", "subject]"},
		"DELETE /oauth_grants":    {"client_id]", "subject]"},
		"GET /audit":              {"action]", "oauth_client_id]"},
		"GET " + path + "/audit":  {"action]"},
		"GET /signing_keys/audit": {"action]"},
	} {
		method, at, _ := strings.Cut(list, " ")
		for _, filter := range filters {
			for _, query := range []string{"filter[" + filter + "=", "filter[" + filter, "filter[" + filter + "=&page[size]=1&something="} {
				a := e.call(method, at+"?"+query, "")
				a.wantError(t, 400, "invalid_request")
			}
			e.call(method, at+"?filter["+filter+"=&filter[unheard_of]=", "").wantError(t, 400, "invalid_request")
		}
		e.call(method, at+"?filter[unheard_of]=", "").wantError(t, 400, "invalid_request")
	}
	// The one that matters most: of one client, or of all.
	reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.OrgID, c.ProjectID = homeOrg, homeProject }))
	e.tokens(reg, "scope", "read")
	subject := e.call(http.MethodGet, "/oauth_grants", "").items(t)[0]["subject"].(string)
	e.call(http.MethodDelete, "/oauth_grants?filter[client_id]=&filter[subject]="+subject, "").wantError(t, 400, "invalid_request")
	if got := e.call(http.MethodGet, "/oauth_grants", "").items(t); len(got) != 1 {
		t.Errorf("%d grants are left", len(got))
	}
}

func v2ETag(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	c := e.create(machineBody)
	path := "/oauth_clients/" + c["client_id"].(string)
	first := e.call(http.MethodGet, path, "").header.Get("ETag")
	e.call(http.MethodGet, path, "", "If-None-Match", first).wantStatus(t, 304)
	put := e.call(http.MethodPut, path, `{"name":"B"}`, "If-Match", first)
	put.wantStatus(t, 200)
	second := put.header.Get("ETag")
	if second == first || e.call(http.MethodGet, path, "").header.Get("ETag") != second {
		t.Errorf("ETags %s, %s", first, second)
	}
	e.call(http.MethodGet, path, "", "If-None-Match", first).wantStatus(t, 200)
	e.call(http.MethodPut, path, `{"name":"C"}`, "If-Match", first).wantError(t, 412, "precondition_failed")
	e.call(http.MethodPut, path, `{"name":"C"}`, "If-Match", "W/"+second).wantError(t, 412, "precondition_failed")
	e.call(http.MethodPut, path, `{"name":"C"}`, "If-Match", `"x", `+second).wantStatus(t, 200)
	e.call(http.MethodDelete, path, "", "If-Match", second).wantError(t, 412, "precondition_failed")
	e.call(http.MethodPut, path, `{"name":"D"}`, "If-Match", "*").wantStatus(t, 200)
	e.call(http.MethodDelete, path, "", "If-Match", e.call(http.MethodGet, path, "").header.Get("ETag")).wantStatus(t, 204)
	e.call(http.MethodDelete, path, "", "If-Match", "*").wantStatus(t, 404)

	strict := newManagedEnv(t, envOptions{}, func(_ *env, c *handlers.ManagementConfig) { c.RequireIfMatch = true })
	c = strict.create(machineBody)
	path = "/oauth_clients/" + c["client_id"].(string)
	strict.call(http.MethodPut, path, `{"name":"B"}`).wantError(t, 428, "precondition_required")
	strict.call(http.MethodDelete, path, "").wantError(t, 428, "precondition_required")
	strict.call(http.MethodPut, "/oauth_clients/none", `{"name":"B"}`).wantError(t, 404, "not_found")
	strict.call(http.MethodDelete, path, "", "If-Match", strict.call(http.MethodGet, path, "").header.Get("ETag")).wantStatus(t, 204)
}

// Every change of a client heeds If-Match: one that is out of date changes
// nothing, and without one a server that asks for it refuses.
func TestV2IfMatchOfEveryChange(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	c := e.create(machineBody)
	path := "/oauth_clients/" + c["client_id"].(string)
	secret := e.call(http.MethodGet, path+"/secrets", "").items(t)[0]["id"].(string)
	changes := [][3]string{
		{"PUT", path, ""}, {"POST", path + "/suspend", ""}, {"POST", path + "/resume", ""},
		{"POST", path + "/secrets", `{"overlap_seconds":60}`}, {"DELETE", path + "/secrets/" + secret, ""}, {"DELETE", path, ""},
	}
	etag := func() string { return e.call(http.MethodGet, path, "").header.Get("ETag") }
	stale := etag()
	e.call(http.MethodPut, path, `{"name":"B"}`).wantStatus(t, 200)
	now, shown := etag(), e.call(http.MethodGet, path, "").raw
	for _, change := range changes {
		e.call(change[0], change[1], change[2], "If-Match", stale).wantError(t, 412, "precondition_failed")
		e.call(change[0], change[1], change[2], "If-Match", `"x"`).wantError(t, 412, "precondition_failed")
	}
	if got := e.call(http.MethodGet, path, ""); got.raw != shown || got.header.Get("ETag") != now {
		t.Errorf("got %s, want %s", got.raw, shown)
	}
	if e.post("/oauth/token", c["client_id"].(string), c["client_secret"].(string), "grant_type", "client_credentials").status != 200 {
		t.Error("the secret is another")
	}
	for i, change := range changes[1:] { // each makes a new version
		a := e.call(change[0], change[1], change[2], "If-Match", now)
		if a.status >= 300 {
			t.Errorf("%v: %d %s", change, a.status, a.raw)
		}
		if i < len(changes)-2 {
			e.call(change[0], change[1], change[2], "If-Match", now).wantError(t, 412, "precondition_failed")
			now = etag()
		}
	}

	strict := newManagedEnv(t, envOptions{}, func(_ *env, c *handlers.ManagementConfig) { c.RequireIfMatch = true })
	other := strict.create(machineBody)
	for _, change := range changes {
		strict.call(change[0], strings.Replace(change[1], c["client_id"].(string), other["client_id"].(string), 1), change[2]).wantError(t, 428, "precondition_required")
	}
}

// Of many who bind the same change to the same version, one has it.
func TestIfMatchRace(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	for round := range 5 {
		id := e.create(strings.Replace(machineBody, "Robot", "Robot "+strconv.Itoa(round), 1))["client_id"].(string)
		c, err := e.reg.Get(t.Context(), oauthreg.ByClientID(id))
		if err != nil {
			t.Fatal(err)
		}
		project := e.issuer + "/api/v1/org/" + homeOrg + "/project/" + homeProject + "/oauth_client/" + c.ID + "/client_secret"
		for _, target := range []string{e.v2 + "/oauth_clients/" + id + "/secrets", project, e.v2 + "/oauth_clients/" + id + "/suspend"} {
			etag := e.call(http.MethodGet, "/oauth_clients/"+id, "").header.Get("ETag")
			var done, stale atomic.Int32
			var wg sync.WaitGroup
			for range 12 {
				wg.Go(func() {
					req := mustRequest(t, target, "Authorization", "Bearer "+adminKey, "If-Match", etag)
					req.Method = http.MethodPost
					switch a := e.send(req); a.status {
					case 200, 201:
						done.Add(1)
					case 412:
						stale.Add(1)
					default:
						t.Errorf("%s: %d %s", target, a.status, a.raw)
					}
				})
			}
			wg.Wait()
			if done.Load() != 1 || stale.Load() != 11 {
				t.Errorf("%s: %d of 12 changed the same version, %d were told", target, done.Load(), stale.Load())
			}
		}
	}
}

func v2SuspendAndSecrets(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	c := e.create(machineBody)
	id, secret := c["client_id"].(string), c["client_secret"].(string)
	path := "/oauth_clients/" + id
	works := func(secret string) bool {
		return e.post("/oauth/token", id, secret, "grant_type", "client_credentials").status == 200
	}

	d := e.call(http.MethodPost, path+"/suspend", "").data(t)
	if d["suspended_at"] == nil || works(secret) {
		t.Errorf("suspended: %v", d)
	}
	if got := e.call(http.MethodGet, "/oauth_clients?filter[suspended]=true", "").items(t); len(got) != 1 {
		t.Errorf("suspended clients: %v", got)
	}
	if d := e.call(http.MethodPost, path+"/resume", "{}").data(t); d["suspended_at"] != nil || !works(secret) {
		t.Errorf("resumed: %v", d)
	}
	e.call(http.MethodPost, path+"/resume", `{"now":true}`).wantStatus(t, 422)
	e.call(http.MethodPost, "/oauth_clients/none/suspend", "").wantStatus(t, 404)

	// A new secret, with the old one valid for an hour.
	a := e.call(http.MethodPost, path+"/secrets", `{"overlap_seconds":3600,"label":"deploy 2"}`)
	a.wantStatus(t, http.StatusCreated)
	fresh := a.data(t)
	if !works(secret) || !works(fresh["client_secret"].(string)) {
		t.Error("both secrets must work within the overlap")
	}
	listed := e.call(http.MethodGet, path+"/secrets", "").items(t)
	if len(listed) != 2 || listed[0]["label"] != "deploy 2" || listed[0]["expires_at"] != nil || listed[1]["expires_at"] == nil || listed[1]["last_used_at"] == nil || listed[0]["client_secret"] != nil {
		t.Errorf("got %v", listed)
	}
	if e.clock.add(time.Hour); works(secret) || !works(fresh["client_secret"].(string)) {
		t.Error("only the new secret must work after the overlap")
	}
	e.call(http.MethodDelete, path+"/secrets/"+fresh["id"].(string), "").wantStatus(t, 204)
	e.call(http.MethodDelete, path+"/secrets/"+fresh["id"].(string), "").wantStatus(t, 404)
	if works(fresh["client_secret"].(string)) {
		t.Error("a revoked secret works")
	}
	for _, body := range []string{`{"overlap_seconds":-1}`, `{"overlap_seconds":1e3}`, `{"overlap":5}`, `{"lifetime_seconds":0}`, `{"label":"` + strings.Repeat("x", 65) + `"}`} {
		e.call(http.MethodPost, path+"/secrets", body).wantError(t, 422, "invalid_request")
	}
	public := e.create(strings.Replace(webBody, "confidential", "public", 1))
	e.call(http.MethodPost, "/oauth_clients/"+public["client_id"].(string)+"/secrets", "").wantError(t, 422, "invalid_request")
	if got := e.call(http.MethodGet, "/oauth_clients/"+public["client_id"].(string)+"/secrets", ""); !strings.Contains(got.raw, `"data":[]`) {
		t.Errorf("got %s", got.raw)
	}
}

func TestV2Audit(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	c := e.create(machineBody)
	id := c["client_id"].(string)
	e.call(http.MethodPut, "/oauth_clients/"+id, `{"name":"B"}`)
	e.call(http.MethodPost, "/oauth_clients/"+id+"/secrets", "")
	own := e.call(http.MethodGet, "/oauth_clients/"+id+"/audit", "")
	records := own.items(t)
	if len(records) != 3 || records[0]["action"] != "secret.created" || records[1]["action"] != "client.updated" || records[2]["action"] != "client.registered" {
		t.Fatalf("got %s", own.raw)
	}
	r := records[1]
	if actor := r["actor"].(map[string]any); actor["kind"] != "admin" || actor["id"] != homeUser || actor["address"] != "127.0.0.1" || actor["request_id"] == nil {
		t.Errorf("actor %v", actor)
	}
	if r["client_id"] != id || mustJSON(t, r["before"]) != `{"name":"Robot"}` || mustJSON(t, r["after"]) != `{"name":"B"}` || r["org_id"] != homeOrg || r["project_id"] != homeProject {
		t.Errorf("got %v", r)
	}
	if strings.Contains(own.raw, c["client_secret"].(string)) {
		t.Error("the audit log has a secret")
	}
	internal := r["oauth_client_id"].(string)
	e.call(http.MethodDelete, "/oauth_clients/"+id, "").wantStatus(t, 204)
	e.call(http.MethodGet, "/oauth_clients/"+id+"/audit", "").wantStatus(t, 404)

	// The record of a deleted client is still there, page by page.
	var actions []string
	query := "?page[size]=1&filter[oauth_client_id]=" + internal
	for next := query; next != ""; {
		page := e.call(http.MethodGet, "/audit"+next, "")
		for _, r := range page.items(t) {
			actions = append(actions, r["action"].(string))
			if r["client_id"] != nil && r["client_id"] != id {
				t.Errorf("client_id %v", r["client_id"])
			}
		}
		next = ""
		if cursor, ok := page.body["meta"].(map[string]any)["next"].(string); ok {
			next = query + "&page[before]=" + cursor
		}
	}
	if want := []string{"client.deleted", "secret.created", "client.updated", "client.registered"}; !slices.Equal(actions, want) {
		t.Errorf("got %v, want %v", actions, want)
	}
	if got := e.call(http.MethodGet, "/audit?filter[action]=client.deleted", "").items(t); len(got) != 1 || got[0]["client_id"] != id {
		t.Errorf("got %v", got)
	}
	e.call(http.MethodGet, "/audit?page[before]=x", "").wantError(t, 400, "invalid_request")
}
