package handlers

import (
	"context"
	"sync"
	"time"
)

// How often [Server.Run] looks after what.
const (
	maintainEvery = time.Minute
	noticesEvery  = 15 * time.Second
	reapEvery     = time.Hour
)

// Run does what an authorization server has to do now and then, until ctx ends;
// then it returns nil: it keeps the signing keys on schedule
// ([oauthreg.KeyRing.Maintain]), notes when secrets were used
// ([oauthreg.Registry.FlushSecretUses]), sends logout notices
// ([Server.RunLogouts]) and deletes registrations that nobody uses
// ([Server.ReapRegistrations]). It blocks: the host decides where it runs. What
// fails is logged and tried again. Any number of processes may run it at once.
//
// The store's own housekeeping is the store's: run RunJanitor of package storage
// beside it.
func (s *Server) Run(ctx context.Context) error {
	var notices sync.WaitGroup
	notices.Go(func() {
		_ = s.RunLogouts(ctx, noticesEvery) // fails for a wrong interval alone
	})
	defer notices.Wait()
	tick, reap := time.NewTicker(maintainEvery), time.NewTicker(reapEvery)
	defer tick.Stop()
	defer reap.Stop()
	for {
		s.maintain(ctx)
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			if err := s.reg.FlushSecretUses(last); err != nil {
				s.log.ErrorContext(last, "note secret uses", "err", err)
			}
			return nil
		case <-reap.C:
			if n, err := s.ReapRegistrations(ctx); err != nil && ctx.Err() == nil {
				s.log.ErrorContext(ctx, "reap registrations", "err", err)
			} else if n > 0 {
				s.log.InfoContext(ctx, "reaped unused registrations", "clients", n)
			}
		case <-tick.C:
		}
	}
}

func (s *Server) maintain(ctx context.Context) {
	if err := s.keys.Maintain(ctx); err != nil && ctx.Err() == nil {
		s.log.ErrorContext(ctx, "maintain signing keys", "err", err)
	}
	if err := s.reg.FlushSecretUses(ctx); err != nil && ctx.Err() == nil {
		s.log.ErrorContext(ctx, "note secret uses", "err", err)
	}
}
