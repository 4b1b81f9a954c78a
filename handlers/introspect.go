package handlers

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// introspectionResponse is RFC 7662 §2.2. An inactive token has nothing but active.
type introspectionResponse struct {
	Active    bool   `json:"active"`
	Scope     string `json:"scope,omitempty"`
	ClientID  string `json:"client_id,omitempty"`
	Subject   string `json:"sub,omitempty"`
	Audience  any    `json:"aud,omitempty"` // a string or a list
	Issuer    string `json:"iss,omitempty"`
	TokenType string `json:"token_type,omitempty"`
	ExpiresAt int64  `json:"exp,omitempty"` // seconds since the epoch
	IssuedAt  int64  `json:"iat,omitempty"` // seconds since the epoch
	TokenID   string `json:"jti,omitempty"`
}

// appendJSON is part of [jsonAppender].
func (i *introspectionResponse) appendJSON(b []byte) []byte {
	o := beginObject(b)
	o.bool("active", i.Active)
	o.optional("scope", i.Scope)
	o.optional("client_id", i.ClientID)
	o.optional("sub", i.Subject)
	switch aud := i.Audience.(type) {
	case string:
		o.optional("aud", aud)
	case []string:
		o.list("aud", aud)
	}
	o.optional("iss", i.Issuer)
	o.optional("token_type", i.TokenType)
	o.number("exp", i.ExpiresAt)
	o.number("iat", i.IssuedAt)
	o.optional("jti", i.TokenID)
	return o.end()
}

// introspect serves POST /oauth/introspect (RFC 7662).
//
// The caller authenticates as a confidential client. It sees its own tokens, and
// as a registered resource server those meant for it. A token that is unknown,
// expired, revoked, or none of its business is reported as {"active": false}
// with status 200 and nothing more (§2.2): the caller must not learn which.
func (s *Server) introspect(w http.ResponseWriter, r *http.Request, form url.Values, caller *oauthreg.Client) error {
	if caller.IsPublic() {
		return s.challengeBasic(invalidClient())
	}
	return s.answerIntrospection(w, r, form.Get("token"), func(t *liveToken) (bool, error) {
		return mayIntrospect(caller, t), nil
	})
}

// answerIntrospection tells about a token what a caller with that right may know.
func (s *Server) answerIntrospection(w http.ResponseWriter, r *http.Request, token string, may func(*liveToken) (bool, error)) error {
	if token == "" {
		return invalidRequest("The token parameter is missing.")
	}
	t, err := s.liveToken(r, token)
	if err != nil {
		return err
	}
	known := t != nil
	if known {
		if known, err = may(t); err != nil {
			return err
		}
	}
	if !known {
		writeJSON(w, http.StatusOK, &introspectionResponse{})
		return nil
	}
	resp := &introspectionResponse{
		Active:    true,
		Scope:     strings.Join(t.request.GetGrantedScopes(), " "),
		ClientID:  t.request.GetClient().GetID(),
		Subject:   t.session.clientSubject(),
		Audience:  audience(t.request.GetGrantedAudience(), s.cfg.Issuer),
		Issuer:    s.cfg.Issuer,
		ExpiresAt: t.expires.Unix(),
		IssuedAt:  t.request.GetRequestedAt().Unix(),
		TokenID:   t.session.TokenID,
	}
	if t.kind == fosite.AccessToken {
		resp.TokenType = "Bearer"
	}
	writeJSON(w, http.StatusOK, resp)
	return nil
}

// mayIntrospect: its own tokens, and access tokens for a resource it serves.
func mayIntrospect(caller *oauthreg.Client, t *liveToken) bool {
	if sameClient(t.request, caller) {
		return true
	}
	return t.kind == fosite.AccessToken && slices.ContainsFunc(caller.ResourceServer, func(r string) bool {
		return slices.ContainsFunc([]string(t.request.GetGrantedAudience()), func(a string) bool { return sameResource(a, r) })
	})
}
