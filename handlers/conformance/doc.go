// Package conformance checks a running authorization server over HTTP: does it
// follow the specifications, and above all, does it refuse what it has to? It
// needs the issuer's URL and, for most checks, registered clients. It works
// against any OAuth 2.x or OpenID Connect server, knows nothing of the one in
// this module, and imports nothing of it.
//
// In a Go test, each check is a subtest:
//
//	func TestOurLogin(t *testing.T) {
//		conformance.Test(t, conformance.Config{
//			Issuer: "https://login.example.com",
//			Client: conformance.Client{
//				ID: "conformance", Secret: os.Getenv("CONFORMANCE_SECRET"),
//				RedirectURI: "https://conformance.example.com/callback",
//				Scopes:      []string{"openid", "offline_access"},
//			},
//			Browser: conformance.FormBrowser{Fields: map[string]string{
//				"username": "tester", "password": os.Getenv("CONFORMANCE_PASSWORD"),
//			}}.Browse,
//		})
//	}
//
// Elsewhere, [Run] returns a [Report], which is written for people or as JSON.
// The program examples/standalone does that with its flag -conformance.
//
// # What is checked
//
// [Checks] lists every check with the section it comes from and its level. The
// groups are metadata, jwks, authorize, token, client-credentials, code,
// id-token, access-token, introspection, userinfo, refresh, revocation,
// resource, register, logout and cors. What the server does not offer, by its
// metadata, is skipped, and so is what the [Config] has no means for; every
// skipped check says which of the two it is.
//
//	to check                             the Config needs
//	metadata, keys, challenges           Issuer
//	refusals at authorize and token      Client, or Register
//	the code flow, id_tokens, refresh    and Browser
//	client credentials                   Machine
//	what one client can do to another    and Other or Register
//	registration                         Register
//	resource indicators                  Resource
//
// A failed check that is MUST makes the report fail; one that is SHOULD is a
// warning unless Config.Strict is set; MAY is information. A deployment that
// departs from a rule on purpose names the check in Config.Skip.
//
// # What it does to the server
//
// It signs in some forty times as the one user of the Browser, each time with a
// new session, makes that many grants, and leaves them to expire. It fails to
// authenticate about ten times for each client. With Register it registers about
// a dozen clients, and deletes those that the server lets it delete. A server
// that limits rates must have room for that. Run it against a staging system, or
// with clients and a user that exist for this alone.
//
// # Sign-in and consent
//
// [FormBrowser] fills in HTML forms, given the names of the fields. Pages that
// need JavaScript, a second factor or a service of their own need a [Browser] of
// their own: a function that takes the URL to open, and returns the one that the
// client is sent to.
//
// # What it cannot see
//
// The checks look from outside. They know nothing of how tokens are stored, do
// not wait for tokens to expire, and do not speak private_key_jwt, mutual TLS,
// DPoP, pushed authorization requests, request objects, or the implicit and
// hybrid flows. Passing them is not a certification by anybody.
package conformance
