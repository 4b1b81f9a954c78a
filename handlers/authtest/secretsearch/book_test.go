package secretsearch_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/handlers/authtest/secretsearch"
)

// The search itself: what was noted is found, whole or by its halves, and
// nothing else is.
func TestSecretsAreFound(t *testing.T) {
	var b secretsearch.Book
	b.Values(url.Values{"code": {"oac_0123456789abcdefghij.ABCDEFGHIJKLMNOPQRST"}, "state": {"not-a-secret-at-all-0123456789"}, "password": {"short", "wonderland"}})
	b.Values(url.Values{"refresh_token": {"ABCDEFGHIJKLMNOP-another-one"}}) // begins like the code's MAC
	for text, want := range map[string]string{
		"xx ABCDEFGHIJKLMNOPQRST yy":       "code",
		"xx ABCDEFGHIJKLMNOP-another-one":  "refresh_token",
		"code=oac_0123456789abcdefghij.":   "code",
		"ABCDEFGHIJKLMNOPQRSx":             "",
		"state not-a-secret-at-all-012345": "",
		"password is wonderland":           "password",
		"a short one":                      "",
	} {
		if found := strings.Join(b.Search([]byte(text)), " "); found != want {
			t.Errorf("%q: found %q, want %q", text, found, want)
		}
	}
}

// Whatever way a credential travels through the client, it is noted, and nobody
// notices.
func TestTransport(t *testing.T) {
	secret := func(i int) string { return fmt.Sprintf("secret-number-%02d-abcdefghijklmnop", i) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("code") != secret(1) || r.URL.Query().Get("token") != secret(2) {
			t.Errorf("the request was changed: %v", r.Form)
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: secret(5)})
		switch r.URL.Path {
		case "/json":
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"data":[{"client_secret":"`+secret(6)+`"}]}`)
		case "/page":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = io.WriteString(w, `<input type="hidden" name="csrf_token" value="`+secret(7)+`&amp;">`)
		case "/redirect":
			w.Header().Set("Location", "https://client.example/cb?code="+secret(8)+"#access_token="+secret(9))
			w.WriteHeader(http.StatusFound)
		}
	}))
	defer server.Close()
	var b secretsearch.Book
	client := &http.Client{Transport: b.Transport(http.DefaultTransport), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, path := range []string{"/json", "/page", "/redirect"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+path+"?token="+secret(2), strings.NewReader("code="+secret(1)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth("id", url.QueryEscape(secret(3)))
		if path == "/page" {
			req.Header.Set("Authorization", "Bearer "+secret(4))
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || path != "/redirect" && len(body) == 0 {
			t.Errorf("%s: body %q, %v", path, body, err)
		}
	}
	want := []string{"", "code", "token", "client secret", "bearer token", "cookie session", "client_secret", "csrf_token", "code", "access_token"}
	for i := 1; i < len(want); i++ {
		if found := b.Search([]byte("log: " + secret(i) + "&")); !slices.Equal(found, want[i:i+1]) {
			t.Errorf("%s: found %v, want %s", secret(i), found, want[i])
		}
	}
	if b.Len() != 9 {
		t.Errorf("%d secrets were noted, want 9", b.Len())
	}
}
