package handlers

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"html/template"
	"io/fs"
	"path"
	"slices"
	"strings"

	"golang.org/x/text/language"
)

//go:embed catalogue/*.json
var embeddedCatalogue embed.FS

// catalogue has the texts of the pages by language. English comes first: it is
// what people get whose languages are not here, and where a text is missing.
type catalogue struct {
	matcher language.Matcher
	texts   []words // in the order of the matcher's tags
}

// words are the texts of one language.
type words struct {
	lang     string
	texts    map[string]string
	fallback map[string]string // English
}

// loadCatalogue reads the texts that are built in, and over them those that
// override has in catalogue/<language>.json: single texts, or new languages.
func loadCatalogue(override fs.FS) (*catalogue, error) {
	texts := map[string]map[string]string{}
	for _, fsys := range []fs.FS{embeddedCatalogue, override} {
		if fsys == nil {
			continue
		}
		files, err := fs.Glob(fsys, "catalogue/*.json")
		if err != nil {
			return nil, fmt.Errorf("list catalogue: %w", err)
		}
		for _, file := range files {
			b, err := fs.ReadFile(fsys, file)
			if err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			var read map[string]string
			if err := json.Unmarshal(b, &read); err != nil {
				return nil, fmt.Errorf("read %s: %w", file, err)
			}
			lang := strings.TrimSuffix(path.Base(file), ".json")
			if texts[lang] == nil {
				texts[lang] = map[string]string{}
			}
			for k, v := range read {
				texts[lang][k] = v
			}
		}
	}
	langs := make([]string, 0, len(texts))
	for lang := range texts {
		langs = append(langs, lang)
	}
	slices.SortFunc(langs, func(a, b string) int {
		if (a == "en") != (b == "en") {
			return map[bool]int{true: -1, false: 1}[a == "en"]
		}
		return strings.Compare(a, b)
	})
	if len(langs) == 0 || langs[0] != "en" {
		return nil, errors.New("catalogue: there is no English")
	}
	c := new(catalogue)
	tags := make([]language.Tag, 0, len(langs))
	for _, lang := range langs {
		tag, err := language.Parse(lang)
		if err != nil {
			return nil, fmt.Errorf("catalogue/%s.json: %w", lang, err)
		}
		tags = append(tags, tag)
		c.texts = append(c.texts, words{lang: tag.String(), texts: texts[lang], fallback: texts["en"]})
	}
	c.matcher = language.NewMatcher(tags)
	return c, nil
}

// Bounds on what is considered of a stranger's wishes.
const (
	maxLocales        = 16
	maxLocale         = 64
	maxAcceptLanguage = 1024
)

// choose picks a language: what the client asked for (ui_locales of OpenID
// Connect Core §3.1.2.1) comes before what the browser prefers.
func (c *catalogue) choose(uiLocales []string, acceptLanguage string) words {
	var wanted []language.Tag
	for i, l := range uiLocales {
		if i == maxLocales {
			break
		}
		if len(l) > maxLocale {
			continue
		}
		if tag, err := language.Parse(l); err == nil {
			wanted = append(wanted, tag)
		}
	}
	if len(acceptLanguage) <= maxAcceptLanguage {
		if tags, _, err := language.ParseAcceptLanguage(acceptLanguage); err == nil {
			wanted = append(wanted, tags[:min(len(tags), maxLocales)]...)
		}
	}
	if len(wanted) == 0 {
		return c.texts[0]
	}
	_, i, confidence := c.matcher.Match(wanted...)
	if confidence == language.No {
		i = 0
	}
	return c.texts[i]
}

// Lang is the language, for the lang attribute.
func (w words) Lang() string { return w.lang }

// T is the text of that key. pairs are names and values of its placeholders:
// T("login.for", "client", name) fills in {client}.
func (w words) T(key string, pairs ...string) string {
	return fill(w.lookup(key), func(v string) string { return v }, pairs)
}

// H is T for a text in which each value stands out, and is isolated so that
// its direction of writing cannot reorder the words around it.
func (w words) H(key string, pairs ...string) template.HTML {
	isolate := func(v string) string { return "<bdi>" + html.EscapeString(v) + "</bdi>" }
	return template.HTML(fill(html.EscapeString(w.lookup(key)), isolate, pairs)) // text and values are escaped
}

// Has reports whether there is a text of that key.
func (w words) Has(key string) bool { return w.lookup(key) != "" }

func (w words) lookup(key string) string {
	if t := w.texts[key]; t != "" {
		return t
	}
	return w.fallback[key]
}

// fill fills in the placeholders in one pass, so that a value that looks like a
// placeholder stays what it is.
func fill(text string, write func(string) string, pairs []string) string {
	if len(pairs) == 0 {
		return text
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "{")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		name, rest, closed := strings.Cut(after, "}")
		i := 0
		for i+1 < len(pairs) && pairs[i] != name {
			i += 2
		}
		if !closed || i+1 >= len(pairs) { // a brace that is one
			b.WriteByte('{')
			text = after
			continue
		}
		b.WriteString(write(pairs[i+1]))
		text = rest
	}
}

// ScopeTitle is a scope in words. The host's own words are English, so they come
// first in English and last elsewhere; a scope without any has its name.
func (w words) ScopeTitle(s Scope) string {
	return w.scope(s.Name, "title", s.Title, s.Name)
}

// ScopeDescription is the sentence below [words.ScopeTitle]; may be empty.
func (w words) ScopeDescription(s Scope) string {
	if w.lang == "en" && s.Title != "" {
		return s.Description // never the catalogue's sentence under the host's title
	}
	return w.scope(s.Name, "description", s.Description, "")
}

func (w words) scope(name, part, host, otherwise string) string {
	key := "scope." + name + "." + part
	switch {
	case w.lang == "en" && host != "":
		return host
	case w.texts[key] != "":
		return w.texts[key]
	case host != "":
		return host
	case w.fallback[key] != "":
		return w.fallback[key]
	}
	return otherwise
}
