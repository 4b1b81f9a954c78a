package mounting

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/handlers/authtest"
	"github.com/oauthreg/oauthreg/handlers/bearer"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// In every router: discovery, a code flow, the API with the token and without,
// and the methods and errors of the server itself.
func TestRouters(t *testing.T) {
	for name, mount := range map[string]func(*handlers.Server, bearer.Config) http.Handler{"chi": Chi, "gin": Gin, "echo": Echo} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := authtest.NewServer(t, authtest.WithIssuerPath("/auth"), authtest.WithHandler(func(s *authtest.Server) http.Handler {
				return mount(s.Handler, bearer.Config{Verifier: s.Handler.Verifier(), Resource: s.Issuer, Scopes: []string{"read"}})
			}))
			if _, err := oidc.NewProvider(t.Context(), srv.Issuer); err != nil {
				t.Error(err)
			}
			conf := srv.OAuth2Config(authtest.App)
			verifier := oauth2.GenerateVerifier()
			cb := srv.Browser().Authorize(conf.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)))
			token, err := conf.Exchange(t.Context(), cb.Code, oauth2.VerifierOption(verifier))
			if err != nil {
				t.Fatal(err)
			}
			status, body := get(t, conf.Client(t.Context(), token), srv.URL+"/api/me")
			if status != http.StatusOK || body != "alice" {
				t.Errorf("with a token: %d %q", status, body)
			}
			if status, body := get(t, srv.Client(), srv.URL+"/api/me"); status != http.StatusUnauthorized || strings.Contains(body, "alice") {
				t.Errorf("without a token: %d %q", status, body)
			}
			// RFC 8414 §3.1: the path-inserted form, outside of /auth.
			if status, body := get(t, srv.Client(), srv.URL+"/.well-known/oauth-authorization-server/auth"); status != http.StatusOK || !strings.Contains(body, srv.Issuer) {
				t.Errorf("metadata: %d %s", status, body)
			}
			if status, body := get(t, srv.Client(), srv.Issuer+"/oauth/token"); status != http.StatusMethodNotAllowed || !strings.Contains(body, "invalid_request") {
				t.Errorf("GET at the token endpoint: %d %s", status, body)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, srv.Issuer+"/oauth/token", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Origin", "https://spa.example")
			req.Header.Set("Access-Control-Request-Method", "POST")
			resp, err := srv.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.Header.Get("Access-Control-Allow-Origin") == "" {
				t.Errorf("CORS preflight: %d %v", resp.StatusCode, resp.Header)
			}
		})
	}
}

func get(t *testing.T, client *http.Client, target string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

type users map[string]string

func (u users) CheckPassword(_ context.Context, username, password string) (string, bool, error) {
	return username, password != "" && u[username] == password, nil
}

// Two tenants in one database know nothing of each other.
func TestTenants(t *testing.T) {
	db, err := gorm.Open(sqlite.New(sqlite.Config{
		DriverName: sqliteDriver, DSN: "file:" + filepath.Join(t.TempDir(), "tenants.db") + "?_busy_timeout=10000&_txlock=immediate&_journal_mode=WAL",
	}), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if pool, err := db.DB(); err == nil {
		t.Cleanup(func() { _ = pool.Close() })
	}
	const one, two = "one.example.com", "two.example.com"
	tenants, err := NewTenants(t.Context(), db, make([]byte, 32), []Tenant{
		{Host: one, Name: "one", OrgID: "org-1", Users: users{"alice": "a"}},
		{Host: two, Name: "two", OrgID: "org-2", Users: users{"bob": "b"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewTLSServer(tenants)
	t.Cleanup(srv.Close)
	transport := srv.Client().Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) { // every name is this server
		return new(net.Dialer).DialContext(ctx, network, srv.Listener.Addr().String())
	}
	client := &http.Client{Transport: transport}
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, client)

	configs := map[string]*clientConfig{}
	for _, host := range []string{one, two} {
		provider, err := oidc.NewProvider(ctx, "https://"+host)
		if err != nil {
			t.Fatal(err)
		}
		reg, err := tenants.Registry(host).Register(ctx, oauthreg.Client{
			ClientID: "service", Name: "Service", OrgID: "org", Type: oauthreg.Confidential, TokenEndpointAuthMethod: oauthreg.AuthClientSecretBasic,
			GrantTypes: []oauthreg.GrantType{oauthreg.GrantClientCredentials}, Scopes: []string{"read"}, AccessTokenFormat: oauthreg.JWT,
		}, oauthreg.RegisterOptions{}) // the same client_id at both
		if err != nil {
			t.Fatal(err)
		}
		configs[host] = &clientConfig{provider.Endpoint().TokenURL, reg.Secret}
	}
	token, status := configs[one].token(ctx, t, client)
	if status != http.StatusOK {
		t.Fatalf("at home: %d %s", status, token)
	}
	if _, status := (&clientConfig{configs[two].url, configs[one].secret}).token(ctx, t, client); status != http.StatusUnauthorized {
		t.Errorf("the secret of one at two: %d", status)
	}
	for host, want := range map[string]bool{one: true, two: false} {
		_, err := tenants.servers[host].Verifier().Verify(ctx, token)
		if (err == nil) != want {
			t.Errorf("the token of one at %s: %v", host, err)
		}
	}
	_, keysOne := get(t, client, "https://"+one+"/oauth/jwks")
	_, keysTwo := get(t, client, "https://"+two+"/oauth/jwks")
	if keysOne == keysTwo {
		t.Error("both have the same keys")
	}
	if status, _ := get(t, client, "https://three.example.com/.well-known/openid-configuration"); status != http.StatusMisdirectedRequest {
		t.Errorf("a name of nobody: %d", status)
	}
}

// clientConfig asks for a token by client_credentials.
type clientConfig struct{ url, secret string }

func (c *clientConfig) token(ctx context.Context, t *testing.T, client *http.Client) (string, int) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("service", c.secret)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(body), `"access_token":"`)
	token, _, _ := strings.Cut(rest, `"`)
	return token, resp.StatusCode
}
