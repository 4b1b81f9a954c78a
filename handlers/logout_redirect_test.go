package handlers_test

import (
	"context"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Where the browser goes after a confirmed sign-out is decided when it is
// confirmed, against the registration as it is then.
func TestLogoutRedirectIsDecidedAnew(t *testing.T) {
	e := newEnv(t, envOptions{})
	for name, change := range map[string]func(reg oauthreg.Registration) error{
		"unchanged": func(oauthreg.Registration) error { return nil },
		"taken away": func(reg oauthreg.Registration) error {
			_, err := e.reg.Update(context.Background(), oauthreg.ByID(reg.Client.ID), oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
				c.PostLogoutRedirectURIs = []string{"https://elsewhere.example/bye"}
				return nil
			})
			return err
		},
		"suspended": func(reg oauthreg.Registration) error {
			_, err := e.reg.Suspend(context.Background(), oauthreg.ByID(reg.Client.ID))
			return err
		},
		"deleted": func(reg oauthreg.Registration) error {
			return e.reg.Delete(context.Background(), oauthreg.ByID(reg.Client.ID))
		},
	} {
		t.Run(name, func(t *testing.T) {
			reg := e.register(with(logoutClient(), func(c *oauthreg.Client) { c.Scopes = []string{"openid"} }))
			_, hint := signedIn(e, reg) // of alice
			b := e.browser()
			b.username, b.password = "bob", "builder"
			target, _ := e.authorizeURL(reg.Client.ClientID, "scope", "openid")
			b.walk(target)
			page := b.do("GET", e.logoutURL("id_token_hint", hint, "post_logout_redirect_uri", signedOutURI, "state", "s"), nil)
			if page.location != nil {
				t.Fatalf("the sign-out of somebody else was not asked about: %v", page.location)
			}
			if err := change(reg); err != nil {
				t.Fatal(err)
			}
			a := b.confirm(page)
			if went := a.location != nil; went != (name == "unchanged") || went && !strings.HasPrefix(a.location.String(), signedOutURI) {
				t.Errorf("got %d, location %v", a.status, a.location)
			}
		})
	}
}

// A place that could never be registered, written into the database past the
// registry, is not gone to.
func TestPlantedLogoutRedirect(t *testing.T) {
	e := newEnv(t, uncached)
	for _, planted := range []string{"javascript:alert(1)//", "data:text/html,x", "http://client.example/bye", "https://u@client.example/"} {
		reg := e.register(with(logoutClient(), func(c *oauthreg.Client) { c.Scopes = []string{"openid"} }))
		b, hint := signedIn(e, reg)
		e.exec("UPDATE oauthreg_clients SET data = replace(data, '" + signedOutURI + "', '" + planted + "'), revision = revision + 1 WHERE id = '" + reg.Client.ID + "'")
		c, err := e.reg.Get(context.Background(), oauthreg.ByID(reg.Client.ID))
		if err != nil || len(c.PostLogoutRedirectURIs) != 1 || c.PostLogoutRedirectURIs[0] != planted {
			t.Fatalf("it was not planted: %v, %v", c.PostLogoutRedirectURIs, err)
		}
		a := b.do("GET", e.logoutURL("id_token_hint", hint, "post_logout_redirect_uri", planted), nil)
		if a.header.Get("Location") != "" || strings.Contains(a.body, planted) {
			t.Errorf("%s: got %d, Location %q", planted, a.status, a.header.Get("Location"))
		}
	}
}
