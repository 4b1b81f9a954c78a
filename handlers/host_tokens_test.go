package handlers_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// What the host issues on its own word is a grant like any other: it works, it
// can be refreshed, the user sees it, and takes it back.
func TestIssue(t *testing.T) {
	var l eventLog
	e := newEnv(t, l.listen(envOptions{}))
	reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.OrgID, c.ProjectID = homeOrg, homeProject }))
	about := func(what string, types ...oauthreg.EventType) {
		t.Helper()
		heard := l.take()
		ok := len(heard) == len(types)
		for i := range heard {
			ok = ok && heard[i].Type == types[i] && heard[i].ClientID == reg.Client.ClientID && heard[i].OrgID == homeOrg && heard[i].ProjectID == homeProject
		}
		if !ok {
			t.Errorf("%s: heard %+v", what, heard)
		}
	}
	l.take()
	issued, err := e.server.Issue(t.Context(), handlers.Issuance{
		ClientID: reg.Client.ClientID, Login: &oauthreg.Login{Subject: "sub-alice", AuthTime: e.clock.Now()},
		Scopes: []string{"openid", "read"}, Resources: []string{e.issuer + "/api"},
	})
	if err != nil {
		t.Fatal(err)
	}
	about("Issue", oauthreg.EventTokenIssued)
	seen := e.authenticated("/oauth/introspect", reg, "token", issued.AccessToken)
	if seen.body["active"] != true || seen.str("sub") != "sub-alice" || seen.str("scope") != "openid read" || seen.str("aud") != e.issuer+"/api" {
		t.Errorf("introspection: %s", seen.raw)
	}
	if issued.IDToken == "" || issued.GrantID == "" || !issued.ExpiresAt.After(e.clock.Now()) {
		t.Errorf("got %+v", issued)
	}
	fresh := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", issued.RefreshToken)
	if fresh.status != http.StatusOK {
		t.Errorf("refresh: %d %s", fresh.status, fresh.raw)
	}
	apps, err := e.server.AuthorizedApps(t.Context(), "sub-alice")
	if err != nil || len(apps) != 1 || apps[0].Client.ClientID != reg.Client.ClientID {
		t.Fatalf("authorized apps %+v, %v", apps, err)
	}
	if err := e.server.RevokeApp(t.Context(), "sub-bob", apps[0].ConsentID); err != nil { // not his
		t.Error(err)
	}
	if seen := e.authenticated("/oauth/introspect", reg, "token", fresh.str("access_token")); seen.body["active"] != true {
		t.Error("somebody else took it back")
	}
	for _, empty := range [][2]string{{"", apps[0].ConsentID}, {"sub-alice", ""}} {
		if err := e.server.RevokeApp(t.Context(), empty[0], empty[1]); err == nil {
			t.Errorf("RevokeApp(%q, %q) has no error", empty[0], empty[1])
		}
	}
	l.take()
	if err := e.server.RevokeApp(t.Context(), "sub-alice", apps[0].ConsentID); err != nil {
		t.Error(err)
	}
	about("RevokeApp", oauthreg.EventConsentRevoked)
	if seen := e.authenticated("/oauth/introspect", reg, "token", fresh.str("access_token")); seen.body["active"] != false {
		t.Error("it works after it was taken back")
	}
	other := e.tokens(reg)
	l.take()
	if err := e.server.RevokeToken(t.Context(), other.str("access_token")); err != nil {
		t.Error(err)
	}
	about("RevokeToken", oauthreg.EventTokenRevoked)
}

// The registration decides, and a refusal stores nothing.
func TestIssueRefused(t *testing.T) {
	e := newEnv(t, envOptions{config: func(c *handlers.Config) {
		c.UserActive = func(_ context.Context, subject string) (bool, error) { return subject == "sub-alice", nil }
	}})
	web, machine, suspended := e.register(webClient()), e.register(machineClient()), e.register(webClient())
	if _, err := e.reg.Suspend(t.Context(), oauthreg.ByID(suspended.Client.ID)); err != nil {
		t.Fatal(err)
	}
	alice := &oauthreg.Login{Subject: "sub-alice"}
	before := e.rows(t)
	for _, tt := range []struct {
		name string
		is   handlers.Issuance
		code string
	}{
		{"scope", handlers.Issuance{ClientID: web.Client.ClientID, Login: alice, Scopes: []string{"admin"}}, "invalid_scope"},
		{"resource", handlers.Issuance{ClientID: web.Client.ClientID, Login: alice, Resources: []string{"https://other.example"}}, "invalid_target"},
		{"no client_credentials", handlers.Issuance{ClientID: web.Client.ClientID}, "unauthorized_client"},
		{"no authorization_code", handlers.Issuance{ClientID: machine.Client.ClientID, Login: alice}, "unauthorized_client"},
		{"suspended", handlers.Issuance{ClientID: suspended.Client.ClientID, Login: alice}, "invalid_client"},
		{"inactive user", handlers.Issuance{ClientID: web.Client.ClientID, Login: &oauthreg.Login{Subject: "sub-bob"}}, "invalid_grant"},
	} {
		_, err := e.server.Issue(t.Context(), tt.is)
		var refused *handlers.Error
		if !errors.As(err, &refused) || refused.Code != tt.code {
			t.Errorf("%s: got %v, want %s", tt.name, err, tt.code)
		}
	}
	if _, err := e.server.Issue(t.Context(), handlers.Issuance{ClientID: "nobody", Login: alice}); !errors.Is(err, oauthreg.ErrNotFound) {
		t.Errorf("unknown client: %v", err)
	}
	if _, err := e.server.Issue(t.Context(), handlers.Issuance{ClientID: web.Client.ClientID, Login: &oauthreg.Login{}}); err == nil {
		t.Error("nobody in particular got tokens")
	}
	if after := e.rows(t); after != before {
		t.Errorf("something was stored:\n%s\nbefore:\n%s", after, before)
	}
}

// The host revokes whatever token it finds, of any client.
func TestRevokeToken(t *testing.T) {
	e := newEnv(t, envOptions{})
	reg := e.register(webClient())
	for _, name := range []string{"access_token", "refresh_token"} {
		tokens := e.tokens(reg)
		if err := e.server.RevokeToken(t.Context(), tokens.str(name)); err != nil {
			t.Error(err)
		}
		if seen := e.authenticated("/oauth/introspect", reg, "token", tokens.str("access_token")); seen.body["active"] != false {
			t.Errorf("%s was revoked, and the access token works", name)
		}
		refresh := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"))
		if works := refresh.status == http.StatusOK; works != (name == "access_token") {
			t.Errorf("%s was revoked; refresh: %d", name, refresh.status)
		}
	}
	if err := e.server.RevokeToken(t.Context(), "oat_made-up"); err != nil {
		t.Errorf("an unknown token: %v", err)
	}
}

// Run does the first round at once, and ends with its context.
func TestRun(t *testing.T) {
	e := newEnv(t, envOptions{})
	reg := e.register(machineClient())
	if got := e.tokenRequest(reg, "grant_type", "client_credentials"); got.status != http.StatusOK {
		t.Fatal(got.raw)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.server.Run(ctx) }()
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("Run does not end")
	}
	// The use of the secret is written down, at the latest at the end.
	if uses, err := e.store.SecretUses(t.Context(), reg.Client.ID); err != nil || len(uses) != 1 {
		t.Errorf("uses of secrets: %v, %v", uses, err)
	}
}
