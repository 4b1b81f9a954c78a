package conformance_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthreg/oauthreg/handlers/conformance"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// exchange is one request with its answer, which a fault may change.
type exchange struct {
	s    *server
	next http.Handler
	req  *http.Request
	form url.Values // the query, and the form body
	// answer is what is sent in the end.
	answer *httptest.ResponseRecorder
}

// A spoiler is what a bad server does. It calls pass, or answers by itself.
type spoiler func(x *exchange)

// pass lets our server answer the request as it is now.
func (x *exchange) pass() {
	x.answer = httptest.NewRecorder()
	x.next.ServeHTTP(x.answer, x.req)
}

// with changes parameters before pass; an empty value takes one away.
func (x *exchange) with(pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		x.form.Del(pairs[i])
		if pairs[i+1] != "" {
			x.form.Set(pairs[i], pairs[i+1])
		}
	}
	if x.req.Method == http.MethodGet {
		x.req.URL.RawQuery = x.form.Encode()
		return
	}
	body := x.form.Encode()
	x.req.URL.RawQuery = ""
	x.req.Body, x.req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
}

// as makes a client the caller.
func (x *exchange) as(reg oauthreg.Registration) {
	x.req.SetBasicAuth(reg.Client.ClientID, reg.Secret)
	x.with()
}

func (x *exchange) by(reg oauthreg.Registration) bool {
	id, _, ok := x.req.BasicAuth()
	return ok && id == reg.Client.ClientID
}

// json answers with a document.
func (x *exchange) json(status int, doc any) {
	x.answer = httptest.NewRecorder()
	x.answer.Header().Set("Content-Type", "application/json")
	x.answer.Header().Set("Cache-Control", "no-store")
	x.answer.WriteHeader(status)
	_ = json.NewEncoder(x.answer).Encode(doc)
}

// redirect answers with a redirect.
func (x *exchange) redirect(to string, pairs ...string) {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	x.answer = httptest.NewRecorder()
	x.answer.Header().Set("Location", to+"?"+q.Encode())
	x.answer.WriteHeader(http.StatusFound)
}

// edit changes the JSON of our server's answer.
func (x *exchange) edit(change func(doc map[string]any)) {
	var doc map[string]any
	if json.Unmarshal(x.answer.Body.Bytes(), &doc) != nil {
		return
	}
	change(doc)
	b, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	x.answer.Body = bytes.NewBuffer(b)
}

// editRedirect changes the parameters of a redirect to the client.
func (x *exchange) editRedirect(change func(q url.Values)) {
	to, err := url.Parse(x.answer.Header().Get("Location"))
	if err != nil || to.Host != "client.example" || to.Path != "/callback" {
		return
	}
	q := to.Query()
	change(q)
	to.RawQuery = q.Encode()
	x.answer.Header().Set("Location", to.String())
}

// spoil puts a spoiler before the requests to paths that end so; an empty one is
// every path.
func spoil(path string, f spoiler) func(s *server, next http.Handler) http.Handler {
	return func(s *server, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !strings.HasSuffix(r.URL.Path, path) {
				next.ServeHTTP(w, r)
				return
			}
			x := &exchange{s: s, next: next, req: r, form: r.URL.Query()}
			if r.Method == http.MethodPost {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return
				}
				r.Body = io.NopCloser(bytes.NewReader(body))
				if form, err := url.ParseQuery(string(body)); err == nil {
					maps.Copy(x.form, form)
				}
			}
			f(x)
			h := w.Header()
			maps.Copy(h, x.answer.Header())
			h.Set("Content-Length", strconv.Itoa(x.answer.Body.Len()))
			w.WriteHeader(x.answer.Code)
			_, _ = w.Write(x.answer.Body.Bytes())
		})
	}
}

// remember makes a spoiler that answers the same parameter a second time like the
// first, without asking our server.
func remember(name string) spoiler {
	var mu sync.Mutex
	known := map[string][]byte{}
	return func(x *exchange) {
		mu.Lock()
		defer mu.Unlock()
		key := x.form.Get(name)
		if body, ok := known[key]; ok && key != "" {
			x.answer = httptest.NewRecorder()
			x.answer.Header().Set("Content-Type", "application/json")
			x.answer.Body.Write(body)
			return
		}
		x.pass()
		if x.answer.Code == http.StatusOK {
			known[key] = bytes.Clone(x.answer.Body.Bytes())
		}
	}
}

// claims signs a token of an answer again, with changed claims.
func (x *exchange) claims(member string, change func(claims map[string]any)) {
	x.edit(func(doc map[string]any) {
		token, _ := doc[member].(string)
		parts := strings.Split(token, ".")
		if len(parts) != 3 {
			return
		}
		var header, claims map[string]any
		for i, into := range []*map[string]any{&header, &claims} {
			raw, err := base64.RawURLEncoding.DecodeString(parts[i])
			if err != nil || json.Unmarshal(raw, into) != nil {
				panic("not a JWT: " + token)
			}
		}
		change(claims)
		for _, k := range signingKeys() {
			if k.KeyID != header["kid"] {
				continue
			}
			key, err := x509.ParsePKCS8PrivateKey(k.Private)
			if err != nil {
				panic(err)
			}
			opts := (&jose.SignerOptions{}).WithHeader("kid", k.KeyID)
			if typ, ok := header["typ"].(string); ok {
				opts = opts.WithType(jose.ContentType(typ))
			}
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(k.Alg), Key: key}, opts)
			if err != nil {
				panic(err)
			}
			payload, err := json.Marshal(claims)
			if err != nil {
				panic(err)
			}
			jws, err := signer.Sign(payload)
			if err != nil {
				panic(err)
			}
			if doc[member], err = jws.CompactSerialize(); err != nil {
				panic(err)
			}
		}
	})
}

// after is a spoiler that changes what our server answered.
func after(f func(x *exchange)) spoiler {
	return func(x *exchange) {
		x.pass()
		f(x)
	}
}

// before is a spoiler that changes what our server is asked.
func before(f func(x *exchange)) spoiler {
	return func(x *exchange) {
		f(x)
		x.pass()
	}
}

// editing is a spoiler of JSON answers.
func editing(change func(doc map[string]any)) spoiler {
	return after(func(x *exchange) { x.edit(change) })
}

// set is an edit of one member.
func set(name string, value any) spoiler {
	return editing(func(doc map[string]any) { doc[name] = value })
}

const (
	authorize = "/oauth/authorize"
	tokenPath = "/oauth/token"
	wellKnown = "/.well-known/oauth-authorization-server"
	openID    = "/.well-known/openid-configuration"
	anyPath   = ""
)

// metadata spoils both documents in the same way.
func metadata(f spoiler) spoiler {
	return func(x *exchange) {
		if p := x.req.URL.Path; p != wellKnown && p != openID {
			x.pass()
			return
		}
		f(x)
	}
}

// Each way of being wrong is found, by the checks that are there for it and by no
// others.
func TestFaults(t *testing.T) {
	tests := []struct {
		name string
		path string
		spoiler
		want   []string
		client func(*server) oauthreg.Registration // nil: web
	}{
		{"another issuer in the metadata", anyPath, metadata(set("issuer", "https://other.example")), []string{"metadata/issuer"}, nil},
		{"an http endpoint", anyPath, metadata(set("device_authorization_endpoint", "http://login.example/device")), []string{"metadata/endpoints"}, nil},
		{"no jwks_uri", anyPath, metadata(editing(func(doc map[string]any) { delete(doc, "jwks_uri") })), []string{"metadata/members"}, nil},
		{"a list that is none", anyPath, metadata(set("ui_locales_supported", "en")), []string{"metadata/members"}, nil},
		{"two metadata documents", wellKnown, set("scopes_supported", []string{"openid"}), []string{"metadata/agree"}, nil},
		{"no S256", anyPath, metadata(editing(func(doc map[string]any) { delete(doc, "code_challenge_methods_supported") })), []string{"metadata/pkce"}, nil},
		{"plain PKCE is offered", anyPath, metadata(set("code_challenge_methods_supported", []string{"S256", "plain"})), []string{"metadata/plain"}, nil},
		{"unsigned assertions", anyPath, metadata(set("token_endpoint_auth_signing_alg_values_supported", []string{"none"})), []string{"metadata/algorithms"}, nil},
		{"the password grant", anyPath, metadata(editing(func(doc map[string]any) {
			doc["grant_types_supported"] = append(doc["grant_types_supported"].([]any), "password")
		})), []string{"metadata/grants"}, nil},

		{"a private key in the JWKS", "/oauth/jwks", editing(func(doc map[string]any) {
			doc["keys"].([]any)[0].(map[string]any)["d"] = "c2VjcmV0"
		}), []string{"jwks/private"}, nil},
		{"a symmetric key in the JWKS", "/oauth/jwks", editing(func(doc map[string]any) {
			doc["keys"] = append(doc["keys"].([]any), map[string]any{"kty": "oct", "kid": "x", "k": "c2VjcmV0"})
		}), []string{"jwks/private", "jwks/keys"}, nil},
		{"a kid twice", "/oauth/jwks", editing(func(doc map[string]any) {
			doc["keys"] = append(doc["keys"].([]any), doc["keys"].([]any)[0])
		}), []string{"jwks/keys"}, nil},

		{"no JWKS", "/oauth/jwks", func(x *exchange) { x.json(http.StatusInternalServerError, nil) }, []string{"jwks/document"}, nil},

		{"redirects to anybody", authorize, func(x *exchange) {
			if x.form.Get("redirect_uri") == "https://attacker.example/callback" && len(x.form["redirect_uri"]) == 1 {
				x.redirect(x.form.Get("redirect_uri"), "error", "invalid_request")
				return
			}
			x.pass()
		}, []string{"authorize/unregistered-redirect"}, nil},
		{"redirects for an unknown client", authorize, func(x *exchange) {
			if strings.HasPrefix(x.form.Get("client_id"), "conformance-") {
				x.redirect(x.form.Get("redirect_uri"), "error", "invalid_client")
				return
			}
			x.pass()
		}, []string{"authorize/unknown-client"}, nil},
		{"compares redirect URIs by prefix", authorize, func(x *exchange) {
			if uri := x.form.Get("redirect_uri"); uri != callback && strings.HasPrefix(uri, callback) && len(x.form["redirect_uri"]) == 1 {
				x.redirect(uri, "error", "invalid_request")
				return
			}
			x.pass()
		}, []string{"authorize/exact-redirect", "authorize/fragment-redirect"}, nil},
		{"goes on after an unknown redirect URI", authorize, before(func(x *exchange) {
			if len(x.form["redirect_uri"]) == 1 && strings.HasPrefix(x.form.Get("redirect_uri"), "https://attacker.example") {
				x.with("redirect_uri", callback)
			}
		}), []string{"authorize/unregistered-redirect"}, nil},
		{"takes the first of two redirect URIs", authorize, func(x *exchange) {
			if len(x.form["redirect_uri"]) > 1 {
				x.redirect(x.form.Get("redirect_uri"), "error", "invalid_request")
				return
			}
			x.pass()
		}, []string{"authorize/repeated-redirect"}, nil},
		{"takes the first of two parameters", authorize, before(func(x *exchange) {
			if len(x.form["code_challenge_method"]) > 1 {
				x.with("code_challenge_method", "S256")
			}
		}), []string{"authorize/repeated-parameter"}, nil},
		{"assumes a response type", authorize, before(func(x *exchange) {
			if !x.form.Has("response_type") {
				x.with("response_type", "code")
			}
		}), []string{"authorize/missing-response-type"}, nil},
		{"takes any response type for code", authorize, before(func(x *exchange) {
			if x.form.Has("response_type") {
				x.with("response_type", "code")
			}
		}), []string{"authorize/unsupported-response-type"}, nil},
		{"drops state", anyPath, after(func(x *exchange) {
			x.editRedirect(func(q url.Values) { q.Del("state") })
		}), []string{"authorize/state", "code/state"}, nil},
		{"changes state", anyPath, after(func(x *exchange) {
			x.editRedirect(func(q url.Values) { q.Set("state", strings.ReplaceAll(q.Get("state"), "+", " ")) })
		}), []string{"authorize/state", "code/state"}, nil},
		{"another iss", anyPath, after(func(x *exchange) {
			x.editRedirect(func(q url.Values) { q.Set("iss", "https://other.example") })
		}), []string{"authorize/iss", "code/iss"}, nil},
		{"a page for prompt=none", authorize, before(func(x *exchange) {
			if x.form.Get("prompt") == "none" {
				x.with("prompt", "")
			}
		}), []string{"authorize/prompt-none"}, nil},
		{"pages that can be framed", anyPath, after(func(x *exchange) {
			x.answer.Header().Del("Content-Security-Policy")
			x.answer.Header().Del("X-Frame-Options")
		}), []string{"authorize/framing"}, nil},
		{"CORS at authorize", authorize, after(func(x *exchange) {
			x.answer.Header().Set("Access-Control-Allow-Origin", "*")
		}), []string{"authorize/cors"}, nil},
		{"does not demand PKCE", authorize, before(func(x *exchange) {
			if !x.form.Has("code_challenge") && x.form.Has("redirect_uri") {
				x.with("code_challenge", strings.Repeat("A", 43), "code_challenge_method", "S256")
			}
		}), []string{"authorize/pkce-missing"}, nil},
		{"ignores PKCE", anyPath, before(func(x *exchange) {
			wellFormed := x.req.Method == http.MethodPost && x.req.URL.RawQuery == "" && len(x.form["grant_type"]) == 1
			if len(x.form["code_challenge_method"]) == 1 && strings.HasSuffix(x.req.URL.Path, authorize) || x.form.Has("code_verifier") && wellFormed {
				x.with("code_challenge", "", "code_challenge_method", "", "code_verifier", "")
			}
		}), []string{"authorize/pkce-plain", "code/wrong-verifier", "code/missing-verifier", "code/survives-wrong-verifier", "code/downgrade"},
			func(s *server) oauthreg.Registration { return s.lax }},
		{"takes a verifier without a challenge", tokenPath, func(x *exchange) {
			x.pass()
			if strings.Contains(x.answer.Body.String(), "had no code_challenge") {
				x.json(http.StatusOK, map[string]any{"access_token": "x", "token_type": "Bearer"})
			}
		}, []string{"code/downgrade"}, func(s *server) oauthreg.Registration { return s.lax }},

		{"takes a wrong secret", tokenPath, before(func(x *exchange) {
			if x.by(x.s.web) && !x.form.Has("client_secret") {
				x.as(x.s.web)
			}
		}), []string{"token/wrong-secret"}, nil},
		{"no challenge", tokenPath, after(func(x *exchange) {
			x.answer.Header().Del("WWW-Authenticate")
		}), []string{"token/wrong-secret", "token/unknown-client", "register/delete"}, nil},
		{"needs no secret", tokenPath, before(func(x *exchange) {
			if x.form.Get("client_id") == x.s.web.Client.ClientID && !x.form.Has("client_secret") {
				x.as(x.s.web)
			}
		}), []string{"token/no-credentials"}, nil},
		{"takes credentials from the query", tokenPath, before(func(x *exchange) {
			if x.req.URL.RawQuery != "" && x.req.Method == http.MethodPost {
				x.with("client_id", "", "client_secret", "")
				x.as(x.s.web)
			}
		}), []string{"token/query-credentials"}, nil},
		{"takes one of two methods", tokenPath, before(func(x *exchange) {
			if x.by(x.s.web) && x.form.Has("client_secret") {
				x.with("client_secret", "")
			}
		}), []string{"token/two-methods"}, nil},
		{"takes the first of two at the token endpoint", tokenPath, before(func(x *exchange) {
			if len(x.form["grant_type"]) > 1 {
				x.with("grant_type", x.form.Get("grant_type"))
			}
		}), []string{"token/repeated-parameter"}, nil},
		{"tokens by GET", tokenPath, before(func(x *exchange) {
			if x.req.Method == http.MethodGet {
				x.req.Method = http.MethodPost
				x.req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				x.with()
			}
		}), []string{"token/get"}, nil},
		{"another error for an unknown grant", tokenPath, after(func(x *exchange) {
			if strings.Contains(x.answer.Body.String(), "unsupported_grant_type") {
				x.edit(func(doc map[string]any) { doc["error"] = "unsupported" })
			}
		}), []string{"token/unsupported-grant"}, nil},
		{"assumes a grant type", tokenPath, before(func(x *exchange) {
			if x.form.Has("code") && !x.form.Has("grant_type") {
				x.with("grant_type", "authorization_code")
			}
		}), []string{"token/missing-grant"}, nil},
		{"another error for an unknown code", tokenPath, after(func(x *exchange) {
			x.edit(func(doc map[string]any) {
				if strings.HasPrefix(x.form.Get("code"), "conformance-") && doc["error"] == "invalid_grant" {
					doc["error"] = "invalid_code"
				}
			})
		}), []string{"token/unknown-code"}, nil},
		{"another error for an unknown refresh token", tokenPath, after(func(x *exchange) {
			x.edit(func(doc map[string]any) {
				if strings.HasPrefix(x.form.Get("refresh_token"), "conformance-") && doc["error"] == "invalid_grant" {
					doc["error"] = "invalid_token"
				}
			})
		}), []string{"token/unknown-refresh-token"}, nil},
		{"tokens in caches", tokenPath, after(func(x *exchange) {
			x.answer.Header().Set("Cache-Control", "private, max-age=60")
		}), []string{"code/no-store", "client-credentials/token"}, nil},
		{"another token type", tokenPath, after(func(x *exchange) {
			x.edit(func(doc map[string]any) {
				if doc["access_token"] != nil && x.form.Get("grant_type") == "authorization_code" {
					doc["token_type"] = "mac"
				}
			})
		}), []string{"code/token-type"}, nil},
		{"any scope for machines", tokenPath, func(x *exchange) {
			asked := x.form.Get("scope")
			if x.form.Get("grant_type") != "client_credentials" || asked == "" {
				x.pass()
				return
			}
			x.with("scope", "")
			x.pass()
			x.edit(func(doc map[string]any) { doc["scope"] = asked })
		}, []string{"client-credentials/scope"}, nil},
		{"refresh tokens for machines", tokenPath, after(func(x *exchange) {
			x.edit(func(doc map[string]any) {
				if x.form.Get("grant_type") == "client_credentials" && doc["access_token"] != nil {
					doc["refresh_token"] = "x"
				}
			})
		}), []string{"client-credentials/no-refresh"}, nil},

		{"tokens for public clients", tokenPath, before(func(x *exchange) {
			if x.form.Get("client_id") == x.s.public.Client.ClientID && x.form.Get("grant_type") == "client_credentials" {
				x.with("client_id", "")
				x.as(x.s.machine)
			}
		}), []string{"client-credentials/public"}, func(s *server) oauthreg.Registration { return s.public }},

		{"a code works again", tokenPath, remember("code"), []string{"code/replay", "code/race", "code/replay-revokes"}, nil},
		{"a try burns the code", tokenPath, func() spoiler {
			var mu sync.Mutex
			tried := map[string]bool{}
			return func(x *exchange) {
				mu.Lock()
				defer mu.Unlock()
				if code := x.form.Get("code"); tried[code] && code != "" {
					x.json(http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
					return
				} else if code != "" {
					tried[code] = true
				}
				x.pass()
			}
		}(), []string{"code/replay-revokes", "code/survives-wrong-verifier"}, nil},
		{"any redirect URI at the token endpoint", tokenPath, before(func(x *exchange) {
			if x.form.Get("grant_type") == "authorization_code" && len(x.form["grant_type"]) == 1 && x.req.URL.RawQuery == "" &&
				x.req.Method == http.MethodPost && x.by(x.s.web) {
				x.with("redirect_uri", callback)
			}
		}), []string{"code/wrong-redirect", "code/missing-redirect"}, nil},
		{"anybody's code and refresh token", tokenPath, before(func(x *exchange) {
			if x.by(x.s.other) {
				x.as(x.s.web)
			}
		}), []string{"code/other-client", "refresh/other-client"}, nil},

		{"a broken signature", tokenPath, editing(func(doc map[string]any) {
			if token, ok := doc["id_token"].(string); ok {
				doc["id_token"] = token[:len(token)-10] + "AAAAAAAAAA"
			}
		}), []string{"id-token/signature"}, nil},
		{"an expired id_token", tokenPath, after(func(x *exchange) {
			x.claims("id_token", func(claims map[string]any) { claims["exp"] = 1 })
		}), []string{"id-token/claims"}, nil},
		{"another nonce", authorize, before(func(x *exchange) {
			if x.form.Has("nonce") && len(x.form["code_challenge_method"]) < 2 && len(x.form["redirect_uri"]) < 2 {
				x.with("nonce", "another")
			}
		}), []string{"id-token/nonce"}, nil},
		{"another at_hash", tokenPath, after(func(x *exchange) {
			x.claims("id_token", func(claims map[string]any) { claims["at_hash"] = "x" })
		}), []string{"id-token/at-hash"}, nil},
		{"no auth_time", tokenPath, after(func(x *exchange) {
			x.claims("id_token", func(claims map[string]any) { delete(claims, "auth_time") })
		}), []string{"id-token/auth-time"}, nil},
		{"a JWT access token without client", tokenPath, after(func(x *exchange) {
			x.claims("access_token", func(claims map[string]any) { delete(claims, "client_id") })
		}), []string{"access-token/jwt"}, nil},

		{"anybody may introspect", "/oauth/introspect", func(x *exchange) {
			if x.pass(); x.answer.Code >= 400 {
				x.json(http.StatusOK, map[string]any{"active": false})
			}
		}, []string{"introspection/auth"}, nil},
		{"tells about inactive tokens", "/oauth/introspect", editing(func(doc map[string]any) {
			if doc["active"] == false {
				doc["client_id"] = "x"
			}
		}), []string{"introspection/unknown", "revocation/access-token"}, nil},
		{"everything is active", "/oauth/introspect", set("active", true),
			[]string{"introspection/unknown", "revocation/access-token", "revocation/cascade", "code/replay-revokes"}, nil},
		{"nothing is active", "/oauth/introspect", set("active", false), []string{"introspection/active"}, nil},

		{"userinfo without a challenge", "/oauth/userinfo", after(func(x *exchange) {
			x.answer.Header().Del("WWW-Authenticate")
		}), []string{"userinfo/challenge", "userinfo/invalid-token"}, nil},
		{"another sub", "/oauth/userinfo", set("sub", "mallory"), []string{"userinfo/subject"}, nil},
		{"a token in the query", "/oauth/userinfo", before(func(x *exchange) {
			if token := x.form.Get("access_token"); token != "" {
				x.with("access_token", "")
				x.req.Header.Set("Authorization", "Bearer "+token)
			}
		}), []string{"userinfo/query-token"}, nil},

		{"no rotation for a public client", tokenPath, after(func(x *exchange) {
			x.edit(func(doc map[string]any) {
				if x.form.Get("grant_type") == "refresh_token" {
					delete(doc, "refresh_token")
				}
			})
		}), []string{"refresh/rotation"}, func(s *server) oauthreg.Registration { return s.public }},
		{"a refresh token works again", tokenPath, remember("refresh_token"), []string{"refresh/replay"}, nil},
		{"refuses every refresh", tokenPath, func(x *exchange) {
			if x.form.Get("grant_type") == "refresh_token" {
				x.json(http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
				return
			}
			x.pass()
		}, []string{"refresh/flow"}, nil},
		{"a replay ends nothing", tokenPath, func() spoiler {
			var mu sync.Mutex
			used := map[string]bool{}
			return func(x *exchange) {
				mu.Lock()
				defer mu.Unlock()
				token := x.form.Get("refresh_token")
				if used[token] {
					x.json(http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
					return
				}
				if x.pass(); token != "" && x.answer.Code == http.StatusOK {
					used[token] = true
				}
			}
		}(), []string{"refresh/replay-revokes"}, nil},
		{"a wider scope", tokenPath, func(x *exchange) {
			asked := x.form.Get("scope")
			if x.form.Get("grant_type") != "refresh_token" || asked == "" {
				x.pass()
				return
			}
			x.with("scope", "")
			x.pass()
			x.edit(func(doc map[string]any) { doc["scope"] = asked })
		}, []string{"refresh/widen"}, nil},
		{"the scope stays", tokenPath, before(func(x *exchange) {
			if x.form.Get("grant_type") == "refresh_token" && x.form.Get("scope") == "openid offline_access" {
				x.with("scope", "")
			}
		}), []string{"refresh/narrow"}, nil},

		{"revokes nothing", "/oauth/revoke", func(x *exchange) { x.json(http.StatusOK, map[string]any{}) },
			[]string{"revocation/auth", "revocation/access-token", "revocation/refresh-token", "revocation/cascade"}, nil},
		{"complains of unknown tokens", "/oauth/revoke", func(x *exchange) {
			if x.pass(); x.answer.Code == http.StatusOK && strings.HasPrefix(x.form.Get("token"), "conformance-") {
				x.json(http.StatusBadRequest, map[string]any{"error": "invalid_request"})
			}
		}, []string{"revocation/unknown"}, nil},
		{"anybody may revoke", "/oauth/revoke", before(func(x *exchange) {
			if x.by(x.s.other) {
				x.as(x.s.web)
			}
		}), []string{"revocation/other-client"}, nil},

		{"ignores resources", anyPath, before(func(x *exchange) {
			if x.form.Has("resource") {
				x.with("resource", "")
			}
		}), []string{"resource/audience", "resource/unknown", "resource/malformed"}, nil},

		{"registers script", "/oauth/register", accept("javascript:"), []string{"register/script"}, nil},
		{"registers fragments", "/oauth/register", accept("#fragment"), []string{"register/fragment"}, nil},
		{"registers relative URIs", "/oauth/register", accept(`["/callback"]`), []string{"register/relative"}, nil},
		{"registers http", "/oauth/register", accept(`"http://conformance.example`), []string{"register/http"}, nil},
		{"registers two key sets", "/oauth/register", accept(`"jwks_uri"`), []string{"register/jwks"}, nil},
		{"registers patterns", anyPath, func(x *exchange) {
			switch {
			case x.form.Get("client_id") == "accepted":
				x.redirect(x.form.Get("redirect_uri"), "error", "login_required")
			case strings.HasSuffix(x.req.URL.Path, "/oauth/register"):
				accept("https://*")(x)
			default:
				x.pass()
			}
		}, []string{"register/wildcard"}, nil},
		{"does not say what was registered", "/oauth/register", editing(func(doc map[string]any) { delete(doc, "redirect_uris") }), []string{"register/echo"}, nil},
		{"credentials in caches", "/oauth/register", after(func(x *exchange) { x.answer.Header().Del("Cache-Control") }), []string{"register/no-store"}, nil},
		{"anybody may read a registration", anyPath, func(x *exchange) {
			if strings.Contains(x.req.URL.Path, "/oauth/register/") && x.req.Header.Get("Authorization") == "" {
				x.json(http.StatusOK, map[string]any{"client_id": "x"})
				return
			}
			x.pass()
		}, []string{"register/read-auth"}, nil},
		{"reads what is not JSON", "/oauth/register", accept(`{"redirect_uris":`), []string{"register/malformed"}, nil},
		{"another client's registration", anyPath, after(func(x *exchange) {
			if x.req.Method == http.MethodGet && strings.Contains(x.req.URL.Path, "/oauth/register/") {
				x.edit(func(doc map[string]any) { doc["client_id"] = "another" })
			}
		}), []string{"register/read"}, nil},
		{"updates nothing", anyPath, after(func(x *exchange) {
			if x.req.Method == http.MethodPut {
				x.edit(func(doc map[string]any) { doc["client_name"] = "Conformance check" })
			}
		}), []string{"register/update"}, nil},
		{"deletes nothing", anyPath, func(x *exchange) {
			if x.req.Method == http.MethodDelete {
				x.json(http.StatusNoContent, nil)
				x.answer.Body.Reset()
				return
			}
			x.pass()
		}, []string{"register/delete"}, nil},

		{"signs out to anybody", "/oauth/logout", func(x *exchange) {
			if uri := x.form.Get("post_logout_redirect_uri"); strings.Contains(uri, "attacker") {
				x.redirect(uri)
				return
			}
			x.pass()
		}, []string{"logout/unregistered"}, nil},
		{"signs out without state", "/oauth/logout", before(func(x *exchange) { x.with("state", "") }), []string{"logout/redirect"}, nil},

		{"the user's cookies for everybody", "/oauth/userinfo", after(func(x *exchange) {
			x.answer.Header().Set("Access-Control-Allow-Origin", "https://conformance.example")
			x.answer.Header().Set("Access-Control-Allow-Credentials", "true")
		}), []string{"cors/endpoints"}, nil},
	}
	var found []string
	for _, tt := range tests {
		found = append(found, tt.want...)
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, "", spoil(tt.path, tt.spoiler))
			reg := s.web
			if tt.client != nil {
				reg = tt.client(s)
			}
			cfg := s.config(reg)
			if !slices.ContainsFunc(tt.want, func(name string) bool { return strings.HasPrefix(name, "register/") }) {
				cfg.Register = nil
			}
			cfg.Only = nearby(tt.path, tt.want)
			report, err := conformance.Run(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			// Reports end in logs: a failure quotes no credential.
			for _, secret := range []string{s.web.Secret, s.other.Secret, s.machine.Secret, "wonderland", "oat_", "ort_", "eyJ"} {
				if strings.Contains(text(t, report), secret) {
					t.Errorf("the report has the credential %s...", secret[:3])
				}
			}
			got := names(report, conformance.Fail)
			want := slices.Clone(tt.want)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				for _, res := range report.Results {
					if res.Outcome == conformance.Fail {
						t.Logf("%s: %s", res.Name, res.Detail)
					}
				}
				t.Errorf("failed: %q, want %q", got, want)
			}
		})
	}
	for _, c := range conformance.Checks() {
		if !slices.Contains(found, c.Name) && !slices.Contains(unspoiled, c.Name) {
			t.Errorf("no fault shows that %s can fail", c.Name)
		}
	}
}

// nearby are the checks to run for a fault: all of them, unless it is at an
// endpoint that the others do not use.
func nearby(path string, want []string) []string {
	switch path {
	case "/oauth/register":
		return []string{"metadata", "register"}
	case "/oauth/userinfo":
		return []string{"metadata", "code/flow", "id-token", "userinfo", "cors"}
	case "/oauth/logout":
		return []string{"metadata", "code/flow", "id-token", "logout"}
	}
	if strings.HasPrefix(want[0], "metadata/") {
		return []string{"metadata", "jwks", "authorize", "token", "code/flow", "code/replay", "register"}
	}
	if strings.HasPrefix(want[0], "register/") {
		return []string{"metadata", "authorize", "token", "register"}
	}
	return nil
}

// unspoiled are checks whose failing other tests show, or that a fault in the
// way of our server cannot bring about alone.
var unspoiled = []string{
	"metadata/document",                       // TestNoServer
	"code/flow",                               // TestBrowserFails
	"resource/metadata", "resource/challenge", // TestResourceFaults
}

// A resource that does not lead to its authorization server.
func TestResourceFaults(t *testing.T) {
	s := newServer(t, "", nil)
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="api"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"resource": "https://another.example", "authorization_servers": []string{s.issuer}})
	}))
	defer ts.Close()
	report, err := conformance.Run(t.Context(), conformance.Config{
		Issuer: s.issuer, Resource: ts.URL + "/api", Only: []string{"resource/metadata", "resource/challenge"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := names(report, conformance.Fail); !slices.Equal(got, []string{"resource/metadata", "resource/challenge"}) {
		t.Errorf("failed: %q\n%s", got, text(t, report))
	}
}

// accept is a spoiler that registers whatever has the text in it.
func accept(text string) spoiler {
	return func(x *exchange) {
		body, err := io.ReadAll(x.req.Body)
		if err != nil {
			panic(err)
		}
		x.req.Body = io.NopCloser(bytes.NewReader(body))
		if bytes.Contains(body, []byte(text)) {
			x.json(http.StatusCreated, map[string]any{"client_id": "accepted"})
			return
		}
		x.pass()
	}
}
