package storage

import (
	"errors"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// wantErr fails unless err is want.
func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

// wantUsed fails unless err says when something was first used and is want.
func wantUsed(t *testing.T, err, want error, at time.Time) {
	t.Helper()
	wantErr(t, err, want)
	wantErr(t, err, oauthreg.ErrConsumed)
	var used *oauthreg.UsedError
	if !errors.As(err, &used) || !used.At.Equal(at) {
		t.Errorf("got %#v, want first use at %v", err, at)
	}
}

func TestCodeRoundTrip(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		want := newRequest(s, addClient(t, s))
		must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", want))
		got, err := s.GetAuthorizeCodeSession(t.Context(), "sig", new(openid.DefaultSession))
		must(t, err)
		if !reflect.DeepEqual(got.GetSession(), want.Session) {
			t.Errorf("got session %+v, want %+v", got.GetSession(), want.Session)
		}
		for _, f := range []struct {
			name      string
			got, want any
		}{
			{"id", got.GetID(), want.ID},
			{"requested at", got.GetRequestedAt(), want.RequestedAt},
			{"requested scopes", got.GetRequestedScopes(), want.RequestedScope},
			{"granted scopes", got.GetGrantedScopes(), want.GrantedScope},
			{"requested audience", got.GetRequestedAudience(), want.RequestedAudience},
			{"granted audience", got.GetGrantedAudience(), want.GrantedAudience},
			{"form", got.GetRequestForm(), want.Form},
			{"client", got.GetClient().(*Client).Registration(), want.Client.(*Client).Registration()},
		} {
			if !reflect.DeepEqual(f.got, f.want) {
				t.Errorf("%s: got %v, want %v", f.name, f.got, f.want)
			}
		}
	})
}

// Every read makes new objects: callers change what they get.
func TestReadsShareNothing(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		r := newRequest(s, addClient(t, s))
		issue(t, s, r)
		a, err := s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
		must(t, err)
		b, err := s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
		must(t, err)
		a.GetSession().SetExpiresAt(fosite.AccessToken, time.Time{})
		a.GetRequestForm().Set("scope", "changed")
		a.GrantScope("changed")
		if b.GetSession().GetExpiresAt(fosite.AccessToken).IsZero() || b.GetRequestForm().Get("scope") == "changed" || b.GetGrantedScopes().Has("changed") {
			t.Error("two reads share an object")
		}
	})
}

// An empty signature, which fosite's strategies make of malformed tokens, is
// never stored and never found.
func TestEmptySignature(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		ctx := t.Context()
		r := newRequest(s, addClient(t, s))
		issue(t, s, r)
		_, code := s.GetAuthorizeCodeSession(ctx, "", nil)
		_, pkce := s.GetPKCERequestSession(ctx, "", nil)
		_, oidc := s.GetOpenIDConnectSession(ctx, "", r)
		_, oidcDot := s.GetOpenIDConnectSession(ctx, "code.", r)
		_, access := s.GetAccessTokenSession(ctx, "", nil)
		_, refresh := s.GetRefreshTokenSession(ctx, "", nil)
		_, client := s.GetClient(ctx, "")
		for what, err := range map[string]error{
			"get code": code, "get PKCE": pkce, "get OIDC": oidc, "get OIDC, empty signature": oidcDot,
			"get access": access, "get refresh": refresh, "get client": client,
			"create code":     s.CreateAuthorizeCodeSession(ctx, "", r),
			"create PKCE":     s.CreatePKCERequestSession(ctx, "", r),
			"create OIDC":     s.CreateOpenIDConnectSession(ctx, "", r),
			"create access":   s.CreateAccessTokenSession(ctx, "", r),
			"create refresh":  s.CreateRefreshTokenSession(ctx, "", "", r),
			"invalidate code": s.InvalidateAuthorizeCodeSession(ctx, ""),
			"rotate":          s.RotateRefreshToken(ctx, r.ID, ""),
		} {
			if !errors.Is(err, fosite.ErrNotFound) {
				t.Errorf("%s: got %v, want ErrNotFound", what, err)
			}
		}
		must(t, s.DeleteAccessTokenSession(ctx, ""))
		must(t, s.DeleteRefreshTokenSession(ctx, ""))
		must(t, s.RevokeAccessToken(ctx, ""))
		if _, err := s.GetAccessTokenSession(ctx, r.ID+"access", nil); err != nil {
			t.Errorf("an empty signature did something to another row: %v", err)
		}
	})
}

func TestCodeExpires(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		r := newRequest(s, addClient(t, s))
		must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r))
		c.add(time.Minute - time.Microsecond)
		_, err := s.GetAuthorizeCodeSession(t.Context(), "sig", nil)
		must(t, err)
		c.add(time.Microsecond)
		_, err = s.GetAuthorizeCodeSession(t.Context(), "sig", nil)
		wantErr(t, err, fosite.ErrNotFound)
		wantErr(t, s.InvalidateAuthorizeCodeSession(t.Context(), "sig"), fosite.ErrInvalidatedAuthorizeCode)
	})
}

// A code whose session does not say when it ends lives ten minutes.
func TestCodeWithoutExpiry(t *testing.T) {
	s := openTest(t, "memory", testConfig(newClock()))
	r := newRequest(s, addClient(t, s))
	r.Session.SetExpiresAt(fosite.AuthorizeCode, time.Time{})
	must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r))
	s.cfg.Now = func() time.Time { return r.RequestedAt.Add(10 * time.Minute) }
	_, err := s.GetAuthorizeCodeSession(t.Context(), "sig", nil)
	wantErr(t, err, fosite.ErrNotFound)
}

func TestCodeUsed(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		k := addClient(t, s)
		r := newRequest(s, k)
		issue(t, s, r)
		at := c.now()
		must(t, s.InvalidateAuthorizeCodeSession(ctx, r.ID+"code"))
		c.add(time.Hour - time.Second) // long after the code's own end
		got, err := s.GetAuthorizeCodeSession(ctx, r.ID+"code", nil)
		wantUsed(t, err, fosite.ErrInvalidatedAuthorizeCode, at)
		if got == nil || got.GetID() != r.ID {
			t.Errorf("got request %v, want it beside the error", got)
		}
		wantUsed(t, s.InvalidateAuthorizeCodeSession(ctx, r.ID+"code"), fosite.ErrInvalidatedAuthorizeCode, at)

		suspend(t, s, k, c.now())
		_, err = s.GetAuthorizeCodeSession(ctx, r.ID+"code", nil)
		wantErr(t, err, fosite.ErrNotFound)
		suspend(t, s, k, time.Time{})

		must(t, s.RevokeRefreshToken(ctx, r.ID))
		_, err = s.GetAuthorizeCodeSession(ctx, r.ID+"code", nil)
		wantErr(t, err, fosite.ErrNotFound)
	})
}

func TestCodeUnknown(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		_, err := s.GetAuthorizeCodeSession(t.Context(), "x", nil)
		wantErr(t, err, fosite.ErrNotFound)
		wantErr(t, s.InvalidateAuthorizeCodeSession(t.Context(), "x"), fosite.ErrInvalidatedAuthorizeCode)
	})
}

func TestCodeTwiceIsConflict(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		r := newRequest(s, addClient(t, s))
		must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r))
		wantErr(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r), oauthreg.ErrConflict)
	})
}

// RFC 6749 §4.1.2: the client must not use a code more than once. Two token
// requests can arrive together, so the store, not the handler, decides who won.
func TestCodeUsedOnce(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		r := newRequest(s, addClient(t, s))
		must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r))
		// Half of the callers are in a transaction, as fosite's handler is.
		race(t, 50, fosite.ErrInvalidatedAuthorizeCode, 1, func(i int) error {
			if i%2 == 0 {
				return s.InvalidateAuthorizeCodeSession(t.Context(), "sig")
			}
			ctx, err := s.BeginTX(t.Context())
			must(t, err)
			if err := s.InvalidateAuthorizeCodeSession(ctx, "sig"); err != nil {
				t.Errorf("got %v, want the verdict from the commit", err)
			}
			return s.Commit(ctx)
		})
	})
}

// race calls f at the same time n times and wants exactly winners of them to
// succeed and the others to lose with an error that is lost.
func race(t *testing.T, n int, lost error, winners int32, f func(i int) error) {
	t.Helper()
	counts.races.Add(1)
	counts.callers.Add(int64(n))
	var won atomic.Int32
	var wg sync.WaitGroup
	start := make(chan bool)
	for i := range n {
		wg.Go(func() {
			<-start
			switch err := f(i); {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, lost):
				t.Errorf("a loser got %v, want %v", err, lost)
			}
		})
	}
	close(start)
	wg.Wait()
	if got := won.Load(); got != winners {
		t.Errorf("%d of %d concurrent callers won, want %d", got, n, winners)
	}
}

// The session that the caller gives is filled in if it is fresh; the live
// session of a request being answered, which knows the code's end, is left
// alone: it may have been added to.
func TestCodeSessionArgument(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		r := newRequest(s, addClient(t, s))
		must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r))

		fresh := new(openid.DefaultSession)
		got, err := s.GetAuthorizeCodeSession(t.Context(), "sig", fresh)
		must(t, err)
		if got.GetSession() != fosite.Session(fresh) || fresh.Subject != "alice" || fresh.GetExpiresAt(fosite.AuthorizeCode).IsZero() {
			t.Errorf("the fresh session was not filled in: %+v", fresh)
		}

		fresh.Subject = "added later"
		got, err = s.GetAuthorizeCodeSession(t.Context(), "sig", fresh)
		must(t, err)
		if fresh.Subject != "added later" || got.GetSession() == fosite.Session(fresh) {
			t.Errorf("the live session was written to: %+v", fresh)
		}

		got, err = s.GetAuthorizeCodeSession(t.Context(), "sig", nil)
		must(t, err)
		if got.GetSession().GetSubject() != "alice" {
			t.Errorf("got %+v, want a session of the factory's type", got.GetSession())
		}
	})
}

func TestPKCEAndOpenIDViews(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		r := newRequest(s, addClient(t, s))
		must(t, s.CreateAuthorizeCodeSession(ctx, "sig", r))
		_, err := s.GetPKCERequestSession(ctx, "sig", nil)
		wantErr(t, err, fosite.ErrNotFound)
		_, err = s.GetOpenIDConnectSession(ctx, "prefix_random.sig", r)
		wantErr(t, err, openid.ErrNoSessionFound)

		r.Form.Set("code_challenge", "challenge")
		must(t, s.CreatePKCERequestSession(ctx, "sig", r))
		r.Form.Set("nonce", "n-2")
		must(t, s.CreateOpenIDConnectSession(ctx, "prefix_random.sig", r))

		live := new(openid.DefaultSession)
		pkce, err := s.GetPKCERequestSession(ctx, "sig", live)
		must(t, err)
		if got := pkce.GetRequestForm().Get("code_challenge"); got != "challenge" {
			t.Errorf("got challenge %q", got)
		}
		if pkce.GetRequestForm().Has("nonce") {
			t.Error("the PKCE view has the OpenID Connect view's form")
		}
		oidc, err := s.GetOpenIDConnectSession(ctx, "prefix_random.sig", &fosite.Request{Session: live})
		must(t, err)
		if got := oidc.GetRequestForm().Get("nonce"); got != "n-2" {
			t.Errorf("got nonce %q", got)
		}
		if got := oidc.GetSession().(openid.Session).IDTokenClaims().Subject; got != "alice" {
			t.Errorf("got subject %q, want alice", got)
		}
		if live.Subject != "" || pkce.GetSession() == fosite.Session(live) || oidc.GetSession() == fosite.Session(live) {
			t.Error("the session of the caller was written to")
		}

		// fosite deletes the challenge before it has compared the verifier: that
		// must not separate it from the code.
		must(t, s.DeletePKCERequestSession(ctx, "sig"))
		_, err = s.GetPKCERequestSession(ctx, "sig", nil)
		must(t, err)
		must(t, s.DeleteOpenIDConnectSession(ctx, "prefix_random.sig"))

		// The OpenID Connect session is asked for after the exchange.
		must(t, s.InvalidateAuthorizeCodeSession(ctx, "sig"))
		_, err = s.GetOpenIDConnectSession(ctx, "prefix_random.sig", r)
		must(t, err)

		c.add(time.Hour) // the grant ends with the code
		_, err = s.GetPKCERequestSession(ctx, "sig", nil)
		wantErr(t, err, fosite.ErrNotFound)
	})
}

// A view cannot be added where there is no code, to another request's code, or
// to one that was used.
func TestViewsNeedTheirCode(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		ctx := t.Context()
		k := addClient(t, s)
		r := newRequest(s, k)
		wantErr(t, s.CreatePKCERequestSession(ctx, "sig", r), fosite.ErrNotFound)
		must(t, s.CreateAuthorizeCodeSession(ctx, "sig", r))
		wantErr(t, s.CreatePKCERequestSession(ctx, "sig", newRequest(s, k)), fosite.ErrNotFound)
		must(t, s.InvalidateAuthorizeCodeSession(ctx, "sig"))
		wantErr(t, s.CreatePKCERequestSession(ctx, "sig", r), fosite.ErrNotFound)
	})
}

// A code without dots is its own signature.
func TestOpenIDCodeWithoutDot(t *testing.T) {
	s := openTest(t, "memory", testConfig(newClock()))
	r := newRequest(s, addClient(t, s))
	must(t, s.CreateAuthorizeCodeSession(t.Context(), "plain", r))
	must(t, s.CreateOpenIDConnectSession(t.Context(), "plain", r))
	_, err := s.GetOpenIDConnectSession(t.Context(), "plain", r)
	must(t, err)
}

// A code makes its grant, unless that was made before.
func TestCodeMakesGrant(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		k := addClient(t, s)
		r := newRequest(s, k)
		must(t, s.CreateAuthorizeCodeSession(ctx, "sig", r))
		got, err := s.Grant(ctx, r.ID)
		must(t, err)
		want := oauthreg.Grant{ID: r.ID, ClientID: k.RegistryID(), Subject: "alice", Scopes: []string{"openid"}, Resources: []string{"https://api.example"},
			CreatedAt: c.now(), LastUsedAt: c.now(), ExpiresAt: c.now().Add(time.Minute)}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}

		r = newRequest(s, k)
		must(t, s.CreateGrant(ctx, oauthreg.Grant{ID: r.ID, ClientID: k.RegistryID(), Subject: "alice", SessionID: "sid", ExpiresAt: c.now().Add(time.Hour)}))
		must(t, s.CreateAuthorizeCodeSession(ctx, "sig2", r))
		got, err = s.Grant(ctx, r.ID)
		must(t, err)
		if got.SessionID != "sid" || !got.ExpiresAt.Equal(c.now().Add(time.Hour)) {
			t.Errorf("the grant that was there was changed: %+v", got)
		}
	})
}

// A request of a client that is not registered is not stored.
func TestCodeOfUnknownClient(t *testing.T) {
	s := openTest(t, "memory", testConfig(newClock()))
	r := newRequest(s, &fosite.DefaultClient{ID: "unknown"})
	wantErr(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r), fosite.ErrNotFound)
}

// A client of another type is found by its client_id.
func TestCodeOfForeignClientType(t *testing.T) {
	s := openTest(t, "memory", testConfig(newClock()))
	k := addClient(t, s)
	r := newRequest(s, &fosite.DefaultClient{ID: k.GetID()})
	must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r))
	got, err := s.GetAuthorizeCodeSession(t.Context(), "sig", nil)
	must(t, err)
	if c, ok := got.GetClient().(*Client); !ok || c.RegistryID() != k.RegistryID() {
		t.Errorf("got client %v", got.GetClient())
	}
}
