package handlers

import (
	"bytes"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// outlinedPages are pages that have outlines, with every field set that may be.
func outlinedPages() []any {
	c := ClientView{
		ClientID: "id", Name: "A <Name> & more", Host: "a.example", Logo: "/logo?a=1&b=2", LogoURI: "https://a.example/logo", ClientURI: "https://a.example",
		TOSURI: "https://a.example/t", PolicyURI: "https://a.example/p", SelfRegistered: true,
	}
	return []any{
		LoginPage{Client: c, Action: "/login", Interaction: "i.-_9", CSRF: "c.-_9"},
		ConsentPage{
			Client: c, Subject: "sub", Username: "alice", RedirectHost: "a.example", Resources: []string{"https://a.example"},
			Scopes: []ConsentScope{{Scope: Scope{Name: "a", Title: "A", Description: "All"}, New: true}, {Scope: Scope{Name: "openid"}}},
			Action: "/consent", ConsentToken: "t.-_9", CSRF: "c.-_9", SwitchAccount: "/consent?account=other&consent_token=t.-_9",
		},
	}
}

// eachChange calls fn with v changed in one place, for every place of it.
func eachChange(v reflect.Value, path string, fn func(path string)) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			eachChange(v.Field(i), path+"."+v.Type().Field(i).Name, fn)
		}
	case reflect.Slice:
		was := reflect.ValueOf(v.Interface())
		for i := range v.Len() {
			eachChange(v.Index(i), path+"[]", fn)
		}
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		fn(path + " with one more")
		v.Set(reflect.Zero(v.Type()))
		fn(path + " without any")
		v.Set(was)
	case reflect.Bool:
		v.SetBool(!v.Bool())
		fn(path)
		v.SetBool(!v.Bool())
	case reflect.String:
		was := v.String()
		for _, to := range []string{"", "x", was + "y", `<i title="'&+">` + "\u202e  " + strings.Repeat("z", 200), "javascript:alert(1)"} {
			v.SetString(to)
			fn(path + " = " + to)
		}
		v.SetString(was)
	default:
		panic("a field of type " + v.Type().String())
	}
}

// A page that is written by an outline is the page, whatever is in it.
func TestOutlinedPagesAreThePages(t *testing.T) {
	made, err := NewRenderer(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := made.(*templateRenderer)
	for _, page := range outlinedPages() {
		v := reflect.New(reflect.TypeOf(page)).Elem()
		v.Set(reflect.ValueOf(page))
		// Of an outline that there is, whose text must not be taken for another's.
		check := func(path string) {
			page := v.Interface()
			for _, text := range r.texts.texts {
				for _, sheet := range []string{"", "/oauth/pages.css?v=1"} {
					want := r.plain(t, text, sheet, page)
					for range 2 {
						var got bytes.Buffer
						if err := r.render(&got, fileOf(t, page), text, sheet, page); err != nil {
							t.Fatal(err)
						}
						if got.String() != want {
							t.Errorf("%T%s in %s:\n%s\nwant\n%s", page, path, text.lang, got.String(), want)
						}
					}
				}
			}
		}
		check("")
		changes := 0
		eachChange(v, "", func(path string) { changes++; check(path) })
		if changes < 30 {
			t.Errorf("only %d changes were tried", changes)
		}
	}
}

// Handles, tokens and names differ from page to page and share an outline; what is
// in a page otherwise has one of its own, up to a bound.
func TestOutlinesAreShared(t *testing.T) {
	made, err := NewRenderer(nil)
	if err != nil {
		t.Fatal(err)
	}
	r := made.(*templateRenderer)
	write := func(page any) {
		t.Helper()
		var b bytes.Buffer
		if err := r.render(&b, fileOf(t, page), r.texts.texts[0], "", page); err != nil {
			t.Fatal(err)
		}
	}
	pages := outlinedPages()
	for _, id := range []string{"a", "b", "c"} {
		login, consent := pages[0].(LoginPage), pages[1].(ConsentPage)
		login.CSRF, login.Interaction = id, id
		consent.CSRF, consent.ConsentToken, consent.SwitchAccount, consent.Username = id, id, "/"+id, id+" <&>"
		write(login)
		write(consent)
	}
	// A real one has them too.
	consent := pages[1].(ConsentPage)
	consent.ConsentToken = newHandle(time.Unix(1, 0))
	consent.SwitchAccount = "/consent?account=other&consent_token=" + url.QueryEscape(consent.ConsentToken)
	write(consent)
	if n := len(r.outlines.made); n != 2 {
		t.Errorf("%d outlines were made of 2 pages", n)
	}
	for key, o := range r.outlines.made {
		if text := key + strings.Join(o.before, "") + o.rest; strings.Contains(text, "alice") || slices.ContainsFunc(r.outlines.marks[:], func(m string) bool { return strings.Contains(text, m) }) {
			t.Errorf("an outline has the user's name or a mark: %s", text)
		}
	}
	for i := range 3 * maxOutlines {
		login := pages[0].(LoginPage)
		login.Client.ClientID = strings.Repeat("x", i)
		write(login)
	}
	if n := len(r.outlines.made); n > maxOutlines {
		t.Errorf("%d outlines are kept, more than %d", n, maxOutlines)
	}
}

// What a host's template does with a value is not known.
func TestHostsPagesHaveNoOutlines(t *testing.T) {
	for _, file := range []string{"login.html", "layout.html", "brand.html"} {
		b, err := embeddedTemplates.ReadFile("templates/" + file)
		if err != nil {
			t.Fatal(err)
		}
		made, err := NewRenderer(fstest.MapFS{file: {Data: b}})
		if err != nil {
			t.Fatal(err)
		}
		if made.(*templateRenderer).outlines != nil {
			t.Errorf("pages with the host's %s have outlines", file)
		}
	}
	made, err := NewRenderer(fstest.MapFS{"catalogue/en.json": {Data: []byte(`{"login.title": "Welcome"}`)}})
	if err != nil {
		t.Fatal(err)
	}
	if made.(*templateRenderer).outlines == nil {
		t.Error("pages with the host's texts have no outlines")
	}
}
