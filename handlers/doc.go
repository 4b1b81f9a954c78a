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
// # What happened
//
// [Config.Events] hears what was authorized, issued, refused or revoked, after it is
// committed ([oauthreg.EventFunc]). [Config.Logger] gets a line per request. Both have
// the id that the answer carries in X-Request-Id. [Config.TracerProvider] and
// [Config.MeterProvider] are OpenTelemetry's; telemetry*.go has every name that is used.
// Nothing has a secret.
//
// The package never imports storage or gorm: what it needs of a database is
// declared by [Store], package oauthreg and fosite. Only handlers/authtest, the
// server for tests, does: it wires the two together, as a program would.
package handlers
