package storage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// unit is a unit of work: writes that wait in memory for their commit.
type unit struct {
	mu   sync.Mutex
	ops  []op
	done bool
	// uses are the grants that one of the writes, [Store.UseGrant] or
	// [Store.CreateGrant], leaves locked, alive and with this end: what is issued later
	// in the unit need not look.
	uses []grantUse
	// consents are those that one of the writes saves.
	consents []*savedConsent
}

type grantUse struct {
	grantID string
	expires int64
	at      int // the index of the write
}

// op is a write that waits.
type op struct {
	doing string
	run   func(context.Context, conn) error
	one   *statement // all that run runs; nil when that is something else
}

// failed says of an error what was being done, unless callers branch on it.
func (o *op) failed(err error) error {
	if err == nil || isAnswer(err) {
		return err
	}
	return fmt.Errorf("%s: %w", o.doing, err)
}

// level is one BeginTX of a unit.
type level struct {
	unit  *unit
	mark  int // how many writes there were before it
	outer bool
	done  bool // on unit.mu
}

// levelKey finds the level in a context; each store has its own.
type levelKey struct{ s *Store }

var (
	errNoTransaction   = errors.New("storage: there is no transaction in the context; call BeginTX first")
	errTransactionOver = errors.New("storage: the transaction in the context has ended")
)

// BeginTX begins a transaction and returns the context that carries it. Nothing
// reaches the database yet: writes made with that context are collected and
// return nil, and [Store.Commit] runs all of them in one database transaction.
// So the database is locked for as short as possible, and one flush to disk
// serves the whole request.
//
// Therefore the verdict of a write, for example [fosite.ErrInactiveToken] of a
// rotation that lost a race, is the error of Commit; and reads made with the
// context see what was committed before, not the writes that wait.
//
// These take part: all of fosite's Create, Delete, Invalidate, Rotate, Revoke
// and Set methods, and CreateGrant, UseGrant, SaveConsent, RevokeGrants,
// CreateInteraction, UpdateInteraction, FinishInteraction, CreateLoginSession,
// EndLoginSession, JoinSession and EndSession. Others write at once, on their own.
//
// Transactions nest. Committing an inner one leaves its writes to the outer;
// rolling it back drops its writes alone. The context is bound to this Store
// value, and may be used concurrently.
func (s *Store) BeginTX(ctx context.Context) (context.Context, error) {
	l := &level{unit: new(unit), outer: true}
	if parent, ok := ctx.Value(levelKey{s}).(*level); ok {
		parent.unit.mu.Lock()
		defer parent.unit.mu.Unlock()
		if parent.unit.done || parent.done {
			return ctx, errTransactionOver
		}
		l = &level{unit: parent.unit, mark: len(parent.unit.ops)}
	}
	return context.WithValue(ctx, levelKey{s}, l), nil
}

// Commit runs the writes that wait, in their order and in one transaction, and
// returns after they are durable. The first error undoes all of them and is
// returned. An inner commit does nothing.
func (s *Store) Commit(ctx context.Context) error {
	l, ok := ctx.Value(levelKey{s}).(*level)
	if !ok {
		return errNoTransaction
	}
	u := l.unit
	u.mu.Lock()
	if u.done || l.done {
		u.mu.Unlock()
		return errTransactionOver
	}
	l.done = true
	if !l.outer {
		u.mu.Unlock()
		return nil
	}
	u.done = true
	ops := u.ops
	u.ops = nil
	u.mu.Unlock()

	if len(ops) == 0 {
		return nil
	}
	return s.write(ctx, "commit", func(ctx context.Context, c conn) error {
		for rest := ops; len(rest) > 0; {
			n, err := c.together(ctx, rest)
			if n == 0 && err == nil {
				n, err = 1, rest[0].failed(rest[0].run(ctx, c))
			}
			if err != nil {
				return err
			}
			rest = rest[n:]
		}
		return nil
	})
}

// together sends the statements that ops begin with in one go, where the database
// takes that and there are several, and returns how many those are.
func (c conn) together(ctx context.Context, ops []op) (int, error) {
	to, ok := c.pool.(interface {
		execAll(context.Context, []statement) ([]int64, error)
	})
	if !ok {
		return 0, nil
	}
	var all []statement
	for _, o := range ops {
		if o.one == nil || c.sql.d.foreign(o.one.query, o.one.args) != inNothing {
			break
		}
		all = append(all, statement{query: c.sql.of(o.one.query), args: o.one.args})
	}
	if len(all) < 2 {
		return 0, nil
	}
	affected, err := to.execAll(ctx, all)
	for i, n := range affected {
		// The first that is refused counts: the later ones ran for nothing.
		if verdict := ops[i].one.verdict; verdict != nil {
			if refused := ops[i].failed(verdict(ctx, c, n)); refused != nil && (err == nil || isAnswer(refused)) {
				return 0, refused
			}
		}
	}
	if err != nil { // of the one after those, or once all had run
		return 0, ops[min(len(affected), len(all)-1)].failed(c.sql.d.classify(err))
	}
	return len(all), nil
}

// Rollback drops the writes that wait. After a commit, failed or not, there is
// nothing to drop and nothing happens. The error is nil but when ctx carries no
// transaction.
func (s *Store) Rollback(ctx context.Context) error {
	l, ok := ctx.Value(levelKey{s}).(*level)
	if !ok {
		return errNoTransaction
	}
	u := l.unit
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done || l.done {
		return nil
	}
	l.done = true
	clear(u.ops[l.mark:])
	u.ops = u.ops[:l.mark]
	u.uses = slices.DeleteFunc(u.uses, func(use grantUse) bool { return use.at >= l.mark })
	u.done = l.outer
	return nil
}

// do runs a write at once, or leaves it to the transaction in ctx.
func (s *Store) do(ctx context.Context, doing string, fn func(context.Context, conn) error) error {
	if !s.waits(ctx) {
		return s.write(ctx, doing, fn)
	}
	return s.collect(ctx, op{doing, fn, nil})
}

// doStatement is do for what is a statement, and lets it go to the database together
// with others.
func (s *Store) doStatement(ctx context.Context, doing string, one statement) error {
	if !s.waits(ctx) {
		return s.write(ctx, doing, one.run)
	}
	return s.collect(ctx, op{doing, one.run, &one})
}

// doOne is doStatement for one that may be run again; see [backend].
func (s *Store) doOne(ctx context.Context, doing string, one statement) error {
	if !s.waits(ctx) {
		return s.writeOne(ctx, doing, one.run)
	}
	return s.collect(ctx, op{doing, one.run, &one})
}

// collect leaves a write to the transaction in ctx.
func (s *Store) collect(ctx context.Context, o op) error {
	l := ctx.Value(levelKey{s}).(*level)
	u := l.unit
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.done || l.done {
		return errTransactionOver
	}
	u.ops = append(u.ops, o)
	return nil
}

// usesGrant notes that the write made last leaves a grant with that end.
func (s *Store) usesGrant(ctx context.Context, id string, expires int64) {
	l, ok := ctx.Value(levelKey{s}).(*level)
	if !ok {
		return
	}
	l.unit.mu.Lock()
	defer l.unit.mu.Unlock()
	l.unit.uses = append(l.unit.uses, grantUse{id, expires, len(l.unit.ops) - 1})
}

// lastsUntil reports whether an earlier write of the transaction in ctx leaves
// the grant alive, with that end or a later one: what is issued under it need not
// look at it again.
func (s *Store) lastsUntil(ctx context.Context, id string, expires, now int64) bool {
	l, ok := ctx.Value(levelKey{s}).(*level)
	if !ok {
		return false
	}
	l.unit.mu.Lock()
	defer l.unit.mu.Unlock()
	for _, u := range slices.Backward(l.unit.uses) {
		if u.grantID == id {
			return u.expires >= expires && u.expires > now
		}
	}
	return false
}

// revokesGrants notes that the write made next revokes some grants of which the
// transaction in ctx does not know yet.
func (s *Store) revokesGrants(ctx context.Context) {
	if l, ok := ctx.Value(levelKey{s}).(*level); ok {
		l.unit.mu.Lock()
		defer l.unit.mu.Unlock()
		l.unit.uses = nil
	}
}

// savesConsent notes what the write made last saves, and reports whether that
// waits for a commit.
func (s *Store) savesConsent(ctx context.Context, saved *savedConsent) bool {
	l, ok := ctx.Value(levelKey{s}).(*level)
	if !ok {
		return false
	}
	l.unit.mu.Lock()
	defer l.unit.mu.Unlock()
	l.unit.consents = append(l.unit.consents, saved)
	return true
}

// consentNamed returns what tells, when a later write of the transaction in ctx
// runs, which consent that id is: one that the transaction saves may have been there
// already, with another.
func (s *Store) consentNamed(ctx context.Context, id string) func() string {
	if l, ok := ctx.Value(levelKey{s}).(*level); ok {
		l.unit.mu.Lock()
		defer l.unit.mu.Unlock()
		for _, saved := range l.unit.consents {
			if saved.given == id {
				return func() string { return saved.id }
			}
		}
	}
	return func() string { return id }
}

// waits reports whether a write with this context would wait for a commit.
func (s *Store) waits(ctx context.Context) bool {
	_, ok := ctx.Value(levelKey{s}).(*level)
	return ok
}
