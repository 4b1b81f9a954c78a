package storage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// measured are the points of all metrics, each as name{attributes} and its value,
// or how often it was recorded.
func measured(t *testing.T, reader *sdkmetric.ManualReader) map[string]int64 {
	t.Helper()
	var rm metricdata.ResourceMetrics
	must(t, reader.Collect(t.Context(), &rm))
	points := map[string]int64{}
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					points[m.Name+"{"+p.Attributes.Encoded(attribute.DefaultEncoder())+"}"] = p.Value
				}
			case metricdata.Histogram[int64]:
				for _, p := range data.DataPoints {
					points[m.Name+"{"+p.Attributes.Encoded(attribute.DefaultEncoder())+"}"] = p.Sum
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					points[m.Name+"{"+p.Attributes.Encoded(attribute.DefaultEncoder())+"}"] = int64(p.Count)
				}
			default:
				t.Fatalf("%s is a %T", m.Name, m.Data)
			}
		}
	}
	return points
}

// What is done in the database has spans and is measured; an answer such as "not
// found" is no error, and nothing of what is stored is told.
func TestTelemetry(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			spans, reader, c := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader(), newClock()
			cfg := testConfig(c)
			cfg.TracerProvider = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
			cfg.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
			s := openTest(t, kind, cfg)
			system := s.sql.telemetry.system.Value.AsString()
			spans.Reset()

			k := addClient(t, s)
			must(t, s.SetClientAssertionJWT(t.Context(), "jti-of-a-client", c.now().Add(time.Minute)))
			if _, err := s.Client(t.Context(), oauthreg.ByClientID("nobody")); !errors.Is(err, oauthreg.ErrNotFound) {
				t.Fatal(err)
			}
			c.add(time.Hour)
			if _, err := s.Sweep(t.Context(), 0); err != nil {
				t.Fatal(err)
			}
			must(t, s.Close())
			if err := s.Ping(t.Context()); !errors.Is(err, oauthreg.ErrUnavailable) {
				t.Fatalf("ping after close: %v", err)
			}

			points := measured(t, reader)
			for name, want := range map[string]int64{
				"oauthreg.janitor.deleted{db.collection.name=assertions}":                                     1,
				"db.client.operation.duration{db.operation.name=insert client,db.system.name=" + system + "}": 1,
				"db.client.operation.duration{db.operation.name=use assertion,db.system.name=" + system + "}": 1,
			} {
				if points[name] != want {
					t.Errorf("%s: got %d, want %d", name, points[name], want)
				}
			}
			var text strings.Builder
			for _, span := range spans.Ended() {
				fmt.Fprintln(&text, span.Name(), span.Attributes(), span.Events(), span.Status())
				if failed := span.Status().Code == codes.Error; failed && span.Name() != "database: ping" {
					t.Errorf("%s is told as an error", span.Name())
				}
			}
			for name := range points {
				fmt.Fprintln(&text, name)
			}
			for _, stored := range []string{"jti-of-a-client", "nobody", k.GetID(), k.RegistryID()} {
				if strings.Contains(text.String(), stored) {
					t.Errorf("%q is told:\n%s", stored, &text)
				}
			}
		})
	}
}

// Writers that wait share a commit, and that is measured.
func TestCommitSize(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	cfg := testConfig(newClock())
	cfg.MeterProvider = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	s := openTest(t, "file", cfg)
	before := measured(t, reader)["oauthreg.storage.commit.size{db.system.name=sqlite}"]
	addClient(t, s)
	if got := measured(t, reader)["oauthreg.storage.commit.size{db.system.name=sqlite}"]; got != before+1 {
		t.Errorf("one writer makes the sum %d, was %d", got, before)
	}
}

// Every repetition is counted, the first run is not.
func TestRetriesAreCounted(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	cfg := Config{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))}
	sql, err := newStatements(dialects["postgres"], &cfg)
	must(t, err)
	left := 3
	must(t, retry(t.Context(), sql, sql.d.isPassing, func() error {
		if left--; left > 0 {
			return oauthreg.ErrUnavailable
		}
		return nil
	}))
	if got := measured(t, reader)["oauthreg.storage.retries{db.system.name=postgresql}"]; got != 2 {
		t.Errorf("got %d retries, want 2", got)
	}
	// Without telemetry nothing is counted, and nothing breaks.
	var none *telemetry
	none.retried(context.Background())
	none.committed(context.Background(), 1)
	none.swept(context.Background(), map[string]int64{"grants": 1})
}
