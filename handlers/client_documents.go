package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

const (
	maxClientDocument  = 5 << 10 // bytes, as the draft recommends (§8.7)
	maxClientDocuments = 1024    // remembered at once, good or not

	// staleClientDocument is how long after it was fetched a document counts for
	// a client that users let in already, while its host cannot be reached.
	staleClientDocument = 24 * time.Hour
	// retryClientDocument is how long a URL is left alone after a fetch that
	// brought nothing to use. It spares the host; errors are not cached beyond
	// that, as §5.2 has it.
	retryClientDocument = 10 * time.Second
)

var clientDocumentCache = cacheBounds{unsaid: 15 * time.Minute, min: time.Minute, max: 24 * time.Hour}

// clientDocuments fetches client ID metadata documents when they are needed, and
// keeps them as long as their Cache-Control says, between a minute and a day. It
// is safe for concurrent use. All that it remembers is bounded by count.
type clientDocuments struct {
	outbound *http.Client
	now      func() time.Time
	// describe makes a client of the members of a document, which it may keep
	// but not change.
	describe func(ctx context.Context, clientID string, members map[string]json.RawMessage, base *oauthreg.Client) (*oauthreg.Client, error)
	fetches  chan struct{} // one element for each fetch that runs

	mu    sync.Mutex
	known map[string]*clientDocument // by client_id
}

// clientDocument is what is known of one URL. clientDocuments.mu guards it.
type clientDocument struct {
	last *documentCopy // the last good one; nil: none

	tried    time.Time // when the last fetch ended
	err      error     // of the last fetch
	inFlight chan struct{}
}

// documentCopy is a good document as it was fetched. Immutable but for inStep.
type documentCopy struct {
	members map[string]json.RawMessage
	client  *oauthreg.Client // as the registry has not got it; shared
	fetched time.Time
	fresh   time.Time // until when without asking again
	// inStep is the version of the registered client that says what the document
	// says; 0 is none.
	inStep atomic.Int64
}

func newClientDocuments(outbound *http.Client, now func() time.Time,
	describe func(context.Context, string, map[string]json.RawMessage, *oauthreg.Client) (*oauthreg.Client, error),
) *clientDocuments {
	return &clientDocuments{
		outbound: outbound, now: now, describe: describe,
		fetches: make(chan struct{}, maxKeyFetches),
		known:   make(map[string]*clientDocument),
	}
}

// get returns the document at a URL, which was checked. permit is asked before a
// fetch begins, and its error returned. stale also accepts a document past its
// lifetime, while its host cannot be reached or may not be asked.
//
// Other errors: errUnreachable, ctx's, an [oauthreg.InvalidError] about what the
// document says, errDocument about everything else that is wrong with it, or why
// it cannot be told.
func (k *clientDocuments) get(ctx context.Context, uri string, stale bool, permit func() error) (*documentCopy, error) {
	k.mu.Lock()
	d := k.known[uri]
	if d == nil || d.inFlight == nil && d.needed(k.now()) {
		k.mu.Unlock()
		err := permit()
		k.mu.Lock()
		if err != nil {
			defer k.mu.Unlock()
			// Others may have used up what this host is asked; who was let in
			// before does not pay for it.
			if d := k.known[uri]; stale && d != nil && d.lasts(k.now()) {
				return d.last, nil
			}
			return nil, err
		}
		d = k.entry(uri)
		if d.inFlight == nil && d.needed(k.now()) { // nobody was faster
			d.inFlight = make(chan struct{})
			go k.fetch(uri, d)
		}
	}
	wait := d.inFlight
	// A host that did not answer the last time may not answer this time either:
	// who has the last copy does not wait for that.
	if wait == nil || stale && errors.Is(d.err, errUnreachable) && d.lasts(k.now()) {
		defer k.mu.Unlock()
		return d.answer(k.now(), stale)
	}
	k.mu.Unlock()

	select {
	case <-wait:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return d.answer(k.now(), stale)
}

// needed reports whether there is nothing to answer with, and the URL may be
// asked.
func (d *clientDocument) needed(now time.Time) bool {
	if d.last != nil && now.Before(d.last.fresh) {
		return false
	}
	return d.err == nil || now.Sub(d.tried) >= retryClientDocument
}

// lasts reports whether the last copy still counts for a client that users let in.
func (d *clientDocument) lasts(now time.Time) bool {
	return d.last != nil && now.Before(d.last.fetched.Add(staleClientDocument))
}

// answer is what can be said without asking.
func (d *clientDocument) answer(now time.Time, stale bool) (*documentCopy, error) {
	if d.last != nil && (now.Before(d.last.fresh) || d.err == nil) { // fetched just now, however slow that was
		return d.last, nil
	}
	if stale && errors.Is(d.err, errUnreachable) && d.lasts(now) {
		return d.last, nil
	}
	return nil, d.err
}

// entry returns what is known of uri, and makes room for it when nothing is.
func (k *clientDocuments) entry(uri string) *clientDocument {
	if d := k.known[uri]; d != nil {
		return d
	}
	makeRoom(k.known, maxClientDocuments, func(a, b *clientDocument) bool { // no document, or an older one
		return b.last != nil && (a.last == nil || a.last.fetched.Before(b.last.fetched))
	})
	d := new(clientDocument)
	k.known[uri] = d
	return d
}

// fetch asks uri and tells everyone who waits. It belongs to no request: the one
// that began it may be canceled while others wait. outbound's timeout ends it.
func (k *clientDocuments) fetch(uri string, d *clientDocument) {
	fetched, err := k.load(uri)
	k.mu.Lock()
	defer k.mu.Unlock()
	d.tried, d.err = k.now(), err
	var invalid *oauthreg.InvalidError
	switch {
	case err == nil:
		d.last = fetched
	case errors.Is(err, errDocument), asInvalid(err, &invalid): // the client's host took it away
		d.last = nil
	}
	close(d.inFlight)
	d.inFlight = nil
}

func (k *clientDocuments) load(uri string) (fetched *documentCopy, err error) {
	defer func() {
		if p := recover(); p != nil { // no request's handler is there to catch it
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), 2*defaultOutboundTimeout) // describe may fetch something as well
	defer cancel()
	select {
	case k.fetches <- struct{}{}:
		defer func() { <-k.fetches }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: too many fetches at once", errUnreachable)
	}
	body, header, err := fetchLimited(ctx, k.outbound, uri, "application/json", maxClientDocument)
	if err != nil {
		return nil, err
	}
	now := k.now()
	if !isJSON(header.Get("Content-Type")) {
		return nil, fmt.Errorf("%w: its content type is not application/json", errDocument)
	}
	members, err := readObject(body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDocument, err)
	}
	client, err := k.describe(ctx, uri, members, nil)
	if err != nil {
		return nil, err
	}
	return &documentCopy{members: members, client: client, fetched: now, fresh: now.Add(clientDocumentCache.lifetime(header))}, nil
}
