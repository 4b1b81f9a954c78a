package handlers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// reapBatch is how many clients are looked at between two looks at the list.
const reapBatch = 100

// ReapRegistrations deletes the clients that registered themselves without an
// initial access token and show no trace of use since
// [RegistrationConfig.ReapUnused] ago: they were not changed, no secret of
// theirs was used, no consent to them was given or used. A client with a live
// grant is never deleted, nor one that the operator has taken over: made
// first-party, or verified. It returns how many were deleted, also with an error.
//
// It works in small steps and may run in any number of processes; the host calls
// it now and then. Call [oauthreg.Registry.FlushSecretUses] before it.
func (s *Server) ReapRegistrations(ctx context.Context) (int, error) {
	unused := s.cfg.Registration.ReapUnused
	if unused <= 0 {
		return 0, nil
	}
	before := s.now().UTC().Add(-unused).Truncate(time.Millisecond)
	ctx = oauthreg.WithActor(ctx, oauthreg.Actor{Kind: "system", ID: "reaper"})
	yes := true
	// Newest first, beginning behind everything younger than that.
	q := oauthreg.ListQuery{SelfRegistered: &yes, Limit: reapBatch, AfterCreatedAt: before, AfterID: uuid.Nil.String()}
	reaped := 0
	for {
		page, err := s.reg.List(ctx, q)
		if err != nil {
			return reaped, fmt.Errorf("list clients: %w", err)
		}
		for i := range page.Clients {
			gone, err := s.reap(ctx, &page.Clients[i], before)
			if err != nil {
				return reaped, fmt.Errorf("reap client %s: %w", page.Clients[i].ID, err)
			}
			if gone {
				reaped++
			}
		}
		if page.Next == "" {
			return reaped, nil
		}
		q.Cursor, q.AfterCreatedAt, q.AfterID = page.Next, time.Time{}, ""
	}
}

// reap deletes the client if nothing speaks for it.
func (s *Server) reap(ctx context.Context, c *oauthreg.Client, before time.Time) (bool, error) {
	// Once it is the operator's, only the operator ends it. A first-party client
	// leaves no consents behind: without a secret, and between two grants, one
	// that is used every day looks as if it never was.
	if c.FirstParty || c.Verified {
		return false, nil
	}
	used, err := s.usedSince(ctx, c, before)
	if err != nil || used {
		return false, err
	}
	// A change of the client since it was listed is a use.
	err = s.reg.DeleteIfVersion(ctx, oauthreg.ByID(c.ID), c.Version)
	if errors.Is(err, oauthreg.ErrConflict) || errors.Is(err, oauthreg.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// usedSince looks for a trace of use, the cheap ones first and live grants last,
// so that as little time as possible passes until the client is deleted.
func (s *Server) usedSince(ctx context.Context, c *oauthreg.Client, before time.Time) (bool, error) {
	if !c.UpdatedAt.Before(before) {
		return true, nil
	}
	secrets, err := s.reg.Secrets(ctx, oauthreg.ByID(c.ID))
	if errors.Is(err, oauthreg.ErrNotFound) {
		return true, nil // gone: nothing to do
	}
	if err != nil {
		return false, err
	}
	for _, secret := range secrets {
		if !secret.LastUsedAt.Before(before) {
			return true, nil
		}
	}
	byClient := oauthreg.GrantFilter{ClientID: c.ID}
	for offset := 0; ; offset += reapBatch {
		consents, total, err := s.store.ListConsents(ctx, byClient, offset, reapBatch)
		if err != nil {
			return false, err
		}
		for _, consent := range consents {
			if !consent.LastUsedAt.Before(before) || !consent.CreatedAt.Before(before) {
				return true, nil
			}
		}
		if offset+reapBatch >= total || len(consents) == 0 {
			break
		}
	}
	_, live, err := s.store.ListGrants(ctx, byClient, 0, 1)
	return live > 0, err
}
