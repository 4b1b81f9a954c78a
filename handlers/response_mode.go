package handlers

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The response modes (OAuth 2.0 Multiple Response Types §2.1, OAuth 2.0 Form Post
// Response Mode).
const (
	modeQuery    = "query"
	modeFragment = "fragment"
	modeFormPost = "form_post"
)

// responseModes are the modes of a response type, its default first. What carries
// tokens never stands in a query (Multiple Response Types §5), and a code never
// in a fragment alone.
func responseModes(responseType string) []string {
	if answersTokens(responseType) {
		return []string{modeFragment, modeFormPost}
	}
	return []string{modeQuery, modeFormPost}
}

// answersTokens reports whether an answer of that type carries more than a code.
func answersTokens(responseType string) bool {
	words := strings.Fields(responseType)
	for _, w := range words {
		if w == "token" || w == "id_token" {
			return true
		}
	}
	return false
}

// responseMode is how the answer to p goes to the client, an error included. A
// mode that is not one of the type's gives way to the default.
func (s *Server) responseMode(p *authorizeParams) string {
	modes := responseModes("code")
	if s.cfg.Implicit {
		modes = responseModes(p.ResponseType)
	}
	for _, mode := range modes {
		if p.ResponseMode == mode {
			return mode
		}
	}
	return modes[0]
}

// answerURL is where the browser goes with the answer: the given name and value
// pairs, state when there was one, and iss (RFC 9207 §2). The registered URI is
// kept byte for byte; its query, if it has one, is extended. With form_post it
// is a page of ours that posts the answer.
func (s *Server) answerURL(p *authorizeParams, pairs ...string) string {
	if p.State != "" {
		pairs = append(pairs, "state", p.State)
	}
	pairs = append(pairs, "iss", s.cfg.Issuer)
	mode := s.responseMode(p)
	if mode == modeFormPost {
		return s.formPostURL(p, pairs)
	}
	var b strings.Builder
	b.WriteString(p.RedirectTo)
	var sep byte
	switch {
	case mode == modeFragment:
		sep = '#' // no redirect URI has one of its own
	case !strings.Contains(p.RedirectTo, "?"):
		sep = '?'
	case strings.HasSuffix(p.RedirectTo, "?") || strings.HasSuffix(p.RedirectTo, "&"):
	default:
		sep = '&'
	}
	for i := 0; i < len(pairs); i += 2 {
		if sep != 0 {
			b.WriteByte(sep)
		}
		sep = '&'
		b.WriteString(pairs[i])
		b.WriteByte('=')
		b.WriteString(url.QueryEscape(pairs[i+1]))
	}
	return b.String()
}

// formPost is an answer that a page of ours posts to the client.
type formPost struct {
	Target  string   `json:"t"`
	Pairs   []string `json:"p"`
	Locales []string `json:"l,omitempty"`
	Expires int64    `json:"e"` // Unix time
}

// formPostLifetime is how long after it was given an answer can be posted.
const formPostLifetime = 5 * time.Minute

// formPostURL is the address of the page that posts pairs. It carries them
// encrypted, so that they stand in no log and nobody makes up others.
func (s *Server) formPostURL(p *authorizeParams, pairs []string) string {
	b, err := json.Marshal(formPost{p.RedirectTo, pairs, p.UILocales, s.now().Add(formPostLifetime).Unix()})
	if err != nil {
		panic("handlers: an answer is plain data: " + err.Error())
	}
	return s.url("/oauth/authorize/answer?response=" + sealValue(s.keysFor("form post"), "", b))
}

// The one script of this server: it presses the button of the page below. Where
// scripts are off, people do.
const (
	formPostScript = `document.forms[0].submit()`
	formPostText   = `<!doctype html>
<html lang="{{.Lang}}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{.Button}}</title>
<link rel="icon" href="data:,">
</head>
<body>
<form method="post" action="{{.Target}}">
{{range .Fields}}<input type="hidden" name="{{.Name}}" value="{{.Value}}">
{{end}}<button type="submit">{{.Button}}</button>
</form>
<script>{{.Script}}</script>
</body>
</html>
`
)

var (
	formPostPage   = template.Must(template.New("form_post").Parse(formPostText))
	formPostSource = func() string {
		sum := sha256.Sum256([]byte(formPostScript))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}()
)

// answerPage serves GET /oauth/authorize/answer, the page that posts an
// authorization response to the client (OAuth 2.0 Form Post Response Mode §2).
func (s *Server) answerPage(w http.ResponseWriter, r *http.Request) error {
	form, err := queryParameters(r)
	if err != nil {
		return err
	}
	var answer formPost
	b, ok := openValue(s.keysFor("form post"), "", form.Get("response"))
	if !ok || json.Unmarshal(b, &answer) != nil || s.now().Unix() >= answer.Expires {
		return expiredInteraction()
	}
	type field struct{ Name, Value string }
	text := s.texts.choose(answer.Locales, r.Header.Get("Accept-Language"))
	page := struct {
		Lang, Button string
		Target       template.URL // registered, and matched before the answer was made
		Fields       []field
		Script       template.JS
	}{text.lang, text.T("message.signed_in.button"), template.URL(answer.Target), nil, formPostScript}
	for i := 0; i+1 < len(answer.Pairs); i += 2 {
		page.Fields = append(page.Fields, field{answer.Pairs[i], answer.Pairs[i+1]})
	}
	var out bytes.Buffer
	if err := formPostPage.Execute(&out, page); err != nil {
		return serverError(err)
	}
	h := w.Header()
	s.setPageHeaders(h, cspSource(answer.Target))
	h.Set("Content-Security-Policy", h.Get("Content-Security-Policy")+"; script-src "+formPostSource)
	h.Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(out.Bytes()) // the browser went away; nothing to tell it
	return nil
}
