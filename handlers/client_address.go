package handlers

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxForwarded bounds how many proxies are walked past.
const maxForwarded = 32

// clientAddress is where r comes from, in the one spelling that limiter keys
// use: IPv4 as it is, IPv6 by its /64 (one customer has all of it), "unknown"
// when the connection has no IP address.
//
// X-Forwarded-For counts only when the connection comes from a trusted proxy:
// then the last address that is not a trusted proxy's is the client. Whatever
// stands before it, the client may have written itself.
func (s *Server) clientAddress(r *http.Request) string {
	info := infoOf(r.Context())
	if info.address == "" {
		info.address = s.addressOf(r)
	}
	return info.address
}

func (s *Server) addressOf(r *http.Request) string {
	peer, ok := parseAddress(r.RemoteAddr)
	if !ok {
		return "unknown"
	}
	a := forwardedFor(peer, r.Header["X-Forwarded-For"], s.cfg.TrustedProxies)
	if a.Is4() {
		return a.String()
	}
	network, err := a.Prefix(64)
	if err != nil {
		return "unknown" // cannot be: a is IPv6
	}
	return network.String()
}

// forwardedFor walks the X-Forwarded-For fields from the right, as long as the
// address it stands on is trusted. An entry that is not an address ends the
// walk, so that the proxy that sent it is the client.
func forwardedFor(peer netip.Addr, fields []string, trusted []netip.Prefix) netip.Addr {
	current := peer
	i := len(fields) - 1
	var rest string
	if i >= 0 {
		rest = fields[i]
	}
	for range maxForwarded {
		if i < 0 || !isTrusted(current, trusted) {
			break
		}
		entry, last := rest, true
		if comma := strings.LastIndexByte(rest, ','); comma >= 0 {
			entry, rest, last = rest[comma+1:], rest[:comma], false
		}
		a, ok := parseAddress(strings.Trim(entry, " \t"))
		if !ok {
			break
		}
		current = a
		if last {
			if i--; i >= 0 {
				rest = fields[i]
			}
		}
	}
	return current
}

// fromTrustedProxy reports whether the connection itself is a trusted proxy's.
func (s *Server) fromTrustedProxy(r *http.Request) bool {
	peer, ok := parseAddress(r.RemoteAddr)
	return ok && isTrusted(peer, s.cfg.TrustedProxies)
}

func isTrusted(a netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// parseAddress reads an IP address with or without a port, IPv6 with or without
// brackets. IPv4-mapped addresses become IPv4, zones are dropped.
func parseAddress(s string) (netip.Addr, bool) {
	const longest = len("[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%abcdefghijklmnop]:65535")
	if len(s) > longest {
		return netip.Addr{}, false
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s += ":0"
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			return netip.Addr{}, false
		}
		a = ap.Addr()
	}
	return a.Unmap().WithZone(""), true
}
