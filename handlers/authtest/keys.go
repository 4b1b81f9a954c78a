package authtest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// algorithms are those of the signing keys, as in a server's defaults.
var algorithms = []string{"RS256", "ES256"}

// newMaster makes what a server's keys are derived from.
func newMaster() []byte {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return b
}

// sharedKeys are made once per process: an RSA key takes longer than everything
// else. It is begun when the first server starts and waited for when a key is
// first used, so a test without signatures does not wait.
var (
	sharedKeys = sync.OnceValues(makeKeys)
	beginKeys  = sync.OnceFunc(func() {
		go func() { _, _ = sharedKeys() }() // an error is told to whoever asks
	})
)

func makeKeys() ([]oauthreg.SigningKey, error) {
	var keys []oauthreg.SigningKey
	for _, alg := range algorithms {
		var private crypto.Signer
		var err error
		if alg == "RS256" {
			private, err = rsa.GenerateKey(rand.Reader, 2048)
		} else {
			private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		}
		if err != nil {
			return nil, fmt.Errorf("make %s key: %w", alg, err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			return nil, fmt.Errorf("encode %s key: %w", alg, err)
		}
		sum, err := (&jose.JSONWebKey{Key: private.Public()}).Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("make kid: %w", err)
		}
		keys = append(keys, oauthreg.SigningKey{KeyID: base64.RawURLEncoding.EncodeToString(sum), Alg: alg, Private: der})
	}
	return keys, nil
}

// keyStore is the store of one server's signing keys. The shared keys are put
// into it before anybody looks.
type keyStore struct {
	*storage.Store
	fill func() error
}

// newKeys returns a ring on the shared keys. They are rotated by hand only: a
// test that moves the clock by a year should not wait for a key.
func newKeys(store *storage.Store, now func() time.Time, events oauthreg.EventFunc) (*oauthreg.KeyRing, error) {
	started := now()
	beginKeys()
	fill := sync.OnceValue(func() error {
		keys, err := sharedKeys()
		if err != nil {
			return err
		}
		return store.UpdateSigningKeys(context.Background(), func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
			for _, k := range keys {
				k.CreatedAt, k.ActiveAt = started, time.Unix(0, 0).UTC() // before any time that Advance goes back to
				add = append(add, k)
			}
			return add, nil, nil
		})
	})
	return oauthreg.NewKeyRing(oauthreg.KeyRingConfig{
		Store: &keyStore{Store: store, fill: fill}, Algorithms: algorithms, RotateEvery: -1, Now: now, Events: events,
	})
}

// SigningKeys is part of oauthreg.KeyStore.
func (k *keyStore) SigningKeys(ctx context.Context) ([]oauthreg.SigningKey, error) {
	if err := k.fill(); err != nil {
		return nil, err
	}
	return k.Store.SigningKeys(ctx)
}

// UpdateSigningKeys is part of oauthreg.KeyStore.
func (k *keyStore) UpdateSigningKeys(ctx context.Context, change func(have []oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error)) error {
	if err := k.fill(); err != nil {
		return err
	}
	return k.Store.UpdateSigningKeys(ctx, change)
}
