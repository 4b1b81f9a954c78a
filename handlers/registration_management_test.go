package handlers_test

import (
	"context"
	"fmt"
	"net/http"
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

// Closing registration does not strand those who registered.
func TestRegistrationClosedLater(t *testing.T) {
	e := registrationEnv(t, envOptions{}, nil)
	a := e.registerByHTTP(`{` + redirects + `}`)
	closed := registrationEnv(t, envOptions{file: e.file}, func(c *handlers.RegistrationConfig) { c.Mode = handlers.RegistrationClosed })
	path := "/oauth/register/" + a.str("client_id")
	if got := closed.sendJSON(http.MethodGet, path, a.str("registration_access_token"), ""); got.status != http.StatusOK {
		t.Errorf("read: %d %s", got.status, got.raw)
	}
	if got := closed.sendJSON(http.MethodDelete, path, a.str("registration_access_token"), ""); got.status != http.StatusNoContent {
		t.Errorf("delete: %d %s", got.status, got.raw)
	}
}

func registrationManagement(t *testing.T) {
	for _, base := range []string{"", "/auth"} {
		t.Run("base"+base, func(t *testing.T) { manageRegistration(t, base) })
	}
}

func manageRegistration(t *testing.T, base string) {
	e := registrationEnv(t, envOptions{base: base}, nil)
	a := e.registerByHTTP(`{"client_name":"One","client_uri":"https://one.example/","contacts":["a@one.example"],"scope":"openid read",
		"grant_types":["authorization_code","refresh_token"],` + redirects + `}`)
	other := e.registerByHTTP(`{"client_name":"Two",` + redirects + `}`)
	id, token, secret := a.str("client_id"), a.str("registration_access_token"), a.str("client_secret")
	path := "/oauth/register/" + id
	body := func(members string) string {
		return `{"client_id":"` + id + `","client_name":"One",` + redirects + members + `}`
	}

	t.Run("one answer to every wrong token", func(t *testing.T) {
		wrong := map[string]*tokenAnswer{}
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			for name, try := range map[string][2]string{
				"wrong": {path, "oar_wrong"}, "of another client": {path, other.str("registration_access_token")},
				"the secret": {path, secret}, "unknown client": {"/oauth/register/" + homeUser, token}, "malformed client": {"/oauth/register/%00", token},
			} {
				wrong[method+" "+name] = e.sendJSON(method, try[0], try[1], body(""))
			}
		}
		want := e.sendJSON(http.MethodGet, path, "oar_wrong", "")
		for name, got := range wrong {
			if got.status != 401 || got.raw != want.raw || got.header.Get("WWW-Authenticate") != want.header.Get("WWW-Authenticate") {
				t.Errorf("%s: got %d %s, want as %s", name, got.status, got.raw, want.raw)
			}
		}
		if none := e.sendJSON(http.MethodGet, path, "", ""); none.status != 401 || none.raw != want.raw || strings.Contains(none.header.Get("WWW-Authenticate"), "error=") {
			t.Errorf("no token: got %d %s, %s", none.status, none.raw, none.header.Get("WWW-Authenticate"))
		}
		if post := e.sendJSON(http.MethodPost, path, token, body("")); post.status != 405 {
			t.Errorf("POST: got %d", post.status)
		}
	})

	t.Run("read", func(t *testing.T) {
		got := e.sendJSON(http.MethodGet, path, token, "")
		if got.status != 200 || got.str("client_name") != "One" || got.str("registration_access_token") != token || got.body["client_secret"] != nil ||
			got.str("registration_client_uri") != e.issuer+path || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("got %d %s", got.status, got.raw)
		}
	})

	t.Run("refused updates", func(t *testing.T) {
		before := e.registration(a).Client
		for _, tt := range []struct{ name, body, fields string }{
			{"no client_id", `{` + redirects + `}`, "client_id"},
			{"another client_id", `{"client_id":"` + other.str("client_id") + `",` + redirects + `}`, "client_id"},
			{"a wrong secret", body(`,"client_secret":"wrong"`), "client_secret"},
			{"a registration access token", body(`,"registration_access_token":"` + token + `"`), "registration_access_token"},
			{"a registration URI", body(`,"registration_client_uri":"` + e.issuer + path + `"`), "registration_client_uri"},
			{"times", body(`,"client_id_issued_at":1,"client_secret_expires_at":0`), "client_id_issued_at client_secret_expires_at"},
			{"the scope admin", body(`,"scope":"admin"`), "scope"},
			{"client_credentials", body(`,"grant_types":["authorization_code","client_credentials"]`), "grant_types"},
			{"becoming public", body(`,"token_endpoint_auth_method":"none"`), "token_endpoint_auth_method"},
			{"all problems at once", `{"client_name":"a\nb","scope":"admin"}`, "client_id client_name redirect_uris scope"},
		} {
			got := e.sendJSON(http.MethodPut, path, token, tt.body)
			got.wantError(t, 400, "invalid_client_metadata")
			if fields := strings.Join(got.invalidFields(), " "); fields != tt.fields {
				t.Errorf("%s: got %q, want %q: %s", tt.name, fields, tt.fields, got.raw)
			}
		}
		e.sendJSON(http.MethodPut, path, token, `{"client_id":"`+id+`","redirect_uris":["http://app.example/"]}`).wantError(t, 400, "invalid_redirect_uri")
		if after := e.registration(a).Client; !reflect.DeepEqual(before, after) {
			t.Errorf("the client changed: %+v", after)
		}
	})

	t.Run("an update replaces everything", func(t *testing.T) {
		got := e.sendJSON(http.MethodPut, path, token, body(`,"client_secret":"`+secret+`"`))
		if got.status != 200 || got.body["client_uri"] != nil || got.body["contacts"] != nil || got.str("scope") != "openid profile read write" ||
			!reflect.DeepEqual(got.list("grant_types"), []string{"authorization_code"}) || got.body["client_secret"] != nil {
			t.Fatalf("got %d %s", got.status, got.raw)
		}
		fresh := got.str("registration_access_token")
		if fresh == "" || fresh == token {
			t.Fatalf("the registration access token was not replaced: %s", got.raw)
		}
		if old := e.sendJSON(http.MethodGet, path, token, ""); old.status != 401 {
			t.Errorf("the old token: got %d", old.status)
		}
		token = fresh
		c := e.registration(a).Client
		if !c.RequirePKCE || !c.SelfRegistered || c.ClientURI != "" || c.Contacts != nil {
			t.Errorf("stored: %+v", c)
		}
		// The secret is the same.
		reg := e.registration(a)
		reg.Secret = secret
		e.tokenRequest(reg, "grant_type", "authorization_code", "code", "x").wantError(t, 400, "invalid_grant")
	})

	t.Run("what the operator gave stays", func(t *testing.T) {
		_, err := e.reg.Update(context.Background(), oauthreg.ByClientID(id), oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
			c.Verified, c.Scopes, c.DefaultScopes, c.Lifetimes.AccessToken = true, append(c.Scopes, "admin"), []string{"read", "admin"}, time.Minute
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		got := e.sendJSON(http.MethodPut, path, token, body(`,"scope":"read admin"`))
		if got.status != 200 || got.str("scope") != "read admin" {
			t.Fatalf("got %d %s", got.status, got.raw)
		}
		got = e.sendJSON(http.MethodPut, path, got.str("registration_access_token"), body(`,"scope":"read"`))
		token = got.str("registration_access_token")
		if c := e.registration(a).Client; got.status != 200 || !c.Verified || c.Lifetimes.AccessToken != time.Minute || !reflect.DeepEqual(c.DefaultScopes, []string{"read"}) {
			t.Errorf("got %d %s, stored %+v", got.status, got.raw, c)
		}
		got = e.sendJSON(http.MethodPut, path, token, body(`,"scope":"read admin"`))
		got.wantError(t, 400, "invalid_client_metadata") // given up is gone
	})

	t.Run("keys in place of a secret, and back", func(t *testing.T) {
		got := e.sendJSON(http.MethodPut, path, token, body(`,"token_endpoint_auth_method":"private_key_jwt","jwks":`+string(jwkSet(t, newAssertionKey(t)))))
		if got.status != 200 || got.body["client_secret"] != nil {
			t.Fatalf("got %d %s", got.status, got.raw)
		}
		got = e.sendJSON(http.MethodPut, path, got.str("registration_access_token"), body(`,"token_endpoint_auth_method":"client_secret_post"`))
		if got.status != 200 || got.str("client_secret") == "" || got.str("client_secret") == secret || got.body["client_secret_expires_at"] != float64(0) {
			t.Fatalf("got %d %s", got.status, got.raw)
		}
		token = got.str("registration_access_token")
		reg := e.registration(got)
		if tokens := e.tokens(reg, "scope", "read"); tokens.str("access_token") == "" {
			t.Errorf("tokens: %s", tokens.raw)
		}
	})

	t.Run("suspended", func(t *testing.T) {
		if _, err := e.reg.Suspend(context.Background(), oauthreg.ByClientID(id)); err != nil {
			t.Fatal(err)
		}
		e.sendJSON(http.MethodGet, path, token, "").wantError(t, 403, "access_denied")
		e.sendJSON(http.MethodGet, path, "wrong", "").wantError(t, 401, "invalid_token")
		if _, err := e.reg.Resume(context.Background(), oauthreg.ByClientID(id)); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("delete", func(t *testing.T) {
		reg := e.registration(a)
		issued, err := e.reg.RotateSecret(context.Background(), oauthreg.ByClientID(id), oauthreg.RotateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		reg.Secret = issued.Secret
		tokens := e.tokens(reg, "scope", "read", "resource", e.issuer+"/api")
		checker := e.register(with(machineClient(), func(c *oauthreg.Client) { c.ResourceServer = []string{e.issuer + "/api"} }))
		if got := e.authenticated("/oauth/introspect", checker, "token", tokens.str("access_token")); got.body["active"] != true {
			t.Fatalf("before: %s", got.raw)
		}
		got := e.sendJSON(http.MethodDelete, path, token, "")
		if got.status != 204 || got.raw != "" {
			t.Fatalf("got %d %s", got.status, got.raw)
		}
		if got := e.sendJSON(http.MethodDelete, path, token, ""); got.status != 401 {
			t.Errorf("twice: got %d %s", got.status, got.raw)
		}
		if got := e.authenticated("/oauth/introspect", checker, "token", tokens.str("access_token")); got.body["active"] != false {
			t.Errorf("afterwards: %s", got.raw)
		}
		e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, 401, "invalid_client")
		if got := e.sendJSON(http.MethodGet, "/oauth/register/"+other.str("client_id"), other.str("registration_access_token"), ""); got.status != 200 {
			t.Errorf("the other client: %d %s", got.status, got.raw)
		}
	})
}

// Of updates at once with one registration access token one wins; the others
// are told so and change nothing.
func TestRegistrationUpdateRace(t *testing.T) {
	e := registrationEnv(t, envOptions{}, nil)
	a := e.registerByHTTP(`{` + redirects + `}`)
	path := "/oauth/register/" + a.str("client_id")
	var winner atomic.Pointer[tokenAnswer]
	var won atomic.Int32
	var wg sync.WaitGroup
	raced(20)
	for i := range 20 {
		wg.Go(func() {
			got := e.sendJSON(http.MethodPut, path, a.str("registration_access_token"), fmt.Sprintf(`{"client_id":%q,"client_name":"n%d",%s}`, a.str("client_id"), i, redirects))
			switch got.status {
			case 200:
				won.Add(1)
				winner.Store(got)
			case 401, 409:
			default:
				t.Errorf("got %d %s", got.status, got.raw)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Fatalf("%d of 20 won, want 1", won.Load())
	}
	got := e.sendJSON(http.MethodGet, path, winner.Load().str("registration_access_token"), "")
	if got.status != 200 || got.str("client_name") != winner.Load().str("client_name") {
		t.Errorf("got %d %s, want what %s says", got.status, got.raw, winner.Load().raw)
	}
}

// The audit log tells who registered and who changed; nothing stored or logged
// has a credential in it.
func TestRegistrationLeavesTraces(t *testing.T) {
	e := registrationEnv(t, envOptions{}, nil)
	a := e.registerByHTTP(`{` + redirects + `}`)
	put := e.sendJSON(http.MethodPut, "/oauth/register/"+a.str("client_id"), a.str("registration_access_token"), `{"client_id":"`+a.str("client_id")+`","client_name":"Renamed",`+redirects+`}`)
	if put.status != 200 {
		t.Fatalf("put: %d %s", put.status, put.raw)
	}
	records, err := e.reg.Audit(context.Background(), oauthreg.AuditQuery{ClientID: e.registration(a).Client.ID})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, r := range records {
		actions = append(actions, r.Action+" by "+r.Actor.Kind)
		if r.Actor.Address != "127.0.0.1" || r.Actor.RequestID == "" {
			t.Errorf("actor: %+v", r.Actor)
		}
	}
	want := []string{"client.updated by client", "client.registered by client"}
	if !slices.Equal(actions, want) {
		t.Errorf("got %q, want %q", actions, want)
	}
	logged := e.log.String() + string(mustMarshal(t, records))
	for _, credential := range []string{a.str("client_secret"), a.str("registration_access_token"), put.str("registration_access_token")} {
		if credential == "" || strings.Contains(logged, credential) {
			t.Errorf("a credential is missing or was logged: %q", credential)
		}
	}
}

// What a person allowed a client that registered itself holds for the client as
// it was: after it has changed itself, and may send people elsewhere, it asks anew.
func TestSelfRegisteredClientAsksAnewAfterAChange(t *testing.T) {
	e := registrationEnv(t, envOptions{}, nil)
	a := e.registerByHTTP(`{` + redirects + `}`)
	id, token := a.str("client_id"), a.str("registration_access_token")
	silent := func(b *browser, redirectURI string) *answer {
		target, _ := e.authorizeURL(id, "prompt", "none", "redirect_uri", redirectURI)
		return b.do(http.MethodGet, target, nil)
	}
	const before, after = "https://client.example/cb", "https://elsewhere.example/cb"
	b := e.browser()
	target, _ := e.authorizeURL(id, "redirect_uri", before)
	b.walk(target)
	if got := silent(b, before); got.location == nil || got.location.Query().Get("code") == "" {
		t.Fatalf("the consent is not remembered: %d %v", got.status, got.location)
	}
	e.clock.add(time.Second)
	update := e.sendJSON(http.MethodPut, "/oauth/register/"+id, token, `{"client_id":"`+id+`","redirect_uris":["`+before+`","`+after+`"]}`)
	if update.status != http.StatusOK {
		t.Fatalf("update: %d %s", update.status, update.raw)
	}
	for _, uri := range []string{after, before} {
		if got := silent(b, uri); got.location == nil || got.location.Query().Get("error") != "consent_required" {
			t.Errorf("%s: got %d, %v, want consent_required", uri, got.status, got.location)
		}
	}
	target, _ = e.authorizeURL(id, "redirect_uri", after)
	b.walk(target) // allows it
	if got := silent(b, after); got.location == nil || got.location.Query().Get("code") == "" {
		t.Errorf("the new consent is not remembered: %d %v", got.status, got.location)
	}
}
