package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// accountRoutes mounts what people may see and take back of what they allowed.
// It works with any [SignIn]; sessions and signing out belong to the built-in one.
func (s *Server) accountRoutes(page func(path, name string, e endpoint, methods ...string)) {
	const get, head, post = http.MethodGet, http.MethodHead, http.MethodPost
	page("/account", "account", s.account, get, head)
	page("/account/revoke", "account_revoke", s.accountRevoke, post)
	if s.builtin != nil {
		page("/account/sessions/end", "account_end_session", s.accountEndSession, post)
		page("/account/sign-out", "account_sign_out", s.accountSignOut, post)
		page("/account/signed-out", "account_signed_out", s.accountSignedOut, get, head)
	}
}

// account serves GET /account: the apps the user allowed, newest first, and the
// sessions they have. Whoever is not signed in is sent to sign in.
func (s *Server) account(w http.ResponseWriter, r *http.Request) error {
	login, err := s.signIn.Login(r)
	if err != nil {
		return unavailable(err)
	}
	if login == nil {
		s.signIn.Begin(w, r, SignInRequest{ReturnTo: s.base + "/account"})
		return nil
	}
	page := AppsPage{
		Username: s.username(r, login), CurrentSession: login.SessionID, Action: s.base + "/account",
		CSRF: s.csrfToken(s.browser(w, r), accountPurpose(login)),
	}
	if page.Apps, err = s.AuthorizedApps(r.Context(), login.Subject); err != nil {
		return err
	}
	if s.builtin != nil {
		page.SignOut = page.Action + "/sign-out"
		page.SwitchAccount = s.builtin.page("", "choose")
		if page.Sessions, err = s.store.ListLoginSessions(r.Context(), login.Subject); err != nil {
			return err
		}
	}
	s.setAccountHeaders(w.Header())
	return s.pages.Apps(w, r, page)
}

// setAccountHeaders also cuts off whoever opened the page: no application does.
func (s *Server) setAccountHeaders(h http.Header) {
	s.setPageHeaders(h, "")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// AuthorizedApps is all that the user allowed, newest first, with the clients'
// names as they are now: for a host that lists them on a page of its own. A client
// that is gone has no name; what was allowed to it can still go.
func (s *Server) AuthorizedApps(ctx context.Context, subject string) ([]AuthorizedApp, error) {
	const atOnce = 1000
	var consents []oauthreg.Consent
	for {
		some, total, err := s.ListConsents(ctx, oauthreg.GrantFilter{Subject: subject}, len(consents), atOnce)
		if err != nil {
			return nil, err
		}
		if consents = append(consents, some...); len(consents) >= total || len(some) == 0 {
			break
		}
	}
	apps := make([]AuthorizedApp, 0, len(consents))
	for _, c := range consents {
		app := AuthorizedApp{ConsentID: c.ID, Resources: c.Resources, Since: c.CreatedAt, LastUsedAt: c.LastIssuedAt}
		client, err := s.reg.Get(ctx, oauthreg.ByID(c.ClientID))
		switch {
		case err == nil:
			app.Client = s.viewClient(&client)
		case !errors.Is(err, oauthreg.ErrNotFound):
			return nil, err
		}
		for _, name := range c.Scopes {
			app.Scopes = append(app.Scopes, s.scope(name))
		}
		apps = append(apps, app)
	}
	return apps, nil
}

// The forms of one user's account page work for that user in that browser alone.
func accountPurpose(login *oauthreg.Login) string { return "account " + login.Subject }

// accountForm reads a form of the account page. It returns a nil login, having
// sent the browser to the page, when nobody is signed in any more.
func (s *Server) accountForm(w http.ResponseWriter, r *http.Request) (url.Values, *oauthreg.Login, error) {
	form, err := formBody(w, r)
	if err != nil {
		return nil, nil, err
	}
	login, err := s.signIn.Login(r)
	if err != nil {
		return nil, nil, unavailable(err)
	}
	if login == nil {
		s.redirect(w, r, s.base+"/account")
		return nil, nil, nil
	}
	return form, login, s.checkPost(r, s.browserOf(r), accountPurpose(login), form.Get("csrf_token"))
}

// accountRevoke serves POST /account/revoke: it takes back what the user allowed
// one app, with every token that came of it. Taking back what is not there, or
// somebody else's, changes nothing and says nothing.
func (s *Server) accountRevoke(w http.ResponseWriter, r *http.Request) error {
	form, login, err := s.accountForm(w, r)
	if err != nil || login == nil {
		return err
	}
	id := form.Get("consent")
	if id == "" { // an empty filter field would select all of the user's consents
		return invalidRequest("The consent parameter is missing.")
	}
	if err := s.RevokeApp(r.Context(), login.Subject, id); err != nil {
		return err
	}
	s.redirect(w, r, s.base+"/account")
	return nil
}

// RevokeApp takes back what the user allowed one app, with every token that came
// of it. consentID is of [AuthorizedApp]. Taking back what is not there, or
// somebody else's, changes nothing.
func (s *Server) RevokeApp(ctx context.Context, subject, consentID string) error {
	if subject == "" || consentID == "" { // an empty filter field selects everything
		return errors.New("handlers: RevokeApp needs a subject and a consent")
	}
	f := oauthreg.GrantFilter{ID: consentID, Subject: subject}
	e, err := s.ofConsent(ctx, f)
	if err != nil {
		return err
	}
	_, err = s.revokeConsents(ctx, f, e)
	return err
}

// checkFilter refuses what would select everything by mistake.
func checkFilter(f oauthreg.GrantFilter) error {
	switch {
	case f == oauthreg.GrantFilter{}:
		return errors.New("handlers: the filter is empty, which would select everything")
	case f.SessionID != "":
		return errors.New("handlers: consents belong to no session; the filter has one")
	}
	return nil
}

// ListConsents is what users allowed clients, remembered, newest first: at most
// limit (1 to 1000, 100 when it is 0) after skipping offset, and how many f selects
// in all. The management API calls them grants. f is not empty; its ClientID is
// [oauthreg.Client.ID], not the client_id. First-party clients have none, as they do
// not ask.
func (s *Server) ListConsents(ctx context.Context, f oauthreg.GrantFilter, offset, limit int) ([]oauthreg.Consent, int, error) {
	if err := checkFilter(f); err != nil {
		return nil, 0, err
	}
	return s.store.ListConsents(ctx, f, offset, limit)
}

// GetConsent is the consent of that id; [oauthreg.ErrNotFound] when there is none.
func (s *Server) GetConsent(ctx context.Context, id string) (oauthreg.Consent, error) {
	if id == "" || !isPlain(id) {
		return oauthreg.Consent{}, oauthreg.ErrNotFound
	}
	return s.findConsent(ctx, oauthreg.GrantFilter{ID: id})
}

// findConsent is the consent that f selects by its id.
func (s *Server) findConsent(ctx context.Context, f oauthreg.GrantFilter) (oauthreg.Consent, error) {
	found, _, err := s.store.ListConsents(ctx, f, 0, 1)
	if err != nil {
		return oauthreg.Consent{}, err
	}
	if len(found) == 0 {
		return oauthreg.Consent{}, oauthreg.ErrNotFound
	}
	return found[0], nil
}

// RevokeConsent takes back one consent, whoever gave it, with every token that came
// of it; [oauthreg.ErrNotFound] when there is none of that id. [Server.RevokeApp] is
// for the user who gave it.
func (s *Server) RevokeConsent(ctx context.Context, id string) error {
	if id == "" || !isPlain(id) {
		return oauthreg.ErrNotFound
	}
	f := oauthreg.GrantFilter{ID: id}
	e, err := s.ofConsent(ctx, f)
	if err != nil {
		return err
	}
	n, err := s.revokeConsents(ctx, f, e)
	if err == nil && n == 0 {
		return oauthreg.ErrNotFound
	}
	return err
}

// Revoked tells what [Server.RevokeConsents] took back.
type Revoked struct {
	// Consents is how many consents are gone, with every grant beneath them.
	Consents int
	// Grants is how many live grants ended that stood on no consent: those of
	// first-party clients, which ask for none.
	Grants int
}

// RevokeConsents takes back all that f selects: what a user allowed anybody, what
// anybody allowed a client, or those of the clients of an organization or project.
// Every code and token that came of it is worth nothing, also those of first-party
// clients, which ask for no consent. f is as for [Server.ListConsents]; that it is
// empty is an error.
func (s *Server) RevokeConsents(ctx context.Context, f oauthreg.GrantFilter) (done Revoked, err error) {
	if err = checkFilter(f); err != nil {
		return done, err
	}
	e := oauthreg.Event{Subject: f.Subject, OrgID: f.OrgID, ProjectID: f.ProjectID}
	if f.ClientID != "" {
		if err = s.aboutID(ctx, &e, f.ClientID); err != nil {
			return done, err
		}
	}
	if done.Consents, err = s.revokeConsents(ctx, f, e); err == nil {
		done.Grants, err = s.revokeGrants(ctx, f, e)
	}
	return done, err
}

// accountEndSession serves POST /account/sessions/end: it ends a session of the
// user, wherever it is. Somebody else's is not there.
func (s *Server) accountEndSession(w http.ResponseWriter, r *http.Request) error {
	form, login, err := s.accountForm(w, r)
	if err != nil || login == nil {
		return err
	}
	id := form.Get("session")
	if id == "" {
		return invalidRequest("The session parameter is missing.")
	}
	if id == login.SessionID {
		return s.signOut(w, r, login)
	}
	sessions, err := s.store.ListLoginSessions(r.Context(), login.Subject)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(sessions, func(l oauthreg.LoginSession) bool { return l.SessionID == id }) {
		if err := s.endLoginSession(r.Context(), login.Subject, id); err != nil {
			return err
		}
	}
	s.redirect(w, r, s.base+"/account")
	return nil
}

// accountSignOut serves POST /account/sign-out: it ends the session of this
// browser. What apps were allowed stays.
func (s *Server) accountSignOut(w http.ResponseWriter, r *http.Request) error {
	_, login, err := s.accountForm(w, r)
	if err != nil || login == nil {
		return err
	}
	return s.signOut(w, r, login)
}

// signOut ends the session of this browser and tells the clients it was let in
// to. When that fails the cookie stays, so that the user can try again.
func (s *Server) signOut(w http.ResponseWriter, r *http.Request, login *oauthreg.Login) error {
	return s.finishLogout(w, r, login, &logoutRequest{RedirectTo: s.base + "/account/signed-out"})
}

// accountSignedOut serves GET /account/signed-out.
func (s *Server) accountSignedOut(w http.ResponseWriter, r *http.Request) error {
	s.setAccountHeaders(w.Header())
	return s.pages.Message(w, r, MessagePage{Kind: "signed_out"})
}
