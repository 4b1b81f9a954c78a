package main

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/handlers/bearer"
)

// mount puts a sample protected resource, <issuer>/api, and the two management
// APIs beside the server, and the admin console unless figures is nil. Whoever
// has key is home.
func mount(server *handlers.Server, issuer, key string, home handlers.Principal, figures *handlers.Figures, log *slog.Logger) (http.Handler, error) {
	u, err := url.Parse(issuer)
	if err != nil {
		return nil, err
	}
	guard := bearer.Middleware(bearer.Config{Verifier: server.Verifier(), Resource: issuer + "/api", ResourceMetadata: handlers.ResourceMetadataURL(issuer + "/api"), Logger: log})
	mux := http.NewServeMux()
	handle := mux.Handle
	if figures != nil {
		console := server.Console(handlers.ConsoleConfig{Key: key, Home: home, Figures: figures})
		mux.Handle(u.Path+"/admin", console) // whoever looks is not counted
		mux.Handle(u.Path+"/admin/", console)
		handle = func(pattern string, h http.Handler) { mux.Handle(pattern, figures.Count(h)) }
	}
	handle("/", server)
	handle(u.Path+"/api/whoami", guard(http.HandlerFunc(whoami)))
	management := handlers.ManagementConfig{Authenticate: server.AdminKey(key, home)}
	handle(u.Path+"/v2/", server.ManagementV2(management))
	handle(u.Path+"/api/v1/", server.ManagementProjects(management))
	return mux, nil
}

// whoami serves GET /api/whoami: what the access token says of its bearer.
func whoami(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	token, ok := bearer.FromContext(r.Context())
	if !ok { // wired without the middleware
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(map[string]string{ // the client went away; nothing to tell it
		"sub": token.Subject, "client_id": token.ClientID, "scope": strings.Join(token.Scopes, " "),
	})
}
