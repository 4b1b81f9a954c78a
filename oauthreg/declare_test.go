package oauthreg_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func TestParseDeclarations(t *testing.T) {
	const key = `{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}]}`
	decls, err := oauthreg.ParseDeclarations([]byte(`[
		{
			"id": "0190a2c4-0000-7000-8000-000000000001", "client_id": "all", "client_secret": "s3cret",
			"org_id": "o", "project_id": "p", "user_id": "u", "description": "d", "client_type": "confidential",
			"require_pkce": true, "verified": true, "first_party": true, "suspended": true,
			"default_scope": "openid", "audience": ["https://api.example"], "resource_server": ["https://rs.example"],
			"access_token_format": "jwt", "authorization_code_lifetime": 60, "access_token_lifetime": 600,
			"refresh_token_idle_lifetime": 3600, "refresh_token_lifetime": 86400, "id_token_lifetime": 300,
			"metadata": {"team": "a"},
			"client_name": "All", "client_uri": "https://a.example", "logo_uri": "https://a.example/l",
			"tos_uri": "https://a.example/t", "policy_uri": "https://a.example/p", "contacts": ["c@a.example"],
			"redirect_uris": ["https://a.example/cb"], "post_logout_redirect_uris": ["https://a.example/out"],
			"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
			"scope": "openid profile", "application_type": "web", "token_endpoint_auth_method": "client_secret_post",
			"token_endpoint_auth_signing_alg": "ES256", "id_token_signed_response_alg": "ES256",
			"jwks": ` + key + `, "software_id": "i", "software_version": "1", "subject_type": "pairwise",
			"sector_identifier_uri": "https://a.example/sector", "userinfo_signed_response_alg": "ES256",
			"request_object_signing_alg": "ES256", "request_uris": ["https://a.example/r#x"], "default_max_age": 0,
			"require_auth_time": true, "default_acr_values": ["urn:a"], "initiate_login_uri": "https://a.example/in",
			"backchannel_logout_uri": "https://a.example/b", "backchannel_logout_session_required": true,
			"frontchannel_logout_uri": "https://a.example/f", "frontchannel_logout_session_required": true
		},
		{"client_id": "short", "redirect_uris": ["http://localhost/cb"]},
		{"client_id": "app", "client_type": "public", "redirect_uris": ["com.example:/cb"], "jwks_uri": "https://a.example/jwks"},
		{"client_id": "spa", "token_endpoint_auth_method": "none", "require_pkce": true, "grant_types": []},
		{"client_id": "rs", "resource_server": ["https://rs.example"]}
	]`))
	if err != nil {
		t.Fatal(err)
	}
	want := []oauthreg.Declaration{
		{
			Secret: "s3cret", Suspended: true,
			Client: oauthreg.Client{
				ID: "0190a2c4-0000-7000-8000-000000000001", ClientID: "all", OrgID: "o", ProjectID: "p", UserID: "u",
				Name: "All", Description: "d", Type: oauthreg.Confidential, ApplicationType: oauthreg.Web,
				RequirePKCE: true, Verified: true, FirstParty: true,
				Scopes: []string{"openid", "profile"}, DefaultScopes: []string{"openid"},
				GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"},
				RedirectURIs: []string{"https://a.example/cb"}, PostLogoutRedirectURIs: []string{"https://a.example/out"},
				Audience: []string{"https://api.example"}, ResourceServer: []string{"https://rs.example"},
				TokenEndpointAuthMethod: "client_secret_post", TokenEndpointAuthSigningAlg: "ES256", JWKS: []byte(key),
				ClientURI: "https://a.example", LogoURI: "https://a.example/l", TOSURI: "https://a.example/t", PolicyURI: "https://a.example/p",
				Contacts: []string{"c@a.example"}, SoftwareID: "i", SoftwareVersion: "1",
				AccessTokenFormat: oauthreg.JWT, IDTokenSignedResponseAlg: "ES256", UserinfoSignedResponseAlg: "ES256",
				SubjectType: oauthreg.PairwiseSubject, SectorIdentifierURI: "https://a.example/sector",
				RequestObjectSigningAlg: "ES256", RequestURIs: []string{"https://a.example/r#x"}, DefaultMaxAge: new(time.Duration),
				RequireAuthTime: true, DefaultACRValues: []string{"urn:a"}, InitiateLoginURI: "https://a.example/in",
				BackchannelLogoutURI: "https://a.example/b", BackchannelLogoutSessionRequired: true,
				FrontchannelLogoutURI: "https://a.example/f", FrontchannelLogoutSessionRequired: true,
				Lifetimes: oauthreg.Lifetimes{
					AuthorizationCode: time.Minute, AccessToken: 10 * time.Minute, RefreshTokenIdle: time.Hour,
					RefreshToken: 24 * time.Hour, IDToken: 5 * time.Minute,
				},
				Metadata: map[string]string{"team": "a"},
			},
		},
		{Client: oauthreg.Client{
			ClientID: "short", Name: "short", Type: oauthreg.Confidential, TokenEndpointAuthMethod: "client_secret_basic",
			GrantTypes: []string{"authorization_code"}, RedirectURIs: []string{"http://localhost/cb"},
		}},
		{Client: oauthreg.Client{
			ClientID: "app", Name: "app", Type: oauthreg.Public, TokenEndpointAuthMethod: "none", JWKSURI: "https://a.example/jwks",
			GrantTypes: []string{"authorization_code"}, RedirectURIs: []string{"com.example:/cb"},
		}},
		{Client: oauthreg.Client{
			ClientID: "spa", Name: "spa", Type: oauthreg.Public, TokenEndpointAuthMethod: "none", RequirePKCE: true,
		}},
		{Client: oauthreg.Client{
			ClientID: "rs", Name: "rs", Type: oauthreg.Confidential, TokenEndpointAuthMethod: "client_secret_basic",
			ResourceServer: []string{"https://rs.example"},
		}},
	}
	for i := range want {
		if !reflect.DeepEqual(decls[i], want[i]) {
			t.Errorf("client %d: got\n%+v, want\n%+v", i, decls[i], want[i])
		}
	}
	if len(decls) != len(want) {
		t.Errorf("got %d declarations, want %d", len(decls), len(want))
	}
	if decls, err := oauthreg.ParseDeclarations([]byte(" [] ")); err != nil || len(decls) != 0 {
		t.Errorf("empty array: got %v, %v", decls, err)
	}
}

func TestParseDeclarationsRefuses(t *testing.T) {
	tests := []struct {
		name string
		file string
		want string
	}{
		{"nothing", ``, "line 1:"},
		{"no JSON", `[
			{"client_id": "a"},
			{"client_id": b}]`, "line 3:"},
		{"text behind the array", `[] []`, "line 1:"},
		{"null", `null`, "must be a JSON array of clients"},
		{"object", `{"clients": []}`, "must be a JSON array of clients"},
		{"client that is a string", `["a"]`, "client 0: must be a JSON object"},
		{"client that is null", `[null]`, "client 0: must be a JSON object"},
		{"unknown member", `[{"client_id":"a"},{"client_id":"b"},{"client_id":"c","foo":1}]`, `client 2: unknown member "foo"`},
		{"member in upper case", `[{"client_id":"a","Client_Name":"x"}]`, `client 0: unknown member "Client_Name"`},
		{"repeated member", `[{"client_id":"a","client_id":"b"}]`, `client 0: member "client_id" occurs twice`},
		{"repeated unknown member with line break", `[{"client_id":"a","x\ny":1}]`, `client 0: unknown member "x\ny"`},
		{"member that is not supported", `[{"client_id":"a","userinfo_encrypted_response_alg":"RSA-OAEP"}]`, `client 0: member "userinfo_encrypted_response_alg" is not supported`},
		{"software statement", `[{"client_id":"a","software_statement":"x"}]`, `not supported`},
		{"name in a language", `[{"client_id":"a","client_name#ja":"x"}]`, `member "client_name#ja" is not supported`},
		{"subjects of another type", `[{"client_id":"a","subject_type":"both"}]`, `member "subject_type" must be "public" or "pairwise"`},
		{"negative age", `[{"client_id":"a","default_max_age":-1}]`, `member "default_max_age" must be a whole number of seconds, at least 0`},
		{"no client_id", `[{"client_name":"a"}]`, `client 0: client_id is required`},
		{"empty client_id", `[{"client_id":""}]`, `client 0: client_id is required`},
		{"empty client_secret", `[{"client_id":"a","client_secret":""}]`, `member "client_secret" must not be empty`},
		{"string that is a number", `[{"client_id":1}]`, `member "client_id" must be a string`},
		{"string that is null", `[{"client_id":"a","client_secret":null}]`, `member "client_secret" must be a string`},
		{"array that is a string", `[{"client_id":"a","redirect_uris":"https://a.example"}]`, `member "redirect_uris" must be an array of strings`},
		{"array that is null", `[{"client_id":"a","grant_types":null}]`, `must be an array of strings`},
		{"array of null", `[{"client_id":"a","grant_types":[null]}]`, `must be an array of strings`},
		{"array of numbers", `[{"client_id":"a","contacts":[1]}]`, `must be an array of strings`},
		{"scope that is an array", `[{"client_id":"a","scope":["a"]}]`, `must be a string of scopes separated by spaces`},
		{"boolean that is a string", `[{"client_id":"a","suspended":"true"}]`, `member "suspended" must be true or false`},
		{"boolean that is null", `[{"client_id":"a","verified":null}]`, `must be true or false`},
		{"lifetime that is a fraction", `[{"client_id":"a","access_token_lifetime":1.5}]`, `must be a whole number of seconds`},
		{"lifetime that is a string", `[{"client_id":"a","access_token_lifetime":"60"}]`, `must be a whole number of seconds`},
		{"lifetime of 0", `[{"client_id":"a","id_token_lifetime":0}]`, `must be a whole number of seconds`},
		{"lifetime that overflows", `[{"client_id":"a","refresh_token_lifetime":9223372036854775807}]`, `must be a whole number of seconds`},
		{"lifetime that is null", `[{"client_id":"a","refresh_token_lifetime":null}]`, `must be a whole number of seconds`},
		{"unknown client_type", `[{"client_id":"a","client_type":"web"}]`, `member "client_type" must be "public" or "confidential"`},
		{"empty auth method", `[{"client_id":"a","token_endpoint_auth_method":""}]`, `member "token_endpoint_auth_method" must be`},
		{"unknown token format", `[{"client_id":"a","access_token_format":"JWT"}]`, `must be "opaque" or "jwt"`},
		{"jwks that is a string", `[{"client_id":"a","jwks":"x"}]`, `member "jwks" must be an object`},
		{"metadata of numbers", `[{"client_id":"a","metadata":{"a":1}}]`, `member "metadata" must be an object of strings`},
		{"metadata with a repeated name", `[{"client_id":"a","metadata":{"a":"1","a":"2"}}]`, `member "metadata" must be`},
		{"metadata that is an array", `[{"client_id":"a","metadata":[]}]`, `member "metadata" must be`},
		{"public with a secret method", `[{"client_id":"a","client_type":"public","token_endpoint_auth_method":"client_secret_basic"}]`, `client_type public does not agree`},
		{"confidential without a method", `[{"client_id":"a","client_type":"confidential","token_endpoint_auth_method":"none"}]`, `client_type confidential does not agree`},
		{"public without PKCE", `[{"client_id":"a","client_type":"public","require_pkce":false}]`, `require_pkce must not be false for a public client`},
		{"several clients at once", `[{"client_id":1},{"client_id":"b"},{"x":1}]`, `client 0: member "client_id" must be a string; client_id is required; client 2: unknown member "x"; client_id is required`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			decls, err := oauthreg.ParseDeclarations([]byte(tt.file))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want an error with %s", err, tt.want)
			}
			if decls != nil || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v and %q, want nothing and one line", decls, err)
			}
			var one *oauthreg.DeclarationError
			if strings.Contains(tt.want, "client 0:") && (!errors.As(err, &one) || one.Index != 0) {
				t.Errorf("got %#v, want a DeclarationError of index 0", err)
			}
		})
	}
}

// Whatever parses names its clients, and does so again.
func FuzzParseDeclarations(f *testing.F) {
	for _, s := range []string{
		`[]`, `null`, `[{"client_id":"a"}]`, `[{"client_id":"a","client_type":"public"}]`, `[{}]`, `[[]]`,
		`[{"client_id":"a","redirect_uris":["https://a.example/cb"],"scope":"a b","jwks":{"keys":[]}}]`,
		`[{"client_id":"a","client_id":"b"}]`, `[{"client_id":"\ud800"}]`, `[{"client_id":"a","metadata":{"a":"b"}}]`,
		`[{"client_id":"a","access_token_lifetime":1e3}]`, "\ufeff[]", `[{"client_id":"a","require_pkce":false}]`,
	} {
		f.Add([]byte(s))
	}
	reg, err := oauthreg.NewRegistry(oauthreg.Config{Store: newStoreOf(0), SecretKey: testKey})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		decls, err := oauthreg.ParseDeclarations(data)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r") {
				t.Errorf("the error has several lines: %q", err)
			}
			return
		}
		for i, d := range decls {
			c := d.Client
			if c.ClientID == "" || (c.Type == oauthreg.Public) != (c.TokenEndpointAuthMethod == "none") || c.Type == "" {
				t.Errorf("client %d: got id %q, type %q, method %q", i, c.ClientID, c.Type, c.TokenEndpointAuthMethod)
			}
			if len(d.Secret) > 0 && len(d.Secret) < 32 {
				decls[i].Secret = "" // no slow hashes here
			}
		}
		// Legal or not, it is decided without a panic, and a legal file is
		// unchanged the second time.
		if _, err := reg.Ensure(t.Context(), decls, oauthreg.EnsureApply); err != nil {
			return
		}
		results, err := reg.Ensure(t.Context(), decls, oauthreg.EnsureApply)
		if err != nil {
			t.Fatalf("second time: %v", err)
		}
		for i, res := range results {
			if res.Outcome != oauthreg.EnsureUnchanged {
				t.Errorf("client %d: got %s the second time: %+v", i, res.Outcome, res.Drift)
			}
		}
	})
}
