package handlers_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// Nothing is there for whoever is not signed in; the sign-in wants the key, and
// goes on to where somebody wanted to go.
func TestConsoleSignIn(t *testing.T) {
	c := newConsole(t, envOptions{base: "/auth"})
	reg := c.register(webClient())
	path := "/clients/" + reg.Client.ID
	a := c.stranger()
	for _, p := range []string{"", "/", "/clients", "/clients/new", path, path + "/edit", path + "/delete", path + "/explain", "/grants", "/grants/revoke", "/keys", "/keys/withdraw", "/audit"} {
		got := a.get(p)
		if got.status != http.StatusSeeOther || got.location.Path != "/auth/admin/sign-in" || strings.Contains(got.body, reg.Client.ClientID) {
			t.Errorf("GET %q: %d %v", p, got.status, got.location)
		}
	}
	for _, p := range []string{"/clients/new", path + "/suspend", path + "/delete", path + "/secrets", "/grants/revoke", "/keys/rotate", "/keys/withdraw", "/sign-out"} {
		got := a.do(http.MethodPost, c.at+p, url.Values{"version": {"1"}, "csrf_token": {a.token("/sign-in")}})
		if got.status != http.StatusSeeOther || got.location.Path != "/auth/admin/sign-in" || got.location.Query().Get("late") == "" {
			t.Errorf("POST %q: %d %v", p, got.status, got.location)
		}
	}
	if rec, err := c.reg.Get(context.Background(), oauthreg.ByID(reg.Client.ID)); err != nil || rec.Version != 1 {
		t.Errorf("something was changed: %+v %v", rec, err)
	}

	for _, key := range []string{"", "wrong", adminKey + "x", adminKey[:len(adminKey)-1], strings.ToUpper(adminKey)} {
		got := a.send("/sign-in", url.Values{"key": {key}})
		if got.status != http.StatusForbidden || strings.Contains(got.header.Get("Set-Cookie"), "console") {
			t.Errorf("key %q: %d %q", key, got.status, got.header.Get("Set-Cookie"))
		}
		if key != "" && strings.Contains(got.body, `value="`+key+`"`) {
			t.Errorf("the key %q comes back", key)
		}
	}
	got := a.send("/sign-in", url.Values{"key": {adminKey}, "next": {path}})
	if got.status != http.StatusSeeOther || got.location.String() != c.at+path {
		t.Errorf("sign-in: %d %v", got.status, got.location)
	}
	if got := a.get(path); got.status != http.StatusOK || !strings.Contains(got.body, reg.Client.ClientID) {
		t.Errorf("signed in: %d", got.status)
	}
	for _, next := range []string{"//evil.example", "https://evil.example", "/\\evil.example", "/../../oauth/logout", "evil", "/x?y=z", "/%0d%0aX:y", "/\r\nX: y"} {
		got := c.stranger().send("/sign-in", url.Values{"key": {adminKey}, "next": {next}})
		if got.status != http.StatusSeeOther || !strings.HasPrefix(got.location.String(), c.at) || strings.Contains(got.location.Path, "..") || got.header.Get("X") != "" {
			t.Errorf("next %q: %d %v", next, got.status, got.location)
		}
	}
}

// A session ends by itself, with the sign-out, and with the next sign-in; its
// cookie is for this console alone.
func TestConsoleSession(t *testing.T) {
	for _, tls := range []bool{false, true} {
		c := newConsole(t, envOptions{base: "/auth", tls: tls})
		tls = strings.HasPrefix(c.issuer, "https://") // or the mount of all tests has it
		a := c.stranger()
		got := a.send("/sign-in", url.Values{"key": {adminKey}})
		cookies := (&http.Response{Header: got.header}).Cookies()
		at := slices.IndexFunc(cookies, func(c *http.Cookie) bool { return strings.HasSuffix(c.Name, "oauthreg_console") })
		if at < 0 {
			t.Fatalf("no cookie: %v", got.header)
		}
		cookie := cookies[at]
		if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Secure != tls || cookie.Domain != "" || cookie.MaxAge != 0 || !cookie.Expires.IsZero() {
			t.Errorf("cookie: %+v", cookie)
		}
		if want := map[bool]string{false: "/auth/admin", true: "/"}[tls]; cookie.Path != want || strings.HasPrefix(cookie.Name, "__Host-") != tls {
			t.Errorf("cookie %s with path %s", cookie.Name, cookie.Path)
		}
		// as sends a request with exactly this cookie.
		as := func(value string) int {
			req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, c.at+"/keys", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.AddCookie(&http.Cookie{Name: cookie.Name, Value: value})
			resp, err := a.client.Transport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			return resp.StatusCode
		}
		if as(cookie.Value) != http.StatusOK || as(cookie.Value+"x") != http.StatusSeeOther || as("") != http.StatusSeeOther {
			t.Error("the cookie does not decide")
		}
		// Rotated by the next sign-in, and ended by the sign-out.
		if got := a.send("/sign-in", url.Values{"key": {adminKey}}); got.status != http.StatusSeeOther {
			t.Fatalf("second sign-in: %d", got.status)
		}
		if as(cookie.Value) != http.StatusSeeOther {
			t.Error("the session before the sign-in lives on")
		}
		if got := a.send("/sign-out", nil); got.status != http.StatusSeeOther {
			t.Fatalf("sign-out: %d", got.status)
		}
		if got := a.get("/keys"); got.status != http.StatusSeeOther {
			t.Errorf("after the sign-out: %d", got.status)
		}

		idle := c.signedIn()
		c.clock.add(29 * time.Minute)
		if got := idle.get("/keys"); got.status != http.StatusOK {
			t.Errorf("after 29 minutes: %d", got.status)
		}
		c.clock.add(30 * time.Minute)
		if got := idle.get("/keys"); got.status != http.StatusSeeOther {
			t.Errorf("after half an hour without a request: %d", got.status)
		}
		busy := c.signedIn()
		for range 23 {
			c.clock.add(20 * time.Minute)
			if got := busy.get("/keys"); got.status != http.StatusOK {
				t.Fatalf("busy: %d", got.status)
			}
		}
		c.clock.add(20 * time.Minute) // 8 hours
		if got := busy.get("/keys"); got.status != http.StatusSeeOther {
			t.Errorf("after 8 hours: %d", got.status)
		}
	}
}

// Guessing the key is limited by address.
func TestConsoleGuessingIsLimited(t *testing.T) {
	clock := newClock()
	c := newConsole(t, envOptions{base: "/auth", clock: clock, config: func(cfg *handlers.Config) {
		cfg.Limits = handlers.NewLimiter(handlers.LimiterConfig{Now: clock.Now, Rates: map[handlers.LimitKind]handlers.Rate{handlers.LimitSignIn: {Burst: 3, PerMinute: 1}}})
	}})
	a := c.stranger()
	for range 3 {
		if got := a.send("/sign-in", url.Values{"key": {"guess"}}); got.status != http.StatusForbidden {
			t.Fatalf("a wrong key: %d", got.status)
		}
	}
	got := a.send("/sign-in", url.Values{"key": {adminKey}})
	if got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") == "" || got.header.Get("Set-Cookie") != "" {
		t.Errorf("the fourth try: %d %v", got.status, got.header)
	}
	clock.add(2 * time.Minute)
	if got := a.send("/sign-in", url.Values{"key": {adminKey}}); got.status != http.StatusSeeOther {
		t.Errorf("later: %d", got.status)
	}
}

// No form is acted upon without the token of a form of this session, or when
// another site sent it.
func TestConsoleForms(t *testing.T) {
	c := newConsole(t, envOptions{base: "/auth"})
	reg := c.register(webClient())
	path := "/clients/" + reg.Client.ID
	kid := c.keys()[0].KeyID
	a, other := c.signedIn(), c.signedIn()
	foreign := other.token(path)
	forms := map[string]url.Values{
		"/clients/new": {"client_name": {"X"}, "grant_types": {"client_credentials"}, "token_endpoint_auth_method": {"client_secret_basic"}},
		path + "/edit": {"version": {"1"}, "client_name": {"X"}}, path + "/suspend": {}, path + "/resume": {}, path + "/delete": {"version": {"1"}},
		path + "/secrets": {}, path + "/secrets/x/revoke": {}, path + "/explain": {"endpoint": {"token"}, "parameters": {"a=b"}},
		"/grants/revoke": {"subject": {"sub-alice"}}, "/keys/rotate": {"alg": {"RS256"}}, "/keys/withdraw": {"kid": {kid}}, "/sign-out": {},
	}
	before := c.rows(t)
	for target, form := range forms {
		for what, token := range map[string]string{"no token": "", "another session's": foreign, "the sign-in's": a.token("/sign-in"), "altered": "A" + foreign[1:]} {
			form.Set("csrf_token", token)
			if got := a.do(http.MethodPost, c.at+target, form); got.status != http.StatusForbidden {
				t.Errorf("%s with %s: %d", target, what, got.status)
			}
		}
		form.Set("csrf_token", a.token(path))
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, c.at+target, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", "https://evil.example")
		req.Header.Set("Sec-Fetch-Site", "cross-site")
		resp, err := a.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusForbidden {
			t.Errorf("%s from another site: %d", target, resp.StatusCode)
		}
		if got := a.do(http.MethodPut, c.at+target, form); got.status != http.StatusMethodNotAllowed {
			t.Errorf("PUT %s: %d", target, got.status)
		}
	}
	if after := c.rows(t); after != before {
		t.Errorf("something was written:\nbefore %s\nafter  %s", before, after)
	}
	if got := c.stranger().do(http.MethodPost, c.at+"/sign-in", url.Values{"key": {adminKey}}); got.status != http.StatusForbidden || strings.Contains(fmt.Sprint(got.header), "oauthreg_console") {
		t.Errorf("sign-in without a token: %d", got.status)
	}
}

// Every page has the headers of a page for people, an error too.
func TestConsolePageHeaders(t *testing.T) {
	c := newConsole(t, envOptions{base: "/auth"})
	reg := c.register(webClient())
	a := c.signedIn()
	for _, p := range []string{"/sign-in", "/", "/clients", "/clients/new", "/clients/" + reg.Client.ID, "/grants", "/keys", "/audit", "/nothing", "/clients/nobody"} {
		got := a.get(p)
		policy := got.header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "form-action 'self';", "base-uri 'none'", "'sha256-"} {
			if !strings.Contains(policy, want) {
				t.Errorf("%s: the policy has no %s: %s", p, want, policy)
			}
		}
		for name, want := range map[string]string{
			"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff",
			"Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin", "Content-Type": "text/html; charset=utf-8",
		} {
			if v := got.header.Get(name); v != want {
				t.Errorf("%s: %s is %q", p, name, v)
			}
		}
		if strings.Contains(policy, "script") || strings.Contains(policy, "unsafe") || strings.Contains(got.body, "<script") || strings.Contains(got.body, " style=") || strings.Contains(got.body, "ZgotmplZ") {
			t.Errorf("%s: has a script, a style attribute or an unsafe value", p)
		}
		if got.header.Get("Access-Control-Allow-Origin") != "" || got.header.Get("X-Request-Id") == "" {
			t.Errorf("%s: %v", p, got.header)
		}
	}
}

var (
	shownSecret = regexp.MustCompile(`id="secret"[^>]*value="([^"]+)"`)
	clientLink  = regexp.MustCompile(`id="done" href="/auth/admin(/clients/[^"]+)"`)
)

// secretIn is the secret that a page shows.
func (a *admin) secretIn(got *answer) string {
	a.e.t.Helper()
	m := shownSecret.FindStringSubmatch(got.body)
	if got.status != http.StatusCreated || m == nil {
		a.e.t.Fatalf("no secret: %d\n%s", got.status, got.body)
	}
	a.e.secrets.Add("client secret", m[1])
	return m[1]
}

// A client is made, its secret is shown once, works, and is rotated with an
// overlap and revoked; everything is in the audit log, in the console's name.
func TestConsoleClient(t *testing.T) {
	c := newConsole(t, envOptions{base: "/auth"})
	a := c.signedIn()
	form := url.Values{
		"client_name": {"Reports"}, "client_id": {"reports"}, "token_endpoint_auth_method": {"client_secret_basic"},
		"grant_types": {"client_credentials"}, "scope": {"read\r\nwrite\r\n"}, "access_token_lifetime": {"60"}, "metadata": {"team=a=b\nkey=v"}, "description": {"one\r\ntwo"},
		"csrf_token": {a.token("/clients/new")},
	}
	got := a.send("/clients/new", form)
	secret := a.secretIn(got)
	path := clientLink.FindStringSubmatch(got.body)[1]
	made, err := c.reg.Get(context.Background(), oauthreg.ByClientID("reports"))
	if err != nil || made.OrgID != homeOrg || made.ProjectID != homeProject || made.UserID != homeUser || !slices.Equal(made.Scopes, []string{"read", "write"}) ||
		made.Lifetimes.AccessToken != time.Minute || made.Metadata["team"] != "a=b" || made.Description != "one\ntwo" {
		t.Errorf("made %+v %v", made, err)
	}
	works := func(secret string) bool {
		return c.post("/oauth/token", "reports", secret, "grant_type", "client_credentials").status == http.StatusOK
	}
	if !works(secret) {
		t.Error("the secret does not work")
	}
	// The same form makes nothing more, and shows nothing more.
	if got := a.send("/clients/new", form); got.status != http.StatusConflict || strings.Contains(got.body, secret) {
		t.Errorf("the form once more: %d", got.status)
	}

	rotate := url.Values{"label": {"second"}, "overlap_hours": {"1"}, "lifetime_days": {"10"}, "csrf_token": {a.token(path)}}
	second := a.secretIn(a.send(path+"/secrets", rotate))
	if got := a.send(path+"/secrets", rotate); got.status != http.StatusConflict || strings.Contains(got.body, second) {
		t.Errorf("the form once more: %d", got.status)
	}
	if !works(secret) || !works(second) {
		t.Error("the secrets do not overlap")
	}
	if err := c.reg.FlushSecretUses(context.Background()); err != nil {
		t.Fatal(err)
	}
	page := a.get(path).body
	if n := strings.Count(page, "last used"); n != 2 || !strings.Contains(page, "second") {
		t.Errorf("%d last uses:\n%s", n, page)
	}
	c.clock.add(time.Hour)
	if works(secret) || !works(second) {
		t.Error("the first secret does not end with the overlap")
	}
	a = c.signedIn() // the clock went on
	for name, wrong := range map[string]url.Values{
		"overlap": {"overlap_hours": {"2161"}}, "negative": {"overlap_hours": {"-1"}}, "no number": {"lifetime_days": {"soon"}},
		"label": {"label": {strings.Repeat("x", 65)}},
	} {
		if got := a.send(path+"/secrets", wrong); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `role="alert"`) || shownSecret.MatchString(got.body) {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	m := regexp.MustCompile(`/auth/admin(/clients/[^"]+/secrets/[^"/]+/revoke)"`).FindStringSubmatch(a.get(path).body)
	if got := a.get(m[1]); got.status != http.StatusOK || !strings.Contains(got.body, "cannot authenticate") {
		t.Errorf("asked: %d", got.status)
	}
	if !works(second) {
		t.Error("asking revokes")
	}
	if got := a.send(m[1], nil); got.status != http.StatusSeeOther {
		t.Errorf("revoke: %d\n%s", got.status, got.body)
	}
	if works(second) {
		t.Error("the revoked secret works")
	}
	if got := a.send(m[1], nil); got.status != http.StatusNotFound {
		t.Errorf("revoked twice: %d", got.status)
	}

	for _, p := range []string{path, path + "/edit", "/clients", "/audit?client=reports", "/"} {
		if body := a.get(p).body; strings.Contains(body, secret) || strings.Contains(body, second) {
			t.Errorf("%s shows a secret again", p)
		}
	}
	records, err := c.reg.Audit(context.Background(), oauthreg.AuditQuery{ClientID: made.ID})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	for _, r := range records {
		actions = append(actions, r.Action)
		if r.Actor.Kind != "admin" || r.Actor.ID != "admin console" || r.Actor.RequestID == "" || r.Actor.Address == "" {
			t.Errorf("%s by %+v", r.Action, r.Actor)
		}
	}
	if want := []string{"secret.revoked", "secret.created", "client.registered"}; !slices.Equal(actions, want) {
		t.Errorf("audit: %v, want %v", actions, want)
	}
}

// Everything that is wrong with a client stands at its field, and nothing is kept.
func TestConsoleProblems(t *testing.T) {
	c := newConsole(t, envOptions{base: "/auth"})
	a := c.signedIn()
	wrong := url.Values{
		"client_name": {""}, "client_id": {"no good"}, "token_endpoint_auth_method": {"private_key_jwt"}, "grant_types": {"authorization_code"},
		"redirect_uris": {"https://app.example/cb\nhttps://app.example/*#x"}, "scope": {"a\nb\"c"}, "default_scope": {"z"}, "jwks": {"{"},
		"access_token_lifetime": {"999999999"}, "default_max_age": {"-1"}, "logo_uri": {"javascript:alert(1)"}, "metadata": {"novalue"}, "audience": {"/relative"},
	}
	got := a.send("/clients/new", wrong)
	if got.status != http.StatusUnprocessableEntity || shownSecret.MatchString(got.body) {
		t.Fatalf("%d\n%s", got.status, got.body)
	}
	for _, field := range []string{"client_name", "client_id", "redirect_uris", "scope", "default_scope", "jwks", "access_token_lifetime", "default_max_age", "logo_uri", "metadata", "audience"} {
		if !strings.Contains(got.body, `id="p-`+field+`"`) || !strings.Contains(got.body, `href="#f-`+field+`"`) {
			t.Errorf("nothing at %s", field)
		}
	}
	if !strings.Contains(got.body, "Line 2 ") || !strings.Contains(got.body, "https://app.example/*#x</textarea>") {
		t.Error("what was typed is lost, or the line is not named")
	}
	if c.clientCount() != 0 {
		t.Error("something is registered")
	}

	reg := c.register(webClient())
	path := "/clients/" + reg.Client.ID
	form := url.Values{"version": {"1"}, "client_name": {"Renamed"}, "redirect_uris": {"not a uri"}, "grant_types": reg.Client.GrantTypes, "response_types": {"code"}, "require_pkce": {"on"}}
	if got := a.send(path+"/edit", form); got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, `id="p-redirect_uris"`) {
		t.Errorf("edit: %d", got.status)
	}
	form.Set("redirect_uris", callback+"\n"+callback+"2")
	form.Del("csrf_token")
	if got := a.send(path+"/edit", form); got.status != http.StatusSeeOther || got.location.Query().Get("done") != "saved" {
		t.Errorf("edit: %d\n%s", got.status, got.body)
	}
	after, err := c.reg.Get(context.Background(), oauthreg.ByID(reg.Client.ID))
	if err != nil || after.Name != "Renamed" || len(after.RedirectURIs) != 2 || after.Version != 2 || !slices.Equal(after.Scopes, reg.Client.Scopes) {
		t.Errorf("edited: %+v %v", after, err)
	}
	// The form is about a version that is gone.
	form.Set("client_name", "Lost")
	form.Del("csrf_token")
	if got := a.send(path+"/edit", form); got.status != http.StatusConflict || !strings.Contains(got.body, "Somebody else changed the client") {
		t.Errorf("an old version: %d", got.status)
	}
	for _, version := range []string{"", "0", "-1", "x"} {
		form.Set("version", version)
		form.Del("csrf_token")
		if got := a.send(path+"/edit", form); got.status != http.StatusBadRequest {
			t.Errorf("version %q: %d", version, got.status)
		}
		if got := a.send(path+"/delete", url.Values{"version": {version}}); got.status != http.StatusBadRequest {
			t.Errorf("delete version %q: %d", version, got.status)
		}
	}
	if got := a.send(path+"/delete", url.Values{"version": {"1"}}); got.status != http.StatusConflict {
		t.Errorf("delete an old version: %d", got.status)
	}
	if now, err := c.reg.Get(context.Background(), oauthreg.ByID(reg.Client.ID)); err != nil || now.Version != 2 {
		t.Errorf("changed by what was refused: %+v %v", now, err)
	}
}

// What the form shows and takes back leaves a client as it is, member by member,
// and so it does for a client with everything.
func TestConsoleFormKeepsEverything(t *testing.T) {
	c := newConsole(t, envOptions{base: "/auth", config: func(cfg *handlers.Config) { cfg.Implicit = true }, reg: func(r *oauthreg.Config) { r.Implicit = true }})
	a := c.signedIn()
	age := 5 * time.Minute
	for _, client := range []oauthreg.Client{webClient(), publicClient(), machineClient(), with(webClient(), func(c *oauthreg.Client) {
		c.Description, c.Contacts, c.SoftwareID, c.SoftwareVersion = "a <b>\nc", []string{"a@b.example", "x"}, "s", "1"
		c.DefaultScopes, c.Audience, c.ResourceServer = []string{"read"}, []string{"https://api.example/"}, []string{"https://rs.example/"}
		c.ClientURI, c.LogoURI, c.TOSURI, c.PolicyURI = "https://a.example/", "https://a.example/l", "https://a.example/t", "https://a.example/p"
		c.AccessTokenFormat, c.IDTokenSignedResponseAlg, c.UserinfoSignedResponseAlg = oauthreg.JWT, "ES256", "RS256"
		c.SubjectType, c.RequestURIs, c.DefaultMaxAge, c.RequireAuthTime = oauthreg.PairwiseSubject, []string{"https://a.example/r"}, &age, true
		c.DefaultACRValues, c.InitiateLoginURI, c.PostLogoutRedirectURIs = []string{"1", "2"}, "https://a.example/i", []string{callback}
		c.BackchannelLogoutURI, c.FrontchannelLogoutURI = "https://client.example/b", "https://client.example/f"
		c.BackchannelLogoutSessionRequired, c.FrontchannelLogoutSessionRequired = true, true
		c.Lifetimes = oauthreg.Lifetimes{AuthorizationCode: time.Minute, AccessToken: time.Hour, RefreshTokenIdle: 2 * time.Hour, RefreshToken: 3 * time.Hour, IDToken: time.Minute}
		c.FirstParty, c.Verified, c.Metadata = true, true, map[string]string{"a": "b=c", "d": ""}
	})} {
		reg := c.register(client)
		path := "/clients/" + reg.Client.ID + "/edit"
		got := a.send(path, formIn(t, a.get(path).body))
		if got.status != http.StatusSeeOther || got.location.Query().Get("done") != "unchanged" {
			after := must(c.reg.Audit(context.Background(), oauthreg.AuditQuery{ClientID: reg.Client.ID}))
			t.Errorf("%d %v: %s -> %s\n%s", got.status, got.location, after[0].Before, after[0].After, got.body)
		}
	}
}

// Suspended, resumed and deleted, each with what it does.
func TestConsoleSwitchesClients(t *testing.T) {
	c := newConsole(t, envOptions{base: "/auth"})
	a := c.signedIn()
	reg := c.register(machineClient())
	path := "/clients/" + reg.Client.ID
	works := func() bool { return c.tokenRequest(reg, "grant_type", "client_credentials").status == http.StatusOK }
	if got := a.send(path+"/suspend", nil); got.status != http.StatusSeeOther || works() {
		t.Errorf("suspended: %d", got.status)
	}
	if got := a.get(path); !strings.Contains(got.body, "Suspended since") {
		t.Error("the page does not say so")
	}
	if got := a.send(path+"/resume", nil); got.status != http.StatusSeeOther || !works() {
		t.Errorf("resumed: %d", got.status)
	}
	if got := a.get(path + "/delete"); got.status != http.StatusOK || !works() {
		t.Errorf("asked: %d", got.status)
	}
	form := formIn(t, a.get(path+"/delete").body)
	if got := a.send(path+"/delete", form); got.status != http.StatusSeeOther || works() || c.clientCount() != 0 {
		t.Errorf("deleted: %d", got.status)
	}
	for _, p := range []string{path, path + "/edit", path + "/explain", path + "/delete", "/clients/%00", "/clients/" + strings.Repeat("x", 5000)} {
		if got := a.get(p); got.status != http.StatusNotFound {
			t.Errorf("GET %.40s of a deleted client: %d", p, got.status)
		}
	}
	for _, p := range []string{"/suspend", "/resume", "/secrets"} {
		if got := a.send(path+p, nil); got.status != http.StatusNotFound {
			t.Errorf("POST %s of a deleted client: %d", p, got.status)
		}
	}
	if got := a.get("/audit?client=" + reg.Client.ID); !strings.Contains(got.body, "client.deleted") || !strings.Contains(got.body, reg.Client.ClientID) {
		t.Error("the deletion is not in the audit log")
	}
}

// Clients are found by name and client_id, filtered, and paged.
func TestConsoleSearch(t *testing.T) {
	c := newConsole(t, envOptions{base: "/auth"})
	a := c.signedIn()
	for i := range 30 {
		c.register(with(machineClient(), func(c *oauthreg.Client) { c.Name = fmt.Sprintf("Job %02d", i) }))
	}
	shop := c.register(with(publicClient(), func(c *oauthreg.Client) { c.Name, c.Verified = "The <Shop>", true }))
	off := c.register(with(machineClient(), func(c *oauthreg.Client) { c.Name = "Off" }))
	must(c.reg.Suspend(context.Background(), oauthreg.ByID(off.Client.ID)))
	for query, want := range map[string]int{
		"": 32, "q=job": 30, "q=Job+07": 1, "q=" + shop.Client.ClientID: 1, "q=%25": 0, "type=public": 1, "type=confidential": 31,
		"grant=client_credentials": 31, "grant=authorization_code": 1, "state=suspended": 1, "state=active": 31, "state=verified": 1, "state=self-registered": 0,
		"q=job&type=public": 0, "page=2": 32, "page=99": 32, "page=x": 32,
	} {
		got := a.get("/clients?" + query)
		if got.status != http.StatusOK || !strings.Contains(got.body, fmt.Sprintf(">%d client", want)) {
			t.Errorf("%q: %d, not %d found", query, got.status, want)
		}
	}
	if body := a.get("/clients?q=shop").body; !strings.Contains(body, "The &lt;Shop&gt;") || strings.Contains(body, "<Shop>") {
		t.Error("a name is not escaped")
	}
	if n := strings.Count(a.get("/clients?page=2").body, `class="marked"`); n != 7 {
		t.Errorf("%d on the second page", n)
	}
	for _, query := range []string{"q=%00", "type=other", "grant=%01"} {
		if got := a.get("/clients?" + query); got.status != http.StatusBadRequest {
			t.Errorf("%q: %d", query, got.status)
		}
	}
}

// The console explains requests as they are pasted, and shows no secret of them
// again.
func TestConsoleExplain(t *testing.T) {
	c := newConsole(t, envOptions{base: "/auth"})
	a := c.signedIn()
	reg := c.register(webClient())
	path := "/clients/" + reg.Client.ID + "/explain"
	const challenge = "&code_challenge_method=S256&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	for _, tt := range []struct {
		endpoint, method, parameters string
		status                       int
		want                         []string
	}{
		{"authorize", "", c.issuer + "/oauth/authorize?response_type=code&redirect_uri=" + url.QueryEscape(callback) + challenge, 200, []string{"It would be allowed", callback}},
		{"authorize", "", "response_type=code&redirect_uri=https%3A%2F%2Fevil.example" + challenge, 200, []string{"It would be refused", "edit#f-redirect_uris", "on a page"}},
		{"authorize", "", "response_type=code\nredirect_uri=" + callback, 200, []string{"It would be refused", "edit#f-require_pkce"}},
		{"authorize", "", "response_type=code&scope=admin&redirect_uri=" + url.QueryEscape(callback) + challenge, 200, []string{"invalid_scope", "edit#f-scope", "at the redirect URI"}},
		{"token", "", "grant_type=client_credentials", 200, []string{"unauthorized_client", "edit#f-grant_types"}},
		{"token", "none", "grant_type=refresh_token\nrefresh_token=x", 200, []string{"invalid_client", "edit#f-token_endpoint_auth_method"}},
		{"token", "client_secret_basic", "grant_type=refresh_token\nrefresh_token=very-secret-one", 200, []string{"It would be allowed"}},
		{"token", "", "grant_type=refresh_token&refresh_token=very-secret-one&client_secret=very-secret-two", 200, []string{"token_endpoint_auth_method"}},
		{"token", "", "client_id=another&grant_type=refresh_token", 422, []string{"not the client"}},
		{"nowhere", "", "a=b", 422, []string{"endpoint"}},
		{"authorize", "", "no parameter", 422, []string{"name=value"}},
		{"authorize", "", "a=%zz&b=c", 422, []string{"form-encoded"}},
	} {
		got := a.send(path, url.Values{"endpoint": {tt.endpoint}, "auth_method": {tt.method}, "parameters": {tt.parameters}})
		for _, want := range tt.want {
			if got.status != tt.status || !strings.Contains(got.body, want) {
				t.Errorf("%s %s: %d, no %q", tt.endpoint, tt.parameters, got.status, want)
			}
		}
		if strings.Contains(got.body, "very-secret") {
			t.Errorf("%s: shown again", tt.parameters)
		}
	}
}

// Grants are found by client and user, and revoked one by one or all of them.
func TestConsoleGrants(t *testing.T) {
	var events []oauthreg.Event
	c := newConsole(t, envOptions{base: "/auth", config: func(cfg *handlers.Config) {
		cfg.Events = func(_ context.Context, e oauthreg.Event) {
			if e.Type == oauthreg.EventConsentRevoked || e.Type == oauthreg.EventGrantRevoked {
				events = append(events, e)
			}
		}
	}})
	a := c.signedIn()
	first, second := c.register(webClient()), c.register(with(webClient(), func(c *oauthreg.Client) { c.FirstParty = true }))
	one, two, three := c.tokens(first), c.tokens(first), c.tokens(second)
	alive := func(reg oauthreg.Registration, tokens *tokenAnswer) bool {
		return c.active(reg, tokens.str("access_token"))
	}

	for query, want := range map[string]string{
		"": "3 found", "client=" + first.Client.ClientID: "2 found", "subject=sub-alice": "3 found", "subject=nobody": "0 found",
		"client=nobody": "There is no such client", "show=consents": "1 found", "show=consents&client=" + second.Client.ClientID: "0 found", "subject=%00": "There is no such client",
	} {
		if got := a.get("/grants?" + query); got.status != http.StatusOK || !strings.Contains(got.body, want) {
			t.Errorf("%q: %d, not %q", query, got.status, want)
		}
	}
	link := regexp.MustCompile(`/auth/admin(/grants/revoke\?(grant|consent)=([^"]+))"`)
	newest := link.FindStringSubmatch(a.get("/grants?client=" + first.Client.ClientID).body)
	if got := a.get(newest[1]); got.status != http.StatusOK || !alive(first, two) {
		t.Errorf("asked: %d", got.status)
	}
	if got := a.send("/grants/revoke", url.Values{"grant": {newest[3]}}); got.status != http.StatusSeeOther || got.location.Query().Get("done") != "revoked" {
		t.Errorf("revoke: %d %v", got.status, got.location)
	}
	if alive(first, two) || !alive(first, one) || !alive(second, three) {
		t.Error("not that one grant alone is revoked")
	}
	if got := a.send("/grants/revoke", url.Values{"grant": {newest[3]}}); got.location.Query().Get("done") != "nothing" {
		t.Errorf("revoke twice: %d %v", got.status, got.location)
	}
	c.clock.add(time.Minute)
	from := c.clock.Now().UTC()
	refreshed := c.tokenRequest(first, "grant_type", "refresh_token", "refresh_token", one.str("refresh_token"))
	refreshed.wantStatus(t, http.StatusOK)
	to := c.clock.Now().UTC()
	consents := a.get("/grants?show=consents").body
	used := regexp.MustCompile(`last used <time datetime="([^"]+)"`).FindStringSubmatch(consents)
	if used == nil {
		t.Fatalf("the consent is not shown as used:\n%s", consents)
	}
	if at, err := time.Parse(time.RFC3339, used[1]); err != nil || at.Before(from.Truncate(time.Second)) || at.After(to) {
		t.Errorf("the consent is shown as used at %s (%v), want between %s and %s", used[1], err, from, to)
	}
	consent := link.FindStringSubmatch(consents)
	if got := a.send("/grants/revoke", url.Values{"consent": {consent[3]}}); got.status != http.StatusSeeOther || alive(first, one) || !alive(second, three) {
		t.Errorf("revoke a consent: %d", got.status)
	}
	for _, wrong := range []url.Values{{"grant": {"x"}, "client": {second.Client.ClientID}}, {"grant": {"x"}, "consent": {"y"}}} {
		if got := a.send("/grants/revoke", wrong); got.status != http.StatusBadRequest {
			t.Errorf("%v: %d", wrong, got.status)
		}
	}
	for _, id := range []string{"nobody", "%00"} {
		if got := a.get("/grants/revoke?grant=" + id); got.status != http.StatusNotFound {
			t.Errorf("asked for the grant %s: %d", id, got.status)
		}
	}
	if got := a.send("/grants/revoke", nil); got.status != http.StatusBadRequest || !alive(second, three) {
		t.Errorf("revoke nothing in particular: %d", got.status)
	}
	if got := a.send("/grants/revoke", url.Values{"client": {"nobody"}}); got.status != http.StatusNotFound || !alive(second, three) {
		t.Errorf("revoke of nobody: %d", got.status)
	}
	if got := a.send("/grants/revoke", url.Values{"client": {second.Client.ClientID}, "subject": {"sub-alice"}}); got.status != http.StatusSeeOther || alive(second, three) {
		t.Errorf("revoke all: %d", got.status)
	}
	var told []string
	for _, e := range events {
		told = append(told, fmt.Sprintf("%s %v %s %d by %s", e.Type, e.ClientID == first.Client.ClientID, e.Subject, e.Count, e.Actor.ID))
	}
	if want := []string{
		"grant.revoked true sub-alice 1 by admin console", "consent.revoked true sub-alice 1 by admin console", "grant.revoked false sub-alice 1 by admin console",
	}; !slices.Equal(told, want) {
		t.Errorf("events: %q, want %q", told, want)
	}
}

// Keys are rotated and withdrawn.
func TestConsoleKeys(t *testing.T) {
	c := newConsole(t, envOptions{base: "/auth"})
	a := c.signedIn()
	before := c.keys()
	if got := a.get("/keys"); !strings.Contains(got.body, before[0].KeyID) || !strings.Contains(got.body, "active") {
		t.Errorf("keys: %d", got.status)
	}
	form := url.Values{"alg": {"ES256"}}
	if got := a.send("/keys/rotate", form); got.status != http.StatusSeeOther || len(c.keys()) != len(before)+1 {
		t.Errorf("rotate: %d, %d keys", got.status, len(c.keys()))
	}
	if got := a.send("/keys/rotate", form); got.status != http.StatusConflict || len(c.keys()) != len(before)+1 {
		t.Errorf("the form once more: %d, %d keys", got.status, len(c.keys()))
	}
	if got := a.send("/keys/rotate", url.Values{"alg": {"none"}}); got.status != http.StatusUnprocessableEntity {
		t.Errorf("rotate none: %d", got.status)
	}
	kid := before[0].KeyID
	if got := a.get("/keys/withdraw?kid=" + kid); got.status != http.StatusOK || !slices.Contains(c.publishedKids(), kid) {
		t.Errorf("asked: %d", got.status)
	}
	if got := a.send("/keys/withdraw", url.Values{"kid": {kid}}); got.status != http.StatusSeeOther || slices.Contains(c.publishedKids(), kid) {
		t.Errorf("withdraw: %d", got.status)
	}
	for _, kid := range []string{"", "unknown"} {
		if got := a.get("/keys/withdraw?kid=" + kid); got.status != http.StatusNotFound {
			t.Errorf("ask for %q: %d", kid, got.status)
		}
		if got := a.send("/keys/withdraw", url.Values{"kid": {kid}}); got.status != http.StatusNotFound {
			t.Errorf("withdraw %q: %d", kid, got.status)
		}
	}
	if got := a.get("/audit?action=signing_key.withdrawn"); !strings.Contains(got.body, kid) || !strings.Contains(got.body, "admin console") {
		t.Error("the withdrawal is not in the audit log, in the console's name")
	}
}

func (c *consoleEnv) keys() []oauthreg.SigningKey {
	c.t.Helper()
	keys, err := c.store.SigningKeys(context.Background())
	if err != nil {
		c.t.Fatal(err)
	}
	return keys
}

// The audit log is paged and filtered, and shows what was before and after.
func TestConsoleAudit(t *testing.T) {
	c := newConsole(t, envOptions{base: "/auth"})
	a := c.signedIn()
	reg := c.register(webClient())
	ref := oauthreg.ByID(reg.Client.ID)
	for i := range 30 {
		must(c.reg.Update(context.Background(), ref, oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
			c.Name = "Version " + strconv.Itoa(i)
			return nil
		}))
	}
	first := a.get("/audit?client=" + reg.Client.ClientID)
	if !strings.Contains(first.body, "&#34;Version 29&#34;") || !strings.Contains(first.body, "&#34;Version 28&#34;") || strings.Contains(first.body, "client.registered</code>") {
		t.Errorf("the first page: %d", first.status)
	}
	older := regexp.MustCompile(`href="/auth/admin(/audit\?[^"]+)" rel="next"`).FindStringSubmatch(first.body)
	if older == nil {
		t.Fatal("there is no second page")
	}
	if body := a.get(strings.ReplaceAll(older[1], "&amp;", "&")).body; !strings.Contains(body, "client.registered</code>") || strings.Contains(body, "&#34;Version 29&#34;") {
		t.Error("the second page is wrong")
	}
	if body := a.get("/audit?action=client.suspended").body; !strings.Contains(body, "Nothing is recorded") {
		t.Error("the filter does not filter")
	}
	if body := a.get("/audit?client=nobody").body; !strings.Contains(body, "no such client") {
		t.Error("an unknown client is not told")
	}
	for _, query := range []string{"before=x%00", "action=%00", "client=%00"} {
		if got := a.get("/audit?" + query); got.status >= 500 {
			t.Errorf("%q: %d", query, got.status)
		}
	}
}

// A database that does not answer is 5xx on every page, whichever of its calls
// fails, and nothing is said to be done, or half done.
func TestConsoleStorageFailure(t *testing.T) {
	store := new(faultyStore)
	c := newConsole(t, envOptions{base: "/auth", wrap: func(s *storage.Store) (oauthreg.Store, handlers.Store) {
		store.Store = s
		return store, store
	}})
	a := c.signedIn()
	type request struct {
		path string // CLIENT, NAME and SECRET stand for those of a new client
		form url.Values
	}
	requests := []request{
		{"/", nil}, {"/clients", nil}, {"/clients?q=test", nil}, {"/clients/CLIENT", nil}, {"/clients/CLIENT/edit", nil},
		{"/clients/CLIENT/delete", nil}, {"/clients/CLIENT/secrets/SECRET/revoke", nil}, {"/clients/CLIENT/explain", nil},
		{"/grants", nil}, {"/grants?show=consents", nil}, {"/grants?client=NAME", nil}, {"/audit", nil}, {"/audit?client=NAME", nil},
		{"/clients/CLIENT/explain", url.Values{"endpoint": {"token"}, "parameters": {"grant_type=refresh_token"}}},
		{"/clients/CLIENT/edit", url.Values{"version": {"1"}, "client_name": {"Renamed"}, "grant_types": {"authorization_code"}, "require_pkce": {"on"}}},
		{"/clients/CLIENT/suspend", url.Values{}}, {"/clients/CLIENT/secrets", url.Values{}}, {"/clients/CLIENT/secrets/SECRET/revoke", url.Values{}},
		{"/clients/CLIENT/delete", url.Values{"version": {"1"}}}, {"/grants/revoke", url.Values{"client": {"NAME"}}},
		{"/clients/new", url.Values{"client_name": {"X"}, "grant_types": {"client_credentials"}, "token_endpoint_auth_method": {"client_secret_basic"}}},
	}
	for _, fault := range []error{errNoDatabase, errors.New("disk I/O error")} {
		for _, r := range requests {
			reg := c.register(webClient())
			c.tokens(reg)
			secret := must(c.reg.Secrets(context.Background(), oauthreg.ByID(reg.Client.ID)))[0].ID
			fill := strings.NewReplacer("CLIENT", reg.Client.ID, "NAME", reg.Client.ClientID, "SECRET", secret)
			form := url.Values{}
			for name, values := range r.form {
				form.Set(name, fill.Replace(values[0]))
			}
			for n := 1; ; n++ {
				method, body := http.MethodGet, url.Values(nil)
				if r.form != nil {
					method, body = http.MethodPost, form
					form.Set("csrf_token", a.token("/keys"))
				}
				before := c.rows(t)
				store.arm(n, fault)
				got := a.do(method, c.at+fill.Replace(r.path), body)
				fired := store.disarm()
				if fired == "" {
					if n == 1 || got.status >= 400 {
						t.Errorf("%s %s: %d after %d calls", method, r.path, got.status, n-1)
					}
					break
				}
				if got.status < 500 || shownSecret.MatchString(got.body) || strings.Contains(got.body, "I/O") || strings.Contains(got.body, "refused") {
					t.Errorf("%s %s: %d when %s failed", method, r.path, got.status, fired)
				}
				if fired == "RevokeGrants" {
					continue // the consents, and what stood on them, went before
				}
				if after := c.rows(t); after != before {
					t.Errorf("%s %s, %s failed, and something was written:\nbefore %s\nafter  %s", method, r.path, fired, before, after)
				}
			}
		}
	}
}

// formIn is what the last form of a page would send as it is.
func formIn(t testing.TB, page string) url.Values {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	var form url.Values
	for f := range doc.Descendants() {
		if f.Data != "form" {
			continue
		}
		form = url.Values{}
		for n := range f.Descendants() {
			name := attr(n, "name")
			has := func(what string) bool {
				return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == what })
			}
			switch n.Data {
			case "input":
				if attr(n, "type") != "checkbox" || has("checked") {
					form.Add(name, attr(n, "value"))
				}
			case "textarea":
				form.Add(name, strings.ReplaceAll(textIn(n), "\n", "\r\n"))
			case "option":
				if has("selected") {
					form.Set(attr(n.Parent, "name"), attr(n, "value"))
				}
			case "select":
				form.Add(name, "")
			}
		}
	}
	if form == nil {
		t.Fatalf("no form:\n%s", page)
	}
	return form
}

func textIn(n *html.Node) string {
	if n.FirstChild == nil {
		return ""
	}
	return n.FirstChild.Data
}
