package handlers

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// fakeResolver answers every lookup of an address with what lookup returns, and
// asks no real server.
func fakeResolver(lookup func(name string) []netip.Addr) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go serveDNS(server, lookup)
		return client, nil
	}}
}

// serveDNS speaks DNS over TCP (RFC 7766), which net.Resolver uses on anything
// that is no packet connection.
func serveDNS(conn net.Conn, lookup func(name string) []netip.Addr) {
	defer conn.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		question := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(conn, question); err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(question) != nil || len(m.Questions) != 1 {
			return
		}
		q := m.Questions[0]
		m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
		for _, a := range lookup(strings.TrimSuffix(q.Name.String(), ".")) {
			h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
			switch {
			case q.Type == dnsmessage.TypeA && a.Is4():
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
			case q.Type == dnsmessage.TypeAAAA && a.Is6():
				m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
			}
		}
		answer, err := m.Pack()
		if err != nil {
			return
		}
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil {
			return
		}
	}
}

// documentServer is a TLS server on loopback, and the pool that trusts it.
func documentServer(t testing.TB, h http.HandlerFunc) (*httptest.Server, *x509.CertPool) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are expected
	srv.StartTLS()
	t.Cleanup(srv.Close)
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	return srv, pool
}

func TestIsSpecialUse(t *testing.T) {
	for _, addr := range []string{
		"0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1",
		"169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1",
		"192.168.0.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
		"239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12:3456::1", "ff02::1",
		"::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808",
		"64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378::1", "2001:2::1", "2001:10::1",
		"2001:20::1", "2001:db8::1", "2002:7f00:1::1", "2002:808:808::1", "3fff::1", "5f00::1",
		"2606:4700::1111%eth0",
	} {
		if !isSpecialUse(netip.MustParseAddr(addr)) {
			t.Errorf("%s: got public, want special use", addr)
		}
	}
	for _, addr := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "126.1.1.1",
		"128.0.0.1", "169.253.1.1", "172.15.1.1", "172.32.0.1", "192.0.1.1", "192.167.1.1", "198.17.1.1",
		"198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888",
	} {
		if isSpecialUse(netip.MustParseAddr(addr)) {
			t.Errorf("%s: got special use, want public", addr)
		}
	}
}

func TestOutboundRefusesURLs(t *testing.T) {
	lookedUp := new(atomic.Int32)
	resolver := fakeResolver(func(string) []netip.Addr { lookedUp.Add(1); return nil })
	for _, tt := range []struct {
		name string
		cfg  OutboundConfig
		url  string
	}{
		{"http", OutboundConfig{}, "http://client.example/jwks"},
		{"http, though allowed on loopback", OutboundConfig{Private: true, HTTP: true}, "http://client.example/jwks"},
		{"http on loopback without Private", OutboundConfig{HTTP: true}, "http://127.0.0.1:8080/jwks"},
		{"http on loopback without HTTP", OutboundConfig{Private: true}, "http://127.0.0.1:8080/jwks"},
		{"ftp", OutboundConfig{}, "ftp://client.example/jwks"},
		{"file", OutboundConfig{}, "file:///etc/passwd"},
		{"port of SSH", OutboundConfig{}, "https://client.example:22/jwks"},
		{"port of http", OutboundConfig{}, "https://client.example:80/jwks"},
		{"last privileged port", OutboundConfig{}, "https://client.example:1023/jwks"},
		{"port too large", OutboundConfig{}, "https://client.example:65536/jwks"},
		{"port too small, Private", OutboundConfig{Private: true}, "https://client.example:22/jwks"},
		{"user", OutboundConfig{}, "https://user@client.example/jwks"},
		{"user and password", OutboundConfig{}, "https://user:pw@client.example/jwks"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := fetchLimited(t.Context(), newOutbound(tt.cfg, resolver), tt.url, "*/*", 100)
			if !errors.Is(err, ErrOutboundRefused) || !errors.Is(err, errDocument) {
				t.Errorf("got %v, want ErrOutboundRefused and errDocument", err)
			}
		})
	}
	if n := lookedUp.Load(); n != 0 {
		t.Errorf("%d names were looked up, want none", n)
	}
}

func TestOutboundRefusesAddresses(t *testing.T) {
	for _, tt := range []struct{ name, host, resolves string }{
		{"loopback literal", "127.0.0.1", ""},
		{"loopback literal, IPv6", "[::1]", ""},
		{"mapped literal", "[::ffff:127.0.0.1]", ""},
		{"mapped literal, hexadecimal", "[::ffff:a9fe:a9fe]", ""},
		{"link-local literal", "169.254.169.254", ""},
		{"unspecified literal", "0.0.0.0", ""},
		{"unspecified literal, IPv6", "[::]", ""},
		{"NAT64 literal", "[64:ff9b::7f00:1]", ""},
		{"this machine's name", "localhost", ""},
		{"name of loopback", "client.example", "127.0.0.1"},
		{"name of a private address", "client.example", "10.0.0.1"},
		{"name of cloud metadata", "client.example", "169.254.169.254"},
		{"name of a ULA", "client.example", "fd00::1"},
		{"name of NAT64", "client.example", "64:ff9b::a00:1"},
		{"name of 6to4", "client.example", "2002:a00:1::1"},
		{"name of a mapped address", "client.example", "::ffff:10.0.0.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := newOutbound(OutboundConfig{}, fakeResolver(func(string) []netip.Addr {
				return []netip.Addr{netip.MustParseAddr(tt.resolves)}
			}))
			_, _, err := fetchLimited(t.Context(), client, "https://"+tt.host+"/jwks", "*/*", 100)
			if !errors.Is(err, ErrOutboundRefused) || !errors.Is(err, errDocument) {
				t.Errorf("got %v, want ErrOutboundRefused and errDocument", err)
			}
		})
	}
}

// A name that is public when it is looked up first and private when it is
// connected to must not reach the private address.
func TestOutboundRebinding(t *testing.T) {
	var requests atomic.Int32
	srv, pool := documentServer(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		_, _ = io.WriteString(w, "secret")
	})
	_, port, err := net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	// httptest's certificate is for example.com.
	target := "https://example.com:" + port + "/"

	var lookups atomic.Int32
	resolver := fakeResolver(func(string) []netip.Addr {
		if lookups.Add(1) <= 2 { // A and AAAA of the first lookup
			return []netip.Addr{netip.MustParseAddr("93.184.216.34")}
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	})
	first, err := resolver.LookupNetIP(t.Context(), "ip", "example.com")
	if err != nil || len(first) == 0 || isSpecialUse(first[0].Unmap()) {
		t.Fatalf("first lookup: got %v, %v, want a public address", first, err)
	}
	_, _, err = fetchLimited(t.Context(), newOutbound(OutboundConfig{CAs: pool}, resolver), target, "*/*", 100)
	if !errors.Is(err, ErrOutboundRefused) {
		t.Errorf("got %v, want ErrOutboundRefused", err)
	}
	if n := requests.Load(); n != 0 {
		t.Errorf("%d requests arrived, want none", n)
	}

	// The same with Private arrives: it was the guard that refused.
	body, _, err := fetchLimited(t.Context(), newOutbound(OutboundConfig{CAs: pool, Private: true}, resolver), target, "*/*", 100)
	if err != nil || string(body) != "secret" {
		t.Errorf("with Private: got %q, %v, want the document", body, err)
	}
}

func TestFetchLimited(t *testing.T) {
	const limit = 1000
	var elsewhere atomic.Int32
	other, _ := documentServer(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	write := func(n int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("a"), n)) }
	}
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		want    error
	}{
		{"small", write(10), nil},
		{"exactly the limit", write(limit), nil},
		{"a byte too many", write(limit + 1), errDocument},
		{"too many without a length", func(w http.ResponseWriter, r *http.Request) {
			for range 20 {
				write(100)(w, r)
				w.(http.Flusher).Flush()
			}
		}, errDocument},
		{"endless", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				write(4096)(w, r)
			}
		}, errDocument},
		{"gzip", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(make([]byte, 100_000))
			_ = z.Close()
		}, errDocument},
		{"slow drip", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				write(1)(w, r)
				w.(http.Flusher).Flush()
				select {
				case <-r.Context().Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
			panic(http.ErrAbortHandler) // no proper end, which the client might still read
		}, errUnreachable},
		{"no answer", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, errUnreachable},
		{"large header", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("a", 100_000))
		}, errUnreachable},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "a")
			panic(http.ErrAbortHandler)
		}, errUnreachable},
		{"redirect elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL, http.StatusFound)
		}, errDocument},
		{"redirect to itself", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/again", http.StatusPermanentRedirect)
		}, errDocument},
		{"204", status(204), errDocument},
		{"206", status(206), errDocument},
		{"401", status(401), errDocument},
		{"404", status(404), errDocument},
		{"408", status(408), errUnreachable},
		{"429", status(429), errUnreachable},
		{"500", status(500), errUnreachable},
		{"503", status(503), errUnreachable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			srv, pool := documentServer(t, func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Accept-Encoding"); got != "identity" {
					t.Errorf("Accept-Encoding: got %q, want identity", got)
				}
				tt.handler(w, r)
			})
			client := NewOutbound(OutboundConfig{Private: true, CAs: pool, Timeout: 300 * time.Millisecond})
			body, _, err := fetchLimited(t.Context(), client, srv.URL+"/", "application/json", limit)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if (err == nil) != (body != nil) {
				t.Errorf("got %d bytes and error %v", len(body), err)
			}
		})
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("a redirect was followed %d times, want never", n)
	}
}

// A host's own client, which follows redirects and has no timeout, is held to
// the same rules.
func TestFetchLimitedWithAnotherClient(t *testing.T) {
	var elsewhere atomic.Int32
	other, _ := documentServer(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	srv, _ := documentServer(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusFound)
	})
	client := srv.Client()
	_, _, err := fetchLimited(t.Context(), client, srv.URL, "*/*", 100)
	if !errors.Is(err, errDocument) || elsewhere.Load() != 0 {
		t.Errorf("got %v and %d redirects followed, want errDocument and none", err, elsewhere.Load())
	}
	if client.CheckRedirect != nil || client.Timeout != 0 {
		t.Error("the host's client was changed")
	}
}

func TestFetchLimitedConnection(t *testing.T) {
	var requests atomic.Int32
	ok := func(w http.ResponseWriter, _ *http.Request) { requests.Add(1); _, _ = io.WriteString(w, "{}") }
	srv, pool := documentServer(t, ok)
	plain := httptest.NewServer(http.HandlerFunc(ok))
	t.Cleanup(plain.Close)
	old := httptest.NewUnstartedServer(http.HandlerFunc(ok))
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	old.StartTLS()
	t.Cleanup(old.Close)
	pool.AddCert(old.Certificate())
	closed, _ := documentServer(t, ok)
	closed.Close()
	canceled, cancel := context.WithCancel(t.Context())
	cancel()

	proxied := NewOutbound(OutboundConfig{Private: true, CAs: pool})
	for _, tt := range []struct {
		name   string
		ctx    context.Context
		client *http.Client
		url    string
		want   error
	}{
		{"trusted", t.Context(), proxied, srv.URL, nil},
		{"loopback without Private", t.Context(), NewOutbound(OutboundConfig{CAs: pool}), srv.URL, ErrOutboundRefused},
		{"unknown authority", t.Context(), NewOutbound(OutboundConfig{Private: true}), srv.URL, errUnreachable},
		{"TLS 1.1", t.Context(), proxied, old.URL, errUnreachable},
		{"nobody listens", t.Context(), proxied, closed.URL, errUnreachable},
		{"canceled", canceled, proxied, srv.URL, context.Canceled},
		{"http on loopback, allowed", t.Context(), NewOutbound(OutboundConfig{Private: true, HTTP: true}), plain.URL, nil},
		{"no URL", t.Context(), proxied, "https://a b/", errDocument},
	} {
		t.Run(tt.name, func(t *testing.T) {
			requests.Store(0)
			_, _, err := fetchLimited(tt.ctx, tt.client, tt.url, "*/*", 100)
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if got := requests.Load() == 1; got != (tt.want == nil) {
				t.Errorf("request arrived: %v, want %v", got, tt.want == nil)
			}
		})
	}
	if transport := proxied.Transport.(*guardedTransport).next; transport.Proxy != nil {
		t.Error("a proxy may be used")
	}
	if err := proxied.CheckRedirect(&http.Request{URL: &url.URL{}}, nil); !errors.Is(err, http.ErrUseLastResponse) {
		t.Errorf("redirects: got %v, want http.ErrUseLastResponse", err)
	}
}
