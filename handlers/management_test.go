package handlers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/handlers"
)

// The documented placeholder of an API key has spaces.
const adminKey = "My API Key"

const (
	homeOrg     = "0198a000-0000-7000-8000-000000000001"
	homeProject = "0198a000-0000-7000-8000-000000000002"
	homeUser    = "0198a000-0000-7000-8000-000000000003"
	otherOrg    = "0198a000-0000-7000-8000-0000000000ff"
	otherProj   = "0198a000-0000-7000-8000-0000000000fe"
)

// managedEnv is an env with the management APIs at <issuer>/v2 and
// <issuer>/api/v1. Whatever they and the protocol endpoints answer is compared
// with the OpenAPI document.
type managedEnv struct {
	*env
	v2 string // its base
}

func newManagedEnv(t testing.TB, opts envOptions, change func(*env, *handlers.ManagementConfig)) *managedEnv {
	t.Helper()
	more := opts.config
	opts.config = func(c *handlers.Config) {
		c.Resources = append(c.Resources, handlers.ManagementResource(c.Issuer))
		c.Scopes = append(c.Scopes, handlers.Scope{Name: "admin", Title: "Administration", Description: "Manage the clients of the project."})
		if more != nil {
			more(c)
		}
	}
	opts.handler = func(e *env) http.Handler {
		base := e.opts.base
		cfg := handlers.ManagementConfig{
			Authenticate: e.server.AdminKey(adminKey, handlers.Principal{UserID: homeUser, OrgID: homeOrg, ProjectID: homeProject}),
		}
		if change != nil {
			change(e, &cfg)
		}
		mux := http.NewServeMux()
		mux.Handle("/", e.server)
		mux.Handle(base+"/v2/", e.server.ManagementV2(cfg))
		mux.Handle(base+"/api/v1/", e.server.ManagementProjects(cfg))
		return described(t, base, mux)
	}
	e := newEnv(t, opts)
	return &managedEnv{env: e, v2: e.issuer + "/v2"}
}

// call sends a request to the API as the administrator. body is JSON text;
// header are name and value pairs that may replace what is sent otherwise.
func (e *managedEnv) call(method, path, body string, header ...string) *tokenAnswer {
	e.t.Helper()
	return e.callAs(adminKey, method, path, body, header...)
}

func (e *managedEnv) callAs(bearer, method, path, body string, header ...string) *tokenAnswer {
	e.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, e.v2+path, reader)
	if err != nil {
		e.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return e.send(req)
}

// create makes a client through the API.
func (e *managedEnv) create(body string, header ...string) map[string]any {
	e.t.Helper()
	a := e.call(http.MethodPost, "/oauth_clients", body, header...)
	if a.status != http.StatusCreated {
		e.t.Fatalf("create: %d %s", a.status, a.raw)
	}
	return a.data(e.t)
}

// data is the object in the envelope.
func (a *tokenAnswer) data(t testing.TB) map[string]any {
	t.Helper()
	m, ok := a.body["data"].(map[string]any)
	if !ok {
		t.Fatalf("no data object: %d %s", a.status, a.raw)
	}
	return m
}

// items are the objects of a list.
func (a *tokenAnswer) items(t testing.TB) []map[string]any {
	t.Helper()
	l, ok := a.body["data"].([]any)
	if !ok {
		t.Fatalf("no data array: %d %s", a.status, a.raw)
	}
	out := make([]map[string]any, len(l))
	for i := range l {
		out[i] = l[i].(map[string]any)
	}
	return out
}

func (a *tokenAnswer) wantStatus(t testing.TB, status int) {
	t.Helper()
	if a.status != status {
		t.Errorf("got %d %s, want %d", a.status, a.raw, status)
	}
}

const webBody = `{"name":"Shop","client_type":"confidential","allowed_scopes":["openid","read","write"],
	"allowed_grant_types":["authorization_code","refresh_token"],"redirect_uris":["https://client.example/cb"]}`

const machineBody = `{"name":"Robot","client_type":"confidential","allowed_scopes":["read","write"],"allowed_grant_types":["client_credentials"]}`

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSpace(b))
}

func asBody(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }
