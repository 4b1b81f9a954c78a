package storage

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// servers are the kinds of database servers that the tests know, with the
// variables that hold their DSNs. The user in it must be allowed to create
// schemas (PostgreSQL) or databases (MySQL, MariaDB).
var servers = map[string]string{
	"postgres": "OAUTHREG_TEST_POSTGRES",
	"mysql":    "OAUTHREG_TEST_MYSQL",
}

// serverDSN is the DSN of a server, or skips the test.
func serverDSN(t testing.TB, kind string) *url.URL {
	t.Helper()
	dsn := os.Getenv(servers[kind])
	if dsn == "" {
		t.Skipf("%s is not set: no %s server to test on", servers[kind], kind)
	}
	u, err := url.Parse(dsn)
	must(t, err)
	return u
}

// place makes an empty database of a kind, which is gone after the test, and
// returns its DSN: a schema of its own in the PostgreSQL that the environment
// names, a database of its own in the MySQL.
func place(t testing.TB, kind string) string {
	t.Helper()
	switch kind {
	case "memory":
		return ":memory:"
	case "file":
		return filepath.Join(t.TempDir(), "auth.db")
	}
	u := serverDSN(t, kind)
	admin, err := sql.Open(hostDriver(t, kind, u.String()))
	must(t, err)
	name := strings.ReplaceAll(unique("t"), "-", "_")
	create, drop := "CREATE SCHEMA ", "DROP SCHEMA "+name+" CASCADE"
	if kind == "mysql" {
		create, drop = "CREATE DATABASE ", "DROP DATABASE "+name
		u.Path = "/" + name
	} else {
		q := u.Query()
		q.Set("search_path", name)
		u.RawQuery = q.Encode()
	}
	_, err = admin.Exec(create + name)
	must(t, err)
	t.Cleanup(func() {
		if _, err := admin.ExecContext(context.Background(), drop); err != nil {
			t.Error(err)
		}
		must(t, admin.Close())
	})
	return u.String()
}

// hostDriver is how a host opens a server with database/sql: the driver's name
// and its form of our DSN.
func hostDriver(t testing.TB, kind, dsn string) (driver, source string) {
	t.Helper()
	if kind == "postgres" {
		return "pgx", dsn
	}
	u, err := url.Parse(dsn)
	must(t, err)
	cfg, err := mysqlConfig(u)
	must(t, err)
	return "mysql", fmt.Sprintf("%s:%s@%s(%s)/%s?charset=utf8mb4", cfg.User, cfg.Passwd, cfg.Net, cfg.Addr, cfg.DBName)
}

// hostOf is the gorm dialector that a host would open a place with.
func hostOf(t *testing.T, kind, dsn string) gorm.Dialector {
	t.Helper()
	switch kind {
	case "postgres", "postgres simple":
		return postgres.New(postgres.Config{DSN: dsn, PreferSimpleProtocol: kind == "postgres simple"})
	case "mysql", "mysql matched":
		_, source := hostDriver(t, "mysql", dsn)
		if kind == "mysql matched" {
			source += "&clientFoundRows=true&interpolateParams=true"
		}
		return mysql.Open(source)
	}
	return hostDialector(t, dsn)
}
