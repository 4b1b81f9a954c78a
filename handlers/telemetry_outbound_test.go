package handlers

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// A fetch has a span below that of the request, hands the trace on, and tells
// nothing of the URL but its host.
func TestOutboundIsTraced(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	tel, err := newTelemetry(&Config{TracerProvider: provider, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	var got http.Header
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		if strings.HasPrefix(r.URL.Path, "/missing") {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer host.Close()
	client := tel.traced(NewOutbound(OutboundConfig{Private: true, HTTP: true}))

	ctx, parent := provider.Tracer("test").Start(t.Context(), "parent")
	for _, tt := range []struct {
		name, url string
		ok        bool
		attribute string
		status    codes.Code
	}{
		{"fetched", host.URL + "/keys?secret=1", true, "http.response.status_code=200", codes.Unset},
		{"not there", host.URL + "/missing", false, "http.response.status_code=404", codes.Error},
		{"refused", "ftp://a.example/", false, "error.type=refused", codes.Error},
	} {
		got = nil
		_, _, err := fetchLimited(ctx, client, tt.url, "*/*", 1<<10)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
		ended := spans.Ended()
		spans.Reset()
		if len(ended) != 1 {
			t.Fatalf("%s: %d spans", tt.name, len(ended))
		}
		s := ended[0]
		if s.Parent().SpanID() != parent.SpanContext().SpanID() || s.Status().Code != tt.status || s.Name() != "GET" {
			t.Errorf("%s: span %q, parent %v, status %v", tt.name, s.Name(), s.Parent(), s.Status())
		}
		var all strings.Builder
		for _, kv := range s.Attributes() {
			all.WriteString(string(kv.Key) + "=" + kv.Value.String() + " ")
		}
		if !strings.Contains(all.String(), tt.attribute) || strings.Contains(all.String(), "secret") {
			t.Errorf("%s: attributes %s", tt.name, &all)
		}
		if got != nil && !strings.Contains(got.Get("Traceparent"), s.SpanContext().SpanID().String()) {
			t.Errorf("%s: traceparent %q", tt.name, got.Get("Traceparent"))
		}
	}
	if got := http.DefaultTransport; tel.traced(new(http.Client)).Transport.(*tracedTransport).next != got {
		t.Error("a client without a transport is not the default one")
	}
}

// What is switched off costs nothing.
func TestNobodyListens(t *testing.T) {
	s := new(Server)
	ctx := context.Context(&requestInfo{Context: context.Background()})
	scopes := []string{"read"}
	n := testing.AllocsPerRun(100, func() {
		s.emit(ctx, oauthreg.Event{Type: oauthreg.EventTokenIssued, ClientID: "c", Scopes: scopes})
	})
	if n != 0 {
		t.Errorf("an event that nobody hears allocates %v times", n)
	}
}
