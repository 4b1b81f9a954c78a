package storage

import (
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// A total is right after every change, whoever made it, though it is remembered.
func TestClientCounts(t *testing.T) {
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			dsn, clock := place(t, kind), newClock()
			a, b := openPath(t, dsn, testConfig(clock)), openPath(t, dsn, testConfig(clock))
			want := func(what string, s *Store, q oauthreg.ListQuery, n int) {
				t.Helper()
				q.Count = true
				for range 2 { // the second time from memory
					clients, total, err := s.ListClients(t.Context(), q)
					must(t, err)
					if total != n || len(clients) != n {
						t.Errorf("%s: got %d clients and a total of %d, want %d", what, len(clients), total, n)
					}
				}
			}
			all, named := oauthreg.ListQuery{}, oauthreg.ListQuery{NameContains: "est"}
			want("at first", a, all, 0)
			one := addClient(t, a).RegistryID()
			want("after its own", a, all, 1)
			clock.add(time.Second)
			two := addClient(t, b).RegistryID()
			want("after another's", a, all, 2)
			want("by name", a, named, 2)
			rename(t, b, two, "Other")
			want("after another renamed one", a, named, 1)
			rename(t, a, one, "Other")
			want("after it renamed one", a, named, 0)
			want("all of them", a, all, 2)
			must(t, deleteByID(t, b, two))
			want("after another deleted one", a, all, 1)
			must(t, deleteByID(t, a, one))
			want("after it deleted one", a, all, 0)
		})
	}
}

func deleteByID(t *testing.T, s *Store, id string) error {
	t.Helper()
	return s.DeleteClient(t.Context(), oauthreg.ByID(id), func(oauthreg.Record) (oauthreg.AuditRecord, error) {
		return oauthreg.AuditRecord{Action: "client.deleted", ClientID: id}, nil
	})
}
