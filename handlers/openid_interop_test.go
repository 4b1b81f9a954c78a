package handlers_test

import (
	"encoding/json"
	"testing"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// The npm packages openid-client and oauth4webapi, unchanged, with the issuer at
// the root and under a path.
func TestInteropOpenIDClient(t *testing.T) {
	for _, base := range []string{"", "/auth/tenant"} {
		t.Run("issuer "+base, func(t *testing.T) {
			e := openIDEnv(t, base, func(c *handlers.Config) { c.Registration.Mode = handlers.RegistrationOpen })
			key := newAssertionKey(t)
			leaving := func(c *oauthreg.Client) { c.PostLogoutRedirectURIs = []string{"https://client.example/bye"} }
			basic := e.register(with(openIDClient(), leaving))
			public := e.register(with(openIDClient(), func(c *oauthreg.Client) {
				c.Type, c.TokenEndpointAuthMethod = oauthreg.Public, oauthreg.AuthNone
			}))
			keyed := e.register(with(signedClient(t, key), func(c *oauthreg.Client) { c.TokenEndpointAuthMethod = oauthreg.AuthPrivateKeyJWT }))
			clients := must(json.Marshal(map[string]any{
				"basic":  map[string]any{"id": basic.Client.ClientID, "secret": basic.Secret},
				"public": map[string]any{"id": public.Client.ClientID},
				"key":    map[string]any{"id": keyed.Client.ClientID, "jwk": key.jwk},
			}))
			runNode(t, "openid.test.mjs", "openid-client",
				"OAUTHREG_ISSUER="+e.issuer, "OAUTHREG_CLIENTS="+string(clients), "OAUTHREG_REGISTRATION=1",
				"OAUTHREG_USER=alice", "OAUTHREG_PASSWORD=wonderland")
		})
	}
}
