package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func TestClientRoundTrip(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		at := c.now()
		age := time.Hour
		want := oauthreg.Record{
			Client: oauthreg.Client{
				ID: "id", ClientID: "cid", OrgID: "o", ProjectID: "p", UserID: "u", Name: "Näme", Description: "d",
				Type: oauthreg.Confidential, ApplicationType: oauthreg.Web, RequirePKCE: true,
				Scopes: []string{"a"}, DefaultScopes: []string{"a"}, GrantTypes: []string{"authorization_code"}, ResponseTypes: []string{"code"},
				RedirectURIs: []string{"https://a.example/cb"}, Audience: []string{"r"}, JWKS: json.RawMessage(`{"keys":[]}`),
				Lifetimes: oauthreg.Lifetimes{AccessToken: time.Minute}, DefaultMaxAge: &age,
				Verified: true, CreatedAt: at, UpdatedAt: at, Version: 1, Metadata: map[string]string{"k": "v"},
			},
			Secrets:           []oauthreg.Secret{{ID: "s1", Label: "one", Hash: "s1$x", CreatedAt: at}, {ID: "s2", Hash: "s1$y", CreatedAt: at, ExpiresAt: at.Add(time.Hour)}},
			RegistrationToken: []byte{1, 2, 3},
		}
		must(t, s.InsertClient(ctx, want, oauthreg.AuditRecord{Action: "client.registered", ClientID: "id"}))
		for _, ref := range []oauthreg.Ref{oauthreg.ByID("id"), oauthreg.ByClientID("cid"), oauthreg.ByID("id").In("o", "p"), oauthreg.ByClientID("cid").In("o", "")} {
			got, err := s.Client(ctx, ref)
			must(t, err)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%+v:\ngot  %+v\nwant %+v", ref, got, want)
			}
		}
		for _, ref := range []oauthreg.Ref{{}, {OrgID: "o"}, oauthreg.ByID("cid"), oauthreg.ByClientID("id"), oauthreg.ByID("id").In("o", "q"), oauthreg.ByID("id").In("q", "p"), {ID: "id", ClientID: "x"}} {
			_, err := s.Client(ctx, ref)
			wantErr(t, err, oauthreg.ErrNotFound)
		}
	})
}

func TestInsertClientConflict(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		k := addClient(t, s)
		records := count(t, s, "audit_log")
		for name, c := range map[string]oauthreg.Client{
			"id":        {ID: k.RegistryID(), ClientID: "other"},
			"client_id": {ID: "other", ClientID: k.GetID()},
		} {
			err := s.InsertClient(t.Context(), oauthreg.Record{Client: c}, oauthreg.AuditRecord{})
			if !errors.Is(err, oauthreg.ErrConflict) {
				t.Errorf("%s: got %v, want ErrConflict", name, err)
			}
		}
		if got := count(t, s, "audit_log"); got != records {
			t.Errorf("%d audit records were written for what did not happen", got-records)
		}
	})
}

func TestUpdateClient(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		k := addClient(t, s, func(rec *oauthreg.Record) { rec.Client.OrgID = "o" })
		c.add(time.Second)
		ref := oauthreg.ByID(k.RegistryID())
		audit := &oauthreg.AuditRecord{Action: "client.updated", ClientID: k.RegistryID()}

		must(t, s.UpdateClient(ctx, ref, func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
			rec.Client.Name = "Renamed"
			rec.RegistrationToken = []byte{9}
			rec.Secrets = append(rec.Secrets, oauthreg.Secret{ID: "s1", Hash: "s1$x"})
			return audit, nil
		}))
		got, err := s.Client(ctx, ref)
		must(t, err)
		if got.Client.Name != "Renamed" || !slices.Equal(got.RegistrationToken, []byte{9}) || len(got.Secrets) != 1 {
			t.Errorf("got %+v", got)
		}
		records, err := s.AuditRecords(ctx, oauthreg.AuditQuery{ClientID: k.RegistryID()})
		must(t, err)
		if len(records) != 2 || records[0].Action != "client.updated" {
			t.Errorf("got audit %+v", records)
		}

		boom := errors.New("boom")
		err = s.UpdateClient(ctx, ref, func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
			rec.Client.Name = "Never"
			return audit, boom
		})
		if err != boom {
			t.Errorf("got %v, want change's error as it is", err)
		}
		must(t, s.UpdateClient(ctx, ref, func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
			rec.Client.Name = "Never"
			return nil, nil // nothing to write
		}))
		err = s.UpdateClient(ctx, ref, func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
			rec.Client.ClientID = "stolen"
			return audit, nil
		})
		if err == nil {
			t.Error("the client_id could be changed")
		}
		for _, ref := range []oauthreg.Ref{oauthreg.ByID("unknown"), ref.In("other", "")} {
			err := s.UpdateClient(ctx, ref, func(*oauthreg.Record) (*oauthreg.AuditRecord, error) {
				t.Error("change was called")
				return audit, nil
			})
			wantErr(t, err, oauthreg.ErrNotFound)
		}
		got, err = s.Client(ctx, ref)
		must(t, err)
		if got.Client.Name != "Renamed" || got.Client.ClientID != k.GetID() {
			t.Errorf("got %+v", got.Client)
		}
	})
}

// Concurrent changes: none is lost. Those that were made on an older client are
// made again, even though nobody here raises Client.Version.
func TestUpdateClientConcurrently(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		k := addClient(t, s)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				err := s.UpdateClient(t.Context(), oauthreg.ByID(k.RegistryID()), func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
					rec.Client.Contacts = append(rec.Client.Contacts, fmt.Sprint(i))
					return &oauthreg.AuditRecord{Action: "client.updated", ClientID: rec.Client.ID}, nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got, err := s.Client(t.Context(), oauthreg.ByID(k.RegistryID()))
		must(t, err)
		if len(got.Client.Contacts) != 8 {
			t.Errorf("got %v, want all 8", got.Client.Contacts)
		}
	})
}

// A change that never gets to see an unchanged client is a conflict in the end;
// and a change may use the store.
func TestUpdateClientConflict(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		k := addClient(t, s)
		ref := oauthreg.ByID(k.RegistryID())
		audit := &oauthreg.AuditRecord{Action: "client.updated", ClientID: k.RegistryID()}
		err := s.UpdateClient(t.Context(), ref, func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
			rec.Client.Name = "loser"
			must(t, s.UpdateClient(t.Context(), ref, func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
				rec.Client.Name += "+"
				return audit, nil
			}))
			return audit, nil
		})
		wantErr(t, err, oauthreg.ErrConflict)
	})
}

func TestDeleteClient(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		k := addClient(t, s, func(rec *oauthreg.Record) { rec.Secrets = []oauthreg.Secret{{ID: "s1"}} })
		must(t, s.SecretsUsed(ctx, map[string]time.Time{"s1": c.now()}))
		must(t, s.CreateInteraction(ctx, oauthreg.Interaction{Handle: "h", ClientID: k.RegistryID(), ExpiresAt: c.now().Add(time.Hour)}))
		ref := oauthreg.ByID(k.RegistryID())

		boom := errors.New("boom")
		err := s.DeleteClient(ctx, ref, func(oauthreg.Record) (oauthreg.AuditRecord, error) { return oauthreg.AuditRecord{}, boom })
		if err != boom {
			t.Errorf("got %v, want describe's error as it is", err)
		}
		_, err = s.Client(ctx, ref)
		must(t, err)

		must(t, s.DeleteClient(ctx, ref, func(rec oauthreg.Record) (oauthreg.AuditRecord, error) {
			before, err := json.Marshal(rec.Client)
			return oauthreg.AuditRecord{Action: "client.deleted", ClientID: rec.Client.ID, Before: before}, err
		}))
		_, err = s.Client(ctx, ref)
		wantErr(t, err, oauthreg.ErrNotFound)
		_, err = s.GetClient(ctx, k.GetID())
		wantErr(t, err, fosite.ErrNotFound)
		_, err = s.Interaction(ctx, "h", "")
		wantErr(t, err, oauthreg.ErrNotFound)
		if n := count(t, s, "client_secret_uses"); n != 0 {
			t.Errorf("%d uses of secrets are left", n)
		}
		records, err := s.AuditRecords(ctx, oauthreg.AuditQuery{Action: "client.deleted"})
		must(t, err)
		if len(records) != 1 || records[0].ClientID != k.RegistryID() || len(records[0].Before) == 0 || records[0].After != nil {
			t.Errorf("got audit %+v", records)
		}
	})
}

func TestListClients(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		yes, no := true, false
		for i, edit := range []func(*oauthreg.Client){
			func(k *oauthreg.Client) { k.Name = "Alpha One" },
			func(k *oauthreg.Client) { k.Name, k.OrgID = "alpha two", "o1" },
			func(k *oauthreg.Client) { k.Name, k.OrgID, k.ProjectID = "100% _under\\", "o1", "p1" },
			func(k *oauthreg.Client) { k.Name, k.Type, k.GrantTypes = "1000", oauthreg.Public, []string{"implicit"} },
			func(k *oauthreg.Client) { k.Name, k.Verified, k.SelfRegistered = "ÄPFEL", true, true },
			func(k *oauthreg.Client) { k.Name, k.SuspendedAt, k.GrantTypes = "off", c.now(), nil },
		} {
			if i != 3 { // two clients of the same moment
				c.add(time.Second)
			}
			addClient(t, s, func(rec *oauthreg.Record) { rec.Client.ID = fmt.Sprint("id", i); edit(&rec.Client) })
		}
		for _, tt := range []struct {
			name string
			q    oauthreg.ListQuery
			want []string
		}{
			{"all, newest first", oauthreg.ListQuery{}, []string{"id5", "id4", "id3", "id2", "id1", "id0"}},
			{"org", oauthreg.ListQuery{OrgID: "o1"}, []string{"id2", "id1"}},
			{"org and project", oauthreg.ListQuery{OrgID: "o1", ProjectID: "p1"}, []string{"id2"}},
			{"project of another org", oauthreg.ListQuery{OrgID: "o2", ProjectID: "p1"}, nil},
			{"exact name", oauthreg.ListQuery{Name: "Alpha One"}, []string{"id0"}},
			{"exact name, other case", oauthreg.ListQuery{Name: "alpha one"}, nil},
			{"part of name, either case", oauthreg.ListQuery{NameContains: "LPHA "}, []string{"id1", "id0"}},
			{"percent is literal", oauthreg.ListQuery{NameContains: "100%"}, []string{"id2"}},
			{"underscore is literal", oauthreg.ListQuery{NameContains: "_"}, []string{"id2"}},
			{"backslash is literal", oauthreg.ListQuery{NameContains: `\`}, []string{"id2"}},
			{"only ASCII is folded", oauthreg.ListQuery{NameContains: "äpfel"}, nil},
			{"not ASCII", oauthreg.ListQuery{NameContains: "Äpf"}, []string{"id4"}},
			{"type", oauthreg.ListQuery{Type: oauthreg.Public}, []string{"id3"}},
			{"grant type", oauthreg.ListQuery{GrantType: "implicit"}, []string{"id3"}},
			{"grant type, other case", oauthreg.ListQuery{GrantType: "IMPLICIT"}, nil},
			{"part of a grant type", oauthreg.ListQuery{GrantType: "code"}, nil},
			{"two grant types", oauthreg.ListQuery{GrantType: "authorization_code refresh_token"}, nil},
			{"verified", oauthreg.ListQuery{Verified: &yes}, []string{"id4"}},
			{"self-registered", oauthreg.ListQuery{SelfRegistered: &yes}, []string{"id4"}},
			{"not self-registered", oauthreg.ListQuery{SelfRegistered: &no, OrgID: "o1"}, []string{"id2", "id1"}},
			{"suspended", oauthreg.ListQuery{Suspended: &yes}, []string{"id5"}},
			{"not suspended", oauthreg.ListQuery{Suspended: &no}, []string{"id4", "id3", "id2", "id1", "id0"}},
			{"limit", oauthreg.ListQuery{Limit: 2}, []string{"id5", "id4"}},
			{"offset", oauthreg.ListQuery{Limit: 2, Offset: 3}, []string{"id2", "id1"}},
			{"injection", oauthreg.ListQuery{Name: "' OR '1'='1"}, nil},
		} {
			t.Run(tt.name, func(t *testing.T) {
				tt.q.Count = true
				got, total, err := s.ListClients(ctx, tt.q)
				must(t, err)
				if ids := clientIDs(got); !slices.Equal(ids, tt.want) {
					t.Errorf("got %v, want %v", ids, tt.want)
				}
				if tt.q.Limit == 0 && total != len(tt.want) {
					t.Errorf("got total %d, want %d", total, len(tt.want))
				}
			})
		}

		// Page by page, across two clients of the same moment.
		q := oauthreg.ListQuery{Limit: 1, Count: true}
		var ids []string
		for {
			got, total, err := s.ListClients(ctx, q)
			must(t, err)
			if total != 6 {
				t.Errorf("got total %d, want that of all pages", total)
			}
			if len(got) == 0 {
				break
			}
			ids = append(ids, got[0].ID)
			q.AfterCreatedAt, q.AfterID = got[0].CreatedAt, got[0].ID
		}
		if !slices.Equal(ids, []string{"id5", "id4", "id3", "id2", "id1", "id0"}) {
			t.Errorf("got %v page by page", ids)
		}
		if _, total, err := s.ListClients(ctx, oauthreg.ListQuery{}); err != nil || total != -1 {
			t.Errorf("got total %d, %v, want -1 when it was not asked for", total, err)
		}
	})
}

func clientIDs(clients []oauthreg.Client) (ids []string) {
	for _, k := range clients {
		ids = append(ids, k.ID)
	}
	return ids
}

func TestSecretUses(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		k := addClient(t, s, func(rec *oauthreg.Record) {
			rec.Secrets = []oauthreg.Secret{{ID: "s1"}, {ID: "s2"}, {ID: "s3"}}
		})
		must(t, s.SecretsUsed(ctx, nil))
		first := c.now()
		must(t, s.SecretsUsed(ctx, map[string]time.Time{"s1": first, "s2": first, "foreign": first}))
		c.add(time.Minute)
		must(t, s.SecretsUsed(ctx, map[string]time.Time{"s1": c.now()}))
		must(t, s.SecretsUsed(ctx, map[string]time.Time{"s1": first})) // late
		got, err := s.SecretUses(ctx, k.RegistryID())
		must(t, err)
		if want := map[string]time.Time{"s1": c.now(), "s2": first}; !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		must(t, s.UpdateClient(ctx, oauthreg.ByID(k.RegistryID()), func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
			rec.Secrets = rec.Secrets[1:]
			return &oauthreg.AuditRecord{ClientID: rec.Client.ID}, nil
		}))
		if n := count(t, s, "client_secret_uses"); n != 2 {
			t.Errorf("got %d rows, want that of the removed secret gone", n)
		}
		_, err = s.SecretUses(ctx, "unknown")
		wantErr(t, err, oauthreg.ErrNotFound)
	})
}

func TestAuditRecords(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		var ids []string
		for i := range 5 {
			c.add(time.Second)
			id, err := uuid7(c.now())
			must(t, err)
			ids = append([]string{id}, ids...)
			rec := oauthreg.Record{Client: oauthreg.Client{ID: fmt.Sprint("id", i), ClientID: fmt.Sprint("cid", i)}}
			must(t, s.InsertClient(ctx, rec, oauthreg.AuditRecord{
				ID: id, Time: c.now(), Action: "client.registered", ClientID: rec.Client.ID, OrgID: fmt.Sprint("o", i%2), ProjectID: "p",
				Actor: oauthreg.Actor{Kind: "user", ID: "u", RequestID: "r", Address: "::1"}, After: json.RawMessage(`{"name":"x"}`),
			}))
		}
		all, err := s.AuditRecords(ctx, oauthreg.AuditQuery{})
		must(t, err)
		var got []string
		for _, a := range all {
			got = append(got, a.ID)
		}
		if !slices.Equal(got, ids) {
			t.Errorf("got %v, want newest first %v", got, ids)
		}
		if a := all[0]; !a.Time.Equal(c.now()) || a.Actor != (oauthreg.Actor{Kind: "user", ID: "u", RequestID: "r", Address: "::1"}) || a.Before != nil || string(a.After) != `{"name":"x"}` {
			t.Errorf("got %+v", a)
		}
		for _, tt := range []struct {
			name string
			q    oauthreg.AuditQuery
			want int
		}{
			{"client", oauthreg.AuditQuery{ClientID: "id3"}, 1},
			{"org", oauthreg.AuditQuery{OrgID: "o0"}, 3},
			{"project", oauthreg.AuditQuery{ProjectID: "p"}, 5},
			{"action", oauthreg.AuditQuery{Action: "client.deleted"}, 0},
			{"before", oauthreg.AuditQuery{BeforeID: ids[1]}, 3},
			{"limit", oauthreg.AuditQuery{Limit: 2}, 2},
		} {
			got, err := s.AuditRecords(ctx, tt.q)
			must(t, err)
			if len(got) != tt.want {
				t.Errorf("%s: got %d, want %d", tt.name, len(got), tt.want)
			}
		}
	})
}

// The fosite view of a client makes nothing up.
func TestFositeClient(t *testing.T) {
	k := newClient(oauthreg.Client{ID: "id", ClientID: "cid", Type: oauthreg.Public, JWKS: json.RawMessage(`{"keys":[]}`), Lifetimes: oauthreg.Lifetimes{AccessToken: time.Minute}})
	if k.GetID() != "cid" || k.RegistryID() != "id" || !k.IsPublic() || k.GetHashedSecret() != nil {
		t.Errorf("got %+v", k)
	}
	if len(k.GetGrantTypes())+len(k.GetResponseTypes())+len(k.GetScopes())+len(k.GetRedirectURIs())+len(k.GetAudience()) != 0 {
		t.Error("an empty list was filled in")
	}
	if k.GetJSONWebKeys() == nil || newClient(oauthreg.Client{}).GetJSONWebKeys() != nil {
		t.Error("the key set is there exactly when it was registered")
	}
	if got := k.GetEffectiveLifespan("", fosite.AccessToken, time.Hour); got != time.Minute {
		t.Errorf("got %v, want the client's own lifetime", got)
	}
	if got := k.GetEffectiveLifespan("", fosite.RefreshToken, time.Hour); got != time.Hour {
		t.Errorf("got %v, want the fallback", got)
	}
	reg := newClient(oauthreg.Client{Scopes: []string{"a"}})
	reg.Registration().Scopes[0] = "changed"
	if reg.GetScopes()[0] != "a" {
		t.Error("a registration shares its lists")
	}
}

// What is remembered of clients is never stale.
func TestClientCache(t *testing.T) {
	s := openTest(t, "memory", testConfig(newClock()))
	k := addClient(t, s)
	get := func() *Client {
		c, err := s.GetClient(t.Context(), k.GetID())
		must(t, err)
		return c.(*Client)
	}
	if first, second := get(), get(); first != second {
		t.Error("the client is not remembered")
	}
	// A change that forgets to raise Client.Version.
	must(t, s.UpdateClient(context.Background(), oauthreg.ByID(k.RegistryID()), func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		rec.Client.Name = "Renamed"
		return &oauthreg.AuditRecord{}, nil
	}))
	if got := get().Registration().Name; got != "Renamed" {
		t.Errorf("got %q, want Renamed", got)
	}
	must(t, deleteClient(t.Context(), s, k))
	addClient(t, s, func(rec *oauthreg.Record) {
		rec.Client.ID, rec.Client.ClientID, rec.Client.Name = k.RegistryID(), k.GetID(), "Another"
	})
	if got := get().Registration().Name; got != "Another" {
		t.Errorf("got %q, want Another", got)
	}
}
