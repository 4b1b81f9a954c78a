package handlers

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Basic credentials that are let through are what their sender encoded: encoding
// them again gives the same pair (RFC 6749 §2.3.1).
func FuzzDecodeBasic(f *testing.F) {
	for _, seed := range []string{"", "a:b", "a%3Ab:c+d", "%:b", ":secret", "id:", "a\x00:b", "id:se:cret"} {
		f.Add(base64.StdEncoding.EncodeToString([]byte(seed)))
	}
	f.Add("%%%")
	f.Fuzz(func(t *testing.T, value string) {
		id, secret, ok := decodeBasic(value)
		if !ok {
			return
		}
		again := base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id) + ":" + url.QueryEscape(secret)))
		id2, secret2, ok := decodeBasic(again)
		if !ok || id2 != id || secret2 != secret || id == "" {
			t.Errorf("%q: got %q and %q, again %q and %q", value, id, secret, id2, secret2)
		}
	})
}

// A token string works in the one spelling in which it was made, as the one kind
// it is, and only with a MAC of ours.
func FuzzTokenSignature(f *testing.F) {
	strategy := newTokenStrategy([]*secretKey{newSecretKey([]byte(strings.Repeat("k", 32))), newSecretKey([]byte(strings.Repeat("o", 32)))}, time.Now)
	made := map[string]string{}
	for _, prefix := range []string{prefixCode, prefixAccess, prefixRefresh} {
		body := [bodySize]byte([]byte(strings.Repeat("r", bodySize))) // the same in every worker's process
		text := strictBase64.EncodeToString(body[:])
		sum := strategy.keys[0].macOf(prefix, body[:])
		mac := strictBase64.EncodeToString(sum[:])
		token := prefix + text + "." + mac
		made[token] = text[:timePart] + "." + mac
		f.Add(token)
		f.Add(token[:len(token)-1] + "=")
		f.Add(strings.Replace(token, ".", "", 1))
	}
	f.Add("oat_." + strings.Repeat("A", 43))
	f.Fuzz(func(t *testing.T, token string) {
		for kind, signature := range map[string]string{
			prefixCode: strategy.codeSignature(token), prefixRefresh: strategy.refreshSignature(token),
			prefixAccess: strategy.signature(prefixAccess, token),
		} {
			if signature == "" {
				continue
			}
			if made[token] != signature || !strings.HasPrefix(token, kind) {
				t.Errorf("%q passes as %s with %q", token, kind, signature)
			}
		}
	})
}
