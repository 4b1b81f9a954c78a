package handlers

import (
	"bytes"
	"context"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// frontchannelFrames are the pages of clients that this browser has to load so
// that they end their sessions (OpenID Connect Front-Channel Logout §2). They get
// iss and sid if they registered that they need them.
func (s *Server) frontchannelFrames(ctx context.Context, members []oauthreg.SessionMember) ([]string, error) {
	var frames []string
	for _, m := range members {
		c, err := s.reg.Get(ctx, oauthreg.ByID(m.ClientID))
		switch {
		case errors.Is(err, oauthreg.ErrNotFound), err == nil && (c.Suspended() || c.FrontchannelLogoutURI == ""):
			continue
		case err != nil:
			return nil, err
		}
		uri := c.FrontchannelLogoutURI
		if c.FrontchannelLogoutSessionRequired {
			uri = withQuery(uri, "iss", s.cfg.Issuer, "sid", m.SessionID)
		}
		frames = append(frames, uri)
	}
	return frames, nil
}

var framesPage = template.Must(template.New("frames").Parse(`<!doctype html>
<html lang="{{.Lang}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<meta name="color-scheme" content="light dark">
<title>{{.Title}}</title>
<link rel="icon" href="data:,">
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{if .Next}}<p><a id="message-next" href="{{.Next}}">{{.Button}}</a></p>
{{end}}</main>
{{range .Frames}}<iframe src="{{.}}" hidden title="" aria-hidden="true" referrerpolicy="no-referrer"></iframe>
{{end}}</body>
</html>
`))

// showFrames loads the clients' pages, invisibly, and then goes on.
func (s *Server) showFrames(w http.ResponseWriter, r *http.Request, frames []string, req *logoutRequest) error {
	text := s.texts.choose(req.UILocales, r.Header.Get("Accept-Language"))
	page := struct {
		Lang, Title, Text, Button string
		Next                      template.URL // registered, and matched before
		Frames                    []string
	}{
		text.lang, text.T("message.signed_out.title"), text.T("message.signed_out.text"), text.T("message.signed_out.button"),
		template.URL(req.RedirectTo), frames,
	}
	var out bytes.Buffer
	if err := framesPage.Execute(&out, page); err != nil {
		return serverError(err)
	}
	h := w.Header()
	s.setPageHeaders(h, "")
	h.Set("Content-Security-Policy", h.Get("Content-Security-Policy")+"; frame-src "+strings.Join(frameSources(frames), " "))
	if req.RedirectTo != "" {
		h.Set("Refresh", "3;url="+req.RedirectTo)
	}
	h.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(out.Bytes()) // the browser went away; nothing to tell it
	return nil
}

// frameSources are the origins of frames, as a policy names them.
func frameSources(frames []string) []string {
	var out []string
	for _, frame := range frames {
		u, err := url.Parse(frame)
		if err != nil {
			continue
		}
		source := u.Scheme + "://" + strings.ToLower(u.Host)
		if strings.Trim(source, cspSourceChars) == "" && !slices.Contains(out, source) {
			out = append(out, source)
		}
	}
	if len(out) == 0 {
		return []string{"'none'"}
	}
	return out
}
