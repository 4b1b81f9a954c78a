package bearer_test

import (
	"context"
	"encoding/base64"
	"testing"

	"github.com/oauthreg/oauthreg/handlers/bearer"
)

func TestByFormat(t *testing.T) {
	says := func(who string) bearer.Verifier {
		return bearer.VerifierFunc(func(context.Context, string) (*bearer.Token, error) { return &bearer.Token{Subject: who}, nil })
	}
	verifier := bearer.ByFormat(says("jwt"), says("opaque"))
	header := func(json string) string { return base64.RawURLEncoding.EncodeToString([]byte(json)) }
	for token, want := range map[string]string{
		header(`{"typ":"at+jwt","alg":"RS256"}`) + ".e30.c2ln":             "jwt",
		header(`{"alg":"RS256","typ":"application/AT+JWT"}`) + ".e30.c2ln": "jwt",
		header(`{"typ":"JWT","alg":"RS256"}`) + ".e30.c2ln":                "opaque", // an ID token: whoever is asked refuses it
		header(`{"typ":"at+jwt"}`) + ".e30":                                "opaque",
		header(`{"typ":"at+jwt"}`) + ".e30.c2ln.more":                      "opaque",
		header(`{"typ":["at+jwt"]}`) + ".e30.c2ln":                         "opaque",
		"oat_abc.def": "opaque",
		"a.b.c":       "opaque",
		"mF_9":        "opaque",
	} {
		got, err := verifier.Verify(t.Context(), token)
		if err != nil || got.Subject != want {
			t.Errorf("%s: checked by %s, want %s", token, got.Subject, want)
		}
	}
}
