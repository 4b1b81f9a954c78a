package bearer

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/go-jose/go-jose/v4/json" // case-sensitive, refuses repeated members
)

// ByFormat returns a [Verifier] for an authorization server that issues tokens
// in both forms, as one does that lets each client choose: jwt checks those that
// look like JWT access tokens (RFC 9068 §2.1), opaque all others. What a token
// looks like is the sender's choice, so both have to be as strict: typically
// [NewJWT] and [NewIntrospection] for the same issuer, with [Config.Resource] set.
func ByFormat(jwt, opaque Verifier) Verifier {
	return VerifierFunc(func(ctx context.Context, token string) (*Token, error) {
		if looksLikeJWT(token) {
			return jwt.Verify(ctx, token)
		}
		return opaque.Verify(ctx, token)
	})
}

// looksLikeJWT reports whether token has three parts, the first of which is the
// header of an access token.
func looksLikeJWT(token string) bool {
	header, rest, ok := strings.Cut(token, ".")
	if !ok || strings.Count(rest, ".") != 1 {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(header)
	var h struct {
		Type string `json:"typ"`
	}
	return err == nil && json.Unmarshal(raw, &h) == nil && strings.TrimPrefix(strings.ToLower(h.Type), "application/") == "at+jwt"
}
