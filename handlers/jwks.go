package handlers

import "net/http"

// serveJWKS serves GET /oauth/jwks (RFC 7517 §5): the public keys that are about
// to sign, sign, or signed what may still be in use.
func (s *Server) serveJWKS(w http.ResponseWriter, r *http.Request) error {
	body, etag, err := s.keys.PublicJSON(r.Context())
	if err != nil {
		return err
	}
	writeDocument(w, r, "application/jwk-set+json", body, etag)
	return nil
}

// writeDocument answers with a public document that caches may keep for a short
// while and any origin may read.
func writeDocument(w http.ResponseWriter, r *http.Request, contentType string, body []byte, etag string) {
	h := w.Header()
	h.Set("Cache-Control", "public, max-age=60")
	h.Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", contentType)
	_, _ = w.Write(body) // the client went away; nothing to tell it
}
