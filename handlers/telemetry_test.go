package handlers_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// telemetryLog keeps what a server and its store trace and measure.
type telemetryLog struct {
	spans   *tracetest.SpanRecorder
	tracer  *sdktrace.TracerProvider
	reader  *sdkmetric.ManualReader
	measure *sdkmetric.MeterProvider
}

func newTelemetryLog() *telemetryLog {
	l := &telemetryLog{spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	l.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(l.spans))
	l.measure = sdkmetric.NewMeterProvider(sdkmetric.WithReader(l.reader))
	return l
}

func (l *telemetryLog) listen(opts envOptions) envOptions {
	config, store := opts.config, opts.store
	opts.config = func(c *handlers.Config) {
		c.TracerProvider, c.MeterProvider = l.tracer, l.measure
		if config != nil {
			config(c)
		}
	}
	opts.store = func(c *storage.Config) {
		c.TracerProvider, c.MeterProvider = l.tracer, l.measure
		if store != nil {
			store(c)
		}
	}
	return opts
}

// take returns the spans that ended since it was last called.
func (l *telemetryLog) take() []sdktrace.ReadOnlySpan {
	defer l.spans.Reset()
	return l.spans.Ended()
}

// server is the one span of kind server among spans.
func serverSpan(t *testing.T, spans []sdktrace.ReadOnlySpan) sdktrace.ReadOnlySpan {
	t.Helper()
	var found []sdktrace.ReadOnlySpan
	for _, s := range spans {
		if s.SpanKind() == trace.SpanKindServer {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		t.Fatalf("there are %d spans of kind server, want 1", len(found))
	}
	return found[0]
}

func attributesOf(list []attribute.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range list {
		m[string(kv.Key)] = kv.Value.String()
	}
	return m
}

// wantAttributes checks that a span has those attributes, given as name, value.
func wantAttributes(t *testing.T, s sdktrace.ReadOnlySpan, pairs ...string) {
	t.Helper()
	have := attributesOf(s.Attributes())
	for i := 0; i < len(pairs); i += 2 {
		if have[pairs[i]] != pairs[i+1] {
			t.Errorf("%s: %s is %q, want %q", s.Name(), pairs[i], have[pairs[i]], pairs[i+1])
		}
	}
}

// A request has one span, with the RFCs' names, and what it does in the database is
// below it.
func TestTraces(t *testing.T) {
	bothMountsWith(t, func(t *testing.T, base string) {
		l := newTelemetryLog()
		store := new(faultyStore)
		e := newEnv(t, l.listen(envOptions{base: base, wrap: func(s *storage.Store) (oauthreg.Store, handlers.Store) {
			store.Store = s
			return store, store
		}}))
		reg := e.register(webClient())
		code, verifier := e.code(reg.Client.ClientID, "scope", "read")
		l.take()

		tokens := e.redeem(reg, code, verifier)
		tokens.wantOK(t)
		spans := l.take()
		s := serverSpan(t, spans)
		if s.Name() != "POST "+e.opts.base+"/oauth/token" || s.Status().Code != codes.Unset || s.Parent().IsValid() {
			t.Errorf("the span is %q, status %v, parent %v", s.Name(), s.Status(), s.Parent())
		}
		wantAttributes(t, s, "http.request.method", "POST", "http.route", e.opts.base+"/oauth/token", "http.response.status_code", "200", "url.scheme", e.http.URL[:strings.Index(e.http.URL, "://")],
			"oauthreg.endpoint", "token", "oauthreg.request_id", tokens.header.Get("X-Request-Id"),
			"oauth.client_id", reg.Client.ClientID, "oauth.grant_type", "authorization_code", "oauth.scope", "read", "oauth.error", "")
		if got := attributesOf(s.Attributes())["oauthreg.grant_id"]; got == "" {
			t.Error("the span does not name the grant")
		}
		if ev := s.Events(); len(ev) != 1 || ev[0].Name != "token.issued" {
			t.Errorf("the span has events %v", ev)
		}
		commits := 0
		for _, child := range spans {
			if child.SpanContext().SpanID() == s.SpanContext().SpanID() {
				continue
			}
			if child.SpanContext().TraceID() != s.SpanContext().TraceID() || !child.Parent().IsValid() {
				t.Errorf("%s is not below the request", child.Name())
			}
			if doing, ok := strings.CutPrefix(child.Name(), "database: "); ok {
				wantAttributes(t, child, "db.system.name", systemOf(e), "db.operation.name", doing)
				if child.SpanKind() != trace.SpanKindClient {
					t.Errorf("%s is of kind %v", child.Name(), child.SpanKind())
				}
			}
			if child.Name() == "database: commit" {
				commits++
			}
		}
		if commits != 1 {
			t.Errorf("there are %d spans for commits, want 1", commits)
		}

		e.post("/oauth/token", reg.Client.ClientID, "wrong", "grant_type", "authorization_code").wantError(t, 401, "invalid_client")
		s = serverSpan(t, l.take())
		wantAttributes(t, s, "http.response.status_code", "401", "error.type", "invalid_client", "oauth.error", "invalid_client", "oauth.client_id", reg.Client.ClientID)
		if s.Status().Code != codes.Unset {
			t.Errorf("a client's mistake gives the span status %v", s.Status())
		}

		target, _ := e.authorizeURL(reg.Client.ClientID, "scope", "admin")
		e.browser().do(http.MethodGet, target, nil)
		wantAttributes(t, serverSpan(t, l.take()), "http.response.status_code", "302", "error.type", "invalid_scope")

		store.arm(1, fmt.Errorf("%w: connection refused", oauthreg.ErrUnavailable))
		e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, 503, "temporarily_unavailable")
		store.disarm()
		s = serverSpan(t, l.take())
		wantAttributes(t, s, "http.response.status_code", "503", "error.type", "temporarily_unavailable")
		if s.Status().Code != codes.Error {
			t.Errorf("a failure gives the span status %v", s.Status())
		}
	})
}

func systemOf(e *env) string {
	for prefix, name := range map[string]string{"postgres": "postgresql", "mysql": "mysql", "mariadb": "mysql"} {
		if strings.HasPrefix(e.file, prefix) {
			return name
		}
	}
	return "sqlite"
}

// Whoever is trusted says which trace a request belongs to; a stranger's is linked.
func TestTraceParents(t *testing.T) {
	const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	send := func(e *env) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.issuer+"/oauth/jwks", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Traceparent", traceparent)
		e.send(req)
	}
	t.Run("stranger", func(t *testing.T) {
		l := newTelemetryLog()
		send(newEnv(t, l.listen(envOptions{})))
		s := serverSpan(t, l.take())
		if s.Parent().IsValid() || len(s.Links()) != 1 || s.Links()[0].SpanContext.SpanID().String() != "b7ad6b7169203331" {
			t.Errorf("parent %v, links %v", s.Parent(), s.Links())
		}
	})
	t.Run("trusted proxy", func(t *testing.T) {
		l := newTelemetryLog()
		send(newEnv(t, l.listen(envOptions{config: func(c *handlers.Config) {
			c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
		}})))
		s := serverSpan(t, l.take())
		if s.Parent().SpanID().String() != "b7ad6b7169203331" || s.SpanContext().TraceID().String() != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("parent %v, trace %v", s.Parent(), s.SpanContext().TraceID())
		}
	})
	t.Run("the host's span", func(t *testing.T) {
		l := newTelemetryLog()
		e := newEnv(t, l.listen(envOptions{handler: func(e *env) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx, span := l.tracer.Tracer("host").Start(r.Context(), "host")
				defer span.End()
				e.server.ServeHTTP(w, r.WithContext(ctx))
			})
		}}))
		send(e)
		spans := l.take()
		s := serverSpan(t, spans)
		host := spans[slices.IndexFunc(spans, func(s sdktrace.ReadOnlySpan) bool { return s.Name() == "host" })]
		if s.Parent().SpanID() != host.SpanContext().SpanID() || len(s.Links()) != 0 {
			t.Errorf("parent %v, want the host's %v", s.Parent(), host.SpanContext())
		}
	})
}

// counted is the value of a counter, or the count of a histogram, for the points
// that have the attributes, given as name, value.
func (l *telemetryLog) counted(t *testing.T, name string, pairs ...string) int64 {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := l.reader.Collect(context.Background(), &rm); err != nil {
		t.Fatal(err)
	}
	matches := func(set attribute.Set) bool {
		have := attributesOf(set.ToSlice())
		for i := 0; i < len(pairs); i += 2 {
			if have[pairs[i]] != pairs[i+1] {
				return false
			}
		}
		return true
	}
	var n int64
	found := false
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			if m.Name != name {
				continue
			}
			found = true
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					if matches(p.Attributes) {
						n += p.Value
					}
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					if matches(p.Attributes) {
						n += p.Value
					}
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					if matches(p.Attributes) {
						n += int64(p.Count)
					}
				}
			case metricdata.Histogram[int64]:
				for _, p := range data.DataPoints {
					if matches(p.Attributes) {
						n += int64(p.Count)
					}
				}
			default:
				t.Fatalf("%s is a %T", name, m.Data)
			}
		}
	}
	if !found {
		t.Errorf("there is no metric %s", name)
	}
	return n
}

// What happens is counted once; no attribute has what a stranger can choose.
func TestMetrics(t *testing.T) {
	l := newTelemetryLog()
	clock := newClock()
	e := newEnv(t, l.listen(envOptions{clock: clock, config: func(c *handlers.Config) {
		c.Limits = handlers.NewLimiter(handlers.LimiterConfig{Now: clock.Now, Rates: map[handlers.LimitKind]handlers.Rate{
			handlers.LimitClientAuth: {Burst: 1, PerMinute: 1},
		}})
	}}))
	reg, machine := e.register(webClient()), e.register(machineClient())
	tokens := e.tokens(reg, "scope", "read")
	e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantOK(t)
	e.clock.add(time.Minute)
	e.tokenRequest(reg, "grant_type", "refresh_token", "refresh_token", tokens.str("refresh_token")).wantError(t, 400, "invalid_grant")
	for range 3 {
		token := e.tokenRequest(machine, "grant_type", "client_credentials")
		e.authenticated("/oauth/revoke", machine, "token", token.str("access_token"))
	}
	e.tokenRequest(machine, "grant_type", "urn:a-stranger-chose-this").wantError(t, 400, "unsupported_grant_type")
	e.post("/oauth/token", machine.Client.ClientID, "wrong", "grant_type", "client_credentials").wantError(t, 401, "invalid_client")
	e.post("/oauth/token", machine.Client.ClientID, "wrong", "grant_type", "client_credentials").wantError(t, 429, "temporarily_unavailable")
	b := e.browser()
	b.deny = true
	target, _ := e.authorizeURL(e.register(webClient()).Client.ClientID)
	b.walk(target)
	b.do("A-STRANGERS-METHOD", e.issuer+"/oauth/authorize?client_id=a-strangers-client", nil)
	e.browser().do(http.MethodGet, e.issuer+"/oauth/authorize", url.Values{})

	for _, tt := range []struct {
		name  string
		pairs []string
		want  int64
	}{
		{"oauthreg.tokens.issued", []string{"oauth.grant_type", "authorization_code"}, 1},
		{"oauthreg.tokens.issued", []string{"oauth.grant_type", "refresh_token"}, 1},
		{"oauthreg.tokens.issued", []string{"oauth.grant_type", "client_credentials"}, 3},
		{"oauthreg.tokens.issued", nil, 5},
		{"oauthreg.authorizations", []string{"oauth.response_type", "code"}, 1},
		{"oauthreg.refusals", []string{"oauthreg.endpoint", "token", "oauth.error", "invalid_grant"}, 1},
		{"oauthreg.refusals", []string{"oauthreg.endpoint", "token", "oauth.error", "unsupported_grant_type"}, 1},
		{"oauthreg.refusals", []string{"oauthreg.endpoint", "token", "oauth.error", "invalid_client"}, 1},
		{"oauthreg.refusals", []string{"oauthreg.endpoint", "token"}, 4},
		{"oauthreg.replays", []string{"oauthreg.kind", "refresh token"}, 1},
		{"oauthreg.limited", []string{"oauthreg.kind", "client_authentication"}, 1},
		{"oauthreg.client_authentication.failures", []string{"oauthreg.endpoint", "token"}, 1},
		{"oauthreg.revocations", []string{"oauthreg.kind", "token"}, 3},
		{"oauthreg.revocations", []string{"oauthreg.kind", "grant"}, 1},
		{"oauthreg.sign_ins", []string{"oauthreg.success", "true"}, 2},
		{"oauthreg.consents", []string{"oauthreg.kind", "given"}, 1},
		{"oauthreg.consents", []string{"oauthreg.kind", "denied"}, 1},
		{"oauthreg.signing_keys", []string{"oauthreg.key.state", "active"}, 2},
		{"http.server.request.duration", []string{"oauthreg.endpoint", "token", "http.response.status_code", "200"}, 5},
		{"http.server.request.duration", []string{"oauthreg.endpoint", "token", "error.type", "invalid_client"}, 1},
		{"http.server.request.duration", []string{"http.request.method", "_OTHER"}, 1},
		{"db.client.operation.duration", []string{"db.operation.name", "commit", "error.type", ""}, 5},
	} {
		if got := l.counted(t, tt.name, tt.pairs...); got != tt.want {
			t.Errorf("%s %v: got %d, want %d", tt.name, tt.pairs, got, tt.want)
		}
	}
	if systemOf(e) == "sqlite" {
		if got := l.counted(t, "oauthreg.storage.commit.size"); got == 0 {
			t.Error("no commit was measured")
		}
	}

	var rm metricdata.ResourceMetrics
	if err := l.reader.Collect(t.Context(), &rm); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("%+v", rm)
	for _, name := range []string{"stranger", "STRANGER", reg.Client.ClientID, machine.Client.ClientID, "alice", callback} {
		if strings.Contains(text, name) {
			t.Errorf("the metrics have %q", name)
		}
	}
	for _, s := range l.take() {
		text += fmt.Sprintf("%s %v %v %v\n", s.Name(), s.Attributes(), s.Events(), s.Links())
	}
	for _, what := range e.secrets.Search([]byte(text)) {
		t.Errorf("traces or metrics have a %s in clear", what)
	}
	if strings.Contains(text, "alice") {
		t.Error("the traces have the user")
	}
}

// Either provider works without the other.
func TestTelemetryInHalves(t *testing.T) {
	for name, change := range maps.All(map[string]func(*handlers.Config){
		"traces only":  func(c *handlers.Config) { c.MeterProvider = nil },
		"metrics only": func(c *handlers.Config) { c.TracerProvider = nil },
	}) {
		t.Run(name, func(t *testing.T) {
			l := newTelemetryLog()
			e := newEnv(t, l.listen(envOptions{config: change}))
			reg := e.register(machineClient())
			e.tokenRequest(reg, "grant_type", "client_credentials").wantOK(t)
			spans := slices.DeleteFunc(l.take(), func(s sdktrace.ReadOnlySpan) bool { return s.SpanKind() != trace.SpanKindServer })
			if want := name == "traces only"; (len(spans) == 1) != want {
				t.Errorf("%d spans", len(spans))
			}
			if name == "metrics only" && l.counted(t, "oauthreg.tokens.issued") != 1 {
				t.Error("the token is not counted")
			}
		})
	}
}
