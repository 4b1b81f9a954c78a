// Package handlers serves an OAuth 2.x / OpenID Connect authorization server
// over HTTP: the protocol endpoints, the sign-in and consent steps, and what a
// resource server needs to check tokens. It enforces, in live requests, what
// package oauthreg has registered.
//
// [New] takes a [Config] and returns a [Server], an [http.Handler] that mounts at
// the root or under any path. One file serves one endpoint; all routes stand
// in routes.go.
//
// # The pipeline
//
// Every protocol endpoint goes through the same steps, in this order:
//
//  1. limits: method, content type, body size, duplicate parameters (limits.go);
//  2. who is calling: exactly one client authentication method, the one that is
//     registered (client_authentication.go);
//  3. what the client may do: permission.go, the one place that compares a
//     request with a registration;
//  4. the engine, fosite: issue, redeem, rotate (engine.go and grant_*.go);
//  5. the answer: one function maps any error to a registered OAuth error,
//     status and headers (errors.go).
//
// # Putting a server together
//
// Config needs an issuer, an [oauthreg.Registry], a [Store], an [oauthreg.KeyRing],
// secrets, and a way to know users: see the example of [New]. Below the issuer's path
// the Server answers everything; at the origin's /.well-known/ it answers what
// clients look for there, so mount it at both. Nothing in its answers depends on the
// request's Host or on X-Forwarded headers, but for the caller's address, from
// [Config.TrustedProxies]. An issuer for each of several host names is a server for
// each: see examples/mounting.
//
// Beside it run [Server.Run], which keeps keys on schedule, delivers logout notices
// and reaps unused registrations, and the store's own housekeeping. Any number of
// processes may run both, on one database, with the same secrets.
//
// # Users
//
// A host with a sign-in of its own implements [SignIn]: who is signed in at this
// browser, and where to send it to sign in. With [SignOuter] it offers logout.
// Without one, [Config.Users] checks passwords for the built-in sign-in, which knows
// several accounts at one browser and lets people choose. [Config.Claims] tells what
// is known of a user, [Config.UserActive] whether their tokens still count.
//
// The pages for sign-in, choice of account, consent, "my authorized apps", errors and
// logout are written by a [Renderer]; [NewRenderer] replaces single templates, styles
// and texts. A host that lists authorized apps itself has [Server.AuthorizedApps] and
// [Server.RevokeApp]; for its operators, by user, client, organization or project,
// [Server.ListConsents], [Server.GetConsent], [Server.RevokeConsent] and
// [Server.RevokeConsents]. [Server.Issue] and [Server.RevokeToken] issue and revoke on
// the host's own word.
//
// # Who may be a client
//
// Clients are registered in the Registry, by the operator; or through one of two
// management APIs, [Server.ManagementV2] and [Server.ManagementProjects], which a host
// mounts with an authentication of its choice ([Server.AdminKey], [Server.AdminToken]
// or its own); or by themselves, where [Config.Registration] lets them (RFC 7591,
// RFC 7592; [NewInitialAccessTokens] makes it depend on a token); or not at all: with
// [Config.ClientMetadataDocuments] a client_id may be the URL of a document with the
// client's registration. Documents and keys that clients name are fetched by
// [Config.Outbound], which refuses internal addresses.
//
// [Server.Explain] tells which registered member of a client would refuse a request.
//
// [Server.Console] is pages for operators: they change clients through the registry
// alone, as the APIs do, so that its validation and its audit log hold.
//
// # Checking tokens
//
// Package bearer is the middleware for resource servers, and [Server.Verifier] its
// verifier in the same process, for which a revocation counts at once. Elsewhere JWTs
// are verified offline, or tokens introspected (RFC 7662).
//
// # What happened
//
// [Config.Events] hears what was authorized, issued, refused or revoked, after it is
// committed ([oauthreg.EventFunc]). It is called in the request, never for what was
// rolled back, and is not a queue: what a dying process had no time to tell is in the
// audit log and the tables alone. [Config.Logger] gets a line per request, at debug
// level when all went well. Both have the id that the answer carries in X-Request-Id,
// which a trusted proxy may bring.
//
// [Config.TracerProvider] and [Config.MeterProvider] are OpenTelemetry's. A request is
// one span ("POST /oauth/token") with oauth.client_id, oauth.grant_type, oauth.scope,
// oauth.error and the request id; below it are what it did in the database and what
// it fetched. The parent is the host's span or, from a trusted proxy, that of
// traceparent; a stranger's is only linked. The metrics, and what they are told apart
// by:
//
//	http.server.request.duration             endpoint, route, method, status, error.type (the OAuth error)
//	http.client.request.duration             method, status or error.type: fetches from URLs that clients named
//	oauthreg.tokens.issued                   grant type
//	oauthreg.authorizations                  response type
//	oauthreg.refusals                        endpoint, OAuth error
//	oauthreg.replays                         code, refresh token
//	oauthreg.limited                         kind of limit
//	oauthreg.client_authentication.failures  endpoint
//	oauthreg.revocations                     token, grant, consent
//	oauthreg.sign_ins                        success
//	oauthreg.consents                        given or denied
//	oauthreg.signing_keys                    algorithm, state
//
// Nothing of all this has a secret.
//
// # Imports
//
// The package never imports storage or gorm: what it needs of a database is
// declared by [Store], package oauthreg and fosite. Only handlers/authtest, the
// server for tests, does: it wires the two together, as a program would.
package handlers
