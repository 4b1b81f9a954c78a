package handlers

import (
	"context"
	"net/http"
	"strings"
	"time"

	attr "go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// instrumentation is the scope of everything that is measured here.
const instrumentation = "github.com/oauthreg/oauthreg/handlers"

// Attributes. Those of HTTP are OpenTelemetry's own; those that begin with oauth
// have the parameter names of the RFCs.
const (
	attrMethod = attr.Key("http.request.method")
	attrRoute  = attr.Key("http.route")
	attrStatus = attr.Key("http.response.status_code")
	attrScheme = attr.Key("url.scheme")
	attrHost   = attr.Key("server.address")
	attrError  = attr.Key("error.type")

	attrEndpoint     = attr.Key("oauthreg.endpoint")
	attrRequestID    = attr.Key("oauthreg.request_id")
	attrGrant        = attr.Key("oauthreg.grant_id")
	attrClientID     = attr.Key("oauth.client_id")
	attrGrantType    = attr.Key("oauth.grant_type")
	attrScope        = attr.Key("oauth.scope")
	attrResource     = attr.Key("oauth.resource")
	attrOAuthError   = attr.Key("oauth.error")
	attrResponseType = attr.Key("oauth.response_type")
	attrDetail       = attr.Key("oauthreg.detail")
)

// telemetry traces and measures. It is nil when the host wants neither.
type telemetry struct {
	tracer trace.Tracer
	meters
}

// newTelemetry makes what cfg asks for. keys is asked when the metrics are read.
func newTelemetry(cfg *Config) (*telemetry, error) {
	if cfg.TracerProvider == nil && cfg.MeterProvider == nil {
		return nil, nil
	}
	traces, measures := cfg.TracerProvider, cfg.MeterProvider
	if traces == nil {
		traces = tracenoop.NewTracerProvider()
	}
	if measures == nil {
		measures = metricnoop.NewMeterProvider()
	}
	t := &telemetry{tracer: traces.Tracer(instrumentation)}
	return t, t.meters.make(measures.Meter(instrumentation), cfg.Keys, cfg.Now)
}

// start begins the span of a request and returns what ends it. w then counts.
//
// The parent is the span that the host has begun. If there is none, it is what
// traceparent (W3C Trace Context) says, when a trusted proxy sent it; that of
// anybody else is linked to: strangers do not decide what is recorded.
func (t *telemetry) start(s *Server, w *http.ResponseWriter, r *http.Request, info *requestInfo) (end func()) {
	began := time.Now()
	method, route := methodName(r.Method), routeOf(r)
	opts := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(attrMethod.String(method), attrRoute.String(route), attrScheme.String(s.issuer.Scheme),
			attrEndpoint.String(info.endpoint), attrRequestID.String(info.id[0])),
	}
	ctx := info.Context
	if !trace.SpanContextFromContext(ctx).IsValid() {
		remote := propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(r.Header))
		if sc := trace.SpanContextFromContext(remote); sc.IsValid() {
			if s.fromTrustedProxy(r) {
				ctx = trace.ContextWithRemoteSpanContext(ctx, sc)
			} else {
				opts = append(opts, trace.WithLinks(trace.Link{SpanContext: sc}))
			}
		}
	}
	ctx, span := t.tracer.Start(ctx, method+" "+route, opts...)
	info.Context, info.span = ctx, span
	counted := &statusWriter{ResponseWriter: *w}
	*w = counted
	return func() {
		status := counted.status
		if status == 0 {
			status = http.StatusOK
		}
		attrs := []attr.KeyValue{
			attrMethod.String(method), attrRoute.String(route), attrScheme.String(s.issuer.Scheme),
			attrEndpoint.String(info.endpoint), attrStatus.Int(status),
		}
		if info.errorCode != "" {
			attrs = append(attrs, attrError.String(info.errorCode))
		}
		t.requestDuration.Record(ctx, time.Since(began).Seconds(), metric.WithAttributes(attrs...))
		if span.IsRecording() {
			span.SetAttributes(attrStatus.Int(status))
			if info.clientID != "" {
				span.SetAttributes(attrClientID.String(bounded(info.clientID)))
			}
			if info.grant != "" {
				span.SetAttributes(attrGrant.String(info.grant))
			}
			if info.errorCode != "" {
				span.SetAttributes(attrError.String(info.errorCode), attrOAuthError.String(info.errorCode))
			}
			if status >= http.StatusInternalServerError { // a client's mistake is no error of a server's span
				span.SetStatus(codes.Error, "")
			}
		}
		span.End()
	}
}

// event notes what happened on the request's span, and counts it.
func (t *telemetry) event(ctx context.Context, e *oauthreg.Event) {
	t.count(ctx, e)
	// Not the span of ctx: the engine begins its own below that of the request.
	span := infoOf(ctx).span
	if span == nil || !span.IsRecording() {
		return
	}
	switch e.Type {
	case oauthreg.EventRefused, oauthreg.EventFailed: // the span says so itself
		return
	}
	var attrs []attr.KeyValue
	add := func(k attr.Key, v string) {
		if v != "" {
			attrs = append(attrs, k.String(v))
		}
	}
	add(attrClientID, e.ClientID)
	add(attrGrant, e.GrantID)
	add(attrGrantType, e.GrantType)
	add(attrScope, strings.Join(e.Scopes, " "))
	add(attrResource, strings.Join(e.Resources, " "))
	switch e.Type {
	case oauthreg.EventAuthorized:
		add(attrResponseType, e.Detail)
	default:
		add(attrDetail, e.Detail)
	}
	switch e.Type {
	case oauthreg.EventTokenIssued, oauthreg.EventRefreshed, oauthreg.EventAuthorized:
		span.SetAttributes(attrs...)
	}
	span.AddEvent(string(e.Type), trace.WithAttributes(attrs...))
}

// methodName is the method as OpenTelemetry wants it: one of those that are known.
func methodName(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	}
	return "_OTHER"
}

// routeOf is the pattern that the mux matched, without its method. It never has
// what a path carried.
func routeOf(r *http.Request) string {
	if _, path, found := strings.Cut(r.Pattern, " "); found {
		return path
	}
	return r.Pattern
}

// statusWriter remembers the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader is part of [http.ResponseWriter].
func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is what [http.ResponseController] looks for.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
