package handlers

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// maxAccounts is how many people may be signed in at one browser. Who comes
// after that ends the session of the one who was there first.
const maxAccounts = 5

// account is a session of the built-in sign-in that this browser has, with the
// user name as it was typed.
type account struct {
	oauthreg.LoginSession
	handle   string
	username string
	current  bool
}

// rememberedAccount is what the accounts cookie keeps of a session that is not
// the current one.
type rememberedAccount struct {
	Handle   string `json:"h"`
	Username string `json:"u"`
}

// setAccounts makes others the sessions that this browser has beside the current
// one. The cookie is encrypted and opens for this browser alone.
func (s *Server) setAccounts(w http.ResponseWriter, r *http.Request, others []account) {
	if len(others) == 0 {
		if _, err := r.Cookie(s.cookieName(accountsCookie)); err == nil {
			s.clearCookie(w, accountsCookie)
		}
		return
	}
	list := make([]rememberedAccount, len(others))
	for i, a := range others {
		list[i] = rememberedAccount{a.handle, a.username}
	}
	b, err := json.Marshal(list)
	if err != nil {
		panic("handlers: two strings are plain data: " + err.Error())
	}
	s.setCookie(w, accountsCookie, sealValue(s.keysFor("accounts cookie"), s.browser(w, r), b))
}

// rememberedAccounts is what [Server.setAccounts] put into r's browser.
func (s *Server) rememberedAccounts(r *http.Request) []rememberedAccount {
	browser := s.browserOf(r)
	if browser == "" {
		return nil
	}
	for _, c := range r.CookiesNamed(s.cookieName(accountsCookie)) {
		var list []rememberedAccount
		if b, ok := openValue(s.keysFor("accounts cookie"), browser, c.Value); ok && json.Unmarshal(b, &list) == nil {
			return list[:min(len(list), maxAccounts)]
		}
	}
	return nil
}

// accounts are the live sessions of r's browser: the current one first, then the
// others, the one that was left last first.
func (p *passwordSignIn) accounts(r *http.Request) ([]account, error) {
	var out []account
	add := func(handle, username string, current bool) error {
		session, err := p.s.store.LoginSession(r.Context(), handle)
		switch {
		case errors.Is(err, oauthreg.ErrNotFound):
			return nil
		case err != nil:
			return err
		}
		if !slices.ContainsFunc(out, func(a account) bool { return a.Subject == session.Subject }) {
			out = append(out, account{session, handle, username, current})
		}
		return nil
	}
	if handle, username := p.s.sessionOf(r); handle != "" {
		if err := add(handle, username, true); err != nil {
			return nil, err
		}
	}
	for _, a := range p.s.rememberedAccounts(r) {
		if err := add(a.Handle, a.Username, false); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// without is accounts but the one of that session id.
func without(accounts []account, sessionID string) []account {
	return slices.DeleteFunc(slices.Clone(accounts), func(a account) bool { return a.SessionID == sessionID })
}

// choose shows the account chooser. The account that login_hint names comes
// first.
func (p *passwordSignIn) choose(w http.ResponseWriter, r *http.Request, step *signInStep, interaction string, accounts []account) error {
	page := AccountsPage{
		Client: ClientView{ClientID: step.ClientID, Name: step.ClientName},
		Action: p.s.base + "/login/account", Other: p.page(interaction, "other"), Interaction: interaction,
		CSRF: p.s.csrfToken(p.s.browser(w, r), "accounts"), UILocales: step.UILocales,
	}
	for _, a := range accounts {
		choice := AccountChoice{ID: a.SessionID, Username: a.username, Current: a.current}
		if step.LoginHint != "" && a.username == step.LoginHint {
			page.Accounts = slices.Insert(page.Accounts, 0, choice)
		} else {
			page.Accounts = append(page.Accounts, choice)
		}
	}
	p.s.setPageHeaders(w.Header(), step.FormTarget)
	return p.s.pages.Accounts(w, r, page)
}

// page is the sign-in page for an account: "choose" for the chooser, "other" for
// one that is not signed in yet, or a session id.
func (p *passwordSignIn) page(interaction, account string) string {
	q := url.Values{"account": {account}}
	if interaction != "" {
		q.Set("interaction", interaction)
	}
	return p.s.base + "/login?" + q.Encode()
}

// chooser is the link from the sign-in page back to the chooser: empty where
// there is nothing to choose.
func (p *passwordSignIn) chooser(interaction string, reauthenticate bool, accounts []account) string {
	if len(accounts) == 0 || reauthenticate && len(accounts) == 1 {
		return ""
	}
	return p.page(interaction, "choose")
}

// chosen serves POST /login/account: it goes on with an account of this browser,
// or signs that one out. An account that is not signed in any more is asked for
// its password, like any other.
func (p *passwordSignIn) chosen(w http.ResponseWriter, r *http.Request) error {
	form, err := formBody(w, r)
	if err != nil {
		return err
	}
	browser := p.s.browserOf(r)
	if err := p.s.checkPost(r, browser, "accounts", form.Get("csrf_token")); err != nil {
		return err
	}
	interaction := form.Get("interaction")
	step, ok := p.step(browser, interaction)
	if !ok {
		return p.stale(w, r)
	}
	accounts, err := p.accounts(r)
	if err != nil {
		return unavailable(err)
	}
	id := form.Get("account")
	at := slices.IndexFunc(accounts, func(a account) bool { return a.SessionID == id })
	if at < 0 {
		p.s.redirect(w, r, p.page(interaction, "choose"))
		return nil
	}
	rest := without(accounts, id)
	switch form.Get("action") {
	case "sign_out":
		return p.signOutAccount(w, r, &accounts[at], rest, p.page(interaction, "choose"))
	case "choose":
	default:
		return invalidRequest("There is no choice.")
	}
	if step.Fresh { // it has to prove itself first
		p.s.redirect(w, r, p.page(interaction, id))
		return nil
	}
	p.s.setAccounts(w, r, rest)
	p.s.setSession(w, accounts[at].handle, accounts[at].username)
	return p.goOn(w, r, step, &accounts[at].Login, nil)
}

// signOutAccount ends one session of this browser and tells its clients; the
// others stay. The browser goes on to next.
func (p *passwordSignIn) signOutAccount(w http.ResponseWriter, r *http.Request, a *account, rest []account, next string) error {
	if a.current {
		return p.s.finishLogout(w, r, &a.Login, &logoutRequest{RedirectTo: next})
	}
	members, err := p.s.store.SessionMembers(r.Context(), a.SessionID)
	if err != nil {
		return err
	}
	frames, err := p.s.frontchannelFrames(r.Context(), members)
	if err != nil {
		return err
	}
	if err := p.s.endLoginSession(r.Context(), a.Subject, a.SessionID); err != nil {
		return unavailable(err)
	}
	p.s.setAccounts(w, r, slices.DeleteFunc(rest, func(o account) bool { return o.current }))
	if len(frames) > 0 {
		return p.s.showFrames(w, r, frames, &logoutRequest{RedirectTo: next})
	}
	p.s.redirect(w, r, next)
	return nil
}
