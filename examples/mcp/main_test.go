package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
	"golang.org/x/net/html"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// redirect is where the clients of the tests want the browser to end. Registered
// is another port of it (RFC 8252 §7.3); nothing listens at either.
const (
	redirect   = "http://127.0.0.1:53682/callback"
	registered = "http://127.0.0.1/callback"
)

// world is the example, with a client's metadata document in the web beside it.
type world struct {
	t      testing.TB
	app    *app
	issuer string
	// document is the client_id of a client that has a metadata document.
	document string

	mu       sync.Mutex
	offset   time.Duration // of the server's clock
	requests []string      // method and path, and grant_type
}

func newWorld(t testing.TB, adjust func(*handlers.Config)) *world {
	t.Helper()
	w := &world{t: t}
	documents := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(map[string]any{
			"client_id": w.document, "client_name": "Documented client", "redirect_uris": []string{registered},
			"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"}, "token_endpoint_auth_method": "none",
		})
	}))
	documents.Config.ErrorLog = log.New(io.Discard, "", 0)
	documents.StartTLS()
	t.Cleanup(documents.Close)
	w.document = documents.URL + "/client.json"
	cas := x509.NewCertPool()
	cas.AddCert(documents.Certificate())

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.issuer = "http://" + ln.Addr().String()
	w.app, err = newApp(t.Context(), w.issuer, func(c *handlers.Config) {
		c.Now = w.now
		c.ClientMetadataDocuments.Loopback = true
		c.Outbound = handlers.NewOutbound(handlers.OutboundConfig{Private: true, CAs: cas})
		if adjust != nil {
			adjust(c)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.app.store.Close() })
	mux := http.NewServeMux()
	mux.Handle("/", w.record(w.app.handler))
	mux.HandleFunc("POST /test/clock", func(_ http.ResponseWriter, r *http.Request) { // for tests in other languages
		seconds, _ := strconv.Atoi(r.URL.Query().Get("add"))
		w.add(time.Duration(seconds) * time.Second)
	})
	srv := &httptest.Server{Listener: ln, Config: &http.Server{Handler: mux}}
	srv.Start()
	t.Cleanup(func() {
		srv.CloseClientConnections() // streams do not end by themselves
		srv.Close()
	})
	return w
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.offset)
}

func (w *world) add(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.offset += d
}

// record notes every request.
func (w *world) record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		line := r.Method + " " + r.URL.Path
		if r.URL.Path == "/oauth/token" {
			body, _ := io.ReadAll(r.Body)
			form, _ := url.ParseQuery(string(body))
			line += " " + form.Get("grant_type")
			r.Body = io.NopCloser(bytes.NewReader(body))
		}
		w.mu.Lock()
		w.requests = append(w.requests, line)
		w.mu.Unlock()
		next.ServeHTTP(rw, r)
	})
}

func (w *world) seen(request string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, r := range w.requests {
		if r == request {
			n++
		}
	}
	return n
}

// browse signs the user in and allows what is asked, and returns where the
// browser ends: at the client.
func (w *world) browse(start string) (*url.URL, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	at, err := url.Parse(start)
	if err != nil {
		return nil, err
	}
	var form url.Values
	for range 12 {
		if at.Scheme+"://"+at.Host != w.issuer {
			return at, nil
		}
		var resp *http.Response
		if form == nil {
			resp, err = browser.Get(at.String())
		} else {
			resp, err = browser.PostForm(at.String(), form)
		}
		if err != nil {
			return nil, err
		}
		page, err := html.Parse(resp.Body)
		_ = resp.Body.Close()
		if err != nil {
			return nil, err
		}
		if form = nil; resp.Header.Get("Location") != "" {
			if at, err = at.Parse(resp.Header.Get("Location")); err != nil {
				return nil, err
			}
			continue
		}
		action := ""
		for n := range page.Descendants() {
			switch name := attribute(n, "name"); {
			case n.Data == "form":
				action, form = attribute(n, "action"), url.Values{}
			case form == nil || n.Data != "input" && n.Data != "button":
			case name == "username":
				form.Set(name, w.app.user.name)
			case name == "password":
				form.Set(name, w.app.user.password)
			case name != "":
				form.Set(name, attribute(n, "value")) // of the buttons the last: allow
			}
		}
		if form == nil {
			return nil, errors.New("a page without a form: " + resp.Status)
		}
		if at, err = at.Parse(action); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("the walk does not end")
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

// preregister registers a client as an operator does.
func (w *world) preregister() oauthreg.Registration {
	w.t.Helper()
	reg, err := w.app.registry.Register(w.t.Context(), oauthreg.Client{
		Name: "Known client", TokenEndpointAuthMethod: oauthreg.AuthUnnamed, RequirePKCE: true, Scopes: []string{"tools", "offline_access"},
		GrantTypes: []string{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken}, RedirectURIs: []string{registered},
	}, oauthreg.RegisterOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return reg
}

// The client of the Go SDK, unchanged, authorizes and calls a tool, however it is
// known to the server.
func TestGoSDK(t *testing.T) {
	for name, registration := range map[string]func(*world, *auth.AuthorizationCodeHandlerConfig){
		"dynamic registration": func(_ *world, c *auth.AuthorizationCodeHandlerConfig) {
			c.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
				ClientName: "Go client", RedirectURIs: []string{redirect}, GrantTypes: []string{"authorization_code", "refresh_token"},
				ResponseTypes: []string{"code"}, TokenEndpointAuthMethod: "none",
			}}
		},
		"dynamic registration, confidential": func(_ *world, c *auth.AuthorizationCodeHandlerConfig) {
			c.DynamicClientRegistrationConfig = &auth.DynamicClientRegistrationConfig{Metadata: &oauthex.ClientRegistrationMetadata{
				RedirectURIs: []string{redirect}, GrantTypes: []string{"authorization_code", "refresh_token"},
			}}
		},
		"metadata document": func(w *world, c *auth.AuthorizationCodeHandlerConfig) {
			c.ClientIDMetadataDocumentConfig = &auth.ClientIDMetadataDocumentConfig{URL: w.document}
		},
		"registered beforehand": func(w *world, c *auth.AuthorizationCodeHandlerConfig) {
			reg := w.preregister()
			c.PreregisteredClient = &oauthex.ClientCredentials{ClientID: reg.Client.ClientID, ClientSecretAuth: &oauthex.ClientSecretAuth{ClientSecret: reg.Secret}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// x/oauth2 takes a token for expired ten seconds early: this one at once.
			w := newWorld(t, func(c *handlers.Config) { c.Lifetimes.AccessToken = 5 * time.Second })
			visits := 0
			cfg := &auth.AuthorizationCodeHandlerConfig{
				RedirectURL: redirect, RequestRefreshToken: true,
				AuthorizationCodeFetcher: func(_ context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
					visits++
					end, err := w.browse(args.URL)
					if err != nil {
						return nil, err
					}
					q := end.Query()
					if !strings.HasPrefix(end.String(), redirect) || q.Get("code") == "" {
						return nil, errors.New("the browser ends at " + end.String())
					}
					return &auth.AuthorizationResult{Code: q.Get("code"), State: q.Get("state"), Iss: q.Get("iss")}, nil
				},
			}
			registration(w, cfg)
			handler, err := auth.NewAuthorizationCodeHandler(cfg)
			if err != nil {
				t.Fatal(err)
			}
			client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil)
			session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{
				Endpoint: w.issuer + "/mcp", OAuthHandler: handler, DisableStandaloneSSE: true,
			}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = session.Close() }()
			for range 2 {
				result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "whoami"})
				if err != nil {
					t.Fatal(err)
				}
				text := result.Content[0].(*mcp.TextContent).Text
				if !strings.HasPrefix(text, "You are demo, through the client ") || name == "metadata document" && !strings.Contains(text, w.document) {
					t.Errorf("the tool says %q", text)
				}
			}
			if n := w.seen("POST /oauth/token refresh_token"); visits != 1 || n < 2 {
				t.Errorf("%d visits of the browser and %d refreshes, want 1 and some", visits, n)
			}
			w.wantDiscovery(t)
		})
	}
}

// wantDiscovery wants that the client went from the challenge to the metadata of
// the resource to that of the authorization server.
func (w *world) wantDiscovery(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	at := 0
	for _, next := range []string{"POST /mcp", "GET /.well-known/oauth-protected-resource/mcp", "GET /.well-known/oauth-authorization-server", "GET /oauth/authorize", "POST /oauth/token authorization_code", "POST /mcp"} {
		i := slices.Index(w.requests[at:], next)
		if i < 0 {
			t.Fatalf("no %q behind request %d of %q", next, at, w.requests)
		}
		at += i + 1
	}
}

// The clients of the official TypeScript SDK, unchanged, do the same. CI sets
// OAUTHREG_INTEROP=1, so that nothing is skipped there.
func TestTypeScriptSDK(t *testing.T) {
	for _, npm := range []string{"@modelcontextprotocol/sdk", "@modelcontextprotocol/client"} {
		t.Run(npm, func(t *testing.T) { testTypeScript(t, npm) })
	}
}

func testTypeScript(t *testing.T, npm string) {
	const interop = "../../handlers/testdata/interop"
	skip := t.Skip
	if os.Getenv("OAUTHREG_INTEROP") != "" {
		skip = t.Fatal
	}
	node, err := exec.LookPath("node")
	if err != nil {
		skip("node is not installed")
	}
	if _, err := os.Stat(filepath.Join(interop, "node_modules", filepath.FromSlash(npm))); err != nil {
		skip("the npm package " + npm + " is not installed: run npm ci in handlers/testdata/interop")
	}
	w := newWorld(t, nil)
	reg := w.preregister()
	cmd := exec.CommandContext(t.Context(), node, "--test", "--test-reporter=tap", "mcp.test.mjs")
	cmd.Dir = interop
	cmd.Env = append(os.Environ(), "MCP_PACKAGE="+npm, "MCP_URL="+w.issuer+"/mcp", "MCP_USER="+w.app.user.name, "MCP_PASSWORD="+w.app.user.password,
		"MCP_DOCUMENT="+w.document, "MCP_CLIENT="+reg.Client.ClientID, "MCP_CLIENT_SECRET="+reg.Secret, "MCP_CLOCK="+w.issuer+"/test/clock")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	w.wantDiscovery(t)
}

// get reads a document.
func (w *world) get(path string) (*http.Response, map[string]any) {
	w.t.Helper()
	resp, err := http.Get(w.issuer + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc map[string]any
	_ = json.NewDecoder(resp.Body).Decode(&doc)
	return resp, doc
}

// What clients look for before they authorize stands where they look.
func TestDiscovery(t *testing.T) {
	w := newWorld(t, nil)
	resp, err := http.Post(w.issuer+"/mcp", "application/json", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	want := `Bearer scope="tools", resource_metadata="` + w.issuer + `/.well-known/oauth-protected-resource/mcp"`
	if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != 401 || got != want || !strings.Contains(resp.Header.Get("Access-Control-Expose-Headers"), "WWW-Authenticate") {
		t.Errorf("got %d %q, header %v", resp.StatusCode, got, resp.Header)
	}
	for path, resource := range map[string]string{"/.well-known/oauth-protected-resource/mcp": w.issuer + "/mcp", "/.well-known/oauth-protected-resource": w.issuer} {
		resp, doc := w.get(path)
		if resp.StatusCode != 200 || doc["resource"] != resource || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %d %v", path, resp.StatusCode, doc)
		}
		if servers, _ := doc["authorization_servers"].([]any); len(servers) != 1 || servers[0] != w.issuer {
			t.Errorf("%s: authorization_servers %v", path, doc["authorization_servers"])
		}
		if scopes, _ := doc["scopes_supported"].([]any); len(scopes) != 1 || scopes[0] != "tools" {
			t.Errorf("%s: scopes_supported %v", path, doc["scopes_supported"])
		}
	}
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		resp, doc := w.get(path)
		if resp.StatusCode != 200 || doc["issuer"] != w.issuer || doc["client_id_metadata_document_supported"] != true ||
			doc["authorization_response_iss_parameter_supported"] != true || doc["registration_endpoint"] == nil {
			t.Errorf("%s: %d %v", path, resp.StatusCode, doc)
		}
		if methods, _ := doc["code_challenge_methods_supported"].([]any); len(methods) != 1 || methods[0] != "S256" {
			t.Errorf("%s: %v", path, methods)
		}
		if scopes, _ := doc["scopes_supported"].([]any); !slices.Contains(scopes, any("offline_access")) {
			t.Errorf("%s: scopes_supported %v", path, scopes)
		}
	}
	for _, path := range []string{"/mcp", "/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-authorization-server", "/oauth/register", "/oauth/token"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, w.issuer+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://inspector.example")
		req.Header.Set("Access-Control-Request-Headers", "mcp-protocol-version")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if allowed := resp.Header.Get("Access-Control-Allow-Headers"); resp.StatusCode != 204 || !strings.Contains(allowed, "MCP-Protocol-Version") {
			t.Errorf("preflight of %s: %d, allowed %q", path, resp.StatusCode, allowed)
		}
	}
}

// A token for something else is not good here, and one without the scope says so.
func TestTokensOfOthers(t *testing.T) {
	w := newWorld(t, nil)
	reg := w.preregister()
	token := func(scope, resource string) string {
		t.Helper()
		const verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
		q := url.Values{
			"response_type": {"code"}, "client_id": {reg.Client.ClientID}, "redirect_uri": {redirect}, "scope": {scope}, "resource": {resource},
			"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
		}
		end, err := w.browse(w.issuer + "/oauth/authorize?" + q.Encode())
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.PostForm(w.issuer+"/oauth/token", url.Values{
			"grant_type": {"authorization_code"}, "code": {end.Query().Get("code")}, "redirect_uri": {redirect}, "code_verifier": {verifier},
			"client_id": {reg.Client.ClientID}, "client_secret": {reg.Secret},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer struct {
			AccessToken string `json:"access_token"`
			Scope       string `json:"scope"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.AccessToken == "" {
			t.Fatalf("%s: no token: %v", end, err)
		}
		if scope == "" && answer.Scope != "tools" { // the default is all but offline_access
			t.Errorf("the default scope is %q", answer.Scope)
		}
		return answer.AccessToken
	}
	for _, tt := range []struct {
		name, token string
		status      int
		challenge   string
	}{
		{"default scope", token("", w.issuer+"/mcp"), 200, ""},
		{"another resource", token("tools", w.issuer), 401, "invalid_token"},
		{"no resource", token("tools", ""), 401, "invalid_token"},
		{"another scope", token("offline_access", w.issuer+"/mcp"), 403, "insufficient_scope"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.issuer+"/mcp", strings.NewReader(
			`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+tt.token)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Accept", "application/json, text/event-stream")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != tt.status || !strings.Contains(got, tt.challenge) {
			t.Errorf("%s: got %d %q, want %d %s", tt.name, resp.StatusCode, got, tt.status, tt.challenge)
		}
	}
}
