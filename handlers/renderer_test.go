package handlers

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/net/html"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// renderPage writes a page by its type, as the server would.
func renderPage(t testing.TB, pages Renderer, lang string, page any) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Accept-Language", lang)
	pageServer(t, "https://as.example").setPageHeaders(w.Header(), "")
	var err error
	switch p := page.(type) {
	case LoginPage:
		err = pages.Login(w, r, http.StatusOK, p)
	case AccountsPage:
		err = pages.Accounts(w, r, p)
	case ConsentPage:
		err = pages.Consent(w, r, http.StatusOK, p)
	case ErrorPage:
		err = pages.Error(w, r, p)
	case MessagePage:
		err = pages.Message(w, r, p)
	case AppsPage:
		err = pages.Apps(w, r, p)
	}
	if err != nil {
		t.Fatalf("%T: %v", page, err)
	}
	return w
}

// everyPage has each page in each of its states.
func everyPage() map[string]any {
	at := time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC)
	verified := ClientView{ClientID: "c1", Name: "Northwind Mail", ClientURI: "https://n.example", TOSURI: "https://n.example/tos", PolicyURI: "https://n.example/p", Verified: true}
	self := ClientView{ClientID: "c2", Name: "Tool", SelfRegistered: true}
	consent := ConsentPage{
		Client: verified, Subject: "sub", Username: "alice", RedirectHost: "n.example", Action: "/consent", ConsentToken: "t", CSRF: "c",
		SwitchAccount: "/switch", Resources: []string{"https://api.example/"},
		Scopes: []ConsentScope{{Scope: Scope{Name: "openid"}}, {Scope: Scope{Name: "x:y"}, New: true}, {Scope: Scope{Name: "admin"}, New: true}},
	}
	bare := ConsentPage{Client: self, Subject: "sub", RedirectHost: "localhost:8080", Action: "/consent", ConsentToken: "t", CSRF: "c"}
	app := bare
	app.RedirectHost = "com.example.app:"
	app.SwitchAccount = "/switch"
	return map[string]any{
		"login":            LoginPage{Action: "/login", CSRF: "c"},
		"login for client": LoginPage{Client: verified, Action: "/login", CSRF: "c", Interaction: "i"},
		"login failed":     LoginPage{Username: "alice", Failed: true, Action: "/login", CSRF: "c"},
		"login throttled":  LoginPage{Username: "alice", Throttled: true, Action: "/login", CSRF: "c"},
		"login again":      LoginPage{Client: verified, Username: "alice", Reauthenticate: true, Action: "/login", CSRF: "c", Interaction: "i"},
		"login again bare": LoginPage{Username: "alice", Reauthenticate: true, Failed: true, Action: "/login", CSRF: "c"},
		"login choose":     LoginPage{Action: "/login", CSRF: "c", Choose: "/login?account=choose"},
		"accounts": AccountsPage{Client: verified, Action: "/login/account", Interaction: "i", CSRF: "c", Other: "/login?account=other",
			Accounts: []AccountChoice{{ID: "1", Username: "alice", Current: true}, {ID: "2", Username: strings.Repeat("long ", 30)}, {ID: "3"}}},
		"accounts bare": AccountsPage{Action: "/login/account", CSRF: "c", Other: "/login?account=other", Accounts: []AccountChoice{{ID: "1", Username: "alice"}}},
		"consent":       consent, "consent bare": bare, "consent app": app,
		"error 400":     ErrorPage{Status: 400, Code: "invalid_request", Description: "No.", RequestID: "r"},
		"error 403":     ErrorPage{Status: 403, Code: "access_denied"},
		"answered":      ErrorPage{Status: 409, Code: "invalid_request", RequestID: "r", Client: verified, Account: "/account"},
		"answered bare": ErrorPage{Status: 409, Code: "invalid_request", Account: "/account"},
		"error 429":     ErrorPage{Status: 429, Code: "temporarily_unavailable"},
		"error 500":     ErrorPage{Status: 500, Code: "server_error", RequestID: "r"},
		"error 503":     ErrorPage{Status: 503, Code: "temporarily_unavailable"},
		"stale":         ErrorPage{Status: 400, Code: "invalid_request", SignIn: "/login"},
		"signed in":     MessagePage{Kind: "signed_in"}, "signed out": MessagePage{Kind: "signed_out", Client: verified},
		"sign out": MessagePage{Kind: "confirm_sign_out", Action: "/x", CSRF: "c", Client: verified, Cancel: "/account", Fields: map[string]string{"id_token_hint": "h"}},
		"apps": AppsPage{Username: "alice", Action: "/account", SignOut: "/out", SwitchAccount: "/login?account=choose", CSRF: "c", CurrentSession: "s",
			Apps: []AuthorizedApp{
				{ConsentID: "1", Client: verified, Scopes: []Scope{{Name: "openid"}, {Name: "x"}}, Resources: []string{"https://api.example/"}, Since: at, LastUsedAt: at},
				{ConsentID: "2", Client: self}, {ConsentID: "3"},
			},
			Sessions: []oauthreg.LoginSession{{Login: oauthreg.Login{SessionID: "s"}, CreatedAt: at, LastSeenAt: at}, {Login: oauthreg.Login{SessionID: "t"}}}},
		"apps none": AppsPage{Action: "/account", CSRF: "c"},
	}
}

// Elements without an end tag (HTML §13.1.2, and the SVG ones used here).
var voidElements = map[string]bool{"meta": true, "link": true, "input": true, "path": true, "circle": true, "!doctype": true}

// wellFormed reads a page strictly: every tag is closed in its place, and no
// attribute stands twice.
func wellFormed(t *testing.T, body string) {
	t.Helper()
	var open []string
	z := html.NewTokenizer(strings.NewReader(body))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if len(open) > 0 {
				t.Errorf("not closed: %v", open)
			}
			return
		case html.StartTagToken:
			token := z.Token()
			seen := map[string]bool{}
			for _, a := range token.Attr {
				if seen[a.Key] {
					t.Errorf("<%s> has two %s", token.Data, a.Key)
				}
				seen[a.Key] = true
			}
			if !voidElements[token.Data] {
				open = append(open, token.Data)
			}
		case html.EndTagToken:
			name := z.Token().Data
			if len(open) == 0 || open[len(open)-1] != name {
				t.Errorf("</%s> closes %v", name, open)
				return
			}
			open = open[:len(open)-1]
		}
	}
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func textOf(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// Every page, in every state and language, is sound HTML that assistive
// technology can read, runs nothing and fetches nothing.
func TestPagesAreSound(t *testing.T) {
	pages := DefaultRenderer()
	for name, page := range everyPage() {
		for _, lang := range []string{"en", "de", "es", "fr", "zh"} {
			t.Run(name+" "+lang, func(t *testing.T) {
				w := renderPage(t, pages, lang, page)
				body := w.Body.String()
				wellFormed(t, body)
				if strings.Contains(body, "ZgotmplZ") {
					t.Error("a value was not safe in its place")
				}
				doc, err := html.Parse(strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				ids, labels, count := map[string]int{}, map[string]bool{}, map[string]int{}
				for n := range doc.Descendants() {
					if n.Type != html.ElementNode {
						continue
					}
					count[n.Data]++
					if id := attribute(n, "id"); id != "" {
						ids[id]++
					}
					for _, a := range n.Attr {
						if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src" {
							t.Errorf("<%s> has %s=%q", n.Data, a.Key, a.Val)
						}
					}
					switch n.Data {
					case "html":
						if attribute(n, "lang") != lang || w.Header().Get("Content-Language") != lang {
							t.Errorf("got lang %q, want %q", attribute(n, "lang"), lang)
						}
					case "title", "h1", "h2", "h3", "button", "a", "label", "dt":
						if textOf(n) == "" {
							t.Errorf("<%s> is empty", n.Data)
						}
					case "link":
						if attribute(n, "href") != "data:," {
							t.Errorf("<link> fetches %q", attribute(n, "href"))
						}
					case "svg":
						if attribute(n, "aria-hidden") != "true" {
							t.Error("a drawing is not hidden from screen readers")
						}
					case "form":
						if attribute(n, "method") != "post" || attribute(n, "action") == "" {
							t.Error("a form does not post to a place of ours")
						}
					}
					if n.Data == "label" {
						labels[attribute(n, "for")] = true
					}
					if attribute(n, "target") == "_blank" && attribute(n, "rel") != "noopener noreferrer" {
						t.Errorf("the link to %q hands over more than it needs", attribute(n, "href"))
					}
				}
				for id, n := range ids {
					if n > 1 {
						t.Errorf("id %s stands %d times", id, n)
					}
				}
				for n := range doc.Descendants() {
					if n.Data == "input" && attribute(n, "type") != "hidden" && !labels[attribute(n, "id")] {
						t.Errorf("the field %s has no label", attribute(n, "name"))
					}
					for _, ref := range []string{"aria-describedby", "aria-labelledby"} {
						if id := attribute(n, ref); id != "" && ids[id] == 0 {
							t.Errorf("%s names %s, which is not there", ref, id)
						}
					}
				}
				if count["main"] != 1 || count["h1"] != 1 || count["title"] != 1 {
					t.Errorf("got %d main, %d h1, %d title, want one of each", count["main"], count["h1"], count["title"])
				}
				if count["script"]+count["iframe"]+count["img"]+count["object"] > 0 {
					t.Error("the page runs or fetches something")
				}
			})
		}
	}
}

func TestLoginForm(t *testing.T) {
	body := renderPage(t, DefaultRenderer(), "en", everyPage()["login for client"]).Body.String()
	for _, want := range []string{
		`name="username"`, `name="password"`, `id="login-submit"`, `autocomplete="username"`, `autocomplete="current-password"`,
		`autocapitalize="none"`, `name="csrf_token" value="c"`, `name="interaction" value="i"`, `action="/login"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	if again := renderPage(t, DefaultRenderer(), "en", everyPage()["login again"]).Body.String(); !strings.Contains(again, " readonly") ||
		!strings.Contains(again, `href="/login?account=other&amp;interaction=i"`) {
		t.Error("proving it again does not fix the name, or has no way to another account")
	}
	failed := renderPage(t, DefaultRenderer(), "en", everyPage()["login failed"]).Body.String()
	if !strings.Contains(failed, `role="alert"`) || !strings.Contains(failed, `value="alice"`) || !strings.Contains(failed, "<title>Error: ") {
		t.Error("a failed try is not announced, or the name is lost")
	}
}

func TestConsentForm(t *testing.T) {
	body := renderPage(t, DefaultRenderer(), "en", everyPage()["consent"]).Body.String()
	deny := strings.Index(body, `<button id="consent-deny" type="submit" name="decision" value="deny">`)
	allow := strings.Index(body, `id="consent-allow" type="submit" name="decision" value="allow">`)
	if deny < 0 || allow < deny {
		t.Errorf("deny at %d, allow at %d: want deny first", deny, allow)
	}
	for _, want := range []string{
		`name="consent_token" value="t"`, `name="csrf_token" value="c"`, "<bdi>Northwind Mail</bdi>", "<bdi>n.example</bdi>", "<bdi>alice</bdi>",
		"Verified", "https://api.example/", `href="https://n.example/tos"`, `href="/switch"`, "x:y",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	if n := strings.Count(body, ">New<"); n != 2 {
		t.Errorf("%d scopes are marked new, want 2", n)
	}
	bare := renderPage(t, DefaultRenderer(), "en", everyPage()["consent bare"]).Body.String()
	if !strings.Contains(bare, "This app registered itself") || strings.Contains(bare, "Verified") {
		t.Error("a client that registered itself is not marked")
	}
	if !strings.Contains(bare, "a program on this computer") {
		t.Error("a loopback redirect is not called what it is")
	}

	all := everyPage()["consent"].(ConsentPage)
	for i := range all.Scopes {
		all.Scopes[i].New = true
	}
	if strings.Contains(renderPage(t, DefaultRenderer(), "en", all).Body.String(), ">New<") {
		t.Error("everything is marked new, which says nothing")
	}
}

// fillStrings puts v into every string of a page, the ones that choose a state
// apart.
func fillStrings(target reflect.Value, v string) {
	switch target.Kind() {
	case reflect.String:
		target.SetString(v)
	case reflect.Struct:
		if target.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range target.NumField() {
			if target.Type().Field(i).Name != "Kind" {
				fillStrings(target.Field(i), v)
			}
		}
	case reflect.Slice:
		target.Set(reflect.MakeSlice(target.Type(), 2, 2))
		for i := range 2 {
			fillStrings(target.Index(i), v)
		}
	case reflect.Map:
		target.Set(reflect.MakeMap(target.Type()))
		target.SetMapIndex(reflect.ValueOf(v), reflect.ValueOf(v))
	case reflect.Bool:
		target.SetBool(true)
	}
}

// Whatever a client, a user or the host puts into a page stays text.
func TestNothingBreaksOut(t *testing.T) {
	pages := DefaultRenderer()
	payloads := []string{
		`<script>pwned()</script>`, `"><svg onload=pwned()>`, `'><img src=x onerror=pwned()>`, `</style><script>pwned()</script>`,
		`</title><script>pwned()</script>`, `javascript:pwned()`, `JaVaScRiPt:pwned()`, "java\nscript:pwned()", `data:text/html,<script>pwned()</script>`,
		`" autofocus onfocus=pwned() x="`, "` onfocus=pwned()", `{{.Page}}`, `{client}`, `<!--`, `]]>`, "\x00<script>pwned()</script>", `&lt;script&gt;pwned()`,
	}
	for _, payload := range payloads {
		for name, page := range everyPage() {
			filled := reflect.New(reflect.TypeOf(page)).Elem()
			filled.Set(reflect.ValueOf(page))
			fillStrings(filled, payload)
			body := renderPage(t, pages, "en", filled.Interface()).Body.String()
			doc, err := html.Parse(strings.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			for n := range doc.Descendants() {
				if n.Type == html.CommentNode {
					t.Errorf("%s, %q: comment %q", name, payload, n.Data)
				}
				if n.Type != html.ElementNode {
					continue
				}
				switch n.Data {
				case "img": // the logo is our own
					if len(n.Attr) == 4 && n.Attr[1].Key == "alt" && n.Attr[2].Val == "48" && n.Attr[3].Val == "48" {
						break
					}
					fallthrough
				case "script", "iframe", "object", "embed", "base":
					t.Errorf("%s, %q: <%s>", name, payload, n.Data)
				}
				for _, a := range n.Attr {
					value := strings.ToLower(strings.TrimSpace(a.Val))
					link := a.Key == "href" || a.Key == "action" || a.Key == "src"
					if strings.HasPrefix(a.Key, "on") || link && (strings.HasPrefix(value, "javascript:") || strings.HasPrefix(value, "data:text")) {
						t.Errorf("%s, %q: <%s %s=%q>", name, payload, n.Data, a.Key, a.Val)
					}
				}
			}
		}
	}
}

func TestStyleSheetIsTheOneAllowed(t *testing.T) {
	pages, err := NewRenderer(fstest.MapFS{"pages.css": {Data: []byte("body { color: red }\r\n/* ü */")}})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]Renderer{"default": DefaultRenderer(), "replaced": pages} {
		w := renderPage(t, r, "en", LoginPage{})
		_, rest, _ := strings.Cut(w.Body.String(), "<style>")
		style, _, _ := strings.Cut(rest, "</style>")
		if strings.Contains(style, "\r") {
			t.Errorf("%s: browsers hash the style sheet without carriage returns", name)
		}
		sum := sha256.Sum256([]byte(style))
		if want := "style-src 'self' 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "';"; !strings.Contains(w.Header().Get("Content-Security-Policy"), want) {
			t.Errorf("%s: got %q, want %s", name, w.Header().Get("Content-Security-Policy"), want)
		}
	}
}

func TestNewRendererReplacesSingleTemplates(t *testing.T) {
	pages, err := NewRenderer(fstest.MapFS{
		"login.html":        {Data: []byte(`{{define "title"}}Ours{{end}}{{define "content"}}<h1>Welcome, {{.Page.Username}}</h1>{{end}}`)},
		"brand.html":        {Data: []byte(`<header>Acme</header>`)},
		"catalogue/en.json": {Data: []byte(`{"consent.allow":"Go ahead"}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	login := renderPage(t, pages, "en", LoginPage{Username: "<b>"}).Body.String()
	if !strings.Contains(login, "<h1>Welcome, &lt;b&gt;</h1>") || !strings.Contains(login, "<title>Ours</title>") || !strings.Contains(login, "Acme") {
		t.Errorf("the sign-in page is not the one given: %s", login)
	}
	consent := renderPage(t, pages, "en", everyPage()["consent"]).Body.String()
	if !strings.Contains(consent, "Go ahead") || !strings.Contains(consent, "Acme") || !strings.Contains(consent, "consent-deny") {
		t.Error("the other pages lost something, or did not get the text")
	}
}

func TestNewRendererNamesWhatIsWrong(t *testing.T) {
	for name, data := range map[string]string{
		"logon.html":        `x`,
		"extra.css":         `x`,
		"login.html":        `{{define "content"}}{{.Page.NoSuchField}}{{end}}{{define "title"}}{{end}}`,
		"consent.html":      `{{define "content"}}{{if}}{{end}}`,
		"error.html":        `{{define "title"}}{{end}}{{define "content"}}<a href="{{end}}`,
		"layout.html":       `{{template "no such template" .}}`,
		"pages.css":         `</STYLE><script>`,
		"catalogue/en.json": `{`,
	} {
		if _, err := NewRenderer(fstest.MapFS{name: {Data: []byte(data)}}); err == nil || name != "layout.html" && !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want an error that names it", name, err)
		}
	}
}

func TestUnknownMessageWritesNothing(t *testing.T) {
	w := httptest.NewRecorder()
	err := DefaultRenderer().Message(w, httptest.NewRequest(http.MethodGet, "/", nil), MessagePage{Kind: "no such"})
	if err == nil || w.Body.Len() > 0 || len(w.Header()) > 0 {
		t.Errorf("got %v and %q, want an error and nothing written", err, w.Body)
	}
}

func TestRendererIsSafeForConcurrentUse(t *testing.T) {
	pages := DefaultRenderer()
	var wg sync.WaitGroup
	for _, page := range everyPage() {
		for _, lang := range []string{"en", "zh"} {
			wg.Go(func() { renderPage(t, pages, lang, page) })
		}
	}
	wg.Wait()
}

func TestDisplayText(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "Acme Mail", "Acme Mail"},
		{"white space", "  a\r\n\tb\u00a0\u2028c ", "a b c"},
		{"an override of direction", "Acme\u202egnihsihP", "AcmegnihsihP"},
		{"marks of direction", "\u2066\u200fA\u2069\u061c", "A"},
		{"invisible", "Goo\u200bgle\ufeff\u00ad\u2060", "Google"},
		{"tags", "a\U000e0041b", "ab"},
		{"control characters", "a\x00\x1b[31mb", "a[31mb"},
		{"not UTF-8", "a\xffb", "ab"},
		{"joined emoji stay", "👩\u200d💻", "👩\u200d💻"},
		{"too long", strings.Repeat("ü", 200), strings.Repeat("ü", maxShown) + "…"},
		{"nothing", "\u200b ", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := displayText(tt.in, maxShown); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWhatPagesCallThings(t *testing.T) {
	d := pageData{words: builtInTexts(t).texts[0]}
	names := []struct {
		client        ClientView
		name, initial string
	}{
		{ClientView{Name: "acme"}, "acme", "A"},
		{ClientView{Name: "«élan»"}, "«élan»", "É"},
		{ClientView{Name: "\u202e", ClientID: "id-1"}, "id-1", "I"},
		{ClientView{}, "Unnamed app", "U"},
		{ClientView{Name: "!!"}, "!!", "•"},
	}
	for _, tt := range names {
		if n, i := d.Name(tt.client), d.Initial(tt.client); n != tt.name || i != tt.initial {
			t.Errorf("%+v: got %q and %q, want %q and %q", tt.client, n, i, tt.name, tt.initial)
		}
	}
	for ua, want := range map[string]string{
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36 Edg/156.0.0.0":           "Edge · Windows",
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                                  "Firefox · Linux",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1": "Safari · iPhone",
		"Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Mobile Safari/537.36":                            "Chrome · Android",
		"curl/8.0": "curl/8.0",
		"":         "Unknown device",
	} {
		if got := d.Device(ua); got != want {
			t.Errorf("%q: got %q, want %q", ua, got, want)
		}
	}
	for host, want := range map[string]string{
		"a.example": "consent.redirect", "a.example:8443": "consent.redirect", "localhost:1": "consent.redirect.device",
		"127.0.0.1:1": "consent.redirect.device", "[::1]:1": "consent.redirect.device", "com.example.app:": "consent.redirect.app",
		"localhost.evil.example": "consent.redirect", "": "consent.redirect",
	} {
		if got := d.ReturnKey(host); got != want {
			t.Errorf("%q: got %s, want %s", host, got, want)
		}
	}
	for uri, want := range map[string]string{"https://a.example/x": "https://a.example/x", "javascript:x": "", "mailto:a@b": "", "//a.example": "", "https:x": ""} {
		if got := d.Link(uri); got != want {
			t.Errorf("link %q: got %q, want %q", uri, got, want)
		}
	}
}

func BenchmarkConsentPage(b *testing.B) {
	pages := DefaultRenderer()
	page := everyPage()["consent"].(ConsentPage)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Accept-Language", "de-AT,de;q=0.9,en;q=0.8")
	for b.Loop() {
		if err := pages.Consent(httptest.NewRecorder(), r, http.StatusOK, page); err != nil {
			b.Fatal(err)
		}
	}
}
