package storage

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"time"
)

const (
	// deadFor is how long a grant that was revoked or has ended is kept, with all
	// beneath it.
	deadFor = 24 * time.Hour
	// endedFor is how long other rows are kept after their end. For a node whose
	// clock is behind they have not ended yet: it would take what was used up, an
	// assertion's id for example, for something new.
	endedFor = 5 * time.Minute
	// permissionFor is how long an initial access token is kept after its end, so
	// that a listing tells what it was.
	permissionFor = 30 * 24 * time.Hour
)

// chore is one kind of row that goes by itself, some time after its end.
type chore struct {
	table, key string
	kept       time.Duration
}

var chores = []chore{
	{"assertions", "jti", endedFor},
	{"interactions", "handle", endedFor},
	{"login_sessions", "handle", endedFor},
	{"session_members", "session_id", endedFor},
	{"logout_outbox", "id", endedFor},
	{"access_tokens", "signature", endedFor},
	{"initial_access_tokens", "id", permissionFor},
}

// Sweep deletes what has ended: rows whose end came five minutes ago, and initial
// access tokens whose end came 30 days ago; and grants that were revoked or have
// ended more than 24 hours ago, with every code and refresh token beneath them,
// which stay until then, used or not, so that replays are recognized. Nothing that
// still opens a door is touched, and never a client, a consent, a signing key or an
// audit record.
//
// At most batch rows (1 to 10000; zero means 500) of each table are deleted, in a
// transaction or two for each, so that nobody waits for long; call it again while a
// count is as large as batch. A grant goes when nothing is left beneath it. Sweep
// returns how many rows went from each table, by the table's name without prefix.
// Any number of processes may sweep at once.
func (s *Store) Sweep(ctx context.Context, batch int) (map[string]int64, error) {
	gone, err := s.sweep(ctx, batch)
	s.sql.telemetry.swept(ctx, gone)
	return gone, err
}

func (s *Store) sweep(ctx context.Context, batch int) (map[string]int64, error) {
	const doing = "sweep"
	if batch == 0 {
		batch = 500
	}
	if batch < 1 || batch > 10000 {
		return nil, explain(doing, errors.New("the batch is not between 1 and 10000"))
	}
	gone := make(map[string]int64)
	now := s.now()
	for _, ch := range chores {
		table, before := "oauthreg_"+ch.table, micros(now.Add(-ch.kept))
		// Two steps, because not every database deletes with a limit. The end is looked
		// at again when the row is deleted.
		keys, err := s.keysOf(ctx, "SELECT "+ch.key+" FROM "+table+" WHERE expires_at <= ? LIMIT ?", []any{before, batch})
		if err != nil {
			return gone, explain(doing, err)
		}
		n, err := s.deleteRows(ctx, table, ch.key, keys, " AND expires_at <= ?", before)
		gone[ch.table] += n
		if err != nil {
			return gone, explain(doing, err)
		}
	}
	return gone, explain(doing, s.sweepGrants(ctx, batch, gone))
}

// sweepGrants deletes what is beneath dead grants, as much of it as a call of Sweep
// may delete that has deleted gone already, and the grants beneath which nothing is
// left.
func (s *Store) sweepGrants(ctx context.Context, batch int, gone map[string]int64) error {
	const (
		dead    = " AND (expires_at <= ? OR revoked_at <= ?)"
		expired = "SELECT id FROM oauthreg_grants WHERE expires_at <= ? LIMIT ?"
		revoked = "SELECT id FROM oauthreg_grants WHERE revoked_at <= ? LIMIT ?"
	)
	before := micros(s.now().Add(-deadFor))
	left := batch
	for _, query := range []string{expired, revoked} {
		ids, err := s.keysOf(ctx, query, []any{before, left})
		if err != nil {
			return err
		}
		left -= len(ids)
		for some := range lists(ids) {
			empty := true
			for _, table := range beneath {
				all, err := s.sweepBeneath(ctx, table.name, table.those, some, batch, gone)
				if err != nil {
					return err
				}
				empty = empty && all
			}
			if !empty { // the rest is for the next call
				return nil
			}
			n, err := s.deleteRows(ctx, "oauthreg_grants", "id", some, dead, before, before)
			gone["grants"] += n
			if err != nil {
				return err
			}
		}
		if left == 0 {
			break
		}
	}
	return nil
}

// beneath are the tables of what goes with its grant: of access tokens, those that
// do not go by themselves.
var beneath = []struct{ name, those string }{
	{"authorize_codes", ""},
	{"access_tokens", "expires_at = " + strconv.Itoa(never) + " AND "},
	{"refresh_tokens", ""},
}

// sweepBeneath deletes those rows of a table beneath grants, no more than batch with
// those that are gone, and reports whether these were all.
func (s *Store) sweepBeneath(ctx context.Context, table, those string, grants []any, batch int, gone map[string]int64) (all bool, err error) {
	left := batch - int(gone[table])
	if left <= 0 {
		return false, nil
	}
	keys, err := s.keysOf(ctx, "SELECT signature FROM oauthreg_"+table+" WHERE "+those+"grant_id IN ("+marks(len(grants))+") LIMIT ?", append(slices.Clone(grants), left))
	if err != nil {
		return false, err
	}
	n, err := s.deleteRows(ctx, "oauthreg_"+table, "signature", keys, "")
	gone[table] += n
	return len(keys) < left, err
}

// keysOf are the keys that a query finds.
func (s *Store) keysOf(ctx context.Context, query string, args []any) ([]any, error) {
	var keys []any
	err := s.db.read(ctx, func(ctx context.Context, c conn) error {
		keys = nil
		return c.each(ctx, query, args, func(scan func(...any) error) error {
			var key any
			err := scan(&key)
			keys = append(keys, key)
			return err
		})
	})
	return keys, err
}

// aTime finds the columns of a condition on times.
var aTime = regexp.MustCompile(`[a-z_]+_at`)

// deleteRows deletes the rows with those keys that still fulfil the condition. No
// database may look rows up by an index of the condition's columns, which a million
// others can fulfil: a sum has no index.
func (s *Store) deleteRows(ctx context.Context, table, key string, keys []any, condition string, more ...any) (int64, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	condition = aTime.ReplaceAllString(condition, "($0 + 0)")
	var total int64
	err := s.db.write(ctx, func(ctx context.Context, c conn) error {
		total = 0
		for some := range lists(keys) {
			n, err := c.exec(ctx, "DELETE FROM "+table+" WHERE "+key+" IN ("+marks(len(some))+")"+condition, append(slices.Clone(some), more...)...)
			if err != nil {
				return err
			}
			total += n
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return total, nil
}

// janitorBatch is how many rows of a kind RunJanitor deletes in one transaction.
const janitorBatch = 200

// RunJanitor sweeps now and then every interval, each time until nothing is
// left, until ctx ends; then it returns nil. After each sweep it notes which parts
// the names of clients have, so that a search for a part of a name need not look
// at every client; without a janitor it does. RunJanitor blocks: the caller decides
// where it runs, and knows when it has stopped. What failed is logged and tried
// again at the next interval. A nil log is silent.
//
// Every process on a database may run one: of all of them one sweeps at a time,
// and the others leave it to that one. Should it die, another takes over within
// [janitorLease]. Between batches it rests four times as long as the last one took,
// and at least 20 milliseconds.
func (s *Store) RunJanitor(ctx context.Context, every time.Duration, log *slog.Logger) error {
	if every <= 0 {
		return errors.New("storage: RunJanitor: the interval is not positive")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		s.sweepAll(ctx, log)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// sweepAll sweeps, and makes blocks of names, until nothing is left, unless
// another process does.
func (s *Store) sweepAll(ctx context.Context, log *slog.Logger) {
	failed := func(err error) {
		if err != nil && ctx.Err() == nil {
			log.LogAttrs(ctx, slog.LevelError, "sweep failed", slog.Any("err", err))
		}
	}
	lease, err := s.claimJanitor(ctx, 0)
	if err != nil || lease == 0 {
		failed(err)
		return
	}
	defer func() { failed(s.releaseJanitor(ctx, lease)) }()

	total := make(map[string]int64)
	defer func() { logSwept(ctx, log, total) }()
	sweep := func(ctx context.Context) (more bool, err error) {
		gone, err := s.Sweep(ctx, janitorBatch)
		for table, n := range gone {
			total[table] += n
			more = more || n >= janitorBatch
		}
		return more, err
	}
	for work := []func(context.Context) (bool, error){sweep, s.makeNameBlocks}; len(work) > 0 && ctx.Err() == nil; {
		began := time.Now()
		more, err := work[0](ctx)
		if err != nil {
			failed(err)
			return
		}
		if !more {
			work = work[1:]
			continue
		}
		if took := time.Since(began); took > 0 {
			select {
			case <-time.After(min(max(20*time.Millisecond, 4*took), time.Second)):
			case <-ctx.Done():
				return
			}
		}
		if lease-micros(s.now()) < (janitorLease / 2).Microseconds() {
			next, err := s.claimJanitor(ctx, lease)
			if err != nil || next == 0 { // too slow: another process has taken over
				failed(err)
				return
			}
			lease = next
		}
	}
}

// janitorLease is for how long a process that sweeps keeps others from it. It is
// prolonged while the sweep goes on.
const janitorLease = time.Minute

// janitorRow is the name of the row in oauthreg_counters whose number is the end
// of the lease, to which chance is added, so that no two leases are the same.
const janitorRow = "janitor"

// claimJanitor takes the lease, or prolongs one that is held, and returns it; zero
// when another process has it.
func (s *Store) claimJanitor(ctx context.Context, held int64) (lease int64, err error) {
	err = s.write(ctx, "claim the janitor's lease", func(ctx context.Context, c conn) error {
		now := s.now()
		lease = micros(now.Add(janitorLease + rand.N(time.Second)))
		condition, arg := "n <= ?", micros(now)
		if held != 0 {
			condition, arg = "n = ?", held
		}
		for range 2 {
			n, err := c.exec(ctx, "UPDATE oauthreg_counters SET n = ? WHERE name = ? AND "+condition, lease, janitorRow, arg)
			if err != nil || n > 0 {
				return err
			}
			// Taken, unless nobody ever had it.
			if n, err = c.exec(ctx, "INSERT INTO oauthreg_counters (name, n) VALUES (?, 0) ON CONFLICT DO NOTHING", janitorRow); err != nil {
				return err
			} else if n == 0 {
				break
			}
		}
		lease = 0
		return nil
	})
	if err != nil {
		return 0, err
	}
	return lease, nil
}

// releaseJanitor gives the lease back, also when ctx has ended.
func (s *Store) releaseJanitor(ctx context.Context, lease int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	return s.write(ctx, "release the janitor's lease", func(ctx context.Context, c conn) error {
		_, err := c.exec(ctx, "UPDATE oauthreg_counters SET n = 0 WHERE name = ? AND n = ?", janitorRow, lease)
		return err
	})
}

func logSwept(ctx context.Context, log *slog.Logger, total map[string]int64) {
	var attrs []slog.Attr
	for _, table := range slices.Sorted(maps.Keys(total)) {
		if total[table] > 0 {
			attrs = append(attrs, slog.Int64(table, total[table]))
		}
	}
	if len(attrs) > 0 {
		log.LogAttrs(ctx, slog.LevelInfo, "swept", attrs...)
	}
}
