package handlers

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
)

// csrfToken makes the hidden field that proves that a form was made here, for
// this browser and this purpose. No two are alike, so that one cannot be read
// off the length of compressed pages.
func (s *Server) csrfToken(browser, purpose string) string {
	b := make([]byte, saltLength, saltLength+32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	sum := s.keysFor("csrf")[0].mac(string(b), browser, purpose)
	b = append(b, sum[:]...)
	return strictBase64.EncodeToString(b)
}

// checkPost decides whether a form may be acted upon: the browser says that it
// comes from a page of this origin, and token is one that csrfToken made for
// the same browser and purpose.
//
// The pages send Referrer-Policy: no-referrer, and with it browsers send Origin:
// null even to their own origin (Fetch, "append a request Origin header"). So
// null is good exactly when Sec-Fetch-Site vouches for it.
func (s *Server) checkPost(r *http.Request, browser, purpose, token string) error {
	refused := oauthError(http.StatusForbidden, "access_denied", "This form was not sent from our page, or it is too old.")
	site := r.Header.Get("Sec-Fetch-Site")
	if site != "" && site != "same-origin" && site != "none" {
		return refused
	}
	for _, o := range r.Header.Values("Origin") {
		if o == "null" && site == "same-origin" {
			continue
		}
		if o != originOf(s.issuer) {
			return refused
		}
	}
	b, err := strictBase64.DecodeString(token)
	if err != nil || browser == "" || len(b) != saltLength+32 {
		return refused
	}
	if !verifyMAC(s.keysFor("csrf"), b[saltLength:], string(b[:saltLength]), browser, purpose) {
		return refused
	}
	return nil
}

// originOf is how browsers spell the origin of u: lower case, and without the
// scheme's own port.
func originOf(u *url.URL) string {
	host := strings.ToLower(u.Host)
	switch u.Scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return u.Scheme + "://" + host
}
