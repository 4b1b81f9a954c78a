package handlers

import (
	"net/http"
	"slices"
	"strings"

	"github.com/oauthreg/oauthreg/handlers/bearer"
)

// resourceMetadataPath is the well-known path of RFC 9728 §3.
const resourceMetadataPath = "/.well-known/oauth-protected-resource"

// ResourceMetadataURL is where the metadata of a protected resource stands
// (RFC 9728 §3.1): the well-known path between its host and its path. It is what a
// resource server names in its challenge, for example in the ResourceMetadata
// field of the bearer middleware. Empty if resource is not an http or https URL.
func ResourceMetadataURL(resource string) string { return bearer.MetadataURL(resource) }

// resourceMetadataRoutes mounts the metadata of every known resource that lives
// on the issuer's origin. Those of other hosts have to serve theirs.
func (s *Server) resourceMetadataRoutes() {
	if s.base != "" { // for clients that look below the issuer
		s.open(resourceMetadataPath, "protected resource", s.serveResourceMetadata(s.cfg.Issuer), http.MethodGet, http.MethodHead)
	}
	origin := s.issuer.Scheme + "://" + s.issuer.Host
	seen := map[string]bool{}
	for _, resource := range s.resources {
		path, ours := strings.CutPrefix(ResourceMetadataURL(resource), origin)
		if !ours || seen[path] || strings.ContainsAny(path, "{}?") {
			continue
		}
		seen[path] = true
		s.openAt(path, "protected resource", s.serveResourceMetadata(resource), http.MethodGet, http.MethodHead)
	}
}

func (s *Server) serveResourceMetadata(resource string) endpoint {
	// Clients ask for all that is listed here when nothing tells them better. So
	// what is no use at the resource, or not for every client, stays out.
	scopes := slices.DeleteFunc(slices.Clone(s.metadata.scopes), func(scope string) bool {
		return scope == "offline_access" || scope == adminScope && resource != ManagementResource(s.cfg.Issuer)
	})
	return func(w http.ResponseWriter, _ *http.Request) error {
		writeJSON(w, http.StatusOK, s.resourceMetadata(resource, scopes))
		return nil
	}
}

func (s *Server) resourceMetadata(resource string, scopes []string) bearer.ProtectedResource {
	return bearer.ProtectedResource{
		Resource: resource, AuthorizationServers: []string{s.cfg.Issuer},
		ScopesSupported: scopes, BearerMethodsSupported: []string{"header"},
	}
}
