// Package authtest is an authorization server for tests: of an OAuth client, of
// a resource server, of whatever stands between. It is the server of package
// handlers with SQLite in memory, not a fake, so what it refuses would be refused
// in production too. It starts in a few milliseconds, one for each test:
//
//	func TestLogin(t *testing.T) {
//		t.Parallel()
//		srv := authtest.NewServer(t)
//		conf := srv.OAuth2Config(authtest.App)
//		...
//	}
//
// # Clients and users
//
// A server for which nothing is declared has three clients, [App], [CLI] and
// [Service], and one user, alice. [WithClient] and [WithUser] declare others.
// Redirect URIs on 127.0.0.1 and localhost match on any port, so an
// [net/http/httptest.Server] of your client fits http://127.0.0.1/callback; for
// another path, or one that is known late, there is [Server.Register].
//
// Point your client at [Server.Issuer]: metadata (RFC 8414, OpenID Connect
// Discovery) is there, and dynamic registration is open. Use [Server.Client] for
// its requests if you serve [WithTLS].
//
// # Browsers
//
// [Server.Browser] is alice at a browser: it signs in, consents, and follows
// redirects. [Browser.Authorize] stops where the client would take over and
// returns the code; [Browser.Visit] goes on into your client's own pages and
// returns the one it ends at, cookies and all. [Browser.Open] has the form of the
// functions by which command line programs open a browser. Set Deny to have her
// refuse, and use [Server.BrowserAs] for other people.
//
// # Tokens without a flow
//
// [Server.Mint] makes access, refresh and ID tokens for a client, a user and
// scopes, for tests that begin where the flow ended. [Server.Sign] signs what the
// server would never issue. A resource server under test is configured by
// [Server.JWTConfig] or [Server.IntrospectionConfig], or by its own means.
//
// # Time
//
// [Server.Advance] moves the server's clock, so that tokens expire without
// waiting. Your side has its own clock: see [Server.Now].
//
// # What goes wrong
//
// [Server.Fail] makes an endpoint fail: [Down], [Slow], [Status], [OAuthError],
// [RateLimited] or [Answer], for a while or [Failure.Times]. [Server.Revoke],
// [Server.RevokeGrants], [Server.Suspend], [Server.Delete] and
// [Server.DisableUser] take away what was given; [Server.RotateKeys] and
// [Server.ReplaceKeys] change the signing keys.
//
// # What happened
//
// [Server.Requests] has what clients sent, so that a test can say that its client
// used PKCE, or asked for no more than it needs. [Server.Events] has what came of
// it: tokens issued and refreshed, consents, replays, refusals and their reason.
//
// This is the one package below handlers that imports storage: like a program, it
// wires the two together. Passwords are compared in clear and private addresses
// are fetched from; it is for tests alone.
package authtest
