package mounting

import (
	"net/http"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/handlers/bearer"
)

// Chi mounts a server whose issuer has the path /auth, and an API that wants its
// tokens. Middleware of net/http is middleware of chi.
func Chi(server *handlers.Server, api bearer.Config) http.Handler {
	r := chi.NewRouter()
	r.Use(middleware.Recoverer)
	r.Handle("/auth/*", server)
	r.Handle("/.well-known/*", server)
	r.With(bearer.Middleware(api)).Get("/api/me", func(w http.ResponseWriter, r *http.Request) {
		token, _ := bearer.FromContext(r.Context())
		_, _ = w.Write([]byte(token.Subject))
	})
	return r
}
