package handlers_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// hiddenFields are those of the n-th form on a page that posts to action.
func hiddenFields(t *testing.T, a *answer, action string, n int) url.Values {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	for form := range doc.Descendants() {
		if form.Data != "form" || attr(form, "action") != action {
			continue
		}
		if n--; n >= 0 {
			continue
		}
		fields := url.Values{}
		for in := range form.Descendants() {
			if in.Data == "input" && attr(in, "type") == "hidden" {
				fields.Set(attr(in, "name"), attr(in, "value"))
			}
		}
		return fields
	}
	t.Fatalf("status %d: no such form to %s in\n%s", a.status, action, a.body)
	return nil
}

// fieldsWith is fields with more of them, given as name and value.
func fieldsWith(fields url.Values, pairs ...string) url.Values {
	for i := 0; i < len(pairs); i += 2 {
		fields.Set(pairs[i], pairs[i+1])
	}
	return fields
}

// signInForm opens the sign-in page and returns its hidden fields.
func (b *browser) signInForm(target string) url.Values {
	b.e.t.Helper()
	a := b.do(http.MethodGet, target, nil)
	if a.location != nil {
		a = b.do(http.MethodGet, a.location.String(), nil)
	}
	return hiddenFields(b.e.t.(*testing.T), a, b.e.opts.base+"/login", 0)
}

// signIn signs in without a client.
func (b *browser) signIn() *answer {
	b.e.t.Helper()
	form := b.signInForm(b.e.issuer + "/login")
	a := b.do(http.MethodPost, b.e.issuer+"/login", fieldsWith(form, "username", b.username, "password", b.password))
	if a.status != http.StatusSeeOther {
		b.e.t.Fatalf("sign-in: got %d\n%s", a.status, a.body)
	}
	return a
}

// sent is a POST with headers of the browser's.
func (b *browser) sent(target string, form url.Values, headers ...string) *answer {
	b.e.t.Helper()
	plain := b.client.Transport
	defer func() { b.client.Transport = plain }()
	b.client.Transport = withHeaders{headers, plain}
	return b.do(http.MethodPost, target, form)
}

type withHeaders struct {
	headers []string
	http.RoundTripper
}

func (h withHeaders) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for i := 0; i < len(h.headers); i += 2 {
		r.Header.Set(h.headers[i], h.headers[i+1])
	}
	return h.RoundTripper.RoundTrip(r)
}

func (b *browser) cookie(name string) string {
	u, err := url.Parse(b.e.issuer + "/")
	if err != nil {
		b.e.t.Fatal(err)
	}
	for _, c := range b.client.Jar.Cookies(u) {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// cookieName is what the server calls its cookies.
func (e *env) cookieName(kind string) string {
	if strings.HasPrefix(e.issuer, "https:") {
		return "__Host-oauthreg_" + kind
	}
	return "oauthreg_" + kind
}

func (b *browser) sessionCookie() string { return b.cookie(b.e.cookieName("session")) }

func bothMounts(t *testing.T, test func(t *testing.T, e *env)) {
	for name, base := range map[string]string{"root": "", "path": "/auth"} {
		t.Run(name, func(t *testing.T) { test(t, newEnv(t, envOptions{base: base})) })
	}
}

func TestSignInComesBackToTheRequest(t *testing.T) {
	bothMounts(t, func(t *testing.T, e *env) {
		reg := e.register(webClient())
		target, _ := e.authorizeURL(reg.Client.ClientID, "scope", "read", "login_hint", "alice@example.com", "ui_locales", "de")
		b := e.browser()
		page := b.do(http.MethodGet, target, nil)
		for _, want := range []string{`lang="de"`, "<bdi>Test client</bdi>", `value="alice@example.com"`} {
			if !strings.Contains(page.body, want) {
				t.Errorf("the sign-in page has no %s", want)
			}
		}
		if csp := page.header.Get("Content-Security-Policy"); !strings.Contains(csp, "form-action 'self' https:;") {
			t.Errorf("the page forbids its form to end at the client: %s", csp)
		}
		form := fieldsWith(hiddenFields(t, page, e.opts.base+"/login", 0), "username", "alice", "password", "wonderland")
		a := b.do(http.MethodPost, e.issuer+"/login", form)
		if a.status != http.StatusSeeOther || a.location.Path != e.opts.base+"/consent" || a.param("consent_token") == "" {
			t.Fatalf("got %d to %v, want 303 to the consent page", a.status, a.location)
		}
		if end := b.walk(a.location.String()); end.param("code") == "" {
			t.Errorf("no code at the end: %d %v", end.status, end.location)
		}
	})
}

func TestSignInWithoutClient(t *testing.T) {
	bothMounts(t, func(t *testing.T, e *env) {
		b := e.browser()
		if a := b.signIn(); a.location.String() != e.issuer+"/account" {
			t.Errorf("got %v, want the account page", a.location)
		}
		if a := b.do(http.MethodGet, e.issuer+"/login", nil); a.location == nil || a.location.String() != e.issuer+"/account" {
			t.Errorf("signed in already: got %d to %v, want the account page", a.status, a.location)
		}
	})
}

// The page does not tell whether the name or the password was wrong.
func TestSignInFails(t *testing.T) {
	e := newEnv(t, envOptions{})
	var pages []string
	for _, tt := range []struct{ name, username, password string }{
		{"wrong password", "alice", "wrong"},
		{"unknown name", "mallory", "wonderland"},
		{"no password", "alice", ""},
		{"control characters", "ali\x00ce", "wonderland"},
		{"not UTF-8", "alice\xff", "wonderland"},
		{"long password", "alice", "wonderland" + strings.Repeat("x", 1024)},
		{"long name", strings.Repeat("a", 256), "wonderland"},
	} {
		b := e.browser()
		form := fieldsWith(b.signInForm(e.issuer+"/login"), "username", tt.username, "password", tt.password)
		a := b.do(http.MethodPost, e.issuer+"/login", form)
		if a.status != http.StatusOK || !strings.Contains(a.body, `role="alert"`) {
			t.Errorf("%s: got %d, want the page with an alert", tt.name, a.status)
		}
		if b.sessionCookie() != "" {
			t.Errorf("%s: got a session", tt.name)
		}
		if tt.password != "" && strings.Contains(a.body, tt.password) {
			t.Errorf("%s: the page repeats the password", tt.name)
		}
		if tt.name == "wrong password" || tt.name == "unknown name" {
			fields := hiddenFields(t, a, e.opts.base+"/login", 0)
			pages = append(pages, strings.NewReplacer(fields.Get("csrf_token"), "", tt.username, "").Replace(a.body))
		}
	}
	if pages[0] != pages[1] {
		t.Error("a wrong password and an unknown name are told apart")
	}
	if strings.Contains(e.log.String(), "wonderland") || strings.Contains(e.log.String(), "mallory") {
		t.Error("the log has what was typed")
	}
}

// A05: where the browser goes after signing in is not the browser's to say.
func TestSignInRedirectsNowhereElse(t *testing.T) {
	e := newEnv(t, envOptions{})
	reg := e.register(webClient())
	target, _ := e.authorizeURL(reg.Client.ClientID)

	t.Run("parameters that other servers read", func(t *testing.T) {
		for _, name := range []string{"return_to", "ReturnTo", "r", "next", "redirect_uri", "continue"} {
			b := e.browser()
			form := b.signInForm(e.issuer + "/login?" + name + "=" + url.QueryEscape("https://evil.example/"))
			form = fieldsWith(form, "username", "alice", "password", "wonderland", name, "https://evil.example/")
			a := b.do(http.MethodPost, e.issuer+"/login", form)
			if a.location == nil || a.location.String() != e.issuer+"/account" {
				t.Errorf("%s: got %d to %v, want the account page", name, a.status, a.location)
			}
		}
	})

	victim, attacker := e.browser(), e.browser()
	stolen := attacker.signInForm(target).Get("interaction")
	own := victim.signInForm(target)
	altered := own.Get("interaction")
	altered = altered[:40] + string(altered[40]^1) + altered[41:]
	for name, interaction := range map[string]string{
		"another browser's": stolen, "altered": altered, "made up": "https://evil.example/", "a path": "/account", "cut": own.Get("interaction")[:30],
	} {
		t.Run(name, func(t *testing.T) {
			a := victim.do(http.MethodGet, e.issuer+"/login?interaction="+url.QueryEscape(interaction), nil)
			if a.status != http.StatusBadRequest || a.location != nil || !strings.Contains(a.body, `href="`+e.opts.base+`/login"`) {
				t.Errorf("GET: got %d to %v, want 400 with a way on", a.status, a.location)
			}
			form := url.Values{"csrf_token": own["csrf_token"], "interaction": {interaction}, "username": {"alice"}, "password": {"wonderland"}}
			a = victim.do(http.MethodPost, e.issuer+"/login", form)
			if a.status != http.StatusBadRequest || a.location != nil || victim.sessionCookie() != "" {
				t.Errorf("POST: got %d to %v, want 400 and no session", a.status, a.location)
			}
		})
	}

	t.Run("expired", func(t *testing.T) {
		b := e.browser()
		form := fieldsWith(b.signInForm(target), "username", "alice", "password", "wonderland")
		e.clock.add(16 * time.Minute)
		if a := b.do(http.MethodPost, e.issuer+"/login", form); a.status != http.StatusBadRequest || a.location != nil {
			t.Errorf("got %d to %v, want 400", a.status, a.location)
		}
	})
}

func TestSignInFormIsOfThisBrowserAndSite(t *testing.T) {
	e := newEnv(t, envOptions{})
	other := e.browser().signInForm(e.issuer + "/login").Get("csrf_token")
	tests := []struct {
		name    string
		token   string // empty: the right one
		headers []string
		ok      bool
	}{
		{"our page", "", []string{"Sec-Fetch-Site", "same-origin", "Origin", "null"}, true},
		{"another browser's token", other, nil, false},
		{"no token", "-", nil, false},
		{"cross-site", "", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, false},
		{"another origin", "", []string{"Origin", "https://evil.example"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := e.browser()
			form := fieldsWith(b.signInForm(e.issuer+"/login"), "username", "alice", "password", "wonderland")
			if tt.token != "" {
				form.Set("csrf_token", tt.token)
			}
			a := b.sent(e.issuer+"/login", form, tt.headers...)
			want := map[bool]int{true: http.StatusSeeOther, false: http.StatusForbidden}[tt.ok]
			if a.status != want || tt.ok == (b.sessionCookie() == "") {
				t.Errorf("got %d, want %d", a.status, want)
			}
		})
	}
	t.Run("no cookie", func(t *testing.T) {
		form := fieldsWith(e.browser().signInForm(e.issuer+"/login"), "username", "alice", "password", "wonderland")
		if a := e.browser().do(http.MethodPost, e.issuer+"/login", form); a.status != http.StatusForbidden {
			t.Errorf("got %d, want 403", a.status)
		}
	})
}

func TestSignInMakesANewSession(t *testing.T) {
	e := newEnv(t, envOptions{})
	b := e.browser()
	sessions := func(subject string) []oauthreg.LoginSession {
		l, err := e.store.ListLoginSessions(t.Context(), subject)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	signInAs := func(name, password string) {
		form := fieldsWith(b.signInForm(e.issuer+"/login?account=other"), "username", name, "password", password)
		if a := b.do(http.MethodPost, e.issuer+"/login", form); a.status != http.StatusSeeOther {
			t.Fatalf("got %d", a.status)
		}
	}
	signInAs("alice", "wonderland")
	first, cookie := sessions("sub-alice"), b.sessionCookie()
	if len(first) != 1 || first[0].Subject != "sub-alice" || !slices.Equal(first[0].AMR, []string{"pwd"}) {
		t.Fatalf("got %+v, want one session by password", first)
	}
	if got := first[0].ExpiresAt.Sub(first[0].CreatedAt); got != 14*24*time.Hour {
		t.Errorf("the session lives %v, want 14 days", got)
	}
	e.clock.add(time.Minute)
	signInAs("alice", "wonderland")
	again := sessions("sub-alice")
	if len(again) != 1 || !again[0].AuthTime.After(first[0].AuthTime) {
		t.Errorf("got %+v, want one session with a later auth_time", again)
	}
	if b.sessionCookie() == cookie {
		t.Error("the cookie stayed the same")
	}
	old := e.browser()
	u, _ := url.Parse(e.issuer + "/")
	old.client.Jar.SetCookies(u, []*http.Cookie{{Name: e.cookieName("session"), Value: cookie}})
	if a := old.do(http.MethodGet, e.issuer+"/account", nil); a.status == http.StatusOK {
		t.Error("the earlier cookie still works")
	}
	signInAs("bob", "builder")
	if len(sessions("sub-alice")) != 1 || len(sessions("sub-bob")) != 1 {
		t.Error("alice or bob has no session: both are signed in, and bob is who goes on")
	}
	if a := b.do(http.MethodGet, e.issuer+"/account", nil); !strings.Contains(a.body, "<bdi>bob</bdi>") {
		t.Error("the account page is not bob's")
	}
}

func TestSessionEnds(t *testing.T) {
	e := newEnv(t, envOptions{config: func(c *handlers.Config) {
		c.Sessions = handlers.SessionLifetimes{Idle: time.Hour, Absolute: 3 * time.Hour}
	}})
	signedIn := func(b *browser) bool { return b.do(http.MethodGet, e.issuer+"/account", nil).status == http.StatusOK }

	idle := e.browser()
	idle.signIn()
	e.clock.add(59 * time.Minute)
	if !signedIn(idle) {
		t.Error("ended before its idle end")
	}
	e.clock.add(59 * time.Minute)
	if !signedIn(idle) {
		t.Error("use does not move the idle end")
	}
	e.clock.add(59 * time.Minute)
	if !signedIn(idle) {
		t.Error("use does not move the idle end")
	}
	e.clock.add(4 * time.Minute)
	if signedIn(idle) {
		t.Error("use moves the absolute end")
	}
	unused := e.browser()
	unused.signIn()
	e.clock.add(61 * time.Minute)
	if signedIn(unused) {
		t.Error("still signed in after its idle end")
	}
}

func TestProvingItAgain(t *testing.T) {
	e := newEnv(t, envOptions{})
	reg := e.register(webClient())
	b := e.browser()
	b.signIn()
	e.clock.add(time.Minute)
	target, _ := e.authorizeURL(reg.Client.ClientID, "prompt", "login")
	page := b.do(http.MethodGet, target, nil)
	if !strings.Contains(page.body, `value="alice" required`) || !strings.Contains(page.body, " readonly") {
		t.Errorf("the page does not ask alice:\n%s", page.body)
	}
	failed := b.do(http.MethodPost, e.issuer+"/login", fieldsWith(hiddenFields(t, page, e.opts.base+"/login", 0), "username", "alice", "password", "wrong"))
	if !strings.Contains(failed.body, " readonly") || !strings.Contains(failed.body, `role="alert"`) {
		t.Error("a wrong password loses what the page was about")
	}
	interaction := hiddenFields(t, page, e.opts.base+"/login", 0).Get("interaction")
	other := b.do(http.MethodGet, e.issuer+"/login?account=other&interaction="+interaction, nil)
	if strings.Contains(other.body, "alice") || strings.Contains(other.body, " readonly") {
		t.Error("there is no way to another account")
	}
	form := fieldsWith(hiddenFields(t, other, e.opts.base+"/login", 0), "username", "bob", "password", "builder")
	done := b.do(http.MethodPost, e.issuer+"/login", form)
	if end := b.goOn(target, done); end.param("code") == "" {
		t.Errorf("no code for the other account: %d %v", end.status, end.location)
	}
}

// countingUsers counts the checks, and fails when it is told to.
type countingUsers struct {
	testUsers
	checks atomic.Int32
	err    error
}

func (u *countingUsers) CheckPassword(ctx context.Context, username, password string) (string, bool, error) {
	u.checks.Add(1)
	if u.err != nil {
		return "", false, u.err
	}
	return u.testUsers.CheckPassword(ctx, username, password)
}

func TestSignInIsThrottled(t *testing.T) {
	users := new(countingUsers)
	e := newEnv(t, envOptions{config: func(c *handlers.Config) {
		c.Users = users
		c.Limits = handlers.NewLimiter(handlers.LimiterConfig{Now: c.Now, Rates: map[handlers.LimitKind]handlers.Rate{handlers.LimitSignIn: {Burst: 3, PerMinute: 1}}})
	}})
	try := func(name, password string) *answer {
		b := e.browser()
		return b.do(http.MethodPost, e.issuer+"/login", fieldsWith(b.signInForm(e.issuer+"/login"), "username", name, "password", password))
	}
	for range 3 {
		if a := try("alice", "wrong"); a.status != http.StatusOK {
			t.Fatalf("got %d", a.status)
		}
	}
	checked := users.checks.Load()
	for _, name := range []string{"alice", "ALICE", "bob"} { // bob: the address is throttled too
		a := try(name, "wonderland")
		if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, `role="alert"`) {
			t.Errorf("%s: got %d with Retry-After %q, want 429", name, a.status, a.header.Get("Retry-After"))
		}
	}
	if users.checks.Load() != checked {
		t.Error("a throttled try was checked")
	}
	e.clock.add(5 * time.Minute)
	if a := try("alice", "wonderland"); a.status != http.StatusSeeOther {
		t.Errorf("later: got %d, want to be signed in", a.status)
	}
}

func TestOverlongInputIsNotChecked(t *testing.T) {
	users := new(countingUsers)
	e := newEnv(t, envOptions{config: func(c *handlers.Config) { c.Users = users }})
	b := e.browser()
	for _, form := range [][2]string{{strings.Repeat("a", 256), "x"}, {"alice", strings.Repeat("x", 1025)}, {"alice", ""}, {"", "x"}} {
		b.do(http.MethodPost, e.issuer+"/login", fieldsWith(b.signInForm(e.issuer+"/login"), "username", form[0], "password", form[1]))
	}
	if n := users.checks.Load(); n != 0 {
		t.Errorf("%d of them were checked", n)
	}
}

func TestSignInWhenNobodyKnows(t *testing.T) {
	users := &countingUsers{err: errors.New("directory is down")}
	e := newEnv(t, envOptions{config: func(c *handlers.Config) { c.Users = users }})
	b := e.browser()
	a := b.do(http.MethodPost, e.issuer+"/login", fieldsWith(b.signInForm(e.issuer+"/login"), "username", "alice", "password", "wonderland"))
	if a.status != http.StatusServiceUnavailable || strings.Contains(a.body, "directory") {
		t.Errorf("got %d, want 503 without detail", a.status)
	}
}

// touchStore counts touches, and fails them when it is told to.
type touchStore struct {
	*storage.Store
	mu      sync.Mutex
	touches int
	err     error
}

func (s *touchStore) TouchLoginSession(ctx context.Context, handle string, seen, idle time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touches++
	if s.err != nil {
		return s.err
	}
	return s.Store.TouchLoginSession(ctx, handle, seen, idle)
}

// A session is touched at most once a minute, and a touch that fails is no
// reason to send the user away.
func TestSessionIsTouchedRarely(t *testing.T) {
	var store *touchStore
	e := newEnv(t, envOptions{wrap: func(s *storage.Store) (oauthreg.Store, handlers.Store) {
		store = &touchStore{Store: s}
		return s, store
	}})
	b := e.browser()
	b.signIn()
	for range 5 {
		b.do(http.MethodGet, e.issuer+"/account", nil)
	}
	if store.touches != 0 {
		t.Errorf("%d touches within a minute, want none", store.touches)
	}
	e.clock.add(61 * time.Second)
	for range 5 {
		b.do(http.MethodGet, e.issuer+"/account", nil)
	}
	if store.touches != 1 {
		t.Errorf("%d touches after a minute, want 1", store.touches)
	}
	store.err = errors.New("disk is full")
	e.clock.add(61 * time.Second)
	if a := b.do(http.MethodGet, e.issuer+"/account", nil); a.status != http.StatusOK {
		t.Errorf("got %d when the touch failed, want the page", a.status)
	}
	if !strings.Contains(e.log.String(), "disk is full") {
		t.Error("the failed touch is not in the log")
	}
}
