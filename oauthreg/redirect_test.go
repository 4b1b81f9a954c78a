package oauthreg_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func TestValidateRedirectURI(t *testing.T) {
	const long = "https://app.example/"
	tests := []struct {
		name  string
		uri   string
		rules oauthreg.RedirectRules
		want  string // part of the error; empty if it may be registered
	}{
		{name: "https", uri: "https://app.example/cb"},
		{name: "https with port and query", uri: "https://app.example:8443/cb?tenant=1&x=%2F"},
		{name: "https without path", uri: "https://app.example"},
		{name: "https with query but no path", uri: "https://app.example?x=1"},
		{name: "https on an address", uri: "https://192.0.2.7/cb"},
		{name: "https on an IPv6 address", uri: "https://[2001:db8::1]:444/cb"},
		{name: "https on localhost", uri: "https://localhost/cb"},
		{name: "host in upper case", uri: "https://APP.example/CB"},
		{name: "at sign in the path", uri: "https://app.example/@me/cb"},
		{name: "punycode host", uri: "https://xn--bcher-kva.example/cb"},
		{name: "2048 characters", uri: long + strings.Repeat("a", 2048-len(long))},
		{name: "http on localhost", uri: "http://localhost:3000/callback"},
		{name: "http on the IPv4 loopback", uri: "http://127.0.0.1/cb"},
		{name: "http on the IPv6 loopback", uri: "http://[::1]:7/cb"},
		{name: "reversed domain scheme", uri: "com.example.app:/oauth2redirect"},
		{name: "reversed domain scheme with authority", uri: "com.example.app://oauth/callback"},
		{name: "short scheme", uri: "myapp://oauth/callback"},
		{name: "upper case in a private-use scheme", uri: "com.example.MyApp:/cb"},
		{name: "scheme with empty authority", uri: "myapp:///cb"},
		{name: "native app may have https", uri: "https://app.example/cb", rules: oauthreg.RedirectRules{ApplicationType: oauthreg.Native}},
		{name: "web app may have http on loopback", uri: "http://localhost/cb", rules: oauthreg.RedirectRules{ApplicationType: oauthreg.Web}},
		{name: "dotted scheme where dots are required", uri: "com.example.app:/cb", rules: oauthreg.RedirectRules{RequireDottedSchemes: true}},
		{name: "exempted short scheme", uri: "cursor://host/cb", rules: oauthreg.RedirectRules{RequireDottedSchemes: true, PrivateUseSchemes: []string{"cursor"}}},

		{name: "empty", uri: "", want: "empty"},
		{name: "too long", uri: long + strings.Repeat("a", 2049-len(long)), want: "2048"},
		{name: "relative path", uri: "/callback", want: "absolute"},
		{name: "relative to the scheme", uri: "//app.example/cb", want: "absolute"},
		{name: "no scheme", uri: "app.example/cb", want: "absolute"},
		{name: "empty scheme", uri: "://app.example/cb", want: "absolute"},
		{name: "scheme begins with a digit", uri: "1app:/cb", want: "absolute"},
		{name: "scheme with underscore", uri: "my_app:/cb", want: "absolute"},
		{name: "fragment", uri: "https://app.example/cb#x", want: "fragment"},
		{name: "empty fragment", uri: "https://app.example/cb#", want: "fragment"},
		{name: "fragment of a private-use scheme", uri: "com.example.app:/cb#x", want: "fragment"},
		{name: "user information", uri: "https://user@app.example/cb", want: "user information"},
		{name: "user and password", uri: "https://u:p@app.example/cb", want: "user information"},
		{name: "empty user information", uri: "https://@app.example/cb", want: "user information"},
		{name: "user information that looks like a host", uri: "https://app.example:443@evil.example/cb", want: "user information"},
		{name: "encoded at sign in the host", uri: "https://app.example%40evil.example/cb", want: "percent-encoding"},
		{name: "user information without path", uri: "https://app.example@evil.example?x", want: "user information"},
		{name: "user information in a private-use scheme", uri: "myapp://u@host/cb", want: "user information"},
		{name: "wildcard host", uri: "https://*.example/cb", want: "wildcard"},
		{name: "wildcard path", uri: "https://app.example/*", want: "wildcard"},
		{name: "backslash", uri: `https://app.example\@evil.example/cb`, want: "backslash"},
		{name: "backslashes for slashes", uri: `https:\\app.example/cb`, want: "backslash"},
		{name: "encoded backslash in the path", uri: "https://app.example/%5c../cb", want: "backslash"},
		{name: "space", uri: "https://app.example/c b", want: "spaces"},
		{name: "leading space", uri: " https://app.example/cb", want: "spaces"},
		{name: "leading tab", uri: "\thttps://app.example/cb", want: "spaces"},
		{name: "trailing newline", uri: "https://app.example/cb\n", want: "spaces"},
		{name: "carriage return and line feed", uri: "https://app.example/cb\r\nSet-Cookie: a=b", want: "spaces"},
		{name: "tab in the scheme", uri: "java\tscript:alert(1)", want: "spaces"},
		{name: "NUL", uri: "https://app.example/\x00", want: "spaces"},
		{name: "delete", uri: "https://app.example/\x7f", want: "spaces"},
		{name: "encoded line feed", uri: "https://app.example/cb?x=%0d%0aA:b", want: "control"},
		{name: "encoded NUL", uri: "https://app.example/%00", want: "control"},
		{name: "unicode host", uri: "https://bücher.example/cb", want: "ASCII"},
		{name: "full-width dot", uri: "https://app。example/cb", want: "ASCII"},
		{name: "invalid UTF-8", uri: "https://app.example/\xff", want: "ASCII"},
		{name: "quotation mark", uri: `https://app.example/"onload="x`, want: "percent-encoded"},
		{name: "angle bracket", uri: "https://app.example/<script>", want: "percent-encoded"},
		{name: "dot segment", uri: "https://app.example/a/../cb", want: "dot segments"},
		{name: "single dot segment", uri: "https://app.example/./cb", want: "dot segments"},
		{name: "dot segment at the end", uri: "https://app.example/cb/..", want: "dot segments"},
		{name: "encoded dot segment", uri: "https://app.example/%2e%2E/cb", want: "dot segments"},
		{name: "half encoded dot segment", uri: "https://app.example/.%2e/cb", want: "dot segments"},
		{name: "dot segment behind an encoded slash", uri: "https://app.example/a%2f..%2Fcb", want: "dot segments"},
		{name: "dot segment with a path parameter", uri: "https://app.example/a/..;x=1/cb", want: "dot segments"},
		{name: "dot segment in a private-use scheme", uri: "com.example.app:/../cb", want: "dot segments"},
		{name: "encoded twice", uri: "https://app.example/%252e%252e/cb", want: "twice"},
		{name: "encoded twice in the query", uri: "https://app.example/?x=%2541", want: "twice"},
		{name: "broken encoding", uri: "https://app.example/%zz", want: "hexadecimal"},
		{name: "cut encoding", uri: "https://app.example/%4", want: "hexadecimal"},
		{name: "signed encoding", uri: "https://app.example/%+1", want: "hexadecimal"},
		{name: "port 0", uri: "http://localhost:0/cb", want: "port"},
		{name: "empty port", uri: "http://localhost:/cb", want: "port"},
		{name: "empty port on https", uri: "https://app.example:/cb", want: "port"},
		{name: "port too large", uri: "https://app.example:65536/cb", want: "port"},
		{name: "port with leading zero", uri: "https://app.example:0443/cb", want: "port"},
		{name: "port is not a number", uri: "https://app.example:x/cb", want: "port"},
		{name: "signed port", uri: "https://app.example:+443/cb", want: "port"},
		{name: "two ports", uri: "https://app.example:1:2/cb", want: "valid host"},
		{name: "no host", uri: "https:///cb", want: "host"},
		{name: "port without host", uri: "https://:443/cb", want: "host"},
		{name: "no authority", uri: "https:/app.example/cb", want: "host"},
		{name: "no slashes", uri: "https:app.example/cb", want: "host"},
		{name: "semicolon in the host", uri: "https://app.example;evil.example/cb", want: "host"},
		{name: "comma in the host", uri: "https://a,b.example/cb", want: "host"},
		{name: "empty label", uri: "https://app..example/cb", want: "host"},
		{name: "trailing dot", uri: "https://app.example./cb", want: "host"},
		{name: "address as a number", uri: "https://2130706433/cb", want: "host"},
		{name: "short address", uri: "https://127.1/cb", want: "host"},
		{name: "hexadecimal address", uri: "https://0x7f.0.0.1/cb", want: "host"},
		{name: "address with hexadecimal end", uri: "https://127.0.0.0x1/cb", want: "host"},
		{name: "octal address", uri: "https://0177.0.0.1/cb", want: "host"},
		{name: "open bracket", uri: "https://[::1/cb", want: "host"},
		{name: "brackets around a name", uri: "https://[localhost]/cb", want: "host"},
		{name: "brackets around IPv4", uri: "https://[127.0.0.1]/cb", want: "host"},
		{name: "IPv6 zone", uri: "https://[fe80::1%25eth0]/cb", want: "percent-encoding"},
		{name: "text behind the bracket", uri: "https://[::1]x/cb", want: "host"},
		{name: "http off loopback", uri: "http://app.example/cb", want: "https"},
		{name: "http on another loopback address", uri: "http://127.0.0.2/cb", want: "https"},
		{name: "http on a name below localhost", uri: "http://app.localhost/cb", want: "https"},
		{name: "http on localhost in upper case", uri: "http://LOCALHOST/cb", want: "https"},
		{name: "http on a host that begins like localhost", uri: "http://localhost.evil.example/cb", want: "https"},
		{name: "http on the long IPv6 loopback", uri: "http://[0:0:0:0:0:0:0:1]/cb", want: "https"},
		{name: "http on mapped IPv4 loopback", uri: "http://[::ffff:127.0.0.1]/cb", want: "https"},
		{name: "http scheme in upper case", uri: "HTTP://localhost/cb", want: "lower case"},
		{name: "https scheme in mixed case", uri: "HttpS://app.example/cb", want: "lower case"},
		{name: "javascript", uri: "javascript:alert(1)", want: "scheme"},
		{name: "javascript with slashes", uri: "javascript://app.example/%250aalert(1)", want: "twice"},
		{name: "javascript behind slashes", uri: "javascript://app.example/alert(1)", want: "scheme"},
		{name: "javascript in mixed case", uri: "JavaScript:/alert(1)", want: "scheme"},
		{name: "data", uri: "data:text/html,x", want: "scheme"},
		{name: "vbscript", uri: "vbscript:x", want: "scheme"},
		{name: "file", uri: "file:///etc/passwd", want: "scheme"},
		{name: "blob", uri: "blob:https://app.example/1", want: "scheme"},
		{name: "about", uri: "about:blank", want: "scheme"},
		{name: "view-source", uri: "view-source:https://app.example", want: "scheme"},
		{name: "filesystem", uri: "filesystem:https://app.example/x", want: "scheme"},
		{name: "ws", uri: "ws://localhost/cb", want: "scheme"},
		{name: "wss", uri: "wss://app.example/cb", want: "scheme"},
		{name: "ftp", uri: "ftp://app.example/cb", want: "scheme"},
		{name: "mailto", uri: "mailto:a@b.example", want: "scheme"},
		{name: "tel", uri: "tel:+1", want: "scheme"},
		{name: "sms", uri: "sms:/+1", want: "scheme"},
		{name: "intent", uri: "intent://x/#Intent;end", want: "fragment"},
		{name: "intent without fragment", uri: "intent://x/", want: "scheme"},
		{name: "chrome", uri: "chrome://settings", want: "scheme"},
		{name: "ms-browser-extension", uri: "ms-browser-extension://x/", want: "scheme"},
		{name: "Windows handler", uri: "ms-msdt:/id", want: "scheme"},
		{name: "web handler", uri: "web+app://x", want: "scheme"},
		{name: "urn", uri: "urn:ietf:wg:oauth:2.0:oob", want: "scheme"},
		{name: "host and port taken for a scheme", uri: "localhost:3000/cb", want: "scheme"},
		{name: "private-use scheme without slash", uri: "com.example.app:cb", want: "slash"},
		{name: "private-use scheme alone", uri: "com.example.app:", want: "slash"},
		{name: "web app with a private-use scheme", uri: "com.example.app:/cb", rules: oauthreg.RedirectRules{ApplicationType: oauthreg.Web}, want: "web application"},
		{name: "short scheme where dots are required", uri: "myapp:/cb", rules: oauthreg.RedirectRules{RequireDottedSchemes: true}, want: "dot"},
		{name: "exemption does not help javascript", uri: "javascript:/x", rules: oauthreg.RedirectRules{PrivateUseSchemes: []string{"javascript"}}, want: "scheme"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := oauthreg.ValidateRedirectURI(tt.uri, tt.rules)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got %q, want no error", err)
			case tt.want != "" && err == nil:
				t.Errorf("got no error, want one with %q", tt.want)
			case tt.want != "" && !strings.Contains(err.Error(), tt.want):
				t.Errorf("got %q, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestMatchRedirectURI(t *testing.T) {
	tests := []struct {
		name       string
		registered string
		requested  string
		want       bool
	}{
		{"same string", "https://app.example/cb?x=1", "https://app.example/cb?x=1", true},
		{"same private-use scheme", "com.example.app:/cb", "com.example.app:/cb", true},
		{"other case in the path", "https://app.example/cb", "https://app.example/CB", false},
		{"other case in the host", "https://app.example/cb", "https://APP.example/cb", false},
		{"trailing slash", "https://app.example/cb", "https://app.example/cb/", false},
		{"longer path", "https://app.example/cb", "https://app.example/cb/evil", false},
		{"shorter path", "https://app.example/cb", "https://app.example/c", false},
		{"additional query", "https://app.example/cb", "https://app.example/cb?x=1", false},
		{"other host", "https://app.example/cb", "https://evil.example/cb", false},
		{"host below", "https://app.example/cb", "https://x.app.example/cb", false},
		{"other scheme", "https://localhost/cb", "http://localhost/cb", false},
		{"encoded spelling of the same path", "https://app.example/cb", "https://app.example/%63b", false},
		{"fragment added", "https://app.example/cb", "https://app.example/cb#x", false},
		{"port on https", "https://app.example/cb", "https://app.example:443/cb", false},
		{"other port on https", "https://app.example:1/cb", "https://app.example:2/cb", false},
		{"port on https localhost", "https://localhost/cb", "https://localhost:8080/cb", false},
		{"port of a private-use scheme", "myapp://host:1/cb", "myapp://host:2/cb", false},
		{"empty", "https://app.example/cb", "", false},

		{"loopback address with a port", "http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", true},
		{"loopback address with another port", "http://127.0.0.1:8080/cb", "http://127.0.0.1:51004/cb", true},
		{"loopback address without the port", "http://127.0.0.1:8080/cb", "http://127.0.0.1/cb", true},
		{"localhost with another port", "http://localhost:3000/cb?a=b", "http://localhost:3001/cb?a=b", true},
		{"IPv6 loopback with a port", "http://[::1]/cb", "http://[::1]:9/cb", true},
		{"IPv6 loopback with another port", "http://[::1]:10/cb", "http://[::1]:9/cb", true},
		{"loopback without path", "http://localhost", "http://localhost:1", true},
		{"loopback with a path that is not registered", "http://localhost", "http://localhost:1/", false},
		{"largest port", "http://localhost/cb", "http://localhost:65535/cb", true},
		{"port too large", "http://localhost/cb", "http://localhost:65536/cb", false},
		{"port 0", "http://localhost/cb", "http://localhost:0/cb", false},
		{"empty port", "http://localhost/cb", "http://localhost:/cb", false},
		{"port with leading zero", "http://localhost/cb", "http://localhost:080/cb", false},
		{"port with a sign", "http://localhost/cb", "http://localhost:+80/cb", false},
		{"port that ends in a user", "http://localhost/cb", "http://localhost:80@evil.example/cb", false},
		{"localhost for the address", "http://127.0.0.1/cb", "http://localhost/cb", false},
		{"address for localhost", "http://localhost:1/cb", "http://127.0.0.1:1/cb", false},
		{"IPv6 for IPv4", "http://127.0.0.1/cb", "http://[::1]/cb", false},
		{"other loopback address", "http://127.0.0.1/cb", "http://127.0.0.2/cb", false},
		{"other path on loopback", "http://127.0.0.1/cb", "http://127.0.0.1:9/other", false},
		{"other query on loopback", "http://127.0.0.1/cb?a", "http://127.0.0.1:9/cb?b", false},
		{"query added on loopback", "http://127.0.0.1/cb", "http://127.0.0.1:9/cb?b", false},
		{"https on the registered http loopback", "http://127.0.0.1/cb", "https://127.0.0.1/cb", false},
		{"localhost in upper case", "http://localhost/cb", "http://LOCALHOST:1/cb", false},

		{"planted javascript", "javascript:alert(1)", "javascript:alert(1)", false},
		{"planted data", "data:text/html,x", "data:text/html,x", false},
		{"planted http off loopback", "http://app.example/cb", "http://app.example/cb", false},
		{"planted wildcard", "https://app.example/*", "https://app.example/x", false},
		{"planted wildcard as it is", "https://app.example/*", "https://app.example/*", false},
		{"planted fragment", "https://app.example/cb#x", "https://app.example/cb#x", false},
		{"planted loopback with a user", "http://u@localhost/cb", "http://localhost:1/cb", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := oauthreg.Client{
				RedirectURIs:           []string{"https://other.example/", tt.registered},
				PostLogoutRedirectURIs: []string{tt.registered},
			}
			if got := c.MatchRedirectURI(tt.requested); got != tt.want {
				t.Errorf("%q for %q: got %v, want %v", tt.requested, tt.registered, got, tt.want)
			}
			if got := c.MatchPostLogoutRedirectURI(tt.requested); got != tt.want {
				t.Errorf("post-logout %q for %q: got %v, want %v", tt.requested, tt.registered, got, tt.want)
			}
		})
	}
	if new(oauthreg.Client).MatchRedirectURI("https://app.example/cb") {
		t.Error("a client without redirect URIs matches one")
	}
}

var redirectSeeds = []string{
	"https://app.example/cb", "http://localhost:3000/cb", "http://127.0.0.1/cb", "http://[::1]:1/cb?x=1",
	"com.example.app:/cb", "myapp://oauth/cb", "javascript:alert(1)", "JAVASCRIPT://x/%0aalert(1)",
	"java\tscript:x", "data:text/html;base64,eA==", "https://a@b/cb", `https://a\@b/cb`, "https://a#b",
	"https://a/%2e%2e/cb", "https://a/%252e", "http://localhost:0/", "https:evil.example", "https:///evil.example",
	"//evil.example", "https://[::1]:443@evil.example/", "view-source:https://a", "blob:https://a/1",
	"http://localhost:80:80/", "http://0x7f.1/", "https://a:65536/", "https://a/*", "https://é.example",
}

// Whatever may be registered leads to the host that it names, by https, on
// loopback, or to an app; it never runs script.
func FuzzValidateRedirectURI(f *testing.F) {
	for _, s := range redirectSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		if oauthreg.ValidateRedirectURI(uri, oauthreg.RedirectRules{}) != nil {
			return
		}
		for _, c := range []byte(uri) {
			if c <= ' ' || c >= 0x7f || strings.IndexByte("\\#*\"<>^`{|}", c) >= 0 {
				t.Fatalf("%q has the octet %q", uri, c)
			}
		}
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatalf("%q does not parse: %v", uri, err)
		}
		if u.User != nil || u.Fragment != "" || u.Opaque != "" {
			t.Errorf("%q has user information, a fragment or an opaque part", uri)
		}
		if path := "/" + strings.Trim(u.Path, "/") + "/"; strings.Contains(path, "/../") || strings.Contains(path, "/./") {
			t.Errorf("%q has a dot segment", uri)
		}
		switch u.Scheme {
		case "https":
			if u.Hostname() == "" {
				t.Errorf("%q has no host", uri)
			}
		case "http":
			if h := u.Hostname(); h != "localhost" && h != "127.0.0.1" && h != "::1" {
				t.Errorf("%q is http off loopback", uri)
			}
		case "javascript", "data", "vbscript", "file", "blob", "about", "view-source", "filesystem",
			"ws", "wss", "ftp", "mailto", "tel", "sms", "intent", "chrome":
			t.Errorf("%q has a dangerous scheme", uri)
		}
		if !(&oauthreg.Client{RedirectURIs: []string{uri}}).MatchRedirectURI(uri) {
			t.Errorf("%q may be registered but does not match itself", uri)
		}
	})
}

// Whatever matches is the registered URI, or the same on another loopback port.
func FuzzMatchRedirectURI(f *testing.F) {
	for _, s := range redirectSeeds {
		f.Add(s, s)
	}
	f.Add("http://localhost/cb", "http://localhost:1/cb")
	f.Add("http://localhost/cb", "http://localhost:1@evil.example/cb")
	f.Add("http://[::1]:1/cb", "http://[::1]:2/cb")
	f.Add("http://127.0.0.1/cb", "http://127.0.0.1.evil.example/cb")
	f.Fuzz(func(t *testing.T, registered, requested string) {
		c := oauthreg.Client{RedirectURIs: []string{registered}}
		if !c.MatchRedirectURI(requested) {
			return
		}
		if oauthreg.ValidateRedirectURI(requested, oauthreg.RedirectRules{}) != nil {
			t.Fatalf("%q matches %q, but must not be registered", requested, registered)
		}
		if requested == registered {
			return
		}
		a, errA := url.Parse(registered)
		b, errB := url.Parse(requested)
		if errA != nil || errB != nil {
			t.Fatalf("%q matches %q, but one does not parse", requested, registered)
		}
		if a.Scheme != "http" || b.Scheme != "http" || a.Hostname() != b.Hostname() ||
			a.EscapedPath() != b.EscapedPath() || a.RawQuery != b.RawQuery || a.User != nil || b.User != nil {
			t.Errorf("%q matches %q", requested, registered)
		}
		if h := a.Hostname(); h != "localhost" && h != "127.0.0.1" && h != "::1" {
			t.Errorf("%q matches %q off loopback", requested, registered)
		}
	})
}
