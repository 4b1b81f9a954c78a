package storage

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v3"
	"github.com/ory/fosite"
	"github.com/ory/fosite/compose"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/token/jwt"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// engine is fosite as it comes, composed on a store: its stock handlers, not
// those of package handlers.
type engine struct {
	t      *testing.T
	s      *Store
	p      fosite.OAuth2Provider
	client *Client
	code   string
	verify string
}

func newEngine(t *testing.T, kind string) *engine {
	t.Helper()
	s := openTest(t, kind, Config{EncryptionKeys: [][]byte{testKey}})
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	private := func(context.Context) (any, error) {
		return &jose.JSONWebKey{Key: key, KeyID: "k", Algorithm: "ES256"}, nil
	}
	cfg := &fosite.Config{
		GlobalSecret:               testKey,
		AuthorizeCodeLifespan:      time.Minute,
		RefreshTokenScopes:         []string{},
		ScopeStrategy:              fosite.ExactScopeStrategy,
		AudienceMatchingStrategy:   fosite.ExactAudienceMatchingStrategy,
		ClientSecretsHasher:        &fosite.BCrypt{},
		IDTokenIssuer:              "https://issuer.example",
		SendDebugMessagesToClients: true,
	}
	// Secrets are the registry's: here whoever names a client is the client.
	cfg.ClientAuthenticationStrategy = func(ctx context.Context, _ *http.Request, form url.Values) (fosite.Client, error) {
		return s.GetClient(ctx, form.Get("client_id"))
	}
	e := &engine{t: t, s: s}
	e.p = compose.Compose(cfg, s,
		&compose.CommonStrategy{CoreStrategy: compose.NewOAuth2HMACStrategy(cfg), OpenIDConnectTokenStrategy: compose.NewOpenIDConnectStrategy(private, cfg), Signer: &jwt.DefaultSigner{GetPrivateKey: private}},
		compose.OAuth2AuthorizeExplicitFactory, compose.OAuth2ClientCredentialsGrantFactory, compose.OAuth2RefreshTokenGrantFactory,
		compose.OpenIDConnectExplicitFactory, compose.OpenIDConnectRefreshFactory, compose.OAuth2PKCEFactory,
		compose.OAuth2TokenIntrospectionFactory, compose.OAuth2TokenRevocationFactory)
	e.client = addClient(t, s, func(rec *oauthreg.Record) {
		rec.Client.GrantTypes = append(rec.Client.GrantTypes, "client_credentials")
	})
	return e
}

// authorize gets a code.
func (e *engine) authorize() {
	e.t.Helper()
	e.verify = strings.Repeat("verifier", 8)
	sum := sha256.Sum256([]byte(e.verify))
	q := url.Values{
		"client_id": {e.client.GetID()}, "response_type": {"code"}, "redirect_uri": {"https://a.example/cb"}, "scope": {"openid read"},
		"state": {"12345678"}, "nonce": {"12345678"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	ctx := e.t.Context()
	ar, err := e.p.NewAuthorizeRequest(ctx, httptest.NewRequest("GET", "/authorize?"+q.Encode(), nil))
	must(e.t, err)
	for _, scope := range ar.GetRequestedScopes() {
		ar.GrantScope(scope)
	}
	resp, err := e.p.NewAuthorizeResponse(ctx, ar, &openid.DefaultSession{Subject: "alice", Claims: &jwt.IDTokenClaims{Subject: "alice", AuthTime: time.Now().Add(-time.Minute), RequestedAt: time.Now()}})
	must(e.t, err)
	e.code = resp.GetCode()
}

// token makes a token request.
func (e *engine) token(form url.Values) (map[string]any, error) {
	ctx := e.t.Context()
	form.Set("client_id", e.client.GetID())
	r := httptest.NewRequest("POST", "/token", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	ar, err := e.p.NewAccessRequest(ctx, r, new(openid.DefaultSession))
	if err != nil {
		return nil, err
	}
	resp, err := e.p.NewAccessResponse(ctx, ar)
	if err != nil {
		return nil, err
	}
	return resp.ToMap(), nil
}

func (e *engine) exchange(verifier string) (map[string]any, error) {
	form := url.Values{"grant_type": {"authorization_code"}, "code": {e.code}, "redirect_uri": {"https://a.example/cb"}}
	if verifier != "" {
		form.Set("code_verifier", verifier)
	}
	return e.token(form)
}

func (e *engine) refresh(token any) (map[string]any, error) {
	return e.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token.(string)}})
}

func (e *engine) active(token any) bool {
	e.t.Helper()
	_, _, err := e.p.IntrospectToken(e.t.Context(), token.(string), fosite.AccessToken, new(openid.DefaultSession))
	return err == nil
}

func (e *engine) revoke(token any) {
	e.t.Helper()
	r := httptest.NewRequest("POST", "/revoke", strings.NewReader(url.Values{"token": {token.(string)}, "client_id": {e.client.GetID()}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	must(e.t, e.p.NewRevocationRequest(e.t.Context(), r))
}

func TestFositeCodeFlow(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			e := newEngine(t, kind)
			e.authorize()

			// Failing once must not make the challenge go away.
			for _, verifier := range []string{strings.Repeat("wrong-verifier", 4), "", ""} {
				if _, err := e.exchange(verifier); !errors.Is(err, fosite.ErrInvalidGrant) {
					t.Errorf("verifier %q: got %v, want ErrInvalidGrant", verifier, err)
				}
			}
			got, err := e.exchange(e.verify)
			must(t, err)
			if got["id_token"] == nil || got["refresh_token"] == nil || !e.active(got["access_token"]) {
				t.Errorf("got %v", got)
			}
			next, err := e.refresh(got["refresh_token"])
			must(t, err)
			if next["id_token"] == nil || !e.active(next["access_token"]) || !e.active(got["access_token"]) {
				t.Errorf("got %v", next)
			}
			again, err := e.refresh(got["refresh_token"]) // in the grace
			must(t, err)

			// A replayed code revokes what came of it.
			if _, err := e.exchange(e.verify); !errors.Is(err, fosite.ErrInvalidGrant) {
				t.Errorf("got %v, want ErrInvalidGrant", err)
			}
			for _, token := range []any{got["access_token"], next["access_token"], again["access_token"]} {
				if e.active(token) {
					t.Error("an access token outlived the replay")
				}
			}
			if _, err := e.refresh(next["refresh_token"]); !errors.Is(err, fosite.ErrInvalidGrant) {
				t.Errorf("got %v, want ErrInvalidGrant", err)
			}
		})
	}
}

func TestFositeRefreshReuse(t *testing.T) {
	e := newEngine(t, "memory")
	e.authorize()
	got, err := e.exchange(e.verify)
	must(t, err)
	next, err := e.refresh(got["refresh_token"])
	must(t, err)
	e.s.cfg.Now = func() time.Time { return time.Now().Add(time.Minute) }
	if _, err := e.refresh(got["refresh_token"]); !errors.Is(err, fosite.ErrInvalidGrant) {
		t.Errorf("got %v, want ErrInvalidGrant", err)
	}
	if e.active(next["access_token"]) {
		t.Error("the successor outlived the reuse")
	}
}

func TestFositeRevocation(t *testing.T) {
	for _, which := range []string{"refresh_token", "access_token"} {
		e := newEngine(t, "memory")
		e.authorize()
		got, err := e.exchange(e.verify)
		must(t, err)
		e.revoke("unknown.unknown")
		e.revoke(got[which])
		if e.active(got["access_token"]) {
			t.Errorf("%s: the access token is still active", which)
		}
		if _, err := e.refresh(got["refresh_token"]); err == nil {
			t.Errorf("%s: the refresh token still works", which)
		}
	}
}

func TestFositeClientCredentials(t *testing.T) {
	e := newEngine(t, "memory")
	got, err := e.token(url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}})
	must(t, err)
	other, err := e.token(url.Values{"grant_type": {"client_credentials"}})
	must(t, err)
	if !e.active(got["access_token"]) {
		t.Error("the token is not active")
	}
	e.revoke(got["access_token"])
	if e.active(got["access_token"]) || !e.active(other["access_token"]) {
		t.Error("revocation did not end the one token alone")
	}
}

// Fifty redemptions of one code yield one set of tokens.
func TestFositeCodeRace(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			e := newEngine(t, kind)
			e.authorize()
			var wg sync.WaitGroup
			var mu sync.Mutex
			won := 0
			for range 50 {
				wg.Go(func() {
					_, err := e.exchange(e.verify)
					mu.Lock()
					defer mu.Unlock()
					if err == nil {
						won++
					}
				})
			}
			wg.Wait()
			if won != 1 {
				t.Errorf("%d of 50 redemptions succeeded, want 1", won)
			}
		})
	}
}
