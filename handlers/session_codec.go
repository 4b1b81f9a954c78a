package handlers

import (
	"encoding/json"

	"github.com/ory/fosite"
)

// sessionVersion is that of the stored form; see [tagWriter]. A tag, once given,
// keeps its meaning.
const sessionVersion = 1

const (
	tagSubject         = 1
	tagPairwiseSubject = 2
	tagExpires         = 3 // once for each kind: the time, 8 bytes, and the kind
	tagSessionID       = 4
	tagAuthTime        = 5
	tagAMR             = 6 // once for each
	tagACR             = 7
	tagRedirectURI     = 8
	tagCodeChallenge   = 9
	tagNonce           = 10
	tagClaims          = 11 // JSON
	tagClaimsLocales   = 12 // once for each
	tagGrantedAt       = 13
	tagRefreshUntil    = 14
	tagTokenID         = 15
	tagForClient       = 16
)

// AppendBinary is part of [encoding.BinaryAppender]: the form that stores keep.
func (s *Session) AppendBinary(b []byte) ([]byte, error) {
	w := tagWriter{append(b, sessionVersion)}
	w.text(tagSubject, s.Subject)
	w.text(tagPairwiseSubject, s.PairwiseSubject)
	for _, e := range s.Expires {
		w.moment(tagExpires, e.At, string(e.Kind))
	}
	w.text(tagSessionID, s.SessionID)
	w.moment(tagAuthTime, s.AuthTime, "")
	w.list(tagAMR, s.AMR)
	w.text(tagACR, s.ACR)
	w.text(tagRedirectURI, s.RedirectURI)
	w.text(tagCodeChallenge, s.CodeChallenge)
	w.text(tagNonce, s.Nonce)
	if err := w.claims(tagClaims, s.Claims); err != nil {
		return nil, err
	}
	w.list(tagClaimsLocales, s.ClaimsLocales)
	w.moment(tagGrantedAt, s.GrantedAt, "")
	w.moment(tagRefreshUntil, s.RefreshUntil, "")
	w.text(tagTokenID, s.TokenID)
	if s.ForClient {
		w.text(tagForClient, "1")
	}
	return w.b, nil
}

// UnmarshalBinary is part of [encoding.BinaryUnmarshaler]. It replaces all of s.
func (s *Session) UnmarshalBinary(b []byte) error {
	*s = Session{}
	return eachTag(b, sessionVersion, s.set)
}

func (s *Session) set(tag byte, v []byte) error {
	var err error
	switch tag {
	case tagSubject:
		s.Subject = string(v)
	case tagPairwiseSubject:
		s.PairwiseSubject = string(v)
	case tagExpires:
		at, err := tagMoment(v)
		if err != nil {
			return err
		}
		s.SetExpiresAt(fosite.TokenType(v[8:]), at)
	case tagSessionID:
		s.SessionID = string(v)
	case tagAuthTime:
		s.AuthTime, err = tagMoment(v)
	case tagAMR:
		s.AMR = append(s.AMR, string(v))
	case tagACR:
		s.ACR = string(v)
	case tagRedirectURI:
		s.RedirectURI = string(v)
	case tagCodeChallenge:
		s.CodeChallenge = string(v)
	case tagNonce:
		s.Nonce = string(v)
	case tagClaims:
		err = json.Unmarshal(v, &s.Claims)
	case tagClaimsLocales:
		s.ClaimsLocales = append(s.ClaimsLocales, string(v))
	case tagGrantedAt:
		s.GrantedAt, err = tagMoment(v)
	case tagRefreshUntil:
		s.RefreshUntil, err = tagMoment(v)
	case tagTokenID:
		s.TokenID = string(v)
	case tagForClient:
		s.ForClient = true
	}
	return err
}
