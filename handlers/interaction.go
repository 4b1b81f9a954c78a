package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// pending is what an [oauthreg.Interaction] keeps of an authorization request
// while a person signs in and decides, in the form of pending_codec.go.
type pending struct {
	Params authorizeParams
	// SignedIn says that the browser was sent to sign in and came back: then
	// prompt=login and prompt=select_account are satisfied by a sign-in since.
	SignedIn bool
	// AuthTime, AMR and ACR are how the user who has to decide proved who they
	// are, for a decision that does not come from their browser.
	AuthTime time.Time
	AMR      []string
	ACR      string
}

// interaction is a pending request together with what it is stored as.
type interaction struct {
	oauthreg.Interaction
	pending
	// carried says that it is not stored: it travels through the browser that
	// signs in, or is new.
	carried bool
}

// resumePath is where the browser comes back to after signing in, with the handle
// of its pending request as interaction.
const resumePath = "/oauth/authorize/resume"

// resume serves GET /oauth/authorize/resume.
func (s *Server) resume(w http.ResponseWriter, r *http.Request) error {
	form, err := queryParameters(r)
	if err != nil {
		return err
	}
	in, client, err := s.cameBack(r, form.Get("interaction"))
	if err != nil {
		return err
	}
	return s.advance(w, r, client, &in.Params, in)
}

// resumeAs is resume in the answer to the sign-in itself: login is who it is, and
// made the session, if that is new.
func (s *Server) resumeAs(w http.ResponseWriter, r *http.Request, handle string, login *oauthreg.Login, made *freshSession) error {
	in, client, err := s.cameBack(r, handle)
	if err != nil {
		return err
	}
	return s.advanceAs(w, r, client, &in.Params, in, login, made)
}

// resumeCarried is resumeAs for a request that is not stored yet, unless the same
// sign-in was answered before.
func (s *Server) resumeCarried(w http.ResponseWriter, r *http.Request, carried oauthreg.Interaction, login *oauthreg.Login, made *freshSession) error {
	carried.Browser = s.browserOf(r)
	in := &interaction{Interaction: carried, carried: true}
	client, err := s.reopen(r.Context(), in)
	if err != nil {
		return err
	}
	in.SignedIn = true
	return s.advanceAs(w, r, client, &in.Params, in, login, made)
}

// cameBack is loadInteraction after somebody signed in for it. Everything is read
// from the server's side and decided anew.
func (s *Server) cameBack(r *http.Request, handle string) (*interaction, *oauthreg.Client, error) {
	in, client, err := s.loadInteraction(r, handle, s.browserOf(r))
	if err != nil {
		return nil, nil, err
	}
	in.SignedIn = true
	return in, client, nil
}

// loadInteraction finds a pending request of this browser, with the client as it
// is now, and decides once more whether it may make the request.
func (s *Server) loadInteraction(r *http.Request, handle, browser string) (*interaction, *oauthreg.Client, error) {
	if handle == "" || browser == "" {
		return nil, nil, expiredInteraction()
	}
	return s.interactionOf(r.Context(), handle, browser)
}

// interactionOf is loadInteraction for callers that are not the browser: with an
// empty browser nothing is compared.
func (s *Server) interactionOf(ctx context.Context, handle, browser string) (*interaction, *oauthreg.Client, error) {
	stored, err := s.store.Interaction(ctx, handle, browser)
	switch {
	case errors.Is(err, oauthreg.ErrConsumed):
		client, err := s.reg.Get(ctx, oauthreg.ByID(stored.ClientID))
		if err != nil || client.Suspended() {
			return nil, nil, finishedInteraction(nil) // it was answered all the same
		}
		return nil, nil, finishedInteraction(&client)
	case errors.Is(err, oauthreg.ErrNotFound):
		return nil, nil, expiredInteraction()
	case err != nil:
		return nil, nil, err
	}
	in := &interaction{Interaction: stored}
	in.Handle, in.Browser = handle, browser
	client, err := s.reopen(ctx, in)
	if err != nil {
		return nil, nil, err
	}
	return in, client, nil
}

// reopen reads what is kept of a request and decides once more whether its client,
// as it is now, may make it.
func (s *Server) reopen(ctx context.Context, in *interaction) (*oauthreg.Client, error) {
	if err := in.readBinary(in.Request); err != nil {
		return nil, serverError(err)
	}
	client, err := s.interactingClient(ctx, in)
	switch {
	case errors.Is(err, oauthreg.ErrNotFound):
		return nil, expiredInteraction()
	case err != nil:
		return nil, err
	case client.Suspended():
		return nil, oauthError(http.StatusBadRequest, "invalid_client", "The client is not known here.")
	}
	infoOf(ctx).isClient(client)
	target, oerr := redirectTarget(client, in.Params.RedirectURI)
	if oerr != nil {
		return nil, oerr
	}
	in.Params.RedirectTo = target
	if oerr := s.permitAuthorize(client, &in.Params); oerr != nil {
		return nil, oerr
	}
	return client, nil
}

func expiredInteraction() *Error {
	e := invalidRequest("This step is no longer open in this browser. Go back to the application and start again.")
	e.wayOn = true
	return e
}

// finishedInteraction names the client that asked, nil when it is gone.
func finishedInteraction(client *oauthreg.Client) *Error {
	e := oauthError(http.StatusConflict, "invalid_request", "This request was answered already. Go back to the application and start again.")
	e.wayOn = true
	if client != nil {
		e.client = viewClient(client)
	}
	return e
}

// advance takes a permitted request as far as it goes now: to the sign-in, to
// the consent page, or back to the client with a code.
func (s *Server) advance(w http.ResponseWriter, r *http.Request, client *oauthreg.Client, p *authorizeParams, in *interaction) error {
	login, err := s.signIn.Login(r)
	if err != nil {
		return unavailable(err)
	}
	return s.advanceAs(w, r, client, p, in, login, nil)
}

// advanceAs is advance for the user who is signed in; login is nil for nobody.
// made is the session, if that is new.
func (s *Server) advanceAs(w http.ResponseWriter, r *http.Request, client *oauthreg.Client, p *authorizeParams, in *interaction, login *oauthreg.Login, made *freshSession) error {
	err := s.advanceOnce(w, r, client, p, in, login, made)
	if !errors.Is(err, oauthreg.ErrConflict) || !s.isStored(r.Context(), in) {
		return err
	}
	// The same sign-in was sent twice: the request is what the first made of it.
	in, client, err = s.cameBack(r, in.Handle)
	if err != nil {
		return err
	}
	return s.advanceAs(w, r, client, &in.Params, in, login, made)
}

// isStored reports whether a request that travelled through the browser is stored.
func (s *Server) isStored(ctx context.Context, in *interaction) bool {
	if in == nil || !in.carried {
		return false
	}
	_, err := s.store.Interaction(ctx, in.Handle, in.Browser)
	return !errors.Is(err, oauthreg.ErrNotFound)
}

// advanceOnce is advanceAs but for a request that is carried and, as only a conflict
// tells, stored.
func (s *Server) advanceOnce(w http.ResponseWriter, r *http.Request, client *oauthreg.Client, p *authorizeParams, in *interaction, login *oauthreg.Login, made *freshSession) (err error) {
	if need := s.needsSignIn(client, login, p, in); need != nil {
		if err := s.storeWith(r.Context(), made, nil); err != nil {
			return err
		}
		if p.prompts("none") {
			return s.answerError(w, r, p, oauthError(http.StatusBadRequest, "login_required", "The user has to sign in."))
		}
		if need.refuse != nil {
			return s.answerError(w, r, p, need.refuse)
		}
		if in == nil {
			in = s.newInteraction(w, r, client, p)
		}
		in.decider(nil)
		if !in.carried || s.builtin == nil || len(in.Request) > maxCarried {
			if err := s.keep(r, client, in, nil); err != nil {
				return err
			}
		}
		return s.beginSignIn(w, r, s.signInRequest(client, p, in, need))
	}
	infoOf(r.Context()).subject = login.Subject
	consent := consentState{needed: true} // whatever was granted before
	if !p.prompts("consent") {
		if consent, err = s.consentState(r.Context(), client, login, p); err != nil {
			return err
		}
	}
	if consent.needed {
		if p.prompts("none") {
			return s.answerError(w, r, p, oauthError(http.StatusBadRequest, "consent_required", "The user has to consent."))
		}
		if in == nil {
			in = s.newInteraction(w, r, client, p)
		}
		in.decider(login)
		if err := s.keep(r, client, in, made); err != nil {
			return err
		}
		s.redirect(w, r, s.base+"/consent?consent_token="+url.QueryEscape(in.Handle))
		return nil
	}
	target, err := s.answerCode(r.Context(), client, login, p, in, consent, made)
	if errors.Is(err, oauthreg.ErrConflict) && !s.isStored(r.Context(), in) {
		now, cerr := s.consentState(r.Context(), client, login, p)
		switch {
		case cerr != nil:
			return cerr
		case now.granted.ID == consent.granted.ID: // it is about something else
			return unavailable(err)
		}
		return s.advanceAs(w, r, client, p, in, login, made) // the user took the consent back meanwhile
	}
	if err != nil {
		return err
	}
	s.redirect(w, r, target)
	return nil
}

// signInNeed is why a user has to sign in although somebody may be signed in.
type signInNeed struct {
	fresh         bool     // prove it anew
	selectAccount bool     // somebody else, or the user's choice
	acr           []string // reach one of these levels
	// refuse is the answer when the user was sent to sign in for it already, and
	// once more would not help.
	refuse *Error
}

// needsSignIn decides whether the user has to sign in (OpenID Connect Core
// §3.1.2.1, §3.1.2.3, §5.5.1.1); nil means no.
func (s *Server) needsSignIn(client *oauthreg.Client, login *oauthreg.Login, p *authorizeParams, in *interaction) *signInNeed {
	since := s.now()
	if in != nil {
		since = in.CreatedAt
	}
	returned := in != nil && in.SignedIn
	choose := p.prompts("select_account")
	if p.prompts("login") || p.MaxAge != nil && *p.MaxAge == 0 {
		if login == nil || !returned || before(login.AuthTime, since) {
			return &signInNeed{fresh: true, selectAccount: choose, acr: p.ACRValues}
		}
	}
	if login == nil || choose && !returned {
		return &signInNeed{selectAccount: choose, acr: p.ACRValues}
	}
	if p.MaxAge != nil && !(returned && !before(login.AuthTime, since)) &&
		s.now().Sub(login.AuthTime) > time.Duration(*p.MaxAge)*time.Second {
		return &signInNeed{fresh: true, acr: p.ACRValues}
	}
	refuse := func(code, description string) *Error {
		if !returned {
			return nil
		}
		return oauthError(http.StatusBadRequest, code, description)
	}
	if client.RequireAuthTime && login.AuthTime.IsZero() {
		return &signInNeed{fresh: true, acr: p.ACRValues,
			refuse: refuse("login_required", "It is not known when the user signed in.").decided("require_auth_time")}
	}
	if !p.isAbout(s.reg.Subject(client, login.Subject)) {
		return &signInNeed{selectAccount: true, acr: p.ACRValues,
			refuse: refuse("login_required", "Somebody else than the user the request names is signed in.")}
	}
	return s.needsLevel(login, p, refuse)
}

// needsLevel is needsSignIn for how the user signed in. acr asked for as an
// essential claim with values must be one of them; acr_values are a wish, for
// which a user is sent to sign in once, and only for levels that exist here.
func (s *Server) needsLevel(login *oauthreg.Login, p *authorizeParams, refuse func(code, description string) *Error) *signInNeed {
	exists := func(acr string) bool { return slices.Contains(s.cfg.ACRValues, acr) }
	asked := p.idTokenClaim("acr")
	if asked != nil && asked.Essential && len(asked.Values) > 0 && !asked.accepts(login.ACR) {
		need := &signInNeed{acr: asked.texts()}
		const unmet = "unmet_authentication_requirements" // the error of that name, registered for OpenID Connect
		if need.refuse = refuse(unmet, "The user did not sign in at the level that the request asks for."); need.refuse == nil && !slices.ContainsFunc(need.acr, exists) {
			need.refuse = oauthError(http.StatusBadRequest, unmet, "There is no sign-in at the level that the request asks for.")
		}
		return need
	}
	wished := p.ACRValues
	if len(wished) == 0 {
		wished = asked.texts()
	}
	if len(wished) > 0 && !slices.Contains(wished, login.ACR) && slices.ContainsFunc(wished, exists) &&
		!p.prompts("none") && refuse("", "") == nil {
		return &signInNeed{acr: wished}
	}
	return nil
}

// isAbout reports whether sub, as the client knows the user, is whom the request
// names by id_token_hint or by the claim sub (OpenID Connect Core §5.5.1).
func (p *authorizeParams) isAbout(sub string) bool {
	return (p.HintSubject == "" || p.HintSubject == sub) && p.idTokenClaim("sub").accepts(sub)
}

// before compares an auth_time with our clock. Many hosts know it to the second
// only; such a time is compared to the second.
func before(authTime, since time.Time) bool {
	if authTime.Nanosecond() == 0 {
		since = since.Truncate(time.Second)
	}
	return authTime.Before(since)
}

// beginSignIn hands the browser over to whoever signs people in.
func (s *Server) beginSignIn(w http.ResponseWriter, r *http.Request, req SignInRequest) error {
	if s.builtin != nil {
		return s.builtin.begin(w, r, req)
	}
	s.signIn.Begin(w, r, req)
	return nil
}

func (s *Server) signInRequest(client *oauthreg.Client, p *authorizeParams, in *interaction, need *signInNeed) SignInRequest {
	req := SignInRequest{
		ReturnTo:      s.base + resumePath + "?interaction=" + url.QueryEscape(in.Handle),
		RedirectURI:   p.RedirectTo,
		Client:        s.viewClient(client),
		SelectAccount: need.selectAccount,
		ACRValues:     need.acr,
		LoginHint:     p.LoginHint,
		UILocales:     p.UILocales,
		Display:       p.Display,
	}
	if in.carried {
		req.carried = &in.Interaction
	}
	if need.fresh {
		req.NotBefore = in.CreatedAt
	}
	return req
}

// newInteraction is a request that waits for a person, bound to this browser.
func (s *Server) newInteraction(w http.ResponseWriter, r *http.Request, client *oauthreg.Client, p *authorizeParams) *interaction {
	now := s.now().UTC()
	return &interaction{
		Interaction: oauthreg.Interaction{
			Handle: newHandle(now), Browser: s.browser(w, r), ClientID: client.ID,
			CreatedAt: now.Truncate(time.Millisecond), ExpiresAt: now.Add(s.cfg.InteractionLifetime),
		},
		pending: pending{Params: *p},
		carried: true,
	}
}

// keep stores the request as it is now, and with it made, the session of who has to
// decide, if that is new.
func (s *Server) keep(r *http.Request, client *oauthreg.Client, in *interaction, made *freshSession) error {
	write := s.store.UpdateInteraction
	if in.carried {
		write = s.store.CreateInteraction
	}
	err := s.storeWith(r.Context(), made, func(ctx context.Context) error { return write(ctx, in.Interaction) })
	switch {
	case err == nil:
		in.carried = false
	case errors.Is(err, oauthreg.ErrConsumed):
		return finishedInteraction(client)
	case errors.Is(err, oauthreg.ErrNotFound):
		return expiredInteraction()
	}
	return err
}

// finish ends a request: it is answered once.
func (s *Server) finish(ctx context.Context, in *interaction) error {
	if !in.carried {
		return s.store.FinishInteraction(ctx, in.Handle)
	}
	return s.inTransaction(ctx, func(ctx context.Context) error {
		if err := s.store.CreateInteraction(ctx, in.Interaction); err != nil {
			return err
		}
		return s.store.FinishInteraction(ctx, in.Handle)
	})
}

// decider makes the request one that login has to decide; nil while nobody is signed
// in.
func (in *interaction) decider(login *oauthreg.Login) {
	in.Subject, in.SessionID = "", ""
	in.AuthTime, in.AMR, in.ACR = time.Time{}, nil, ""
	if login != nil {
		in.Subject, in.SessionID = login.Subject, login.SessionID
		in.AuthTime, in.AMR, in.ACR = login.AuthTime, login.AMR, login.ACR
	}
	b, err := in.appendBinary(make([]byte, 0, 512))
	if err != nil {
		panic("handlers: a pending request is plain data: " + err.Error())
	}
	in.Request = b
}

// consentState is what is known of a user's consent to a request.
type consentState struct {
	needed  bool
	granted oauthreg.Consent // zero when there is none
	decided bool             // by the user, just now
}

// consentState looks up what the user allowed before. First-party clients do not
// ask.
func (s *Server) consentState(ctx context.Context, client *oauthreg.Client, login *oauthreg.Login, p *authorizeParams) (consentState, error) {
	c, err := s.store.Consent(ctx, client.ID, login.Subject)
	if err != nil && !errors.Is(err, oauthreg.ErrNotFound) {
		return consentState{}, err
	}
	state := consentState{granted: c}
	switch {
	case client.FirstParty:
	case err != nil:
		state.needed = true
	case c.LastUsedAt.Before(client.MetadataDocumentSince): // users would be sent elsewhere
		state.needed = true
	case client.SelfRegistered && client.MetadataDocumentSince.IsZero() && c.LastUsedAt.Before(client.UpdatedAt): // or may be
		state.needed = true
	default:
		state.needed = !containsAll(c.Scopes, s.consentScopes(client, p)) || !containsAll(c.Resources, p.Resources)
	}
	return state, nil
}

// consentScopes are the scopes whose words the user reads and allows: those of
// the tokens, and those that single claims are asked of.
func (s *Server) consentScopes(c *oauthreg.Client, p *authorizeParams) []string {
	return slices.Concat(p.Scopes, s.impliedScopes(c, p))
}

func containsAll(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

// refuse ends the interaction, if there is one, and returns where the browser goes
// with access_denied.
func (s *Server) refuse(ctx context.Context, client *oauthreg.Client, p *authorizeParams, in *interaction, description string) (string, error) {
	if in != nil {
		err := s.finish(ctx, in)
		switch {
		case errors.Is(err, oauthreg.ErrConsumed):
			return "", finishedInteraction(client)
		case errors.Is(err, oauthreg.ErrNotFound):
			return "", expiredInteraction()
		case err != nil:
			return "", err
		}
	}
	return s.answerURL(p, "error", "access_denied", "error_description", description), nil
}

// answerCode makes the grant and what the response type asks for, remembers the
// decision and ends the interaction, all in one transaction with made, the user's
// session if that is new, and returns where the browser goes.
func (s *Server) answerCode(ctx context.Context, client *oauthreg.Client, login *oauthreg.Login, p *authorizeParams, in *interaction, consent consentState, made *freshSession) (string, error) {
	if err := s.checkUser(ctx, login.Subject); isUserGone(err) {
		// The session outlived the user's access: no code, nor a token beside it.
		return s.refuse(ctx, client, p, in, "The user may not sign in here any more.")
	} else if err != nil {
		return "", err
	}
	client, err := s.keepDocumentedClient(ctx, client)
	if err != nil {
		return "", err
	}
	now := s.now().UTC().Truncate(time.Millisecond)
	target, err := url.Parse(p.RedirectTo)
	if err != nil {
		return "", serverError(err)
	}
	session := newSession(login)
	if sub := s.reg.Subject(client, login.Subject); sub != login.Subject {
		session.PairwiseSubject = sub
	}
	session.GrantedAt = now
	session.RedirectURI = p.RedirectURI
	session.CodeChallenge = p.CodeChallenge
	session.Nonce = p.Nonce
	session.Claims, session.ClaimsLocales = p.Claims, p.ClaimsLocales
	expires := now.Add(s.lifetimes(client).AuthorizationCode)

	request := fosite.NewAuthorizeRequest()
	request.ID = newGrantID()
	request.RequestedAt = now
	request.Client = &engineClient{reg: client}
	request.RedirectURI = target
	request.State = p.State
	request.RequestedScope, request.GrantedScope = p.Scopes, p.Scopes
	request.RequestedAudience, request.GrantedAudience = p.Resources, p.Resources

	types := strings.Fields(p.ResponseType)
	var answer []string
	grant := func(ctx context.Context) error {
		answer = nil
		if in != nil {
			if err := s.finish(ctx, in); err != nil {
				return err
			}
		}
		g := oauthreg.Grant{
			ID: request.ID, ClientID: client.ID, Subject: login.Subject, SessionID: login.SessionID,
			Scopes: p.Scopes, Resources: p.Resources, CreatedAt: now, LastUsedAt: now, ExpiresAt: expires,
		}
		if consent.decided || consent.granted.ID != "" {
			id, err := s.store.SaveConsent(ctx, oauthreg.Consent{
				ID: consent.granted.ID, ClientID: client.ID, Subject: login.Subject,
				Scopes: s.consentScopes(client, p), Resources: p.Resources, CreatedAt: now, LastUsedAt: now,
			})
			if err != nil {
				return err
			}
			g.ConsentID = id
		}
		if err := s.store.CreateGrant(ctx, g); err != nil {
			return err
		}
		if err := s.joinSession(ctx, client, login, p, now); err != nil {
			return err
		}
		var code string
		if slices.Contains(types, "code") {
			request.ResponseTypes = []string{"code"}
			codeSession := session.Clone().(*Session)
			codeSession.SetExpiresAt(fosite.AuthorizeCode, expires)
			resp, err := s.engine.NewAuthorizeResponse(ctx, request, codeSession)
			if err != nil {
				return err
			}
			code = resp.GetParameters().Get("code")
			answer = append(answer, "code", code)
		}
		if !answersTokens(p.ResponseType) {
			return nil
		}
		tokens, err := s.frontTokens(ctx, &request.Request, session, types, code, now)
		answer = append(answer, tokens...)
		return err
	}
	err = s.storeWith(ctx, made, func(ctx context.Context) error { return s.inTransaction(ctx, grant) })
	switch {
	case errors.Is(err, oauthreg.ErrConsumed):
		return "", finishedInteraction(client)
	case isNotFound(err) && in == nil: // the client was deleted, or suspended, meanwhile
		return "", unknownClient().because(err)
	case isNotFound(err): // or its interaction was, with it
		return "", expiredInteraction()
	case err != nil:
		return "", err
	}
	s.emitAuthorized(ctx, &request.Request, login, p, consent.decided)
	return s.answerURL(p, answer...), nil
}
