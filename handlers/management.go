package handlers

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Principal is who calls the management API, and what they may manage. A
// principal without AllOrgs never sees or changes anything outside OrgID: what
// belongs to others looks as if it did not exist.
type Principal struct {
	// UserID is the user on whose behalf the call is made, kept as the creator
	// of what it registers; OrgID is their organization. Both are the host's
	// identifiers.
	UserID string
	OrgID  string
	// ProjectID is the home project: what is created where the API names no
	// project belongs to it, and such lists show it alone. Empty with
	// AllProjects or AllOrgs means none, and lists show the organization.
	ProjectID string
	// Projects are further projects of OrgID that the caller may manage.
	Projects []string
	// AllProjects gives rights over the whole organization, AllOrgs over
	// everything there is.
	AllProjects bool
	AllOrgs     bool
	// ReadOnly refuses every change with 403.
	ReadOnly bool
	// Actor is whom the audit log names; the zero value means the user UserID.
	// RequestID and Address are filled in by the server.
	Actor oauthreg.Actor
}

// Manages reports whether the caller may manage what belongs to the
// organization and project.
func (p *Principal) Manages(orgID, projectID string) bool {
	switch {
	case p.AllOrgs:
		return true
	case p.OrgID == "" || orgID != p.OrgID:
		return false
	case p.AllProjects:
		return true
	default:
		return projectID != "" && (projectID == p.ProjectID || slices.Contains(p.Projects, projectID))
	}
}

// settle refuses a principal that has rights over nothing, since an empty
// organization or project would restrict no query, and gives one without a home
// project the first of its projects.
func (p *Principal) settle() error {
	if p.AllOrgs {
		return nil
	}
	if p.OrgID == "" {
		return forbidden("The caller belongs to no organization.")
	}
	if p.ProjectID == "" && !p.AllProjects {
		if len(p.Projects) == 0 || p.Projects[0] == "" {
			return forbidden("The caller has no project.")
		}
		p.ProjectID = p.Projects[0]
	}
	return nil
}

// home restricts the lists of an API without organizations and projects in its
// paths.
func (p *Principal) home() (orgID, projectID string) {
	if p.AllOrgs || p.AllProjects {
		return p.OrgID, ""
	}
	return p.OrgID, p.ProjectID
}

// reach is the organization outside of which the caller finds nothing; empty
// for one with rights over all.
func (p *Principal) reach() string {
	if p.AllOrgs {
		return ""
	}
	return p.OrgID
}

// key tells callers apart.
func (p *Principal) key() string {
	return strings.Join([]string{p.Actor.Kind, p.Actor.ID, p.UserID, p.OrgID, p.ProjectID}, "\x00")
}

// ManagementConfig is what a management API is made of.
type ManagementConfig struct {
	// Authenticate tells who sent r. nil and no error means nobody, which is
	// answered with 401; an [Error] is answered as it is; any other error means
	// that it cannot be told now, 5xx. It should rely on the Authorization
	// header: with cookies alone, other sites could send requests in a user's
	// name. [Server.AdminKey] and [Server.AdminToken] are ready-made. Required.
	Authenticate func(r *http.Request) (*Principal, error)
	// Path is the absolute path below which the API is mounted, without a
	// trailing slash; requests must arrive with it. Empty means the path that
	// the API's constructor names.
	Path string
	// RequireIfMatch refuses changes of a client without If-Match with 428
	// (RFC 6585 §3). An If-Match that is sent counts in any case.
	RequireIfMatch bool
}

// management is what the REST faces of the registry share.
type management struct {
	s    *Server
	cfg  ManagementConfig
	path string
	seen *idempotency
	// challenge is what nobody is answered with (RFC 6750 §3).
	challenge string
}

func newManagement(s *Server, cfg ManagementConfig, path string) *management {
	if cfg.Authenticate == nil {
		panic("handlers: ManagementConfig.Authenticate is nil")
	}
	if cfg.Path != "" {
		path = strings.TrimSuffix(cfg.Path, "/")
	}
	m := &management{s: s, cfg: cfg, path: path, seen: newIdempotency(s.now)}
	m.challenge = `Bearer realm="` + m.url("") + `"`
	return m
}

// url is the absolute URL of a path below the API.
func (m *management) url(path string) string {
	return m.s.issuer.Scheme + "://" + m.s.issuer.Host + m.path + path
}

// managed is an endpoint of a management API: who calls is known.
type managed func(w http.ResponseWriter, r *http.Request, p *Principal) error

// read is an endpoint that changes nothing; write is one that does.
func (m *management) read(e managed) endpoint { return m.authenticated(false, e) }

func (m *management) write(e managed) endpoint { return m.authenticated(true, e) }

// authenticated finds out who calls, before anything else is looked at, and
// names them to the audit log.
func (m *management) authenticated(changes bool, e managed) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		p, err := m.caller(r)
		if err != nil {
			return err
		}
		if changes && p.ReadOnly {
			return forbidden("The caller may not change anything.")
		}
		a := p.Actor
		if a.Kind == "" {
			a.Kind, a.ID = "user", p.UserID
		}
		a.RequestID, a.Address = requestID(r.Context()), m.s.clientAddress(r)
		return managementError(e(w, r.WithContext(oauthreg.WithActor(r.Context(), a)), p))
	}
}

func (m *management) caller(r *http.Request) (*Principal, error) {
	p, err := m.cfg.Authenticate(r)
	if err != nil {
		return nil, err
	}
	if p == nil {
		e := oauthError(http.StatusUnauthorized, "invalid_token", "The request needs a valid bearer key or access token.")
		e.challenge = m.challenge
		return nil, e
	}
	own := *p
	if err := own.settle(); err != nil {
		return nil, err
	}
	return &own, nil
}

// ManagementResource is the resource (RFC 8707) that an access token for the
// management APIs may be asked for. Put it into [Config.Resources].
func ManagementResource(issuer string) string { return issuer + "/v2" }

// AdminKey returns an authentication for [ManagementConfig]: whoever sends key
// as a bearer value is home, with rights over every organization and project,
// and an access token of this server counts as in [Server.AdminToken]. The key
// may contain spaces; it is everything behind the first one of the header. An
// empty key never works. Failed tries are limited per address
// ([LimitClientAuth]).
func (s *Server) AdminKey(key string, home Principal) func(r *http.Request) (*Principal, error) {
	home.AllOrgs = true
	if home.Actor.Kind == "" {
		home.Actor = oauthreg.Actor{Kind: "admin", ID: home.UserID}
	}
	want := sha256.Sum256([]byte(key))
	return func(r *http.Request) (*Principal, error) {
		return s.limitedBearer(r, func(value string) (*Principal, error) {
			got := sha256.Sum256([]byte(value))
			if hmac.Equal(got[:], want[:]) && key != "" {
				p := home
				p.Projects = slices.Clone(home.Projects)
				return &p, nil
			}
			return s.tokenPrincipal(r.Context(), value)
		})
	}
}

// AdminToken is an authentication for [ManagementConfig] by access tokens of
// this server alone: a live one with the scope admin, asked for
// [ManagementResource] or for no resource at all, has rights over its client's
// organization and project (the whole organization, if the client is in no
// project), whoever its user is: allow the scope to clients only whose users may
// manage. Failed tries are limited per address ([LimitClientAuth]).
func (s *Server) AdminToken(r *http.Request) (*Principal, error) {
	return s.limitedBearer(r, func(value string) (*Principal, error) {
		return s.tokenPrincipal(r.Context(), value)
	})
}

// limitedBearer hands the request's bearer value to check, unless its address
// failed too often.
func (s *Server) limitedBearer(r *http.Request, check func(value string) (*Principal, error)) (*Principal, error) {
	value, ok := bearerValue(r)
	if !ok {
		return nil, nil
	}
	limitKey := "management " + s.clientAddress(r)
	if after, ok := s.allow(r.Context(), LimitClientAuth, limitKey); !ok {
		return nil, slowDown(after)
	}
	p, err := check(value)
	if p == nil && err == nil {
		s.limits.Failed(r.Context(), LimitClientAuth, limitKey)
	}
	return p, err
}

// bearerValue is what stands behind the scheme Bearer, up to the end: an API key
// may contain spaces.
func bearerValue(r *http.Request) (string, bool) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return "", false
	}
	scheme, value, found := strings.Cut(headers[0], " ")
	return value, found && value != "" && strings.EqualFold(scheme, "Bearer")
}

// tokenPrincipal is the principal of an access token; nil when the token does
// not work here.
func (s *Server) tokenPrincipal(ctx context.Context, value string) (*Principal, error) {
	t, err := s.findToken(ctx, value, "access_token")
	if err != nil || t == nil {
		return nil, err
	}
	resource := ManagementResource(s.cfg.Issuer)
	audience := []string(t.request.GetGrantedAudience())
	if len(audience) > 0 && !slices.ContainsFunc(audience, func(a string) bool { return sameResource(a, resource) }) {
		return nil, nil
	}
	client, err := s.reg.Get(ctx, registryRef(t.request.GetClient()))
	switch {
	case errors.Is(err, oauthreg.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case client.Suspended():
		return nil, nil
	case !slices.Contains(t.request.GetGrantedScopes(), adminScope):
		e := oauthError(http.StatusForbidden, "insufficient_scope", "The access token does not have the scope admin.")
		e.challenge = `Bearer error="insufficient_scope", scope="` + adminScope + `"`
		return nil, e
	}
	p := &Principal{
		UserID: t.session.Subject, OrgID: client.OrgID, ProjectID: client.ProjectID,
		AllProjects: client.ProjectID == "",
		Actor:       oauthreg.Actor{Kind: "user", ID: t.session.Subject},
	}
	if t.session.ForClient {
		p.UserID = client.UserID
		p.Actor = oauthreg.Actor{Kind: "client", ID: client.ClientID}
	}
	return p, nil
}

// registryRef names the registered client behind one that a store returned.
func registryRef(c interface{ GetID() string }) oauthreg.Ref {
	if named, ok := c.(interface{ RegistryID() string }); ok {
		return oauthreg.ByID(named.RegistryID())
	}
	return oauthreg.ByClientID(c.GetID())
}

func forbidden(description string) *Error {
	return oauthError(http.StatusForbidden, "access_denied", description)
}

func notFound() *Error {
	return oauthError(http.StatusNotFound, "not_found", "There is no such thing.")
}

func unprocessable(description string) *Error {
	return oauthError(http.StatusUnprocessableEntity, "invalid_request", description)
}

// managementError gives the errors of the registry their status. A face whose
// errors have another form finds the cause by errors.As.
func managementError(err error) error {
	var own *Error
	var invalid *oauthreg.InvalidError
	var query *oauthreg.InvalidQueryError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return err
	case errors.As(err, &invalid):
		return unprocessable(plainText(invalid.Error())).because(err)
	case errors.As(err, &query):
		return invalidRequest(plainText(query.Error())).because(err)
	case errors.Is(err, oauthreg.ErrBadCursor):
		return invalidRequest("The cursor was not made here.").because(err)
	case errors.Is(err, oauthreg.ErrNotFound):
		return notFound().because(err)
	case errors.Is(err, oauthreg.ErrConflict):
		return unavailable(err) // others changed it each time it was tried
	default:
		return err
	}
}

// plainText is s in the characters of error_description (RFC 6749 §5.2).
func plainText(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"':
			return '\''
		case c == '\\' || c < ' ' || c > '~':
			return '?'
		}
		return c
	}, s)
}

// find returns the client that ref names, if the caller may manage it. Whose a
// client is never changes, so what follows may refer to it by [owned].
func (m *management) find(ctx context.Context, p *Principal, ref oauthreg.Ref) (oauthreg.Client, error) {
	c, err := m.s.reg.Get(ctx, ref.In(p.reach(), ""))
	if err != nil {
		return oauthreg.Client{}, err
	}
	if !p.Manages(c.OrgID, c.ProjectID) {
		return oauthreg.Client{}, oauthreg.ErrNotFound
	}
	return c, nil
}

// owned names a client that was found, and whose it is.
func owned(c *oauthreg.Client) oauthreg.Ref {
	return oauthreg.ByID(c.ID).In(c.OrgID, c.ProjectID)
}

// clientETag is the entity tag of every representation of this version of the
// client.
func clientETag(c *oauthreg.Client) string {
	return `"` + strconv.FormatInt(c.CreatedAt.UnixMilli(), 36) + "-" + strconv.FormatInt(c.Version, 10) + `"`
}

// ifMatch is the version that a change of c is bound to (RFC 9110 §13.1.1); 0
// means any.
func (m *management) ifMatch(r *http.Request, c *oauthreg.Client) (int64, error) {
	tags := strings.Join(r.Header.Values("If-Match"), ",")
	if strings.TrimSpace(tags) == "" {
		if m.cfg.RequireIfMatch {
			return 0, oauthError(http.StatusPreconditionRequired, "precondition_required", "The request needs If-Match with the ETag of the client.")
		}
		return 0, nil
	}
	want := clientETag(c)
	for tag := range strings.SplitSeq(tags, ",") { // our tags have no comma
		switch strings.TrimSpace(tag) {
		case "*":
			return 0, nil
		case want:
			return c.Version, nil
		}
	}
	return 0, preconditionFailed()
}

func preconditionFailed() *Error {
	return oauthError(http.StatusPreconditionFailed, "precondition_failed", "The client was changed since it was read.")
}

// unlessChanged turns the conflict of a change that was bound to a version into
// 412.
func unlessChanged(version int64, err error) error {
	if version != 0 && errors.Is(err, oauthreg.ErrConflict) {
		return preconditionFailed().because(err)
	}
	return err
}

// notModified answers a conditional GET (RFC 9110 §13.1.2) and reports whether
// it did.
func notModified(w http.ResponseWriter, r *http.Request, etag string) bool {
	w.Header().Set("ETag", etag)
	for tag := range strings.SplitSeq(strings.Join(r.Header.Values("If-None-Match"), ","), ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == etag || tag == "*" {
			w.Header().Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusNotModified)
			return true
		}
	}
	return false
}

// narrowDefaults keeps a client's default scopes within its scopes, for faces
// that change the one and do not know the other.
func narrowDefaults(c *oauthreg.Client) {
	c.DefaultScopes = slices.DeleteFunc(slices.Clone(c.DefaultScopes), func(s string) bool { return !c.AllowsScope(s) })
}
