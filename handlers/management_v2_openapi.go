package handlers

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"net/http"
)

// openAPIDocument describes the management APIs and the protocol endpoints
// (OpenAPI 3.1), for a server at openAPIIssuer. Tests compare it with the running
// server: whoever adds a route or a member, describes it there.
//
//go:embed openapi/openapi.json
var openAPIDocument []byte

const openAPIIssuer = "http://127.0.0.1:9096"

// openAPI serves GET /openapi.json, with the issuer as the server. Like all
// metadata it is public.
func (s *Server) openAPI() endpoint {
	body := bytes.Replace(openAPIDocument, []byte(`"`+openAPIIssuer+`"`), []byte(`"`+s.cfg.Issuer+`"`), 1)
	sum := sha256.Sum256(body)
	etag := `"` + strictBase64.EncodeToString(sum[:12]) + `"`
	return func(w http.ResponseWriter, r *http.Request) error {
		writeDocument(w, r, "application/json", body, etag)
		return nil
	}
}
