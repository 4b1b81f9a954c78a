package handlers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

const (
	logoutEvent      = "http://schemas.openid.net/event/backchannel-logout"
	logoutTokenType  = "logout+jwt" // OpenID Connect Back-Channel Logout §2.4
	logoutTokenLife  = 2 * time.Minute
	logoutBatch      = 64
	logoutsAtOnce    = 8
	logoutLease      = 2 * time.Minute // longer than a batch takes
	logoutFirstRetry = 15 * time.Second
	logoutLastRetry  = time.Hour
	logoutGiveUp     = 24 * time.Hour
)

// notices wakes the loop that delivers logout notices.
type notices struct {
	once sync.Once
	due  chan struct{}
}

func (n *notices) channel() chan struct{} {
	n.once.Do(func() { n.due = make(chan struct{}, 1) })
	return n.due
}

func (n *notices) wake() {
	select {
	case n.channel() <- struct{}{}:
	default: // it is awake already
	}
}

// RunLogouts delivers logout notices as they come, and those that are due again
// every interval, until ctx ends; then it returns nil. It blocks: the host decides
// where it runs. What fails is logged and tried again. Any number of processes may
// run it at once.
func (s *Server) RunLogouts(ctx context.Context, every time.Duration) error {
	if every <= 0 {
		return errors.New("handlers: RunLogouts: the interval is not positive")
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if _, err := s.DeliverLogouts(ctx); err != nil && ctx.Err() == nil {
			s.log.ErrorContext(ctx, "deliver logouts", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-s.notices.channel():
		}
	}
}

// DeliverLogouts tells every client that has to be told now of the end of a
// session (OpenID Connect Back-Channel Logout §2.5), and returns how many it told.
// A client that cannot be reached is tried again, at longer and longer intervals,
// for a day; the notices are in the store, so a restart loses none. Hosts call
// [Server.RunLogouts] instead, unless they have a scheduler of their own.
func (s *Server) DeliverLogouts(ctx context.Context) (told int, err error) {
	for ctx.Err() == nil {
		now := s.now()
		batch, err := s.store.ClaimLogouts(ctx, now, now.Add(logoutLease), logoutBatch)
		if err != nil || len(batch) == 0 {
			return told, err
		}
		var mu sync.Mutex
		var errs []error
		var wg sync.WaitGroup
		slots := make(chan struct{}, logoutsAtOnce)
		for _, n := range batch {
			slots <- struct{}{}
			wg.Go(func() {
				defer func() { <-slots }()
				ok, err := s.deliverLogout(ctx, n)
				mu.Lock()
				defer mu.Unlock()
				if ok {
					told++
				}
				errs = append(errs, err)
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return told, err
		}
	}
	return told, ctx.Err()
}

// deliverLogout tells one client and settles the notice. An error is one of the
// store: what goes wrong with the client is a reason to try again.
func (s *Server) deliverLogout(ctx context.Context, n oauthreg.LogoutNotice) (told bool, err error) {
	c, err := s.reg.Get(ctx, oauthreg.ByID(n.ClientID))
	switch {
	case errors.Is(err, oauthreg.ErrNotFound), err == nil && (c.Suspended() || c.BackchannelLogoutURI == ""):
		return false, s.store.LogoutDelivered(ctx, n) // there is nobody to tell
	case err != nil:
		return false, err
	}
	final, failure := s.postLogoutToken(ctx, &c, n)
	if failure == nil {
		return true, s.store.LogoutDelivered(ctx, n)
	}
	if ctx.Err() != nil {
		return false, nil // the lease ends by itself
	}
	now := s.now()
	log := s.log.With("client_id", c.ClientID, "attempts", n.Attempts+1, "err", failure)
	if final || now.Sub(n.EndedAt) >= logoutGiveUp {
		log.WarnContext(ctx, "logout notice given up")
		return false, s.store.LogoutDelivered(ctx, n)
	}
	log.InfoContext(ctx, "logout notice failed")
	pause := logoutLastRetry
	if n.Attempts < 8 {
		pause = min(logoutFirstRetry<<n.Attempts, logoutLastRetry)
	}
	return false, s.store.LogoutFailed(ctx, n, now.Add(pause))
}

// postLogoutToken sends a logout token. final says that the client has understood
// and refused it, so that sending it again is of no use (§2.8).
func (s *Server) postLogoutToken(ctx context.Context, c *oauthreg.Client, n oauthreg.LogoutNotice) (final bool, err error) {
	now := s.now()
	token, err := s.keys.Sign(ctx, idTokenAlg(c), logoutTokenType, map[string]any{
		"iss": s.cfg.Issuer, "aud": c.ClientID, "sub": n.ClientSubject, "sid": n.SessionID,
		"iat": now.Unix(), "exp": wholeSecond(now.Add(logoutTokenLife)).Unix(), "jti": n.ID,
		"events": map[string]any{logoutEvent: struct{}{}},
	})
	if err != nil {
		return false, err
	}
	client := *s.outbound
	client.CheckRedirect = followNone
	if client.Timeout <= 0 {
		client.Timeout = defaultOutboundTimeout
	}
	body := url.Values{"logout_token": {token}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.BackchannelLogoutURI, strings.NewReader(body))
	if err != nil {
		return true, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", "oauthreg")
	resp, err := client.Do(req)
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // what it says does not matter
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNoContent {
		return false, nil
	}
	return resp.StatusCode == http.StatusBadRequest, fmt.Errorf("%s answers %d", c.BackchannelLogoutURI, resp.StatusCode)
}
