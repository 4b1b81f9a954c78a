package handlers_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// posted is the form of a page that posts an answer to a client.
func posted(t *testing.T, a *answer) (target string, form url.Values) {
	t.Helper()
	page, err := html.Parse(strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	form = url.Values{}
	for n := range page.Descendants() {
		switch n.Data {
		case "form":
			target = attr(n, "action")
		case "input":
			form.Add(attr(n, "name"), attr(n, "value"))
		}
	}
	if target == "" {
		t.Fatalf("not a page with a form: %d %s", a.status, a.body)
	}
	return target, form
}

func TestFormPost(t *testing.T) {
	for _, base := range []string{"", "/auth/tenant"} {
		e := openIDEnv(t, base)
		reg := e.register(webClient())
		const state = `s"><script>alert(1)</script>&x=1`
		target, verifier := e.authorizeURL(reg.Client.ClientID, "response_mode", "form_post", "state", state)
		a := e.browser().walk(target)
		to, form := posted(t, a)
		if to != callback || form.Get("state") != state || form.Get("iss") != e.issuer || len(form) != 3 {
			t.Errorf("posts %v to %s", form, to)
		}
		e.redeem(reg, form.Get("code"), verifier).wantOK(t)

		// The page runs one script, the one whose digest its policy has.
		_, rest, _ := strings.Cut(a.body, "<script>")
		script, _, _ := strings.Cut(rest, "</script>")
		sum := sha256.Sum256([]byte(script))
		csp := a.header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "script-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") ||
			!strings.Contains(csp, "form-action 'self' https:") || strings.Contains(csp, "unsafe") || strings.Count(a.body, "<script") != 1 {
			t.Errorf("policy %s\n%s", csp, a.body)
		}
		if !strings.Contains(a.body, `<button type="submit">`) || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("no button for browsers without scripts: %s", a.body)
		}

		// Errors go the same way.
		for params, code := range map[string]string{"prompt none": "login_required", "scope admin": "invalid_scope", "max_age x": "invalid_request"} {
			name, value, _ := strings.Cut(params, " ")
			target, _ := e.authorizeURL(reg.Client.ClientID, "response_mode", "form_post", name, value)
			if to, form := posted(t, e.browser().walk(target)); to != callback || form.Get("error") != code || form.Get("state") == "" || form.Get("iss") != e.issuer {
				t.Errorf("%s: posts %v to %s", params, form, to)
			}
		}
		b := e.browser()
		b.deny = true
		target, _ = e.authorizeURL(e.register(webClient()).Client.ClientID, "response_mode", "form_post")
		if _, form := posted(t, b.walk(target)); form.Get("error") != "access_denied" {
			t.Errorf("posts %v", form)
		}
	}

	e := openIDEnv(t, "")
	t.Run("the address of the page", func(t *testing.T) {
		reg := e.register(webClient())
		target, _ := e.authorizeURL(reg.Client.ClientID, "response_mode", "form_post", "prompt", "none")
		b := e.browser()
		page := b.do("GET", target, nil).location.String()
		if strings.Contains(page, "login_required") {
			t.Errorf("the answer stands in the URL in clear: %s", page)
		}
		wantPage(t, e, http.StatusBadRequest, "invalid_request", page[:len(page)-6]+"AAAAAA")
		wantPage(t, e, http.StatusBadRequest, "invalid_request", e.issuer+"/oauth/authorize/answer")
		e.clock.add(6 * time.Minute)
		wantPage(t, e, http.StatusBadRequest, "invalid_request", page)
	})
	t.Run("an app's scheme", func(t *testing.T) {
		reg := e.register(with(publicClient(), func(c *oauthreg.Client) { c.RedirectURIs = []string{"com.example.app:/cb"} }))
		target, _ := e.authorizeURL(reg.Client.ClientID, "response_mode", "form_post", "redirect_uri", "com.example.app:/cb")
		if to, _ := posted(t, e.browser().walk(target)); to != "com.example.app:/cb" {
			t.Errorf("posts to %s", to)
		}
	})
	t.Run("modes that a code does not go by", func(t *testing.T) {
		reg := e.register(webClient())
		for _, mode := range []string{"fragment", "web_message", "jwt", "QUERY"} {
			wantRedirectError(t, e, reg, "invalid_request", "response_mode", mode)
		}
		wantCode(t, e, reg, "response_mode", "query")
	})
}

// A request that another site posts has none of our cookies; sent on as a GET it
// finds the session.
func TestCrossSitePost(t *testing.T) {
	e := openIDEnv(t, "")
	reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.FirstParty = true }))
	b := e.browser()
	target, _ := e.authorizeURL(reg.Client.ClientID)
	b.walk(target)
	u := must(url.Parse(target))
	req := must(http.NewRequest(http.MethodPost, e.issuer+"/oauth/authorize", strings.NewReader(u.RawQuery+"&prompt=none")))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "https://client.example")
	resp, err := (&http.Client{Transport: b.client.Transport, CheckRedirect: b.client.CheckRedirect}).Do(req) // without cookies
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("status %d", resp.StatusCode)
	}
	if a := b.walk(must(resp.Location()).String()); a.param("code") == "" {
		t.Errorf("location %v", a.location)
	}
	// From our own page, or from a program, it is answered as it is.
	if a := b.do(http.MethodPost, e.issuer+"/oauth/authorize", u.Query()); a.param("code") == "" {
		t.Errorf("location %v", a.location)
	}
}

// The implicit and hybrid response types, for servers that switch them on.
func TestImplicit(t *testing.T) {
	on := func(c *handlers.Config) { c.Implicit = true }
	e := openIDEnv(t, "", on)
	e.reg = must(oauthreg.NewRegistry(oauthreg.Config{Store: e.store, SecretKey: testSecret, Now: e.clock.Now, Implicit: true}))
	all := []string{"code", "id_token", "id_token token", "token", "code id_token", "code token", "code id_token token"}
	reg := e.register(with(openIDClient(), func(c *oauthreg.Client) {
		c.GrantTypes = append(c.GrantTypes, oauthreg.GrantImplicit)
		c.ResponseTypes = all
	}))
	for _, rt := range append(all[1:], "token id_token", "id_token code") {
		for _, mode := range []string{"", "form_post"} {
			t.Run(rt+" "+mode, func(t *testing.T) {
				params := []string{"response_type", rt, "scope", "openid email", "nonce", "n-1"}
				if mode != "" {
					params = append(params, "response_mode", mode)
				}
				target, verifier := e.authorizeURL(reg.Client.ClientID, params...)
				a := e.browser().walk(target)
				var form url.Values
				if mode != "" {
					_, form = posted(t, a)
				} else {
					if a.location == nil || a.location.RawQuery != "" {
						t.Fatalf("location %v\n%s", a.location, a.body)
					}
					form = must(url.ParseQuery(a.location.Fragment))
				}
				words := strings.Fields(rt)
				for name, want := range map[string]bool{"code": slices.Contains(words, "code"), "access_token": slices.Contains(words, "token"), "id_token": slices.Contains(words, "id_token")} {
					if form.Has(name) != want {
						t.Errorf("%s: %v, want %v", name, form.Has(name), want)
					}
				}
				if form.Get("iss") != e.issuer || form.Get("state") == "" {
					t.Errorf("got %v", form)
				}
				if token := form.Get("access_token"); token != "" {
					if form.Get("token_type") != "Bearer" || form.Get("expires_in") != "3600" || e.userinfo(token).str("email") == "" {
						t.Errorf("got %v, userinfo %s", form, e.userinfo(token).raw)
					}
				}
				if id := form.Get("id_token"); id != "" {
					_, claims := decodeJWT(t, id)
					if claims["nonce"] != "n-1" || (claims["at_hash"] != nil) != form.Has("access_token") || (claims["c_hash"] != nil) != form.Has("code") {
						t.Errorf("claims %v", claims)
					}
					if alone := rt == "id_token"; (claims["email"] != nil) != alone {
						t.Errorf("claims of the user are for ID tokens that come alone: %v", claims)
					}
					if code := form.Get("code"); code != "" {
						sum := sha256.Sum256([]byte(code))
						if claims["c_hash"] != base64.RawURLEncoding.EncodeToString(sum[:16]) {
							t.Errorf("c_hash %v", claims["c_hash"])
						}
					}
				}
				if code := form.Get("code"); code != "" {
					e.redeem(reg, code, verifier).wantOK(t)
				}
			})
		}
	}
	fragmentError := func(t *testing.T, want string, params ...string) {
		t.Helper()
		target, _ := e.authorizeURL(reg.Client.ClientID, params...)
		a := e.browser().walk(target)
		if a.location == nil {
			t.Fatalf("a page: %s", a.body)
		}
		if form := must(url.ParseQuery(a.location.Fragment)); form.Get("error") != want || a.location.RawQuery != "" {
			t.Errorf("%v: got %v, want %s in the fragment", params, a.location, want)
		}
	}
	t.Run("refusals", func(t *testing.T) {
		fragmentError(t, "invalid_request", "response_type", "id_token", "scope", "openid") // no nonce
		fragmentError(t, "invalid_scope", "response_type", "id_token", "scope", "read", "nonce", "n")
		fragmentError(t, "invalid_request", "response_type", "token", "response_mode", "query")
		fragmentError(t, "login_required", "response_type", "token", "prompt", "none")
		plain := e.register(webClient())
		target, _ := e.authorizeURL(plain.Client.ClientID, "response_type", "token")
		if a := e.browser().walk(target); !strings.Contains(a.location.Fragment, "unauthorized_client") {
			t.Errorf("location %v", a.location)
		}
	})
	t.Run("a browser-only client needs no PKCE for what has no code", func(t *testing.T) {
		spa := e.register(with(publicClient(), func(c *oauthreg.Client) {
			c.GrantTypes, c.ResponseTypes = []string{oauthreg.GrantImplicit}, []string{"id_token token", "token", "id_token"}
		}))
		target, _ := e.authorizeURL(spa.Client.ClientID, "response_type", "token", "code_challenge", "-", "code_challenge_method", "-")
		if a := e.browser().walk(target); !strings.Contains(a.location.Fragment, "access_token=") {
			t.Errorf("location %v", a.location)
		}
	})
	t.Run("off", func(t *testing.T) {
		off := newEnv(t, envOptions{file: e.file})
		for _, rt := range all[1:] {
			wantRedirectError(t, off, reg, "unsupported_response_type", "response_type", rt, "nonce", "n")
		}
	})
}

// A real browser runs the one script that the policy allows, and posts.
func TestFormPostInChromium(t *testing.T) {
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	got := make(chan url.Values, 1)
	rp := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.ParseForm() == nil {
			select {
			case got <- r.PostForm:
			default:
			}
		}
	}))
	t.Cleanup(rp.Close)
	e := openIDEnv(t, "/tenant")
	reg := e.register(with(publicClient(), func(c *oauthreg.Client) { c.RedirectURIs = []string{"http://127.0.0.1/cb"} }))
	target, _ := e.authorizeURL(reg.Client.ClientID, "redirect_uri", rp.URL+"/cb", "response_mode", "form_post", "prompt", "none")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors", "--user-data-dir="+t.TempDir(), "--dump-dom", target)
	out, err := cmd.CombinedOutput()
	select {
	case form := <-got:
		if form.Get("error") != "login_required" || form.Get("iss") != e.issuer || form.Get("state") != "st-"+reg.Client.ClientID {
			t.Errorf("posted %v", form)
		}
	default:
		t.Errorf("nothing was posted: %v\n%s", err, out)
	}
}
