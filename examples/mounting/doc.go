// Package mounting shows an authorization server in routers other than that of
// net/http, and one server for each of several host names. Each file is an
// example of its own; the tests go through them over HTTP.
//
// The server is an [net/http.Handler] that expects the path of the request as it
// came: a router must not strip its prefix. It answers below the path of its
// issuer, here /auth, and at the well-known paths of its origin.
package mounting
