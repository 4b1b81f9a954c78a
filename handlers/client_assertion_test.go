package handlers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// usedAssertions is the one method of a Store that assertions need.
type usedAssertions struct {
	Store
	until map[string]time.Time
	err   error
}

func (u *usedAssertions) SetClientAssertionJWT(_ context.Context, jti string, exp time.Time) error {
	if u.err != nil {
		return u.err
	}
	if _, ok := u.until[jti]; ok {
		return fosite.ErrJTIKnown
	}
	u.until[jti] = exp
	return nil
}

const assertionTestIssuer = "https://as.example/tenant"

func assertionServer(clock *setClock) *Server {
	return &Server{
		cfg: Config{Issuer: assertionTestIssuer}, now: clock.now,
		store: &usedAssertions{until: map[string]time.Time{}},
		jwks:  newClientKeys(NewOutbound(OutboundConfig{}), clock.now),
	}
}

func assertionClient(t testing.TB) *oauthreg.Client {
	return &oauthreg.Client{
		ID: "id-1", ClientID: "client-1", TokenEndpointAuthMethod: oauthreg.AuthPrivateKeyJWT,
		JWKS: json.RawMessage(jwks(
			publicJWK(t, "RSA", "rsa", nil), publicJWK(t, "RSA-2", "rsa-2", nil), publicJWK(t, "P-256", "p256", nil),
			publicJWK(t, "P-384", "p384", nil), publicJWK(t, "P-521", "p521", nil), publicJWK(t, "Ed25519", "ed", nil),
		)),
	}
}

// sign makes a JWT; payload and header are changed by the caller as needed.
func sign(t testing.TB, alg jose.SignatureAlgorithm, key any, header map[string]any, payload string) string {
	t.Helper()
	opts := &jose.SignerOptions{}
	for name, v := range header {
		opts.WithHeader(jose.HeaderKey(name), v)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	s, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// claimsJSON are good claims with some set or (nil) deleted.
func claimsJSON(t testing.TB, clock *setClock, change map[string]any) string {
	t.Helper()
	now := clock.now()
	claims := map[string]any{
		"iss": "client-1", "sub": "client-1", "aud": assertionTestIssuer,
		"jti": "jti-1", "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}
	for name, v := range change {
		if v == nil {
			delete(claims, name)
		} else {
			claims[name] = v
		}
	}
	b, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantRefused(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != "invalid_client" || e.Status != http.StatusUnauthorized {
		t.Errorf("got %v, want invalid_client", err)
	} else if e.Unwrap() == nil {
		t.Error("the log has no cause")
	}
}

func TestClientAssertionClaims(t *testing.T) {
	clock := newSetClock()
	s, c := assertionServer(clock), assertionClient(t)
	at := func(d time.Duration) int64 { return clock.now().Add(d).Unix() }
	for _, tt := range []struct {
		name   string
		change map[string]any
		ok     bool
	}{
		{"good", nil, true},
		{"iss missing", map[string]any{"iss": nil}, false},
		{"sub missing", map[string]any{"sub": nil}, false},
		{"another client", map[string]any{"iss": "client-2", "sub": "client-2"}, false},
		{"iss another client", map[string]any{"iss": "client-2"}, false},
		{"sub another client", map[string]any{"sub": "client-2"}, false},
		{"sub in another case", map[string]any{"iss": "Client-1", "sub": "Client-1"}, false},
		{"the internal id", map[string]any{"iss": "id-1", "sub": "id-1"}, false},
		{"iss is a number", map[string]any{"iss": 1}, false},

		{"aud the token endpoint", map[string]any{"aud": assertionTestIssuer + "/oauth/token"}, true},
		{"aud the introspection endpoint", map[string]any{"aud": assertionTestIssuer + "/oauth/introspect"}, true},
		{"aud the revocation endpoint", map[string]any{"aud": assertionTestIssuer + "/oauth/revoke"}, true},
		{"aud the PAR endpoint", map[string]any{"aud": assertionTestIssuer + "/oauth/par"}, true},
		{"aud an array", map[string]any{"aud": []string{"https://other.example", assertionTestIssuer}}, true},
		{"aud missing", map[string]any{"aud": nil}, false},
		{"aud empty", map[string]any{"aud": ""}, false},
		{"aud an empty array", map[string]any{"aud": []string{}}, false},
		{"aud an array with a number", map[string]any{"aud": []any{assertionTestIssuer, 1}}, false},
		{"aud an object", map[string]any{"aud": map[string]any{"a": assertionTestIssuer}}, false},
		{"aud another server", map[string]any{"aud": "https://other.example"}, false},
		{"aud with a slash", map[string]any{"aud": assertionTestIssuer + "/"}, false},
		{"aud the origin", map[string]any{"aud": "https://as.example"}, false},
		{"aud in another case", map[string]any{"aud": "https://AS.example/tenant"}, false},
		{"aud that only begins so", map[string]any{"aud": assertionTestIssuer + ".evil.example"}, false},
		{"aud another endpoint", map[string]any{"aud": assertionTestIssuer + "/oauth/authorize"}, false},
		{"aud with a query", map[string]any{"aud": assertionTestIssuer + "/oauth/token?x"}, false},

		{"exp missing", map[string]any{"exp": nil}, false},
		{"exp 0", map[string]any{"exp": 0}, false},
		{"exp negative", map[string]any{"exp": -1}, false},
		{"exp a string", map[string]any{"exp": "1893553505"}, false},
		{"exp a minute ago", map[string]any{"exp": at(-time.Minute)}, false},
		{"exp just within the leeway", map[string]any{"exp": at(-59 * time.Second)}, true},
		{"exp with a fraction", map[string]any{"exp": float64(at(time.Minute)) + 0.25}, true},
		{"exp in an hour", map[string]any{"exp": at(time.Hour + time.Minute)}, true},
		{"exp in more than an hour", map[string]any{"exp": at(time.Hour + time.Minute + time.Second)}, false},
		{"exp in the year 3000", map[string]any{"exp": 32503680000}, false},
		{"exp astronomic", map[string]any{"exp": 1e300}, false},

		{"nbf now", map[string]any{"nbf": at(0)}, true},
		{"nbf within the leeway", map[string]any{"nbf": at(time.Minute)}, true},
		{"nbf in the future", map[string]any{"nbf": at(61 * time.Second)}, false},
		{"nbf a string", map[string]any{"nbf": "now"}, false},
		{"iat missing", map[string]any{"iat": nil}, true},
		{"iat 3 seconds ahead", map[string]any{"iat": at(3 * time.Second)}, true},
		{"iat in the future", map[string]any{"iat": at(61 * time.Second)}, false},
		{"iat astronomic", map[string]any{"iat": 1e300}, false},

		{"jti missing", map[string]any{"jti": nil}, false},
		{"jti empty", map[string]any{"jti": ""}, false},
		{"jti a number", map[string]any{"jti": 1}, false},
		{"jti of 255 bytes", map[string]any{"jti": strings.Repeat("j", 255)}, true},
		{"jti of 256 bytes", map[string]any{"jti": strings.Repeat("j", 256)}, false},
		{"too large", map[string]any{"x": strings.Repeat("x", maxAssertion)}, false},
		{"other claims", map[string]any{"x": map[string]any{"y": 1}}, true},
		{"claims in another case do not count", map[string]any{"exp": nil, "EXP": at(time.Minute)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			payload := claimsJSON(t, clock, tt.change)
			jti, exp, err := s.verifyClientAssertion(t.Context(), c, sign(t, jose.ES256, clientTestKeys()["P-256"], nil, payload))
			if !tt.ok {
				wantRefused(t, err)
				return
			}
			if err != nil {
				t.Fatalf("got %v, want it accepted", errors.Unwrap(err))
			}
			var claims struct {
				ID  string  `json:"jti"`
				Exp float64 `json:"exp"`
			}
			if err := json.Unmarshal([]byte(payload), &claims); err != nil {
				t.Fatal(err)
			}
			if jti != claims.ID || exp.UnixMilli() != int64(claims.Exp*1000) {
				t.Errorf("got %q, %v, want those of the claims", jti, exp)
			}
		})
	}
	for name, payload := range map[string]string{
		"claims not JSON":         "junk",
		"claims an array":         "[]",
		"claims null":             "null",
		"iss stands twice":        strings.Replace(claimsJSON(t, clock, nil), "{", `{"iss":"client-1",`, 1),
		"something after the end": claimsJSON(t, clock, nil) + "{}",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := s.verifyClientAssertion(t.Context(), c, sign(t, jose.ES256, clientTestKeys()["P-256"], nil, payload))
			wantRefused(t, err)
		})
	}
}

func TestClientAssertionSignature(t *testing.T) {
	clock := newSetClock()
	keys := clientTestKeys()
	payload := claimsJSON(t, clock, nil)
	raw := func(header string) string { // unsigned
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + "."
	}
	good := sign(t, jose.ES256, keys["P-256"], nil, payload)
	parts := strings.Split(good, ".")
	publicRSA, err := json.Marshal(jose.JSONWebKey{Key: keys["RSA"].Public()})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name      string
		alg       string // registered
		assertion string
		ok        bool
	}{
		{"RS256", "", sign(t, jose.RS256, keys["RSA"], nil, payload), true},
		{"RS512", "", sign(t, jose.RS512, keys["RSA-2"], nil, payload), true},
		{"PS256", "", sign(t, jose.PS256, keys["RSA"], nil, payload), true},
		{"ES256", "", good, true},
		{"ES384", "", sign(t, jose.ES384, keys["P-384"], nil, payload), true},
		{"ES512", "", sign(t, jose.ES512, keys["P-521"], nil, payload), true},
		{"EdDSA", "", sign(t, jose.EdDSA, keys["Ed25519"], nil, payload), true},
		{"with its key id", "", sign(t, jose.RS256, keys["RSA-2"], map[string]any{"kid": "rsa-2"}, payload), true},
		{"with another's key id", "", sign(t, jose.RS256, keys["RSA-2"], map[string]any{"kid": "rsa"}, payload), false},
		{"with an unknown key id", "", sign(t, jose.RS256, keys["RSA-2"], map[string]any{"kid": "x"}, payload), false},
		{"the registered algorithm", "PS256", sign(t, jose.PS256, keys["RSA"], nil, payload), true},
		{"not the registered algorithm", "PS256", sign(t, jose.RS256, keys["RSA"], nil, payload), false},
		{"registered for HS256", "HS256", sign(t, jose.HS256, publicRSA, nil, payload), false},
		{"registered for none", "none", raw(`{"alg":"none"}`), false},
		{"none", "", raw(`{"alg":"none"}`), false},
		{"None", "", raw(`{"alg":"None"}`), false},
		{"no alg", "", raw(`{}`), false},
		{"HS256 with the public key", "", sign(t, jose.HS256, publicRSA, nil, payload), false},
		{"somebody's key", "", sign(t, jose.RS256, keys["weak"], nil, payload), false},
		{"key in the header", "", sign(t, jose.RS256, keys["weak"], map[string]any{"jwk": json.RawMessage(jwkOf(t, jose.JSONWebKey{Key: keys["weak"].Public()}, nil))}, payload), false},
		{"key set in the header", "", sign(t, jose.RS256, keys["weak"], map[string]any{"jku": "https://evil.example/"}, payload), false},
		{"typ JWT", "", sign(t, jose.ES256, keys["P-256"], map[string]any{"typ": "JWT"}, payload), true},
		{"typ jwt", "", sign(t, jose.ES256, keys["P-256"], map[string]any{"typ": "jwt"}, payload), true},
		{"typ client-authentication+jwt", "", sign(t, jose.ES256, keys["P-256"], map[string]any{"typ": "client-authentication+jwt"}, payload), true},
		{"typ with application/", "", sign(t, jose.ES256, keys["P-256"], map[string]any{"typ": "application/client-authentication+jwt"}, payload), true},
		{"typ at+jwt", "", sign(t, jose.ES256, keys["P-256"], map[string]any{"typ": "at+jwt"}, payload), false},
		{"typ dpop+jwt", "", sign(t, jose.ES256, keys["P-256"], map[string]any{"typ": "dpop+jwt"}, payload), false},
		{"typ a number", "", sign(t, jose.ES256, keys["P-256"], map[string]any{"typ": 1}, payload), false},
		{"crit", "", sign(t, jose.ES256, keys["P-256"], map[string]any{"crit": []string{"x"}, "x": 1}, payload), false},
		{"crit, empty", "", sign(t, jose.ES256, keys["P-256"], map[string]any{"crit": []string{}}, payload), false},
		{"another payload", "", parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(claimsJSON(t, clock, map[string]any{"jti": "2"}))) + "." + parts[2], false},
		{"no signature", "", parts[0] + "." + parts[1] + ".", false},
		{"signature cut short", "", good[:len(good)-4], false},
		{"two parts", "", parts[0] + "." + parts[1], false},
		{"four parts", "", good + ".x", false},
		{"JSON serialization", "", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, false},
		{"empty", "", "", false},
		{"dots", "", strings.Repeat(".", 1000), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, c := assertionServer(clock), assertionClient(t)
			c.TokenEndpointAuthSigningAlg = tt.alg
			_, _, err := s.verifyClientAssertion(t.Context(), c, tt.assertion)
			if !tt.ok {
				wantRefused(t, err)
			} else if err != nil {
				t.Errorf("got %v, want it accepted", errors.Unwrap(err))
			}
			if n := len(s.store.(*usedAssertions).until); n != 0 {
				t.Error("verifying used the assertion up")
			}
		})
	}
	for name, change := range map[string]func(*oauthreg.Client){
		"registered for a secret": func(c *oauthreg.Client) { c.TokenEndpointAuthMethod = oauthreg.AuthClientSecretBasic },
		"registered for nothing":  func(c *oauthreg.Client) { c.TokenEndpointAuthMethod = oauthreg.AuthUnnamed },
		"public":                  func(c *oauthreg.Client) { c.TokenEndpointAuthMethod = oauthreg.AuthNone },
		"no keys":                 func(c *oauthreg.Client) { c.JWKS = nil },
		"keys that are junk":      func(c *oauthreg.Client) { c.JWKS = json.RawMessage(`{}`) },
		"keys at loopback":        func(c *oauthreg.Client) { c.JWKS, c.JWKSURI = nil, "https://127.0.0.1/jwks" },
		"keys by http":            func(c *oauthreg.Client) { c.JWKS, c.JWKSURI = nil, "http://client.example/jwks" },
	} {
		t.Run(name, func(t *testing.T) {
			s, c := assertionServer(clock), assertionClient(t)
			change(c)
			_, _, err := s.verifyClientAssertion(t.Context(), c, good)
			wantRefused(t, err)
		})
	}
}

func TestClientAssertionKeysByURI(t *testing.T) {
	h := newKeyHost(t)
	s, c := assertionServer(h.clock), assertionClient(t)
	s.jwks = h.keys
	c.JWKS, c.JWKSURI = nil, h.client.JWKSURI
	verify := func(ctx context.Context, change map[string]any) error {
		header := map[string]any{"kid": "a"}
		_, _, err := s.verifyClientAssertion(ctx, c, sign(t, jose.ES256, clientTestKeys()["P-256"], header, claimsJSON(t, h.clock, change)))
		return err
	}
	wantRefused(t, verify(t.Context(), map[string]any{"aud": "https://other.example"}))
	if n := h.fetches.Load(); n != 0 {
		t.Errorf("claims that are wrong made %d fetches, want none", n)
	}
	h.fail(http.StatusInternalServerError)
	var e *Error
	if err := verify(t.Context(), nil); !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable || e.RetryAfter != retryJWKS {
		t.Errorf("unreachable: got %v, want 503 and Retry-After", err)
	}
	h.clock.add(time.Minute)
	h.serve("", "a")
	if err := verify(t.Context(), nil); err != nil {
		t.Errorf("reachable: got %v", errors.Unwrap(err))
	}
	h.clock.add(time.Hour)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := verify(canceled, nil); !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable {
		t.Errorf("canceled: got %v, want 503", err)
	}
	h.settle()
	h.clock.add(time.Hour)
	h.fail(http.StatusNotFound)
	wantRefused(t, verify(t.Context(), nil))
}

func TestUseAssertion(t *testing.T) {
	clock := newSetClock()
	s, c := assertionServer(clock), assertionClient(t)
	store := s.store.(*usedAssertions)
	ctx, exp := t.Context(), clock.now().Add(time.Minute)
	if err := s.useAssertion(ctx, c, "jti-1", exp); err != nil {
		t.Fatal(err)
	}
	for jti, until := range store.until {
		if strings.Contains(jti, "jti-1") || len(jti) != 43 {
			t.Errorf("stored as %q, want a digest", jti)
		}
		if want := exp.Add(assertionLeeway); !until.Equal(want) {
			t.Errorf("remembered until %v, want %v: it is accepted as long", until, want)
		}
	}
	wantRefused(t, s.useAssertion(ctx, c, "jti-1", exp))
	other := assertionClient(t)
	other.ID = "id-2"
	if err := s.useAssertion(ctx, other, "jti-1", exp); err != nil {
		t.Errorf("the jti of another client: got %v", err)
	}
	if err := s.useAssertion(ctx, c, "jti-2", exp); err != nil {
		t.Errorf("another jti: got %v", err)
	}
	store.err = oauthreg.ErrUnavailable
	if err := s.useAssertion(ctx, c, "jti-3", exp); !errors.Is(err, oauthreg.ErrUnavailable) {
		t.Errorf("store down: got %v, want oauthreg.ErrUnavailable", err)
	}
}

func TestAssertionIssuer(t *testing.T) {
	clock := newSetClock()
	enc := func(payload string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
	}
	for _, tt := range []struct {
		name, assertion, want string
		ok                    bool
	}{
		{"signed", sign(t, jose.ES256, clientTestKeys()["P-256"], nil, claimsJSON(t, clock, nil)), "client-1", true},
		{"not verified", enc(`{"iss":"c","sub":"c"}`), "c", true},
		{"a URL", enc(`{"iss":"https://c.example/x","sub":"https://c.example/x"}`), "https://c.example/x", true},
		{"iss alone", enc(`{"iss":"c"}`), "", false},
		{"sub is another", enc(`{"iss":"c","sub":"d"}`), "", false},
		{"empty", enc(`{"iss":"","sub":""}`), "", false},
		{"number", enc(`{"iss":1,"sub":1}`), "", false},
		{"twice", enc(`{"iss":"c","sub":"c","iss":"c"}`), "", false},
		{"long", enc(`{"iss":"` + strings.Repeat("c", 3000) + `","sub":"` + strings.Repeat("c", 3000) + `"}`), "", false},
		{"larger", enc(`{"iss":"c","sub":"c","x":"` + strings.Repeat("x", maxAssertion) + `"}`), "", false},
		{"one part", "e30", "", false},
		{"nothing", "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := assertionIssuer(tt.assertion)
			if ok != tt.ok || ok && got != tt.want {
				t.Errorf("got %q, %v, want %q, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
}

// Nothing that is not signed by the client's key gets through.
func FuzzVerifyClientAssertion(f *testing.F) {
	clock := newSetClock()
	good := sign(f, jose.ES256, clientTestKeys()["P-256"], map[string]any{"kid": "p256"}, claimsJSON(f, clock, nil))
	parts := strings.Split(good, ".")
	decoded := func(s string) []byte { b, _ := base64.RawURLEncoding.DecodeString(s); return b }
	f.Add(decoded(parts[0]), decoded(parts[1]), decoded(parts[2]))
	f.Add([]byte(`{"alg":"none"}`), decoded(parts[1]), []byte{})
	f.Add([]byte(`{"alg":"EdDSA","kid":"ed","crit":["b64"],"b64":false}`), decoded(parts[1]), make([]byte, 64))
	s, c := assertionServer(clock), assertionClient(f)
	f.Fuzz(func(t *testing.T, header, payload, signature []byte) {
		enc := base64.RawURLEncoding.EncodeToString
		assertion := enc(header) + "." + enc(payload) + "." + enc(signature)
		assertionIssuer(assertion)
		assertionIssuer(string(payload))
		jti, _, err := s.verifyClientAssertion(t.Context(), c, assertion)
		if err == nil && assertion != good {
			t.Errorf("accepted %q with jti %q", assertion, jti)
		}
		_, _, err = s.verifyClientAssertion(t.Context(), c, string(payload))
		if err == nil && string(payload) != good {
			t.Errorf("accepted %q", payload)
		}
	})
}
