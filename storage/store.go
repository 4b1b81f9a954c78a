package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/oauth2"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/handler/pkce"
	fositestorage "github.com/ory/fosite/storage"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"gorm.io/gorm"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// What a Store is, and where.
var (
	_ oauthreg.Store                   = (*Store)(nil) // clients.go, secrets.go, audit.go
	_ oauthreg.InitialAccessTokenStore = (*Store)(nil) // initial_access_tokens.go
	_ oauthreg.GrantStore              = (*Store)(nil) // grants.go, consents.go
	_ oauthreg.SessionStore            = (*Store)(nil) // login_sessions.go
	_ oauthreg.InteractionStore        = (*Store)(nil) // interactions.go
	_ oauthreg.KeyStore                = (*Store)(nil) // signing_keys.go

	_ fosite.Storage                     = (*Store)(nil) // fosite_client.go, assertions.go
	_ oauth2.AuthorizeCodeStorage        = (*Store)(nil) // authorize_codes.go
	_ pkce.PKCERequestStorage            = (*Store)(nil) // authorize_codes.go
	_ openid.OpenIDConnectRequestStorage = (*Store)(nil) // authorize_codes.go
	_ oauth2.AccessTokenStorage          = (*Store)(nil) // access_tokens.go
	_ oauth2.RefreshTokenStorage         = (*Store)(nil) // refresh_tokens.go
	_ oauth2.CoreStorage                 = (*Store)(nil)
	_ oauth2.TokenRevocationStorage      = (*Store)(nil)
	_ fositestorage.Transactional        = (*Store)(nil) // tx.go
)

// Config says how a [Store] keeps what it keeps. EncryptionKeys is required;
// the zero value of every other field is a good choice.
type Config struct {
	// EncryptionKeys are AES-256 keys of 32 random bytes each. The first
	// encrypts; all decrypt. To change the key put the new one first and leave
	// the old one behind it until [Store.Reencrypt] has been run: signing keys,
	// clients' contacts and the audit log are sealed once and live long. A server that
	// calls [oauthreg.OpenKeyRing] at its start, as it should, does not start with keys
	// that are not those of the database, or without one that is still needed; see
	// [Store.CheckEncryptionKeys].
	EncryptionKeys [][]byte

	// NewSession returns an empty session of the type that the server stores.
	// It must be JSON both ways. Nil means [openid.DefaultSession]. It is
	// called concurrently.
	NewSession func() fosite.Session

	// RefreshGrace is how long after its first use a refresh token may be used
	// again, so that parallel requests and lost responses do no harm. It counts
	// from the first use and does not slide. Zero means 10 seconds, negative
	// none; at most 5 minutes.
	RefreshGrace time.Duration
	// RefreshGraceUses is how many repetitions may be made in that time. Zero
	// means 32.
	RefreshGraceUses int

	// ClientCacheAge is how long a change that someone else made to a client may
	// go unnoticed, its suspension and its deletion included: another process,
	// or another Store. Changes made with this Store, or one of its
	// [Store.WithTx], show at once; so does the revocation of grants and tokens,
	// whoever made it. Zero means 1 second; negative, that clients are read from
	// the database at every use. At most 1 minute.
	ClientCacheAge time.Duration

	// TablePrefix begins every table and index name: lower case letters,
	// digits and underscores, first a letter, at most 24. Empty means
	// "oauthreg_". It must not change once the tables exist.
	TablePrefix string

	// TracerProvider gets a span for everything that is done in the database, and
	// MeterProvider how long that took, what was tried again, how many writers
	// shared a commit, and what the janitor deleted; nil means none, at no cost. They
	// are OpenTelemetry's: the host brings the SDK.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider

	// Now is the clock; nil means [time.Now]. It is called concurrently.
	Now func() time.Time
}

// check fills in defaults and names everything wrong at once.
func (cfg Config) check() (Config, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("storage: Config."+format, args...)) }

	if len(cfg.EncryptionKeys) == 0 {
		bad("EncryptionKeys is empty; one key of %d random bytes is needed", sealKeySize)
	}
	for i, k := range cfg.EncryptionKeys {
		if len(k) != sealKeySize {
			bad("EncryptionKeys[%d] has %d bytes, want %d", i, len(k), sealKeySize)
		}
	}
	if cfg.NewSession == nil {
		cfg.NewSession = func() fosite.Session { return new(openid.DefaultSession) }
	}
	switch {
	case cfg.RefreshGrace == 0:
		cfg.RefreshGrace = 10 * time.Second
	case cfg.RefreshGrace < 0:
		cfg.RefreshGrace = 0
	case cfg.RefreshGrace > 5*time.Minute:
		bad("RefreshGrace is %v, more than 5 minutes", cfg.RefreshGrace)
	}
	switch {
	case cfg.RefreshGraceUses == 0:
		cfg.RefreshGraceUses = 32
	case cfg.RefreshGraceUses < 0:
		bad("RefreshGraceUses is negative; to allow no repetition set RefreshGrace to a negative duration")
	}
	switch {
	case cfg.ClientCacheAge == 0:
		cfg.ClientCacheAge = time.Second
	case cfg.ClientCacheAge > time.Minute:
		bad("ClientCacheAge is %v, more than a minute", cfg.ClientCacheAge)
	}
	if cfg.TablePrefix == "" {
		cfg.TablePrefix = defaultPrefix
	}
	if !prefixRule.MatchString(cfg.TablePrefix) {
		bad("TablePrefix is %q; it may have up to 24 lower case letters, digits and underscores, first a letter", cfg.TablePrefix)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return cfg, errors.Join(errs...)
}

// Store is the database. It is made by [Open] or [New] and is safe for
// concurrent use.
type Store struct {
	db      backend
	sql     *statements
	cfg     Config
	sealer  *sealer
	records *recordCache // nil: do not remember
	counts  *clientCounts
	outer   *recordCache // of the store outside the host's transaction, nil outside of one
	keys    *keyLock
	blocks  nameBlocks

	keysChecked *atomic.Bool // CheckEncryptionKeys was content
}

// Open opens a database that belongs to the store. Tables are made by
// [Store.Migrate], not here. The DSN is one of these:
//
// The path of a SQLite file, created with mode 0600 when it does not exist, or
// ":memory:" for a new and private database that is gone after [Store.Close].
// The path may contain any character. The file is used in write-ahead mode, so
// "-wal" and "-shm" files stand beside it, and must be on a local disk. Several
// processes may have it open.
//
// "postgres://user:password@host:port/database?sslmode=verify-full", with the
// parameters of libpq; search_path chooses a schema. Several hosts, separated
// by commas, with target_session_attrs=read-write follow a failover.
//
// "mysql://user:password@host:port/database?tls=true" for MySQL and MariaDB,
// with the parameters of github.com/go-sql-driver/mysql and "socket", the path
// of a Unix socket. Character set, isolation and SQL mode are chosen here; a
// lock is waited for 5 seconds unless innodb_lock_wait_timeout says otherwise.
//
// A server is connected to before Open returns, for at most 10 seconds. There
// are up to 20 connections, or as many as the parameter pool_max_conns says, of
// which each is replaced after 30 minutes, and given up after 5 minutes without
// work. No error has the DSN's password in it.
func Open(dsn string, cfg Config) (*Store, error) {
	cfg, err := cfg.check()
	if err != nil {
		return nil, err
	}
	open, name := kindOf(dsn)
	sql, err := newStatements(dialects[name], &cfg)
	if err != nil {
		return nil, err
	}
	db, err := open(dsn, sql)
	if err != nil {
		return nil, err
	}
	return newStore(db, sql, cfg), nil
}

// kindOf is how a DSN is opened, and the name of its dialect.
func kindOf(dsn string) (open func(string, *statements) (backend, error), name string) {
	before, _, _ := strings.Cut(dsn, "://")
	switch strings.ToLower(before) {
	case "postgres", "postgresql":
		return opener(openPostgres), "postgres"
	case "mysql", "mariadb":
		return opener(openMySQL), "mysql"
	}
	return opener(openSQLite), "sqlite"
}

// opener makes an open function return the interface, nil with an error.
func opener[B backend](open func(string, *statements) (B, error)) func(string, *statements) (backend, error) {
	return func(dsn string, stmts *statements) (backend, error) {
		db, err := open(dsn, stmts)
		if err != nil {
			return nil, err
		}
		return db, nil
	}
}

// New makes a store in a database that the host has opened. The *gorm.DB stays
// the host's: its settings and its logger are not touched, it is not closed by
// [Store.Close], and no table is made unless [Store.Migrate] is called. If db
// is a transaction, the store is as [Store.WithTx] describes.
//
// Each call that writes is one transaction, repeated when the database reports
// contention or a connection breaks before the commit. A host's SQLite should
// have a busy timeout and begin transactions with BEGIN IMMEDIATE; it has no
// group commit, so [Open] is faster. A host's MySQL should be in strict mode,
// as it is unless someone changed that, and its DSN have charset=utf8mb4;
// interpolateParams=true saves it time.
func New(db *gorm.DB, cfg Config) (*Store, error) {
	cfg, err := cfg.check()
	d, dialectErr := dialectOf(db)
	if err := errors.Join(err, dialectErr); err != nil {
		return nil, err
	}
	sql, err := newStatements(d, &cfg)
	if err != nil {
		return nil, err
	}
	if inTransaction(db) {
		s := newStore(&hostTx{db: session(db), sql: sql}, sql, cfg)
		s.records = nil
		return s, nil
	}
	return newStore(&hostDB{db: session(db), sql: sql}, sql, cfg), nil
}

func newStore(db backend, sql *statements, cfg Config) *Store {
	return &Store{
		db:      db,
		sql:     sql,
		cfg:     cfg,
		sealer:  newSealer(cfg.EncryptionKeys),
		records: newRecordCache(cfg.ClientCacheAge),
		counts:  new(clientCounts),
		keys:    newKeyLock(),
		blocks:  defaultNameBlocks,

		keysChecked: new(atomic.Bool),
	}
}

// WithTx returns a store whose reads and writes are part of the transaction tx,
// which the host began and will end: what it writes is there when the host
// commits and gone when the host rolls back. tx must be a transaction on the
// database that s is in. Each write is a savepoint, so one that fails leaves
// the transaction usable, where the database allows that. Contention is not
// retried: only the host can repeat its transaction.
//
// From its first change of a client until it ends, other changes of clients wait
// for the transaction. A client that is registered nine minutes or more before it
// ends may be missed by searches for a part of its name. The store must not be used
// after it has ended. It may be used concurrently, one call at a time.
//
// If tx is not an open transaction, every call of the returned store fails.
func (s *Store) WithTx(tx *gorm.DB) *Store {
	t := *s
	// What is uncommitted must not be remembered for others.
	t.records = nil
	if s.records != nil {
		t.outer = s.records
	}
	d, err := dialectOf(tx)
	switch {
	case err != nil:
		t.db = failed{err}
	case tx.Error != nil:
		t.db = failed{fmt.Errorf("storage: WithTx: %w", tx.Error)}
	case !inTransaction(tx):
		t.db = failed{errors.New("storage: WithTx: the *gorm.DB is not a transaction; call its Begin or Transaction method first")}
	default:
		t.sql = &statements{d: d, prefix: s.cfg.TablePrefix, telemetry: s.sql.telemetry}
		t.db = &hostTx{db: session(tx), sql: t.sql}
	}
	return &t
}

// failed is the database of a store that cannot work.
type failed struct{ err error }

func (f failed) read(context.Context, func(context.Context, conn) error) error     { return f.err }
func (f failed) write(context.Context, func(context.Context, conn) error) error    { return f.err }
func (f failed) writeOne(context.Context, func(context.Context, conn) error) error { return f.err }
func (f failed) close() error                                                      { return nil }

// Ping returns nil when the database answers, and [oauthreg.ErrUnavailable]
// when it does not. It does not look whether the tables are there.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, "ping", func(ctx context.Context, c conn) error {
		var n int
		_, err := c.one(ctx, "SELECT 1", nil, &n)
		return err
	})
}

// Close lets writes that have begun finish, refuses new ones with
// [oauthreg.ErrUnavailable], and closes a database that [Open] opened. A
// host's database stays open. Calling it again does nothing.
func (s *Store) Close() error { return s.db.close() }

func (s *Store) now() time.Time { return s.cfg.Now().UTC() }

// read runs fn against committed state. doing says what, for the error.
func (s *Store) read(ctx context.Context, doing string, fn func(context.Context, conn) error) error {
	if t := s.sql.telemetry; t != nil {
		return explain(doing, t.observe(ctx, doing, func(ctx context.Context) error { return s.db.read(ctx, fn) }))
	}
	return explain(doing, s.db.read(ctx, fn))
}

// write runs fn in a transaction; see backend.write.
func (s *Store) write(ctx context.Context, doing string, fn func(context.Context, conn) error) error {
	return s.observed(ctx, doing, fn, s.db.write)
}

// writeOne is write for one statement; see [backend].
func (s *Store) writeOne(ctx context.Context, doing string, fn func(context.Context, conn) error) error {
	return s.observed(ctx, doing, fn, s.db.writeOne)
}

func (s *Store) observed(ctx context.Context, doing string, fn func(context.Context, conn) error, write func(context.Context, func(context.Context, conn) error) error) error {
	if t := s.sql.telemetry; t != nil {
		return explain(doing, t.observe(ctx, doing, func(ctx context.Context) error { return write(ctx, fn) }))
	}
	return explain(doing, write(ctx, fn))
}

// explain says what failed, but leaves alone what is an answer, not a failure.
func explain(doing string, err error) error {
	if err == nil || isAnswer(err) {
		return err
	}
	return fmt.Errorf("storage: %s: %w", doing, err)
}

// isAnswer reports whether err is one of the errors that callers branch on, as
// it is: nothing needs to be said beyond it.
func isAnswer(err error) bool {
	switch err {
	case oauthreg.ErrNotFound, oauthreg.ErrConflict, oauthreg.ErrConsumed, fosite.ErrInvalidatedAuthorizeCode: //nolint:errorlint // as it is: something was said about what is wrapped
		return true
	}
	switch err.(type) { //nolint:errorlint // as above
	case *fosite.RFC6749Error, *oauthreg.UsedError:
		return true
	}
	return false
}
