package handlers_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// consentToken walks to the consent page and returns what its URL carries.
func (e *managedEnv) consentToken(clientID string, params ...string) string {
	e.t.Helper()
	token, _, _ := e.consent(clientID, params...)
	return token
}

func (e *managedEnv) consent(clientID string, params ...string) (token, verifier string, b *browser) {
	e.t.Helper()
	target, verifier := e.authorizeURL(clientID, append([]string{"prompt", "consent"}, params...)...)
	b = e.browser()
	at := target
	a := b.do(http.MethodGet, at, nil)
	for range 8 {
		if a.location != nil {
			at = a.location.String()
			if token := a.location.Query().Get("consent_token"); token != "" {
				return token, verifier, b
			}
			a = b.do(http.MethodGet, at, nil)
			continue
		}
		action, form, ok := b.fill(at, a)
		if !ok {
			break
		}
		at = action.String()
		a = b.do(http.MethodPost, at, form)
	}
	e.t.Fatalf("no consent page: %d %v\n%s", a.status, a.location, a.body)
	return "", "", nil
}

func TestV2ConsentByAPI(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	c := webClient()
	c.OrgID, c.ProjectID, c.LogoURI, c.Verified, c.Scopes = homeOrg, homeProject, "https://client.example/logo.png", true, append(c.Scopes, "admin")
	reg := e.register(c)
	id := reg.Client.ClientID

	token, verifier, _ := e.consent(id, "scope", "openid read admin", "nonce", "n1")
	shown := e.call(http.MethodGet, "/oauth/consent/"+token, "").data(t)
	if shown["client_id"] != id || shown["name"] != "Test client" || shown["redirect_uri"] != callback || shown["verified"] != true ||
		shown["logo_uri"] != c.LogoURI || shown["tos_uri"] != nil {
		t.Errorf("got %v", shown)
	}
	want := `[{"description":"","id":"openid","name":"openid"},{"description":"","id":"read","name":"read"},{"description":"Manage the clients of the project.","id":"admin","name":"Administration"}]`
	if got := mustJSON(t, shown["requested_scopes"]); got != want {
		t.Errorf("got %s,\nwant %s", got, want)
	}

	a := e.call(http.MethodPost, "/oauth/grants", `{"allowed":true,"consent_token":"`+token+`"}`)
	a.wantStatus(t, 200)
	target, err := url.Parse(a.str("redirect_uri"))
	if err != nil || !strings.HasPrefix(a.str("redirect_uri"), callback+"?") || target.Query().Get("state") != "st-"+id || target.Query().Get("iss") != e.issuer {
		t.Fatalf("got %s", a.raw)
	}
	tokens := e.redeem(reg, target.Query().Get("code"), verifier)
	tokens.wantStatus(t, 200)
	claims := jwtClaims(t, tokens.str("id_token"))
	if claims["sub"] != "sub-alice" || claims["nonce"] != "n1" || claims["auth_time"] == nil {
		t.Errorf("id_token %v", claims)
	}

	t.Run("once", func(t *testing.T) {
		e.call(http.MethodGet, "/oauth/consent/"+token, "").wantError(t, 422, "invalid_request")
		e.call(http.MethodPost, "/oauth/grants", `{"allowed":true,"consent_token":"`+token+`"}`).wantError(t, 422, "invalid_request")
		e.call(http.MethodPost, "/oauth/grants", `{"allowed":false,"consent_token":"`+token+`"}`).wantError(t, 422, "invalid_request")
	})
	t.Run("denied", func(t *testing.T) {
		a := e.call(http.MethodPost, "/oauth/grants", `{"allowed":false,"consent_token":"`+e.consentToken(id)+`"}`)
		a.wantStatus(t, 200)
		if target, err := url.Parse(a.str("redirect_uri")); err != nil || target.Query().Get("error") != "access_denied" || target.Query().Get("code") != "" {
			t.Errorf("got %s", a.raw)
		}
	})
	t.Run("bad bodies", func(t *testing.T) {
		token := e.consentToken(id)
		for body, status := range map[string]int{
			`{}`: 422, `{"allowed":true}`: 422, `{"consent_token":"x"}`: 422, `{"allowed":"true","consent_token":"x"}`: 422,
			`{"allowed":true,"consent_token":7}`: 422, `{"allowed":null,"consent_token":"` + token + `"}`: 422,
			`{"allowed":true,"consent_token":"x"}`: 422, `{"allowed":true,"consent_token":""}`: 422,
			`{"allowed":true,"consent_token":"` + token + `","user":"bob"}`:    422,
			`{"allowed":true,"allowed":false,"consent_token":"` + token + `"}`: 400,
		} {
			e.call(http.MethodPost, "/oauth/grants", body).wantError(t, status, "invalid_request")
		}
		e.call(http.MethodGet, "/oauth/consent/"+token, "").wantStatus(t, 200)
	})
	t.Run("expired", func(t *testing.T) {
		token := e.consentToken(id)
		e.clock.add(16 * time.Minute)
		e.call(http.MethodGet, "/oauth/consent/"+token, "").wantError(t, 422, "invalid_request")
	})
	t.Run("before the sign-in there is nobody to decide", func(t *testing.T) {
		target, _ := e.authorizeURL(id)
		token := hiddenFields(t, e.browser().do(http.MethodGet, target, nil), e.opts.base+"/login", 0).Get("interaction")
		if token == "" {
			t.Fatal("no interaction on the sign-in page")
		}
		e.call(http.MethodGet, "/oauth/consent/"+token, "").wantError(t, 422, "invalid_request")
		e.call(http.MethodPost, "/oauth/grants", `{"allowed":true,"consent_token":"`+token+`"}`).wantError(t, 422, "invalid_request")
	})
	t.Run("after the sign-out too", func(t *testing.T) {
		token := e.consentToken(id)
		sessions, err := e.store.ListLoginSessions(t.Context(), "sub-alice")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sessions {
			if err := e.store.EndLoginSession(t.Context(), s.SessionID); err != nil {
				t.Fatal(err)
			}
		}
		e.call(http.MethodPost, "/oauth/grants", `{"allowed":true,"consent_token":"`+token+`"}`).wantError(t, 422, "invalid_request")
	})
	t.Run("of a suspended client", func(t *testing.T) {
		token := e.consentToken(id)
		e.call(http.MethodPost, "/oauth_clients/"+id+"/suspend", "").wantStatus(t, 200)
		e.call(http.MethodGet, "/oauth/consent/"+token, "").wantError(t, 422, "invalid_request")
		e.call(http.MethodPost, "/oauth_clients/"+id+"/resume", "").wantStatus(t, 200)
	})
	t.Run("twenty at once, one counts", func(t *testing.T) {
		token := e.consentToken(id)
		var wg sync.WaitGroup
		var mu sync.Mutex
		statuses := map[int]int{}
		for range 20 {
			wg.Go(func() {
				a := e.call(http.MethodPost, "/oauth/grants", `{"allowed":true,"consent_token":"`+token+`"}`)
				mu.Lock()
				defer mu.Unlock()
				statuses[a.status]++
			})
		}
		wg.Wait()
		if statuses[200] != 1 || statuses[422] != 19 {
			t.Errorf("got %v", statuses)
		}
	})
}

func TestV2Grants(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	c := webClient()
	c.OrgID, c.ProjectID = homeOrg, homeProject
	reg := e.register(c)
	if a := e.call(http.MethodGet, "/oauth_grants", ""); !strings.Contains(a.raw, `"data":[]`) {
		t.Errorf("got %s", a.raw)
	}
	first := e.tokens(reg, "scope", "openid read", "resource", e.issuer+"/api")
	code, verifier := e.code(reg.Client.ClientID, "scope", "read")
	second := e.register(c)
	other := e.tokens(second, "scope", "write")

	a := e.call(http.MethodGet, "/oauth_grants?page[size]=1", "")
	if mustJSON(t, a.body["meta"]) != `{"page_number":1,"page_size":1,"total_pages":2,"total_results":2}` {
		t.Errorf("meta %s", a.raw)
	}
	all := e.call(http.MethodGet, "/oauth/grants", "").items(t)
	if len(all) != 2 || all[0]["client_id"] != second.Client.ClientID || all[1]["client_id"] != reg.Client.ClientID {
		t.Fatalf("got %v", all)
	}
	g := all[1]
	if g["record_type"] != "oauth_grant" || mustJSON(t, g["scopes"]) != `["openid","read"]` || g["subject"] != "sub-alice" ||
		mustJSON(t, g["resources"]) != `["`+e.issuer+`/api"]` || g["created_at"] == nil || g["last_used_at"] == nil {
		t.Errorf("got %v", g)
	}
	path := "/oauth_grants/" + g["id"].(string)
	if d := e.call(http.MethodGet, path, "").data(t); d["id"] != g["id"] {
		t.Errorf("got %v", d)
	}

	// Revoking ends codes, access and refresh tokens at once, and nothing else.
	if d := e.call(http.MethodDelete, path, "").data(t); d["id"] != g["id"] || d["record_type"] != "oauth_grant" {
		t.Errorf("got %v", d)
	}
	e.call(http.MethodGet, path, "").wantError(t, 404, "not_found")
	e.call(http.MethodDelete, path, "").wantError(t, 404, "not_found")
	active := func(reg oauthreg.Registration, token string) any {
		return e.authenticated("/oauth/introspect", reg, "token", token).body["active"]
	}
	if active(reg, first.str("access_token")) != false || active(reg, first.str("refresh_token")) != false {
		t.Error("tokens outlive the grant")
	}
	e.redeem(reg, code, verifier).wantError(t, 400, "invalid_grant")
	if active(second, other.str("access_token")) != true {
		t.Error("another grant was revoked too")
	}

	// All grants of a client, then of a user; first-party clients have no consent.
	first = e.tokens(reg, "scope", "read")
	if d := e.call(http.MethodDelete, "/oauth_grants?filter[client_id]="+reg.Client.ClientID, "").data(t); d["revoked"] != float64(1) || d["revoked_authorizations"] != float64(0) || active(reg, first.str("access_token")) != false {
		t.Errorf("got %v", d)
	}
	c.FirstParty = true
	own := e.register(c)
	silent := e.tokens(own, "scope", "read")
	if got := e.call(http.MethodGet, "/oauth_grants?filter[client_id]="+own.Client.ClientID, "").items(t); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	if d := e.call(http.MethodDelete, "/oauth_grants?filter[subject]=sub-alice", "").data(t); d["revoked"] != float64(1) || d["revoked_authorizations"] != float64(1) {
		t.Errorf("got %v", d)
	}
	if active(own, silent.str("access_token")) != false || active(second, other.str("access_token")) != false {
		t.Error("tokens outlive the user's grants")
	}
	e.call(http.MethodDelete, "/oauth_grants", "").wantError(t, 400, "invalid_request")
	e.call(http.MethodDelete, "/oauth_grants?filter[client]=x", "").wantError(t, 400, "invalid_request")
	e.call(http.MethodGet, "/oauth_grants?filter[scope]=x", "").wantError(t, 400, "invalid_request")
	if got := e.call(http.MethodGet, "/oauth_grants?filter[subject]=%00", "").items(t); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

// What was revoked and given again is another grant: revoking the old one once more
// does nothing to it.
func TestV2GrantGivenAgain(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	c := webClient()
	c.OrgID, c.ProjectID = homeOrg, homeProject
	reg := e.register(c)
	id := func() string {
		t.Helper()
		all := e.call(http.MethodGet, "/oauth_grants", "").items(t)
		if len(all) != 1 {
			t.Fatalf("got %v, want one grant", all)
		}
		return all[0]["id"].(string)
	}
	e.tokens(reg, "scope", "read")
	old := id()
	e.tokens(reg, "scope", "write") // widens it
	if got := id(); got != old {
		t.Errorf("got %s, want %s", got, old)
	}
	e.call(http.MethodDelete, "/oauth_grants/"+old, "").wantStatus(t, http.StatusOK)
	again, silently := e.tokens(reg, "scope", "read"), e.tokens(reg, "scope", "read")
	e.call(http.MethodDelete, "/oauth_grants/"+old, "").wantError(t, http.StatusNotFound, "not_found")
	fresh := id()
	if fresh == old || !e.active(reg, again.str("access_token")) || !e.active(reg, silently.str("access_token")) {
		t.Errorf("the grant %s was revoked with %s", fresh, old)
	}
	e.call(http.MethodDelete, "/oauth_grants/"+fresh, "").wantStatus(t, http.StatusOK)
	if e.active(reg, again.str("access_token")) || e.active(reg, silently.str("access_token")) {
		t.Error("tokens outlive the grant")
	}
}

// A client that only refreshes uses its grant, wherever that is shown.
func TestV2GrantLastUsed(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	c := webClient()
	c.OrgID, c.ProjectID = homeOrg, homeProject
	reg := e.register(c)
	made := e.clock.Now()
	tokens := e.tokens(reg, "scope", "read offline_access")
	grant := e.call(http.MethodGet, "/oauth_grants", "").items(t)[0]
	for range 2 {
		e.clock.add(72 * time.Hour)
		tokens = e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"))
		tokens.wantStatus(t, http.StatusOK)
	}
	at := func(g map[string]any, member string) time.Time {
		t.Helper()
		v, err := time.Parse(time.RFC3339, g[member].(string))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, g := range []map[string]any{
		e.call(http.MethodGet, "/oauth_grants/"+grant["id"].(string), "").data(t),
		e.call(http.MethodGet, "/oauth_grants?filter[subject]=sub-alice", "").items(t)[0],
	} {
		if e.clock.Now().Sub(at(g, "last_used_at")) > time.Minute || at(g, "created_at").Sub(made) > time.Minute {
			t.Errorf("got %v at %v", g, e.clock.Now())
		}
	}
	apps, err := e.server.AuthorizedApps(t.Context(), "sub-alice")
	if err != nil || len(apps) != 1 || e.clock.Now().Sub(apps[0].LastUsedAt) > time.Minute {
		t.Errorf("got %+v, %v", apps, err)
	}
	page := e.browser().walk(e.issuer + "/account")
	if want := "Last used on " + e.clock.Now().UTC().Format("January 2, 2006"); !strings.Contains(page.body, want) {
		t.Errorf("the account page does not say %q:\n%s", want, page.body)
	}
}
