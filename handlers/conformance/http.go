package conformance

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxBody is how much of an answer is read, in bytes; a longer one is an error.
const maxBody = 1 << 20

const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// answer is what the server said to one request.
type answer struct {
	request *http.Request
	status  int
	header  http.Header
	body    []byte
	json    members // nil unless the body is a JSON object
}

// send sends a request and reads the answer.
func (r *run) send(req *http.Request) (*answer, error) { return send(r.http, req) }

func send(client *http.Client, req *http.Request) (*answer, error) {
	resp, err := client.Do(req)
	if err != nil {
		var u *url.Error // would quote the URL, with what secrets it has
		if errors.As(err, &u) {
			err = u.Err
		}
		return nil, fmt.Errorf("%s %s: %w", req.Method, place(req.URL), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", req.Method, place(req.URL), err)
	case len(body) > maxBody:
		return nil, fmt.Errorf("%s %s: the answer is longer than %d bytes", req.Method, place(req.URL), maxBody)
	}
	a := &answer{request: resp.Request, status: resp.StatusCode, header: resp.Header, body: body}
	if json.Unmarshal(body, &a.json) != nil {
		a.json = nil
	}
	return a, nil
}

// place is a URL without its query, which may have secrets.
func place(u *url.URL) string {
	v := *u
	v.RawQuery, v.Fragment, v.User = "", "", nil
	return v.String()
}

func (r *run) get(ctx context.Context, target string, header ...string) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return r.send(req)
}

func postForm(ctx context.Context, target string, form url.Values) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", formType)
	req.Header.Set("Accept", jsonType)
	return req, nil
}

// postAs sends a form with the credentials of c. c may be nil: without any.
func (r *run) postAs(ctx context.Context, target string, c *Client, form url.Values) (*answer, error) {
	form = cloneValues(form)
	if c != nil {
		switch c.method() {
		case authPost:
			form.Set("client_id", c.ID)
			form.Set("client_secret", c.Secret)
		case authNone:
			form.Set("client_id", c.ID)
		}
	}
	req, err := postForm(ctx, target, form)
	if err != nil {
		return nil, err
	}
	if c != nil && c.method() == authBasic {
		setBasic(req, c.ID, c.Secret)
	}
	return r.send(req)
}

// setBasic is RFC 6749 §2.3.1: both parts are form-encoded first.
func setBasic(req *http.Request, id, secret string) {
	req.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret))
}

// withWrongSecret is c with a secret of the same shape that is not its own.
func (c Client) withWrongSecret() *Client {
	last, changed := len(c.Secret)-1, byte('a')
	if c.Secret[last] == changed {
		changed = 'b'
	}
	c.Secret = c.Secret[:last] + string(changed)
	return &c
}

// values makes a form of names and values; an empty value leaves the name out.
func values(pairs ...string) url.Values { return with(url.Values{}, pairs...) }

// with sets, or with an empty value removes, parameters of a copy of form.
func with(form url.Values, pairs ...string) url.Values {
	form = cloneValues(form)
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Del(pairs[i])
		if pairs[i+1] != "" {
			form.Set(pairs[i], pairs[i+1])
		}
	}
	return form
}

func cloneValues(form url.Values) url.Values {
	c := make(url.Values, len(form))
	for k, v := range form {
		c[k] = slices.Clone(v)
	}
	return c
}

// String tells an answer without quoting tokens: the error as it is, otherwise
// the names of the members.
func (a *answer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "status %d", a.status)
	switch {
	case a.json.text("error") != "":
		fmt.Fprintf(&b, ", error %q", a.json.text("error"))
		if d := a.json.text("error_description"); d != "" {
			fmt.Fprintf(&b, " (%s)", d)
		}
	case a.json != nil:
		names := make([]string, 0, len(a.json))
		for name := range a.json {
			names = append(names, name)
		}
		slices.Sort(names)
		fmt.Fprintf(&b, " with the members %s", strings.Join(names, ", "))
	case a.header.Get("Location") != "":
		if u, err := url.Parse(a.header.Get("Location")); err == nil {
			fmt.Fprintf(&b, ", a redirect to %s", place(u))
		}
	default:
		fmt.Fprintf(&b, ", %s", contentType(a.header))
	}
	return b.String()
}

func contentType(h http.Header) string {
	if h.Get("Content-Type") == "" {
		return "no content type"
	}
	mt, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return "a malformed content type"
	}
	return mt
}

// isJSON checks that an answer is a JSON object and says so.
func (a *answer) isJSON() error {
	mt := contentType(a.header)
	if mt != jsonType && !strings.HasSuffix(mt, "+json") {
		return fmt.Errorf("got %v, want the content type application/json", a)
	}
	if a.json == nil {
		return fmt.Errorf("got %v, want a JSON object", a)
	}
	return nil
}

// refused checks for an error answer of RFC 6749 §5.2 with one of the codes.
func (a *answer) refused(codes ...string) error {
	if a.status == http.StatusTooManyRequests {
		return errors.New("got status 429: the server limits how often it is asked, and has to make room for the checks")
	}
	if a.status < 400 || a.status > 499 {
		return fmt.Errorf("got %v, want a refusal: 4xx with error %s", a, strings.Join(codes, " or "))
	}
	if err := a.isJSON(); err != nil {
		return err
	}
	if !slices.Contains(codes, a.json.text("error")) {
		return fmt.Errorf("got %v, want error %s", a, strings.Join(codes, " or "))
	}
	if slices.Contains(codes, "invalid_client") && a.json.text("error") == "invalid_client" {
		return nil // 401 or 400, by how the client authenticated
	}
	if a.status != http.StatusBadRequest {
		return fmt.Errorf("got %v, want status 400 (RFC 6749 §5.2)", a)
	}
	return nil
}

// noStore reports whether no cache may keep the answer.
func (a *answer) noStore() error {
	for _, v := range a.header.Values("Cache-Control") {
		for d := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(d), "no-store") {
				return nil
			}
		}
	}
	return fmt.Errorf("got Cache-Control %q, want no-store", a.header.Get("Cache-Control"))
}

// challenged checks for a WWW-Authenticate header of the scheme, and returns its
// parameters.
func (a *answer) challenged(scheme string) (string, error) {
	for _, v := range a.header.Values("WWW-Authenticate") {
		name, rest, _ := strings.Cut(v, " ")
		if strings.EqualFold(name, scheme) {
			return rest, nil
		}
	}
	return "", fmt.Errorf("got %v and WWW-Authenticate %q, want a %s challenge", a, a.header.Get("WWW-Authenticate"), scheme)
}

// members are those of a JSON object.
type members map[string]json.RawMessage

func (m members) has(name string) bool {
	raw, ok := m[name]
	return ok && !bytes.Equal(raw, []byte("null"))
}

// text is a string member; empty if it is missing or something else.
func (m members) text(name string) string {
	var s string
	if json.Unmarshal(m[name], &s) != nil {
		return ""
	}
	return s
}

// list is an array of strings; nil if it is missing or something else.
func (m members) list(name string) []string {
	var l []string
	if json.Unmarshal(m[name], &l) != nil {
		return nil
	}
	return l
}

// yes reports whether a member is true.
func (m members) yes(name string) bool {
	var b bool
	return json.Unmarshal(m[name], &b) == nil && b
}

// audience is a string or an array of them (RFC 7519 §4.1.3).
func (m members) audience(name string) []string {
	if s := m.text(name); s != "" {
		return []string{s}
	}
	return m.list(name)
}

// unknown is a value that no server knows.
func unknown() string { return "conformance-" + rand.Text() }
