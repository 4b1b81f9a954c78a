package storage

import (
	"context"
	"time"
)

// turns are of those who read: as many at once as there are processors for, in the
// order in which they came. More would take the processor from one another in the
// middle of what they do, and the last to end would be far behind the others. When one
// has waited for patience all the same, those who read are waiting themselves, for the
// disk, or are at something long; then some more read at once.
type turns struct{ first, more chan struct{} }

// patience is much longer than a lookup takes, and shorter than anybody notices.
const patience = 5 * time.Millisecond

func newTurns(first, more int) turns {
	t := turns{make(chan struct{}, first), make(chan struct{}, more)}
	for range first {
		t.first <- struct{}{}
	}
	for range more {
		t.more <- struct{}{}
	}
	return t
}

// take waits for a turn, which is given back by what it returns. The error is
// [errClosed] after close, or that of ctx.
func (t turns) take(ctx context.Context) (give chan<- struct{}, err error) {
	select {
	case _, open := <-t.first:
		return t.ofFirst(open)
	default:
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	var more chan struct{} // nil, from which nothing comes, until it is late
	for {
		select {
		case _, open := <-t.first:
			return t.ofFirst(open)
		case <-more:
			return more, nil
		case <-late.C:
			more = t.more
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (t turns) ofFirst(open bool) (chan<- struct{}, error) {
	if !open {
		return nil, errClosed
	}
	return t.first, nil
}

// close takes all turns, so that nobody reads and nobody begins to.
func (t turns) close() {
	for range cap(t.first) {
		<-t.first
	}
	for range cap(t.more) {
		<-t.more
	}
	close(t.first)
}
