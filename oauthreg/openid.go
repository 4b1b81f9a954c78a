package oauthreg

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limits of the members of OpenID Connect Registration §2.
const (
	maxRequestURIs = 64
	maxRequestURI  = 512 // RFC 9101 §5.2.1
	maxACRValues   = 16
	maxDefaultAge  = 366 * 24 * time.Hour
)

// openID checks the members of OpenID Connect Registration §2 and of its logout
// specifications.
func (v *validator) openID(c *Client) {
	if alg := c.UserinfoSignedResponseAlg; alg != "" && !slices.Contains(v.r.idTokenAlgs, alg) {
		v.add("userinfo_signed_response_alg", alg, "must be one of "+strings.Join(v.r.idTokenAlgs, ", "))
	}
	if alg := c.RequestObjectSigningAlg; alg != "" && !slices.Contains(signingAlgs, alg) {
		v.add("request_object_signing_alg", alg, "must be one of "+strings.Join(signingAlgs, ", "))
	}
	switch c.SubjectType {
	case "", PublicSubject:
	case PairwiseSubject:
		if c.SectorIdentifierURI == "" && c.Sector() == "" {
			v.add("sector_identifier_uri", "", "must be given for pairwise subjects, unless all redirect URIs are http or https with one host")
		}
	default:
		v.add("subject_type", string(c.SubjectType), "must be public or pairwise")
	}
	if d := c.DefaultMaxAge; d != nil && (*d < 0 || *d > maxDefaultAge || *d%time.Second != 0) {
		v.addf("default_max_age", d.String(), "must be whole seconds from 0 to %d", int64(maxDefaultAge/time.Second))
	}
	if len(c.DefaultACRValues) > maxACRValues {
		v.addf("default_acr_values", strconv.Itoa(len(c.DefaultACRValues)), "must be at most %d", maxACRValues)
	} else {
		for i, acr := range c.DefaultACRValues {
			field := indexed("default_acr_values", i)
			if acr == "" || strings.Contains(acr, " ") {
				v.add(field, acr, "must not be empty or contain spaces")
			}
			v.shortText(field, acr)
		}
	}

	v.fetched("sector_identifier_uri", c.SectorIdentifierURI)
	v.fetched("backchannel_logout_uri", c.BackchannelLogoutURI)
	v.fetched("frontchannel_logout_uri", c.FrontchannelLogoutURI)
	v.fetched("initiate_login_uri", c.InitiateLoginURI)
	if len(c.RequestURIs) > maxRequestURIs {
		v.addf("request_uris", strconv.Itoa(len(c.RequestURIs)), "must be at most %d", maxRequestURIs)
		return
	}
	for i, uri := range c.RequestURIs {
		field := indexed("request_uris", i)
		place, _, _ := strings.Cut(uri, "#")
		switch {
		case len(uri) > maxRequestURI:
			v.addf(field, uri, "must be at most %d characters", maxRequestURI)
		case slices.Contains(c.RequestURIs[:i], uri):
			v.add(field, uri, "must not be listed twice")
		case place == "":
			v.add(field, uri, "must be an absolute https URL")
		default:
			v.fetched(field, place)
		}
	}
}

// fetched checks a URL that this server, or a browser on one of its pages, goes
// to: https, or http on this machine, without fragment.
func (v *validator) fetched(field, value string) {
	if value == "" {
		return
	}
	u, host, err := parseWebURL(value)
	switch {
	case err != nil:
		v.add(field, value, err.Error())
	case u.Scheme != "https" && !isLoopbackHost(host):
		v.add(field, value, "must use https, except on localhost, 127.0.0.1 and [::1]")
	case strings.Contains(value, "#"):
		v.add(field, value, "must not have a fragment")
	default:
		v.publicHost(field, value, u, host)
	}
}

// Sector is the sector identifier of the client (OpenID Connect Core §8.1): the
// host of sector_identifier_uri, or else the one host of its redirect URIs;
// empty when there is none.
func (c *Client) Sector() string {
	if c.SectorIdentifierURI != "" {
		return webHost(c.SectorIdentifierURI)
	}
	sector := ""
	for _, uri := range c.RedirectURIs {
		host := webHost(uri)
		if host == "" || sector != "" && host != sector {
			return ""
		}
		sector = host
	}
	return sector
}

// webHost is the host of an http or https URL without its port, in lower case;
// empty for anything else.
func webHost(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// Subject is the identifier under which client c knows a user: the user's own
// for public subjects, and one for the client's sector for pairwise ones
// (OpenID Connect Core §8.1). It follows from [Config.SecretKey], the sector and
// the user alone, so it is the same for ever, and does not tell the user.
func (r *Registry) Subject(c *Client, user string) string {
	if c.SubjectType != PairwiseSubject {
		return user
	}
	sector := c.Sector()
	if sector == "" { // never registered so; then the client is a sector of its own
		sector = "client:" + c.ID
	}
	mac := hmac.New(sha256.New, r.subjectKey)
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(sector)))
	mac.Write(n[:])
	mac.Write([]byte(sector))
	mac.Write([]byte(user))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
