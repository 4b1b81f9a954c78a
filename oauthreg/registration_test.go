package oauthreg_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func TestValidateSaysWhatRegisterWould(t *testing.T) {
	f := newRegistry(t)
	if err := f.Validate(webApp(), oauthreg.RegisterOptions{}); err != nil {
		t.Errorf("a valid client: %v", err)
	}
	bad := webApp()
	bad.Name, bad.RedirectURIs = "", []string{"http://app.example/"}
	opts := oauthreg.RegisterOptions{SecretHash: "x"}
	_, registered := f.Register(t.Context(), bad, opts)
	if got, want := problems(t, f.Validate(bad, opts)), problems(t, registered); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if page, err := f.List(t.Context(), oauthreg.ListQuery{}); err != nil || len(page.Clients) > 0 {
		t.Errorf("something was registered: %v, %v", page.Clients, err)
	}
}

func TestUpdateRegistration(t *testing.T) {
	f := newRegistry(t)
	reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{RegistrationToken: true})
	ref := oauthreg.ByID(reg.Client.ID)
	rename := func(name string) func(*oauthreg.Client) error {
		return func(c *oauthreg.Client) error { c.Name = name; return nil }
	}
	for _, token := range []string{"", "oar_wrong", reg.Secret} {
		if _, _, err := f.UpdateRegistration(t.Context(), ref, token, oauthreg.UpdateOptions{}, rename("x")); !errors.Is(err, oauthreg.ErrNotFound) {
			t.Errorf("token %q: got %v", token, err)
		}
	}
	// What is refused leaves the token as it is.
	_, _, err := f.UpdateRegistration(t.Context(), ref, reg.RegistrationToken, oauthreg.UpdateOptions{}, rename(""))
	if got := problems(t, err); !slices.Equal(got, []string{"client_name"}) {
		t.Errorf("got %q", got)
	}
	token := reg.RegistrationToken
	for i, name := range []string{"one", "one", "two"} { // a change of nothing counts
		c, next, err := f.UpdateRegistration(t.Context(), ref, token, oauthreg.UpdateOptions{}, rename(name))
		if err != nil || c.Name != name || c.Version != int64(i+2) || next == token {
			t.Fatalf("got %+v, %v", c, err)
		}
		rec, err := f.Record(t.Context(), ref)
		if err != nil || f.CheckRegistrationToken(rec, token) || !f.CheckRegistrationToken(rec, next) {
			t.Fatalf("the token was not replaced: %v", err)
		}
		token = next
	}
	want := []string{"client.registered", "client.updated", "registration_token.rotated", "client.updated"}
	if got := f.actions(t, reg.Client.ID); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Of updates at once with one token exactly one takes effect.
func TestUpdateRegistrationRace(t *testing.T) {
	f := newRegistry(t)
	reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{RegistrationToken: true})
	ref := oauthreg.ByID(reg.Client.ID)
	var winner atomic.Value
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			name := fmt.Sprintf("n%d", i)
			_, _, err := f.UpdateRegistration(t.Context(), ref, reg.RegistrationToken, oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error { c.Name = name; return nil })
			switch {
			case err == nil:
				won.Add(1)
				winner.Store(name)
			case !errors.Is(err, oauthreg.ErrNotFound):
				t.Errorf("loser got %v, want ErrNotFound", err)
			}
		})
	}
	wg.Wait()
	c, err := f.Get(t.Context(), ref)
	if won.Load() != 1 || err != nil || c.Name != winner.Load() {
		t.Errorf("%d won, the client is %q, %v, want what the winner said", won.Load(), c.Name, err)
	}
}
