package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
)

// scheme is what a DSN of a database server begins with. One letter is a drive
// of Windows.
var scheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]+):`)

// otherForm is what drivers of servers also understand and users may try:
// "user:password@tcp(host)/database" and "host=... password=...". As names of
// files these would be told, password and all, by an error.
var otherForm = regexp.MustCompile(`@(tcp|unix)\(|(^|\s)(host|user|password|dbname)\s*=`)

// busyTimeout is how long, in milliseconds, a statement waits for another
// process to finish its transaction.
const busyTimeout = "10000"

// sqliteDB is a SQLite database of our own: one connection writes, in group
// commits; a pool of others reads. Write-ahead logging keeps them from waiting
// for each other. An in-memory database has one connection for both.
type sqliteDB struct {
	path   string // absolute; empty in memory
	writer *writer
	sql    *statements

	readers *sql.DB     // nil in memory
	turns   turns       // of those who read
	shared  *sync.Mutex // guards the connection of a database in memory

	mu   sync.Mutex
	idle []*readConn // those that nobody reads with

	closing sync.Mutex
	closed  bool // on closing: the readers are
}

// readConn is a connection that reads, with its statements. It is opened when it is
// first needed. Who waits for one gets it in his turn, which a pool of
// database/sql does not promise, and finds its statements prepared.
type readConn struct {
	conn  *sql.Conn
	stmts *direct
}

// connect makes sure that the connection is there.
func (r *readConn) connect(ctx context.Context, db *sql.DB) error {
	if r.conn != nil {
		return nil
	}
	cn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	if r.stmts, err = newDirect(cn); err != nil {
		_ = cn.Close()
		return err
	}
	r.conn = cn
	return nil
}

func (r *readConn) disconnect() error {
	if r.conn == nil {
		return nil
	}
	r.stmts.close()
	err := r.conn.Close()
	r.conn, r.stmts = nil, nil
	return err
}

// openSQLite opens a file, which is created with mode 0600 when it does not
// exist, or a new database in memory.
func openSQLite(dsn string, stmts *statements) (*sqliteDB, error) {
	if dsn == ":memory:" {
		return openMemory(stmts)
	}
	path, err := sqlitePath(dsn)
	if err != nil {
		return nil, err
	}
	// SQLite would create it with the process's umask. Its -wal and -shm files
	// take over the mode of the database.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("storage: create database: %w", err)
		}
	case !errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("storage: create database: %w", err)
	}

	toWrite := sqliteURI(path, url.Values{
		"_busy_timeout": {busyTimeout},
		"_mutex":        {"no"}, // one goroutine at a time uses a connection
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"}, // a commit that was answered survives a power cut
		"_txlock":       {"immediate"},
	})
	w, err := sql.Open(sqliteDriver, toWrite)
	if err != nil {
		return nil, fmt.Errorf("storage: open database: %w", err)
	}
	w.SetMaxOpenConns(1)
	log, err := sql.Open(sqliteDriver, toWrite)
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("storage: open database: %w", err)
	}
	r, err := sql.Open(sqliteDriver, sqliteURI(path, url.Values{
		"_busy_timeout": {busyTimeout},
		"_mutex":        {"no"}, // one goroutine at a time uses a connection
		"_query_only":   {"1"},
	}))
	if err != nil {
		w.Close()
		log.Close()
		return nil, fmt.Errorf("storage: open database: %w", err)
	}
	n := min(max(runtime.GOMAXPROCS(0)*2, 4), 8)
	first := min(max(runtime.GOMAXPROCS(0), 2), n)
	r.SetMaxOpenConns(n)
	r.SetMaxIdleConns(n)

	db := &sqliteDB{
		path:    path,
		writer:  newWriter(w, stmts, nil, newCheckpointer(log)),
		sql:     stmts,
		readers: r,
		turns:   newTurns(first, n-first),
	}
	for range n {
		db.idle = append(db.idle, new(readConn))
	}
	// The writer comes first: it is the one that may turn on write-ahead logging.
	// While another process does that, SQLite does not wait but says "locked".
	ctx := context.Background()
	if err := retry(ctx, stmts, stmts.d.isPassing, func() error { return db.writer.connect(ctx) }); err != nil {
		_ = db.close() // what failed first is what to tell
		return nil, fmt.Errorf("storage: open %s: %w", path, stmts.d.classify(err))
	}
	return db, nil
}

func openMemory(stmts *statements) (*sqliteDB, error) {
	w, err := sql.Open(sqliteDriver, ":memory:")
	if err != nil {
		return nil, fmt.Errorf("storage: open database: %w", err)
	}
	w.SetMaxOpenConns(1)
	db := &sqliteDB{sql: stmts, shared: new(sync.Mutex)}
	db.writer = newWriter(w, stmts, db.shared, nil)
	if err := db.writer.connect(context.Background()); err != nil {
		_ = db.close() // what failed first is what to tell
		return nil, fmt.Errorf("storage: open database in memory: %w", stmts.d.classify(err))
	}
	return db, nil
}

// sqlitePath is the absolute path that a DSN names: the working directory may
// change before the last connection is opened.
func sqlitePath(dsn string) (string, error) {
	const kinds = `the path of a SQLite file without a scheme, ":memory:", "postgres://..." or "mysql://..."`
	if dsn == "" {
		return "", errors.New("storage: the DSN is empty; it is " + kinds)
	}
	if m := scheme.FindStringSubmatch(dsn); m != nil {
		return "", fmt.Errorf(`storage: DSN of an unknown kind %q; it is %s (a path that looks like a scheme can be written with "./" before it)`, m[1]+":", kinds)
	}
	if otherForm.MatchString(dsn) {
		return "", errors.New("storage: the DSN has a form that only a driver understands; it is " + kinds)
	}
	path, err := filepath.Abs(dsn)
	if err != nil {
		return "", fmt.Errorf("storage: open %s: %w", dsn, err)
	}
	return path, nil
}

// sqliteURI names a file to both drivers so that no character of its path
// means anything.
func sqliteURI(path string, options url.Values) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // C:/...
	}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + options.Encode()
}

func (db *sqliteDB) read(ctx context.Context, fn func(context.Context, conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if db.shared == nil {
		return db.readFile(ctx, fn)
	}
	ctx = context.WithoutCancel(ctx) // as in readFile
	db.shared.Lock()
	defer db.shared.Unlock()
	if db.writer.stmts == nil {
		return errClosed
	}
	return fn(ctx, conn{pool: db.writer.conn, direct: db.writer.stmts, sql: db.sql})
}

func (db *sqliteDB) readFile(ctx context.Context, fn func(context.Context, conn) error) (err error) {
	turn, err := db.turns.take(ctx)
	if err != nil {
		return err
	}
	r := db.takeReader()
	// The drivers start a goroutine per statement to watch a context that can
	// end. A local lookup is over before that pays.
	ctx = context.WithoutCancel(ctx)
	defer func() {
		if errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) {
			_ = r.disconnect()
		}
		db.giveReader(r)
		turn <- struct{}{}
	}()
	if err := r.connect(ctx, db.readers); err != nil {
		return db.sql.d.classify(err)
	}
	return fn(ctx, conn{pool: r.conn, direct: r.stmts, sql: db.sql})
}

func (db *sqliteDB) write(ctx context.Context, fn func(context.Context, conn) error) error {
	return db.writer.write(ctx, fn)
}

func (db *sqliteDB) writeOne(ctx context.Context, fn func(context.Context, conn) error) error {
	return db.writer.write(ctx, fn)
}

func (db *sqliteDB) close() error {
	var errs []error
	if db.readers != nil {
		errs = append(errs, db.closeReaders(), db.readers.Close())
	}
	// Last: the connection that closes last folds the log into the file.
	errs = append(errs, db.writer.close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("storage: close: %w", err)
	}
	return nil
}

// takeReader takes, for whoever has a turn, the connection that was used last: every
// commit makes SQLite forget what the others have in memory, and the fewer there
// are in use, the more reads find what one before them loaded.
func (db *sqliteDB) takeReader() *readConn {
	db.mu.Lock()
	defer db.mu.Unlock()
	last := len(db.idle) - 1
	r := db.idle[last]
	db.idle = db.idle[:last]
	return r
}

func (db *sqliteDB) giveReader(r *readConn) {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.idle = append(db.idle, r)
}

// closeReaders waits for those who read. Who comes later gets no turn.
func (db *sqliteDB) closeReaders() error {
	db.closing.Lock()
	defer db.closing.Unlock()
	if db.closed {
		return nil
	}
	db.closed = true
	db.turns.close()
	var errs []error
	for _, r := range db.idle { // all of them: nobody reads
		errs = append(errs, r.disconnect())
	}
	return errors.Join(errs...)
}
