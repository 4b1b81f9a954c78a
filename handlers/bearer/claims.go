package bearer

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/json" // case-sensitive, refuses repeated members
)

// leeway is how far the clocks of the authorization server and of this process
// may be apart.
const leeway = 30 * time.Second

// decodeClaims reads a JSON object, which may not have a member twice.
func decodeClaims(b []byte) (map[string]any, error) {
	var claims map[string]any
	if err := json.Unmarshal(b, &claims); err != nil {
		return nil, err
	}
	if claims == nil {
		return nil, errors.New("not a JSON object")
	}
	return claims, nil
}

// tokenOf checks the types and times of claims, which JWTs and introspection
// share, and refuses tokens that are bound to a key: whoever sends one has to
// prove that they hold it (RFC 9449, RFC 8705), which is not done here.
func tokenOf(claims map[string]any, now time.Time) (*Token, error) {
	t := &Token{Claims: claims}
	var scope string
	var notBefore time.Time
	for _, c := range []struct {
		name string
		into *string
	}{
		{"sub", &t.Subject}, {"client_id", &t.ClientID}, {"iss", &t.Issuer},
		{"jti", &t.ID}, {"scope", &scope},
	} {
		if v, ok := claims[c.name]; ok && v != nil {
			if *c.into, ok = v.(string); !ok {
				return nil, fmt.Errorf("%w: %s is not a string", ErrInvalidToken, c.name)
			}
		}
	}
	for _, c := range []struct {
		name string
		into *time.Time
	}{{"exp", &t.ExpiresAt}, {"iat", &t.IssuedAt}, {"nbf", &notBefore}} {
		if v, ok := claims[c.name]; ok && v != nil {
			if *c.into, ok = numericDate(v); !ok {
				return nil, fmt.Errorf("%w: %s is not a time", ErrInvalidToken, c.name)
			}
		}
	}
	switch aud := claims["aud"].(type) {
	case nil:
	case string:
		t.Audience = []string{aud}
	case []any:
		for _, a := range aud {
			s, ok := a.(string)
			if !ok {
				return nil, fmt.Errorf("%w: aud is not a list of strings", ErrInvalidToken)
			}
			t.Audience = append(t.Audience, s)
		}
	default:
		return nil, fmt.Errorf("%w: aud is not a list of strings", ErrInvalidToken)
	}
	t.Scopes = strings.Fields(scope)

	switch {
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt.Add(leeway)):
		return nil, fmt.Errorf("%w: expired", ErrInvalidToken)
	case notBefore.After(now.Add(leeway)):
		return nil, fmt.Errorf("%w: not valid yet", ErrInvalidToken)
	case t.IssuedAt.After(now.Add(leeway)):
		return nil, fmt.Errorf("%w: issued in the future", ErrInvalidToken)
	case claims["cnf"] != nil:
		return nil, fmt.Errorf("%w: bound to a key", ErrInvalidToken)
	}
	return t, nil
}

// numericDate is a NumericDate (RFC 7519 §2), which may have a fraction.
func numericDate(v any) (time.Time, bool) {
	const latest = 253402300800 // the year 10000
	seconds, ok := v.(float64)
	if !ok || seconds < 0 || seconds >= latest {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(seconds * 1000)).UTC(), true
}
