package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

const (
	crashClient = `[{"client_id": "crash", "client_name": "Crash", "client_secret": "crash-secret-of-more-than-32-characters",
		"token_endpoint_auth_method": "client_secret_basic", "first_party": true,
		"grant_types": ["authorization_code", "refresh_token", "client_credentials"],
		"redirect_uris": ["http://127.0.0.1:9999/callback"], "scope": "openid offline_access", "access_token_lifetime": 86400}]`
	crashRedirect = "http://127.0.0.1:9999/callback"
)

// bare is a client whose requests nobody takes notes of: there are too many.
var bare = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// errAnswer is an answer that a server under load must not give.
var errAnswer = errors.New("the server gave an answer that it should not")

// crashing is a server that is killed again and again, and what it answered.
type crashing struct {
	issuer  string
	answers atomic.Int64 // requests that were answered with what they asked for
	users   []*http.Client
}

// tokens is one answer of the token endpoint.
type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Error   string `json:"error"`
}

// progress is how far something that changes the server's state came.
type progress int

const (
	unsent   progress = iota
	pending           // sent, and perhaps done
	answered          // done
)

// login is one authorization with all that came of it.
type login struct {
	code, verifier string
	redeemed       progress
	got            []tokens // by the code, then by one refresh after the other
	refreshed      progress // of the last of got
	revoked        progress
}

// send posts a form as the client. The error is errAnswer, or says that no whole
// answer came.
func (c *crashing) send(ctx context.Context, path string, form url.Values) (status int, doc tokens, active bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		return 0, doc, false, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("crash", "crash-secret-of-more-than-32-characters")
	resp, err := bare.Do(req)
	if err != nil {
		return 0, doc, false, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, doc, false, err
	}
	var all struct {
		tokens
		Active bool `json:"active"`
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &all); err != nil {
			return 0, doc, false, fmt.Errorf("%w: %s: %s", errAnswer, resp.Status, body)
		}
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusBadRequest {
		return 0, doc, false, fmt.Errorf("%w: %s: %s: %s", errAnswer, path, resp.Status, body)
	}
	if resp.StatusCode == http.StatusOK {
		c.answers.Add(1)
	}
	return resp.StatusCode, all.tokens, all.Active, nil
}

// grant asks for tokens and wants to get them.
func (c *crashing) grant(ctx context.Context, form url.Values) (tokens, error) {
	status, got, _, err := c.send(ctx, "/oauth/token", form)
	if err == nil && (status != http.StatusOK || got.Access == "") {
		err = fmt.Errorf("%w: %s: %d %s", errAnswer, form.Get("grant_type"), status, got.Error)
	}
	return got, err
}

func (l *login) form() url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "code": {l.code}, "code_verifier": {l.verifier}, "redirect_uri": {crashRedirect}}
}

func refreshForm(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

func (c *crashing) config() *oauth2.Config {
	return &oauth2.Config{ClientID: "crash", RedirectURL: crashRedirect, Scopes: []string{"openid", "offline_access"}, Endpoint: oauth2.Endpoint{AuthURL: c.issuer + "/oauth/authorize"}}
}

// signIn signs people in.
func (c *crashing) signIn(t *testing.T, people int) {
	t.Helper()
	for range people {
		b := newBrowser(t, crashRedirect)
		b.authorize(c.config().AuthCodeURL("s", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())), "alice", "alice-password", "consent-allow")
		b.http.Transport = bare.Transport
		b.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		c.users = append(c.users, b.http)
	}
}

// authorize gets a code for a user who is signed in.
func (c *crashing) authorize(ctx context.Context, user *http.Client) (*login, error) {
	l := &login{verifier: oauth2.GenerateVerifier()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.config().AuthCodeURL("state", oauth2.S256ChallengeOption(l.verifier)), nil)
	if err != nil {
		return nil, err
	}
	resp, err := user.Do(req)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	to, err := resp.Location()
	if err != nil || !to.Query().Has("code") {
		return nil, fmt.Errorf("%w: authorize: %s %v", errAnswer, resp.Status, to)
	}
	c.answers.Add(1)
	l.code = to.Query().Get("code")
	return l, nil
}

// person signs in again and again, refreshes and revokes, and notes in log how
// far each came, until an error.
func (c *crashing) person(ctx context.Context, user *http.Client, log *[]*login) error {
	for n := 0; ; n++ {
		l, err := c.authorize(ctx, user)
		if err != nil {
			return err
		}
		*log = append(*log, l)
		l.redeemed = pending
		got, err := c.grant(ctx, l.form())
		if err != nil {
			return err
		}
		l.redeemed, l.got = answered, append(l.got, got)
		for range n % 4 {
			l.refreshed = pending
			if got, err = c.grant(ctx, refreshForm(got.Refresh)); err != nil {
				return err
			}
			l.refreshed, l.got = unsent, append(l.got, got)
		}
		if n%3 == 0 {
			l.revoked = pending
			if _, _, _, err := c.send(ctx, "/oauth/revoke", url.Values{"token": {got.Refresh}}); err != nil {
				return err
			}
			l.revoked = answered
		}
	}
}

// machine gets tokens for itself until an error.
func (c *crashing) machine(ctx context.Context, log *[]tokens) error {
	for {
		got, err := c.grant(ctx, url.Values{"grant_type": {"client_credentials"}})
		if err != nil {
			return err
		}
		*log = append(*log, got)
	}
}

// findings is what is wrong after a kill.
type findings struct {
	t             *testing.T
	c             *crashing
	checked       atomic.Int64
	lost, doubled atomic.Int64
}

// alive wants a token that was answered to work.
func (f *findings) alive(l *login, access string, want bool) {
	_, _, active, err := f.c.send(f.t.Context(), "/oauth/introspect", url.Values{"token": {access}})
	f.checked.Add(1)
	if err != nil {
		f.t.Error(err)
	} else if active != want {
		f.lost.Add(1)
		f.t.Errorf("an access token is active: %t, want %t: %+v", active, want, l)
	}
}

// attempts makes a request several times at once, and returns the answer of the
// one that succeeded, if one did.
func (f *findings) attempts(what string, form url.Values) (got tokens, ok bool) {
	var won atomic.Pointer[tokens]
	var n atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			status, doc, _, err := f.c.send(f.t.Context(), "/oauth/token", form)
			switch {
			case err != nil:
				f.t.Error(err)
			case status == http.StatusOK:
				n.Add(1)
				won.Store(&doc)
			case doc.Error != "invalid_grant":
				f.t.Errorf("%s: got %s", what, doc.Error)
			}
		})
	}
	wg.Wait()
	f.checked.Add(1)
	if n.Load() > 1 {
		f.doubled.Add(1)
		f.t.Errorf("%s was used %d times", what, n.Load())
	}
	if won.Load() == nil {
		return got, false
	}
	return *won.Load(), true
}

// gone wants a credential that was used to be refused.
func (f *findings) gone(what string, form url.Values) {
	if _, ok := f.attempts(what, form); ok {
		f.doubled.Add(1)
		f.t.Errorf("%s was used again", what)
	}
}

func (f *findings) login(l *login) {
	switch l.redeemed {
	case unsent: // the kill came between the code's answer and the next request
		if _, ok := f.attempts("a code", l.form()); !ok {
			f.lost.Add(1)
			f.t.Error("a code is lost")
		}
		return
	case pending:
		// It may have been redeemed, and then must not be again; else it works, once.
		got, ok := f.attempts("a code whose answer was lost", l.form())
		f.gone("a code", l.form())
		if ok {
			f.alive(l, got.Access, true)
		}
		return
	}
	last := l.got[len(l.got)-1]
	if l.revoked != unsent {
		if l.revoked == pending {
			if _, _, _, err := f.c.send(f.t.Context(), "/oauth/revoke", url.Values{"token": {last.Refresh}}); err != nil {
				f.t.Error(err)
			}
		}
		for _, got := range l.got {
			f.alive(l, got.Access, false)
		}
		f.gone("a revoked refresh token", refreshForm(last.Refresh))
		return
	}
	if l.refreshed == pending {
		// Used and its answer lost, or not used: both are told by trying, which
		// revokes the grant when it was used.
		if got, ok := f.attempts("a refresh token whose answer was lost", refreshForm(last.Refresh)); ok && len(got.Refresh) == 0 {
			f.t.Error("no refresh token was returned")
		}
	} else {
		for _, got := range l.got {
			f.alive(l, got.Access, true)
		}
		got, err := f.c.grant(f.t.Context(), refreshForm(last.Refresh))
		f.checked.Add(1)
		if err != nil {
			f.lost.Add(1)
			f.t.Errorf("a refresh token is lost: %v", err)
		} else {
			f.alive(l, got.Access, true)
		}
	}
	f.gone("a refresh token", refreshForm(last.Refresh))
	f.gone("a code", l.form())
}

// all looks at everything that was noted.
func (f *findings) all(logins [][]*login, machines [][]tokens) {
	var wg sync.WaitGroup
	for _, some := range logins {
		wg.Go(func() {
			for _, l := range some {
				f.login(l)
			}
		})
	}
	for _, some := range machines {
		wg.Go(func() {
			for _, got := range some {
				f.alive(nil, got.Access, true)
			}
		})
	}
	wg.Wait()
}

// file asks the database itself, beside the server that has it open.
func (f *findings) file(name string) {
	driver := "sqlite3"
	if slices.Contains(sql.Drivers(), "sqlite") { // without cgo
		driver = "sqlite"
	}
	db, err := sql.Open(driver, "file:"+name+"?mode=ro")
	if err != nil {
		f.t.Fatal(err)
	}
	defer db.Close()
	var verdict string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil || verdict != "ok" {
		f.t.Errorf("integrity check: %s, %v", verdict, err)
	}
	f.rows(db)
}

// rows looks for what must not be in a database.
func (f *findings) rows(db *sql.DB) {
	for what, query := range map[string]string{
		"used codes without tokens": `SELECT COUNT(*) FROM oauthreg_authorize_codes c WHERE used_at IS NOT NULL
			AND NOT EXISTS (SELECT 1 FROM oauthreg_refresh_tokens t WHERE t.grant_id = c.grant_id)`,
		"unused codes with tokens": `SELECT COUNT(*) FROM oauthreg_authorize_codes c WHERE used_at IS NULL
			AND EXISTS (SELECT 1 FROM oauthreg_refresh_tokens t WHERE t.grant_id = c.grant_id)`,
		"grants with two refresh tokens that can be used": `SELECT COUNT(*) FROM (SELECT 1 FROM oauthreg_refresh_tokens
			WHERE first_used_at IS NULL GROUP BY grant_id HAVING COUNT(*) > 1) AS t`,
	} {
		var n int64
		if err := db.QueryRow(query).Scan(&n); err != nil || n != 0 {
			f.doubled.Add(n)
			f.t.Errorf("%s: %d, %v", what, n, err)
		}
	}
}

// kill waits, kills the server and returns when it is gone.
func (p *process) kill(t *testing.T, after time.Duration) {
	t.Helper()
	time.Sleep(after) // the moment is what the test is about
	if status := p.signal(t, syscall.SIGKILL); status != -1 {
		t.Fatalf("the server ended with status %d: %s", status, p.err)
	}
	bare.CloseIdleConnections()
}

// countFrom is a number that the environment gives.
func countFrom(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	v := os.Getenv(variable)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("%s is %q, not a positive number", variable, v)
	}
	return n
}

// A server that is killed at any moment loses nothing that it answered, and lets
// nothing be used twice. OAUTHREG_KILL_ROUNDS says how often it is killed under
// load.
func TestKilledUnderLoad(t *testing.T) {
	rounds := countFrom(t, "OAUTHREG_KILL_ROUNDS", 3)
	const people, machines = 6, 2
	dir := t.TempDir()
	binary := buildStandalone(t)
	clients, file := filepath.Join(dir, "clients.json"), filepath.Join(dir, "test.db")
	write(t, clients, crashClient, 0o600)
	// Without a grace time every second use of a refresh token is one too many.
	args := []string{"-db", file, "-clients", clients, "-users", "../../testdata/users.json", "-limits", "off", "-refresh-grace", "0"}
	p := startProcess(t, binary, append(args, "-addr", "127.0.0.1:0")...)
	args = append(args, "-addr", p.issuer[len("http://"):])

	c := &crashing{issuer: p.issuer}
	c.signIn(t, people)
	f := &findings{t: t, c: c}
	kills := 0
	for round := range rounds {
		ctx := t.Context()
		logins, machineTokens := make([][]*login, people), make([][]tokens, machines)
		var wg sync.WaitGroup
		load := func(work func() error) {
			wg.Go(func() {
				if err := work(); errors.Is(err, errAnswer) { // any other is the kill
					t.Error(err)
				}
			})
		}
		for i, user := range c.users {
			load(func() error { return c.person(ctx, user, &logins[i]) })
		}
		for i := range machines {
			load(func() error { return c.machine(ctx, &machineTokens[i]) })
		}
		p.kill(t, 100*time.Millisecond+rand.N(400*time.Millisecond))
		kills++
		wg.Wait()
		if round%4 == 3 { // and once more, perhaps while it recovers
			again := startBare(t, binary, args...)
			again.kill(t, rand.N(60*time.Millisecond))
			kills++
		}
		p = startProcess(t, binary, args...)
		f.all(logins, machineTokens)
		f.file(file)
		if t.Failed() {
			t.Fatalf("round %d of %d", round+1, rounds)
		}
	}
	if status := p.signal(t, syscall.SIGTERM); status != 0 {
		t.Errorf("SIGTERM: got status %d: %s", status, p.err)
	}
	if c.answers.Load() < int64(rounds) || f.checked.Load() < int64(rounds) {
		t.Errorf("only %d answers and %d checks in %d rounds", c.answers.Load(), f.checked.Load(), rounds)
	}
	fmt.Printf("note: %d rounds, %d kills, %d answers, %d checked, %d lost, %d doubled\n",
		rounds, kills, c.answers.Load(), f.checked.Load(), f.lost.Load(), f.doubled.Load())
}
