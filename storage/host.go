package storage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// session is our view of a host's database: the same connections and the same
// transaction, without its query scopes, and with a logger that stays silent,
// because gorm's prints bound values. The host's own *gorm.DB is not changed.
func session(db *gorm.DB) *gorm.DB {
	return db.Session(&gorm.Session{NewDB: true, Logger: logger.Discard, SkipDefaultTransaction: true})
}

// hostDB is a database the host opened. The host closes it.
type hostDB struct {
	db  *gorm.DB
	sql *statements
}

func (h *hostDB) read(ctx context.Context, fn func(context.Context, conn) error) error {
	return retry(ctx, h.sql, h.sql.d.isContention, func() error {
		return fn(ctx, conn{pool: h.db.Statement.ConnPool, sql: h.sql})
	})
}

func (h *hostDB) write(ctx context.Context, fn func(context.Context, conn) error) error {
	return retry(ctx, h.sql, h.sql.d.isPassing, func() error { return h.attempt(ctx, fn) })
}

func (h *hostDB) writeOne(ctx context.Context, fn func(context.Context, conn) error) error {
	return h.write(ctx, fn)
}

// How often and how patiently what met contention, or a write whose connection
// broke, is run again.
const (
	maxAttempts = 10
	firstDelay  = 2 * time.Millisecond
	lastDelay   = 250 * time.Millisecond
	maxPatience = 3 * time.Second // no attempt begins after it
)

// undecided is the error of a commit of which nobody knows whether it happened.
type undecided struct{ error }

func (e undecided) Unwrap() error { return e.error }

// retry runs attempt until it succeeds or fails for a reason that does not pass.
func retry(ctx context.Context, sql *statements, passes func(error) bool, attempt func() error) error {
	delay, began := firstDelay, time.Now()
	for n := 1; ; n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := attempt()
		if err == nil || n == maxAttempts || !passes(err) || time.Since(began) > maxPatience {
			return err
		}
		// Half of it is chance, so that those who collided do not meet again.
		select {
		case <-time.After(delay/2 + rand.N(delay/2)):
		case <-ctx.Done():
			return err
		}
		sql.telemetry.retried(ctx)
		delay = min(delay*2, lastDelay)
	}
}

// isPassing reports whether a transaction that failed with err may succeed when
// it is run again. What is undecided is not: it might find its own work done.
func (d *dialect) isPassing(err error) bool {
	var u undecided
	if errors.As(err, &u) {
		return false
	}
	return d.isContention(err) || d.server && errors.Is(err, oauthreg.ErrUnavailable) && !errors.Is(err, errClosed)
}

// commitFailed is the error of a commit. Contention is a verdict: nothing was
// written. Whatever else happens to a commit, it may have been made.
func (d *dialect) commitFailed(err error) error {
	contention := d.isContention(err)
	if err = d.classify(err); !errors.Is(err, oauthreg.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", oauthreg.ErrUnavailable, err)
	}
	if contention {
		return err
	}
	return undecided{err}
}

func (h *hostDB) attempt(ctx context.Context, fn func(context.Context, conn) error) (err error) {
	// The transaction has a context of its own, so that the caller's ends the wait
	// for a connection, statements and the wait for them, but never a commit.
	txctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	endWait := context.AfterFunc(ctx, cancel)
	tx := h.db.WithContext(txctx).Begin(&sql.TxOptions{Isolation: h.sql.d.isolation})
	inTime := endWait()
	if tx.Error != nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		return h.sql.d.classify(tx.Error)
	}
	done := false
	defer func() {
		if !done { // an error, or a panic on its way up
			tx.Rollback()
		}
	}()
	if !inTime { // the transaction was rolled back with its context
		return ctx.Err()
	}
	if err := fn(ctx, conn{pool: tx.Statement.ConnPool, sql: h.sql}); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	done = true
	defer time.AfterFunc(commitTimeout, cancel).Stop()
	if err := tx.Commit().Error; err != nil {
		tx.Rollback()
		return h.sql.d.commitFailed(err)
	}
	return nil
}

func (h *hostDB) close() error { return nil }

// hostTx is a transaction the host began and will end. Each write is a
// savepoint in it.
type hostTx struct {
	db  *gorm.DB
	sql *statements
	// A transaction is one connection, and savepoints nest.
	mu sync.Mutex
	// over is why the transaction can not be used any more; on mu.
	over error
}

func (h *hostTx) conn() conn { return conn{pool: h.db.Statement.ConnPool, sql: h.sql} }

func (h *hostTx) read(ctx context.Context, fn func(context.Context, conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over != nil {
		return h.over
	}
	return fn(ctx, h.conn())
}

func (h *hostTx) write(ctx context.Context, fn func(context.Context, conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over != nil {
		return h.over
	}
	c := h.conn()
	if _, err := c.exec(ctx, "SAVEPOINT oauthreg_write"); err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			ctx := context.WithoutCancel(ctx)
			if _, err := c.exec(ctx, "ROLLBACK TO SAVEPOINT oauthreg_write"); err != nil {
				// After a deadlock MySQL has rolled back all of it, and would
				// take what comes now as outside of any transaction.
				h.over = fmt.Errorf("%w: the host's transaction was ended by the database: %w", oauthreg.ErrUnavailable, err)
				return
			}
			_, _ = c.exec(ctx, "RELEASE SAVEPOINT oauthreg_write")
		}
	}()
	if err := fn(ctx, c); err != nil {
		return err
	}
	done = true
	_, err := c.exec(ctx, "RELEASE SAVEPOINT oauthreg_write")
	return err
}

func (h *hostTx) writeOne(ctx context.Context, fn func(context.Context, conn) error) error {
	return h.write(ctx, fn)
}

func (h *hostTx) close() error { return nil }

// inTransaction reports whether db is a transaction that someone began.
func inTransaction(db *gorm.DB) bool {
	committer, ok := db.Statement.ConnPool.(gorm.TxCommitter)
	return ok && committer != nil
}
