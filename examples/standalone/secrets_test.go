package main

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

func TestMasterKeyStays(t *testing.T) {
	db := filepath.Join(t.TempDir(), "test.db")
	first, made, err := openMasterKey(db, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(first) != masterKeySize || bytes.Equal(first, make([]byte, masterKeySize)) {
		t.Fatalf("got a key of %d bytes: %x", len(first), first)
	}
	if st, err := os.Stat(db + ".key"); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v, want mode 0600", st, err)
	}
	again, madeAgain, err := openMasterKey(db, "")
	if !made || madeAgain {
		t.Errorf("the key was made: %v, again: %v", made, madeAgain)
	}
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("the second start has another key: %v", err)
	}
	left, err := filepath.Glob(db + ".key*")
	if err != nil || len(left) != 1 {
		t.Errorf("files left: %v, %v", left, err)
	}
}

// Of processes that start at once on a new database, all get the same key.
func TestMasterKeyRace(t *testing.T) {
	db := filepath.Join(t.TempDir(), "test.db")
	keys := make([]masterKey, 16)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			var err error
			if keys[i], _, err = openMasterKey(db, ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range keys {
		if !bytes.Equal(keys[i], keys[0]) {
			t.Fatalf("key %d differs from key 0", i)
		}
	}
}

func TestMasterKeyErrors(t *testing.T) {
	good := base64.StdEncoding.EncodeToString(make([]byte, masterKeySize)) + "\n"
	tests := []struct {
		name  string
		setUp func(t *testing.T, db string)
		want  string
	}{
		{"readable by others", func(t *testing.T, db string) { write(t, db+".key", good, 0o644) }, "can be read by others (mode 0644): make it 0600"},
		{"empty", func(t *testing.T, db string) { write(t, db+".key", "", 0o600) }, "is not a key file"},
		{"not base64", func(t *testing.T, db string) { write(t, db+".key", strings.Repeat("!", 44), 0o600) }, "is not a key file"},
		{"too short", func(t *testing.T, db string) { write(t, db+".key", good[:40], 0o600) }, "is not a key file"},
		{"something large", func(t *testing.T, db string) { write(t, db+".key", strings.Repeat(good, 100), 0o600) }, "is not a key file"},
		{"a folder", func(t *testing.T, db string) {
			if err := os.Mkdir(db+".key", 0o700); err != nil {
				t.Fatal(err)
			}
		}, "is not a regular file"},
		{"database without key", func(t *testing.T, db string) { write(t, db, "SQLite format 3\x00", 0o600) }, "exists but its key"},
		{"no such folder", func(t *testing.T, db string) {
			if err := os.Remove(filepath.Dir(db)); err != nil {
				t.Fatal(err)
			}
		}, "no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			db := filepath.Join(t.TempDir(), "sub", "test.db")
			if err := os.Mkdir(filepath.Dir(db), 0o700); err != nil {
				t.Fatal(err)
			}
			tt.setUp(t, db)
			_, _, err := openMasterKey(db, "")
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), db) {
				t.Errorf("got %v, want %q with the file's name", err, tt.want)
			}
		})
	}
}

func write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

func TestDerivedSecretsDiffer(t *testing.T) {
	m := newMasterKey()
	seen := map[string]string{}
	for _, label := range []string{"storage encryption", "registry", "handlers", "admin key", "demo client secret", "demo user password"} {
		k := string(m.derive(label))
		if other, taken := seen[k]; taken || len(k) < 32 {
			t.Errorf("%s: %d bytes, same as %q", label, len(k), other)
		}
		seen[k] = label
	}
	if m.text("x", 43) == newMasterKey().text("x", 43) {
		t.Error("two master keys give the same secret")
	}
}
