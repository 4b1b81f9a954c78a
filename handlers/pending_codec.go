package handlers

import (
	"encoding/json"
	"strconv"
)

// pendingVersion is that of the stored form; see [tagWriter]. A tag, once given,
// keeps its meaning.
const pendingVersion = 1

const (
	pendingClientID      = 1
	pendingRedirectURI   = 2
	pendingRedirectTo    = 3
	pendingResponseType  = 4
	pendingResponseMode  = 5
	pendingState         = 6
	pendingScope         = 7 // once for each, as all lists
	pendingResource      = 8
	pendingNonce         = 9
	pendingCodeChallenge = 10
	pendingPrompt        = 11
	pendingMaxAge        = 12 // decimal
	pendingACRValue      = 13
	pendingLoginHint     = 14
	pendingUILocale      = 15
	pendingDisplay       = 16
	pendingClaimsLocale  = 17
	pendingClaims        = 18 // JSON
	pendingHintSubject   = 19
	pendingSignedIn      = 20
	pendingAuthTime      = 21
	pendingAMR           = 22
	pendingACR           = 23
)

// appendBinary writes the form that stores keep.
func (p *pending) appendBinary(b []byte) ([]byte, error) {
	w := tagWriter{append(b, pendingVersion)}
	a := &p.Params
	w.text(pendingClientID, a.ClientID)
	w.text(pendingRedirectURI, a.RedirectURI)
	w.text(pendingRedirectTo, a.RedirectTo)
	w.text(pendingResponseType, a.ResponseType)
	w.text(pendingResponseMode, a.ResponseMode)
	w.text(pendingState, a.State)
	w.list(pendingScope, a.Scopes)
	w.list(pendingResource, a.Resources)
	w.text(pendingNonce, a.Nonce)
	w.text(pendingCodeChallenge, a.CodeChallenge)
	w.list(pendingPrompt, a.Prompt)
	if a.MaxAge != nil {
		w.text(pendingMaxAge, strconv.FormatInt(*a.MaxAge, 10))
	}
	w.list(pendingACRValue, a.ACRValues)
	w.text(pendingLoginHint, a.LoginHint)
	w.list(pendingUILocale, a.UILocales)
	w.text(pendingDisplay, a.Display)
	w.list(pendingClaimsLocale, a.ClaimsLocales)
	if err := w.claims(pendingClaims, a.Claims); err != nil {
		return nil, err
	}
	w.text(pendingHintSubject, a.HintSubject)
	w.flag(pendingSignedIn, p.SignedIn)
	w.moment(pendingAuthTime, p.AuthTime, "")
	w.list(pendingAMR, p.AMR)
	w.text(pendingACR, p.ACR)
	return w.b, nil
}

// readBinary replaces all of p by what appendBinary wrote.
func (p *pending) readBinary(b []byte) error {
	*p = pending{}
	return eachTag(b, pendingVersion, p.set)
}

func (p *pending) set(tag byte, v []byte) (err error) {
	a := &p.Params
	add := func(list *[]string) { *list = append(*list, string(v)) }
	switch tag {
	case pendingClientID:
		a.ClientID = string(v)
	case pendingRedirectURI:
		a.RedirectURI = string(v)
	case pendingRedirectTo:
		a.RedirectTo = string(v)
	case pendingResponseType:
		a.ResponseType = string(v)
	case pendingResponseMode:
		a.ResponseMode = string(v)
	case pendingState:
		a.State = string(v)
	case pendingScope:
		add(&a.Scopes)
	case pendingResource:
		add(&a.Resources)
	case pendingNonce:
		a.Nonce = string(v)
	case pendingCodeChallenge:
		a.CodeChallenge = string(v)
	case pendingPrompt:
		add(&a.Prompt)
	case pendingMaxAge:
		var seconds int64
		seconds, err = strconv.ParseInt(string(v), 10, 64)
		a.MaxAge = &seconds
	case pendingACRValue:
		add(&a.ACRValues)
	case pendingLoginHint:
		a.LoginHint = string(v)
	case pendingUILocale:
		add(&a.UILocales)
	case pendingDisplay:
		a.Display = string(v)
	case pendingClaimsLocale:
		add(&a.ClaimsLocales)
	case pendingClaims:
		err = json.Unmarshal(v, &a.Claims)
	case pendingHintSubject:
		a.HintSubject = string(v)
	case pendingSignedIn:
		p.SignedIn = true
	case pendingAuthTime:
		p.AuthTime, err = tagMoment(v)
	case pendingAMR:
		add(&p.AMR)
	case pendingACR:
		p.ACR = string(v)
	}
	return err
}
