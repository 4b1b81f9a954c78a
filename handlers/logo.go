package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

const (
	maxLogo     = 128 << 10 // bytes
	maxLogos    = 128       // in memory
	logoLife    = time.Hour
	noLogoLife  = 5 * time.Minute // how long a failure is remembered
	logosAtOnce = 4               // fetches
)

// logoTypes are pictures that cannot run anything: no SVG.
var logoTypes = []string{"image/png", "image/jpeg", "image/gif", "image/webp"}

// logos keeps clients' logos in memory, so that pages show them from our own
// origin: whoever hosts a logo does not learn who sees it.
type logos struct {
	mu    sync.Mutex
	known map[string]logo // by logo_uri
	slots chan struct{}
}

func newLogos() *logos {
	return &logos{known: make(map[string]logo), slots: make(chan struct{}, logosAtOnce)}
}

type logo struct {
	body        []byte // empty: there is none
	contentType string
	until       time.Time
}

// showsLogo reports whether pages show the client's logo. A borrowed logo is what
// people trust too easily, so that of a client that registered itself counts only
// when the operator has verified it, or says so.
func (s *Server) showsLogo(c *oauthreg.Client) bool {
	return c.LogoURI != "" && (!c.SelfRegistered || c.Verified || s.cfg.SelfRegisteredLogos)
}

// viewClient is the client for a page that shows its logo.
func (s *Server) viewClient(c *oauthreg.Client) ClientView {
	v := viewClient(c)
	if s.showsLogo(c) {
		v.Logo = s.base + "/app-logo?client_id=" + url.QueryEscape(c.ClientID)
	}
	return v
}

// appLogo serves GET /app-logo: the picture at a client's registered logo_uri, as
// of at most an hour ago.
func (s *Server) appLogo(w http.ResponseWriter, r *http.Request) error {
	form, err := queryParameters(r)
	if err != nil {
		return err
	}
	c, err := s.reg.Get(r.Context(), oauthreg.ByClientID(form.Get("client_id")))
	switch {
	case errors.Is(err, oauthreg.ErrNotFound), err == nil && (c.Suspended() || !s.showsLogo(&c)):
		return notFound()
	case err != nil:
		return err
	}
	l, err := s.logos.get(r.Context(), s, c.LogoURI)
	if err != nil {
		return unavailable(err)
	}
	if len(l.body) == 0 {
		return notFound()
	}
	h := w.Header()
	h.Set("Content-Type", l.contentType)
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "private, max-age=3600")
	_, _ = w.Write(l.body) // the browser went away; nothing to tell it
	return nil
}

func (l *logos) cached(uri string, now time.Time) (logo, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, ok := l.known[uri]
	return have, ok && now.Before(have.until)
}

// get returns what is at uri, or was within logoLife.
func (l *logos) get(ctx context.Context, s *Server, uri string) (logo, error) {
	if have, ok := l.cached(uri, s.now()); ok {
		return have, nil
	}
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return logo{}, ctx.Err()
	}
	now := s.now()
	if have, ok := l.cached(uri, now); ok { // somebody fetched it meanwhile
		return have, nil
	}
	got := logo{until: now.Add(noLogoLife)}
	body, _, err := fetchLimited(ctx, s.outbound, uri, "image/png, image/jpeg, image/webp, image/gif", maxLogo)
	switch kind := http.DetectContentType(body); {
	case ctx.Err() != nil: // the browser went away: nothing is known
		return logo{}, ctx.Err()
	case err != nil:
		s.log.InfoContext(ctx, "no logo", "err", err, "request_id", requestID(ctx))
	case slices.Contains(logoTypes, kind):
		got = logo{body, kind, now.Add(logoLife)}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for old := range l.known {
		if len(l.known) < maxLogos {
			break
		}
		delete(l.known, old) // any one will do
	}
	l.known[uri] = got
	return got, nil
}
