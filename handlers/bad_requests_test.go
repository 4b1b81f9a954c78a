package handlers_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// badRequest is one request that must be refused, and how. Its parameters start
// from a good request; each edit is "name=value" (replace), "+name=value"
// (repeat) or "-name" (leave out). {x} is replaced by what world.lookup knows.
type badRequest struct {
	nr   int // of the table in SECURITY.md
	name string

	method      string // default: GET for authorize, POST for everything else
	path        string // default: by the edits' kind
	authorize   []string
	token       []string
	introspect  []string
	revoke      []string
	query       string
	contentType string
	rawBody     string
	as          string // client that authenticates by Basic, with ":secret" by a made-up one
	header      []string

	status int
	code   string
	redir  bool   // the error goes to the redirect URI
	no     string // header that must be absent
	want   string // header that must be present
	accept bool   // not an error after all
	stores bool   // it may write: a pending interaction
}

// world is what the rows refer to.
type world struct {
	e       *env
	clients map[string]oauthreg.Registration
	keys    map[string]assertionKey
}

func newWorld(e *env) *world {
	w := &world{e: e, clients: map[string]oauthreg.Registration{}, keys: map[string]assertionKey{}}
	w.clients["web"] = e.register(webClient())
	w.clients["other"] = e.register(webClient())
	w.clients["public"] = e.register(publicClient())
	w.clients["machine"] = e.register(machineClient())
	w.clients["nopkce"] = e.register(with(webClient(), func(c *oauthreg.Client) { c.RequirePKCE = false }))
	w.clients["post"] = e.register(with(machineClient(), func(c *oauthreg.Client) { c.TokenEndpointAuthMethod = oauthreg.AuthClientSecretPost }))
	w.clients["two"] = e.register(with(webClient(), func(c *oauthreg.Client) { c.RedirectURIs = append(c.RedirectURIs, "https://client.example/2") }))
	w.clients["loop"] = e.register(with(publicClient(), func(c *oauthreg.Client) {
		c.RedirectURIs = []string{"http://127.0.0.1/cb", "http://localhost/cb", "https://127.0.0.1/tls"}
	}))
	w.clients["nocode"] = e.register(with(machineClient(), func(c *oauthreg.Client) { c.RedirectURIs = []string{callback} }))
	w.clients["userless"] = e.register(with(machineClient(), func(c *oauthreg.Client) {
		c.Scopes = append(c.Scopes, "openid", "offline_access")
	}))
	w.clients["pubmachine"] = e.register(with(publicClient(), func(c *oauthreg.Client) { c.GrantTypes = append(c.GrantTypes, oauthreg.GrantClientCredentials) }))
	w.clients["suspended"] = e.register(webClient())
	if _, err := e.reg.Suspend(context.Background(), oauthreg.ByID(w.clients["suspended"].Client.ID)); err != nil {
		e.t.Fatal(err)
	}
	key := newAssertionKey(e.t)
	w.keys["jwt"] = key
	w.clients["jwt"] = e.register(key.client(e.t))
	return w
}

// lookup expands {name}: a client's id ({web}), its secret ({web.secret}), a fresh
// code of a client with its verifier ({code:web}, {verifier}), tokens
// ({access:web}, {refresh:web}, {spent:web}), an assertion ({assertion:edit}).
func (w *world) expand(s string, memo map[string]string) string {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '{')
		if i < 0 {
			b.WriteString(s)
			return b.String()
		}
		j := strings.IndexByte(s[i:], '}')
		b.WriteString(s[:i])
		b.WriteString(w.lookup(s[i+1:i+j], memo))
		s = s[i+j+1:]
	}
}

func (w *world) lookup(name string, memo map[string]string) string {
	if v, ok := memo[name]; ok {
		return v
	}
	kind, arg, _ := strings.Cut(name, ":")
	v := ""
	switch kind {
	case "issuer":
		v = w.e.issuer
	case "admin":
		v = adminKey
	case "openid":
		v = w.e.tokens(w.clients[arg], "scope", "openid").str("access_token")
	case "verifier":
		w.e.t.Fatal("{verifier} stands before {code:...}")
	case "code":
		code, verifier := w.e.code(w.clients[arg].Client.ClientID)
		memo["verifier"] = verifier
		v = code
	case "access", "refresh":
		a := w.e.tokens(w.clients[arg], "scope", "read")
		memo["access:"+arg], memo["refresh:"+arg] = a.str("access_token"), a.str("refresh_token")
		v = memo[name]
	case "idtoken":
		v = w.e.tokens(w.clients[arg], "scope", "openid").str("id_token")
	case "spent":
		code, verifier := w.e.code(w.clients[arg].Client.ClientID)
		memo["verifier"] = verifier
		a := w.e.redeem(w.clients[arg], code, verifier)
		a.wantOK(w.e.t)
		memo["access:"+arg] = a.str("access_token")
		v = code
	case "junk": // a made-up token with the MAC of a spent code
		_, mac, _ := strings.Cut(w.lookup("spent:"+arg, memo), ".")
		v = prefixed("oac_", mac)
	case "bare": // a code whose request left the redirect URI out
		v, memo["verifier"] = w.e.code(w.clients[arg].Client.ClientID, "redirect_uri", "-")
	case "open": // a code whose request had no challenge
		v, _ = w.e.code(w.clients[arg].Client.ClientID, "code_challenge", "-", "code_challenge_method", "-")
	case "assertion":
		v = w.assertion(arg)
	default:
		id, field, _ := strings.Cut(name, ".")
		reg, ok := w.clients[id]
		if !ok {
			w.e.t.Fatalf("unknown {%s}", name)
		}
		if v = reg.Client.ClientID; field == "secret" {
			v = reg.Secret
		}
	}
	memo[name] = v
	return v
}

func prefixed(prefix, mac string) string { return prefix + strings.Repeat("A", 43) + "." + mac }

// assertion is a client assertion with one thing wrong.
func (w *world) assertion(edit string) string {
	key, reg := w.keys["jwt"], w.clients["jwt"]
	claims, now := key.claims(w.e, reg), w.e.clock.Now()
	switch edit {
	case "good":
	case "expired":
		claims["exp"] = now.Add(-2 * time.Minute).Unix()
	case "future-nbf":
		claims["nbf"] = now.Add(10 * time.Minute).Unix()
	case "zero-exp":
		claims["exp"] = 0
	case "no-exp":
		delete(claims, "exp")
	case "year-3000":
		claims["exp"] = 32503680000
	case "no-jti":
		delete(claims, "jti")
	case "aud":
		claims["aud"] = "https://other.example"
	case "no-aud":
		delete(claims, "aud")
	case "sub":
		claims["sub"] = w.clients["web"].Client.ClientID
	case "none":
		return enc(`{"alg":"none"}`) + "." + enc(`{"iss":"`+reg.Client.ClientID+`","sub":"`+reg.Client.ClientID+`"}`) + "."
	default:
		w.e.t.Fatalf("unknown assertion edit %q", edit)
	}
	return key.sign(w.e.t, "ES256", claims)
}

func enc(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// edited applies the edits to good.
func (w *world) edited(good url.Values, edits []string, memo map[string]string) url.Values {
	for _, edit := range edits {
		if name, ok := strings.CutPrefix(edit, "-"); ok {
			good.Del(name)
			continue
		}
		name, value, _ := strings.Cut(edit, "=")
		value = w.expand(value, memo)
		if name, ok := strings.CutPrefix(name, "+"); ok {
			good.Add(name, value)
		} else {
			good.Set(name, value)
		}
	}
	return good
}

// request builds what the row sends.
func (w *world) request(row badRequest) *http.Request {
	e, memo := w.e, map[string]string{}
	method, path, form := row.method, row.path, url.Values{}
	inQuery := false
	switch {
	case row.authorize != nil:
		path, inQuery = "/oauth/authorize", method != http.MethodPost
		if method == "" {
			method = http.MethodGet
		}
		form = w.edited(url.Values{
			"client_id": {w.clients["web"].Client.ClientID}, "redirect_uri": {callback}, "response_type": {"code"}, "state": {"s"},
			"code_challenge": {oauth2.S256ChallengeFromVerifier(oauth2.GenerateVerifier())}, "code_challenge_method": {"S256"},
		}, row.authorize, memo)
	case row.token != nil:
		path = "/oauth/token"
		form = w.edited(url.Values{"redirect_uri": {callback}}, row.token, memo)
	case row.introspect != nil:
		path = "/oauth/introspect"
		form = w.edited(form, row.introspect, memo)
	case row.revoke != nil:
		path = "/oauth/revoke"
		form = w.edited(form, row.revoke, memo)
	}
	if method == "" {
		method = http.MethodPost
	}
	target, body := e.issuer+path, io.Reader(nil)
	switch {
	case row.rawBody != "":
		body = strings.NewReader(row.rawBody)
	case inQuery:
		target += "?" + form.Encode()
	default:
		body = strings.NewReader(form.Encode())
	}
	if row.query != "" {
		target += "?" + w.expand(row.query, memo)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, target, body)
	if err != nil {
		e.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if row.contentType != "" {
			req.Header.Set("Content-Type", row.contentType)
		}
	}
	if as, secret, made := strings.Cut(row.as, ":"); as != "" && as != "-" {
		reg, known := w.clients[as]
		if !known {
			reg.Client.ClientID = as
		}
		if !made {
			secret = reg.Secret
		}
		req.SetBasicAuth(reg.Client.ClientID, secret)
	}
	for i := 0; i < len(row.header); i += 2 {
		req.Header.Add(row.header[i], w.expand(row.header[i+1], memo))
	}
	return req
}

// wholeServer is a server with everything it can have: claims, open registration
// and the management APIs.
func wholeServer(opts envOptions) envOptions {
	opts.config = func(c *handlers.Config) {
		c.Claims, c.Registration.Mode = testClaims{}, handlers.RegistrationOpen
		c.Resources = append(c.Resources, handlers.ManagementResource(c.Issuer))
	}
	opts.handler = func(e *env) http.Handler {
		cfg := handlers.ManagementConfig{
			Authenticate: e.server.AdminKey(adminKey, handlers.Principal{UserID: homeUser, OrgID: homeOrg, ProjectID: homeProject}),
		}
		mux := http.NewServeMux()
		mux.Handle("/", e.server)
		mux.Handle("/v2/", e.server.ManagementV2(cfg))
		mux.Handle("/api/v1/", e.server.ManagementProjects(cfg))
		return mux
	}
	return opts
}

// TestBadRequests sends what a hostile or broken client sends. Every row names
// the status and the registered error code, and where the error may go; nothing
// is stored because of it.
func TestBadRequests(t *testing.T) {
	e := newEnv(t, wholeServer(envOptions{}))
	w := newWorld(e)
	for _, row := range append(badRequests(), badRequestsElsewhere()...) {
		t.Run(fmt.Sprintf("%03d %s", row.nr, row.name), func(t *testing.T) {
			e := *e
			e.t = t
			w := *w
			w.e = &e
			req := w.request(row)
			before := e.rows(t)
			client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = resp.Body.Close() }()
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			row.check(t, &e, resp, string(b))
			if after := e.rows(t); after != before && !row.stores {
				t.Errorf("stored something:\nbefore %s\nafter  %s", before, after)
			}
		})
	}
}

func (row badRequest) check(t *testing.T, e *env, resp *http.Response, body string) {
	t.Helper()
	switch {
	case row.redir:
		loc, err := resp.Location()
		if err != nil {
			t.Fatalf("got %d without Location, want error %s at the redirect URI\n%s", resp.StatusCode, row.code, body)
		}
		q := loc.Query()
		if !strings.HasPrefix(loc.String(), callback) || q.Get("error") != row.code || q.Get("iss") != e.issuer || q.Has("code") {
			t.Errorf("got %s, want error=%s with iss", loc, row.code)
		}
		if len(q["state"]) > 1 {
			t.Errorf("state stands %d times", len(q["state"]))
		}
	default:
		if resp.StatusCode != row.status {
			t.Errorf("got status %d, want %d\n%s", resp.StatusCode, row.status, body)
		}
		if row.accept {
			break
		}
		if resp.Header.Get("Location") != "" {
			t.Errorf("Location is %q", resp.Header.Get("Location"))
		}
		if !strings.Contains(body, row.code) {
			t.Errorf("got %s, want error %s", body, row.code)
		}
		if cc := resp.Header.Get("Cache-Control"); !strings.Contains(cc, "no-store") {
			t.Errorf("Cache-Control is %q", cc)
		}
	}
	if row.status == http.StatusUnauthorized && row.want == "" {
		row.want = "WWW-Authenticate"
	}
	if row.want != "" && resp.Header.Get(row.want) == "" {
		t.Errorf("there is no %s header", row.want)
	}
	if row.no != "" && resp.Header.Get(row.no) != "" {
		t.Errorf("%s is %q", row.no, resp.Header.Get(row.no))
	}
}

func badRequests() []badRequest {
	redir := func(nr int, name, code string, edits ...string) badRequest {
		return badRequest{nr: nr, name: name, authorize: edits, code: code, redir: true}
	}
	page := func(nr int, name string, status int, code string, edits ...string) badRequest {
		return badRequest{nr: nr, name: name, authorize: edits, status: status, code: code}
	}
	token := func(nr int, name, as string, status int, code string, edits ...string) badRequest {
		return badRequest{nr: nr, name: name, as: as, token: append([]string{}, edits...), status: status, code: code}
	}
	longVerifier := strings.Repeat("a", 129)
	out := []badRequest{
		page(1, "unknown client", 400, "invalid_client", "client_id=nobody"),
		page(2, "no client_id", 400, "invalid_request", "-client_id"),
		page(2, "empty client_id", 400, "invalid_request", "client_id="),
		page(3, "unregistered redirect", 400, "invalid_request", "redirect_uri=https://evil.example/cb"),
		page(5, "host in the user part", 400, "invalid_request", "redirect_uri=https://client.example@evil.example/cb"),
		page(5, "host behind a backslash", 400, "invalid_request", `redirect_uri=https://client.example\@evil.example/cb`),
		page(6, "http where https is registered", 400, "invalid_request", "client_id={loop}", "redirect_uri=http://127.0.0.1:4444/tls"),
		page(7, "loopback with userinfo", 400, "invalid_request", "client_id={loop}", "redirect_uri=http://u:p@127.0.0.1:4444/cb"),
		{nr: 9, name: "localhost with another port is legal", authorize: []string{"client_id={loop}", "redirect_uri=http://localhost:3118/cb"}, status: 302, accept: true, stores: true},
		redir(31, "a request object of a client without keys", "request_not_supported", "request=eyJhbGciOiJub25lIn0.e30."),
		redir(31, "a request_uri that is not registered", "request_uri_not_supported", "request_uri=https://evil.example/r"),
		page(12, "two redirect_uri", 400, "invalid_request", "+redirect_uri="+callback),
		page(12, "two client_id", 400, "invalid_request", "+client_id={web}"),
		page(14, "no redirect_uri, client has two", 400, "invalid_request", "client_id={two}", "-redirect_uri"),
		redir(15, "no response_type", "invalid_request", "-response_type"),
		redir(17, "response_type=CODE", "unsupported_response_type", "response_type=CODE"),
		redir(18, "response_mode=bogus", "invalid_request", "response_mode=bogus"),
		redir(18, "response_mode=fragment", "invalid_request", "response_mode=fragment"),
		{nr: 19, name: "no state is legal", authorize: []string{"-state"}, status: 302, accept: true, stores: true},
		page(20, "a state of 5 kB", 400, "invalid_request", "state="+strings.Repeat("x", 5000)),
		page(20, "a state of 100 kB", 414, "invalid_request", "state="+strings.Repeat("x", 100000)),
		redir(21, "a scope that is not allowed", "invalid_scope", "scope=read admin"),
		redir(22, "public client without code_challenge", "invalid_request", "client_id={public}", "-code_challenge", "-code_challenge_method"),
		redir(24, "method without challenge", "invalid_request", "-code_challenge"),
		redir(26, "prompt=none login", "invalid_request", "prompt=none login"),
		redir(26, "prompt=bogus", "invalid_request", "prompt=bogus"),
		redir(27, "prompt=none and nobody signed in", "login_required", "prompt=none"),
		redir(28, "max_age=abc", "invalid_request", "max_age=abc"),
		redir(28, "max_age=-5", "invalid_request", "max_age=-5"),
		redir(29, "relative resource", "invalid_target", "resource=relative"),
		redir(29, "resource with a fragment", "invalid_target", "resource={issuer}/api#f"),
		redir(29, "unknown resource", "invalid_target", "resource=https://api.example"),
		redir(30, "one good and one unknown resource", "invalid_target", "resource={issuer}/api", "+resource=https://api.example"),
		redir(33, "registration", "registration_not_supported", "registration=x"),
		redir(34, "client without authorization_code", "unauthorized_client", "client_id={nocode}"),
		page(35, "suspended client", 400, "invalid_client", "client_id={suspended}"),
		{nr: 36, name: "multipart POST", method: "POST", authorize: []string{}, contentType: "multipart/form-data; boundary=x", status: 400, code: "invalid_request"},
		{nr: 36, name: "50 MB POST", method: "POST", authorize: []string{}, rawBody: strings.Repeat("a", 50<<20), status: 413, code: "invalid_request"},
		{nr: 37, name: "HEAD", method: "HEAD", authorize: []string{}, status: 405, want: "Allow"},
		{nr: 37, name: "PUT", method: "PUT", authorize: []string{}, status: 405, code: "invalid_request", want: "Allow"},
		{nr: 37, name: "DELETE", method: "DELETE", authorize: []string{}, status: 405, code: "invalid_request", want: "Allow"},
		{nr: 37, name: "no CORS on authorize", authorize: []string{"client_id=nobody"}, header: []string{"Origin", "https://evil.example"}, status: 400, code: "invalid_client", no: "Access-Control-Allow-Origin"},

		{nr: 41, name: "GET at the token endpoint", method: "GET", path: "/oauth/token", status: 405, code: "invalid_request"},
		{nr: 41, name: "JSON body", path: "/oauth/token", as: "machine", contentType: "application/json", rawBody: `{"grant_type":"client_credentials"}`, status: 400, code: "invalid_request"},
		{nr: 41, name: "parameters in the query", path: "/oauth/token", as: "machine", query: "grant_type=client_credentials", rawBody: "a=b", status: 400, code: "invalid_request"},
		token(42, "no grant_type", "machine", 400, "invalid_request"),
		token(42, "two grant_type", "machine", 400, "invalid_request", "grant_type=client_credentials", "+grant_type=client_credentials"),
		token(43, "grant_type=password", "machine", 400, "unsupported_grant_type", "grant_type=password", "username=alice", "password=wonderland"),
		token(43, "grant_type=urn:x", "machine", 400, "unsupported_grant_type", "grant_type=urn:x"),
		token(43, "grant_type in upper case", "machine", 400, "unsupported_grant_type", "grant_type=CLIENT_CREDENTIALS"),
		token(44, "a grant that is not registered", "web", 400, "unauthorized_client", "grant_type=client_credentials"),
		token(45, "no client authentication", "-", 401, "invalid_client", "grant_type=client_credentials"),
		token(45, "client_id alone for a confidential client", "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={machine}"),
		token(46, "wrong secret", "machine:wrong", 401, "invalid_client", "grant_type=client_credentials"),
		token(47, "unknown client", "nobody:wrong", 401, "invalid_client", "grant_type=client_credentials"),
		token(47, "suspended client", "suspended", 401, "invalid_client", "grant_type=client_credentials"),
		token(48, "Basic and body secret", "machine", 400, "invalid_request", "grant_type=client_credentials", "client_secret={machine.secret}"),
		token(48, "Basic and another client_id", "machine", 400, "invalid_request", "grant_type=client_credentials", "client_id={web}"),
		token(48, "Basic and assertion", "machine", 400, "invalid_request", "grant_type=client_credentials", "client_id={machine}", "client_assertion={assertion:good}", "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
		token(48, "two assertions", "-", 400, "invalid_request", "grant_type=client_credentials", "client_assertion={assertion:good}", "+client_assertion={assertion:good}", "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
		token(49, "basic registered, sent in the body", "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={machine}", "client_secret={machine.secret}"),
		token(49, "post registered, sent by Basic", "post", 401, "invalid_client", "grant_type=client_credentials"),
		token(50, "public client with a secret", "-", 401, "invalid_client", "grant_type=refresh_token", "refresh_token=x", "client_id={public}", "client_secret=made-up"),
		{nr: 51, name: "Basic without colon", token: []string{"grant_type=client_credentials"}, header: []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("nocolon"))}, status: 401, code: "invalid_client"},
		{nr: 51, name: "Basic that is not base64", token: []string{"grant_type=client_credentials"}, header: []string{"Authorization", "Basic %%%"}, status: 401, code: "invalid_client"},
		{nr: 51, name: "Basic with a bare percent sign", token: []string{"grant_type=client_credentials"}, header: []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("a%:b%"))}, status: 401, code: "invalid_client"},
		{nr: 51, name: "two Authorization headers", token: []string{"grant_type=client_credentials"}, header: []string{"Authorization", "Basic YTpi", "Authorization", "Basic YTpi"}, status: 400, code: "invalid_request"},
		token(52, "a secret with NUL", "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={post}", "client_secret=\x00"),
		token(52, "a secret of 10 kB", "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={post}", "client_secret="+strings.Repeat("s", 10000)),
		token(52, "a secret of 1 MB", "-", 413, "invalid_request", "grant_type=client_credentials", "client_id={post}", "client_secret="+strings.Repeat("s", 1<<20)),
	}
	for _, uri := range []string{"/cb/", "/CB", "/cb?x=1", "/cb#f", "/cb/../cb", "/%63b", "/cb%2F", "/cb;x", "//cb", ":443/cb"} {
		out = append(out, page(4, "asked "+uri, 400, "invalid_request", "redirect_uri=https://client.example"+uri))
	}
	for _, port := range []string{"99999", "0", "", "080", "+80", "-1", "8a"} {
		out = append(out, page(8, "loopback port "+port, 400, "invalid_request", "client_id={loop}", "redirect_uri=http://127.0.0.1:"+port+"/cb"))
	}
	for _, host := range []string{"127.0.0.2:1", "127.1:1", "0x7f.1:1", "[::ffff:127.0.0.1]:1", "127.0.0.1.:1", "localhost.:1", "LOCALHOST:1", "2130706433:1"} {
		out = append(out, page(10, "loopback spelled "+host, 400, "invalid_request", "client_id={loop}", "redirect_uri=http://"+host+"/cb"))
	}
	for _, name := range []string{"state", "scope", "response_type", "code_challenge", "nonce", "prompt"} {
		out = append(out, redir(13, "two "+name, "invalid_request", name+"=a", "+"+name+"=b"))
	}
	for _, rt := range []string{"token", "id_token", "code token", "id_token token", "none"} {
		out = append(out, redir(16, "response_type="+rt, "unsupported_response_type", "response_type="+rt))
	}
	for _, scope := range []string{`a"b`, `a\b`, "a\x00b", "é", "a\tb"} {
		out = append(out, redir(21, fmt.Sprintf("scope %q", scope), "invalid_scope", "scope="+scope))
	}
	for _, method := range []string{"plain", "s256", "S512"} {
		out = append(out, redir(23, "code_challenge_method="+method, "invalid_request", "code_challenge_method="+method))
	}
	out = append(out, redir(23, "no method means plain", "invalid_request", "-code_challenge_method"))
	for _, challenge := range []string{"short", strings.Repeat("a", 129), strings.Repeat("a", 42) + "=", strings.Repeat("a", 42) + "+", strings.Repeat("a", 44)} {
		out = append(out, redir(25, "challenge "+challenge[:5]+fmt.Sprint(len(challenge)), "invalid_request", "code_challenge="+challenge))
	}
	for _, edit := range []string{"expired", "future-nbf", "zero-exp", "no-exp", "year-3000", "no-jti", "aud", "no-aud", "none"} {
		nr := map[string]int{"expired": 53, "future-nbf": 53, "zero-exp": 54, "no-exp": 54, "year-3000": 54, "aud": 56, "no-aud": 56, "none": 57, "no-jti": 55}[edit]
		out = append(out, token(nr, "assertion: "+edit, "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={jwt}",
			"client_assertion={assertion:"+edit+"}", "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"))
	}
	return append(out,
		token(58, "assertion for another sub", "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={jwt}", "client_assertion={assertion:sub}", "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
		token(58, "assertion with another client_id", "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={web}", "client_assertion={assertion:good}", "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
		token(58, "assertion of another type", "-", 401, "invalid_client", "grant_type=client_credentials", "client_id={jwt}", "client_assertion={assertion:good}", "client_assertion_type=urn:x"),
		token(59, "no code", "web", 400, "invalid_request", "grant_type=authorization_code"),
		token(60, "random code", "web", 400, "invalid_grant", "grant_type=authorization_code", "code="+rand.Text()),
		token(61, "a code of dots", "web", 400, "invalid_request", "grant_type=authorization_code", "code="+strings.Repeat(".", 60000)),
		token(61, "9 MB of dots", "web", 413, "invalid_request", "grant_type=authorization_code", "code="+strings.Repeat(".", 9<<20)),
		token(62, "the code of another client", "other", 400, "invalid_grant", "grant_type=authorization_code", "code={code:web}", "code_verifier={verifier}"),
		token(63, "a spent code", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={spent:web}", "code_verifier={verifier}"),
		token(64, "a made-up code with the MAC of a spent one", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={junk:web}", "code_verifier={verifier}"),
		token(67, "a foreign redirect_uri, none at authorize", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={bare:web}", "code_verifier={verifier}", "redirect_uri=https://evil.example/cb"),
		token(69, "a verifier without challenge", "nopkce", 400, "invalid_grant", "grant_type=authorization_code", "code={open:nopkce}", "code_verifier="+longVerifier[:43]),
		token(66, "another redirect_uri", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={code:web}", "code_verifier={verifier}", "redirect_uri=https://client.example/2"),
		token(66, "no redirect_uri though sent at authorize", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={code:web}", "code_verifier={verifier}", "-redirect_uri"),
		token(68, "no verifier", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={code:web}"),
		token(68, "wrong verifier", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={code:web}", "code_verifier="+longVerifier[:43]),
		token(68, "verifier of 42", "web", 400, "invalid_request", "grant_type=authorization_code", "code={code:web}", "code_verifier="+longVerifier[:42]),
		token(68, "verifier of 129", "web", 400, "invalid_request", "grant_type=authorization_code", "code={code:web}", "code_verifier="+longVerifier),
		token(68, "verifier that is not ASCII", "web", 400, "invalid_request", "grant_type=authorization_code", "code={code:web}", "code_verifier="+strings.Repeat("é", 43)),
		token(71, "no refresh token", "web", 400, "invalid_request", "grant_type=refresh_token"),
		token(72, "a refresh token with a forged half", "web", 400, "invalid_grant", "grant_type=refresh_token", "refresh_token=ort_"+strings.Repeat("A", 43)+"."+strings.Repeat("A", 43)),
		token(73, "the refresh token of another client", "other", 400, "invalid_grant", "grant_type=refresh_token", "refresh_token={refresh:web}"),
		token(74, "a wider scope", "web", 400, "invalid_scope", "grant_type=refresh_token", "refresh_token={refresh:web}", "scope=read write"),
		token(74, "an unknown scope", "web", 400, "invalid_scope", "grant_type=refresh_token", "refresh_token={refresh:web}", "scope=unknown"),
		token(76, "a new resource", "web", 400, "invalid_target", "grant_type=refresh_token", "refresh_token={refresh:web}", "resource={issuer}/api"),
		token(80, "an access token as refresh token", "web", 400, "invalid_grant", "grant_type=refresh_token", "refresh_token={access:web}"),
		token(80, "a code as refresh token", "web", 400, "invalid_grant", "grant_type=refresh_token", "refresh_token={code:web}"),
		token(80, "a refresh token as code", "web", 400, "invalid_grant", "grant_type=authorization_code", "code={refresh:web}"),
		token(81, "client_credentials by a public client", "-", 400, "unauthorized_client", "grant_type=client_credentials", "client_id={pubmachine}"),
		token(82, "client_credentials with openid", "userless", 400, "invalid_scope", "grant_type=client_credentials", "scope=openid"),
		token(82, "client_credentials with offline_access", "userless", 400, "invalid_scope", "grant_type=client_credentials", "scope=offline_access"),
		token(83, "a body of 65 kB", "machine", 413, "invalid_request", "grant_type=client_credentials", "x="+strings.Repeat("x", 65<<10)),
		badRequest{nr: 83, name: "10 000 parameters", path: "/oauth/token", as: "machine", rawBody: strings.Repeat("a=&", 10000), status: 400, code: "invalid_request"},
		badRequest{nr: 83, name: "bad percent-encoding", path: "/oauth/token", as: "machine", rawBody: "grant_type=%zz", status: 400, code: "invalid_request"},

		badRequest{nr: 86, name: "introspect without credentials", introspect: []string{"token={access:web}"}, status: 401, code: "invalid_client"},
		badRequest{nr: 86, name: "introspect as a public client", introspect: []string{"token={access:public}", "client_id={public}"}, status: 401, code: "invalid_client"},
		badRequest{nr: 88, name: "bearer in the query", introspect: []string{"token={access:web}"}, query: "access_token={access:web}", status: 400, code: "invalid_request"},
		badRequest{nr: 88, name: "a bearer token is not client authentication", introspect: []string{"token={access:web}"}, header: []string{"Authorization", "Bearer {access:web}"}, status: 401, code: "invalid_client"},
		badRequest{nr: 87, name: "credentials in the body, registered so", introspect: []string{"token={access:web}", "client_id={post}", "client_secret={post.secret}"}, status: 200, code: `{"active":false}`},
		badRequest{nr: 101, name: "revoke with a wrong hint", as: "web", revoke: []string{"token={access:web}", "token_type_hint=refresh_token"}, status: 200, accept: true, stores: true},
		badRequest{nr: 101, name: "revoke with an unknown hint", as: "web", revoke: []string{"token={access:web}", "token_type_hint=nonsense"}, status: 200, accept: true, stores: true},
		badRequest{nr: 102, name: "a public client revokes its own token", revoke: []string{"token={access:public}", "client_id={public}"}, status: 200, accept: true, stores: true},
		badRequest{nr: 99, name: "revoke a made-up token with a real MAC", as: "web", revoke: []string{"token={junk:web}"}, status: 200, accept: true},
		badRequest{nr: 90, name: "introspect without token", as: "web", introspect: []string{}, status: 400, code: "invalid_request"},
		badRequest{nr: 91, name: "another client's token", as: "other", introspect: []string{"token={access:web}"}, status: 200, code: `{"active":false}`},
		badRequest{nr: 92, name: "another client's refresh token", as: "other", introspect: []string{"token={refresh:web}"}, status: 200, code: `{"active":false}`},
		badRequest{nr: 97, name: "revoke without token", as: "web", revoke: []string{}, status: 400, code: "invalid_request"},
		badRequest{nr: 98, name: "revoke another client's access token", as: "other", revoke: []string{"token={access:web}"}, status: 400, code: "invalid_grant"},
		badRequest{nr: 98, name: "revoke another client's refresh token", as: "other", revoke: []string{"token={refresh:web}"}, status: 400, code: "invalid_grant"},
		badRequest{nr: 99, name: "revoke without credentials", revoke: []string{"token={access:web}"}, status: 401, code: "invalid_client"},
		badRequest{nr: 102, name: "a confidential client without its secret", revoke: []string{"token={access:web}", "client_id={web}"}, status: 401, code: "invalid_client"},
	)
}

// badRequestsElsewhere are those of userinfo, metadata, registration and management.
func badRequestsElsewhere() []badRequest {
	register := func(nr int, name string, status int, code, body string) badRequest {
		return badRequest{nr: nr, name: "register: " + name, path: "/oauth/register", contentType: "application/json", rawBody: body, status: status, code: code}
	}
	manage := func(nr int, name, method, path, body string, status int, code string, header ...string) badRequest {
		if header == nil {
			header = []string{"Authorization", "Bearer {admin}"}
		}
		return badRequest{nr: nr, name: "manage: " + name, method: method, path: path, contentType: "application/json", rawBody: body, header: header, status: status, code: code}
	}
	const project = "/api/v1/org/" + homeOrg + "/project/" + homeProject + "/oauth_client"
	const nobody = "3f2b8a36-4f2b-4b47-9d0e-0d2b7b1f0a11"
	out := []badRequest{
		{nr: 103, name: "userinfo without token", method: "GET", path: "/oauth/userinfo", status: 401, want: "WWW-Authenticate"},
		{nr: 103, name: "userinfo with an id_token", method: "GET", path: "/oauth/userinfo", header: []string{"Authorization", "Bearer {idtoken:web}"}, status: 401, code: "invalid_token"},
		{nr: 103, name: "userinfo with a refresh token", method: "GET", path: "/oauth/userinfo", header: []string{"Authorization", "Bearer {refresh:web}"}, status: 401, code: "invalid_token"},
		{nr: 103, name: "userinfo without openid", method: "GET", path: "/oauth/userinfo", header: []string{"Authorization", "Bearer {access:web}"}, status: 403, code: "insufficient_scope", want: "WWW-Authenticate"},
		{nr: 103, name: "userinfo with the token in the query", method: "GET", path: "/oauth/userinfo", query: "access_token={openid:web}", status: 400, code: "invalid_request"},
		{nr: 31, name: "userinfo by PUT", method: "PUT", path: "/oauth/userinfo", status: 405, code: "invalid_request", want: "Allow"},

		register(114, "not JSON", 400, "invalid_client_metadata", "redirect_uris=x"),
		register(114, "an array", 400, "invalid_client_metadata", "[]"),
		register(114, "a member twice", 400, "invalid_client_metadata", `{"redirect_uris":["https://a.example/cb"],"redirect_uris":["https://b.example/cb"]}`),
		register(114, "1 MB", 413, "", `{"client_name":"`+strings.Repeat("x", 1<<20)+`"}`),
		register(114, "nested a thousand deep", 400, "invalid_client_metadata", strings.Repeat(`{"a":`, 1000)+"1"+strings.Repeat("}", 1000)),
		register(115, "no redirect_uris", 400, "invalid_redirect_uri", `{}`),
		register(121, "the password grant", 400, "invalid_client_metadata", `{"redirect_uris":["https://a.example/cb"],"grant_types":["password"]}`),
		register(122, "a response type without its grant", 400, "invalid_client_metadata", `{"redirect_uris":["https://a.example/cb"],"response_types":["token"]}`),
		register(123, "client_credentials for a public client", 400, "invalid_client_metadata", `{"token_endpoint_auth_method":"none","grant_types":["client_credentials"]}`),
		register(124, "private_key_jwt without keys", 400, "invalid_client_metadata", `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt"}`),
		register(125, "jwks_uri on loopback", 400, "invalid_client_metadata", `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"https://127.0.0.1/jwks"}`),
		register(126, "logo_uri that is script", 400, "invalid_client_metadata", `{"redirect_uris":["https://a.example/cb"],"logo_uri":"javascript:alert(1)"}`),
		register(127, "a name with bidi overrides", 400, "invalid_client_metadata", `{"redirect_uris":["https://a.example/cb"],"client_name":"a\u202eb"}`),
		register(128, "the scope admin", 400, "invalid_client_metadata", `{"redirect_uris":["https://a.example/cb"],"scope":"admin"}`),
		register(131, "an unsigned software statement", 400, "invalid_software_statement", `{"redirect_uris":["https://a.example/cb"],"software_statement":"eyJhbGciOiJub25lIn0.e30."}`),
		{nr: 134, name: "register: read without token", method: "GET", path: "/oauth/register/" + nobody, status: 401, code: "invalid_token"},
		{nr: 134, name: "register: delete with a made-up token", method: "DELETE", path: "/oauth/register/" + nobody, header: []string{"Authorization", "Bearer made-up"}, status: 401, code: "invalid_token"},

		manage(149, "no key", "GET", "/v2/oauth_clients", "", 401, "error", "X", "y"),
		manage(149, "a wrong key", "GET", "/v2/oauth_clients", "", 401, "error", "Authorization", "Bearer My API Kez"),
		manage(149, "a user's access token", "GET", "/v2/oauth_clients", "", 403, "error", "Authorization", "Bearer {access:web}"),
		manage(149, "no key, by project", "GET", project, "", 401, "detail", "X", "y"),
		manage(150, "an encoded slash", "GET", "/v2/oauth_clients/a%2fb", "", 404, "error"),
		manage(150, "an empty id", "GET", "/v2/oauth_clients/", "", 404, "error"),
		manage(150, "a method override", "POST", "/v2/oauth_clients/"+nobody, "{}", 405, "", "Authorization", "Bearer {admin}", "X-HTTP-Method-Override", "DELETE"),
		manage(151, "an unknown id", "GET", "/v2/oauth_clients/"+nobody, "", 404, "error"),
		manage(151, "an unknown id, by project", "GET", project+"/"+nobody, "", 404, "detail"),
		manage(154, "page number -1", "GET", "/v2/oauth_clients?page%5Bnumber%5D=-1", "", 400, "invalid_request"),
		manage(154, "page size of a billion", "GET", "/v2/oauth_clients?page%5Bsize%5D=1000000000", "", 400, "invalid_request"),
		manage(154, "a made-up cursor", "GET", project+"?cursor="+nobody, "", 422, "detail"),
		manage(154, "limit -1", "GET", project+"?page_limit=-1", "", 422, "detail"),
		manage(129, "create with an unknown member", "POST", "/v2/oauth_clients", `{"name":"x","client_type":"public","allowed_scopes":[],"allowed_grant_types":[],"trusted":true}`, 422, "error"),
		manage(114, "create with broken JSON", "POST", "/v2/oauth_clients", `{`, 400, "error"),
		manage(117, "create with a script redirect", "POST", project, `{"name":"x","redirect_uris":["javascript:alert(1)"],"grant_types":["authorization_code"]}`, 422, "detail"),
	}
	for _, uri := range []string{
		"http://app.example/cb", "javascript:alert(1)", "JavaScript:alert(1)", " javascript:alert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "blob:https://a.example/x", "about:blank", "ftp://a.example/cb",
		"https://a.example/cb#f", "https://u@a.example/cb", "https://*.a.example/cb", `https://a.example\\@evil.example/cb`, "https://a.example/../cb", "/cb", "myapp:/cb",
	} {
		out = append(out, register(117, "redirect "+uri, 400, "invalid_redirect_uri", `{"redirect_uris":["`+uri+`"]}`))
	}
	return out
}
