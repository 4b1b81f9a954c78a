package handlers_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// What a stranger asks for is not stored before somebody has signed in for it, unless
// it is too long to go through the browser, or the sign-in is the host's.
func TestStrangersRequestsAreNotStored(t *testing.T) {
	for _, c := range []struct {
		name   string
		state  string
		host   bool
		stored bool
	}{
		{"short", "s", false, false},
		{"long", strings.Repeat("s", 2000), false, true},
		{"the host's sign-in", "s", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEnv(t, envOptions{config: func(cfg *handlers.Config) {
				if c.host {
					cfg.Users, cfg.SignIn = nil, hostSignIn{}
				}
			}})
			reg := e.register(webClient())
			before := e.rows(t)
			target, verifier := e.authorizeURL(reg.Client.ClientID, "state", c.state)
			b := e.browser()
			b.do(http.MethodGet, target, nil)
			if stored := e.rows(t) != before; stored != c.stored {
				t.Errorf("stored: %v, want %v", stored, c.stored)
			}
			if c.host {
				return
			}
			// It goes on as well from there.
			a := b.walk(target)
			if a.param("state") != c.state {
				t.Fatalf("got %d %v", a.status, a.location)
			}
			if got := e.redeem(reg, a.param("code"), verifier); got.status != http.StatusOK {
				t.Errorf("redeem: %d %s", got.status, got.body)
			}
		})
	}
}

// signInAt opens the sign-in page of a client and fills it in.
func (e *env) signInAt(client oauthreg.Client) (b *browser, form url.Values, target string, reg oauthreg.Registration) {
	reg = e.register(client)
	target, _ = e.authorizeURL(reg.Client.ClientID)
	b = e.browser()
	return b, fieldsWith(b.signInForm(target), "username", b.username, "password", b.password), target, reg
}

// A request that goes through the browser is answered once, however often the
// sign-in is sent, one after the other or at the same time.
func TestCarriedRequestIsAnsweredOnce(t *testing.T) {
	e := newEnv(t, envOptions{})
	client := webClient()
	client.FirstParty = true // there is no consent page between
	b, form, _, _ := e.signInAt(client)
	answers := make([]*answer, 8)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = b.do(http.MethodPost, e.issuer+"/login", form) })
	}
	wg.Wait()
	codes := 0
	for _, a := range append(answers, b.do(http.MethodPost, e.issuer+"/login", form)) {
		switch {
		case a.param("code") != "":
			codes++
		case a.status != http.StatusConflict || !strings.Contains(a.body, "answered"):
			t.Errorf("got %d\n%s", a.status, a.body)
		}
	}
	if codes != 1 {
		t.Errorf("%d codes were issued, want 1", codes)
	}
}

// Sending the sign-in again, as browsers do when somebody goes back, leads to the
// same decision, which is made once.
func TestSignInSentAgain(t *testing.T) {
	e := newEnv(t, envOptions{})
	b, form, target, _ := e.signInAt(webClient())
	first := b.do(http.MethodPost, e.issuer+"/login", form)
	again := b.do(http.MethodPost, e.issuer+"/login", form)
	if first.location == nil || again.location == nil || first.location.String() != again.location.String() {
		t.Fatalf("got %v and %v, want the same consent page", first.location, again.location)
	}
	if a := b.goOn(target, again); a.param("code") == "" {
		t.Errorf("got %d %v, want a code", a.status, a.location)
	}
	if a := b.do(http.MethodPost, e.issuer+"/login", form); a.status != http.StatusConflict {
		t.Errorf("after the decision: got %d, want 409", a.status)
	}
	// In another browser the page is nobody's.
	if a := e.browser().do(http.MethodPost, e.issuer+"/login", form); a.status != http.StatusForbidden {
		t.Errorf("in another browser: got %d, want 403", a.status)
	}
}

// A carried request is decided anew: what was taken from its client meanwhile counts.
func TestCarriedRequestOfChangedClient(t *testing.T) {
	e := newEnv(t, envOptions{})
	b, form, _, reg := e.signInAt(webClient())
	ref := oauthreg.ByID(reg.Client.ID)
	if _, err := e.reg.Suspend(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if a := b.do(http.MethodPost, e.issuer+"/login", form); a.status != http.StatusBadRequest || a.location != nil {
		t.Errorf("suspended: got %d %v, want 400", a.status, a.location)
	}
	if err := e.reg.Delete(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if a := b.do(http.MethodPost, e.issuer+"/login", form); a.status != http.StatusBadRequest || a.location != nil {
		t.Errorf("deleted: got %d %v, want 400", a.status, a.location)
	}
}
