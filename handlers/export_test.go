package handlers

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// NewOutboundResolving is [NewOutbound] with names that lookup resolves.
func NewOutboundResolving(cfg OutboundConfig, lookup func(name string) []netip.Addr) *http.Client {
	return newOutbound(cfg, fakeResolver(lookup))
}

// Served are the paths below the issuer that have a handler.
func (s *Server) Served() []string {
	var out []string
	for _, path := range s.served {
		if below, ok := strings.CutPrefix(path, s.base); ok {
			out = append(out, below)
		}
	}
	return out
}

// ServedByV2 are the paths below the base of a [Server.ManagementV2] that have a
// handler of their own; one with a trailing slash stands for what is below it.
func ServedByV2(h http.Handler) []string { return slices.Clone(h.(*managementV2).served) }

// OpenAPIDocument is the description as it stands in the repository.
func OpenAPIDocument() []byte { return slices.Clone(openAPIDocument) }
