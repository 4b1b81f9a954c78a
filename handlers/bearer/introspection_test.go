package bearer

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// oauthServer answers introspection requests with what answers has.
type oauthServer struct {
	answers map[string]string
	status  int
	asked   atomic.Int32
	last    *http.Request
	mu      sync.Mutex
}

func (s *oauthServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.asked.Add(1)
	_ = r.ParseForm()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
	if s.status != 0 {
		w.WriteHeader(s.status)
	}
	_, _ = io.WriteString(w, s.answers[r.PostForm.Get("token")])
}

func TestIntrospection(t *testing.T) {
	clock := newSetClock()
	at := func(d time.Duration) int64 { return clock.now().Add(d).Unix() }
	const active = `{"active":true,"token_type":"Bearer",`
	full := active + fmt.Sprintf(`"sub":"alice","client_id":"c","iss":"https://as.example","scope":"read write","aud":["%s"],"exp":%d,"iat":%d,"jti":"t1"}`, testResource, at(time.Hour), at(0))
	down := errors.New("any error but ErrInvalidToken")
	for _, tt := range []struct {
		name   string
		answer string
		status int
		change func(*IntrospectionConfig)
		want   error
	}{
		{"active", full, 0, nil, nil},
		{"least", `{"active":true,"token_type":"bearer"}`, 0, nil, nil},
		{"inactive", `{"active":false}`, 0, nil, ErrInvalidToken},
		{"a refresh token", `{"active":true,"sub":"alice"}`, 0, nil, ErrInvalidToken},
		{"without token_type, allowed", `{"active":true,"sub":"alice"}`, 0, func(c *IntrospectionConfig) { c.AllowMissingTokenType = true }, nil},
		{"another token_type", `{"active":true,"token_type":"DPoP"}`, 0, func(c *IntrospectionConfig) { c.AllowMissingTokenType = true }, ErrInvalidToken},
		{"token_type a number", `{"active":true,"token_type":1}`, 0, func(c *IntrospectionConfig) { c.AllowMissingTokenType = true }, ErrInvalidToken},
		{"bound to a key", active + `"cnf":{"x5t#S256":"x"}}`, 0, nil, ErrInvalidToken},
		{"expired", active + fmt.Sprintf(`"exp":%d}`, at(-time.Minute)), 0, nil, ErrInvalidToken},
		{"expired at 0", active + `"exp":0}`, 0, nil, ErrInvalidToken},
		{"not yet", active + fmt.Sprintf(`"nbf":%d}`, at(time.Minute)), 0, nil, ErrInvalidToken},
		{"the issuer", full, 0, func(c *IntrospectionConfig) { c.Issuer = "https://as.example" }, nil},
		{"another issuer", full, 0, func(c *IntrospectionConfig) { c.Issuer = "https://other.example" }, ErrInvalidToken},
		{"active a string", `{"active":"true","token_type":"Bearer"}`, 0, nil, down},
		{"active missing", `{}`, 0, nil, down},
		{"active twice", `{"active":false,"active":true,"token_type":"Bearer"}`, 0, nil, down},
		{"not JSON", `<html>`, 0, nil, down},
		{"null", `null`, 0, nil, down},
		{"too large", `{"active":true,"token_type":"Bearer","x":"` + strings.Repeat("x", maxDocument) + `"}`, 0, nil, down},
		{"credentials refused", `{"error":"invalid_client"}`, 401, nil, down},
		{"server error", full, 500, nil, down},
		{"redirect", full, 302, nil, down},
	} {
		t.Run(tt.name, func(t *testing.T) {
			as := &oauthServer{answers: map[string]string{"t+/=": tt.answer}, status: tt.status}
			srv := httptest.NewTLSServer(as)
			defer srv.Close()
			cfg := IntrospectionConfig{
				Endpoint: srv.URL + "/introspect", ClientID: "rs:1", ClientSecret: "s e+c", Client: srv.Client(), Now: clock.now,
			}
			if tt.change != nil {
				tt.change(&cfg)
			}
			v, err := NewIntrospection(cfg)
			if err != nil {
				t.Fatal(err)
			}
			token, err := v.Verify(t.Context(), "t+/=")
			switch {
			case tt.want == down && (err == nil || errors.Is(err, ErrInvalidToken)):
				t.Errorf("got %v, want an error that is not ErrInvalidToken", err)
			case tt.want != down && !errors.Is(err, tt.want):
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if (token != nil) != (err == nil) {
				t.Errorf("got token %v with error %v", token, err)
			}
			if tt.answer == full && err == nil {
				if token.Subject != "alice" || token.ClientID != "c" || token.ID != "t1" || !token.HasAudience(testResource) ||
					!slices.Equal(token.Scopes, []string{"read", "write"}) || !token.ExpiresAt.Equal(clock.now().Add(time.Hour)) {
					t.Errorf("got %+v", token)
				}
			}
			r := as.last
			id, secret, _ := r.BasicAuth()
			if id != "rs%3A1" || secret != "s+e%2Bc" || r.Method != http.MethodPost || r.PostForm.Get("token_type_hint") != "access_token" || r.URL.RawQuery != "" {
				t.Errorf("request: got %s %s, id %q, secret %q, form %v", r.Method, r.URL, id, secret, r.PostForm)
			}
		})
	}
}

func TestIntrospectionUnreachable(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	client := srv.Client()
	srv.Close()
	v, err := NewIntrospection(IntrospectionConfig{Endpoint: srv.URL, ClientID: "a", ClientSecret: "b", Client: client})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(t.Context(), "secret-token"); err == nil || errors.Is(err, ErrInvalidToken) || strings.Contains(err.Error(), "secret-token") {
		t.Errorf("got %v, want an error without the token that is not ErrInvalidToken", err)
	}
}

func TestIntrospectionCache(t *testing.T) {
	clock := newSetClock()
	at := func(d time.Duration) int64 { return clock.now().Add(d).Unix() }
	as := &oauthServer{answers: map[string]string{
		"long":  fmt.Sprintf(`{"active":true,"token_type":"Bearer","exp":%d}`, at(time.Hour)),
		"short": fmt.Sprintf(`{"active":true,"token_type":"Bearer","exp":%d}`, at(5*time.Second)),
		"bad":   `{"active":false}`,
	}}
	srv := httptest.NewTLSServer(as)
	defer srv.Close()
	v, err := NewIntrospection(IntrospectionConfig{
		Endpoint: srv.URL, ClientID: "a", ClientSecret: "b", Client: srv.Client(), Now: clock.now,
		CacheFor: 10 * time.Second, MaxCached: 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		after time.Duration
		token string
		asked int32
	}{
		{"first", 0, "long", 1},
		{"kept", 9 * time.Second, "long", 1},
		{"not longer", time.Second, "long", 2},
		{"invalid", 0, "bad", 3},
		{"invalid is not kept", 0, "bad", 4},
	} {
		clock.add(tt.after)
		_, _ = v.Verify(t.Context(), tt.token)
		if n := as.asked.Load(); n != tt.asked {
			t.Errorf("%s: asked %d times, want %d", tt.name, n, tt.asked)
		}
	}
	clock.add(-10 * time.Second)
	_, _ = v.Verify(t.Context(), "short")
	clock.add(5 * time.Second)
	_, _ = v.Verify(t.Context(), "short")
	if n := as.asked.Load(); n != 6 {
		t.Errorf("an answer outlived its token: asked %d times, want 6", n)
	}
	for n := range 100 {
		as.mu.Lock()
		as.answers[fmt.Sprint(n)] = as.answers["long"]
		as.mu.Unlock()
		_, _ = v.Verify(t.Context(), fmt.Sprint(n))
	}
	if n := len(v.(*introspector).cached); n > 20 {
		t.Errorf("%d answers are kept, want at most 20", n)
	}
}

func TestNewIntrospectionRefusesConfig(t *testing.T) {
	good := IntrospectionConfig{Endpoint: "https://as.example/introspect", ClientID: "a", ClientSecret: "b"}
	if _, err := NewIntrospection(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*IntrospectionConfig){
		"no endpoint":      func(c *IntrospectionConfig) { c.Endpoint = "" },
		"endpoint by http": func(c *IntrospectionConfig) { c.Endpoint = "http://as.example/introspect" },
		"no client":        func(c *IntrospectionConfig) { c.ClientID = "" },
		"no secret":        func(c *IntrospectionConfig) { c.ClientSecret = "" },
		"cache too long":   func(c *IntrospectionConfig) { c.CacheFor = time.Hour },
		"cache negative":   func(c *IntrospectionConfig) { c.CacheFor = -1 },
		"bound negative":   func(c *IntrospectionConfig) { c.MaxCached = -1 },
	} {
		cfg := good
		change(&cfg)
		if _, err := NewIntrospection(cfg); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
