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

// maxApps bounds how many apps the account page shows.
const maxApps = 200

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

// AuthorizedApps is what the user allowed, newest first and at most 200, with the
// clients' names as they are now: for a host that lists them on a page of its
// own. A client that is gone has no name; what was allowed to it can still go.
func (s *Server) AuthorizedApps(ctx context.Context, subject string) ([]AuthorizedApp, error) {
	consents, _, err := s.store.ListConsents(ctx, oauthreg.GrantFilter{Subject: subject}, 0, maxApps)
	if err != nil {
		return nil, err
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
