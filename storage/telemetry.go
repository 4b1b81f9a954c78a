package storage

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// instrumentation is the scope of everything that is measured here.
const instrumentation = "github.com/oauthreg/oauthreg/storage"

// Attributes, as OpenTelemetry names them for databases.
const (
	attrSystem    = attribute.Key("db.system.name")
	attrOperation = attribute.Key("db.operation.name")
	attrTable     = attribute.Key("db.collection.name")
	attrError     = attribute.Key("error.type")
)

// telemetry traces and measures what reaches the database. It is nil when the host
// wants neither. Nothing of what is stored is in it.
type telemetry struct {
	tracer trace.Tracer
	system attribute.KeyValue

	duration metric.Float64Histogram
	retries  metric.Int64Counter
	groups   metric.Int64Histogram
	deleted  metric.Int64Counter
}

// newTelemetry makes what cfg asks for.
func newTelemetry(cfg *Config, d *dialect) (*telemetry, error) {
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
	system := d.name
	if system == "postgres" {
		system = "postgresql"
	}
	t := &telemetry{tracer: traces.Tracer(instrumentation), system: attrSystem.String(system)}
	meter := measures.Meter(instrumentation)
	var errs [4]error
	t.duration, errs[0] = meter.Float64Histogram("db.client.operation.duration", metric.WithUnit("s"),
		metric.WithDescription("Duration of what is done in the database, each a transaction or a read."),
		metric.WithExplicitBucketBoundaries(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10))
	t.retries, errs[1] = meter.Int64Counter("oauthreg.storage.retries", metric.WithUnit("{retry}"),
		metric.WithDescription("Transactions run again after contention or a broken connection."))
	t.groups, errs[2] = meter.Int64Histogram("oauthreg.storage.commit.size", metric.WithUnit("{write}"),
		metric.WithDescription("Writers that shared a commit (SQLite)."),
		metric.WithExplicitBucketBoundaries(1, 2, 4, 8, 16, 32, 64, 128))
	t.deleted, errs[3] = meter.Int64Counter("oauthreg.janitor.deleted", metric.WithUnit("{row}"),
		metric.WithDescription("Rows that had ended and were deleted, by table."))
	return t, errors.Join(errs[:]...)
}

// observe does something in the database, in a span of its own.
func (t *telemetry) observe(ctx context.Context, doing string, do func(context.Context) error) error {
	began := time.Now()
	attrs := []attribute.KeyValue{t.system, attrOperation.String(doing)}
	ctx, span := t.tracer.Start(ctx, "database: "+doing, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
	defer span.End()
	err := do(ctx)
	if err != nil && !isAnswer(err) {
		kind := attrError.String("other")
		switch {
		case errors.Is(err, oauthreg.ErrUnavailable):
			kind = attrError.String("unavailable")
		case ctx.Err() != nil:
			kind = attrError.String("canceled")
		}
		attrs = append(attrs, kind)
		span.SetAttributes(kind)
		span.SetStatus(codes.Error, "") // the text of the error is for the log
	}
	t.duration.Record(ctx, time.Since(began).Seconds(), metric.WithAttributes(attrs...))
	return err
}

// retried counts a transaction that is run again.
func (t *telemetry) retried(ctx context.Context) {
	if t != nil {
		t.retries.Add(ctx, 1, metric.WithAttributes(t.system))
		trace.SpanFromContext(ctx).AddEvent("retry")
	}
}

// committed counts those who shared a commit.
func (t *telemetry) committed(ctx context.Context, writers int) {
	if t != nil {
		t.groups.Record(ctx, int64(writers), metric.WithAttributes(t.system))
	}
}

// swept counts what the janitor deleted.
func (t *telemetry) swept(ctx context.Context, gone map[string]int64) {
	if t == nil {
		return
	}
	for table, n := range gone {
		if n > 0 {
			t.deleted.Add(ctx, n, metric.WithAttributes(attrTable.String(table)))
		}
	}
}
