package bearer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// setClock is a clock that tests move.
type setClock struct{ nanos atomic.Int64 }

func newSetClock() *setClock {
	c := new(setClock)
	c.nanos.Store(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	return c
}

func (c *setClock) now() time.Time      { return time.Unix(0, c.nanos.Load()).UTC() }
func (c *setClock) add(d time.Duration) { c.nanos.Add(int64(d)) }

// issuer is an authorization server as far as NewJWT needs one.
type issuer struct {
	t     testing.TB
	clock *setClock
	srv   *httptest.Server
	url   string // the issuer identifier

	fetches  atomic.Int32 // of the JWKS
	mu       sync.Mutex
	keys     []jose.JSONWebKey // the first one signs
	metadata map[string]func() any
	down     bool
}

func newKey(t testing.TB, kid string) jose.JSONWebKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: key, KeyID: kid, Algorithm: "ES256", Use: "sig"}
}

func newIssuer(t testing.TB, path string) *issuer {
	i := &issuer{t: t, clock: newSetClock(), keys: []jose.JSONWebKey{newKey(t, "k1")}}
	i.srv = httptest.NewTLSServer(i)
	t.Cleanup(i.srv.Close)
	i.url = i.srv.URL + path
	i.metadata = map[string]func() any{"/.well-known/oauth-authorization-server" + path: i.document}
	return i
}

func (i *issuer) document() any {
	return map[string]any{"issuer": i.url, "jwks_uri": i.srv.URL + "/jwks"}
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch document := i.metadata[r.URL.Path]; {
	case i.down:
		w.WriteHeader(http.StatusBadGateway)
	case r.URL.Path == "/jwks":
		i.fetches.Add(1)
		set := []any{map[string]any{"kty": "future", "kid": "x"}, i.keys[0].Key /* junk */}
		for _, k := range i.keys {
			set = append(set, k.Public())
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": set})
	case document != nil:
		_ = json.NewEncoder(w).Encode(document())
	default:
		http.NotFound(w, r)
	}
}

func (i *issuer) change(f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	f()
}

func (i *issuer) verifier(change func(*JWTConfig)) Verifier {
	i.t.Helper()
	cfg := JWTConfig{Issuer: i.url, Audience: []string{testResource}, Client: i.srv.Client(), Now: i.clock.now}
	if change != nil {
		change(&cfg)
	}
	v, err := NewJWT(cfg)
	if err != nil {
		i.t.Fatal(err)
	}
	return v
}

func (i *issuer) claims(change map[string]any) map[string]any {
	now := i.clock.now()
	claims := map[string]any{
		"iss": i.url, "sub": "alice", "aud": testResource, "client_id": "client-1", "scope": "read write",
		"jti": "t1", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
	for name, v := range change {
		if v == nil {
			delete(claims, name)
		} else {
			claims[name] = v
		}
	}
	return claims
}

func (i *issuer) sign(claims map[string]any) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return signJWT(i.t, jose.ES256, i.keys[0], map[string]any{"typ": "at+jwt"}, claims)
}

func signJWT(t testing.TB, alg jose.SignatureAlgorithm, key any, header, claims map[string]any) string {
	t.Helper()
	opts := &jose.SignerOptions{}
	for name, v := range header {
		opts.WithHeader(jose.HeaderKey(name), v)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(b)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestJWTClaims(t *testing.T) {
	i := newIssuer(t, "/tenant")
	v := i.verifier(nil)
	at := func(d time.Duration) int64 { return i.clock.now().Add(d).Unix() }
	for _, tt := range []struct {
		name   string
		change map[string]any
		ok     bool
	}{
		{"good", nil, true},
		{"aud an array", map[string]any{"aud": []string{"https://x.example", testResource}}, true},
		{"aud with a slash", map[string]any{"aud": testResource + "/"}, true},
		{"aud missing", map[string]any{"aud": nil}, false},
		{"aud another", map[string]any{"aud": "https://other.example"}, false},
		{"aud the issuer", map[string]any{"aud": i.url}, false},
		{"aud a number", map[string]any{"aud": 1}, false},
		{"aud an array with a number", map[string]any{"aud": []any{testResource, 1}}, false},
		{"iss missing", map[string]any{"iss": nil}, false},
		{"iss another", map[string]any{"iss": i.srv.URL}, false},
		{"iss with a slash", map[string]any{"iss": i.url + "/"}, false},
		{"iss a number", map[string]any{"iss": 1}, false},
		{"exp missing", map[string]any{"exp": nil}, false},
		{"exp 0", map[string]any{"exp": 0}, false},
		{"exp past", map[string]any{"exp": at(-30 * time.Second)}, false},
		{"exp within the leeway", map[string]any{"exp": at(-29 * time.Second)}, true},
		{"exp with a fraction", map[string]any{"exp": float64(at(time.Hour)) + 0.5}, true},
		{"exp a string", map[string]any{"exp": "2030"}, false},
		{"exp astronomic", map[string]any{"exp": 1e300}, false},
		{"nbf future", map[string]any{"nbf": at(31 * time.Second)}, false},
		{"nbf within the leeway", map[string]any{"nbf": at(30 * time.Second)}, true},
		{"iat future", map[string]any{"iat": at(31 * time.Second)}, false},
		{"scope a number", map[string]any{"scope": 1}, false},
		{"sub a number", map[string]any{"sub": 1}, false},
		{"no scope", map[string]any{"scope": nil}, true},
		{"bound to a key", map[string]any{"cnf": map[string]any{"jkt": "x"}}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token, err := v.Verify(t.Context(), i.sign(i.claims(tt.change)))
			if !tt.ok {
				if !errors.Is(err, ErrInvalidToken) || token != nil {
					t.Errorf("got %v, %v, want ErrInvalidToken", token, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if token.Subject != "alice" || token.ClientID != "client-1" || token.Issuer != i.url || token.ID != "t1" ||
				!token.IssuedAt.Equal(i.clock.now()) || token.ExpiresAt.IsZero() || token.Claims["sub"] != "alice" {
				t.Errorf("got %+v", token)
			}
			if want := tt.change["scope"] == nil && len(tt.change) == 1 && tt.name == "no scope"; want != (len(token.Scopes) == 0) {
				t.Errorf("got scopes %q", token.Scopes)
			}
		})
	}
}

func TestJWTSignature(t *testing.T) {
	i := newIssuer(t, "")
	key, other := i.keys[0], newKey(t, "k1")
	at := map[string]any{"typ": "at+jwt"}
	good := i.sign(i.claims(nil))
	parts := strings.Split(good, ".")
	public, err := json.Marshal(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		token string
		ok    bool
	}{
		{"good", good, true},
		{"typ with application/", signJWT(t, jose.ES256, key, map[string]any{"typ": "application/at+jwt"}, i.claims(nil)), true},
		{"typ in another case", signJWT(t, jose.ES256, key, map[string]any{"typ": "AT+JWT"}, i.claims(nil)), true},
		{"without a key id", signJWT(t, jose.ES256, key.Key, at, i.claims(nil)), true},
		{"an id_token", signJWT(t, jose.ES256, key, map[string]any{"typ": "JWT"}, i.claims(nil)), false},
		{"no typ", signJWT(t, jose.ES256, key, nil, i.claims(nil)), false},
		{"crit", signJWT(t, jose.ES256, key, map[string]any{"typ": "at+jwt", "crit": []string{"x"}, "x": 1}, i.claims(nil)), false},
		{"another key with that id", signJWT(t, jose.ES256, other, at, i.claims(nil)), false},
		{"HS256 with the public key", signJWT(t, jose.HS256, public, at, i.claims(nil)), false},
		{"none", "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + parts[1] + ".", false},
		{"no signature", parts[0] + "." + parts[1] + ".", false},
		{"cut short", good[:len(good)-2], false},
		{"opaque", "abc", false},
		{"empty", "", false},
		{"huge", strings.Repeat("a", maxToken+1), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := i.verifier(nil).Verify(t.Context(), tt.token)
			if tt.ok && err != nil || !tt.ok && !errors.Is(err, ErrInvalidToken) {
				t.Errorf("got %v, want accepted=%v", err, tt.ok)
			}
		})
	}
	v := i.verifier(func(c *JWTConfig) { c.Algorithms = []string{"RS256"} })
	if _, err := v.Verify(t.Context(), good); !errors.Is(err, ErrInvalidToken) {
		t.Errorf("an algorithm that is not configured: got %v, want ErrInvalidToken", err)
	}
}

func TestJWTMetadata(t *testing.T) {
	for _, tt := range []struct {
		name   string
		path   string
		change func(*issuer)
		uri    bool // configure JWKSURI
		ok     bool
	}{
		{"RFC 8414 at the root", "", nil, false, true},
		{"RFC 8414 with a path", "/tenant", nil, false, true},
		{"OpenID Connect Discovery", "/tenant", func(i *issuer) {
			i.metadata = map[string]func() any{"/tenant/.well-known/openid-configuration": i.document}
		}, false, true},
		{"neither, but a JWKSURI", "", func(i *issuer) { i.metadata = nil }, true, true},
		{"neither", "", func(i *issuer) { i.metadata = nil }, false, false},
		{"another issuer", "", func(i *issuer) {
			i.metadata["/.well-known/oauth-authorization-server"] = func() any {
				return map[string]any{"issuer": i.url + "/", "jwks_uri": i.srv.URL + "/jwks"}
			}
		}, false, false},
		{"jwks_uri by http", "", func(i *issuer) {
			i.metadata["/.well-known/oauth-authorization-server"] = func() any {
				return map[string]any{"issuer": i.url, "jwks_uri": "http://as.example/jwks"}
			}
		}, false, false},
		{"not JSON", "", func(i *issuer) {
			i.metadata["/.well-known/oauth-authorization-server"] = func() any { return "text" }
		}, false, false},
		{"down", "", func(i *issuer) { i.down = true }, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newIssuer(t, tt.path)
			if tt.change != nil {
				tt.change(i)
			}
			v := i.verifier(func(c *JWTConfig) {
				if tt.uri {
					c.JWKSURI = i.srv.URL + "/jwks"
				}
			})
			_, err := v.Verify(t.Context(), i.sign(i.claims(nil)))
			if (err == nil) != tt.ok || errors.Is(err, ErrInvalidToken) {
				t.Errorf("got %v, want ok=%v and never ErrInvalidToken", err, tt.ok)
			}
		})
	}
}

func TestJWTKeyRotation(t *testing.T) {
	i := newIssuer(t, "")
	v := i.verifier(nil)
	verify := func(step string, want error, fetches int32) {
		t.Helper()
		if _, err := v.Verify(t.Context(), i.sign(i.claims(nil))); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", step, err, want)
		}
		if n := i.fetches.Load(); n != fetches {
			t.Errorf("%s: got %d fetches, want %d", step, n, fetches)
		}
	}
	verify("first", nil, 1)
	old := i.keys
	i.change(func() { i.keys = append([]jose.JSONWebKey{newKey(t, "k2")}, old...) })
	verify("new key at once", ErrInvalidToken, 1)
	i.clock.add(30 * time.Second)
	verify("new key", nil, 2)
	verify("known", nil, 2)
	i.clock.add(15 * time.Minute)
	verify("again after 15 minutes", nil, 3)

	i.change(func() { i.down = true })
	i.clock.add(15 * time.Minute)
	verify("down", nil, 3)
	i.clock.add(23 * time.Hour)
	verify("down for long", nil, 3)
	settle(v)
	i.clock.add(time.Hour)
	if _, err := v.Verify(t.Context(), i.sign(i.claims(nil))); err == nil || errors.Is(err, ErrInvalidToken) {
		t.Errorf("down for a day: got %v, want another error than ErrInvalidToken", err)
	}
	i.change(func() { i.down = false })
	i.clock.add(5 * time.Second)
	verify("back", nil, 4)
}

// settle waits for a fetch in the background.
func settle(v Verifier) {
	keys := v.(*jwtVerifier).keys
	keys.mu.Lock()
	wait := keys.inFlight
	keys.mu.Unlock()
	if wait != nil {
		<-wait
	}
}

func TestJWTFetchesOnce(t *testing.T) {
	i := newIssuer(t, "")
	v := i.verifier(nil)
	token := i.sign(i.claims(nil))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := v.Verify(context.Background(), token); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := i.fetches.Load(); n != 1 {
		t.Errorf("got %d fetches, want 1", n)
	}
}

func TestNewJWTRefusesConfig(t *testing.T) {
	for name, cfg := range map[string]JWTConfig{
		"no issuer":         {Audience: []string{"a"}},
		"issuer by http":    {Issuer: "http://as.example", Audience: []string{"a"}},
		"issuer with query": {Issuer: "https://as.example?", Audience: []string{"a"}},
		"no audience":       {Issuer: "https://as.example"},
		"empty audience":    {Issuer: "https://as.example", Audience: []string{""}},
		"none":              {Issuer: "https://as.example", Audience: []string{"a"}, Algorithms: []string{"none"}},
		"HS256":             {Issuer: "https://as.example", Audience: []string{"a"}, Algorithms: []string{"HS256"}},
		"no algorithm":      {Issuer: "https://as.example", Audience: []string{"a"}, Algorithms: []string{}},
		"JWKSURI by http":   {Issuer: "https://as.example", Audience: []string{"a"}, JWKSURI: "http://as.example"},
	} {
		if _, err := NewJWT(cfg); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if _, err := NewJWT(JWTConfig{Issuer: "http://localhost:8080", Audience: []string{"a"}}); err != nil {
		t.Errorf("http on loopback: got %v", err)
	}
}

// Nothing that the issuer did not sign gets through, and nothing panics.
func FuzzJWT(f *testing.F) {
	i := newIssuer(f, "")
	v := i.verifier(nil)
	good := i.sign(i.claims(nil))
	f.Add(good)
	f.Add("e30.e30.")
	f.Add("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.e30.")
	f.Fuzz(func(t *testing.T, token string) {
		// The last character of a signature has spare bits, so others spell good too.
		if got, err := v.Verify(t.Context(), token); err == nil && (got.ID != "t1" || got.Subject != "alice") {
			t.Errorf("accepted %q", token)
		}
	})
}
