package handlers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Server is an authorization server. It is safe for concurrent use.
type Server struct {
	cfg    Config
	issuer *url.URL
	base   string // the issuer's path, "" at the root
	secure bool   // https: cookies are Secure and host-bound
	log    *slog.Logger
	now    func() time.Time

	reg    *oauthreg.Registry
	store  Store
	keys   *oauthreg.KeyRing
	signIn SignIn
	// signOuter is signIn, if it can end sessions; otherwise there is no logout.
	signOuter SignOuter
	pages     Renderer
	sheet     *pageStyle // of pages, at sheetURL; nil when it is not ours to serve
	sheetURL  string
	limits    Limiter
	engine    *engine
	jwks      *clientKeys
	documents *clientDocuments // nil: client_id is never a URL to fetch

	outbound *http.Client
	logos    *logos
	requests requestDocuments
	notices  notices
	claims   *claimScopes
	texts    *catalogue // for the one page that no renderer writes

	resources []string // canonical, the issuer first
	derived   sync.Map // of keysFor
	metadata  *metadata
	builtin   *passwordSignIn // nil when the host has its own

	telemetry *telemetry // nil: none

	mux    *http.ServeMux
	served []string // the paths, for the test of the description
}

// New checks cfg, names everything wrong with it at once, and returns a server.
// It does no I/O and starts nothing.
func New(cfg Config) (*Server, error) {
	issuer, err := cfg.check()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, issuer: issuer, base: issuer.Path, secure: issuer.Scheme == "https",
		log: cfg.Logger, now: cfg.Now,
		reg: cfg.Registry, store: cfg.Store, keys: cfg.Keys,
		signIn: cfg.SignIn, pages: cfg.Renderer, limits: cfg.Limits,
	}
	s.resources = append([]string{cfg.Issuer}, cfg.Resources...)
	if s.pages == nil {
		s.pages = DefaultRenderer()
	}
	if s.limits == nil {
		s.limits = NewLimiter(LimiterConfig{Now: cfg.Now})
	}
	outbound := cfg.Outbound
	if outbound == nil {
		outbound = NewOutbound(OutboundConfig{})
	}
	if s.telemetry, err = newTelemetry(&s.cfg); err != nil {
		return nil, fmt.Errorf("handlers: metrics: %w", err)
	}
	if s.telemetry != nil {
		outbound = s.telemetry.traced(outbound)
	}
	s.outbound = outbound
	s.jwks = newClientKeys(outbound, cfg.Now)
	if cfg.ClientMetadataDocuments.Enabled {
		s.documents = newClientDocuments(outbound, cfg.Now, s.documentedClient)
	}
	s.claims = newClaimScopes(cfg.Scopes)
	s.logos = newLogos()
	if s.texts, err = loadCatalogue(nil); err != nil {
		return nil, err
	}
	s.engine = newEngine(s)
	if s.signIn == nil {
		s.builtin = newPasswordSignIn(s)
		s.signIn = s.builtin
	}
	s.signOuter, _ = s.signIn.(SignOuter)
	s.metadata = newMetadata(s)
	s.mux = http.NewServeMux()
	s.routes()
	return s, nil
}

// ServeHTTP answers below the issuer's path and at the well-known paths of the
// issuer's origin.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// url is the absolute URL of a path below the issuer.
func (s *Server) url(path string) string { return s.cfg.Issuer + path }

// endpoint serves one endpoint. It writes the response itself when it succeeds
// and returns an error, having written nothing, when it does not.
type endpoint func(w http.ResponseWriter, r *http.Request) error

// handle wraps an endpoint: request id, error answer, one log line.
func (s *Server) handle(name string, e endpoint, fail failer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		info := &requestInfo{Context: r.Context(), endpoint: name, server: s, id: [1]string{s.newRequestID(r)}}
		if s.telemetry != nil {
			defer s.telemetry.start(s, &w, r, info)()
		}
		r = r.WithContext(info)
		info.request = r
		w.Header()[requestIDHeader] = info.id[:]
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p) // the way to end a response early
				}
				s.log.ErrorContext(r.Context(), "panic", "endpoint", name, "request_id", info.id[0], "panic", p)
				oe := serverError(nil)
				s.emitAnswer(r.Context(), oe)
				fail(s, w, r, oe)
			}
		}()
		err := e(w, r)
		if err == nil {
			level := slog.LevelDebug
			if info.errorCode != "" { // sent to a redirect URI
				level = slog.LevelInfo
			}
			s.logRequest(r.Context(), level, start, info, nil)
			return
		}
		oe := toOAuth(err)
		level := slog.LevelInfo
		if oe.Status >= http.StatusInternalServerError {
			level = slog.LevelError
		}
		s.logRequest(r.Context(), level, start, info, oe)
		s.emitAnswer(r.Context(), oe)
		fail(s, w, r, oe)
	})
}

// logRequest writes the one line of a request: for debugging when all went well,
// as information when it was refused, as an error when it failed. The path is not in it: some carry
// what must not be logged.
func (s *Server) logRequest(ctx context.Context, level slog.Level, start time.Time, info *requestInfo, oe *Error) {
	if !s.log.Enabled(ctx, level) {
		return
	}
	result := cmp.Or(info.errorCode, "ok") // the error that was sent to a redirect URI
	if oe != nil {
		result = oe.Code
	}
	var list [8]slog.Attr // stays on the stack
	attrs := append(list[:0],
		slog.String("endpoint", info.endpoint), slog.String("result", result),
		slog.Duration("took", time.Since(start)), slog.String("request_id", info.id[0]))
	if info.clientID != "" {
		attrs = append(attrs, slog.String("client_id", bounded(info.clientID)))
	}
	if info.grant != "" {
		attrs = append(attrs, slog.String("grant", info.grant))
	}
	if oe != nil {
		attrs = append(attrs, slog.String("description", oe.Description))
		if level == slog.LevelError && oe.cause != nil {
			attrs = append(attrs, slog.String("err", oe.cause.Error()))
		}
	}
	s.log.LogAttrs(ctx, level, "oauth request", attrs...)
}
