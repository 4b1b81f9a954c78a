package main

import (
	"bytes"
	"database/sql"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Somebody else changes the schema: -migrate sql prints how, -migrate off goes by
// it, and -migrate status tells.
func TestMigrateFlag(t *testing.T) {
	db := filepath.Join(t.TempDir(), "test.db")
	start := func(args ...string) (status int, stdout, stderr string) {
		var out, errs bytes.Buffer
		status = run(t.Context(), append(args, "-db", db, "-addr", "127.0.0.1:0"), noEnv, &out, &errs)
		return status, out.String(), errs.String()
	}
	status, text, errs := start("-migrate", "status")
	if status != 0 || !strings.HasPrefix(text, "0001 initial pending\n0002 ") || strings.Contains(text, "applied") {
		t.Errorf("status of a new database: %d %s%s", status, text, errs)
	}
	status, script, errs := start("-migrate", "sql")
	if status != 0 || !strings.Contains(script, "CREATE TABLE oauthreg_clients") {
		t.Fatalf("sql: %d %s%s", status, script, errs)
	}
	if _, err := os.Stat(db); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file was made: %v", err)
	}
	if status, _, errs := start("-migrate", "off"); status != 1 || !strings.Contains(errs, "migration 0001_initial is pending") {
		t.Errorf("off: %d %s", status, errs)
	}

	driver := "sqlite3"
	if slices.Contains(sql.Drivers(), "sqlite") { // without cgo
		driver = "sqlite"
	}
	people, err := sql.Open(driver, db)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := people.Exec(script); err != nil {
		t.Fatal(err)
	}
	if err := people.Close(); err != nil {
		t.Fatal(err)
	}
	if status, text, errs := start("-migrate", "status"); status != 0 || strings.Contains(text, "pending") || !strings.HasPrefix(text, "0001 initial applied 20") {
		t.Errorf("status: %d %s%s", status, text, errs)
	}
	if status, text, errs := start("-migrate", "sql"); status != 0 || text != "" {
		t.Errorf("sql when nothing is pending: %d %s%s", status, text, errs)
	}
	s := launch(t, "-db", db, "-migrate", "off")
	if s.line("demo client") == "" {
		t.Error("the server does not work")
	}
}

// A key is changed by adding a line, and -reencrypt makes the lines between the
// first and the last superfluous. The wrong key, or none, does not start.
func TestKeyChange(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "test.db")
	files := []string{"-db", db, "-clients", "../../testdata/clients.json", "-users", "../../testdata/users.json"}
	line := func() string { return base64.StdEncoding.EncodeToString(newMasterKey()) + "\n" }
	read := func() string {
		b, err := os.ReadFile(db + ".key")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	s := launch(t, files...)
	token := signIn(t, s.issuer)
	keys := getJSON(t, http.DefaultClient, s.issuer+"/oauth/jwks")
	addr := s.issuer[len("http://"):]
	s.stop()

	first, second, third := read(), line(), line()
	for _, content := range []string{first + second, first + second + third} {
		write(t, db+".key", content, 0o600)
		s = launch(t, append(files, "-addr", addr)...)
		if !active(t, s.issuer, token.AccessToken) {
			t.Error("a token is lost with the change of the key")
		}
		var out, errs bytes.Buffer
		if status := run(t.Context(), []string{"-db", db, "-reencrypt"}, noEnv, &out, &errs); status != 0 || !strings.Contains(out.String(), "values encrypted") {
			t.Fatalf("reencrypt: %d %s%s", status, &out, &errs)
		}
		s.stop()
	}
	write(t, db+".key", first+third, 0o600)
	s = launch(t, append(files, "-addr", addr)...)
	if !active(t, s.issuer, token.AccessToken) || !reflect.DeepEqual(keys, getJSON(t, http.DefaultClient, s.issuer+"/oauth/jwks")) {
		t.Error("something is lost without the key in between")
	}
	if _, err := refresh(t.Context(), s.issuer, token.RefreshToken); err != nil {
		t.Error(err)
	}
	s.stop()

	for what, tt := range map[string]struct{ content, want string }{
		"another key":        {line(), "does not open with any configured encryption key"},
		"without the newest": {first, "does not open with any configured encryption key"},
		"none":               {"", "restore the key"},
	} {
		if err := os.Remove(db + ".key"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if tt.content != "" {
			write(t, db+".key", tt.content, 0o600)
		}
		var out, errs bytes.Buffer
		status := run(t.Context(), append(files, "-addr", "127.0.0.1:0"), noEnv, &out, &errs)
		if status != 1 || !strings.Contains(errs.String(), tt.want) || !strings.Contains(errs.String(), db+".key") || strings.Count(errs.String(), "\n") != 1 || out.Len() != 0 {
			t.Errorf("%s: got status %d and %q, want 1 and one line with %q", what, status, &errs, tt.want)
		}
	}
}

// With a database server a start without the right key leaves none behind that was
// made for it.
func TestWrongKeyFileIsNotLeft(t *testing.T) {
	for _, kind := range []string{"postgres", "mysql"} {
		t.Run(kind, func(t *testing.T) {
			dsn, _ := serverDatabase(t, kind)
			key, wrong := filepath.Join(t.TempDir(), "right.key"), filepath.Join(t.TempDir(), "wrong.key")
			launch(t, "-db", dsn, "-key", key).stop()
			var out, errs bytes.Buffer
			status := run(t.Context(), []string{"-db", dsn, "-key", wrong, "-addr", "127.0.0.1:0"}, noEnv, &out, &errs)
			if status != 1 || !strings.Contains(errs.String(), wrong+" does not exist") || strings.Count(errs.String(), "\n") != 1 || out.Len() != 0 {
				t.Errorf("got status %d and %q", status, &errs)
			}
			left, err := os.ReadDir(filepath.Dir(wrong))
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			// Nor is one taken away that was there before.
			write(t, wrong, base64.StdEncoding.EncodeToString(newMasterKey())+"\n", 0o600)
			if status := run(t.Context(), []string{"-db", dsn, "-key", wrong, "-addr", "127.0.0.1:0"}, noEnv, &out, &errs); status != 1 {
				t.Errorf("got status %d and %q", status, &errs)
			}
			if _, err := os.Stat(wrong); err != nil {
				t.Error(err)
			}
			launch(t, "-db", dsn, "-key", key).stop()
		})
	}
}

func TestDatabaseName(t *testing.T) {
	for db, want := range map[string]string{
		"some.db": "some.db", "postgres://u:s3cr3t@h/d": "postgres://u:xxxxx@h/d", "postgres://u@h/d?password=s3cr3t": "postgres://u@h/d",
	} {
		if got := databaseName(db); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
