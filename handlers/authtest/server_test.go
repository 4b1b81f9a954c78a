package authtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/handlers/authtest"
	"github.com/oauthreg/oauthreg/handlers/bearer"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// flow walks the code flow of a client with x/oauth2.
func flow(t *testing.T, srv *authtest.Server, conf *oauth2.Config, b *authtest.Browser) *oauth2.Token {
	t.Helper()
	verifier := oauth2.GenerateVerifier()
	cb := b.Authorize(conf.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	if err := cb.Err(); err != nil {
		t.Fatal(err)
	}
	token, err := conf.Exchange(srv.Context(t.Context()), cb.Code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// Every way to set the server up gives one that x/oauth2 and go-oidc work with.
func TestFlows(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		opts   []authtest.Option
		client string
		scheme string
		path   string
	}{
		{"confidential client", nil, authtest.App, "http://", ""},
		{"public client", nil, authtest.CLI, "http://", ""},
		{"issuer with a path", []authtest.Option{authtest.WithIssuerPath("/tenants/one")}, authtest.App, "http://", "/tenants/one"},
		{"TLS", []authtest.Option{authtest.WithTLS()}, authtest.App, "https://", ""},
		{"TLS and a path, JWT access tokens", []authtest.Option{authtest.WithTLS(), authtest.WithIssuerPath("/a"), authtest.WithJWTAccessTokens()}, authtest.App, "https://", "/a"},
		{"a clock that stands", []authtest.Option{authtest.WithTime(time.Now())}, authtest.App, "http://", ""},
		{"a client of one's own", []authtest.Option{authtest.WithDeclaration(oauthreg.Declaration{
			Client: oauthreg.Client{ClientID: "mine", RedirectURIs: []string{"https://mine.example/cb"}, TokenEndpointAuthMethod: oauthreg.AuthClientSecretPost},
			Secret: "a secret of thirty-two characters or more",
		})}, "mine", "http://", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := authtest.NewServer(t, tt.opts...)
			if !strings.HasPrefix(srv.Issuer, tt.scheme+"127.0.0.1:") || srv.Issuer != srv.URL+tt.path {
				t.Errorf("issuer %s", srv.Issuer)
			}
			ctx := srv.Context(t.Context())
			provider, err := oidc.NewProvider(ctx, srv.Issuer)
			if err != nil {
				t.Fatal(err)
			}
			conf := srv.OAuth2Config(tt.client)
			if got := provider.Endpoint(); got.AuthURL != conf.Endpoint.AuthURL || got.TokenURL != conf.Endpoint.TokenURL {
				t.Errorf("Endpoint %+v, metadata has %+v", conf.Endpoint, got)
			}
			b := srv.Browser()
			token := flow(t, srv, conf, b)
			raw, _ := token.Extra("id_token").(string)
			id, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: tt.client, Now: srv.Now}).Verify(ctx, raw)
			if err != nil {
				t.Fatal(err)
			}
			info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
			if err != nil {
				t.Fatal(err)
			}
			if id.Subject != "alice" || info.Subject != "alice" || info.Email != "alice@example.com" {
				t.Errorf("got %q, %+v", id.Subject, info)
			}
			token.Expiry = time.Now().Add(-time.Minute)
			fresh, err := conf.TokenSource(ctx, token).Token()
			if err != nil || fresh.AccessToken == token.AccessToken {
				t.Errorf("refresh: %v", err)
			}
			// Who is signed in and has consented sees no page.
			again := b.Authorize(conf.AuthCodeURL("again", oauth2.S256ChallengeOption(oauth2.GenerateVerifier())))
			if again.Code == "" || again.SignedIn || again.Consented || again.State != "again" || again.Issuer != srv.Issuer {
				t.Errorf("second time: %+v", again)
			}
		})
	}
}

func TestBrowser(t *testing.T) {
	t.Parallel()
	srv := authtest.NewServer(t, authtest.WithUser(authtest.User{Username: "alice"}),
		authtest.WithUser(authtest.User{Username: "bob", Subject: "user-2", Password: "b", Claims: map[string]any{"name": "Bob"}}))
	conf := srv.OAuth2Config("app")
	challenge := oauth2.S256ChallengeOption(oauth2.GenerateVerifier())

	t.Run("denies", func(t *testing.T) {
		b := srv.Browser()
		b.Deny = true
		cb := b.Authorize(conf.AuthCodeURL("s", challenge))
		if cb.Error != "access_denied" || cb.Code != "" || cb.State != "s" || cb.Err() == nil || !cb.Consented {
			t.Errorf("got %+v", cb)
		}
	})
	t.Run("gets the error that the client gets", func(t *testing.T) {
		cb := srv.Browser().Authorize(conf.AuthCodeURL("s", challenge, oauth2.SetAuthURLParam("scope", "nonsense")))
		if cb.Error != "invalid_scope" || cb.ErrorDescription == "" {
			t.Errorf("got %+v", cb)
		}
	})
	t.Run("form_post", func(t *testing.T) {
		cb := srv.Browser().Authorize(conf.AuthCodeURL("s", challenge, oauth2.SetAuthURLParam("response_mode", "form_post")))
		if cb.Code == "" || cb.State != "s" || cb.URL.RawQuery != "" || cb.URL.String() != conf.RedirectURL {
			t.Errorf("got %+v", cb)
		}
	})
	t.Run("is somebody else", func(t *testing.T) {
		token := flow(t, srv, conf, srv.BrowserAs("bob"))
		got, err := srv.Handler.Verifier().Verify(t.Context(), token.AccessToken)
		if err != nil || got.Subject != "user-2" {
			t.Errorf("got %+v, %v", got, err)
		}
	})
	t.Run("an error page is an error", func(t *testing.T) {
		target := conf.AuthCodeURL("s", challenge, oauth2.SetAuthURLParam("redirect_uri", "https://evil.example/"))
		if p := srv.Browser().Visit(target); p.Status != http.StatusBadRequest {
			t.Errorf("got %d", p.Status)
		}
		if err := srv.Browser().Open(target); err == nil || !strings.Contains(err.Error(), "400") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a wrong password ends the walk", func(t *testing.T) {
		b := srv.Browser()
		b.Password = "wrong"
		if err := b.Open(conf.AuthCodeURL("s", challenge)); err == nil || !strings.Contains(err.Error(), "sign in") {
			t.Errorf("got %v", err)
		}
	})
}

// A client with pages of its own is walked through as well: it starts at its
// own page, and ends there.
func TestBrowserVisitsTheClient(t *testing.T) {
	t.Parallel()
	srv := authtest.NewServer(t)
	conf := srv.OAuth2Config(authtest.App)
	verifier := oauth2.GenerateVerifier()
	mux := http.NewServeMux()
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "flow", Value: "s1"})
		http.Redirect(w, r, conf.AuthCodeURL("s1", oauth2.S256ChallengeOption(verifier)), http.StatusFound)
	})
	mux.HandleFunc("/callback", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("flow"); err != nil || c.Value != r.FormValue("state") {
			http.Error(w, "state", http.StatusBadRequest)
			return
		}
		if _, err := conf.Exchange(r.Context(), r.FormValue("code"), oauth2.VerifierOption(verifier)); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		http.Redirect(w, r, "/home", http.StatusFound)
	})
	mux.HandleFunc("/home", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "welcome") })
	app := httptest.NewServer(mux)
	defer app.Close()
	conf.RedirectURL = app.URL + "/callback" // any port of loopback will do

	page := srv.Browser().Visit(app.URL + "/login")
	if page.Body != "welcome" || page.URL.String() != app.URL+"/home" || !page.SignedIn || !page.Consented {
		t.Errorf("got %+v", page)
	}
	if cb := srv.Browser().Authorize(app.URL + "/login"); cb.Code == "" || cb.URL.Host != strings.TrimPrefix(app.URL, "http://") {
		t.Errorf("got %+v", cb)
	}
	if err := srv.Browser().Open(app.URL + "/login"); err != nil {
		t.Error(err)
	}
}

func TestMint(t *testing.T) {
	t.Parallel()
	const api = "https://api.example/v1"
	srv := authtest.NewServer(t, authtest.WithResource(api), authtest.WithScopes("invoices"))
	ctx := srv.Context(t.Context())

	tokens := srv.Mint(authtest.Grant{Client: authtest.App, Scopes: []string{"openid", "invoices"}, Resources: []string{api}, Nonce: "n"})
	if !slices.Equal(tokens.Scopes, []string{"openid", "invoices"}) || tokens.Extra("scope") != "openid invoices" || tokens.Extra("id_token") != tokens.IDToken || !tokens.Valid() {
		t.Errorf("got %+v", tokens)
	}
	provider, err := oidc.NewProvider(ctx, srv.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	id, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: authtest.App}).Verify(ctx, tokens.IDToken)
	if err != nil || id.Nonce != "n" || id.VerifyAccessToken(tokens.AccessToken) != nil {
		t.Errorf("ID token %+v: %v", id, err)
	}
	old := *tokens.Token
	old.Expiry = time.Now().Add(-time.Hour)
	if fresh, err := srv.OAuth2Config(authtest.App).TokenSource(ctx, &old).Token(); err != nil || fresh.RefreshToken == tokens.RefreshToken {
		t.Errorf("refresh: %v", err)
	}
	verifier, err := bearer.NewIntrospection(srv.IntrospectionConfig(api))
	if err != nil {
		t.Fatal(err)
	}
	got, err := verifier.Verify(ctx, tokens.AccessToken)
	if err != nil || got.Subject != "alice" || !got.HasAudience(api) || !got.HasScope("invoices") {
		t.Errorf("introspection: %+v, %v", got, err)
	}

	service := srv.Mint(authtest.Grant{Client: authtest.Service, Scopes: []string{"read"}})
	if service.RefreshToken != "" || service.IDToken != "" || service.GrantID != "" {
		t.Errorf("a client for itself got %+v", service)
	}
	if got, err := srv.Handler.Verifier().Verify(ctx, service.AccessToken); err != nil || got.Subject != authtest.Service {
		t.Errorf("got %+v, %v", got, err)
	}
	if token, err := srv.ClientCredentialsConfig(authtest.Service).Token(ctx); err != nil || token.AccessToken == "" {
		t.Errorf("client credentials: %v", err)
	}
}

// The registration holds for minted tokens as well.
func TestMintRefuses(t *testing.T) {
	t.Parallel()
	srv := authtest.NewServer(t, authtest.WithClient(oauthreg.Client{ClientID: "c", RedirectURIs: []string{"https://c.example/cb"}, Scopes: []string{"read"}}))
	for name, g := range map[string]handlers.Issuance{
		"scope":    {ClientID: "c", Login: &oauthreg.Login{Subject: "alice"}, Scopes: []string{"write"}},
		"resource": {ClientID: "c", Login: &oauthreg.Login{Subject: "alice"}, Resources: []string{"https://other.example"}},
		"grant":    {ClientID: "c"},
		"user":     {ClientID: "c", Login: &oauthreg.Login{Subject: "nobody"}},
		"client":   {ClientID: "unknown"},
	} {
		if got, err := srv.Handler.Issue(t.Context(), g); err == nil {
			t.Errorf("%s: got %+v", name, got)
		}
	}
	srv.Suspend("c")
	if _, err := srv.Handler.Issue(t.Context(), handlers.Issuance{ClientID: "c", Login: &oauthreg.Login{Subject: "alice"}}); err == nil {
		t.Error("issued for a suspended client")
	}
	if grants, n, err := srv.Store.ListGrants(t.Context(), oauthreg.GrantFilter{Subject: "alice"}, 0, 10); err != nil || n != 0 {
		t.Errorf("something was stored: %+v, %v", grants, err)
	}
}

func TestAdvance(t *testing.T) {
	t.Parallel()
	srv := authtest.NewServer(t, authtest.WithJWTAccessTokens())
	verify := srv.Handler.Verifier()
	jwt, err := bearer.NewJWT(srv.JWTConfig())
	if err != nil {
		t.Fatal(err)
	}
	tokens := srv.Mint(authtest.Grant{})
	for _, v := range []bearer.Verifier{verify, jwt} {
		if _, err := v.Verify(t.Context(), tokens.AccessToken); err != nil {
			t.Errorf("before: %v", err)
		}
	}
	srv.Advance(2 * time.Hour)
	for _, v := range []bearer.Verifier{verify, jwt} {
		if _, err := v.Verify(t.Context(), tokens.AccessToken); !errors.Is(err, bearer.ErrInvalidToken) {
			t.Errorf("after: %v", err)
		}
	}
	// Keys do not expire with it, and a server in the past signs too.
	for _, d := range []time.Duration{10 * 365 * 24 * time.Hour, -20 * 365 * 24 * time.Hour} {
		srv.Advance(d)
		tokens := srv.Mint(authtest.Grant{})
		if _, err := jwt.Verify(t.Context(), tokens.AccessToken); err != nil {
			t.Errorf("at %v: %v", srv.Now(), err)
		}
	}
	fixed := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	still := authtest.NewServer(t, authtest.WithTime(fixed))
	still.Advance(time.Minute)
	if got := still.Now(); !got.Equal(fixed.Add(time.Minute)) {
		t.Errorf("the clock did not stand: %v", got)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	srv := authtest.NewServer(t)
	token := func() (*oauth2.Token, error) {
		return srv.ClientCredentialsConfig(authtest.Service).Token(srv.Context(t.Context()))
	}
	for name, tt := range map[string]struct {
		failure authtest.Failure
		status  int // 0: no answer
		code    string
	}{
		"down":          {authtest.Down(), 0, ""},
		"proxy":         {authtest.Status(http.StatusBadGateway), 502, ""},
		"invalid_grant": {authtest.OAuthError("invalid_grant", "no"), 400, "invalid_grant"},
		"unavailable":   {authtest.OAuthError("temporarily_unavailable", ""), 503, "temporarily_unavailable"},
		"client":        {authtest.OAuthError("invalid_client", ""), 401, "invalid_client"},
		"limited":       {authtest.RateLimited(1500 * time.Millisecond), 429, ""},
	} {
		heal := srv.Fail(authtest.TokenEndpoint, tt.failure)
		_, err := token()
		var answer *oauth2.RetrieveError
		switch {
		case err == nil:
			t.Errorf("%s: no error", name)
		case tt.status == 0:
			if errors.As(err, &answer) {
				t.Errorf("%s: there was an answer: %v", name, err)
			}
		case !errors.As(err, &answer) || answer.Response.StatusCode != tt.status || answer.ErrorCode != tt.code:
			t.Errorf("%s: got %v", name, err)
		case tt.status == 429 && answer.Response.Header.Get("Retry-After") != "2":
			t.Errorf("%s: Retry-After %q", name, answer.Response.Header.Get("Retry-After"))
		}
		heal()
		heal()
		if _, err := token(); err != nil {
			t.Errorf("%s: healed: %v", name, err)
		}
	}

	srv.Fail(authtest.TokenEndpoint, authtest.OAuthError("server_error", "").Times(2))
	for i, wantErr := range []bool{true, true, false} {
		if _, err := token(); (err != nil) != wantErr {
			t.Errorf("request %d: %v", i, err)
		}
	}

	heal := srv.Fail(authtest.AnyEndpoint, authtest.Answer(http.StatusOK, "application/json", `{"issuer":"https://evil.example"}`))
	if _, err := oidc.NewProvider(t.Context(), srv.Issuer); err == nil || !strings.Contains(err.Error(), "evil.example") {
		t.Errorf("metadata of another issuer: %v", err)
	}
	heal()

	// Slow: a client with a timeout gives up, one without gets its answer.
	heal = srv.Fail(authtest.TokenEndpoint, authtest.Slow(time.Hour))
	ctx, cancel := context.WithTimeout(srv.Context(t.Context()), 50*time.Millisecond)
	defer cancel()
	if _, err := srv.ClientCredentialsConfig(authtest.Service).Token(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("slow: %v", err)
	}
	heal()
	srv.Fail(authtest.TokenEndpoint, authtest.Slow(time.Millisecond))
	if _, err := token(); err != nil {
		t.Errorf("a little slow: %v", err)
	}
}

// A server that is slow does not hold up the end of a test.
func TestCloseWhileSlow(t *testing.T) {
	t.Parallel()
	srv := authtest.Start()
	srv.Fail(authtest.AnyEndpoint, authtest.Slow(time.Hour))
	done, sent := make(chan error), make(chan struct{})
	go func() {
		ctx := httptrace.WithClientTrace(context.Background(), &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { close(sent) }})
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.Issuer+"/healthz", http.NoBody)
		if err == nil {
			_, err = srv.Client().Do(req)
		}
		done <- err
	}()
	<-sent
	srv.Close()
	srv.Close()
	if err := <-done; err == nil {
		t.Error("there was an answer")
	}
}

func TestTakingAway(t *testing.T) {
	t.Parallel()
	srv := authtest.NewServer(t)
	works := func(token authtest.Tokens) bool {
		t.Helper()
		_, err := srv.Handler.Verifier().Verify(t.Context(), token.AccessToken)
		if err != nil && !errors.Is(err, bearer.ErrInvalidToken) {
			t.Fatal(err)
		}
		return err == nil
	}
	refreshes := func(token authtest.Tokens) bool {
		old := *token.Token
		old.Expiry = time.Now().Add(-time.Hour)
		_, err := srv.OAuth2Config(authtest.App).TokenSource(t.Context(), &old).Token()
		return err == nil
	}
	mint := func() authtest.Tokens { return srv.Mint(authtest.Grant{Client: authtest.App}) }

	token := mint()
	srv.Revoke(token.AccessToken)
	if works(token) || !refreshes(token) {
		t.Error("an access token that was revoked works, or its refresh token does not")
	}
	token = mint()
	srv.Revoke(token.RefreshToken)
	if works(token) || refreshes(token) {
		t.Error("a grant that was revoked works")
	}
	token = mint()
	if n := srv.RevokeGrants(authtest.App, "alice"); n != 1 || works(token) {
		t.Errorf("%d consents were revoked, token works: %v", n, works(token))
	}
	token = mint()
	srv.Suspend(authtest.App)
	if works(token) || refreshes(token) {
		t.Error("a suspended client's token works")
	}
	srv.Resume(authtest.App)
	if !works(token) {
		t.Error("a resumed client's token does not work")
	}
	srv.DisableUser("alice")
	if works(token) || refreshes(token) || srv.Browser().Open(srv.Issuer+"/account") == nil {
		t.Error("a disabled user's token works")
	}
	srv.EnableUser("alice")
	if !works(token) || !refreshes(token) {
		t.Error("an enabled user's token does not work")
	}
	srv.Delete(authtest.App)
	if works(token) {
		t.Error("a deleted client's token works")
	}
}

func TestKeys(t *testing.T) {
	t.Parallel()
	srv := authtest.NewServer(t, authtest.WithJWTAccessTokens())
	remote := func() *oidc.IDTokenVerifier { // one that has seen no keys yet
		return oidc.NewVerifier(srv.Issuer, oidc.NewRemoteKeySet(t.Context(), srv.Issuer+string(authtest.JWKSEndpoint)), &oidc.Config{ClientID: authtest.App})
	}
	first := srv.Mint(authtest.Grant{}).IDToken
	srv.RotateKeys()
	second := srv.Mint(authtest.Grant{}).IDToken
	for i, id := range []string{first, second} {
		if _, err := remote().Verify(t.Context(), id); err != nil {
			t.Errorf("after rotation, token %d: %v", i, err)
		}
	}
	srv.ReplaceKeys()
	for i, id := range []string{first, second} {
		if _, err := remote().Verify(t.Context(), id); err == nil {
			t.Errorf("after replacement, token %d still verifies", i)
		}
	}
	if _, err := remote().Verify(t.Context(), srv.Mint(authtest.Grant{}).IDToken); err != nil {
		t.Error(err)
	}
	heal := srv.Fail(authtest.JWKSEndpoint, authtest.Down())
	if _, err := remote().Verify(t.Context(), srv.Mint(authtest.Grant{}).IDToken); err == nil {
		t.Error("verified without keys")
	}
	heal()

	// A token that the server would never issue.
	forged := srv.Sign("RS256", "JWT", map[string]any{"iss": srv.Issuer, "aud": authtest.App, "sub": "root", "exp": srv.Now().Add(time.Hour).Unix()})
	if id, err := remote().Verify(t.Context(), forged); err != nil || id.Subject != "root" {
		t.Errorf("got %+v, %v", id, err)
	}
	jwt, err := bearer.NewJWT(srv.JWTConfig())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jwt.Verify(t.Context(), forged); !errors.Is(err, bearer.ErrInvalidToken) { // no at+jwt (RFC 9068 §4)
		t.Errorf("an ID token passed for an access token: %v", err)
	}
}

func TestRequests(t *testing.T) {
	t.Parallel()
	srv := authtest.NewServer(t)
	flow(t, srv, srv.OAuth2Config(authtest.App), srv.Browser())
	authorize, token := srv.Requests(authtest.AuthorizeEndpoint), srv.Requests(authtest.TokenEndpoint)
	if len(authorize) != 1 || len(token) != 1 {
		t.Fatalf("%d and %d requests", len(authorize), len(token))
	}
	if q := authorize[0].URL.Query(); q.Get("code_challenge_method") != "S256" || authorize[0].Status != http.StatusOK {
		t.Errorf("got %+v", authorize[0])
	}
	r := token[0]
	user, _, _ := (&http.Request{Header: r.Header}).BasicAuth()
	if r.Form.Get("code_verifier") == "" || r.Status != http.StatusOK || user != authtest.App || len(r.Body) == 0 {
		t.Errorf("got %+v", r)
	}
	if all := srv.Requests(); len(all) <= 2 || len(srv.Requests(authtest.AnyEndpoint)) != len(all) {
		t.Errorf("%d requests in all", len(all))
	}
}

// A client that registers itself, as RFC 7591 has it.
func TestDynamicRegistration(t *testing.T) {
	t.Parallel()
	srv := authtest.NewServer(t)
	resp, err := srv.Client().Post(srv.Issuer+string(authtest.RegistrationEndpoint), "application/json",
		strings.NewReader(`{"client_name":"x","redirect_uris":["http://127.0.0.1/callback"],"token_endpoint_auth_method":"none"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Errorf("got %d", resp.StatusCode)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]authtest.Option{
		"path without slash": authtest.WithIssuerPath("tenant"),
		"path with slash":    authtest.WithIssuerPath("/tenant/"),
		"nameless user":      authtest.WithUser(authtest.User{}),
		"illegal client":     authtest.WithClient(oauthreg.Client{ClientID: "c", RedirectURIs: []string{"http://example.com/cb"}}),
		"illegal resource":   authtest.WithResource("not a URI"),
	} {
		func() {
			defer func() {
				if p := recover(); p == nil {
					t.Errorf("%s: accepted", name)
				}
			}()
			authtest.Start(opt).Close()
		}()
	}
}

// Servers do not know of each other, however many there are.
func TestParallelServers(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	for i := range 16 {
		wg.Go(func() {
			srv := authtest.Start(authtest.WithUser(authtest.User{Username: fmt.Sprintf("user-%d", i)}))
			defer srv.Close()
			conf := srv.OAuth2Config(authtest.App)
			verifier := oauth2.GenerateVerifier()
			cb := srv.Browser().Authorize(conf.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)))
			token, err := conf.Exchange(t.Context(), cb.Code, oauth2.VerifierOption(verifier))
			if err != nil {
				errs <- err
				return
			}
			got, err := srv.Handler.Verifier().Verify(t.Context(), token.AccessToken)
			if err != nil || got.Subject != fmt.Sprintf("user-%d", i) {
				errs <- fmt.Errorf("server %d: %+v, %w", i, got, err)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
	a, b := authtest.NewServer(t), authtest.NewServer(t)
	if _, err := b.Handler.Verifier().Verify(t.Context(), a.Mint(authtest.Grant{}).AccessToken); !errors.Is(err, bearer.ErrInvalidToken) {
		t.Errorf("a token of another server: %v", err)
	}
}

func BenchmarkNewServer(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		authtest.NewServer(b).Close()
	}
}

// BenchmarkFlow is a server and a whole code flow: what a test costs.
func BenchmarkFlow(b *testing.B) {
	for b.Loop() {
		srv := authtest.NewServer(b)
		conf := srv.OAuth2Config(authtest.App)
		verifier := oauth2.GenerateVerifier()
		cb := srv.Browser().Authorize(conf.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)))
		if _, err := conf.Exchange(b.Context(), cb.Code, oauth2.VerifierOption(verifier)); err != nil {
			b.Fatal(err)
		}
		srv.Close()
	}
}

func TestEvents(t *testing.T) {
	t.Parallel()
	var heard atomic.Int32 // by a function of the test's own
	srv := authtest.NewServer(t, authtest.WithConfig(func(c *handlers.Config) {
		c.Events = func(context.Context, oauthreg.Event) { heard.Add(1) }
	}))
	if got := srv.Events(); len(got) != 0 {
		t.Errorf("before anything happened: %+v", got)
	}
	conf := srv.OAuth2Config(authtest.App)
	token := flow(t, srv, conf, srv.Browser())
	types := func() (out []oauthreg.EventType) {
		for _, e := range srv.Events() {
			out = append(out, e.Type)
		}
		return out
	}
	if got, want := types(), []oauthreg.EventType{
		oauthreg.EventSignedIn, oauthreg.EventConsentGiven, oauthreg.EventAuthorized, oauthreg.EventTokenIssued,
	}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if e := srv.Events(oauthreg.EventTokenIssued)[0]; e.ClientID != authtest.App || e.Subject != "alice" || e.GrantType != oauthreg.GrantAuthorizationCode || !e.Refresh {
		t.Errorf("got %+v", e)
	}

	if heard.Load() != 4 {
		t.Errorf("the test's own function heard of %d events", heard.Load())
	}

	// A client that uses a refresh token again is found out.
	for range 2 {
		old := *token
		old.Expiry = time.Now().Add(-time.Hour)
		_, _ = conf.TokenSource(t.Context(), &old).Token() // the second time is refused
		srv.Advance(time.Minute)
	}
	if len(srv.Events(oauthreg.EventRefreshed)) != 1 || len(srv.Events(oauthreg.EventReplayDetected)) != 1 || len(srv.Events(oauthreg.EventRefused)) != 1 {
		t.Errorf("after a replay: %v", types())
	}
	srv.Mint(authtest.Grant{})
	if got := srv.Events(oauthreg.EventTokenIssued); len(got) != 2 || got[1].Subject != "alice" {
		t.Errorf("after minting: %+v", got)
	}
	srv.Revoke(srv.Mint(authtest.Grant{}).AccessToken)
	if got := srv.Events(oauthreg.EventTokenRevoked); len(got) != 1 || got[0].ClientID != authtest.App || got[0].Subject != "alice" {
		t.Errorf("after revocation: %+v", got)
	}
	srv.RotateKeys()
	srv.Suspend(authtest.App)
	srv.RevokeGrants(authtest.App, "")
	if len(srv.Events(oauthreg.EventKeyRotated)) != 2 || len(srv.Events(oauthreg.EventClientSuspended)) != 1 {
		t.Errorf("at the end: %v", types())
	}
}
