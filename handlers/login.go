package handlers

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// passwordSignIn is the sign-in that is built in: user name and password, asked
// for on a page of ours, and sessions in the store.
type passwordSignIn struct{ s *Server }

var (
	_ SignIn    = (*passwordSignIn)(nil)
	_ SignOuter = (*passwordSignIn)(nil)
)

func newPasswordSignIn(s *Server) *passwordSignIn { return &passwordSignIn{s: s} }

// routes mounts the sign-in page.
func (p *passwordSignIn) routes(page func(path, name string, e endpoint, methods ...string)) {
	page("/login", "login", p.login, http.MethodGet, http.MethodHead, http.MethodPost)
	page("/login/account", "login_account", p.chosen, http.MethodPost)
}

// Bounds on what is typed.
const (
	maxUsername = 255  // bytes
	maxPassword = 1024 // bytes
	maxAgent    = 255  // bytes of the User-Agent that are kept
)

// touchEvery is how far a session's idle end may lag behind.
const touchEvery = time.Minute

// Login answers from the session cookie and the store.
func (p *passwordSignIn) Login(r *http.Request) (*oauthreg.Login, error) {
	handle, _ := p.s.sessionOf(r)
	if handle == "" {
		return nil, nil
	}
	session, err := p.s.store.LoginSession(r.Context(), handle)
	switch {
	case errors.Is(err, oauthreg.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	if now := p.s.now().UTC(); now.Sub(session.LastSeenAt) >= touchEvery {
		err := p.s.store.TouchLoginSession(r.Context(), handle, now, p.idleEnd(now, session.ExpiresAt))
		if err != nil && !errors.Is(err, oauthreg.ErrNotFound) { // the session is good as it is
			p.s.log.WarnContext(r.Context(), "touch session", "err", err, "request_id", requestID(r.Context()))
		}
	}
	return &session.Login, nil
}

func (p *passwordSignIn) idleEnd(now, absolute time.Time) time.Time {
	if idle := now.Add(p.s.cfg.Sessions.Idle); idle.Before(absolute) {
		return idle
	}
	return absolute
}

// login serves GET /login, the sign-in page or, for a browser with accounts to
// choose from, the account chooser; and POST /login, which takes name and password
// and goes on to where the sign-in was asked for. Which of the two was wrong is
// not told.
func (p *passwordSignIn) login(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodPost {
		return p.submit(w, r)
	}
	form, err := queryParameters(r)
	if err != nil {
		return err
	}
	interaction := form.Get("interaction")
	step, ok := p.step(p.s.browserOf(r), interaction)
	if !ok {
		return p.stale(w, r)
	}
	if _, err := p.Login(r); err != nil { // which notes that the session is in use
		return unavailable(err)
	}
	return p.ask(w, r, step, interaction, form.Get("account"))
}

// ask shows the sign-in page or the account chooser. interaction is step as it goes
// through the browser. asked is a session id, or "choose" or "other", when the user
// wants a certain page.
func (p *passwordSignIn) ask(w http.ResponseWriter, r *http.Request, step *signInStep, interaction, asked string) error {
	accounts, err := p.accounts(r)
	if err != nil {
		return unavailable(err)
	}
	signedIn := len(accounts) > 0 && accounts[0].current
	page := LoginPage{Username: step.LoginHint, Interaction: interaction}
	at := slices.IndexFunc(accounts, func(a account) bool { return a.SessionID == asked })
	switch {
	case asked == "other":
		if slices.ContainsFunc(accounts, func(a account) bool { return a.username == step.LoginHint }) {
			page.Username = ""
		}
	case at >= 0:
		page.Username, page.Reauthenticate = accounts[at].username, true
	case len(accounts) > 0 && (asked == "choose" || step.Other || !signedIn):
		return p.choose(w, r, step, interaction, accounts)
	case interaction == "" && signedIn:
		p.s.redirect(w, r, step.ReturnTo)
		return nil
	case signedIn:
		page.Username, page.Reauthenticate = accounts[0].username, step.Fresh
	}
	page.Choose = p.chooser(interaction, page.Reauthenticate, accounts)
	return p.show(w, r, http.StatusOK, step, page)
}

// show writes the sign-in page.
func (p *passwordSignIn) show(w http.ResponseWriter, r *http.Request, status int, step *signInStep, page LoginPage) error {
	page.Client = ClientView{ClientID: step.ClientID, Name: step.ClientName, Logo: step.ClientLogo}
	page.Action = p.s.base + "/login"
	page.CSRF = p.s.csrfToken(p.s.browser(w, r), "sign-in")
	page.UILocales = step.UILocales
	p.s.setPageHeaders(w.Header(), step.FormTarget)
	return p.s.pages.Login(w, r, status, page)
}

// stale answers for a step that expired, was altered or is another browser's.
func (p *passwordSignIn) stale(w http.ResponseWriter, r *http.Request) error {
	p.s.log.InfoContext(r.Context(), "sign-in step refused", "request_id", requestID(r.Context()))
	p.s.emitAnswer(r.Context(), invalidRequest("This sign-in is no longer open in this browser."))
	p.s.setPageHeaders(w.Header(), "")
	return p.s.pages.Error(w, r, ErrorPage{
		Status: http.StatusBadRequest, Code: "invalid_request", RequestID: requestID(r.Context()),
		Description: "This sign-in is no longer open in this browser.", SignIn: p.s.base + "/login",
	})
}

func (p *passwordSignIn) submit(w http.ResponseWriter, r *http.Request) error {
	form, err := formBody(w, r)
	if err != nil {
		return err
	}
	browser := p.s.browserOf(r)
	if err := p.s.checkPost(r, browser, "sign-in", form.Get("csrf_token")); err != nil {
		return err
	}
	interaction := form.Get("interaction")
	step, ok := p.step(browser, interaction)
	if !ok {
		return p.stale(w, r)
	}
	infoOf(r.Context()).clientID = step.ClientID
	username, password := form.Get("username"), form.Get("password")
	page := LoginPage{Username: username, Interaction: interaction}
	if len(username) > maxUsername {
		page.Username = ""
	}
	accounts, err := p.accounts(r)
	if err != nil {
		return unavailable(err)
	}
	page.Reauthenticate = step.Fresh && slices.ContainsFunc(accounts, func(a account) bool { return a.username == username })
	page.Choose = p.chooser(interaction, page.Reauthenticate, accounts)

	ctx := r.Context()
	tries := []string{"user " + strings.ToLower(page.Username), "address " + p.s.clientAddress(r)}
	for _, key := range tries {
		if after, ok := p.s.allow(ctx, LimitSignIn, key); !ok {
			page.Throttled = true
			w.Header().Set("Retry-After", strconv.Itoa(int((after+time.Second-1)/time.Second)))
			return p.show(w, r, http.StatusTooManyRequests, step, page)
		}
	}
	var subject string
	ok = false
	if isTyped(username, maxUsername) && len(password) > 0 && len(password) <= maxPassword {
		if subject, ok, err = p.s.cfg.Users.CheckPassword(ctx, username, password); err != nil {
			return unavailable(err)
		}
	}
	if !ok {
		for _, key := range tries {
			p.s.limits.Failed(ctx, LimitSignIn, key)
		}
		p.s.emit(ctx, oauthreg.Event{Type: oauthreg.EventSignInFailed})
		page.Failed = true
		return p.show(w, r, http.StatusOK, step, page)
	}
	if subject == "" {
		return serverError(errors.New("sign-in: CheckPassword returned no subject"))
	}
	login, made := p.start(w, r, subject, username, accounts)
	return p.goOn(w, r, step, login, made)
}

// goOn answers a sign-in: by what becomes of the authorization request that it was
// for, without sending the browser back there first, or with the way to where
// else it was asked for.
func (p *passwordSignIn) goOn(w http.ResponseWriter, r *http.Request, step *signInStep, login *oauthreg.Login, made *freshSession) error {
	if step.Request != nil {
		return p.s.resumeCarried(w, r, *step.Request, login, made)
	}
	if to, err := url.Parse(step.ReturnTo); err == nil && to.Path == p.s.base+resumePath {
		return p.s.resumeAs(w, r, to.Query().Get("interaction"), login, made)
	}
	if err := p.s.storeWith(r.Context(), made, nil); err != nil {
		return err
	}
	p.s.redirect(w, r, step.ReturnTo)
	return nil
}

// freshSession is a session that is not stored yet: it is, in one transaction with
// what becomes of the request that its user signed in for. nil is none.
type freshSession struct {
	store func(context.Context) error
	// stored tells everybody, the browser included.
	stored func()
}

// storeWith runs fn, which may be nil, in one transaction with what stores the new
// session.
func (s *Server) storeWith(ctx context.Context, made *freshSession, fn func(context.Context) error) error {
	switch {
	case made == nil && fn == nil:
		return nil
	case made == nil:
		return fn(ctx)
	}
	err := s.inTransaction(ctx, func(ctx context.Context) error {
		if err := made.store(ctx); err != nil || fn == nil {
			return err
		}
		return fn(ctx)
	})
	if err == nil {
		made.stored()
	}
	return err
}

// isTyped reports whether v may have been typed into a text field.
func isTyped(v string, limit int) bool {
	return v != "" && len(v) <= limit && utf8.ValidString(v) && !strings.ContainsFunc(v, unicode.IsControl)
}

// start makes a new session with a new cookie, whatever the browser had before,
// so that nobody can plant a session and wait for somebody to sign in to it. A
// user who proves once more who they are keeps the session's id (sid), which the
// clients know. The sessions of others at this browser stay, to choose from,
// beyond maxAccounts the first of them ends.
func (p *passwordSignIn) start(w http.ResponseWriter, r *http.Request, subject, username string, accounts []account) (*oauthreg.Login, *freshSession) {
	now := p.s.now().UTC()
	session := oauthreg.LoginSession{
		Login:     oauthreg.Login{Subject: subject, SessionID: newSessionID(now), AuthTime: now, AMR: []string{"pwd"}},
		Handle:    newHandle(now),
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(p.s.cfg.Sessions.Absolute),
		UserAgent: userAgent(r),
	}
	session.IdleExpiresAt = p.idleEnd(now, session.ExpiresAt)
	others, again := accounts, false
	if at := slices.IndexFunc(accounts, func(a account) bool { return a.Subject == subject }); at >= 0 {
		again = true
		session.SessionID = accounts[at].SessionID
		others = without(accounts, session.SessionID)
	}
	store := func(ctx context.Context) error {
		if again {
			if err := p.s.store.EndLoginSession(ctx, session.SessionID); err != nil {
				return err
			}
		}
		return p.s.store.CreateLoginSession(ctx, session)
	}
	return &session.Login, &freshSession{store, func() {
		ctx := r.Context()
		p.s.emit(ctx, oauthreg.Event{Type: oauthreg.EventSignedIn, Subject: subject, SessionID: session.SessionID})
		for len(others) >= maxAccounts {
			last := others[len(others)-1]
			others = others[:len(others)-1]
			// The new cookie goes out all the same, so a failure is only logged.
			if err := p.s.endLoginSession(ctx, last.Subject, last.SessionID); err != nil {
				p.s.log.WarnContext(ctx, "end session", "err", err, "request_id", requestID(ctx))
			}
		}
		p.s.setAccounts(w, r, others)
		p.s.setSession(w, session.Handle, username)
	}}
}

// newSessionID is a sid. Like the handle of a session it begins with its time, so
// that sessions begun together lie together in the store's indexes.
func newSessionID(now time.Time) string {
	return fmt.Sprintf("%012x", now.UnixMilli()) + rand.Text()
}

// current is the live session of r's browser, nil when it has none.
func (p *passwordSignIn) current(r *http.Request) (*oauthreg.LoginSession, error) {
	handle, _ := p.s.sessionOf(r)
	if handle == "" {
		return nil, nil
	}
	session, err := p.s.store.LoginSession(r.Context(), handle)
	switch {
	case errors.Is(err, oauthreg.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &session, nil
}

// SignOut ends the session of r's browser.
func (p *passwordSignIn) SignOut(w http.ResponseWriter, r *http.Request) error {
	session, err := p.current(r)
	if err != nil {
		return err
	}
	if session != nil {
		if err := p.s.store.EndLoginSession(r.Context(), session.SessionID); err != nil {
			return err
		}
	}
	p.s.clearCookie(w, sessionCookie)
	return nil
}

// userAgent is what is kept of the User-Agent, for the list of sessions.
func userAgent(r *http.Request) string {
	ua := strings.ToValidUTF8(r.UserAgent(), "")
	for len(ua) > maxAgent {
		_, size := utf8.DecodeLastRuneInString(ua)
		ua = ua[:len(ua)-size]
	}
	return ua
}

// username is what pages call the user who is signed in: what they typed at the
// built-in sign-in, or what the host knows them by. Empty when nothing is known.
func (s *Server) username(r *http.Request, login *oauthreg.Login) string {
	if s.builtin != nil {
		if _, name := s.sessionOf(r); name != "" {
			return name
		}
	}
	if s.cfg.Claims == nil {
		return ""
	}
	claims, err := s.cfg.Claims.Claims(r.Context(), login.Subject)
	if err != nil { // the page is as good without
		return ""
	}
	for _, claim := range []string{"preferred_username", "email", "name"} {
		if v, _ := claims[claim].(string); v != "" {
			return v
		}
	}
	return ""
}
