package handlers

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// emit reports what has happened and is committed, with what is known of the
// request.
func (s *Server) emit(ctx context.Context, e oauthreg.Event) {
	if s.cfg.Events == nil && s.telemetry == nil {
		return
	}
	info := infoOf(ctx)
	e.Time = s.now().UTC()
	e.RequestID, e.Endpoint = info.id[0], info.endpoint
	if e.ClientID == "" {
		e.ClientID = bounded(info.clientID)
	}
	if c := info.client; c != nil && c.ClientID == e.ClientID {
		e.OrgID, e.ProjectID = c.OrgID, c.ProjectID
	}
	if e.Subject == "" {
		e.Subject = info.subject
	}
	if s.telemetry != nil {
		s.telemetry.event(ctx, &e)
	}
	if s.cfg.Events == nil {
		return
	}
	if a := oauthreg.ActorFrom(ctx); a.RequestID != "" {
		e.Actor = a
	}
	if info.request != nil {
		e.Address = s.clientAddress(info.request)
	}
	s.cfg.Events.Emit(ctx, s.log, e)
}

// about says whom e concerns also where no request does: the client and its owner.
func about(e *oauthreg.Event, c *oauthreg.Client) {
	e.ClientID, e.OrgID, e.ProjectID = c.ClientID, c.OrgID, c.ProjectID
}

// maxNamed bounds what is repeated of a name that a stranger sent.
const maxNamed = 255 // bytes

func bounded(name string) string {
	if len(name) <= maxNamed {
		return name
	}
	return strings.ToValidUTF8(name[:maxNamed], "")
}

// emitAnswer reports that a request was refused, or that the server failed.
func (s *Server) emitAnswer(ctx context.Context, oe *Error) {
	info := infoOf(ctx)
	info.errorCode = oe.Code
	e := oauthreg.Event{
		Type: oauthreg.EventRefused, GrantID: info.grant,
		Error: oe.Code, Description: oe.Description, Status: oe.Status, Field: oe.Field,
	}
	if oe.Status >= http.StatusInternalServerError {
		e.Type = oauthreg.EventFailed
	}
	s.emit(ctx, e)
}

// emitTokens reports the tokens that a grant type led to.
func (s *Server) emitTokens(ctx context.Context, grantType oauthreg.GrantType, access *fosite.Request, refresh bool) {
	e := oauthreg.Event{
		Type: oauthreg.EventTokenIssued, GrantType: grantType, Refresh: refresh,
		Scopes: access.GrantedScope, Resources: access.GrantedAudience,
	}
	about(&e, registered(access))
	if session := access.Session.(*Session); !session.ForClient {
		e.GrantID, e.Subject = access.ID, session.Subject
	}
	if grantType == oauthreg.GrantRefreshToken {
		e.Type = oauthreg.EventRefreshed
	}
	s.emit(ctx, e)
}

// emitUnproven reports that a client could not prove who it is, if that is what err
// says.
func (s *Server) emitUnproven(ctx context.Context, err error, how string) {
	var oe *Error
	if errors.As(err, &oe) && oe.Status == http.StatusUnauthorized {
		s.emit(ctx, oauthreg.Event{Type: oauthreg.EventClientAuthenticationFailed, Error: oe.Code, Status: oe.Status, Detail: how})
	}
}

// allow asks the limiter, and reports what it holds back.
func (s *Server) allow(ctx context.Context, kind LimitKind, key string) (retryAfter time.Duration, ok bool) {
	after, ok := s.limits.Allow(ctx, kind, key)
	if !ok {
		s.emit(ctx, oauthreg.Event{Type: oauthreg.EventLimited, Detail: string(kind)})
	}
	return after, ok
}

// emitAuthorized reports a new grant, the consent that was given for it just now,
// and the access token that came with it.
func (s *Server) emitAuthorized(ctx context.Context, made *fosite.Request, login *oauthreg.Login, p *authorizeParams, decided bool) {
	client := registered(made)
	infoOf(ctx).grant = made.ID
	e := oauthreg.Event{Subject: login.Subject, SessionID: login.SessionID, Scopes: p.Scopes, Resources: p.Resources}
	about(&e, client)
	if decided {
		e.Type = oauthreg.EventConsentGiven
		e.Scopes = s.consentScopes(client, p)
		s.emit(ctx, e)
		e.Scopes = p.Scopes
	}
	e.Type, e.GrantID, e.Detail = oauthreg.EventAuthorized, made.ID, p.ResponseType
	s.emit(ctx, e)
	if slices.Contains(strings.Fields(p.ResponseType), "token") {
		e.Type, e.GrantType, e.Detail = oauthreg.EventTokenIssued, oauthreg.GrantImplicit, ""
		s.emit(ctx, e)
	}
}

func (s *Server) emitLoggedOut(ctx context.Context, subject, sessionID string) {
	s.emit(ctx, oauthreg.Event{Type: oauthreg.EventLoggedOut, Subject: subject, SessionID: sessionID})
}

// revokeConsents takes back the consents that f selects, with what stands on them,
// and reports as e how many there were.
func (s *Server) revokeConsents(ctx context.Context, f oauthreg.GrantFilter, e oauthreg.Event) (n int, err error) {
	e.Type = oauthreg.EventConsentRevoked
	if e.Count, err = s.store.RevokeConsents(ctx, f); err == nil && e.Count > 0 {
		s.emit(ctx, e)
	}
	return e.Count, err
}

// revokeGrants is revokeConsents for grants that live, those of first-party clients
// too, which ask for no consent.
func (s *Server) revokeGrants(ctx context.Context, f oauthreg.GrantFilter, e oauthreg.Event) (n int, err error) {
	e.Type = oauthreg.EventGrantRevoked
	if e.Count, err = s.store.RevokeGrants(ctx, f); err == nil && e.Count > 0 {
		s.emit(ctx, e)
	}
	return e.Count, err
}

// ofConsent is the event for the consent that f selects, before it goes: only
// its id is known so far. It reads only when somebody wants to know.
func (s *Server) ofConsent(ctx context.Context, f oauthreg.GrantFilter) (oauthreg.Event, error) {
	e := oauthreg.Event{Subject: f.Subject}
	if s.cfg.Events == nil {
		return e, nil
	}
	c, err := s.findConsent(ctx, f)
	if errors.Is(err, oauthreg.ErrNotFound) {
		return e, nil
	}
	if err != nil {
		return e, err
	}
	e.Subject, e.Scopes, e.Resources = c.Subject, c.Scopes, c.Resources
	return e, s.aboutID(ctx, &e, c.ClientID)
}

// aboutID is about for a client of which only the internal id is known. It reads
// only when somebody wants to know.
func (s *Server) aboutID(ctx context.Context, e *oauthreg.Event, id string) error {
	if s.cfg.Events == nil {
		return nil
	}
	client, err := s.reg.Get(ctx, oauthreg.ByID(id))
	if errors.Is(err, oauthreg.ErrNotFound) { // deleted: nobody can name it any more
		return nil
	}
	if err != nil {
		return err
	}
	infoOf(ctx).isClient(&client)
	about(e, &client) // the host may call without a request
	return nil
}

// subjectOf is the user of what was stored; empty when the client stands for itself.
func subjectOf(stored fosite.Requester) string {
	if session, ok := stored.GetSession().(*Session); ok && !session.ForClient {
		return session.Subject
	}
	return ""
}
