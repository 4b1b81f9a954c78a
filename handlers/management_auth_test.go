package handlers_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

func TestManagementAuthentication(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	tests := []struct {
		name   string
		header string
		status int
	}{
		{"the key, with its spaces", "Bearer My API Key", 200},
		{"scheme in any case", "bearer My API Key", 200},
		{"none", "", 401},
		{"wrong key", "Bearer My API Kez", 401},
		{"part of the key", "Bearer My", 401},
		{"more than the key", "Bearer My API Key 2", 401},
		{"nothing behind the scheme", "Bearer ", 401},
		{"other scheme", "Basic TXkgQVBJIEtleTo=", 401},
		{"no scheme", "My API Key", 401},
		{"made-up token", "Bearer oat_x.y", 401},
		{"huge", "Bearer " + strings.Repeat("x", 30<<10), 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{"/oauth_clients", "/oauth/clients/x", "/oauth_grants", "/oauth/consent/x", "/audit"} {
				a := e.callAs("", http.MethodGet, path, "", "Authorization", tt.header)
				if tt.status == 401 {
					a.wantError(t, 401, "invalid_token")
					if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
						t.Errorf("WWW-Authenticate %q", a.header.Get("WWW-Authenticate"))
					}
				} else if a.status == 401 {
					t.Errorf("got %d %s", a.status, a.raw)
				}
			}
		})
	}
	// Who calls comes first: a bad body or id tells nothing to nobody.
	for _, c := range [][3]string{
		{"POST", "/oauth_clients", "{"}, {"PUT", "/oauth_clients/x", "{}"}, {"DELETE", "/oauth_clients/x", ""},
		{"POST", "/oauth/grants", "{}"}, {"DELETE", "/oauth_grants/x", ""}, {"DELETE", "/oauth_grants?filter[subject]=x", ""},
		{"POST", "/oauth_clients/x/suspend", ""}, {"POST", "/oauth_clients/x/explain", ""}, {"POST", "/oauth_clients/x/secrets", ""},
	} {
		e.callAs("", c[0], c[1], c[2]).wantError(t, 401, "invalid_token")
	}

	t.Run("an empty key is nobody's", func(t *testing.T) {
		e := newManagedEnv(t, envOptions{}, func(e *env, c *handlers.ManagementConfig) {
			c.Authenticate = e.server.AdminKey("", handlers.Principal{OrgID: homeOrg})
		})
		e.callAs("", http.MethodGet, "/oauth_clients", "", "Authorization", "Bearer ").wantStatus(t, 401)
	})
}

func TestManagementAuthenticationIsLimited(t *testing.T) {
	e := newManagedEnv(t, envOptions{config: func(c *handlers.Config) { c.Limits = nil }}, nil)
	for range 60 {
		e.callAs("guess", http.MethodGet, "/oauth_clients", "").wantStatus(t, 401)
	}
	a := e.callAs("guess", http.MethodGet, "/oauth_clients", "")
	a.wantStatus(t, 429)
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	e.clock.add(time.Minute)
	e.call(http.MethodGet, "/oauth_clients", "").wantStatus(t, 200)
}

func managementByAccessToken(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	register := func(org, project string, scopes ...string) oauthreg.Registration {
		c := machineClient()
		c.OrgID, c.ProjectID, c.UserID, c.Scopes = org, project, homeUser, scopes
		return e.register(c)
	}
	admin := register(homeOrg, homeProject, "admin", "read")
	token := func(reg oauthreg.Registration, more ...string) string {
		a := e.tokenRequest(reg, append([]string{"grant_type", "client_credentials"}, more...)...)
		a.wantStatus(t, 200)
		return a.str("access_token")
	}

	tests := []struct {
		name   string
		bearer string
		status int
		code   string
	}{
		{"for no resource", token(admin, "scope", "admin"), 200, ""},
		{"for the management resource", token(admin, "scope", "admin read", "resource", handlers.ManagementResource(e.issuer)), 200, ""},
		{"for both resources", token(admin, "scope", "admin", "resource", e.issuer+"/api", "resource", e.issuer+"/v2"), 200, ""},
		{"for another resource", token(admin, "scope", "admin", "resource", e.issuer+"/api"), 401, "invalid_token"},
		{"without the scope", token(admin, "scope", "read"), 403, "insufficient_scope"},
		{"of a client in no organization", token(register("", "", "admin"), "scope", "admin"), 403, "access_denied"},
		{"of a client in no project", token(register(homeOrg, "", "admin"), "scope", "admin"), 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := e.callAs(tt.bearer, http.MethodGet, "/oauth_clients", "")
			a.wantStatus(t, tt.status)
			if a.str("error") != tt.code {
				t.Errorf("got %s, want %s", a.raw, tt.code)
			}
			if tt.code == "insufficient_scope" && !strings.Contains(a.header.Get("WWW-Authenticate"), `scope="admin"`) {
				t.Errorf("WWW-Authenticate %q", a.header.Get("WWW-Authenticate"))
			}
		})
	}

	bearer := token(admin, "scope", "admin")
	made := e.callAs(bearer, http.MethodPost, "/oauth_clients", machineBody)
	made.wantStatus(t, 201)
	if d := made.data(t); d["org_id"] != homeOrg || d["user_id"] != homeUser {
		t.Errorf("got %v", d)
	}
	audit := e.callAs(bearer, http.MethodGet, "/oauth_clients/"+made.data(t)["client_id"].(string)+"/audit", "").items(t)
	if actor := audit[0]["actor"].(map[string]any); actor["kind"] != "client" || actor["id"] != admin.Client.ClientID {
		t.Errorf("actor %v", actor)
	}

	t.Run("expired", func(t *testing.T) {
		bearer := token(admin, "scope", "admin")
		e.clock.add(2 * time.Hour)
		e.callAs(bearer, http.MethodGet, "/oauth_clients", "").wantError(t, 401, "invalid_token")
	})
	t.Run("suspended and resumed", func(t *testing.T) {
		bearer := token(admin, "scope", "admin")
		if _, err := e.reg.Suspend(context.Background(), oauthreg.ByID(admin.Client.ID)); err != nil {
			t.Fatal(err)
		}
		e.callAs(bearer, http.MethodGet, "/oauth_clients", "").wantError(t, 401, "invalid_token")
		if _, err := e.reg.Resume(context.Background(), oauthreg.ByID(admin.Client.ID)); err != nil {
			t.Fatal(err)
		}
		e.callAs(bearer, http.MethodGet, "/oauth_clients", "").wantStatus(t, 200)
	})
	t.Run("revoked", func(t *testing.T) {
		bearer := token(admin, "scope", "admin")
		e.authenticated("/oauth/revoke", admin, "token", bearer).wantStatus(t, 200)
		e.callAs(bearer, http.MethodGet, "/oauth_clients", "").wantError(t, 401, "invalid_token")
	})
	t.Run("refresh tokens and codes are no bearers", func(t *testing.T) {
		c := webClient()
		c.OrgID, c.ProjectID, c.Scopes = homeOrg, homeProject, []string{"admin"}
		reg := e.register(c)
		a := e.tokens(reg, "scope", "admin")
		e.callAs(a.str("refresh_token"), http.MethodGet, "/oauth_clients", "").wantError(t, 401, "invalid_token")
		got := e.callAs(a.str("access_token"), http.MethodPost, "/oauth_clients", machineBody)
		got.wantStatus(t, 201)
		if d := got.data(t); d["user_id"] != "sub-alice" {
			t.Errorf("got %v", d)
		}
	})
}

// A host's own authentication: its errors are answered as what they are.
func TestManagementHostAuthentication(t *testing.T) {
	failure := errors.New("the directory is down")
	principals := map[string]*handlers.Principal{
		"reader":    {UserID: "u", OrgID: homeOrg, AllProjects: true, ReadOnly: true},
		"nowhere":   {UserID: "u"},
		"no-rights": {UserID: "u", OrgID: homeOrg},
		"projects":  {UserID: "u", OrgID: homeOrg, Projects: []string{"p1", "p2"}},
	}
	e := newManagedEnv(t, envOptions{}, func(e *env, c *handlers.ManagementConfig) {
		admin := c.Authenticate
		c.Authenticate = func(r *http.Request) (*handlers.Principal, error) {
			switch name := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); name {
			case "down":
				return nil, failure
			case "blocked":
				return nil, &handlers.Error{Code: "access_denied", Description: "No.", Status: 403}
			default:
				if p := principals[name]; p != nil {
					return p, nil
				}
				return admin(r)
			}
		}
	})
	c := e.create(machineBody)
	path := "/oauth_clients/" + c["client_id"].(string)

	e.callAs("down", http.MethodGet, "/oauth_clients", "").wantError(t, 500, "server_error")
	e.callAs("blocked", http.MethodGet, "/oauth_clients", "").wantError(t, 403, "access_denied")
	e.callAs("nowhere", http.MethodGet, "/oauth_clients", "").wantError(t, 403, "access_denied")
	e.callAs("no-rights", http.MethodGet, "/oauth_clients", "").wantError(t, 403, "access_denied")

	e.callAs("reader", http.MethodGet, path, "").wantStatus(t, 200)
	e.callAs("reader", http.MethodPost, path+"/explain", `{"endpoint":"token","parameters":{"grant_type":"client_credentials"}}`).wantStatus(t, 200)
	for _, c := range [][3]string{
		{"POST", "/oauth_clients", machineBody}, {"PUT", path, `{"name":"x"}`}, {"DELETE", path, ""}, {"POST", path + "/suspend", ""},
		{"POST", path + "/secrets", ""}, {"DELETE", path + "/secrets/x", ""}, {"POST", "/oauth/grants", `{}`}, {"DELETE", "/oauth_grants/x", ""},
	} {
		e.callAs("reader", c[0], c[1], c[2]).wantError(t, 403, "access_denied")
	}

	// Several projects: the first is home.
	made := e.callAs("projects", http.MethodPost, "/oauth_clients", machineBody)
	made.wantStatus(t, 201)
	reg, err := e.reg.Get(context.Background(), oauthreg.ByClientID(made.data(t)["client_id"].(string)))
	if err != nil || reg.ProjectID != "p1" {
		t.Errorf("project %q, %v", reg.ProjectID, err)
	}
	second := machineClient()
	second.OrgID, second.ProjectID = homeOrg, "p2"
	e.callAs("projects", http.MethodGet, "/oauth_clients/"+e.register(second).Client.ClientID, "").wantStatus(t, 200)
	e.callAs("projects", http.MethodGet, path, "").wantStatus(t, 404)
}

// Nothing of another organization or project can be seen or changed: by id, by
// filter, by page, or by what an error says.
func managementTenants(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	type tenant struct {
		org, project string
		bearer       string
		victim       oauthreg.Registration
		grant        string
		consent      string
		accessToken  string
	}
	tenants := []*tenant{
		{org: homeOrg, project: homeProject}, {org: homeOrg, project: otherProj},
		{org: otherOrg, project: homeProject}, {org: otherOrg, project: otherProj},
	}
	for _, x := range tenants {
		c := machineClient()
		c.OrgID, c.ProjectID, c.Scopes = x.org, x.project, []string{"admin"}
		x.bearer = e.tokenRequest(e.register(c), "grant_type", "client_credentials", "scope", "admin").str("access_token")
		v := webClient()
		v.OrgID, v.ProjectID, v.Name = x.org, x.project, "Victim"
		x.victim = e.register(v)
		x.accessToken = e.tokens(x.victim, "scope", "read").str("access_token")
		grants := e.callAs(x.bearer, http.MethodGet, "/oauth_grants", "").items(t)
		if len(grants) != 1 || grants[0]["client_id"] != x.victim.Client.ClientID {
			t.Fatalf("own grants: %v", grants)
		}
		x.grant = grants[0]["id"].(string)
		x.consent = e.consentToken(x.victim.Client.ClientID)
	}
	absent := "182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e"
	for _, attacker := range tenants {
		for _, victim := range tenants {
			if attacker == victim {
				continue
			}
			id := victim.victim.Client.ClientID
			secrets, err := e.reg.Secrets(context.Background(), oauthreg.ByClientID(id))
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range [][3]string{
				{"GET", "/oauth_clients/{id}", ""}, {"GET", "/oauth/clients/{id}", ""},
				{"PUT", "/oauth_clients/{id}", `{"name":"Mine"}`}, {"DELETE", "/oauth_clients/{id}", ""},
				{"POST", "/oauth_clients/{id}/suspend", ""}, {"POST", "/oauth_clients/{id}/resume", ""},
				{"GET", "/oauth_clients/{id}/secrets", ""}, {"POST", "/oauth_clients/{id}/secrets", ""},
				{"DELETE", "/oauth_clients/{id}/secrets/" + secrets[0].ID, ""},
				{"GET", "/oauth_clients/{id}/audit", ""},
				{"POST", "/oauth_clients/{id}/explain", `{"endpoint":"authorize","parameters":{}}`},
				{"GET", "/oauth_grants/{grant}", ""}, {"DELETE", "/oauth_grants/{grant}", ""},
				{"DELETE", "/oauth_grants?filter[client_id]={id}", ""},
				{"GET", "/oauth/consent/{consent}", ""},
				{"POST", "/oauth/grants", `{"allowed":true,"consent_token":"{consent}"}`},
			} {
				fill := func(id, grant, consent string) *tokenAnswer {
					r := strings.NewReplacer("{id}", id, "{grant}", grant, "{consent}", consent)
					return e.callAs(attacker.bearer, c[0], r.Replace(c[1]), r.Replace(c[2]), "If-Match", "*")
				}
				got, none := fill(id, victim.grant, victim.consent), fill(absent, absent, absent)
				if got.status != none.status || got.raw != none.raw || got.status < 400 {
					t.Errorf("%s %s: a foreign one is %d %s, an absent one %d %s", c[0], c[1], got.status, got.raw, none.status, none.raw)
				}
			}
			for _, query := range []string{
				"/oauth_clients?filter[client_id]=" + id, "/oauth_grants?filter[client_id]=" + id,
				"/audit?filter[oauth_client_id]=" + victim.victim.Client.ID,
			} {
				if got := e.callAs(attacker.bearer, http.MethodGet, query, "").items(t); len(got) != 0 {
					t.Errorf("%s shows %v", query, got)
				}
			}
			// A cursor is a place, not a right.
			foreign := e.callAs(victim.bearer, http.MethodGet, "/audit?page[size]=1", "").items(t)
			for _, r := range e.callAs(attacker.bearer, http.MethodGet, "/audit?page[before]="+foreign[0]["id"].(string), "").items(t) {
				if r["org_id"] != attacker.org || r["project_id"] != attacker.project {
					t.Errorf("the audit log shows %v", r)
				}
			}
			a := e.callAs(attacker.bearer, http.MethodPost, "/oauth/introspect", "token="+victim.accessToken, "Content-Type", "application/x-www-form-urlencoded")
			if a.status != 200 || strings.TrimSpace(a.raw) != `{"active":false}` {
				t.Errorf("introspection: %d %s", a.status, a.raw)
			}
		}
		for _, path := range []string{"/oauth_clients?page[size]=100&filter[name][contains]=ictim", "/oauth_grants?filter[subject]=sub-alice"} {
			for _, item := range e.callAs(attacker.bearer, http.MethodGet, path, "").items(t) {
				if id := item["client_id"]; id != attacker.victim.Client.ClientID {
					t.Errorf("%s shows %v", path, item)
				}
			}
		}
		e.callAs(attacker.bearer, http.MethodDelete, "/oauth_grants?filter[subject]=nobody", "").wantStatus(t, 200)
		a := e.callAs(attacker.bearer, http.MethodPost, "/oauth/introspect", `{"token":"`+attacker.accessToken+`"}`)
		if a.body["active"] != true {
			t.Errorf("own introspection: %d %s", a.status, a.raw)
		}
	}
	// Nothing happened to anybody; then one tenant forgets the user, and only there.
	e.callAs(tenants[0].bearer, http.MethodDelete, "/oauth_grants?filter[subject]=sub-alice", "").wantStatus(t, 200)
	for i, x := range tenants {
		c, err := e.reg.Get(context.Background(), oauthreg.ByClientID(x.victim.Client.ClientID))
		if err != nil || c.Name != "Victim" || c.Version != 1 {
			t.Errorf("tenant %d: %v, %v", i, c.Name, err)
		}
		grants := e.callAs(x.bearer, http.MethodGet, "/oauth_grants", "").items(t)
		if want := map[bool]int{true: 0, false: 1}[i == 0]; len(grants) != want {
			t.Errorf("tenant %d has %d grants, want %d", i, len(grants), want)
		}
	}
	// The administrator's key reaches all of them.
	for _, x := range tenants {
		e.call(http.MethodGet, "/oauth_clients/"+x.victim.Client.ClientID, "").wantStatus(t, 200)
	}
}
