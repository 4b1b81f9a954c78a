package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// serverDatabase makes an empty database on a server, gone after the test, and
// returns its DSN and a connection beside the server's.
func serverDatabase(t *testing.T, kind string) (dsn string, db *sql.DB) {
	t.Helper()
	variable := map[string]string{"postgres": "OAUTHREG_TEST_POSTGRES", "mysql": "OAUTHREG_TEST_MYSQL"}[kind]
	if os.Getenv(variable) == "" {
		t.Skipf("%s is not set: no server to test on", variable)
	}
	u, err := url.Parse(os.Getenv(variable))
	if err != nil {
		t.Fatal(err)
	}
	open := func() *sql.DB {
		driver, source := "pgx", u.String()
		if kind == "mysql" {
			password, _ := u.User.Password()
			driver, source = "mysql", fmt.Sprintf("%s:%s@tcp(%s)%s", u.User.Username(), password, u.Host, u.Path)
		}
		db, err := sql.Open(driver, source)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	admin := open()
	name := "nodes_" + strings.ToLower(rand.Text()[:16])
	create, drop := "CREATE SCHEMA "+name, "DROP SCHEMA "+name+" CASCADE"
	if kind == "mysql" {
		create, drop = "CREATE DATABASE "+name, "DROP DATABASE "+name
		u.Path = "/" + name
	} else {
		q := u.Query()
		q.Set("search_path", name)
		u.RawQuery = q.Encode()
	}
	if _, err := admin.Exec(create); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec(drop); err != nil {
			t.Error(err)
		}
	})
	return u.String(), open()
}

// nodes are servers on one database behind a proxy that gives each request to
// the next of them.
type nodes struct {
	t      *testing.T
	issuer string   // the proxy's
	at     []string // the nodes' own origins
	binary string
	args   []string
	p      []*process

	turn   atomic.Int64
	mu     sync.Mutex
	served map[string][]int // by path: how many requests each node got
}

// RoundTrip gives a request to the next node, and to the one after it when
// nobody listens there.
func (n *nodes) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	var resp *http.Response
	var err error
	if r.Body != nil {
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	for range n.at {
		i := int(n.turn.Add(1)) % len(n.at)
		out := r.Clone(r.Context())
		out.URL.Host = n.at[i][len("http://"):]
		out.Body = io.NopCloser(bytes.NewReader(body))
		resp, err = bare.Transport.RoundTrip(out)
		var dial *net.OpError
		if errors.As(err, &dial) && dial.Op == "dial" {
			continue
		}
		if err == nil {
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.served[r.URL.Path] == nil {
				n.served[r.URL.Path] = make([]int, len(n.at))
			}
			n.served[r.URL.Path][i]++
		}
		return resp, err
	}
	return resp, err
}

// startNodes starts them at the same time.
func startNodes(t *testing.T, binary, dsn string, number int, args ...string) *nodes {
	t.Helper()
	dir := t.TempDir()
	n := &nodes{t: t, binary: binary, served: map[string][]int{}, p: make([]*process, number)}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", r.In.Host, r.In.Host
		},
		Transport:    n,
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }, // as if there were no proxy
	})
	t.Cleanup(proxy.Close)
	n.issuer = proxy.URL
	n.args = append(args, "-db", dsn, "-key", filepath.Join(dir, "key"), "-issuer", n.issuer, "-admin-key", "nodes-admin-key", "-limits", "off")
	for range number {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		n.at = append(n.at, "http://"+ln.Addr().String())
		_ = ln.Close()
	}
	for i := range n.p {
		n.p[i] = startBare(t, n.binary, append(n.args, "-addr", n.at[i][len("http://"):])...)
	}
	for _, p := range n.p {
		waitForIssuer(t, p.out, p.ended, p.err)
	}
	return n
}

func (n *nodes) restart(i int) {
	n.t.Helper()
	n.p[i] = startProcess(n.t, n.binary, append(n.args, "-addr", n.at[i][len("http://"):])...)
}

// seen waits until every node fulfils the condition, and returns how long the
// last took.
func (n *nodes) seen(what string, within time.Duration, by func(node string) bool) {
	n.t.Helper()
	began := time.Now()
	for _, node := range n.at {
		for !by(node) {
			if time.Since(began) > within {
				n.t.Errorf("%s: %s has not seen it after %v", what, node, within)
				return
			}
			time.Sleep(20 * time.Millisecond) // another process's clock cannot be set
		}
	}
	n.t.Logf("%s: seen by all nodes within %v", what, time.Since(began).Round(time.Millisecond))
}

// Two servers on one database are one server: a flow may go to another at each
// of its steps, what one changes the other sees, and one that dies takes nothing
// with it.
func TestTwoServersOneDatabase(t *testing.T) {
	for _, kind := range []string{"postgres", "mysql"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel() // it mostly waits
			dsn, db := serverDatabase(t, kind)
			n := startNodes(t, buildStandalone(t), dsn, 2, "-clients", withCrashClient(t), "-users", "../../testdata/users.json", "-refresh-grace", "0")
			t.Run("flows", n.flows)
			t.Run("keys", func(t *testing.T) { n.keys(t, dsn) })
			t.Run("clients", n.clients)
			t.Run("kill", func(t *testing.T) { n.kill(t, db) })
			bare.CloseIdleConnections() // a server waits for those that were never used
			for i, p := range n.p {
				if status := p.signal(t, syscall.SIGTERM); status != 0 {
					t.Errorf("node %d: got status %d: %s", i, status, p.err)
				}
			}
		})
	}
}

// withCrashClient is a file with the sample clients and crashClient.
func withCrashClient(t *testing.T) string {
	t.Helper()
	sample, err := os.ReadFile("../../testdata/clients.json")
	if err != nil {
		t.Fatal(err)
	}
	var all, more []json.RawMessage
	if err := errors.Join(json.Unmarshal(sample, &all), json.Unmarshal([]byte(crashClient), &more)); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(append(all, more...))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "clients.json")
	write(t, name, string(text), 0o600)
	return name
}

// flows hop at every request, in both ways that the number of requests allows.
func (n *nodes) flows(t *testing.T) {
	for i := range 6 {
		token := signIn(t, n.issuer)
		if status, who := whoAmI(t, n.issuer, token.AccessToken); status != http.StatusOK || who["client_id"] != "web-shop" {
			t.Fatalf("whoami: %d %v", status, who)
		}
		next, err := refresh(t.Context(), n.issuer, token.RefreshToken)
		if err != nil {
			t.Fatal(err)
		}
		for range len(n.at) {
			if !active(t, n.issuer, next.AccessToken) {
				t.Fatal("a node does not know a token of the other")
			}
		}
		if status, doc := post(t, n.issuer+"/oauth/revoke", url.Values{"token": {next.RefreshToken}}); status != http.StatusOK {
			t.Fatalf("revocation: %d %v", status, doc)
		}
		for range len(n.at) {
			if active(t, n.issuer, next.AccessToken) {
				t.Fatal("a node has not seen the revocation")
			}
		}
		if i%2 == 0 {
			n.turn.Add(1) // so that the next begins at the other
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, path := range []string{"/oauth/authorize", "/oauth/token", "/oauth/introspect", "/oauth/revoke", "/api/whoami"} {
		if got := n.served[path]; len(got) != len(n.at) || slices.Contains(got, 0) {
			t.Errorf("%s: the nodes served %v requests", path, got)
		}
	}
}

// keys that another process rotates are in every node's JWKS in time.
func (n *nodes) keys(t *testing.T, dsn string) {
	master, err := readMasterKey(n.args[slices.Index(n.args, "-key")+1])
	if err != nil {
		t.Fatal(err)
	}
	store, err := storage.Open(dsn, storage.Config{EncryptionKeys: [][]byte{master.derive("storage encryption")}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	ring, err := oauthreg.NewKeyRing(oauthreg.KeyRingConfig{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	kid, err := ring.Rotate(t.Context(), "ES256")
	if err != nil {
		t.Fatal(err)
	}
	// KeyRingConfig.Refresh, and what a loaded machine adds.
	n.seen("key rotation", 5*time.Second+5*time.Second, func(node string) bool {
		keys, _ := json.Marshal(getJSON(t, http.DefaultClient, node+"/oauth/jwks"))
		return bytes.Contains(keys, []byte(kid))
	})
}

// clients that one node changes are changed at the other.
func (n *nodes) clients(t *testing.T) {
	status, made := call(t, http.MethodPost, n.at[0]+"/v2/oauth_clients", "nodes-admin-key", map[string]any{
		"name": "Job", "client_type": "confidential", "allowed_grant_types": []string{"client_credentials"}, "allowed_scopes": []string{"profile"},
	})
	data, _ := made["data"].(map[string]any)
	if status/100 != 2 || data["client_id"] == nil {
		t.Fatalf("create: %d %v", status, made)
	}
	id, secret := data["client_id"].(string), data["client_secret"].(string)
	token := func(node string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, node+"/oauth/token", strings.NewReader("grant_type=client_credentials"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(id, secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	n.seen("a new client", clientChangesSeen, func(node string) bool { return token(node) == http.StatusOK })
	if status, got := call(t, http.MethodDelete, n.at[1]+"/v2/oauth_clients/"+id, "nodes-admin-key", nil); status/100 != 2 {
		t.Fatalf("delete: %d %v", status, got)
	}
	n.seen("a deleted client", clientChangesSeen, func(node string) bool { return token(node) == http.StatusUnauthorized })
}

// clientChangesSeen is within which time all nodes go by a change of a client:
// storage.Config.ClientCacheAge, and what a loaded machine adds.
const clientChangesSeen = time.Second + 2*time.Second

// kill ends one node after the other under load, which goes on at those that are
// left.
func (n *nodes) kill(t *testing.T, db *sql.DB) {
	const people, machines = 4, 2
	c := &crashing{issuer: n.issuer}
	c.signIn(t, people)
	logins, machineTokens := make([][]*login, people), make([][]tokens, machines)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	load := func(work func() error) {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := work(); errors.Is(err, errAnswer) {
					t.Error(err)
					return
				}
			}
		})
	}
	for i, user := range c.users {
		load(func() error { return c.person(ctx, user, &logins[i]) })
	}
	for i := range machines {
		load(func() error { return c.machine(ctx, &machineTokens[i]) })
	}
	for i := range n.at {
		n.p[i].kill(t, 500*time.Millisecond)
		before := c.answers.Load()
		time.Sleep(300 * time.Millisecond) // for the load
		if c.answers.Load() == before {
			t.Errorf("nothing was answered without node %d", i)
		}
		n.restart(i)
	}
	stop()
	wg.Wait()
	f := &findings{t: t, c: c}
	f.all(logins, machineTokens)
	f.rows(db)
	fmt.Printf("note: %d nodes killed, %d answers, %d checked, %d lost, %d doubled\n", len(n.at), c.answers.Load(), f.checked.Load(), f.lost.Load(), f.doubled.Load())
}
