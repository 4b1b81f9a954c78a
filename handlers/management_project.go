package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// ManagementProjects serves the management API whose clients belong to the
// project in the path:
//
//	POST   /org/{org_id}/project/{project_id}/oauth_client                        create
//	GET    /org/{org_id}/project/{project_id}/oauth_client                        list
//	GET    /org/{org_id}/project/{project_id}/oauth_client/{id}                   get
//	POST   /org/{org_id}/project/{project_id}/oauth_client/{id}                   update (also PUT and PATCH)
//	DELETE /org/{org_id}/project/{project_id}/oauth_client/{id}                   delete
//	POST   /org/{org_id}/project/{project_id}/oauth_client/{id}/client_secret     make a new secret
//
// below ManagementConfig.Path, by default <issuer>/api/v1. All ids are UUIDs, and {id}
// is the client's internal one ([oauthreg.Client.ID]). Organizations and
// projects are the host's: nothing here creates them, and one that the caller
// may not manage cannot be told from one that does not exist. Unknown members
// of a body are ignored.
//
// Names are unique within a project: a name that is taken is 409. That is a rule
// of this API alone; the registry and its other faces do not have it.
//
// It panics if cfg has no Authenticate.
func (s *Server) ManagementProjects(cfg ManagementConfig) http.Handler {
	return &projectAPI{management: newManagement(s, cfg, s.base+"/api/v1"), seed: maphash.MakeSeed()}
}

// projectAPI is the API of [Server.ManagementProjects].
type projectAPI struct {
	*management

	seed  maphash.Seed
	names [64]sync.Mutex // one of them is held while a name of a project is taken
}

// projectRoute is what a path names. id is empty for the collection.
type projectRoute struct {
	org, project, id string
	secret           bool
}

// route reads a path, segment by segment, as it came: nothing is cleaned.
func (a *projectAPI) route(r *http.Request) (projectRoute, bool) {
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), a.path+"/")
	if !ok {
		return projectRoute{}, false
	}
	parts := strings.Split(rest, "/")
	if len(parts) < 5 || len(parts) > 7 || parts[0] != "org" || parts[2] != "project" || parts[4] != "oauth_client" {
		return projectRoute{}, false
	}
	for _, i := range []int{1, 3, 5} {
		if i >= len(parts) {
			continue
		}
		var err error
		if parts[i], err = url.PathUnescape(parts[i]); err != nil || parts[i] == "" {
			return projectRoute{}, false
		}
	}
	route := projectRoute{org: parts[1], project: parts[3]}
	if len(parts) > 5 {
		route.id = parts[5]
	}
	if len(parts) > 6 {
		route.secret = true
		ok = parts[6] == "client_secret"
	}
	return route, ok
}

// projectEndpoint is an endpoint behind the checks of caller and path.
type projectEndpoint func(w http.ResponseWriter, r *http.Request, p *Principal, at projectRoute) error

// ServeHTTP implements [http.Handler].
func (a *projectAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at, ok := a.route(r)
	name, methods, e := "project clients", []string(nil), endpoint(nil)
	switch {
	case !ok:
		e = func(http.ResponseWriter, *http.Request) error { return notFound() }
	case at.secret:
		name, methods = "project client secret", []string{http.MethodPost}
		e = a.write(a.within(at, a.newSecret))
	case at.id != "":
		name, methods = "project client", []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
		switch r.Method {
		case http.MethodGet, http.MethodHead:
			e = a.read(a.within(at, a.get))
		case http.MethodDelete:
			e = a.write(a.within(at, a.remove))
		default:
			e = a.write(a.within(at, a.update))
		}
	default:
		methods = []string{http.MethodGet, http.MethodHead, http.MethodPost}
		e = a.write(a.within(at, a.create))
		if r.Method != http.MethodPost {
			e = a.read(a.within(at, a.list))
		}
	}
	if methods != nil {
		e = only(methods, e)
	}
	a.s.handle(name, e, failProjects).ServeHTTP(w, r)
}

// within checks the ids of the path, and that the caller may manage the project.
func (a *projectAPI) within(at projectRoute, e projectEndpoint) managed {
	return func(w http.ResponseWriter, r *http.Request, p *Principal) error {
		for _, id := range []struct {
			field string
			value *string
		}{
			{"org_id", &at.org}, {"project_id", &at.project}, {"oauth_client_id", &at.id},
		} {
			if id.field == "oauth_client_id" && *id.value == "" {
				continue
			}
			canonical, ok := canonicalUUID(*id.value)
			if !ok {
				bad := &malformedIDError{Field: id.field, Value: *id.value, Expected: "uuid"}
				return invalidRequest("The " + id.field + " of the path is not a UUID.").because(bad)
			}
			*id.value = canonical
		}
		if !p.Manages(at.org, at.project) {
			return notFound()
		}
		return e(w, r, p, at)
	}
}

// canonicalUUID is a UUID of the usual form in lower case.
func canonicalUUID(s string) (string, bool) {
	if len(s) != 36 {
		return "", false
	}
	id, err := uuid.Parse(s)
	return id.String(), err == nil
}

// ref names the client of the route within its project.
func (at projectRoute) ref() oauthreg.Ref { return oauthreg.ByID(at.id).In(at.org, at.project) }

// projectClient is a client as this API shows it.
type projectClient struct {
	ID          string    `json:"id"`
	Name        string    `json:"name"`
	ClientID    string    `json:"client_id"`
	ProjectID   string    `json:"project_id"`
	Created     time.Time `json:"created"`
	Modified    time.Time `json:"modified"`
	Description *string   `json:"description"`

	RedirectURIs            []string            `json:"redirect_uris"`
	GrantTypes              []string            `json:"grant_types"`
	ClientSecret            *string             `json:"client_secret"` // in the answer that made it, null elsewhere
	TokenEndpointAuthMethod oauthreg.AuthMethod `json:"token_endpoint_auth_method"`
	PKCERequired            bool                `json:"pkce_required"`
	PKCEChallengeMethod     string              `json:"pkce_challenge_method"`
	Deleted                 *time.Time          `json:"deleted"` // always null: what is deleted is not shown
}

// createdProjectClient is the answer to a creation.
type createdProjectClient struct {
	projectClient
	Scopes string `json:"scopes"`
}

func newProjectClient(c *oauthreg.Client) projectClient {
	v := projectClient{
		ID: c.ID, Name: c.Name, ClientID: c.ClientID, ProjectID: c.ProjectID,
		Created: c.CreatedAt.UTC(), Modified: c.UpdatedAt.UTC(),
		RedirectURIs: nonNil(c.RedirectURIs), GrantTypes: nonNil(c.GrantTypes),
		TokenEndpointAuthMethod: c.TokenEndpointAuthMethod,
		PKCERequired:            c.PKCERequired(), PKCEChallengeMethod: "S256",
	}
	if c.Description != "" {
		v.Description = &c.Description
	}
	if v.TokenEndpointAuthMethod == oauthreg.AuthUnnamed {
		v.TokenEndpointAuthMethod = oauthreg.AuthClientSecretBasic
	}
	return v
}

// projectRules are what this API lets a client register.
var projectRules = oauthreg.Rules{AllowImplicit: true}

const maxProjectText = 255 // characters of name and scopes

// projectProfiles are the profiles there are; all but the first make up for a
// missing name.
var projectProfiles = []string{"user_defined", "rightbrain_docs", "rightbrain_tasks", "zendesk", "user_api_keys", "dynamic"}

// projectMembers are the members of a create or update; nil was not there.
type projectMembers struct {
	name, description, scopes, method, format, profile *string
	redirectURIs, grantTypes                           *[]string
	pkceRequired                                       *bool
}

// readProjectMembers reads what create and update have in common. A member that
// is null counts as left out.
func readProjectMembers(b *jsonBody) projectMembers {
	var m projectMembers
	text := func(name string) *string {
		var s string
		if b.isNull(name) || !b.text(name, &s) {
			return nil
		}
		return &s
	}
	choice := func(name string, allowed ...string) *string {
		s := text(name)
		if s != nil && !slices.Contains(allowed, *s) {
			b.problem(name, "enum", "must be "+strings.Join(allowed, " or "))
			return nil
		}
		return s
	}
	texts := func(name string) *[]string {
		var list []string
		if b.isNull(name) || !b.texts(name, &list) {
			return nil
		}
		return &list
	}
	if m.name = text("name"); m.name != nil {
		switch n := utf8.RuneCountInString(*m.name); {
		case n == 0:
			b.problem("name", "string_too_short", "must have at least 1 character")
		case n > maxProjectText:
			b.problem("name", "string_too_long", "must have at most 255 characters")
		}
	}
	m.description = text("description")
	if m.scopes = text("scopes"); m.scopes != nil && utf8.RuneCountInString(*m.scopes) > maxProjectText {
		b.problem("scopes", "string_too_long", "must have at most 255 characters")
	}
	m.redirectURIs, m.grantTypes = texts("redirect_uris"), texts("grant_types")
	m.method = choice("token_endpoint_auth_method", oauthreg.AuthClientSecretBasic, oauthreg.AuthClientSecretPost, oauthreg.AuthNone)
	var pkce bool
	if !b.isNull("pkce_required") && b.boolean("pkce_required", &pkce) {
		m.pkceRequired = &pkce
	}
	if method := choice("pkce_challenge_method", "S256", "plain"); method != nil && *method == "plain" {
		b.problem("pkce_challenge_method", problemValue, "must be S256: plain protects nothing")
	}
	return m
}

// apply sets on c what the body has.
func (m *projectMembers) apply(c *oauthreg.Client) {
	if m.name != nil {
		c.Name = *m.name
	}
	if m.description != nil {
		c.Description = *m.description
	}
	if m.scopes != nil {
		c.Scopes = unique(oauthreg.SplitScope(*m.scopes))
		narrowDefaults(c)
	}
	if m.redirectURIs != nil {
		c.RedirectURIs = slices.Clone(*m.redirectURIs)
	}
	if m.grantTypes != nil {
		c.GrantTypes = slices.Clone(*m.grantTypes)
	}
	if m.method != nil {
		c.TokenEndpointAuthMethod = *m.method
	}
	if m.pkceRequired != nil {
		c.RequirePKCE = *m.pkceRequired
	}
	if m.format != nil {
		c.AccessTokenFormat = oauthreg.AccessTokenFormat(*m.format)
	}
}

// create serves POST on the collection.
func (a *projectAPI) create(w http.ResponseWriter, r *http.Request, p *Principal, at projectRoute) error {
	b, err := readBody(w, r)
	if err != nil {
		return err
	}
	m := readProjectMembers(b)
	for _, choice := range []struct {
		name    string
		to      **string
		allowed []string
	}{
		{"access_token_type", &m.format, []string{string(oauthreg.Opaque), string(oauthreg.JWT)}},
		{"profile", &m.profile, projectProfiles},
	} {
		var s string
		if !b.isNull(choice.name) && b.text(choice.name, &s) {
			if slices.Contains(choice.allowed, s) {
				*choice.to = &s
			} else {
				b.problem(choice.name, "enum", "must be "+strings.Join(choice.allowed, " or "))
			}
		}
	}
	if !b.has("name") || b.isNull("name") {
		if m.profile != nil && *m.profile != projectProfiles[0] {
			m.name = m.profile
		} else {
			b.need("name")
			if b.isNull("name") {
				b.problem("name", problemMissing, "is required")
			}
		}
	}
	c := oauthreg.Client{
		OrgID: at.org, ProjectID: at.project, UserID: p.UserID,
		TokenEndpointAuthMethod: oauthreg.AuthClientSecretBasic,
	}
	m.apply(&c)
	if len(c.GrantTypes) == 0 {
		c.GrantTypes = []oauthreg.GrantType{oauthreg.GrantClientCredentials}
		if len(c.RedirectURIs) > 0 {
			c.GrantTypes = []oauthreg.GrantType{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken}
		}
	}
	opts := oauthreg.RegisterOptions{Rules: projectRules}
	if err := invalidProjectClient(b, a.s.reg.Validate(c, opts)); err != nil {
		return err
	}
	return a.once(w, r, p, "/org/"+at.org+"/project/"+at.project+"/oauth_client", b.raw, func(ctx context.Context, ids newIDs) (*answer, error) {
		reg, err := a.registerNamed(ctx, c, opts, ids)
		if err != nil {
			return nil, err
		}
		view := createdProjectClient{newProjectClient(&reg.Client), strings.Join(reg.Client.Scopes, " ")}
		if reg.Secret != "" {
			view.ClientSecret = &reg.Secret
		}
		out, err := newAnswer(http.StatusCreated, view)
		if err != nil {
			return nil, err
		}
		out.Header["ETag"] = clientETag(&reg.Client)
		return out, nil
	})
}

// registerNamed registers c unless its name is taken in its project. Within this
// process that is decided under a lock. Another process may take the name at the
// same time, so we look again afterwards: then at least one gives way, and never
// do two clients stay.
func (a *projectAPI) registerNamed(ctx context.Context, c oauthreg.Client, opts oauthreg.RegisterOptions, ids newIDs) (oauthreg.Registration, error) {
	if ids.ID != "" { // a repetition finds its own name taken
		_, err := a.s.reg.Get(ctx, oauthreg.ByID(ids.ID))
		if err == nil {
			reg, err := a.register(ctx, c, opts, ids)
			return reg, projectInvalid(err)
		}
		if !errors.Is(err, oauthreg.ErrNotFound) {
			return oauthreg.Registration{}, err
		}
	}
	defer a.lockName(&c)()
	if err := a.nameFree(ctx, &c, ""); err != nil {
		return oauthreg.Registration{}, err
	}
	reg, err := a.register(ctx, c, opts, ids)
	if err != nil {
		return reg, projectInvalid(err)
	}
	if taken := a.nameFree(ctx, &c, reg.Client.ID); taken != nil {
		if err := a.s.reg.Delete(context.WithoutCancel(ctx), owned(&reg.Client)); err != nil && !errors.Is(err, oauthreg.ErrNotFound) {
			return oauthreg.Registration{}, err
		}
		return oauthreg.Registration{}, taken
	}
	return reg, nil
}

// lockName lets nobody else take the name of c in its project until the function
// it returns is called.
func (a *projectAPI) lockName(c *oauthreg.Client) (unlock func()) {
	l := &a.names[maphash.String(a.seed, c.OrgID+"\x00"+c.ProjectID+"\x00"+c.Name)%uint64(len(a.names))]
	l.Lock()
	return l.Unlock
}

// nameFree is 409 if a client of the project but the one with that id has the
// name of c.
func (a *projectAPI) nameFree(ctx context.Context, c *oauthreg.Client, except string) error {
	page, err := a.s.reg.List(ctx, oauthreg.ListQuery{OrgID: c.OrgID, ProjectID: c.ProjectID, Name: c.Name, Limit: 2})
	if err != nil {
		return err
	}
	for _, other := range page.Clients {
		if other.ID != except {
			return oauthError(http.StatusConflict, "conflict", "A client of that name exists already.")
		}
	}
	return nil
}

// list serves GET on the collection: newest first. The cursor is the id of the
// last client of the page before; it also works when that client has been
// deleted meanwhile, and only within the project.
func (a *projectAPI) list(w http.ResponseWriter, r *http.Request, _ *Principal, at projectRoute) error {
	q := oauthreg.ListQuery{OrgID: at.org, ProjectID: at.project, Limit: 100}
	if len(r.URL.RawQuery) > maxQuery {
		return oauthError(http.StatusRequestURITooLong, "invalid_request", "The query is too long.")
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalidRequest("The query is not well-formed.")
	}
	var details []detail
	if v := query.Get("page_limit"); v != "" {
		n, err := strconv.Atoi(v)
		switch {
		case err != nil:
			details = append(details, detail{[]any{"query", "page_limit"}, "must be a whole number", "int_parsing"})
		case n < 1:
			details = append(details, detail{[]any{"query", "page_limit"}, "must be at least 1", "greater_than_equal"})
		case n > 100:
			details = append(details, detail{[]any{"query", "page_limit"}, "must be at most 100", "less_than_equal"})
		}
		q.Limit = n
	}
	if v := query.Get("cursor"); v != "" {
		id, ok := canonicalUUID(v)
		if !ok {
			details = append(details, detail{[]any{"query", "cursor"}, "must be a UUID", "uuid_parsing"})
		} else if q.AfterCreatedAt, err = a.position(r.Context(), at, id); err == nil {
			q.AfterID = id
		} else if errors.Is(err, oauthreg.ErrNotFound) {
			details = append(details, detail{[]any{"query", "cursor"}, "must be the cursor of a page of this list", "value_error"})
		} else {
			return err
		}
	}
	if details != nil {
		return unprocessable("The query is not valid.").because(&detailError{details})
	}
	page, err := a.s.reg.List(r.Context(), q)
	if err != nil {
		return err
	}
	type pagination struct {
		NextCursor *string `json:"next_cursor"`
		HasNext    bool    `json:"has_next"`
		PageLimit  int     `json:"page_limit"`
	}
	out := struct {
		Results    []projectClient `json:"results"`
		Pagination pagination      `json:"pagination"`
	}{make([]projectClient, 0, len(page.Clients)), pagination{PageLimit: q.Limit, HasNext: page.Next != ""}}
	for i := range page.Clients {
		out.Results = append(out.Results, newProjectClient(&page.Clients[i]))
	}
	if page.Next != "" {
		out.Pagination.NextCursor = &out.Results[len(out.Results)-1].ID
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// position is when the client of the project was created that a cursor names;
// of a deleted one the audit log knows. [oauthreg.ErrNotFound] when there never
// was one.
func (a *projectAPI) position(ctx context.Context, at projectRoute, id string) (time.Time, error) {
	at.id = id
	c, err := a.s.reg.Get(ctx, at.ref())
	if err == nil {
		return c.CreatedAt, nil
	}
	if !errors.Is(err, oauthreg.ErrNotFound) {
		return time.Time{}, err
	}
	records, err := a.s.reg.Audit(ctx, oauthreg.AuditQuery{
		ClientID: id, OrgID: at.org, ProjectID: at.project, Action: "client.deleted", Limit: 1,
	})
	if err != nil {
		return time.Time{}, err
	}
	if len(records) == 0 {
		return time.Time{}, oauthreg.ErrNotFound
	}
	var gone struct {
		CreatedAt time.Time `json:"created_at"`
	}
	if err := json.Unmarshal(records[0].Before, &gone); err != nil || gone.CreatedAt.IsZero() {
		return time.Time{}, oauthreg.ErrNotFound
	}
	return gone.CreatedAt, nil
}

// get serves GET on a client.
func (a *projectAPI) get(w http.ResponseWriter, r *http.Request, _ *Principal, at projectRoute) error {
	c, err := a.s.reg.Get(r.Context(), at.ref())
	if err != nil {
		return err
	}
	if !notModified(w, r, clientETag(&c)) {
		writeJSON(w, http.StatusOK, newProjectClient(&c))
	}
	return nil
}

// update serves POST, PUT and PATCH on a client, which mean the same: what the
// body has changes, lists as a whole, and what it does not have stays. All of it
// applies or nothing does.
func (a *projectAPI) update(w http.ResponseWriter, r *http.Request, _ *Principal, at projectRoute) error {
	ctx := r.Context()
	c, err := a.s.reg.Get(ctx, at.ref())
	if err != nil {
		return err
	}
	version, err := a.ifMatch(r, &c)
	if err != nil {
		return err
	}
	b, err := readBody(w, r)
	if err != nil {
		return err
	}
	m := readProjectMembers(b)
	change := func(to *oauthreg.Client) error { m.apply(to); return nil }
	for name, list := range map[string]*[]string{"redirect_uris": m.redirectURIs, "grant_types": m.grantTypes} {
		if list != nil && len(*list) == 0 {
			b.problem(name, "too_short", "must have at least 1 item")
		}
	}
	if len(b.problems) > 0 {
		return invalidProjectClient(b, a.s.reg.ValidateUpdate(c, projectRules, change))
	}
	if m.name != nil && *m.name != c.Name {
		named := oauthreg.Client{OrgID: at.org, ProjectID: at.project, Name: *m.name}
		defer a.lockName(&named)()
		if err := a.nameFree(ctx, &named, c.ID); err != nil {
			return err
		}
	}
	updated, err := a.s.reg.Update(ctx, at.ref(), oauthreg.UpdateOptions{Rules: projectRules, IfVersion: version}, change)
	if err != nil {
		return projectInvalid(unlessChanged(version, err))
	}
	w.Header().Set("ETag", clientETag(&updated))
	writeJSON(w, http.StatusOK, newProjectClient(&updated))
	return nil
}

// remove serves DELETE on a client: its grants and tokens end with it.
func (a *projectAPI) remove(w http.ResponseWriter, r *http.Request, _ *Principal, at projectRoute) error {
	ctx := r.Context()
	c, err := a.s.reg.Get(ctx, at.ref())
	if err != nil {
		return err
	}
	version, err := a.ifMatch(r, &c)
	if err != nil {
		return err
	}
	if err := a.s.reg.DeleteIfVersion(ctx, at.ref(), version); err != nil {
		return unlessChanged(version, err)
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// newSecret serves POST on a client's client_secret: the secrets there were are
// worth nothing from now on; tokens that were issued stay.
func (a *projectAPI) newSecret(w http.ResponseWriter, r *http.Request, _ *Principal, at projectRoute) error {
	ctx := r.Context()
	c, err := a.s.reg.Get(ctx, at.ref())
	if err != nil {
		return err
	}
	version, err := a.ifMatch(r, &c)
	if err != nil {
		return err
	}
	if _, err := readBody(w, r); err != nil {
		return err
	}
	issued, err := a.s.reg.RotateSecret(ctx, at.ref(), oauthreg.RotateOptions{IfVersion: version})
	if err != nil {
		return projectInvalid(unlessChanged(version, err))
	}
	w.Header().Set("ETag", clientETag(&issued.Client))
	writeJSON(w, http.StatusOK, struct {
		ClientSecret string `json:"client_secret"`
	}{issued.Secret})
	return nil
}

// detail is one item of an error's detail.
type detail struct {
	Loc  []any  `json:"loc"` // strings and list indexes, from "body", "query" or "path" on
	Msg  string `json:"msg"`
	Type string `json:"type"`
}

// detailError is a list of problems, as this API shows them.
type detailError struct{ details []detail }

func (e *detailError) Error() string {
	var b strings.Builder
	for i, d := range e.details {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(fmt.Sprint(d.Loc...) + ": " + d.Msg)
	}
	return b.String()
}

// malformedIDError is an id in the path that cannot be one.
type malformedIDError struct {
	Field    string `json:"field"`
	Value    string `json:"value"`
	Expected string `json:"expected_format"`
}

func (e *malformedIDError) Error() string { return e.Field + " is not a " + e.Expected }

// projectNames are the members of this API by the names of RFC 7591 that the
// registry uses.
var projectNames = map[string]string{
	"client_name": "name", "scope": "scopes", "default_scope": "scopes", "require_pkce": "pkce_required",
	"access_token_format": "access_token_type", "client_type": "token_endpoint_auth_method",
	"response_types": "grant_types", "overlap": "client_secret",
}

// invalidProjectClient joins what is wrong with the body to what the registry
// says of the client; nil if that is nothing.
func invalidProjectClient(b *jsonBody, registry error) error {
	var invalid *oauthreg.InvalidError
	if registry != nil && !asInvalid(registry, &invalid) {
		return registry
	}
	var details []detail
	seen := map[string]bool{}
	for _, p := range b.problems {
		word := string(p.Kind)
		switch p.Kind {
		case problemType:
			word = "type_error"
		case problemValue:
			word = "value_error"
		}
		details = append(details, detail{bodyLoc(p.Field), p.Message, word})
		seen[baseField(p.Field)] = true
	}
	if invalid != nil {
		for _, d := range registryDetails(invalid) {
			if name, _ := d.Loc[1].(string); !seen[name] {
				details = append(details, d)
			}
		}
	}
	if details == nil {
		return nil
	}
	e := &detailError{details}
	return unprocessable(plainText(e.Error())).because(e)
}

// projectInvalid gives the registry's verdict the form of this API.
func projectInvalid(err error) error {
	var own *Error
	var invalid *oauthreg.InvalidError
	if err == nil || errors.As(err, &own) || !asInvalid(err, &invalid) {
		return err
	}
	e := &detailError{registryDetails(invalid)}
	return unprocessable(plainText(e.Error())).because(e)
}

func registryDetails(invalid *oauthreg.InvalidError) []detail {
	out := make([]detail, 0, len(invalid.Problems))
	for _, p := range invalid.Problems {
		out = append(out, detail{bodyLoc(p.Field), p.Message, "value_error"})
	}
	return out
}

// bodyLoc is where in the body a field is: "redirect_uris[1]" is
// ["body", "redirect_uris", 1].
func bodyLoc(field string) []any {
	name, index, found := strings.Cut(field, "[")
	if own, ok := projectNames[name]; ok {
		if name == "scope" || name == "default_scope" || name == "response_types" {
			found = false // not a list there, or another one
		}
		name = own
	}
	loc := []any{"body", name}
	if found {
		if n, err := strconv.Atoi(strings.TrimSuffix(index, "]")); err == nil {
			loc = append(loc, n)
		}
	}
	return loc
}

// failProjects writes an error as this API does: detail is always there, a list
// for what is wrong with a request, otherwise a sentence.
func failProjects(_ *Server, w http.ResponseWriter, r *http.Request, e *Error) {
	h := w.Header()
	if e.challenge != "" {
		h.Add("WWW-Authenticate", e.challenge)
	}
	setRetryAfter(h, e)
	body := struct {
		Detail    any                `json:"detail"`
		Type      string             `json:"type"`
		Message   string             `json:"message,omitempty"`
		Reason    string             `json:"reason,omitempty"`
		Malformed *malformedIDError  `json:"malformedResourceIdentifierError,omitempty"`
		Refused   *refusedPermission `json:"permissionCheckFailedError,omitempty"`
	}{Detail: e.Description}
	switch {
	case e.Status >= 500:
		body.Type = "server_error"
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		body.Type = "authorization_error"
	case e.Status == http.StatusNotFound, e.Status == http.StatusConflict, e.Status == http.StatusMethodNotAllowed,
		e.Status == http.StatusPreconditionFailed, e.Status == http.StatusPreconditionRequired, e.Status == http.StatusTooManyRequests:
		body.Type = "resource_error"
	default:
		body.Type = "validation_error"
	}
	var list *detailError
	switch {
	case e.cause != nil && errors.As(e.cause, &list):
		body.Detail = list.details
	case e.Status == http.StatusUnprocessableEntity:
		body.Detail = []detail{{[]any{"body"}, e.Description, "value_error"}}
	case e.cause != nil && errors.As(e.cause, &body.Malformed):
		body.Reason, body.Message = "MALFORMED_RESOURCE_IDENTIFIER", e.Description
	case e.Status == http.StatusForbidden:
		body.Reason, body.Message = "PERMISSION_CHECK_FAILED", e.Description
		body.Refused = &refusedPermission{Permission: "project:create_oauth_client"}
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			body.Refused.Permission = "project:view"
		}
	}
	writeJSON(w, e.Status, body)
}

// refusedPermission names what the caller would have needed.
type refusedPermission struct {
	Permission string `json:"permission"`
}
