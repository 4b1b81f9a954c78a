package handlers

import (
	"net/http"
	"slices"
	"strings"
)

// routes is the whole public surface, readable at a glance.
func (s *Server) routes() {
	const get, post = http.MethodGet, http.MethodPost

	// Protocol endpoints that programs call; any web origin may. What clients
	// call goes through byClient: it cannot be reached without its first steps.
	s.open("/oauth/token", "token", s.byClient(s.token), post)
	s.open("/oauth/introspect", "introspect", s.byClient(s.introspect), post)
	s.open("/oauth/revoke", "revoke", s.byClient(s.revoke), post)
	s.open("/oauth/userinfo", "userinfo", s.userinfo, get, post)
	s.open("/oauth/jwks", "jwks", s.serveJWKS, get, http.MethodHead)

	s.registrationRoutes()

	s.metadataRoutes()
	s.resourceMetadataRoutes()

	// What a browser walks through. HEAD is not GET here: it would do a step.
	s.page("/oauth/authorize", "authorize", s.authorize, get, post)
	s.page("/oauth/authorize/answer", "answer", s.answerPage, get)
	s.page(resumePath, "resume", s.resume, get)
	s.page("/consent", "consent", s.consent, get, post)
	if s.signOuter != nil {
		s.page("/oauth/logout", "logout", s.logout, get, post)
	}
	s.styleRoute(get, http.MethodHead)
	s.plain("/app-logo", "logo", s.appLogo, get, http.MethodHead)
	s.accountRoutes(s.page)
	if s.builtin != nil {
		s.builtin.routes(s.page)
	}

	s.plain("/healthz", "healthz", s.healthz, get, http.MethodHead)
	s.plain("/readyz", "readyz", s.readyz, get, http.MethodHead)
}

// open mounts an endpoint for programs, with CORS and JSON errors.
func (s *Server) open(path, name string, e endpoint, methods ...string) {
	s.openAt(s.base+path, name, e, methods...)
}

// openAt is open for a path that does not lie below the issuer.
func (s *Server) openAt(path, name string, e endpoint, methods ...string) {
	s.mount(path, cors(strings.Join(methods, ", "), s.handle(name, only(methods, e), failJSON)))
}

// mount gives an absolute path its handler.
func (s *Server) mount(path string, h http.Handler) {
	s.served = append(s.served, path)
	s.mux.Handle(path, h)
}

// plain is open without CORS.
func (s *Server) plain(path, name string, e endpoint, methods ...string) {
	s.mount(s.base+path, s.handle(name, only(methods, e), failJSON))
}

// page mounts a step for people: errors are pages, and no other origin may read.
func (s *Server) page(path, name string, e endpoint, methods ...string) {
	s.mount(s.base+path, s.handle(name, only(methods, e), failPage))
}

// only refuses every other method (RFC 9110 §15.5.6).
func only(methods []string, e endpoint) endpoint {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return oauthError(http.StatusMethodNotAllowed, "invalid_request", "The endpoint does not answer this method.")
		}
		return e(w, r)
	}
}
