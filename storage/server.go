package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// The pool of a server that Open connected to.
const (
	defaultMaxConns = 20
	// A connection does not outlive this, so that new addresses of the server
	// are noticed.
	connLifetime = 30 * time.Minute
	connIdleTime = 5 * time.Minute
	// connectTimeout is how long one attempt to connect may take when the DSN
	// does not say.
	connectTimeout = 5 * time.Second
	// openTimeout is how long Open waits for the first connection.
	openTimeout = 10 * time.Second
	// commitTimeout is how long a commit may take. It does not end with the
	// caller's context, which would leave the outcome open.
	commitTimeout = 10 * time.Second
)

// serverDB is a database server that we connected to.
type serverDB struct {
	db  *sql.DB
	sql *statements
	// begin begins a transaction on a connection that nobody else has.
	begin func(ctx context.Context, cn *sql.Conn) (serverTx, error)

	mu     sync.RWMutex // held for reading while a transaction runs
	closed bool
}

// serverTx is a transaction on a server. The context in which it began must last
// until its end.
type serverTx interface {
	pool
	Commit() error
	Rollback() error
}

// beginSQL begins a transaction by means of database/sql, in the isolation of the
// session.
func beginSQL(ctx context.Context, cn *sql.Conn) (serverTx, error) { return cn.BeginTx(ctx, nil) }

// openServer sets the pool up and connects once. What it says of a failure names
// the server, and has no password.
func openServer(connector driver.Connector, maxConns int, stmts *statements, where string) (*serverDB, error) {
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	db.SetConnMaxLifetime(connLifetime)
	db.SetConnMaxIdleTime(connIdleTime)
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close() // what failed first is what to tell
		if err = stmts.d.classify(err); !errors.Is(err, oauthreg.ErrUnavailable) {
			err = fmt.Errorf("%w: %w", oauthreg.ErrUnavailable, err)
		}
		return nil, fmt.Errorf("storage: connect to %s: %w", where, err)
	}
	return &serverDB{db: db, sql: stmts, begin: beginSQL}, nil
}

func (p *serverDB) read(ctx context.Context, fn func(context.Context, conn) error) error {
	return retry(ctx, p.sql, p.sql.d.isContention, func() error {
		return fn(ctx, conn{pool: p.db, sql: p.sql})
	})
}

func (p *serverDB) write(ctx context.Context, fn func(context.Context, conn) error) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return errClosed
	}
	return retry(ctx, p.sql, p.sql.d.isPassing, func() error { return p.attempt(ctx, fn) })
}

func (p *serverDB) attempt(ctx context.Context, fn func(context.Context, conn) error) (err error) {
	cn, err := p.db.Conn(ctx)
	if err != nil {
		return p.sql.d.classify(err)
	}
	defer cn.Close()
	// The transaction has a context of its own, so that the caller's ends
	// statements and the wait for them, but never a commit.
	txctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	tx, err := p.begin(txctx, cn)
	if err != nil {
		p.drop(cn, err)
		return p.sql.d.classify(err)
	}
	done := false
	defer func() {
		if !done { // an error, or a panic on its way up
			_ = tx.Rollback()
			p.drop(cn, err)
		}
	}()
	if err := fn(ctx, conn{pool: tx, sql: p.sql}); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	done = true
	defer time.AfterFunc(commitTimeout, cancel).Stop()
	if err := tx.Commit(); err != nil {
		_ = tx.Rollback()
		p.drop(cn, err)
		return p.sql.d.commitFailed(err)
	}
	return nil
}

func (p *serverDB) writeOne(ctx context.Context, fn func(context.Context, conn) error) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.closed {
		return errClosed
	}
	made := false // perhaps: an attempt ended without a verdict
	return retry(ctx, p.sql, p.sql.d.isPassing, func() error {
		err := p.attemptOne(ctx, fn)
		if made && errors.Is(err, oauthreg.ErrConflict) {
			return nil
		}
		made = made || errors.Is(err, oauthreg.ErrUnavailable) && !p.sql.d.isContention(err)
		return err
	})
}

func (p *serverDB) attemptOne(ctx context.Context, fn func(context.Context, conn) error) error {
	cn, err := p.db.Conn(ctx)
	if err != nil {
		return p.sql.d.classify(err)
	}
	defer cn.Close()
	err = fn(ctx, conn{pool: cn, sql: p.sql})
	p.drop(cn, err)
	return err
}

// drop gives a connection up on which something failed that another may be
// spared: it is broken, or its server has become a read-only one.
func (p *serverDB) drop(cn *sql.Conn, err error) {
	if err == nil || p.sql.d.isContention(err) || !errors.Is(p.sql.d.classify(err), oauthreg.ErrUnavailable) {
		return
	}
	_ = cn.Raw(func(any) error { return driver.ErrBadConn })
}

func (p *serverDB) close() error {
	p.mu.Lock() // after those who write
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	if err := p.db.Close(); err != nil {
		return fmt.Errorf("storage: close: %w", err)
	}
	return nil
}

// serverURL reads a DSN that is a URL, and takes our own parameter out of it.
// Its errors have nothing of the DSN: what is wrong in it may be a part of the
// password.
func serverURL(dsn string) (u *url.URL, maxConns int, err error) {
	u, err = url.Parse(dsn)
	if err != nil {
		return nil, 0, errors.New("storage: the DSN is not a valid URL; characters of the user name and the password other than letters and digits are percent-encoded in it")
	}
	if _, err := url.ParseQuery(u.RawQuery); err != nil {
		return nil, 0, errors.New("storage: the parameters of the DSN are not valid")
	}
	maxConns = defaultMaxConns
	// The others stay as they are: drivers do not agree about what "+" means.
	others := strings.Split(u.RawQuery, "&")
	others = slices.DeleteFunc(others, func(parameter string) bool {
		v, ok := strings.CutPrefix(parameter, "pool_max_conns=")
		if ok {
			maxConns, err = strconv.Atoi(v)
		}
		return ok
	})
	if err != nil || maxConns < 1 {
		return nil, 0, errors.New("storage: pool_max_conns in the DSN is not a positive number")
	}
	u.RawQuery = strings.Join(others, "&")
	return u, maxConns, nil
}

// withoutPassword is an error whose text has no password in it. Nothing else of
// the original is kept.
func withoutPassword(err error, u *url.URL) error {
	text := err.Error()
	if password, ok := u.User.Password(); ok && password != "" {
		for _, form := range []string{password, url.QueryEscape(password), url.PathEscape(password), strings.TrimPrefix(url.UserPassword("", password).String(), ":")} {
			text = strings.ReplaceAll(text, form, "xxxxx")
		}
	}
	for _, key := range []string{"password", "sslpassword"} {
		if v := u.Query().Get(key); v != "" {
			text = strings.ReplaceAll(text, v, "xxxxx")
		}
	}
	return errors.New(text)
}
