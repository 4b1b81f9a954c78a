package handlers

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// pageServer is as much of a server as pages and cookies need.
func pageServer(t testing.TB, issuer string, secrets ...string) *Server {
	t.Helper()
	u, err := url.Parse(issuer)
	if err != nil {
		t.Fatal(err)
	}
	if len(secrets) == 0 {
		secrets = []string{"k"}
	}
	s := &Server{issuer: u, base: u.Path, secure: u.Scheme == "https", now: time.Now, log: slog.New(slog.DiscardHandler), pages: DefaultRenderer()}
	s.cfg.Issuer = issuer
	for _, secret := range secrets {
		s.cfg.Secrets = append(s.cfg.Secrets, bytes.Repeat([]byte(secret), 32))
	}
	return s
}

// browserWith is a request that carries cookies, given as name and value.
func browserWith(pairs ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for i := 0; i < len(pairs); i += 2 {
		r.AddCookie(&http.Cookie{Name: pairs[i], Value: pairs[i+1]})
	}
	return r
}

func onlyCookie(t *testing.T, w *httptest.ResponseRecorder) *http.Cookie {
	t.Helper()
	cookies := w.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("got %d cookies, want 1", len(cookies))
	}
	return cookies[0]
}

func TestCookieAttributes(t *testing.T) {
	tests := []struct {
		issuer, name, path string
		secure             bool
	}{
		{"https://as.example", "__Host-oauthreg_browser", "/", true},
		{"https://as.example/auth", "__Host-oauthreg_browser", "/", true},
		{"http://127.0.0.1:9000", "oauthreg_browser", "/", false},
		{"http://127.0.0.1:9000/auth", "oauthreg_browser", "/auth/", false},
	}
	for _, tt := range tests {
		t.Run(tt.issuer, func(t *testing.T) {
			s := pageServer(t, tt.issuer)
			w := httptest.NewRecorder()
			s.browser(w, browserWith())
			c := onlyCookie(t, w)
			if c.Name != tt.name || c.Path != tt.path || c.Secure != tt.secure {
				t.Errorf("got %s, path %s, secure %v; want %s, %s, %v", c.Name, c.Path, c.Secure, tt.name, tt.path, tt.secure)
			}
			if !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Domain != "" || c.MaxAge != 0 || !c.Expires.IsZero() {
				t.Errorf("got %q, want HttpOnly, SameSite=Lax, no domain and no end of its own", c.Raw)
			}
			w = httptest.NewRecorder()
			s.clearCookie(w, sessionCookie)
			gone := onlyCookie(t, w)
			if gone.MaxAge != -1 || gone.Path != tt.path || gone.Secure != tt.secure || gone.Name != strings.Replace(tt.name, "browser", "session", 1) {
				t.Errorf("clearing: got %q", gone.Raw)
			}
		})
	}
}

func TestBrowserIsRecognized(t *testing.T) {
	s := pageServer(t, "https://as.example")
	w, r := httptest.NewRecorder(), browserWith()
	v := s.browser(w, r)
	if len(v) != tokenPart {
		t.Fatalf("got %q, want 256 bits", v)
	}
	if again := s.browser(w, r); again != v {
		t.Error("the second call in one request made another browser")
	}
	c := onlyCookie(t, w)
	next := httptest.NewRecorder()
	if got := s.browser(next, browserWith(c.Name, c.Value)); got != v || len(next.Result().Cookies()) != 0 {
		t.Error("the browser is not recognized by its cookie")
	}
	if got := s.browserOf(browserWith(c.Name, "planted", c.Name, c.Value)); got != v {
		t.Error("a made-up cookie of the same name hides the good one")
	}
	if s.browser(httptest.NewRecorder(), browserWith()) == v {
		t.Error("two browsers got the same value")
	}
}

func TestMadeUpBrowserIsRefused(t *testing.T) {
	s := pageServer(t, "https://as.example")
	w := httptest.NewRecorder()
	v := s.browser(w, browserWith())
	c := onlyCookie(t, w)
	mac := c.Value[tokenPart+1:]
	foreign := httptest.NewRecorder()
	pageServer(t, "https://as.example", "x").browser(foreign, browserWith())
	session := httptest.NewRecorder()
	s.setSession(session, newHandle(time.Now()), "alice")

	tests := map[string]string{
		"empty":                  "",
		"no MAC":                 v,
		"empty MAC":              v + ".",
		"chosen value":           strings.Repeat("A", tokenPart) + "." + mac,
		"chosen MAC":             v + "." + strings.Repeat("A", tokenPart),
		"cut":                    c.Value[:len(c.Value)-1],
		"longer":                 c.Value + "A",
		"padded":                 c.Value + "=",
		"other spelling of MAC":  c.Value[:len(c.Value)-1] + string(otherSpelling(c.Value[len(c.Value)-1])),
		"another server's":       onlyCookie(t, foreign).Value,
		"the session cookie":     onlyCookie(t, session).Value,
		"value without the rest": "." + mac,
	}
	for name, value := range tests {
		if got := s.browserOf(browserWith(c.Name, value)); got != "" {
			t.Errorf("%s: accepted as %q", name, got)
		}
	}
}

// otherSpelling is a base64url character that differs in the two bits that do
// not count at the end of 32 bytes.
func otherSpelling(c byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, c)^1]
}

func TestCookiesSurviveKeyRotation(t *testing.T) {
	old := pageServer(t, "https://as.example", "a")
	w := httptest.NewRecorder()
	v := old.browser(w, browserWith())
	browser := onlyCookie(t, w)
	w = httptest.NewRecorder()
	handle := newHandle(time.Now())
	old.setSession(w, handle, "alice")
	session := onlyCookie(t, w)
	r := browserWith(browser.Name, browser.Value, session.Name, session.Value)

	rotated := pageServer(t, "https://as.example", "b", "a")
	if got := rotated.browserOf(r); got != v {
		t.Errorf("browser after rotation: got %q, want %q", got, v)
	}
	if got, name := rotated.sessionOf(r); got != handle || name != "alice" {
		t.Errorf("session after rotation: got %q, %q", got, name)
	}
	dropped := pageServer(t, "https://as.example", "b")
	if got := dropped.browserOf(r); got != "" {
		t.Error("the browser cookie outlives its key")
	}
	if got, _ := dropped.sessionOf(r); got != "" {
		t.Error("the session cookie outlives its key")
	}
}

func TestSessionCookie(t *testing.T) {
	s := pageServer(t, "https://as.example")
	handle := newHandle(time.Now())
	w := httptest.NewRecorder()
	s.setSession(w, handle, "alice@example.com")
	c := onlyCookie(t, w)
	if got, name := s.sessionOf(browserWith(c.Name, c.Value)); got != handle || name != "alice@example.com" {
		t.Fatalf("got %q, %q", got, name)
	}
	for _, clear := range []string{handle, handle[:10], "alice"} {
		if strings.Contains(c.Value, clear) {
			t.Errorf("the cookie shows %q", clear)
		}
	}
	for name, value := range map[string]string{
		"the handle alone": handle,
		"altered":          "A" + c.Value[1:],
		"cut":              c.Value[:len(c.Value)-2],
		"too long":         c.Value + strings.Repeat("A", maxSessionCookie),
		"sealed for other": sealValue(s.keysFor("sign-in step"), "", []byte(handle)),
		"short":            sealValue(s.keysFor("session cookie"), "", []byte("x")),
	} {
		if got, _ := s.sessionOf(browserWith(c.Name, value)); got != "" && !strings.HasPrefix(c.Value, value) {
			t.Errorf("%s: accepted as %q", name, got)
		}
	}
	if len(sealValue(s.keysFor("session cookie"), "", []byte(handle+strings.Repeat("ü", maxUsername/2)))) > maxSessionCookie {
		t.Error("the longest user name does not fit")
	}
}

func TestSealedValueOpensOnlyInItsContext(t *testing.T) {
	keys := pageServer(t, "https://as.example").keysFor("test")
	sealed := sealValue(keys, "browser-1", []byte("plain"))
	if b, ok := openValue(keys, "browser-1", sealed); !ok || string(b) != "plain" {
		t.Fatalf("got %q, %v", b, ok)
	}
	for _, context := range []string{"", "browser-2", "browser-1 "} {
		if _, ok := openValue(keys, context, sealed); ok {
			t.Errorf("opens in context %q", context)
		}
	}
	if sealValue(keys, "browser-1", []byte("plain")) == sealed {
		t.Error("the same value is sealed the same way twice")
	}
}

// Parts that run into each other would let one proof stand for another.
func TestMACSeparatesParts(t *testing.T) {
	key := newSecretKey(bytes.Repeat([]byte("k"), 32))
	seen := map[string][]string{}
	for _, parts := range [][]string{{"ab", "c"}, {"a", "bc"}, {"abc"}, {"abc", ""}, {"", "abc"}, {}} {
		mac := key.macText(parts...)
		if other, ok := seen[mac]; ok {
			t.Errorf("%q and %q have the same MAC", parts, other)
		}
		seen[mac] = parts
	}
}

// Nobody without the key makes a cookie that is taken for ours.
func FuzzForgedCookies(f *testing.F) {
	s := pageServer(f, "http://127.0.0.1")
	w := httptest.NewRecorder()
	s.browser(w, browserWith())
	s.setSession(w, newHandle(time.Now()), "alice")
	real := map[string]bool{}
	for _, c := range w.Result().Cookies() {
		real[c.Value] = true
		f.Add(c.Value[:len(c.Value)/2])
	}
	f.Add("a.b")
	f.Fuzz(func(t *testing.T, value string) {
		if real[value] {
			return // one that we made
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Cookie", "oauthreg_browser="+value+"; oauthreg_session="+value)
		for _, c := range r.Cookies() {
			if real[c.Value] {
				return
			}
		}
		if s.browserOf(r) != "" {
			t.Errorf("browser cookie %q accepted", value)
		}
		if handle, _ := s.sessionOf(r); handle != "" {
			t.Errorf("session cookie %q accepted", value)
		}
	})
}
