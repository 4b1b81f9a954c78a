package handlers

import (
	"bytes"
	"strings"
	"testing"
	"testing/fstest"
)

// fileOf is the template that writes a page.
func fileOf(t testing.TB, page any) string {
	switch page.(type) {
	case LoginPage:
		return "login.html"
	case AccountsPage:
		return "accounts.html"
	case ConsentPage:
		return "consent.html"
	case ErrorPage:
		return "error.html"
	case MessagePage:
		return "message.html"
	case AppsPage:
		return "apps.html"
	}
	t.Fatalf("no template for a %T", page)
	return ""
}

// plain renders a page by its template as it was parsed.
func (t *templateRenderer) plain(tb testing.TB, text words, sheet string, page any) string {
	tb.Helper()
	tmpl, err := t.pages[fileOf(tb, page)].Clone()
	if err != nil {
		tb.Fatal(err)
	}
	var b strings.Builder
	if err := tmpl.ExecuteTemplate(&b, "layout.html", pageData{words: text, Sheet: sheet, Style: t.style.css, Page: page}); err != nil {
		tb.Fatal(err)
	}
	return b.String()
}

// What is written into the templates beforehand is, byte for byte, what they would
// write themselves, in every context that a host's own template may have.
func TestBakedPagesAreThePages(t *testing.T) {
	hosts := fstest.MapFS{
		"pages.css":            {Data: []byte("p::after{content:\"<+'&\"}")},
		"catalogue/en.json":    {Data: []byte(`{"odd": "a < b & \"c\" + 'd' {e}"}`)},
		"catalogue/x-odd.json": {Data: []byte(`{"odd": "<i>+{x}"}`)},
		"error.html": {Data: []byte(`{{define "title"}}{{.T "odd"}}{{end}}{{define "content"}}{{.T "odd"}}{{$d := .}}
{{range len "ab"}}{{$.T "odd"}}{{$d.T "odd" "e" "x"}}{{else}}{{.T "odd"}}{{end}}{{with .Page.Code}}{{$d.T "odd"}}{{.}}{{else}}{{$.T "odd"}}{{end}}
<i title="{{.T "odd"}}" class={{.T "odd"}} lang='{{.Lang}}'></i><a href="/x?{{.T "odd"}}">{{.T "odd" | printf "%q"}}</a>
<textarea>{{.T "odd"}}</textarea><script>var v = {{.T "odd"}}; var w = "{{$.T "odd"}}"</script><style>{{.Style}} a{b:{{.T "odd"}}}</style>{{$t := .T "odd"}}{{$t}}{{if .T "odd"}}{{.T "odd"}}{{end}}{{.H "odd"}}
{{- end}}`)},
	}
	own, err := NewRenderer(nil)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := NewRenderer(hosts)
	if err != nil {
		t.Fatal(err)
	}
	for name, page := range everyPage() {
		for _, r := range []*templateRenderer{own.(*templateRenderer), theirs.(*templateRenderer)} {
			for _, text := range r.texts.texts {
				for _, sheet := range []string{"", "/oauth/pages.css?v=1"} {
					var got bytes.Buffer
					if err := r.render(&got, fileOf(t, page), text, sheet, page); err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					if want := r.plain(t, text, sheet, page); got.String() != want {
						t.Errorf("%s in %s:\n%s\nwant\n%s", name, text.lang, got.String(), want)
					}
				}
			}
		}
	}
}

func BenchmarkPages(b *testing.B) {
	r := DefaultRenderer().(*templateRenderer)
	for _, name := range []string{"login for client", "consent"} {
		page := everyPage()[name]
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var out bytes.Buffer
				if err := r.render(&out, fileOf(b, page), r.texts.texts[0], "/oauth/pages.css?v=1", page); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
