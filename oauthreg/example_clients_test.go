package oauthreg_test

import (
	"context"
	"fmt"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/oauthreg/oauthregtest"
)

// exampleRegistry is a registry on an empty store in memory.
func exampleRegistry(cfg oauthreg.Config) *oauthreg.Registry {
	cfg.Store = new(oauthregtest.Memory)
	cfg.SecretKey = []byte("32 random bytes from a safe place")
	reg, err := oauthreg.NewRegistry(cfg)
	if err != nil {
		panic(err)
	}
	return reg
}

// Clients are declared in a file and ensured at every start: the first time makes
// them, later ones find what differs.
func ExampleRegistry_Ensure() {
	reg := exampleRegistry(oauthreg.Config{})
	ctx := context.Background()
	ensure := func(file string, mode oauthreg.EnsureMode) {
		decls, err := oauthreg.ParseDeclarations([]byte(file))
		if err != nil {
			panic(err)
		}
		results, err := reg.Ensure(ctx, decls, mode)
		if err != nil {
			panic(err)
		}
		for _, r := range results {
			fmt.Print(r.Client.ClientID, " ", r.Outcome)
			for _, d := range r.Drift {
				fmt.Print(" ", d.Field)
			}
			fmt.Println()
		}
	}
	first := `[{"client_id": "shop", "client_type": "public", "redirect_uris": ["https://shop.example/callback"], "scope": "openid"}]`
	second := `[{"client_id": "shop", "client_type": "public", "redirect_uris": ["https://shop.example/callback"], "scope": "openid orders"}]`
	ensure(first, oauthreg.EnsureReport)
	ensure(first, oauthreg.EnsureReport)
	ensure(second, oauthreg.EnsureReport)
	ensure(second, oauthreg.EnsureApply)
	// Output:
	// shop created
	// shop unchanged
	// shop drift scopes
	// shop updated scopes
}

// Clients are listed newest first, page by page.
func ExampleRegistry_List() {
	reg := exampleRegistry(oauthreg.Config{})
	ctx := context.Background()
	for _, name := range []string{"Wiki", "Photo printer", "Photo album", "Shop"} {
		c := oauthreg.Client{Name: name, GrantTypes: []oauthreg.GrantType{oauthreg.GrantClientCredentials}}
		if _, err := reg.Register(ctx, c, oauthreg.RegisterOptions{}); err != nil {
			panic(err)
		}
	}
	q := oauthreg.ListQuery{NameContains: "photo", Limit: 1, Count: true}
	for {
		page, err := reg.List(ctx, q)
		if err != nil {
			panic(err)
		}
		for _, c := range page.Clients {
			fmt.Println(c.Name, "of", page.Total)
		}
		if page.Next == "" {
			return
		}
		q.Cursor = page.Next
	}
	// Output:
	// Photo album of 2
	// Photo printer of 2
}

// Every change leaves a record of who made it and what it was.
func ExampleRegistry_Audit() {
	reg := exampleRegistry(oauthreg.Config{})
	ctx := oauthreg.WithActor(context.Background(), oauthreg.Actor{Kind: "admin", ID: "alice"})
	made, err := reg.Register(ctx, oauthreg.Client{
		Name: "Shop", GrantTypes: []oauthreg.GrantType{oauthreg.GrantClientCredentials},
	}, oauthreg.RegisterOptions{})
	if err != nil {
		panic(err)
	}
	ref := oauthreg.ByID(made.Client.ID)
	if _, err := reg.Update(ctx, ref, oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
		c.Scopes = []string{"orders"}
		return nil
	}); err != nil {
		panic(err)
	}
	if _, err := reg.Suspend(ctx, ref); err != nil {
		panic(err)
	}
	records, err := reg.Audit(ctx, oauthreg.AuditQuery{ClientID: made.Client.ID})
	if err != nil {
		panic(err)
	}
	for _, r := range records {
		fmt.Println(r.Action, "by", r.Actor.Kind, r.Actor.ID)
	}
	// Output:
	// client.suspended by admin alice
	// client.updated by admin alice
	// client.registered by admin alice
}

// A function hears of every change, after it is made.
func ExampleEventFunc() {
	reg := exampleRegistry(oauthreg.Config{Events: func(_ context.Context, e oauthreg.Event) {
		fmt.Println(e.Type, e.ClientID)
	}})
	ctx := context.Background()
	_, err := reg.Register(ctx, oauthreg.Client{
		ClientID: "nightly", Name: "Nightly export", GrantTypes: []oauthreg.GrantType{oauthreg.GrantClientCredentials},
	}, oauthreg.RegisterOptions{})
	if err != nil {
		panic(err)
	}
	if _, err := reg.RotateSecret(ctx, oauthreg.ByClientID("nightly"), oauthreg.RotateOptions{}); err != nil {
		panic(err)
	}
	if err := reg.Delete(ctx, oauthreg.ByClientID("nightly")); err != nil {
		panic(err)
	}
	// Output:
	// client.registered nightly
	// secret.created nightly
	// client.deleted nightly
}
