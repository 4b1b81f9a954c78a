package handlers

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/ory/fosite"
)

// A session is stored as a version, then its members that are not zero: each a
// tag, the length of its value, and the value. A tag, once given, keeps its
// meaning; a reader passes over tags it does not know. Times are nanoseconds
// since 1970 UTC.
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
	b = append(b, sessionVersion)
	item := func(tag byte, v string) {
		b = binary.AppendUvarint(append(b, tag), uint64(len(v)))
		b = append(b, v...)
	}
	text := func(tag byte, v string) {
		if v != "" {
			item(tag, v)
		}
	}
	moment := func(tag byte, t time.Time, name string) {
		if !t.IsZero() {
			b = binary.AppendUvarint(append(b, tag), uint64(8+len(name)))
			b = binary.BigEndian.AppendUint64(b, uint64(t.UnixNano()))
			b = append(b, name...)
		}
	}
	text(tagSubject, s.Subject)
	text(tagPairwiseSubject, s.PairwiseSubject)
	for _, e := range s.Expires {
		moment(tagExpires, e.At, string(e.Kind))
	}
	text(tagSessionID, s.SessionID)
	moment(tagAuthTime, s.AuthTime, "")
	for _, v := range s.AMR {
		item(tagAMR, v)
	}
	text(tagACR, s.ACR)
	text(tagRedirectURI, s.RedirectURI)
	text(tagCodeChallenge, s.CodeChallenge)
	text(tagNonce, s.Nonce)
	if s.Claims != nil {
		claims, err := json.Marshal(s.Claims)
		if err != nil {
			return nil, fmt.Errorf("encode claims parameter: %w", err)
		}
		text(tagClaims, string(claims))
	}
	for _, v := range s.ClaimsLocales {
		item(tagClaimsLocales, v)
	}
	moment(tagGrantedAt, s.GrantedAt, "")
	moment(tagRefreshUntil, s.RefreshUntil, "")
	text(tagTokenID, s.TokenID)
	if s.ForClient {
		text(tagForClient, "1")
	}
	return b, nil
}

var errSessionForm = errors.New("the stored session is not one of this program")

// UnmarshalBinary is part of [encoding.BinaryUnmarshaler]. It replaces all of s.
func (s *Session) UnmarshalBinary(b []byte) error {
	if len(b) == 0 || b[0] != sessionVersion {
		return errSessionForm
	}
	*s = Session{}
	for b = b[1:]; len(b) > 0; {
		tag := b[0]
		size, n := binary.Uvarint(b[1:])
		if n <= 0 || size > uint64(len(b)-1-n) {
			return errSessionForm
		}
		v := b[1+n : 1+n+int(size)]
		b = b[1+n+int(size):]
		if err := s.set(tag, v); err != nil {
			return err
		}
	}
	return nil
}

func (s *Session) set(tag byte, v []byte) error {
	moment := func() (time.Time, error) {
		if len(v) < 8 {
			return time.Time{}, errSessionForm
		}
		return time.Unix(0, int64(binary.BigEndian.Uint64(v))).UTC(), nil
	}
	var err error
	switch tag {
	case tagSubject:
		s.Subject = string(v)
	case tagPairwiseSubject:
		s.PairwiseSubject = string(v)
	case tagExpires:
		at, err := moment()
		if err != nil {
			return err
		}
		s.SetExpiresAt(fosite.TokenType(v[8:]), at)
	case tagSessionID:
		s.SessionID = string(v)
	case tagAuthTime:
		s.AuthTime, err = moment()
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
		s.GrantedAt, err = moment()
	case tagRefreshUntil:
		s.RefreshUntil, err = moment()
	case tagTokenID:
		s.TokenID = string(v)
	case tagForClient:
		s.ForClient = true
	}
	return err
}
