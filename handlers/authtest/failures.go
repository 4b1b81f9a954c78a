package authtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Failure is what goes wrong at an endpoint, in place of the answer. It is made
// by [Down], [Slow], [Status], [OAuthError], [RateLimited] or [Answer], and given
// to [Server.Fail].
type Failure struct {
	down   bool
	delay  time.Duration
	status int // 0: the server answers
	header http.Header
	body   string
	times  int // 0: until healed
}

// Down closes the connection without an answer.
func Down() Failure { return Failure{down: true} }

// Slow answers as usual, but d later: by the machine's clock, since that is what
// the client's timeout goes by. It waits no longer than the client does.
func Slow(d time.Duration) Failure { return Failure{delay: d} }

// Status answers with a status and a page that is no OAuth error, as a proxy in
// front of the server would.
func Status(status int) Failure {
	return Answer(status, "text/html", fmt.Sprintf("<h1>%d %s</h1>", status, http.StatusText(status)))
}

// OAuthError answers with an error of RFC 6749 §5.2: status 401 for
// invalid_client, 500 for server_error, 503 for temporarily_unavailable, 400 for
// every other code.
func OAuthError(code, description string) Failure {
	status := http.StatusBadRequest
	switch code {
	case "invalid_client", "invalid_token":
		status = http.StatusUnauthorized
	case "server_error":
		status = http.StatusInternalServerError
	case "temporarily_unavailable":
		status = http.StatusServiceUnavailable
	}
	body, err := json.Marshal(struct {
		Error       string `json:"error"`
		Description string `json:"error_description,omitempty"`
	}{code, description})
	if err != nil {
		panic(err) // two strings
	}
	return Answer(status, "application/json", string(body))
}

// RateLimited answers with 429 and a Retry-After of d, rounded up to seconds.
func RateLimited(d time.Duration) Failure {
	f := Status(http.StatusTooManyRequests)
	f.header.Set("Retry-After", strconv.Itoa(int((d+time.Second-1)/time.Second)))
	return f
}

// Answer answers with anything at all.
func Answer(status int, contentType, body string) Failure {
	return Failure{status: status, header: http.Header{"Content-Type": {contentType}, "Cache-Control": {"no-store"}}, body: body}
}

// Times makes the failure happen n times, after which the endpoint works again.
// Without it, it lasts until it is healed.
func (f Failure) Times(n int) Failure {
	f.times = n
	return f
}

// faults are the failures that are to happen, each with how often yet.
type faults struct {
	mu   sync.Mutex
	list []*fault
}

type fault struct {
	endpoint Endpoint
	Failure
}

// next is what the next request to an endpoint meets: the failure that was asked
// for last.
func (f *faults) next(e Endpoint) *fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := len(f.list) - 1; i >= 0; i-- {
		v := f.list[i]
		if v.endpoint != AnyEndpoint && v.endpoint != e {
			continue
		}
		if v.times > 0 {
			if v.times--; v.times == 0 {
				f.list = slices.Delete(f.list, i, i+1)
			}
		}
		return v
	}
	return nil
}

// Fail makes an endpoint fail from now on, or as often as [Failure.Times] says.
// heal ends it; calling that again, or never, does no harm. Of several failures
// at one endpoint the last one counts.
//
// A test's own [Browser] and clients meet the failure alike; [Server.Mint] does
// not, because it makes no request.
func (s *Server) Fail(e Endpoint, f Failure) (heal func()) {
	v := &fault{endpoint: e, Failure: f}
	s.faults.mu.Lock()
	s.faults.list = append(s.faults.list, v)
	s.faults.mu.Unlock()
	return func() {
		s.faults.mu.Lock()
		defer s.faults.mu.Unlock()
		s.faults.list = slices.DeleteFunc(s.faults.list, func(have *fault) bool { return have == v })
	}
}

// inject lets a request fail, and reports whether it was answered.
func (s *Server) inject(w http.ResponseWriter, r *http.Request, f *fault) bool {
	if f.delay > 0 {
		timer := time.NewTimer(f.delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		case <-s.closing:
			panic(http.ErrAbortHandler)
		}
	}
	switch {
	case f.down:
		panic(http.ErrAbortHandler) // closes the connection
	case f.status == 0:
		return false
	}
	for name, values := range f.header {
		w.Header()[name] = values
	}
	w.WriteHeader(f.status)
	_, _ = w.Write([]byte(f.body)) // the client went away; nothing to tell it
	return true
}
