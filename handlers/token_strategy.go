package handlers

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Every code and opaque token is <prefix><random>.<MAC>: 256 random bits and an
// HMAC-SHA-256 over prefix and random part. The prefix tells kinds apart (for
// secret scanners, and so that one kind is never taken for another). The store
// sees the MAC alone, as its key, and keeps a digest of that.
const (
	prefixCode    = "oac_"
	prefixAccess  = "oat_"
	prefixRefresh = "ort_"

	tokenPart = 43 // 32 bytes in base64url without padding
)

var strictBase64 = base64.RawURLEncoding.Strict()

// tokenStrategy makes and checks codes and tokens. Its signature methods verify
// before they answer: "" means that the value was not made here, so nothing is
// looked up, and nothing is revoked, for a made-up value.
type tokenStrategy struct {
	keys [][]byte // first makes, all verify
	jwt  func(ctx context.Context, r fosite.Requester) (string, error)
}

func (t *tokenStrategy) mac(key []byte, prefix string, random []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(prefix))
	h.Write(random)
	return h.Sum(nil)
}

func (t *tokenStrategy) generate(prefix string) (token, signature string) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	signature = strictBase64.EncodeToString(t.mac(t.keys[0], prefix, random[:]))
	return prefix + strictBase64.EncodeToString(random[:]) + "." + signature, signature
}

// signature returns the MAC part of a token of that kind made here, else "".
// There is one spelling of a token: anything else does not pass.
func (t *tokenStrategy) signature(prefix, token string) string {
	rest, ok := strings.CutPrefix(token, prefix)
	if !ok || len(rest) != 2*tokenPart+1 || rest[tokenPart] != '.' {
		return ""
	}
	random, err := strictBase64.DecodeString(rest[:tokenPart])
	if err != nil {
		return ""
	}
	mac, err := strictBase64.DecodeString(rest[tokenPart+1:])
	if err != nil {
		return ""
	}
	for _, key := range t.keys {
		if hmac.Equal(mac, t.mac(key, prefix, random)) {
			return rest[tokenPart+1:]
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
