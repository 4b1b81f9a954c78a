package storage

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// smallBlocks makes blocks of few clients, of which all may be searched.
var smallBlocks = nameBlocks{clients: 4, most: 16, many: 1}

// addNamed registers a client with an id of that time.
func addNamed(t testing.TB, s *Store, at time.Time, name string, edit ...func(*oauthreg.Record)) string {
	t.Helper()
	id, err := uuid7(at)
	must(t, err)
	addClient(t, s, append(edit, func(rec *oauthreg.Record) { rec.Client.ID, rec.Client.Name = id, name })...)
	return id
}

// makeAllNameBlocks does the janitor's work.
func makeAllNameBlocks(t testing.TB, s *Store) {
	t.Helper()
	for more := true; more; {
		var err error
		more, err = s.makeNameBlocks(t.Context())
		must(t, err)
	}
}

// checkNameBlocks reports blocks that do not lie beside each other, and names that
// the filter of their block lacks. It returns how many blocks have a filter.
func checkNameBlocks(t *testing.T, s *Store) (filters int) {
	t.Helper()
	must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
		end := ""
		names, err := s.names(ctx, c)
		if err != nil {
			return err
		}
		return c.each(ctx, "SELECT after_id, last_id, filter FROM oauthreg_client_name_blocks ORDER BY last_id", nil, func(scan func(...any) error) error {
			var b nameBlock
			var filter []byte
			if err := scan(&b.after, &b.last, &filter); err != nil {
				return err
			}
			if b.after != end || b.last <= end {
				t.Errorf("a block from %q to %q is behind one to %q", b.after, b.last, end)
			}
			end = b.last
			if filter == nil {
				return nil
			}
			filters++
			for id, name := range names {
				if id > b.after && id <= b.last && slices.ContainsFunc(filterBits(name), func(bit int) bool { return filter[bit/8]&(1<<(bit%8)) == 0 }) {
					t.Errorf("the filter of the block to %q lacks a part of %q, the name of %q", b.last, name, id)
				}
			}
			return nil
		})
	}))
	return filters
}

// names are the folded names of all clients, by id.
func (s *Store) names(ctx context.Context, c conn) (map[string]string, error) {
	names := make(map[string]string)
	err := c.each(ctx, "SELECT id, name_folded FROM oauthreg_clients", nil, func(scan func(...any) error) error {
		var id, name string
		err := scan(&id, &name)
		names[id] = name
		return err
	})
	return names, err
}

// Whatever has happened to clients, a search by the blocks finds what a look at
// every name finds, on the same pages.
func TestNameSearch(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		s.blocks = smallBlocks
		plain := *s
		plain.blocks.many, plain.records = math.MaxInt, nil
		random := rand.New(rand.NewPCG(1, 2))
		words := []string{"Portal", "portal", "PORT", "Shop", "'", "\"", "%", "_", "\\", "Ä", "ä", "äpfel", "日本", " ", "  ", "", "a", "ab", "abc", "0", "12", "2026"}
		word := func() string { return words[random.IntN(len(words))] }
		name := func() string { return word() + word() + fmt.Sprint(random.IntN(30)) + word() }
		var ids []string
		owner := func(rec *oauthreg.Record) {
			rec.Client.OrgID, rec.Client.ProjectID = fmt.Sprint("o", random.IntN(2)), fmt.Sprint("p", random.IntN(2))
			rec.Client.SelfRegistered = random.IntN(2) == 0
		}
		first := c.now()
		used := 0
		steps := 150
		if testing.Short() {
			steps = 40
		}
		for step := range steps {
			for range random.IntN(6) {
				switch n := random.IntN(12); {
				case n < 6 || len(ids) < 20:
					ids = append(ids, addNamed(t, s, c.now(), name(), owner))
				case n < 7: // from elsewhere, with the id that it had there
					ids = append(ids, addNamed(t, s, first.Add(time.Duration(random.Int64N(int64(c.now().Sub(first)+time.Second)))), name(), owner))
				case n < 8:
					var b [16]byte
					for i := range b {
						b[i] = byte(random.IntN(256))
					}
					b[0] %= 2 // before or behind those of version 7
					id := formatUUID(b[:], 4)
					addClient(t, s, owner, func(rec *oauthreg.Record) { rec.Client.ID = id; rec.Client.Name = name() })
					ids = append(ids, id)
				case n < 10:
					rename(t, s, ids[random.IntN(len(ids))], name())
				default:
					i := random.IntN(len(ids))
					must(t, deleteByID(t, s, ids[i]))
					ids = slices.Delete(ids, i, i+1)
				}
				c.add(time.Duration(random.IntN(120)) * time.Second)
			}
			switch random.IntN(4) {
			case 0:
				_, err := s.makeNameBlocks(ctx)
				must(t, err)
			case 1:
				makeAllNameBlocks(t, s)
			}
			checkNameBlocks(t, s)
			for range 4 {
				q := oauthreg.ListQuery{NameContains: name(), Count: random.IntN(2) == 0}
				q.NameContains = q.NameContains[:random.IntN(min(len(q.NameContains), 6)+1)]
				if random.IntN(3) == 0 {
					q.NameContains = word()
				}
				if random.IntN(2) == 0 {
					q.OrgID = "o1"
				}
				if random.IntN(3) == 0 {
					q.ProjectID = "p1"
				}
				if yes := random.IntN(2) == 0; random.IntN(3) == 0 {
					q.SelfRegistered = &yes
				}
				q.Limit = random.IntN(5)
				switch random.IntN(3) {
				case 0:
					q.Offset = random.IntN(5)
				case 1:
					q.AfterCreatedAt, q.AfterID = c.now().Add(-time.Duration(random.IntN(3600))*time.Second), "5"
				}
				got, total, err := s.ListClients(ctx, q)
				must(t, err)
				want, wantTotal, err := plain.ListClients(ctx, q)
				must(t, err)
				if !slices.Equal(clientIDs(got), clientIDs(want)) || total != wantTotal {
					t.Fatalf("step %d: %+v: got %v of %d, want %v of %d", step, q, clientIDs(got), total, clientIDs(want), wantTotal)
				}
				must(t, s.read(ctx, "search", func(ctx context.Context, c conn) error {
					_, ok, err := s.searchNames(ctx, c, q, where{conditions: []string{"1 = 1"}})
					if ok {
						used++
					}
					return err
				}))
			}
		}
		if used < steps/4 {
			t.Errorf("only %d of %d searches used the blocks", used, 4*steps)
		}
	})
}

// Two processes change names while a third makes blocks of them. What has been
// changed is found.
func TestNameSearchConcurrently(t *testing.T) {
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			dsn := place(t, kind)
			stores := []*Store{openPath(t, dsn, testConfig(c)), openPath(t, dsn, testConfig(c)), openPath(t, dsn, testConfig(c))}
			for _, s := range stores {
				s.blocks = nameBlocks{clients: 4, most: 64, many: 1}
			}
			begin := c.now()
			ids := make([]string, 40)
			for i := range ids {
				ids[i] = addNamed(t, stores[0], begin.Add(time.Duration(i)*time.Second), "first")
			}
			c.add(time.Hour)
			makeAllNameBlocks(t, stores[0])
			stop := make(chan bool)
			var janitor, writers sync.WaitGroup
			janitor.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						if _, err := stores[2].makeNameBlocks(t.Context()); err != nil {
							t.Error(err)
							return
						}
					}
				}
			})
			for w, s := range stores[:2] {
				writers.Go(func() {
					for i := range 40 {
						name := strings.ReplaceAll(unique("name"), "-", "")
						if i%4 == 0 {
							addNamed(t, s, begin.Add(time.Duration(i)*time.Second), name)
						} else {
							rename(t, s, ids[(2*i+w)%len(ids)], name)
						}
						got, total, err := s.ListClients(t.Context(), oauthreg.ListQuery{NameContains: name, Count: true})
						if err != nil || len(got) != 1 || total != 1 {
							t.Errorf("%s: found %v, %d in all, %v", name, clientIDs(got), total, err)
						}
					}
				})
			}
			writers.Wait()
			close(stop)
			janitor.Wait()
			makeAllNameBlocks(t, stores[2])
			if n := checkNameBlocks(t, stores[0]); n == 0 || n != count(t, stores[0], "client_name_blocks") {
				t.Errorf("%d blocks of %d have a filter", n, count(t, stores[0], "client_name_blocks"))
			}
		})
	}
}

// The janitor makes blocks of what nobody can get ahead of any more, and unites
// those of which little is left.
func TestJanitorMakesNameBlocks(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		s.blocks = smallBlocks
		work := func() { s.sweepAll(t.Context(), slog.New(slog.DiscardHandler)) }
		var ids []string
		for range 41 {
			ids = append(ids, addNamed(t, s, c.now(), "name"))
			c.add(time.Second)
		}
		work()
		if n := count(t, s, "client_name_blocks"); n != 0 {
			t.Errorf("at once: got %d blocks", n)
		}
		c.add(settled)
		recent := addNamed(t, s, c.now(), "recent")
		work()
		if n := checkNameBlocks(t, s); n != 10 {
			t.Errorf("got %d blocks, want 10", n)
		}
		changes := func() (n int64) {
			must(t, s.db.read(t.Context(), func(ctx context.Context, c conn) error {
				_, err := c.one(ctx, "SELECT n FROM oauthreg_counters WHERE name = ?", []any{clientChanges}, &n)
				return err
			}))
			return n
		}
		before := changes()
		work()
		if changes() != before {
			t.Error("every client is forgotten by all processes though there was nothing to do")
		}
		// A registration changes nothing, unless its id is old.
		addNamed(t, s, c.now(), "new")
		if changes() != before || checkNameBlocks(t, s) != 10 {
			t.Error("a registration took part in the blocks")
		}
		addNamed(t, s, c.now().Add(-time.Hour), "old")
		if n := checkNameBlocks(t, s); n != 9 {
			t.Errorf("after a client with an old id came: %d blocks have a filter, want 9", n)
		}
		for range 7 {
			addNamed(t, s, c.now().Add(-time.Hour), "old")
		}
		rename(t, s, recent, "renamed")
		must(t, s.UpdateClient(t.Context(), oauthreg.ByID(ids[20]), func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
			rec.Client.Description = "the name is the same"
			return &oauthreg.AuditRecord{Action: "client.updated", ClientID: ids[20]}, nil
		}))
		if n := checkNameBlocks(t, s); n != 9 {
			t.Errorf("after changes that are none of blocks: %d have a filter, want 9", n)
		}
		work()
		if n := checkNameBlocks(t, s); n != 12 {
			t.Errorf("got %d blocks, want 12: one was cut in three", n)
		}
		for i, id := range ids {
			if i%10 != 0 {
				must(t, deleteByID(t, s, id))
			}
		}
		work()
		if n := checkNameBlocks(t, s); n == 0 || n > 5 || n != count(t, s, "client_name_blocks") {
			t.Errorf("got %d blocks with a filter of %d for 13 old clients", n, count(t, s, "client_name_blocks"))
		}
		for _, id := range ids {
			if err := deleteByID(t, s, id); err != nil {
				wantErr(t, err, oauthreg.ErrNotFound)
			}
		}
		work()
		checkNameBlocks(t, s)
	})
}

// A search in the host's transaction finds what was renamed in it, and nobody else
// does before it ends.
func TestNameSearchInHostTx(t *testing.T) {
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			db, s, c := hostStore(t, kind)
			s.blocks = smallBlocks
			var ids []string
			for range 40 {
				ids = append(ids, addNamed(t, s, c.now(), unique("name")))
			}
			c.add(time.Hour)
			makeAllNameBlocks(t, s)
			find := func(s *Store, want int) {
				t.Helper()
				got, total, err := s.ListClients(t.Context(), oauthreg.ListQuery{NameContains: "RENAMED", Count: true})
				must(t, err)
				if len(got) != want || total != want {
					t.Errorf("found %d clients and a total of %d, want %d", len(got), total, want)
				}
			}
			for _, commit := range []bool{false, true} {
				tx := db.Begin()
				must(t, tx.Error)
				inside := s.WithTx(tx)
				rename(t, inside, ids[7], "Is renamed")
				find(inside, 1)
				if made, err := inside.makeNameBlocks(t.Context()); made || err != nil {
					t.Errorf("the host's transaction made blocks: %v", err)
				}
				find(s, 0)
				if commit {
					must(t, tx.Commit().Error)
					find(s, 1)
				} else {
					must(t, tx.Rollback().Error)
					find(s, 0)
				}
			}
			makeAllNameBlocks(t, s)
			find(s, 1)
		})
	}
}

// A client of a node whose clock is far behind comes into a block that is there, and
// is found.
func TestNamesOfLateNode(t *testing.T) {
	for _, kind := range sharedKinds {
		t.Run(kind, func(t *testing.T) {
			dsn := place(t, kind)
			right, late := newClock(), newClock()
			s, other := openPath(t, dsn, testConfig(right)), openPath(t, dsn, testConfig(late))
			s.blocks, other.blocks = smallBlocks, smallBlocks
			for i := range 40 {
				addNamed(t, s, right.now().Add(time.Duration(i)*time.Second), "first")
			}
			right.add(12 * time.Minute)
			makeAllNameBlocks(t, s)
			addNamed(t, other, late.now().Add(5*time.Second), "needle")
			for range 2 { // before the janitor comes, and after
				found, _, err := s.ListClients(t.Context(), oauthreg.ListQuery{NameContains: "needle"})
				must(t, err)
				if len(found) != 1 {
					t.Errorf("got %d clients, want 1", len(found))
				}
				makeAllNameBlocks(t, s)
			}
			checkNameBlocks(t, s)
		})
	}
}
