// Package secretsearch is for tests: it notes every secret and live credential
// that passes through an HTTP client, so that a database and a log can be searched
// for them afterwards. What it finds there is a leak.
package secretsearch

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// parameters are the names under which credentials travel: in forms, queries,
// JSON and the hidden fields of pages.
var parameters = []string{
	"code", "code_verifier", "access_token", "refresh_token", "id_token", "id_token_hint", "client_secret", "client_assertion", "token",
	"password", "consent_token", "interaction", "csrf_token", "registration_access_token", "initial_access_token", "logout_token", "response",
}

// Window is how many bytes of a secret are looked for at least. Shorter ones are
// not noted, but for passwords, of which people have short ones.
const Window = 16

const shortestPassword = 7

// Book is a collection of secrets. The zero value is empty. It is safe for
// concurrent use.
type Book struct {
	mu   sync.Mutex
	seen map[string]string // secret → what it is
}

// Add notes a secret. Of one with dots, such as a JWT or a token of two halves,
// every part counts alone: the half that is a MAC is as good as the token to
// whoever reads it.
func (b *Book) Add(what, secret string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen == nil {
		b.seen = map[string]string{}
	}
	if what == "password" {
		if len(secret) >= shortestPassword {
			b.seen[secret] = what
		}
		return
	}
	for part := range strings.SplitSeq(secret, ".") {
		if len(part) >= Window {
			b.seen[part] = what
		}
	}
}

// Values notes the credentials of a form or a query.
func (b *Book) Values(v url.Values) {
	for _, name := range parameters {
		for _, s := range v[name] {
			b.Add(name, s)
		}
	}
}

// JSON notes the credentials of a decoded JSON value, however deep they stand.
func (b *Book) JSON(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, member := range v {
			if s, ok := member.(string); ok && slices.Contains(parameters, name) {
				b.Add(name, s)
			}
			b.JSON(member)
		}
	case []any:
		for _, member := range v {
			b.JSON(member)
		}
	}
}

// Cookies notes the values of cookies.
func (b *Book) Cookies(cookies []*http.Cookie) {
	for _, c := range cookies {
		b.Add("cookie "+c.Name, c.Value)
	}
}

// Kinds are what the noted secrets are, sorted.
func (b *Book) Kinds() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	kinds := map[string]bool{}
	for _, what := range b.seen {
		kinds[what] = true
	}
	return slices.Sorted(maps.Keys(kinds))
}

// Len is how many secrets were noted.
func (b *Book) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.seen)
}

// Search says what the secrets are that stand in text, each once.
func (b *Book) Search(text []byte) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	found := map[string]bool{}
	index := map[string][]string{} // by the first bytes
	for secret, what := range b.seen {
		if len(secret) < Window {
			if strings.Contains(string(text), secret) {
				found[what] = true
			}
			continue
		}
		index[secret[:Window]] = append(index[secret[:Window]], secret)
	}
	for i := 0; i+Window <= len(text); i++ {
		for _, secret := range index[string(text[i:i+Window])] {
			if strings.HasPrefix(string(text[i:min(len(text), i+len(secret))]), secret) {
				found[b.seen[secret]] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
