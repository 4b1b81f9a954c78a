package handlers_test

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/handlers/bearer"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// exampleUsers is the host's knowledge of passwords.
type exampleUsers map[string]string

func (u exampleUsers) CheckPassword(_ context.Context, username, password string) (string, bool, error) {
	return username, subtle.ConstantTimeCompare([]byte(u[username]), []byte(password)) == 1 && password != "", nil
}

// exampleServer puts a server together as ExampleNew does.
func exampleServer(change func(*handlers.Config)) (*handlers.Server, *oauthreg.Registry) {
	master := []byte("32 random bytes that you keep!!!")
	ctx := context.Background()
	store, err := storage.Open(":memory:", storage.Config{
		EncryptionKeys: [][]byte{oauthreg.DeriveKey(master, "storage")}, NewSession: handlers.NewSession,
	})
	if err != nil {
		panic(err)
	}
	if err := store.Migrate(ctx); err != nil {
		panic(err)
	}
	registry, err := oauthreg.NewRegistry(oauthreg.Config{Store: store, SecretKey: oauthreg.DeriveKey(master, "secrets")})
	if err != nil {
		panic(err)
	}
	keys, err := oauthreg.OpenKeyRing(ctx, oauthreg.KeyRingConfig{Store: store, Algorithms: []string{"ES256"}})
	if err != nil {
		panic(err)
	}
	cfg := handlers.Config{
		Issuer:   "https://login.example.com",
		Registry: registry,
		Store:    store,
		Keys:     keys,
		Secrets:  [][]byte{oauthreg.DeriveKey(master, "tokens")},
		Users:    exampleUsers{"alice": "correct horse battery staple"}, // or SignIn, for a sign-in of your own
		Scopes:   []handlers.Scope{{Name: "openid"}, {Name: "orders", Title: "Your orders"}},
	}
	if change != nil {
		change(&cfg)
	}
	server, err := handlers.New(cfg)
	if err != nil {
		panic(err) // names everything that is wrong with the Config
	}
	return server, registry
}

// exampleMachine is a client that gets tokens of its own.
func exampleMachine(registry *oauthreg.Registry) oauthreg.Registration {
	made, err := registry.Register(context.Background(), oauthreg.Client{
		ClientID: "nightly", Name: "Nightly export", Scopes: []string{"orders"},
		GrantTypes: []oauthreg.GrantType{oauthreg.GrantClientCredentials},
	}, oauthreg.RegisterOptions{})
	if err != nil {
		panic(err)
	}
	return made
}

// A server is made of a store, a registry and keys, and is an http.Handler: mount
// it at the path of its issuer and at /.well-known/.
func ExampleNew() {
	master := []byte("32 random bytes that you keep!!!")
	ctx := context.Background()
	store, err := storage.Open(":memory:", storage.Config{
		EncryptionKeys: [][]byte{oauthreg.DeriveKey(master, "storage")}, NewSession: handlers.NewSession,
	})
	if err != nil {
		panic(err)
	}
	defer func() { _ = store.Close() }()
	if err := store.Migrate(ctx); err != nil {
		panic(err)
	}
	registry, err := oauthreg.NewRegistry(oauthreg.Config{Store: store, SecretKey: oauthreg.DeriveKey(master, "secrets")})
	if err != nil {
		panic(err)
	}
	keys, err := oauthreg.OpenKeyRing(ctx, oauthreg.KeyRingConfig{Store: store, Algorithms: []string{"ES256"}})
	if err != nil {
		panic(err)
	}
	server, err := handlers.New(handlers.Config{
		Issuer:   "https://login.example.com",
		Registry: registry,
		Store:    store,
		Keys:     keys,
		Secrets:  [][]byte{oauthreg.DeriveKey(master, "tokens")},
		Users:    exampleUsers{"alice": "correct horse battery staple"}, // or SignIn, for a sign-in of your own
		Scopes:   []handlers.Scope{{Name: "openid"}, {Name: "orders", Title: "Your orders"}},
	})
	if err != nil {
		panic(err) // names everything that is wrong with the Config
	}

	client := exampleMachine(registry)
	r := httptest.NewRequest(http.MethodPost, "https://login.example.com/oauth/token", strings.NewReader("grant_type=client_credentials"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(client.Client.ClientID, client.Secret)
	w := httptest.NewRecorder()
	server.ServeHTTP(w, r)
	fmt.Println(w.Code, strings.Contains(w.Body.String(), `"token_type":"Bearer"`))
	// Output:
	// 200 true
}

// Why would a request be refused? The answer names the registered member that
// decides.
func ExampleServer_Explain() {
	server, registry := exampleServer(nil)
	exampleMachine(registry)
	for _, request := range []url.Values{
		{"grant_type": {"client_credentials"}, "scope": {"orders"}},
		{"grant_type": {"client_credentials"}, "scope": {"orders invoices"}},
		{"grant_type": {"refresh_token"}, "refresh_token": {"any"}},
	} {
		why, err := server.Explain(context.Background(), oauthreg.ByClientID("nightly"),
			handlers.ExplainRequest{Endpoint: handlers.ExplainToken, Parameters: request})
		if err != nil {
			panic(err)
		}
		fmt.Printf("%v %q %q\n", why.Allowed, why.Error, why.Field)
	}
	// Output:
	// true "" ""
	// false "invalid_scope" "scope"
	// false "unauthorized_client" "grant_types"
}

// An API in the same process is protected by the server's own verifier, for which
// a revoked token is refused at once.
func ExampleServer_Verifier() {
	server, registry := exampleServer(nil)
	exampleMachine(registry)
	api := bearer.Middleware(bearer.Config{
		Verifier: server.Verifier(), Resource: "https://login.example.com", Scopes: []string{"orders"},
		ResourceMetadata: handlers.ResourceMetadataURL("https://login.example.com"),
	})(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := bearer.FromContext(r.Context())
		_, _ = fmt.Fprintln(w, "the orders, for", token.ClientID)
	}))
	ctx := context.Background()
	tokens, err := server.Issue(ctx, handlers.Issuance{ClientID: "nightly"}) // on the host's own word, without a flow
	if err != nil {
		panic(err)
	}
	call := func() {
		r := httptest.NewRequest(http.MethodGet, "/orders", nil)
		r.Header.Set("Authorization", "Bearer "+tokens.AccessToken)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		fmt.Print(w.Code, " ", w.Body)
	}
	call()
	if err := server.RevokeToken(ctx, tokens.AccessToken); err != nil {
		panic(err)
	}
	call()
	// Output:
	// 200 the orders, for nightly
	// 401 The access token is not valid.
}

// Registration is open to those who have a token for it, and for no more than the
// token permits.
func ExampleNewInitialAccessTokens() {
	initial, err := handlers.NewInitialAccessTokens(handlers.InitialAccessTokensConfig{
		Key: []byte("32 random bytes for these tokens"), // Store: the store, to outlive the process
	})
	if err != nil {
		panic(err)
	}
	server, _ := exampleServer(func(cfg *handlers.Config) {
		cfg.Registration = handlers.RegistrationConfig{Mode: handlers.RegistrationByToken, InitialTokens: initial}
	})
	token, info, err := initial.Issue(context.Background(), handlers.InitialAccessTokenOptions{
		Ceiling:  handlers.RegistrationCeiling{Name: "partner", Scopes: []string{"openid"}},
		Uses:     1,
		Lifetime: 24 * time.Hour,
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(info.Label)
	register := func(authorization, scope string) {
		r := httptest.NewRequest(http.MethodPost, "https://login.example.com/oauth/register", strings.NewReader(
			`{"client_name": "Partner", "redirect_uris": ["https://partner.example/callback"], "scope": "`+scope+`"}`))
		r.Header.Set("Content-Type", "application/json")
		if authorization != "" {
			r.Header.Set("Authorization", "Bearer "+authorization)
		}
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	register("", "openid")
	register(token, "openid orders")
	register(token, "openid")
	register(token, "openid") // used up
	// Output:
	// partner
	// 401
	// 400
	// 201
	// 401
}

// One function hears of everything that happens, after it is committed.
func ExampleConfig_events() {
	server, registry := exampleServer(func(cfg *handlers.Config) {
		cfg.Events = func(_ context.Context, e oauthreg.Event) {
			switch e.Type {
			case oauthreg.EventTokenIssued:
				fmt.Println("issued to", e.ClientID, "for", e.Scopes)
			case oauthreg.EventRefused:
				fmt.Println("refused at", e.Endpoint+":", e.Error, "because of", e.Field)
			}
		}
	})
	client := exampleMachine(registry)
	for _, form := range []string{"grant_type=client_credentials", "grant_type=client_credentials&scope=invoices"} {
		r := httptest.NewRequest(http.MethodPost, "https://login.example.com/oauth/token", strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.SetBasicAuth(client.Client.ClientID, client.Secret)
		server.ServeHTTP(httptest.NewRecorder(), r)
	}
	// Output:
	// issued to nightly for [orders]
	// refused at token: invalid_scope because of scope
}

// A host lists what a user allowed on a page of its own, and takes it back there.
func ExampleServer_AuthorizedApps() {
	server, registry := exampleServer(nil)
	ctx := context.Background()
	if _, err := registry.Register(ctx, oauthreg.Client{
		ClientID: "shop", Name: "Shop", Scopes: []string{"orders"}, RedirectURIs: []string{"https://shop.example/callback"},
		GrantTypes: []oauthreg.GrantType{oauthreg.GrantAuthorizationCode},
	}, oauthreg.RegisterOptions{}); err != nil {
		panic(err)
	}
	// A user usually consents in a flow; here the host issues on its own word.
	if _, err := server.Issue(ctx, handlers.Issuance{
		ClientID: "shop", Login: &oauthreg.Login{Subject: "alice", SessionID: "s1", AuthTime: time.Now()},
	}); err != nil {
		panic(err)
	}
	apps, err := server.AuthorizedApps(ctx, "alice")
	if err != nil {
		panic(err)
	}
	for _, app := range apps {
		fmt.Println(app.Client.Name, app.Scopes[0].Title)
		if err := server.RevokeApp(ctx, "alice", app.ConsentID); err != nil {
			panic(err)
		}
	}
	apps, err = server.AuthorizedApps(ctx, "alice")
	fmt.Println(len(apps), err)
	// Output:
	// Shop Your orders
	// 0 <nil>
}

// An operator looks at what users allowed a client, and takes back all that one of
// them allowed anybody. Events tell of it.
func ExampleServer_RevokeConsents() {
	server, registry := exampleServer(func(c *handlers.Config) {
		c.Events = func(_ context.Context, e oauthreg.Event) {
			if e.Type == oauthreg.EventConsentRevoked {
				fmt.Println(e.Type, e.Subject, e.Count)
			}
		}
	})
	ctx := context.Background()
	for _, id := range []string{"shop", "mail"} {
		if _, err := registry.Register(ctx, oauthreg.Client{
			ClientID: id, Name: id, Scopes: []string{"orders"}, RedirectURIs: []string{"https://" + id + ".example/callback"},
			GrantTypes: []oauthreg.GrantType{oauthreg.GrantAuthorizationCode},
		}, oauthreg.RegisterOptions{}); err != nil {
			panic(err)
		}
		for _, user := range []string{"alice", "bob"} {
			// A user usually consents in a flow; here the host issues on its own word.
			if _, err := server.Issue(ctx, handlers.Issuance{ClientID: id, Login: &oauthreg.Login{Subject: user, AuthTime: time.Now()}}); err != nil {
				panic(err)
			}
		}
	}
	shop, err := registry.Get(ctx, oauthreg.ByClientID("shop"))
	if err != nil {
		panic(err)
	}
	ofShop := oauthreg.GrantFilter{ClientID: shop.ID}
	_, before, err := server.ListConsents(ctx, ofShop, 0, 10)
	fmt.Println(before, err)
	revoked, err := server.RevokeConsents(ctx, oauthreg.GrantFilter{Subject: "alice"})
	fmt.Println(revoked.Consents, err)
	left, _, err := server.ListConsents(ctx, ofShop, 0, 10)
	fmt.Println(left[0].Subject, err)
	_, err = server.RevokeConsents(ctx, oauthreg.GrantFilter{}) // nobody revokes everything by mistake
	fmt.Println(err)
	// Output:
	// 2 <nil>
	// consent.revoked alice 2
	// 2 <nil>
	// bob <nil>
	// handlers: the filter is empty, which would select everything
}

// The management API is mounted where the host wants it, for whom the host says.
func ExampleServer_ManagementV2() {
	server, registry := exampleServer(nil)
	exampleMachine(registry)
	mux := http.NewServeMux()
	mux.Handle("/", server)
	mux.Handle("/v2/", server.ManagementV2(handlers.ManagementConfig{
		Authenticate: server.AdminKey("a long random key", handlers.Principal{Actor: oauthreg.Actor{Kind: "admin", ID: "operations"}}),
	}))
	for _, key := range []string{"a guess", "a long random key"} {
		r := httptest.NewRequest(http.MethodGet, "https://login.example.com/v2/oauth_clients", nil)
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Header().Get("Content-Type"))
	}
	// Output:
	// 401 application/json
	// 200 application/json
}
