package handlers

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// registered is the registration of the client that authenticated for r.
func registered(r fosite.Requester) *oauthreg.Client {
	return r.GetClient().(*engineClient).reg
}

// sameClient reports whether what was stored belongs to c: each artefact is
// bound to one client.
func sameClient(stored fosite.Requester, c *oauthreg.Client) bool {
	owner := stored.GetClient()
	if named, ok := owner.(interface{ RegistryID() string }); ok {
		return named.RegistryID() == c.ID
	}
	return owner.GetID() == c.ClientID
}

// isNotFound reports whether the store said that there is no such thing.
func isNotFound(err error) bool {
	return errors.Is(err, fosite.ErrNotFound) || errors.Is(err, oauthreg.ErrNotFound)
}

// clientGone makes what the store says of a client that was deleted, or suspended,
// while the request was under way what a later request is told.
func clientGone(err error) error {
	if isNotFound(err) {
		return invalidClient().because(err)
	}
	return err
}

// setGranted notes on r what its grant holds and what this access token gets of it.
func setGranted(r fosite.AccessRequester, scopes, tokenScopes, resources, tokenResources []string) {
	r.SetRequestedScopes(scopes)
	r.SetRequestedAudience(resources)
	for _, v := range tokenScopes {
		r.GrantScope(v)
	}
	for _, v := range tokenResources {
		r.GrantAudience(v)
	}
}

// adopt makes r a request under the stored grant: its session, and of its scopes
// and resources those asked for, all when none are. What the client or the user
// may no longer do ends it (RFC 6749 §5.2 invalid_grant): policy holds for every
// use, not for the first alone.
func (s *Server) adopt(ctx context.Context, r fosite.AccessRequester, stored fosite.Requester, session *Session, scopes []string) error {
	client := registered(r)
	granted := stored.GetGrantedScopes()
	for _, scope := range granted {
		if !client.AllowsScope(scope) {
			return invalidGrant("The client may no longer use a scope of the grant.").decidedBy("scope")
		}
	}
	if _, err := s.permitResources(client, stored.GetGrantedAudience()); err != nil {
		return invalidGrant("The client may no longer use a resource of the grant.").decidedBy(err.Field)
	}
	resources := []string(stored.GetGrantedAudience())
	if asked := r.GetRequestForm()["resource"]; len(asked) > 0 {
		resources = nil
		for _, a := range asked {
			i := slices.IndexFunc(stored.GetGrantedAudience(), func(g string) bool { return sameResource(a, g) })
			if i < 0 {
				return invalidTarget("The resource was not granted.")
			}
			resources = append(resources, stored.GetGrantedAudience()[i])
		}
	}
	if err := s.checkUser(ctx, session.Subject); err != nil {
		return err
	}
	if len(scopes) == 0 {
		scopes = granted
	}
	info := infoOf(ctx)
	info.subject, info.grant = session.Subject, stored.GetID()
	r.SetID(stored.GetID())
	r.SetSession(session)
	setGranted(r, granted, scopes, stored.GetGrantedAudience(), resources)
	return nil
}

// isUserGone reports whether checkUser said so; any other error means that it could
// not tell.
func isUserGone(err error) bool {
	var gone *Error
	return errors.As(err, &gone) && gone.Code == "invalid_grant"
}

// checkUser asks the host whether the user may still use tokens.
func (s *Server) checkUser(ctx context.Context, subject string) error {
	if s.cfg.UserActive == nil {
		return nil
	}
	active, err := s.cfg.UserActive(ctx, subject)
	switch {
	case err != nil:
		return err
	case !active:
		return invalidGrant("The user may no longer use this grant.")
	}
	return nil
}

// revokeReplayed ends a grant whose single-use code or token came a second time.
func (s *Server) revokeReplayed(ctx context.Context, stored fosite.Requester, what string) error {
	n, err := s.store.RevokeGrants(ctx, oauthreg.GrantFilter{ID: stored.GetID()})
	if err != nil {
		return err
	}
	e := oauthreg.Event{
		Type: oauthreg.EventReplayDetected, Detail: what, GrantID: stored.GetID(), Subject: subjectOf(stored),
		Scopes: stored.GetGrantedScopes(), Resources: stored.GetGrantedAudience(),
	}
	s.emit(ctx, e)
	if n > 0 {
		e.Type, e.Count = oauthreg.EventGrantRevoked, n
		s.emit(ctx, e)
	}
	infoOf(ctx).grant = stored.GetID()
	s.log.WarnContext(ctx, "replay: grant revoked", "what", what,
		"grant", stored.GetID(), "client_id", stored.GetClient().GetID(), "request_id", requestID(ctx))
	return invalidGrant("The " + what + " was used before; its grant is revoked.")
}

// tokens is what one token request is answered with, made before anything is
// written so that a failure to sign consumes nothing.
type tokens struct {
	now              time.Time
	expiresIn        time.Duration
	access           *fosite.Request
	accessToken      string
	accessSignature  string
	refresh          *fosite.Request // nil when there is none
	refreshToken     string
	refreshSignature string
	idToken          string
}

// newTokens makes the tokens for r, which holds what is granted.
func (s *Server) newTokens(ctx context.Context, r fosite.AccessRequester, withRefresh bool) (*tokens, error) {
	t, err := s.newAccess(ctx, r, withRefresh)
	if err != nil {
		return nil, err
	}
	session := r.GetSession().(*Session)
	if !session.ForClient && r.GetGrantedScopes().Has("openid") {
		t.idToken, err = s.idToken(ctx, registered(r), session, idTokenFor{accessToken: t.accessToken, now: t.now})
	}
	return t, err
}

// newAccess is newTokens without an ID token.
func (s *Server) newAccess(ctx context.Context, r fosite.AccessRequester, withRefresh bool) (*tokens, error) {
	client := registered(r)
	life := s.lifetimes(client)
	now := s.now().UTC()
	session := r.GetSession().(*Session)
	t := &tokens{now: now, expiresIn: life.AccessToken}

	if withRefresh && session.RefreshUntil.IsZero() {
		session.RefreshUntil = session.GrantedAt.Add(life.RefreshToken)
	}
	// An access token does not outlive its grant.
	if until := session.RefreshUntil; withRefresh && until.Before(now.Add(t.expiresIn)) {
		t.expiresIn = until.Sub(now).Truncate(time.Second)
	}
	accessSession := session.Clone().(*Session)
	accessSession.forget(fosite.AuthorizeCode, fosite.RefreshToken)
	accessSession.SetExpiresAt(fosite.AccessToken, wholeSecond(now.Add(t.expiresIn)))
	if client.AccessTokenFormat == oauthreg.JWT {
		accessSession.TokenID = rand.Text()
	}
	t.access = request(r, accessSession, r.GetGrantedScopes(), r.GetGrantedAudience(), now)
	var err error
	if t.accessToken, t.accessSignature, err = s.engine.tokens.newAccessToken(ctx, t.access); err != nil {
		return nil, err
	}
	if withRefresh {
		refreshSession := session.Clone().(*Session)
		refreshSession.forget(fosite.AuthorizeCode, fosite.AccessToken)
		refreshSession.Nonce = "" // OpenID Connect Core §12.2
		idle := now.Add(life.RefreshTokenIdle)
		if session.RefreshUntil.Before(idle) {
			idle = session.RefreshUntil
		}
		refreshSession.SetExpiresAt(fosite.RefreshToken, idle)
		t.refresh = request(r, refreshSession, r.GetRequestedScopes(), r.GetRequestedAudience(), now)
		t.refreshToken, t.refreshSignature = s.engine.tokens.newRefreshToken()
	}
	return t, nil
}

// newGrantID names a grant. Ids made together lie together in the store's indexes.
func newGrantID() string {
	var id uuid.UUID // version 7; package uuid's own comes from the heap
	binary.BigEndian.PutUint64(id[:], uint64(time.Now().UnixMilli())<<16)
	_, _ = rand.Read(id[6:]) // never fails (crypto/rand)
	id[6] = id[6]&0x0f | 7<<4
	id[8] = id[8]&0x3f | 0x80
	return id.String()
}

// wholeSecond rounds up, so that the seconds we promise are never more than the
// seconds there are.
func wholeSecond(t time.Time) time.Time {
	if w := t.Truncate(time.Second); !w.Equal(t) {
		return w.Add(time.Second)
	}
	return t
}

// forget drops what is bound to a code or to another token.
func (s *Session) forget(kinds ...fosite.TokenType) {
	s.Expires = slices.DeleteFunc(s.Expires, func(e TokenEnd) bool { return slices.Contains(kinds, e.Kind) })
	s.RedirectURI, s.CodeChallenge, s.TokenID = "", "", ""
}

// request is what is stored with a token: nothing of the form.
func request(r fosite.Requester, session *Session, scopes, resources fosite.Arguments, now time.Time) *fosite.Request {
	return &fosite.Request{
		ID: r.GetID(), RequestedAt: now, Client: r.GetClient(), Session: session,
		RequestedScope: scopes, GrantedScope: scopes,
		RequestedAudience: resources, GrantedAudience: resources,
	}
}

// store writes the tokens of a user's grant. The grant must still be alive: that
// is one of the conditional writes.
func (t *tokens) store(ctx context.Context, store Store, session *Session) error {
	expires := t.access.Session.GetExpiresAt(fosite.AccessToken)
	if t.refresh != nil {
		expires = session.RefreshUntil
	}
	if err := store.UseGrant(ctx, t.access.ID, t.now, expires); err != nil {
		return err
	}
	if err := store.CreateAccessTokenSession(ctx, t.accessSignature, t.access); err != nil {
		return err
	}
	if t.refresh == nil {
		return nil
	}
	return store.CreateRefreshTokenSession(ctx, t.refreshSignature, t.accessSignature, t.refresh)
}

// respond fills in the token response (RFC 6749 §5.1).
func (t *tokens) respond(resp fosite.AccessResponder) {
	resp.SetAccessToken(t.accessToken)
	resp.SetTokenType("Bearer")
	resp.SetExpiresIn(t.expiresIn)
	resp.SetScopes(t.access.GrantedScope)
	if t.refresh != nil {
		resp.SetExtra("refresh_token", t.refreshToken)
	}
	if t.idToken != "" {
		resp.SetExtra("id_token", t.idToken)
	}
}

// accessTokenJWT signs an access token (RFC 9068 §2).
func (s *Server) accessTokenJWT(ctx context.Context, r fosite.Requester) (string, error) {
	session := r.GetSession().(*Session)
	claims := map[string]any{
		"iss":       s.cfg.Issuer,
		"sub":       session.clientSubject(),
		"aud":       audience(r.GetGrantedAudience(), s.cfg.Issuer),
		"client_id": r.GetClient().GetID(),
		"iat":       r.GetRequestedAt().Unix(),
		"exp":       session.GetExpiresAt(fosite.AccessToken).Unix(),
		"jti":       session.TokenID,
		"scope":     strings.Join(r.GetGrantedScopes(), " "),
	}
	if !session.AuthTime.IsZero() {
		claims["auth_time"] = session.AuthTime.Unix()
	}
	if session.ACR != "" {
		claims["acr"] = session.ACR
	}
	if len(session.AMR) > 0 {
		claims["amr"] = session.AMR
	}
	return s.keys.Sign(ctx, s.accessTokenAlg(), "at+jwt", claims)
}

// accessTokenAlg is the algorithm that every resource server must understand (RFC
// 9068 §2.1), or else the one that the server prefers.
func (s *Server) accessTokenAlg() string {
	algs := s.keys.Algorithms()
	if slices.Contains(algs, "RS256") {
		return "RS256"
	}
	return algs[0]
}

// audience is an aud claim: a string when there is one, the issuer when there is none.
func audience(resources []string, issuer string) any {
	switch len(resources) {
	case 0:
		return issuer
	case 1:
		return resources[0]
	default:
		return resources
	}
}
