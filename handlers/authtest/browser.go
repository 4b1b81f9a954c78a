package authtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// Browser is a person at a browser of their own: it keeps cookies, follows
// redirects, and fills in the forms that the server shows, the sign-in as its
// user and the consent with its decision. It runs no scripts. It is for one
// goroutine at a time; several people are several browsers.
type Browser struct {
	// Username and Password are who signs in. Change Deny to have this person
	// refuse what they are asked for.
	Username string
	Password string
	Deny     bool

	s      *Server
	client *http.Client
}

// Callback is where the server sent the browser: the client's redirect URI with
// the answer. Nothing was requested there.
type Callback struct {
	// URL is the redirect URI with its parameters; without them, when they came
	// by response_mode=form_post.
	URL *url.URL
	// Params are the parameters of the answer, from query, fragment or form.
	Params url.Values
	// Code, State and Issuer are code, state and iss (RFC 9207); Error and
	// ErrorDescription what stands there instead of a code.
	Code, State, Issuer     string
	Error, ErrorDescription string
	// SignedIn and Consented say which forms were filled in on the way.
	SignedIn, Consented bool
}

// Page is a page that a browser ended at.
type Page struct {
	URL    *url.URL
	Status int
	Header http.Header
	Body   string
	// SignedIn and Consented say which forms were filled in on the way.
	SignedIn, Consented bool
}

// Browser returns a new browser of the first user.
func (s *Server) Browser() *Browser {
	s.helper()
	return s.BrowserAs("")
}

// BrowserAs returns a new browser of the user with that username.
func (s *Server) BrowserAs(username string) *Browser {
	s.helper()
	u := s.user(username)
	jar, err := cookiejar.New(nil)
	if err != nil {
		s.fail("cookie jar: %v", err) // never happens without options
	}
	return &Browser{Username: u.Username, Password: u.Password, s: s, client: &http.Client{
		Transport: s.http.Client().Transport, Jar: jar, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Authorize opens target, an authorization request or a page of the client that
// leads to one, and goes on until the server sends the browser to the client.
// That the answer is an error is for the test to see; that there is none, a page
// being shown instead, fails it.
func (b *Browser) Authorize(target string) *Callback {
	b.s.helper()
	w, err := b.walk(context.Background(), target, true)
	if err != nil {
		b.s.fail("%v", err)
	}
	if w.callback == nil {
		b.s.fail("the walk from %s ended at a page with status %d: %s", short(target), w.page.Status, w.page.text())
	}
	return w.callback
}

// Visit opens target and goes wherever it leads, to the client's pages too, and
// returns the page it ends at.
func (b *Browser) Visit(target string) *Page {
	b.s.helper()
	w, err := b.walk(context.Background(), target, false)
	if err != nil {
		b.s.fail("%v", err)
	}
	return w.page
}

// Open is [Browser.Visit] for any goroutine, and for clients that open the
// system's browser by a function of this form: it returns an error where Visit
// fails the test, and when the page has an error status.
func (b *Browser) Open(target string) error {
	w, err := b.walk(context.Background(), target, false)
	if err != nil {
		return err
	}
	if w.page.Status >= http.StatusBadRequest {
		return fmt.Errorf("authtest: %s answered %d: %s", w.page.URL.Redacted(), w.page.Status, w.page.text())
	}
	return nil
}

// maxSteps bounds a walk: what takes longer goes in circles.
const maxSteps = 30

// walk is one way through the pages.
type walk struct {
	b        *Browser
	callback *Callback
	page     *Page

	here      bool // the server was reached
	signIns   int
	signedIn  bool
	consented bool
}

// walk goes on until there is nothing to follow or fill in; with stop, until the
// server sends the browser away.
func (b *Browser) walk(ctx context.Context, target string, stop bool) (*walk, error) {
	w := &walk{b: b}
	at, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("authtest: open %q: %w", target, err)
	}
	method, form := http.MethodGet, url.Values(nil)
	for range maxSteps {
		onServer := b.s.isHere(at)
		if stop && w.here && !onServer {
			w.callback = newCallback(at, form)
			w.callback.SignedIn, w.callback.Consented = w.signedIn, w.consented
			return w, nil
		}
		w.here = w.here || onServer
		page, next, err := b.request(ctx, method, at, form)
		if err != nil {
			return nil, err
		}
		page.SignedIn, page.Consented = w.signedIn, w.consented
		w.page = page
		method, form = http.MethodGet, nil
		if next != nil {
			at = next
			continue
		}
		if !onServer || page.Status != http.StatusOK {
			return w, nil
		}
		action, filled, err := w.fill(page)
		if err != nil {
			return nil, err
		}
		if action == nil {
			return w, nil
		}
		method, at, form = http.MethodPost, action, filled
	}
	return nil, fmt.Errorf("authtest: the walk from %s goes in circles, last at %s", short(target), at.Redacted())
}

// request does one request. next is where it redirects to, nil if nowhere.
func (b *Browser) request(ctx context.Context, method string, at *url.URL, form url.Values) (page *Page, next *url.URL, err error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, at.String(), body)
	if err != nil {
		return nil, nil, fmt.Errorf("authtest: %w", err)
	}
	req.Header.Set("User-Agent", "authtest")
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("authtest: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("authtest: read %s: %w", at.Redacted(), err)
	}
	page = &Page{URL: at, Status: resp.StatusCode, Header: resp.Header, Body: string(text)}
	if resp.StatusCode < 300 || resp.StatusCode > 399 || resp.Header.Get("Location") == "" {
		return page, nil, nil
	}
	next, err = at.Parse(resp.Header.Get("Location"))
	if err != nil {
		return nil, nil, fmt.Errorf("authtest: %s redirects to no URL: %w", at.Redacted(), err)
	}
	return page, next, nil
}

// fill fills in the first form of a page that it knows: the sign-in, the consent,
// or one that posts an answer to the client (OAuth 2.0 Form Post Response Mode).
// A nil action means that there is none.
func (w *walk) fill(page *Page) (action *url.URL, form url.Values, err error) {
	doc, err := html.Parse(strings.NewReader(page.Body))
	if err != nil {
		return nil, nil, fmt.Errorf("authtest: %s: %w", page.URL.Redacted(), err)
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" || !strings.EqualFold(attribute(n, "method"), "post") {
			continue
		}
		target, err := page.URL.Parse(attribute(n, "action"))
		if err != nil {
			return nil, nil, fmt.Errorf("authtest: %s has a form that leads nowhere: %w", page.URL.Redacted(), err)
		}
		filled, kind := w.b.fields(n)
		switch {
		case kind == signInForm:
			if w.signIns++; w.signIns > 1 && !strings.Contains(page.URL.RawQuery, "interaction=") || w.signIns > 2 {
				return nil, nil, fmt.Errorf("authtest: the server does not let %q sign in: %s", w.b.Username, page.text())
			}
			w.signedIn = true
		case kind == consentForm:
			w.consented = true
		case !w.b.s.isHere(target): // form_post
		default:
			continue
		}
		return target, filled, nil
	}
	return nil, nil, nil
}

type formKind int

const (
	otherForm formKind = iota
	signInForm
	consentForm
)

// fields is what the person puts into a form.
func (b *Browser) fields(n *html.Node) (url.Values, formKind) {
	form, kind := url.Values{}, otherForm
	decision := "allow"
	if b.Deny {
		decision = "deny"
	}
	for in := range n.Descendants() {
		if in.Type != html.ElementNode {
			continue
		}
		switch name := attribute(in, "name"); {
		case in.Data == "input" && attribute(in, "type") == "hidden":
			form.Add(name, attribute(in, "value"))
		case name == "username":
			form.Set(name, b.Username)
		case name == "password":
			form.Set(name, b.Password)
			kind = signInForm
		case name == "decision" && attribute(in, "value") == decision:
			form.Set(name, decision)
			kind = consentForm
		}
	}
	return form, kind
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// newCallback reads an answer out of the redirect URI, or of what was posted there.
func newCallback(at *url.URL, form url.Values) *Callback {
	c := &Callback{URL: at, Params: form}
	if form == nil {
		c.Params = at.Query()
		if at.Fragment != "" {
			if fragment, err := url.ParseQuery(at.EscapedFragment()); err == nil {
				c.Params = fragment
			}
		}
	}
	c.Code, c.State, c.Issuer = c.Params.Get("code"), c.Params.Get("state"), c.Params.Get("iss")
	c.Error, c.ErrorDescription = c.Params.Get("error"), c.Params.Get("error_description")
	return c
}

// Err is an error when the answer is one.
func (c *Callback) Err() error {
	if c.Error == "" {
		return nil
	}
	return errors.New(strings.TrimSuffix(c.Error+": "+c.ErrorDescription, ": "))
}

// text is what a page says, for a message.
func (p *Page) text() string {
	doc, err := html.Parse(strings.NewReader(p.Body))
	if err != nil {
		return short(p.Body)
	}
	var words []string
	for n := range doc.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "style" && n.Parent.Data != "script" {
			words = append(words, strings.Fields(n.Data)...)
		}
	}
	return short(strings.Join(words, " "))
}

func short(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}
