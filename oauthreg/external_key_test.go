package oauthreg_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// elsewhere signs like a key management service: with key, or with another one
// than it tells, or not at all.
type elsewhere struct {
	key   crypto.Signer
	other crypto.Signer
	err   error
	ctx   context.Context
}

func (e *elsewhere) Public() crypto.PublicKey { return e.key.Public() }

func (e *elsewhere) Sign(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	e.ctx = ctx
	if e.err != nil {
		return nil, e.err
	}
	if e.other != nil {
		return e.other.Sign(rand.Reader, digest, opts)
	}
	return e.key.Sign(rand.Reader, digest, opts)
}

func ecKey(t testing.TB, curve elliptic.Curve) *elsewhere {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &elsewhere{key: key}
}

func rsaKey(t testing.TB, bits int) *elsewhere {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return &elsewhere{key: key}
}

func withExternal(keys ...oauthreg.ExternalKey) func(*oauthreg.KeyRingConfig) {
	return func(c *oauthreg.KeyRingConfig) {
		c.Algorithms = []string{"ES256", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES384", "ES512", "EdDSA"}
		c.External = keys
	}
}

// Every algorithm signs and verifies, under the kid that is published.
func TestExternalKeyAlgorithms(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := rsaKey(t, 2048)
	signers := map[string]*elsewhere{
		"ES256": ecKey(t, elliptic.P256()), "ES384": ecKey(t, elliptic.P384()), "ES512": ecKey(t, elliptic.P521()), "EdDSA": {key: ed},
		"RS256": r, "RS384": r, "RS512": r, "PS256": r, "PS384": r, "PS512": r,
	}
	var keys []oauthreg.ExternalKey
	for alg, s := range signers {
		keys = append(keys, oauthreg.ExternalKey{Signer: s, Alg: alg, KeyID: "kid-" + alg})
	}
	f := newRing(t, withExternal(keys...))
	f.mustMaintain(t)
	if stored, err := f.store.SigningKeys(t.Context()); err != nil || len(stored) != 0 {
		t.Errorf("%d keys were made beside the external ones, err %v", len(stored), err)
	}
	type mark struct{}
	ctx := context.WithValue(t.Context(), mark{}, "caller")
	for alg, s := range signers {
		for range 20 { // ECDSA signatures differ in length
			token, err := f.Sign(ctx, alg, "at+jwt", map[string]any{"sub": "alice"})
			if err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			claims, info, err := f.Verify(ctx, token)
			if err != nil || string(claims) != `{"sub":"alice"}` || info != (oauthreg.KeyInfo{KeyID: "kid-" + alg, Alg: alg, Type: "at+jwt"}) {
				t.Fatalf("%s: %s %+v %v", alg, claims, info, err)
			}
		}
		if s.ctx == nil || s.ctx.Value(mark{}) != "caller" {
			t.Errorf("%s: the caller's context did not arrive", alg)
		}
	}
	set, err := f.JWKS(t.Context())
	if err != nil || len(set.Keys) != len(keys) || set.Keys[0].KeyID != "kid-ES256" {
		t.Errorf("%d keys published, err %v", len(set.Keys), err)
	}
	for _, key := range set.Keys {
		if !key.IsPublic() || key.Use != "sig" {
			t.Errorf("published %+v", key)
		}
	}
}

// A service that fails, or signs with another key, gives no token.
func TestExternalKeyFails(t *testing.T) {
	away := errors.New("away")
	for name, s := range map[string]*elsewhere{
		"away":         {key: ecKey(t, elliptic.P256()).key, err: away},
		"another key":  {key: ecKey(t, elliptic.P256()).key, other: ecKey(t, elliptic.P256()).key},
		"not ASN.1":    {key: ecKey(t, elliptic.P256()).key, other: rsaKey(t, 2048).key},
		"longer curve": {key: ecKey(t, elliptic.P256()).key, other: ecKey(t, elliptic.P521()).key},
	} {
		f := newRing(t, withExternal(oauthreg.ExternalKey{Signer: s, Alg: "ES256"}))
		token, err := f.Sign(t.Context(), "ES256", "", map[string]any{})
		if token != "" || err == nil || name == "away" && !errors.Is(err, away) {
			t.Errorf("%s: got %q, %v", name, token, err)
		}
	}
}

// All mistakes are named at once.
func TestExternalKeyConfig(t *testing.T) {
	r := rsaKey(t, 2048)
	now := time.Now()
	_, err := oauthreg.NewKeyRing(oauthreg.KeyRingConfig{Algorithms: []string{"RS256", "ES256", "PS256"}, External: []oauthreg.ExternalKey{
		{Alg: "RS256"},
		{Signer: r, Alg: "ES256"},
		{Signer: r, Alg: "RS512"},
		{Signer: rsaKey(t, 1024), Alg: "RS256"},
		{Signer: r, Alg: "RS256", KeyID: "k", ActiveAt: now, RetiredAt: now},
		{Signer: r, Alg: "PS256", KeyID: "k"},
	}})
	for _, want := range []string{"Store is nil", "External[0]: Signer is nil", "External[1]: Alg", "External[2]: Alg", "External[3]: an RSA key", "External[4]: RetiredAt", "External[5]: the kid"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %q in: %v", want, err)
		}
	}
}

// The way from own keys to an external one, to the next external one, and back.
func TestExternalKeySchedule(t *testing.T) {
	one, two := ecKey(t, elliptic.P256()), ecKey(t, elliptic.P256())
	f := newRing(t)
	start := f.clock.now()
	f.mustMaintain(t)
	_, own := f.sign(t)
	f = f.another(t, func(c *oauthreg.KeyRingConfig) {
		c.RotateEvery, c.PublishBefore = 2*day, day
		c.External = []oauthreg.ExternalKey{
			{Signer: one, Alg: "ES256", KeyID: "one", ActiveAt: start.Add(day), RetiredAt: start.Add(6 * day)},
			{Signer: two, Alg: "ES256", KeyID: "two", ActiveAt: start.Add(4 * day), RetiredAt: start.Add(5 * day)},
		}
	})
	for at, want := range []string{own, "one", "one", "one", "two", "one"} {
		f.mustMaintain(t)
		if _, kid := f.sign(t); kid != want {
			t.Errorf("day %d: signed by %s, want %s", at, kid, want)
		}
		if _, err := f.Rotate(t.Context(), "ES256"); !errors.Is(err, oauthreg.ErrExternalKey) {
			t.Errorf("day %d: rotate: %v", at, err)
		}
		f.clock.add(day)
	}
	f.mustMaintain(t)
	_, kid := f.sign(t)
	if kid == own || kid == "one" || kid == "two" {
		t.Errorf("at the end: signed by %s, want a new key", kid)
	}
	if err := f.Withdraw(t.Context(), "one"); !errors.Is(err, oauthreg.ErrExternalKey) {
		t.Errorf("withdraw: %v", err)
	}
	keys, err := f.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, k := range keys {
		got = append(got, string(k.State))
		if k.External != slices.Contains([]string{"one", "two"}, k.KeyID) {
			t.Errorf("%+v", k)
		}
	}
	if want := []string{"retired", "retired", "active", "expired"}; !slices.Equal(got, want) {
		t.Errorf("states %v, want %v", got, want)
	}
}

// A key that is withdrawn ends at once, in every state, with its successor.
func TestWithdraw(t *testing.T) {
	f := newRing(t, func(c *oauthreg.KeyRingConfig) { c.RotateEvery, c.PublishBefore, c.KeepAfter = 4*day, 2*day, 30*day })
	other := f.another(t)
	f.mustMaintain(t)
	token, first := f.sign(t)
	if _, _, err := other.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	f.clock.add(3 * day) // now a successor is published
	f.mustMaintain(t)
	set, err := f.JWKS(t.Context())
	if err != nil || len(set.Keys) != 2 {
		t.Fatalf("%d keys, err %v", len(set.Keys), err)
	}
	upcoming := set.Keys[1].KeyID

	if err := f.Withdraw(t.Context(), upcoming); err != nil {
		t.Fatal(err)
	}
	f.mustMaintain(t)
	if set, _ := f.JWKS(t.Context()); len(set.Keys) != 2 || set.Keys[1].KeyID == upcoming {
		t.Errorf("published %v, want another successor than %s", set.Keys, upcoming)
	}

	if err := f.Withdraw(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Verify(t.Context(), token); !errors.Is(err, oauthreg.ErrBadSignature) {
		t.Errorf("what it signed: %v", err)
	}
	f.clock.add(6 * time.Second) // Refresh
	if _, _, err := other.Verify(t.Context(), token); !errors.Is(err, oauthreg.ErrBadSignature) {
		t.Errorf("what it signed, at another process: %v", err)
	}
	set, _ = f.JWKS(t.Context())
	_, kid := f.sign(t)
	if len(set.Keys) != 1 || set.Keys[0].KeyID != kid {
		t.Errorf("published %v, signed by %s", set.Keys, kid)
	}

	for range 2 { // the second time there is nothing to do
		if err := f.Withdraw(t.Context(), first); err != nil {
			t.Error(err)
		}
	}
	if _, again := f.sign(t); again != kid {
		t.Errorf("signed by %s, want %s", again, kid)
	}
	if err := f.Withdraw(t.Context(), "unknown"); !errors.Is(err, oauthreg.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	f.store.Fail(errors.New("away"))
	if err := f.Withdraw(t.Context(), kid); err == nil {
		t.Error("the store failed, and the key is said to have ended")
	}
}
