package handlers

import (
	"crypto/sha256"
	_ "embed"
	"net/http"
)

// openAPIDocument describes the management API and the protocol endpoints
// (OpenAPI 3.1). A test compares it with the running server.
//
//go:embed openapi/openapi.json
var openAPIDocument []byte

// openAPI serves GET /openapi.json. Like all metadata it is public.
func (v *managementV2) openAPI(w http.ResponseWriter, r *http.Request) error {
	writeDocument(w, r, "application/json", openAPIDocument, openAPITag)
	return nil
}

var openAPITag = func() string {
	sum := sha256.Sum256(openAPIDocument)
	return `"` + strictBase64.EncodeToString(sum[:12]) + `"`
}()
