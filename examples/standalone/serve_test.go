package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// startTimeout is how long a server may take to start, on a loaded machine.
const startTimeout = 60 * time.Second

// output collects what a server prints, and lets a test wait for it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	grew chan struct{}
}

func newOutput() *output { return &output{grew: make(chan struct{}, 1)} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.grew <- struct{}{}:
	default:
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// running is a standalone server in this process.
type running struct {
	t      *testing.T
	issuer string
	out    *output
	err    *output
	cancel context.CancelFunc
	status chan int
}

// launch runs the server and waits until it listens. Without -db it has a
// database of its own; without -addr a free port.
func launch(t *testing.T, args ...string) *running {
	t.Helper()
	joined := " " + strings.Join(args, " ")
	if !strings.Contains(joined, " -db ") {
		args = append(args, "-db", filepath.Join(t.TempDir(), "test.db"))
	}
	if !strings.Contains(joined, " -addr ") {
		args = append(args, "-addr", "127.0.0.1:0")
	}
	if !strings.Contains(joined, " -log ") {
		args = append(args, "-log", "debug") // so that all of it is searched for secrets
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &running{t: t, out: newOutput(), err: newOutput(), cancel: cancel, status: make(chan int, 1)}
	go func() { s.status <- run(ctx, args, noEnv, s.out, s.err) }()
	t.Cleanup(func() {
		s.stop()
		searchForSecrets(t, args, s.err.String())
	})
	s.issuer = waitForIssuer(t, s.out, s.status, s.err)
	return s
}

var listening = regexp.MustCompile(`(?m)^listening on (\S+)\n`)

func waitForIssuer(t *testing.T, out *output, ended <-chan int, stderr fmt.Stringer) string {
	t.Helper()
	timeout := time.After(startTimeout)
	for {
		if m := listening.FindStringSubmatch(out.String()); m != nil {
			return m[1]
		}
		select {
		case <-out.grew:
		case status := <-ended:
			t.Fatalf("the server ended with status %d: %s", status, stderr)
		case <-timeout:
			t.Fatalf("the server does not listen: %s%s", out, stderr)
		}
	}
}

// stop tells the server to end, and returns its exit status.
func (s *running) stop() int {
	s.cancel()
	select {
	case status := <-s.status:
		s.status <- status // for whoever stops it again
		return status
	case <-time.After(startTimeout):
		s.t.Errorf("the server does not stop: %s", s.err)
		return -1
	}
}

// line is the rest of the line of the output that begins so.
func (s *running) line(prefix string) string {
	for line := range strings.Lines(s.out.String()) {
		if rest, ok := strings.CutPrefix(line, prefix+" "); ok {
			return strings.TrimSuffix(rest, "\n")
		}
	}
	return ""
}

func getJSON(t *testing.T, client *http.Client, target string) map[string]any {
	t.Helper()
	resp, err := client.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", target, resp.Status, err)
	}
	return doc
}

func TestServes(t *testing.T) {
	tests := []struct {
		name     string
		args     []string
		path     string
		metadata string
	}{
		{"at the root", nil, "", "/.well-known/oauth-authorization-server"},
		{"in memory", []string{"-db", ":memory:"}, "", "/.well-known/oauth-authorization-server"},
		{"under a path", []string{"-issuer", "http://127.0.0.1:0/auth/v1"}, "/auth/v1", "/.well-known/oauth-authorization-server/auth/v1"},
		{"with the sample files", []string{"-clients", "../../testdata/clients.json", "-users", "../../testdata/users.json"}, "", "/.well-known/oauth-authorization-server"},
		{"without limits", []string{"-limits", "off", "-implicit", "-resource", "https://api.example"}, "", "/.well-known/oauth-authorization-server"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := launch(t, tt.args...)
			u, err := url.Parse(s.issuer)
			if err != nil || u.Port() == "0" || u.Path != tt.path {
				t.Fatalf("listening on %s, %v", s.issuer, err)
			}
			origin := "http://" + u.Host
			for _, target := range []string{origin + tt.metadata, s.issuer + "/.well-known/oauth-authorization-server"} {
				doc := getJSON(t, http.DefaultClient, target)
				if doc["issuer"] != s.issuer || doc["token_endpoint"] != s.issuer+"/oauth/token" {
					t.Errorf("%s: got %v", target, doc)
				}
			}
			getJSON(t, http.DefaultClient, s.issuer+"/healthz")
			getJSON(t, http.DefaultClient, s.issuer+"/readyz")
			if keys, _ := getJSON(t, http.DefaultClient, s.issuer+"/oauth/jwks")["keys"].([]any); len(keys) == 0 {
				t.Error("the JWKS is empty")
			}
			resp, err := http.Get(s.issuer + "/api/whoami")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("whoami without a token: %s, %q", resp.Status, resp.Header.Get("WWW-Authenticate"))
			}
			if status := s.stop(); status != 0 {
				t.Errorf("got status %d, want 0", status)
			}
			if strings.Contains(s.err.String(), "level=ERROR") || strings.Contains(s.err.String(), "level=WARN") {
				t.Errorf("the log has complaints: %s", s.err)
			}
		})
	}
}

func TestPrints(t *testing.T) {
	db := filepath.Join(t.TempDir(), "test.db")
	first := launch(t, "-db", db)
	first.stop()
	for prefix, want := range map[string]string{
		"org": defaultOrg, "project": defaultProject, "user": defaultUser,
		"admin key": `oak_[A-Za-z0-9_-]{43}`, "demo client": `demo secret oas_[A-Za-z0-9_-]{43}`, "demo user": `demo password [A-Za-z0-9_-]{12}`,
		"client": "demo created", "listening on": regexp.QuoteMeta(first.issuer),
	} {
		if got := first.line(prefix); !regexp.MustCompile("^" + want + "$").MatchString(got) {
			t.Errorf("%s: got %q, want %s", prefix, got, want)
		}
	}
	if text := first.out.String(); strings.Index(text, "listening on") > strings.Index(text, "A first flow") {
		t.Error("the flow is printed before the server listens")
	}

	second := launch(t, "-db", db, "-org", "7f1f7b1e-5c0b-4a51-9d0e-0b8c0f5a9f11")
	second.stop()
	for _, prefix := range []string{"admin key", "demo client", "demo user"} {
		if a, b := first.line(prefix), second.line(prefix); a != b {
			t.Errorf("%s changed from %q to %q", prefix, a, b)
		}
	}
	if got := second.line("client"); got != "" {
		t.Errorf("the second start changed a client: %s", got)
	}
	if got := second.line("org"); got != "7f1f7b1e-5c0b-4a51-9d0e-0b8c0f5a9f11" {
		t.Errorf("got org %q", got)
	}

	third := launch(t, "-db", db, "-admin-key", "chosen", "-clients", "../../testdata/clients.json", "-users", "../../testdata/users.json")
	third.stop()
	for _, prefix := range []string{"admin key", "demo client", "demo user"} {
		if got := third.line(prefix); got != "" {
			t.Errorf("%s printed: %q", prefix, got)
		}
	}
	if !strings.Contains(third.out.String(), "client_id=web-shop&") || strings.Contains(third.out.String(), "web-shop-secret") {
		t.Errorf("no flow for a client of the file, or its secret in it: %s", third.out)
	}
}

// On a later start the file wins, and every change is printed, but no secret.
func TestClientsFileWins(t *testing.T) {
	dir := t.TempDir()
	db, file := filepath.Join(dir, "test.db"), filepath.Join(dir, "clients.json")
	const v1 = `[{"client_id":"a","client_name":"One","client_secret":"the-first-secret-of-this-client-a","redirect_uris":["https://a.example/cb"]}]`
	write(t, file, v1, 0o600)
	launch(t, "-db", db, "-clients", file).stop()

	write(t, file, strings.NewReplacer("One", "Two", "the-first-secret", "another-secret").Replace(v1), 0o600)
	s := launch(t, "-db", db, "-clients", file)
	s.stop()
	text := s.out.String()
	for _, want := range []string{"client a updated\n", `client a name: "One" -> "Two"` + "\n", "client a client_secret: changed\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("not printed: %q in %s", want, text)
		}
	}
	if strings.Contains(text, "-secret-of-this-client-a") {
		t.Errorf("a secret of the file is printed: %s", text)
	}
	s = launch(t, "-db", db, "-clients", file)
	s.stop()
	if got := s.line("client"); got != "" {
		t.Errorf("nothing changed, but printed: %s", got)
	}
}

func TestStartErrors(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		write(t, name, text, 0o600)
		return name
	}
	certA, keyA := testCertificate(t, filepath.Join(dir, "a"))
	_, keyB := testCertificate(t, filepath.Join(dir, "b"))
	oldDB := filepath.Join(dir, "old.db")
	write(t, oldDB+".key", "not a key", 0o600)

	tests := []struct {
		name   string
		args   []string
		status int
		want   []string
	}{
		{"unknown flag", []string{"-nonsense"}, 2, []string{"-nonsense"}},
		{"flag of the wrong kind", []string{"-limits", "7"}, 2, []string{"-limits"}},
		{"an argument", []string{"now"}, 2, []string{`unexpected argument "now"`}},
		{"http issuer on a public host", []string{"-issuer", "http://auth.example"}, 2, []string{"-issuer", "https"}},
		{"address that needs https", []string{"-addr", "127.0.0.2:0"}, 2, []string{"http://127.0.0.2:", "must be https"}},
		{"busy port", []string{"-addr", busy.Addr().String()}, 1, []string{busy.Addr().String(), "address already in use"}},
		{"busy port of the metrics", []string{"-metrics", busy.Addr().String()}, 1, []string{"-metrics", busy.Addr().String(), "address already in use"}},
		{"metrics without a port", []string{"-metrics", "127.0.0.1"}, 2, []string{"-metrics", "missing port"}},
		{"no clients file", []string{"-clients", filepath.Join(dir, "absent.json")}, 1, []string{"absent.json", "no such file"}},
		{"clients file is a folder", []string{"-clients", dir}, 1, []string{dir, "is a directory"}},
		{"clients file is not JSON", []string{"-clients", file("broken.json", "[{]")}, 1, []string{"broken.json"}},
		{"unknown member of a client", []string{"-clients", file("unknown.json", `[{"client_id":"a","redirect_uris":["https://a.example/cb"]},{"client_id":"b","redirect_uri":"https://b.example/cb"}]`)}, 1,
			[]string{"unknown.json", "client 1", `"redirect_uri"`}},
		{"invalid client", []string{"-clients", file("invalid.json", `[{"client_id":"a","redirect_uris":["https://a.example/cb#x"]}]`)}, 1,
			[]string{"invalid.json", "client 0", "redirect_uris[0]", "fragment"}},
		{"two clients of one name", []string{"-clients", file("twice.json", `[{"client_id":"a","redirect_uris":["https://a.example/cb"]},{"client_id":"a","redirect_uris":["https://a.example/cb"]}]`)}, 1,
			[]string{"twice.json", "client 1", "client_id"}},
		{"no users file", []string{"-users", filepath.Join(dir, "absent.json")}, 1, []string{"absent.json", "no such file"}},
		{"unknown member of a user", []string{"-users", file("users.json", `[{"username":"a","password":"p","sub":"1","admin":true}]`)}, 1, []string{"users.json", "user 0", `"admin"`}},
		{"no certificate", []string{"-tls-cert", filepath.Join(dir, "absent.pem"), "-tls-key", keyA}, 1, []string{"absent.pem", "no such file"}},
		{"key of another certificate", []string{"-tls-cert", certA, "-tls-key", keyB}, 1, []string{certA, keyB, "private key does not match"}},
		{"no CA file", []string{"-outbound-ca", filepath.Join(dir, "absent.pem")}, 1, []string{"absent.pem", "no such file"}},
		{"CA file without a certificate", []string{"-outbound-ca", keyA}, 1, []string{keyA, "no certificate"}},
		{"broken key file", []string{"-db", oldDB}, 1, []string{oldDB + ".key", "not a key file"}},
		{"database in no folder", []string{"-db", filepath.Join(dir, "no", "such", "test.db")}, 1, []string{"test.db", "no such file"}},
		{"not a database", []string{"-db", notADatabase(t, dir)}, 1, []string{"text.db", "not a database"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			args := tt.args
			db := filepath.Join(t.TempDir(), "test.db")
			if !strings.Contains(strings.Join(args, " "), "-db") {
				args = append(args, "-db", db)
			}
			if !strings.Contains(strings.Join(args, " "), "-addr") {
				args = append(args, "-addr", "127.0.0.1:0")
			}
			ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
			defer cancel()
			var out, errs bytes.Buffer
			if status := run(ctx, args, noEnv, &out, &errs); status != tt.status {
				t.Errorf("got status %d, want %d", status, tt.status)
			}
			if out.Len() != 0 {
				t.Errorf("printed: %s", &out)
			}
			text := errs.String()
			if !strings.HasPrefix(text, "standalone: ") || strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
				t.Errorf("want one line, got %q", text)
			}
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("got %q, want %q in it", text, want)
				}
			}
		})
	}
}

func notADatabase(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "text.db")
	write(t, name, "", 0o600) // empty: its key is made
	if _, _, err := openMasterKey(name, ""); err != nil {
		t.Fatal(err)
	}
	write(t, name, strings.Repeat("This is a letter, not a database. ", 100), 0o600)
	return name
}

// A mistake in a file stops the start before anything is stored.
func TestStartErrorStoresNothing(t *testing.T) {
	dir := t.TempDir()
	clients := filepath.Join(dir, "clients.json")
	write(t, clients, `[{"client_id":"a","colour":"red"}]`, 0o600)
	for _, args := range [][]string{{"-clients", clients}, {"-nonsense"}, {"-users", clients}, {"-addr", "127.0.0.2:0"}} {
		db := filepath.Join(t.TempDir(), "test.db")
		if status := run(t.Context(), append(args, "-db", db), noEnv, io.Discard, io.Discard); status == 0 {
			t.Errorf("%v: got status 0", args)
		}
		if left, err := filepath.Glob(db + "*"); err != nil || len(left) != 0 {
			t.Errorf("%v left %v, %v", args, left, err)
		}
	}
}

func TestHelpEndsWell(t *testing.T) {
	var out, errs bytes.Buffer
	if status := run(t.Context(), []string{"-h"}, noEnv, &out, &errs); status != 0 || errs.Len() != 0 || !strings.Contains(out.String(), "-clients") {
		t.Errorf("got status %d, %q, %q", status, &out, &errs)
	}
}

func TestHTTPS(t *testing.T) {
	cert, key := testCertificate(t, filepath.Join(t.TempDir(), "server"))
	s := launch(t, "-tls-cert", cert, "-tls-key", key)
	if !strings.HasPrefix(s.issuer, "https://127.0.0.1:") {
		t.Fatalf("listening on %s", s.issuer)
	}
	chain, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(chain)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	if doc := getJSON(t, client, s.issuer+"/.well-known/oauth-authorization-server"); doc["issuer"] != s.issuer {
		t.Errorf("got %v", doc)
	}
}

// testCertificate writes a certificate for this machine, and its key.
func testCertificate(t *testing.T, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = name+".pem", name+".key.pem"
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})), 0o600)
	write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), 0o600)
	return certFile, keyFile
}

// A request that runs when the server is told to stop is answered.
func TestDrains(t *testing.T) {
	s := launch(t)
	u, err := url.Parse(s.issuer)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := "grant_type=authorization_code&code=none"
	half := len(body) / 2
	_, err = fmt.Fprintf(conn, "POST /oauth/token HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", u.Host, len(body))
	if err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100") {
		t.Fatalf("got %q, %v, want 100 Continue: the handler reads the body", line, err)
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, body[:half]); err != nil {
		t.Fatal(err)
	}
	s.cancel()
	// The listener goes first.
	for deadline := time.Now().Add(startTimeout); ; {
		c, err := net.Dial("tcp", u.Host)
		if err != nil {
			break
		}
		c.Close()
		if time.Now().After(deadline) {
			t.Fatal("the server still accepts connections")
		}
	}
	if _, err := io.WriteString(conn, body[half:]); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized && resp.StatusCode != http.StatusBadRequest {
		t.Errorf("got %s", resp.Status)
	}
	if status := s.stop(); status != 0 {
		t.Errorf("got status %d, want 0", status)
	}
}

// Told to stop before it serves, a server ends well too.
func TestStoppedWhileStarting(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errs bytes.Buffer
	if status := run(ctx, []string{"-addr", "127.0.0.1:0", "-db", filepath.Join(t.TempDir(), "test.db")}, noEnv, io.Discard, &errs); status != 0 {
		t.Errorf("got status %d: %s", status, &errs)
	}
}
