package handlers_test

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	_ "gorm.io/driver/mysql"    // registers the driver "mysql"
	_ "gorm.io/driver/postgres" // registers the driver "pgx"

	"github.com/oauthreg/oauthreg/storage"
)

// The flow tests run on a SQLite file of their own each. With
// OAUTHREG_TEST_FLOWS=postgres or mysql they run on the server whose DSN is in
// OAUTHREG_TEST_POSTGRES or OAUTHREG_TEST_MYSQL instead, each in a schema or
// database of its own.

// newDatabase makes an empty database, which is gone after the test, and returns
// what to open it by.
func newDatabase(t testing.TB) string {
	t.Helper()
	kind := os.Getenv("OAUTHREG_TEST_FLOWS")
	variable := map[string]string{"postgres": "OAUTHREG_TEST_POSTGRES", "mysql": "OAUTHREG_TEST_MYSQL"}[kind]
	if kind == "" {
		return filepath.Join(t.TempDir(), "test.db")
	}
	u, err := url.Parse(os.Getenv(variable))
	if err != nil || u.Host == "" {
		t.Fatalf("OAUTHREG_TEST_FLOWS=%s, but %s has no DSN", kind, variable)
	}
	name := "flow_" + strings.ToLower(rand.Text()[:16])
	create, drop := "CREATE SCHEMA "+name, "DROP SCHEMA "+name+" CASCADE"
	admin := openDatabase(t, u.String())
	if kind == "mysql" {
		create, drop = "CREATE DATABASE "+name, "DROP DATABASE "+name
		u.Path = "/" + name
	} else {
		q := u.Query()
		q.Set("search_path", name)
		u.RawQuery = q.Encode()
	}
	if _, err := admin.Exec(create); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec(drop); err != nil {
			t.Error(err)
		}
		_ = admin.Close()
	})
	return u.String()
}

// openDatabase looks at a database past the store.
func openDatabase(t testing.TB, name string) *sql.DB {
	t.Helper()
	driver, source := "sqlite3", "file:"+name
	if !strings.Contains(name, "?") {
		source += "?mode=ro"
	}
	if u, err := url.Parse(name); err == nil && u.Host != "" {
		switch u.Scheme {
		case "postgres":
			driver, source = "pgx", name
		case "mysql":
			password, _ := u.User.Password()
			driver, source = "mysql", fmt.Sprintf("%s:%s@tcp(%s)%s", u.User.Username(), password, u.Host, u.Path)
		}
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// tables are the names of all tables.
func tables(t testing.TB, name string, db *sql.DB) []string {
	t.Helper()
	query := "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
	switch {
	case strings.HasPrefix(name, "postgres://"):
		query = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
	case strings.HasPrefix(name, "mysql://"):
		query = "SELECT table_name FROM information_schema.tables WHERE table_schema = database()"
	}
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var names []string
	for rows.Next() {
		var table string
		if err := rows.Scan(&table); err != nil {
			t.Fatal(err)
		}
		names = append(names, table)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	sort.Strings(names)
	return names
}

// rows counts the rows of every table.
func (e *env) rows(t testing.TB) string {
	t.Helper()
	db := openDatabase(t, e.file)
	defer func() { _ = db.Close() }()
	var out []string
	for _, table := range tables(t, e.file, db) {
		var n int
		if err := db.QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s=%d", table, n))
	}
	return strings.Join(out, " ")
}

// content is everything that stands in the database: the bytes of its files
// where there are any, freed pages and the log included, else of its columns.
func (e *env) content(t testing.TB) []byte {
	t.Helper()
	var all bytes.Buffer
	if !strings.Contains(e.file, "://") {
		for _, file := range []string{e.file, e.file + "-wal"} {
			b, err := os.ReadFile(file)
			if err != nil && !os.IsNotExist(err) {
				t.Error(err)
			}
			all.Write(b)
		}
		return all.Bytes()
	}
	db := openDatabase(t, e.file)
	defer func() { _ = db.Close() }()
	for _, table := range tables(t, e.file, db) {
		copyTable(t, db, table, &all)
	}
	return all.Bytes()
}

func copyTable(t testing.TB, db *sql.DB, table string, to *bytes.Buffer) {
	t.Helper()
	rows, err := db.Query("SELECT * FROM " + table)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	values := make([]sql.RawBytes, len(columns))
	dest := make([]any, len(columns))
	for i := range values {
		dest[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			to.Write(v)
			to.WriteByte('\n')
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// exec changes the database past the store: exactly one row.
func (e *env) exec(statement string) {
	e.t.Helper()
	name := e.file
	if !strings.Contains(name, "://") {
		name += "?mode=rw&_busy_timeout=5000"
	}
	db := openDatabase(e.t, name)
	defer func() { _ = db.Close() }()
	r, err := db.Exec(statement)
	if err != nil {
		e.t.Fatal(err)
	}
	if n, err := r.RowsAffected(); err != nil || n != 1 {
		e.t.Fatalf("%d rows changed (%v), want one: %s", n, err, statement)
	}
}

// uncached is a server that sees at once what is changed past its store.
var uncached = envOptions{store: func(c *storage.Config) { c.ClientCacheAge = -1 }}
