package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Error is an error as a client may see it: a registered code, a sentence, and
// the status and headers that belong to it.
type Error struct {
	// Code is the registered error code (RFC 6749 §4.1.2.1, §5.2 and the
	// registry of RFC 6749 §11.4).
	Code string
	// Description is error_description: printable ASCII without " and \.
	Description string
	// Status is the HTTP status where the error is answered directly.
	Status int
	// Field is the registered member of the client that decided, by its
	// RFC 7591 name; empty when none did.
	Field string
	// RetryAfter goes into the Retry-After header, in whole seconds, when not zero.
	RetryAfter time.Duration

	challenge string // WWW-Authenticate
	cause     error  // for the log, never shown
	// wayOn says that a page tells how to go on: to the application, if it is
	// known and has a page, and to the user's account.
	wayOn  bool
	client ClientView
}

// Error is the code and the description.
func (e *Error) Error() string {
	if e.Description == "" {
		return e.Code
	}
	return e.Code + ": " + e.Description
}

// Unwrap returns the cause, which is never shown to a client.
func (e *Error) Unwrap() error { return e.cause }

func oauthError(status int, code, description string) *Error {
	return &Error{Code: code, Description: description, Status: status}
}

func (e *Error) because(err error) *Error {
	e.cause = err
	return e
}

func (e *Error) decidedBy(field string) *Error {
	e.Field = field
	return e
}

// decided is decidedBy for an error that may be nil.
func (e *Error) decided(field string) *Error {
	if e == nil {
		return nil
	}
	return e.decidedBy(field)
}

// The errors of RFC 6749 §5.2 and its neighbors that the endpoints use most.

func invalidRequest(description string) *Error {
	return oauthError(http.StatusBadRequest, "invalid_request", description)
}

func invalidGrant(description string) *Error {
	return oauthError(http.StatusBadRequest, "invalid_grant", description)
}

func invalidScope(description string) *Error {
	return oauthError(http.StatusBadRequest, "invalid_scope", description)
}

func invalidTarget(description string) *Error { // RFC 8707 §2
	return oauthError(http.StatusBadRequest, "invalid_target", description)
}

func unauthorizedClient(description string) *Error {
	return oauthError(http.StatusBadRequest, "unauthorized_client", description)
}

// invalidClient is the one answer to failed client authentication: unknown,
// suspended, wrong method and wrong secret look alike.
func invalidClient() *Error {
	return oauthError(http.StatusUnauthorized, "invalid_client", "Client authentication failed.")
}

func serverError(cause error) *Error {
	return oauthError(http.StatusInternalServerError, "server_error", "The server failed; the request id is in its log.").because(cause)
}

func unavailable(cause error) *Error {
	e := oauthError(http.StatusServiceUnavailable, "temporarily_unavailable", "The server cannot answer now; try again.").because(cause)
	e.RetryAfter = time.Second
	return e
}

func slowDown(after time.Duration) *Error {
	e := oauthError(http.StatusTooManyRequests, "temporarily_unavailable", "Too many requests; try again later.")
	e.RetryAfter = after
	return e
}

// toOAuth turns any error into what a client may see. It is the only place that
// does: whatever is not known here is server_error without detail.
func toOAuth(err error) *Error {
	var own *Error
	var engine *fosite.RFC6749Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, oauthreg.ErrUnavailable),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return unavailable(err)
	case errors.As(err, &engine):
		return fromEngine(engine, err)
	default:
		return serverError(err)
	}
}

// fromEngine maps the engine's errors. Codes that are not registered (RFC 6749
// §11.4) never leave the server; those that stand for a failure of ours are 5xx.
func fromEngine(e *fosite.RFC6749Error, err error) *Error {
	switch e.ErrorField {
	case "invalid_request", "invalid_grant", "invalid_scope", "unauthorized_client",
		"unsupported_grant_type", "unsupported_response_type", "access_denied":
		return oauthError(http.StatusBadRequest, e.ErrorField, e.DescriptionField).because(err)
	case "invalid_client":
		return invalidClient().because(err)
	default:
		return serverError(err)
	}
}

// failer writes an error in the form its reader expects.
type failer func(s *Server, w http.ResponseWriter, r *http.Request, e *Error)

// failJSON is for programs (RFC 6749 §5.2).
func failJSON(_ *Server, w http.ResponseWriter, _ *http.Request, e *Error) {
	h := w.Header()
	if e.challenge != "" {
		h.Add("WWW-Authenticate", e.challenge)
	}
	setRetryAfter(h, e)
	writeJSON(w, e.Status, struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{e.Code, e.Description})
}

// failPage is for people: a browser shows it, and nothing is redirected.
func failPage(s *Server, w http.ResponseWriter, r *http.Request, e *Error) {
	setRetryAfter(w.Header(), e)
	s.setPageHeaders(w.Header(), "")
	p := ErrorPage{Status: e.Status, Code: e.Code, Description: e.Description, RequestID: requestID(r.Context()), Client: e.client}
	if e.wayOn {
		p.Account = s.base + "/account"
	}
	if err := s.pages.Error(w, r, p); err != nil {
		s.log.ErrorContext(r.Context(), "error page", "err", err)
	}
}

func setRetryAfter(h http.Header, e *Error) {
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
}

// Values of header fields that most answers share. They are never changed: who adds
// one gets a slice of their own, because these have no room.
var (
	jsonType     = []string{"application/json"}
	noStore      = []string{"no-store"}
	noCache      = []string{"no-cache"}
	anyOrigin    = []string{"*"}
	exposeHeader = []string{"WWW-Authenticate, Retry-After"}
)

// writeJSON answers with a JSON body that caches must not keep (RFC 6749 §5.1).
func writeJSON(w http.ResponseWriter, status int, body any) {
	buf := takeBuffer()
	defer giveBuffer(buf)
	var b []byte
	if own, ok := body.(jsonAppender); ok {
		buf.Write(own.appendJSON(buf.AvailableBuffer()))
		b = buf.Bytes()
	} else {
		if err := json.NewEncoder(buf).Encode(body); err != nil {
			status = http.StatusInternalServerError
			buf.Reset()
			buf.WriteString(`{"error":"server_error"}` + "\n")
		}
		b = buf.Bytes()[:buf.Len()-1] // without the line's end
	}
	h := w.Header()
	if len(b) > 2<<10 { // net/http would send it in chunks
		h.Set("Content-Length", strconv.Itoa(len(b)))
	}
	h["Content-Type"], h["Cache-Control"], h["Pragma"] = jsonType, noStore, noCache
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client went away; nothing to tell it
}
