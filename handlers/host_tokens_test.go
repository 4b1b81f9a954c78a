package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
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

// A host lists and takes back what users allowed, and every revocation is told.
func TestHostManagesConsents(t *testing.T) {
	var l eventLog
	e := newEnv(t, l.listen(envOptions{}))
	owned := with(webClient(), func(c *oauthreg.Client) { c.OrgID, c.ProjectID = homeOrg, homeProject })
	shop, mail := e.register(owned), e.register(owned)
	own := e.register(with(owned, func(c *oauthreg.Client) { c.FirstParty = true }))
	foreign := e.register(webClient())
	issue := func(reg oauthreg.Registration, subject string) string {
		t.Helper()
		is, err := e.server.Issue(t.Context(), handlers.Issuance{ClientID: reg.Client.ClientID, Login: &oauthreg.Login{Subject: subject, AuthTime: e.clock.Now()}})
		if err != nil {
			t.Fatal(err)
		}
		return is.AccessToken
	}
	for _, reg := range []oauthreg.Registration{shop, mail, foreign} {
		for _, subject := range []string{"sub-alice", "sub-bob", "sub-carol"} {
			e.clock.add(time.Second)
			issue(reg, subject)
		}
	}
	silent := e.tokens(own, "scope", "read").str("access_token") // alice's

	for _, tt := range []struct {
		f oauthreg.GrantFilter
		n int
	}{
		{oauthreg.GrantFilter{Subject: "sub-alice"}, 3}, {oauthreg.GrantFilter{ClientID: shop.Client.ID}, 3},
		{oauthreg.GrantFilter{ClientID: shop.Client.ID, Subject: "sub-alice"}, 1}, {oauthreg.GrantFilter{OrgID: homeOrg}, 6},
		{oauthreg.GrantFilter{OrgID: homeOrg, ProjectID: homeProject, Subject: "sub-bob"}, 2}, {oauthreg.GrantFilter{ProjectID: "other"}, 0},
	} {
		found, n, err := e.server.ListConsents(t.Context(), tt.f, 0, 0)
		if err != nil || n != tt.n || len(found) != tt.n {
			t.Errorf("%+v: got %d of %d, %v, want %d", tt.f, len(found), n, err, tt.n)
		}
	}
	all, _, err := e.server.ListConsents(t.Context(), oauthreg.GrantFilter{OrgID: homeOrg}, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	page, n, err := e.server.ListConsents(t.Context(), oauthreg.GrantFilter{OrgID: homeOrg}, 2, 2)
	if err != nil || n != 6 || len(page) != 2 || page[0].ID != all[2].ID || page[1].ID != all[3].ID {
		t.Errorf("got %+v of %d, %v", page, n, err)
	}
	if got, err := e.server.GetConsent(t.Context(), all[0].ID); err != nil || got.Subject != "sub-carol" || got.ClientID != mail.Client.ID {
		t.Errorf("got %+v, %v", got, err)
	}

	// Nothing is selected by nothing, and nothing is revoked by it.
	before := e.rows(t)
	l.take()
	for _, f := range []oauthreg.GrantFilter{{}, {SessionID: "s"}, {SessionID: "s", Subject: "sub-alice"}} {
		if _, _, err := e.server.ListConsents(t.Context(), f, 0, 0); err == nil {
			t.Errorf("ListConsents(%+v) has no error", f)
		}
		if got, err := e.server.RevokeConsents(t.Context(), f); err == nil || got != (handlers.Revoked{}) {
			t.Errorf("RevokeConsents(%+v): %+v, %v", f, got, err)
		}
	}
	if _, err := e.server.AuthorizedApps(t.Context(), ""); err == nil {
		t.Error("AuthorizedApps of nobody has no error")
	}
	for _, id := range []string{"", "\x00", "unknown"} {
		if _, err := e.server.GetConsent(t.Context(), id); !errors.Is(err, oauthreg.ErrNotFound) {
			t.Errorf("GetConsent(%q): %v", id, err)
		}
		if err := e.server.RevokeConsent(t.Context(), id); !errors.Is(err, oauthreg.ErrNotFound) {
			t.Errorf("RevokeConsent(%q): %v", id, err)
		}
	}
	if after := e.rows(t); after != before || len(l.take()) != 0 {
		t.Errorf("got %v, want %v, and no event", after, before)
	}

	told := func(what string, want ...oauthreg.Event) {
		t.Helper()
		heard := l.take()
		if !slices.EqualFunc(heard, want, func(a, b oauthreg.Event) bool {
			return a.Type == b.Type && a.ClientID == b.ClientID && a.OrgID == b.OrgID && a.ProjectID == b.ProjectID && a.Subject == b.Subject && a.Count == b.Count
		}) {
			t.Errorf("%s: heard %+v, want %+v", what, heard, want)
		}
	}
	carols := issue(mail, "sub-carol")
	l.take()
	if err := e.server.RevokeConsent(t.Context(), all[0].ID); err != nil || e.active(mail, carols) {
		t.Errorf("RevokeConsent: %v", err)
	}
	told("one", oauthreg.Event{Type: oauthreg.EventConsentRevoked, ClientID: mail.Client.ClientID, OrgID: homeOrg, ProjectID: homeProject, Subject: "sub-carol", Count: 1})
	if err := e.server.RevokeConsent(t.Context(), all[0].ID); !errors.Is(err, oauthreg.ErrNotFound) {
		t.Errorf("twice: %v", err)
	}
	if !e.active(own, silent) {
		t.Error("another grant was revoked too")
	}
	l.take()
	for _, tt := range []struct {
		name string
		f    oauthreg.GrantFilter
		want handlers.Revoked
		told []oauthreg.Event
	}{
		{"a client's", oauthreg.GrantFilter{ClientID: shop.Client.ID}, handlers.Revoked{Consents: 3},
			[]oauthreg.Event{{Type: oauthreg.EventConsentRevoked, ClientID: shop.Client.ClientID, OrgID: homeOrg, ProjectID: homeProject, Count: 3}}},
		{"a user's in an organization", oauthreg.GrantFilter{Subject: "sub-alice", OrgID: homeOrg}, handlers.Revoked{Consents: 1, Grants: 1}, []oauthreg.Event{
			{Type: oauthreg.EventConsentRevoked, Subject: "sub-alice", OrgID: homeOrg, Count: 1},
			{Type: oauthreg.EventGrantRevoked, Subject: "sub-alice", OrgID: homeOrg, Count: 1}}},
		{"nobody's", oauthreg.GrantFilter{Subject: "sub-nobody"}, handlers.Revoked{}, nil},
	} {
		got, err := e.server.RevokeConsents(t.Context(), tt.f)
		if err != nil || got != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
		told(tt.name, tt.told...)
	}
	if e.active(own, silent) {
		t.Error("the first-party client's token works")
	}
	if n := e.consents("sub-alice") + e.consents("sub-bob"); n != 3 {
		t.Errorf("got %d consents left, want 3", n)
	}
}

// Nobody has too many apps to see and take back.
func TestAllAuthorizedApps(t *testing.T) {
	const apps = 1100 // more than the store lists at a time
	e := newEnv(t, envOptions{})
	ctx, err := e.store.BeginTX(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range apps {
		k := oauthreg.Client{ID: fmt.Sprint("app", i), ClientID: fmt.Sprint("app", i), Name: fmt.Sprint("App ", i), CreatedAt: e.clock.Now()}
		if err := e.store.InsertClient(t.Context(), oauthreg.Record{Client: k}, oauthreg.AuditRecord{Action: "client.registered", ClientID: k.ID}); err != nil {
			t.Fatal(err)
		}
		if _, err := e.store.SaveConsent(ctx, oauthreg.Consent{ClientID: k.ID, Subject: "sub-alice", CreatedAt: e.clock.Now().Add(time.Duration(i) * time.Second)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.store.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	found, err := e.server.AuthorizedApps(t.Context(), "sub-alice")
	ids := map[string]bool{}
	for _, app := range found {
		ids[app.ConsentID] = true
	}
	if err != nil || len(found) != apps || len(ids) != apps {
		t.Errorf("got %d apps, %d of them different, %v", len(found), len(ids), err)
	}
	page := e.browser().walk(e.issuer + "/account")
	if n := strings.Count(page.body, `name="consent"`); n != apps {
		t.Errorf("the account page has %d apps, want %d", n, apps)
	}
}
