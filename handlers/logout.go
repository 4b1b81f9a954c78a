package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// logoutRequest is what a client asks when it signs its user out (OpenID Connect
// RP-Initiated Logout §2), as far as it was found to be true. It travels through
// the confirmation page, encrypted and bound to the browser.
type logoutRequest struct {
	ClientID string `json:"c,omitempty"` // client_id, for display
	// RedirectTo is RedirectURI, a registered post_logout_redirect_uri, with
	// state; empty when the browser stays here.
	RedirectTo  string   `json:"r,omitempty"`
	RedirectURI string   `json:"p,omitempty"`
	UILocales   []string `json:"l,omitempty"`

	hint    *idTokenHint
	client  *oauthreg.Client
	refused bool // a hint or a redirect was sent that is not good
}

// logout serves GET and POST /oauth/logout (OpenID Connect RP-Initiated Logout
// §2), and the confirmation it asks for.
//
// With an ID token of the user who is signed in as id_token_hint, the session
// ends at once; the browser goes on to post_logout_redirect_uri if that is
// registered for the client that the ID token was made for. In every other case
// the user is asked, so that no page can sign people out, and nothing is
// redirected on the word of an unproven request.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) error {
	var form url.Values
	var err error
	if r.Method == http.MethodPost {
		form, err = formBody(w, r)
	} else {
		form, err = queryParameters(r)
	}
	if err != nil {
		return err
	}
	if r.Method == http.MethodPost && form.Has("csrf_token") {
		return s.confirmLogout(w, r, form)
	}
	if s.crossSitePost(r) {
		if query := form.Encode(); len(query) <= maxQuery {
			s.redirect(w, r, s.base+"/oauth/logout?"+query)
			return nil
		}
	}
	req, err := s.readLogout(r.Context(), form)
	if err != nil {
		return err
	}
	login, err := s.signIn.Login(r)
	if err != nil {
		return unavailable(err)
	}
	if req.hint != nil && !req.refused && (login == nil || s.hintNames(req, login)) {
		return s.finishLogout(w, r, login, req)
	}
	if login == nil {
		return s.showSignedOut(w, r, req)
	}
	return s.askLogout(w, r, req)
}

// readLogout finds out what is true of a logout request.
func (s *Server) readLogout(ctx context.Context, form url.Values) (*logoutRequest, error) {
	req := &logoutRequest{UILocales: strings.Fields(form.Get("ui_locales"))}
	clientID := form.Get("client_id")
	if token := form.Get("id_token_hint"); token != "" {
		hint, err := s.readHint(ctx, token)
		if err != nil {
			return nil, err
		}
		if hint != nil && clientID == "" {
			clientID = hint.Audience[0]
		}
		if hint != nil && hint.isFor(clientID) {
			req.hint = hint
		} else {
			req.refused = true
		}
	}
	if clientID == "" {
		req.refused = req.refused || form.Has("post_logout_redirect_uri")
		return req, nil
	}
	client, err := s.reg.Get(ctx, oauthreg.ByClientID(clientID))
	switch {
	case errors.Is(err, oauthreg.ErrNotFound), err == nil && client.Suspended():
		req.refused = true
		return req, nil
	case err != nil:
		return nil, err
	}
	infoOf(ctx).isClient(&client)
	req.client, req.ClientID = &client, client.ClientID
	uri, state := form.Get("post_logout_redirect_uri"), form.Get("state")
	switch {
	case uri == "":
	case req.hint != nil && permitPostLogoutRedirect(&client, uri) == nil && len(state) <= maxState:
		req.RedirectTo, req.RedirectURI = uri, uri
		if state != "" {
			req.RedirectTo = withQuery(uri, "state", state)
		}
	default:
		req.refused = true
	}
	return req, nil
}

// withQuery adds parameters to a URI that is otherwise kept byte for byte.
func withQuery(uri string, pairs ...string) string {
	sep := "?"
	switch {
	case strings.HasSuffix(uri, "?") || strings.HasSuffix(uri, "&"):
		sep = ""
	case strings.Contains(uri, "?"):
		sep = "&"
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		uri += sep + pairs[i] + "=" + url.QueryEscape(pairs[i+1])
		sep = "&"
	}
	return uri
}

// hintNames reports whether the hint is about the session, or the user, that is
// signed in.
func (s *Server) hintNames(req *logoutRequest, login *oauthreg.Login) bool {
	if req.client == nil {
		return false
	}
	return req.hint.SessionID != "" && req.hint.SessionID == login.SessionID ||
		req.hint.Subject == s.reg.Subject(req.client, login.Subject)
}

const logoutPurpose = "sign out"

// askLogout asks the user whether to sign out.
func (s *Server) askLogout(w http.ResponseWriter, r *http.Request, req *logoutRequest) error {
	b, err := json.Marshal(req)
	if err != nil {
		return serverError(err)
	}
	browser := s.browser(w, r)
	page := MessagePage{
		Kind: "confirm_sign_out", Action: s.base + "/oauth/logout", CSRF: s.csrfToken(browser, logoutPurpose),
		Cancel:    s.base + "/account",
		Fields:    map[string]string{"logout": sealValue(s.keysFor("logout"), browser, b)},
		UILocales: req.UILocales,
	}
	if req.client != nil {
		page.Client = viewClient(req.client)
	}
	s.setPageHeaders(w.Header(), cspSource(req.RedirectTo))
	return s.pages.Message(w, r, page)
}

// confirmLogout takes the answer of askLogout.
func (s *Server) confirmLogout(w http.ResponseWriter, r *http.Request, form url.Values) error {
	browser := s.browserOf(r)
	if err := s.checkPost(r, browser, logoutPurpose, form.Get("csrf_token")); err != nil {
		return err
	}
	req := new(logoutRequest)
	b, ok := openValue(s.keysFor("logout"), browser, form.Get("logout"))
	if !ok || json.Unmarshal(b, req) != nil {
		return expiredInteraction()
	}
	if req.RedirectTo != "" { // decided anew: the registration may be another by now
		client, err := s.reg.Get(r.Context(), oauthreg.ByClientID(req.ClientID))
		switch {
		case errors.Is(err, oauthreg.ErrNotFound), err == nil && (client.Suspended() || permitPostLogoutRedirect(&client, req.RedirectURI) != nil):
			req.RedirectTo = ""
		case err != nil:
			return err
		}
	}
	login, err := s.signIn.Login(r)
	if err != nil {
		return unavailable(err)
	}
	return s.finishLogout(w, r, login, req)
}

// finishLogout ends the session of this browser, tells the clients, and sends the
// browser on. login is nil when nobody is signed in.
func (s *Server) finishLogout(w http.ResponseWriter, r *http.Request, login *oauthreg.Login, req *logoutRequest) error {
	var frames []string
	if login != nil {
		members, err := s.store.SessionMembers(r.Context(), login.SessionID)
		if err != nil {
			return err
		}
		if frames, err = s.frontchannelFrames(r.Context(), members); err != nil {
			return err
		}
		if err := s.signOutBrowser(w, r, login); err != nil {
			return err
		}
	}
	switch {
	case len(frames) > 0:
		return s.showFrames(w, r, frames, req)
	case req.RedirectTo != "":
		s.redirect(w, r, req.RedirectTo)
		return nil
	}
	return s.showSignedOut(w, r, req)
}

// signOutBrowser ends the session with whoever holds it and makes the notices of
// its clients, in one transaction where the session is ours.
func (s *Server) signOutBrowser(w http.ResponseWriter, r *http.Request, login *oauthreg.Login) error {
	before := slices.Clone(w.Header().Values("Set-Cookie"))
	err := s.inTransaction(r.Context(), func(ctx context.Context) error {
		if err := s.store.EndSession(ctx, login.SessionID, s.now()); err != nil {
			return err
		}
		return s.signOuter.SignOut(w, r.WithContext(ctx))
	})
	if err != nil { // the session lives: the browser keeps its cookie
		w.Header()["Set-Cookie"] = before
		return unavailable(err)
	}
	s.emitLoggedOut(r.Context(), login.Subject, login.SessionID)
	s.notices.wake()
	return nil
}

// EndSession notes that a sign-in session has ended, so that its clients are told
// ([Server.DeliverLogouts]). It is for hosts whose [SignIn] ends sessions by itself,
// because the user signed out elsewhere or was locked out; what ends through the
// server's own pages and its logout endpoint is noted already. Telling it twice,
// or of a session that no client knows, does no harm.
func (s *Server) EndSession(ctx context.Context, sessionID string) error {
	if err := s.store.EndSession(ctx, sessionID, s.now()); err != nil {
		return err
	}
	s.emitLoggedOut(ctx, "", sessionID)
	s.notices.wake()
	return nil
}

// endLoginSession ends a session of the built-in sign-in and makes the notices of
// its clients, in one transaction.
func (s *Server) endLoginSession(ctx context.Context, subject, sessionID string) error {
	err := s.inTransaction(ctx, func(ctx context.Context) error {
		if err := s.store.EndSession(ctx, sessionID, s.now()); err != nil {
			return err
		}
		return s.store.EndLoginSession(ctx, sessionID)
	})
	if err == nil {
		s.emitLoggedOut(ctx, subject, sessionID)
		s.notices.wake()
	}
	return err
}

func (s *Server) showSignedOut(w http.ResponseWriter, r *http.Request, req *logoutRequest) error {
	s.setPageHeaders(w.Header(), "")
	return s.pages.Message(w, r, MessagePage{Kind: "signed_out", UILocales: req.UILocales})
}

// hostSessionEnd is how long a client is known as a member of a session that the
// host keeps, whose end we do not know.
const hostSessionEnd = 400 * 24 * time.Hour

// joinSession notes that a client is let in on the session, if it wants to know
// of its end. It runs in the transaction that makes the grant.
func (s *Server) joinSession(ctx context.Context, c *oauthreg.Client, login *oauthreg.Login, p *authorizeParams, now time.Time) error {
	if s.signOuter == nil || login.SessionID == "" || !slices.Contains(p.Scopes, "openid") ||
		c.BackchannelLogoutURI == "" && c.FrontchannelLogoutURI == "" {
		return nil
	}
	end := hostSessionEnd
	if s.builtin != nil {
		end = s.cfg.Sessions.Absolute
	}
	return s.store.JoinSession(ctx, oauthreg.SessionMember{
		SessionID: login.SessionID, ClientID: c.ID, Subject: login.Subject,
		ClientSubject: s.reg.Subject(c, login.Subject), ExpiresAt: now.Add(end),
	})
}
