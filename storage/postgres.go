package storage

import (
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
	db.isolation = stmts.d.isolation
	return db, nil
}
