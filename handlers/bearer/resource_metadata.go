package bearer

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// ProtectedResource is the metadata of a protected resource (RFC 9728 §2), from
// which clients learn where to get a token for it. Empty fields are left out.
type ProtectedResource struct {
	// Resource is the resource identifier: an https URL without fragment (http
	// on localhost, 127.0.0.1 and ::1). It is [Config.Resource], and what clients
	// send as resource (RFC 8707). Required.
	Resource string `json:"resource"`
	// AuthorizationServers are the issuer identifiers of those whose tokens are
	// accepted.
	AuthorizationServers []string `json:"authorization_servers,omitempty"`
	// ScopesSupported are scopes that are of use here; not necessarily all.
	ScopesSupported []string `json:"scopes_supported,omitempty"`
	// BearerMethodsSupported is how tokens may be sent. nil means header, the
	// only way that [Middleware] takes.
	BearerMethodsSupported []string `json:"bearer_methods_supported,omitempty"`
	// ResourceName is a name for people; the three after it are URLs of pages for
	// people.
	ResourceName          string `json:"resource_name,omitempty"`
	ResourceDocumentation string `json:"resource_documentation,omitempty"`
	ResourcePolicyURI     string `json:"resource_policy_uri,omitempty"`
	ResourceTOSURI        string `json:"resource_tos_uri,omitempty"`
}

// wellKnownResource is the well-known path of RFC 9728 §3.
const wellKnownResource = "/.well-known/oauth-protected-resource"

// MetadataURL is where the metadata of a protected resource stands (RFC 9728
// §3.1): the well-known path between its host and its path. It is
// [Config.ResourceMetadata]. Empty if resource is not an http or https URL.
func MetadataURL(resource string) string {
	u, err := url.Parse(resource)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return ""
	}
	at := u.Scheme + "://" + u.Host + wellKnownResource + strings.TrimSuffix(u.EscapedPath(), "/")
	if u.RawQuery != "" {
		at += "?" + u.RawQuery
	}
	return at
}

// NewMetadataHandler returns the handler that serves the metadata of a protected
// resource, at the path of [MetadataURL]. Programs of any web origin may read it.
// It returns an error that names everything wrong with p, and is safe for
// concurrent use.
func NewMetadataHandler(p ProtectedResource) (http.Handler, error) {
	var errs []error
	u, err := url.Parse(p.Resource)
	switch {
	case err != nil || u.Host == "" || u.User != nil || strings.Contains(p.Resource, "#"),
		u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		errs = append(errs, fmt.Errorf("bearer: ProtectedResource.Resource: %q is not an https URL without fragment (RFC 9728 §1.2)", p.Resource))
	}
	for _, issuer := range p.AuthorizationServers {
		if !isSecureURL(issuer) {
			errs = append(errs, fmt.Errorf("bearer: ProtectedResource.AuthorizationServers: %q is not an https URL without query and fragment", issuer))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if p.BearerMethodsSupported == nil {
		p.BearerMethodsSupported = []string{"header"}
	}
	body, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("bearer: encode metadata: %w", err)
	}
	return metadataHandler(body), nil
}

type metadataHandler []byte

// ServeHTTP implements [http.Handler].
func (body metadataHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	methods := []string{http.MethodGet, http.MethodHead, http.MethodOptions}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	switch {
	case r.Method == http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept, MCP-Protocol-Version")
		h.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
	case slices.Contains(methods, r.Method):
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "public, max-age=300")
		_, _ = w.Write(body) // the client went away; nothing to tell it
	default:
		h.Set("Allow", strings.Join(methods, ", "))
		http.Error(w, "The metadata can only be read.", http.StatusMethodNotAllowed)
	}
}
