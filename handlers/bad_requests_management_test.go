package handlers_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// badManagementRequests are lines 149 to 162: the management APIs and the public
// documents.
func badManagementRequests() []badRequest {
	manage := func(nr int, name, method, path, body string, status int, code string, header ...string) badRequest {
		if header == nil {
			header = []string{"Authorization", "Bearer {admin}"}
		}
		return badRequest{nr: nr, name: "manage: " + name, method: method, path: path, contentType: "application/json", rawBody: body, header: header, status: status, code: code}
	}
	const project = "/api/v1/org/" + homeOrg + "/project/" + homeProject + "/oauth_client"
	const nobody = "3f2b8a36-4f2b-4b47-9d0e-0d2b7b1f0a11"
	return []badRequest{
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
		manage(154, "a sort order that is SQL", "GET", "/v2/oauth_clients?sort=1;DROP", "", 400, "invalid_request"),
		manage(154, "a sort order that is SQL, encoded", "GET", "/v2/oauth_clients?filter%5Bsort%5D=1%3BDROP%20TABLE%20x", "", 400, "invalid_request"),
		manage(155, "a filter with NUL", "GET", "/v2/oauth_clients?filter%5Bname%5D=%00", "", 400, "invalid_request"),
		{nr: 159, name: "manage: a form of another site, with the user's cookies", path: "/v2/oauth_clients", rawBody: "name=x", header: []string{"Cookie", "oauthreg_session=x", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, status: 401, code: "invalid_token"},
		{nr: 159, name: "manage: a form, with the key", path: "/v2/oauth_clients", rawBody: "name=x", header: []string{"Authorization", "Bearer {admin}"}, status: 415, code: "invalid_request"},
		{nr: 159, name: "manage: JSON that a form can send", path: "/v2/oauth_clients", contentType: "text/plain", rawBody: `{"name":"x"}`, header: []string{"Authorization", "Bearer {admin}"}, status: 415, code: "invalid_request"},

		{nr: 149, name: "manage: tokens that are expired, for elsewhere, or without the scope", scenario: alone(managementByAccessToken)},
		{nr: 150, name: "manage: tricks with paths", scenario: pathTricks},
		{nr: 150, name: "manage: paths that name nothing", scenario: alone(v2Paths)},
		{nr: 151, name: "manage: clients of others", scenario: alone(managementTenants)},
		{nr: 151, name: "manage: clients of others, by project", also: []int{154}, scenario: alone(projectIsolation)},
		{nr: 152, name: "manage: one name at once", scenario: alone(projectClientNameRace)},
		{nr: 152, name: "manage: one client_id at once", scenario: takenClientID},
		{nr: 153, name: "manage: a stale version", scenario: alone(v2ETag)},
		{nr: 155, name: "manage: filters with wildcards and quotes", scenario: filtersAreLiteral},
		{nr: 155, name: "manage: lists and filters", also: []int{154}, scenario: alone(v2List)},
		{nr: 156, name: "manage: a secret is shown once", scenario: secretIsShownOnce},
		{nr: 157, name: "manage: rotation with overlap", scenario: alone(v2SuspendAndSecrets)},
		{nr: 158, name: "manage: deletion with live tokens", scenario: deletionEndsTokens},
		{nr: 160, name: "metadata of another host", scenario: metadataIgnoresHost},
		{nr: 161, name: "metadata at other paths and by other methods", scenario: alone(metadataPaths)},
		{nr: 162, name: "private members in the JWKS", scenario: jwksIsPublic},
	}
}

// pathTricks: whatever a path is spelled like, nothing is read or done without a
// credential, and with one nothing but what the plain path does.
func pathTricks(t *testing.T, e *env) {
	reg := e.register(with(machineClient(), func(c *oauthreg.Client) { c.OrgID, c.ProjectID, c.Name = homeOrg, homeProject, "Path trick victim" }))
	id, base := reg.Client.ClientID, e.opts.base
	before := e.rows(t)
	paths := []string{
		"//v2/oauth_clients", "/v2//oauth_clients", "/v2/./oauth_clients", "/v2/x/../oauth_clients", "/v2/..;/v2/oauth_clients", "/v2;x=y/oauth_clients",
		"/%76%32/oauth_clients", "/v2%2foauth_clients", "/v2/%2e%2e/v2/oauth_clients", "/v2/oauth_clients;/" + id, "/v2/oauth_clients/" + id + ";x", "/v2/oauth_clients/" + id + "%2f",
		"/v2/oauth_clients/" + id + "/.", "/v2/oauth_clients/" + id + "/..", "/v2/oauth_clients/" + id + ".", "/v2/oauth_clients/%2f", "/v2/oauth_clients/" + id + "%00", "/V2/oauth_clients", "/v2/OAUTH_CLIENTS",
		"/oauth/token/../../v2/oauth_clients", "/oauth/jwks/..%2f..%2fv2/oauth_clients", "/.well-known/../v2/oauth_clients", "\\v2\\oauth_clients", "http://evil.example" + base + "/v2/oauth_clients", "/v2/oauth_clients?x=/../../oauth/jwks", "/v2/oauth_clients/" + id + "#/../..",
	}
	for _, path := range paths {
		if base != "" && strings.HasPrefix(path, "/") {
			path = base + path
		}
		for _, method := range []string{"GET", "DELETE", "PUT"} {
			for _, bearer := range []string{"", "made-up", adminKey} {
				status, header, body := e.rawRequest(method, path, bearer)
				location := header.Get("Location")
				switch {
				case location != "" && (!strings.HasPrefix(location, "/") || strings.HasPrefix(location, "//")):
					t.Errorf("%s %s leads elsewhere: %s", method, path, location)
				case bearer != adminKey && status >= 200 && status < 300,
					bearer != adminKey && strings.Contains(body, reg.Client.Name):
					t.Errorf("%s %s as %q: got %d %s", method, path, bearer, status, body)
				case method != "GET" && status >= 200 && status < 300:
					t.Errorf("%s %s with the key: got %d %s", method, path, status, body)
				case status >= 500:
					t.Errorf("%s %s: got %d %s", method, path, status, body)
				}
			}
		}
	}
	if after := e.rows(t); after != before {
		t.Errorf("stored something:\nbefore %s\nafter  %s", before, after)
	}
	// A header does not change what a method does.
	for _, name := range []string{"X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"} {
		if a := e.sendJSON(http.MethodGet, "/v2/oauth_clients/"+id, adminKey, "", name, "DELETE"); a.status != http.StatusOK {
			t.Errorf("%s: got %d %s", name, a.status, a.raw)
		}
	}
	e.tokenRequest(reg, "grant_type", "client_credentials").wantOK(t)
}

// rawRequest sends a request line as it is written, which net/http's client would
// tidy up.
func (e *env) rawRequest(method, target, bearer string) (int, http.Header, string) {
	t := e.t
	t.Helper()
	c, err := net.Dial("tcp", e.http.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if e.http.TLS != nil {
		roots := x509.NewCertPool()
		roots.AddCert(e.http.Certificate())
		c = tls.Client(c, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
	}
	request := method + " " + target + " HTTP/1.1\r\nHost: " + e.http.Listener.Addr().String() + "\r\nConnection: close\r\nContent-Length: 0\r\n"
	if bearer != "" {
		request += "Authorization: Bearer " + bearer + "\r\n"
	}
	if _, err := io.WriteString(c, request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

// takenClientID: of any number of registrations under one client_id one succeeds.
// (Over HTTP nobody chooses an id; Go code and the clients file do.)
func takenClientID(t *testing.T, e *env) {
	c := with(machineClient(), func(c *oauthreg.Client) { c.ClientID, c.Name = "chosen-id", "Chosen" })
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			switch _, err := e.reg.Register(context.Background(), c, oauthreg.RegisterOptions{}); {
			case err == nil:
				won.Add(1)
			case errors.Is(err, oauthreg.ErrConflict):
				lost.Add(1)
			default:
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 || lost.Load() != 19 {
		t.Errorf("%d won and %d lost, want 1 and 19", won.Load(), lost.Load())
	}
	// Through dialect and protocol the member is not the client's to choose.
	e.sendJSON(http.MethodPost, "/v2/oauth_clients", adminKey, `{"client_id":"chosen-id","name":"x","client_type":"confidential","allowed_scopes":[],"allowed_grant_types":["client_credentials"]}`).wantError(t, 422, "invalid_request")
}

// filtersAreLiteral: no character of a filter means anything but itself.
func filtersAreLiteral(t *testing.T, e *env) {
	own := func(c *oauthreg.Client) { c.OrgID, c.ProjectID = homeOrg, homeProject }
	for _, name := range []string{`100%`, `100x`, `a_b`, `axb`, `it's "quoted"`, `back\slash`, `x' OR '1'='1`} {
		e.register(with(with(machineClient(), own), func(c *oauthreg.Client) { c.Name = name }))
	}
	for filter, want := range map[string][]string{
		"100%": {"100%"}, "a_b": {"a_b"}, `t's "q`: {`it's "quoted"`}, `k\s`: {`back\slash`}, "' OR '": {"x' OR '1'='1"}, "%": {"100%"}, "_b": {"a_b"},
		"' OR 1=1 --": nil, "%' ESCAPE '": nil, "[a-z]": nil, "*": nil,
	} {
		a := e.sendJSON(http.MethodGet, "/v2/oauth_clients?"+url.Values{"filter[name][contains]": {filter}, "page[size]": {"100"}}.Encode(), adminKey, "")
		a.wantStatus(t, http.StatusOK)
		var got []string
		for _, c := range a.items(t) {
			got = append(got, c["name"].(string))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", filter, got, want)
		}
	}
}

// secretIsShownOnce: after the answer that made it, no answer has a secret, nor the
// digest of one.
func secretIsShownOnce(t *testing.T, e *env) {
	made := e.sendJSON(http.MethodPost, "/v2/oauth_clients", adminKey, machineBody)
	made.wantStatus(t, http.StatusCreated)
	data := made.data(t)
	id, secret := data["client_id"].(string), data["client_secret"].(string)
	c, err := e.reg.Get(context.Background(), oauthreg.ByClientID(id))
	if err != nil {
		t.Fatal(err)
	}
	rec, err := e.reg.Record(context.Background(), oauthreg.ByClientID(id))
	if err != nil || len(rec.Secrets) != 1 {
		t.Fatalf("%d secrets, %v", len(rec.Secrets), err)
	}
	hash := rec.Secrets[0].Hash
	if hash == "" || secret == "" {
		t.Fatalf("hash %q, secret %q", hash, secret)
	}
	project := "/api/v1/org/" + homeOrg + "/project/" + homeProject + "/oauth_client"
	for _, r := range [][3]string{
		{"GET", "/v2/oauth_clients/" + id, ""}, {"GET", "/v2/oauth_clients?page%5Bsize%5D=100", ""}, {"GET", "/v2/oauth/clients/" + id, ""},
		{"GET", "/v2/oauth_clients/" + id + "/secrets", ""}, {"GET", "/v2/oauth_clients/" + id + "/audit", ""},
		{"PUT", "/v2/oauth_clients/" + id, `{"name":"Renamed"}`}, {"POST", "/v2/oauth_clients/" + id + "/suspend", "{}"}, {"POST", "/v2/oauth_clients/" + id + "/resume", "{}"},
		{"GET", project + "/" + c.ID, ""}, {"GET", project + "?page_limit=100", ""}, {"POST", project + "/" + c.ID, `{"description":"d"}`},
	} {
		a := e.sendJSON(r[0], r[1], adminKey, r[2])
		if a.status != http.StatusOK {
			t.Errorf("%v: got %d %s", r, a.status, a.raw)
		}
		if strings.Contains(a.raw, secret) || strings.Contains(a.raw, hash) || strings.Contains(a.raw, hash[len(hash)-20:]) {
			t.Errorf("%v shows the secret or its digest: %s", r, a.raw)
		}
		for _, m := range a.objects() {
			if m["client_secret"] != nil || m["hash"] != nil || m["digest"] != nil || m["secret"] != nil {
				t.Errorf("%v: %v", r, m)
			}
		}
	}
}

// objects are all JSON objects of an answer, however deep.
func (a *tokenAnswer) objects() []map[string]any {
	var out []map[string]any
	var visit func(any)
	visit = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			out = append(out, v)
			for _, x := range v {
				visit(x)
			}
		case []any:
			for _, x := range v {
				visit(x)
			}
		}
	}
	var whole any
	_ = json.Unmarshal([]byte(a.raw), &whole) // what is no JSON has no objects
	visit(whole)
	return out
}

// deletionEndsTokens: by either API, at once.
func deletionEndsTokens(t *testing.T, e *env) {
	checker := e.register(with(machineClient(), func(c *oauthreg.Client) { c.ResourceServer = []string{e.issuer + "/api"} }))
	for _, face := range []string{"/v2/oauth_clients/", "/api/v1/org/" + homeOrg + "/project/" + homeProject + "/oauth_client/"} {
		reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.OrgID, c.ProjectID = homeOrg, homeProject }))
		tokens := e.tokens(reg, "scope", "openid read", "resource", e.issuer+"/api")
		code, verifier := e.code(reg.Client.ClientID)
		id := reg.Client.ClientID
		if strings.HasPrefix(face, "/api") {
			id = reg.Client.ID
		}
		if !e.active(checker, tokens.str("access_token")) {
			t.Fatal("the token never worked")
		}
		e.sendJSON(http.MethodDelete, face+id, adminKey, "").wantStatus(t, http.StatusNoContent)
		for _, kind := range []string{"access_token", "refresh_token"} {
			if e.active(checker, tokens.str(kind)) {
				t.Errorf("%s: the %s outlived its client", face, kind)
			}
		}
		e.userinfo(tokens.str("access_token")).wantError(t, 401, "invalid_token")
		e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, 401, "invalid_client")
		e.redeem(reg, code, verifier).wantError(t, 401, "invalid_client")
		target, _ := e.authorizeURL(reg.Client.ClientID)
		wantPage(t, e, http.StatusBadRequest, "invalid_client", target)
		if a := e.sendJSON(http.MethodDelete, face+id, adminKey, ""); a.status != http.StatusNotFound {
			t.Errorf("%s once more: got %d %s", face, a.status, a.raw)
		}
	}
}

// metadataPaths: the documents are at their paths and nowhere else, may be read by
// any origin, and take no credentials.
func metadataPaths(t *testing.T) {
	for _, base := range []string{"", "/auth/tenant"} {
		e := newEnv(t, envOptions{base: base})
		origin := strings.TrimSuffix(e.issuer, base)
		before := e.rows(t)
		for _, document := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
			for path, want := range map[string]int{
				base + document: 200, document + base: 200,
				base + document + "/": 404, document + base + "/": 404, document + base + "/x": 404, document + "/other": 404,
				strings.ToUpper(document) + base: 404, document + base + ".json": 404,
			} {
				for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost, http.MethodPut} {
					want := want
					switch {
					case want == 404:
					case method == http.MethodOptions:
						want = http.StatusNoContent
					case method != http.MethodGet && method != http.MethodHead:
						want = http.StatusMethodNotAllowed
					}
					a := e.sendJSON(method, origin+path, "", "", "Origin", "https://app.example", "Cookie", "a=b")
					if a.status != want {
						t.Errorf("%s %s: got %d, want %d", method, path, a.status, want)
						continue
					}
					if want == 404 {
						continue
					}
					if a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("Access-Control-Allow-Credentials") != "" || a.header.Get("Set-Cookie") != "" {
						t.Errorf("%s %s: headers %v", method, path, a.header)
					}
					if want == http.StatusMethodNotAllowed && a.header.Get("Allow") == "" {
						t.Errorf("%s %s: no Allow", method, path)
					}
					if method == http.MethodHead && a.raw != "" {
						t.Errorf("HEAD %s has a body", path)
					}
				}
			}
		}
		if after := e.rows(t); after != before {
			t.Errorf("stored something:\nbefore %s\nafter  %s", before, after)
		}
	}
}

// jwksIsPublic: the document has the members of public keys and no others.
func jwksIsPublic(t *testing.T, e *env) {
	public := []string{"kty", "use", "alg", "kid", "n", "e", "crv", "x", "y"}
	a := e.sendJSON(http.MethodGet, "/oauth/jwks", "", "")
	a.wantStatus(t, http.StatusOK)
	keys, _ := a.body["keys"].([]any)
	if len(keys) < 2 || len(a.body) != 1 {
		t.Errorf("got %s", a.raw)
	}
	seen := map[any]bool{}
	for _, k := range keys {
		key := k.(map[string]any)
		for name := range key {
			if !slices.Contains(public, name) {
				t.Errorf("a key has %s: %v", name, key)
			}
		}
		if key["kty"] == "oct" || key["kid"] == "" || seen[key["kid"]] {
			t.Errorf("got %v", key)
		}
		seen[key["kid"]] = true
	}
}
