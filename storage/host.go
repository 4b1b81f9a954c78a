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
	if err := ctx.Err(); err != nil {
		return err
	}
	return fn(ctx, conn{pool: h.db.Statement.ConnPool, sql: h.sql})
}

// How often and how patiently a write that met contention is run again.
const (
	maxAttempts = 10
	firstDelay  = 2 * time.Millisecond
	lastDelay   = 250 * time.Millisecond
)

func (h *hostDB) write(ctx context.Context, fn func(context.Context, conn) error) error {
	delay := firstDelay
	for attempt := 1; ; attempt++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := h.attempt(ctx, fn)
		if err == nil || !h.sql.d.isContention(err) || attempt == maxAttempts {
			return err
		}
		// Half of it is chance, so that those who collided do not meet again.
		select {
		case <-time.After(delay/2 + rand.N(delay/2)):
		case <-ctx.Done():
			return err
		}
		delay = min(delay*2, lastDelay)
	}
}

func (h *hostDB) attempt(ctx context.Context, fn func(context.Context, conn) error) (err error) {
	tx := h.db.WithContext(ctx).Begin(&sql.TxOptions{})
	if tx.Error != nil {
		return h.sql.d.classify(tx.Error)
	}
	done := false
	defer func() {
		if !done { // an error, or a panic on its way up
			tx.Rollback()
		}
	}()
	if err := fn(ctx, conn{pool: tx.Statement.ConnPool, sql: h.sql}); err != nil {
		return err
	}
	done = true
	if err := tx.Commit().Error; err != nil {
		tx.Rollback()
		if err = h.sql.d.classify(err); !errors.Is(err, oauthreg.ErrUnavailable) {
			err = fmt.Errorf("%w: %w", oauthreg.ErrUnavailable, err)
		}
		return err
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
}

func (h *hostTx) conn() conn { return conn{pool: h.db.Statement.ConnPool, sql: h.sql} }

func (h *hostTx) read(ctx context.Context, fn func(context.Context, conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return fn(ctx, h.conn())
}

func (h *hostTx) write(ctx context.Context, fn func(context.Context, conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.conn()
	if _, err := c.exec(ctx, "SAVEPOINT oauthreg_write"); err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			ctx := context.WithoutCancel(ctx)
			c.exec(ctx, "ROLLBACK TO SAVEPOINT oauthreg_write")
			c.exec(ctx, "RELEASE SAVEPOINT oauthreg_write")
		}
	}()
	if err := fn(ctx, c); err != nil {
		return err
	}
	done = true
	_, err := c.exec(ctx, "RELEASE SAVEPOINT oauthreg_write")
	return err
}

func (h *hostTx) close() error { return nil }

// inTransaction reports whether db is a transaction that someone began.
func inTransaction(db *gorm.DB) bool {
	committer, ok := db.Statement.ConnPool.(gorm.TxCommitter)
	return ok && committer != nil
}
