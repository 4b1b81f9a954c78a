package handlers_test

import (
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// onePixel is a GIF.
const onePixel = "GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"

// way is the sign-in page and the consent page of a request.
func (b *browser) way(target string) []*answer {
	b.e.t.Helper()
	login := b.do(http.MethodGet, target, nil)
	b.signIn()
	return []*answer{login, b.do(http.MethodGet, b.do(http.MethodGet, target, nil).location.String(), nil)}
}

// logoOn loads the one picture of a page; nil when the page has none.
func (e *env) logoOn(a *answer) *tokenAnswer {
	e.t.Helper()
	page, err := html.Parse(strings.NewReader(a.body))
	if err != nil {
		e.t.Fatal(err)
	}
	for n := range page.Descendants() {
		if n.Data == "img" {
			src := attr(n, "src")
			if !strings.HasPrefix(src, e.opts.base+"/app-logo?") {
				e.t.Errorf("a picture from %s", src)
			}
			return e.send(mustRequest(e.t, strings.TrimSuffix(e.issuer, e.opts.base)+src))
		}
	}
	return nil
}

// Logos come from our own origin, are pictures, and are borrowed by nobody.
func TestLogos(t *testing.T) {
	var fetched atomic.Int32
	site := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fetched.Add(1)
		w.Header().Set("Content-Type", "image/png") // is not believed
		switch r.URL.Path {
		case "/logo":
			_, _ = w.Write([]byte(onePixel))
		case "/svg":
			_, _ = w.Write([]byte(`<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>`))
		case "/html":
			_, _ = w.Write([]byte(`<!doctype html><script>alert(1)</script>`))
		case "/big":
			_, _ = w.Write(append([]byte(onePixel), make([]byte, 200<<10)...))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(site.Close)
	pool := x509.NewCertPool()
	pool.AddCert(site.Certificate())
	e := newEnv(t, envOptions{base: "/auth", config: func(c *handlers.Config) {
		c.Outbound = handlers.NewOutbound(handlers.OutboundConfig{Private: true, CAs: pool})
	}})
	client := func(path string, change ...func(*oauthreg.Client)) oauthreg.Registration {
		return e.register(with(webClient(), func(c *oauthreg.Client) {
			if path != "" {
				c.LogoURI = site.URL + path
			}
			for _, f := range change {
				f(c)
			}
		}))
	}
	shown := func(reg oauthreg.Registration) *tokenAnswer {
		target, _ := e.authorizeURL(reg.Client.ClientID)
		return e.logoOn(e.browser().way(target)[1])
	}
	self := func(c *oauthreg.Client) { c.SelfRegistered = true }

	reg := client("/logo")
	for range 3 {
		a := shown(reg)
		if a == nil || a.status != 200 || a.raw != onePixel || a.header.Get("Content-Type") != "image/gif" ||
			a.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(a.header.Get("Content-Security-Policy"), "sandbox") {
			t.Fatalf("got %+v", a)
		}
	}
	if n := fetched.Load(); n != 1 {
		t.Errorf("fetched %d times", n)
	}
	e.clock.add(2 * time.Hour)
	if shown(reg); fetched.Load() != 2 {
		t.Error("an old logo is not fetched again")
	}
	verified := client("/logo", self)
	if _, err := e.reg.Update(t.Context(), oauthreg.ByID(verified.Client.ID), oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
		c.Verified = true
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if a := shown(verified); a == nil || a.status != 200 {
		t.Errorf("verified: %+v", a)
	}

	for name, reg := range map[string]oauthreg.Registration{"none": client(""), "self-registered": client("/logo", self)} {
		if a := shown(reg); a != nil {
			t.Errorf("%s: a logo is shown", name)
		}
		if a := e.send(mustRequest(t, e.issuer+"/app-logo?client_id="+reg.Client.ClientID)); a.status != 404 {
			t.Errorf("%s: %d", name, a.status)
		}
	}
	for _, path := range []string{"/svg", "/html", "/big", "/gone"} {
		reg := client(path)
		before := fetched.Load()
		for range 2 {
			if a := shown(reg); a == nil || a.status != 404 || strings.Contains(a.raw, "alert(") {
				t.Errorf("%s: %+v", path, a)
			}
		}
		if n := fetched.Load() - before; n != 1 {
			t.Errorf("%s: fetched %d times, want that the failure is remembered", path, n)
		}
	}
	if a := e.send(mustRequest(t, e.issuer+"/app-logo?client_id=unknown")); a.status != 404 {
		t.Errorf("unknown client: %d", a.status)
	}

	// Addresses of the inside are out of reach unless the host says otherwise.
	guarded := newEnv(t, envOptions{})
	inside := guarded.register(with(webClient(), func(c *oauthreg.Client) { c.LogoURI = site.URL + "/logo" }))
	before := fetched.Load()
	if a := guarded.send(mustRequest(t, guarded.issuer+"/app-logo?client_id="+inside.Client.ClientID)); a.status != 404 || fetched.Load() != before {
		t.Errorf("inside: %d", a.status)
	}
}

// Whoever waits for a slow logo gets what the first fetched, also when that is
// nothing, and does not ask again.
func TestSlowLogoIsFetchedOnce(t *testing.T) {
	var fetched atomic.Int32
	answer := make(chan bool)
	site := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetched.Add(1)
		<-answer
		w.WriteHeader(http.StatusNotFound)
	}))
	defer site.Close()
	cas := x509.NewCertPool()
	cas.AddCert(site.Certificate())
	e := newEnv(t, envOptions{config: func(c *handlers.Config) {
		c.Outbound = handlers.NewOutbound(handlers.OutboundConfig{Private: true, CAs: cas})
	}})
	reg := e.register(with(webClient(), func(c *oauthreg.Client) { c.LogoURI = site.URL + "/slow" }))
	const loops = 40
	var asking, all sync.WaitGroup
	asking.Add(loops)
	for range loops {
		all.Go(func() {
			asking.Done()
			if a := e.send(mustRequest(t, e.issuer+"/app-logo?client_id="+reg.Client.ClientID)); a.status != http.StatusNotFound {
				t.Errorf("got %d %s", a.status, a.raw)
			}
		})
	}
	asking.Wait()
	close(answer)
	all.Wait()
	if n := fetched.Load(); n > 4 { // as many as may run at once
		t.Errorf("%d fetches", n)
	}
}
