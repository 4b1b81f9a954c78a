package handlers

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// authorize serves GET and POST /oauth/authorize (RFC 6749 §3.1).
//
// Until client and redirect URI are known to be good, errors are a page and
// nothing is redirected (§4.1.2.1); from then on they go to the client. The
// request itself stays on the server while the user signs in and decides.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) error {
	var form url.Values
	var err error
	if r.Method == http.MethodPost {
		form, err = formBody(w, r)
	} else {
		form, err = queryParameters(r)
	}
	var repeated *repeatedError
	if err != nil && (!errors.As(err, &repeated) || repeated.has("client_id", "redirect_uri")) {
		return err
	}
	client, err := s.authorizeClient(r, form.Get("client_id"))
	if err != nil {
		return err
	}
	p, oerr := s.permitRequest(client, form, repeated)
	switch {
	case oerr == nil:
		return s.advance(w, r, client, p, nil)
	case p == nil:
		return oerr
	default:
		return s.answerError(w, r, p, oerr)
	}
}

// permitRequest reads an authorization request and decides whether the client
// may make it. Without parameters in the answer there is nowhere to redirect
// to, and an error is a page. It changes nothing.
func (s *Server) permitRequest(client *oauthreg.Client, form url.Values, repeated *repeatedError) (*authorizeParams, *Error) {
	p := &authorizeParams{ClientID: client.ClientID, RedirectURI: form.Get("redirect_uri"), State: form.Get("state")}
	if len(p.State) > maxState {
		return nil, invalidRequest("The state parameter is too long.")
	}
	target, err := redirectTarget(client, p.RedirectURI)
	if err != nil {
		return nil, err
	}
	p.RedirectTo = target
	if repeated != nil {
		if repeated.has("state") {
			p.State = ""
		}
		return p, toOAuth(repeated)
	}
	if err := parseAuthorize(form, p); err != nil {
		return p, err
	}
	return p, s.permitAuthorize(client, p)
}

// authorizeClient finds the client of an authorization request. There is nobody
// to redirect to yet, so every error is a page.
func (s *Server) authorizeClient(r *http.Request, clientID string) (*oauthreg.Client, error) {
	if clientID == "" {
		return nil, invalidRequest("The client_id parameter is missing.")
	}
	client, err := s.reg.Get(r.Context(), oauthreg.ByClientID(clientID))
	switch {
	case errors.Is(err, oauthreg.ErrNotFound):
		return nil, unknownClient()
	case err != nil:
		return nil, err
	case client.Suspended():
		return nil, unknownClient().decidedBy("suspended")
	}
	return &client, nil
}

// unknownClient is all that a browser is told about a client that is not there,
// or is switched off.
func unknownClient() *Error {
	return oauthError(http.StatusBadRequest, "invalid_client", "The client is not known here.")
}

// answerError sends an error to the client's redirect URI (RFC 6749 §4.1.2.1).
// A failure of the server is told to the client as well, once it may be.
func (s *Server) answerError(w http.ResponseWriter, r *http.Request, p *authorizeParams, e *Error) error {
	if e.Status >= http.StatusInternalServerError {
		return e // shown as a page with its status; the request can be repeated
	}
	s.log.InfoContext(r.Context(), "authorization refused", "client_id", p.ClientID, "error", e.Code,
		"description", e.Description, "request_id", requestID(r.Context()))
	s.redirect(w, r, answerURL(s.cfg.Issuer, p, "error", e.Code, "error_description", e.Description))
	return nil
}

// answerURL is the redirect target with the answer: the given name and value
// pairs, state when there was one, and iss (RFC 9207 §2). The registered URI is
// kept byte for byte; its query, if it has one, is extended.
func answerURL(issuer string, p *authorizeParams, pairs ...string) string {
	var b strings.Builder
	b.WriteString(p.RedirectTo)
	sep := byte('?')
	if strings.Contains(p.RedirectTo, "?") {
		sep = '&'
		if strings.HasSuffix(p.RedirectTo, "?") || strings.HasSuffix(p.RedirectTo, "&") {
			sep = 0
		}
	}
	add := func(name, value string) {
		if sep != 0 {
			b.WriteByte(sep)
		}
		sep = '&'
		b.WriteString(name)
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(value))
	}
	for i := 0; i < len(pairs); i += 2 {
		add(pairs[i], pairs[i+1])
	}
	if p.State != "" {
		add("state", p.State)
	}
	add("iss", issuer)
	return b.String()
}

// redirect sends the browser on: 302 after GET, 303 after POST, so that a form
// is never repeated at the target (RFC 9700 §4.12).
func (s *Server) redirect(w http.ResponseWriter, r *http.Request, target string) {
	status := http.StatusFound
	if r.Method == http.MethodPost {
		status = http.StatusSeeOther
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Location", target) // not http.Redirect: it would rewrite the path
	w.WriteHeader(status)
}
