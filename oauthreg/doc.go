// Package oauthreg is the client registry of an OAuth 2.x / OpenID Connect
// authorization server: which clients exist, what each may ask for, how each
// proves who it is, which grants users gave them, and with which keys the
// server signs.
//
// It knows nothing of HTTP, SQL or fosite. Package storage persists what is
// declared here; package handlers serves it. Neither imports the other. For
// tests, package oauthregtest has a store in memory.
//
// Field and value names follow RFC 7591 §2 and OpenID Connect Dynamic Client
// Registration 1.0 §2; a field that those texts do not have says so.
//
// # Registering and finding clients
//
// A [Registry] is the one way to change a client. Every change is validated as
// a whole ([InvalidError] lists everything that is wrong), is applied whole or
// not at all, raises the client's version, and writes an [AuditRecord] in the
// same transaction. Changes may be bound to a version ([UpdateOptions]), so that
// nobody overwrites what they have not seen.
//
// [Registry.Get] finds a client by a [Ref]: [ByClientID], or [ByID], for the
// internal identifier, which no protocol message has. [Registry.List] has filters,
// page numbers and cursors. [Registry.On] is the same registry in a transaction of
// the host's, or on another store.
//
// # Owners
//
// A client may belong to an organization, a project and a user, which are the
// host's: nothing here creates them. Package handlers decides by them who may
// manage a client. A change of owner is a declaration ([Registry.Ensure]).
//
// # Declared clients
//
// [ParseDeclarations] reads a clients file; [Registry.Ensure] registers what is
// missing, and reports or applies what differs. Run it at every start; several
// processes may do so at once.
//
// # Secrets
//
// A generated secret has 256 random bits, is shown once, and is kept as a digest
// keyed by [Config.SecretKey]. [Registry.RotateSecret] makes another, and the one
// before stays valid for as long as asked. A secret or its hash may also come from
// elsewhere ([RegisterOptions]): hashes by bcrypt, argon2id and PBKDF2 verify, and
// give way to a digest when the client has shown a secret of 32 characters or more
// and [Registry.FlushSecretUses] is called.
//
// # Matching at request time
//
// [Client.MatchRedirectURI], [Client.AllowsGrantType] and their like answer the
// questions of a live request. They compare byte for byte; nothing is folded,
// decoded or matched by pattern.
//
// # Signing keys
//
// A [KeyRing] signs, verifies, and publishes the JWKS. [OpenKeyRing] makes the
// first keys; [KeyRing.Maintain], called now and then, makes each successor,
// publishes it before it signs, and keeps the predecessor published for those who
// verify what it signed. [KeyRing.Rotate] does it at once, and [KeyRing.Withdraw]
// ends a key that was exposed. A private key may be elsewhere: [ExternalKey] signs
// by a [Signer]. Several processes on one store agree on one key.
//
// # Hearing of changes
//
// [Config.Events] and [KeyRingConfig.Events] take an [EventFunc], which hears of
// every change after it is committed; the Config of package handlers takes the same
// function for everything else that happens. [Registry.Audit] reads what was
// changed, by whom ([WithActor]) and how. Neither has a secret.
//
// # For whoever writes a store
//
// [Store], [GrantStore], [SessionStore], [InteractionStore], [LogoutOutbox],
// [InitialAccessTokenStore] and [KeyStore] are the interfaces that a database has to
// fulfil; package storage/storagetest tells whether it does.
package oauthreg
