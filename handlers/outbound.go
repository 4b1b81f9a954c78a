package handlers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// ErrOutboundRefused: the URL, or an address its host has, is one that a client
// of [NewOutbound] does not connect to. Nothing was sent.
var ErrOutboundRefused = errors.New("handlers: outbound request refused")

const (
	defaultOutboundTimeout = 5 * time.Second
	maxOutboundHeader      = 16 << 10 // bytes of a response header
)

// OutboundConfig says what the client of [NewOutbound] may do. Its zero value
// is right for production.
type OutboundConfig struct {
	// Private also allows addresses that are not public: loopback, private
	// networks, link-local, and the other special-use ranges. It is for
	// development and tests: with it, whoever can register a client can have
	// this server send GET requests to anything it reaches.
	Private bool
	// HTTP also allows http URLs whose host is localhost, 127.0.0.1 or ::1.
	// It needs Private, because those are not public.
	HTTP bool
	// CAs are the authorities that certificates are checked against; nil means
	// the system's. To add to those, start from [x509.SystemCertPool].
	CAs *x509.CertPool
	// Timeout bounds a whole request, from the name lookup to the last byte of
	// the body. Zero means 5 seconds.
	Timeout time.Duration
}

// NewOutbound returns a client for URLs that strangers chose, such as the
// jwks_uri of a client that registered itself. A request that breaks one of
// these rules fails with [ErrOutboundRefused]:
//
//   - The scheme is https, the port 443 or at least 1024, and the URL has no
//     user information.
//   - The address is public. It is checked when the connection is made, so a
//     name that resolves differently the second time gains nothing. Refused are
//     all special-use ranges of IPv4 and IPv6, and those that carry an IPv4
//     address within (IPv4-mapped, NAT64, 6to4, Teredo). A host in a network
//     that reaches IPv4 through NAT64 only has to bring its own client.
//
// Redirects are not followed: the 3xx response itself is returned. Proxies named
// by the environment are not used, cookies are not kept, compressed bodies are
// not asked for nor unpacked, and connections are not kept open. TLS is 1.2 or
// newer, HTTP is 1.1, a response header has at most 16 KiB.
//
// The client is safe for concurrent use. It starts nothing and needs no closing.
func NewOutbound(cfg OutboundConfig) *http.Client { return newOutbound(cfg, nil) }

// newOutbound is NewOutbound with the resolver that names are looked up by; nil
// is the system's.
func newOutbound(cfg OutboundConfig, resolver *net.Resolver) *http.Client {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultOutboundTimeout
	}
	dialer := &net.Dialer{Resolver: resolver, KeepAlive: -1}
	if !cfg.Private {
		dialer.Control = refuseSpecialUse
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Client{
		Timeout:       cfg.Timeout,
		CheckRedirect: followNone,
		Transport: &guardedTransport{
			allowHTTP: cfg.HTTP && cfg.Private,
			next: &http.Transport{
				Proxy:                  nil,
				DialContext:            dialer.DialContext,
				TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.CAs},
				Protocols:              &protocols,
				DisableKeepAlives:      true,
				DisableCompression:     true,
				MaxResponseHeaderBytes: maxOutboundHeader,
			},
		},
	}
}

func followNone(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// guardedTransport checks the URL of a request before anything is looked up.
type guardedTransport struct {
	allowHTTP bool
	next      *http.Transport
}

// RoundTrip implements [http.RoundTripper].
func (t *guardedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.check(r.URL); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // as every RoundTripper must; it was never read
		}
		return nil, err
	}
	return t.next.RoundTrip(r)
}

func (t *guardedTransport) check(u *url.URL) error {
	switch {
	case u.Scheme == "http" && t.allowHTTP && isLoopbackHost(u.Hostname()):
	case u.Scheme != "https":
		return fmt.Errorf("%w: scheme %q", ErrOutboundRefused, u.Scheme)
	}
	if u.User != nil {
		return fmt.Errorf("%w: URL with user information", ErrOutboundRefused)
	}
	if p := u.Port(); p != "" && p != "443" {
		if n, err := strconv.Atoi(p); err != nil || n < 1024 || n > 65535 {
			return fmt.Errorf("%w: port %q", ErrOutboundRefused, p)
		}
	}
	return nil
}

// refuseSpecialUse is a [net.Dialer.Control]: it sees the address that is about
// to be connected to, after every lookup.
func refuseSpecialUse(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: address %q", ErrOutboundRefused, address)
	}
	if isSpecialUse(ap.Addr()) {
		return fmt.Errorf("%w: %v is not a public address", ErrOutboundRefused, ap.Addr())
	}
	return nil
}

// publicIPv6 is all of IPv6 that is given out as global unicast (RFC 4291 §2.4).
// Everything outside is refused: loopback, unspecified, ULA, link-local,
// multicast, IPv4-mapped, NAT64 (64:ff9b::/96 and 64:ff9b:1::/48), discard.
var publicIPv6 = netip.MustParsePrefix("2000::/3")

// specialUse is the rest of the IANA special-purpose address registries
// (RFC 6890), with the multicast and reserved ranges of IPv4.
var specialUse = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),       // this network
	netip.MustParsePrefix("10.0.0.0/8"),      // private
	netip.MustParsePrefix("100.64.0.0/10"),   // shared by carriers
	netip.MustParsePrefix("127.0.0.0/8"),     // loopback
	netip.MustParsePrefix("169.254.0.0/16"),  // link-local, cloud metadata
	netip.MustParsePrefix("172.16.0.0/12"),   // private
	netip.MustParsePrefix("192.0.0.0/24"),    // protocol assignments
	netip.MustParsePrefix("192.0.2.0/24"),    // documentation
	netip.MustParsePrefix("192.31.196.0/24"), // AS112
	netip.MustParsePrefix("192.52.193.0/24"), // AMT
	netip.MustParsePrefix("192.88.99.0/24"),  // 6to4 relays
	netip.MustParsePrefix("192.168.0.0/16"),  // private
	netip.MustParsePrefix("192.175.48.0/24"), // AS112
	netip.MustParsePrefix("198.18.0.0/15"),   // benchmarks
	netip.MustParsePrefix("198.51.100.0/24"), // documentation
	netip.MustParsePrefix("203.0.113.0/24"),  // documentation
	netip.MustParsePrefix("224.0.0.0/4"),     // multicast
	netip.MustParsePrefix("240.0.0.0/4"),     // reserved, broadcast

	netip.MustParsePrefix("2001::/23"),         // protocol assignments: Teredo, ORCHID, benchmarks
	netip.MustParsePrefix("2001:db8::/32"),     // documentation
	netip.MustParsePrefix("2002::/16"),         // 6to4
	netip.MustParsePrefix("2620:4f:8000::/48"), // AS112
	netip.MustParsePrefix("3fff::/20"),         // documentation
}

// isSpecialUse reports whether a is anything but a public unicast address.
func isSpecialUse(a netip.Addr) bool {
	if !a.Is4() && !publicIPv6.Contains(a) { // Contains is false for zones and for IPv4-mapped
		return true
	}
	for _, p := range specialUse {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// The two ways in which a document cannot be had. Every error of
// [fetchLimited] is exactly one of them.
var (
	// errDocument: the URL is refused, or what it answers is not acceptable:
	// whoever named it has to change something.
	errDocument = errors.New("document refused")
	// errUnreachable: the host did not answer, or said that it cannot now. The
	// same request may succeed later.
	errUnreachable = errors.New("document unreachable")
)

// fetchLimited gets a document of at most limit bytes with status 200 from a URL
// that a stranger chose. It follows no redirect and takes no compressed body,
// whatever client allows, and gives up after client.Timeout (5 seconds when it
// has none). An answer of 408, 425, 429 or 5xx is errUnreachable, as is
// everything that goes wrong with the connection, certificates included; other
// answers but 200 are errDocument.
func fetchLimited(ctx context.Context, client *http.Client, uri, accept string, limit int64) ([]byte, http.Header, error) {
	c := *client
	c.CheckRedirect = followNone
	if c.Timeout <= 0 {
		c.Timeout = defaultOutboundTimeout
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errDocument, err)
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Accept-Encoding", "identity")
	req.Header.Set("User-Agent", "oauthreg")

	resp, err := c.Do(req)
	if err != nil {
		if errors.Is(err, ErrOutboundRefused) {
			return nil, nil, fmt.Errorf("%w: %w", errDocument, err)
		}
		return nil, nil, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	defer resp.Body.Close()

	switch s := resp.StatusCode; {
	case s == http.StatusOK:
	case s >= 500, s == http.StatusRequestTimeout, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
		return nil, nil, fmt.Errorf("%w: %s answers %d", errUnreachable, uri, s)
	default:
		return nil, nil, fmt.Errorf("%w: %s answers %d", errDocument, uri, s)
	}
	if e := resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, nil, fmt.Errorf("%w: %s has content encoding %q", errDocument, uri, e)
	}
	if resp.ContentLength > limit {
		return nil, nil, fmt.Errorf("%w: %s is larger than %d bytes", errDocument, uri, limit)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, nil, fmt.Errorf("%w: read %s: %w", errUnreachable, uri, err)
	}
	if int64(len(body)) > limit {
		return nil, nil, fmt.Errorf("%w: %s is larger than %d bytes", errDocument, uri, limit)
	}
	return body, resp.Header, nil
}
