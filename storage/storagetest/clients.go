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

func clientIsKeptWhole(t testing.TB, s Store) {
	k, f := client(t, s, func(k *oauthreg.Client) { k.Description, k.Metadata = "d", map[string]string{"a": "b"} })
	got, err := s.Client(t.Context(), oauthreg.ByID(k.ID))
	must(t, err)
	if got.Client.Description != "d" || got.Client.Metadata["a"] != "b" || !got.Client.CreatedAt.Equal(k.CreatedAt) || !slices.Equal(got.Client.RedirectURIs, k.RedirectURIs) {
		t.Errorf("got %+v, want %+v", got.Client, k)
	}
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
	}
	list, total, err := s.ListClients(t.Context(), oauthreg.ListQuery{OrgID: "q", Count: true})
	must(t, err)
	if len(list) != 0 || total != 0 {
		t.Errorf("another owner sees %d clients of %d", len(list), total)
	}
}

func namesAreSearched(t testing.TB, s Store) {
	at := time.Now().UTC().Truncate(time.Millisecond)
	for i, name := range []string{"Alpha One", "alpha two", "100% _under\\", "1000", "ÄPFEL"} {
		client(t, s, func(k *oauthreg.Client) {
			k.ID, k.Name, k.OrgID, k.CreatedAt = fmt.Sprint("id", i), name, fmt.Sprint("o", i%2), at.Add(time.Duration(i)*time.Second)
		})
	}
	found := func(q oauthreg.ListQuery, all int, ids ...string) {
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

func clientChangesAreAudited(t testing.TB, s Store) {
	k, _ := client(t, s)
	refused := errors.New("refused")
	err := s.UpdateClient(t.Context(), oauthreg.ByID(k.ID), func(r *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		r.Client.Name = "never"
		return &oauthreg.AuditRecord{Action: "client.updated", ClientID: k.ID}, refused
	})
	want(t, "change's error", err, refused)
	must(t, s.UpdateClient(t.Context(), oauthreg.ByID(k.ID), func(r *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		r.Client.Name = "new"
		return &oauthreg.AuditRecord{Action: "client.updated", ClientID: k.ID}, nil
	}))
	want(t, "a taken id", s.InsertClient(t.Context(), oauthreg.Record{Client: k}, oauthreg.AuditRecord{Action: "client.registered", ClientID: k.ID}), oauthreg.ErrConflict)
	records, err := s.AuditRecords(t.Context(), oauthreg.AuditQuery{ClientID: k.ID})
	must(t, err)
	var actions []string
	for _, a := range records {
		actions = append(actions, a.Action)
	}
	slices.Sort(actions) // they may be of the same moment
	if !slices.Equal(actions, []string{"client.registered", "client.updated"}) {
		t.Errorf("got records %v, want one per change that was made", actions)
	}
}

func deletedClientsTokensEnd(t testing.TB, s Store) {
	k, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	must(t, s.DeleteClient(t.Context(), oauthreg.ByID(k.ID), func(oauthreg.Record) (oauthreg.AuditRecord, error) {
		return oauthreg.AuditRecord{Action: "client.deleted", ClientID: k.ID}, nil
	}))
	dead(t, s, r)
	_, err := s.Grant(t.Context(), r.ID)
	want(t, "grant", err, oauthreg.ErrNotFound)
	client(t, s, func(again *oauthreg.Client) { again.ID, again.ClientID = k.ID, k.ClientID })
	dead(t, s, r)
}

func suspendedClientsTokensRest(t testing.TB, s Store) {
	k, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	set := func(at time.Time) {
		must(t, s.UpdateClient(t.Context(), oauthreg.ByID(k.ID), func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
			rec.Client.SuspendedAt = at
			return &oauthreg.AuditRecord{Action: "client.suspended", ClientID: k.ID}, nil
		}))
	}
	set(time.Now())
	dead(t, s, r)
	_, err := s.GetClient(t.Context(), k.ClientID)
	want(t, "client", err, fosite.ErrNotFound)
	set(time.Time{})
	_, err = s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	must(t, err)
}
