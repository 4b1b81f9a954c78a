package storage

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// openMySQL connects to a MySQL or MariaDB server.
func openMySQL(dsn string, stmts *statements) (*serverDB, error) {
	u, maxConns, err := serverURL(dsn)
	if err != nil {
		return nil, err
	}
	cfg, err := mysqlConfig(u)
	if err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("storage: %w", withoutPassword(err, u))
	}
	where := fmt.Sprintf("MySQL database %q on %s", cfg.DBName, cfg.Addr)
	return openServer(isolated{connector}, maxConns, stmts, where)
}

// mysqlConfig turns mysql://user:password@host:port/database?parameter=value
// into the driver's configuration. Parameters are the driver's, and "socket",
// the path of a Unix socket that takes the place of host and port. What our
// statements rely on is not for the DSN to choose.
func mysqlConfig(u *url.URL) (*mysql.Config, error) {
	q := u.Query()
	socket := q.Get("socket")
	q.Del("socket")
	cfg, err := mysql.ParseDSN("/?" + strings.ReplaceAll(q.Encode(), "+", "%20"))
	if err != nil {
		return nil, fmt.Errorf("storage: the parameters of the DSN: %w", withoutPassword(err, u))
	}
	cfg.User = u.User.Username()
	cfg.Passwd, _ = u.User.Password()
	switch {
	case socket != "":
		cfg.Net, cfg.Addr = "unix", socket
	case u.Hostname() == "":
		return nil, errors.New("storage: the DSN names no host")
	default:
		port := u.Port()
		if port == "" {
			port = "3306"
		}
		cfg.Net, cfg.Addr = "tcp", net.JoinHostPort(u.Hostname(), port)
	}
	cfg.DBName = strings.TrimPrefix(u.Path, "/")
	if cfg.DBName == "" || strings.Contains(cfg.DBName, "/") {
		return nil, errors.New("storage: the path of the DSN is not the name of a database")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = connectTimeout
	}
	cfg.ParseTime = true
	cfg.Collation = "utf8mb4_bin"
	cfg.ClientFoundRows = false
	cfg.MultiStatements = false
	cfg.AllowAllFiles = false
	// One way to the server and back per statement instead of three.
	cfg.InterpolateParams = true
	cfg.Logger = new(mysql.NopLogger) // every error reaches the caller
	if cfg.Params == nil {
		cfg.Params = make(map[string]string)
	}
	// What does not fit is an error, not cut off.
	cfg.Params["sql_mode"] = "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"
	if cfg.Params["innodb_lock_wait_timeout"] == "" {
		cfg.Params["innodb_lock_wait_timeout"] = "5"
	}
	return cfg, nil
}

// isolated sets the isolation level of each new connection, so that it need not
// be set before each transaction. The variable behind it has several names.
type isolated struct{ driver.Connector }

func (c isolated) Connect(ctx context.Context) (driver.Conn, error) {
	cn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	_, err = cn.(driver.ExecerContext).ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", nil)
	if err != nil {
		_ = cn.Close()
		return nil, err
	}
	return cn, nil
}
