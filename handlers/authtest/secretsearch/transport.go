package secretsearch

import (
	"bytes"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// maxBody is how much of a body is read for secrets, in bytes.
const maxBody = 1 << 20

// Transport passes requests on to next and notes the credentials in them and in
// their answers: parameters, Authorization headers, cookies, JSON, redirects and
// the hidden fields of pages. Bodies larger than 1 MiB are passed on unread.
func (b *Book) Transport(next http.RoundTripper) http.RoundTripper {
	return &transport{b, next}
}

type transport struct {
	book *Book
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.request(r)
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return resp, err
	}
	t.answer(resp)
	return resp, nil
}

// Unwrap returns what requests are passed on to.
func (t *transport) Unwrap() http.RoundTripper { return t.next }

// CloseIdleConnections lets [http.Client.CloseIdleConnections] reach next.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (t *transport) request(r *http.Request) {
	t.book.Values(r.URL.Query())
	t.book.Cookies(r.Cookies())
	if _, secret, ok := r.BasicAuth(); ok {
		if plain, err := url.QueryUnescape(secret); err == nil {
			secret = plain
		}
		t.book.Add("client secret", secret)
	}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		t.book.Add("bearer token", token)
	}
	if r.GetBody == nil || r.ContentLength <= 0 || r.ContentLength > maxBody {
		return
	}
	body, err := r.GetBody()
	if err != nil {
		return
	}
	defer func() { _ = body.Close() }()
	if text, err := io.ReadAll(body); err == nil {
		t.text(r.Header.Get("Content-Type"), text)
	}
}

func (t *transport) answer(resp *http.Response) {
	t.book.Cookies(resp.Cookies())
	if loc, err := resp.Location(); err == nil {
		t.book.Values(loc.Query())
		if fragment, err := url.ParseQuery(loc.Fragment); err == nil {
			t.book.Values(fragment)
		}
	}
	if resp.ContentLength > maxBody {
		return
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil || len(text) > maxBody {
		resp.Body = &resumed{io.MultiReader(bytes.NewReader(text), resp.Body), resp.Body}
		return
	}
	_ = resp.Body.Close() // read to its end
	resp.Body = io.NopCloser(bytes.NewReader(text))
	t.text(resp.Header.Get("Content-Type"), text)
}

// resumed is a body of which something was read already.
type resumed struct {
	io.Reader
	io.Closer
}

// field is an input of a page, as our templates write it.
var field = regexp.MustCompile(`name="([a-z_]+)" value="([^"]*)"`)

// text notes the credentials of a body.
func (t *transport) text(contentType string, text []byte) {
	switch {
	case strings.HasPrefix(contentType, "application/x-www-form-urlencoded"):
		if form, err := url.ParseQuery(string(text)); err == nil {
			t.book.Values(form)
		}
	case strings.HasPrefix(contentType, "application/json"):
		var v any
		if json.Unmarshal(text, &v) == nil {
			t.book.JSON(v)
		}
	case strings.HasPrefix(contentType, "text/html"):
		for _, m := range field.FindAllSubmatch(text, -1) {
			t.book.Values(url.Values{string(m[1]): {html.UnescapeString(string(m[2]))}})
		}
	}
}
