package handlers

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// setClock is a clock that tests move.
type setClock struct{ nanos atomic.Int64 }

func newSetClock() *setClock {
	c := new(setClock)
	c.nanos.Store(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC).UnixNano())
	return c
}

func (c *setClock) now() time.Time      { return time.Unix(0, c.nanos.Load()).UTC() }
func (c *setClock) add(d time.Duration) { c.nanos.Add(int64(d)) }

// failUntilBlocked fails until it is not allowed to, and returns how often.
func failUntilBlocked(l Limiter, kind LimitKind, key string) int {
	for n := range 20_000 {
		if _, ok := l.Allow(context.Background(), kind, key); !ok {
			return n
		}
		l.Failed(context.Background(), kind, key)
	}
	return -1
}

func TestLimiterRates(t *testing.T) {
	for _, tt := range []struct {
		name      string
		kind      LimitKind
		rates     map[LimitKind]Rate
		burst     int
		retry     time.Duration
		perMinute int
	}{
		{"client authentication", LimitClientAuth, nil, 60, 3 * time.Second, 20},
		{"sign-in", LimitSignIn, nil, 60, 3 * time.Second, 20},
		{"user code", LimitUserCode, nil, 20, 6 * time.Second, 10},
		{"registration", LimitRegistration, nil, 60, time.Second, 60},
		{"set by the host", LimitSignIn, map[LimitKind]Rate{LimitSignIn: {Burst: 5, PerMinute: 1}}, 5, time.Minute, 1},
		{"burst from the rate", LimitSignIn, map[LimitKind]Rate{LimitSignIn: {PerMinute: 2.5}}, 3, 24 * time.Second, 2},
		{"a kind of the host's", "uploads", map[LimitKind]Rate{"uploads": {Burst: 8, PerMinute: 6}}, 8, 10 * time.Second, 6},
		{"another kind set", LimitClientAuth, map[LimitKind]Rate{LimitSignIn: {}}, 60, 3 * time.Second, 20},
		{"slowest", LimitSignIn, map[LimitKind]Rate{LimitSignIn: {Burst: 1, PerMinute: 1e-300}}, 1, 24 * time.Hour, 0},
		{"largest", LimitSignIn, map[LimitKind]Rate{LimitSignIn: {Burst: 1 << 62, PerMinute: 1e-300}}, 10_000, 24 * time.Hour, 0},
		{"switched off", LimitSignIn, map[LimitKind]Rate{LimitSignIn: {}}, -1, 0, 0},
		{"unknown", "nothing", nil, -1, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := t.Context()
			c := newSetClock()
			l := NewLimiter(LimiterConfig{Now: c.now, Rates: tt.rates})
			if got := failUntilBlocked(l, tt.kind, "a"); got != tt.burst {
				t.Fatalf("tries before the limit: got %d, want %d", got, tt.burst)
			}
			if tt.burst < 0 {
				return
			}
			retry, ok := l.Allow(ctx, tt.kind, "a")
			if ok || retry != tt.retry {
				t.Fatalf("at the limit: got %v, %v, want false, %v", ok, retry, tt.retry)
			}
			if _, ok := l.Allow(ctx, tt.kind, "b"); !ok {
				t.Error("another key is blocked")
			}
			early := retry / 100
			c.add(retry - early)
			if after, ok := l.Allow(ctx, tt.kind, "a"); ok || (after-early).Abs() > time.Millisecond {
				t.Errorf("%v early: got %v, %v, want false, %v", early, ok, after, early)
			}
			c.add(early)
			if got := failUntilBlocked(l, tt.kind, "a"); got != 1 {
				t.Errorf("after Retry-After: got %d tries, want 1", got)
			}
			c.add(time.Minute)
			if got := failUntilBlocked(l, tt.kind, "a"); got != tt.perMinute {
				t.Errorf("after a minute: got %d tries, want %d", got, tt.perMinute)
			}
			c.add(time.Duration(tt.burst) * tt.retry)
			if got := failUntilBlocked(l, tt.kind, "a"); got != tt.burst {
				t.Errorf("after a long time: got %d tries, want %d", got, tt.burst)
			}
		})
	}
}

func TestLimiterAllowCountsNothing(t *testing.T) {
	l := NewLimiter(LimiterConfig{Now: newSetClock().now})
	for range 1000 {
		if _, ok := l.Allow(t.Context(), LimitClientAuth, "a"); !ok {
			t.Fatal("blocked without a failure")
		}
	}
	if n := len(l.(*memoryLimiter).kinds[LimitClientAuth].keys); n != 0 {
		t.Errorf("%d keys are remembered, want none", n)
	}
}

func TestLimiterAllocatesNothing(t *testing.T) {
	l := NewLimiter(LimiterConfig{})
	l.Failed(t.Context(), LimitClientAuth, "known")
	ctx := context.Background()
	for _, key := range []string{"unknown", "known", strings.Repeat("long", 1000)} {
		if n := testing.AllocsPerRun(100, func() { l.Allow(ctx, LimitClientAuth, key) }); n != 0 {
			t.Errorf("key of %d bytes: %v allocations, want none", len(key), n)
		}
	}
}

// Tries that all passed Allow before the first Failed are paid for afterwards.
func TestLimiterCountsParallelTries(t *testing.T) {
	c := newSetClock()
	l := NewLimiter(LimiterConfig{Now: c.now, Rates: map[LimitKind]Rate{LimitSignIn: {Burst: 10, PerMinute: 60}}})
	for _, tt := range []struct {
		parallel int
		wait     time.Duration
	}{{10, time.Second}, {15, 6 * time.Second}, {10_000, 9_991 * time.Second}} {
		key := strconv.Itoa(tt.parallel)
		var wg sync.WaitGroup
		for range min(tt.parallel, 100) {
			wg.Go(func() {
				for range tt.parallel / min(tt.parallel, 100) {
					l.Failed(context.Background(), LimitSignIn, key)
				}
			})
		}
		wg.Wait()
		if wait, ok := l.Allow(t.Context(), LimitSignIn, key); ok || wait != tt.wait {
			t.Errorf("%d at once: got %v, %v, want false, %v", tt.parallel, ok, wait, tt.wait)
		}
	}
}

func TestLimiterMemoryIsBounded(t *testing.T) {
	const size = 100
	c := newSetClock()
	l := NewLimiter(LimiterConfig{Now: c.now, MaxKeys: size})
	failUntilBlocked(l, LimitSignIn, "victim")
	for i := range 50 * size {
		l.Failed(t.Context(), LimitSignIn, "attacker "+strconv.Itoa(i))
	}
	b := l.(*memoryLimiter).kinds[LimitSignIn]
	if len(b.keys) != size {
		t.Errorf("%d keys are remembered, want %d", len(b.keys), size)
	}
	if _, ok := l.Allow(t.Context(), LimitSignIn, "victim"); ok {
		t.Error("many keys pushed out a blocked one")
	}
	if _, ok := l.Allow(t.Context(), LimitRegistration, "victim"); !ok {
		t.Error("kinds share keys")
	}
	c.add(time.Hour)
	l.Failed(t.Context(), LimitSignIn, "later")
	if len(b.keys) != 1 {
		t.Errorf("%d keys are remembered after an hour, want 1", len(b.keys))
	}
}

func TestLimiterClockSetBack(t *testing.T) {
	c := newSetClock()
	l := NewLimiter(LimiterConfig{Now: c.now})
	failUntilBlocked(l, LimitSignIn, "a")
	c.add(-24 * time.Hour)
	l.Failed(t.Context(), LimitSignIn, "a")
	if wait, ok := l.Allow(t.Context(), LimitSignIn, "a"); ok || wait > 10*time.Minute {
		t.Errorf("got %v, %v, want blocked for minutes", ok, wait)
	}
}

func TestNoLimits(t *testing.T) {
	if got := failUntilBlocked(NoLimits, LimitSignIn, "a"); got != -1 {
		t.Errorf("blocked after %d tries, want never", got)
	}
}

func BenchmarkLimiterAllow(b *testing.B) {
	l := NewLimiter(LimiterConfig{})
	ctx := context.Background()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			l.Allow(ctx, LimitClientAuth, "client 192.0.2.1")
		}
	})
}
