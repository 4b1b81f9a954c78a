package authtest

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Endpoint is a place of the server that clients call, by its path below the
// issuer.
type Endpoint string

// The endpoints. MetadataEndpoint stands for every well-known document, and
// AnyEndpoint for everything, also what has no name here.
const (
	AnyEndpoint           Endpoint = ""
	AuthorizeEndpoint     Endpoint = "/oauth/authorize"
	TokenEndpoint         Endpoint = "/oauth/token"
	UserinfoEndpoint      Endpoint = "/oauth/userinfo"
	IntrospectionEndpoint Endpoint = "/oauth/introspect"
	RevocationEndpoint    Endpoint = "/oauth/revoke"
	RegistrationEndpoint  Endpoint = "/oauth/register"
	JWKSEndpoint          Endpoint = "/oauth/jwks"
	MetadataEndpoint      Endpoint = "/.well-known/"
)

func (s *Server) endpointOf(path string) Endpoint {
	if strings.Contains(path, string(MetadataEndpoint)) {
		return MetadataEndpoint
	}
	return Endpoint(strings.TrimPrefix(path, s.base))
}

// Request is a request that reached the server, whatever became of it.
type Request struct {
	Time     time.Time
	Method   string
	URL      *url.URL // path and query
	Endpoint Endpoint
	Header   http.Header
	// Form has the parameters of a form body; those of the query are in URL.
	Form url.Values
	// Body is the body, of which at most 1 MiB is kept.
	Body []byte
	// Status is what was answered; 0 while it is not, and when the connection
	// was closed instead ([Down]).
	Status int
}

// requestLog keeps the requests in order of their arrival.
type requestLog struct {
	mu   sync.Mutex
	seen []*Request
}

const maxKeptBody = 1 << 20

func (l *requestLog) begin(r *http.Request, endpoint Endpoint, now time.Time) *Request {
	u := *r.URL
	seen := &Request{Time: now, Method: r.Method, URL: &u, Endpoint: endpoint, Header: r.Header.Clone(), Form: url.Values{}}
	if r.Body != nil && r.Body != http.NoBody {
		// What cannot be read is for the server to find out.
		seen.Body, _ = io.ReadAll(io.LimitReader(r.Body, maxKeptBody))
		r.Body = readCloser{io.MultiReader(bytes.NewReader(seen.Body), r.Body), r.Body}
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/x-www-form-urlencoded" {
		if form, err := url.ParseQuery(string(seen.Body)); err == nil {
			seen.Form = form
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = append(l.seen, seen)
	return seen
}

func (l *requestLog) end(seen *Request, status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen.Status = status
}

// Requests returns the requests to the named endpoints, oldest first; to all of
// them when none is named. What a client under test sent can be looked at there.
func (s *Server) Requests(endpoints ...Endpoint) []Request {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	var out []Request
	for _, r := range s.log.seen {
		if len(endpoints) == 0 || slices.Contains(endpoints, AnyEndpoint) || slices.Contains(endpoints, r.Endpoint) {
			out = append(out, *r)
		}
	}
	return out
}

type readCloser struct {
	io.Reader
	io.Closer
}

// statusWriter notes the status.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader is part of [http.ResponseWriter].
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Write is part of [http.ResponseWriter].
func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
