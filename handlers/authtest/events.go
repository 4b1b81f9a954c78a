package authtest

import (
	"context"
	"slices"
	"sync"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// eventLog keeps what happened, in order.
type eventLog struct {
	mu   sync.Mutex
	seen []oauthreg.Event
}

func (l *eventLog) hear(_ context.Context, e oauthreg.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, e)
}

// Events returns what happened at the server, oldest first: every event of those
// types, or all of them when none is named. An event that a request led to is
// there before the request is answered. The clients that the server began with
// are not in it.
func (s *Server) Events(types ...oauthreg.EventType) []oauthreg.Event {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	var out []oauthreg.Event
	for _, e := range s.events.seen {
		if len(types) == 0 || slices.Contains(types, e.Type) {
			out = append(out, e)
		}
	}
	return out
}
