package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// maxGroup bounds how many writers share one commit, and with it how long the
// database stays locked for other processes.
const maxGroup = 128

// errClosed is what a closed store answers.
var errClosed = fmt.Errorf("%w: the store is closed", oauthreg.ErrUnavailable)

// writer is the one connection of our own SQLite that writes, with group
// commit: whoever comes while a transaction is being committed waits, and all
// who wait share the next one, so that one flush to disk serves them all. One
// that fails takes nobody with it, and all are answered after the commit.
//
// There is no goroutine for it. The first to come leads: it runs the group it
// finds waiting, itself included, and then hands the lead to the first of those
// who came meanwhile.
type writer struct {
	db  *sql.DB
	sql *statements
	// shared is held while a transaction runs, for an in-memory database whose
	// readers use the same connection.
	shared *sync.Mutex

	mu      sync.Mutex
	queue   []*job
	leading bool // someone leads, or was told to
	closed  bool
	idle    sync.Cond // on mu: nobody leads

	// Of the leader alone.
	conn  *sql.Conn
	stmts *direct
	log   *checkpointer // nil in memory
}

// job is a function that waits for its transaction.
type job struct {
	ctx      context.Context
	run      func(context.Context, conn) error
	err      error
	panicked any
	wake     chan bool // true: lead; false: done
}

// jobs are for the next who waits.
var jobs = sync.Pool{New: func() any { return &job{wake: make(chan bool, 1)} }}

func newWriter(db *sql.DB, sql *statements, shared *sync.Mutex, log *checkpointer) *writer {
	w := &writer{db: db, sql: sql, shared: shared, log: log}
	w.idle.L = &w.mu
	return w
}

func (w *writer) write(ctx context.Context, fn func(context.Context, conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := jobs.Get().(*job)
	j.ctx, j.run = ctx, fn
	defer func() {
		*j = job{wake: j.wake} // which is empty: whoever was woken has read it
		jobs.Put(j)
	}()

	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return errClosed
	}
	w.queue = append(w.queue, j)
	lead := !w.leading
	w.leading = true
	w.mu.Unlock()

	if !lead {
		// Whether or not ctx ends meanwhile: only the verdict tells the caller
		// what the database now says.
		lead = <-j.wake
	}
	if lead {
		w.lead()
	}
	if j.panicked != nil {
		panic(j.panicked)
	}
	return j.err
}

// lead runs one group, whose first is the caller's own job, and passes the lead on.
func (w *writer) lead() {
	w.mu.Lock()
	n := min(len(w.queue), maxGroup)
	group := w.queue[:n:n]
	w.queue = w.queue[n:]
	w.mu.Unlock()

	w.commit(group)

	w.mu.Lock()
	if len(w.queue) > 0 {
		w.queue[0].wake <- true
	} else {
		w.queue = nil
		w.leading = false
		w.idle.Broadcast()
	}
	w.mu.Unlock()
	for _, j := range group[1:] {
		j.wake <- false
	}
}

// commit runs the group in one transaction.
func (w *writer) commit(group []*job) {
	live := group[:0:0]
	for _, j := range group {
		if j.err = j.ctx.Err(); j.err == nil {
			live = append(live, j)
		}
	}
	if len(live) == 0 {
		return
	}
	if w.shared != nil {
		w.shared.Lock()
		defer w.shared.Unlock()
	}
	if err := w.transact(live); err != nil {
		err = w.sql.d.classify(err)
		if !errors.Is(err, oauthreg.ErrUnavailable) {
			err = fmt.Errorf("%w: %w", oauthreg.ErrUnavailable, err)
		}
		for _, j := range live {
			// Whatever the functions themselves said, nothing was written: what one
			// said of another's write in the group is not true either.
			j.err = err
		}
	}
}

// transact returns an error when nothing of the group was written. What
// concerns one function alone goes into its job.
//
// Functions seldom fail, so they run without savepoints at first. When one
// does, nothing is written, and all run again, each in a savepoint.
func (w *writer) transact(live []*job) error {
	// The statements are short and must not be torn by a caller's deadline.
	ctx := context.WithoutCancel(live[0].ctx)
	if err := w.connect(ctx); err != nil {
		return err
	}
	c := conn{pool: w.conn, direct: w.stmts, sql: w.sql}
	if w.log != nil {
		w.log.finish(ctx, c)
	}
	if _, err := c.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
		return w.rollback(ctx, c, err) // should an earlier one be stuck
	}
	wrote := true
	for _, j := range live {
		if wrote = w.run(j, c); !wrote {
			break
		}
	}
	if !wrote && len(live) > 1 {
		if _, err := c.exec(ctx, "ROLLBACK"); err != nil {
			return w.rollback(ctx, c, err)
		}
		if _, err := c.exec(ctx, "BEGIN IMMEDIATE"); err != nil {
			return w.rollback(ctx, c, err)
		}
		for _, j := range live {
			if _, err := c.exec(ctx, "SAVEPOINT job"); err != nil {
				return w.rollback(ctx, c, err)
			}
			end := "RELEASE job"
			if w.run(j, c) {
				wrote = true
			} else {
				end = "ROLLBACK TO job"
			}
			if _, err := c.exec(ctx, end); err != nil {
				return w.rollback(ctx, c, err)
			}
		}
	}
	if !wrote {
		return w.rollback(ctx, c, nil)
	}
	if _, err := c.exec(ctx, "COMMIT"); err != nil {
		return w.rollback(ctx, c, err)
	}
	if w.log != nil {
		w.log.committed(ctx, c)
	}
	w.sql.telemetry.committed(ctx, len(live))
	return nil
}

// run calls the job's function and reports whether it succeeded.
func (w *writer) run(j *job, c conn) bool {
	defer func() { j.panicked = recover() }()
	j.err = errors.New("storage: the function panicked")
	j.err = j.run(context.WithoutCancel(j.ctx), c)
	return j.err == nil
}

// rollback ends the transaction. Its own failure does not matter: SQLite ends
// some transactions itself, for example when the disk is full.
func (w *writer) rollback(ctx context.Context, c conn, cause error) error {
	if _, err := c.exec(ctx, "ROLLBACK"); err != nil && cause == nil {
		w.drop(err)
	}
	w.drop(cause)
	return cause
}

// connect makes sure that the connection is there.
func (w *writer) connect(ctx context.Context) error {
	if w.conn != nil {
		return nil
	}
	cn, err := w.db.Conn(ctx)
	if err != nil {
		return err
	}
	// The cache keeps the upper part of the indexes.
	for _, pragma := range []string{fmt.Sprintf("PRAGMA wal_autocheckpoint = %d", foldLate), "PRAGMA cache_size = -4096"} {
		if _, err := cn.ExecContext(ctx, pragma); err != nil {
			cn.Close()
			return err
		}
	}
	if w.stmts, err = newDirect(cn); err != nil {
		_ = cn.Close()
		return err
	}
	w.conn = cn
	return nil
}

// drop gives the connection up when err says that it is broken, so that the
// next transaction gets a new one.
func (w *writer) drop(err error) {
	if w.shared != nil || !errors.Is(err, driver.ErrBadConn) && !errors.Is(err, sql.ErrConnDone) {
		return
	}
	w.disconnect()
}

func (w *writer) disconnect() {
	if w.conn == nil {
		return
	}
	w.stmts.close()
	w.conn.Close()
	w.conn, w.stmts = nil, nil
}

// close lets everyone who waits finish and then closes the connection.
func (w *writer) close() error {
	w.mu.Lock()
	w.closed = true
	for w.leading {
		w.idle.Wait()
	}
	w.mu.Unlock()
	if w.shared != nil {
		w.shared.Lock()
		defer w.shared.Unlock()
	}
	var err error
	if w.log != nil {
		err = w.log.close()
	}
	w.disconnect()
	return errors.Join(err, w.db.Close())
}
