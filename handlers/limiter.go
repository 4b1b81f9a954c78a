package handlers

import (
	"context"
	"hash/maphash"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// LimitKind names what a [Limiter] counts. Each kind has its own rate and its
// own keys.
type LimitKind string

// The kinds a [Server] counts.
const (
	// LimitClientAuth is failed client authentication, per client and address.
	LimitClientAuth LimitKind = "client_authentication"
	// LimitSignIn is failed passwords at the built-in sign-in, per user name and
	// per address: guessing one password of many users is limited too.
	LimitSignIn LimitKind = "sign_in"
	// LimitUserCode is wrong user codes (RFC 8628 §5.1), per user or address.
	LimitUserCode LimitKind = "user_code"
	// LimitRegistration is every dynamic registration (RFC 7591), per address.
	LimitRegistration LimitKind = "registration"
	// LimitClientDocument is every fetch of a client's metadata document, per
	// host of the document and per address that makes the server fetch it.
	LimitClientDocument LimitKind = "client_document"
)

// Limiter bounds guessing and floods. [NewLimiter] keeps its counts in memory,
// which is per process; a host with many nodes may bring one that shares them.
// Implementations must be safe for concurrent use, and should let a try through
// when they cannot tell: a limiter that is down must not take sign-in with it.
type Limiter interface {
	// Allow reports whether another try may be made now for key and, when it
	// may not, after how long. It counts nothing: a success costs no more than
	// this call. Keys may come from strangers and be long.
	Allow(ctx context.Context, kind LimitKind, key string) (retryAfter time.Duration, ok bool)

	// Failed counts a failed try, or any try where the kind says so. It is
	// called for tries that Allow let through, after them.
	Failed(ctx context.Context, kind LimitKind, key string)
}

// Rate is how many tries a key has: Burst at once, and PerMinute more as time
// passes. The zero value means no limit.
type Rate struct {
	// Burst is at most 10,000. Zero means PerMinute, rounded up.
	Burst int
	// PerMinute is how many tries come back in a minute; the slowest is one a
	// day. Zero or less means that the kind is not limited.
	PerMinute float64
}

// LimiterConfig configures [NewLimiter]. Its zero value has the defaults.
type LimiterConfig struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Rates replace the defaults of the kinds in it; a zero Rate switches its
	// kind off. The defaults are a burst of 60 and then 20 a minute for
	// client_authentication and sign_in, 20 and then 10 for user_code, 60 and
	// then 60 for registration, 60 and then 30 for client_document. Kinds with
	// neither are not limited.
	Rates map[LimitKind]Rate
	// MaxKeys bounds how many keys of each kind are remembered at once. Zero
	// means 100,000, which takes a few megabytes.
	MaxKeys int
}

var defaultRates = map[LimitKind]Rate{
	LimitClientAuth:   {Burst: 60, PerMinute: 20},
	LimitSignIn:       {Burst: 60, PerMinute: 20},
	LimitUserCode:     {Burst: 20, PerMinute: 10},
	LimitRegistration: {Burst: 60, PerMinute: 60},

	LimitClientDocument: {Burst: 60, PerMinute: 30},
}

const (
	defaultMaxKeys = 100_000
	maxBurst       = 10_000
	maxDebt        = 100_000 // tries beyond the burst that are counted
	slowestRefill  = 24 * time.Hour
	limiterSweep   = time.Minute // how often keys that owe nothing are forgotten
	evictionSample = 16
	rounding       = 1e-6 // of a try; tokens are floating point
)

// NewLimiter returns a [Limiter] that counts in memory, by token bucket. It
// keeps no key, only a hash of it, and forgets a key once its bucket is full
// again. When there are too many, those that failed least are forgotten first:
// pushing out a key that is blocked costs about as many failures as blocking
// the others. Tries that run side by side may exceed the burst, and then the
// wait is longer. It starts nothing.
func NewLimiter(cfg LimiterConfig) Limiter {
	l := &memoryLimiter{now: cfg.Now, seed: maphash.MakeSeed(), kinds: make(map[LimitKind]*buckets)}
	if l.now == nil {
		l.now = time.Now
	}
	size := cfg.MaxKeys
	if size <= 0 {
		size = defaultMaxKeys
	}
	for _, rates := range []map[LimitKind]Rate{defaultRates, cfg.Rates} {
		for kind, rate := range rates {
			l.kinds[kind] = newBuckets(rate, size)
		}
	}
	return l
}

// NoLimits is the [Limiter] that limits nothing.
var NoLimits Limiter = noLimits{}

type noLimits struct{}

func (noLimits) Allow(context.Context, LimitKind, string) (time.Duration, bool) { return 0, true }
func (noLimits) Failed(context.Context, LimitKind, string)                      {}

type memoryLimiter struct {
	now   func() time.Time
	seed  maphash.Seed
	kinds map[LimitKind]*buckets // nil values are off; the map never changes
}

// buckets are the token buckets of one kind.
type buckets struct {
	every rate.Limit // tries that come back in a second
	burst int
	max   int

	mu    sync.Mutex
	keys  map[uint64]*rate.Limiter // by hash of the key
	swept time.Time
}

func newBuckets(r Rate, size int) *buckets {
	if !(r.PerMinute > 0) { // NaN is off too
		return nil
	}
	every := max(rate.Limit(r.PerMinute/60), rate.Every(slowestRefill))
	burst := r.Burst
	if burst <= 0 {
		burst = int(math.Ceil(min(r.PerMinute, maxBurst)))
	}
	return &buckets{every: every, burst: min(burst, maxBurst), max: size, keys: make(map[uint64]*rate.Limiter)}
}

// Allow implements [Limiter].
func (l *memoryLimiter) Allow(_ context.Context, kind LimitKind, key string) (time.Duration, bool) {
	b := l.kinds[kind]
	if b == nil {
		return 0, true
	}
	h := maphash.String(l.seed, key)
	b.mu.Lock()
	bucket := b.keys[h]
	b.mu.Unlock()
	if bucket == nil {
		return 0, true
	}
	missing := 1 - bucket.TokensAt(l.now())
	if missing <= rounding {
		return 0, true
	}
	return time.Duration(missing / float64(b.every) * float64(time.Second)).Round(time.Millisecond), false
}

// Failed implements [Limiter].
func (l *memoryLimiter) Failed(_ context.Context, kind LimitKind, key string) {
	b := l.kinds[kind]
	if b == nil {
		return
	}
	h, now := maphash.String(l.seed, key), l.now()
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.swept) >= limiterSweep {
		b.sweep(now)
	}
	bucket := b.keys[h]
	if bucket == nil {
		makeRoom(b.keys, b.max, func(a, b *rate.Limiter) bool { return a.TokensAt(now) > b.TokensAt(now) }) // failed less
		bucket = rate.NewLimiter(b.every, b.burst)
		b.keys[h] = bucket
	}
	// Reserved, not asked for: tries that were let through side by side are all
	// counted, so that many at once are no more in the long run than one by one.
	if bucket.TokensAt(now) > -maxDebt {
		bucket.ReserveN(now, 1)
	}
}

// sweep forgets the keys whose bucket is full: they look like new ones.
func (b *buckets) sweep(now time.Time) {
	b.swept = now
	for h, bucket := range b.keys {
		if bucket.TokensAt(now) >= float64(b.burst)-rounding {
			delete(b.keys, h)
		}
	}
}

// makeRoom gives up an entry of a map that has limit of them: of a few, the worst.
// The order of a map is random enough for the sample.
func makeRoom[K comparable, V any](m map[K]V, limit int, worse func(a, b V) bool) {
	if len(m) < limit {
		return
	}
	var victim K
	var worst V
	seen := 0
	for k, v := range m {
		if seen == 0 || worse(v, worst) {
			victim, worst = k, v
		}
		if seen++; seen == evictionSample {
			break
		}
	}
	delete(m, victim)
}
