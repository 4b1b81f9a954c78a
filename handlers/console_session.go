package handlers

import (
	"crypto/sha256"
	"sync"
	"time"
)

// consoleSession is somebody who signed in to the console. id is what forms are
// bound to; it is not the handle in the cookie.
type consoleSession struct {
	id            string
	created, seen time.Time

	mu sync.Mutex
	// spent are the tokens of forms that made a secret: sending one again must
	// neither make nor show another.
	spent map[string]bool
}

const (
	maxConsoleSessions = 1000
	maxSpent           = 1000 // secrets that one session may make
)

// spend takes a token; false when it was taken before.
func (s *consoleSession) spend(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.spent[token] || len(s.spent) >= maxSpent {
		return false
	}
	if s.spent == nil {
		s.spent = map[string]bool{}
	}
	s.spent[token] = true
	return true
}

// giveBack undoes spend: nothing was made.
func (s *consoleSession) giveBack(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.spent, token)
}

// consoleSessions keeps sessions in memory, by the digest of their handle. It is
// safe for concurrent use.
type consoleSessions struct {
	now            func() time.Time
	idle, absolute time.Duration

	mu   sync.Mutex
	live map[[sha256.Size]byte]*consoleSession
}

func newConsoleSessions(now func() time.Time, idle, absolute time.Duration) *consoleSessions {
	return &consoleSessions{now: now, idle: idle, absolute: absolute, live: map[[sha256.Size]byte]*consoleSession{}}
}

// start makes a session and returns its handle. When there are too many, the one
// that was not seen for the longest time ends.
func (c *consoleSessions) start() string {
	handle, now := randomValue(), c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	var oldest [sha256.Size]byte
	for digest, s := range c.live {
		if c.over(s, now) {
			delete(c.live, digest)
			continue
		}
		if known := c.live[oldest]; known == nil || s.seen.Before(known.seen) {
			oldest = digest
		}
	}
	if len(c.live) >= maxConsoleSessions {
		delete(c.live, oldest)
	}
	c.live[sha256.Sum256([]byte(handle))] = &consoleSession{id: randomValue(), created: now, seen: now}
	return handle
}

// find returns the session of handle, which was seen now; nil when there is none.
func (c *consoleSessions) find(handle string) *consoleSession {
	if handle == "" || len(handle) > maxSessionCookie {
		return nil
	}
	digest, now := sha256.Sum256([]byte(handle)), c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.live[digest]
	if s == nil {
		return nil
	}
	if c.over(s, now) {
		delete(c.live, digest)
		return nil
	}
	s.seen = now
	return s
}

func (c *consoleSessions) over(s *consoleSession, now time.Time) bool {
	return now.Sub(s.seen) >= c.idle || now.Sub(s.created) >= c.absolute
}

// end ends the session of handle, if there is one.
func (c *consoleSessions) end(handle string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.live, sha256.Sum256([]byte(handle)))
}
