// Command mcp is an MCP server that only authorized clients can use, with the
// authorization server for it in the same process: an example of how little an
// MCP server needs beside its tools.
//
//	go run ./examples/mcp
//
// and then, in an MCP client, add the server at http://127.0.0.1:9097/mcp. The
// client finds everything else by itself: the challenge of its first request
// names the metadata of the protected resource (RFC 9728), which names the
// authorization server (RFC 8414), where the client registers itself (RFC 7591)
// or is known by its metadata document, and sends its user to sign in and consent
// (PKCE, RFC 8707).
//
// State is kept in memory and gone when the program ends.
package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/handlers/bearer"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		_, _ = fmt.Fprintln(os.Stderr, "mcp:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("mcp", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:9097", "listen `address`; port 0 takes a free one")
	private := flags.Bool("outbound-private", false, "fetch clients' documents from private and loopback addresses too, for development")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", *addr)
	if err != nil {
		return err
	}
	defer ln.Close()
	issuer := "http://" + ln.Addr().String()
	a, err := newApp(ctx, issuer, func(c *handlers.Config) {
		c.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
		c.ClientMetadataDocuments.Loopback = *private
		c.Outbound = handlers.NewOutbound(handlers.OutboundConfig{Private: *private, HTTP: *private})
	})
	if err != nil {
		return err
	}
	defer func() { _ = a.store.Close() }() // it is in memory
	go a.maintain(ctx)

	srv := &http.Server{Handler: a.handler, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = srv.Close() })() // streams would never end by themselves
	fmt.Printf("MCP server at %s/mcp\nsign in as %s with the password %s\nlistening on %s\n", issuer, a.user.name, a.user.password, issuer)
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// app is the authorization server and the MCP server beside it.
type app struct {
	store    *storage.Store
	registry *oauthreg.Registry
	keys     *oauthreg.KeyRing
	server   *handlers.Server
	user     oneUser
	handler  http.Handler
}

// newApp wires everything for an issuer; adjust has the last word about the
// authorization server.
func newApp(ctx context.Context, issuer string, adjust func(*handlers.Config)) (*app, error) {
	master := make([]byte, 32) // a server with a database on disk keeps it
	_, _ = rand.Read(master)   // never fails (crypto/rand)
	resource := issuer + "/mcp"
	a := &app{user: oneUser{name: "demo", password: rand.Text()[:12]}}
	cfg := handlers.Config{
		Issuer: issuer, Secrets: [][]byte{oauthreg.DeriveKey(master, "tokens")}, Users: a.user,
		Scopes: []handlers.Scope{
			{Name: "tools", Title: "Use the tools", Description: "Call the tools of this MCP server in your name."},
			{Name: "offline_access", Title: "Stay connected", Description: "Keep access while you are away."},
		},
		Resources:               []string{resource}, // its metadata is served where RFC 9728 has it
		Registration:            handlers.RegistrationConfig{Mode: handlers.RegistrationOpen},
		ClientMetadataDocuments: handlers.ClientMetadataDocumentConfig{Enabled: true},
	}
	if adjust != nil {
		adjust(&cfg)
	}
	var err error
	a.store, err = storage.Open(":memory:", storage.Config{
		EncryptionKeys: [][]byte{oauthreg.DeriveKey(master, "storage")}, NewSession: handlers.NewSession, Now: cfg.Now,
	})
	if err != nil {
		return nil, err
	}
	if err := a.wire(ctx, cfg, master); err != nil {
		_ = a.store.Close() // what failed first is what to tell
		return nil, err
	}

	// The token of a request is checked, and handed to the SDK, which binds MCP
	// sessions to their users by it.
	guard := bearer.Middleware(bearer.Config{
		Verifier: a.server.Verifier(), Resource: resource, ResourceMetadata: bearer.MetadataURL(resource), Scopes: []string{"tools"},
	})
	known := auth.RequireBearerToken(tokenInfo, nil)
	tools := newTools()
	endpoint := mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return tools }, nil)
	mux := http.NewServeMux()
	mux.Handle("/mcp", cors(guard(known(endpoint))))
	mux.Handle("/", a.server)
	a.handler = mux
	return a, nil
}

// wire makes the authorization server.
func (a *app) wire(ctx context.Context, cfg handlers.Config, master []byte) (err error) {
	if err := a.store.Migrate(ctx); err != nil {
		return err
	}
	a.registry, err = oauthreg.NewRegistry(oauthreg.Config{Store: a.store, SecretKey: oauthreg.DeriveKey(master, "secrets"), Now: cfg.Now})
	if err != nil {
		return err
	}
	if a.keys, err = oauthreg.OpenKeyRing(ctx, oauthreg.KeyRingConfig{Store: a.store, Now: cfg.Now}); err != nil {
		return err
	}
	cfg.Registry, cfg.Store, cfg.Keys = a.registry, a.store, a.keys
	a.server, err = handlers.New(cfg)
	return err
}

// maintain does what has to be done now and then, until ctx ends.
func (a *app) maintain(ctx context.Context) {
	go func() { _ = a.store.RunJanitor(ctx, time.Minute, nil) }()
	_ = a.server.Run(ctx) // ends without an error
}

// newTools is the MCP server: one tool, which knows who calls it.
func newTools() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "oauthreg example", Version: "1.0.0"}, nil)
	type nothing struct{}
	mcp.AddTool(s, &mcp.Tool{Name: "whoami", Description: "Says whose tools these are."},
		func(_ context.Context, r *mcp.CallToolRequest, _ nothing) (*mcp.CallToolResult, any, error) {
			info := r.Extra.TokenInfo
			text := fmt.Sprintf("You are %s, through the client %s.", info.UserID, info.Extra["client_id"])
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
		})
	return s
}

// tokenInfo tells the SDK what the middleware found out about the token.
func tokenInfo(ctx context.Context, _ string, _ *http.Request) (*auth.TokenInfo, error) {
	t, ok := bearer.FromContext(ctx)
	if !ok {
		return nil, auth.ErrInvalidToken
	}
	return &auth.TokenInfo{UserID: t.Subject, Scopes: t.Scopes, Expiration: t.ExpiresAt, Extra: map[string]any{"client_id": t.ClientID}}, nil
}

// cors lets MCP clients in web pages of any origin use the server. It stands
// outside of the middleware: a preflight has no token, and a challenge has to be
// readable.
func cors(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", "WWW-Authenticate, Mcp-Session-Id")
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, Last-Event-ID")
			h.Set("Access-Control-Max-Age", "600")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// oneUser is who can sign in: a host has its own users, or its own sign-in.
type oneUser struct{ name, password string }

// CheckPassword is part of [handlers.Users].
func (u oneUser) CheckPassword(_ context.Context, username, password string) (subject string, ok bool, err error) {
	right := subtle.ConstantTimeCompare([]byte(u.name+"\x00"+u.password), []byte(username+"\x00"+password)) == 1
	return u.name, right, nil
}
