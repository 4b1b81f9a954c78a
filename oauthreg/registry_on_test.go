package oauthreg_test

import (
	"testing"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/oauthreg/oauthregtest"
)

// A registry on another store has the keys and rules of the first: what one
// registers the other could check, and each has its own clients.
func TestRegistryOn(t *testing.T) {
	first, second := new(oauthregtest.Memory), new(oauthregtest.Memory)
	reg, err := oauthreg.NewRegistry(oauthreg.Config{Store: first, SecretKey: make([]byte, 32), Scopes: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	on := reg.On(second)
	made, err := on.Register(t.Context(), oauthreg.Client{
		ClientID: "c", Name: "c", Type: oauthreg.Confidential, TokenEndpointAuthMethod: oauthreg.AuthClientSecretBasic,
		GrantTypes: []oauthreg.GrantType{oauthreg.GrantClientCredentials},
	}, oauthreg.RegisterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reg.Get(t.Context(), oauthreg.ByClientID("c")); err == nil {
		t.Error("the first store has the client")
	}
	rec, err := on.Record(t.Context(), oauthreg.ByClientID("c"))
	if err != nil {
		t.Fatal(err)
	}
	if !reg.CheckSecret(&rec, made.Secret) {
		t.Error("the secret does not verify by the first registry")
	}
}
