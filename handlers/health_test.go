package handlers_test

import (
	"net/http"
	"testing"
)

// The process is alive while it answers, and ready while its database does.
func TestHealth(t *testing.T) {
	bothMounts(t, func(t *testing.T, e *env) {
		get := func(path string) *tokenAnswer {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.issuer+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			return e.send(req)
		}
		if a := get("/healthz"); a.status != http.StatusOK || a.str("status") != "ok" {
			t.Errorf("healthz: %d %s", a.status, a.raw)
		}
		if a := get("/readyz"); a.status != http.StatusOK || a.str("status") != "ready" {
			t.Errorf("readyz: %d %s", a.status, a.raw)
		}
		if err := e.store.Close(); err != nil {
			t.Fatal(err)
		}
		if a := get("/healthz"); a.status != http.StatusOK {
			t.Errorf("healthz without a database: %d %s", a.status, a.raw)
		}
		a := get("/readyz")
		a.wantError(t, http.StatusServiceUnavailable, "temporarily_unavailable")
		if a.header.Get("Retry-After") == "" || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("readyz without a database: header %v", a.header)
		}
	})
}
