package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// keeper backs a database up and puts it back, as a person would.
type keeper struct {
	dsn     string
	key     string // file
	save    func(t *testing.T) (file string)
	restore func(t *testing.T, file string) (dsn string)
	db      func(t *testing.T, dsn string) *sql.DB
}

// tool runs a program of a database.
func tool(t *testing.T, stdin []byte, env []string, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = bytes.NewReader(stdin), &out, &errs, append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, &errs)
	}
	return out.Bytes()
}

func keepSQLite(t *testing.T, binary string) keeper {
	dir := t.TempDir()
	db := filepath.Join(dir, "test.db")
	return keeper{
		dsn: db, key: db + ".key",
		save: func(t *testing.T) string {
			file := filepath.Join(dir, "backup.db")
			tool(t, nil, nil, binary, "-db", db, "-backup", file)
			return file
		},
		restore: func(_ *testing.T, file string) string { return file },
		db: func(t *testing.T, dsn string) *sql.DB {
			driver := "sqlite3"
			if slices.Contains(sql.Drivers(), "sqlite") { // without cgo
				driver = "sqlite"
			}
			return openSQL(t, driver, "file:"+dsn+"?mode=ro")
		},
	}
}

func keepServer(t *testing.T, kind string) keeper {
	dsn, db := serverDatabase(t, kind)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	k := keeper{dsn: dsn, key: filepath.Join(t.TempDir(), "key"), db: func(*testing.T, string) *sql.DB { return db }}
	execute := func(t *testing.T, statements ...string) {
		for _, s := range statements {
			if _, err := db.Exec(s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
	if kind == "postgres" {
		schema := u.Query().Get("search_path")
		u.User, u.RawQuery = url.User(u.User.Username()), ""
		env := []string{"PGPASSWORD=" + password}
		// The newest client: it may be newer than the server, not older.
		bins, err := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
		if err != nil || len(bins) == 0 {
			t.Fatalf("no pg_dump: %v", err)
		}
		dump := bins[len(bins)-1]
		k.save = func(t *testing.T) string {
			file := filepath.Join(t.TempDir(), "backup.sql")
			tool(t, nil, env, dump, "--schema="+schema, "--file="+file, u.String())
			return file
		}
		k.restore = func(t *testing.T, file string) string {
			execute(t, "DROP SCHEMA "+schema+" CASCADE")
			tool(t, nil, env, strings.Replace(dump, "pg_dump", "psql", 1), "--quiet", "--set=ON_ERROR_STOP=1", "--file="+file, u.String())
			return dsn
		}
		return k
	}
	name := strings.TrimPrefix(u.Path, "/")
	env := []string{"MYSQL_PWD=" + password}
	args := []string{"--no-defaults", "--host=" + u.Hostname(), "--port=" + u.Port(), "--user=" + u.User.Username()}
	k.save = func(t *testing.T) string {
		file := filepath.Join(t.TempDir(), "backup.sql")
		tool(t, nil, env, "mariadb-dump", append(args, "--single-transaction", "--hex-blob", "--result-file="+file, name)...)
		return file
	}
	k.restore = func(t *testing.T, file string) string {
		execute(t, "DROP DATABASE "+name, "CREATE DATABASE "+name, "USE "+name)
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		tool(t, text, env, "mariadb", append(args, name)...)
		return dsn
	}
	return k
}

func openSQL(t *testing.T, driver, source string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// A backup that is made while the server works has everything that was answered
// before it, and a server on it goes on from there.
func TestBackupUnderLoad(t *testing.T) {
	for _, kind := range []string{"sqlite", "postgres", "mysql"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel() // it mostly waits
			var k keeper
			if kind == "sqlite" {
				k = keepSQLite(t, buildStandalone(t))
			} else {
				k = keepServer(t, kind)
			}
			clients := filepath.Join(t.TempDir(), "clients.json")
			write(t, clients, crashClient, 0o600)
			args := []string{"-key", k.key, "-clients", clients, "-users", "../../testdata/users.json", "-limits", "off", "-refresh-grace", "0"}
			p := startProcess(t, buildStandalone(t), append(args, "-db", k.dsn, "-addr", "127.0.0.1:0")...)
			args = append(args, "-addr", p.issuer[len("http://"):])

			const people = 4
			c := &crashing{issuer: p.issuer}
			c.signIn(t, people)
			load := func(during func()) (logins [][]*login, machine [][]tokens) {
				ctx, stop := context.WithCancel(t.Context())
				logins, machine = make([][]*login, people), make([][]tokens, 1)
				var wg sync.WaitGroup
				run := func(work func() error) {
					wg.Go(func() {
						if err := work(); errors.Is(err, errAnswer) {
							t.Error(err)
						}
					})
				}
				for i, user := range c.users {
					run(func() error { return c.person(ctx, user, &logins[i]) })
				}
				run(func() error { return c.machine(ctx, &machine[0]) })
				during()
				stop()
				wg.Wait()
				return logins, machine
			}
			// Long enough for something to check, however busy the machine is.
			logins, machine := load(func() {
				for began := time.Now(); c.answers.Load() < 80 && time.Since(began) < startTimeout; {
					time.Sleep(10 * time.Millisecond)
				}
			})
			var file string
			load(func() { file = k.save(t) })
			bare.CloseIdleConnections()
			p.signal(t, syscall.SIGKILL)

			dsn := k.restore(t, file)
			p = startProcess(t, buildStandalone(t), append(args, "-db", dsn)...)
			f := &findings{t: t, c: c}
			f.all(logins, machine)
			f.rows(k.db(t, dsn))
			if f.checked.Load() < 20 {
				t.Errorf("only %d checks", f.checked.Load())
			}
			bare.CloseIdleConnections()
			if status := p.signal(t, syscall.SIGTERM); status != 0 {
				t.Errorf("got status %d: %s", status, p.err)
			}
		})
	}
}
