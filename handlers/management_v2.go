package handlers

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// ManagementV2 is the management API whose objects stand in a data envelope:
// OAuth clients, grants, the answer to a consent, and the protocol endpoints
// below the same base, for clients that know one base URL only. It is mounted at
// <issuer>/v2 unless cfg says otherwise, and requests must arrive with their
// whole path:
//
//	mux.Handle("/v2/", server.ManagementV2(cfg))
//
// A principal with rights over all organizations reaches every client and grant
// by its id; lists show its home organization.
//
// Answers to an Idempotency-Key are kept in memory for a day, sealed, since they
// may hold a client secret. Other processes on the same database, and this one
// after a restart, create nothing twice under the key either, but cannot show
// the secret again: they answer 409.
func (s *Server) ManagementV2(cfg ManagementConfig) http.Handler {
	v := &managementV2{management: newManagement(s, cfg, s.base+"/v2"), mux: http.NewServeMux()}
	v.challenge += `, resource_metadata="` + v.url("/.well-known/oauth-protected-resource") + `"` // RFC 9728 §5.1
	v.routes()
	return v
}

type managementV2 struct {
	*management
	mux    *http.ServeMux
	served []string // the patterns, for the test of the description
}

// ServeHTTP answers every path below the base, unknown ones too.
func (v *managementV2) ServeHTTP(w http.ResponseWriter, r *http.Request) { v.mux.ServeHTTP(w, r) }

// routes is the whole surface of the API. Both families of paths are the same
// resources. Path ids are one segment of the escaped path each, so an id may
// have any character; an empty one is no segment, and not found.
func (v *managementV2) routes() {
	const get, head, post, put, del = http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete

	for _, clients := range []string{"/oauth_clients", "/oauth/clients"} {
		client := clients + "/{id}"
		v.resource(clients, "clients", methods{get: v.read(v.listClients), post: v.write(v.createClient)})
		v.resource(client, "client", methods{get: v.read(v.getClient), put: v.write(v.updateClient), del: v.write(v.deleteClient)})
		v.resource(client+"/suspend", "suspend client", methods{post: v.write(v.suspendClient)})
		v.resource(client+"/resume", "resume client", methods{post: v.write(v.resumeClient)})
		v.resource(client+"/secrets", "client secrets", methods{get: v.read(v.listSecrets), post: v.write(v.rotateSecret)})
		v.resource(client+"/secrets/{secret}", "client secret", methods{del: v.write(v.revokeSecret)})
		v.resource(client+"/audit", "client audit", methods{get: v.read(v.clientAudit)})
		v.resource(client+"/explain", "explain", methods{post: v.read(v.explain)})
	}
	for _, grants := range []string{"/oauth_grants", "/oauth/grants"} {
		v.resource(grants, "grants", methods{get: v.read(v.listGrants), post: v.write(v.answerConsent), del: v.write(v.revokeGrants)})
		v.resource(grants+"/{id}", "grant", methods{get: v.read(v.getGrant), del: v.write(v.revokeGrant)})
	}
	v.resource("/oauth/consent/{token}", "consent by token", methods{get: v.read(v.showConsentRequest)})
	v.resource("/audit", "audit", methods{get: v.read(v.listAudit)})
	v.resource("/signing_keys", "signing keys", methods{get: v.read(v.listKeys), post: v.write(v.rotateKey)})
	v.resource("/signing_keys/{kid}", "signing key", methods{del: v.write(v.withdrawKey)})
	v.resource("/signing_keys/audit", "signing keys audit", methods{get: v.read(v.keysAudit)})

	// Protocol endpoints. Only below this base, token and introspection take
	// JSON as well, introspection takes the management bearer alone, and the
	// error pages of authorize tell an unknown client from a wrong redirect URI
	// by their status.
	v.mount("/oauth/authorize", v.s.handle("authorize", only([]string{get}, v.authorize), failPage))
	v.protocol("/oauth/token", "token", jsonForm(v.s.byClient(v.s.token)), post)
	v.protocol("/oauth/introspect", "introspect", jsonForm(v.introspect), post)
	v.protocol("/.well-known/oauth-protected-resource", "protected resource", v.protectedResource, get, head)
	for _, path := range []string{"/oauth/jwks", "/oauth/revoke", "/oauth/register", "/oauth/register/", "/.well-known/"} {
		v.mount(path, v.forward())
	}

	v.resource("/openapi.json", "openapi", methods{get: v.s.openAPI()})
	v.mount("/", v.s.handle("management", func(http.ResponseWriter, *http.Request) error { return notFound() }, failV2))
}

func (v *managementV2) mount(path string, h http.Handler) {
	v.served = append(v.served, path)
	v.mux.Handle(v.path+path, h)
}

// resource mounts a resource of the API.
func (v *managementV2) resource(path, name string, m methods) {
	v.mount(path, v.s.handle(name, m.serve, failV2))
}

// protocol mounts a protocol endpoint; any web origin may call it.
func (v *managementV2) protocol(path, name string, e endpoint, methods ...string) {
	v.mount(path, cors(strings.Join(methods, ", "), v.s.handle(name, only(methods, e), failJSON)))
}

// forward hands a request to the endpoint of the same path below the issuer, if
// the server has one.
func (v *managementV2) forward() http.Handler {
	missing := v.s.handle("management", func(http.ResponseWriter, *http.Request) error { return notFound() }, failV2)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := *r.URL
		u.Path = v.s.base + strings.TrimPrefix(r.URL.Path, v.path)
		if u.RawPath != "" {
			u.RawPath = v.s.base + strings.TrimPrefix(r.URL.RawPath, v.path)
		}
		forwarded := new(http.Request)
		*forwarded = *r
		forwarded.URL = &u
		if _, pattern := v.s.mux.Handler(forwarded); pattern == "" {
			missing.ServeHTTP(w, r)
			return
		}
		v.s.mux.ServeHTTP(w, forwarded)
	})
}

// methods are the methods of a resource. HEAD is GET without its body.
type methods map[string]endpoint

func (m methods) serve(w http.ResponseWriter, r *http.Request) error {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if e, ok := m[method]; ok {
		return e(w, r)
	}
	w.Header().Set("Allow", strings.Join(slices.Sorted(maps.Keys(m)), ", "))
	return oauthError(http.StatusMethodNotAllowed, "invalid_request", "The resource does not answer this method.")
}

// failV2 is for the API's own resources. A conflict is final: clients that
// repeat requests by themselves are told not to.
func failV2(s *Server, w http.ResponseWriter, r *http.Request, e *Error) {
	if e.Status == http.StatusConflict {
		w.Header().Set("X-Should-Retry", "false")
	}
	failJSON(s, w, r, e)
}

// envelope is a single object.
type envelope struct {
	Data any `json:"data"`
}

// list is a page of objects; Data is never null.
type list struct {
	Data any `json:"data"`
	Meta any `json:"meta"`
}

// pageMeta tells which page of how many a list is.
type pageMeta struct {
	PageNumber   int `json:"page_number"`
	PageSize     int `json:"page_size"`
	TotalPages   int `json:"total_pages"`
	TotalResults int `json:"total_results"`
}

// appendJSON is part of [jsonAppender].
func (m *pageMeta) appendJSON(b []byte) []byte {
	o := beginObject(b)
	o.count("page_number", m.PageNumber)
	o.count("page_size", m.PageSize)
	o.count("total_pages", m.TotalPages)
	o.count("total_results", m.TotalResults)
	return o.end()
}

// listQuery is the query of a list.
type listQuery struct {
	url.Values
	number int
	size   int
}

// offset is how many items come before the page.
func (q *listQuery) offset() int { return (q.number - 1) * q.size }

func (q *listQuery) meta(total int) pageMeta {
	return pageMeta{PageNumber: q.number, PageSize: q.size, TotalPages: (total + q.size - 1) / q.size, TotalResults: total}
}

// maxPageNumber keeps offsets within what every database can count.
const maxPageNumber = 10_000_000

// parseList reads the query of a list, which has the page parameters and filters
// named. Others are refused, not ignored, and so are filters without a value: the
// answer would be more than what was asked for. Parameters of other names do not
// matter.
func parseList(r *http.Request, known ...string) (*listQuery, error) {
	form, err := queryParameters(r)
	if err != nil {
		return nil, err
	}
	q := &listQuery{Values: form}
	for name := range r.URL.Query() { // form does not have the empty ones
		filter := strings.HasPrefix(name, "filter[")
		switch {
		case (filter || strings.HasPrefix(name, "page[")) && !slices.Contains(known, name):
			return nil, invalidRequest("The list does not have the parameter " + plainText(name[:min(len(name), 64)]) + ".")
		case filter && !form.Has(name):
			return nil, invalidRequest(name + " must not be empty.")
		}
	}
	if q.number, err = q.integer("page[number]", 1, maxPageNumber); err != nil {
		return nil, err
	}
	if q.size, err = q.integer("page[size]", 20, 100); err != nil {
		return nil, err
	}
	return q, nil
}

func (q *listQuery) integer(name string, byDefault, most int) (int, error) {
	v := q.Get(name)
	if v == "" {
		return byDefault, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		return 0, invalidRequest(name + " must be from 1 to " + strconv.Itoa(most) + ".")
	}
	return n, nil
}

// boolean reads a filter that is true or false; nil when it is not there.
func (q *listQuery) boolean(name string) (*bool, error) {
	var b bool
	switch q.Get(name) {
	case "":
		return nil, nil
	case "true":
		b = true
	case "false":
	default:
		return nil, invalidRequest(name + " must be true or false.")
	}
	return &b, nil
}

// queryError gives a problem of a query the name of its parameter: names has
// those of the registry's fields.
func queryError(err error, names map[string]string) error {
	var query *oauthreg.InvalidQueryError
	if !errors.As(err, &query) || names[query.Field] == "" {
		return err
	}
	return invalidRequest(plainText(names[query.Field] + " " + query.Message + ".")).because(err)
}

// v2Field is the name that a registered member has in this API, with the index
// of a list item if field has one.
func v2Field(field string) string {
	name, index, _ := strings.Cut(field, "[")
	switch name {
	case "client_name":
		name = "name"
	case "scope":
		name = "allowed_scopes"
	case "grant_types":
		name = "allowed_grant_types"
	case "overlap", "lifetime":
		name += "_seconds"
	}
	if index != "" {
		name += "[" + index
	}
	return name
}

// invalidV2Client joins what is wrong with the body to what the registry says of
// the client, as far as that is not about the same members; nil if that is
// nothing.
func invalidV2Client(body *jsonBody, registry error) error {
	var invalid *oauthreg.InvalidError
	if registry != nil && !asInvalid(registry, &invalid) {
		return registry
	}
	if invalid != nil {
		seen := map[string]bool{}
		for _, p := range body.problems {
			seen[baseField(p.Field)] = true
		}
		for _, p := range invalid.Problems {
			if field := v2Field(p.Field); !seen[baseField(field)] {
				body.problem(field, problemValue, p.Message)
			}
		}
	}
	return body.err()
}

// inV2 gives the problems of a client the names they have in this API.
func inV2(err error) error {
	var invalid *oauthreg.InvalidError
	if !errors.As(err, &invalid) {
		return err
	}
	renamed := &oauthreg.InvalidError{Problems: slices.Clone(invalid.Problems)}
	for i := range renamed.Problems {
		renamed.Problems[i].Field = v2Field(renamed.Problems[i].Field)
	}
	return renamed
}
