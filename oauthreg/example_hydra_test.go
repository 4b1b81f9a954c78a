package oauthreg_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/oauthreg/oauthregtest"
)

// hydraClient is a client as the admin API of Ory Hydra lists it, as far as it is
// used here. client_secret is not in that list: it is the hash in the column of
// that name of the table hydra_client.
type hydraClient struct {
	ClientID                string   `json:"client_id"`
	ClientName              string   `json:"client_name"`
	ClientSecret            string   `json:"client_secret"`
	RedirectURIs            []string `json:"redirect_uris"`
	PostLogoutRedirectURIs  []string `json:"post_logout_redirect_uris"`
	GrantTypes              []string `json:"grant_types"`
	ResponseTypes           []string `json:"response_types"`
	Scope                   string   `json:"scope"`
	Audience                []string `json:"audience"`
	TokenEndpointAuthMethod string   `json:"token_endpoint_auth_method"`
	AccessTokenStrategy     string   `json:"access_token_strategy"`
	SkipConsent             bool     `json:"skip_consent"`
}

func (h hydraClient) client() oauthreg.Client {
	c := oauthreg.Client{
		ClientID:                h.ClientID,
		Name:                    h.ClientName,
		RedirectURIs:            h.RedirectURIs,
		PostLogoutRedirectURIs:  h.PostLogoutRedirectURIs,
		GrantTypes:              h.GrantTypes,
		ResponseTypes:           h.ResponseTypes,
		Scopes:                  strings.Fields(h.Scope),
		Audience:                h.Audience,
		TokenEndpointAuthMethod: h.TokenEndpointAuthMethod,
		AccessTokenFormat:       oauthreg.Opaque,
		FirstParty:              h.SkipConsent,
	}
	if h.AccessTokenStrategy == "jwt" {
		c.AccessTokenFormat = oauthreg.JWT
	}
	for i, s := range c.Scopes {
		if s == "offline" { // Hydra's older name
			c.Scopes[i] = "offline_access"
		}
	}
	return c
}

// Clients of Ory Hydra keep their client_id and their secret: the hash is taken
// over as it is, PBKDF2 or bcrypt, and gives way to a faster digest when the
// client has shown its secret, if that is 32 characters or longer.
func ExampleRegistry_Register_hydra() {
	export := `[
	  {"client_id": "5b2f", "client_name": "Shop", "client_secret": "$pbkdf2-sha256$i=25000,l=32$BAsK0ZHGpgrjNbJzO5dSVw$3il6q1CHX1tFx3qgL+eUH2sfCc9WrSzfa+HGMu7Godk",
	   "redirect_uris": ["https://shop.example/callback"], "grant_types": ["authorization_code", "refresh_token"],
	   "response_types": ["code"], "scope": "openid offline orders", "audience": [], "token_endpoint_auth_method": "client_secret_post"},
	  {"client_id": "77aa", "client_name": "Nightly export", "client_secret": "$2a$04$a6KRb19atdYw8mwn6iDC1OCcxyJQagRJ2Szx6QOuggbYnHgiTUReG",
	   "grant_types": ["client_credentials"], "scope": "orders", "token_endpoint_auth_method": "client_secret_basic", "access_token_strategy": "jwt"}
	]`
	secrets := map[string]string{"5b2f": "Nq3Gk0uYx7mTt2bVh9sLd5fWc8rPz1aE", "77aa": "short secret"}

	reg := exampleRegistry(oauthreg.Config{})
	ctx := context.Background()
	var clients []hydraClient
	if err := json.Unmarshal([]byte(export), &clients); err != nil {
		panic(err)
	}
	for _, h := range clients {
		made, err := reg.Register(ctx, h.client(), oauthreg.RegisterOptions{SecretHash: h.ClientSecret})
		if err != nil {
			panic(err) // an InvalidError names every field that is not legal here
		}
		fmt.Println(made.Client.ClientID, made.Client.Scopes, made.Client.AccessTokenFormat)
	}

	for _, h := range clients {
		rec, err := reg.Record(ctx, oauthreg.ByClientID(h.ClientID))
		if err != nil {
			panic(err)
		}
		fmt.Println(reg.CheckSecret(&rec, secrets[h.ClientID]), reg.CheckSecret(&rec, "a guess"))
	}
	if err := reg.FlushSecretUses(ctx); err != nil { // handlers.Server.Run does it
		panic(err)
	}
	for _, h := range clients {
		rec, err := reg.Record(ctx, oauthreg.ByClientID(h.ClientID))
		if err != nil {
			panic(err)
		}
		fmt.Println(rec.Secrets[0].Hash == h.ClientSecret, reg.CheckSecret(&rec, secrets[h.ClientID]))
	}
	// Output:
	// 5b2f [openid offline_access orders] opaque
	// 77aa [orders] jwt
	// true false
	// true false
	// false true
	// true true
}

// The signing key of another server goes on to sign, under its kid, until the ring
// rotates it: nobody who cached the old JWKS notices.
func ExampleKeyRing_import() {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // the "d" of the old server's JWKS
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	store := new(oauthregtest.Memory)
	err = store.UpdateSigningKeys(ctx, func(have []oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
		if len(have) > 0 {
			return nil, nil, nil // done before
		}
		now := time.Now()
		return []oauthreg.SigningKey{{KeyID: "old-server-1", Alg: "ES256", Private: der, CreatedAt: now, ActiveAt: now}}, nil, nil
	})
	if err != nil {
		panic(err)
	}
	ring, err := oauthreg.OpenKeyRing(ctx, oauthreg.KeyRingConfig{Store: store, Algorithms: []string{"ES256"}})
	if err != nil {
		panic(err)
	}
	token, err := ring.Sign(ctx, "ES256", "JWT", map[string]string{"sub": "alice"})
	if err != nil {
		panic(err)
	}
	_, info, err := ring.Verify(ctx, token)
	if err != nil {
		panic(err)
	}
	set, err := ring.JWKS(ctx)
	fmt.Println(info.KeyID, len(set.Keys), err)
	// Output:
	// old-server-1 1 <nil>
}

// kms is a key management service: it signs, and never tells the private key.
type kms struct{ key crypto.Signer }

func (k kms) Public() crypto.PublicKey { return k.key.Public() }

func (k kms) Sign(_ context.Context, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return k.key.Sign(rand.Reader, digest, opts)
}

// A private key stays in a key management service.
func ExampleExternalKey() {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	ring, err := oauthreg.OpenKeyRing(ctx, oauthreg.KeyRingConfig{
		Store:      new(oauthregtest.Memory),
		Algorithms: []string{"ES256"},
		External:   []oauthreg.ExternalKey{{Signer: kms{private}, Alg: "ES256", KeyID: "kms-1"}},
	})
	if err != nil {
		panic(err)
	}
	token, err := ring.Sign(ctx, "ES256", "JWT", map[string]string{"sub": "alice"})
	if err != nil {
		panic(err)
	}
	_, info, err := ring.Verify(ctx, token)
	fmt.Println(info.KeyID, err)
	// Output:
	// kms-1 <nil>
}
