package storage

import (
	"context"
	"database/sql"
	"errors"
	"iter"
	"slices"
	"strings"
)

// backend is how statements reach a database. There are four: our own SQLite
// (sqlite.go), a server that we connected to (server.go), a database the host
// opened and a transaction the host began (host.go).
type backend interface {
	// read runs fn against committed state; in a host's transaction, against
	// what that transaction sees. fn must not call read or write. It may run more
	// than once, and only the last time counts.
	read(ctx context.Context, fn func(context.Context, conn) error) error
	// write runs fn in one transaction and returns after it is durable. An
	// error of fn, or its panic, undoes what fn did and nothing else. fn may
	// run more than once. It is not run when ctx has ended; once it runs, its
	// outcome is waited for, but on a server ctx ends its statements and with
	// them the transaction.
	write(ctx context.Context, fn func(context.Context, conn) error) error
	// writeOne is write for an fn that runs one statement, which may be run again
	// when nobody knows whether it was made: then it has no effect, or meets the row
	// that it made itself, by a key that nobody else makes. On a server it needs no
	// transaction around it, which is two thirds of the way there and back.
	writeOne(ctx context.Context, fn func(context.Context, conn) error) error
	close() error
}

// pool is the part of gorm.ConnPool that statements run on: a connection
// pool, a connection or a transaction. Statements go there directly. gorm's
// query builder is not between them: on the paths of a token request it costs
// as much as SQLite itself, and it turns empty values into absent conditions.
type pool interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// conn is the one way to run a statement. Its errors are classified, see
// dialect.classify.
type conn struct {
	pool   pool
	direct *direct // the same connection, for our own SQLite
	sql    *statements
}

// exec runs a statement and returns how many rows it affected: matched, or on
// MySQL changed, so an update that decides something must always change its row.
func (c conn) exec(ctx context.Context, query string, args ...any) (int64, error) {
	if in := c.sql.d.foreign(query, args); in == inCondition {
		return 0, nil
	} else if in == inValue {
		return 0, errText
	}
	if c.direct != nil {
		n, err := c.direct.exec(ctx, c.sql.of(query), args)
		return n, c.sql.d.classify(err)
	}
	res, err := c.pool.ExecContext(ctx, c.sql.of(query), args...)
	if err != nil {
		return 0, c.sql.d.classify(err)
	}
	if c.sql.d.yielded != nil && strings.HasSuffix(query, onConflict) {
		if yielded, err := c.sql.d.yielded(res); err != nil || yielded {
			return 0, c.sql.d.classify(err)
		}
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, c.sql.d.classify(err)
	}
	return n, nil
}

// statement is one that needs nothing that another finds.
type statement struct {
	query string
	args  []any
	// verdict says what it means how many rows it affected, as [conn.exec] returns
	// that, and is called in the same transaction; nil means nothing.
	verdict func(ctx context.Context, c conn, n int64) error
}

func (st *statement) run(ctx context.Context, c conn) error {
	n, err := c.exec(ctx, st.query, st.args...)
	if err != nil || st.verdict == nil {
		return err
	}
	return st.verdict(ctx, c, n)
}

// orElse is a verdict: err when there is no row.
func orElse(err error) func(context.Context, conn, int64) error {
	return func(_ context.Context, _ conn, n int64) error {
		if n == 0 {
			return err
		}
		return nil
	}
}

// one reads one row into dest and reports whether there was one.
func (c conn) one(ctx context.Context, query string, args []any, dest ...any) (bool, error) {
	found := false
	err := c.each(ctx, query, args, func(scan func(...any) error) error {
		if found {
			return nil
		}
		found = true
		return scan(dest...)
	})
	return found, err
}

// each calls row for every row that the query returns; the rest is dropped
// when row returns an error. row must not run statements.
func (c conn) each(ctx context.Context, query string, args []any, row func(scan func(dest ...any) error) error) error {
	if c.sql.d.foreign(query, args) != inNothing {
		return nil
	}
	if c.direct != nil {
		var failed error
		err := c.direct.each(ctx, c.sql.of(query), args, func(scan func(...any) error) error {
			failed = row(scan)
			return failed
		})
		if failed != nil {
			return failed // as it is
		}
		return c.sql.d.classify(err)
	}
	rows, err := c.pool.QueryContext(ctx, c.sql.of(query), args...)
	if err != nil {
		return c.sql.d.classify(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return c.sql.d.classify(rows.Err())
}

// errText is why a value is not stored.
var errText = errors.New("a text is not valid UTF-8, or has a character that the database does not take")

// Where a statement binds a text that its database does not take.
const (
	inNothing   = iota
	inCondition // of a query, update or deletion: there can be no such row
	inValue     // of a row to be
)

// foreign looks for texts that the database does not take. It would say so with
// an error; but what strangers send is looked up as it is, and is then simply
// not there.
func (d *dialect) foreign(query string, args []any) int {
	if d.takes == nil {
		return inNothing
	}
	for i, arg := range args {
		if v, ok := arg.(string); ok && !d.takes(v) {
			if strings.HasPrefix(query, "INSERT") {
				return inValue
			}
			before, _, _ := strings.Cut(query, "WHERE")
			if i < strings.Count(before, "?") {
				return inValue
			}
			return inCondition
		}
	}
	return inNothing
}

// script runs statements that end in a semicolon at the end of a line, one by
// one: not every driver takes several in one call.
func (c conn) script(ctx context.Context, text string) error {
	for _, statement := range splitScript(text) {
		_, err := c.pool.ExecContext(ctx, c.sql.of(statement))
		if err != nil && (c.sql.d.isDone == nil || !c.sql.d.isDone(err)) {
			return c.sql.d.classify(err)
		}
	}
	return nil
}

func splitScript(text string) []string {
	var out []string
	var b strings.Builder
	for line := range strings.Lines(text) {
		code := strings.TrimSpace(line)
		if code == "" || strings.HasPrefix(code, "--") {
			continue
		}
		b.WriteString(line)
		if strings.HasSuffix(code, ";") {
			out = append(out, b.String())
			b.Reset()
		}
	}
	if strings.TrimSpace(b.String()) != "" {
		out = append(out, b.String())
	}
	return out
}

// where collects the conditions of a query and their bound values.
type where struct {
	conditions []string
	args       []any
}

// and adds a condition.
func (w *where) and(condition string, args ...any) {
	w.conditions = append(w.conditions, condition)
	w.args = append(w.args, args...)
}

// is adds column = value unless the value is empty, which does not restrict.
func (w *where) is(column, value string) {
	if value != "" {
		w.and(column+" = ?", value)
	}
}

// sql is the WHERE clause, or nothing when there are no conditions.
func (w *where) sql() string {
	if len(w.conditions) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(w.conditions, " AND ")
}

// marks is a list of n bound values: "?, ?, ?".
func marks(n int) string {
	return strings.TrimSuffix(strings.Repeat("?, ", n), ", ")
}

// maxBound is how many values one statement binds at most when it takes a list.
const maxBound = 512

// lists cuts values into lists that a statement can bind. Their lengths are
// powers of two, the last filled up with its last value, so that there are few
// different statements for a database to prepare.
func lists(values []any) iter.Seq[[]any] {
	return func(yield func([]any) bool) {
		for some := range slices.Chunk(values, maxBound) {
			some = slices.Clip(some)
			for len(some)&(len(some)-1) != 0 {
				some = append(some, some[len(some)-1])
			}
			if !yield(some) {
				return
			}
		}
	}
}

// page keeps a limit within what the interfaces allow: 1 to 1000, 100 when unset.
func page(limit int) int {
	switch {
	case limit <= 0:
		return 100
	case limit > 1000:
		return 1000
	}
	return limit
}
