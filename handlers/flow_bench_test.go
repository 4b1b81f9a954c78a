package handlers_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// benchServer is a server as a host would run it, on a SQLite file with default
// durability, without log and limits.
type benchServer struct {
	issuer  string
	handler http.Handler
	reg     *oauthreg.Registry
	machine oauthreg.Registration
	web     map[string]oauthreg.Registration // by the algorithm of its ID tokens
	clients []oauthreg.Registration          // who are there, too
}

const benchCallback = "http://127.0.0.1:9999/cb"

// newBenchServer serves l's address; n clients are registered.
func newBenchServer(b *testing.B, l net.Listener, n int) *benchServer {
	b.Helper()
	must := func(err error) {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
	}
	ctx := context.Background()
	store, err := storage.Open(filepath.Join(b.TempDir(), "bench.db"), storage.Config{EncryptionKeys: [][]byte{testSecret}, NewSession: handlers.NewSession})
	must(err)
	b.Cleanup(func() { _ = store.Close() })
	must(store.Migrate(ctx))
	s := &benchServer{issuer: "http://" + l.Addr().String(), web: map[string]oauthreg.Registration{}}
	s.reg, err = oauthreg.NewRegistry(oauthreg.Config{Store: store, SecretKey: testSecret})
	must(err)
	keys, err := oauthreg.NewKeyRing(oauthreg.KeyRingConfig{Store: store})
	must(err)
	must(keys.Maintain(ctx))
	server, err := handlers.New(handlers.Config{
		Issuer: s.issuer, Registry: s.reg, Store: store, Keys: keys, Secrets: [][]byte{testSecret}, Users: testUsers{},
		Scopes:       []handlers.Scope{{Name: "openid"}, {Name: "offline_access"}, {Name: "read"}},
		Limits:       handlers.NoLimits,
		Registration: handlers.RegistrationConfig{Mode: handlers.RegistrationOpen},
	})
	must(err)
	mux := http.NewServeMux()
	mux.Handle("/", server)
	mux.Handle("/v2/", server.ManagementV2(handlers.ManagementConfig{
		Authenticate: server.AdminKey(adminKey, handlers.Principal{UserID: homeUser, OrgID: homeOrg, ProjectID: homeProject}),
	}))
	s.handler = mux

	register := func(c oauthreg.Client) oauthreg.Registration {
		c.OrgID, c.ProjectID = homeOrg, homeProject
		r, err := s.reg.Register(ctx, c, oauthreg.RegisterOptions{})
		must(err)
		return r
	}
	s.machine = register(oauthreg.Client{Name: "machine", GrantTypes: []string{oauthreg.GrantClientCredentials}, Scopes: []string{"read"}, TokenEndpointAuthMethod: oauthreg.AuthClientSecretBasic})
	for _, alg := range []string{"ES256", "RS256"} {
		s.web[alg] = register(oauthreg.Client{
			Name: "web " + alg, GrantTypes: []string{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken}, RedirectURIs: []string{benchCallback},
			Scopes: []string{"openid", "offline_access", "read"}, TokenEndpointAuthMethod: oauthreg.AuthClientSecretBasic, IDTokenSignedResponseAlg: alg,
		})
	}
	var wg sync.WaitGroup
	s.clients = make([]oauthreg.Registration, n)
	for w := range 64 {
		wg.Go(func() {
			for i := w; i < n; i += 64 {
				c := oauthreg.Client{Name: fmt.Sprint("client ", i), GrantTypes: []string{oauthreg.GrantClientCredentials}, Scopes: []string{"read"}}
				c.OrgID, c.ProjectID = homeOrg, homeProject
				r, err := s.reg.Register(ctx, c, oauthreg.RegisterOptions{})
				if err != nil {
					b.Error(err)
					return
				}
				s.clients[i] = r
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return s
}

// roundTrip is how a benchmark reaches the server: over loopback, or its handler
// alone.
type roundTrip func(*http.Request) (*http.Response, error)

func overLoopback(b *testing.B) roundTrip {
	t := &http.Transport{MaxIdleConns: 256, MaxIdleConnsPerHost: 256}
	b.Cleanup(t.CloseIdleConnections)
	return t.RoundTrip
}

func byHandler(h http.Handler) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		if r.Body == nil {
			r.Body = http.NoBody
		}
		r.RemoteAddr, r.RequestURI = "127.0.0.1:1", r.URL.RequestURI()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Result(), nil
	}
}

// person is one closed loop of requests.
type person struct {
	s    *benchServer
	via  roundTrip
	b    *testing.B
	held string // what the step before left
}

// ask sends a request and returns the body of an answer with that status.
func (p *person) ask(method, target, contentType, body string, header http.Header, status int) ([]byte, *http.Response) {
	req, err := http.NewRequestWithContext(context.Background(), method, target, strings.NewReader(body))
	if err != nil {
		p.b.Error(err)
		return nil, nil
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := p.via(req)
	if err != nil {
		p.b.Error(err)
		return nil, nil
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != status {
		p.b.Errorf("%s %s: %d, want %d: %.300s (%v)", method, target, resp.StatusCode, status, text, err)
	}
	return text, resp
}

const formType = "application/x-www-form-urlencoded"

func basicOf(r oauthreg.Registration) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(r.Client.ClientID+":"+r.Secret))}}
}

func (p *person) token(of oauthreg.Registration, form url.Values) map[string]any {
	text, _ := p.ask(http.MethodPost, p.s.issuer+"/oauth/token", formType, form.Encode(), basicOf(of), http.StatusOK)
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		p.b.Error(err)
	}
	return answer
}

func (p *person) machineToken() string {
	token, _ := p.token(p.s.machine, url.Values{"grant_type": {"client_credentials"}})["access_token"].(string)
	return token
}

// codeFlow is a whole authorization code flow with PKCE in a browser without
// cookies: the request, sign-in page, consent page, and the token request.
func (p *person) codeFlow(alg, scope string) map[string]any {
	of := p.s.web[alg]
	jar, _ := cookiejar.New(nil)
	filler := &browser{e: &env{t: p.b}, username: "alice", password: "wonderland"}
	verifier := strings.Repeat("v", 43)
	sum := sha256.Sum256([]byte(verifier))
	next := p.s.issuer + "/oauth/authorize?" + url.Values{
		"response_type": {"code"}, "client_id": {of.Client.ClientID}, "redirect_uri": {benchCallback}, "scope": {scope}, "state": {"s"}, "nonce": {"n"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}.Encode()
	var form url.Values
	for range 10 {
		at, err := url.Parse(next)
		if err != nil {
			p.b.Error(err)
			return nil
		}
		method, body, contentType := http.MethodGet, "", ""
		if form != nil {
			method, body, contentType = http.MethodPost, form.Encode(), formType
		}
		req, _ := http.NewRequestWithContext(context.Background(), method, next, strings.NewReader(body))
		for _, c := range jar.Cookies(at) {
			req.AddCookie(c)
		}
		if contentType != "" {
			req.Header.Set("Content-Type", contentType)
			req.Header.Set("Origin", p.s.issuer)
		}
		resp, err := p.via(req)
		if err != nil {
			p.b.Error(err)
			return nil
		}
		page, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		jar.SetCookies(at, resp.Cookies())
		if to := resp.Header.Get("Location"); to != "" {
			target, err := at.Parse(to)
			if err != nil {
				p.b.Error(err)
				return nil
			}
			if next, form = target.String(), nil; !strings.HasPrefix(next, benchCallback) {
				continue
			}
			return p.token(of, url.Values{
				"grant_type": {"authorization_code"}, "code": {target.Query().Get("code")}, "redirect_uri": {benchCallback}, "code_verifier": {verifier},
			})
		}
		action, fields, ok := filler.fill(next, &answer{status: resp.StatusCode, body: string(page)})
		if !ok {
			p.b.Errorf("%s: %d, nothing to fill in", next, resp.StatusCode)
			return nil
		}
		next, form = action.String(), fields
	}
	p.b.Error("the flow does not end")
	return nil
}

// benchScenarios are the operations of one closed loop. Each checks its answer.
var benchScenarios = []struct {
	name string
	step func(p *person)
}{
	{"discovery", func(p *person) {
		p.ask(http.MethodGet, p.s.issuer+"/.well-known/openid-configuration", "", "", nil, 200)
	}},
	{"jwks", func(p *person) { p.ask(http.MethodGet, p.s.issuer+"/oauth/jwks", "", "", nil, 200) }},
	{"client_credentials", func(p *person) { p.machineToken() }},
	{"introspection", func(p *person) {
		if p.held == "" {
			p.held = p.machineToken()
		}
		text, _ := p.ask(http.MethodPost, p.s.issuer+"/oauth/introspect", formType, "token="+p.held, basicOf(p.s.machine), 200)
		if !bytes.Contains(text, []byte(`"active":true`)) {
			p.b.Errorf("got %s", text)
		}
	}},
	{"client_credentials and revocation", func(p *person) {
		p.ask(http.MethodPost, p.s.issuer+"/oauth/revoke", formType, "token="+p.machineToken(), basicOf(p.s.machine), 200)
	}},
	{"refresh", func(p *person) {
		if p.held == "" {
			p.held, _ = p.codeFlow("ES256", "offline_access read")["refresh_token"].(string)
		}
		next, _ := p.token(p.s.web["ES256"], url.Values{"grant_type": {"refresh_token"}, "refresh_token": {p.held}})["refresh_token"].(string)
		if next == "" || next == p.held {
			p.b.Error("not rotated")
		}
		p.held = next
	}},
	{"registration", func(p *person) {
		p.ask(http.MethodPost, p.s.issuer+"/oauth/register", "application/json", `{"client_name":"x","redirect_uris":["https://client.example/cb"]}`, nil, 201)
	}},
	{"management get", func(p *person) {
		p.ask(http.MethodGet, p.s.issuer+"/v2/oauth_clients/"+p.s.clients[0].Client.ClientID, "", "", bearerOf(adminKey), 200)
	}},
	{"management list of 20", func(p *person) {
		p.ask(http.MethodGet, p.s.issuer+"/v2/oauth_clients", "", "", bearerOf(adminKey), 200)
	}},
	{"code flow with pages, ES256", func(p *person) { p.codeFlow("ES256", "openid offline_access read") }},
	{"code flow with pages, RS256", func(p *person) { p.codeFlow("RS256", "openid offline_access read") }},
}

func bearerOf(key string) http.Header { return http.Header{"Authorization": {"Bearer " + key}} }

// BenchmarkHandlers is every flow at the level of the handlers, one after the
// other: what a request costs without the network, and what it allocates.
func BenchmarkHandlers(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	s := newBenchServer(b, l, 1000)
	for _, scenario := range benchScenarios {
		b.Run(scenario.name, func(b *testing.B) {
			p := &person{s: s, via: byHandler(s.handler), b: b}
			scenario.step(p)
			b.ReportAllocs()
			for b.Loop() {
				scenario.step(p)
			}
		})
	}
}

// BenchmarkHTTP is every flow over loopback HTTP, in 32 closed loops, beside a
// bare net/http server that is asked the same number of times through the same
// client: "of-floor" is the share of its throughput. 10,000 clients are
// registered; commits are durable.
func BenchmarkHTTP(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s := newBenchServer(b, l, 10_000)
	serve := func(l net.Listener, h http.Handler) {
		server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
		go func() { _ = server.Serve(l) }()
		b.Cleanup(func() { _ = server.Close() })
	}
	serve(l, s.handler)
	bare, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	serve(bare, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"`+strings.Repeat("a", 87)+`","token_type":"bearer","expires_in":3599,"scope":"a"}`)
	}))
	const loops = 32
	// run shares n operations among the loops and returns how long they took.
	run := func(b *testing.B, n int, via roundTrip, people []*person, step func(*person)) time.Duration {
		left := make(chan struct{}, n)
		for range n {
			left <- struct{}{}
		}
		close(left)
		began := time.Now()
		var wg sync.WaitGroup
		for _, p := range people {
			p.b, p.via = b, via
			wg.Go(func() {
				for range left {
					step(p)
				}
			})
		}
		wg.Wait()
		return time.Since(began)
	}
	via := overLoopback(b)
	floor := func(p *person) {
		p.ask(http.MethodPost, "http://"+bare.Addr().String()+"/token", formType, "grant_type=client_credentials", nil, 200)
	}
	for _, scenario := range benchScenarios {
		b.Run(scenario.name, func(b *testing.B) {
			people := make([]*person, loops)
			for i := range people {
				people[i] = &person{s: s}
			}
			run(b, loops, via, people, scenario.step) // everyone has a connection, and what he holds
			b.ResetTimer()
			took := run(b, b.N, via, people, scenario.step)
			b.StopTimer()
			b.ReportMetric(float64(run(b, max(b.N, 2000), via, people, floor))*float64(b.N)/float64(max(b.N, 2000))/float64(took), "of-floor")
		})
	}
}
