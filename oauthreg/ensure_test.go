package oauthreg_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/oauthreg/oauthregtest"
)

const longSecret = "a-secret-of-more-than-thirty-two-characters"

func declared(clientID string) oauthreg.Declaration {
	c := webApp()
	c.ClientID = clientID
	return oauthreg.Declaration{Client: c, Secret: longSecret}
}

func (f fixture) mustEnsure(t *testing.T, mode oauthreg.EnsureMode, decls ...oauthreg.Declaration) []oauthreg.EnsureResult {
	t.Helper()
	results, err := f.Ensure(t.Context(), decls, mode)
	if err != nil {
		t.Fatal(err)
	}
	return results
}

func outcomes(results []oauthreg.EnsureResult) []oauthreg.EnsureOutcome {
	var out []oauthreg.EnsureOutcome
	for _, r := range results {
		out = append(out, r.Outcome)
	}
	return out
}

func driftFields(r oauthreg.EnsureResult) []string {
	var out []string
	for _, d := range r.Drift {
		out = append(out, d.Field)
	}
	return out
}

func TestEnsureCreates(t *testing.T) {
	f := newRegistry(t)
	generated := declared("generated")
	generated.Secret = ""
	public := declared("public")
	public.Client.Type, public.Secret, public.Suspended = oauthreg.Public, "", true
	results := f.mustEnsure(t, oauthreg.EnsureReport, declared("given"), generated, public)

	want := []oauthreg.EnsureOutcome{oauthreg.EnsureCreated, oauthreg.EnsureCreated, oauthreg.EnsureCreated}
	if !slices.Equal(outcomes(results), want) {
		t.Fatalf("got %q, want %q", outcomes(results), want)
	}
	for i, secret := range []string{"", results[1].Secret, ""} {
		if results[i].Secret != secret || i == 1 && secret == "" {
			t.Errorf("client %d: got secret %q, want only the generated one", i, results[i].Secret)
		}
	}
	if !f.check(t, results[0].Client.ID, longSecret) || !f.check(t, results[1].Client.ID, results[1].Secret) {
		t.Error("a secret does not verify")
	}
	if !results[2].Client.Suspended() || results[0].Client.Suspended() {
		t.Error("want the third client suspended, and the first not")
	}

	again := f.mustEnsure(t, oauthreg.EnsureApply, declared("given"), generated, public)
	for i, r := range again {
		if r.Outcome != oauthreg.EnsureUnchanged || len(r.Drift) > 0 || r.Secret != "" || !reflect.DeepEqual(r.Client, results[i].Client) {
			t.Errorf("client %d, second time: got %+v, want it unchanged", i, r)
		}
	}
}

func TestEnsureDrift(t *testing.T) {
	tests := []struct {
		name   string
		change func(*oauthreg.Declaration)
		drift  []string
		action string
	}{
		{"name", func(d *oauthreg.Declaration) { d.Client.Name = "Other" }, []string{"name"}, "client.updated"},
		{"lists", func(d *oauthreg.Declaration) {
			d.Client.RedirectURIs = []string{"https://b.example/cb"}
			d.Client.Scopes = []string{"openid"}
		}, []string{"redirect_uris", "scopes"}, "client.updated"},
		{"what is no longer declared", func(d *oauthreg.Declaration) { d.Client.Metadata, d.Client.LogoURI = nil, "" }, []string{"logo_uri", "metadata"}, "client.updated"},
		{"owner", func(d *oauthreg.Declaration) { d.Client.OrgID = "org-2" }, []string{"org_id"}, "client.updated"},
		{"owner that is left open", func(d *oauthreg.Declaration) { d.Client.OrgID = "" }, nil, ""},
		{"secret", func(d *oauthreg.Declaration) { d.Secret = longSecret + "2" }, []string{"client_secret"}, "secret.created"},
		{"secret that is left open", func(d *oauthreg.Declaration) { d.Secret = "" }, nil, ""},
		{"secret and name", func(d *oauthreg.Declaration) { d.Secret, d.Client.Name = "short", "Other" }, []string{"client_secret", "name"}, "client.updated"},
		{"suspension", func(d *oauthreg.Declaration) { d.Suspended = true }, []string{"suspended_at"}, "client.suspended"},
		{"type", func(d *oauthreg.Declaration) { d.Client.Type, d.Secret = oauthreg.Public, "" },
			[]string{"require_pkce", "token_endpoint_auth_method", "type"}, "client.updated"},
		{"derived type of application", func(d *oauthreg.Declaration) { d.Client.RedirectURIs = []string{"com.example:/cb"} },
			[]string{"application_type", "redirect_uris"}, "client.updated"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newRegistry(t)
			d := declared("app")
			d.Client.OrgID, d.Client.LogoURI, d.Client.Metadata = "org-1", "https://a.example/l", map[string]string{"a": "b"}
			before := f.mustEnsure(t, oauthreg.EnsureApply, d)[0].Client
			f.clock.add(time.Minute)
			tt.change(&d)

			res := f.mustEnsure(t, oauthreg.EnsureReport, d)[0]
			want := oauthreg.EnsureDrift
			if tt.drift == nil {
				want = oauthreg.EnsureUnchanged
			}
			if res.Outcome != want || !slices.Equal(driftFields(res), tt.drift) || !reflect.DeepEqual(res.Client, before) {
				t.Errorf("report: got %s of %q, want %s of %q and the client as it was", res.Outcome, driftFields(res), want, tt.drift)
			}
			if got, err := f.Get(t.Context(), oauthreg.ByClientID("app")); err != nil || !reflect.DeepEqual(got, before) {
				t.Errorf("report changed the client to %+v, %v", got, err)
			}

			res = f.mustEnsure(t, oauthreg.EnsureApply, d)[0]
			if want == oauthreg.EnsureDrift {
				want = oauthreg.EnsureUpdated
			}
			if res.Outcome != want || !slices.Equal(driftFields(res), tt.drift) {
				t.Errorf("apply: got %s of %q, want %s of %q", res.Outcome, driftFields(res), want, tt.drift)
			}
			wantActions := []string{"client.registered"}
			if tt.action != "" {
				wantActions = append(wantActions, tt.action)
			}
			if got := f.actions(t, before.ID); !slices.Equal(got, wantActions) {
				t.Errorf("got audit %q, want %q", got, wantActions)
			}
			if wantVersion := int64(len(wantActions)); res.Client.Version != wantVersion || res.Client.ID != before.ID || !res.Client.CreatedAt.Equal(before.CreatedAt) {
				t.Errorf("got %+v, want version %d of the same client", res.Client, wantVersion)
			}
			if d.Secret != "" && !f.check(t, before.ID, d.Secret) {
				t.Error("the declared secret does not verify")
			}
			if d.Secret != longSecret && d.Secret != "" && f.check(t, before.ID, longSecret) {
				t.Error("the secret from before still verifies")
			}
			if res := f.mustEnsure(t, oauthreg.EnsureApply, d)[0]; res.Outcome != oauthreg.EnsureUnchanged {
				t.Errorf("second time: got %s of %q", res.Outcome, driftFields(res))
			}
			if dump := f.store.Dump(); strings.Contains(dump, longSecret) {
				t.Error("the store has the secret in clear")
			}
		})
	}
}

func TestEnsureDriftTellsBeforeAndAfter(t *testing.T) {
	f := newRegistry(t)
	f.mustEnsure(t, oauthreg.EnsureApply, declared("app"))
	d := declared("app")
	d.Client.Name, d.Client.LogoURI, d.Secret = "Other", "https://a.example/l", "new"
	got := f.mustEnsure(t, oauthreg.EnsureReport, d)[0].Drift
	want := []oauthreg.Drift{
		{Field: "client_secret"},
		{Field: "logo_uri", After: []byte(`"https://a.example/l"`)},
		{Field: "name", Before: []byte(`"Web app"`), After: []byte(`"Other"`)},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestEnsureResumesAndMakesConfidential(t *testing.T) {
	f := newRegistry(t)
	d := declared("app")
	d.Client.Type, d.Secret, d.Suspended = oauthreg.Public, "", true
	id := f.mustEnsure(t, oauthreg.EnsureApply, d)[0].Client.ID
	d.Suspended = false
	f.mustEnsure(t, oauthreg.EnsureApply, d)
	d.Client.Type = oauthreg.Confidential
	d.Client.RequirePKCE = true
	res := f.mustEnsure(t, oauthreg.EnsureApply, d)[0]
	if res.Secret == "" || !f.check(t, id, res.Secret) {
		t.Errorf("got secret %q, want a generated one that verifies", res.Secret)
	}
	want := []string{"client.registered", "client.resumed", "client.updated"}
	if got := f.actions(t, id); !slices.Equal(got, want) {
		t.Errorf("got audit %q, want %q", got, want)
	}
}

func TestEnsureLeavesOthersAlone(t *testing.T) {
	f := newRegistry(t)
	other := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{}).Client
	f.mustEnsure(t, oauthreg.EnsureApply, declared("app"))
	if got, err := f.Get(t.Context(), oauthreg.ByID(other.ID)); err != nil || !reflect.DeepEqual(got, other) {
		t.Errorf("got %+v, %v, want %+v", got, err, other)
	}
}

func TestEnsureByID(t *testing.T) {
	f := newRegistry(t)
	d := declared("")
	d.Client.ID = "0190a2c4-0000-7000-8000-000000000001"
	created := f.mustEnsure(t, oauthreg.EnsureApply, d)[0]
	again := f.mustEnsure(t, oauthreg.EnsureApply, d)[0]
	if created.Client.ID != d.Client.ID || again.Outcome != oauthreg.EnsureUnchanged || again.Client.ClientID != created.Client.ClientID {
		t.Errorf("got %+v, then %+v, want one client of that id", created, again)
	}
}

func TestEnsureRefusesAsAWhole(t *testing.T) {
	id1, id2 := "0190a2c4-0000-7000-8000-000000000001", "0190a2c4-0000-7000-8000-000000000002"
	with := func(d oauthreg.Declaration, edit func(*oauthreg.Declaration)) oauthreg.Declaration {
		edit(&d)
		return d
	}
	tests := []struct {
		name  string
		decls []oauthreg.Declaration
		want  map[int]string
	}{
		{"invalid clients", []oauthreg.Declaration{
			declared("new"),
			with(declared("a"), func(d *oauthreg.Declaration) { d.Client.RedirectURIs = []string{"/cb"} }),
			with(declared("b"), func(d *oauthreg.Declaration) { d.Client.Name = "" }),
		}, map[int]string{1: "redirect_uris[0]", 2: "client_name"}},
		{"no name", []oauthreg.Declaration{declared("new"), declared("")}, map[int]string{1: "client_id is required"}},
		{"bad secret", []oauthreg.Declaration{declared("new"), with(declared("a"), func(d *oauthreg.Declaration) { d.Secret = "a\nb" })},
			map[int]string{1: "client_secret"}},
		{"public client with client_credentials", []oauthreg.Declaration{with(declared("a"), func(d *oauthreg.Declaration) {
			d.Client.Type, d.Client.GrantTypes, d.Secret = oauthreg.Public, []string{"client_credentials"}, ""
		})}, map[int]string{0: "grant_types[0]"}},
		{"client_id twice", []oauthreg.Declaration{declared("new"), declared("b"), declared("new")}, map[int]string{2: "client 0"}},
		{"id twice", []oauthreg.Declaration{
			with(declared("new"), func(d *oauthreg.Declaration) { d.Client.ID = id2 }),
			with(declared("b"), func(d *oauthreg.Declaration) { d.Client.ID = id2 }),
		}, map[int]string{1: "client 0"}},
		{"client_id of a client with another id", []oauthreg.Declaration{
			declared("new"), with(declared("there"), func(d *oauthreg.Declaration) { d.Client.ID = id2 }),
		}, map[int]string{1: id1}},
		{"id of a client with another client_id", []oauthreg.Declaration{
			declared("new"), with(declared("elsewhere"), func(d *oauthreg.Declaration) { d.Client.ID = id1 }),
		}, map[int]string{1: "there"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newRegistry(t)
			there := declared("there")
			there.Client.ID = id1
			f.mustEnsure(t, oauthreg.EnsureApply, there)
			before := f.store.Dump()

			_, err := f.Ensure(t.Context(), tt.decls, oauthreg.EnsureApply)
			var all oauthreg.DeclarationErrors
			if !errors.As(err, &all) || len(all) != len(tt.want) {
				t.Fatalf("got %v, want DeclarationErrors for %v", err, tt.want)
			}
			for _, e := range all {
				if want, ok := tt.want[e.Index]; !ok || !strings.Contains(e.Error(), want) {
					t.Errorf("got %v, want %v", e, tt.want)
				}
			}
			if f.store.Dump() != before {
				t.Error("something was changed")
			}
		})
	}
}

// Several processes start on one database with one file.
func TestEnsureConcurrently(t *testing.T) {
	f := newRegistry(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := f.Ensure(t.Context(), []oauthreg.Declaration{declared("a"), declared("b")}, oauthreg.EnsureApply); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	page, err := f.List(t.Context(), oauthreg.ListQuery{})
	if err != nil || len(page.Clients) != 2 || page.Clients[0].Version != 1 {
		t.Errorf("got %+v, %v, want two clients, unchanged since", page.Clients, err)
	}
}

// lateStore does not see a client until someone tried to insert it.
type lateStore struct {
	*oauthregtest.Memory
	tried bool
}

func (s *lateStore) Client(ctx context.Context, ref oauthreg.Ref) (oauthreg.Record, error) {
	if !s.tried {
		return oauthreg.Record{}, oauthreg.ErrNotFound
	}
	return s.Memory.Client(ctx, ref)
}

func (s *lateStore) InsertClient(ctx context.Context, rec oauthreg.Record, audit oauthreg.AuditRecord) error {
	s.tried = true
	return s.Memory.InsertClient(ctx, rec, audit)
}

// A client that another process created after this one looked is taken as found.
func TestEnsureLosesTheRaceToCreate(t *testing.T) {
	f := newRegistry(t)
	f.mustEnsure(t, oauthreg.EnsureApply, declared("app"))
	late := newRegistry(t, func(cfg *oauthreg.Config) { cfg.Store = &lateStore{Memory: f.store} })
	d := declared("app")
	d.Client.Name = "Other"
	res := late.mustEnsure(t, oauthreg.EnsureApply, d)[0]
	if res.Outcome != oauthreg.EnsureUpdated || res.Client.Name != "Other" {
		t.Errorf("got %+v, want the client of the other process, updated", res)
	}
}
