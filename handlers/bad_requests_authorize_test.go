package handlers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// badAuthorizeRequests are lines 1 to 40: the authorization endpoint and the steps
// behind it.
func badAuthorizeRequests() []badRequest {
	redir := func(nr int, name, code string, edits ...string) badRequest {
		return badRequest{nr: nr, name: name, authorize: edits, code: code, redir: true}
	}
	page := func(nr int, name string, status int, code string, edits ...string) badRequest {
		return badRequest{nr: nr, name: name, authorize: edits, status: status, code: code}
	}
	out := []badRequest{
		page(1, "unknown client", 400, "invalid_client", "client_id=nobody"),
		page(2, "no client_id", 400, "invalid_request", "-client_id"),
		page(2, "empty client_id", 400, "invalid_request", "client_id="),
		page(3, "unregistered redirect", 400, "invalid_request", "redirect_uri=https://evil.example/cb"),
		page(5, "host in the user part", 400, "invalid_request", "redirect_uri=https://client.example@evil.example/cb"),
		page(5, "host behind a backslash", 400, "invalid_request", `redirect_uri=https://client.example\@evil.example/cb`),
		page(6, "http where https is registered", 400, "invalid_request", "client_id={loop}", "redirect_uri=http://127.0.0.1:4444/tls"),
		page(7, "loopback with userinfo", 400, "invalid_request", "client_id={loop}", "redirect_uri=http://u:p@127.0.0.1:4444/cb"),
		{nr: 9, name: "localhost with another port is legal", authorize: []string{"client_id={loop}", "redirect_uri=http://localhost:3118/cb"}, status: 200, accept: true, stores: true},
		redir(31, "a request object of a client without keys", "request_not_supported", "request=eyJhbGciOiJub25lIn0.e30."),
		redir(31, "a request_uri that is not registered", "request_uri_not_supported", "request_uri=https://evil.example/r"),
		page(12, "two redirect_uri", 400, "invalid_request", "+redirect_uri="+callback),
		page(12, "two client_id", 400, "invalid_request", "+client_id={web}"),
		page(14, "no redirect_uri, client has two", 400, "invalid_request", "client_id={two}", "-redirect_uri"),
		redir(15, "no response_type", "invalid_request", "-response_type"),
		redir(17, "response_type=CODE", "unsupported_response_type", "response_type=CODE"),
		redir(18, "response_mode=bogus", "invalid_request", "response_mode=bogus"),
		redir(18, "response_mode=fragment", "invalid_request", "response_mode=fragment"),
		{nr: 19, name: "no state is legal", authorize: []string{"-state"}, status: 200, accept: true, stores: true},
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
		{nr: 11, name: "a script or document that somebody wrote into the database", scenario: alone(plantedRedirect)},
		{nr: 20, name: "a state of control characters, line breaks and markup comes back as it was", scenario: stateIsEchoed},
		{nr: 27, name: "prompt=none and no consent, or nobody signed in", scenario: silentRequests},
		{nr: 28, name: "max_age=0 signs in anew", scenario: maxAgeZero},
		redir(33, "registration", "registration_not_supported", "registration=x"),
		redir(34, "client without authorization_code", "unauthorized_client", "client_id={nocode}"),
		page(35, "suspended client", 400, "invalid_client", "client_id={suspended}"),
		{nr: 36, name: "multipart POST", method: "POST", authorize: []string{}, contentType: "multipart/form-data; boundary=x", status: 400, code: "invalid_request"},
		{nr: 36, name: "50 MB POST", method: "POST", authorize: []string{}, rawBody: strings.Repeat("a", 50<<20), status: 413, code: "invalid_request"},
		{nr: 37, name: "HEAD", method: "HEAD", authorize: []string{}, status: 405, want: "Allow"},
		{nr: 37, name: "PUT", method: "PUT", authorize: []string{}, status: 405, code: "invalid_request", want: "Allow"},
		{nr: 37, name: "DELETE", method: "DELETE", authorize: []string{}, status: 405, code: "invalid_request", want: "Allow"},
		{nr: 38, name: "a decision from another browser, or without its token", also: []int{39}, scenario: consentIsBound},
		{nr: 39, name: "finished steps stay finished", scenario: finishedSteps},
		{nr: 40, name: "the client table is unreachable", scenario: alone(authorizeWithoutDatabase)},
		{nr: 37, name: "no CORS on authorize", authorize: []string{"client_id=nobody"}, header: []string{"Origin", "https://evil.example"}, status: 400, code: "invalid_client", no: "Access-Control-Allow-Origin"},
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
	for _, edit := range []string{"none", "iss", "aud", "client_id", "exp", "key"} {
		out = append(out, redir(32, "request object with another "+edit, "invalid_request_object", "client_id={jar}", "request={object:"+edit+"}"))
	}
	for _, method := range []string{"plain", "s256", "S512"} {
		out = append(out, redir(23, "code_challenge_method="+method, "invalid_request", "code_challenge_method="+method))
	}
	out = append(out, redir(23, "no method means plain", "invalid_request", "-code_challenge_method"))
	for _, challenge := range []string{"short", strings.Repeat("a", 129), strings.Repeat("a", 42) + "=", strings.Repeat("a", 42) + "+", strings.Repeat("a", 44)} {
		out = append(out, redir(25, "challenge "+challenge[:5]+fmt.Sprint(len(challenge)), "invalid_request", "code_challenge="+challenge))
	}
	return out
}

// plantedRedirect: a redirect URI that could never be registered, written into the
// database past the registry, is not redirected to, neither with a code nor with
// an error, nor by a step that was begun before.
func plantedRedirect(t *testing.T) {
	e := newEnv(t, uncached)
	for _, planted := range []string{
		"javascript:alert(1)//", "JavaScript://client.example/%0aalert(1)", "data:text/html,x", "vbscript:x", "file:///etc/passwd", "view-source:https://x.example/", "http://client.example/cb", "https://user@client.example/cb", "//client.example/cb", "https://client.example/cb#f",
	} {
		reg := e.register(webClient())
		b := e.browser()
		begun, _ := e.authorizeURL(reg.Client.ClientID)
		action, form := b.formAt(begun, "consent-allow")

		e.exec("UPDATE oauthreg_clients SET data = replace(data, '" + callback + "', '" + planted + "'), revision = revision + 1 WHERE id = '" + reg.Client.ID + "'")
		c, err := e.reg.Get(context.Background(), oauthreg.ByID(reg.Client.ID))
		if err != nil || len(c.RedirectURIs) != 1 || c.RedirectURIs[0] != planted {
			t.Fatalf("it was not planted: %v, %v", c.RedirectURIs, err)
		}
		before := e.rows(t)
		refused := func(what string, a *answer) {
			t.Helper()
			if a.status != http.StatusBadRequest || a.header.Get("Location") != "" || strings.Contains(a.body, planted) {
				t.Errorf("%s, %s: got %d, Location %q\n%s", planted, what, a.status, a.header.Get("Location"), a.body)
			}
		}
		for what, params := range map[string][]string{
			"asked for":                  {"redirect_uri", planted},
			"left out":                   {"redirect_uri", "-"},
			"asked for, with an error":   {"redirect_uri", planted, "response_type", "nonsense"},
			"left out, with an error":    {"redirect_uri", "-", "scope", "nonsense"},
			"asked for, without a page":  {"redirect_uri", planted, "prompt", "none"},
			"asked for, as a form":       {"redirect_uri", planted, "response_mode", "form_post"},
			"the one that was there":     {},
			"the one there, with errors": {"scope", "nonsense"},
		} {
			target, _ := e.authorizeURL(reg.Client.ClientID, params...)
			refused(what, e.browser().do(http.MethodGet, target, nil))
		}
		refused("decided now", b.do(http.MethodPost, action.String(), form))
		if after := e.rows(t); after != before {
			t.Errorf("stored something:\nbefore %s\nafter  %s", before, after)
		}
	}
}

// formAt walks to the page that has an element with this id and returns its form,
// filled in.
func (b *browser) formAt(target, id string) (*url.URL, url.Values) {
	b.e.t.Helper()
	a := b.do(http.MethodGet, target, nil)
	for range 12 {
		if a.location != nil {
			target = a.location.String()
			a = b.do(http.MethodGet, target, nil)
			continue
		}
		action, form, ok := b.fill(target, a)
		if !ok {
			break
		}
		if strings.Contains(a.body, `id="`+id+`"`) {
			return action, form
		}
		target = action.String()
		a = b.do(http.MethodPost, target, form)
	}
	b.e.t.Fatalf("no form with %s: %d %s", id, a.status, a.body)
	return nil, nil
}

// silentRequests: prompt=none is answered without a page, whatever is missing.
func silentRequests(t *testing.T, e *env) {
	known, other := e.register(webClient()), e.register(webClient())
	b := e.browser()
	target, _ := e.authorizeURL(known.Client.ClientID)
	b.walk(target)
	before := e.rows(t)
	target, _ = e.authorizeURL(other.Client.ClientID, "prompt", "none")
	if a := b.do(http.MethodGet, target, nil); a.param("error") != "consent_required" || a.param("iss") != e.issuer {
		t.Errorf("got %d, location %v, want consent_required", a.status, a.location)
	}
	target, _ = e.authorizeURL(known.Client.ClientID, "prompt", "none")
	if a := e.browser().do(http.MethodGet, target, nil); a.param("error") != "login_required" {
		t.Errorf("got %d, location %v, want login_required", a.status, a.location)
	}
	if after := e.rows(t); after != before {
		t.Errorf("stored something:\nbefore %s\nafter  %s", before, after)
	}
	if a := b.do(http.MethodGet, target, nil); a.param("code") == "" {
		t.Errorf("with sign-in and consent: got %d, location %v, want a code", a.status, a.location)
	}
}

// maxAgeZero: whoever just signed in signs in once more (OpenID Connect Core
// §3.1.2.1), and without a page that is login_required.
func maxAgeZero(t *testing.T, e *env) {
	reg := e.register(webClient())
	b := e.browser()
	target, _ := e.authorizeURL(reg.Client.ClientID)
	b.walk(target)
	target, _ = e.authorizeURL(reg.Client.ClientID, "max_age", "0", "prompt", "none")
	if a := b.do(http.MethodGet, target, nil); a.param("error") != "login_required" {
		t.Errorf("got %d, location %v, want login_required", a.status, a.location)
	}
	b.pages = nil
	target, _ = e.authorizeURL(reg.Client.ClientID, "max_age", "0")
	if a := b.walk(target); a.param("code") == "" || len(b.pages) != 1 || !strings.HasSuffix(b.pages[0], "/login") {
		t.Errorf("got %d, location %v, by the pages %v; want a code by way of the sign-in", a.status, a.location, b.pages)
	}
}

// finishedSteps: when the code is out, no step of the way gives another: not the
// return from sign-in, the consent page, the decision, nor the sign-in form.
func finishedSteps(t *testing.T, e *env) {
	reg := e.register(webClient())
	b := e.browser()
	target, _ := e.authorizeURL(reg.Client.ClientID)
	login, loginForm := b.formAt(target, "login-submit")
	signedIn := b.do(http.MethodPost, login.String(), loginForm)
	consentPage := signedIn.location.String()
	resume := e.issuer + "/oauth/authorize/resume?interaction=" + url.QueryEscape(signedIn.param("consent_token"))
	decision, decisionForm := b.formAt(consentPage, "consent-allow")
	if a := b.do(http.MethodPost, decision.String(), decisionForm); a.param("code") == "" {
		t.Fatalf("no code: %d %s", a.status, a.body)
	}
	before := e.rows(t)
	for what, a := range map[string]*answer{
		"the return from sign-in": b.do(http.MethodGet, resume, nil),
		"the consent page":        b.do(http.MethodGet, consentPage, nil),
		"the decision":            b.do(http.MethodPost, decision.String(), decisionForm),
	} {
		if a.status != http.StatusConflict || a.location != nil {
			t.Errorf("%s once more: got %d, location %v, want 409", what, a.status, a.location)
		}
	}
	if after := e.rows(t); after != before {
		t.Errorf("stored something:\nbefore %s\nafter  %s", before, after)
	}
	// Signing in once more is a sign-in; the request stays answered.
	if a := b.do(http.MethodPost, login.String(), loginForm); a.status != http.StatusConflict || a.param("code") != "" {
		t.Errorf("the sign-in once more: got %d, location %v, want 409", a.status, a.location)
	}
}

// authorizeWithoutDatabase: a database that does not answer is a page that says so,
// never an unknown client and never a redirect.
func authorizeWithoutDatabase(t *testing.T) {
	e, store := faultyEnv(t)
	target, _ := e.authorizeURL(e.register(webClient()).Client.ClientID)
	for n := 1; ; n++ {
		store.arm(n, errNoDatabase)
		a := e.browser().do(http.MethodGet, target, nil)
		fired := store.disarm()
		if fired == "" {
			if n == 1 || a.status != http.StatusOK {
				t.Errorf("with a database: got %d, location %v, at the %dth try", a.status, a.location, n)
			}
			return
		}
		if a.status != http.StatusServiceUnavailable || a.header.Get("Location") != "" || a.header.Get("Retry-After") == "" ||
			!strings.Contains(a.body, "temporarily_unavailable") || strings.Contains(a.body, "invalid_client") || !strings.HasPrefix(a.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s fails: got %d, headers %v\n%s", fired, a.status, a.header, a.body)
		}
	}
}
