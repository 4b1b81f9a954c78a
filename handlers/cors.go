package handlers

import (
	"net/http"
	"strings"
)

const (
	// corsHeaders are what every browser application may send.
	corsHeaders = "Authorization, Content-Type, Accept, DPoP, MCP-Protocol-Version"
	// maxCORSHeaders and maxCORSHeader bound what a preflight may ask for beside.
	maxCORSHeaders = 32
	maxCORSHeader  = 64 // bytes of a name
)

// cors lets browser applications of any origin call an endpoint. Nothing here
// relies on cookies, so no credentials are allowed, and any origin may read and
// send what headers it likes, as any program can: libraries have some of their
// own. It never stands on authorize, sign-in, consent or the management of
// clients.
func cors(methods string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h["Access-Control-Allow-Origin"] = anyOrigin
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", methods+", OPTIONS")
			h.Set("Access-Control-Allow-Headers", allowedHeaders(r.Header.Values("Access-Control-Request-Headers")))
			h.Set("Access-Control-Max-Age", "600")
			h.Set("Vary", "Access-Control-Request-Headers")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		h["Access-Control-Expose-Headers"] = exposeHeader
		next.ServeHTTP(w, r)
	})
}

// allowedHeaders are the usual headers, and those that the lines of a preflight
// ask for if all of them are names.
func allowedHeaders(lines []string) string {
	allowed := corsHeaders
	if len(lines) == 0 {
		return allowed
	}
	names := strings.Split(strings.Join(lines, ","), ",")
	if len(names) > maxCORSHeaders {
		return corsHeaders
	}
	for _, name := range names {
		name = strings.Trim(name, " \t")
		if !isToken(name) || len(name) > maxCORSHeader {
			return corsHeaders
		}
		allowed += ", " + name
	}
	return allowed
}

// isToken is the grammar of a header's name (RFC 9110 §5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
