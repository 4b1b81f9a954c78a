package handlers

import (
	"slices"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Session is what the server keeps with a code and with every token made from
// it: who the user is, how they signed in, and what the authorization request
// bound. Stores keep it in the form of session_codec.go. The zero value is an
// empty session. Not safe for concurrent use: every read from the store
// makes a new one.
type Session struct {
	// Subject is the user, or the client's client_id for client_credentials.
	Subject string `json:"sub,omitempty"`
	// PairwiseSubject is what the client knows the user by, when that is not
	// Subject (OpenID Connect Core §8.1).
	PairwiseSubject string `json:"pairwise_sub,omitempty"`
	// Expires is the end of each token.
	Expires []TokenEnd `json:"exp,omitempty"`

	// SessionID, AuthTime, AMR and ACR are those of [oauthreg.Login].
	SessionID string    `json:"sid,omitempty"`
	AuthTime  time.Time `json:"auth_time,omitzero"`
	AMR       []string  `json:"amr,omitempty"`
	ACR       string    `json:"acr,omitempty"`

	// RedirectURI is the redirect_uri parameter as it was sent, empty when it
	// was left out; the token request must repeat it (RFC 6749 §4.1.3).
	RedirectURI string `json:"redirect_uri,omitempty"`
	// CodeChallenge is the S256 code_challenge, empty when there was none (RFC 7636 §4.4).
	CodeChallenge string `json:"code_challenge,omitempty"`
	// Nonce is nonce of OpenID Connect Core §3.1.2.1.
	Nonce string `json:"nonce,omitempty"`

	// Claims is the claims parameter and ClaimsLocales claims_locales (OpenID
	// Connect Core §5.5, §5.2). Claims is never changed, so copies share it.
	Claims        *claimsRequest `json:"claims,omitempty"`
	ClaimsLocales []string       `json:"claims_locales,omitempty"`

	// GrantedAt is when the user decided; RefreshUntil is the absolute end of
	// the grant's refresh tokens.
	GrantedAt    time.Time `json:"granted_at,omitzero"`
	RefreshUntil time.Time `json:"refresh_until,omitzero"`

	// TokenID is jti of an access token.
	TokenID string `json:"jti,omitempty"`
	// ForClient says that no user stands behind the token (client_credentials).
	ForClient bool `json:"for_client,omitempty"`
}

// TokenEnd is when a token ends, or a code. Kind is the engine's word for it.
type TokenEnd struct {
	Kind fosite.TokenType `json:"kind"`
	At   time.Time        `json:"at"`
}

// NewSession returns an empty session; storage needs it to read what the server
// stored.
func NewSession() fosite.Session { return new(Session) }

func newSession(l *oauthreg.Login) *Session {
	return &Session{
		Subject: l.Subject, SessionID: l.SessionID,
		AuthTime: l.AuthTime, AMR: slices.Clone(l.AMR), ACR: l.ACR,
	}
}

// SetExpiresAt is part of [fosite.Session].
func (s *Session) SetExpiresAt(key fosite.TokenType, exp time.Time) {
	for i := range s.Expires {
		if s.Expires[i].Kind == key {
			s.Expires[i].At = exp
			return
		}
	}
	s.Expires = append(s.Expires, TokenEnd{key, exp})
}

// GetExpiresAt is part of [fosite.Session]; zero when the session has none.
func (s *Session) GetExpiresAt(key fosite.TokenType) time.Time {
	for _, e := range s.Expires {
		if e.Kind == key {
			return e.At
		}
	}
	return time.Time{}
}

// GetUsername is part of [fosite.Session]; the server keeps none.
func (s *Session) GetUsername() string { return "" }

// GetSubject is part of [fosite.Session].
func (s *Session) GetSubject() string {
	if s == nil {
		return ""
	}
	return s.Subject
}

// Clone is part of [fosite.Session]; the copy shares nothing with s.
func (s *Session) Clone() fosite.Session {
	if s == nil {
		return nil
	}
	c := *s
	c.Expires = slices.Clone(s.Expires)
	c.AMR = slices.Clone(s.AMR)
	c.ClaimsLocales = slices.Clone(s.ClaimsLocales)
	return &c
}
