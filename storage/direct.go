package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
)

// direct runs statements on one connection of our own SQLite, each prepared
// once, without what database/sql does around a call of the driver: that takes
// as long as a lookup by key does. One goroutine uses it at a time.
type direct struct {
	conn   driver.Conn
	stmts  map[string]driver.Stmt
	values []driver.NamedValue // of the statement that runs; drivers copy them
}

// newDirect works on the driver's part of cn, which has one user only.
func newDirect(cn *sql.Conn) (*direct, error) {
	d := &direct{stmts: make(map[string]driver.Stmt)}
	return d, cn.Raw(func(c any) error {
		var ok bool
		if d.conn, ok = c.(driver.Conn); !ok {
			return fmt.Errorf("a connection of the driver is a %T", c)
		}
		return nil
	})
}

// maxPrepared bounds the statements that are kept: the texts of listings vary
// with their filters.
const maxPrepared = 256

// stmt prepares a statement, or finds it prepared. When there are too many, any
// one is given up: none of them is running.
func (d *direct) stmt(ctx context.Context, query string) (st driver.Stmt, err error) {
	if st = d.stmts[query]; st != nil {
		return st, nil
	}
	if p, ok := d.conn.(driver.ConnPrepareContext); ok {
		st, err = p.PrepareContext(ctx, query)
	} else {
		st, err = d.conn.Prepare(query)
	}
	if err != nil {
		return nil, err
	}
	if len(d.stmts) >= maxPrepared {
		for other, old := range d.stmts {
			delete(d.stmts, other)
			_ = old.Close()
			break
		}
	}
	d.stmts[query] = st
	return st, nil
}

// close finalizes the statements: SQLite keeps the file open until it is done,
// and does not fold the log into it.
func (d *direct) close() {
	for _, st := range d.stmts {
		_ = st.Close()
	}
	clear(d.stmts)
}

// bind makes the driver's values of args, until the next statement.
func (d *direct) bind(args []any) ([]driver.NamedValue, error) {
	clear(d.values) // what was bound is not kept
	out := slices.Grow(d.values[:0], len(args))[:len(args)]
	d.values = out
	for i, arg := range args {
		out[i].Ordinal = i + 1
		switch v := arg.(type) {
		case nil, int64, string, []byte:
			out[i].Value = v
		default:
			var err error
			if out[i].Value, err = driver.DefaultParameterConverter.ConvertValue(arg); err != nil {
				return nil, fmt.Errorf("bind value %d: %w", i+1, err)
			}
		}
	}
	return out, nil
}

var errDriver = errors.New("the driver lacks what statements need")

func (d *direct) exec(ctx context.Context, query string, args []any) (int64, error) {
	st, err := d.stmt(ctx, query)
	if err != nil {
		return 0, err
	}
	values, err := d.bind(args)
	if err != nil {
		return 0, err
	}
	run, ok := st.(driver.StmtExecContext)
	if !ok {
		return 0, errDriver
	}
	res, err := run.ExecContext(ctx, values)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (d *direct) each(ctx context.Context, query string, args []any, row func(scan func(dest ...any) error) error) error {
	st, err := d.stmt(ctx, query)
	if err != nil {
		return err
	}
	values, err := d.bind(args)
	if err != nil {
		return err
	}
	run, ok := st.(driver.StmtQueryContext)
	if !ok {
		return errDriver
	}
	rows, err := run.QueryContext(ctx, values)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	columns := make([]driver.Value, len(rows.Columns()))
	scan := func(dest ...any) error { return assign(dest, columns) }
	for {
		switch err := rows.Next(columns); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := row(scan); err != nil {
			return err
		}
	}
}

// assign copies a row to where it belongs, by the rules of [sql.Rows.Scan] for
// the types that this package reads.
func assign(dest []any, columns []driver.Value) error {
	if len(dest) != len(columns) {
		return fmt.Errorf("%d columns are read into %d values", len(columns), len(dest))
	}
	for i, to := range dest {
		if err := assignOne(to, columns[i]); err != nil {
			return fmt.Errorf("read column %d: %w", i+1, err)
		}
	}
	return nil
}

func assignOne(to any, v driver.Value) error {
	switch to := to.(type) {
	case *string:
		switch v := v.(type) {
		case string:
			*to = v
			return nil
		case []byte:
			*to = string(v)
			return nil
		}
	case *[]byte:
		switch v := v.(type) {
		case nil:
			*to = nil
			return nil
		case string:
			*to = []byte(v)
			return nil
		case []byte:
			*to = v // both drivers copy it out of SQLite's memory
			return nil
		}
	case *int64:
		if n, ok := v.(int64); ok {
			*to = n
			return nil
		}
	case *int:
		if n, ok := v.(int64); ok {
			*to = int(n)
			return nil
		}
	case *any:
		*to = v
		return nil
	case sql.Scanner:
		return to.Scan(v)
	}
	return fmt.Errorf("a value of type %T does not go into a %T", v, to)
}
