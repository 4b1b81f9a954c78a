// Package storage keeps an authorization server's state in a SQL database:
// clients, consents, grants, authorization codes, tokens, sign-in sessions,
// pending interactions, signing keys and the audit log.
//
// A [Store] is at once every store that package oauthreg declares and every
// storage interface that fosite's handlers for codes, tokens, PKCE and OpenID
// Connect ask for; all of them work on the same rows and take part in the same
// transactions. It knows nothing of HTTP.
//
// # Rules that hold for every method
//
// The database decides races: whatever may be used once is consumed by one
// conditional statement, whose row count says who won. Nothing is read first
// and written later on the strength of it.
//
// Nothing that opens a door is stored in clear. Codes, tokens, handles,
// assertion ids and browser values are found by their SHA-256; sessions,
// request forms, pending requests and private keys are sealed with
// [Config.EncryptionKeys], bound to the row they stand in. Of a request's form
// every parameter that carries a credential is dropped before it is stored.
//
// A code or a token is worth something only while its grant lives and its
// client exists and is not suspended. The grant is looked at in the query that
// reads it, so revoking one takes effect with the next read. So does suspending
// a client with the same Store; see [Config.ClientCacheAge] for another.
//
// What methods return is the caller's own: nothing is shared with other
// callers but [Client], which is immutable.
//
// Errors that mean something to the caller are the named ones of packages
// oauthreg and fosite. A database that cannot be reached, is closed, or gave up
// under contention is [oauthreg.ErrUnavailable]. Anything else is a failure of
// the store.
//
// # Transactions
//
// [Store.BeginTX], [Store.Commit] and [Store.Rollback] are fosite's
// transaction methods. They collect writes in memory and run them together; see
// [Store.BeginTX]. [Store.WithTx] joins a transaction of the host.
//
// # Databases
//
// SQLite, PostgreSQL (tested: 15), and MySQL with MariaDB (tested: MariaDB
// 10.11), by [Open] or, opened by the host, by [New]. The statements are the
// same for all; each decides by itself, so READ COMMITTED is enough, and is what
// the store's own transactions use on servers. Whoever issues something beneath
// a grant locks the grant's row, so that a revocation comes either before, and
// nothing is issued, or after, and ends it.
//
// Deadlocks, serialization failures and connections that break are met by
// running the transaction again, up to ten times within 3 seconds. A commit of
// which nobody can say whether it happened is not repeated; it is
// [oauthreg.ErrUnavailable] as well, although it may have been made.
//
// Texts that a database does not take (PostgreSQL: invalid UTF-8 and the
// character NUL; MySQL: invalid UTF-8) are not found, and are an error when they
// are to be stored. On MySQL and MariaDB ids have at most 255 bytes, subjects 1020.
//
// # Time
//
// Times are stored as whole microseconds since 1970 UTC, in integer columns,
// which every database orders alike; finer digits are cut off. Time comes from
// [Config.Now] alone, never from the database.
package storage
