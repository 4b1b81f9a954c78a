package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/html"
)

// A Browser is somebody who can sign in and consent. It opens start, does what
// the pages ask for, and returns the URL of the first redirect that leads to
// redirectURI, without following it: in most cases nothing listens there. Each
// call is a new browser without cookies. It is called for one walk at a time in
// one run, and must be safe for concurrent use if runs are concurrent.
//
// [FormBrowser.Browse] is one. A server whose pages need JavaScript needs
// another, such as a function that drives a real browser, or one that talks to
// the sign-in service directly.
type Browser func(ctx context.Context, start, redirectURI string) (*url.URL, error)

// FormBrowser walks through sign-in and consent pages that are HTML forms. On
// each page it takes the first form with a field of Fields or a button of Buttons
// in it, or else the page's only POST form; fills it in, keeping what it finds in
// the other fields; and submits it. It keeps cookies, runs no script, and sends
// nothing over http, but for loopback addresses.
type FormBrowser struct {
	// Fields are what to type, by the name of the field: the built-in pages of
	// package handlers have username and password.
	Fields map[string]string
	// Buttons are those to press, as name=value, where a form has several. Empty:
	// decision=allow, which is the one of the built-in consent page. A form
	// without any of them is submitted by its first button.
	Buttons []string
	// Transport sends the requests. nil: [http.DefaultTransport].
	Transport http.RoundTripper
	// Timeout is for one request. 0: 10 seconds.
	Timeout time.Duration
}

// maxSteps is how many redirects and forms one walk may have.
const maxSteps = 25

// Browse is a [Browser].
func (f FormBrowser) Browse(ctx context.Context, start, redirectURI string) (*url.URL, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	if f.Timeout == 0 {
		f.Timeout = defaultTimeout
	}
	client := &http.Client{
		Jar: jar, Transport: f.Transport, Timeout: f.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, start, nil)
	if err != nil {
		return nil, err
	}
	submitted := map[string]int{}
	for range maxSteps {
		if !secure(req.URL.String()) {
			return nil, fmt.Errorf("%s is neither https nor on a loopback address, and is sent nothing", place(req.URL))
		}
		a, err := send(client, req)
		if err != nil {
			return nil, err
		}
		if at := a.location(); at != nil {
			if leadsTo(at, redirectURI) {
				return at, nil
			}
			if req, err = http.NewRequestWithContext(ctx, http.MethodGet, at.String(), nil); err != nil {
				return nil, err
			}
			continue
		}
		form, err := f.fill(a)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", place(a.request.URL), err)
		}
		if leadsTo(form.action, redirectURI) { // response_mode=form_post
			form.action.RawQuery = form.values.Encode()
			return form.action, nil
		}
		where := place(form.action)
		if submitted[where]++; submitted[where] > 4 {
			return nil, fmt.Errorf("the form of %s comes again and again: is what is filled in right?", where)
		}
		if req, err = postForm(ctx, form.action.String(), form.values); err != nil {
			return nil, err
		}
		req.Header.Del("Accept")
		req.Header.Set("Origin", a.request.URL.Scheme+"://"+a.request.URL.Host)
	}
	return nil, errors.New("the walk through the pages does not end")
}

// location is where a redirect leads; nil if the answer is none.
func (a *answer) location() *url.URL {
	if a.status < 300 || a.status > 399 || a.header.Get("Location") == "" {
		return nil
	}
	u, err := a.request.URL.Parse(a.header.Get("Location"))
	if err != nil {
		return nil
	}
	return u
}

// leadsTo reports whether u is the redirect URI with anything in query and
// fragment.
func leadsTo(u *url.URL, redirectURI string) bool {
	to, err := url.Parse(redirectURI)
	return err == nil && u.Scheme == to.Scheme && strings.EqualFold(u.Host, to.Host) && u.Opaque == to.Opaque &&
		strings.TrimSuffix(u.EscapedPath(), "/") == strings.TrimSuffix(to.EscapedPath(), "/")
}

// filled is a form that is ready to be sent.
type filled struct {
	action *url.URL
	values url.Values
	known  bool // has a field or a button that we know
}

func (f FormBrowser) fill(a *answer) (*filled, error) {
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("got %v, want a page with a form", a)
	}
	page, err := html.Parse(bytes.NewReader(a.body))
	if err != nil {
		return nil, err
	}
	var forms []*filled
	for n := range page.Descendants() {
		if n.Type != html.ElementNode || n.Data != "form" || !strings.EqualFold(attribute(n, "method"), "post") {
			continue
		}
		form, err := f.fillForm(a.request.URL, n)
		if err != nil {
			return nil, err
		}
		if form.known {
			return form, nil
		}
		forms = append(forms, form)
	}
	if len(forms) != 1 {
		return nil, fmt.Errorf("the page has %d POST forms and none with a field of FormBrowser", len(forms))
	}
	return forms[0], nil
}

func (f FormBrowser) fillForm(at *url.URL, n *html.Node) (*filled, error) {
	action, err := at.Parse(attribute(n, "action"))
	if err != nil {
		return nil, fmt.Errorf("the action of the form: %w", err)
	}
	buttons := f.Buttons
	if len(buttons) == 0 {
		buttons = []string{"decision=allow"}
	}
	form := &filled{action: action, values: url.Values{}}
	var first, pressed string // name=value of buttons
	for in := range n.Descendants() {
		name, value, kind := attribute(in, "name"), attribute(in, "value"), strings.ToLower(attribute(in, "type"))
		switch {
		case in.Type != html.ElementNode || has(in, "disabled"):
		case in.Data == "button" && (kind == "" || kind == "submit"), in.Data == "input" && (kind == "submit" || kind == "image"):
			b := name + "=" + value
			if slices.Contains(buttons, b) {
				pressed, form.known = b, true
			}
			if first == "" {
				first = b
			}
		case name == "" || in.Data == "button":
		case in.Data == "input" && (kind == "checkbox" || kind == "radio"):
			if typed, ok := f.Fields[name]; ok && typed == value || !ok && has(in, "checked") {
				form.values.Add(name, value)
			}
		case in.Data == "input", in.Data == "textarea", in.Data == "select":
			if typed, ok := f.Fields[name]; ok && kind != "hidden" {
				value, form.known = typed, true
			}
			form.values.Add(name, value)
		}
	}
	if pressed == "" {
		pressed = first
	}
	if name, value, _ := strings.Cut(pressed, "="); name != "" {
		form.values.Set(name, value)
	}
	return form, nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	return slices.ContainsFunc(n.Attr, func(a html.Attribute) bool { return a.Key == name })
}
