package handlers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// standardClaims are the claims that the standard scopes ask for (OpenID Connect
// Core §5.4).
var standardClaims = map[string][]string{
	"profile": {
		"name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile", "picture",
		"website", "gender", "birthdate", "zoneinfo", "locale", "updated_at",
	},
	"email":   {"email", "email_verified"},
	"address": {"address"},
	"phone":   {"phone_number", "phone_number_verified"},
}

// protocolClaims are the server's own: a claims source never sets them.
var protocolClaims = []string{
	"iss", "sub", "aud", "azp", "exp", "iat", "nbf", "jti", "auth_time", "nonce", "acr", "amr", "sid",
	"at_hash", "c_hash", "s_hash", "events", "client_id", "scope", "cnf", "active",
}

// claimScopes says which scope of the server a claim belongs to. Claims of no
// scope are never sent: nobody could consent to them.
type claimScopes struct {
	ofScope map[string][]string
	scopeOf map[string]string
	names   []string // in the order of the scopes
}

func newClaimScopes(scopes []Scope) *claimScopes {
	k := &claimScopes{ofScope: map[string][]string{}, scopeOf: map[string]string{}}
	for _, scope := range scopes {
		claims := scope.Claims
		if claims == nil {
			claims = standardClaims[scope.Name]
		}
		for _, claim := range claims {
			if _, taken := k.scopeOf[claim]; taken || slices.Contains(protocolClaims, claim) {
				continue
			}
			k.ofScope[scope.Name] = append(k.ofScope[scope.Name], claim)
			k.scopeOf[claim] = scope.Name
			k.names = append(k.names, claim)
		}
	}
	return k
}

// claimsRequest is the claims parameter (OpenID Connect Core §5.5). It is never
// changed once it is parsed.
type claimsRequest struct {
	IDToken  map[string]*claimRequest `json:"id_token,omitempty"`
	Userinfo map[string]*claimRequest `json:"userinfo,omitempty"`
}

// claimRequest is what is asked of one claim; nil for no more than the claim.
type claimRequest struct {
	Essential bool `json:"essential,omitempty"`
	// Values are the acceptable ones; none means any.
	Values []json.RawMessage `json:"values,omitempty"`
}

const maxClaims = 100 // of one claims parameter

// parseClaims reads the claims parameter. Members that are not understood are
// ignored (OpenID Connect Core §5.5).
func parseClaims(v string) (*claimsRequest, *Error) {
	malformed := invalidRequest("The claims parameter is not of the form that OpenID Connect Core 5.5 describes.")
	var top map[string]json.RawMessage
	if json.Unmarshal([]byte(v), &top) != nil || top == nil {
		return nil, malformed
	}
	out, n := new(claimsRequest), 0
	for member, to := range map[string]*map[string]*claimRequest{"id_token": &out.IDToken, "userinfo": &out.Userinfo} {
		raw, ok := top[member]
		if !ok || string(raw) == "null" {
			continue
		}
		var claims map[string]json.RawMessage
		if json.Unmarshal(raw, &claims) != nil {
			return nil, malformed
		}
		if n += len(claims); n > maxClaims {
			return nil, invalidRequest("The claims parameter asks for too many claims.")
		}
		*to = make(map[string]*claimRequest, len(claims))
		for name, raw := range claims {
			if string(raw) == "null" {
				(*to)[name] = nil
				continue
			}
			var asked struct {
				Essential bool              `json:"essential"`
				Value     json.RawMessage   `json:"value"`
				Values    []json.RawMessage `json:"values"`
			}
			if json.Unmarshal(raw, &asked) != nil {
				return nil, malformed
			}
			c := &claimRequest{Essential: asked.Essential, Values: asked.Values}
			if asked.Value != nil && string(asked.Value) != "null" {
				c.Values = append([]json.RawMessage{asked.Value}, c.Values...)
			}
			(*to)[name] = c
		}
	}
	return out, nil
}

// accepts reports whether v is one of the acceptable values.
func (c *claimRequest) accepts(v any) bool {
	if c == nil || len(c.Values) == 0 {
		return true
	}
	have, err := json.Marshal(v)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(c.Values, func(want json.RawMessage) bool {
		var a, b any
		if json.Unmarshal(have, &a) != nil || json.Unmarshal(want, &b) != nil {
			return false
		}
		x, errX := json.Marshal(a)
		y, errY := json.Marshal(b)
		return errX == nil && errY == nil && bytes.Equal(x, y)
	})
}

// texts are the acceptable values that are strings.
func (c *claimRequest) texts() []string {
	if c == nil {
		return nil
	}
	var out []string
	for _, raw := range c.Values {
		var s string
		if json.Unmarshal(raw, &s) == nil && s != "" {
			out = append(out, s)
		}
	}
	return out
}

// idTokenClaim is what the request asks of one claim of the ID token.
func (p *authorizeParams) idTokenClaim(name string) *claimRequest {
	if p.Claims == nil {
		return nil
	}
	return p.Claims.IDToken[name]
}

// impliedScopes are the scopes that a claims parameter reaches into beyond those
// asked for. The user consents to them like to the others; tokens do not have
// them. Claims of a scope that the client may not ask for are not sent.
func (s *Server) impliedScopes(c *oauthreg.Client, p *authorizeParams) []string {
	if p.Claims == nil || !slices.Contains(p.Scopes, "openid") {
		return nil
	}
	var out []string
	for _, scope := range s.cfg.Scopes {
		if slices.Contains(p.Scopes, scope.Name) || !c.AllowsScope(scope.Name) {
			continue
		}
		asks := func(claims map[string]*claimRequest) bool {
			for name := range claims {
				if base, _, _ := strings.Cut(name, "#"); s.claims.scopeOf[base] == scope.Name {
					return true
				}
			}
			return false
		}
		if asks(p.Claims.IDToken) || asks(p.Claims.Userinfo) {
			out = append(out, scope.Name)
		}
	}
	return out
}

// claimsOf returns what the host knows of a user, of the claims of scopes and
// those asked for by name, each in its proper type (OpenID Connect Core §5.1). A
// claim asked for with values is sent if it has one of them. locales are
// claims_locales: claims in one of those languages come along under their tagged
// names (§5.2).
func (s *Server) claimsOf(ctx context.Context, c *oauthreg.Client, subject string, scopes []string, asked map[string]*claimRequest, locales []string) (map[string]any, error) {
	wanted := map[string]*claimRequest{}
	for name, how := range asked {
		base, _, _ := strings.Cut(name, "#")
		if scope := s.claims.scopeOf[base]; scope != "" && c.AllowsScope(scope) {
			wanted[name] = how
		}
	}
	for _, scope := range scopes {
		for _, name := range s.claims.ofScope[scope] {
			wanted[name] = nil
		}
	}
	if len(wanted) == 0 || s.cfg.Claims == nil {
		return nil, nil
	}
	known, err := s.cfg.Claims.Claims(ctx, subject)
	if err != nil {
		if !errors.Is(err, oauthreg.ErrNotFound) {
			err = unavailable(err)
		}
		return nil, err
	}
	out := map[string]any{}
	for name, v := range known {
		base, tag, tagged := strings.Cut(name, "#")
		how, ok := wanted[name]
		if !ok && tagged {
			how, ok = wanted[base]
			ok = ok && slices.ContainsFunc(locales, func(l string) bool { return matchesLocale(tag, l) })
		}
		if !ok {
			continue
		}
		if v, ok := typedClaim(base, v); ok && how.accepts(v) {
			out[name] = v
		}
	}
	return out, nil
}

// matchesLocale reports whether a value in language tag is one for whoever wants
// locale (RFC 4647 §3.3.1).
func matchesLocale(tag, locale string) bool {
	tag, locale = strings.ToLower(tag), strings.ToLower(locale)
	return tag == locale || strings.HasPrefix(tag, locale+"-") || strings.HasPrefix(locale, tag+"-")
}

// typedClaim gives a standard claim the type it has in JSON (OpenID Connect Core
// §5.1). What is empty, or cannot be that type, is left out: a claim without a
// value is not sent (§5.3.2).
func typedClaim(name string, v any) (any, bool) {
	switch name {
	case "email_verified", "phone_number_verified":
		switch v := v.(type) {
		case bool:
			return v, true
		case string:
			b, err := strconv.ParseBool(v)
			return b, err == nil
		}
		return nil, false
	case "updated_at":
		switch v := v.(type) {
		case time.Time:
			return v.Unix(), !v.IsZero()
		case int, int64, float64, json.Number:
			return v, true
		case string:
			if n, err := strconv.ParseInt(v, 10, 64); err == nil {
				return n, true
			}
			t, err := time.Parse(time.RFC3339, v)
			return t.Unix(), err == nil
		}
		return nil, false
	case "address":
		switch v := v.(type) {
		case string: // OpenID Connect Core §5.1.1
			return map[string]any{"formatted": v}, v != ""
		case map[string]any:
			return v, len(v) > 0
		case map[string]string:
			return v, len(v) > 0
		}
		return nil, false
	}
	for _, claims := range standardClaims {
		if slices.Contains(claims, name) {
			text, ok := v.(string)
			return text, ok && text != ""
		}
	}
	return v, v != nil
}
