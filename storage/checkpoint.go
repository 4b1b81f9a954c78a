package storage

import (
	"context"
	"database/sql"
	"sync"
	"sync/atomic"
)

const (
	// foldAt is about how many pages the write-ahead log has when it is folded into
	// the database file: many of them are versions of the same page, of which only
	// the last is copied.
	foldAt = 4000
	// foldLate is how many it has when SQLite folds it within a commit, should the
	// folding beside the commits not have kept up.
	foldLate = 4 * foldAt
	// foldRest is how many the writer copies itself.
	foldRest = 200
	// lookEvery is after how many commits the log's length is asked for.
	lookEvery = 8
)

const (
	checkpoint = "PRAGMA wal_checkpoint(PASSIVE)"
	// logLength does nothing but answer as checkpoint does.
	logLength = "PRAGMA wal_checkpoint(NOOP)"
)

// checkpointer folds the write-ahead log of our own SQLite into the database file
// while the writer goes on, which otherwise waits for that every few thousand
// pages, and all requests with it. The log begins anew only when all of it is in
// the file, which is never so while somebody writes: so the writer copies the
// little that the checkpointer left, between two transactions.
//
// What fails here need not be told: the log is longer for a while, and what is
// wrong with the database, the next transaction says.
type checkpointer struct {
	db      *sql.DB // of one connection
	running sync.WaitGroup
	// folding is set while a goroutine folds, and rest when it is done and has left
	// the rest to the writer.
	folding, rest atomic.Bool
	commits       int // the writer's alone: since it looked at the log's length
}

func newCheckpointer(db *sql.DB) *checkpointer {
	db.SetMaxOpenConns(1)
	return &checkpointer{db: db}
}

// committed is called by the writer after each commit, with its connection.
func (k *checkpointer) committed(ctx context.Context, c conn) {
	if k.commits++; k.commits < lookEvery {
		return
	}
	k.commits = 0
	var locked, pages, copied int64
	if _, err := c.one(ctx, logLength, nil, &locked, &pages, &copied); err != nil || pages < foldAt {
		return
	}
	if k.folding.CompareAndSwap(false, true) {
		k.running.Go(func() {
			defer k.folding.Store(false)
			k.fold(context.Background())
		})
	}
}

// fold copies the log, and what came meanwhile, until that is little.
func (k *checkpointer) fold(ctx context.Context) {
	var before int64
	for range 4 {
		var locked, pages, copied int64
		if err := k.db.QueryRowContext(ctx, checkpoint).Scan(&locked, &pages, &copied); err != nil || locked != 0 {
			return
		}
		if pages-before < foldRest {
			break
		}
		before = pages
	}
	k.rest.Store(true)
}

// finish is called by the writer before each transaction, with its connection.
func (k *checkpointer) finish(ctx context.Context, c conn) {
	if k.rest.CompareAndSwap(true, false) {
		var locked, pages, copied int64
		_, _ = c.one(ctx, checkpoint, nil, &locked, &pages, &copied)
	}
}

func (k *checkpointer) close() error {
	k.running.Wait()
	return k.db.Close()
}
