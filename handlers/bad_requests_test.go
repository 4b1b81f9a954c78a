package handlers_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// badRequest is one line of what a hostile or broken client tries: one request
// and how it must be answered, or, where one request cannot show it, a scenario.
//
// The parameters of a request start from a good one; each edit is "name=value"
// (replace), "+name=value" (repeat) or "-name" (leave out). {x} is replaced by
// what world.lookup knows.
type badRequest struct {
	nr   int // one of badRequestLines
	name string

	// scenario is for what takes several requests: replays, races, faults, what
	// changed meanwhile. also are the other lines that it shows.
	scenario func(t *testing.T, e *env)
	also     []int

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
	want   string // header that must be present: "Name" or "Name: how its value begins"
	accept bool   // not an error after all
	stores bool   // it may write: a pending interaction
	caches bool   // a public document, which may be kept
	fields string // invalid_fields of a registration, separated by spaces; "-" for none
}

// alone is a scenario with a server of its own.
func alone(f func(*testing.T)) func(*testing.T, *env) {
	return func(t *testing.T, _ *env) { f(t) }
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
	w.clients["jar"] = e.register(with(webClient(), func(c *oauthreg.Client) { c.JWKS = jwkSet(e.t, key) }))
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
	case "object":
		v = w.object(arg)
	case "cut": // a fresh code without its last character
		code := w.lookup("code:"+arg, memo)
		v = code[:len(code)-1]
	case "respelled": // a fresh code whose last character has other unused bits
		v = respelled(w.lookup("code:"+arg, memo))
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
	case "iat-future":
		claims["iat"] = now.Add(10 * time.Minute).Unix()
	case "iat-skew": // a clock that is three seconds ahead
		claims["iat"] = now.Add(3 * time.Second).Unix()
	case "hs256": // by HMAC, with the public key as the secret
		secret := jose.SigningKey{Algorithm: jose.HS256, Key: []byte(jwkSet(w.e.t, key))}
		return signedBy(w.e.t, secret, claims)
	case "none":
		return enc(`{"alg":"none"}`) + "." + enc(`{"iss":"`+reg.Client.ClientID+`","sub":"`+reg.Client.ClientID+`"}`) + "."
	default:
		w.e.t.Fatalf("unknown assertion edit %q", edit)
	}
	return key.sign(w.e.t, "ES256", claims)
}

// object is a request object (RFC 9101) with one thing wrong.
func (w *world) object(edit string) string {
	key, reg := w.keys["jwt"], w.clients["jar"]
	claims, _ := requestClaims(w.e, reg.Client.ClientID)
	switch edit {
	case "none":
		return unsigned(claims)
	case "iss", "aud", "client_id":
		claims[edit] = "https://other.example"
	case "exp":
		claims["exp"] = w.e.clock.Now().Add(-2 * time.Minute).Unix()
	case "key":
		key = newAssertionKey(w.e.t)
	default:
		w.e.t.Fatalf("unknown request object edit %q", edit)
	}
	return key.sign(w.e.t, "ES256", claims)
}

func signedBy(t testing.TB, key jose.SigningKey, claims map[string]any) string {
	t.Helper()
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(mustMarshal(t, claims))
	if err != nil {
		t.Fatal(err)
	}
	out, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// respelled is a token whose last base64url character stands for the same bytes
// in another spelling.
func respelled(token string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return token[:len(token)-1] + string(alphabet[strings.IndexByte(alphabet, token[len(token)-1])^1])
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
		switch row.contentType {
		case "":
		case "-":
			req.Header.Del("Content-Type")
		default:
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
		mux.Handle(e.opts.base+"/v2/", e.server.ManagementV2(cfg))
		mux.Handle(e.opts.base+"/api/v1/", e.server.ManagementProjects(cfg))
		return mux
	}
	return opts
}

// badRequestLines are the lines of the review list that this server is held to:
// bad requests, by endpoint, each with its number. Every one has rows in
// [badRequests] or stands in notOffered.
var badRequestLines = []struct {
	endpoint    string
	first, last int
}{
	{"authorize", 1, 40},
	{"token", 41, 85},
	{"introspection, revocation and userinfo", 86, 103},
	{"pushed authorization requests", 104, 113},
	{"dynamic registration", 114, 137},
	{"client metadata documents", 138, 148},
	{"management and metadata", 149, 162},
}

// notOffered are the lines about endpoints that do not exist, or that have their
// own tests, and why.
var notOffered = map[int]string{
	104: noPAR, 105: noPAR, 106: noPAR, 107: noPAR, 108: noPAR, 109: noPAR, 110: noPAR, 111: noPAR, 112: noPAR, 113: noPAR,
	138: ownCIMD, 139: ownCIMD, 140: ownCIMD, 141: ownCIMD, 142: ownCIMD, 143: ownCIMD, 144: ownCIMD, 145: ownCIMD, 146: ownCIMD, 147: ownCIMD, 148: ownCIMD,
}

const (
	noPAR   = "pushed authorization requests (RFC 9126) are not offered: there is no endpoint, and request_uri takes registered https URLs only"
	ownCIMD = "client metadata documents are a feature of their own, off by default, tested beside its code"
)

// badRequests is the whole table.
func badRequests(w *world) []badRequest {
	return slices.Concat(
		badAuthorizeRequests(), badTokenRequests(), badIntrospectionRequests(),
		badRegistrations(w), badManagementRequests(),
	)
}

// TestBadRequests sends what a hostile or broken client sends. Every row names
// the status and the registered error code, and where the error may go; nothing
// is stored because of it.
func TestBadRequests(t *testing.T) {
	opts := wholeServer(envOptions{})
	whole := opts.config
	opts.config = func(c *handlers.Config) {
		whole(c)
		c.Scopes = append(c.Scopes, handlers.Scope{Name: "admin"})
	}
	e := newEnv(t, opts)
	w := newWorld(e)
	for _, row := range badRequests(w) {
		t.Run(fmt.Sprintf("%03d %s", row.nr, row.name), func(t *testing.T) {
			e := *e
			e.t = t
			if row.scenario != nil {
				row.scenario(t, &e)
				return
			}
			w := *w
			w.e = &e
			req := w.request(row)
			before := e.rows(t)
			client := &http.Client{Transport: e.http.Client().Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
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

// Every line has a row, or a reason why not.
func TestBadRequestsAreComplete(t *testing.T) {
	rows := map[int]int{}
	for _, row := range badRequests(newWorld(newEnv(t, envOptions{}))) {
		for _, nr := range append([]int{row.nr}, row.also...) {
			rows[nr]++
		}
	}
	known := 0
	for _, lines := range badRequestLines {
		if lines.first != known+1 {
			t.Errorf("%s begin at %d, want %d", lines.endpoint, lines.first, known+1)
		}
		for known = lines.first; ; known++ {
			switch reason := notOffered[known]; {
			case reason == "" && rows[known] == 0:
				t.Errorf("line %d (%s) has no row", known, lines.endpoint)
			case reason != "" && rows[known] > 0:
				t.Errorf("line %d (%s) has %d rows, and yet: %s", known, lines.endpoint, rows[known], reason)
			}
			if known == lines.last {
				break
			}
		}
	}
	for nr := range rows {
		if nr < 1 || nr > known {
			t.Errorf("there is no line %d", nr)
		}
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
		if cc := resp.Header.Get("Cache-Control"); !strings.Contains(cc, "no-store") {
			t.Errorf("Cache-Control is %q", cc)
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
		if cc := resp.Header.Get("Cache-Control"); !row.caches && !strings.Contains(cc, "no-store") {
			t.Errorf("Cache-Control is %q", cc)
		}
	}
	row.checkFields(t, body)
	if row.status == http.StatusUnauthorized && row.want == "" {
		row.want = "WWW-Authenticate"
	}
	if name, begin, _ := strings.Cut(row.want, ": "); name != "" && (resp.Header.Get(name) == "" || !strings.HasPrefix(resp.Header.Get(name), begin)) {
		t.Errorf("%s is %q, want %q", name, resp.Header.Get(name), begin)
	}
	if row.no != "" && resp.Header.Get(row.no) != "" {
		t.Errorf("%s is %q", row.no, resp.Header.Get(row.no))
	}
}

// checkFields looks at what a refused registration says about single members.
func (row badRequest) checkFields(t *testing.T, body string) {
	t.Helper()
	if row.fields == "" {
		return
	}
	a := &tokenAnswer{raw: body}
	if err := json.Unmarshal([]byte(body), &a.body); err != nil {
		t.Fatal(err)
	}
	want := strings.TrimPrefix(row.fields, "-")
	if got := strings.Join(a.invalidFields(), " "); got != want {
		t.Errorf("got invalid_fields %q, want %q: %s", got, want, body)
	}
	description := a.str("error_description")
	for _, field := range strings.Fields(want) {
		if !strings.Contains(description, field) {
			t.Errorf("the description does not name %s: %s", field, body)
		}
	}
	for _, c := range description {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			t.Errorf("the description has %q", c)
		}
	}
}
