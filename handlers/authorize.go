package handlers

import (
	"context"
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
	if s.crossSitePost(r) && repeated == nil {
		if query := form.Encode(); len(query) <= maxQuery {
			s.redirect(w, r, s.base+"/oauth/authorize?"+query)
			return nil
		}
	}
	client, err := s.authorizeClient(r, form.Get("client_id"))
	if err != nil {
		return err
	}
	p, oerr := s.permitRequest(r.Context(), client, form, repeated, s.requestDocument)
	switch {
	case oerr == nil:
	case p == nil:
		return oerr
	default:
		return s.answerError(w, r, p, oerr)
	}
	if p.IDTokenHint != "" {
		hint, err := s.readHint(r.Context(), p.IDTokenHint)
		if err != nil {
			return err
		}
		if hint == nil || !hint.isFor(client.ClientID) {
			return s.answerError(w, r, p, invalidRequest("The id_token_hint is not an ID token that this client got here."))
		}
		p.HintSubject = hint.Subject
	}
	return s.advance(w, r, client, p, nil)
}

// permitRequest decides about the parameters of a request, those of its request
// object if it has one; fetch gets an object from a registered place. With an
// error, the parameters say where it goes; without them it is for a page.
// repeated is what stood more than once.
func (s *Server) permitRequest(ctx context.Context, c *oauthreg.Client, form url.Values, repeated *repeatedError, fetch fetchObject) (*authorizeParams, *Error) {
	if repeated == nil && (form.Has("request") || form.Has("request_uri")) {
		signed, err := s.requestParameters(ctx, c, form, fetch)
		if err != nil {
			// Nothing is verified, so the parameters beside the object say where
			// a refusal goes.
			p, perr := answerTo(c, form)
			if perr != nil {
				return nil, perr
			}
			return p, toOAuth(err)
		}
		form = signed
	}
	p, err := answerTo(c, form)
	if err != nil {
		return nil, err
	}
	if repeated != nil {
		if repeated.has("state") {
			p.State = ""
		}
		return p, toOAuth(repeated)
	}
	if err := parseAuthorize(form, p); err != nil {
		return p, err
	}
	return p, s.permitAuthorize(c, p)
}

// answerTo reads from a request where its answer goes, and how: what is needed to
// refuse it. An error is for a page.
func answerTo(c *oauthreg.Client, form url.Values) (*authorizeParams, *Error) {
	p := &authorizeParams{
		ClientID: c.ClientID, RedirectURI: form.Get("redirect_uri"), State: form.Get("state"),
		ResponseType: orderedResponseType(form.Get("response_type")), ResponseMode: form.Get("response_mode"),
		UILocales: strings.Fields(form.Get("ui_locales")),
	}
	if len(p.State) > maxState {
		return nil, invalidRequest("The state parameter is too long.")
	}
	target, err := redirectTarget(c, p.RedirectURI)
	if err != nil {
		return nil, err
	}
	p.RedirectTo = target
	return p, nil
}

// crossSitePost reports whether another site posted the request. Browsers keep
// our SameSite cookies from such a request, so nobody would be signed in; sent on
// as a GET it has them.
func (s *Server) crossSitePost(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	return r.Method == http.MethodPost && origin != "" && origin != originOf(s.issuer) &&
		r.Header.Get("Sec-Fetch-Site") != "same-origin"
}

// authorizeClient finds the client of an authorization request. There is nobody
// to redirect to yet, so every error is a page.
func (s *Server) authorizeClient(r *http.Request, clientID string) (*oauthreg.Client, error) {
	if clientID == "" {
		return nil, invalidRequest("The client_id parameter is missing.")
	}
	infoOf(r.Context()).clientID = clientID
	client, err := s.requestingClient(r.Context(), clientID, s.clientAddress(r))
	switch {
	case errors.Is(err, oauthreg.ErrNotFound):
		return nil, unknownClient()
	case err != nil:
		return nil, err
	case client.Suspended():
		return nil, unknownClient().decidedBy("suspended")
	}
	infoOf(r.Context()).isClient(client)
	return client, nil
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
	s.emitAnswer(r.Context(), e)
	s.redirect(w, r, s.answerURL(p, "error", e.Code, "error_description", e.Description))
	return nil
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
