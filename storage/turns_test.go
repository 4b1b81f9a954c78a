package storage

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// No more read at once than have turns; who has waited for long reads beside them.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(1, 1)
		began := time.Now()
		take := func(ctx context.Context, want error, after time.Duration) chan<- struct{} {
			t.Helper()
			give, err := turns.take(ctx)
			if waited := time.Since(began); !errors.Is(err, want) || waited != after {
				t.Fatalf("got %v after %s, want %v after %s", err, waited, want, after)
			}
			began = time.Now()
			return give
		}
		first := take(t.Context(), nil, 0)
		more := take(t.Context(), nil, patience)

		ctx, cancel := context.WithTimeout(t.Context(), patience/2)
		defer cancel()
		take(ctx, context.DeadlineExceeded, patience/2)
		ctx, cancel = context.WithTimeout(t.Context(), 3*patience)
		defer cancel()
		take(ctx, context.DeadlineExceeded, 3*patience)

		// The first turn goes to whoever came first, at once.
		time.AfterFunc(patience/2, func() { first <- struct{}{} })
		first = take(t.Context(), nil, patience/2)
		time.AfterFunc(2*patience, func() { first <- struct{}{} })
		first = take(t.Context(), nil, 2*patience)
		time.AfterFunc(2*patience, func() { more <- struct{}{} })
		more = take(t.Context(), nil, 2*patience)

		// Whoever reads is waited for, and nobody reads after that.
		time.AfterFunc(patience, func() { first <- struct{}{} })
		time.AfterFunc(2*patience, func() { more <- struct{}{} })
		turns.close()
		if waited := time.Since(began); waited != 2*patience {
			t.Errorf("closed after %s", waited)
		}
		began = time.Now()
		take(t.Context(), errClosed, 0)
	})
}
