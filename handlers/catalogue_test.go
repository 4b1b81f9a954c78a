package handlers

import (
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

func builtInTexts(t *testing.T) *catalogue {
	t.Helper()
	c, err := loadCatalogue(nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

// A text that is missing in one language, or lost a placeholder on the way,
// would be found by a person who reads that language.
func TestCatalogueIsComplete(t *testing.T) {
	c := builtInTexts(t)
	var langs []string
	for _, w := range c.texts {
		langs = append(langs, w.lang)
	}
	if want := []string{"en", "de", "es", "fr", "zh"}; !slices.Equal(langs, want) {
		t.Fatalf("got %v, want %v", langs, want)
	}
	english := c.texts[0].texts
	for _, w := range c.texts {
		for key, text := range english {
			got := w.texts[key]
			if strings.TrimSpace(got) != got || got == "" {
				t.Errorf("%s: %s is %q", w.lang, key, got)
			}
			have, want := placeholder.FindAllString(got, -1), placeholder.FindAllString(text, -1)
			slices.Sort(have)
			slices.Sort(want)
			if !slices.Equal(have, want) {
				t.Errorf("%s: %s has placeholders %v, want %v", w.lang, key, have, want)
			}
			if strings.ContainsAny(got, "<>\"") {
				t.Errorf("%s: %s has markup: %q", w.lang, key, got)
			}
		}
		for key := range w.texts {
			if _, ok := english[key]; !ok {
				t.Errorf("%s: %s is not in English", w.lang, key)
			}
		}
		at := time.Date(2026, 11, 22, 13, 45, 0, 0, time.UTC)
		d := pageData{words: w}
		for _, part := range []string{"2026", "11", "22", "13:45", "UTC"} {
			if w.lang == "en" && part == "11" {
				part = "November"
			}
			if !strings.Contains(d.Time(at), part) {
				t.Errorf("%s: time %q has no %s", w.lang, d.Time(at), part)
			}
		}
		if got := d.Date(at); !strings.Contains(got, "2026") || strings.Contains(got, "13") {
			t.Errorf("%s: date %q", w.lang, got)
		}
	}
}

// Every text that a template asks for exists, and every text is asked for.
func TestCatalogueAndTemplatesAgree(t *testing.T) {
	english := builtInTexts(t).texts[0].texts
	used := map[string]bool{"app.unnamed": true, "accounts.unnamed": true, "sessions.unknown": true, "format.date": true, "format.time": true}
	asked := regexp.MustCompile(`\.[TH] "([^"]+)"`)
	files, err := fs.Glob(embeddedTemplates, "templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := fs.ReadFile(embeddedTemplates, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range asked.FindAllStringSubmatch(string(b), -1) {
			used[m[1]] = true
			if english[m[1]] == "" {
				t.Errorf("%s asks for %s, which is not in the catalogue", file, m[1])
			}
		}
	}
	composed := []string{"scope.", "message.", "error.", "consent.redirect"}
	for _, key := range slices.Sorted(maps.Keys(english)) {
		if !used[key] && !slices.ContainsFunc(composed, func(p string) bool { return strings.HasPrefix(key, p) }) {
			t.Errorf("nothing asks for %s", key)
		}
	}
}

func TestLanguageIsChosen(t *testing.T) {
	c := builtInTexts(t)
	tests := []struct {
		name   string
		ui     []string
		accept string
		want   string
	}{
		{"nothing", nil, "", "en"},
		{"the browser's", nil, "de-AT,de;q=0.9,en;q=0.8", "de"},
		{"the browser's second", nil, "ja,fr;q=0.5", "fr"},
		{"ui_locales before the browser's", []string{"es"}, "de", "es"},
		{"unknown ui_locales", []string{"ja"}, "de", "de"},
		{"order of ui_locales", []string{"ja", "fr-CA", "de"}, "", "fr"},
		{"Chinese by script", []string{"zh-Hans-CN"}, "", "zh"},
		{"none of ours", []string{"sw"}, "fi", "en"},
		{"nonsense", []string{"../../etc", "<b>", ""}, ";;q=,,", "en"},
		{"nonsense does not hide the rest", []string{"!", "de"}, "", "de"},
		{"too long", []string{strings.Repeat("de-", 40) + "de"}, strings.Repeat("de,", 1000), "en"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := c.choose(tt.ui, tt.accept).lang; got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestScopeWords(t *testing.T) {
	c := builtInTexts(t)
	en, de := c.choose([]string{"en"}, ""), c.choose([]string{"de"}, "")
	tests := []struct {
		name               string
		w                  words
		scope              Scope
		title, description string
	}{
		{"built in", en, Scope{Name: "email"}, "See your email address", "Your address, and whether it was confirmed."},
		{"built in, translated", de, Scope{Name: "email"}, "Ihre E-Mail-Adresse sehen", "Ihre Adresse und ob sie bestätigt wurde."},
		{"the host's words", en, Scope{Name: "read", Title: "Read", Description: "All of it."}, "Read", "All of it."},
		{"the host's words where there is no translation", de, Scope{Name: "read", Title: "Read", Description: "All of it."}, "Read", "All of it."},
		{"the host's words for a known scope", en, Scope{Name: "email", Title: "Mail"}, "Mail", ""},
		{"the name alone", de, Scope{Name: "x:y"}, "x:y", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.w.ScopeTitle(tt.scope); got != tt.title {
				t.Errorf("title: got %q, want %q", got, tt.title)
			}
			if got := tt.w.ScopeDescription(tt.scope); got != tt.description {
				t.Errorf("description: got %q, want %q", got, tt.description)
			}
		})
	}
}

func TestTextsAreFilledInOnce(t *testing.T) {
	w := words{texts: map[string]string{"k": "a & {x} {y}"}}
	if got := w.T("k", "x", "{y}", "y", "<b>"); got != "a & {y} <b>" {
		t.Errorf("T: got %q", got)
	}
	if got := string(w.H("k", "x", "{y}", "y", "<b>\"")); got != "a &amp; <bdi>{y}</bdi> <bdi>&lt;b&gt;&#34;</bdi>" {
		t.Errorf("H: got %q", got)
	}
	if got := w.T("missing"); got != "" {
		t.Errorf("a missing text: got %q", got)
	}
}

func TestCatalogueOverride(t *testing.T) {
	c, err := loadCatalogue(fstest.MapFS{
		"catalogue/en.json": {Data: []byte(`{"login.title":"Log in","scope.read.title":"Read"}`)},
		"catalogue/pt.json": {Data: []byte(`{"login.title":"Entrar"}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	en, pt := c.choose([]string{"en"}, ""), c.choose([]string{"pt-BR"}, "")
	if got := en.T("login.title"); got != "Log in" {
		t.Errorf("replaced: got %q", got)
	}
	if got := en.T("login.password"); got != "Password" {
		t.Errorf("kept: got %q", got)
	}
	if got := pt.T("login.title"); got != "Entrar" || pt.Lang() != "pt" {
		t.Errorf("added: got %q in %s", got, pt.Lang())
	}
	if got := pt.T("login.password"); got != "Password" {
		t.Errorf("missing in an added language: got %q", got)
	}
	if got := en.ScopeTitle(Scope{Name: "read"}); got != "Read" {
		t.Errorf("a scope of the host: got %q", got)
	}
	for name, data := range map[string]string{"catalogue/en.json": `[`, "catalogue/not a language.json": `{}`} {
		if _, err := loadCatalogue(fstest.MapFS{name: {Data: []byte(data)}}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v, want an error that names it", name, err)
		}
	}
}
