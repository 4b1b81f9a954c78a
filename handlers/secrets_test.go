package handlers_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// secretBook collects every secret and live credential that passes through a
// test, so that the database and the logs can be searched for them afterwards.
type secretBook struct {
	mu   sync.Mutex
	seen map[string]string // secret → what it is
}

// secretParameters are the names under which credentials travel.
var secretParameters = []string{
	"code", "code_verifier", "access_token", "refresh_token", "id_token", "client_secret", "client_assertion", "token",
	"password", "consent_token", "interaction", "csrf_token", "registration_access_token",
}

// window is how many bytes of a secret are looked for.
const window = 16

func (b *secretBook) add(what, secret string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen == nil {
		b.seen = map[string]string{}
	}
	// The MAC half of a token is as good as the token to whoever reads it.
	for part := range strings.SplitSeq(secret, ".") {
		if len(part) >= window {
			b.seen[part] = what
		}
	}
	if secret == "wonderland" || secret == "builder" {
		b.seen[secret] = what
	}
}

func (b *secretBook) values(v url.Values) {
	for _, name := range secretParameters {
		for _, s := range v[name] {
			b.add(name, s)
		}
	}
}

func (b *secretBook) answer(body map[string]any) {
	for _, name := range secretParameters {
		if s, ok := body[name].(string); ok {
			b.add(name, s)
		}
	}
}

func (b *secretBook) cookies(cookies []*http.Cookie) {
	for _, c := range cookies {
		b.add("cookie "+c.Name, c.Value)
	}
}

// search reports which of the secrets stand in text.
func (b *secretBook) search(text []byte) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	index := map[string]string{}
	var found []string
	for secret, what := range b.seen {
		if len(secret) < window {
			if strings.Contains(string(text), secret) {
				found = append(found, what)
			}
			continue
		}
		index[secret[:window]] = secret
	}
	for i := 0; i+window <= len(text); i++ {
		if secret, ok := index[string(text[i:i+window])]; ok && strings.HasPrefix(string(text[i:min(len(text), i+len(secret))]), secret) {
			found = append(found, b.seen[secret])
		}
	}
	return found
}

// searchForSecrets looks through the database file and the log of e, when the
// test is over, for everything secret that was used. Tokens that a JWT signature
// covers are public but for their signature, which counts.
func (e *env) searchForSecrets(t testing.TB) {
	for _, what := range e.secrets.search(e.content(t)) {
		t.Errorf("the database has a %s in clear", what)
	}
	for _, what := range e.secrets.search([]byte(e.log.String())) {
		t.Errorf("the log has a %s in clear", what)
	}
}

// The search itself: what was put into the database and the log is found.
func TestSecretsAreFound(t *testing.T) {
	var b secretBook
	b.values(url.Values{"code": {"oac_0123456789abcdefghij.ABCDEFGHIJKLMNOPQRST"}, "state": {"not-a-secret-at-all-0123456789"}})
	b.add("password", "wonderland")
	for text, want := range map[string]int{
		"xx ABCDEFGHIJKLMNOPQRST yy":       1,
		"code=oac_0123456789abcdefghij.":   1,
		"ABCDEFGHIJKLMNOPQRSx":             0,
		"state not-a-secret-at-all-012345": 0,
		"password is wonderland":           1,
	} {
		if found := b.search([]byte(text)); len(found) != want {
			t.Errorf("%q: found %v, want %d", text, found, want)
		}
	}
}
