package storage

import (
	"context"
	"sync"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// recordCache remembers clients' records, so that a request which authenticates
// costs no query and no decoding. What this Store writes is forgotten here
// before the write is answered. What others write, other processes for example,
// shows in a count of changes that is looked at once in age; nothing is answered
// from memory when that look failed.
type recordCache struct {
	age time.Duration

	mu sync.RWMutex
	// looked is when the count was last read, and seen what it was.
	looked time.Time
	seen   int64
	// cleared counts what was forgotten: a record that was read before may be
	// older than what was forgotten, and is not remembered.
	cleared uint64
	records map[string]oauthreg.Record // by client_id
	clients map[string]string          // client_id by id
	// unsettled are the ids of clients that a transaction of the host changed,
	// and since when. Nobody says when the host commits, so these are not
	// answered from memory for a while.
	unsettled map[string]time.Time
}

// settled is after what time a host's transaction is taken to be over.
const settled = 10 * time.Minute

// clientChanges is the name of the row in oauthreg_counters that counts updates
// and deletions of clients.
const clientChanges = "clients"

func newRecordCache(age time.Duration) *recordCache {
	if age < 0 {
		return nil
	}
	k := &recordCache{age: age}
	k.clear()
	return k
}

func (k *recordCache) clear() {
	k.cleared++
	k.records, k.clients = make(map[string]oauthreg.Record), make(map[string]string)
}

// get returns a copy of the record that ref names, if it is remembered.
func (k *recordCache) get(ref oauthreg.Ref) (oauthreg.Record, bool) {
	k.mu.RLock()
	clientID := ref.ClientID
	if clientID == "" {
		clientID = k.clients[ref.ID]
	}
	rec, ok := k.records[clientID]
	k.mu.RUnlock()
	if !ok || ref.ID != "" && rec.Client.ID != ref.ID ||
		ref.OrgID != "" && rec.Client.OrgID != ref.OrgID || ref.ProjectID != "" && rec.Client.ProjectID != ref.ProjectID {
		return oauthreg.Record{}, false // the database tells whether there is one
	}
	return cloneRecord(rec), true
}

// look reads the count of changes when that is due, and forgets everything when
// it is another. It returns how often was forgotten.
func (k *recordCache) look(read func() (int64, error)) (cleared uint64, err error) {
	k.mu.RLock()
	due := k.looked.IsZero() || time.Since(k.looked) > k.age
	cleared = k.cleared
	k.mu.RUnlock()
	if !due {
		return cleared, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.looked.IsZero() && time.Since(k.looked) <= k.age { // someone else did
		return k.cleared, nil
	}
	now := time.Now()
	n, err := read()
	if err != nil {
		return 0, err
	}
	if n != k.seen {
		k.clear()
	}
	k.looked, k.seen = now, n
	return k.cleared, nil
}

// put remembers a record that was read after cleared was what it is.
func (k *recordCache) put(cleared uint64, rec oauthreg.Record) {
	rec = cloneRecord(rec)
	k.mu.Lock()
	defer k.mu.Unlock()
	if cleared != k.cleared {
		return
	}
	if since, ok := k.unsettled[rec.Client.ID]; ok && time.Since(since) <= settled {
		return
	}
	if _, ok := k.records[rec.Client.ClientID]; !ok && len(k.records) >= maxCachedClients {
		for id, r := range k.records { // any one
			delete(k.records, id)
			delete(k.clients, r.Client.ID)
			break
		}
	}
	k.records[rec.Client.ClientID] = rec
	k.clients[rec.Client.ID] = rec.Client.ClientID
}

// forget drops the client with that id.
func (k *recordCache) forget(id string) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(id)
}

func (k *recordCache) drop(id string) {
	k.cleared++
	delete(k.records, k.clients[id])
	delete(k.clients, id)
}

// unsettle is forget for a change that is not committed yet.
func (k *recordCache) unsettle(id string) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(id)
	if k.unsettled == nil {
		k.unsettled = make(map[string]time.Time)
	}
	for id, since := range k.unsettled {
		if time.Since(since) > settled {
			delete(k.unsettled, id)
		}
	}
	k.unsettled[id] = time.Now()
}

// cloneRecord shares nothing with rec.
func cloneRecord(rec oauthreg.Record) oauthreg.Record {
	rec.Client = rec.Client.Clone()
	rec.Secrets = append([]oauthreg.Secret(nil), rec.Secrets...)
	rec.RegistrationToken = append([]byte(nil), rec.RegistrationToken...)
	return rec
}

// Client returns a client's record; see [oauthreg.Store]. It may come from
// memory: see [Config.ClientCacheAge].
func (s *Store) Client(ctx context.Context, ref oauthreg.Ref) (oauthreg.Record, error) {
	const doing = "get client"
	if s.records == nil {
		stored, err := s.client(ctx, doing, ref)
		return stored.Record, err
	}
	if err := ctx.Err(); err != nil {
		return oauthreg.Record{}, err
	}
	cleared, err := s.records.look(func() (n int64, err error) {
		err = s.read(context.WithoutCancel(ctx), doing, func(ctx context.Context, c conn) error {
			_, err := c.one(ctx, "SELECT n FROM oauthreg_counters WHERE name = ?", []any{clientChanges}, &n)
			return err
		})
		return n, err
	})
	if err != nil {
		return oauthreg.Record{}, err
	}
	if rec, ok := s.records.get(ref); ok {
		return rec, nil
	}
	stored, err := s.client(ctx, doing, ref)
	if err != nil {
		return oauthreg.Record{}, err
	}
	s.records.put(cleared, stored.Record)
	return stored.Record, nil
}

// countClientChange is part of every transaction that changes or deletes a client.
func countClientChange(ctx context.Context, c conn) error {
	_, err := c.exec(ctx, "UPDATE oauthreg_counters SET n = n + 1 WHERE name = ?", clientChanges)
	return err
}
