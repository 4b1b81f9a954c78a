package handlers

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

//go:embed templates/console/*.html templates/console/console.css
var consoleTemplates embed.FS

// ConsoleConfig is what the admin console is made of.
type ConsoleConfig struct {
	// Key is the admin key that people sign in with: the same, say, as that of
	// [Server.AdminKey]. Required.
	Key string
	// Home owns what is registered here: its OrgID, ProjectID and UserID. The
	// console itself has rights over all organizations.
	Home Principal
	// Actor is whom the audit log names; the zero value means the admin
	// "admin console". RequestID and Address are filled in by the server.
	Actor oauthreg.Actor
	// Path is the absolute path below which the console is mounted, without a
	// trailing slash; requests must arrive with it. Empty means <issuer>/admin.
	Path string
	// Sessions bounds how long somebody stays signed in. Zero means half an hour
	// without a request, and 8 hours in all.
	Sessions SessionLifetimes
	// Figures are drawn on the first page; nil means none.
	Figures *Figures
}

const (
	consoleIdle     = 30 * time.Minute
	consoleAbsolute = 8 * time.Hour
	consoleName     = "admin console"
	consolePurpose  = "console" // of the forms behind the sign-in
	consoleSignIn   = "console sign-in"
)

// Console serves the admin console: pages for people who have the admin key, to
// find, register, change, explain and delete clients, to revoke grants, to
// rotate keys, and to read the audit log. It needs no script. Mount it at its
// path and below:
//
//	console := server.Console(cfg)
//	mux.Handle("/admin", console)
//	mux.Handle("/admin/", console)
//
// Sessions are in the memory of the process and end with it: of several servers
// behind one address, a browser has to stay at one.
//
// It panics if cfg has no Key.
func (s *Server) Console(cfg ConsoleConfig) http.Handler {
	if cfg.Key == "" {
		panic("handlers: ConsoleConfig.Key is empty")
	}
	c := &console{s: s, cfg: cfg, path: s.base + "/admin", key: sha256.Sum256([]byte(cfg.Key)), mux: http.NewServeMux()}
	if cfg.Path != "" {
		c.path = strings.TrimSuffix(cfg.Path, "/")
	}
	if c.cfg.Actor.Kind == "" {
		c.cfg.Actor = oauthreg.Actor{Kind: "admin", ID: consoleName}
	}
	c.sessions = newConsoleSessions(s.now, cmp.Or(cfg.Sessions.Idle, consoleIdle), cmp.Or(cfg.Sessions.Absolute, consoleAbsolute))
	c.parse()
	c.routes()
	return c.mux
}

type console struct {
	s        *Server
	cfg      ConsoleConfig
	path     string
	key      [sha256.Size]byte
	mux      *http.ServeMux
	sessions *consoleSessions

	pages map[string]*template.Template // by file name without extension
	style *pageStyle
}

// routes is everything that the console has.
func (c *console) routes() {
	const get, post = http.MethodGet, http.MethodPost

	c.open("/sign-in", c.signIn, get, post)
	c.page("/sign-out", c.signOut, post)

	if c.path != "" {
		c.page("", c.overview, get)
	}
	c.page("/{$}", c.overview, get)

	c.page("/clients", c.listClients, get)
	c.page("/clients/new", c.newClient, get, post)
	c.page("/clients/{id}", c.showClient, get)
	c.page("/clients/{id}/edit", c.editClient, get, post)
	c.page("/clients/{id}/suspend", c.switchClient(c.s.reg.Suspend, "suspended"), post)
	c.page("/clients/{id}/resume", c.switchClient(c.s.reg.Resume, "resumed"), post)
	c.page("/clients/{id}/delete", c.deleteClient, get, post)
	c.page("/clients/{id}/secrets", c.rotateSecret, post)
	c.page("/clients/{id}/secrets/{secret}/revoke", c.revokeSecret, get, post)
	c.page("/clients/{id}/explain", c.explain, get, post)

	c.page("/grants", c.listGrants, get)
	c.page("/grants/revoke", c.revokeGrants, get, post)

	c.page("/keys", c.listKeys, get)
	c.page("/keys/rotate", c.rotateKey, post)
	c.page("/keys/withdraw", c.withdrawKey, get, post)

	c.page("/audit", c.audit, get)

	c.open("/", func(http.ResponseWriter, *http.Request) error { return notFound() }, get, post)
}

// visit is a request of somebody who is signed in.
type visit struct {
	session *consoleSession
	form    url.Values // of a POST, which came from a form of this session
}

type consoleEndpoint func(w http.ResponseWriter, r *http.Request, v *visit) error

// open mounts what needs no sign-in.
func (c *console) open(path string, e endpoint, methods ...string) {
	c.mux.Handle(c.path+path, c.s.handle("console", only(methods, e), c.fail))
}

// page mounts what is for people who are signed in; others are sent to the
// sign-in. A POST is acted upon only with the token of a form of the session.
func (c *console) page(path string, e consoleEndpoint, methods ...string) {
	c.open(path, func(w http.ResponseWriter, r *http.Request) error {
		session := c.sessions.find(c.cookieOf(r))
		if session == nil {
			c.toSignIn(w, r)
			return nil
		}
		v := &visit{session: session}
		if r.Method == http.MethodPost {
			var err error
			if v.form, err = consoleForm(w, r); err != nil {
				return err
			}
			if err := c.s.checkPost(r, session.id, consolePurpose, v.form.Get("csrf_token")); err != nil {
				return err
			}
		}
		a := c.cfg.Actor
		a.RequestID, a.Address = requestID(r.Context()), c.s.clientAddress(r)
		return managementError(e(w, r.WithContext(oauthreg.WithActor(r.Context(), a)), v))
	}, methods...)
}

// maxConsoleForm holds the longest client there can be, in bytes.
const maxConsoleForm = 1 << 20

// consoleForm reads a form from the body alone. Fields may be repeated.
func consoleForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	text, err := formText(w, r, maxConsoleForm)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(text)
	if err != nil {
		return nil, invalidRequest("The form could not be read.")
	}
	return form, nil
}

// consoleView is the dot of every template.
type consoleView struct {
	Style  template.CSS
	Base   string
	Title  string
	Here   string // which entry of the menu this is
	Failed bool   // a form is shown again, with what is wrong
	Done   string // what was just done
	Now    time.Time
	Data   any

	c       *console
	session *consoleSession
}

// SignedIn reports whether the menu is there.
func (v *consoleView) SignedIn() bool { return v.session != nil }

// Token is a new token for a form; no two are alike.
func (v *consoleView) Token() string {
	if v.session == nil {
		return ""
	}
	return v.c.s.csrfToken(v.session.id, consolePurpose)
}

// Time writes a moment, Text what strangers wrote.
func (v *consoleView) Time(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04:05 UTC") }

// Stamp is the moment for programs.
func (v *consoleView) Stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Text is pageData.Text, for single lines.
func (v *consoleView) Text(s string) string { return displayText(s, 2*maxShown) }

// Name is what to call a client.
func (v *consoleView) Name(c *oauthreg.Client) string {
	if n := displayText(c.Name, maxShown); n != "" {
		return n
	}
	return c.ClientID
}

// Initial and Tone are those of the pages for users.
func (v *consoleView) Initial(c *oauthreg.Client) string { return initial(v.Name(c)) }

// Tone numbers the color of a client.
func (v *consoleView) Tone(c *oauthreg.Client) uint32 { return tone(c.ClientID) }

// Link is the path of a client's page.
func (v *consoleView) Link(id string) string { return v.Base + "/clients/" + url.PathEscape(id) }

// consoleDone are what was just done, by the word in the address.
var consoleDone = map[string]string{
	"saved":     "The changes are saved.",
	"unchanged": "Nothing was changed.",
	"suspended": "The client is suspended: it gets nothing, and its tokens are inactive.",
	"resumed":   "The client works again.",
	"deleted":   "The client is deleted, with its secrets, grants and tokens.",
	"secret":    "The secret is revoked.",
	"revoked":   "Access is revoked, with all codes and tokens.",
	"nothing":   "There was nothing left to revoke.",
	"rotated":   "A new key signs from now on. The one before it stays published until it expires.",
	"withdrawn": "The key is withdrawn: nothing it signed is accepted any more.",
}

// parse reads the templates. They are part of the program, and tested.
func (c *console) parse() {
	read := func(name string) string {
		b, err := consoleTemplates.ReadFile("templates/console/" + name)
		if err != nil {
			panic("handlers: " + err.Error())
		}
		return string(b)
	}
	common, err := embeddedTemplates.ReadFile("templates/" + styleSheet)
	if err != nil {
		panic("handlers: " + err.Error())
	}
	css := string(common) + read("console.css")
	c.style = newPageStyle(css)
	shared := template.Must(template.New("layout").Parse(read("layout.html")))
	c.pages = map[string]*template.Template{}
	for _, name := range []string{"sign-in", "error", "overview", "clients", "client", "edit", "secret", "confirm", "explain", "grants", "keys", "audit"} {
		c.pages[name] = template.Must(template.Must(shared.Clone()).New(name).Parse(read(name + ".html")))
	}
}

// show writes a page, or nothing at all when it cannot be made.
func (c *console) show(w http.ResponseWriter, r *http.Request, status int, session *consoleSession, name string, view consoleView) error {
	view.c, view.session, view.Base, view.Style, view.Now = c, session, c.path, c.style.css, c.s.now().UTC()
	if view.Done == "" {
		view.Done = consoleDone[r.URL.Query().Get("done")]
	}
	var b bytes.Buffer
	if err := c.pages[name].ExecuteTemplate(&b, "page", &view); err != nil {
		return serverError(fmt.Errorf("console page: %w", err))
	}
	h := w.Header()
	c.s.setPageHeaders(h, "")
	allowStyle(h, c.style.source)
	h.Set("Cross-Origin-Opener-Policy", "same-origin") // no client opens these pages
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", "en")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // the browser went away; nothing to tell it
	return nil
}

// consoleError is the dot of the error page.
type consoleError struct {
	Status         int
	Code, Text, ID string
}

// fail is the failer of the console: a page of its own.
func (c *console) fail(s *Server, w http.ResponseWriter, r *http.Request, e *Error) {
	setRetryAfter(w.Header(), e)
	title := "This cannot be done"
	switch {
	case e.Status == http.StatusNotFound:
		title = "There is nothing here"
	case e.Status >= http.StatusInternalServerError:
		title = "The server could not do that"
	}
	view := consoleView{Title: title, Data: consoleError{Status: e.Status, Code: e.Code, Text: e.Description, ID: requestID(r.Context())}}
	if err := c.show(w, r, e.Status, c.sessions.find(c.cookieOf(r)), "error", view); err != nil {
		s.log.ErrorContext(r.Context(), "error page", "err", err)
	}
}

// to sends the browser to a page of the console, after a form (RFC 9110 §15.4.4).
func (c *console) to(w http.ResponseWriter, path string) error {
	w.Header().Set("Location", c.path+path)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// toSignIn sends the browser to the sign-in, and from there back to a page that it
// wanted to see. A form that came too late is not kept.
func (c *console) toSignIn(w http.ResponseWriter, r *http.Request) {
	q := url.Values{}
	if r.Method == http.MethodPost {
		q.Set("late", "1")
	} else if next := strings.TrimPrefix(r.URL.EscapedPath(), c.path); next != "" && next != "/" {
		q.Set("next", next)
	}
	path := "/sign-in"
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	_ = c.to(w, path)
}

// nextPage is what a sign-in goes on to: a path below the console, whatever is
// asked for.
func (c *console) nextPage(next string) string {
	u, err := url.Parse(next)
	if err != nil || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || u.Host != "" || u.RawQuery != "" || u.Fragment != "" ||
		strings.ContainsAny(next, "\\\r\n") || strings.Contains(u.Path, "..") {
		return ""
	}
	return u.EscapedPath()
}

type consoleSignInPage struct {
	Action, Next, CSRF      string
	Late, Wrong, Throttled  bool
	Ended                   bool
	RetryAfter, IdleMinutes int
}

// signIn shows the sign-in, and takes the admin key. Whoever has it gets a new
// session, whatever the browser had before.
func (c *console) signIn(w http.ResponseWriter, r *http.Request) error {
	browser := c.s.browser(w, r)
	page := consoleSignInPage{Action: c.path + "/sign-in", IdleMinutes: int(c.sessions.idle / time.Minute)}
	show := func(status int) error {
		page.CSRF = c.s.csrfToken(browser, consoleSignIn)
		return c.show(w, r, status, nil, "sign-in", consoleView{Title: "Sign in", Failed: page.Wrong || page.Throttled, Data: page})
	}
	if r.Method == http.MethodGet {
		q := r.URL.Query()
		page.Next, page.Late, page.Ended = c.nextPage(q.Get("next")), q.Has("late"), q.Has("ended")
		return show(http.StatusOK)
	}
	form, err := consoleForm(w, r)
	if err != nil {
		return err
	}
	if err := c.s.checkPost(r, browser, consoleSignIn, form.Get("csrf_token")); err != nil {
		return err
	}
	page.Next = c.nextPage(form.Get("next"))
	ctx, limit := r.Context(), "console "+c.s.clientAddress(r)
	if after, ok := c.s.allow(ctx, LimitSignIn, limit); !ok {
		page.Throttled = true
		setRetryAfter(w.Header(), slowDown(after))
		return show(http.StatusTooManyRequests)
	}
	got := sha256.Sum256([]byte(form.Get("key")))
	if !hmac.Equal(got[:], c.key[:]) {
		c.s.limits.Failed(ctx, LimitSignIn, limit)
		c.s.emit(ctx, oauthreg.Event{Type: oauthreg.EventSignInFailed, Detail: consoleName})
		page.Wrong = true
		return show(http.StatusForbidden)
	}
	c.sessions.end(c.cookieOf(r))
	cookie := c.cookie()
	cookie.Value = c.sessions.start()
	http.SetCookie(w, cookie)
	c.s.emit(ctx, oauthreg.Event{Type: oauthreg.EventSignedIn, Subject: consoleName, Detail: consoleName})
	return c.to(w, page.Next)
}

// signOut ends the session.
func (c *console) signOut(w http.ResponseWriter, r *http.Request, _ *visit) error {
	c.sessions.end(c.cookieOf(r))
	cookie := c.cookie()
	cookie.MaxAge = -1
	http.SetCookie(w, cookie)
	return c.to(w, "/sign-in?ended=1")
}

const consoleCookie = "console" // who signed in with the admin key

// cookie is one without a value. Other sites' links and forms come without it.
func (c *console) cookie() *http.Cookie {
	cookie := c.s.cookie(consoleCookie)
	cookie.SameSite = http.SameSiteStrictMode
	if !c.s.secure {
		cookie.Path = cmp.Or(c.path, "/")
	}
	return cookie
}

func (c *console) cookieOf(r *http.Request) string {
	if found := r.CookiesNamed(c.s.cookieName(consoleCookie)); len(found) > 0 {
		return found[0].Value
	}
	return ""
}

// pager is where a list stands.
type pager struct {
	Page, Pages, Total int
	Newer, Older       string // links, empty at the ends
}

const (
	consolePageSize = 25
	maxConsolePage  = 100_000
)

// pageNumber reads the parameter page, from 1.
func pageNumber(q url.Values) int {
	n, err := strconv.Atoi(q.Get("page"))
	if err != nil || n < 1 {
		return 1
	}
	return min(n, maxConsolePage)
}

func (c *console) pager(path string, q url.Values, page, total int) pager {
	p := pager{Page: page, Pages: max(1, (total+consolePageSize-1)/consolePageSize), Total: total}
	at := func(n int) string {
		own := url.Values{}
		for name, values := range q {
			if name != "page" && name != "done" && len(values) > 0 && values[0] != "" {
				own.Set(name, values[0])
			}
		}
		own.Set("page", strconv.Itoa(n))
		return c.path + path + "?" + own.Encode()
	}
	if page > 1 {
		p.Newer = at(min(page-1, p.Pages))
	}
	if page < p.Pages {
		p.Older = at(page + 1)
	}
	return p
}

// confirmation is the dot of a page that asks before something is done for good.
type confirmation struct {
	Action, Cancel, Button string
	Lines                  []string
	Fields                 map[string]string
}

func (c *console) confirm(w http.ResponseWriter, r *http.Request, v *visit, here, title string, ask confirmation) error {
	return c.show(w, r, http.StatusOK, v.session, "confirm", consoleView{Title: title, Here: here, Data: ask})
}

// clientOf is the client that the path names, by its internal id.
func (c *console) clientOf(r *http.Request) (oauthreg.Client, error) {
	return c.s.reg.Get(r.Context(), oauthreg.ByID(r.PathValue("id")))
}

// named finds clients by their internal ids, each once.
type named map[string]*oauthreg.Client

// of is nil for a client that is gone.
func (n named) of(ctx context.Context, reg *oauthreg.Registry, id string) (*oauthreg.Client, error) {
	if found, ok := n[id]; ok {
		return found, nil
	}
	client, err := reg.Get(ctx, oauthreg.ByID(id))
	if errors.Is(err, oauthreg.ErrNotFound) {
		n[id] = nil
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n[id] = &client
	return &client, nil
}
