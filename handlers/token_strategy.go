package handlers

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strings"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Every code and opaque token is <prefix><body>.<MAC>: the time it was made, in
// milliseconds, and 256 random bits, and an HMAC-SHA-256 over prefix and body.
// The prefix tells kinds apart (for secret scanners, and so that one kind is
// never taken for another). The store is given the time and the MAC, and keeps
// a digest; the time lets it write what was made together to one place.
const (
	prefixCode    = "oac_"
	prefixAccess  = "oat_"
	prefixRefresh = "ort_"

	tokenPart = 43 // 32 bytes in base64url without padding
	timeSize  = 6  // bytes of a token's time
	timePart  = 8  // the same in base64url
	bodySize  = timeSize + 32
	bodyPart  = 51 // body in base64url
)

var strictBase64 = base64.RawURLEncoding.Strict()

// tokenStrategy makes and checks codes and tokens. Its signature methods verify
// before they answer: "" means that the value was not made here, so nothing is
// looked up, and nothing is revoked, for a made-up value.
type tokenStrategy struct {
	keys []*secretKey // the first makes, all verify
	now  func() time.Time
	jwt  func(ctx context.Context, r fosite.Requester) (string, error)
}

func newTokenStrategy(keys []*secretKey, now func() time.Time) *tokenStrategy {
	return &tokenStrategy{keys: keys, now: now}
}

// timeOrder is the time in milliseconds in the form in which it begins what
// stores are to write in the order it was made.
func timeOrder(at time.Time) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(at.UnixMilli()))
	return strictBase64.EncodeToString(b[2:])
}

func (t *tokenStrategy) generate(prefix string) (token, signature string) {
	var random [2 + bodySize]byte
	binary.BigEndian.PutUint64(random[:], uint64(t.now().UnixMilli()))
	_, _ = rand.Read(random[2+timeSize:]) // never fails (crypto/rand)
	body := (*[bodySize]byte)(random[2:])
	mac := t.keys[0].macOf(prefix, body[:])
	var text [len(prefixCode) + bodyPart + 1 + tokenPart]byte
	b := strictBase64.AppendEncode(append(text[:0], prefix...), body[:])
	b = strictBase64.AppendEncode(append(b, '.'), mac[:])
	token = string(b)
	return token, signatureOf(token[len(prefix):])
}

// signatureOf is what the store is given of a token without its prefix.
func signatureOf(rest string) string { return rest[:timePart] + rest[bodyPart:] }

// signature returns what the store knows a token of that kind by that was made
// here, else "". There is one spelling of a token: anything else does not pass.
func (t *tokenStrategy) signature(prefix, token string) string {
	rest, ok := strings.CutPrefix(token, prefix)
	if !ok || len(rest) != bodyPart+1+tokenPart || rest[bodyPart] != '.' {
		return ""
	}
	var text [bodyPart + 1 + tokenPart]byte
	copy(text[:], rest)
	var body [bodySize]byte
	var mac [sha256.Size]byte
	if n, err := strictBase64.Decode(body[:], text[:bodyPart]); err != nil || n != len(body) {
		return ""
	}
	if n, err := strictBase64.Decode(mac[:], text[bodyPart+1:]); err != nil || n != len(mac) {
		return ""
	}
	for _, key := range t.keys {
		if want := key.macOf(prefix, body[:]); hmac.Equal(mac[:], want[:]) {
			return signatureOf(rest)
		}
	}
	return ""
}

// accessSignature is the store's key of an access token. A JWT's is a
// digest of the whole: finding its row proves that it is exactly what was issued.
func (t *tokenStrategy) accessSignature(token string) string {
	if strings.HasPrefix(token, prefixAccess) {
		return t.signature(prefixAccess, token)
	}
	if strings.Count(token, ".") == 2 && len(token) <= maxParameter {
		return jwtSignature(token)
	}
	return ""
}

func jwtSignature(token string) string {
	sum := sha256.Sum256([]byte(token))
	return strictBase64.EncodeToString(sum[:])
}

// newAccessToken makes a token in the format that the client registered.
func (t *tokenStrategy) newAccessToken(ctx context.Context, r fosite.Requester) (token, signature string, err error) {
	if c, ok := r.GetClient().(*engineClient); ok && c.reg.AccessTokenFormat == oauthreg.JWT {
		if token, err = t.jwt(ctx, r); err != nil {
			return "", "", err
		}
		return token, jwtSignature(token), nil
	}
	token, signature = t.generate(prefixAccess)
	return token, signature, nil
}

// refreshSignature is the store's key of a refresh token.
func (t *tokenStrategy) refreshSignature(token string) string {
	return t.signature(prefixRefresh, token)
}

// newRefreshToken makes a refresh token.
func (t *tokenStrategy) newRefreshToken() (token, signature string) {
	return t.generate(prefixRefresh)
}

// codeSignature is the store's key of an authorization code.
func (t *tokenStrategy) codeSignature(token string) string {
	return t.signature(prefixCode, token)
}

// newCode makes an authorization code.
func (t *tokenStrategy) newCode() (token, signature string) {
	return t.generate(prefixCode)
}
