package handlers

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// clientTestKeys are private keys of every type, made once.
var clientTestKeys = sync.OnceValue(func() map[string]crypto.Signer {
	must := func(key crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return key
	}
	keys := map[string]crypto.Signer{
		"RSA":   must(rsa.GenerateKey(rand.Reader, 2048)),
		"RSA-2": must(rsa.GenerateKey(rand.Reader, 2048)),
		"weak":  must(rsa.GenerateKey(rand.Reader, 1024)),
		"P-256": must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"P-384": must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"P-521": must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	keys["Ed25519"] = must(ed, err)
	return keys
})

// publicJWK is the JWK of a test key with members set or (nil) deleted.
func publicJWK(t testing.TB, name, kid string, members map[string]any) string {
	t.Helper()
	return jwkOf(t, jose.JSONWebKey{Key: clientTestKeys()[name].Public(), KeyID: kid}, members)
}

func jwkOf(t testing.TB, key jose.JSONWebKey, members map[string]any) string {
	t.Helper()
	b, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for name, v := range members {
		m[name] = v
	}
	if b, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func jwks(keys ...string) string { return `{"keys":[` + strings.Join(keys, ",") + `]}` }

func keyIDs(keys []jose.JSONWebKey) []string {
	ids := make([]string, len(keys))
	for i, k := range keys {
		ids[i] = k.KeyID
	}
	return ids
}

func TestClientKeysRegistered(t *testing.T) {
	tagged := func(members map[string]any) string { return jwks(publicJWK(t, "RSA", "a", members)) }
	three := jwks(publicJWK(t, "RSA", "a", nil), publicJWK(t, "RSA-2", "b", nil), publicJWK(t, "P-256", "c", nil))
	many := make([]string, 30)
	for i := range many {
		many[i] = publicJWK(t, "P-256", fmt.Sprint(i), nil)
	}
	private := jwkOf(t, jose.JSONWebKey{Key: clientTestKeys()["P-256"], KeyID: "a"}, nil)
	symmetric := jwkOf(t, jose.JSONWebKey{Key: []byte("0123456789abcdef0123456789abcdef"), KeyID: "a"}, nil)
	tiny := base64.RawURLEncoding.EncodeToString([]byte{1})
	huge := base64.RawURLEncoding.EncodeToString(append([]byte{0xff}, make([]byte, 2048)...))
	for _, tt := range []struct {
		name     string
		set      string
		kid, alg string
		want     []string
		wantErr  error
	}{
		{"by key id", three, "b", "RS256", []string{"b"}, nil},
		{"unknown key id", three, "d", "RS256", nil, nil},
		{"key id in another case", three, "B", "RS256", nil, nil},
		{"key id of another type", three, "c", "RS256", nil, nil},
		{"without a key id", three, "", "RS256", []string{"a", "b"}, nil},
		{"without a key id, PS256", three, "", "PS256", []string{"a", "b"}, nil},
		{"without a key id, ES256", three, "", "ES256", []string{"c"}, nil},
		{"no curve for it", three, "", "ES384", nil, nil},
		{"keys that have no id", jwks(publicJWK(t, "RSA", "", nil), publicJWK(t, "RSA-2", "b", nil)), "d", "RS256", []string{""}, nil},
		{"P-384", jwks(publicJWK(t, "P-384", "a", nil)), "", "ES384", []string{"a"}, nil},
		{"P-521", jwks(publicJWK(t, "P-521", "a", nil)), "", "ES512", []string{"a"}, nil},
		{"Ed25519", jwks(publicJWK(t, "Ed25519", "a", nil)), "", "EdDSA", []string{"a"}, nil},
		{"no more than 20", jwks(many...), "", "ES256", []string{
			"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19",
		}, nil},
		{"use sig", tagged(map[string]any{"use": "sig"}), "a", "RS256", []string{"a"}, nil},
		{"use enc", tagged(map[string]any{"use": "enc"}), "a", "RS256", nil, nil},
		{"key_ops verify", tagged(map[string]any{"key_ops": []string{"sign", "verify"}}), "a", "RS256", []string{"a"}, nil},
		{"key_ops without verify", tagged(map[string]any{"key_ops": []string{"encrypt"}}), "a", "RS256", nil, nil},
		{"key_ops empty", tagged(map[string]any{"key_ops": []string{}}), "a", "RS256", nil, nil},
		{"alg fits", tagged(map[string]any{"alg": "RS256"}), "a", "RS256", []string{"a"}, nil},
		{"alg is another", tagged(map[string]any{"alg": "RS512"}), "a", "RS256", nil, nil},
		{"private key", jwks(private), "a", "ES256", nil, nil},
		{"symmetric key", jwks(symmetric), "a", "HS256", nil, nil},
		{"RSA of 1024 bits", jwks(publicJWK(t, "weak", "a", nil)), "a", "RS256", nil, nil},
		{"RSA of 16 kbit", tagged(map[string]any{"n": huge}), "a", "RS256", nil, nil},
		{"RSA with exponent 1", tagged(map[string]any{"e": tiny}), "a", "RS256", nil, nil},
		{"point off the curve", jwks(publicJWK(t, "P-256", "a", map[string]any{"x": base64.RawURLEncoding.EncodeToString(make([]byte, 32))})), "a", "ES256", nil, nil},
		{"what is not understood is skipped", jwks(`{"kty":"XYZ"}`, `1`, `{"kty":"RSA"}`, publicJWK(t, "RSA", "a", nil)), "a", "RS256", []string{"a"}, nil},
		{"no keys in it", jwks(), "a", "RS256", nil, nil},
		{"no set", "", "a", "RS256", nil, nil},
		{"not a set", `{}`, "a", "RS256", nil, errDocument},
		{"null", `null`, "a", "RS256", nil, errDocument},
		{"keys is no array", `{"keys":{}}`, "a", "RS256", nil, errDocument},
		{"keys stands twice", `{"keys":[],"keys":[]}`, "a", "RS256", nil, errDocument},
		{"not JSON", `<html>`, "a", "RS256", nil, errDocument},
		{"too large", jwks(publicJWK(t, "RSA", "a", map[string]any{"x": strings.Repeat("x", maxJWKS)})), "a", "RS256", nil, errDocument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newClientKeys(nil, newSetClock().now)
			for range 2 { // parsed, then remembered
				keys, err := k.find(t.Context(), &oauthreg.Client{JWKS: json.RawMessage(tt.set)}, tt.kid, tt.alg)
				if !errors.Is(err, tt.wantErr) {
					t.Fatalf("got error %v, want %v", err, tt.wantErr)
				}
				if got := keyIDs(keys); !slices.Equal(got, tt.want) {
					t.Errorf("got keys %q, want %q", got, tt.want)
				}
			}
		})
	}
}

func TestClientKeysRegisteredAreBounded(t *testing.T) {
	k := newClientKeys(nil, time.Now)
	for i := range maxInlineSets + 100 {
		set := json.RawMessage(fmt.Sprintf(`{"keys":[],"i":%d}`, i))
		if _, err := k.find(t.Context(), &oauthreg.Client{JWKS: set}, "a", "RS256"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(k.inline); n != maxInlineSets {
		t.Errorf("%d sets are remembered, want %d", n, maxInlineSets)
	}
}

// keyHost serves a JWK set that tests change.
type keyHost struct {
	t       testing.TB
	clock   *setClock
	keys    *clientKeys
	client  oauthreg.Client
	fetches atomic.Int32

	mu      sync.Mutex
	answer  http.HandlerFunc
	release chan struct{} // when set, answers wait for it
}

func newKeyHost(t testing.TB) *keyHost {
	h := &keyHost{t: t, clock: newSetClock()}
	srv, pool := documentServer(t, func(w http.ResponseWriter, r *http.Request) {
		h.fetches.Add(1)
		h.mu.Lock()
		answer, release := h.answer, h.release
		h.mu.Unlock()
		if release != nil {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}
		answer(w, r)
	})
	h.keys = newClientKeys(NewOutbound(OutboundConfig{Private: true, CAs: pool}), h.clock.now)
	h.client = oauthreg.Client{JWKSURI: srv.URL + "/jwks"}
	return h
}

// serve sets the answer: a set with these key ids, and a Cache-Control.
func (h *keyHost) serve(cacheControl string, kids ...string) {
	keys := make([]string, len(kids))
	for i, kid := range kids {
		keys[i] = publicJWK(h.t, "P-256", kid, nil)
	}
	h.set(func(w http.ResponseWriter, _ *http.Request) {
		if cacheControl != "" {
			w.Header().Set("Cache-Control", cacheControl)
		}
		_, _ = io.WriteString(w, jwks(keys...))
	})
}

func (h *keyHost) fail(status int) {
	h.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
}

func (h *keyHost) set(answer http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

// want looks kid up and compares: "found", "none", or an error.
func (h *keyHost) want(step, kid string, found bool, wantErr error, fetches int32) {
	h.t.Helper()
	keys, err := h.keys.find(h.t.Context(), &h.client, kid, "ES256")
	if !errors.Is(err, wantErr) || (len(keys) > 0) != found {
		h.t.Errorf("%s: got %d keys and %v, want found=%v and %v", step, len(keys), err, found, wantErr)
	}
	if got := h.fetches.Load(); got != fetches {
		h.t.Errorf("%s: got %d fetches so far, want %d", step, got, fetches)
	}
}

// settle waits for a fetch in the background.
func (h *keyHost) settle() {
	h.t.Helper()
	h.keys.mu.Lock()
	wait := h.keys.remote[h.client.JWKSURI].inFlight
	h.keys.mu.Unlock()
	if wait != nil {
		<-wait
	}
}

func TestClientKeysFetched(t *testing.T) {
	t.Run("kept for five minutes", func(t *testing.T) {
		h := newKeyHost(t)
		h.serve("", "a")
		h.want("first", "a", true, nil, 1)
		h.clock.add(5*time.Minute - 1)
		h.want("still fresh", "a", true, nil, 1)
		h.serve("", "b")
		h.clock.add(1)
		h.want("withdrawn", "a", false, nil, 2)
		h.want("its successor", "b", true, nil, 2)
	})
	for _, tt := range []struct {
		cacheControl string
		want         time.Duration
	}{
		{"", 5 * time.Minute},
		{"max-age=600", 10 * time.Minute},
		{"public, MAX-AGE=600, must-revalidate", 10 * time.Minute},
		{`max-age="600"`, 10 * time.Minute},
		{"max-age=0", time.Minute},
		{"max-age=-5", time.Minute},
		{"max-age=99999999", time.Hour},
		{"max-age=99999999999999999999", 5 * time.Minute},
		{"max-age=x", 5 * time.Minute},
		{"no-store", time.Minute},
		{"max-age=600, no-cache", time.Minute},
	} {
		t.Run("Cache-Control "+tt.cacheControl, func(t *testing.T) {
			h := newKeyHost(t)
			h.serve(tt.cacheControl, "a")
			h.want("first", "a", true, nil, 1)
			h.clock.add(tt.want - 1)
			h.want("still fresh", "a", true, nil, 1)
			h.clock.add(1)
			h.want("not fresh", "a", true, nil, 2)
		})
	}
	t.Run("unknown key ids cost one fetch in 30 seconds", func(t *testing.T) {
		h := newKeyHost(t)
		h.serve("", "a")
		h.want("first", "a", true, nil, 1)
		for i := range 5 {
			h.want("unknown at once", fmt.Sprint(i), false, nil, 1)
		}
		h.serve("", "a", "b")
		h.clock.add(30*time.Second - 1)
		h.want("too early", "b", false, nil, 1)
		h.clock.add(1)
		h.want("rotated", "b", true, nil, 2)
		h.want("unknown again", "c", false, nil, 2)
		h.want("known all along", "a", true, nil, 2)
	})
	t.Run("junk is remembered for 30 seconds", func(t *testing.T) {
		h := newKeyHost(t)
		h.fail(http.StatusNotFound)
		h.want("404", "a", false, errDocument, 1)
		h.serve("", "a")
		h.clock.add(30*time.Second - 1)
		h.want("too early", "a", false, errDocument, 1)
		h.clock.add(1)
		h.want("repaired", "a", true, nil, 2)
		h.set(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") })
		h.clock.add(5 * time.Minute)
		h.want("taken away", "a", false, errDocument, 3)
	})
	t.Run("down from the start", func(t *testing.T) {
		h := newKeyHost(t)
		h.fail(http.StatusBadGateway)
		h.want("502", "a", false, errUnreachable, 1)
		h.serve("", "a")
		h.clock.add(5*time.Second - 1)
		h.want("too early", "a", false, errUnreachable, 1)
		h.clock.add(1)
		h.want("back", "a", true, nil, 2)
	})
	t.Run("down later", func(t *testing.T) {
		h := newKeyHost(t)
		h.serve("", "a")
		h.want("first", "a", true, nil, 1)
		h.fail(http.StatusServiceUnavailable)
		h.clock.add(5 * time.Minute)
		h.want("stale", "a", true, nil, 2)
		h.want("stale, not asked again", "a", true, nil, 2)
		h.want("unknown key", "b", false, errUnreachable, 2)
		h.clock.add(5 * time.Second)
		if keys, err := h.keys.find(t.Context(), &h.client, "a", "ES256"); err != nil || len(keys) != 1 {
			t.Errorf("stale, asked in the background: got %d keys, %v", len(keys), err)
		}
		h.settle()
		h.clock.add(time.Hour - 5*time.Second - 1)
		if keys, err := h.keys.find(t.Context(), &h.client, "a", "ES256"); err != nil || len(keys) != 1 {
			t.Errorf("nearly too stale: got %d keys, %v", len(keys), err)
		}
		h.settle()
		h.clock.add(1)
		h.want("too stale", "a", false, errUnreachable, h.fetches.Load())
		h.serve("", "a")
		h.clock.add(5 * time.Second)
		h.want("back", "a", true, nil, h.fetches.Load()+1)
	})
	t.Run("a failed fetch for an unknown key does not harm known ones", func(t *testing.T) {
		h := newKeyHost(t)
		h.serve("", "a")
		h.want("first", "a", true, nil, 1)
		h.fail(http.StatusServiceUnavailable)
		h.clock.add(30 * time.Second)
		h.want("unknown", "b", false, errUnreachable, 2)
		h.want("known", "a", true, nil, 2)
	})
	t.Run("refused by the guard", func(t *testing.T) {
		h := newKeyHost(t)
		h.serve("", "a")
		h.keys = newClientKeys(NewOutbound(OutboundConfig{}), h.clock.now)
		h.want("loopback", "a", false, errDocument, 0)
	})
}

func TestClientKeysFetchOnce(t *testing.T) {
	h := newKeyHost(t)
	h.serve("", "a")
	h.release = make(chan struct{})
	const callers = 20
	results := make(chan error, callers)
	canceled, cancel := context.WithCancel(t.Context())
	go func() { // who came first gives up; the others must not notice
		_, err := h.keys.find(canceled, &h.client, "a", "ES256")
		results <- err
	}()
	for h.fetches.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	for range callers - 1 {
		go func() {
			keys, err := h.keys.find(context.Background(), &h.client, "a", "ES256")
			if err == nil && len(keys) != 1 {
				err = fmt.Errorf("%d keys", len(keys))
			}
			results <- err
		}()
	}
	cancel()
	if err := <-results; !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: got %v, want context.Canceled", err)
	}
	close(h.release)
	for range callers - 1 {
		if err := <-results; err != nil {
			t.Errorf("got %v, want the key", err)
		}
	}
	if n := h.fetches.Load(); n != 1 {
		t.Errorf("%d fetches, want 1", n)
	}
}

func TestClientKeysRemoteAreBounded(t *testing.T) {
	h := newKeyHost(t)
	h.serve("max-age=3600", "a")
	h.want("first", "a", true, nil, 1)
	k := h.keys
	k.mu.Lock()
	for i := range 5 * maxRemoteSets {
		k.entry(fmt.Sprintf("https://client.example/%d", i))
	}
	n := len(k.remote)
	k.mu.Unlock()
	if n != maxRemoteSets {
		t.Errorf("%d URIs are remembered, want %d", n, maxRemoteSets)
	}
	h.want("URIs without keys push out no keys", "a", true, nil, 1)
}

// Whatever a set contains, only public keys of a usable size come out.
func FuzzParseJWKS(f *testing.F) {
	f.Add([]byte(jwks(publicJWK(f, "RSA", "a", nil), publicJWK(f, "P-256", "b", nil), publicJWK(f, "Ed25519", "c", nil))))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"EC","crv":"P-256"}]}`))
	f.Fuzz(func(t *testing.T, set []byte) {
		keys, err := parseJWKS(set)
		if err != nil && !errors.Is(err, errDocument) {
			t.Errorf("got %v, want errDocument", err)
		}
		for _, k := range keys {
			if !k.IsPublic() || !k.Valid() {
				t.Errorf("key %q is not a valid public key", k.KeyID)
			}
			for _, alg := range assertionAlgs() {
				fitsAlg(k, alg)
			}
		}
	})
}
