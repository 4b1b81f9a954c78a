package oauthreg_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/oauthreg/oauthregtest"
)

var testKey = []byte("0123456789abcdef0123456789abcdef")

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock {
	return &clock{t: time.Date(2030, 1, 2, 3, 4, 5, 678_901_234, time.FixedZone("", 3600))}
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// fixture is a registry over an empty store with a clock.
type fixture struct {
	*oauthreg.Registry
	store *oauthregtest.Memory
	clock *clock
}

func newRegistry(t *testing.T, edit ...func(*oauthreg.Config)) fixture {
	t.Helper()
	f := fixture{store: new(oauthregtest.Memory), clock: newClock()}
	cfg := oauthreg.Config{Store: f.store, SecretKey: testKey, Now: f.clock.now}
	for _, e := range edit {
		e(&cfg)
	}
	reg, err := oauthreg.NewRegistry(cfg)
	if err != nil {
		t.Fatal(err)
	}
	reg.UseBcryptCost(bcrypt.MinCost)
	f.Registry = reg
	return f
}

func (f fixture) mustRegister(t *testing.T, c oauthreg.Client, opts oauthreg.RegisterOptions) oauthreg.Registration {
	t.Helper()
	reg, err := f.Register(t.Context(), c, opts)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

func (f fixture) actions(t *testing.T, clientID string) []string {
	t.Helper()
	records, err := f.Audit(t.Context(), oauthreg.AuditQuery{ClientID: clientID})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, r := range records {
		out = append(out, r.Action)
	}
	slices.Reverse(out)
	return out
}

// webApp is a confidential client with the code grant.
func webApp() oauthreg.Client {
	return oauthreg.Client{
		Name:         "Web app",
		Scopes:       []string{"openid", "profile", "offline_access"},
		GrantTypes:   []oauthreg.GrantType{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken},
		RedirectURIs: []string{"https://app.example/cb"},
	}
}

// problems lists the fields of an InvalidError.
func problems(t *testing.T, err error) []string {
	t.Helper()
	var invalid *oauthreg.InvalidError
	if !errors.As(err, &invalid) {
		t.Fatalf("got error %v, want an InvalidError", err)
	}
	var out []string
	for _, p := range invalid.Problems {
		if p.Message == "" || p.Code == "" {
			t.Errorf("problem %+v is incomplete", p)
		}
		out = append(out, p.Field)
	}
	return out
}

func TestNewRegistryNamesAllMistakes(t *testing.T) {
	_, err := oauthreg.NewRegistry(oauthreg.Config{
		SecretKey:         []byte("short"),
		GrantTypes:        []string{"", "with space", "implicit"},
		PrivateUseSchemes: []string{"javascript", "Upper", "https"},
		Scopes:            []string{"a b"},
		SigningAlgs:       []string{"HS256"},
	})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"Config.Store", "SecretKey", `""`, "with space", "implicit", "javascript", "Upper", `"https"`, "a b", "HS256"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error does not name %s:\n%v", want, err)
		}
	}
}

func TestRegisterFillsInWhatIsOpen(t *testing.T) {
	f := newRegistry(t)
	reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{RegistrationToken: true, SecretLabel: "first"})

	c := reg.Client
	if len(c.ID) != 36 || len(c.ClientID) != 36 || c.ID == c.ClientID {
		t.Errorf("got id %q and client_id %q, want two UUIDs", c.ID, c.ClientID)
	}
	if c.ID[14] != '7' || c.ClientID[14] != '4' {
		t.Errorf("got id %q and client_id %q, want versions 7 and 4", c.ID, c.ClientID)
	}
	if c.Type != oauthreg.Confidential || c.TokenEndpointAuthMethod != oauthreg.AuthUnnamed {
		t.Errorf("got %s with method %q, want confidential without one", c.Type, c.TokenEndpointAuthMethod)
	}
	if c.ApplicationType != oauthreg.Web || c.AccessTokenFormat != oauthreg.Opaque || c.RequirePKCE {
		t.Errorf("got %s, %s, PKCE %v, want web, opaque, false", c.ApplicationType, c.AccessTokenFormat, c.RequirePKCE)
	}
	if !slices.Equal(c.ResponseTypes, []string{"code"}) {
		t.Errorf("got response types %q, want code", c.ResponseTypes)
	}
	want := time.Date(2030, 1, 2, 2, 4, 5, 678_000_000, time.UTC)
	if c.CreatedAt != want || c.UpdatedAt != want || c.Version != 1 {
		t.Errorf("got times %v, %v and version %d, want %v and 1", c.CreatedAt, c.UpdatedAt, c.Version, want)
	}
	if len(reg.Secret) != 47 || !strings.HasPrefix(reg.Secret, oauthreg.SecretPrefix) {
		t.Errorf("got secret %q, want %s and 43 characters", reg.Secret, oauthreg.SecretPrefix)
	}
	if reg.SecretInfo.ID == "" || reg.SecretInfo.Hash != "" || reg.SecretInfo.Label != "first" {
		t.Errorf("got %+v, want an id, the label, and no hash", reg.SecretInfo)
	}

	rec, err := f.Record(t.Context(), oauthreg.ByClientID(c.ClientID))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(rec.Client, c) {
		t.Errorf("got %+v from the store, want %+v", rec.Client, c)
	}
	if !f.CheckSecret(&rec, reg.Secret) {
		t.Error("the secret does not verify")
	}
	if !f.CheckRegistrationToken(rec, reg.RegistrationToken) {
		t.Error("the registration token does not verify")
	}
	if dump := f.store.Dump(); strings.Contains(dump, reg.Secret) || strings.Contains(dump, reg.RegistrationToken) {
		t.Error("the store has the secret or the token in clear")
	}
}

func TestRegisterDerives(t *testing.T) {
	code := []string{oauthreg.GrantAuthorizationCode}
	tests := []struct {
		name  string
		edit  func(*oauthreg.Client)
		rules oauthreg.Rules
		check func(oauthreg.Client) any
		want  any
	}{
		{"public from the method none", func(c *oauthreg.Client) { c.TokenEndpointAuthMethod = "none" },
			oauthreg.Rules{}, func(c oauthreg.Client) any { return c.Type }, oauthreg.Public},
		{"method none from public", func(c *oauthreg.Client) { c.Type = oauthreg.Public },
			oauthreg.Rules{}, func(c oauthreg.Client) any { return c.TokenEndpointAuthMethod }, "none"},
		{"PKCE for public", func(c *oauthreg.Client) { c.Type = oauthreg.Public },
			oauthreg.Rules{}, func(c oauthreg.Client) any { return c.RequirePKCE }, true},
		{"native from loopback", func(c *oauthreg.Client) { c.RedirectURIs = []string{"https://a.example/", "http://127.0.0.1/cb"} },
			oauthreg.Rules{}, func(c oauthreg.Client) any { return c.ApplicationType }, oauthreg.Native},
		{"native from a private-use scheme", func(c *oauthreg.Client) { c.RedirectURIs = []string{"com.example.app:/cb"} },
			oauthreg.Rules{}, func(c oauthreg.Client) any { return c.ApplicationType }, oauthreg.Native},
		{"no response types without code", func(c *oauthreg.Client) {
			c.GrantTypes, c.ResponseTypes = []string{oauthreg.GrantClientCredentials}, []string{}
		}, oauthreg.Rules{}, func(c oauthreg.Client) any { return c.ResponseTypes }, []string(nil)},
		{"response types of the implicit grant", func(c *oauthreg.Client) { c.GrantTypes = append(code, "implicit") },
			oauthreg.Rules{AllowImplicit: true}, func(c oauthreg.Client) any { return c.ResponseTypes },
			[]string{"code", "token", "id_token", "id_token token"}},
		{"one order of the words of a response type", func(c *oauthreg.Client) {
			c.GrantTypes, c.ResponseTypes = append(code, "implicit"), []string{"token id_token", "code"}
		}, oauthreg.Rules{AllowImplicit: true}, func(c oauthreg.Client) any { return c.ResponseTypes }, []string{"id_token token", "code"}},
		{"a name where it is optional", func(c *oauthreg.Client) { c.Name, c.ClientID = "", "my-client" },
			oauthreg.Rules{NameOptional: true}, func(c oauthreg.Client) any { return c.Name }, "my-client"},
		{"not what only the registry sets", func(c *oauthreg.Client) { c.SuspendedAt, c.Version = time.Now(), 7 },
			oauthreg.Rules{}, func(c oauthreg.Client) any { return []any{c.Suspended(), c.Version} }, []any{false, int64(1)}},
		{"the id in lower case", func(c *oauthreg.Client) { c.ID = "0190A2C4-0000-7000-8000-00000000ABCD" },
			oauthreg.Rules{}, func(c oauthreg.Client) any { return c.ID }, "0190a2c4-0000-7000-8000-00000000abcd"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := webApp()
			c.GrantTypes = slices.Clone(code)
			tt.edit(&c)
			reg := newRegistry(t).mustRegister(t, c, oauthreg.RegisterOptions{Rules: tt.rules})
			if got := tt.check(reg.Client); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestRegisterRefusesTakenNames(t *testing.T) {
	f := newRegistry(t)
	c := webApp()
	c.ID, c.ClientID = "0190a2c4-0000-7000-8000-000000000001", "one"
	f.mustRegister(t, c, oauthreg.RegisterOptions{})
	for _, other := range []struct{ id, clientID string }{
		{"", "one"}, {"0190a2c4-0000-7000-8000-000000000001", ""},
	} {
		c := webApp()
		c.ID, c.ClientID = other.id, other.clientID
		if _, err := f.Register(t.Context(), c, oauthreg.RegisterOptions{}); !errors.Is(err, oauthreg.ErrConflict) {
			t.Errorf("%+v: got %v, want ErrConflict", other, err)
		}
	}
}

func TestRegisterSuspended(t *testing.T) {
	f := newRegistry(t)
	reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{Suspended: true})
	if !reg.Client.Suspended() {
		t.Error("the client is not suspended")
	}
}

func TestRegisterDoesNotShareMemory(t *testing.T) {
	f := newRegistry(t)
	c := webApp()
	reg := f.mustRegister(t, c, oauthreg.RegisterOptions{})
	c.RedirectURIs[0] = "https://evil.example/1"
	reg.Client.RedirectURIs[0] = "https://evil.example/2"
	got, err := f.Get(t.Context(), oauthreg.ByID(reg.Client.ID))
	if err != nil || got.RedirectURIs[0] != "https://app.example/cb" {
		t.Errorf("got %q, %v", got.RedirectURIs, err)
	}
}

func TestGetRefusesNamesThatCannotBe(t *testing.T) {
	f := newRegistry(t)
	for name, ref := range map[string]oauthreg.Ref{
		"unknown":       oauthreg.ByClientID("nobody"),
		"empty":         oauthreg.ByClientID(""),
		"NUL":           oauthreg.ByClientID("a\x00b"),
		"invalid UTF-8": oauthreg.ByID("\xff"),
		"very long":     oauthreg.ByClientID(strings.Repeat("a", 1000)),
	} {
		if _, err := f.Get(t.Context(), ref); !errors.Is(err, oauthreg.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", name, err)
		}
	}
	if _, err := f.Get(t.Context(), oauthreg.Ref{ID: "a", ClientID: "b"}); err == nil || errors.Is(err, oauthreg.ErrNotFound) {
		t.Errorf("two names: got %v, want an error that says so", err)
	}
}

func TestRefHidesClientsOfOtherOwners(t *testing.T) {
	f := newRegistry(t)
	c := webApp()
	c.OrgID, c.ProjectID = "org-1", "project-1"
	id := f.mustRegister(t, c, oauthreg.RegisterOptions{}).Client.ID
	foreign := oauthreg.ByID(id).In("org-2", "")
	noop := func(c *oauthreg.Client) error { c.Name = "taken over"; return nil }
	calls := map[string]error{}
	_, calls["Get"] = f.Get(t.Context(), foreign)
	_, calls["Update"] = f.Update(t.Context(), foreign, oauthreg.UpdateOptions{}, noop)
	_, calls["Suspend"] = f.Suspend(t.Context(), foreign)
	_, calls["Resume"] = f.Resume(t.Context(), foreign)
	_, calls["RotateSecret"] = f.RotateSecret(t.Context(), foreign, oauthreg.RotateOptions{})
	_, calls["Secrets"] = f.Secrets(t.Context(), foreign)
	_, calls["RotateRegistrationToken"] = f.RotateRegistrationToken(t.Context(), foreign)
	calls["RevokeSecret"] = f.RevokeSecret(t.Context(), foreign, "x")
	calls["Delete"] = f.Delete(t.Context(), foreign)
	for name, err := range calls {
		if !errors.Is(err, oauthreg.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", name, err)
		}
	}
	if got, err := f.Get(t.Context(), oauthreg.ByID(id).In("org-1", "project-1")); err != nil || got.Version != 1 {
		t.Errorf("got %+v, %v, want the client as it was", got, err)
	}
}

func TestUpdate(t *testing.T) {
	f := newRegistry(t)
	before := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{}).Client
	ref := oauthreg.ByID(before.ID)
	f.clock.add(time.Minute)

	after, err := f.Update(t.Context(), ref, oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
		c.Name = "Other"
		c.RedirectURIs = append(c.RedirectURIs, "https://app.example/cb2")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := before.Clone()
	want.Name, want.RedirectURIs = "Other", []string{"https://app.example/cb", "https://app.example/cb2"}
	want.UpdatedAt, want.Version = before.UpdatedAt.Add(time.Minute), 2
	if !reflect.DeepEqual(after, want) {
		t.Errorf("got %+v, want %+v", after, want)
	}
	if got, err := f.Get(t.Context(), ref); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v from the store, want %+v", got, err, want)
	}

	records, err := f.Audit(t.Context(), oauthreg.AuditQuery{Action: "client.updated"})
	if err != nil || len(records) != 1 {
		t.Fatalf("got %d audit records, %v, want 1", len(records), err)
	}
	if got, want := string(records[0].Before), `{"name":"Web app","redirect_uris":["https://app.example/cb"]}`; got != want {
		t.Errorf("got before %s, want %s", got, want)
	}
	if got, want := string(records[0].After), `{"name":"Other","redirect_uris":["https://app.example/cb","https://app.example/cb2"]}`; got != want {
		t.Errorf("got after %s, want %s", got, want)
	}
}

func TestUpdateWithoutChange(t *testing.T) {
	f := newRegistry(t)
	before := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{}).Client
	for name, change := range map[string]func(*oauthreg.Client) error{
		"nothing":           func(*oauthreg.Client) error { return nil },
		"the same name":     func(c *oauthreg.Client) error { c.Name = "Web app"; return nil },
		"empty for nil":     func(c *oauthreg.Client) error { c.Contacts, c.Metadata = []string{}, map[string]string{}; return nil },
		"derived left open": func(c *oauthreg.Client) error { c.ResponseTypes, c.ApplicationType = nil, ""; return nil },
	} {
		after, err := f.Update(t.Context(), oauthreg.ByID(before.ID), oauthreg.UpdateOptions{}, change)
		if err != nil || !reflect.DeepEqual(after, before) {
			t.Errorf("%s: got %+v, %v, want the client as it was", name, after, err)
		}
	}
	if got := f.actions(t, before.ID); !slices.Equal(got, []string{"client.registered"}) {
		t.Errorf("got audit %q, want only the registration", got)
	}
}

func TestUpdateKeepsWhatIsImmutable(t *testing.T) {
	f := newRegistry(t)
	before := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{}).Client
	after, err := f.Update(t.Context(), oauthreg.ByID(before.ID), oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
		// A PUT that replaces the whole client.
		*c = oauthreg.Client{
			ID: "x", ClientID: "y", OrgID: "o", ProjectID: "p", UserID: "u", Type: oauthreg.Public,
			SelfRegistered: true, SuspendedAt: time.Now(), CreatedAt: time.Now(), UpdatedAt: time.Now(), Version: 99,
			Name: before.Name, Scopes: before.Scopes, GrantTypes: before.GrantTypes, RedirectURIs: before.RedirectURIs,
		}
		return nil
	})
	if err != nil || !reflect.DeepEqual(after, before) {
		t.Errorf("got %+v, %v, want %+v", after, err, before)
	}
}

func TestUpdateRefusals(t *testing.T) {
	errMine := errors.New("mine")
	tests := []struct {
		name   string
		client oauthreg.Client
		change func(*oauthreg.Client) error
		want   []string // fields
	}{
		{"grant without its redirect URI", webApp(), func(c *oauthreg.Client) error { c.RedirectURIs = nil; return nil }, []string{"redirect_uris"}},
		{"confidential to public", webApp(), func(c *oauthreg.Client) error { c.TokenEndpointAuthMethod = "none"; return nil }, []string{"token_endpoint_auth_method"}},
		{"confidential to public with its type", webApp(), func(c *oauthreg.Client) error {
			c.TokenEndpointAuthMethod, c.Type = "none", oauthreg.Public
			return nil
		}, []string{"token_endpoint_auth_method"}},
		{"public to confidential", func() oauthreg.Client { c := webApp(); c.Type = oauthreg.Public; return c }(),
			func(c *oauthreg.Client) error { c.TokenEndpointAuthMethod = "client_secret_basic"; return nil }, []string{"token_endpoint_auth_method"}},
		{"several at once", webApp(), func(c *oauthreg.Client) error {
			c.Name, c.LogoURI, c.Scopes = "", "javascript:x", []string{"a", "b c"}
			return nil
		}, []string{"client_name", "logo_uri", "scope[1]"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newRegistry(t)
			before := f.mustRegister(t, tt.client, oauthreg.RegisterOptions{}).Client
			_, err := f.Update(t.Context(), oauthreg.ByID(before.ID), oauthreg.UpdateOptions{}, tt.change)
			got := problems(t, err)
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got problems with %q, want %q", got, tt.want)
			}
			if got, err := f.Get(t.Context(), oauthreg.ByID(before.ID)); err != nil || !reflect.DeepEqual(got, before) {
				t.Errorf("got %+v, %v after the refusal, want the client as it was", got, err)
			}
		})
	}

	f := newRegistry(t)
	id := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{}).Client.ID
	_, err := f.Update(t.Context(), oauthreg.ByID(id), oauthreg.UpdateOptions{}, func(*oauthreg.Client) error { return errMine })
	if err != errMine {
		t.Errorf("got %v, want the change's error as it is", err)
	}
}

func TestUpdateFollowsWhatIsDerived(t *testing.T) {
	f := newRegistry(t)
	c := oauthreg.Client{Name: "m2m", GrantTypes: []string{oauthreg.GrantClientCredentials}}
	ref := oauthreg.ByID(f.mustRegister(t, c, oauthreg.RegisterOptions{}).Client.ID)
	steps := []struct {
		name          string
		change        func(*oauthreg.Client)
		responseTypes []string
		app           oauthreg.ApplicationType
	}{
		{"code is added", func(c *oauthreg.Client) {
			c.GrantTypes = append(c.GrantTypes, "authorization_code")
			c.RedirectURIs = []string{"https://a.example/"}
		}, []string{"code"}, oauthreg.Web},
		{"an app's redirect URI is added", func(c *oauthreg.Client) { c.RedirectURIs = append(c.RedirectURIs, "com.example:/cb") }, []string{"code"}, oauthreg.Native},
		{"and taken away", func(c *oauthreg.Client) { c.RedirectURIs = c.RedirectURIs[:1] }, []string{"code"}, oauthreg.Web},
		{"native by choice", func(c *oauthreg.Client) { c.ApplicationType = oauthreg.Native }, []string{"code"}, oauthreg.Native},
		{"stays native", func(c *oauthreg.Client) { c.RedirectURIs = []string{"https://b.example/"} }, []string{"code"}, oauthreg.Native},
		{"code is taken away", func(c *oauthreg.Client) { c.GrantTypes = c.GrantTypes[:1] }, nil, oauthreg.Native},
	}
	for _, s := range steps {
		got, err := f.Update(t.Context(), ref, oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error { s.change(c); return nil })
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		if !slices.Equal(got.ResponseTypes, s.responseTypes) || got.ApplicationType != s.app {
			t.Errorf("%s: got %q and %s, want %q and %s", s.name, got.ResponseTypes, got.ApplicationType, s.responseTypes, s.app)
		}
	}
}

func TestUpdateDoesNotReportOldProblems(t *testing.T) {
	f := newRegistry(t)
	c := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{}).Client
	c.RedirectURIs = []string{"http://old.example/cb", "https://app.example/cb"}
	c.Name = "two\nlines"
	f.store.Plant(oauthreg.Record{Client: c})
	ref := oauthreg.ByID(c.ID)

	tests := []struct {
		name   string
		change func(*oauthreg.Client)
		want   []string
	}{
		{"something else", func(c *oauthreg.Client) { c.Description = "x" }, nil},
		{"the place in the list", func(c *oauthreg.Client) { slices.Reverse(c.RedirectURIs) }, nil},
		{"another bad URI in place of it", func(c *oauthreg.Client) { c.RedirectURIs[1] = "http://new.example/cb" }, []string{"redirect_uris[1]"}},
		{"another bad name", func(c *oauthreg.Client) { c.Name = "other\nlines" }, []string{"client_name"}},
		{"one more problem", func(c *oauthreg.Client) { c.LogoURI = "x" }, []string{"logo_uri"}},
		{"the name is mended", func(c *oauthreg.Client) { c.Name = "one line" }, nil},
		{"and broken again", func(c *oauthreg.Client) { c.Name = "two\nlines" }, []string{"client_name"}},
	}
	for _, tt := range tests {
		_, err := f.Update(t.Context(), ref, oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error { tt.change(c); return nil })
		if tt.want == nil {
			if err != nil {
				t.Errorf("%s: got %v, want no error", tt.name, err)
			}
			continue
		}
		if got := problems(t, err); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got problems with %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestUpdateIfVersion(t *testing.T) {
	f := newRegistry(t)
	id := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{}).Client.ID
	rename := func(version int64) error {
		_, err := f.Update(t.Context(), oauthreg.ByID(id), oauthreg.UpdateOptions{IfVersion: version}, func(c *oauthreg.Client) error {
			c.Name += "!"
			return nil
		})
		return err
	}
	if err := rename(2); !errors.Is(err, oauthreg.ErrConflict) {
		t.Errorf("a version to come: got %v, want ErrConflict", err)
	}
	if err := rename(1); err != nil {
		t.Errorf("the version there is: got %v", err)
	}
	if err := rename(1); !errors.Is(err, oauthreg.ErrConflict) {
		t.Errorf("the version before: got %v, want ErrConflict", err)
	}
	ref := oauthreg.ByID(id)
	secrets, err := f.Secrets(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(version int64) error{
		func(version int64) error { _, err := f.SuspendIfVersion(t.Context(), ref, version); return err },
		func(version int64) error { _, err := f.ResumeIfVersion(t.Context(), ref, version); return err },
		func(version int64) error {
			_, err := f.RotateSecret(t.Context(), ref, oauthreg.RotateOptions{Overlap: time.Hour, IfVersion: version})
			return err
		},
		func(version int64) error { return f.RevokeSecretIfVersion(t.Context(), ref, secrets[0].ID, version) },
	} {
		version := int64(2 + i)
		if err := change(version - 1); !errors.Is(err, oauthreg.ErrConflict) {
			t.Errorf("change %d of the version before: got %v, want ErrConflict", i, err)
		}
		if err := change(version); err != nil {
			t.Errorf("change %d of the version there is: got %v", i, err)
		}
	}
	if err := f.DeleteIfVersion(t.Context(), oauthreg.ByID(id), 5); !errors.Is(err, oauthreg.ErrConflict) {
		t.Errorf("deleting the version before: got %v, want ErrConflict", err)
	}
	if err := f.DeleteIfVersion(t.Context(), oauthreg.ByID(id), 6); err != nil {
		t.Errorf("deleting the version there is: got %v", err)
	}
}

// Of many who bind their change to the same version, one wins.
func TestUpdateConcurrentlyWithVersion(t *testing.T) {
	f := newRegistry(t)
	id := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{}).Client.ID
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			_, err := f.Update(t.Context(), oauthreg.ByID(id), oauthreg.UpdateOptions{IfVersion: 1}, func(c *oauthreg.Client) error {
				c.Name = fmt.Sprint("name ", i)
				return nil
			})
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, oauthreg.ErrConflict):
				t.Errorf("loser got %v, want ErrConflict", err)
			}
		})
	}
	wg.Wait()
	if n := won.Load(); n != 1 {
		t.Errorf("%d of 20 concurrent changes of version 1 were made, want 1", n)
	}
}

// Without a version, no change is lost that was reported as made.
func TestUpdateConcurrentlyWithoutVersion(t *testing.T) {
	f := newRegistry(t)
	c := webApp()
	c.Scopes = nil
	id := f.mustRegister(t, c, oauthreg.RegisterOptions{}).Client.ID
	var made atomic.Int32
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			_, err := f.Update(t.Context(), oauthreg.ByID(id), oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
				c.Scopes = append(c.Scopes, fmt.Sprint("scope", i))
				return nil
			})
			switch {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, oauthreg.ErrConflict):
				t.Errorf("got %v, want nil or ErrConflict", err)
			}
		})
	}
	wg.Wait()
	got, err := f.Get(t.Context(), oauthreg.ByID(id))
	if err != nil || len(got.Scopes) != int(made.Load()) || got.Version != int64(made.Load())+1 {
		t.Errorf("got %d scopes and version %d, %v, want as many as the %d changes made", len(got.Scopes), got.Version, err, made.Load())
	}
}

// Without a version, a change that someone else's overtook is made again on top.
func TestUpdateTriesAgain(t *testing.T) {
	f := newRegistry(t)
	ref := oauthreg.ByID(f.mustRegister(t, webApp(), oauthreg.RegisterOptions{}).Client.ID)
	runs := 0
	got, err := f.Update(t.Context(), ref, oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
		if runs++; runs == 1 {
			if _, err := f.Suspend(t.Context(), ref); err != nil {
				return err
			}
		}
		c.Name = "Other"
		return nil
	})
	if err != nil || runs != 2 || got.Version != 3 || !got.Suspended() || got.Name != "Other" {
		t.Errorf("got %+v, %v after %d runs, want both changes after 2", got, err, runs)
	}
}

func TestSuspendAndResume(t *testing.T) {
	f := newRegistry(t)
	id := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{}).Client.ID
	ref := oauthreg.ByID(id)
	for range 2 {
		c, err := f.Suspend(t.Context(), ref)
		if err != nil || !c.Suspended() || c.Version != 2 {
			t.Errorf("got suspended %v, version %d, %v, want true, 2", c.Suspended(), c.Version, err)
		}
	}
	for range 2 {
		c, err := f.Resume(t.Context(), ref)
		if err != nil || c.Suspended() || c.Version != 3 {
			t.Errorf("got suspended %v, version %d, %v, want false, 3", c.Suspended(), c.Version, err)
		}
	}
	want := []string{"client.registered", "client.suspended", "client.resumed"}
	if got := f.actions(t, id); !slices.Equal(got, want) {
		t.Errorf("got audit %q, want %q", got, want)
	}
}

func TestDelete(t *testing.T) {
	f := newRegistry(t)
	c := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{}).Client
	if err := f.Delete(t.Context(), oauthreg.ByClientID(c.ClientID)); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(t.Context(), oauthreg.ByClientID(c.ClientID)); !errors.Is(err, oauthreg.ErrNotFound) {
		t.Errorf("second time: got %v, want ErrNotFound", err)
	}
	records, err := f.Audit(t.Context(), oauthreg.AuditQuery{ClientID: c.ID, Action: "client.deleted"})
	if err != nil || len(records) != 1 || string(records[0].After) != "null" || !strings.Contains(string(records[0].Before), c.ClientID) {
		t.Errorf("got %s, %v, want what was deleted and null", records, err)
	}
}

func TestAuditTellsWhoAndNothingSecret(t *testing.T) {
	f := newRegistry(t)
	actor := oauthreg.Actor{Kind: "user", ID: "u-1", RequestID: "r-1", Address: "192.0.2.1"}
	ctx := oauthreg.WithActor(t.Context(), actor)
	c := webApp()
	c.OrgID, c.ProjectID = "org-1", "project-1"
	reg, err := f.Register(ctx, c, oauthreg.RegisterOptions{RegistrationToken: true})
	if err != nil {
		t.Fatal(err)
	}
	ref := oauthreg.ByID(reg.Client.ID)
	rotated, err := f.RotateSecret(ctx, ref, oauthreg.RotateOptions{Label: "second", Overlap: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	token, err := f.RotateRegistrationToken(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.RevokeSecret(ctx, ref, rotated.Info.ID); err != nil {
		t.Fatal(err)
	}

	records, err := f.Audit(t.Context(), oauthreg.AuditQuery{OrgID: "org-1", ProjectID: "project-1"})
	if err != nil {
		t.Fatal(err)
	}
	var actions []string
	all, err := json.Marshal(records)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		actions = append(actions, r.Action)
		if r.Actor != actor || r.ClientID != reg.Client.ID || r.OrgID != "org-1" || r.ProjectID != "project-1" || r.ID == "" || r.Time.IsZero() {
			t.Errorf("got %+v, want the actor, client, org and project", r)
		}
	}
	want := []string{"secret.revoked", "registration_token.rotated", "secret.created", "client.registered"}
	if !slices.Equal(actions, want) {
		t.Errorf("got %q, want %q", actions, want)
	}
	if string(records[3].Before) != "null" || !bytes.Contains(records[3].After, []byte(`"client_id"`)) {
		t.Errorf("got registration %s to %s, want null to the client", records[3].Before, records[3].After)
	}
	if !bytes.Contains(records[2].After, []byte(rotated.Info.ID)) {
		t.Errorf("got %s, want the secret's id", records[2].After)
	}
	for _, secret := range []string{reg.Secret, rotated.Secret, reg.RegistrationToken, token, "s1$", `"hash"`} {
		if bytes.Contains(all, []byte(secret)) {
			t.Errorf("the audit log has %q", secret)
		}
	}
}

func TestAuditPages(t *testing.T) {
	f := newRegistry(t)
	for range 5 {
		f.mustRegister(t, webApp(), oauthreg.RegisterOptions{})
	}
	var got []string
	q := oauthreg.AuditQuery{Limit: 2}
	for {
		records, err := f.Audit(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(records) == 0 {
			break
		}
		for _, r := range records {
			got = append(got, r.ID)
		}
		q.BeforeID = got[len(got)-1]
	}
	if len(got) != 5 || !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(b, a) }) {
		t.Errorf("got %q, want five ids, newest first", got)
	}
	for _, q := range []oauthreg.AuditQuery{{Limit: -1}, {Limit: 1001}, {BeforeID: "x"}, {Action: "a\x00"}} {
		var invalid *oauthreg.InvalidQueryError
		if _, err := f.Audit(t.Context(), q); !errors.As(err, &invalid) {
			t.Errorf("%+v: got %v, want an InvalidQueryError", q, err)
		}
	}
}

func TestRegistrationToken(t *testing.T) {
	f := newRegistry(t)
	reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{RegistrationToken: true})
	other := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{RegistrationToken: true})
	none := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{})
	record := func(c oauthreg.Client) oauthreg.Record {
		rec, err := f.Record(t.Context(), oauthreg.ByID(c.ID))
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	check := func(name string, c oauthreg.Client, token string, want bool) {
		t.Helper()
		if got := f.CheckRegistrationToken(record(c), token); got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	check("its own", reg.Client, reg.RegistrationToken, true)
	check("of another client", reg.Client, other.RegistrationToken, false)
	check("cut", reg.Client, reg.RegistrationToken[:len(reg.RegistrationToken)-1], false)
	check("empty", reg.Client, "", false)
	check("very long", reg.Client, strings.Repeat("a", 4096), false)
	check("client without one", none.Client, "", false)
	check("client without one, token of another", none.Client, reg.RegistrationToken, false)

	token, err := f.RotateRegistrationToken(t.Context(), oauthreg.ByID(reg.Client.ID))
	if err != nil {
		t.Fatal(err)
	}
	check("the new one", reg.Client, token, true)
	check("the old one", reg.Client, reg.RegistrationToken, false)
}

// A store that fails never looks like an unknown client.
func TestStoreFailureIsReported(t *testing.T) {
	f := newRegistry(t)
	reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{})
	down := fmt.Errorf("%w: down", oauthreg.ErrUnavailable)
	f.store.Fail(down)
	ref := oauthreg.ByID(reg.Client.ID)
	calls := map[string]error{}
	ctx := context.Background()
	_, calls["Register"] = f.Register(ctx, webApp(), oauthreg.RegisterOptions{})
	_, calls["Get"] = f.Get(ctx, ref)
	_, calls["List"] = f.List(ctx, oauthreg.ListQuery{})
	_, calls["Update"] = f.Update(ctx, ref, oauthreg.UpdateOptions{}, func(*oauthreg.Client) error { return nil })
	_, calls["Suspend"] = f.Suspend(ctx, ref)
	_, calls["Secrets"] = f.Secrets(ctx, ref)
	_, calls["RotateSecret"] = f.RotateSecret(ctx, ref, oauthreg.RotateOptions{})
	_, calls["Audit"] = f.Audit(ctx, oauthreg.AuditQuery{})
	_, calls["Ensure"] = f.Ensure(ctx, []oauthreg.Declaration{{Client: reg.Client}}, oauthreg.EnsureApply)
	calls["Delete"] = f.Delete(ctx, ref)
	for name, err := range calls {
		if !errors.Is(err, oauthreg.ErrUnavailable) || errors.Is(err, oauthreg.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrUnavailable", name, err)
		}
	}
}
