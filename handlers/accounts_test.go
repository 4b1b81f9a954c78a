package handlers_test

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/oauthreg/oauthreg/handlers"
)

// addAccount signs somebody else in at the browser.
func (b *browser) addAccount(username, password string) {
	b.e.t.Helper()
	form := fieldsWith(b.signInForm(b.e.issuer+"/login?account=other"), "username", username, "password", password)
	if a := b.do(http.MethodPost, b.e.issuer+"/login", form); a.status != http.StatusSeeOther {
		b.e.t.Fatalf("sign in as %s: %d", username, a.status)
	}
}

// choices are the forms of the account chooser by user name, and the names in
// their order.
func choices(t testing.TB, a *answer) (forms map[string]url.Values, names []string) {
	t.Helper()
	page, err := html.Parse(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	forms = map[string]url.Values{}
	for form := range page.Descendants() {
		if form.Data != "form" || !strings.HasSuffix(attr(form, "action"), "/login/account") {
			continue
		}
		fields, name := url.Values{}, ""
		for n := range form.Descendants() {
			switch {
			case n.Data == "input":
				fields.Set(attr(n, "name"), attr(n, "value"))
			case n.Data == "bdi":
				name = n.FirstChild.Data
			}
		}
		forms[name] = fields
		names = append(names, name)
	}
	return forms, names
}

// account does something with an account in the chooser at target.
func (b *browser) account(username, action, target string) *answer {
	b.e.t.Helper()
	a := b.do(http.MethodGet, target, nil)
	for a.location != nil {
		a = b.do(http.MethodGet, a.location.String(), nil)
	}
	forms, names := choices(b.e.t, a)
	if forms[username] == nil {
		b.e.t.Fatalf("status %d: %s is not among %v", a.status, username, names)
	}
	return b.do(http.MethodPost, b.e.issuer+"/login/account", fieldsWith(forms[username], "action", action))
}

// twoAccounts is a browser at which alice signed in, and then bob.
func twoAccounts(e *env) *browser {
	b := e.browser()
	b.signIn()
	b.addAccount("bob", "builder")
	return b
}

// whose is whom an answer's code is about.
func (e *env) whose(t *testing.T, b *browser, clientID string, target, verifier string) string {
	t.Helper()
	return e.whoseCode(t, b.walk(target), clientID, verifier)
}

// whoseCode is whose for the answer to a request.
func (e *env) whoseCode(t *testing.T, a *answer, clientID, verifier string) string {
	t.Helper()
	if a.param("code") == "" {
		t.Fatalf("no code: %d %v", a.status, a.location)
	}
	tokens := e.post("/oauth/token", "", "", "grant_type", "authorization_code", "code", a.param("code"),
		"redirect_uri", callback, "client_id", clientID, "code_verifier", verifier)
	_, claims := decodeJWT(t, tokens.str("id_token"))
	return claims["sub"].(string)
}

func TestChooseAccount(t *testing.T) {
	bothMounts(t, func(t *testing.T, e *env) {
		reg := e.register(publicClient())
		b := twoAccounts(e)
		request := func(params ...string) (target, verifier string) {
			return e.authorizeURL(reg.Client.ClientID, append(params, "scope", "openid")...)
		}

		// Without prompt the last one goes on; the chooser comes when asked for.
		target, verifier := request()
		if who := e.whose(t, b, reg.Client.ClientID, target, verifier); who != "sub-bob" {
			t.Errorf("no prompt: %s", who)
		}
		for _, name := range []string{"alice", "bob", "alice"} {
			target, verifier = request("prompt", "select_account")
			a := b.account(name, "choose", target)
			if a.status != http.StatusSeeOther {
				t.Fatalf("chose %s: %d %v", name, a.status, a.location)
			}
			if who := e.whoseCode(t, b.goOn(target, a), reg.Client.ClientID, verifier); who != "sub-"+name {
				t.Errorf("chose %s: %s", name, who)
			}
		}
		// What was chosen goes on without prompt.
		target, verifier = request()
		if who := e.whose(t, b, reg.Client.ClientID, target, verifier); who != "sub-alice" {
			t.Errorf("after choosing alice: %s", who)
		}

		// select_account with login: the choice, and then its password.
		e.clock.add(time.Minute)
		target, verifier = request("prompt", "login select_account")
		a := b.account("bob", "choose", target)
		page := b.do(http.MethodGet, a.location.String(), nil)
		if !strings.Contains(page.body, `value="bob" required`) || !strings.Contains(page.body, " readonly") {
			t.Fatalf("the page does not ask bob:\n%s", page.body)
		}
		fields := hiddenFields(t, page, e.opts.base+"/login", 0)
		if a := b.do(http.MethodPost, e.issuer+"/login", fieldsWith(fields, "username", "bob", "password", "wrong")); a.location != nil || !strings.Contains(a.body, " readonly") {
			t.Errorf("a wrong password: %d %v", a.status, a.location)
		}
		a = b.do(http.MethodPost, e.issuer+"/login", fieldsWith(fields, "username", "bob", "password", "builder"))
		if who := e.whoseCode(t, b.goOn(target, a), reg.Client.ClientID, verifier); who != "sub-bob" {
			t.Errorf("chosen and proved: %s", who)
		}

		// A hint comes first; one that nobody here has is filled in.
		target, _ = request("prompt", "select_account", "login_hint", "alice")
		page = b.do(http.MethodGet, target, nil)
		if _, names := choices(t, page); !slices.Equal(names, []string{"alice", "bob"}) {
			t.Errorf("hinted at alice: %v", names)
		}
		target, _ = request("prompt", "select_account", "login_hint", "carol")
		page = b.do(http.MethodGet, target, nil)
		forms, names := choices(t, page)
		if !slices.Equal(names, []string{"bob", "alice"}) {
			t.Errorf("hinted at carol: %v", names)
		}
		page = b.do(http.MethodGet, e.issuer+"/login?account=other&interaction="+forms["bob"].Get("interaction"), nil)
		if !strings.Contains(page.body, `name="username" type="text" value="carol"`) || !strings.Contains(page.body, "account=choose") {
			t.Error("another account: carol is not filled in, or there is no way back to the chooser")
		}

		// One account is a choice as well: that one, or another.
		b = e.browser()
		b.signIn()
		target, verifier = request("prompt", "select_account")
		a = b.account("alice", "choose", target)
		if who := e.whoseCode(t, b.goOn(target, a), reg.Client.ClientID, verifier); who != "sub-alice" {
			t.Errorf("the only one: %s", who)
		}
		// Nobody signed in has nothing to choose from.
		target, _ = request("prompt", "select_account")
		if a := e.browser().walk(target); a.param("code") == "" {
			t.Errorf("nobody signed in: %d %v", a.status, a.location)
		}
	})
}

// id_token_hint names who it is about: somebody else at the browser is chosen.
func TestChooseHintedAccount(t *testing.T) {
	e := newEnv(t, envOptions{})
	reg := e.register(webClient())
	b, hint := signedIn(e, reg)
	b.addAccount("bob", "builder")
	target, verifier := e.authorizeURL(reg.Client.ClientID, "scope", "openid", "id_token_hint", hint)
	a := b.account("alice", "choose", target)
	code := b.goOn(target, a).param("code")
	if _, claims := decodeJWT(t, e.redeem(reg, code, verifier).str("id_token")); claims["sub"] != "sub-alice" {
		t.Errorf("claims %v", claims)
	}
	target, _ = e.authorizeURL(reg.Client.ClientID, "scope", "openid", "id_token_hint", hint)
	b.account("bob", "choose", e.issuer+"/login?account=choose")
	a = b.account("bob", "choose", target)
	if a := b.goOn(target, a); a.param("error") != "login_required" {
		t.Errorf("bob for alice: %v", a.location)
	}
}

// Accounts end one by one, and the others stay.
func TestSignOutOneAccount(t *testing.T) {
	bothMounts(t, func(t *testing.T, e *env) {
		sessions := func(subject string) int {
			l, err := e.store.ListLoginSessions(t.Context(), subject)
			if err != nil {
				t.Fatal(err)
			}
			return len(l)
		}
		chooser := e.issuer + "/login?account=choose"
		b := twoAccounts(e)
		if a := b.account("alice", "sign_out", chooser); a.location == nil || a.location.Path != e.opts.base+"/login" {
			t.Fatalf("got %d to %v", a.status, a.location)
		}
		if sessions("sub-alice") != 0 || sessions("sub-bob") != 1 {
			t.Error("not alice alone is signed out")
		}
		if a := b.do(http.MethodGet, e.issuer+"/account", nil); a.status != http.StatusOK || !strings.Contains(a.body, "<bdi>bob</bdi>") {
			t.Errorf("bob: %d", a.status)
		}
		b.addAccount("alice", "wonderland")
		a := b.account("alice", "sign_out", chooser) // who is the current one now
		if sessions("sub-alice") != 0 || sessions("sub-bob") != 1 {
			t.Error("not alice alone is signed out")
		}
		// Nobody goes on by themselves: bob has to choose himself.
		page := b.do(http.MethodGet, a.location.String(), nil)
		if _, names := choices(t, page); !slices.Equal(names, []string{"bob"}) {
			t.Errorf("left: %v", names)
		}
		if a := b.do(http.MethodGet, e.issuer+"/account", nil); a.status == http.StatusOK {
			t.Error("bob goes on without having chosen")
		}
		b.account("bob", "choose", e.issuer+"/login")
		if a := b.do(http.MethodGet, e.issuer+"/account", nil); a.status != http.StatusOK || !strings.Contains(a.body, "<bdi>bob</bdi>") {
			t.Errorf("bob chose himself: %d", a.status)
		}
		b.account("bob", "sign_out", chooser)
		if page := b.do(http.MethodGet, chooser, nil); !strings.Contains(page.body, `id="password"`) {
			t.Errorf("nobody is left: %d\n%s", page.status, page.body)
		}
	})
}

// The chooser's forms work for the browser and the site that they are from, and
// with the accounts of that browser.
func TestChooserIsOfThisBrowser(t *testing.T) {
	e := newEnv(t, envOptions{})
	b, victim := twoAccounts(e), twoAccounts(e)
	at := e.issuer + "/login/account"
	forms, _ := choices(t, b.do(http.MethodGet, e.issuer+"/login?account=choose", nil))
	others, _ := choices(t, victim.do(http.MethodGet, e.issuer+"/login?account=choose", nil))
	form := func(pairs ...string) url.Values {
		return fieldsWith(maps.Clone(forms["alice"]), append([]string{"action", "choose"}, pairs...)...)
	}
	for name, tt := range map[string]struct {
		form    url.Values
		headers []string
		status  int
	}{
		"another browser's account": {form("account", others["alice"].Get("account"), "action", "sign_out"), nil, http.StatusSeeOther},
		"an unknown account":        {form("account", "x"), nil, http.StatusSeeOther},
		"no account":                {form("account", ""), nil, http.StatusSeeOther},
		"another browser's token":   {form("csrf_token", others["alice"].Get("csrf_token")), nil, http.StatusForbidden},
		"no token":                  {form("csrf_token", ""), nil, http.StatusForbidden},
		"another site":              {form(), []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		"another origin":            {form(), []string{"Origin", "https://evil.example"}, http.StatusForbidden},
		"no choice":                 {form("action", ""), nil, http.StatusBadRequest},
		"made-up interaction":       {form("interaction", "https://evil.example/"), nil, http.StatusBadRequest},
	} {
		a := b.sent(at, tt.form, tt.headers...)
		if a.status != tt.status || a.location != nil && a.location.Path != e.opts.base+"/login" {
			t.Errorf("%s: got %d to %v, want %d", name, a.status, a.location, tt.status)
		}
		if page := b.do(http.MethodGet, e.issuer+"/account", nil); !strings.Contains(page.body, "<bdi>bob</bdi>") {
			t.Fatalf("%s: the account changed", name)
		}
	}
	for subject, want := range map[string]int{"sub-alice": 2, "sub-bob": 2} {
		if l, err := e.store.ListLoginSessions(t.Context(), subject); err != nil || len(l) != want {
			t.Errorf("%s has %d sessions, want %d, err %v", subject, len(l), want, err)
		}
	}

	// The cookie with the accounts is worth nothing at another browser.
	u, _ := url.Parse(e.issuer + "/")
	name := e.cookieName("accounts")
	thief := e.browser()
	thief.signInForm(e.issuer + "/login")
	thief.client.Jar.SetCookies(u, []*http.Cookie{{Name: name, Value: b.cookie(name), Path: "/"}})
	if b.cookie(name) == "" {
		t.Fatal("there is no cookie with the accounts")
	}
	if page := thief.do(http.MethodGet, e.issuer+"/login?account=choose", nil); !strings.Contains(page.body, `id="password"`) {
		t.Error("another browser's cookie shows its accounts")
	}
}

// Sessions that ended elsewhere are not offered, and there is an end to how many
// there are.
func TestAccountsEnd(t *testing.T) {
	e := newEnv(t, envOptions{config: func(c *handlers.Config) { c.Users = anybody{} }})
	names := func(b *browser) []string {
		_, names := choices(t, b.do(http.MethodGet, e.issuer+"/login?account=choose", nil))
		return names
	}
	b := e.browser()
	b.username, b.password = "u0", anybodysPassword
	b.signIn()
	for i := range 6 {
		e.clock.add(time.Second)
		b.addAccount(fmt.Sprintf("u%d", i+1), anybodysPassword)
	}
	if got, want := names(b), []string{"u6", "u5", "u4", "u3", "u2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for subject, want := range map[string]int{"sub-u0": 0, "sub-u1": 0, "sub-u2": 1} {
		if l, err := e.store.ListLoginSessions(t.Context(), subject); err != nil || len(l) != want {
			t.Errorf("%s has %d sessions, want %d, err %v", subject, len(l), want, err)
		}
	}
	l, err := e.store.ListLoginSessions(t.Context(), "sub-u4")
	if err != nil || len(l) != 1 {
		t.Fatal(l, err)
	}
	if err := e.store.EndLoginSession(t.Context(), l[0].SessionID); err != nil {
		t.Fatal(err)
	}
	if got, want := names(b), []string{"u6", "u5", "u3", "u2"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	e.clock.add(13 * time.Hour) // idle
	if got := names(b); len(got) != 0 {
		t.Errorf("after their end: %v", got)
	}
	b.signIn()
	if got := b.cookie(e.cookieName("accounts")); got != "" {
		t.Error("the cookie keeps accounts that ended")
	}
}
