package handlers

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// authorize serves GET /oauth/authorize below this base: the endpoint
// of the server, with 404 for the page about an unknown client and 422 for the
// one about a redirect URI that is not registered.
func (v *managementV2) authorize(w http.ResponseWriter, r *http.Request) error {
	err := v.s.authorize(w, r)
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	page := *e
	switch {
	case e.Code == "invalid_client":
		page.Status = http.StatusNotFound
	case e.Code == "invalid_request" && e.Field == "redirect_uris" && e.Status == http.StatusBadRequest && r.URL.Query().Get("redirect_uri") != "":
		page.Status = http.StatusUnprocessableEntity
	}
	return &page
}

// jsonForm lets an endpoint that takes form parameters take them as the string
// members of a JSON object too.
func jsonForm(e endpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !isJSON(r.Header.Get("Content-Type")) {
			return e(w, r)
		}
		body, err := readBody(w, r)
		if err != nil {
			var status *Error
			if errors.As(err, &status) && status.Status == http.StatusUnprocessableEntity {
				return invalidRequest(status.Description)
			}
			return err
		}
		form := url.Values{}
		for name, raw := range body.members {
			values, ok := parameterValues(name, raw)
			if !ok {
				return invalidRequest("The members of the body must be strings.")
			}
			form[name] = values
		}
		return e(w, withForm(r, form))
	}
}

// parameterValues are the values of a parameter that came as a JSON member: one
// string, several where the parameter may be repeated, none for null.
func parameterValues(name string, raw json.RawMessage) ([]string, bool) {
	if isNull(raw) {
		return nil, true
	}
	values, ok := stringOrStrings(raw)
	return values, ok && (raw[0] != '[' || repeatable(name))
}

// stringOrStrings reads a JSON string, or an array of them.
func stringOrStrings(raw json.RawMessage) ([]string, bool) {
	if s, ok := jsonString(raw); ok {
		return []string{s}, true
	}
	var items []json.RawMessage
	if json.Unmarshal(raw, &items) != nil || items == nil {
		return nil, false
	}
	out := make([]string, len(items))
	for i, item := range items {
		var ok bool
		if out[i], ok = jsonString(item); !ok {
			return nil, false
		}
	}
	return out, true
}

// withForm is r with form as its body.
func withForm(r *http.Request, form url.Values) *http.Request {
	text := form.Encode()
	out := r.WithContext(r.Context())
	out.Header = r.Header.Clone()
	out.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	out.Body = io.NopCloser(strings.NewReader(text))
	out.ContentLength = int64(len(text))
	return out
}

// introspect serves POST /oauth/introspect below this base. A client
// authenticates as everywhere; without client credentials, the management bearer
// alone sees the tokens of the clients it manages.
func (v *managementV2) introspect(w http.ResponseWriter, r *http.Request) error {
	if _, ok := bearerValue(r); !ok {
		return v.s.byClient(v.s.introspect)(w, r)
	}
	form, err := formBody(w, r)
	if err != nil {
		return err
	}
	if form.Has("client_id") || form.Has("client_secret") || form.Has("client_assertion") || form.Has("client_assertion_type") {
		return v.s.byClient(v.s.introspect)(w, withForm(r, form))
	}
	p, err := v.caller(r)
	if err != nil {
		return err
	}
	return v.s.answerIntrospection(w, r, form.Get("token"), func(t *liveToken) (bool, error) {
		c, err := v.s.reg.Get(r.Context(), registryRef(t.request.GetClient()))
		if isNotFound(err) {
			return false, nil
		}
		return err == nil && p.Manages(c.OrgID, c.ProjectID), err
	})
}

// protectedResource serves GET /.well-known/oauth-protected-resource below this
// base: the metadata (RFC 9728 §2) of the management API itself.
func (v *managementV2) protectedResource(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, http.StatusOK, v.s.resourceMetadata(v.url(""), []string{adminScope}))
	return nil
}
