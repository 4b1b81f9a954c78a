package handlers

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// registrationRoutes mounts dynamic client registration. Registrations that are
// there are served in every mode, so that closing does not strand them.
func (s *Server) registrationRoutes() {
	mount := func(path, name string, e endpoint, methods ...string) {
		verdict := func(w http.ResponseWriter, r *http.Request) error { return registrationError(e(w, r)) }
		s.mount(s.base+path, cors(strings.Join(methods, ", "), s.handle(name, only(methods, verdict), failRegistration)))
	}
	mount("/oauth/register", "register", s.register, http.MethodPost)
	mount("/oauth/register/{client_id}", "registration", s.registration, http.MethodGet, http.MethodPut, http.MethodDelete)
}

// registrationEndpoint is registration_endpoint of the metadata (RFC 8414 §2):
// empty while nobody may register.
func (s *Server) registrationEndpoint() string {
	if s.cfg.Registration.Mode == RegistrationClosed {
		return ""
	}
	return s.url("/oauth/register")
}

// register serves POST /oauth/register (RFC 7591 §3, OpenID Connect Registration
// §3). Everything wrong with the metadata is named at once. Identifiers,
// credentials and everything else that is not a client's to choose is ignored,
// as are unknown members.
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	address := s.clientAddress(r)
	if after, ok := s.allow(ctx, LimitRegistration, address); !ok {
		return slowDown(after)
	}
	s.limits.Failed(ctx, LimitRegistration, address) // every try counts, before any work
	terms, token, err := s.registrationTerms(r)
	if err != nil {
		return err
	}
	m, err := readMetadata(w, r)
	if err != nil {
		return err
	}
	claims, statement, err := s.softwareStatement(ctx, m)
	if err != nil {
		return err
	}

	own := &s.cfg.Registration
	c := oauthreg.Client{
		OrgID: own.OrgID, ProjectID: own.ProjectID, UserID: own.UserID,
		RequirePKCE: true, SelfRegistered: terms.ceiling == nil,
	}
	actor := oauthreg.Actor{Kind: "client", RequestID: requestID(ctx), Address: address}
	if ceiling := terms.ceiling; ceiling != nil {
		actor.ID = ceiling.Name
		if ceiling.OrgID != "" || ceiling.ProjectID != "" {
			c.OrgID, c.ProjectID = ceiling.OrgID, ceiling.ProjectID
		}
		if ceiling.UserID != "" {
			c.UserID = ceiling.UserID
		}
	}
	ctx = oauthreg.WithActor(ctx, actor)
	m.apply(&c, terms)
	s.permitRegistration(m, &c, terms, nil)
	opts := oauthreg.RegisterOptions{Rules: registrationRules, RegistrationToken: true}
	if err := m.invalid(s.reg.Validate(c, opts)); err != nil {
		return err
	}
	if err := s.checkSector(ctx, &c); err != nil {
		return err
	}
	if policy := own.Policy; policy != nil {
		req := RegistrationRequest{Metadata: m.members, SoftwareStatement: claims, Ceiling: terms.ceiling, Address: address}
		if err := refusal(policy(ctx, &c, req)); err != nil {
			return err
		}
		if err := s.reg.Validate(c, opts); err != nil {
			return err
		}
	}

	reg, err := s.registerWithin(ctx, c, opts, terms, token)
	if err != nil {
		return err
	}
	info := s.clientInformation(&reg.Client)
	info.withSecret(reg.Secret)
	info.RegistrationAccessToken = reg.RegistrationToken
	info.SoftwareStatement = statement
	writeJSON(w, http.StatusCreated, info)
	return nil
}

// refusal completes what a policy returned.
func refusal(err error) error {
	var own *Error
	if !errors.As(err, &own) || own.Code != "" && own.Status >= 400 && own.Status < 600 {
		return err
	}
	whole := *own
	if whole.Code == "" {
		whole.Code = oauthreg.CodeInvalidClientMetadata
	}
	if whole.Status < 400 || whole.Status >= 600 {
		whole.Status = http.StatusBadRequest
	}
	return &whole
}

// registrationRules are what the registry refuses to clients that describe
// themselves.
var registrationRules = oauthreg.Rules{RequireDottedSchemes: true, PublicHostsOnly: true, NameOptional: true}

// registrationTerms finds out who registers: whoever has an initial access
// token, or anybody. What stands in the Authorization header of an open server
// and is no such token is ignored: clients send the keys of other APIs along.
func (s *Server) registrationTerms(r *http.Request) (*registrationTerms, string, error) {
	own := &s.cfg.Registration
	if own.Mode == RegistrationClosed {
		return nil, "", oauthError(http.StatusForbidden, "access_denied", "This server does not register clients.")
	}
	token, ok := bearerValue(r)
	if ok && own.InitialTokens != nil {
		ceiling, err := own.InitialTokens.Ceiling(r.Context(), token)
		switch {
		case err == nil:
			if ceiling == nil {
				ceiling = new(RegistrationCeiling)
			}
			terms := s.termsOf(ceiling)
			return &terms, token, nil
		case !errors.Is(err, ErrInvalidInitialAccessToken):
			return nil, "", err
		}
	}
	if own.Mode == RegistrationByToken || ok && knownInitialToken(token) {
		return nil, "", s.invalidRegistrationToken(ok)
	}
	terms := s.openTerms()
	return &terms, "", nil
}

// invalidRegistrationToken is the one answer to a token that does not work
// (RFC 6750 §3), whatever the reason and whether or not the client exists.
func (s *Server) invalidRegistrationToken(sent bool) *Error {
	e := oauthError(http.StatusUnauthorized, "invalid_token", "The request needs a valid access token for registration.")
	e.challenge = `Bearer realm="` + s.cfg.Issuer + `"`
	if sent {
		e.challenge += `, error="invalid_token"`
	}
	return e
}

// registerWithin uses up what the registration costs, and registers.
func (s *Server) registerWithin(ctx context.Context, c oauthreg.Client, opts oauthreg.RegisterOptions, terms *registrationTerms, token string) (oauthreg.Registration, error) {
	if terms.ceiling != nil {
		err := s.cfg.Registration.InitialTokens.Use(ctx, token)
		if errors.Is(err, ErrInvalidInitialAccessToken) {
			return oauthreg.Registration{}, s.invalidRegistrationToken(true)
		}
		if err != nil {
			return oauthreg.Registration{}, err
		}
		return s.reg.Register(ctx, c, opts)
	}
	if err := s.cfg.Registration.count.take(ctx, s); err != nil {
		return oauthreg.Registration{}, err
	}
	reg, err := s.reg.Register(ctx, c, opts)
	s.cfg.Registration.count.done(err == nil)
	return reg, err
}

// registrationCount counts the clients that registered themselves, without
// asking the database each time.
type registrationCount struct {
	mu      sync.Mutex
	known   int       // as of counted, and what this process added since
	running int       // registrations that are not in known yet
	counted time.Time // zero: never
}

const (
	countRegistrations = 10 * time.Second // how often the database is asked
	recountWhenFull    = time.Second
)

// take makes room for one more client, which done gives back or makes permanent.
func (n *registrationCount) take(ctx context.Context, s *Server) error {
	most := s.cfg.Registration.MaxClients
	if most < 0 {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	age := s.now().Sub(n.counted)
	if n.counted.IsZero() || age < 0 || age >= countRegistrations || n.known+n.running >= most && age >= recountWhenFull {
		yes := true
		page, err := s.reg.List(ctx, oauthreg.ListQuery{SelfRegistered: &yes, Limit: 1, Count: true})
		if err != nil {
			return err
		}
		n.known, n.counted = page.Total, s.now()
	}
	if n.known+n.running >= most {
		e := unavailable(errors.New("as many clients registered themselves as may"))
		e.Description = "The server cannot register more clients now."
		e.RetryAfter = time.Minute
		return e
	}
	n.running++
	return nil
}

func (n *registrationCount) done(registered bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running > 0 {
		n.running--
	}
	if registered {
		n.known++
	}
}

// registration serves GET, PUT and DELETE /oauth/register/{client_id} (RFC 7592
// §2). The client proves itself by its registration access token; no token, a
// wrong one and an unknown client are answered alike.
func (s *Server) registration(w http.ResponseWriter, r *http.Request) error {
	rec, token, err := s.registeredClient(r)
	if err != nil {
		return err
	}
	ctx := oauthreg.WithActor(r.Context(), oauthreg.Actor{
		Kind: "client", ID: rec.Client.ClientID, RequestID: requestID(r.Context()), Address: s.clientAddress(r),
	})
	r = r.WithContext(ctx)
	switch r.Method {
	case http.MethodPut:
		return s.replaceRegistration(w, r, rec, token)
	case http.MethodDelete:
		if err := s.reg.Delete(ctx, oauthreg.ByID(rec.Client.ID)); err != nil {
			if errors.Is(err, oauthreg.ErrNotFound) { // someone was faster
				return s.invalidRegistrationToken(true)
			}
			return err
		}
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
		return nil
	default:
		info := s.clientInformation(&rec.Client)
		info.RegistrationAccessToken = token
		writeJSON(w, http.StatusOK, info)
		return nil
	}
}

// registeredClient finds the client that the path names and the token proves.
func (s *Server) registeredClient(r *http.Request) (*oauthreg.Record, string, error) {
	ctx, clientID := r.Context(), r.PathValue("client_id")
	token, ok := bearerValue(r)
	if !ok {
		return nil, "", s.invalidRegistrationToken(false)
	}
	infoOf(ctx).clientID = clientID
	limitKey := "registration " + clientID + " " + s.clientAddress(r)
	if after, ok := s.allow(ctx, LimitClientAuth, limitKey); !ok {
		return nil, "", slowDown(after)
	}
	rec, err := s.reg.Record(ctx, oauthreg.ByClientID(clientID))
	if err != nil && !errors.Is(err, oauthreg.ErrNotFound) {
		return nil, "", err
	}
	// A record that was not found has no token, and costs as much to compare.
	if !s.reg.CheckRegistrationToken(rec, token) || err != nil {
		s.limits.Failed(ctx, LimitClientAuth, limitKey)
		err := s.invalidRegistrationToken(true)
		s.emitUnproven(ctx, err, "registration_access_token")
		return nil, "", err
	}
	if rec.Client.Suspended() {
		return nil, "", oauthError(http.StatusForbidden, "access_denied", "The client is suspended.")
	}
	infoOf(ctx).isClient(&rec.Client)
	return &rec, token, nil
}

// replaceRegistration serves PUT (RFC 7592 §2.2): the metadata of the request
// takes the place of all there was, what it leaves out gets its default. Whether
// the client is public or confidential cannot change. The registration access
// token is replaced as well.
func (s *Server) replaceRegistration(w http.ResponseWriter, r *http.Request, rec *oauthreg.Record, token string) error {
	ctx := r.Context()
	m, err := readMetadata(w, r)
	if err != nil {
		return err
	}
	claims, statement, err := s.softwareStatement(ctx, m)
	if err != nil {
		return err
	}
	before := rec.Client
	s.checkReplacement(m, rec)
	terms := s.updateTerms(&before)
	c := before.Clone()
	m.apply(&c, &terms)
	s.permitRegistration(m, &c, &terms, &before)
	if len(m.problems) > 0 || c.SectorIdentifierURI != "" { // all is looked at before anything is fetched
		if err := m.invalid(s.reg.Validate(ownMetadata(c), oauthreg.RegisterOptions{Rules: registrationRules})); err != nil {
			return err
		}
		if err := s.checkSector(ctx, &c); err != nil {
			return err
		}
	}
	if policy := s.cfg.Registration.Policy; policy != nil {
		req := RegistrationRequest{Metadata: m.members, SoftwareStatement: claims, Previous: &rec.Client, Address: s.clientAddress(r)}
		if err := refusal(policy(ctx, &c, req)); err != nil {
			return err
		}
	}

	ref := oauthreg.ByID(before.ID)
	opts := oauthreg.UpdateOptions{Rules: registrationRules, IfVersion: before.Version}
	updated, fresh, err := s.reg.UpdateRegistration(ctx, ref, token, opts, func(to *oauthreg.Client) error {
		*to = c.Clone()
		return nil
	})
	if err != nil {
		return s.lostRegistration(err)
	}
	info := s.clientInformation(&updated)
	info.RegistrationAccessToken, info.SoftwareStatement = fresh, statement
	if needsSecret(rec, &updated, s.now()) {
		issued, err := s.reg.RotateSecret(ctx, ref, oauthreg.RotateOptions{})
		if err != nil {
			return err
		}
		info.withSecret(issued.Secret)
	}
	writeJSON(w, http.StatusOK, info)
	return nil
}

// ownMetadata is c as the client describes it, without what the operator added.
func ownMetadata(c oauthreg.Client) oauthreg.Client {
	c.FirstParty, c.Verified, c.SelfRegistered, c.ResourceServer = false, false, false, nil
	return c
}

// lostRegistration is what becomes of a client that changed or went while it
// was being updated: the token that came with the request is worth nothing.
func (s *Server) lostRegistration(err error) error {
	switch {
	case errors.Is(err, oauthreg.ErrNotFound):
		return s.invalidRegistrationToken(true)
	case errors.Is(err, oauthreg.ErrConflict):
		return oauthError(http.StatusConflict, "invalid_request", "The client was changed at the same time; read it again.").because(err)
	}
	return err
}

// checkReplacement checks what a PUT says of the client's identity: client_id
// must be there and right, client_secret right if it is there, and what only the
// server says must not be there (RFC 7592 §2.2).
func (s *Server) checkReplacement(m *metadataReader, rec *oauthreg.Record) {
	if m.text("client_id") != rec.Client.ClientID {
		m.add("client_id", "must be the client's own")
	}
	if m.has("client_secret") {
		secret, ok := jsonString(m.members["client_secret"])
		if !ok || !s.reg.CheckSecret(rec, secret) {
			m.add("client_secret", "must be the client's own, or left out")
		}
	}
	for _, name := range []string{"registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"} {
		if _, ok := m.members[name]; ok {
			m.add(name, "must be left out")
		}
	}
}

// needsSecret reports whether a client that now authenticates by secret has
// none: it used another method before.
func needsSecret(rec *oauthreg.Record, c *oauthreg.Client, now time.Time) bool {
	switch c.TokenEndpointAuthMethod {
	case oauthreg.AuthUnnamed, oauthreg.AuthClientSecretBasic, oauthreg.AuthClientSecretPost:
		return !slices.ContainsFunc(rec.Secrets, func(secret oauthreg.Secret) bool { return !secret.Expired(now) })
	}
	return false
}

// readMetadata reads the body of a registration request. No body at all is an
// object without members.
func readMetadata(w http.ResponseWriter, r *http.Request) (*metadataReader, error) {
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, invalidClientMetadata("The content type must be application/json.")
	}
	if r.ContentLength > maxBody {
		return nil, tooLarge()
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return nil, tooLarge()
		}
		return nil, invalidClientMetadata("The request body could not be read.").because(err)
	}
	if strings.TrimSpace(string(raw)) == "" {
		raw = []byte("{}")
	}
	members, err := readObject(raw)
	if err != nil {
		return nil, invalidClientMetadata("The request body cannot be read: " + err.Error() + ".")
	}
	return &metadataReader{members: members}, nil
}

func invalidClientMetadata(description string) *Error {
	return oauthError(http.StatusBadRequest, oauthreg.CodeInvalidClientMetadata, description)
}

// registrationError gives the registry's verdict the form of RFC 7591 §3.2.2:
// the description has every problem.
func registrationError(err error) error {
	var own *Error
	var invalid *oauthreg.InvalidError
	switch {
	case err == nil || errors.As(err, &own) || !asInvalid(err, &invalid):
		return err
	}
	var b strings.Builder
	for i, p := range invalid.Problems {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.Field + " " + p.Message)
	}
	return oauthError(http.StatusBadRequest, invalid.Code(), plainText(b.String())).because(err)
}

// failRegistration is failJSON with the problems by field.
func failRegistration(_ *Server, w http.ResponseWriter, _ *http.Request, e *Error) {
	h := w.Header()
	if e.challenge != "" {
		h.Add("WWW-Authenticate", e.challenge)
	}
	setRetryAfter(h, e)
	var fields map[string][]string
	var invalid *oauthreg.InvalidError
	if e.cause != nil && asInvalid(e.cause, &invalid) {
		fields = map[string][]string{}
		for _, p := range invalid.Problems {
			name := baseField(p.Field)
			fields[name] = append(fields[name], p.Field+" "+p.Message)
		}
	}
	writeJSON(w, e.Status, struct {
		Error       string              `json:"error"`
		Description string              `json:"error_description,omitempty"`
		Fields      map[string][]string `json:"invalid_fields,omitempty"`
	}{e.Code, e.Description, fields})
}
