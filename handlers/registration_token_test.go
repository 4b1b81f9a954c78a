package handlers_test

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

func newTokenBook(t testing.TB, now func() time.Time) *handlers.InitialAccessTokenIssuer {
	t.Helper()
	book, err := handlers.NewInitialAccessTokens(handlers.InitialAccessTokensConfig{Key: testSecret, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return book
}

func issueToken(t testing.TB, book *handlers.InitialAccessTokenIssuer, opts handlers.InitialAccessTokenOptions) string {
	t.Helper()
	token, _, err := book.Issue(context.Background(), opts)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func initialAccessTokens(t *testing.T) {
	clock := newClock()
	book := newTokenBook(t, clock.Now)
	e := registrationEnv(t, envOptions{clock: clock}, func(c *handlers.RegistrationConfig) {
		c.Mode, c.InitialTokens = handlers.RegistrationByToken, book
		c.OrgID, c.ProjectID, c.UserID = "org-1", "project-1", "user-1"
	})
	try := func(token, body string) *tokenAnswer {
		return e.sendJSON(http.MethodPost, "/oauth/register", token, body)
	}

	t.Run("count", func(t *testing.T) {
		token := issueToken(t, book, handlers.InitialAccessTokenOptions{Uses: 2})
		for _, want := range []int{201, 201, 401, 401} {
			if a := try(token, `{`+redirects+`}`); a.status != want {
				t.Errorf("got %d %s, want %d", a.status, a.raw, want)
			}
		}
	})
	t.Run("a refused registration costs nothing", func(t *testing.T) {
		token := issueToken(t, book, handlers.InitialAccessTokenOptions{})
		try(token, `{}`).wantError(t, 400, "invalid_redirect_uri")
		try(token, `{"scope":"nonsense",`+redirects+`}`).wantError(t, 400, "invalid_client_metadata")
		if a := try(token, `{`+redirects+`}`); a.status != 201 {
			t.Errorf("got %d %s", a.status, a.raw)
		}
		try(token, `{`+redirects+`}`).wantError(t, 401, "invalid_token")
	})
	t.Run("expiry", func(t *testing.T) {
		token := issueToken(t, book, handlers.InitialAccessTokenOptions{Uses: -1, Lifetime: time.Hour})
		if a := try(token, `{`+redirects+`}`); a.status != 201 {
			t.Errorf("got %d %s", a.status, a.raw)
		}
		clock.add(time.Hour)
		try(token, `{`+redirects+`}`).wantError(t, 401, "invalid_token")
	})
	t.Run("revocation", func(t *testing.T) {
		token, info, err := book.Issue(context.Background(), handlers.InitialAccessTokenOptions{Uses: -1})
		if err != nil {
			t.Fatal(err)
		}
		if err := book.Revoke(context.Background(), info.ID); err != nil {
			t.Fatal(err)
		}
		try(token, `{`+redirects+`}`).wantError(t, 401, "invalid_token")
	})
	t.Run("ceiling", func(t *testing.T) {
		token := issueToken(t, book, handlers.InitialAccessTokenOptions{Uses: -1, Ceiling: handlers.RegistrationCeiling{
			Name: "robots", Scopes: []string{"read", "admin"}, GrantTypes: []string{oauthreg.GrantClientCredentials}, OrgID: "org-2", ProjectID: "project-2",
		}})
		for body, fields := range map[string]string{
			`{"grant_types":["authorization_code"],` + redirects + `}`:            "grant_types",
			`{"grant_types":["client_credentials"],"scope":"read write"}`:         "scope",
			`{"grant_types":["client_credentials"],"scope":"openid"}`:             "scope",
			`{"token_endpoint_auth_method":"none","scope":"write"}`:               "grant_types scope",
			`{"grant_types":["client_credentials","implicit"],` + redirects + `}`: "grant_types response_types",
		} {
			a := try(token, body)
			a.wantError(t, 400, "invalid_client_metadata")
			if got := strings.Join(a.invalidFields(), " "); got != fields && !(strings.Contains(body, "implicit") && got == "grant_types") {
				t.Errorf("%s: got %q, want %q", body, got, fields)
			}
		}
		a := try(token, `{}`) // the only grant there is, and all scopes
		if a.status != 201 || a.str("scope") != "read admin" || !reflect.DeepEqual(a.list("grant_types"), []string{"client_credentials"}) || len(a.list("response_types")) != 0 {
			t.Fatalf("got %d %s", a.status, a.raw)
		}
		reg := e.registration(a)
		if c := reg.Client; c.OrgID != "org-2" || c.ProjectID != "project-2" || c.UserID != "user-1" || c.SelfRegistered {
			t.Errorf("stored: %+v", c)
		}
		if got := e.tokenRequest(reg, "grant_type", "client_credentials", "scope", "read"); got.status != 200 {
			t.Errorf("token: %d %s", got.status, got.raw)
		}

		// An update does not get beyond it.
		path := "/oauth/register/" + a.str("client_id")
		put := func(members string) *tokenAnswer {
			return e.sendJSON(http.MethodPut, path, reg.RegistrationToken, `{"client_id":"`+a.str("client_id")+`",`+members+`}`)
		}
		put(`"grant_types":["client_credentials","authorization_code"],`+redirects).wantError(t, 400, "invalid_client_metadata")
		put(`"grant_types":["client_credentials"],"scope":"read write"`).wantError(t, 400, "invalid_client_metadata")
		if got := put(`"scope":"read"`); got.status != 200 || got.str("scope") != "read" || !reflect.DeepEqual(got.list("grant_types"), []string{"client_credentials"}) {
			t.Errorf("update: %d %s", got.status, got.raw)
		} else {
			reg.RegistrationToken = got.str("registration_access_token")
		}
		put(`"scope":"read admin"`).wantError(t, 400, "invalid_client_metadata")
	})
	t.Run("owner of the others", func(t *testing.T) {
		token := issueToken(t, book, handlers.InitialAccessTokenOptions{})
		c := e.registration(e.registerByHTTP(`{`+redirects+`}`, token)).Client
		if c.OrgID != "org-1" || c.ProjectID != "project-1" || c.UserID != "user-1" {
			t.Errorf("stored: %+v", c)
		}
	})
	t.Run("the list has no credentials", func(t *testing.T) {
		list, err := book.List(context.Background(), 0, 100)
		if err != nil || len(list) == 0 {
			t.Fatal(list, err)
		}
		for _, item := range list {
			if item.Digest != nil {
				t.Error("a digest is shown")
			}
		}
	})
}

// Of any number of uses at once of a token for one client, exactly one works;
// with tokens in the database also across processes.
func TestInitialAccessTokenRace(t *testing.T) {
	t.Run("in memory", func(t *testing.T) {
		book := newTokenBook(t, nil)
		e := byTokenEnv(t, envOptions{}, book)
		raceForOneToken(t, issueToken(t, book, handlers.InitialAccessTokenOptions{}), e)
	})
	t.Run("in the database", func(t *testing.T) {
		file := newEnv(t, envOptions{}).file
		var nodes []*env
		var books []*handlers.InitialAccessTokenIssuer
		for range 2 {
			node := newEnv(t, envOptions{file: file})
			book, err := handlers.NewInitialAccessTokens(handlers.InitialAccessTokensConfig{Key: testSecret, Store: node.store})
			if err != nil {
				t.Fatal(err)
			}
			books = append(books, book)
			nodes = append(nodes, byTokenEnv(t, envOptions{file: file}, book))
		}
		raceForOneToken(t, issueToken(t, books[0], handlers.InitialAccessTokenOptions{}), nodes...)
	})
}

func byTokenEnv(t testing.TB, opts envOptions, book handlers.InitialAccessTokens) *env {
	t.Helper()
	return registrationEnv(t, opts, func(c *handlers.RegistrationConfig) {
		c.Mode, c.InitialTokens = handlers.RegistrationByToken, book
	})
}

func raceForOneToken(t *testing.T, token string, nodes ...*env) {
	const callers = 50
	raced(callers)
	var won, lost atomic.Int32
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			switch a := nodes[i%len(nodes)].sendJSON(http.MethodPost, "/oauth/register", token, `{`+redirects+`}`); a.status {
			case 201:
				won.Add(1)
			case 401:
				lost.Add(1)
			default:
				t.Errorf("got %d %s", a.status, a.raw)
			}
		})
	}
	wg.Wait()
	if n := nodes[0].clientCount(); won.Load() != 1 || lost.Load() != callers-1 || n != 1 {
		t.Errorf("%d won, %d lost, %d clients; want 1, %d, 1", won.Load(), lost.Load(), n, callers-1)
	}
}
