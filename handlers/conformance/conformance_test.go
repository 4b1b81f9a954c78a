package conformance_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"go/parser"
	"go/token"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/handlers/conformance"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// server is our own authorization server on a database in memory.
type server struct {
	issuer                           string
	resource                         string // a protected resource of another host
	web, public, lax, other, machine oauthreg.Registration

	mu  sync.Mutex
	off time.Duration
}

func (s *server) now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.off)
}

// wait moves the server's clock instead of waiting.
func (s *server) wait(_ context.Context, d time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.off += d
	return nil
}

const callback = "https://client.example/callback"

// newServer starts one below the path base. spoil, when not nil, stands before it.
func newServer(t *testing.T, base string, spoil func(s *server, next http.Handler) http.Handler) *server {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s := new(server)
	ctx, secret := t.Context(), bytes.Repeat([]byte("k"), 32)
	store, err := storage.Open(":memory:", storage.Config{EncryptionKeys: [][]byte{secret}, NewSession: handlers.NewSession, Now: s.now})
	must(err)
	t.Cleanup(func() { _ = store.Close() })
	must(store.Migrate(ctx))
	must(store.UpdateSigningKeys(ctx, func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
		return signingKeys(), nil, nil
	}))
	registry, err := oauthreg.NewRegistry(oauthreg.Config{Store: store, SecretKey: secret, Now: s.now})
	must(err)
	keys, err := oauthreg.NewKeyRing(oauthreg.KeyRingConfig{Store: store, Now: s.now})
	must(err)
	must(keys.Maintain(ctx))

	register := func(c oauthreg.Client) oauthreg.Registration {
		t.Helper()
		reg, err := registry.Register(ctx, c, oauthreg.RegisterOptions{})
		must(err)
		return reg
	}
	web := oauthreg.Client{
		Name: "Web", Type: oauthreg.Confidential, TokenEndpointAuthMethod: oauthreg.AuthClientSecretBasic, RequirePKCE: true,
		GrantTypes:   []string{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken},
		RedirectURIs: []string{callback}, Scopes: []string{"openid", "read", "offline_access"},
		PostLogoutRedirectURIs:   []string{"https://client.example/bye"},
		IDTokenSignedResponseAlg: "ES256", // RSA would be half of the tests' time
	}
	s.web = register(web)
	s.other = register(web)
	lax := web
	lax.IDTokenSignedResponseAlg = ""
	lax.RequirePKCE, lax.TokenEndpointAuthMethod = false, oauthreg.AuthClientSecretPost
	s.lax = register(lax)
	public := web
	public.Type, public.TokenEndpointAuthMethod = oauthreg.Public, oauthreg.AuthNone
	s.public = register(public)
	s.machine = register(oauthreg.Client{
		Name: "Machine", Type: oauthreg.Confidential, TokenEndpointAuthMethod: oauthreg.AuthClientSecretBasic,
		GrantTypes: []string{oauthreg.GrantClientCredentials}, Scopes: []string{"read"}, AccessTokenFormat: oauthreg.JWT,
	})

	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	s.issuer = "http://" + l.Addr().String() + base
	s.resource = newResource(t, s.issuer)
	srv, err := handlers.New(handlers.Config{
		Issuer: s.issuer, Registry: registry, Store: store, Keys: keys, Secrets: [][]byte{secret},
		Users: users{}, Now: s.now, Logger: slog.New(slog.DiscardHandler), Limits: handlers.NoLimits,
		Scopes:       []handlers.Scope{{Name: "openid"}, {Name: "read"}, {Name: "offline_access"}},
		Resources:    []string{s.resource},
		Registration: handlers.RegistrationConfig{Mode: handlers.RegistrationOpen},
	})
	must(err)
	var h http.Handler = srv
	if spoil != nil {
		h = spoil(s, h)
	}
	ts := httptest.NewUnstartedServer(h)
	_ = ts.Listener.Close()
	ts.Listener = l
	ts.Start()
	t.Cleanup(ts.Close)
	return s
}

// newResource is a protected resource that nobody may use, with its metadata.
// issuer may be empty.
func newResource(t *testing.T, issuer string) string {
	t.Helper()
	mux := http.NewServeMux()
	ts := httptest.NewServer(mux)
	t.Cleanup(ts.Close)
	servers := []string{issuer}
	if issuer == "" {
		servers = nil
	}
	mux.HandleFunc("/api", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+ts.URL+`/.well-known/oauth-protected-resource/api"`)
		w.WriteHeader(http.StatusUnauthorized)
	})
	mux.HandleFunc("/.well-known/oauth-protected-resource/api", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"resource": ts.URL + "/api", "authorization_servers": servers})
	})
	return ts.URL + "/api"
}

type users struct{}

func (users) CheckPassword(_ context.Context, username, password string) (string, bool, error) {
	return "sub-alice", username == "alice" && password == "wonderland", nil
}

// signingKeys are made once: a new RSA key for every server would be most of the
// time.
var signingKeys = sync.OnceValue(func() []oauthreg.SigningKey {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	var keys []oauthreg.SigningKey
	for alg, key := range map[string]any{"RS256": r, "ES256": e} {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			panic(err)
		}
		keys = append(keys, oauthreg.SigningKey{KeyID: "test-" + alg, Alg: alg, Private: der, CreatedAt: time.Now(), ActiveAt: time.Now()})
	}
	return keys
})

func client(reg oauthreg.Registration) conformance.Client {
	c := conformance.Client{
		ID: reg.Client.ClientID, Secret: reg.Secret, AuthMethod: string(reg.Client.TokenEndpointAuthMethod),
		Scopes: reg.Client.Scopes, RequirePKCE: reg.Client.RequirePKCE,
	}
	if len(reg.Client.RedirectURIs) > 0 {
		c.RedirectURI = reg.Client.RedirectURIs[0]
	}
	if len(reg.Client.PostLogoutRedirectURIs) > 0 {
		c.PostLogoutRedirectURI = reg.Client.PostLogoutRedirectURIs[0]
	}
	return c
}

// config checks with everything there is.
func (s *server) config(reg oauthreg.Registration) conformance.Config {
	// Another test's server that closes takes the idle connections of the default
	// transport with it, and a POST that was about to go out on one.
	own := http.DefaultTransport.(*http.Transport).Clone()
	return conformance.Config{
		Issuer: s.issuer, Client: client(reg), Other: client(s.other), Machine: client(s.machine), Transport: own,
		Browser:  conformance.FormBrowser{Fields: map[string]string{"username": "alice", "password": "wonderland"}, Transport: own}.Browse,
		Register: new(conformance.Registration), Resource: s.resource,
		Wait: s.wait, Now: s.now, Strict: true,
	}
}

func check(t *testing.T, cfg conformance.Config) *conformance.Report {
	t.Helper()
	report, err := conformance.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Results) != len(conformance.Checks()) {
		t.Fatalf("%d results of %d checks", len(report.Results), len(conformance.Checks()))
	}
	return report
}

func text(t *testing.T, r *conformance.Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// names are those of the results with an outcome.
func names(r *conformance.Report, o conformance.Outcome) []string {
	var list []string
	for _, res := range r.Results {
		if res.Outcome == o {
			list = append(list, res.Name)
		}
	}
	return list
}

// Our own server follows all of it, MAY included, and every check has something
// to look at with one kind of client or another.
func TestOwnServer(t *testing.T) {
	var passed []string
	for _, base := range []string{"", "/auth"} {
		s := newServer(t, base, nil)
		for name, reg := range map[string]oauthreg.Registration{"confidential": s.web, "public": s.public, "without PKCE": s.lax} {
			t.Run(name+base, func(t *testing.T) {
				report := check(t, s.config(reg))
				if failed := names(report, conformance.Fail); failed != nil || !report.OK() {
					t.Errorf("failed: %q\n%s", failed, text(t, report))
				}
				passed = append(passed, names(report, conformance.Pass)...)
			})
		}
	}
	for _, c := range conformance.Checks() {
		if !slices.Contains(passed, c.Name) {
			t.Errorf("%s never passed: it was skipped everywhere", c.Name)
		}
	}
}

// Nothing but an issuer and leave to register.
func TestRegisteredClients(t *testing.T) {
	s := newServer(t, "", nil)
	cfg := s.config(s.web)
	cfg.Client, cfg.Other, cfg.Machine = conformance.Client{}, conformance.Client{}, conformance.Client{}
	report := check(t, cfg)
	if failed := names(report, conformance.Fail); failed != nil {
		t.Errorf("failed: %q\n%s", failed, text(t, report))
	}
	for _, name := range []string{"code/flow", "code/other-client", "refresh/other-client", "register/delete"} {
		if !slices.Contains(names(report, conformance.Pass), name) {
			t.Errorf("%s did not pass\n%s", name, text(t, report))
		}
	}
}

// With an issuer alone, what can be seen is checked and the rest says what it needs.
func TestIssuerAlone(t *testing.T) {
	s := newServer(t, "", nil)
	report := check(t, conformance.Config{Issuer: s.issuer})
	if failed := names(report, conformance.Fail); failed != nil {
		t.Errorf("failed: %q\n%s", failed, text(t, report))
	}
	for _, name := range []string{"metadata/issuer", "jwks/keys", "userinfo/challenge"} {
		if !slices.Contains(names(report, conformance.Pass), name) {
			t.Errorf("%s did not pass\n%s", name, text(t, report))
		}
	}
	for _, res := range report.Results {
		if res.Outcome == conformance.Skip && res.Detail == "" {
			t.Errorf("%s was skipped without a reason", res.Name)
		}
	}
}

// Runs at the same time, with one Config, do not touch each other.
func TestConcurrentRuns(t *testing.T) {
	s := newServer(t, "", nil)
	cfg := s.config(s.public)
	cfg.ReplayAfter = -1 // the clock is everybody's
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			report, err := conformance.Run(t.Context(), cfg)
			if err != nil {
				t.Error(err)
			} else if failed := names(report, conformance.Fail); failed != nil {
				t.Errorf("failed: %q", failed)
			}
		})
	}
	wg.Wait()
}

// Test is what a user's go test calls.
func TestTest(t *testing.T) {
	s := newServer(t, "", nil)
	cfg := s.config(s.public)
	cfg.Only = []string{"metadata", "jwks", "token/get", "code/replay", "refresh/replay"}
	conformance.Test(t, cfg)
}

func TestOnlyAndSkip(t *testing.T) {
	s := newServer(t, "", nil)
	report, err := conformance.Run(t.Context(), conformance.Config{Issuer: s.issuer, Only: []string{"jwks", "metadata/issuer"}, Skip: []string{"jwks/keys"}})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(report, conformance.Pass), []string{"metadata/issuer", "jwks/document", "jwks/private"}; !slices.Equal(got, want) {
		t.Errorf("passed: %q, want %q", got, want)
	}
	if got := names(report, conformance.Skip); !slices.Equal(got, []string{"jwks/keys"}) {
		t.Errorf("skipped: %q", got)
	}
}

// Without time, what the server's grace window hides is skipped, not failed.
func TestNoWaiting(t *testing.T) {
	s := newServer(t, "", nil)
	cfg := s.config(s.web)
	cfg.ReplayAfter = -1
	report := check(t, cfg)
	if failed := names(report, conformance.Fail); failed != nil {
		t.Errorf("failed: %q", failed)
	}
	for _, name := range []string{"refresh/replay", "refresh/replay-revokes", "code/replay-revokes"} {
		if !slices.Contains(names(report, conformance.Skip), name) {
			t.Errorf("%s was not skipped\n%s", name, text(t, report))
		}
	}
}

// A server that is not there is a report with a failure, and a run that is ended
// one without.
func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	issuer := "http://" + l.Addr().String()
	_ = l.Close()
	report := check(t, conformance.Config{Issuer: issuer})
	if got := names(report, conformance.Fail); !slices.Equal(got, []string{"metadata/document"}) || report.OK() {
		t.Errorf("failed: %q, OK %v", got, report.OK())
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	report, err = conformance.Run(ctx, conformance.Config{Issuer: issuer})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(report, conformance.Skip); len(got) != len(report.Results) || report.OK() {
		t.Errorf("skipped %d of %d, OK %v", len(got), len(report.Results), report.OK())
	}
}

// An answer without end is not read to its end.
func TestLongAnswer(t *testing.T) {
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil {
			if _, err := w.Write(bytes.Repeat([]byte(" "), 64<<10)); err != nil {
				return
			}
		}
	}))
	defer ts.Close()
	report := check(t, conformance.Config{Issuer: ts.URL})
	if got := report.Results[0]; got.Outcome != conformance.Fail || !strings.Contains(got.Detail, "longer than") {
		t.Errorf("got %+v", got)
	}
}

func TestConfigErrors(t *testing.T) {
	_, err := conformance.Run(t.Context(), conformance.Config{
		Issuer: "http://auth.example",
		Client: conformance.Client{ID: "a", AuthMethod: "private_key_jwt"}, Other: conformance.Client{ID: "a", AuthMethod: "none", Secret: "s"},
		Machine: conformance.Client{ID: "m"}, Only: []string{"tokens"},
	})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{
		"Config.Issuer must be https", `Config.Client.AuthMethod "private_key_jwt"`, "Config.Client has no RedirectURI",
		"Config.Other: AuthMethod none and Secret do not fit", "Config.Client and Config.Other are the same", "Config.Machine has no Secret", `no check or group "tokens"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
}

func TestReportForms(t *testing.T) {
	report := &conformance.Report{Issuer: "https://auth.example", Results: []conformance.Result{
		{Check: conformance.Check{Name: "a/must", Level: conformance.Must}, Outcome: conformance.Pass},
		{Check: conformance.Check{Name: "a/should", Level: conformance.Should}, Outcome: conformance.Fail, Detail: "got \x1b[31mred"},
		{Check: conformance.Check{Name: "a/may", Level: conformance.May}, Outcome: conformance.Fail},
	}}
	if !report.OK() {
		t.Error("what is only recommended fails a report that is not strict")
	}
	if got := text(t, report); !strings.Contains(got, "warn  SHOULD  a/should") || !strings.Contains(got, "info  MAY") || strings.Contains(got, "\x1b") ||
		!strings.Contains(got, "1 passed, 0 failed, 1 warnings, 1 to know, 0 skipped") {
		t.Errorf("got\n%s", got)
	}
	report.Strict = true
	var b bytes.Buffer
	if err := report.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		OK      *bool
		Results []struct{ Name, Outcome, Level string }
	}
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil || doc.OK == nil || *doc.OK || len(doc.Results) != 3 || doc.Results[1].Outcome != "fail" {
		t.Errorf("got %s, %v", &b, err)
	}
	if (&conformance.Report{}).OK() {
		t.Error("a report in which nothing was checked is OK")
	}
}

// The package needs nothing of this module: it judges any server.
func TestStandsAlone(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		n++
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			if p, err := strconv.Unquote(spec.Path.Value); err != nil || strings.Contains(p, "oauthreg") || strings.Contains(p, "fosite") {
				t.Errorf("%s imports %s, %v", name, p, err)
			}
		}
	}
	if n < 5 {
		t.Errorf("%d files read: the search is wrong", n)
	}
}

// A browser that gives up fails one check; what builds on it says so.
func TestBrowserFails(t *testing.T) {
	s := newServer(t, "", nil)
	cfg := s.config(s.web)
	cfg.Browser = conformance.FormBrowser{Fields: map[string]string{"username": "alice", "password": "wrong"}}.Browse
	report := check(t, cfg)
	if got := names(report, conformance.Fail); !slices.Equal(got, []string{"code/flow"}) {
		t.Errorf("failed: %q", got)
	}
	for _, res := range report.Failed() {
		if !strings.Contains(res.Detail, "again and again") {
			t.Errorf("got %q", res.Detail)
		}
	}
}
