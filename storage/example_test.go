package storage_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

var (
	key    = []byte("32 random bytes kept elsewhere..")
	newKey = []byte("32 other random bytes, elsewhere")
)

// A database of one's own is opened and migrated: nothing but Migrate changes the
// schema.
func ExampleOpen() {
	ctx := context.Background()
	store, err := storage.Open(":memory:", storage.Config{EncryptionKeys: [][]byte{key}}) // or a file, postgres://..., mysql://...
	if err != nil {
		panic(err)
	}
	defer func() { _ = store.Close() }()

	pending := func() (n int) {
		steps, err := store.MigrationStatus(ctx)
		if err != nil {
			panic(err)
		}
		for _, m := range steps {
			if m.AppliedAt.IsZero() {
				n++
			}
		}
		return n
	}
	fmt.Println(pending() > 0)
	if err := store.Migrate(ctx); err != nil {
		panic(err)
	}
	fmt.Println(pending(), store.Ping(ctx))
	// Output:
	// true
	// 0 <nil>
}

// A client and what the host keeps of it are registered in one transaction of the
// host's: both are there, or neither.
func ExampleStore_WithTx() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	db, err := gorm.Open(sqlite.New(sqlite.Config{DriverName: sqliteDriver, DSN: filepath.Join(dir, "app.db")}),
		&gorm.Config{Logger: logger.Discard})
	if err != nil {
		panic(err)
	}
	type plugin struct{ Name, ClientID string } // the host's
	if err := db.AutoMigrate(&plugin{}); err != nil {
		panic(err)
	}
	ctx := context.Background()
	store, err := storage.New(db, storage.Config{EncryptionKeys: [][]byte{key}})
	if err != nil {
		panic(err)
	}
	if err := store.Migrate(ctx); err != nil { // tables oauthreg_*, beside the host's
		panic(err)
	}
	registry, err := oauthreg.NewRegistry(oauthreg.Config{Store: store, SecretKey: key})
	if err != nil {
		panic(err)
	}

	add := func(name string, fails error) error {
		return db.Transaction(func(tx *gorm.DB) error {
			made, err := registry.On(store.WithTx(tx)).Register(ctx, oauthreg.Client{
				Name: name, GrantTypes: []oauthreg.GrantType{oauthreg.GrantClientCredentials},
			}, oauthreg.RegisterOptions{})
			if err != nil {
				return err
			}
			if err := tx.Create(&plugin{name, made.Client.ClientID}).Error; err != nil {
				return err
			}
			return fails
		})
	}
	fmt.Println(add("spell checker", nil))
	fmt.Println(add("word counter", errors.New("the host changed its mind")))

	page, err := registry.List(ctx, oauthreg.ListQuery{})
	if err != nil {
		panic(err)
	}
	for _, c := range page.Clients {
		fmt.Println(c.Name)
	}
	// Output:
	// <nil>
	// the host changed its mind
	// spell checker
}

// A backup is made while the database is in use, and can be opened as it is.
func ExampleStore_Backup() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()
	cfg := storage.Config{EncryptionKeys: [][]byte{key}}
	store, err := storage.Open(filepath.Join(dir, "auth.db"), cfg)
	if err != nil {
		panic(err)
	}
	defer func() { _ = store.Close() }()
	if err := store.Migrate(ctx); err != nil {
		panic(err)
	}
	registry, err := oauthreg.NewRegistry(oauthreg.Config{Store: store, SecretKey: key})
	if err != nil {
		panic(err)
	}
	if _, err := registry.Register(ctx, oauthreg.Client{
		Name: "Shop", GrantTypes: []oauthreg.GrantType{oauthreg.GrantClientCredentials},
	}, oauthreg.RegisterOptions{}); err != nil {
		panic(err)
	}
	if err := store.Backup(ctx, filepath.Join(dir, "copy.db")); err != nil {
		panic(err)
	}

	restored, err := storage.Open(filepath.Join(dir, "copy.db"), cfg)
	if err != nil {
		panic(err)
	}
	defer func() { _ = restored.Close() }()
	page, err := registry.On(restored).List(ctx, oauthreg.ListQuery{})
	if err != nil {
		panic(err)
	}
	fmt.Println(page.Clients[0].Name)
	// Output:
	// Shop
}

// The encryption key is changed: the new one first, the old one behind it until
// everything is encrypted with the new one.
func ExampleStore_Reencrypt() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()
	open := func(keys ...[]byte) *storage.Store {
		store, err := storage.Open(filepath.Join(dir, "auth.db"), storage.Config{EncryptionKeys: keys})
		if err != nil {
			panic(err)
		}
		if err := store.Migrate(ctx); err != nil {
			panic(err)
		}
		return store
	}
	store := open(key)
	if _, err := oauthreg.OpenKeyRing(ctx, oauthreg.KeyRingConfig{Store: store, Algorithms: []string{"ES256"}}); err != nil {
		panic(err)
	}
	if err := store.Close(); err != nil {
		panic(err)
	}

	store = open(newKey, key)
	changed, err := store.Reencrypt(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(changed) // the signing key, and what the encryption keys are checked by
	if err := store.Close(); err != nil {
		panic(err)
	}

	store = open(newKey) // the old key is no longer needed
	defer func() { _ = store.Close() }()
	keys, err := store.SigningKeys(ctx)
	fmt.Println(len(keys), err)
	// Output:
	// 2
	// 1 <nil>
}
