package examples_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// README begin

// newAuthServer opens the database and returns the authorization server of
// https://auth.example.com. master is 32 random bytes that the host keeps;
// signIn knows who is signed in at the host.
func newAuthServer(ctx context.Context, file string, master []byte, signIn handlers.SignIn) (http.Handler, error) {
	store, err := storage.Open(file, storage.Config{
		EncryptionKeys: [][]byte{oauthreg.DeriveKey(master, "storage")},
		NewSession:     handlers.NewSession,
	})
	if err != nil {
		return nil, err
	}
	if err := store.Migrate(ctx); err != nil {
		return nil, err
	}
	registry, err := oauthreg.NewRegistry(oauthreg.Config{Store: store, SecretKey: oauthreg.DeriveKey(master, "secrets")})
	if err != nil {
		return nil, err
	}
	keys, err := oauthreg.NewKeyRing(oauthreg.KeyRingConfig{Store: store})
	if err != nil {
		return nil, err
	}
	if err := keys.Maintain(ctx); err != nil { // makes the first keys; then call it now and then
		return nil, err
	}
	return handlers.New(handlers.Config{
		Issuer: "https://auth.example.com", Registry: registry, Store: store, Keys: keys,
		Secrets: [][]byte{oauthreg.DeriveKey(master, "tokens")}, SignIn: signIn,
	})
}

// README end

// nobody is a host at which no one is signed in.
type nobody struct{}

func (nobody) Login(*http.Request) (*oauthreg.Login, error) { return nil, nil }

func (nobody) Begin(w http.ResponseWriter, r *http.Request, _ handlers.SignInRequest) {
	http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
}

// The program in the README is this one, and it works.
func TestReadmeProgram(t *testing.T) {
	source, err := os.ReadFile("readme_test.go")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(source), "// README begin\n\n")
	program, _, _ = strings.Cut(program, "\n// README end")
	if !strings.Contains(string(readme), "```go\n"+program+"```\n") {
		t.Error("README.md does not have the program between the marks of this file")
	}

	server, err := newAuthServer(t.Context(), filepath.Join(t.TempDir(), "auth.db"), []byte(strings.Repeat("k", 32)), nobody{})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	server.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/.well-known/oauth-authorization-server", nil))
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"issuer":"https://auth.example.com"`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}
