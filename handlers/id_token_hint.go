package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// idTokenHint is what an ID token of this server says, given back to it as
// id_token_hint (OpenID Connect Core §3.1.2.1, RP-Initiated Logout §2).
type idTokenHint struct {
	Issuer    string            `json:"iss"`
	Subject   string            `json:"sub"`
	Audience  assertionAudience `json:"aud"`
	SessionID string            `json:"sid"`
	Expires   *float64          `json:"exp"`
	IssuedAt  *float64          `json:"iat"`
}

// readHint verifies a hint. Whether it has expired does not matter, nor whether
// the key that signed it has retired; it must still be published. nil means that
// it is not an ID token of this server.
func (s *Server) readHint(ctx context.Context, token string) (*idTokenHint, error) {
	payload, info, err := s.keys.Verify(ctx, token)
	switch {
	case errors.Is(err, oauthreg.ErrBadSignature):
		return nil, nil
	case err != nil:
		return nil, err
	}
	h := new(idTokenHint)
	// Other JWTs of this server have another typ, or no exp (userinfo).
	if info.Type != idTokenType || json.Unmarshal(payload, h) != nil ||
		h.Issuer != s.cfg.Issuer || h.Subject == "" || h.Expires == nil || h.IssuedAt == nil || len(h.Audience) == 0 {
		return nil, nil
	}
	return h, nil
}

// isFor reports whether the ID token was made for that client.
func (h *idTokenHint) isFor(clientID string) bool { return slices.Contains(h.Audience, clientID) }
