package handlers_test

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// Client ID metadata documents (draft-ietf-oauth-client-id-metadata-document).
// The numbers in the names of tests are those of the table of bad requests.

// documentHost is example.com, as far as the server under test can tell.
type documentHost struct {
	t       testing.TB
	port    string
	cas     *x509.CertPool
	fetches atomic.Int32

	mu     sync.Mutex
	answer http.HandlerFunc
}

func newDocumentHost(t testing.TB) *documentHost {
	t.Helper()
	h := &documentHost{t: t, cas: x509.NewCertPool()}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.fetches.Add(1)
		h.mu.Lock()
		answer := h.answer
		h.mu.Unlock()
		answer(w, r)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are expected
	srv.StartTLS()
	t.Cleanup(srv.Close)
	h.cas.AddCert(srv.Certificate())
	_, h.port, _ = net.SplitHostPort(srv.Listener.Addr().String())
	h.serve("", nil)
	return h
}

// at is the URL of a path on example.com.
func (h *documentHost) at(path string) string { return "https://example.com:" + h.port + path }

// outbound reaches the host by its name, and nothing else.
func (h *documentHost) outbound() *http.Client {
	return handlers.NewOutboundResolving(handlers.OutboundConfig{Private: true, CAs: h.cas, Timeout: 3 * time.Second}, func(name string) []netip.Addr {
		if name == "example.com" {
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		}
		return nil
	})
}

func (h *documentHost) set(answer http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answer = answer
}

// document is what a good client says at a URL; change replaces members, nil
// removes them.
func document(at string, change map[string]any) map[string]any {
	doc := map[string]any{
		"client_id": at, "client_name": "Editor", "redirect_uris": []string{callback},
		"grant_types": []string{"authorization_code", "refresh_token"}, "token_endpoint_auth_method": "none",
	}
	maps.Copy(doc, change)
	maps.DeleteFunc(doc, func(_ string, v any) bool { return v == nil })
	return doc
}

// serve answers every path with the document of a client at that path.
func (h *documentHost) serve(cacheControl string, change map[string]any) {
	h.set(func(w http.ResponseWriter, r *http.Request) {
		if cacheControl != "" {
			w.Header().Set("Cache-Control", cacheControl)
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(document(h.at(r.URL.Path), change))
	})
}

// write answers with these bytes.
func (h *documentHost) write(contentType, body string) {
	h.set(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = io.WriteString(w, body)
	})
}

func (h *documentHost) fail(status int) {
	h.set(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
}

func (h *documentHost) wantFetches(t testing.TB, want int32) {
	t.Helper()
	if got := h.fetches.Load(); got != want {
		t.Errorf("got %d fetches so far, want %d", got, want)
	}
}

// documentEnv is a server that takes the host's documents.
func documentEnv(t testing.TB, opts envOptions) (*env, *documentHost) {
	t.Helper()
	h := newDocumentHost(t)
	more := opts.config
	opts.config = func(c *handlers.Config) {
		c.ClientMetadataDocuments.Enabled = true
		c.Outbound = h.outbound()
		c.Scopes = append(c.Scopes, handlers.Scope{Name: "admin"})
		if more != nil {
			more(c)
		}
	}
	return newEnv(t, opts), h
}

// asPublic is what the tests' helpers need to know of a client that authenticates
// by none.
func asPublic(clientID string) oauthreg.Registration {
	return oauthreg.Registration{Client: oauthreg.Client{ClientID: clientID, TokenEndpointAuthMethod: oauthreg.AuthNone}}
}

// wantPage wants an error page and nothing redirected, for a request of the client.
func (e *env) wantDocumentPage(t *testing.T, clientID string, status int, code string) *answer {
	t.Helper()
	target, _ := e.authorizeURL(clientID)
	a := e.browser().do("GET", target, nil)
	if a.status != status || a.location != nil || !strings.Contains(a.body, code) {
		t.Errorf("%s: got status %d, location %v, want a page with %d %s\n%s", clientID, a.status, a.location, status, code, a.body)
	}
	return a
}

// wantNoClients wants that nothing was written to the clients.
func (e *env) wantNoClients(t *testing.T) {
	t.Helper()
	page, err := e.reg.List(t.Context(), oauthreg.ListQuery{Count: true})
	if err != nil || page.Total != 0 {
		t.Errorf("there are %d clients (%v), want none", page.Total, err)
	}
}

func TestClientMetadataDocument(t *testing.T) {
	e, h := documentEnv(t, envOptions{})
	id := h.at("/editor")
	reg := asPublic(id)

	b := e.browser()
	target, verifier := e.authorizeURL(id)
	a := b.walk(target)
	if a.param("code") == "" || a.param("iss") != e.issuer {
		t.Fatalf("status %d, location %v\n%s", a.status, a.location, a.body)
	}
	tokens := e.redeem(reg, a.param("code"), verifier)
	tokens.wantOK(t)
	if got := tokens.str("scope"); strings.Contains(got, "admin") || !strings.Contains(got, "read") {
		t.Errorf("scope is %q", got)
	}
	refreshed := e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"))
	refreshed.wantOK(t)
	h.wantFetches(t, 1)

	t.Run("is registered", func(t *testing.T) {
		c, err := e.reg.Get(t.Context(), oauthreg.ByClientID(id))
		if err != nil {
			t.Fatal(err)
		}
		if !c.HasMetadataDocument() || !c.SelfRegistered || !c.RequirePKCE || c.Verified || c.FirstParty || !c.IsPublic() || c.Name != "Editor" {
			t.Errorf("got %+v", c)
		}
		records, err := e.reg.Audit(t.Context(), oauthreg.AuditQuery{ClientID: c.ID})
		if err != nil || len(records) != 1 || records[0].Action != "client.registered" || records[0].Actor.ID != id || records[0].Actor.Kind != "client" {
			t.Errorf("audit: %+v, %v", records, err)
		}
	})
	t.Run("consent is remembered", func(t *testing.T) {
		pages := len(b.pages)
		target, _ := e.authorizeURL(id)
		if a := b.walk(target); a.param("code") == "" || len(b.pages) != pages {
			t.Errorf("location %v after %v", a.location, b.pages)
		}
	})
	t.Run("introspection and revocation", func(t *testing.T) {
		rs := e.register(with(webClient(), func(c *oauthreg.Client) { c.ResourceServer = []string{e.issuer + "/api"} }))
		withAudience := e.tokens(asPublic(id), "resource", e.issuer+"/api")
		a := e.authenticated("/oauth/introspect", rs, "token", withAudience.str("access_token"))
		if a.body["active"] != true || a.str("client_id") != id {
			t.Errorf("got %s", a.raw)
		}
		if a := e.authenticated("/oauth/revoke", reg, "token", withAudience.str("refresh_token")); a.status != 200 {
			t.Errorf("got %d %s", a.status, a.raw)
		}
		if a := e.authenticated("/oauth/introspect", rs, "token", withAudience.str("access_token")); a.body["active"] != false {
			t.Errorf("after revocation: %s", a.raw)
		}
	})
	t.Run("apps page", func(t *testing.T) {
		if a := b.do("GET", e.issuer+"/account", nil); a.status != 200 || !strings.Contains(a.body, "Editor") {
			t.Errorf("got %d\n%s", a.status, a.body)
		}
	})
	t.Run("PKCE always", func(t *testing.T) {
		target, _ := e.authorizeURL(id, "code_challenge", "-", "code_challenge_method", "-")
		if a := e.browser().do("GET", target, nil); a.param("error") != "invalid_request" {
			t.Errorf("location %v", a.location)
		}
	})
	t.Run("client_credentials never", func(t *testing.T) {
		e.tokenRequest(reg, "grant_type", "client_credentials").wantError(t, 400, "unauthorized_client")
	})
	t.Run("suspended", func(t *testing.T) {
		if _, err := e.reg.Suspend(t.Context(), oauthreg.ByClientID(id)); err != nil {
			t.Fatal(err)
		}
		before := h.fetches.Load()
		e.clock.add(48 * time.Hour)
		e.wantDocumentPage(t, id, 400, "invalid_client")
		e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", refreshed.str("refresh_token")).wantError(t, 401, "invalid_client")
		h.wantFetches(t, before)
		if _, err := e.reg.Resume(t.Context(), oauthreg.ByClientID(id)); err != nil {
			t.Fatal(err)
		}
		e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", refreshed.str("refresh_token")).wantOK(t)
	})
}

func TestClientMetadataDocumentAdvertised(t *testing.T) {
	on, h := documentEnv(t, envOptions{})
	off := newEnv(t, envOptions{config: func(c *handlers.Config) { c.Outbound = h.outbound() }})
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		if _, doc := on.get(on.issuer + path); !strings.Contains(doc, `"client_id_metadata_document_supported":true`) {
			t.Errorf("on: %s is %s", path, doc)
		}
		if _, doc := off.get(off.issuer + path); strings.Contains(doc, "client_id_metadata_document") {
			t.Errorf("off: %s is %s", path, doc)
		}
	}
	off.wantDocumentPage(t, h.at("/editor"), 400, "invalid_client")
	h.wantFetches(t, 0)
}

func TestClientMetadataDocument138URL(t *testing.T) {
	e, h := documentEnv(t, envOptions{})
	for _, id := range []string{
		"http://example.com/c", "HTTPS://example.com/c", "https://example.com", "https://example.com#f", "https://example.com/c#", "https://example.com/c#frag",
		"https://user@example.com/c", "https://user:pw@example.com/c", "https://@example.com/c",
		"https://example.com/./c", "https://example.com/a/../c", "https://example.com/a/%2e%2e/c", "https://example.com/%2E/c", "https://example.com/a%2f../c", "https://example.com/..;/c",
		"https://example.com/c?", "https://example.com/c?secret=1", "https://example.com:22/c", "https://example.com:80/c", "https://example.com:0/c", "https://example.com:/c", "https://example.com:70000/c", "https://example.com:0443/c",
		"https://127.0.0.1/c", "https://10.0.0.1/c", "https://93.184.216.34/c", "https://[::1]/c", "https://[2606:4700::1]/c", "https://2130706433/c", "https://0x7f.1/c", "https://127.1/c", "https://0177.0.0.1/c",
		"https://localhost/c", "https://LOCALHOST/c", "https://a.localhost/c", "https://intranet/c", "https://db.internal/c", "https://printer.local/c", "https://router.home.arpa/c",
		"https://Example.com/c", "https://example.com./c", "https://exa\u1e41ple.com/c", "https://example.com/\u00e9", "https://example.com\\@evil.example/c", "https://example.com/c c", "https://example.com/c\n",
		"https:example.com/c", "https:///c", "https://" + strings.Repeat("a.", 120) + "example.com/c",
		"ftp://example.com/c", "javascript://example.com/%0aalert(1)",
	} {
		e.wantDocumentPage(t, id, 400, "invalid_client")
	}
	h.wantFetches(t, 0)
	e.wantNoClients(t)
}

func TestClientMetadataDocument138Loopback(t *testing.T) {
	mux := http.NewServeMux()
	dev := httptest.NewServer(mux)
	defer dev.Close()
	port := dev.Listener.Addr().(*net.TCPAddr).Port
	mux.HandleFunc("/c", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(document("http://"+r.Host+"/c", nil))
	})
	for _, loopback := range []bool{false, true} {
		e := newEnv(t, envOptions{config: func(c *handlers.Config) {
			c.ClientMetadataDocuments = handlers.ClientMetadataDocumentConfig{Enabled: true, Loopback: loopback}
			c.Outbound = handlers.NewOutbound(handlers.OutboundConfig{Private: true, HTTP: true})
		}})
		for _, host := range []string{"127.0.0.1", "localhost"} {
			id := fmt.Sprintf("http://%s:%d/c", host, port)
			if loopback {
				e.tokens(asPublic(id)).wantOK(t)
				continue
			}
			e.wantDocumentPage(t, id, 400, "invalid_client")
		}
		e.wantDocumentPage(t, "http://10.0.0.1/c", 400, "invalid_client")
	}
}

func TestClientMetadataDocument139SpecialUse(t *testing.T) {
	for name, answers := range map[string][]string{
		"loopback": {"127.0.0.1"}, "private": {"10.1.2.3"}, "cloud metadata": {"169.254.169.254"}, "carrier": {"100.64.0.1"},
		"unique local": {"fd00::1"}, "NAT64": {"64:ff9b::7f00:1"}, "mapped": {"::ffff:127.0.0.1"}, "link-local": {"fe80::1"},
		"rebinding": {"93.184.216.34", "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, h := documentEnv(t, envOptions{config: func(c *handlers.Config) {
				var lookups atomic.Int32
				outbound := func(name string) []netip.Addr {
					i := min(int(lookups.Add(1)-1)/2, len(answers)-1) // A and AAAA
					return []netip.Addr{netip.MustParseAddr(answers[i])}
				}
				client := handlers.NewOutboundResolving(handlers.OutboundConfig{Timeout: time.Second}, outbound)
				c.Outbound = client
				if len(answers) > 1 { // a first look, as a check before connecting would be
					outbound("example.com")
					outbound("example.com")
				}
			}})
			e.wantDocumentPage(t, h.at("/c"), 400, "invalid_client")
			h.wantFetches(t, 0)
			e.wantNoClients(t)
		})
	}
}

func TestClientMetadataDocument140Redirect(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		e, h := documentEnv(t, envOptions{})
		h.set(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/c" {
				http.Redirect(w, r, "/elsewhere", status)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(document(h.at("/c"), nil))
		})
		e.wantDocumentPage(t, h.at("/c"), 400, "invalid_client")
		h.wantFetches(t, 1)
	}
}

func TestClientMetadataDocument141Limits(t *testing.T) {
	big := func(id string, n int) string { // a good document of n bytes
		doc := string(must(json.Marshal(document(id, nil))))
		return doc[:len(doc)-1] + `,"x":"` + strings.Repeat("x", n-len(doc)-7) + `"}`
	}
	for _, tt := range []struct {
		name   string
		answer func(h *documentHost) http.HandlerFunc
		status int
		code   string
	}{
		{"5 KB", func(h *documentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, big(h.at("/c"), 5<<10))
			}
		}, 0, ""},
		{"one byte more", func(h *documentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, big(h.at("/c"), 5<<10+1))
			}
		}, 400, "invalid_client"},
		{"without end", func(*documentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				for r.Context().Err() == nil {
					if _, err := w.Write(bytes.Repeat([]byte(" "), 4096)); err != nil {
						return
					}
				}
			}
		}, 400, "invalid_client"},
		{"slow drip", func(*documentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				for r.Context().Err() == nil {
					_, _ = io.WriteString(w, " ")
					w.(http.Flusher).Flush()
					select {
					case <-r.Context().Done():
					case <-time.After(100 * time.Millisecond):
					}
				}
			}
		}, 503, "temporarily_unavailable"},
		{"gzip bomb", func(*documentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				_, _ = z.Write(make([]byte, 1<<20))
				_ = z.Close()
			}
		}, 400, "invalid_client"},
		{"endless headers", func(*documentHost) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				for i := range 64 {
					w.Header().Set(fmt.Sprintf("X-%d", i), strings.Repeat("x", 1024))
				}
				w.Header().Set("Content-Type", "application/json")
			}
		}, 503, "temporarily_unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e, h := documentEnv(t, envOptions{config: func(c *handlers.Config) { c.Outbound.Timeout = time.Second }})
			h.set(tt.answer(h))
			if tt.status == 0 {
				e.tokens(asPublic(h.at("/c"))).wantOK(t)
				return
			}
			start := time.Now()
			e.wantDocumentPage(t, h.at("/c"), tt.status, tt.code)
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func TestClientMetadataDocument142And143And144Content(t *testing.T) {
	e, h := documentEnv(t, envOptions{})
	private := string(must(json.Marshal(newAssertionKey(t).jwk)))
	raw := func(id string, change map[string]any) string { return string(must(json.Marshal(document(id, change)))) }
	for i, tt := range []struct {
		name, contentType, body string // {id} is the URL
		says                    string // on the page
	}{
		{"142 HTML", "text/html", raw("{id}", nil), "application/json"},
		{"142 no type", "", raw("{id}", nil), "application/json"},
		{"142 text", "text/plain", raw("{id}", nil), "application/json"},
		{"142 not JSON", "application/json", "<html>", ""},
		{"142 empty", "application/json", "", ""},
		{"142 an array", "application/json", "[" + raw("{id}", nil) + "]", ""},
		{"142 something behind", "application/json", raw("{id}", nil) + "{}", ""},
		{"142 repeated client_id", "application/json", `{"client_id":"https://evil.example/c",` + raw("{id}", nil)[1:], ""},
		{"142 deep", "application/json", `{"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + "," + raw("{id}", nil)[1:], ""},

		{"143 no client_id", "application/json", raw("{id}", map[string]any{"client_id": nil}), "client_id"},
		{"143 another", "application/json", raw("https://evil.example/c", nil), "client_id"},
		{"143 slash", "application/json", raw("{id}/", nil), "client_id"},
		{"143 case", "application/json", raw("{ID}", nil), "client_id"},
		{"143 encoding", "application/json", raw("{enc}", nil), "client_id"},
		{"143 fragment", "application/json", raw("{id}#", nil), "client_id"},
		{"143 not a string", "application/json", raw("", map[string]any{"client_id": []string{"{id}"}}), "client_id"},

		{"144 client_secret", "application/json", raw("{id}", map[string]any{"client_secret": "s"}), "client_secret"},
		{"144 client_secret_expires_at", "application/json", raw("{id}", map[string]any{"client_secret_expires_at": 0}), "client_secret_expires_at"},
		{"144 basic", "application/json", raw("{id}", map[string]any{"token_endpoint_auth_method": "client_secret_basic"}), "token_endpoint_auth_method"},
		{"144 post", "application/json", raw("{id}", map[string]any{"token_endpoint_auth_method": "client_secret_post"}), "token_endpoint_auth_method"},
		{"144 client_secret_jwt", "application/json", raw("{id}", map[string]any{"token_endpoint_auth_method": "client_secret_jwt"}), "token_endpoint_auth_method"},
		{"144 private key", "application/json", raw("{id}", map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": json.RawMessage(`{"keys":[` + private + `]}`)}), "jwks"},
		{"144 no keys", "application/json", raw("{id}", map[string]any{"token_endpoint_auth_method": "private_key_jwt"}), "jwks"},

		{"no redirect", "application/json", raw("{id}", map[string]any{"redirect_uris": nil}), "redirect_uris"},
		{"redirect by http", "application/json", raw("{id}", map[string]any{"redirect_uris": []string{"http://app.example/cb"}}), "redirect_uris"},
		{"redirect by script", "application/json", raw("{id}", map[string]any{"redirect_uris": []string{"javascript:alert(1)"}}), "redirect_uris"},
		{"redirect by a short scheme", "application/json", raw("{id}", map[string]any{"redirect_uris": []string{"editor:/cb"}}), "redirect_uris"},
		{"redirect to ourselves", "application/json", raw("{id}", map[string]any{"redirect_uris": []string{e.issuer + "/cb"}}), "redirect_uris"},
		{"internal jwks_uri", "application/json", raw("{id}", map[string]any{"jwks_uri": "https://169.254.169.254/keys"}), "jwks_uri"},
		{"client_uri by script", "application/json", raw("{id}", map[string]any{"client_uri": "javascript:alert(1)"}), "client_uri"},
		{"name that hides", "application/json", raw("{id}", map[string]any{"client_name": "A\u202eB"}), "client_name"},
		{"client_credentials alone", "application/json", raw("{id}", map[string]any{"grant_types": []string{"client_credentials"}}), "grant_types"},
		{"a promise we cannot keep", "application/json", raw("{id}", map[string]any{"dpop_bound_access_tokens": true}), "dpop_bound_access_tokens"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := h.at(fmt.Sprintf("/c%d", i))
			encoded := h.at(fmt.Sprintf("/%%63%d", i))
			h.write(tt.contentType, strings.NewReplacer("{id}", id, "{ID}", strings.Replace(id, "/c", "/C", 1), "{enc}", encoded).Replace(tt.body))
			before := h.fetches.Load()
			a := e.wantDocumentPage(t, id, 400, "invalid_client")
			if !strings.Contains(a.body, tt.says) {
				t.Errorf("the page does not say %q\n%s", tt.says, a.body)
			}
			h.wantFetches(t, before+1)

			// The pause before the next fetch is short.
			e.wantDocumentPage(t, id, 400, "invalid_client")
			h.wantFetches(t, before+1)
			h.serve("", nil)
			e.clock.add(10 * time.Second)
			target, _ := e.authorizeURL(id)
			if a := e.browser().walk(target); a.param("code") == "" {
				t.Errorf("repaired: status %d, location %v\n%s", a.status, a.location, a.body)
			}
		})
	}
}

// A document is written for all servers: what is not to be had here is passed over.
func TestClientMetadataDocumentPassesOver(t *testing.T) {
	e, h := documentEnv(t, envOptions{})
	id := h.at("/c")
	h.serve("", map[string]any{
		"grant_types":    []string{"authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code", "client_credentials", "implicit"},
		"response_types": []string{"code", "token"}, "scope": "read admin unheard_of", "token_endpoint_auth_method": nil,
		"unknown": map[string]any{"member": true}, "verified": true, "first_party": true, "require_pkce": false, "org_id": "evil",
	})
	a := e.tokens(asPublic(id))
	if a.str("scope") != "read" || a.str("refresh_token") == "" {
		t.Errorf("got %s", a.raw)
	}
	c, err := e.reg.Get(t.Context(), oauthreg.ByClientID(id))
	if err != nil || !slices.Equal(c.GrantTypes, []string{"authorization_code", "refresh_token"}) || !slices.Equal(c.ResponseTypes, []string{"code"}) ||
		c.Verified || c.FirstParty || !c.RequirePKCE || c.OrgID != "" || c.TokenEndpointAuthMethod != oauthreg.AuthNone {
		t.Errorf("got %+v, %v", c, err)
	}
	target, _ := e.authorizeURL(id, "scope", "admin")
	if a := e.browser().do("GET", target, nil); a.param("error") != "invalid_scope" {
		t.Errorf("admin: location %v", a.location)
	}
}

func TestClientMetadataDocument145RedirectURI(t *testing.T) {
	e, h := documentEnv(t, envOptions{})
	id := h.at("/c")
	h.serve("", map[string]any{"redirect_uris": []string{"http://127.0.0.1/cb", "http://localhost:3000/cb", "http://[::1]/cb", callback}})
	for _, uri := range []string{"http://127.0.0.1:53682/cb", "http://localhost:9/cb", "http://localhost/cb", "http://[::1]:1234/cb", callback} {
		target, _ := e.authorizeURL(id, "redirect_uri", uri)
		if a := e.browser().walk(target); a.param("code") == "" || !strings.HasPrefix(a.location.String(), uri) {
			t.Errorf("%s: status %d, location %v", uri, a.status, a.location)
		}
	}
	for _, uri := range []string{"http://127.0.0.1:53682/other", "http://127.0.0.2:1/cb", "https://localhost:1/cb", "https://client.example:444/cb", "https://evil.example/cb", callback + "/x"} {
		target, _ := e.authorizeURL(id, "redirect_uri", uri)
		if a := e.browser().do("GET", target, nil); a.status != 400 || a.location != nil {
			t.Errorf("%s: status %d, location %v", uri, a.status, a.location)
		}
	}
}

func TestClientMetadataDocument146Changes(t *testing.T) {
	t.Run("lifetimes", func(t *testing.T) {
		for header, kept := range map[string]time.Duration{
			"": 15 * time.Minute, "max-age=3600": time.Hour, "max-age=31536000": 24 * time.Hour, "max-age=0": time.Minute, "no-store": time.Minute,
		} {
			e, h := documentEnv(t, envOptions{})
			h.serve(header, nil)
			id := h.at("/c")
			look := func() {
				target, _ := e.authorizeURL(id)
				if a := e.browser().do("GET", target, nil); a.location == nil && a.status >= 400 {
					t.Errorf("%q: got %d\n%s", header, a.status, a.body)
				}
			}
			look()
			e.clock.add(kept - 20*time.Second) // the clock runs
			look()
			h.wantFetches(t, 1)
			e.clock.add(20 * time.Second)
			look()
			h.wantFetches(t, 2)
		}
	})
	t.Run("a new redirect host needs new consent", func(t *testing.T) {
		e, h := documentEnv(t, envOptions{})
		id := h.at("/c")
		b := e.browser()
		pages := func() int {
			t.Helper()
			before := len(b.pages)
			target, _ := e.authorizeURL(id)
			if a := b.walk(target); a.param("code") == "" {
				t.Fatalf("status %d, location %v\n%s", a.status, a.location, a.body)
			}
			return len(b.pages) - before
		}
		if n := pages(); n != 2 {
			t.Fatalf("first: %d pages, want sign-in and consent", n)
		}
		tokens := e.tokens(asPublic(id))
		if n := pages(); n != 0 {
			t.Errorf("again: %d pages, want none", n)
		}
		change := func(members map[string]any) {
			e.clock.add(20 * time.Minute)
			h.serve("", members)
		}
		change(map[string]any{"client_name": "Editor 2", "redirect_uris": []string{callback, callback + "2"}})
		if n := pages(); n != 0 {
			t.Errorf("same host: %d pages, want none", n)
		}
		change(map[string]any{"client_name": "Editor 2", "redirect_uris": []string{callback, "https://elsewhere.example/cb"}})
		if n := pages(); n != 1 {
			t.Errorf("another host: %d pages, want consent", n)
		}
		if n := pages(); n != 0 {
			t.Errorf("another host, again: %d pages, want none", n)
		}
		e.tokenRequest(asPublic(id), "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantOK(t)
		c, err := e.reg.Get(t.Context(), oauthreg.ByClientID(id))
		if err != nil || c.Name != "Editor 2" || len(c.RedirectURIs) != 2 {
			t.Errorf("got %+v, %v", c, err)
		}
		change(map[string]any{"redirect_uris": []string{"https://elsewhere.example/cb"}})
		e.wantDocumentPage(t, id, 400, "redirect_uri")
	})
	t.Run("what the operator decided stays", func(t *testing.T) {
		e, h := documentEnv(t, envOptions{})
		id := h.at("/c")
		e.tokens(asPublic(id))
		_, err := e.reg.Update(t.Context(), oauthreg.ByClientID(id), oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
			c.Verified, c.Lifetimes.AccessToken, c.Description = true, 5*time.Minute, "known to us"
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		e.clock.add(20 * time.Minute)
		h.serve("", map[string]any{"client_name": "Renamed"})
		if a := e.tokens(asPublic(id)); a.body["expires_in"] != 300.0 {
			t.Errorf("got %s", a.raw)
		}
		c, err := e.reg.Get(t.Context(), oauthreg.ByClientID(id))
		if err != nil || c.Name != "Renamed" || !c.Verified || c.Description != "known to us" {
			t.Errorf("got %+v, %v", c, err)
		}
	})
	t.Run("from public to confidential begins anew", func(t *testing.T) {
		e, h := documentEnv(t, envOptions{})
		id := h.at("/c")
		tokens := e.tokens(asPublic(id))
		key := newAssertionKey(t)
		e.clock.add(20 * time.Minute)
		h.serve("", map[string]any{"token_endpoint_auth_method": "private_key_jwt", "jwks": json.RawMessage(jwkSet(t, key))})
		e.tokenRequest(asPublic(id), "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, 401, "invalid_client")
		code, verifier := e.code(id)
		pairs := []string{"grant_type", "authorization_code", "code", code, "redirect_uri", callback, "code_verifier", verifier}
		e.post("/oauth/token", "", "", append(pairs, "client_id", id)...).wantError(t, 401, "invalid_client")
		a := e.post("/oauth/token", "", "", append(pairs, "client_id", id, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
			"client_assertion", key.sign(t, jose.ES256, key.claims(e, asPublic(id))))...)
		a.wantOK(t)
	})
	t.Run("withdrawn", func(t *testing.T) {
		e, h := documentEnv(t, envOptions{})
		id := h.at("/c")
		tokens := e.tokens(asPublic(id))
		h.fail(404)
		e.clock.add(20 * time.Minute)
		e.tokenRequest(asPublic(id), "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, 401, "invalid_client")
		e.wantDocumentPage(t, id, 400, "invalid_client")
	})
}

func TestClientMetadataDocument147Flood(t *testing.T) {
	e, h := documentEnv(t, envOptions{config: func(c *handlers.Config) {
		c.Limits = handlers.NewLimiter(handlers.LimiterConfig{})
		c.TrustedProxies = loopbackProxies
	}})
	ask := func(id, address string) *answer {
		target, _ := e.authorizeURL(id)
		req := must(http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil))
		req.Header.Set("X-Forwarded-For", address)
		resp := must(e.http.Client().Transport.RoundTrip(req))
		defer resp.Body.Close()
		return &answer{status: resp.StatusCode, header: resp.Header, body: string(must(io.ReadAll(resp.Body)))}
	}
	if a := ask(h.at("/kept"), "192.0.2.1"); a.status != http.StatusOK {
		t.Fatalf("got %d\n%s", a.status, a.body)
	}
	limited := 0
	for i := range 500 {
		if a := ask(h.at(fmt.Sprintf("/flood%d", i)), fmt.Sprintf("198.51.100.%d", i%250)); a.status == http.StatusTooManyRequests && a.header.Get("Retry-After") != "" {
			limited++
		}
	}
	if fetches := h.fetches.Load(); fetches > 100 || limited < 400 {
		t.Errorf("%d fetches from one host, %d requests limited", fetches, limited)
	}
	if a := ask(h.at("/kept"), "192.0.2.1"); a.status != http.StatusOK {
		t.Errorf("one that is cached: got %d", a.status)
	}
	e.wantNoClients(t)
}

// A stranger who uses up what a host may be asked locks nobody out who was let in.
func TestClientMetadataDocument147FloodOfAKnownHost(t *testing.T) {
	e, h := documentEnv(t, envOptions{config: func(c *handlers.Config) {
		c.Limits = handlers.NewLimiter(handlers.LimiterConfig{Now: c.Now})
	}})
	id := h.at("/c")
	tokens := e.tokens(asPublic(id))
	e.clock.add(16 * time.Minute) // the document has to be asked for again
	limited := false
	for i := 0; i < 200 && !limited; i++ {
		target, _ := e.authorizeURL(h.at(fmt.Sprintf("/flood%d", i)))
		limited = e.browser().do(http.MethodGet, target, nil).status == http.StatusTooManyRequests
	}
	if !limited {
		t.Fatal("the flood is not limited")
	}
	e.tokenRequest(asPublic(id), "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantOK(t)
}

func TestClientMetadataDocument148Unreachable(t *testing.T) {
	t.Run("unknown yet", func(t *testing.T) {
		for _, status := range []int{500, 502, 503, 429} {
			e, h := documentEnv(t, envOptions{})
			h.fail(status)
			a := e.wantDocumentPage(t, h.at("/c"), 503, "temporarily_unavailable")
			if strings.Contains(a.body, "server_error") || a.header.Get("Retry-After") == "" {
				t.Errorf("Retry-After %q\n%s", a.header.Get("Retry-After"), a.body)
			}
			h.serve("", nil)
			e.clock.add(10 * time.Second)
			e.tokens(asPublic(h.at("/c"))).wantOK(t)
		}
	})
	t.Run("no such host", func(t *testing.T) {
		e, _ := documentEnv(t, envOptions{})
		e.wantDocumentPage(t, "https://nowhere.example.com/c", 503, "temporarily_unavailable")
	})
	t.Run("known", func(t *testing.T) {
		e, h := documentEnv(t, envOptions{})
		id := h.at("/c")
		tokens := e.tokens(asPublic(id))
		h.fail(503)
		refresh := func() *tokenAnswer {
			t.Helper()
			a := e.tokenRequest(asPublic(id), "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"))
			if a.status == 200 {
				tokens = a
			}
			return a
		}
		refresh().wantOK(t) // within its lifetime nobody asks
		h.wantFetches(t, 1)
		e.clock.add(16 * time.Minute)
		refresh().wantOK(t) // a client that is let in goes on
		e.wantDocumentPage(t, id, 503, "temporarily_unavailable")
		e.clock.add(24 * time.Hour)
		if a := refresh(); a.status != 503 || a.str("error") != "temporarily_unavailable" || a.header.Get("Retry-After") == "" {
			t.Errorf("got %d %s", a.status, a.raw)
		}
		h.serve("", nil)
		e.clock.add(time.Minute)
		refresh().wantOK(t)
	})
	t.Run("at the token endpoint nothing unknown is fetched", func(t *testing.T) {
		e, h := documentEnv(t, envOptions{})
		e.tokenRequest(asPublic(h.at("/c")), "grant_type", "refresh_token", "refresh_token", "x").wantError(t, 401, "invalid_client")
		h.wantFetches(t, 0)
	})
}

// A client_id that the operator registered is not fetched, URL or not.
func TestClientMetadataDocumentRegisteredBeforehand(t *testing.T) {
	e, h := documentEnv(t, envOptions{})
	reg := e.register(with(publicClient(), func(c *oauthreg.Client) { c.ClientID = h.at("/c") }))
	e.tokens(reg).wantOK(t)
	h.wantFetches(t, 0)
}

// Many browsers let the same new client in at once: it is registered once.
func TestClientMetadataDocumentParallel(t *testing.T) {
	e, h := documentEnv(t, envOptions{})
	id := h.at("/c")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			target, _ := e.authorizeURL(id)
			if a := e.browser().walk(target); a.param("code") == "" {
				t.Errorf("status %d, location %v\n%s", a.status, a.location, a.body)
			}
		})
	}
	wg.Wait()
	h.wantFetches(t, 1)
	page, err := e.reg.List(t.Context(), oauthreg.ListQuery{ClientID: id, Count: true})
	if err != nil || page.Total != 1 {
		t.Errorf("there are %d (%v)", page.Total, err)
	}
}

func TestClientMetadataDocumentConsentPage(t *testing.T) {
	e, h := documentEnv(t, envOptions{})
	h.serve("", map[string]any{"client_name": "My Bank <script>"})
	target, _ := e.authorizeURL(h.at("/c"))
	b := e.browser()
	follow := func(a *answer) *answer {
		for a.location != nil {
			a = b.do("GET", a.location.String(), nil)
		}
		return a
	}
	at, form, ok := b.fill(e.issuer+"/login", follow(b.do("GET", target, nil)))
	if !ok {
		t.Fatal("there is no form to sign in")
	}
	page := follow(b.do("POST", at.String(), form))
	for _, want := range []string{"consent-allow", "registered itself", "example.com:" + h.port, "My Bank &lt;script&gt;", "client.example"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page does not have %q\n%s", want, page.body)
		}
	}
	e.wantNoClients(t) // nobody decided yet
}

// Nothing that is registered through a document outlives its use for long.
func TestClientMetadataDocumentReaped(t *testing.T) {
	e, h := documentEnv(t, envOptions{})
	used, unused := h.at("/used"), h.at("/unused")
	e.tokens(asPublic(unused))
	e.clock.add(31 * 24 * time.Hour)
	e.tokens(asPublic(used))
	revokeAll(t, e, unused)
	n, err := e.server.ReapRegistrations(t.Context())
	if err != nil || n != 1 {
		t.Errorf("reaped %d, %v", n, err)
	}
	if _, err := e.reg.Get(t.Context(), oauthreg.ByClientID(used)); err != nil {
		t.Errorf("the used one: %v", err)
	}
	e.tokens(asPublic(unused)).wantOK(t) // and comes back as it came
}

func revokeAll(t *testing.T, e *env, clientID string) {
	t.Helper()
	c := must(e.reg.Get(t.Context(), oauthreg.ByClientID(clientID)))
	if _, err := e.store.RevokeConsents(t.Context(), oauthreg.GrantFilter{ClientID: c.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.store.RevokeGrants(t.Context(), oauthreg.GrantFilter{ClientID: c.ID}); err != nil {
		t.Fatal(err)
	}
}

// documentEnforcements are the rows for [oauthreg.Client.MetadataDocumentSince].
func documentEnforcements() []enforcement {
	return []enforcement{
		{"MetadataDocumentSince", "follows its document", true, func(t *testing.T, e *env) {
			e, h := documentEnv(t, envOptions{})
			e.tokens(asPublic(h.at("/c"))).wantOK(t)
		}},
		{"MetadataDocumentSince", "is unknown where documents are off", false, func(t *testing.T, e *env) {
			reg := e.register(with(publicClient(), func(c *oauthreg.Client) {
				c.ClientID, c.RequirePKCE, c.MetadataDocumentSince = "https://off.example/c", true, e.clock.Now()
			}))
			e.wantDocumentPage(t, reg.Client.ClientID, 400, "invalid_client")
			e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", "x").wantError(t, 401, "invalid_client")
		}},
	}
}

// The operator sees such a client, shuts it out, and lets it in again.
func TestClientMetadataDocumentManaged(t *testing.T) {
	h := newDocumentHost(t)
	e := newManagedEnv(t, envOptions{config: func(c *handlers.Config) {
		c.ClientMetadataDocuments.Enabled = true
		c.Registration.OrgID, c.Registration.ProjectID, c.Registration.UserID = homeOrg, homeProject, homeUser
		c.Outbound = h.outbound()
	}}, nil)
	id := h.at("/editor")
	e.tokens(asPublic(id))
	path := "/oauth_clients/" + url.PathEscape(id)
	if items := e.call(http.MethodGet, "/oauth_clients", "").items(t); len(items) != 1 || items[0]["client_id"] != id {
		t.Errorf("listed: %v", items)
	}
	if d := e.call(http.MethodGet, path, "").data(t); d["client_id"] != id || d["name"] != "Editor" {
		t.Errorf("got %v", d)
	}
	if a := e.call(http.MethodPost, path+"/suspend", ""); a.status != 200 {
		t.Errorf("suspend: %d %s", a.status, a.raw)
	}
	e.wantDocumentPage(t, id, 400, "invalid_client")
	if a := e.call(http.MethodPost, path+"/resume", ""); a.status != 200 {
		t.Errorf("resume: %d %s", a.status, a.raw)
	}
	tokens := e.tokens(asPublic(id))
	if a := e.call(http.MethodDelete, path, ""); a.status != 204 && a.status != 200 {
		t.Errorf("delete: %d %s", a.status, a.raw)
	}
	e.tokenRequest(asPublic(id), "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, 401, "invalid_client")
	e.tokens(asPublic(id)).wantOK(t) // as new as it was at first
	e.tokenRequest(asPublic(id), "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, 400, "invalid_grant")
	h.wantFetches(t, 1)
}

// A store that fails is never taken for an unknown client, at any step, and the
// step works when the store does.
func TestClientMetadataDocumentStorageFailure(t *testing.T) {
	store := new(faultyStore)
	e, h := documentEnv(t, envOptions{wrap: func(s *storage.Store) (oauthreg.Store, handlers.Store) {
		store.Store = s
		return store, store
	}})
	fail := func(name string, send func() (status int, done bool)) {
		t.Helper()
		for n := 1; n < 40; n++ {
			store.arm(n, fmt.Errorf("%w: connection refused", oauthreg.ErrUnavailable))
			status, done := send()
			fired := store.disarm()
			if fired == "" {
				if !done || n == 1 {
					t.Errorf("%s: status %d at call %d without a fault", name, status, n)
				}
				return
			}
			if done || status != 503 {
				t.Errorf("%s: %s failed: status %d, done %v", name, fired, status, done)
			}
		}
	}
	b := e.browser()
	target, _ := e.authorizeURL(h.at("/first"))
	if a := b.walk(target); a.param("code") == "" {
		t.Fatalf("status %d", a.status)
	}
	var code, verifier string
	id := h.at("/c")
	var consent *answer
	fail("authorize", func() (int, bool) {
		target, verifier = e.authorizeURL(id)
		consent = b.do("GET", target, nil)
		return consent.status, consent.location != nil && consent.location.Path == e.opts.base+"/consent"
	})
	action, form, ok := b.fill(consent.location.String(), b.do("GET", consent.location.String(), nil))
	if !ok {
		t.Fatal("there is no consent form")
	}
	fail("consent", func() (int, bool) {
		a := b.do("POST", action.String(), form)
		code = a.param("code")
		return a.status, code != ""
	})
	tokens := e.redeem(asPublic(id), code, verifier)
	tokens.wantOK(t)
	e.clock.add(20 * time.Minute)
	h.serve("", map[string]any{"client_name": "Changed"})
	fail("refresh, and follow the document", func() (int, bool) {
		a := e.tokenRequest(asPublic(id), "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token"))
		return a.status, a.status == 200
	})
	if c := must(e.reg.Get(t.Context(), oauthreg.ByClientID(id))); c.Name != "Changed" {
		t.Errorf("the client is called %q", c.Name)
	}
}
