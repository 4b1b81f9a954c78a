package handlers

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// v2Rules are what this API accepts at registration and others may not: a public
// client with client_credentials, which the token endpoint refuses.
var v2Rules = oauthreg.Rules{PublicClientCredentials: true}

// clientV2 is a client in this API.
type clientV2 struct {
	RecordType        string              `json:"record_type"`
	ClientID          string              `json:"client_id"`
	Name              string              `json:"name"`
	OrgID             string              `json:"org_id"`
	UserID            string              `json:"user_id"`
	ClientType        oauthreg.ClientType `json:"client_type"`
	RequirePKCE       bool                `json:"require_pkce"`
	CreatedAt         time.Time           `json:"created_at"`
	UpdatedAt         time.Time           `json:"updated_at"`
	AllowedScopes     []string            `json:"allowed_scopes"`
	AllowedGrantTypes []string            `json:"allowed_grant_types"`
	RedirectURIs      []string            `json:"redirect_uris"`
	LogoURI           *string             `json:"logo_uri"`
	TOSURI            *string             `json:"tos_uri"`
	PolicyURI         *string             `json:"policy_uri"`
	// ClientSecret is there in the answer that creates the client, once.
	ClientSecret *string `json:"client_secret"`
	// SuspendedAt is there while the client is switched off.
	SuspendedAt time.Time `json:"suspended_at,omitzero"`
}

// appendJSON is part of [jsonAppender].
func (c *clientV2) appendJSON(b []byte) []byte {
	o := beginObject(b)
	o.text("record_type", c.RecordType)
	o.text("client_id", c.ClientID)
	o.text("name", c.Name)
	o.text("org_id", c.OrgID)
	o.text("user_id", c.UserID)
	o.text("client_type", string(c.ClientType))
	o.bool("require_pkce", c.RequirePKCE)
	o.time("created_at", c.CreatedAt)
	o.time("updated_at", c.UpdatedAt)
	o.list("allowed_scopes", c.AllowedScopes)
	o.list("allowed_grant_types", c.AllowedGrantTypes)
	o.list("redirect_uris", c.RedirectURIs)
	o.nullable("logo_uri", c.LogoURI)
	o.nullable("tos_uri", c.TOSURI)
	o.nullable("policy_uri", c.PolicyURI)
	o.nullable("client_secret", c.ClientSecret)
	if !c.SuspendedAt.IsZero() {
		o.time("suspended_at", c.SuspendedAt)
	}
	return o.end()
}

// clientEnvelopeV2 is an [envelope] with a client.
type clientEnvelopeV2 struct {
	Data clientV2 `json:"data"`
}

// appendJSON is part of [jsonAppender].
func (e *clientEnvelopeV2) appendJSON(b []byte) []byte {
	o := beginObject(b)
	o.name("data")
	o.b = e.Data.appendJSON(o.b)
	return o.end()
}

// clientListV2 is a [list] of clients.
type clientListV2 struct {
	Data []clientV2 `json:"data"`
	Meta pageMeta   `json:"meta"`
}

// appendJSON is part of [jsonAppender].
func (l *clientListV2) appendJSON(b []byte) []byte {
	o := beginObject(b)
	o.name("data")
	o.b = append(o.b, '[')
	for i := range l.Data {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = l.Data[i].appendJSON(o.b)
	}
	o.b = append(o.b, ']')
	o.name("meta")
	o.b = l.Meta.appendJSON(o.b)
	return o.end()
}

// v2Client is the view of a client. A grant type that the server does not offer
// is kept and not shown.
func (v *managementV2) v2Client(c *oauthreg.Client) clientV2 {
	grants := nonNil(c.GrantTypes)
	if !v.s.cfg.Implicit {
		grants = slices.DeleteFunc(slices.Clone(grants), func(g string) bool { return g == oauthreg.GrantImplicit })
	}
	return clientV2{
		RecordType: "oauth_client", ClientID: c.ClientID, Name: c.Name, OrgID: c.OrgID, UserID: c.UserID,
		ClientType: c.Type, RequirePKCE: c.RequirePKCE, CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt,
		AllowedScopes: nonNil(c.Scopes), AllowedGrantTypes: grants, RedirectURIs: nonNil(c.RedirectURIs),
		LogoURI: optional(c.LogoURI), TOSURI: optional(c.TOSURI), PolicyURI: optional(c.PolicyURI),
		SuspendedAt: c.SuspendedAt,
	}
}

// optional is null in JSON when there is nothing.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// listClients serves GET /oauth_clients: the clients at the caller's home, newest
// first. All filters must hold.
func (v *managementV2) listClients(w http.ResponseWriter, r *http.Request, p *Principal) error {
	q, err := parseList(r, "page[number]", "page[size]", "filter[client_id]", "filter[name]", "filter[name][contains]",
		"filter[client_type]", "filter[allowed_grant_types][contains]", "filter[verified]", "filter[suspended]")
	if err != nil {
		return err
	}
	query := oauthreg.ListQuery{
		ClientID: q.Get("filter[client_id]"), Name: q.Get("filter[name]"), NameContains: q.Get("filter[name][contains]"),
		Type: oauthreg.ClientType(q.Get("filter[client_type]")), GrantType: q.Get("filter[allowed_grant_types][contains]"),
		Limit: q.size, Offset: q.offset(), Count: true,
	}
	query.OrgID, query.ProjectID = p.home()
	if known := v.s.reg.GrantTypes(); query.GrantType != "" && !slices.Contains(known, query.GrantType) {
		return invalidRequest("filter[allowed_grant_types][contains] must be " + strings.Join(known, " or ") + ".")
	}
	if query.Verified, err = q.boolean("filter[verified]"); err != nil {
		return err
	}
	if query.Suspended, err = q.boolean("filter[suspended]"); err != nil {
		return err
	}
	page, err := v.s.reg.List(r.Context(), query)
	if err != nil {
		return queryError(err, map[string]string{
			"client_id": "filter[client_id]", "name": "filter[name]", "name_contains": "filter[name][contains]", "type": "filter[client_type]",
		})
	}
	data := make([]clientV2, len(page.Clients))
	for i := range page.Clients {
		data[i] = v.v2Client(&page.Clients[i])
	}
	writeJSON(w, http.StatusOK, &clientListV2{data, q.meta(page.Total)})
	return nil
}

// createClient serves POST /oauth_clients. The client belongs to the caller's
// home, and has its secret in the answer, never to be shown again.
func (v *managementV2) createClient(w http.ResponseWriter, r *http.Request, p *Principal) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	c := oauthreg.Client{OrgID: p.OrgID, ProjectID: p.ProjectID, UserID: p.UserID}
	var clientType string
	body.need("name", "client_type", "allowed_scopes", "allowed_grant_types")
	body.oneOf("client_type", &clientType, string(oauthreg.Public), string(oauthreg.Confidential))
	c.Type = oauthreg.ClientType(clientType)
	v2Members(body, &c)
	body.refuseUnknown()
	opts := oauthreg.RegisterOptions{Rules: v2Rules}
	if len(body.problems) > 0 {
		return invalidV2Client(body, v.s.reg.Validate(c, opts))
	}
	return v.once(w, r, p, "/oauth_clients", body.raw, func(ctx context.Context, ids newIDs) (*answer, error) {
		reg, err := v.register(ctx, c, opts, ids)
		if err != nil {
			return nil, inV2(err)
		}
		view := v.v2Client(&reg.Client)
		view.ClientSecret = optional(reg.Secret)
		a, err := newAnswer(http.StatusCreated, envelope{view})
		if err != nil {
			return nil, err
		}
		a.Header["ETag"] = clientETag(&reg.Client)
		a.Header["Location"] = v.url("/oauth_clients/" + reg.Client.ClientID)
		return a, nil
	})
}

// v2Members reads what create and update have in common into c. Members that are
// not there leave c as it is; null clears a link.
func v2Members(body *jsonBody, c *oauthreg.Client) {
	body.text("name", &c.Name)
	body.texts("allowed_scopes", &c.Scopes)
	body.texts("allowed_grant_types", &c.GrantTypes)
	body.texts("redirect_uris", &c.RedirectURIs)
	body.boolean("require_pkce", &c.RequirePKCE)
	for _, link := range []struct {
		name string
		to   *string
	}{
		{"logo_uri", &c.LogoURI}, {"tos_uri", &c.TOSURI}, {"policy_uri", &c.PolicyURI},
	} {
		if body.isNull(link.name) {
			*link.to = ""
			continue
		}
		body.text(link.name, link.to)
	}
}

// getClient serves GET /oauth_clients/{id}; the id is the client_id.
func (v *managementV2) getClient(w http.ResponseWriter, r *http.Request, p *Principal) error {
	c, err := v.client(r, p)
	if err != nil {
		return err
	}
	if notModified(w, r, clientETag(&c)) {
		return nil
	}
	writeJSON(w, http.StatusOK, &clientEnvelopeV2{v.v2Client(&c)})
	return nil
}

// client is the client that the path names.
func (v *managementV2) client(r *http.Request, p *Principal) (oauthreg.Client, error) {
	return v.find(r.Context(), p, oauthreg.ByClientID(r.PathValue("id")))
}

// updateClient serves PUT /oauth_clients/{id}. A member that is not there keeps
// its value; lists are replaced. All of it takes effect, or nothing.
func (v *managementV2) updateClient(w http.ResponseWriter, r *http.Request, p *Principal) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	c, err := v.client(r, p)
	if err != nil {
		return err
	}
	v2Members(body, new(oauthreg.Client)) // what is wrong with the body is wrong for every client
	body.refuseUnknown()
	change := func(c *oauthreg.Client) error {
		v2Members(body, c)
		narrowDefaults(c)
		return nil
	}
	if problems := body.problems; len(problems) > 0 {
		registry := v.s.reg.ValidateUpdate(c, v2Rules, change)
		body.problems = problems // reading them again found them again
		return invalidV2Client(body, registry)
	}
	version, err := v.ifMatch(r, &c)
	if err != nil {
		return err
	}
	opts := oauthreg.UpdateOptions{Rules: v2Rules, IfVersion: version}
	c, err = v.s.reg.Update(r.Context(), owned(&c), opts, change)
	if err != nil {
		return inV2(unlessChanged(version, err))
	}
	w.Header().Set("ETag", clientETag(&c))
	writeJSON(w, http.StatusOK, &clientEnvelopeV2{v.v2Client(&c)})
	return nil
}

// deleteClient serves DELETE /oauth_clients/{id}: the client is gone for ever,
// with its grants and tokens.
func (v *managementV2) deleteClient(w http.ResponseWriter, r *http.Request, p *Principal) error {
	c, err := v.client(r, p)
	if err != nil {
		return err
	}
	version, err := v.ifMatch(r, &c)
	if err != nil {
		return err
	}
	if err := v.s.reg.DeleteIfVersion(r.Context(), owned(&c), version); err != nil {
		return unlessChanged(version, err)
	}
	noContent(w)
	return nil
}

func noContent(w http.ResponseWriter) {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

// suspendClient serves POST /oauth_clients/{id}/suspend: from now on the client
// gets nothing, and its tokens are inactive.
func (v *managementV2) suspendClient(w http.ResponseWriter, r *http.Request, p *Principal) error {
	return v.switchClient(w, r, p, v.s.reg.SuspendIfVersion)
}

// resumeClient serves POST /oauth_clients/{id}/resume.
func (v *managementV2) resumeClient(w http.ResponseWriter, r *http.Request, p *Principal) error {
	return v.switchClient(w, r, p, v.s.reg.ResumeIfVersion)
}

func (v *managementV2) switchClient(w http.ResponseWriter, r *http.Request, p *Principal, change func(context.Context, oauthreg.Ref, int64) (oauthreg.Client, error)) error {
	if err := emptyBody(w, r); err != nil {
		return err
	}
	c, err := v.client(r, p)
	if err != nil {
		return err
	}
	version, err := v.ifMatch(r, &c)
	if err != nil {
		return err
	}
	if c, err = change(r.Context(), owned(&c), version); err != nil {
		return unlessChanged(version, err)
	}
	w.Header().Set("ETag", clientETag(&c))
	writeJSON(w, http.StatusOK, &clientEnvelopeV2{v.v2Client(&c)})
	return nil
}

// emptyBody reads a body in which nothing is asked for.
func emptyBody(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	body.refuseUnknown()
	return body.err()
}

// secretV2 is a client secret in this API: what is kept of it, and, in the
// answer that makes it, the secret.
type secretV2 struct {
	RecordType   string     `json:"record_type"`
	ID           string     `json:"id"`
	Label        string     `json:"label"`
	CreatedAt    time.Time  `json:"created_at"`
	ExpiresAt    *time.Time `json:"expires_at"`
	LastUsedAt   *time.Time `json:"last_used_at"`
	ClientSecret *string    `json:"client_secret"`
}

func v2Secret(s *oauthreg.Secret) secretV2 {
	return secretV2{
		RecordType: "oauth_client_secret", ID: s.ID, Label: s.Label, CreatedAt: s.CreatedAt,
		ExpiresAt: optionalTime(s.ExpiresAt), LastUsedAt: optionalTime(s.LastUsedAt),
	}
}

// optionalTime is null in JSON when it never was.
func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// listSecrets serves GET /oauth_clients/{id}/secrets: what is kept of the
// client's secrets, newest first, with their last use to the minute.
func (v *managementV2) listSecrets(w http.ResponseWriter, r *http.Request, p *Principal) error {
	c, err := v.client(r, p)
	if err != nil {
		return err
	}
	secrets, err := v.s.reg.Secrets(r.Context(), owned(&c))
	if err != nil {
		return err
	}
	data := make([]secretV2, len(secrets))
	for i := range secrets {
		data[i] = v2Secret(&secrets[i])
	}
	writeJSON(w, http.StatusOK, envelope{data})
	return nil
}

// rotateSecret serves POST /oauth_clients/{id}/secrets: a new secret, shown
// once. The others end at once, or after overlap_seconds.
func (v *managementV2) rotateSecret(w http.ResponseWriter, r *http.Request, p *Principal) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	const day = 24 * 60 * 60
	var opts oauthreg.RotateOptions
	var overlap, lifetime int64
	body.number("overlap_seconds", &overlap, 0, int64(oauthreg.MaxSecretOverlap/time.Second))
	body.number("lifetime_seconds", &lifetime, 1, 3653*day)
	body.text("label", &opts.Label)
	body.refuseUnknown()
	opts.Overlap, opts.Lifetime = time.Duration(overlap)*time.Second, time.Duration(lifetime)*time.Second
	c, err := v.client(r, p)
	if err != nil {
		return err
	}
	if err := body.err(); err != nil {
		return err
	}
	return v.once(w, r, p, "/oauth_clients/"+c.ClientID+"/secrets", body.raw, func(ctx context.Context, ids newIDs) (*answer, error) {
		issued, err := v.rotate(ctx, r, &c, opts, ids)
		if err != nil {
			return nil, inV2(err)
		}
		view := v2Secret(&issued.Info)
		view.ClientSecret = &issued.Secret
		return newAnswer(http.StatusCreated, envelope{view})
	})
}

// revokeSecret serves DELETE /oauth_clients/{id}/secrets/{secret}: the secret
// ends at once, the last one too.
func (v *managementV2) revokeSecret(w http.ResponseWriter, r *http.Request, p *Principal) error {
	c, err := v.client(r, p)
	if err != nil {
		return err
	}
	version, err := v.ifMatch(r, &c)
	if err != nil {
		return err
	}
	if err := v.s.reg.RevokeSecretIfVersion(r.Context(), owned(&c), r.PathValue("secret"), version); err != nil {
		return unlessChanged(version, err)
	}
	noContent(w)
	return nil
}
