package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// newTestDocuments answers every URL with an empty document that counts.
func newTestDocuments(fetches *atomic.Int32) *clientDocuments {
	outbound := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		fetches.Add(1)
		if strings.HasSuffix(r.URL.Path, "/down") {
			return nil, errors.New("connection refused")
		}
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(`{}`))}, nil
	})}
	return newClientDocuments(outbound, time.Now, func(_ context.Context, id string, _ map[string]json.RawMessage, _ *oauthreg.Client) (*oauthreg.Client, error) {
		if strings.Contains(id, "panic") {
			panic("describe")
		}
		return &oauthreg.Client{ClientID: id}, nil
	})
}

func freely() error { return nil }

// However many strangers name URLs, what is remembered stays bounded, and those
// that have no document go first.
func TestClientDocumentsBounded(t *testing.T) {
	var fetches atomic.Int32
	k := newTestDocuments(&fetches)
	for i := range 4 * maxClientDocuments {
		id := fmt.Sprintf("https://example.com/%d/down", i)
		if i%8 == 0 {
			id = fmt.Sprintf("https://example.com/%d", i)
		}
		doc, err := k.get(t.Context(), id, false, freely)
		if good := i%8 == 0; good != (err == nil) || good && doc.client.ClientID != id || !good && !errors.Is(err, errUnreachable) {
			t.Fatalf("%s: got %v, %v", id, doc, err)
		}
		if len(k.known) > maxClientDocuments {
			t.Fatalf("%d are remembered", len(k.known))
		}
	}
	good := 0
	for _, d := range k.known {
		if d.last != nil {
			good++
		}
	}
	if good < maxClientDocuments/4 { // 512 came; most of them are still there
		t.Errorf("of those remembered, %d have a document", good)
	}
}

// Requests for one document that come together share one fetch, and one that
// gives up does not take it from the others.
func TestClientDocumentsShared(t *testing.T) {
	var fetches, asked atomic.Int32
	k := newTestDocuments(&fetches)
	next := k.outbound.Transport
	release := make(chan struct{})
	k.outbound.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		<-release
		return next.RoundTrip(r)
	})
	permit := func() error { asked.Add(1); return nil }
	canceled, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := k.get(canceled, "https://example.com/c", false, permit); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
	})
	for asked.Load() == 0 { // the fetch has begun, or is about to
		time.Sleep(time.Millisecond)
	}
	cancel()
	for range 20 {
		wg.Go(func() {
			if _, err := k.get(t.Context(), "https://example.com/c", false, permit); err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	wg.Wait()
	if n := fetches.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// What goes wrong while a document is read ends the fetch, and nothing else; a
// fetch that is not permitted is not begun.
func TestClientDocumentsFailures(t *testing.T) {
	var fetches atomic.Int32
	k := newTestDocuments(&fetches)
	if _, err := k.get(t.Context(), "https://example.com/panic", false, freely); err == nil || errors.Is(err, errUnreachable) {
		t.Errorf("panic: %v", err)
	}
	refused := errors.New("too many")
	if _, err := k.get(t.Context(), "https://example.com/c", false, func() error { return refused }); !errors.Is(err, refused) {
		t.Errorf("not permitted: %v", err)
	}
	if n := fetches.Load(); n != 1 || len(k.known) != 1 {
		t.Errorf("%d fetches, %d remembered", n, len(k.known))
	}
}
