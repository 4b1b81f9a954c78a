package handlers

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// grantV2 is a grant in this API: what a user once allowed a client, remembered.
type grantV2 struct {
	ID         string     `json:"id"`
	RecordType string     `json:"record_type"`
	ClientID   string     `json:"client_id"`
	Subject    string     `json:"subject"`
	Scopes     []string   `json:"scopes"`
	Resources  []string   `json:"resources"`
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
}

func v2Grant(c *oauthreg.Consent, clientID string) grantV2 {
	return grantV2{
		ID: c.ID, RecordType: "oauth_grant", ClientID: clientID, Subject: c.Subject,
		Scopes: nonNil(c.Scopes), Resources: nonNil(c.Resources),
		CreatedAt: c.CreatedAt, LastUsedAt: optionalTime(c.LastIssuedAt),
	}
}

// listGrants serves GET /oauth_grants: what users allowed the clients at the
// caller's home, newest first.
func (v *managementV2) listGrants(w http.ResponseWriter, r *http.Request, p *Principal) error {
	q, err := parseList(r, "page[number]", "page[size]", "filter[client_id]", "filter[subject]")
	if err != nil {
		return err
	}
	filter, err := v.grantFilter(r.Context(), p, q)
	if errors.Is(err, oauthreg.ErrNotFound) { // no such client: it has no grants
		writeJSON(w, http.StatusOK, list{[]grantV2{}, q.meta(0)})
		return nil
	}
	if err != nil {
		return err
	}
	consents, total, err := v.s.store.ListConsents(r.Context(), filter, q.offset(), q.size)
	if err != nil {
		return err
	}
	names := clientNames{}
	data := make([]grantV2, 0, len(consents))
	for i := range consents {
		name, err := names.of(r.Context(), v.s.reg, consents[i].ClientID)
		if errors.Is(err, oauthreg.ErrNotFound) { // deleted this moment
			continue
		}
		if err != nil {
			return err
		}
		data = append(data, v2Grant(&consents[i], name))
	}
	writeJSON(w, http.StatusOK, list{data, q.meta(total)})
	return nil
}

// grantFilter is what the query selects among the grants at the caller's home;
// [oauthreg.ErrNotFound] for a client that the caller does not manage.
func (v *managementV2) grantFilter(ctx context.Context, p *Principal, q *listQuery) (oauthreg.GrantFilter, error) {
	f := oauthreg.GrantFilter{Subject: q.Get("filter[subject]")}
	if !isPlain(f.Subject) {
		return f, oauthreg.ErrNotFound
	}
	f.OrgID, f.ProjectID = p.home()
	if id := q.Get("filter[client_id]"); id != "" {
		c, err := v.find(ctx, p, oauthreg.ByClientID(id))
		if err != nil {
			return f, err
		}
		infoOf(ctx).isClient(&c)
		f.ClientID, f.OrgID, f.ProjectID = c.ID, c.OrgID, c.ProjectID
	}
	return f, nil
}

// isPlain reports whether s may be handed to every database.
func isPlain(s string) bool {
	for _, c := range s {
		if c < ' ' || c == 0x7f || c == 0xfffd {
			return false
		}
	}
	return len(s) <= 1024
}

// clientNames are the client_ids of clients by their internal ids.
type clientNames map[string]string

func (n clientNames) of(ctx context.Context, reg *oauthreg.Registry, id string) (string, error) {
	if name, ok := n[id]; ok {
		return name, nil
	}
	c, err := reg.Get(ctx, oauthreg.ByID(id))
	if err == nil {
		n[id] = c.ClientID
	}
	return c.ClientID, err
}

// getGrant serves GET /oauth_grants/{id}.
func (v *managementV2) getGrant(w http.ResponseWriter, r *http.Request, p *Principal) error {
	g, _, err := v.grant(r, p)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, envelope{g})
	return nil
}

// grant is the grant that the path names, and what selects it.
func (v *managementV2) grant(r *http.Request, p *Principal) (grantV2, oauthreg.GrantFilter, error) {
	id := r.PathValue("id")
	if parsed, err := uuid.Parse(id); err != nil || parsed.String() != id {
		return grantV2{}, oauthreg.GrantFilter{}, oauthreg.ErrNotFound
	}
	f := oauthreg.GrantFilter{ID: id, OrgID: p.reach()}
	found, err := v.s.findConsent(r.Context(), f)
	if err != nil {
		return grantV2{}, f, err
	}
	c, err := v.find(r.Context(), p, oauthreg.ByID(found.ClientID))
	if err != nil {
		return grantV2{}, f, err
	}
	infoOf(r.Context()).isClient(&c)
	return v2Grant(&found, c.ClientID), f, nil
}

// revokeGrant serves DELETE /oauth_grants/{id}: the client is forgotten by the
// user, and every code and token that stands on the grant is worth nothing. The
// answer is the grant as it was.
func (v *managementV2) revokeGrant(w http.ResponseWriter, r *http.Request, p *Principal) error {
	g, f, err := v.grant(r, p)
	if err != nil {
		return err
	}
	n, err := v.s.revokeConsents(r.Context(), f, oauthreg.Event{ClientID: g.ClientID, Subject: g.Subject, Scopes: g.Scopes, Resources: g.Resources})
	if err != nil {
		return err
	}
	if n == 0 { // somebody was faster
		return oauthreg.ErrNotFound
	}
	writeJSON(w, http.StatusOK, envelope{g})
	return nil
}

// revocationV2 tells how many grants a call revoked, and how many authorizations
// that stood on none.
type revocationV2 struct {
	RecordType            string `json:"record_type"`
	Revoked               int    `json:"revoked"`
	RevokedAuthorizations int    `json:"revoked_authorizations"`
}

// revokeGrants serves DELETE /oauth_grants?filter[client_id]=…&filter[subject]=…:
// all grants of a client, of a user, or of both, with all codes and tokens, those
// of first-party clients too, which ask for no consent.
func (v *managementV2) revokeGrants(w http.ResponseWriter, r *http.Request, p *Principal) error {
	q, err := parseList(r, "filter[client_id]", "filter[subject]")
	if err != nil {
		return err
	}
	if q.Get("filter[client_id]") == "" && q.Get("filter[subject]") == "" {
		return invalidRequest("filter[client_id] or filter[subject] is needed.")
	}
	f, err := v.grantFilter(r.Context(), p, q)
	if err != nil {
		return err
	}
	done, err := v.s.RevokeConsents(r.Context(), f)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, envelope{revocationV2{"oauth_grant_revocation", done.Consents, done.Grants}})
	return nil
}

// consentRequestV2 is what a user is asked, for a consent page outside of this
// server.
type consentRequestV2 struct {
	ClientID        string           `json:"client_id"`
	Name            string           `json:"name"`
	RedirectURI     string           `json:"redirect_uri"`
	LogoURI         *string          `json:"logo_uri"`
	TOSURI          *string          `json:"tos_uri"`
	PolicyURI       *string          `json:"policy_uri"`
	Verified        bool             `json:"verified"`
	RequestedScopes []consentScopeV2 `json:"requested_scopes"`
}

type consentScopeV2 struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
}

// showConsentRequest serves GET /oauth/consent/{token}: what the signed-in user
// is asked. A token that is unknown, expired, used, not signed in for, or of a
// client that the caller does not manage, is 422.
func (v *managementV2) showConsentRequest(w http.ResponseWriter, r *http.Request, p *Principal) error {
	in, c, _, err := v.pendingConsent(r.Context(), p, r.PathValue("token"))
	if err != nil {
		return err
	}
	view := consentRequestV2{
		ClientID: c.ClientID, Name: c.Name, RedirectURI: in.Params.RedirectTo,
		LogoURI: optional(c.LogoURI), TOSURI: optional(c.TOSURI), PolicyURI: optional(c.PolicyURI),
		Verified: c.Verified, RequestedScopes: []consentScopeV2{},
	}
	for _, name := range v.s.consentScopes(c, &in.Params) {
		s := v.s.scope(name)
		if s.Title == "" {
			s.Title = name
		}
		view.RequestedScopes = append(view.RequestedScopes, consentScopeV2{name, s.Title, s.Description})
	}
	writeJSON(w, http.StatusOK, envelope{view})
	return nil
}

func invalidConsentToken() *Error {
	return unprocessable("The consent token is not valid: unknown, expired, or used.")
}

// pendingConsent is the decision that a consent token stands for, and who is to
// make it. The caller's credential vouches in place of the browser's cookie, but
// not in place of the sign-in: without a user who is signed in there is nothing
// to decide.
func (v *managementV2) pendingConsent(ctx context.Context, p *Principal, token string) (*interaction, *oauthreg.Client, *oauthreg.Login, error) {
	if token == "" || len(token) > 255 || !isPrintable(token) {
		return nil, nil, nil, invalidConsentToken()
	}
	in, c, err := v.s.interactionOf(ctx, token, "")
	if err != nil && toOAuth(err).Status < http.StatusInternalServerError {
		return nil, nil, nil, invalidConsentToken().because(err)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	if in.Subject == "" || !p.Manages(c.OrgID, c.ProjectID) {
		return nil, nil, nil, invalidConsentToken()
	}
	if v.s.builtin != nil { // a host's own sign-in has no list to look at
		signedIn, err := v.s.signedIn(ctx, in.Subject, in.SessionID)
		if err != nil {
			return nil, nil, nil, err
		}
		if !signedIn {
			return nil, nil, nil, invalidConsentToken()
		}
	}
	login := &oauthreg.Login{Subject: in.Subject, SessionID: in.SessionID, AuthTime: in.AuthTime, AMR: in.AMR, ACR: in.ACR}
	return in, c, login, nil
}

// signedIn reports whether the session of the built-in sign-in lives.
func (s *Server) signedIn(ctx context.Context, subject, sessionID string) (bool, error) {
	sessions, err := s.store.ListLoginSessions(ctx, subject)
	if err != nil {
		return false, err
	}
	for i := range sessions {
		if sessions[i].SessionID == sessionID {
			return true, nil
		}
	}
	return false, nil
}

// answerConsent serves POST /oauth/grants: the decision of the signed-in user,
// made known by the caller. It counts once. The answer says where the browser
// has to go.
func (v *managementV2) answerConsent(w http.ResponseWriter, r *http.Request, p *Principal) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var allowed bool
	var token string
	body.need("allowed", "consent_token")
	body.boolean("allowed", &allowed)
	body.text("consent_token", &token)
	body.refuseUnknown()
	if err := body.err(); err != nil {
		return err
	}
	in, c, login, err := v.pendingConsent(r.Context(), p, token)
	if err != nil {
		return err
	}
	target, err := v.s.decide(r.Context(), c, login, in, allowed)
	if err != nil && toOAuth(err).Status < http.StatusInternalServerError {
		return invalidConsentToken().because(err) // answered or expired this moment
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		RedirectURI string `json:"redirect_uri"`
	}{target})
	return nil
}
