package handlers_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// People at headless Chromium walk through every page, on a phone and at a desk,
// in light and dark; axe-core finds nothing, and no script is needed.
//
// If $OAUTHREG_ARTIFACTS names a folder, screenshots of all pages go there.
func TestBrowser(t *testing.T) {
	chromium := needsBrowser(t)
	t.Parallel()
	dir := artifacts()
	e := newEnv(t, envOptions{base: "/auth", config: func(c *handlers.Config) {
		c.Users, c.Limits = anybody{}, throttled{}
		c.Scopes = []handlers.Scope{
			{Name: "openid"}, {Name: "profile"}, {Name: "email"}, {Name: "offline_access"}, {Name: "admin"},
			{Name: "orders", Title: "See your orders", Description: "What you bought, and when."},
		}
		c.Registration = handlers.RegistrationConfig{Mode: handlers.RegistrationOpen}
	}})
	app := httptest.NewServer(applicationPages(e))
	t.Cleanup(app.Close)
	back := app.URL + "/cb"

	client := func(name string, change func(*oauthreg.Client)) string {
		return e.register(with(publicClient(), func(c *oauthreg.Client) {
			c.Name, c.RedirectURIs = name, []string{back}
			c.Scopes = []string{"openid", "profile", "email", "orders", "offline_access"}
			c.ClientURI, c.TOSURI, c.PolicyURI = app.URL+"/", app.URL+"/terms", app.URL+"/privacy"
			if change != nil {
				change(c)
			}
		})).Client.ClientID
	}
	self := e.registerByHTTP(string(must(json.Marshal(map[string]any{
		"client_name": "Quick Notes", "application_type": "native", "token_endpoint_auth_method": "none",
		"grant_types": []string{"authorization_code", "refresh_token"}, "redirect_uris": []string{back}, "scope": "openid profile offline_access",
	}))))
	clients := must(json.Marshal(map[string]string{
		"plain":    client("Garden Planner", nil),
		"verified": client("Ledger & Sons", func(c *oauthreg.Client) { c.Verified = true }),
		"admin": client(strings.Repeat("Fleet Administration Console ", 3), func(c *oauthreg.Client) {
			c.Scopes = []string{"openid", "admin"}
		}),
		"self": self.str("client_id"),
	}))

	runNode(t, "browser.test.mjs", "playwright-core",
		"OAUTHREG_ISSUER="+e.issuer, "OAUTHREG_CLIENTS="+string(clients), "OAUTHREG_REDIRECT="+back,
		"OAUTHREG_LATER="+app.URL+"/later", "OAUTHREG_POLICED="+app.URL+"/policed",
		"OAUTHREG_PASSWORD="+anybodysPassword, "OAUTHREG_THROTTLED="+throttledUser,
		"OAUTHREG_ARTIFACTS="+dir, "CHROMIUM="+chromium)
	if strings.Contains(e.log.String(), "level=ERROR") || strings.Contains(e.log.String(), "level=WARN") {
		t.Errorf("the server logged an error:\n%s", e.log.String())
	}
	wantScreenshots(t, dir, "*.png")
}

// needsBrowser returns the path of Chromium. Like runNode it skips where
// something is not installed, and fails if OAUTHREG_INTEROP is set.
func needsBrowser(t *testing.T) string {
	t.Helper()
	skip := t.Skip
	if os.Getenv("OAUTHREG_INTEROP") != "" {
		skip = t.Fatal
	}
	if _, err := os.Stat(filepath.Join("testdata", "interop", "node_modules", "axe-core")); err != nil {
		skip("the npm package axe-core is not installed: run npm ci in handlers/testdata/interop")
	}
	path, err := exec.LookPath(cmp.Or(os.Getenv("CHROMIUM"), "chromium"))
	if err != nil {
		skip("Chromium is not installed; the variable CHROMIUM may name it")
	}
	return must(filepath.Abs(path))
}

// artifacts is the folder that screenshots go to, empty if nobody wants them.
func artifacts() string {
	dir := os.Getenv("OAUTHREG_ARTIFACTS")
	if dir != "" {
		dir = must(filepath.Abs(dir))
	}
	return dir
}

func wantScreenshots(t *testing.T, dir, pattern string) {
	t.Helper()
	if dir == "" {
		return
	}
	shots := must(filepath.Glob(filepath.Join(dir, pattern)))
	if len(shots) == 0 {
		t.Error("there is no screenshot")
	}
	t.Logf("%d screenshots in %s", len(shots), dir)
}

// applicationPages is the server of the applications: where they get their
// answers, and two helpers for the walks. Another origin, as it is in life.
func applicationPages(e *env) http.Handler {
	page := func(w http.ResponseWriter, title string) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><head><meta name="color-scheme" content="light dark">`+
			`<link rel="icon" href="data:,"><title>%s</title></head><body><main><h1>%[1]s</h1></main></body></html>`, title)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /cb", func(w http.ResponseWriter, _ *http.Request) { page(w, "Back in the app") })
	// Everything that is pending expires; sessions stay.
	mux.HandleFunc("POST /later", func(http.ResponseWriter, *http.Request) { e.clock.add(20 * time.Minute) })
	// A page with a policy that it violates, to see that a violation is noticed.
	mux.HandleFunc("GET /policed", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprint(w, `<!doctype html><html><body><img src="/x.png"><p style="color:red">Text</p></body></html>`)
	})
	return mux
}

const (
	anybodysPassword = "wonderland"
	throttledUser    = "mallory"
)

// anybody lets everybody in who knows the one password, each as themselves.
type anybody struct{}

func (anybody) CheckPassword(_ context.Context, username, password string) (string, bool, error) {
	return "sub-" + username, password == anybodysPassword, nil
}

// throttled has had too many tries of one user.
type throttled struct{}

func (throttled) Allow(_ context.Context, _ handlers.LimitKind, key string) (time.Duration, bool) {
	return time.Minute, key != "user "+throttledUser
}

func (throttled) Failed(context.Context, handlers.LimitKind, string) {}
