package storage

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
)

// A copy that is made while others write has everything from before it, whole
// transactions only, and works.
func TestBackup(t *testing.T) {
	c := newClock()
	s := openTest(t, "file", testConfig(c))
	k := addClient(t, s)
	r := newRequest(s, k)
	issue(t, s, r)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				r := newRequest(s, k)
				tx, err := s.BeginTX(t.Context())
				must(t, err)
				must(t, s.CreateAuthorizeCodeSession(tx, r.ID+"code", r))
				must(t, s.CreateAccessTokenSession(tx, r.ID+"access", r))
				must(t, s.Commit(tx))
			}
		})
	}
	path := filepath.Join(t.TempDir(), "a file?name=%41'.db")
	for count(t, s, "grants") < 50 {
		runtime.Gosched()
	}
	must(t, s.Backup(ctx, path))
	before := count(t, s, "grants")
	stop()
	wg.Wait()
	if st, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
		t.Errorf("got %v, %v, want mode 0600", st, err)
	}
	wantErr(t, s.Backup(t.Context(), path), fs.ErrExist)
	must(t, s.Close())

	b := openPath(t, path, testConfig(c))
	_, err := b.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	must(t, err)
	if n := count(t, b, "grants"); n < 50 || n > before || count(t, b, "access_tokens") != n || count(t, b, "authorize_codes") != n {
		t.Errorf("got %d grants of %d, %d access tokens, %d codes", n, before, count(t, b, "access_tokens"), count(t, b, "authorize_codes"))
	}
	must(t, b.RotateRefreshToken(t.Context(), r.ID, r.ID+"refresh"))
}

func TestBackupErrors(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, "file", testConfig(newClock()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for what, err := range map[string]error{
		"no such folder": s.Backup(t.Context(), filepath.Join(dir, "no", "such.db")),
		"a server":       s.Backup(t.Context(), "postgres://u:p@h/d"),
		"empty":          s.Backup(t.Context(), ""),
		"ended":          s.Backup(ctx, filepath.Join(dir, "ended.db")),
		"in memory":      openTest(t, "memory", testConfig(newClock())).Backup(t.Context(), filepath.Join(dir, "memory.db")),
	} {
		if err == nil {
			t.Errorf("%s: got no error", what)
		}
	}
	left, err := os.ReadDir(dir)
	must(t, err)
	if len(left) != 0 {
		t.Errorf("files are left: %v", left)
	}
}

func TestSyncFolder(t *testing.T) {
	must(t, syncFolder(t.TempDir()))
	if runtime.GOOS != "windows" {
		wantErr(t, syncFolder(filepath.Join(t.TempDir(), "none")), fs.ErrNotExist)
	}
}
