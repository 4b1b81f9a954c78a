package storage

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func writerOf(s *Store) *writer { return s.db.(*sqliteDB).writer }

func eachSQLite(t *testing.T, run func(t *testing.T, s *Store, c *clock)) {
	for _, kind := range []string{"memory", "file"} {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			run(t, openTest(t, kind, testConfig(c)), c)
		})
	}
}

// hold keeps the writer busy until release is called, so that those who come
// meanwhile end up in one group.
func hold(t *testing.T, s *Store) (release func()) {
	t.Helper()
	started, end := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		err := s.db.write(context.Background(), func(context.Context, conn) error {
			close(started)
			<-end
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-started
	return func() { close(end); wg.Wait() }
}

// queued waits until n functions wait for the writer.
func queued(s *Store, n int) {
	w := writerOf(s)
	for {
		w.mu.Lock()
		have := len(w.queue)
		w.mu.Unlock()
		if have >= n {
			return
		}
		runtime.Gosched()
	}
}

func addCounter(name string) func(context.Context, conn) error {
	return func(ctx context.Context, c conn) error {
		_, err := c.exec(ctx, "INSERT INTO oauthreg_counters (name, n) VALUES (?, 1)", name)
		return err
	}
}

// added counts what addCounter added: the migrations bring two rows.
func added(t *testing.T, s *Store) int { return count(t, s, "counters") - 2 }

func TestGroupCommitConcurrentWriters(t *testing.T) {
	eachSQLite(t, func(t *testing.T, s *Store, _ *clock) {
		const writers, each = 64, 10
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				for j := range each {
					if err := s.db.write(t.Context(), addCounter(fmt.Sprint(i, "-", j))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if got := added(t, s); got != writers*each {
			t.Errorf("got %d rows, want %d", got, writers*each)
		}
	})
}

// In one group each function has its own outcome.
func TestGroupCommitIsolatesFailures(t *testing.T) {
	eachSQLite(t, func(t *testing.T, s *Store, _ *clock) {
		release := hold(t, s)
		boom := errors.New("boom")
		const good = 20
		var wg sync.WaitGroup
		for i := range good {
			wg.Go(func() { must(t, s.db.write(t.Context(), addCounter(fmt.Sprint("good", i)))) })
		}
		wg.Go(func() {
			err := s.db.write(t.Context(), func(ctx context.Context, c conn) error {
				must(t, addCounter("failed")(ctx, c))
				return boom
			})
			if err != boom {
				t.Errorf("got %v, want boom", err)
			}
		})
		wg.Go(func() {
			defer func() {
				if got := recover(); got != "panicked" {
					t.Errorf("got panic %v, want it in the caller's goroutine", got)
				}
			}()
			_ = s.db.write(t.Context(), func(ctx context.Context, c conn) error {
				must(t, addCounter("panicked")(ctx, c))
				panic("panicked")
			})
		})
		wg.Go(func() {
			err := s.db.write(t.Context(), addCounter("signing_keys")) // is there already
			if !errors.Is(err, oauthreg.ErrConflict) {
				t.Errorf("got %v, want ErrConflict", err)
			}
		})
		queued(s, good+3)
		release()
		wg.Wait()
		if got := added(t, s); got != good {
			t.Errorf("got %d rows, want %d", got, good)
		}
		// The store goes on.
		must(t, s.db.write(t.Context(), addCounter("after")))
	})
}

func TestWriterAloneRollsBack(t *testing.T) {
	eachSQLite(t, func(t *testing.T, s *Store, _ *clock) {
		boom := errors.New("boom")
		err := s.db.write(t.Context(), func(ctx context.Context, c conn) error {
			must(t, addCounter("failed")(ctx, c))
			return boom
		})
		if err != boom {
			t.Errorf("got %v, want boom", err)
		}
		if got := added(t, s); got != 0 {
			t.Errorf("got %d rows, want 0", got)
		}
	})
}

// Who stops waiting is told what happened; who has stopped before is not run.
func TestGroupCommitEndedContext(t *testing.T) {
	s := openTest(t, "file", testConfig(newClock()))
	release := hold(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.db.write(ctx, addCounter("cancelled")); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	})
	queued(s, 1)
	cancel()
	release()
	wg.Wait()
	if got := added(t, s); got != 0 {
		t.Errorf("got %d rows, want 0: the function was run", got)
	}

	ctx, cancel = context.WithCancel(t.Context())
	err := s.db.write(ctx, func(ctx context.Context, c conn) error {
		cancel()
		return addCounter("committed")(ctx, c)
	})
	if err != nil {
		t.Errorf("got %v, want the verdict, which is nil", err)
	}
	if got := added(t, s); got != 1 {
		t.Errorf("got %d rows, want 1", got)
	}
}

// A commit that fails fails everyone in the group.
func TestGroupCommitFailedCommit(t *testing.T) {
	s := openTest(t, "file", testConfig(newClock()))
	// A deferred constraint is checked by the commit.
	w := s.db.(*sqliteDB).writer
	for _, statement := range []string{
		"PRAGMA foreign_keys = ON", "CREATE TABLE parents (id INTEGER PRIMARY KEY)",
		"CREATE TABLE children (parent INTEGER REFERENCES parents (id) DEFERRABLE INITIALLY DEFERRED)",
	} {
		_, err := w.conn.ExecContext(t.Context(), statement)
		must(t, err)
	}
	release := hold(t, s)
	var wg sync.WaitGroup
	var failed atomic.Int32
	for i := range 10 {
		wg.Go(func() {
			err := s.db.write(t.Context(), func(ctx context.Context, c conn) error {
				switch i {
				case 5:
					_, err := c.exec(ctx, "INSERT INTO children (parent) VALUES (1)")
					return err
				case 7: // a verdict on what another of the group wrote
					return oauthreg.ErrConflict
				}
				return addCounter(fmt.Sprint(i))(ctx, c)
			})
			if errors.Is(err, oauthreg.ErrUnavailable) {
				failed.Add(1)
			} else {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
		})
	}
	queued(s, 10)
	release()
	wg.Wait()
	if got := added(t, s); got != 0 {
		t.Errorf("got %d rows, want 0", got)
	}
	must(t, s.db.write(t.Context(), addCounter("after")))
}

// Close waits for those who came before it and turns away those who come after.
func TestCloseDrains(t *testing.T) {
	s := openTest(t, "file", testConfig(newClock()))
	release := hold(t, s)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() { must(t, s.db.write(t.Context(), addCounter(fmt.Sprint(i)))) })
	}
	queued(s, 10)
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	w := writerOf(s)
	for done := false; !done; runtime.Gosched() {
		w.mu.Lock()
		done = w.closed
		w.mu.Unlock()
	}
	if err := s.db.write(t.Context(), addCounter("late")); !errors.Is(err, oauthreg.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	release()
	wg.Wait()
	must(t, <-closed)
}

// Who reads a file does not wait for who writes it.
func TestReadersDoNotWait(t *testing.T) {
	s := openTest(t, "file", testConfig(newClock()))
	k := addClient(t, s)
	release := hold(t, s)
	if _, err := s.GetClient(t.Context(), k.GetID()); err != nil {
		t.Error(err)
	}
	release()
}

// Two stores on one file, as two processes have it.
func TestTwoStoresOneFile(t *testing.T) {
	c := newClock()
	path := t.TempDir() + "/auth.db"
	stores := []*Store{openPath(t, path, testConfig(c)), openPath(t, path, testConfig(c))}
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if err := stores[i%2].db.write(t.Context(), addCounter(fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := added(t, stores[0]); got != 40 {
		t.Errorf("got %d rows, want 40", got)
	}
}
