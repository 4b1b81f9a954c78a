package handlers

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"net/http"
	"strings"
	"time"
)

// The cookies. On https they are bound to the host (the __Host- prefix of
// RFC 6265bis §4.1.3.2), so that no neighboring subdomain can plant one. On
// http, which is for loopback alone, they are neither Secure nor prefixed.
const (
	browserCookie  = "browser"  // which browser this is, for pending steps and forms
	sessionCookie  = "session"  // who signed in at the built-in sign-in
	accountsCookie = "accounts" // who else is signed in there
)

func (s *Server) cookieName(kind string) string {
	if s.secure {
		return "__Host-oauthreg_" + kind
	}
	return "oauthreg_" + kind
}

// cookie is one without a value. It ends with the browser's session; how long
// what it stands for is good, the server knows.
func (s *Server) cookie(kind string) *http.Cookie {
	c := &http.Cookie{Name: s.cookieName(kind), Path: s.base + "/", HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if s.secure {
		c.Path, c.Secure = "/", true
	}
	return c
}

func (s *Server) setCookie(w http.ResponseWriter, kind, value string) {
	c := s.cookie(kind)
	c.Value = value
	http.SetCookie(w, c)
}

func (s *Server) clearCookie(w http.ResponseWriter, kind string) {
	c := s.cookie(kind)
	c.MaxAge = -1
	http.SetCookie(w, c)
}

// browser returns the value that pending steps and forms are bound to: the one
// this browser has, or a new one of 256 random bits that goes out as a cookie
// and is seen by the rest of this request as well.
func (s *Server) browser(w http.ResponseWriter, r *http.Request) string {
	if v := s.browserOf(r); v != "" {
		return v
	}
	v := randomValue()
	sealed := v + "." + s.keysFor("browser cookie")[0].macText(v)
	s.setCookie(w, browserCookie, sealed)
	r.AddCookie(&http.Cookie{Name: s.cookieName(browserCookie), Value: sealed})
	return v
}

// browserOf returns the value of [Server.browser] that r carries, empty when it
// carries none that was made here.
func (s *Server) browserOf(r *http.Request) string {
	info := infoOf(r.Context())
	if info.browser != "" {
		return info.browser
	}
	keys := s.keysFor("browser cookie")
	for _, c := range r.CookiesNamed(s.cookieName(browserCookie)) {
		v, tag, ok := strings.Cut(c.Value, ".")
		if !ok || len(v) != tokenPart || len(tag) != tokenPart {
			continue
		}
		if mac, err := strictBase64.DecodeString(tag); err == nil && verifyMAC(keys, mac, v) {
			info.browser = v
			return v
		}
	}
	return ""
}

// setSession makes handle the session of this browser. The user name as it was
// typed travels along, for pages that tell people who they are; the store does
// not know it. The whole is encrypted.
func (s *Server) setSession(w http.ResponseWriter, handle, username string) {
	s.setCookie(w, sessionCookie, sealValue(s.keysFor("session cookie"), "", []byte(handle+username)))
}

// sessionOf returns what [Server.setSession] put into r's browser, empty when
// there is nothing that was made here.
func (s *Server) sessionOf(r *http.Request) (handle, username string) {
	info := infoOf(r.Context())
	if info.session != "" {
		return info.session, info.username
	}
	keys := s.keysFor("session cookie")
	for _, c := range r.CookiesNamed(s.cookieName(sessionCookie)) {
		if len(c.Value) > maxSessionCookie {
			continue
		}
		if b, ok := openValue(keys, "", c.Value); ok && len(b) >= handleLength {
			info.session, info.username = string(b[:handleLength]), string(b[handleLength:])
			return info.session, info.username
		}
	}
	return "", ""
}

const (
	maxSessionCookie = 1024 // a handle and a user name, sealed, take 452
	handleLength     = timePart + 1 + tokenPart
)

// newHandle is the handle of a session or a pending request. Handles made together
// lie together in the store's indexes.
func newHandle(now time.Time) string { return timeOrder(now) + "." + randomValue() }

// randomValue is 256 random bits in 43 characters of base64url.
func randomValue() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return strictBase64.EncodeToString(b[:])
}

const saltLength = 16

// sealValue encrypts plain with the first key, in base64url. It opens only under
// the same context.
//
// The salt makes a key for this value alone (HMAC-SHA-256), so the nonce of
// AES-256-GCM may be constant and no number of values is too many for a key.
func sealValue(keys []*secretKey, context string, plain []byte) string {
	out := make([]byte, saltLength, saltLength+len(plain)+16)
	_, _ = rand.Read(out) // never fails (crypto/rand)
	aead := valueCipher(keys[0], out)
	out = aead.Seal(out, make([]byte, aead.NonceSize()), plain, []byte(context))
	return strictBase64.EncodeToString(out)
}

// openValue undoes sealValue with any of keys.
func openValue(keys []*secretKey, context, sealed string) ([]byte, bool) {
	b, err := strictBase64.DecodeString(sealed)
	if err != nil || len(b) < saltLength {
		return nil, false
	}
	for _, key := range keys {
		aead := valueCipher(key, b[:saltLength])
		if plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), b[saltLength:], []byte(context)); err == nil {
			return plain, true
		}
	}
	return nil, false
}

func valueCipher(key *secretKey, salt []byte) cipher.AEAD {
	sum := key.mac(string(salt))
	block, err := aes.NewCipher(sum[:])
	if err != nil {
		panic("handlers: " + err.Error()) // only for keys of a wrong length
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("handlers: " + err.Error())
	}
	return aead
}
