// Package storage keeps an authorization server's state in a SQL database:
// clients, consents, grants, authorization codes, tokens, sign-in sessions,
// pending interactions, signing keys and the audit log.
//
// A [Store] is at once every store that package oauthreg declares and every
// storage interface that fosite's handlers for codes, tokens, PKCE and OpenID
// Connect ask for; all of them work on the same rows and take part in the same
// transactions. It knows nothing of HTTP.
//
// # Opening
//
// [Open] opens a database that belongs to the store: a SQLite file, ":memory:" for
// tests, or a server. [New] takes the host's own *gorm.DB, so that clients are
// registered in the host's transactions ([Store.WithTx]). [Store.Migrate] makes and
// upgrades the tables, and nothing else does; [Store.PendingSQL] prints what it would
// do, and [Store.MigrationStatus] what was done. Migrations move forward only.
// [Store.RunJanitor] runs beside the server.
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
// every parameter that carries a credential is dropped before it is stored. To
// change the key, put another one first and run [Store.Reencrypt]; see also
// [Store.CheckEncryptionKeys].
//
// Nothing that tells of a person is stored in clear either, unless rows are found
// by it: the subject of grants, consents and sign-in sessions is. Sealed are the
// subjects of everything else, by which means and at which level somebody signed
// in, browsers' names, the addresses and identifiers of who changed a client or a
// key, and contacts (e-mail addresses) and user_id of clients, of permissions to
// register, and of what the audit log has of them. What a program is called and may
// do is no secret, nor is what the host puts into Metadata of a client, or into a
// name or label.
//
// Older releases stored some of that in clear. Such rows are read as they are until
// [Store.Reencrypt] has sealed them. The room that is freed in the database's files
// may have it for longer, until they are written anew (VACUUM; VACUUM FULL on
// PostgreSQL; OPTIMIZE TABLE on MySQL), and so may backups.
//
// What is sealed has a version in front: requests in a compact binary form,
// sessions in their own, or as JSON where they have none. A newer version of this
// package reads what every older release wrote.
//
// A code or a token is worth something only while its grant lives and its
// client exists and is not suspended. The grant is looked at in the query that
// reads it, so revoking one takes effect with the next read. So does suspending
// a client with the same Store; see [Config.ClientCacheAge] for another. No grant,
// code or consent is made for a client that was deleted while the request was under
// way: it would come alive with the next client of that id.
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
// running the transaction again, up to ten times within 3 seconds; so are reads
// that a server, or a host's database, gives up under contention. A commit of
// which nobody can say whether it happened is not repeated; it is
// [oauthreg.ErrUnavailable] as well, although it may have been made. The end of
// the caller's context ends statements and waits, but never a commit.
//
// Texts that a database does not take (PostgreSQL: invalid UTF-8 and the
// character NUL; MySQL: invalid UTF-8) are not found, and are an error when they
// are to be stored; what is sealed is taken as it is. On MySQL and MariaDB ids have
// at most 255 bytes, subjects 1020.
//
// # Searching names
//
// A part of a client's name is searched for by filters of the parts that names
// have, one for every 256 clients, so that a rare one is found about as fast among
// 100,000 clients as among 100 (1 ms instead of 20 ms on SQLite; 10 ms among a
// million). [Store.RunJanitor] makes the filters, of clients that were registered
// more than ten minutes ago, and makes those anew of which a client was renamed or
// deleted; until then, and without a janitor, the names themselves are looked at.
// So they are for parts of fewer than three bytes, for parts that many names have,
// in a transaction of the host ([Store.WithTx]), and where ids are not UUIDs of
// version 7, as the registry assigns them.
//
// # Several nodes
//
// Any number of processes may have a database open, each with a store of its
// own and the same [Config.EncryptionKeys]. What is issued, used up or revoked
// is nowhere remembered but in the database: what one node does, all others see
// with their next read. A client's registration, and whether it is suspended, is
// seen as it was at most [Config.ClientCacheAge] ago (1 second), signing keys as
// they were at most KeyRingConfig.Refresh ago (5 seconds; see
// [oauthreg.KeyRing]). The nodes'
// clocks must agree to within seconds, as protocols with expiring things need
// anyway. Of all the janitors on a database one sweeps at a time.
//
// # Backup and growth
//
// A SQLite file is copied while it is in use by [Store.Backup], or by
// sqlite3 auth.db ".backup copy.db"; copying the file itself is not enough, as
// the newest transactions are in the log beside it. To restore, put the copy in
// the file's place while nothing has it open, and remove "-wal" and "-shm". For
// servers, pg_dump and mariadb-dump --single-transaction work under load. The
// keys of [Config.EncryptionKeys] are not in the database: without them a backup
// is worth nothing, so keep them, elsewhere. Whatever was revoked or used after
// the backup is neither once it is restored; who has to be sure revokes all
// grants that are older (RevokeGrants by client).
//
// A thousand logins (sign-in, code, tokens, one refresh) leave about 4 MiB in
// SQLite, 5.5 MiB in PostgreSQL 15 and 7 MiB in MariaDB 10.11, indexes
// included. Of that the requests that waited for a person (a tenth) go within
// the hour, access tokens when they end (a fifth), sign-ins when they end (a
// tenth), and codes and refresh tokens with their grant, a day after it ended or
// was revoked, used or not.
//
// The janitor takes its time: while it swept a million rows of a SQLite file,
// in two minutes, the 99th percentile of token requests rose from 3.5 to 5.8 ms
// (50 logins a second, 2 processors; TestSweepUnderLoad).
//
// # What it measures
//
// [Config.TracerProvider] gets a span for each operation, and [Config.MeterProvider]
// these metrics:
//
//	db.client.operation.duration   operation, kind of database, error.type
//	oauthreg.storage.retries       kind of database
//	oauthreg.storage.commit.size   kind of database: writers that shared a commit
//	oauthreg.janitor.deleted       table
//
// # Time
//
// Times are stored as whole microseconds since 1970 UTC, in integer columns,
// which every database orders alike; finer digits are cut off. Time comes from
// [Config.Now] alone, never from the database.
package storage
