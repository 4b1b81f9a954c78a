package oauthreg_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func TestValidate(t *testing.T) {
	type client = oauthreg.Client
	repeat := func(n int, f func(int) string) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = f(i)
		}
		return out
	}
	tests := []struct {
		name  string
		edit  func(*client)
		rules oauthreg.Rules
		want  []string // fields; empty if the client is legal
	}{
		{name: "as it is"},

		// Who it is.
		{name: "client_id of unreserved characters", edit: func(c *client) { c.ClientID = "a-Z.0_~" }},
		{name: "client_id that is a URL", edit: func(c *client) { c.ClientID = "https://app.example/client.json" }},
		{name: "client_id with a space", edit: func(c *client) { c.ClientID = "a b" }, want: []string{"client_id"}},
		{name: "client_id with a colon", edit: func(c *client) { c.ClientID = "a:b" }, want: []string{"client_id"}},
		{name: "client_id too long", edit: func(c *client) { c.ClientID = strings.Repeat("a", 256) }, want: []string{"client_id"}},
		{name: "client_id that is an http URL", edit: func(c *client) { c.ClientID = "http://app.example/c" }, want: []string{"client_id"}},
		{name: "client_id that is a URL with a user", edit: func(c *client) { c.ClientID = "https://u@app.example/c" }, want: []string{"client_id"}},
		{name: "client_id that is a URL with a fragment", edit: func(c *client) { c.ClientID = "https://app.example/c#" }, want: []string{"client_id"}},
		{name: "id that is no UUID", edit: func(c *client) { c.ID = "1" }, want: []string{"id"}},
		{name: "id in braces", edit: func(c *client) { c.ID = "{0190a2c4-0000-7000-8000-000000000001}" }, want: []string{"id"}},
		{name: "owner ids of any form", edit: func(c *client) { c.OrgID, c.ProjectID, c.UserID = "auth0|1", "p/1", "usr_é" }},
		{name: "owner ids too long or with spaces", edit: func(c *client) {
			c.OrgID, c.ProjectID, c.UserID = strings.Repeat("a", 65), "a b", "a\n"
		}, want: []string{"org_id", "project_id", "user_id"}},

		// What people read.
		{name: "name of 255 characters", edit: func(c *client) { c.Name = strings.Repeat("é", 255) }},
		{name: "name with markup, for the page to escape", edit: func(c *client) { c.Name = `<b>"App" & co</b>` }},
		{name: "no name", edit: func(c *client) { c.Name = "" }, want: []string{"client_name"}},
		{name: "blank name", edit: func(c *client) { c.Name = "  " }, want: []string{"client_name"}},
		{name: "name too long", edit: func(c *client) { c.Name = strings.Repeat("a", 256) }, want: []string{"client_name"}},
		{name: "name with a newline", edit: func(c *client) { c.Name = "a\nb" }, want: []string{"client_name"}},
		{name: "name with NUL", edit: func(c *client) { c.Name = "a\x00b" }, want: []string{"client_name"}},
		{name: "name with a line separator", edit: func(c *client) { c.Name = "a\u2028b" }, want: []string{"client_name"}},
		{name: "name with an override", edit: func(c *client) { c.Name = "a\u202eb" }, want: []string{"client_name"}},
		{name: "name with an isolate", edit: func(c *client) { c.Name = "a\u2066b" }, want: []string{"client_name"}},
		{name: "name with a mark", edit: func(c *client) { c.Name = "a\u200fb" }, want: []string{"client_name"}},
		{name: "name with an Arabic mark", edit: func(c *client) { c.Name = "a\u061cb" }, want: []string{"client_name"}},
		{name: "name that is not UTF-8", edit: func(c *client) { c.Name = "a\xffb" }, want: []string{"client_name"}},
		{name: "description of several lines", edit: func(c *client) { c.Description = "a\n\tb\r\n" }},
		{name: "description too long", edit: func(c *client) { c.Description = strings.Repeat("a", 4097) }, want: []string{"description"}},
		{name: "description with an escape", edit: func(c *client) { c.Description = "\x1b[31m" }, want: []string{"description"}},
		{name: "contacts and software", edit: func(c *client) {
			c.Contacts, c.SoftwareID, c.SoftwareVersion = []string{"a@b.example"}, "id", "1.0"
		}},
		{name: "contacts and software that are wrong", edit: func(c *client) {
			c.Contacts, c.SoftwareID, c.SoftwareVersion = []string{"ok", "", "a\nb"}, "\x00", strings.Repeat("a", 256)
		}, want: []string{"contacts[1]", "contacts[2]", "software_id", "software_version"}},
		{name: "too many contacts", edit: func(c *client) { c.Contacts = repeat(17, func(i int) string { return fmt.Sprint(i) }) }, want: []string{"contacts"}},

		// How it authenticates.
		{name: "unknown method", edit: func(c *client) { c.TokenEndpointAuthMethod = "tls_client_auth" }, want: []string{"token_endpoint_auth_method"}},
		{name: "method in upper case", edit: func(c *client) { c.TokenEndpointAuthMethod = "NONE" }, want: []string{"token_endpoint_auth_method"}},
		{name: "public with a secret method", edit: func(c *client) {
			c.Type, c.TokenEndpointAuthMethod = oauthreg.Public, "client_secret_post"
		}, want: []string{"token_endpoint_auth_method"}},
		{name: "confidential without a method", edit: func(c *client) {
			c.Type, c.TokenEndpointAuthMethod = oauthreg.Confidential, "none"
		}, want: []string{"token_endpoint_auth_method"}},
		{name: "unknown type", edit: func(c *client) { c.Type = "Public" }, want: []string{"client_type"}},
		{name: "symmetric signing algorithm", edit: func(c *client) { c.TokenEndpointAuthSigningAlg = "HS256" }, want: []string{"token_endpoint_auth_signing_alg"}},
		{name: "signing algorithm none", edit: func(c *client) {
			c.TokenEndpointAuthSigningAlg, c.IDTokenSignedResponseAlg = "none", "none"
		}, want: []string{"id_token_signed_response_alg", "token_endpoint_auth_signing_alg"}},
		{name: "known signing algorithms", edit: func(c *client) {
			c.TokenEndpointAuthSigningAlg, c.IDTokenSignedResponseAlg = "PS512", "EdDSA"
		}},
		{name: "unknown token format", edit: func(c *client) { c.AccessTokenFormat = "JWT" }, want: []string{"access_token_format"}},

		// What it may ask for.
		{name: "scopes at the edges of the grammar", edit: func(c *client) { c.Scopes = []string{"!", "#", "[", "]", "~", "https://a.example/x"} }},
		{name: "scopes outside the grammar", edit: func(c *client) { c.Scopes = []string{"ok", "", "a b", `a"b`, `a\b`, "é", "a\x7f"} },
			want: []string{"scope[1]", "scope[2]", "scope[3]", "scope[4]", "scope[5]", "scope[6]"}},
		{name: "scope listed twice", edit: func(c *client) { c.Scopes = []string{"a", "b", "a"} }, want: []string{"scope[2]"}},
		{name: "scope too long", edit: func(c *client) { c.Scopes = []string{strings.Repeat("a", 256)} }, want: []string{"scope[0]"}},
		{name: "255 scopes", edit: func(c *client) { c.Scopes = repeat(255, func(i int) string { return fmt.Sprint(i) }) }},
		{name: "256 scopes", edit: func(c *client) { c.Scopes = repeat(256, func(i int) string { return fmt.Sprint(i) }) }, want: []string{"scope"}},
		{name: "default scopes among the scopes", edit: func(c *client) { c.DefaultScopes = []string{"openid"} }},
		{name: "default scopes beyond the scopes", edit: func(c *client) { c.DefaultScopes = []string{"openid", "x", "openid"} },
			want: []string{"default_scope[1]", "default_scope[2]"}},
		{name: "unknown scope where all are known", edit: func(c *client) { c.Scopes = []string{"openid", "custom"} }, rules: oauthreg.Rules{KnownScopesOnly: true}, want: []string{"scope[1]"}},
		{name: "unknown scope elsewhere", edit: func(c *client) { c.Scopes = []string{"custom"} }},
		{name: "refused scope", edit: func(c *client) { c.Scopes = []string{"openid", "admin"} }, rules: oauthreg.Rules{RefusedScopes: []string{"admin"}}, want: []string{"scope[1]"}},

		{name: "no grant types", edit: func(c *client) { c.GrantTypes, c.RedirectURIs = nil, nil }},
		{name: "configured grant type with refresh_token", edit: func(c *client) { c.GrantTypes = []string{"urn:example:grant", "refresh_token"} }},
		{name: "unknown grant types", edit: func(c *client) { c.GrantTypes = []string{"password", "Client_Credentials", ""} },
			want: []string{"grant_types[0]", "grant_types[1]", "grant_types[2]"}},
		{name: "grant type listed twice", edit: func(c *client) { c.GrantTypes = []string{"authorization_code", "authorization_code"} }, want: []string{"grant_types[1]"}},
		{name: "refresh_token alone", edit: func(c *client) { c.GrantTypes = []string{"refresh_token"} }, want: []string{"grant_types"}},
		{name: "refresh_token with client_credentials", edit: func(c *client) { c.GrantTypes = []string{"client_credentials", "refresh_token"} }, want: []string{"grant_types"}},
		{name: "too many grant types", edit: func(c *client) { c.GrantTypes = repeat(33, func(i int) string { return fmt.Sprint(i) }) }, want: []string{"grant_types"}},
		{name: "public with client_credentials", edit: func(c *client) { c.Type, c.GrantTypes = oauthreg.Public, []string{"client_credentials"} }, want: []string{"grant_types[0]"}},
		{name: "public with client_credentials where it is kept", edit: func(c *client) { c.Type, c.GrantTypes = oauthreg.Public, []string{"client_credentials"} },
			rules: oauthreg.Rules{PublicClientCredentials: true}},
		{name: "client_credentials where it is not given", edit: func(c *client) { c.GrantTypes = []string{"client_credentials"} },
			rules: oauthreg.Rules{NoClientCredentials: true}, want: []string{"grant_types[0]"}},
		{name: "implicit", edit: func(c *client) { c.GrantTypes = []string{"implicit"} },
			want: []string{"grant_types[0]", "response_types[0]", "response_types[1]", "response_types[2]"}},
		{name: "implicit where it is kept", edit: func(c *client) { c.GrantTypes = []string{"implicit"} }, rules: oauthreg.Rules{AllowImplicit: true}},
		{name: "implicit without redirect URI", edit: func(c *client) { c.GrantTypes, c.RedirectURIs = []string{"implicit"}, nil },
			rules: oauthreg.Rules{AllowImplicit: true}, want: []string{"redirect_uris"}},
		{name: "response type of another grant", edit: func(c *client) {
			c.GrantTypes, c.ResponseTypes = []string{"client_credentials"}, []string{"code"}
		}, want: []string{"response_types[0]"}},
		{name: "response type token", edit: func(c *client) { c.ResponseTypes = []string{"code", "token"} }, want: []string{"response_types[1]"}},
		{name: "token without implicit", edit: func(c *client) { c.ResponseTypes = []string{"code", "token"} }, rules: oauthreg.Rules{AllowImplicit: true}, want: []string{"response_types[1]"}},
		{name: "hybrid response type", edit: func(c *client) { c.ResponseTypes = []string{"code", "code id_token"} }, rules: oauthreg.Rules{AllowImplicit: true}, want: []string{"response_types[1]"}},
		{name: "response type listed twice", edit: func(c *client) { c.ResponseTypes = []string{"code", "code"} }, want: []string{"response_types[1]"}},
		{name: "code grant without its response type", edit: func(c *client) {
			c.GrantTypes, c.ResponseTypes = []string{"authorization_code", "implicit"}, []string{"token"}
		}, rules: oauthreg.Rules{AllowImplicit: true}, want: []string{"response_types"}},
		{name: "implicit grant without its response type", edit: func(c *client) {
			c.GrantTypes, c.ResponseTypes = []string{"authorization_code", "implicit"}, []string{"code"}
		}, rules: oauthreg.Rules{AllowImplicit: true}, want: []string{"response_types"}},

		// Where it is sent back to.
		{name: "code grant without redirect URI", edit: func(c *client) { c.RedirectURIs = nil }, want: []string{"redirect_uris"}},
		{name: "redirect URIs without code grant", edit: func(c *client) { c.GrantTypes = []string{"client_credentials"} }},
		{name: "bad redirect URIs", edit: func(c *client) {
			c.RedirectURIs = []string{"https://a.example/", "/cb", "javascript:x", "https://a.example/"}
		}, want: []string{"redirect_uris[1]", "redirect_uris[2]", "redirect_uris[3]"}},
		{name: "64 redirect URIs", edit: func(c *client) {
			c.RedirectURIs = repeat(64, func(i int) string { return fmt.Sprint("https://a.example/", i) })
		}},
		{name: "65 redirect URIs", edit: func(c *client) {
			c.RedirectURIs = repeat(65, func(i int) string { return fmt.Sprint("https://a.example/", i) })
		}, want: []string{"redirect_uris"}},
		{name: "bad post-logout redirect URI", edit: func(c *client) {
			c.PostLogoutRedirectURIs = []string{"https://a.example/out", "http://a.example/out"}
		}, want: []string{"post_logout_redirect_uris[1]"}},
		{name: "short scheme", edit: func(c *client) { c.RedirectURIs = []string{"myapp:/cb"} }},
		{name: "short scheme where dots are required", edit: func(c *client) { c.RedirectURIs = []string{"myapp:/cb"} },
			rules: oauthreg.Rules{RequireDottedSchemes: true}, want: []string{"redirect_uris[0]"}},
		{name: "configured short scheme where dots are required", edit: func(c *client) { c.RedirectURIs = []string{"cursor://x/cb"} },
			rules: oauthreg.Rules{RequireDottedSchemes: true}},
		{name: "web with a private-use scheme", edit: func(c *client) {
			c.ApplicationType, c.RedirectURIs = oauthreg.Web, []string{"com.example:/cb"}
		}, want: []string{"redirect_uris[0]"}},
		{name: "unknown application type", edit: func(c *client) { c.ApplicationType = "spa" }, want: []string{"application_type"}},

		// What its tokens are for.
		{name: "resources", edit: func(c *client) {
			c.Audience, c.ResourceServer = []string{"https://api.example", "urn:example:api"}, []string{"https://api.example/"}
		}},
		{name: "bad resources", edit: func(c *client) {
			c.Audience = []string{"https://api.example#", "/api", "https://", "", "api", "https://api.example", "https://api.example"}
			c.ResourceServer = []string{"https://u@api.example"}
		}, want: []string{"audience[0]", "audience[1]", "audience[2]", "audience[3]", "audience[4]", "audience[6]", "resource_server[0]"}},
		{name: "too many resources", edit: func(c *client) {
			c.Audience = repeat(65, func(i int) string { return fmt.Sprint("urn:example:", i) })
		}, want: []string{"audience"}},

		// Links.
		{name: "links", edit: func(c *client) {
			c.ClientURI, c.LogoURI, c.TOSURI, c.PolicyURI = "https://a.example", "http://a.example/l.png", "https://a.example/t#x", "http://localhost:1/p"
		}},
		{name: "links that run script", edit: func(c *client) {
			c.ClientURI, c.LogoURI, c.TOSURI, c.PolicyURI = "javascript:alert(1)", "data:image/svg+xml,x", "JAVASCRIPT:x", "//a.example"
		}, want: []string{"client_uri", "logo_uri", "policy_uri", "tos_uri"}},
		{name: "links that are not URLs", edit: func(c *client) {
			c.ClientURI, c.LogoURI, c.TOSURI, c.PolicyURI = "https:///x", "https://u:p@a.example", "https://a.example/ x", "https://"+strings.Repeat("a", 2048)
		}, want: []string{"client_uri", "logo_uri", "policy_uri", "tos_uri"}},
		{name: "jwks_uri", edit: func(c *client) { c.JWKSURI = "https://a.example/jwks" }},
		{name: "jwks_uri on loopback", edit: func(c *client) { c.JWKSURI = "http://localhost:1/jwks" }},
		{name: "jwks_uri by http", edit: func(c *client) { c.JWKSURI = "http://a.example/jwks" }, want: []string{"jwks_uri"}},
		{name: "jwks_uri with a fragment", edit: func(c *client) { c.JWKSURI = "https://a.example/jwks#x" }, want: []string{"jwks_uri"}},
		{name: "jwks_uri with a user", edit: func(c *client) { c.JWKSURI = "https://u@a.example/jwks" }, want: []string{"jwks_uri"}},

		// Lifetimes and metadata.
		{name: "lifetimes at their limits", edit: func(c *client) {
			c.Lifetimes = oauthreg.Lifetimes{AuthorizationCode: 10 * time.Minute, AccessToken: 24 * time.Hour, RefreshTokenIdle: time.Second, RefreshToken: 3650 * 24 * time.Hour, IDToken: 24 * time.Hour}
		}},
		{name: "lifetimes beyond their limits", edit: func(c *client) {
			c.Lifetimes = oauthreg.Lifetimes{AuthorizationCode: 601 * time.Second, AccessToken: 25 * time.Hour, RefreshTokenIdle: -1, RefreshToken: 1 << 62, IDToken: time.Millisecond}
		}, want: []string{"access_token_lifetime", "authorization_code_lifetime", "id_token_lifetime", "refresh_token_idle_lifetime", "refresh_token_lifetime"}},
		{name: "metadata", edit: func(c *client) { c.Metadata = map[string]string{"team": strings.Repeat("a", 1024)} }},
		{name: "metadata that is wrong", edit: func(c *client) {
			c.Metadata = map[string]string{"": "a", strings.Repeat("k", 65): "b", "long": strings.Repeat("a", 1025)}
		}, want: []string{"metadata", "metadata", "metadata"}},
		{name: "too much metadata", edit: func(c *client) {
			c.Metadata = map[string]string{}
			for i := range 33 {
				c.Metadata[fmt.Sprint(i)] = ""
			}
		}, want: []string{"metadata"}},

		// What a client cannot say of itself.
		{name: "self-registered", edit: func(c *client) { c.SelfRegistered = true }},
		{name: "self-registered with powers", edit: func(c *client) {
			c.SelfRegistered, c.Verified, c.FirstParty, c.ResourceServer = true, true, true, []string{"https://api.example"}
		}, want: []string{"first_party", "resource_server", "verified"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newRegistry(t, func(cfg *oauthreg.Config) {
				cfg.GrantTypes = []string{"urn:example:grant"}
				cfg.PrivateUseSchemes = []string{"cursor"}
				cfg.Scopes = []string{"openid", "profile", "offline_access", "admin"}
			})
			c := webApp()
			if tt.edit != nil {
				tt.edit(&c)
			}
			_, err := f.Register(t.Context(), c, oauthreg.RegisterOptions{Rules: tt.rules})
			if len(tt.want) == 0 {
				if err != nil {
					t.Errorf("got %v, want no error", err)
				}
				return
			}
			got := problems(t, err)
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got problems with %q, want %q\n%v", got, tt.want, err)
			}
		})
	}
}

func TestPublicHostsOnly(t *testing.T) {
	tests := []struct {
		uri  string
		want bool
	}{
		{"https://keys.example.com/jwks", true},
		{"https://keys.example.com:8443/jwks", true},
		{"http://keys.example.com/jwks", false},
		{"http://localhost/jwks", false},
		{"https://localhost/jwks", false},
		{"https://LOCALHOST/jwks", false},
		{"https://a.localhost/jwks", false},
		{"https://127.0.0.1/jwks", false},
		{"https://[::1]/jwks", false},
		{"https://[::ffff:169.254.169.254]/jwks", false},
		{"https://169.254.169.254/latest/meta-data", false},
		{"https://2852039166/latest", false},
		{"https://0xa9.0xfe.0xa9.0xfe/", false},
		{"https://10.0.0.1/", false},
		{"https://8.8.8.8/", false},
		{"https://intranet/jwks", false},
		{"https://db.internal/jwks", false},
		{"https://printer.local/jwks", false},
	}
	f := newRegistry(t)
	for _, tt := range tests {
		for _, field := range []string{"jwks_uri", "logo_uri"} {
			c := webApp()
			if field == "jwks_uri" {
				c.JWKSURI = tt.uri
			} else {
				c.LogoURI = tt.uri
			}
			_, err := f.Register(t.Context(), c, oauthreg.RegisterOptions{Rules: oauthreg.Rules{PublicHostsOnly: true}})
			if (err == nil) != tt.want {
				t.Errorf("%s %s: got %v, want legal %v", field, tt.uri, err, tt.want)
			}
			if err != nil && !slices.Equal(problems(t, err), []string{field}) {
				t.Errorf("%s %s: got %v, want a problem with %s", field, tt.uri, err, field)
			}
		}
	}
}

func TestImplicitSwitch(t *testing.T) {
	f := newRegistry(t, func(cfg *oauthreg.Config) { cfg.Implicit = true })
	c := webApp()
	c.GrantTypes, c.ResponseTypes = []string{"implicit"}, []string{"id_token"}
	f.mustRegister(t, c, oauthreg.RegisterOptions{})
}

func TestIDTokenAlgorithmsOfTheServer(t *testing.T) {
	f := newRegistry(t, func(cfg *oauthreg.Config) { cfg.SigningAlgs = []string{"ES256"} })
	c := webApp()
	c.IDTokenSignedResponseAlg = "RS256"
	_, err := f.Register(t.Context(), c, oauthreg.RegisterOptions{})
	if got := problems(t, err); !slices.Equal(got, []string{"id_token_signed_response_alg"}) {
		t.Errorf("got problems with %q", got)
	}
}

func TestInvalidErrorCode(t *testing.T) {
	f := newRegistry(t)
	tests := []struct {
		name string
		edit func(*oauthreg.Client)
		want string
	}{
		{"redirect URI alone", func(c *oauthreg.Client) { c.RedirectURIs = []string{"/cb"} }, "invalid_redirect_uri"},
		{"no redirect URI", func(c *oauthreg.Client) { c.RedirectURIs = nil }, "invalid_redirect_uri"},
		{"redirect URI and name", func(c *oauthreg.Client) { c.RedirectURIs, c.Name = []string{"/cb"}, "" }, "invalid_client_metadata"},
		{"post-logout redirect URI", func(c *oauthreg.Client) { c.PostLogoutRedirectURIs = []string{"/"} }, "invalid_client_metadata"},
	}
	for _, tt := range tests {
		c := webApp()
		tt.edit(&c)
		_, err := f.Register(t.Context(), c, oauthreg.RegisterOptions{})
		var invalid *oauthreg.InvalidError
		if !errors.As(err, &invalid) || invalid.Code() != tt.want {
			t.Errorf("%s: got %v, want code %s", tt.name, err, tt.want)
		}
	}
}

// jwk returns the JSON of a key with further members.
func jwk(t *testing.T, key any, more map[string]any) json.RawMessage {
	t.Helper()
	b, err := jose.JSONWebKey{Key: key}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	for k, v := range more {
		m[k] = v
	}
	if b, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return b
}

func jwks(t *testing.T, keys ...json.RawMessage) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestJWKS(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// Public keys of a size: no need to find primes.
	rsaKey := func(bits, e int) *rsa.PublicKey {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return &rsa.PublicKey{N: n.Add(n, big.NewInt(1)), E: e}
	}
	good := jwk(t, ec.Public(), nil)
	point, err := p224.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	p224JSON := json.RawMessage(fmt.Sprintf(`{"kty":"EC","crv":"P-224","x":%q,"y":%q}`,
		base64.RawURLEncoding.EncodeToString(point[1:29]), base64.RawURLEncoding.EncodeToString(point[29:])))

	tests := []struct {
		name string
		jwks json.RawMessage
		alg  string
		want bool
	}{
		{"EC key", jwks(t, good), "", true},
		{"EC key for its algorithm", jwks(t, good), "ES256", true},
		{"RSA key of 2048 bits", jwks(t, jwk(t, rsaKey(2048, 65537), nil)), "PS256", true},
		{"Ed25519 key", jwks(t, jwk(t, ed, map[string]any{"alg": "EdDSA", "use": "sig", "kid": "1"})), "EdDSA", true},
		{"one of several fits", jwks(t, jwk(t, ed, nil), good), "ES256", true},
		{"none", nil, "", false},
		{"null", json.RawMessage(`null`), "", false},
		{"not an object", json.RawMessage(`[]`), "", false},
		{"not JSON", json.RawMessage(`{`), "", false},
		{"no keys", json.RawMessage(`{"keys":[]}`), "", false},
		{"keys in upper case", json.RawMessage(`{"KEYS":[` + string(good) + `]}`), "", false},
		{"a key that is not an object", json.RawMessage(`{"keys":[1]}`), "", false},
		{"algorithm that no key fits", jwks(t, good), "RS256", false},
		{"key bound to another algorithm", jwks(t, jwk(t, rsaKey(2048, 65537), map[string]any{"alg": "PS256"})), "RS256", false},
		{"key for encryption only", jwks(t, jwk(t, ec.Public(), map[string]any{"use": "enc"})), "", false},
		{"private EC key", jwks(t, jwk(t, ec, nil)), "", false},
		{"private Ed25519 key", jwks(t, jwk(t, edPrivate, nil)), "", false},
		{"private part in upper case", jwks(t, jwk(t, ec.Public(), map[string]any{"D": "AQ"})), "", false},
		{"public key with a private part", jwks(t, jwk(t, rsaKey(2048, 65537), map[string]any{"d": "AQ"})), "", false},
		{"symmetric key", jwks(t, json.RawMessage(`{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}`)), "", false},
		{"RSA key of 1024 bits", jwks(t, jwk(t, rsaKey(1024, 65537), nil)), "", false},
		{"RSA key of 16384 bits", jwks(t, jwk(t, rsaKey(16384, 65537), nil)), "", false},
		{"RSA key with exponent 1", jwks(t, jwk(t, rsaKey(2048, 1), nil)), "", false},
		{"EC key on P-224", jwks(t, p224JSON), "", false},
		{"EC point off the curve", jwks(t, jwk(t, ec.Public(), map[string]any{"x": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"})), "", false},
		{"algorithm none", jwks(t, jwk(t, ec.Public(), map[string]any{"alg": "none"})), "", false},
		{"algorithm HS256", jwks(t, jwk(t, ec.Public(), map[string]any{"alg": "HS256"})), "", false},
		{"unknown use", jwks(t, jwk(t, ec.Public(), map[string]any{"use": "x"})), "", false},
		{"one bad key among good ones", jwks(t, good, json.RawMessage(`{"kty":"x"}`)), "", false},
		{"20 keys", jwks(t, slices.Repeat([]json.RawMessage{good}, 20)...), "", true},
		{"21 keys", jwks(t, slices.Repeat([]json.RawMessage{good}, 21)...), "", false},
		{"1000 keys", jwks(t, slices.Repeat([]json.RawMessage{good}, 1000)...), "", false},
		{"more than 64 KiB", jwks(t, jwk(t, ec.Public(), map[string]any{"x-pad": strings.Repeat("a", 65536)})), "", false},
	}
	f := newRegistry(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := webApp()
			c.TokenEndpointAuthMethod, c.JWKS, c.TokenEndpointAuthSigningAlg = oauthreg.AuthPrivateKeyJWT, tt.jwks, tt.alg
			reg, err := f.Register(t.Context(), c, oauthreg.RegisterOptions{})
			if (err == nil) != tt.want {
				t.Fatalf("got %v, want legal %v", err, tt.want)
			}
			if err != nil {
				for _, field := range problems(t, err) {
					if !strings.HasPrefix(field, "jwks") {
						t.Errorf("got a problem with %s, want only jwks", field)
					}
				}
				return
			}
			if reg.Secret != "" || reg.SecretInfo.ID != "" {
				t.Errorf("got secret %q, want none", reg.Secret)
			}
		})
	}

	c := webApp()
	c.TokenEndpointAuthMethod, c.JWKS, c.JWKSURI = oauthreg.AuthPrivateKeyJWT, jwks(t, good), "https://a.example/jwks"
	_, err = f.Register(t.Context(), c, oauthreg.RegisterOptions{})
	if got := problems(t, err); !slices.Equal(got, []string{"jwks_uri"}) {
		t.Errorf("jwks and jwks_uri: got problems with %q", got)
	}

	// What is kept is what was checked.
	c = webApp()
	c.JWKS = json.RawMessage(" {\"x\": 1, \"keys\": [" + string(good) + "]}")
	reg := f.mustRegister(t, c, oauthreg.RegisterOptions{})
	if got, want := string(reg.Client.JWKS), string(jwks(t, good)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSplitScope(t *testing.T) {
	for scope, want := range map[string][]string{
		"": nil, "a": {"a"}, "a b": {"a", "b"}, " a  b ": {"a", "b"}, "a\tb": {"a\tb"},
	} {
		if got := oauthreg.SplitScope(scope); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", scope, got, want)
		}
	}
}

// Legal tokens of a scope string, joined, are the string that parses to them.
func FuzzScope(f *testing.F) {
	for _, s := range []string{"", "openid profile", " a  b ", "a\"b", `a\b`, "é", "a\x00b", "a\tb c", "!~#[]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, scope string) {
		tokens := oauthreg.SplitScope(scope)
		legal := true
		for _, s := range tokens {
			ok := oauthreg.ValidScopeToken(s)
			legal = legal && ok
			grammar := s != "" && !strings.ContainsFunc(s, func(c rune) bool {
				return !(c == 0x21 || 0x23 <= c && c <= 0x5b || 0x5d <= c && c <= 0x7e)
			})
			if ok != grammar {
				t.Errorf("%q: got %v, the grammar says %v", s, ok, grammar)
			}
		}
		if again := oauthreg.SplitScope(strings.Join(tokens, " ")); !slices.Equal(again, tokens) {
			t.Errorf("%q: got %q, then %q", scope, tokens, again)
		}
		if legal && strings.ContainsAny(strings.Join(tokens, ""), " \"\\\r\n\x00") {
			t.Errorf("%q passes", tokens)
		}
	})
}
