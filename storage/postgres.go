package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// openPostgres connects to a PostgreSQL server. Everything but pool_max_conns is
// pgx's to understand, which takes what libpq takes.
func openPostgres(dsn string, stmts *statements) (*serverDB, error) {
	u, maxConns, err := serverURL(dsn)
	if err != nil {
		return nil, err
	}
	cfg, err := pgx.ParseConfig(u.String())
	if err != nil {
		return nil, fmt.Errorf("storage: %w", withoutPassword(err, u))
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "oauthreg"
	}
	where := fmt.Sprintf("PostgreSQL database %q on %s port %d", cfg.Database, cfg.Host, cfg.Port)
	db, err := openServer(stdlib.GetConnector(*cfg), maxConns, stmts, where)
	if err != nil {
		return nil, err
	}
	db.begin = func(ctx context.Context, cn *sql.Conn) (serverTx, error) {
		return &postgresTx{ctx: ctx, cn: cn}, nil
	}
	return db, nil
}

// postgresTx is a transaction that begins together with its first statement, which
// saves a way to the server and back. database/sql knows nothing of it; the driver
// does, and gives a connection up whose transaction was not ended.
type postgresTx struct {
	ctx   context.Context
	cn    *sql.Conn
	begun bool
}

const beginPostgres = "BEGIN ISOLATION LEVEL READ COMMITTED"

// driver calls fn with the driver's connection.
func (tx *postgresTx) driver(fn func(*pgx.Conn) error) error {
	return tx.cn.Raw(func(c any) error { return fn(c.(*stdlib.Conn).Conn()) })
}

// ExecContext is part of [pool].
func (tx *postgresTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if tx.begun {
		return tx.cn.ExecContext(ctx, query, args...)
	}
	affected, err := tx.execAll(ctx, []statement{{query: query, args: args}})
	if err != nil {
		return nil, err
	}
	return driver.RowsAffected(affected[0]), nil
}

// execAll runs statements on one way to the server and back, and returns how many
// rows each affected, up to the first that failed.
func (tx *postgresTx) execAll(ctx context.Context, all []statement) (affected []int64, err error) {
	var batch pgx.Batch
	begin := !tx.begun
	if begin {
		tx.begun = true
		batch.Queue(beginPostgres)
	}
	for _, st := range all {
		batch.Queue(st.query, st.args...)
	}
	err = tx.driver(func(c *pgx.Conn) error {
		results := c.SendBatch(ctx, &batch)
		err := func() error {
			if begin {
				if _, err := results.Exec(); err != nil {
					return err
				}
			}
			for range all {
				done, err := results.Exec()
				if err != nil {
					return err
				}
				affected = append(affected, done.RowsAffected())
			}
			return nil
		}()
		if cerr := results.Close(); err == nil {
			err = cerr
		}
		return err
	})
	return affected, err
}

// QueryContext is part of [pool].
func (tx *postgresTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if !tx.begun {
		tx.begun = true
		if _, err := tx.cn.ExecContext(ctx, beginPostgres); err != nil {
			return nil, err
		}
	}
	return tx.cn.QueryContext(ctx, query, args...)
}

// Commit is part of [serverTx].
func (tx *postgresTx) Commit() error {
	if !tx.begun {
		return nil
	}
	return tx.driver(func(c *pgx.Conn) error {
		done, err := c.Exec(tx.ctx, "COMMIT")
		if err == nil && done.String() == "ROLLBACK" { // a statement had failed
			return pgx.ErrTxCommitRollback
		}
		return err
	})
}

// Rollback is part of [serverTx]. A connection on which it fails is given up.
func (tx *postgresTx) Rollback() error {
	if !tx.begun {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tx.ctx), commitTimeout)
	defer cancel()
	return tx.driver(func(c *pgx.Conn) error {
		if _, err := c.Exec(ctx, "ROLLBACK"); err != nil {
			return driver.ErrBadConn
		}
		return nil
	})
}
