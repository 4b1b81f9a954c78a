package oauthreg

import (
	"errors"
	"strings"
	"time"
)

// Errors to branch on with [errors.Is]. Every store must return these, possibly
// wrapped; any other error means that the store itself failed.
var (
	// ErrNotFound: nothing of that name exists where the caller may see it.
	ErrNotFound = errors.New("oauthreg: not found")

	// ErrConflict: the thing changed since it was read, or its name is taken.
	// Read again and retry.
	ErrConflict = errors.New("oauthreg: conflict")

	// ErrConsumed: a single-use thing was already used. Of any number of
	// concurrent uses exactly one does not get this error.
	ErrConsumed = errors.New("oauthreg: already used")

	// ErrUnavailable: the database cannot be reached, is shutting down, or gave
	// up under contention. Nothing was changed; the same call may succeed
	// later. Stores wrap it around the cause.
	ErrUnavailable = errors.New("oauthreg: store unavailable")
)

// UsedError says when a single-use thing was first used, which tells a lost
// race from a replay. It wraps Err and is [ErrConsumed].
type UsedError struct {
	At  time.Time
	Err error
}

// Error is the text of the wrapped error.
func (e *UsedError) Error() string { return e.Err.Error() }

// Unwrap returns what the error means to the engine, and [ErrConsumed].
func (e *UsedError) Unwrap() []error { return []error{e.Err, ErrConsumed} }

// Codes that a [Problem] may carry, as registered for the error member of a
// registration response (RFC 7591 §3.2.2).
const (
	CodeInvalidRedirectURI    = "invalid_redirect_uri"
	CodeInvalidClientMetadata = "invalid_client_metadata"
)

// Problem is one broken rule of a [Client].
type Problem struct {
	// Field is the metadata name of RFC 7591 §2, for list members with an
	// index: "redirect_uris[1]".
	Field string
	// Code is the RFC 7591 §3.2.2 error code the problem maps to.
	Code string
	// Message says what is wrong, in a sentence without the field's name. It
	// never repeats a secret.
	Message string
}

// InvalidError lists every field of a [Client] that breaks a rule.
// Its text is safe to show to whoever sent the client.
type InvalidError struct{ Problems []Problem }

// Error joins all problems into one line.
func (e *InvalidError) Error() string {
	var b strings.Builder
	b.WriteString("invalid client: ")
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.Field)
		b.WriteString(": ")
		b.WriteString(p.Message)
	}
	return b.String()
}

// Code is the RFC 7591 §3.2.2 error code of the whole: invalid_redirect_uri
// when redirect URIs are the only problem, otherwise invalid_client_metadata.
func (e *InvalidError) Code() string {
	for _, p := range e.Problems {
		if p.Code != CodeInvalidRedirectURI {
			return CodeInvalidClientMetadata
		}
	}
	return CodeInvalidRedirectURI
}
