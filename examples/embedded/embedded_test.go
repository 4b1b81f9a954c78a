package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// newTestApp serves the application on a database of its own.
func newTestApp(t *testing.T) *app {
	t.Helper()
	db, err := openDatabase(filepath.Join(t.TempDir(), "notes.db"))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := db.DB()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pool.Close() })
	var a *app
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.handler.ServeHTTP(w, r) }))
	t.Cleanup(srv.Close)
	a, err = newApp(t.Context(), db, srv.URL, bytes.Repeat([]byte("k"), 32))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// browser is somebody at a browser.
type browser struct {
	t *testing.T
	a *app
	c *http.Client
}

func newBrowser(t *testing.T, a *app) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t, a, &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if !strings.HasPrefix(r.URL.String(), a.origin+"/") {
			return http.ErrUseLastResponse // the program's side
		}
		return nil
	}}}
}

// page is where the browser ends: at a page, or sent away to Location.
type answer struct {
	status   int
	path     string
	location *url.URL
	body     string
	header   http.Header
}

func (b *browser) do(method, target string, form url.Values) answer {
	b.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = b.a.origin + target
	}
	req, err := http.NewRequestWithContext(b.t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.c.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	got := answer{resp.StatusCode, resp.Request.URL.Path, nil, string(text), resp.Header}
	if l, err := resp.Location(); err == nil {
		got.location = l
	}
	return got
}

func (b *browser) get(target string) answer { b.t.Helper(); return b.do(http.MethodGet, target, nil) }

func (b *browser) post(target string, pairs ...string) answer {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return b.do(http.MethodPost, target, form)
}

// hidden reads a hidden field, or whatever else has a name and a value.
func (a answer) hidden(t *testing.T, name string) string {
	t.Helper()
	m := regexp.MustCompile(`name="` + name + `" value="([^"]*)"`).FindStringSubmatch(a.body)
	if m == nil {
		t.Fatalf("no field %s in:\n%s", name, a.body)
	}
	return strings.ReplaceAll(strings.ReplaceAll(m[1], "&amp;", "&"), "&#43;", "+")
}

func (b *browser) signUp(name string) {
	b.t.Helper()
	if got := b.post("/signup", "username", name, "password", "correct horse"); got.status != http.StatusOK || got.path != "/" {
		b.t.Fatalf("sign-up: %d at %s\n%s", got.status, got.path, got.body)
	}
}

// program registers a program and returns x/oauth2's view of it.
func (b *browser) program(name string) *oauth2.Config {
	b.t.Helper()
	got := b.post("/programs", "name", name, "redirect_uri", "http://127.0.0.1:9999/callback")
	m := regexp.MustCompile(`<dd><code>([^<]+)</code></dd>`).FindAllStringSubmatch(got.body, -1)
	if got.status != http.StatusCreated || len(m) != 2 {
		b.t.Fatalf("register a program: %d\n%s", got.status, got.body)
	}
	return &oauth2.Config{
		ClientID: m[0][1], ClientSecret: m[1][1], RedirectURL: "http://127.0.0.1:9999/callback", Scopes: []string{"notes"},
		Endpoint: oauth2.Endpoint{AuthURL: b.a.origin + "/auth/oauth/authorize", TokenURL: b.a.origin + "/auth/oauth/token", AuthStyle: oauth2.AuthStyleInHeader},
	}
}

// notes is what a program gets from the API.
func notes(t *testing.T, a *app, client *http.Client) (int, []string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.origin+"/api/notes", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body struct{ Notes []string }
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, body.Notes
}

// From nothing to somebody else's notes, and back: sign up, register a program,
// let it in, read, take it back.
func TestWholeStory(t *testing.T) {
	a := newTestApp(t)
	developer := newBrowser(t, a)
	developer.signUp("dora")
	conf := developer.program("Note printer")
	verifier := oauth2.GenerateVerifier()
	target := conf.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier))

	// A reader who is not signed in is sent to the app's own sign-in page, and
	// from there, here by signing up, to the app's own consent page.
	reader := newBrowser(t, a)
	signIn := reader.get(target)
	if signIn.path != "/login" || !strings.Contains(signIn.body, "Note printer") {
		t.Fatalf("got %s\n%s", signIn.path, signIn.body)
	}
	back := signIn.hidden(t, "return_to")
	consent := reader.post("/signup", "username", "rita", "password", "correct horse", "return_to", back)
	if consent.path != "/auth/consent" || !strings.Contains(consent.body, "Let “Note printer” in?") || !strings.Contains(consent.body, "Margin notes") {
		t.Fatalf("got %s\n%s", consent.path, consent.body)
	}
	reader.post("/notes", "text", "buy milk")
	done := reader.post("/auth/consent", "csrf_token", consent.hidden(t, "csrf_token"), "consent_token", consent.hidden(t, "consent_token"), "decision", "allow")
	if done.location == nil || done.location.Query().Get("code") == "" || done.location.Query().Get("iss") != a.origin+"/auth" {
		t.Fatalf("got %d %v\n%s", done.status, done.location, done.body)
	}
	token, err := conf.Exchange(t.Context(), done.location.Query().Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	client := conf.Client(t.Context(), token)
	if status, got := notes(t, a, client); status != http.StatusOK || len(got) != 1 || got[0] != "buy milk" {
		t.Errorf("the API answered %d %v", status, got)
	}

	// Authorized apps: hers has it, the developer's does not.
	if page := developer.get("/apps"); strings.Contains(page.body, "Note printer") {
		t.Error("the developer has let nobody in")
	}
	page := reader.get("/apps")
	if !strings.Contains(page.body, "Note printer") || !strings.Contains(page.body, "Your notes") {
		t.Errorf("authorized apps:\n%s", page.body)
	}
	app := page.hidden(t, "app")
	developer.post("/apps/revoke", "app", app) // not theirs
	if status, _ := notes(t, a, client); status != http.StatusOK {
		t.Errorf("somebody else took it back: %d", status)
	}
	if page = reader.post("/apps/revoke", "app", app); strings.Contains(page.body, "Note printer") {
		t.Error("it is still listed")
	}
	if status, _ := notes(t, a, client); status != http.StatusUnauthorized {
		t.Errorf("after that the API answered %d", status)
	}
	token.Expiry = time.Now().Add(-time.Hour)
	if _, err := conf.TokenSource(t.Context(), token).Token(); err == nil {
		t.Error("after that the token can be refreshed")
	}
}

func TestDenied(t *testing.T) {
	a := newTestApp(t)
	b := newBrowser(t, a)
	b.signUp("dora")
	conf := b.program("Note printer")
	consent := b.get(conf.AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
	done := b.post("/auth/consent", "csrf_token", consent.hidden(t, "csrf_token"), "consent_token", consent.hidden(t, "consent_token"), "decision", "deny")
	if done.location == nil || done.location.Query().Get("error") != "access_denied" {
		t.Errorf("got %d %v", done.status, done.location)
	}
}

// A program and the app's row of it are registered together, or not at all.
func TestRegisterIsOneTransaction(t *testing.T) {
	a := newTestApp(t)
	b := newBrowser(t, a)
	b.signUp("dora")
	count := func() (clients int, rows int64) {
		page, err := a.registry.List(t.Context(), oauthreg.ListQuery{Count: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.db.Model(&program{}).Count(&rows).Error; err != nil {
			t.Fatal(err)
		}
		return page.Total, rows
	}
	b.program("One")
	for _, tt := range []struct{ name, redirectURI, says string }{
		{"One", "http://127.0.0.1:9999/callback", "already"},       // the app says no, after the client was made
		{"Two", "http://example.com/callback", "redirect_uri"},     // the registry says no
		{"Three", "https://example.com/#fragment", "redirect_uri"}, // and again
	} {
		got := b.post("/programs", "name", tt.name, "redirect_uri", tt.redirectURI)
		if got.status != http.StatusUnprocessableEntity || !strings.Contains(got.body, tt.says) {
			t.Errorf("%s: got %d\n%s", tt.name, got.status, got.body)
		}
		if clients, rows := count(); clients != 1 || rows != 1 {
			t.Errorf("%s: %d clients and %d rows, want 1 and 1", tt.name, clients, rows)
		}
	}
	if records, err := a.registry.Audit(t.Context(), oauthreg.AuditQuery{Action: "client.registered"}); err != nil || len(records) != 1 || records[0].Actor.Kind != "user" {
		t.Errorf("audit: %+v, %v", records, err)
	}
}

func TestSignInPage(t *testing.T) {
	a := newTestApp(t)
	b := newBrowser(t, a)
	b.signUp("dora")
	b.post("/logout")
	if got := b.get("/"); got.path != "/login" {
		t.Errorf("after sign-out: %s", got.path)
	}
	if got := b.post("/login", "username", "dora", "password", "wrong password"); got.status != http.StatusUnprocessableEntity || strings.Contains(got.body, "wrong password") {
		t.Errorf("wrong password: %d\n%s", got.status, got.body)
	}
	if got := b.post("/signup", "username", "dora", "password", "correct horse"); got.status != http.StatusUnprocessableEntity {
		t.Errorf("name taken: %d", got.status)
	}
	for _, evil := range []string{"https://evil.example/", "//evil.example/auth/", "/\\evil.example", "/auth/\\evil", "javascript:alert(1)", "/auth", "evil"} {
		if got := returnTo(evil); got != "/" {
			t.Errorf("return_to %q leads to %q", evil, got)
		}
	}
	if got := b.post("/login", "username", "dora", "password", "correct horse", "return_to", "https://evil.example/"); got.path != "/" || got.location != nil {
		t.Errorf("got %s %v", got.path, got.location)
	}
	// Forms of other sites are refused.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.origin+"/notes", strings.NewReader("text=x"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "https://evil.example")
	resp, err := b.c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("another site's form: %d", resp.StatusCode)
	}
}

// The API asks for a token, and says where one is to be had.
func TestAPIChallenge(t *testing.T) {
	a := newTestApp(t)
	resp := newBrowser(t, a).get("/api/notes")
	challenge := resp.header.Get("WWW-Authenticate")
	if resp.status != http.StatusUnauthorized || !strings.Contains(challenge, "/.well-known/oauth-protected-resource/auth") {
		t.Errorf("got %d %s", resp.status, challenge)
	}
	m := regexp.MustCompile(`resource_metadata="([^"]+)"`).FindStringSubmatch(challenge)
	if doc := newBrowser(t, a).get(m[1]); doc.status != http.StatusOK || !strings.Contains(doc.body, a.origin+"/auth") {
		t.Errorf("metadata: %d %s", doc.status, doc.body)
	}
}

// The program runs, says where it listens, and ends.
func TestRun(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	file := filepath.Join(t.TempDir(), "notes.db")
	for range 2 { // the second start finds database and key
		r, w := io.Pipe()
		done := make(chan error, 1)
		ctx, stop := context.WithCancel(ctx)
		go func() { done <- run(ctx, []string{"-addr", "127.0.0.1:0", "-db", file}, w) }()
		line := make([]byte, 256)
		n, err := r.Read(line)
		if err != nil || !strings.HasPrefix(string(line[:n]), "listening on http://127.0.0.1:") {
			t.Fatalf("got %q, %v", line[:n], err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	stop()
	if err := run(t.Context(), []string{"-nonsense"}, io.Discard); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
