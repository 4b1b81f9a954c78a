package handlers_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// publishedKids are the key ids in the JWKS.
func (e *env) publishedKids() []string {
	e.t.Helper()
	var out []string
	keys, _ := e.send(mustRequest(e.t, e.issuer+"/oauth/jwks")).body["keys"].([]any)
	for _, k := range keys {
		key := k.(map[string]any)
		if key["d"] != nil {
			e.t.Error("a private key is published")
		}
		out = append(out, key["kid"].(string))
	}
	return out
}

// keysIn are the kids of alg that are in that state.
func (e *managedEnv) keysIn(alg, state string) []string {
	e.t.Helper()
	var out []string
	for _, k := range e.call("GET", "/signing_keys?page[size]=100", "").items(e.t) {
		if k["alg"] == alg && k["state"] == state {
			out = append(out, k["kid"].(string))
		}
	}
	return out
}

// Listing, rotating and withdrawing keys; JWKS and ID tokens follow.
func TestManageSigningKeys(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	reg := e.register(webClient())
	b := e.browser()
	idToken := func() (raw, kid string) {
		t.Helper()
		target, verifier := e.authorizeURL(reg.Client.ClientID, "scope", "openid")
		raw = e.redeem(reg, b.walk(target).param("code"), verifier).str("id_token")
		header, _ := decodeJWT(t, raw)
		return raw, header["kid"].(string)
	}
	hint := func(raw string) string {
		target, _ := e.authorizeURL(reg.Client.ClientID, "scope", "openid", "id_token_hint", raw, "prompt", "none")
		a := b.walk(target)
		if a.param("code") != "" {
			return "code"
		}
		return a.param("error")
	}

	list := e.call("GET", "/signing_keys", "")
	if strings.Contains(list.raw, "private") || len(list.items(t)) != 2 {
		t.Fatalf("got %s", list.raw)
	}
	first, kid := idToken()
	if active := e.keysIn("RS256", "active"); !slices.Equal(active, []string{kid}) {
		t.Errorf("active %v, signed by %s", active, kid)
	}

	// Rotation: the old key stays published, and what it signed is good.
	rotated := e.call("POST", "/signing_keys", `{"alg":"RS256"}`)
	rotated.wantStatus(t, 201)
	fresh := rotated.data(t)["kid"].(string)
	second, by := idToken()
	if by != fresh || fresh == kid || rotated.data(t)["state"] != "active" {
		t.Errorf("signed by %s after rotation to %s", by, fresh)
	}
	if kids := e.publishedKids(); !slices.Contains(kids, kid) || !slices.Contains(kids, fresh) {
		t.Errorf("published %v", kids)
	}
	if retired := e.keysIn("RS256", "retired"); !slices.Equal(retired, []string{kid}) {
		t.Errorf("retired %v", retired)
	}
	if got := hint(first); got != "code" {
		t.Errorf("hint of a retired key: %s", got)
	}

	// Withdrawn: gone from the JWKS, nothing it signed counts, another signs.
	e.call("DELETE", "/signing_keys/"+fresh, "").wantStatus(t, 204)
	e.call("DELETE", "/signing_keys/"+fresh, "").wantStatus(t, 204) // nothing more to do
	third, by := idToken()
	if kids := e.publishedKids(); slices.Contains(kids, fresh) || !slices.Contains(kids, by) || !slices.Contains(kids, kid) {
		t.Errorf("published %v without %s, signed by %s", kids, fresh, by)
	}
	if got := hint(second); got != "invalid_request" {
		t.Errorf("hint of a withdrawn key: %s", got)
	}
	if got := hint(third); got != "code" {
		t.Errorf("hint of the new key: %s", got)
	}
	ctx := oidc.ClientContext(t.Context(), e.http.Client())
	check := must(oidc.NewProvider(ctx, e.issuer)).Verifier(&oidc.Config{ClientID: reg.Client.ClientID})
	if _, err := check.Verify(ctx, third); err != nil {
		t.Error(err)
	}
	if _, err := check.Verify(ctx, second); err == nil {
		t.Error("go-oidc takes a token of a withdrawn key")
	}
	e.call("DELETE", "/signing_keys/"+kid, "").wantStatus(t, 204) // a retired one
	if kids := e.publishedKids(); slices.Contains(kids, kid) || !slices.Contains(kids, by) {
		t.Errorf("published %v without %s", kids, kid)
	}

	// Every change is told, with who made it.
	var actions []string
	audit := e.call("GET", "/signing_keys/audit", "")
	for _, rec := range audit.items(t) {
		if rec["actor"].(map[string]any)["kind"] == "admin" {
			actions = append(actions, rec["action"].(string))
		}
	}
	slices.Sort(actions)
	want := []string{
		"signing_key.created", "signing_key.created",
		"signing_key.retired", "signing_key.withdrawn", "signing_key.withdrawn",
	}
	if !slices.Equal(actions, want) {
		t.Errorf("audited %v, want %v", actions, want)
	}
	if strings.Contains(audit.raw, "private") {
		t.Error("the audit log has private parts")
	}
	e.call("GET", "/signing_keys/audit?filter[action]=signing_key.withdrawn&page[size]=1", "").wantStatus(t, 200)
	if other := e.call("GET", "/audit", ""); strings.Contains(other.raw, "signing_key") {
		t.Errorf("an organization's audit log has the server's keys: %s", other.raw)
	}

	// What is refused changes nothing.
	before := e.call("GET", "/signing_keys", "").raw
	for body, status := range map[string]int{
		`{"alg":"HS256"}`: 422, `{"alg":"ES384"}`: 422, `{"alg":7}`: 422, `{}`: 422, `{"alg":"RS256","kid":"x"}`: 422, `{`: 400, `[]`: 422,
	} {
		if a := e.call("POST", "/signing_keys", body); a.status != status {
			t.Errorf("%s: got %d %s, want %d", body, a.status, a.raw, status)
		}
	}
	e.call("DELETE", "/signing_keys/unknown", "").wantStatus(t, 404)
	e.call("GET", "/signing_keys?filter[alg]=RS256", "").wantStatus(t, 400)
	if after := e.call("GET", "/signing_keys", "").raw; after != before {
		t.Errorf("was %s, is %s", before, after)
	}
}

// The keys are the business of callers with rights over everything.
func TestSigningKeysAreTheServers(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, func(_ *env, c *handlers.ManagementConfig) {
		admin := c.Authenticate
		c.Authenticate = func(r *http.Request) (*handlers.Principal, error) {
			switch r.Header.Get("Authorization") {
			case "Bearer org":
				return &handlers.Principal{UserID: "u", OrgID: homeOrg, AllProjects: true}, nil
			case "Bearer reader":
				return &handlers.Principal{UserID: "u", OrgID: homeOrg, AllOrgs: true, ReadOnly: true}, nil
			}
			return admin(r)
		}
	})
	kid := e.keysIn("ES256", "active")[0]
	for _, c := range []struct {
		bearer, method, path, body string
		status                     int
	}{
		{"org", "GET", "/signing_keys", "", 403},
		{"org", "GET", "/signing_keys/audit", "", 403},
		{"org", "POST", "/signing_keys", `{"alg":"ES256"}`, 403},
		{"org", "DELETE", "/signing_keys/" + kid, "", 403},
		{"", "GET", "/signing_keys", "", 401},
		{"", "DELETE", "/signing_keys/" + kid, "", 401},
		{"reader", "GET", "/signing_keys", "", 200},
		{"reader", "GET", "/signing_keys/audit", "", 200},
		{"reader", "POST", "/signing_keys", `{"alg":"ES256"}`, 403},
		{"reader", "DELETE", "/signing_keys/" + kid, "", 403},
	} {
		if a := e.callAs(c.bearer, c.method, c.path, c.body); a.status != c.status {
			t.Errorf("%s %s %s: got %d %s, want %d", c.bearer, c.method, c.path, a.status, a.raw, c.status)
		}
	}
	if now := e.keysIn("ES256", "active"); !slices.Equal(now, []string{kid}) {
		t.Errorf("active %v, want %s", now, kid)
	}
}

// fakeKMS is a key management service with one key. Like the real ones it signs
// digests, takes a context, and is away at times.
type fakeKMS struct {
	mu   sync.Mutex
	key  crypto.Signer
	err  error
	used int
}

func newKMS(t *testing.T, alg string) *fakeKMS {
	t.Helper()
	var key crypto.Signer
	var err error
	switch alg {
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	return &fakeKMS{key: key}
}

func (k *fakeKMS) Public() crypto.PublicKey { return k.key.Public() }

func (k *fakeKMS) Sign(ctx context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.used++
	if err := errors.Join(k.err, ctx.Err()); err != nil {
		return nil, err
	}
	return k.key.Sign(rand.Reader, digest, opts)
}

func (k *fakeKMS) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

func (k *fakeKMS) calls() int {
	if k == nil {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.used
}

// A key management service signs in a whole OpenID Connect flow, and a relying
// party that knows nothing of it verifies.
func TestExternalSigningKeys(t *testing.T) {
	rs, ec, ed := newKMS(t, "RS256"), newKMS(t, "ES256"), newKMS(t, "EdDSA")
	e := newManagedEnv(t, envOptions{keys: func(c *oauthreg.KeyRingConfig) {
		c.Algorithms = []string{"RS256", "PS256", "ES256", "EdDSA", "ES384"}
		c.External = []oauthreg.ExternalKey{
			{Signer: rs, Alg: "RS256", KeyID: "arn:kms:rsa"}, {Signer: rs, Alg: "PS256", KeyID: "arn:kms:pss"},
			{Signer: ec, Alg: "ES256"}, {Signer: ed, Alg: "EdDSA"},
		}
	}, config: func(c *handlers.Config) { c.Claims = testClaims{} }}, nil)
	ctx := oidc.ClientContext(t.Context(), e.http.Client())
	provider := must(oidc.NewProvider(ctx, e.issuer))
	for alg, key := range map[string]*fakeKMS{"RS256": rs, "PS256": rs, "ES256": ec, "EdDSA": ed, "ES384": nil} {
		reg := e.register(with(webClient(), func(c *oauthreg.Client) {
			c.IDTokenSignedResponseAlg, c.UserinfoSignedResponseAlg = alg, alg
		}))
		before := key.calls()
		tokens := e.tokens(reg, "scope", "openid profile")
		id, err := provider.Verifier(&oidc.Config{ClientID: reg.Client.ClientID, SupportedSigningAlgs: []string{alg}}).Verify(ctx, tokens.str("id_token"))
		if err != nil || id.Subject != "sub-alice" || id.VerifyAccessToken(tokens.str("access_token")) != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if header, _ := decodeJWT(t, e.userinfo(tokens.str("access_token")).raw); header["alg"] != alg {
			t.Errorf("%s: userinfo %v", alg, header)
		}
		if key != nil && key.calls()-before != 2 {
			t.Errorf("%s: the service was called %d times, want 2", alg, key.calls()-before)
		}
	}
	if kids := e.publishedKids(); len(kids) != 7 || kids[0] != "arn:kms:rsa" || kids[1] != "arn:kms:pss" {
		t.Errorf("published %v: four external keys, the own one, and two that retired for them", kids)
	}
	if own := e.keysIn("RS256", "retired"); len(own) != 1 {
		t.Errorf("%d own RS256 keys have retired, want the one that was there", len(own))
	}

	// They are listed, and changed elsewhere.
	if got := e.keysIn("RS256", "active"); !slices.Equal(got, []string{"arn:kms:rsa"}) {
		t.Errorf("active %v", got)
	}
	e.call("POST", "/signing_keys", `{"alg":"RS256"}`).wantStatus(t, 409)
	e.call("DELETE", "/signing_keys/arn:kms:rsa", "").wantStatus(t, 409)
	e.call("POST", "/signing_keys", `{"alg":"ES384"}`).wantStatus(t, 201)

	// While the service is away nothing is issued, and the code is not used up.
	reg := e.register(webClient())
	code, verifier := e.code(reg.Client.ClientID, "scope", "openid")
	rs.fail(errors.New("kms: the secret name of the endpoint"))
	a := e.redeem(reg, code, verifier)
	if a.status < 500 || a.str("id_token") != "" || strings.Contains(a.raw, "secret name") {
		t.Errorf("got %d %s", a.status, a.raw)
	}
	rs.fail(nil)
	if a := e.redeem(reg, code, verifier); a.status != 200 {
		t.Errorf("afterwards: %d %s", a.status, a.raw)
	}
}

// A move to a key management service that is planned ahead: published first,
// used when it is time; the own key of the server signs until then.
func TestMoveToExternalKey(t *testing.T) {
	clock := newClock()
	var ring *oauthreg.KeyRing
	key := newKMS(t, "RS256")
	e := newManagedEnv(t, envOptions{clock: clock, keys: func(c *oauthreg.KeyRingConfig) {
		c.External = []oauthreg.ExternalKey{{Signer: key, Alg: "RS256", KeyID: "kms", ActiveAt: clock.Now().Add(24 * time.Hour)}}
	}, config: func(c *handlers.Config) { ring = c.Keys }}, nil)
	reg := e.register(webClient())
	kid := func() string {
		header, _ := decodeJWT(t, e.tokens(reg, "scope", "openid").str("id_token"))
		return header["kid"].(string)
	}
	own := kid()
	if own == "kms" || !slices.Contains(e.publishedKids(), "kms") {
		t.Errorf("signed by %s, published %v", own, e.publishedKids())
	}
	clock.add(25 * time.Hour)
	if err := ring.Maintain(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := kid(); got != "kms" {
		t.Errorf("signed by %s, want kms", got)
	}
	if !slices.Contains(e.publishedKids(), own) {
		t.Error("what the own key signed can no longer be verified")
	}
	clock.add(49 * time.Hour)
	if kids := e.publishedKids(); slices.Contains(kids, own) {
		t.Errorf("published %v", kids)
	}
}
