package mounting

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"

	"gorm.io/gorm"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// Tenant is a customer with a host name, and so an issuer, of their own.
type Tenant struct {
	// Host is the host name: the issuer is "https://" + Host.
	Host string
	// Name is the tenant's in the database: lower case letters and digits, at
	// most 16. It must not change.
	Name string
	// OrgID owns the tenant's clients.
	OrgID string
	// Users are those of this tenant.
	Users handlers.Users
}

// Tenants is one authorization server for each tenant, in one process and one
// database. It chooses by the host name of the request.
//
// Every tenant has tables, signing keys and secrets of their own, so nothing of
// one is known to another: no client, no user's session, no token, however it is
// signed. That is a property of the database, not of a condition that some query
// might forget.
type Tenants struct {
	servers    map[string]*handlers.Server
	registries map[string]*oauthreg.Registry
}

// NewTenants makes the servers. master is 32 random bytes that the program keeps.
func NewTenants(ctx context.Context, db *gorm.DB, master []byte, tenants []Tenant) (*Tenants, error) {
	ts := &Tenants{servers: map[string]*handlers.Server{}, registries: map[string]*oauthreg.Registry{}}
	for _, t := range tenants {
		if err := ts.add(ctx, db, oauthreg.DeriveKey(master, "tenant "+t.Name), t); err != nil {
			return nil, fmt.Errorf("tenant %s: %w", t.Name, err)
		}
	}
	return ts, nil
}

func (ts *Tenants) add(ctx context.Context, db *gorm.DB, key []byte, t Tenant) error {
	store, err := storage.New(db, storage.Config{
		TablePrefix: "oauth_" + t.Name + "_", EncryptionKeys: [][]byte{oauthreg.DeriveKey(key, "storage")}, NewSession: handlers.NewSession,
	})
	if err != nil {
		return err
	}
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	registry, err := oauthreg.NewRegistry(oauthreg.Config{Store: store, SecretKey: oauthreg.DeriveKey(key, "secrets")})
	if err != nil {
		return err
	}
	keys, err := oauthreg.OpenKeyRing(ctx, oauthreg.KeyRingConfig{Store: store, Algorithms: []string{"ES256", "RS256"}})
	if err != nil {
		return err
	}
	server, err := handlers.New(handlers.Config{
		Issuer: "https://" + t.Host, Registry: registry, Store: store, Keys: keys, Secrets: [][]byte{oauthreg.DeriveKey(key, "tokens")},
		Users:        t.Users,
		Scopes:       []handlers.Scope{{Name: "openid"}, {Name: "read"}},
		Registration: handlers.RegistrationConfig{OrgID: t.OrgID},
	})
	if err != nil {
		return err
	}
	ts.servers[t.Host], ts.registries[t.Host] = server, registry
	return nil
}

// Registry has the clients of the tenant with that host name; nil if there is none.
func (ts *Tenants) Registry(host string) *oauthreg.Registry { return ts.registries[host] }

// ServeHTTP hands a request to the tenant whose host name it was sent to.
func (ts *Tenants) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := strings.ToLower(r.Host)
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	server := ts.servers[host]
	if server == nil {
		http.Error(w, "There is nobody of that name here.", http.StatusMisdirectedRequest)
		return
	}
	server.ServeHTTP(w, r)
}
