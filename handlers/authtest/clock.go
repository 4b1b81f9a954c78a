package authtest

import (
	"sync"
	"time"
)

// clock is the server's. The zero value runs with the machine's.
type clock struct {
	mu    sync.Mutex
	fixed time.Time // when set, it stands there
	off   time.Duration
}

// Now is the time at the server.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.fixed.IsZero() {
		return c.fixed.Add(c.off)
	}
	return time.Now().Add(c.off)
}

// Now is the time at the server. Hand it, as a function, to a resource server
// that is to live in the same time: JWTConfig and IntrospectionConfig do.
func (s *Server) Now() time.Time { return s.clock.Now() }

// Advance moves the server's clock by d: forward, so that what was issued
// expires, or back, to issue what is expired already for a resource server that
// has the machine's clock:
//
//	srv.Advance(-24 * time.Hour)
//	expired := srv.Mint(authtest.Grant{Client: authtest.App})
//	srv.Advance(24 * time.Hour)
func (s *Server) Advance(d time.Duration) {
	s.clock.mu.Lock()
	defer s.clock.mu.Unlock()
	s.clock.off += d
}
