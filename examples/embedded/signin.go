package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// What the authorization server asks of the application.
var (
	_ handlers.SignIn       = (*app)(nil)
	_ handlers.SignOuter    = (*app)(nil)
	_ handlers.ClaimsSource = (*app)(nil)
)

// Login is part of handlers.SignIn: who is signed in, by the app's own session.
func (a *app) Login(r *http.Request) (*oauthreg.Login, error) {
	s, err := a.session(r)
	if err != nil || s == nil {
		return nil, err
	}
	return &oauthreg.Login{Subject: s.UserID, SessionID: s.ID, AuthTime: s.CreatedAt, AMR: []string{"pwd"}}, nil
}

// Begin is part of handlers.SignIn: it sends the browser to the app's own
// sign-in page, which comes back to req.ReturnTo.
func (a *app) Begin(w http.ResponseWriter, r *http.Request, req handlers.SignInRequest) {
	q := url.Values{"return_to": {req.ReturnTo}}
	if req.Client.Name != "" {
		q.Set("for", req.Client.Name)
	}
	http.Redirect(w, r, "/login?"+q.Encode(), http.StatusSeeOther)
}

// returnTo is where the sign-in goes on to: a place of the authorization server,
// or the app's first page. Nothing else that a browser brings counts.
func returnTo(asked string) string {
	u, err := url.Parse(asked)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(asked, "/auth/") || strings.ContainsAny(asked, "\\\r\n\t") {
		return "/"
	}
	return asked
}

// SignOut is part of handlers.SignOuter: with it a program can sign its user out
// (OpenID Connect RP-Initiated Logout).
func (a *app) SignOut(w http.ResponseWriter, r *http.Request) error {
	s, err := a.session(r)
	if err != nil {
		return err
	}
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1})
	if s == nil {
		return nil
	}
	return a.db.WithContext(r.Context()).Delete(s).Error
}

// Claims is part of handlers.ClaimsSource: what the app knows of a user.
func (a *app) Claims(ctx context.Context, subject string) (map[string]any, error) {
	var u user
	err := a.db.WithContext(ctx).Where("id = ?", subject).Take(&u).Error
	switch {
	case errors.Is(err, gorm.ErrRecordNotFound):
		return nil, oauthreg.ErrNotFound
	case err != nil:
		return nil, err
	}
	return map[string]any{"preferred_username": u.Name, "updated_at": u.CreatedAt.Unix()}, nil
}

// program is what the app keeps of an OAuth client that a user registered: the
// rest of it is the registry's.
type program struct {
	ID        uint   `gorm:"primarykey"`
	OwnerID   string `gorm:"index;not null"`
	ClientID  string `gorm:"uniqueIndex;not null"`
	Name      string `gorm:"uniqueIndex;not null"` // one name, one program
	CreatedAt time.Time
}

var errNameTaken = errors.New("there is a program of that name already")

// register makes an OAuth client and the app's own row of it: both, or neither.
// The error is for the person who registers when it is errNameTaken or an
// oauthreg.InvalidError.
func (a *app) register(ctx context.Context, owner, name, redirectURI string) (reg oauthreg.Registration, err error) {
	ctx = oauthreg.WithActor(ctx, oauthreg.Actor{Kind: "user", ID: owner}) // for the audit log
	err = a.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		reg, err = a.registry.On(a.store.WithTx(tx)).Register(ctx, oauthreg.Client{
			Name: name, UserID: owner, RedirectURIs: []string{redirectURI}, Scopes: []string{"openid", "notes"},
			GrantTypes:  []oauthreg.GrantType{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken},
			RequirePKCE: true, Type: oauthreg.Confidential, TokenEndpointAuthMethod: oauthreg.AuthClientSecretBasic,
		}, oauthreg.RegisterOptions{})
		if err != nil {
			return err
		}
		var taken int64
		if err := tx.Model(&program{}).Where("name = ?", name).Count(&taken).Error; err != nil {
			return err
		}
		if taken > 0 {
			return errNameTaken
		}
		return tx.Create(&program{OwnerID: owner, ClientID: reg.Client.ClientID, Name: name}).Error
	})
	return reg, err
}
