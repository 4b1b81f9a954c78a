package authtest

import (
	"cmp"
	"context"
	"maps"
	"sync"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// User is somebody who can sign in.
type User struct {
	// Username is what is typed at the sign-in. Required.
	Username string
	// Password is what is typed as well; empty means "password".
	Password string
	// Subject is sub; empty means Username.
	Subject string
	// Claims are the claims of OpenID Connect Core §5.1, and others.
	Claims map[string]any
}

// users is handlers.Users and handlers.ClaimsSource. Passwords stand in clear
// and are compared at once: nothing here is worth a slow hash.
type users struct {
	list   []User
	byName map[string]*User
	bySub  map[string]*User

	mu       sync.Mutex
	disabled map[string]bool // by subject
}

func newUsers(list []User) *users {
	u := &users{byName: map[string]*User{}, bySub: map[string]*User{}, disabled: map[string]bool{}}
	for _, v := range list {
		v.Password, v.Subject = cmp.Or(v.Password, "password"), cmp.Or(v.Subject, v.Username)
		u.byName[v.Username], u.bySub[v.Subject] = &v, &v
		u.list = append(u.list, v)
	}
	return u
}

// CheckPassword is part of handlers.Users. Who is disabled cannot sign in.
func (u *users) CheckPassword(ctx context.Context, username, password string) (string, bool, error) {
	v := u.byName[username]
	if v == nil || v.Password != password {
		return "", false, nil
	}
	active, err := u.active(ctx, v.Subject)
	return v.Subject, active, err
}

// Claims is part of handlers.ClaimsSource.
func (u *users) Claims(_ context.Context, subject string) (map[string]any, error) {
	v := u.bySub[subject]
	if v == nil {
		return nil, oauthreg.ErrNotFound
	}
	return maps.Clone(v.Claims), nil
}

func (u *users) active(_ context.Context, subject string) (bool, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.bySub[subject] != nil && !u.disabled[subject], nil
}

func (u *users) disable(subject string, disabled bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.disabled[subject] = disabled
}

// user is the user of that name, the first one for "".
func (s *Server) user(username string) *User {
	s.helper()
	if username == "" {
		return &s.users.list[0]
	}
	v := s.users.byName[username]
	if v == nil {
		s.fail("user %q: %v", username, errNoUser)
	}
	return v
}
