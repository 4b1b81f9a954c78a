package conformance

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

func pageAt(t testing.TB, at, body string) *answer {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &answer{request: req, status: http.StatusOK, header: http.Header{}, body: []byte(body)}
}

func TestFill(t *testing.T) {
	f := FormBrowser{Fields: map[string]string{"user": "alice", "pass": "secret", "csrf": "mine", "stay": "yes"}, Buttons: []string{"go=on"}}
	tests := []struct {
		name, page   string
		action, form string // empty: an error
	}{
		{"a sign-in page", `<form method=post action=/in?a=b><input type=hidden name=csrf value=theirs><input name=user><input type=password name=pass value=x><button>Go</button></form>`,
			"https://login.example/in?a=b", "csrf=theirs&pass=secret&user=alice"},
		{"no action is the page itself", `<form method=POST><input name=user></form>`, "https://login.example/page?x=1", "user=alice"},
		{"the form we know, among others", `<form method=post action=/lang><select name=lang></select></form><form method=post action=/in><input name=user></form>`,
			"https://login.example/in", "user=alice"},
		{"the button to press", `<form method=post><button name=go value=away>No</button><button name=go value=on>Yes</button></form>`,
			"https://login.example/page?x=1", "go=on"},
		{"the first button otherwise", `<form method=post><input type=submit name=ok value=1><input type=submit name=no value=1></form>`,
			"https://login.example/page?x=1", "ok=1"},
		{"boxes as they are", `<form method=post><input type=checkbox name=a value=1 checked><input type=checkbox name=b value=1><input type=checkbox name=stay value=yes></form>`,
			"https://login.example/page?x=1", "a=1&stay=yes"},
		{"what is disabled is not sent", `<form method=post><input name=user disabled><input name=other value=1></form>`, "https://login.example/page?x=1", "other=1"},
		{"a search is not sent", `<form action=/search><input name=q></form>`, "", ""},
		{"two forms that we do not know", `<form method=post action=/a></form><form method=post action=/b></form>`, "", ""},
		{"no form", `<p>Hello</p>`, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			form, err := f.fill(pageAt(t, "https://login.example/page?x=1", tt.page))
			switch {
			case tt.action == "" && err == nil:
				t.Errorf("got %s %s, want an error", form.action, form.values.Encode())
			case tt.action == "":
			case err != nil:
				t.Error(err)
			case form.action.String() != tt.action || form.values.Encode() != tt.form:
				t.Errorf("got %s %s, want %s %s", form.action, form.values.Encode(), tt.action, tt.form)
			}
		})
	}
}

// A password is not sent in clear to another machine, whatever a page says.
func TestBrowseInClear(t *testing.T) {
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/redirect" {
			http.Redirect(w, r, "http://login.example/", http.StatusFound)
			return
		}
		_, _ = w.Write([]byte(`<form method=post action="http://login.example/in"><input name=username></form>`))
	}))
	defer ts.Close()
	f := FormBrowser{Fields: map[string]string{"username": "alice"}}
	for _, path := range []string{"/", "/redirect"} {
		_, err := f.Browse(context.Background(), ts.URL+path, "https://client.example/cb")
		if err == nil || !strings.Contains(err.Error(), "neither https nor on a loopback address") {
			t.Errorf("%s: got %v", path, err)
		}
	}
}

// response_mode=form_post ends at the redirect URI too.
func TestBrowseFormPost(t *testing.T) {
	ts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`<form method=post action="https://client.example/cb"><input type=hidden name=code value=c><input type=hidden name=state value=s></form>`))
	}))
	defer ts.Close()
	to, err := FormBrowser{}.Browse(context.Background(), ts.URL, "https://client.example/cb")
	if err != nil || to.Query().Get("code") != "c" || to.Query().Get("state") != "s" {
		t.Errorf("got %v, %v", to, err)
	}
}

// The metadata decide where secrets go: never elsewhere than to https, or to this
// machine, and never for another issuer.
func TestEndpoint(t *testing.T) {
	tests := []struct {
		issuer, endpoint string
		want             bool
	}{
		{"https://login.example", "https://login.example/token", true},
		{"https://login.example", "https://api.login.example/token", true},
		{"https://login.example", "http://127.0.0.1:1/token", true},
		{"https://login.example", "http://login.example/token", false},
		{"https://login.example", "/token", false},
		{"https://login.example", "ftp://login.example/token", false},
		{"https://login.example/", "https://login.example/token", false},
		{"https://other.example", "https://login.example/token", false},
	}
	for _, tt := range tests {
		r := &run{cfg: Config{Issuer: "https://login.example"}, meta: members{
			"issuer": []byte(`"` + tt.issuer + `"`), "token_endpoint": []byte(`"` + tt.endpoint + `"`),
		}}
		if got := r.offers("token_endpoint"); got != tt.want {
			t.Errorf("%s of %s: got %v, want %v", tt.endpoint, tt.issuer, got, tt.want)
		}
	}
}

func TestLeadsTo(t *testing.T) {
	tests := []struct {
		to, redirectURI string
		want            bool
	}{
		{"https://client.example/cb?code=1", "https://client.example/cb", true},
		{"https://client.example/cb?x=1&code=1", "https://client.example/cb?x=1", true},
		{"https://CLIENT.example/cb#error=1", "https://client.example/cb", true},
		{"com.example.app:/cb?code=1", "com.example.app:/cb", true},
		{"https://client.example?code=1", "https://client.example/", true},
		{"https://client.example/cb2?code=1", "https://client.example/cb", false},
		{"http://client.example/cb?code=1", "https://client.example/cb", false},
		{"https://client.example.attacker.example/cb", "https://client.example/cb", false},
	}
	for _, tt := range tests {
		to, err := url.Parse(tt.to)
		if err != nil {
			t.Fatal(err)
		}
		if got := leadsTo(to, tt.redirectURI); got != tt.want {
			t.Errorf("%s leads to %s: got %v, want %v", tt.to, tt.redirectURI, got, tt.want)
		}
	}
}

// Whatever a page says, what is typed goes into fields of their names alone, and
// never into a hidden one.
func FuzzFill(f *testing.F) {
	f.Add(`<form method=post action=/in><input name=user><input type=password name=pass><input type=hidden name=pass value=x></form>`)
	f.Add(`<form method=post><input type=HIDDEN name=pass><button name=pass value="">x</button></form>`)
	f.Add(`<form method=post action="//other.example/%zz"><select name=user></select><textarea name=pass></textarea>`)
	const secret = "typed-and-nowhere-else"
	f.Fuzz(func(t *testing.T, page string) {
		form, err := FormBrowser{Fields: map[string]string{"pass": secret}}.fill(pageAt(t, "https://login.example/", page))
		if err != nil || strings.Contains(page, secret) {
			return
		}
		for name, values := range form.values {
			for _, v := range values {
				if v == secret && name != "pass" {
					t.Errorf("the password went into %q", name)
				}
			}
		}
		if !strings.Contains(strings.ToLower(page), "pass") && form.values.Has("pass") {
			t.Error("there is no such field")
		}
	})
}
