package handlers

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ory/fosite"
)

// frontTokens makes what the implicit and hybrid response types answer beside a
// code (RFC 6749 §4.2.2, OpenID Connect Core §3.2.2.5, §3.3.2.5), as names and
// values of the response. It runs in the transaction that makes the grant.
func (s *Server) frontTokens(ctx context.Context, of *fosite.Request, session *Session, types []string, code string, now time.Time) ([]string, error) {
	r := fosite.NewAccessRequest(session.Clone())
	r.ID, r.Client, r.RequestedAt = of.ID, of.Client, of.RequestedAt
	setGranted(r, of.GrantedScope, of.GrantedScope, of.GrantedAudience, of.GrantedAudience)
	client := registered(r)

	var answer []string
	with := idTokenFor{code: code, now: now}
	if slices.Contains(types, "token") {
		t, err := s.newAccess(ctx, r, false)
		if err != nil {
			return nil, err
		}
		if err := t.store(ctx, s.store, session); err != nil {
			return nil, err
		}
		with.accessToken = t.accessToken
		answer = append(answer, "access_token", t.accessToken, "token_type", "Bearer",
			"expires_in", strconv.FormatInt(int64(t.expiresIn/time.Second), 10), "scope", strings.Join(of.GrantedScope, " "))
	}
	if slices.Contains(types, "id_token") {
		if len(types) == 1 {
			with.scopes = of.GrantedScope
		}
		signed, err := s.idToken(ctx, client, session, with)
		if err != nil {
			return nil, err
		}
		answer = append(answer, "id_token", signed)
	}
	return answer, nil
}
