package handlers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// An administrator at headless Chromium walks through every page of the console,
// on a phone and at a desk, in light and dark; axe-core finds nothing.
func TestBrowserConsole(t *testing.T) {
	chromium := needsBrowser(t)
	t.Parallel()
	dir := artifacts()
	c := newConsole(t, envOptions{base: "/auth"})
	e := c.env

	names := []string{"Garden Planner", "Ledger & Sons", "Warehouse Scanner", "Night Reports", "Fleet Map", "Support Desk"}
	for i := range 28 {
		e.register(with(webClient(), func(c *oauthreg.Client) {
			c.Name = names[i%len(names)]
			if i >= len(names) {
				c.Name += fmt.Sprintf(" %d", i)
			}
			c.Verified, c.FirstParty = i%5 == 0, i%7 == 3
			c.Description = "Runs in two regions.\nOwned by the platform team."
		}))
	}
	suspended := e.register(with(machineClient(), func(c *oauthreg.Client) { c.Name = "Old Importer" }))
	must(e.reg.Suspend(context.Background(), oauthreg.ByID(suspended.Client.ID)))
	public := e.register(publicClient())
	for _, user := range [][2]string{{"alice", "wonderland"}, {"alice", "wonderland"}, {"bob", "builder"}} {
		b := e.browser()
		b.username, b.password = user[0], user[1]
		target, verifier := e.authorizeURL(public.Client.ClientID, "scope", "openid profile read", "resource", e.issuer+"/api")
		a := b.walk(target)
		e.redeem(public, a.param("code"), verifier)
	}
	// Something for the charts to show.
	for i := range 40 {
		if i%5 == 0 {
			e.clock.add(60e9)
		}
		for range i % 7 {
			c.figures.Hear(context.Background(), oauthreg.Event{Type: oauthreg.EventTokenIssued})
			_, _ = e.http.Client().Get(e.issuer + "/healthz")
		}
		if i%3 == 0 {
			c.figures.Hear(context.Background(), oauthreg.Event{Type: oauthreg.EventRefused, Error: []string{"invalid_grant", "invalid_client", "invalid_grant", "invalid_request"}[i%4]})
		}
	}

	runNode(t, "console.test.mjs", "playwright-core",
		"OAUTHREG_CONSOLE="+e.issuer+"/admin", "OAUTHREG_KEY="+adminKey, "OAUTHREG_ARTIFACTS="+dir, "CHROMIUM="+chromium)
	if strings.Contains(e.log.String(), "level=ERROR") || strings.Contains(e.log.String(), "level=WARN") {
		t.Errorf("the server logged an error:\n%s", e.log.String())
	}
	wantScreenshots(t, dir, "console-*.png")
}

// consoleEnv is an admin console on an authorization server.
type consoleEnv struct {
	*env
	figures *handlers.Figures
	at      string
}

func newConsole(t testing.TB, opts envOptions) *consoleEnv {
	c := new(consoleEnv)
	config := opts.config
	opts.config = func(cfg *handlers.Config) {
		c.figures = handlers.NewFigures(cfg.Now)
		cfg.Events = c.figures.Hear
		if config != nil {
			config(cfg)
		}
	}
	opts.handler = func(e *env) http.Handler {
		console := e.server.Console(handlers.ConsoleConfig{
			Key: adminKey, Home: handlers.Principal{UserID: homeUser, OrgID: homeOrg, ProjectID: homeProject}, Figures: c.figures,
		})
		mux := http.NewServeMux()
		mux.Handle("/", c.figures.Count(e.server))
		mux.Handle(e.opts.base+"/admin", console)
		mux.Handle(e.opts.base+"/admin/", console)
		return mux
	}
	c.env = newEnv(t, opts)
	c.at = c.issuer + "/admin"
	c.secrets.Add("admin key", adminKey)
	return c
}

// admin is somebody at a browser in the console.
type admin struct {
	*browser
	c *consoleEnv
}

func (c *consoleEnv) stranger() *admin { return &admin{c.env.browser(), c} }

// signedIn is an administrator.
func (c *consoleEnv) signedIn() *admin {
	c.t.Helper()
	a := c.stranger()
	if got := a.send("/sign-in", url.Values{"key": {adminKey}}); got.status != http.StatusSeeOther {
		c.t.Fatalf("sign-in: %d\n%s", got.status, got.body)
	}
	return a
}

func (a *admin) get(path string) *answer {
	a.e.t.Helper()
	return a.do(http.MethodGet, a.c.at+path, nil)
}

// token is that of a form on a page.
func (a *admin) token(path string) string {
	a.e.t.Helper()
	got := a.get(path)
	_, rest, _ := strings.Cut(got.body, `name="csrf_token" value="`)
	token, _, found := strings.Cut(rest, `"`)
	if !found {
		a.e.t.Fatalf("%s has no form: %d\n%s", path, got.status, got.body)
	}
	return token
}

// send sends a form with the token of a form of this browser, unless it has one.
func (a *admin) send(path string, form url.Values) *answer {
	a.e.t.Helper()
	if form == nil {
		form = url.Values{}
	}
	if !form.Has("csrf_token") {
		from := "/"
		if path == "/sign-in" {
			from = path
		}
		form.Set("csrf_token", a.token(from))
	}
	return a.do(http.MethodPost, a.c.at+path, form)
}
