package storage_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// The second database in memory begins as a copy of the first one's schema: the
// same migrations, none of the rows, and room to grow.
func TestMemoryDatabasesAreApart(t *testing.T) {
	key := bytes.Repeat([]byte("k"), 32)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			prefix := []string{"oauthreg_", "copied_"}[i%2]
			store, err := storage.Open(":memory:", storage.Config{EncryptionKeys: [][]byte{key}, TablePrefix: prefix})
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { _ = store.Close() })
			for range 2 { // the second time nothing is due
				if err := store.Migrate(t.Context()); err != nil {
					t.Error(err)
				}
			}
			done, err := store.MigrationStatus(t.Context())
			if err != nil || len(done) == 0 || done[len(done)-1].AppliedAt.IsZero() {
				t.Errorf("migrations %v, %v", done, err)
			}
			reg, err := oauthreg.NewRegistry(oauthreg.Config{Store: store, SecretKey: key})
			if err != nil {
				t.Error(err)
				return
			}
			for n := range 200 {
				c := oauthreg.Client{ClientID: fmt.Sprintf("c%d", n), Name: "x", TokenEndpointAuthMethod: oauthreg.AuthClientSecretBasic,
					Type: oauthreg.Confidential, GrantTypes: []string{oauthreg.GrantClientCredentials}}
				if _, err := reg.Register(t.Context(), c, oauthreg.RegisterOptions{}); err != nil {
					t.Errorf("database %d, client %d: %v", i, n, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
