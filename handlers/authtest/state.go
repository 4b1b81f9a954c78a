package authtest

import (
	"context"
	"strings"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Revoke revokes a token, as the client would (RFC 7009): an access token
// alone, a refresh token with everything of its grant.
func (s *Server) Revoke(token string) {
	s.helper()
	if err := s.Handler.RevokeToken(context.Background(), token); err != nil {
		s.fail("revoke: %v", err)
	}
}

// RevokeGrants takes back what a user allowed a client, with the consent and
// every token, and returns how many consents there were. An empty username means
// all users.
func (s *Server) RevokeGrants(clientID, username string) int {
	s.helper()
	ctx := context.Background()
	client, err := s.Registry.Get(ctx, oauthreg.ByClientID(clientID))
	if err != nil {
		s.fail("revoke grants of client %q: %v", clientID, err)
	}
	f := oauthreg.GrantFilter{ClientID: client.ID}
	if username != "" {
		f.Subject = s.user(username).Subject
	}
	revoked, err := s.Handler.RevokeConsents(ctx, f)
	if err != nil {
		s.fail("revoke grants of client %q: %v", clientID, err)
	}
	return revoked.Consents
}

// Suspend switches a client off: it gets nothing, and its tokens are inactive
// until [Server.Resume].
func (s *Server) Suspend(clientID string) {
	s.helper()
	if _, err := s.Registry.Suspend(context.Background(), oauthreg.ByClientID(clientID)); err != nil {
		s.fail("suspend client %q: %v", clientID, err)
	}
}

// Resume switches a client on again.
func (s *Server) Resume(clientID string) {
	s.helper()
	if _, err := s.Registry.Resume(context.Background(), oauthreg.ByClientID(clientID)); err != nil {
		s.fail("resume client %q: %v", clientID, err)
	}
}

// Delete removes a client with everything it was given.
func (s *Server) Delete(clientID string) {
	s.helper()
	if err := s.Registry.Delete(context.Background(), oauthreg.ByClientID(clientID)); err != nil {
		s.fail("delete client %q: %v", clientID, err)
	}
}

// DisableUser makes a user one who may no longer use tokens or sign in, until
// [Server.EnableUser].
func (s *Server) DisableUser(username string) {
	s.helper()
	s.users.disable(s.user(username).Subject, true)
}

// EnableUser takes [Server.DisableUser] back.
func (s *Server) EnableUser(username string) {
	s.helper()
	s.users.disable(s.user(username).Subject, false)
}

// RotateKeys makes new signing keys that sign from now on. Those before are
// published for two more days, so what they signed still verifies. Making an RSA
// key takes a moment.
func (s *Server) RotateKeys() {
	s.helper()
	for _, alg := range s.Keys.Algorithms() {
		if _, err := s.Keys.Rotate(context.Background(), alg); err != nil {
			s.fail("rotate %s key: %v", alg, err)
		}
	}
}

// ReplaceKeys is [Server.RotateKeys] after a leak: the keys before are gone from
// the JWKS at once, and what they signed does not verify any more.
func (s *Server) ReplaceKeys() {
	s.helper()
	ctx := context.Background()
	drop := func(have []oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
		now := s.Now()
		for _, k := range have {
			if k.State(now) == oauthreg.KeyRetired {
				k.RetiredAt, k.ExpiresAt = now, now
				replace = append(replace, k)
			}
		}
		return nil, replace, nil
	}
	// What Rotate reads back is what the ring goes on with, so the keys are
	// retired by a first rotation and dropped before the second.
	alg := "ES256"
	for _, a := range s.Keys.Algorithms() {
		if _, err := s.Keys.Rotate(ctx, a); err != nil {
			s.fail("rotate %s key: %v", a, err)
		}
	}
	if err := s.Store.UpdateSigningKeys(ctx, drop); err != nil {
		s.fail("drop retired keys: %v", err)
	}
	if _, err := s.Keys.Rotate(ctx, alg); err != nil {
		s.fail("rotate %s key: %v", alg, err)
	}
}

func join(scopes []string) string { return strings.Join(scopes, " ") }
