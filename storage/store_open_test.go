package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func TestConfigNamesEveryMistake(t *testing.T) {
	_, err := Open(":memory:", Config{
		EncryptionKeys:   [][]byte{testKey, []byte("short")},
		RefreshGrace:     time.Hour,
		RefreshGraceUses: -1,
		TablePrefix:      "Robert'); --",
	})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"EncryptionKeys[1]", "RefreshGrace is", "RefreshGraceUses", "TablePrefix"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to name %s", err, want)
		}
	}
	if _, err := Open(":memory:", Config{}); err == nil || !strings.Contains(err.Error(), "EncryptionKeys is empty") {
		t.Errorf("got %v, want EncryptionKeys named", err)
	}
	if _, err := New(nil, Config{}); err == nil || !strings.Contains(err.Error(), "nil") || !strings.Contains(err.Error(), "EncryptionKeys") {
		t.Errorf("got %v, want both mistakes named", err)
	}
}

func TestOpenRefusesUnknownKinds(t *testing.T) {
	for _, dsn := range []string{"", "oracle://db.example/auth", "file:auth.db", "mongodb+srv://x", filepath.Join(t.TempDir(), "no", "such", "auth.db")} {
		s, err := Open(dsn, testConfig(newClock()))
		if err == nil {
			must(t, s.Close())
			t.Errorf("Open(%q): got no error", dsn)
		}
	}
}

func TestOpenRefusesOtherFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	must(t, os.WriteFile(path, []byte(strings.Repeat("this is not a database\n", 100)), 0o600))
	if _, err := Open(path, testConfig(newClock())); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names the file", err)
	}
}

func TestOpenPathWithOddCharacters(t *testing.T) {
	for _, name := range []string{"a b.db", "a?b=c&d.db", "a#b.db", "100%41.db", "a;b'c\".db", "ä€.db"} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			s := openPath(t, path, testConfig(newClock()))
			k := addClient(t, s)
			if _, err := s.GetClient(t.Context(), k.GetID()); err != nil { // through the readers
				t.Fatal(err)
			}
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != 0o600 {
				t.Errorf("got mode %o, want 600", got)
			}
			for _, suffix := range []string{"-wal", "-shm"} {
				info, err := os.Stat(path + suffix)
				if err != nil {
					t.Fatal(err)
				}
				if got := info.Mode().Perm(); got != 0o600 {
					t.Errorf("%s: got mode %o, want 600", suffix, got)
				}
			}
		})
	}
}

func TestOpenKeepsModeOfExistingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "auth.db")
	must(t, os.WriteFile(path, nil, 0o640))
	openPath(t, path, testConfig(newClock()))
	info, err := os.Stat(path)
	must(t, err)
	if got := info.Mode().Perm(); got != 0o640 {
		t.Errorf("got mode %o, want 640", got)
	}
}

func TestOpenRelativePathSurvivesChdir(t *testing.T) {
	t.Chdir(t.TempDir())
	s := openPath(t, "auth.db", testConfig(newClock()))
	k := addClient(t, s)
	t.Chdir(t.TempDir())
	if _, err := s.GetClient(t.Context(), k.GetID()); err != nil {
		t.Fatal(err)
	}
}

func TestMemoryStoresAreSeparate(t *testing.T) {
	a := openTest(t, "memory", testConfig(newClock()))
	b := openTest(t, "memory", testConfig(newClock()))
	k := addClient(t, a)
	if _, err := b.GetClient(t.Context(), k.GetID()); !errors.Is(err, fosite.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// A file's contents are there after it is closed and opened again.
func TestReopen(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "auth.db")
	s := openPath(t, path, testConfig(c))
	r := newRequest(s, addClient(t, s))
	issue(t, s, r)
	must(t, s.Close())
	if _, err := os.Stat(path + "-wal"); err == nil {
		t.Error("the log was not folded into the file at the end")
	}
	s = openPath(t, path, testConfig(c))
	got, err := s.GetRefreshTokenSession(t.Context(), r.ID+"refresh", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.GetSession().GetSubject() != "alice" {
		t.Errorf("got subject %q, want alice", got.GetSession().GetSubject())
	}
}

// What was acknowledged is there when the process dies without closing: here,
// in a copy of the files made while they are open.
func TestCrash(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	path := filepath.Join(dir, "auth.db")
	s := openPath(t, path, testConfig(c))
	r := newRequest(s, addClient(t, s))
	issue(t, s, r)
	for _, suffix := range []string{"", "-wal"} {
		copyFile(t, path+suffix, filepath.Join(dir, "copy.db"+suffix))
	}
	s = openPath(t, filepath.Join(dir, "copy.db"), testConfig(c))
	if _, err := s.GetAccessTokenSession(t.Context(), r.ID+"access", nil); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	must(t, err)
	defer in.Close()
	out, err := os.Create(to)
	must(t, err)
	_, err = io.Copy(out, in)
	must(t, errors.Join(err, out.Close()))
}

func TestClosedStoreIsUnavailable(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			s := openTest(t, kind, testConfig(c))
			k := addClient(t, s)
			must(t, s.Ping(t.Context()))
			must(t, s.Close())
			must(t, s.Close())
			_, getErr := s.GetClient(t.Context(), k.GetID())
			for what, err := range map[string]error{
				"ping":  s.Ping(t.Context()),
				"read":  getErr,
				"write": s.SetClientAssertionJWT(t.Context(), "jti", c.now().Add(time.Minute)),
			} {
				if !errors.Is(err, oauthreg.ErrUnavailable) {
					t.Errorf("%s: got %v, want ErrUnavailable", what, err)
				}
			}
		})
	}
}

func TestEndedContext(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		k := addClient(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.GetClient(ctx, k.GetID()); !errors.Is(err, context.Canceled) {
			t.Errorf("read: got %v, want context.Canceled", err)
		}
		if err := s.SetClientAssertionJWT(ctx, "jti", c.now().Add(time.Minute)); !errors.Is(err, context.Canceled) {
			t.Errorf("write: got %v, want context.Canceled", err)
		}
		if err := s.ClientAssertionJWTValid(t.Context(), "jti"); err != nil {
			t.Errorf("the write was made: %v", err)
		}
	})
}

// Two names of the same thing side by side in one database.
func TestTablePrefix(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "auth.db")
	a := openPath(t, path, testConfig(c))
	cfg := testConfig(c)
	cfg.TablePrefix = "x_"
	b := openPath(t, path, cfg)
	ka, kb := addClient(t, a), addClient(t, b)
	issue(t, b, newRequest(b, kb))
	if _, err := a.GetClient(t.Context(), kb.GetID()); !errors.Is(err, fosite.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if _, err := b.GetClient(t.Context(), ka.GetID()); !errors.Is(err, fosite.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	if _, err := b.Sweep(t.Context(), 0); err != nil {
		t.Error(err)
	}
}

// The texts of statements that are remembered have a bound: those of listings vary.
func TestRewrittenStatementsAreBounded(t *testing.T) {
	sql := &statements{d: dialects["postgres"], prefix: defaultPrefix}
	for i := range 3 * maxTexts {
		if got, want := sql.of(fmt.Sprintf("SELECT ? LIMIT %d", i)), fmt.Sprintf("SELECT $1 LIMIT %d", i); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	}
	n := 0
	sql.done.Range(func(any, any) bool { n++; return true })
	if n == 0 || n > maxTexts {
		t.Errorf("%d texts are remembered, want at most %d", n, maxTexts)
	}
}
