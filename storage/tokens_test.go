package storage

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func TestAccessToken(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		r := newRequest(s, addClient(t, s))
		issue(t, s, r)
		fresh := new(openid.DefaultSession)
		got, err := s.GetAccessTokenSession(ctx, r.ID+"access", fresh)
		must(t, err)
		if got.GetSession() != fosite.Session(fresh) || fresh.Subject != "alice" || got.GetID() != r.ID {
			t.Errorf("got %+v", got)
		}
		wantErr(t, s.CreateAccessTokenSession(ctx, r.ID+"access", r), oauthreg.ErrConflict)

		_, err = s.GetAccessTokenSession(ctx, r.ID+"refresh", nil) // other kind of token
		wantErr(t, err, fosite.ErrNotFound)

		c.add(time.Hour)
		_, err = s.GetAccessTokenSession(ctx, r.ID+"access", nil)
		wantErr(t, err, fosite.ErrNotFound)
		_, err = s.GetRefreshTokenSession(ctx, r.ID+"refresh", nil)
		must(t, err)
	})
}

func TestDeleteAccessTokenIsThatOneAlone(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		ctx := t.Context()
		r := newRequest(s, addClient(t, s))
		issue(t, s, r)
		must(t, s.CreateAccessTokenSession(ctx, "second", r))
		must(t, s.DeleteAccessTokenSession(ctx, r.ID+"access"))
		must(t, s.DeleteAccessTokenSession(ctx, r.ID+"access"))
		_, err := s.GetAccessTokenSession(ctx, r.ID+"access", nil)
		wantErr(t, err, fosite.ErrNotFound)
		_, err = s.GetAccessTokenSession(ctx, "second", nil)
		must(t, err)
		_, err = s.GetRefreshTokenSession(ctx, r.ID+"refresh", nil)
		must(t, err)

		must(t, s.DeleteRefreshTokenSession(ctx, r.ID+"refresh"))
		must(t, s.DeleteRefreshTokenSession(ctx, r.ID+"refresh"))
		_, err = s.GetRefreshTokenSession(ctx, r.ID+"refresh", nil)
		wantErr(t, err, fosite.ErrNotFound)
	})
}

// What ends everything beneath a grant at once, and what brings it back.
func TestTokensDieWithGrantAndClient(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		alive := func(r *fosite.Request) (n int) {
			_, code := s.GetAuthorizeCodeSession(ctx, r.ID+"code", nil)
			_, access := s.GetAccessTokenSession(ctx, r.ID+"access", nil)
			_, refresh := s.GetRefreshTokenSession(ctx, r.ID+"refresh", nil)
			for _, err := range []error{code, access, refresh} {
				switch {
				case err == nil:
					n++
				case !errors.Is(err, fosite.ErrNotFound):
					t.Errorf("got %v, want ErrNotFound", err)
				}
			}
			return n
		}
		for _, kill := range []struct {
			name string
			do   func(k *Client, r *fosite.Request) error
		}{
			{"RevokeRefreshToken", func(_ *Client, r *fosite.Request) error { return s.RevokeRefreshToken(ctx, r.ID) }},
			{"RevokeAccessToken", func(_ *Client, r *fosite.Request) error { return s.RevokeAccessToken(ctx, r.ID) }},
			{"RevokeGrants", func(_ *Client, r *fosite.Request) error {
				n, err := s.RevokeGrants(ctx, oauthreg.GrantFilter{ID: r.ID})
				if n != 1 {
					t.Errorf("got %d revoked, want 1", n)
				}
				return err
			}},
			{"the grant's end", func(_ *Client, r *fosite.Request) error {
				return s.UseGrant(ctx, r.ID, c.now(), c.now())
			}},
			{"DeleteClient", func(k *Client, _ *fosite.Request) error { return deleteClient(ctx, s, k) }},
			{"suspension", func(k *Client, _ *fosite.Request) error { suspend(t, s, k, c.now()); return nil }},
		} {
			t.Run(kill.name, func(t *testing.T) {
				k := addClient(t, s)
				r, other := newRequest(s, k), newRequest(s, addClient(t, s))
				issue(t, s, r)
				issue(t, s, other)
				if alive(r) != 3 {
					t.Fatal("not alive to begin with")
				}
				must(t, kill.do(k, r))
				if n := alive(r); n != 0 {
					t.Errorf("%d of 3 live on", n)
				}
				if n := alive(other); n != 3 {
					t.Errorf("another request's: %d of 3 live", n)
				}
				if kill.name == "suspension" {
					suspend(t, s, k, time.Time{})
					if n := alive(r); n != 3 {
						t.Errorf("after resuming %d of 3 live", n)
					}
					return
				}
				// Nothing can be issued beneath it any more.
				if kill.name != "DeleteClient" {
					wantErr(t, s.CreateAccessTokenSession(ctx, r.ID+"late", r), fosite.ErrNotFound)
					wantErr(t, s.CreateRefreshTokenSession(ctx, r.ID+"late", "", r), fosite.ErrNotFound)
				}
			})
		}
	})
}

func deleteClient(ctx context.Context, s *Store, k *Client) error {
	return s.DeleteClient(ctx, oauthreg.ByID(k.RegistryID()), func(rec oauthreg.Record) (oauthreg.AuditRecord, error) {
		return oauthreg.AuditRecord{Action: "client.deleted", ClientID: rec.Client.ID}, nil
	})
}

func TestTokensNeedAGrant(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		r := newRequest(s, addClient(t, s))
		wantErr(t, s.CreateAccessTokenSession(t.Context(), "sig", r), fosite.ErrNotFound)
		wantErr(t, s.CreateRefreshTokenSession(t.Context(), "sig", "", r), fosite.ErrNotFound)
	})
}

// A token extends a grant that would end before it, and shortens none.
func TestTokensExtendGrant(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		r := newRequest(s, addClient(t, s))
		ends := func() time.Time {
			g, err := s.Grant(ctx, r.ID)
			must(t, err)
			return g.ExpiresAt
		}
		must(t, s.CreateAuthorizeCodeSession(ctx, "code", r))
		must(t, s.CreateAccessTokenSession(ctx, "access", r))
		if got, want := ends(), c.now().Add(time.Hour); !got.Equal(want) {
			t.Errorf("after the access token: got %v, want %v", got, want)
		}
		must(t, s.CreateRefreshTokenSession(ctx, "refresh", "access", r))
		month := c.now().Add(30 * 24 * time.Hour)
		if got := ends(); !got.Equal(month) {
			t.Errorf("after the refresh token: got %v, want %v", got, month)
		}
		must(t, s.CreateAccessTokenSession(ctx, "access2", r))
		if got := ends(); !got.Equal(month) {
			t.Errorf("after another access token: got %v, want %v", got, month)
		}
		r.Session.SetExpiresAt(fosite.RefreshToken, time.Time{})
		must(t, s.CreateRefreshTokenSession(ctx, "forever", "", r))
		if got := ends(); !got.IsZero() {
			t.Errorf("after a refresh token without end: got %v, want none", got)
		}
		c.add(100 * 365 * 24 * time.Hour)
		_, err := s.GetRefreshTokenSession(ctx, "forever", nil)
		must(t, err)
	})
}

func TestClientCredentials(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		k := addClient(t, s)
		// As fosite stores it, without its grant types; whole; and named as its token.
		sanitized := machineRequest(s, k)
		whole := &fosite.AccessRequest{GrantTypes: fosite.Arguments{"client_credentials"}, Request: *newRequest(s, k)}
		named := machineRequest(s, k)
		named.ID = "sig2"
		bystander := machineRequest(s, k)
		bystander.ID = "bystander"
		must(t, s.CreateAccessTokenSession(ctx, "bystander", bystander))
		for i, r := range []fosite.Requester{sanitized, whole, named} {
			sig := fmt.Sprint("sig", i)
			must(t, s.CreateAccessTokenSession(ctx, sig, r))
			got, err := s.GetAccessTokenSession(ctx, sig, nil)
			must(t, err)
			if got.GetID() != r.GetID() {
				t.Errorf("got the request %q, want %q", got.GetID(), r.GetID())
			}
			if _, err := s.Grant(ctx, r.GetID()); !errors.Is(err, oauthreg.ErrNotFound) {
				t.Errorf("got %v, want no grant", err)
			}
			must(t, s.RevokeRefreshToken(ctx, "of another request"))
			_, err = s.GetAccessTokenSession(ctx, sig, nil)
			must(t, err)

			suspend(t, s, k, c.now())
			_, err = s.GetAccessTokenSession(ctx, sig, nil)
			wantErr(t, err, fosite.ErrNotFound)
			wantErr(t, s.CreateAccessTokenSession(ctx, sig+"x", r), fosite.ErrNotFound)
			suspend(t, s, k, time.Time{})

			must(t, s.RevokeAccessToken(ctx, r.GetID()))
			must(t, s.RevokeAccessToken(ctx, r.GetID()))
			_, err = s.GetAccessTokenSession(ctx, sig, nil)
			wantErr(t, err, fosite.ErrNotFound)
		}
		// One that another request has for its id is not that request's token.
		must(t, s.CreateAccessTokenSession(ctx, sanitized.ID, machineRequest(s, k)))
		must(t, s.RevokeAccessToken(ctx, sanitized.ID))
		for _, sig := range []string{sanitized.ID, "bystander"} {
			_, err := s.GetAccessTokenSession(ctx, sig, nil)
			must(t, err)
		}
	})
}

// Only a client's own request is without a grant, whatever a form claims.
func TestClientCredentialsCannotBeClaimed(t *testing.T) {
	s := openTest(t, "memory", testConfig(newClock()))
	k := addClient(t, s)
	forms := map[string]url.Values{
		"authorization request": {"grant_type": {"client_credentials"}, "response_type": {"token"}},
		"two grant types":       {"grant_type": {"client_credentials", "authorization_code"}},
		"other case":            {"grant_type": {"CLIENT_CREDENTIALS"}},
	}
	for name, form := range forms {
		r := newRequest(s, k)
		r.Form = form
		if err := s.CreateAccessTokenSession(t.Context(), name, r); !errors.Is(err, fosite.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound: there is no grant", name, err)
		}
	}
	two := &fosite.AccessRequest{GrantTypes: fosite.Arguments{"client_credentials", "x"}, Request: *machineRequest(s, k)}
	if err := s.CreateAccessTokenSession(t.Context(), "two", two); !errors.Is(err, fosite.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

// A client registered again with the ids of a deleted one does not inherit
// anything.
func TestDeletedClientsTokensStayDead(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		ctx := t.Context()
		k := addClient(t, s)
		r, machine := newRequest(s, k), machineRequest(s, k)
		issue(t, s, r)
		must(t, s.CreateAccessTokenSession(ctx, "machine", machine))
		consent, err := s.SaveConsent(ctx, oauthreg.Consent{ClientID: k.RegistryID(), Subject: "alice", Scopes: []string{"read"}})
		must(t, err)
		must(t, s.CreateGrant(ctx, oauthreg.Grant{ID: "g", ClientID: k.RegistryID(), Subject: "alice", ConsentID: consent, ExpiresAt: s.now().Add(time.Hour)}))
		must(t, deleteClient(ctx, s, k))
		wantErr(t, deleteClient(ctx, s, k), oauthreg.ErrNotFound)

		addClient(t, s, func(rec *oauthreg.Record) { rec.Client.ID, rec.Client.ClientID = k.RegistryID(), k.GetID() })
		for _, sig := range []string{r.ID + "access", "machine"} {
			_, err := s.GetAccessTokenSession(ctx, sig, nil)
			wantErr(t, err, fosite.ErrNotFound)
		}
		_, err = s.GetRefreshTokenSession(ctx, r.ID+"refresh", nil)
		wantErr(t, err, fosite.ErrNotFound)
		_, err = s.Grant(ctx, "g")
		wantErr(t, err, oauthreg.ErrNotFound)
		_, err = s.Consent(ctx, k.RegistryID(), "alice")
		wantErr(t, err, oauthreg.ErrNotFound)
	})
}

func TestRefreshTokenGrace(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		r := newRequest(s, addClient(t, s))
		issue(t, s, r)
		sig := r.ID + "refresh"
		first := c.now()
		must(t, s.RotateRefreshToken(ctx, r.ID, sig))

		c.add(10*time.Second - time.Microsecond) // the last moment of the grace
		_, err := s.GetRefreshTokenSession(ctx, sig, nil)
		must(t, err)
		must(t, s.RotateRefreshToken(ctx, r.ID, sig))
		c.add(time.Microsecond) // it does not slide
		got, err := s.GetRefreshTokenSession(ctx, sig, nil)
		wantUsed(t, err, fosite.ErrInactiveToken, first)
		if got == nil || got.GetID() != r.ID || got.GetClient() == nil {
			t.Errorf("got request %v, want it beside the error", got)
		}
		wantErr(t, s.RotateRefreshToken(ctx, r.ID, sig), fosite.ErrInactiveToken)

		// The access token issued beside it stays good.
		_, err = s.GetAccessTokenSession(ctx, r.ID+"access", nil)
		must(t, err)

		// A replay is told even after the token's own end, as long as there is
		// something to revoke.
		must(t, s.UseGrant(ctx, r.ID, c.now(), c.now().Add(365*24*time.Hour)))
		c.add(40 * 24 * time.Hour)
		_, err = s.GetRefreshTokenSession(ctx, sig, nil)
		wantUsed(t, err, fosite.ErrInactiveToken, first)
		must(t, s.RevokeRefreshToken(ctx, r.ID))
		_, err = s.GetRefreshTokenSession(ctx, sig, nil)
		wantErr(t, err, fosite.ErrNotFound)
	})
}

func TestRefreshTokenExpires(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		r := newRequest(s, addClient(t, s))
		issue(t, s, r)
		must(t, s.UseGrant(ctx, r.ID, c.now(), c.now().Add(365*24*time.Hour)))
		c.add(30 * 24 * time.Hour)
		_, err := s.GetRefreshTokenSession(ctx, r.ID+"refresh", nil)
		wantErr(t, err, fosite.ErrNotFound)
	})
}

func TestRefreshTokenOfAnotherRequest(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		k := addClient(t, s)
		r, other := newRequest(s, k), newRequest(s, k)
		issue(t, s, r)
		issue(t, s, other)
		wantErr(t, s.RotateRefreshToken(t.Context(), other.ID, r.ID+"refresh"), fosite.ErrInactiveToken)
		must(t, s.RotateRefreshToken(t.Context(), r.ID, r.ID+"refresh"))
	})
}

func TestRotateStrictly(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			cfg := testConfig(c)
			cfg.RefreshGrace = -1
			s := openTest(t, kind, cfg)
			r := newRequest(s, addClient(t, s))
			issue(t, s, r)
			race(t, 50, fosite.ErrInactiveToken, 1, func(int) error { return s.RotateRefreshToken(t.Context(), r.ID, r.ID+"refresh") })
			_, err := s.GetRefreshTokenSession(t.Context(), r.ID+"refresh", nil)
			wantUsed(t, err, fosite.ErrInactiveToken, c.now())
		})
	}
}

// The first use and as many repetitions as are allowed, each in a transaction
// with the successors that it issues.
func TestRotateWithinGrace(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			cfg := testConfig(newClock())
			cfg.RefreshGraceUses = 12
			s := openTest(t, kind, cfg)
			r := newRequest(s, addClient(t, s))
			issue(t, s, r)
			race(t, 50, fosite.ErrInactiveToken, 1+12, func(i int) error {
				ctx, err := s.BeginTX(t.Context())
				must(t, err)
				next := fmt.Sprint("next", i)
				must(t, s.RotateRefreshToken(ctx, r.ID, r.ID+"refresh"))
				must(t, s.CreateAccessTokenSession(ctx, next+"access", r))
				must(t, s.CreateRefreshTokenSession(ctx, next, next+"access", r))
				if err := s.Commit(ctx); err != nil {
					// The loser's tokens were not stored.
					_, getErr := s.GetRefreshTokenSession(t.Context(), next, nil)
					wantErr(t, getErr, fosite.ErrNotFound)
					return err
				}
				_, err = s.GetRefreshTokenSession(t.Context(), next, nil)
				return err
			})
			// Used up, but within the window nobody calls it a replay.
			_, err := s.GetRefreshTokenSession(t.Context(), r.ID+"refresh", nil)
			must(t, err)
		})
	}
}

// Revoking while tokens are issued: whatever the order, none is alive afterwards.
func TestRevokeRacesIssue(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		k := addClient(t, s)
		for i := range 20 {
			r := newRequest(s, k)
			must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID, r))
			done := make(chan error)
			go func() { done <- s.CreateAccessTokenSession(t.Context(), r.ID, r) }()
			must(t, s.RevokeAccessToken(t.Context(), r.ID))
			if err := <-done; err != nil && !errors.Is(err, fosite.ErrNotFound) {
				t.Error(err)
			}
			if _, err := s.GetAccessTokenSession(t.Context(), r.ID, nil); !errors.Is(err, fosite.ErrNotFound) {
				t.Errorf("round %d: got %v, want ErrNotFound", i, err)
			}
		}
	})
}

// The client object of the request being answered is used, not a second one.
func TestReadsReuseAuthenticatedClient(t *testing.T) {
	s := openTest(t, "memory", testConfig(newClock()))
	k, other := addClient(t, s), addClient(t, s)
	r := newRequest(s, k)
	issue(t, s, r)
	get := func(client fosite.Client) fosite.Client {
		ar := fosite.NewAccessRequest(nil)
		ar.Client = client
		ctx := context.WithValue(t.Context(), fosite.AccessRequestContextKey, ar)
		got, err := s.GetAccessTokenSession(ctx, r.ID+"access", nil)
		must(t, err)
		return got.GetClient()
	}
	if got := get(k); got != fosite.Client(k) {
		t.Error("the same client was read again")
	}
	foreign := &fosite.DefaultClient{ID: k.GetID()}
	if got := get(foreign); got != fosite.Client(foreign) {
		t.Error("the same client, of another type, was read again")
	}
	for _, client := range []fosite.Client{other, &fosite.DefaultClient{}, nil} {
		if got := get(client); got.GetID() != k.GetID() {
			t.Errorf("got client %q, want %q", got.GetID(), k.GetID())
		}
	}
}

func TestAssertionUsedOnce(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		end := c.now().Add(time.Minute)
		must(t, s.ClientAssertionJWTValid(ctx, "jti"))
		race(t, 50, fosite.ErrJTIKnown, 1, func(int) error { return s.SetClientAssertionJWT(ctx, "jti", end) })
		wantErr(t, s.ClientAssertionJWTValid(ctx, "jti"), fosite.ErrJTIKnown)
		must(t, s.SetClientAssertionJWT(ctx, "other", end))

		// Once it has ended it may be used again, once.
		c.add(time.Minute)
		must(t, s.ClientAssertionJWTValid(ctx, "jti"))
		race(t, 50, fosite.ErrJTIKnown, 1, func(int) error { return s.SetClientAssertionJWT(ctx, "jti", end.Add(time.Minute)) })

		if err := s.SetClientAssertionJWT(ctx, "", end); err == nil {
			t.Error("an empty id was accepted")
		}
	})
}
