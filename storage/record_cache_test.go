package storage

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func rename(t *testing.T, s *Store, id, name string) {
	t.Helper()
	must(t, s.UpdateClient(t.Context(), oauthreg.ByID(id), func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		rec.Client.Name = name
		return &oauthreg.AuditRecord{Action: "client.updated", ClientID: id}, nil
	}))
}

func nameOf(t *testing.T, s *Store, id string) string {
	t.Helper()
	rec, err := s.Client(t.Context(), oauthreg.ByID(id))
	must(t, err)
	return rec.Client.Name
}

// What this store wrote shows at once, however many readers fill the cache
// meanwhile; what another one wrote shows after ClientCacheAge.
func TestClientCacheAge(t *testing.T) {
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			dsn := place(t, kind)
			cfg := testConfig(newClock())
			cfg.ClientCacheAge = time.Minute
			a := openPath(t, dsn, cfg)
			cfg.ClientCacheAge = 20 * time.Millisecond
			b := openPath(t, dsn, cfg)
			cfg.ClientCacheAge = -1
			c := openPath(t, dsn, cfg)
			id := addClient(t, a).RegistryID()
			for _, s := range []*Store{a, b, c} {
				nameOf(t, s, id)
			}
			rename(t, c, id, "new")
			if got := nameOf(t, c, id); got != "new" {
				t.Errorf("a store without cache answered %q", got)
			}
			if got := nameOf(t, a, id); got != "Test" {
				t.Errorf("the cache is not used: got %q", got)
			}
			deadline := time.Now().Add(5 * time.Second)
			for nameOf(t, b, id) != "new" {
				if time.Now().After(deadline) {
					t.Fatal("the change does not show")
				}
				time.Sleep(5 * time.Millisecond)
			}
			rename(t, a, id, "newer") // of what a has in memory
			if got := nameOf(t, a, id); got != "newer" {
				t.Errorf("its own change does not show: got %q", got)
			}
			must(t, a.DeleteClient(t.Context(), oauthreg.ByID(id), func(oauthreg.Record) (oauthreg.AuditRecord, error) {
				return oauthreg.AuditRecord{Action: "client.deleted", ClientID: id}, nil
			}))
			_, err := a.Client(t.Context(), oauthreg.ByID(id))
			wantErr(t, err, oauthreg.ErrNotFound)
		})
	}
}

func TestClientCacheConcurrent(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		id := addClient(t, s).RegistryID()
		stop := make(chan bool)
		var readers sync.WaitGroup
		for range 4 {
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						nameOf(t, s, id)
					}
				}
			})
		}
		for range 50 {
			name := unique("name")
			rename(t, s, id, name)
			if got := nameOf(t, s, id); got != name {
				t.Errorf("got %q after a change to %q", got, name)
			}
		}
		close(stop)
		readers.Wait()
	})
}

// A caller that changes what it got does not change what the next one gets, and
// an owner that is hidden stays hidden.
func TestClientCacheCopies(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, _ *clock) {
		id := addClient(t, s, func(rec *oauthreg.Record) { rec.Client.OrgID = "o" }).RegistryID()
		for range 3 {
			rec, err := s.Client(t.Context(), oauthreg.ByID(id).In("o", ""))
			must(t, err)
			if rec.Client.RedirectURIs[0] != "https://a.example/cb" {
				t.Fatalf("got %q", rec.Client.RedirectURIs)
			}
			rec.Client.RedirectURIs[0] = "https://evil.example/cb"
			_, err = s.Client(t.Context(), oauthreg.ByID(id).In("other", ""))
			wantErr(t, err, oauthreg.ErrNotFound)
		}
	})
}

// When it cannot be told whether the memory is right, there is no answer.
func TestClientCacheUnreachable(t *testing.T) {
	boom := errors.New("boom")
	k := newRecordCache(time.Millisecond)
	cleared, err := k.look(t.Context(), func(context.Context) (int64, error) { return 1, nil })
	must(t, err)
	rec := newKnown(storedClient{Record: oauthreg.Record{Client: oauthreg.Client{ID: "id", ClientID: "cid"}}})
	k.put(cleared, rec)
	if k.get(oauthreg.ByID("id")) == nil {
		t.Fatal("not remembered")
	}
	time.Sleep(5 * time.Millisecond)
	_, err = k.look(t.Context(), func(context.Context) (int64, error) { return 0, boom })
	wantErr(t, err, boom)
	if _, err := k.look(t.Context(), func(context.Context) (int64, error) { return 2, nil }); err != nil {
		t.Fatal(err)
	}
	if k.get(oauthreg.ByID("id")) != nil {
		t.Error("what was changed is remembered")
	}
	k.put(cleared, rec) // read before that
	if k.get(oauthreg.ByID("id")) != nil {
		t.Error("what was read before the change is remembered")
	}
}

func TestClientCacheIsBounded(t *testing.T) {
	k := newRecordCache(time.Minute)
	for range maxCachedClients + 100 {
		k.put(k.cleared, newKnown(storedClient{Record: oauthreg.Record{Client: oauthreg.Client{ID: unique("id"), ClientID: unique("cid")}}}))
	}
	if len(k.clients) != maxCachedClients || len(k.ids) != maxCachedClients {
		t.Errorf("got %d records and %d ids, want %d", len(k.clients), len(k.ids), maxCachedClients)
	}
}

// Who waits for somebody else's look waits no longer than he may.
func TestClientCacheWaits(t *testing.T) {
	k := newRecordCache(time.Minute)
	reading, answer := make(chan bool), make(chan bool)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := k.look(t.Context(), func(context.Context) (int64, error) {
			close(reading)
			<-answer
			return 1, nil
		})
		must(t, err)
	})
	<-reading
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := k.look(ctx, func(context.Context) (int64, error) { t.Error("it looked too"); return 0, nil })
	wantErr(t, err, context.Canceled)
	close(answer)
	wg.Wait()
	if _, due := k.due(); due {
		t.Error("the look is not remembered")
	}
}
