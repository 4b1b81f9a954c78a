package handlers

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// consent serves GET /consent, the page that asks the signed-in user, and POST
// /consent, which takes the decision. The decision is bound to the browser, the
// user, the client, the redirect URI and the scopes, and counts once.
func (s *Server) consent(w http.ResponseWriter, r *http.Request) error {
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
	browser := s.browserOf(r)
	in, client, err := s.loadInteraction(r, form.Get("consent_token"), browser)
	if err != nil {
		return err
	}
	if r.Method == http.MethodPost {
		if err := s.checkPost(r, browser, consentPurpose(in.Handle), form.Get("csrf_token")); err != nil {
			return err
		}
	}
	login, err := s.signIn.Login(r)
	if err != nil {
		return unavailable(err)
	}
	if login == nil || login.Subject != in.Subject || in.Subject == "" {
		// Signed out, or somebody else signed in meanwhile: begin again.
		return s.advance(w, r, client, &in.Params, in)
	}
	if r.Method == http.MethodGet {
		if form.Get("account") == "other" {
			return s.beginSignIn(w, r, s.signInRequest(client, &in.Params, in, &signInNeed{selectAccount: true}))
		}
		return s.showConsent(w, r, client, login, in)
	}
	var allowed bool
	switch form.Get("decision") {
	case "allow":
		allowed = true
	case "deny":
	default:
		return invalidRequest("There is no decision.")
	}
	target, err := s.decide(r.Context(), client, login, in, allowed)
	if err != nil {
		return err
	}
	s.redirect(w, r, target)
	return nil
}

func consentPurpose(handle string) string { return "consent " + handle }

// decide carries out a decision and returns where the browser goes.
func (s *Server) decide(ctx context.Context, client *oauthreg.Client, login *oauthreg.Login, in *interaction, allowed bool) (string, error) {
	if allowed {
		return s.answerCode(ctx, client, login, &in.Params, in, consentState{decided: true}, nil)
	}
	to, err := s.refuse(ctx, client, &in.Params, in, "The user did not consent.")
	if err != nil {
		return "", err
	}
	s.emit(ctx, oauthreg.Event{
		Type: oauthreg.EventConsentDenied, ClientID: client.ClientID, Subject: login.Subject, SessionID: login.SessionID,
		Scopes: s.consentScopes(client, &in.Params), Resources: in.Params.Resources, Error: "access_denied",
	})
	return to, nil
}

func (s *Server) showConsent(w http.ResponseWriter, r *http.Request, client *oauthreg.Client, login *oauthreg.Login, in *interaction) error {
	state, err := s.consentState(r.Context(), client, login, &in.Params)
	if err != nil {
		return err
	}
	page := ConsentPage{
		Client: s.viewClient(client), Subject: login.Subject, Username: s.username(r, login),
		SwitchAccount: s.base + "/consent?account=other&consent_token=" + url.QueryEscape(in.Handle),
		RedirectHost:  redirectHost(in.Params.RedirectTo), Resources: in.Params.Resources,
		Action: s.base + "/consent", ConsentToken: in.Handle,
		CSRF: s.csrfToken(in.Browser, consentPurpose(in.Handle)), UILocales: in.Params.UILocales,
	}
	for _, name := range s.consentScopes(client, &in.Params) {
		page.Scopes = append(page.Scopes, ConsentScope{Scope: s.scope(name), New: !slices.Contains(state.granted.Scopes, name)})
	}
	s.setPageHeaders(w.Header(), cspSource(in.Params.RedirectTo))
	return s.pages.Consent(w, r, http.StatusOK, page)
}

// scope is a scope with its words; one the server does not know has its name alone.
func (s *Server) scope(name string) Scope {
	for _, known := range s.cfg.Scopes {
		if known.Name == name {
			return known
		}
	}
	return Scope{Name: name}
}

// redirectHost is what a person recognizes of a redirect URI: its host, or the
// scheme of an application on their device.
func redirectHost(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	if u.Scheme == "https" || u.Scheme == "http" {
		return u.Host
	}
	return strings.ToLower(u.Scheme) + ":"
}
