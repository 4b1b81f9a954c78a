package storage

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// clientCounts remembers how many clients a listing has on all its pages: to
// count them takes a look at every one. A number holds as long as nobody adds,
// changes or deletes a client. What this Store does it knows; others it notices
// by the count of changes and by the newest client. One that is added elsewhere
// and is not the newest when it is committed, because of its clock or because its
// transaction took longer, shows in the number after [maxCountAge].
type clientCounts struct {
	added atomic.Int64 // clients by this Store

	mu     sync.Mutex
	totals map[string]clientCount // by the query
}

type clientCount struct {
	total int
	state clientState
	at    time.Time
}

// clientState is what changes with the set of clients.
type clientState struct {
	added, changes, newest int64
	newestID               string
}

const (
	maxCountAge = 10 * time.Second
	maxCounts   = 256
)

// countClients counts what query finds, now or as it is remembered.
func (s *Store) countClients(ctx context.Context, c conn, query string, args []any) (total int, now bool, err error) {
	if s.records == nil {
		_, err := c.one(ctx, query, args, &total)
		return total, true, err
	}
	k := s.counts
	// The state before the count: what changes meanwhile makes it worthless.
	state := clientState{added: k.added.Load()}
	if _, err := c.one(ctx, "SELECT n FROM oauthreg_counters WHERE name = ?", []any{clientChanges}, &state.changes); err != nil {
		return 0, false, err
	}
	if _, err := c.one(ctx, "SELECT created_at, id FROM oauthreg_clients ORDER BY created_at DESC, id DESC LIMIT 1", nil, &state.newest, &state.newestID); err != nil {
		return 0, false, err
	}
	key := query + "\x00" + fmt.Sprintf("%q", args)
	k.mu.Lock()
	have, ok := k.totals[key]
	k.mu.Unlock()
	if ok && have.state == state && time.Since(have.at) < maxCountAge {
		return have.total, false, nil
	}
	at := time.Now()
	if _, err := c.one(ctx, query, args, &total); err != nil {
		return 0, false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.totals == nil || len(k.totals) >= maxCounts {
		k.totals = make(map[string]clientCount)
	}
	k.totals[key] = clientCount{total, state, at}
	return total, true, nil
}
