package handlers_test

import (
	"net/http"
	"testing"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// One client, whichever face registered it: the others show the same, its secret
// authenticates, and what one changes the others see.
func TestFacesShareTheRegistry(t *testing.T) {
	e := newManagedEnv(t, envOptions{config: func(c *handlers.Config) {
		c.Registration = handlers.RegistrationConfig{Mode: handlers.RegistrationOpen, OrgID: homeOrg, ProjectID: homeProject, UserID: homeUser}
	}}, nil)
	project := "/api/v1/org/" + homeOrg + "/project/" + homeProject + "/oauth_client"
	inProject := func(method, path, body string) *tokenAnswer {
		req := mustRequest(t, e.issuer+project+path, "Authorization", "Bearer "+adminKey, "Content-Type", "application/json")
		req.Method = method
		if body != "" {
			req.Body = asBody(body)
		}
		return e.send(req)
	}
	const uri = "https://client.example/cb"
	faces := map[string]func() (clientID, secret string){
		"v2": func() (string, string) {
			d := e.create(`{"name":"By v2","client_type":"confidential","allowed_scopes":["openid","read"],"allowed_grant_types":["authorization_code","refresh_token"],"redirect_uris":["` + uri + `"]}`)
			return d["client_id"].(string), d["client_secret"].(string)
		},
		"project": func() (string, string) {
			a := inProject("POST", "", `{"name":"By project","scopes":"openid read","redirect_uris":["`+uri+`"]}`)
			a.wantStatus(t, 201)
			return a.str("client_id"), a.str("client_secret")
		},
		"registration": func() (string, string) {
			a := e.postJSON("/oauth/register", `{"client_name":"By registration","scope":"openid read","grant_types":["authorization_code","refresh_token"],"redirect_uris":["`+uri+`"]}`, "")
			a.wantStatus(t, 201)
			return a.str("client_id"), a.str("client_secret")
		},
		"Go": func() (string, string) {
			reg := e.register(oauthreg.Client{
				OrgID: homeOrg, ProjectID: homeProject, UserID: homeUser, Name: "By Go", Type: oauthreg.Confidential,
				Scopes: []string{"openid", "read"}, GrantTypes: []string{"authorization_code", "refresh_token"}, RedirectURIs: []string{uri},
			})
			return reg.Client.ClientID, reg.Secret
		},
	}
	for name, register := range faces {
		t.Run(name, func(t *testing.T) {
			clientID, secret := register()
			c, err := e.reg.Get(t.Context(), oauthreg.ByClientID(clientID))
			if err != nil {
				t.Fatal(err)
			}
			v2 := e.call(http.MethodGet, "/oauth_clients/"+clientID, "")
			d := v2.data(t)
			p := inProject("GET", "/"+c.ID, "")
			p.wantStatus(t, 200)
			for _, pair := range [][2]any{
				{d["name"], c.Name}, {p.body["name"], c.Name},
				{d["client_id"], clientID}, {p.body["client_id"], clientID}, {p.body["id"], c.ID},
				{d["org_id"], homeOrg}, {p.body["project_id"], homeProject}, {d["user_id"], homeUser},
				{mustJSON(t, d["redirect_uris"]), mustJSON(t, p.body["redirect_uris"])},
				{mustJSON(t, d["allowed_grant_types"]), mustJSON(t, p.body["grant_types"])},
				{mustJSON(t, d["allowed_scopes"]), `["openid","read"]`},
				{d["created_at"], p.body["created"]}, {d["updated_at"], p.body["modified"]},
				{d["require_pkce"], p.body["pkce_required"]},
				{d["client_secret"], nil}, {p.body["client_secret"], nil},
				{v2.header.Get("ETag"), p.header.Get("ETag")},
			} {
				if pair[0] != pair[1] {
					t.Errorf("got %v, want %v\n%s\n%s", pair[0], pair[1], v2.raw, p.raw)
				}
			}
			code, verifier := e.code(clientID, "scope", "read")
			e.redeem(oauthreg.Registration{Client: c, Secret: secret}, code, verifier).wantStatus(t, 200)

			// What one changes, the others see; a new secret of one replaces the old.
			inProject("POST", "/"+c.ID, `{"description":"seen","redirect_uris":["`+uri+`","`+uri+`2"]}`).wantStatus(t, 200)
			if d := e.call(http.MethodPut, "/oauth_clients/"+clientID, `{"tos_uri":"https://client.example/tos"}`).data(t); len(d["redirect_uris"].([]any)) != 2 {
				t.Errorf("got %v", d)
			}
			if got := inProject("GET", "/"+c.ID, ""); got.str("description") != "seen" {
				t.Errorf("got %s", got.raw)
			}
			fresh := inProject("POST", "/"+c.ID+"/client_secret", "{}").str("client_secret")
			code, verifier = e.code(clientID, "scope", "read")
			e.redeem(oauthreg.Registration{Client: c, Secret: secret}, code, verifier).wantError(t, 401, "invalid_client")
			e.redeem(oauthreg.Registration{Client: c, Secret: fresh}, code, verifier).wantStatus(t, 200)
			e.call(http.MethodDelete, "/oauth_clients/"+clientID, "").wantStatus(t, 204)
			inProject("GET", "/"+c.ID, "").wantStatus(t, 404)
		})
	}
}
