package oauthreg

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxURI is how long a redirect URI or any other URI of a client may be, in
// bytes.
const maxURI = 2048

// RedirectRules narrow which redirect URIs may be registered. The zero value
// allows what any client may have.
type RedirectRules struct {
	// ApplicationType Web refuses private-use schemes; Native and the empty
	// one allow them (RFC 8252 §7.1).
	ApplicationType ApplicationType
	// RequireDottedSchemes refuses private-use schemes without a dot, which
	// nobody can show to own (RFC 8252 §7.1).
	RequireDottedSchemes bool
	// PrivateUseSchemes are exempt from RequireDottedSchemes.
	PrivateUseSchemes []string
}

// refusedSchemes can never be a redirect target: they run script, open
// documents, or mean something other than "back to the app".
var refusedSchemes = map[string]bool{
	// Script and documents.
	"javascript": true, "livescript": true, "mocha": true, "jscript": true,
	"vbscript": true, "vbs": true, "data": true, "file": true, "blob": true,
	"about": true, "view-source": true, "filesystem": true, "jar": true,
	"mhtml": true, "wyciwyg": true, "res": true, "resource": true,
	"cid": true, "mid": true,

	// Browsers and their extensions.
	"chrome": true, "chrome-extension": true, "chrome-untrusted": true,
	"chrome-search": true, "devtools": true, "edge": true, "brave": true,
	"opera": true, "vivaldi": true, "moz-extension": true, "moz-icon": true,
	"safari-extension": true, "safari-web-extension": true,
	"webkit-extension": true, "extension": true,

	// The system: launching, installing, searching, settings.
	"intent": true, "android-app": true, "content": true, "market": true,
	"package": true, "itms": true, "itms-apps": true, "itms-services": true,
	"search": true, "search-ms": true, "shell": true, "hcp": true,
	"prefs": true, "app-prefs": true, "app-settings": true,
	"x-apple": true, "steam": true,

	// Network protocols.
	"http": true, "https": true, "ws": true, "wss": true, "ftp": true,
	"ftps": true, "sftp": true, "tftp": true, "gopher": true, "telnet": true,
	"ssh": true, "git": true, "svn": true, "ldap": true, "ldaps": true,
	"smb": true, "afp": true, "nfs": true, "dav": true, "davs": true,
	"webdav": true, "rtsp": true, "rtmp": true, "vnc": true, "rdp": true,
	"dict": true, "imap": true, "pop": true, "news": true, "nntp": true,
	"irc": true, "ircs": true, "magnet": true, "webcal": true, "feed": true,
	"ipfs": true, "ipns": true,

	// People and places.
	"mailto": true, "tel": true, "sms": true, "smsto": true, "mms": true,
	"mmsto": true, "callto": true, "facetime": true, "facetime-audio": true,
	"sip": true, "sips": true, "xmpp": true, "im": true, "geo": true,
	"maps": true, "bitcoin": true,

	// Names that are not places.
	"urn": true, "tag": true, "oob": true, "null": true, "localhost": true,
}

// refusedSchemePrefixes are families of such schemes: handlers of Windows
// ("ms-msdt", "ms-browser-extension") and handlers that a web page can register
// for itself ("web+anything").
var refusedSchemePrefixes = []string{"ms-", "web+", "x-apple-", "chrome-"}

// ValidateRedirectURI says why uri must not be registered as a redirect URI, or
// as a post-logout redirect URI; nil if it may. What passes is one of:
//
//   - https on any host;
//   - http on localhost, 127.0.0.1 or [::1], in exactly these spellings
//     (RFC 8252 §7.3);
//   - a private-use scheme of a native app, followed by a slash (RFC 8252 §7.1).
//
// It is an absolute URI of at most 2048 ASCII characters without fragment (RFC
// 6749 §3.1.2), user information, wildcard, backslash, dot segment or doubly
// encoded octet, so that browsers, proxies and this package agree where it
// leads. The error's text is a sentence about the URI that does not repeat it.
func ValidateRedirectURI(uri string, rules RedirectRules) error {
	if uri == "" {
		return errors.New("must not be empty")
	}
	if len(uri) > maxURI {
		return errors.New("must be at most 2048 characters")
	}
	if err := checkURICharacters(uri); err != nil {
		return err
	}
	if strings.Contains(uri, "*") {
		return errors.New("must not contain a wildcard")
	}
	if strings.Contains(uri, "#") {
		return errors.New("must not have a fragment")
	}

	scheme, rest, ok := cutScheme(uri)
	if !ok {
		return errors.New("must be an absolute URI")
	}
	authority, path, hasAuthority := cutAuthority(rest)
	if hasAuthority {
		if err := checkAuthority(authority); err != nil {
			return err
		}
	}
	if err := checkPath(path); err != nil {
		return err
	}

	host, _, _ := cutPort(authority)
	switch lower := strings.ToLower(scheme); {
	case lower == "https" || lower == "http":
		if scheme != lower {
			return errors.New("must have its scheme in lower case")
		}
		if !hasAuthority || host == "" {
			return errors.New("must have a host")
		}
		if err := checkHost(host); err != nil {
			return err
		}
		if scheme == "http" && !isLoopbackHost(host) {
			return errors.New("must use https, except on localhost, 127.0.0.1 and [::1]")
		}
	default:
		if err := checkPrivateUseScheme(lower, rules); err != nil {
			return err
		}
		if !strings.HasPrefix(rest, "/") {
			return errors.New("must have a slash behind its private-use scheme")
		}
	}

	// Whoever redirects parses the URI to add parameters to it: it must parse,
	// and to the same parts as above.
	u, err := url.Parse(uri)
	if err != nil || u.User != nil || u.Fragment != "" || u.Host != authority || u.Scheme != strings.ToLower(scheme) {
		return errors.New("must be a valid URI")
	}
	return nil
}

// checkURICharacters lets through what RFC 3986 §2 allows, and only octets that
// are percent-encoded once.
func checkURICharacters(uri string) error {
	for i := 0; i < len(uri); i++ {
		switch c := uri[i]; {
		case c <= ' ' || c == 0x7f:
			return errors.New("must not contain spaces or control characters")
		case c > 0x7f:
			return errors.New("must be ASCII: percent-encode the path and use the xn-- form of the host")
		case c == '\\':
			return errors.New("must not contain a backslash")
		case strings.IndexByte("\"<>^`{|}", c) >= 0:
			return errors.New("must not contain characters that have to be percent-encoded")
		case c == '%':
			octet, ok := percentOctet(uri[i:])
			if !ok {
				return errors.New("must have two hexadecimal digits behind each percent sign")
			}
			if octet < ' ' || octet == 0x7f {
				return errors.New("must not contain an encoded control character")
			}
			if octet == '%' && i+3 < len(uri) {
				if _, twice := percentOctet("%" + uri[i+3:]); twice {
					return errors.New("must not be percent-encoded twice")
				}
			}
		}
	}
	return nil
}

// percentOctet decodes the %XX that s begins with.
func percentOctet(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	n, err := strconv.ParseUint(s[1:3], 16, 8)
	return byte(n), err == nil
}

// cutScheme splits scheme ":" rest (RFC 3986 §3.1).
func cutScheme(uri string) (scheme, rest string, ok bool) {
	scheme, rest, ok = strings.Cut(uri, ":")
	if !ok || scheme == "" {
		return "", "", false
	}
	for i := 0; i < len(scheme); i++ {
		c := scheme[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		other := '0' <= c && c <= '9' || c == '+' || c == '-' || c == '.'
		if !letter && (i == 0 || !other) {
			return "", "", false
		}
	}
	return scheme, rest, true
}

// cutAuthority splits what follows the scheme into the authority, if there is
// one, and path with query.
func cutAuthority(rest string) (authority, path string, ok bool) {
	after, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return "", rest, false
	}
	if i := strings.IndexAny(after, "/?"); i >= 0 {
		return after[:i], after[i:], true
	}
	return after, "", true
}

// cutPort splits host and port, which is "" when there is none. A colon without
// digits behind it is not a port: ok is false.
func cutPort(authority string) (host, port string, ok bool) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || i < strings.LastIndexByte(authority, ']') {
		return authority, "", true
	}
	return authority[:i], authority[i+1:], isPort(authority[i+1:])
}

// isPort reports whether s is 1 to 65535 in its one spelling.
func isPort(s string) bool {
	if s == "" || len(s) > 5 || s[0] == '0' {
		return false
	}
	n := 0
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n <= 65535
}

func checkAuthority(authority string) error {
	if strings.Contains(authority, "@") {
		return errors.New("must not contain user information")
	}
	if strings.Contains(authority, "%") {
		return errors.New("must not have percent-encoding in its host")
	}
	host, _, ok := cutPort(authority)
	if !ok {
		return errors.New("must have a port from 1 to 65535, or none")
	}
	if inner, found := strings.CutPrefix(host, "["); found {
		inner, found = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		if !found || err != nil || !a.Is6() {
			return errors.New("must have a valid host")
		}
		return nil
	}
	for i := 0; i < len(host); i++ {
		if c := host[i]; !isAlnum(c) && c != '.' && c != '-' && c != '_' {
			return errors.New("must have a valid host")
		}
	}
	return nil
}

// checkHost checks the host of an http or https URI, whose characters were
// checked before. A name whose last label is a number is refused unless it is
// an address in its usual form: browsers read 0x7f.1 and 2130706433 as one.
func checkHost(host string) error {
	if host[0] == '[' {
		return nil
	}
	errHost := errors.New("must have a valid host")
	if len(host) > 253 {
		return errHost
	}
	labels := strings.Split(host, ".")
	if slices.ContainsFunc(labels, func(l string) bool { return l == "" || len(l) > 63 }) {
		return errHost
	}
	last := strings.ToLower(labels[len(labels)-1])
	numeric := strings.Trim(last, "0123456789") == "" ||
		strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == ""
	if numeric {
		if a, err := netip.ParseAddr(host); err != nil || !a.Is4() {
			return errHost
		}
	}
	return nil
}

func isAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// isLoopbackHost reports whether host, without port, is one of the three
// spellings of RFC 8252 §7.3 and §8.3 that apps use.
func isLoopbackHost(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "[::1]"
}

// pathDelimiters decodes what some read as a delimiter of path segments.
var pathDelimiters = strings.NewReplacer("%2e", ".", "%2E", ".", "%2f", "/", "%2F", "/", "%3b", ";", "%3B", ";")

// checkPath refuses what some server or proxy reads as a way up: dot segments,
// plain or encoded, with path parameters, or behind an encoded slash.
func checkPath(path string) error {
	path, _, _ = strings.Cut(path, "?")
	for i := 0; i < len(path); i++ {
		if path[i] == '%' {
			if octet, _ := percentOctet(path[i:]); octet == '\\' {
				return errors.New("must not contain a backslash")
			}
		}
	}
	for segment := range strings.SplitSeq(pathDelimiters.Replace(path), "/") {
		segment, _, _ = strings.Cut(segment, ";")
		if segment == "." || segment == ".." {
			return errors.New("must not contain dot segments")
		}
	}
	return nil
}

func checkPrivateUseScheme(scheme string, rules RedirectRules) error {
	if refusedSchemes[scheme] || slices.ContainsFunc(refusedSchemePrefixes, func(p string) bool { return strings.HasPrefix(scheme, p) }) {
		return errors.New("must not use this scheme")
	}
	if len(scheme) > 255 {
		return errors.New("must not use this scheme")
	}
	if rules.ApplicationType == Web {
		return errors.New("must use https: a web application cannot have a private-use scheme")
	}
	if rules.RequireDottedSchemes && !strings.Contains(scheme, ".") && !slices.Contains(rules.PrivateUseSchemes, scheme) {
		return errors.New("must have a private-use scheme with a dot, in the form of a reversed domain name")
	}
	return nil
}

// isNativeRedirect reports whether only a native app registers uri: http on
// loopback, or a private-use scheme.
func isNativeRedirect(uri string) bool {
	scheme, _, ok := cutScheme(uri)
	return ok && !strings.EqualFold(scheme, "https")
}

// MatchRedirectURI reports whether requested is a redirect URI of the client
// (RFC 6749 §3.1.2.3, RFC 9700 §4.1.3): the same string as a registered one,
// byte for byte. In an http URI on localhost, 127.0.0.1 or [::1], and nowhere
// else, the port may differ or be absent (RFC 8252 §7.3). Redirect to
// requested, never to the registered spelling.
//
// A URI that [ValidateRedirectURI] refuses for every client matches nothing,
// even if a store holds it.
func (c *Client) MatchRedirectURI(requested string) bool {
	return matchURI(c.RedirectURIs, requested)
}

// MatchPostLogoutRedirectURI is [Client.MatchRedirectURI] for the URIs of
// OpenID Connect RP-Initiated Logout §3.1.
func (c *Client) MatchPostLogoutRedirectURI(requested string) bool {
	return matchURI(c.PostLogoutRedirectURIs, requested)
}

func matchURI(registered []string, requested string) bool {
	if ValidateRedirectURI(requested, RedirectRules{}) != nil {
		return false
	}
	head, tail, flexible := cutLoopback(requested)
	for _, uri := range registered {
		if uri == requested {
			return true
		}
		if !flexible || ValidateRedirectURI(uri, RedirectRules{}) != nil {
			continue
		}
		if h, t, ok := cutLoopback(uri); ok && h == head && t == tail {
			return true
		}
	}
	return false
}

// cutLoopback splits a validated http URI on loopback around its port: head is
// scheme and host, tail path and query.
func cutLoopback(uri string) (head, tail string, ok bool) {
	rest, ok := strings.CutPrefix(uri, "http://")
	if !ok {
		return "", "", false
	}
	i := strings.IndexAny(rest, "/?")
	if i < 0 {
		i = len(rest)
	}
	host, _, ok := cutPort(rest[:i])
	return host, rest[i:], ok && isLoopbackHost(host)
}
