package handlers_test

import "testing"

// searchForSecrets looks through the database file and the log of e, when the
// test is over, for everything secret that was used. Tokens that a JWT signature
// covers are public but for their signature, which counts.
func (e *env) searchForSecrets(t testing.TB) {
	for _, what := range e.secrets.Search(e.content(t)) {
		t.Errorf("the database has a %s in clear", what)
	}
	for _, what := range e.secrets.Search([]byte(e.log.String())) {
		t.Errorf("the log has a %s in clear", what)
	}
}
