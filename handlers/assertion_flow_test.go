package handlers_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// assertionKey is a client's key for private_key_jwt (RFC 7523).
type assertionKey struct{ jwk jose.JSONWebKey }

func newAssertionKey(t testing.TB) assertionKey {
	t.Helper()
	return newAssertionKeyOn(t, elliptic.P256(), "ES256")
}

func newAssertionKeyOn(t testing.TB, curve elliptic.Curve, alg string) assertionKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return assertionKey{jose.JSONWebKey{Key: key, KeyID: rand.Text(), Algorithm: alg, Use: "sig"}}
}

// jwkSet is the JWK Set of the public keys.
func jwkSet(t testing.TB, keys ...assertionKey) []byte {
	t.Helper()
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, k.jwk.Public())
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// client is a machine client that authenticates with the key.
func (k assertionKey) client(t testing.TB) oauthreg.Client {
	t.Helper()
	c := machineClient()
	c.TokenEndpointAuthMethod = oauthreg.AuthPrivateKeyJWT
	c.JWKS = jwkSet(t, k)
	return c
}

// claims are those of a good assertion.
func (k assertionKey) claims(e *env, reg oauthreg.Registration) map[string]any {
	now := e.clock.Now()
	return map[string]any{
		"iss": reg.Client.ClientID, "sub": reg.Client.ClientID, "aud": e.issuer,
		"jti": rand.Text(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	}
}

func (k assertionKey) sign(t testing.TB, alg jose.SignatureAlgorithm, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: k.jwk}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// assert is a client_credentials request that authenticates by assertion.
func (e *env) assert(reg oauthreg.Registration, assertion string, more ...string) *tokenAnswer {
	e.t.Helper()
	return e.post("/oauth/token", "", "", append([]string{
		"grant_type", "client_credentials", "client_id", reg.Client.ClientID,
		"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", assertion,
	}, more...)...)
}

// envWithJWKS is a server that may fetch from loopback, and a jwks_uri with key.
func envWithJWKS(t *testing.T, key assertionKey) (*env, string) {
	t.Helper()
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(jwkSet(t, key))
	}))
	t.Cleanup(web.Close)
	pool := x509.NewCertPool()
	pool.AddCert(web.Certificate())
	e := newEnv(t, envOptions{config: func(c *handlers.Config) {
		c.Outbound = handlers.NewOutbound(handlers.OutboundConfig{Private: true, CAs: pool})
	}})
	return e, web.URL + "/jwks"
}
