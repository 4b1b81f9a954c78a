package oauthreg_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/oauthreg/oauthregtest"
)

const day = 24 * time.Hour

type ringFixture struct {
	*oauthreg.KeyRing
	store *oauthregtest.Memory
	clock *clock
}

func newRing(t *testing.T, edit ...func(*oauthreg.KeyRingConfig)) ringFixture {
	t.Helper()
	f := ringFixture{store: new(oauthregtest.Memory), clock: newClock()}
	return f.another(t, edit...)
}

// another is a second ring on the same store, as of another process.
func (f ringFixture) another(t *testing.T, edit ...func(*oauthreg.KeyRingConfig)) ringFixture {
	t.Helper()
	cfg := oauthreg.KeyRingConfig{Store: f.store, Now: f.clock.now, Algorithms: []string{"ES256"}}
	for _, e := range edit {
		e(&cfg)
	}
	ring, err := oauthreg.NewKeyRing(cfg)
	if err != nil {
		t.Fatal(err)
	}
	f.KeyRing = ring
	return f
}

func (f ringFixture) mustMaintain(t *testing.T) {
	t.Helper()
	if err := f.Maintain(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (f ringFixture) sign(t *testing.T) (token, kid string) {
	t.Helper()
	token, err := f.Sign(t.Context(), "ES256", "at+jwt", map[string]string{"sub": "u"})
	if err != nil {
		t.Fatal(err)
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	return token, jws.Signatures[0].Header.KeyID
}

func (f ringFixture) kids(t *testing.T) []string {
	t.Helper()
	set, err := f.JWKS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, k := range set.Keys {
		out = append(out, k.KeyID)
	}
	return out
}

// states counts the stored keys by state.
func (f ringFixture) states(t *testing.T) map[oauthreg.KeyState]int {
	t.Helper()
	keys, err := f.store.SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[oauthreg.KeyState]int{}
	for _, k := range keys {
		out[k.State(f.clock.now())]++
	}
	return out
}

func TestNewKeyRingNamesAllMistakes(t *testing.T) {
	_, err := oauthreg.NewKeyRing(oauthreg.KeyRingConfig{
		Algorithms: []string{"HS256", "none", "ES256", "ES256"}, KeepAfter: -1, RotateEvery: time.Hour, PublishBefore: 2 * time.Hour,
	})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"Store", "HS256", "none", "twice", "negative", "longer than RotateEvery"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not name %s:\n%v", want, err)
		}
	}
}

func TestKeyRingSignsAndVerifies(t *testing.T) {
	algs := []string{"RS256", "ES256", "ES384", "ES512", "PS256", "EdDSA"}
	f := newRing(t, func(cfg *oauthreg.KeyRingConfig) { cfg.Algorithms = algs })
	f.mustMaintain(t)
	if got := f.Algorithms(); !slices.Equal(got, algs) {
		t.Errorf("got %q, want %q", got, algs)
	}
	set, err := f.JWKS(t.Context())
	if err != nil || len(set.Keys) != len(algs) {
		t.Fatalf("got %d keys, %v, want %d", len(set.Keys), err, len(algs))
	}
	for i, alg := range algs {
		for _, typ := range []string{"at+jwt", "JWT", ""} {
			token, err := f.Sign(t.Context(), alg, typ, []byte(`{"sub":"u"}`))
			if err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			claims, info, err := f.Verify(t.Context(), token)
			want := oauthreg.KeyInfo{KeyID: set.Keys[i].KeyID, Alg: alg, Type: typ}
			if err != nil || string(claims) != `{"sub":"u"}` || info != want {
				t.Errorf("%s: got %s, %+v, %v, want %+v", alg, claims, info, err, want)
			}
			// What anybody else does with the published keys.
			jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := jws.Verify(set); err != nil {
				t.Errorf("%s: does not verify with the JWKS: %v", alg, err)
			}
		}
		key := set.Keys[i]
		sum, err := key.Thumbprint(5 /* SHA-256 */)
		if err != nil || base64.RawURLEncoding.EncodeToString(sum) != key.KeyID {
			t.Errorf("%s: kid %s is not the thumbprint", alg, key.KeyID)
		}
		if key.Algorithm != alg || key.Use != "sig" || !key.IsPublic() {
			t.Errorf("%s: got published key %+v", alg, key)
		}
	}
	// One key, one algorithm: whoever has the RS256 key cannot sign by PS256.
	keys, err := f.store.SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rs := keys[slices.IndexFunc(keys, func(k oauthreg.SigningKey) bool { return k.Alg == "RS256" })]
	private, err := x509.ParsePKCS8PrivateKey(rs.Private)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.PS256, Key: jose.JSONWebKey{Key: private, KeyID: rs.KeyID}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(`{"sub":"u"}`))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Verify(t.Context(), token); !errors.Is(err, oauthreg.ErrBadSignature) {
		t.Errorf("PS256 by the RS256 key: got %v, want ErrBadSignature", err)
	}

	if _, err := f.Sign(t.Context(), "RS512", "", []byte(`{}`)); err == nil {
		t.Error("an algorithm without key signs")
	}
	if _, err := f.Sign(t.Context(), "ES256", "", make(chan int)); err == nil {
		t.Error("claims without JSON form are signed")
	}
}

func TestKeyRingPublicJSON(t *testing.T) {
	f := newRing(t)
	f.mustMaintain(t)
	body, etag, err := f.PublicJSON(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var doc struct{ Keys []map[string]any }
	if err := json.Unmarshal(body, &doc); err != nil || len(doc.Keys) != 1 {
		t.Fatalf("got %s, %v", body, err)
	}
	for _, private := range []string{"d", "p", "q", "k"} {
		if _, ok := doc.Keys[0][private]; ok {
			t.Errorf("the document has %q: %s", private, body)
		}
	}
	if !strings.HasPrefix(etag, `"`) || !strings.HasSuffix(etag, `"`) || len(etag) < 10 {
		t.Errorf("got etag %s", etag)
	}
	again, etag2, err := f.PublicJSON(t.Context())
	if err != nil || etag2 != etag || !bytes.Equal(body, again) {
		t.Errorf("second time: got %s %s, %v", etag2, again, err)
	}
	if _, err := f.Rotate(t.Context(), "ES256"); err != nil {
		t.Fatal(err)
	}
	if _, etag3, err := f.PublicJSON(t.Context()); err != nil || etag3 == etag {
		t.Errorf("after the rotation: got the same etag, %v", err)
	}
}

// The life of keys over a year: published before they sign and after.
func TestKeyRingSchedule(t *testing.T) {
	f := newRing(t, func(cfg *oauthreg.KeyRingConfig) {
		cfg.RotateEvery, cfg.PublishBefore, cfg.KeepAfter = 10*day, day, 2*day
	})
	f.mustMaintain(t)
	token, kid := f.sign(t)
	signers := []string{kid}
	published := map[string]bool{kid: true}
	type issued struct {
		token string
		at    time.Time
	}
	tokens := []issued{{token, f.clock.now()}}
	for range 4 * 40 { // every 6 hours
		f.clock.add(6 * time.Hour)
		f.mustMaintain(t)
		token, kid := f.sign(t)
		tokens = append(tokens, issued{token, f.clock.now()})
		if kid != signers[len(signers)-1] {
			if !published[kid] {
				t.Errorf("key %s signs and was not published before", kid)
			}
			if slices.Contains(signers, kid) {
				t.Errorf("key %s signs again", kid)
			}
			signers = append(signers, kid)
		}
		for _, k := range f.kids(t) {
			published[k] = true
		}
		for _, old := range tokens {
			if age := f.clock.now().Sub(old.at); age < 2*day {
				if _, _, err := f.Verify(t.Context(), old.token); err != nil {
					t.Fatalf("a token of %v ago: got %v", age, err)
				}
			}
		}
	}
	if len(signers) != 4+1 {
		t.Errorf("got %d signing keys in 40 days, want one every 10 days", len(signers))
	}
	if _, _, err := f.Verify(t.Context(), tokens[0].token); !errors.Is(err, oauthreg.ErrBadSignature) {
		t.Errorf("a token of an expired key: got %v, want ErrBadSignature", err)
	}
	if slices.Contains(f.kids(t), signers[0]) {
		t.Error("an expired key is published")
	}
}

func TestKeyRingMaintainIsIdempotent(t *testing.T) {
	f := newRing(t, func(cfg *oauthreg.KeyRingConfig) { cfg.Algorithms = []string{"ES256", "EdDSA"} })
	other := f.another(t, func(cfg *oauthreg.KeyRingConfig) { cfg.Algorithms = []string{"ES256", "EdDSA"} })
	var wg sync.WaitGroup
	for i := range 6 {
		ring := f
		if i%2 == 1 {
			ring = other
		}
		wg.Go(func() {
			if err := ring.Maintain(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := f.states(t); got[oauthreg.KeyActive] != 2 || len(got) != 1 {
		t.Errorf("got %v, want one active key of each algorithm", got)
	}
	if a, b := f.kids(t), other.kids(t); !slices.Equal(a, b) {
		t.Errorf("got %q and %q, want the same keys", a, b)
	}

	f.clock.add(89*day + time.Hour)
	for range 3 {
		f.mustMaintain(t)
		other.mustMaintain(t)
	}
	if got := f.states(t); got[oauthreg.KeyActive] != 2 || got[oauthreg.KeyUpcoming] != 2 {
		t.Errorf("a day before the rotation: got %v, want 2 active and 2 upcoming", got)
	}
	f.clock.add(day)
	f.mustMaintain(t)
	if got := f.states(t); got[oauthreg.KeyActive] != 2 || got[oauthreg.KeyRetired] != 2 || got[oauthreg.KeyUpcoming] != 0 {
		t.Errorf("after the rotation: got %v, want 2 active and 2 retired", got)
	}
}

// Nobody maintained the keys for a year: the next one still goes on.
func TestKeyRingAfterLongAbsence(t *testing.T) {
	f := newRing(t)
	f.mustMaintain(t)
	_, before := f.sign(t)
	f.clock.add(365 * day)
	if _, kid := f.sign(t); kid != before {
		t.Error("another key signs although nobody rotated")
	}
	f.mustMaintain(t)
	if got := f.states(t); got[oauthreg.KeyActive] != 1 || got[oauthreg.KeyUpcoming] != 1 {
		t.Errorf("got %v, want the successor to be published first", got)
	}
	if _, kid := f.sign(t); kid != before {
		t.Error("the successor signs before it was published for long enough")
	}
	f.clock.add(day)
	if _, kid := f.sign(t); kid == before {
		t.Error("the successor does not sign")
	}
}

func TestKeyRingNeverRotatesByItself(t *testing.T) {
	f := newRing(t, func(cfg *oauthreg.KeyRingConfig) { cfg.RotateEvery = -1 })
	f.mustMaintain(t)
	f.clock.add(1000 * day)
	f.mustMaintain(t)
	if got := f.states(t); got[oauthreg.KeyActive] != 1 || len(got) != 1 {
		t.Errorf("got %v, want the one key", got)
	}
}

func TestKeyRingRotateByHand(t *testing.T) {
	f := newRing(t)
	f.mustMaintain(t)
	other := f.another(t)
	oldToken, oldKid := other.sign(t)
	f.clock.add(89*day + time.Hour)
	f.mustMaintain(t) // there is an upcoming key now
	upcoming := f.kids(t)[1]

	kid, err := f.Rotate(t.Context(), "ES256")
	if err != nil {
		t.Fatal(err)
	}
	if got := f.kids(t); !slices.Equal(got, []string{kid, oldKid}) {
		t.Errorf("got published %q, want the new %s and the old %s, without %s", got, kid, oldKid, upcoming)
	}
	token, signer := f.sign(t)
	if signer != kid {
		t.Errorf("%s signs, want %s", signer, kid)
	}

	// The other process has not noticed yet; a token of the new key tells it.
	f.clock.add(time.Second)
	if _, _, err := other.Verify(t.Context(), token); err != nil {
		t.Errorf("a token of another process's new key: got %v", err)
	}
	f.clock.add(5 * time.Second)
	if _, signer := other.sign(t); signer != kid {
		t.Errorf("after the refresh %s signs in the other process, want %s", signer, kid)
	}
	if _, _, err := f.Verify(t.Context(), oldToken); err != nil {
		t.Errorf("a token of the retired key: got %v", err)
	}
	f.clock.add(48 * time.Hour)
	if _, _, err := f.Verify(t.Context(), oldToken); !errors.Is(err, oauthreg.ErrBadSignature) {
		t.Errorf("a token of the expired key: got %v, want ErrBadSignature", err)
	}
	f.mustMaintain(t)
	if got := f.states(t); got[oauthreg.KeyActive] != 1 || got[oauthreg.KeyUpcoming] != 0 {
		t.Errorf("got %v, want no successor to the new key yet", got)
	}
	if _, err := f.Rotate(t.Context(), "RS256"); err == nil {
		t.Error("an algorithm that is not configured is rotated")
	}
}

func TestKeyRingRefusesForeignTokens(t *testing.T) {
	f := newRing(t)
	f.mustMaintain(t)
	token, kid := f.sign(t)
	foreign := newRing(t)
	foreign.mustMaintain(t)
	foreignToken, _ := foreign.sign(t)
	set, err := f.JWKS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	publicJSON, err := set.Keys[0].MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}

	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	parts := strings.Split(token, ".")
	// HS256 with the public key as the secret, and our kid.
	mac, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: publicJSON, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := mac.Sign([]byte(`{"sub":"u"}`))
	if err != nil {
		t.Fatal(err)
	}
	macToken, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"empty":                  "",
		"opaque":                 "abc",
		"of another server":      foreignToken,
		"algorithm none":         part(`{"alg":"none","kid":"`+kid+`"}`) + "." + parts[1] + ".",
		"other claims":           parts[0] + "." + part(`{"sub":"admin"}`) + "." + parts[2],
		"other header":           part(`{"alg":"ES256","kid":"`+kid+`","typ":"JWT"}`) + "." + parts[1] + "." + parts[2],
		"without signature":      parts[0] + "." + parts[1] + ".",
		"without kid":            part(`{"alg":"ES256"}`) + "." + parts[1] + "." + parts[2],
		"another algorithm":      part(`{"alg":"RS256","kid":"`+kid+`"}`) + "." + parts[1] + "." + parts[2],
		"MAC by the public key":  macToken,
		"cut":                    token[:len(token)-1],
		"JSON serialization":     signed.FullSerialize(),
		"critical header":        part(`{"alg":"ES256","kid":"`+kid+`","crit":["x"],"x":1}`) + "." + parts[1] + "." + parts[2],
		"larger than the limit":  parts[0] + "." + strings.Repeat("A", 1<<20) + "." + parts[2],
		"key of the header":      part(`{"alg":"ES256","jwk":`+string(publicJSON)+`}`) + "." + parts[1] + "." + parts[2],
		"five parts, encryption": "a.b.c.d.e",
	}
	for name, token := range tests {
		if claims, _, err := f.Verify(t.Context(), token); !errors.Is(err, oauthreg.ErrBadSignature) {
			t.Errorf("%s: got %s, %v, want ErrBadSignature", name, claims, err)
		}
	}
}

func TestKeyRingReadsTheStoreSeldom(t *testing.T) {
	f := newRing(t)
	f.mustMaintain(t)
	start := f.store.Reads()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				f.sign(t)
				f.kids(t)
			}
		})
	}
	wg.Wait()
	if n := f.store.Reads() - start; n != 0 {
		t.Errorf("the store was read %d times within the refresh time", n)
	}
	f.clock.add(5 * time.Second)
	for range 10 {
		f.sign(t)
	}
	if n := f.store.Reads() - start; n != 1 {
		t.Errorf("the store was read %d times after the refresh time, want once", n)
	}

	// Unknown kids cost one read a second at most.
	foreign := newRing(t)
	foreign.mustMaintain(t)
	token, _ := foreign.sign(t)
	f.clock.add(time.Second)
	start = f.store.Reads()
	for range 10 {
		if _, _, err := f.Verify(t.Context(), token); !errors.Is(err, oauthreg.ErrBadSignature) {
			t.Fatal(err)
		}
	}
	if n := f.store.Reads() - start; n != 1 {
		t.Errorf("the store was read %d times for unknown kids within a second, want once", n)
	}
}

func TestKeyRingOutlivesAFailingStore(t *testing.T) {
	f := newRing(t)
	if _, err := f.Sign(t.Context(), "ES256", "", []byte(`{}`)); err == nil {
		t.Error("an empty store signs")
	}
	f.store.Fail(fmt.Errorf("%w: down", oauthreg.ErrUnavailable))
	if err := f.another(t).Maintain(t.Context()); !errors.Is(err, oauthreg.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	if _, err := f.another(t).JWKS(t.Context()); !errors.Is(err, oauthreg.ErrUnavailable) {
		t.Errorf("without anything read: got %v, want ErrUnavailable", err)
	}
	f.store.Fail(nil)
	f.mustMaintain(t)
	token, _ := f.sign(t)

	f.store.Fail(fmt.Errorf("%w: down", oauthreg.ErrUnavailable))
	f.clock.add(59 * time.Second)
	before := f.store.Reads()
	for range 10 {
		f.sign(t)
		if _, _, err := f.Verify(t.Context(), token); err != nil {
			t.Errorf("within a minute: got %v", err)
		}
	}
	if n := f.store.Reads() - before; n != 1 {
		t.Errorf("the failing store was read %d times within a second, want once", n)
	}
	f.clock.add(2 * time.Second)
	_, errSign := f.Sign(t.Context(), "ES256", "", []byte(`{}`))
	_, _, errVerify := f.Verify(t.Context(), token)
	_, _, errPublic := f.PublicJSON(t.Context())
	for name, err := range map[string]error{"Sign": errSign, "Verify": errVerify, "PublicJSON": errPublic} {
		if !errors.Is(err, oauthreg.ErrUnavailable) || errors.Is(err, oauthreg.ErrBadSignature) {
			t.Errorf("%s after a minute: got %v, want ErrUnavailable", name, err)
		}
	}
	f.store.Fail(nil)
	f.sign(t)
}

func TestKeyRingRefusesBrokenKeys(t *testing.T) {
	f := newRing(t)
	f.mustMaintain(t)
	keys, err := f.store.SigningKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*oauthreg.SigningKey){
		"not DER":           func(k *oauthreg.SigningKey) { k.Private = []byte("secret bytes") },
		"another algorithm": func(k *oauthreg.SigningKey) { k.Alg = "RS256" },
	} {
		broken := newRing(t)
		key := keys[0]
		edit(&key)
		err := broken.store.UpdateSigningKeys(t.Context(), func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
			return []oauthreg.SigningKey{key}, nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := broken.JWKS(t.Context()); err == nil || strings.Contains(err.Error(), "secret bytes") {
			t.Errorf("%s: got %v, want an error that does not tell of the key", name, err)
		}
	}
}

func TestKeyRingIsSafeForConcurrentUse(t *testing.T) {
	f := newRing(t, func(cfg *oauthreg.KeyRingConfig) { cfg.Refresh = time.Millisecond })
	f.mustMaintain(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 10 {
				f.clock.add(time.Millisecond)
				token, _ := f.sign(t)
				if _, _, err := f.Verify(t.Context(), token); err != nil {
					t.Error(err)
				}
				if _, _, err := f.PublicJSON(t.Context()); err != nil {
					t.Error(err)
				}
				if i == 0 {
					if _, err := f.Rotate(t.Context(), "ES256"); err != nil {
						t.Error(err)
					}
				}
				if err := f.Maintain(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
