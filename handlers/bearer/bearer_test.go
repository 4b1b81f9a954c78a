package bearer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

const (
	testResource = "https://api.example"
	testMetadata = "https://api.example/.well-known/oauth-protected-resource"
)

// tokens is a Verifier of a fixed set.
type tokens map[string]*Token

func (v tokens) Verify(_ context.Context, token string) (*Token, error) {
	if token == "down" {
		return nil, errors.New("database down")
	}
	if t := v[token]; t != nil {
		return t, nil
	}
	if _, ok := v[token]; ok {
		return nil, nil
	}
	return nil, fmt.Errorf("%w: unknown", ErrInvalidToken)
}

var testTokens = tokens{
	"good":   {Subject: "alice", Audience: []string{testResource}, Scopes: []string{"read", "write"}},
	"slash":  {Subject: "alice", Audience: []string{testResource + "/"}, Scopes: []string{"read", "write"}},
	"second": {Subject: "alice", Audience: []string{"https://x.example", testResource}, Scopes: []string{"read", "write"}},
	"narrow": {Subject: "alice", Audience: []string{testResource}, Scopes: []string{"read", "Write"}},
	"other":  {Subject: "alice", Audience: []string{"https://other.example"}, Scopes: []string{"read", "write"}},
	"prefix": {Subject: "alice", Audience: []string{testResource + "/v1"}, Scopes: []string{"read", "write"}},
	"none":   {Subject: "alice", Scopes: []string{"read", "write"}},
	"nil":    nil,
	"a.b-c_d~e+f/g==": {
		Subject: "alice", Audience: []string{testResource}, Scopes: []string{"read", "write"},
	},
}

func TestMiddleware(t *testing.T) {
	full := Config{
		Resource: testResource, Scopes: []string{"read", "write"}, ResourceMetadata: testMetadata, Realm: `the "api"`,
	}
	const (
		realm    = `realm="the \"api\""`
		trailer  = `scope="read write", resource_metadata="` + testMetadata + `"`
		anyone   = `Bearer ` + realm + `, ` + trailer
		bad      = `Bearer ` + realm + `, error="invalid_request", error_description="The Authorization header is malformed.", ` + trailer
		invalid  = `Bearer ` + realm + `, error="invalid_token", error_description="The access token is not valid.", ` + trailer
		elsewher = `Bearer ` + realm + `, error="invalid_token", error_description="The access token is for another resource.", ` + trailer
		scope    = `Bearer ` + realm + `, error="insufficient_scope", error_description="The access token lacks a scope.", ` + trailer
	)
	for _, tt := range []struct {
		name      string
		cfg       Config
		target    string
		headers   []string
		status    int
		challenge string
	}{
		{"valid", full, "/", []string{"Bearer good"}, 200, ""},
		{"scheme in lower case", full, "/", []string{"bearer good"}, 200, ""},
		{"scheme in upper case", full, "/", []string{"BEARER good"}, 200, ""},
		{"several spaces", full, "/", []string{"Bearer   good"}, 200, ""},
		{"every character of the syntax", full, "/", []string{"Bearer a.b-c_d~e+f/g=="}, 200, ""},
		{"audience with a slash", full, "/", []string{"Bearer slash"}, 200, ""},
		{"audience among others", full, "/", []string{"Bearer second"}, 200, ""},
		{"no resource configured", Config{}, "/", []string{"Bearer other"}, 200, ""},
		{"other parameters", full, "/?token=x&accesstoken=y", []string{"Bearer good"}, 200, ""},

		{"no token", full, "/", nil, 401, anyone},
		{"no token, metadata alone", Config{ResourceMetadata: testMetadata}, "/", nil, 401, `Bearer resource_metadata="` + testMetadata + `"`},
		{"no token, nothing configured", Config{}, "/", nil, 401, `Bearer realm="api"`},
		{"another scheme", full, "/", []string{"Basic Z29vZA=="}, 401, anyone},
		{"a scheme that begins so", full, "/", []string{"Bearers good"}, 401, anyone},
		{"empty header", full, "/", []string{""}, 401, anyone},
		{"token in the query alone", full, "/?access_token=good", nil, 401, anyone},

		{"token in header and query", full, "/?access_token=good", []string{"Bearer good"}, 400,
			strings.Replace(bad, "The Authorization header is malformed.", "The access token is sent in more than one way.", 1)},
		{"token in header and query, escaped", full, "/?access%5Ftoken=", []string{"Bearer good"}, 400,
			strings.Replace(bad, "The Authorization header is malformed.", "The access token is sent in more than one way.", 1)},
		{"two headers", full, "/", []string{"Bearer good", "Bearer good"}, 400,
			strings.Replace(bad, "The Authorization header is malformed.", "There is more than one Authorization header.", 1)},
		{"scheme and Basic", full, "/", []string{"Basic Z29vZA==", "Bearer good"}, 400,
			strings.Replace(bad, "The Authorization header is malformed.", "There is more than one Authorization header.", 1)},
		{"scheme alone", full, "/", []string{"Bearer"}, 400, bad},
		{"scheme and a space", full, "/", []string{"Bearer "}, 400, bad},
		{"two tokens", full, "/", []string{"Bearer good good"}, 400, bad},
		{"tokens with a comma", full, "/", []string{"Bearer good, Bearer good"}, 400, bad},
		{"quoted", full, "/", []string{`Bearer "good"`}, 400, bad},
		{"equals signs alone", full, "/", []string{"Bearer =="}, 400, bad},
		{"equals sign within", full, "/", []string{"Bearer a=b"}, 400, bad},
		{"not ASCII", full, "/", []string{"Bearer gööd"}, 400, bad},
		{"huge", full, "/", []string{"Bearer " + strings.Repeat("a", maxToken+1)}, 400, bad},

		{"unknown", full, "/", []string{"Bearer nothing"}, 401, invalid},
		{"for another resource", full, "/", []string{"Bearer other"}, 401, elsewher},
		{"for a path below", full, "/", []string{"Bearer prefix"}, 401, elsewher},
		{"for nobody", full, "/", []string{"Bearer none"}, 401, elsewher},
		{"scope in another case", full, "/", []string{"Bearer narrow"}, 403, scope},
		{"verifier down", full, "/", []string{"Bearer down"}, 503, ""},
		{"verifier without an answer", full, "/", []string{"Bearer nil"}, 503, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.Verifier = testTokens
			called := false
			h := Middleware(tt.cfg)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				called = true
				if token, ok := FromContext(r.Context()); !ok || token.Subject != "alice" {
					t.Errorf("FromContext: got %v, %v", token, ok)
				}
			}))
			// A body that must stay unread.
			r := httptest.NewRequest(http.MethodPost, tt.target, strings.NewReader("access_token=good"))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header["Authorization"] = tt.headers
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status || called != (tt.status == 200) {
				t.Errorf("got status %d, handler called %v, want %d", w.Code, called, tt.status)
			}
			if got := w.Header().Get("WWW-Authenticate"); got != tt.challenge {
				t.Errorf("challenge:\ngot  %s\nwant %s", got, tt.challenge)
			}
			if tt.status != 200 && w.Header().Get("Cache-Control") != "no-store" {
				t.Error("the refusal may be cached")
			}
			if (w.Header().Get("Retry-After") != "") != (tt.status == 503) {
				t.Errorf("Retry-After: got %q", w.Header().Get("Retry-After"))
			}
			if r.PostForm != nil {
				t.Error("the body was read")
			}
		})
	}
}

func TestMiddlewareRefusesConfig(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no verifier":             {},
		"scope with a space":      {Verifier: testTokens, Scopes: []string{"read write"}},
		"scope with a quote":      {Verifier: testTokens, Scopes: []string{`a"b`}},
		"empty scope":             {Verifier: testTokens, Scopes: []string{""}},
		"relative resource":       {Verifier: testTokens, Resource: "/api"},
		"resource with fragment":  {Verifier: testTokens, Resource: "https://api.example/#"},
		"relative metadata":       {Verifier: testTokens, ResourceMetadata: "/.well-known/oauth-protected-resource"},
		"metadata that is no URL": {Verifier: testTokens, ResourceMetadata: "https://a b"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			Middleware(cfg)
		})
	}
}

func TestFromContextWithoutMiddleware(t *testing.T) {
	if token, ok := FromContext(t.Context()); ok || token != nil {
		t.Errorf("got %v, %v, want nothing", token, ok)
	}
	want := &Token{Subject: "alice"}
	if got, ok := FromContext(NewContext(t.Context(), want)); !ok || got != want {
		t.Errorf("got %v, %v, want what NewContext was given", got, ok)
	}
}

func TestHasAudience(t *testing.T) {
	for _, tt := range []struct {
		aud, resource string
		want          bool
	}{
		{"https://a.example", "https://a.example", true},
		{"https://a.example/", "https://a.example", true},
		{"https://a.example", "https://a.example/", true},
		{"https://a.example/x", "https://a.example/x", true},
		{"https://a.example/x/", "https://a.example/x", false},
		{"https://a.example/x", "https://a.example/x/", false},
		{"https://a.example//", "https://a.example/", false},
		{"https://a.example?/", "https://a.example?", false},
		{"https://A.example", "https://a.example", false},
		{"https://a.example:443", "https://a.example", false},
		{"https://a.example.evil", "https://a.example", false},
		{"urn:a/", "urn:a", false},
		{"", "https://a.example", false},
	} {
		if got := (&Token{Audience: []string{tt.aud}}).HasAudience(tt.resource); got != tt.want {
			t.Errorf("%q for %q: got %v, want %v", tt.aud, tt.resource, got, tt.want)
		}
	}
}

// Only b64tokens reach a verifier, and a challenge is always one line.
func FuzzAuthorization(f *testing.F) {
	for _, s := range []string{"Bearer good", "bearer  x", "Bearer", "Basic a:b", "Bearer a, Bearer b", "Bearer \"\n"} {
		f.Add(s, "access_token=x", "realm")
	}
	f.Fuzz(func(t *testing.T, header, query, realm string) {
		verifier := VerifierFunc(func(_ context.Context, token string) (*Token, error) {
			if token == "" || strings.ContainsAny(token, " \t\r\n\",;") || !strings.HasSuffix(header, token) {
				t.Errorf("%q reached the verifier from %q", token, header)
			}
			return nil, ErrInvalidToken
		})
		r := &http.Request{Method: "GET", URL: &url.URL{RawQuery: query}, Header: http.Header{"Authorization": {header}}}
		w := httptest.NewRecorder()
		Middleware(Config{Verifier: verifier, Realm: realm})(http.NotFoundHandler()).ServeHTTP(w, r)
		challenge := w.Header().Get("WWW-Authenticate")
		if strings.ContainsFunc(challenge, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("challenge %q", challenge)
		}
		if !slices.Contains([]int{400, 401}, w.Code) {
			t.Errorf("got status %d", w.Code)
		}
	})
}
