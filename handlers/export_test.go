package handlers

import (
	"net/http"
	"net/netip"
	"slices"
)

// NewOutboundResolving is [NewOutbound] with names that lookup resolves.
func NewOutboundResolving(cfg OutboundConfig, lookup func(name string) []netip.Addr) *http.Client {
	return newOutbound(cfg, fakeResolver(lookup))
}

// ServedByV2 are the paths below the base of a [Server.ManagementV2] that have a
// handler of their own; one with a trailing slash stands for what is below it.
func ServedByV2(h http.Handler) []string { return slices.Clone(h.(*managementV2).served) }

// OpenAPIDocument is the description as it stands in the repository.
func OpenAPIDocument() []byte { return slices.Clone(openAPIDocument) }
