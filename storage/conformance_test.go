package storage

import (
	"testing"

	"github.com/oauthreg/oauthreg/storage/storagetest"
)

// Our own store keeps the promises that other stores are tested for.
func TestConformance(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			storagetest.Run(t, func(t *testing.T) storagetest.Store {
				return openTest(t, kind, Config{EncryptionKeys: [][]byte{testKey}, RefreshGrace: -1})
			})
		})
	}
}
