package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
)

// metrics is what -metrics starts: a listener of its own, so that the figures are
// not where the users are, and the provider that everything is measured with.
type metrics struct {
	ln       net.Listener
	provider *sdkmetric.MeterProvider
	handler  http.Handler
}

// newMetrics listens on addr; nil when it is empty.
func newMetrics(ctx context.Context, addr string, log *slog.Logger) (*metrics, error) {
	if addr == "" {
		return nil, nil
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry))
	if err != nil {
		return nil, fmt.Errorf("-metrics: %w", err)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("-metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		// One figure that cannot be had, because the database is down, does not hide
		// the others.
		ErrorHandling: promhttp.ContinueOnError,
	}))
	return &metrics{ln: ln, provider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter)), handler: mux}, nil
}

// meter is the provider, nil when nobody measures.
func (m *metrics) meter() metric.MeterProvider {
	if m == nil {
		return nil
	}
	return m.provider
}

func (m *metrics) url() string { return "http://" + m.ln.Addr().String() + "/metrics" }

// serve answers until ctx ends.
func (m *metrics) serve(ctx context.Context, log *slog.Logger) {
	srv := &http.Server{
		Handler:           m.handler,
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       120 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })() // whoever scrapes comes again
	if err := srv.Serve(m.ln); !errors.Is(err, http.ErrServerClosed) {
		log.Error("metrics stopped", "err", err)
	}
}

// close frees the address when the start fails.
func (m *metrics) close() {
	if m != nil {
		_ = m.ln.Close()
	}
}
