package handlers

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"html/template"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oauthreg/oauthreg/oauthreg"
)

//go:embed templates/*.html templates/pages.css
var embeddedTemplates embed.FS

// The files a renderer is made of. Each page is the layout with its own "title"
// and "content".
var (
	sharedTemplates = []string{layout, "brand.html", "parts.html"}
	pageTemplates   = []string{"login.html", "accounts.html", "consent.html", "error.html", "message.html", "apps.html"}
)

const (
	layout     = "layout.html"
	styleSheet = "pages.css"
)

// DefaultRenderer returns the pages that are built in: without scripts, web fonts
// or anything fetched from elsewhere; in English, German, French, Spanish and
// Chinese, by ui_locales and then by what the browser prefers.
//
// An application's initial stands where it has no logo, or none that is shown
// ([Config.SelfRegisteredLogos]).
func DefaultRenderer() Renderer {
	r, err := NewRenderer(nil)
	if err != nil {
		panic("handlers: " + err.Error()) // the built-in templates are tested
	}
	return r
}

// NewRenderer returns [DefaultRenderer] with single files replaced by those of
// the same name in override: layout.html, brand.html (what stands above every
// page), parts.html, login.html, accounts.html, consent.html, error.html, message.html,
// apps.html and pages.css. Texts are replaced one by one, and languages added, by
// catalogue/<language>.json, a flat JSON object like the ones in this package's
// folder catalogue. Every template is tried once; an error names the file.
//
// Templates are those of [html/template]. Their dot has the page's struct
// ([LoginPage], [AccountsPage], [ConsentPage], [ErrorPage], [MessagePage] or [AppsPage]) in
// .Page, and .T "key" "name" "value" for a text. Styles belong into pages.css:
// the Content-Security-Policy refuses style attributes, scripts and anything from
// another origin. A [Server] whose [Config.Renderer] this is serves pages.css, and
// layout.html links to it at .Sheet; where .Sheet is empty it writes .Style, the
// sheet itself, into a style element, as it may do always.
func NewRenderer(override fs.FS) (Renderer, error) {
	texts, err := loadCatalogue(override)
	if err != nil {
		return nil, err
	}
	read := func(name string) (string, error) {
		if override != nil {
			b, err := fs.ReadFile(override, name)
			if !errors.Is(err, fs.ErrNotExist) {
				return string(b), err
			}
		}
		b, err := fs.ReadFile(embeddedTemplates, "templates/"+name)
		return string(b), err
	}
	theirs, err := overridden(override)
	if err != nil {
		return nil, err
	}
	css, err := read(styleSheet)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", styleSheet, err)
	}
	if strings.Contains(strings.ToLower(css), "</style") {
		return nil, fmt.Errorf("%s: a style sheet cannot contain </style", styleSheet)
	}
	css = strings.ReplaceAll(css, "\r\n", "\n") // as browsers read it, before they hash it
	t := &templateRenderer{texts: texts, style: newPageStyle(css), pages: map[string]*template.Template{}}
	t.ownLayout = slices.Contains(theirs, layout)
	if !slices.ContainsFunc(theirs, func(name string) bool { return name != styleSheet }) {
		t.outlines = newOutlines()
	}
	shared := template.New("")
	for _, name := range sharedTemplates {
		text, err := read(name)
		if err == nil {
			_, err = shared.New(name).Parse(text)
		}
		if err != nil {
			return nil, fmt.Errorf("template %s: %w", name, err)
		}
	}
	for _, name := range pageTemplates {
		page, err := shared.Clone()
		if err != nil {
			return nil, err
		}
		text, err := read(name)
		if err == nil {
			_, err = page.New(name).Parse(text)
		}
		if err == nil {
			t.pages[name] = page
			_, err = t.in(t.texts.texts[0], name)
		}
		if err != nil {
			return nil, fmt.Errorf("template %s: %w", name, err)
		}
	}
	return t, nil
}

// overridden are the files of ours that override replaces. Those that replace nothing
// are refused: a misspelled name would go unnoticed.
func overridden(override fs.FS) (all []string, err error) {
	if override == nil {
		return nil, nil
	}
	for _, pattern := range []string{"*.html", "*.css"} {
		names, err := fs.Glob(override, pattern)
		if err != nil {
			return nil, fmt.Errorf("list templates: %w", err)
		}
		for _, name := range names {
			if name != styleSheet && !slices.Contains(sharedTemplates, name) && !slices.Contains(pageTemplates, name) {
				return nil, fmt.Errorf("template %s: there is no template of that name to replace", name)
			}
		}
		all = append(all, names...)
	}
	return all, nil
}

type templateRenderer struct {
	texts     *catalogue
	pages     map[string]*template.Template // by file name; never executed
	baked     sync.Map                      // of *template.Template by bakedPage
	style     *pageStyle
	ownLayout bool      // the host's, which may have the style sheet in it or link to it
	outlines  *outlines // nil when a template is the host's
}

// Login writes the sign-in page.
func (t *templateRenderer) Login(w http.ResponseWriter, r *http.Request, status int, p LoginPage) error {
	return t.write(w, r, "login.html", status, p.UILocales, p)
}

// Accounts writes the account chooser.
func (t *templateRenderer) Accounts(w http.ResponseWriter, r *http.Request, p AccountsPage) error {
	return t.write(w, r, "accounts.html", http.StatusOK, p.UILocales, p)
}

// Consent writes the consent page.
func (t *templateRenderer) Consent(w http.ResponseWriter, r *http.Request, status int, p ConsentPage) error {
	return t.write(w, r, "consent.html", status, p.UILocales, p)
}

// Error writes the error page.
func (t *templateRenderer) Error(w http.ResponseWriter, r *http.Request, p ErrorPage) error {
	return t.write(w, r, "error.html", p.Status, p.UILocales, p)
}

// Message writes a page that tells that something is done.
func (t *templateRenderer) Message(w http.ResponseWriter, r *http.Request, p MessagePage) error {
	if !slices.Contains([]string{"signed_in", "signed_out", "confirm_sign_out"}, p.Kind) {
		return fmt.Errorf("message page: no kind %q", p.Kind)
	}
	return t.write(w, r, "message.html", http.StatusOK, p.UILocales, p)
}

// Apps writes the account page.
func (t *templateRenderer) Apps(w http.ResponseWriter, r *http.Request, p AppsPage) error {
	return t.write(w, r, "apps.html", http.StatusOK, nil, p)
}

// write writes nothing at all when the page cannot be made.
func (t *templateRenderer) write(w http.ResponseWriter, r *http.Request, name string, status int, locales []string, page any) error {
	text := t.texts.choose(locales, r.Header.Get("Accept-Language"))
	body := takeBuffer()
	defer giveBuffer(body)
	sheet := infoOf(r.Context()).sheetOf(t.style)
	if err := t.render(body, name, text, sheet, page); err != nil {
		return fmt.Errorf("page: %w", err)
	}
	h := w.Header()
	h.Set("Content-Length", strconv.Itoa(body.Len())) // else net/http sends it in chunks
	if sheet == "" || t.ownLayout {
		allowStyle(h, t.style.source)
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", text.lang)
	w.WriteHeader(status)
	_, _ = w.Write(body.Bytes()) // the browser went away; nothing to tell it
	return nil
}

func (t *templateRenderer) render(to *bytes.Buffer, name string, text words, sheet string, page any) error {
	execute := func(to io.Writer, page any) error {
		ready, err := t.in(text, name)
		if err != nil {
			return err
		}
		return ready.ExecuteTemplate(to, layout, pageData{words: text, Sheet: sheet, Style: t.style.css, Page: page})
	}
	if t.outlines != nil {
		if done, err := t.outlines.write(to, name, text.lang, sheet, page, execute); done || err != nil {
			return err
		}
	}
	return execute(to, page)
}

// bakedPage names a page in one language.
type bakedPage struct{ lang, name string }

// in returns a page in one language, made when it is first needed.
func (t *templateRenderer) in(text words, name string) (*template.Template, error) {
	key := bakedPage{text.lang, name}
	if ready, ok := t.baked.Load(key); ok {
		return ready.(*template.Template), nil
	}
	ready, err := t.pages[name].Clone()
	if err != nil {
		return nil, err
	}
	if err := ready.ExecuteTemplate(io.Discard, layout, pageData{words: text, Style: t.style.css, Page: samplePages[name]}); err != nil {
		return nil, err
	}
	bake(ready, text, t.style.css)
	made, _ := t.baked.LoadOrStore(key, ready)
	return made.(*template.Template), nil
}

// pageData is the dot of every template. The methods are what templates may ask.
type pageData struct {
	words
	Sheet string       // where the style sheet is; empty: nowhere, so it goes into the page
	Style template.CSS // the style sheet
	Page  any
}

// Text is v as it may stand among our own words: in one line, of bounded length,
// without characters that are invisible or reorder what is around them.
func (pageData) Text(v string) string { return displayText(v, maxShown) }

// Name is what to call a client.
func (d pageData) Name(c ClientView) string {
	if n := displayText(c.Name, maxShown); n != "" {
		return n
	}
	if n := displayText(c.ClientID, maxShown); n != "" {
		return n
	}
	return d.T("app.unnamed")
}

// Initial is the letter that stands for a client, and Tone its color's number.
func (d pageData) Initial(c ClientView) string { return initial(d.Name(c)) }

func initial(name string) string {
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return "•"
}

// Tone numbers the color of a client: the same one every time.
func (pageData) Tone(c ClientView) uint32 { return tone(c.ClientID) }

func tone(of string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(of)) // never fails
	return h.Sum32() % 6
}

// User, UserInitial and UserTone are Name, Initial and Tone of a person.
func (d pageData) User(a AccountChoice) string {
	if n := displayText(a.Username, maxShown); n != "" {
		return n
	}
	return d.T("accounts.unnamed")
}

func (d pageData) UserInitial(a AccountChoice) string { return initial(d.User(a)) }

func (pageData) UserTone(a AccountChoice) uint32 { return tone(a.Username) }

// Link is uri if it is a web page, otherwise empty.
func (pageData) Link(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return uri
}

// links are the web pages of a client.
type links struct{ Site, Terms, Policy string }

// Links are those of the client's pages that are some; nil when there are none.
func (d pageData) Links(c ClientView) *links {
	if c.ClientURI == "" && c.TOSURI == "" && c.PolicyURI == "" {
		return nil
	}
	l := links{d.Link(c.ClientURI), d.Link(c.TOSURI), d.Link(c.PolicyURI)}
	if l == (links{}) {
		return nil
	}
	return &l
}

// scopeLine is a scope as the consent page has it.
type scopeLine struct {
	Title, Description string
	New                bool // and others are not
	Heavy              bool // it allows more than others
}

// ScopeLines are scopes in words. New ones are marked unless all of them are.
func (d pageData) ScopeLines(scopes []ConsentScope) []scopeLine {
	mark := slices.ContainsFunc(scopes, func(s ConsentScope) bool { return !s.New })
	lines := make([]scopeLine, len(scopes))
	for i, s := range scopes {
		lines[i] = scopeLine{d.ScopeTitle(s.Scope), d.ScopeDescription(s.Scope), s.New && mark, s.Name == "admin"}
	}
	return lines
}

// ReturnKey is the text that tells where a redirect leads.
func (pageData) ReturnKey(redirectHost string) string {
	if strings.HasSuffix(redirectHost, ":") {
		return "consent.redirect.app"
	}
	if u, err := url.Parse("//" + redirectHost); err == nil && isLoopbackHost(u.Hostname()) {
		return "consent.redirect.device"
	}
	return "consent.redirect"
}

// ErrorKind is the part of the catalogue that has the words for an error page.
func (pageData) ErrorKind(p ErrorPage) string {
	switch {
	case p.Status == http.StatusConflict:
		return "error.answered"
	case p.Status == http.StatusForbidden:
		return "error.form"
	case p.Status == http.StatusTooManyRequests:
		return "error.many"
	case p.Status == http.StatusServiceUnavailable:
		return "error.unavailable"
	case p.Status >= http.StatusInternalServerError:
		return "error.server"
	}
	return "error.request"
}

// Date and Time write a moment in the language's form. Pages run no script, so
// nobody knows the reader's time zone: it is UTC, and Time says so.
func (d pageData) Date(t time.Time) string { return t.UTC().Format(d.T("format.date")) }

// Time is [pageData.Date] with the hour.
func (d pageData) Time(t time.Time) string { return t.UTC().Format(d.T("format.time")) }

// Device is what a User-Agent tells of a browser, as far as a person cares.
func (d pageData) Device(userAgent string) string {
	find := func(known [][2]string) string {
		for _, k := range known {
			if strings.Contains(userAgent, k[0]) {
				return k[1]
			}
		}
		return ""
	}
	// The order counts: most browsers claim to be the ones further down as well.
	browser := find([][2]string{
		{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser", "Samsung Internet"}, {"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"},
		{"CriOS/", "Chrome"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	})
	system := find([][2]string{
		{"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"Windows", "Windows"},
		{"Mac OS X", "macOS"}, {"CrOS", "ChromeOS"}, {"Linux", "Linux"},
	})
	switch {
	case browser != "" && system != "":
		return browser + " · " + system
	case browser+system != "":
		return browser + system
	}
	if name := displayText(userAgent, 60); name != "" {
		return name
	}
	return d.T("sessions.unknown")
}

const maxShown = 120 // characters of a stranger's text

// displayText drops what does not show or reorders text: control characters,
// marks of direction (the pages isolate directions themselves), zero-width
// spaces, tags. Runs of white space become one space.
func displayText(v string, limit int) string {
	var b strings.Builder
	n, space := 0, false
	for _, r := range v {
		switch {
		case unicode.IsSpace(r), r == '\u2028', r == '\u2029':
			space = b.Len() > 0
			continue
		case r == utf8.RuneError, unicode.IsControl(r),
			r == '\u00ad', r == '\u061c', r == '\u200b', r == '\u200e', r == '\u200f', r == '\u2060', r == '\ufeff',
			r >= '\u202a' && r <= '\u202e', r >= '\u2061' && r <= '\u206f', r >= '\U000e0000' && r <= '\U000e0fff':
			continue
		}
		if n++; n > limit {
			return b.String() + "…"
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
	}
	return b.String()
}

// samplePages are what templates are tried with: every field is set, so that
// every branch of a template but the empty ones runs.
var samplePages = func() map[string]any {
	c := ClientView{ClientID: "id", Name: "Name", Host: "a.example", Logo: "/app-logo", LogoURI: "https://a.example/logo", ClientURI: "https://a.example", TOSURI: "https://a.example/t", PolicyURI: "https://a.example/p", SelfRegistered: true}
	at := time.Unix(0, 0)
	return map[string]any{
		"login.html":    LoginPage{Client: c, Username: "user", Failed: true, Throttled: true, Reauthenticate: true, Action: "/login", Interaction: "i", CSRF: "c", Choose: "/login?account=choose"},
		"accounts.html": AccountsPage{Client: c, Accounts: []AccountChoice{{ID: "a", Username: "user", Current: true}, {ID: "b"}}, Action: "/login/account", Interaction: "i", CSRF: "c", Other: "/login?account=other"},
		"consent.html": ConsentPage{Client: c, Subject: "sub", Username: "user", RedirectHost: "a.example", Resources: []string{"https://a.example"},
			Scopes: []ConsentScope{{Scope: Scope{Name: "a"}, New: true}, {Scope: Scope{Name: "b"}}}, Action: "/consent", ConsentToken: "t", CSRF: "c", SwitchAccount: "/switch"},
		"error.html":   ErrorPage{Status: 400, Code: "invalid_request", Description: "d", RequestID: "r", SignIn: "/login", Client: c, Account: "/account"},
		"message.html": MessagePage{Kind: "confirm_sign_out", Action: "/x", CSRF: "c", Fields: map[string]string{"a": "b"}, Client: c, Cancel: "/account"},
		"apps.html": AppsPage{Username: "user", Action: "/account", SignOut: "/out", SwitchAccount: "/login", CSRF: "c", CurrentSession: "s",
			Apps:     []AuthorizedApp{{ConsentID: "i", Client: c, Scopes: []Scope{{Name: "a"}}, Resources: []string{"https://a.example"}, Since: at, LastUsedAt: at}},
			Sessions: []oauthreg.LoginSession{{Login: oauthreg.Login{SessionID: "s"}}, {Login: oauthreg.Login{SessionID: "t"}}}},
	}
}()
