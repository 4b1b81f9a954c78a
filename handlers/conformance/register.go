package conformance

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// registration is a client that the checks registered.
type registration struct {
	answer members
	gone   bool
}

// metadata is what the checks register.
func (r *run) metadata() map[string]any {
	m := map[string]any{
		"client_name":                "Conformance check",
		"redirect_uris":              []string{cmp.Or(r.cfg.Register.RedirectURI, defaultRedirectURI)},
		"grant_types":                []string{"authorization_code"},
		"response_types":             []string{"code"},
		"token_endpoint_auth_method": authBasic,
	}
	if r.grants("refresh_token") {
		m["grant_types"] = []string{"authorization_code", "refresh_token"}
	}
	if scopes := r.scopes(r.cfg.Register.Scopes); len(scopes) > 0 {
		m["scope"] = strings.Join(scopes, " ")
	}
	return m
}

func (r *run) sendJSON(ctx context.Context, method, target, bearer string, body any) (*answer, error) {
	var raw []byte
	if text, ok := body.(string); ok {
		raw = []byte(text)
	} else if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", jsonType)
	}
	req.Header.Set("Accept", jsonType)
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	return r.send(req)
}

// register sends a registration, and remembers the client to delete it later.
func (r *run) register(ctx context.Context, body any) (*answer, *registration, error) {
	endpoint, err := r.endpoint("registration_endpoint")
	if err != nil {
		return nil, nil, err
	}
	if r.cfg.Register == nil {
		return nil, nil, skip("needs leave to register clients (Config.Register)")
	}
	a, err := r.sendJSON(ctx, http.MethodPost, endpoint, r.cfg.Register.InitialAccessToken, body)
	if err != nil {
		return nil, nil, err
	}
	reg := &registration{answer: a.json}
	if a.json.text("client_id") != "" {
		r.registered = append(r.registered, reg)
	}
	return a, reg, nil
}

// registeredClient is a new client for the other checks.
func (r *run) registeredClient(ctx context.Context) (*Client, error) {
	m := r.metadata()
	a, _, err := r.register(ctx, m)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusCreated && a.status != http.StatusOK || a.json.text("client_id") == "" {
		return nil, fmt.Errorf("got %v", a)
	}
	c := &Client{
		ID: a.json.text("client_id"), Secret: a.json.text("client_secret"),
		RedirectURI: cmp.Or(r.cfg.Register.RedirectURI, defaultRedirectURI), Scopes: r.scopes(r.cfg.Register.Scopes),
	}
	if m := a.json.text("token_endpoint_auth_method"); m != "" && (m == authNone) == (c.Secret == "") {
		c.AuthMethod = m
	}
	if a.json.has("scope") {
		granted := strings.Fields(a.json.text("scope"))
		c.Scopes = slices.DeleteFunc(slices.Clone(c.Scopes), func(s string) bool { return !slices.Contains(granted, s) })
	}
	return c, nil
}

// cleanUp deletes what was registered, where the server lets it (RFC 7592 §2.3).
// Nothing can be done about what stays.
func (r *run) cleanUp(ctx context.Context) {
	for _, reg := range r.registered {
		if uri, token := reg.answer.text("registration_client_uri"), reg.answer.text("registration_access_token"); secure(uri) && token != "" && !reg.gone {
			_, _ = r.sendJSON(ctx, http.MethodDelete, uri, token, nil)
		}
	}
}

func registerEcho(ctx context.Context, r *run) error {
	if _, err := r.endpoint("registration_endpoint"); err != nil {
		return err
	}
	if r.cfg.Register == nil {
		return skip("needs leave to register clients (Config.Register)")
	}
	m := r.metadata()
	a, _, err := r.register(ctx, m)
	if err != nil {
		return err
	}
	if a.status != http.StatusCreated {
		return fmt.Errorf("got %v, want status 201", a)
	}
	if err := a.isJSON(); err != nil {
		return err
	}
	var errs []error
	if a.json.text("client_id") == "" {
		errs = append(errs, errors.New("client_id is missing"))
	}
	if a.json.has("client_secret") && !a.json.has("client_secret_expires_at") {
		errs = append(errs, errors.New("client_secret_expires_at is missing beside client_secret"))
	}
	for name := range m {
		if !a.json.has(name) {
			errs = append(errs, fmt.Errorf("%s is not in the answer: the client cannot know what was registered", name))
		}
	}
	if uris := a.json.list("redirect_uris"); !slices.Equal(uris, m["redirect_uris"].([]string)) {
		errs = append(errs, fmt.Errorf("got redirect_uris %q, want %q", uris, m["redirect_uris"]))
	}
	return errors.Join(errs...)
}

func registerNoStore(ctx context.Context, r *run) error {
	if r.cfg.Register == nil {
		_, err := r.endpoint("registration_endpoint")
		return cmp.Or(err, error(skip("needs leave to register clients (Config.Register)")))
	}
	a, _, err := r.register(ctx, r.metadata())
	if err != nil {
		return err
	}
	if a.status >= 400 {
		return fmt.Errorf("got %v, want status 201", a)
	}
	return a.noStore()
}

// registering is a check of registrations that must be refused.
func registering(codes []string, change ...map[string]any) tryFunc {
	return func(ctx context.Context, r *run) error {
		if _, err := r.endpoint("registration_endpoint"); err != nil {
			return err
		}
		if r.cfg.Register == nil {
			return skip("needs leave to register clients (Config.Register)")
		}
		var errs []error
		for _, members := range change {
			m := r.metadata()
			for name, v := range members {
				m[name] = v
			}
			a, _, err := r.register(ctx, m)
			if err != nil {
				return err
			}
			if err := a.refused(codes...); err != nil {
				changed, merr := json.Marshal(members)
				errs = append(errs, fmt.Errorf("%s: %w", changed, errors.Join(err, merr)))
			}
		}
		return errors.Join(errs...)
	}
}

var badRedirect = []string{"invalid_redirect_uri", "invalid_client_metadata"}

func redirects(uris ...string) map[string]any { return map[string]any{"redirect_uris": uris} }

var (
	registerScript = registering(badRedirect,
		redirects("javascript:alert(1)"), redirects("data:text/html,hello"), redirects("vbscript:x"),
		redirects(defaultRedirectURI, "javascript:alert(1)"))
	registerFragment = registering(badRedirect, redirects(defaultRedirectURI+"#fragment"))
	registerRelative = registering(badRedirect, redirects("/callback"))
	registerHTTP     = registering(badRedirect, redirects("http://conformance.example/callback"))
	registerJWKS     = registering([]string{"invalid_client_metadata"},
		map[string]any{"jwks_uri": "https://conformance.example/jwks", "jwks": map[string]any{"keys": []any{}}})
)

// A wildcard is refused, or is an asterisk and nothing else.
func registerWildcard(ctx context.Context, r *run) error {
	if r.cfg.Register == nil {
		return skip("needs leave to register clients (Config.Register)")
	}
	m := r.metadata()
	m["redirect_uris"] = []string{"https://*.conformance.example/callback"}
	a, reg, err := r.register(ctx, m)
	if err != nil {
		return err
	}
	if a.status >= 400 {
		return a.refused(badRedirect...)
	}
	c := &Client{ID: reg.answer.text("client_id"), RedirectURI: "https://attacker.conformance.example/callback", Scopes: r.scopes(nil)}
	p, err := r.ask(ctx, c, c.request(newVerifier()))
	if err != nil {
		return err
	}
	if err := p.kept(); err != nil {
		return fmt.Errorf("https://*.conformance.example/callback was registered, and %s was used: %w", c.RedirectURI, err)
	}
	return note("registered, but compared literally")
}

func registerMalformed(ctx context.Context, r *run) error {
	a, _, err := r.register(ctx, `{"redirect_uris":`)
	if err != nil {
		return err
	}
	return a.refused("invalid_client_metadata", "invalid_request", "invalid_redirect_uri")
}

// managed is a new client with its configuration endpoint (RFC 7592 §3).
func (r *run) managed(ctx context.Context) (reg *registration, uri, token string, err error) {
	if r.cfg.Register == nil {
		_, err := r.endpoint("registration_endpoint")
		return nil, "", "", cmp.Or(err, error(skip("needs leave to register clients (Config.Register)")))
	}
	a, reg, err := r.register(ctx, r.metadata())
	if err != nil {
		return nil, "", "", err
	}
	if a.status >= 400 {
		return nil, "", "", fmt.Errorf("got %v, want status 201", a)
	}
	uri, token = reg.answer.text("registration_client_uri"), reg.answer.text("registration_access_token")
	if uri == "" && token == "" {
		return nil, "", "", skip("not offered: registration_client_uri")
	}
	if uri == "" || token == "" {
		return nil, "", "", errors.New("registration_client_uri and registration_access_token come together (RFC 7592 §3)")
	}
	if !secure(uri) {
		return nil, "", "", errors.New("registration_client_uri is not https, and is not sent the token")
	}
	return reg, uri, token, nil
}

func registerRead(ctx context.Context, r *run) error {
	reg, uri, token, err := r.managed(ctx)
	if err != nil {
		return err
	}
	a, err := r.sendJSON(ctx, http.MethodGet, uri, token, nil)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK || a.json.text("client_id") != reg.answer.text("client_id") {
		return fmt.Errorf("got %v, want status 200 with the client_id", a)
	}
	if t := a.json.text("registration_access_token"); t != "" {
		reg.answer["registration_access_token"] = a.json["registration_access_token"]
	}
	return nil
}

func registerReadAuth(ctx context.Context, r *run) error {
	_, uri, _, err := r.managed(ctx)
	if err != nil {
		return err
	}
	for _, token := range []string{"", unknown()} {
		a, err := r.sendJSON(ctx, http.MethodGet, uri, token, nil)
		if err != nil {
			return err
		}
		if a.status != http.StatusUnauthorized && a.status != http.StatusForbidden && (a.status != http.StatusBadRequest || token != "") {
			return fmt.Errorf("got %v without a good token, want status 401", a)
		}
	}
	return nil
}

func registerUpdate(ctx context.Context, r *run) error {
	reg, uri, token, err := r.managed(ctx)
	if err != nil {
		return err
	}
	m := r.metadata()
	m["client_id"], m["client_name"] = reg.answer.text("client_id"), "Conformance check, renamed"
	if s := reg.answer.text("client_secret"); s != "" {
		m["client_secret"] = s
	}
	a, err := r.sendJSON(ctx, http.MethodPut, uri, token, m)
	if err != nil {
		return err
	}
	if a.status == http.StatusMethodNotAllowed || a.status == http.StatusNotImplemented || a.status == http.StatusNotFound {
		return skip("not offered: updates (RFC 7592 §2.2)")
	}
	if a.status != http.StatusOK || a.json.text("client_name") != m["client_name"] {
		return fmt.Errorf("got %v, want status 200 with the new client_name", a)
	}
	if a.json.has("registration_access_token") {
		reg.answer["registration_access_token"] = a.json["registration_access_token"]
		token = a.json.text("registration_access_token")
	}
	m["client_id"] = unknown()
	delete(m, "client_secret")
	if a, err = r.sendJSON(ctx, http.MethodPut, uri, token, m); err != nil {
		return err
	}
	if a.status < 400 || a.status > 499 {
		return fmt.Errorf("got %v for an update with another client_id, want a refusal", a)
	}
	return nil
}

func registerDelete(ctx context.Context, r *run) error {
	reg, uri, token, err := r.managed(ctx)
	if err != nil {
		return err
	}
	a, err := r.sendJSON(ctx, http.MethodDelete, uri, token, nil)
	if err != nil {
		return err
	}
	if a.status == http.StatusMethodNotAllowed || a.status == http.StatusNotImplemented || a.status == http.StatusNotFound {
		return skip("not offered: deletion (RFC 7592 §2.3)")
	}
	if a.status != http.StatusNoContent {
		return fmt.Errorf("got %v, want status 204", a)
	}
	reg.gone = true
	if a, err = r.sendJSON(ctx, http.MethodGet, uri, token, nil); err != nil {
		return err
	}
	if a.status != http.StatusUnauthorized && a.status != http.StatusForbidden {
		return fmt.Errorf("got %v for a client that was deleted, want status 401", a)
	}
	c := &Client{ID: reg.answer.text("client_id"), Secret: reg.answer.text("client_secret"), RedirectURI: defaultRedirectURI}
	if a, err = r.token(ctx, c, r.probe(c)); err != nil {
		return err
	}
	return a.unauthenticated(!c.public())
}
