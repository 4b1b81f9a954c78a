package handlers

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// signInStep is what the sign-in page needs of a [SignInRequest]. It travels
// through the browser, encrypted and bound to it, so what comes back is what we
// sent: the browser has no say in where it is sent afterwards.
//
// Unless it is too long, the authorization request travels with it: so what a
// stranger asks for is not stored before somebody has signed in for it.
type signInStep struct {
	ReturnTo   string // empty when Request tells
	FormTarget string
	ClientID   string
	ClientName string
	ClientLogo string
	LoginHint  string
	Fresh      bool // who is signed in has to prove it again
	Other      bool // the user may want another account
	UILocales  []string
	Expires    time.Time
	// Request is what CreateInteraction is to be given; nil if it was.
	Request *oauthreg.Interaction
}

// maxCarried is how long a request may be, in the form in which it is stored, that
// travels through the browser: it may have to stand in an address.
const maxCarried = 1024 // bytes

// Begin sends the browser to the sign-in page.
func (p *passwordSignIn) Begin(w http.ResponseWriter, r *http.Request, req SignInRequest) {
	_, interaction, err := p.newStep(w, r, req)
	if err != nil {
		failPage(p.s, w, r, toOAuth(err))
		return
	}
	p.s.redirect(w, r, p.s.base+"/login?interaction="+interaction)
}

// begin is Begin without the way there: it answers with the page, unless that would
// answer a form, which is not to be repeated when the page is loaded again.
func (p *passwordSignIn) begin(w http.ResponseWriter, r *http.Request, req SignInRequest) error {
	if r.Method == http.MethodPost {
		p.Begin(w, r, req)
		return nil
	}
	step, interaction, err := p.newStep(w, r, req)
	if err != nil {
		return err
	}
	return p.ask(w, r, step, interaction, "")
}

// newStep is what the sign-in page needs of req, and the form in which it travels
// through r's browser.
func (p *passwordSignIn) newStep(w http.ResponseWriter, r *http.Request, req SignInRequest) (step *signInStep, interaction string, err error) {
	if !isLocalPath(req.ReturnTo) {
		return nil, "", serverError(errors.New("sign-in: ReturnTo is not a path on this server"))
	}
	step = &signInStep{
		ReturnTo: req.ReturnTo, FormTarget: cspSource(req.RedirectURI),
		ClientID: req.Client.ClientID, ClientName: req.Client.Name, ClientLogo: req.Client.Logo,
		Fresh: !req.NotBefore.IsZero(), Other: req.SelectAccount,
		Expires: p.s.now().UTC().Add(p.s.cfg.InteractionLifetime), Request: req.carried,
	}
	if step.Request != nil {
		step.ReturnTo, step.Expires = "", step.Request.ExpiresAt
	}
	if len(req.LoginHint) <= maxUsername {
		step.LoginHint = req.LoginHint
	}
	for _, l := range req.UILocales {
		if len(step.UILocales) < maxLocales && len(l) <= maxLocale {
			step.UILocales = append(step.UILocales, l)
		}
	}
	return step, sealValue(p.keys(), p.s.browser(w, r), step.appendBinary(make([]byte, 0, 1024))), nil
}

func (p *passwordSignIn) keys() []*secretKey { return p.s.keysFor("sign-in step") }

// isLocalPath reports whether path leads to this origin, however a browser reads
// it.
func isLocalPath(path string) bool {
	u, err := url.Parse(path)
	return err == nil && u.Scheme == "" && u.Host == "" && u.User == nil && strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") &&
		!strings.ContainsFunc(path, func(r rune) bool { return r == '\\' || r <= ' ' || r == 0x7f })
}

// step opens what Begin sealed, for the browser it was sealed for. Without an
// interaction it is the sign-in of somebody who came by themselves.
func (p *passwordSignIn) step(browser, interaction string) (*signInStep, bool) {
	if interaction == "" {
		return &signInStep{ReturnTo: p.s.base + "/account"}, true
	}
	if browser == "" {
		return nil, false
	}
	b, ok := openValue(p.keys(), browser, interaction)
	if !ok {
		return nil, false
	}
	step := new(signInStep)
	if err := step.readBinary(b); err != nil {
		return nil, false
	}
	return step, p.s.now().Before(step.Expires)
}

// stepVersion is that of the form of a step; see [tagWriter].
const stepVersion = 1

const (
	stepReturnTo   = 1
	stepFormTarget = 2
	stepClientID   = 3
	stepClientName = 4
	stepClientLogo = 5
	stepLoginHint  = 6
	stepFresh      = 7
	stepOther      = 8
	stepUILocale   = 9
	stepExpires    = 10
	stepHandle     = 11 // of the request, as all that follow
	stepOwner      = 12
	stepCreated    = 13
	stepRequest    = 14
)

func (step *signInStep) appendBinary(b []byte) []byte {
	w := tagWriter{append(b, stepVersion)}
	w.text(stepReturnTo, step.ReturnTo)
	w.text(stepFormTarget, step.FormTarget)
	w.text(stepClientID, step.ClientID)
	w.text(stepClientName, step.ClientName)
	w.text(stepClientLogo, step.ClientLogo)
	w.text(stepLoginHint, step.LoginHint)
	w.flag(stepFresh, step.Fresh)
	w.flag(stepOther, step.Other)
	w.list(stepUILocale, step.UILocales)
	w.moment(stepExpires, step.Expires, "")
	if i := step.Request; i != nil {
		w.text(stepHandle, i.Handle)
		w.text(stepOwner, i.ClientID)
		w.moment(stepCreated, i.CreatedAt, "")
		w.text(stepRequest, string(i.Request))
	}
	return w.b
}

func (step *signInStep) readBinary(b []byte) error {
	var carried oauthreg.Interaction
	err := eachTag(b, stepVersion, func(tag byte, v []byte) (err error) {
		switch tag {
		case stepReturnTo:
			step.ReturnTo = string(v)
		case stepFormTarget:
			step.FormTarget = string(v)
		case stepClientID:
			step.ClientID = string(v)
		case stepClientName:
			step.ClientName = string(v)
		case stepClientLogo:
			step.ClientLogo = string(v)
		case stepLoginHint:
			step.LoginHint = string(v)
		case stepFresh:
			step.Fresh = true
		case stepOther:
			step.Other = true
		case stepUILocale:
			step.UILocales = append(step.UILocales, string(v))
		case stepExpires:
			step.Expires, err = tagMoment(v)
		case stepHandle:
			carried.Handle = string(v)
		case stepOwner:
			carried.ClientID = string(v)
		case stepCreated:
			carried.CreatedAt, err = tagMoment(v)
		case stepRequest:
			carried.Request = bytes.Clone(v)
		}
		return err
	})
	if carried.Handle != "" {
		carried.ExpiresAt = step.Expires
		step.Request = &carried
	}
	return err
}
