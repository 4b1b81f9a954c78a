package storagetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func pingAnswers(t testing.TB, s Store) { must(t, s.Ping(t.Context())) }

// fullRecord is a record of which every field is set.
func fullRecord() oauthreg.Record {
	rec := filled[oauthreg.Record]()
	rec.Client.ID, rec.Client.ClientID, rec.Client.Version = unique("internal"), unique("client"), 1
	for i := range rec.Secrets {
		rec.Secrets[i].ID = unique("secret")
		rec.Secrets[i].LastUsedAt = time.Time{} // is kept apart
	}
	return rec
}

func clientIsKeptWhole(t testing.TB, s Store) {
	rec := fullRecord()
	kept := func(what string) {
		t.Helper()
		got, err := s.Client(t.Context(), oauthreg.ByID(rec.Client.ID))
		must(t, err)
		same(t, what, got, rec)
		list, _, err := s.ListClients(t.Context(), oauthreg.ListQuery{})
		must(t, err)
		if len(list) != 1 {
			t.Fatalf("%s: got %d clients in the list, want 1", what, len(list))
		}
		same(t, what+", in the list", list[0], rec.Client)
	}
	must(t, s.InsertClient(t.Context(), rec, oauthreg.AuditRecord{Action: "client.registered", ClientID: rec.Client.ID}))
	kept("inserted")
	changed := func(edit func(*oauthreg.Record)) {
		t.Helper()
		must(t, s.UpdateClient(t.Context(), oauthreg.ByID(rec.Client.ID), func(now *oauthreg.Record) (*oauthreg.AuditRecord, error) {
			same(t, "given to change", *now, rec)
			edit(now)
			return &oauthreg.AuditRecord{Action: "client.updated", ClientID: rec.Client.ID}, nil
		}))
		edit(&rec)
	}
	changed(func(r *oauthreg.Record) {
		r.Client.Description, r.Client.RedirectURIs = "another", []string{"https://b.example/cb"}
		r.Secrets = r.Secrets[1:]
		r.RegistrationToken = []byte("another")
	})
	kept("changed")
	changed(func(r *oauthreg.Record) {
		*r = oauthreg.Record{Client: oauthreg.Client{ID: r.Client.ID, ClientID: r.Client.ClientID, CreatedAt: r.Client.CreatedAt, UpdatedAt: r.Client.UpdatedAt, Version: 1}}
	})
	kept("emptied")
	k, f := client(t, s)
	if f.GetID() != k.ClientID || !slices.Equal(f.GetScopes(), k.Scopes) {
		t.Errorf("as fosite sees it: got %q with %v", f.GetID(), f.GetScopes())
	}
}

func clientIDIsUnique(t testing.TB, s Store) {
	k, _ := client(t, s)
	race(t, callers, oauthreg.ErrConflict, func(i int) error {
		return s.InsertClient(t.Context(), oauthreg.Record{Client: oauthreg.Client{ID: fmt.Sprint("i", i), ClientID: "same"}}, oauthreg.AuditRecord{})
	})
	want(t, "a taken client_id", s.InsertClient(t.Context(), oauthreg.Record{Client: oauthreg.Client{ID: "x", ClientID: k.ClientID}}, oauthreg.AuditRecord{}), oauthreg.ErrConflict)
	want(t, "a taken id", s.InsertClient(t.Context(), oauthreg.Record{Client: oauthreg.Client{ID: k.ID, ClientID: "x"}}, oauthreg.AuditRecord{}), oauthreg.ErrConflict)
}

func identifiersAreExact(t testing.TB, s Store) {
	ids := []string{"abc", "ABC", "abc ", "äbc", "%"}
	for i, id := range ids {
		client(t, s, func(k *oauthreg.Client) { k.ID, k.ClientID = fmt.Sprint("i", i), id })
	}
	for i, id := range ids {
		got, err := s.Client(t.Context(), oauthreg.ByClientID(id))
		must(t, err)
		if got.Client.ID != fmt.Sprint("i", i) {
			t.Errorf("%q: got the client of %q", id, got.Client.ClientID)
		}
	}
	for _, id := range []string{"Abc", " abc", "abc\x00", "abc\xff", "_bc"} {
		_, err := s.GetClient(t.Context(), id)
		want(t, fmt.Sprintf("%q", id), err, fosite.ErrNotFound)
	}
}

func ownersAreSeparate(t testing.TB, s Store) {
	k, _ := client(t, s, func(k *oauthreg.Client) { k.OrgID, k.ProjectID = "o", "p" })
	_, err := s.Client(t.Context(), oauthreg.ByID(k.ID).In("o", "p"))
	must(t, err)
	for _, ref := range []oauthreg.Ref{oauthreg.ByID(k.ID).In("o", "q"), oauthreg.ByClientID(k.ClientID).In("q", "p"), {}} {
		_, err := s.Client(t.Context(), ref)
		want(t, fmt.Sprintf("%+v", ref), err, oauthreg.ErrNotFound)
		err = s.UpdateClient(t.Context(), ref, func(*oauthreg.Record) (*oauthreg.AuditRecord, error) { return &oauthreg.AuditRecord{}, nil })
		want(t, fmt.Sprintf("update %+v", ref), err, oauthreg.ErrNotFound)
		err = s.DeleteClient(t.Context(), ref, func(oauthreg.Record) (oauthreg.AuditRecord, error) { return oauthreg.AuditRecord{}, nil })
		want(t, fmt.Sprintf("delete %+v", ref), err, oauthreg.ErrNotFound)
	}
	list, total, err := s.ListClients(t.Context(), oauthreg.ListQuery{OrgID: "q", Count: true})
	must(t, err)
	if len(list) != 0 || total != 0 {
		t.Errorf("another owner sees %d clients of %d", len(list), total)
	}
}

// finder returns a function that wants a query to find those clients in that
// order, of so many in all.
func finder(t testing.TB, s Store) func(q oauthreg.ListQuery, all int, ids ...string) {
	return func(q oauthreg.ListQuery, all int, ids ...string) {
		t.Helper()
		q.Count = true
		list, total, err := s.ListClients(t.Context(), q)
		must(t, err)
		var got []string
		for _, k := range list {
			got = append(got, k.ID)
		}
		if !slices.Equal(got, ids) || total != all {
			t.Errorf("%+v: got %v and a total of %d, want %v and %d", q, got, total, ids, all)
		}
	}
}

func namesAreSearched(t testing.TB, s Store) {
	at := now()
	for i, name := range []string{"Alpha One", "alpha two", "100% _under\\", "1000", "ÄPFEL"} {
		client(t, s, func(k *oauthreg.Client) {
			k.ID, k.Name, k.OrgID, k.CreatedAt = fmt.Sprint("id", i), name, fmt.Sprint("o", i%2), at.Add(time.Duration(i)*time.Second)
		})
	}
	found := finder(t, s)
	found(oauthreg.ListQuery{NameContains: "LPHA "}, 2, "id1", "id0")
	found(oauthreg.ListQuery{NameContains: "LPHA ", OrgID: "o1"}, 1, "id1")
	found(oauthreg.ListQuery{NameContains: "LPHA ", Limit: 1}, 2, "id1")
	found(oauthreg.ListQuery{NameContains: "LPHA ", Offset: 1}, 2, "id0")
	found(oauthreg.ListQuery{NameContains: "LPHA ", AfterCreatedAt: at.Add(time.Second), AfterID: "id1"}, 2, "id0")
	found(oauthreg.ListQuery{NameContains: "lphaone"}, 0)
	found(oauthreg.ListQuery{NameContains: "100%"}, 1, "id2")
	found(oauthreg.ListQuery{NameContains: "0_u"}, 0)
	found(oauthreg.ListQuery{NameContains: `under\`}, 1, "id2")
	found(oauthreg.ListQuery{NameContains: "äpfel"}, 0)
	found(oauthreg.ListQuery{NameContains: "Äpf"}, 1, "id4")
	must(t, s.UpdateClient(t.Context(), oauthreg.ByID("id0"), func(r *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		r.Client.Name = "Beta"
		return &oauthreg.AuditRecord{Action: "client.updated", ClientID: "id0"}, nil
	}))
	found(oauthreg.ListQuery{NameContains: "alpha"}, 1, "id1")
	found(oauthreg.ListQuery{NameContains: "beta"}, 1, "id0")
}

func clientsAreSelected(t testing.TB, s Store) {
	at := now()
	add := func(id string, edit func(*oauthreg.Client)) {
		at = at.Add(time.Second)
		rec := oauthreg.Record{Client: oauthreg.Client{ID: id, ClientID: "of " + id, Name: "other", OrgID: "o", ProjectID: "p", Type: oauthreg.Public, GrantTypes: []string{"implicit"}, CreatedAt: at}}
		edit(&rec.Client)
		must(t, s.InsertClient(t.Context(), rec, oauthreg.AuditRecord{}))
	}
	add("none", func(*oauthreg.Client) {})
	add("name", func(k *oauthreg.Client) { k.Name = "Named" })
	add("type", func(k *oauthreg.Client) { k.Type = oauthreg.Confidential })
	add("grant", func(k *oauthreg.Client) { k.GrantTypes = []string{"authorization_code", "refresh_token"} })
	add("verified", func(k *oauthreg.Client) { k.Verified = true })
	add("self", func(k *oauthreg.Client) { k.SelfRegistered = true })
	add("suspended", func(k *oauthreg.Client) { k.SuspendedAt = at })
	add("org", func(k *oauthreg.Client) { k.OrgID = "another" })
	add("project", func(k *oauthreg.Client) { k.ProjectID = "another" })

	yes, no := true, false
	found := finder(t, s)
	found(oauthreg.ListQuery{}, 9, "project", "org", "suspended", "self", "verified", "grant", "type", "name", "none")
	found(oauthreg.ListQuery{ClientID: "of type"}, 1, "type")
	found(oauthreg.ListQuery{Name: "Named"}, 1, "name")
	found(oauthreg.ListQuery{Name: "named"}, 0)
	found(oauthreg.ListQuery{Name: "Name"}, 0)
	found(oauthreg.ListQuery{Type: oauthreg.Confidential}, 1, "type")
	found(oauthreg.ListQuery{GrantType: "refresh_token"}, 1, "grant")
	found(oauthreg.ListQuery{GrantType: "refresh"}, 0)
	found(oauthreg.ListQuery{Verified: &yes}, 1, "verified")
	found(oauthreg.ListQuery{SelfRegistered: &yes}, 1, "self")
	found(oauthreg.ListQuery{Suspended: &yes}, 1, "suspended")
	found(oauthreg.ListQuery{OrgID: "another"}, 1, "org")
	found(oauthreg.ListQuery{ProjectID: "another"}, 1, "project")
	all := oauthreg.ListQuery{OrgID: "o", ProjectID: "p", Name: "other", Type: oauthreg.Public, GrantType: "implicit", Verified: &no, SelfRegistered: &no, Suspended: &no}
	found(all, 1, "none")
	all.ClientID = "of name"
	found(all, 0)
}

func clientsAreListedNewestFirst(t testing.TB, s Store) {
	at := now()
	for i, id := range []string{"e", "c", "d", "a", "b"} { // c and d at one time
		client(t, s, func(k *oauthreg.Client) { k.ID, k.CreatedAt = id, at.Add(time.Duration(i-i/2)*time.Second) })
	}
	found := finder(t, s)
	found(oauthreg.ListQuery{}, 5, "b", "a", "d", "c", "e")
	found(oauthreg.ListQuery{Limit: 2}, 5, "b", "a")
	found(oauthreg.ListQuery{Limit: 2, Offset: 1}, 5, "a", "d")
	found(oauthreg.ListQuery{Offset: 9}, 5)
	behind := oauthreg.ListQuery{AfterCreatedAt: at.Add(time.Second), AfterID: "d"}
	found(behind, 5, "c", "e")
	must(t, deleteClient(t, s, "d", nil))
	found(behind, 4, "c", "e")
	_, total, err := s.ListClients(t.Context(), oauthreg.ListQuery{})
	must(t, err)
	if total != -1 {
		t.Errorf("got a total of %d without asking for it, want -1", total)
	}
}

func clientChangesAreNotLost(t testing.TB, s Store) {
	k, _ := client(t, s)
	all(t, 8, func(i int) error {
		for {
			err := s.UpdateClient(t.Context(), oauthreg.ByID(k.ID), func(r *oauthreg.Record) (*oauthreg.AuditRecord, error) {
				r.Client.Contacts = append(r.Client.Contacts, fmt.Sprint(i))
				return &oauthreg.AuditRecord{Action: "client.updated", ClientID: k.ID}, nil
			})
			if !errors.Is(err, oauthreg.ErrConflict) { // which asks to try again
				return err
			}
		}
	})
	got, err := s.Client(t.Context(), oauthreg.ByID(k.ID))
	must(t, err)
	if len(got.Client.Contacts) != 8 {
		t.Errorf("got %d changes of 8", len(got.Client.Contacts))
	}
}

func deleteClient(t testing.TB, s Store, id string, refusal error) error {
	return s.DeleteClient(t.Context(), oauthreg.ByID(id), func(oauthreg.Record) (oauthreg.AuditRecord, error) {
		return oauthreg.AuditRecord{Action: "client.deleted", ClientID: id}, refusal
	})
}

func clientChangesAreAudited(t testing.TB, s Store) {
	k, _ := client(t, s)
	refused := errors.New("refused")
	change := func(name string, audit *oauthreg.AuditRecord, err error) error {
		return s.UpdateClient(t.Context(), oauthreg.ByID(k.ID), func(r *oauthreg.Record) (*oauthreg.AuditRecord, error) {
			r.Client.Name = name
			return audit, err
		})
	}
	named := func(name string) {
		t.Helper()
		got, err := s.Client(t.Context(), oauthreg.ByID(k.ID))
		must(t, err)
		if got.Client.Name != name {
			t.Errorf("the client is named %q, want %q", got.Client.Name, name)
		}
	}
	audit := &oauthreg.AuditRecord{Action: "client.updated", ClientID: k.ID}
	want(t, "change's error", change("never", audit, refused), refused)
	must(t, change("never", nil, nil))
	named(k.Name)
	must(t, change("new", audit, nil))
	named("new")
	want(t, "a taken id", s.InsertClient(t.Context(), oauthreg.Record{Client: k}, oauthreg.AuditRecord{Action: "client.registered", ClientID: k.ID}), oauthreg.ErrConflict)
	want(t, "a refused deletion", deleteClient(t, s, k.ID, refused), refused)
	named("new")
	must(t, deleteClient(t, s, k.ID, nil))
	records, err := s.AuditRecords(t.Context(), oauthreg.AuditQuery{ClientID: k.ID})
	must(t, err)
	var actions []string
	for _, a := range records {
		actions = append(actions, a.Action)
	}
	slices.Sort(actions) // they may be of the same moment
	if !slices.Equal(actions, []string{"client.deleted", "client.registered", "client.updated"}) {
		t.Errorf("got records %v, want one per change that was made", actions)
	}
}

func auditRecordsAreSelected(t testing.TB, s Store) {
	var all []oauthreg.AuditRecord
	var ids []string
	for i := range 6 {
		a := filled[oauthreg.AuditRecord]()
		a.ID = fmt.Sprintf("0190a0a0-0000-7000-8000-%012d", i) // in order of time
		a.ClientID = fmt.Sprint("client", i)
		switch i {
		case 3:
			a.OrgID = "another"
		case 4:
			a.ProjectID = "another"
		case 5:
			a.Action = "another"
			a.ClientID, a.Before, a.After = "", nil, nil
		}
		all, ids = append(all, a), append(ids, a.ID)
		must(t, s.InsertClient(t.Context(), oauthreg.Record{Client: oauthreg.Client{ID: fmt.Sprint("client", i), ClientID: fmt.Sprint("c", i)}}, a))
	}
	found := func(q oauthreg.AuditQuery, which ...int) {
		t.Helper()
		records, err := s.AuditRecords(t.Context(), q)
		must(t, err)
		if len(records) != len(which) {
			t.Errorf("%+v: got %d records, want %d", q, len(records), len(which))
			return
		}
		for i, n := range which {
			same(t, fmt.Sprintf("%+v: record %d", q, n), records[i], all[n])
		}
	}
	found(oauthreg.AuditQuery{}, 5, 4, 3, 2, 1, 0)
	found(oauthreg.AuditQuery{ClientID: "client1"}, 1)
	found(oauthreg.AuditQuery{OrgID: "another"}, 3)
	found(oauthreg.AuditQuery{ProjectID: "another"}, 4)
	found(oauthreg.AuditQuery{Action: "another"}, 5)
	found(oauthreg.AuditQuery{NoClient: true}, 5)
	found(oauthreg.AuditQuery{OrgID: all[0].OrgID, ProjectID: all[0].ProjectID, Action: all[0].Action}, 2, 1, 0)
	found(oauthreg.AuditQuery{Limit: 2}, 5, 4)
	found(oauthreg.AuditQuery{Limit: 2, BeforeID: ids[4]}, 3, 2)
}

func secretUsesAreKept(t testing.TB, s Store) {
	first, other := fullRecord(), fullRecord()
	for _, rec := range []oauthreg.Record{first, other} {
		must(t, s.InsertClient(t.Context(), rec, oauthreg.AuditRecord{Action: "client.registered", ClientID: rec.Client.ID}))
	}
	uses := func(want map[string]time.Time) {
		t.Helper()
		got, err := s.SecretUses(t.Context(), first.Client.ID)
		must(t, err)
		same := len(got) == len(want)
		for id, at := range want {
			same = same && got[id].Equal(at)
		}
		if !same {
			t.Errorf("got uses %v, want %v", got, want)
		}
	}
	uses(nil)
	at := now()
	a, b := first.Secrets[0].ID, first.Secrets[1].ID
	must(t, s.SecretsUsed(t.Context(), nil))
	must(t, s.SecretsUsed(t.Context(), map[string]time.Time{a: at, other.Secrets[0].ID: at}))
	uses(map[string]time.Time{a: at})
	must(t, s.SecretsUsed(t.Context(), map[string]time.Time{a: at.Add(time.Minute), b: at}))
	uses(map[string]time.Time{a: at.Add(time.Minute), b: at})
	must(t, s.UpdateClient(t.Context(), oauthreg.ByID(first.Client.ID), func(r *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		r.Secrets = slices.DeleteFunc(r.Secrets, func(s oauthreg.Secret) bool { return s.ID == a })
		return &oauthreg.AuditRecord{Action: "secret.revoked", ClientID: first.Client.ID}, nil
	}))
	uses(map[string]time.Time{b: at})
}

func deletedClientsTokensEnd(t testing.TB, s Store) {
	k, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	machine := machineRequest(f)
	must(t, s.CreateAccessTokenSession(t.Context(), "machine", machine))
	_, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: k.ID, Subject: "alice", Scopes: []string{"read"}})
	must(t, err)
	must(t, deleteClient(t, s, k.ID, nil))
	ended := func() {
		t.Helper()
		dead(t, s, r)
		_, err := s.GetAccessTokenSession(t.Context(), "machine", nil)
		want(t, "client_credentials token", err, fosite.ErrNotFound)
		_, err = s.Grant(t.Context(), r.ID)
		want(t, "grant", err, oauthreg.ErrNotFound)
		_, err = s.Consent(t.Context(), k.ID, "alice")
		want(t, "consent", err, oauthreg.ErrNotFound)
	}
	ended()
	_, err = s.GetClient(t.Context(), k.ClientID)
	want(t, "client", err, fosite.ErrNotFound)
	want(t, "deleted again", deleteClient(t, s, k.ID, nil), oauthreg.ErrNotFound)
	client(t, s, func(again *oauthreg.Client) { again.ID, again.ClientID = k.ID, k.ClientID })
	ended()
}

func suspendedClientsTokensRest(t testing.TB, s Store) {
	k, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	must(t, s.CreateAccessTokenSession(t.Context(), "machine", machineRequest(f)))
	set := func(at time.Time) {
		must(t, s.UpdateClient(t.Context(), oauthreg.ByID(k.ID), func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
			rec.Client.SuspendedAt = at
			return &oauthreg.AuditRecord{Action: "client.suspended", ClientID: k.ID}, nil
		}))
	}
	set(now())
	dead(t, s, r)
	_, err := s.GetAccessTokenSession(t.Context(), "machine", nil)
	want(t, "client_credentials token", err, fosite.ErrNotFound)
	want(t, "another one", s.CreateAccessTokenSession(t.Context(), "late", machineRequest(f)), fosite.ErrNotFound)
	_, err = s.GetClient(t.Context(), k.ClientID)
	want(t, "client", err, fosite.ErrNotFound)
	_, err = s.Client(t.Context(), oauthreg.ByClientID(k.ClientID)) // for whoever resumes it
	must(t, err)
	set(time.Time{})
	for _, sig := range []string{r.ID + "access", "machine"} {
		_, err = s.GetAccessTokenSession(t.Context(), sig, nil)
		must(t, err)
	}
}
