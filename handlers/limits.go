package handlers

import (
	"bytes"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// Bounds on what a request may carry, checked before anything is parsed further.
const (
	maxBody       = 64 << 10 // bytes of a form body
	maxQuery      = 32 << 10 // bytes of a query
	maxParameters = 100
	maxParameter  = 16 << 10 // bytes of one value
	maxState      = 4 << 10
)

// repeatable are the parameters that may stand more than once (RFC 8707 §2).
func repeatable(name string) bool { return name == "resource" }

// formBody reads the parameters of a POST: form-encoded, from the body alone
// (RFC 6749 §3.2). Credentials in the query are refused, not ignored.
func formBody(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.URL.RawQuery != "" {
		return nil, invalidRequest("Parameters belong into the request body.")
	}
	text, err := formText(w, r, maxBody)
	if err != nil {
		return nil, err
	}
	return parseParameters(text)
}

// formText reads a form-encoded body of at most limit bytes.
func formText(w http.ResponseWriter, r *http.Request, limit int64) (string, error) {
	mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mt != "application/x-www-form-urlencoded" {
		return "", invalidRequest("The content type must be application/x-www-form-urlencoded.")
	}
	if r.ContentLength > limit {
		return "", tooLarge()
	}
	body := takeBuffer()
	defer giveBuffer(body)
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, limit)); err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return "", tooLarge()
		}
		return "", invalidRequest("The request body could not be read.").because(err)
	}
	return body.String(), nil
}

// buffers are for bodies that come and go.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func takeBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

// giveBuffer takes a buffer back, of which nobody has read, for the next.
func giveBuffer(b *bytes.Buffer) {
	clear(b.Bytes()) // there are secrets in bodies
	if b.Reset(); b.Cap() <= maxBody {
		buffers.Put(b)
	}
}

// queryParameters reads the parameters of a GET.
func queryParameters(r *http.Request) (url.Values, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return nil, oauthError(http.StatusRequestURITooLong, "invalid_request", "The query is too long.")
	}
	return parseParameters(r.URL.RawQuery)
}

// parseParameters decodes s strictly. An empty parameter counts as absent and a
// repeated one is refused (RFC 6749 §3.1, §3.2); the repeated ones are returned
// in a [repeatedError], because authorize may tell the client about some.
func parseParameters(s string) (url.Values, error) {
	if strings.Count(s, "&") >= maxParameters {
		return nil, invalidRequest("There are too many parameters.")
	}
	if strings.Contains(s, ";") {
		return nil, invalidRequest("The parameters are not form-encoded.")
	}
	all, err := url.ParseQuery(s)
	if err != nil {
		return nil, invalidRequest("The parameters are not form-encoded.")
	}
	var repeated []string
	for name, values := range all {
		kept := values[:0]
		for _, v := range values {
			if len(v) > maxParameter {
				return nil, invalidRequest("A parameter is too long.")
			}
			if v != "" {
				kept = append(kept, v)
			}
		}
		switch {
		case len(values) > 1 && !repeatable(name):
			repeated = append(repeated, name)
			all[name] = values
		case len(kept) == 0:
			delete(all, name)
		default:
			all[name] = kept
		}
	}
	if len(repeated) > 0 {
		return all, &repeatedError{names: repeated}
	}
	return all, nil
}

// repeatedError says that parameters stood more than once.
type repeatedError struct{ names []string }

func (e *repeatedError) Error() string { return "invalid_request: repeated parameter" }

func (e *repeatedError) As(target any) bool {
	if t, ok := target.(**Error); ok {
		*t = invalidRequest("A parameter stands more than once.")
		return true
	}
	return false
}

// has reports whether one of names was repeated.
func (e *repeatedError) has(names ...string) bool {
	for _, n := range e.names {
		for _, want := range names {
			if n == want {
				return true
			}
		}
	}
	return false
}

func tooLarge() *Error {
	return oauthError(http.StatusRequestEntityTooLarge, "invalid_request", "The request body is too large.")
}
