package handlers

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"

	"go.opentelemetry.io/otel/trace"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// requestInfo is the context of one request, with what the log, the events and the
// traces say of it. It is filled in as the request goes on, by its goroutine alone.
type requestInfo struct {
	context.Context

	id       [1]string // an array, because that is what a header field is made of
	endpoint string
	server   *Server
	request  *http.Request

	address           string // where it comes from, once that is asked
	browser           string // the value of its cookie, once it is looked at
	session, username string // and those of the session cookie

	clientID string           // as it was sent; proven or not
	client   *oauthreg.Client // once it is known which
	subject  string           // the user
	grant    string           // the grant that is made or used

	errorCode string     // the OAuth error of the answer, wherever it went
	span      trace.Span // nil when nobody traces
}

type requestInfoKey struct{}

// Value finds the info itself, and otherwise what the request's own context has.
func (i *requestInfo) Value(key any) any {
	if key == (requestInfoKey{}) {
		return i
	}
	return i.Context.Value(key)
}

// infoOf is the info of the request that ctx belongs to; one that nobody reads
// when there is no request.
func infoOf(ctx context.Context) *requestInfo {
	if i, ok := ctx.Value(requestInfoKey{}).(*requestInfo); ok {
		return i
	}
	return new(requestInfo)
}

// isClient notes which client the request is about.
func (i *requestInfo) isClient(c *oauthreg.Client) { i.client, i.clientID = c, c.ClientID }

// requestID is the id that the answer, the log, the audit log, the events and the
// error page share.
func requestID(ctx context.Context) string { return infoOf(ctx).id[0] }

const requestIDHeader = "X-Request-Id"

// maxRequestID bounds an id that a proxy sent.
const maxRequestID = 128

// newRequestID is the id that a trusted proxy gave the request, or else a new one.
func (s *Server) newRequestID(r *http.Request) string {
	if sent := r.Header[requestIDHeader]; len(sent) == 1 && isRequestID(sent[0]) && s.fromTrustedProxy(r) {
		return sent[0]
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	var text [2 * len(b)]byte
	hex.Encode(text[:], b[:])
	return string(text[:])
}

// isRequestID reports whether an id from outside may stand in a log: letters,
// digits and the marks that ids are made of.
func isRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '_', c == '.', c == ':', c == '/', c == '+', c == '=', c == '@':
		default:
			return false
		}
	}
	return true
}
