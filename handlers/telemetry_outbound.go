package handlers

import (
	"errors"
	"net/http"
	"time"

	attr "go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traced is client with a span for each request, and traceparent sent along.
func (t *telemetry) traced(client *http.Client) *http.Client {
	c := *client
	next := c.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	c.Transport = &tracedTransport{t, next}
	return &c
}

// tracedTransport traces requests to URLs that clients named: a key set, a request
// object, a logout notice. A span has the host and nothing more of the URL, and ends
// with the header of the answer.
type tracedTransport struct {
	t    *telemetry
	next http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (t *tracedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	attrs := []attr.KeyValue{attrMethod.String(r.Method), attrHost.String(r.URL.Hostname()), attrScheme.String(r.URL.Scheme)}
	ctx, span := t.t.tracer.Start(r.Context(), r.Method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
	defer span.End()
	r = r.Clone(ctx)
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(r.Header))
	resp, err := t.next.RoundTrip(r)

	// Hosts are as many as strangers register: not for metrics.
	measured := []attr.KeyValue{attrMethod.String(r.Method)}
	switch {
	case errors.Is(err, ErrOutboundRefused):
		measured = append(measured, attrError.String("refused"))
	case err != nil:
		measured = append(measured, attrError.String("unreachable"))
	default:
		measured = append(measured, attrStatus.Int(resp.StatusCode))
	}
	t.t.outbound.Record(ctx, time.Since(began).Seconds(), metric.WithAttributes(measured...))
	span.SetAttributes(measured[1:]...)
	if err != nil || resp.StatusCode >= http.StatusBadRequest {
		span.SetStatus(codes.Error, "")
	}
	return resp, err
}
