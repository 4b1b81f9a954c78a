package handlers

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestClientAddress(t *testing.T) {
	proxies := []netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("203.0.113.7/32"),
	}
	for _, tt := range []struct {
		name      string
		peer      string
		forwarded []string
		trusted   []netip.Prefix
		want      string
	}{
		{"IPv4", "192.0.2.1:1234", nil, nil, "192.0.2.1"},
		{"IPv4 without a port", "192.0.2.1", nil, nil, "192.0.2.1"},
		{"IPv6 by its /64", "[2001:db8:1:2:3:4:5:6]:1234", nil, nil, "2001:db8:1:2::/64"},
		{"IPv6 spelled otherwise", "[2001:0DB8:0001:0002::1]:1", nil, nil, "2001:db8:1:2::/64"},
		{"IPv6 with a zone", "[fe80::1%eth0]:1", nil, nil, "fe80::/64"},
		{"IPv4-mapped", "[::ffff:192.0.2.1]:1", nil, nil, "192.0.2.1"},
		{"IPv4-mapped, hexadecimal", "[::ffff:c000:201]:1", nil, nil, "192.0.2.1"},
		{"Unix socket", "@", nil, nil, "unknown"},
		{"no address", "", []string{"192.0.2.9"}, proxies, "unknown"},

		{"nobody is trusted", "10.0.0.1:1", []string{"192.0.2.9"}, nil, "10.0.0.1"},
		{"spoofed by a stranger", "192.0.2.1:1", []string{"198.51.100.1"}, proxies, "192.0.2.1"},
		{"spoofed as a proxy by a stranger", "192.0.2.1:1", []string{"198.51.100.1, 10.0.0.1"}, proxies, "192.0.2.1"},
		{"behind a proxy", "10.0.0.1:1", []string{"192.0.2.9"}, proxies, "192.0.2.9"},
		{"behind a mapped proxy", "[::ffff:10.0.0.1]:1", []string{"192.0.2.9"}, proxies, "192.0.2.9"},
		{"behind an IPv6 proxy with a zone", "[fd00::1%eth0]:1", []string{"192.0.2.9"}, proxies, "192.0.2.9"},
		{"behind two proxies", "10.0.0.1:1", []string{"192.0.2.9, 203.0.113.7"}, proxies, "192.0.2.9"},
		{"what the client wrote itself", "10.0.0.1:1", []string{"198.51.100.1, 192.0.2.9"}, proxies, "192.0.2.9"},
		{"what the client wrote itself, trusted", "10.0.0.1:1", []string{"10.9.9.9, 192.0.2.9"}, proxies, "192.0.2.9"},
		{"several fields", "10.0.0.1:1", []string{"198.51.100.1", "192.0.2.9, 10.0.0.2"}, proxies, "192.0.2.9"},
		{"several fields, the client in an earlier one", "10.0.0.1:1", []string{"198.51.100.1, 192.0.2.9", "10.0.0.2"}, proxies, "192.0.2.9"},
		{"only proxies", "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, proxies, "10.0.0.3"},
		{"no field", "10.0.0.1:1", nil, proxies, "10.0.0.1"},
		{"empty field", "10.0.0.1:1", []string{""}, proxies, "10.0.0.1"},
		{"empty entry ends the walk", "10.0.0.1:1", []string{"192.0.2.9, , 10.0.0.2"}, proxies, "10.0.0.2"},
		{"malformed entry ends the walk", "10.0.0.1:1", []string{"192.0.2.9, junk"}, proxies, "10.0.0.1"},
		{"unknown ends the walk", "10.0.0.1:1", []string{"192.0.2.9, unknown, 10.0.0.2"}, proxies, "10.0.0.2"},
		{"leading zeros are no address", "10.0.0.1:1", []string{"192.0.2.010"}, proxies, "10.0.0.1"},
		{"very long entry", "10.0.0.1:1", []string{"192.0.2.9%" + strings.Repeat("a", 10_000)}, proxies, "10.0.0.1"},
		{"endless proxies", "10.0.0.1:1", []string{"192.0.2.9" + strings.Repeat(",10.0.0.2", 10_000)}, proxies, "10.0.0.2"},
		{"with a port", "10.0.0.1:1", []string{"192.0.2.9:5555"}, proxies, "192.0.2.9"},
		{"IPv6", "10.0.0.1:1", []string{"2001:db8::9"}, proxies, "2001:db8::/64"},
		{"IPv6 in brackets", "10.0.0.1:1", []string{"[2001:db8::9]"}, proxies, "2001:db8::/64"},
		{"IPv6 with a port", "10.0.0.1:1", []string{"[2001:db8::9]:443"}, proxies, "2001:db8::/64"},
		{"mapped client", "10.0.0.1:1", []string{"::ffff:192.0.2.9"}, proxies, "192.0.2.9"},
		{"tabs and no spaces", "10.0.0.1:1", []string{"192.0.2.9\t,10.0.0.2"}, proxies, "192.0.2.9"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &Server{cfg: Config{TrustedProxies: tt.trusted}}
			r := &http.Request{RemoteAddr: tt.peer, Header: http.Header{}}
			for _, f := range tt.forwarded {
				r.Header.Add("X-Forwarded-For", f)
			}
			if got := s.clientAddress(r); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Whatever stands in the field, the result is canonical, and without a trusted
// peer it is the peer.
func FuzzForwardedFor(f *testing.F) {
	for _, s := range []string{"", ",", "192.0.2.9", "1.1.1.1, 10.0.0.2", "[::1]:80", "::ffff:1.2.3.4", "fe80::1%a,10.1.1.1", "[1.2.3.4]"} {
		f.Add(s, s)
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	stranger, proxy := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.0.0.1")
	f.Fuzz(func(t *testing.T, first, second string) {
		fields := []string{first, second}
		if got := forwardedFor(stranger, fields, trusted); got != stranger {
			t.Errorf("a stranger is believed: %v", got)
		}
		got := forwardedFor(proxy, fields, trusted)
		if !got.IsValid() || got.Is4In6() || got.Zone() != "" {
			t.Errorf("got %v, which is not canonical", got)
		}
		if last := strings.Trim(second[strings.LastIndexByte(second, ',')+1:], " \t"); got != proxy {
			// Whoever is believed is the last entry, or stands behind trusted ones.
			if a, ok := parseAddress(last); !ok || a != got && !isTrusted(a, trusted) {
				t.Errorf("got %v behind %q", got, last)
			}
		}
	})
}
