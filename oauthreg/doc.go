// Package oauthreg is the client registry of an OAuth 2.x / OpenID Connect
// authorization server: which clients exist, what each may ask for, how each
// proves who it is, which grants users gave them, and with which keys the
// server signs.
//
// It knows nothing of HTTP, SQL or fosite. Package storage persists what is
// declared here; package handlers serves it. Neither imports the other.
//
// Field and value names follow RFC 7591 §2 and OpenID Connect Dynamic Client
// Registration 1.0 §2; a field that those texts do not have says so.
//
// # Registering and finding clients
//
// A [Registry] is the one way to change a client. Every change is validated as
// a whole ([InvalidError] lists everything that is wrong), is applied whole or
// not at all, raises the client's version, and writes an [AuditRecord] in the
// same transaction.
//
// # Matching at request time
//
// [Client.MatchRedirectURI], [Client.AllowsGrantType] and their like answer the
// questions of a live request. They compare byte for byte; nothing is folded,
// decoded or matched by pattern.
package oauthreg
